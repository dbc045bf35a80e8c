"""Force constants against phonopy, closed forms and symmetry."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import ForceConstantModel, load_aluminium_model
from skphonon.physics.constants import MEV2_PER_EIGENVALUE, MEV_PER_THZ
from skphonon.physics.lattice_dynamics import signed_sqrt

A = 4.04
FCC = A / 2 * (np.ones((3, 3)) - np.eye(3))
LATTICES = {
    "fcc": FCC,
    "bcc": 1.5 * (np.ones((3, 3)) - 2 * np.eye(3)),
    "hexagonal": np.array([[2.6, 0, 0], [-1.3, 1.3 * np.sqrt(3), 0], [0, 0, 4.1]]),
    "orthorhombic": np.diag([3.0, 3.5, 4.0]),
    "triclinic": np.array([[3.0, 0.1, 0.2], [0.3, 3.2, 0.1], [0.5, 0.2, 3.7]]),
}


@pytest.fixture(scope="module")
def aluminium():
    return load_aluminium_model()


@pytest.fixture(params=LATTICES)
def crystal(request):
    """A model of every kind of lattice with three shells and arbitrary constants."""
    model = ForceConstantModel(LATTICES[request.param], "Fe", None, n_shells=3)
    values = np.random.default_rng(0).uniform(0.5, 1.0, len(model.parameter_names))
    return model.set_params(reference=values)


def test_named_elements_of_common_lattices():
    names = {
        name: ForceConstantModel(lattice, "Fe", None).parameter_names
        for name, lattice in LATTICES.items()
    }
    assert names["fcc"] == ["1XX", "1ZZ", "1XY", "2XX", "2YY"]
    assert names["bcc"] == ["1XX", "1XY", "2XX", "2YY"]
    assert len(names["triclinic"]) == 12  # no symmetry: six elements a shell


def test_a_parameter_is_the_element_it_is_named_after(aluminium):
    tensor = -aluminium.tensor(aluminium.reference)[0]
    values = dict(zip(aluminium.parameter_names, aluminium.reference, strict=True))
    bonds = np.vstack([np.zeros(3), aluminium.bonds])
    first = tensor[np.abs(bonds - [A / 2, A / 2, 0]).sum(axis=1).argmin()]
    second = tensor[np.abs(bonds - [A, 0, 0]).sum(axis=1).argmin()]
    xx, zz, xy = values["1XX"], values["1ZZ"], values["1XY"]
    assert_allclose(first, [[xx, xy, 0], [xy, xx, 0], [0, 0, zz]], atol=1e-12)
    assert_allclose(second, np.diag([values["2XX"]] + 2 * [values["2YY"]]), atol=1e-12)


def test_frequencies_agree_with_phonopy(crystal):
    qpoints = np.random.default_rng(1).uniform(-1, 1, (200, 3))
    phonons = crystal.to_phonopy()
    phonons.run_qpoints(qpoints)
    # phonopy's unit factor is of CODATA 2014: 1.2e-7 of ours
    expected = phonons.qpoints.frequencies * MEV_PER_THZ
    assert_allclose(
        crystal.frequencies(crystal.reference, qpoints)[0],
        expected,
        rtol=1e-6,
        atol=1e-7 * np.abs(expected).max(),
    )


def test_dispersion_along_100_in_closed_form(aluminium):
    xx1, zz1, _, xx2, yy2 = aluminium.reference
    q = np.linspace(0.01, 2 * np.pi / A, 7)
    first, second = 1 - np.cos(q * A / 2), 1 - np.cos(q * A)
    longitudinal = 8 * xx1 * first + 2 * xx2 * second
    transverse = 4 * (xx1 + zz1) * first + 2 * yy2 * second
    wavevectors = q[:, None] * [1.0, 0.0, 0.0]
    matrices = aluminium.dynamical_matrices(aluminium.reference, wavevectors)[0]
    scale = MEV2_PER_EIGENVALUE / aluminium.atomic_mass
    expected = scale * np.stack([longitudinal, transverse, transverse], axis=1)
    assert_allclose(np.diagonal(matrices, axis1=1, axis2=2), expected, rtol=1e-10)


def test_tensors_obey_the_sum_rule_and_the_point_group(crystal):
    tensor = crystal.tensor(crystal.reference)[0]
    assert_allclose(tensor.sum(axis=0), 0.0, atol=1e-12)
    wavevectors = np.random.default_rng(2).normal(size=(5, 3))
    plain = crystal.dynamical_matrices(crystal.reference, wavevectors)[0]
    for rotation in crystal.point_group():
        turned = crystal.dynamical_matrices(
            crystal.reference, wavevectors @ rotation.T
        )[0]
        assert_allclose(turned, rotation @ plain @ rotation.T, atol=1e-9)


def test_parameters_enter_linearly(aluminium):
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 5))
    wavevectors = rng.normal(size=(4, 3))

    def matrices(parameters):
        return aluminium.dynamical_matrices(parameters, wavevectors)

    assert_allclose(
        matrices(2 * first - second), 2 * matrices(first) - matrices(second), atol=1e-8
    )


def test_sound_is_linear_and_vanishes_at_the_zone_centre(aluminium):
    small = np.array([[0.0, 0.0, 0.0], [1e-6, 2e-6, 3e-6], [2e-6, 4e-6, 6e-6]])
    energies = aluminium.frequencies(aluminium.reference, small)[0]
    assert_allclose(energies[0], 0.0, atol=1e-9)
    assert_allclose(energies[2], 2 * energies[1], rtol=1e-6)


def test_isotope_shifts_frequencies_by_the_root_of_the_mass(aluminium):
    heavy = ForceConstantModel(FCC, "Al", aluminium.reference, mass=4 * 26.9815385)
    qpoints = [[0.1, 0.3, 0.2]]
    assert_allclose(
        2 * heavy.frequencies(heavy.reference, qpoints),
        aluminium.frequencies(aluminium.reference, qpoints),
        rtol=1e-7,
    )


def test_phonopy_gives_back_what_it_was_given(crystal):
    again = ForceConstantModel.from_phonopy(crystal.to_phonopy())
    n_shells = min(again.n_shells, crystal.n_shells)
    names = ForceConstantModel(crystal.lattice, "Fe", None, n_shells=n_shells)
    shared = len(names.parameter_names)
    assert shared > 0
    assert_allclose(again.reference[:shared], crystal.reference[:shared], atol=1e-10)


@pytest.mark.parametrize("compact", [True, False])
def test_folded_neighbours_share_an_atom_of_the_supercell(aluminium, compact):
    """In the published 2x2x2 supercell, +a and -a fold: its value is twice 2XX."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    sites = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    cubic = PhonopyAtoms(cell=A * np.eye(3), symbols=["Al"] * 4, scaled_positions=sites)
    phonons = Phonopy(cubic, supercell_matrix=2 * np.eye(3), primitive_matrix="F")
    cell = phonons.supercell
    images = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T @ cell.cell
    tensor = aluminium.tensor(aluminium.reference)[0]
    constants = np.zeros((len(cell), len(cell), 3, 3))
    for vector, phi in zip([np.zeros(3), *aluminium.bonds], tensor, strict=True):
        steps = cell.positions[None, :, None] + images - cell.positions[:, None, None]
        i, j, _ = np.nonzero(np.linalg.norm(steps - vector, axis=-1) < 1e-5)
        constants[i, j] += phi
    along_a = np.linalg.norm(cell.positions - [A, 0, 0], axis=1).argmin()
    assert_allclose(constants[0, along_a, 0, 0], -2 * 0.14892, atol=1e-12)

    rows = phonons.primitive.p2s_map if compact else slice(None)
    phonons.force_constants = constants[rows].copy()
    model = ForceConstantModel.from_phonopy(phonons, cutoff=A)
    assert_allclose(model.reference, aluminium.reference, atol=1e-10)
    with pytest.raises(ValueError, match="larger supercell"):
        ForceConstantModel.from_phonopy(phonons, cutoff=2.1 * A)


