"""The published pipelines, and fine-tuning as one function."""

import copy

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skphonon.instrument import SpectrumGrid
from skphonon.learning import (
    AEFeatureExtractor,
    Convolutional,
    Dense,
    ForceConstantRegressor,
    Trainer,
    VAEFeatureExtractor,
    fine_tune,
    powder_network,
    su_li_2024,
)
from skphonon.metrics import ResimulationScorer
from skphonon.preprocessing import MaskedSpectrumPreprocessor


class Peaks:
    """A simulator of peaks that move and change their height."""

    parameter_names = ("place", "height")
    reference = np.array([0.0, 1.0])

    def simulate(self, parameters):
        place, height = np.transpose(parameters)[..., None]
        return 0.1 + height * np.exp(-4 * (np.linspace(-2, 2, 30) - place) ** 2)


@pytest.fixture(scope="module")
def data():
    y = np.random.default_rng(0).uniform([-1, 0.5], [1, 1.5], size=(300, 2))
    return Peaks().simulate(y), y


@pytest.fixture(scope="module")
def inverter(data):
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor(normalization=None),
        VAEFeatureExtractor(
            3,
            noise=0.0,
            network=Dense(40),
            trainer=Trainer(max_epochs=40, fine_tune_epochs=30, fine_tune_lr=0.003),
            random_state=0,
        ),
        Ridge(1e-3),
    )
    return pipeline.fit(*data)


def test_fine_tuning_fits_the_spectra_given(inverter, data):
    X, y = data
    places = np.linspace(1.0, 1.3, 8)  # beyond those of the training set
    measured = Peaks().simulate(np.column_stack([places, np.full(8, 1.6)]))
    before = inverter.predict(X)
    tuned = fine_tune(inverter, measured, X, y)
    assert list(tuned.named_steps) == list(inverter.named_steps)
    assert_array_equal(inverter.predict(X), before)  # another object
    preprocessor, extractor = tuned[0], tuned[1].estimator
    rows = preprocessor.transform(measured)
    assert extractor.score(rows) > inverter[1].score(rows)
    # the regressor belongs to the tuned extractor
    expected = Ridge(1e-3).fit(extractor.transform(preprocessor.transform(X)), y)
    assert_allclose(tuned.predict(X), expected.predict(tuned[:-1].transform(X)))


def test_fine_tuning_is_what_it_is_made_of(inverter, data):
    X, y = data
    extractor = copy.deepcopy(inverter[1]).partial_fit(inverter[0].transform(X))
    extended = fine_tune(inverter, X, X, y)
    codes = extended[1].transform(inverter[0].transform(X))
    assert_array_equal(codes, extractor.transform(inverter[0].transform(X)))


def test_a_tuned_pipeline_can_be_tuned_and_fitted_again(inverter, data):
    X, y = data
    once = fine_tune(inverter, X[:8], X, y)
    twice = fine_tune(once, X[:8], X, y)
    assert isinstance(twice[1], FrozenEstimator)
    assert isinstance(twice[1].estimator, VAEFeatureExtractor)
    assert len(twice[1].history_) == len(once[1].history_) + 30
    codes = once[:-1].transform(X)
    assert_array_equal(once.fit(X, y)[:-1].transform(X), codes)


def test_fine_tuning_of_convolutions_with_columns():
    """Temperature and level of noise stand behind the pixels."""
    rng = np.random.default_rng(0)
    grid = SpectrumGrid(np.arange(10.0, 16.0), np.arange(1.0, 7.0))
    place, kelvin = rng.uniform([11, 10], [15, 300], size=(200, 2)).T
    energy = np.meshgrid(*grid.axes(), indexing="ij")[0].ravel()
    X = np.exp(-np.square(energy - place[:, None])) + rng.normal(0, 0.01, (200, 36))
    rows = np.column_stack([X, kelvin])
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor("standard", grid=grid, n_conditions=1, noise=True),
        VAEFeatureExtractor(
            3,
            network=Convolutional(grid, filters=(4,), hidden_size=20),
            noise=0.1,
            trainer=Trainer(max_epochs=40, lr=0.01),
            output="distribution",
            random_state=0,
        ),
        ForceConstantRegressor(
            (20,),
            latent="distribution",
            noise=0.1,
            trainer=Trainer(lr=0.01),
            random_state=0,
        ),
    ).fit(rows, place)
    assert pipeline[1].n_columns_ == 2
    codes = pipeline[:-1].transform(rows[:20])[:, :3]
    warmer = rows[:20].copy()
    warmer[:, -1] += np.where(warmer[:, -1] < 155, 100, -100)
    moved = np.abs(pipeline[:-1].transform(warmer)[:, :3] - codes).max(axis=1)
    assert np.median(moved) > 0.1 * codes.std()
    tuned = fine_tune(pipeline, rows[:20] * 0.9, rows, place)
    assert tuned[1].estimator.n_columns_ == 2
    assert np.sqrt(np.mean((tuned.predict(rows) - place) ** 2)) < 0.3 * place.std()


