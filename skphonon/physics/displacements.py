r"""What a mesh of the Brillouin zone tells of each atom: displacements and spectra.

The thermal mean-square displacement tensor of atom d,

.. math:: U_d = \langle u_d u_d^T \rangle = \mathrm{Re} \sum_q w_q \sum_j
          \frac{\hbar^2}{2 m_d E_{qj}} \coth\frac{E_{qj}}{2 k_B T}\,
          e_{dqj} e_{dqj}^\dagger,

gives the Debye-Waller factor of an amplitude, :math:`\exp(-W_d)` with
:math:`2 W_d = Q \cdot U_d Q` (Squires, *Introduction to the Theory of Thermal Neutron
Scattering*, doi:10.1017/CBO9781139107808, chapter 3). It is a matrix function of the
dynamical matrices; so is the density of states seen by an atom. Both come with
their derivatives, by divided differences as in
:mod:`~skphonon.physics.phonon_lines`. Unstable modes are left out.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.physics.phonon_lines import Lines, Responses, _gaps, _square

__all__ = [
    "ZoneMesh",
    "displacement_responses",
    "mean_square_displacement",
    "partial_lines",
    "partial_responses",
    "symmetry_averages",
]


class ZoneMesh(NamedTuple):
    """A mesh folded by symmetry; matrices in meV^2.

    Parameters
    ----------
    basis : Tensor of shape (n_points, n_parameters, n_modes, n_modes)
        Derivatives of the dynamical matrices; further quantities with respect to which
        derivatives are taken may follow the parameters.
    offset : Tensor of shape (n_points, n_modes, n_modes) or None
        What does not depend on the parameters.
    weights : Tensor of shape (n_points,)
        Weight of each point in a mean over the zone.
    masses : Tensor of shape (n_atoms,)
        In amu.
    of_scalars, of_tensors : Tensor
        Averages over the space group, as from :func:`symmetry_averages`.
    """

    basis: torch.Tensor
    offset: torch.Tensor | None
    weights: torch.Tensor
    masses: torch.Tensor
    of_scalars: torch.Tensor
    of_tensors: torch.Tensor

    def matrices(self, rows: torch.Tensor) -> torch.Tensor:
        """Return dynamical matrices.

        Parameters
        ----------
        rows : Tensor of shape (n_samples, n_parameters)
            Parameter sets.

        Returns
        -------
        Tensor of shape (n_points, n_samples, n_modes, n_modes)
            In meV^2.
        """
        basis = self.basis[:, : rows.shape[1]]
        matrices = torch.einsum("sp,npij->nsij", rows.to(basis), basis)
        return matrices if self.offset is None else matrices + self.offset[:, None]

    def same_for_equivalent_atoms(self, values: torch.Tensor) -> torch.Tensor:
        """Average over the atoms that symmetry relates.

        Parameters
        ----------
        values : Tensor of shape (..., n_atoms)
            A scalar of each atom.

        Returns
        -------
        Tensor of shape (..., n_atoms)
            The same for equivalent atoms.
        """
        return values @ self.of_scalars.mT

    def turned_into_all_images(self, tensors: torch.Tensor) -> torch.Tensor:
        """Average over the space group.

        Parameters
        ----------
        tensors : Tensor of shape (..., n_atoms, 3, 3)
            A tensor of each atom, from the folded mesh.

        Returns
        -------
        Tensor of shape (..., n_atoms, 3, 3)
            What the whole mesh gives.
        """
        flat = tensors.flatten(-3) @ self.of_tensors.mT
        return flat.unflatten(-1, tensors.shape[-3:])


def symmetry_averages(rotations: ArrayLike, permutations: ArrayLike):
    """Return the averages of atomic quantities over a space group, as matrices.

    Parameters
    ----------
    rotations : array-like of shape (n_operations, 3, 3)
        Cartesian rotations of the operations.
    permutations : array-like of int of shape (n_operations, n_atoms)
        Atom to which each operation takes each atom.

    Returns
    -------
    of_scalars : ndarray of shape (n_atoms, n_atoms)
        Acts on one number an atom.
    of_tensors : ndarray of shape (9 * n_atoms, 9 * n_atoms)
        Acts on one flattened tensor of shape (3, 3) an atom.
    """
    rotations, permutations = np.asarray(rotations), np.asarray(permutations)
    n_atoms = permutations.shape[1]
    moved = np.eye(n_atoms)[permutations].swapaxes(1, 2) / len(permutations)
    of_tensors = np.einsum("gij,gab,gcd->iacjbd", moved, rotations, rotations)
    return moved.sum(axis=0), of_tensors.reshape(9 * n_atoms, 9 * n_atoms)


def mean_square_displacement(
    mesh: ZoneMesh, rows: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the thermal mean-square displacement tensor of each atom.

    Parameters
    ----------
    mesh : ZoneMesh
        Mesh of the zone, without its centre.
    rows : Tensor of shape (n_samples, n_parameters)
        Parameter sets.
    temperature : float
        Temperature in K.

    Returns
    -------
    Tensor of shape (n_samples, n_atoms, 3, 3)
        In Angstrom^2.
    """
    eigenvalues, vectors = torch.linalg.eigh(mesh.matrices(rows))
    tensors = _thermal_tensors(eigenvalues, vectors, mesh.weights, temperature)
    return _by_mass(mesh, tensors)


