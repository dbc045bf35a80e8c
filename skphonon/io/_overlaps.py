r"""Shares of what a detector counts in a bin of energy that fall in bins of a grid.

In the plane of :math:`|Q|` and energy a detector that spans the scattering angles from
:math:`\theta_1` to :math:`\theta_2` sees, within a bin of energy, a curved
quadrilateral. Its share in a bin of :math:`|Q|` is the part of its solid angle times
energy that leads there, so that shares add up to 1. With wavevectors and energies in
units of those of incoming neutrons, a scattered neutron of wavevector
:math:`\kappa` has :math:`Q^2 = 1 + \kappa^2 - 2 \kappa \cos\theta` and the energy
:math:`\kappa^2`, and stays below a border b of :math:`|Q|` where its cosine is above

.. math:: c_b(\kappa) = \frac{a / \kappa + \kappa}{2}, \qquad a = 1 - b^2.

The share below the border is the mean over energy of

.. math:: \frac{[c_b - \cos\theta_2]_- - [c_b - \cos\theta_1]_-}
               {\cos\theta_1 - \cos\theta_2}, \qquad [x]_- = \min(x, 0),

which has a closed form: :math:`c_b < c` between the two roots
:math:`\kappa = c \mp \sqrt{c^2 - a}`, and the integral over :math:`2 \kappa\,d\kappa`
is a polynomial. Nothing is straightened.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Piece", "Share", "in_angles", "in_centres", "in_moduli", "pieces", "whole"]

Array = NDArray[np.float64]
Numbers = NDArray[np.intp]

_SLIVER = 1e-6  # of borders of energy bins, relative to the bins, that is rounding
_ROUNDING = 1e-12  # of shares: what is less is none
_LINE = 1e-9  # of cosines: a detector that spans less is a line


class Piece(NamedTuple):
    """Overlap of a measured bin of energy with one of the grid, by their numbers."""

    source: int
    target: int
    low: float  # meV
    high: float
    width: float  # what counts of the measured bin, meV


class Share(NamedTuple):
    """Some detectors, a bin of the grid for each, and their shares in it.

    Bins beyond the grid have the number -1 or that of its bins.
    """

    detector: Numbers
    column: Numbers
    share: Array


def pieces(source: Array, target: Array) -> list[Piece]:
    """Return where bins of two axes overlap; both are borders, increasing."""
    low, high = max(source[0], target[0]), min(source[-1], target[-1])
    borders = np.union1d(source, target)
    borders = borders[(borders >= low) & (borders <= high)]
    # the same border in both axes, but for rounding, makes no piece
    apart = np.diff(borders, prepend=-np.inf) > _SLIVER * np.diff(source).min()
    borders = borders[apart]
    centres = (borders[1:] + borders[:-1]) / 2
    rows = zip(
        np.searchsorted(source, centres) - 1,
        np.searchsorted(target, centres) - 1,
        borders[:-1],
        borders[1:],
        np.diff(borders),
        strict=True,
    )
    return [Piece(*row) for row in rows]


def whole(source: Array, target: Array) -> list[Piece]:
    """Return measured bins, each with the bin of the grid that holds its centre."""
    centres = (source[1:] + source[:-1]) / 2
    place = np.searchsorted(target, centres, side="right") - 1
    inside = np.flatnonzero((place >= 0) & (place < len(target) - 1))
    return [
        Piece(n, place[n], source[n], source[n + 1], source[n + 1] - source[n])
        for n in inside.tolist()
    ]


def in_centres(values: Array, borders: Array) -> Iterator[Share]:
    """Yield the bins that hold some values, whole."""
    column = np.searchsorted(borders, values, side="right") - 1
    yield Share(np.arange(len(values)), column, np.ones(len(values)))


def in_angles(near: Array, far: Array, borders: Array) -> Iterator[Share]:
    """Yield shares in bins of scattering angle, at any energy.

    Detectors from `near` to `far`, and borders, in degrees.
    """
    near, far = np.deg2rad(near), np.deg2rad(far)
    borders = np.deg2rad(borders)
    inside = np.searchsorted(borders, near, "right"), np.searchsorted(borders, far)
    below, length = -np.cos(near), np.cos(near) - np.cos(far)

    def share(chosen: Numbers, border: Numbers) -> Array:
        return (-np.cos(borders[border]) - below[chosen]) / length[chosen]

    yield from _cut(*inside, share)


def in_moduli(
    near: Array, far: Array, span: tuple[float, float], squares: Array
) -> Iterator[Share]:
    """Yield shares in bins of the modulus of Q for a bin of energy.

    Parameters
    ----------
    near, far : ndarray of shape (n_detectors,)
        Cosines of the smallest and the largest angle of detectors.
    span : tuple of float
        Smallest and largest wavevector of scattered neutrons, in units of that of
        incoming ones.
    squares : ndarray of shape (n_bins + 1,)
        Squares of the borders of bins, in the same unit.
    """
    slow, fast = span
    level = 1 - squares
    closest = np.clip(near, slow, fast)
    lowest = 1 + closest * (closest - 2 * near)
    highest = 1 + np.maximum(slow * (slow - 2 * far), fast * (fast - 2 * far))
    inside = (
        np.searchsorted(squares, lowest, "right"),
        np.searchsorted(squares, highest),
    )
    spread, energy = near - far, fast**2 - slow**2
    line = spread < _LINE

    def share(chosen: Numbers, border: Numbers) -> Array:
        a = level[border]
        of_near, passed = _shortfall(a, near[chosen], slow, fast)
        of_far, _ = _shortfall(a, far[chosen], slow, fast)
        flat = line[chosen]
        between = (of_far - of_near) / np.where(flat, 1.0, spread[chosen])
        return np.where(flat, passed, between) / energy

    yield from _cut(*inside, share)


def _shortfall(
    level: Array, cosine: Array, slow: float, fast: float
) -> tuple[Array, Array]:
    """Return the integral of min(c_b - c, 0) over energy, and where it is not 0."""
    half = np.sqrt(np.maximum(cosine * cosine - level, 0.0))
    low = np.clip(cosine - half, slow, fast)
    high = np.clip(cosine + half, slow, fast)
    length, middle = high - low, (high + low) / 2
    # a kappa + kappa^3 / 3 - c kappa^2, as a difference that loses no digits
    rise = level + middle * (middle - 2 * cosine) + length * length / 12
    return length * rise, 2 * middle * length


def _cut(
    first: Numbers, last: Numbers, share_below: Callable[[Numbers, Numbers], Array]
) -> Iterator[Share]:
    """Yield the parts of detectors that the borders `first` to `last - 1` cut.

    First the parts below the first of these, then those above it, ...
    """
    detector, border = np.arange(len(first)), first
    before = np.zeros(len(first))
    while len(detector):
        cut = np.flatnonzero(border < last[detector])
        below = np.ones(len(detector))
        some = share_below(detector[cut], border[cut])
        some[some < _ROUNDING] = 0.0
        some[some > 1 - _ROUNDING] = 1.0
        below[cut] = some
        yield Share(detector, border - 1, np.maximum(below - before, 0.0))
        detector, border, before = detector[cut], border[cut] + 1, below[cut]
