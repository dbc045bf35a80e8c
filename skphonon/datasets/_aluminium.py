"""Aluminium: powder spectra measured on ARCS, and published force constants.

Force constants are Born-von Karman constants in eV/Angstrom^2, positive where the
force restores, in the order ``1XX, 1ZZ, 1XY, 2XX, 2YY``; the bond to a first
neighbour lies along [110], to a second along [100].

Reading a data file runs no code that it may hold.
"""

import io
import warnings

import numpy as np
from sklearn.utils import Bunch

from skphonon._warnings import warn_user
from skphonon.datasets._published import (
    PublishedFiles,
    RemoteFile,
    description,
    warn_of_synthetic,
)
from skphonon.datasets._synthetic import make_powder_spectra
from skphonon.instrument.grid import SpectrumGrid
from skphonon.instrument.measurement import Measurement
from skphonon.physics.constants import EV_PER_A2_PER_NEWTON_PER_METRE
from skphonon.physics.force_constants import ForceConstantModel
from skphonon.simulation import PowderSimulator

_PARAMETER_NAMES = ["1XX", "1ZZ", "1XY", "2XX", "2YY"]
_FCC = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])

_LABEL_REFERENCE = [4.6330, 0.29784, 0.014999, 0.25064, 0.64366]
_LABEL_LATTICE_CONSTANT = 4.04  # Angstrom

# Lattice constant in Angstrom; constants in N/m, in the order of _PARAMETER_NAMES.
_PUBLISHED_FITS = {
    "cowley-1974": (4.033, [10.4578, -2.6322, 10.3657, 2.4314, -0.1351]),
    "gilat-nicklow-1966": (4.0496, [9.808, -1.616, 11.424, 2.494, -0.515]),
}

_SIMULATED = "simulated_1.pt"
_LABELS = "x_record"
_SPECTRUM = "exp_chi_{}K_mean.pt"
_SPECTRUM_SHA256 = {
    50: "78540626f4b648f6de19553d44151603ba53a30aa8a84526ab2a7a163c882cd5",
    150: "2be3f29bad05502360fa14237f8eed8e6f453fada7e2deb99ac5b9fa6b046890",
    280: "cac6df71d05a6ee2e59a76080e578ad186e078c1b82dd4e2d371d18212daea82",
    350: "5c08f9340d61529023c92b379b4f339ec6217e56f6e800fac8a6baa965959ad6",
    450: "082abc69067ee674384f4791dbd63d109ebae353f182b0e28e79c9d842005f11",
    540: "f3f00c09703038805fc2fbaa62e0fe96e03c6328a6bbc12fd5c8d74941a8b420",
    640: "11261bf2735ec0dee5bf630a3bdcae6309d97338e3e8bdce20f3142966ccb3c0",
}

_ENERGY = np.linspace(10.25, 44.75, 70)  # meV, bin centres
_Q = np.linspace(0.05, 10.05, 101)  # 1/Angstrom, bin centres
_INCIDENT_ENERGY = 50.0  # meV
_ENERGY_RESOLUTION = 1.54  # meV, standard deviation
_SOURCE = "Su and Li, https://doi.org/10.48550/arXiv.2404.13507"
_TWO_THETA = (1.0, 136.0)  # degree, about: the mask comes from the files

# Of synthetic spectra: white noise as that of the measured ones, and constants that
# fall by 15 % from 50 to 650 K.
_NOISE = 0.23
_SOFTENING = 0.15 / 600

_FILES = {
    _SIMULATED: RemoteFile(
        "data/1.pt",
        "bc37e89ad4cced04d3acc04e14829fbdfe31f3ae3afde409844f16048d7185de",
    ),
    _LABELS: RemoteFile(
        "dataset/x_record",
        "6ced8c9a2794759a8441e2bd4249ad91fc2bb8a0131e864e106a967aba073b3e",
    ),
} | {
    _SPECTRUM.format(temperature): RemoteFile(
        f"dataset/exp_23379_sub/{_SPECTRUM.format(temperature)}", sha256
    )
    for temperature, sha256 in _SPECTRUM_SHA256.items()
}
_PUBLISHED = PublishedFiles(
    "https://raw.githubusercontent.com/suyaokun/2DPhononINS-ML/c9bed3a/",
    "aluminium-arcs-50meV",
    _FILES,
)


