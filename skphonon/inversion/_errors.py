r"""Error bars of fitted parameters, and which of them the data determine.

With residuals r in units of their standard deviation and J their derivatives the
information of independent pixels is :math:`H = J^T J` and the covariance of the
parameters :math:`H^{-1}`. What a model cannot describe is not independent from pixel
to pixel: a wrong line shape leaves a ridge of residuals of one sign. Generalised to
residuals of covariance C, that of parameters is :math:`H^{-1} J^T C J H^{-1}`. C is
taken to depend on the distance between pixels alone, and estimated from the residuals
by averaging over pairs of pixels, as far as they are correlated. (Products of single
residuals in the place of C, as econometrists use, would not do: with J they add up to
zero at an optimum, and to little over the size of a phonon branch.)
"""

import numpy as np
import pandas as pd
from scipy.fft import irfftn, next_fast_len, rfftn

from skphonon.fitting import inverse_information

__all__ = [
    "alike_pixels",
    "correlation_lengths",
    "covariance_of",
    "directions_of",
    "image_of",
    "neighbours_of",
    "scatter_of",
]

_ENOUGH = 0.5  # determined: the data at least halve what was uncertain before


def covariance_of(derivative, residual, pieces, prior=None):
    """Return the covariance from residuals of unit variance, perhaps correlated.

    Pieces are pairs of a slice of pixels that may be correlated, and their image: the
    shape of an array and their places in it. None takes all to be independent.
    """
    information = derivative.T @ derivative
    if prior is not None:
        information = information + prior
    if pieces is None:
        return inverse_information(information, known=prior)
    middle = scatter_of(derivative, residual, pieces)
    if prior is not None:
        middle += prior
    return inverse_information(information, middle, prior)


def scatter_of(derivative, residual, pieces):
    """Return the covariance of J^T r that residuals tell, pieces as above."""
    found = [_scatter(derivative[i], residual[i], image) for i, image in pieces]
    middle = sum(part for part, _ in found)
    # correlated pixels count for fewer, of which each parameter takes one
    n_free = sum(number for _, number in found)
    return middle * (n_free / max(n_free - derivative.shape[1], 1))


def image_of(simulator, residual):
    """Return the array that residuals are of and the places of those seen, or None."""
    grid = getattr(simulator, "grid", None)
    shape = () if grid is None else tuple(len(axis) for axis in grid.axes())
    if not shape or int(np.prod(shape)) != residual.size:
        return None
    return shape, np.flatnonzero(np.isfinite(residual))


def alike_pixels(residual, image):
    """Return how many pixels of one spectrum count as one, for they err alike.

    The variance of a mean over residuals, times their number, over their own variance.
    """
    if not residual.any():
        return 1.0
    kernel, _, _ = _correlations(residual, image)
    return float(max(kernel.sum() / kernel.flat[0], 1.0))


def _scatter(derivative, residual, image):
    """Return the covariance of J^T r, and the number of independent pixels."""
    shape, positions = image
    n_pixels, n_parameters = derivative.shape
    if not residual.any():
        return np.zeros((n_parameters, n_parameters)), n_pixels
    kernel, padded, axes = _correlations(residual, image)
    planes = np.zeros((n_parameters, int(np.prod(shape))))
    planes[:, positions] = derivative.T
    blurred = irfftn(
        rfftn(planes.reshape(-1, *shape), padded, axes)
        * rfftn(kernel, padded, tuple(range(len(shape)))),
        padded,
        axes,
    )[(slice(None), *(slice(n) for n in shape))]
    middle = blurred.reshape(n_parameters, -1)[:, positions] @ derivative
    alike = max(kernel.sum() / kernel.flat[0], 1)
    return (middle + middle.T) / 2, n_pixels / alike


