"""Variable projection against the search for everything at once."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.optimize import lsq_linear, minimize
from scipy.special import xlogy

from skphonon.fitting import (
    Projection,
    descend,
    nonnegative,
    nonnegative_counts,
    of_residuals,
)

X = np.linspace(0, 10, 80)


def decays(rates):
    """Return columns of exponentials and their derivatives, (R, n, 2)."""
    columns = np.exp(-rates[:, None] * X[:, None])
    return columns, -X[:, None] * columns


def test_amplitudes_eliminated_or_searched_for_are_the_same():
    rng = np.random.default_rng(0)
    y = decays(np.array([[0.3, 2.0]]))[0][0] @ [2.0, 5.0] + 0.05 * rng.normal(size=80)

    def eliminated(rates, which):
        columns, slopes = decays(rates)
        projection = Projection(columns)
        amplitudes = projection.amplitudes(np.tile(y, (len(rates), 1)))
        residual = (columns @ amplitudes[..., None])[..., 0] - y
        slopes = projection.rest(slopes * amplitudes[:, None])
        return of_residuals(residual, slopes, details=(amplitudes,))

    def searched(rows, which):
        columns, slopes = decays(rows[:, :2])
        residual = (columns @ rows[:, 2:, None])[..., 0] - y
        slopes = np.concatenate([slopes * rows[:, None, 2:], columns], axis=2)
        return of_residuals(residual, slopes)

    few = descend(eliminated, np.array([[0.5, 1.5]]), step_tolerance=1e-11)
    all_ = descend(searched, np.array([[0.5, 1.5, 1.0, 1.0]]), step_tolerance=1e-11)
    ends = np.append(few.parameters[0], few.found.details[0][0])
    assert_allclose(ends, all_.parameters[0], rtol=1e-6)
    assert_allclose(few.found.cost, all_.found.cost, rtol=1e-12)
    assert few.n_steps[0] < all_.n_steps[0]
    # of the covariance of everything, the part of what is searched for
    covariance = np.linalg.inv(all_.found.information[0])[:2, :2]
    assert_allclose(np.linalg.inv(few.found.information[0]), covariance, rtol=1e-5)


def test_projections_are_those_of_lstsq_also_of_dependent_columns():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(3, 40, 4)) * [1.0, 1e-6, 1e6, 1.0]
    columns[1, :, 3] = columns[1, :, 0] - columns[1, :, 2]
    columns[2, :, 1] = 0.0
    target = rng.normal(size=(3, 40))
    projection = Projection(columns)
    fitted = (columns @ projection.amplitudes(target)[..., None])[..., 0]
    left = projection.rest(target[..., None])[..., 0]
    for each, wanted, found, rest in zip(columns, target, fitted, left, strict=True):
        sizes = np.linalg.norm(each, axis=0)
        unit = each / np.where(sizes > 0, sizes, 1.0)
        expected = unit @ np.linalg.lstsq(unit, wanted, rcond=1e-10)[0]
        assert_allclose(found, expected, atol=1e-9)
        assert_allclose(rest, wanted - expected, atol=1e-9)


def test_nothing_to_project_leaves_all():
    projection = Projection(np.zeros((5, 0)))
    assert projection.amplitudes(np.ones(5)).shape == (0,)
    assert_allclose(projection.rest(np.eye(5)), np.eye(5))


def test_amplitudes_that_are_not_negative_are_scipys():
    rng = np.random.default_rng(0)
    columns, target = rng.uniform(size=(6, 50, 4)), rng.normal(size=(6, 50))
    target += columns @ [1.0, -1.0, 0.5, 0.0]
    found = nonnegative(columns, target)
    assert (found == 0).any()
    for each, wanted, amplitudes in zip(columns, target, found, strict=True):
        expected = lsq_linear(each, wanted, (0, np.inf), tol=1e-12).x
        assert_allclose(amplitudes, expected, atol=1e-6)


def test_amplitudes_of_counts_are_the_likeliest():
    rng = np.random.default_rng(1)
    columns, repeats = rng.uniform(size=(60, 3)), rng.integers(1, 4, 60).astype(float)
    counts = rng.poisson(columns @ [6.0, 0.0, 2.0]).astype(float)

    def deviance(amplitudes):
        mean = np.maximum(columns @ amplitudes, 1e-9)
        return 2 * repeats @ (xlogy(counts, counts / mean) - counts + mean)

    best = minimize(deviance, np.ones(3), bounds=[(0, None)] * 3, tol=1e-12)
    (found,), (expected,) = nonnegative_counts(columns[None], counts, repeats)
    assert_allclose(deviance(found), best.fun, rtol=1e-6)
    assert_allclose(expected, columns @ found)
