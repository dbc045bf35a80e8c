"""What phonopy reads is what was written: frequencies, symmetry, cells and charges."""

import numpy as np
import phonopy
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import ForceConstantModel, load_aluminium_model
from skphonon.physics import write_phonopy_files
from skphonon.physics.constants import MEV_PER_THZ

QPOINTS = [[0.1, 0.2, 0.3], [0.5, 0.0, 0.5], [0.31, -0.17, 0.05]]


@pytest.fixture(params=["aluminium", "silicon", "salt"])
def crystal(request):
    if request.param == "aluminium":
        return load_aluminium_model("cowley-1974")
    return request.getfixturevalue(request.param)


def energies(phonons):
    phonons.run_qpoints(QPOINTS)
    return MEV_PER_THZ * phonons.qpoints.frequencies


def test_phonopy_reads_the_yaml_file(crystal, tmp_path):
    parameters = 1.02 * crystal.reference
    path = write_phonopy_files(crystal, tmp_path / "new" / "folder", parameters)
    given, read = crystal.to_phonopy(parameters), phonopy.load(path)
    assert_array_equal(read.supercell_matrix, given.supercell_matrix)
    assert_allclose(read.primitive_matrix, given.primitive_matrix, atol=1e-12)
    assert_allclose(read.primitive.cell, given.primitive.cell, atol=1e-9)
    assert read.symmetry.dataset.number == given.symmetry.dataset.number
    assert (read.nac_params is None) == (crystal.born_charges is None)
    # 1e-7 meV: the files hold 15 digits of constants of some eV/Angstrom^2
    assert_allclose(energies(read), energies(given), atol=1e-7)
    expected = crystal.frequencies(parameters, QPOINTS)[0]
    assert_allclose(energies(read), expected, rtol=1e-4)  # phonopy's physical constants
    back = ForceConstantModel.from_phonopy(path)
    assert_allclose(back.frequencies(back.reference, QPOINTS)[0], expected, atol=1e-6)


def test_phonopy_reads_force_constants_alone(crystal, tmp_path):
    path = write_phonopy_files(crystal, tmp_path)
    # the crystal as a user of FORCE_CONSTANTS has it: cells, charges, no constants
    bare = crystal.to_phonopy()
    bare_path = tmp_path / "phonopy.yaml"
    bare.save(bare_path, settings={"force_constants": False, "force_sets": False})
    read = phonopy.load(
        bare_path, force_constants_filename=path.parent / "FORCE_CONSTANTS"
    )
    assert_allclose(energies(read), energies(bare), atol=1e-7)


def test_the_reference_is_the_default_and_files_are_replaced(tmp_path):
    model = load_aluminium_model()
    write_phonopy_files(model, tmp_path, 2 * model.reference)
    path = write_phonopy_files(model, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "FORCE_CONSTANTS",
        "phonopy_params.yaml",
    ]
    read = phonopy.load(path)
    assert_allclose(energies(read), energies(model.to_phonopy()), atol=1e-7)


def test_several_sets_are_refused(tmp_path):
    model = load_aluminium_model()
    with pytest.raises(ValueError, match="must be one set"):
        write_phonopy_files(model, tmp_path, np.tile(model.reference, (2, 1)))
    assert not list(tmp_path.iterdir())
