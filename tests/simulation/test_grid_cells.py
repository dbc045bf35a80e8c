"""Wavevectors of a measurement in their cell, and models of another one."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tables_files import write_spice

from skphonon import (
    CrystalGrid,
    ForceConstantModel,
    Measurement,
    PathGrid,
    SingleCrystalSimulator,
    SpinWaveSimulator,
    load_model,
    read,
    save_model,
)
from skphonon.datasets import load_la2nio4_model
from skphonon.instrument import MeasurementWarning
from skphonon.io import from_pandas, read_arrays, to_pandas, write_arrays

ENERGY = np.arange(2.0, 66.0, 2.0)
POINTS = np.array([[2.2, 2.2, 0.0], [2.4, 2.4, 0.0], [0.5, 0.5, 0.5], [1.1, 2.3, 3.7]])
ON = {"temperature": 300.0, "energy_resolution": 1.0}


def spectra(model, grid):
    made = SingleCrystalSimulator(model, grid, **ON)
    return grid.to_image(made.simulate([made.reference]))[0]


def scan(path, points, a=5.431, **options):
    rows = [[*point, energy] for point in points for energy in ENERGY]
    options["latticeconstants"] = f"{a},{a},{a},90.0,90.0,90.0"
    return read(write_spice(path, rows, 100.0, **options))


@pytest.fixture(scope="module")
def silicon(data_folder):
    path = data_folder / "phonopy" / "phonopy_params_Si.yaml"
    return ForceConstantModel.from_phonopy(path)


def test_a_scan_is_in_the_cell_of_its_file(tmp_path, silicon):
    """As the same wavevectors on a grid of voxels with the cubic cell."""
    measured = scan(tmp_path / "si.dat", POINTS[:2])
    assert_allclose(measured.grid.lattice, 5.431 * np.eye(3), atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = SingleCrystalSimulator.from_measurement(
            silicon, measured, energy_resolution=1.0, temperature=300.0
        )
    found = measured.grid.to_image(made.simulate([silicon.reference]))[0]
    for column, point in enumerate(measured.grid.wavevectors):
        voxel = CrystalGrid(ENERGY, *point, lattice=5.431 * np.eye(3))
        assert_allclose(found[:, [column]], spectra(silicon, voxel), atol=1e-12)
    # and not in that of the model
    own = spectra(silicon, measured.grid.replace(lattice=None))
    assert not np.allclose(found, own, rtol=0.1)
    assert_array_equal(ENERGY[found.argmax(axis=0)], [16.0, 30.0])


def test_the_points_l_and_x_of_aluminium(aluminium):
    """In units of the cubic cell they are (1/2, 1/2, 1/2) and (1, 0, 0)."""
    a = 2 * np.abs(aluminium.lattice).max()
    points = np.array([[0.5, 0.5, 0.5], [1.0, 0.0, 0.0]])
    grid = PathGrid(np.arange(2.0, 46.0, 0.5), points, lattice=a * np.eye(3))
    found = spectra(aluminium, grid)
    # half of sums of reciprocal vectors of the primitive cell: all three, two of them
    primitive = np.array([[0.5, 0.5, 0.5], [0.0, 0.5, 0.5]])
    expected = spectra(aluminium, PathGrid(grid.energy, primitive))
    assert_allclose(found, expected, atol=1e-12)
    # Q lies along the zone boundary's longitudinal mode: 39.2 and 39.7 meV in crystals
    lines = aluminium.frequencies([aluminium.reference], primitive)[0].max(axis=1)
    assert_allclose(grid.energy[found.argmax(axis=0)], lines, atol=0.5)
    assert_allclose(lines, 39.5, rtol=0.05)


def test_axes_are_told_by_edges_and_angles(silicon):
    """Turned as a whole, the cell is the same; symmetry relates all choices."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    cubic = 5.431 * np.eye(3)
    expected = spectra(silicon, PathGrid(ENERGY, POINTS, lattice=cubic))
    found = spectra(silicon, PathGrid(ENERGY, POINTS, lattice=cubic @ turn))
    assert_allclose(found, expected, rtol=1e-8, atol=1e-12)
    voxel = CrystalGrid(ENERGY, *POINTS[3], lattice=cubic @ turn)
    assert_allclose(spectra(silicon, voxel), expected[:, [3]], rtol=1e-8, atol=1e-12)
    # a tetragonal cell of half the volume, whose a and b are along the diagonals
    half = np.array([[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])
    points = POINTS @ half.T
    found = spectra(silicon, PathGrid(ENERGY, points, lattice=half @ cubic @ turn))
    assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


def test_axes_that_are_not_told_are_asked_for():
    """A cubic crystal without fourfold axes: two settings, as of pyrite."""
    x = 0.385
    ends = [[x, x, x], [-x, 0.5 - x, 0.5 + x], [0.5 + x, -x, 0.5 - x],
            [0.5 - x, 0.5 + x, -x]]  # fmt: skip
    ends = np.array([*ends, *(-np.array(ends))]) % 1
    iron = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    model = ForceConstantModel(
        5.4 * np.eye(3),
        ["Fe"] * 4 + ["S"] * 8,
        None,
        positions=[*iron, *ends],
        n_shells=1,
    )
    model = model.replace(reference=np.ones(len(model.parameter_names)))
    turn = np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]])
    grid = PathGrid(ENERGY, POINTS, lattice=5.4 * turn)
    made = SingleCrystalSimulator(model, grid, **ON)
    with pytest.raises(ValueError, match="fits in 2 ways that the symmetry"):
        made.simulate([made.reference])


