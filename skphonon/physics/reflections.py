r"""Bragg reflections of a powder: where they are, how many there are and how strong.

A reflection is a vector :math:`\tau` of the reciprocal lattice, with the factor
:math:`2 \pi`. The elastic line of a powder holds, per atom and solid angle,

.. math:: I(Q) \propto \sum_\tau \frac{|F(\tau)|^2}{\tau^2}\,\delta(Q - \tau),
          \qquad F(\tau) = \frac{1}{n} \sum_j b_j \exp(i \tau \cdot r_j),

with the coherent scattering lengths :math:`b_j` of the n atoms at :math:`r_j` in a cell
(kinematic scattering; G. L. Squires, *Introduction to the Theory of Thermal Neutron
Scattering*, Cambridge, 2012, doi:10.1017/CBO9781139107808). Debye-Waller factors are
left out: these intensities tell which reflections are seen, not by how much.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.physics._atoms import element_and_mass
from skphonon.physics.lattice import points_within
from skphonon.physics.scattering_lengths import scattering_lengths

__all__ = ["Reflections", "powder_reflections"]

Array = NDArray[np.float64]

_SAME = 1e-4  # relative difference of lengths that count as one
_ABSENT = 1e-6  # of the intensity with all atoms in phase
_MOST = 2_000_000  # reciprocal lattice vectors that are listed


class Reflections(NamedTuple):
    """Reflections of a powder in the order of their momentum transfer.

    Parameters
    ----------
    q : ndarray of shape (n_reflections,)
        Momentum transfer in 1/Angstrom.
    hkl : ndarray of int of shape (n_reflections, 3)
        Miller indices of one vector of each length, in the conventional cell.
    multiplicity : ndarray of int of shape (n_reflections,)
        Number of vectors of that length that the structure allows.
    intensity : ndarray of shape (n_reflections,)
        Sum of their :math:`|F|^2` over the squared momentum transfer, in
        fm^2 Angstrom^2.
    """

    q: Array
    hkl: NDArray[np.int64]
    multiplicity: NDArray[np.int64]
    intensity: Array

    def labels(self) -> list[str]:
        """Return Miller indices as texts: "111", or "10 0 2" where one is long.

        Returns
        -------
        list of str
            One a reflection.
        """
        return [_label(indices) for indices in self.hkl]


def powder_reflections(
    lattice: ArrayLike,
    positions: ArrayLike,
    symbols: Sequence[str],
    q_max: float,
    *,
    values: Mapping[str, float | tuple[float, float]] | None = None,
) -> Reflections:
    """List the reflections of a powder up to a momentum transfer.

    Parameters
    ----------
    lattice : array-like of shape (3, 3)
        Lattice vectors of any cell in rows, in Angstrom.
    positions : array-like of shape (n_atoms, 3)
        Positions in units of the lattice vectors.
    symbols : sequence of str
        Element or isotope of each atom.
    q_max : float
        Largest momentum transfer in 1/Angstrom.
    values : dict, default=None
        Own scattering lengths, see
        :func:`~skphonon.physics.scattering_lengths.scattering_lengths`.

    Returns
    -------
    Reflections
        Those that the structure allows; none is left if `q_max` is too small.

    Raises
    ------
    ValueError
        If shapes do not fit together, a scattering length is not known, or there are
        millions of vectors below `q_max`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.physics.reflections import powder_reflections
    >>> aluminium = powder_reflections(4.05 * np.eye(3), [[0, 0, 0], [0, 0.5, 0.5],
    ...     [0.5, 0, 0.5], [0.5, 0.5, 0]], ["Al"] * 4, 4.5)
    >>> aluminium.labels(), aluminium.q.round(2), aluminium.multiplicity
    (['111', '200', '220'], array([2.69, 3.1 , 4.39]), array([ 8,  6, 12]))
    """
    lattice, positions = _checked(lattice, positions, symbols)
    volume = abs(np.linalg.det(lattice))
    if not 0 < q_max < np.inf or volume * q_max**3 / (6 * np.pi**2) > _MOST:
        raise ValueError(
            f"q_max must be positive and leave less than {_MOST} reflections, got "
            f"{q_max:g} 1/Angstrom for a cell of {volume:.4g} Angstrom^3. Lower it, or "
            "give a primitive cell."
        )
    reciprocal: Array = np.asarray(2 * np.pi * np.linalg.inv(lattice).T, dtype=float)
    hkl = points_within(reciprocal, q_max)
    hkl = hkl[hkl.any(axis=1)]
    length = np.linalg.norm(hkl @ reciprocal, axis=1)
    b = scattering_lengths(symbols, values=values).coherent_length
    factor = np.zeros(len(hkl), dtype=complex)
    for position, b_atom in zip(positions, b, strict=True):  # atoms are few
        factor += b_atom * np.exp(2j * np.pi * (hkl @ position))
    squared = np.abs(factor) ** 2
    allowed = squared > _ABSENT * max(np.abs(b).sum() ** 2, 1e-12)
    hkl, length, squared = hkl[allowed], length[allowed], squared[allowed]
    hkl = _conventional(hkl, lattice, positions, symbols)
    return _by_length(hkl, length, squared / (len(b) * length) ** 2)


def _checked(
    lattice: ArrayLike, positions: ArrayLike, symbols: Sequence[str]
) -> tuple[Array, Array]:
    lattice = np.asarray(lattice, dtype=float)
    positions = np.asarray(positions, dtype=float)
    whole = lattice.shape == (3, 3) and np.isfinite(lattice).all()
    if not whole or not abs(np.linalg.det(lattice)) > 0:
        raise ValueError(
            "lattice must hold three independent vectors in rows, shape (3, 3), got "
            f"{lattice.tolist()}."
        )
    if positions.shape != (len(symbols), 3) or not np.isfinite(positions).all():
        raise ValueError(
            f"positions must be finite and of shape (n_atoms, 3) for {len(symbols)} "
            f"symbols, got shape {positions.shape}."
        )
    return lattice, positions


def _conventional(
    hkl: NDArray[np.int64], lattice: Array, positions: Array, symbols: Sequence[str]
) -> NDArray[np.int64]:
    """Return Miller indices in the conventional cell, as names of reflections have."""
    # isotopes are different atoms to structure factors, but not to names
    elements = tuple(element_and_mass(symbol)[0] for symbol in symbols)
    change = _change_of_cell(elements, lattice.tobytes(), positions.tobytes())
    if change is None:
        return hkl
    # coordinates turn by P, so indices by its inverse
    return np.rint(hkl @ np.linalg.inv(change)).astype(np.int64)


@lru_cache(maxsize=64)
def _change_of_cell(
    elements: tuple[str, ...], lattice: bytes, positions: bytes
) -> Array | None:
    """Return what turns coordinates to the conventional cell: one crystal comes often.

    Arrays come as their bytes, which a cache can compare.
    """
    from phonopy.structure.atoms import PhonopyAtoms
    from phonopy.structure.symmetry import Symmetry

    cell = PhonopyAtoms(
        list(elements),
        cell=np.frombuffer(lattice).reshape(3, 3),
        scaled_positions=np.frombuffer(positions).reshape(-1, 3),
    )
    dataset: Any = Symmetry(cell, symprec=1e-4).dataset
    return None if dataset is None else dataset.transformation_matrix


def _by_length(hkl: NDArray[np.int64], length: Array, intensity: Array) -> Reflections:
    """Put vectors of one length together."""
    order = np.argsort(length, kind="stable")
    hkl, length, intensity = hkl[order], length[order], intensity[order]
    new = np.concatenate([[True], np.diff(length) > _SAME * length[:-1]])[: len(hkl)]
    starts = np.flatnonzero(new)
    if not len(starts):
        nothing = np.zeros(0)
        return Reflections(nothing, hkl[:0], nothing.astype(int), nothing)
    counts = np.diff([*starts, len(hkl)])
    groups = np.split(hkl, starts[1:])
    return Reflections(
        np.add.reduceat(length, starts) / counts,
        np.array([_representative(group) for group in groups]),
        counts.astype(np.int64),
        np.add.reduceat(intensity, starts),
    )


def _representative(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices that people write: few negative ones, large ones first."""
    negative = (group < 0).sum(axis=1)
    rank = np.lexsort((-group[:, 2], -group[:, 1], -group[:, 0], negative))
    return group[rank[0]]


def _label(indices: NDArray[np.int64]) -> str:
    texts = [str(index) for index in indices]
    return ("" if all(len(text) == 1 for text in texts) else " ").join(texts)