class IncompleteDatasetWarning(UserWarning):
    """A local folder holds only part of a data set, and that part was returned."""


def load_aluminium_model(source="dft"):
    """Make a force-constant model of aluminium from published constants.

    The crystal is fcc and the forces reach to second neighbours, with the
    parameters ``1XX, 1ZZ, 1XY, 2XX, 2YY`` in eV/Angstrom^2. The two fits to
    measured dispersions reach further and are truncated here at the second shell:
    use them to compare near neighbours or as a starting point, not to reproduce
    the frequencies that they were fitted to.

    Parameters
    ----------
    source : {"dft", "cowley-1974", "gilat-nicklow-1966"}, default="dft"
        Origin of the constants.

        - ``"dft"``: the calculated constants around which the published training
          set of :func:`fetch_aluminium_arcs` was drawn [1]_. Lattice constant
          4.04 Angstrom, the one that set was simulated with.
        - ``"cowley-1974"``: fit to phonons measured at 80 K [2]_. Lattice constant
          4.033 Angstrom: the room-temperature value contracted by 0.39 % [4]_.
        - ``"gilat-nicklow-1966"``: axially symmetric fit at 300 K [3]_. Lattice
          constant 4.0496 Angstrom, the room-temperature value [5]_.

    Returns
    -------
    ForceConstantModel
        Its `reference` holds the constants.

    Raises
    ------
    ValueError
        If `source` is not one of the three.

    References
    ----------
    .. [1] Y. Su and C. Li, https://doi.org/10.48550/arXiv.2404.13507
    .. [2] E. R. Cowley, Can. J. Phys. 52, 1714 (1974)
    .. [3] G. Gilat and R. M. Nicklow, https://doi.org/10.1103/PhysRev.143.487
    .. [4] F. R. Kroeger and C. A. Swenson, https://doi.org/10.1063/1.323746
    .. [5] P. N. H. Nakashima, https://doi.org/10.1201/9781351045636-140000245

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_model
    >>> model = load_aluminium_model("gilat-nicklow-1966")
    >>> model.parameter_names
    ['1XX', '1ZZ', '1XY', '2XX', '2YY']
    >>> model.reference.round(4)
    array([ 0.6122, -0.1009,  0.713 ,  0.1557, -0.0321])
    """
    if source == "dft":
        lattice_constant = _LABEL_LATTICE_CONSTANT
        reference = bvk_from_label(_LABEL_REFERENCE)
    elif source in _PUBLISHED_FITS:
        lattice_constant, constants = _PUBLISHED_FITS[source]
        reference = np.array(constants) * EV_PER_A2_PER_NEWTON_PER_METRE
    else:
        raise ValueError(
            f"source must be one of {['dft', *_PUBLISHED_FITS]}, got {source!r}."
        )
    return ForceConstantModel(lattice_constant * _FCC, "Al", reference, n_shells=2)


