"""Phonon energies of fitted constants, with their errors."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

__all__ = ["energies_with_std", "energy_table"]

Array = NDArray[np.float64]

_STEP = 1e-4  # of the scale of a parameter, in derivatives of energies
_ALIKE = 0.05  # meV: modes that are closer have one energy
_FLAT = 1e-9  # of the largest slope: rounding
_CENTRE = 1e-6  # of a reciprocal lattice vector: acoustic modes there have no energy


def energies_with_std(
    model: Any, parameters: Array, covariance: Array, points: Array
) -> tuple[Array, Array]:
    """Return energies and standard deviations (n_points, n_modes), to first order.

    Modes of one energy share the standard deviation of their mean.
    """
    std = np.sqrt(np.diag(covariance))
    scales = np.maximum(np.abs(parameters), np.where(np.isfinite(std), std, 0.0))
    steps = np.diag(_STEP * np.where(scales > 0, scales, 1.0))
    rows = np.concatenate([parameters[None], parameters + steps, parameters - steps])
    found = np.sort(model.frequencies(rows, points), axis=2)
    energies, (up, down) = found[0], np.split(found[1:], 2)
    slopes = np.moveaxis((up - down) / (2 * np.diag(steps)[:, None, None]), 0, 2)
    for energy, slope in zip(energies, slopes, strict=True):
        cuts = np.flatnonzero(np.diff(energy) > _ALIKE) + 1
        for modes in np.split(np.arange(len(energy)), cuts):
            slope[modes] = slope[modes].mean(axis=0)
    whole = np.abs(points - np.round(points)).max(axis=1) < _CENTRE
    for point in np.flatnonzero(whole):
        acoustic = np.argsort(np.abs(energies[point]))[:3]
        energies[point, acoustic] = 0.0
        slopes[point, acoustic] = 0.0
    known = np.isfinite(np.diag(covariance))
    seen = slopes[..., known]
    square = np.einsum("pmi,ij,pmj->pm", seen, covariance[np.ix_(known, known)], seen)
    # infinite where they hang on what nothing determines
    size = np.abs(slopes).max(initial=0.0)
    open_ = (np.abs(slopes[..., ~known]) > _FLAT * size).any(axis=2)
    return energies, np.where(open_, np.inf, np.sqrt(square.clip(0)))


def energy_table(
    model: Any, parameters: Array, covariance: Array, qpoints: ArrayLike
) -> pd.DataFrame:
    """Return energies and standard deviations as a table, a mode a row."""
    points = np.atleast_2d(np.asarray(qpoints, dtype=float))
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(
            "qpoints must be finite wavevectors of shape (n_points, 3), in units of "
            f"the reciprocal lattice; got {qpoints!r}."
        )
    energies, std = energies_with_std(model, parameters, covariance, points)
    frame = pd.DataFrame(
        np.repeat(points, energies.shape[1], axis=0), columns=["q1", "q2", "q3"]
    )
    frame["mode"] = np.tile(np.arange(energies.shape[1]), len(points))
    frame["energy"], frame["std"] = energies.ravel(), std.ravel()
    return frame
