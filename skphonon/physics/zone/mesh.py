"""Meshes of the Brillouin zone, folded by symmetry."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.physics._phonon_model import PhononModel

__all__ = [
    "MeshPoints",
    "ZoneMesh",
    "ZonePoints",
    "as_mesh",
    "labels",
    "laue_rotations",
    "mesh_points",
    "mesh_sizes",
    "resolving_points",
    "size_of_reach",
    "stars",
]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Size = tuple[int, int, int]

_SHORTEST, _LONGEST = 10.0, 400.0  # Angstrom: reach of the coarsest and finest mesh
_HALF = 1 << 19  # coordinates that labels of points tell apart, in either direction


@dataclass(frozen=True)
class ZoneMesh:
    r"""A mesh of the Brillouin zone.

    Parameters
    ----------
    size : int or tuple of 3 int
        Points along each reciprocal axis.
    shifted : bool, default=True
        Whether the points lie half a step off the zone centre along each axis. If not,
        eight points around it stand for the centre itself.
    n_polar : int, default=12
        Polar angles of the directions in which the zone centre is integrated. Soft,
        strongly anisotropic crystals need more.

    Examples
    --------
    >>> from skphonon.physics import ZoneMesh
    >>> ZoneMesh(12).size
    (12, 12, 12)
    """

    size: Any  # int or tuple of 3 int; a tuple once made
    shifted: bool = True
    n_polar: int = 12

    def __post_init__(self) -> None:
        counts = np.asarray(self.size)
        whole = np.issubdtype(counts.dtype, np.integer)
        if counts.shape not in ((), (3,)) or not whole or not (counts >= 2).all():
            raise ValueError(
                "mesh must be a number of points of at least 2, or three of them; got "
                f"{self.size!r}."
            )
        object.__setattr__(
            self, "size", tuple(int(n) for n in np.broadcast_to(counts, 3))
        )
        if not self.n_polar >= 2:
            raise ValueError(f"n_polar must be at least 2, got {self.n_polar!r}.")


class ZonePoints(NamedTuple):
    """Points that stand for a zone.

    Parameters
    ----------
    wavevectors : ndarray of shape (n_points, 3)
        Cartesian, in 1/Angstrom.
    weights : ndarray of shape (n_points,)
        Of each in a mean over the zone; they sum to one.
    """

    wavevectors: Array
    weights: Array


class MeshPoints(NamedTuple):
    """Points of a mesh that symmetry leaves independent."""

    points: Integers  # (n_points, 3), those that stand for the zone centre last
    period: int  # what the coordinates are fractions of
    shares: Array  # (n_points,), of the zone; they sum to one
    n_apart: int  # points that do not stand for the centre


def as_mesh(mesh: ZoneMesh | int | Size) -> ZoneMesh:
    """Return the mesh that a number, three numbers or a mesh stand for."""
    return mesh if isinstance(mesh, ZoneMesh) else ZoneMesh(mesh)


def resolving_points(model: PhononModel, mesh: ZoneMesh | int | Size) -> ZonePoints:
    """Return points and weights of means that resolve energies.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    mesh : ZoneMesh, int or tuple of three int
        The mesh, or its points along each reciprocal axis.

    Returns
    -------
    ZonePoints
        The points of the mesh that symmetry leaves independent. Eight points, a quarter
        of a step away along all axes, stand for the zone centre where the mesh has it.
    """
    found = mesh_points(model, as_mesh(mesh))
    reduced = found.points / found.period
    return ZonePoints(reduced @ model.reciprocal_lattice(), found.shares)


def mesh_points(model: PhononModel, mesh: ZoneMesh) -> MeshPoints:
    """Return the points of a mesh that symmetry leaves independent."""
    return model.cached(("mesh", mesh), lambda: _mesh_points(model, mesh))


def _mesh_points(model: PhononModel, mesh: ZoneMesh) -> MeshPoints:
    rotations = laue_rotations(model)
    period = 4 * int(np.lcm.reduce(mesh.size))
    steps = period // (4 * np.array(mesh.size))  # quarters of those of the mesh
    points = (4 * np.indices(mesh.size).reshape(3, -1).T + 2 * mesh.shifted) * steps
    apart = points[points.any(axis=1)]
    first, members = _independent(apart, rotations, period)
    found, shares = [apart[first]], [members / len(points)]
    if not mesh.shifted:
        corners = steps * (2 * np.indices((2, 2, 2)).reshape(3, -1).T - 1)
        nearest, members = _independent(corners, rotations)
        found.append(corners[nearest])
        shares.append(members / 8 / len(points))
    return MeshPoints(
        np.concatenate(found), period, np.concatenate(shares), len(found[0])
    )


def _independent(
    points: Integers, rotations: Integers, period: int | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first point of each star, and how many points are in it."""
    _, first, members = np.unique(
        stars(points, rotations, period), return_index=True, return_counts=True
    )
    return first, members


def stars(points: Integers, rotations: Integers, period: int | None = None) -> Integers:
    """Return labels that are equal for the points that rotations relate.

    With a period, coordinates that differ by it count as equal.
    """
    least = np.full(len(points), np.iinfo(np.int64).max)
    for rotation in rotations:
        turned = points @ rotation
        if period is not None:
            turned %= period
        np.minimum(least, labels(turned), out=least)
    return least


def labels(points: Integers) -> Integers:
    """Return one number for three coordinates below half a million, in their order."""
    a, b, c = (points + _HALF).T
    return ((a << 20) + b << 20) + c


def laue_rotations(model: PhononModel) -> Integers:
    """Return the Laue class, rotations that take a reduced wavevector to ``q @ r``."""
    return model.cached("Laue class", lambda: _laue_rotations(model))


def _laue_rotations(model: PhononModel) -> Integers:
    reciprocal = model.reciprocal_lattice()
    turned = reciprocal @ model.point_group().swapaxes(1, 2) @ np.linalg.inv(reciprocal)
    return np.unique(np.rint(turned).astype(np.int64), axis=0)


def mesh_sizes(model: PhononModel) -> list[Size]:
    """Return ever finer meshes of about the same reach along all axes.

    The fourth after one has about half as many points again along each axis.
    """
    found: list[Size] = []
    spacings, reach = _spacings(model), _SHORTEST
    while reach < _LONGEST:
        size = _size(spacings, reach, 1)
        if size not in found[-1:]:
            found.append(size)
        reach *= 1.5**0.25
    return found


def size_of_reach(model: PhononModel, reach: float, multiple: int = 1) -> Size:
    """Return the mesh that stands for a crystal about `reach` Angstrom wide."""
    return _size(_spacings(model), reach, multiple)


def _spacings(model: PhononModel) -> Array:
    return np.linalg.norm(model.reciprocal_lattice(), axis=1) / (2 * np.pi)


def _size(spacings: Array, reach: float, multiple: int) -> Size:
    multiples = np.rint(reach * spacings / multiple).astype(int)
    a, b, c = np.maximum(multiple * multiples, 2).tolist()
    return a, b, c
