r"""Covariances of fitted parameters: of least squares, of wrong models, at bounds."""

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray

__all__ = [
    "inverse_information",
    "n_determined",
    "one_sided",
    "sandwich",
    "strongest_correlations",
]

Array = NDArray[np.float64]

_NODES, _WEIGHTS = leggauss(64)
_UNSEEN = 1e-10  # smallest information, over the largest, that is not rounding
_ROUNDING = 1e-15
_KNOWN = 0.5  # share of the information of a direction that is no rounding
_FLATTEST = 0.2  # curvature that is believed, of that of Gauss and Newton


def inverse_information(
    information: Array, scatter: Array | None = None, known: Array | None = None
) -> Array:
    r"""Return the covariance of parameters.

    Parameters
    ----------
    information : ndarray of shape (p, p)
        :math:`H = J^T J`, with J the derivatives of residuals in standard deviations.
    scatter : ndarray of shape (p, p), default=None
        Covariance M of :math:`J^T r`, for :math:`H^{-1} M H^{-1}`; directions of
        negative variance, which an estimate may have, are taken to have none. None: H.
    known : ndarray of shape (p, p), default=None
        The part of H that is known beforehand: what it determines is determined,
        however much more the data know of the rest.

    Returns
    -------
    ndarray of shape (p, p)
        Infinite variances and NaN covariances of what is not determined at all.
    """
    size, values, vectors = _directions(information)
    seen = values > _UNSEEN * values.max(initial=0)
    if known is not None:
        before = known / np.outer(size, size)
        own = np.einsum("ij,ik,kj->j", vectors, before, vectors)
        seen |= (own > _KNOWN * values) & (values > _ROUNDING * values.max(initial=0))
    inverse = (vectors[:, seen] / values[seen]) @ vectors[:, seen].T
    inverse /= np.outer(size, size)
    if scatter is not None:
        spread, axes = np.linalg.eigh(scatter / np.outer(size, size))
        root = inverse @ (size[:, None] * axes * np.sqrt(spread.clip(0)))
        inverse = root @ root.T
    unseen = (np.abs(vectors[:, ~seen]) > np.sqrt(_UNSEEN)).any(axis=1)
    inverse[unseen] = inverse[:, unseen] = np.nan
    inverse[np.diag_indices(len(size))] = np.where(unseen, np.inf, np.diag(inverse))
    return inverse


def n_determined(information: Array) -> int:
    """Return the number of directions of parameters that data determine.

    Parameters
    ----------
    information : ndarray of shape (p, p)
        As for :func:`inverse_information`.

    Returns
    -------
    int
        The rank, but for rounding.
    """
    _, values, _ = _directions(information)
    return int((values > _UNSEEN * values.max(initial=0)).sum())


def _directions(information: Array) -> tuple[Array, Array, Array]:
    """Return sizes of parameters, and eigenvalues and -vectors in these."""
    size = np.sqrt(np.diag(information))
    size[size == 0] = 1.0
    return size, *np.linalg.eigh(information / np.outer(size, size))


def sandwich(
    information: Array, scatter: Array, curvature: Array | None = None
) -> Array:
    r"""Return the covariance of the place of an optimum, also of a wrong model.

    That is :math:`C^{-1} M C^{-1}` (White, doi:10.2307/1912526).

    Parameters
    ----------
    information : ndarray of shape (p, p)
        The matrix of Gauss and Newton.
    scatter : ndarray of shape (p, p)
        Covariance M of the gradient.
    curvature : ndarray of shape (p, p), default=None
        Half the second derivatives C of the cost, from which the information differs
        if the model is not right; None: the information. Taken to be at least a fifth
        of that in every direction, as few counts tell little of it.

    Returns
    -------
    ndarray of shape (p, p)
        Infinite variances of what is not determined.
    """
    inverse = inverse_information(information)
    known = np.isfinite(np.diag(inverse))
    seen = np.ix_(known, known)
    outer = inverse[seen]
    if curvature is not None:
        values, vectors = np.linalg.eigh(outer)
        root = vectors * np.sqrt(values.clip(0))
        ratios, directions = np.linalg.eigh(root.T @ curvature[seen] @ root)
        root = root @ directions
        outer = root / np.maximum(ratios, _FLATTEST) @ root.T
    inverse[seen] = outer @ scatter[seen] @ outer
    return inverse


def strongest_correlations(
    covariance: Array, least: float
) -> list[tuple[int, int, float]]:
    """Return pairs of parameters with their correlation, the strongest first.

    Those whose variance is zero or not finite correlate with nothing.
    """
    std = np.sqrt(np.diag(covariance))
    known = np.isfinite(std) & (std > 0)
    matrix = np.zeros_like(covariance)
    matrix[np.ix_(known, known)] = covariance[np.ix_(known, known)] / np.outer(
        std[known], std[known]
    )
    first, second = np.triu_indices(len(std), 1)
    values = matrix[first, second]
    order = np.argsort(-np.abs(values))
    return [
        (int(first[i]), int(second[i]), float(values[i]))
        for i in order
        if abs(values[i]) >= least
    ]


def one_sided(covariance: Array, shift: Array, side: Array, width: Array) -> Array:
    r"""Return a covariance about values of which some lie at a bound.

    A parameter beyond the bound of which its optimum would be is somewhere on the
    allowed side: its distance t from there, in standard deviations, has the density
    :math:`\exp(-p t - t^2 / 2)`, if data pull it p standard deviations beyond. Its
    variance becomes the mean square of that distance, and what hangs together with it
    follows. Data that do not pull leave it as it was; the harder they pull, the more
    the bound alone is what decides.

    Parameters
    ----------
    covariance : ndarray of shape (p, p)
        Without bounds.
    shift : ndarray of shape (p,)
        From the values to the optimum without bounds.
    side : ndarray of shape (p,)
        -1 at a lower bound, 1 at an upper one, otherwise 0.
    width : ndarray of shape (p,)
        Distance between the bounds.

    Returns
    -------
    ndarray of shape (p, p)
    """
    variance = np.diag(covariance)
    known = np.isfinite(variance)
    found, shift = covariance.copy(), np.where(known, shift, 0.0)
    left = list(np.flatnonzero((side != 0) & known & (variance > 0)))
    while left:
        std = np.sqrt(np.maximum(np.diag(found)[left], np.finfo(float).tiny))
        pull = side[left] * shift[left] / std
        hardest = int(pull.argmax())
        i = left.pop(hardest)
        spread = _mean_square(pull[hardest], width[i] / std[hardest])
        with_it = np.where(known, found[:, i], 0.0)
        slope = with_it / with_it[i]
        found += (spread - 1) * np.outer(with_it, slope)
        shift = shift - slope * shift[i]
    return found


def _mean_square(pull: float, width: float) -> float:
    """Return the mean of t^2, with t from 0 to the width."""
    pull = max(pull, -5.0)  # harder inwards: the search had not ended
    reach = min(width, 10 - min(pull, 0.0), 40 / max(pull, 1.0))
    t = reach * (1 + _NODES) / 2
    exponent = -pull * t - t**2 / 2
    weight = _WEIGHTS * np.exp(exponent - exponent.max())
    return float(weight @ t**2 / weight.sum())
