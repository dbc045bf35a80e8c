"""Draws from the posterior of one row of spectra, weighed by their density."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skphonon.fitting.importance import BoxNormal, Mixture, normalised
from skphonon.inversion._corrected import about
from skphonon.inversion._fitting import expected_counts
from skphonon.inversion._goodness import is_misfit
from skphonon.inversion._posterior import Drawn
from skphonon.inversion._target import Prior, Target, adjusted
from skphonon.inversion._target_counts import CountsTarget
from skphonon.physics.stability import searching

__all__ = ["Drawing"]

Array = NDArray[np.float64]

_PILOT = 0.25  # of the draws, from which the proposal is adapted
_GOOD = 0.85  # efficiency of the pilot that needs no adaptation
_FARTHEST = 30.0  # standard deviations of a centre beyond a bound
_SAME = 0.5  # standard deviations between optima that are one
_TRIES = 50  # times as many draws, where most crystals are unstable
_FEW = 4  # draws that a coarse mesh is judged by
_PRECISE = 0.3  # standard deviation of its log likelihood beside that of a fine one
_FACTORS = (10.0, 3.0, 1.0, None, 0.01, 0.001)  # of tolerances, None that of the search
_WIDER = 1.3  # factor of the widths of an adapted proposal
_SPARE = 0.1  # share of the wider one


class Drawing:
    """Draws about the ends of the searches for one row.

    Parameters
    ----------
    search : RowSearch
    ends : list of OptimizeResult
        As of `best_ends`.
    problem, images, pixels
        Of the row, as of `RowSearch.problem`.
    errors : ndarray or None
    prior : Prior
    allowed : pair of float
        Log of the share of the prior that is allowed, and its error.
    rng : Generator
    """

    def __init__(
        self,
        search: Any,
        ends: list[Any],
        problem: Any,
        images: Any,
        pixels: Any,
        errors: Array | None,
        prior: Prior,
        allowed: tuple[float, float],
        rng: np.random.Generator,
    ) -> None:
        self.allowed = allowed
        self.search, self.ends, self.rng, self.prior = search, ends, rng, prior
        self.pixels, best = pixels, ends[0]
        self.counts = search.task.counts
        with searching():
            if self.counts:
                expected = expected_counts(best.problem, best.evaluation)
                self.sigma, self.beta = np.sqrt(expected), 1.0
            else:
                self.sigma, self.beta = _noise(
                    best, problem, images, errors, pixels, prior
                )
        self.problem = problem.reweighted(np.sqrt(self.beta) / self.sigma)
        # the power is of chi^2 alone: evidence keeps the unit of the pixels
        self.log_unit = -float(np.log(self.sigma * np.sqrt(2 * np.pi)).sum())
        if self.counts:
            self.log_unit = 0.0

    def __call__(self, n_draws: int) -> Drawn:
        """Return weighted draws."""
        with searching():
            best = self.ends[0]
            target = self._target(best.corrected)
            modes = _modes(
                [self._target(end.corrected) for end in self.ends],
                self.ends,
                self.search.task,
            )
            target, error = self._precise(target, modes)
            return _weighed(
                target, modes, n_draws, self.rng, self.sigma, self.beta, error
            )

    def _target(self, model: Any) -> Target:
        kind = CountsTarget if self.counts else Target
        return kind(
            self.problem.of(model.on(self.pixels)),
            model,
            self.pixels,
            self.prior,
            self.search.task.n_constants,
            self.log_unit,
            self.allowed,
        )

    def _precise(self, target: Target, modes: Any) -> tuple[Target, float]:
        """Return a target whose mesh is fine enough, and how far it errs.

        That is the standard deviation of its log likelihood beside that on the fine
        mesh, over a few draws.
        """
        best, (centre, covariance, _) = self.ends[0], modes[0]
        if best.fine is best.corrected:
            return target, 0.0
        rows = BoxNormal(centre, covariance, self.prior.bounds).sample(_FEW, self.rng)
        truth = self._target(best.fine).log_likelihood(rows)
        found: list[tuple[float, Target]] = []
        at = best.corrected
        for factor in _FACTORS:
            one = target
            if factor is not None:
                coarse = self.search.model.loosened(factor, at.x)
                if 2 * coarse.n_points > best.fine.n_points:
                    break
                one = self._target(about(at.x, coarse, best.fine, at.at_fine))
            error = float(np.std(one.log_likelihood(rows) - truth))
            found.append((error, one))
            if error <= _PRECISE:
                break
        if not found:
            return self._target(best.fine), 0.0
        error, target = min(found, key=lambda pair: pair[0])
        return target, error


def _noise(
    found: Any,
    problem: Any,
    images: Any,
    errors: Array | None,
    pixels: Any,
    prior: Prior,
) -> tuple[Array, float]:
    """Return the errors of pixels, and how much the likelihood counts."""
    evaluation, left = found.evaluation, found.residual
    if errors is not None:
        sigma = errors[pixels]
    else:
        sigma = np.ones(len(left))
        n_free = max(len(left) - len(found.x) - int(evaluation.n_fitted), 1)
        for part in problem.parts:
            if left[part].any():
                square = np.square(left[part]).mean() * len(left) / n_free
                sigma[part] = np.sqrt(square)
    before = np.zeros((len(found.x),) * 2)
    if prior.knowledge is not None:
        slopes = prior.knowledge.rows(found.x)[1]
        before += slopes.T @ slopes
    figures = {name: found[name] for name in ("reduced_chi2", "n_effective")}
    figures |= {
        "loss": evaluation.residual @ evaluation.residual,
        "noise_known": errors is not None,
    }
    # where the model is right, scatter of residuals is chance
    if found.problem.images is None or not is_misfit(figures):
        return sigma, 1.0
    return sigma, adjusted(found.problem, evaluation, images, sigma, before)


def _modes(
    targets: list[Target], ends: list[Any], task: Any
) -> list[tuple[Array, ...]]:
    """Return centre, covariance and optimum of each distinct mode."""
    modes: list[tuple[Array, ...]] = []
    for target, end in zip(targets, ends, strict=True):
        x, centre, information = target.polished(end.x, _scale(end, task))
        unit = 1 / np.sqrt(np.diag(information))
        inverse = np.linalg.inv(information * np.outer(unit, unit))
        covariance = inverse * np.outer(unit, unit)
        covariance = (covariance + covariance.T) / 2
        std = np.sqrt(np.diag(covariance))
        shift = (centre - x).clip(-_FARTHEST * std, _FARTHEST * std)
        if all((np.abs(x - other) > _SAME * std).any() for *_, other in modes):
            modes.append((x + shift, covariance, x))
    return modes


def _scale(found: Any, task: Any) -> Array:
    """Return standard deviations, or steps where there are none."""
    std = np.sqrt(np.diag(found.covariance))
    known = np.isfinite(std) & (std > 0)
    scale: Array = np.where(known, np.where(known, std, 1.0), task.steps)
    return scale


def _weighed(
    target: Target,
    modes: list[tuple[Array, ...]],
    n_draws: int,
    rng: np.random.Generator,
    sigma: Array,
    beta: float,
    mesh_error: float,
) -> Drawn:
    prior = target.prior
    parts = [BoxNormal(centre, each, prior.bounds) for centre, each, _ in modes]
    optima = np.array([x for *_, x in modes])
    heights = target.log_likelihood(optima) + prior.log_density(optima)
    # of a normal distribution: its height over its density at the optimum
    masses = heights - [
        part.log_density(x[None])[0] for part, x in zip(parts, optima, strict=True)
    ]
    shares = np.exp(masses - logsumexp(masses))
    if not np.isfinite(shares).all():
        shares = np.full(len(parts), 1 / len(parts))
    shares = (shares + 0.02) / (1 + 0.02 * len(shares)) if len(shares) > 1 else shares
    mixture = Mixture(shares / shares.sum(), parts)
    n_pilot = max(int(_PILOT * n_draws), 1)
    stages = [_Stage.of(target, mixture, n_pilot, rng)]
    pilot = normalised(stages[0].log_posterior - mixture.log_density(stages[0].rows))
    if pilot.n_effective < _GOOD * n_pilot:
        mixture = _spread(
            mixture.adapted(stages[0].rows, pilot.weights, prior.bounds), prior.bounds
        )
    stages.append(_Stage.of(target, mixture, n_draws - n_pilot, rng))
    return _together(stages, target, modes, sigma, beta, mesh_error)


def _spread(mixture: Mixture, bounds: Array) -> Mixture:
    """Return a mixture with a wider part beside each of its own."""
    wider = [
        BoxNormal(part.mean, _WIDER**2 * part.covariance, bounds)
        for part in mixture.parts
    ]
    shares = np.concatenate([(1 - _SPARE) * mixture.shares, _SPARE * mixture.shares])
    return Mixture(shares, [*mixture.parts, *wider])


class _Stage:
    """Draws from one mixture, those of unstable crystals left out."""

    def __init__(self, mixture, rows, number, log_prior, log_likelihood):
        self.mixture, self.rows, self.number = mixture, rows, number
        self.log_prior, self.log_likelihood = log_prior, log_likelihood

    @property
    def log_posterior(self):
        return self.log_prior + self.log_likelihood

    @classmethod
    def of(cls, target, mixture, number, rng):
        """Draw, and simulate what has a prior density.

        As many stable crystals as are asked for; those that are not cost nothing and
        count in the mean of the weights.
        """
        kept, tried = np.zeros((0, len(mixture.parts[0].mean))), 0
        for _ in range(_TRIES):
            rows = mixture.sample(number, rng)
            stable = target.prior.stable(rows, target.n_constants)
            wanted = number - len(kept)
            places = np.flatnonzero(stable)
            if len(places) >= wanted:
                # up to the last that is needed
                last = places[wanted - 1] + 1 if wanted else 0
                kept = np.vstack([kept, rows[places[:wanted]]])
                tried += last
                break
            kept, tried = np.vstack([kept, rows[stable]]), tried + number
        log_prior = target.prior.log_density(kept)
        likelihood = target.log_likelihood(kept)
        return cls(mixture, kept, tried, log_prior, likelihood)


def _together(stages, target, modes, sigma, beta, mesh_error):
    """Return the draws of all stages, weighed by the density of all together."""
    rows = np.vstack([stage.rows for stage in stages])
    tried = np.array([stage.number for stage in stages], dtype=float)
    densities = [
        np.log(stage.number) + stage.mixture.log_density(rows) for stage in stages
    ]
    log_proposal = logsumexp(densities, axis=0) - np.log(tried.sum())
    log_prior = np.concatenate([stage.log_prior for stage in stages])
    log_likelihood = np.concatenate([stage.log_likelihood for stage in stages])
    weights = normalised(log_prior + log_likelihood - log_proposal)
    # those of unstable crystals have the weight zero
    refused = np.log(len(rows) / tried.sum())
    allowed, allowed_std = target.allowed
    return Drawn(
        rows=rows,
        weights=weights.weights,
        log_likelihood=log_likelihood,
        log_prior=log_prior - allowed,
        log_proposal=log_proposal,
        log_evidence=weights.log_mean + refused - allowed,
        log_evidence_std=float(np.hypot(weights.log_mean_std, allowed_std)),
        n_effective=weights.n_effective,
        shape=weights.shape,
        beta=beta,
        mesh_error=mesh_error,
        sigma=sigma,
        modes=np.array([x for *_, x in modes]),
        mode_shares=_shares_of(rows, weights.weights, modes),
        spectra=target.spectra,
        counts=isinstance(target, CountsTarget),
    )


def _shares_of(rows, weights, modes):
    """Return the weight of draws that are nearest to each mode."""
    distances = []
    for centre, covariance, _ in modes:
        std = np.sqrt(np.diag(covariance))
        distances.append(np.square((rows - centre) / std).sum(axis=1))
    nearest = np.argmin(distances, axis=0)
    return np.array([weights[nearest == i].sum() for i in range(len(modes))])