@pytest.mark.parametrize("a", [3.0, 5.0, 6.1])
def test_the_cell_of_another_crystal_is_refused(tmp_path, silicon, a):
    measured = scan(tmp_path / "si.dat", POINTS[:1], a)
    with pytest.raises(ValueError, match="must be that of the model or a multiple"):
        SingleCrystalSimulator.from_measurement(silicon, measured, **ON)


def test_a_cell_that_hardly_fits_is_said(tmp_path, silicon):
    measured = scan(tmp_path / "si.dat", POINTS[:1], 5.25)
    with pytest.warns(MeasurementWarning, match="differ by more than 3 %") as caught:
        SingleCrystalSimulator.from_measurement(silicon, measured, **ON)
    assert caught[0].filename == __file__


def test_a_grid_without_a_cell_meets_a_primitive_model(silicon, aluminium):
    measured = Measurement.from_arrays(POINTS, ENERGY, np.ones((len(ENERGY), 4)))
    with pytest.warns(MeasurementWarning, match="primitive: .* 4 times as") as caught:
        SingleCrystalSimulator.from_measurement(silicon, measured, quantity="sqe", **ON)
    assert len(caught) == 1
    grid = measured.grid.replace(lattice=silicon.lattice)
    told = measured.replace(grid=grid)
    found = SingleCrystalSimulator.from_measurement(silicon, told, quantity="sqe", **ON)
    expected = spectra(silicon, measured.grid)
    assert_allclose(grid.to_image(found.simulate([silicon.reference]))[0], expected)
    # a model of the conventional cell leaves no doubt
    cubic = ForceConstantModel(3.0 * np.eye(3), "Cu", np.ones(2), n_shells=1)
    SingleCrystalSimulator.from_measurement(cubic, measured, quantity="sqe", **ON)


def test_magnons_are_in_the_cell_of_the_grid():
    model = load_la2nio4_model()
    grid = PathGrid(ENERGY, POINTS[:3], lattice=2 * np.asarray(model.lattice))
    made = SpinWaveSimulator(model, grid, energy_resolution=3.0)
    halved = PathGrid(ENERGY, POINTS[:3] / 2)
    expected = SpinWaveSimulator(model, halved, energy_resolution=3.0)
    rows = [model.reference]
    assert_allclose(made.simulate(rows), expected.simulate(rows))
    assert_array_equal(made.is_stable(rows), expected.is_stable(rows))
    wrong = SpinWaveSimulator(
        model, grid.replace(lattice=3.0 * np.eye(3)), energy_resolution=3.0
    )
    with pytest.raises(ValueError, match="must be that of the model"):
        wrong.simulate(rows)


def test_the_cell_is_kept(tmp_path, silicon):
    measured = scan(tmp_path / "si.dat", POINTS[:2])
    write_arrays(tmp_path / "a.h5", measured)
    assert read_arrays(tmp_path / "a.h5").grid == measured.grid
    same = from_pandas(to_pandas(measured))
    assert_array_equal(same.grid.lattice, measured.grid.lattice)
    assert_array_equal(
        from_pandas(to_pandas(measured, pivot="intensity")).grid.lattice,
        measured.grid.lattice,
    )
    assert pickle.loads(pickle.dumps(measured.grid)) == measured.grid
    made = SingleCrystalSimulator(silicon, measured.grid, **ON)
    save_model(made, tmp_path / "a.skops")
    assert load_model(tmp_path / "a.skops").grid == measured.grid
    told = measured.describe()
    assert told["lattice"] == "5.431, 5.431, 5.431 Angstrom; 90, 90, 90 degree"
    assert told["final_energy"] == "14.7 meV"
    assert (told["h"], told["l"]) == ("2.2 to 2.4 r.l.u.", "0 r.l.u.")
    assert "2.2 to 2.4 r.l.u." in measured._repr_html_()


def test_a_pickle_without_a_cell_is_loaded():
    grid = PathGrid(ENERGY, POINTS)
    state = grid.__getstate__()
    del state["lattice"]
    old = object.__new__(PathGrid)
    old.__setstate__(state)
    assert old == grid


@pytest.mark.parametrize("lattice", [np.eye(2), np.zeros((3, 3)), [[1, 0, 0]] * 3])
def test_a_cell_is_three_vectors(lattice):
    with pytest.raises(ValueError, match="lattice must hold three independent"):
        PathGrid(ENERGY, POINTS, lattice=lattice)
