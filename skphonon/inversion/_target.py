r"""The posterior density of what is not linear, of one row of spectra.

Amplitudes of contributions and of the background are integrated out: of residuals that
are normal they leave

.. math:: \ln L = -\tfrac12 \chi^2_{\min} - \tfrac12 \ln\det A^T A - \sum_k \ln w_k,

with the columns A in units of errors and the widths w of their flat priors: as in
:mod:`skphonon.inversion._evidence`, up to what would make a column as large as the
contrast of its spectrum, on both sides of zero for a term of the background.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr
from scipy.stats import multivariate_normal

from skphonon.fitting import descend, of_residuals
from skphonon.inversion._errors import scatter_of

__all__ = ["Prior", "Target", "adjusted"]

Array = NDArray[np.float64]

_AT_ONCE = 2**22  # numbers of simulations that are held together
_SHORT = 0.01  # standard deviations: the last step of a search
_LEAST = 1e-8  # of the largest: information that is rounding
_STEPS = 30
_SURE = 6.0  # standard deviations above zero that are sure
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
        rows = self.sample(_DRAWN, rng)
        inside = self.inside(rows)
        inside[inside] = self.stable(rows[inside], n_constants)
        share = max(inside.mean(), 1 / len(rows))
        return float(np.log(share)), float(np.sqrt((1 - share) / share / len(rows)))

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
    """

    def __init__(
        self,
        problem: Any,
        model: Any,
        pixels: NDArray[np.bool_],
        prior: Prior,
        n_constants: int,
        log_unit: float = 0.0,
    ) -> None:
        self.problem, self.model, self.pixels = problem, model, pixels
        self.prior, self.n_constants, self.log_unit = prior, n_constants, log_unit
        self.allowed = 0.0, 0.0  # log of the share of the prior that is, and its error

    def polished(self, start: Array, scale: Array) -> tuple[Array, Array, Array]:
        """Return the optimum, where it would be without bounds, and the information.

        Searched to a hundredth of a standard deviation, which is `scale` at first.
        """
        knowledge = self.prior.knowledge
        flat = np.zeros(len(start))
        width = np.diff(self.prior.bounds, axis=0)[0]
        flat[np.isfinite(width)] = (1 / width[np.isfinite(width)]) ** 2

        def objective(rows: Array, which: Any) -> Any:
            residual, slopes = self.derivatives(rows[0])
            found = of_residuals(residual[None], slopes[None])
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

    def log_likelihood(self, rows: Array) -> Array:
        """Return the log likelihood (n,) at rows (n, m)."""
        n_numbers = len(self.problem.spectra) * len(self.model.sources)
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
        contrast = np.sqrt(problem._contrast(part))
        total = -np.square(left).sum(axis=1) / 2
        terms = problem.backgrounds[i] * weight[:, None]
        sizes = np.linalg.norm(terms, axis=0)
        if len(sizes):
            own = np.abs(np.diag(np.linalg.qr(terms / sizes)[1]))
            own = own[own > _LEAST]
            # width of each: twice the contrast over its size
            total = total + len(own) * np.log(np.sqrt(2 * np.pi) / (2 * contrast))
            total -= np.log(own).sum()
        k = given.shape[2]
        if not k:
            return total
        # in units in which each contribution has the length one
        lengths = np.sqrt(np.square(given).sum(axis=1))
        told = lengths > 0
        columns = background.rest(given / np.where(told, lengths, 1.0)[:, None])
        gram = np.swapaxes(columns, 1, 2) @ columns + _LEAST**2 * np.eye(k)
        along = (np.swapaxes(columns, 1, 2) @ left[..., None])[..., 0]
        best = np.linalg.solve(gram, along[..., None])[..., 0]
        total = total + (along * best).sum(axis=1) / 2
        total += k * np.log(np.sqrt(2 * np.pi) / contrast)
        total -= np.linalg.slogdet(gram)[1] / 2
        found: Array = total + _log_positive(best, np.linalg.inv(gram))
        found[~told.all(axis=1)] = -np.inf
        return found


def _log_positive(mean: Array, covariance: Array) -> Array:
    """Return the log probability that normal values (n, k) are all positive."""
    std = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    found: Array = log_ndtr(mean / std).sum(axis=1)
    near = (mean / std).min(axis=1) < _SURE
    if mean.shape[1] > 1:
        for row in np.flatnonzero(near):
            scaled = covariance[row] / np.outer(std[row], std[row])
            share = multivariate_normal.cdf(
                mean[row] / std[row], cov=scaled, allow_singular=True
            )
            if share > 0:  # far below zero it is rounding, and the product stays
                found[row] = np.log(share)
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
