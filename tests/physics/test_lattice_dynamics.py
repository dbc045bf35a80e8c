"""Dynamical matrices against chains that are solved on paper, and their symmetries."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import ForceConstantModel
from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.lattice_dynamics import dynamical_matrix_basis, real_form
from skphonon.physics.modes import signed_sqrt

WAVEVECTORS = np.random.default_rng(0).uniform(-6, 6, (20, 3))


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


def test_unstable_modes_have_negative_energies():
    assert_allclose(signed_sqrt([-4.0, 0.0, 9.0]), [-2.0, 0.0, 3.0])
