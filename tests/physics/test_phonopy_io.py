"""Files of phonopy as the world has them, and as no one should write them."""

import gzip
import re

import h5py
import numpy as np
import phonopy
import pytest
from measured_files import case
from numpy.testing import assert_allclose
from phonopy.file_IO import (
    write_BORN,
    write_FORCE_CONSTANTS,
    write_force_constants_to_hdf5,
    write_FORCE_SETS,
)
from phonopy.structure.atoms import PhonopyAtoms

from skphonon import ForceConstantModel
from skphonon.physics.constants import MEV_PER_THZ

QPOINTS = [[0.5, 0.5, 0.0], [0.1, 0.2, 0.3], [0.31, -0.17, 0.05]]
SALT = [0.8, -0.1]  # eV/Angstrom^2: 1XX and 1YY of Na-Cl
read = ForceConstantModel.from_phonopy
MIXED = """
supercell_matrix: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
unit_cell:
  lattice: [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
  points:
  - {symbol: Na, coordinates: [0, 0, 0], weight: 0.5, mass: 22.99}
  - {symbol: K, coordinates: [0, 0, 0], weight: 0.5, mass: 39.1}
  - {symbol: Cl, coordinates: [0.5, 0.5, 0.5], weight: 1.0, mass: 35.45}
"""


def rock_salt(**settings):
    return ForceConstantModel(
        2.82 * (np.ones((3, 3)) - np.eye(3)),
        ["Na", "Cl"],
        SALT,
        positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
        n_shells=1,
        **settings,
    )


@pytest.fixture
def salt_yaml(tmp_path):
    """A file of a crystal alone, and the phonopy object with its constants."""
    phonons = rock_salt().to_phonopy()
    phonons.save(tmp_path / "crystal.yaml", settings={"force_constants": False})
    return tmp_path / "crystal.yaml", phonons


def with_charges(charges):
    """Rock salt on a supercell, with the diagonals of Born charges."""
    model = rock_salt(
        supercell=2 * np.eye(3, dtype=int),
        born_charges=[1.1 * np.eye(3), -1.1 * np.eye(3)],
        dielectric=2.4 * np.eye(3),
    )
    phonons = model.to_phonopy()
    phonons.nac_params = {
        **phonons.nac_params,
        "born": [charge * np.eye(3) for charge in charges],
    }
    return phonons


def assert_frequencies_of_phonopy(model, phonons):
    phonons.run_qpoints(QPOINTS)
    expected = MEV_PER_THZ * phonons.qpoints.frequencies
    assert_allclose(model.frequencies(model.reference, QPOINTS)[0], expected, rtol=1e-4)


def test_charges_without_a_factor():
    path = case("qe_charges_without_factor.yaml")
    model = read(path)
    assert_allclose(model.born_charges[0], 1.1 * np.eye(3), atol=1e-12)
    assert_allclose(model.reference[:2], SALT, atol=1e-6)
    assert_frequencies_of_phonopy(model, phonopy.load(path, log_level=0))


def test_units_spelled_with_a_capital_letter():
    model = read(case("units_spelled_Angstrom.yaml"))
    assert_allclose(model.reference, SALT, atol=1e-10)
    assert model.parameter_names == ["1XX Na-Cl", "1YY Na-Cl"]


def test_a_file_of_the_kyoto_database(data_folder, tmp_path):
    path = data_folder / "phonopy" / "CaHgO2-mp-7041.yaml"
    model = read(path, n_shells=20)
    # what phonopy makes of the file, its unit spelled as phonopy wants it
    text = path.read_text().replace("Angstrom", "angstrom")
    (tmp_path / "spelled.yaml").write_text(text)
    phonons = phonopy.load(tmp_path / "spelled.yaml", log_level=0)
    assert model.symbols == ["O", "O", "Ca", "Hg"]
    assert_allclose(model.reference, model.parameters(phonons), atol=1e-10)


def test_units_that_contradict_the_calculator_are_refused(tmp_path):
    text = case("units_spelled_Angstrom.yaml").read_text()
    path = tmp_path / "bohr.yaml"
    path.write_text(text.replace('length: "Angstrom"', 'length: "au"'))
    with pytest.raises(ValueError, match=r"bohr.yaml must be .* conflicts .* = au"):
        read(path)


def test_without_a_primitive_matrix_the_file_means_its_own_primitive_cell():
    model = read(case("no_primitive_matrix.yaml"))
    assert model.symbols == ["Na"] * 4 + ["Cl"] * 4
    assert_allclose(model.lattice, 5.64 * np.eye(3), atol=1e-9)
    assert_allclose(model.reference, SALT, atol=1e-9)


