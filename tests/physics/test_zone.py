"""Means over the zone: closed forms, phonopy, finer meshes, differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import ForceConstantModel
from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.physics.dynamical_matrix import DynamicalMatrices
from skphonon.physics.modes import mode_pairs
from skphonon.physics.zone import ZoneMesh, mean_points, resolving_points
from skphonon.physics.zone.centre import _directions
from skphonon.physics.zone.convergence import displacement_mesh
from skphonon.physics.zone.displacements import ThermalTensors
from skphonon.physics.zone.mesh import mesh_points

FILES = {
    "silicon": ("phonopy_params_Si.yaml", None),
    "salt": ("phonopy_params_NaCl-1.00.yaml.xz", None),
    "germanium": ("Ge-phonopy.yaml", "Ge-force_constants.hdf5"),
    "layers": ("CaHgO2-mp-7041.yaml", None),
    "pyrochlore": ("La2Zr2O7.yaml", "La2Zr2O7-force_constants.hdf5"),
    "quartz": ("quartz.yaml", "quartz-force_constants.hdf5"),
}


def loaded(folder, name):
    file, constants = (part and folder / "phonopy" / part for part in FILES[name])
    return ForceConstantModel.from_phonopy(file, force_constants=constants)


@pytest.fixture(scope="module")
def cubic():
    """Simple cubic, with springs that are alike along and across a bond."""
    model = ForceConstantModel(3.0 * np.eye(3), ["Al"], None, n_shells=1)
    return model.replace(reference=np.full(len(model.parameter_names), 2.0))


@pytest.fixture(scope="module")
def zincblende():
    """No centre of inversion; springs between neighbours of two kinds."""
    model = ForceConstantModel(
        2.83 * (np.ones((3, 3)) - np.eye(3)),
        ["Ga", "As"],
        None,
        positions=[[0, 0, 0], [0.25, 0.25, 0.25]],
        n_shells=2,
    )
    table = {"1XX": 6.0, "1XY": 4.0, "1YZ": 4.0}
    names = model.parameter_names
    springs = [
        table.get(name.split()[0], 0.2 / (1 + n)) for n, name in enumerate(names)
    ]
    return model.replace(reference=np.array(springs))


def modes_of(model, wavevectors, rows=None):
    rows = np.atleast_2d(model.reference) if rows is None else rows
    return np.linalg.eigh(DynamicalMatrices(model, wavevectors).matrices(rows))


def tensors_of(model, points, temperature):
    """Displacement tensors of a crystal at its reference, (n_atoms, 3, 3)."""
    thermal = ThermalTensors(model, points.weights)
    found = thermal.components(*modes_of(model, points.wavevectors), temperature)
    return np.tensordot(found[0], thermal.tensors, axes=1)


@pytest.mark.parametrize("name", ["silicon", "layers", "quartz"])
def test_weights_sum_to_one(data_folder, name):
    model = loaded(data_folder, name)
    for size in (2, (3, 4, 5), 12):
        for shifted in (True, False):
            points = resolving_points(model, ZoneMesh(size, shifted=shifted))
            assert_allclose(points.weights.sum(), 1.0, rtol=1e-12)
        # the rule of the centre stands for what is taken off the points around it
        points = mean_points(model, ZoneMesh(size))
        assert_allclose(points.weights.sum(), 1.0, rtol=1e-9)
    points = mean_points(model, ZoneMesh(12, shifted=False))
    assert_allclose(points.weights.sum(), 1.0, rtol=1e-6)


def test_bad_meshes_are_named():
    for size in (1, (4, 4), 2.5, (4, 4, 1)):
        with pytest.raises(ValueError, match="mesh must be a number of points"):
            ZoneMesh(size)
    with pytest.raises(ValueError, match="n_polar must be at least 2"):
        ZoneMesh(4, n_polar=1)


@pytest.mark.parametrize("name", ["silicon", "layers", "quartz"])
def test_directions_average_over_the_sphere(data_folder, name):
    group = loaded(data_folder, name).point_group()
    directions, shares = _directions(group, 12)
    assert_allclose(shares.sum(), 1.0, rtol=1e-12)
    everywhere = np.einsum("gab,nb->gna", group, directions)
    x, _, z = np.moveaxis(everywhere, -1, 0)
    for values, expected in [
        (x**2, 1 / 3),
        (x**4, 1 / 5),
        (x**2 * z**2, 1 / 15),
        (z**8, 1 / 9),
        (x * z, 0.0),
    ]:
        mean = (values * shares).sum(axis=1).mean()
        assert mean == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 80.0, 300.0])
def test_einstein_oscillator(cubic, temperature):
    energy, mass = 25.0, cubic.atomic_masses[0]
    thermal = ThermalTensors(cubic, np.ones(1))
    found = thermal.components(
        np.full((1, 1, 3), energy**2), np.eye(3)[None, None], temperature
    )
    coth = 1.0
    if temperature:
        coth = 1 / np.tanh(energy / (2 * BOLTZMANN * temperature))
    expected = HBAR2_PER_AMU / (2 * mass * energy) * coth
    tensor = np.tensordot(found[0], thermal.tensors, axes=1)[0]
    assert_allclose(tensor, expected * np.eye(3), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("size", "error"), [(6, 5e-3), (10, 1e-3), (16, 1e-4)])
def test_hot_lattice_has_the_integral_of_watson(cubic, size, error):
    r"""<u^2> = kT / 2k times (1/pi^3) int dx dy dz / (3 - cos x - cos y - cos z)."""
    temperature, k = 30_000.0, 2.0e3  # meV/Angstrom^2
    points = mean_points(cubic, ZoneMesh(size))
    expected = BOLTZMANN * temperature / (2 * k) * 0.5054620197
    found = tensors_of(cubic, points, temperature)[0]
    # a quantum correction of (E / kT)^2 / 12 = 1e-5
    assert_allclose(found, expected * np.eye(3), rtol=error, atol=1e-9)


@pytest.mark.parametrize("temperature", [5.0, 300.0])
@pytest.mark.parametrize("name", ["silicon", "salt", "quartz"])
def test_displacements_agree_with_phonopy(data_folder, name, temperature):
    """On the same mesh, as phonopy sums it: without care for the centre."""
    model = loaded(data_folder, name)
    size = 4 if name == "quartz" else 8
    phonons = model.to_phonopy()
    # phonopy puts an even mesh half a step off the zone centre, as ours
    phonons.run_mesh(
        [size] * 3,
        is_mesh_symmetry=False,
        with_eigenvectors=True,
        is_gamma_center=False,
    )
    phonons.run_thermal_displacement_matrices(temperatures=[temperature], freq_min=0.01)
    expected = phonons.thermal_displacement_matrices.thermal_displacement_matrices[0]
    points = resolving_points(model, ZoneMesh(size))
    found = tensors_of(model, points, temperature)
    # a mesh that is not as symmetric as the crystal: ours are averaged over its group
    basis = ThermalTensors(model, points.weights).tensors
    expected = np.tensordot((basis * expected.real).sum(axis=(1, 2, 3)), basis, axes=1)
    # phonopy's physical constants
    assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["salt", "layers", "quartz"])
@pytest.mark.parametrize("shifted", [True, False])
def test_independent_points_give_what_all_points_give(data_folder, name, shifted):
    model, size = loaded(data_folder, name), (3, 3, 2)
    axes = [(np.arange(n) + 0.5 * shifted) / n for n in size]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points[points.any(axis=1)]
    eigenvalues, vectors = modes_of(model, points @ model.reciprocal_lattice())
    squares = (np.abs(vectors) ** 2).reshape(
        *vectors.shape[:2], -1, 3, vectors.shape[3]
    )
    own = (squares * np.sqrt(eigenvalues)[:, :, None, None]).sum(axis=(1, 3, 4))[0]
    found = mesh_points(model, ZoneMesh(size, shifted=shifted))
    some = found.points[: found.n_apart] / found.period @ model.reciprocal_lattice()
    weights = found.shares[: found.n_apart] * np.prod(size)
    eigenvalues, vectors = modes_of(model, some)
    squares = (np.abs(vectors) ** 2).reshape(
        *vectors.shape[:2], -1, 3, vectors.shape[3]
    )
    summed = (squares * np.sqrt(eigenvalues)[:, :, None, None]).sum(axis=(3, 4))[0]
    # atoms that symmetry relates share what the points give to one of them
    _, permutations = model.symmetry_operations()
    summed = weights @ summed
    if model.inversion_partners() is not None:
        partners = model.inversion_partners()
        own, summed = (part + part[partners] for part in (own, summed))
    averaged = summed[permutations].mean(axis=0)
    assert_allclose(averaged, own[permutations].mean(axis=0), rtol=1e-8)


@pytest.mark.parametrize("name", FILES)
def test_displacements_are_converged_on_the_mesh_that_is_chosen(data_folder, name):
    model = loaded(data_folder, name)
    mesh = displacement_mesh(model, 300.0)
    size = np.array(mesh.size)
    fine = ZoneMesh(tuple(int(n) for n in 2 * size), n_polar=32)
    coarse, exact = (
        tensors_of(model, mean_points(model, m), 300.0) for m in (mesh, fine)
    )
    assert_allclose(coarse, exact, atol=5e-3 * np.abs(exact).max())


def test_displacements_of_soft_layers_and_of_salt(data_folder):
    """From plain sums over meshes of 48 and 96 points an axis, extrapolated in 1/n."""
    layers = loaded(data_folder, "layers")
    found = tensors_of(
        layers, mean_points(layers, displacement_mesh(layers, 300.0)), 300.0
    )
    expected = {"O": (0.01410, 0.00821), "Ca": (0.01030, 0.00947)}
    expected["Hg"] = 0.01450, 0.00736
    for symbol, tensor in zip(layers.symbols, found, strict=True):
        assert_allclose(np.diag(tensor)[[0, 2]], expected[symbol], rtol=5e-3)
        assert_allclose(tensor[0, 0], tensor[1, 1], rtol=1e-9)
    salt = loaded(data_folder, "salt")
    points = mean_points(salt, displacement_mesh(salt, 300.0))
    found = tensors_of(salt, points, 300.0)
    for symbol, tensor in zip(salt.symbols, found, strict=True):
        expected = {"Na": 0.02319, "Cl": 0.01908}[symbol]
        assert_allclose(tensor, expected * np.eye(3), rtol=5e-3, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 300.0])
@pytest.mark.parametrize("name", ["silicon", "salt", "zincblende"])
def test_derivatives_of_components(data_folder, name, temperature, request):
    model = request.getfixturevalue(name)
    points = mean_points(model, ZoneMesh(3))
    matrices = DynamicalMatrices(model, points.wavevectors)
    thermal, row = ThermalTensors(model, points.weights), np.atleast_2d(model.reference)

    def components(rows, kelvins=temperature):
        return thermal.components(*np.linalg.eigh(matrices.matrices(rows)), kelvins)

    eigenvalues, vectors = np.linalg.eigh(matrices.matrices(row))
    pairs = mode_pairs(eigenvalues)
    slopes = thermal.slopes(eigenvalues, vectors, temperature, *pairs)[:, 0]
    found = matrices.gradient(vectors @ slopes @ vectors.conj().swapaxes(2, 3))
    for number in {0, row.shape[1] // 2, row.shape[1] - 1}:
        step = 1e-4 * np.abs(row).max() * np.eye(row.shape[1])[number]
        change = (components(row + step) - components(row - step))[0]
        expected = change / (2 * step[number])
        scale = np.abs(expected).max()
        assert_allclose(found[:, number], expected, rtol=1e-4, atol=1e-5 * scale)
    warming = thermal.warming(eigenvalues, vectors, temperature)
    if temperature:
        expected = (components(row, 300.01) - components(row, 299.99)) / 0.02
        assert_allclose(warming, expected, rtol=1e-6, atol=1e-12)
    else:  # frozen: no mode of the mesh is below some meV
        assert_allclose(warming, 0.0)
        cold = components(row, 1e-2)
        assert_allclose(components(row, 0.0), cold, rtol=1e-9)


def test_derivatives_hold_for_degenerate_modes(zincblende):
    """An isotropic oscillator, turned by an anisotropic change."""
    energy, temperature = 20.0, 100.0
    change = np.random.default_rng(0).normal(size=(6, 6))
    change = change + change.T
    thermal = ThermalTensors(zincblende, np.ones(1))
    eigenvalues, vectors = np.full((1, 1, 6), energy**2), np.eye(6)[None, None]
    slopes = thermal.slopes(
        eigenvalues, vectors, temperature, *mode_pairs(eigenvalues)
    )[:, 0, 0]
    found = np.einsum("cjl,jl->c", slopes, change)

    def coth_over_energy(squared):
        root = np.sqrt(squared)
        return 1 / root / np.tanh(root / (2 * BOLTZMANN * temperature))

    slope = (
        coth_over_energy(energy**2 + 0.1) - coth_over_energy(energy**2 - 0.1)
    ) / 0.2
    blocks = np.stack([change[3 * d : 3 * d + 3, 3 * d : 3 * d + 3] for d in range(2)])
    masses = zincblende.atomic_masses[:, None, None]
    expected = HBAR2_PER_AMU / (2 * masses) * slope * blocks
    expected = (thermal.tensors * expected).sum(axis=(1, 2, 3))
    assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_unstable_modes_do_not_enter_displacements(cubic):
    thermal = ThermalTensors(cubic, np.ones(1))
    vectors = np.eye(3)[None, None]
    eigenvalues = np.array([[[-100.0, 400.0, 900.0]]])
    found = thermal.components(eigenvalues, vectors, 300.0)
    only = [
        thermal.components(np.full((1, 1, 3), value), vectors, 300.0) / 3
        for value in (400.0, 900.0)
    ]
    assert_allclose(found, sum(only), rtol=1e-9)
