"""Which mesh of the zone displacements need, found by comparison at the reference."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skphonon._validation import reference_row
from skphonon._warnings import warn_user
from skphonon.physics.dynamical_matrix import DynamicalMatrices
from skphonon.physics.stability import Softest
from skphonon.physics.zone import ThermalTensors, ZoneMesh, mean_points, mesh_sizes

__all__ = [
    "APART",
    "DISPLACEMENT_ERROR",
    "FEWEST_ANGLES",
    "displacement_mesh",
    "polar_angles",
]

#: Allowed to a displacement, relative.
DISPLACEMENT_ERROR = 5e-3
#: Meshes between which an error is taken: half as many points again along an axis.
APART = 4

_STRIDE = 2  # from one mesh to the next that is tried
_POLAR = (6, 8, 12, 16, 24, 32)  # polar angles of the centre that are tried
_LARGEST = 1 << 24  # numbers in the matrices of a mesh

FEWEST_ANGLES = _POLAR[0]


def polar_angles(model, kelvins) -> int:
    """Return the fewest polar angles of the centre that converge displacements.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal, at its reference.
    kelvins : float
        Temperature in K.

    Returns
    -------
    int
    """
    size = next(s for s in mesh_sizes(model) if np.prod(s) >= 216 / model.n_atoms**0.5)
    before = None
    for n_polar in _POLAR:
        now = _components(model, ZoneMesh(size, n_polar=n_polar), kelvins)
        if now is None:  # of an unstable crystal there are none
            return FEWEST_ANGLES
        if before is not None and _change(before, now) < DISPLACEMENT_ERROR / 2:
            return n_polar
        before = now
    return _POLAR[-1]


def displacement_mesh(model, kelvins) -> ZoneMesh:
    """Return the coarsest mesh on which displacements are converged.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal, at its reference.
    kelvins : float
        Temperature in K.

    Returns
    -------
    ZoneMesh
        With displacements within 0.5 % of those on a mesh of half as many points again
        along each axis.

    Warns
    -----
    ConvergenceWarning
        If none that is small enough has.
    """
    sizes, n_polar, found = mesh_sizes(model), polar_angles(model, kelvins), {}

    def at(number):
        if number not in found:
            mesh = ZoneMesh(sizes[number], n_polar=n_polar)
            found[number] = _components(model, mesh, kelvins)
        return found[number]

    number, change = 0, 1.0
    while number + APART < len(sizes):
        points = np.prod(sizes[number + APART])
        if number and points * (3 * model.n_atoms) ** 2 > _LARGEST:
            break
        if at(number) is None or at(number + APART) is None:
            return ZoneMesh(sizes[number + APART], n_polar=n_polar)
        change = _change(at(number), at(number + APART))
        if change < DISPLACEMENT_ERROR:
            return ZoneMesh(sizes[number], n_polar=n_polar)
        number += _STRIDE
    number = max(number - _STRIDE, 0)
    warn_user(
        f"Displacements at the reference change by {change:.1g} from a mesh of "
        f"{sizes[number]} points of the zone to the next, more than "
        f"{DISPLACEMENT_ERROR:g}. Check the reference of the model, or give the "
        "simulator a finer mesh.",
        ConvergenceWarning,
    )
    return ZoneMesh(sizes[number], n_polar=n_polar)


def _components(model, mesh, kelvins):
    mean = mean_points(model, mesh)
    matrices = DynamicalMatrices(model, mean.wavevectors)
    modes = np.linalg.eigh(matrices.matrices(reference_row(model)[None]))
    softest = Softest(1, matrices)
    softest.note(slice(None), modes[0])
    if softest.eigenvalues[0] < 0:
        return None
    return ThermalTensors(model, mean.weights).components(*modes, kelvins)


def _change(before, now):
    size = np.abs(now).max()
    return float(np.abs(now - before).max() / size) if size else 0.0
