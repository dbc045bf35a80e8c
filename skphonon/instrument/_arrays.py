"""Axes and images in any order, brought into that of the package."""

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._numbers import numbers_of
from skphonon._warnings import warn_user
from skphonon.instrument._advice import MeasurementWarning
from skphonon.instrument._conditions import MARK, is_marked
from skphonon.instrument.angle_grid import AngleGrid
from skphonon.instrument.grid import PathGrid, SpectrumGrid

__all__ = ["laid_out"]

Array = NDArray[np.float64]
_Labels = tuple[Array | None, Array | None]


class Layout(NamedTuple):
    """Rows of a grid, their errors and the borders that were given, if any."""

    data: Array
    grid: SpectrumGrid | AngleGrid | PathGrid
    error: Array | None
    details: dict[str, Any]


class _Fit(NamedTuple):
    """A reading of shapes: whether images are turned, and which axes are borders."""

    turned: bool
    edges: tuple[bool, bool]  # of energy, of q


def laid_out(
    q: ArrayLike | None,
    energy: ArrayLike,
    intensity: ArrayLike,
    error: ArrayLike | None,
    incident_energy: float | None,
    two_theta: ArrayLike | None = None,
) -> Layout:
    """Return rows and their grid: energies in rows, both axes increasing."""
    if (q is None) == (two_theta is None):
        raise ValueError(
            "One of q and two_theta must be given, got "
            f"{'neither' if q is None else 'both'}."
        )
    if two_theta is not None and incident_energy is None:
        raise ValueError("incident_energy must be given with two_theta, got None.")
    columns = "two_theta" if q is None else "q"
    axes = (
        _axis(energy, "energy"),
        _axis(two_theta if q is None else q, columns),  # type: ignore[arg-type]
    )
    images = _images(intensity, "intensity")
    errors = None if error is None else _images(error, "error")
    if errors is not None and errors.shape != images.shape:
        raise ValueError(
            f"error must have the shape of intensity, {images.shape}, got "
            f"{errors.shape}."
        )
    labels = _labels(intensity, images.shape[1:])
    fit = _fit(*axes, images.shape[1:], labels)
    parts = []
    for each, named in ((images, labels), (errors, _labels(error, images.shape[1:]))):
        if each is None:
            continue
        orders = _orders(fit, axes, named)
        if orders is None:
            raise ValueError(
                "Index and columns of a frame of errors must be those of intensity, or "
                f"the numbers from 0 that pandas gives, got {_shown(named)}."
            )
        image = each.swapaxes(1, 2) if fit.turned else each
        for place, order in enumerate(orders, 1):
            image = image if order is None else np.take(image, order, place)
        parts.append(image)
    details: dict[str, Any] = {}
    centres = []
    for place, (name, axis, edges) in enumerate(
        zip(("energy", columns), axes, fit.edges, strict=True), 1
    ):
        if edges:
            _require_monotonic(axis, name)
            details.setdefault("edges", {})[name] = np.sort(axis)
            axis = (axis[1:] + axis[:-1]) / 2
        if axis.ndim == 1:
            order = np.argsort(axis, kind="stable")
            axis = axis[order]
            if (order[1:] < order[:-1]).any():
                parts = [np.take(each, order, place) for each in parts]
            _refuse_repeated(axis, name)
        centres.append(axis)
    return _on_grid(centres[0], centres[1], parts, incident_energy, details, columns)


def _on_grid(
    energy: Array,
    q: Array,
    parts: list[Array],
    incident_energy: float | None,
    details: dict[str, Any],
    columns: str,
) -> Layout:
    marked = is_marked(parts[0])
    images = np.where(np.isfinite(parts[0]) & ~marked, parts[0], np.nan)
    if marked.any():
        warn_user(
            f"intensity holds {MARK:g}, by which SPE files and Mantid mark what was "
            f"not measured, in {marked.sum()} of {marked.size} pixels: they became "
            "NaN.",
            MeasurementWarning,
        )
    keep = np.ones(energy.size, dtype=bool)
    if incident_energy is not None:  # no bins that are there for symmetry only
        counted = (np.nan_to_num(images) != 0).any(axis=(0, 2))
        keep = counted | (energy < incident_energy)
    if not keep.all() and keep.any():
        energy, images = energy[keep], images[:, keep]
        parts = [each[:, keep] for each in parts]
        details.get("edges", {}).pop("energy", None)
    mask = np.isfinite(images).any(axis=0)
    if not mask.any():
        raise ValueError(
            f"intensity must have a finite number somewhere, got none of {images.size}."
        )
    grid: SpectrumGrid | AngleGrid | PathGrid
    if columns == "two_theta" and incident_energy is not None:
        grid = AngleGrid(energy, q, incident_energy=incident_energy, mask=mask)
    elif q.ndim == 2:
        grid = PathGrid(energy, q, mask=mask)
    else:
        grid = SpectrumGrid(energy, q, incident_energy=incident_energy, mask=mask)
    error = None
    if len(parts) > 1:
        known = np.isfinite(images) & np.isfinite(parts[1]) & (parts[1] != 0)
        error = grid.to_rows(np.where(known, parts[1], np.nan))
    return Layout(grid.to_rows(images), grid, error, details)


