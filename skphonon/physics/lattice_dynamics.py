r"""Harmonic lattice dynamics: dynamical matrices, linear in the force constants.

The matrices of a set of constants :math:`c_p` are

.. math:: D(Q) = \sum_p c_p\,\frac{\partial D(Q)}{\partial c_p} + C(Q),

so their basis is made once for a list of wavevectors and every parameter set is one
contraction; C is the dipole term of a polar crystal (:mod:`skphonon.physics.polar`).
All are in meV^2: an eigenvalue is the squared energy of a phonon, negative where the
crystal is unstable. Lines, intensities and derivatives are in
:mod:`skphonon.physics.modes`.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.physics.constants import MEV2_PER_EIGENVALUE

__all__ = ["dynamical_matrix_basis", "real_form"]

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

_BLOCK = 2**21  # phases at a time


def dynamical_matrix_basis(
    bonds: ArrayLike,
    bond_atoms: ArrayLike,
    bond_tensors: ArrayLike,
    masses: ArrayLike,
    wavevectors: ArrayLike,
) -> Array | ComplexArray:
    r"""Return the derivative of the dynamical matrices with respect to each parameter.

    .. math:: D_{ij}(Q) = \frac{1}{\sqrt{m_i m_j}} \Big[\delta_{ij} \sum_{b:\,i \to k}
              K(b) - \sum_{b:\,i \to j} K(b)\, e^{iQ \cdot b}\Big]

    with b from atom to atom: the matrices are not periodic in Q, and structure factors
    need no phases of positions.

    Parameters
    ----------
    bonds : array-like of shape (n_bonds, 3)
        Cartesian vectors from atom to atom in Angstrom; with each bond, its opposite.
    bond_atoms : array-like of int of shape (n_bonds, 2)
        Numbers of the first and the second atom of each bond.
    bond_tensors : array-like of shape (n_parameters, n_bonds, 3, 3)
        Change of K (minus the second derivative of the energy) of a bond with each
        parameter; that of the opposite bond is its transpose.
    masses : array-like of shape (n_atoms,)
        Masses in amu.
    wavevectors : array-like of shape (n_points, 3)
        Cartesian, in 1/Angstrom, with the factor 2 pi.

    Returns
    -------
    ndarray of shape (n_parameters, n_points, 3 * n_atoms, 3 * n_atoms)
        meV^2 for each eV/Angstrom^2: real for one atom, which is a centre of inversion,
        complex otherwise.
    """
    points, roots = np.asarray(wavevectors), np.sqrt(np.asarray(masses))
    size, n_parameters = 3 * len(roots), len(np.asarray(bond_tensors))
    matrices = np.zeros(
        (n_parameters, len(points), size, size),
        dtype=float if len(roots) == 1 else complex,
    )
    rows = np.arange(n_parameters)
    add_bonds(matrices, rows, bonds, bond_atoms, bond_tensors, roots, points)
    return matrices


def add_bonds(
    matrices: Array | ComplexArray,
    rows: NDArray[np.intp],
    bonds: ArrayLike,
    bond_atoms: ArrayLike,
    bond_tensors: ArrayLike,
    mass_roots: Array,
    wavevectors: Array,
) -> None:
    """Add bonds to some of the matrices of :func:`dynamical_matrix_basis`, in place.

    Parameters
    ----------
    matrices : ndarray of shape (n, n_points, 3 * n_atoms, 3 * n_atoms)
        Real for one atom, else complex, in meV^2 for each eV/Angstrom^2.
    rows : ndarray of int of shape (n_parameters,)
        Which of the matrices change, no one twice.
    bonds, bond_atoms, bond_tensors : array-like
        As in :func:`dynamical_matrix_basis`.
    mass_roots : ndarray of shape (n_atoms,)
        Square roots of the masses.
    wavevectors : ndarray of shape (n_points, 3)
        Cartesian, in 1/Angstrom.
    """
    vectors, atoms = np.asarray(bonds), np.asarray(bond_atoms)
    tensors = MEV2_PER_EIGENVALUE * np.asarray(bond_tensors)
    step = max(1, _BLOCK // max(1, len(vectors)))
    for start in range(0, len(wavevectors), step):
        block = slice(start, start + step)
        phases = wavevectors[block] @ vectors.T
        _add_block(matrices[:, block], rows, phases, atoms, tensors, mass_roots)


def _add_block(matrices, rows, phases, atoms, tensors, mass_roots):
    """Add bonds, their phases (n_points, n_bonds) and tensors in meV^2 amu."""
    if len(mass_roots) == 1:
        # 1 - cos x, written so that it keeps its digits at small x
        sums = _weighted(2 * np.sin(phases / 2) ** 2, tensors / mass_roots[0] ** 2)
        for row, block in zip(rows, sums, strict=True):
            matrices[row] += block
        return
    shape = *matrices.shape[:2], len(mass_roots), 3, len(mass_roots), 3
    blocks = matrices.reshape(shape)
    kept = np.flatnonzero(atoms[:, 0] <= atoms[:, 1])
    order = kept[np.lexsort(atoms[kept].T)]
    cosines, sines = np.cos(phases[:, order]), np.sin(phases[:, order])
    for own in _runs(atoms[order]):
        i, j = atoms[order[own.start]]
        scaled = tensors[:, order[own]] / -(mass_roots[i] * mass_roots[j])
        sums = np.empty((len(rows), len(phases), 3, 3), dtype=complex)
        sums.real = _weighted(cosines[:, own], scaled)
        sums.imag = _weighted(sines[:, own], scaled)
        for row, block in zip(rows, sums, strict=True):
            blocks[row, :, i, :, j] += block
            if i != j:
                blocks[row, :, j, :, i] += block.conj().swapaxes(1, 2)
    order = np.argsort(atoms[:, 0], kind="stable")
    for own in _runs(atoms[order, :1]):
        i = atoms[order[own.start], 0]
        on_site = tensors[:, order[own]].sum(axis=1) / mass_roots[i] ** 2
        blocks[rows, :, i, :, i] += on_site[:, None]


def _runs(rows):
    """Slices of rows that are equal one after another."""
    ends = np.flatnonzero((np.diff(rows, axis=0) != 0).any(axis=1)) + 1
    bounds = [0, *ends.tolist(), len(rows)]
    return [slice(*pair) for pair in pairwise(bounds)]


def _weighted(weights: Array, tensors: Array) -> Array:
    """Sum tensors (n, n_bonds, 3, 3) with weights (n_points, n_bonds)."""
    columns = tensors.swapaxes(0, 1).reshape(weights.shape[1], -1)
    sums = (weights @ columns).reshape(len(weights), len(tensors), 3, 3)
    return sums.swapaxes(0, 1)


def real_form(matrices: ArrayLike, partners: ArrayLike) -> Array:
    r"""Return dynamical matrices of a centrosymmetric crystal as real matrices.

    Inversion takes atom d to its partner, and with the phases :math:`e^{iQ \cdot b}` of
    bonds b between atoms :math:`D_{\bar d \bar d'} = D_{d d'}^*`. In the basis
    :math:`(x_d + x_{\bar d}) / \sqrt 2`, :math:`-i (x_d - x_{\bar d}) / \sqrt 2` the
    matrices are then real, at half the cost to store and diagonalise.

    Parameters
    ----------
    matrices : array-like of shape (..., 3 n_atoms, 3 n_atoms)
        Hermitian.
    partners : array-like of shape (n_atoms,)
        Number of the atom that is the image of each under inversion.

    Returns
    -------
    ndarray of shape (..., 3 n_atoms, 3 n_atoms)
        Symmetric; the sum of a pair in the place of its first atom, the difference in
        that of its partner.
    """
    matrices, partners = np.asarray(matrices), np.asarray(partners)
    n_atoms = len(partners)
    blocks = matrices.reshape(*matrices.shape[:-2], n_atoms, 3, n_atoms, 3)
    real = np.empty(blocks.shape)

    def block(i, j):
        return blocks[..., i, :, j, :]

    firsts = [i for i in range(n_atoms) if i <= partners[i]]
    for i in firsts:
        for j in firsts:
            p, q = partners[i], partners[j]
            same, crossed = block(i, j), block(i, q)
            if i == p and j == q:
                real[..., i, :, j, :] = same.real
            elif i == p:
                real[..., i, :, j, :] = np.sqrt(2) * same.real
                real[..., i, :, q, :] = -np.sqrt(2) * same.imag
            elif j == q:
                real[..., i, :, j, :] = np.sqrt(2) * same.real
                real[..., p, :, j, :] = np.sqrt(2) * same.imag
            else:
                real[..., i, :, j, :] = same.real + crossed.real
                real[..., p, :, q, :] = same.real - crossed.real
                real[..., i, :, q, :] = crossed.imag - same.imag
                real[..., p, :, j, :] = same.imag + crossed.imag
    return real.reshape(matrices.shape)
