"""Extrapolation of surrogates: warnings of rows outside the training set."""

import numpy as np
from scipy.spatial import cKDTree

from skphonon._warnings import ExtrapolationWarning, warn_user

__all__ = ["anchors_of", "scale", "warn_of_box", "warn_of_gaps"]

_N_ANCHORS = 4096  # places of the training set that are kept
_BESIDE = 2.0  # times the largest distance of a training place from those
_NEAR = 0.1  # distance that is always near; the ranges are 2 wide
_LOOKS = 1024  # places of a call that are checked
_MARGIN = 0.01  # of a range, beyond which a warning comes


def scale(values, ranges):
    """Scale columns to -1 to 1 over their ranges, (n_columns, 2); 0 if empty."""
    low, high = ranges.T.astype(values.dtype)
    return (2 * values - low - high) / np.where(high > low, high - low, 1)


def anchors_of(places, random_state):
    """Return some places of a training set, and a radius that covers the others."""
    chosen = random_state.permutation(len(places))[: 4 * _N_ANCHORS]
    anchors = places[chosen[:_N_ANCHORS]].astype(float)
    distances, _ = cKDTree(anchors).query(places[chosen])
    return anchors, max(_BESIDE * float(distances.max()), _NEAR)


def warn_of_box(values, ranges, names):
    """Warn of rows outside the ranges of their columns."""
    low, high = ranges.T
    width = np.where(high > low, high - low, 1.0)
    beyond = np.maximum(low - values, values - high) / width
    if beyond.size and beyond.max() > _MARGIN:
        row, column = np.unravel_index(beyond.argmax(), beyond.shape)
        warn_user(
            f"{(beyond > _MARGIN).any(axis=1).sum()} of {len(beyond)} rows lie "
            f"outside the training box, by up to {beyond.max():.0%} of its width: "
            f"{names[column]} is {values[row, column]:g}, trained from {low[column]:g} "
            f"to {high[column]:g}. Keep within, or train on a larger box.",
            ExtrapolationWarning,
        )


def warn_of_gaps(coordinates, ranges, anchors, radius):
    """Warn of coordinates within the ranges but far from the training set."""
    looked_at = coordinates[:: -(-len(coordinates) // _LOOKS)]
    inside = scale(looked_at, ranges).clip(-1, 1)  # warn_of_box tells the rest
    distances, _ = cKDTree(anchors).query(inside)
    far = distances > radius
    if far.any():
        warn_user(
            f"{far.sum()} of {len(far)} rows looked at lie where the training set has "
            "no coordinates nearby, as on another path: up to "
            f"{distances.max() / 2:.0%} of the box from the nearest, at "
            f"{looked_at[distances.argmax()].round(3).tolist()}. Train on the "
            "coordinates of the measurement.",
            ExtrapolationWarning,
        )
