r"""Means over the Brillouin zone: one mesh for everything that needs one.

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

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.physics.lattice import points_within, shortest

__all__ = [
    "MeshPoints",
    "ThermalTensors",
    "ZoneMesh",
    "ZonePoints",
    "as_mesh",
    "displacement_components",
    "folded",
    "labels",
    "laue_rotations",
    "mean_points",
    "mesh_points",
    "mesh_sizes",
    "resolving_points",
    "size_of_reach",
    "stars",
    "thermal_amplitudes",
]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_CORE = 0.27  # of the shortest reciprocal vector: radius of what is parted off
_EDGE = 4.7  # radii beyond which nothing of the centre is left
_SHORTEST, _LONGEST = 10.0, 400.0  # Angstrom: reach of the coarsest and finest mesh
_HALF = 1 << 19  # coordinates that labels of points tell apart, in either direction
_SAME_DIRECTION = 1e-5
_SOFTEST = 1e-9  # of the largest eigenvalue: softer modes are those of no energy


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

    def __post_init__(self):
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


def laue_rotations(model) -> Integers:
    """Return the Laue class of a crystal for reduced wavevectors.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.

    Returns
    -------
    ndarray of int of shape (n_rotations, 3, 3)
        A rotation takes a row to ``row @ rotation``.
    """
    reciprocal = model.reciprocal_lattice()
    turned = reciprocal @ model.point_group().swapaxes(1, 2) @ np.linalg.inv(reciprocal)
    return np.unique(np.rint(turned).astype(np.int64), axis=0)


def labels(points: Integers) -> Integers:
    """Return one number for the three coordinates of each point, in their order.

    Parameters
    ----------
    points : ndarray of int of shape (n_points, 3)
        Coordinates, below half a million in size.

    Returns
    -------
    ndarray of int of shape (n_points,)
        Different for different points.
    """
    a, b, c = (points + _HALF).T
    return ((a << 20) + b << 20) + c


def stars(points: Integers, rotations: Integers, period: int | None = None) -> Integers:
    """Return labels that are equal for the points that rotations relate.

    Parameters
    ----------
    points : ndarray of int of shape (n_points, 3)
        Coordinates in a fraction of the reciprocal lattice vectors.
    rotations : ndarray of int of shape (n_rotations, 3, 3)
        As from :func:`laue_rotations`.
    period : int, default=None
        Coordinates that differ by it count as equal.

    Returns
    -------
    ndarray of int of shape (n_points,)
        The smallest of :func:`labels` in the star of each point.
    """
    least = np.full(len(points), np.iinfo(np.int64).max)
    for rotation in rotations:
        turned = points @ rotation
        if period is not None:
            turned %= period
        np.minimum(least, labels(turned), out=least)
    return least


class MeshPoints(NamedTuple):
    """Points of a mesh that symmetry leaves independent.

    Parameters
    ----------
    points : ndarray of int of shape (n_points, 3)
        Coordinates in a fraction of the reciprocal lattice vectors. Those that stand
        for the zone centre, where the mesh has it, are the last.
    period : int
        What the coordinates are fractions of.
    shares : ndarray of shape (n_points,)
        Share of the zone that each stands for; they sum to one.
    n_apart : int
        Number of points that do not stand for the centre.
    """

    points: Integers
    period: int
    shares: Array
    n_apart: int


def folded(size, shifted: bool, rotations: Integers) -> tuple[Integers, int, Array]:
    """Fold the points of a mesh but for the zone centre.

    Parameters
    ----------
    size : array-like of int of shape (3,)
        Points along each reciprocal axis.
    shifted : bool
        Whether they lie half a step off the zone centre.
    rotations : ndarray of int of shape (n_rotations, 3, 3)
        As from :func:`laue_rotations`.

    Returns
    -------
    points : ndarray of int of shape (n_points, 3)
        Coordinates in a fraction of the reciprocal lattice vectors.
    period : int
        What the coordinates are fractions of, a multiple of four points an axis.
    shares : ndarray of shape (n_points,)
        Share of the zone that each stands for.
    """
    period = 4 * int(np.lcm.reduce(size))
    axes = [(4 * np.arange(n) + 2 * shifted) * (period // (4 * n)) for n in size]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    apart = points[points.any(axis=1)]
    _, first, members = np.unique(
        stars(apart, rotations, period), return_index=True, return_counts=True
    )
    return apart[first], period, members / len(points)


def mesh_points(model, mesh: ZoneMesh) -> MeshPoints:
    """Return the points of a mesh that symmetry leaves independent.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    mesh : ZoneMesh
        The mesh.

    Returns
    -------
    MeshPoints
        Eight points, a quarter of a step away along all axes, stand for the centre.
    """
    return model.cached(("mesh", mesh), lambda: _mesh_points(model, mesh))


def _mesh_points(model, mesh):
    rotations = laue_rotations(model)
    apart, period, weights = folded(mesh.size, mesh.shifted, rotations)
    found, shares = [apart], [weights]
    if not mesh.shifted:
        quarters = period // (4 * np.array(mesh.size))
        corners = quarters * (2 * np.indices((2, 2, 2)).reshape(3, -1).T - 1)
        _, nearest, members = np.unique(
            stars(corners, rotations), return_index=True, return_counts=True
        )
        found.append(corners[nearest])
        shares.append(members / 8 / np.prod(mesh.size))
    return MeshPoints(
        np.concatenate(found), period, np.concatenate(shares), len(found[0])
    )


def resolving_points(model, mesh: ZoneMesh) -> ZonePoints:
    """Return points and weights of means that resolve energies.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    mesh : ZoneMesh
        The mesh.

    Returns
    -------
    ZonePoints
        All of :func:`mesh_points`.
    """
    found = mesh_points(model, mesh)
    reduced = found.points / found.period
    return ZonePoints(reduced @ model.reciprocal_lattice(), found.shares)


def mean_points(
    model, mesh: ZoneMesh, n_radii: int = 5, steps: float | None = None
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

    Returns
    -------
    ZonePoints
        First those of :func:`mesh_points` but for the zone centre, then those around
        the centre.
    """
    return model.cached(
        ("mean", mesh, n_radii, steps),
        lambda: _mean_points(model, mesh, n_radii, steps),
    )


