"""Dynamical matrices against phonopy, chains solved on paper, torch and differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import ForceConstantModel
from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.dynamical_matrix import (
    BondPairs,
    DynamicalMatrices,
    dipole_term,
    dynamical_matrix_basis,
    real_form,
)

WAVEVECTORS = np.random.default_rng(0).uniform(-6, 6, (20, 3))
TRICLINIC = np.array([[3.0, 0.1, 0.2], [0.3, 3.2, 0.1], [0.5, 0.2, 3.7]])
MONOCLINIC = np.array([[3.0, 0, 0], [0, 3.4, 0], [0.8, 0, 4.1]])
SCATTERED = np.random.default_rng(0).permutation(8)[:, None] / 8 * [1, 3, 5] % 1
CRYSTALS = {
    "one atom": (TRICLINIC, "Na", None, 3),
    # two atoms that inversion exchanges, and one on the centre
    "centre of inversion": (
        MONOCLINIC,
        ["Al", "Al", "O"],
        [[0.1, 0, 0.2], [-0.1, 0, -0.2], [0.5, 0.5, 0.5]],
        10,
    ),
    "centre first": (
        MONOCLINIC,
        ["O", "Al", "Al"],
        [[0.5, 0.5, 0.5], [0.1, 0, 0.2], [-0.1, 0, -0.2]],
        10,
    ),
    "centre between": (
        MONOCLINIC,
        ["Al", "O", "Al", "O"],
        [[0.1, 0, 0.2], [0.5, 0.5, 0.5], [-0.1, 0, -0.2], [0, 0, 0]],
        12,
    ),
    "fluorite": (
        2.72 * (np.ones((3, 3)) - np.eye(3)),
        ["Ca", "F", "F"],
        [[0, 0, 0], [0.25] * 3, [0.75] * 3],
        3,
    ),
    # the second atom of each pair stands before the first of another
    "two pairs": (
        MONOCLINIC,
        ["Al", "O", "O", "Al"],
        [[0.1, 0, 0.2], [0.31, 0.5, 0.4], [-0.31, 0.5, -0.4], [-0.1, 0, -0.2]],
        12,
    ),
    "no symmetry": (
        TRICLINIC,
        ["Na", "Cl", "Na"],
        [[0, 0, 0], [0.41, 0.53, 0.47], [0.7, 0.2, 0.9]],
        9,
    ),
    # bonds of a shell reach few of its blocks
    "eight atoms": (
        2 * TRICLINIC,
        ["Na"] * 4 + ["Cl"] * 4,
        SCATTERED + np.random.default_rng(1).normal(scale=0.02, size=(8, 3)),
        20,
    ),
}
WITHOUT_CENTRE = "no symmetry", "eight atoms"


def built(name):
    lattice, symbols, positions, n_shells = CRYSTALS[name]
    return ForceConstantModel(
        lattice, symbols, None, positions=positions, n_shells=n_shells
    )


def as_diagonalised(model, matrices):
    partners = model.inversion_partners()
    return matrices if partners is None else real_form(matrices, partners)


@pytest.mark.parametrize("name", CRYSTALS)
def test_matrices_are_those_of_the_model(name):
    model = built(name)
    n_parameters = len(model.parameter_names)
    if name in WITHOUT_CENTRE:
        # some elements follow from others by the sum rule
        elements = sum(len(shell.elements) for shell in model._crystal.shells)
        assert elements > n_parameters
    rng = np.random.default_rng(2)
    wavevectors = rng.normal(size=(7, 3))
    rows = rng.normal(size=(2, n_parameters))
    found = DynamicalMatrices(model, wavevectors)
    assert found.is_real == (name not in WITHOUT_CENTRE)
    expected = as_diagonalised(model, model.dynamical_matrices(rows, wavevectors))
    assert_allclose(found.matrices(rows), expected, atol=1e-9)
    expected = as_diagonalised(model, model.dynamical_matrix_basis(wavevectors))
    assert_allclose(found.basis(), expected, atol=1e-9)
    # a block of the points, with what is made once for all
    pairs = BondPairs(model)
    block = DynamicalMatrices(model, wavevectors[2:5], pairs=pairs)
    matrices = block.of_constants(pairs.constants(rows))
    assert_allclose(matrices, found.matrices(rows)[:, 2:5], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CRYSTALS)
def test_gradient_is_that_of_the_basis(name):
    """Re sum conj(G) dD, with G Hermitian and the basis as dD."""
    model, rng = built(name), np.random.default_rng(3)
    found = DynamicalMatrices(model, rng.normal(size=(4, 3)))
    slopes = rng.normal(size=(2, 4, found.size, found.size))
    if not found.is_real:
        slopes = slopes + 1j * rng.normal(size=slopes.shape)
    slopes = slopes + slopes.conj().swapaxes(2, 3)
    expected = np.einsum("snij,pnij->sp", slopes.conj(), found.basis()).real
    scale = np.abs(expected).max()
    assert_allclose(found.gradient(slopes), expected, rtol=1e-9, atol=1e-9 * scale)


def test_the_polar_term_and_its_scale(salt):
    wavevectors = np.random.default_rng(4).normal(size=(5, 3))
    found, row = DynamicalMatrices(salt, wavevectors), salt.reference[None]
    expected = as_diagonalised(salt, salt.dynamical_matrices(row, wavevectors))
    assert_allclose(found.matrices(row), expected, atol=1e-9)
    # a dipole term falls as the cube of the lattice, at one reduced wavevector
    stretched = salt.replace(lattice=1.1 * salt.lattice)
    expected = as_diagonalised(
        salt, stretched.dynamical_matrices(row, wavevectors / 1.1)
    )
    assert_allclose(found.matrices(row, [1.1]), expected, atol=1e-6)
    fields = salt.non_analytic_term(np.eye(3)[:1])
    added = dipole_term(salt, wavevectors, fields) - dipole_term(salt, wavevectors)
    assert_allclose(added[1:], 0.0, atol=1e-12)
    assert_allclose(added[0], as_diagonalised(salt, fields[0]), atol=1e-9)


def test_wavevectors_are_told_in_the_first_zone(salt):
    reduced = np.array([[0.2, -0.3, 0.4], [1.2, 0.7, -3.4]])
    found = DynamicalMatrices(salt, reduced @ salt.reciprocal_lattice())
    assert_allclose(found.reduced(0), reduced[0], atol=1e-12)
    assert_allclose(found.reduced(1), [0.2, -0.3, -0.4], atol=1e-12)


@pytest.mark.parametrize("name", ["silicon", "salt", "layers", "quartz"])
def test_matrices_are_those_of_phonopy(name, data_folder):
    file, constants = {
        "silicon": ("phonopy_params_Si.yaml", None),
        "salt": ("phonopy_params_NaCl-1.00.yaml.xz", None),
        "layers": ("CaHgO2-mp-7041.yaml", None),
        "quartz": ("quartz.yaml", "quartz-force_constants.hdf5"),
    }[name]
    folder = data_folder / "phonopy"
    model = ForceConstantModel.from_phonopy(
        folder / file, force_constants=constants and folder / constants
    )
    # phonopy sums dipoles about the origin, not about q: less well in other zones
    qpoints = np.random.default_rng(6).uniform(-0.4, 0.4, (4, 3))
    matrices, expected = model.to_phonopy().dynamical_matrix, []
    for qpoint in qpoints:
        matrices.run(qpoint)
        expected.append(MEV2_PER_EIGENVALUE * matrices.dynamical_matrix)
    expected = np.array(expected)
    wavevectors = qpoints @ model.reciprocal_lattice()
    scale = np.abs(expected).max()
    # phonopy's physical constants, and its polar term to 1e-6
    close = {"rtol": 1e-5, "atol": 3e-6 * scale}
    found = model.dynamical_matrices(model.reference, wavevectors)[0]
    assert_allclose(found, expected, **close)
    found = DynamicalMatrices(model, wavevectors).matrices(model.reference[None])[0]
    assert_allclose(found, as_diagonalised(model, expected), **close)


@pytest.mark.parametrize("name", [*CRYSTALS, "salt"])
def test_tensors_of_torch_make_the_same_matrices_and_gradients(name, request):
    torch = pytest.importorskip("torch")
    model = request.getfixturevalue(name) if name == "salt" else built(name)
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(2, len(model.parameter_names)))
    matrices = DynamicalMatrices(model, rng.normal(size=(3, 3)))
    tensors = torch.tensor(rows, requires_grad=True)
    found = matrices.matrices(tensors)
    assert_allclose(found.detach(), matrices.matrices(rows), rtol=1e-12, atol=1e-9)
    slopes = rng.normal(size=found.shape)
    if not matrices.is_real:
        slopes = slopes + 1j * rng.normal(size=slopes.shape)
    slopes = slopes + slopes.conj().swapaxes(2, 3)
    (torch.as_tensor(slopes).conj() * found).sum().real.backward()
    expected = matrices.gradient(slopes)
    atol = 1e-9 * np.abs(expected).max()
    assert_allclose(tensors.grad, expected, rtol=1e-9, atol=atol)
    single = matrices.matrices(tensors.detach().float())
    assert single.dtype in (torch.float32, torch.complex64)
    atol = 1e-5 * found.detach().abs().max().item()
    assert_allclose(single, found.detach(), rtol=1e-4, atol=atol)


def test_tensors_of_bonds_may_be_those_of_torch():
    torch = pytest.importorskip("torch")
    model = built("no symmetry")
    bonds, atoms, masses = model.bonds, model.bond_atoms, model.atomic_masses
    tensors = model.bond_tensors
    expected = dynamical_matrix_basis(bonds, atoms, tensors, masses, WAVEVECTORS)
    found = dynamical_matrix_basis(
        bonds, atoms, torch.tensor(tensors), masses, WAVEVECTORS
    )
    assert_allclose(found, expected, rtol=1e-12, atol=1e-9)


def test_long_waves_of_one_atom_keep_their_digits():
    """D = sum K (q.b)^2 / 2m, of which 1 - cos x would leave no digit at 1e-8."""
    model = built("one atom")
    row = np.random.default_rng(8).normal(size=len(model.parameter_names))
    pulls = -model.tensor(row)[0, 1:]
    for size in (1e-3, 1e-8):
        q = size * np.array([0.3, -0.5, 0.8])
        squares = (model.bonds @ q) ** 2 / (2 * model.atomic_masses[0])
        expected = MEV2_PER_EIGENVALUE * np.tensordot(squares, pulls, axes=1)
        found = model.dynamical_matrices(row, q[None])[0, 0]
        assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.fixture(scope="module")
def rock_salt():
    return ForceConstantModel(
        2.8 * (np.ones((3, 3)) - np.eye(3)),
        ["Na", "Cl"],
        [0.8, -0.1, 0.1, 0.05, 0.15],
        positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
    )


def test_a_chain_of_one_atom():
    spacing, stiffness, mass = 2.5, 1.7, 30.0
    bonds = [[spacing, 0, 0], [-spacing, 0, 0]]
    tensors = np.zeros((1, 2, 3, 3))
    tensors[..., 0, 0] = 1.0
    basis = dynamical_matrix_basis(bonds, [[0, 0]] * 2, tensors, [mass], WAVEVECTORS)
    assert basis.dtype == float
    sine = np.sin(WAVEVECTORS[:, 0] * spacing / 2)
    expected = 4 * stiffness / mass * MEV2_PER_EIGENVALUE * sine**2
    assert_allclose(stiffness * basis[0, :, 0, 0], expected, rtol=1e-12)


def test_a_chain_of_two_atoms():
    spacing, light, heavy = 4.0, 20.0, 35.0
    bonds = np.array([[1.5, 0, 0], [-2.5, 0, 0], [-1.5, 0, 0], [2.5, 0, 0]])
    ends = [[0, 1], [0, 1], [1, 0], [1, 0]]
    tensors = np.zeros((2, 4, 3, 3))  # springs of two strengths in turn
    tensors[0, [0, 2], 0, 0] = 1.0
    tensors[1, [1, 3], 0, 0] = 1.0
    first, second = 1.3, 0.6
    basis = dynamical_matrix_basis(bonds, ends, tensors, [light, heavy], WAVEVECTORS)
    matrices = (first * basis[0] + second * basis[1])[:, ::3, ::3]
    sine = np.sin(WAVEVECTORS[:, 0] * spacing / 2)
    total = (first + second) * (1 / light + 1 / heavy)
    root = np.sqrt(total**2 - 16 * first * second * sine**2 / (light * heavy))
    expected = MEV2_PER_EIGENVALUE / 2 * np.stack([total - root, total + root], axis=1)
    assert_allclose(np.linalg.eigvalsh(matrices), expected, rtol=1e-10)


def test_matrices_are_hermitian_and_periodic(rock_salt):
    reference = rock_salt.reference
    matrices = rock_salt.dynamical_matrices(reference, WAVEVECTORS)[0]
    assert_allclose(matrices, matrices.conj().swapaxes(1, 2), atol=1e-12)
    # phases are those of positions: another zone changes them, not the energies
    shifted = WAVEVECTORS + rock_salt.reciprocal_lattice()[0]
    again = rock_salt.dynamical_matrices(reference, shifted)[0]
    assert np.abs(again - matrices).max() > 1.0
    assert_allclose(np.linalg.eigvalsh(again), np.linalg.eigvalsh(matrices), rtol=1e-9)


def test_translations_cost_nothing(rock_salt):
    matrix = rock_salt.dynamical_matrices(rock_salt.reference, np.zeros((1, 3)))[0, 0]
    moved = np.kron(np.sqrt(rock_salt.atomic_masses)[:, None], np.eye(3))
    assert_allclose(matrix @ moved, 0, atol=1e-10 * np.abs(matrix).max())


@pytest.mark.parametrize("partners", [[0, 1], [1, 0], [0, 2, 1], [3, 2, 1, 0]])
def test_real_form_has_the_same_spectrum(partners):
    """Random Hermitian matrices with the symmetry of an inversion."""
    rng = np.random.default_rng(1)
    n_atoms = len(partners)
    shape = (4, n_atoms, 3, n_atoms, 3)
    blocks = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    blocks += blocks.transpose(0, 3, 4, 1, 2).conj()
    blocks += blocks[:, partners][:, :, :, partners].conj()
    matrices = blocks.reshape(4, 3 * n_atoms, 3 * n_atoms)
    real = real_form(matrices, partners)
    assert_allclose(real, real.swapaxes(1, 2), atol=1e-12)
    assert_allclose(np.linalg.eigvalsh(real), np.linalg.eigvalsh(matrices), atol=1e-10)
    # a vector that is the same on both atoms of a pair lies in the sums alone
    vector = rng.normal(size=3)
    numbers = np.arange(n_atoms)
    factors = np.select(
        [np.equal(partners, numbers), np.greater(partners, numbers)], [1, 2**0.5], 0
    )
    same, mapped = np.tile(vector, n_atoms), np.kron(factors, vector)
    expected = np.einsum("i,nij,j->n", same, matrices, same).real
    assert_allclose(np.einsum("i,nij,j->n", mapped, real, mapped), expected, rtol=1e-10)
