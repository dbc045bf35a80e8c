import numpy as np
from numpy.testing import assert_allclose

from skphonon.inversion._scores import scores


def fitted_and_left(rng, weight, n=400):
    """A straight line fitted to one with a curved part, noise of unit variance."""
    x = np.linspace(-1, 1, n)
    columns = np.column_stack([np.ones(n), x])
    data = 3 + 2 * x + weight * x**3 + rng.normal(size=n)
    residual = columns @ np.linalg.lstsq(columns, data, rcond=None)[0] - data
    return residual, columns, x**3


def test_a_score_is_what_another_fit_would_gain():
    residual, columns, lacking = fitted_and_left(np.random.default_rng(0), 5.0)
    found = scores(residual, columns, {"cubic": lacking[:, None]})["cubic"]
    both = np.column_stack([columns, lacking])
    wanted, rest, *_ = np.linalg.lstsq(both, -residual, rcond=None)
    assert_allclose(found.gain, residual @ residual - rest[0])
    assert_allclose(found.step, wanted[2:])
    assert_allclose(found.std, np.sqrt(np.linalg.inv(both.T @ both)[2, 2]))
    assert found.n_columns == 1


def test_what_is_missing_is_estimated_within_its_error():
    rng = np.random.default_rng(1)
    off = []
    for _ in range(200):
        residual, columns, lacking = fitted_and_left(rng, 5.0)
        found = scores(residual, columns, {"cubic": lacking[:, None]})["cubic"]
        off.append((found.step[0] - 5.0) / found.std[0])
    assert abs(np.mean(off)) < 0.2
    assert_allclose(np.std(off), 1.0, rtol=0.15)


def test_what_is_fitted_gains_nothing():
    residual, columns, lacking = fitted_and_left(np.random.default_rng(0), 5.0)
    again = {"line": columns, "both": np.column_stack([columns, lacking])}
    found = scores(residual, columns, again)
    assert found["line"].gain == 0
    assert found["line"].n_columns == 0
    assert np.isinf(found["line"].std).all()
    alone = scores(residual, columns, {"cubic": lacking[:, None]})["cubic"]
    assert_allclose(found["both"].gain, alone.gain)


def test_right_models_gain_one_for_each_column():
    rng = np.random.default_rng(2)
    n = 300
    noise = rng.normal(size=(400, n))
    columns, other = rng.normal(size=(n, 5)), rng.normal(size=(n, 3))
    gains = [scores(row, columns, {"o": other})["o"].gain for row in noise]
    assert_allclose(np.mean(gains), 3.0, rtol=0.15)
