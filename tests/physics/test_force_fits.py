"""Forces on displaced supercells against phonopy and sums over commensurate modes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import ForceConstantModel, load_aluminium_model
from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.physics.force_fits import (
    fit_forces,
    forces_per_parameter,
    lay_out,
    thermal_displacements,
)


@pytest.fixture(params=["silicon", "salt"])
def crystal(request):
    return request.getfixturevalue(request.param)


def forces_of_phonopy(model, layout, displacements):
    """Minus force constants times displacements, site by site where phonopy has it."""
    phonons = model.to_phonopy()
    supercell = phonons.supercell
    constants = phonons.force_constants  # rows of the primitive atoms
    places = (layout.cells[:, None] + model.cell.scaled_positions).reshape(-1, 3)
    places = places @ model.cell.cell
    rows = supercell.positions[phonons.primitive.p2s_map]
    forces = np.empty_like(displacements)
    inverse = np.linalg.inv(supercell.cell)
    for site, place in enumerate(places):
        atom = site % model.n_atoms
        # the crystal moved so that the site lies on the row of its atom
        steps = (supercell.positions - rows[atom])[:, None] - (places - place)
        steps = steps @ inverse
        near = np.linalg.norm((steps - np.rint(steps)) @ supercell.cell, axis=-1)
        moved = displacements[:, near.argmin(axis=1)]
        forces[:, site] = -np.einsum("jab,njb->na", constants[atom], moved)
    return forces


def test_forces_are_those_of_phonopys_force_constants(crystal):
    layout = lay_out(crystal, crystal.supercell)
    n_sites = len(layout.cells) * crystal.n_atoms
    u = np.random.default_rng(0).normal(size=(2, n_sites, 3))
    basis = forces_per_parameter(crystal, layout, u)
    forces = np.tensordot(crystal.reference, basis, axes=1)
    assert_allclose(forces, forces_of_phonopy(crystal, layout, u), atol=1e-10)
    # constants of images are shared equally in the reference, so it comes back
    fitted = fit_forces(crystal, layout, u, forces)
    assert_allclose(fitted, crystal.reference, atol=1e-9)


@pytest.mark.parametrize("matrix", [[4, 4, 3], [[0, 2, 2], [2, 0, 2], [3, 2, 0]]])
def test_any_supercell_gives_the_constants_back(matrix):
    matrix = np.diag(matrix) if np.ndim(matrix) == 1 else np.array(matrix)
    lattice = np.array([[2.6, 0, 0], [-1.3, 1.3 * np.sqrt(3), 0], [0, 0, 4.1]])
    model = ForceConstantModel(lattice, "Mg", None, n_shells=3)
    layout = lay_out(model, matrix)
    assert len(layout.cells) == abs(round(np.linalg.det(matrix)))
    values = np.random.default_rng(1).normal(size=len(model.parameter_names))
    u = np.random.default_rng(2).normal(size=(3, len(layout.cells), 3))
    forces = np.tensordot(values, forces_per_parameter(model, layout, u), axes=1)
    assert_allclose(forces.sum(axis=1), 0, atol=1e-10)  # no force on the whole
    assert_allclose(fit_forces(model, layout, u, forces), values, atol=1e-9)


@pytest.mark.parametrize("temperature", [5.0, 400.0])
def test_thermal_displacements_are_those_of_commensurate_modes(temperature):
    model, n = load_aluminium_model(), 3
    layout = lay_out(model, n * np.eye(3, dtype=int))
    rng = np.random.RandomState(0)
    u = thermal_displacements(model, layout, model.reference, temperature, 4000, rng)
    qpoints = np.indices((n, n, n)).reshape(3, -1).T[1:] / n  # no zone centre
    energies = model.frequencies(model.reference[None], qpoints)[0]
    occupied = 1 / np.tanh(energies / (2 * BOLTZMANN * temperature))
    variance = HBAR2_PER_AMU / (2 * model.atomic_masses[0] * energies) * occupied
    expected = variance.sum() / (3 * n**3)
    # 4000 draws of 78 modes: a relative error of less than sqrt(2 / 4000) * 0.5
    assert_allclose((u**2).mean(), expected, rtol=0.02)
    assert_allclose(u.sum(axis=1), 0, atol=1e-10)


def test_what_cannot_be_determined_is_said():
    model = ForceConstantModel(
        load_aluminium_model().lattice, "Al", None, n_shells=6
    )  # reaches far beyond eight atoms
    layout = lay_out(model, 2 * np.eye(3, dtype=int))
    u = np.random.default_rng(3).normal(size=(5, 8, 3))
    with pytest.raises(
        ValueError, match="8 atoms cannot tell 18 parameters apart, only 4"
    ):
        fit_forces(model, layout, u, np.zeros_like(u))
    model = model.replace(n_shells=8)
    with pytest.raises(ValueError, match="Raise n_displacements"):
        fit_forces(model, layout, u[:1, :4], u[:1, :4])