@pytest.mark.parametrize("inside", [True, False])
def test_without_any_primitive_cell_the_rows_of_the_constants_say_which(
    tmp_path, inside
):
    # the conventional cell: 8 atoms, and 8 rows of constants
    text = case("no_primitive_matrix.yaml").read_text()
    text = re.sub(r"(?ms)^primitive_cell:.*?(?=^unit_cell:)", "", text)
    constants = None
    if not inside:
        whole = phonopy.load(
            case("no_primitive_matrix.yaml"), primitive_matrix="P", log_level=0
        )
        constants = tmp_path / "FORCE_CONSTANTS"
        write_FORCE_CONSTANTS(
            whole.force_constants, constants, p2s_map=whole.primitive.p2s_map
        )
        text = text[: text.index("force_constants:\n  format")]
    path = tmp_path / "old.yaml"
    path.write_text(text)
    model = read(path, force_constants=constants)
    assert model.n_atoms == 8
    assert_allclose(model.reference, SALT, atol=1e-9)


@pytest.mark.parametrize("name", ["constants.h5", "fc2.hdf5", "constants", "fc.txt"])
@pytest.mark.parametrize("unit", [None, "eV/Angstrom^2", "Ry/au^2"])
def test_hdf5_is_known_by_what_it_holds(salt_yaml, tmp_path, name, unit):
    crystal, phonons = salt_yaml
    factor = 1.0 if unit != "Ry/au^2" else 0.529177207**2 / 13.6056991
    write_force_constants_to_hdf5(
        factor * phonons.force_constants,
        filename=tmp_path / name,
        p2s_map=phonons.primitive.p2s_map,
        physical_unit=unit,
    )
    model = read(crystal, force_constants=tmp_path / name)
    assert_allclose(model.reference, SALT, rtol=1e-7)


def test_text_is_known_by_what_it_holds(salt_yaml, tmp_path):
    crystal, phonons = salt_yaml
    path = tmp_path / "constants.hdf5"  # text, in spite of its name
    write_FORCE_CONSTANTS(phonons.force_constants, path, phonons.primitive.p2s_map)
    assert_allclose(read(crystal, force_constants=path).reference, SALT, rtol=1e-12)


@pytest.mark.parametrize("together", [False, True])
def test_force_sets_give_constants(tmp_path, together):
    phonons = rock_salt().to_phonopy()
    forces = forces_on(phonons, together)
    phonons.dataset = forces
    write_FORCE_SETS(forces, filename=tmp_path / "FORCE_SETS")
    crystal = tmp_path / "crystal.yaml"
    phonons.save(crystal, settings={"force_constants": False, "force_sets": False})
    model = read(crystal, force_constants=tmp_path / "FORCE_SETS")
    assert_allclose(model.reference[:2], SALT, atol=1e-6)


def forces_on(phonons, together):
    """Return a dataset of phonopy with harmonic forces."""
    from phonopy.harmonic.force_constants import compact_fc_to_full_fc

    full = compact_fc_to_full_fc(phonons.primitive, phonons.force_constants)
    if together:
        pytest.importorskip("symfc")
        phonons.generate_displacements(
            distance=0.01, number_of_snapshots=6, random_seed=1
        )
    else:
        phonons.generate_displacements(distance=0.01)
    places = phonons.supercell.positions
    steps = [cell.positions - places for cell in phonons.supercells_with_displacements]
    phonons.forces = [-np.einsum("ijab,jb->ia", full, step) for step in steps]
    return phonons.dataset


def test_force_sets_of_other_displacements_get_a_warning(tmp_path):
    phonons = rock_salt().to_phonopy()
    crystal = tmp_path / "crystal.yaml"
    forces = forces_on(phonons, False)
    write_FORCE_SETS(forces, filename=tmp_path / "FORCE_SETS")
    phonons.generate_displacements(distance=0.03)
    phonons.save(crystal, settings={"force_constants": False, "force_sets": False})
    with pytest.warns(UserWarning, match="FORCE_SETS are not those in .*crystal.yaml"):
        model = read(crystal, force_constants=tmp_path / "FORCE_SETS")
    assert_allclose(model.reference[:2], SALT, atol=1e-6)


def test_born_charges_are_no_constants(tmp_path, salt_yaml):
    crystal, _ = salt_yaml
    phonons = with_charges([1.1, -1.1])
    write_BORN(
        phonons.primitive,
        phonons.nac_params["born"],
        phonons.nac_params["dielectric"],
        filename=tmp_path / "BORN",
    )
    with pytest.raises(ValueError, match=r"a BORN file.* phonopy.load\(path, born_fil"):
        read(crystal, force_constants=tmp_path / "BORN")
    with pytest.raises(ValueError, match=r"BORN must be .*it is a BORN file"):
        read(tmp_path / "BORN")


