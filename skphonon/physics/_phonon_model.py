"""The part of a model of phonons that matrices and means over the zone rely on."""

from collections.abc import Callable, Hashable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PhononModel"]

Array = NDArray[np.float64]


class PhononModel(Protocol):
    """A harmonic crystal, such as :class:`~skphonon.physics.ForceConstantModel`."""

    @property
    def reference(self) -> Any:
        """Reference values of the parameters, or None."""

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters."""

    @property
    def _crystal(self) -> Any:
        """What gives the force constants of bonds: `spread` and `rule`."""

    @property
    def cell(self) -> Any:
        """The cell with its atoms, as phonopy has it."""

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""

    @property
    def atomic_masses(self) -> Array:
        """Masses in amu."""

    @property
    def bonds(self) -> Array:
        """Cartesian vectors to all neighbours, in Angstrom."""

    @property
    def bond_atoms(self) -> NDArray[np.integer[Any]]:
        """First and second atom of each bond."""

    def reciprocal_lattice(self) -> Array:
        """Return the reciprocal lattice vectors in rows."""

    def point_group(self) -> Array:
        """Return the rotations of the Laue class."""

    def symmetry_operations(self) -> tuple[Array, NDArray[np.integer[Any]]]:
        """Return rotations, and where they take the atoms."""

    def inversion_partners(self) -> NDArray[np.integer[Any]] | None:
        """Return where an inversion takes each atom."""

    def dynamical_matrix_offset(
        self, wavevectors: ArrayLike
    ) -> NDArray[np.complex128] | None:
        """Return the polar term."""

    def cached(self, name: Hashable, build: Callable[[], Any]) -> Any:
        """Return what follows from the structure alone, made once."""
