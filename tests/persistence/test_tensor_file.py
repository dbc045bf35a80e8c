"""The container of model files: what comes back, and what is refused."""

import json
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skphonon.persistence._tensor_file import (
    _DTYPES,
    _checksum,
    can_hold,
    from_bytes,
    read_json,
    to_bytes,
)

TEXTS = {"who": "Ünal", "empty": ""}


@pytest.fixture(scope="module")
def arrays():
    numbers = {name: np.arange(7).astype(dtype) for name, dtype in _DTYPES.items()}
    return {
        **numbers,
        "image": np.linspace(-1, 1, 6).reshape(2, 3),
        "number": np.array(2.5),
        "nothing": np.empty((0, 4), dtype=np.float32),
        "strided": np.arange(12.0).reshape(3, 4)[:, ::2],
    }


def forged(header, data=b"", texts=TEXTS):
    """Return a file of any header, with the checksum that belongs to it."""
    header = {**header, "__metadata__": texts}
    header = header | {"__metadata__": texts | {"sha256": _checksum(header, data)}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_arrays_and_texts_come_back(arrays):
    content = to_bytes(arrays, TEXTS)
    found, texts = from_bytes(content)
    assert texts == TEXTS
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable
        assert_array_equal(found[name], array, strict=True)


def test_other_byte_orders_are_written_as_little_endian():
    found, _ = from_bytes(to_bytes({"a": np.array([1, 258], dtype=">i4")}, {}))
    assert_array_equal(found["a"], np.array([1, 258], dtype="<i4"), strict=True)


def test_safetensors_reads_and_writes_the_same(arrays):
    safetensors = pytest.importorskip("safetensors.numpy")
    found = safetensors.load(to_bytes(arrays, TEXTS))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert_array_equal(found[name], array, strict=True)


def test_only_numbers_can_be_held():
    assert can_hold(np.array([True]))
    assert not any(map(can_hold, (np.array(["a"]), np.array([None]), np.array([1j]))))


def test_the_forger_forges():
    """The refusals below are not for the checksum."""
    entry = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
    found, _ = from_bytes(forged({"a": entry}, b"ab"))
    assert_array_equal(found["a"], [97, 98])


@pytest.mark.parametrize(
    ("shape", "offsets", "dtype"),
    [
        ([3], [0, 3], "U8"),  # more than is there
        ([2**40], [0, 2**40], "U8"),
        ([2], [-2, 0], "U8"),
        ([2], [1, 3], "U8"),  # a gap
        ([1], [0, 1], "U8"),  # bytes left over
        ([2], [0, 2], "F64"),  # too few bytes for its type
        ([-1, -2], [0, 2], "U8"),
        ([2.0], [0, 2], "U8"),
        ([10**30, 0], [0, 0], "U8"),
        ("2", [0, 2], "U8"),
        ([2], [0], "U8"),
        ([2], [0, 2], "O"),
        (None, None, None),
    ],
)
def test_an_array_that_is_not_there_is_refused(shape, offsets, dtype):
    entry = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    with pytest.raises(ValueError, match=r"not described well|arrays fill"):
        from_bytes(forged({"a": entry}, b"ab"))


def test_arrays_may_not_share_bytes():
    """A small file could fill the memory otherwise."""
    entry = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
    with pytest.raises(ValueError, match="'b' is not described well"):
        from_bytes(forged({"a": entry, "b": entry}, b"ab"))


@pytest.mark.parametrize(
    "header", ["", "{", "[]", "3", "{}", '{"__metadata__": 1}', "[" * 100_000, "\x00"]
)
def test_another_header_is_refused(header):
    text = header.encode()
    with pytest.raises(ValueError, match="its header"):
        from_bytes(len(text).to_bytes(8, "little") + text)


@pytest.mark.parametrize("content", [b"", b"1234", b"\xff" * 100, b"\x00" * 100])
def test_other_content_is_refused(content):
    with pytest.raises(ValueError, match="its header"):
        from_bytes(content)


def test_json_is_read_unless_it_is_too_deep():
    """However far a library has raised the limit of recursion."""
    text = '{"a": ["[[[", "\\\\", "\\"{{", {"b": [1.5, null]}]}'
    assert read_json(text) == json.loads(text)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(ValueError, match="nested 200000 deep"):
            read_json("[" * 200_000 + "]" * 200_000)
        with pytest.raises(ValueError, match="nested"):
            read_json('{"a":' * 200_000)
    finally:
        sys.setrecursionlimit(limit)
