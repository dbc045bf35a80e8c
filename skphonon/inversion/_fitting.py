"""The search for the parameters of one spectrum, and what its optimum tells."""

import numpy as np
from scipy.optimize import OptimizeResult, least_squares

from skphonon.inversion._errors import covariance_of, pixel_noise

__all__ = ["LOSSES", "best_of", "error_bars", "minimise"]

#: Weight of a squared residual z, in units of the width, of each loss.
LOSSES = {
    "linear": np.ones_like,
    "huber": lambda z: 1 / np.sqrt(np.maximum(z, 1)),
    "soft_l1": lambda z: 1 / np.sqrt(1 + z),
    "cauchy": lambda z: 1 / (1 + z),
}
_PASSES = 8  # noise and weights depend on the fit, and the fit on them
_AT_BOUND = 1e-6  # of a step
_FLAT = 1e-14  # a gradient that leads nowhere


def minimise(problem, start, steps, bounds, prior, errors_given, settings):
    """Fit one spectrum, from one start.

    Parameters
    ----------
    problem : Problem
        The spectrum; with errors given, weighted by their inverse.
    start, steps : ndarray of shape (n_parameters,)
        Where to begin, and the size of a change.
    bounds : ndarray of shape (2, n_parameters)
        Least and largest values.
    prior : tuple of ndarray or None
        Means (n_parameters,), and a matrix L (n_parameters, n_rows) with L L^T the
        information there was before.
    errors_given : bool
        Whether weighted residuals are in units of their standard deviation.
    settings : LeastSquaresInverter
        `loss`, `loss_width`, `max_evaluations` and `tolerance`.

    Returns
    -------
    OptimizeResult
        `x`, `fun` (sum of squares, with that of the prior), `problem` as weighted in
        the end, `evaluation` at x, `noise` (unit of the weighted residuals), `nit`,
        `nfev`, `success` and `message`.
    """
    x, noise, nit = start.clip(*bounds), 1.0, 0
    plain = settings.loss == "linear"
    given = problem.weight
    for round_ in range(_PASSES):
        before = x
        # how strong the data are, beside the prior, is known after the first round
        active = prior if errors_given or round_ else None
        found = _search(problem, x, steps, bounds, active, noise, settings)
        x, nit = found.x, nit + found.nit
        if not errors_given:
            noise = _noise_of(problem, x, given, robust=not plain)
        settled = np.abs(x - before) <= 10 * settings.tolerance * steps
        needs_more = not plain or (prior is not None and not errors_given)
        if not found.success or not needs_more or (round_ and settled.all()):
            break
        if not plain:
            z = (_residual(problem, x, given) / (noise * settings.loss_width)) ** 2
            problem = problem.reweighted(given * np.sqrt(LOSSES[settings.loss](z)))
    return OptimizeResult(
        x=x,
        fun=2 * found.cost,
        problem=problem,
        evaluation=problem(x),
        noise=noise,
        nit=nit,
        nfev=problem.n_evaluations,
        success=found.success,
        message=found.message,
    )


def _search(problem, start, steps, bounds, prior, noise, settings):
    """Run scipy's least squares, with the rows of the prior below those of pixels."""

    def residual(x):
        rows = problem(x).residual
        if prior is None:
            return rows
        mean, root = prior
        return np.concatenate([rows, (x - mean) @ root * noise / problem.unit])

    def derivative(x):
        rows = problem(x).derivative
        return (
            rows
            if prior is None
            else np.vstack([rows, prior[1].T * noise / problem.unit])
        )

    if not np.isfinite(problem(start).residual).all():
        return OptimizeResult(
            x=start, cost=np.nan, nit=0, success=False, message="no finite simulation"
        )
    found = least_squares(
        residual,
        start,
        derivative,
        bounds=bounds,
        x_scale=steps,
        ftol=settings.tolerance,
        xtol=settings.tolerance,
        gtol=_FLAT,
        max_nfev=settings.max_evaluations,
    )
    flat = not found.jac.any()
    message = "no parameter changes the simulation" if flat else "too many evaluations"
    return OptimizeResult(
        x=found.x,
        cost=found.cost,
        nit=found.njev,
        success=found.status > 0 and not flat,
        message=message,
    )


def best_of(results):
    """Return the result of the lowest sum of squares, with the cost of all."""
    best = min(results, key=lambda r: (not np.isfinite(r.fun), r.fun))
    best.nfev, best.nit = (sum(r[name] for r in results) for name in ("nfev", "nit"))
    return best


def error_bars(result, steps, bounds, prior, errors_given, image, correlated):
    """Return the covariance and the reduced chi^2 of a fit.

    Parameters
    ----------
    result : OptimizeResult
        Of `minimise`.
    steps, bounds, prior, errors_given
        As for `minimise`.
    image : tuple of (shape, positions)
        Where on the detector the pixels are (see `covariance_of`).
    correlated : bool
        Whether residuals tell the covariance themselves.

    Returns
    -------
    covariance : ndarray of shape (n_parameters, n_parameters)
        Zero for what ended at a bound.
    reduced_chi2 : float
        Over the noise given, or that between neighbouring pixels.
    """
    problem, (residual, derivative, _, n_fitted) = result.problem, result.evaluation
    residual, derivative = residual * problem.unit, derivative * problem.unit
    n_free = max(residual.size - result.x.size - n_fitted, 1)
    square = residual @ residual / n_free
    variance = 1.0 if errors_given else max(square, np.finfo(float).tiny)
    at_bound = (np.abs(result.x - bounds) < _AT_BOUND * steps).any(axis=0)
    free = ~at_bound
    scale = np.sqrt(variance)
    covariance = np.zeros((result.x.size,) * 2)
    before = None if prior is None else (prior[1] @ prior[1].T)[np.ix_(free, free)]
    if free.any():
        covariance[np.ix_(free, free)] = covariance_of(
            derivative[:, free] / scale,
            residual / scale,
            image if correlated else None,
            before,
        )
    if errors_given:
        return covariance, square
    noise = pixel_noise(problem.spectrum, image)
    return covariance, square / (np.nanmin([noise**2, square]) or 1.0)


def _residual(problem, x, weight):
    """Return residuals, weighted as asked instead of as the problem does."""
    return problem(x).residual * problem.unit / problem.weight * weight


def _noise_of(problem, x, weight, robust):
    """Estimate the standard deviation of weighted residuals."""
    residual = _residual(problem, x, weight)
    if robust:
        return 1.4826 * np.median(np.abs(residual)) or 1.0  # of a normal distribution
    n_free = residual.size - x.size - problem(x).n_fitted
    return np.sqrt(residual @ residual / max(n_free, 1)) or 1.0
