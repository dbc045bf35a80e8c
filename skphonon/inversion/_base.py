"""Base of inverters: a simulator, a start and a search for each spectrum."""

import logging
from collections.abc import Sequence
from time import perf_counter
from typing import ClassVar

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from skphonon._validation import (
    check_columns,
    check_parts,
    fit_context,
    how_to_pass_images,
    validate_spectra,
)
from skphonon._versioned import VersionedEstimator
from skphonon._warnings import warn_user
from skphonon.inversion._emulator import Emulator
from skphonon.metrics import shared_pixels
from skphonon.physics.priors import parameter_scales
from skphonon.physics.stability import searching

__all__ = ["Inverter", "choose_steps"]

_log = logging.getLogger(__name__)

_ADVICE = {  # by what ended a search, where more evaluations would not help
    "constant": "Constant spectra determine nothing: leave them out.",
    "no parameter changes the simulation": (
        "Check that the grid shows what the parameters change, or start elsewhere with "
        "initial."
    ),
    "no finite simulation": "Start elsewhere with initial, or look at the simulator.",
}
_STEP = 0.25  # of the scale of a parameter, where no targets tell how far they spread

_ASKED = {"errors": "fits"}  # what is read by another name


class Inverter(MultiOutputMixin, RegressorMixin, VersionedEstimator):
    """Base of inverters that search for each spectrum beside a simulator."""

    _results: ClassVar[Sequence[str]] = ("_last",)

    def __setstate__(self, state):
        super().__setstate__(state)
        if hasattr(self, "start_") and not hasattr(self, "_last"):
            self._last = Bunch()

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Choose the start and the first steps, and train the emulator if any.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra; NaN marks pixels that were not measured. With a simulator only
            their number of pixels counts.
        y : array-like of shape (n_samples, n_parameters) or (n_samples,), \
                default=None
            Parameters of these spectra. An emulator cannot do without.

        Returns
        -------
        self : estimator
            The fitted inverter.

        Raises
        ------
        ValueError
            If y is missing and needed, X is not on the grid of the simulator, the
            model of the simulator has no reference, or y or `initial` has another
            number of parameters than the simulator, or columns of other names.
        """
        check_parts(self)
        if y is None and self._emulates:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None. Pass y to train the emulator, or a simulator to do without."
            )
        if not self._emulates and hasattr(y, "columns"):
            check_columns(y, self.simulator.parameter_names)
        X, y = self._validate(X, y, reset=True)
        self._single_output = y is not None and y.ndim == 1
        targets = None if y is None else y.reshape(len(y), -1)
        if self._emulates:
            self.simulator_ = Emulator(self.simulator).fit(targets, X)
        else:
            self.simulator_ = self.simulator
        self.start_ = self._choose_start(targets)
        self.bounds_ = np.outer([-np.inf, np.inf], np.ones(self.start_.size))
        if self._emulates and targets is not None:
            self.bounds_ = np.array([targets.min(axis=0), targets.max(axis=0)])
        names = self._parameter_names(self.start_.size)
        self.steps_ = choose_steps(self.start_, names, targets)
        self._last = Bunch()
        self._prepare()
        self._check_grid(X.shape)
        return self

    @property
    def n_iter_(self):
        """Iterations of each search of the last `predict`."""
        return self._read("n_iter")

    @property
    def n_evaluations_(self):
        """Simulations of each search of the last `predict`."""
        return self._read("n_evaluations")

    @property
    def at_bound_(self):
        """Bounds at which values ended in the last `predict`: -1, 1, otherwise 0."""
        return self._read("at_bound")

    @property
    def loss_(self):
        """NMSE that each search of the last `predict` reached."""
        return self._read("loss")

    @property
    def converged_(self):
        """True for each search of the last `predict` that met `tolerance`."""
        return self._read("converged")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = self._emulates
        # Blind to the scale of a row: features without a shape tell it little.
        tags.regressor_tags.poor_score = True
        return tags

    @property
    def _limits(self):
        """Object with `initial`, `max_evaluations` and `tolerance` of the searches."""
        return self

    @property
    def _emulates(self):
        return not hasattr(self.simulator, "simulate")

    def _prepare(self):
        """Do what else `fit` has to, once all its attributes are there."""

    def _simulate(self, parameters):
        """Return spectra, to see what pixels they have."""
        return self.simulator_.simulate(parameters)

    def _read(self, name):
        check_is_fitted(self)
        if name not in self._last:
            raise AttributeError(
                f"{_ASKED.get(name, name)}_ is known after predict; call it first."
            )
        return self._last[name]

    def _keep(self, result):
        """Write down a result and return its parameters as `predict` does."""
        # In place: predict may not bind attributes (scikit-learn's contract).
        self._last.update(result)
        return self._as_targets(result.parameters)

    def _as_targets(self, values):
        return values[:, 0] if self._single_output else values

    def _search_all(self, search, X, *of_each):
        """Return what `search` finds for each spectrum, given its row of each array."""
        spectra, _ = self._validate(X, reset=False)
        starts = self._starts(X, len(spectra))
        # all of them are one, unless a regressor proposes them
        told = starts if hasattr(self._limits.initial, "predict") else starts[:1]
        with searching():
            simulated = np.asarray(self._simulate(told))
        simulated = np.broadcast_to(simulated, (len(starts), simulated.shape[1]))
        shared = shared_pixels(spectra, simulated)
        parallel = Parallel(n_jobs=self.n_jobs, prefer="threads", return_as="generator")
        searches = parallel(
            delayed(_quietly)(search, spectrum[pixels], pixels, *rest)
            for spectrum, pixels, *rest in zip(
                spectra, shared, starts, *of_each, strict=True
            )
        )
        begun = perf_counter()
        results = list(
            tqdm(searches, total=len(starts), unit="spectrum", disable=not self.verbose)
        )
        self._log(results, perf_counter() - begun)
        converged = np.array([result.success for result in results])
        if not converged.all():
            self._warn_of_failures(results, converged)
        return results

    def _log(self, results, seconds):
        name = type(self).__name__
        for i, result in enumerate(results):
            _log.debug(
                "%s, sample %d: NMSE %.4g after %d evaluations%s",
                name,
                i,
                result.get("loss", result.get("fun")),
                result.nfev,
                "" if result.success else f", {result.message}",
            )
        converged = sum(bool(result.success) for result in results)
        _log.info(
            "%s: %d of %d searches converged, %.1f s",
            name,
            converged,
            len(results),
            seconds,
        )

    def _warn_of_failures(self, results, converged):
        told = {result.message for result in results if not result.success}
        advice = [words for message, words in _ADVICE.items() if message in told]
        if told - _ADVICE.keys():
            limits = self._limits
            where = "" if limits is self else " of search=Search(...)"
            advice.append(
                f"Raise max_evaluations={limits.max_evaluations} or tolerance="
                f"{limits.tolerance:g}{where}, or start closer with initial."
            )
        first = np.argmin(converged)
        warn_user(
            f"{(~converged).sum()} of {len(converged)} searches did not converge "
            f"(first: sample {first}: {results[first].message}). {' '.join(advice)}",
            ConvergenceWarning,
        )

    def _warn_of_unstable(self, parameters, consequence, category):
        """Warn of results that are not stable, which searches say nothing of."""
        if not hasattr(self.simulator_, "is_stable"):
            return
        stable = np.asarray(self.simulator_.is_stable(parameters))
        if not stable.all():
            warn_user(
                f"{(~stable).sum()} of {len(stable)} spectra (first: sample "
                f"{stable.argmin()}) are fitted best by unstable parameters: they "
                f"have modes of imaginary energy, which scatter nothing{consequence}.",
                category,
            )

    def _validate(self, X, y=None, *, reset):
        if y is None:
            X = validate_spectra(
                self, X, reset=reset, dtype=float, ensure_all_finite="allow-nan"
            )
            return X, None
        X, y = validate_spectra(
            self,
            X,
            y,
            reset=reset,
            dtype=float,
            ensure_all_finite="allow-nan",
            multi_output=True,
            y_numeric=True,
        )
        return X, y.astype(float)

    def _choose_start(self, targets):
        names = self._parameter_names(targets.shape[1] if self._emulates else None)
        if targets is not None and targets.shape[1] != len(names):
            raise ValueError(
                f"y must have one column for each parameter of the simulator "
                f"({', '.join(names)}), got {targets.shape[1]} columns."
            )
        initial = self._limits.initial
        if initial is not None and not hasattr(initial, "predict"):
            check_columns(initial, names)
            start = np.array(initial, dtype=float)
        elif targets is not None:
            start = targets.mean(axis=0)
        else:
            start = np.array(self.simulator.reference, dtype=float)
        if start.shape != (len(names),) or not np.isfinite(start).all():
            raise ValueError(
                f"The start must be {len(names)} finite values, one each of "
                f"{', '.join(names)}; got shape {start.shape} with "
                f"{(~np.isfinite(start)).sum()} values that are not finite."
            )
        return start

    def _parameter_names(self, n_emulated):
        """Return names, those of the columns of y for an emulator of so many."""
        if self._emulates:
            return [f"y[:, {i}]" for i in range(n_emulated)]
        return list(self.simulator.parameter_names)

    def _check_grid(self, shape):
        n_pixels = np.shape(self._simulate(self.start_[None]))[1]
        if n_pixels != shape[1]:
            advice = how_to_pass_images(shape, n_pixels) or (
                "Simulate on the grid of the measurement, and do not drop pixels "
                "before this inverter."
            )
            raise ValueError(
                f"X must hold spectra on the grid of the simulator, {n_pixels} pixels "
                f"each, got {shape[1]}. {advice}"
            )

    def _starts(self, X, n_samples):
        initial = self._limits.initial
        if not hasattr(initial, "predict"):
            starts = np.tile(self.start_, (n_samples, 1))
            return starts.clip(*self.bounds_)
        starts = np.asarray(initial.predict(X), dtype=float)
        starts = starts.reshape(n_samples, -1)
        if starts.shape[1] != self.start_.size or not np.isfinite(starts).all():
            raise ValueError(
                f"initial must predict {self.start_.size} finite parameters a "
                f"spectrum, got an array of shape {starts.shape} with "
                f"{(~np.isfinite(starts)).sum()} values that are not finite."
            )
        return starts.clip(*self.bounds_)


def _quietly(search, *arguments):
    """Search, and say nothing of what is passed on the way."""
    with searching():
        return search(*arguments)


def choose_steps(start, names, targets=None):
    """Return the spread of each parameter, guessed from the start where unknown."""
    guess = _STEP * parameter_scales(start, names)
    if targets is None:
        return guess
    spread = targets.std(axis=0)
    return np.where(spread > 0, spread, guess)
