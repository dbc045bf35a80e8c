"""Where a single-crystal spectrum is computed: every phonon once, every spectrum once.

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
    """Wavevectors that differ by more than symmetry, and what they stand for.

    Parameters
    ----------
    wavevectors : ndarray of shape (n_points, 3)
        One of each set that symmetry and the lattice relate.
    shifts : ndarray of shape (n_columns, 3)
        Reciprocal lattice vector from a point to the momentum transfer of a column.
    of_column : ndarray of int of shape (n_columns,)
        Number of the point of each column, ascending.
    starts : ndarray of int of shape (n_columns + 1,)
        Where the targets of each column start.
    targets : ndarray of int of shape (n_given,)
        Numbers of the wavevectors given, column by column.
    """

    wavevectors: Array
    shifts: Array
    of_column: Numbers
    starts: Numbers
    targets: Numbers


def fold(wavevectors: Array, rotations: Array) -> Points:
    """Find which wavevectors share their phonons, and which their spectrum.

    Parameters
    ----------
    wavevectors : ndarray of shape (n_given, 3)
        Reduced.
    rotations : ndarray of int of shape (n_rotations, 3, 3)
        Laue class; a rotation takes a row to ``row @ rotation``.

    Returns
    -------
    Points
        Wavevectors that agree within 1e-6 count as one.
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
    """Return points and shares that stand for a Gaussian.

    Parameters
    ----------
    covariance : ndarray of shape (3, 3)
        Of the Gaussian.
    n_samples : int
        Points along each axis in which it is wide, of a Gauss-Hermite rule.

    Returns
    -------
    points : ndarray of shape (n_points, 3)
        About zero.
    shares : ndarray of shape (n_points,)
        They sum to one.
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
    """Put wavevectors that are as good as reciprocal lattice vectors on these.

    Parameters
    ----------
    wavevectors : ndarray of shape (n_given, 3)
        Reduced.

    Returns
    -------
    ndarray of shape (n_given, 3)
        Whole numbers where each coordinate is one within 1e-4.
    """
    nearest = np.rint(wavevectors)
    near = (np.abs(wavevectors - nearest) < _AT_CENTRE).all(axis=1, keepdims=True)
    return np.where(near, nearest, wavevectors)


def approach_centre(points: Points, shares: Array) -> tuple[Points, Array, int]:
    """Put several points in the place of the zone centre, if it is among them.

    Parameters
    ----------
    points : Points
        As from :func:`fold`, of wavevectors from :func:`on_centres`.
    shares : ndarray of shape (n_directions,)
        Share of each point that stands for the centre; they sum to one.

    Returns
    -------
    points : Points
        With those for the centre first, in the order of the shares.
    shares : ndarray of shape (n_targets,)
        Of each target in its spectrum.
    n_centre : int
        Number of points that stand for the centre.
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
    """Where wavevectors lie in their zone, and in which."""

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
    """One number for three that are below the base."""
    a, b, c = coordinates.T
    return (a * base + b) * base + c
