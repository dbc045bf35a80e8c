"""Pictures of measured against simulated spectra: what is drawn is what is told."""

from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import linregress, spearmanr
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skphonon.inspection import SpectrumProfilesDisplay, TemperatureTrendsDisplay
from skphonon.instrument import SpectrumGrid
from skphonon.metrics import nmse
from skphonon.preprocessing import normalize_spectra

mpl.use("Agg")

TEMPERATURE = np.array([50.0, 280.0, 450.0, 640.0])
CONSTANTS = np.array([[20.0, 1.0], [19.7, 0.9], [19.6, 1.1], [18.9, 0.8]])


class TwoPeaks:
    """A peak at `position` and one at 1.6 times that, of relative `height`."""

    parameter_names = ["position", "height"]
    # The first column is hidden: the mean over the others does not move peaks.
    grid = SpectrumGrid(
        np.arange(10, 45, 0.5),
        np.arange(1.0, 8.0),
        mask=np.tile(np.arange(7) > 0, (70, 1)),
    )

    def simulate(self, parameters):
        position, height = np.transpose(parameters)[:, :, None, None]
        energy, q = self.grid.energy[:, None], self.grid.q
        images = np.exp(-(((energy - position) / 3) ** 2)) + height * np.exp(
            -(((energy - 1.6 * position) / 3) ** 2)
        )
        return self.grid.to_rows(images * (1 + 0.1 * q))


class Reader(RegressorMixin, BaseEstimator):
    """Give the constants it was told, with a standard deviation if asked."""

    def __init__(self, constants):
        self.constants = constants

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X, return_std=False):
        std = np.full_like(self.constants, 0.1)
        return (self.constants, std) if return_std else self.constants


class Optimiser(Reader):
    """The same without standard deviations."""

    def predict(self, X):
        return self.constants + 0.1


@pytest.fixture
def simulator():
    return TwoPeaks()


@pytest.fixture
def measured(simulator):
    X = simulator.simulate(CONSTANTS)
    return 7 * X + 3 + 0.1 * np.random.default_rng(0).normal(size=X.shape)


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


# --- profiles


def profiles(simulator, measured, **options):
    return SpectrumProfilesDisplay.from_estimator(
        Reader(CONSTANTS),
        measured,
        temperature=TEMPERATURE,
        simulator=simulator,
        **options,
    )


def test_a_profile_is_the_mean_over_q(simulator, measured):
    data = profiles(simulator, measured, scale="normalized").data
    for name, X in {
        "measured": measured,
        "simulated": simulator.simulate(CONSTANTS),
    }.items():
        images = simulator.grid.to_image(normalize_spectra(X))
        expected = np.nanmean(images, axis=2)
        assert_allclose(data[name].to_numpy().reshape(expected.shape), expected)
    assert_allclose(data["energy"][:70], simulator.grid.energy)
    assert_array_equal(data["temperature"].unique(), TEMPERATURE)


def test_fitted_profiles_have_the_scale_of_the_measured_ones(simulator, measured):
    data = profiles(simulator, measured).data
    # White noise of 0.1 on a signal of range 12 leaves no more than this.
    assert_allclose(data["simulated"], data["measured"], atol=0.015)
    # A scale is never negative: an upside-down simulation becomes flat.
    flat = SpectrumProfilesDisplay.from_predictions(
        measured, -measured, temperature=TEMPERATURE, grid=simulator.grid
    )
    assert (flat.data["simulated"] == 0).all()
    assert flat.plot().peaks.empty


