"""Space groups, and what they leave free of the force constants of a crystal.

A pair of atoms is (first atom, second atom, lattice translation between their cells).
Operations of the space group, and the exchange of the two atoms, under which
``K(j, i, -b) = K(i, j, b).T``, join pairs to shells. A shell has one tensor that
symmetry has not fixed wholly; those of its other pairs are images of it.
"""

from typing import NamedTuple

import numpy as np

# Elements of a 3 x 3 tensor, in the order in which names are given.
_ELEMENTS = ["XX", "YY", "ZZ", "XY", "XZ", "YZ", "YX", "ZX", "ZY"]
_FLAT = np.array([3 * "XYZ".index(e[0]) + "XYZ".index(e[1]) for e in _ELEMENTS])
SAME_LENGTH = 1e-5  # Angstrom: lattices come with about this precision
_ROUNDING = 1e-10  # arithmetic leaves less of it even where the lattice is exact
_NOISE = 1e-4  # that precision leaves less of an element which vanishes by symmetry


class SpaceGroup(NamedTuple):
    """Operations of a space group and where they take the atoms of the cell."""

    rotations: np.ndarray  # (n_operations, 3, 3) int, for columns of scaled coordinates
    cartesian: np.ndarray  # (n_operations, 3, 3), orthogonal
    permutations: np.ndarray  # (n_operations, n_atoms): number of the image
    cells: np.ndarray  # (n_operations, n_atoms, 3) int: cell in which the image lies


class Shell(NamedTuple):
    """Pairs of atoms that symmetry relates, and their free tensor elements."""

    number: int  # counted by distance over the crystal, from 1
    bonds: np.ndarray  # (n_bonds, 3), the one that gives the names first
    atoms: np.ndarray  # (n_bonds, 2)
    elements: list[str]
    tensors: np.ndarray  # (n_elements, n_bonds, 3, 3)


class _Pairs(NamedTuple):
    first: np.ndarray  # (n_pairs,)
    second: np.ndarray
    cells: np.ndarray  # (n_pairs, 3) int
    bonds: np.ndarray  # (n_pairs, 3) Cartesian


def space_group(cell):
    """Find the space group of a phonopy cell."""
    from phonopy.structure.symmetry import Symmetry

    operations = Symmetry(cell).symmetry_operations
    rotations = np.asarray(operations["rotations"])
    positions, lattice = cell.scaled_positions, cell.cell
    images = positions @ rotations.swapaxes(1, 2) + operations["translations"][:, None]
    steps = images[:, :, None] - positions
    cells = np.rint(steps).astype(int)
    permutations = np.linalg.norm((steps - cells) @ lattice, axis=-1).argmin(axis=-1)
    left, _, right = np.linalg.svd(lattice.T @ rotations @ np.linalg.inv(lattice).T)
    return SpaceGroup(
        rotations,
        left @ right,  # nearest orthogonal matrix: the lattice has rounding errors
        permutations,
        np.take_along_axis(cells, permutations[..., None, None], axis=2)[:, :, 0],
    )


def shells_within(cell, group, cutoff):
    """Return the shells of pairs not farther apart than `cutoff`, nearest first."""
    pairs = _pairs_within(cell, cutoff + 10 * SAME_LENGTH)
    if not len(pairs.first):
        return []
    encode = _encoder(pairs, group)
    labels = _orbit_labels(pairs, group, encode)
    _, firsts = np.unique(labels, return_index=True)
    shells = []
    for number, first in enumerate(np.sort(firsts), start=1):
        members = np.flatnonzero(labels == labels[first])
        if np.linalg.norm(pairs.bonds[first]) > cutoff + SAME_LENGTH:
            break
        star = _Pairs(*(column[members] for column in pairs))
        shells.append(_shell(number, star, group, encode))
    return shells


def first_shells(cell, group, n_shells):
    """Return the nearest shells."""
    cutoff, shells = np.cbrt(cell.volume / len(cell)), []
    while len(shells) < n_shells:
        cutoff *= 1.25
        shells = shells_within(cell, group, cutoff)
    return shells[:n_shells]


