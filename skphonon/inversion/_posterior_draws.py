"""Draws from the posterior of one row of spectra, weighed by their density."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skphonon.fitting.bent import BentNormal, curvature
from skphonon.fitting.importance import BoxNormal, Mixture, normalised
from skphonon.inversion._corrected import Nearest, about, nearest_of
from skphonon.inversion._fitting import expected_counts
from skphonon.inversion._goodness import is_misfit
from skphonon.inversion._posterior import Drawn
from skphonon.inversion._posterior_chains import chained
from skphonon.inversion._target import Prior, Target, adjusted
from skphonon.inversion._target_counts import CountsTarget
from skphonon.physics.stability import searching

__all__ = ["Drawing"]

Array = NDArray[np.float64]

_FIRST = 0.1  # of the draws, that tell whether to bend the proposal
_PILOTS = 2  # stages with proposals of both kinds
_PILOT = 0.15  # of the draws, from each of which it is adapted
_GOOD = 0.85  # efficiency of a pilot that is good enough
_FARTHEST = 30.0  # standard deviations of a centre beyond a bound
_SAME = 0.5  # standard deviations between optima that are one
_TRIES = 50  # times as many draws, where most crystals are unstable
_FEW = 4  # draws that a coarse mesh is judged by
_PRECISE = 0.3  # standard deviation of its log likelihood beside that of a fine one
_FACTORS = (10.0, 3.0, 1.0, 0.3, None, 0.01, 0.001)  # of tolerances; None: of searches
_CHEAP = 8000  # points of a mesh that needs no coarser one in its place
_CENTRED = 1.0  # standard deviations of an optimum from where its mesh was corrected
_ROUNDS = 4  # of corrections about new optima
_BEFORE_CHAINS = 0.3  # of their draws are weighted ones before
_UNLIKELY = 25.0  # of log evidence that a mode lacks to have no draws
_FEWER = 5.0  # of log evidence that a mode lacks to count little
_ALONG = np.linspace(0.1, 0.9, 9)  # of the way from one mode to another
_VALLEY = 1.0  # of the log posterior below both, that tells two answers
_SPARE = 0.2  # share of proposals that are wider than adapted ones


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

    def __call__(self, n_draws: int, sampler: str, progress: bool) -> Drawn:
        """Return weighted draws, or those of chains."""
        with searching():
            modes: list[_Mode] = []
            for end in self.ends:
                mode = self._mode(end)
                if all(mode.is_apart(other) for other in modes):
                    modes.append(mode)
            modes = _likely(modes)
            model = modes[0].target.model
            if len(modes) > 1:
                model = Nearest(
                    [mode.target.model for mode in modes],
                    [mode.x for mode in modes],
                    [mode.information for mode in modes],
                )
            target = self._target(model)
            number = n_draws
            if sampler == "nuts":
                number = max(int(_BEFORE_CHAINS * n_draws), 1)
            stages = _stages(target, modes, number, self.rng)
            drawn = _together(stages, target, modes)._replace(
                sigma=self.sigma,
                beta=self.beta,
                mesh_error=max(mode.mesh_error for mode in modes) + self._offset(modes),
            )
            if sampler == "nuts":
                proposal = partial(_log_proposal, stages)
                drawn = chained(drawn, proposal, modes, n_draws, self.rng, progress)
            answers = _answers(target, modes)
            shares = np.zeros(len(modes))
            np.add.at(shares, answers, drawn.mode_shares)
            kept = np.unique(answers)
            return drawn._replace(modes=drawn.modes[kept], mode_shares=shares[kept])

    def _offset(self, modes: list["_Mode"]) -> float:
        """Return how far the mesh errs of the log likelihood between modes."""
        if len(modes) == 1:
            return 0.0
        found, masses = [], [mode.log_mass for mode in modes]
        for mode, mass in zip(modes, masses, strict=True):
            finer = None if mode.fine is None else mode.fine.refined()
            if finer is None or mass < max(masses) - _FEWER:
                continue
            x = mode.x[None]
            change = self._target(finer).log_likelihood(x)
            found.append(float((change - mode.target.log_likelihood(x))[0]))
        return float(np.ptp(found)) if found else 0.0

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

    def _mode(self, end: Any) -> "_Mode":
        """Return the mode that a search ended at, on a mesh that is fine enough."""
        target = self._target(end.corrected)
        mode = _Mode.polished(target, end.x, _scale(end, self.search.task))
        if end.fine is end.corrected:
            # a mesh that was given is not judged
            return mode._replace(mesh_error=np.nan if end.fine.n_points else 0.0)
        mode = self._centred(mode, end.fine)
        target, error = self._precise(mode, end.fine)
        if target is not mode.target:
            mode = _Mode.polished(target, mode.x, mode.std)
            if target.model is not end.fine:
                mode = self._centred(mode, end.fine)
        return mode._replace(mesh_error=error, fine=end.fine)

    def _centred(self, mode: "_Mode", fine: Any) -> "_Mode":
        """Return a mode whose model is corrected about its optimum."""
        for _ in range(_ROUNDS):
            model = mode.target.model
            if mode.distance(model.x) <= _CENTRED:
                break
            target = self._target(about(mode.x, model.coarse, fine))
            mode = _Mode.polished(target, mode.x, mode.std)
        return mode

    def _precise(self, mode: "_Mode", fine: Any) -> tuple[Target, float]:
        """Return a target whose mesh is fine enough, and how far it errs.

        That is the standard deviation of its log likelihood beside that on the fine
        mesh, over a few draws.
        """
        at = mode.target.model
        rows = mode.proposal(self.prior.bounds).sample(_FEW, self.rng)
        truth = self._target(fine).log_likelihood(rows)
        found: list[tuple[float, Target]] = []
        for factor in _FACTORS:
            one = mode.target
            if factor is not None:
                coarse = self.search.model.loosened(factor, at.x)
                if 2 * coarse.n_points > fine.n_points:
                    break
                one = self._target(about(at.x, coarse, fine, at.at_fine))
            error = float(np.std(one.log_likelihood(rows) - truth))
            found.append((error, one))
            if error <= _PRECISE:
                return one, error
        error, target = min(found, key=lambda pair: pair[0], default=(np.inf, None))
        if fine.n_points <= _CHEAP or target is None:
            return self._target(fine), 0.0
        return target, error


def _likely(modes: list["_Mode"]) -> list["_Mode"]:
    """Return the modes whose normal distributions have any share."""
    masses = np.array([mode.log_mass for mode in modes])
    if not np.isfinite(masses).any():
        return modes
    return [
        mode
        for mode, mass in zip(modes, masses, strict=True)
        if mass >= masses.max() - _UNLIKELY
    ]


def _answers(target: Target, modes: list["_Mode"]) -> NDArray[np.int_]:
    """Return which mode each belongs to: those without a valley between are one.

    That is the highest of them.
    """
    places = np.array([mode.x for mode in modes])
    heights = target.heights(places)
    answers = np.arange(len(modes))
    for i in np.argsort(-heights):
        for k in np.flatnonzero(answers == np.arange(len(modes))):
            if k == i or heights[k] < heights[i]:
                continue
            path = places[k] + _ALONG[:, None] * (places[i] - places[k])
            if target.heights(path).min() > heights[i] - _VALLEY:
                answers[answers == i] = k
                break
    return answers


class _Mode(NamedTuple):
    """An optimum of a target, and the normal distribution about it."""

    target: Target
    x: Array  # (m,)
    centre: Array  # (m,), where it would be without bounds
    information: Array  # (m, m)
    mesh_error: float = 0.0  # of the log likelihood
    fine: Any = None  # the model that its own was corrected by, if any

    @classmethod
    def polished(cls, target: Target, start: Array, scale: Array) -> "_Mode":
        """Return the optimum near a start."""
        x, centre, information = target.polished(start, scale)
        mode = cls(target, x, centre, information)
        far = _FARTHEST * mode.std
        return mode._replace(centre=x + (centre - x).clip(-far, far))

    @property
    def covariance(self) -> Array:
        """Inverse of the information."""
        unit = 1 / np.sqrt(np.diag(self.information))
        inverse = np.linalg.inv(self.information * np.outer(unit, unit))
        covariance = inverse * np.outer(unit, unit)
        both: Array = (covariance + covariance.T) / 2
        return both

    @property
    def std(self) -> Array:
        """Standard deviations."""
        deviations: Array = np.sqrt(np.diag(self.covariance))
        return deviations

    def proposal(self, bounds: Array) -> BoxNormal:
        """Return the normal distribution, between bounds."""
        return BoxNormal(self.centre, self.covariance, bounds)

    @property
    def log_mass(self) -> float:
        """Log of the integral that the normal distribution tells.

        That is the height of the target over the density, at the optimum.
        """
        proposal = self.proposal(self.target.prior.bounds)
        return float(self.height - proposal.log_density(self.x[None])[0])

    @property
    def height(self) -> float:
        """Log of the target at the optimum, which may be of an unstable crystal."""
        return float(self.target.heights(self.x[None])[0])

    def distance(self, place: Array) -> float:
        """Return how far a place is, in standard deviations."""
        off = place - self.x
        return float(np.sqrt(off @ self.information @ off))

    def is_apart(self, other: "_Mode") -> bool:
        """Tell whether it is another mode."""
        return bool((np.abs(self.x - other.x) > _SAME * self.std).any())


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


def _scale(found: Any, task: Any) -> Array:
    """Return standard deviations, or steps where there are none."""
    std = np.sqrt(np.diag(found.covariance))
    known = np.isfinite(std) & (std > 0)
    scale: Array = np.where(known, np.where(known, std, 1.0), task.steps)
    return scale


def _stages(
    target: Target, modes: list[_Mode], n_draws: int, rng: np.random.Generator
) -> list["_Stage"]:
    """Return draws of proposals, each better than those before."""
    prior = target.prior
    parts = [mode.proposal(prior.bounds) for mode in modes]
    masses = np.array([mode.log_mass for mode in modes])
    shares = np.exp(masses - logsumexp(masses))
    if not np.isfinite(shares).all():
        shares = np.full(len(parts), 1 / len(parts))
    shares = (shares + 0.02) / (1 + 0.02 * len(shares)) if len(shares) > 1 else shares
    mixture = Mixture(shares / shares.sum(), parts)
    stages: list[_Stage] = []
    for change, share in _STAGES:
        if change is not None and stages[-1].efficiency < _GOOD:
            mixture = change(mixture, stages, target, modes)
        number = n_draws - sum(len(stage.rows) for stage in stages)
        number = min(max(int(share * n_draws), 1), number)
        if number:
            stages.append(_Stage.of(target, mixture, number, rng))
    return stages


def _bent(mixture: Mixture, _: Any, target: Target, modes: Any) -> Mixture:
    """Return a mixture of parts that follow the valleys of the modes."""
    parts, bounds = list(mixture.parts), target.prior.bounds
    for i, mode in enumerate(modes):
        found = curvature(
            mode.target.derivatives, mode.x, mode.centre, mode.covariance, bounds
        )
        if found is not None:
            parts[i] = BentNormal.about(found, bounds)
    return Mixture(mixture.shares, parts)


def _adapted(mixture: Mixture, stages: Any, target: Target, modes: Any) -> Mixture:
    """Return a mixture as draws tell it, with a wider part beside each of its own."""
    if len(stages) == _PILOTS:
        # not the bent one where it is worse
        mixture = max(stages, key=lambda stage: stage.efficiency).mixture
    own = Mixture(mixture.shares[: len(modes)], mixture.parts[: len(modes)])
    drawn = _together(stages, target, modes)
    target_there = drawn.log_prior + drawn.log_likelihood
    own = own.adapted(drawn.rows, target_there, drawn.weights)
    # in many dimensions a little is much
    factor = 1 + 1 / np.sqrt(drawn.rows.shape[1])
    wider = [part.widened(factor) for part in own.parts]
    shares = np.concatenate([(1 - _SPARE) * own.shares, _SPARE * own.shares])
    return Mixture(shares, [*own.parts, *wider])


# what is done before a stage, and how much of the draws it has
_STAGES = (
    (None, _FIRST),
    (_bent, _PILOT),
    (_adapted, _PILOT),
    (_adapted, _PILOT),
    (_adapted, 1.0),
)


class _Stage:
    """Draws from one mixture, those that the prior excludes left out."""

    def __init__(self, mixture, rows, number, log_prior, log_likelihood):
        self.mixture, self.rows, self.number = mixture, rows, number
        self.log_prior, self.log_likelihood = log_prior, log_likelihood
        log_posterior = log_prior + log_likelihood
        self.weights = normalised(log_posterior - mixture.log_density(rows))

    @property
    def efficiency(self):
        """Independent draws that those of this stage are worth, over their number."""
        return self.weights.n_effective / max(len(self.rows), 1)

    @classmethod
    def of(cls, target, mixture, number, rng):
        """Draw, and simulate what has a prior density.

        As many stable crystals between the bounds as are asked for; others cost
        nothing and count in the mean of the weights.
        """
        kept, tried = np.zeros((0, target.prior.bounds.shape[1])), 0
        for _ in range(_TRIES):
            rows = mixture.sample(number, rng)
            allowed = target.prior.inside(rows)
            allowed[allowed] = target.prior.stable(rows[allowed], target.n_constants)
            wanted = number - len(kept)
            places = np.flatnonzero(allowed)
            if len(places) >= wanted:
                # up to the last that is needed
                last = places[wanted - 1] + 1 if wanted else 0
                kept = np.vstack([kept, rows[places[:wanted]]])
                tried += last
                break
            kept, tried = np.vstack([kept, rows[allowed]]), tried + number
        log_prior = target.prior.log_density(kept)
        likelihood = target.log_likelihood(kept)
        return cls(mixture, kept, tried, log_prior, likelihood)


def _log_proposal(stages, rows):
    """Return the log of the density of all stages together."""
    tried = np.array([stage.number for stage in stages], dtype=float)
    densities = [
        np.log(stage.number) + stage.mixture.log_density(rows) for stage in stages
    ]
    return logsumexp(densities, axis=0) - np.log(tried.sum())


def _together(stages, target, modes):
    """Return the draws of all stages, weighed by the density of all together."""
    rows = np.vstack([stage.rows for stage in stages])
    log_proposal = _log_proposal(stages, rows)
    log_prior = np.concatenate([stage.log_prior for stage in stages])
    log_likelihood = np.concatenate([stage.log_likelihood for stage in stages])
    weights = normalised(log_prior + log_likelihood - log_proposal)
    # those that the prior excludes have the weight zero
    tried = sum(stage.number for stage in stages)
    refused = float(np.log(max(len(rows), 1) / tried))
    chance = (1 - len(rows) / tried) / max(len(rows), 1)
    allowed, allowed_std = target.allowed
    return Drawn(
        rows=rows,
        weights=weights.weights,
        log_likelihood=log_likelihood,
        log_prior=log_prior - allowed,
        log_proposal=log_proposal,
        log_evidence=weights.log_mean + refused - allowed,
        log_evidence_std=float(
            np.sqrt(weights.log_mean_std**2 + chance + allowed_std**2)
        ),
        n_effective=weights.n_effective,
        shape=weights.shape,
        log_refused=refused,
        beta=1.0,
        mesh_error=0.0,
        sigma=np.zeros(0),
        modes=np.array([mode.x for mode in modes]),
        mode_shares=_shares_of(rows, weights.weights, modes),
        target=target,
        counts=isinstance(target, CountsTarget),
    )


def _shares_of(rows, weights, modes):
    """Return the weight of draws that are nearest to each mode."""
    nearest = nearest_of(
        rows, [mode.x for mode in modes], [mode.information for mode in modes]
    )
    return np.array([weights[nearest == i].sum() for i in range(len(modes))])
