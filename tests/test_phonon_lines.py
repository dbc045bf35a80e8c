"""Lines against LAPACK, derivatives against torch's of a matrix exponential."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skphonon.physics.phonon_lines import (
    PACKED,
    cubic_lines,
    cubic_responses,
    lines,
    responses,
)

SCALE = 700.0  # meV^2, of the function exp(-x / SCALE) that derivatives are tested with
KINDS = ["distinct", "two equal", "two equal, lowest", "two nearly equal"]
KINDS += ["nearly equal", "all equal"]


def broadened(eigenvalues, strengths, width=1.0):
    energies = np.sqrt(np.maximum(eigenvalues, 0))
    axis = np.linspace(0, 60, 121)[:, None, None]
    return (strengths * np.exp(-0.5 * ((axis - energies) / width) ** 2)).sum(axis=1)


def random_matrices(kind, rng, n=200):
    """Symmetric matrices in meV^2 with chosen eigenvalues and random eigenvectors."""
    eigenvalues = {
        "distinct": rng.uniform(50, 2000, (n, 3)),
        "two equal": np.sort(rng.uniform(50, 2000, (n, 2)))[:, [0, 1, 1]],
        "two equal, lowest": np.sort(rng.uniform(50, 2000, (n, 2)))[:, [0, 0, 1]],
        "two nearly equal": rng.uniform(50, 2000, (n, 1))
        + [0, 1, 0] * rng.choice([-1, 1], (n, 1)) * 10.0 ** rng.uniform(-9, 1, (n, 1))
        + [0, 0, 1] * rng.uniform(100, 2000, (n, 1)),
        "nearly equal": 900 + rng.uniform(-1, 1, (n, 3)) * 10.0 ** rng.uniform(-12, 0),
        "all equal": np.full((n, 3), 900.0),
        "unstable": rng.uniform(-1000, 2000, (n, 3)),
    }[kind]
    rotations = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    return np.einsum("nij,nj,nkj->nik", rotations, eigenvalues, rotations)


def hermitian(rng, shape, n_modes, complex_):
    matrices = rng.normal(size=(*shape, n_modes, n_modes))
    if complex_:
        matrices = matrices + 1j * rng.normal(size=matrices.shape)
    return torch.as_tensor(matrices + matrices.conj().swapaxes(-1, -2))


def derivative_by_torch(matrices, amplitudes, basis):
    """v^H exp(-D / SCALE) v and its derivative along each basis matrix, by autograd.

    Matrices (n, s, c, c), amplitudes (n, s, c), basis (n, s, p, c, c).
    """
    steps = torch.zeros(basis.shape[:3], dtype=torch.float64, requires_grad=True)
    total = matrices + (steps[..., None, None].to(basis) * basis).sum(dim=2)
    vectors = amplitudes[..., None].to(total)
    functions = torch.linalg.matrix_exp(-total / SCALE)
    values = (vectors.mH @ functions @ vectors)[..., 0, 0].real
    (slopes,) = torch.autograd.grad(values.sum(), steps)
    return values.detach(), slopes


def derivative_by_lines(found, modes):
    """The same from lines: weights of F and of F' = -F / SCALE, modes on an axis."""
    function = torch.exp(-found.eigenvalues / SCALE)
    values = (found.strengths * function).sum(dim=modes)
    weights = found.values - found.slopes / SCALE
    return values, function, weights


@pytest.mark.parametrize("kind", [*KINDS, "unstable"])
def test_closed_form_agrees_with_diagonalisation(kind):
    rng = np.random.default_rng(0)
    matrices, q_vectors = random_matrices(kind, rng), rng.normal(size=(3, 200))
    packed = matrices.reshape(-1, 9)[:, PACKED].T
    found = cubic_lines(torch.as_tensor(packed), torch.as_tensor(q_vectors))
    eigenvalues, vectors = np.linalg.eigh(matrices)
    projections = np.einsum("in,nij->jn", q_vectors, vectors) ** 2
    # the cubic's roots are exact to 1e-8 of the largest eigenvalue (2000 meV^2)
    assert_allclose(found.eigenvalues.flip(0), eigenvalues.T, atol=1e-4)
    # single strengths of degenerate modes are arbitrary, the spectrum is not
    assert_allclose(
        broadened(found.eigenvalues.numpy(), found.strengths.numpy()),
        broadened(eigenvalues.T, projections),
        atol=1e-4,
    )
    total = (q_vectors**2).sum(axis=0)
    assert_allclose(found.strengths.sum(dim=0), total, rtol=1e-7)


