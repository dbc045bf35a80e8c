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

__all__ = ["Knowledge", "normal_rows"]

Array = NDArray[np.float64]
Rows = Callable[[Array], tuple[Array, Array]]


def normal_rows(mean: Array, covariance: Array) -> Rows:
    """Return residuals (n,) of a normal distribution and their slopes (n, n)."""
    root = np.linalg.cholesky(np.linalg.inv(covariance)).T
    return partial(_straight, mean, root)


def _straight(mean: Array, root: Array, parameters: Array) -> tuple[Array, Array]:
    return root @ (parameters - mean), root


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
