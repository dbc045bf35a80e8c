"""Least-squares fit of the parameters of a model to force constants.

Only shells whose bonds fold onto the same atoms of a supercell share values; together
they form a group that is fitted on its own, so that the cost grows with the number of
bonds. The sum rule ties the groups by a few conditions, which are met at the end: of
all sets of elements that meet them, the one closest to the values is taken.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from skphonon.physics._crystal import Crystal
    from skphonon.physics.supercells import Slots

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

_UNDETERMINED = 1e-9  # of the largest eigenvalue of the least-squares problem
_BLOCK = 2**20  # numbers in the largest array of a batch of groups


class _Modes(NamedTuple):
    """Combinations of the elements of each group, orthonormal in K of all its bonds."""

    vectors: csr_array  # (n_elements, n_modes)
    sizes: Array  # (n_modes,), squared change of the values with each
    projections: Array  # (n_samples, n_modes), of the values


class _Members:
    """Members of groups: elements, or slots of constants."""

    def __init__(self, labels: Integers, n_groups: int) -> None:
        self.labels = labels  # (n_members,): group of each
        self.counts = np.bincount(labels, minlength=n_groups)
        self.starts = np.cumsum(self.counts) - self.counts
        self.order = np.argsort(labels, kind="stable")
        self.places = np.empty(len(labels), dtype=int)  # of each within its group
        within = np.arange(len(labels)) - np.repeat(self.starts, self.counts)
        self.places[self.order] = within

    def of(self, groups: Integers) -> Integers:
        """Numbers of the members of groups of one size, a row a group."""
        return self.order[self.starts[groups, None] + np.arange(self.counts[groups[0]])]


def fit_constants(
    crystal: "Crystal", slots: "Slots", *, on_site: bool = True
) -> tuple[Array, int]:
    """Return the elements closest to given constants, and how many those determine."""
    # what they do not determine gets the smallest force constants of all bonds: images
    # of one atom share its value equally
    modes = _modes(crystal, slots)
    known = modes.sizes > _UNDETERMINED * modes.sizes.max()
    shares = np.where(known, 1 / np.where(known, modes.sizes, 1.0), 0.0)
    elements = (modes.vectors @ (shares * modes.projections).T).T
    rank = int(known.sum())
    if on_site and crystal.conditions.shape[0]:
        change, n_met = _met(crystal.conditions, modes, known, elements)
        elements = elements + change
        rank -= crystal.conditions.shape[0] - n_met
    return elements, rank


def least_squares(squares: Array, folded: Array, targets: Array) -> tuple[Array, int]:
    """Return parameters that reproduce targets best, and how many those determine."""
    # what they do not determine gets the smallest force constants of all bonds, the
    # squares of which sum to the form `squares` of the parameters; `folded` is the
    # change of the values, (n_parameters, n_values)
    vectors, sizes, projections = (
        part[0] for part in _decomposed(squares[None], folded[None], targets[None])
    )
    determined = sizes > _UNDETERMINED * sizes[-1]
    amplitudes = projections[:, determined] / sizes[determined]
    return amplitudes @ vectors[:, determined].T, int(determined.sum())


def squared_bonds(crystal: "Crystal") -> Array:
    """Return the sum of the squared constants of all bonds as a form of parameters."""
    changes = crystal.spread @ crystal.rule
    return (changes.T @ changes).toarray()


def spread(crystal: "Crystal", elements: Array) -> Array:
    """Return K of every bond, (n_samples, n_bonds, 3, 3), of elements of all shells."""
    return (crystal.spread @ elements.T).T.reshape(len(elements), -1, 3, 3)


def fold(crystal: "Crystal", elements: Array, slots: "Slots") -> Array:
    """Return the constants of elements of all shells, where given ones have theirs."""
    constants = np.zeros((len(elements), *slots.given.shape[1:]))
    pairs = spread(crystal, elements)
    first = crystal.atoms[:, 0]
    by_slot, of_pairs = constants.swapaxes(0, 1), pairs.swapaxes(0, 1)  # views
    np.subtract.at(by_slot, slots.of_bonds, of_pairs)
    np.add.at(by_slot, slots.of_atoms[first], of_pairs)
    return constants


def _modes(crystal: "Crystal", slots: "Slots") -> _Modes:
    """Modes of all groups of elements that share values."""
    elements, used, told = _sharing(crystal, slots)
    batches = _batches(elements, told)
    weights = _Blocks(crystal.spread.T @ crystal.spread, elements, elements, 1, batches)
    entries = crystal.spread.tocoo()
    bonds, parts = np.divmod(entries.row, 9)
    row_of = np.full(slots.given.shape[1], -1)
    row_of[used] = np.arange(len(used))
    rows = row_of[slots.of_bonds[bonds]]
    known = rows >= 0
    changes = coo_array(
        (
            entries.data[known],
            (entries.col[known], 9 * rows[known] + parts[known]),
        ),
        shape=(entries.shape[1], 9 * len(used)),
    )
    folded = _Blocks(changes, elements, told, 9, batches)
    n_samples, n_elements = len(slots.given), entries.shape[1]
    sizes, projections = np.empty(n_elements), np.empty((n_samples, n_elements))
    found = []
    for number, groups in enumerate(batches):
        own = elements.of(groups)
        values = -slots.given[:, used[told.of(groups)]]
        values = values.reshape(n_samples, len(groups), -1).swapaxes(0, 1)
        vectors, sizes[own], along = _decomposed(
            weights.dense(number), folded.dense(number), values
        )
        projections[:, own] = along.swapaxes(0, 1)
        at, row, column = np.nonzero(vectors)
        found.append((vectors[at, row, column], own[at, row], own[at, column]))
    values, rows, columns = (np.concatenate(part) for part in zip(*found, strict=True))
    vectors = csr_array((values, (rows, columns)), shape=(n_elements, n_elements))
    return _Modes(vectors, sizes, projections)


def _sharing(crystal: "Crystal", slots: "Slots") -> tuple[_Members, Integers, _Members]:
    """Elements and slots of each group, and the slots that tell of bonds.

    On-site terms, onto which bonds between images of one atom fold, tell nothing.
    """
    counts = [len(shell.bonds) for shell in crystal.shells]
    shells = np.repeat(np.arange(len(counts)), counts)
    telling = ~np.isin(slots.of_bonds, slots.of_atoms)
    used, rows = np.unique(slots.of_bonds[telling], return_inverse=True)
    ends = len(counts) + rows.reshape(-1)
    size = len(counts) + len(used)
    links = coo_array((np.ones(len(ends)), (shells[telling], ends)), shape=(size, size))
    n_groups, labels = connected_components(links, directed=False)
    of_shells, of_slots = np.split(labels, [len(counts)])
    of_elements = np.repeat(
        of_shells, [len(shell.elements) for shell in crystal.shells]
    )
    return _Members(of_elements, n_groups), used, _Members(of_slots, n_groups)


def _batches(elements: _Members, told: _Members) -> list[Integers]:
    """Numbers of the groups that are alike in size, in batches."""
    sizes = np.stack([elements.counts, told.counts], axis=1)
    kinds, kind_of = np.unique(sizes, axis=0, return_inverse=True)
    batches: list[Integers] = []
    for kind, (n_elements, n_slots) in enumerate(kinds):
        alike = np.flatnonzero(kind_of.reshape(-1) == kind)
        step = max(1, _BLOCK // (n_elements * max(n_elements, 9 * n_slots)))
        batches += np.split(alike, np.arange(step, len(alike), step))
    return batches


class _Blocks:
    """A sparse matrix of blocks, one a group, made dense batch by batch."""

    def __init__(
        self,
        matrix: Any,
        rows: _Members,
        columns: _Members,
        width: int,
        batches: list[Integers],
    ) -> None:
        """Take the members that rows and columns (`width` each) stand for."""
        entries = matrix.tocoo()
        batch_of = np.empty(len(rows.counts), dtype=int)
        position = np.empty(len(rows.counts), dtype=int)
        for number, groups in enumerate(batches):
            batch_of[groups], position[groups] = number, np.arange(len(groups))
        groups = rows.labels[entries.row]
        order = np.argsort(batch_of[groups], kind="stable")
        self.bounds = np.searchsorted(
            batch_of[groups[order]], np.arange(len(batches) + 1)
        )
        member, part = np.divmod(entries.col[order], width)
        length = width * columns.counts[groups[order]]
        row = position[groups] * rows.counts[groups] + rows.places[entries.row]
        self.flat = row[order] * length + width * columns.places[member] + part
        self.values = entries.data[order]
        self.shapes = [
            (len(g), int(rows.counts[g[0]]), int(width * columns.counts[g[0]]))
            for g in batches
        ]

    def dense(self, batch: int) -> Array:
        """Return the blocks of a batch, (n_groups, n_rows, n_columns)."""
        own = slice(*self.bounds[batch : batch + 2])
        shape = self.shapes[batch]
        size = shape[0] * shape[1] * shape[2]
        sums = np.bincount(self.flat[own], self.values[own], minlength=size)
        return sums.reshape(shape).astype(float, copy=False)


def _decomposed(
    squares: Array, folded: Array, targets: Array
) -> tuple[Array, Array, Array]:
    """Modes of least-squares problems, each of them one along the first axis.

    Combinations of elements, their squared changes of the values, and the values
    (n_problems, n_samples, n_values) along them.
    """
    root = np.linalg.cholesky(squares)
    folded = np.linalg.solve(root, folded)  # of elements of equal weight
    changes = folded.swapaxes(1, 2)
    sizes, modes = np.linalg.eigh(folded @ changes)
    vectors = np.linalg.solve(root.swapaxes(1, 2), modes)
    return vectors, sizes, targets @ changes @ modes


def _met(
    conditions: csr_array, modes: _Modes, known: NDArray[np.bool_], elements: Array
) -> tuple[Array, int]:
    """Change of the elements that meets conditions, and how many modes those determine.

    Modes that the values leave free give way first, others by their weights.
    """
    turned = (conditions @ modes.vectors).tocsc()
    free = np.flatnonzero((np.diff(turned.indptr) > 0) & ~known)
    loose, stiff = turned[:, free].toarray(), turned[:, known].tocsr()
    yielding = (stiff * (1 / modes.sizes[known])).tocsr()
    compliance = (stiff @ yielding.T).toarray()
    broken = (conditions @ elements.T).T  # (n_samples, n_conditions)
    rank, rest, inverse = _loosened(loose)
    pushed = broken
    if rank:
        # free modes see to the other directions, in which any stiffness will do
        scale = np.trace(compliance) / len(compliance) or 1.0
        compliance = rest @ compliance @ rest
        compliance += scale * (np.eye(len(rest)) - rest)
        pushed = broken @ rest
    forces = -cho_solve(cho_factor(compliance), pushed.T).T
    if rank:
        forces = forces @ rest
    amplitudes = np.zeros((len(elements), len(known)))
    amplitudes[:, known] = (yielding.T @ forces.T).T
    left = broken + (stiff @ amplitudes[:, known].T).T
    amplitudes[:, free] = -left @ inverse.T
    return (modes.vectors @ amplitudes.T).T, rank


def _loosened(free: Array) -> tuple[int, Array, Array]:
    """Rank of what free modes change, the projection on the rest, and an inverse."""
    if not free.size:
        return 0, np.eye(len(free)), np.zeros(free.shape[::-1])
    left, lengths, right = np.linalg.svd(free, full_matrices=False)
    rank = int((lengths > _UNDETERMINED * max(1.0, lengths[0])).sum())
    inverse = (right[:rank].T / lengths[:rank]) @ left[:, :rank].T
    return rank, np.eye(len(free)) - left[:, :rank] @ left[:, :rank].T, inverse
