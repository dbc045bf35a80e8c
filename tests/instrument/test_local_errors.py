"""Errors that do not follow the counts of their own pixels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import (
    LeastSquaresInverter,
    Measurement,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon.instrument import local_errors

GRID = SpectrumGrid(np.arange(10.0, 40, 1.0), np.arange(2.0, 8, 0.2))


def counted(mean, seed=0):
    """Counts of a mean with the errors of files: their roots, 0 counts as one."""
    counts = np.random.default_rng(seed).poisson(mean, size=(1, np.prod(GRID.shape)))
    return Measurement(counts, GRID, error=np.sqrt(np.maximum(counts, 1e-6)))


def test_even_errors_stay_and_gaps_stay_gaps():
    error = np.full((1, 900), 3.0)
    error[0, :7] = np.nan
    found = local_errors(Measurement(np.ones((1, 900)), GRID, error=error))
    assert_allclose(found, error)


def test_they_are_those_of_the_expected_counts():
    found = local_errors(counted(4.0))
    # 25 Poisson counts: their mean scatters by 2 / 5, a tenth; at edges more
    assert_allclose(np.mean(found**2), 4.0, rtol=0.05)
    assert np.std(found) < 0.2
    assert found.min() > 1.2


def test_fits_with_them_are_not_below_the_data():
    model = load_aluminium_model()
    simulator = PowderSimulator(
        model, GRID, energy_resolution=2.0, mesh=6, quantity="sqe"
    )
    clean = simulator.simulate([model.reference])
    mean = np.nan_to_num(4.0 * clean / np.nanmean(clean) + 2.0)
    measured = counted(mean[0])
    inverter = LeastSquaresInverter(simulator).fit(measured.data)
    left = {}
    for name, errors in {
        "of counts": np.maximum(measured.error, 1.0),
        "local": local_errors(measured),
    }.items():
        inverter.predict(measured.data, errors=errors)
        left[name] = np.nansum(inverter.residual_) / np.nansum(measured.data)
    assert left["of counts"] > 0.05
    assert abs(left["local"]) < 0.02


@pytest.mark.parametrize("window", [0, 2, -1, "5"])
def test_a_window_must_have_a_middle(window):
    with pytest.raises(ValueError, match="window must be a positive odd number"):
        local_errors(counted(4.0), window)


def test_errors_are_needed():
    with pytest.raises(ValueError, match="got one without errors"):
        local_errors(Measurement(np.ones((1, 900)), GRID))
