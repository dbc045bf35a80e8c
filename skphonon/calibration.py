r"""Standard deviations and intervals that are right as often as they say.

An estimator that gives a value :math:`\hat y` with a standard deviation
:math:`\sigma` is held against samples whose answer y is known. The scores
:math:`|y - \hat y| / \sigma` of these tell by what factor to multiply
:math:`\sigma`, so that the wanted share of all samples is covered: split conformal
prediction with normalised scores (doi:10.1080/01621459.2017.1307116).
"""

import numbers

import numpy as np
from sklearn.base import MetaEstimatorMixin, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import get_tags, indexable
from sklearn.utils.validation import check_array, check_is_fitted

from skphonon._validation import HasMethods, Interval, fit_context, gives_std
from skphonon._versioned import VersionedEstimator

__all__ = ["CalibratedRegressor"]

_ONE_SIGMA = 0.6827  # of a normal distribution within one standard deviation
_ROUNDING = 1e-9  # 0.55 of 20 comes out above 11


class CalibratedRegressor(MetaEstimatorMixin, RegressorMixin, VersionedEstimator):
    r"""Correct the standard deviations of a regressor, and give intervals.

    Each target gets the factor by which its standard deviations have to be multiplied
    to cover 68.27 % of samples that the regressor was not trained on, and intervals of
    any other coverage by factors of their own: errors need not be normal. Values stay
    as they are.

    An interval of coverage c holds the true value of a new sample with a probability of
    c or more (and of at most c + 1/(n + 1), for n calibration samples, where no two
    scores are equal), whatever the regressor and the distribution of its errors [1]_.
    This holds for each target on its own, on average over calibration sets and over
    samples, and if the new sample and those of the calibration are exchangeable: as if
    all were drawn from one lot. Measured spectra are not drawn from a set of simulated
    ones: intervals then are as good as the simulations. Let them differ as experiments
    do, noise included (augmentation).

    Parameters
    ----------
    estimator : estimator
        Regressor, or pipeline that ends in one, with ``predict(X, return_std=True)``.
        In a :class:`sklearn.frozen.FrozenEstimator` it is used as it is, and all
        samples serve for calibration: none of those that it was trained on.
    calibration_fraction : float, default=0.2
        Part of the samples, chosen at random, that a regressor which is not frozen is
        calibrated on, and not trained on.
    random_state : int, RandomState instance or None, default=None
        Determines which samples these are. An int makes results reproducible.

    Attributes
    ----------
    estimator_ : estimator
        The fitted regressor.
    factors_ : ndarray of shape (n_targets,)
        Factors of standard deviations. Above 1 the regressor was too sure.
    scores_ : ndarray of shape (n_calibration_samples, n_targets)
        :math:`|y - \hat y| / \sigma` of the calibration samples, sorted for each
        target, NaN (last) where :math:`\sigma` is zero or infinite.
    n_features_in_ : int
        Features seen in `fit`, if the regressor tells.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if the regressor tells.

    See Also
    --------
    skphonon.inspection.ReliabilityDisplay : Picture of how often intervals are right.

    Notes
    -----
    A standard deviation that is infinite (of a parameter that a spectrum does not
    determine) or zero (where a search ended at a bound) is no scale for errors. Such
    predictions are left out of the calibration, and get infinite standard deviations
    and intervals; what is said above holds for the others. Where the calibration
    samples are too few for a coverage, n < c/(1 - c), all intervals are infinite.

    References
    ----------
    .. [1] J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman,
       "Distribution-free predictive inference for regression", J. Am. Stat. Assoc.
       113, 1094 (2018), :doi:`10.1080/01621459.2017.1307116`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import BayesianRidge
    >>> from skphonon.calibration import CalibratedRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(600, 1))
    >>> y = X[:, 0] + 0.1 * rng.laplace(size=600)
    >>> line = BayesianRidge().fit(X[:100], y[:100])
    >>> sure = CalibratedRegressor(FrozenEstimator(line)).fit(X[100:400], y[100:400])
    >>> low, high = sure.predict_interval(X[400:], coverage=0.9)
    >>> float(np.mean((low <= y[400:]) & (y[400:] <= high)))
    0.895
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"])],
        "calibration_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(self, estimator, *, calibration_fraction=0.2, random_state=None):
        self.estimator = estimator
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y):
        """Train the regressor, unless it is frozen, and calibrate it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Input of the regressor.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            True values.

        Returns
        -------
        CalibratedRegressor
            This estimator.

        Raises
        ------
        ValueError
            If y is missing, not finite or of another shape than predictions are, or
            there are too few samples to split.
        TypeError
            If the regressor gives no standard deviations.
        """
        if y is None:
            raise ValueError(
                "CalibratedRegressor requires y to be passed, but the target y is None."
            )
        if not gives_std(self.estimator):
            raise TypeError(
                "estimator must have predict(X, return_std=True), or end in a step "
                f"that has; got {self.estimator!r}."
            )
        X, y = self._train(*indexable(X, y))
        values, scale = self._predict(X)
        y = check_array(y, dtype=float, ensure_2d=False, input_name="y")
        if y.size != values.size:  # one column or none is the same
            raise ValueError(
                f"y must have the shape of the regressor's predictions, "
                f"{values.shape}, got {y.shape}."
            )
        error = np.abs(y.reshape(values.shape) - values)
        scores = np.where(np.isfinite(scale), error / scale, np.nan)
        self.scores_ = np.sort(scores.reshape(len(y), -1), axis=0)
        self.factors_ = self._factors(_ONE_SIGMA)
        return self

    def predict(self, X, return_std=False):
        """Predict targets, with calibrated standard deviations if asked.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As in `fit`.
        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions of the regressor.
        std : ndarray of the same shape
            Half of an interval that covers 68.27 %; only with ``return_std=True``.
        """
        check_is_fitted(self)
        if not return_std:
            return self.estimator_.predict(X)
        values, scale = self._predict(X)
        return values, _multiply(scale, self.factors_)

    def predict_interval(self, X, coverage=0.95):
        """Predict between which values targets lie.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As in `fit`.
        coverage : float or array-like of shape (n_coverages,), default=0.95
            Probability, between 0 and 1, that an interval has to hold the true value.

        Returns
        -------
        low, high : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Ends of the intervals, as far below a prediction as above it; for several
            coverages with an axis of them in front.

        Raises
        ------
        ValueError
            If a coverage is not between 0 and 1.
        """
        check_is_fitted(self)
        coverage = np.asarray(coverage, dtype=float)
        if not ((coverage > 0) & (coverage < 1)).all():
            raise ValueError(
                f"coverage must lie between 0 and 1, got {coverage.tolist()}."
            )
        values, scale = self._predict(X)
        half = _multiply(scale, self._factors(coverage))
        return values - half, values + half

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        theirs = get_tags(self.estimator)
        tags.input_tags = theirs.input_tags
        tags.target_tags = theirs.target_tags
        tags.regressor_tags = theirs.regressor_tags
        return tags

    def _train(self, X, y):
        """Get a fitted regressor, and return the samples left to calibrate it on."""
        if isinstance(self.estimator, FrozenEstimator):
            self.estimator_ = self.estimator
        else:
            X_train, X, y_train, y = train_test_split(
                X,
                y,
                test_size=self.calibration_fraction,
                random_state=self.random_state,
            )
            self.estimator_ = clone(self.estimator).fit(X_train, y_train)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return X, y

    def _predict(self, X):
        """Return predictions, and standard deviations where they are a scale."""
        values, std = self.estimator_.predict(X, return_std=True)
        return values, np.where(std > 0, std, np.inf)

    def _factors(self, coverage):
        """Return the least factor that covers so much, for each target (last axis)."""
        n = np.isfinite(self.scores_).sum(axis=0)
        # of so many and the new sample, each as likely to be in any place
        rank = np.ceil(np.multiply.outer(coverage, n + 1) - _ROUNDING).astype(int)
        known = rank <= n
        rows = np.where(known, rank, 1) - 1
        return np.where(known, self.scores_[rows, np.arange(len(n))], np.inf)


def _multiply(scale, factors):
    """Return scales (n_samples,) or (n_samples, n_targets) times factors of targets."""
    columns = scale.reshape(len(scale), -1)
    factors = factors[..., None, :]
    # infinite is unknown: it stays so whatever the factor, zero included
    known = np.isfinite(columns) & np.isfinite(factors)
    product = np.full(known.shape, np.inf)
    np.multiply(columns, factors, out=product, where=known)
    return product.reshape(*factors.shape[:-2], *scale.shape)
