"""Space groups, and what they leave free of the force constants of a crystal.

A pair of atoms is (first atom, second atom, lattice translation between their cells).
Operations of the space group, and the exchange of the two atoms, under which
``K(j, i, -b) = K(i, j, b).T``, join pairs to shells. A shell has one tensor that
symmetry has not fixed wholly; those of its other pairs are images of it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Elements of a 3 x 3 tensor, in the order in which names are given.
_ELEMENTS = ["XX", "YY", "ZZ", "XY", "XZ", "YZ", "YX", "ZX", "ZY"]
_FLAT = np.array([3 * "XYZ".index(e[0]) + "XYZ".index(e[1]) for e in _ELEMENTS])
SAME_LENGTH = 1e-5  # Angstrom: lattices come with about this precision
_ROUNDING = 1e-10  # arithmetic leaves less of it even where the lattice is exact
_PLACES = 4  # decimals of a translation that tell operations apart
_WIDE = 10  # columns a row above which a matrix is decomposed by its squares
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


class Combinations(NamedTuple):
    """Elements of a shell as combinations of the parameters of a model."""

    parameters: np.ndarray  # (n,) int, those that enter
    coefficients: np.ndarray  # (n, n_elements)


class _Pairs(NamedTuple):
    first: np.ndarray  # (n_pairs,)
    second: np.ndarray
    cells: np.ndarray  # (n_pairs, 3) int
    bonds: np.ndarray  # (n_pairs, 3) Cartesian


class _Orbits(NamedTuple):
    """Pairs of atoms up to a distance, and which of them symmetry relates."""

    pairs: _Pairs
    members: list[np.ndarray]  # numbers of the pairs of each orbit, nearest first
    encode: Callable | None

    def bonds(self, number):
        """Cartesian vectors of an orbit."""
        return self.pairs.bonds[self.members[number]]


def right_handed(cell):
    """Return a phonopy cell with its lattice vectors reversed if left-handed.

    Programs for crystals take the volume of a cell as positive.
    """
    if np.linalg.det(cell.cell) > 0:
        return cell
    reversed_cell = cell.copy()
    reversed_cell.cell = -cell.cell
    reversed_cell.scaled_positions = -cell.scaled_positions
    return reversed_cell


def space_group(cell):
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


def orbits_within(cell, group, cutoff):
    """Return the orbits of pairs not farther apart than `cutoff`, nearest first."""
    pairs = _pairs_within(cell, cutoff + 10 * SAME_LENGTH)
    if not len(pairs.first):
        return _Orbits(pairs, [], None)
    encode = _encoder(pairs, group)
    labels = _orbit_labels(pairs, group, encode)
    _, firsts, numbers = np.unique(labels, return_index=True, return_inverse=True)
    leaders = firsts[numbers.reshape(-1)]  # first pair of the orbit of each
    order = np.argsort(leaders, kind="stable")
    members = np.split(order, np.cumsum(np.unique(leaders, return_counts=True)[1])[:-1])
    lengths = np.linalg.norm(pairs.bonds[np.sort(firsts)], axis=1)
    beyond = lengths > cutoff + SAME_LENGTH
    n_within = int(beyond.argmax()) if beyond.any() else len(members)
    return _Orbits(pairs, members[:n_within], encode)


def first_orbits(cell, group, n_orbits):
    """Return at least so many of the nearest orbits of pairs."""
    if n_orbits < 1:
        raise ValueError(f"n_shells must be at least 1, got {n_orbits}.")
    cutoff, members = np.cbrt(abs(cell.volume) / len(cell)), []
    while len(members) < n_orbits:
        cutoff *= 1.25
        orbits = orbits_within(cell, group, cutoff)
        members = orbits.members
    return orbits


def first_shells(cell, group, n_shells):
    """Return the nearest shells."""
    orbits = first_orbits(cell, group, n_shells)
    return _shells(orbits, range(n_shells), group)


def shells_inside(cell, group, supercell):
    """Return the shells all of whose bonds are shortest vectors on a supercell.

    `supercell` holds its lattice vectors in rows.
    """
    orbits = orbits_within(cell, group, longest_inside(supercell))
    return _shells(orbits, inside(orbits, supercell), group)


def longest_inside(supercell):
    """Return a length that no shortest vector on a supercell exceeds."""
    # no point of a cell with these edges, made orthogonal, is farther from a corner
    edges = np.diagonal(np.linalg.qr(supercell.T).R)
    return np.linalg.norm(edges) / 2


def inside(orbits, supercell):
    """Return the numbers of the orbits of shortest vectors on a supercell."""
    shortest = n_images(orbits.pairs.bonds, supercell) > 0
    return [n for n, members in enumerate(orbits.members) if shortest[members].all()]


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
    combinations : list of Combinations
        Elements of each shell.
    conditions : ndarray of shape (n_conditions, n_elements)
        Independent sums of elements that vanish.
    """
    skew = []
    for shell in shells:
        odd = (shell.tensors - shell.tensors.swapaxes(2, 3))[..., [0, 0, 1], [1, 2, 2]]
        sums = np.zeros((len(shell.elements), n_atoms, 3))
        np.add.at(sums, (slice(None), shell.atoms[:, 0]), odd)
        skew.append(sums.reshape(len(sums), -1))
    rows = np.concatenate(skew)[::-1].T  # one column an element, farthest first
    reduced, pivots = _reduced_form(_row_space(rows[np.abs(rows).max(axis=1) > 0]))
    n_elements = rows.shape[1]
    conditions = reduced[:, ::-1]
    given_up = n_elements - 1 - np.array(pivots, dtype=int)
    independent = np.setdiff1d(np.arange(n_elements), given_up)
    rule = dict(zip(given_up.tolist(), -conditions[:, independent], strict=True))
    combinations, start = [], 0
    for shell in shells:
        elements = np.arange(start, start + len(shell.elements))
        combinations.append(_combinations(elements, independent, rule))
        start += len(elements)
    return independent, combinations, conditions


