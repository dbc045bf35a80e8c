"""Fit parameters to pixels, wherever they are, and to counts as they arrive."""

import numbers

import numpy as np
import pandas as pd
from sklearn.base import RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import (
    ROWS_ARE_PIXELS,
    HasMethods,
    StrOptions,
    at_least,
    check_box,
    fit_context,
    positive,
    validate_spectra,
)
from skphonon._versioned import VersionedEstimator
from skphonon._warnings import warn_user
from skphonon.fitting import descend, distinct
from skphonon.instrument.background import nonnegative_terms
from skphonon.instrument.noise import noise_between_neighbours
from skphonon.inversion._base import choose_steps
from skphonon.inversion._checks import check_intensities, check_pixel_errors
from skphonon.inversion._emulator import LogPlane
from skphonon.inversion._goodness import (
    are_misfits,
    effective_number,
    warn_of_bounds,
    warn_of_misfits,
    warn_of_undetermined,
)
from skphonon.inversion._pixel_fitting import (
    ALIKE,
    Comparison,
    Fitted,
    Pixels,
    at_bound,
    choose_batch,
    shortlist,
)

__all__ = ["PixelInverter"]

_BOUND = (
    "Error bars are one-sided there, and all others take the bound for true. Widen it "
    "where the model knows more, unless it is a limit of nature."
)
_UNDETERMINED = (
    "Measure where they change the model, narrow their bounds, or leave them out."
)
_MEANING = "error bars tell how far noise moves the best fit of a wrong model, no more."
_LONGEST = 0.5  # first step, where 2 is the width of the bounds
_LOOKS = 2  # candidates are first judged by this part of a batch
_JUDGES = 2**13  # pixels, at most


def _counts_alone(inverter):
    if inverter.loss != "poisson":
        raise AttributeError(
            f"partial_fit adds up counts and needs loss='poisson', got "
            f"loss={inverter.loss!r}."
        )
    return True


