"""From a fit to a posterior: draws that the exact likelihood vouches for."""

import logging
import zlib
from functools import partial
from numbers import Integral

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import HasMethods, StrOptions, at_least, fit_context
from skphonon._versioned import VersionedEstimator
from skphonon._warnings import warn_user
from skphonon.fitting.chains import need_pyro
from skphonon.inversion._corrected import best_ends, distinct_ends
from skphonon.inversion._fitting import costs_of
from skphonon.inversion._goodness import is_misfit
from skphonon.inversion._posterior import Drawn, Posterior
from skphonon.inversion._posterior_check import is_weak, worth_of
from skphonon.inversion._posterior_draws import Drawing
from skphonon.inversion._stages import COARSE
from skphonon.inversion._target import Prior
from skphonon.inversion.least_squares import LeastSquaresInverter
from skphonon.physics.stability import searching

__all__ = ["PosteriorInverter"]

_log = logging.getLogger(__name__)

_ASKED = 1000  # independent draws that a warning tells how to get
_ROUGH = 0.5  # error of a log likelihood that is told
_NOISELESS = 1e-12  # of the contrast that residuals leave: rounding
_ATTEMPTS = 3  # searches from as many other starts, where none is good
_FEW_STABLE = 20  # draws of the prior for each candidate, at most


