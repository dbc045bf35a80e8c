"""Measurements as labelled arrays of scipp, and back."""

import json

import numpy as np
import pandas as pd

from skphonon._numbers import numbers_of
from skphonon._warnings import warn_user
from skphonon.instrument import AngleGrid, CrystalGrid, SpectrumGrid
from skphonon.instrument.measurement import (
    Measurement,
    MeasurementWarning,
    require_grid,
)
from skphonon.io._crystal_axes import axes_of, on_crystal
from skphonon.io._labels import label
from skphonon.io._points import rows_by_mask
from skphonon.physics.constants import MEV_PER_INVERSE_CM, MEV_PER_THZ

__all__ = ["from_scipp", "to_scipp"]

_ENERGY, _Q, _ANGLE, _SPECTRUM = "energy_transfer", "Q", "two_theta", "spectrum"
_WAVEVECTOR = "wavevector"  # dimension of points of a path
_LATTICE, _CRYSTAL = "lattice", "crystal_grid"
_SCALARS = {
    "incident_energy": ("incident_energy", "Ei", "ei"),
    "temperature": ("temperature", "sample_temperature"),
    "energy_resolution": ("energy_resolution",),
}
_SCALAR_UNITS = {"incident_energy": "meV", "temperature": "K",
                 "energy_resolution": "meV"}  # fmt: skip
_TEXTS = ("quantity", "source")
_UNITS_TEXT = "intensity_units"  # as the measurement has them
_LIMITS, _ALL_ANGLES = "two_theta_limits", (0.0, 180.0)
_UNITS = ("counts", "barn/sr/meV", "1/meV", "counts/meV", "barn/meV", "1/sr/meV")
_NO_UNIT = (None, "arbitrary", "arb. units", "a.u.")


def to_scipp(measurement):
    """Turn a measurement into a labelled array of scipp.

    Parameters
    ----------
    measurement : Measurement
        Of any grid.

    Returns
    -------
    scipp.DataArray
        With the dimensions ``spectrum`` (if there are several), ``energy_transfer`` in
        meV and ``Q`` in 1/Angstrom, ``two_theta`` in degrees or ``wavevector`` (with
        the coordinates h, k and l, and ``lattice``, a scalar of three vectors in rows
        in Angstrom, if it is known; the axes of a crystal and how it was turned are in
        a text, ``crystal_grid``); errors as variances; what was not measured is NaN
        and masked; ``incident_energy``, ``temperature`` and ``energy_resolution`` are
        coordinates, and so are the texts ``quantity`` and ``source``, which scipp drops
        where two arrays differ in them. Units that scipp does not know or spells in
        another way are in a text, ``intensity_units``, limits of scattering angles in
        ``two_theta_limits``. Details are left out.

    Raises
    ------
    ImportError
        If scipp is not installed; the extra ``skphonon[scipp]`` brings it.
    ValueError
        If the measurement has no grid yet or no spectrum.

    Warns
    -----
    MeasurementWarning
        If the resolution is a function, which is left out.

    See Also
    --------
    from_scipp : The reverse.

    Examples
    --------
    >>> from skphonon import Measurement
    >>> from skphonon.io import to_scipp
    >>> measured = Measurement.from_arrays([1.0, 2.0], [5.0, 10.0], [[1, 2], [3, 4]])
    >>> to_scipp(measured).sizes  # doctest: +SKIP
    {'energy_transfer': 2, 'Q': 2}
    """
    sc = _scipp("to_scipp")
    require_grid(measurement)
    grid, several = measurement.grid, len(measurement) > 1
    if not len(measurement):
        raise ValueError("The measurement must hold a spectrum, got none.")
    data, errors = rows_by_mask(measurement)
    images = grid.to_image(data)
    errors = None if errors is None else grid.to_image(errors)
    seen = grid.settings()["mask"]
    if seen is None:  # what was measured beyond the window is kept
        seen = grid.mask | np.isfinite(images).any(axis=0)
    coords = {_ENERGY: sc.array(dims=[_ENERGY], values=grid.energy, unit="meV")}
    if hasattr(grid, "wavevectors"):
        column = _WAVEVECTOR
        for name, values in zip("hkl", grid.wavevectors.T, strict=True):
            coords[name] = sc.array(dims=[column], values=values.copy(), unit="one")
    else:
        column = _ANGLE if isinstance(grid, AngleGrid) else _Q
        unit = "deg" if column == _ANGLE else "1/angstrom"
        coords[column] = sc.array(dims=[column], values=grid.axes()[1], unit=unit)
    dims = [_SPECTRUM, _ENERGY, column] if several else [_ENERGY, column]
    for name, unit in _SCALAR_UNITS.items():
        value = getattr(measurement, name)
        if callable(value):
            warn_user(
                f"A labelled array cannot keep {name}, which is a function: give it to "
                "what is read, with replace.",
                MeasurementWarning,
            )
        elif isinstance(value, np.ndarray) and several:
            coords[name] = sc.array(dims=[_SPECTRUM], values=value, unit=unit)
        elif value is not None:
            coords[name] = sc.scalar(float(np.ravel(value)[0]), unit=unit)
    texts = {name: getattr(measurement, name) for name in _TEXTS}
    if isinstance(grid, CrystalGrid):
        texts[_CRYSTAL] = json.dumps(axes_of(grid))
    if isinstance(grid, SpectrumGrid) and grid.two_theta != _ALL_ANGLES:
        texts[_LIMITS] = json.dumps(grid.two_theta)
    if measurement.units != _text(sc, _unit(sc, measurement.units)):
        texts[_UNITS_TEXT] = measurement.units
    texts = {name: text for name, text in texts.items() if text}
    coords |= {name: sc.scalar(text) for name, text in texts.items()}
    if getattr(grid, _LATTICE, None) is not None:
        coords[_LATTICE] = sc.spatial.linear_transform(
            value=grid.lattice, unit="angstrom"
        )
    data = sc.array(
        dims=dims,
        values=images if several else images[0],
        variances=None if errors is None else (errors if several else errors[0]) ** 2,
        unit=_unit(sc, measurement.units),
    )
    masks = {"not_measured": sc.array(dims=dims[-2:], values=~seen)}
    array = sc.DataArray(data, coords=coords, masks=masks)
    for name in texts:
        array.coords.set_aligned(name, False)  # no obstacle to a sum or difference
    return array


