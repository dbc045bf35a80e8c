r"""Noise of measured intensities: its likelihoods, drawing counts, and estimates of it.

A likelihood compares intensities y with expectations :math:`\mu` along the last axis of
arrays. Its deviance is :math:`2 [\ln L(y; y) - \ln L(y; \mu)]`, which
for normal noise is chi squared. Whitened values have the covariance of unit noise:
their squares are the deviance of normal noise, and that of counts to second order
(Fisher scoring). Intensities are those that were measured: without NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.spatial import cKDTree
from scipy.special import gammaln, xlogy

__all__ = [
    "CorrelatedNoise",
    "GaussianNoise",
    "Likelihood",
    "PoissonNoise",
    "count",
    "draw_counts",
    "likely_noise",
    "noise_between_neighbours",
    "noise_of_differences",
]

Array = NDArray[np.float64]
Random = np.random.Generator | np.random.RandomState

_LN_2PI = np.log(2 * np.pi)
_TRIED = np.geomspace(1e-6, 2.0, 161)  # variances, of the mean square
_PIXELS = 100_000  # of which neighbours are looked for
_DIFFERENCES = {1: 2.0, 2: 6.0}  # squares of weights, by order


class Likelihood(Protocol):
    """Noise that an inverter may be told of."""

    def log_likelihood(self, measured: Array, expected: Array) -> Array:
        """Return the logarithm of the probability density of each row."""

    def deviance(self, measured: Array, expected: Array) -> Array:
        """Return minus twice the logarithm over that of a perfect fit, of each row."""

    def whiten(self, values: Array, expected: Array) -> Array:
        """Return residuals, or columns of derivatives, in units of the noise."""


@dataclass(frozen=True)
class GaussianNoise:
    """Independent normal noise of known standard deviations."""

    std: float | Array

    def log_likelihood(self, measured: Array, expected: Array) -> Array:
        """Return the logarithm of the probability density of each row."""
        z = (measured - expected) / self.std
        return -0.5 * (z**2 + _LN_2PI + 2 * np.log(self.std)).sum(axis=-1)

    def deviance(self, measured: Array, expected: Array) -> Array:
        """Return chi squared of each row."""
        return np.square((measured - expected) / self.std).sum(axis=-1)

    def whiten(self, values: Array, expected: Array) -> Array:
        """Return values of shape (..., n_pixels) over the standard deviations."""
        return values / self.std


@dataclass(frozen=True)
class PoissonNoise:
    """Counts, whose variance is their expectation, but at least a floor."""

    floor: float | Array = 0.0

    def log_likelihood(self, measured: Array, expected: Array) -> Array:
        """Return the logarithm of the probability of each row of counts."""
        mean = np.maximum(expected, self.floor)
        terms = xlogy(measured, mean) - mean - gammaln(measured + 1)
        return terms.sum(axis=-1)

    def deviance(self, measured: Array, expected: Array) -> Array:
        """Return minus twice the logarithm over that of a perfect fit, of each row."""
        mean = np.maximum(expected, self.floor)
        ratio = np.divide(measured, mean, out=np.ones_like(mean), where=measured > 0)
        return 2 * (xlogy(measured, ratio) - measured + mean).sum(axis=-1)

    def whiten(self, values: Array, expected: Array) -> Array:
        """Return values of shape (..., n_pixels) over the roots of expectations."""
        return values / np.sqrt(np.maximum(expected, self.floor))

    def expansion(self, measured: Array, expected: Array) -> tuple[Array, Array, Array]:
        """Return the log probability of each count, its slope and its curvature.

        With the expectation, and minus the curvature. Below the floor, which must be
        above zero, it goes on as a parabola of the same slope whose curvature is one
        over the floor; where nothing was counted, below zero. So it is concave
        everywhere, for a search that must not end at its walls.
        """
        edge = np.where(measured > 0, self.floor, 0.0)
        mean = np.maximum(expected, edge)
        below = expected - mean
        ratio = np.divide(measured, mean, out=np.zeros_like(mean), where=measured > 0)
        curvature = np.divide(ratio, mean, out=np.zeros_like(mean), where=measured > 0)
        value = xlogy(measured, mean) - mean - gammaln(measured + 1)
        value += (ratio - 1) * below - below**2 / 2 / self.floor
        slope = ratio - 1 - below / self.floor
        return value, slope, np.where(below < 0, 1 / self.floor, curvature)


class CorrelatedNoise:
    """Normal noise of a known covariance, of shape (n_pixels, n_pixels)."""

    def __init__(self, covariance: Array) -> None:
        self._root = cholesky(covariance, lower=True)

    def log_likelihood(self, measured: Array, expected: Array) -> Array:
        """Return the logarithm of the probability density of each row."""
        size = len(self._root) * _LN_2PI + 2 * np.log(np.diag(self._root)).sum()
        return -0.5 * (self.deviance(measured, expected) + size)

    def deviance(self, measured: Array, expected: Array) -> Array:
        """Return chi squared of each row, with the inverse of the covariance."""
        return np.square(self.whiten(measured - expected, expected)).sum(axis=-1)

    def whiten(self, values: Array, expected: Array) -> Array:
        """Return values of shape (..., n_pixels) times an inverse root of it."""
        rows = np.reshape(values, (-1, len(self._root)))
        return solve_triangular(self._root, rows.T, lower=True).T.reshape(values.shape)


def draw_counts(rng: Random, expected: Array, normal_from: float = np.inf) -> Array:
    """Draw counts with given expectations.

    Rows that have one of at least `normal_from` are drawn from the normal distribution
    of the same variance, which takes a third of the time.
    """
    if not expected.max(initial=0) >= normal_from:
        return rng.poisson(expected).astype(expected.dtype)
    drawn = np.empty_like(expected)
    few = expected.max(axis=-1) < normal_from
    drawn[few] = rng.poisson(expected[few])
    many = expected[~few]
    if isinstance(rng, np.random.Generator):
        white = rng.standard_normal(many.shape, dtype=many.dtype.type)
    else:
        white = rng.standard_normal(many.shape)
    drawn[~few] = many + np.sqrt(many) * white
    return drawn


def count(rng: Random, values: Array, counts: float) -> Array:
    """Return values as counting shows them, on the same scale and with their signs.

    The mean pixel has `counts` neutrons.
    """
    mean = abs(values).mean()
    if mean == 0:
        return values
    unit = mean / counts
    return np.sign(values) * draw_counts(rng, abs(values) / unit) * unit


def noise_of_differences(
    values: Array, image: tuple[Sequence[int], NDArray[np.intp]], order: int
) -> float:
    """Estimate the standard deviation of white noise, by differences of neighbours.

    First differences suit residuals: beside noise they hold errors of the model, which
    are alike in neighbouring pixels, as lines are wider than these. Second ones suit
    spectra: they leave noise and curvature, which is small where pixels are finer than
    the resolution. An image is the shape of an array and the places of pixels in it;
    the smallest figure along its axes is taken, NaN where no pixels are neighbours.
    """
    shape, positions = image
    plane = np.full(int(np.prod(shape)), np.nan)
    plane[positions] = values
    plane = plane.reshape(shape)
    variances = []
    for axis in range(plane.ndim):
        differences = np.diff(plane, order, axis=axis)
        differences = differences[np.isfinite(differences)]
        if differences.size:
            variances.append(np.square(differences).mean() / _DIFFERENCES[order])
    return float(np.sqrt(min(variances))) if variances else np.nan


def noise_between_neighbours(coordinates: Array, residual: Array) -> tuple[float, int]:
    """Estimate the standard deviation of white noise of pixels that are on no grid.

    Each is compared with the nearest other one, in units of the ranges of coordinates
    (n, n_coordinates); the number of pixels compared is returned too.
    """
    some = min(len(residual), _PIXELS)
    span = np.ptp(coordinates[:some], axis=0)
    places = coordinates[:some] / np.where(span > 0, span, 1.0)
    _, nearest = cKDTree(places).query(places, k=2)
    # the second is the nearest other one, unless pixels coincide
    other = np.where(nearest[:, 1] == np.arange(some), nearest[:, 0], nearest[:, 1])
    differences = residual[:some] - residual[other]
    return float(np.sqrt(np.square(differences).mean() / 2)), some


def likely_noise(
    lengths: Array, products: Array, squares: Array, n_pixels: int
) -> Array:
    """Return the most probable variance of the white noise of rows, in steps of 10 %.

    Beside noise, rows hold templates with scores of variance 1: their covariance is
    that of the noise and a matrix of low rank (doi:10.1111/1467-9868.00196).

    Parameters
    ----------
    lengths : ndarray of shape (n,)
        Squares of the lengths of templates, along axes in which they are orthogonal.
    products : ndarray of shape (n_rows, n)
        Of rows with the templates, along these axes.
    squares : ndarray of shape (n_rows,)
        Sums of the squares of rows.
    n_pixels : int
        Number of independent numbers of a row.
    """
    squares = squares[:, None]
    tried = _TRIED * np.maximum(squares / n_pixels, np.finfo(np.float32).tiny)
    explained = np.zeros_like(tried)
    penalty = (n_pixels - len(lengths)) * np.log(tried)
    for length, product in zip(lengths, products.T, strict=True):
        explained += product[:, None] ** 2 / (tried + length)
        penalty += np.log(tried + length)
    best = (penalty + (squares - explained) / tried).argmin(axis=1)
    return tried[np.arange(len(tried)), best]
