"""La2NiO4: a map of its spin waves along a path through the Brillouin zone.

Wavevectors are h, k, l in reciprocal lattice units of the square lattice of nickel;
energies and exchange constants are in meV, exchange positive where it favours
antiparallel spins.
"""

import io
from itertools import pairwise

import numpy as np
from sklearn.utils import Bunch

from skphonon.datasets._published import (
    PublishedFiles,
    RemoteFile,
    description,
    warn_of_synthetic,
)
from skphonon.instrument.grid import PathGrid, pixel_coordinates
from skphonon.instrument.measurement import Measurement
from skphonon.physics.spin_waves import SpinWaveModel
from skphonon.simulation import SpinWaveSimulator

_LATTICE_CONSTANT = 3.89  # Angstrom, of the square of nickel
_STACKING = 12.55  # Angstrom
_RENORMALIZATION = 1.083
_PUBLISHED_EXCHANGE = {"J": 29.00, "J'": 1.67}  # meV

_SOURCE = "Chitturi et al., https://doi.org/10.1038/s41467-023-41378-4"

# Of a synthetic map: corners of the path in r.l.u., points between two of them,
# intensity of one count and of the background, and S per spin, in 1/meV, that has an
# intensity of one in the map.
_CORNERS = [[0.5, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0], [0.5, 0, 0]]
_N_POINTS = 72
_COUNT = 0.1
_BACKGROUND = 0.5
_UNIT = 1 / 250

_ENERGY = "Elist_path2_woBG.csv"
_WAVEVECTORS = "Qlist_path2_woBG.csv"
_INTENSITY = "Sqw_path2.csv"
_WITHOUT_BACKGROUND = "Sqw_path2_woBG.csv"
_VARIANCE = "Err_path2.csv"

# At this commit all five contents are there, some under names that changed later; the
# errors are missing from later commits.
_PUBLISHED = PublishedFiles(
    "https://raw.githubusercontent.com/slaclab/neural-representation-sqw/"
    "ccea381516df711668ceb758c90199ea6eb736c7/",
    "la2nio4",
    {
        _ENERGY: RemoteFile(
            "data_experimental/Elist.csv",
            "14afd9253a300c66ca3335f749a6aaddc03e9b712c66827d7113f7bf4887d5ab",
        ),
        _WAVEVECTORS: RemoteFile(
            "data_experimental/Qlist_path2.csv",
            "32a96f7bbedf04d9876c0b43542da6d6ffb09d115a48574e20d1684b213832d8",
        ),
        _INTENSITY: RemoteFile(
            "data_experimental/Sqw_path2.csv",
            "45601712c9403711589cf517d37ecd25f16c3abcfabf75be5d4647fcde3ed3ce",
        ),
        _WITHOUT_BACKGROUND: RemoteFile(
            "data_experimental/Sqw_path2_woBG.csv",
            "76153c1a2c6c4574dbe3db86f74086b436d2114716e098631a96ee4df7f5ca60",
        ),
        _VARIANCE: RemoteFile(
            "data_experimental/Err_path2_woBG.csv",
            "27af06ed31f7bf5c86731507e64fa71f9ef3a7845d3e4007bc8db14fb4b34a8f",
        ),
    },
)


