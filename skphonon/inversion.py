"""Recover parameters from spectra by optimisation: any simulator, no training set.

The inverters here share the interface of the learned regressors, so that every claim
can be tested: the network against the optimiser, both on the same spectra.
"""

import warnings
from numbers import Integral

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from sklearn.base import MultiOutputMixin, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils import Bunch
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from skphonon._persistence import VersionedEstimator
from skphonon._validation import (
    HasMethods,
    StrOptions,
    _fit_context,
    at_least,
    positive,
)
from skphonon.metrics import SCALES, nmse, shared_pixels

__all__ = ["NelderMeadInverter"]

# First simplex where no targets tell how far the parameters spread: these fractions
# of the start, the second one of its largest entry, for entries that are zero.
_STEP, _STEP_AT_ZERO = 0.25, 0.05


class NelderMeadInverter(MultiOutputMixin, RegressorMixin, VersionedEstimator):
    """Find the parameters whose simulated spectrum is closest to each spectrum.

    `predict` minimises :func:`skphonon.metrics.nmse` between each spectrum and its
    simulation by the downhill simplex of Nelder and Mead, a spectrum at a time. It
    needs no training set and no gradient, and it is the baseline that a learned
    regressor has to beat. It is slow, hundreds of simulations a spectrum, and finds
    the minimum nearest to its start: do not use it far from a good guess, or for
    more than about ten parameters.

    Steps are taken in units of the first simplex, so that parameters of different
    size are treated alike.

    Parameters
    ----------
    simulator : simulator, regressor or None, default=None
        What turns parameters into spectra. An object with a `simulate` method is
        used as it is; the spectra are then full rows of its grid. A scikit-learn
        regressor is cloned and trained by `fit` as an emulator, from y to X. None
        is an emulator quadratic in the parameters.
    initial : array-like of shape (n_parameters,), regressor or None, default=None
        Where every search starts. A fitted regressor is asked for one start a
        spectrum; wrap it in :class:`sklearn.frozen.FrozenEstimator`, so that `clone`
        leaves it fitted. None means the mean of y or, without y, the `reference` of
        the simulator.
    scale : {"normalized", "fitted"}, default="normalized"
        Which :func:`skphonon.metrics.nmse` is minimised.
    simplex_size : float, default=1.0
        Edge of the first simplex along each parameter, in standard deviations of y
        or, without y, in quarters of the start.
    max_evaluations : int, default=1000
        Simulations after which the search for a spectrum is given up.
    tolerance : float, default=1e-3
        A search has converged when the simplex is smaller than this fraction of its
        first size in every direction and the NMSE at its corners differs by less.
    n_jobs : int or None, default=None
        Spectra inverted at the same time, in threads unless a
        :class:`joblib.parallel_config` asks for another backend.
    verbose : int, default=0
        Whether to show a progress bar over spectra.

    Attributes
    ----------
    simulator_ : object
        `simulator`, or the emulator that `fit` trained in its place.
    start_ : ndarray of shape (n_parameters,)
        Start of the searches, unless `initial` is a regressor.
    steps_ : ndarray of shape (n_parameters,)
        Edges of the first simplex, in the unit of the parameters.
    bounds_ : ndarray of shape (2, n_parameters)
        Lowest and highest values that a search tries: the range of y for an
        emulator, which knows nothing beyond, and infinite for a simulator.
    n_iter_, n_evaluations_ : ndarray of shape (n_samples,)
        Iterations and simulations of each search of the last `predict`.
    loss_ : ndarray of shape (n_samples,)
        NMSE that each search of the last `predict` reached.
    converged_ : ndarray of shape (n_samples,), bool
        Whether each search of the last `predict` met `tolerance`.
    n_features_in_ : int
        Number of pixels of a spectrum.

    See Also
    --------
    skphonon.metrics.ResimulationScorer : Scores predictions without labels.

    Notes
    -----
    `predict` writes the figures of its searches down in the estimator; where several
    threads share one, read them from what `invert` returns instead.

    References
    ----------
    .. [1] J. A. Nelder and R. Mead, "A simplex method for function minimization",
       Comput. J. 7, 308 (1965), :doi:`10.1093/comjnl/7.4.308`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inversion import NelderMeadInverter
    >>> class Peak:
    ...     parameter_names, reference = ["position", "width"], np.array([4.0, 1.0])
    ...     def simulate(self, parameters):
    ...         position, width = np.transpose(parameters)[..., None]
    ...         return np.exp(-(((np.arange(10.0) - position) / width) ** 2))
    >>> X = Peak().simulate([[5.0, 1.3], [3.5, 0.9]])
    >>> NelderMeadInverter(Peak()).fit(X).predict(X).round(2)
    array([[5. , 1.3],
           [3.5, 0.9]])
    """

    _parameter_constraints = {
        "simulator": [HasMethods(["simulate"]), HasMethods(["fit", "predict"]), None],
        "initial": ["array-like", HasMethods(["predict"]), None],
        "scale": [StrOptions(set(SCALES))],
        "simplex_size": [positive()],
        "max_evaluations": [at_least(1)],
        "tolerance": [positive()],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        simulator=None,
        *,
        initial=None,
        scale="normalized",
        simplex_size=1.0,
        max_evaluations=1000,
        tolerance=1e-3,
        n_jobs=None,
        verbose=0,
    ):
        self.simulator = simulator
        self.initial = initial
        self.scale = scale
        self.simplex_size = simplex_size
        self.max_evaluations = max_evaluations
        self.tolerance = tolerance
        self.n_jobs = n_jobs
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Choose the start and the first simplex, and train the emulator if any.

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
        self : NelderMeadInverter
            The fitted inverter.

        Raises
        ------
        ValueError
            If y is missing and needed, X is not on the grid of the simulator, or
            y or `initial` has another number of parameters than the simulator.
        """
        if y is None and self._emulates:
            raise ValueError(
                "NelderMeadInverter requires y to be passed, but the target y is None. "
                "Pass y to train the emulator, or a simulator to do without."
            )
        X, y = self._validate(X, y, reset=True)
        self._single_output = y is not None and y.ndim == 1
        targets = None if y is None else y.reshape(len(y), -1)
        if self._emulates:
            self.simulator_ = _Emulator(self.simulator).fit(targets, X)
        else:
            self.simulator_ = self.simulator
        self.start_ = self._choose_start(targets)
        self.bounds_ = np.outer([-np.inf, np.inf], np.ones(self.start_.size))
        if self._emulates:
            self.bounds_ = np.array([targets.min(axis=0), targets.max(axis=0)])
        self.steps_ = self.simplex_size * _choose_steps(self.start_, targets)
        self._last = Bunch()
        self._check_grid()
        return self

    def predict(self, X):
        """Find the parameters of each spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra on the grid of the simulator, in any unit of intensity; NaN
            marks pixels that were not measured.

        Returns
        -------
        ndarray of shape (n_samples, n_parameters) or (n_samples,)
            Parameters in the order of the simulator and the unit of its
            `reference`; one-dimensional where y was in `fit`.

        Raises
        ------
        ValueError
            If X has another number of pixels or infinite values, or a spectrum
            shares no pixel with its simulation.

        Warns
        -----
        ConvergenceWarning
            If searches ended at `max_evaluations`, or a spectrum is constant: its
            parameters are those of the start and its loss is NaN.
        """
        result = self.invert(X)
        # In place: predict may not bind attributes (scikit-learn's contract).
        self._last.update(result)
        parameters = result.parameters
        return parameters[:, 0] if self._single_output else parameters

    def invert(self, X):
        """Find the parameters of each spectrum and tell how the search went.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra, as for `predict`.

        Returns
        -------
        Bunch
            With one row or entry a spectrum: `parameters` (n_samples,
            n_parameters), `loss` (NMSE), `n_iter`, `n_evaluations` and `converged`.

        Raises
        ------
        ValueError
            As for `predict`.

        Warns
        -----
        ConvergenceWarning
            As for `predict`.
        """
        check_is_fitted(self)
        spectra, _ = self._validate(X, reset=False)
        starts = self._starts(X, len(spectra))
        shared = shared_pixels(spectra, self.simulator_.simulate(starts))
        parallel = Parallel(n_jobs=self.n_jobs, prefer="threads", return_as="generator")
        searches = parallel(
            delayed(self._search)(spectrum[pixels], pixels, start)
            for spectrum, pixels, start in zip(spectra, shared, starts, strict=True)
        )
        results = list(
            tqdm(searches, total=len(starts), unit="spectrum", disable=not self.verbose)
        )
        converged = np.array([result.success for result in results])
        if not converged.all():
            first = np.argmin(converged)
            warnings.warn(
                f"{(~converged).sum()} of {len(converged)} searches did not converge "
                f"(first: sample {first}: {results[first].message}) with "
                f"max_evaluations={self.max_evaluations} and tolerance="
                f"{self.tolerance:g}. Raise either, or start closer with initial.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return Bunch(
            parameters=starts + self.steps_ * np.array([r.x for r in results]),
            loss=np.array([r.fun for r in results]),
            n_iter=np.array([r.nit for r in results]),
            n_evaluations=np.array([r.nfev for r in results]),
            converged=converged,
        )

    @property
    def n_iter_(self):
        """Iterations of each search of the last `predict`."""
        return self._read("n_iter")

    @property
    def n_evaluations_(self):
        """Simulations of each search of the last `predict`."""
        return self._read("n_evaluations")

    @property
    def loss_(self):
        """NMSE that each search of the last `predict` reached."""
        return self._read("loss")

    @property
    def converged_(self):
        """Whether each search of the last `predict` met `tolerance`."""
        return self._read("converged")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = self._emulates
        # Blind to the scale of a row: features without a shape tell it little.
        tags.regressor_tags.poor_score = True
        return tags

    @property
    def _emulates(self):
        return not hasattr(self.simulator, "simulate")

    def _read(self, name):
        check_is_fitted(self)
        if name not in self._last:
            raise AttributeError(f"{name}_ is known after predict; call it first.")
        return self._last[name]

    def _validate(self, X, y=None, *, reset):
        if y is None:
            X = validate_data(
                self, X, reset=reset, dtype=float, ensure_all_finite="allow-nan"
            )
            return X, None
        X, y = validate_data(
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
        if self._emulates:
            names = [f"y[:, {i}]" for i in range(targets.shape[1])]
        else:
            names = self.simulator.parameter_names
        if targets is not None and targets.shape[1] != len(names):
            raise ValueError(
                f"y must have one column for each parameter of the simulator "
                f"({', '.join(names)}), got {targets.shape[1]} columns."
            )
        if self.initial is not None and not hasattr(self.initial, "predict"):
            start = np.array(self.initial, dtype=float)
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

    def _check_grid(self):
        n_pixels = np.shape(self.simulator_.simulate(self.start_[None]))[1]
        if n_pixels != self.n_features_in_:
            raise ValueError(
                f"X must hold spectra on the grid of the simulator, {n_pixels} pixels "
                f"each, got {self.n_features_in_}. Simulate on the grid of the "
                "measurement, and do not drop pixels before this inverter."
            )

    def _starts(self, X, n_samples):
        if not hasattr(self.initial, "predict"):
            starts = np.tile(self.start_, (n_samples, 1))
            return starts.clip(*self.bounds_)
        starts = np.asarray(self.initial.predict(X), dtype=float)
        starts = starts.reshape(n_samples, -1)
        if starts.shape[1] != self.start_.size or not np.isfinite(starts).all():
            raise ValueError(
                f"initial must predict {self.start_.size} finite parameters a "
                f"spectrum, got an array of shape {starts.shape} with "
                f"{(~np.isfinite(starts)).sum()} values that are not finite."
            )
        return starts.clip(*self.bounds_)

    def _search(self, spectrum, pixels, start):
        """Minimise the NMSE of one spectrum; x is in steps from the start."""
        origin = np.zeros(start.size)
        if np.ptp(spectrum) == 0:
            return OptimizeResult(
                x=origin, fun=np.nan, nit=0, nfev=0, success=False, message="constant"
            )
        lower, upper = (self.bounds_ - start) / self.steps_

        def excess(x):
            return ((x - x.clip(lower, upper)) ** 2).sum()

        def misfit(x):
            parameters = start + self.steps_ * x.clip(lower, upper)
            simulated = self.simulator_.simulate(parameters[None])[:, pixels]
            if not np.isfinite(simulated).all():
                return np.inf
            # A simplex clipped to the bounds would collapse: lead it back instead.
            return nmse(spectrum, simulated, scale=self.scale)[0] + excess(x)

        result = minimize(
            misfit,
            origin,
            method="Nelder-Mead",
            options={
                "initial_simplex": np.vstack([origin, np.eye(start.size)]),
                "maxfev": self.max_evaluations,
                "xatol": self.tolerance,
                "fatol": self.tolerance,
            },
        )
        result.fun -= excess(result.x)
        result.x = result.x.clip(lower, upper)
        return result


class _Emulator:
    """A regressor from parameters to spectra, in the place of a simulator."""

    def __init__(self, regressor):
        if regressor is None:
            self.regressor = make_pipeline(
                StandardScaler(), PolynomialFeatures(2, include_bias=False), Ridge(1e-3)
            )
        else:
            self.regressor = clone(regressor)

    def fit(self, parameters, spectra):
        """Learn pixels that any spectrum measured, gaps filled with their mean."""
        measured = np.isfinite(spectra)
        self.visible = measured.any(axis=0)
        spectra, measured = spectra[:, self.visible], measured[:, self.visible]
        if not measured.all():
            means = np.nanmean(spectra, axis=0)
            spectra = np.where(measured, spectra, means)
        self.regressor.fit(parameters, spectra)
        return self

    def simulate(self, parameters):
        """Return spectra of shape (n_samples, n_pixels), NaN where never measured."""
        spectra = np.full((len(parameters), self.visible.size), np.nan)
        predicted = self.regressor.predict(parameters)
        spectra[:, self.visible] = predicted.reshape(len(parameters), -1)
        return spectra


def _choose_steps(start, targets):
    """Return the spread of each parameter, guessed from the start where unknown."""
    size = np.abs(start)
    guess = np.where(size > 0, _STEP * size, _STEP_AT_ZERO * size.max())
    guess[guess == 0] = 1.0
    if targets is None:
        return guess
    spread = targets.std(axis=0)
    return np.where(spread > 0, spread, guess)