def test_pixels_that_one_side_lacks_do_not_count(simulator, measured):
    measured[0, 3] = np.nan
    simulated = simulator.simulate(CONSTANTS)
    cut = simulated.copy()
    cut[0, 3] = np.nan
    tables = [
        SpectrumProfilesDisplay.from_predictions(
            measured, X, temperature=TEMPERATURE, grid=simulator.grid
        ).data
        for X in (simulated, cut)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_an_energy_without_pixels_has_no_mean(simulator, measured):
    images = simulator.grid.to_image(measured.copy())
    images[:, 5] = np.nan
    images[:, 6, 2:] = np.nan  # one pixel is enough
    display = profiles(simulator, simulator.grid.to_rows(images))
    empty = display.data["energy"] == simulator.grid.energy[5]
    assert_array_equal(display.data["measured"].isna(), empty)
    display.plot()


def test_peaks_are_where_they_were_put(simulator, measured):
    peaks = profiles(simulator, measured).peaks
    expected = np.outer(CONSTANTS[:, 0], [1, 1.6]).ravel()
    # The tail of one peak pulls the other, and bins are 0.5 meV wide.
    assert_allclose(peaks["simulated"], expected, atol=0.01)
    assert_allclose(peaks["measured"], peaks["simulated"], atol=0.1)  # noise
    shifts = peaks.pivot(index="temperature", columns="peak", values="simulated_shift")
    assert_allclose(shifts, (CONSTANTS[:, :1] - 20) * [1, 1.6], atol=0.01)


def test_shifts_start_at_the_lowest_temperature(simulator, measured):
    order = [2, 0, 3, 1]
    shuffled = SpectrumProfilesDisplay.from_predictions(
        measured[order],
        simulator.simulate(CONSTANTS[order]),
        temperature=TEMPERATURE[order],
        grid=simulator.grid,
    )
    straight = profiles(simulator, measured)
    columns = straight.peaks.columns.drop("sample")
    pd.testing.assert_frame_equal(shuffled.peaks[columns], straight.peaks[columns])
    assert shuffled.peaks["sample"].tolist() == [1, 1, 3, 3, 0, 0, 2, 2]


def test_the_user_says_where_peaks_are(simulator, measured):
    peaks = profiles(simulator, measured, near=[31.0, 26.0, 70.0]).peaks
    assert_allclose(peaks["simulated"][0], 32, atol=0.01)
    # Between the peaks the profile has no maximum, and none lies off the axis.
    assert peaks.query("peak > 0")[["measured", "simulated"]].isna().all(axis=None)


def test_a_peak_is_where_its_parabola_stays(simulator, measured):
    display = profiles(simulator, measured, peak_width=3.0)
    for peak in display.peaks.itertuples():
        rows = display.data[display.data["sample"] == peak.sample]
        offset = (rows["energy"] - peak.measured) / 3
        near = offset.abs() < 1
        weights = 1 - offset[near] ** 2
        slope = np.polyfit(offset[near], rows["measured"][near], 2, w=weights)[1]
        assert abs(slope) < 1e-6 * np.ptp(rows["measured"])


def test_a_shoulder_has_no_position():
    grid = SpectrumGrid(np.arange(10.0, 45.0, 0.5), [1.0, 2.0])
    energy = np.repeat(grid.energy, 2)
    low, high = (np.exp(-(((energy - e) / 3) ** 2)) for e in (19.0, 24.5))
    display = SpectrumProfilesDisplay.from_predictions(
        [low + 8 * high],
        [low + high],
        temperature=[50.0],
        grid=grid,
        near=[18.5, 24.5],
    )
    assert_array_equal(display.peaks["measured"].isna(), [True, False])
    assert display.peaks["simulated"].notna().all()


def test_the_flank_of_a_distant_peak_has_no_position():
    grid = SpectrumGrid(np.arange(10.0, 45.0, 0.5), [1.0, 2.0])
    broad = np.exp(-(((np.repeat(grid.energy, 2) - 30) / 8) ** 2))
    display = SpectrumProfilesDisplay.from_predictions(
        [broad], [broad], temperature=[50.0], grid=grid, near=[24.0, 27.0]
    )
    assert_allclose(display.peaks["measured"], [np.nan, 30], rtol=1e-6)


def test_profiles_are_drawn_as_they_are(simulator, measured):
    display = profiles(simulator, measured)
    display.plot(spacing=2.0, simulated_kw={"linewidth": 3})
    dots, lines = display.ax_.lines[:8:2], display.ax_.lines[1:8:2]
    samples = display.data.groupby("sample")
    for shift, (_, rows) in enumerate(samples):
        assert_allclose(dots[shift].get_ydata() - 2 * shift, rows["measured"])
        assert_allclose(lines[shift].get_ydata() - 2 * shift, rows["simulated"])
        assert lines[shift].get_linewidth() == 3
    dashed, triangles = display.ax_.lines[-2:]
    upper = display.peaks.query("peak == 1")
    assert_allclose(dashed.get_xdata(), upper["simulated"])
    assert_allclose(triangles.get_xdata(), upper["measured"])
    assert "meV" in display.ax_.get_xlabel()


def test_profiles_say_what_does_not_fit(simulator, measured):
    with pytest.raises(ValueError, match="scale must be one of normalized, fitted"):
        profiles(simulator, measured, scale="free")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        profiles(simulator, measured[:2])
    with pytest.raises(ValueError, match="same shape"):
        SpectrumProfilesDisplay.from_predictions(
            measured, measured[:, 1:], temperature=TEMPERATURE, grid=simulator.grid
        )


# --- trends


def trends(simulator, measured):
    estimators = {"network": Reader(CONSTANTS), "optimiser": Optimiser(CONSTANTS)}
    return TemperatureTrendsDisplay.from_estimator(
        estimators, measured, temperature=TEMPERATURE, simulator=simulator
    )


def series(display, name, quantity):
    rows = display.data.query("estimator == @name and quantity == @quantity")
    return rows["temperature"], rows["value"], rows["std"]


def test_trends_hold_constants_and_their_nmse(simulator, measured):
    display = trends(simulator, measured)
    assert len(display.data) == 2 * 4 * 3
    for name, constants in {
        "network": CONSTANTS,
        "optimiser": CONSTANTS + 0.1,
    }.items():
        again = simulator.simulate(constants)
        expected = nmse(measured, again, scale="fitted")
        assert_allclose(series(display, name, "nmse")[1], expected)
        assert_allclose(series(display, name, "height")[1], constants[:, 1])
        assert_allclose(series(display, name, "height")[0], TEMPERATURE)


def test_error_bars_where_they_are_offered(simulator, measured):
    display = trends(simulator, measured)
    assert (series(display, "network", "position")[2] == 0.1).all()
    assert series(display, "network", "nmse")[2].isna().all()
    assert series(display, "optimiser", "position")[2].isna().all()


def test_error_bars_come_through_pipelines_and_freezing(simulator, measured):
    network = FrozenEstimator(Reader(CONSTANTS).fit(measured))
    pipeline = make_pipeline(FunctionTransformer(), network)
    for estimator in [network, pipeline.fit(measured), FrozenEstimator(pipeline)]:
        display = TemperatureTrendsDisplay.from_estimator(
            estimator, measured, temperature=TEMPERATURE, simulator=simulator
        )
        name = type(estimator).__name__
        assert (series(display, name, "position")[2] == 0.1).all()


def test_trends_of_fits_have_the_nmse_of_the_fits():
    """With all that was fitted along, which constants alone do not tell."""
    fits = [
        SimpleNamespace(
            simulator=SimpleNamespace(temperature=kelvin),
            figures={"loss": 0.1 + number},
            parameters=constants,
            std=0.1 * constants,
            parameter_names=["position", "height"],
        )
        for number, (kelvin, constants) in enumerate(
            zip(TEMPERATURE, CONSTANTS, strict=True)
        )
    ]
    display = TemperatureTrendsDisplay.from_fits(fits)
    x, y, std = series(display, "least squares", "height")
    assert_array_equal(x, TEMPERATURE)
    assert_array_equal(y, CONSTANTS[:, 1])
    assert_allclose(std, 0.1 * y)
    assert_allclose(series(display, "least squares", "nmse")[1], [0.1, 1.1, 2.1, 3.1])
    named = TemperatureTrendsDisplay.from_fits({"a": fits, "b": fits})
    assert set(named.data["estimator"]) == {"a", "b"}
    with pytest.raises(ValueError, match=r"two temperatures or more, got \[50.0\] K"):
        TemperatureTrendsDisplay.from_fits(fits[:1])


def test_fits_are_those_of_scipy(simulator, measured):
    display = trends(simulator, measured)
    for row in display.fits.itertuples():
        x, y, _ = series(display, row.estimator, row.quantity)
        line = linregress(x, y)
        assert_allclose(
            [row.slope, row.slope_error, row.intercept],
            [line.slope, line.stderr, line.intercept],
        )
        assert_allclose(row.spearman, spearmanr(x, y).statistic)
    assert display.fits["spearman"][1] == pytest.approx(-1)  # position, falling


def test_the_error_of_a_slope_covers_its_scatter():
    """Against many made-up series: the error is the spread of the slopes."""
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame(
            {
                "estimator": str(i),
                "temperature": TEMPERATURE,
                "quantity": "a",
                "value": 1 - 1e-3 * TEMPERATURE + 0.05 * rng.normal(size=4),
                "std": np.nan,
            }
        )
        for i in range(300)
    ]
    fits = TemperatureTrendsDisplay(data=pd.concat(parts)).fits
    # 300 series know a mean to 6 % and a mean square to about 10 %
    assert_allclose(fits["slope"].mean(), -1e-3, rtol=0.03)
    mean_square = np.square(fits["slope_error"]).mean()
    assert_allclose(mean_square, fits["slope"].var(), rtol=0.25)