def shells_inside(cell, group, supercell):
    """Return the shells all of whose bonds are shortest vectors on a supercell.

    `supercell` holds its lattice vectors in rows.
    """
    # no point of a cell with these edges, made orthogonal, is farther from a corner
    edges = np.diagonal(np.linalg.qr(supercell.T).R)
    shells = shells_within(cell, group, np.linalg.norm(edges) / 2)
    return [shell for shell in shells if n_images(shell.bonds, supercell).all()]


def n_images(bonds, supercell):
    """Count the images of each vector on a supercell that are as short, with itself.

    0 where there is a shorter one. `supercell` holds its lattice vectors in rows.
    """
    lengths = np.linalg.norm(bonds, axis=1)
    counts, shortest = np.ones(len(bonds), dtype=int), lengths
    for step in lattice_vectors(supercell, 2 * lengths.max()):
        images = np.linalg.norm(bonds - step, axis=1)
        counts += images < lengths + SAME_LENGTH
        shortest = np.minimum(shortest, images)
    return np.where(shortest < lengths - SAME_LENGTH, 0, counts)


def multiple_apart(supercell, lattice, bonds):
    """Return the smallest multiple of a supercell matrix that keeps all bonds apart."""
    reach = np.linalg.norm(bonds, axis=1).max()
    multiple = 1
    while len(lattice_vectors(multiple * supercell.T @ lattice, 2 * reach)):
        multiple += 1
    return multiple * supercell


def sum_rule(shells, n_atoms):
    """Return the independent elements of all shells, and how they give the others.

    The on-site term of an atom, the sum of K over its bonds, must be symmetric. Where
    symmetry does not see to that, elements of the farthest shells are given up for it.

    Returns
    -------
    independent : ndarray of int of shape (n_parameters,)
        Among the elements of all shells.
    expansion : ndarray of shape (n_elements, n_parameters)
        Change of every element with each independent one.
    """
    skew = []
    for shell in shells:
        sums = np.zeros((len(shell.elements), n_atoms, 3, 3))
        np.add.at(sums, (slice(None), shell.atoms[:, 0]), shell.tensors)
        odd = (sums - sums.swapaxes(2, 3))[:, :, [0, 0, 1], [1, 2, 2]]
        skew.append(odd.reshape(len(sums), -1))
    conditions = np.concatenate(skew)[::-1].T  # one column an element, farthest first
    reduced, pivots = row_echelon(_row_space(conditions))
    n_elements = conditions.shape[1]
    given_up = n_elements - 1 - np.array(pivots, dtype=int)
    independent = np.setdiff1d(np.arange(n_elements), given_up)
    expansion = np.zeros((n_elements, len(independent)))
    expansion[independent, np.arange(len(independent))] = 1.0
    expansion[given_up] = -reduced[:, ::-1][:, independent]
    return independent, expansion


def row_echelon(matrix):
    """Reduced row echelon form without its empty rows, and the pivot columns."""
    rows, pivots = matrix.copy(), []
    for column in range(rows.shape[1]):
        top = len(pivots)
        if top == len(rows):
            break
        best = top + int(np.abs(rows[top:, column]).argmax())
        if abs(rows[best, column]) < _NOISE:
            continue
        rows[[top, best]] = rows[[best, top]]
        rows[top] /= rows[top, column]
        others = np.arange(len(rows)) != top
        rows[others] -= np.outer(rows[others, column], rows[top])
        pivots.append(column)
    rows[np.abs(rows) < _ROUNDING] = 0.0
    return rows[: len(pivots)], pivots


def lattice_vectors(lattice, cutoff):
    """Lattice vectors other than zero up to a length, nearest first."""
    multiples = _multiples(lattice, cutoff)
    vectors = multiples[multiples.any(axis=1)] @ lattice
    lengths = np.linalg.norm(vectors, axis=1)
    order = np.argsort(lengths, kind="stable")
    return vectors[order[lengths[order] <= cutoff + SAME_LENGTH]]


def _multiples(lattice, cutoff):
    """Integer coordinates of a box that holds all lattice vectors up to a length."""
    reach = (cutoff + SAME_LENGTH) * np.linalg.norm(np.linalg.inv(lattice), axis=0)
    ranges = [np.arange(-n, n + 1) for n in np.ceil(reach).astype(int)]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)


