"""Spectra and their grid in one HDF5 file that any program can write.

At the root, the attributes ``format`` ("skphonon spectra"), ``version`` (1) and
``grid`` ("SpectrumGrid", "CrystalGrid" or "PathGrid"); in the group ``grid`` the
parameters of that class, those that are None left out; ``data`` and optionally
``errors``, of shape (n_samples, n_energy, n_q) or, for a crystal, (n_samples, n_energy,
n_h, n_k, n_l), NaN where nothing was measured; optionally ``temperature``, one number
or one a sample.
"""

import inspect
import io
from pathlib import Path

import h5py
import numpy as np
from sklearn.utils import Bunch

from skphonon._files import write_whole
from skphonon.datasets._hdf5 import (
    check_units,
    child_group,
    open_hdf5,
    place,
    read_array,
    read_text,
)
from skphonon.simulation import CrystalGrid, PathGrid, SpectrumGrid

__all__ = ["read_arrays", "write_arrays"]

_FORMAT, _VERSION = "skphonon spectra", 1
_REQUIRED = {
    SpectrumGrid: ("energy", "q"),
    CrystalGrid: ("energy", "h", "k", "l"),
    PathGrid: ("energy", "wavevectors"),
}
_UNITS = {
    "energy": "meV",
    "incident_energy": "meV",
    "q": "1/angstrom",
    "wavevectors": "r.l.u.",
    "projection": "r.l.u.",
    "u": "r.l.u.",
    "v": "r.l.u.",
    "lattice": "angstrom",
    "psi": "degree",
    "two_theta": "degree",
    "elevation": "degree",
    "temperature": "K",
}
_PAIRS = ("two_theta", "elevation")


def write_arrays(path, X, grid, *, errors=None, temperature=None):
    """Write spectra and their grid to an HDF5 file.

    Parameters
    ----------
    path : str or path-like
        The file; what is there is replaced.
    X : array-like of shape (n_samples, n_pixels) or (n_pixels,)
        Spectra, one a row; NaN where nothing was measured.
    grid : SpectrumGrid, CrystalGrid or PathGrid
        Their pixels.
    errors : array-like of the shape of `X`, default=None
        Standard deviations.
    temperature : float or array-like of shape (n_samples,), default=None
        K.

    Raises
    ------
    TypeError
        If the grid is of another class.
    ValueError
        If shapes do not fit together.
    OSError
        If the file cannot be written; one that was there before stays.

    See Also
    --------
    read_arrays : Read such a file.

    Examples
    --------
    >>> import tempfile
    >>> from skphonon import SpectrumGrid, read_arrays, write_arrays
    >>> grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0, 3.0], incident_energy=50.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_arrays(f"{folder}/mine.h5", [[1, 2, 3, 4, 5, 6]], grid)
    ...     measured = read_arrays(f"{folder}/mine.h5")
    >>> measured.data, measured.grid.incident_energy
    (array([[1., 2., 3., 4., 5., 6.]]), 50.0)
    """
    if type(grid) not in _REQUIRED:
        raise TypeError(
            f"grid must be one of {', '.join(c.__name__ for c in _REQUIRED)}, got "
            f"{type(grid).__name__}."
        )
    rows = np.atleast_2d(np.asarray(X, dtype=float))
    arrays = {"data": rows}
    if errors is not None:
        arrays["errors"] = np.atleast_2d(np.asarray(errors, dtype=float))
        if arrays["errors"].shape != rows.shape:
            raise ValueError(
                f"errors must have the shape of X, {rows.shape}, got "
                f"{arrays['errors'].shape}."
            )
    if temperature is not None and np.shape(temperature) not in ((), (len(rows),)):
        raise ValueError(
            f"temperature must be a number or one for each of {len(rows)} spectra, got "
            f"shape {np.shape(temperature)}."
        )
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.attrs.update(
            {"format": _FORMAT, "version": _VERSION, "grid": type(grid).__name__}
        )
        _write_grid(file.create_group("grid"), grid)
        for name, values in arrays.items():
            images = grid.to_image(values).reshape(len(rows), *_image_shape(grid))
            file.create_dataset(name, data=images, compression="gzip", shuffle=True)
        if temperature is not None:
            _write(file, "temperature", np.asarray(temperature, dtype=float))
    write_whole(Path(path), image.getbuffer())


