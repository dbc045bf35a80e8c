r"""Born-von Karman force constants: a few named numbers and the tensors they stand for.

The energy of a harmonic crystal is
:math:`U = \tfrac12 \sum u_{i\alpha}\,\Phi_{i\alpha,j\beta}\,u_{j\beta}`. A
parameter of a model is an element of :math:`K = -\Phi` for a pair of atoms, in
eV/Angstrom^2: the convention of the Born-von Karman tables, in which a positive
diagonal element pulls a displaced atom back. The on-site term follows from the acoustic
sum rule, :math:`\Phi(0) = \sum_{R \ne 0} K(R)`. Tensors that this module returns are
:math:`\Phi`, as phonopy has them.
"""

from typing import NamedTuple

import numpy as np

from skphonon._persistence import VersionedEstimator
from skphonon._validation import parameter_rows
from skphonon.physics.lattice_dynamics import dynamical_matrix_basis, signed_sqrt

__all__ = ["ForceConstantModel"]

# Elements of a symmetric 3 x 3 tensor, in the order in which names are given.
_ELEMENTS = {
    "XX": (0, 0),
    "YY": (1, 1),
    "ZZ": (2, 2),
    "XY": (0, 1),
    "XZ": (0, 2),
    "YZ": (1, 2),
}
_SAME_LENGTH = 1e-5  # Angstrom: lattices come with about this precision