class PixelInverter(RegressorMixin, VersionedEstimator):
    r"""Fit the parameters of a differentiable model to pixels.

    A row of X is the coordinates of a pixel, y its intensity: pixels may be few, lie
    anywhere and in any order, as detectors see them, and there is no peak to be found.
    The model is one that knows intensities and derivatives at any coordinates, such as
    an :class:`~skphonon.learning.ImplicitSpectrumModel`. Its parameters are searched
    from several starts at once, on some of the pixels, and the best ends are refined on
    all. Where spectra have a grid, :class:`LeastSquaresInverter` does more: nuisances,
    priors, and error bars that know of correlated residuals.

    ``loss="correlation"`` is that of [1]_: one less Pearson's correlation between
    :math:`\log(1 + y)` of data and :math:`\log(1 + S / \mathrm{unit})` of the model.
    "chi2" compares intensities, "poisson" counts by their likelihood. In all of them a
    scale and a background are fitted along, and eliminated exactly; that leaves steps
    of Gauss and Newton in place of the thousands of gradient steps of [1]_.

    Parameters
    ----------
    model : model or None, default=None
        An object with ``simulate_at(coordinates, parameters)``,
        ``jacobian_at(coordinates, parameters, return_spectra=True)``,
        `parameter_names`, `reference` and, if it has them, `bounds_`. None is
        the exponential of a plane in the coordinates, to try things with.
    loss : {"correlation", "chi2", "poisson"}, default="correlation"
        What is minimised. `partial_fit` adds up counts, and is there with "poisson"
        alone.
    background : int or None, default=0
        Degree of a polynomial in the last coordinate, the energy, that is fitted along:
        0 is a constant. With "correlation" it belongs to the logarithm, and is at
        least a constant; with "poisson" it is not negative. None: no background.
    unit : float, default=1.0
        Intensity of the model that stands for one of y in the logarithms of
        "correlation". Best such that both are about alike, as logarithms differ in
        shape otherwise; the other losses do not need it.
    bounds : pair of array-like of shape (n_parameters,), default=None
        Least and largest values of the parameters. None: `bounds_` of the model or,
        without them, two quarters of its reference to both sides.
    n_starts : int, default=10
        Searches.
    n_candidates : int, default=256
        Sets of parameters, drawn evenly within the bounds, of which the one that comes
        closest is where a search starts; each search has its own.
    batch_size : int, default=2048
        Pixels that searches see, chosen at random, or of counts at regular distances
        in the order given, as many without a count as with one. Candidates are judged
        by half of them, the best few by up to 8,192 pixels.
    max_steps : int, default=50
        Steps of a search, at most.
    tolerance : float, default=1e-4
        A search has converged when its step is smaller than this fraction of half the
        width of the bounds.
    errors : {"residual", "noise"}, default="residual"
        What the error bars take the noise of a pixel to be: its residual, which is too
        much where the model is not right; or the errors given, the statistics of
        counts, or one noise for all pixels. Both take pixels to be independent, and
        tell how far noise moves the best fit, also of a model that is not right; how
        far that moves it they cannot know.
    random_state : int, RandomState instance or None, default=None
        Determines candidates and pixels. An int makes results reproducible.

    Attributes
    ----------
    parameters_ : ndarray of shape (n_parameters,)
        The best fit, in the order of the model.
    std_ : ndarray of shape (n_parameters,)
        Standard deviations; infinite where the pixels do not determine a parameter,
        one-sided where it ended at a bound (see :class:`LeastSquaresInverter`).
    covariance_ : ndarray of shape (n_parameters, n_parameters)
        Of the parameters, scale and background left open.
    at_bound_ : ndarray of shape (n_parameters,), int
        -1 for what ended at its lower bound, 1 at the upper one, otherwise 0.
    reduced_chi2_ : float
        Mean square of the residuals over that of noise: 1 where the model is right.
        Noise is that of the errors or counts or, where there are neither, estimated
        from the differences between neighbouring pixels (of at most 100,000; of
        logarithms with "correlation").
    scale_, background_ : float and ndarray of shape (n_terms,)
        What the model is multiplied by, and coefficients of Bernstein polynomials.
    loss_ : float
        Reached on all pixels: 1 - r, chi^2 a pixel, or deviance a pixel.
    loss_curve_ : ndarray of shape (n_steps + 1,)
        Of the search that came out best, on its pixels.
    restarts_ : DataFrame with n_starts rows
        Where each search ended: parameters, `loss` on its pixels, `converged`, and
        whether it `agrees` with the best one, within three standard deviations on so
        many pixels.
    n_counts_ : float
        Counts seen by `partial_fit`.
    model_ : object
        `model`, or what stands for it.
    n_features_in_ : int
        Coordinates of a pixel.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where they are all strings.

    See Also
    --------
    LeastSquaresInverter : Fits spectra on the grid of a simulator.

    Notes
    -----
    Single events are binned first, as by :func:`numpy.histogramdd`: pixels without a
    count tell as much as those with one.

    :func:`~sklearn.base.clone` forgets what a model has learnt; wrap it in
    :class:`sklearn.frozen.FrozenEstimator` for a grid search.

    References
    ----------
    .. [1] S. R. Chitturi et al., "Capturing dynamical correlations using implicit
       neural representations", Nat. Commun. 14, 5852 (2023),
       :doi:`10.1038/s41467-023-41378-4`

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import PixelInverter
    >>> class Peak:
    ...     parameter_names, reference = ["position"], np.array([14.0])
    ...     def simulate_at(self, coordinates, parameters):
    ...         return self.jacobian_at(coordinates, parameters, True)[1]
    ...     def jacobian_at(self, coordinates, parameters, return_spectra=False):
    ...         x = np.ravel(coordinates) - np.reshape(parameters, (-1, 1))
    ...         spectra = np.exp(-(x**2) / 8)
    ...         slopes = (x / 4 * spectra)[..., None]
    ...         return (slopes, spectra) if return_spectra else slopes
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0, 30, size=(500, 1))
    >>> counts = rng.poisson(20 * Peak().simulate_at(X, [[16.0]])[0] + 1)
    >>> inverter = PixelInverter(Peak(), loss="poisson", random_state=0).fit(X, counts)
    >>> inverter.parameters_.round(1), inverter.std_.round(2)
    (array([16.]), array([0.06]))
    """

    _results = ("restarts_",)
    _parameter_constraints = {
        "model": [HasMethods(["simulate_at", "jacobian_at"]), None],
        "loss": [StrOptions({"correlation", "chi2", "poisson"})],
        "background": [at_least(0), None],
        "unit": [positive(numbers.Real)],
        "bounds": ["array-like", None],
        "n_starts": [at_least(1)],
        "n_candidates": [at_least(1)],
        "batch_size": [at_least(1)],
        "max_steps": [at_least(1)],
        "tolerance": [positive(numbers.Real)],
        "errors": [StrOptions({"residual", "noise"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        model=None,
        *,
        loss="correlation",
        background=0,
        unit=1.0,
        bounds=None,
        n_starts=10,
        n_candidates=256,
        batch_size=2048,
        max_steps=50,
        tolerance=1e-4,
        errors="residual",
        random_state=None,
    ):
        self.model = model
        self.loss = loss
        self.background = background
        self.unit = unit
        self.bounds = bounds
        self.n_starts = n_starts
        self.n_candidates = n_candidates
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.tolerance = tolerance
        self.errors = errors
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, errors=None):
        """Fit the parameters to pixels.

        Parameters
        ----------
        X : array-like of shape (n_pixels, n_coordinates)
            Where the pixels are, as the model has its coordinates.
        y : array-like of shape (n_pixels,)
            Intensities, or counts with ``loss="poisson"``; leave out pixels that were
            not measured. Not negative, but with ``loss="chi2"``.
        errors : array-like of shape (n_pixels,), default=None
            Standard deviations of intensities, for ``loss="chi2"``. None takes all
            pixels to be equally uncertain.

        Returns
        -------
        PixelInverter
            This estimator.

        Raises
        ------
        ValueError
            If intensities are NaN, negative, all the same or without a count, errors
            are not positive or of no use, or bounds do not fit the model.

        Warns
        -----
        ConvergenceWarning
            If the fit ended at `max_steps`.
        BoundWarning
            If a parameter ended at a bound.
        MisfitWarning
            If `reduced_chi2_` says that the model does not describe the pixels.
        IdentifiabilityWarning
            If the intensities do not determine a parameter: its `std_` is infinite.
        """
        X, y = self._start_anew(X, y)
        return self._fit(self._pixels(X, y, errors))

    @available_if(_counts_alone)
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y, exposure=1.0):
        """Add counts to those seen so far, and update the fit from where it stood.

        A pixel is known by its coordinates, which must be the same numbers each time.

        Parameters
        ----------
        X : array-like of shape (n_pixels, n_coordinates)
            Pixels that were measured since the last call, those without a count too.
        y : array-like of shape (n_pixels,)
            Counts there.
        exposure : float or array-like of shape (n_pixels,), default=1.0
            For how long, or by how many neutrons: in any unit, if always the same.

        Returns
        -------
        PixelInverter
            This estimator.

        Raises
        ------
        ValueError
            As for `fit`, or if the exposure is not positive. Where no counts have come
            yet, that nothing was there is kept.

        Warns
        -----
        ConvergenceWarning, BoundWarning, MisfitWarning, IdentifiabilityWarning
            As for `fit`.
        """
        seen = getattr(self, "_seen", None)
        is_new = seen is None
        X, y = self._start_anew(X, y) if is_new else self._validate(X, y, reset=False)
        exposure = np.broadcast_to(np.asarray(exposure, dtype=float), y.shape)
        if not (exposure > 0).all():
            raise ValueError(f"exposure must be positive, got {exposure.min():g}.")
        check_intensities(y, self.loss)
        before = getattr(self, "parameters_", None)
        rows = np.column_stack([X, y, exposure])
        if seen is not None:
            rows = np.vstack([seen, rows])
        places, inverse = np.unique(rows[:, :-2], axis=0, return_inverse=True)
        counts, exposures = (
            np.bincount(inverse.ravel(), column) for column in rows[:, -2:].T
        )
        self._seen = np.column_stack([places, counts, exposures])
        self.n_counts_ = float(counts.sum())
        return self._fit(self._pixels(places, counts, None, exposures), before)

    def predict(self, X):
        """Return the intensities of the fit.

        Parameters
        ----------
        X : array-like of shape (n_pixels, n_coordinates)
            Any coordinates that the model knows.

        Returns
        -------
        ndarray of shape (n_pixels,)
            In the unit of y, background included; after `partial_fit` counts for an
            exposure of 1.
        """
        check_is_fitted(self)
        X = validate_spectra(self, X, reset=False, dtype=float, remedy=ROWS_ARE_PIXELS)
        spectrum = self.model_.simulate_at(X, self.parameters_[None])[0]
        in_logarithms = self.loss == "correlation"
        if in_logarithms:
            spectrum = np.log1p(spectrum.clip(0) / self.unit)
        fitted = self.scale_ * spectrum + self._terms(X) @ self.background_
        return np.expm1(fitted) if in_logarithms else fitted

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss != "chi2"
        tags.regressor_tags.poor_score = True  # a model fits what it is a model of
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "parameters_")

    def _start_anew(self, X, y):
        for learnt in ("parameters_", "_seen", "n_counts_"):
            if hasattr(self, learnt):
                delattr(self, learnt)
        X, y = self._validate(X, y, ensure_min_samples=2)
        self.model_ = LogPlane(X) if self.model is None else self.model
        self._span = X[:, -1].min(), X[:, -1].max()
        self._box = self._choose_box()
        return X, y

    def _validate(self, X, y, **options):
        kind = {"dtype": float, "y_numeric": True, "remedy": ROWS_ARE_PIXELS}
        return validate_spectra(self, X, y, **kind, **options)

    def _choose_box(self):
        """Return least and largest parameters."""
        names = list(self.model_.parameter_names)
        reference = np.asarray(self.model_.reference, dtype=float)
        if self.bounds is not None:
            box = np.asarray(self.bounds, dtype=float)
        elif hasattr(self.model_, "bounds_"):
            box = self.model_.bounds_
        else:
            step = choose_steps(reference, names)
            box = np.array([reference - 2 * step, reference + 2 * step])
        return check_box(box, names)

    def _terms(self, X):
        degree = self.background
        if self.loss == "correlation":
            degree = degree or 0
        if degree is None:
            return np.zeros((len(X), 0))
        return nonnegative_terms(X[:, -1], degree, self._span).T

    def _pixels(self, X, y, errors, exposure=None):
        check_intensities(y, self.loss)
        if not y.any() or (np.ptp(y) == 0 and self.loss == "correlation"):
            raise ValueError(
                f"Intensities must differ to be fitted, got {len(y)} of {y[0]:g}. "
                "Wait for counts, or look at what y holds."
            )
        weight = np.ones(len(y))
        if errors is not None:
            weight = check_pixel_errors(errors, len(y), self.loss) ** -2.0
        self._noise_known = errors is not None
        exposure = np.ones(len(y)) if exposure is None else exposure
        y = np.log1p(y) if self.loss == "correlation" else y
        return Pixels(self.loss, X, y, weight, exposure, self._terms(X))

    def _fit(self, pixels, before=None):
        """Search on some pixels; refine the best ends, and what was before, on all."""
        random_state = check_random_state(self.random_state)
        batch = choose_batch(pixels, self.batch_size, random_state)
        n_looked_at = max(self.batch_size // _LOOKS, 1)
        some = batch.part(slice(None, None, -(-len(batch.intensity) // n_looked_at)))
        on_all = Comparison(self.model_, self._box, self.unit, pixels)
        on_batch, on_some = on_all.on(batch), on_all.on(some)
        lists = [
            shortlist(on_some, self.n_candidates, random_state)
            for _ in range(self.n_starts)
        ]
        ends = self._search(on_batch, np.array([rows[0] for rows in lists]))
        best = ends.found.cost.argmin()
        self.loss_curve_ = batch.losses(ends.curve[:, best])
        self.restarts_ = self._table(on_batch, ends, best)
        jury = on_all.on(
            choose_batch(pixels, max(_JUDGES, self.batch_size), random_state)
        )
        # a narrow minimum is found by a search, one that few counts blur by the lists
        proposed = [
            jury.best(ends.parameters[ends.found.cost.argsort()]),
            jury.best(np.vstack(lists)),
        ]
        if before is not None:
            proposed.append(on_all.to_unit(before)[None])
        ends = self._search(on_all, distinct(np.vstack(proposed), ALIKE))
        best = ends.found.cost.argmin()
        converged = ends.converged[best]
        found = ends.found.rows(np.array([best]))
        self._keep(on_all, ends.parameters[best], found)
        self._judge_fit(pixels, found, converged)
        if not converged:
            warn_user(
                f"The fit did not converge within max_steps={self.max_steps} to "
                f"tolerance={self.tolerance:g}. Raise either, or give it more pixels: "
                "these may not determine the parameters.",
                ConvergenceWarning,
            )
        return self

    def _search(self, comparison, starts):
        return descend(
            comparison,
            starts,
            np.outer([-1.0, 1.0], np.ones(starts.shape[1])),
            step_tolerance=self.tolerance,
            longest=_LONGEST,
            max_steps=self.max_steps,
        )

    def _keep(self, comparison, end, found):
        self.parameters_ = comparison.from_unit(end)
        self.at_bound_ = at_bound(end)
        variance = self._variance(comparison.pixels, found)
        curvature = comparison.curvature(end)
        self.covariance_ = comparison.covariance(end, found, variance, curvature)
        self.std_ = np.sqrt(np.diag(self.covariance_))
        linear = Fitted(*found.details).linear[0]
        self.scale_, self.background_ = float(linear[0]), linear[1:]
        self.loss_ = float(comparison.pixels.losses(found.cost)[0])

    def _judge_fit(self, pixels, found, converged):
        """Learn chi^2 per degree of freedom, and warn of what it or a bound tells."""
        table = pd.DataFrame(self.at_bound_[None], columns=self.model_.parameter_names)
        warn_of_bounds(table, self._box, _BOUND)
        names = self.model_.parameter_names
        warn_of_undetermined(self.std_[None], names, "Intensities", _UNDETERMINED)
        known = self._noise_known or self.loss == "poisson"
        (linear,), (residual,), (weight,), (slopes,) = Fitted(*found.details)
        n_free = len(residual) - slopes.shape[1] - len(linear)
        scaled, n_judged = residual * np.sqrt(weight), None
        if not known:
            left = np.sqrt(np.square(residual).mean())
            noise, n_judged = noise_between_neighbours(pixels.coordinates, residual)
            taken = np.sqrt(len(residual) / max(n_free, 1))
            scaled = residual / (min(noise, left) * taken or 1.0)
        square = scaled @ scaled / n_free if n_free > 0 else np.nan
        self.reduced_chi2_ = float(square)
        variance = None
        if known:
            variance = 2 + (weight if self.loss == "poisson" else 0.0)
        number = effective_number(scaled[:n_judged], variance)
        contrast = np.square(pixels.intensity - pixels.intensity.mean()).sum()
        left = np.square(residual).sum() / (contrast or 1.0)
        misfits = converged & are_misfits(np.array([square]), number, left, known)
        unused = ["a higher degree of background"] * (not self.background)
        warn_of_misfits(np.array([square]), misfits, known, _MEANING, unused)

    def _variance(self, pixels, found):
        """Return the variance of each intensity."""
        (linear,), (residual,), (weight,), (slopes,) = Fitted(*found.details)
        n_free = max(len(residual) - slopes.shape[1] - len(linear), 1)
        if self.errors == "residual":
            return residual**2 * (len(residual) / n_free)
        if self.loss == "poisson":
            return pixels.intensity
        chi2 = 1.0 if self._noise_known else (weight @ residual**2) / n_free
        return chi2 / weight

    def _table(self, comparison, ends, best):
        """Return where searches ended, and which of them agree with the best."""
        found = ends.found.rows(np.array([best]))
        variance = self._variance(comparison.pixels, found)
        covariance = comparison.covariance(ends.parameters[best], found, variance)
        parameters = comparison.from_unit(ends.parameters)
        near = 3 * np.sqrt(np.diag(covariance))
        near = near + ALIKE * np.diff(self._box, axis=0) / 2
        table = dict(zip(self.model_.parameter_names, parameters.T, strict=True))
        table["loss"] = comparison.pixels.losses(ends.found.cost)
        table["converged"] = ends.converged
        table["agrees"] = (np.abs(parameters - parameters[best]) <= near).all(axis=1)
        return pd.DataFrame(table)
