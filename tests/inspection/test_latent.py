"""Latent-space statistics against linear decoders, which know every answer."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skphonon.inspection import (
    LatentCodesDisplay,
    LatentCorrelationDisplay,
    LatentSensitivityDisplay,
    LatentTraversalDisplay,
    active_dimensions,
    latent_correlation,
    latent_sensitivity,
    latent_traversal,
)
from skphonon.instrument import SpectrumGrid
from skphonon.learning import AEFeatureExtractor, Dense, Trainer, VAEFeatureExtractor
from skphonon.preprocessing import MaskedSpectrumPreprocessor

mpl.use("Agg")


class LinearExtractor(BaseEstimator):
    """Codes c and std s of spectra decoded as c @ columns + offset."""

    def __init__(self, columns, std=None):
        self.columns = columns
        self.std = std

    def fit(self, X=None, y=None):
        self.n_components_ = len(self.columns)
        return self

    def transform(self, X):
        # as with output="distribution": standard deviations after the means
        return np.hstack(self.encode(X))

    def encode(self, X):
        codes = (X - 1) @ np.linalg.pinv(self.columns)
        return codes, np.broadcast_to(self.std, codes.shape)

    def inverse_transform(self, codes):
        return codes @ self.columns + 1

    def kl_divergence(self, X):
        mean, std = self.encode(X)
        return (std**2 + mean**2 - 1 - np.log(std**2)) / 2


@pytest.fixture
def codes():
    return np.random.default_rng(0).normal(size=(1203, 3)) * [1.0, 2.0, 0.0]


@pytest.fixture
def linear():
    columns = np.random.default_rng(1).normal(size=(3, 8))
    return LinearExtractor(columns, std=np.array([0.3, 0.5, 1.0])).fit()


@pytest.fixture(scope="module")
def grid():
    return SpectrumGrid([10.0, 20.0, 30.0], [1.0, 2.0, 9.0, 12.0], incident_energy=50.0)


@pytest.fixture(scope="module")
def spectra(grid):
    """Raw spectra with NaN, of two latent variables."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 12)) + 5 * rng.normal(size=12)
    return grid.to_rows(grid.to_image(X))


@pytest.fixture(scope="module")
def pipeline(spectra):
    y = np.nansum(spectra, axis=1)
    extractor = VAEFeatureExtractor(
        3,
        network=Dense(8),
        output="distribution",
        trainer=Trainer(max_epochs=3),
        random_state=0,
    )
    steps = MaskedSpectrumPreprocessor(), extractor, LinearRegression()
    return make_pipeline(*steps).fit(spectra, y)


# --- statistics


def test_sensitivity_of_a_linear_decoder(linear, codes):
    X = linear.inverse_transform(codes)  # more spectra than are decoded at once
    found = latent_sensitivity(linear, X, change=0.7)
    size = np.square(linear.columns).mean(axis=1) * 0.7**2
    assert_allclose(found, size * (1 / np.square(X).mean(axis=1)).mean(), rtol=1e-9)
    assert_array_equal(found.index, [0, 1, 2])


def test_relative_changes_are_in_standard_deviations_of_the_code(linear, codes):
    X = linear.inverse_transform(codes)
    std = codes.std(axis=0)
    found = latent_sensitivity(linear, X, change=1.0, relative=True)
    expected = latent_sensitivity(linear, X, change=1.0) * std**2
    assert_allclose(found, expected, atol=1e-20)
    found = latent_traversal(linear, X, changes=[2.0], relative=True)
    assert_allclose(found, 2 * std[:, None] * linear.columns, atol=1e-9)
    assert found.index.tolist() == [(0, 2.0), (1, 2.0), (2, 2.0)]


def test_sensitivity_of_a_decoder_that_ignores_a_dimension(linear, codes):
    linear.columns[1] = 0
    assert latent_sensitivity(linear, linear.inverse_transform(codes))[1] == 0