def from_scipp(
    array,
    *,
    incident_energy=None,
    temperature=None,
    quantity=None,
    units=None,
    energy_resolution=None,
    source=None,
):
    """Make a measurement of a labelled array of scipp.

    Parameters
    ----------
    array : scipp.DataArray
        Histogram over energy transfer (a coordinate such as ``energy_transfer`` or
        ``E``) and momentum transfer (``Q``), scattering angle (``two_theta``) or
        points of a path (with coordinates h, k and l), and perhaps one dimension more,
        of several spectra. Coordinates may be centres or borders of bins, in any unit
        of energy (or frequency or wavenumber), of inverse length or of angle. Masked
        elements become NaN, variances errors.
    incident_energy : float, default=None
        In meV. None takes the coordinate of that name, if there is one.
    temperature : float or array-like of shape (n_spectra,), default=None
        In K. None takes the coordinate of that name, if there is one.
    quantity, units, energy_resolution, source : optional
        As for :class:`Measurement`. `units` None takes that of the array, and the
        others coordinates of these names, if there are any.

    Returns
    -------
    Measurement
        On a :class:`SpectrumGrid`, :class:`AngleGrid` or :class:`PathGrid`; points of
        a crystal that :func:`to_scipp` made are on a :class:`CrystalGrid` again. Errors
        of 0 become NaN.

    Raises
    ------
    ImportError
        If scipp is not installed; the extra ``skphonon[scipp]`` brings it.
    TypeError
        If it is no DataArray.
    ValueError
        If it holds events, or a coordinate is missing, not one-dimensional or in
        another unit.

    See Also
    --------
    to_scipp : The reverse.

    Examples
    --------
    >>> from skphonon.io import from_scipp
    >>> measured = from_scipp(sqw, temperature=300.0)  # doctest: +SKIP
    >>> measured.grid.shape, measured.units  # doctest: +SKIP
    ((100, 80), 'counts')
    """
    sc = _scipp("from_scipp")
    if not isinstance(array, sc.DataArray):
        raise TypeError(
            f"array must be a DataArray of scipp, got {type(array).__name__}. Take one "
            "item of a Dataset or DataGroup."
        )
    if array.bins is not None:
        raise ValueError(
            "array must be a histogram, got events in bins. Make one with array.hist()."
        )
    energy_dim = _dimension(sc, array, "energy")
    column = _dimension(sc, array, "q", besides=energy_dim)
    for dim in set(array.dims) - {energy_dim, column}:
        array = array.squeeze(dim) if array.sizes[dim] == 1 else array
    others = [dim for dim in array.dims if dim not in (energy_dim, column)]
    if len(others) > 1:
        raise ValueError(
            f"array must have at most one dimension beside {energy_dim} and {column}, "
            f"got {', '.join(others)}. Sum over them first."
        )
    array = array.transpose([*others, energy_dim, column])
    values = np.array(numbers_of(array.values, "array"))
    for mask in array.masks:
        values[_masked(sc, array, mask)] = np.nan
    energy, (name, places) = _energy(sc, array, energy_dim), _places(sc, array, column)
    told = {
        "incident_energy": incident_energy,
        "temperature": temperature,
        "quantity": quantity,
        "units": units or _told_units(sc, array),
        "energy_resolution": energy_resolution,
        "source": source,
    }
    for each, unit in _SCALAR_UNITS.items():
        if told[each] is None:
            told[each] = _told(sc, array, each, unit)
    for each in _TEXTS:
        told[each] = told[each] or _text_in(array, each)
    angles = {_ANGLE: places} if name == _ANGLE else {}
    measured = Measurement.from_arrays(
        None if angles else places,
        energy,
        _labelled(values, energy, places),
        None if array.variances is None else np.sqrt(array.variances),
        **angles,
        **told,
    )
    if np.ndim(places) == 2:
        return _of_crystal(sc, array, measured)
    limits = _text_in(array, _LIMITS)
    if not limits or not isinstance(measured.grid, SpectrumGrid):
        return measured
    try:
        return measured._on(measured.grid.replace(two_theta=json.loads(limits)))
    except ValueError as error:
        raise ValueError(
            f"The coordinate {_LIMITS} must be that of to_scipp, got {limits[:40]!r} "
            f"({error}). Drop it with array.drop_coords."
        ) from error


