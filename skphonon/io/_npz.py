"""Arrays of NumPy under names, ``.npz``: a zip of ``.npy`` files.

Sizes are checked before anything is made of them: what the zip and the header of an
array announce must agree and be in proportion to the file. Objects are not unpickled.
"""

import math
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument.measurement import Measurement, MeasurementWarning
from skphonon.io._labels import factor, label

__all__ = ["read_npz"]

_ROOM, _TIMES = 1 << 26, 10  # bytes that any file may become, and times its own size
_MEMBERS = 1000  # at most
_TEXT = 1 << 16  # bytes of a text at most
_INSIDE_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError,
    RuntimeError, KeyError, IndexError, OverflowError, UnicodeError, AttributeError,
)  # fmt: skip
_MAGIC = b"\x93NUMPY"
_LENGTHS = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}  # bytes, by version
_LONGEST = 10_000  # bytes of a header
_HEADER = re.compile(
    r"\{'descr': '(?P<type>[<>|=](?:b1|[iu][1248]|f[248]|[SU]\d{1,6}))', "
    r"'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(?:\d{1,15}, ?)*(?:\d{1,15})?)\), \}\s*"
)
_NAMES = {
    "q": ("q", "wavevectors", "hkl"),
    "two_theta": ("two_theta",),
    "energy": ("energy", "e", "energies"),
    "intensity": ("intensity", "data", "signal", "sqe"),
    "error": ("error", "errors"),
    "incident_energy": ("incident_energy", "ei"),
    "temperature": ("temperature",),
    "energy_resolution": ("energy_resolution",),
}
_ALIASES = {
    "T": "temperature",
    "temp": "temperature",
    "sample_temperature": "temperature",
    "E_i": "incident_energy",
    "e_i": "incident_energy",
}
_BY_LABEL = ("q", "energy", "intensity", "error")
_TEXTS = ("quantity", "units", "source")
_AXIS_UNITS = {
    "energy": (("energy_unit", "energy_units"), "meV"),
    "q": (("q_unit", "q_units"), "1/Angstrom"),
}
_RLU = ("rlu", "r.l.u.")
_SHOWN = 8  # names in a message


