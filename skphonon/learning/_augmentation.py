"""Augmentation of spectra: each time other voxels, another background, other counts."""

import numpy as np

from skphonon.instrument.augmentation import Coverage, value_at
from skphonon.instrument.noise import draw_counts
from skphonon.learning._components import same_voxels

__all__ = ["Augmentation"]

_ROWS = 50  # spectra at a time, which see the same voxels
_EVERYTHING = 0.1  # share of these with all voxels
_NOISELESS = 0.1  # share of the spectra without noise
_FEWEST = 0.1  # share of voxels seen without patterns
_MANY = 1e4  # counts from which they are as good as normal


class Augmentation:
    """Draw spectra as measurements would show them.

    Parameters
    ----------
    coverage : ndarray of bool of shape (n_patterns, n_voxels) or None
        Voxels that each pattern sees.
    n_patterns : pair of int
        Number of patterns together, evenly in the logarithm.
    counts : pair of float or None
        Neutrons in a voxel of mean intensity, evenly in the logarithm.
    background : float
        Largest background, in units of the mean intensity.
    slopes : ndarray of shape (n_voxels,)
        Change by a background of slope one, at most 1.
    rng : numpy.random.Generator
        Source of all that is drawn.
    """

    def __init__(self, coverage, n_patterns, counts, background, slopes, rng):
        self.coverage = None if coverage is None else Coverage.of(coverage)
        self.n_patterns = n_patterns
        self.counts, self.background, self.slopes = counts, background, slopes
        self.rng = rng

    def draw(self, X):
        """Yield numbers of rows, numbers of the voxels that they see, and both's X.

        Each row comes once. Voxels that are missing in X stay so.
        """
        order = self.rng.permutation(len(X))
        for rows in np.array_split(order, -(-len(X) // _ROWS)):
            seen = self._seen()
            for group, common, found in same_voxels(X, rows, seen):
                yield group, common, self._measured(found, common)

    def _seen(self):
        """Draw numbers of voxels, in order."""
        n_voxels = len(self.slopes)
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
        slope = (2 * slope - 1) * self.slopes[seen]
        X = X + np.float32(self.background * level * mean * (1 + slope))
        if self.counts is None:
            return X
        counts = value_at(share, self.counts, in_logarithm=True)
        # a background counts as intensity
        scale = counts / (mean * (1 + self.background * level))
        scale = np.float32(np.where(mean > 0, scale, 1.0))
        expected = np.maximum(X, 0) * scale
        noise = (draw_counts(self.rng, expected, _MANY) - expected) / scale
        return X + noise * (noiseless >= _NOISELESS)
