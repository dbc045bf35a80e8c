"""Measurements: what they know, how they are taken apart, and what they refuse."""

import pickle
import warnings
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skphonon import (
    MaskedSpectrumPreprocessor,
    Measurement,
    PathGrid,
    SpectrumGrid,
)
from skphonon.instrument import DetectorMeasurement, MeasurementWarning
from skphonon.instrument.measurement import simulator_settings

ENERGY, Q = np.arange(5.0, 45, 1), np.arange(0.5, 8, 0.25)
GRID = SpectrumGrid(ENERGY, Q, incident_energy=50.0)
X = np.where(GRID.mask, 1.0 + np.arange(ENERGY.size)[:, None], np.nan).reshape(1, -1)
ROWS = np.concatenate([X, 2 * X])


@pytest.fixture
def measured():
    return Measurement(
        ROWS,
        GRID,
        error=ROWS / 10,
        quantity="sqe",
        temperature=[5.0, 300.0],
        energy_resolution=1.2,
        source="a.nxs",
        details={"events": ROWS},
    )


def run_of_detectors():
    one = np.ones(1)
    return DetectorMeasurement(
        [one], incident_energy=50.0, energy_edges=[0, 1], polar=one, azimuthal=one,
        polar_width=one, azimuthal_width=one,
    )  # fmt: skip


def test_what_is_given_is_kept(measured):
    assert_array_equal(measured.data, ROWS)
    assert_array_equal(measured.error, ROWS / 10)
    assert measured.grid is GRID
    assert measured.incident_energy == 50  # that of the grid
    assert_array_equal(measured.temperature, [5, 300])
    assert_array_equal(measured.details["events"], ROWS)
    alone = Measurement(X[0], PathGrid(ENERGY, np.zeros((Q.size, 3))))
    assert alone.data.shape == X.shape
    names = ("error", "quantity", "incident_energy", "temperature", "source")
    assert [getattr(alone, name) for name in names] == [None] * 5
    assert dict(alone.details) == {}


def test_a_measurement_does_not_change(measured):
    with pytest.raises(
        AttributeError, match="temperature of a Measurement cannot be set"
    ):
        measured.temperature = 5
    with pytest.raises(TypeError, match="does not support item assignment"):
        measured.details["events"] = 1
    nested = measured.replace(details={"inner": {"x": np.ones(2)}, "when": "now"})
    with pytest.raises(TypeError, match="does not support item assignment"):
        nested.details["inner"]["y"] = 1
    with pytest.raises(ValueError, match="read-only"):
        nested.details["inner"]["x"][0] = 2
    other = measured.replace(temperature=5, energy_resolution=lambda e: 1 + e)
    assert other.temperature == 5
    assert other.energy_resolution(1) == 2
    assert measured.energy_resolution == 1.2