def read_npz(path) -> Measurement:
    """Return the measurement of an archive; ValueError, or OSError if it is damaged."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            found = _Arrays(path, archive)
            given = {name: found.numbers(name) for name in _NAMES}
            texts = {name: found.text(name) for name in _TEXTS}
            for axis, (names, unit) in _AXIS_UNITS.items():
                _check_unit(path, found, axis, names, unit)
            unused = found.unused()
    except MemoryError as error:
        raise OSError(f"{path} does not fit in memory ({error}).") from error
    except _INSIDE_ZIP as error:
        raise OSError(f"{path} cannot be read ({error}). Copy it again.") from error
    for name in ("energy", "intensity"):
        if given[name] is None:
            raise ValueError(
                f"{path} must hold {' or '.join(_NAMES[name])}, got "
                f"{', '.join(found.members) or 'nothing'}. Save it with numpy.savez("
                "path, q=..., energy=..., intensity=...), or read its arrays and pass "
                "them to Measurement.from_arrays."
            )
    if (given["q"] is None) == (given["two_theta"] is None):
        raise ValueError(
            f"{path} must hold one of q, in 1/Angstrom or h, k and l in rows, and "
            f"two_theta, in degrees, got {', '.join(found.members)}."
        )
    texts["source"] = texts["source"] or str(path)
    try:
        measured = _measurement(given, texts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if unused:
        listed = ", ".join(unused[:_SHOWN]) + (" ..." if unused[_SHOWN:] else "")
        warn_user(
            f"All arrays of {path} must have a name that is known, got {listed}, which "
            f"are not used. Known are {', '.join((*_NAMES, *_TEXTS))}.",
            MeasurementWarning,
        )
    return measured


def _check_unit(path, found, axis, names, unit):
    """Refuse a unit of an axis that arrays are not in."""
    for name in names:
        said = found.text(name)
        rlu = axis == "q" and said is not None and said.lower() in _RLU
        if said is not None and not rlu and factor(said, axis) != 1.0:
            raise ValueError(
                f"{path}: {axis} must be in {unit}, got {name} {said!r}. Convert it "
                "before it is saved, or pass the arrays in these units to "
                "Measurement.from_arrays."
            )


def _measurement(given, texts):
    for name in ("incident_energy", "temperature", "energy_resolution"):
        value = given[name]
        if value is not None and value.size == 1:
            given[name] = value.item()
        elif value is not None and (name != "temperature" or value.ndim != 1):
            raise ValueError(f"{name} must be one number, got shape {value.shape}.")
    return Measurement.from_arrays(**given, **texts)


class _Arrays:
    """Arrays of an archive by name, of which only those asked for are read."""

    def __init__(self, path, archive):
        self._path, self._archive = path, archive
        infos = archive.infolist()
        if len(infos) > _MEMBERS:
            raise ValueError(
                f"{path} must hold at most {_MEMBERS} arrays, got {len(infos)}."
            )
        self.members = {
            info.filename.removesuffix(".npy")[:100]: info for info in infos
        }
        self._used = set()
        self._room = max(_ROOM, _TIMES * path.stat().st_size)

    def numbers(self, meaning):
        """Return the array of a meaning, None without one."""
        names = {name.lower(): name for name in self.members}
        there = [names[name] for name in _NAMES[meaning] if name in names]
        if len(there) > 1:
            raise ValueError(
                f"{self._path} must hold one array of {meaning}, got "
                f"{' and '.join(there)}. Save one of them."
            )
        if not there:
            there = self._others(meaning)
        if not there:
            return None
        array = self._read(there[0])
        if array.dtype.kind not in "fiub":
            raise ValueError(
                f"{self._path}: {there[0]} must hold numbers, got type {array.dtype}."
            )
        if 8 * array.size > self._room:
            raise ValueError(
                f"{self._path}: {there[0]} must hold at most {self._room // 8} "
                f"numbers, got {array.size}."
            )
        return array.astype(float)

    def unused(self):
        """Return the names of arrays that nobody asked for, in order."""
        return sorted(set(self.members) - self._used)

    def _others(self, meaning):
        """Return the name of an array that is called in another usual way."""
        found = [name for name in self.members if _ALIASES.get(name) == meaning]
        if not found and meaning in _BY_LABEL:
            found = [name for name in self.members if label(name).meaning == meaning]
        if len(found) > 1:
            raise ValueError(
                f"{self._path} must hold one array of {meaning}, got "
                f"{' and '.join(found)}. Save one of them, as {meaning}."
            )
        unit = label(found[0]).unit if found and meaning in _AXIS_UNITS else None
        if unit and factor(unit, meaning) != 1.0:
            raise ValueError(
                f"{self._path}: {meaning} must be in {_AXIS_UNITS[meaning][1]}, got "
                f"the name {found[0]!r}. Convert it before it is saved."
            )
        return found

    def text(self, name):
        """Return a text, None without one."""
        if name not in self.members:
            return None
        array = self._read(name, _TEXT)
        if array.size != 1 or array.dtype.kind not in "US":
            raise ValueError(
                f"{self._path}: {name} must be a text, got type {array.dtype} and "
                f"shape {array.shape}."
            )
        value = array.item()
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    def _read(self, name, most=None):
        info = self.members[name]
        self._used.add(name)
        where = f"{self._path}: {name}"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(
                f"{where} must be stored or deflated, got compression "
                f"{info.compress_type}. Save it with numpy.savez."
            )
        self._room -= info.file_size
        if self._room < 0 or info.file_size > (most or np.inf):
            raise OSError(
                f"{where} cannot be read (it must hold {info.file_size} bytes, in a "
                f"file of {self._path.stat().st_size}). Save it with numpy.savez, "
                "without compression."
            )
        with self._archive.open(info) as member:
            shape, order, dtype = _header(member, where)
            length = math.prod(shape) * dtype.itemsize
            if length != info.file_size - member.tell():
                raise ValueError(
                    f"{where} must hold numbers or a text, got type {dtype} and shape "
                    f"{shape} in {info.file_size} bytes."
                )
            content = member.read()
        if len(content) != length:
            raise OSError(f"{where} cannot be read (it is cut off). Copy it again.")
        return np.frombuffer(content, dtype).reshape(shape, order=order)


def _header(member, where):
    """Return shape, order and type that the header of an array announces.

    By the format of NumPy's own documentation; its reader runs Python's parser on it.
    """
    begin = member.read(len(_MAGIC) + 2)
    size = _LENGTHS.get(begin[len(_MAGIC) :])
    length = member.read(size or 0)
    text = b""
    if begin.startswith(_MAGIC) and size and len(length) == size:
        text = member.read(min(int.from_bytes(length, "little"), _LONGEST))
    found = _HEADER.fullmatch(text.decode("latin-1"))
    if found is None:
        raise ValueError(
            f"{where} must be an array of numbers or texts of NumPy, got another "
            f"content, that begins {text[:60]!r}."
        )
    shape = tuple(int(part) for part in found["shape"].split(",") if part.strip())
    dtype = np.dtype(found["type"])
    return shape, "F" if found["fortran"] == "True" else "C", dtype