def _masked(sc, array, name):
    """Return where a mask holds, of the shape of the array."""
    mask = array.masks[name]
    if str(mask.dtype) != "bool" or any(
        array.sizes.get(dim) != size for dim, size in mask.sizes.items()
    ):
        raise ValueError(
            f"The mask {name} must be True or False for each element along its "
            f"dimensions, got type {mask.dtype} and {dict(mask.sizes)} for "
            f"{dict(array.sizes)}. Make it one, or drop it with array.drop_masks."
        )
    return (mask | sc.zeros(sizes=array.sizes, dtype=bool)).transpose(array.dims).values


def _labelled(values, energy, places):
    """Return images with the centres of bins as labels, if some axis has borders.

    The shape alone may tell in two ways which axis that is.
    """
    axes = [
        (axis[1:] + axis[:-1]) / 2 if len(axis) > size else axis
        for axis, size in zip((energy, places), values.shape[-2:], strict=True)
    ]
    if np.ndim(places) == 2 or (len(axes[0]), len(axes[1])) == (
        len(energy),
        len(places),
    ):
        return values
    images = [
        pd.DataFrame(image, *axes) for image in values.reshape(-1, *values.shape[-2:])
    ]
    return images if values.ndim > 2 else images[0]


def _told_units(sc, array):
    """Return the units of an array, in the words of who made it if they still hold."""
    text = _text_in(array, _UNITS_TEXT)
    same = array.unit is not None and text and _unit(sc, text) == array.unit
    return text if same else _text(sc, array.unit)


def _text_in(array, name):
    """Return a coordinate that is a text, None without one."""
    coord = array.coords.get(name)
    if coord is None or str(coord.dtype) != "string" or coord.dims:
        return None
    return coord.value


def _of_crystal(sc, array, measured):
    """Return a measurement on the grid of a crystal, or with the lattice of a path."""
    text, lattice = _text_in(array, _CRYSTAL), array.coords.get(_LATTICE)
    if text is not None:
        try:
            axes = json.loads(text)
        except ValueError:
            axes = None
        if not isinstance(axes, dict):
            raise ValueError(
                f"The coordinate {_CRYSTAL} must be that of to_scipp, got a text that "
                f"begins {text[:40]!r}. Drop it with array.drop_coords."
            )
        found = on_crystal(measured, axes, f"The coordinate {_CRYSTAL}")
        if found is not measured:
            return found
    if lattice is None:
        return measured
    if str(lattice.dtype) != "linear_transform3" or lattice.dims:
        raise ValueError(
            f"The coordinate {_LATTICE} must hold three vectors in rows, as "
            "scipp.spatial.linear_transform makes it, got type "
            f"{lattice.dtype}. Drop it with array.drop_coords, or make it one."
        )
    try:
        vectors = lattice.value * float(sc.scalar(1.0, unit=lattice.unit).to(
            unit="angstrom").value)  # fmt: skip
    except sc.UnitError as error:
        raise _unknown(lattice, _LATTICE, "angstrom") from error
    return measured._on(measured.grid.replace(lattice=vectors))


