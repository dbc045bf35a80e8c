"""Augmentation for missing data: patterns and counts."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from skphonon.learning._augmentation import Views

COVERAGE = np.arange(300) % 3 == np.arange(3)[:, None]  # a third each


def test_augmented_spectra_are_counts_of_what_patterns_see():
    X = np.tile(np.linspace(1, 3, 300, dtype=np.float32), (2000, 1))
    X[7, :10] = np.nan
    rng = np.random.default_rng(0)
    augmentation = Views(COVERAGE, (1, 1), (5.0, 5.0), 0.0, np.zeros(300), rng)
    sizes, rows, values = set(), [], []
    for group, seen, found in augmentation.draw(X):
        sizes.add(len(seen))
        rows.append(group)
        expected = X[np.ix_(group, seen)]
        counts = found * 5 / expected.mean(axis=1, keepdims=True)
        noisy = (found != expected).any(axis=1)
        assert_allclose(counts[noisy], counts[noisy].round(), atol=1e-3)
        values.extend(np.square(found - expected).mean(axis=1))
        assert np.isfinite(found).all()
    assert_array_equal(np.sort(np.concatenate(rows)), np.arange(2000))
    assert {100, 300} <= sizes
    noisy = np.array(values) > 0
    assert_allclose(noisy.mean(), 0.9, atol=0.03)
    # variance of a count is its mean, here of 5 where the intensity is 2
    assert_allclose(np.mean(np.array(values)[noisy]), 2**2 / 5, rtol=0.02)