def test_what_a_fit_cannot_tell_is_nan(simulator, measured):
    constants = CONSTANTS.copy()
    constants[:, 1] = 1.0
    display = TemperatureTrendsDisplay.from_predictions(
        {"flat": constants[:2]},
        measured[:2],
        temperature=TEMPERATURE[:2],
        simulator=simulator,
    )
    assert display.fits["slope_error"].isna().all()  # two points have no scatter
    assert_array_equal(display.fits["spearman"].isna(), [False, False, True])


def test_trends_are_drawn_as_they_are(simulator, measured):
    display = trends(simulator, measured).plot(line_kw={"linewidth": 3})
    assert len(display.axes_) == 3
    labels = [ax.get_ylabel() for ax in display.axes_]
    assert labels == ["NMSE", r"position (eV/Å$^2$)", r"height (eV/Å$^2$)"]
    network, optimiser = display.axes_[1].containers
    assert_allclose(network.lines[0].get_ydata(orig=False), CONSTANTS[:, 0])
    assert network.has_yerr
    assert not optimiser.has_yerr
    fit = display.fits.query("quantity == 'position'").iloc[0]
    (line, *_) = [line for line in display.axes_[1].lines if line.get_linewidth() == 3]
    assert_allclose(np.diff(line.get_ydata()) / np.diff(line.get_xdata()), fit["slope"])
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.get_texts()] == ["network", "optimiser"]


