"""Linear fits to values that scatter by more than their standard errors say."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import t

Array = NDArray[np.float64]

_OUTLIER = 4.0  # standard deviations
_ROUNDS = 3


class ExcessFit(NamedTuple):
    """Coefficients of a linear fit, and by how much more the values scatter."""

    values: Array  # (n_coefficients,)
    covariance: Array
    excess: float  # standard deviation beside that of each value
    used: NDArray[np.bool_]  # what is no outlier

    @property
    def std(self) -> Array:
        """Standard errors of the coefficients, with the excess in them."""
        return np.sqrt(np.diag(self.covariance))


def fit_with_excess(
    design: Array, values: Array, std: Array, rounds: int = _ROUNDS
) -> ExcessFit:
    r"""Fit values whose variance is that given plus one that they share.

    The shared variance makes chi squared equal to the degrees of freedom (R. C. Paule
    and J. Mandel, J. Res. Natl. Bur. Stand. 87, 377 (1982), doi:10.6028/jres.087.022).
    What lies more than four standard deviations off is left out, unless `rounds` is 0.
    """
    used = np.ones(len(values), dtype=bool)
    for _ in range(rounds):
        fit = _fit(design[used], values[used], std[used])
        residual = np.abs(values - design @ fit[0])
        # the median keeps one outlier from widening what it is judged by
        width = 1.4826 * np.median(residual[used])
        allowed = _OUTLIER * np.hypot(std, max(width, 0.0))
        kept = residual <= allowed
        if (kept == used).all() or kept.sum() <= design.shape[1]:
            break
        used = kept
    fit = _fit(design[used], values[used], std[used])
    return ExcessFit(*fit, used)


def mean_with_excess(values: Array, std: Array) -> ExcessFit:
    """Return the mean of values, as `fit_with_excess` does of a constant."""
    return fit_with_excess(np.ones((len(values), 1)), values, std)


def alike(residual: Array) -> float:
    """Return how many neighbours of a value have the same residual, with itself."""
    residual = residual - residual.mean()
    n = len(residual)
    together = np.correlate(residual, residual, "full")[n - 1 :]
    if not together[0] > 0:
        return 1.0
    together = together / together[0]
    first = int(np.argmax(together <= 0)) or n
    return float(max(1 + 2 * together[1:first].sum(), 1.0))


def small_sample(n_values: int, n_terms: int) -> float:
    """Return how much wider the interval of Student's t is than that of a Gaussian."""
    return float(t.ppf(0.8413, max(n_values - n_terms, 1)))


def alike_fit(
    design: Array, values: Array, std: Array, rounds: int = _ROUNDS
) -> ExcessFit:
    """Fit values as `fit_with_excess` does, where neighbours may err alike.

    What scatters beyond its errors is seldom independent of what is next to it, as what
    the model lacks is smooth. The covariance holds that, and that few values tell their
    scatter badly; values must be in order.
    """
    fit = fit_with_excess(design, values, std, rounds)
    used, factor = fit.used, 1.0
    if fit.excess > 0:
        misfit = (values - design @ fit.values) / np.hypot(std, fit.excess)
        factor = alike(misfit[used])
    factor *= small_sample(int(used.sum()), design.shape[1]) ** 2
    return fit._replace(covariance=fit.covariance * factor)


def _fit(design: Array, values: Array, std: Array) -> tuple[Array, Array, float]:
    n_free = len(values) - design.shape[1]

    def solve(excess: float) -> tuple[Array, Array, float]:
        weight = 1 / (std**2 + excess**2)
        normal = design.T @ (weight[:, None] * design)
        covariance = np.linalg.pinv(normal).astype(float)
        found = covariance @ (design.T @ (weight * values))
        chi2 = float((weight * (values - design @ found) ** 2).sum())
        return found, covariance, chi2 - n_free

    excess = 0.0
    if n_free > 0 and solve(0.0)[2] > 0:
        most = 10 * (np.ptp(values) + std.max())
        excess = float(brentq(lambda each: solve(each)[2], 0.0, most))
    found, covariance, _ = solve(excess)
    return found, covariance, excess
