"""The dipole term against phonopy, closed forms, and what symmetry demands."""

from contextlib import chdir

import numpy as np
import phonopy
import pytest
from numpy.testing import assert_allclose
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.brillouin_zone import BrillouinZone
from scipy import constants as si

from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.polar import non_analytic_term, polar_term

COULOMB = si.e / (4 * np.pi * si.epsilon_0) * 1e10  # e^2 / (4 pi epsilon_0), eV A


@pytest.fixture(scope="module")
def salt(data_folder, tmp_path_factory):
    path = data_folder / "phonopy" / "phonopy_params_NaCl-1.00.yaml.xz"
    with chdir(tmp_path_factory.mktemp("empty")):  # phonopy reads files that lie about
        return phonopy.load(path.resolve(), log_level=0)


@pytest.fixture(scope="module")
def anisotropic():
    """A polar crystal without symmetry, on a skewed supercell.

    Its charges are no symmetric tensors. Its force constants are zero: they have no
    part in the term.
    """
    rng = np.random.default_rng(0)
    born = rng.normal(size=(3, 3, 3)) + 4 * np.array([1, 1, -2])[:, None, None]
    cell = PhonopyAtoms(
        ["Ti", "O", "O"],
        cell=np.diag([3.9, 3.9, 5.1]),
        scaled_positions=[[0.1, 0, 0], [0.5, 0.45, 0], [0.2, 0.7, 0.52]],
    )
    crystal = phonopy.Phonopy(cell, [[2, 1, 0], [0, 2, 0], [1, 0, 2]], np.eye(3))
    crystal.force_constants = np.zeros((24, 24, 3, 3))
    crystal.nac_params = {
        "born": born - born.mean(axis=0),
        "dielectric": [[5.0, 0.6, 0], [0.6, 6.0, 0.3], [0, 0.3, 7.0]],
        "factor": COULOMB,
    }
    return crystal


@pytest.fixture(params=["salt", "anisotropic"])
def crystal(request):
    return request.getfixturevalue(request.param)


def arguments(crystal):
    primitive = crystal.primitive
    return {
        "lattice": primitive.cell,
        "scaled_positions": primitive.scaled_positions,
        "masses": primitive.masses,
        "born": crystal.nac_params["born"],
        "dielectric": crystal.nac_params["dielectric"],
        "supercell": np.rint(np.linalg.inv(primitive.primitive_matrix)),
    }


def cartesian(crystal, qpoints):
    return 2 * np.pi * qpoints @ np.linalg.inv(crystal.primitive.cell).T


def term(crystal, qpoints):
    return polar_term(**arguments(crystal), wavevectors=cartesian(crystal, qpoints))


def random_qpoints(crystal, n_points=100):
    """Points of the first Brillouin zone: phonopy sums around the origin alone."""
    zone = BrillouinZone(np.linalg.inv(crystal.primitive.cell))
    zone.run(np.random.default_rng(1).uniform(-0.5, 0.5, (n_points, 3)))
    return np.array([points[0] for points in zone.shortest_qpoints])


def phonopy_matrices(crystal, qpoints, *, with_term=True, **parameters):
    """Dynamical matrices in meV^2 with our unit of charge, and nac_params changed."""
    copy = phonopy.Phonopy(
        crystal.unitcell, crystal.supercell_matrix, crystal.primitive_matrix
    )
    copy.force_constants = crystal.force_constants
    if with_term:
        copy.nac_params = {**crystal.nac_params, "factor": COULOMB, **parameters}
    matrices = []
    for qpoint in qpoints:
        copy.dynamical_matrix.run(qpoint)
        matrices.append(copy.dynamical_matrix.dynamical_matrix)
    return MEV2_PER_EIGENVALUE * np.array(matrices)


def phonopy_term(crystal, qpoints, **parameters):
    with_term = phonopy_matrices(crystal, qpoints, **parameters)
    return with_term - phonopy_matrices(crystal, qpoints, with_term=False)


def many_vectors(crystal):
    """Phonopy's own damping, with the sum carried out to twice its radius."""
    dynamics = crystal.dynamical_matrix
    dynamics.make_Gonze_nac_dataset()
    *_, radius, _, damping = dynamics.Gonze_nac_dataset
    return {"G_cutoff": 2 * radius, "Lambda": damping}