def bvk_from_label(labels):
    """Convert labels of the published aluminium spectra to force constants.

    A label is ``[phi0, 2*2XX, 2*2YY, -1ZZ, 1XY]``, where ``phi0`` is the on-site
    force constant and the second neighbours count twice, since both lie on one
    site of the 2x2x2 supercell they were calculated in. ``1XX`` follows from the
    acoustic sum rule over 12 first and 6 second neighbours::

        phi0 = 8*1XX + 4*1ZZ + 2*2XX + 4*2YY

    Parameters
    ----------
    labels : array-like of shape (5,) or (n_samples, 5)
        Labels, eV/Angstrom^2.

    Returns
    -------
    ndarray of the shape of `labels`
        ``1XX, 1ZZ, 1XY, 2XX, 2YY``, eV/Angstrom^2.

    Raises
    ------
    ValueError
        If a label does not have five numbers.

    Examples
    --------
    >>> from skphonon.datasets import bvk_from_label
    >>> bvk_from_label([4.633, 0.29784, 0.014999, 0.25064, 0.64366]).round(4)
    array([ 0.6635, -0.2506,  0.6437,  0.1489,  0.0075])
    """
    labels = np.asarray(labels, dtype=float)
    if labels.shape[-1:] != (5,):
        raise ValueError(
            "labels must have shape (5,) or (n_samples, 5): phi0, 2*2XX, 2*2YY, "
            f"-1ZZ, 1XY; got shape {labels.shape}."
        )
    onsite, twice_2xx, twice_2yy, minus_1zz, xy1 = np.moveaxis(labels, -1, 0)
    zz1, xx2, yy2 = -minus_1zz, twice_2xx / 2, twice_2yy / 2
    xx1 = (onsite - 4 * zz1 - 2 * xx2 - 4 * yy2) / 8
    return np.stack([xx1, zz1, xy1, xx2, yy2], axis=-1)


def fetch_aluminium_arcs(data_home=None, *, download_if_missing=True, return_X_y=False):
    """Load the aluminium powder spectra measured on ARCS from 50 to 640 K.

    Seven images of chi''(Q, E) of polycrystalline aluminium, incident energy
    50 meV, with one published simulated spectrum and the 10,000 parameter sets of
    the published training set [1]_. Files come from the authors' repository, about
    1.5 MB in all, and every one is checked against its sha256 each time it is read.
    Each spectrum is in units of its own range, ``(x - mean) / (max - min)`` over
    the visible pixels: absolute intensities cannot be compared.

    Files are looked for in `data_home` if given, else in the folder that the
    environment variable ``SKPHONON_DATA`` names, else in the user's cache. The
    first and the last are filled by downloading; ``SKPHONON_DATA`` is only read.
    The files may lie in the subfolder ``aluminium-arcs-50meV``, where downloads
    go, or in the folder itself, there also with the paths of the authors'
    repository, so that `data_home` may name a clone of it.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that holds, or will hold, the data.
    download_if_missing : bool, default=True
        Whether to download files that are not there. If False, or if the data are
        read from ``SKPHONON_DATA``, the temperatures at hand are returned and a
        warning names the others.
    return_X_y : bool, default=False
        If True, return ``(data, temperature)``. The true force constants of a
        measured spectrum are not known, so temperature stands in the place of y.

    Returns
    -------
    Bunch
        With the attributes

        - data : ndarray of shape (n_temperatures, 7070). Measured spectra, one a
          row, energy-major; NaN outside the instrument's window.
        - temperature : ndarray of shape (n_temperatures,). Kelvin, ascending.
        - measurement : Measurement. The same, one temperature a row: chi'' with the
          grid, an energy resolution of 1.54 meV and the origin.
        - missing_temperature : ndarray of shape (7 - n_temperatures,). Kelvin;
          measured, but not in the local folder.
        - grid : SpectrumGrid of shape (70, 101), with the mask of the files.
        - parameter_names : list of str. Columns of the two arrays of constants.
        - simulated : ndarray of shape (7070,). Published simulated spectrum.
        - simulated_target : ndarray of shape (5,). Its force constants,
          eV/Angstrom^2.
        - training_targets : ndarray of shape (10000, 5). Force constants of the
          published training set, eV/Angstrom^2; row 0 is `simulated_target`.
        - DESCR : str. Description, origin and licence of the data.

        or the tuple ``(data, temperature)`` if `return_X_y`.

    Raises
    ------
    OSError
        If files are missing and were not or could not be downloaded.
    ValueError
        If a file is not the published one, by its sha256.

    Warns
    -----
    IncompleteDatasetWarning
        If only some temperatures are returned.

    References
    ----------
    .. [1] Y. Su and C. Li, "Uncovering obscured phonon dynamics from powder
           inelastic neutron scattering using machine learning",
           https://doi.org/10.48550/arXiv.2404.13507

    Examples
    --------
    >>> from skphonon.datasets import fetch_aluminium_arcs
    >>> measured = fetch_aluminium_arcs()  # doctest: +SKIP
    >>> measured.data.shape  # doctest: +SKIP
    (7, 7070)
    >>> measured.grid.to_image(measured.data).shape  # doctest: +SKIP
    (7, 70, 101)
    """
    paths, home, advice = _PUBLISHED.find(data_home, download_if_missing)
    missing = _missing_temperatures(paths, home, advice)
    if missing:
        warn_user(
            f"{home} lacks the spectra measured at {', '.join(map(str, missing))} K: "
            f"{len(_SPECTRUM_SHA256) - len(missing)} of {len(_SPECTRUM_SHA256)} "
            f"temperatures are returned. {advice}",
            IncompleteDatasetWarning,
        )
    at_hand = [t for t in _SPECTRUM_SHA256 if t not in missing]
    data = np.stack([_read_spectrum(_SPECTRUM.format(t), paths) for t in at_hand])
    temperature = np.array(at_hand, dtype=float)
    if return_X_y:
        return data, temperature
    simulated = _read_spectrum(_SIMULATED, paths)
    training_targets = bvk_from_label(_read_labels(paths))
    grid = _grid(simulated)
    measurement = Measurement(
        data,
        grid,
        quantity="chi",
        temperature=temperature,
        energy_resolution=_ENERGY_RESOLUTION,
        source=_SOURCE,
    )
    return Bunch(
        data=data,
        measurement=measurement,
        temperature=temperature,
        missing_temperature=np.array(missing, dtype=float),
        grid=grid,
        parameter_names=list(_PARAMETER_NAMES),
        simulated=simulated,
        simulated_target=training_targets[0].copy(),
        training_targets=training_targets,
        DESCR=description("aluminium_arcs"),
    )