class ForceConstantModel(VersionedEstimator):
    r"""Describe a monatomic crystal by its symmetry-independent force constants.

    For every shell of neighbours, the point group of the lattice leaves a few elements
    of the force-constant tensor free; each is a parameter, named by the number of the
    shell and the element, for the neighbour whose Cartesian components are largest in
    lexicographic order. For a face-centred cubic crystal with two shells these are
    ``1XX, 1ZZ, 1XY`` (neighbour along 110) and ``2XX, 2YY`` (along 100). Everything is
    linear in the parameters.

    Crystals with one atom a primitive cell only.

    Parameters
    ----------
    lattice : array-like of shape (3, 3)
        Primitive lattice vectors in rows, Cartesian, in Angstrom. The names refer to
        these Cartesian axes: put the crystal axes along them.
    symbol : str
        Chemical symbol; gives the mass, unless `mass` is given.
    reference : array-like of shape (n_parameters,)
        Reference values of the parameters in eV/Angstrom^2.
    n_shells : int, default=2
        Number of neighbour shells. Neighbours at one distance that no symmetry relates
        count as different shells.
    mass : float, default=None
        Mass in amu; None takes the mean mass of the element.

    Attributes
    ----------
    parameter_names : list of str
        Names of the parameters, in order.
    bonds : ndarray of shape (n_bonds, 3)
        Cartesian vectors to all neighbours, in Angstrom.
    bond_tensors : ndarray of shape (n_parameters, n_bonds, 3, 3)
        :math:`\partial K(R) / \partial p` of each parameter and bond.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import ForceConstantModel
    >>> fcc = 2.02 * (np.ones((3, 3)) - np.eye(3))
    >>> model = ForceConstantModel(fcc, "Al", [0.66, -0.25, 0.64, 0.15, 0.01])
    >>> model.parameter_names
    ['1XX', '1ZZ', '1XY', '2XX', '2YY']
    >>> model.frequencies(model.reference, [[0.5, 0.5, 0.0]]).round(2)  # X point
    array([[[22.54, 22.54, 40.45]]])
    """

    def __init__(self, lattice, symbol, reference, *, n_shells=2, mass=None):
        self.lattice = lattice
        self.symbol = symbol
        self.reference = reference
        self.n_shells = n_shells
        self.mass = mass

    @classmethod
    def from_phonopy(cls, phonopy, *, cutoff=None):
        """Read the force constants of a phonopy calculation.

        Parameters
        ----------
        phonopy : phonopy.Phonopy or path-like
            A calculation with force constants, or the phonopy YAML file of one.
        cutoff : float, default=None
            Longest bond to keep, in Angstrom. None keeps every shell that lies
            strictly inside half the shortest vector of the supercell.

        Returns
        -------
        ForceConstantModel
            Its `reference` is the least-squares fit of the model to the force
            constants given, in which bonds that fold onto one atom of the supercell
            share its value.

        Raises
        ------
        ValueError
            If there are no force constants, the primitive cell holds more than one
            atom, or the cutoff reaches shells that the supercell cannot tell apart.
        """
        if not hasattr(phonopy, "force_constants"):
            from phonopy import load

            phonopy = load(phonopy, log_level=0)
        constants, primitive = phonopy.force_constants, phonopy.primitive
        if constants is None:
            raise ValueError(
                "phonopy holds no force constants. Produce them first "
                "(Phonopy.produce_force_constants) or load a file that has them."
            )
        if len(primitive) != 1:
            raise ValueError(
                "ForceConstantModel describes crystals with one atom a primitive cell, "
                f"got {len(primitive)} ({', '.join(primitive.symbols)}). Pass "
                "primitive_matrix to phonopy if its cell is not primitive."
            )
        if cutoff is None:
            shortest = _shortest_vector(phonopy.supercell.cell)
            cutoff = shortest / 2 - _SAME_LENGTH
        shells = _shells_within(primitive, cutoff)
        if not shells:
            raise ValueError(
                f"cutoff must reach the nearest neighbours, got {cutoff:g} Angstrom."
            )
        model = cls(
            np.array(primitive.cell),
            primitive.symbols[0],
            None,
            n_shells=len(shells),
            mass=float(primitive.masses[0]),
        )
        origin = int(primitive.p2s_map[0])
        row = constants[0 if len(constants) == 1 else origin]
        model.reference = _fit(model, phonopy.supercell, origin, row)
        return model

    @property
    def parameter_names(self):
        """Names of the parameters, in order."""
        return [
            f"{number}{element}"
            for number, shell in enumerate(self._shells(), start=1)
            for element in shell.elements
        ]

    @property
    def bonds(self):
        """Cartesian vectors to all neighbours, shape (n_bonds, 3), in Angstrom."""
        return np.concatenate([shell.bonds for shell in self._shells()])

    @property
    def bond_tensors(self):
        """Change of K with each parameter, shape (n_parameters, n_bonds, 3, 3)."""
        shells = self._shells()
        n_parameters = sum(len(shell.elements) for shell in shells)
        tensors = np.zeros((n_parameters, sum(len(s.bonds) for s in shells), 3, 3))
        row = column = 0
        for shell in shells:
            next_row, next_column = row + len(shell.elements), column + len(shell.bonds)
            tensors[row:next_row, column:next_column] = shell.tensors
            row, column = next_row, next_column
        return tensors

    @property
    def atomic_mass(self):
        """Mass of the atom in amu."""
        return float(self._cell().masses[0])

    def tensor(self, parameters):
        """Return the force constants between the atom at the origin and every other.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.

        Returns
        -------
        ndarray of shape (n_samples, n_bonds + 1, 3, 3)
            The second derivatives of the energy (minus the Born-von Karman
            constants) in eV/Angstrom^2: the on-site term first, then one for each row
            of `bonds`. They sum to zero.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        pairs = -np.einsum("sp,prij->srij", rows, self.bond_tensors)
        return np.concatenate([-pairs.sum(axis=1, keepdims=True), pairs], axis=1)

    def dynamical_matrix_basis(self, wavevectors):
        """Return the change of the dynamical matrices with each parameter.

        Parameters
        ----------
        wavevectors : array-like of shape (n_points, 3)
            Cartesian, in 1/Angstrom, with the factor 2 pi.

        Returns
        -------
        ndarray of shape (n_parameters, n_points, 3, 3)
            meV^2 for each eV/Angstrom^2.
        """
        return dynamical_matrix_basis(
            self.bonds, self.bond_tensors, self.atomic_mass, wavevectors
        )

    def dynamical_matrices(self, parameters, wavevectors):
        """Return dynamical matrices.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        wavevectors : array-like of shape (n_points, 3)
            Cartesian, in 1/Angstrom, with the factor 2 pi.

        Returns
        -------
        ndarray of shape (n_samples, n_points, 3, 3)
            In meV^2: eigenvalues are squared phonon energies.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        basis = self.dynamical_matrix_basis(wavevectors)
        return np.einsum("sp,pnij->snij", rows, basis)

    def frequencies(self, parameters, qpoints):
        """Return phonon energies.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        qpoints : array-like of shape (n_points, 3)
            Wavevectors in units of the reciprocal primitive lattice, as in phonopy.

        Returns
        -------
        ndarray of shape (n_samples, n_points, 3)
            Energies in meV, ascending; unstable modes are negative.
        """
        wavevectors = np.asarray(qpoints, dtype=float) @ self.reciprocal_lattice()
        matrices = self.dynamical_matrices(parameters, wavevectors)
        return signed_sqrt(np.linalg.eigvalsh(matrices))

    def is_stable(self, parameters, *, mesh=8):
        """Tell which parameter sets describe a stable crystal.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        mesh : int, default=8
            Points along each reciprocal axis of the mesh that is looked at.

        Returns
        -------
        ndarray of bool of shape (n_samples,)
            True where no mode on the mesh has an imaginary frequency.
        """
        wavevectors, _ = self.mesh(mesh)
        matrices = self.dynamical_matrices(parameters, wavevectors)
        return (np.linalg.eigvalsh(matrices) > 0).all(axis=(1, 2))

    def reciprocal_lattice(self):
        """Return the reciprocal lattice.

        Returns
        -------
        ndarray of shape (3, 3)
            Reciprocal lattice vectors in rows, 1/Angstrom, with the factor 2 pi.
        """
        return 2 * np.pi * np.linalg.inv(self._cell().cell).T

    def point_group(self):
        """Return the rotations that leave the crystal unchanged.

        Returns
        -------
        ndarray of shape (n_rotations, 3, 3)
            Cartesian rotation matrices, inversion among them.
        """
        return _cartesian_point_group(self._cell())

    def mesh(self, n_points):
        """Return a mesh of the Brillouin zone, folded by symmetry.

        Parameters
        ----------
        n_points : int
            Points along each reciprocal axis. They lie half a step off the zone
            centre, which is thus left out.

        Returns
        -------
        wavevectors : ndarray of shape (n_irreducible, 3)
            Cartesian, in 1/Angstrom.
        weights : ndarray of shape (n_irreducible,)
            Share of the zone that each stands for; they sum to one.
        """
        axis = np.arange(1, 2 * n_points, 2)  # in units of 1 / 2n
        points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        points = points.reshape(-1, 3)
        images = (points @ _rotations(self._cell())) % (2 * n_points)
        keys = images @ (2 * n_points) ** np.arange(3)
        _, first, counts = np.unique(
            keys.min(axis=0), return_index=True, return_counts=True
        )
        wavevectors = points[first] / (2 * n_points) @ self.reciprocal_lattice()
        return wavevectors, counts / len(points)

    def to_phonopy(self, parameters=None):
        """Return phonopy objects with these force constants.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters), default=None
            Parameter sets in eV/Angstrom^2; None takes the reference.

        Returns
        -------
        phonopy.Phonopy or list of phonopy.Phonopy
            On the smallest multiple of the primitive cell that keeps all neighbours
            apart: one object for a single parameter set of shape (n_parameters,), a
            list for an array of them.
        """
        from phonopy import Phonopy

        parameters = self.reference if parameters is None else parameters
        tensors, cell = self.tensor(parameters), self._cell()
        reach = np.linalg.norm(self.bonds, axis=1).max()
        multiple = 1
        while _shortest_vector(multiple * cell.cell) <= 2 * reach + _SAME_LENGTH:
            multiple += 1
        crystals = []
        for tensor in tensors:
            crystal = Phonopy(
                cell,
                supercell_matrix=multiple * np.eye(3, dtype=int),
                primitive_matrix=np.eye(3),
            )
            atoms = _fold(self.bonds, crystal.supercell, 0)
            constants = np.zeros((1, len(crystal.supercell), 3, 3))
            np.add.at(constants[0], np.concatenate([[0], atoms]), tensor)
            crystal.force_constants = constants
            crystals.append(crystal)
        return crystals[0] if np.ndim(parameters) == 1 else crystals

    def _cell(self):
        from phonopy.structure.atoms import PhonopyAtoms

        lattice = np.asarray(self.lattice, dtype=float)
        if lattice.shape != (3, 3) or abs(np.linalg.det(lattice)) < _SAME_LENGTH:
            raise ValueError(
                "lattice must hold three independent vectors in rows, shape (3, 3), "
                f"got shape {lattice.shape}: {lattice.tolist()}."
            )
        return PhonopyAtoms(
            cell=lattice,
            symbols=[self.symbol],
            scaled_positions=np.zeros((1, 3)),
            masses=None if self.mass is None else [self.mass],
        )

    def _shells(self):
        if self.n_shells < 1:
            raise ValueError(f"n_shells must be at least 1, got {self.n_shells}.")
        cell = self._cell()
        return self._cached("shells", lambda: _first_shells(cell, self.n_shells))