class PosteriorInverter(MultiOutputMixin, RegressorMixin, VersionedEstimator):
    r"""Draw parameters from their posterior distribution, with exact weights.

    Every spectrum is fitted from several starts. A normal distribution about each
    optimum, between the bounds and, where that is too crude, bent along its valley,
    proposes parameters and nuisances; each proposal is simulated and weighed by its
    posterior density (importance sampling [1]_). Weights that are nearly equal prove
    the normal error bars of a fit; others correct them. Amplitudes and background are
    integrated out.

    Parameters
    ----------
    inverter : LeastSquaresInverter, simulator or None, default=None
        What is fitted, and how: nuisances, background, contributions, noise. Its
        `bounds` or `prior` are the prior of the parameters, which must have one: flat
        between bounds, normal, or normal between bounds; unstable crystals have none.
        Nuisances are flat between theirs. A simulator stands for a
        `LeastSquaresInverter` of it, None for an emulator (see there).
    starts : regressor or None, default=None
        A fitted regressor, such as a pipeline with a
        :class:`~skphonon.learning.ForceConstantRegressor`, that proposes one more
        start a spectrum; wrap it in :class:`sklearn.frozen.FrozenEstimator`.
    n_starts : int, default=4
        Searches for each spectrum: from the start of the inverter and from what comes
        closest of `n_candidates`. Several ends become several modes.
    n_candidates : int, default=64
        Draws from the prior that are simulated once, in `fit`.
    n_draws : int, default=1000
        Simulations for each spectrum, of draws that are weighed.
    sampler : {"importance", "nuts"}, default="importance"
        Weighted draws, or chains from the modes that follow the gradient (NUTS, by
        Pyro: ``pip install 'skphonon[pyro]'``). Chains take some ten gradients a draw,
        which are minutes; they are for posteriors whose weighted draws are worth few.
    random_state : int, RandomState instance or None, default=0
        Determines candidates and draws; None takes others each time `fit` is called.

    Attributes
    ----------
    inverter_ : LeastSquaresInverter
        The fitted inverter.
    posteriors_ : list of Posterior
        Posterior of each spectrum of the last `predict` or `sample`.
    efficiency_ : ndarray of shape (n_samples,)
        Independent draws that the weighted ones are worth, over `n_draws`.
    log_evidence_ : ndarray of shape (n_samples,)
        Logarithm of the evidence of the last spectra.
    n_features_in_ : int
        Number of pixels of a spectrum.

    See Also
    --------
    LeastSquaresInverter : The optimum, and normal error bars.

    Notes
    -----
    The likelihood is normal, with errors that are given or, else, those of the
    residuals at the optimum, or that of counts (see below). Where the model is wrong,
    residuals are alike in neighbouring pixels, and the product over pixels would claim
    far too much. Where the fit is a misfit, and with ``noise="residual"`` of the
    inverter (or "systematic"), the likelihood is therefore raised to a power `beta`
    that makes the widths of the posterior those which the scatter of such residuals
    implies [2]_. ``noise="noise"`` takes all pixels as independent.

    With ``noise="poisson"`` the likelihood is that of counts: not normal, with
    :math:`-\ln n!` so that evidence is that of the counts, and `beta` of 1, as error
    bars of the fit are of counts alone. Counts need not be whole. Amplitudes and
    background, of which neither contributions nor expectations may be negative, are
    then integrated out over up to 512 places about their centre for every draw, or, far
    from these walls, by Laplace's approximation: to about 0.1 of the log likelihood,
    and 0.2 where few counts support several terms of a background.

    A high efficiency says that the draws are of the posterior as it was defined, not
    that the model is right: that is what `Posterior.verdict_` is for.

    References
    ----------
    .. [1] A. B. Owen and Y. Zhou, "Safe and effective importance sampling", J. Am.
       Stat. Assoc. 95, 135 (2000), :doi:`10.1080/01621459.2000.10473909`.
    .. [2] L. Pauli, W. Racugno and L. Ventura, "Bayesian composite marginal
       likelihoods", Statistica Sinica 21, 149 (2011).

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import LeastSquaresInverter, PowderSimulator, SpectrumGrid
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import PosteriorInverter
    >>> grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.5, mesh=6
    ... )
    >>> X = simulator.simulate([1.03 * simulator.reference])
    >>> X += 0.02 * np.nanstd(X) * np.random.default_rng(0).normal(size=X.shape)
    >>> half = np.abs(simulator.reference) / 2 + 0.02
    >>> bounds = simulator.reference - half, simulator.reference + half
    >>> inverter = PosteriorInverter(LeastSquaresInverter(simulator, bounds=bounds))
    >>> mean, std = inverter.fit(X).predict(X, return_std=True)
    >>> inverter.sample(X, 500).shape
    (1, 500, 5)
    >>> (posterior,) = inverter.posteriors_
    >>> bool(posterior.efficiency > 0.8)
    True
    """

    _results = ("_last", "_prior")
    _parameter_constraints = {
        "inverter": [LeastSquaresInverter, HasMethods(["simulate"]), None],
        "starts": [HasMethods(["predict"]), None],
        "n_starts": [at_least(1)],
        "n_candidates": [at_least(1)],
        "n_draws": [at_least(2)],
        "sampler": [StrOptions({"importance", "nuts"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        inverter=None,
        *,
        starts=None,
        n_starts=4,
        n_candidates=64,
        n_draws=1000,
        sampler="importance",
        random_state=0,
    ):
        self.inverter = inverter
        self.starts = starts
        self.n_starts = n_starts
        self.n_candidates = n_candidates
        self.n_draws = n_draws
        self.sampler = sampler
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit the inverter, check the prior and simulate the candidates.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra, as for :meth:`LeastSquaresInverter.fit`.
        y : array-like of shape (n_samples, n_parameters) or (n_samples,), \
                default=None
            Parameters of these spectra, for an emulator.

        Returns
        -------
        self : estimator
            The fitted inverter.

        Raises
        ------
        ValueError
            As of the inverter; and if it has neither bounds nor a prior, robust losses
            or normalised spectra, which are no likelihood.
        ImportError
            With ``sampler="nuts"``, without the extra "pyro".
        """
        if self.sampler == "nuts":
            need_pyro()
        self.inverter_ = self._own().fit(X, y)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.inverter_, name):
                setattr(self, name, getattr(self.inverter_, name))
        self._check_likelihood()
        self._prior = self._make_prior()
        self._seed = check_random_state(self.random_state).randint(2**31)
        self._candidates = self._simulate_candidates()
        self._allowed = self._prior.log_allowed(
            self.inverter_.start_.size, np.random.default_rng(self._seed)
        )
        self._last = {}
        return self

    def predict(self, X, return_std=False, errors=None, starts=None):
        """Return posterior means.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra, as for :meth:`LeastSquaresInverter.predict`.
        return_std : bool, default=False
            Whether to return standard deviations too.
        errors : float or array-like, default=None
            Standard deviations of pixels, as for `LeastSquaresInverter`.
        starts : array-like of shape (n_samples, n_parameters) or \
                (n_samples, k, n_parameters), default=None
            One more start a spectrum, or k more.

        Returns
        -------
        parameters : ndarray of shape (n_samples, n_parameters) or (n_samples,)
            Posterior means.
        std : ndarray of the same shape
            Standard deviations; only with ``return_std=True``.

        Raises
        ------
        ValueError
            As for `LeastSquaresInverter`, or if starts have another shape.

        Warns
        -----
        ConvergenceWarning
            If the weighted draws of a spectrum are worth fewer than 100 independent
            ones, or the largest weights have a tail too heavy to be trusted.
        MisfitWarning, BoundWarning, IdentifiabilityWarning
            Of the fits, as for `LeastSquaresInverter`.
        """
        posteriors = self._sample(X, errors, starts)
        means = np.array([each.mean for each in posteriors])
        means = self.inverter_._as_targets(means)
        if not return_std:
            return means
        std = np.array([each.std for each in posteriors])
        return means, self.inverter_._as_targets(std)

    def sample(self, X, n_draws=1000, errors=None, starts=None):
        """Return draws of equal weight.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra.
        n_draws : int, default=1000
            Draws to return of each, with replacement from the weighted ones that
            `posteriors_` has then.
        errors, starts : array-like, default=None
            As for `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_draws, n_parameters)
            Parameters.

        Raises
        ------
        ValueError
            As for `predict`.

        Warns
        -----
        ConvergenceWarning, MisfitWarning, BoundWarning, IdentifiabilityWarning
            As for `predict`.
        """
        check_scalar(n_draws, "n_draws", Integral, min_val=1)
        posteriors = self._sample(X, errors, starts)
        return np.stack([each.sample(n_draws) for each in posteriors])

    @property
    def posteriors_(self):
        """Posterior of each spectrum of the last `predict` or `sample`."""
        check_is_fitted(self)
        if "posteriors" not in self._last:
            raise AttributeError(
                "posteriors_ is known after predict or sample; call one first."
            )
        return self._last["posteriors"]

    @property
    def efficiency_(self):
        """Independent draws that the weighted ones are worth, over their number."""
        return np.array([each.efficiency for each in self.posteriors_])

    @property
    def log_evidence_(self):
        """Logarithm of the evidence of each spectrum of the last `predict`."""
        return np.array([each.log_evidence for each in self.posteriors_])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = self._own(cloned=False)._emulates
        tags.regressor_tags.poor_score = True
        return tags

    def _own(self, cloned=True):
        """Return the inverter that is meant."""
        if isinstance(self.inverter, LeastSquaresInverter):
            return clone(self.inverter) if cloned else self.inverter
        return LeastSquaresInverter(self.inverter)

    def _check_likelihood(self):
        inverter = self.inverter_
        loss = inverter._noise.loss
        if loss != "linear" or inverter.scale == "normalized":
            raise ValueError(
                "A posterior needs a likelihood: an inverter with noise=Noise(loss="
                f"'linear') and scale='fitted' or 'absolute', got loss={loss!r} and "
                f"scale={inverter.scale!r}."
            )
        flat = np.isfinite(inverter.bounds_).all(axis=0)
        if inverter._prior_moments is None and not flat.all():
            names = inverter._parameter_names(inverter.start_.size)
            open_ = [n for n, known in zip(names, flat, strict=True) if not known]
            raise ValueError(
                "A posterior needs a prior: give the inverter bounds=(low, high), "
                "finite, or prior=; got neither for " + ", ".join(open_) + "."
            )

    def __setstate__(self, state):
        super().__setstate__(state)
        if hasattr(self, "inverter_") and not hasattr(self, "_last"):
            self._last, self._prior = {}, self._make_prior()

    def _make_prior(self):
        inverter = self.inverter_
        task = inverter._task(errors_given=False)
        known = inverter._prior
        stable = getattr(inverter.simulator_, "is_stable", None)
        return Prior(task.bounds, inverter._prior_moments, known, stable)

    def _simulate_candidates(self):
        """Return draws from the prior and their simulations on a coarse mesh."""
        inverter, rng = self.inverter_, np.random.default_rng(self._seed)
        n, task = inverter.start_.size, inverter._task(errors_given=False)
        rows = np.zeros((0, task.bounds.shape[1]))
        for _ in range(_FEW_STABLE):
            more = self._prior.sample(self.n_candidates, rng).clip(*task.bounds)
            rows = np.vstack([rows, more[self._prior.stable(more, n)]])
            if len(rows) >= self.n_candidates:
                break
        rows = rows[: self.n_candidates]
        if not len(rows):
            return rows, None
        model = inverter._model(task.steps)
        model = model.loosened(COARSE, rows[0]) or model
        with searching():
            return rows, model.simulate(rows)

    def _sample(self, X, errors, starts):
        """Return the posterior of each spectrum, and keep them."""
        check_is_fitted(self)
        self._validate_params()
        inverter = self.inverter_
        spectra, _ = inverter._validate(X, reset=False)
        proposed = self._proposed(X, len(spectra), starts)
        result = inverter._invert(
            X, errors, partial(_Continued, self, errors is not None), proposed
        )
        drawn = result.pop("drawn")  # simulates, which a pickle must not
        inverter._keep(result)
        inverter._warn_of_fits(result, noise_known=inverter._knows_noise(errors))
        names = inverter._parameter_names(inverter.start_.size)
        posteriors = [
            Posterior(names, list(inverter._nuisance), each, fit)
            for each, fit in zip(drawn, inverter.fits_, strict=True)
        ]
        self._last["posteriors"] = posteriors
        for i, each in enumerate(posteriors):
            _log.info(
                "%s, sample %d: %d draws about %d modes, efficiency %.2f, likelihood "
                "to the power %.2f, ln evidence %.1f",
                type(self).__name__,
                i,
                each.n_draws,
                len(each.modes),
                each.efficiency,
                each.beta,
                each.log_evidence,
            )
        self._warn_of_draws(posteriors)
        return posteriors

    def _proposed(self, X, n_samples, starts):
        """Return further starts, (n_samples, k, n_parameters)."""
        n = self.inverter_.start_.size
        found = np.zeros((n_samples, 0, n))
        given = [] if starts is None else [np.asarray(starts, dtype=float)]
        if self.starts is not None:
            given.append(np.asarray(self.starts.predict(X), dtype=float))
        for each in given:
            if each.ndim == 1 and (n_samples == 1 or n == 1):
                each = each.reshape(n_samples, -1)
            fits = each.ndim in (2, 3) and each.shape[:: each.ndim - 1] == (
                n_samples,
                n,
            )
            if not fits or not np.isfinite(each).all():
                raise ValueError(
                    f"starts must be finite, of shape ({n_samples}, {n}), or "
                    f"({n_samples}, k, {n}) for k of each spectrum, got shape "
                    f"{each.shape} with {(~np.isfinite(each)).sum()} values that are "
                    "not."
                )
            each = each.reshape(n_samples, -1, n).clip(*self.inverter_.bounds_)
            found = np.concatenate([found, each], axis=1)
        return found

    def _warn_of_draws(self, posteriors):
        """Warn of draws that are worth few."""
        drawn = [each for each in posteriors if each.n_draws]
        rough = np.nanmax([0.0, *(each.mesh_error for each in drawn)])
        if rough > _ROUGH:
            warn_user(
                f"The log likelihood of draws errs by {rough:.2g} by the mesh of the "
                "Brillouin zone. Give the simulator a smaller tolerance, and its "
                "resolution bounds that leave lines their width.",
                ConvergenceWarning,
            )
        without = len(posteriors) - len(drawn)
        if without:
            warn_user(
                f"{without} of {len(posteriors)} spectra have no posterior: they are "
                "constant, have no more pixels than is fitted, are described exactly, "
                "or searches ended at crystals that are not stable. Leave them out, "
                "give their errors, or more n_starts.",
                ConvergenceWarning,
            )
        weak = [
            i for i, each in enumerate(posteriors) if each.n_draws and is_weak(each)
        ]
        if not weak:
            return
        first = posteriors[weak[0]]
        advice = "Look at its draws, narrow bounds or give a prior"
        if first.efficiency * 100 > 1:
            number = int(np.ceil(_ASKED / first.efficiency / 100) * 100)
            advice = f"Raise n_draws={self.n_draws} to about {number}"
        if self.sampler == "importance":
            advice += ", or take sampler='nuts', which is slow"
        warn_user(
            f"The draws of {len(weak)} of {len(drawn)} spectra are not to be trusted "
            f"(first: sample {weak[0]}: {worth_of(first)}). {advice}.",
            ConvergenceWarning,
        )


class _Continued:
    """A search for the best fit of a row that goes on to its posterior."""

    def __init__(self, owner, errors_given, search):
        self.owner, self.errors_given, self.search = owner, errors_given, search

    def __call__(self, spectra, pixels, start, proposed, errors=None):
        search, owner = self.search, self.owner
        ends: list = []
        for attempt in range(_ATTEMPTS):
            starts = self._starts(spectra, pixels, start, proposed, errors, attempt)
            if not len(starts):
                break
            more = best_ends(search, spectra, pixels, starts, errors, self._is_stable)
            ends = distinct_ends([*ends, *more], self._is_stable)
            if self._is_found(ends[0]):
                break
        problem, images, seen = search.problem(spectra, pixels, errors)
        found = search.told(ends[0], images, len(seen), search.extend(start), seen)
        found.drawn = Drawn.nothing(len(ends[0].x))
        n_free = len(ends[0].residual) - len(ends[0].x) if "residual" in ends[0] else 0
        if not np.isfinite(found.loss):
            return found
        n_fitted = int(ends[0].evaluation.n_fitted)
        if errors is None and not search.task.counts:
            square = np.square(ends[0].evaluation.residual).sum()
            if n_free <= n_fitted or square < _NOISELESS:
                return found  # no residuals tell the noise
        rng = np.random.default_rng(
            [owner._seed, zlib.crc32(np.ascontiguousarray(spectra).tobytes())]
        )
        drawing = Drawing(
            search,
            ends,
            problem,
            images,
            seen,
            errors,
            owner._prior,
            owner._allowed,
            rng,
        )
        found.drawn = drawing(owner.n_draws, owner.sampler, owner.inverter_.verbose > 0)
        found.others = [end.x for end in ends[1:]]
        return found

    def _is_stable(self, x):
        """Tell whether parameters are those of a stable crystal."""
        n = self.search.task.n_constants
        return bool(self.owner._prior.stable(x[None], n)[0])

    def _is_found(self, end):
        """Tell whether an end may be the optimum, as far as one can know."""
        if not np.isfinite(end.fun):
            return True  # no start would help
        if not self._is_stable(end.x):
            return False
        if not self.errors_given:
            return True
        figures = {name: end[name] for name in ("reduced_chi2", "n_effective")}
        return not is_misfit(figures | {"noise_known": True})

    def _starts(self, spectra, pixels, start, proposed, errors, attempt):
        """Return the start, what a regressor proposes, and the best candidates.

        At a further attempt, as many others.
        """
        search, owner = self.search, self.owner
        own = [search.extend(each) for each in (*proposed, start)]
        rows, simulated = owner._candidates
        number = owner.n_starts - len(own)
        problem, _, pixels = search.problem(spectra, pixels, errors)
        if simulated is None or not problem.unit:
            return np.array(own if attempt == 0 else [])
        cost = costs_of(problem, simulated[..., pixels])
        width = np.diff(owner._prior.spans(), axis=0)[0]
        begin = max(number, 0) + (attempt - 1) * owner.n_starts if attempt else 0
        end = max(number, 0) + attempt * owner.n_starts
        chosen = _spread(rows / width, cost, end)[begin:] if end else []
        return np.array([*(own if attempt == 0 else []), *rows[chosen]])


def _spread(places, cost, number):
    """Return which candidates searches start from: the best, then others far away.

    Each further one is the best of the half that is farthest from those chosen.
    """
    cost = np.where(np.isfinite(cost), cost, np.inf)
    chosen = [int(cost.argmin())]
    far = np.linalg.norm(places - places[chosen[0]], axis=1)
    while len(chosen) < min(number, len(places)):
        allowed = far >= np.median(far)
        allowed[chosen] = False
        if not allowed.any():
            break
        chosen.append(int(np.where(allowed, cost, np.inf).argmin()))
        away = np.linalg.norm(places - places[chosen[-1]], axis=1)
        far = np.minimum(far, away)
    return chosen