def load_aluminium_spectra(
    temperature=None, *, data_home=None, download_if_missing=True
):
    """Load spectra measured on ARCS or, where they cannot be had, synthetic ones.

    For demonstrations that must run anywhere; research takes
    :func:`fetch_aluminium_arcs`, which raises an error instead. Synthetic spectra are
    simulated on the same pixels with white noise of about the same size, from constants
    of :func:`load_aluminium_model` that fall in proportion to the temperature, by 15 %
    from 50 to 650 K. They hold no background, and nothing else that a simulation does
    not describe. A warning tells of them, and so does the `source` of the result.

    Parameters
    ----------
    temperature : float or sequence of float, default=None
        Temperatures in K, among 50, 150, 280, 350, 450, 540 and 640. If one of those
        given is not at hand, all spectra are synthetic. None takes all at hand.
    data_home, download_if_missing : optional
        As for :func:`fetch_aluminium_arcs`.

    Returns
    -------
    Measurement
        One spectrum for each temperature, in the order given. Its `source` begins with
        "SYNTHETIC" if they were not measured.

    Raises
    ------
    ValueError
        If nothing was measured at a temperature, or a file is not the published one.

    Warns
    -----
    SyntheticDataWarning
        If spectra are synthetic.
    IncompleteDatasetWarning
        If `temperature` is None and only some temperatures are at hand.

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_spectra
    >>> measured = load_aluminium_spectra([50, 640])  # doctest: +SKIP
    >>> measured.source  # doctest: +SKIP
    'Su and Li, https://doi.org/10.48550/arXiv.2404.13507'
    """
    wanted = None if temperature is None else np.atleast_1d(temperature).astype(float)
    if wanted is not None and not np.isin(wanted, [*_SPECTRUM_SHA256]).all():
        raise ValueError(
            f"temperature must be among {[*_SPECTRUM_SHA256]} K, got {temperature}."
        )
    try:
        spectra = _measured_spectra(wanted, data_home, download_if_missing)
    except OSError as error:
        spectra = _synthetic_spectra(wanted, error)
    return spectra[0] if np.ndim(temperature) == 0 and wanted is not None else spectra


