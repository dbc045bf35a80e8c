"""The rooms together: pipelines, searches and models that travel."""

import copy
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

from skphonon import (
    ForceConstantRegressor,
    MaskedSpectrumPreprocessor,
    NelderMeadInverter,
    PowderSimulator,
    SpectrumGrid,
    VAEFeatureExtractor,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.learning import Dense, Trainer
from skphonon.metrics import ResimulationScorer


@pytest.fixture(scope="module")
def simulator():
    grid = SpectrumGrid(
        np.arange(10, 45, 2.5), np.arange(0.5, 9, 0.5), incident_energy=50.0
    )
    return PowderSimulator(load_aluminium_model(), grid, energy_resolution=1.54, mesh=6)


@pytest.fixture(scope="module")
def spectra(simulator):
    return make_powder_spectra(simulator, 600, spread=0.3, random_state=0)


@pytest.fixture(scope="module")
def inverter(spectra):
    """A pipeline of small networks, fitted to the first 500 spectra."""
    X, y = spectra
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(
            6, network=Dense(50), compression=20, output="distribution", random_state=0
        ),
        ForceConstantRegressor((50, 50), latent="distribution", random_state=0),
    )
    return pipeline.fit(X[:500], y[:500])


def test_the_pipeline_learns_the_strong_constants(inverter, spectra):
    X, y = spectra
    constants, std = inverter.predict(X[500:], return_std=True)
    explained = 1 - ((constants - y[500:]) ** 2).mean(axis=0) / y[500:].var(axis=0)
    assert (explained[[0, 2]] > 0.8).all()  # 1XX, 1XY
    assert (std > 0).all()
    # error bars are of the size of the errors, within a factor of two
    ratio = np.sqrt(((constants - y[500:]) ** 2).mean(axis=0) / (std**2).mean(axis=0))
    assert ((ratio > 0.5) & (ratio < 2)).all()


def test_fine_tuning_keeps_the_extractor_frozen(inverter, spectra):
    X, y = spectra
    preprocessor, extractor = copy.deepcopy(inverter[:-1])
    before = extractor.transform(preprocessor.transform(X[:3]))
    extractor.partial_fit(preprocessor.transform(X[500:504]))
    after = extractor.transform(preprocessor.transform(X[:3]))
    assert not np.allclose(before, after, atol=1e-6)
    tuned = make_pipeline(
        FrozenEstimator(preprocessor),
        FrozenEstimator(extractor),
        clone(inverter[-1]),
    ).fit(X[:500], y[:500])
    assert_allclose(tuned[:-1].transform(X[:3]), after)
    # the deep copy left the original as it was
    assert_allclose(inverter[:-1].transform(X[:3]), before)


def test_grid_search_with_labels_and_without(inverter, simulator, spectra):
    X, y = spectra
    quick = clone(inverter).set_params(
        vaefeatureextractor__trainer__max_epochs=3,
        forceconstantregressor__trainer__max_epochs=3,
    )
    search = GridSearchCV(
        quick,
        {"vaefeatureextractor__n_components": [2, 4]},
        scoring={"r2": "r2", "spectra": ResimulationScorer(simulator)},
        refit="spectra",
        cv=2,
    ).fit(X[:100], y[:100])
    assert search.cv_results_["mean_test_spectra"].max() <= 0
    assert np.isfinite(search.cv_results_["mean_test_r2"]).all()


def test_the_optimiser_is_cross_validated_like_any_regressor(simulator, spectra):
    stable = simulator.is_stable(spectra[1])  # a search finds no crystal that is not
    X, y = (a[stable] for a in spectra)
    inverter = NelderMeadInverter(simulator, max_evaluations=700, tolerance=0.01)
    scores = cross_val_score(
        inverter, X[:6], y[:6], cv=2, scoring=ResimulationScorer(simulator)
    )
    assert (scores > -0.01).all()


def test_pandas_output_and_html(inverter, spectra):
    X, y = (a[:60] for a in spectra)
    quick = {
        "vaefeatureextractor__trainer__max_epochs": 2,
        "forceconstantregressor__trainer__max_epochs": 2,
    }
    plain = clone(inverter).set_params(**quick)
    frames = clone(plain).set_output(transform="pandas")
    expected = plain.fit(X, y).predict(X[:3])
    assert_allclose(frames.fit(X, y).predict(X[:3]), expected, rtol=1e-6)
    codes = frames[:-1].transform(X[:3])
    assert isinstance(codes, pd.DataFrame)
    assert codes.columns.is_unique
    assert "VAEFeatureExtractor" in estimator_html_repr(inverter)


def test_a_model_predicts_the_same_in_another_process(inverter, spectra, tmp_path):
    X, _ = spectra
    some = [a[:50] for a in spectra]
    baseline = NelderMeadInverter(max_evaluations=50, tolerance=0.1)
    of_means = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(
            2, network=Dense(10), trainer=Trainer(max_epochs=2), random_state=0
        ),
        ForceConstantRegressor((10,), trainer=Trainer(max_epochs=2), random_state=0),
    )
    models = [inverter, baseline.fit(*some), of_means.fit(*some)]
    joblib.dump((models, X[:4]), tmp_path / "models.joblib")
    script = (
        "import joblib, warnings, sys; warnings.simplefilter('error', UserWarning)\n"
        "from sklearn.exceptions import ConvergenceWarning\n"
        "warnings.simplefilter('ignore', ConvergenceWarning)\n"
        "models, X = joblib.load(sys.argv[1])\n"
        "joblib.dump([model.predict(X) for model in models], sys.argv[2])"
    )
    result = tmp_path / "predictions.joblib"
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "models.joblib", result], check=True
    )
    with pytest.warns(match="did not converge"):
        expected = [model.predict(X[:4]) for model in models]
    for here, there in zip(expected, joblib.load(result), strict=True):
        assert_allclose(there, here, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::skphonon.datasets.IncompleteDatasetWarning")
def test_a_measured_spectrum_is_inverted(data_folder):
    """Aluminium at 50 K beside the constants of Cowley (1974), measured at 80 K."""
    measured = fetch_aluminium_arcs()
    cold = PowderSimulator(
        load_aluminium_model(), measured.grid, energy_resolution=1.54, temperature=50.0
    )
    inverter = NelderMeadInverter(cold, scale="fitted").fit(measured.data)
    constants = inverter.predict(measured.data[:1])
    assert inverter.loss_[0] < 0.17  # measured: 0.163, of which noise is 0.052
    cowley = load_aluminium_model("cowley-1974").reference
    strong = [0, 2]  # 1XX, 1XY; the others trade against one another
    assert_allclose(constants[0, strong], cowley[strong], rtol=0.15)
