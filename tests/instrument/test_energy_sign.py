"""Reversed energies are told by detailed balance, and sound ones never taken so."""

import warnings

import numpy as np
import pytest
from scipy.special import ndtr

from skphonon import Measurement, SpectrumGrid, reduce_powder
from skphonon.instrument import DetectorMeasurement, MeasurementWarning
from skphonon.instrument.calibrating import calibrate
from skphonon.io import reduce_angles
from skphonon.physics.constants import BOLTZMANN, NEUTRON_HBAR2_OVER_2M


def reversed_(measured):
    """Return the same with the other sign of energy, as measured or on a grid."""
    if measured.grid is None:
        return measured.replace(
            data=measured.data[:, ::-1],
            error=measured.error[:, ::-1],
            energy_edges=-measured.energy_edges[::-1],
        )
    grid = measured.grid
    turned = grid.replace(energy=-grid.energy[::-1], mask=grid.mask[::-1])
    data, error = (
        turned.to_rows(grid.to_image(each)[0][::-1])
        for each in (measured.data, measured.error)
    )
    return measured.replace(grid=turned, data=data, error=error)


def told(measured):
    """Tell whether calibration says that energies look reversed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrate(measured, banks=1, holders=(), resolution="constant")
    found = [x for x in caught if "Energies look reversed" in str(x.message)]
    assert all(x.category is MeasurementWarning for x in found)
    return bool(found)


@pytest.mark.parametrize(
    ("name", "temperature"), [("silicon_Ei80_300K", 300.0), ("aluminium_Ei60", 5.0)]
)
@pytest.mark.filterwarnings("ignore:Energy transfers must be below")
def test_spectra_of_mari(data_folder, name, temperature):
    from skphonon import read

    run = read(data_folder / "mari" / f"{name}.nxspe")
    grid = SpectrumGrid(np.arange(-25, 50, 0.5), np.arange(0.5, 9, 0.1))
    for measured, known in (
        (run, temperature),
        (reduce_angles(run), None),
        (reduce_powder(run, grid), temperature),
    ):
        given = measured.replace(temperature=known)
        assert not told(given)
        assert told(reversed_(given))


def incoherent(incident, temperature, scaled=True, seed=0, background=0.0):
    """Return one-phonon scattering of an oscillator band, with its counts."""
    random = np.random.default_rng(seed)
    width = 0.02 * incident
    edges = np.arange(-0.9 * incident, 0.9 * incident, width / 2)
    centre = (edges[1:] + edges[:-1]) / 2
    angle = np.arange(10.0, 135.0, 3.0)
    k = np.sqrt(incident / NEUTRON_HBAR2_OVER_2M)
    ratio = np.sqrt(1 - centre / incident)
    square = k**2 * (1 + ratio**2 - 2 * ratio * np.cos(np.deg2rad(angle))[:, None])
    density = centre**2 * np.exp(-((centre / (0.5 * incident)) ** 2))
    thermal = BOLTZMANN * temperature
    phonons = density / (centre * -np.expm1(-centre / thermal))
    line = np.diff(ndtr(edges / width)) / np.diff(edges)
    expected = (
        4e4 * line * width
        + 30 * square / square.mean() * phonons / np.abs(phonons).mean()
    )
    expected = np.maximum(expected, 0) + background
    if not scaled:
        expected = expected * ratio
    counts = random.poisson(expected)
    ones = np.ones(len(angle))
    return DetectorMeasurement(
        counts.astype(float),
        error=np.sqrt(np.maximum(counts, 1.0)),
        incident_energy=incident,
        energy_edges=edges,
        polar=angle,
        azimuthal=0 * ones,
        polar_width=3 * ones,
        azimuthal_width=10 * ones,
        quantity="sqe",
        ki_over_kf_scaling=scaled,
        temperature=temperature,
    )


@pytest.mark.slow
@pytest.mark.parametrize("incident", [3.0, 15.0, 80.0, 300.0])
@pytest.mark.parametrize("temperature", [5.0, 100.0, 300.0, 1000.0])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("background", [0.0, 20.0])
def test_sound_energies_are_never_doubted(incident, temperature, scaled, background):
    measured = incoherent(incident, temperature, scaled, background=background)
    assert not told(measured)
    assert not told(measured.replace(temperature=None))


@pytest.mark.parametrize(
    ("incident", "temperature"), [(15.0, 5.0), (80.0, 100.0), (80.0, 300.0)]
)
@pytest.mark.filterwarnings("ignore:Energy transfers must be below")
def test_reversed_energies_are_told(incident, temperature):
    measured = reversed_(incoherent(incident, temperature))
    assert told(measured)
    with pytest.warns(MeasurementWarning, match=f"at {temperature:g} K.*other sign"):
        calibrate(measured, resolution="constant")
    without = measured.replace(error=None)
    assert told(without)
    # too warm to tell: the two sides are nearly the same
    assert not told(measured.replace(temperature=1e5))


def test_one_side_alone_tells_nothing():
    energy, q = np.arange(-3, 40, 0.5), np.arange(1.0, 6.0, 0.1)
    line = np.exp(-(energy**2) / 2)[:, None] * np.ones(len(q))
    grid = SpectrumGrid(energy, q, incident_energy=60.0)
    assert not told(Measurement(grid.to_rows(line), grid, quantity="sqe"))
