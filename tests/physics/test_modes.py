"""Derivatives of matrix functions from pairs of modes, against scipy's of exp."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import expm_frechet

from skphonon.physics.modes import mode_pairs, signed_sqrt

SCALE = 700.0  # meV^2, of the function exp(-x / SCALE)
EIGENVALUES = {
    "distinct": [60.0, 210, 480, 900, 1500, 2000],
    "degenerate": [60.0, 60, 480, 900, 900, 900],
    "nearly": [60.0, 60 + 1e-5, 480, 900, 900 + 3e-4, 900 + 0.01],
    "all equal": [900.0] * 6,
    "unstable": [-50.0, -50, 0, 480, 900, 2000],
}


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("kind", EIGENVALUES)
def test_spectra_change_by_divided_differences(kind, complex_):
    rng = np.random.default_rng(4)
    turned, change = rng.normal(size=(2, 6, 6))
    amplitudes = rng.normal(size=6)
    if complex_:
        turned, change = turned + 1j * rng.normal(size=(2, 6, 6))
        amplitudes = amplitudes + 1j * rng.normal(size=6)
    vectors, change = np.linalg.qr(turned)[0], change + change.conj().T
    matrix = vectors * np.array(EIGENVALUES[kind]) @ vectors.conj().T
    _, slope = expm_frechet(-matrix / SCALE, -change / SCALE)
    expected = (amplitudes.conj() @ slope @ amplitudes).real

    eigenvalues, vectors = np.linalg.eigh(matrix)
    inverse, near = mode_pairs(eigenvalues)
    values = np.exp(-eigenvalues / SCALE)
    slopes = -values / SCALE
    differences = (values[:, None] - values) * inverse
    differences += near * (slopes[:, None] + slopes) / 2
    between = vectors.conj().T @ change @ vectors
    parts = vectors.conj().T @ amplitudes
    found = (parts.conj() @ (between * differences) @ parts).real
    # modes closer than 1.5e-7 of the largest eigenvalue count as one
    assert_allclose(found, expected, rtol=1e-6)


def test_gaps_are_of_single_matrices():
    """What is degenerate beside one eigenvalue is not beside another, larger one."""
    pairs = mode_pairs(np.array([[1.0, 1.0 + 1e-6], [1e6, 1.0]]))
    assert not pairs.near[0, 0, 1]
    assert_allclose(pairs.inverse[0, 1, 0], 1e6, rtol=1e-6)
    assert pairs.near.diagonal(axis1=1, axis2=2).all()
    assert_allclose(pairs.inverse.diagonal(axis1=1, axis2=2), 0.0)


def test_unstable_modes_have_negative_energies():
    assert_allclose(signed_sqrt([-4.0, 0.0, 9.0]), [-2.0, 0.0, 3.0])
