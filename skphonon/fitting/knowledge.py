"""What is known of parameters beside the data, as rows of residuals.

A normal distribution is a straight one: residuals that are linear in the parameters.
Values that were measured elsewhere, with errors, are curved ones: what the parameters
give for them, less what was measured, in standard deviations.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from skphonon.fitting.expansion import Expansion

__all__ = [
    "Knowledge",
    "contradiction",
    "likely_pull",
    "no_wider",
    "normal_rows",
    "posterior_covariance",
    "pull_of",
]

Array = NDArray[np.float64]
_UNSEEN = 1e-3  # of its prior's standard deviation is what values tell of a direction
Rows = Callable[[Array], tuple[Array, Array]]


def normal_rows(mean: Array, covariance: Array) -> Rows:
    """Return residuals (n,) of a normal distribution and their slopes (n, n)."""
    root = np.linalg.cholesky(np.linalg.inv(covariance)).T
    return partial(_straight, mean, root)


def _straight(mean: Array, root: Array, parameters: Array) -> tuple[Array, Array]:
    return root @ (parameters - mean), root


def posterior_covariance(covariance: Array, information: Array) -> Array:
    """Return the covariance of parameters by a prior and the information of data.

    It is finite however much more data tell of one direction than of another.
    """
    root = np.linalg.cholesky(covariance)
    values, vectors = np.linalg.eigh(root.T @ information @ root)
    root = root @ vectors / np.sqrt(1 + values.clip(0))
    return root @ root.T


def no_wider(covariance: Array, prior: Array) -> Array:
    """Return a covariance that is in no direction wider than that of a prior."""
    root = np.linalg.cholesky(prior)
    inverse = np.linalg.inv(root)
    values, vectors = np.linalg.eigh(inverse @ covariance @ inverse.T)
    root = root @ vectors * np.sqrt(values.clip(0, 1))
    return root @ root.T


def pull_of(parameters: Array, mean: Array, covariance: Array) -> float:
    """Return chi^2 of parameters by their prior."""
    off = parameters - mean
    return float(off @ np.linalg.solve(covariance, off))


def likely_pull(covariance: Array, information: Array) -> float:
    """Return the mean of `pull_of` where prior and data are right.

    Each direction adds the share of its variance that data take away.
    """
    root = np.linalg.cholesky(covariance)
    sizes = np.linalg.eigvalsh(root.T @ information @ root).clip(0)
    return float((sizes / (1 + sizes)).sum())


def contradiction(
    residual: Array, slopes: Array, off: Array, covariance: Array
) -> tuple[float, int]:
    """Return how far prior and values disagree, and in how many directions they speak.

    About the optimum chi^2 falls into that of what values say of parameters, beside
    what the prior says, which is returned, and the rest, of values that no parameters
    explain. Both have chi^2 distributions if prior and values are right: with as many
    degrees of freedom as are returned, and with those left of the values. This does
    not hang on which of both gave way.

    Parameters
    ----------
    residual : ndarray of shape (m,)
        Of the values at the optimum, in standard deviations.
    slopes : ndarray of shape (m, p)
        Their derivatives with the parameters.
    off : ndarray of shape (p,)
        Parameters less the mean of the prior.
    covariance : ndarray of shape (p, p)
        Of the prior.

    Returns
    -------
    chi2 : float
    n_directions : int
    """
    root = np.linalg.cholesky(covariance)
    vectors, sizes, _ = np.linalg.svd(slopes @ root, full_matrices=False)
    seen = vectors[:, sizes > _UNSEEN].T
    pull = float(off @ np.linalg.solve(covariance, off))
    return pull + float(np.square(seen @ residual).sum()), len(seen)


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
