"""Damped Gauss-Newton against certified values, scipy and closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import least_squares, lsq_linear

from skphonon.fitting import Damping, Expansion, descend, of_residuals, with_prior

# NIST Statistical Reference Datasets, nonlinear regression (public domain): data,
# starts, certified values and residual sums of squares
MISRA1A = np.array(
    [
        (10.07, 77.6), (14.73, 114.9), (17.94, 141.1), (23.93, 190.8), (29.61, 239.9),
        (35.18, 289.0), (40.02, 332.8), (44.82, 378.4), (50.76, 434.8), (55.05, 477.3),
        (61.01, 536.8), (66.40, 593.1), (75.47, 689.1), (81.78, 760.0),
    ]
)  # fmt: skip
THURBER = np.array(
    [
        (80.574, -3.067), (84.248, -2.981), (87.264, -2.921), (87.195, -2.912),
        (89.076, -2.840), (89.608, -2.797), (89.868, -2.702), (90.101, -2.699),
        (92.405, -2.633), (95.854, -2.481), (100.696, -2.363), (101.060, -2.322),
        (401.672, -1.501), (390.724, -1.460), (567.534, -1.274), (635.316, -1.212),
        (733.054, -1.100), (759.087, -1.046), (894.206, -0.915), (990.785, -0.714),
        (1090.109, -0.566), (1080.914, -0.545), (1122.643, -0.400),
        (1178.351, -0.309), (1260.531, -0.109), (1273.514, -0.103), (1288.339, 0.010),
        (1327.543, 0.119), (1353.863, 0.377), (1414.509, 0.790), (1425.208, 0.963),
        (1421.384, 1.006), (1442.962, 1.115), (1464.350, 1.572), (1468.705, 1.841),
        (1447.894, 2.047), (1457.628, 2.200),
    ]
)  # fmt: skip


def misra1a(b):
    y, x = MISRA1A.T
    fall = np.exp(-b[1] * x)
    return b[0] * (1 - fall) - y, np.column_stack([1 - fall, b[0] * x * fall])


def thurber(b):
    y, x = THURBER.T
    powers = x[:, None] ** np.arange(4)
    above, below = powers @ b[:4], 1 + powers[:, 1:] @ b[4:]
    slopes = powers / below[:, None]
    others = -(above / below**2)[:, None] * powers[:, 1:]
    return above / below - y, np.hstack([slopes, others])


def rosenbrock(b):
    residual = np.array([10 * (b[1] - b[0] ** 2), 1 - b[0]])
    return residual, np.array([[-20 * b[0], 10.0], [-1.0, 0.0]])


def objective(model):
    """Return the sums of squares of a model of one set, for many."""

    def expand(rows, which):
        residual, slopes = zip(*map(model, rows), strict=True)
        return of_residuals(np.array(residual), np.array(slopes))

    return expand


CERTIFIED = {
    misra1a: (
        [(500.0, 1e-4), (250.0, 5e-4)],
        (2.3894212918e02, 5.5015643181e-04),
        (2.7070075241e00, 7.2668688436e-06),
        1.2455138894e-01,
    ),
    thurber: (
        [
            (1000.0, 1000.0, 400.0, 40.0, 0.7, 0.3, 0.03),
            (1300.0, 1500.0, 500.0, 75.0, 1.0, 0.4, 0.05),
        ],
        (
            1.2881396800e03, 1.4910792535e03, 5.8323836877e02, 7.5416644291e01,
            9.6629502864e-01, 3.9797285797e-01, 4.9727297349e-02,
        ),
        (
            4.6647963344e00, 3.9571156086e01, 2.8698696102e01, 5.5675370270e00,
            3.1333340687e-02, 1.4984928198e-02, 6.5842344623e-03,
        ),
        5.6427082397e03,
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", [misra1a, thurber])
def test_certified_values_of_nist(model):
    starts, values, errors, left = CERTIFIED[model]
    found = descend(objective(model), np.array(starts), cost_tolerance=1e-14)
    assert found.converged.all()
    for ends, cost, information in zip(
        found.parameters, found.found.cost, found.found.information, strict=True
    ):
        assert_allclose(ends, values, rtol=1e-6)
        assert_allclose(cost, left, rtol=1e-9)
        n_free = len(model(ends)[0]) - len(ends)
        covariance = np.linalg.inv(information) * cost / n_free
        assert_allclose(np.sqrt(np.diag(covariance)), errors, rtol=1e-5)


def test_rosenbrock_is_solved_in_few_steps():
    found = descend(objective(rosenbrock), np.array([[-1.2, 1.0]]), step_tolerance=1e-9)
    assert_allclose(found.parameters, [[1.0, 1.0]], atol=1e-9)
    assert found.n_steps[0] < 40
    assert (np.diff(found.curve[:, 0]) <= 0).all()


def linear(design, target):
    def expand(rows, which):
        residual = rows @ design.T - target
        return of_residuals(residual, np.tile(design, (len(rows), 1, 1)))

    return expand


def test_what_is_linear_takes_one_step():
    rng = np.random.default_rng(0)
    design, target = rng.normal(size=(30, 4)), rng.normal(size=30)
    found = descend(
        linear(design, target),
        rng.normal(size=(3, 4)),
        damping=Damping(first=0.0),
        step_tolerance=1e-6,
    )
    assert_array_equal(found.n_steps, 1)
    best = np.linalg.lstsq(design, target)[0]
    assert_allclose(found.parameters, np.tile(best, (3, 1)), atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_bounds_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    design, target = rng.normal(size=(30, 6)), 3 * rng.normal(size=30)
    bounds = np.array([[-0.2] * 6, [0.3] * 6])
    expected = lsq_linear(design, target, bounds, tol=1e-14).x
    starts = rng.uniform(*bounds, size=(4, 6))
    found = descend(linear(design, target), starts, bounds, step_tolerance=1e-10)
    assert found.converged.all()
    assert_allclose(found.parameters, np.tile(expected, (4, 1)), atol=1e-6)
    assert ((found.parameters >= bounds[0]) & (found.parameters <= bounds[1])).all()


@pytest.mark.parametrize("bounds", [([-3, -3], [0.5, 3]), ([-3, -3], [3, 0.5])])
def test_bounds_of_what_is_curved(bounds):
    """Against the interior search of Branch, Coleman and Li."""
    start = np.array([-1.2, 0.4])
    expected = least_squares(
        lambda b: rosenbrock(b)[0], start, bounds=bounds, xtol=1e-14, ftol=1e-14
    )
    found = descend(
        objective(rosenbrock), start[None], np.array(bounds), step_tolerance=1e-10
    )
    assert_allclose(found.parameters[0], expected.x, atol=1e-5)


def test_a_prior_is_a_row_of_residuals():
    rng = np.random.default_rng(0)
    design, target = rng.normal(size=(30, 3)), rng.normal(size=30)
    mean, root = rng.normal(size=3), rng.normal(size=(3, 3))
    expand, precision = linear(design, target), root @ root.T

    def both(rows, which):
        return with_prior(expand(rows, which), rows, mean, precision)

    found = descend(both, np.zeros((1, 3)), step_tolerance=1e-10)
    rows, aims = np.vstack([design, root.T]), np.append(target, root.T @ mean)
    best, (left,), *_ = np.linalg.lstsq(rows, aims)
    assert_allclose(found.parameters[0], best, atol=1e-8)
    assert_allclose(found.found.cost[0], left)


def test_searches_do_not_see_each_other():
    starts = np.random.default_rng(0).uniform(-2, 2, size=(6, 2))
    together = descend(objective(rosenbrock), starts, step_tolerance=1e-8)
    for row, start in enumerate(starts):
        alone = descend(objective(rosenbrock), start[None], step_tolerance=1e-8)
        assert_allclose(together.parameters[row], alone.parameters[0], rtol=1e-12)
        assert together.n_steps[row] == alone.n_steps[0]


def test_what_is_not_finite_is_not_entered():
    """The square root of what is negative: steps beyond are refused."""

    def expand(rows, which):
        with np.errstate(invalid="ignore"):
            root = np.sqrt(rows)
        return of_residuals(root - 0.1, 0.5 / np.abs(root)[..., None])

    found = descend(expand, np.array([[4.0], [-1.0]]), step_tolerance=1e-9)
    assert_allclose(found.parameters[0], 0.01, rtol=1e-6)
    assert_array_equal(found.converged, [True, False])
    assert_array_equal(found.parameters[1], -1.0)


def broken(rows, which):
    """Derivatives of the second of three parameters are no numbers below 0."""
    slopes = np.tile(np.eye(3), (len(rows), 1, 1))
    slopes[rows[:, 1] < 0, 1, 1] = np.nan
    return of_residuals(rows - [1.0, -1.0, 1.0], slopes)


def test_where_derivatives_are_not_finite_is_not_entered():
    starts = np.array([[2.0, 2.0, 2.0], [2.0, -2.0, 2.0]])
    found = descend(broken, starts, step_tolerance=1e-9)
    assert np.isfinite(found.parameters).all()
    assert found.parameters[0, 1] >= 0
    assert_array_equal(found.converged, False)
    assert_array_equal(found.parameters[1], starts[1])
    with pytest.raises(ValueError, match=r"for parameter 1 \(of 3, counted from 0\)"):
        descend(broken, starts[1:], step_tolerance=1e-9)


def test_details_and_names_of_rows_come_along():
    targets = np.array([1.0, 5.0, 3.0])

    def expand(rows, which):
        wanted = targets[which]
        found = of_residuals(rows - wanted[:, None], np.ones((len(rows), 1, 1)))
        return found._replace(details=(10 * wanted + rows[:, 0],))

    found = descend(expand, np.array([[1.0], [0.0], [0.0]]), step_tolerance=1e-9)
    assert_allclose(found.parameters[:, 0], targets)
    assert_allclose(found.found.details[0], 11 * targets)


def test_a_search_cut_short_has_not_converged():
    start = np.array([[-1.2, 1.0]])
    found = descend(objective(rosenbrock), start, step_tolerance=1e-9, max_steps=2)
    assert_array_equal(found.converged, False)
    assert_array_equal(found.n_steps, 2)


def test_what_changes_nothing_stays():
    def flat(rows, which):
        n = len(rows)
        return Expansion(np.ones(n), np.zeros((n, 2)), np.zeros((n, 2, 2)))

    found = descend(flat, np.array([[1.0, 2.0]]))
    assert_array_equal(found.parameters, [[1.0, 2.0]])
    assert found.converged.all()
