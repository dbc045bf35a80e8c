"""Cuts through maps: means over a range of energies or of columns, as curves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument._scan_curves import wrapped

if TYPE_CHECKING:
    from skphonon.instrument.maps import Map

__all__ = ["Cut", "curve_of_cut", "cuts_of", "draw_cut", "mark_cut"]

Array = NDArray[np.float64]

_AXES = "energy", "q"
_MARK = {"color": "C3", "linestyle": ":", "linewidth": 1.2}


class Cut(NamedTuple):
    """A range of one axis, over which intensities are averaged."""

    axis: str
    low: float
    high: float


def cuts_of(given: Mapping[str, Any] | None) -> list[Cut]:
    """Return the cuts that are given by the name of an axis."""
    found = []
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(
            "cuts must be a dict from 'energy' or 'q' to pairs (low, high), got a "
            f"{type(given).__name__}."
        )
    for axis, ranges in (given or {}).items():
        if axis not in _AXES:
            raise ValueError(f"cuts must be of {' or '.join(_AXES)}, got {axis!r}.")
        pairs = np.atleast_2d(np.asarray(ranges, dtype=float))
        if pairs.shape[1:] != (2,) or not (pairs[:, 0] < pairs[:, 1]).all():
            raise ValueError(
                f"cuts of {axis} must be pairs (low, high), low < high, got {ranges!r}."
            )
        found += [Cut(axis, float(low), float(high)) for low, high in pairs]
    return found


def curve_of_cut(drawn: "Map", cut: Cut) -> tuple[Array, Array]:
    """Return centres of bins and the mean of what was measured in the range."""
    across = cut.axis == "q"
    held, free = (
        (drawn.columns, drawn.energy) if across else (drawn.energy, drawn.columns)
    )
    image = drawn.image.T if across else drawn.image  # held axis first
    centres = (held[1:] + held[:-1]) / 2
    inside = (centres >= cut.low) & (centres <= cut.high)
    if not inside.any():
        raise ValueError(
            f"A cut must hold pixels, got {cut.axis} {cut.low:g} to {cut.high:g}; "
            f"pixels are from {held[0]:g} to {held[-1]:g}."
        )
    part = image[inside]
    seen = np.isfinite(part)
    number = seen.sum(axis=0)
    mean = np.where(seen, part, 0.0).sum(axis=0) / np.maximum(number, 1)
    return (free[1:] + free[:-1]) / 2, np.where(number > 0, mean, np.nan)


def mark_cut(ax: Any, cut: Cut) -> None:
    """Draw the ends of a range on a map."""
    line = ax.axvline if cut.axis == "q" else ax.axhline
    for end in (cut.low, cut.high):
        line(end, **_MARK)


def draw_cut(ax: Any, maps: Sequence["Map"], cut: Cut) -> None:
    """Draw the curve of the first map with points, those of the others with lines."""
    for number, each in enumerate(maps):
        x, mean = curve_of_cut(each, cut)
        style: dict[str, Any] = {} if number else {"marker": ".", "linestyle": ""}
        ax.plot(x, mean, color="k" if not number else f"C{number - 1}", **style)
        ax.lines[-1].set_label(each.title)
    first = maps[0]
    held, free = (
        (first.label, first.rows) if cut.axis == "q" else (first.rows, first.label)
    )
    ax.set(
        xlabel=wrapped(free),
        ylabel="mean intensity",
        title=wrapped(f"{held}: {cut.low:g} to {cut.high:g}", title=True),
    )
    if len(maps) > 1:
        ax.legend(fontsize="small")
