"""Files of Horace that are damaged, or made to do harm."""

import struct

import numpy as np
import pytest
from horace_files import random_pixels, write_horace

from skphonon.io.horace import read_horace

BOX = [
    np.arange(-1.5, 1.6, 0.75),
    np.arange(-1.5, 1.6, 0.5),
    np.array([-1.0, 1.0]),
    np.arange(5.0, 46.0, 10.0),
]


def deep(blocks):
    """Put cells in one another, deeper than Python may call itself."""
    blocks["data", "metadata"] = bytes([23, 1, 1, 0, 0, 0]) * 20_000


def many(blocks):
    """Announce four thousand million objects."""
    blocks["data", "metadata"] = struct.pack("<BBI", 23, 1, 2**32 - 1) + bytes(99)


def empty(blocks):
    """Hold many things of two bytes each, which Python needs more for."""
    blocks["data", "metadata"] = struct.pack("<BBI", 23, 1, 99_999) + bytes(
        [3, 0] * 99_999
    )


def unknown(blocks):
    """Hold a function."""
    blocks["data", "metadata"] = bytes([25, 1, 1, 0, 0, 0])


def huge_image(blocks):
    """Announce an image that is larger than the file."""
    data = blocks["data", "nd_data"]
    blocks["data", "nd_data"] = struct.pack("<III", 2, 2**31, 2**31) + data[16:]
    blocks["data", "metadata"]["axes"]["nbins_all_dims"] = np.array(
        [2.0**31, 2.0**31, 1, 1]
    )


def huge_list(blocks):
    """Announce more pixels than the file holds."""
    listed = blocks["pix", "data_wrap"]
    blocks["pix", "data_wrap"] = struct.pack("<IQ", 9, 2**62) + listed[12:]


@pytest.mark.parametrize("change", [deep, many, empty, unknown, huge_image, huge_list])
def test_hostile_blocks_are_damage(tmp_path, change):
    path = write_horace(tmp_path / "a.sqw", random_pixels(), BOX, change=change)
    with pytest.raises(OSError, match=r"a\.sqw cannot be read .*Copy it again"):
        read_horace(path)


@pytest.mark.parametrize(
    "place",
    [
        lambda name, position, size: (2**63, size),
        lambda name, position, size: (position, 2**64 - 1),
        lambda name, position, size: (position, 0),
    ],
)
def test_blocks_that_are_nowhere(tmp_path, place):
    path = write_horace(tmp_path / "a.sqw", random_pixels(), BOX, place=place)
    with pytest.raises(OSError, match=r"a\.sqw cannot be read"):
        read_horace(path)


def test_blocks_in_one_place_or_missing(tmp_path):
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(), BOX,
        place=lambda name, position, size: (0, position + size),
    )  # fmt: skip
    with pytest.raises((OSError, ValueError), match=r"a\.sqw"):
        read_horace(path)
    for name in ("metadata", "nd_data"):
        path = write_horace(
            tmp_path / "a.sqw", random_pixels(), BOX,
            change=lambda blocks, name=name: blocks.pop(("data", name)),
        )  # fmt: skip
        with pytest.raises(ValueError, match=rf"must have a block data/{name}.* main_"):
            read_horace(path)


@pytest.mark.parametrize("version", [4.0, 2.0])
def test_files_cut_off_anywhere(tmp_path, version):
    path = write_horace(tmp_path / "a.sqw", random_pixels(30), BOX, version=version)
    content = path.read_bytes()
    for length in range(30, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(OSError, match=r"a\.sqw cannot be read"):
            read_horace(path)
