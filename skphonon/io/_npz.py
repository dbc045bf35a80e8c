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

from skphonon.instrument.measurement import Measurement

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
_TEXTS = ("quantity", "units", "source")


def read_npz(path) -> Measurement:
    """Return the measurement of an archive; ValueError, or OSError if it is damaged."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            found = _Arrays(path, archive)
            given = {name: found.numbers(name) for name in _NAMES}
            texts = {name: found.text(name) for name in _TEXTS}
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
        return _measurement(given, texts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


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
            return None
        array = self._read(there[0])
        if array.dtype.kind not in "fiub":
            raise ValueError(
                f"{self._path}: {there[0]} must hold numbers, got type {array.dtype}."
            )
        return array.astype(float)

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
