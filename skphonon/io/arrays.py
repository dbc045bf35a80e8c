"""Spectra and their grid in one HDF5 file that any program can write.

At the root, the attributes ``format`` ("skphonon spectra"), ``version`` (3) and
``grid`` ("SpectrumGrid", "AngleGrid", "CrystalGrid" or "PathGrid"), and optionally
``quantity`` ("sqe" or "chi"), ``units`` and ``source``; in the group ``grid`` the
parameters of that class, those that are None left out; ``data`` and optionally
``errors``, of shape (n_samples, n_energy, n_q) or, for a crystal, (n_samples, n_energy,
n_h, n_k, n_l), NaN where nothing was measured; optionally ``temperature``, one number
or one a sample, and the numbers ``incident_energy`` and ``energy_resolution``; in the
group ``details`` anything else: numbers, texts, arrays and groups of these.

Intensities by detector have ``version`` 4 and ``grid`` = "detectors", and no group
``grid``: ``data`` and ``errors`` are of shape (n_detectors, n_energy), and the group
``detectors`` holds ``energy_edges``, ``polar``, ``azimuthal``, ``polar_width`` and
``azimuthal_width`` of a DetectorMeasurement, and optionally ``psi`` and
``ki_over_kf_scaling``, 1 or 0. All else is as above.

``energy_resolution`` may also be a group with the attribute ``kind``,
"TabulatedResolution" with ``energy`` and ``sigma``, or "PolynomialResolution" with
``coefficients`` and ``width`` ("sigma" or "fwhm"). In ``details`` the ``kind`` "list"
is that of a dataset of texts, or of a group of things numbered from 0, "csr" that of a
group of the parts of a sparse matrix, "none" that of an empty dataset that stands for
None. Files with any of these, or with the ``lattice``
of a PathGrid, have ``version`` 5, with a grid or detectors.

In version 2 there are neither ``units`` nor an AngleGrid, in version 1 also neither the
two numbers nor ``quantity``, ``source`` and ``details``.

Arrays of NumPy under names, ``.npz``, are read as well.
"""

import inspect
import io
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from skphonon._files import write_whole
from skphonon._warnings import warn_user
from skphonon.instrument import (
    AngleGrid,
    CrystalGrid,
    DetectorMeasurement,
    PathGrid,
    SpectrumGrid,
)
from skphonon.instrument.measurement import Measurement, MeasurementWarning
from skphonon.io._details import (
    as_bytes,
    read_details,
    read_resolution,
    write_details,
    write_resolution,
)
from skphonon.io._hdf5 import (
    attribute,
    check_units,
    child_group,
    find,
    names,
    place,
    read_array,
    read_number,
)
from skphonon.io._kinds import FORMAT, identify, open_as
from skphonon.io._npz import read_npz

__all__ = ["read_arrays", "write_arrays"]

_VERSION, _VERSIONS = 3, ("1", "2", "3", "4", "5")  # written, read
_VERSION_OF_LISTS = 5
_RESOLUTION = "energy_resolution"
_DETECTORS, _VERSION_OF_DETECTORS = "detectors", 4
_ANGLES = ("polar", "azimuthal", "polar_width", "azimuthal_width")
_OPTIONAL = ("psi", "ki_over_kf_scaling")
_REQUIRED = {
    SpectrumGrid: ("energy", "q"),
    AngleGrid: ("energy", "two_theta"),
    CrystalGrid: ("energy", "h", "k", "l"),
    PathGrid: ("energy", "wavevectors"),
}
_UNITS = {
    "energy": "meV",
    "energy_edges": "meV",
    **dict.fromkeys(_ANGLES, "degree"),
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
    "energy_resolution": "meV",
}
_TABLE = "skphonon.io.to_pandas(measured).to_csv(path) writes a table."
_OTHERS = {
    ".npz": "numpy.savez(path, q=..., energy=..., intensity=...) writes that.",
    ".npy": "numpy.save(path, measured.data) writes an array alone.",
    **dict.fromkeys((".csv", ".tsv", ".txt", ".dat"), _TABLE),
    **dict.fromkeys((".mat", ".json", ".pkl", ".xlsx", ".zip"), "Choose .h5."),
}
_NEEDED = {AngleGrid: {"incident_energy"}}  # beside the axes
_TEXTS = ("quantity", "units", "source")
_PAIRS = ("two_theta", "elevation")


