"""Force constants against phonopy, closed forms and symmetry."""

import re
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from skphonon import ForceConstantModel, load_aluminium_model
from skphonon.physics.constants import MEV2_PER_EIGENVALUE, MEV_PER_THZ
from skphonon.physics.dynamical_matrix import dynamical_matrix_basis
from skphonon.physics.modes import signed_sqrt
from skphonon.physics.zone import ZoneMesh, resolving_points

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
    return model.replace(reference=values)


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
    scale = MEV2_PER_EIGENVALUE / aluminium.atomic_masses
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


def test_a_change_of_the_cell_handed_out_is_not_one_of_the_model(aluminium):
    aluminium.cell.masses = [1.0]
    assert_allclose(aluminium.atomic_masses, 26.98, rtol=1e-4)


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
    wavevectors, weights = resolving_points(crystal, ZoneMesh(4))
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


def test_other_parameters_make_another_model(aluminium):
    model = ForceConstantModel(FCC, "Al", aluminium.reference)
    assert len(model.bonds) == 18
    first = model.replace(n_shells=1)
    assert first.parameter_names == ["1XX", "1ZZ", "1XY"]
    assert len(model.bonds) == 18
    assert first._structure is model._structure  # the symmetry is found once


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


def diamond(lattice_constant=5.43, reference=None, n_shells=2):
    lattice = lattice_constant / 2 * (np.ones((3, 3)) - np.eye(3))
    positions = [[0, 0, 0], [0.25, 0.25, 0.25]]
    return ForceConstantModel(
        lattice, "Si", reference, positions=positions, n_shells=n_shells
    )


def quartz_positions():
    """Space group P3_2 2 1: no inversion, six operations, three of them screws."""
    u, x, y, z = 0.47, 0.414, 0.267, 0.119 + 2 / 3
    silicon = [[u, 0, 2 / 3], [0, u, 1 / 3], [-u, -u, 0]]
    turned = [[x, y, z], [-y, x - y, z + 2 / 3], [y - x, -x, z + 1 / 3]]
    two_fold = [[y, x, -z], [x - y, -y, 1 / 3 - z], [-x, y - x, 2 / 3 - z]]
    return silicon + turned + two_fold


HEXAGONAL = np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, 1]])
CUBIC_SITES = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
WURTZITE_SITES = [
    [1 / 3, 2 / 3, 0],
    [2 / 3, 1 / 3, 0.5],
    [1 / 3, 2 / 3, 0.38],
    [2 / 3, 1 / 3, 0.88],
]
MONOCLINIC = np.array([[3.0, 0, 0], [0, 3.4, 0], [0.8, 0, 4.1]])
STRUCTURES = {
    "perovskite": (3.9 * np.eye(3), ["Sr", "Ti", "O", "O", "O"], CUBIC_SITES, 8),
    "wurtzite": (
        HEXAGONAL * [[3.2], [3.2], [5.2]],
        ["Zn", "Zn", "O", "O"],
        WURTZITE_SITES,
        7,
    ),
    "quartz": (
        HEXAGONAL * [[4.91], [4.91], [5.4]],
        ["Si"] * 3 + ["O"] * 6,
        quartz_positions(),
        9,
    ),
    "monoclinic": (
        MONOCLINIC,
        ["Al", "Al", "O"],
        [[0.1, 0, 0.2], [-0.1, 0, -0.2], [0.5, 0.5, 0.5]],
        10,
    ),
    "no symmetry": (
        np.array([[3.0, 0.1, 0.2], [0.3, 3.2, 0.1], [0.5, 0.2, 3.7]]),
        ["Na", "Cl"],
        [[0, 0, 0], [0.41, 0.53, 0.47]],
        7,
    ),
}


@pytest.fixture(params=STRUCTURES)
def compound(request):
    """A model of a crystal with several atoms a cell and arbitrary constants."""
    lattice, symbols, positions, n_shells = STRUCTURES[request.param]
    model = ForceConstantModel(
        lattice, symbols, None, positions=positions, n_shells=n_shells
    )
    values = np.random.default_rng(0).uniform(0.5, 1.0, len(model.parameter_names))
    shells = [int(re.match(r"\d+", name).group()) for name in model.parameter_names]
    return model.replace(reference=values / shells)


def phonopy_energies(phonons, qpoints):
    phonons.run_qpoints(qpoints)
    return phonons.qpoints.frequencies * MEV_PER_THZ


