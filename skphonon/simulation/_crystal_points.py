"""Points and columns of a single-crystal spectrum: every phonon and spectrum once.

Wavevectors that the Laue class relates scatter alike, and those that differ by a
reciprocal lattice vector have the same phonons. So a grid of many Brillouin zones needs
few points of one zone, and fewer columns than it has wavevectors. All wavevectors here
are reduced, in units of the reciprocal lattice of the primitive cell.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Points",
    "approach_centre",
    "cloud",
    "directions_of_approach",
    "fold",
    "on_centres",
]

_CELLS = 1 << 20  # in which each coordinate is told apart: 1e-6 of a zone
_ZONES = 1 << 10  # along each axis
_AT_CENTRE = 1e-4  # of a zone: nearer to its centre is on it
_NO_WIDTH = 1e-12  # of the largest variance

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]


class Points(NamedTuple):
    """Wavevectors that differ by more than symmetry, and what they stand for."""

    wavevectors: Array  # (n_points, 3), one of each set of related ones
    shifts: Array  # (n_columns, 3), reciprocal lattice vector from a point to a column
    of_column: Numbers  # (n_columns,), number of the point of each, ascending
    starts: Numbers  # (n_columns + 1,), where the targets of each start
    targets: Numbers  # (n_given,), numbers of the wavevectors given, column by column


def fold(wavevectors: Array, rotations: Array) -> Points:
    """Find which wavevectors share their phonons, and which their spectrum.

    A rotation of the Laue class takes a row to ``row @ rotation``. Wavevectors that
    agree within 1e-6 count as one.
    """
    best = _placed(wavevectors)
    for rotation in rotations:
        turned = _placed(wavevectors @ rotation)
        # the first place, and then the first zone, of all that are equivalent
        less = (turned.place < best.place) | (
            (turned.place == best.place) & (turned.zone < best.zone)
        )
        for kept, new in zip(best, turned, strict=True):
            kept[less] = new[less]
    place, zone, within, zones = best
    _, first, point = np.unique(place, return_index=True, return_inverse=True)
    # in the order given: neighbours in the result are then written together
    ranks = np.argsort(np.argsort(first))
    first = np.sort(first)
    pairs = np.stack([ranks[point.reshape(-1)], zone], axis=1)
    order = np.lexsort(pairs.T[::-1])
    new = np.r_[True, (np.diff(pairs[order], axis=0) != 0).any(axis=1)]
    starts = np.flatnonzero(new)
    return Points(
        wavevectors=within[first],
        shifts=zones[order[starts]].astype(float),
        of_column=pairs[order[starts], 0],
        starts=np.r_[starts, len(order)],
        targets=order,
    )


def cloud(covariance: Array, n_samples: int) -> tuple[Array, Array]:
    """Return points about zero and shares, summing to one, that stand for a Gaussian.

    Those of a Gauss-Hermite rule, so many along each axis in which it is wide.
    """
    variances, axes = np.linalg.eigh(covariance)
    wide = variances > _NO_WIDTH * max(variances.max(), 0.0)
    if not wide.any():
        return np.zeros((1, 3)), np.ones(1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_samples)
    sides = axes[:, wide].T * np.sqrt(variances[wide])[:, None]
    points = np.array(list(product(nodes, repeat=len(sides)))) @ sides
    shares = np.prod(list(product(weights / weights.sum(), repeat=len(sides))), axis=1)
    return points, shares


def on_centres(wavevectors: Array) -> Array:
    """Put wavevectors that are as good as reciprocal lattice vectors on these."""
    nearest = np.rint(wavevectors)
    near = (np.abs(wavevectors - nearest) < _AT_CENTRE).all(axis=1, keepdims=True)
    return np.where(near, nearest, wavevectors)


def approach_centre(points: Points, shares: Array) -> tuple[Points, Array, int]:
    """Put several points, with shares that sum to one, in the place of the zone centre.

    Return the points, those for the centre first, the share of each target in its
    spectrum, and the number of points that stand for the centre.
    """
    centre = np.flatnonzero((points.wavevectors == 0).all(axis=1))  # one, or none
    if not centre.size:
        return points, np.ones(len(points.targets)), 0
    kept = np.delete(np.arange(len(points.wavevectors)), centre)
    order = np.r_[np.repeat(centre, len(shares)), kept]
    weights = np.r_[shares, np.ones(len(kept))]
    first = np.searchsorted(points.of_column, np.arange(len(points.wavevectors) + 1))
    of_column = np.repeat(np.arange(len(order)), np.diff(first)[order])
    columns = _ranges(first[order], np.diff(first)[order])
    counts = np.diff(points.starts)[columns]
    approached = Points(
        wavevectors=points.wavevectors[order],
        shifts=points.shifts[columns],
        of_column=of_column,
        starts=np.r_[0, np.cumsum(counts)],
        targets=points.targets[_ranges(points.starts[columns], counts)],
    )
    return approached, np.repeat(weights[of_column], counts), len(shares)


def directions_of_approach() -> tuple[Array, Array]:
    """Return directions and shares of a mean over all, where opposite ones are alike.

    They point to the corners of an icosahedron and of its dual: exact for polynomials
    of degree 9.
    """
    golden = (1 + 5**0.5) / 2
    signs = np.array([1.0, -1.0])
    corners, faces = (
        np.concatenate([np.roll(rows, turn, axis=1) for turn in range(3)])
        for rows in (
            [[0.0, 1.0, s * golden] for s in signs],
            [[0.0, golden, s / golden] for s in signs],
        )
    )
    cube = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]], dtype=float)
    directions = np.concatenate([corners, faces, cube])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions, np.r_[np.full(6, 10 / 168), np.full(10, 54 / 840)]


def _ranges(starts, counts):
    """Join the integers of ranges of so many, from where each starts."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(counts.sum())


class _Placed(NamedTuple):
    """Places of wavevectors in their zones."""

    place: Numbers  # (n,), in an order of all places
    zone: Numbers  # (n,), in an order of all zones
    within: Array  # (n, 3), from the corner of the zone
    zones: Numbers  # (n, 3)


def _placed(wavevectors):
    cells = np.rint(wavevectors * _CELLS).astype(np.int64)
    zones = cells // _CELLS
    return _Placed(
        _joined(cells - zones * _CELLS, _CELLS),
        _joined(zones + _ZONES // 2, _ZONES),
        wavevectors - zones,
        zones,
    )


def _joined(coordinates, base):
    """Return one number for three that are below the base."""
    a, b, c = coordinates.T
    return (a * base + b) * base + c
