r"""A search in stages: on coarse meshes first, on those of the tolerances in the end.

Far from the optimum a mesh of the Brillouin zone need not be fine. What it does in the
end is estimated from a simulation :math:`S'` on a finer one: with the derivatives J of
the residuals, it moves the parameters by :math:`J^+ (S' - S)`. That is an error of the
fit like that of noise, and where it is not small beside error bars the search goes on,
on the finer mesh.
"""

import numpy as np
from scipy.optimize import OptimizeResult

from skphonon.inversion._fitting import best_of

__all__ = ["COARSE", "SMALL_BIAS", "best_fit", "rough_ends", "shift_by"]

#: Factor of the tolerances of simulators, far from the optimum.
COARSE = 10.0

#: Standard deviations by which a finer mesh may move a constant. It errs itself: what
#: is left is up to half as much again.
SMALL_BIAS = 0.2

_CHEAPER = 4  # times fewer points of a coarse mesh that is worth a search of its own
_ROUGH = 1e-3  # tolerance of a search on coarse meshes
_ALIKE = 0.1  # steps between ends of searches that are one
_AS_LIKELY = 9.0  # of minus twice the log likelihood: an end that may be the truth
_FAR = 3.0  # standard deviations between answers that are two
_HOPELESS = 1.3  # times the squares left by another end on the coarse mesh
_SMALL_BESIDE = 0.5  # bars by which a mesh may move a nuisance
_TIGHTENED = 4  # times at most
_EXACT = 1e-5  # of the contrast: below it simulators differ from one another


def best_fit(search, starts, task, model, bars):
    """Search from all starts, and go on where the end is moved by the mesh.

    `search` takes a model, a start, a task and whether it is the last stage. The result
    has what `bars` returns, and `mesh_bias` in standard deviations, NaN if not known.
    """
    if model.loosened(1.0, starts[0]) is None:
        found = best_of([search(model, start, task, True) for start in starts])
        if np.isfinite(found.fun):
            found.update(bars(found), mesh_bias=np.zeros(found.x.size))
        return found
    last, ends = [], rough_ends(search, starts, task, model)
    for end in ends:
        level = model.loosened(1.0, end.x)
        result = search(level, end.x, _less(task, end.nfev), True)
        result.level = level
        last.append(_after(end, result))
    found = best_of(last)
    others = [each for each in last if each is not found and np.isfinite(each.fun)]
    others = [each.x for each in others if each.fun < found.fun + _AS_LIKELY]
    found = _tightened(search, found, task, model, bars)
    found.others = _apart(found, others)
    return found


def rough_ends(search, starts, task, model, hopeless=_HOPELESS):
    """Return distinct ends on coarse meshes, or the starts if these cost as much.

    Not those that leave `hopeless` times the squares of the best.
    """
    coarse = model.loosened(COARSE, starts[0])
    fine = model.loosened(1.0, starts[0])
    if not model.nuisance and fine.n_points < _CHEAPER * coarse.n_points:
        return [OptimizeResult(x=start, nfev=0, nit=0) for start in starts]
    rough = task._replace(tolerance=max(task.tolerance, _ROUGH))
    ends = [search(coarse, start, rough, False) for start in starts]
    ends.sort(key=lambda end: (not np.isfinite(end.fun), end.fun))
    kept = ends[:1]
    for end in ends[1:]:
        apart = [np.abs(end.x - other.x) / task.steps for other in kept]
        if (
            np.isfinite(end.fun)
            and _left(end) <= hopeless * _left(kept[0])
            and all(moves.max() > _ALIKE for moves in apart)
        ):
            kept.append(end)
        else:
            _after(end, kept[0])
    return kept


def _apart(found, others):
    """Return other ends that are further off than errors tell."""
    std = np.sqrt(np.diag(found.covariance)) if np.isfinite(found.fun) else None
    if std is None:
        return []
    known = np.isfinite(std) & (std > 0)
    return [x for x in others if (np.abs(x - found.x) > _FAR * std)[known].any()]


def _left(end):
    """Return the sum of squares that an end leaves, in the unit of the data."""
    return np.square(end.residual).sum()


def _tightened(search, found, task, model, bars):
    """Go on with finer meshes until they move nothing by more than a part of a bar."""
    for number in range(_TIGHTENED + 1):
        if not np.isfinite(found.fun):
            return found
        found.update(bars(found), mesh_bias=np.zeros(found.x.size))
        residual = found.evaluation.residual
        start = found.x
        if not task.errors_given and residual @ residual <= _EXACT:
            # no noise to compare with: the tolerance, for the resolution found
            finer = model.loosened(1.0, found.x)
            moved = finer.n_points > found.level.n_points
        else:
            finer = found.level.refined()
            if finer is None:
                found.mesh_bias[:] = np.nan
                return found
            shift = shift_by(found, task, finer)
            std = np.sqrt(np.diag(found.covariance))
            known = np.isfinite(std) & (std > 0)
            found.mesh_bias[known] = np.abs(shift[known]) / std[known]
            moved, start = is_moved(found, task), (start + shift).clip(*task.bounds)
        if number == _TIGHTENED or not moved:
            return found
        result = search(finer, start, _less(task, found.nfev), True)
        if not np.isfinite(result.fun):
            return found
        result.level = finer
        found = _after(found, result)
    return found


def is_moved(found, task):
    """Tell whether the mesh moves anything too far."""
    limits = np.full(found.x.size, _SMALL_BESIDE)
    limits[: task.n_constants] = SMALL_BIAS
    return bool((found.mesh_bias > limits).any())


def shift_by(found, task, finer):
    """Return how far the optimum would move on a finer mesh, what is at a bound not."""
    problem, evaluation = found.problem, found.evaluation
    contributions = finer.simulate(found.x[None])[..., found.pixels]
    no_slopes = np.empty((*contributions.shape, 0))
    change = problem.compare(contributions, no_slopes).residual[0] - evaluation.residual
    rows = evaluation.derivative
    if task.prior is not None:
        rows = np.vstack([rows, task.prior.rows(found.x)[1] / problem.unit])
        change = np.append(change, np.zeros(len(rows) - len(change)))
    free = found.at_bound == 0
    sizes = np.linalg.norm(rows, axis=0)
    free &= sizes > 0
    shift = np.zeros(found.x.size)
    solved = np.linalg.lstsq(rows[:, free] / sizes[free], -change, rcond=1e-8)[0]
    shift[free] = solved / sizes[free]
    return shift


def _less(task, n_done):
    """Return a task with what is left of its evaluations, one at least."""
    return task._replace(max_evaluations=max(task.max_evaluations - n_done, 1))


def _after(before, result):
    """Add the cost of what came before to a result."""
    result.nfev, result.nit = result.nfev + before.nfev, result.nit + before.nit
    return result
