r"""Dynamical matrices of many parameter sets at fixed wavevectors, by pairs of atoms.

The block of atoms i and j is a sum over their bonds b,

.. math:: D_{ij}(q) = \frac{1}{\sqrt{m_i m_j}}
          \sum_{b:\,i \to j} \Phi(b)\,e^{iq \cdot b},

with the on-site term as a bond of no length: one matrix product of waves, which are
fixed, and force constants. Its cost goes with the number of bonds, however many
parameters make them. Bonds that are equal or opposite share a cosine and a sine.
Matrices of centrosymmetric crystals are real
(:func:`~skphonon.physics.lattice_dynamics.real_form`), of others complex; a polar term
is added where the crystal has one.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array

from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.lattice_dynamics import real_form

__all__ = ["BondPairs", "DynamicalMatrices", "dipole_term"]

Array = NDArray[np.float64]
Matrices = NDArray[np.float64] | NDArray[np.complex128]

_SAME_VECTOR = 1e-7  # Angstrom


class _Pair(NamedTuple):
    """Bonds from one atom to another, on-site terms among them."""

    first: int
    second: int
    bonds: NDArray[np.intp]  # rows of the tensors of a model
    waves: slice | NDArray[np.intp]  # numbers of the different vectors
    even: csr_array  # (n_waves, n_bonds), sums of bonds along a vector, meV^2
    odd: csr_array | None  # the same with signs, where the imaginary part has a place


class _Parts(NamedTuple):
    """What multiplies the cosines and the sines of a pair."""

    even: Any
    odd: Any


class BondPairs:
    """The bonds of a crystal by pairs of atoms: what all wavevectors have in common.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.

    Attributes
    ----------
    n_atoms : int
        Atoms of the cell.
    partners : ndarray of int of shape (n_atoms,) or None
        Image of each atom under inversion, in a centrosymmetric crystal.
    pairs : list
        The pairs whose blocks the others follow from.
    """

    def __init__(self, model) -> None:
        self._model = model
        self.n_atoms, self.partners = model.n_atoms, model.inversion_partners()
        n_atoms, roots = self.n_atoms, np.sqrt(model.atomic_masses)
        atoms = np.concatenate(
            [np.tile(np.arange(n_atoms)[:, None], 2), model.bond_atoms]
        )
        vectors = np.concatenate([np.zeros((n_atoms, 3)), model.bonds])
        self._vectors, waves, signs = _up_to_sign(vectors)
        order = np.lexsort(atoms.T[::-1])
        new = np.r_[True, (np.diff(atoms[order], axis=0) != 0).any(axis=1)]
        self.pairs = []
        for bonds in np.split(order, np.flatnonzero(new)[1:]):
            i, j = (int(atom) for atom in atoms[bonds[0]])
            if _is_needed(i, j, self.partners):
                own, places = np.unique(waves[bonds], return_inverse=True)
                at = places.reshape(-1), np.arange(len(bonds))
                scale = np.full(len(bonds), MEV2_PER_EIGENVALUE / (roots[i] * roots[j]))
                shape = len(own), len(bonds)
                odd = csr_array((scale * signs[bonds], at), shape=shape)
                self.pairs.append(
                    _Pair(
                        i,
                        j,
                        bonds,
                        _as_slice(own),
                        csr_array((scale, at), shape=shape),
                        odd if _has_sines(self.partners, i, j) else None,
                    )
                )

    @property
    def n_waves(self) -> int:
        """Numbers that the waves of all pairs take, at one wavevector."""
        kept = sum(
            pair.even.shape[0] * (1 if pair.odd is None else 2) for pair in self.pairs
        )
        return kept + 2 * len(self._vectors)

    def constants(self, rows: ArrayLike) -> list[_Parts]:
        """Return the force constants of parameter sets by pairs.

        Parameters
        ----------
        rows : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.

        Returns
        -------
        list
            For :meth:`DynamicalMatrices.of_constants`: what multiplies cosines and
            sines of each pair, of shape (n_waves, 9, n_samples).
        """
        tensors = self._model.tensor(rows)
        flat = tensors.reshape(len(tensors), -1, 9).transpose(1, 2, 0)
        found = []
        for pair in self.pairs:
            own = flat[pair.bonds].reshape(len(pair.bonds), -1)
            parts = (
                None if sums is None else (sums @ own).reshape(-1, 9, len(tensors))
                for sums in (pair.even, pair.odd)
            )
            found.append(_Parts(*parts))
        return found

    @cached_property
    def derivatives(self) -> list[_Parts]:
        """Changes of the constants with the parameters, (9 n_parameters, n_waves)."""
        linear = _tensor_map(self._model)
        n_parameters = linear.shape[1]
        found = []
        for pair in self.pairs:
            rows = (9 * pair.bonds[:, None] + np.arange(9)).ravel()
            own = linear[rows].tocoo()
            bond, element = np.divmod(own.coords[0], 9)
            places = 9 * own.coords[1] + element, bond
            shape = 9 * n_parameters, len(pair.bonds)
            changes = csr_array((own.data, places), shape=shape)
            parts = (
                None if sums is None else (changes @ sums.T).tocsr()
                for sums in (pair.even, pair.odd)
            )
            found.append(_Parts(*parts))
        return found

    def waves(self, wavevectors: Array) -> list[_Parts]:
        """Return the waves of all pairs.

        Parameters
        ----------
        wavevectors : ndarray of shape (n_points, 3)
            Cartesian, in 1/Angstrom.

        Returns
        -------
        list
            Cosines and sines of each pair, of shape (n_points, n_waves).
        """
        half = wavevectors @ (self._vectors.T / 2)
        if all(pair.odd is None for pair in self.pairs):
            cosines = np.cos(2 * half)
            return [_Parts(cosines[:, pair.waves], None) for pair in self.pairs]
        # both of one function, which takes most of the time
        tangents = np.tan(half, out=half)
        squares = tangents * tangents
        shares = 1 / (1 + squares)
        cosines, sines = (1 - squares) * shares, 2 * tangents * shares
        return [
            _Parts(
                cosines[:, pair.waves],
                None if pair.odd is None else sines[:, pair.waves],
            )
            for pair in self.pairs
        ]

    def gradient(self, found: list[_Parts]) -> Array:
        """Return a gradient with the parameters, of that with the constants.

        Parameters
        ----------
        found : list
            Derivatives with :meth:`constants`.

        Returns
        -------
        ndarray of shape (n_samples, n_parameters)
            In units of the scalar for each eV/Angstrom^2.
        """
        n_samples = found[0].even.shape[1]
        n_tensors = self.n_atoms + len(self._model.bonds)
        gradient = np.zeros((n_tensors, n_samples, 9))
        for pair, own in zip(self.pairs, found, strict=True):
            total = pair.even.T @ own.even.reshape(len(own.even), -1)
            if pair.odd is not None:
                total += pair.odd.T @ own.odd.reshape(len(own.odd), -1)
            gradient[pair.bonds] = total.reshape(-1, n_samples, 9)
        tensors = gradient.swapaxes(0, 1).reshape(n_samples, n_tensors, 3, 3)
        return self._model.parameter_gradient(tensors)


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
        model,
        wavevectors: ArrayLike,
        *,
        pairs: BondPairs | None = None,
        offset: Matrices | None = None,
    ) -> None:
        points = np.asarray(wavevectors, dtype=float)
        self._model, self.wavevectors = model, points
        self.n_points, self.size = len(points), 3 * model.n_atoms
        self.offset = dipole_term(model, points) if pairs is None else offset
        self._pairs = BondPairs(model) if pairs is None else pairs
        self._partners = self._pairs.partners
        self.is_real = self._partners is not None
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
        return self.of_constants(self._pairs.constants(rows), scales)

    def of_constants(
        self, constants: list[_Parts], scales: ArrayLike = 1.0
    ) -> Matrices:
        """Return the matrices of force constants by pairs.

        Parameters
        ----------
        constants : list
            As from :meth:`BondPairs.constants`.
        scales : float or array-like of shape (n_samples,), default=1.0
            As for :meth:`matrices`.

        Returns
        -------
        ndarray of shape (n_samples, n_points, size, size)
            In meV^2.
        """
        n_samples = constants[0].even.shape[2]
        shape = 3, 3, n_samples, self.n_points
        matrices = self._empty(n_samples)
        for pair, waves, own in zip(
            self._pairs.pairs, self._waves, constants, strict=True
        ):
            parts = (
                None
                if part is None
                else (part.reshape(len(part), -1).T @ wave.T).reshape(shape)
                for wave, part in zip(waves, own, strict=True)
            )
            self._add(matrices, pair, *parts)
        matrices = self._in_order(matrices)
        if self.offset is not None:
            factors = np.broadcast_to(np.asarray(scales, float) ** -3, n_samples)
            matrices += factors[:, None, None, None] * self.offset
        return matrices

    def basis(self) -> Matrices:
        """Return the change of the matrices with each parameter.

        Returns
        -------
        ndarray of shape (n_parameters, n_points, size, size)
            In meV^2 for each eV/Angstrom^2.
        """
        n_parameters = len(self._model.parameter_names)
        shape = n_parameters, 3, 3, self.n_points
        matrices = self._empty(n_parameters)
        for pair, waves, changes in zip(
            self._pairs.pairs, self._waves, self._pairs.derivatives, strict=True
        ):
            parts = (
                None
                if change is None
                else np.moveaxis((change @ wave.T).reshape(shape), 0, 2)
                for wave, change in zip(waves, changes, strict=True)
            )
            self._add(matrices, pair, *parts)
        return self._in_order(matrices)

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
        gradient = []
        for pair, waves in zip(self._pairs.pairs, self._waves, strict=True):
            upper = self._slope_of_block(blocks, pair.first, pair.second)
            flat = upper.swapaxes(0, 1).reshape(self.n_points, -1)
            parts = (
                None
                if wave is None
                else (wave.T @ np.ascontiguousarray(part)).reshape(-1, n_samples, 9)
                for wave, part in zip(waves, (flat.real, flat.imag), strict=True)
            )
            gradient.append(_Parts(*parts))
        return self._pairs.gradient(gradient)

    def _empty(self, n_sets):
        """Zeros with points last: what is added to them is then in sequence."""
        shape = self.size // 3, 3, self.size // 3, 3, n_sets, self.n_points
        return np.zeros(shape, dtype=float if self.is_real else complex)

    def _in_order(self, matrices):
        flat = matrices.reshape(self.size, self.size, *matrices.shape[4:])
        return np.ascontiguousarray(flat.transpose(2, 3, 0, 1))

    def _add(self, matrices, pair, cosines, sines):
        """Put a block of a pair, (3, 3, n_samples, n_points), in its places."""
        i, j = pair.first, pair.second

        def put(a, b, block):
            matrices[a, :, b] += block
            if a != b:
                matrices[b, :, a] += block.swapaxes(0, 1)

        if self._partners is None:
            block = cosines + 1j * sines
            matrices[i, :, j] += block
            if i != j:
                matrices[j, :, i] += block.conj().swapaxes(0, 1)
            return
        for a, b, part, factor in _places(self._partners, i, j):
            block = cosines if part == 0 else sines
            put(a, b, block if factor == 1 else factor * block)

    def _slope_of_block(self, blocks, i, j):
        """Gradient with the complex block of a pair, (n_samples, n_points, 3, 3)."""
        double = 1 if i == j else 2
        if self._partners is None:
            return double * blocks[:, :, i, :, j]
        slope = np.zeros((*blocks.shape[:2], 3, 3), dtype=complex)
        for a, b, part, factor in _places(self._partners, i, j):
            added = factor * (1 if a == b else 2) * blocks[:, :, a, :, b]
            slope += added if part == 0 else 1j * added
        return slope


def dipole_term(model, wavevectors: ArrayLike, fields: Array | None = None):
    """Return the polar term of dynamical matrices, in their form.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    wavevectors : array-like of shape (n_points, 3)
        Cartesian, in 1/Angstrom.
    fields : ndarray of shape (n_directions, size, size), default=None
        What macroscopic fields add to the first wavevectors, as from
        ``model.non_analytic_term``: these are the zone centre.

    Returns
    -------
    ndarray of shape (n_points, size, size) or None
        In meV^2; None where the crystal has no Born charges.
    """
    offset = model.dynamical_matrix_offset(wavevectors)
    if offset is None:
        return None
    if fields is not None:
        offset[: len(fields)] += fields
    partners = model.inversion_partners()
    return offset if partners is None else real_form(offset, partners)


def _places(partners, i, j):
    """Where parts (0 real, 1 imaginary) of a block go in the real form.

    As in `real_form`: of the blocks (i, j) and (i, partner of j) of the first atoms
    of pairs, in the upper triangle, each with a factor.
    """
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


def _has_sines(partners, i, j):
    """Whether the imaginary part of a block has a place in the matrices."""
    if partners is None:
        return True
    return any(part for _, _, part, _ in _places(partners, i, j))


def _as_slice(numbers):
    """Return ascending numbers as a slice, if they are one: arrays need no copy."""
    if numbers[-1] - numbers[0] + 1 == len(numbers):
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def _up_to_sign(bonds):
    """Find the different vectors up to sign, and number and sign of each bond's."""
    rounded = np.round(bonds / _SAME_VECTOR).astype(np.int64)
    leading = np.take_along_axis(rounded, (rounded != 0).argmax(axis=1)[:, None], 1)
    signs = np.where(leading[:, 0] < 0, -1.0, 1.0)
    _, first, numbers = np.unique(
        rounded * signs[:, None].astype(np.int64),
        axis=0,
        return_index=True,
        return_inverse=True,
    )
    return (bonds * signs[:, None])[first], numbers.reshape(-1), signs


