r"""The posterior density of what is not linear, of one row of spectra.

Amplitudes of contributions and of the background are integrated out: of residuals that
are normal they leave

.. math:: \ln L = -\tfrac12 \chi^2_{\min} - \tfrac12 \ln\det A^T A - \sum_k \ln w_k,

with the columns A in units of errors and the widths w of their flat priors, those of
:mod:`skphonon.inversion._evidence`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr
from scipy.stats import multivariate_normal

from skphonon.fitting import Expansion, descend, of_residuals
from skphonon.fitting.importance import BoxNormal
from skphonon.inversion._errors import scatter_of
from skphonon.inversion._evidence import widths_of

__all__ = ["Prior", "Target", "adjusted", "log_positive"]

Array = NDArray[np.float64]

_AT_ONCE = 2**22  # numbers of simulations that are held together
_SHORT = 0.01  # standard deviations: the last step of a search
_LEAST = 1e-8  # of the largest: information that is rounding
_STEPS = 30
_SURE = 6.0  # standard deviations above zero that are sure
_FAR = -7.0  # log of a probability below which integrals by points are rounding
_BOTH = np.array([[-1.0], [1.0]])  # sides of a bound
_DRAWN = 5000  # of the prior, for the share that is allowed


class Prior(NamedTuple):
    """What is known before: bounds of all, and of the constants perhaps more."""

    bounds: Array  # (2, m)
    moments: tuple[Array, Array] | None  # of the first constants
    knowledge: Any  # Knowledge with what is known of constants, or None
    is_stable: Any  # from constants (n, p) to booleans, or None

    @property
    def n_constants(self) -> int:
        """How many constants the normal distribution is of."""
        return 0 if self.moments is None else len(self.moments[0])

    def log_density(self, rows: Array) -> Array:
        """Return the logarithm at rows (n, m), minus infinity outside.

        It is normalised, but for what bounds and stability cut off a normal
        distribution (see `log_allowed`).
        """
        low, high = self.bounds
        flat = self._is_flat()
        density = np.full(len(rows), -np.log((high - low)[flat]).sum())
        if self.moments is not None:
            mean, covariance = self.moments
            p = len(mean)
            root = np.linalg.cholesky(covariance)
            off = np.linalg.solve(root, (rows[:, :p] - mean).T)
            density -= np.square(off).sum(axis=0) / 2
            density -= np.log(np.diag(root)).sum() + p * np.log(2 * np.pi) / 2
        density += self.log_observed(rows)
        density[~self.inside(rows)] = -np.inf
        return density

    def inside(self, rows: Array) -> NDArray[np.bool_]:
        """Tell which rows are between the bounds."""
        low, high = self.bounds
        inside: NDArray[np.bool_] = ((rows >= low) & (rows <= high)).all(axis=1)
        return inside

    def log_observed(self, rows: Array) -> Array:
        """Return the log likelihood of what was measured elsewhere, but a constant."""
        found = np.zeros(len(rows))
        if self.knowledge is None:
            return found
        pieces = [each for each in self.knowledge.pieces if hasattr(each, "__self__")]
        n = self.knowledge.n_known
        for piece in pieces:
            found -= [np.square(piece(row[:n])[0]).sum() / 2 for row in rows]
        return found

    def stable(self, rows: Array, n_constants: int) -> NDArray[np.bool_]:
        """Tell which rows describe a stable crystal."""
        if self.is_stable is None or not len(rows):
            return np.ones(len(rows), dtype=bool)
        return np.asarray(self.is_stable(rows[:, :n_constants]), dtype=bool)

    def sample(self, number: int, rng: np.random.Generator) -> Array:
        """Return draws (number, m), those of unstable crystals too."""
        low, high = self.bounds
        flat = self._is_flat()
        rows = np.empty((number, len(low)))
        rows[:, flat] = rng.uniform(low[flat], high[flat], (number, flat.sum()))
        if self.moments is not None:
            mean, covariance = self.moments
            rows[:, ~flat] = rng.multivariate_normal(mean, covariance, number)
        return rows

    def log_allowed(
        self, n_constants: int, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Return the log of the share of the prior inside bounds and stable.

        And its Monte-Carlo error.
        """
        rows, log_weights = self._between(_DRAWN, rng)
        weights = np.exp(log_weights) * self.stable(rows, n_constants)
        share, error = weights.mean(), weights.std() / np.sqrt(len(rows))
        if not share > 0:
            return -float(np.log(len(rows))), np.inf
        return float(np.log(share)), float(error / share)

    def _between(self, number: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return draws between the bounds, and logs of the prior over their density."""
        rows = np.empty((number, self.bounds.shape[1]))
        flat, log_weights = self._is_flat(), np.zeros(number)
        low, high = self.bounds[:, flat]
        rows[:, flat] = rng.uniform(low, high, (number, len(low)))
        if self.moments is not None:
            own = BoxNormal(*self.moments, self.bounds[:, ~flat])
            rows[:, ~flat] = own.sample(number, rng)
            free = BoxNormal(*self.moments, np.full_like(own.bounds, np.inf) * _BOTH)
            log_weights = free.log_density(rows[:, ~flat])
            log_weights -= own.log_density(rows[:, ~flat])
        return rows, log_weights

    def spans(self) -> Array:
        """Return bounds (2, m), of a normal distribution a standard deviation each."""
        found = self.bounds.copy()
        if self.moments is not None:
            mean, covariance = self.moments
            std = np.sqrt(np.diag(covariance))
            found[:, : len(mean)] = mean - std, mean + std
        return found

    def _is_flat(self) -> NDArray[np.bool_]:
        flat = np.ones(self.bounds.shape[1], dtype=bool)
        flat[: self.n_constants] = False
        return flat


class Target:
    """Posterior density of constants and nuisances of one row of spectra.

    Parameters
    ----------
    problem : Problem
        Whose weights are one over errors, times the root of `beta`.
    model : Model
        What the draws are simulated with.
    pixels : ndarray of bool
        Those compared.
    prior : Prior
    n_constants : int
    log_unit : float, default=0.0
        What is added to the log likelihood.
    allowed : pair of float, default=(0.0, 0.0)
        Log of the share of the prior that is allowed, and its error.
    """

    def __init__(
        self,
        problem: Any,
        model: Any,
        pixels: NDArray[np.bool_],
        prior: Prior,
        n_constants: int,
        log_unit: float = 0.0,
        allowed: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.problem, self.model, self.pixels = problem, model, pixels
        self.prior, self.n_constants, self.log_unit = prior, n_constants, log_unit
        self.allowed = allowed

    def polished(self, start: Array, scale: Array) -> tuple[Array, Array, Array]:
        """Return the optimum, where it would be without bounds, and the information.

        Searched to a hundredth of a standard deviation, which is `scale` at first.
        """
        knowledge = self.prior.knowledge
        flat = np.zeros(len(start))
        width = np.diff(self.prior.bounds, axis=0)[0]
        flat[np.isfinite(width)] = (1 / width[np.isfinite(width)]) ** 2

        def objective(rows: Array, which: Any) -> Expansion:
            found = self._expansion(rows[0])
            return found if knowledge is None else knowledge.added(found, rows, 1.0)

        end = descend(
            objective,
            start[None],
            self.prior.bounds,
            scale=scale,
            step_tolerance=_SHORT,
            longest=3.0,
            max_steps=_STEPS,
        )
        information = end.found.information[0] + np.diag(flat)
        unit = 1 / np.sqrt(np.diag(information))
        scaled = information * np.outer(unit, unit)
        # the gradient of an expansion points downhill
        step = unit * np.linalg.solve(scaled, unit * end.found.gradient[0])
        return end.parameters[0], end.parameters[0] + step, information

    def derivatives(self, row: Array) -> tuple[Array, Array]:
        """Return residuals (n,) and their derivatives (n, m), in standard deviations.

        With the best amplitudes.
        """
        evaluation, unit = self.problem(row), self.problem.unit
        return unit * evaluation.residual, unit * evaluation.derivative

    def _expansion(self, x: Array) -> Expansion:
        """Return minus twice the log likelihood at best amplitudes, about x."""
        residual, slopes = self.derivatives(x)
        return of_residuals(residual[None], slopes[None])

    def heights(self, rows: Array) -> Array:
        """Return logs of the density (n,) at rows, of unstable crystals too."""
        found: Array = self.prior.log_density(rows) + self.log_likelihood(rows)
        return found

    def log_posterior(self, x: Array) -> tuple[float, Array]:
        """Return the log of the density at x (m,), not normalised, and its gradient.

        The gradient leaves out how the volume of the amplitudes changes, which is
        little; chains are of the density all the same.
        """
        row, nothing = x[None], np.zeros_like(x)
        density = self.prior.log_density(row)
        if (
            not np.isfinite(density[0])
            or not self.prior.stable(row, self.n_constants).all()
        ):
            return -np.inf, nothing
        density = density + self.log_likelihood(row)
        if not np.isfinite(density[0]):
            return -np.inf, nothing
        found, knowledge = self._expansion(x), self.prior.knowledge
        if knowledge is not None:
            found = knowledge.added(found, row, 1.0)
        # the gradient of an expansion points downhill
        return float(density[0]), found.gradient[0]

    def log_likelihood(self, rows: Array) -> Array:
        """Return the log likelihood (n,) at rows (n, m)."""
        n_columns = len(self.model.sources) + self.problem.backgrounds[0].shape[1]
        n_numbers = len(self.problem.spectra) * n_columns
        size = max(_AT_ONCE // max(n_numbers, 1), 1)
        places = range(0, len(rows), size)
        found = [self._some(rows[n : n + size]) for n in places]
        return np.concatenate([np.zeros(0), *found])

    def spectra(self, rows: Array) -> Array:
        """Return spectra (n, n_pixels compared) of rows with their best amplitudes."""
        problem, n = self.problem, len(self.model.sources)
        shown = self.model.simulate(rows)[..., self.pixels]
        found = np.empty((len(rows), shown.shape[2]))
        evaluation = problem.compare(shown, np.empty((*shown.shape, 0)))
        weights = np.nan_to_num(evaluation.weights)
        for i, part in enumerate(problem.parts):
            own = weights[:, i]
            found[:, part] = np.einsum("rk,rkp->rp", own[:, :n], shown[..., part])
            found[:, part] += own[:, n:] @ problem.backgrounds[i].T
        return found

    def _some(self, rows: Array) -> Array:
        if not len(rows):
            return np.zeros(0)
        problem = self.problem
        spectra = self.model.simulate(rows)[..., self.pixels]
        found = np.full(len(rows), self.log_unit)
        for i, part in enumerate(problem.parts):
            if part.stop > part.start:
                found += self._of_part(i, part, spectra[..., part])
        found[~np.isfinite(found)] = -np.inf
        return found

    def _of_part(self, i: int, part: slice, spectra: Array) -> Array:
        """Return the log of the integral over amplitudes, over that of their prior.

        Of exp(-chi^2 / 2), over amplitudes of contributions that are not negative.
        """
        problem, weight = self.problem, self.problem.weight[part]
        target = (problem.spectra[part] * weight)[None]
        given = np.swapaxes(spectra, 1, 2) * weight[:, None]
        if not problem.free_scale:
            target, given = target - given[..., 0], given[..., 1:]
        background = problem._projected()[i]
        left = background.rest(np.atleast_2d(target)[..., None])[..., 0]
        left = np.broadcast_to(left, (len(spectra), left.shape[1]))
        total = -np.square(left).sum(axis=1) / 2
        terms, log_volume = self._background(i, part)
        total = total + terms.shape[1] * np.log(2 * np.pi) / 2 - log_volume
        k = given.shape[2]
        if not k:
            return total
        # in units in which each contribution has the length one
        lengths = np.sqrt(np.square(given).sum(axis=1))
        told = lengths > 0
        columns = background.rest(given / np.where(told, lengths, 1.0)[:, None])
        widths = self._widths(part, np.zeros(k, dtype=bool))
        gram = np.swapaxes(columns, 1, 2) @ columns
        values, vectors = np.linalg.eigh(gram)
        # what the data do not tell costs nothing
        kept = np.maximum(values, 2 * np.pi / widths.max(initial=0.0) ** 2)
        along = (np.swapaxes(columns, 1, 2) @ left[..., None])[..., 0]
        along = (np.swapaxes(vectors, 1, 2) @ along[..., None])[..., 0]
        best = along / kept
        total = total + ((2 * along - values * best) * best).sum(axis=1) / 2
        total += k * np.log(2 * np.pi) / 2 - np.log(kept).sum(axis=1) / 2
        total -= np.log(widths).sum()
        mean = (vectors @ best[..., None])[..., 0]
        covariance = (vectors / kept[:, None]) @ np.swapaxes(vectors, 1, 2)
        found: Array = total + log_positive(mean, covariance)
        found[~told.all(axis=1)] = -np.inf
        return found

    def _widths(self, part: slice, signed: NDArray[np.bool_]) -> Array:
        """Return widths of priors of amplitudes of columns that have the length one."""
        contrast = np.sqrt(self.problem._contrast(part))
        return widths_of(contrast, np.ones(len(signed)), signed)

    def _background(self, i: int, part: slice) -> tuple[Array, float]:
        """Return the background in orthogonal columns, in units of errors.

        They are of length one; and the log of the volume that their amplitudes have.
        """
        terms = self.problem.backgrounds[i] * self.problem.weight[part, None]
        sizes = np.linalg.norm(terms, axis=0)
        basis, turn = np.linalg.qr(terms / np.where(sizes > 0, sizes, 1.0))
        own = np.abs(np.diag(turn))
        told = own > _LEAST
        widths = self._widths(part, np.ones(told.sum(), dtype=bool))
        size = np.maximum(own[told], np.sqrt(2 * np.pi) / widths)
        return basis[:, told], float(np.log(widths * size).sum())


def log_positive(mean: Array, covariance: Array) -> Array:
    """Return the log probability that normal values (n, k) are all positive."""
    std = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    scaled, alike = mean / std, covariance / (std[:, :, None] * std[:, None])
    found: Array = log_ndtr(scaled).sum(axis=1)
    if mean.shape[1] == 1:
        return found
    near = np.flatnonzero(scaled.min(axis=1) < _SURE)
    found[near] = _in_turn(scaled[near], alike[near])
    for row in near:
        if found[row] > _FAR:
            share = multivariate_normal.cdf(
                scaled[row], cov=alike[row], allow_singular=True
            )
            found[row] = np.log(share) if share > 0 else found[row]
    return found


def _in_turn(mean: Array, covariance: Array) -> Array:
    """Return the log probability that normal values are positive, far out as well.

    One after the other, the most negative first: those left are taken for normal, with
    the moments that they have given that it is positive (N. R. Mendell and R. C.
    Elston, Biometrics 30, 41 (1974)).
    """
    mean, covariance = mean.copy(), covariance.copy()
    found, rows = np.zeros(len(mean)), np.arange(len(mean))
    left = np.ones(mean.shape, dtype=bool)
    for _ in range(mean.shape[1]):
        variance = np.diagonal(covariance, axis1=1, axis2=2).clip(_LEAST**2)
        z = mean / np.sqrt(variance)
        first = np.where(left, z, np.inf).argmin(axis=1)
        left[rows, first] = False
        z, std = z[rows, first], np.sqrt(variance[rows, first])
        log_share = log_ndtr(z)
        found += log_share
        shift = np.exp(-(z**2) / 2 - np.log(2 * np.pi) / 2 - log_share)
        slope = covariance[rows, first] / std[:, None]
        mean += slope * shift[:, None]
        narrower = shift * (shift + z)
        covariance -= narrower[:, None, None] * slope[:, :, None] * slope[:, None]
    return found


def adjusted(
    problem: Any, evaluation: Any, images: Any, errors: Array, before: Array
) -> float:
    r"""Return by how much a likelihood must count for its bars to hold.

    With the information H and the scatter M of its gradient that residuals have, which
    are alike in neighbouring pixels, posterior variances are too small by
    :math:`\mathrm{tr}(H^{-1} M) / p`: the likelihood is raised to the inverse power
    (L. Pauli, W. Racugno and L. Ventura, Statistica Sinica 21, 149 (2011)).
    """
    scale = problem.unit / problem.weight / errors
    residual = evaluation.residual * scale
    derivative = evaluation.derivative * scale[:, None]
    information = derivative.T @ derivative
    pieces = list(zip(problem.parts, images, strict=True))
    scatter = scatter_of(derivative, residual, pieces)
    whole = information + before
    unit = np.sqrt(np.diag(whole).clip(np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(whole / np.outer(unit, unit))
    kept = values > _LEAST * values.max()
    vectors = vectors[:, kept] / np.sqrt(values[kept]) / unit[:, None]
    expected = np.trace(vectors.T @ information @ vectors)
    found = np.trace(vectors.T @ scatter @ vectors)
    if not found > 0:
        return 1.0
    return float(min(expected / found, 1.0))