def displacement_responses(
    mesh: ZoneMesh, rows: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the derivative of the displacement tensors with each parameter.

    Parameters
    ----------
    mesh : ZoneMesh
        Mesh of the zone, without its centre.
    rows : Tensor of shape (n_samples, n_parameters)
        Parameter sets.
    temperature : float
        Temperature in K.

    Returns
    -------
    Tensor of shape (n_samples, n_parameters, n_atoms, 3, 3)
        In Angstrom^2 for each unit of the parameter.
    """
    eigenvalues, vectors = torch.linalg.eigh(mesh.matrices(rows))
    amplitudes, slopes = _thermal(eigenvalues, temperature)
    inverse, near = _gaps(eigenvalues)
    differences = (amplitudes[..., :, None] - amplitudes[..., None, :]) * inverse
    differences += near * (slopes[..., :, None] + slopes[..., None, :]) / 2
    differences *= mesh.weights[:, None, None, None]
    inner = _inner(vectors, mesh.basis) * differences[:, :, None]
    blocks = vectors.unflatten(2, (-1, 3))
    half = torch.einsum("nspij,nsdbj->nspdib", inner, blocks.conj())
    tensors = torch.einsum("nsdai,nspdib->spdab", blocks, half).real
    return _by_mass(mesh, tensors)


def partial_lines(mesh: ZoneMesh, rows: torch.Tensor) -> Lines:
    """Return the modes of the mesh and how much each atom takes part in them.

    Parameters
    ----------
    mesh : ZoneMesh
        Mesh of the zone, without its centre.
    rows : Tensor of shape (n_samples, n_parameters)
        Parameter sets.

    Returns
    -------
    Lines
        Eigenvalues of shape (n_points, n_samples, n_modes); strengths of shape
        (n_points, n_samples, n_modes, n_atoms), which sum to one for each atom: its
        density of states.
    """
    eigenvalues, vectors = torch.linalg.eigh(mesh.matrices(rows))
    strengths = _square(vectors).unflatten(2, (-1, 3)).sum(dim=3) / 3  # n s d j
    strengths = strengths.mT * mesh.weights[:, None, None, None]
    return Lines(eigenvalues, mesh.same_for_equivalent_atoms(strengths))


def partial_responses(mesh: ZoneMesh, rows: torch.Tensor) -> Responses:
    """Return the modes of the mesh with their derivatives.

    Parameters
    ----------
    mesh : ZoneMesh
        Mesh of the zone, without its centre.
    rows : Tensor of shape (n_samples, n_parameters)
        Parameter sets.

    Returns
    -------
    Responses
        Eigenvalues and strengths as from :func:`partial_lines`; values and slopes of
        shape (n_points, n_samples, n_modes, n_parameters, n_atoms).
    """
    eigenvalues, vectors = torch.linalg.eigh(mesh.matrices(rows))
    inverse, near = _gaps(eigenvalues)
    blocks = vectors.unflatten(2, (-1, 3))
    overlap = torch.einsum("nsdal,nsdaj->nsdlj", blocks.conj(), blocks) / 3
    overlap *= mesh.weights[:, None, None, None, None]
    inner = _inner(vectors, mesh.basis)
    values, slopes = (
        torch.einsum(
            "nspjl,nsdlj->nsjpd", inner * factor[:, :, None].to(inner), overlap
        ).real
        for factor in (2 * inverse, near)
    )
    strengths = torch.einsum("nsdjj->nsjd", overlap).real
    return Responses(
        eigenvalues,
        mesh.same_for_equivalent_atoms(strengths),
        mesh.same_for_equivalent_atoms(values),
        mesh.same_for_equivalent_atoms(slopes),
    )


def _inner(vectors, basis):
    """Basis matrices between eigenvectors, (n, s, p, j, l)."""
    vectors = vectors[:, :, None]
    return vectors.mH @ (basis[:, None] @ vectors)


def _thermal_tensors(eigenvalues, vectors, weights, temperature):
    """Displacement tensors of atoms of 1 amu, (s, d, 3, 3), of modes (n, s, ...)."""
    amplitudes, _ = _thermal(eigenvalues, temperature)
    amplitudes = amplitudes * weights[:, None, None]
    vectors = vectors.unflatten(2, (-1, 3))  # n s d a j
    weighted = vectors * amplitudes[:, :, None, None]
    return torch.einsum("nsdaj,nsdbj->sdab", weighted, vectors.conj()).real


def _thermal(eigenvalues, temperature):
    """hbar^2/(2 E) coth(E / 2kT) of 1 amu and its derivative with E^2, 0 if unstable.

    In Angstrom^2, and Angstrom^2/meV^2.
    """
    stable = eigenvalues > 0
    energies = torch.where(stable, eigenvalues, 1.0).sqrt()
    coth, slope = torch.ones_like(energies), torch.zeros_like(energies)
    if temperature > 0:
        x = energies / (2 * BOLTZMANN * temperature)
        coth = 1 / x.tanh()
        slope = (1 - coth * coth) / (2 * BOLTZMANN * temperature)
    value = coth / energies
    derivative = (slope - value) / (2 * energies**2)
    scale = HBAR2_PER_AMU / 2 * stable.to(energies)
    return scale * value, scale * derivative


def _by_mass(mesh, tensors):
    return mesh.turned_into_all_images(tensors / mesh.masses[:, None, None])