def fetch_la2nio4(data_home=None, *, download_if_missing=True):
    """Load the spin-wave map of La2NiO4 measured along a path of wavevectors.

    One image of S(Q, E) of the square-lattice spin-1 antiferromagnet, 121 energies by
    217 wavevectors, with its errors and the authors' background-subtracted map [1]_.
    Files, 1.4 MB in all, come from the authors' repository. They are looked for,
    downloaded to the subfolder ``la2nio4`` and checked as those of
    :func:`fetch_aluminium_arcs`.

    A pixel that no detector reached is NaN; one that was reached, but where nothing
    was counted, is 0 and has no error. Keep the latter in a fit that needs no errors;
    in one that does, such as chi-square, use the pixels with finite errors; leaving the
    empty ones out favours a higher intensity above 130 meV.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that holds, or will hold, the data.
    download_if_missing : bool, default=True
        Whether to download files that are not there.

    Returns
    -------
    Bunch
        With the attributes

        - data : ndarray of shape (1, 26257). Measured intensity, arbitrary units,
          energy-major; NaN where nothing was measured.
        - errors : ndarray of shape (1, 26257). Standard deviations of `data`; NaN
          also where nothing was counted.
        - counts : ndarray of shape (1, 26257). Neutrons that a pixel is worth,
          ``(data / errors)**2``; 0 where nothing was counted, else about
          1 or more.
        - without_background : ndarray of shape (1, 26257). `data` less the authors'
          background; negative in places.
        - grid : PathGrid. Energies, 121 in meV, wavevectors, 217 in reciprocal
          lattice units and in the order of the path, and the mask of what was measured.
        - coordinates : ndarray of shape (26257, 4). h, k, l and energy of every
          pixel: row i belongs to column i of `data`.
        - measurement : Measurement. `data` with `errors`, the grid and the origin.
        - lattice_constant : float. Of the square lattice, Angstrom.
        - parameter_names : list of str. Exchange with the nearest neighbours, J, and
          along the diagonal of the square, J'.
        - published_parameters : ndarray of shape (2,). The authors' analytical fit,
          meV.
        - DESCR : str. Description, origin and licence of the data.

    Raises
    ------
    OSError, ValueError
        As from :func:`fetch_aluminium_arcs`.

    References
    ----------
    .. [1] S. R. Chitturi et al., "Capturing dynamical correlations using implicit
           neural representations", https://doi.org/10.1038/s41467-023-41378-4

    Examples
    --------
    >>> from skphonon.datasets import fetch_la2nio4
    >>> measured = fetch_la2nio4()  # doctest: +SKIP
    >>> measured.grid.to_image(measured.data).shape  # doctest: +SKIP
    (1, 121, 217)
    >>> seen = measured.grid.mask.ravel()  # doctest: +SKIP
    >>> measured.coordinates[seen].shape, measured.data[0, seen].shape  # doctest: +SKIP
    ((26235, 4), (26235,))
    """
    paths, home, advice = _PUBLISHED.find(data_home, download_if_missing)
    absent = [name for name in _PUBLISHED.files if name not in paths]
    if absent:
        raise FileNotFoundError(
            f"{home} must hold {', '.join(_PUBLISHED.files)}, in a subfolder "
            f"{_PUBLISHED.folder} or directly. Not found: {', '.join(absent)}. {advice}"
        )
    energy, wavevectors = _read(_ENERGY, paths), _read(_WAVEVECTORS, paths).T
    rows, mask = _intensities(paths)
    grid = PathGrid(energy, wavevectors, mask=mask)
    return _bunch(rows, grid, source=_SOURCE, DESCR=description("la2nio4"))


def load_la2nio4_map(data_home=None, *, download_if_missing=True):
    """Load the measured spin-wave map or, where it cannot be had, a synthetic one.

    For demonstrations that must run anywhere; research takes :func:`fetch_la2nio4`,
    which raises an error instead. A synthetic map is simulated with the published
    constants along a path of about the same size, with counts of an intensity of 0.1
    each on a flat background of 0.5. A warning tells of it, and so does the `source` of
    its measurement.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that holds, or will hold, the data.
    download_if_missing : bool, default=True
        Whether to download files that are not there.

    Returns
    -------
    Bunch
        As from :func:`fetch_la2nio4`; ``measurement.source`` begins with "SYNTHETIC" if
        the map was not measured.

    Raises
    ------
    ValueError
        If a file is not the published one.

    Warns
    -----
    SyntheticDataWarning
        If the map is synthetic.

    Examples
    --------
    >>> from skphonon.datasets import load_la2nio4_map
    >>> measured = load_la2nio4_map()  # doctest: +SKIP
    >>> measured.measurement.source  # doctest: +SKIP
    'Chitturi et al., https://doi.org/10.1038/s41467-023-41378-4'
    """
    try:
        return fetch_la2nio4(data_home, download_if_missing=download_if_missing)
    except OSError as error:
        return _synthetic_map(warn_of_synthetic("The map of La2NiO4", error))


def _synthetic_map(source):
    """Draw counts from simulated spin waves on a background."""
    path = np.vstack([np.linspace(*leg, _N_POINTS) for leg in pairwise(_CORNERS)])
    grid = PathGrid(np.arange(20.0, 141.0), path)
    simulator = SpinWaveSimulator(
        load_la2nio4_model(), grid, energy_resolution=3.2, temperature=10.0
    )
    expected = simulator.simulate([simulator.reference]) / _UNIT + _BACKGROUND
    counts = np.random.default_rng(0).poisson(expected / _COUNT).astype(float)
    data = _COUNT * counts
    rows = {
        "data": data,
        "errors": np.where(counts > 0, _COUNT * np.sqrt(counts), np.nan),
        "counts": counts,
        "without_background": data - _BACKGROUND,
    }
    return _bunch(rows, grid, source=source, DESCR=source)