def _scipp(caller):
    try:
        import scipp
    except ImportError as error:
        raise ImportError(
            f"{caller} needs scipp: install it with pip install 'skphonon[scipp]'."
        ) from error
    return scipp


def _dimension(sc, array, axis, besides=None):
    """Return the dimension of an axis, by the names and units of its coordinates."""
    for dim in array.dims:
        if dim == besides:
            continue
        own = [name for name, coord in array.coords.items() if dim in coord.dims]
        meanings = {label(name).meaning for name in (*own, dim)}
        if axis == "energy" and "energy" in meanings and own:
            return dim
        if axis == "q" and own:
            if {"q", "h"} & meanings or _ANGLE in own:
                return dim
    wanted = "energy transfer" if axis == "energy" else "Q, two_theta or h, k and l"
    raise ValueError(
        f"array must have a coordinate of {wanted}, got dimensions "
        f"{', '.join(array.dims) or 'none'} and coordinates "
        f"{', '.join(array.coords) or 'none'}. Rename it with array.rename."
    )


def _coordinate(array, dim, meaning):
    """Return the coordinate of a meaning along a dimension, None without one."""
    for name, coord in array.coords.items():
        if dim in coord.dims and (label(name).meaning == meaning or name == meaning):
            if len(coord.dims) > 1:
                raise ValueError(
                    f"The coordinate {name} must have one dimension, got "
                    f"{', '.join(coord.dims)}. Rebin the array first."
                )
            return coord
    return None


def _energy(sc, array, dim):
    coord = _coordinate(array, dim, "energy")
    for unit, scale in (("meV", 1), ("THz", MEV_PER_THZ), ("1/cm", MEV_PER_INVERSE_CM)):
        values = _in_unit(sc, coord, unit)
        if values is not None:
            return values * scale
    raise _unknown(coord, "energy transfer", "meV, THz or 1/cm")


def _places(sc, array, dim):
    """Return the name and the values of the axis of columns."""
    for name, unit in (("q", "1/angstrom"), (_ANGLE, "deg")):
        coord = _coordinate(array, dim, name)
        if coord is not None:
            values = _in_unit(sc, coord, unit)
            if values is None:
                raise _unknown(coord, name, unit)
            return name, values
    parts = [_coordinate(array, dim, name) for name in "hkl"]
    if any(part is None for part in parts):
        raise ValueError(
            "array must have the coordinates h, k and l along one dimension, got "
            f"{', '.join(array.coords)}."
        )
    for part, name in zip(parts, "hkl", strict=True):
        if part.unit not in (None, sc.units.one):
            raise ValueError(
                f"The coordinate {name} must be in r.l.u., which have no unit, got "
                f"{part.unit}. Divide it by the reciprocal lattice vectors."
            )
    return "q", np.stack([part.values for part in parts], axis=1).astype(float)


def _in_unit(sc, coord, unit):
    try:
        return coord.to(unit=unit, dtype="float64", copy=False).values
    except (sc.UnitError, sc.DTypeError):
        return None


def _unknown(coord, name, units):
    return ValueError(
        f"The coordinate of {name} must be in {units}, or a unit that scipp makes of "
        f"it, got {coord.unit}. Set its unit."
    )


def _told(sc, array, name, unit):
    """Return a coordinate without the dimensions of an image, None without one."""
    for each in _SCALARS[name]:
        if each in array.coords:
            coord = array.coords[each]
            values = _in_unit(sc, coord, unit)
            if values is None or len(coord.dims) > 1:
                raise _unknown(coord, each, unit)
            return float(values) if not coord.dims else values
    return None


def _unit(sc, units):
    if units in _NO_UNIT:
        return "one"
    try:
        return sc.Unit(units)
    except sc.UnitError:
        return "one"


def _text(sc, unit):
    if unit is None or unit == sc.units.one:
        return None
    return next((each for each in _UNITS if sc.Unit(each) == unit), str(unit))
