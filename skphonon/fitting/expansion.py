"""A sum of squares about several sets of parameters, to second order.

The first axis of all arrays runs over R sets of parameters, which are fitted beside
one another: starts, or rows of data.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Expansion", "of_residuals", "with_prior"]

Array = NDArray[np.float64]


class Expansion(NamedTuple):
    """Costs ``cost - 2 gradient @ step + step @ information @ step`` of steps."""

    cost: Array  # (R,)
    gradient: Array  # (R, p), half of that of the cost, downhill
    information: Array  # (R, p, p), the matrix of Gauss and Newton
    details: tuple[NDArray[Any], ...] = ()  # (R, ...) each, whatever is wanted at ends

    def rows(self, chosen: NDArray[Any]) -> "Expansion":
        """Return the expansion about some of the sets."""
        details = tuple(values[chosen] for values in self.details)
        cost, gradient, information, _ = self
        return Expansion(cost[chosen], gradient[chosen], information[chosen], details)

    def replaced(self, rows: NDArray[np.int_], other: "Expansion") -> "Expansion":
        """Return this with the given rows, in order, from another."""
        if len(rows) == len(self.cost):
            return other

        def mixed(mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
            mine = mine.copy()
            mine[rows] = theirs
            return mine

        pairs = zip(self.details, other.details, strict=True)
        return Expansion(
            mixed(self.cost, other.cost),
            mixed(self.gradient, other.gradient),
            mixed(self.information, other.information),
            tuple(mixed(*pair) for pair in pairs),
        )

    def falls(self, step: Array) -> Array:
        """Return by how much steps of shape (R, p) should lower the costs."""
        curved = (self.information @ step[..., None])[..., 0]
        return (step * (2 * self.gradient - curved)).sum(axis=1)


def of_residuals(
    residual: Array,
    slopes: Array,
    weight: Array | None = None,
    details: tuple[NDArray[Any], ...] = (),
) -> Expansion:
    """Return the expansion of sums of squares.

    Parameters
    ----------
    residual : ndarray of shape (R, n)
    slopes : ndarray of shape (R, n, p)
        Derivatives of the residuals.
    weight : ndarray of shape (R, n) or (n,), default=None
        Of each square; None: all are 1.
    details : tuple of ndarray of shape (R, ...)
    """
    weighted, heavy = residual, slopes
    if weight is not None:
        weighted, heavy = weight * residual, slopes * weight[..., None]
    gradient = -(weighted[:, None] @ slopes)[:, 0]
    information = np.swapaxes(slopes, 1, 2) @ heavy
    cost = np.einsum("rn,rn->r", weighted, residual)
    return Expansion(cost, gradient, information, details)


def with_prior(
    expansion: Expansion, parameters: Array, mean: Array, precision: Array
) -> Expansion:
    """Add ``(x - mean) @ precision @ (x - mean)``: rows of residuals for a prior."""
    off = parameters - mean
    pull = off @ precision
    return expansion._replace(
        cost=expansion.cost + (off * pull).sum(axis=1),
        gradient=expansion.gradient - pull,
        information=expansion.information + precision,
    )
