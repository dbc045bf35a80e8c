r"""Force constants from the forces on supercells in which every atom is displaced.

In a harmonic crystal the force on atom i is
:math:`F_i = \sum_b K(b)\,(u_{j(b)} - u_i)`, summed over its bonds b, which end at atoms
j(b): linear in the parameters of a model. A least-squares fit to forces at
displacements that are drawn as a temperature draws them gives the harmonic crystal
which is closest at that temperature (Shulumba et al., Phys. Rev. B 95, 014302 (2017),
doi:10.1103/PhysRevB.95.014302). Lengths are in Angstrom, forces in eV/Angstrom.
"""

from typing import NamedTuple

import numpy as np

from skphonon.physics._shell_fits import least_squares, squared_bonds
from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.lattice import cosets, image_counts
from skphonon.physics.zone.displacements import thermal_amplitudes


class Layout(NamedTuple):
    """The sites of a supercell and where the bonds of each lead.

    Site ``cell * n_atoms + atom`` is an atom of the primitive cell in one of the cells.
    """

    cells: np.ndarray  # (n_cells, 3): places in units of the primitive vectors
    vectors: np.ndarray  # (3, 3): rows, in the same units
    starts: np.ndarray  # (n_cells, n_bonds)
    ends: np.ndarray  # (n_cells, n_bonds)


def lay_out(model, matrix):
    """Lay out the supercell of a model that an integer matrix describes.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    matrix : ndarray of int of shape (3, 3)
        As phonopy's `supercell_matrix`.

    Returns
    -------
    Layout
        By counting cells: it holds for a strained crystal too.
    """
    vectors = np.transpose(matrix)
    scaled = model.cell.scaled_positions
    first, second = model.bond_atoms.T
    steps = model.bonds @ np.linalg.inv(model.cell.cell)
    steps = np.rint(steps + scaled[first] - scaled[second])
    cells = cosets(vectors)
    own = _labels(cells, vectors)
    order = np.argsort(own)
    reached = _labels(cells[:, None] + steps, vectors)
    numbers = order[np.searchsorted(own[order], reached)]
    n_atoms = len(scaled)
    starts = np.arange(len(cells))[:, None] * n_atoms + first
    return Layout(cells, vectors, starts, numbers * n_atoms + second)


def _labels(points, vectors):
    """Return a number of each integer point, one for all images on the supercell."""
    order = round(abs(np.linalg.det(vectors)))
    along = np.rint(points @ np.linalg.inv(vectors) * order).astype(int) % order
    return along @ order ** np.arange(3)


def forces_per_parameter(model, layout, displacements):
    """Return the forces that one unit of each parameter makes.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    layout : Layout
        Its supercell.
    displacements : ndarray of shape (n_samples, n_sites, 3)
        Of every site, in Angstrom.

    Returns
    -------
    ndarray of shape (n_parameters, n_samples, n_sites, 3)
        In Angstrom: eV/Angstrom for each eV/Angstrom^2.
    """
    crystal = model._crystal
    n_samples, n_sites = displacements.shape[:2]
    shape = (len(crystal.names), n_samples, len(layout.cells), model.n_atoms, 3)
    forces, start = np.zeros(shape), 0
    for shell, (parameters, coefficients) in zip(
        crystal.shells, crystal.combinations, strict=True
    ):
        stop = start + len(shell.bonds)
        tensors = np.tensordot(coefficients, shell.tensors, axes=1)
        for atom in np.unique(shell.atoms[:, 0]):
            own = np.flatnonzero(shell.atoms[:, 0] == atom)
            stretch = displacements[:, layout.ends[:, start + own]]
            stretch = stretch - displacements[:, layout.starts[:, start + own]]
            pulls = np.tensordot(tensors[:, own], stretch, axes=([1, 3], [2, 3]))
            forces[parameters, ..., atom, :] += np.moveaxis(pulls, 1, -1)
        start = stop
    return forces.reshape(len(forces), n_samples, n_sites, 3)


def fit_forces(model, layout, displacements, forces):
    """Return the parameters whose forces are closest to those given.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    layout : Layout
        Its supercell.
    displacements, forces : ndarray of shape (n_samples, n_sites, 3)
        In Angstrom and eV/Angstrom.

    Returns
    -------
    ndarray of shape (n_parameters,)
        In eV/Angstrom^2. Bonds that fold onto one atom of the supercell share its
        value, as in :meth:`ForceConstantModel.from_phonopy`.

    Raises
    ------
    ValueError
        If there are fewer forces than parameters, or the supercell cannot tell the
        parameters apart.
    """
    n_parameters = len(model.parameter_names)
    if forces.size < n_parameters:
        raise ValueError(
            f"{forces.size} forces cannot determine {n_parameters} parameters. Raise "
            "n_displacements or keep fewer shells."
        )
    basis = forces_per_parameter(model, layout, displacements)
    parameters, rank = least_squares(
        squared_bonds(model._crystal),
        basis.reshape(n_parameters, -1),
        forces.reshape(1, -1),
    )
    vectors = layout.vectors @ model.cell.cell
    if rank < n_parameters and not image_counts(model.bonds, vectors).all():
        raise ValueError(
            f"The supercell of {forces.shape[1]} atoms cannot tell {n_parameters} "
            f"parameters apart, only {rank}: some neighbours fold onto one atom. Keep "
            "fewer shells or use a larger supercell."
        )
    return parameters[0]


def thermal_displacements(
    model, layout, parameters, temperature, n_samples, random_state
):
    """Draw displacements of a harmonic crystal in thermal equilibrium.

    Unstable modes, which have no equilibrium, are displaced as if they were stable.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    layout : Layout
        Its supercell.
    parameters : ndarray of shape (n_parameters,)
        In eV/Angstrom^2.
    temperature : float
        In K.
    n_samples : int
        Number of supercells.
    random_state : numpy.random.RandomState
        What draws.

    Returns
    -------
    ndarray of shape (n_samples, n_sites, 3)
        In Angstrom.
    """
    n_sites = len(layout.cells) * model.n_atoms
    pairs = model.tensor(parameters)[0, model.n_atoms :]
    constants = np.zeros((n_sites, n_sites, 3, 3))
    np.add.at(constants, (layout.starts, layout.ends), pairs)
    np.add.at(constants, (layout.starts, layout.starts), -pairs)
    roots = np.sqrt(np.tile(model.atomic_masses, len(layout.cells)))
    constants /= (roots[:, None] * roots)[..., None, None]
    matrix = constants.swapaxes(1, 2).reshape(3 * n_sites, -1)
    squares, modes = np.linalg.eigh(matrix)
    moving = np.sort(np.argsort(np.abs(squares))[3:])  # all but the translations
    squares = np.abs(squares[moving]) * MEV2_PER_EIGENVALUE
    spread = thermal_amplitudes(squares, temperature).values
    normal = random_state.standard_normal((n_samples, len(moving)))
    drawn = (normal * np.sqrt(spread)) @ modes[:, moving].T
    return drawn.reshape(n_samples, n_sites, 3) / roots[:, None]
