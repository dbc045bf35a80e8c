"""Gradient inversion: the best fit the data allow, with error bars."""

import copy
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import (
    HasMethods,
    StrOptions,
    at_least,
)
from skphonon._warnings import warn_user
from skphonon.inversion._base import Inverter
from skphonon.inversion._beside import contribution_names, sources_of
from skphonon.inversion._checks import (
    check_background,
    check_bounds,
    check_errors,
    check_noise,
    check_normalized,
    knowledge_of,
    nuisance_bounds,
)
from skphonon.inversion._fit_warnings import not_fitted_along, warn_of_fits
from skphonon.inversion._fitting import Task
from skphonon.inversion._goodness import (
    IdentifiabilityWarning,
    warn_of_undetermined,
    warn_of_weights,
)
from skphonon.inversion._model import Model, background_terms, parts_of
from skphonon.inversion._report import summary
from skphonon.inversion._row_search import RowSearch, candidates_about
from skphonon.inversion._stages import COARSE
from skphonon.inversion.fit import fits_of
from skphonon.inversion.settings import (
    ERRORS,
    MOVED,
    Noise,
    Search,
    as_noise,
    as_search,
    settings_of,
)
from skphonon.metrics import SCALES

__all__ = ["IdentifiabilityWarning", "LeastSquaresInverter"]


_UNSTABLE = ", and error bars do not hold. Give bounds or a prior"


