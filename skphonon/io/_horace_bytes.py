"""Numbers, texts and objects in the binary files of Horace, read within limits.

All is little-endian and arrays are in column-major order. An object of version 4 is a
tag for its type in one byte, the number of its dimensions in one, these as uint32, and
its elements. A cell holds objects. A struct holds the names of its fields and a cell of
their values, one struct after the other. A tag of 32 stands before objects that write
themselves.
"""

import math
import struct

import numpy as np

__all__ = ["Cursor", "open_bytes", "read_object"]

_NUMBERS = {  # tags; logical values are bytes
    0: "u1", 3: "<f8", 4: "<f4", 5: "i1", 6: "u1", 7: "<i2", 8: "<u2", 9: "<i4",
    10: "<u4", 11: "<i8", 12: "<u8",
}  # fmt: skip
_CHAR, _CELL, _STRUCT, _SELF = 1, 23, 24, 32
_DEEP = 32  # objects in one another at most
_BYTES_OF_OBJECT = 12  # at least, on average: Python needs some 100 for each
_MOST = 2_000_000  # objects, of a hundred thousand runs
_FEW = 4096 // _BYTES_OF_OBJECT  # objects that may be smaller


def open_bytes(path):
    """Return the bytes of a file as an array that is read where it is used."""
    return np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)


class Cursor:
    """A place in the bytes of a file, and the end up to which may be read."""

    def __init__(self, content, path, start=0, size=None):
        end = len(content) if size is None else start + size
        self.content, self.path, self.start = content, path, start
        self.position, self.end, self.n_objects = start, end, 0
        self.view = memoryview(content)
        if end > len(content):
            raise self.damage(f"a block should end at byte {end}")

    def damage(self, what):
        """Return the error of a file that was cut off or damaged."""
        return OSError(
            f"{self.path} cannot be read ({what}, at byte {self.position} of a file of "
            f"{len(self.content)}). Copy it again."
        )

    def numbers(self, kind, count):
        """Return the next numbers of a type of NumPy, in an array of their own."""
        size = count * np.dtype(kind).itemsize
        return np.frombuffer(self._take(size), kind)

    def number(self, kind):
        """Return the next number, of a type of struct."""
        start = self.position
        self.skip(struct.calcsize(kind))
        return struct.unpack_from(kind, self.view, start)[0]

    def letters(self, count):
        """Return the next text of a length in bytes."""
        return self._take(count).decode("utf-8", errors="replace")

    def text(self):
        """Return the next text, which follows its length."""
        return self.letters(self.number("<I"))

    def skip(self, size):
        """Go on by a number of bytes, which must be there."""
        if not 0 <= size <= self.end - self.position:
            raise self.damage(f"{size} bytes should follow")
        self.position += size

    def count_object(self):
        """Refuse more objects than the bytes between start and end can mean."""
        self.n_objects += 1
        size = self.end - self.start
        if self.n_objects > min(_MOST, _FEW + size // _BYTES_OF_OBJECT):
            raise self.damage(f"more than {self.n_objects} objects in {size} bytes")

    def _take(self, size):
        start = self.position
        self.skip(size)
        return bytes(self.view[start : self.position])


def read_object(cursor, depth=0):
    """Return an object: str, float, array, list of a cell, dict of a struct or None.

    Several structs are a list of dicts.
    """
    if depth > _DEEP:
        raise cursor.damage(f"more than {_DEEP} objects in one another")
    cursor.count_object()
    tag = cursor.number("<B")
    if tag == _SELF:
        return read_object(cursor, depth + 1)
    shape = cursor.numbers("<u4", cursor.number("<B")).tolist()
    count = math.prod(shape) if shape else 0
    if tag == _CHAR:
        return cursor.letters(count)
    if tag in _NUMBERS:
        values = cursor.numbers(_NUMBERS[tag], count)
        if count == 1:
            return float(values[0])
        return values.reshape(shape, order="F") if count else None
    if tag == _CELL:
        return _read_cell(cursor, count, depth)
    if tag == _STRUCT:
        return _read_structs(cursor, count, depth) if count else None
    raise cursor.damage(f"a value of the unknown type {tag}")


def _read_cell(cursor, count, depth):
    if 2 * count > cursor.end - cursor.position:
        raise cursor.damage(f"{count} objects should follow")
    return [read_object(cursor, depth + 1) for _ in range(count)]


def _read_structs(cursor, count, depth):
    lengths = cursor.numbers("<u4", cursor.number("<I")).tolist()
    names = [cursor.letters(length) for length in lengths]
    values = read_object(cursor, depth + 1)
    n_fields = len(names)
    if not isinstance(values, list) or len(values) != count * n_fields or not n_fields:
        raise cursor.damage(f"{count} structs should have {n_fields} fields each")
    structs = []
    for first in range(0, len(values), n_fields):
        cursor.count_object()
        fields = values[first : first + n_fields]
        structs.append(dict(zip(names, fields, strict=True)))
    return structs if count > 1 else structs[0]
