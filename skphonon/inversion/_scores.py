r"""What a fit lacks, told by the slopes of what it does not have.

At an optimum residuals have no part along the columns that were fitted. Along a column
that was not, they have one if it belongs to the truth: the score test (C. R. Rao, Proc.
Camb. Phil. Soc. 44, 50 (1948), doi:10.1017/S0305004100023987). With residuals in
standard deviations of the noise the sum of squares falls, to first order, by that part,
and the step along the column that does it is an estimate of what is missing. No other
fit is needed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.fitting import Projection

__all__ = ["Score", "scores"]

Array = NDArray[np.float64]

_ALIKE = 1e-8  # of its length: what is left of a column that was fitted already


class Score(NamedTuple):
    """What some columns explain of the residuals that a fit leaves."""

    gain: float  # fall of the sum of squares
    n_columns: int
    step: Array  # (n_columns,), estimates
    std: Array  # theirs, for noise of unit variance


def scores(
    residual: Array, fitted: Array, candidates: dict[str, Array]
) -> dict[str, Score]:
    """Return the score of each group of columns, by name.

    Parameters
    ----------
    residual : ndarray of shape (n,)
        Fit less data in standard deviations, rows for a prior included.
    fitted : ndarray of shape (n, p)
        Columns that were fitted.
    candidates : dict of ndarray of shape (n, m)
        By name, what was not.
    """
    projection = Projection(fitted)
    left = projection.rest(residual[:, None])[:, 0]
    found = {}
    for name, columns in candidates.items():
        rest = projection.rest(columns)
        sizes = np.linalg.norm(rest, axis=0)
        told = sizes > _ALIKE * np.linalg.norm(columns, axis=0)
        step, std = np.zeros(len(sizes)), np.full(len(sizes), np.inf)
        gain = 0.0
        if told.any():
            own, strengths, turn = np.linalg.svd(
                rest[:, told] / sizes[told], full_matrices=False
            )
            kept = strengths > _ALIKE * strengths[0]
            own, turn = own[:, kept], turn[kept] / strengths[kept, None]
            along = own.T @ left
            gain = float(along @ along)
            step[told] = -(turn.T @ along) / sizes[told]
            std[told] = np.linalg.norm(turn, axis=0) / sizes[told]
        found[name] = Score(gain, int(told.sum()), step, std)
    return found
