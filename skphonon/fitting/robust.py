"""Losses that give outliers less weight, as weights of squares (Huber and others)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOSSES", "normal_size"]

Array = NDArray[np.float64]

#: Weight of a squared residual z, in units of the width, of each loss.
LOSSES: dict[str, Callable[[Array], Array]] = {
    "linear": np.ones_like,
    "huber": lambda z: 1 / np.sqrt(np.maximum(z, 1)),
    "soft_l1": lambda z: 1 / np.sqrt(1 + z),
    "cauchy": lambda z: 1 / (1 + z),
}


def normal_size(residual: Array) -> float:
    """Return the standard deviation of normal residuals, by their median."""
    return float(1.4826 * np.median(np.abs(residual)))
