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
    damping times ``s diag(H) s``. They stop at the first edge of their room and go on
    along it (an active set, of which nothing is released within a step).

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
        apart = damped
        if held.any():
            wanted = np.where(held, 0.0, wanted)
            apart = np.where(held[:, :, None] | held[:, None, :], 0.0, damped)
            apart = apart + held[..., None] * np.eye(n)
        move = np.linalg.solve(apart, wanted[..., None])[..., 0]
        if not ((step + move < low) | (step + move > high)).any():
            return step + move
        # as far as the first edge, which is held from then on
        edge = np.where(move > 0, high, low)
        moves = move != 0
        reach = np.where(moves, (edge - step) / np.where(moves, move, 1.0), np.inf)
        part = np.minimum(reach.min(axis=1, keepdims=True), 1.0)
        stopped = moves & (reach <= part) & (part < 1)
        step = np.where(stopped, edge, (step + part * move).clip(low, high))
        held |= stopped
