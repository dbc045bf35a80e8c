"""Which spins an exchange couples: bonds given by hand or found by their length."""

import numpy as np

from skphonon.physics.lattice import points_within

__all__ = ["bonds_of"]

_SAME_LENGTH = 0.01  # Angstrom
_WHOLE = 1e-6


def bonds_of(given, name, positions, lattice, cell):
    """Return the bonds of an exchange, each once.

    Parameters
    ----------
    given : float or array-like of shape (n_bonds, 5)
        Length in Angstrom, or rows (i, j, n1, n2, n3): from spin i to the copy of spin
        j that lies n lattice vectors from its place.
    name : str
        Of the exchange, for errors.
    positions : ndarray of shape (n_spins, 3)
        Places of the spins of the magnetic cell, in lattice vectors.
    lattice : ndarray of shape (3, 3)
        Lattice vectors in rows, Angstrom.
    cell : ndarray of shape (3, 3)
        Vectors of the magnetic cell in rows, in lattice vectors.

    Returns
    -------
    pairs : ndarray of int of shape (n_bonds, 2)
        Numbers of both spins.
    steps : ndarray of shape (n_bonds, 3)
        From the first to the second, in lattice vectors.

    Raises
    ------
    ValueError
        If there is no such bond, or one is given twice or joins what is no pair.
    """
    if np.ndim(given) == 0:
        bonds = _by_length(float(given), positions, lattice, cell)
        if not bonds:
            raise ValueError(
                f"exchange {name!r} must be the distance of some spins, but no two are "
                f"{float(given):g} Angstrom apart (to {_SAME_LENGTH:g})."
            )
    else:
        bonds = _checked(given, name, len(positions), cell)
    numbers = np.array(bonds, dtype=int)
    pairs, offsets = numbers[:, :2], numbers[:, 2:]
    return pairs, positions[pairs[:, 1]] + offsets - positions[pairs[:, 0]]


def _by_length(length, positions, lattice, cell):
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


def _checked(given, name, n_spins, cell):
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