def _mean_points(model, mesh, n_radii, steps):
    reciprocal = model.reciprocal_lattice()
    found = mesh_points(model, mesh)
    points, shares = found.points[: found.n_apart], found.shares[: found.n_apart]
    volume = abs(np.linalg.det(reciprocal))
    radius = _CORE * shortest(reciprocal)
    if steps is not None:
        radius = steps * (volume / np.prod(mesh.size)) ** (1 / 3)
    wavevectors = points / found.period @ reciprocal
    shares = shares * (1 - _centre(wavevectors, reciprocal, radius))
    moduli, parts = _radial_rule(n_radii)
    directions, of_directions = _directions(model.point_group(), mesh.n_polar)
    moduli = radius * moduli
    around = (directions[:, None] * moduli[:, None]).reshape(-1, 3)
    of_moduli = 4 * np.pi * radius * parts * moduli**2 / volume
    of_around = np.outer(of_directions, of_moduli).ravel()
    shares *= (1 - of_around.sum()) / shares.sum()  # few points miss some per cent
    return ZonePoints(
        np.concatenate([wavevectors, around]), np.concatenate([shares, of_around])
    )


def mesh_sizes(model) -> list[tuple[int, int, int]]:
    """Return ever finer meshes of about the same reach along all axes.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.

    Returns
    -------
    list of tuple of 3 int
        The fourth after one has about half as many points again along each axis.
    """
    found: list[tuple[int, int, int]] = []
    reach = _SHORTEST
    while reach < _LONGEST:
        size = size_of_reach(model, reach)
        if size not in found[-1:]:
            found.append(size)
        reach *= 1.5**0.25
    return found


def size_of_reach(model, reach: float, multiple: int = 1) -> tuple[int, int, int]:
    """Return the mesh that stands for so large a crystal, about.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    reach : float
        Distance in Angstrom between the outer planes of cells.
    multiple : int, default=1
        What the numbers of points are multiples of.

    Returns
    -------
    tuple of 3 int
        Points along each reciprocal axis, at least two.
    """
    spacings = np.linalg.norm(model.reciprocal_lattice(), axis=1) / (2 * np.pi)
    multiples = np.rint(reach * spacings / multiple).astype(int)
    a, b, c = np.maximum(multiple * multiples, 2).tolist()
    return a, b, c


def as_mesh(mesh) -> ZoneMesh:
    """Return the mesh that a number, three numbers or a mesh stand for.

    Parameters
    ----------
    mesh : ZoneMesh, int or tuple of 3 int
        The mesh, or its size.

    Returns
    -------
    ZoneMesh
        The mesh given, or one of this size.
    """
    return mesh if isinstance(mesh, ZoneMesh) else ZoneMesh(mesh)


