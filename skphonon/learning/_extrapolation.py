"""The box in which a network was trained, and warnings of what lies outside."""

import warnings

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["ExtrapolationWarning", "anchors_of", "scale", "warn_of_box", "warn_of_gaps"]

_N_ANCHORS = 4096  # places that are remembered
_BESIDE = 2.0  # times the distance at which training places lie from those
_NEAR = 0.1  # what is always near, where the box is 2 wide
_LOOKS = 1024  # places of a call that are compared with those
_MARGIN = 0.01  # of the box, in which nothing changes


class ExtrapolationWarning(UserWarning):
    """A network is asked about what lies outside its training set."""


def scale(values, ranges):
    """Return columns scaled to -1 to 1 over their ranges, 0 where these are a point.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
        What the dtype of the result follows.
    ranges : ndarray of shape (n_columns, 2)
        Least and largest values.
    """
    low, high = ranges.T.astype(values.dtype)
    return (2 * values - low - high) / np.where(high > low, high - low, 1)


def anchors_of(places, random_state):
    """Return some of many scaled places, and how far from those the others may be.

    Parameters
    ----------
    places : ndarray of shape (n_rows, n_coordinates)
        Scaled coordinates of a training set.
    random_state : numpy.random.RandomState
        What chooses.

    Returns
    -------
    anchors : ndarray of shape (n_anchors, n_coordinates)
    radius : float
    """
    chosen = random_state.permutation(len(places))[: 4 * _N_ANCHORS]
    anchors = places[chosen[:_N_ANCHORS]].astype(float)
    distances, _ = cKDTree(anchors).query(places[chosen])
    return anchors, max(_BESIDE * float(distances.max()), _NEAR)


def warn_of_box(values, ranges, names, *, stacklevel):
    """Warn of what lies outside the ranges of its columns, and by how much."""
    low, high = ranges.T
    width = np.where(high > low, high - low, 1.0)
    beyond = np.maximum(low - values, values - high) / width
    if beyond.size and beyond.max() > _MARGIN:
        row, column = np.unravel_index(beyond.argmax(), beyond.shape)
        warnings.warn(
            f"{(beyond > _MARGIN).any(axis=1).sum()} of {len(beyond)} rows lie "
            f"outside the training box, by up to {beyond.max():.0%} of its width: "
            f"{names[column]} is {values[row, column]:g}, trained from {low[column]:g} "
            f"to {high[column]:g}. Keep within, or train on a larger box.",
            ExtrapolationWarning,
            stacklevel=stacklevel,
        )


def warn_of_gaps(coordinates, ranges, anchors, radius, *, stacklevel):
    """Warn of places in the box where the training set had none, as off its path."""
    looked_at = coordinates[:: -(-len(coordinates) // _LOOKS)]
    inside = scale(looked_at, ranges).clip(-1, 1)  # what lies outside has been told
    distances, _ = cKDTree(anchors).query(inside)
    far = distances > radius
    if far.any():
        warnings.warn(
            f"{far.sum()} of {len(far)} rows looked at lie where the training set has "
            "no coordinates nearby, as on another path: up to "
            f"{distances.max() / 2:.0%} of the box from the nearest, at "
            f"{looked_at[distances.argmax()].round(3).tolist()}. Train on the "
            "coordinates of the measurement.",
            ExtrapolationWarning,
            stacklevel=stacklevel,
        )