def read_arrays(path):
    """Read spectra and their grid from an HDF5 file of the package's own layout.

    Any program can write such a file; the guide lists what it must hold.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    Bunch
        With the attributes

        - data : ndarray of shape (n_samples, n_pixels). Spectra, one a row; NaN where
          nothing was measured.
        - errors : ndarray of shape (n_samples, n_pixels) or None. Standard deviations.
        - grid : SpectrumGrid, CrystalGrid or PathGrid. Its parameters are those of the
          file; a mask, if none is there, is not made up from NaN.
        - temperature : float, ndarray of shape (n_samples,) or None. K.

    Raises
    ------
    OSError
        If the file is missing or damaged.
    ValueError
        If it is of another kind or a newer version, something is missing in it, of
        another shape or in an unknown unit.

    See Also
    --------
    write_arrays : Write such a file, with an example.

    Examples
    --------
    >>> from skphonon import read_arrays
    >>> measured = read_arrays("mine.h5")  # doctest: +SKIP
    >>> inverter.predict(measured.data)  # doctest: +SKIP
    """
    with open_hdf5(path) as file:
        grid, shape = _read_grid(child_group(file, "grid"), _grid_class(file))
        data = _rows(read_array(file, "data", (None, *shape)))
        errors = temperature = None
        if "errors" in file:
            errors = _rows(read_array(file, "errors", (len(data), *shape)))
        if "temperature" in file:
            temperature = _read(file, "temperature")
            if np.shape(temperature) not in ((), (len(data),)):
                raise ValueError(
                    f"{place(file, 'temperature')} must be a number or one for each of "
                    f"{len(data)} spectra, got shape {np.shape(temperature)}."
                )
    return Bunch(data=data, errors=errors, grid=grid, temperature=temperature)


def _image_shape(grid):
    return grid.volume_shape if isinstance(grid, CrystalGrid) else grid.shape


def _rows(images):
    return images.reshape(len(images), -1)


def _write_grid(group, grid):
    for name, value in grid.get_params().items():
        if name == "mask" and value is not None:
            group[name] = np.asarray(value, dtype=bool).reshape(_image_shape(grid))
        elif value is not None:
            _write(group, name, np.asarray(value, dtype=float))


def _write(group, name, value):
    group[name] = value
    if name in _UNITS:
        group[name].attrs["units"] = _UNITS[name]


def _read(group, name):
    """Return a number or an array, the way constructors take them."""
    value = read_array(group, name)
    if name in _UNITS:
        check_units(group, name, (_UNITS[name].lower(),))
    if name in _PAIRS:
        return tuple(value.tolist())
    return value if value.ndim else value.item()


def _grid_class(file):
    kind, version, name = (
        read_text(file.attrs.get(key, "")) for key in ("format", "version", "grid")
    )
    if kind != _FORMAT:
        raise ValueError(
            f"{place(file)} must have the attribute format {_FORMAT!r}, got {kind!r}. "
            "See read_mdhisto and read_nxspe for files of other layouts."
        )
    if version != str(_VERSION):
        raise ValueError(
            f"{place(file)} must have the attribute version {_VERSION}, got "
            f"{version!r}. A newer skphonon may read it."
        )
    classes = {grid.__name__: grid for grid in _REQUIRED}
    if name not in classes:
        raise ValueError(
            f"{place(file)} must have an attribute grid, one of {', '.join(classes)}; "
            f"got {name!r}."
        )
    return classes[name]


def _read_grid(group, grid_class):
    """Return the grid, and the shape of an image or volume on it."""
    required = _REQUIRED[grid_class]
    unknown = set(group) - set(inspect.signature(grid_class).parameters)
    if unknown:
        raise ValueError(
            f"{place(group)} must hold parameters of {grid_class.__name__} only, got "
            f"{', '.join(sorted(unknown))}."
        )
    others = set(group) - {*required, "mask"}
    grid = grid_class(
        *(_read(group, name) for name in required),
        **{name: _read(group, name) for name in others},
    )
    try:
        shape = _image_shape(grid)
    except ValueError as error:
        raise ValueError(f"{place(group)}: {error}") from error
    if "mask" in group:
        mask = read_array(group, "mask", shape).astype(bool)
        grid.mask = mask.reshape(grid.shape)
    return grid, shape