def _bunch(rows, grid, *, source, DESCR):
    """Return maps, with all that is known of them."""
    measurement = Measurement(
        rows["data"], grid, error=rows["errors"], quantity="sqe", source=source
    )
    return Bunch(
        **rows,
        grid=grid,
        coordinates=pixel_coordinates(grid),
        measurement=measurement,
        lattice_constant=_LATTICE_CONSTANT,
        parameter_names=list(_PUBLISHED_EXCHANGE),
        published_parameters=np.array(list(_PUBLISHED_EXCHANGE.values())),
        DESCR=DESCR,
    )


def load_la2nio4_model():
    r"""Make a spin-wave model of La2NiO4 with published constants.

    Spins of 1 on a square lattice with exchange J along its sides and J' along its
    diagonals, in meV, each bond counted once. With wavevectors in units of the
    reciprocal square lattice,

    .. math:: E = Z_c \sqrt{A^2 - B^2},\quad
              A = 4 J - 4 J' (1 - \cos 2\pi h \cos 2\pi k),\quad
              B = 2 J (\cos 2\pi h + \cos 2\pi k).

    Planes are not coupled, and there is no anisotropy, so that magnons are gapless.
    Moments are taken to lie in the plane, in two equal domains at right angles, and
    have the form factor of Ni2+.

    Returns
    -------
    SpinWaveModel
        Its `reference` is J = 29.00 and J' = 1.67 meV, an analytical fit to measured
        magnons [1]_; :math:`Z_c` = 1.083 reproduces published simulations with
        these constants. Theory has 1.079 for J' = 0 to first order in 1/S [2]_.

    References
    ----------
    .. [1] S. R. Chitturi et al., Nat. Commun. 14, 5852 (2023),
       https://doi.org/10.1038/s41467-023-41378-4
    .. [2] T. Oguchi, Phys. Rev. 117, 117 (1960),
       https://doi.org/10.1103/PhysRev.117.117

    Examples
    --------
    >>> from skphonon.datasets import load_la2nio4_model
    >>> model = load_la2nio4_model()
    >>> model.parameter_names
    ['J', "J'"]
    >>> energies, _ = model.modes([model.reference], [[0.5, 0, 0], [0.25, 0.25, 0]])
    >>> energies[0, :, 0].round(1)
    array([111.2, 118.4])
    """
    return SpinWaveModel(
        np.diag([_LATTICE_CONSTANT, _LATTICE_CONSTANT, _STACKING]),
        np.array([1.0, -1.0]),
        {"J": _LATTICE_CONSTANT, "J'": np.sqrt(2) * _LATTICE_CONSTANT},
        np.array(list(_PUBLISHED_EXCHANGE.values())),
        positions=np.array([[0.0, 0, 0], [1, 0, 0]]),
        magnetic_cell=np.array([[1.0, 1, 0], [1, -1, 0], [0, 0, 1]]),
        axis=np.array([[1.0, 1, 0], [1, -1, 0]]),
        ions="Ni2+",
        renormalization=_RENORMALIZATION,
    )


def _read(name, paths):
    """Read numbers separated by commas; there is no header."""
    return np.loadtxt(io.BytesIO(_PUBLISHED.read(name, paths)), delimiter=",")


def _intensities(paths):
    """Return the maps as rows, and which pixels were measured."""
    data, without_background, variance = (
        _read(name, paths) for name in [_INTENSITY, _WITHOUT_BACKGROUND, _VARIANCE]
    )
    # The authors subtracted their background wherever they had measured.
    mask = (data != 0) | (without_background != 0)
    # The variance of pixels without counts is a stand-in of the file.
    variance = np.where(data != 0, variance, np.nan)
    counts = np.where(data != 0, data**2 / variance, 0.0)
    rows = {
        "data": data,
        "errors": np.sqrt(variance),
        "counts": counts,
        "without_background": without_background,
    }
    rows = {name: np.where(mask, a, np.nan).reshape(1, -1) for name, a in rows.items()}
    return rows, mask
