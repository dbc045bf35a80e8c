"""Lattice dynamics of a crystal with force constants linear in named parameters."""

from dataclasses import KW_ONLY
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._validation import parameter_rows
from skphonon._versioned import immutable, read_only
from skphonon.physics import supercells
from skphonon.physics._atomic_crystal import AtomicCrystal
from skphonon.physics._crystal import Crystal
from skphonon.physics._shell_fits import spread
from skphonon.physics.dynamical_matrix import (
    BondPairs,
    DynamicalMatrices,
    bond_matrices,
)
from skphonon.physics.modes import signed_sqrt
from skphonon.physics.polar import non_analytic_term, polar_term
from skphonon.physics.stability import softest_modes

__all__ = ["HarmonicCrystal"]

Array = NDArray[np.float64]


@immutable
class HarmonicCrystal(AtomicCrystal):
    """Force constants, dynamical matrices and energies of sets of parameters.

    Subclasses tell their shells and the rule from parameters to elements: `_crystal`.
    """

    reference: Array | None
    _: KW_ONLY
    supercell: NDArray[np.int_] | None = None
    born_charges: Array | None = None
    dielectric: Array | None = None

    def _settle(self) -> None:
        super()._settle()
        if self.supercell is not None:
            supercells.as_matrix(self.supercell)  # says what it must be
            self._keep(supercell=read_only(np.rint(self.supercell), int))
        given = [self.born_charges is not None, self.dielectric is not None]
        if any(given) and not (all(given) and self.supercell is not None):
            raise ValueError(
                "A polar crystal needs born_charges, dielectric and supercell together "
                "(constants on a supercell hold part of the polar term), got None for "
                "one of them."
            )
        for name in ("born_charges", "dielectric"):
            if getattr(self, name) is not None:
                self._keep(**{name: read_only(getattr(self, name))})

    @cached_property
    def _crystal(self) -> Crystal:
        """Shells, and the elements that the parameters give them."""
        raise NotImplementedError

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters, in order."""
        return list(self._crystal.names)

    @property
    def bonds(self) -> Array:
        """Cartesian vectors to all neighbours, shape (n_bonds, 3), in Angstrom."""
        return self._crystal.bonds

    @property
    def bond_atoms(self) -> NDArray[np.integer[Any]]:
        """First and second atom of each bond, shape (n_bonds, 2)."""
        return self._crystal.atoms

    @cached_property
    def bond_tensors(self) -> Array:
        """Change of K with each parameter, shape (n_parameters, n_bonds, 3, 3).

        A dense array: nothing in the package needs it whole.
        """
        crystal = self._crystal
        tensors = np.zeros((len(crystal.names), len(crystal.bonds), 3, 3))
        start = 0
        for shell, combinations in zip(
            crystal.shells, crystal.combinations, strict=True
        ):
            stop = start + len(shell.bonds)
            tensors[combinations.parameters, start:stop] = np.tensordot(
                combinations.coefficients, shell.tensors, axes=1
            )
            start = stop
        tensors.flags.writeable = False
        return tensors

    def tensor(self, parameters: ArrayLike) -> Array:
        """Return the force constants of every atom of the cell.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.

        Returns
        -------
        ndarray of shape (n_samples, n_atoms + n_bonds, 3, 3)
            The second derivatives of the energy (minus the Born-von Karman
            constants) in eV/Angstrom^2: the on-site term of each atom first, then one
            for each row of `bonds`. Those of an atom sum to zero.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        pairs, first = self._pairs(rows), self._crystal.atoms[:, 0]
        tensors = np.concatenate([np.zeros((len(rows), self.n_atoms, 3, 3)), -pairs], 1)
        np.add.at(tensors.swapaxes(0, 1), first, pairs.swapaxes(0, 1))
        return tensors

    def parameter_gradient(self, tensor_gradient: ArrayLike) -> Array:
        """Return derivatives with the parameters, of those with the force constants.

        The transposed map of :meth:`tensor`: what takes gradients backwards.

        Parameters
        ----------
        tensor_gradient : array-like of shape (n_samples, n_atoms + n_bonds, 3, 3)
            Derivatives of a scalar with each element that :meth:`tensor` returns.

        Returns
        -------
        ndarray of shape (n_samples, n_parameters)
            Its derivatives with the parameters.

        Raises
        ------
        ValueError
            If `tensor_gradient` has another shape.
        """
        given = np.asarray(tensor_gradient, dtype=float)
        crystal, n_atoms = self._crystal, self.n_atoms
        shape = n_atoms + len(crystal.bonds), 3, 3
        if given.ndim != 4 or given.shape[1:] != shape:
            raise ValueError(
                "tensor_gradient must have the shape of tensor(parameters), "
                f"(n_samples, {shape[0]}, 3, 3); got {given.shape}."
            )
        pairs = given[:, crystal.atoms[:, 0]] - given[:, n_atoms:]
        elements = crystal.spread.T @ pairs.reshape(len(given), -1).T
        return (crystal.rule.T @ elements).T

    def dynamical_matrix_basis(self, wavevectors: ArrayLike) -> NDArray:
        """Return the change of the dynamical matrices with each parameter.

        Phases are those of the vectors from atom to atom, see
        :func:`~skphonon.physics.dynamical_matrix.dynamical_matrix_basis`.

        Parameters
        ----------
        wavevectors : array-like of shape (n_points, 3)
            Cartesian, in 1/Angstrom, with the factor 2 pi.

        Returns
        -------
        ndarray of shape (n_parameters, n_points, 3 * n_atoms, 3 * n_atoms)
            meV^2 for each eV/Angstrom^2: real for one atom a cell, complex otherwise.
        """
        return DynamicalMatrices(self, wavevectors, pairs=self._bond_pairs).basis()

    def dynamical_matrix_offset(self, wavevectors: ArrayLike) -> NDArray | None:
        """Return what does not depend on the parameters: the polar term.

        Parameters
        ----------
        wavevectors : array-like of shape (n_points, 3)
            Cartesian, in 1/Angstrom, with the factor 2 pi.

        Returns
        -------
        ndarray of shape (n_points, 3 * n_atoms, 3 * n_atoms) or None
            In meV^2; None where the crystal has no Born charges.
        """
        if self.born_charges is None or self.dielectric is None:
            return None
        return polar_term(
            self.lattice,
            self._structure.cell.scaled_positions,
            self.atomic_masses,
            self.born_charges,
            self.dielectric,
            supercells.as_matrix(self.supercell),
            wavevectors,
        )

    def non_analytic_term(self, directions: ArrayLike) -> NDArray | None:
        """Return what the macroscopic field of a polar crystal adds at the zone centre.

        Parameters
        ----------
        directions : array-like of shape (n_directions, 3)
            Cartesian directions from which the zone centre is approached.

        Returns
        -------
        ndarray of shape (n_directions, 3 * n_atoms, 3 * n_atoms) or None
            In meV^2, to be added to the matrix of :meth:`dynamical_matrices` there;
            None where the crystal has no Born charges.
        """
        if self.born_charges is None or self.dielectric is None:
            return None
        return non_analytic_term(
            self.lattice,
            self.atomic_masses,
            self.born_charges,
            self.dielectric,
            directions,
        )

    def dynamical_matrices(
        self, parameters: ArrayLike, wavevectors: ArrayLike
    ) -> NDArray:
        """Return dynamical matrices.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        wavevectors : array-like of shape (n_points, 3)
            Cartesian, in 1/Angstrom, with the factor 2 pi.

        Returns
        -------
        ndarray of shape (n_samples, n_points, 3 * n_atoms, 3 * n_atoms)
            In meV^2, the polar term included: eigenvalues are squared phonon energies.
        """
        rows = parameter_rows(parameters, self._crystal.names)
        points = np.asarray(wavevectors, dtype=float)
        matrices = bond_matrices(self._bond_pairs, rows, points)
        offset = self.dynamical_matrix_offset(points)
        return matrices if offset is None else matrices + offset

    def frequencies(self, parameters: ArrayLike, qpoints: ArrayLike) -> Array:
        """Return phonon energies.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        qpoints : array-like of shape (n_points, 3)
            Wavevectors in units of the reciprocal lattice, as in phonopy. At the zone
            centre of a polar crystal the non-analytic term, which depends on the
            direction of approach, is left out.

        Returns
        -------
        ndarray of shape (n_samples, n_points, 3 * n_atoms)
            Energies in meV, ascending; unstable modes are negative.
        """
        wavevectors = np.asarray(qpoints, dtype=float) @ self.reciprocal_lattice()
        matrices = self.dynamical_matrices(parameters, wavevectors)
        return signed_sqrt(np.linalg.eigvalsh(matrices))

    def is_stable(
        self, parameters: ArrayLike, *, mesh: Any = None
    ) -> NDArray[np.bool_]:
        """Tell which parameter sets describe a stable crystal.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        mesh : int or tuple of three int, default=None
            Points along each reciprocal axis of the mesh that is looked at, besides
            long waves along the shortest directions of the reciprocal lattice. None
            takes points for 24 Angstrom.

        Returns
        -------
        ndarray of bool of shape (n_samples,)
            True where no mode that is looked at has an imaginary frequency.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        return softest_modes(self, rows, mesh).eigenvalues >= 0

    def _pairs(self, rows: Array) -> Array:
        """K of every bond (n_samples, n_bonds, 3, 3) of parameter sets."""
        crystal = self._crystal
        return spread(crystal, (crystal.rule @ rows.T).T)

    @cached_property
    def _bond_pairs(self) -> BondPairs:
        """The bonds by pairs of atoms, for matrices that are not in the real form."""
        return BondPairs(self, real=False)
