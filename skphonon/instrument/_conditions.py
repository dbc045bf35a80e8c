"""Values of a measurement, checked as they come and told in words."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._numbers import numbers_of, unmasked
from skphonon._versioned import read_only

if TYPE_CHECKING:
    from skphonon.instrument.measurement import Measurement

Array = NDArray[np.float64]

#: Mark of SPE files and Mantid of what was not measured.
MARK = -1e30

_QUANTITIES = ("sqe", "chi")


def is_marked(values: Array) -> NDArray[np.bool_]:
    """Tell which values are the mark of what was not measured, also as float32."""
    return np.abs(values - MARK) <= 1e-6 * abs(MARK)


def rows_of(values: ArrayLike, name: str) -> Array:
    rows = values  # which may be ours, and then is not copied
    if type(values) is not np.ndarray or values.dtype != float:
        rows = numbers_of(values, name)
    rows = np.atleast_2d(np.asarray(rows))
    if rows.ndim != 2:
        raise ValueError(
            f"{name} must have one spectrum a row, got shape {rows.shape}. Turn images "
            "into rows with grid.to_rows."
        )
    return read_only(rows)


def errors_of(values: ArrayLike, data: Array) -> Array:
    error = rows_of(values, "error")
    if error.shape != data.shape:
        raise ValueError(
            f"error must have the shape of data, {data.shape}, got {error.shape}."
        )
    if (error < 0).any():
        raise ValueError(
            f"error must not be negative, got {np.nanmin(error):g}. It holds standard "
            "deviations."
        )
    return error


def details_of(values: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if values is not None and not isinstance(values, Mapping):
        raise ValueError(
            f"details must be a mapping from names, got {type(values).__name__}."
        )
    return values or {}


def quantity_of(value: str | None) -> str | None:
    if value is not None and not (isinstance(value, str) and value in _QUANTITIES):
        raise ValueError(
            f"quantity must be one of {', '.join(_QUANTITIES)} or None, got {value!r}."
        )
    return value


def text_of(value: Any, name: str) -> str | None:
    if name == "source" and isinstance(value, os.PathLike):
        value = os.fsdecode(value)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a text or None, got {value!r}.")
    return value or None


def frozen(value: Any) -> Any:
    """Return details that nobody can write into."""
    if isinstance(value, Mapping):
        return MappingProxyType({name: frozen(each) for name, each in value.items()})
    if type(value) in (list, tuple):
        return type(value)(map(frozen, value))
    if isinstance(value, np.ndarray) and value.dtype != object:
        return read_only(unmasked(value), None)
    return value


def temperature_of(value: ArrayLike | None, n_spectra: int) -> float | Array | None:
    if value is None:
        return None
    try:
        values = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(
            f"temperature must be a number in K, or one for each spectrum, got "
            f"{value!r}."
        ) from None
    if values.shape not in ((), (n_spectra,)):
        raise ValueError(
            f"temperature must be a number or one for each of {n_spectra} spectra, got "
            f"shape {values.shape}."
        )
    if not ((values >= 0) & (values < np.inf)).all():
        raise ValueError(f"temperature must be at least 0 K, got {value!r}.")
    return read_only(values) if values.ndim else float(values)


def told(value: Any, unit: str) -> str:
    if value is None:
        return "not known"
    if callable(value):
        return f"a function, {value!r}" if len(repr(value)) < 80 else "a function"
    if isinstance(value, str):
        return value
    numbers = np.unique(np.asarray(value, dtype=float))
    ends = "" if len(numbers) == 1 else f" to {numbers[-1]:.5g}"
    return f"{numbers[0]:.5g}{ends} {unit}"


def told_detail(detail: Any) -> str:
    """Tell a detail, or what was applied of a calibration."""
    if isinstance(detail, Mapping):
        return str(detail.get("applied") or "nothing applied")
    return str(detail)


def told_range(axis: ArrayLike, unit: str) -> str:
    values = np.atleast_1d(np.asarray(axis, dtype=float))
    if len(values) == 1:
        return f"{values[0]:.5g} {unit}"
    return f"{values[0]:.5g} to {values[-1]:.5g} {unit}, {len(values)} bins"


def told_crystal(grid: Any) -> dict[str, str]:
    """Tell the wavevectors of a grid and the cell that they refer to, if it has any."""
    if not hasattr(grid, "wavevectors"):
        return {}
    facts = {}
    if hasattr(grid, "directions"):
        for name, direction in zip("hkl", grid.directions(), strict=True):
            along = ", ".join(f"{value + 0.0:.4g}" for value in direction)
            plain = np.array_equal(direction, np.eye(3)["hkl".index(name)])
            key = name if plain else f"along [{along}]"
            facts[key] = told_range(getattr(grid, name), "r.l.u.")
    else:
        for name, values in zip("hkl", grid.wavevectors.T, strict=True):
            facts[name] = told(np.round(values, 6) + 0.0, "r.l.u.")
    if grid.lattice is not None:
        facts["lattice"] = _told_cell(np.asarray(grid.lattice))
    return facts


def _told_cell(lattice: Array) -> str:
    """Tell the edges and the angles of a cell."""
    lengths = np.linalg.norm(lattice, axis=1)
    cosines = lattice @ lattice.T / np.outer(lengths, lengths)
    angles = np.degrees(np.arccos(np.clip(cosines[[1, 2, 0], [2, 0, 1]], -1, 1)))
    edges, between = (
        ", ".join(f"{value:.5g}" for value in each) for each in (lengths, angles)
    )
    return f"{edges} Angstrom; {between} degree"


def shape_of(grid: Any) -> tuple[int, ...]:
    return getattr(grid, "volume_shape", grid.shape)


def told_errors(measurement: "Measurement") -> str:
    """Tell the size of the errors beside that of the intensities."""
    error, data = np.asarray(measurement.error), np.asarray(measurement.data)
    both = np.isfinite(error) & np.isfinite(data)
    if not both.any():
        return "none that is finite"
    mean_square = float(np.mean(data[both] ** 2))
    if mean_square == 0:
        return "known; all intensities are 0"
    share = float(np.mean(error[both] ** 2)) / mean_square
    return f"known; noise is {share:.2g} of the mean square of the intensities"
