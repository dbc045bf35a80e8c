"""Which mesh of the zone a powder average needs, by comparison at the reference."""

import logging
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skphonon._warnings import warn_user
from skphonon.physics.stability import Softest, is_searching
from skphonon.physics.zone import ZoneMesh
from skphonon.physics.zone.convergence import (
    APART,
    DISPLACEMENT_ERROR,
    FEWEST_ANGLES,
    polar_angles,
    settle,
)
from skphonon.physics.zone.mesh import mesh_sizes
from skphonon.simulation._calls import working_memory
from skphonon.simulation._powder_engine import crystals, images
from skphonon.simulation._powder_plan import make_plan, plan_size
from skphonon.simulation._recording import Recording

__all__ = ["Choice", "choose_mesh", "error_of", "finer", "next_mesh"]

_log = logging.getLogger(__name__)

_FALL = 5.0  # of the error from one mesh to the next, at most: it is exponential
_ALIKE = 1e-12  # of the mean square: a variance that is rounding
_MARGIN = 3.0  # of the tolerance at the reference: other parameters err more


class Choice(NamedTuple):
    """A mesh, and the error of spectra and of displacements at the reference."""

    mesh: ZoneMesh
    error: float
    of_displacements: float
    plans: tuple  # of this mesh, and of the one it was compared with


def choose_mesh(
    simulator, recording: Recording, values: dict, tolerance: float
) -> Choice:
    """Return the coarsest mesh within a tolerance.

    Parameters
    ----------
    simulator : PowderSimulator
        With checked settings.
    recording : Recording
        Axes and kernels of its plans.
    values : dict
        From names of nuisances to arrays of shape (1,): where to compare.
    tolerance : float
        Mean square error allowed, over the variance.

    Returns
    -------
    Choice
        Warns with ConvergenceWarning where the tolerance is out of reach, but in a
        search.
    """
    model, budget = simulator.model, working_memory()
    n_polar = FEWEST_ANGLES
    if simulator.mean_square_displacement is None:
        n_polar = polar_angles(model, values["temperature"])

    def evaluate(mesh: ZoneMesh):
        plan = make_plan(simulator, mesh, recording)
        return plan, _spectrum(plan, simulator, values)

    def excess(coarse, fine) -> float:
        if not (coarse[0].blocks and fine[0].blocks):
            return np.inf  # no momentum transfer is in the window
        error, moved = _distances(coarse[1], fine[1], simulator.grid.mask)
        return max(_MARGIN * error / tolerance, moved / DISPLACEMENT_ERROR)

    found = settle(
        model,
        evaluate,
        excess,
        lambda size: plan_size(model, size, simulator, recording) <= budget,
        n_polar=n_polar,
        fall=_FALL,
    )
    plans, spectra = zip(*found.values, strict=True)
    error, moved = _distances(*spectra, simulator.grid.mask)
    best = Choice(found.mesh, error, moved, plans)
    _log.info(
        "mesh of the Brillouin zone %s: error %.1g, tolerance %.1g",
        best.mesh.size,
        error,
        tolerance,
    )
    if found.excess <= 1:
        return best
    if is_searching():
        return best
    warn_user(
        f"The finest mesh within working_memory={budget / 2**20:g} MiB, "
        f"{best.mesh.size}, "
        f"does not reach a third of tolerance={tolerance:g}: the error is "
        f"{best.error:.1g} "
        f"({best.of_displacements:.1g} of displacements). Raise the tolerance, or "
        "working_memory by sklearn.config_context, give the simulator the resolution "
        "of the instrument, or leave the elastic line (and two or three widths of the "
        "resolution around it) out of the mask of the grid.",
        ConvergenceWarning,
    )
    return best


def error_of(simulator, plan, recording: Recording, values: dict, rows) -> np.ndarray:
    """Return the error of spectra of a plan, from one of a finer mesh.

    Parameters
    ----------
    simulator : PowderSimulator
        With checked settings.
    plan : Plan
        Its plan.
    recording, values : Recording, dict
        As for :func:`choose_mesh`.
    rows : ndarray of shape (n_samples, n_parameters)
        Parameter sets.

    Returns
    -------
    ndarray of shape (n_samples,)
        Mean square difference over the variance of the spectrum.
    """
    fine = make_plan(simulator, finer(plan.mesh), recording)
    found = []
    for row in rows:
        coarse, of_finer = (
            _spectrum(each, simulator, values, row[None]) for each in (plan, fine)
        )
        found.append(_distances(coarse, of_finer, simulator.grid.mask)[0])
    return np.array(found)


def finer(mesh: ZoneMesh) -> ZoneMesh:
    """Return a mesh of half as many points again along each axis."""
    a, b, c = (n + max(1, -(-n // 2)) for n in mesh.size)
    return ZoneMesh((a, b, c), shifted=mesh.shifted, n_polar=2 * mesh.n_polar)


def next_mesh(mesh: ZoneMesh, model) -> ZoneMesh:
    """Return the mesh that a choice compares with, or one as much finer."""
    sizes = mesh_sizes(model)
    size = finer(mesh).size
    if mesh.size in sizes[:-APART]:
        size = sizes[sizes.index(mesh.size) + APART]
    return ZoneMesh(size, shifted=mesh.shifted, n_polar=mesh.n_polar)


def _spectrum(plan, simulator, values, rows=None):
    """Image and displacements at the reference: these not of an unstable crystal."""
    rows = simulator.reference[None] if rows is None else rows
    conditions = plan.recording.conditions(values)
    found = crystals(plan, rows, conditions)
    softest = Softest(len(rows), plan.matrices)
    softest.note(slice(None), found.eigenvalues)
    stable = softest.eigenvalues[0] >= 0
    components = found.components if stable else np.zeros_like(found.components)
    return images(plan, found, conditions)[0], components


def _distances(coarse, fine, mask):
    """Error of an image over its variance, and largest one of displacements.

    Over the mean square where all that is seen is alike, as in a single pixel.
    """
    first, second = (pair[0][mask] for pair in (coarse, fine))
    square = (second**2).mean()
    spread = second.var()
    spread = spread if spread > _ALIKE * square else square
    error = ((first - second) ** 2).mean() / spread if spread else 0.0
    size = np.abs(fine[1]).max()
    change = np.abs(coarse[1] - fine[1]).max() / size if size else 0.0
    return float(error), float(change)
