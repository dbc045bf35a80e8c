"""Principal components of spectra with gaps, weighted for the noise of counts.

Gaps are filled by the components of the other spectra, which are then found again (R.
Everson and L. Sirovich, doi:10.1364/JOSAA.12.001657); coefficients of a row have the
spread of all rows as prior.
"""

from typing import NamedTuple

import numpy as np
from sklearn.utils.extmath import randomized_svd

from skphonon._gappy import square

__all__ = ["Basis", "learn_basis"]

_SMALLEST_SPREAD = 1e-4  # of the first component; rounding errors are below
_ROUNDING = 1e-5  # of the mean square: what single precision leaves of it
_FILLINGS = 3


class Basis(NamedTuple):
    """``x = (mean + components @ coefficients) / weights``, on one scale."""

    weights: np.ndarray  # (n_voxels,), what brings noise to one size
    mean: np.ndarray  # (n_voxels,)
    components: np.ndarray  # (n_voxels, n), orthonormal
    coefficients: np.ndarray  # (n_samples, n)
    left: float  # mean square of what they do not describe


def learn_basis(X, gaps, n_components, floor, random_state):
    """Find the principal components of spectra, which are changed in place.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_voxels)
        Spectra, float32, each on a scale of its own.
    gaps : ndarray of bool of the same shape, or None
        Where they have no value.
    n_components : int
        Components to keep, at most.
    floor : float
        Background that weights reckon with, in units of the mean intensity.
    random_state : RandomState
        For the randomised decomposition.

    Returns
    -------
    Basis
        The mean spectrum has a mean of about 1.
    """
    mean = _to_one_scale(X, gaps)
    weights = 1 / np.sqrt(mean + floor * (mean.mean() or 1.0))
    X -= mean
    X *= weights
    if gaps is not None:
        X[gaps] = 0.0
    components, spread = _components(X, n_components, random_state)
    for _ in range(_FILLINGS if gaps is not None else 0):
        _fill(X, gaps, components, spread)
        components, spread = _components(X, n_components, random_state)
    mean *= weights
    coefficients = X @ components
    left = np.square(X).mean(dtype=float)
    left -= np.square(coefficients).sum(dtype=float) / X.size
    left = float(max(left, _ROUNDING * np.square(mean).mean()))
    return Basis(weights, mean, components, coefficients, left)


def _to_one_scale(X, gaps):
    """Bring spectra to a mean of 1, in place; return the mean spectrum."""
    if gaps is None:
        X /= _sizes(X.mean(axis=1))
        return X.mean(axis=0)
    mean = np.ones(X.shape[1], dtype=np.float32)
    for _ in range(_FILLINGS):
        # beside what the mean spectrum has where this one was seen
        expected = np.where(gaps, 0.0, mean).sum(axis=1)
        X /= _sizes(np.nansum(X, axis=1) / _sizes(expected)[:, 0])
        mean = np.nanmean(X, axis=0)
        mean /= mean.mean() or 1.0
    return mean


def _sizes(values):
    return np.where(values > 0, values, 1.0).astype(np.float32)[:, None]


def _components(X, n_components, random_state):
    """Return principal components in columns and standard deviations."""
    _, sizes, components = randomized_svd(
        X,
        min(n_components, *X.shape),
        n_iter=3,
        power_iteration_normalizer="QR",
        random_state=random_state,
    )
    spread = sizes / np.sqrt(len(X))
    n_real = max(int(np.sum(spread > spread[0] * _SMALLEST_SPREAD)), 1)
    return np.ascontiguousarray(components[:n_real].T), spread[:n_real]


def _fill(X, gaps, components, spread):
    """Put what components make of the rest of each row into its gaps."""
    left = np.square(X).sum(dtype=float) / len(X) - np.square(spread).sum()
    noise = max(left / X.shape[1], np.square(_SMALLEST_SPREAD * spread[0])) or 1.0
    penalty = np.diag(noise / np.square(np.maximum(spread, np.sqrt(noise) * 1e-6)))
    for row, gap in zip(X, gaps, strict=True):
        if not gap.any():
            continue
        known = np.flatnonzero(~gap)
        product = row[known] @ components[known]
        coefficients = np.linalg.solve(square(components, known) + penalty, product)
        row[gap] = components[gap] @ coefficients
