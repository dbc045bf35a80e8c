"""Likelihoods, counts and estimates of noise, against scipy's distributions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import approx_fprime

from skphonon.instrument.noise import (
    CorrelatedNoise,
    GaussianNoise,
    PoissonNoise,
    count,
    draw_counts,
    likely_noise,
    noise_between_neighbours,
    noise_of_differences,
)

RNG = np.random.default_rng(0)
EXPECTED = RNG.uniform(0.5, 8.0, (3, 7))
STD = RNG.uniform(0.5, 2.0, 7)
MEASURED = EXPECTED + STD * RNG.standard_normal((3, 7))
COUNTS = np.vstack([RNG.poisson(EXPECTED[:2]), np.zeros(7, int)])
MIXING = RNG.standard_normal((7, 9))
COVARIANCE = MIXING @ MIXING.T


@pytest.mark.parametrize("std", [0.7, STD])
def test_normal_noise_is_that_of_scipy(std):
    expected = stats.norm.logpdf(MEASURED, EXPECTED, std).sum(axis=1)
    assert_allclose(GaussianNoise(std).log_likelihood(MEASURED, EXPECTED), expected)


def test_counts_have_the_probabilities_of_scipy():
    expected = stats.poisson.logpmf(COUNTS, EXPECTED).sum(axis=1)
    assert_allclose(PoissonNoise().log_likelihood(COUNTS, EXPECTED), expected)
    impossible = PoissonNoise().log_likelihood(np.ones(2), np.array([0.0, 1.0]))
    assert impossible == -np.inf
    floored = PoissonNoise(1.0).log_likelihood(np.ones(2), np.array([0.0, 1.0]))
    assert_allclose(floored, 2 * stats.poisson.logpmf(1, 1.0))


def test_counts_go_on_as_a_concave_function_below_zero():
    noise, floor = PoissonNoise(0.01), 0.01
    expected = np.linspace(-0.1, 3.0, 31001)
    step = expected[1] - expected[0]
    for counted in (0.0, 1.0, 2.5):
        value, slope, curvature = noise.expansion(np.array(counted), expected)
        far = expected > 1
        known = stats.gamma.logpdf(expected[far], counted + 1)
        assert_allclose(value[far], known, rtol=1e-12)
        assert_allclose(curvature[far], counted / expected[far] ** 2)
        assert_allclose(curvature[expected < -1e-9], 1 / floor)
        assert (np.diff(slope) <= 1e-9).all()
        # two derivatives of each other, but where curvature jumps
        smooth = np.abs(expected[1:] - floor) > 0.05
        smooth &= np.abs(expected[1:]) > 2 * step
        middle = (slope[1:] + slope[:-1]) / 2
        assert_allclose((np.diff(value) / step)[smooth], middle[smooth], atol=2e-3)
        middle = (curvature[1:] + curvature[:-1]) / 2
        assert_allclose(-(np.diff(slope) / step)[smooth], middle[smooth], rtol=1e-3)
        # and nothing jumps there
        assert np.abs(np.diff(value)).max() < 1.1 * np.abs(slope).max() * step
        assert np.abs(np.diff(slope)).max() < 1.1 * curvature.max() * step


def test_correlated_noise_is_that_of_scipy():
    noise = CorrelatedNoise(COVARIANCE)
    expected = [
        stats.multivariate_normal.logpdf(y, mean, COVARIANCE)
        for y, mean in zip(MEASURED, EXPECTED, strict=True)
    ]
    assert_allclose(noise.log_likelihood(MEASURED, EXPECTED), expected)
    alone = CorrelatedNoise(np.diag(STD**2))
    assert_allclose(
        alone.whiten(MEASURED, EXPECTED), GaussianNoise(STD).whiten(MEASURED, EXPECTED)
    )


@pytest.mark.parametrize(
    ("noise", "measured"),
    [
        (GaussianNoise(STD), MEASURED),
        (PoissonNoise(), COUNTS),
        (CorrelatedNoise(COVARIANCE), MEASURED),
    ],
)
def test_deviance_is_what_the_likelihood_lacks(noise, measured):
    perfect = noise.log_likelihood(measured, np.maximum(measured, 1e-300))
    if not isinstance(noise, PoissonNoise):
        perfect = noise.log_likelihood(measured, measured)
    lacking = perfect - noise.log_likelihood(measured, EXPECTED)
    assert_allclose(noise.deviance(measured, EXPECTED), 2 * lacking, rtol=1e-12)


@pytest.mark.parametrize(
    ("noise", "measured"),
    [
        (GaussianNoise(STD), MEASURED[0]),
        (PoissonNoise(), COUNTS[0]),
        (CorrelatedNoise(COVARIANCE), MEASURED[0]),
    ],
)
def test_whitened_residuals_give_the_gradient(noise, measured):
    """Half the descent of the deviance, with the columns of a linear model."""
    columns = RNG.uniform(0, 1, (7, 2))

    def half(p):
        return noise.deviance(measured, EXPECTED[0] + columns @ p) / 2

    residual = noise.whiten(measured - EXPECTED[0], EXPECTED[0])
    slopes = noise.whiten(columns.T, EXPECTED[0])
    numerical = approx_fprime(np.zeros(2), half, 1e-6)
    assert_allclose(-slopes @ residual, numerical, rtol=1e-4)


@pytest.mark.parametrize(
    "rng", [np.random.default_rng(1), np.random.RandomState(1)], ids=["new", "old"]
)
@pytest.mark.parametrize("normal_from", [np.inf, 20.0])
def test_counts_have_the_moments_of_poisson(rng, normal_from):
    expected = np.repeat([[0.3], [5.0], [40.0]], 40_000, axis=1)
    drawn = draw_counts(rng, expected, normal_from)
    # four standard errors of the mean and of the variance
    error = np.sqrt(expected[:, 0] / 40_000)
    assert_allclose(drawn.mean(axis=1), expected[:, 0], atol=4 * error.max())
    spread = expected[:, 0] * np.sqrt((2 + 1 / expected[:, 0]) / 40_000)
    assert (abs(drawn.var(axis=1) - expected[:, 0]) < 4 * spread).all()
    assert_array_equal(drawn[:2], np.rint(drawn[:2]))
    whole = (drawn[2] == np.rint(drawn[2])).all()
    assert whole == np.isinf(normal_from)


def test_counted_values_keep_scale_and_sign():
    values = np.repeat([-2.0, 0.0, 6.0], 20_000)
    counted = count(np.random.default_rng(0), values, 80.0)
    unit = abs(values).mean() / 80
    assert_allclose(counted / unit, np.rint(counted / unit), atol=1e-9)
    means = counted.reshape(3, -1).mean(axis=1)
    assert_allclose(means, [-2.0, 0.0, 6.0], rtol=3e-3)
    assert_allclose(counted.reshape(3, -1).var(axis=1) / unit, [2, 0, 6], rtol=0.05)
    nothing = np.zeros(3)
    assert count(np.random.default_rng(0), nothing, 5.0) is nothing


def test_noise_of_an_image_with_gaps():
    x, y = np.mgrid[:60, :50]
    smooth = np.sin(x / 9) * np.cos(y / 11)
    noisy = smooth + 0.1 * np.random.default_rng(2).standard_normal(smooth.shape)
    kept = np.flatnonzero(np.random.default_rng(3).uniform(size=3000) < 0.9)
    image = smooth.shape, kept
    found = noise_of_differences(noisy.ravel()[kept], image, 2)
    assert_allclose(found, 0.1, rtol=0.06)
    white = (noisy - smooth).ravel()[kept]
    assert_allclose(noise_of_differences(white, image, 1), 0.1, rtol=0.06)
    assert np.isnan(noise_of_differences(np.ones(2), ((2,), np.arange(2)), 2))


def test_noise_of_scattered_pixels():
    rng = np.random.default_rng(4)
    places = rng.uniform(0, [1.0, 40.0], (4000, 2))
    residual = np.sin(places[:, 0]) + 0.2 * rng.standard_normal(4000)
    noise, n_used = noise_between_neighbours(places, residual)
    assert_allclose(noise, 0.2, rtol=0.06)
    assert n_used == 4000
    # pixels that coincide are compared with one another, and not with themselves
    twice, _ = noise_between_neighbours(np.tile(places, (2, 1)), np.tile(residual, 2))
    assert twice == 0


def test_noise_beside_templates_is_the_likeliest():
    """No variance of the steps has a larger density in scipy."""
    rng = np.random.default_rng(5)
    templates = rng.standard_normal((30, 3)) * [3.0, 2.0, 1.0]
    rows = rng.standard_normal((4, 3)) @ templates.T + 0.5 * rng.standard_normal(
        (4, 30)
    )
    lengths, axes = np.linalg.eigh(templates.T @ templates)
    squares = np.square(rows).sum(axis=1)
    found = likely_noise(lengths, rows @ templates @ axes, squares, 30)
    for row, variance in zip(rows, found, strict=True):
        densities = [
            stats.multivariate_normal.logpdf(
                row, cov=templates @ templates.T + step * variance * np.eye(30)
            )
            for step in (1.0, 0.85, 1.18)
        ]
        assert np.argmax(densities) == 0
    assert_allclose(found.mean(), 0.25, rtol=0.4)
