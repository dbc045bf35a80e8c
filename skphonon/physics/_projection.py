"""Change of force constants where the symmetry of a crystal is imposed on them.

Constants from a file may lack the symmetry of the crystal, the exchange of the two
atoms of a pair or the acoustic sum rule. A model has all three, so its constants are a
projection of those given. The change is told in eV/Angstrom^2 and, since a small one
may matter or not, as the largest change of a phonon energy on a small mesh.
"""

from typing import NamedTuple

import numpy as np

from skphonon._warnings import warn_user
from skphonon.physics import _supercells as supercells
from skphonon.physics._shell_fits import fit_constants, fold
from skphonon.physics._symmetry import SAME_LENGTH
from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.lattice_dynamics import signed_sqrt
from skphonon.physics.polar import _images

_LARGE = 0.1  # of the root mean square of the constants
_VISIBLE = 0.5  # meV: files of careful calculations change by up to 0.34
_VISIBLE_SHARE = 0.02  # of the highest energy, in crystals of low ones
_MESH = 4  # points along each reciprocal axis, the zone centre one of them


class Projection(NamedTuple):
    """Change of force constants by a model."""

    largest: float  # eV/Angstrom^2, of an element
    share: float  # root mean square over that of the constants
    energy: float  # meV, the largest change of a phonon energy
    highest: float  # meV, the highest energy
    cut: bool  # whether most of it are constants that no shell of the model reaches

    def tell(self, symmetrize):
        """Warn of a change that a spectrum may show; refuse a large one."""
        figures = (
            f"by {100 * self.share:.2g} % of their root mean square, elements by up to "
            f"{self.largest:.2g} eV/Angstrom^2 and phonon energies by up to "
            f"{self.energy:.2g} meV"
        )
        cause = "the symmetry of the crystal and the sum rule are imposed on them"
        if self.cut:
            cause = "a supercell of lower symmetry than the crystal cuts shells"
        if self.share > _LARGE and not symmetrize:
            raise ValueError(
                f"Force constants may change by at most {100 * _LARGE:.0f} % where "
                f"{cause}, but they change {figures}. {self._advice()}, or pass "
                "symmetrize=True."
            )
        if self.energy > min(_VISIBLE, _VISIBLE_SHARE * self.highest):
            warn_user(
                f"Force constants change where {cause}: {figures}. {self._advice()}.",
                UserWarning,
            )

    def _advice(self):
        if self.cut:
            return "Use a supercell with the symmetry of the crystal"
        return (
            "Check the structure and the calculation, and call "
            "Phonopy.symmetrize_force_constants() first"
        )


def projection(model, stored, truncated):
    """Return how far a model is from the force constants that it was made of.

    Parameters
    ----------
    model : ForceConstantModel
        With its reference.
    stored : Supercell
        The constants.
    truncated : bool
        Whether constants beyond the shells of the model were left out on purpose. They
        are no part of the change then, nor what follows from it: that the on-site
        terms of the rest must be made symmetric.

    Returns
    -------
    Projection
        Of the constants of the model less those given.
    """
    crystal = model._crystal()
    slots = supercells.lay_out(stored, crystal.cell, model.bonds, model.bond_atoms)
    elements, _ = fit_constants(crystal, slots, on_site=not truncated)
    n_atoms = model.n_atoms
    given = slots.given.reshape(n_atoms, -1, 3, 3)
    kept = fold(crystal, elements, slots).reshape(given.shape)
    rows, own = np.divmod(slots.of_atoms, given.shape[1])
    reached = np.zeros(given.shape[:2], dtype=bool)
    reached.reshape(-1)[slots.of_bonds] = True
    reached[rows, own] = True
    if truncated:
        beyond = np.where(reached[..., None, None], 0.0, given)
        given = given - beyond
        given[rows, own] += beyond.sum(axis=1)
    change = kept - given
    missed = np.linalg.norm(change[~reached])
    energies, others = _energies(model, change, stored, own)
    return Projection(
        float(np.abs(change).max()),
        float(np.linalg.norm(change) / np.linalg.norm(given)),
        float(np.abs(energies - others).max()),
        float(energies.max()),
        bool(missed > np.linalg.norm(change) / 2),
    )


def _energies(model, change, stored, own):
    """Phonon energies on the mesh, with and without a change of the constants."""
    points = np.indices((_MESH,) * 3).reshape(3, -1).T
    place = _MESH ** np.arange(3)
    points = points[points @ place <= (-points % _MESH) @ place]  # time reversal
    wavevectors = points / _MESH @ model.reciprocal_lattice()
    matrices = model.dynamical_matrices(model.reference, wavevectors)[0]
    before = matrices - _interpolated(model, change, stored, own, wavevectors)
    return [signed_sqrt(np.linalg.eigvalsh(m)) for m in (matrices, before)]


def _interpolated(model, constants, stored, own, wavevectors):
    """Dynamical matrices of constants on a supercell, as phonopy interpolates them."""
    n_atoms = len(own)
    ends = supercells.primitive_numbers(model.cell, stored, own[0])
    roots = np.sqrt(model.atomic_masses)
    inverse = np.linalg.inv(stored.lattice)
    matrices = np.zeros((len(wavevectors), n_atoms, 3, n_atoms, 3), dtype=complex)
    for atom, site in enumerate(own):
        steps = (stored.positions - stored.positions[site]) @ inverse
        images, lengths = _images(steps, stored.lattice)
        end, image = np.nonzero(
            lengths < lengths.min(axis=1, keepdims=True) + SAME_LENGTH
        )
        vectors = images[end, image] @ stored.lattice
        shares = 1 / np.bincount(end)[end]
        phases = np.exp(1j * wavevectors @ vectors.T) * shares
        for other in range(n_atoms):
            among = ends[end] == other
            blocks = np.tensordot(phases[:, among], constants[atom, end[among]], axes=1)
            matrices[:, atom, :, other] = blocks / (roots[atom] * roots[other])
    matrices = matrices.reshape(len(wavevectors), 3 * n_atoms, 3 * n_atoms)
    hermitian = (matrices + matrices.conj().swapaxes(1, 2)) / 2
    return MEV2_PER_EIGENVALUE * hermitian
