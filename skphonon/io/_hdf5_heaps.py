"""Heaps in which HDF5 files keep texts of variable length, checked before HDF5 does.

A heap is "GCOL", version 1 and three bytes, its length, and objects of number (two
bytes), references, four zeros, and length without this header; the number 0 stands for
free space, the length of which includes the header. HDF5 reads on for ever where a step
from one object to the next is 0, or leads out of the heap and, as addresses overflow,
back (H5HG__cache_heap_deserialize).

The length that a text itself announces, four bytes, cannot be checked from outside:
HDF5 allocates so much, 4 GiB at most, before it finds that the heap holds less.
"""

import mmap
from functools import lru_cache

__all__ = ["forget_heaps", "sound_heaps"]

_HEAP = b"GCOL\x01"  # HDF5 does not look at the three zeros that must follow


@lru_cache(maxsize=8)
def sound_heaps(path, size_of_length):
    """Tell whether all heaps of a file end where they must."""
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with content:
        start = content.find(_HEAP)
        while start >= 0:
            if not _ends(content, start, size_of_length):
                return False
            start = content.find(_HEAP, start + len(_HEAP))
    return True


def forget_heaps():
    """Make the next check read the file again."""
    sound_heaps.cache_clear()


def _ends(content, start, size_of_length):
    header = -(-(8 + size_of_length) // 8) * 8

    def length_at(place):
        return int.from_bytes(content[place + 8 : place + 8 + size_of_length], "little")

    end, here = start + length_at(start), start + header
    if end > len(content):
        return True  # no heap: HDF5 refuses to read beyond the end of the file
    while here + header <= end:
        step = length_at(here)
        if content[here : here + 2] != b"\0\0":
            step = header + -(-step // 8) * 8
        if not 0 < step <= end - here:
            return False
        here += step
    return True
