r"""Force constants from the forces on supercells in which every atom is displaced.

In a harmonic crystal the force on atom i is
:math:`F_i = \sum_b K(b)\,(u_{j(b)} - u_i)`, summed over its bonds b, which end at atoms
j(b): linear in the parameters of a model. A least-squares fit to forces at
displacements that are drawn as a temperature draws them gives the harmonic crystal
which is closest at that temperature (Shulumba et al., Phys. Rev. B 95, 014302 (2017),
doi:10.1103/PhysRevB.95.014302). Lengths are in Angstrom, forces in eV/Angstrom.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.physics._shell_fits import least_squares, squared_bonds
from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.lattice import cosets, image_counts
from skphonon.physics.zone.displacements import thermal_amplitudes

if TYPE_CHECKING:
    from skphonon.physics.force_constants import ForceConstantModel

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class Layout(NamedTuple):
    """The sites of a supercell and where the bonds of each lead.

    Site ``cell * n_atoms + atom`` is an atom of the primitive cell in one of the cells.
    """

    cells: Integers  # (n_cells, 3): places in units of the primitive vectors
    vectors: Integers  # (3, 3): rows, in the same units
    starts: Integers  # (n_cells, n_bonds)
    ends: Integers  # (n_cells, n_bonds)


def lay_out(model: "ForceConstantModel", matrix: Integers) -> Layout:
    """Lay out the supercell of a matrix such as phonopy's `supercell_matrix`."""
    # by counting cells: it holds for a strained crystal too
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


def _labels(points: Array | Integers, vectors: Integers) -> Integers:
    """Return a number of each integer point, one for all images on the supercell."""
    order = round(abs(np.linalg.det(vectors)))
    along = np.rint(points @ np.linalg.inv(vectors) * order).astype(int) % order
    return along @ order ** np.arange(3)


def forces_per_parameter(
    model: "ForceConstantModel", layout: Layout, displacements: Array
) -> Array:
    """Return forces of one unit of each parameter, (n_parameters, *displacements)."""
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


def fit_forces(
    model: "ForceConstantModel", layout: Layout, displacements: Array, forces: Array
) -> Array:
    """Return the parameters whose forces are closest to those given."""
    # bonds that fold onto one atom of the supercell share its value
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
    model: "ForceConstantModel",
    layout: Layout,
    parameters: Array,
    temperature: float,
    n_samples: int,
    random_state: np.random.RandomState,
) -> Array:
    """Draw displacements in thermal equilibrium, (n_samples, n_sites, 3), Angstrom."""
    # unstable modes, which have no equilibrium, are displaced as if they were stable
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