def _centre(wavevectors, reciprocal, radius):
    """Sum of what is parted off around all zone centres."""
    reduced = wavevectors @ np.linalg.inv(reciprocal)
    inside = (reduced - np.rint(reduced)) @ reciprocal
    reach = _EDGE * radius + np.linalg.norm(inside, axis=1).max(initial=0.0)
    centres = points_within(reciprocal, reach) @ reciprocal
    s = cdist(inside, centres, "sqeuclidean") / radius**2
    return ((1 + s + s * s / 2) * np.exp(-s)).sum(axis=1)


@cache
def _radial_rule(n_points):
    r"""Gauss's rule :math:`\int_0^\infty \varphi(r) f(r)\,dr`, in units of the radius.

    By the recurrence of the orthogonal polynomials (Golub and Welsch, Math. Comp. 23,
    221 (1969), doi:10.1090/S0025-5718-69-99647-1).
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r = 3 * (nodes + 1)
    s = r * r
    weights = 3 * weights * (1 + s + s * s / 2) * np.exp(-s)
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


def _directions(group, n_polar):
    """Directions that symmetry leaves independent, and their shares of the sphere."""
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
    least = np.full(len(sphere), np.iinfo(np.int64).max)
    for rotation in group:
        turned = sphere @ rotation.T @ askew
        places = np.rint(turned / _SAME_DIRECTION).astype(np.int64)
        np.minimum(least, labels(places), out=least)
    _, first, members = np.unique(least, return_index=True, return_inverse=True)
    return sphere[first], np.bincount(members.reshape(-1), shares)


def _principal_axis(group):
    """Axis of the highest order, one across it (along a twofold one), and the order."""
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


def _axis(rotation):
    values, vectors = np.linalg.eigh((rotation + rotation.T) / 2)
    return vectors[:, values.argmax()]


def thermal_amplitudes(eigenvalues: Array, temperature) -> tuple[Array, Array, Array]:
    r"""Return mean-square amplitudes of modes of 1 amu, and their derivatives.

    .. math:: \frac{\hbar^2}{2 E} \coth\frac{E}{2 k_B T}

    Parameters
    ----------
    eigenvalues : ndarray of shape (n_samples, ...)
        Squared energies in meV^2.
    temperature : float or ndarray of shape (n_samples,)
        In K.

    Returns
    -------
    amplitudes : ndarray of the shape of `eigenvalues`
        In Angstrom^2; zero for modes that are not stable.
    slopes : ndarray of the same shape
        Derivative with the squared energy, Angstrom^2/meV^2.
    warmings : ndarray of the same shape
        Derivative with the temperature, Angstrom^2/K.
    """
    largest = np.abs(eigenvalues).max(axis=-1, keepdims=True)
    stable = eigenvalues > _SOFTEST * largest
    energies = np.sqrt(np.where(stable, eigenvalues, 1.0))
    kelvins = np.asarray(temperature, dtype=float)
    kelvins = kelvins.reshape(kelvins.shape + (1,) * (eigenvalues.ndim - kelvins.ndim))
    cold = kelvins == 0
    half = np.where(cold, 1.0, 2 * BOLTZMANN * kelvins)
    coth = np.where(cold, 1.0, 1 / np.tanh(energies / half))
    falling = np.where(cold, 0.0, (1 - coth * coth) / half)  # of coth with E
    values = coth / energies
    scale = np.where(stable, HBAR2_PER_AMU / 2, 0.0)
    slopes = scale * (falling - values) / (2 * energies**2)
    warmings = scale * -falling / np.where(cold, 1.0, kelvins)
    return scale * values, slopes, warmings


def displacement_components(model) -> Array:
    """Return a basis of the displacement tensors that the space group allows.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.

    Returns
    -------
    ndarray of shape (n_components, n_atoms, 3, 3)
        Orthonormal.
    """
    rotations, permutations = model.symmetry_operations()
    n_atoms = model.n_atoms
    left, start = np.zeros((0, n_atoms, 3, 3)), np.eye(3)
    symmetric = [
        (np.outer(start[a], start[b]) + np.outer(start[b], start[a]))
        / (2.0 if a == b else 2**0.5)
        for a in range(3)
        for b in range(a, 3)
    ]
    found = [left]
    done: set[int] = set()
    for atom in range(n_atoms):
        orbit = permutations[:, atom]
        if atom in done:
            continue
        done.update(orbit.tolist())
        images = np.zeros((6, n_atoms, 3, 3))
        for tensor, image in zip(symmetric, images, strict=True):
            turned = rotations @ tensor @ rotations.swapaxes(1, 2)
            np.add.at(image, orbit, turned / len(orbit))
        flat = images.reshape(6, -1)
        _, sizes, rows = np.linalg.svd(flat, full_matrices=False)
        found.append(rows[sizes > 1e-6 * sizes[0]].reshape(-1, n_atoms, 3, 3))
    return np.concatenate(found)


class ThermalTensors:
    r"""Mean-square displacement tensors of modes, and their derivatives.

    .. math:: U_d = \sum_q w_q \sum_j \frac{\hbar^2}{2 m_d E_{qj}}
              \coth\frac{E_{qj}}{2 k_B T}\,\mathrm{Re}\,e_{dqj} e_{dqj}^\dagger

    (Squires, *Introduction to the Theory of Thermal Neutron Scattering*,
    doi:10.1017/CBO9781139107808, chapter 3), in components of
    :func:`displacement_components`, averaged over the space group by that.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    weights : ndarray of shape (n_points,)
        Of the points whose modes are given.

    Attributes
    ----------
    tensors : ndarray of shape (n_components, n_atoms, 3, 3)
        The basis.
    """

    def __init__(self, model, weights: Array) -> None:
        self.tensors = displacement_components(model)
        self._weights = weights
        self._forms = self.tensors / model.atomic_masses[:, None, None]

    def components(self, eigenvalues, vectors, temperature) -> Array:
        """Return the components of the tensors.

        Parameters
        ----------
        eigenvalues : ndarray of shape (n_samples, n_points, n_modes)
            Squared energies in meV^2.
        vectors : ndarray of shape (n_samples, n_points, n_modes, n_modes)
            Modes in columns; those of the real form of a centrosymmetric crystal serve.
        temperature : float or ndarray of shape (n_samples,)
            In K.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            In Angstrom^2.
        """
        amplitudes, _, _ = thermal_amplitudes(eigenvalues, temperature)
        return self._contracted(amplitudes, vectors)

    def warming(self, eigenvalues, vectors, temperature) -> Array:
        """Return the derivative of the components with the temperature.

        Parameters
        ----------
        eigenvalues : ndarray of shape (n_samples, n_points, n_modes)
            As for :meth:`components`.
        vectors : ndarray of shape (n_samples, n_points, n_modes, n_modes)
            As for :meth:`components`.
        temperature : float or ndarray of shape (n_samples,)
            In K.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            In Angstrom^2/K.
        """
        _, _, warmings = thermal_amplitudes(eigenvalues, temperature)
        return self._contracted(warmings, vectors)

    def slopes(self, eigenvalues, vectors, temperature, inverse, near) -> NDArray:
        r"""Return the gradient of each component with the matrices, between modes.

        Parameters
        ----------
        eigenvalues : ndarray of shape (n_samples, n_points, n_modes)
            As for :meth:`components`.
        vectors : ndarray of shape (n_samples, n_points, n_modes, n_modes)
            As for :meth:`components`.
        temperature : float or ndarray of shape (n_samples,)
            In K.
        inverse : ndarray of shape (n_samples, n_points, n_modes, n_modes)
            Inverse gaps between the eigenvalues, zero between degenerate ones.
        near : ndarray of bool of the same shape
            Which are degenerate.

        Returns
        -------
        ndarray of shape (n_components, n_samples, n_points, n_modes, n_modes)
            Hermitian G in the basis of the modes: a component changes by
            :math:`\mathrm{Re} \sum_{jk} G_{jk}^* (V^\dagger dD\,V)_{jk}`.
        """
        amplitudes, slopes, _ = thermal_amplitudes(eigenvalues, temperature)
        changes = (amplitudes[..., :, None] - amplitudes[..., None, :]) * inverse
        changes += near * (slopes[..., :, None] + slopes[..., None, :]) / 2
        changes *= self._weights[:, None, None]
        n_atoms, n_modes = self.tensors.shape[1], vectors.shape[-1]
        blocks = vectors.reshape(*vectors.shape[:2], n_atoms, 3, n_modes)
        found = []
        for form in self._forms:
            turned = (form @ blocks).reshape(vectors.shape)
            found.append((vectors.conj().swapaxes(2, 3) @ turned) * changes)
        return np.stack(found)

    def _contracted(self, amplitudes, vectors):
        n_samples, n_points, n_modes = amplitudes.shape
        n_atoms = self.tensors.shape[1]
        blocks = vectors.reshape(n_samples, n_points, n_atoms, 3, n_modes)
        weighted = (amplitudes * self._weights[:, None])[:, :, None, None]
        products = (blocks * weighted) @ blocks.conj().swapaxes(3, 4)
        sums = products.real.sum(axis=1).reshape(n_samples, -1)
        return sums @ self._forms.reshape(len(self._forms), -1).T