def test_sensitivity_moves_both_ways(linear):
    """The mean over both ways, where one changes the spectrum more than the other."""
    decode = linear.inverse_transform
    linear.inverse_transform = lambda codes: decode(np.maximum(codes, 0))
    found = latent_sensitivity(linear, np.ones((1, 8)), change=1.0)
    # The code of this spectrum is zero: only the way up is a change.
    assert_allclose(found, np.square(linear.columns).mean(axis=1) / 2)


def test_sensitivity_needs_a_decoded_spectrum():
    X = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    with pytest.raises(ValueError, match="1 of 3 that are"):
        latent_sensitivity(PCA(1).fit(X), X)


def test_correlation_is_that_of_numpy(linear, codes):
    codes[:, 2] = codes[:, 0] + codes[:, 1]
    found = latent_correlation(linear, linear.inverse_transform(codes))
    assert_allclose(found, np.corrcoef(codes.T), atol=1e-9)


def test_a_constant_dimension_has_no_correlation(spectra):
    X = np.nan_to_num(spectra)
    extractor = PCA(3).fit(X)
    extractor.components_[1] = 0  # its code is zero for every spectrum
    found = latent_correlation(extractor, X).isna().to_numpy()
    assert_array_equal(found, [[0, 1, 0], [1, 1, 1], [0, 1, 0]])


def test_one_spectrum_has_no_correlation(linear):
    with pytest.raises(ValueError, match="two spectra, got one"):
        latent_correlation(linear, np.ones((1, 8)))


def test_traversal_of_a_linear_decoder(linear, codes):
    found = latent_traversal(
        linear, linear.inverse_transform(codes), changes=[2.0, -1.0, 2.0]
    )
    assert found.index.tolist() == [(d, c) for d in range(3) for c in (-1.0, 2.0)]
    expected = np.kron(linear.columns, [[-1.0], [2.0]])
    assert_allclose(found, expected, atol=1e-12)


def test_active_dimensions_follow_their_definition(linear, codes):
    active = active_dimensions(linear, linear.inverse_transform(codes))
    s, square = linear.std, np.square(codes).mean(axis=0)
    assert_allclose(active.kl, (s**2 + square - 1) / 2 - np.log(s), atol=1e-9)
    assert_array_equal(active.mask, [True, True, False])
    assert active.count == 2
    assert_array_equal(active.order, [1, 0, 2])


def test_a_collapsed_posterior_has_no_active_dimension(linear):
    linear.std = np.ones(3)
    active = active_dimensions(linear, linear.inverse_transform(np.zeros((4, 3))))
    assert active.count == 0
    assert_allclose(active.kl, 0, atol=1e-12)


def test_the_threshold_decides(linear, codes):
    X = linear.inverse_transform(codes)
    assert active_dimensions(linear, X, threshold=1e3).count == 0
    with pytest.raises(ValueError, match="at least 0 nats, got -1"):
        active_dimensions(linear, X, threshold=-1)


def test_only_the_divergence_collapses_a_posterior(spectra):
    """A variational network trained on the divergence alone, and on it hardly."""
    X = MaskedSpectrumPreprocessor().fit_transform(spectra)
    extractor = VAEFeatureExtractor(
        3,
        network=Dense(8),
        kl_weight=1.0,
        trainer=Trainer(max_epochs=60),
        random_state=0,
    )
    # measured: at most 0.02 nats collapsed, two dimensions above 0.35 otherwise
    assert active_dimensions(extractor.fit(X), X, threshold=0.1).count == 0
    extractor.set_params(kl_weight=1e-6)
    assert active_dimensions(extractor.fit(X), X, threshold=0.1).count >= 2


@pytest.mark.parametrize(
    "extractor", [PCA(2), AEFeatureExtractor(2, trainer=Trainer(max_epochs=1))]
)
def test_a_deterministic_extractor_has_no_divergence(extractor, spectra):
    X = MaskedSpectrumPreprocessor().fit_transform(spectra)
    with pytest.raises(TypeError, match=rf"got {type(extractor).__name__}\. "):
        active_dimensions(extractor.fit(X), X)


# --- pipelines