def _axis(values: ArrayLike, name: str) -> Array:
    axis = numbers_of(values, name)
    wavevectors = name == "q" and axis.ndim == 2 and axis.shape[1] == 3
    if not axis.size or not (axis.ndim == 1 or wavevectors):
        allowed = "a list of numbers" + (
            ", or wavevectors of shape (n_q, 3)" if name == "q" else ""
        )
        raise ValueError(f"{name} must be {allowed}, got shape {axis.shape}.")
    if not np.isfinite(axis).all():
        raise ValueError(
            f"{name} must be finite, got {(~np.isfinite(axis)).sum()} NaN or infinite "
            f"values of {axis.size}."
        )
    return axis


def _images(values: ArrayLike, name: str) -> Array:
    images = numbers_of(values, name)
    if images.ndim not in (2, 3):
        raise ValueError(
            f"{name} must be an image of energies by momentum transfers, or several, "
            f"got shape {images.shape}."
        )
    return images.reshape(-1, *images.shape[-2:])


def _labels(values: Any, shape: tuple[int, ...]) -> _Labels:
    """Return what rows and columns of frames are called, None of what tells nothing.

    Numbers from 0 are those that pandas gives, and texts are no values of an axis.
    """
    frames = values if type(values) in (list, tuple) else [values]
    if not all(hasattr(each, "index") and hasattr(each, "columns") for each in frames):
        return None, None
    first = frames[0]
    if not all(
        each.index.equals(first.index) and each.columns.equals(first.columns)
        for each in frames
    ):
        raise ValueError(
            "Frames of several images must have one index and the same columns, got "
            "others. Bring them into one order, with reindex."
        )
    found = []
    for levels, length in zip((first.index, first.columns), shape, strict=True):
        try:
            values = np.array(levels.to_list(), dtype=float)
        except (TypeError, ValueError):
            values = None
        if values is not None and np.array_equal(values, np.arange(length)):
            values = None
        found.append(values)
    return found[0], found[1]


def _fit(energy: Array, q: Array, shape: tuple[int, ...], labels: _Labels) -> _Fit:
    fits = [
        _Fit(turned, (of_energy, of_q))
        for of_energy, of_q, turned in product((False, True), repeat=3)
        if not (of_q and q.ndim == 2)
        and (len(energy) - of_energy, len(q) - of_q)
        == (shape[::-1] if turned else shape)
    ]
    if not fits:
        raise ValueError(
            f"intensity must have shape ({len(energy)}, {len(q)}), of energy by q, or "
            f"the reverse, got {shape}. Borders of bins are one more than the bins."
        )
    if any(each is not None for each in labels):
        fits = [each for each in fits if _orders(each, (energy, q), labels)]
    if not fits:
        raise ValueError(
            "Index and columns of a frame must be the values of the axes, or the "
            f"numbers from 0 that pandas gives, got {_shown(labels)}. Give axes with "
            "these values, or the images alone, frame.to_numpy(), if they are in the "
            "order of the axes."
        )
    if any(each.edges != fits[0].edges for each in fits):
        raise ValueError(
            f"The shape of intensity must tell which axis holds borders of bins, got "
            f"{shape} with {len(energy)} energies and {len(q)} momentum transfers or "
            "angles, which fits in two ways. Give centres of bins, (x[1:] + x[:-1]) / "
            "2 of borders x, for both."
        )
    return fits[0]


def _shown(labels: _Labels) -> str:
    return " and ".join(
        "no numbers" if each is None else f"{each[:3].tolist()} ..." for each in labels
    )


def _orders(
    fit: _Fit, axes: tuple[Array, Array], labels: _Labels
) -> tuple[NDArray | None, NDArray | None] | None:
    """Return the numbers of rows and columns in the order of the axes.

    None of those that have no labels, and alone if labels are of no or other values.
    """
    found: list[NDArray | None] = []
    named = labels[::-1] if fit.turned else labels
    for axis, edges, own in zip(axes, fit.edges, named, strict=True):
        if own is None:
            found.append(None)
            continue
        centres = (axis[1:] + axis[:-1]) / 2 if edges else axis
        order = None
        if own.shape == centres.shape:
            there, here = _sorted(own), _sorted(centres)
            if np.allclose(own[there], centres[here]):
                order = np.empty(len(here), dtype=np.intp)
                order[here] = there
        if order is None:
            return None
        found.append(order)
    return found[0], found[1]


def _sorted(values: Array) -> NDArray:
    """Return the order of an axis, or of wavevectors; equal ones keep theirs."""
    if values.ndim == 1:
        return np.argsort(values, kind="stable")
    return np.lexsort(values.round(6).T)


def _require_monotonic(borders: Array, name: str) -> None:
    steps = np.diff(borders)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError(
            f"Borders of bins of {name} must rise or fall throughout, got "
            f"{borders[:4].tolist()} ..."
        )


def _refuse_repeated(axis: Array, name: str) -> None:
    repeated = np.flatnonzero(np.diff(axis) == 0)
    if repeated.size:
        raise ValueError(
            f"{name} must not repeat a value, got {axis[repeated[0]]:g} more than "
            "once. Average what was measured there, or leave one out."
        )