def test_fine_tuning_needs_an_extractor(data):
    X, y = data
    frozen = make_pipeline(FunctionTransformer(), Ridge()).fit(X, y)
    for bad in (frozen, Ridge(), make_pipeline(Ridge())):
        with pytest.raises(TypeError, match="before an extractor with partial_fit"):
            fine_tune(bad, X, X, y)


@pytest.mark.parametrize("model", ["FCAE", "FCVAE", "CNNAE", "CNNVAE"])
def test_published_settings(model):
    grid = SpectrumGrid(np.arange(10.0, 20.0), np.arange(1.0, 9.0))
    pipeline = su_li_2024(model, grid=grid, n_components=7, random_state=3)
    extractor, regressor = pipeline["extractor"], pipeline["regressor"]
    kind = VAEFeatureExtractor if model.endswith("VAE") else AEFeatureExtractor
    assert type(extractor) is kind
    assert extractor.n_components == 7
    network = Convolutional(grid) if model.startswith("CNN") else Dense()
    assert repr(extractor.network) == repr(network.set_params(bounded=True))
    assert extractor.trainer.lr == (10 if model == "FCAE" else 1)
    assert extractor.trainer.batch_size == regressor.trainer.batch_size == 64
    assert extractor.trainer.max_epochs == regressor.trainer.max_epochs == 2000
    assert regressor.hidden_sizes == (100, 1000, 1000, 100)
    assert regressor.n_draws == 10_000


def test_published_dense_network_is_the_published_one():
    """Widths, and tanh everywhere but on means and log-variances."""
    X = np.random.default_rng(0).uniform(0, 1, size=(70, 50))
    y = X[:, :2]
    pipeline = su_li_2024("FCVAE", n_components=5, max_epochs=1, random_state=0)
    network = pipeline.fit(X, y)["extractor"].net_.module_
    kinds = [type(layer).__name__ for layer in network.encoder.layers]
    assert kinds == ["Linear", "Tanh", "Linear"]
    assert network.encoder.layers[0].weight.shape == (400, 50)
    assert network.encoder.layers[2].weight.shape == (10, 400)
    names = [
        type(m).__name__ for m in network.decoder.modules() if not list(m.children())
    ]
    assert names == ["Linear", "Tanh", "Linear", "Tanh"]
    deterministic = su_li_2024("FCAE", n_components=5, max_epochs=1, random_state=0)
    deterministic.set_params(extractor__trainer__lr=0.1).fit(X, y)
    codes = deterministic[:-1].transform(100 * X)
    assert np.abs(codes).max() <= 1
    assert isinstance(pipeline["regressor"], ForceConstantRegressor)


def test_published_models_that_cannot_be():
    with pytest.raises(ValueError, match="FCAE, FCVAE, CNNAE, CNNVAE, got 'VAE'"):
        su_li_2024("VAE")
    with pytest.raises(ValueError, match="CNNVAE needs the grid"):
        su_li_2024("CNNVAE")


def test_grid_search_with_labels_and_without(data, tmp_path):
    """Over codes, layers and weights; the scaled spectra are made once a fold."""
    X, y = data
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor(normalization=None),
        VAEFeatureExtractor(
            noise=0.0,
            network=Dense(30),
            trainer=Trainer(max_epochs=30),
            random_state=0,
        ),
        Ridge(1e-3),
        memory=str(tmp_path),
    )
    choices = {
        "vaefeatureextractor__n_components": [1, 4],
        "vaefeatureextractor__kl_weight": [1e-6, 0.9],
    }
    labelled = GridSearchCV(pipeline, choices, cv=2).fit(X, y)
    assert labelled.best_params_["vaefeatureextractor__n_components"] == 4
    assert labelled.best_params_["vaefeatureextractor__kl_weight"] == 1e-6
    # unlabelled: trained on the simulations, scored on "measured" spectra
    measured = Peaks().simulate([[0.3, 1.2], [-0.5, 0.8], [0.8, 0.6]])
    both, labels = np.vstack([X, measured]), np.vstack([y, np.full((3, 2), np.nan)])
    split = [(np.arange(300), 300 + np.arange(3))]
    search = GridSearchCV(
        pipeline,
        choices
        | {
            "vaefeatureextractor__network": [
                Dense(30),
                Convolutional(filters=(2,), hidden_size=30),
            ]
        },
        cv=split,
        scoring=ResimulationScorer(Peaks()),
        refit=False,
    ).fit(both, labels)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 8
    assert np.isfinite(scores).all()
    assert scores.max() > -0.1 > scores.min()