def test_a_pipeline_is_opened_at_its_extractor(pipeline, spectra):
    preprocessor, extractor, _ = (step for _, step in pipeline.steps)
    expected = latent_sensitivity(extractor, preprocessor.transform(spectra))
    frozen = make_pipeline(*map(FrozenEstimator, pipeline))
    for estimator in [pipeline, pipeline[:-1], frozen, FrozenEstimator(pipeline)]:
        assert_allclose(latent_sensitivity(estimator, spectra), expected, rtol=1e-6)
    assert (expected > 0).all()


def test_pandas_output_changes_nothing(pipeline, spectra):
    expected = latent_correlation(pipeline, spectra)
    y = np.nansum(spectra, axis=1)
    steps = (step.__class__(**step.get_params(deep=False)) for step in pipeline)
    frames = make_pipeline(*steps).set_output(transform="pandas").fit(spectra, y)
    assert_allclose(latent_correlation(frames, spectra), expected, rtol=1e-6)
    LatentTraversalDisplay.from_estimator(
        frames, spectra, grid=SpectrumGrid(np.arange(1, 4), np.arange(1, 5))
    )


def test_traversal_of_a_pipeline_has_full_rows(pipeline, spectra):
    moved = latent_traversal(pipeline, spectra)
    hidden = np.isnan(spectra[0])
    assert_array_equal(moved.isna().to_numpy(), np.tile(hidden, (6, 1)))
    preprocessor, extractor = pipeline[:-1]
    kept = latent_traversal(extractor, preprocessor.transform(spectra))
    assert_allclose(moved.to_numpy()[:, ~hidden], kept, atol=1e-6)


def test_an_extractor_is_needed(spectra):
    y = np.nansum(spectra, axis=1)
    pixels = make_pipeline(MaskedSpectrumPreprocessor(), LinearRegression())
    with pytest.raises(TypeError, match="got Pipeline without one"):
        latent_sensitivity(pixels.fit(spectra, y), spectra)


def test_pipelines_within_a_pipeline_are_opened(pipeline, spectra):
    front, regressor = pipeline[:-1], pipeline[-1]
    expected = latent_sensitivity(pipeline, spectra)
    moved = latent_traversal(pipeline, spectra)
    for first in (FrozenEstimator(front), front):
        nested = make_pipeline("passthrough", first, FrozenEstimator(regressor))
        assert_allclose(latent_sensitivity(nested, spectra), expected)
        assert_allclose(latent_traversal(nested, spectra), moved)


def test_a_search_is_told_from_other_estimators(spectra):
    X, y = np.nan_to_num(spectra), np.nansum(spectra, axis=1)
    with pytest.raises(TypeError, match="got LinearRegression") as raised:
        latent_sensitivity(LinearRegression().fit(X, y), X)
    assert "best_estimator_" not in str(raised.value)
    search = GridSearchCV(make_pipeline(PCA(2), LinearRegression()), {}).fit(X, y)
    with pytest.raises(TypeError, match="Pass the best_estimator_ of the search"):
        latent_sensitivity(search, X)


def test_the_extractor_must_be_fitted(spectra):
    with pytest.raises(NotFittedError):
        latent_sensitivity(VAEFeatureExtractor(), spectra)


# --- displays


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


def test_codes_are_those_of_the_extractor(pipeline, spectra):
    display = LatentCodesDisplay.from_estimator(pipeline, spectra[:50], spectra[50:54])
    mean, std = pipeline[1].encode(pipeline[0].transform(spectra[50:54]))
    measured = display.data.query("set == 'measured'")
    assert_allclose(measured["mean"], mean.ravel(), rtol=1e-6)
    assert_allclose(measured["std"], std.ravel(), rtol=1e-6)
    assert display.data["set"].value_counts().to_dict() == {
        "simulated": 150,
        "measured": 12,
    }


