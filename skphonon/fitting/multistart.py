"""Where searches begin, and which of their ends count."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["distinct", "judged", "most_promising"]

Array = NDArray[np.float64]


def judged(cost: Callable[[Array], Array], rows: Array, at_once: int) -> Array:
    """Return the costs of many sets of parameters, so many of them at once."""
    parts = np.array_split(rows, -(-len(rows) // at_once))
    return np.concatenate([cost(part) for part in parts])


def most_promising(rows: Array, costs: Array, n_kept: int) -> Array:
    """Return the rows of the lowest costs, the lowest first; NaN comes last."""
    return rows[np.argsort(costs, kind="stable")[:n_kept]]


def distinct(rows: Array, apart: Array | float) -> Array:
    """Return rows of which no two are closer in all columns, the first of a kind."""
    kept = rows[:1]
    for row in rows[1:]:
        if (np.abs(row - kept) > apart).any(axis=1).all():
            kept = np.vstack([kept, row])
    return kept
