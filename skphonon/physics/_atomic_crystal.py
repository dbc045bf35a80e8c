"""A crystal before anything is known of its forces: cell, atoms and symmetry."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import KW_ONLY
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from skphonon._caching import content_of, shared
from skphonon._versioned import Immutable, immutable, read_only
from skphonon.physics import symmetry
from skphonon.physics._crystal import Structure, build_structure, laue_class
from skphonon.physics.lattice import SAME_LENGTH

__all__ = ["AtomicCrystal"]

Array = NDArray[np.float64]
T = TypeVar("T")


@immutable
class AtomicCrystal(Immutable):
    """Cell, atoms and symmetry of a crystal."""

    lattice: Array
    symbol: str | tuple[str, ...]
    _: KW_ONLY
    positions: Array | None = None
    mass: float | Array | None = None
    magnetic_moments: Array | None = None

    def _settle(self) -> None:
        lattice = np.asarray(self.lattice, dtype=float)
        whole = lattice.shape == (3, 3) and np.isfinite(lattice).all()
        if not whole or abs(np.linalg.det(lattice)) < SAME_LENGTH:
            raise ValueError(
                "lattice must hold three independent vectors in rows, shape (3, 3), "
                f"got shape {lattice.shape}: {lattice.tolist()}."
            )
        kept: dict[str, Any] = {"lattice": read_only(self.lattice)}
        n_atoms = 1
        if self.positions is not None:
            kept["positions"] = positions = read_only(self.positions)
            if positions.ndim != 2 or positions.shape[1] != 3:
                raise ValueError(
                    f"positions must have shape (n_atoms, 3), got {positions.shape}."
                )
            if not len(positions) or not np.isfinite(positions).all():
                raise ValueError(
                    "positions must be finite, of one atom at least, got "
                    f"{positions.tolist()}."
                )
            n_atoms = len(positions)
        if isinstance(self.symbol, str):
            kept["symbol"] = str(self.symbol)
        elif not isinstance(self.symbol, Iterable):
            raise ValueError(
                "symbol must name an element or isotope, such as 'Al', or one an atom; "
                f"got {self.symbol!r}."
            )
        else:
            kept["symbol"] = symbols = tuple(map(str, self.symbol))
            if len(symbols) != n_atoms:
                raise ValueError(
                    f"symbol must be one a row of positions, {n_atoms}; got "
                    f"{len(symbols)}: {', '.join(symbols)}."
                )
        if self.mass is not None:
            masses = np.asarray(self.mass, dtype=float)
            if masses.shape not in ((), (1,), (n_atoms,)) or not (masses > 0).all():
                raise ValueError(
                    f"mass must be positive, one number or one for each of {n_atoms} "
                    f"atoms, got {masses.tolist()}."
                )
            kept["mass"] = read_only(masses) if masses.ndim else float(masses)
        if self.magnetic_moments is not None:
            kept["magnetic_moments"] = moments = read_only(self.magnetic_moments)
            fits = moments.shape in ((n_atoms,), (n_atoms, 3))
            if not fits or not np.isfinite(moments).all():
                raise ValueError(
                    "magnetic_moments must be finite and one an atom, shape "
                    f"({n_atoms},) or ({n_atoms}, 3), got shape {moments.shape}: "
                    f"{moments.tolist()}."
                )
        self._keep(**kept)

    @property
    def cell(self) -> Any:
        """The cell with its atoms, as phonopy has it: isotopes as their elements."""
        return self._structure.cell.copy()  # equal models share that of the crystal

    @property
    def symbols(self) -> list[str]:
        """Symbol of each atom of the cell."""
        if isinstance(self.symbol, str):
            return [self.symbol] * self.n_atoms
        return list(self.symbol)

    @cached_property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return 1 if self.positions is None else len(self.positions)

    @cached_property
    def atomic_masses(self) -> Array:
        """Masses in amu, shape (n_atoms,)."""
        return read_only(self._structure.cell.masses)

    def reciprocal_lattice(self) -> Array:
        """Return the reciprocal lattice.

        Returns
        -------
        ndarray of shape (3, 3)
            Reciprocal lattice vectors in rows, 1/Angstrom, with the factor 2 pi.
        """
        return self._reciprocal

    def point_group(self) -> Array:
        """Return the rotations that leave the phonons unchanged: the Laue class.

        Returns
        -------
        ndarray of shape (n_rotations, 3, 3)
            Cartesian rotation matrices of the space group and of inversion, which the
            phonons have in any crystal (time reversal).
        """
        return self._laue_class

    def symmetry_operations(self) -> tuple[Array, NDArray[np.integer[Any]]]:
        """Return what the space group does to directions and to the atoms of the cell.

        Returns
        -------
        rotations : ndarray of shape (n_operations, 3, 3)
            Cartesian rotation matrices.
        permutations : ndarray of int of shape (n_operations, n_atoms)
            Number of the atom onto which each atom goes, but for lattice translations.
        """
        group = self._structure.group
        order = len(group.rotations)
        flat = np.hstack([group.rotations.reshape(order, -1), group.permutations])
        _, unique = np.unique(flat, axis=0, return_index=True)
        return group.cartesian[unique], group.permutations[unique]

    def inversion_partners(self) -> NDArray[np.integer[Any]] | None:
        """Return the atom of the cell to which an inversion takes each atom.

        Returns
        -------
        ndarray of int of shape (n_atoms,) or None
            Number of the image of each atom; None if there is no centre of inversion.
        """
        group = self._structure.group
        inversions = (group.rotations == -np.eye(3, dtype=int)).all(axis=(1, 2))
        if not inversions.any():
            return None
        return read_only(group.permutations[inversions.argmax()], None)

    def shells_within(self, cutoff: float) -> int:
        """Return the number of shells of neighbours up to a distance.

        Parameters
        ----------
        cutoff : float
            Longest bond in Angstrom.

        Returns
        -------
        int
            At least 1.

        Raises
        ------
        ValueError
            If there are no neighbours so near.
        """
        cell, group, _ = self._structure
        n_shells = len(symmetry.orbits_within(cell, group, cutoff).members)
        if not n_shells:
            raise ValueError(
                f"cutoff must reach the nearest neighbours, got {cutoff:g} Angstrom."
            )
        return n_shells

    def cached(self, name: Hashable, build: Callable[[], T]) -> T:
        """Return what follows from the structure alone, made once for all equal ones.

        Parameters
        ----------
        name : hashable
            What it is.
        build : callable
            Makes it.

        Returns
        -------
        object
            What `build` returned the first time: do not change it.
        """
        return shared((name, self._structure_key), build)

    @cached_property
    def _structure_key(self) -> Hashable:
        return content_of(
            (
                self.lattice,
                self.symbol,
                self.positions,
                self.mass,
                self.magnetic_moments,
            )
        )

    @cached_property
    def _structure(self) -> Structure:
        """The cell and its space group."""

        def build() -> Structure:
            positions = np.zeros((1, 3)) if self.positions is None else self.positions
            return build_structure(
                self.lattice, self.symbols, positions, self.mass, self.magnetic_moments
            )

        return self.cached("structure", build)

    @cached_property
    def _laue_class(self) -> Array:
        group = self._structure.group
        both = np.concatenate([group.cartesian, -group.cartesian])
        return read_only(both[laue_class(group)])

    @cached_property
    def _reciprocal(self) -> Array:
        return read_only(2 * np.pi * np.linalg.inv(self.lattice).T)
