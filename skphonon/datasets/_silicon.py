"""Silicon powder measured on MARI: the file as its authors reduced it.

The file is NXSPE, intensity by detector and energy transfer in meV; it is read by
:func:`skphonon.read` as any file of a user is.
"""

from sklearn.utils import Bunch

from skphonon.datasets._published import PublishedFiles, RemoteFile, description

_LATTICE_CONSTANT = 5.431  # Angstrom, at 300 K
_TEMPERATURE = 300.0  # K

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
