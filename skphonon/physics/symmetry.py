"""Space groups, and the force constants that they leave free in a crystal.

A pair of atoms is (first atom, second atom, lattice translation between their cells).
Operations of the space group, and the exchange of the two atoms, under which
``K(j, i, -b) = K(i, j, b).T``, join pairs to shells. A shell has one tensor that
symmetry has not fixed wholly; those of its other pairs are images of it.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from skphonon.physics.lattice import (
    SAME_LENGTH,
    farthest,
    image_counts,
    points_within,
)

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]
Cell = Any  # a cell of phonopy, the types of which change by version
Encoder = Callable[[Integers, Integers, Integers], Integers]

# Elements of a 3 x 3 tensor, in the order in which names are given.
_ELEMENTS = ["XX", "YY", "ZZ", "XY", "XZ", "YZ", "YX", "ZX", "ZY"]
_FLAT = np.array([3 * "XYZ".index(e[0]) + "XYZ".index(e[1]) for e in _ELEMENTS])
ROUNDING = 1e-10  # arithmetic leaves less of it even where the lattice is exact
_BLOCK = 2**20  # numbers in the largest array of a block
_PLACES = 4  # decimals of a translation that tell operations apart
LATTICE_NOISE = (
    1e-4  # that precision leaves less of an element which vanishes by symmetry
)


class SpaceGroup(NamedTuple):
    """Operations of a space group and where they take the atoms of the cell."""

    rotations: Integers  # (n_operations, 3, 3) int, for columns of scaled coordinates
    cartesian: Array  # (n_operations, 3, 3), orthogonal
    permutations: Integers  # (n_operations, n_atoms): number of the image
    cells: Integers  # (n_operations, n_atoms, 3) int: cell in which the image lies


class Sites:
    """Atoms of a cell, repeated by its lattice: to find the one at a point."""

    def __init__(self, positions: Array, lattice: Array) -> None:
        self.positions, self.lattice = positions, lattice
        self.inverse = np.linalg.inv(lattice)
        self.tree = cKDTree(self._inside(positions), boxsize=1.0)

    def nearest(self, points: Array) -> tuple[Integers, Array]:
        """Return the number of the site nearest to each point, and its distance."""
        sites = self.tree.query(self._inside(points))[1]
        steps = (points - self.positions[sites]) @ self.inverse
        steps = (steps - np.rint(steps)) @ self.lattice
        return sites, np.linalg.norm(steps, axis=1)

    def _inside(self, points: Array) -> Array:
        return (points @ self.inverse % 1.0) % 1.0  # the first of -1e-20 is 1.0


class Shell(NamedTuple):
    """Pairs of atoms that symmetry relates, and their free tensor elements."""

    number: int  # counted by distance over the crystal, from 1
    bonds: Array  # (n_bonds, 3), the one that gives the names first
    atoms: Integers  # (n_bonds, 2)
    elements: list[str]
    tensors: Array  # (n_elements, n_bonds, 3, 3)


class _Pairs(NamedTuple):
    first: Integers  # (n_pairs,)
    second: Integers
    cells: Integers  # (n_pairs, 3) int
    bonds: Array  # (n_pairs, 3) Cartesian


class Orbits(NamedTuple):
    """Pairs of atoms up to a distance, and which of them symmetry relates."""

    pairs: _Pairs
    members: list[Integers]  # numbers of the pairs of each orbit, nearest first
    encode: Encoder

    def bonds(self, number: int) -> Array:
        """Cartesian vectors of an orbit."""
        return self.pairs.bonds[self.members[number]]


def right_handed(cell: Cell) -> Cell:
    """Return a phonopy cell with its lattice vectors reversed if left-handed.

    Programs for crystals take the volume of a cell as positive.
    """
    if np.linalg.det(cell.cell) > 0:
        return cell
    reversed_cell = cell.copy()
    reversed_cell.cell = -cell.cell
    reversed_cell.scaled_positions = -cell.scaled_positions
    return reversed_cell


def space_group(cell: Cell) -> SpaceGroup:
    """Find the space group of a phonopy cell.

    With magnetic moments, operations keep them all or reverse them all: time reversal
    leaves force constants as they are. Collinear moments, without a direction in
    space, are not turned by rotations (no spin-orbit coupling).
    """
    from phonopy.structure.symmetry import Symmetry

    operations = Symmetry(right_handed(cell)).symmetry_operations
    rotations, translations = operations["rotations"], operations["translations"]
    if cell.magnetic_moments is not None:  # without moments, all are there twice
        flat = np.hstack([rotations.reshape(-1, 9), translations.round(_PLACES) % 1])
        _, unique = np.unique(flat, axis=0, return_index=True)
        rotations, translations = rotations[unique], translations[unique]
    positions, lattice = cell.scaled_positions, cell.cell
    if np.linalg.det(lattice) < 0:
        translations = -translations
    images = positions @ rotations.swapaxes(1, 2) + translations[:, None]
    sites = Sites(positions @ lattice, lattice)
    permutations, _ = sites.nearest(images.reshape(-1, 3) @ lattice)
    permutations = permutations.reshape(images.shape[:2])
    cells = np.rint(images - positions[permutations]).astype(int)
    left, _, right = np.linalg.svd(lattice.T @ rotations @ np.linalg.inv(lattice).T)
    return SpaceGroup(
        rotations,
        left @ right,  # nearest orthogonal matrix: the lattice has rounding errors
        permutations,
        cells,
    )


def orbits_within(cell: Cell, group: SpaceGroup, cutoff: float) -> Orbits:
    """Return the orbits of pairs not farther apart than `cutoff`, nearest first."""
    pairs = _pairs_within(cell, cutoff + 10 * SAME_LENGTH)
    if not len(pairs.first):
        return Orbits(pairs, [], _encoder(pairs, group))
    encode = _encoder(pairs, group)
    labels = _orbit_labels(pairs, group, encode)
    _, firsts, numbers = np.unique(labels, return_index=True, return_inverse=True)
    leaders = firsts[numbers.reshape(-1)]  # first pair of the orbit of each
    order = np.argsort(leaders, kind="stable")
    ends = np.cumsum(np.unique(leaders, return_counts=True)[1])[:-1]
    members: list[Integers] = list(np.split(order, ends))
    lengths = np.linalg.norm(pairs.bonds[np.sort(firsts)], axis=1)
    beyond = lengths > cutoff + SAME_LENGTH
    n_within = int(beyond.argmax()) if beyond.any() else len(members)
    return Orbits(pairs, members[:n_within], encode)


def first_orbits(cell: Cell, group: SpaceGroup, n_orbits: int) -> Orbits:
    """Return at least so many of the nearest orbits of pairs."""
    if n_orbits < 1:
        raise ValueError(f"n_shells must be at least 1, got {n_orbits}.")
    cutoff, n_found = np.cbrt(abs(cell.volume) / len(cell)), 0
    while n_found < n_orbits:
        cutoff *= 1.25
        orbits = orbits_within(cell, group, cutoff)
        n_found = len(orbits.members)
    return orbits


def first_shells(cell: Cell, group: SpaceGroup, n_shells: int) -> list[Shell]:
    """Return the nearest shells."""
    orbits = first_orbits(cell, group, n_shells)
    return _shells(orbits, range(n_shells), group)


def shells_inside(cell: Cell, group: SpaceGroup, supercell: Array) -> list[Shell]:
    """Return the shells all of whose bonds are shortest vectors on a supercell.

    `supercell` holds its lattice vectors in rows.
    """
    orbits = orbits_within(cell, group, farthest(supercell))
    return _shells(orbits, inside(orbits, supercell), group)


def inside(orbits: Orbits, supercell: Array) -> list[int]:
    """Return the numbers of the orbits of shortest vectors on a supercell."""
    shortest = image_counts(orbits.pairs.bonds, supercell) > 0
    return [n for n, members in enumerate(orbits.members) if shortest[members].all()]


def row_echelon(matrix: Array) -> tuple[Array, list[int]]:
    """Reduced row echelon form without its empty rows, and the pivot columns."""
    pivots: list[int] = []
    rows = matrix.copy()
    for column in range(rows.shape[1]):
        top = len(pivots)
        if top == len(rows):
            break
        best = top + int(np.abs(rows[top:, column]).argmax())
        if abs(rows[best, column]) < LATTICE_NOISE:
            continue
        rows[[top, best]] = rows[[best, top]]
        rows[top] /= rows[top, column]
        others = np.arange(len(rows)) != top
        rows[others] -= np.outer(rows[others, column], rows[top])
        pivots.append(column)
    rows[np.abs(rows) < ROUNDING] = 0.0
    return rows[: len(pivots)], pivots


def _pairs_within(cell: Cell, cutoff: float) -> _Pairs:
    """Pairs ordered by length, first atom, second atom, then largest bond first."""
    pairs = _near_pairs(cell.scaled_positions, cell.cell, cutoff)
    lengths = np.linalg.norm(pairs.bonds, axis=1)
    ascending = np.argsort(lengths)
    rank = np.empty(len(lengths), dtype=int)
    rank[ascending] = np.cumsum(np.diff(lengths[ascending], prepend=0.0) > SAME_LENGTH)
    x, y, z = np.round(-pairs.bonds, 4).T
    order = np.lexsort((z, y, x, pairs.second, pairs.first, rank))
    first, second, cells, bonds = pairs
    return _Pairs(first[order], second[order], cells[order], bonds[order])


def _near_pairs(positions: Array, lattice: Array, cutoff: float) -> _Pairs:
    """Pairs not farther apart than a cutoff, in any order."""
    atoms = positions @ lattice
    lowest, highest = atoms.min(axis=0), atoms.max(axis=0)
    reach = cutoff + SAME_LENGTH
    cells = points_within(lattice, reach + float(np.linalg.norm(highest - lowest)))
    columns, step = [], max(1, _BLOCK // len(atoms))
    for start in range(0, len(cells), step):  # atoms of other cells that may be near
        block = cells[start : start + step]
        images = (block @ lattice)[:, None] + atoms
        beside = (images < lowest - reach) | (images > highest + reach)
        at, atom = np.nonzero(~beside.any(axis=2))
        columns.append((atom, block[at], images[at, atom]))
    second, cells, images = (
        np.concatenate(column) for column in zip(*columns, strict=True)
    )
    near = cKDTree(atoms).sparse_distance_matrix(
        cKDTree(images), reach, output_type="ndarray"
    )
    first, second, cells = near["i"], second[near["j"]], cells[near["j"]]
    bonds = (cells + (positions[second] - positions[first])) @ lattice
    lengths = np.linalg.norm(bonds, axis=1)
    kept = (lengths <= cutoff) & (lengths > SAME_LENGTH)
    return _Pairs(first[kept], second[kept], cells[kept], bonds[kept])


def _encoder(pairs: _Pairs, group: SpaceGroup) -> Encoder:
    """Return a function that makes one integer of each pair or image of one."""
    n_atoms = group.permutations.shape[1]
    reach = np.abs(group.rotations).sum(axis=2).max() * np.abs(pairs.cells).max(
        initial=0
    )
    reach += 4 * np.abs(group.cells).max()  # after two operations

    def encode(first: Integers, second: Integers, cells: Integers) -> Integers:
        key = first * n_atoms + second
        for component in np.moveaxis(cells, -1, 0):
            key = key * (2 * reach + 1) + component + reach
        return key

    return encode


def _orbit_labels(pairs: _Pairs, group: SpaceGroup, encode: Encoder) -> Integers:
    """Return a number for each pair that is the same all over its shell."""
    homeward = _homeward(group)
    _, cosets = np.unique(group.rotations.reshape(-1, 9), axis=0, return_index=True)

    def label(
        first: Integers, second: Integers, cells: Integers
    ) -> Integers:  # the same for all translations of a pair
        back = homeward[first]
        cells = cells + group.cells[back, second] - group.cells[back, first]
        atoms = group.permutations[back, first], group.permutations[back, second]
        return encode(*atoms, cells)

    labels = label(pairs.first, pairs.second, pairs.cells)
    for operation in cosets:
        permutation, cells = group.permutations[operation], group.cells[operation]
        first, second = permutation[pairs.first], permutation[pairs.second]
        steps = pairs.cells @ group.rotations[operation].T
        steps += cells[pairs.second] - cells[pairs.first]
        np.minimum(labels, label(first, second, steps), out=labels)
        np.minimum(labels, label(second, first, -steps), out=labels)
    return labels


def _homeward(group: SpaceGroup) -> Integers:
    """Return the translation that takes each atom to the first that is equal by one."""
    unturned = (group.rotations == np.eye(3, dtype=int)).all(axis=(1, 2))
    translations = np.flatnonzero(unturned)
    return translations[group.permutations[translations].argmin(axis=0)]


def _shells(orbits: Orbits, numbers: Iterable[int], group: SpaceGroup) -> list[Shell]:
    """Shells of some orbits."""
    numbers = np.asarray(numbers)
    shells, step = [], max(1, _BLOCK // (2 * len(group.rotations)))
    for start in range(0, len(numbers), step):
        shells += _some_shells(orbits, numbers[start : start + step], group)
    return shells


def _some_shells(orbits: Orbits, numbers: Integers, group: SpaceGroup) -> list[Shell]:
    """Spread the tensor elements that symmetry leaves free over stars of pairs."""
    members = [orbits.members[number] for number in numbers]
    ends = np.cumsum([len(own) for own in members])
    star = _Pairs(*(column[np.concatenate(members)] for column in orbits.pairs))
    atoms = np.stack([star.first, star.second], axis=1)
    keys = orbits.encode(*star[:3])
    leaders = np.append(0, ends[:-1])
    images = _images_of(star, leaders, group, orbits.encode)
    # one operation that takes the first pair to each member of its star
    found, operations = np.unique(images, return_index=True)
    carriers = operations[np.searchsorted(found, keys)] % images.shape[1]
    fixing = images == keys[leaders, None]
    kinds, kind_of = np.unique(np.packbits(fixing, axis=1), axis=0, return_inverse=True)
    shells: dict[int, Shell] = {}
    for kind in range(len(kinds)):
        alike = np.flatnonzero(kind_of.reshape(-1) == kind)
        elements, basis = _invariant_tensors(group, np.flatnonzero(fixing[alike[0]]))
        slices = [slice(leaders[n], ends[n]) for n in alike]
        tensors = _transformed(
            basis, group, np.concatenate([carriers[own] for own in slices])
        )
        start = 0
        for n, own in zip(alike, slices, strict=True):
            stop = start + own.stop - own.start
            shells[int(n)] = Shell(
                int(numbers[n]) + 1,
                star.bonds[own],
                atoms[own],
                elements,
                tensors[:, start:stop],
            )
            start = stop
    return [shells[n] for n in range(len(numbers))]


def _images_of(
    pairs: _Pairs, chosen: Integers, group: SpaceGroup, encode: Encoder
) -> Integers:
    """Images of chosen pairs, (n_chosen, 2 * n_operations), as integers.

    The second half of the operations exchange the atoms.
    """
    first, second = pairs.first[chosen], pairs.second[chosen]
    steps = np.einsum("oij,nj->noi", group.rotations, pairs.cells[chosen])
    steps += (group.cells[:, second] - group.cells[:, first]).swapaxes(0, 1)
    first, second = group.permutations[:, first].T, group.permutations[:, second].T
    return np.concatenate(
        [encode(first, second, steps), encode(second, first, -steps)], axis=1
    )


def _invariant_tensors(group: SpaceGroup, little: Integers) -> tuple[list[str], Array]:
    """Find the elements of a tensor that some operations leave free.

    What is invariant is brought to reduced row echelon form, so that each basis tensor
    has a one at its own named element and zeros at those of the others.
    """
    units = np.eye(9).reshape(9, 3, 3)[_FLAT]
    projector = _transformed(units, group, little).mean(axis=1).reshape(9, 9)[:, _FLAT]
    basis, pivots = row_echelon(_row_space(projector))
    return [_ELEMENTS[p] for p in pivots], np.einsum("pe,eij->pij", basis, units)


def _transformed(tensors: Array, group: SpaceGroup, operations: Integers) -> Array:
    """Images of tensors (n, 3, 3); the second half of the operations exchange atoms."""
    order = len(group.rotations)
    rotations = group.cartesian[operations % order]
    images = np.einsum("oij,pjk,olk->poil", rotations, tensors, rotations)
    exchanged = operations >= order
    images[:, exchanged] = images[:, exchanged].swapaxes(2, 3)
    return images


def _row_space(matrix: Array) -> Array:
    """Orthonormal rows that span those of a matrix, but for rounding errors."""
    _, sizes, rows = np.linalg.svd(matrix, full_matrices=False)
    return rows[sizes > LATTICE_NOISE]
