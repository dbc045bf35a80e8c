r"""Harmonic lattice dynamics of crystals with one atom a cell, for many parameter sets.

The dynamical matrix of a set of force constants is linear in them,

.. math:: D(q) = \frac{1}{m} \sum_p c_p \sum_R \frac{\partial K(R)}{\partial c_p}
                 \,[1 - \cos(q \cdot R)],

so its basis is made once for a list of wavevectors and every parameter set is one
contraction. Matrices are real and symmetric here (each atom is a centre of inversion)
and in meV^2: an eigenvalue is the squared energy of a phonon, negative where the
crystal is unstable.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.physics.constants import HBAR2_PER_AMU, MEV2_PER_EIGENVALUE
from skphonon.physics.scattering import bose_occupation

__all__ = [
    "dynamical_matrix_basis",
    "mean_square_displacement",
    "one_phonon_lines",
    "signed_sqrt",
]

Array = NDArray[np.float64]

#: Packed elements (XX, YY, ZZ, XY, XZ, YZ) of a symmetric matrix, flattened.
PACKED = np.array([0, 4, 8, 1, 2, 5])


def dynamical_matrix_basis(
    bonds: ArrayLike, bond_tensors: ArrayLike, mass: float, wavevectors: ArrayLike
) -> Array:
    """Return the derivative of the dynamical matrix with respect to each parameter.

    Parameters
    ----------
    bonds : array-like of shape (n_bonds, 3)
        Vectors to the neighbours in Angstrom; with each vector, its opposite.
    bond_tensors : array-like of shape (n_parameters, n_bonds, 3, 3)
        Change of K (minus the second derivative of the energy) of a bond with each
        parameter.
    mass : float
        Mass in amu.
    wavevectors : array-like of shape (n_points, 3)
        Cartesian, in 1/Angstrom, with the factor 2 pi.

    Returns
    -------
    ndarray of shape (n_parameters, n_points, 3, 3)
        meV^2 for each eV/Angstrom^2.
    """
    phases = np.asarray(wavevectors) @ np.asarray(bonds).T
    # 1 - cos x, written so that it keeps its digits at small x
    weights = 2 * np.sin(phases / 2) ** 2
    tensors = MEV2_PER_EIGENVALUE / mass * np.asarray(bond_tensors)
    return np.einsum("nr,prij->pnij", weights, tensors, optimize=True)


def signed_sqrt(eigenvalues: ArrayLike) -> Array:
    """Return phonon energies, negative where a mode is unstable (as phonopy does).

    Parameters
    ----------
    eigenvalues : array-like
        Eigenvalues of dynamical matrices in meV^2.

    Returns
    -------
    ndarray
        Energies in meV.
    """
    return np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues))


def mean_square_displacement(
    matrices: ArrayLike, weights: ArrayLike, mass: float, temperature: float
) -> Array:
    r"""Return the thermal mean-square displacement tensor.

    .. math:: U_{\alpha\beta} = \langle u_\alpha u_\beta \rangle = \sum_{q} w_q \sum_j
              \frac{\hbar^2}{2 m E_{qj}}\,[2 n(E_{qj}) + 1]\,
              e_{qj\alpha} e_{qj\beta},

    with which the Debye-Waller factor of an intensity is
    :math:`\exp(-2W) = \exp(-Q \cdot U Q)`. Unstable modes are left out.

    Parameters
    ----------
    matrices : array-like of shape (..., n_points, 3, 3)
        Dynamical matrices in meV^2 on a mesh of the Brillouin zone that leaves out the
        zone centre.
    weights : array-like of shape (n_points,)
        Weights of the points, which sum to one.
    mass : float
        Mass in amu.
    temperature : float
        Temperature in K.

    Returns
    -------
    ndarray of shape (..., 3, 3)
        U in Angstrom^2.
    """
    eigenvalues, vectors = np.linalg.eigh(np.asarray(matrices))
    stable = eigenvalues > 0
    energies = np.sqrt(np.where(stable, eigenvalues, 1.0))
    amplitudes = (2 * bose_occupation(energies, temperature) + 1) / energies * stable
    amplitudes *= HBAR2_PER_AMU / (2 * mass) * np.asarray(weights)[:, None]
    return np.einsum("...nj,...naj,...nbj->...ab", amplitudes, vectors, vectors)


def one_phonon_lines(matrices: Array, q_vectors: Array) -> tuple[Array, Array]:
    r"""Return the energies of the phonons at Q and how strongly each scatters.

    The intensity :math:`|Q \cdot e_j|^2` needs no eigenvector: the three of them are
    fixed by the eigenvalues and the moments :math:`Q \cdot Q`, :math:`Q \cdot D Q`
    and :math:`|DQ|^2`. The eigenvalues come from the trigonometric solution of the
    cubic (Smith, Commun. ACM 4, 168 (1961), doi:10.1145/355578.366316), which is
    several times as fast as a general diagonalisation and, at 1e-8 of the largest
    eigenvalue, exact enough for a spectrum. Where modes are degenerate the split of
    the intensity between them is arbitrary; their sum is right.

    Parameters
    ----------
    matrices : ndarray of shape (6, ..., n_points)
        Packed dynamical matrices (XX, YY, ZZ, XY, XZ, YZ) in meV^2.
    q_vectors : ndarray of shape (3, n_points)
        Momentum transfers, Cartesian, in 1/Angstrom.

    Returns
    -------
    energies : ndarray of shape (3, ..., n_points)
        Energies in meV, highest first; 0 where a mode is unstable.
    strengths : ndarray of shape (3, ..., n_points)
        :math:`|Q \cdot e_j|^2` in 1/Angstrom^2; 0 where a mode is unstable.
    """
    xx, yy, zz, xy, xz, yz = matrices
    x, y, z = q_vectors
    mean = (xx + yy + zz) / 3
    xx, yy, zz = xx - mean, yy - mean, zz - mean  # traceless part

    half = (xx * xx + yy * yy + zz * zz + 2 * (xy * xy + xz * xz + yz * yz)) / 6
    half = np.maximum(half, np.finfo(float).tiny ** 0.5)  # three equal modes
    radius = np.sqrt(half)
    determinant = (
        xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    )
    angle = np.arccos(np.clip(determinant / (2 * half * radius), -1.0, 1.0)) / 3
    cosine = np.cos(angle)  # of 0 to 60 degrees
    sine = np.sqrt(1 - cosine * cosine)
    highest, lowest = 2 * cosine, -cosine - np.sqrt(3) * sine

    # moments of the traceless part in units of the radius
    image_x = (xx * x + xy * y + xz * z) / radius
    image_y = (xy * x + yy * y + yz * z) / radius
    image_z = (xz * x + yz * y + zz * z) / radius
    zeroth = x * x + y * y + z * z
    first = x * image_x + y * image_y + z * image_z
    second = image_x * image_x + image_y * image_y + image_z * image_z

    roots = np.stack([highest, lowest])  # for unit radius; the three sum to zero
    gaps = np.maximum(3 * (roots * roots - 1), np.finfo(float).eps)
    outer = (second + roots * first + (roots * roots - 3) * zeroth) / gaps
    outer = np.clip(outer, 0.0, zeroth)
    # where a root meets the middle one its share is noise: the other one is right
    excess = np.maximum(outer[0] + outer[1] - zeroth, 0.0)
    outer -= excess * (gaps < gaps[::-1])
    middle = np.maximum(zeroth - outer[0] - outer[1], 0.0)

    strengths = np.stack([outer[0], middle, outer[1]])
    lines = np.stack([highest, -highest - lowest, lowest])
    eigenvalues = mean + radius * lines
    strengths *= eigenvalues > 0
    return np.sqrt(np.maximum(eigenvalues, 0.0)), strengths
