"""Models that were saved when every setting of training was a parameter.

The folder has one of each estimator that trains, with spectra and what it made of them.
"""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone

from skphonon import VAEFeatureExtractor
from skphonon.learning import Trainer
from skphonon.persistence import VersionMismatchWarning, load_model, save_model

FOLDER = Path(__file__).parent / "before_trainer"
# what differs from the defaults of each
TRAINERS = {
    "AEFeatureExtractor": Trainer(max_epochs=3, optimizer="sgd", lr=0.1, patience=2),
    "ForceConstantRegressor": Trainer(max_epochs=3, validation_fraction=0.0),
    "ImplicitSpectrumModel": Trainer(max_epochs=2, batch_size=20, optimizer="adam"),
    "SpectrumRegressor": Trainer(max_epochs=2, weight_decay=0.1),
    "VAEFeatureExtractor": Trainer(max_epochs=3, lr=0.01, batch_size=16),
}


def loaded(name, load=load_model, ending="safetensors"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)
        return load(FOLDER / f"{name}.{ending}")


def unpickled(path):
    return pickle.loads(path.read_bytes())


def answer(model, X):
    return model.transform(X) if hasattr(model, "transform") else model.predict(X)


def check(model, name):
    found = np.load(FOLDER / "found.npz")
    X, expected = found[f"{name}_X"], found[f"{name}_found"]
    # single precision; processors and numbers of threads round differently
    assert_allclose(answer(model, X), expected, rtol=1e-4, atol=1e-5)
    return X


@pytest.mark.parametrize("name", TRAINERS)
def test_old_models_load_with_a_trainer(name, tmp_path):
    model = loaded(name)
    check(model, name)
    assert repr(model.trainer) == repr(TRAINERS[name])
    assert not {"max_epochs", "tol", "learning_rate"} & vars(model).keys()
    clone(model)
    save_model(model, tmp_path / "again.safetensors")
    check(load_model(tmp_path / "again.safetensors"), name)


def test_an_old_pickle_loads_and_trains_on():
    model = loaded("VAEFeatureExtractor", unpickled, "pkl")
    X = check(model, "VAEFeatureExtractor")
    assert repr(model.trainer) == repr(TRAINERS["VAEFeatureExtractor"])
    n_epochs = len(model.history_)
    assert len(model.partial_fit(X[:9]).history_) == n_epochs + 10


def test_old_defaults_are_no_trainer_and_old_momentum_is_kept():
    old = {
        "optimizer": "clipped-adam", "learning_rate": 0.005, "momentum": 0.5,
        "schedule": "cosine", "batch_size": 64, "max_epochs": 100, "tol": 1e-4,
        "validation_fraction": 0.1, "patience": None, "fine_tune_epochs": 10,
        "fine_tune_learning_rate": 1e-4, "device": "cpu",
    }  # fmt: skip
    state = VAEFeatureExtractor(3).__getstate__()
    del state["trainer"]
    model = VAEFeatureExtractor()
    model.__setstate__(state | old)
    assert model.trainer is None
    model.__setstate__(state | old | {"optimizer": "sgd"})
    assert model.trainer.optimizer.func is torch.optim.SGD
    assert model.trainer.optimizer.keywords == {"momentum": 0.5}
    assert model.n_components == 3
