"""Scans of triple-axis spectrometers in text: SPICE (Oak Ridge) and the ILL.

SPICE: lines ``# name = value``, the names of columns in the line after
``# col_headers =``, and a row a point with ``h k l e`` (r.l.u., meV), ``ei``, ``ef``.

ILL: lines of ``RRRR``, ``AAAA`` and ``VVVV`` with the number and the origin of the
scan, lines ``NAME_: content`` and, below ``DATA_:``, the names of columns and a row a
point with ``QH QK QL EN``. ``POSQE`` has those that the scan did not move, and the unit
of energy, ``PARAM`` the lattice (``AS BS CS AA BB CC``) and the wavevector ``KFIX`` in
1/Angstrom of the neutron before (``FX=1``) or after (``FX=2``) the sample.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skphonon.io._kinds import as_path, require_kind
from skphonon.io._tables import text_lines
from skphonon.physics.constants import MEV_PER_THZ, NEUTRON_HBAR2_OVER_2M

__all__ = ["Scan", "read_scan"]

_POINTS = 20_000  # of a scan at most
_LARGEST = 1e12  # of any number in a scan
_TEXT = 500  # characters of a line that are kept
_SPICE_LINE = re.compile(r"#\s*([A-Za-z_ ]{1,40}?)\s*=(.*)")
_ILL_LINE = re.compile(r"([A-Z_0-9]{4,6}):(.*)")
_ILL_VALUE = re.compile(r"([A-Z][A-Z0-9_]{0,9})\s*=\s*([-+]?[\d.]+(?:E[-+]?\d+)?)")
_ILL_UNITS = {"MEV": 1.0, "THZ": MEV_PER_THZ}
_SPICE_TEXTS = {"title": "scan_title", "command": "command", "sample": "samplename",
                "date": "date"}  # fmt: skip
_ILL_TEXTS = {"title": "TITLE", "command": "COMND", "instrument": "INSTR",
              "date": "DATE_"}  # fmt: skip
_TEMPERATURES = ("tsample", "t_sample", "sampletemp", "sample", "temp", "temperature",
                 "tt", "trt")  # fmt: skip


class Scan(NamedTuple):
    """Points of a scan; what the file does not tell is None."""

    path: Path
    points: np.ndarray  # (n_points, 4), h, k, l in r.l.u. and energy in meV
    columns: dict[str, np.ndarray]  # by name in small letters
    counts: str  # column of counts
    monitor: str  # column of the monitor
    incident_energy: np.ndarray | None  # (n_points,), meV
    final_energy: np.ndarray | None
    lattice_constants: np.ndarray | None  # a, b, c in Angstrom, three angles in degrees
    ub: np.ndarray | None  # (3, 3)
    texts: dict[str, str]

    def temperature(self, column=None):
        """Return the values and the column of the thermometer, None without one."""
        for name in (column.lower(),) if column else _TEMPERATURES:
            values = self.columns.get(name)
            if values is not None and (values[np.isfinite(values)] > 0).any():
                return values, name
        if column:
            raise _no_column(self, column, "temperature")
        return None, None

    def column(self, name, what):
        """Return a column by name, and say which there are without it."""
        if name.lower() not in self.columns:
            raise _no_column(self, name, what)
        return self.columns[name.lower()]


def read_scan(path) -> Scan:
    """Return the scan of a file; ValueError if it is none or something is missing."""
    path = as_path(path)
    if require_kind(path, "spice", "ill").key == "spice":
        return _read_spice(path)
    return _read_ill(path)


def _no_column(scan, name, what):
    return ValueError(
        f"{scan.path} must have the column {name} of {what}, got "
        f"{', '.join(scan.columns)}."
    )


def _read_spice(path):
    header: dict[str, str] = {}
    names, rows, at_names = None, [], False
    for number, line in enumerate(text_lines(path), 1):
        line = line.strip()
        if at_names:
            names, at_names = line.lstrip("# ").split(), False
        elif line.startswith("#"):
            found = _SPICE_LINE.match(line)
            if found:
                header.setdefault(found[1].strip().lower(), found[2].strip()[:_TEXT])
                at_names = found[1].strip().lower() == "col_headers"
        elif line:
            rows.append((number, line))
    columns = _columns(path, names, rows)
    _require(path, columns, "h", "k", "l", "e")
    points = np.stack([columns[name] for name in "hkle"], axis=1)
    ub = _numbers(header.get("ubmatrix"), 9)
    texts = {key: header.get(name, "") for key, name in _SPICE_TEXTS.items()}
    return Scan(
        path,
        points,
        columns,
        (header.get("def_y") or "detector").lower(),
        "monitor",
        columns.get("ei"),
        columns.get("ef"),
        _cell(_numbers(header.get("latticeconstants"), 6)),
        None if ub is None else ub.reshape(3, 3),
        {key: value for key, value in texts.items() if value},
    )


def _read_ill(path):
    header: dict[str, str] = {}
    values: dict[str, dict[str, float]] = {}
    lines, names, rows = enumerate(text_lines(path), 1), None, []
    for _, line in lines:
        found = _ILL_LINE.match(line.strip())
        if not found:
            continue
        name, content = found[1], found[2].strip()[: 10 * _TEXT]
        header.setdefault(name, content)
        values.setdefault(name, {}).update(
            {key: float(value) for key, value in _safe(_ILL_VALUE.findall(content))}
        )
        if name == "DATA_":
            break
    for number, line in lines:
        line = line.strip()
        if line.startswith("MULTI:"):
            raise ValueError(
                f"{path} must be a scan of one detector, got one of several (MULTI). "
                "Write a scan for each of them."
            )
        if names is None:
            names = line.split() or None
        elif line:
            rows.append((number, line))
    columns = _columns(path, names, rows)
    polarised = columns.get("pal", np.zeros(1))
    if (polarised != polarised[0]).any():
        raise ValueError(
            f"{path} must be a scan of one polarisation, got several in the column "
            "PAL. Write a scan for each of them."
        )
    return _ill_scan(path, header, values, columns)


def _ill_scan(path, header, values, columns):
    n_points = len(next(iter(columns.values())))
    place, param = values.get("POSQE", {}), values.get("PARAM", {})
    unit = re.search(r"UN\s*=\s*([A-Za-z]+)", header.get("POSQE", ""))
    name = unit[1].upper() if unit else "MEV"
    if name not in _ILL_UNITS:
        raise ValueError(f"{path} must have energies in meV or THz, got UN={name}.")
    parts = []
    for each in ("QH", "QK", "QL", "EN"):
        if each.lower() in columns:
            parts.append(columns[each.lower()])
        elif each in place and {"qh", "qk", "ql", "en"} & set(columns):
            parts.append(np.full(n_points, place[each]))
    if len(parts) < 4:
        _require(path, columns, "qh", "qk", "ql", "en")
    points = np.stack(parts, axis=1)
    points[:, 3] *= _ILL_UNITS[name]
    fixed = param.get("KFIX", 0.0)
    incident = final = None
    if 0 < fixed < _LARGEST and param.get("FX") in (1, 2):
        constant = np.full(n_points, NEUTRON_HBAR2_OVER_2M * fixed**2)
        if param["FX"] == 1:
            incident, final = constant, constant - points[:, 3]
        else:
            incident, final = constant + points[:, 3], constant
    cell = [param.get(name, np.nan) for name in ("AS", "BS", "CS", "AA", "BB", "CC")]
    return Scan(
        path,
        points,
        columns,
        "cnts",
        "m1",
        incident,
        final,
        _cell(cell),
        None,
        {key: header[name][:_TEXT] for key, name in _ILL_TEXTS.items()
         if header.get(name)},
    )  # fmt: skip


def _columns(path, names, rows):
    """Return columns of numbers by name in small letters."""
    if not names or not rows:
        raise ValueError(
            f"{path} must have names of columns and points below them, got "
            f"{len(names or ())} names and {len(rows)} points. The scan may have been "
            "stopped before its first point."
        )
    if len(rows) > _POINTS or len(names) > 1000:
        raise ValueError(
            f"{path} must have at most {_POINTS} points and 1000 columns, got "
            f"{len(rows)} and {len(names)}."
        )
    values = np.empty((len(rows), len(names)))
    for place, (number, line) in enumerate(rows):
        cells = line.split()
        if len(cells) != len(names):
            raise ValueError(
                f"{path} must have {len(names)} numbers in line {number}, as it has "
                f"names of columns, got {len(cells)}. Copy it again if it was cut off."
            )
        try:
            values[place] = [float(cell) for cell in cells]
        except ValueError as error:
            raise ValueError(
                f"{path} must have numbers in line {number}, got {line[:60]!r}."
            ) from error
    if (np.abs(values) > _LARGEST).any():
        raise ValueError(
            f"{path} must have numbers of at most {_LARGEST:g}, got a larger one."
        )
    lower = [name.lower() for name in names]
    return {name: values[:, lower.index(name)] for name in lower}


def _require(path, columns, *names):
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(
            f"{path} must have the columns {', '.join(names)} of each point, got no "
            f"{', '.join(missing)} among {', '.join(columns)}. A scan of motors alone "
            "is no scan of Q and energy."
        )


def _safe(pairs):
    """Yield names and texts that are numbers."""
    for name, text in pairs:
        if text.count(".") < 2 and text.strip("+-."):
            yield name, text


def _cell(constants):
    """Return lattice constants that can be some, None of others."""
    if constants is None:
        return None
    cell = np.array(constants, dtype=float)
    return cell if ((cell > 0) & (cell < _LARGEST)).all() else None


def _numbers(text, length):
    """Return that many numbers of a line with commas, None of another line."""
    try:
        values = np.array([float(part) for part in (text or "").split(",")])
    except ValueError:
        return None
    return values if len(values) == length and np.isfinite(values).all() else None
