"""Draws between bounds, whose density and integral are known otherwise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.integrate import dblquad

from skphonon.fitting.importance import BoxNormal, Mixture, log_mass, normalised

FREE = np.array([[-np.inf, -np.inf], [np.inf, np.inf]])
COVARIANCE = np.array([[1.0, 0.6], [0.6, 2.0]])


def test_without_bounds_it_is_the_normal_distribution():
    part = BoxNormal(np.array([1.0, -2.0]), COVARIANCE, FREE)
    rows = part.sample(20000, np.random.default_rng(0))
    assert_allclose(rows.mean(axis=0), [1, -2], atol=0.03)
    assert_allclose(np.cov(rows.T), COVARIANCE, atol=0.06)
    expected = stats.multivariate_normal([1, -2], COVARIANCE).logpdf(rows[:50])
    assert_allclose(part.log_density(rows[:50]), expected, rtol=1e-10)


@pytest.mark.parametrize(
    "bounds",
    [[[0, -1], [1, np.inf]], [[2, 3], [3, 3.5]], [[-9, 8], [-8, 9]]],
)
def test_between_bounds_its_density_integrates_to_one(bounds):
    bounds = np.array(bounds, dtype=float)
    part = BoxNormal(np.zeros(2), COVARIANCE, bounds)
    rows = part.sample(500, np.random.default_rng(0))
    assert ((rows >= bounds[0]) & (rows <= bounds[1])).all()
    far = np.where(np.isfinite(bounds), bounds, 12.0)
    total, _ = dblquad(
        lambda y, x: np.exp(part.log_density(np.array([[x, y]]))[0]),
        *far[:, 0],
        *far[:, 1],
        epsabs=1e-6,
        epsrel=1e-6,
    )
    assert_allclose(total, 1, rtol=1e-4)


def test_weights_give_moments_and_the_integral():
    """Of a normal distribution cut by a box, drawn with wrong mean and width."""
    bounds = np.array([[-0.5, -np.inf], [np.inf, 1.0]])
    truth = stats.multivariate_normal([0.2, 0.4], COVARIANCE)
    part = BoxNormal(np.array([0.0, 0.0]), 1.3 * COVARIANCE, bounds)
    rows = part.sample(40000, np.random.default_rng(1))
    found = normalised(truth.logpdf(rows) - part.log_density(rows))
    other = truth.rvs(400000, random_state=0)
    inside = other[(other[:, 0] > -0.5) & (other[:, 1] < 1)]
    assert_allclose(np.exp(found.log_mean), len(inside) / len(other), rtol=0.01)
    assert found.log_mean_std < 0.01
    assert_allclose(found.weights @ rows, inside.mean(axis=0), atol=0.02)
    assert_allclose(found.weights @ rows**2, (inside**2).mean(axis=0), rtol=0.03)
    assert found.shape < 0.5


def test_masses_keep_their_digits_in_both_tails():
    low, high = np.array([-31.0, 30, 8, -1]), np.array([-30.0, 31, np.inf, 1])
    found = log_mass(np.array([low, high]))
    assert_allclose(found[0], found[1], rtol=1e-12)
    assert_allclose(found[2], stats.norm.logsf(8), rtol=1e-12)
    assert_allclose(np.exp(found[3]), 0.682689492137, rtol=1e-10)


def test_equal_weights_are_worth_all_draws():
    found = normalised(np.full(1000, -3.0))
    assert_allclose([found.n_effective, found.log_mean], [1000, -3])
    assert found.log_mean_std == 0
    assert found.shape < 0.5


@pytest.mark.parametrize(("ratio", "low", "high"), [(1.5, -9, 0.3), (0.4, 0.7, 2)])
def test_the_shape_tells_proposals_that_are_too_narrow(ratio, low, high):
    rng = np.random.default_rng(0)
    x = ratio * rng.normal(size=4000)
    found = normalised(stats.norm.logpdf(x) - stats.norm.logpdf(x, scale=ratio))
    assert low < found.shape < high


def test_a_normal_target_is_found_from_fewer_draws_than_moments_need():
    """In 20 dimensions, from 300 draws that are worth a few."""
    rng = np.random.default_rng(0)
    p = 20
    turn = np.linalg.qr(rng.normal(size=(p, p)))[0]
    covariance = turn * rng.uniform(0.5, 1.8, p) @ turn.T
    target = stats.multivariate_normal(rng.normal(0, 0.5, p), covariance)
    bounds = np.full((2, p), np.inf) * [[-1], [1]]
    part = BoxNormal(np.zeros(p), np.eye(p), bounds)

    def weighed(part, number):
        rows = part.sample(number, rng)
        return rows, normalised(target.logpdf(rows) - part.log_density(rows))

    rows, found = weighed(part, 300)
    assert found.n_effective < 0.1 * len(rows)
    better = part.adapted(rows, target.logpdf(rows), np.ones(300))
    assert weighed(better, 2000)[1].n_effective > 0.9 * 2000


def test_a_distribution_is_not_changed_by_chance():
    """Where log ratios are noise, or draws are few, it stays."""
    rng = np.random.default_rng(0)
    part = BoxNormal(np.zeros(2), COVARIANCE, FREE)
    for number in (8, 400):
        rows = part.sample(number, rng)
        noise = part.log_density(rows) + rng.normal(size=number)
        again = part.adapted(rows, noise, np.ones(number))
        assert_allclose(again.mean, 0, atol=0.2)
        assert_allclose(again.covariance, COVARIANCE, rtol=0.2)
    nowhere = part.adapted(rows, np.full(number, -np.inf), np.ones(number))
    assert_allclose(nowhere.covariance, COVARIANCE)


def test_a_target_that_is_zero_everywhere_has_no_weight():
    found = normalised(np.full(50, -np.inf))
    assert found.n_effective == 0
    assert found.log_mean == -np.inf


def test_a_mixture_learns_two_modes_with_their_shares():
    rng = np.random.default_rng(0)
    bounds = np.array([[-20.0], [20.0]])
    parts = [BoxNormal(np.array([m]), np.eye(1), bounds) for m in (-4.0, 4.0)]
    mixture = Mixture(np.array([0.5, 0.5]), parts)

    def target(x):
        return np.logaddexp(
            np.log(0.8) + stats.norm.logpdf(x, -4, 1.4),
            np.log(0.2) + stats.norm.logpdf(x, 4, 0.7),
        )[:, 0]

    rows = mixture.sample(4000, rng)
    assert len(rows) == 4000
    found = normalised(target(rows) - mixture.log_density(rows))
    better = mixture.adapted(rows, target(rows), found.weights)
    assert_allclose(better.shares, [0.8, 0.2], atol=0.05)
    rows = better.sample(4001, rng)
    assert len(rows) == 4001
    again = normalised(target(rows) - better.log_density(rows))
    assert again.n_effective > 0.97 * 4001
    assert_allclose(again.log_mean, 0, atol=0.02)
