"""Bent normal distributions: a valley that is known, its density, its bounds."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.stats import norm

from skphonon.fitting.bent import BentNormal, curvature
from skphonon.fitting.importance import BoxNormal, normalised

FREE = np.array([[-np.inf, -np.inf], [np.inf, np.inf]])
WIDTH = 0.2


def banana(x):
    """Residuals x and (y - x^2) / width, and their derivatives."""
    residual = np.array([x[0], (x[1] - x[0] ** 2) / WIDTH])
    return residual, np.array([[1.0, 0.0], [-2 * x[0] / WIDTH, 1 / WIDTH]])


def log_banana(rows):
    """Logarithm of their normal density, normalised."""
    x, y = rows.T
    return norm.logpdf(x) + norm.logpdf(y, x**2, WIDTH)


def bent(bounds=FREE, place=(0.0, 0.0)):
    place = np.array(place)
    residual, slopes = banana(place)
    covariance = np.linalg.inv(slopes.T @ slopes)
    centre = place - covariance @ slopes.T @ residual
    found = curvature(banana, place, centre, covariance, bounds)
    return BentNormal.about(found, bounds)


def efficiency(part, bounds=FREE, number=3000):
    rows = part.sample(number, np.random.default_rng(0))
    inside = ((rows >= bounds[0]) & (rows <= bounds[1])).all(axis=1)
    target = np.where(inside, log_banana(rows), -np.inf)
    return rows, normalised(target - part.log_density(rows))


def test_a_valley_that_is_a_parabola_is_followed_exactly():
    part = bent()
    rows, found = efficiency(part)
    assert_allclose(part.log_density(rows), log_banana(rows), atol=1e-6)
    assert found.n_effective > 0.999 * len(rows)
    straight = BoxNormal(np.zeros(2), part.normal.covariance, FREE)
    assert efficiency(straight)[1].n_effective < 0.3 * len(rows)


def test_weights_give_the_integral_and_moments():
    """Adapted and widened, it is still a density."""
    part = bent()
    rows, found = efficiency(part)
    wide = part.adapted(rows, log_banana(rows), found.weights).widened(1.2)
    rows, found = efficiency(wide, number=20000)
    assert_allclose(found.log_mean, 0.0, atol=0.02)
    assert found.n_effective > 0.9 * len(rows)
    # of x^2 = chi^2 with one degree of freedom, and y
    assert_allclose(found.weights @ rows[:, 1], 1.0, atol=0.03)
    assert_allclose(found.weights @ rows[:, 0] ** 2, 1.0, atol=0.03)


def test_the_density_holds_where_values_are_not_bent():
    """Bent so hard that it folds: what lies beyond stays, and all adds up to one."""
    root = np.eye(2)
    bend = np.zeros((2, 2, 2))
    bend[0, 0, 0], bend[1, 0, 0], bend[0, 0, 1] = 0.6, 0.8, 0.2
    bend[0, 1, 0] = 0.2
    part = BentNormal(BoxNormal(np.zeros(2), np.eye(2), FREE), np.zeros(2), root, bend)
    rows = part.sample(200000, np.random.default_rng(0))
    edges = np.linspace(-2, 3, 11)
    counts, *_ = np.histogram2d(*rows.T, bins=[edges, edges])
    fine = np.linspace(-2, 3, 401)[:-1] + 5 / 800
    grid = np.stack(np.meshgrid(fine, fine, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(part.log_density(grid)).reshape(10, 40, 10, 40)
    expected = density.mean(axis=(1, 3)) * 0.25 * len(rows)
    pull = (counts - expected) / np.sqrt(expected + 25)
    assert np.abs(pull).max() < 6
    assert np.square(pull).mean() < 2.5


def test_a_bound_cuts_what_it_bends():
    """The cut coordinate stays as it is, and weights give the share that is left."""
    bounds = np.array([[0.3, -np.inf], [np.inf, np.inf]])
    part = bent(bounds, place=(0.3, 0.09))
    rows, found = efficiency(part, bounds, number=20000)
    assert (rows[:, 0] >= 0.3).all()
    assert_allclose(found.log_mean, norm.logsf(0.3), atol=0.02)
    mean = norm.pdf(0.3) / norm.sf(0.3)
    assert_allclose(found.weights @ rows[:, 0], mean, atol=0.02)
    assert found.n_effective > 0.8 * len(rows)


def test_the_information_counts_second_derivatives():
    """Of one value x with residuals x and c + x^2 / 2: 1 + c at zero."""

    def residuals(x):
        return np.array([x[0], 1.5 + x[0] ** 2 / 2]), np.array([[1.0], [x[0]]])

    free = np.array([[-np.inf], [np.inf]])
    found = curvature(residuals, np.zeros(1), np.zeros(1), np.eye(1), free)
    assert_allclose(found.precision, [[2.5]])
    assert_allclose(found.bend, 0.0, atol=1e-12)


def test_residuals_that_are_not_finite_bend_nothing():
    def residuals(x):
        residual, slopes = banana(x)
        return residual, slopes if x[0] < 0.1 else slopes * np.nan

    assert curvature(residuals, np.zeros(2), np.zeros(2), np.eye(2), FREE) is None


def test_what_is_not_cut_follows_what_is():
    """A parabola of which x is cut: y is moved alone, and exactly."""
    bounds = np.array([[0.3, -np.inf], [np.inf, np.inf]])
    place = np.array([0.3, 0.09])
    residual, slopes = banana(place)
    covariance = np.linalg.inv(slopes.T @ slopes)
    found = curvature(
        banana, place, place - covariance @ slopes.T @ residual, covariance, bounds
    )
    assert_allclose(found.bend[0], 0.0)
    # y - x^2 is straight: the second derivative of y along z is 2 W_x W_x
    along = found.root[0]
    assert_allclose(found.bend[1], 2 * np.outer(along, along), rtol=1e-6)
