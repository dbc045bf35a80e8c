r"""Means of what diverges at the zone centre: it is parted off and integrated apart.

A mean of a function of the dynamical matrices is a sum over the points of a mesh that
symmetry leaves independent. Functions such as displacements, which go with
:math:`1/q^2` at the zone centre, spoil that sum: it converges with the spacing of the
mesh only, and 26 % of the displacements of a soft crystal are missing from 12 points an
axis. So the zone is parted smoothly,

.. math:: \int f(q)\,dq = \int [1 - \varphi(q)]\,f(q)\,dq + \int \varphi(q)\,f(q)\,dq,
          \qquad \varphi(q) = (1 + s + s^2/2)\,e^{-s}, \quad s = (q / \rho)^2.

The first integrand is smooth and vanishes at the centre: the mesh sums it well. The
second is taken in spherical coordinates, in which :math:`q^2 f` is smooth too: a rule
of Gauss in the modulus, and one in the directions. All points are those of true
phonons, so that derivatives follow as elsewhere.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from skphonon.physics._phonon_model import PhononModel
from skphonon.physics.lattice import points_within, shortest
from skphonon.physics.zone.mesh import ZoneMesh, ZonePoints, labels, mesh_points

__all__ = ["core_radius", "mean_points"]

Array = NDArray[np.float64]

_CORE = 0.27  # of the shortest reciprocal vector: radius of what is parted off
_EDGE = 4.7  # radii beyond which nothing of the centre is left
_SAME_DIRECTION = 1e-5
_IN_HALF = 5  # moduli between a radius and its half


def mean_points(
    model: PhononModel,
    mesh: ZoneMesh,
    n_radii: int = 5,
    steps: float | None = None,
    halvings: int = 0,
) -> ZonePoints:
    """Return points and weights of means of what is smooth in the modulus of q.

    Such are displacements and heat capacities, but not what resolves energies: see
    :func:`resolving_points`.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    mesh : ZoneMesh
        The mesh.
    n_radii : int, default=5
        Moduli of the points around the centre. Five give displacements to 0.01 %; the
        heat capacity of a cold crystal, in which short waves are frozen, needs more.
    steps : float, default=None
        Radius in steps of the mesh with which the centre is parted off. None takes 0.27
        of the shortest reciprocal lattice vector, on any mesh: the largest one with
        which no weight is negative.
    halvings : int, default=0
        How often the radius is halved, towards the zone centre. Above 0, moduli are
        five in each half, for means of what falls off near the centre already, such as
        heat capacities near zero temperature; `n_radii` does not count.

    Returns
    -------
    ZonePoints
        First those of :func:`mesh_points` but for the zone centre, then those around
        the centre.
    """
    return model.cached(
        ("mean", mesh, n_radii, steps, halvings),
        lambda: _mean_points(model, mesh, n_radii, steps, halvings),
    )


def core_radius(model: PhononModel, mesh: ZoneMesh, steps: float) -> float:
    """Return the radius in 1/Angstrom with which the centre of a mesh is parted off."""
    volume = abs(np.linalg.det(model.reciprocal_lattice()))
    return float(steps * (volume / np.prod(mesh.size)) ** (1 / 3))


def _mean_points(
    model: PhononModel,
    mesh: ZoneMesh,
    n_radii: int,
    steps: float | None,
    halvings: int,
) -> ZonePoints:
    reciprocal = model.reciprocal_lattice()
    found = mesh_points(model, mesh)
    points, shares = found.points[: found.n_apart], found.shares[: found.n_apart]
    volume = abs(np.linalg.det(reciprocal))
    radius = _CORE * shortest(reciprocal)
    if steps is not None:
        radius = core_radius(model, mesh, steps)
    wavevectors = points / found.period @ reciprocal
    shares = shares * (1 - _centre(wavevectors, reciprocal, radius))
    moduli, parts = _graded_rule(halvings) if halvings else _radial_rule(n_radii)
    directions, of_directions = _directions(model.point_group(), mesh.n_polar)
    moduli = radius * moduli
    around = (directions[:, None] * moduli[:, None]).reshape(-1, 3)
    of_moduli = 4 * np.pi * radius * parts * moduli**2 / volume
    of_around = np.outer(of_directions, of_moduli).ravel()
    shares *= (1 - of_around.sum()) / shares.sum()  # few points miss some per cent
    return ZonePoints(
        np.concatenate([wavevectors, around]), np.concatenate([shares, of_around])
    )


def _centre(wavevectors: Array, reciprocal: Array, radius: float) -> Array:
    """Return the sum of what is parted off around all zone centres."""
    reduced = wavevectors @ np.linalg.inv(reciprocal)
    inside = (reduced - np.rint(reduced)) @ reciprocal
    reach = _EDGE * radius + np.linalg.norm(inside, axis=1).max(initial=0.0)
    centres = points_within(reciprocal, reach) @ reciprocal
    s = cdist(inside, centres, "sqeuclidean") / radius**2
    return _cut(s).sum(axis=1)


@cache
def _radial_rule(n_points: int) -> tuple[Array, Array]:
    r"""Return the rule of Gauss for :math:`\int_0^\infty \varphi(r) f(r)\,dr`.

    By the recurrence of the orthogonal polynomials (Golub and Welsch, Math. Comp. 23,
    221 (1969), doi:10.1090/S0025-5718-69-99647-1).
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r = 3 * (nodes + 1)
    weights = 3 * weights * _cut(r * r)
    before, now = np.zeros_like(r), np.ones_like(r) / np.sqrt(weights.sum())
    diagonal, beside = [], [0.0]
    for _ in range(n_points):
        diagonal.append((weights * r * now * now).sum())
        following = (r - diagonal[-1]) * now - beside[-1] * before
        beside.append(np.sqrt((weights * following**2).sum()))
        before, now = now, following / beside[-1]
    off = np.diag(beside[1:-1], 1)
    moduli, vectors = np.linalg.eigh(np.diag(diagonal) + off + off.T)
    return moduli, weights.sum() * vectors[0] ** 2