def test_files_in_each_others_places(tmp_path, salt_yaml):
    crystal, phonons = salt_yaml
    text, binary = tmp_path / "FORCE_CONSTANTS", tmp_path / "force_constants.hdf5"
    write_FORCE_CONSTANTS(phonons.force_constants, filename=text)
    write_force_constants_to_hdf5(phonons.force_constants, filename=binary)
    for path in (text, binary):
        with pytest.raises(ValueError, match="Pass the YAML file that phonopy wrote"):
            read(path)
    with pytest.raises(ValueError, match="it is a YAML file"):
        read(crystal, force_constants=crystal)
    with pytest.raises(ValueError, match="holds no force constants and no forces"):
        read(crystal)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"just words", "holds no table"),
        (b"- 1\n- 2", "holds no table"),
        (b"", "holds no table"),
        (b"a: [1, 2", "ParserError"),
        (b"\x89PNG\r\n\x1a\n", "ReaderError"),
        (b"a: 1", "got no supercell"),
        (b"supercell_matrix: [1, 2]", "phonopy YAML file"),
        (b"physical_unit: 3", "phonopy YAML file"),
        (b"phonopy: {calculator: nothing}\nphysical_unit: {length: au}", "YAML"),
        (b"a: &a [*a]", "repeats parts"),
        (b"[" * 5000, "phonopy YAML file"),
    ],
)
def test_what_is_no_phonopy_file_is_named(tmp_path, written, said):
    path = tmp_path / "phonopy.yaml"
    path.write_bytes(written)
    with pytest.raises(ValueError, match=f"phonopy.yaml must be .*{said}"):
        read(path)


def test_a_file_runs_nothing(tmp_path):
    path, trace = tmp_path / "phonopy.yaml", tmp_path / "was_here"
    path.write_text(f"a: !!python/object/apply:os.mkdir ['{trace}']\n")
    with pytest.raises(ValueError, match=r"phonopy.yaml must be .*ConstructorError"):
        read(path)
    assert not trace.exists()


def test_a_small_file_cannot_fill_the_memory(tmp_path):
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for n in range(1, 9):  # 10^9 numbers
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
    lines.append("supercell_matrix: *a8")
    path = tmp_path / "phonopy.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="repeats parts of itself"):
        read(path)


def test_missing_files_and_broken_archives(tmp_path, salt_yaml):
    crystal, _ = salt_yaml
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing.yaml")
    with pytest.raises(FileNotFoundError):
        read(crystal, force_constants=tmp_path / "nothing.hdf5")
    for ending in ("xz", "bz2", "gz"):
        path = tmp_path / f"crystal.yaml.{ending}"
        path.write_bytes(gzip.compress(crystal.read_bytes())[:100])
        with pytest.raises((ValueError, OSError)):
            read(path)


@pytest.mark.parametrize("kind", ["text", "hdf5", "forces"])
def test_constants_of_another_crystal_are_refused(tmp_path, salt_yaml, kind):
    crystal, _ = salt_yaml
    other = ForceConstantModel(
        2.02 * (np.ones((3, 3)) - np.eye(3)), "Al", [0.6, -0.2, 0.6], n_shells=1
    ).to_phonopy()
    path = tmp_path / "other"
    if kind == "text":
        write_FORCE_CONSTANTS(other.force_constants, path, other.primitive.p2s_map)
    elif kind == "hdf5":
        write_force_constants_to_hdf5(other.force_constants, filename=path)
    else:
        write_FORCE_SETS(forces_on(other, False), filename=path)
    with pytest.raises(ValueError, match=r"of the \d+ atoms of the supercell of this"):
        read(crystal, force_constants=path)


def test_a_model_takes_constants_of_its_own_elements_only():
    salt = rock_salt()
    other = ForceConstantModel(
        salt.lattice, ["K", "Cl"], SALT, positions=salt.positions, n_shells=1
    )
    with pytest.raises(ValueError, match=r"of the crystal of the model: .*\(Na, Cl\)"):
        salt.parameters(other.to_phonopy())


def test_constants_without_meaning(tmp_path, salt_yaml):
    crystal, phonons = salt_yaml
    path = tmp_path / "constants.h5"
    for name, value, said in (
        ("something", np.ones(3), "neither force_constants nor fc2"),
        ("fc2", np.ones((2, 3)), r"shape \(2, 3\)"),
        ("fc2", np.nan * phonons.force_constants, "must be finite and below"),
        ("fc2", phonons.force_constants[:1], "must have 2 rows"),
    ):
        with h5py.File(path, "w") as file:
            file[name] = value
        with pytest.raises(ValueError, match=said):
            read(crystal, force_constants=path)
    write_force_constants_to_hdf5(
        phonons.force_constants, path, p2s_map=np.array([0, 5])
    )
    with pytest.raises(ValueError, match=r"got \[0, 5\]"):
        read(crystal, force_constants=path)
    write_force_constants_to_hdf5(
        phonons.force_constants, path, physical_unit="furlong"
    )
    with pytest.raises(ValueError, match="furlong"):
        read(crystal, force_constants=path)
    text = tmp_path / "FORCE_CONSTANTS"
    write_FORCE_CONSTANTS(phonons.force_constants, text)
    text.write_text(text.read_text()[:-200])
    with pytest.raises(ValueError, match="tensors, each after the numbers"):
        read(crystal, force_constants=text)


