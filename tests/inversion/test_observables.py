"""Observables with errors: other computations, finite differences, limits, errors."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import constants as si

from skphonon import (
    ForceConstantModel,
    PathGrid,
    SingleCrystalSimulator,
    load_aluminium_model,
)
from skphonon.inversion import (
    ElasticConstants,
    HeatCapacity,
    MeanSquareDisplacement,
    PhononEnergies,
    SoundVelocities,
    fit_observables,
)
from skphonon.physics.elasticity import elastic_constants, sound_matrices
from skphonon.physics.zone.thermodynamics import PhononProperties

CUBE = 4.05 * np.eye(3)
MESH = 6


def points_anywhere(n, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2, (n, 3))


def energies_of(model, n=6, **options):
    return PhononEnergies(
        model, points_anywhere(n), np.full(n, 20.0), 0.2, modes=1, **options
    )


def every_observable(model):
    n_modes = 3 * model.n_atoms
    found = [
        energies_of(model),
        MeanSquareDisplacement(model, [10.0, 300.0], [0.005, 0.01], 0.001, mesh=MESH),
        HeatCapacity(model, [40.0, 300.0], [10.0, 20.0], 1.0, mesh=MESH),
    ]
    if n_modes > 3:
        centre = PhononEnergies.at_zone_centre(model, 30.0, 0.1, n_modes - 1)
        found += [centre]
    if model.born_charges is None or model.inversion_partners() is not None:
        found += [
            ElasticConstants(model, {"C11": (100.0, 1.0), "C44": (30.0, 1.0)}),
            SoundVelocities(
                model, [[1, 0, 0], [2, 1, 0.3]], [2, 0], [6000.0, 3000.0], 10.0
            ),
        ]
    return found


@pytest.mark.parametrize("crystal", ["aluminium", "silicon", "salt", "zincblende"])
def test_derivatives_are_those_of_finite_differences(crystal, request):
    model = request.getfixturevalue(crystal)
    row = np.asarray(model.reference, dtype=float)
    rng = np.random.default_rng(1)
    row = row * (1 + 0.02 * rng.standard_normal(len(row)))
    along = rng.standard_normal(len(row)) * np.abs(row).max()
    step = 1e-5
    for observable in every_observable(model):
        residual, slopes = observable.residuals(row)
        up, down = (observable.residuals(row + s * along)[0] for s in (step, -step))
        assert residual.shape == (observable.n_values,)
        assert slopes.shape == (observable.n_values, len(row))
        expected = (up - down) / (2 * step)
        assert_allclose(
            slopes @ along, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
        )


def test_energies_are_those_of_the_model(silicon):
    observable = energies_of(silicon)
    expected = silicon.frequencies(silicon.reference, observable.qpoints)[0, :, 1]
    assert_allclose(observable.calculate(silicon.reference)[0], expected, rtol=1e-9)


def test_degenerate_branches_count_as_their_mean(aluminium):
    row = aluminium.reference * [1, 0.9, 1.1, 1.2, 0.7]
    along = [[0.0, 0.3, 0.3], [0.0, 0.3, 0.3]]  # [100] of the cube: two transverse
    pair = PhononEnergies(aluminium, along, [20.0, 20.0], 0.1, modes=[0, 1])
    values, slopes = pair.calculate(row)
    assert_allclose(values[0], values[1], rtol=1e-12)
    assert_allclose(slopes[0], slopes[1], rtol=1e-12)
    step = 1e-5 * np.eye(5)
    change = [
        (pair.calculate(row + s)[0] - pair.calculate(row - s)[0])[0] / 2e-5
        for s in step
    ]
    assert_allclose(slopes[0], change, atol=1e-5)


def test_wavevectors_in_units_of_a_conventional_cell(aluminium):
    cube = 2 * aluminium.lattice.max() * np.eye(3)
    hkl = points_anywhere(5)
    cartesian = hkl * 2 * np.pi / cube[0, 0]
    reduced = cartesian @ np.linalg.inv(aluminium.reciprocal_lattice())
    one, other = (
        PhononEnergies(aluminium, q, np.full(5, 20.0), 0.1, modes=2, lattice=lattice)
        for q, lattice in ((hkl, cube), (reduced, None))
    )
    for a, b in zip(
        one.calculate(aluminium.reference),
        other.calculate(aluminium.reference),
        strict=True,
    ):
        assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("crystal", ["silicon", "zincblende"])
def test_strengths_are_those_of_simulated_spectra(crystal, request):
    model = request.getfixturevalue(crystal)
    hkl = points_anywhere(4, seed=3)
    energy = np.arange(0.5, 80.0, 0.1)
    simulator = SingleCrystalSimulator(
        model,
        PathGrid(energy, hkl),
        temperature=0.0,
        energy_resolution=0.3,
        mean_square_displacement=0.0,
    )
    spectra = simulator.grid.to_image(simulator.simulate([model.reference]))[0]
    branches = PhononEnergies(model, hkl, np.ones(4), 1.0).branches(model.reference)
    found, shares = branches.found.energies, branches.strengths
    # a spectrum goes with |F|^2 / E
    first, second, third = (energy**k @ spectra for k in (1, 2, 3))
    assert_allclose(second / first, (shares * found).sum(axis=1), rtol=2e-3)
    assert_allclose(third / first, (shares * found**2).sum(axis=1), rtol=2e-3)


def test_energies_without_label_take_the_branch_that_is_seen(aluminium):
    row = aluminium.reference
    # along [100] from a lattice point on that axis, only the longitudinal branch
    hkl = [[2.4, 0.0, 0.0], [2.0, 0.4, 0.0], [2.0, 0.4, 0.0]]
    every = PhononEnergies(aluminium, hkl, np.ones(3), 0.1, lattice=CUBE)
    energies = every.branches(row).found.energies
    assert_array_equal(every.seen(every.branches(row))[0], [False, False, True])
    given = energies[[0, 1, 2], [2, 0, 2]] * [0.7, 1.01, 0.99]
    table = PhononEnergies(aluminium, hkl, given, 0.1, lattice=CUBE)
    # the longitudinal branch has no strength at the second and third point
    assert_array_equal(table.assigned_modes(row), [2, 0, 0])
    alike = table.replace(least_strength=None)
    assert_array_equal(alike.assigned_modes(row)[1:], [0, 2])
    labelled = table.replace(modes=[None, 2, None])
    assert_array_equal(labelled.assigned_modes(row), [2, 2, 0])


def test_branches_that_are_alike_widen_the_error(aluminium):
    row = aluminium.reference
    hkl = points_anywhere(1)
    every = PhononEnergies(aluminium, hkl, [20.0], 1.0, least_strength=None)
    energies = every.branches(row).found.energies[0]
    middle = energies[:2].mean()
    table = every.replace(energies=[middle], std=10.0 * (energies[1] - energies[0]))
    settled = table.settled(row)
    assert settled.errors[0] > table.errors[0]
    sharp = every.replace(energies=[energies[0]], std=0.01)
    assert_allclose(sharp.settled(row).errors, sharp.errors)
    # held fixed, whatever the constants
    assert_allclose(settled.calculate(row)[0], table.calculate(row)[0])


def test_the_zone_centre_of_a_polar_crystal(salt):
    row = salt.reference
    without, along = (
        PhononEnergies.at_zone_centre(
            salt, [30.0] * 3, 0.1, [3, 4, 5], direction=direction
        )
        for direction in (None, [1.0, 0.0, 0.0])
    )
    transverse = without.calculate(row)[0]
    assert_allclose(transverse, transverse[0], rtol=1e-6)
    split = along.calculate(row)[0]
    assert_allclose(split[:2], transverse[:2], rtol=1e-6)
    near = salt.frequencies(row, [[1e-4, 0.0, 0.0]])[0, 0, 3:]
    assert_allclose(split, near, rtol=1e-5)
    assert split[2] > 1.01 * transverse[2]
    # the same at a lattice point, in the phases of the bonds of the first zone
    there = along.replace(qpoints=np.array([[1.0, 1.0, 0.0]] * 3))
    assert_allclose(there.calculate(row)[0], split, rtol=1e-9)


def test_elastic_constants_are_those_of_the_model(silicon):
    row = 0.9 * silicon.reference
    given = {"C11": (165.7, 1.0), "C12": (63.9, 1.0), "C44": (79.6, 0.8)}
    found = ElasticConstants(silicon, given)
    stiffness = elastic_constants(silicon, row)[0]
    expected = stiffness[[0, 0, 3], [0, 1, 3]]
    assert_allclose(found.calculate(row)[0], expected, rtol=1e-10)
    table = found.table(row)
    assert table["measured"].tolist() == [165.7, 63.9, 79.6]
    assert_allclose(
        table["deviation"], (expected - table["measured"]) / [1.0, 1.0, 0.8]
    )


@pytest.mark.parametrize("crystal", ["aluminium", "silicon"])
def test_sound_has_the_velocity_of_long_waves(crystal, request):
    model = request.getfixturevalue(crystal)
    row = model.reference
    directions = np.array([[1, 0, 0], [1, 1, 0], [1.0, 2.0, 0.4]])
    q = 2e-3 * directions / np.linalg.norm(directions, axis=1)[:, None]
    reduced = q @ np.linalg.inv(model.reciprocal_lattice())
    energies = model.frequencies(row, reduced)[0, :, :3]
    metres = energies * 1e-3 * si.e / si.hbar / 2e-3 * 1e-10
    for branch in range(3):
        sound = SoundVelocities(
            model, directions, [branch] * 3, metres[:, branch], 10.0
        )
        assert_allclose(sound.calculate(row)[0], metres[:, branch], rtol=1e-4)


@pytest.fixture
def turning():
    """A tetragonal crystal of three shells, whose constants change as it is turned."""
    bare = ForceConstantModel(np.diag([3.2, 3.2, 6.0]), "C", None, n_shells=3)
    lengths = np.linalg.norm(bare.bonds, axis=1)
    along = bare.bonds[:, :, None] * bare.bonds[:, None] / lengths[:, None, None] ** 2
    pairs = (200 / lengths**4)[:, None, None] * (along + 0.06 * np.eye(3))
    constants = np.concatenate([[pairs.sum(axis=0)], -pairs])
    return bare.replace(reference=bare.parameters(constants))


def test_sound_is_that_of_the_waves_where_elastic_constants_are_means(turning):
    row = turning.reference
    q = 1e-3 * np.array([[1.0, 0, 0], [0, 0, 1.0]])
    reduced = q @ np.linalg.inv(turning.reciprocal_lattice())
    slowest = turning.frequencies(row, reduced)[0, :, 0]
    metres = slowest * 1e-3 * si.e / si.hbar / 1e-3 * 1e-10
    sound = SoundVelocities(turning, q, [0, 0], metres, 10.0)
    assert metres.max() > 1.5 * metres.min()  # elastic constants make both C44
    assert_allclose(sound.calculate(row)[0], metres, rtol=1e-4)
    given = {"C44": (elastic_constants(turning, [row])[0][3, 3], 0.1)}
    with pytest.warns(UserWarning, match="differ by .*% of the largest. Their mean"):
        found = ElasticConstants(turning, given)
    assert found.violation(row) > 0.05
    quiet = ElasticConstants(turning.replace(reference=None), given)
    start = (row, 0.01 * np.abs(row))
    with pytest.warns(UserWarning, match="change as the crystal is turned"):
        fit_observables(turning.replace(reference=None), quiet, prior=start)


def test_constants_that_symmetry_makes_zero_are_refused(aluminium, turning):
    message = "hold C14, which is zero by the symmetry .* C11, C12, C44 are independent"
    with pytest.raises(ValueError, match=message):
        ElasticConstants(aluminium, {"C11": (107.0, 1.0), "C14": (1.0, 1.0)})
    with pytest.raises(ValueError, match="C16, which is zero"):
        ElasticConstants(turning, {"C16": (1.0, 1.0)})


def test_sound_agrees_with_group_velocities_of_phonopy(silicon):
    phonons = silicon.to_phonopy()
    direction = np.array([1.0, 0.4, 0.2])
    reduced = 1e-2 * direction @ np.linalg.inv(silicon.reciprocal_lattice())
    phonons.run_qpoints([reduced], with_group_velocities=True)
    velocities = phonons.qpoints.group_velocities[0, :3]
    # phase velocity: the part of the group velocity along the wave; THz Angstrom
    along = 100 * velocities @ direction / np.linalg.norm(direction)
    sound = SoundVelocities(silicon, [direction] * 3, [0, 1, 2], np.sort(along), 10.0)
    assert_allclose(sound.calculate(silicon.reference)[0], np.sort(along), rtol=1e-3)


def test_means_over_the_zone_are_those_of_the_model(salt):
    row = salt.reference
    properties = PhononProperties(salt, [row], mesh=MESH)
    kelvins = [0.0, 50.0, 300.0]
    tensors = properties.displacement_tensors(kelvins)[0]
    traces = np.trace(tensors, axis1=2, axis2=3) / 3
    found = [
        MeanSquareDisplacement(salt, kelvins, traces[:, 0], 1e-4, atom=a, mesh=MESH)
        for a in (0, 1, None)
    ]
    assert_allclose(found[0].calculate(row)[0], traces[:, 0], rtol=1e-10)
    assert_allclose(found[1].calculate(row)[0], traces[:, 1], rtol=1e-10)
    assert_allclose(found[2].calculate(row)[0], traces.mean(axis=1), rtol=1e-10)
    heat = HeatCapacity(salt, kelvins[1:], [1.0, 1.0], 0.1, mesh=MESH)
    expected = properties.heat_capacity(kelvins[1:])[0]
    assert_allclose(heat.calculate(row)[0], expected, rtol=1e-10)


def test_heat_capacity_when_hot_and_cold():
    model = load_aluminium_model()
    row = model.reference
    hot = HeatCapacity(model, [1e5, 300.0, 20.0], [24.9, 24.0, 0.2], 0.1)
    values, slopes = hot.calculate(row)
    assert_allclose(values[0], 3 * si.R, rtol=1e-5)
    assert_allclose(
        values,
        PhononProperties(model, [row]).heat_capacity(hot.temperatures)[0],
        rtol=4e-3,
    )
    assert (np.abs(slopes[0]) < 1e-3 * np.abs(slopes[2])).all()


@pytest.mark.parametrize("kelvins", [0.02, 0.5, 1.5])
def test_heat_capacities_near_zero_are_those_of_sound(aluminium, kelvins):
    heat = HeatCapacity(aluminium, [kelvins, 300.0], [1e-4, 22.9], 0.1)
    found, slopes = heat.calculate(aluminium.reference)
    # the law of Debye, directions by a rule of Gauss
    heights, weights = np.polynomial.legendre.leggauss(24)
    angles = (np.arange(48) + 0.5) * np.pi / 24
    n = np.empty((24, 48, 3))
    n[..., 2] = heights[:, None]
    n[..., 0] = np.sqrt(1 - heights**2)[:, None] * np.cos(angles)
    n[..., 1] = np.sqrt(1 - heights**2)[:, None] * np.sin(angles)
    stiffness = sound_matrices(aluminium, [aluminium.reference], n.reshape(-1, 3))[0]
    volume = abs(np.linalg.det(aluminium.cell.cell)) * 1e-30
    density = aluminium.atomic_masses.sum() * si.atomic_mass / volume
    v = np.sqrt(np.linalg.eigvalsh(stiffness) * 1e9 / density)
    slow = weights @ (v**-3.0).sum(axis=1).reshape(24, 48).mean(axis=1) / 2
    wave = si.k * kelvins / si.hbar  # of the thermal energy
    debye = si.R * volume * slow * wave**3 * 2 * np.pi**2 / 15
    assert_allclose(found[0], debye, rtol=1e-3)
    # all of it falls as stiffness^-3/2
    assert_allclose(slopes[0] @ aluminium.reference, -1.5 * found[0], rtol=3e-3)


def test_unstable_crystals_have_no_displacements(aluminium):
    found = MeanSquareDisplacement(aluminium, 300.0, 0.01, 0.001, mesh=4)
    assert np.isnan(found.residuals(-np.asarray(aluminium.reference))[0]).all()


def test_observables_do_not_change_and_pickle(aluminium):
    for observable in every_observable(aluminium):
        again = pickle.loads(pickle.dumps(observable))
        assert again == observable
        assert_array_equal(
            again.residuals(aluminium.reference)[0],
            observable.residuals(aluminium.reference)[0],
        )
    with pytest.raises(AttributeError, match="does not change"):
        observable.std = 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qpoints": [[0.1, 0.2]]}, "qpoints must be finite and of shape"),
        ({"energies": [-3.0]}, "energies must be above 0 meV, got -3 in row 0"),
        ({"energies": [np.nan]}, "energies must be finite, got nan in row 0"),
        ({"std": 0.0}, "std must be finite and above zero, got 0.0 in row 0"),
        ({"std": [1.0, 2.0]}, "std must be one number or have shape"),
        ({"modes": 3}, "modes must be numbers of branches from 0 to 2"),
        ({"modes": [1, 2]}, "modes must be one for each of 1 energies"),
        ({"modes": [0.5]}, "modes must be numbers of branches"),
        ({"lattice": 4.6 * np.eye(3)}, "lattice must be that of the model"),
        ({"lattice": [1.0]}, "lattice must be finite and have shape"),
        ({"least_strength": 2.0}, "least_strength must be a share"),
        ({"labels": ["a", "b"]}, "labels must name 1 energies, got 2"),
        ({"qpoints": [[1.0, 0.0, 0.0]]}, "no optical modes"),
    ],
)
def test_energies_that_cannot_be(aluminium, options, message):
    given = {"qpoints": [[0.1, 0.2, 0.3]], "energies": [20.0], "std": 0.1, **options}
    with pytest.raises(ValueError, match=message):
        PhononEnergies(aluminium, **given)


def test_acoustic_modes_have_no_energy_at_the_zone_centre(silicon):
    with pytest.raises(ValueError, match="acoustic, of energy 0"):
        PhononEnergies.at_zone_centre(silicon, 64.2, 0.2, modes=2)
    found = PhononEnergies.at_zone_centre(silicon, 1.0, 0.2)
    assert found.assigned_modes(silicon.reference)[0] >= 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: ElasticConstants(m, {}), "constants must map names"),
        (lambda m: ElasticConstants(m, {"C1": (1, 1)}), "named C11 to C66"),
        (lambda m: ElasticConstants(m, {"C11": 3.0}), "must have a value and a stand"),
        (lambda m: SoundVelocities(m, [[0, 0, 0]], 0, 1.0, 1.0), "none zero"),
        (lambda m: SoundVelocities(m, [[1, 0, 0]], 3, 1.0, 1.0), "branches must be"),
        (lambda m: MeanSquareDisplacement(m, -1.0, 1.0, 1.0), "temperature must be"),
        (lambda m: MeanSquareDisplacement(m, 1.0, 1.0, 1.0, atom=1), "atom must be"),
        (lambda m: MeanSquareDisplacement(m, 1.0, 0.01, 1.0, atom=0.0), "got 0.0"),
        (lambda m: HeatCapacity(m, 1e-4, 1.0, 1.0), "at least 0.001 K"),
        (lambda m: HeatCapacity(m, 0.0, 1.0, 1.0), "finite and above zero"),
        (lambda m: HeatCapacity(m, [1.0, 2.0], 1.0, 1.0), "one number or 1 numbers"),
    ],
)
def test_other_observables_that_cannot_be(aluminium, make, message):
    with pytest.raises(ValueError, match=message):
        make(aluminium)


def test_parameters_are_one_set(aluminium):
    with pytest.raises(ValueError, match="must be one set"):
        energies_of(aluminium).residuals([aluminium.reference] * 2)
