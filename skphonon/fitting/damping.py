"""The damping: how far the quadratic model of a cost is trusted."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Damping"]

Array = NDArray[np.float64]


class Damping(NamedTuple):
    """Changes of the damping and of the longest step, by how steps have come out.

    The damping is a factor of the diagonal of the information.
    """

    first: float = 1e-3
    lowered: float = 0.2  # at least, after a step downhill
    raised: float = 10.0  # after a step uphill, and to the first at least
    largest: float = 1e8  # at which a search is stuck
    longer: float = 8.0  # than before, after a step that fell as foretold, or nearly
    shorter: float = 0.5  # after a step uphill

    def after(self, damping: Array, gain: Array) -> Array:
        """Return the next damping, for falls over those foretold, of shape (R,).

        After Nielsen (1999): raised where a step falls by less than half of that.
        """
        factor = np.maximum(1 - (2 * gain.clip(0, 1) - 1) ** 3, self.lowered)
        raised = np.maximum(damping * self.raised, self.first)
        return np.where(gain >= 0, damping * factor, raised)

    def reach(self, reach: Array, gain: Array) -> Array:
        """Return how long the next steps may be, in their units."""
        factor = np.where(gain > 0.25, self.longer, 1.0)
        return reach * np.where(gain >= 0, factor, self.shorter)
