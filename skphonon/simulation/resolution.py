"""Broadening of a spectrum by the instrument, and its collection in bins."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

__all__ = ["bin_kernel", "total_width"]


def bin_kernel(
    edges: ArrayLike, samples: ArrayLike, sigma: float
) -> NDArray[np.float64]:
    r"""Return how much a line at each sample point adds to the density in each bin.

    A line of unit intensity, broadened by a Gaussian and collected in a bin of width
    :math:`\Delta`, gives the mean density

    .. math:: k = \frac{1}{\Delta}\left[\Phi\left(\frac{b - x}{\sigma}\right) -
                  \Phi\left(\frac{a - x}{\sigma}\right)\right],

    with :math:`\Phi` the normal distribution function and a, b the borders of the bin.

    Parameters
    ----------
    edges : array-like of shape (n_bins + 1,)
        Borders of the bins, increasing.
    samples : array-like of shape (n_samples,)
        Positions of the lines, in the unit of `edges`.
    sigma : float
        Standard deviation of the resolution; 0 leaves the width of the bins.

    Returns
    -------
    ndarray of shape (n_bins, n_samples)
        Per unit of `edges`; a column sums to one when multiplied by the widths of
        bins that cover the line.
    """
    edges = np.asarray(edges, dtype=float)
    distance = edges[:, None] - np.asarray(samples, dtype=float)
    below = ndtr(distance / sigma) if sigma > 0 else np.heaviside(distance, 0.5)
    return np.diff(below, axis=0) / np.diff(edges)[:, None]


def total_width(edges: ArrayLike, sigma: float) -> float:
    """Return the standard deviation of resolution and narrowest bin together.

    Parameters
    ----------
    edges : array-like of shape (n_bins + 1,)
        Borders of the bins, increasing.
    sigma : float
        Standard deviation of the resolution, in the unit of `edges`.

    Returns
    -------
    float
        In the unit of `edges`.
    """
    return float(np.hypot(sigma, np.diff(edges).min() / np.sqrt(12)))
