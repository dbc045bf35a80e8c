"""Elastic constants against closed forms, springs under strain, and phonopy's waves."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import constants as si

from skphonon import ForceConstantModel, load_aluminium_model
from skphonon.physics.constants import MEV_PER_THZ
from skphonon.physics.elasticity import VOIGT, elastic_constants

STEP = 0.01  # 1/Angstrom
GPA = 160.2176634  # of 1 eV/Angstrom^3
FCC = np.ones((3, 3)) - np.eye(3)
HEX = np.array([[1.0, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, 1.6]])
CLOSE_PACKED = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]


def springs(lattice, positions, n_shells):
    """A crystal of springs along bonds, weaker ones along longer bonds.

    Springs at their natural length have no stress and do not resist a turn.
    """
    model = ForceConstantModel(
        lattice, "Mg", None, positions=positions, n_shells=n_shells
    )
    lengths = np.linalg.norm(model.bonds, axis=1)
    k = 30 * np.exp(-2 * lengths / lengths.min())
    units = model.bonds / lengths[:, None]
    pairs = k[:, None, None] * units[:, :, None] * units[:, None]
    first = model.bond_atoms[:, 0]
    on_site = [pairs[first == i].sum(axis=0) for i in range(model.n_atoms)]
    parameters, residual = model.parameters(
        np.concatenate([on_site, -pairs]), return_residual=True
    )
    assert residual < 1e-12
    return model.replace(reference=parameters), k


def strained_energy_curvature(model, k):
    """Second derivatives of the energy density with strain, atoms relaxed: GPa.

    A spring of stiffness k along the unit vector n stretches by n.(e b + u_j - u_i).
    """
    bonds, atoms = model.bonds, model.bond_atoms
    units = bonds / np.linalg.norm(bonds, axis=1)[:, None]
    strain = np.empty((len(bonds), 6))  # engineering strains: shears count twice
    for column, (a, b) in enumerate(VOIGT):
        both = units[:, a] * bonds[:, b] + units[:, b] * bonds[:, a]
        strain[:, column] = both / 2
    shift = np.zeros((len(bonds), model.n_atoms, 3))
    np.add.at(shift, (np.arange(len(bonds)), atoms[:, 1]), units)
    np.add.at(shift, (np.arange(len(bonds)), atoms[:, 0]), -units)
    shift = shift.reshape(len(bonds), -1)
    root = np.sqrt(k / 2)[:, None]  # each spring is listed from both ends
    strain, shift = root * strain, root * shift
    relaxed = strain - shift @ np.linalg.lstsq(shift, strain, rcond=None)[0]
    volume = abs(np.linalg.det(model.lattice))
    return GPA * relaxed.T @ relaxed / volume


def test_face_centred_cubic_closed_form():
    model = load_aluminium_model("cowley-1974")
    p = dict(zip(model.parameter_names, model.reference, strict=True))
    a = 4.033
    c11 = 4 * (p["1XX"] + p["2XX"]) / a
    c44 = 2 * (p["1XX"] + p["1ZZ"] + 2 * p["2YY"]) / a
    c12 = 4 * p["1XY"] / a - c44
    expected = np.zeros((6, 6))
    expected[:3, :3] = c12
    np.fill_diagonal(expected, 3 * [c11] + 3 * [c44])
    stiffness, violation = elastic_constants(
        model, [model.reference, 2 * model.reference], return_violation=True
    )
    # 1e-7: waves of finite length, their fourth order taken away
    atol = 1e-7 * GPA
    assert_allclose(stiffness, GPA * np.stack([expected, 2 * expected]), atol=atol)
    assert (violation == 0).all()


@pytest.mark.parametrize(
    ("lattice", "positions", "n_shells"),
    [
        (2.7 * FCC, [[0, 0, 0], [0.25] * 3], 2),  # a strain shifts one lattice
        (3.2 * HEX, CLOSE_PACKED, 3),
        # no symmetry but inversion: every element, and axes of no special direction
        (
            [[3.0, 0.2, 0.1], [0.4, 3.3, -0.3], [0.2, 0.5, 3.7]],
            [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]],
            14,
        ),
    ],
    ids=["diamond", "hexagonal", "triclinic"],
)
def test_springs_under_strain(lattice, positions, n_shells):
    model, k = springs(lattice, positions, n_shells)
    found, violation = elastic_constants(model, model.reference, return_violation=True)
    expected = strained_energy_curvature(model, k)
    assert_allclose(found[0], expected, atol=1e-5 * np.abs(expected).max())
    assert violation < 1e-5


def test_the_tensor_turns_with_the_crystal():
    model, _ = springs(3.2 * HEX, CLOSE_PACKED, 2)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned, _ = springs(3.2 * HEX @ turn.T, model.positions, 2)
    stiffness = full(elastic_constants(model, model.reference)[0])
    expected = np.einsum("ai,bj,ck,dl,ijkl->abcd", *[turn] * 4, stiffness)
    found = full(elastic_constants(turned, turned.reference)[0])
    assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def to_gpa(model, squares):
    """Density times squared velocity; from (meV Angstrom)^2."""
    density = model.atomic_masses.sum() / abs(np.linalg.det(model.lattice))
    velocity = np.sqrt(squares) * 1e-13 * si.e / si.hbar  # m/s
    return 1e21 * density * si.atomic_mass * velocity**2


def full(stiffness):
    places = np.empty((3, 3), dtype=int)
    for number, (a, b) in enumerate(VOIGT):
        places[a, b] = places[b, a] = number
    return stiffness[places[:, :, None, None], places]


@pytest.mark.parametrize("name", ["silicon", "salt"])
def test_slopes_are_those_of_phonopy(name, request):
    """The wave equation of elasticity against phonopy's acoustic frequencies."""
    model = request.getfixturevalue(name)
    stiffness = full(elastic_constants(model, model.reference)[0])
    direction = np.array([0.48, 0.6, 0.64])
    phonons = model.to_phonopy()
    qpoint = STEP * direction @ np.linalg.inv(model.reciprocal_lattice())
    phonons.run_qpoints([qpoint])
    energies = MEV_PER_THZ * phonons.qpoints.frequencies[0, :3]
    found = to_gpa(model, energies**2 / STEP**2)
    waves = np.einsum("abcd,b,d->ac", stiffness, direction, direction)
    # 1e-3: the bend of the branches at this wavevector, and phonopy's constants
    assert_allclose(np.sort(found), np.linalg.eigvalsh(waves), rtol=1e-3)