class _Shell(NamedTuple):
    """Neighbours that symmetry relates, and their free tensor elements."""

    bonds: np.ndarray  # (n_bonds, 3)
    elements: list[str]
    tensors: np.ndarray  # (n_elements, n_bonds, 3, 3)


def _rotations(cell):
    """Point group of the lattice, acting on fractional coordinates in columns."""
    from phonopy.structure.symmetry import Symmetry

    return np.asarray(Symmetry(cell).pointgroup_operations)


def _cartesian_point_group(cell):
    return cell.cell.T @ _rotations(cell) @ np.linalg.inv(cell.cell).T


def _first_shells(cell, n_shells):
    cutoff, shells = np.cbrt(cell.volume), []
    while len(shells) < n_shells:
        cutoff *= 1.25
        shells = _shells_within(cell, cutoff)
    return shells[:n_shells]


def _shells_within(cell, cutoff):
    """Return the shells of neighbours not farther than `cutoff`, nearest first."""
    rotations, shells = _cartesian_point_group(cell), []
    bonds = _lattice_vectors(cell.cell, cutoff)
    while len(bonds):
        images = rotations @ bonds[0]
        related = _distances(bonds, images).min(axis=1) < _SAME_LENGTH
        shells.append(_shell(_largest_first(bonds[related]), rotations))
        bonds = bonds[~related]
    return shells