def test_nothing_is_written_behind_it(measured):
    for array in (
        measured.data,
        measured.error,
        measured.temperature,
        measured[0].data,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[..., 0] = 1
    assert clone(measured) is measured
    assert measured == pickle.loads(pickle.dumps(measured)) != measured[0]
    assert measured[0] == pickle.loads(pickle.dumps(measured[0]))


def test_a_run_without_a_grid_is_refused():
    with pytest.raises(ValueError, match="must have a grid, got intensities by"):
        simulator_settings(run_of_detectors(), SIMULATOR, {})


@pytest.mark.parametrize("given", [None, X, GRID])
def test_what_is_no_measurement_is_refused(given):
    with pytest.raises(TypeError, match=r"Measurement must be given.*model first"):
        simulator_settings(given, SIMULATOR, {})


def test_one_incident_energy_in_a_simulation(measured):
    other = measured.replace(incident_energy=52.0)
    with pytest.raises(ValueError, match=r"one incident energy, got 52 and 50 meV"):
        simulator_settings(other[0], SIMULATOR, {})


def test_one_spectrum_at_a_time(measured):
    assert len(measured) == 2
    for row, one in enumerate(measured):
        assert_array_equal(one.data, ROWS[[row]])
        assert_array_equal(one.error, ROWS[[row]] / 10)
        assert one.temperature == [5, 300][row]
        assert (one.quantity, one.source) == ("sqe", "a.nxs")
    assert measured[-1].temperature == 300
    assert_array_equal(measured[:2].temperature, [5, 300])
    with pytest.raises(IndexError):
        measured[2]


def test_it_is_pickled(measured):
    found = pickle.loads(pickle.dumps(measured))
    assert_array_equal(found.data, ROWS)
    assert_array_equal(found.details["events"], ROWS)
    with pytest.raises(TypeError, match="item assignment"):
        found.details["a"] = 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": X[:, 1:]}, r"one column for each of the 1200 pixels .*\(1, 1199\)"),
        ({"data": np.ones((2, 40, 30))}, "one spectrum a row, .*grid.to_rows"),
        ({"error": X}, r"error must have the shape of data, \(2, 1200\), got \(1, "),
        ({"quantity": "s"}, "quantity must be one of sqe, chi or None, got 's'"),
        ({"incident_energy": -1}, "incident_energy must be a positive number in meV"),
        ({"incident_energy": np.inf}, "incident_energy must be a positive number"),
        ({"incident_energy": "50"}, "incident_energy must be a positive number"),
        ({"temperature": -1}, "temperature must be at least 0 K, got -1"),
        ({"temperature": np.nan}, "temperature must be at least 0 K"),
        ({"temperature": "5 K"}, "temperature must be a number in K, .* got '5 K'"),
        ({"temperature": [1, 2, 3]}, r"one for each of 2 spectra, got shape \(3,\)"),
        ({"energy_resolution": -0.1}, "energy_resolution must be a positive number"),
        ({"energy_resolution": True}, "energy_resolution must be a positive number"),
    ],
)
def test_what_does_not_fit_is_named(given, message):
    settings = {"data": ROWS, "grid": GRID} | given
    with pytest.raises(ValueError, match=message):
        Measurement(settings.pop("data"), **settings)


def test_a_grid_must_be_one():
    with pytest.raises(TypeError, match=r"grid must be a SpectrumGrid, .* got tuple"):
        Measurement(X, (ENERGY, Q))


# Intensity where there can be none


def test_exchanged_axes_are_suspected():
    square = SpectrumGrid(ENERGY, np.linspace(0.1, 12, ENERGY.size))
    kinematic = SpectrumGrid(*square.axes(), incident_energy=50.0, two_theta=(3, 136))
    images = np.where(kinematic.mask, 1.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Measurement(images.reshape(1, -1), square, incident_energy=50.0)
    with pytest.warns(MeasurementWarning, match="look transposed: rows are") as caught:
        Measurement(images.T.reshape(1, -1), square, incident_energy=50.0)
    assert caught[0].filename == __file__


def test_an_incident_energy_too_low_is_suspected():
    with pytest.warns(MeasurementWarning, match="incident_energy=25 .*THz or 1/cm"):
        Measurement(X, SpectrumGrid(ENERGY, Q), incident_energy=25.0)


def test_it_is_said_once():
    with pytest.warns(MeasurementWarning) as caught:
        measured = Measurement(ROWS, SpectrumGrid(ENERGY, Q), incident_energy=25.0)
    assert len(caught) == 1
    assert len(list(measured)) == 2  # warnings are errors


# What a simulator takes from it

SIMULATOR = SimpleNamespace(
    __name__="PowderSimulator",
    _parameter_constraints={"quantity": 0, "temperature": 0, "energy_resolution": 0},
)


def test_a_simulator_takes_what_is_known(measured):
    known = {"quantity": "sqe", "temperature": 300.0, "energy_resolution": 1.2}
    assert simulator_settings(measured[1], SIMULATOR, {}) == known
    given = {"energy_resolution": 2.0, "tolerance": 0.1}
    assert simulator_settings(measured[1], SIMULATOR, given) == known | given
    same = measured.replace(temperature=[5.0, 5.0])
    assert simulator_settings(same, SIMULATOR, {})["temperature"] == 5


def test_a_simulator_asks_for_what_is_not_known(measured):
    unknown = measured.replace(quantity=None, energy_resolution=None)
    with pytest.raises(
        ValueError,
        match=r"must know quantity and energy_resolution, .*\(a.nxs\) does not tell. "
        r"Pass quantity=\.\.\., energy_resolution=\.\.\.",
    ):
        simulator_settings(unknown[0], SIMULATOR, {})
    with pytest.raises(ValueError, match=r"one temperature, .* measurement\[0\]"):
        simulator_settings(measured, SIMULATOR, {})


def test_a_measurement_shows_what_is_known():
    grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0, 3.0], incident_energy=50.0)
    shown = repr(Measurement(np.ones(6), grid, quantity="sqe", source="a.nxs"))
    assert shown == (
        "Measurement(data of 1 x 6, grid=SpectrumGrid, quantity='sqe', "
        "temperature=None, energy_resolution=None, incident_energy=50.0, "
        "source='a.nxs')"
    )


