import numpy as np
from numpy.testing import assert_allclose

from skphonon.fitting import Knowledge, descend, normal_rows, of_residuals, with_prior


def curved(parameters):
    """A product that was measured: 6 +- 0.5."""
    a, b = parameters
    return np.array([(a * b - 6.0) / 0.5]), np.array([[b, a]]) / 0.5


def test_a_normal_distribution_is_that_of_its_precision():
    rng = np.random.default_rng(0)
    mean, root = rng.normal(size=3), rng.normal(size=(3, 3))
    covariance = root @ root.T
    knowledge = Knowledge([normal_rows(mean, covariance)], 3)
    x = rng.normal(size=(2, 3))
    empty = of_residuals(np.zeros((2, 1)), np.zeros((2, 1, 3)))
    found = knowledge.added(empty, x, 2.0)
    wanted = with_prior(empty, x, mean, np.linalg.inv(covariance) / 4)
    for name in ("cost", "gradient", "information"):
        assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-9)


def test_nothing_is_known_of_what_lies_behind():
    residual, slopes = Knowledge([curved], 2).rows(np.array([1.0, 2.0, 9.0]))
    assert_allclose(residual, [-8.0])
    assert_allclose(slopes, [[4.0, 2.0, 0.0]])
    residual, slopes = Knowledge([], 2).rows(np.ones(3))
    assert residual.shape == (0,)
    assert slopes.shape == (0, 3)


def test_a_descent_ends_where_knowledge_of_both_kinds_is_met():
    pieces = [curved, normal_rows(np.array([2.0, 2.0]), np.diag([1e-8, 1.0]))]
    knowledge = Knowledge(pieces, 2)

    def objective(rows, which):
        empty = np.zeros((len(rows), 1)), np.zeros((len(rows), 1, 2))
        return knowledge.added(of_residuals(*empty), rows, 1.0)

    end = descend(objective, np.array([[1.0, 1.0]]), step_tolerance=1e-9)
    # a is held at 2; b minimises ((2 b - 6) / 0.5)^2 + (b - 2)^2
    assert_allclose(end.parameters[0], [2.0, (16 * 3 + 2) / 17], atol=1e-6)