def _shell(star, rotations):
    """Find the tensor elements that symmetry leaves free, and spread them over a star.

    The little group of a bond is averaged over; what is invariant is brought to reduced
    row echelon form, so that each basis tensor has a one at its own named element and
    zeros at those of the others.
    """
    images = rotations @ star[0]
    # a bond and its opposite have the same tensor: each atom is an inversion centre
    little = rotations[
        np.minimum(
            np.linalg.norm(images - star[0], axis=1),
            np.linalg.norm(images + star[0], axis=1),
        )
        < _SAME_LENGTH
    ]
    units = np.zeros((len(_ELEMENTS), 3, 3))
    for unit, (i, j) in zip(units, _ELEMENTS.values(), strict=True):
        unit[i, j] = unit[j, i] = 1.0
    invariant = np.einsum("gij,ejk,glk->eil", little, units, little) / len(little)
    flat = invariant[:, *np.transpose(list(_ELEMENTS.values()))]
    reduced, pivots = _row_echelon(flat)
    basis = np.einsum("pe,eij->pij", reduced, units)
    # the rotation that takes the first bond to each member of the star
    carriers = rotations[_distances(star, images).argmin(axis=1)]
    return _Shell(
        bonds=star,
        elements=[list(_ELEMENTS)[pivot] for pivot in pivots],
        tensors=np.einsum("rij,pjk,rlk->pril", carriers, basis, carriers),
    )


def _row_echelon(matrix, tolerance=1e-8):
    """Reduced row echelon form without its empty rows, and the pivot columns."""
    rows, pivots = matrix.copy(), []
    for column in range(rows.shape[1]):
        top = len(pivots)
        if top == len(rows):
            break
        best = top + int(np.abs(rows[top:, column]).argmax())
        if abs(rows[best, column]) < tolerance:
            continue
        rows[[top, best]] = rows[[best, top]]
        rows[top] /= rows[top, column]
        others = np.arange(len(rows)) != top
        rows[others] -= np.outer(rows[others, column], rows[top])
        pivots.append(column)
    return rows[: len(pivots)], pivots


def _lattice_vectors(lattice, cutoff):
    """Lattice vectors other than zero up to a length, nearest first."""
    spacings = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    ranges = [np.arange(-n, n + 1) for n in np.ceil(cutoff / spacings).astype(int)]
    multiples = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = multiples[multiples.any(axis=1)] @ lattice
    lengths = np.linalg.norm(vectors, axis=1)
    order = np.argsort(lengths, kind="stable")
    return vectors[order[lengths[order] <= cutoff + _SAME_LENGTH]]


def _largest_first(vectors):
    """Order vectors by x, then y, then z, largest first, deaf to rounding."""
    return vectors[np.lexsort(np.round(-vectors, 4).T[::-1])]


def _distances(first, second):
    return np.linalg.norm(first[:, None] - second[None], axis=-1)


def _shortest_vector(lattice):
    longest = np.linalg.norm(lattice, axis=1).max()
    return float(np.linalg.norm(_lattice_vectors(lattice, longest)[0]))


def _fold(bonds, supercell, origin):
    """Return the atom of a supercell at the end of each bond from an atom of it."""
    steps = supercell.positions - supercell.positions[origin] - bonds[:, None]
    cells = steps @ np.linalg.inv(supercell.cell)
    steps = (cells - np.rint(cells)) @ supercell.cell
    return np.linalg.norm(steps, axis=-1).argmin(axis=1)


def _fit(model, supercell, origin, constants):
    """Parameters that reproduce one row of supercell force constants best."""
    atoms = _fold(model.bonds, supercell, origin)
    tensors = model.bond_tensors
    folded = np.zeros((len(tensors), len(supercell), 3, 3))
    np.add.at(folded, (slice(None), atoms), tensors)
    reached = np.setdiff1d(atoms, origin)
    design = folded[:, reached].reshape(len(tensors), -1).T
    parameters, _, rank, _ = np.linalg.lstsq(
        design, -constants[reached].ravel(), rcond=None
    )
    if rank < len(tensors):
        raise ValueError(
            f"The supercell of {len(supercell)} atoms cannot tell "
            f"{len(tensors)} force constants apart, only {rank}: some neighbours fold "
            "onto one atom. Lower the cutoff or use a larger supercell."
        )
    return parameters
