"""The acoustic sum rule: elements of shells that follow from others.

The on-site term of an atom, the sum of K over its bonds, must be symmetric. Where
symmetry does not see to that, elements of the farthest shells are given up for it. In
crystals without symmetry that is one element for each atom and axis, and matrices of
elements by conditions are large but sparse: those here are sparse all the way.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array, vstack
from scipy.sparse.linalg import splu

from skphonon.physics.symmetry import LATTICE_NOISE, ROUNDING, Shell

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

_BLOCK = 2**21  # numbers of tensors at a time
_NOTHING = 1e-14  # numbers of rotations that vanish come out smaller
_ODD = ([1, 2, 5], [3, 6, 7])  # elements of a flat tensor that differ where it is skew


class SumRule(NamedTuple):
    """Elements of all shells that the sum rule leaves free."""

    independent: Integers  # (n_parameters,) int, elements that are parameters
    elements: csr_array  # (n_elements, n_parameters): all elements of the parameters
    conditions: csr_array  # (n_conditions, n_elements): independent sums that vanish


class Combinations(NamedTuple):
    """Elements of a shell as combinations of the parameters of a model."""

    parameters: Integers  # (n,) int, those that enter
    coefficients: Array  # (n, n_elements)


def spreading(shells: Sequence[Shell]) -> csr_array:
    """Return the matrix from elements of all shells to K of bonds, 9 rows a bond."""
    n_bonds = np.array([len(shell.bonds) for shell in shells])
    n_elements = np.array([len(shell.elements) for shell in shells])
    sizes = 9 * n_bonds * n_elements
    bond = np.cumsum(n_bonds) - n_bonds
    element = np.cumsum(n_elements) - n_elements
    parts = []
    blocks = np.cumsum(sizes) // _BLOCK
    for own in np.split(np.arange(len(shells)), np.flatnonzero(np.diff(blocks)) + 1):
        values = np.concatenate([shells[n].tensors.reshape(-1) for n in own])
        filled = np.flatnonzero(np.abs(values) > _NOTHING)
        starts = np.cumsum(sizes[own]) - sizes[own]
        at = np.searchsorted(starts, filled, side="right") - 1
        member, place = np.divmod(filled - starts[at], 9 * n_bonds[own][at])
        parts.append(
            (values[filled], 9 * bond[own][at] + place, element[own][at] + member)
        )
    values, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    shape = 9 * int(n_bonds.sum()), int(n_elements.sum())
    return csr_array((values, (rows, columns)), shape=shape)


def sum_rule(spread: csr_array, first: Integers, n_atoms: int) -> SumRule:
    """Return the independent elements of all shells, and how they give the others."""
    n_bonds, n_elements = len(first), spread.shape[1]
    bonds = 9 * np.repeat(np.arange(n_bonds), 3)
    sums = 3 * np.repeat(first, 3) + np.tile(np.arange(3), n_bonds)
    signs = np.ones(len(sums))
    odd = csr_array(
        (
            np.concatenate([signs, -signs]),
            (
                np.concatenate([sums, sums]),
                np.concatenate([bonds + np.tile(part, n_bonds) for part in _ODD]),
            ),
        ),
        shape=(3 * n_atoms, 9 * n_bonds),
    )
    conditions = odd @ spread
    conditions.data[np.abs(conditions.data) < ROUNDING] = 0.0
    conditions.eliminate_zeros()
    rows, given_up = _pivots(conditions)
    free = np.ones(n_elements, dtype=bool)
    free[given_up] = False
    independent = np.flatnonzero(free)
    conditions = conditions[rows]
    rule = eye_array(len(independent), format="csr")
    if len(given_up):
        rule = vstack([rule, _following(conditions, given_up, independent)], "csr")
        rule = rule[np.argsort(np.concatenate([independent, given_up]))]
    return SumRule(independent, rule, conditions)


def _following(
    conditions: csr_array, given_up: Integers, independent: Integers
) -> csr_array:
    """Return the elements given up as combinations of the independent ones."""
    inverse = splu(conditions[:, given_up].tocsc()).solve(np.eye(len(given_up)))
    inverse[np.abs(inverse) < ROUNDING] = 0.0
    following = csr_array(-inverse) @ conditions[:, independent]
    following.data[np.abs(following.data) < ROUNDING] = 0.0
    following.eliminate_zeros()
    return following


def _pivots(matrix: csr_array) -> tuple[Integers, Integers]:
    """Return rows that span those of a sparse matrix, and a last column of each."""
    # columns of the echelon form from the last column to the first, as far as rounding
    # of the lattice lets it tell a number from zero
    waiting: list[tuple] = []
    rows, pivots = [], []
    for number in range(matrix.shape[0]):
        own = slice(matrix.indptr[number], matrix.indptr[number + 1])
        order = np.argsort(matrix.indices[own])[::-1]
        columns = matrix.indices[own][order].astype(np.int64)
        _await(waiting, number, columns, matrix.data[own][order], LATTICE_NOISE)
    while waiting:
        alike = [heappop(waiting)]
        while waiting and waiting[0][0] == alike[0][0]:
            alike.append(heappop(waiting))
        best = max(range(len(alike)), key=lambda n: abs(alike[n][3][alike[n][4]]))
        negative, number, columns, values, lead = alike.pop(best)
        rows.append(number)
        pivots.append(-negative)
        for _, other, its_columns, its_values, its_lead in alike:
            factor = its_values[its_lead] / values[lead]
            left, left_values = _difference(
                its_columns, its_values, columns, factor * values
            )
            noise = LATTICE_NOISE * np.abs(its_values).max()
            _await(waiting, other, left, left_values, noise, below=-negative)
    order = np.argsort(pivots)[::-1]
    return np.array(rows, dtype=int)[order], np.array(pivots, dtype=int)[order]


def _await(
    waiting: list[tuple],
    number: int,
    columns: Integers,
    values: Array,
    noise: float,
    below: float = np.inf,
) -> None:
    """Queue a row by its last column, unless it is empty but for rounding errors."""
    leads = np.flatnonzero((np.abs(values) > noise) & (columns < below))
    if len(leads):
        lead = int(leads[0])
        heappush(waiting, (-int(columns[lead]), number, columns, values, lead))


def _difference(
    columns: Integers, values: Array, others: Integers, subtracted: Array
) -> tuple[Integers, Array]:
    """Difference of two sparse rows, columns descending."""
    both = np.concatenate([columns, others])
    order = np.argsort(-both, kind="stable")
    both, numbers = both[order], np.concatenate([values, -subtracted])[order]
    starts = np.flatnonzero(np.diff(both, prepend=-1))
    sums = np.add.reduceat(numbers, starts)
    kept = np.abs(sums) > ROUNDING
    return both[starts][kept], sums[kept]


def combinations(rule: csr_array, sizes: Integers) -> list[Combinations]:
    """Return the parameters that give the elements of each shell, and their factors."""
    stops = np.cumsum(sizes)
    found = []
    for start, stop in zip(stops - sizes, stops, strict=True):
        among = slice(rule.indptr[start], rule.indptr[stop])
        columns = rule.indices[among]
        parameters, places = np.unique(columns, return_inverse=True)
        coefficients = np.zeros((len(parameters), stop - start))
        lengths = np.diff(rule.indptr[start : stop + 1])
        elements = np.repeat(np.arange(stop - start), lengths)
        coefficients[places, elements] = rule.data[among]
        found.append(Combinations(parameters, coefficients))
    return found
