"""Details of a measurement, and resolutions that depend on energy, in HDF5 files.

Numbers, arrays and texts are datasets, mappings groups. An attribute ``kind`` tells
what else something stands for: "list" a dataset of texts or a group of things that are
numbered from 0, "none" nothing, "csr" the parts of a sparse matrix, or the name of a
class of resolutions.
"""

from collections.abc import Mapping

import h5py
import numpy as np
from scipy.sparse import csr_array, issparse

from skphonon.instrument.resolution import PolynomialResolution, TabulatedResolution
from skphonon.io._hdf5 import (
    attribute,
    find,
    names,
    place,
    read_array,
    read_text,
    read_texts,
)

__all__ = ["as_bytes", "read_details", "read_resolution", "write_details",
           "write_resolution"]  # fmt: skip

_DEEP = 4  # groups of details in one another
_MOST = 2.0**53  # of a whole number that float64 keeps
_KIND = "kind"
_PARTS = ("data", "indices", "indptr", "shape")
_RESOLUTIONS = {
    "TabulatedResolution": (TabulatedResolution, ("energy", "sigma")),
    "PolynomialResolution": (PolynomialResolution, ("coefficients",)),
}


def write_details(group, details, lost, depth=0):
    """Write details, and name those that files cannot keep."""
    for name, value in details.items():
        odd = not isinstance(name, str) or not name.strip(".") or set(name) & set("/\0")
        if odd or not _is_utf8(name):
            lost.append(f"details[{name!r}], a name that files have no place for")
        elif not _write(group, name, value, lost, depth):
            lost.append(f"details[{name!r}], which is {type(value).__name__}")


def _write(group, name, value, lost, depth):
    """Write one of details; False of what cannot be kept."""
    packed = {"compression": "gzip", "shuffle": True}
    if depth == _DEEP and isinstance(value, Mapping | list | tuple):
        return False
    if value is None:
        _marked(group.create_dataset(name, data=h5py.Empty("f8")), "none")
    elif isinstance(value, Mapping):
        write_details(group.create_group(name), value, lost, depth + 1)
    elif isinstance(value, str):
        group[name] = np.bytes_(as_bytes(value))
    elif issparse(value):
        part = _marked(group.create_group(name), "csr")
        matrix = csr_array(value)
        for each in _PARTS:
            part.create_dataset(each, data=np.asarray(getattr(matrix, each)))
    elif _are_texts(value):
        texts = np.array([as_bytes(each) for each in value], dtype="S")
        _marked(group.create_dataset(name, data=texts), "list")
    elif isinstance(value, list | tuple) and not _are_numbers(value):
        part = _marked(group.create_group(name), "list")
        numbered = {str(n): each for n, each in enumerate(value)}
        write_details(part, numbered, lost, depth + 1)
    elif _are_numbers(value):
        group.create_dataset(name, data=value, **packed if np.size(value) > 1 else {})
    else:
        return False
    return True


def as_bytes(text):
    """Return a text as UTF-8; names of files may hold bytes that are none."""
    return text.encode(errors="surrogateescape")


def _is_utf8(name):
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _marked(written, kind):
    written.attrs[_KIND] = np.bytes_(kind)
    return written


def _are_texts(value):
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind == "U"
    listed = isinstance(value, list | tuple) and len(value) > 0
    return listed and all(isinstance(each, str) for each in value)


def _are_numbers(value):
    try:
        return np.asarray(value).dtype.kind in "fiub"
    except ValueError:  # of unequal lengths
        return False


def read_details(group, depth=0):
    """Return what `write_details` or another program wrote."""
    if depth > _DEEP:
        raise ValueError(
            f"{place(group)} must hold at most {_DEEP} groups in one another."
        )
    details = {}
    for name in names(group):
        found, kind = find(group, name), attribute(group, name, _KIND)
        if isinstance(found, h5py.Group):
            if kind == "csr":
                details[name] = _read_sparse(found)
                continue
            inner = read_details(found, depth + 1)
            details[name] = _listed(found, inner) if kind == "list" else inner
        elif kind == "none":
            details[name] = None
        elif kind == "list":
            details[name] = read_texts(group, name)
        else:
            text = read_text(group, name)
            value = read_array(group, name, exact=True) if text is None else text
            scalar = text is None and value.ndim == 0
            details[name] = value.item() if scalar else value
    return details


def _listed(group, inner):
    if not all(name.isdecimal() for name in inner):
        raise ValueError(
            f"{place(group)} must hold a list, numbered from 0, got "
            f"{', '.join(list(inner)[:4])}."
        )
    return [inner[name] for name in sorted(inner, key=int)]


def _read_sparse(group):
    parts = {name: read_array(group, name) for name in _PARTS}
    whole = [parts[name] for name in _PARTS[1:]]
    try:
        for each in whole:
            if each.ndim != 1 or not ((each == np.floor(each)) & (each < _MOST)).all():
                raise ValueError("indices must be whole numbers")
        indices, indptr, shape = (each.astype(np.int64) for each in whole)
        if shape.shape != (2,) or len(indptr) != shape[0] + 1:
            raise ValueError(f"indptr must be of the shape {shape.tolist()}")
        matrix = csr_array((parts["data"], indices, indptr), shape=tuple(shape))
        matrix.check_format(full_check=True)
    except (ValueError, IndexError, OverflowError) as error:
        raise ValueError(
            f"{place(group)} must be a sparse matrix, data, indices, indptr and shape, "
            f"got another one ({error})."
        ) from error
    return matrix


def write_resolution(file, name, resolution):
    """Write a resolution that depends on energy; False of a function."""
    kind = type(resolution).__name__
    if not isinstance(resolution, PolynomialResolution | TabulatedResolution):
        return False
    group = _marked(file.create_group(name), kind)
    for each in _RESOLUTIONS[kind][1]:
        group[each] = getattr(resolution, each)
    if isinstance(resolution, PolynomialResolution):
        group["width"] = np.bytes_(resolution.kind)
    return True


def read_resolution(file, name):
    """Return a resolution that depends on energy, None of a number."""
    group = find(file, name)
    if not isinstance(group, h5py.Group):
        return None
    kind = attribute(file, name, _KIND)
    if kind not in _RESOLUTIONS:
        raise ValueError(
            f"{place(group)} must have the attribute {_KIND}, one of "
            f"{', '.join(_RESOLUTIONS)}, got {kind!r}."
        )
    make, parts = _RESOLUTIONS[kind]
    width = read_text(group, "width")
    more = {} if width is None else {"kind": width}
    return make(*(read_array(group, each) for each in parts), **more)
