"""Runs by detector: one each, without a grid, and what they refuse."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skphonon import CrystalGrid, Measurement
from skphonon.instrument import DetectorMeasurement, MeasurementWarning
from skphonon.instrument.measurement import require_grid

ENERGY, Q = np.arange(5.0, 45, 1), np.arange(0.5, 8, 0.25)
ANGLES = {
    "polar": [30.0, 60.0, 90.0],
    "azimuthal": np.zeros(3),
    "polar_width": np.ones(3),
    "azimuthal_width": np.ones(3),
}
COUNTS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def run():
    return DetectorMeasurement(
        COUNTS, incident_energy=50.0, energy_edges=[0, 10, 20], source="a", **ANGLES
    )


def test_a_run_is_one(run):
    assert isinstance(run, Measurement)
    assert (len(run), list(run)) == (1, [run])
    assert run.grid is run.psi is run.ki_over_kf_scaling is run.quantity is None
    other = run.replace(psi=12, temperature=5)
    assert (other.psi, other.temperature) == (12.0, 5.0)
    assert_array_equal(pickle.loads(pickle.dumps(other)).polar, run.polar)


def test_a_run_has_no_grid_yet(run):
    with pytest.raises(
        ValueError, match=r"measurement of a must have a grid, .*reduce_powder or"
    ):
        require_grid(run)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": COUNTS[0]}, r"\(n_detectors, n_energy\) and no grid, got shape \(2,"),
        ({"grid": CrystalGrid(ENERGY, Q, Q, 0.0)}, "With a grid it is a Measurement"),
        ({"incident_energy": None}, "incident_energy must be known in meV, got None"),
        ({"energy_edges": [0, 10]}, r"energy_edges must have shape \(3,\), got \(2,\)"),
        ({"energy_edges": [0, 20, 10]}, "energy_edges must be increasing borders"),
        ({"polar": [1.0]}, r"polar must have shape \(3,\), got \(1,\)"),
        ({"psi": np.nan}, "psi must be an angle in degrees or None, got nan"),
        ({"error": COUNTS.T}, r"error must have the shape of data, \(3, 2\)"),
    ],
)
def test_what_does_not_fit_detectors_is_named(run, given, message):
    with pytest.raises(ValueError, match=message):
        run.replace(**given)


@pytest.mark.parametrize("incident", [0.06, 12.0])
def test_an_incident_energy_below_the_intensities_is_said(run, incident):
    with pytest.warns(
        MeasurementWarning, match=r"% of the int.* 20 meV. Check inciden"
    ):
        run.replace(incident_energy=incident)


def test_bins_above_the_incident_energy_may_be_empty(run):
    for nothing in (0.0, np.nan):
        data = np.where([True, False], COUNTS, nothing)
        assert run.replace(data=data, incident_energy=12.0).incident_energy == 12
