r"""Change of force constants where the symmetry of a crystal is imposed on them.

Constants from a file may lack the symmetry of the crystal, the exchange of the two
atoms of a pair or the acoustic sum rule. A model has all three, so its constants are a
projection of those given. The change is told in eV/Angstrom^2 and, since a small one
may matter or not, as the largest change of a phonon energy on a small mesh.

A change D' of the dynamical matrices moves no squared energy by more than its norm
(Weyl), and so no energy by more than :math:`\sqrt{2 |D'|}`. Where that bound is too
small to be seen in a spectrum, nothing is diagonalised.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon._validation import reference_row
from skphonon._warnings import warn_user
from skphonon.physics import supercells
from skphonon.physics._shell_fits import fit_constants, fold
from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.dynamical_matrix import bond_matrices
from skphonon.physics.lattice import shortest_images
from skphonon.physics.modes import signed_sqrt
from skphonon.physics.supercells import Supercell

if TYPE_CHECKING:
    from skphonon.physics._harmonic_crystal import HarmonicCrystal

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

_LARGE = 0.1  # of the root mean square of the constants
_VISIBLE = 0.5  # meV: files of careful calculations change by up to 0.34
_VISIBLE_SHARE = 0.02  # of the highest energy, in crystals of low ones
_MESHES = {100: 4, 250: 2}  # up to so many atoms: points along each reciprocal axis


class Projection(NamedTuple):
    """Change of force constants by a model."""

    largest: float  # eV/Angstrom^2, of an element
    share: float  # root mean square over that of the constants
    energy: float  # meV, the largest change of a phonon energy, or a bound of it
    highest: float  # meV, the highest energy, or a bound of it
    cut: bool  # whether most of it are constants that no shell of the model reaches

    def tell(self, symmetrize: bool) -> None:
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
        if _is_visible(self.energy, self.highest):
            warn_user(
                f"Force constants change where {cause}: {figures}. {self._advice()}.",
                UserWarning,
            )

    def _advice(self) -> str:
        if self.cut:
            return "Use a supercell with the symmetry of the crystal"
        return (
            "Check the structure and the calculation, and call "
            "Phonopy.symmetrize_force_constants() first"
        )


def projection(
    model: "HarmonicCrystal", stored: Supercell, truncated: bool
) -> Projection:
    """Return how far a model is from the force constants that it was made of."""
    # where `truncated`, constants beyond the shells of the model were left out on
    # purpose: they are no part of the change then, nor what follows from it, that the
    # on-site terms of the rest must be made symmetric
    crystal = model._crystal
    slots = supercells.lay_out(stored, crystal.cell, crystal.bonds, crystal.atoms)
    elements, _ = fit_constants(crystal, slots, on_site=not truncated)
    given = slots.given.reshape(model.n_atoms, -1, 3, 3)
    kept = fold(crystal, elements, slots).reshape(given.shape)
    rows, own = np.divmod(slots.of_atoms, given.shape[1])
    beyond = np.ones(given.shape[:2], dtype=bool)
    beyond.reshape(-1)[slots.of_bonds] = False
    beyond[rows, own] = False
    change = kept - given
    missed = float(np.linalg.norm(change[beyond]))
    whole = float(np.linalg.norm(given))
    if truncated:
        for row, site, out in zip(rows, own, beyond, strict=True):
            left_out = given[row, out].sum(axis=0)
            change[row, site] -= left_out
            change[row, out] = kept[row, out]
        missed, whole = 0.0, float(np.linalg.norm(kept - change))
    share = float(np.linalg.norm(change) / whole)
    ends = supercells.primitive_numbers(crystal.cell, stored, own[0])
    energy, highest = _bounds(model, kept, change, ends)
    if share > _LARGE or _is_visible(energy, highest):
        energies, others = _energies(model, change, stored, own, ends)
        energy = float(np.abs(energies - others).max())
        highest = float(energies.max())
    return Projection(
        float(np.abs(change).max()),
        share,
        energy,
        highest,
        bool(missed > np.linalg.norm(change) / 2),
    )


def _is_visible(energy: float, highest: float) -> bool:
    """Tell whether a change of an energy may be seen in a spectrum, both in meV."""
    return energy > min(_VISIBLE, _VISIBLE_SHARE * highest)


def _bounds(
    model: "HarmonicCrystal", constants: Array, change: Array, ends: Integers
) -> tuple[float, float]:
    """Bound the change of all energies from above and the highest from below."""
    roots = np.sqrt(model.atomic_masses)
    sizes = np.abs(change) / (roots[:, None] * roots[ends])[..., None, None]
    rows = sizes.sum(axis=(1, 3))
    columns = np.zeros((len(roots), 3))
    np.add.at(columns, ends, sizes.sum(axis=(0, 2)))
    norm = MEV2_PER_EIGENVALUE * np.sqrt(rows.max() * columns.max())
    # one atom displaced, with its images, is a trial for the highest mode
    own = ends == np.arange(len(roots))[:, None]
    squares = [
        np.linalg.eigvalsh(row[images].sum(axis=0))[-1] / root**2
        for row, images, root in zip(constants, own, roots, strict=True)
    ]
    highest = np.sqrt(MEV2_PER_EIGENVALUE * max(0.0, *squares))
    return float(np.sqrt(2 * norm)), float(highest)


def _energies(
    model: "HarmonicCrystal",
    change: Array,
    stored: Supercell,
    own: Integers,
    ends: Integers,
) -> tuple[Array, Array]:
    """Phonon energies on the mesh, with and without a change of the constants.

    Zones of large cells are small: they need few points, the largest only the centre.
    """
    mesh = next((n for most, n in _MESHES.items() if model.n_atoms <= most), 1)
    points = np.indices((mesh,) * 3).reshape(3, -1).T
    place = mesh ** np.arange(3)
    points = points[points @ place <= (-points % mesh) @ place]  # time reversal
    wavevectors = points / mesh @ model.reciprocal_lattice()
    rows = reference_row(model)[None]
    matrices = bond_matrices(model._bond_pairs, rows, wavevectors)[0]
    offset = None
    if model.n_atoms <= min(_MESHES):  # for more, the polar term takes too long
        offset = model.dynamical_matrix_offset(wavevectors)
    matrices = matrices if offset is None else matrices + offset
    before = matrices - _interpolated(model, change, stored, own, ends, wavevectors)
    return signed_sqrt(_squared(matrices)), signed_sqrt(_squared(before))


def _squared(matrices: NDArray) -> Array:
    """Eigenvalues of Hermitian matrices, faster where all are real."""
    real = not np.iscomplexobj(matrices) or not matrices.imag.any()
    return np.linalg.eigvalsh(matrices.real if real else matrices)


def _interpolated(
    model: "HarmonicCrystal",
    constants: Array,
    stored: Supercell,
    own: Integers,
    ends: Integers,
    wavevectors: Array,
) -> NDArray[np.complex128]:
    """Dynamical matrices of constants on a supercell, as phonopy interpolates them."""
    n_points, n_atoms = len(wavevectors), len(own)
    roots = np.sqrt(model.atomic_masses)
    order = np.argsort(ends, kind="stable")  # sites of each atom together
    of_atoms = np.empty((n_points, n_atoms, 3, n_atoms, 3), dtype=complex)
    for atom, site in enumerate(own):
        phases = _phases(stored, site, wavevectors)[:, order]
        phases = phases.reshape(n_points, n_atoms, -1).swapaxes(0, 1)
        blocks = phases @ constants[atom, order].reshape(n_atoms, -1, 9)
        blocks /= (roots[atom] * roots)[:, None, None]
        blocks = blocks.reshape(n_atoms, n_points, 3, 3)
        of_atoms[:, atom] = blocks.transpose(1, 2, 0, 3)
    matrices = of_atoms.reshape(n_points, 3 * n_atoms, 3 * n_atoms)
    hermitian = (matrices + matrices.conj().swapaxes(1, 2)) / 2
    return MEV2_PER_EIGENVALUE * hermitian


def _phases(stored: Supercell, site: int, wavevectors: Array) -> NDArray:
    """Phases of all sites seen from one (n_points, n_sites), means over their images.

    Those of the nearest images count.
    """
    if not wavevectors.any():
        return np.ones((len(wavevectors), len(stored.positions)))
    steps = stored.positions - stored.positions[site]
    end, images = shortest_images(steps, stored.lattice)
    waves = np.exp(1j * wavevectors @ images.T)
    starts = np.flatnonzero(np.diff(end, prepend=-1))
    return np.add.reduceat(waves, starts, axis=1) / np.bincount(end)
