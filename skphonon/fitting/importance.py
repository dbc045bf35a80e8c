r"""Importance sampling between bounds: mixtures of normal distributions, and weights.

A normal distribution cut by a box is drawn from coordinate by coordinate, each from its
own conditional distribution between its bounds (the sampler of Geweke, Hajivassiliou
and Keane, doi:10.1016/0304-4076(94)01716-6). What is drawn so is not quite the
distribution cut by the box, but its density is known in closed form, which is all that
importance weights need, and no draw is refused. Without bounds it is the distribution.

Draws from several mixtures are weighed by the density of all together (the balance
heuristic of Veach and Guibas, doi:10.1145/218380.218498).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.special import log_ndtr, logsumexp, ndtri_exp
from scipy.stats import genpareto, qmc
from sklearn.linear_model import RidgeCV

__all__ = ["BoxNormal", "Mixture", "Weights", "nearer", "normalised"]

Array = NDArray[np.float64]

_FEWEST = 10  # draws more than parameters that a distribution is fitted to
_COUNTS = 0.01  # weight of a draw that counts
_RIDGES = np.logspace(-1, 5, 13)
_CURVED = (0.0, 0.3, 1.0)  # size of second derivatives beside first ones, tried
_NARROWER, _WIDER = 4.0, 0.25  # information beside that before, at most and at least
_FAR = 3.0  # standard deviations of a mean from that before, at most
_TAIL = 25  # draws in the tail that a Pareto distribution is fitted to, at least
_KNOWN = 10  # draws that the prior of its shape counts for
_SHAPE = 0.5  # the mean of that prior


class Distribution(Protocol):
    """A part of a mixture."""

    def sample(self, number: int, rng: np.random.Generator) -> Array:
        """Return draws of shape (number, p)."""
        ...

    def log_density(self, rows: Array) -> Array:
        """Return the logarithm of the density at rows of shape (number, p)."""
        ...

    def adapted(self, rows: Array, log_target: Array, weights: Array) -> "Distribution":
        """Return one nearer to a target (see `nearer`)."""
        ...

    def widened(self, factor: float) -> "Distribution":
        """Return the distribution with widths times a factor."""
        ...


class BoxNormal:
    """A normal distribution between bounds, drawn coordinate by coordinate.

    Parameters
    ----------
    mean : ndarray of shape (p,)
        May be beyond the bounds.
    covariance : ndarray of shape (p, p)
        Positive definite.
    bounds : ndarray of shape (2, p)
        May be infinite.
    """

    def __init__(self, mean: Array, covariance: Array, bounds: Array) -> None:
        std = np.sqrt(np.diag(covariance))
        self.mean, self.covariance, self.bounds = mean, covariance, bounds
        # what is cut hardest is drawn first, and all others given that
        cut = log_mass((bounds - mean) / std)
        self._order = np.argsort(cut, kind="stable")
        self._bounds = bounds[:, self._order]
        self._mean = mean[self._order]
        self._root = cholesky(covariance[np.ix_(self._order, self._order)], lower=True)

    def sample(self, number: int, rng: np.random.Generator) -> Array:
        """Return draws of shape (number, p)."""
        if not number:
            return np.zeros((0, len(self._mean)))
        # evenly in each coordinate, so that means scatter less
        shares = qmc.LatinHypercube(len(self._mean), rng=rng).random(number)
        normal = np.zeros_like(shares)
        for i in range(len(self._mean)):
            edges = self._edges(normal[:, :i], i)
            normal[:, i] = between(shares[:, i], edges)
        found = np.empty_like(normal)
        found[:, self._order] = self._mean + normal @ self._root.T
        # rounding must not leave the box
        low, high = np.empty((2, len(self._mean)))
        low[self._order], high[self._order] = self._bounds
        return found.clip(low, high)

    def log_density(self, rows: Array) -> Array:
        """Return the logarithm of the density at rows of shape (number, p)."""
        off = rows[:, self._order] - self._mean
        normal = solve_triangular(self._root, off.T, lower=True).T
        density = -np.square(normal).sum(axis=1) / 2
        density -= np.log(np.diag(self._root)).sum()
        density -= len(self._mean) * np.log(2 * np.pi) / 2
        for i in range(len(self._mean)):
            density -= log_mass(self._edges(normal[:, :i], i))
        return density

    def adapted(self, rows: Array, log_target: Array, weights: Array) -> "BoxNormal":
        """Return one nearer to a target (see `nearer`)."""
        found = nearer(rows, log_target, weights, self.mean, self.covariance)
        return BoxNormal(*found, self.bounds)

    def widened(self, factor: float) -> "BoxNormal":
        """Return the distribution with widths times a factor."""
        return BoxNormal(self.mean, factor**2 * self.covariance, self.bounds)

    def _edges(self, normal: Array, i: int) -> Array:
        """Return where the i-th coordinate is cut, (2, number), given those before."""
        middle = self._mean[i] + normal @ self._root[i, :i]
        edges: Array = (self._bounds[:, i, None] - middle) / self._root[i, i]
        return edges


def log_mass(edges: Array) -> Array:
    """Return the logarithm of the standard normal mass between edges (2, ...)."""
    low, high = edges
    # on the side where both tails are small, differences keep their digits
    flipped = low > 0
    low, high = np.where(flipped, -high, low), np.where(flipped, -low, high)
    upper, lower = log_ndtr(high), log_ndtr(low)
    with np.errstate(divide="ignore", invalid="ignore"):
        mass: Array = upper + np.log1p(-np.exp(lower - upper))
    return mass


def between(shares: Array, edges: Array) -> Array:
    """Return standard normal values between edges (2, n), by shares from 0 to 1."""
    low, high = edges
    flipped = low > 0
    low, high = np.where(flipped, -high, low), np.where(flipped, -low, high)
    shares = np.where(flipped, 1 - shares, shares)
    with np.errstate(divide="ignore"):
        # ln(P(low) + share * (P(high) - P(low)))
        below = np.logaddexp(
            log_ndtr(low) + np.log1p(-shares), log_ndtr(high) + np.log(shares)
        )
    found = ndtri_exp(below).clip(low, high)
    values: Array = np.where(flipped, -found, found)
    return values


class Mixture(NamedTuple):
    """A mixture of distributions, each with its share."""

    shares: Array  # (k,), that add up to one
    parts: Sequence[Distribution]

    def sample(self, number: int, rng: np.random.Generator) -> Array:
        """Return draws, of each part as many as its share, in random order."""
        wanted = np.floor(number * np.cumsum(self.shares) + rng.uniform()).astype(int)
        wanted[-1] = number
        counts = np.diff(wanted.clip(0, number), prepend=0)
        pairs = zip(self.parts, counts, strict=True)
        rows = np.concatenate([part.sample(count, rng) for part, count in pairs])
        # some may be refused, and as many of the next ones taken
        return rng.permutation(rows)

    def log_densities(self, rows: Array) -> Array:
        """Return the logarithms of the densities of the parts with shares, (k, n)."""
        with np.errstate(divide="ignore"):
            shares = np.log(self.shares)
        return np.stack(
            [
                share + part.log_density(rows)
                for share, part in zip(shares, self.parts, strict=True)
            ]
        )

    def log_density(self, rows: Array) -> Array:
        """Return the logarithm of the density at rows (n, p)."""
        found: Array = logsumexp(self.log_densities(rows), axis=0)
        return found

    def adapted(self, rows: Array, log_target: Array, weights: Array) -> "Mixture":
        """Return one nearer to a target.

        Parameters
        ----------
        rows : ndarray of shape (n, p)
        log_target : ndarray of shape (n,)
            Log of the target there, but for a constant.
        weights : ndarray of shape (n,)
            Of the target over the density of the rows, adding up to one.
        """
        densities = self.log_densities(rows)
        total = logsumexp(densities, axis=0)
        # what none reaches belongs to none
        belongs = np.exp(densities - np.where(np.isfinite(total), total, np.inf))
        shares = (belongs * weights).sum(axis=1)
        pairs = zip(self.parts, belongs, strict=True)
        parts = [part.adapted(rows, log_target, own) for part, own in pairs]
        return Mixture(shares / shares.sum(), parts)


def nearer(
    rows: Array, log_target: Array, weights: Array, mean: Array, covariance: Array
) -> tuple[Array, Array]:
    """Return mean and covariance of a normal distribution that is nearer to a target.

    The logarithm of the target over the one before is fitted by a quadratic function of
    the coordinates, whose values without noise tell more than moments of weighted draws
    do: a normal target in 23 dimensions takes 300 draws, of which few may have weight.
    How much a change is believed is what left-out draws tell (ridge regression).

    Parameters
    ----------
    rows : ndarray of shape (n, p)
    log_target : ndarray of shape (n,)
        But for a constant; minus infinity is left out.
    weights : ndarray of shape (n,)
        How much each counts, from 0 to 1.
    mean, covariance : ndarray
        Of the distribution before.
    """
    root = cholesky(covariance, lower=True)
    values = solve_triangular(root, (rows - mean).T, lower=True).T
    ratio = log_target + np.square(values).sum(axis=1) / 2
    kept = np.isfinite(ratio) & (weights > _COUNTS)
    p = len(mean)
    if kept.sum() < _FEWEST + p:
        return mean, covariance
    values, ratio, weights = values[kept], ratio[kept], weights[kept]
    ratio -= np.median(ratio)
    # where the target is low, how low does not matter
    weights = weights * np.exp(ratio.clip(max=0))
    first, second = np.triu_indices(p)
    products = values[:, first] * values[:, second]
    products[:, first == second] = (np.square(values) - 1) / np.sqrt(2)
    fits = []
    for scale in _CURVED:
        columns = np.hstack([values, scale * products])
        fit = RidgeCV(_RIDGES).fit(columns, ratio, sample_weight=weights)
        fits.append((fit.best_score_, fit.coef_[:p], scale * fit.coef_[p:]))
    _, gradient, curved = max(fits, key=lambda fit: float(fit[0]))
    curvature = np.zeros((p, p))
    curvature[first, second] = curved
    curvature = (curvature + curvature.T) * np.where(np.eye(p), 1 / np.sqrt(2), 1)
    numbers, vectors = np.linalg.eigh(np.eye(p) - curvature)
    numbers = numbers.clip(_WIDER, _NARROWER)
    step = vectors @ ((vectors.T @ gradient) / numbers).clip(-_FAR, _FAR)
    wide = root @ (vectors / np.sqrt(numbers))
    return mean + root @ step, wide @ wide.T


class Weights(NamedTuple):
    """Importance weights and what they tell of themselves."""

    weights: Array  # (n,), that add up to one
    log_mean: float  # logarithm of the mean weight before
    log_mean_std: float  # its Monte-Carlo error
    n_effective: float  # one over the sum of their squares
    shape: float  # of the Pareto distribution of the largest; above 0.7 do not trust


def normalised(log_weights: Array) -> Weights:
    """Return weights of draws, the largest smoothed.

    The largest weights are replaced by the quantiles of a generalised Pareto
    distribution fitted to them (A. Vehtari et al., J. Mach. Learn. Res. 25, 72 (2024),
    arXiv:1507.02646).

    Parameters
    ----------
    log_weights : ndarray of shape (n,)
        Log of target over proposal; minus infinity where the target is zero.

    Returns
    -------
    Weights
    """
    n, largest = len(log_weights), log_weights.max(initial=-np.inf)
    if not np.isfinite(largest):
        nothing = np.full(n, 1 / max(n, 1))
        return Weights(nothing, -np.inf, np.inf, 0.0, np.inf)
    weights = np.exp(log_weights - largest)
    mean = weights.mean()
    error = weights.std() / np.sqrt(n) / mean
    smooth, shape = _smoothed(weights)
    smooth = smooth / smooth.sum()
    return Weights(
        smooth,
        float(np.log(mean) + largest),
        float(error),
        float(1 / np.square(smooth).sum()),
        shape,
    )


def _smoothed(weights: Array) -> tuple[Array, float]:
    """Return weights of which the largest are smoothed, and the shape of their tail."""
    n = len(weights)
    number = int(min(n / 5, 3 * np.sqrt(n)))
    if number < _TAIL:
        return weights, np.inf
    order = np.argsort(weights, kind="stable")
    tail = order[-number:]
    begin = weights[order[-number - 1]]
    beyond = weights[tail] - begin
    if beyond[-1] <= 1e-12 * weights.max() or not begin > 0:
        # all alike: there is no tail
        return weights, (-np.inf if begin > 0 else np.inf)
    shape, scale = _pareto(beyond[beyond > 0])
    smooth = weights.copy()
    quantiles = (np.arange(number) + 0.5) / number
    smooth[tail] = begin + genpareto.ppf(quantiles, shape, scale=scale)
    return smooth.clip(0, weights.max()), float(shape)


def _pareto(values: Array) -> tuple[float, float]:
    """Return shape and scale of the generalised Pareto distribution of sorted values.

    By the profile of J. Zhang and M. A. Stephens, Technometrics 51, 316 (2009), with a
    weak prior of the shape.
    """
    n = len(values)
    points = np.arange(1, 31 + int(np.sqrt(n)))
    quarter = values[int(n / 4 + 0.5) - 1]
    theta = 1 / values[-1] + (1 - np.sqrt(len(points) / (points - 0.5))) / 3 / quarter
    shapes = np.log1p(-theta[:, None] * values).mean(axis=1)
    likelihood = n * (np.log(-theta / shapes) - shapes - 1)
    weight = np.exp(likelihood - logsumexp(likelihood))
    best = weight @ theta
    shape = np.log1p(-best * values).mean()
    scale = -shape / best
    shape = (n * shape + _KNOWN * _SHAPE) / (n + _KNOWN)
    return float(shape), float(scale)
