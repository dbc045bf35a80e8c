"""Pictures of posteriors: what they hold, and the mass within their contours."""

from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, chi2, kstest

from skphonon.inspection import (
    CornerDisplay,
    ParameterDraws,
    RankDisplay,
    TARPDisplay,
    rank_statistics,
    tarp_coverage,
)

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


def normal_posteriors(n_spectra=300):
    """Posteriors under a flat prior, those of the second parameter too narrow."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_spectra, 1, 2))
    return rng.normal(x, [1.0, 0.5], size=(n_spectra, 99, 2)), rng.normal(x)[:, 0]


def test_rank_display_draws_histograms_and_band():
    draws, truth = normal_posteriors()
    display = RankDisplay.from_draws(draws, truth, names=["1XX", "1XY"], random_state=0)
    ranks = rank_statistics(draws, truth, random_state=0)
    assert_array_equal(display.data, ranks)
    table = display.table
    assert table.index.tolist() == ["1XX", "1XY"]
    assert_allclose(table["p_value"], kstest(ranks, "uniform").pvalue)
    assert display.plot(n_bins=10, bar_kw={"alpha": 0.4}) is display
    first, second = display.axes_
    heights = [bar.get_height() for bar in first.containers[0]]
    assert_array_equal(heights, np.histogram(ranks[:, 0], 10, (0, 1))[0])
    band = first.patches[0].get_bbox()
    assert_allclose([band.y0, band.y1], binom.interval(0.99, 300, 0.1))
    assert second.get_title() == f"1XY (p = {table.loc['1XY', 'p_value']:.2g})"
    assert "rank" in first.get_xlabel()
    with pytest.raises(ValueError, match="one axes for each of 2 panels"):
        display.plot(plt.subplots()[1])


@pytest.mark.parametrize(("n_spectra", "n_bins"), [(5, 4), (150, 10), (1000, 20)])
def test_bins_suit_the_number_of_spectra(n_spectra, n_bins):
    display = RankDisplay.from_draws(*normal_posteriors(n_spectra)).plot()
    assert len(display.axes_[0].containers[0]) == n_bins


def test_tarp_display_draws_curve_and_bands():
    draws, truth = normal_posteriors()
    display = TARPDisplay.from_draws(draws, truth, random_state=0)
    _, table, p_value = tarp_coverage(draws, truth, random_state=0)
    pd.testing.assert_frame_equal(display.table, table)
    assert display.p_value == p_value
    _, ax = plt.subplots()
    display.plot(ax, line_kw={"color": "C2"})
    assert display.ax_ is ax
    curve = ax.lines[-1]
    assert curve.get_color() == "C2"
    assert_array_equal(curve.get_xydata(), table[["nominal", "observed"]])
    wide, narrow = (each.get_paths()[0].vertices for each in ax.collections)
    assert wide[:, 1].max() == 1
    assert np.ptp(wide[wide[:, 0] == 0.5][:, 1]) > np.ptp(
        narrow[narrow[:, 0] == 0.5][:, 1]
    )
    sure = TARPDisplay.from_draws(draws, truth, references="ellipsoid", random_state=0)
    assert sure.plot().p_value < 1e-5
    assert sure.ax_.get_title().startswith("p = ")


def correlated(n, correlation, seed=0):
    covariance = [[1.0, correlation], [correlation, 1.0]]
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal([0, 0], covariance, n) * [0.1, 20] + [5, -300]


def contours(ax):
    """Return paths of the borders, outer and inner."""
    (drawn,) = [each for each in ax.collections if not each.filled]
    assert len(drawn.levels) == 2
    return drawn.get_paths()


@pytest.mark.parametrize("correlation", [0.0, 0.9, -0.98])
def test_contours_hold_68_and_95_percent_of_a_gaussian(correlation):
    display = CornerDisplay.from_draws(correlated(8000, correlation), ["a", "b"])
    ax = display.plot().axes_[1, 0]
    fresh = correlated(50_000, correlation, seed=1)
    for path, mass in zip(contours(ax), (0.95, 0.68), strict=True):
        # a quantile of 8000 draws scatters by 0.5 %
        assert path.contains_points(fresh).mean() == pytest.approx(mass, abs=0.015)
    # Density is highest inside an ellipse with a known axis.
    tip = contours(ax)[1].vertices[:, 0].max()
    assert tip == pytest.approx(5 + 0.1 * np.sqrt(chi2.ppf(0.68, 2)), rel=2e-3)


def test_contours_of_weighted_draws_hold_the_weight():
    draws = correlated(8000, 0.0) * [2, 1] - [5, 0]
    weights = np.exp(-((draws[:, 0] - 5) ** 2) * (1 / 0.02 - 1 / 0.08))
    display = CornerDisplay.from_draws(draws, ["a", "b"], weights=weights)
    assert display.weights.sum() == pytest.approx(1)
    fresh = correlated(50_000, 0.0, seed=1)
    for path, mass in zip(
        contours(display.plot().axes_[1, 0]), (0.95, 0.68), strict=True
    ):
        assert path.contains_points(fresh).mean() == pytest.approx(mass, abs=0.025)
    # to a standard deviation of 0.1 and the scatter of some 5000 draws
    expected = [[5, 4.9, 5.1], [-300, -320, -280]]
    assert_allclose(display.table, expected, rtol=0.003)


def test_contours_of_draws_at_a_bound_reach_it():
    rng = np.random.default_rng(0)
    draws, fresh = (abs(rng.normal(size=(n, 2))) for n in (8000, 50_000))
    ax = CornerDisplay.from_draws(draws).plot().axes_[1, 0]
    for path, mass in zip(contours(ax), (0.95, 0.68), strict=True):
        assert path.contains_points(fresh).mean() == pytest.approx(mass, abs=0.02)
        assert abs(path.vertices.min(axis=0)).max() < 0.01


def test_two_modes_have_two_contours():
    draws = correlated(6000, 0.5)
    draws[:3000, 0] += 2
    ax = CornerDisplay.from_draws(draws).plot().axes_[1, 0]
    outer, inner = (path.to_polygons() for path in contours(ax))
    assert len(outer) >= 2
    assert len(inner) == 2
    # each mode is as wide as it is alone: a kernel of 3000 draws adds 3 %
    widths = [np.ptp(polygon[:, 0]) / 2 for polygon in inner]
    assert_allclose(widths, 0.1 * np.sqrt(chi2.ppf(0.68, 2)), rtol=0.1)


def test_weighted_draws_look_as_resampled_ones():
    draws = correlated(20_000, 0.6)
    weights = np.random.default_rng(1).gamma(2, size=len(draws))
    chosen = np.random.default_rng(2).choice(
        len(draws), len(draws), p=weights / weights.sum()
    )
    one = CornerDisplay.from_draws(draws, weights=weights).plot(n_bins=10)
    other = CornerDisplay.from_draws(draws[chosen]).plot(n_bins=10)
    # medians of 20000 scatter by 0.9 % of a standard deviation
    assert_allclose(
        (one.table - other.table) / np.array([[0.1], [20]]), np.zeros((2, 3)), atol=0.04
    )
    for path, same in zip(
        contours(one.axes_[1, 0]), contours(other.axes_[1, 0]), strict=True
    ):
        assert_allclose(path.get_extents(), same.get_extents(), rtol=0.02)


def test_posterior_of_five_parameters_is_drawn():
    rng = np.random.default_rng(0)
    names = ["1XX", "1ZZ", "1XY", "2XX", "2YY"]
    rows = rng.normal([20, -1, 21, 2, -0.1], 0.01, size=(500, 5))
    posterior = SimpleNamespace(
        draws=pd.DataFrame(rows, columns=names), weights=np.full(500, 1 / 500)
    )
    truth = [20, -1, 21, 2, -0.2]
    display = CornerDisplay.from_draws(
        posterior, truth=truth, limits={"1XX": (19.9, 20.1)}
    )
    assert display.plot(bar_kw={"linewidth": 2}) is display
    axes = display.axes_
    assert axes.shape == (5, 5)
    assert axes[0, 1] is None
    assert len(display.figure_.axes) == 15
    assert axes[4, 0].get_xlim() == axes[0, 0].get_xlim() == (19.9, 20.1)
    assert axes[4, 2].get_ylim() == axes[4, 4].get_xlim()
    assert axes[4, 4].get_xlim()[0] < -0.2  # the truth is seen
    assert [axes[4, i].get_xlabel() for i in range(5)] == names
    assert axes[3, 0].get_ylabel() == "2XX"
    median, low, high = display.table.loc["1XX"]
    assert axes[0, 0].get_title() == (
        f"1XX\n${median:.3f}^{{+{high - median:.3f}}}_{{-{median - low:.3f}}}$"
    )
    display.figure_.canvas.draw()
    some = display.plot(parameters=["2XX", "1XX"])
    assert some.axes_[1, 0].get_xlabel() == "2XX"
    over = CornerDisplay.from_draws(posterior).plot(axes, color="C1")
    assert over.axes_[0, 0] is axes[0, 0]
    with pytest.raises(ValueError, match=r"some of 1XX, 1ZZ, .*got"):
        display.plot(parameters=["3XX"])
    with pytest.raises(ValueError, match="for each of 25 panels, got 4"):
        display.plot(plt.subplots(2, 2)[1])


def test_names_are_those_that_draws_know(aluminium):
    rows = np.random.default_rng(0).normal(aluminium.reference, 0.01, size=(20, 5))
    display = CornerDisplay.from_draws(
        ParameterDraws(aluminium, aluminium.reference, rows)
    )
    assert tuple(display.data) == tuple(aluminium.parameter_names)
    assert list(CornerDisplay.from_draws(rows).data)[1] == "parameter 1"
    table = pd.DataFrame(rows, columns=[*"abcd", "draws"])
    assert list(CornerDisplay.from_draws(table).data) == [*"abcd", "draws"]


@pytest.mark.parametrize(
    "draws",
    [
        [[1.0, 2.0], [1.0, 3.0], [1.0, 4.0]],  # one does not vary
        [[0.0, 0.0], [0.0, 0.0]],  # none does
        [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, 8.0]],  # on a line
    ],
)
def test_draws_without_a_density_are_drawn(draws):
    display = CornerDisplay.from_draws(draws, truth=draws[0]).plot()
    display.figure_.canvas.draw()
    low, high = display.axes_[0, 0].get_xlim()
    assert low < draws[0][0] < high


def test_one_parameter_is_a_histogram():
    rows = np.arange(100.0)[:, None]
    display = CornerDisplay.from_draws(rows, limits=[(0, 100)]).plot(n_bins=10)
    assert display.axes_.shape == (1, 1)
    assert_allclose(display.axes_[0, 0].patches[0].get_data().values, 0.1)


DRAWS = np.random.default_rng(0).normal(size=(20, 2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": DRAWS[:1]}, "draws must be two or more, got 1"),
        ({"draws": DRAWS[0]}, r"\(n_draws, n_parameters\), got \(2,\)"),
        ({"draws": DRAWS * np.nan}, "got 20 of 20 draws with values that are not"),
        (
            {"weights": -np.ones(20)},
            "not negative and not all zero; got values from -1",
        ),
        ({"weights": np.zeros(20)}, "not all zero"),
        ({"weights": np.ones(2)}, r"shape \(20,\), one a draw; got \(2,\)"),
        ({"names": ["a"]}, "one for each of 2 parameters"),
        ({"truth": [1.0]}, "2 finite numbers"),
        ({"truth": [1.0, np.nan]}, "2 finite numbers"),
        ({"limits": [(0, 1)]}, "for each of 2 parameters"),
        ({"limits": {"a": (0, 1)}}, "parameter 0, parameter 1; got 'a'"),
        ({"limits": {"parameter 0": (1, 0)}}, "low below high"),
    ],
)
def test_what_does_not_fit_is_said(options, words):
    with pytest.raises(ValueError, match=words):
        CornerDisplay.from_draws(**{"draws": DRAWS, **options})
