"""A fit of a simulated spectrum, and its report."""

import numpy as np
import pytest

from skphonon import (
    LeastSquaresInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon.report import Report


@pytest.fixture(scope="package")
def simulator():
    grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    return PowderSimulator(load_aluminium_model(), grid, energy_resolution=1.5, mesh=6)


@pytest.fixture(scope="package")
def spectrum(simulator):
    X = simulator.simulate([1.03 * simulator.reference])
    noise = 0.02 * np.nanstd(X)
    return X + noise * np.random.default_rng(0).normal(size=X.shape), noise


@pytest.fixture(scope="package")
def fit(simulator, spectrum):
    X, noise = spectrum
    inverter = LeastSquaresInverter(simulator, nuisance={"lattice_scale": (0.98, 1.02)})
    inverter.fit(X).predict(X, errors=noise)
    return inverter.fits_[0]


@pytest.fixture(scope="package")
def report(fit):
    return Report.from_fit(
        fit, title="Al <50 K> & more", settings={"file": "a<b>.nxspe"}
    )
