"""Safe reading of HDF5 files: nothing is read but what is named and can be true.

Files may be damaged, or made to do harm. Before anything is read its type, size,
filters and storage are checked against the file: what is announced must fit in it,
compression counted in. Links out of the file, values kept in other files and references
are refused. Readers raise ValueError where a file holds something else than it must and
OSError where it is damaged, each with the file and the place in it.
"""

import math
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from skphonon.io._hdf5_heaps import forget_heaps, sound_heaps

_INSIDE_HDF5 = (
    RuntimeError,  # RecursionError too
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    UnicodeError,
    EOFError,
)
_COMPRESSED = 1100  # times smaller at most: deflate gives no more than 1032
_FILTERS = {  # deflate, shuffle, fletcher32, szip, nbit, scaleoffset, lzf
    1, 2, 3, 4, 5, 6, 32000,
}  # fmt: skip
_TEXT = 1 << 20  # bytes of a text at most
_LINKS = 16  # soft links that lead to one another at most
_MANY = 10_000  # things in a group at most
_NO_NUMBERS = "must hold numbers, got"


@contextmanager
def open_hdf5(path):
    """Open a file for reading, and call all damage OSError, as HDF5 does not."""
    path = Path(path)
    forget_heaps()  # the same file may have changed
    try:
        with h5py.File(path, "r") as file:
            yield file
    except MemoryError as error:
        raise OSError(f"{path} does not fit in memory ({error}).") from error
    except (*_INSIDE_HDF5, OSError) as error:
        if isinstance(error, OSError) and str(path) in str(error):
            raise
        raise OSError(f"{path} cannot be read ({error}). Copy it again.") from error
    except ValueError as error:  # of h5py, or of what is made of the numbers
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error


def place(group, name=""):
    """Say where something is or should be: the file and the path in it."""
    path = f"{group.name.rstrip('/')}/{name}".rstrip("/")
    return f"{group.file.filename}: {path}" if path else group.file.filename


def names(group):
    """Return the names in a group, in order, without opening anything."""
    found = []

    def add(name):
        found.append(name.decode(errors="replace"))
        return len(found) > _MANY or None  # anything but None ends the iteration

    group.id.links.iterate(add)
    if len(found) > _MANY:
        raise ValueError(f"{place(group)} must hold at most {_MANY} things, got more.")
    return found


def find(group, path, _links=0):
    """Return the group or dataset at a path inside the file, None without one."""
    for part in filter(None, path.split("/")):
        if not isinstance(group, h5py.Group):
            return None
        links, key = group.id.links, part.encode()
        if not links.exists(key):
            return None
        kind = links.get_info(key).type
        if kind == h5py.h5l.TYPE_SOFT:
            target = links.get_val(key).decode()
            start = group.file if target.startswith("/") else group
            if _links >= _LINKS:
                raise ValueError(f"{place(group, part)} must not link to itself.")
            group = find(start, target, _links + 1)
        elif kind == h5py.h5l.TYPE_HARD:
            group = group[part]
        else:
            raise ValueError(
                f"{place(group, part)} must lie in the file itself, got a link out of "
                "it. Copy what it leads to into the file."
            )
    return group


def child_group(group, name):
    """Return a group of a group."""
    return _child(group, name, h5py.Group, "group")


def child_dataset(group, name):
    """Return a dataset of a group."""
    return _child(group, name, h5py.Dataset, "dataset")


def read_array(group, name, shape=None, *, exact=False):
    """Return a dataset as float64 array; None in `shape` stands for any length.

    Where it is to be `exact`, whole numbers and truth values stay what they are.
    """
    dataset = child_dataset(group, name)
    if dataset.shape is None:
        raise ValueError(f"{place(group, name)} {_NO_NUMBERS} nothing at all.")
    if dataset.dtype.kind not in "fiub":
        raise ValueError(f"{place(group, name)} {_NO_NUMBERS} type {dataset.dtype}.")
    if shape is not None:
        fits = len(shape) == dataset.ndim and all(
            asked in (None, given)
            for asked, given in zip(shape, dataset.shape, strict=True)
        )
        if not fits:
            asked = ", ".join("any" if n is None else str(n) for n in shape)
            raise ValueError(
                f"{place(group, name)} must have shape ({asked}), got {dataset.shape}."
            )
    _check_storage(dataset)
    dtype = dataset.dtype.newbyteorder("=") if exact else float
    return np.asarray(dataset[()], dtype=float if dataset.dtype.kind == "f" else dtype)


