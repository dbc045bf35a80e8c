"""Scores of partial spectra, against the normal distribution of the whole."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from skphonon.learning._completion import Templates


def test_scores_are_those_of_the_normal_distribution_they_come_from():
    rng = np.random.default_rng(0)
    mean, shapes = rng.uniform(1, 2, size=12), rng.normal(size=(12, 3))
    templates = Templates(np.float32(mean), np.float32(shapes), scaled=False)
    seen = np.array([0, 2, 3, 5, 6, 9, 10, 11])  # most: the others are subtracted
    X = mean + rng.normal(size=(4, 12))
    z, std, noise = templates.scores(np.float32(X[:, seen]), templates.gram(seen))
    T = shapes[seen]
    for n in range(4):
        residual = (X[n] - mean)[seen] * templates.weights[seen]
        within = np.linalg.inv(T.T @ T / noise[n] ** 2 + np.eye(3))
        assert_allclose(z[n], within @ T.T @ residual / noise[n] ** 2, rtol=1e-4)
        assert_allclose(std[n], np.sqrt(np.diag(within)), rtol=1e-4)
        # no level of noise makes it more likely, but for the steps that are tried
        levels = noise[n] * np.geomspace(0.1, 10, 401)
        likely = [
            multivariate_normal(cov=T @ T.T + s**2 * np.eye(8)).logpdf(residual)
            for s in levels
        ]
        assert_allclose(levels[np.argmax(likely)], noise[n], rtol=0.11)