def _pairs_within(cell, cutoff):
    """Pairs ordered by length, first atom, second atom, then largest bond first."""
    positions, lattice = cell.scaled_positions, cell.cell
    steps = positions - positions[:, None]
    longest = np.linalg.norm(steps @ lattice, axis=-1).max()
    cells = _multiples(lattice, cutoff + longest)
    columns = []
    for first, second in np.ndindex(len(cell), len(cell)):
        bonds = (cells + steps[first, second]) @ lattice
        lengths = np.linalg.norm(bonds, axis=1)
        near = np.flatnonzero((lengths <= cutoff) & (lengths > SAME_LENGTH))
        atoms = np.full((len(near), 2), [first, second])
        columns.append((*atoms.T, cells[near], bonds[near]))
    pairs = _Pairs(*(np.concatenate(column) for column in zip(*columns, strict=True)))
    lengths = np.linalg.norm(pairs.bonds, axis=1)
    ascending = np.argsort(lengths)
    rank = np.empty(len(lengths), dtype=int)
    rank[ascending] = np.cumsum(np.diff(lengths[ascending], prepend=0.0) > SAME_LENGTH)
    x, y, z = np.round(-pairs.bonds, 4).T
    order = np.lexsort((z, y, x, pairs.second, pairs.first, rank))
    return _Pairs(*(column[order] for column in pairs))


def _encoder(pairs, group):
    """Return a function that makes one integer of each pair or image of one."""
    n_atoms = group.permutations.shape[1]
    reach = np.abs(group.rotations).sum(axis=2).max() * np.abs(pairs.cells).max()
    reach += 2 * np.abs(group.cells).max()

    def encode(first, second, cells):
        key = first * n_atoms + second
        for component in np.moveaxis(cells, -1, 0):
            key = key * (2 * reach + 1) + component + reach
        return key

    return encode


def _orbit_labels(pairs, group, encode):
    """Return a number for each pair that is the same all over its shell."""
    labels = encode(pairs.first, pairs.second, pairs.cells)
    for rotation, permutation, cells in zip(
        group.rotations, group.permutations, group.cells, strict=True
    ):
        first, second = permutation[pairs.first], permutation[pairs.second]
        steps = pairs.cells @ rotation.T + cells[pairs.second] - cells[pairs.first]
        for key in (encode(first, second, steps), encode(second, first, -steps)):
            labels = np.minimum(labels, key)
    return labels


def _shell(number, star, group, encode):
    """Find the tensor elements that symmetry leaves free, and spread them over a star.

    The operations that leave the first pair as it is are averaged over; what is
    invariant is brought to reduced row echelon form, so that each basis tensor has a
    one at its own named element and zeros at those of the others.
    """
    i, j = star.first[0], star.second[0]
    first, second = group.permutations[:, [i, j]].T
    steps = group.rotations @ star.cells[0] + group.cells[:, j] - group.cells[:, i]
    images = np.concatenate(
        [encode(first, second, steps), encode(second, first, -steps)]
    )
    members = encode(star.first, star.second, star.cells)
    units = np.eye(9).reshape(9, 3, 3)[_FLAT]
    little = _transformed(units, group, np.flatnonzero(images == members[0]))
    projector = little.mean(axis=1).reshape(9, 9)[:, _FLAT]
    basis, pivots = row_echelon(_row_space(projector))
    tensors = np.einsum("pe,eij->pij", basis, units)
    # one operation that takes the first pair to each member of the star
    found, operations = np.unique(images, return_index=True)
    carriers = operations[np.searchsorted(found, members)]
    return Shell(
        number,
        star.bonds,
        np.stack([star.first, star.second], axis=1),
        [_ELEMENTS[pivot] for pivot in pivots],
        _transformed(tensors, group, carriers),
    )


def _transformed(tensors, group, operations):
    """Images of tensors (n, 3, 3); the second half of the operations exchange atoms."""
    order = len(group.rotations)
    rotations = group.cartesian[operations % order]
    images = np.einsum("oij,pjk,olk->poil", rotations, tensors, rotations)
    exchanged = operations >= order
    images[:, exchanged] = images[:, exchanged].swapaxes(2, 3)
    return images


def _row_space(matrix):
    """Orthonormal rows that span those of a matrix, but for rounding errors."""
    _, sizes, rows = np.linalg.svd(matrix, full_matrices=False)
    return rows[sizes > _NOISE]
