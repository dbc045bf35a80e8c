r"""Models compared with pixels, for many sets of parameters at once.

Intensities y are compared with :math:`\mu = e (a f + \sum_k c_k t_k)`: the model f, by
a scale a that is not negative, and terms t of a background, for exposures e. Scale and
background are eliminated. Weights are given, or for counts the inverse of :math:`\mu`.
The correlation between logarithms is least squares too: with a scale and a constant
free, :math:`1 - r^2` is the sum of squared residuals over that of a constant.

Parameters are scaled: -1 and 1 are their bounds.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

from skphonon.fitting import (
    Expansion,
    Projection,
    distinct,
    judged,
    nonnegative_counts,
    of_residuals,
    one_sided,
    sandwich,
)

__all__ = ["Comparison", "Fitted", "Pixels", "choose_batch", "compare", "shortlist"]

AT_BOUND = 1e-9
ALIKE = 0.02  # of the half width of the bounds: parameters that are the same
_UNSEEN = 1e-12  # of the intensities: changes of a model that are rounding
_UNSEEN_IN_COUNTS = 1e-8  # of which amplitudes are found by other means
_STEP = 3e-3  # of half the width of the bounds, in second derivatives
_AT_ONCE = 16  # candidates
_REFINED = 3  # ends of searches, and as many candidates, are refined on all pixels
_SHORTLIST = 8  # candidates, of each start, are then judged by more pixels


class Pixels(NamedTuple):
    """Intensities at n pixels, and how they are compared."""

    loss: str
    coordinates: np.ndarray  # (n, n_coordinates)
    intensity: np.ndarray  # (n,), of correlations the logarithm
    weight: np.ndarray  # (n,), of squared residuals; of counts, how often they count
    exposure: np.ndarray  # (n,)
    terms: np.ndarray  # (n, n_terms), of the background

    def part(self, chosen):
        """Return some of the pixels."""
        return Pixels(self.loss, *(values[chosen] for values in self[1:]))

    def losses(self, cost):
        """Return what is minimised: 1 - r, or the cost a pixel."""
        if self.loss != "correlation":
            return cost / len(self.intensity)
        shared = 1 - cost / (self.alone or 1.0)
        return 1 - np.sign(shared) * np.sqrt(np.abs(shared))

    @property
    def alone(self):
        """Weighted squares that the background alone leaves."""
        root = np.sqrt(self.weight)
        background = Projection(self.terms * (self.exposure * root)[:, None])
        return np.square(background.rest((root * self.intensity)[:, None])).sum()


class Fitted(NamedTuple):
    """Details of the Expansion of R sets of parameters."""

    linear: np.ndarray  # (R, 1 + n_terms), scale and background
    residual: np.ndarray  # (R, n)
    weight: np.ndarray  # (R, n)
    slopes: np.ndarray  # (R, n, p), weighted, along which nothing is linear


def compare(pixels, spectra, derivatives):
    """Return the Expansion of models (R, n), their derivatives (R, n, p), p maybe 0."""
    f, slopes, y = spectra, derivatives, pixels.intensity
    if pixels.loss == "correlation":
        f = np.log1p(np.maximum(spectra, 0))
        slopes = ((spectra > 0) / np.exp(f))[..., None] * slopes
    terms = np.broadcast_to(pixels.terms, (*f.shape, pixels.terms.shape[1]))
    columns = np.concatenate([f[..., None], terms], axis=2) * pixels.exposure[:, None]
    if pixels.loss == "poisson":
        columns = columns.clip(0)
        linear, fitted = nonnegative_counts(columns, y, pixels.weight)
        weight = pixels.weight / fitted
        root = np.sqrt(weight)
        columns = columns * root[..., None] * (linear > 0)[:, None]
        projection = Projection(columns if slopes.size else columns[..., :0])
    else:
        weight = np.broadcast_to(pixels.weight, f.shape)
        root = np.sqrt(pixels.weight)
        projection = Projection(columns * root[:, None])
        linear = projection.amplitudes(root * y)
        fitted = (columns @ linear[..., None])[..., 0]
    residual = y - fitted
    if slopes.size:
        slopes = (linear[:, :1] * pixels.exposure * root)[..., None] * slopes
        slopes = projection.rest(slopes)
    found = of_residuals(-root * residual, slopes)
    cost = found.cost
    if pixels.loss == "poisson":
        cost = 2 * (pixels.weight * (xlogy(y, y / fitted) - residual)).sum(axis=1)
    elif pixels.loss == "correlation":
        alone = pixels.alone
        if not alone:
            cost = np.ones_like(cost)
        cost = np.where(linear[:, 0] < 0, 2 * alone - cost, cost)
    details = Fitted(linear, residual, weight, slopes)
    return found._replace(cost=cost, details=tuple(details))


class Comparison:
    """From scaled parameters (R, p) to the Expansion of a model beside pixels."""

    def __init__(self, model, box, unit, pixels):
        self.model, self.box, self.unit, self.pixels = model, box, unit, pixels

    def __call__(self, rows, which=None, derivatives=True):
        """Return the Expansion; the cost is infinite where the model is not finite."""
        parameters, at = self.from_unit(rows), self.pixels.coordinates
        if derivatives:
            slopes, spectra = self.model.jacobian_at(
                at, parameters, return_spectra=True
            )
            slopes = slopes * (np.diff(self.box, axis=0) / 2)
        else:
            spectra = self.model.simulate_at(at, parameters)
            slopes = np.empty((*spectra.shape, 0))
        bad = ~np.isfinite(spectra).all(axis=1)  # such as unstable ground states
        spectra = np.where(bad[:, None], 0.0, spectra)
        slopes = np.where(bad[:, None, None], 0.0, slopes)
        if not np.isfinite(slopes).all():  # which a search refuses
            slopes = np.where(np.isfinite(slopes), slopes, np.nan)
        if self.pixels.loss == "correlation":
            spectra, slopes = spectra / self.unit, slopes / self.unit
        found = compare(self.pixels, spectra, slopes)
        return found._replace(cost=np.where(bad, np.inf, found.cost))

    def on(self, pixels):
        """Return the same with other pixels."""
        return Comparison(self.model, self.box, self.unit, pixels)

    def costs(self, rows):
        """Return the cost of each row."""
        return judged(lambda part: self(part, None, False).cost, rows, _AT_ONCE)

    def best(self, rows):
        """Return those of the rows that differ and come closest."""
        rows = distinct(rows, ALIKE)
        return rows[self.costs(rows).argsort()[:_REFINED]]

    def curvature(self, end):
        """Return half the second derivatives of the cost, by differences, or None."""
        result = np.empty((len(end), len(end)))
        for row, step in zip(result, _STEP * np.eye(len(end)), strict=True):
            places = np.array([end + step, end - step]).clip(-1, 1)
            below, above = self(places).gradient
            row[:] = (above - below) / np.abs(places[0] - places[1]).sum()
        # beside an end there may be no derivatives
        return (result + result.T) / 2 if np.isfinite(result).all() else None

    def covariance(self, end, found: Expansion, variance, curvature=None):
        """Return the covariance of parameters at an end, one-sided at bounds.

        `found` is the Expansion of its one row, `variance` that of each intensity.
        """
        _, _, (weight,), (slopes,) = Fitted(*found.details)
        size = np.linalg.norm(np.sqrt(weight) * self.pixels.intensity)
        of_counts = self.pixels.loss == "poisson"
        rounding = size * (_UNSEEN_IN_COUNTS if of_counts else _UNSEEN)
        seen = np.linalg.norm(slopes, axis=0) > rounding
        scores = np.sqrt(weight * variance)[:, None] * slopes
        information = np.where(np.outer(seen, seen), found.information[0], 0.0)
        result = sandwich(information, scores.T @ scores, curvature)
        side = at_bound(end)
        if side.any():
            inverse = np.linalg.pinv(information, hermitian=True)
            shift = inverse @ (seen * found.gradient[0])
            result = one_sided(result, shift, side, np.full(len(end), 2.0))
        half = np.diff(self.box, axis=0)[0] / 2
        return result * np.outer(half, half)

    def from_unit(self, rows):
        """Return parameters of scaled ones."""
        low, high = self.box
        return (low + high) / 2 + rows * (high - low) / 2

    def to_unit(self, parameters):
        """Return scaled parameters, within the bounds."""
        low, high = self.box
        return ((2 * parameters - low - high) / (high - low)).clip(-1, 1)


def at_bound(end):
    """Return -1 for what is at its lower bound, 1 at the upper one, otherwise 0."""
    return np.sign(end).astype(int) * (np.abs(end) >= 1 - AT_BOUND)


def choose_batch(pixels, size, random_state):
    """Return some pixels, of counts as many without a count as with, if there are.

    Each then stands for as many of its kind as there are more. They are taken at
    regular distances: of neighbours on a grid, that tells sums much better than chance.
    """
    n_pixels = len(pixels.intensity)
    if n_pixels <= size:
        return pixels
    if pixels.loss != "poisson":
        return pixels.part(random_state.permutation(n_pixels)[:size])
    counted = np.flatnonzero(pixels.intensity > 0)
    empty = np.flatnonzero(pixels.intensity == 0)
    n_counted = min(len(counted), max(size // 2, 1))
    kinds = (counted, n_counted), (empty, min(len(empty), size - n_counted))
    kept = [_spread(all_, n, random_state) for all_, n in kinds]
    weight = [np.full(n, len(all_) / max(n, 1)) for all_, n in kinds]
    batch = pixels.part(np.concatenate(kept))
    return batch._replace(weight=np.concatenate(weight))


def _spread(numbers, n, random_state):
    """Return n of the numbers, at regular distances from a random beginning."""
    if not n:
        return numbers[:0]
    places = (np.arange(n) + random_state.uniform()) * (len(numbers) / n)
    return numbers[places.astype(int)]


def shortlist(comparison, n_candidates, random_state):
    """Return the best of some candidates, the very best first."""
    box = comparison.box
    rows = random_state.uniform(-1, 1, (n_candidates, box.shape[1]))
    costs = comparison.costs(rows)
    if not np.isfinite(costs).any():
        raise ValueError(
            "The model must be finite at all pixels for some parameters within the "
            f"bounds, {box.tolist()}; it was for none of {len(rows)} sets. Leave out "
            "pixels that it does not know, or change the bounds."
        )
    return rows[costs.argsort()[:_SHORTLIST]]