def read_number(group, name):
    """Return a dataset of one number, of whatever shape."""
    array = read_array(group, name)
    if array.size != 1:
        raise ValueError(
            f"{place(group, name)} must hold one number, got shape {array.shape}."
        )
    return float(array.ravel()[0])


def read_text(group, name):
    """Return a dataset of one text, None where it is none."""
    dataset = find(group, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        return None
    if not _is_text(dataset) or dataset.size != 1:
        return None
    _check_storage(dataset)
    return _text(dataset[()])


def read_texts(group, name):
    """Return a dataset of one dimension as a list of texts."""
    dataset = child_dataset(group, name)
    if dataset.shape is None or dataset.ndim != 1 or not _is_text(dataset):
        raise ValueError(
            f"{place(group, name)} must hold a list of texts, got type "
            f"{dataset.dtype} and shape {dataset.shape}."
        )
    _check_storage(dataset)
    return [_text(each) for each in dataset[()]]


def attribute(group, name, key):
    """Return a text or number attribute of a child as text, None without it."""
    holder = find(group, name) if name else group
    if holder is None or key not in holder.attrs:
        return None
    found = holder.attrs.get_id(key)
    size = math.prod(found.shape) * found.dtype.itemsize
    if not (_is_text(found) or found.dtype.kind in "fiub") or size > _TEXT:
        raise ValueError(
            f"{place(group, name)} must have text or numbers as attribute {key}, got "
            f"type {found.dtype} and shape {found.shape}."
        )
    if _is_variable(found):
        _check_texts(holder)
    return _text(holder.attrs[key]).strip()


def check_units(group, name, known):
    """Refuse units that are not among the known spellings; none at all is right."""
    units = attribute(group, name, "units")
    if units and units.lower() not in known:
        raise ValueError(
            f"{place(group, name)} must be in one of the units {', '.join(known)}, got "
            f"units {units!r}. Convert it before it is saved."
        )


def _child(group, name, kind, noun):
    found = find(group, name)
    if not isinstance(found, kind):
        held = sorted(names(group))
        here = ", ".join(held[:20]) + (" ..." if len(held) > 20 else "") or "nothing"
        raise ValueError(
            f"{place(group, name)} must be a {noun}, found "
            f"{'none' if found is None else 'something else'}. {place(group)} holds "
            f"{here}."
        )
    return found


def _check_storage(dataset):
    """Refuse values that cannot be in the file, or that it only pretends to hold."""
    where, file_size = place(dataset), Path(dataset.file.filename).stat().st_size
    settings = dataset.id.get_create_plist()
    layout = settings.get_layout()
    if layout == h5py.h5d.VIRTUAL or settings.get_external_count():
        raise ValueError(
            f"{where} must lie in the file itself, got values in another. Copy them "
            "into it, with h5repack."
        )
    filters = {settings.get_filter(n)[0] for n in range(settings.get_nfilters())}
    if not filters <= _FILTERS:
        raise ValueError(
            f"{where} must be compressed by a filter of HDF5 itself, got number "
            f"{min(filters - _FILTERS)}. Repack it, with h5repack -f GZIP=1."
        )
    whole = layout != h5py.h5d.CHUNKED and dataset.id.get_storage_size() > 0
    most = file_size * (1 if whole else _COMPRESSED)
    chunk = math.prod(settings.get_chunk()) if layout == h5py.h5d.CHUNKED else 0
    needed = max(math.prod(dataset.shape), chunk) * dataset.id.get_type().get_size()
    if needed > most:
        raise OSError(
            f"{where} cannot be read (it must hold {needed} bytes, in a file of "
            f"{file_size}). Copy it again."
        )
    if _is_variable(dataset):
        _check_texts(dataset)


def _is_text(array):
    return array.dtype.kind == "S" or h5py.check_string_dtype(array.dtype) is not None


def _is_variable(array):
    info = h5py.check_string_dtype(array.dtype)
    return info is not None and info.length is None


def _text(value):
    """Return text that files keep as bytes, str or an array of one of these."""
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _check_texts(holder):
    """Refuse texts of variable length that HDF5 would not come to the end of."""
    path = Path(holder.file.filename)
    _, size_of_length = holder.file.id.get_create_plist().get_sizes()
    if not sound_heaps(path, size_of_length):
        raise OSError(f"{path} cannot be read (a damaged heap). Copy it again.")
