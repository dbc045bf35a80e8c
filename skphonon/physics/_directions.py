r"""Principal directions of the covariance of force constants, beside a common factor.

With the covariance C of the constants k and the constants o whose common factor f is a
parameter of its own, :math:`k = f\,o + \sum_n z_n \sqrt{\lambda_n}\,v_n`. The
:math:`\lambda_n, v_n` are eigenvalues and eigenvectors of :math:`P C P`, in which
:math:`P = 1 - o\,o^T / |o|^2` takes out what the factor stands for, so that no
combination of parameters does nothing. The :math:`z_n` are uncorrelated, with unit
variance; f has the variance :math:`o^T C o / |o|^4` and the covariance
:math:`o^T C v_n / (|o|^2 \sqrt{\lambda_n})` with :math:`z_n`.
"""

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

Array = NDArray[np.float64]

_NO_VARIANCE = 1e-12  # of the variance of all constants
_ASYMMETRY = 1e-8  # of the largest element of a covariance
_FEW = 0.1  # share of the directions below which an iteration finds them sooner
_MANY = 1000  # constants from which on it does


class Directions(NamedTuple):
    """Principal directions in units of their standard deviations."""

    axes: Array  # (n_constants, n_directions)
    covariance: Array  # of the factor and the directions, n_directions + 1
    shares: Array  # of the variance of all constants, in that order


def principal_directions(
    origin: Array,
    covariance: ArrayLike | None,
    samples: ArrayLike | None,
    n_components: Any,
) -> Directions:
    """Return the principal directions of a covariance or of samples, largest first."""
    if samples is not None:
        along, variances, axes, total = _axes_of_samples(np.asarray(samples), origin)
    else:
        square = _checked_covariance(covariance, len(origin))
        along, variances, axes, total = _axes_of_square(square, origin, n_components)
    size = np.linalg.norm(origin)
    variance = float(along @ origin / size)
    n_kept = _n_kept(variances, variance, total, n_components)
    axes, variances = axes[:, :n_kept], variances[:n_kept]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_kept)])
    own = np.eye(1 + n_kept)
    own[0, 0] = variance / size**2
    own[0, 1:] = own[1:, 0] = (along @ axes) / (size * np.sqrt(variances))
    return Directions(
        axes * np.sqrt(variances), own, np.append(variance, variances) / total
    )


def _axes_of_samples(rows: Array, origin: Array) -> tuple[Array, Array, Array, float]:
    """Covariance of the origin's direction with all, variances and axes beside it."""
    if len(rows) < 2:
        raise ValueError("samples must be two sets of constants at least, got one.")
    rows = (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)
    unit = origin / np.linalg.norm(origin)
    factors = rows @ unit
    _, sizes, axes = np.linalg.svd(rows - np.outer(factors, unit), full_matrices=False)
    return factors @ rows, sizes**2, axes.T, float((rows**2).sum())


def _axes_of_square(
    square: Array, origin: Array, n_components: Any
) -> tuple[Array, Array, Array, float]:
    """As `_axes_of_samples`, of a covariance."""
    unit = origin / np.linalg.norm(origin)
    along, total = square @ unit, float(np.trace(square))
    few = isinstance(n_components, Integral) and n_components < _FEW * len(unit)
    if few and n_components > 0 and len(unit) > _MANY:

        def beside(vector: Array) -> Array:
            change = square @ (vector - unit * (unit @ vector))
            return change - unit * (unit @ change)

        operator = LinearOperator(square.shape, matvec=beside, dtype=float)
        start = np.random.default_rng(0).standard_normal(len(unit))
        variances, axes = eigsh(operator, int(n_components), v0=start)
    else:
        rest = square - np.outer(unit, along) - np.outer(along, unit)
        rest += (unit @ along) * np.outer(unit, unit)
        variances, axes = np.linalg.eigh(rest)
    order = np.argsort(-variances)
    return along, np.maximum(variances[order], 0), axes[:, order], total


def _n_kept(variances: Array, variance: float, total: float, n_components: Any) -> int:
    """Return how many directions are asked for."""
    if total <= 0:
        raise ValueError("Constants must vary, but their covariance is zero.")
    n_there = int((variances > _NO_VARIANCE * total).sum())
    if n_components is None:
        return n_there
    if isinstance(n_components, Integral):
        if 1 <= int(n_components) <= n_there:
            return int(n_components)
    elif isinstance(n_components, Real) and 0 < float(n_components) < 1:
        reached = (variance + np.cumsum(variances[:n_there])) / total
        return min(int((reached < float(n_components)).sum()) + 1, n_there)
    raise ValueError(
        f"n_components must be from 1 to {n_there}, the directions with a variance, or "
        f"a share of the variance between 0 and 1; got {n_components!r}."
    )


def _checked_covariance(covariance: ArrayLike | None, n: int) -> Array:
    square = np.asarray(covariance, dtype=float)
    if square.shape != (n, n) or not np.isfinite(square).all():
        raise ValueError(
            f"covariance must be finite, of shape ({n}, {n}) for the constants of the "
            f"model; got shape {square.shape}. Sets of constants are samples."
        )
    allowed = _ASYMMETRY * np.abs(square).max()
    fault = None
    if np.abs(square - square.T).max() > allowed:
        fault = "it is not symmetric"
    else:
        raised = square.copy()
        raised.flat[:: n + 1] += allowed or 1.0
        try:
            np.linalg.cholesky(raised)
        except np.linalg.LinAlgError:
            fault = "it has a negative eigenvalue"
    if fault:
        raise ValueError(
            f"covariance must be symmetric without negative eigenvalues, but {fault}."
        )
    return (square + square.T) / 2