def test_constants_that_resist_a_turn():
    """Shear waves along z that move x, and along x that move z, tell two C44."""
    model, _ = springs(3.2 * HEX, CLOSE_PACKED, 2)
    noise = np.random.default_rng(0).normal(size=model.reference.size)
    parameters = model.reference + 0.2 * noise
    told = []
    for along, moved in [(2, 0), (0, 2)]:
        matrix = model.dynamical_matrices(parameters, [STEP * np.eye(3)[along]])[0, 0]
        eigenvalues, modes = np.linalg.eigh(matrix)
        together = np.abs(modes[moved] + modes[3 + moved])  # equal masses
        told.append(to_gpa(model, eigenvalues[together.argmax()] / STEP**2))
    stiffness, violation = elastic_constants(model, parameters, return_violation=True)
    # 1e-4: the bend of the branches at this wavevector
    assert_allclose(stiffness[0, 4, 4], np.mean(told), rtol=1e-4)
    assert_allclose(stiffness, stiffness.swapaxes(1, 2), atol=1e-9)
    assert violation > 0.05
    assert violation >= abs(told[0] - told[1]) / stiffness.max() * 0.9


def test_a_piezoelectric_crystal_is_refused():
    zincblende = ForceConstantModel(
        2.7 * FCC,
        ["Zn", "S"],
        None,
        positions=[[0, 0, 0], [0.25] * 3],
        n_shells=1,
        supercell=[2, 2, 2],
        born_charges=[2 * np.eye(3), -2 * np.eye(3)],
        dielectric=6 * np.eye(3),
    )
    with pytest.raises(ValueError, match="centre of inversion"):
        elastic_constants(zincblende, [[1.0, 0.5]])
