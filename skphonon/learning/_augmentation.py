"""Spectra as measurements would show them: fewer voxels, few counts, a background."""

import numpy as np

from skphonon.learning._components import same_voxels

__all__ = ["Views"]

_ROWS = 50  # that share the voxels which are seen
_EVERYTHING = 0.1  # share of the views with all voxels
_NOISELESS = 0.1  # share of those without noise
_FEWEST = 0.1  # share of voxels seen without patterns
_MANY = 1e4  # counts from which they are as good as normal


class Views:
    """Draw views of spectra.

    Parameters
    ----------
    coverage : ndarray of bool of shape (n_patterns, n_voxels) or None
        What each pattern sees.
    n_patterns : pair of int
        How many patterns a view has together, evenly in the logarithm.
    counts : pair of float or None
        Neutrons in a voxel of mean intensity, evenly in the logarithm.
    background : float
        Largest background, in units of the mean intensity.
    slopes : ndarray of shape (n_voxels,)
        What a background of slope one changes by, at most 1.
    rng : numpy.random.Generator
        Source of all that is drawn.
    """

    def __init__(self, coverage, n_patterns, counts, background, slopes, rng):
        self.coverage, self.n_patterns = coverage, n_patterns
        self.counts, self.background, self.slopes = counts, background, slopes
        self.rng = rng

    def draw(self, X):
        """Yield numbers of rows, numbers of the voxels that they see, and both's X.

        Each row comes once. What is missing in X is missing in its views.
        """
        order = self.rng.permutation(len(X))
        for rows in np.array_split(order, -(-len(X) // _ROWS)):
            seen = self._seen()
            for group, common, found in same_voxels(X, rows, seen):
                yield group, common, self._measured(found, common)

    def _seen(self):
        """Return numbers of the voxels of one view, in order."""
        n_voxels = len(self.slopes)
        everything, share = self.rng.uniform(size=2)
        if everything < _EVERYTHING:
            return np.arange(n_voxels)
        if self.coverage is None:
            chosen = self.rng.permutation(n_voxels)
            return np.sort(chosen[: int(np.ceil(n_voxels * _FEWEST**share))])
        low, high = self.n_patterns
        n_chosen = min(high, int(low * ((high + 1) / low) ** share))
        chosen = self.rng.permutation(len(self.coverage))[:n_chosen]
        return np.flatnonzero(self.coverage[chosen].any(axis=0))

    def _measured(self, X, seen):
        """Add background and counting noise to rows."""
        mean = np.maximum(X, 0).mean(axis=1, dtype=float)[:, None]
        level, slope, share, noiseless = self.rng.uniform(size=(4, len(X), 1))
        slope = (2 * slope - 1) * self.slopes[seen]
        X = X + np.float32(self.background * level * mean * (1 + slope))
        if self.counts is None:
            return X
        low, high = self.counts
        # a background counts as intensity
        scale = low * (high / low) ** share / (mean * (1 + self.background * level))
        scale = np.float32(np.where(mean > 0, scale, 1.0))
        expected = np.maximum(X, 0) * scale
        noise = (self._count(expected) - expected) / scale
        return X + noise * (noiseless >= _NOISELESS)

    def _count(self, expected):
        counted = np.empty_like(expected)
        few = expected.max(axis=1) < _MANY
        counted[few] = self.rng.poisson(expected[few])
        many = expected[~few]
        noise = self.rng.standard_normal(many.shape, dtype=np.float32)
        counted[~few] = many + np.sqrt(many) * noise
        return counted