def assert_same_energies(energies, expected):
    # phonopy's unit factor is of CODATA 2014: 1.2e-7 of ours; soft modes lose digits
    assert_allclose(energies, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_names_tell_shell_element_and_pair():
    assert diamond().parameter_names == [
        "1XX Si1-Si2",
        "1XY Si1-Si2",
        "2XX Si1-Si1",
        "2ZZ Si1-Si1",
        "2XY Si1-Si1",
        "2XZ Si1-Si1",  # ZX is its negative: no centre of inversion on the bond
    ]
    rocksalt = ForceConstantModel(
        FCC, ["Na", "Cl"], None, positions=[[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    assert rocksalt.parameter_names == [
        "1XX Na-Cl",
        "1YY Na-Cl",
        "2XX Na-Na",
        "2ZZ Na-Na",
        "2XY Na-Na",
    ]


def test_each_parameter_is_one_element_of_one_pair(compound):
    """Of the first bond of its shell: 1 for itself, 0 for the other parameters."""
    shells = [int(re.match(r"\d+", n).group()) for n in compound.parameter_names]
    lengths = np.linalg.norm(compound.bonds, axis=1)
    assert (np.diff(lengths) > -1e-5).all()
    values = []
    for name, number in zip(compound.parameter_names, shells, strict=True):
        stars = np.abs(compound.bond_tensors[np.equal(shells, number)]).sum((0, 2, 3))
        first = np.flatnonzero(stars)[0]
        i, j = ("XYZ".index(letter) for letter in name.split()[0][-2:])
        values.append(compound.bond_tensors[:, first, i, j])
    assert_allclose(values, np.eye(len(shells)), atol=1e-12)


def test_as_many_parameters_as_symfc_finds(compound):
    """symfc makes the same basis numerically, from a supercell that holds it."""
    symfc = pytest.importorskip("symfc")
    cutoff = np.linalg.norm(compound.bonds, axis=1).max() + 1e-3
    supercell = compound.to_phonopy().supercell
    basis = symfc.Symfc(supercell, cutoff={2: cutoff}).compute_basis_set(2).basis_set
    assert basis[2].basis_set.shape[-1] == len(compound.parameter_names)


@pytest.mark.parametrize("name", ["quartz", "monoclinic", "no symmetry"])
def test_the_sum_rule_removes_elements_of_the_farthest_shells(name):
    lattice, symbols, positions, n_shells = STRUCTURES[name]
    names = []
    for n in (n_shells - 1, n_shells):
        model = ForceConstantModel(
            lattice, symbols, None, positions=positions, n_shells=n
        )
        names.append(model.parameter_names)
    nearest = [name for name in names[0] if int(name[0]) < 4]
    assert names[1][: len(nearest)] == nearest
    # one atom of a pair sits on no centre: an antisymmetric part remains to be removed
    on_sites = model.tensor(np.eye(len(names[1])))[:, : model.n_atoms]
    assert_allclose(on_sites, on_sites.swapaxes(2, 3), atol=1e-12)
    elements = sum(len(shell.elements) for shell in model._crystal.shells)
    assert elements > len(names[1])


def test_tensors_obey_index_exchange_and_the_sum_rule(compound):
    tensor = compound.tensor(compound.reference)[0]
    atoms, bonds = compound.bond_atoms, compound.bonds
    pairs = tensor[compound.n_atoms :]
    for atom, on_site in enumerate(tensor[: compound.n_atoms]):
        assert_allclose(on_site + pairs[atoms[:, 0] == atom].sum(axis=0), 0, atol=1e-12)
        assert_allclose(on_site, on_site.T, atol=1e-12)
    for (i, j), bond, pair in zip(atoms, bonds, pairs, strict=True):
        apart = np.linalg.norm(bonds + bond, axis=1) + (atoms != [j, i]).any(axis=1)
        assert apart.min() < 1e-6
        assert_allclose(pairs[apart.argmin()], pair.T, atol=1e-12)


def test_matrices_are_hermitian_and_turn_with_the_crystal(compound):
    wavevectors = np.random.default_rng(2).normal(size=(5, 3))
    n_atoms = compound.n_atoms

    def blocks(points):
        matrices = compound.dynamical_matrices(compound.reference, points)[0]
        return matrices.reshape(-1, n_atoms, 3, n_atoms, 3)

    plain = blocks(wavevectors)
    assert_allclose(plain, plain.conj().transpose(0, 3, 4, 1, 2), atol=1e-10)
    rotations, permutations = compound.symmetry_operations()
    for rotation, images in zip(rotations, permutations, strict=True):
        turned = blocks(wavevectors @ rotation.T)[:, images][:, :, :, images]
        expected = np.einsum("ij,najbk,lk->naibl", rotation, plain, rotation)
        assert_allclose(turned, expected, atol=1e-9)


def test_the_basis_is_the_derivative_of_the_matrices(compound):
    wavevectors = np.random.default_rng(3).normal(size=(4, 3))
    basis = compound.dynamical_matrix_basis(wavevectors)
    n = len(compound.parameter_names)
    rows = np.random.default_rng(4).normal(size=(n + 1, n))  # more sets than parameters
    expected = np.einsum("sp,pnij->snij", rows, basis)
    assert_allclose(compound.dynamical_matrices(rows, wavevectors), expected, atol=1e-8)
    single = compound.dynamical_matrices(rows[:1], wavevectors)
    assert_allclose(single, expected[:1], atol=1e-8)
    at_once = dynamical_matrix_basis(
        compound.bonds,
        compound.bond_atoms,
        compound.bond_tensors,
        compound.atomic_masses,
        wavevectors,
    )
    assert_allclose(at_once, basis, atol=1e-10)


def test_constants_go_to_phonopy_and_back(compound):
    qpoints = np.random.default_rng(5).uniform(-1, 1, (50, 3))
    phonons = compound.to_phonopy()
    energies = compound.frequencies(compound.reference, qpoints)[0]
    assert_same_energies(energies, phonopy_energies(phonons, qpoints))
    back, residual = compound.parameters(phonons, return_residual=True)
    assert_allclose(back, compound.reference, atol=1e-12)
    assert residual < 1e-12
    again = ForceConstantModel.from_phonopy(phonons)
    assert again.parameter_names == compound.parameter_names
    assert_allclose(again.reference, compound.reference, atol=1e-12)


def test_tensors_give_back_their_parameters(compound):
    rows = np.random.default_rng(6).normal(size=(3, len(compound.parameter_names)))
    tensors = compound.tensor(rows)
    assert_allclose(compound.parameters(tensors), rows, atol=1e-12)
    back, residual = compound.parameters(tensors[0], return_residual=True)
    assert_allclose(back, rows[0], atol=1e-12)
    assert residual < 1e-12


def test_rounded_lattices_keep_their_symmetry(compound):
    """Published cells come with five or six decimals."""
    rounded = ForceConstantModel(
        np.round(compound.lattice, 5),
        compound.symbol,
        None,
        positions=np.round(compound.positions, 6),
        n_shells=compound.n_shells,
    )
    assert rounded.parameter_names == compound.parameter_names
    tensor = rounded.tensor(compound.reference)[0, : compound.n_atoms]
    assert_allclose(tensor, tensor.swapaxes(1, 2), atol=1e-10)


def test_the_residual_is_what_a_shorter_model_leaves_out(aluminium):
    shorter = ForceConstantModel(FCC, "Al", None, n_shells=1)
    phonons = aluminium.to_phonopy()
    parameters, residual = shorter.parameters(phonons, return_residual=True)
    assert_allclose(parameters, aluminium.reference[:3], atol=1e-12)
    tensor = aluminium.tensor(aluminium.reference)[0]
    lost = tensor[13:]  # of the six second neighbours, and with them of the atom itself
    missing = np.sum(lost**2) + np.sum(lost.sum(axis=0) ** 2)
    assert_allclose(residual, np.sqrt(missing / np.sum(tensor**2)), rtol=1e-10)


FILES = {
    "Si": ("phonopy_params_Si.yaml", None),
    "Ge": ("Ge-phonopy.yaml", "Ge-force_constants.hdf5"),
    "NaCl": ("phonopy_params_NaCl-1.00.yaml.xz", None),
}


@pytest.mark.parametrize(
    ("name", "polar"),
    [("Si", False), ("Ge", False), ("NaCl", False), ("NaCl", True)],
)
def test_files_have_the_frequencies_that_phonopy_finds(data_folder, name, polar):
    import phonopy

    folder = data_folder / "phonopy"
    path, constants = [file and folder / file for file in FILES[name]]
    model = ForceConstantModel.from_phonopy(path, force_constants=constants)
    assert (model.born_charges is None) == (name != "NaCl")
    if not polar:
        model = model.replace(born_charges=None, dielectric=None)
    phonons = phonopy.load(
        path, force_constants_filename=constants, is_nac=polar, log_level=0
    )
    # in farther zones phonopy's lattice sum of the polar term lacks terms
    qpoints = np.random.default_rng(7).uniform(-0.4, 0.4, (60, 3))
    qpoints = np.vstack([qpoints, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.25, 0.75]]])
    expected = phonopy_energies(phonons, qpoints)
    energies = model.frequencies(model.reference, qpoints)[0]
    assert_same_energies(energies, expected)
    assert_same_energies(phonopy_energies(model.to_phonopy(), qpoints), expected)
    assert model.is_stable(model.reference, mesh=4).all()


def test_only_the_named_files_are_read(data_folder, tmp_path, monkeypatch):
    path = data_folder.resolve() / "phonopy" / "phonopy_params_Si.yaml"
    (tmp_path / "BORN").write_text("not of this crystal")
    (tmp_path / "FORCE_CONSTANTS").write_text("not of this crystal")
    monkeypatch.chdir(tmp_path)
    assert ForceConstantModel.from_phonopy(path).born_charges is None


def test_forces_in_a_file_give_constants_as_in_phonopy(data_folder):
    """The Ge file holds forces, and the other file constants that were made of them."""
    import phonopy

    path, constants = (data_folder / "phonopy" / name for name in FILES["Ge"])
    model = ForceConstantModel.from_phonopy(path)
    loaded = ForceConstantModel.from_phonopy(phonopy.load(path, log_level=0))
    assert_allclose(model.reference, loaded.reference, atol=1e-12)
    stored = ForceConstantModel.from_phonopy(path, force_constants=constants)
    assert_allclose(model.reference, stored.reference, atol=2e-3)


@pytest.mark.parametrize("wide", [False, True])
def test_images_of_an_atom_share_its_constants_as_in_phonopy(wide):
    """Without symmetry, (a, a) and (a, -a) fold on one atom of a 2x2x2 supercell."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        cell=np.diag([3.0, 3.3, 3.6]),
        symbols=["Na", "Cl"],
        scaled_positions=[[0, 0, 0], [0.41, 0.53, 0.47]],
    )
    supercell = [[2, 0, 0], [1, 2, 0], [0, 0, 2]] if wide else [2, 2, 2]
    phonons = Phonopy(cell, supercell_matrix=supercell, primitive_matrix=np.eye(3))
    n_sites = len(phonons.supercell)
    phonons.force_constants = np.random.default_rng(8).normal(size=(2, n_sites, 3, 3))
    phonons.symmetrize_force_constants(level=50)
    model = ForceConstantModel.from_phonopy(phonons)
    qpoints = np.random.default_rng(9).uniform(-1, 1, (30, 3))
    energies = model.frequencies(model.reference, qpoints)[0]
    assert_same_energies(energies, phonopy_energies(phonons, qpoints))
    stored = phonopy_energies(model.to_phonopy(), qpoints)
    assert_same_energies(energies, stored)
    # constants that are not shared equally need a larger supercell
    changed = np.random.default_rng(10).normal(size=len(model.parameter_names))
    assert len(model.to_phonopy().supercell) == n_sites
    larger = model.to_phonopy(changed)
    assert len(larger.supercell) > n_sites
    energies = model.frequencies(changed, qpoints)[0]
    assert_same_energies(energies, phonopy_energies(larger, qpoints))


def test_a_crystal_of_low_symmetry_from_a_calculator():
    pytest.importorskip("ase")
    from ase import Atoms
    from ase.calculators.emt import EMT

    atoms = Atoms(
        "CuAl2",
        cell=MONOCLINIC * 1.1,
        scaled_positions=[[0, 0, 0], [0.48, 0.5, 0.52], [0.51, 0.0, 0.49]],
        pbc=True,
    )
    supercell = [2, 2, 2]
    model = ForceConstantModel.from_calculator(atoms, EMT(), supercell=supercell)
    assert model.n_atoms == 3
    atoms.calc = EMT()
    phonons = displaced_by_hand(atoms, supercell)
    qpoints = np.random.default_rng(11).uniform(-1, 1, (50, 3))
    expected = phonopy_energies(phonons, qpoints)
    read = ForceConstantModel.from_phonopy(phonons)
    assert_same_energies(read.frequencies(read.reference, qpoints)[0], expected)
    # displacements in other directions have other anharmonic errors
    energies = model.frequencies(model.reference, qpoints)[0]
    assert_allclose(energies, expected, atol=1e-3 * expected.max())


def displaced_by_hand(atoms, supercell):
    """Force constants with displacements of every atom along every axis."""
    from ase import Atoms
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        cell=atoms.cell[:],
        symbols=atoms.get_chemical_symbols(),
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    phonons = Phonopy(cell, supercell_matrix=supercell, primitive_matrix=np.eye(3))
    sites = phonons.supercell
    constants = np.zeros((len(sites), len(sites), 3, 3))
    step = 0.01
    for site, axis in np.ndindex(len(sites), 3):
        for sign in (1, -1):
            positions = sites.positions.copy()
            positions[site, axis] += sign * step
            image = Atoms(sites.symbols, cell=sites.cell, positions=positions, pbc=True)
            image.calc = atoms.calc
            constants[site, :, axis] -= sign * image.get_forces() / (2 * step)
    phonons.force_constants = constants
    phonons.symmetrize_force_constants(level=5)
    return phonons


def test_the_default_supercell_of_a_calculator_is_wide():
    pytest.importorskip("ase")
    from ase.build import bulk
    from ase.calculators.emt import EMT

    model = ForceConstantModel.from_calculator(
        bulk("Al", cubic=True), EMT(), n_shells=2
    )
    assert model.parameter_names == ["1XX", "1ZZ", "1XY", "2XX", "2YY"]
    volume = abs(np.linalg.det(np.transpose(model.supercell) @ model.lattice))
    assert_allclose(volume, (3 * 4.05) ** 3, rtol=1e-6)
    # EMT's aluminium: phonons within 20 % of measured (X point, 40 and 24 meV)
    energies = model.frequencies(model.reference, [[0.5, 0.5, 0.0]])[0, 0]
    assert_allclose(energies, [24.0, 24.0, 40.0], rtol=0.2)


def test_a_calculator_must_be_there(monkeypatch):
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms("Al", cell=FCC, pbc=True)
    with pytest.raises(ValueError, match="attach one"):
        ForceConstantModel.from_calculator(atoms)
    with pytest.raises(ValueError, match="periodic in three dimensions"):
        ForceConstantModel.from_calculator(ase.Atoms("Al", cell=FCC), object())
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(ImportError, match=r"from_calculator needs .*skphonon\[ase\]"):
        ForceConstantModel.from_calculator(atoms, object())


def test_a_conventional_cell_has_the_same_phonons():
    primitive = diamond(reference=[3.6, 2.4, 0.2, -0.3, 0.1, 0.05])
    sites = np.vstack([np.zeros((1, 3)), 0.5 * (np.ones((3, 3)) - np.eye(3))])
    conventional = ForceConstantModel(
        5.43 * np.eye(3), "Si", None, positions=np.vstack([sites, sites + 0.25])
    )
    assert conventional.n_atoms == 8
    constants = conventional.parameters(primitive.to_phonopy())
    wavevectors = np.random.default_rng(12).normal(size=(10, 3))
    folded = conventional.dynamical_matrices(constants, wavevectors)[0]
    # its zone holds four points of the primitive one
    corners = conventional.reciprocal_lattice()
    points = wavevectors[:, None] + np.vstack([np.zeros(3), corners])
    matrices = primitive.dynamical_matrices(primitive.reference, points.reshape(-1, 3))
    expected = np.linalg.eigvalsh(matrices[0]).reshape(10, -1)
    assert_allclose(
        np.linalg.eigvalsh(folded), np.sort(expected, axis=1), rtol=1e-9, atol=1e-7
    )


@pytest.mark.parametrize("supercell", [[3, 3, 3], [4, 4, 4], 3 * (1 - 2 * np.eye(3))])
def test_any_supercell_that_holds_the_bonds_will_do(supercell):
    model = diamond(reference=[3.6, 2.4, 0.2, -0.3, 0.1, 0.05])
    model = model.replace(supercell=supercell)
    matrix = np.diag(supercell) if np.ndim(supercell) == 1 else supercell
    phonons = model.to_phonopy()
    n_cells = round(abs(np.linalg.det(np.asarray(matrix))))
    assert len(phonons.supercell) == 2 * n_cells
    again = ForceConstantModel.from_phonopy(phonons, n_shells=2)
    assert_allclose(again.reference, model.reference, atol=1e-12)


def test_phonons_do_not_know_how_the_crystal_is_turned(compound):
    rng = np.random.default_rng(13)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = ForceConstantModel(
        compound.lattice @ rotation.T,
        compound.symbol,
        None,
        positions=compound.positions,
        n_shells=compound.n_shells,
    )
    assert len(turned.parameter_names) == len(compound.parameter_names)
    tensor = compound.tensor(compound.reference)[0]
    images = rotation @ tensor @ rotation.T
    before = np.hstack([compound.bonds @ rotation.T, compound.bond_atoms])
    after = np.hstack([turned.bonds, turned.bond_atoms])
    order = np.linalg.norm(after[:, None] - before, axis=2).argmin(axis=1)
    n_atoms = compound.n_atoms
    images[n_atoms:] = images[n_atoms:][order]
    constants, residual = turned.parameters(images, return_residual=True)
    assert residual < 1e-9
    qpoints = rng.uniform(-1, 1, (20, 3))
    expected = compound.frequencies(compound.reference, qpoints)
    energies = turned.frequencies(constants, qpoints)
    assert_allclose(energies, expected, rtol=1e-7, atol=1e-7 * expected.max())


@pytest.mark.parametrize("compact", [True, False])
def test_other_calculators_have_other_units(compact):
    """The same crystal in bohr and Ry/bohr^2, as Quantum Espresso has it."""
    from phonopy import Phonopy
    from phonopy.physical_units import get_calculator_physical_units
    from phonopy.structure.atoms import PhonopyAtoms

    model = rocksalt_with_charges()
    phonons = model.to_phonopy()
    units = get_calculator_physical_units("qe")
    bohr = units.distance_to_A
    cell = phonons.unitcell
    other = Phonopy(
        PhonopyAtoms(
            cell=cell.cell / bohr,
            symbols=cell.symbols,
            scaled_positions=cell.scaled_positions,
        ),
        supercell_matrix=phonons.supercell_matrix,
        primitive_matrix=np.eye(3),
        calculator="qe",
    )
    rydberg = units.energy_to_eV
    other.force_constants = phonons.force_constants * bohr**2 / rydberg
    if not compact:
        from phonopy.harmonic.force_constants import compact_fc_to_full_fc

        other.force_constants = compact_fc_to_full_fc(
            other.primitive, other.force_constants
        )
    other.nac_params = {**phonons.nac_params, "factor": units.nac_factor}
    read = ForceConstantModel.from_phonopy(other, n_shells=2)
    assert_allclose(read.lattice, model.lattice, rtol=1e-8)
    assert_allclose(read.reference, model.reference, rtol=1e-8)
    assert_allclose(read.born_charges, model.born_charges, rtol=1e-8)
    qpoints = np.random.default_rng(14).uniform(-0.4, 0.4, (10, 3))
    assert_same_energies(
        read.frequencies(read.reference, qpoints)[0], phonopy_energies(other, qpoints)
    )


def rocksalt_with_charges():
    return ForceConstantModel(
        2.84 * (np.ones((3, 3)) - np.eye(3)),
        ["Na", "Cl"],
        [0.8, -0.05, 0.1, -0.05, 0.08],
        positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
        supercell=2 * (np.ones((3, 3)) - 2 * np.eye(3)),
        born_charges=[1.1 * np.eye(3), -1.1 * np.eye(3)],
        dielectric=2.4 * np.eye(3),
    )


def test_charges_split_the_optical_modes_and_go_to_phonopy():
    model = rocksalt_with_charges()
    plain = model.replace(born_charges=None, dielectric=None)
    assert plain.dynamical_matrix_offset(np.ones((1, 3))) is None
    small = [[1e-4, 1e-4, 0.0], [0.0, 0.0, 0.0]]
    near, centre = model.frequencies(model.reference, small)[0]
    without = plain.frequencies(model.reference, small)[0]
    assert_allclose(centre, without[1], atol=1e-5)
    assert_allclose(near[3:5], without[0, 3:5], rtol=1e-4)  # transverse: as without
    # Lyddane, Sachs and Teller: e^2 Z^2 / (epsilon_0 epsilon V mu)
    reduced = 1 / np.sum(1 / model.atomic_masses)
    volume = abs(np.linalg.det(model.lattice))
    coulomb = 4 * np.pi * 14.399645 * 1.1**2 / (2.4 * volume * reduced)
    splitting = near[5] ** 2 - near[4] ** 2
    assert_allclose(splitting, MEV2_PER_EIGENVALUE * coulomb, rtol=1e-3)
    again = ForceConstantModel.from_phonopy(model.to_phonopy())
    assert_allclose(again.born_charges, model.born_charges)
    assert_allclose(again.dielectric, model.dielectric)
    # squared energies are exact to 1e-15 of the largest: 1e-6 of the optical ones
    energies = again.frequencies(again.reference, small)[0]
    assert_allclose(energies, [near, centre], atol=2e-6)


@pytest.mark.parametrize("name", ["perovskite", "monoclinic", "diamond"])
def test_inversion_partners_see_conjugate_matrices(name):
    if name == "diamond":
        model = diamond(reference=[3.6, 2.4, 0.2, -0.3, 0.1, 0.05])
    else:
        lattice, symbols, positions, _ = STRUCTURES[name]
        model = ForceConstantModel(lattice, symbols, None, positions=positions)
        n_parameters = len(model.parameter_names)
        drawn = np.random.default_rng(15).normal(size=n_parameters)
        model = model.replace(reference=drawn)
    partners, n = model.inversion_partners(), model.n_atoms
    wavevectors = np.random.default_rng(16).normal(size=(4, 3))
    matrices = model.dynamical_matrices(model.reference, wavevectors)[0]
    blocks = matrices.reshape(-1, n, 3, n, 3)
    images = blocks[:, partners][:, :, :, partners]
    assert_allclose(images, blocks.conj(), atol=1e-9)


def test_crystals_without_inversion_have_no_partners():
    for name in ("wurtzite", "quartz", "no symmetry"):
        lattice, symbols, positions, _ = STRUCTURES[name]
        model = ForceConstantModel(lattice, symbols, None, positions=positions)
        assert model.inversion_partners() is None
        group = model.point_group()
        assert any(np.allclose(rotation, -np.eye(3)) for rotation in group)
        assert len(group) == 2 * len(model.symmetry_operations()[0])


@pytest.mark.parametrize("n_points", [4, (3, 4, 2)])
def test_the_mesh_of_a_compound_stands_for_the_whole_zone(compound, n_points):
    wavevectors, weights = resolving_points(compound, ZoneMesh(n_points))
    axes = [(np.arange(n) + 0.5) / n for n in np.broadcast_to(n_points, 3)]
    full = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3)
    assert len(wavevectors) < len(full)
    matrices = compound.dynamical_matrices(compound.reference, wavevectors)[0]
    squares = np.linalg.eigvalsh(matrices)
    energies = compound.frequencies(compound.reference, full)[0]
    for power in (1, 2, 3):
        mean = weights @ (signed_sqrt(squares) ** power).sum(axis=1)
        assert_allclose(mean, (energies**power).sum() / len(full), rtol=1e-8)


def test_a_table_gives_a_model():
    """Iron at room temperature: Minkiewicz et al., doi:10.1103/PhysRev.162.528."""
    bcc = 1.433 * (np.ones((3, 3)) - 2 * np.eye(3))
    table = {"1XX": 16.88, "1XY": 15.01, "2XX": 14.63, "2YY": 0.55}
    model = ForceConstantModel.from_table(bcc, "Fe", table, unit="N/m")
    assert_allclose(model.reference / 0.06241509, list(table.values()), rtol=1e-6)
    # at H, reciprocal to the cube edge, the neighbours along 111 move against the
    # atom: m omega^2 = 16 * 1XX
    energies = model.frequencies(model.reference, [[0.5, -0.5, 0.5]])[0, 0]
    expected = np.sqrt(16 * 16.88 / (55.845 * 1.66053907e-27)) * 6.58211957e-13
    assert_allclose(energies, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="missing: 2YY; unknown: 2ZZ"):
        ForceConstantModel.from_table(
            bcc, "Fe", {"1XX": 1.0, "1XY": 1.0, "2XX": 1.0, "2ZZ": 1.0}
        )
    with pytest.raises(ValueError, match=r"unit must be eV/Angstrom\^2 or N/m"):
        ForceConstantModel.from_table(bcc, "Fe", table, unit="Ry/au^2")


def test_bad_crystals_are_named():
    def built(*args, **kwargs):
        return ForceConstantModel(FCC, *args, **kwargs).parameter_names

    with pytest.raises(ValueError, match="one a row of positions, 1; got 2: Na, Cl"):
        built(["Na", "Cl"], None)
    with pytest.raises(ValueError, match=r"positions must have shape \(n_atoms, 3\)"):
        built("Na", None, positions=[0, 0, 0])
    with pytest.raises(ValueError, match="mass must be positive"):
        built("Na", None, mass=-1.0)
    with pytest.raises(ValueError, match=r"magnetic_moments .* \(1, 3\), got shape"):
        built("Cr", None, magnetic_moments=[2.0, 1.0])
    with pytest.raises(ValueError, match="magnetic_moments must be finite"):
        built("Cr", None, magnetic_moments=[np.nan])
    with pytest.raises(ValueError, match="atoms 0 and 1 are 0 Angstrom apart"):
        built("Na", None, positions=[[0, 0, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match="must have one mass"):
        built("Si", None, positions=[[0, 0, 0], [0.25] * 3], mass=[28.0, 30.0])
    with pytest.raises(ValueError, match="Give supercell or n_shells"):
        built("Al", None, n_shells=None)
    with pytest.raises(ValueError, match="three integers or"):
        built("Al", None, n_shells=None, supercell=[2, 2])
    model = rocksalt_with_charges()
    with pytest.raises(
        ValueError, match="needs born_charges, dielectric and supercell"
    ):
        model.replace(supercell=None)


def test_bad_constants_are_named(aluminium):
    phonons = diamond(reference=[3.6, 2.4, 0.2, -0.3, 0.1, 0.05]).to_phonopy()
    with pytest.raises(ValueError, match="have no counterpart in the supercell"):
        aluminium.parameters(phonons)
    with pytest.raises(ValueError, match=r"have shape \(..., 19, 3, 3\)"):
        aluminium.parameters(np.zeros((3, 3, 3)))
    with pytest.raises(ValueError, match="cutoff or n_shells may be given, not both"):
        ForceConstantModel.from_phonopy(phonons, cutoff=3.0, n_shells=2)
    with pytest.raises(ValueError, match="names the file that goes with the path"):
        ForceConstantModel.from_phonopy(phonons, force_constants="some.hdf5")
    with pytest.raises(ValueError, match=r"Keep at most n_shells=\d+ \(cutoff=\d"):
        ForceConstantModel.from_phonopy(phonons, n_shells=40)
    phonons.nac_params = {
        "born": np.zeros((2, 3, 3)),
        "dielectric": np.eye(3),
        "factor": 14.4,
        "method": "wang",
    }
    with pytest.raises(ValueError, match="method='wang'"):
        ForceConstantModel.from_phonopy(phonons)
    broken = phonons.force_constants.copy()
    broken[0, 0] *= 1.02
    phonons.force_constants = broken
    with pytest.raises(ValueError, match="symmetrize_force_constants"):
        ForceConstantModel.from_phonopy(phonons)


def test_small_errors_of_the_sum_rule_are_projected_out(aluminium):
    phonons = aluminium.to_phonopy()
    noisy = phonons.force_constants.copy()
    noisy[0, 0] *= 1.001
    phonons.force_constants = noisy
    with pytest.warns(UserWarning, match="sum rule are imposed"):
        model = ForceConstantModel.from_phonopy(phonons)
    assert_allclose(model.tensor(model.reference)[0].sum(axis=0), 0.0, atol=1e-12)
    assert_allclose(model.reference, aluminium.reference, atol=1e-10)


def test_bad_files_are_named(aluminium, tmp_path):
    path = tmp_path / "phonopy_params.yaml"
    aluminium.to_phonopy().save(path, settings={"force_constants": True})
    text = path.read_text()
    start = text.index("supercell_matrix:")
    end = text.index("\n\n", start)
    path.write_text(text[:start] + text[end:])
    with pytest.raises(ValueError, match="must hold a supercell"):
        ForceConstantModel.from_phonopy(path)
    path.write_text(text.replace('length: "angstrom"', 'length: "au"'))
    with pytest.raises(ValueError, match="conflicts with calculator"):
        ForceConstantModel.from_phonopy(path)


def left_handed(lattice, positions=None):
    """Describe a crystal with two lattice vectors exchanged."""
    order = [1, 0, 2]
    lattice = np.asarray(lattice)[order]
    if np.linalg.det(lattice) > 0:
        raise ValueError("The lattice must be right-handed.")
    return lattice, None if positions is None else np.asarray(positions)[:, order]


def test_left_handed_lattices_have_the_same_phonons(compound):
    lattice, positions = left_handed(compound.lattice, compound.positions)
    other = ForceConstantModel(
        lattice,
        compound.symbol,
        compound.reference,
        positions=positions,
        n_shells=compound.n_shells,
    )
    assert other.parameter_names == compound.parameter_names
    qpoints = np.random.default_rng(20).uniform(-1, 1, (20, 3))
    expected = compound.frequencies(compound.reference, qpoints)[0]
    energies = other.frequencies(other.reference, qpoints[:, [1, 0, 2]])[0]
    assert_allclose(energies, expected, rtol=1e-8, atol=1e-8 * expected.max())
    phonons = other.to_phonopy()
    assert phonons.primitive.volume > 0
    # its lattice vectors are the negatives of these
    stored = phonopy_energies(phonons, -qpoints[:, [1, 0, 2]])
    assert_same_energies(stored, expected)
    again = ForceConstantModel.from_phonopy(phonons)
    assert again.parameter_names == compound.parameter_names
    assert_allclose(again.reference, compound.reference, atol=1e-12)


def test_a_left_handed_table_is_that_of_the_crystal():
    bcc = 1.433 * (np.ones((3, 3)) - 2 * np.eye(3))
    table = {"1XX": 16.88, "1XY": 15.01, "2XX": 14.63, "2YY": 0.55}
    hands = [bcc, -bcc] if np.linalg.det(bcc) > 0 else [-bcc, bcc]
    right, left = (
        ForceConstantModel.from_table(lattice, "Fe", table, unit="N/m")
        for lattice in hands
    )
    qpoints = np.random.default_rng(21).uniform(-1, 1, (20, 3))
    assert_allclose(
        left.frequencies(left.reference, -qpoints),
        right.frequencies(right.reference, qpoints),
        rtol=1e-9,
    )


@pytest.mark.parametrize("name", ["wurtzite", "no symmetry"])
def test_left_handed_phonopy_objects_are_read(name, tmp_path):
    """phonopy takes a left-handed unit cell, with a supercell of positive volume."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    lattice, symbols, positions, _ = STRUCTURES[name]
    model = ForceConstantModel(
        lattice, symbols, None, positions=positions, n_shells=3, supercell=[4, 4, 3]
    )
    n_parameters = len(model.parameter_names)
    drawn = np.random.default_rng(22).uniform(0.5, 1.0, n_parameters)
    model = model.replace(reference=drawn)
    right = model.to_phonopy()
    lattice, positions = left_handed(lattice, positions)
    phonons = Phonopy(
        PhonopyAtoms(cell=lattice, symbols=symbols, scaled_positions=positions),
        supercell_matrix=np.diag(np.diag(right.supercell_matrix)[[1, 0, 2]]),
        primitive_matrix=np.eye(3),
    )
    stored, given = phonons.supercell, right.supercell
    assert stored.volume < 0
    steps = stored.positions[:, None] - given.positions
    steps = steps @ np.linalg.inv(given.cell)
    misfit = np.linalg.norm((steps - np.rint(steps)) @ given.cell, axis=2)
    order = misfit.argmin(axis=1)
    assert misfit.min(axis=1).max() < 1e-8
    phonons.force_constants = right.force_constants[:, order]
    qpoints = np.random.default_rng(23).uniform(-1, 1, (20, 3))
    expected = model.frequencies(model.reference, qpoints)[0]
    for source in (phonons, tmp_path / "left.yaml"):
        if source is not phonons:
            phonons.save(source, settings={"force_constants": True})
        read = ForceConstantModel.from_phonopy(source, n_shells=3)
        assert_allclose(read.reference, model.reference, atol=1e-9)
        energies = read.frequencies(read.reference, qpoints[:, [1, 0, 2]])[0]
        assert_allclose(energies, expected, atol=1e-7 * expected.max())


def test_a_left_handed_crystal_from_a_calculator():
    pytest.importorskip("ase")
    from ase import Atoms
    from ase.calculators.emt import EMT

    scaled = [[0, 0, 0], [0.48, 0.5, 0.52], [0.51, 0.0, 0.49]]
    models = []
    for lattice, positions in (
        (MONOCLINIC * 1.1, scaled),
        left_handed(MONOCLINIC * 1.1, scaled),
    ):
        atoms = Atoms("CuAl2", cell=lattice, scaled_positions=positions, pbc=True)
        supercells = [[2, 2, 2], -2 * np.eye(3)]
        models += [
            ForceConstantModel.from_calculator(atoms, EMT(), supercell=supercell)
            for supercell in supercells
        ]
    wavevectors = np.random.default_rng(24).uniform(-1, 1, (20, 3))
    energies = [
        signed_sqrt(np.linalg.eigvalsh(m.dynamical_matrices(m.reference, wavevectors)))
        for m in models
    ]
    # displacements in other directions have other anharmonic errors
    scale = energies[0].max()
    for others in energies[1:]:
        assert_allclose(others, energies[0], atol=1e-3 * scale)
        assert_allclose(others[0, :, -1], energies[0][0, :, -1], rtol=1e-3)


CHROMIUM = 2.9
EDGES = {2: 2.0, 1: 0.8}  # eV/Angstrom^2 along the cube edges, by the moment


def chromium(moments, collinear=True):
    """Two Cr of a cube: springs between them, and along the edges by their moments."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        cell=CHROMIUM * np.eye(3),
        symbols=["Cr", "Cr"],
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
        magnetic_moments=moments if collinear else [[0, 0, m] for m in moments],
    )
    phonons = Phonopy(cell, supercell_matrix=[3, 3, 3], primitive_matrix=np.eye(3))
    sites, n_sites = phonons.supercell, len(phonons.supercell)
    constants = np.zeros((n_sites, n_sites, 3, 3))
    steps = (sites.scaled_positions - sites.scaled_positions[:, None] + 0.5) % 1 - 0.5
    bonds = steps @ sites.cell
    lengths = np.linalg.norm(bonds, axis=2)
    across = np.abs(lengths - CHROMIUM * np.sqrt(0.75)) < 1e-6
    along = np.abs(lengths - CHROMIUM) < 1e-6
    values = [EDGES[abs(int(m))] for m in np.repeat(moments, n_sites // 2)]
    strengths = across * 3.0 + along * np.array(values)[:, None]
    i, j = np.nonzero(strengths)
    units = bonds[i, j] / lengths[i, j, None]
    constants[i, j] = -strengths[i, j, None, None] * units[:, :, None] * units[:, None]
    constants[np.arange(n_sites), np.arange(n_sites)] = -constants.sum(axis=1)
    phonons.force_constants = constants[phonons.primitive.p2s_map]
    return phonons


@pytest.mark.parametrize("collinear", [True, False])
def test_atoms_of_other_moments_have_constants_of_their_own(collinear, tmp_path):
    phonons = chromium([2, 1], collinear)
    model = ForceConstantModel.from_phonopy(phonons)
    values = dict(zip(model.parameter_names, model.reference, strict=True))
    for pair, expected in (("Cr1-Cr1", EDGES[2]), ("Cr2-Cr2", EDGES[1])):
        nearest = next(name for name in values if f"XX {pair}" in name)
        assert_allclose(values[nearest], expected, atol=1e-9)
    qpoints = np.random.default_rng(25).uniform(-1, 1, (20, 3))
    expected = phonopy_energies(phonons, qpoints)
    assert expected.max() > 30
    for other in (
        clone(model),
        ForceConstantModel(**model.settings()),
        ForceConstantModel.from_phonopy(model.to_phonopy()),
    ):
        energies = other.frequencies(other.reference, qpoints)[0]
        assert_same_energies(energies, expected)
    phonons.save(tmp_path / "cr.yaml", settings={"force_constants": True})
    read = ForceConstantModel.from_phonopy(tmp_path / "cr.yaml")
    assert_allclose(read.magnetic_moments, phonons.primitive.magnetic_moments)
    assert_same_energies(read.frequencies(read.reference, qpoints)[0], expected)


def test_moments_that_differ_in_sign_alone_are_one_sublattice():
    """Time reversal takes one to the other, and leaves force constants as they are."""
    phonons = chromium([2, -2])
    model = ForceConstantModel.from_phonopy(phonons, n_shells=2)
    assert model.parameter_names == [
        "1XX Cr1-Cr2",
        "1XY Cr1-Cr2",
        "2XX Cr1-Cr1",
        "2YY Cr1-Cr1",
    ]
    assert_allclose(model.reference, [1, 1, 2.0, 0], atol=1e-9)
    without = model.replace(magnetic_moments=None).symmetry_operations()
    for moments in ([0.0, 0.0], [1.5, 1.5], [1.5, -1.5]):
        model = model.replace(magnetic_moments=moments)
        assert len(model.symmetry_operations()[0]) == len(without[0])
    vectors = [[0, 0, 1.5], [0, 0, -1.5]]  # cubic no more, but one sublattice
    model = model.replace(magnetic_moments=vectors, n_shells=2)
    assert "2ZZ Cr1-Cr1" in model.parameter_names
    assert not any("Cr2-Cr2" in name for name in model.parameter_names)


def test_moments_of_a_calculator_are_kept():
    pytest.importorskip("ase")
    from ase.build import bulk
    from ase.calculators.emt import EMT

    class Seen(EMT):
        moments = ()

        def calculate(self, atoms=None, *args, **kwargs):
            self.moments = atoms.get_initial_magnetic_moments()
            super().calculate(atoms, *args, **kwargs)

    atoms = bulk("Ni", "bcc", a=2.9, cubic=True)
    atoms.set_initial_magnetic_moments([2.0, 1.0])
    calculator = Seen()
    model = ForceConstantModel.from_calculator(
        atoms, calculator, supercell=[2, 2, 2], n_shells=3
    )
    assert_allclose(model.magnetic_moments, [2.0, 1.0])
    assert "3XX Ni2-Ni2" in model.parameter_names
    assert sorted(calculator.moments) == [1.0] * 8 + [2.0] * 8


def change_told(warned):
    """Return share, element and energy of a warning's text."""
    assert len(warned) == 1
    assert warned[0].filename == __file__
    found = re.search(
        r"by ([\d.e-]+) % of .* up to ([\d.e-]+) eV/Angstrom\^2 .* ([\d.e-]+) meV",
        str(warned[0].message),
    )
    return [float(figure) for figure in found.groups()]


def cubic_supercell(model, multiples):
    """phonopy object of a face-centred crystal on multiples of its cube."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    sites = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    cubic = PhonopyAtoms(cell=A * np.eye(3), symbols=["Al"] * 4, scaled_positions=sites)
    phonons = Phonopy(
        cubic, supercell_matrix=multiples, primitive_matrix="F", is_symmetry=False
    )
    cell = phonons.supercell
    images = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    steps = cell.positions + (images @ cell.cell)[:, None] - cell.positions[0]
    constants = np.zeros((1, len(cell), 3, 3))
    tensor = model.tensor(model.reference)[0]
    for vector, phi in zip([np.zeros(3), *model.bonds], tensor, strict=True):
        constants[0, np.nonzero(np.linalg.norm(steps - vector, axis=2) < 1e-5)[1]] += (
            phi
        )
    phonons.force_constants = constants
    return phonons


def test_a_supercell_that_cuts_shells_is_told(aluminium):
    phonons = cubic_supercell(aluminium, [2, 1, 1])
    with pytest.warns(UserWarning, match="lower symmetry than the crystal") as warned:
        model = ForceConstantModel.from_phonopy(phonons)
    assert model.parameter_names == ["1XX", "1ZZ", "1XY"]
    _, element, energy = change_told(warned)
    along_a = 2 * 0.14892  # +a and -a fold on one atom
    assert_allclose(element, along_a, rtol=0.02)
    qpoints = np.indices((4, 4, 4)).reshape(3, -1).T / 4
    change = model.frequencies(model.reference, qpoints)[0]
    change -= phonopy_energies(phonons, qpoints)
    assert_allclose(energy, np.abs(change).max(), rtol=0.05)
    assert energy > 1.5
    whole = cubic_supercell(aluminium, [2, 2, 2])
    read = ForceConstantModel.from_phonopy(whole)
    assert_allclose(read.reference, aluminium.reference, atol=1e-10)
    # shells left out on purpose are no change
    first = ForceConstantModel.from_phonopy(phonons, n_shells=1)
    assert_allclose(first.reference, model.reference)


def test_a_broken_sum_rule_is_told_by_the_energy_at_the_zone_centre(aluminium):
    phonons = aluminium.to_phonopy()
    broken = phonons.force_constants.copy()
    drift = 5e-3 * np.abs(broken).max()
    broken[0, 0] += drift * np.eye(3)
    phonons.force_constants = broken
    expected = np.sqrt(MEV2_PER_EIGENVALUE * drift / aluminium.atomic_masses[0])
    for shells in (None, 1):
        with pytest.warns(UserWarning, match="symmetrize_force_constants") as warned:
            model = ForceConstantModel.from_phonopy(phonons, n_shells=shells)
        _, element, energy = change_told(warned)
        assert_allclose(element, drift, rtol=0.05)
        assert_allclose(energy, expected, rtol=0.05)
        n_kept = len(model.reference)
        assert_allclose(model.reference, aluminium.reference[:n_kept], atol=1e-10)
    broken[0, 0] += drift * np.eye(3) * 2
    phonons.force_constants = broken
    with pytest.raises(ValueError, match="symmetrize=True"):
        ForceConstantModel.from_phonopy(phonons)
    with pytest.warns(UserWarning, match=f"{np.sqrt(3) * expected:.2g} meV"):
        ForceConstantModel.from_phonopy(phonons, symmetrize=True)


def test_constants_far_from_the_symmetry_are_refused_unless_asked():
    model = diamond(reference=[3.6, 2.4, 0.2, -0.3, 0.1, 0.05])
    phonons = model.replace(supercell=[4, 4, 4]).to_phonopy()
    right = phonons.force_constants
    noise = np.random.default_rng(26).normal(size=right.shape)
    noise -= noise.mean(axis=1, keepdims=True)  # obeys the sum rule
    rest = noise.copy()  # what no crystal of this symmetry has
    phonons.force_constants = noise
    with pytest.warns(UserWarning, match="are imposed on them"):
        fitted = ForceConstantModel.from_phonopy(phonons, symmetrize=True)
    rest -= fitted.to_phonopy().force_constants
    size = np.linalg.norm(right) / np.linalg.norm(rest)
    phonons.force_constants = right + 0.26 * size * rest
    with pytest.raises(ValueError, match=r"at most 10 % .* change by 25 % of") as error:
        ForceConstantModel.from_phonopy(phonons)
    assert "symmetrize=True" in str(error.value)
    with pytest.warns(UserWarning, match="are imposed on them: by 25 % of"):
        read = ForceConstantModel.from_phonopy(phonons, symmetrize=True)
    phonons.force_constants = right + 1e-5 * size * rest
    quiet = ForceConstantModel.from_phonopy(phonons)
    for found in (read, quiet):
        n_shared = len(model.reference)
        assert_allclose(found.reference[:n_shared], model.reference, atol=1e-9)


def test_a_calculator_on_a_supercell_of_lower_symmetry_is_told():
    pytest.importorskip("ase")
    from ase.build import bulk
    from ase.calculators.emt import EMT

    atoms = bulk("Cu", cubic=True)
    with (
        pytest.warns(UserWarning, match="Point group symmetries of supercell"),
        pytest.warns(UserWarning, match="symmetry of the crystal") as warned,
    ):
        ForceConstantModel.from_calculator(atoms, EMT(), supercell=[2, 1, 1])
    ours = [w for w in warned if "Force constants change" in str(w.message)]
    assert change_told(ours)[2] > 0.5


LARGE = {
    # name: files, number of parameters, meV by which imposing symmetry changes energies
    "quartz": (["quartz.yaml", "quartz-force_constants.hdf5"], 6639, 0.11),
    "La2Zr2O7": (["La2Zr2O7.yaml", "La2Zr2O7-force_constants.hdf5"], 285, 0.35),
    "CaHgO2": (["CaHgO2-mp-7041.yaml"], 276, 0.03),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_supercells_are_read_whole(data_folder, tmp_path, name):
    """Quartz has 900 atoms in its supercell. No warning: small changes are no news."""
    import phonopy

    (path, *constants), n_parameters, change = LARGE[name]
    content = (data_folder / "phonopy" / path).read_text()
    path = tmp_path / path
    path.write_text(content.replace("Angstrom", "angstrom"))
    constants = data_folder / "phonopy" / constants[0] if constants else None
    model = ForceConstantModel.from_phonopy(path, force_constants=constants)
    assert len(model.parameter_names) == n_parameters
    given = phonopy.load(
        path, force_constants_filename=constants, is_nac=False, log_level=0
    )
    qpoints = np.random.default_rng(30).uniform(-0.4, 0.4, (20, 3))
    plain = model.replace(born_charges=None, dielectric=None)
    energies = plain.frequencies(plain.reference, qpoints)[0]
    assert_same_energies(energies, phonopy_energies(plain.to_phonopy(), qpoints))
    assert_allclose(energies, phonopy_energies(given, qpoints), atol=change)


def test_memory_grows_as_the_number_of_bonds():
    """As one array the tensors of twelve atoms without symmetry take 0.4 GB."""
    import tracemalloc

    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    rng = np.random.default_rng(31)
    sites = np.indices((3, 2, 2)).reshape(3, -1).T / [3, 2, 2]
    cell = PhonopyAtoms(
        cell=np.diag([7.5, 5.2, 5.6]) + rng.normal(scale=0.1, size=(3, 3)),
        symbols=["Na", "Cl"] * 6,
        scaled_positions=sites + rng.normal(scale=0.02, size=sites.shape),
    )
    phonons = Phonopy(cell, supercell_matrix=[2, 2, 2], primitive_matrix=np.eye(3))
    phonons.force_constants = rng.normal(size=(12, len(phonons.supercell), 3, 3))
    phonons.symmetrize_force_constants(level=20)
    tracemalloc.start()
    try:
        model = ForceConstantModel.from_phonopy(phonons)
        qpoints = rng.uniform(-1, 1, (5, 3))
        energies = model.frequencies(model.reference, qpoints)[0]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    n_parameters, n_bonds = len(model.reference), len(model.bonds)
    assert n_parameters > 5000
    assert peak < 0.2 * 72 * n_parameters * n_bonds
    assert_same_energies(energies, phonopy_energies(phonons, qpoints))


def test_shells_and_cutoffs_that_cannot_be_are_refused_at_once(salt):
    crystal = salt.to_phonopy()
    with pytest.raises(ValueError, match="n_shells must be at least 1, got 0"):
        ForceConstantModel.from_phonopy(crystal, n_shells=0)
    with pytest.raises(ValueError, match="no shortest vector on it is longer"):
        ForceConstantModel.from_phonopy(crystal, cutoff=100.0)


def test_a_mode_on_the_border_of_the_zone_is_found():
    """Imaginary at M of a hexagonal zone, and on next to no other point."""
    lattice = [[3.2, 0, 0], [-1.6, 1.6 * 3**0.5, 0], [0, 0, 5.2]]
    model = ForceConstantModel(
        lattice,
        ["Mg"] * 2,
        None,
        positions=[[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
        n_shells=5,
    )
    model = model.replace(reference=np.zeros(20)).reduced("springs")
    row = [0.12431569, 1.01721074, 5.70056633, -0.43748965, 1.71974844]
    row += [-0.01580788, 0.11193779, -0.01728375, -0.10492489, 0.03554677]
    assert model.frequencies([row], [[0.5, 0, 0]])[0, 0, 0] < -2
    assert not model.is_stable([row])[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positions": [[np.nan, 0, 0]]}, "positions must be finite"),
        ({"positions": np.empty((0, 3))}, "of one atom at least"),
        ({"mass": [1.0, 2.0]}, "one number or one for each of 1 atoms"),
        ({"supercell": [np.nan, 2, 2]}, "three integers"),
        ({"symbol": None}, "symbol must name an element"),
    ],
)
def test_settings_that_no_crystal_has(settings, message):
    arguments = {"lattice": 4 * np.eye(3), "symbol": "Al", "reference": None} | settings
    with pytest.raises(ValueError, match=message):
        ForceConstantModel(**arguments)


def test_nobody_can_change_where_atoms_go():
    model = ForceConstantModel(
        4 * np.eye(3), ["C", "C"], None, positions=[[0.1] * 3, [-0.1] * 3]
    )
    with pytest.raises(ValueError, match="read-only"):
        model.inversion_partners()[:] = 0


def test_numbers_of_other_types_make_the_same_model():
    one = {"lattice": 4 * np.eye(3), "symbol": "Al", "reference": None}
    for first, second in (
        ({"mass": 27}, {"mass": np.float64(27.0)}),
        ({"supercell": [3, 3, 3]}, {"supercell": np.array([3.0, 3, 3])}),
        ({"symbol": "Al"}, {"symbol": np.str_("Al")}),
        ({"mass": np.array(27.0)}, {"mass": 27.0}),
    ):
        models = [ForceConstantModel(**(one | each)) for each in (first, second)]
        assert models[0] == models[1]
        assert hash(models[0]) == hash(models[1])
