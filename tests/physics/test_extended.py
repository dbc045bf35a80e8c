"""The same crystal with more shells: same names, same values, same energies."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import ForceConstantModel

HCP = [[3.2, 0, 0], [-1.6, 1.6 * 3**0.5, 0], [0, 0, 5.1]]  # zirconium, about
IN_HCP = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]


def with_values(model):
    """Constants that fall with the number of the shell, none of them zero."""
    rng = np.random.default_rng(1)
    numbers = [int(name[0]) for name in model.parameter_names]
    return model.replace(
        reference=rng.uniform(0.5, 1.0, len(numbers)) / np.square(numbers)
    )


@pytest.fixture(scope="module")
def hexagonal():
    return with_values(
        ForceConstantModel(HCP, ["Zr", "Zr"], None, positions=IN_HCP, n_shells=4)
    )


@pytest.fixture(scope="module")
def antiferromagnet():
    """Cubic cell of chromium with moments that oppose each other."""
    return with_values(
        ForceConstantModel(
            2.88 * np.eye(3),
            ["Cr", "Cr"],
            None,
            positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
            magnetic_moments=[[0, 0, 1.0], [0, 0, -1.0]],
            n_shells=3,
        )
    )


@pytest.mark.parametrize(
    "crystal",
    ["silicon", "aluminium", "salt", "hexagonal", "antiferromagnet", "zincblende"],
)
@pytest.mark.parametrize("more", [0, 2, 4])
def test_energies_stay_when_shells_are_added(crystal, more, request):
    model = request.getfixturevalue(crystal)
    n_shells = model._crystal.shells[-1].number + more
    extended = model.extended(n_shells)
    qpoints = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    assert_allclose(
        extended.frequencies(extended.reference, qpoints),
        model.frequencies(model.reference, qpoints),
        rtol=1e-12,
    )
    values = dict(zip(extended.parameter_names, extended.reference, strict=True))
    own = dict(zip(model.parameter_names, model.reference, strict=True))
    assert {name: values[name] for name in own} == own
    assert not any(values[name] for name in values.keys() - own.keys())
    assert extended.n_shells == n_shells


def test_elements_that_the_sum_rule_gave_up_become_parameters(data_folder):
    """Quartz: outer shells give up elements, other ones where there are more."""
    model = ForceConstantModel.from_phonopy(
        data_folder / "phonopy" / "quartz.yaml",
        force_constants=data_folder / "phonopy" / "quartz-force_constants.hdf5",
        n_shells=9,
    )
    extended = model.extended(12)
    qpoints = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 3))
    assert_allclose(
        extended.tensor(extended.reference)[0, : model.n_atoms],
        model.tensor(model.reference)[0, : model.n_atoms],
        atol=1e-9,
    )
    assert_allclose(
        extended.frequencies(extended.reference, qpoints),
        model.frequencies(model.reference, qpoints),
        rtol=1e-10,
    )
    assert extended.born_charges is not None


def test_constants_beyond_the_supercell_of_born_charges_cannot_be_stored(salt):
    extended = salt.extended(20)
    with pytest.raises(ValueError, match="cannot be stored on the supercell"):
        extended.to_phonopy()


def test_an_extended_model_without_charges_goes_to_phonopy(silicon):
    extended = silicon.extended(6)
    rng = np.random.default_rng(0)
    constants = extended.reference + 0.01 * rng.standard_normal(
        len(extended.parameter_names)
    )
    written = extended.to_phonopy(constants)
    assert_allclose(extended.parameters(written), constants, atol=1e-10)


def test_the_farthest_shell_is_known_on_a_supercell_too(silicon):
    assert silicon.n_shells is None
    assert silicon.farthest_shell == 4
    assert silicon.extended(4).parameter_names == silicon.parameter_names
    assert silicon.extended(6).farthest_shell == 6


def test_a_model_without_reference_stays_without(aluminium):
    bare = aluminium.replace(reference=None).extended(4)
    assert bare.reference is None
    assert len(bare.parameter_names) > len(aluminium.parameter_names)


def test_the_lattice_of_an_extended_model_may_be_replaced(silicon):
    measured = silicon.extended(6).replace(lattice=silicon.lattice * 5.431 / 5.466)
    assert_array_equal(measured.reference, silicon.extended(6).reference)


def test_what_cannot_be_extended_says_why(aluminium):
    with pytest.raises(ValueError, match="at least 2, the shells that the model has"):
        aluminium.extended(1)
    for given in (2.5, "3", None, True):
        with pytest.raises(ValueError, match="n_shells must be a whole number"):
            aluminium.extended(given)
    assert aluminium.extended(np.int64(3)).parameter_names[-1] == "3YZ"
    scaled = aluminium.reduced({"all": [1, 2]})
    with pytest.raises(ValueError, match="Extend its full_model"):
        scaled.extended(4)
