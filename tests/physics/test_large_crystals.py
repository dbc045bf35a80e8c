"""Large crystals: the same numbers as small ones, and nothing dense in between."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import get_supercell

from skphonon import ForceConstantModel
from skphonon.physics import _projection, supercells
from skphonon.physics import symmetry as symmetry

SALT = 2.82 * (np.ones((3, 3)) - np.eye(3))
ATOMS = {"positions": [[0, 0, 0], [0.5, 0.5, 0.5]], "n_shells": 3}
CONVENTIONAL = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]  # of a face-centred cell
REACH = 4.2  # Angstrom: two shells of rock salt


@pytest.fixture(scope="module")
def salt():
    model = ForceConstantModel(SALT, ["Na", "Cl"], None, **ATOMS)
    values = np.random.default_rng(0).normal(0, 0.05, len(model.parameter_names))
    values[:2] += [1.0, 0.1]
    return model.replace(reference=values)


def disordered(multiples, cutoff=REACH):
    """Return a model of displaced atoms, rock salt without symmetry."""
    salt = PhonopyAtoms(["Na", "Cl"], cell=SALT, scaled_positions=ATOMS["positions"])
    conventional = get_supercell(salt, np.array(CONVENTIONAL) @ np.diag(multiples))
    rng = np.random.default_rng(0)
    positions = conventional.positions + rng.normal(0, 0.03, (len(conventional), 3))
    scaled = positions @ np.linalg.inv(conventional.cell)
    model = ForceConstantModel(
        conventional.cell,
        list(conventional.symbols),
        None,
        positions=scaled,
        supercell=[1, 1, 1],
        n_shells=1,
    )
    model = model.replace(n_shells=model.shells_within(cutoff))
    rng = np.random.default_rng(1)
    return model.replace(
        reference=rng.normal(0, 0.1, len(model.parameter_names)), supercell=None
    )


@pytest.fixture(scope="module")
def glass():
    return disordered([2, 1, 1])


@pytest.mark.parametrize("multiples", [[3, 3, 3], [4, 4, 4]])
def test_constants_do_not_depend_on_the_supercell(salt, multiples):
    salt = salt.replace(supercell=multiples)
    read = ForceConstantModel.from_phonopy(salt.to_phonopy())
    assert read.parameter_names == salt.parameter_names
    assert_allclose(read.reference, salt.reference, atol=1e-12)


def test_an_ideal_supercell_taken_as_a_cell_has_the_constants_of_the_crystal(salt):
    """Its translations are symmetry, and its zone centre holds folded wavevectors."""
    matrix = 2 * np.array(CONVENTIONAL)
    crystal = Phonopy(
        salt.to_phonopy().unitcell,
        supercell_matrix=matrix,
        primitive_matrix=np.eye(3),
    )
    sites, ends = supercells.fold_onto(crystal, salt.bonds, salt.bond_atoms)
    tensor = salt.tensor(salt.reference)[0]
    constants = np.zeros((2, len(crystal.supercell), 3, 3))
    np.add.at(constants, (np.arange(2), sites), tensor[:2])
    np.add.at(constants, (salt.bond_atoms[:, 0], ends), tensor[2:])
    crystal.force_constants = constants
    whole = Phonopy(
        crystal.supercell, supercell_matrix=np.eye(3), primitive_matrix=np.eye(3)
    )
    whole.force_constants = compact_fc_to_full_fc(
        crystal.primitive, crystal.force_constants
    )
    read = ForceConstantModel.from_phonopy(whole, cutoff=REACH)
    assert read.n_atoms == 64
    assert read.n_shells == 3  # as in the crystal: Na-Cl, Na-Na, Cl-Cl
    assert len(read.reference) == len(salt.reference)  # other bonds may name them
    commensurate = np.indices((4, 4, 4)).reshape(3, -1).T @ np.linalg.inv(matrix.T)
    commensurate = np.unique((commensurate.round(9) % 1).round(6), axis=0)
    assert len(commensurate) == 32
    folded = np.sort(salt.frequencies(salt.reference, commensurate).reshape(-1))
    assert_allclose(
        read.frequencies(read.reference, [[0, 0, 0]])[0, 0], folded, atol=1e-4
    )


def test_pairs_are_those_of_a_count_over_all_cells(glass):
    cell = glass.cell
    pairs = symmetry._near_pairs(cell.scaled_positions, cell.cell, 7.0)
    steps = np.indices((7, 9, 9)).reshape(3, -1).T - [3, 4, 4]
    bonds = cell.positions[:, None, None] - cell.positions[:, None] + steps @ cell.cell
    lengths = np.linalg.norm(bonds, axis=-1)
    assert len(pairs.first) == np.sum((lengths <= 7.0) & (lengths > 1e-5))
    found = cell.positions[pairs.second] - cell.positions[pairs.first]
    assert_allclose(pairs.bonds, found + pairs.cells @ cell.cell, atol=1e-10)


def test_on_site_terms_of_a_crystal_without_symmetry_are_symmetric(glass):
    rng = np.random.default_rng(2)
    tensors = glass.tensor(rng.normal(size=len(glass.reference)))[0]
    on_site = tensors[: glass.n_atoms]
    assert_allclose(on_site, on_site.swapaxes(1, 2), atol=1e-11)
    # three a atom, less three that all bonds, each counted twice, meet together
    n_elements = sum(len(shell.elements) for shell in glass._crystal.shells)
    n_free = n_elements - 3 * (glass.n_atoms - 1)
    assert len(glass.parameter_names) == n_free


def test_elements_given_up_are_the_last_that_the_rule_determines(glass):
    """Against ranks of dense matrices: an element is given up if it raises the rank."""
    crystal = glass._crystal
    conditions = crystal.conditions.toarray()[:, ::-1]
    given_up, rank = [], 0
    for column in range(conditions.shape[1]):
        if rank == len(conditions):
            break
        raised = np.linalg.matrix_rank(conditions[:, [*given_up, column]], tol=1e-8)
        if raised > rank:
            given_up.append(column)
            rank = int(raised)
    assert rank == len(conditions)
    n_elements = conditions.shape[1]
    kept = np.delete(np.arange(n_elements), n_elements - 1 - np.array(given_up))
    assert_array_equal(crystal.independent, kept)
    residual = (crystal.conditions @ crystal.rule).toarray()
    assert_allclose(residual, 0.0, atol=1e-10)


def test_constants_without_the_rule_are_fitted_as_by_dense_least_squares(glass):
    rng = np.random.default_rng(3)
    noisy = glass.tensor(glass.reference)[0]
    noisy = noisy + rng.normal(0, 0.02, noisy.shape)
    basis = glass.bond_tensors.reshape(len(glass.reference), -1)
    target = -noisy[glass.n_atoms :].reshape(-1)
    expected = np.linalg.lstsq(basis.T, target, rcond=None)[0]
    assert_allclose(glass.parameters(noisy), expected, atol=1e-9)


@pytest.mark.parametrize("multiples", [[2, 1, 1], [2, 2, 2]])
def test_sizes_grow_with_the_number_of_bonds(multiples):
    """A bond of a crystal without symmetry has nine elements, six of them in sums."""
    crystal = disordered(multiples)._crystal
    n_bonds = len(crystal.bonds)
    assert crystal.spread.nnz == 9 * n_bonds
    assert crystal.conditions.nnz <= 6 * n_bonds
    assert crystal.rule.nnz < 50 * crystal.rule.shape[1]


def test_no_array_of_parameters_by_bonds_is_made():
    model = disordered([2, 2, 2])
    n_parameters, n_bonds = len(model.parameter_names), len(model.bonds)
    dense = 72 * n_parameters * n_bonds  # bytes
    model.dynamical_matrices(model.reference, [[0.1, 0.2, 0.3]])
    tracemalloc.start()
    try:
        model.dynamical_matrices(model.reference, [[0.1, 0.2, 0.3]])
        tensors = model.tensor(model.reference)
        model.parameters(tensors)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert dense > 4e8
    assert peak < dense / 10


def test_dynamical_matrices_are_those_of_the_basis(glass):
    points = np.array([[0.1, 0.2, 0.3], [0.0, 0.0, 0.0], [0.7, -0.4, 0.2]])
    basis = glass.dynamical_matrix_basis(points)
    expected = np.tensordot(glass.reference, basis, axes=1)
    found = glass.dynamical_matrices(glass.reference, points)[0]
    assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


@pytest.fixture
def changed(glass):
    """Constants on a supercell, a change of them, and what else a projection knows."""
    model = glass.replace(supercell=[1, 2, 2])
    stored = supercells.read_supercell(model.to_phonopy(), check=False)
    sites = supercells.locate(model.cell, stored)
    ends = supercells.primitive_numbers(model.cell, stored, sites[0])
    rng = np.random.default_rng(4)
    kept = stored.constants[stored.rows[sites]]
    change = rng.normal(0, 1e-3, kept.shape) * (np.abs(kept) > 0)
    change[np.arange(len(sites)), sites] -= change.sum(axis=1)
    return model, kept, change, stored, sites, ends


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
def test_a_bound_of_the_change_of_energies_holds(changed, scale):
    model, kept, change, stored, sites, ends = changed
    change = scale * change
    energies, others = _projection._energies(model, change, stored, sites, ends)
    bound, highest = _projection._bounds(model, kept, change, ends)
    assert 0 < np.abs(energies - others).max() < bound
    assert 0.5 * energies.max() < highest <= energies.max() * (1 + 1e-9)


def test_large_cells_are_looked_at_where_small_ones_are_too(changed, monkeypatch):
    model, _, change, stored, sites, ends = changed
    whole, _ = _projection._energies(model, change, stored, sites, ends)
    monkeypatch.setattr(_projection, "_MESHES", {1: 4, 20: 2})
    half, before = _projection._energies(model, change, stored, sites, ends)
    assert len(half) == 8  # the zone centre and the points half way to its images
    monkeypatch.setattr(_projection, "_MESHES", {1: 4, 2: 2})
    centre, others = _projection._energies(model, change, stored, sites, ends)
    assert len(centre) == 1
    assert_allclose(centre[0], half[0], atol=1e-4)
    assert_allclose(others[0], before[0], atol=1e-4)
    assert_allclose(half[0], whole[0], atol=1e-4)


def test_a_visible_change_of_a_large_cell_is_told(glass, monkeypatch):
    monkeypatch.setattr(_projection, "_MESHES", {1: 4, 2: 2})
    model = glass.replace(supercell=[1, 2, 2])
    crystal = model.to_phonopy()
    constants = crystal.force_constants.copy()
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 2e-2, constants.shape) * (np.abs(constants) > 0)
    own = np.arange(model.n_atoms), np.asarray(crystal.primitive.p2s_map)
    noise[own] -= noise.sum(axis=1)
    crystal.force_constants = constants + noise
    with pytest.warns(UserWarning, match="phonon energies by up to"):
        ForceConstantModel.from_phonopy(crystal, cutoff=REACH, symmetrize=True)
