"""A detector of spectra unlike those that a network was trained on."""

import numbers

import numpy as np
from sklearn.base import OutlierMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import HasMethods, Interval, fit_context, steps_of
from skphonon._versioned import VersionedEstimator
from skphonon._warnings import warn_user
from skphonon.learning.features import VAEFeatureExtractor
from skphonon.learning.novelty import smallest_p_value

__all__ = ["NoveltyDetector"]

_FEWEST = 100  # spectra held out, from which on any p-value is possible


class NoveltyDetector(OutlierMixin, VersionedEstimator):
    """Tell spectra that are unlike those that an extractor was trained on.

    What a network says of them is a guess: another material, a wrong incident energy, a
    background or noise that training did not have. There are two tests, of what the
    extractor cannot return of a spectrum and of where its code lies. Each compares with
    the spectra that training held out (see `table`).

    Parameters
    ----------
    extractor : estimator, default=None
        :class:`~skphonon.learning.VAEFeatureExtractor` with ``inference="amortized"``,
        :class:`~skphonon.learning.AEFeatureExtractor`, or a Pipeline that has one, such
        as one from spectra to force constants, of which the steps behind the extractor
        do not matter. `fit` trains a clone; one that is trained already goes in a
        :class:`~sklearn.frozen.FrozenEstimator`. None: ``VAEFeatureExtractor()``.
    level : float, default=0.001
        Probability of a false alarm, for each spectrum. With n spectra held out in
        training no p-value is below ``2 / (n + 1)``, unless n is 100 or more.

    Attributes
    ----------
    extractor_ : estimator
        The trained extractor, or the Pipeline that has it.
    offset_ : float
        The level: `decision_function` is `score_samples` less this.
    n_features_in_ : int
        Features seen in `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.learning import NoveltyDetector, VAEFeatureExtractor
    >>> centre = np.linspace(-1, 1, 2000)[:, None]
    >>> X = np.exp(-4 * (np.linspace(-2, 2, 30) - centre) ** 2)  # moving peaks
    >>> extractor = VAEFeatureExtractor(3, noise=0.05, random_state=0)
    >>> detector = NoveltyDetector(extractor, level=0.01).fit(X)
    >>> detector.predict([X[700], X[200] + X[1800]])  # a peak, and two
    array([ 1, -1])
    """

    _parameter_constraints = {
        "extractor": [HasMethods(["fit", "transform"]), HasMethods(["fit", "predict"]),
                      None],
        "level": [Interval(numbers.Real, 0, 1, closed="neither")],
    }  # fmt: skip

    def __init__(self, extractor=None, *, level=0.001):
        self.extractor = extractor
        self.level = level

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Train a clone of the extractor, unless it is frozen.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, as the extractor or the Pipeline wants them.
        y : array-like, default=None
            Targets of the last step of a Pipeline.

        Returns
        -------
        NoveltyDetector
            This detector.

        Raises
        ------
        ValueError
            If there is no extractor of this kind, or as from its `fit`.

        Warns
        -----
        UserWarning
            If so few spectra were held out in training that no p-value can be below
            `level`.
        """
        given = VAEFeatureExtractor() if self.extractor is None else self.extractor
        self.extractor_ = clone(given)
        self.extractor_.fit(X, y)
        self.offset_ = self.level
        _, inner = self._parts()
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.extractor_, name):
                setattr(self, name, getattr(self.extractor_, name))
        least = smallest_p_value(len(inner.reference_))
        if least > self.level:
            number = len(inner.reference_)
            warn_user(
                f"No spectrum can be called novel: with {number} spectra held out in "
                f"training no p-value is below {least:.2g}, and level is "
                f"{self.level:g}. Let {_FEWEST} be held out, by more spectra or "
                "trainer__validation_fraction, or raise level.",
                UserWarning,
            )
        return self

    def score_samples(self, X):
        """Return p-values: the probability that a training spectrum is as unusual.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            From 0, unlike any training spectrum, to 1: twice the smaller of the
            p-values of `table`.
        """
        steps, extractor = self._parts()
        return extractor.score_samples(steps.transform(X) if len(steps) else X)

    def decision_function(self, X):
        """Return `score_samples` less the level: below zero for a foreign spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Differences of probabilities.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Return -1 for spectra unlike those of training, and 1 for others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            -1 or 1. Of spectra like those of training a share of about `level` has -1.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def table(self, X):
        """Return the statistics and the p-values of both tests of each spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        DataFrame of shape (n_samples, 4)
            ``misfit``, ``distance``, ``p_misfit`` and ``p_distance``, as from
            ``VAEFeatureExtractor.novelty``.
        """
        steps, extractor = self._parts()
        return extractor.novelty(steps.transform(X) if len(steps) else X)

    def _parts(self):
        """Return the steps in front of the extractor, and the extractor."""
        check_is_fitted(self, ["extractor_", "offset_"])
        steps = steps_of(self.extractor_)
        for n, step in enumerate(steps):
            if hasattr(step, "score_samples") and hasattr(step, "novelty"):
                front = [(f"{k}", each) for k, each in enumerate(steps[:n])]
                return Pipeline(front), step
        raise ValueError(
            "extractor must be VAEFeatureExtractor(inference='amortized') or "
            f"AEFeatureExtractor, or a Pipeline with one, got {self.extractor!r}."
        )
