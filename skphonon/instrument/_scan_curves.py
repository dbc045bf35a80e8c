"""Scans of points, each with a wavevector and an energy of its own, as curves.

Which points belong together is told by the grid on which they lie: to a scan at
constant Q those of one wavevector, to one at constant energy those of one energy. Where
both change from point to point, all are one scan.
"""

from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from skphonon.instrument.measurement import Measurement

__all__ = ["Curve", "Scans", "draw_scans", "scans_of", "wrapped"]

Array = NDArray[np.float64]

_TITLE, _LABEL = 30, 38  # characters of a line, on a panel of usual size
_MOST = 10  # scans that colours tell apart
_FILLED = 0.5  # of the grid: beyond that it is an image
_SLANTED = 1.5  # points at one Q or one energy, below which both change
_MIXED = 0.2  # share of points that are alone, above which scans are of several kinds
_STILL = 0.05  # change of an index relative to that of another one
_BENT = 0.02  # width relative to length, below which points lie on a line
_CLOSE = 1e-6  # r.l.u.


class Curve(NamedTuple):
    """Points of one scan."""

    x: Array
    intensity: Array
    error: Array  # NaN where it is not known
    name: str


class Scans(NamedTuple):
    """Scans that share their axes."""

    curves: tuple[Curve, ...]
    label: str  # of x, with the unit
    rows: str  # of the intensity
    title: str


class _Points(NamedTuple):
    """Measured points in the order of their wavevectors."""

    row: NDArray
    column: NDArray
    wavevectors: Array  # (n_points, 3), r.l.u.
    energy: Array  # meV


def scans_of(measurement: "Measurement", title: str) -> Scans | None:
    """Return the scans of a measurement of one spectrum, None if it is an image."""
    grid = measurement.grid
    images = grid.to_image(measurement.data)[0]
    seen = np.isfinite(images)
    few = min(grid.shape) == 1 or seen.mean() <= _FILLED
    if not seen.any() or not (few or "scans" in measurement.details):
        return None
    column, row = np.nonzero(seen.T)
    points = _Points(row, column, grid.wavevectors[column], grid.energy[row])
    of_row, of_column = (
        np.unique(each, return_counts=True)[1] for each in (row, column)
    )
    one = len(row) == 1
    if not one and max(of_row.mean(), of_column.mean()) < _SLANTED:
        members, at_q, alone = [np.arange(len(row))], False, 0
    else:
        at_q = one or of_column.mean() >= of_row.mean()
        number, sizes = (column, of_column) if at_q else (row, of_row)
        members = [np.flatnonzero(number == each) for each in np.unique(number)]
        alone = 0 if one else int((sizes == 1).sum())
    if len(members) > _MOST or alone > _MIXED * len(row):
        return None
    parts = [_Points(*(each[chosen] for each in points)) for chosen in members]
    places, label = _places(parts, at_q)
    error = np.full(seen.shape, np.nan)
    if measurement.error is not None:
        error = grid.to_image(measurement.error)[0]
    curves = tuple(
        Curve(x, images[part.row, part.column], error[part.row, part.column], name)
        for part, (x, name) in zip(parts, places, strict=True)
    )
    units = f" ({measurement.units})" if measurement.units else ""
    return Scans(curves, label, f"intensity{units}", title)


def draw_scans(ax: Any, drawn: Scans, *, log: bool, low: Any, high: Any) -> None:
    """Draw points with error bars, in one colour a scan."""
    for curve in drawn.curves:
        error = curve.error if np.isfinite(curve.error).any() else None
        options = {"fmt": "o", "markersize": 4, "capsize": 2}
        ax.errorbar(curve.x, curve.intensity, error, label=curve.name, **options)
    title = wrapped(drawn.title, title=True)
    ax.set(xlabel=wrapped(drawn.label), ylabel=wrapped(drawn.rows), title=title)
    if log:
        ax.set_yscale("log", nonpositive="clip")
    ax.set_ylim(low, high)
    beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}  # of the points
    made_room = len(drawn.curves) > 1 and ax.figure.get_layout_engine() is not None
    ax.legend(fontsize="small", **beside if made_room else {})


def wrapped(text: str, *, title: bool = False) -> str:
    """Return a label in lines that fit on a panel."""
    return fill(text, _TITLE if title else _LABEL)


def _places(parts: list[_Points], at_q: bool) -> tuple[list[tuple[Array, str]], str]:
    """Return x and name of each scan, and the label of x."""
    if at_q:
        places = [(part.energy, _told(part.wavevectors[0])) for part in parts]
        return places, "energy transfer (meV)"
    changing = [_changing(part.wavevectors) for part in parts]
    if len({tuple(each) for each in changing}) == 1 and changing[0].sum() == 1:
        axis = int(np.flatnonzero(changing[0])[0])
        name = "hkl"[axis]
        places = [
            (
                part.wavevectors[:, axis],
                f"{_told(part.wavevectors.mean(axis=0), axis)}, {_energies(part)}",
            )
            for part in parts
        ]
        return places, f"{name} (r.l.u.)"
    places = [
        (
            _along(part.wavevectors),
            f"{_told(part.wavevectors[0])} to {_told(part.wavevectors[-1])}, "
            f"{_energies(part)}",
        )
        for part in parts
    ]
    return places, "distance along the scan (r.l.u.)"


def _changing(wavevectors: Array) -> NDArray[np.bool_]:
    """Tell which of h, k and l a scan changes."""
    spread = np.ptp(wavevectors, axis=0)
    return spread > max(_STILL * spread.max(), _CLOSE)


def _along(wavevectors: Array) -> Array:
    """Return distances from the first point, along a line or a path with bends."""
    steps = wavevectors - wavevectors[0]
    _, lengths, directions = np.linalg.svd(steps - steps.mean(axis=0))
    if len(lengths) < 2 or lengths[1] <= _BENT * lengths[0]:
        along = steps @ directions[0]
        return along if along[np.abs(along).argmax()] >= 0 else -along
    path = np.linalg.norm(np.diff(wavevectors, axis=0), axis=1)
    return np.append(0.0, np.cumsum(path))


def _told(wavevector: Array, axis: int | None = None) -> str:
    """Tell a wavevector, with the letter of an index that changes."""
    parts = [f"{value:.4g}" for value in np.round(wavevector, 3) + 0.0]
    if axis is not None:
        parts[axis] = "hkl"[axis]
    return f"({', '.join(parts)})"


def _energies(part: _Points) -> str:
    low, high = part.energy.min(), part.energy.max()
    return f"{low:.4g} meV" if low == high else f"{low:.4g} to {high:.4g} meV"
