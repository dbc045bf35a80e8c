"""What is known of parameters beside the data, as rows of residuals.

A normal distribution is a straight one: residuals that are linear in the parameters.
Values that were measured elsewhere, with errors, are curved ones: what the parameters
give for them, less what was measured, in standard deviations.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from skphonon.fitting.expansion import Expansion

__all__ = [
    "Knowledge",
    "exceedance",
    "normal_rows",
    "posterior_covariance",
    "pull_of",
    "shares_of_data",
]

Array = NDArray[np.float64]
Rows = Callable[[Array], tuple[Array, Array]]


def normal_rows(mean: Array, covariance: Array) -> Rows:
    """Return residuals (n,) of a normal distribution and their slopes (n, n)."""
    root = np.linalg.cholesky(np.linalg.inv(covariance)).T

    def rows(parameters: Array) -> tuple[Array, Array]:
        return root @ (parameters - mean), root

    return rows


def posterior_covariance(covariance: Array, information: Array) -> Array:
    """Return the covariance of parameters by a prior and the information of data.

    It is finite however much more data tell of one direction than of another.
    """
    root = np.linalg.cholesky(covariance)
    values, vectors = np.linalg.eigh(root.T @ information @ root)
    root = root @ vectors / np.sqrt(1 + values.clip(0))
    return root @ root.T


def pull_of(parameters: Array, mean: Array, covariance: Array) -> float:
    """Return chi^2 of parameters by their prior."""
    off = parameters - mean
    return float(off @ np.linalg.solve(covariance, off))


def shares_of_data(
    covariance: Array, information: Array, n_values: int
) -> tuple[Array, Array]:
    """Return what chi^2 of the prior, and that of the values, are sums of.

    If both are right, each is a sum of squares of independent normal deviates with
    these weights. A direction that data determine weighs 1 in that of the prior, and
    nothing in that of the values.

    Parameters
    ----------
    covariance : ndarray of shape (p, p)
        Of the prior.
    information : ndarray of shape (p, p)
        Of the values alone, their derivatives in standard deviations squared.
    n_values : int

    Returns
    -------
    of_prior : ndarray of shape (p,)
    of_values : ndarray of shape (n_values,)
    """
    root = np.linalg.cholesky(covariance)
    sizes = np.linalg.eigvalsh(root.T @ information @ root).clip(0)[::-1]
    of_values = np.ones(n_values)
    n_both = min(n_values, len(sizes))
    of_values[:n_both] = 1 / (1 + sizes[:n_both])
    return sizes / (1 + sizes), of_values


def exceedance(value: float, weights: Array) -> float:
    """Return the probability that a weighted sum of squares exceeds a value.

    By the chi^2 distribution of the same mean and variance (Satterthwaite,
    doi:10.2307/3002019).
    """
    total = weights.sum()
    if not total > 0:
        return 1.0
    unit = np.square(weights).sum() / total
    return float(chi2.sf(value / unit, total / unit))


class Knowledge:
    """Independent pieces of knowledge of the first of p parameters.

    Parameters
    ----------
    pieces : sequence of callable
        From parameters (n,) to residuals in standard deviations (m,) and their slopes
        (m, n).
    n_known : int
        Parameters that these are about; of those behind nothing is known.
    """

    def __init__(self, pieces: Sequence[Rows], n_known: int) -> None:
        self.pieces, self.n_known = tuple(pieces), n_known

    def rows(self, parameters: Array) -> tuple[Array, Array]:
        """Return all residuals (m,) at parameters (p,), and their slopes (m, p)."""
        found = [piece(parameters[: self.n_known]) for piece in self.pieces]
        residual = np.concatenate([np.zeros(0), *(each for each, _ in found)])
        slopes = np.zeros((len(residual), len(parameters)))
        if len(residual):
            slopes[:, : self.n_known] = np.concatenate([each for _, each in found])
        return residual, slopes

    def added(self, expansion: Expansion, parameters: Array, unit: float) -> Expansion:
        """Add the squares over unit^2 to an expansion about rows of parameters."""
        found = [self.rows(row) for row in parameters]
        residual = np.stack([each for each, _ in found]) / unit
        slopes = np.stack([each for _, each in found]) / unit
        turned = np.swapaxes(slopes, 1, 2)
        return expansion._replace(
            cost=expansion.cost + np.square(residual).sum(axis=1),
            gradient=expansion.gradient - (turned @ residual[..., None])[..., 0],
            information=expansion.information + turned @ slopes,
        )