def _tensor_map(model):
    """Return the map of parameters to the elements of the tensors, sparse."""
    crystal, n_atoms = model._crystal, model.n_atoms
    rows, columns, values, start = [], [], [], 0
    for shell, (parameters, coefficients) in zip(
        crystal.shells, crystal.combinations, strict=True
    ):
        n_bonds = len(shell.bonds)
        changes = np.tensordot(coefficients, shell.tensors, axes=1)
        parameter, bond, element = np.nonzero(changes.reshape(-1, n_bonds, 9))
        given = changes.reshape(-1, n_bonds, 9)[parameter, bond, element]
        on_site = shell.atoms[bond, 0]
        for tensor, sign in ((n_atoms + start + bond, -1.0), (on_site, 1.0)):
            rows.append(9 * tensor + element)
            columns.append(np.asarray(parameters)[parameter])
            values.append(sign * given)
        start += n_bonds
    shape = 9 * (n_atoms + start), len(crystal.names)
    places = np.concatenate(rows), np.concatenate(columns)
    return coo_array((np.concatenate(values), places), shape=shape).tocsr()


def _is_needed(i, j, partners):
    """Whether the block of two atoms is one of those that the others follow from."""
    if partners is None:
        return i <= j
    first = min(j, partners[j])
    if partners[i] == i and j > partners[j]:
        return False  # the conjugate of the block of i and the partner of j
    return i <= partners[i] and i <= first