def test_estimators_take_the_data_of_a_measurement():
    grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0, 3.0])
    measured = Measurement(np.ones((2, 6)), grid)
    with pytest.raises(TypeError, match="got a Measurement"):
        MaskedSpectrumPreprocessor().fit(measured)


def test_errors_are_not_negative():
    grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="error must not be negative, got -1"):
        Measurement(np.ones(6), grid, error=-np.ones(6))


def test_details_are_pickled_at_any_depth(measured, tmp_path):
    details = {"edges": {"q": Q, "of": {"a": 1}}, "runs": [{"n": 1}, ({"m": 2},)]}
    measured = measured.replace(details=details)
    found = pickle.loads(pickle.dumps(measured))
    assert found == measured
    joblib.dump(measured, tmp_path / "a.joblib")
    found = joblib.load(tmp_path / "a.joblib")
    assert found == measured
    assert found.details["runs"] == details["runs"]
    assert_array_equal(found.details["edges"]["q"], Q)
    with pytest.raises(TypeError, match="item assignment"):
        found.details["edges"]["of"]["a"] = 2


def test_what_is_masked_is_nan():
    grid = SpectrumGrid([1.0, 2.0], [1.0, 2.0])
    hidden = np.ma.array([1, 2, 3, 4], mask=[0, 1, 0, 0])
    found = Measurement([hidden], grid, error=hidden, details={"a": hidden})
    for rows in (found.data, found.error, [found.details["a"]]):
        assert_array_equal(rows, [[1, np.nan, 3, 4]])
    assert found.details["a"].base is None
    mask = np.ma.array(np.ones((2, 2), bool), mask=[[0, 1], [0, 0]])
    assert_array_equal(grid.replace(mask=mask).mask, [[True, False], [True, True]])
    with pytest.raises(ValueError, match="mask must be True or False at each pixel"):
        grid.replace(mask=[[1, np.nan], [1, 1]])


@pytest.mark.parametrize(
    "data",
    [[1 + 1j, 2], np.array(["2020-01-01", "2021-01-01"], "M8[D]"), {"a": 1}, ["a", 1]],
)
def test_data_are_real_numbers(data):
    grid = SpectrumGrid([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="data must be real numbers in lists of equal"):
        Measurement(data, grid)


def test_nothing_is_described():
    grid = SpectrumGrid([1.0, 2.0], [1.0, 2.0])
    none = DetectorMeasurement(
        np.ones((0, 1)), incident_energy=50.0, energy_edges=[0, 1], polar=[],
        azimuthal=[], polar_width=[], azimuthal_width=[],
    )  # fmt: skip
    for measured in (Measurement([[1, 2, 3, 4]], grid)[0:0], none):
        assert "0%" in str(measured.describe()) or "none" in str(measured.describe())
        assert "<table>" in measured._repr_html_()
        with pytest.raises(ValueError, match="must hold a spectrum, got none"):
            measured.plot()
    with pytest.raises(ValueError, match="details must be a mapping from names"):
        Measurement.from_arrays([1, 2], [1, 2], np.ones((2, 2)), details=[1])
