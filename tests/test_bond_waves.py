"""Dynamical matrices by one product, against those bond by bond."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skphonon import ForceConstantModel
from skphonon.physics.bond_waves import bond_waves
from skphonon.physics.lattice_dynamics import real_form
from skphonon.physics.phonon_lines import PACKED

TRICLINIC = np.array([[3.0, 0.1, 0.2], [0.3, 3.2, 0.1], [0.5, 0.2, 3.7]])
MONOCLINIC = np.array([[3.0, 0, 0], [0, 3.4, 0], [0.8, 0, 4.1]])
SCATTERED = np.random.default_rng(0).permutation(8)[:, None] / 8 * [1, 3, 5] % 1
CRYSTALS = {
    "one atom": (TRICLINIC, "Na", None, 3),
    "centre of inversion": (
        MONOCLINIC,
        ["Al", "Al", "O"],
        [[0.1, 0, 0.2], [-0.1, 0, -0.2], [0.5, 0.5, 0.5]],
        10,
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


@pytest.mark.parametrize("name", CRYSTALS)
def test_matrices_are_those_of_the_model(name):
    lattice, symbols, positions, n_shells = CRYSTALS[name]
    model = ForceConstantModel(
        lattice, symbols, None, positions=positions, n_shells=n_shells
    )
    n_elements = sum(len(shell.elements) for shell in model._crystal().shells)
    if name in ("no symmetry", "eight atoms"):  # some follow from others
        assert n_elements > len(model.parameter_names)
    partners = model.inversion_partners()
    assert (partners is None) == (name in ("no symmetry", "eight atoms"))
    assert_waves_of(model)


@pytest.mark.parametrize("n_names", [3, 24])
@pytest.mark.parametrize("name", CRYSTALS)
def test_matrices_of_reduced_models_are_those_of_the_model(name, n_names):
    """Parameters reach several shells, and shells have other parameters each."""
    lattice, symbols, positions, n_shells = CRYSTALS[name]
    model = ForceConstantModel(
        lattice, symbols, None, positions=positions, n_shells=n_shells
    )
    n_names = min(n_names, len(model.parameter_names))
    rng = np.random.default_rng(3)
    change = rng.normal(size=(len(model.parameter_names), n_names))
    names = [f"p{number}" for number in range(n_names)]
    assert_waves_of(model.reduced(map=change, names=names))
    assert_waves_of(model.reduced("springs"))
    change[rng.random(change.shape) < 0.6] = 0.0
    change[0] = 1.0
    assert_waves_of(model.reduced(map=change, names=names))


def test_one_atom_on_axes_of_high_symmetry():
    """Tensors of the first shell are diagonal to the last digit."""
    model = ForceConstantModel(3.35 * np.eye(3), "Po", None, n_shells=3, mass=209.0)
    assert_waves_of(model)


def assert_waves_of(model):
    n_parameters = len(model.parameter_names)
    rng = np.random.default_rng(2)
    wavevectors = rng.normal(size=(7, 3))
    rows = rng.normal(size=(2, n_parameters))
    matrices = model.dynamical_matrices(rows, wavevectors).swapaxes(0, 1)
    basis = model.dynamical_matrix_basis(wavevectors).swapaxes(0, 1)
    partners = model.inversion_partners()
    if model.n_atoms > 1 and partners is not None:
        matrices, basis = (real_form(m, partners) for m in (matrices, basis))
    if model.n_atoms == 1:
        matrices, basis = (
            m.reshape(*m.shape[:2], 9)[..., PACKED].transpose(1, 2, 0)
            for m in (matrices, basis)
        )
        matrices = matrices.swapaxes(0, 1)

    waves = bond_waves(model, torch.device("cpu"), torch.float64)
    functions = waves.waves(torch.as_tensor(wavevectors.T.copy()))
    weights = waves.weights(torch.as_tensor(rows))
    assert_allclose(waves.matrices(functions, weights).numpy(), matrices, atol=1e-9)
    assert_allclose(waves.basis(functions).numpy(), basis, atol=1e-9)