def write_arrays(path, X, grid=None, *, errors=None, temperature=None):
    """Write a measurement, or spectra and their grid, to an HDF5 file.

    Parameters
    ----------
    path : str or path-like
        The file; what is there is replaced.
    X : Measurement, or array-like of shape (n_samples, n_pixels) or (n_pixels,)
        A measurement, which is kept as a whole, also one by detector; or spectra, one a
        row; NaN where nothing was measured.
    grid : SpectrumGrid, AngleGrid, CrystalGrid or PathGrid, default=None
        Pixels of spectra; a measurement has its own.
    errors : array-like of the shape of `X`, default=None
        Standard deviations of spectra.
    temperature : float or array-like of shape (n_samples,), default=None
        Of spectra, in K.

    Raises
    ------
    TypeError
        If the path is none, the grid is of another class or missing, or something is
        given beside a measurement.
    ValueError
        If shapes do not fit together, nothing was measured at all, or the path has the
        ending of another format.
    OSError
        If the file cannot be written; one that was there before stays.

    Warns
    -----
    MeasurementWarning
        If a file cannot keep a part of a measurement: a resolution that is a function
        of your own, or details that are neither numbers, texts, arrays, sparse matrices
        nor mappings or lists of these.

    See Also
    --------
    read_arrays : Read such a file.

    Examples
    --------
    >>> import tempfile
    >>> from skphonon import Measurement, SpectrumGrid
    >>> from skphonon.io import read_arrays, write_arrays
    >>> grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0, 3.0], incident_energy=50.0)
    >>> mine = Measurement([1, 2, 3, 4, 5, 6], grid, quantity="sqe", temperature=5.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_arrays(f"{folder}/mine.h5", mine)
    ...     measured = read_arrays(f"{folder}/mine.h5")
    >>> measured.data, measured.quantity, measured.incident_energy
    (array([[1., 2., 3., 4., 5., 6.]]), 'sqe', 50.0)
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            "path must be a str or path-like, and comes first: "
            f"skphonon.io.write_arrays(path, X); got {type(path).__name__}."
        )
    ending = Path(path).suffix.lower()
    if ending in _OTHERS:
        raise ValueError(
            f"path must have an ending of HDF5, such as .h5, got {ending!r}, which is "
            f"another format. {_OTHERS[ending]}"
        )
    beside = any(each is not None for each in (grid, errors, temperature))
    if not isinstance(X, Measurement):
        if grid is None:
            raise TypeError(
                "X must be a Measurement, or a grid be given with it; got "
                f"{type(X).__name__} and no grid. Call "
                "skphonon.io.write_arrays(path, X, grid), the path first."
            )
        _check_class(grid)
        X = Measurement(X, grid, error=errors, temperature=temperature)
    elif beside:
        raise TypeError(
            "A measurement must be all that is given, as it has a grid, errors and a "
            "temperature. Change it with replace."
        )
    if not isinstance(X, DetectorMeasurement):
        _check_class(X.grid)
    if not np.size(X.data):
        what = "spectrum" if X.grid is not None else "detector and energy"
        raise ValueError(
            f"X must hold one {what} at least, got data of shape {np.shape(X.data)}."
        )
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        _write_measurement(file, X)
    write_whole(Path(path), image.getbuffer())


def read_arrays(path):
    """Read a measurement from named arrays: a file of write_arrays, or ``.npz``.

    Any program can write such files; the guide lists what they must hold. An ``.npz``
    of :func:`numpy.savez` holds ``q`` (in 1/Angstrom, or h, k and l in rows) or
    ``two_theta`` (in degrees), ``energy``, ``intensity`` and perhaps ``error``, as for
    :meth:`skphonon.Measurement.from_arrays`, and ``incident_energy``, ``temperature``,
    ``energy_resolution``, ``quantity``, ``units`` and ``source``. Other usual names, as
    of the columns of :func:`read_text`, are known too, and ``T``. Energies are in meV:
    a text ``energy_unit`` or ``q_unit`` that says otherwise is refused. Nothing is
    unpickled.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    Measurement or DetectorMeasurement
        All that was written. What is not in the file is None; a mask of the grid, if
        none is there, is not made up from NaN. The `source` is that in the file or,
        without one, the path.

    Raises
    ------
    OSError
        If the file is missing or damaged.
    ValueError
        If it is of another kind or a newer version, something is missing in it, of
        another shape or in an unknown unit.

    Warns
    -----
    MeasurementWarning
        If an ``.npz`` holds arrays under names that are not known, and not used.

    See Also
    --------
    write_arrays : Write such a file, with an example.

    Examples
    --------
    >>> from skphonon.io import read_arrays
    >>> measured = read_arrays("mine.h5")  # doctest: +SKIP
    >>> inverter.predict(measured.data)  # doctest: +SKIP
    """
    if identify(path).key == "npz":
        return read_npz(path)
    with open_as(path, "arrays") as file:
        make, own = _layout(file)
        shape = own.pop("shape")
        data = _rows(read_array(file, "data", (None, *shape)))
        error, details = None, {}
        if find(file, "errors") is not None:
            error = _rows(read_array(file, "errors", (len(data), *shape)))
        if find(file, "details") is not None:
            details = read_details(child_group(file, "details"))
        known = {
            name: _read(file, name)
            for name in ("temperature", "incident_energy")
            if find(file, name) is not None
        }
        if find(file, _RESOLUTION) is not None:
            of_energy = read_resolution(file, _RESOLUTION)
            known[_RESOLUTION] = of_energy or _read(file, _RESOLUTION)
        texts = {name: attribute(file, "", name) for name in _TEXTS}
        texts["source"] = texts["source"] or str(path)
        try:
            return make(data, error=error, details=details, **own, **texts, **known)
        except ValueError as fault:
            raise ValueError(f"{place(file)}: {fault}") from fault


def _check_class(grid):
    if type(grid) not in _REQUIRED:
        raise TypeError(
            f"grid must be one of {', '.join(c.__name__ for c in _REQUIRED)}, got "
            f"{type(grid).__name__}."
        )


def _write_measurement(file, measured):
    grid = measured.grid
    name = _DETECTORS if grid is None else type(grid).__name__
    file.attrs.update(
        {
            "format": np.bytes_(FORMAT),
            "version": _VERSION_OF_DETECTORS if grid is None else _VERSION,
            "grid": np.bytes_(name),
        }
    )
    for name in _TEXTS:
        text = getattr(measured, name)
        if text:
            file.attrs[name] = np.bytes_(as_bytes(text))
    if grid is None:
        _write_detectors(file.create_group(_DETECTORS), measured)
    else:
        _write_grid(file.create_group("grid"), grid)
    for name, rows in (("data", measured.data), ("errors", measured.error)):
        if rows is not None:
            images = rows
            if grid is not None:
                images = grid.to_image(rows).reshape(len(rows), *_image_shape(grid))
            file.create_dataset(name, data=images, compression="gzip", shuffle=True)
    lost = []
    for name in ("temperature", "incident_energy", _RESOLUTION):
        value = getattr(measured, name)
        if name == _RESOLUTION and write_resolution(file, name, value):
            continue
        if callable(value):
            lost.append(f"{name}, which is a function")
        elif value is not None:
            _write(file, name, np.asarray(value, dtype=float))
    if measured.details:
        write_details(file.create_group("details"), measured.details, lost)
    if _is_new(file):
        file.attrs["version"] = _VERSION_OF_LISTS
    if lost:
        warn_user(
            f"A file cannot keep {' and '.join(lost)}: give it to what is read, with "
            "replace.",
            MeasurementWarning,
        )


def _is_new(file):
    """Tell whether a file holds what earlier versions would not understand."""
    found = file.visititems(lambda _, part: True if "kind" in part.attrs else None)
    path = file.attrs["grid"] == b"PathGrid" and "grid/lattice" in file
    return bool(found or path)


def _image_shape(grid):
    return grid.volume_shape if isinstance(grid, CrystalGrid) else grid.shape


def _rows(images):
    return images.reshape(len(images), -1)


def _write_grid(group, grid):
    for name, value in grid.settings().items():
        if name == "mask" and value is not None:
            group[name] = np.asarray(value, dtype=bool).reshape(_image_shape(grid))
        elif value is not None:
            _write(group, name, np.asarray(value, dtype=float))


def _write_detectors(group, run):
    for name in ("energy_edges", *_ANGLES, *_OPTIONAL):
        value = getattr(run, name)
        if value is not None:
            _write(group, name, np.asarray(value, dtype=float))


def _write(group, name, value):
    group[name] = value
    if name in _UNITS:
        group[name].attrs["units"] = np.bytes_(_UNITS[name])


def _read(group, name):
    """Return a number or an array, the way constructors take them."""
    value = read_array(group, name)
    if name in _UNITS:
        check_units(group, name, (_UNITS[name].lower(),))
    return _value(value)


def _read_pair(group, name):
    value = np.asarray(_read(group, name))
    if value.shape != (2,):
        raise ValueError(
            f"{place(group, name)} must be two angles, got shape {value.shape}."
        )
    return tuple(value.tolist())


def _value(array):
    return array if array.ndim else array.item()


def _layout(file):
    """Return the class of a measurement, settings of its own, and a row's shape."""
    grid_class = _grid_class(file)
    if grid_class is None:
        return DetectorMeasurement, _read_detectors(child_group(file, _DETECTORS))
    grid, shape = _read_grid(child_group(file, "grid"), grid_class)
    return Measurement, {"grid": grid, "shape": shape}