def _combinations(elements, independent, rule):
    """Return what gives consecutive elements; `rule` holds those given up."""
    first, last = np.searchsorted(independent, [elements[0], elements[-1] + 1])
    own = np.arange(first, last)
    dependent = [(n, rule[e]) for n, e in enumerate(elements.tolist()) if e in rule]
    if not dependent:
        return Combinations(own, np.eye(len(own)))
    entering = np.abs([row for _, row in dependent]).max(axis=0) > 0
    entering[own] = True
    parameters = np.flatnonzero(entering)
    coefficients = np.zeros((len(parameters), len(elements)))
    rows = np.searchsorted(parameters, own)
    coefficients[rows, independent[own] - elements[0]] = 1.0
    for number, row in dependent:
        coefficients[:, number] = row[parameters]
    return Combinations(parameters, coefficients)


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


def _reduced_form(rows):
    """Row echelon form of independent rows, found on as few columns as it needs."""
    width = 4 * len(rows)
    while width < rows.shape[1]:
        _, pivots = row_echelon(rows[:, :width])
        if len(pivots) == len(rows):
            reduced = np.linalg.solve(rows[:, pivots], rows)
            reduced[:, pivots] = np.eye(len(rows))
            reduced[np.abs(reduced) < _ROUNDING] = 0.0
            return reduced, pivots
        width *= 2
    return row_echelon(rows)


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


def _shells(orbits, numbers, group):
    """Shells of some orbits."""
    bases, shells = {}, []
    for number in numbers:
        star = _Pairs(*(column[orbits.members[number]] for column in orbits.pairs))
        shells.append(_shell(number + 1, star, group, orbits.encode, bases))
    return shells


def _shell(number, star, group, encode, bases):
    """Spread the tensor elements that symmetry leaves free over a star of pairs."""
    i, j = star.first[0], star.second[0]
    first, second = group.permutations[:, [i, j]].T
    steps = group.rotations @ star.cells[0] + group.cells[:, j] - group.cells[:, i]
    images = np.concatenate(
        [encode(first, second, steps), encode(second, first, -steps)]
    )
    members = encode(star.first, star.second, star.cells)
    little = np.flatnonzero(images == members[0])
    if little.tobytes() not in bases:
        bases[little.tobytes()] = _invariant_tensors(group, little)
    elements, tensors = bases[little.tobytes()]
    # one operation that takes the first pair to each member of the star
    found, operations = np.unique(images, return_index=True)
    carriers = operations[np.searchsorted(found, members)]
    return Shell(
        number,
        star.bonds,
        np.stack([star.first, star.second], axis=1),
        elements,
        _transformed(tensors, group, carriers),
    )


def _invariant_tensors(group, little):
    """Find the elements of a tensor that some operations leave free.

    What is invariant is brought to reduced row echelon form, so that each basis tensor
    has a one at its own named element and zeros at those of the others.
    """
    units = np.eye(9).reshape(9, 3, 3)[_FLAT]
    projector = _transformed(units, group, little).mean(axis=1).reshape(9, 9)[:, _FLAT]
    basis, pivots = row_echelon(_row_space(projector))
    return [_ELEMENTS[p] for p in pivots], np.einsum("pe,eij->pij", basis, units)


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
    if matrix.shape[1] > _WIDE * len(matrix):
        squares, left = np.linalg.eigh(matrix @ matrix.T)
        kept = squares > _NOISE**2
        return (left[:, kept] / np.sqrt(squares[kept])).T @ matrix
    _, sizes, rows = np.linalg.svd(matrix, full_matrices=False)
    return rows[sizes > _NOISE]
