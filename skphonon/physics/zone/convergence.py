"""Refinement of meshes: the coarsest one on which a mean has settled.

An error is the change from a mesh to one of half as many points again along each axis.
"""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from skphonon._validation import reference_row
from skphonon._warnings import warn_user
from skphonon.physics._phonon_model import PhononModel
from skphonon.physics.dynamical_matrix import DynamicalMatrices
from skphonon.physics.stability import Softest
from skphonon.physics.zone.centre import mean_points
from skphonon.physics.zone.displacements import ThermalTensors
from skphonon.physics.zone.mesh import Size, ZoneMesh, mesh_sizes

__all__ = [
    "APART",
    "DISPLACEMENT_ERROR",
    "FEWEST_ANGLES",
    "Settled",
    "displacement_mesh",
    "polar_angles",
    "settle",
]

Array = NDArray[np.float64]
Value = TypeVar("Value")

#: Meshes between which an error is taken: half as many points again along an axis.
APART = 4
#: Allowed to a displacement, relative.
DISPLACEMENT_ERROR = 5e-3

_STRIDE = 2  # from one mesh to the next that is tried
_FARTHEST = 5  # and at most, where it is known how the error falls
_POLAR = (6, 8, 12, 16, 24, 32)  # polar angles of the centre that are tried
_LARGEST = 1 << 24  # numbers in the matrices of a mesh

FEWEST_ANGLES = _POLAR[0]


class Settled(NamedTuple, Generic[Value]):
    """The mesh that is fine enough, or the last one that was affordable."""

    mesh: ZoneMesh
    finer: ZoneMesh  # with which it was compared
    values: tuple[Value, Value]  # on these two
    excess: float  # of the error over what is allowed: settled where it is at most 1


def settle(
    model: PhononModel,
    evaluate: Callable[[ZoneMesh], Value],
    excess: Callable[[Value, Value], float],
    affordable: Callable[[Size], bool],
    *,
    n_polar: int,
    fall: float | None = None,
) -> Settled[Value]:
    """Refine a mesh until its error is no more than allowed, or it costs too much.

    `fall` is the factor by which the error falls from one mesh to the next at most, so
    that meshes which cannot do are passed over.
    """
    sizes = mesh_sizes(model)
    found: dict[int, Value] = {}

    def at(number: int) -> Value:
        if number not in found:
            found[number] = evaluate(ZoneMesh(sizes[number], n_polar=n_polar))
        return found[number]

    number = 0
    while True:
        values = at(number), at(number + APART)
        reached = excess(*values)
        stride = _STRIDE
        if fall is not None and reached > 1:
            stride = int(np.log(min(reached, 1e30)) / np.log(fall))
            stride = min(max(stride, 1), _FARTHEST)
        first = 1 if fall is not None else stride
        following = [
            n
            for n in range(number + first, number + stride + 1)
            if n + APART < len(sizes) and affordable(sizes[n + APART])
        ]
        if reached <= 1 or not following:
            mesh, finer = (
                ZoneMesh(sizes[n], n_polar=n_polar) for n in (number, number + APART)
            )
            return Settled(mesh, finer, values, reached)
        number = following[-1]


def displacement_mesh(model: PhononModel, kelvins: float) -> ZoneMesh:
    """Return the coarsest mesh on which displacements at the reference are converged.

    Warns with ConvergenceWarning if none that is small enough gives them within 0.5 %.
    """

    def affordable(size: Size) -> bool:
        return bool(np.prod(size) * (3 * model.n_atoms) ** 2 <= _LARGEST)

    def excess(coarse: Array | None, fine: Array | None) -> float:
        if coarse is None or fine is None:
            return 0.0  # of an unstable crystal there is nothing to converge
        return relative_change(coarse, fine) / DISPLACEMENT_ERROR

    found = settle(
        model,
        lambda mesh: _components(model, mesh, kelvins),
        excess,
        affordable,
        n_polar=polar_angles(model, kelvins),
    )
    if any(value is None for value in found.values):
        return found.finer
    if found.excess > 1:
        warn_user(
            "Displacements at the reference change by "
            f"{found.excess * DISPLACEMENT_ERROR:.1g} from a mesh of {found.mesh.size} "
            f"points of the zone to the next, more than {DISPLACEMENT_ERROR:g}. Check "
            "the reference of the model, or give the simulator a finer mesh.",
            ConvergenceWarning,
        )
    return found.mesh


def polar_angles(model: PhononModel, kelvins: float) -> int:
    """Return the fewest polar angles of the centre that converge displacements."""
    size = next(s for s in mesh_sizes(model) if np.prod(s) >= 216 / model.n_atoms**0.5)
    before = None
    for n_polar in _POLAR:
        now = _components(model, ZoneMesh(size, n_polar=n_polar), kelvins)
        if now is None:  # of an unstable crystal there are none
            return FEWEST_ANGLES
        if before is not None and relative_change(before, now) < DISPLACEMENT_ERROR / 2:
            return n_polar
        before = now
    return _POLAR[-1]


def relative_change(before: Array, now: Array) -> float:
    """Return the largest change over the largest size; 0 where there is nothing."""
    size = np.abs(now).max()
    return float(np.abs(now - before).max() / size) if size else 0.0


def _components(model: PhononModel, mesh: ZoneMesh, kelvins: float) -> Array | None:
    """Return displacements at the reference, None if it is unstable."""
    mean = mean_points(model, mesh)
    matrices = DynamicalMatrices(model, mean.wavevectors)
    eigenvalues, vectors = np.linalg.eigh(matrices.matrices(reference_row(model)[None]))
    softest = Softest(1, matrices)
    softest.note(slice(None), eigenvalues)
    if softest.eigenvalues[0] < 0:
        return None
    thermal = ThermalTensors(model, mean.weights)
    return thermal.components(eigenvalues, vectors, kelvins)
