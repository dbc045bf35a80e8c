"""One function for any measured file: what it holds decides, never its name."""

import logging
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from io import IOBase
from typing import Any

from skphonon.instrument.measurement import Measurement
from skphonon.io._kinds import identify

__all__ = ["read"]

_log = logging.getLogger(__name__)

_READERS = {  # by kind: module and function
    "arrays": ("arrays", "read_arrays"),
    "grp": ("dave", "read_dave"),
    "horace": ("horace", "read_horace"),
    "ill": ("triple_axis", "read_triple_axis"),
    "mdhisto": ("mantid", "read_mdhisto"),
    "npz": ("arrays", "read_arrays"),
    "nxspe": ("nxspe", "read_nxspe"),
    "processed": ("processed", "read_processed"),
    "spe": ("spe", "read_spe"),
    "spice": ("triple_axis", "read_triple_axis"),
    "table": ("text", "read_text"),
}
_SCANS = ("ill", "spice")


def read(*paths: str | os.PathLike) -> Measurement | list[Measurement]:
    """Read measured files of any known kind.

    The content says what a file is. Readers that can be told more, such as units that a
    table does not name, are in :mod:`skphonon.io`; a message names the one.

    Parameters
    ----------
    *paths : str or path-like
        One file or several. Triple-axis scans of one format are joined to one
        measurement. SPE files do not tell the incident energy: read them with
        :func:`~skphonon.io.read_spe`, which takes it and the table of their detectors,
        a .par or .phx file.

    Returns
    -------
    Measurement or list of Measurement
        A list if the files hold several measurements: one for each, in the order of the
        paths. Detectors by energy transfer are a
        :class:`~skphonon.instrument.DetectorMeasurement`, which has no grid yet.

    Raises
    ------
    TypeError
        If something else than paths is given: the message names the function for it.
    OSError
        If a file is missing or damaged.
    ValueError
        If a file is of no kind that can be read, or does not hold all that is needed:
        the message says what it is and what to do.

    See Also
    --------
    skphonon.Measurement.from_arrays : Make a measurement of arrays.
    skphonon.io.reduce_powder, skphonon.io.reduce_crystal : Rebin detectors.

    Examples
    --------
    >>> import skphonon
    >>> measured = skphonon.read("silicon.nxspe")  # doctest: +SKIP
    >>> measured.plot()  # doctest: +SKIP
    """
    if not paths:
        raise TypeError("read takes one file at least, got none.")
    for path in paths:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(
                "read must be given paths, each a str or path-like, got "
                f"{type(path).__name__}. {_advice(path)}"
            )
    kinds = [identify(path) for path in paths]
    for path, kind in zip(paths, kinds, strict=True):
        _log.info("%s: %s", path, kind.noun)
    tables = [
        path for path, kind in zip(paths, kinds, strict=True) if kind.key == "detectors"
    ]
    spe = [kind.key for kind in kinds].count("spe")
    if len(tables) > 1:
        raise ValueError(
            "There must be one table of detectors, got "
            f"{' and '.join(map(str, tables))}. Read each SPE file with its own."
        )
    found: list[Measurement] = []
    joined: set[str] = set()
    for path, kind in zip(paths, kinds, strict=True):
        key = kind.key
        if key in joined or (key == "detectors" and spe):
            continue
        if key not in _READERS:
            raise ValueError(
                f"{path} must be measured spectra, got {kind.noun}. {kind.advice}"
            )
        reader = _reader(key)
        if key in _SCANS:
            same = [p for p, k in zip(paths, kinds, strict=True) if k.key == key]
            made = reader(same)
            joined.add(key)
        elif key == "spe" and tables:
            made = reader(path, tables[0])
        else:
            made = reader(path)
        found += made if isinstance(made, list) else [made]
    return found[0] if len(found) == 1 else found


def _advice(given: Any) -> str:
    """Return what to do with what is no path."""
    name, module = type(given).__name__, type(given).__module__.partition(".")[0]
    if isinstance(given, IOBase):
        return "Pass the path of the open file, its name."
    if isinstance(given, list | tuple | set | Iterator):
        return "Take the paths out of it: skphonon.read(*paths)."
    if module == "pandas":
        return "Call skphonon.io.from_pandas with a DataFrame."
    if module == "scipp":
        return "Call skphonon.io.from_scipp with a DataArray."
    if isinstance(given, Measurement):
        return "It is a measurement already."
    if isinstance(given, bytes):
        return "Turn it into a str with os.fsdecode."
    if module in ("numpy", "xarray", "torch") or name == "dict":
        return "Call skphonon.Measurement.from_arrays with axes and intensities."
    return "Pass the path of a file, such as skphonon.read('silicon.nxspe')."


def _reader(key: str) -> Callable[..., Any]:
    module, name = _READERS[key]
    return getattr(import_module(f"skphonon.io.{module}"), name)
