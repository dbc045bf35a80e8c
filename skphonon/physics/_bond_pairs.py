"""Bonds of a crystal by pairs of atoms: waves, force constants and their blocks.

Arrays of constants may be tensors of torch, which this module never imports.
"""

import sys
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array, kron

from skphonon._validation import parameter_rows
from skphonon.physics._phonon_model import PhononModel
from skphonon.physics.constants import MEV2_PER_EIGENVALUE

__all__ = [
    "BondPairs",
    "Bonds",
    "Derivatives",
    "Pair",
    "Parts",
    "as_slice",
    "like",
    "namespace",
]

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]
Matrices = NDArray[np.float64] | NDArray[np.complex128]

_SAME_VECTOR = 1e-7  # Angstrom


class Pair(NamedTuple):
    """Two atoms, and the waves of the bonds between them."""

    first: int
    second: int
    even: slice  # numbers of the cosines
    odd: slice | None  # and of the sines, where the imaginary part has a place


class Parts(NamedTuple):
    """Quantities that belong to the cosines and to the sines of all pairs."""

    even: Any
    odd: Any


class Derivatives(NamedTuple):
    """Changes of the constants of a pair with some parameters, (9 n_used, n_waves)."""

    used: slice | Integers
    even: Array | None
    odd: Array | None


