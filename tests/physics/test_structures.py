"""Crystals from structures without force constants."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from phonopy.structure.atoms import PhonopyAtoms

from skphonon import ForceConstantModel

FACES = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def diamond(edge=5.431):
    places = np.vstack([FACES, FACES + 0.25])
    return PhonopyAtoms(
        symbols=["Si"] * 8, cell=edge * np.eye(3), scaled_positions=places
    )


def test_the_primitive_cell_is_found():
    model = ForceConstantModel.from_structure(diamond(), n_shells=1)
    assert model.symbols == ["Si", "Si"]
    assert model.reference is None
    assert_allclose(abs(np.linalg.det(model.lattice)), 5.431**3 / 4)
    assert model.parameter_names == ["1XX Si1-Si2", "1XY Si1-Si2"]


def test_files_and_atoms_give_the_same(tmp_path):
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms(
        "Si8",
        cell=5.431 * np.eye(3),
        scaled_positions=diamond().scaled_positions,
        pbc=True,
    )
    atoms.write(tmp_path / "POSCAR", format="vasp")
    atoms.write(tmp_path / "si.cif")
    expected = ForceConstantModel.from_structure(diamond(), n_shells=2)
    for given in (atoms, tmp_path / "POSCAR", str(tmp_path / "si.cif")):
        found = ForceConstantModel.from_structure(given)
        assert found.parameter_names == expected.parameter_names
        volumes = [abs(np.linalg.det(each.lattice)) for each in (found, expected)]
        assert_allclose(*volumes, rtol=1e-6)
    (tmp_path / "bad.cif").write_text("nothing")
    with pytest.raises(ValueError, match="no structure that ASE reads"):
        ForceConstantModel.from_structure(tmp_path / "bad.cif")
    with pytest.raises(OSError, match="no file"):
        ForceConstantModel.from_structure(tmp_path / "nowhere")
    atoms.pbc = False
    with pytest.raises(ValueError, match="periodic in three dimensions"):
        ForceConstantModel.from_structure(atoms)


def test_what_is_no_structure_is_refused():
    with pytest.raises(TypeError, match="got int"):
        ForceConstantModel.from_structure(3)
    twice = PhonopyAtoms(
        symbols=["Si", "Si"], cell=np.eye(3), scaled_positions=np.zeros((2, 3))
    )
    with pytest.raises(ValueError, match="apart from each other"):
        ForceConstantModel.from_structure(twice)
