"""Observed coverage, against closed forms and counts by hand."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import BayesianRidge, Ridge

from skphonon.calibration import CalibratedRegressor
from skphonon.inspection import ReliabilityDisplay

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


@pytest.fixture
def regressors():
    """A line through steps, with errors even between -0.5 and 0.5; calibrated too."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-3, 3, size=(3000, 1))
    y = np.round(X[:, 0])
    line = BayesianRidge(tol=1e-2).fit(X[:500], y[:500])
    calibrated = CalibratedRegressor(FrozenEstimator(line)).fit(
        X[500:1500], y[500:1500]
    )
    return {"line": line, "calibrated": calibrated}, X[1500:], y[1500:]


def curve(display, target, name="normal"):
    rows = display.data.query("estimator == @name and target == @target")
    return rows["nominal"].to_numpy(), rows["observed"].to_numpy()


def test_coverage_of_normal_errors_is_known():
    errors = np.random.default_rng(0).normal(size=(20_000, 2))
    display = ReliabilityDisplay.from_predictions(
        1 + errors, np.ones_like(errors), [1.0, 0.5], targets=["right", "sure"]
    )
    nominal, observed = curve(display, "right")
    # counts of 20000 scatter by 0.35 % at most
    assert_allclose(observed, nominal, atol=0.015)
    nominal, observed = curve(display, "sure")
    half = norm.ppf((1 + nominal) / 2) / 2
    assert_allclose(observed, 2 * norm.cdf(half) - 1, atol=0.015)
    assert (display.data["n_samples"] == 20_000).all()


def test_coverage_is_counted():
    """Of five errors in units of their standard deviations, one is never held."""
    errors = np.array([0.0, 0.1, -1.0, 2.0, np.nan])
    display = ReliabilityDisplay.from_predictions(errors, np.zeros(5), np.ones(5))
    nominal, observed = curve(display, "y")
    expected = [(np.abs(errors) <= norm.ppf((1 + c) / 2)).sum() / 5 for c in nominal]
    assert_array_equal(observed, expected)
    assert observed[0] == 0.2
    assert observed[-1] == 0.8


def test_infinite_bars_hold_everything_and_zero_ones_nothing():
    display = ReliabilityDisplay.from_predictions(
        np.ones((10, 2)), np.zeros((10, 2)), [np.inf, 0.0]
    )
    assert (curve(display, "y[:, 0]")[1] == 1).all()
    assert (curve(display, "y[:, 1]")[1] == 0).all()


def test_intervals_are_asked_for_where_there_are_some(regressors):
    both, X, y = regressors
    display = ReliabilityDisplay.from_estimator(both, X, y, targets=["step"])
    nominal, observed = curve(display, "step", "calibrated")
    low, high = both["calibrated"].predict_interval(X, coverage=nominal)
    assert_array_equal(observed, ((low <= y) & (y <= high)).mean(axis=1))
    assert_allclose(observed, nominal, atol=0.05)  # on 1000, and 1500 here
    # of even errors, taken to be normal: k standard deviations of 0.5
    nominal, observed = curve(display, "step", "line")
    values, std = both["line"].predict(X, return_std=True)
    same = ReliabilityDisplay.from_predictions(y, values, std, targets=["step"])
    assert_array_equal(observed, curve(same, "step")[1])
    expected = np.minimum(norm.ppf((1 + nominal) / 2) * std.mean() / 0.5, 1)
    assert_allclose(observed, expected, atol=0.04)  # 1500 scatter by 1.3 %


def test_reliability_is_drawn_as_it_is(regressors):
    both, X, y = regressors
    display = ReliabilityDisplay.from_estimator(both, X, y)
    display.plot(line_kw={"linewidth": 3})
    (ax,) = display.axes_
    assert ax.figure is display.figure_
    curves = ax.lines[1:]
    assert [one.get_label() for one in curves] == ["line", "calibrated"]
    for one in curves:
        assert_allclose(one.get_xydata().T, curve(display, "y", one.get_label()))
        assert one.get_linewidth() == 3
    band = ax.collections[0].get_paths()[0].vertices
    middle = band[band[:, 0] == 0.5][:, 1]
    # of 1500: 1.96 standard deviations of 0.5 / sqrt(1500)
    assert_allclose([min(middle), max(middle)], [0.4747, 0.5253], atol=1e-3)
    with pytest.raises(ValueError, match="one axes for each of 1 panels"):
        display.plot(plt.subplots(1, 2)[1])


def test_reliability_says_what_does_not_fit(regressors):
    both, X, y = regressors
    with pytest.raises(TypeError, match=r"predict\(X, return_std=True\), got Ridge"):
        ReliabilityDisplay.from_estimator(Ridge().fit(X, y), X, y)
    with pytest.raises(
        ValueError, match=r"shape of predictions, \(1500,\), got \(2,\)"
    ):
        ReliabilityDisplay.from_estimator(both, X, y[:2])
    with pytest.raises(ValueError, match="name 1 targets, got 2 names"):
        ReliabilityDisplay.from_estimator(both, X, y, targets=["a", "b"])
