r"""Variable projection: what enters a model linearly is eliminated, not searched for.

For every set of the other parameters the best amplitudes of columns are known in closed
form, so that only the others are searched for (Golub and Pereyra, doi:10.1137/0710036).
The derivatives of the residuals are simplified as Kaufman did
(doi:10.1007/BF01932995): what no sum of the columns explains of the derivatives at
fixed amplitudes. The gradient is exact, as what that leaves out is perpendicular to
the residuals.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

__all__ = ["Projection", "eliminate", "nonnegative", "nonnegative_counts"]

Array = NDArray[np.float64]

_ALIKE = 1e-10  # columns that differ by less, of their length, are one
_REWEIGHTED = 8  # weights of counts depend on the fit, and the fit on them
_FAINT = 1e-3  # smallest expectation, of the mean of the counts


class Projection:
    """Best sums of columns (..., n, k), one set or many; columns may be dependent."""

    def __init__(self, columns: Array) -> None:
        squares = np.einsum("...nk,...nk->...k", columns, columns)
        sizes = np.sqrt(squares)[..., None, :]
        sizes = np.where(sizes > 0, sizes, 1.0)
        self._turn: Array = 1 / np.swapaxes(sizes, -1, -2)
        self._basis = columns / sizes
        if columns.shape[-1] == 1:
            return
        basis, strengths, turn = np.linalg.svd(self._basis, full_matrices=False)
        told = strengths > _ALIKE * strengths.max(axis=-1, keepdims=True, initial=0)
        self._basis = basis * told[..., None, :]
        inverse = np.where(told, 1 / np.where(told, strengths, 1.0), 0.0)
        self._turn = self._turn * np.swapaxes(turn * inverse[..., None], -1, -2)

    def amplitudes(self, target: Array) -> Array:
        """Return the amplitudes (..., k) that come closest to targets (..., n)."""
        along = np.swapaxes(self._basis, -1, -2) @ target[..., None]
        found: Array = (self._turn @ along)[..., 0]
        return found

    def rest(self, values: Array) -> Array:
        """Return what no sum of the columns explains of values (..., n, p)."""
        return values - self._basis @ (np.swapaxes(self._basis, -1, -2) @ values)


def eliminate(columns: Array, target: Array) -> tuple[Array, Projection]:
    """Return the best amplitudes, none negative, and what those above zero explain.

    Parameters
    ----------
    columns : ndarray of shape (R, n, k)
    target : ndarray of shape (R, n)

    Returns
    -------
    amplitudes : ndarray of shape (R, k)
    projection : Projection
        With which slopes at fixed amplitudes become those of the rest.
    """
    projection = Projection(columns)
    amplitudes = projection.amplitudes(target)
    turned = (amplitudes < 0).any(axis=1)
    if turned.any():
        kept = columns.copy()
        positive = nonnegative(columns[turned], target[turned]) > 0
        kept[turned] *= positive[:, None]
        projection = Projection(kept)
        amplitudes = projection.amplitudes(target)
        amplitudes[turned] = np.where(positive, amplitudes[turned].clip(0), 0.0)
    return amplitudes, projection


def nonnegative(columns: Array, target: Array, weight: Array | None = None) -> Array:
    """Return the best amplitudes (R, k), none negative, of columns (R, n, k).

    Squares have weights (R, n).
    """
    heavy = columns if weight is None else columns * weight[..., None]
    transposed = np.swapaxes(heavy, 1, 2)
    gram, wanted = transposed @ columns, (transposed @ target[..., None])[..., 0]
    size = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    size = np.where(size > 0, size, 1.0)
    gram = gram / (size[:, :, None] * size[:, None])
    roots = np.linalg.cholesky(gram + _ALIKE * np.eye(gram.shape[1]))
    aims = np.linalg.solve(roots, (wanted / size)[..., None])[..., 0]
    found = [nnls(root.T, aim)[0] for root, aim in zip(roots, aims, strict=True)]
    return np.array(found).reshape(size.shape) / size


def nonnegative_counts(
    columns: Array, counts: Array, repeats: Array
) -> tuple[Array, Array]:
    """Return the likeliest amplitudes, none negative, and expectations (R, n).

    Parameters
    ----------
    columns : ndarray of shape (R, n, k)
        Not negative.
    counts : ndarray of shape (n,)
        Of Poisson's distribution. What is expected of them is taken to be at least a
        thousandth of their mean.
    repeats : ndarray of shape (n,)
        How often each of them counts.

    Returns
    -------
    amplitudes : ndarray of shape (R, k)
        By Fisher scoring: least squares weighted by the inverse of the expectation.
    expected : ndarray of shape (R, n)
    """
    faint = _FAINT * counts.mean() or 1.0
    expected = np.full(columns.shape[:2], max(counts.mean(), faint))
    for _ in range(_REWEIGHTED):
        amplitudes = nonnegative(columns, counts, repeats / expected)
        expected = np.maximum((columns @ amplitudes[..., None])[..., 0], faint)
    return amplitudes, expected