def test_codes_are_drawn_as_they_are(linear, codes):
    X = linear.inverse_transform(codes)
    display = LatentCodesDisplay.from_estimator(linear, X[:100], X[-2:])
    display.plot(dimensions=[1, 0], labels=["50 K", "640 K"])
    points = [container.lines[0] for container in display.ax_.containers]
    for line, expected in zip(points, codes[-2:], strict=True):
        assert_allclose(line.get_ydata(orig=False), expected[[1, 0]], atol=1e-9)
    bars = display.ax_.containers[0].lines[2][0].get_segments()
    assert_allclose([np.ptp(bar[:, 1]) / 2 for bar in bars], [0.5, 0.3])
    medians = [line for line in display.ax_.lines if str(line.get_color()) == "C1"]
    middle = np.median(codes[:100], axis=0)
    assert_allclose([m.get_ydata()[0] for m in medians], middle[[1, 0]], atol=1e-9)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["simulated", "50 K", "640 K"]


def test_codes_without_standard_deviation(spectra):
    X = np.nan_to_num(spectra)
    display = LatentCodesDisplay.from_estimator(PCA(2).fit(X), X, X[:1]).plot()
    assert display.data["std"].isna().all()
    assert len(display.ax_.containers) == 1


def test_sensitivity_bars(linear, codes):
    X = linear.inverse_transform(codes)
    display = LatentSensitivityDisplay.from_estimator(linear, X, change=0.1)
    expected = latent_sensitivity(linear, X, change=0.1)
    assert_allclose(display.data["sensitivity"], expected)
    assert display.plot(dimensions=[2, 0], bar_kw={"color": "red"}) is display
    heights = [bar.get_height() for bar in display.ax_.patches]
    assert_allclose(heights, expected[[2, 0]])
    ticks = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert ticks == ["2", "0"]
    assert display.ax_.patches[0].get_facecolor() == (1, 0, 0, 1)


def test_correlation_image(linear, codes):
    X = linear.inverse_transform(codes + np.random.default_rng(0).normal(size=(3,)))
    display = LatentCorrelationDisplay.from_estimator(linear, X)
    figure, ax = plt.subplots()
    display.plot(ax, dimensions=[1, 0])
    assert display.figure_ is figure
    drawn = ax.images[0].get_array()
    assert_allclose(drawn, display.data.to_numpy()[[1, 0]][:, [1, 0]])


def test_traversal_images(pipeline, spectra, grid, tmp_path):
    display = LatentTraversalDisplay.from_estimator(
        pipeline, spectra[:5], grid=grid, changes=[0.5, 1.0]
    )
    display.plot(dimensions=[2, 0], change=0.5)
    assert [ax.get_title() for ax in display.axes_] == ["dimension 2", "dimension 0"]
    drawn = display.axes_[0].collections[0].get_array()
    image = grid.to_image(display.data.loc[(2, 0.5)].to_numpy())
    assert_allclose(np.ma.filled(drawn, np.nan).reshape(grid.shape), image)
    display.data.to_csv(tmp_path / "moved.csv")
    again = pd.read_csv(tmp_path / "moved.csv", header=[0, 1], index_col=[0, 1])
    assert_allclose(again, display.data)


def test_traversal_without_a_pipeline_fills_the_visible_pixels(pipeline, spectra, grid):
    rows = pipeline[0].transform(spectra[:5])
    bare = LatentTraversalDisplay.from_estimator(pipeline[1], rows, grid=grid)
    whole = LatentTraversalDisplay.from_estimator(pipeline, spectra[:5], grid=grid)
    assert_allclose(bare.data, whole.data, atol=1e-6)


def test_traversal_says_what_does_not_fit(pipeline, spectra, grid):
    other = SpectrumGrid([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="each of the 4 pixels"):
        LatentTraversalDisplay.from_estimator(pipeline, spectra, grid=other)
    display = LatentTraversalDisplay.from_estimator(pipeline, spectra, grid=grid)
    with pytest.raises(ValueError, match=r"one of \[-0.5, 0.5\], got 3"):
        display.plot(change=3)
    with pytest.raises(ValueError, match="each of 3 panels, got 1"):
        display.plot([plt.gca()])
