"""Workspaces of Mantid's SaveNexusProcessed: the public files, and those made here."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from measured_files import write_nxspe, write_processed
from numpy.testing import assert_allclose

from skphonon import SpectrumGrid, read_nxspe, reduce_powder
from skphonon.instrument import AngleGrid, DetectorMeasurement, MeasurementWarning
from skphonon.io.processed import read_processed

EDGES = np.arange(-10.0, 45.0, 5)
N_ENERGY = len(EDGES) - 1
POSITIONS = [[4.0, 30.0, 90.0], [4.0, 30.0, -90.0], [4.0, 32.0, 10.0], [4.0, 35.0, 0]]
KI_KF = "Algorithm: CorrectKiKf v1\nParameters:\n"


def real(name):
    folder = os.environ.get("SKPHONON_DATA")
    if folder and (Path(folder) / name).is_file():
        return Path(folder) / name
    if os.environ.get("SKPHONON_REQUIRE_DATA") == "1":
        pytest.fail(f"SKPHONON_REQUIRE_DATA=1, but there is no {name} in {folder}")
    pytest.skip(f"needs SKPHONON_DATA with {name}")


@pytest.fixture
def numbers():
    rng = np.random.RandomState(0)
    return rng.normal(5, 1, (4, N_ENERGY)), rng.uniform(0.1, 0.2, (4, N_ENERGY))


def write(path, numbers, **settings):
    settings = {"positions": POSITIONS, "logs": {"Ei": 50.0}} | settings
    write_processed(path, *numbers, settings.pop("energy", EDGES), **settings)
    return path


def test_detectors_of_mari_are_those_of_its_nxspe_files():
    """Two runs of one instrument: Mantid wrote the angles of the other file."""
    measured = read_processed(real("mari/aluminium_Ei60.nxspe"))
    other = read_nxspe(real("mari/silicon_Ei80_300K.nxspe"))
    assert isinstance(measured, DetectorMeasurement)
    assert measured.data.shape == (285, 294)
    assert_allclose(measured.polar, other.polar, atol=1e-9)
    assert_allclose(measured.incident_energy, 59.37064727)
    assert measured.quantity == "sqe"  # its history has CorrectKiKf
    assert measured.details["title"].startswith("Al pellets T=5K")
    assert measured.details["instrument"] == "MARI"
    assert measured.details["run"] == "21335"
    assert measured.details["units"] == "Counts per meV"
    # the elastic line of a pulsed spectrometer: within half a meV of zero
    elastic = np.abs(measured.energy_edges[:-1] + 0.15).argmin()
    spectrum = np.nanmean(measured.data, axis=0)
    assert abs(int(spectrum.argmax()) - elastic) <= 2
    # spacing of the tubes of its low-angle bank, by the instrument: 0.43 degrees
    assert_allclose(np.median(measured.polar_width), 0.43, atol=0.01)


def test_sofqw_of_iris():
    measured = read_processed(real("formats/irs53664_graphite002_sqw.nxs"))
    assert measured.grid.shape == (2000, 14)
    assert_allclose(measured.details["edges"]["q"], np.arange(0.4, 1.85, 0.1))
    assert measured.incident_energy is None  # indirect geometry
    assert measured.details["final_energy"] == 1.845
    image = measured.grid.to_image(measured.data)[0]
    elastic = measured.grid.energy[np.nansum(image, axis=1).argmax()]
    assert_allclose(elastic, 0, atol=2e-3)
    assert_allclose(np.isfinite(image), measured.grid.mask)
    assert 0.4 < measured.grid.mask.mean() < 0.6


def test_spectra_of_several_detectors_span_them(tmp_path, numbers):
    """Three tubes side by side, and one on the other side of the beam."""
    values, errors = (each[:2] for each in numbers)
    positions = [[4.0, 30.0, 0], [4.0, 32.0, 0], [4.0, 34.0, 0], [4.0, 36.0, 0]]
    path = write(
        tmp_path / "a.nxs", (values, errors), positions=positions,
        groups=[[0, 1, 2], [3]],
    )  # fmt: skip
    measured = read_processed(path)
    assert_allclose(measured.polar, [32.0, 36.0])
    assert_allclose(measured.azimuthal, 0.0)
    assert_allclose(measured.polar_width, [6.0, 2.0])  # from 29 to 35 degrees
    solid = np.sin(np.deg2rad(measured.polar)) * measured.azimuthal_width
    assert_allclose(solid * measured.polar_width, [12.0, 4.0])  # 3 and 1, 2 x 2 each
    assert_allclose(measured.data, values)
    assert_allclose(measured.error, errors)


def test_a_ring_stands_at_its_scattering_angle(tmp_path, numbers):
    values, errors = (each[:1] for each in numbers)
    ring = [[4.0, 10.0, azimuth] for azimuth in (0, 90, 180, -90)]
    path = write(
        tmp_path / "a.nxs", (values, errors), positions=ring, groups=[[0, 1, 2, 3]]
    )
    measured = read_processed(path)
    assert_allclose(measured.polar, 10.0)  # not 0, where their mean direction points
    crystal = write(
        tmp_path / "b.nxs", (values, errors), positions=ring, groups=[[0, 1, 2, 3]],
        ub=np.eye(3) / 4,
    )  # fmt: skip
    with pytest.warns(MeasurementWarning, match="1 spectra of .* on several sides"):
        read_processed(crystal)


def test_a_grid_of_small_pixels(tmp_path):
    """Scattering angles are all different, and pixels are one degree wide."""
    shift = np.arange(-4.5, 5)
    horizontal, vertical = (np.deg2rad(a) for a in np.meshgrid(shift + 40, shift))
    polar = np.rad2deg(np.arccos(np.cos(vertical) * np.cos(horizontal)))
    azimuth = np.arctan2(np.sin(vertical), np.cos(vertical) * np.sin(horizontal))
    positions = np.column_stack(
        [np.full(100, 4.0), polar.ravel(), np.rad2deg(azimuth).ravel()]
    )
    ones = np.ones((100, N_ENERGY))
    measured = read_processed(
        write(tmp_path / "a.nxs", (ones, ones), positions=positions)
    )
    assert_allclose(measured.polar_width, 1.0, rtol=0.01)
    solid = np.sin(np.deg2rad(measured.polar)) * measured.azimuthal_width
    assert_allclose(solid * measured.polar_width, 1.0, rtol=0.01)


def test_one_detector_without_neighbours(tmp_path, numbers):
    values, errors = (each[:1] for each in numbers)
    path = write(tmp_path / "a.nxs", (values, errors), positions=POSITIONS[:1])
    assert_allclose(read_processed(path).polar_width, 1.0)


@pytest.mark.parametrize(
    ("goniometer", "psi"),
    [
        ([], None),
        ([(12.0, [0, 1, 0], "CCW")], 12.0),
        ([(12.0, [0, 1, 0], "CW")], -12.0),
        ([(12.0, [0, -1, 0], "CCW")], -12.0),
        ([(12.0, [0, 1, 0], "CCW"), (3.0, [0, 1, 0], "CCW")], 15.0),
        ([(12.0, [0, 1, 0], "CCW"), (0.0, [1, 0, 0], "CCW")], 12.0),
        ([(0.0, [0, 1, 0], "CCW")], 0.0),
        ([(12.0, [0, 1, 0], "CCW"), (3.0, [1, 0, 0], "CCW")], None),
    ],
)
def test_rotation_of_the_crystal(tmp_path, numbers, goniometer, psi):
    path = write(tmp_path / "a.nxs", numbers, goniometer=goniometer)
    assert read_processed(path).psi == psi


def test_lattice_of_the_crystal(tmp_path, numbers):
    lattice = np.diag([4.0, 5.0, 6.0])
    # a along the vertical, b along the beam, c along x
    ub = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]) @ np.linalg.inv(lattice)
    details = read_processed(write(tmp_path / "a.nxs", numbers, ub=ub)).details
    assert_allclose(details["lattice"], lattice, atol=1e-12)
    assert_allclose(details["u"], [0, 1, 0], atol=1e-12)
    assert_allclose(details["v"], [0, 0, 1], atol=1e-12)
    with pytest.raises(ValueError, match="three independent vectors"):
        read_processed(write(tmp_path / "b.nxs", numbers, ub=np.zeros((3, 3))))


def test_rebinned_as_the_same_run_in_an_nxspe_file(tmp_path, numbers):
    measured = read_processed(write(tmp_path / "a.nxs", numbers, history=[KI_KF]))
    bank = {
        name: getattr(measured, name)
        for name in ("polar", "azimuthal", "polar_width", "azimuthal_width")
    }
    write_nxspe(tmp_path / "a.nxspe", bank, EDGES, *numbers, 50.0)
    grid = SpectrumGrid(np.arange(0.0, 40, 5), np.arange(1.0, 4, 0.5))
    first = reduce_powder(measured, grid)
    second = reduce_powder(read_nxspe(tmp_path / "a.nxspe"), grid)
    assert_allclose(first.data, second.data)
    assert_allclose(first.error, second.error)


def test_masked_and_empty_detectors_are_nan(tmp_path, numbers):
    values, errors = (each.copy() for each in numbers)
    values[2], errors[2] = 0.0, 0.0
    path = write(
        tmp_path / "a.nxs",
        (values, errors),
        parameters="MARI;string;deltaE-mode;direct|detID:1003;bool;masked;1",
    )
    measured = read_processed(path)
    assert np.isfinite(measured.data).all(axis=1).tolist() == [True, True, False, False]
    # one good detector is enough
    grouped = write(
        tmp_path / "b.nxs",
        (values[:2], errors[:2]),
        groups=[[0, 3], [1]],
        parameters="detID:1003;bool;masked;true",
    )
    assert np.isfinite(read_processed(grouped).data).all()


def test_incident_energy_of_logs_history_or_the_user(tmp_path, numbers):
    fixed = "Algorithm: ConvertUnits v1\n  Name: EFixed, Value: 49.5, Default?: No\n"
    path = write(tmp_path / "a.nxs", numbers, logs={}, history=[fixed])
    assert read_processed(path).incident_energy == 49.5
    assert read_processed(path, incident_energy=48.0).incident_energy == 48.0
    found = "Algorithm: GetEi v2\n  Name: IncidentEnergy, Value: 50.5, Default?: No\n"
    steps = [found, *10 * ["Algorithm: Rebin v1\n"], fixed]  # more than nine of them
    path = write(tmp_path / "f.nxs", numbers, logs={}, history=steps)
    assert read_processed(path).incident_energy == 49.5
    path = write(tmp_path / "g.nxs", numbers, logs={}, history=steps[:5])
    assert read_processed(path).incident_energy == 50.5
    path = write(
        tmp_path / "d.nxs", numbers, logs={}, parameters="X;double;EFixed;51.5|Y;a;b;c"
    )
    assert read_processed(path).incident_energy == 51.5
    path = write(tmp_path / "e.nxs", numbers, logs={"EnergyRequest": 52.0})
    with pytest.warns(MeasurementWarning, match="the incident energy that was asked"):
        assert read_processed(path).incident_energy == 52.0
    path = write(tmp_path / "b.nxs", numbers, logs={})
    with pytest.raises(ValueError, match=r"must tell the incident energy.*Pass inc"):
        read_processed(path)
    path = write(
        tmp_path / "c.nxs", numbers, logs={"deltaE-mode": "Indirect", "Ei": 5.0}
    )
    with pytest.raises(ValueError, match="with SofQW"):
        read_processed(path)


def test_counts_of_a_bin_become_counts_per_mev(tmp_path, numbers):
    edges = np.append(np.arange(-10.0, 35.0, 5), [36.0, 44.0])
    path = write(tmp_path / "a.nxs", numbers, distribution=0, energy=edges)
    measured = read_processed(path)
    assert_allclose(measured.data, numbers[0] / np.diff(edges))
    assert_allclose(measured.error, numbers[1] / np.diff(edges))


def test_temperature_is_a_median_in_time(tmp_path, numbers):
    log = {"value": [4.0, 5.0, 5.0, 5.1], "time": [0.0, 1.0, 500.0, 999.0]}
    path = write(
        tmp_path / "a.nxs", numbers, logs={"Ei": 50.0, "SampleTemp": log, "T2": 7.0}
    )
    measured = read_processed(path)
    assert measured.temperature == 5.0
    assert_allclose(measured.details["temperature_range"], [4.0, 5.1])
    assert read_processed(path, temperature_log="T2").temperature == 7.0
    assert "SampleTemp" in measured.details["logs"]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("centres", [False, True])
def test_momentum_and_energy_in_any_order(tmp_path, turned, centres):
    rng = np.random.RandomState(1)
    q = np.arange(3.5, 5.3, 0.25)
    values = rng.uniform(1, 2, (len(q) - 1, N_ENERGY))
    values[0, 0] = 0.0
    errors = 0.1 * values
    energy, across = EDGES, q
    if centres:
        energy, across = ((a[1:] + a[:-1]) / 2 for a in (EDGES, q))
    path = tmp_path / "a.nxs"
    logs = {"Ei": 40.0}
    if turned:
        write_processed(path, values.T, errors.T, across, energy, logs=logs)
        with h5py.File(path, "a") as file:
            workspace = file["mantid_workspace_1/workspace"]
            workspace["axis1"].attrs["units"] = np.bytes_("MomentumTransfer")
            workspace["axis2"].attrs["units"] = np.bytes_("DeltaE")
    else:
        write_processed(path, values, errors, energy, across, logs=logs)
    measured = read_processed(path)
    kept = (EDGES[1:] + EDGES[:-1]) / 2 < 40.0  # below the incident energy
    image = measured.grid.to_image(measured.data)[0]
    assert np.isnan(image[0, 0])  # zero without error: not measured
    expected = values.T[kept]
    expected[0, 0] = np.nan
    assert_allclose(image, expected)
    assert_allclose(measured.grid.q, (q[1:] + q[:-1]) / 2)
    assert ("q" in measured.details["edges"]) is not centres


def test_momenta_of_elastic_scattering_are_told(tmp_path):
    q, ones = np.arange(1.0, 3.1, 0.5), np.ones((4, N_ENERGY))
    axis = "Algorithm: ConvertSpectrumAxis v2\n  Name: Target, Value: ElasticQ,\n"
    write_processed(tmp_path / "a.nxs", ones, ones, EDGES, q, history=[axis])
    with pytest.warns(MeasurementWarning, match="are those of elastic scattering"):
        read_processed(tmp_path / "a.nxs")
    steps = [axis, "Algorithm: SofQWNormalisedPolygon v1\n"]
    write_processed(tmp_path / "b.nxs", ones, ones, EDGES, q, history=steps)
    assert read_processed(tmp_path / "b.nxs").grid.shape == (N_ENERGY, 4)


def test_scattering_angles(tmp_path):
    ones = np.ones((3, N_ENERGY))
    settings = {"across_units": "Degrees", "history": [KI_KF]}
    angles = [30.0, 60.0, 90.0]
    write_processed(tmp_path / "a.nxs", ones, ones, EDGES, angles, **settings)
    with pytest.raises(ValueError, match="must tell the incident energy"):
        read_processed(tmp_path / "a.nxs")
    with pytest.warns(MeasurementWarning, match=r"2 bins of .*=30 meV, .* left out"):
        measured = read_processed(tmp_path / "a.nxs", incident_energy=30.0)
    assert isinstance(measured.grid, AngleGrid)
    assert_allclose(measured.grid.two_theta, angles)
    assert measured.grid.energy[-1] == 27.5  # below the incident energy
    assert measured.quantity == "sqe"


def test_uneven_bins_are_told(tmp_path):
    q = np.array([0.5, 1.0, 2.0, 2.5, 4.0])
    ones = np.ones((4, N_ENERGY))
    write_processed(tmp_path / "a.nxs", ones, ones, EDGES, q)
    with pytest.warns(MeasurementWarning, match=r"Bins of q in .* are uneven"):
        read_processed(tmp_path / "a.nxs")


def test_several_workspaces_are_a_list(tmp_path, numbers):
    path = write(tmp_path / "a.nxs", numbers)
    write(path, numbers, title="second", append=True)
    first, second = read_processed(path)
    assert (first.details["title"], second.details["title"]) == ("Al", "second")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": "TOF"}, r"ConvertUnits\(Target='DeltaE', EMode='Direct'"),
        ({"units": "DeltaE_inWavenumber"}, "got deltae_inwavenumber by spectranumber"),
        ({"energy": EDGES[::-1]}, "increasing energy transfers"),
        ({"energy": EDGES[:-1]}, "ConvertToHistogram"),
        ({"energy": EDGES[:-3]}, "10 centres or 11 borders, got 8"),
    ],
)
def test_what_must_hold(tmp_path, numbers, settings, message):
    with pytest.raises(ValueError, match=message):
        read_processed(write(tmp_path / "a.nxs", numbers, **settings))


def test_detectors_that_are_not_there(tmp_path, numbers):
    for name, value in (
        ("detector_index", [0, 1, 2, 9]),
        ("detector_count", [2, 1, 1, 1]),
        ("detector_count", [-1, 1, 1, 1]),
        ("detector_count", [3, 3, 2, 1]),
    ):
        path = write(tmp_path / "a.nxs", numbers)
        with h5py.File(path, "a") as file:
            file[f"mantid_workspace_1/instrument/detector/{name}"][:] = value
        with pytest.raises(ValueError, match="detector_"):
            read_processed(path)


def test_what_lies_in_many_places_fills_no_memory(tmp_path, numbers):
    path = write(tmp_path / "a.nxs", numbers, history=["Algorithm: X " + "a" * 99999])
    with h5py.File(path, "a") as file:
        process = file["mantid_workspace_1/process"]
        for number in range(1, 20):
            process[f"MantidAlgorithm_{number}"] = process["MantidAlgorithm_0"]
    with pytest.raises(ValueError, match="must have texts that fit in the file"):
        read_processed(path)
    path = write(tmp_path / "b.nxs", numbers)
    with h5py.File(path, "a") as file:
        file["mantid_workspace_2"] = file["mantid_workspace_1"]
    with pytest.raises(ValueError, match="_2 must have values of its own"):
        read_processed(path)


def test_a_number_that_a_pattern_would_not_come_to_the_end_of(tmp_path, numbers):
    text = "Algorithm: GetEi\n  Name: EFixed, Value: " + "1" * 200000 + "x"
    path = write(tmp_path / "a.nxs", numbers, logs={}, history=[text])
    with pytest.raises(ValueError, match="must tell the incident energy"):
        read_processed(path)
