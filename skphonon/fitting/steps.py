"""The step: Gauss and Newton's, damped as Levenberg and Marquardt do, within bounds."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["bounded_step"]

Array = NDArray[np.float64]

_LEAST = 1e-10  # damping that keeps a matrix of full rank


def bounded_step(
    gradient: Array, information: Array, damping: Array, room: Array
) -> Array:
    """Return the steps that lower damped quadratic models the most.

    With the information H of `Expansion`, steps s minimise ``s H s - 2 g s`` and a
    damping times ``s diag(H) s``. What would leave its room stops at the edge, and the
    others are found anew beside it, until all are inside.

    Parameters
    ----------
    gradient : ndarray of shape (R, p)
    information : ndarray of shape (R, p, p)
    damping : ndarray of shape (R,)
    room : ndarray of shape (2, R, p)
        Least and largest steps, around 0.
    """
    n = gradient.shape[1]
    diagonal = np.diagonal(information, axis1=1, axis2=2)
    stiff = np.maximum(damping, _LEAST)[:, None] * diagonal
    stiff = stiff + np.where(diagonal > 0, 0.0, 1.0)
    damped = information + stiff[..., None] * np.eye(n)
    # what pushes against an edge stays, so that it does not lead others astray
    low, high = room
    held = ((low >= 0) & (gradient < 0)) | ((high <= 0) & (gradient > 0))
    step = np.zeros_like(gradient)
    while True:
        wanted = gradient - (damped @ step[..., None])[..., 0]
        if held.any():
            apart = np.where(held[:, :, None] | held[:, None, :], 0.0, damped)
            apart += held[..., None] * np.eye(n)
            wanted = np.where(held, 0.0, wanted)
        else:
            apart = damped
        step = step + np.linalg.solve(apart, wanted[..., None])[..., 0]
        outside = (step < low) | (step > high)
        if not outside.any():
            return step
        held |= outside
        step = np.where(held, step.clip(low, high), 0.0)