def test_fine_tuning_does_not_forget_nuisances(data):
    X, y = data
    pipeline = make_pipeline(
        VAEFeatureExtractor(
            2, trainer=Trainer(max_epochs=1, fine_tune_epochs=1), network=Dense(5)
        ),
        ForceConstantRegressor((5,), trainer=Trainer(max_epochs=1)),
    )
    given = {"forceconstantregressor__nuisance": {"width": y[:, 0]}}
    pipeline.fit(X, y, **given)
    with pytest.raises(ValueError, match=r"learnt \(width\).*forceconst.*__nuisance="):
        fine_tune(pipeline, X[:5], X, y)
    tuned = fine_tune(pipeline, X[:5], X, y, **given)
    assert "width" in tuned.predict(X[:2], return_nuisance=True)[1]
    without = fine_tune(pipeline, X[:5], X, y, forceconstantregressor__nuisance=None)
    assert without[-1].nuisance_names_ == []


class KnownWidths:
    """A simulator of peaks with heights that are predicted and widths that are not."""

    nuisance_names = ("height", "width")

    def simulate(self, parameters, nuisance):
        place, height, width = (
            np.asarray(each, dtype=float)[:, None]
            for each in (parameters[:, 0], nuisance["height"], nuisance["width"])
        )
        return height * np.exp(-np.square((np.linspace(-2, 2, 30) - place) / width))


def test_a_search_trains_on_simulations_and_scores_measured_spectra():
    """As the guide does it: with a condition, nuisances, and no labels."""
    rng = np.random.default_rng(0)
    drawn = pd.DataFrame(rng.uniform(0.5, 1, (200, 2)), columns=["height", "width"])
    y = rng.uniform(-1, 1, (204, 1))
    every = KnownWidths().simulate(y, pd.concat([drawn, drawn[:4]]))
    every = np.column_stack([every, pd.concat([drawn, drawn[:4]])["width"]])
    rows, spectra, y = every[:200], every[200:], y[:200]
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor(None, n_conditions=1),
        VAEFeatureExtractor(
            3,
            noise=0.0,
            network=Dense(40),
            trainer=Trainer(batch_size=20, max_epochs=20),
            random_state=0,
        ),
        ForceConstantRegressor(
            (40,),
            noise=0.1,
            trainer=Trainer(batch_size=20, max_epochs=20),
            random_state=0,
        ),
    )
    scorer = ResimulationScorer(
        KnownWidths(), nuisance=True, conditions=("width",), scale="normalized"
    )
    n = len(rows)
    search = GridSearchCV(
        pipeline,
        {"forceconstantregressor__trainer__lr": [1e-9, 1e-2]},
        scoring=scorer,
        cv=[(np.arange(n), n + np.arange(len(spectra)))],
        refit=False,
        error_score="raise",
    )
    search.fit(
        np.vstack([rows, spectra]),
        np.vstack([y, np.full((len(spectra), 1), np.nan)]),
        forceconstantregressor__nuisance=drawn[["height"]].reindex(
            range(n + len(spectra))
        ),
    )
    worse, better = search.cv_results_["mean_test_score"]
    assert better > worse + 0.1


# For measured powders


def test_a_powder_network_learns_with_background_and_temperature():
    grid = SpectrumGrid(np.linspace(10, 40, 6), np.linspace(1, 6, 5))
    rng = np.random.default_rng(0)
    y = rng.uniform(-1, 1, (600, 1))
    kelvins = rng.uniform(100, 300, (600, 1))
    place = np.linspace(-2, 2, 30)
    X = np.exp(-4 * (place - y) ** 2) * (1 + kelvins / 300)
    X = X + rng.uniform(-1, 1, (600, 1)) * grid.energy.repeat(5) / 10
    X += 0.05 * rng.normal(size=X.shape)
    rows = np.hstack([X, kelvins])
    network = powder_network(
        grid, background=1, n_conditions=1, n_components=6, random_state=0
    )
    network.fit(rows[:500], y[:500])
    predicted, std = network.predict(rows[500:], return_std=True)
    left = np.reshape(predicted, (-1, 1)) - y[500:]
    assert left.std() < 0.2 * y.std()
    assert 0.5 < np.mean(np.abs(left) < np.reshape(std, (-1, 1))) < 0.85
    assert list(network.named_steps) == [
        "maskedspectrumpreprocessor", "vaefeatureextractor", "forceconstantregressor"
    ]  # fmt: skip
