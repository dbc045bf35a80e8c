"""The search for the parameters of one row, and what its optimum tells."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult

from skphonon.fitting import (
    LOSSES,
    Knowledge,
    descend,
    judged,
    normal_size,
    of_residuals,
    one_sided,
)
from skphonon.fitting import most_promising as lowest
from skphonon.instrument.noise import PoissonNoise, noise_of_differences
from skphonon.inversion._errors import alike_pixels, covariance_of
from skphonon.inversion._goodness import effective_number
from skphonon.inversion._residuals import Evaluation

__all__ = [
    "Task",
    "best_of",
    "costs_of",
    "error_bars",
    "expected_counts",
    "fewest_counts",
    "minimise",
    "most_promising",
]

_PASSES = 8  # noise and weights depend on the fit, and the fit on them
_FROZEN = 2  # pass after which it is known which pixels are alike
_FIRST_SHARE = 0.1  # of pixels that count for themselves, before residuals tell
_ROUGH = 0.1  # tolerance of the first pass, by which later ones are narrower
_AT_BOUND, _NEAR = 1e-6, 0.1  # of a step, of an error bar
_LONGEST = 1.0  # change of a parameter at first, in steps
_AT_ONCE = 2**20  # pixels of candidates
_SHARE = 0.01  # of what a prior leaves a parameter: steps that are short beside it
_EXACT = 1e-9  # residuals below this fraction of the contrast are rounding
_FEWEST = 0.02  # of the mean: counts expected at least where their error is asked for


class Task(NamedTuple):
    """Settings of a search."""

    steps: np.ndarray  # (n_parameters,), the size of a change
    bounds: np.ndarray  # (2, n_parameters)
    prior: Knowledge | None
    errors_given: bool  # whether weighted residuals are in standard deviations
    counts: bool  # whether errors are those of the counts that a fit expects
    n_constants: int  # of the parameters; the others are nuisances
    tolerance: float  # relative change at which a search has converged
    max_evaluations: int
    loss: str
    loss_width: float


def most_promising(problem, candidates, spectra, n_kept):
    """Return the candidates whose simulations come closest, the closest first."""
    return lowest(candidates, costs_of(problem, spectra), n_kept)


def costs_of(problem, spectra):
    """Return the sums of squares that simulations of candidates leave."""

    def losses(rows):
        residual = problem.compare(rows, np.empty((*rows.shape, 0))).residual
        return np.square(residual).sum(axis=1)

    return judged(losses, spectra, max(_AT_ONCE // max(spectra[0].size, 1), 1))


def minimise(problem, start, task):
    """Fit one row from one start, in rounds until weights settle."""
    x, nit = start.clip(*task.bounds), 0
    if task.counts:
        problem = problem.reweighted(1 / np.sqrt(expected_counts(problem, problem(x))))
    given, plain = problem.weight, task.loss == "linear"
    known_before = task.prior is not None
    # beside a prior residuals that are alike must not count as if each were another
    alike = known_before and problem.images is not None
    # how strong parts are, beside each other and the prior, is known after a round
    estimated = not task.errors_given and (known_before or len(problem.parts) > 1)
    unknown = task.counts or alike or estimated
    share = np.full(len(given), _FIRST_SHARE if alike else 1.0)
    if known_before:
        problem = _beside_prior(problem, x, given, share, task.errors_given)
    for round_ in range(_PASSES):
        before, rough = x, task
        if unknown and not task.counts:
            tolerance = max(task.tolerance, _ROUGH ** (round_ + 1))
            rough = task._replace(tolerance=tolerance)
        found, evaluation = _search(problem, x, rough)
        x, nit = found.x, nit + found.nit
        settled = np.abs(x - before) <= 10 * task.tolerance * task.steps
        settled &= round_ > _FROZEN * alike and rough.tolerance == task.tolerance
        residual = evaluation.residual * problem.unit / problem.weight
        if task.counts:
            given = 1 / np.sqrt(expected_counts(problem, evaluation))
        noise = np.ones(len(given))
        if not task.errors_given:
            n_free = max(len(given) - len(x) - evaluation.n_fitted, 1)
            noise = _noise_of(problem, residual * given, n_free, robust=not plain)
        scaled = residual * given / noise
        if alike and round_ == _FROZEN:
            share = _shares(problem, scaled)
        if not found.success or (plain and not unknown) or settled.all():
            break
        z = (scaled / task.loss_width) ** 2
        weight = given / noise * np.sqrt(share * LOSSES[task.loss](z))
        problem = problem.reweighted(weight, share)
        evaluation = None
    if evaluation is None:
        evaluation = problem(x)
    # with one share for all starts, so that they can be compared
    counted = _FIRST_SHARE if alike else 1.0
    likelihood = counted * (np.square(scaled) + 2 * np.log(noise)).sum()
    if task.counts and np.isfinite(likelihood):
        expected = expected_counts(problem, evaluation)
        likelihood = PoissonNoise().deviance(problem.spectra, expected)
    return OptimizeResult(
        x=x,
        fun=likelihood + _known_before(task, x),
        problem=problem,
        evaluation=evaluation,
        residual=residual,
        nit=nit,
        nfev=problem.n_evaluations,
        success=found.success,
        message=found.message,
    )


def _beside_prior(problem, x, given, share, errors_given):
    """Return a problem with first weights, for want of noise of the residuals."""
    if errors_given:
        return problem.reweighted(given * np.sqrt(share), share)
    residual = problem(x).residual * problem.unit / problem.weight
    if not np.isfinite(residual).all():
        return problem
    noise = _noise_of(problem, residual * given, len(given), robust=False)
    return problem.reweighted(given / noise * np.sqrt(share), share)


def _search(problem, start, task):
    """Descend from a start; return how it went, and the Evaluation at the end."""
    prior, tolerance = None, task.tolerance
    if task.prior is not None:
        prior = task.prior
        # a prior may be narrower than any tolerance that suits data
        steepness = np.linalg.norm(prior.rows(start)[1], axis=0) * task.steps
        tolerance = np.minimum(tolerance, _SHARE / np.maximum(steepness, _SHARE))

    def objective(rows, which):
        evaluation = problem(rows[0])
        details = tuple(np.asarray(each)[None] for each in evaluation)
        residual, derivative, *_ = details
        found = of_residuals(residual, derivative, details=details)
        return found if prior is None else prior.added(found, rows, problem.unit)

    end = descend(
        objective,
        start[None],
        task.bounds,
        scale=task.steps,
        step_tolerance=tolerance,
        cost_tolerance=task.tolerance,
        longest=_LONGEST,
        max_steps=task.max_evaluations - 1,
    )
    evaluation = Evaluation(*(each[0] for each in end.found.details))
    success, message = bool(end.converged[0]), "too many evaluations"
    if not np.isfinite(end.found.cost[0]):
        message = "no finite simulation"
    elif not evaluation.derivative.any() and prior is None:
        success, message = False, "no parameter changes the simulation"
    result = OptimizeResult(
        x=end.parameters[0], nit=end.n_steps[0], success=success, message=message
    )
    return result, evaluation


def best_of(results):
    """Return the likeliest result, with the cost of all."""
    best = min(results, key=lambda r: (not np.isfinite(r.fun), r.fun))
    best.nfev, best.nit = (sum(r[name] for r in results) for name in ("nfev", "nit"))
    return best


def error_bars(result, task, images, correlated):
    """Return covariance, what is at a bound, and chi^2 with its scatter, by name."""
    problem, (residual, derivative, _, n_fitted) = result.problem, result.evaluation
    residual, derivative = residual * problem.unit, derivative * problem.unit
    n_free = max(residual.size - result.x.size - n_fitted, 1)
    square = np.square(residual / np.sqrt(problem.share)).sum() / n_free
    scale = 1.0
    if not task.errors_given:
        scale = problem.noise_scale(result.evaluation, result.x.size)
    pieces = list(zip(problem.parts, images, strict=True)) if correlated else None
    covariance, at_bound = _covariance(
        result.x, task, derivative / scale, residual / scale, pieces
    )
    if task.errors_given:
        of_counts = problem.weight**2 if task.counts else 0.0  # one over what to expect
        number = effective_number(residual, 2 + of_counts) * n_free / residual.size
    else:
        square, number = _over_neighbours(result, images, n_free)
    return {
        "covariance": covariance,
        "at_bound": at_bound,
        "reduced_chi2": square,
        "n_effective": number,
    }


def _covariance(x, task, derivative, residual, pieces):
    """Return the covariance, and which parameters are at a bound."""
    before = np.zeros((x.size,) * 2)
    gradient = derivative.T @ residual
    if task.prior is not None:
        off, slopes = task.prior.rows(x)
        before += slopes.T @ slopes
        gradient = gradient + slopes.T @ off

    def solve():
        inverse = covariance_of(derivative, residual, None, before)
        return inverse, -np.nan_to_num(inverse, posinf=0.0) @ gradient

    inverse, shift = solve()
    std = np.sqrt(np.diag(inverse))
    at_bound = _ends_at(x, task, shift, np.where(np.isfinite(std), std, 0.0))
    width = np.diff(task.bounds, axis=0)[0]
    if at_bound.any():
        # the range is all that is known of what data do not determine
        before[np.diag_indices(x.size)] += np.where(at_bound != 0, width**-2.0, 0.0)
        inverse, shift = solve()
    if pieces is not None:
        inverse = covariance_of(derivative, residual, pieces, before)
    return one_sided(inverse, shift, at_bound, width), at_bound


def _ends_at(x, task, shift, std):
    """Return -1 for what is at its lower bound, 1 at its upper one, otherwise 0."""
    distance = np.abs(task.bounds - x)
    beyond = np.array([-shift, shift]) >= distance
    near = (distance < _AT_BOUND * task.steps) | (beyond & (distance < _NEAR * std))
    return near[1].astype(int) - near[0]


def _over_neighbours(result, images, n_free):
    """Return the reduced chi^2 over the noise between neighbours, and of how many."""
    problem, left_over = result.problem, []
    taken = np.sqrt(len(result.residual) / n_free)  # a fit leaves less than noise
    for part, image in zip(problem.parts, images, strict=True):
        left = result.residual[part]
        if left.any():
            noise = [
                noise_of_differences(problem.spectra[part], image, 2),
                noise_of_differences(left, image, 1) * taken,
                np.sqrt(np.square(left).mean()) * taken,
            ]
            left_over.append(left / (np.nanmin(noise) or 1.0))
    scaled = np.concatenate([*left_over, np.zeros(0)])
    return scaled @ scaled / n_free, effective_number(scaled, None)


def _known_before(task, x):
    """Return the sum of squares that stands for the prior."""
    if task.prior is None:
        return 0.0
    return np.square(task.prior.rows(x)[0]).sum()


def expected_counts(problem, evaluation):
    """Return the counts that a simulation lets expect, none of them below a floor."""
    if not np.isfinite(evaluation.residual).all():
        return np.ones(len(problem.spectra))
    expected = problem.spectra + evaluation.residual * problem.unit / problem.weight
    return np.maximum(expected, fewest_counts(problem))


def fewest_counts(problem):
    """Return the counts (n_pixels,) whose variance is the least that pixels have."""
    fewest = np.empty(len(problem.spectra))
    for part in problem.parts:
        counts = problem.spectra[part]
        mean = (counts if counts.any() else problem.spectra).mean()
        fewest[part] = _FEWEST * mean
    return fewest


def _shares(problem, scaled):
    """Return which share of each pixel counts, where residuals are alike or too large.

    Residuals are in standard deviations of what is taken for noise.
    """
    share = np.ones(len(scaled))
    for part, image in zip(problem.parts, problem.images, strict=True):
        residual = scaled[part]
        if residual.size and np.isfinite(residual).all():
            size = max(np.square(residual).mean(), 1.0)
            share[part] = 1 / (alike_pixels(residual, image) * size)
    return share


def _noise_of(problem, weighted, n_free, robust):
    """Return the standard deviation of the weighted residuals of each pixel's part."""
    noise = np.ones(len(weighted))
    for part in problem.parts:
        residual = weighted[part]
        if not residual.size:
            continue
        if robust:
            size = normal_size(residual)
        else:
            size = np.sqrt(np.square(residual).mean() * len(weighted) / n_free)
        noise[part] = max(size, _EXACT * np.ptp(problem.spectra[part])) or 1.0
    return noise