def test_charges_that_nearly_sum_to_zero_are_made_to():
    model = read(with_charges([1.14, -1.06]))  # 0.08 e too much
    assert_allclose(model.born_charges[0], 1.1 * np.eye(3), atol=1e-12)
    exact = read(with_charges([1.1, -1.1]))
    assert_allclose(
        model.frequencies(model.reference, QPOINTS),
        exact.frequencies(exact.reference, QPOINTS),
        atol=1e-9,
    )
    with pytest.warns(UserWarning, match=r"up to 0\.16 e .* 0\.08 e") as caught:
        more = read(with_charges([1.18, -1.02]))
    assert [one.filename for one in caught] == [__file__]
    assert_allclose(more.born_charges[0], 1.1 * np.eye(3), atol=1e-12)
    both = with_charges([1.1, -1.1])
    both.nac_params["born"] = [np.eye(3), np.eye(3)]
    with pytest.raises(ValueError, match="more than any of them"):
        read(both)


def test_charges_get_the_symmetry_of_the_crystal_as_in_phonopy(tmp_path):
    phonons = with_charges([1.1, -1.1])
    skew = np.diag([0.05, -0.02, 0.0])
    phonons.nac_params = {
        **phonons.nac_params,
        "born": [1.1 * np.eye(3) + skew, -1.1 * np.eye(3)],
    }
    model = read(phonons)
    assert_allclose(model.born_charges[0], 1.105 * np.eye(3), atol=1e-12)
    assert_frequencies_of_phonopy(model, phonons)
    path = tmp_path / "skew.yaml"
    phonons.save(path, settings={"force_constants": True})
    path.write_text(re.sub(r"1\.150{4}\d*", "1.45", path.read_text()))
    with pytest.warns(UserWarning, match="changed by up to 0.3 e") as caught:
        read(path)
    assert [one.filename for one in caught] == [__file__]


def test_charges_of_another_cell_are_refused(tmp_path):
    path = tmp_path / "charges.yaml"
    with_charges([1.1, -1.1]).save(path, settings={"force_constants": True})
    text = path.read_text()
    first = re.search(r"  - # 2 \(Cl\)\n(    - .*\n){3}", text).group()
    path.write_text(text.replace(first, first + first))
    with pytest.raises(ValueError, match=r"charges of the 2 atoms .* shape"):
        read(path)


def test_damaged_files_raise_value_or_os_errors(tmp_path, data_folder):
    """A few hundred of the thousands tried by hand."""
    rng = np.random.default_rng(5)
    whole = (data_folder / "phonopy" / "phonopy_params_Si.yaml").read_bytes()
    path = tmp_path / "damaged.yaml"
    odd = [b"nan", b".inf", b"-1", b"x", b"[]", b"{}", b"1e308", b"99999", b"~", b"''"]
    words = list(re.finditer(rb"-?\d+\.?\d*|\b[A-Za-z]+\b", whole))
    n_refused = 0
    for n in range(60):
        if n % 3 == 0:
            damaged = whole[: rng.integers(len(whole))]
        else:
            word = words[rng.integers(len(words))]
            damaged = b"".join(
                [whole[: word.start()], odd[n % len(odd)], whole[word.end() :]]
            )
        path.write_bytes(damaged)
        try:
            read(path, n_shells=1)
        except (ValueError, OSError):
            n_refused += 1
    assert n_refused > 20


def test_mixed_sites_are_refused(tmp_path):
    if not hasattr(PhonopyAtoms, "has_weighted_species"):
        pytest.skip("this phonopy knows no mixtures")
    path = tmp_path / "mixed.yaml"
    path.write_text(MIXED)
    with pytest.raises(ValueError, match="mixtures of elements"):
        read(path)


@pytest.mark.parametrize(
    ("row", "said"),
    [("[1, 0]", "YAML"), ("[0, 1, 0]", "with a volume"), ("[1, 99999, 0]", "skew")],
)
def test_supercells_that_no_one_means(tmp_path, row, said):
    path = tmp_path / "supercell.yaml"
    pure = re.sub("(?m)^.*symbol: K.*$|weight: ...,", "", MIXED)
    path.write_text(pure.replace("[1, 0, 0]", row))
    with pytest.raises(ValueError, match=said):
        read(path)
