"""Novelty of spectra: their distance from those that a network was trained on.

There are two statistics: the misfit, which is the part of a spectrum that the network
cannot return and that is no white noise, and the distance of the code from the mean
code of training spectra. Each becomes a p-value by its rank among reference spectra.
"""

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.utils.metaestimators import available_if

from skphonon._warnings import warn_user
from skphonon.learning._extractor import amortized

__all__ = [
    "NoveltyMixin",
    "OutOfDistributionWarning",
    "combine",
    "comparable",
    "misfits",
    "p_values",
    "smallest_p_value",
    "warn_of_foreign",
    "whitening",
]

_NORMAL_QUARTILE = 0.6745  # of the standard normal distribution
# White noise of variance v in n pixels leaves a misfit of 0 +- 2.1 v / sqrt(n) (by
# simulation); a misfit counts beyond three times that.
_NOISE_MARGIN = 6.3
_MOST_NOISE = 0.5  # of a mean square: beyond, a spectrum is noise and not a noisy one
_SMALLEST_SPREAD = 1e-4  # of codes, relative to the largest
_TAIL = 0.1  # part of the reference that a power law is fitted to
_FEWEST_IN_TAIL = 10
_ROUNDING = 1e-5
_MOST_IN_REFERENCE = 2000
_ROWS_IN_CACHE = 128


class OutOfDistributionWarning(UserWarning):
    """Spectra are unlike those that an extractor was trained on."""


def misfits(X, reconstructed):
    """Return the part of each spectrum that is neither returned nor white noise.

    The variance v of white noise is estimated from the median difference between
    residuals of neighbouring features, which neither smooth misfits nor single pixels
    change. The misfit is the mean square residual beyond ``v * (1 + 6.3 / sqrt(n))``,
    relative to the mean square of the spectrum; zero or less where noise explains all.
    Noise explains half of the mean square at most: what is noise alone shows nothing of
    the sample.
    """
    n_features = X.shape[1]
    residual = X - reconstructed
    noise = np.zeros(len(X))
    if n_features > 1:
        steps = np.abs(np.diff(residual, axis=1))
        middle = (n_features - 1) // 2
        steps.partition(middle, axis=1)
        noise += np.square(steps[:, middle] / _NORMAL_QUARTILE) / 2
    excess = np.square(residual).mean(axis=1, dtype=float)
    size = np.square(X).mean(axis=1, dtype=float)
    noise = np.minimum(noise, _MOST_NOISE * size)
    excess -= noise * (1 + _NOISE_MARGIN / np.sqrt(n_features))
    return excess / np.maximum(size, np.finfo(float).tiny)


def whitening(codes):
    """Return the mean of codes, and the map W from offsets to Mahalanobis vectors.

    The length of ``(c - mean) @ W`` is the distance of a code c, in units of its root
    mean square over these codes.
    """
    mean = codes.mean(axis=0, dtype=float)
    offsets = codes - mean
    variance, axes = np.linalg.eigh(offsets.T @ offsets / len(codes))
    # a direction without training codes must not be infinitely far
    least = _SMALLEST_SPREAD**2 * (variance[-1] if variance[-1] > 0 else 1.0)
    return mean, axes / np.sqrt(len(mean) * np.maximum(variance, least))


def comparable(statistics):
    """Return statistics (n_samples, 2) whose columns can be compared between spectra.

    Networks err more where training spectra are rare, such as those of unstable
    crystals, about by the square of the distance: misfits are divided by that, beyond
    a distance of 1.
    """
    misfit, distance = statistics.T
    return np.column_stack([misfit / _misfit_scale(distance), distance])


def _misfit_scale(distance):
    return np.maximum(np.square(distance), 1.0)


def p_values(values, reference):
    """Return the probability of values as large as these, given a reference sample.

    It is the part of the sample, and of the value itself, that is as large. Above the
    90th percentile, in a sample of a hundred or more, it is a power law of the offset
    from the median (B. M. Hill, https://doi.org/10.1214/aos/1176343247).
    """
    n, reference = len(reference), np.sort(reference)
    # a spectrum of the reference must be as large as itself, whatever the rounding
    rounded = values - _ROUNDING * np.abs(reference).max()
    p = (1 + n - np.searchsorted(reference, rounded)) / (1 + n)
    n_tail = int(_TAIL * n)
    if n_tail < _FEWEST_IN_TAIL:
        return p
    median = np.median(reference)
    begin, *tail = reference[-n_tail - 1 :] - median
    if not 0 < begin < tail[-1]:
        return p
    exponent = 1 / np.log(np.divide(tail, begin)).mean()
    ratio = np.maximum((values - median) / begin, 1.0)
    return np.where(ratio > 1, (1 + n_tail) / (1 + n) * ratio**-exponent, p)


def smallest_p_value(n_reference):
    """Return what a combined p-value cannot be below, with a reference of this size."""
    return 0.0 if int(_TAIL * n_reference) >= _FEWEST_IN_TAIL else 2 / (n_reference + 1)


def combine(p):
    """Return one p-value a row: twice the smallest, for two tests."""
    return np.minimum(p.shape[1] * p.min(axis=1), 1.0)


