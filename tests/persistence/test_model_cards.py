"""Cards of models: what they hold, and when they are out of date."""

import json
import os
import pickle
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest
import skops
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skphonon
from skphonon import (
    ForceConstantRegressor,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    SpectrumGrid,
    VAEFeatureExtractor,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.learning import Dense, Trainer
from skphonon.persistence import attach_card, describe, save_model


@pytest.fixture(scope="module")
def simulator():
    grid = SpectrumGrid(
        np.arange(10, 45, 5.0), np.arange(0.5, 9, 1.0), incident_energy=50.0
    )
    return PowderSimulator(load_aluminium_model(), grid, energy_resolution=1.54, mesh=6)


@pytest.fixture(scope="module")
def spectra(simulator):
    return make_powder_spectra(simulator, 40, random_state=0)


@pytest.fixture(scope="module")
def inverter(simulator, spectra):
    """A pipeline of tiny networks, with a card."""
    X, y = spectra
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(
            2,
            network=Dense(8),
            trainer=Trainer(max_epochs=2),
            output="distribution",
            random_state=0,
        ),
        ForceConstantRegressor(
            (8,), latent="distribution", trainer=Trainer(max_epochs=3), random_state=0
        ),
    ).fit(X, y)
    return attach_card(
        pipeline,
        simulator=simulator,
        X=X,
        y=y,
        scores={"R2": np.array([0.99, 0.5]), "NMSE": {"50 K": np.float64(0.2)}},
        notes="Trained for the tests.",
    )


def test_a_card_holds_what_was_given(inverter, simulator, spectra):
    X, y = spectra
    card = inverter.model_card_
    assert json.loads(json.dumps(card)) == card
    assert card["notes"] == "Trained for the tests."
    assert card["scores"] == {"R2": [0.99, 0.5], "NMSE": {"50 K": 0.2}}
    assert card["training_set"]["X"] == {
        "shape": list(X.shape),
        "dtype": "float64",
        "sha256": sha256(X.tobytes()).hexdigest(),
    }
    ranges = card["training_set"]["y"]["ranges"]
    assert list(ranges) == simulator.parameter_names
    assert_array_equal(list(ranges.values()), np.transpose([y.min(0), y.max(0)]))
    assert card["simulator"]["parameters"]["temperature"] == 300.0
    grid = card["grid"]
    assert SpectrumGrid(grid["energy"], grid["q"]).shape == simulator.grid.shape
    assert grid["incident_energy"] == 50.0
    assert card["versions"]["skphonon"] == skphonon.__version__
    assert card["versions"]["numpy"] == np.__version__
    extractor = card["model"]["steps"]["vaefeatureextractor"]
    assert extractor["parameters"]["n_components"] == 2
    assert extractor["learned"]["n_epochs"] == 2


def test_describe_tells_the_card(inverter):
    text = describe(inverter)
    for part in (
        "notes='Trained for the tests.'",
        "class='skphonon.learning.features.VAEFeatureExtractor'",
        "n_epochs=2",
        "temperature=300",
        "R2=[0.99, 0.5]",
        "q=[0.5 ... 8.5] (9 values)",
        f"python='{sys.version.split()[0]}'",
        "1XX=[",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 88
    assert "changed" not in text
    assert "No card" not in text


def test_a_model_without_a_card_tells_what_it_can(inverter):
    text = describe(inverter[1])
    assert text.startswith("No card was attached")
    assert "n_components=2" in text
    assert "valid_loss=" in text
    assert "n_components=30" in describe(VAEFeatureExtractor())  # not even fitted
    search = GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=2)
    assert "best_estimator_" in describe(search.fit(np.eye(4), range(4)))


def test_a_card_that_is_out_of_date_says_so(inverter, spectra):
    X, _ = spectra
    model = pickle.loads(pickle.dumps(inverter))
    assert "changed" not in describe(model)
    model[1].partial_fit(model[0].transform(X))
    assert "changed after its card was written" in describe(model)
    assert "changed" not in describe(attach_card(model))
    assert not hasattr(clone(model), "model_card_")


def test_files_are_described_without_being_loaded(inverter, spectra, tmp_path):
    path, script = tmp_path / "model.skops", "from skphonon.persistence import describe"
    save_model(inverter, path)
    script += f"; print(describe({str(path)!r})); import sys"
    script += "; assert not {'torch', 'skops', 'skphonon.learning'} & {*sys.modules}"
    text = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert text.startswith(describe(inverter))
    assert f"skops={skops.__version__!r}" in text.partition("\nfile\n")[2]
    model = pickle.loads(pickle.dumps(inverter))
    model[1].partial_fit(model[0].transform(spectra[0]))
    save_model(model, path, overwrite=True)
    assert "changed after its card was written" in describe(path)
    save_model(Ridge(alpha=np.nan), path, overwrite=True)
    assert "alpha=nan" in describe(str(path))
    assert describe(path).startswith("No card was attached")


def test_a_file_of_a_grid_is_described(simulator, tmp_path):
    save_model(simulator.grid, tmp_path / "grid.skops")
    assert "incident_energy=50" in describe(tmp_path / "grid.skops")


@pytest.mark.parametrize("text", ["\x1b[2J", "\u202e"])
def test_files_do_not_steer_the_terminal(text, tmp_path):
    model = attach_card(Ridge().fit(np.eye(2), [1, 2]), scores={text: 1.0})
    save_model(model, tmp_path / "model.skops")
    with pytest.raises(ValueError, match="cannot be printed"):
        describe(tmp_path / "model.skops")


def test_small_cards(spectra):
    X, y = np.eye(4), np.arange(4)
    card = attach_card(Ridge().fit(X, y)).model_card_
    assert card.keys() == {"written", "model", "training_set", "versions"}
    card = attach_card(Ridge().fit(X, y), simulator=object(), y=y).model_card_
    assert card["simulator"] == "builtins.object"
    assert card["training_set"]["y"]["ranges"] == {"0": [0, 3]}


def test_cards_are_checked():
    X, y = np.eye(4), np.arange(4)
    ridge = Ridge().fit(X, y)
    with pytest.raises(NotFittedError):
        attach_card(Ridge())
    with pytest.raises(TypeError, match=r"scores\.R2 must be a number, .* got <object"):
        attach_card(ridge, scores={"R2": object()})
    with pytest.raises(TypeError, match="notes must be a string, got 3"):
        attach_card(ridge, notes=3)
    with pytest.raises(TypeError, match="X must be an array of numbers, got object"):
        attach_card(ridge, X=np.array([[None]]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        attach_card(ridge, X=X, y=y[:3])
    assert not hasattr(ridge, "model_card_")