class Bonds:
    """Bonds by pairs of atoms: what all wavevectors and parameters have in common."""

    def __init__(
        self, bonds: Array, atoms: Integers, masses: Array, partners: Integers | None
    ) -> None:
        self.n_atoms = len(masses)
        self.partners = np.zeros(1, dtype=int) if self.n_atoms == 1 else partners
        vectors, waves, signs = _up_to_sign(bonds)
        # a bond of no length, with the wave 1, stands for the on-site terms
        self._vectors, still = np.concatenate([vectors, np.zeros((1, 3))]), len(vectors)
        first, second = atoms.T
        kept = np.flatnonzero(_are_needed(first, second, self.partners))
        sites = (first != second) & _are_needed(first, first, self.partners)
        on_site = np.flatnonzero(sites)
        i = np.concatenate([first[kept], first[on_site]])
        j = np.concatenate([second[kept], first[on_site]])
        wave = np.concatenate([waves[kept], np.full(len(on_site), still)])
        keys, number = np.unique(
            (i * self.n_atoms + j) * (still + 1) + wave, return_inverse=True
        )
        of_pair, self._wave = np.divmod(keys, still + 1)
        starts = np.flatnonzero(np.diff(of_pair, prepend=-1))
        ends = np.append(starts[1:], len(keys))
        scale = MEV2_PER_EIGENVALUE / np.sqrt(masses[i] * masses[j])
        scale[: len(kept)] *= -1
        of_bond = np.concatenate([kept, on_site])
        at, shape = (number.reshape(-1), of_bond), (len(keys), len(bonds))
        self._even = csr_array((scale, at), shape=shape)
        scale[: len(kept)] *= signs[kept]
        scale[len(kept) :] = 0
        odd = csr_array((scale, at), shape=shape)
        self.pairs, n_odd, has_sine = [], 0, np.zeros(len(keys), dtype=bool)
        for pair, start, end in zip(of_pair[starts], starts, ends, strict=True):
            a, b = divmod(int(pair), self.n_atoms)
            sines = None
            if _has_sines(self.partners, a, b):
                sines = slice(n_odd, n_odd := n_odd + int(end - start))
                has_sine[start:end] = True
            self.pairs.append(Pair(a, b, slice(int(start), int(end)), sines))
        self._odd = odd[np.flatnonzero(has_sine)]
        self._odd_wave = self._wave[has_sine]
        diagonal = of_pair // self.n_atoms == of_pair % self.n_atoms
        self._falling = diagonal & (self._wave < still)

    @property
    def n_waves(self) -> int:
        """Numbers that the waves of all pairs take, at one wavevector."""
        return len(self._wave) + len(self._odd_wave) + 2 * len(self._vectors)

    def waves(self, wavevectors: Array) -> Parts:
        """Return cosines and sines at wavevectors, each (n_points, n_waves).

        On the diagonal it is cos x - 1 of bonds to atoms of one kind by translation,
        from which the sum over them is taken off: as -2 sin^2(x/2), which keeps its
        digits at small x.
        """
        half = wavevectors @ (self._vectors.T / 2)
        falling, wave = self._falling, as_slice(self._wave)
        if not len(self._odd_wave):
            sines = None
            cosines = np.empty(0) if falling.all() else np.cos(2 * half)
            fallen = -2 * np.sin(half) ** 2 if falling.any() else None
        else:  # both of one function, which takes most of the time
            tangents = np.tan(half, out=half)
            squares = tangents * tangents
            shares = 1 / (1 + squares)
            cosines, sines = (1 - squares) * shares, 2 * tangents * shares
            sines = sines[:, as_slice(self._odd_wave)]
            fallen = -2 * squares * shares if falling.any() else None
        if fallen is None:
            return Parts(cosines[:, wave], sines)
        if falling.all():
            return Parts(fallen[:, wave], sines)
        even = cosines[:, wave]
        even[:, falling] = fallen[:, self._wave[falling]]
        return Parts(even, sines)

    def merged(self, tensors: Any) -> Parts:
        """Return what multiplies the waves, (n_waves, 9, n_sets), of all K(b).

        These are (9 n_bonds, n_sets), arrays or tensors of torch.
        """
        n_sets = tensors.shape[1]
        flat = tensors.reshape(len(tensors) // 9, 9 * n_sets)
        even, odd = (_product(sums, flat) for sums in (self._even, self._odd))
        return Parts(*(part.reshape(len(part), 9, n_sets) for part in (even, odd)))

    def unmerged(self, found: Parts) -> Array:
        """Return derivatives with K(b), of those with :meth:`merged`."""
        even, odd = (part.reshape(len(part), 9 * part.shape[2]) for part in found)
        total = self._even.T @ even + self._odd.T @ odd
        return total.reshape(9 * len(total), found.even.shape[2])

    def assembled(self, waves: Parts, constants: Parts) -> Any:
        """Return the matrices, (n_sets, n_points, 3 n_atoms, 3 n_atoms)."""
        xp = namespace(constants.even)
        waves = Parts(*(like(part, constants.even) for part in waves))
        n_sets, n_points = constants.even.shape[2], len(waves.even)
        matrices = self.empty(n_sets, n_points, constants.even)
        shape = 3, 3, n_sets, n_points
        flat = [part.reshape(len(part), 9 * n_sets) for part in constants]
        for pair in self.pairs:
            even, odd = (
                None if part is None else (own[part].T @ wave[:, part].T).reshape(shape)
                for part, own, wave in zip(pair[2:], flat, waves, strict=True)
            )
            self.add(matrices, pair, even, odd)
        return self.in_order(matrices, xp)

    def empty(self, n_sets: int, n_points: int, like: Any) -> Any:
        """Return zeros with points last: what is added to them is then in sequence."""
        shape = self.n_atoms, 3, self.n_atoms, 3, n_sets, n_points
        xp = namespace(like)
        dtype = like.dtype
        if self.partners is None:
            dtype = xp.complex64 if like.dtype == xp.float32 else xp.complex128
        if xp is np:
            return np.zeros(shape, dtype=dtype)
        return xp.zeros(shape, dtype=dtype, device=like.device)

    def in_order(self, matrices: Any, xp: Any) -> Any:
        """Return matrices with the axes of sets and points first."""
        size = 3 * self.n_atoms
        flat = matrices.reshape(size, size, *matrices.shape[4:])
        ordered = xp.moveaxis(flat, (2, 3), (0, 1))
        return np.ascontiguousarray(ordered) if xp is np else ordered

    def add(
        self,
        matrices: Any,
        pair: Pair,
        cosines: Any,
        sines: Any,
        sets: slice | Integers | None = None,
    ) -> None:
        """Put a block of a pair, (3, 3, n_sets, n_points), in its places."""
        i, j = pair.first, pair.second

        def put(a: int, b: int, block: Any) -> None:
            place = matrices[a, :, b]
            if sets is None:
                place += block
            else:
                place[:, :, sets] += block

        if self.partners is None:
            block = cosines + 1j * sines
            put(i, j, block)
            if i != j:
                put(j, i, block.conj().swapaxes(0, 1))
            return
        for a, b, part, factor in _places(self.partners, i, j):
            block = cosines if part == 0 else sines
            block = block if factor == 1 else factor * block
            put(a, b, block)
            if a != b:
                put(b, a, block.swapaxes(0, 1))

    def slope_of_block(self, blocks: Matrices, i: int, j: int) -> Matrices:
        """Return the gradient with the block of a pair, (n_sets, n_points, 3, 3)."""
        double = 1 if i == j else 2
        if self.partners is None:
            return double * blocks[:, :, i, :, j]
        slope = np.zeros((*blocks.shape[:2], 3, 3), dtype=complex)
        for a, b, part, factor in _places(self.partners, i, j):
            added = factor * (1 if a == b else 2) * blocks[:, :, a, :, b]
            slope += added if part == 0 else 1j * added
        return slope


class BondPairs(Bonds):
    """The bonds of a crystal, and how parameters make their force constants.

    Matrices of a centrosymmetric crystal are real unless `real` is False, which those
    of one atom a cell are always.
    """

    def __init__(self, model: PhononModel, *, real: bool = True) -> None:
        partners = model.inversion_partners() if real else None
        super().__init__(model.bonds, model.bond_atoms, model.atomic_masses, partners)
        self._names = model.parameter_names
        self.n_parameters = len(self._names)
        crystal = model._crystal
        self._spread, self._rule = crystal.spread, crystal.rule

    def constants(self, rows: Any) -> Parts:
        """Return what multiplies the waves, (n_waves, 9, n_samples), of parameters."""
        if not hasattr(rows, "requires_grad"):
            rows = parameter_rows(rows, self._names)
        return self.merged(_product(self._spread, _product(self._rule, rows.T)))

    def gradient(self, found: Parts) -> Array:
        """Return derivatives with the parameters, of those with :meth:`constants`."""
        return (self._rule.T @ (self._spread.T @ self.unmerged(found))).T

    @cached_property
    def derivatives(self) -> list[Derivatives]:
        """Changes of the constants of each pair with the parameters that change any."""
        linear = self._spread @ self._rule
        element = eye_array(9, format="csr")
        changes = [
            kron(s, element, format="csr") @ linear for s in (self._even, self._odd)
        ]
        found = []
        for pair in self.pairs:
            own = [
                None if part is None else _some_rows(change, part)
                for part, change in zip(pair[2:], changes, strict=True)
            ]
            used = np.unique(np.concatenate([r.indices for r in own if r is not None]))
            dense = (None if rows is None else _columns(rows, used) for rows in own)
            found.append(Derivatives(as_slice(used), *dense))
        return found


def _places(partners: Integers, i: int, j: int) -> list[tuple[int, int, int, float]]:
    """Return the places in the real form of parts (0 real, 1 imaginary) of a block.

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


def _has_sines(partners: Integers | None, i: int, j: int) -> bool:
    """Tell whether the imaginary part of a block has a place in the matrices."""
    if partners is None:
        return True
    return any(part for _, _, part, _ in _places(partners, i, j))


def _are_needed(i: Integers, j: Integers, partners: Integers | None) -> NDArray:
    """Tell which blocks of two atoms are those that the others follow from."""
    if partners is None:
        return i <= j
    first = np.minimum(j, partners[j])
    # the conjugate of the block of i and the partner of j
    follows = (partners[i] == i) & (j > partners[j])
    return ~follows & (i <= partners[i]) & (i <= first)


def _up_to_sign(bonds: Array) -> tuple[Array, Integers, Array]:
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


def _product(matrix: csr_array, columns: Any) -> Any:
    """Multiply a sparse matrix by columns, which torch can differentiate."""
    if isinstance(columns, np.ndarray):
        return matrix @ columns
    if not matrix.nnz:
        return 0 * columns[np.zeros(matrix.shape[0], dtype=int)]
    starts, counts, total = matrix.indptr[:-1], np.diff(matrix.indptr), 0
    for number in range(counts.max()):  # the next entry of each row
        at = np.where(number < counts, starts + number, 0)
        values = np.where(number < counts, matrix.data[at], 0.0)
        numbers = matrix.indices[at].astype(np.int64)
        total = total + like(values[:, None], columns) * columns[numbers]
    return total


def _some_rows(matrix: csr_array, waves: slice) -> csr_array:
    """Return the rows of some waves, nine of each, which share the numbers."""
    start, stop = 9 * waves.start, 9 * waves.stop
    ends = matrix.indptr[start : stop + 1]
    own = slice(ends[0], ends[-1])
    shape = stop - start, matrix.shape[1]
    return csr_array((matrix.data[own], matrix.indices[own], ends - ends[0]), shape)


def _columns(rows: csr_array, used: Integers) -> Array:
    """Return the columns used of the rows of waves, (9 n_used, n_waves)."""
    dense = np.zeros((rows.shape[0], len(used)))
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    dense[row, np.searchsorted(used, rows.indices)] = rows.data
    return np.ascontiguousarray(dense.reshape(-1, 9 * len(used)).T)


def as_slice(numbers: Integers) -> slice | Integers:
    """Return ascending numbers as a slice, if they are one: arrays need no copy."""
    if len(numbers) and (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def namespace(values: Any) -> Any:
    """Return the module, numpy or torch, that has functions for an array."""
    return np if isinstance(values, np.ndarray) else sys.modules["torch"]


def like(values: Any, other: Any) -> Any:
    """Return a numpy array as an array of the kind, and on the device, of another."""
    if isinstance(other, np.ndarray) or not isinstance(values, np.ndarray):
        return values
    torch = namespace(other)
    double = other.dtype in (torch.float64, torch.complex128)
    if np.iscomplexobj(values):
        dtype = torch.complex128 if double else torch.complex64
    else:
        dtype = torch.float64 if double else torch.float32
    return torch.tensor(values, dtype=dtype, device=other.device)