class LeastSquaresInverter(Inverter):
    r"""Fit parameters to each spectrum by its gradient, with error bars.

    Parameters of the simulator, and what the instrument leaves unknown (`nuisance`),
    minimise the sum of squared residuals (Levenberg-Marquardt in a trust region [1]_);
    a free scale, a background and other contributions enter linearly and are
    eliminated exactly (variable projection [2]_). The gradient is that of the
    simulator's `jacobian`.

    Parameters
    ----------
    simulator : simulator, regressor or None, default=None
        What turns parameters into spectra: an object with `simulate` and, unless
        finite differences are to do, ``jacobian(parameters, return_spectra=True)``;
        for nuisances both take the `nuisance` and `nuisance_ranges` of
        :class:`~skphonon.simulation.PowderSimulator`. Its methods `loosened`, `refined`
        and `working_ranges`, where a simulator has them, make searches quick and
        judge its mesh (see Notes). A scikit-learn regressor is cloned and trained by
        `fit` as an emulator, from y to X. None is an emulator quadratic in the
        parameters.
    nuisance : dict, default=None
        What else is fitted to each spectrum: from names in the simulator's
        `nuisance_names` to pairs of the least and the largest value.
    background : int, tuple of int, array-like or None, default=0
        Degree of a polynomial in the axes of the simulator's grid (of a simulator
        without, in the number of the pixel) that is fitted to each spectrum: of all
        axes together or, as a tuple, of each, such as ``(2, 8)`` in energy and \|Q\|;
        or its terms, of shape (n_terms, n_pixels). 0 is a constant.
    contributions : dict or sequence, default=()
        What else scatters, by name, each with a weight that is not negative: a
        simulator of the sample's own constants, or of another crystal at its
        `reference`; a :class:`~skphonon.instrument.Measurement` of an empty can, or a
        row of intensities; :class:`~skphonon.simulation.MultipleScattering`;
        :class:`~skphonon.simulation.ElasticTail`. All are on the grid of the
        simulator. See Notes.
    scale : {"fitted", "absolute", "normalized"}, default="fitted"
        "absolute" takes spectra to be in the unit of the simulator. "normalized"
        compares spectra that are both normalised, as :func:`skphonon.metrics.nmse`
        does, and fits nothing that is linear.
    bounds : pair of array-like, default=None
        Least and largest values of the parameters, numbers or arrays of shape
        (n_parameters,). None: infinite; for an emulator, the range of y.
    prior : ShellPrior, ForceConstantPrior, pair of array-like or list, default=None
        What is known of the parameters beforehand: an object with `mean_` and
        `covariance_`, or means of shape (n_parameters,), and standard deviations of
        that shape or a covariance matrix. A list holds several objects, observables
        of :mod:`skphonon.inversion.observables` such as measured phonon energies among
        them. Beside a prior, pixels whose residuals are alike count as one.
    search : Search, default=None
        Where searches start, how many there are for each spectrum, and when they end:
        ``Search(n_starts=3, tolerance=1e-6)``. None: ``Search()``.
    noise : {"residual", "systematic", "noise", "poisson"} or Noise, default="residual"
        Where the error bars come from (`errors` of :class:`Noise`): from the residuals
        as they are, correlated between pixels where the model is wrong; from these and,
        "systematic", from other choices of the analysis (see Notes); from noise alone,
        as if the model were right; or from the statistics of counts. A `Noise` may also
        give less weight to outliers.
    random_state : int, RandomState instance or None, default=None
        Determines candidates and starts, in `fit`; None takes the same each time.
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
        Start of the searches, unless `search` has a regressor for `initial`.
    steps_ : ndarray of shape (n_parameters,)
        How far parameters are expected to move: their standard deviation in y or,
        without y, a quarter of the start.
    bounds_ : ndarray of shape (2, n_parameters)
        Lowest and highest values that a search tries.
    covariance_ : ndarray of shape (n_samples, n_parameters, n_parameters)
        Of the parameters of the last `predict`, what is fitted along left open.
    nuisance_ : DataFrame with n_samples rows
        What was fitted along in the last `predict`: nuisances, weights of the
        simulator ("scale") and of `contributions`, and terms of the background; and
        standard deviations, as in "scale std", of all but the background.
    shares_ : DataFrame with n_samples rows
        Parts of the fitted intensity, summed over the pixels compared, that the sample,
        each contribution and the background took in the last `predict`; NaN with
        ``scale="normalized"``. The background may be negative, and others add up to
        more than 1 then.
    residual_ : ndarray of shape (n_samples, n_pixels)
        Spectra less their fits in the last `predict`, NaN where not compared.
    reduced_chi2_ : ndarray of shape (n_samples,)
        Mean square of the residuals of the last `predict` over that of noise: 1 where
        the model is right. Noise is what was given or that of counts or, else,
        estimated from the differences between neighbouring pixels, of the spectrum or
        of what the fit leaves.
    at_bound_ : DataFrame with n_samples rows
        -1 for what ended at a lower bound in the last `predict`, 1 at an upper one,
        otherwise 0: parameters, nuisances, and weights of `contributions`, the lower
        bound of which is 0.
    fits_ : list of SpectrumFit
        Fits of the last `predict`, which explain themselves.
    identifiable_ : list of DataFrame
        For each spectrum of the last `predict`, combinations of parameters from the
        best to the worst determined; see `invert`.
    loss_ : ndarray of shape (n_samples,)
        NMSE that each search of the last `predict` reached; of weighted pixels where
        errors were given.
    n_iter_, n_evaluations_ : ndarray of shape (n_samples,)
        Iterations and simulations of each search of the last `predict`.
    converged_ : ndarray of shape (n_samples,), bool
        Whether each search of the last `predict` met its `tolerance`.
    n_features_in_ : int
        Number of pixels of a spectrum.

    See Also
    --------
    NelderMeadInverter : Needs no gradient.

    Notes
    -----
    Error bars are of noise and of what a model of the right kind leaves. An error of
    the simulator's mesh of the Brillouin zone is not in them, and is kept small beside
    them. A search begins on a coarse mesh (ten times the tolerance of the simulator)
    and goes on with that of the tolerance. The spectrum of the end is then simulated on
    a mesh of half as many points again along each axis: with the derivatives J of the
    residuals, the difference d moves the parameters by :math:`-J^+ d`. Where that is
    more than 0.2 standard deviations of a parameter (0.5 of a nuisance), the search
    goes on with the finer mesh, up to four times; a `ConvergenceWarning` tells where
    the working memory ends this, or it does not help. Silicon simulated with
    0.1 % of noise and fitted at ``tolerance=1e-3`` has its twelve constants within
    their error bars so; the mesh of that tolerance alone moves one by 146. A mesh that
    is given to the simulator is taken as it is, and not judged.

    What would have its optimum beyond a bound ends there. Its standard deviation is
    then the root mean square distance, on the allowed side, of what the data and the
    bound leave possible, and what hangs together with it follows: with no pull beyond,
    that is what it would be without the bound; the harder the pull, the less. A weight
    of a contribution that ended at 0 has the standard deviation NaN, and is taken for
    known by all others. Others have one from the same information as the parameters,
    and from the same `noise`.

    Of `contributions`, a simulator with the parameters of the sample and an equal model
    follows its parameters: one of one to four phonons beside that of one, for instance,
    frees the weight of multiphonon scattering. Other crystals, such as a can, keep
    their own constants, temperature and lattice, and follow nuisances of the
    instrument: energies, \|Q\|, angles and resolutions. Pixels that were not measured
    in the can are not compared. Where `predict` is given errors, those of a measured
    can are added to them, times its weight, and the fit is repeated until that has
    settled, with the likeliest spectrum of the can (total least squares); without, and
    with ``noise="poisson"``, they do not count. An
    `IdentifiabilityWarning` names contributions of which scale, parameters, nuisances
    and background imitate all but a tenth (3 % for what has the constants of the
    sample): so it is with a can of the metal of the sample.

    Residuals of a wrong model are alike in neighbouring pixels, and thousands of them
    would overrule any prior, though they are one error. Beside a `prior` such pixels
    count as one (but with noise="noise" or "poisson"): each has the share
    :math:`1 / (n \chi^2)` of n pixels that err alike, with :math:`\chi^2` of given
    errors if that is above 1. Until residuals tell n, it is ten.

    With ``noise="systematic"`` the covariance also holds how far the parameters would
    move with the lowest or highest 12 % of energies or of \|Q\| left out, a background
    of two degrees more, or two more shells, each to first order and as far as that is
    more than noise; `fits_` has the shifts.

    `MisfitWarning` comes where `reduced_chi2_` is above 1.1 (1.2 where noise is not
    known), and so far above 1 that a model that is right exceeds it in one of 200
    calls. Where noise is not known, the share of the contrast that is left must be
    above 1e-5 too, by which simulators differ among themselves. Noise that is alike in
    neighbouring pixels looks like a wrong model; ``noise="residual"`` allows for it in
    error bars. A mesh that is given to the simulator does so, where noise is below its
    error.

    `predict` writes the figures of its searches down in the estimator; where several
    threads share one, read them from what `invert` returns instead.

    References
    ----------
    .. [1] M. A. Branch, T. F. Coleman and Y. Li, "A subspace, interior, and conjugate
       gradient method for large-scale bound-constrained minimization problems",
       SIAM J. Sci. Comput. 21, 1 (1999), :doi:`10.1137/S1064827595289108`.
    .. [2] G. H. Golub and V. Pereyra, "The differentiation of pseudo-inverses and
       nonlinear least squares problems whose variables separate", SIAM J. Numer.
       Anal. 10, 413 (1973), :doi:`10.1137/0710036`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inversion import LeastSquaresInverter
    >>> class Peak:
    ...     parameter_names, reference = ["position", "width"], np.array([14.0, 3.0])
    ...     def simulate(self, parameters):
    ...         return self.jacobian(parameters, return_spectra=True)[1]
    ...     def jacobian(self, parameters, return_spectra=False):
    ...         position, width = np.transpose(parameters)[..., None]
    ...         x = (np.arange(30.0) - position) / width
    ...         spectra = np.exp(-(x**2))
    ...         slopes = 2 * x * spectra / width
    ...         derivatives = np.stack([slopes, x * slopes], axis=2)
    ...         return (derivatives, spectra) if return_spectra else derivatives
    >>> X = Peak().simulate([[15.0, 3.9]])
    >>> X += 0.01 * np.random.default_rng(0).normal(size=X.shape)
    >>> inverter = LeastSquaresInverter(Peak()).fit(X)
    >>> values, std = inverter.predict(X, return_std=True)
    >>> values.round(2), std.round(2)
    (array([[15.03,  3.9 ]]), array([[0.01, 0.02]]))
    """

    _transient = ("_sources",)
    _results = ("_last", "_prior")

    _parameter_constraints = {
        "simulator": [HasMethods(["simulate"]), HasMethods(["fit", "predict"]), None],
        "nuisance": [dict, None],
        "background": [at_least(0), "array-like", None],
        "contributions": [list, tuple, dict],
        "scale": [StrOptions({*SCALES, "absolute"})],
        "bounds": ["array-like", None],
        "prior": "no_validation",
        "search": [Search, None],
        "noise": [StrOptions(set(ERRORS)), Noise],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }
    _shortcuts = {"search": as_search, "noise": as_noise}
    _moved_parameters = MOVED

    def __init__(
        self,
        simulator=None,
        *,
        nuisance=None,
        background=0,
        contributions=(),
        scale="fitted",
        bounds=None,
        prior=None,
        search=None,
        noise="residual",
        random_state=None,
        n_jobs=None,
        verbose=0,
    ):
        self.simulator = simulator
        self.nuisance = nuisance
        self.background = background
        self.contributions = contributions
        self.scale = scale
        self.bounds = bounds
        self.prior = prior
        self.search = search
        self.noise = noise
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def predict(self, X, return_std=False, errors=None):
        """Fit the parameters of each spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra on the grid of the simulator, in any unit of intensity; NaN
            marks pixels that were not measured.
        return_std : bool, default=False
            Whether to return standard deviations too.
        errors : float or array-like of shape (n_samples, n_pixels) or (n_pixels,), \
                default=None
            Standard deviation of each pixel, positive; pixels where it is NaN are
            left out. None takes all pixels to be equally uncertain, by as much as
            the residuals tell.

        Returns
        -------
        parameters : ndarray of shape (n_samples, n_parameters) or (n_samples,)
            In the order of the simulator and the unit of its `reference`;
            one-dimensional where y was in `fit`.
        std : ndarray of the same shape
            Their standard deviations; only with ``return_std=True``. Infinite where
            the spectrum does not determine a parameter, one-sided where it ended at a
            bound (see Notes).

        Raises
        ------
        ValueError
            If X has another number of pixels or infinite values, a spectrum shares no
            pixel with its simulation, errors are not positive, or counts negative.

        Warns
        -----
        ConvergenceWarning
            If searches ended at `max_evaluations`, or a spectrum is constant: its
            parameters are those of the start and its loss is NaN. If the mesh of the
            simulator moves parameters beside their error bars (see Notes).
        BoundWarning
            If a parameter, nuisance or weight of a contribution ended at a bound: what
            is said of the others then takes the bound for true.
        MisfitWarning
            If `reduced_chi2_` says that the model does not describe a spectrum (see
            Notes).
        MeasurementWarning
            If few pixels hold half of the weight, their errors being far below the
            others.
        IdentifiabilityWarning
            If error bars do not hold because the crystal has imaginary frequencies, or
            a contribution cannot be told from the sample; with ``return_std=True``, if
            a spectrum does not determine a parameter.
        """
        result = self._invert(X, errors)
        parameters = self._keep(result)
        self._warn_of_fits(result, noise_known=self._knows_noise(errors))
        if not return_std:
            return parameters
        warn_of_undetermined(result.std, self._parameter_names(self.start_.size))
        return parameters, self._as_targets(result.std)

    def invert(self, X, errors=None):
        """Fit the parameters of each spectrum and tell all about it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra, as for `predict`.
        errors : float or array-like of shape (n_samples, n_pixels), default=None
            As for `predict`.

        Returns
        -------
        Bunch
            With one row or entry a spectrum: `parameters`, `std`, `covariance`,
            `nuisance`, `shares`, `at_bound`, `residual`, `reduced_chi2`, `loss`,
            `n_iter`, `n_evaluations` and `converged` as the attributes of that name;
            `distinctness`, the part of each contribution that scale, parameters,
            nuisances and background cannot imitate;
            `n_effective`, of how many normal residuals `reduced_chi2` scatters as much;
            `mesh_bias`, by how many standard deviations a finer mesh would move each
            parameter (NaN where memory does not allow one, 0 where there is no mesh to
            judge); and `identifiable`, tables
            of combinations of parameters from the best to the worst determined:
            `direction` in words, `uncertainty` in units of `steps_` (or of the
            standard deviations of the prior), whether it is `determined` (less than
            half a unit), and the share of each parameter. With noise="systematic",
            `choices` are tables of the shifts in standard deviations, `of_choices` what
            these added to the covariance. `others` are ends of further searches that
            are as likely and further off than errors tell; `spectra` and `errors` what
            was given.

        Raises
        ------
        ValueError
            As for `predict`.

        Warns
        -----
        ConvergenceWarning, BoundWarning, MisfitWarning, IdentifiabilityWarning, \
                MeasurementWarning
            As for `predict`.
        """
        result = self._invert(X, errors)
        self._warn_of_fits(result, noise_known=self._knows_noise(errors))
        warn_of_undetermined(result.std, self._parameter_names(self.start_.size))
        return result

    @property
    def covariance_(self):
        """Covariance of the parameters of the last `predict`."""
        return self._read("covariance")

    @property
    def nuisance_(self):
        """Values fitted along in the last `predict`."""
        return self._read("nuisance")

    @property
    def residual_(self):
        """Spectra less their fits in the last `predict`."""
        return self._read("residual")

    @property
    def reduced_chi2_(self):
        """Mean square of the residuals of the last `predict` over that of noise."""
        return self._read("reduced_chi2")

    @property
    def shares_(self):
        """Shares of the intensity that contributions took in the last `predict`."""
        return self._read("shares")

    @property
    def fits_(self):
        """Fits of the last `predict`, a :class:`~skphonon.inversion.SpectrumFit` each.

        Each explains itself: `fit_report`, `verdict_`, `energies`, `plot`.
        """
        errors_given = self._read("errors") is not None
        then = copy.copy(self)  # with the parameters of that call
        then.__dict__.update(self._last["settings"])
        return fits_of(then, then._row_search(errors_given, begins=False), self._last)

    @property
    def identifiable_(self):
        """Combinations of parameters that spectra of the last `predict` determine."""
        return self._read("identifiable")

    def __setstate__(self, state):
        state = dict(state)
        if "search" not in state:  # saved when each setting was a parameter
            state |= settings_of(state)
            last = state.get("_last", {})
            if "settings" in last:
                last["settings"] |= settings_of(last["settings"])
        super().__setstate__(state)
        if hasattr(self, "start_") and not hasattr(self, "_prior"):
            names = self._parameter_names(self.start_.size)
            self._prior, _ = knowledge_of(self.prior, names)

    def _invert(self, X, errors, continued=None, starts=None):
        """Fit all spectra; `continued` makes a search of one that does more."""
        check_is_fitted(self)
        of_each: tuple = ()
        if errors is not None or self._counts:
            given, _ = self._validate(X, reset=False)
            check_noise(given, errors, self._noise.errors, self.scale)
            if errors is not None:
                of_each = (check_errors(errors, given.shape),)
                warn_of_weights(of_each[0])
        else:
            self._warn_of_unused_errors()
        search = self._row_search(errors is not None)
        if continued is None:
            results = self._search_all(search, X, *of_each)
        else:
            results = self._search_all(continued(search), X, starts, *of_each)
        result = summary(
            results,
            self._parameter_names(self.start_.size),
            list(self._nuisance),
            search.parts,
            self._contributions,
            self._spread(),
        )
        # copies: what a fit tells is of what it was given
        result.spectra = self._validate(X, reset=False)[0].copy()
        result.errors = of_each[0].copy() if of_each else None
        result.settings = {
            **self.get_params(deep=False),
            "search": copy.copy(self.search),
            "noise": copy.copy(self.noise),
        }
        if continued is not None:
            result.drawn = [each.drawn for each in results]
        return result

    def _row_search(self, errors_given, begins=True):
        """Return what searches for the parameters of a row."""
        parts = parts_of(self.simulator_, self.n_features_in_)
        task = self._task(errors_given)
        model = self._model(task.steps)
        background = 0 if self.scale == "normalized" else self.background
        return RowSearch(
            task=task,
            model=model,
            parts=parts,
            terms=[background_terms(background, part) for part in parts],
            candidates=self._candidates(task, model) if begins else None,
            extend=lambda start: self._with_nuisances(start, task.bounds),
            seed=self._seed,
            scale=self.scale,
            n_starts=self._limits.n_starts,
            correlated=self._noise.errors in ("residual", "systematic"),
            background=background,
            choices=self._noise.errors == "systematic",
        )

    def _warn_of_unused_errors(self):
        """Warn that errors of a measured can count beside those of spectra only."""
        pairs = zip(self._contributions, self._known_sources()[1:], strict=True)
        names = [
            name for name, each in pairs if getattr(each, "error", None) is not None
        ]
        if names:
            warn_user(
                f"The errors of {', '.join(map(repr, names))} are only used beside "
                "errors of the spectra; without, what is noisy gets too small a "
                "weight. Give predict(X, errors=...).",
                UserWarning,
            )

    def _spread(self):
        """Return how uncertain parameters were before."""
        if self._prior_moments is None:
            return self.steps_
        return np.sqrt(np.diag(self._prior_moments[1]))

    @property
    def _limits(self):
        return self._part("search")

    @property
    def _noise(self):
        return self._part("noise")

    @property
    def _counts(self):
        """Whether spectra are counts."""
        return self._noise.errors == "poisson"

    def _knows_noise(self, errors):
        return errors is not None or self._counts

    def _warn_of_fits(self, result, noise_known):
        """Warn of what ended at a bound, and of what the model does not describe."""
        task = self._task(noise_known)
        parts = parts_of(self.simulator_, self.n_features_in_)
        warn_of_fits(
            result,
            self._parameter_names(self.start_.size),
            task.bounds,
            [each.alike for _ in parts for each in self._model(task.steps).sources[1:]],
            noise_known=noise_known,
            errors=self._noise.errors,
            emulates=self._emulates,
            unused=not_fitted_along(
                self.simulator_, self._nuisance, self.background, self.scale
            ),
        )
        self._warn_of_unstable(result.parameters, _UNSTABLE, IdentifiabilityWarning)

    def _prepare(self):
        """Check what is fitted, and where from, against simulator and data."""
        self._seed = 0
        if self.random_state is not None:
            self._seed = check_random_state(self.random_state).randint(2**31)
        known = list(getattr(self.simulator_, "nuisance_names", ()))
        self._nuisance = nuisance_bounds(self.nuisance or {}, known)
        names = self._parameter_names(self.start_.size)
        parts = parts_of(self.simulator_, self.n_features_in_)
        if self.scale == "normalized":
            check_normalized(
                self.background, self.contributions, self._noise.loss, parts
            )
        if self.bounds is not None:
            start = None if hasattr(self._limits.initial, "predict") else self.start_
            self.bounds_ = check_bounds(self.bounds, self.bounds_.shape, start)
        self._prior, self._prior_moments = knowledge_of(self.prior, names)
        check_background(self.background, len(parts[0].axes), self.n_features_in_)
        taken = [*names, *self._nuisance]
        self._contributions = contribution_names(self.contributions, taken)
        self._sources = self._make_sources()
        if not self._emulates and not hasattr(self.simulator_, "jacobian"):
            warn_user(
                f"{type(self.simulator_).__name__} has no method jacobian: derivatives "
                "are finite differences, which take two simulations a parameter.",
                UserWarning,
            )

    def _task(self, errors_given):
        """Return steps, bounds and prior of parameters and nuisances."""
        low, high = np.array([*self._nuisance.values()]).reshape(-1, 2).T
        limits, noise = self._limits, self._noise
        return Task(
            np.append(self.steps_, (high - low) / 4),
            np.hstack([self.bounds_, [low, high]]),
            self._prior,
            errors_given or self._counts,
            self._counts,
            self.start_.size,
            limits.tolerance,
            limits.max_evaluations,
            noise.loss,
            noise.loss_width,
        )

    def _model(self, steps):
        return Model(self._known_sources(), self._nuisance, steps)

    def _known_sources(self):
        # a pickle leaves them out, and they are cheap to make again
        return getattr(self, "_sources", None) or self._make_sources()

    def _make_sources(self):
        return sources_of(
            self.simulator_,
            self.contributions,
            self._parameter_names(self.start_.size),
            self._nuisance,
            self.n_features_in_,
        )

    def _simulate(self, parameters):
        """As a search begins, so that what is prepared serves both."""
        task = self._task(errors_given=False)
        rows = [self._with_nuisances(start, task.bounds) for start in parameters]
        model = self._model(task.steps)
        model = model.loosened(COARSE, rows[0]) or model
        spectra = model.simulate(np.array(rows))
        # what a contribution does not tell is not compared
        told = np.isfinite(spectra[:, 1:]).all(axis=1)
        return np.where(told, spectra[:, 0], np.nan)

    def _candidates(self, task, model):
        """Return sets of parameters about the start and their simulations, or None."""
        n_candidates = self._limits.n_candidates
        if n_candidates == 1 or hasattr(self._limits.initial, "predict"):
            return None
        first = self._with_nuisances(self.start_, task.bounds)
        return candidates_about(
            first, n_candidates, task, model, self._seed, self._prior_moments
        )

    def _with_nuisances(self, start, bounds):
        """Return a start with the nuisances that the simulator has by itself."""
        middle = bounds[:, start.size :].mean(axis=0)
        known = getattr(self.simulator_, "nuisance_reference", None)
        if known is not None:
            names = list(self.simulator_.nuisance_names)
            middle = [known[names.index(name)] for name in self._nuisance]
        return np.append(start, middle).clip(*bounds)
