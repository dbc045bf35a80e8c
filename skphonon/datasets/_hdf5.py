"""HDF5 files of others: errors that name the file and the place in it."""

from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np


@contextmanager
def open_hdf5(path):
    """Open a file for reading.

    Raises
    ------
    OSError
        If there is no such file, or it is damaged.
    ValueError
        If it is not an HDF5 file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file, found none.")
    if not h5py.is_hdf5(path):
        raise ValueError(
            f"{path} must be an HDF5 file, got one without its signature. Older NeXus "
            "files are HDF4: load them in the program that wrote them, and save again."
        )
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error}). Copy it again.") from error
    with file:
        yield file


def place(group, name=""):
    """Say where something is or should be: the file and the path in it."""
    path = f"{group.name.rstrip('/')}/{name}".rstrip("/")
    return f"{group.file.filename}: {path}" if path else group.file.filename


def child_group(group, name):
    """Return a group of a group."""
    return _child(group, name, h5py.Group, "group")


def child_dataset(group, name):
    """Return a dataset of a group."""
    return _child(group, name, h5py.Dataset, "dataset")


def read_array(group, name, shape=None):
    """Return a dataset as float64 array; None in `shape` stands for any length."""
    dataset = child_dataset(group, name)
    if dataset.dtype.kind not in "fiub":
        raise ValueError(
            f"{place(group, name)} must hold numbers, got type {dataset.dtype}."
        )
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
    return np.asarray(dataset[()], dtype=float)


def read_number(group, name):
    """Return a dataset of one number, of whatever shape."""
    array = read_array(group, name)
    if array.size != 1:
        raise ValueError(
            f"{place(group, name)} must hold one number, got shape {array.shape}."
        )
    return float(array.ravel()[0])


def read_text(value):
    """Return text that files keep as bytes, str or an array of one of these."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def attribute(group, name, key):
    """Return a text attribute of a child, None where there is none."""
    value = group[name].attrs.get(key)
    return None if value is None else read_text(value).strip()


def check_units(group, name, known):
    """Refuse units that are not among the known spellings; none at all is right."""
    units = attribute(group, name, "units")
    if units and units.lower() not in known:
        raise ValueError(
            f"{place(group, name)} must be in one of the units {', '.join(known)}, got "
            f"units {units!r}. Convert it before it is saved."
        )


def _child(group, name, kind, noun):
    found = group.get(name)
    if not isinstance(found, kind):
        here = ", ".join(sorted(group)) or "nothing"
        raise ValueError(
            f"{place(group, name)} must be a {noun}, found "
            f"{'none' if found is None else 'something else'}. {place(group)} holds "
            f"{here}."
        )
    return found
