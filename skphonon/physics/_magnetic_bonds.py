"""Bonds of an exchange between spins, given by hand or found by their length."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.physics.lattice import points_within

__all__ = ["bonds_of"]

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

_SAME_LENGTH = 0.01  # Angstrom
_WHOLE = 1e-6


def bonds_of(
    given: ArrayLike, name: str, positions: Array, lattice: Array, cell: Array
) -> tuple[Integers, Array]:
    """Return pairs of spins of an exchange, and their steps in lattice vectors."""
    # a length in Angstrom, or rows (i, j, n1, n2, n3): from spin i to the copy of spin
    # j that lies n lattice vectors from its place
    if np.ndim(given) == 0:
        length = float(np.asarray(given))
        bonds: list = _by_length(length, positions, lattice, cell)
        if not bonds:
            raise ValueError(
                f"exchange {name!r} must be the distance of some spins, but no two are "
                f"{length:g} Angstrom apart (to {_SAME_LENGTH:g})."
            )
    else:
        bonds = _checked(given, name, len(positions), cell)
    numbers = np.array(bonds, dtype=int)
    pairs, offsets = numbers[:, :2], numbers[:, 2:]
    return pairs, positions[pairs[:, 1]] + offsets - positions[pairs[:, 0]]


def _by_length(
    length: float, positions: Array, lattice: Array, cell: Array
) -> list[tuple]:
    """Find pairs that far apart, as rows (i, j, n1, n2, n3)."""
    # positions may lie in other cells: their spread is to be reached over
    spread = np.linalg.norm((positions - positions[0]) @ lattice, axis=1).max()
    reach = length + 2 * spread + _SAME_LENGTH
    bonds = []
    for copies in points_within(cell @ lattice, reach).tolist():
        offset = np.array(copies) @ cell
        vectors = (positions + offset)[None] - positions[:, None]
        lengths = np.linalg.norm(vectors @ lattice, axis=2)
        for i, j in np.argwhere(np.abs(lengths - length) < _SAME_LENGTH):
            if i < j or (i == j and copies > [0, 0, 0]):
                bonds.append((i, j, *offset))
    return bonds


def _checked(given: ArrayLike, name: str, n_spins: int, cell: Array) -> list[list[int]]:
    rows = np.asarray(given)
    if rows.ndim != 2 or rows.shape[1] != 5 or not np.equal(rows, np.rint(rows)).all():
        raise ValueError(
            f"exchange {name!r} must be a length, or bonds (i, j, n1, n2, n3) of whole "
            f"numbers in rows; got {given!r}."
        )
    rows = rows.astype(int)
    copies = rows[:, 2:] @ np.linalg.inv(cell)
    wrong = (rows[:, :2] < 0).any(axis=1) | (rows[:, :2] >= n_spins).any(axis=1)
    wrong |= (np.abs(copies - np.rint(copies)) > _WHOLE).any(axis=1)
    wrong |= (rows[:, 0] == rows[:, 1]) & ~rows[:, 2:].any(axis=1)
    if wrong.any():
        raise ValueError(
            f"Bonds of exchange {name!r} must join two of the spins 0 to "
            f"{n_spins - 1}, the second displaced by vectors of the magnetic cell; got "
            f"{rows[wrong.argmax()].tolist()}."
        )
    both = np.concatenate([rows, np.c_[rows[:, [1, 0]], -rows[:, 2:]]])
    _, counts = np.unique(both, axis=0, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"Each bond of exchange {name!r} must be given once, got one twice, maybe "
            "from its other end."
        )
    return rows.tolist()
