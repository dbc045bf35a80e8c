"""The damping: how far the quadratic model of a cost is trusted."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Damping"]

Array = NDArray[np.float64]


class Damping(NamedTuple):
    """Factors of the diagonal of the information, by how steps have come out."""

    first: float = 1e-3
    lowered: float = 0.2  # after a step as good as foretold, or nearly
    raised: float = 10.0  # after a step uphill
    largest: float = 1e8  # at which a search is stuck

    def after(self, damping: Array, gain: Array) -> Array:
        """Return the next damping, for falls over those foretold, of shape (R,)."""
        factor = np.where(gain > 0.25, self.lowered, 1.0)
        return damping * np.where(gain >= 0, factor, self.raised)
