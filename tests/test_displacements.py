"""Displacements and densities of states against phonopy and closed forms."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skphonon import load_aluminium_model
from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.physics.displacements import (
    ZoneMesh,
    displacement_responses,
    mean_square_displacement,
    partial_lines,
    partial_responses,
    symmetry_averages,
)


def zone_mesh(model, n_points, folded=True):
    """A mesh as the simulators lay it; or all points of it and no symmetry."""
    wavevectors, weights = model.mesh(n_points)
    rotations, permutations = model.symmetry_operations()
    if not folded:
        axis = (np.arange(n_points) + 0.5) / n_points
        points = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
        wavevectors = points @ model.reciprocal_lattice()
        weights = np.full(len(points), 1 / len(points))
        rotations, permutations = np.eye(3)[None], np.arange(model.n_atoms)[None]
    basis = np.swapaxes(model.dynamical_matrix_basis(wavevectors), 0, 1)
    offset = model.dynamical_matrix_offset(wavevectors)
    return ZoneMesh(
        torch.as_tensor(basis.astype(complex)),
        None if offset is None else torch.as_tensor(offset),
        torch.as_tensor(weights),
        torch.as_tensor(model.atomic_masses),
        *map(torch.as_tensor, symmetry_averages(rotations, permutations)),
    )


def single_point(matrices, mass):
    """A mesh of one point and one parameter, whose basis is given."""
    return ZoneMesh(
        torch.as_tensor(np.asarray(matrices, dtype=complex)[None, None]),
        None,
        torch.ones(1, dtype=torch.float64),
        torch.tensor([mass], dtype=torch.float64),
        *map(torch.as_tensor, symmetry_averages(np.eye(3)[None], [[0]])),
    )


def one_row(*values):
    return torch.tensor([values], dtype=torch.float64)


@pytest.fixture(scope="module")
def aluminium():
    return load_aluminium_model()


@pytest.fixture(params=["aluminium", "silicon", "salt"])
def crystal(request):
    return request.getfixturevalue(request.param)


def reference(model):
    return torch.as_tensor(model.reference[None])


@pytest.mark.parametrize("temperature", [0.0, 80.0, 300.0])
def test_einstein_oscillator(temperature):
    energy, mass = 25.0, 27.0
    mesh = single_point(energy**2 * np.eye(3), mass)
    tensor = mean_square_displacement(mesh, one_row(1.0), temperature)
    coth = 1.0
    if temperature:
        coth = 1 / np.tanh(energy / (2 * BOLTZMANN * temperature))
    expected = HBAR2_PER_AMU / (2 * mass * energy) * coth
    assert_allclose(tensor[0, 0], expected * np.eye(3), rtol=1e-12, atol=1e-15)


def test_displacements_are_classical_when_hot(crystal):
    temperature = 5000.0
    mesh = zone_mesh(crystal, 6)
    quantum = mean_square_displacement(mesh, reference(crystal), temperature)
    # <u_d u_d> = kT (1 / D)_dd / m_d, D in meV^2
    inverse = torch.linalg.inv(mesh.matrices(reference(crystal)))
    inverse = torch.einsum("n,nsij->sij", mesh.weights.to(inverse), inverse).real
    n_atoms = crystal.n_atoms
    blocks = inverse.reshape(1, n_atoms, 3, n_atoms, 3)
    blocks = torch.einsum("sdadb->sdab", blocks) / mesh.masses[:, None, None]
    blocks = mesh.turned_into_all_images(blocks)
    classical = BOLTZMANN * temperature * HBAR2_PER_AMU * blocks
    # the next term of the expansion is (E / kT)^2 / 12 = 2e-3 at 65 meV
    assert_allclose(quantum, classical, rtol=2e-3, atol=1e-12)


@pytest.mark.parametrize("temperature", [5.0, 300.0])
def test_displacements_agree_with_phonopy(crystal, temperature):
    mesh = zone_mesh(crystal, 8)
    tensors = mean_square_displacement(mesh, reference(crystal), temperature)[0]
    phonons = crystal.to_phonopy()
    # phonopy puts an even mesh half a step off the zone centre, as ours
    phonons.run_mesh(
        [8, 8, 8], is_mesh_symmetry=False, with_eigenvectors=True, is_gamma_center=False
    )
    phonons.run_thermal_displacement_matrices(temperatures=[temperature], freq_min=0.01)
    expected = phonons.thermal_displacement_matrices.thermal_displacement_matrices[0]
    traces = np.trace(expected, axis1=1, axis2=2)
    # 1e-5: the trigonometric and LAPACK frequencies; phonopy's physical constants
    assert_allclose(torch.einsum("daa->d", tensors), traces, rtol=1e-5)


def test_folded_mesh_gives_what_all_points_give(salt):
    folded, whole = (zone_mesh(salt, 4, folded=f) for f in (True, False))
    tensors = [
        mean_square_displacement(m, reference(salt), 80.0) for m in (folded, whole)
    ]
    # a cubic site leaves one number of the tensor, which all points give as its mean
    means = torch.einsum("sdaa->sd", tensors[1]) / 3
    assert_allclose(tensors[0], means[..., None, None].numpy() * np.eye(3), atol=1e-9)
    moments = []
    for mesh in (folded, whole):
        found = partial_lines(mesh, reference(salt))
        weighted = found.strengths * found.eigenvalues[..., None]
        moments.append(weighted.sum(dim=(0, 2)))
    assert_allclose(moments[0], moments[1], rtol=1e-9)


def test_density_of_states_is_complete(crystal):
    """It sums to one for each atom, and its second moment is that atom's stiffness."""
    mesh = zone_mesh(crystal, 4)
    found = partial_lines(mesh, reference(crystal))
    assert_allclose(found.strengths.sum(dim=(0, 2)), 1.0, rtol=1e-10)
    moments = (found.strengths * found.eigenvalues[..., None]).sum(dim=(0, 2))[0]
    diagonal = torch.einsum("n,nsii->si", mesh.weights.to(torch.cdouble),
                            mesh.matrices(reference(crystal))).real  # fmt: skip
    assert_allclose(moments, diagonal.reshape(-1, 3).mean(dim=1), rtol=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_derivatives_of_displacements(crystal, temperature):
    mesh, rows = zone_mesh(crystal, 4), reference(crystal)
    found = displacement_responses(mesh, rows, temperature)
    for number in {0, rows.shape[1] - 1}:
        step = torch.zeros_like(rows)
        step[0, number] = 1e-4 * rows.abs().max()
        above, below = (
            mean_square_displacement(mesh, rows + sign * step, temperature)
            for sign in (1, -1)
        )
        change = (above - below) / (2 * step[0, number])
        assert_allclose(
            found[:, number], change, rtol=1e-4, atol=1e-6 * change.abs().max()
        )


def test_derivatives_hold_for_degenerate_modes():
    """An isotropic oscillator, turned by an anisotropic change."""
    energy, mass, temperature = 20.0, 30.0, 100.0
    change = np.array([[1.0, 0.5, 0], [0.5, -1.0, 0], [0, 0, 0.3]])
    single = single_point(energy**2 * np.eye(3), mass)
    basis = torch.stack([single.basis[:, 0], torch.as_tensor(change)[None] + 0j], dim=1)
    mesh, rows = single._replace(basis=basis), one_row(1.0, 0.0)
    found = displacement_responses(mesh, rows, temperature)[0, 1, 0]

    def coth_over_energy(squared):
        root = np.sqrt(squared)
        return 1 / root / np.tanh(root / (2 * BOLTZMANN * temperature))

    slope = (
        coth_over_energy(energy**2 + 0.1) - coth_over_energy(energy**2 - 0.1)
    ) / 0.2
    expected = HBAR2_PER_AMU / (2 * mass) * slope * change
    assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_derivatives_of_densities(crystal):
    """Of a smooth function summed over the density of states of each atom."""
    mesh, rows = zone_mesh(crystal, 4), reference(crystal)
    scale = 300.0  # meV^2

    def summed(parameters):
        found = partial_lines(mesh, parameters)
        function = torch.exp(-found.eigenvalues / scale)[..., None]
        return (found.strengths * function).sum(dim=(0, 2))

    found = partial_responses(mesh, rows)
    function = torch.exp(-found.eigenvalues / scale)[..., None, None]
    slopes = ((found.values - found.slopes / scale) * function).sum(dim=(0, 2))
    assert_allclose(found.strengths, partial_lines(mesh, rows).strengths, atol=1e-12)
    for number in {0, rows.shape[1] - 1}:
        step = torch.zeros_like(rows)
        step[0, number] = 1e-4
        change = (summed(rows + step) - summed(rows - step)) / 2e-4
        assert_allclose(slopes[:, number], change, rtol=1e-5, atol=1e-9)


def test_unstable_modes_do_not_enter_displacements():
    mesh = single_point(np.diag([-100.0, 400.0, 900.0]), 27.0)
    tensor = mean_square_displacement(mesh, one_row(1.0), 300.0)[0, 0]
    assert tensor[0, 0] == 0.0
    assert (torch.diagonal(tensor)[1:] > 0).all()