def warn_of_foreign(statistics, p, reference, level, name):
    """Warn of foreign spectra, at a level that holds for all spectra together."""
    combined = combine(p)
    foreign = np.flatnonzero(false_discovery_control(combined) < level)
    if not len(foreign):
        return
    row = foreign[0]
    misfit, distance = statistics[row]
    usual_misfit, usual_distance = np.quantile(reference, 0.99, axis=0)
    reasons = (
        f"{misfit:.2%} of its mean square is neither reproduced nor white noise; 99 % "
        "of training spectra, had they such a code, would be below "
        f"{max(usual_misfit, 0) * _misfit_scale(distance):.2%}",
        f"its code is {distance:.2f} times the usual distance from the mean code; 99 % "
        f"of training spectra are below {usual_distance:.2f}",
    )
    told = [why for why, each in zip(reasons, p[row], strict=True) if 2 * each < level]
    warn_user(
        f"{len(foreign)} of {len(p)} spectra are unlike those that {name} was trained "
        f"on. The first is row {row} (p = {combined[row]:.1g}): {', and '.join(told)}. "
        "What is predicted from such codes is a guess. Check the material, the "
        "incident energy, the axes, the background and bad pixels. If the spectra are "
        "right, train on spectra that vary as they do (augmentation "
        "in make_powder_spectra), fine-tune on them (partial_fit), or fit what is "
        "unknown along (nuisance in LeastSquaresInverter).",
        OutOfDistributionWarning,
    )


class NoveltyMixin:
    """Tests of an autoencoder for spectra that it was not trained on.

    The estimator offers `_spectra`, `_encoded` and `_decode`. It calls
    `_learn_reference` after its first training, `_remember` before further training and
    `_update_reference` after that.
    """

    warn_below: float | None

    def _spectra(self, X):
        raise NotImplementedError

    def _encoded(self, X):
        raise NotImplementedError

    def _decode(self, codes):
        raise NotImplementedError

    @available_if(amortized)
    def score_samples(self, X):
        """Return p-values: the probability that a training spectrum is as unusual.

        Both tests count, that of the misfit and that of the code (see `novelty`): the
        result is twice the smaller p-value. Every spectrum is judged on its own.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            From 0, unlike any training spectrum, to 1. A spectrum like those of `fit`
            is below p with a probability of about p, or less. With n rows in
            `reference_` none is below ``2 / (n + 1)`` unless n is 100 or more.
        """
        return combine(self._judge(X)[1])

    @available_if(amortized)
    def novelty(self, X):
        """Return the statistics and the p-values of both tests of each spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        DataFrame of shape (n_samples, 4)
            ``misfit``: part of the mean square of a spectrum that the network does not
            return and that is no white noise, below 0 where there is none; noise is
            taken for half of the mean square at most. Neighbouring
            features must be neighbours in the spectrum. Counting noise is part of it,
            unless the training spectra have as much. ``distance``: Mahalanobis distance
            of the mean code from the mean of training spectra, in units of its root
            mean square there. ``p_misfit`` and ``p_distance``: probability that a
            training spectrum has as much. For distances above 1, where networks err
            more, misfits are compared after division by the square of the distance.
        """
        import pandas as pd  # predictions do not need it

        columns = ["misfit", "distance", "p_misfit", "p_distance"]
        return pd.DataFrame(np.hstack(self._judge(X)), columns=columns)

    def _judge(self, X):
        """Return statistics and p-values, both of shape (n_samples, 2)."""
        X = self._spectra(X)
        statistics = self._statistics(X, self._encoded(X))
        return statistics, self._p_values(statistics)

    def _warn_of_foreign(self, X, codes):
        if self.warn_below is None:
            return
        statistics, name = self._statistics(X, codes), type(self).__name__
        p, reference = self._p_values(statistics), self._comparable_reference()
        warn_of_foreign(statistics, p, reference, self.warn_below, name)

    def _statistics(self, X, codes):
        """Return misfits and distances, (n_samples, 2), of spectra and mean codes."""
        some = [slice(n, n + _ROWS_IN_CACHE) for n in range(0, len(X), _ROWS_IN_CACHE)]
        misfit = [misfits(X[rows], self._decode(codes[rows])) for rows in some]
        offsets = (codes - self.code_mean_) @ self.code_whitening_
        distance = np.linalg.norm(offsets, axis=1)
        return np.column_stack([np.concatenate(misfit), distance])

    def _p_values(self, statistics):
        columns = zip(
            comparable(statistics).T, self._comparable_reference().T, strict=True
        )
        return np.column_stack([p_values(*column) for column in columns])

    def _comparable_reference(self):
        return comparable(self.reference_) + self.allowance_

    def _learn_reference(self, X, held_out=()):
        """Take statistics of the spectra held out, or of all if there are none."""
        kept = np.setdiff1d(np.arange(len(X)), held_out)
        trained, fresh = (
            X[rows[:: -(-len(rows) // _MOST_IN_REFERENCE)]]
            for rows in (kept, held_out if len(held_out) else kept)
        )
        self.code_mean_, self.code_whitening_ = whitening(self._encoded(trained))
        self.reference_codes_ = self._encoded(fresh)
        self.reference_ = self._statistics(fresh, self.reference_codes_)
        self.allowance_ = np.zeros(2)

    def _remember(self):
        """Return spectra decoded from the reference codes, and their misfits."""
        spectra = self._decode(self.reference_codes_)
        return spectra, self._statistics(spectra, self._encoded(spectra))[:, 0]

    def _update_reference(self, X, remembered):
        """Accept X, which was trained on; other spectra may be returned worse now."""
        if len(X) >= len(self.reference_):
            self._learn_reference(X)
            return
        spectra, misfit = remembered
        codes = self._encoded(spectra)
        statistics = self._statistics(spectra, codes)
        statistics[:, 0] = np.maximum(statistics[:, 0] - misfit, 0)
        statistics[:, 0] += self.reference_[:, 0]
        self.reference_, self.reference_codes_ = statistics, codes
        usual = np.quantile(comparable(statistics), len(X) / (len(X) + 1), axis=0)
        found = comparable(self._statistics(X, self._encoded(X)))
        self.allowance_ = np.maximum(found.max(axis=0) - usual, self.allowance_)