def test_agrees_with_phonopy(salt):
    qpoints = random_qpoints(salt)
    expected = phonopy_term(salt, qpoints)
    # phonopy cuts its own sum at about 1e-7
    assert_allclose(term(salt, qpoints), expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("zone", [[0, 0, 0], [1, 0, -2], [5, -3, 2]])
def test_agrees_with_phonopy_converged(crystal, zone):
    qpoints = random_qpoints(crystal)
    expected = phonopy_term(crystal, qpoints, **many_vectors(crystal))
    phases = np.exp(2j * np.pi * crystal.primitive.scaled_positions @ zone).repeat(3)
    expected *= phases.conj()[:, None] * phases
    scale = np.abs(expected).max()
    assert_allclose(term(crystal, qpoints + zone), expected, atol=1e-8 * scale)


def test_frequencies_agree_with_phonopy(salt):
    qpoints = random_qpoints(salt)
    matrices = phonopy_matrices(salt, qpoints, with_term=False) + term(salt, qpoints)
    salt.run_qpoints(qpoints)
    frequencies = salt.qpoints.frequencies
    expected = frequencies / salt.unit_conversion_factor * MEV2_PER_EIGENVALUE**0.5
    # its unit of charge squared differs by 4.6e-7
    assert_allclose(np.sqrt(np.linalg.eigvalsh(matrices)), expected, rtol=1e-6)


@pytest.mark.parametrize("direction", [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 2, -3]])
def test_limit_at_the_zone_centre(crystal, direction):
    """It is 4 pi e^2 / V (q.Z_i)(q.Z_j) / q.eps.q, whatever the supercell."""
    q = 1e-4 * np.array(direction) / np.linalg.norm(direction)
    values = arguments(crystal)
    volume = abs(np.linalg.det(values["lattice"]))
    roots = np.sqrt(values["masses"])[:, None]
    charges = (np.einsum("c,ica->ia", q, values["born"]) / roots).ravel()
    expected = np.outer(charges, charges) / (q @ values["dielectric"] @ q)
    expected *= 4 * np.pi * COULOMB / volume * MEV2_PER_EIGENVALUE
    # the first order in q is odd and leaves with the mean
    computed = polar_term(**values, wavevectors=[q, -q]).mean(axis=0)
    assert_allclose(computed, expected, atol=1e-6 * np.abs(expected).max())
    assert_allclose(fields(crystal, [direction])[0], expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("direction", [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
def test_lyddane_sachs_teller(salt, direction):
    q = 1e-4 * np.array(direction) / np.linalg.norm(direction)
    values = arguments(salt)
    qpoints = [q @ values["lattice"].T / (2 * np.pi)]
    matrices = phonopy_matrices(salt, qpoints, with_term=False)
    matrices += polar_term(**values, wavevectors=[q])
    *_, transverse, same, longitudinal = np.linalg.eigvalsh(matrices[0])
    assert_allclose(same, transverse, rtol=1e-6)
    # static permittivity: electrons, and the ions' response to a field
    volume = abs(np.linalg.det(values["lattice"]))
    permittivity, charge = values["dielectric"][0, 0], values["born"][0, 0, 0]
    reduced = 1 / (1 / values["masses"]).sum()
    ions = 4 * np.pi * COULOMB * charge**2 / (volume * reduced)
    static = permittivity + ions * MEV2_PER_EIGENVALUE / transverse
    assert_allclose(longitudinal / transverse, static / permittivity, rtol=1e-6)


def test_no_macroscopic_field_on_a_lattice_point(crystal):
    points = np.array([[0, 0, 0], [1, 0, 0], [-2, 3, 5]]) + 1e-12
    scale = np.abs(term(crystal, random_qpoints(crystal))).max()
    assert_allclose(term(crystal, points), 0, atol=1e-8 * scale)


def test_vanishes_where_the_supercell_is_exact(crystal):
    supercell = arguments(crystal)["supercell"]
    steps = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [2, -1, 3], [7, 5, 0]])
    points = steps @ np.linalg.inv(supercell)
    scale = np.abs(term(crystal, random_qpoints(crystal))).max()
    assert_allclose(term(crystal, points), 0, atol=1e-8 * scale)
    assert np.abs(term(crystal, points + 0.05)).max() > 1e-3 * scale


def test_hermitian(crystal):
    matrices = term(crystal, 5 * random_qpoints(crystal))
    adjoint = matrices.conj().swapaxes(1, 2)
    assert_allclose(matrices, adjoint, atol=1e-12 * np.abs(matrices).max())


def test_turns_with_the_crystal(crystal):
    values, q = arguments(crystal), cartesian(crystal, 5 * random_qpoints(crystal))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turned = values | {
        "lattice": values["lattice"] @ turn.T,
        "born": turn @ values["born"] @ turn.T,
        "dielectric": turn @ values["dielectric"] @ turn.T,
    }
    blocks = np.kron(np.eye(len(values["masses"])), turn)
    expected = blocks @ polar_term(**values, wavevectors=q) @ blocks.T
    computed = polar_term(**turned, wavevectors=q @ turn.T)
    # zone boundaries come from the other side of the zone: the sum is cut at 1e-9
    assert_allclose(computed, expected, atol=1e-8 * np.abs(expected).max())


def test_does_not_depend_on_the_choice_of_cell(crystal):
    values, q = arguments(crystal), cartesian(crystal, 5 * random_qpoints(crystal))
    basis = np.array([[1, 0, 0], [7, 1, 0], [-9, 8, 1]])  # a skewed cell of the lattice
    inverse = np.linalg.inv(basis)
    positions = values["scaled_positions"] @ inverse
    positions += np.random.default_rng(3).integers(-2, 3, positions.shape)
    other = values | {
        "lattice": basis @ values["lattice"],
        "scaled_positions": positions,
        "supercell": np.rint(inverse.T @ values["supercell"]),
    }
    expected = polar_term(**values, wavevectors=q)
    # the two sums leave out different small terms
    scale = np.abs(expected).max()
    assert_allclose(polar_term(**other, wavevectors=q), expected, atol=1e-8 * scale)


def test_points_do_not_know_of_each_other(anisotropic):
    q = cartesian(anisotropic, 5 * random_qpoints(anisotropic, 300))  # several blocks
    values = arguments(anisotropic)
    together = polar_term(**values, wavevectors=q)
    alone = [polar_term(**values, wavevectors=[q[n]])[0] for n in (0, 150, 299)]
    assert_allclose(together[[0, 150, 299]], alone, atol=1e-9)
    assert polar_term(**values, wavevectors=np.empty((0, 3))).shape == (0, 9, 9)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("born", np.ones((2, 3, 3)), r"born must have shape \(3, 3, 3\)"),
        ("born", np.full((3, 3, 3), np.nan), "born must be finite, got 27 of 27"),
        ("born", np.full((3, 3, 3), 0.01), "born must sum to zero .* 0.03 e.*Symmetri"),
        ("dielectric", 5.0, r"dielectric must have shape \(3, 3\), got \(\)"),
        ("dielectric", np.diag([5, 5, np.inf]), "dielectric must be finite"),
        ("dielectric", np.diag([5, 5, -1]), "positive definite, got .* -1"),
        ("supercell", np.diag([2, 2, 0]), "supercell must be a matrix of integers"),
        ("supercell", np.diag([2, 2, 1.5]), "supercell must be a matrix of integers"),
        ("lattice", np.ones((3, 3)), "lattice must have three independent vectors"),
        ("masses", [16, 16, 0], "masses must be positive, got 0 amu"),
        ("wavevectors", np.zeros(3), r"wavevectors must have shape \(n, 3\)"),
    ],
)
def test_bad_input(anisotropic, name, value, message):
    values = arguments(anisotropic) | {"wavevectors": np.zeros((1, 3)), name: value}
    with pytest.raises(ValueError, match=message):
        polar_term(**values)


def fields(crystal, directions):
    """Non-analytic term of a phonopy object."""
    values = arguments(crystal)
    names = ("lattice", "masses", "born", "dielectric")
    return non_analytic_term(**{n: values[n] for n in names}, directions=directions)


def test_the_field_splits_modes_as_phonopy_has_it(salt):
    direction = np.array([0.2, 0.7, 0.4])  # in reciprocal lattice vectors
    salt.run_qpoints([[0, 0, 0]], nac_q_direction=direction)
    expected = salt.qpoints.frequencies[0] / salt.unit_conversion_factor
    matrices = phonopy_matrices(salt, [[0, 0, 0]], with_term=False)
    matrices = matrices + term(salt, np.zeros((1, 3)))
    cartesian = direction @ np.linalg.inv(salt.primitive.cell).T
    squares = np.linalg.eigvalsh(matrices + fields(salt, cartesian[None]))[0]
    expected = expected * MEV2_PER_EIGENVALUE**0.5
    assert_allclose(np.sqrt(squares[3:]), expected[3:], rtol=1e-6)