def test_a_phonopy_file_is_read(aluminium, tmp_path):
    path = tmp_path / "phonopy_params.yaml"
    aluminium.to_phonopy().save(path, settings={"force_constants": True})
    model = ForceConstantModel.from_phonopy(path)
    assert model.parameter_names == aluminium.parameter_names
    assert_allclose(model.reference, aluminium.reference, atol=1e-8)


def test_several_parameter_sets_give_several_crystals(aluminium):
    crystals = aluminium.to_phonopy([aluminium.reference, 4 * aluminium.reference])
    energies = []
    for crystal in crystals:
        crystal.run_qpoints([[0.5, 0.5, 0.0]])
        energies.append(crystal.qpoints.frequencies)
    assert_allclose(energies[1], 2 * energies[0])


def test_the_mesh_stands_for_the_whole_zone(crystal):
    wavevectors, weights = crystal.mesh(4)
    axis = (np.arange(4) + 0.5) / 4
    full = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    matrices = crystal.dynamical_matrices(crystal.reference, wavevectors)[0]
    folded_energies = signed_sqrt(np.linalg.eigvalsh(matrices))
    energies = crystal.frequencies(crystal.reference, full)[0]
    for power in (1, 2, 3):
        mean = weights @ (folded_energies**power).sum(axis=1)
        assert_allclose(mean, (energies**power).sum() / len(full), rtol=1e-10)


def test_stability_follows_the_sign_of_the_constants(aluminium):
    reference = np.asarray(aluminium.reference)
    assert aluminium.is_stable([reference, -reference]).tolist() == [True, False]


def test_parameters_changed_later_change_the_model(aluminium):
    model = ForceConstantModel(FCC, "Al", aluminium.reference)
    assert len(model.bonds) == 18
    model.set_params(n_shells=1)
    assert model.parameter_names == ["1XX", "1ZZ", "1XY"]


def test_bad_input_is_named(aluminium):
    with pytest.raises(ValueError, match="1XX, 1ZZ, 1XY, 2XX, 2YY; got shape"):
        aluminium.tensor([[1.0, 2.0]])
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 2 rows"):
        aluminium.frequencies([[1.0] * 5, [np.nan] * 5], [[0, 0, 0.5]])
    with pytest.raises(ValueError, match="at least one row"):
        aluminium.tensor(np.empty((0, 5)))
    with pytest.raises(ValueError, match="three independent vectors"):
        ForceConstantModel(np.ones((3, 3)), "Al", None).bonds  # noqa: B018
    with pytest.raises(ValueError, match="n_shells must be at least 1"):
        aluminium.__class__(FCC, "Al", None, n_shells=0).bonds  # noqa: B018
    with pytest.raises(ValueError, match="nearest neighbours, got 1 Angstrom"):
        ForceConstantModel.from_phonopy(aluminium.to_phonopy(), cutoff=1.0)
    without = aluminium.to_phonopy()
    without.force_constants = None
    with pytest.raises(ValueError, match="holds no force constants"):
        ForceConstantModel.from_phonopy(without)


def test_crystals_with_a_basis_are_refused(data_folder):
    with pytest.raises(ValueError, match="one atom a primitive cell, got 2"):
        ForceConstantModel.from_phonopy(
            data_folder / "phonopy" / "phonopy_params_Si.yaml"
        )