def _read_detectors(group):
    unknown = set(names(group)) - {"energy_edges", *_ANGLES, *_OPTIONAL}
    if unknown:
        raise ValueError(
            f"{place(group)} must hold parameters of DetectorMeasurement only, got "
            f"{', '.join(sorted(unknown))}."
        )
    own: dict[str, Any] = {
        name: _read(group, name) for name in ("energy_edges", *_ANGLES)
    }
    own["shape"] = (max(np.size(own["energy_edges"]) - 1, 0),)
    for name in _OPTIONAL:
        if find(group, name) is not None:
            own[name] = read_number(group, name)
    scaled = own.get("ki_over_kf_scaling")
    if scaled not in (None, 0, 1):
        raise ValueError(
            f"{place(group, 'ki_over_kf_scaling')} must be 1 or 0, got {scaled:g}."
        )
    if scaled is not None:
        own["ki_over_kf_scaling"] = bool(scaled)
    return own


def _grid_class(file):
    version, name = (attribute(file, "", key) for key in ("version", "grid"))
    if version not in _VERSIONS:
        raise ValueError(
            f"{place(file)} must have the attribute version {' or '.join(_VERSIONS)}, "
            f"got {version!r}. A newer skphonon may read it."
        )
    classes = {grid.__name__: grid for grid in _REQUIRED}
    if name == _DETECTORS:
        return None
    if name not in classes:
        raise ValueError(
            f"{place(file)} must have an attribute grid, one of "
            f"{', '.join((*classes, _DETECTORS))}; got {name!r}."
        )
    return classes[name]


def _read_grid(group, grid_class):
    """Return the grid, and the shape of an image or volume on it."""
    required, here = _REQUIRED[grid_class], set(names(group))
    unknown = here - set(inspect.signature(grid_class).parameters)
    if unknown:
        raise ValueError(
            f"{place(group)} must hold parameters of {grid_class.__name__} only, got "
            f"{', '.join(sorted(unknown))}."
        )
    axes = [_read(group, name) for name in required]
    others = {
        name: (_read_pair if name in _PAIRS else _read)(group, name)
        for name in (here | _NEEDED.get(grid_class, set())) - {*required, "mask"}
    }
    if "mask" in here:  # of the shape of a volume
        shape = tuple(len(np.atleast_1d(axis)) for axis in axes)
        mask = read_array(group, "mask", shape)
        if np.isnan(mask).any():
            raise ValueError(
                f"{place(group, 'mask')} must be 1 or 0 at each pixel, got "
                f"{np.isnan(mask).sum()} NaN."
            )
        mask = mask.astype(bool)
        others["mask"] = mask.reshape(len(mask), -1)
    try:
        grid = grid_class(*axes, **others)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place(group)}: {error}") from error
    return grid, _image_shape(grid)
