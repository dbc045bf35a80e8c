"""One-phonon lines against LAPACK, displacements against phonopy and closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import load_aluminium_model
from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.physics.lattice_dynamics import (
    PACKED,
    mean_square_displacement,
    one_phonon_lines,
)


def broadened(energies, strengths, width=1.0):
    axis = np.linspace(0, 60, 121)[:, None, None]
    return (strengths * np.exp(-0.5 * ((axis - energies) / width) ** 2)).sum(axis=1)


def random_matrices(kind, rng, n=200):
    """Symmetric matrices in meV^2 with chosen eigenvalues and random eigenvectors."""
    eigenvalues = {
        "distinct": rng.uniform(50, 2000, (n, 3)),
        "two equal": np.sort(rng.uniform(50, 2000, (n, 2)))[:, [0, 1, 1]],
        "two equal, lowest": np.sort(rng.uniform(50, 2000, (n, 2)))[:, [0, 0, 1]],
        "nearly equal": 900 + rng.uniform(-1, 1, (n, 3)) * 10.0 ** rng.uniform(-12, 0),
        "all equal": np.full((n, 3), 900.0),
        "unstable": rng.uniform(-1000, 2000, (n, 3)),
    }[kind]
    rotations = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    return np.einsum("nij,nj,nkj->nik", rotations, eigenvalues, rotations)


@pytest.mark.parametrize(
    "kind",
    [
        "distinct",
        "two equal",
        "two equal, lowest",
        "nearly equal",
        "all equal",
        "unstable",
    ],
)
def test_lines_agree_with_diagonalisation(kind):
    rng = np.random.default_rng(0)
    matrices, q_vectors = random_matrices(kind, rng), rng.normal(size=(3, 200))
    packed = matrices.reshape(-1, 9)[:, PACKED].T
    energies, strengths = one_phonon_lines(packed, q_vectors)

    eigenvalues, vectors = np.linalg.eigh(matrices)
    exact = np.sqrt(np.maximum(eigenvalues, 0)).T
    projections = np.einsum("in,nij->jn", q_vectors, vectors) ** 2 * (eigenvalues.T > 0)
    # the cubic's roots are exact to 1e-8 of the largest eigenvalue (2000 meV^2)
    assert_allclose(energies[::-1] ** 2, exact**2, atol=1e-4)
    # single strengths of degenerate modes are arbitrary, the spectrum is not
    assert_allclose(
        broadened(energies, strengths), broadened(exact, projections), atol=1e-4
    )


def test_unstable_modes_scatter_nothing():
    packed = np.array([-100.0, 400.0, 900.0, 0.0, 0.0, 0.0])[:, None]
    energies, strengths = one_phonon_lines(packed, np.ones((3, 1)))
    assert_allclose(energies[:, 0], [30.0, 20.0, 0.0])
    assert_allclose(strengths[:, 0], [1.0, 1.0, 0.0])


def test_strengths_sum_to_q_squared():
    rng = np.random.default_rng(1)
    packed = random_matrices("distinct", rng).reshape(-1, 9)[:, PACKED].T
    q_vectors = rng.normal(size=(3, 200))
    _, strengths = one_phonon_lines(packed, q_vectors)
    assert_allclose(strengths.sum(axis=0), (q_vectors**2).sum(axis=0), rtol=1e-7)


@pytest.mark.parametrize("temperature", [0.0, 80.0, 300.0])
def test_einstein_oscillator(temperature):
    energy, mass = 25.0, 27.0
    matrices = energy**2 * np.eye(3)[None]
    tensor = mean_square_displacement(matrices, [1.0], mass, temperature)
    coth = 1.0
    if temperature:
        coth = 1 / np.tanh(energy / (2 * BOLTZMANN * temperature))
    expected = HBAR2_PER_AMU / (2 * mass * energy) * coth
    assert_allclose(tensor, expected * np.eye(3), atol=1e-15)


def test_displacements_are_classical_when_hot():
    model = load_aluminium_model()
    wavevectors, weights = model.mesh(8)
    matrices = model.dynamical_matrices(model.reference, wavevectors)[0]
    mass, temperature = model.atomic_mass, 5000.0
    quantum = mean_square_displacement(matrices, weights, mass, temperature)
    # <u u> = kT / m omega^2, D in meV^2
    inverse = np.einsum("n,nij->ij", weights, np.linalg.inv(matrices))
    classical = BOLTZMANN * temperature * HBAR2_PER_AMU / mass * inverse
    assert_allclose(quantum, classical, rtol=1e-3)


@pytest.mark.parametrize("temperature", [5.0, 300.0])
def test_displacements_agree_with_phonopy(temperature):
    model = load_aluminium_model()
    wavevectors, weights = model.mesh(8)
    matrices = model.dynamical_matrices(model.reference, wavevectors)[0]
    folded = mean_square_displacement(matrices, weights, model.atomic_mass, temperature)
    phonons = model.to_phonopy()
    # phonopy puts an even mesh half a step off the zone centre, as ours
    phonons.run_mesh(
        [8, 8, 8], is_mesh_symmetry=False, with_eigenvectors=True, is_gamma_center=False
    )
    phonons.run_thermal_displacement_matrices(temperatures=[temperature], freq_min=0.01)
    expected = phonons.thermal_displacement_matrices.thermal_displacement_matrices[0, 0]
    assert_allclose(np.trace(folded), np.trace(expected), rtol=1e-5)


def test_unstable_modes_do_not_enter_displacements():
    matrices = np.diag([-100.0, 400.0, 900.0])[None]
    tensor = mean_square_displacement(matrices, [1.0], 27.0, 300.0)
    assert tensor[0, 0] == 0.0
    assert (np.diagonal(tensor)[1:] > 0).all()
