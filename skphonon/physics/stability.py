"""Crystals that are not stable: their modes of imaginary energy, and warnings."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skphonon._warnings import warn_user
from skphonon.physics._phonon_model import PhononModel
from skphonon.physics.dynamical_matrix import DynamicalMatrices
from skphonon.physics.zone.mesh import (
    Size,
    ZoneMesh,
    laue_rotations,
    mesh_points,
    size_of_reach,
    stars,
)

__all__ = [
    "Softest",
    "UnstableCrystalWarning",
    "is_searching",
    "searching",
    "softest_among",
    "softest_modes",
    "warn_unstable",
    "watched_matrices",
]

Array = NDArray[np.float64]

_REACH = 24.0  # Angstrom, of a mesh that looks for unstable modes
_NEAR = (0.02, 0.15, 0.4)  # of the way to the nearest points: long waves
_NUMBERS = 2**22  # in the dynamical matrices made at once

_UNSTABLE = 1e-8  # of the largest eigenvalue, below zero

_SEARCHING: ContextVar[bool] = ContextVar("searching", default=False)


class UnstableCrystalWarning(UserWarning):
    """Parameters describe a crystal with modes of imaginary energy."""


class _Numbered(Protocol):
    """Something that tells the wavevector of a number."""

    def reduced(self, number: int) -> Array:
        """Return the wavevector in units of the reciprocal lattice."""


class Softest:
    """The lowest mode of each parameter set, among matrices whose wavevectors count."""

    def __init__(self, n_samples: int, matrices: _Numbered) -> None:
        self.eigenvalues = np.zeros(n_samples)  # meV^2; 0 where stable
        self._lowest, self._largest = np.zeros(n_samples), np.zeros(n_samples)
        self.points = np.zeros(n_samples, dtype=int)
        self._matrices = matrices

    def note(
        self, batch: slice, eigenvalues: NDArray[np.floating], first: int = 0
    ) -> None:
        """Keep the lowest of the eigenvalues of a batch, and of those noted before.

        They are ascending, (n_samples, n_points, n_modes) in meV^2, of points from
        number `first` on.
        """
        lowest = eigenvalues[..., 0]
        own = lowest.argmin(axis=1)
        values = lowest[np.arange(len(own)), own]
        lower = values < self._lowest[batch]
        self._lowest[batch] = np.where(lower, values, self._lowest[batch])
        self.points[batch] = np.where(lower, first + own, self.points[batch])
        largest = np.abs(eigenvalues).max(axis=(1, 2))
        self._largest[batch] = np.maximum(self._largest[batch], largest)
        unstable = self._lowest[batch] < -_UNSTABLE * self._largest[batch]
        self.eigenvalues[batch] = np.where(unstable, self._lowest[batch], 0.0)

    def worst(self) -> tuple[float, Array]:
        """Return imaginary energy in meV and reduced wavevector of the softest mode."""
        number = int(self.eigenvalues.argmin())
        reduced = self._matrices.reduced(self.points[number])
        return np.sqrt(-self.eigenvalues[number]), reduced


def softest_modes(
    model: PhononModel, parameters: Array, mesh: int | Size | None = None
) -> Softest:
    """Look for unstable modes on a mesh with the zone centre and along short vectors.

    Sound is looked at along the thirteen shortest directions of the reciprocal lattice,
    closer to the centre than the mesh, and so are points with coordinates of a half, a
    third and two thirds: bands that turn unstable often do so there. Without a mesh,
    one reaches 24 Angstrom.
    """
    return softest_among(watched_matrices(model, mesh), parameters)


def watched_matrices(
    model: PhononModel, mesh: int | Size | None = None
) -> DynamicalMatrices:
    """Return the dynamical matrices among which `softest_modes` looks."""
    if mesh is None:
        # even numbers: with the middles of edges and faces of the zone
        mesh = size_of_reach(model, _REACH, multiple=2)
    found = mesh_points(model, ZoneMesh(mesh, shifted=False))
    points = [found.points[: found.n_apart] / found.period]
    corners = np.indices((3, 3, 3)).reshape(3, -1).T - 1
    _, first = np.unique(stars(corners, laue_rotations(model)), return_index=True)
    nearest = corners[[n for n in first if corners[n].any()]]
    size = np.broadcast_to(mesh, 3)
    points += [share * nearest / size for share in _NEAR]
    corners = np.indices((6, 6, 6)).reshape(3, -1).T  # of zones with sixfold axes, too
    corners = corners[np.isin(corners, [0, 2, 3, 4]).all(axis=1) & corners.any(axis=1)]
    _, first = np.unique(stars(corners, laue_rotations(model), 6), return_index=True)
    points.append(corners[first] / 6)
    return DynamicalMatrices(model, np.concatenate(points) @ model.reciprocal_lattice())


def softest_among(matrices: DynamicalMatrices, parameters: Array) -> Softest:
    """Look for unstable modes of parameter sets among some dynamical matrices."""
    softest = Softest(len(parameters), matrices)
    step = max(1, _NUMBERS // (matrices.n_points * matrices.size**2))
    for start in range(0, len(parameters), step):
        batch = slice(start, start + step)
        softest.note(batch, np.linalg.eigvalsh(matrices.matrices(parameters[batch])))
    return softest


@contextmanager
def searching() -> Iterator[None]:
    """Keep quiet of unstable crystals: a search passes them, and judges its results."""
    token = _SEARCHING.set(True)
    try:
        yield
    finally:
        _SEARCHING.reset(token)


def is_searching() -> bool:
    """Tell whether a search is going on, which says itself what there is to say."""
    return _SEARCHING.get()


def warn_unstable(*found: Softest) -> None:
    """Warn of unstable parameter sets, once for all of a call."""
    n_unstable = sum(int((softest.eigenvalues < 0).sum()) for softest in found)
    if not n_unstable or _SEARCHING.get():
        return
    energy, reduced = min(found, key=lambda each: each.eigenvalues.min()).worst()
    place = ", ".join(f"{x + 0.0:.3g}" for x in reduced.round(4))
    warn_user(
        f"{n_unstable} of {sum(len(each.eigenvalues) for each in found)} parameter "
        f"sets are unstable: a mode at q = ({place}) in units of the reciprocal "
        f"lattice has the imaginary energy {energy:.2g}i meV. Such modes are left out "
        "of spectra and displacements; keep to sets for which is_stable of the model "
        "holds.",
        UnstableCrystalWarning,
    )