@cache
def _graded_rule(halvings: int) -> tuple[Array, Array]:
    """Return a rule for the same integrals of what varies near zero, by halves."""
    nodes, weights = np.polynomial.legendre.leggauss(_IN_HALF)
    edges = np.append(0.0, 3 * 2.0 ** -np.arange(halvings, -2, -1))
    half = np.diff(edges)[:, None] / 2
    r = (edges[:-1, None] + half * (nodes + 1)).ravel()
    return r, (half * weights).ravel() * _cut(r * r)


def _cut(s: Array) -> Array:
    """Return what is parted off at squares of a distance in radii."""
    return (1 + s + s * s / 2) * np.exp(-s)


def _directions(group: Array, n_polar: int) -> tuple[Array, Array]:
    """Return directions that symmetry leaves independent, and their shares."""
    axis, across, order = _principal_axis(group)
    n_around = 2 * order * -(-n_polar // order)
    heights, weights = np.polynomial.legendre.leggauss(n_polar)
    angles = 2 * np.pi * (np.arange(n_around) + 0.5) / n_around
    ring = np.outer(np.cos(angles), across) + np.outer(
        np.sin(angles), np.cross(axis, across)
    )
    sphere = np.sqrt(1 - heights**2)[:, None, None] * ring
    sphere = (sphere + np.outer(heights, axis)[:, None]).reshape(-1, 3)
    shares = np.repeat(weights, n_around) / (2 * n_around)
    askew = np.linalg.qr([[0.3, 0.5, 0.7], [0.2, -0.6, 0.1], [0.9, 0.1, -0.3]])[0]
    turned = sphere @ group.swapaxes(1, 2) @ askew
    places = np.rint(turned / _SAME_DIRECTION).astype(np.int64)
    least = labels(places.reshape(-1, 3)).reshape(len(group), -1).min(axis=0)
    _, first, members = np.unique(least, return_index=True, return_inverse=True)
    return sphere[first], np.bincount(members.reshape(-1), shares).astype(float)


def _principal_axis(group: Array) -> tuple[Array, Array, int]:
    """Return the axis of the highest order, one across it, and the order.

    The axis across is along a twofold one, if there is any.
    """
    proper = group[np.linalg.det(group) > 0]
    of_trace = {-1: 2, 0: 3, 1: 4, 2: 6}
    orders = np.array([of_trace.get(round(np.trace(g)), 1) for g in proper])
    highest = int(orders.argmax())
    if orders[highest] == 1:
        return np.eye(3)[2], np.eye(3)[0], 1
    axis = _axis(proper[highest])
    for rotation in proper[orders == 2]:
        across = _axis(rotation)
        if abs(across @ axis) < _SAME_DIRECTION:
            return axis, across, int(orders[highest])
    across = np.eye(3)[np.abs(axis).argmin()]
    across = across - (across @ axis) * axis
    return axis, across / np.linalg.norm(across), int(orders[highest])


def _axis(rotation: Array) -> Array:
    values, vectors = np.linalg.eigh((rotation + rotation.T) / 2)
    return vectors[:, values.argmax()]
