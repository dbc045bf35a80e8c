"""Dynamical matrices by pairs of atoms, against those bond by bond and differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import ForceConstantModel
from skphonon.physics.dynamical_matrix import BondPairs, DynamicalMatrices, dipole_term
from skphonon.physics.lattice_dynamics import real_form

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
