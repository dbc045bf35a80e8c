"""A model that was pickled when every setting of training was a parameter."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone

from skphonon import VAEFeatureExtractor
from skphonon.learning import Trainer
from skphonon.persistence import VersionMismatchWarning

FOLDER = Path(__file__).parent / "before_trainer"
TRAINER = Trainer(max_epochs=3, lr=0.01, batch_size=16)  # what differs from defaults


def test_an_old_pickle_loads_and_trains_on():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)
        model = pickle.loads((FOLDER / "VAEFeatureExtractor.pkl").read_bytes())
    found = np.load(FOLDER / "found.npz")
    X = found["VAEFeatureExtractor_X"]
    # single precision; processors and numbers of threads round differently
    assert_allclose(
        model.transform(X), found["VAEFeatureExtractor_found"], rtol=1e-4, atol=1e-5
    )
    assert repr(model.trainer) == repr(TRAINER)
    assert not {"max_epochs", "tol", "learning_rate"} & vars(model).keys()
    clone(model)
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
