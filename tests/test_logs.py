"""What the package logs: nothing is shown unless it is asked for."""

import logging

import numpy as np
import pytest

from skphonon import (
    LeastSquaresInverter,
    Measurement,
    PosteriorInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
    read,
)
from skphonon.datasets import write_powder_spectra
from skphonon.io import write_arrays
from skphonon.learning import Trainer, VAEFeatureExtractor
from skphonon.physics import ShellPrior


@pytest.fixture(scope="module")
def simulator():
    grid = SpectrumGrid(np.arange(10, 40, 3.0), np.arange(2, 6, 0.5))
    return PowderSimulator(load_aluminium_model(), grid, energy_resolution=3.0)


@pytest.fixture(scope="module")
def spectra(simulator):
    return simulator.simulate(1.02 * simulator.model.reference[None])


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.DEBUG, "skphonon")
    return caplog


def test_nothing_is_shown_by_default(simulator, spectra, capfd):
    LeastSquaresInverter(simulator).fit(spectra).predict(spectra)
    assert capfd.readouterr() == ("", "")


def test_fits_are_logged(simulator, logged):
    unseen = PowderSimulator(simulator.model, simulator.grid, energy_resolution=3.1)
    X = unseen.simulate(1.02 * simulator.model.reference[None])
    LeastSquaresInverter(unseen).fit(X).predict(X)
    assert "mesh of the Brillouin zone" in logged.text
    assert "LeastSquaresInverter: 1 of 1 searches converged" in logged.text
    assert "sample 0: NMSE" in logged.text
    assert all(name.startswith("skphonon.") for name, _, _ in logged.record_tuples)


def test_posteriors_are_logged(simulator, spectra, logged):
    rng = np.random.default_rng(0)
    noisy = spectra + 0.05 * spectra.std() * rng.normal(size=spectra.shape)
    inverter = LeastSquaresInverter(simulator, prior=ShellPrior(simulator.model))
    PosteriorInverter(inverter, n_draws=300, random_state=0).fit(noisy).predict(noisy)
    assert "300 draws about 1 modes, efficiency" in logged.text


def test_training_is_logged(simulator, spectra, logged):
    X = np.repeat(spectra, 20, axis=0)
    X = X * np.random.default_rng(0).uniform(0.9, 1.1, X.shape)
    trainer = Trainer(max_epochs=2)
    VAEFeatureExtractor(2, trainer=trainer, random_state=0).fit(X)
    assert "VAEFeatureExtractor: epoch 2 of 2" in logged.text


def test_files_and_stores_are_logged(simulator, logged, tmp_path):
    for _ in range(2):
        write_powder_spectra(tmp_path / "spectra", simulator, 3, random_state=0)
    assert "0 of 3 spectra are there" in logged.text
    assert "3 of 3 spectra are there" in logged.text
    ones = Measurement(np.ones((1, simulator.grid.n_pixels)), simulator.grid)
    write_arrays(tmp_path / "ones.h5", ones)
    read(tmp_path / "ones.h5")
    assert "ones.h5: " in logged.text