def _correlations(residual, image):
    """Return the mean product of residuals at each distance, faded, and its layout."""
    shape, positions = image
    plane = np.zeros((2, int(np.prod(shape))))
    plane[0, positions], plane[1, positions] = residual, 1.0
    # the sums over pairs of pixels at each distance, zeros around against wrapping
    padded = [next_fast_len(2 * n, real=True) for n in shape]
    axes = tuple(range(1, len(shape) + 1))
    power = np.abs(rfftn(plane.reshape(2, *shape), padded, axes)) ** 2
    together, pairs = irfftn(power, padded, axes)
    kernel = together / np.maximum(pairs, 1)
    for axis, length in enumerate(correlation_lengths(residual, image)):
        lag = np.abs(np.fft.fftfreq(padded[axis], 1 / padded[axis]))
        fade = np.clip(1 - lag / (2 * length + 2), 0, None) * (lag <= length)
        kernel = np.moveaxis(np.moveaxis(kernel, axis, -1) * fade, -1, axis)
    return kernel, padded, axes


def correlation_lengths(residual, image):
    """Return over how many pixels residuals are correlated, along each axis."""
    shape, _ = image
    plane, mask = (_plane(values, image, 0.0) for values in (residual, 1.0))
    variance = (plane**2).sum() / mask.sum()
    lengths = []
    for axis in range(len(shape)):
        lag = 1
        while variance > np.finfo(float).tiny and lag < shape[axis] // 2:
            near = np.moveaxis(plane, axis, 0)
            both = np.moveaxis(mask, axis, 0)
            pairs = (both[lag:] * both[:-lag]).sum()
            if not pairs:
                break
            correlation = (near[lag:] * near[:-lag]).sum() / pairs / variance
            if correlation < 2 / np.sqrt(pairs):
                break
            lag += 1
        lengths.append(lag - 1)
    return lengths


def neighbours_of(image):
    """Return pairs of pixels seen that are next to each other, of shape (2, n)."""
    shape, positions = image
    numbers = _plane(np.arange(len(positions)), image, -1).astype(int)
    pairs = []
    for axis in range(len(shape)):
        along = np.moveaxis(numbers, axis, 0)
        pairs.append(np.stack([along[:-1].ravel(), along[1:].ravel()]))
    both = np.hstack(pairs)
    return both[:, (both >= 0).all(axis=0)]


def _plane(values, image, elsewhere):
    """Return an array with values at their places and another one elsewhere."""
    shape, positions = image
    plane = np.full(int(np.prod(shape)), elsewhere)
    plane[positions] = values
    return plane.reshape(shape)


def directions_of(covariance, names, scales):
    """Return a table of combinations of parameters, the best determined first."""
    known = np.isfinite(np.diag(covariance))
    values, vectors = np.linalg.eigh(
        (covariance / np.outer(scales, scales))[np.ix_(known, known)]
    )
    shares = np.zeros((len(names), len(names)))
    shares[: known.sum(), known] = vectors.T
    shares[np.arange(known.sum(), len(names)), np.flatnonzero(~known)] = 1.0
    uncertainty = np.full(len(names), np.inf)
    uncertainty[: known.sum()] = np.sqrt(values.clip(0))
    signs = np.sign(np.take_along_axis(shares, _largest(shares), axis=1))
    shares *= signs
    table = {
        "direction": [_in_words(share, names) for share in shares],
        "uncertainty": uncertainty,
        "determined": uncertainty < _ENOUGH,
    }
    return pd.DataFrame(table | dict(zip(names, shares.T, strict=True)))


def _largest(shares):
    return np.abs(shares).argmax(axis=1)[:, None]


def _in_words(share, names):
    """Write a direction as a sum, of what is at least a tenth of it."""
    parts = [
        f"{'-' if s < 0 else '+'} {abs(s):.2f} {n}"
        for s, n in sorted(zip(share, names, strict=True), key=lambda p: -abs(p[0]))
        if s**2 >= 0.1
    ]
    return " ".join(parts).removeprefix("+ ")