def _measured_spectra(temperature, data_home, download_if_missing):
    """Return the measurement of these temperatures; raise if one is missing."""
    options = {"download_if_missing": download_if_missing}
    if temperature is None:
        return fetch_aluminium_arcs(data_home, **options).measurement
    with warnings.catch_warnings():  # of temperatures that nobody asked for
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        measured = fetch_aluminium_arcs(data_home, **options).measurement
    at_hand = list(measured.temperature)
    missing = [f"{kelvin:g}" for kelvin in temperature if kelvin not in at_hand]
    if missing:
        raise FileNotFoundError(f"Spectra at {', '.join(missing)} K are missing.")
    rows = [at_hand.index(kelvin) for kelvin in temperature]
    return measured.replace(data=measured.data[rows], temperature=temperature)


def _synthetic_spectra(temperature, reason):
    """Simulate spectra in the place of measured ones, and say so."""
    source = warn_of_synthetic("Spectra measured on aluminium", reason)
    if temperature is None:
        temperature = np.array([*_SPECTRUM_SHA256], dtype=float)
    grid = SpectrumGrid(
        _ENERGY, _Q, incident_energy=_INCIDENT_ENERGY, two_theta=_TWO_THETA
    )
    model = load_aluminium_model()
    coldest = min(_SPECTRUM_SHA256)
    rows = [
        make_powder_spectra(
            PowderSimulator(
                model,
                grid,
                quantity="chi",
                temperature=float(kelvin),
                energy_resolution=_ENERGY_RESOLUTION,
                scattering="total",
            ),
            parameters=[model.reference * (1 - _SOFTENING * (kelvin - coldest))],
            noise=_NOISE,
            random_state=int(kelvin),
        )[0]
        for kelvin in temperature
    ]
    return Measurement(
        np.vstack(rows),
        grid,
        quantity="chi",
        temperature=temperature,
        energy_resolution=_ENERGY_RESOLUTION,
        source=source,
    )


def _missing_temperatures(paths, home, advice):
    """Return the temperatures without a spectrum; raise if too little is there."""
    missing = [t for t in _SPECTRUM_SHA256 if _SPECTRUM.format(t) not in paths]
    essential = {_SIMULATED, _LABELS} <= paths.keys()
    if not essential or len(missing) == len(_SPECTRUM_SHA256):
        absent = ", ".join(name for name in _FILES if name not in paths)
        raise FileNotFoundError(
            f"{home} must hold {_SIMULATED}, {_LABELS} and at least one measured "
            f"spectrum, in a subfolder {_PUBLISHED.folder} or directly. "
            f"Not found: {absent}. {advice}"
        )
    return missing


def _read_spectrum(name, paths):
    """Read one image as a row; `weights_only` keeps the pickle from running code."""
    import torch

    tensor = torch.load(io.BytesIO(_PUBLISHED.read(name, paths)), weights_only=True)
    return tensor.numpy().astype(float).ravel()


def _read_labels(paths):
    """Read the lines ``n [f1, f2, f3, f4, f5]`` of the label file."""
    text = _PUBLISHED.read(_LABELS, paths).decode("ascii")
    numbers = text.translate(str.maketrans("[],", "   ")).split()
    return np.array(numbers, dtype=float).reshape(-1, 6)[:, 1:]


def _grid(spectrum):
    """Make the grid of the published images, with the mask of one of them."""
    mask = np.isfinite(spectrum).reshape(_ENERGY.size, _Q.size)
    return SpectrumGrid(
        _ENERGY.copy(),
        _Q.copy(),
        incident_energy=_INCIDENT_ENERGY,
        two_theta=_TWO_THETA,
        mask=mask,
    )
