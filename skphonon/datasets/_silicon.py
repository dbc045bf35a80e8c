"""Silicon powder measured on MARI: the file as its authors reduced it.

The file is NXSPE, intensity by detector and energy transfer in meV; it is read by
:func:`skphonon.read` as any file of a user is.
"""

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skphonon.datasets._aluminium import load_aluminium_model
from skphonon.datasets._published import (
    SYNTHETIC,
    PublishedFiles,
    RemoteFile,
    description,
)
from skphonon.instrument.grid import SpectrumGrid
from skphonon.instrument.measurement import Measurement
from skphonon.physics.force_constants import ForceConstantModel
from skphonon.simulation import PowderSimulator

_LATTICE_CONSTANT = 5.431  # Angstrom, at 300 K
_TEMPERATURE = 300.0  # K

# Constants in eV/Angstrom^2 to the fifth neighbours, in the order of the model: fitted
# to published energies at Gamma, X and L (https://doi.org/10.1103/PhysRevB.6.3777),
# which they reproduce within 0.1 meV, and to elastic constants.
_FITTED = [
    *[3.356, 2.334],
    *[0.224, -0.423, 0.288, 0.0],
    *[-0.062, -0.007, -0.032, -0.06],
    *[-0.007, 0.036],
    *[0.057, 0.071, -0.019, -0.023],
]
_CAN = 0.5  # contrast of the can relative to that of silicon
_NOISE = 0.2  # of white noise, likewise

_RUN = "silicon_Ei80_300K.nxspe"
_PUBLISHED = PublishedFiles(
    "https://raw.githubusercontent.com/pace-neutrons/edatc/"
    "a9acbc7b0dc563f11d019cf83b66dd771ce161c6/",
    "mari",
    {
        _RUN: RemoteFile(
            f"powder_datafiles/{_RUN}",
            "448a920ffce822efb73e83c5f53bceddf44782408da96579081dd6e4c3d09ecf",
        ),
    },
)


def fetch_silicon_mari(data_home=None, *, download_if_missing=True):
    """Find or download a file of silicon powder measured on MARI at 300 K.

    Intensities by detector and energy transfer, incident energy 79.4 meV, with the
    elastic line and all that lies beside a sample: can, cryostat, background. The
    file, 1.4 MB, comes from the repository of a school on data analysis. It is looked
    for, downloaded to the subfolder ``mari`` and checked as those of
    :func:`fetch_aluminium_arcs`.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that holds, or will hold, the file.
    download_if_missing : bool, default=True
        Whether to download a file that is not there.

    Returns
    -------
    Bunch
        With the attributes

        - filename : str. The file, for :func:`skphonon.read`.
        - temperature : float. 300 K, of the sample.
        - lattice_constant : float. Of silicon at this temperature, Angstrom.
        - resolution : dict. What :func:`skphonon.calibrate` takes as `resolution`.
          Package and frequency of the chopper are not in the file: they fit the width
          of its elastic line, to which ``calibrate`` scales them.
        - DESCR : str. Description, origin and licence of the data.

    Raises
    ------
    OSError, ValueError
        As from :func:`fetch_aluminium_arcs`.

    Examples
    --------
    >>> import skphonon
    >>> from skphonon.datasets import fetch_silicon_mari
    >>> silicon = fetch_silicon_mari()  # doctest: +SKIP
    >>> run = skphonon.read(silicon.filename)  # doctest: +SKIP
    >>> run.data.shape  # doctest: +SKIP
    (285, 168)
    """
    paths, home, advice = _PUBLISHED.find(data_home, download_if_missing)
    if _RUN not in paths:
        raise FileNotFoundError(
            f"{home} must hold {_RUN}, in a subfolder {_PUBLISHED.folder} or directly. "
            f"Not found. {advice}"
        )
    _PUBLISHED.read(_RUN, paths)  # proves its hash
    return Bunch(
        filename=str(paths[_RUN]),
        temperature=_TEMPERATURE,
        lattice_constant=_LATTICE_CONSTANT,
        resolution={
            "instrument": "MARI",
            "chopper_frequency": 200,
            "chopper_package": "G",
        },
        DESCR=description("silicon_mari"),
    )


def make_silicon_spectrum(random_state=0):
    r"""Simulate a powder spectrum of silicon in a can of aluminium, with white noise.

    It stands in for the file of :func:`fetch_silicon_mari` where that cannot be had:
    S(Q, E) at 300 K with an incident energy of 79.4 meV, with all phonons, of constants
    to the fifth neighbours that reproduce published energies at the zone boundary. The
    can has half of the contrast of silicon, the noise a fifth.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=0
        Seed of the noise.

    Returns
    -------
    Measurement
        One spectrum of 42 energies and 53 values of \|Q\|, with an energy resolution
        of 1.4 meV; its `source` begins with "SYNTHETIC".

    Examples
    --------
    >>> from skphonon.datasets import make_silicon_spectrum
    >>> made = make_silicon_spectrum()
    >>> made.source
    'SYNTHETIC: simulated with noise, not measured'
    >>> made.grid.shape
    (42, 53)
    """
    grid = SpectrumGrid(
        np.arange(10.0, 72.0, 1.5),
        np.arange(2.0, 9.8, 0.15),
        incident_energy=79.4,
        two_theta=(3.0, 120.0),
    )
    silicon = ForceConstantModel(
        _LATTICE_CONSTANT / 2 * (np.ones((3, 3)) - np.eye(3)),
        ("Si", "Si"),
        np.array(_FITTED),
        positions=np.array([[0.0, 0.0, 0.0], [0.25, 0.25, 0.25]]),
        n_shells=5,
    )
    data = np.zeros((1, grid.n_pixels))
    for model, contrast in (
        (silicon, 1.0),
        (load_aluminium_model("gilat-nicklow-1966"), _CAN),
    ):
        simulator = PowderSimulator(
            model,
            grid,
            quantity="sqe",
            temperature=_TEMPERATURE,
            energy_resolution=1.4,
            scattering="total",
        )
        part = simulator.simulate([model.reference])
        data += contrast * part / np.nanstd(part)
    noise = check_random_state(random_state).normal(size=data.shape)
    return Measurement(
        data + _NOISE * noise,
        grid,
        quantity="sqe",
        temperature=_TEMPERATURE,
        energy_resolution=1.4,
        source=SYNTHETIC,
    )
