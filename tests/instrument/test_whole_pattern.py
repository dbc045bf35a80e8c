"""Lines that overlap: nothing is corrected that is right, and what is wrong is."""

import numpy as np
import pytest
from calibration_files import FACE, counted
from numpy.testing import assert_allclose

from skphonon import Measurement, SpectrumGrid
from skphonon.instrument import _corrections
from skphonon.instrument._whole_pattern import WholeFit
from skphonon.instrument.calibrating import calibrate
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M
from skphonon.physics.reflections import powder_reflections

# cell and mean squared displacement along one direction at 300 K in Angstrom^2
CRYSTALS = {
    "aluminium": ((4.05 * np.eye(3), FACE, ["Al"] * 4), 0.011),
    "silicon": (
        (5.431 * np.eye(3), np.vstack([FACE, FACE + 0.25]), ["Si"] * 8),
        0.006,
    ),
}
ENERGY = 120.0
WIDTHS = {
    "of one width": lambda width: lambda q: width,
    "wider with |Q|": lambda width: lambda q: width * q / 2.7,
}


def broad(name, spread, **settings):
    """Return what detectors count of a powder, and its crystal."""
    crystal, displacement = CRYSTALS[name]
    found = powder_reflections(*crystal, 20.0)
    strength = found.intensity * found.q**2 * np.exp(-displacement * found.q**2)
    lines = found.q, 24 * strength / strength.max()
    settings = {"file_energy": ENERGY, "true_energy": ENERGY, **settings}
    return counted(lines=lines, spread=spread, **settings), crystal


def on_moduli(measured):
    """Return the elastic line of detectors on bins of moduli, with their noise."""
    k = np.sqrt(measured.incident_energy / NEUTRON_HBAR2_OVER_2M)
    q = 2 * k * np.sin(np.deg2rad(measured.polar) / 2)
    centres = (measured.energy_edges[1:] + measured.energy_edges[:-1]) / 2
    grid = SpectrumGrid(centres, q, incident_energy=measured.incident_energy)
    rows = [grid.to_rows(each.T) for each in (measured.data, measured.error)]
    return Measurement(rows[0], grid, error=rows[1], quantity="sqe")


def q_of(measured):
    """Return the moduli of elastic scattering."""
    if isinstance(measured.grid, SpectrumGrid):
        return measured.grid.q
    k = np.sqrt(measured.incident_energy / NEUTRON_HBAR2_OVER_2M)
    return 2 * k * np.sin(np.deg2rad(measured.polar) / 2)


def calibrated(measured, crystal):
    return calibrate(measured, crystal, banks=1, resolution="constant", holders=())


@pytest.fixture
def any_crystal_convinces(monkeypatch):
    """Let lines decide also where they would not be enough."""
    always = property(lambda agreement: True)
    monkeypatch.setattr(_corrections.Agreement, "convinces", always)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skphonon.instrument.MeasurementWarning")
@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("law", WIDTHS)
@pytest.mark.parametrize("width", [0.02, 0.04, 0.06, 0.08, 0.1, 0.12])
@pytest.mark.parametrize("layout", [on_moduli, lambda measured: measured])
def test_nothing_is_corrected_that_is_right(
    name, law, width, layout, any_crystal_convinces
):
    measured, crystal = broad(name, WIDTHS[law](width), seed=int(1000 * width))
    measured = layout(measured)
    found = calibrated(measured, crystal)
    assert_allclose(q_of(found.measurement), q_of(measured), rtol=5e-4)


def test_lines_that_convince_and_mislead():
    """Lines alone would have moved |Q| by 1.7 %."""
    measured, crystal = broad("silicon", WIDTHS["of one width"](0.08))
    found = calibrated(measured, crystal)
    assert np.isfinite(found.q_scale)
    assert {*found.applied} <= {"energy_zero"}


@pytest.mark.filterwarnings("ignore::skphonon.instrument.MeasurementWarning")
@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize(
    ("law", "width"),
    [("of one width", 0.04), ("of one width", 0.08), ("wider with |Q|", 0.04)],
)
@pytest.mark.parametrize("offset", [0.0, -0.2])
def test_what_is_wrong_is_corrected(name, law, width, offset, any_crystal_convinces):
    true = ENERGY / 1.004**2
    measured, crystal = broad(
        name, WIDTHS[law](width), true_energy=true, offset=offset, counts=2000.0
    )
    found = calibrated(measured, crystal)
    terms = {"incident_energy", "two_theta"} if offset else {"incident_energy"}
    assert {*found.applied} - {"energy_zero"} == terms
    assert_allclose(found.measurement.incident_energy, true, rtol=2e-3)
    assert_allclose(measured.polar - found.measurement.polar, offset, atol=0.03)


def test_terms_that_differ_from_nothing():
    covariance = np.array([[1.0, -0.5], [-0.5, 1.0]]) * 1e-6
    both, scale, offset, none = (
        WholeFit(np.array(values), covariance)
        for values in ((1.02, 0.01), (1.02, 0.001), (1.001, 0.02), (1.001, 0.001))
    )
    every, only = ("scale", "offset"), ("scale",)
    assert both.model(every, 4.0) == (every, (1.02, 0.01), (0.001, 0.001))
    model, terms, std = scale.model(every, 4.0)
    assert model == ("scale",)
    # of a plane, the line on which the other is nothing
    assert_allclose(terms, (1.0205, 0.0))
    assert_allclose(std, (np.sqrt(0.75) * 1e-3, 0.0))
    assert offset.model(every, 4.0)[0] == ("offset",)
    assert_allclose(offset.model(every, 4.0)[1], (1.0, 0.0205))
    assert both.model(only, 4.0)[0] == only
    for fit, terms in ((none, every), (none, only), (both, ())):
        assert fit.model(terms, 4.0) == ((), (1.0, 0.0), (0.0, 0.0))
    assert_allclose(scale.distance((1.02, 0.001), (0.0, 0.0)), 0)
    assert_allclose(scale.distance((1.02, 0.003), (0.0, 0.0)), 4 / 0.75)