@pytest.mark.parametrize("complex_", [False, True])
def test_lines_agree_with_projections(complex_):
    rng = np.random.default_rng(2)
    matrices = hermitian(rng, (5, 2), 6, complex_)
    amplitudes = torch.as_tensor(rng.normal(size=(5, 2, 6)))
    found = lines(matrices, amplitudes)
    eigenvalues, vectors = np.linalg.eigh(matrices.numpy())
    overlaps = np.einsum("nscj,nsc->nsj", vectors.conj(), amplitudes.numpy())
    assert_allclose(found.eigenvalues, eigenvalues, atol=1e-12)
    assert_allclose(found.strengths, np.abs(overlaps) ** 2, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_closed_form_derivatives(kind):
    rng = np.random.default_rng(3)
    n_points, n_samples, n_parameters = 40, 2, 3
    matrices = random_matrices(kind, rng, n_samples * n_points)
    matrices = matrices.reshape(n_samples, n_points, 3, 3)
    basis = hermitian(rng, (n_parameters, n_points), 3, False).numpy() * 100
    amplitudes = rng.normal(size=(3, n_samples, n_points))
    packed = matrices.reshape(n_samples, n_points, 9)[..., PACKED].transpose(2, 0, 1)
    packed_basis = basis.reshape(n_parameters, n_points, 9)[..., PACKED]
    packed_basis = torch.as_tensor(packed_basis.transpose(0, 2, 1).copy())
    found = cubic_responses(
        torch.as_tensor(packed), torch.as_tensor(amplitudes), packed_basis
    )
    values, function, weights = derivative_by_lines(found, 0)
    slopes = (weights * function[:, None]).sum(dim=0)  # (p, s, n)
    expected, expected_slopes = derivative_by_torch(
        torch.as_tensor(matrices.swapaxes(0, 1).copy()),
        torch.as_tensor(amplitudes.transpose(2, 1, 0).copy()),
        torch.as_tensor(basis.swapaxes(0, 1).copy())[:, None].expand(-1, 2, -1, -1, -1),
    )
    assert_allclose(values.T, expected, rtol=1e-6)
    # two roots at a relative distance of eps^(1/3) = 6e-6 count as one
    scale = expected_slopes.abs().max()
    assert_allclose(slopes.permute(2, 1, 0), expected_slopes, atol=2e-5 * scale)
    # a basis that varies by sample is the same one, spread out
    spread = packed_basis[:, :, None].expand(-1, -1, n_samples, -1)
    again = cubic_responses(
        torch.as_tensor(packed), torch.as_tensor(amplitudes), spread
    )
    assert_allclose(again.values, found.values, rtol=1e-12)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("degenerate", [False, True])
def test_derivatives_by_diagonalisation(complex_, degenerate):
    rng = np.random.default_rng(4)
    n_points, n_samples, n_modes, n_parameters = 6, 2, 6, 3
    shape = (n_points, n_samples)
    _, vectors = torch.linalg.eigh(hermitian(rng, shape, n_modes, complex_))
    eigenvalues = torch.as_tensor(rng.uniform(50, 2000, (*shape, n_modes)))
    if degenerate:
        eigenvalues[..., 1] = eigenvalues[..., 0]
        eigenvalues[..., 4] = eigenvalues[..., 3] = eigenvalues[..., 2]
    matrices = vectors * eigenvalues[..., None, :].to(vectors) @ vectors.mH
    amplitudes = torch.as_tensor(rng.normal(size=(*shape, n_modes)))
    basis = 100 * hermitian(rng, (n_points, n_parameters), n_modes, complex_)
    by_sample = basis[:, None].expand(-1, n_samples, -1, -1, -1)
    expected, slopes = derivative_by_torch(matrices, amplitudes, by_sample)
    for given in (basis, by_sample):
        found = responses(matrices, amplitudes, given)
        values, function, weights = derivative_by_lines(found, -1)
        assert_allclose(values, expected, rtol=1e-10)
        change = (weights * function[..., None]).sum(dim=2)
        assert_allclose(change, slopes, atol=1e-8 * slopes.abs().max())
    # each component's share changes an intensity as half its logarithmic derivative
    grown = amplitudes.clone()
    grown[..., 2] *= 1 + 1e-6
    change = (lines(matrices, grown).strengths - found.strengths).sum(dim=-1) / 2e-6
    assert_allclose(found.parts[..., 2].sum(dim=-1), change, rtol=1e-4, atol=1e-5)


def test_float32_keeps_five_digits():
    rng = np.random.default_rng(5)
    packed = random_matrices("distinct", rng).reshape(-1, 9)[:, PACKED].T
    q_vectors = rng.normal(size=(3, 200))
    exact, rounded = (
        cubic_lines(*(torch.as_tensor(x).to(kind) for x in (packed, q_vectors)))
        for kind in (torch.float64, torch.float32)
    )
    # a cubic loses half the digits of nearly equal roots: 3e-4 of 2000 meV^2 = 0.6
    assert (rounded.eigenvalues - exact.eigenvalues).abs().max() < 0.6
    assert (rounded.eigenvalues - exact.eigenvalues).abs().median() < 1e-3
    pair = [
        broadened(x.eigenvalues.numpy(), x.strengths.numpy()) for x in (exact, rounded)
    ]
    assert_allclose(pair[1], pair[0], atol=1e-3 * pair[0].max())
