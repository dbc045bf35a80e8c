"""Chains beside distributions whose moments and integrals are known."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from skphonon.fitting.chains import Coordinates, need_pyro, no_u_turn
from skphonon.fitting.importance import BoxNormal
from skphonon.inversion._posterior_chains import log_bridge

COVARIANCE = np.array([[1.0, 0.6], [0.6, 2.0]])


def like(mean, bounds):
    """Draws of a normal distribution between bounds."""
    return BoxNormal(mean, COVARIANCE, bounds).sample(2000, np.random.default_rng(0))


def test_coordinates_turn_values_and_gradients():
    """By differences: values, and the gradient of the log volume."""
    bounds = np.array([[-1.0, -np.inf], [3.0, np.inf]])
    coordinates = Coordinates(like(np.array([0.5, -2.0]), bounds), bounds)
    z, step = np.array([0.4, -1.1]), 1e-6
    values, slopes, volume, gradient = coordinates.values(z)
    assert_allclose(coordinates.back(values), z, rtol=1e-10)
    pulled = coordinates.pulled(np.array([0.7, -0.3]), slopes)
    for i, moved in enumerate(z + step * np.eye(2)):
        ahead, _, other, _ = coordinates.values(moved)
        change = (ahead - values) / step
        assert_allclose(change @ [0.7, -0.3], pulled[i], rtol=1e-4)
        assert_allclose((other - volume) / step, gradient[i], rtol=1e-4)


@pytest.mark.slow
def test_a_normal_distribution_cut_by_a_bound():
    bounds = np.array([[0.0, -np.inf], [6.0, np.inf]])
    precision = np.linalg.inv(COVARIANCE)

    def log_density(x):
        return -x @ precision @ x / 2, -precision @ x

    coordinates = Coordinates(like(np.zeros(2), bounds), bounds)
    starts = np.array([[0.2, 0.0], [1.0, 1.0]])
    found = no_u_turn(log_density, starts, coordinates, 1600, seed=0)
    assert (found.rows[:, 0] > 0).all()
    assert found.r_hat < 1.05
    assert 200 < found.n_effective <= 1600
    # of half a normal distribution, and what correlates with it
    mean = np.sqrt(2 / np.pi)
    error = 5 / np.sqrt(found.n_effective)
    assert_allclose(found.rows.mean(axis=0), [mean, 0.6 * mean], atol=error)
    assert_allclose(found.rows[:, 0].std(), np.sqrt(1 - mean**2), atol=error)
    again = no_u_turn(log_density, starts, coordinates, 20, seed=1)
    same = no_u_turn(log_density, starts, coordinates, 20, seed=1)
    assert_allclose(again.rows, same.rows)


@pytest.mark.parametrize("bound", [0.0, 2.0, 4.0])
def test_an_optimum_at_a_bound_costs_no_more(bound):
    """Cut at its optimum, or beyond it."""
    bounds = np.array([[bound], [bound + 10.0]])
    n_gradients = 0

    def log_density(x):
        nonlocal n_gradients
        n_gradients += 1
        return -x @ x / 2, -x

    rows = BoxNormal(np.zeros(1), np.eye(1), bounds).sample(
        2000, np.random.default_rng(0)
    )
    found = no_u_turn(log_density, rows[:2], Coordinates(rows, bounds), 400, seed=0)
    assert n_gradients < 8 * 600
    assert found.n_effective > 80
    mean = np.exp(norm.logpdf(bound) - norm.logsf(bound))
    error = 4 * rows.std() / np.sqrt(found.n_effective)
    assert_allclose(found.rows.mean(), mean, atol=error)


def test_a_bridge_gives_the_integral_and_its_error():
    """Of 3 times a normal density, by proposals that are too narrow."""
    rng, found, errors = np.random.default_rng(0), [], []

    def ratio(x):
        return np.log(3) + norm.logpdf(x) - norm.logpdf(x, 0.5, 0.7)

    for _ in range(40):
        proposed, drawn = rng.normal(0.5, 0.7, 300), rng.normal(size=200)
        weights = np.full(200, 1 / 200)
        value, error = log_bridge(ratio(proposed), ratio(drawn), weights, 200.0)
        found.append(value)
        errors.append(error)
    assert_allclose(np.mean(found), np.log(3), atol=0.02)
    assert 0.6 < np.mean(errors) / np.std(found) < 1.6


def test_proposals_that_are_refused_count():
    """Half of them where the integrand is zero: half the integral."""
    half = np.log(0.5)
    value, _ = log_bridge(np.zeros(200), np.zeros(100), np.full(100, 0.01), 100.0, half)
    assert_allclose(value, half, atol=1e-6)


def test_without_pyro_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyro.infer", None)
    with pytest.raises(ImportError, match=r"skphonon\[pyro\]"):
        need_pyro()
