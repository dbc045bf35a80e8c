"""Augmentation for missing data: fewer voxels, few counts and a smooth background."""

import numbers

import numpy as np

from skphonon._validation import at_least, positive
from skphonon._versioned import VersionedEstimator
from skphonon.instrument.augmentation import Coverage, value_at
from skphonon.instrument.noise import draw_counts
from skphonon.learning._components import same_voxels

__all__ = ["Augmentation", "Views", "as_augmentation"]

_ROWS = 50  # that share the voxels which are seen
_EVERYTHING = 0.1  # share of the spectra with all voxels
_NOISELESS = 0.1  # share of those without noise
_FEWEST = 0.1  # least share of voxels seen, without patterns
_NORMAL_FROM = 1e4  # counts from which they are as good as normal


class Augmentation(VersionedEstimator):
    """What augmented spectra differ in, for training with missing data.

    Settings of :class:`~skphonon.learning.SpectrumRegressor`, which draws random
    voxels, counts and a background for each of several views of a training spectrum.

    Parameters
    ----------
    coverage : array-like of bool of shape (n_patterns, n_features), default=None
        Voxels that may be seen, as from ``grid.coverage().reshape(n_psi, -1)``: an
        augmented spectrum has some of these patterns together. None: a random share,
        from a tenth of the voxels to all. One spectrum in ten has all voxels anyway.
    n_patterns : int or pair of int, default=None
        Number of patterns together, or a pair (low, high) to draw it from, evenly in
        the logarithm. None: from one to all.
    counts : float or pair of float, default=(0.01, 10000.0)
        Neutrons in a voxel of mean intensity, background included, as for
        :func:`~skphonon.datasets.make_crystal_spectra`, or a pair to draw from, evenly
        in the logarithm. One spectrum in ten has no noise; negative intensities never
        have. None: no noise at all.
    background : float, default=0.3
        Largest mean of the random background, in units of the mean visible intensity.
        0: spectra have no background, and a constant intensity is signal.
    n_views : int, default=10
        Augmented spectra of each training spectrum.
    jitter : float, default=0.6
        Largest standard deviation of noise added to the components of logarithms in
        every batch, in units of their spread. It is drawn for each sample, evenly in
        the logarithm, from a hundredth of that. 0: none.

    Examples
    --------
    >>> from skphonon.learning import Augmentation, SpectrumRegressor
    >>> regressor = SpectrumRegressor(augmentation=Augmentation(counts=(1, 100)))
    >>> regressor.set_params(augmentation__n_views=5)
    SpectrumRegressor(augmentation=Augmentation(counts=(1, 100), n_views=5))
    """

    _parameter_constraints = {
        "coverage": ["array-like", None],
        "n_patterns": [at_least(1), "array-like", None],
        "counts": [positive(), "array-like", None],
        "background": [at_least(0, numbers.Real)],
        "n_views": [at_least(1)],
        "jitter": [at_least(0, numbers.Real)],
    }

    def __init__(
        self,
        coverage=None,
        *,
        n_patterns=None,
        counts=(0.01, 1e4),
        background=0.3,
        n_views=10,
        jitter=0.6,
    ):
        self.coverage = coverage
        self.n_patterns = n_patterns
        self.counts = counts
        self.background = background
        self.n_views = n_views
        self.jitter = jitter


def as_augmentation(given: Augmentation | None) -> Augmentation:
    """Return what the value of `augmentation` stands for."""
    return Augmentation() if given is None else given


class Views:
    """Random voxels, counting noise and background of spectra.

    Some of the patterns of `coverage` are seen together, a number in `n_patterns`;
    voxels of mean intensity count a number of neutrons in `counts`; a background has a
    mean of at most `background`, in units of the mean intensity, times 1 plus at most
    `slope`. All ranges are even in the logarithm; None is for no patterns, or no noise.
    """

    def __init__(self, coverage, n_patterns, counts, background, slope, rng):
        self.coverage = None if coverage is None else Coverage.of(coverage)
        self.n_patterns, self.counts = n_patterns, counts
        self.background, self.slope, self.rng = background, slope, rng

    def draw(self, X):
        """Yield numbers of rows, numbers of the voxels they see, and their intensities.

        Each row comes once. Voxels missing in X stay missing.
        """
        order = self.rng.permutation(len(X))
        for rows in np.array_split(order, -(-len(X) // _ROWS)):
            seen = self._seen()
            for group, common, found in same_voxels(X, rows, seen):
                yield group, common, self._measured(found, common)

    def _seen(self):
        """Draw the numbers of some voxels, in order."""
        n_voxels = len(self.slope)
        everything, share = self.rng.uniform(size=2)
        if everything < _EVERYTHING:
            return np.arange(n_voxels)
        if self.coverage is None:
            chosen = self.rng.permutation(n_voxels)
            return np.sort(chosen[: int(np.ceil(n_voxels * _FEWEST**share))])
        low, high = self.n_patterns
        n_chosen = min(high, int(value_at(share, (low, high + 1), in_logarithm=True)))
        chosen = self.rng.permutation(len(self.coverage.bits))[:n_chosen]
        return np.flatnonzero(self.coverage.together(chosen))

    def _measured(self, X, seen):
        """Add background and counting noise to rows."""
        mean = np.maximum(X, 0).mean(axis=1, dtype=float)[:, None]
        level, slope, share, noiseless = self.rng.uniform(size=(4, len(X), 1))
        slope = (2 * slope - 1) * self.slope[seen]
        X = X + np.float32(self.background * level * mean * (1 + slope))
        if self.counts is None:
            return X
        # a background counts as intensity
        level = mean * (1 + self.background * level)
        scale = value_at(share, self.counts, in_logarithm=True) / level
        scale = np.float32(np.where(mean > 0, scale, 1.0))
        expected = np.maximum(X, 0) * scale
        noise = (draw_counts(self.rng, expected, _NORMAL_FROM) - expected) / scale
        return X + noise * (noiseless >= _NOISELESS)
