"""Predicted beside measured spectra: what the table holds and what is drawn."""

import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import (
    JointSimulator,
    LeastSquaresInverter,
    PosteriorInverter,
    SpectrumGrid,
)
from skphonon.inspection import PosteriorPredictiveDisplay

mpl.use("Agg")

SIGMA = 0.2


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


class Linear:
    """Spectra that are linear in two parameters, on a grid or on none."""

    parameter_names, reference = ["a", "b"], np.array([1.0, 2.0])

    def __init__(self, grid=None, n_pixels=40):
        if grid is not None:
            self.grid, n_pixels = grid, int(np.prod(grid.shape))
        self.columns = np.random.default_rng(0).normal(size=(2, n_pixels))

    def simulate(self, parameters):
        return np.asarray(parameters) @ self.columns

    def jacobian(self, parameters, return_spectra=False):
        found = np.tile(self.columns.T, (len(parameters), 1, 1))
        return (found, self.simulate(parameters)) if return_spectra else found


MAP = SpectrumGrid(np.arange(10.0, 18.0), np.arange(1.0, 7.0))
CUT = SpectrumGrid(np.arange(10.0, 50.0), [2.0])


def posterior_of(simulator, lost=()):
    X = simulator.simulate([simulator.reference])
    X = X + SIGMA * np.random.default_rng(1).normal(size=X.shape)
    X[:, list(lost)] = np.nan
    settings = {"scale": "absolute", "noise": "noise", "background": None}
    least = LeastSquaresInverter(simulator, prior=([1, 2], [1, 1]), **settings)
    inverter = PosteriorInverter(least, n_draws=2000, n_starts=1).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter.predict(X, errors=SIGMA)
    return X[0], inverter.posteriors_[0]


def test_table_has_the_closed_form():
    simulator = Linear()
    row, posterior = posterior_of(simulator, lost=[3])
    display = PosteriorPredictiveDisplay.from_posterior(posterior, n_draws=2000)
    seen = np.arange(40) != 3
    columns = simulator.columns
    covariance = np.linalg.inv(
        columns[:, seen] @ columns[:, seen].T / SIGMA**2 + np.eye(2)
    )
    mean = covariance @ (columns[:, seen] @ row[seen] / SIGMA**2 + [1, 2])
    spread = np.einsum("ip,ij,jp->p", columns, covariance, columns)
    std = np.sqrt(SIGMA**2 + spread)
    table = display.data
    assert_allclose(table["predicted"][seen], (mean @ columns)[seen], atol=0.005)
    assert_allclose(table["std"][seen], std[seen], rtol=0.01)
    expected = (row - mean @ columns) / std
    assert_allclose(table["residual"][seen], expected[seen], atol=0.03)
    assert table.loc[3, ["measured", "predicted", "std", "residual"]].isna().all()
    assert (table["part"] == "").all()


def test_maps_share_their_colours():
    _, posterior = posterior_of(Linear(MAP), lost=[0])
    display = PosteriorPredictiveDisplay.from_posterior(posterior, n_draws=50)
    assert display.plot(mesh_kw={"alpha": 0.5}) is display
    measured, predicted, residual = (
        next(each for each in ax.collections if hasattr(each, "get_array"))
        for ax in display.axes_
    )
    assert measured.norm is predicted.norm
    assert residual.norm.vmin == -residual.norm.vmax
    assert_array_equal(
        np.ma.filled(predicted.get_array(), np.nan).ravel()[1:],
        np.clip(display.data["predicted"][1:], predicted.norm.vmin, None),
    )
    titles = [ax.get_title() for ax in display.axes_]
    assert titles == ["measured", "predicted", "residual (predictive std)"]
    _, axes = plt.subplots(1, 3)
    assert_array_equal(display.plot(axes).axes_, axes)
    with pytest.raises(ValueError, match="one axes for each of 3 panels"):
        display.plot(axes[:2])


@pytest.mark.parametrize(
    ("simulator", "label", "first"),
    [(Linear(), "pixel", 0), (Linear(CUT), "energy transfer (meV)", 10)],
)
def test_spectra_without_an_image_are_curves(simulator, label, first):
    row, posterior = posterior_of(simulator)
    display = PosteriorPredictiveDisplay.from_posterior(posterior, n_draws=50)
    above, below = display.plot(line_kw={"color": "C3"}).axes_
    line, points = above.lines
    assert line.get_color() == "C3"
    assert_allclose(points.get_ydata(), row)
    assert points.get_xdata()[0] == first
    assert_allclose(below.lines[-1].get_ydata(), display.data["residual"])
    assert above.get_xlabel() == below.get_xlabel() == label
    band = above.collections[0].get_paths()[0].vertices
    highest = (display.data["predicted"] + 2 * display.data["std"]).max()
    assert_allclose(band[:, 1].max(), highest)


def test_measurements_of_a_joint_simulator_have_panels_of_their_own():
    joint = JointSimulator({"map": Linear(MAP), "cut": Linear(CUT)})
    row, posterior = posterior_of(joint)
    display = PosteriorPredictiveDisplay.from_posterior(posterior, n_draws=50)
    assert display.data["part"].value_counts().to_dict() == {"map": 48, "cut": 40}
    display.plot()
    assert [ax.get_title() for ax in display.axes_] == [
        "map, measured",
        "map, predicted",
        "map, residual (predictive std)",
        "cut",
        "cut",
    ]
    assert_allclose(display.axes_[3].lines[-1].get_ydata(), row[48:])
