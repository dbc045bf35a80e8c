"""Simulated single-crystal spectra: other codes, identities, derivatives, contract."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone

from skphonon import (
    CrystalGrid,
    ImplicitSpectrumModel,
    JointSimulator,
    LeastSquaresInverter,
    NelderMeadInverter,
    PathGrid,
    PowderSimulator,
    SingleCrystalSimulator,
    SpectrumGrid,
    load_model,
    nmse,
    save_model,
)
from skphonon.instrument import QResolution
from skphonon.instrument.resolution import bin_kernel
from skphonon.inversion import Search
from skphonon.learning import Trainer
from skphonon.physics import UnstableCrystalWarning
from skphonon.physics.constants import BOLTZMANN
from skphonon.physics.scattering import bose_occupation
from skphonon.physics.scattering_lengths import scattering_lengths
from skphonon.simulation import Scattering
from skphonon.simulation._crystal_points import cloud, directions_of_approach, fold

TEMPERATURE = 300.0
# zone boundary, zone centre, an axis and a point of no symmetry, in several zones
POINTS = np.array(
    [
        [0.5, 0.5, 0.0],
        [1.5, -0.5, 2.0],
        [0.5, 0.5, 0.5],
        [2.0, 1.0, -1.0],
        [0.3, 0.3, 1.0],
        [1.13, 0.27, -2.41],
        [-1.13, -0.27, 2.41],
        [3.13, 1.27, -2.41],
    ]
)
CRYSTALS = ["aluminium", "germanium", "silicon", "salt", "zincblende"]


@pytest.fixture(params=CRYSTALS)
def crystal(request):
    return request.getfixturevalue(request.param)


def on_path(model, points=POINTS, energy=None, mask=None, **options):
    energy = np.arange(1.0, 60.0, 2.0) if energy is None else energy
    options = {"energy_resolution": 1.0, **options}
    return SingleCrystalSimulator(model, PathGrid(energy, points, mask=mask), **options)


def images(made, **options):
    return made.grid.to_image(made.simulate([made.reference], **options))[0]


def plane(model, lattice, **options):
    """Planes of two zones, in bins that repeat points by symmetry."""
    axis = np.linspace(-1.0, 1.0, 9)
    grid = CrystalGrid(np.arange(2.0, 40.0, 3.0), axis, axis, [0, 0.5], lattice=lattice)
    return SingleCrystalSimulator(model, grid, **{"energy_resolution": 1.0, **options})


@pytest.mark.filterwarnings("ignore:More than one OpenMP library")
def test_spectra_agree_with_euphonic(crystal, tmp_path):
    """Structure factors, Debye-Waller and Bose factors, both signs of energy."""
    euphonic = pytest.importorskip("euphonic")
    from euphonic import ureg

    settings = ("force_constants", "born_effective_charge", "dielectric_constant")
    crystal.to_phonopy().save(
        tmp_path / "phonopy.yaml", settings=dict.fromkeys(settings, True)
    )
    constants = euphonic.ForceConstants.from_phonopy(path=tmp_path)
    symbols, n_atoms, fixed = crystal.symbols, crystal.n_atoms, 0.008
    lengths = scattering_lengths(symbols).coherent_length
    rng = np.random.default_rng(0)
    points = np.vstack([POINTS[[0, 1, 2, 4, 5, 6, 7]], rng.uniform(-4, 4, (30, 3))])
    factors = constants.calculate_qpoint_phonon_modes(
        points
    ).calculate_structure_factor(
        scattering_lengths={
            s: b * ureg("fm") for s, b in zip(symbols, lengths, strict=True)
        },
        dw=euphonic.DebyeWaller(
            constants.crystal,
            np.repeat(fixed / 2 * np.eye(3)[None], n_atoms, axis=0)
            * ureg("angstrom^2"),
            TEMPERATURE * ureg("K"),
        ),
    )
    # intensities a formula unit, in barn
    n_units = 1 if len(set(symbols)) > 1 else n_atoms
    unit = n_atoms / n_units / 100
    lines = factors.frequencies.to("meV").magnitude
    strengths = factors.structure_factors.to("fm^2").magnitude * unit

    made = on_path(
        crystal,
        points,
        np.arange(-75.0, 75.5, 0.5),
        energy_resolution=0.8,
        mean_square_displacement=fixed,
        units="barn/meV/sr",
        temperature=TEMPERATURE,
    )
    edges = made.grid.edges()
    expected = np.zeros(made.grid.shape)
    for column in range(len(points)):
        for sign in (1, -1):
            energies = sign * lines[column]
            occupied = np.abs(bose_occupation(-energies, TEMPERATURE))
            kernel = bin_kernel(edges, energies, 0.8)
            expected[:, column] += kernel @ (strengths[column] * occupied)
    found = images(made)
    worst = abs(found - expected).max(axis=0) / expected.max(axis=0)
    assert worst.max() < 1e-4

    # Euphonic's own map has another Bose factor in each bin, not broadened
    fine = np.arange(-75.0, 75.01, 0.02)
    theirs = factors.calculate_sqw_map(
        fine * ureg("meV"), calc_bose=True, temperature=TEMPERATURE * ureg("K")
    )
    density = theirs.z_data.to("fm^2/meV").magnitude.T * unit
    assert_allclose(0.5 * found.sum(axis=0), 0.02 * density.sum(axis=0), rtol=1e-3)


@pytest.mark.parametrize("name", ["silicon", "zincblende"])
def test_average_over_directions_is_that_of_a_powder(name, request):
    """Without a centre of inversion the phases of atoms have a sign."""
    model = request.getfixturevalue(name)
    energy, modulus = np.arange(6.0, 70.0, 2.0), 3.1
    height = (np.arange(8000) + 0.5) / 4000 - 1
    angle = np.pi * (3 - 5**0.5) * np.arange(8000)
    ring = np.sqrt(1 - height**2)
    directions = np.c_[ring * np.cos(angle), ring * np.sin(angle), height]
    points = modulus * directions @ np.linalg.inv(model.reciprocal_lattice())
    options = {"energy_resolution": 1.5, "mesh": 24}
    if name == "zincblende":
        own = Scattering(scattering_lengths={"Ga": 2.0, "As": 9.0})
        options["scattering"] = own
    single = images(on_path(model, points, energy, **options))
    grid = SpectrumGrid(energy, modulus + np.array([-0.003, 0.003]))
    powder = PowderSimulator(model, grid, q_resolution=0.02, quantity="sqe", **options)
    expected = grid.to_image(powder.simulate([powder.reference]))[0].mean(axis=1)
    # both averages err by a percent of a spectrum's spread
    assert_allclose(single.mean(axis=1), expected, atol=0.02 * expected.max())


def test_folded_wavevectors_are_equivalent_and_complete(germanium):
    reciprocal = germanium.reciprocal_lattice()
    group = germanium.point_group()
    rotations = np.rint(reciprocal @ group.swapaxes(1, 2) @ np.linalg.inv(reciprocal))
    found = fold(POINTS, rotations)
    # two zone boundaries of one kind, and three of a star
    assert len(found.wavevectors) == len(POINTS) - 3
    assert sorted(found.targets) == list(range(len(POINTS)))
    for column, (first, last) in enumerate(
        zip(found.starts[:-1], found.starts[1:], strict=True)
    ):
        q = found.wavevectors[found.of_column[column]] + found.shifts[column]
        for target in found.targets[first:last]:
            distances = np.abs(POINTS[target] @ rotations - q).max(axis=1)
            assert distances.min() < 1e-9


def test_columns_do_not_see_one_another(crystal):
    together = images(on_path(crystal))
    for column, point in enumerate(POINTS):
        alone = images(on_path(crystal, point[None]))
        assert_allclose(
            together[:, [column]], alone, rtol=1e-9, atol=1e-9 * alone.max()
        )
    # the sixth and the seventh are opposite
    assert_allclose(together[:, 5], together[:, 6], rtol=1e-12)
    assert not np.allclose(together[:, 5], together[:, 7], rtol=0.01)


def test_cells_of_the_grid(germanium):
    a = 2 * germanium.cell.cell.max()
    made = plane(germanium, a * np.eye(3))
    primitive = made.grid.wavevectors @ germanium.cell.cell.T / a
    path = on_path(germanium, primitive, made.grid.energy)
    assert_allclose(images(made), images(path), rtol=1e-9, atol=1e-15)
    # the lattice of a measurement is not quite that of the model
    measured = plane(germanium, 1.02 * a * np.eye(3))
    assert_allclose(images(made), images(measured), rtol=1e-12)
    turned = np.array([[0, a, 0], [0, 0, 1.1 * a], [a, 0, 0]])
    with pytest.raises(ValueError, match="must be that of the model or a multiple"):
        plane(germanium, turned).simulate([germanium.reference])


def test_detailed_balance_and_cold_crystals(silicon):
    # lines much sharper than bins that mirror each other about zero
    energy, points = np.arange(-70.0, 71.0, 4.0), POINTS[[5, 7]]
    made = on_path(silicon, points, energy, temperature=250.0, energy_resolution=1e-3)
    image, compared = images(made), 0
    for column, lines in enumerate(silicon.frequencies([silicon.reference], points)[0]):
        bins = np.rint(lines / 4)
        for line in lines[np.abs(lines / 4 - bins) < 0.45]:
            if (bins == np.rint(line / 4)).sum() > 1:
                continue
            gain, loss = image[
                np.abs(energy[:, None] - [-line, line]).argmin(0), column
            ]
            # splines put a line into its bin within half a percent
            expected = np.exp(-line / (BOLTZMANN * 250))
            assert_allclose(gain / loss, expected, rtol=5e-3)
            compared += 1
    assert compared > 4
    chi = images(clone(made).set_params(quantity="chi", mean_square_displacement=0.01))
    assert_allclose(chi, -chi[::-1], atol=1e-12 * chi.max())
    cold = images(clone(made).set_params(temperature=0.0))
    assert np.abs(cold[energy < -3]).max() < 1e-12 * cold.max()
    assert np.isfinite(cold).all()


def test_displacements_damp(germanium):
    still = images(on_path(germanium, mean_square_displacement=0.0))
    squares = ((POINTS @ germanium.reciprocal_lattice()) ** 2).sum(axis=1)
    damped = images(on_path(germanium, mean_square_displacement=0.01))
    tiny = 1e-12 * still.max()
    assert_allclose(damped, still * np.exp(-0.01 * squares), rtol=1e-9, atol=tiny)
    # of both germanium atoms by symmetry, alike in all directions
    computed = images(on_path(germanium))
    u = -np.log(computed.sum(axis=0) / still.sum(axis=0)) / squares
    assert_allclose(u, u.mean(), rtol=1e-6)
    phonons = germanium.to_phonopy()
    phonons.run_mesh([11] * 3, with_eigenvectors=True, is_mesh_symmetry=False)
    phonons.run_thermal_displacements(temperatures=[300])
    theirs = phonons.thermal_displacements.thermal_displacements
    # without the neighbourhood of the zone centre
    assert_allclose(u.mean(), theirs.mean(), rtol=0.1)
    asked = images(
        on_path(germanium, mean_square_displacement=0.0),
        nuisance={"mean_square_displacement": 0.01},
    )
    assert_allclose(asked, damped, rtol=1e-12, atol=tiny)


NUISANCE = {
    "energy_resolution": 1.7,
    "energy_resolution_slope": 0.3,
    "energy_offset": 0.2,
    "mean_square_displacement": 0.002,
    "temperature": 290.0,
}


@pytest.mark.parametrize("quantity", ["sqe", "chi"])
def test_jacobian_is_that_of_finite_differences(crystal, quantity):
    made = on_path(
        crystal, energy=np.arange(-13.0, 60.0, 3.0), quantity=quantity, mesh=4
    )
    ranges = {"energy_resolution": (1.5, 2.0), "energy_resolution_slope": (0.2, 0.4)}
    ranges |= {"energy_offset": (0.0, 0.5), "temperature": (280.0, 300.0)}
    options = {"nuisance": NUISANCE, "nuisance_ranges": ranges}
    point = made.reference
    jacobian, spectra = made.jacobian([point], return_spectra=True, **options)
    assert_allclose(spectra, made.simulate([point], **options), rtol=1e-10)

    def slope(ends, step):
        return (ends[0] - ends[1]) / (2 * step)

    step = 1e-4
    columns = list(range(0, len(point), max(1, len(point) // 5)))
    for column in columns:
        moved = point + step * np.array([[1], [-1]]) * np.eye(len(point))[column]
        difference = slope(made.simulate(moved, **options), step)
        # of the second order; relative to the largest slope
        error = abs(jacobian[0, :, column] - difference)
        assert error.max() < 5e-5 * abs(difference).max()
    for column, name in enumerate(NUISANCE, start=len(point)):
        step = 1e-5 * (1000 if name == "temperature" else 1)
        values = NUISANCE[name] + step * np.array([1, -1])
        moved = {"nuisance": NUISANCE | {name: values}, "nuisance_ranges": ranges}
        difference = slope(made.simulate([point] * 2, **moved), step)
        error = abs(jacobian[0, :, column] - difference)
        assert error.max() < 5e-5 * abs(difference).max()


def test_torch_has_the_same_gradient(aluminium):
    mask = np.arange(30 * len(POINTS)).reshape(30, -1) % 7 > 0
    made = on_path(aluminium, mask=mask)
    visible = torch.as_tensor(made.grid.mask.ravel())
    parameters = torch.tensor(made.reference[None], requires_grad=True)
    made.simulate_tensor(parameters)[:, visible].square().sum().backward()
    jacobian, spectra = made.jacobian([made.reference], return_spectra=True)
    assert_array_equal(np.isnan(spectra[0]), ~mask.ravel())
    assert_array_equal(np.isnan(jacobian[0]).all(axis=1), ~mask.ravel())
    expected = 2 * np.nansum(spectra[..., None] * jacobian, axis=1)
    assert_allclose(parameters.grad, expected)


@pytest.mark.parametrize("width", [0.0, 0.04])
def test_gradients_are_those_of_jacobians(crystal, width):
    """With repeated wavevectors, hidden pixels and a background."""
    points = np.concatenate([POINTS, POINTS[:, [1, 0, 2]], -POINTS[3:5]])
    mask = np.arange(30 * len(points)).reshape(30, -1) % 7 > 0
    made = on_path(
        crystal,
        points,
        mask=mask,
        mesh=4,
        q_resolution=width,
        background=[[0.1, 0.01], [0.002, 0.0]],
    )
    rng = np.random.default_rng(0)
    rows = made.reference * rng.uniform(0.99, 1.01, (3, len(made.reference)))
    slopes = rng.normal(size=(3, made.grid.n_pixels))
    slopes[:, ~mask.ravel()] = np.nan
    nuisance = {"temperature": [100.0, 200.0, 300.0]}
    found = made.gradient(rows, slopes, nuisance=nuisance)
    jacobian = made.jacobian(rows, nuisance=nuisance)
    jacobian = jacobian[..., : rows.shape[1]]
    expected = np.nansum(slopes[..., None] * jacobian, axis=1)
    scale = np.abs(expected).max()
    assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * scale)
    for memory in (0.05, 1.0):
        with config_context(working_memory=memory):
            again = made.gradient(rows, slopes, nuisance=nuisance)
        assert_allclose(again, found, rtol=1e-7, atol=1e-9 * scale)
    with pytest.raises(ValueError, match="slopes must have shape"):
        made.gradient(rows, slopes[:, 1:])


def test_unstable_sets_are_named_once(aluminium):
    made = on_path(aluminium)
    rows = [made.reference, -made.reference, -0.5 * made.reference]
    nuisance = {"q_resolution": [0.01, 0.02, 0.01]}
    with (
        pytest.warns(UnstableCrystalWarning, match="2 of 3 parameter sets") as caught,
        config_context(working_memory=0.05),
    ):
        spectra = made.simulate(rows, nuisance=nuisance)
    assert len(caught) == 1
    assert np.isfinite(spectra).all()
    with pytest.warns(UnstableCrystalWarning) as caught:
        made.jacobian(rows[1:])
    assert len(caught) == 1
    # the zone centre alone, where all that is seen is zero but for rounding
    on_path(aluminium, [[1, 1, 1]]).simulate([aluminium.reference])


def test_temperature_may_differ_between_samples(germanium):
    made = on_path(germanium, mesh=6)
    kelvins = [0.0, 100.0, 500.0]
    rows = np.repeat(made.reference[None], 3, axis=0)
    together = made.simulate(rows, nuisance={"temperature": kelvins})
    for spectrum, kelvin in zip(together, kelvins, strict=True):
        alone = clone(made).set_params(temperature=kelvin)
        assert_allclose(spectrum, alone.simulate(rows[:1])[0], rtol=1e-12)


def test_samples_and_blocks_do_not_see_one_another(germanium):
    made = plane(germanium, 2 * germanium.cell.cell.max() * np.eye(3))
    rng = np.random.default_rng(0)
    rows = made.reference * rng.uniform(0.98, 1.02, (5, len(made.reference)))
    nuisance = {
        "energy_resolution": np.array([1.0, 1.5, 1.0, 2.0, 1.2]),
        "q_resolution": np.array([0.0, 0.02, 0.0, 0.02, 0.03]),
    }
    ranges = {"energy_resolution": (1.0, 2.0)}
    options = {"nuisance": nuisance, "nuisance_ranges": ranges}
    together = made.simulate(rows, **options)
    with config_context(working_memory=0.05):
        tight = made.simulate(rows, **options)
    assert_allclose(tight, together, rtol=1e-9, atol=1e-15)
    options["nuisance"] = {"energy_resolution": nuisance["energy_resolution"]}
    changes = made.jacobian(rows, **options)
    with config_context(working_memory=0.05):
        in_blocks = made.jacobian(rows, **options)
    assert_allclose(in_blocks, changes, rtol=1e-6, atol=1e-12 * np.abs(changes).max())
    for i in range(5):
        own = {name: values[i] for name, values in nuisance.items()}
        alone = made.simulate(rows[i], nuisance=own, nuisance_ranges=ranges)
        assert_allclose(together[i], alone[0], rtol=1e-9, atol=1e-15)


def test_calls_take_no_more_than_the_memory_asked_for(germanium):
    a = 2 * germanium.cell.cell.max()
    axis = np.linspace(-1.0, 1.0, 25)
    grid = CrystalGrid(
        np.arange(2.0, 40, 0.5), axis + 0.013, axis, [0, 0.5], lattice=a * np.eye(3)
    )
    made = SingleCrystalSimulator(germanium, grid, energy_resolution=1.0)
    rows = np.repeat(made.reference[None], 8, axis=0)
    slopes = np.ones((8, grid.n_pixels))
    calls = {
        "simulate": lambda made: made.simulate(rows),
        "jacobian": lambda made: made.jacobian(rows, return_spectra=True),
        "gradient": lambda made: made.gradient(rows, slopes),
    }
    for name, call in calls.items():
        for memory in (4, 16):
            made.jacobian(rows[:1])  # what is prepared once
            with config_context(working_memory=memory):
                tracemalloc.start()
                found = call(made)
                largest = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            arrays = found if isinstance(found, tuple) else (found,)
            largest -= sum(array.nbytes for array in arrays)
            assert largest < memory * 2**20, (name, memory)
            # and it is made use of
            assert largest > 0.3 * 2**20 * min(memory, 8.0), (name, memory)


def test_q_resolution_averages(germanium):
    sigma, energy = 0.05, np.arange(1.0, 45.0, 1.0)
    points = POINTS[[0, 1, 4, 5]]  # no zone centre, near which intensity diverges
    made = on_path(germanium, points, energy, q_resolution=sigma)
    reciprocal = germanium.reciprocal_lattice()
    rng = np.random.default_rng(0)
    moves = sigma * rng.standard_normal((4000, 3)) @ np.linalg.inv(reciprocal)
    moves = np.concatenate([moves, -moves])
    for column in (0, 3):
        around = images(on_path(germanium, points[column] + moves, energy))
        expected = around.mean(axis=1)
        # 8000 random points err by half a percent of the largest
        found = images(made)[:, column]
        assert_allclose(found, expected, atol=0.01 * expected.max())
        sharp = images(on_path(germanium, points[[column]], energy))[:, 0]
        assert abs(sharp - expected).max() > 0.03 * expected.max()
    more = images(clone(made).set_params(q_resolution=QResolution(sigma, samples=7)))
    assert_allclose(images(made), more, atol=5e-3 * more.max())
    point = made.reference
    asked = images(on_path(germanium, points, energy), nuisance={"q_resolution": sigma})
    assert_allclose(asked, images(made), rtol=1e-9)
    change = made.jacobian([point], nuisance=["q_resolution", "energy_offset"])[0]
    ends = made.simulate([point] * 2, nuisance={"q_resolution": [0.051, 0.049]})
    difference = (ends[0] - ends[1]) / 0.002
    assert_allclose(change[:, -2], difference, atol=1e-3 * abs(difference).max())


def test_axes_of_the_resolution(germanium):
    a = 2 * germanium.cell.cell.max()
    round_one = plane(germanium, a * np.eye(3), q_resolution=0.03)
    three = clone(round_one).set_params(q_resolution=[0.03, 0.03, 0.03])
    assert_allclose(images(three), images(round_one), rtol=1e-9)
    doubled = images(three, nuisance={"q_resolution": 2.0})
    assert_allclose(
        doubled, images(clone(three).set_params(q_resolution=0.06)), rtol=1e-9
    )
    # flat voxels have a variance of a twelfth
    step = 2 * np.pi / a * np.array([0.25, 0.25, 0.5]) / 12**0.5
    voxels = clone(round_one).set_params(q_resolution=QResolution(average_voxels=True))
    equal = clone(round_one).set_params(q_resolution=step)
    assert_allclose(images(voxels), images(equal), rtol=1e-9)
    with pytest.raises(ValueError, match="average_voxels needs a CrystalGrid"):
        images(on_path(germanium, q_resolution=QResolution(average_voxels=True)))


def test_cloud_has_the_moments_of_a_gaussian():
    root = np.random.default_rng(0).standard_normal((3, 3))
    points, shares = cloud(root @ root.T, 3)
    assert_allclose(shares.sum(), 1.0)
    assert_allclose(shares @ points, 0.0, atol=1e-12)
    assert_allclose((shares * points.T) @ points, root @ root.T, rtol=1e-9)
    assert len(cloud(np.zeros((3, 3)), 3)[1]) == 1
    assert len(cloud(np.diag([1.0, 0, 0]), 5)[1]) == 5


def test_background_and_units(germanium):
    mask = np.arange(30 * len(POINTS)).reshape(30, -1) % 5 > 0
    plain = on_path(germanium, mask=mask)
    image = images(plain)
    made = clone(plain).set_params(background=[[0.1, 0.0, 0.02], [0.003, 0.0, 0.0]])
    moduli = np.linalg.norm(POINTS @ germanium.reciprocal_lattice(), axis=1)
    shape = 0.1 + 0.02 * moduli**2 + 0.003 * plain.grid.energy[:, None]
    assert_allclose(images(made), image + np.nanmean(image) * shape, rtol=1e-9)
    absolute = clone(plain).set_params(units="barn/meV/sr")
    length = scattering_lengths(["Ge"]).coherent_length[0]
    assert_allclose(images(absolute), image * length**2 / 100, atol=1e-12)
    change, spectra = made.jacobian([made.reference], return_spectra=True)
    assert_allclose(spectra, made.simulate([made.reference]))
    step = 1e-4 * np.eye(len(made.reference))[0]
    ends = made.simulate([made.reference + step, made.reference - step])
    difference = (ends[0] - ends[1]) / 2e-4
    assert_allclose(change[0, :, 0], difference, atol=1e-6 * np.nanmax(abs(difference)))


# a search passes unstable sets
@pytest.mark.filterwarnings("ignore::skphonon.physics.stability.UnstableCrystalWarning")
def test_one_orientation_is_inverted(aluminium):
    axis = np.linspace(-3, 3, 13)
    grid = CrystalGrid(
        np.arange(6.0, 45.0, 3.0),
        axis,
        axis,
        0.0,
        lattice=4.04 * np.eye(3),
        psi=20.0,
        incident_energy=70.0,
        two_theta=(3, 130),
    )
    made = SingleCrystalSimulator(
        aluminium, grid, energy_resolution=1.5, mean_square_displacement=0.01
    )
    truth = made.reference * [1.1, 0.9, 1.05, 0.9, 1.1]
    X = made.simulate([truth])
    inverter = LeastSquaresInverter(made, search=Search(initial=made.reference)).fit(X)
    assert_allclose(inverter.predict(X)[0], truth, rtol=1e-4, atol=1e-5)
    simplex = NelderMeadInverter(made, max_evaluations=300).fit(X)
    found = made.simulate(simplex.predict(X))
    assert nmse(X, found)[0] < 0.1 * nmse(X, made.simulate([made.reference]))[0]
    network = ImplicitSpectrumModel((8,), trainer=Trainer(max_epochs=1), random_state=0)
    network.fit_simulator(made, 4, n_pixels=50)
    assert_array_equal(np.isnan(network.simulate([truth])), np.isnan(X))
    hot = clone(made).set_params(temperature=600.0)
    joint = JointSimulator(
        {"cold": made, "hot": hot}, shared_nuisances=["q_resolution"]
    )
    assert joint.simulate([truth]).shape == (1, 2 * grid.n_pixels)
    assert "energy_offset (hot)" in joint.nuisance_names


def test_clones_pickles_and_files_are_small(aluminium, tmp_path):
    made = plane(aluminium, 4.04 * np.eye(3))
    X = made.simulate([made.reference])
    path = tmp_path / "crystal.skops"
    save_model(made, path)
    assert path.stat().st_size < 10_000
    for other in (clone(made), pickle.loads(pickle.dumps(made)), load_model(path)):
        assert_array_equal(other.simulate([made.reference]), X)
    assert len(pickle.dumps(made)) < 5000
    assert made.is_stable([made.reference, -made.reference]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "'temperature'"),
        ({"quantity": "dos"}, "'quantity'"),
        ({"q_resolution": [0.1, 0.1]}, "in Q must be one number or three"),
        ({"q_resolution": [0.1, -0.1, 0.1]}, "in Q must be one number or"),
        ({"scattering": "total"}, "'scattering'"),
        ({"scattering": Scattering(n_phonons=2)}, "by one phonon, got Scattering"),
        ({"scattering": Scattering(incoherent=True)}, "coherent scattering by one"),
        ({"background": [1.0]}, "background must be a finite array"),
        ({"mesh": (4, 4)}, "mesh must be a number"),
        ({"energy_resolution": lambda e: -e}, "at least 0 meV"),
    ],
)
def test_bad_settings_are_named(aluminium, options, message):
    with pytest.raises(ValueError, match=message):
        on_path(aluminium, **options).simulate([aluminium.reference])


def test_bad_nuisances_are_named(aluminium):
    made = on_path(aluminium)
    with pytest.raises(ValueError, match="nuisance must name some of"):
        made.simulate([made.reference], nuisance={"lattice_scale": 1.0})
    # spectra are even in the width
    change = made.jacobian([made.reference], nuisance="q_resolution")
    assert (change[..., -1] == 0).all()


# Reciprocal lattice points of a polar crystal: optical modes by direction of approach.
def optical(salt, point, **options):
    """Intensities of the TO and LO modes of rock salt at a conventional h k l."""
    own = np.asarray(point, dtype=float) @ salt.cell.cell.T / CUBIC_SALT
    made = on_path(
        salt, [own], np.arange(10.0, 40, 0.25), energy_resolution=0.3, **options
    )
    spectrum, energy = images(made)[:, 0], made.grid.axes()[0]
    transverse = spectrum[(energy > 15) & (energy < 25)].sum() / 4
    return np.array([transverse, spectrum[energy > 29].sum() / 4])


CUBIC_SALT = 2 * 2.84086847  # Angstrom


def test_a_reciprocal_lattice_point_is_the_mean_over_directions(salt):
    """LO weight goes with the square of the component of Q along the direction."""
    at_point = optical(salt, [3, 1, 1])
    assert_allclose(at_point, [0.0342, 0.0081], atol=1e-4)
    beside = [
        optical(salt, [3, 1, 1] + 1e-3 * np.array(step))
        for step in ([1, 0, 0], [0, 1, 0], [0, 0, 1])
    ]
    assert_allclose(beside[1], [0.0467, 0.0022], atol=1e-4)  # as was always right
    assert_allclose(at_point, np.mean(beside, axis=0), rtol=2e-3)


@pytest.mark.parametrize("direction", [[1, 0, 0], [0, 1, 0], [1, 2, 3], [3, 1, 1]])
def test_a_direction_of_approach_gives_its_limit(salt, direction):
    direction = np.array(direction) / np.linalg.norm(direction)
    own = direction @ salt.cell.cell.T / CUBIC_SALT
    limit = optical(salt, [3, 1, 1], q_direction=own)
    near = optical(salt, [3, 1, 1] + 1e-3 * direction)
    assert_allclose(limit, near, atol=2e-4)


def test_derivatives_at_a_reciprocal_lattice_point(salt):
    model = salt.replace(n_shells=2)
    model = model.replace(reference=model.parameters(salt.to_phonopy()))
    points = [[1, 1, 1], [0.2, 0.1, 0.0], [2, 0, 0]]
    made = on_path(model, points, energy_resolution=1.0, mesh=4)
    row = model.reference
    jacobian = made.jacobian([row])[0]
    for number in range(len(row)):
        step = 1e-4 * np.eye(len(row))[number]
        above, below = made.simulate([row + step, row - step])
        expected = (above - below) / 2e-4
        assert_allclose(
            jacobian[:, number], expected, atol=1e-4 * np.abs(expected).max()
        )


def test_a_direction_must_be_one(salt):
    made = on_path(salt, [[1, 1, 1]], q_direction=[0, 0, 0])
    with pytest.raises(ValueError, match="q_direction must be three finite numbers"):
        made.simulate([salt.reference])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"q_samples": 5}, r"give q_resolution=QResolution\(width, samples="),
        ({"average_voxels": True}, r"give q_resolution=QResolution\(width, average_"),
        ({"scattering_lengths": {"Ge": 8.0}}, r"give scattering=Scattering\(scatt"),
        ({"memory": 8.0}, r"sklearn.config_context\(working_memory="),
    ],
    ids=str,
)
def test_old_keywords_tell_the_new_ones(aluminium, old, new):
    with pytest.raises(TypeError, match=new):
        on_path(aluminium, **old)
    with pytest.raises(ValueError, match=new):
        on_path(aluminium).set_params(**old)


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ({"q_resolution": 0.03}, 0.03),
        (
            {"q_resolution": [0.0, 0.0, 0.1], "average_voxels": True},
            QResolution([0.0, 0.0, 0.1], average_voxels=True),
        ),
        ({"q_resolution": 0.03, "q_samples": 4}, QResolution(0.03, samples=4)),
    ],
    ids=str,
)
def test_old_pickles_load(germanium, old, now):
    before = {"average_voxels": False, "q_samples": 3, "memory": 32.0, **old}
    before["scattering_lengths"] = {"Ge": (7.0, 0.2)}
    made = plane(germanium, 2 * germanium.cell.cell.max() * np.eye(3))
    made_before = copy.copy(made)
    vars(made_before).update(before)
    del made_before.scattering
    loaded = pickle.loads(pickle.dumps(made_before))
    made.set_params(q_resolution=now, scattering__scattering_lengths={"Ge": (7.0, 0.2)})
    assert repr(loaded.scattering) == repr(made.scattering)
    assert loaded.q_resolution == now
    assert vars(loaded).keys() == made.get_params(deep=False).keys()
    assert_array_equal(images(loaded), images(made))


def test_a_resolution_is_one_object(germanium):
    made = on_path(germanium, POINTS[[0, 4]], np.arange(1.0, 45.0, 4.0))
    widths = [0.05, QResolution(0.05), np.float64(0.05)]
    found = [images(clone(made).set_params(q_resolution=each)) for each in widths]
    assert_array_equal(found[1:], found[:1] * 2)
    made.set_params(q_resolution=QResolution(0.05, samples=5))
    assert made.nuisance_reference[made.nuisance_names.index("q_resolution")] == 0.05
    asked = on_path(
        germanium,
        POINTS[[0, 4]],
        np.arange(1.0, 45.0, 4.0),
        q_resolution=QResolution(samples=5),
    )
    varied = images(asked, nuisance={"q_resolution": 0.05})
    assert_array_equal(varied, images(made))
    assert not np.array_equal(varied, found[0])
    with pytest.raises(ValueError, match="'samples' parameter of QResolution"):
        QResolution(0.1, samples=0)


def test_directions_average_polynomials_of_degree_nine():
    directions, shares = directions_of_approach()
    x, y, z = directions.T
    assert shares.sum() == pytest.approx(1.0)
    for value, expected in [
        (x**2, 1 / 3),
        (x**4, 1 / 5),
        (x**2 * y**2, 1 / 15),
        (x**4 * z**2, 1 / 35),
        (x**2 * y**2 * z**2, 1 / 105),
        (y**8, 1 / 9),
        (x**4 * y**4, 1 / 105),
        (x * y, 0.0),
    ]:
        assert shares @ value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("off", [0.0, 1e-6, -1e-6, 9e-5, -9e-5])
def test_points_that_are_nearly_lattice_points_are_on_them(salt, off):
    """Rounded axes and narrow resolutions put several points beside one centre."""
    energy = np.arange(12.0, 40.0)
    exact = on_path(salt, [[2, 0, 0]], energy)
    expected = images(exact)[:, 0]
    for near in ([2 + off, 0, 0], [2 + off, -off, 0], [2, off, -off]):
        several = images(on_path(salt, [[2, 0, 0], near, [-2, off, 0]], energy))
        assert_allclose(several, np.tile(expected, (3, 1)).T, rtol=1e-9, atol=1e-12)
    limit = images(on_path(salt, [[2, 0, 0]], energy, q_direction=[1, 1, 0]))
    near = images(on_path(salt, [[2 - off, 0, 0]], energy, q_direction=[1, 1, 0]))
    assert_allclose(near, limit, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("width", [1e-6, 1e-5])
def test_a_narrow_resolution_about_a_lattice_point_loses_nothing(salt, width):
    energy = np.arange(12.0, 40.0)
    sharp = images(on_path(salt, [[2, 0, 0]], energy))
    broad = images(on_path(salt, [[2, 0, 0]], energy, q_resolution=width))
    assert_allclose(broad, sharp, rtol=1e-6, atol=1e-12)
