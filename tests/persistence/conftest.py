"""A small pipeline and its file."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from skphonon import (
    ForceConstantRegressor,
    MaskedSpectrumPreprocessor,
    VAEFeatureExtractor,
)
from skphonon.learning import Dense, Trainer
from skphonon.persistence import (
    attach_card,
    save_model,
)


@pytest.fixture(scope="package")
def spectra():
    """Labels, and spectra that show them; the first pixels were not measured."""
    rng = np.random.default_rng(0)
    y = rng.uniform(0.5, 1.5, size=(40, 3))
    X = y @ rng.normal(size=(3, 30)) + rng.normal(size=30)
    X[:, :4] = np.nan
    return X, y


@pytest.fixture(scope="package")
def inverter(spectra):
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
    )
    return attach_card(pipeline.fit(X, y), X=X, y=y, notes="For the tests.")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skops"


@pytest.fixture(scope="package")
def content(inverter, tmp_path_factory):
    """The bytes of the file of the pipeline."""
    path = tmp_path_factory.mktemp("saved") / "model.skops"
    save_model(inverter, path)
    return path.read_bytes()