def test_trends_are_drawn_on_given_axes(simulator, measured):
    figure, axes = plt.subplots(3, 1)
    display = trends(simulator, measured).plot(axes, show_fits=False)
    assert display.figure_ is figure
    assert len(axes[1].lines) == len(axes[1].containers[0].lines[1]) + 2
    with pytest.raises(ValueError, match="each of 3 panels, got 2"):
        display.plot(axes[:2])
    assert not figure.legends
    names = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert names == ["network", "optimiser"]


def test_a_trend_needs_two_temperatures(simulator, measured):
    with pytest.raises(ValueError, match=r"two temperatures or more, got \[50.0\] K"):
        TemperatureTrendsDisplay.from_predictions(
            {"one": CONSTANTS[:2]},
            measured[:2],
            temperature=[50, 50],
            simulator=simulator,
        )


def test_a_single_constant_needs_no_second_axis(simulator):
    class OnePeak(TwoPeaks):
        parameter_names = ["position"]

        def simulate(self, parameters):
            return super().simulate(np.insert(parameters, 1, 0.5, axis=1))

    peak, position = OnePeak(), CONSTANTS[:, 0]
    options = {"temperature": TEMPERATURE, "simulator": peak}
    X = peak.simulate(position[:, None])
    display = TemperatureTrendsDisplay.from_estimator(Reader(position), X, **options)
    assert_allclose(series(display, "Reader", "position")[1], position)
    assert_allclose(series(display, "Reader", "nmse")[1], 0, atol=1e-12)
    SpectrumProfilesDisplay.from_estimator(Reader(position), X, **options)


def test_constants_of_other_spectra_are_refused(simulator, measured):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        TemperatureTrendsDisplay.from_predictions(
            {"transposed": CONSTANTS.T},
            measured,
            temperature=TEMPERATURE,
            simulator=simulator,
        )
