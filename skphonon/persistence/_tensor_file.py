"""Arrays and text in one file without executable content.

The layout is that of safetensors [1]_: the length of the header as an unsigned
little-endian integer of eight bytes; the header, a JSON object with the type, shape
and place of each array by its name, and texts by theirs under ``__metadata__``; then
the arrays, row by row, one after the other. Other programs read such files as well.
Of our own is only the text ``sha256``: a checksum of the header without that text,
keys in sorted order and without spaces, and of the arrays. It detects damage, not
malice: anyone who changes a file can compute it anew. So reading trusts no number in
the header, and needs no more memory than a few times the size of the file.

References
----------
.. [1] https://huggingface.co/docs/safetensors
"""

import json
import math
import re
from hashlib import sha256

import numpy as np

_LENGTH = 8  # bytes that hold the length of the header
_DEEPEST = 100  # levels of JSON; a pipeline of pipelines has some twenty
_DTYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def can_hold(array):
    """Return whether arrays of this one's type can be written."""
    return _little_endian(array) in _NAMES


def to_bytes(arrays, texts):
    """Return the content of a file that holds named arrays and named texts."""
    header, parts, end = {}, [], 0
    for name, array in arrays.items():
        dtype = _little_endian(array)
        parts.append(array.astype(dtype).tobytes())
        start, end = end, end + len(parts[-1])
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    data = b"".join(parts)
    checksum = _checksum({**header, "__metadata__": texts}, data)
    header["__metadata__"] = {**texts, "sha256": checksum}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # arrays start at a multiple of eight
    return len(text).to_bytes(_LENGTH, "little") + text + data


def from_bytes(content):
    """Return the named arrays and named texts that `to_bytes` packed.

    Raises
    ------
    ValueError
        Saying what is wrong, if the content is not whole or not of this layout.
    """
    header, data = _split(memoryview(content))
    texts = dict(header.pop("__metadata__"))
    claimed = texts.pop("sha256", None)
    if claimed != _checksum({**header, "__metadata__": texts}, data):
        raise ValueError("its content does not match its checksum")
    return _arrays(header, data), texts


def read_json(text):
    """Return the content of a JSON text that is not nested too deep.

    Python's reader calls itself at every bracket, and a library that has raised the
    limit of recursion lets it run out of memory and take the process with it.
    """
    brackets = re.sub(r'"(?:[^"\\]|\\.)*"|[^\[\]{}"]', "", text)
    depth = np.cumsum([1 if bracket in "[{" else -1 for bracket in brackets])
    if depth.max(initial=0) > _DEEPEST:
        raise ValueError(f"it is nested {depth.max()} deep")
    return json.loads(text)


def _split(content):
    length = int.from_bytes(content[:_LENGTH], "little")
    data = content[_LENGTH + length :]
    try:
        header = read_json(bytes(content[_LENGTH : _LENGTH + length]).decode())
    except ValueError as error:
        raise ValueError(
            "its header is not JSON: it is cut off or another kind of file"
        ) from error
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__"), dict):
        raise ValueError("its header does not have the texts that skphonon writes")
    return header, data


def _arrays(header, data):
    """Return the arrays, which must fill the data without gap or overlap."""
    arrays, end = {}, 0
    for name, entry in header.items():
        try:
            dtype = np.dtype(_DTYPES[entry["dtype"]])
            start, stop = entry["data_offsets"]
            size = math.prod(entry["shape"]) * dtype.itemsize
            if start != end or stop != start + size or not start <= stop <= len(data):
                raise ValueError(f"it lies at {start} to {stop} of {len(data)} bytes")
            values = np.frombuffer(data[start:stop], dtype)
            arrays[name] = values.reshape(entry["shape"]).copy()
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            raise ValueError(f"the array {name!r} is not described well") from error
        end = stop
    if end != len(data):
        raise ValueError(f"its arrays fill {end} bytes, {len(data)} are there")
    return arrays


def _checksum(header, data):
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    digest = sha256(text.encode())
    digest.update(data)
    return digest.hexdigest()


def _little_endian(array):
    return array.dtype.newbyteorder("<").str
