"""Points of a lattice: those in a sphere, shortest images, and cosets of a sublattice.

A lattice is given by its vectors in rows, Cartesian; direct and reciprocal ones are
alike here. Coordinates of a point are in units of these vectors, integers for points of
the lattice.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SAME_LENGTH",
    "cosets",
    "farthest",
    "image_counts",
    "nearest_image",
    "points_within",
    "reducing",
    "separating_multiple",
    "shortest",
    "shortest_images",
]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

SAME_LENGTH = 1e-5  # Angstrom: lattices come with about this precision
_CORNERS = np.indices((2, 2, 2)).reshape(3, -1).T
_BLOCK = 2**20  # numbers in the largest array of a block


def points_within(lattice: Array, radius: float) -> Integers:
    """Return the coordinates of the lattice points in a sphere, in their order."""
    # the distance between lattice planes is one over the length of a reciprocal vector
    reach = np.ceil(radius * np.linalg.norm(np.linalg.inv(lattice), axis=0))
    points = _between(-reach, reach)
    return points[np.linalg.norm(points @ lattice, axis=1) <= radius * (1 + 1e-9)]


def shortest(lattice: Array) -> float:
    """Return the length of the shortest vectors of a lattice."""
    points = points_within(lattice, np.linalg.norm(lattice, axis=1).min())
    vectors = points[points.any(axis=1)] @ lattice
    return float(np.linalg.norm(vectors, axis=1).min())


def farthest(lattice: Array) -> float:
    """Return a length from which no point is farther from all lattice points.

    That is half the diagonal of the cell with its edges made orthogonal, which tiles
    space as the cell does (Babai, Combinatorica 6, 1 (1986), doi:10.1007/BF02579403).
    """
    return float(np.linalg.norm(np.diagonal(np.linalg.qr(lattice.T).R)) / 2)


def nearest_image(scaled: Array, lattice: Array) -> Array:
    """Return the coordinates of one image of each point that is nearest to zero."""
    images, lengths = _images(scaled, lattice)
    return np.take_along_axis(images, lengths.argmin(1)[:, None, None], 1)[:, 0]


def shortest_images(vectors: Array, lattice: Array) -> tuple[NDArray[np.intp], Array]:
    """Return all images of vectors on a lattice that are as short as any, Cartesian.

    The number of the vector of each comes first, in ascending order.
    """
    images, lengths = _images(vectors @ np.linalg.inv(lattice), lattice)
    of, image = np.nonzero(lengths < lengths.min(axis=1, keepdims=True) + SAME_LENGTH)
    return of, images[of, image] @ lattice


def image_counts(vectors: Array, lattice: Array) -> NDArray[np.intp]:
    """Count the images of each vector that are as short, with itself.

    0 where there is a shorter one.
    """
    lengths, scaled = np.linalg.norm(vectors, axis=1), vectors @ np.linalg.inv(lattice)
    step = max(1, _BLOCK // (3 * len(_near_origin(lattice))))
    counts = [np.zeros(0, dtype=np.intp)]
    for start in range(0, len(vectors), step):
        block = slice(start, start + step)
        images, own = _images(scaled[block], lattice)[1], lengths[block, None]
        some = (images < own + SAME_LENGTH).sum(axis=1)
        counts.append(np.where((images < own - SAME_LENGTH).any(axis=1), 0, some))
    return np.concatenate(counts)


def cosets(multiple: NDArray) -> Integers:
    """Return the integer points of the cell whose edges are the rows of a matrix."""
    corners = _CORNERS @ multiple
    points = _between(corners.min(axis=0), corners.max(axis=0))
    volume = round(abs(np.linalg.det(multiple)))
    # coordinates along the edges in units of 1 / volume are integers
    along = points @ np.rint(np.linalg.inv(multiple) * volume)
    return points[((along >= 0) & (along < volume)).all(axis=1)]


def reducing(lattice: Array) -> Integers:
    """Return an integer matrix that makes the vectors of a lattice short."""
    change = np.eye(3, dtype=np.int64)
    while True:
        products = change @ lattice @ lattice.T @ change.T
        steps = np.rint(products / np.diag(products) * (1 - 1e-9))  # ties stay
        np.fill_diagonal(steps, 0)
        first, second = np.unravel_index(np.abs(steps).argmax(), (3, 3))
        if steps[first, second] == 0:
            return change
        change[first] -= int(steps[first, second]) * change[second]


def separating_multiple(supercell: NDArray, lattice: Array, bonds: Array) -> NDArray:
    """Return the smallest multiple of a supercell on which no bonds are images.

    The rows of ``supercell.T @ lattice`` are the vectors of the supercell.
    """
    reach = np.linalg.norm(bonds, axis=1).max()
    multiple = 1
    while shortest(multiple * supercell.T @ lattice) <= 2 * reach + SAME_LENGTH:
        multiple += 1
    return multiple * supercell


def _images(scaled: Array, lattice: Array) -> tuple[Array, Array]:
    """Return images of points that may be nearest to the origin.

    Their coordinates (n_points, n_images, 3) and lengths (n_points, n_images).
    """
    inside = scaled - np.rint(scaled)
    images = inside[:, None] - _near_origin(lattice).astype(float)
    return images, np.linalg.norm(images @ lattice, axis=2)


def _near_origin(lattice: Array) -> Integers:
    """Return lattice points, one of which is nearest to a point of the central cell."""
    half_diagonal = np.linalg.norm((_CORNERS - 0.5) @ lattice, axis=1).max()
    return points_within(lattice, half_diagonal + farthest(lattice))


def _between(lowest: NDArray, highest: NDArray) -> Integers:
    """Return the points of integers between two corners, both included."""
    a, b, c = (highest - lowest + 1).astype(int)
    return np.indices((a, b, c)).reshape(3, -1).T + np.asarray(lowest, dtype=np.int64)
