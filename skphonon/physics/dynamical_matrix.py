r"""Dynamical matrices, linear in the force constants, by pairs of atoms.

With bonds b from atom to atom and K(b), minus the second derivative of the energy,

.. math:: D_{ij}(q) = \frac{1}{\sqrt{m_i m_j}} \Big[\delta_{ij} \sum_{b:\,i \to k}
          K(b) - \sum_{b:\,i \to j} K(b)\,e^{iq \cdot b}\Big] + C_{ij}(q),

C being the dipole term of a polar crystal (:mod:`skphonon.physics.polar`). All are in
meV^2: an eigenvalue is the squared energy of a phonon, negative where the crystal is
unstable. The matrices are not periodic in q, and structure factors need no phases of
positions.

A block is one matrix product of waves, which are fixed, and force constants: its cost
goes with the number of bonds, however many parameters make them. Bonds that are equal
or opposite share a cosine and a sine. Matrices of centrosymmetric crystals are real
(:func:`real_form`), of others complex. Parameters are numpy arrays or torch tensors,
and the matrices are the same: torch differentiates them.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.physics._bond_pairs import (
    BondPairs,
    Bonds,
    Parts,
    like,
    namespace,
)
from skphonon.physics._phonon_model import PhononModel

__all__ = ["DynamicalMatrices", "dynamical_matrix_basis", "real_form"]

Array = NDArray[np.float64]
Matrices = NDArray[np.float64] | NDArray[np.complex128]

_BLOCK = 2**21  # waves at a time
_SMALL = 2**22  # numbers of matrices that are quick to put in another order


class DynamicalMatrices:
    """Dynamical matrices at some wavevectors.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    wavevectors : array-like of shape (n_points, 3)
        Cartesian, in 1/Angstrom, with the factor 2 pi.
    pairs : BondPairs, default=None
        The bonds of the model, which many blocks of wavevectors may share.
    offset : ndarray of shape (n_points, size, size), default=None
        The polar term as from :func:`dipole_term`, if `pairs` is given; it is made here
        if not.

    Attributes
    ----------
    wavevectors : ndarray of shape (n_points, 3)
        As given.
    n_points : int
        Number of wavevectors.
    size : int
        Rows of a matrix, three times the number of atoms.
    is_real : bool
        Whether the matrices are real: those of centrosymmetric crystals.
    offset : ndarray of shape (n_points, size, size) or None
        The polar term in meV^2, in the form of the matrices.
    """

    def __init__(
        self,
        model: PhononModel,
        wavevectors: ArrayLike,
        *,
        pairs: BondPairs | None = None,
        offset: Matrices | None = None,
    ) -> None:
        points = np.asarray(wavevectors, dtype=float)
        self._reciprocal, self.wavevectors = model.reciprocal_lattice(), points
        self.n_points, self.size = len(points), 3 * model.n_atoms
        self.offset = dipole_term(model, points) if pairs is None else offset
        self._pairs = BondPairs(model) if pairs is None else pairs
        self.is_real = self._pairs.partners is not None
        self._waves = self._pairs.waves(points)

    def reduced(self, number: int) -> Array:
        """Return one of the wavevectors in units of the reciprocal lattice.

        Parameters
        ----------
        number : int
            Which.

        Returns
        -------
        ndarray of shape (3,)
            In the first zone, nearly.
        """
        reduced = self.wavevectors[number] @ np.linalg.inv(self._reciprocal)
        return reduced - np.rint(reduced)

    def matrices(self, rows: Any, scales: ArrayLike = 1.0) -> Any:
        """Return the matrices of parameter sets.

        Parameters
        ----------
        rows : array-like or torch.Tensor of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        scales : float or array-like of shape (n_samples,), default=1.0
            Factor of the lattice at the same reduced wavevectors, which the polar term
            depends on as its inverse cube.

        Returns
        -------
        ndarray or torch.Tensor of shape (n_samples, n_points, size, size)
            In meV^2, a tensor for a tensor.
        """
        return self.of_constants(self._pairs.constants(rows), scales)

    def of_constants(self, constants: Parts, scales: ArrayLike = 1.0) -> Any:
        """Return the matrices of force constants by pairs.

        Parameters
        ----------
        constants : tuple
            As from :meth:`BondPairs.constants`.
        scales : float or array-like of shape (n_samples,), default=1.0
            As for :meth:`matrices`.

        Returns
        -------
        ndarray or torch.Tensor of shape (n_samples, n_points, size, size)
            In meV^2.
        """
        matrices = self._pairs.assembled(self._waves, constants)
        if self.offset is not None:
            factors = np.broadcast_to(np.asarray(scales, float) ** -3, len(matrices))
            factors = like(factors[:, None, None, None].copy(), constants.even)
            matrices += factors * like(self.offset, matrices)
        return matrices

    def basis(self) -> Matrices:
        """Return the change of the matrices with each parameter.

        Returns
        -------
        ndarray of shape (n_parameters, n_points, size, size)
            In meV^2 for each eV/Angstrom^2.
        """
        pairs = self._pairs
        shape = pairs.n_parameters, self.n_points, self.size, self.size
        if np.prod(shape) < _SMALL:
            matrices = pairs.empty(*shape[:2], self._waves.even)
        else:  # most of it stays zero, untouched, and nothing is written twice
            zeros = np.zeros(shape, dtype=float if self.is_real else complex)
            blocks = zeros.reshape(*shape[:2], -1, 3, self.size // 3, 3)
            matrices = np.moveaxis(blocks, (0, 1), (4, 5))
        for pair, changes in zip(pairs.pairs, pairs.derivatives, strict=True):
            even, odd = (
                None
                if change is None
                else (change @ wave[:, part].T).reshape(3, 3, -1, self.n_points)
                for change, part, wave in zip(
                    changes[1:], pair[2:], self._waves, strict=True
                )
            )
            pairs.add(matrices, pair, even, odd, changes.used)
        return pairs.in_order(matrices, np)

    def gradient(self, slopes: Matrices) -> Array:
        r"""Return the gradient of a scalar with the parameters.

        Parameters
        ----------
        slopes : ndarray of shape (n_samples, n_points, size, size)
            Hermitian G of each matrix, such that the scalar changes by
            :math:`\mathrm{Re} \sum_{jk} G_{jk}^* dD_{jk}`.

        Returns
        -------
        ndarray of shape (n_samples, n_parameters)
            In units of the scalar for each eV/Angstrom^2.
        """
        n_samples = len(slopes)
        blocks = slopes.reshape(n_samples, self.n_points, -1, 3, self.size // 3, 3)
        found: tuple[list[Array], list[Array]] = [], []
        for pair in self._pairs.pairs:
            upper = self._pairs.slope_of_block(blocks, pair.first, pair.second)
            flat = upper.swapaxes(0, 1).reshape(self.n_points, -1)
            for kept, part, wave, own in zip(
                found, pair[2:], self._waves, (flat.real, flat.imag), strict=True
            ):
                if part is not None:
                    sums = wave[:, part].T @ np.ascontiguousarray(own)
                    kept.append(sums.reshape(-1, n_samples, 9).swapaxes(1, 2))
        nothing = np.zeros((0, 9, n_samples))
        return self._pairs.gradient(
            Parts(*(np.concatenate([nothing, *kept]) for kept in found))
        )


def dipole_term(
    model: PhononModel, wavevectors: ArrayLike, fields: Array | None = None
) -> Matrices | None:
    """Return the polar term in the form of the matrices; None without Born charges.

    The first wavevectors are the zone centre where the macroscopic `fields` are given,
    as from ``model.non_analytic_term``.
    """
    offset = model.dynamical_matrix_offset(wavevectors)
    if offset is None:
        return None
    if fields is not None:
        offset[: len(fields)] += fields
    partners = model.inversion_partners()
    return offset if partners is None else real_form(offset, partners)


def dynamical_matrix_basis(
    bonds: ArrayLike,
    bond_atoms: ArrayLike,
    bond_tensors: Any,
    masses: ArrayLike,
    wavevectors: ArrayLike,
) -> Any:
    r"""Return the derivative of the dynamical matrices with respect to each parameter.

    The formula is that of this module, without the dipole term.

    Parameters
    ----------
    bonds : array-like of shape (n_bonds, 3)
        Cartesian vectors from atom to atom in Angstrom; with each bond, its opposite.
    bond_atoms : array-like of int of shape (n_bonds, 2)
        Numbers of the first and the second atom of each bond.
    bond_tensors : array-like or torch.Tensor of shape (n_parameters, n_bonds, 3, 3)
        Change of K (minus the second derivative of the energy) of a bond with each
        parameter; that of the opposite bond is its transpose.
    masses : array-like of shape (n_atoms,)
        Masses in amu.
    wavevectors : array-like of shape (n_points, 3)
        Cartesian, in 1/Angstrom, with the factor 2 pi.

    Returns
    -------
    ndarray or torch.Tensor of shape (n_parameters, n_points, 3 * n_atoms, 3 * n_atoms)
        meV^2 for each eV/Angstrom^2: real for one atom, which is a centre of inversion,
        complex otherwise. A tensor for a tensor.
    """
    layout = Bonds(
        np.asarray(bonds, dtype=float),
        np.asarray(bond_atoms),
        np.asarray(masses, dtype=float),
        None,
    )
    if not hasattr(bond_tensors, "requires_grad"):
        bond_tensors = np.asarray(bond_tensors, dtype=float)
    columns = namespace(bond_tensors).moveaxis(bond_tensors, 0, 3)
    constants = layout.merged(columns.reshape(-1, len(bond_tensors)))
    points = np.asarray(wavevectors, dtype=float)
    return layout.assembled(layout.waves(points), constants)


def bond_matrices(pairs: BondPairs, rows: Array, wavevectors: Array) -> Matrices:
    """Return the matrices at many wavevectors, less the polar term, block by block."""
    constants, step = pairs.constants(rows), max(1, _BLOCK // pairs.n_waves)
    blocks = [
        pairs.assembled(pairs.waves(wavevectors[start : start + step]), constants)
        for start in range(0, max(len(wavevectors), 1), step)
    ]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


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

    def block(i: int, j: int) -> Matrices:
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
