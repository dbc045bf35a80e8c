r"""Dynamical matrices of many parameter sets at fixed wavevectors.

The block of atoms i and j is a sum over their bonds b,

.. math:: D_{ij}(q) = \frac{1}{\sqrt{m_i m_j}} \sum_{b:\,i \to j}
          \Phi(b)\,e^{iq \cdot b},

with the on-site term as a bond of no length: one matrix product of waves, which are
fixed, and force constants. Its cost goes with the number of bonds, however many
parameters make them. Matrices of centrosymmetric crystals are real
(:func:`~skphonon.physics.lattice_dynamics.real_form`), of others complex; a polar term
is added where the crystal has one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.lattice_dynamics import real_form

__all__ = ["DynamicalMatrices"]

Array = NDArray[np.float64]
Matrices = NDArray[np.float64] | NDArray[np.complex128]


class _Pair(NamedTuple):
    """Bonds from one atom to another, and their waves."""

    first: int
    second: int
    bonds: NDArray[np.intp]  # rows of the tensors of a model
    cosines: Array  # (n_points, n_bonds), meV^2 for each eV/Angstrom^2
    sines: Array


class DynamicalMatrices:
    """Dynamical matrices at some wavevectors.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    wavevectors : array-like of shape (n_points, 3)
        Cartesian, in 1/Angstrom, with the factor 2 pi.

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

    def __init__(self, model, wavevectors: ArrayLike) -> None:
        points = np.asarray(wavevectors, dtype=float)
        self._model, self.wavevectors = model, points
        self._partners = model.inversion_partners()
        self.n_points, self.size = len(points), 3 * model.n_atoms
        self.is_real = self._partners is not None
        self._pairs = _pairs(model, points, self._partners)
        offset = model.dynamical_matrix_offset(points)
        if offset is not None and self._partners is not None:
            offset = real_form(offset, self._partners)
        self.offset = offset

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
        reciprocal = self._model.reciprocal_lattice()
        reduced = self.wavevectors[number] @ np.linalg.inv(reciprocal)
        return reduced - np.rint(reduced)

    def matrices(self, rows: ArrayLike, scales: ArrayLike = 1.0) -> Matrices:
        """Return the matrices of parameter sets.

        Parameters
        ----------
        rows : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        scales : float or array-like of shape (n_samples,), default=1.0
            Factor of the lattice at the same reduced wavevectors, which the polar term
            depends on as its inverse cube.

        Returns
        -------
        ndarray of shape (n_samples, n_points, size, size)
            In meV^2.
        """
        matrices = self._linear(rows)
        if self.offset is not None:
            factors = np.broadcast_to(np.asarray(scales, float) ** -3, len(matrices))
            matrices += factors[:, None, None, None] * self.offset
        return matrices

    def basis(self) -> Matrices:
        """Return the change of the matrices with each parameter.

        Returns
        -------
        ndarray of shape (n_parameters, n_points, size, size)
            In meV^2 for each eV/Angstrom^2.
        """
        return self._linear(np.eye(len(self._model.parameter_names)))

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
        n_tensors = self._model.n_atoms + len(self._model.bonds)
        gradient = np.zeros((n_tensors, n_samples, 9))
        for pair in self._pairs:
            upper = self._slope_of_block(blocks, pair.first, pair.second)
            flat = upper.swapaxes(0, 1).reshape(self.n_points, -1)
            found = pair.cosines.T @ np.ascontiguousarray(flat.real)
            if np.iscomplexobj(flat):
                found += pair.sines.T @ np.ascontiguousarray(flat.imag)
            gradient[pair.bonds] += found.reshape(-1, n_samples, 9)
        tensors = gradient.swapaxes(0, 1).reshape(n_samples, n_tensors, 3, 3)
        return self._model.parameter_gradient(tensors)

    def _linear(self, rows):
        tensors = self._model.tensor(rows)
        n_samples = len(tensors)
        flat = tensors.reshape(n_samples, -1, 9).swapaxes(0, 1)
        shape = n_samples, self.n_points, self.size // 3, 3, self.size // 3, 3
        matrices = np.zeros(shape, dtype=float if self.is_real else complex)
        for pair in self._pairs:
            constants = flat[pair.bonds].reshape(len(pair.bonds), -1)
            cosines = (pair.cosines @ constants).reshape(self.n_points, -1, 3, 3)
            sines = None
            if self.size > 3:
                sines = (pair.sines @ constants).reshape(self.n_points, -1, 3, 3)
            self._add(matrices, pair, cosines, sines)
        return matrices.reshape(n_samples, self.n_points, self.size, self.size)

    def _add(self, matrices, pair, cosines, sines):
        """Put a block of a pair, (n_points, n_samples, 3, 3), in its places."""
        i, j = pair.first, pair.second
        cosines = cosines.swapaxes(0, 1)

        def put(a, b, block):
            matrices[:, :, a, :, b] += block
            if a != b:
                matrices[:, :, b, :, a] += block.swapaxes(2, 3)

        if self._partners is None:
            block = cosines + 1j * sines.swapaxes(0, 1)
            matrices[:, :, i, :, j] += block
            if i != j:
                matrices[:, :, j, :, i] += block.conj().swapaxes(2, 3)
            return
        for a, b, part, factor in self._places(i, j):
            put(a, b, factor * (cosines if part == 0 else sines.swapaxes(0, 1)))

    def _slope_of_block(self, blocks, i, j):
        """Gradient with the complex block of a pair, (n_samples, n_points, 3, 3)."""
        double = 1 if i == j else 2
        if self._partners is None:
            return double * blocks[:, :, i, :, j]
        slope = np.zeros((*blocks.shape[:2], 3, 3), dtype=complex)
        for a, b, part, factor in self._places(i, j):
            added = factor * (1 if a == b else 2) * blocks[:, :, a, :, b]
            slope += added if part == 0 else 1j * added
        return slope

    def _places(self, i, j):
        """Where parts (0 real, 1 imaginary) of a block go in the real form.

        As in `real_form`: of the blocks (i, j) and (i, partner of j) of the first atoms
        of pairs, in the upper triangle, each with a factor.
        """
        partners = self._partners
        crossed = j > partners[j]  # the block of i and the partner of a first atom
        first = partners[j] if crossed else j
        p, q = partners[i], partners[first]
        root = 2**0.5
        if i == p and first == q:
            return [(i, first, 0, 1.0)]
        if i == p:
            return [(i, first, 0, root), (i, q, 1, -root)]
        if first == q:
            return [(i, first, 0, root), (p, first, 1, root)]
        if i == first:
            sign = 1.0 if not crossed else -1.0
            places = [(i, i, 0, 1.0), (p, p, 0, sign)]
            # blocks (i, p) and (p, i) of the real form are transposes of each other
            return [*places, (i, p, 1, 1.0 if crossed else -1.0)]
        if crossed:
            return [
                (i, first, 0, 1.0),
                (p, q, 0, -1.0),
                (i, q, 1, 1.0),
                (p, first, 1, 1.0),
            ]
        return [
            (i, first, 0, 1.0),
            (p, q, 0, 1.0),
            (i, q, 1, -1.0),
            (p, first, 1, 1.0),
        ]


def _pairs(model, points, partners):
    """Bonds of the pairs of atoms whose blocks make the matrices, with their waves."""
    n_atoms, roots = model.n_atoms, np.sqrt(model.atomic_masses)
    atoms = np.concatenate([np.tile(np.arange(n_atoms)[:, None], 2), model.bond_atoms])
    vectors = np.concatenate([np.zeros((n_atoms, 3)), model.bonds])
    order = np.lexsort(atoms.T[::-1])
    starts = np.flatnonzero(np.r_[True, (np.diff(atoms[order], axis=0) != 0).any(1)])
    found = []
    for bonds in np.split(order, starts[1:]):
        i, j = (int(atom) for atom in atoms[bonds[0]])
        if not _is_needed(i, j, partners):
            continue
        phases = points @ vectors[bonds].T
        scale = MEV2_PER_EIGENVALUE / (roots[i] * roots[j])
        found.append(_Pair(i, j, bonds, scale * np.cos(phases), scale * np.sin(phases)))
    return found


def _is_needed(i, j, partners):
    """Whether the block of two atoms is one of those that the others follow from."""
    if partners is None:
        return i <= j
    first = min(j, partners[j])
    return i <= partners[i] and i <= first
