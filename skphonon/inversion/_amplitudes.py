r"""What enters a fit linearly: errors of weights, shares of intensity, likeness.

Weights a and parameters p have one information: with the columns A of the weights, the
derivatives D at fixed weights, and what backgrounds explain taken out of both,

.. math:: H = (D, A)^T (D, A).

Its inverse, or the sandwich of correlated residuals about it, is the covariance of
both. That of the parameters is the one that the Schur complement gives; where bounds
changed it, weights follow as their regression on the parameters says.
"""

import numpy as np

from skphonon.fitting import Projection
from skphonon.inversion._errors import covariance_of

__all__ = ["of_weights"]

_ROUNDING = 1e-9  # of what is added up


def of_weights(found, task, images, correlated):
    """Return, by name, what there is to say of the weights of a fit.

    `weight_std`, `shares` and `distinctness` have a row for each part; columns are
    contributions and, in `shares`, the background. Where there is no intensity in
    all, shares are NaN.
    """
    problem, every = found.problem, found.evaluation.weights
    if problem.backgrounds is None:
        nothing = np.full((1, 1), np.nan)
        return {
            "weight_std": nothing,
            "shares": np.full((1, 2), np.nan),
            "distinctness": nothing,
        }
    n_parts = len(problem.parts)
    columns, slopes, sizes = problem.linearised(found.x, every)
    weights = every[:, : columns.shape[1] // n_parts]
    std = np.full(weights.size, np.nan)
    free = weights.ravel() > 0
    if not problem.free_scale:
        std.reshape(weights.shape)[:, 0], free.reshape(weights.shape)[:, 0] = 0.0, False
    std[free] = _std(found, task, images, correlated, slopes, columns[:, free])
    intensities = problem.intensities(found.x, every)
    measured = np.array([part.stop > part.start for part in problem.parts])[:, None]
    total = intensities.sum(axis=1, keepdims=True)
    # spectra less their mean have no intensity, but for rounding
    size = np.abs(intensities).sum(axis=1, keepdims=True)
    known = measured & (np.abs(total) > _ROUNDING * size)
    shares = np.where(known, intensities, np.nan)
    distinctness = _distinctness(columns, slopes, sizes, weights)
    return {
        "weight_std": np.where(measured, std.reshape(weights.shape), np.nan),
        "shares": shares / np.where(known, total, 1.0),
        "distinctness": np.where(measured, distinctness, np.nan),
    }


def _std(found, task, images, correlated, slopes, columns):
    """Return standard deviations of weights that are not at a bound."""
    problem, evaluation = found.problem, found.evaluation
    residual = evaluation.residual * problem.unit
    n, scale = slopes.shape[1], 1.0
    if not task.errors_given:
        scale = problem.noise_scale(evaluation, n)
    before = np.zeros((n + columns.shape[1],) * 2)
    if task.prior is not None:
        known = task.prior.rows(found.x)[1]
        before[:n, :n] = known.T @ known
    width = np.diff(task.bounds, axis=0)[0]
    before[np.diag_indices(n)] += np.where(found.at_bound != 0, width**-2.0, 0.0)
    pieces = list(zip(problem.parts, images, strict=True)) if correlated else None
    covariance = covariance_of(
        np.hstack([slopes, columns]) / scale, residual / scale, pieces, before
    )
    return _following(covariance, found.covariance, n)


def _following(covariance, of_parameters, n):
    """Return errors of weights where parameters have another covariance."""
    variance = np.diag(covariance)[n:].copy()
    known = np.isfinite(np.diag(covariance)[:n]) & np.isfinite(np.diag(of_parameters))
    seen = np.isfinite(variance)
    if known.any() and seen.any():
        own = covariance[:n, :n][np.ix_(known, known)]
        cross = covariance[n:, :n][np.ix_(seen, known)]
        size = np.sqrt(np.maximum(np.diag(own), np.finfo(float).tiny))
        slope = cross / size @ np.linalg.pinv(own / np.outer(size, size), rcond=1e-10)
        change = (of_parameters[np.ix_(known, known)] - own) / np.outer(size, size)
        variance[seen] += np.einsum("ij,jk,ik->i", slope, change, slope)
    return np.sqrt(variance.clip(0))


def _distinctness(columns, slopes, sizes, weights):
    """Return what share of each column nothing else explains.

    That is the sample, backgrounds and other contributions.
    """
    n_parts, n = weights.shape
    first = np.arange(n_parts) * n
    sample = Projection(np.hstack([columns[:, first], slopes]))
    rest = sample.rest(columns)
    left = np.linalg.norm(rest, axis=0)
    for part in range(n_parts):
        own = np.arange(part * n + 1, (part + 1) * n)
        for place in own if len(own) > 1 else ():
            others = rest[:, own[own != place]]
            alone = Projection(others).rest(rest[:, [place]])
            left[place] = np.linalg.norm(alone)
    return (left / np.where(sizes > 0, sizes, 1.0)).reshape(weights.shape)
