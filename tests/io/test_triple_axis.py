"""Scans of triple-axis spectrometers: points, counts and what is added up."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tables_files import write_ill, write_spice

from skphonon import SingleCrystalSimulator
from skphonon.instrument import MeasurementWarning
from skphonon.instrument.measurement import simulator_settings
from skphonon.io import read_arrays, write_arrays
from skphonon.io.triple_axis import _together, read_triple_axis
from skphonon.physics.constants import MEV_PER_THZ, NEUTRON_HBAR2_OVER_2M

ENERGY = np.arange(2.0, 7.0)
COUNTS = np.array([0.0, 4, 100, 9, 1])


def scan(h, energy=ENERGY):
    """A scan of energy at (h, 0, 0)."""
    return np.column_stack(
        [np.full(len(energy), h), *np.zeros((2, len(energy))), energy]
    )


def test_a_real_scan(data_folder):
    """The sum of counts and the centre of mass, as SPICE itself writes them below."""
    path = data_folder / "formats" / "CG4C_exp0442_scan0085.dat"
    found = read_triple_axis(path)
    counts, hkl = found.details["counts"][0], found.grid.wavevectors
    assert found.grid.shape == (1, 11)
    assert counts.sum() == 4331
    assert_allclose((counts @ hkl)[0] / counts.sum(), 1.000051, atol=1e-6)
    assert_array_equal(found.grid.energy, [0])
    assert found.incident_energy == found.details["final_energy"] == 4.8
    assert (found.quantity, found.temperature) == ("sqe", None)
    assert found.units == "counts per 2169 monitor counts"
    assert found.details["scans"]["1"]["sample"] == "Si"
    # |Q| of the first point, in the column q, from the lattice
    reciprocal = 2 * np.pi * np.linalg.inv(found.details["lattice"]).T
    assert_allclose(np.linalg.norm(hkl[0] @ reciprocal), 1.5779, atol=1e-4)


def test_counts_by_a_monitor(tmp_path):
    monitor = [500.0, 1000, 2000, 1000, 1000]
    path = write_spice(tmp_path / "a.dat", scan(1), COUNTS, monitor=monitor)
    found = read_triple_axis(str(path))
    assert_array_equal(found.grid.energy, ENERGY)
    assert_array_equal(found.grid.wavevectors, [[1, 0, 0]])
    assert_allclose(found.data, [[0, 4, 50, 9, 1]])
    assert_allclose(found.error, [[2, 2, 5, 3, 1]])  # that of one count where are none
    assert_array_equal(found.details["counts"], [COUNTS])
    assert_array_equal(found.details["monitor"], [monitor])
    assert (found.quantity, found.incident_energy) == ("sqe", None)
    assert found.details["final_energy"] == 14.7
    assert_allclose(found.details["lattice"], 5.658 * np.eye(3), atol=1e-12)
    assert_array_equal(found.details["ub"].ravel(), np.arange(1, 10) / 10)
    seconds = read_triple_axis(path, normalization="time")
    assert_array_equal(seconds.data, [COUNTS])
    assert seconds.units == "counts per 60 s"
    assert seconds.quantity is None  # k_i is another one at each energy


def test_a_fixed_incident_energy_is_no_s_of_q_and_e(tmp_path):
    found = read_triple_axis(
        write_spice(tmp_path / "a.dat", scan(1), COUNTS, incident=30.0)
    )
    assert (found.incident_energy, found.quantity) == (30, None)
    assert "final_energy" not in found.details


def test_several_scans_share_a_grid(tmp_path):
    """Energies of one are between those of the other, but for one."""
    other = np.array([2.5, 4.0, 4.5])
    paths = [
        write_spice(tmp_path / "a.dat", scan(1), COUNTS),
        write_spice(tmp_path / "b.dat", scan(0.9, other)[::-1], [1, 2, 3]),
    ]
    found = read_triple_axis(paths)
    assert_array_equal(found.grid.energy, [2, 2.5, 3, 4, 4.5, 5, 6])
    assert_array_equal(found.grid.wavevectors[:, 0], [1, 0.9])
    n = np.nan
    expected = [[0, n], [n, 3], [4, n], [100, 2], [n, 1], [9, n], [1, n]]
    assert_array_equal(found.grid.to_image(found.data)[0], expected)
    assert_array_equal(found.grid.mask, np.isfinite(expected))
    assert_array_equal(np.isfinite(found.error), np.isfinite(found.data))
    assert found.source == f"{paths[0]} and 1 more"
    assert (found.details["points"], found.details["merged"]) == (8, 0)
    assert found.details["scans"]["2"]["file"] == "b.dat"
    write_arrays(tmp_path / "a.h5", found)
    assert_array_equal(read_arrays(tmp_path / "a.h5").data, found.data)


def test_points_measured_twice_are_added(tmp_path):
    """Twice the counts and twice the monitor: the same, known better."""
    near = scan(1) + np.array([0.004, 0, 0, 0.015])
    paths = [
        write_spice(tmp_path / "a.dat", scan(1), COUNTS),
        write_spice(tmp_path / "b.dat", near, 3 * COUNTS, monitor=3000.0),
    ]
    one, both = read_triple_axis(paths[:1]), read_triple_axis(paths)
    assert both.details["merged"] == 5
    assert_array_equal(both.details["counts"], [4 * COUNTS])
    scale = both.details["normalized_to"] / one.details["normalized_to"]
    assert_allclose(both.data, one.data * scale)
    known = COUNTS > 0
    assert_allclose(both.error[0, known], one.error[0, known] * scale / 2)
    assert_allclose(both.grid.energy, ENERGY + 0.0075)
    assert_allclose(both.grid.wavevectors, [[1.002, 0, 0]])
    apart = read_triple_axis(paths, q_tolerance=0.001, energy_tolerance=0.02)
    assert apart.grid.shape == (5, 2)
    apart = read_triple_axis(paths, energy_tolerance=0.01)
    assert apart.grid.shape == (10, 1)


@pytest.mark.parametrize("tolerance", [0.0, 0.004, 0.02])
def test_groups_are_about_their_first_point(tolerance):
    """As a plain loop finds them."""
    points = np.random.default_rng(0).uniform(0, 0.1, (400, 3)).round(3)
    firsts, expected = [], []
    for point in points:
        near = [np.abs(point - each).max() <= tolerance for each in firsts]
        if not any(near):
            firsts.append(point)
            near.append(True)
        expected.append(near.index(True))
    assert_array_equal(_together(points, tolerance), expected)


def test_small_steps_that_are_swallowed_are_said(tmp_path):
    path = write_spice(tmp_path / "a.dat", scan(1, 2 + np.arange(5) / 125), COUNTS)
    with pytest.warns(
        MeasurementWarning, match=r"3 points of .*a\.dat lie within"
    ) as caught:
        read_triple_axis(path)
    assert caught[0].filename == __file__
    assert read_triple_axis(path, energy_tolerance=0.001).grid.shape == (5, 1)


def test_temperature_and_its_spread(tmp_path):
    kelvin = np.array([10.0, 10.1, 10.2, 10.1, 10.0])
    columns = {"temp": 300.0, "tsample": kelvin, "vti": 4.0}
    path = write_spice(tmp_path / "a.dat", scan(1), COUNTS, columns=columns)
    found = read_triple_axis(path)
    assert found.temperature == 10.1
    assert_array_equal(found.details["temperature_range"], [10, 10.2])
    assert read_triple_axis(path, temperature_column="VTI").temperature == 4
    assert read_triple_axis(path, temperature=5.0).temperature == 5
    columns["tsample"] = kelvin * [1, 1, 1, 1, 2]
    write_spice(tmp_path / "a.dat", scan(1), COUNTS, columns=columns)
    with pytest.warns(MeasurementWarning, match="from 10 to 20 K in the scans .column"):
        read_triple_axis(path)
    with pytest.raises(ValueError, match="must have the column t9 of temperature, got"):
        read_triple_axis(path, temperature_column="t9")


def test_another_counter(tmp_path):
    names = {"counter": "Det2", "def_y": "Det2", "columns": {"detector": 7.0}}
    path = write_spice(tmp_path / "a.dat", scan(1), COUNTS, **names)
    assert_array_equal(read_triple_axis(path).details["counts"], [COUNTS])
    assert_array_equal(read_triple_axis(path, counts="detector").details["counts"], 7)


def test_energies_that_disagree_are_said(tmp_path):
    path = write_spice(tmp_path / "a.dat", scan(1), COUNTS)
    path.write_text(path.read_text().replace("14.7000", "13.7000"))
    with pytest.warns(MeasurementWarning, match="is up to 1 meV away from the diff"):
        assert read_triple_axis(path).details["final_energy"] == 13.7


def ill(**changes):
    columns = {
        "QH": np.full(5, 2.0), "QK": np.zeros(5), "QL": np.full(5, 0.25), "EN": ENERGY,
        "M1": np.full(5, 1e4), "TIME": np.full(5, 30.0), "CNTS": COUNTS,
        "TT": np.full(5, 150.0), "TRT": np.full(5, 148.0),
    }  # fmt: skip
    columns |= changes
    return {name: values for name, values in columns.items() if values is not None}


def test_a_scan_of_the_ill(tmp_path):
    found = read_triple_axis(write_ill(tmp_path / "033402", ill()))
    assert_array_equal(found.grid.energy, ENERGY)
    assert_array_equal(found.grid.wavevectors, [[2, 0, 0.25]])
    assert_array_equal(found.data, [COUNTS])
    assert found.temperature == 150
    final = NEUTRON_HBAR2_OVER_2M * 2.662**2
    assert_allclose(final, 14.68, atol=0.01)  # as everybody calls it
    assert_allclose(found.details["final_energy"], final)
    assert (found.quantity, found.incident_energy) == ("sqe", None)
    assert_allclose(found.details["lattice"], 5.43 * np.eye(3), atol=1e-12)
    assert found.details["scans"]["1"]["title"] == "LA [100]"
    assert found.details["scans"]["1"]["instrument"] == "IN20"


def test_what_a_scan_of_the_ill_did_not_move(tmp_path):
    columns = ill(QK=None, QL=None)
    path = write_ill(tmp_path / "a", columns, position=(0, 1, 2, 0), side=1, unit="THZ")
    found = read_triple_axis(path)
    assert_array_equal(found.grid.wavevectors, [[2, 1, 2]])
    assert_allclose(found.grid.energy, ENERGY * MEV_PER_THZ)
    assert_allclose(found.incident_energy, NEUTRON_HBAR2_OVER_2M * 2.662**2)
    assert found.quantity is None


def test_both_formats_go_together(tmp_path):
    paths = [
        write_ill(tmp_path / "a", ill()),
        write_spice(tmp_path / "b.dat", scan(1), COUNTS, final=14.684,
                    latticeconstants="5.43,5.43,5.43,90,90,90"),
    ]  # fmt: skip
    found = read_triple_axis(paths)
    assert found.grid.shape == (5, 2)
    assert found.temperature is None  # one has no thermometer


def test_a_hexagonal_lattice(tmp_path):
    cell = (4.0, 5.0, 6.0, 80.0, 95.0, 110.0)
    found = read_triple_axis(write_ill(tmp_path / "a", ill(), cell=cell))
    a, b, c = found.details["lattice"]
    assert_allclose([np.linalg.norm(v) for v in (a, b, c)], cell[:3])
    cosines = [b @ c / 30, a @ c / 24, a @ b / 20]
    assert_allclose(np.degrees(np.arccos(cosines)), cell[3:])
    assert (a[1], a[2], b[2]) == (0, 0, 0)


def test_a_simulator_takes_it(tmp_path):
    found = read_triple_axis(write_spice(tmp_path / "a.dat", scan(1), COUNTS))
    with pytest.raises(ValueError, match="must know temperature and energy_resolution"):
        simulator_settings(found, SingleCrystalSimulator, {})


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: write_spice(p, scan(1), -COUNTS), "finite counts of at least 0"),
        (lambda p: write_spice(p, scan(1), COUNTS, monitor=0.0),
         "must have monitor above 0, got none. Pass normalization='time'"),
        (lambda p: write_spice(p, scan(1), COUNTS, def_y="x"), "column x of counts"),
        (lambda p: write_spice(p, scan(1), COUNTS, columns={"t": 1e13}),
         r"numbers of at most 1e\+12"),
        (lambda p: write_spice(p, scan(np.nan), COUNTS), "tell Q and energy of points"),
        (lambda p: write_ill(p, ill(QH=None, QK=None, QL=None, EN=None)),
         "must have the columns qh, qk, ql, en .* A scan of motors alone"),
        (lambda p: write_ill(p, ill(), unit="CM"), "in meV or THz, got UN=CM"),
        (lambda p: write_ill(p, ill(PAL=np.arange(5.0))), "scan of one polarisation"),
        (lambda p: write_ill(p, ill(), more=["MULTI:", " 1 2 3"]), "one of several"),
        (lambda p: write_ill(p, ill(), more=["6 7"]), "10 numbers in line 28, .* 2"),
        (lambda p: write_ill(p, ill(), more=["6" + " a" * 9]), "numbers in line 28"),
        (lambda p: write_ill(p, {"QH": np.zeros(0)}), "got 2 names and 0 points"),
        (lambda p: p.write_text("R" * 80), "got 0 names and 0 points"),
        (lambda p: p.write_text("# scan = 3\n1 2 3\n"), "got 0 names and 1 points"),
        (lambda p: p.write_text("q E I\n1 2 3\n1 3 4\n"), r"skphonon\.io\.read_text"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, write, message):
    path = tmp_path / "a.dat"
    write(path)
    with pytest.raises(ValueError, match=message):
        read_triple_axis(path)


def test_files_that_do_not_go_together(tmp_path):
    a, b = (tmp_path / name for name in "ab")
    write_spice(a, scan(1), COUNTS)
    with pytest.raises(ValueError, match=r"must be given once, got .*a again"):
        read_triple_axis([a, tmp_path / "." / "a"])
    write_spice(b, scan(1), COUNTS, final=13.5)
    with pytest.raises(ValueError, match=r"one fixed energy, .* of 13\.5 to 14\.7 meV"):
        read_triple_axis([a, b])
    write_spice(b, scan(1), COUNTS, latticeconstants="4,4,4,90,90,90")
    with pytest.raises(ValueError, match="of one crystal, got lattice constants"):
        read_triple_axis([a, b])
    with pytest.raises(ValueError, match="at least one file, got none"):
        read_triple_axis([])
    for name in ("q_tolerance", "energy_tolerance"):
        with pytest.raises(ValueError, match=f"{name} must be at least 0, got -1"):
            read_triple_axis(a, **{name: -1})
    with pytest.raises(ValueError, match="normalization must be one of monitor, time"):
        read_triple_axis(a, normalization="mcu")


def test_scans_at_several_energies_have_one_final_energy(tmp_path):
    """Each scan of Q has an incident energy of its own, and both seem fixed."""
    paths = []
    for number, energy in enumerate((2.0, 9.0)):
        points = np.column_stack([np.arange(5) / 10, *np.zeros((2, 5)), [energy] * 5])
        paths.append(write_spice(tmp_path / f"{number}", points, COUNTS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_triple_axis(paths)
    assert found.grid.shape == (2, 5)
    assert (found.quantity, found.incident_energy) == ("sqe", None)
    assert np.isfinite(found.data).all()
