"""Force constants as phonopy stores them: on a supercell, in a calculator's units."""

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.physics.lattice import SAME_LENGTH, image_counts
from skphonon.physics.symmetry import Cell, Sites, right_handed

if TYPE_CHECKING:
    from phonopy import Phonopy

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

_SAME_PLACE = 1e-3  # Angstrom: atoms of two descriptions of a crystal
_WIDTH = 12.0  # Angstrom: of the supercell in which forces are computed
_EQUAL = 1e-10  # of the largest constant
_SAME_CHARGE = 1e-10  # e: rounding leaves less of it
_BROKEN = 1e-2  # share of the largest element that the sum rule may miss


class Supercell(NamedTuple):
    """A supercell and the force constants on it, in Angstrom and eV/Angstrom^2."""

    lattice: Array  # (3, 3), vectors in rows
    positions: Array  # (n_sites, 3), Cartesian
    symbols: list[str]
    origins: Integers  # (n_sites,): the site, equal by translation, that has a row
    rows: Integers  # (n_sites,): the number of that row
    constants: Array  # (n_rows, n_sites, 3, 3)


class Slots(NamedTuple):
    """Force constants in a row, and where in it."""

    given: Array  # (n_samples, n_slots, 3, 3)
    of_bonds: Integers  # (n_bonds,)
    of_atoms: Integers  # (n_atoms,): on-site terms
    shortest: bool  # no bond has a shorter image
    single: bool


def displace(
    atoms: Any, calculator: Any, supercell: ArrayLike | None, displacement: float
) -> "Phonopy":
    """Return a phonopy object with force constants from the forces of ASE."""
    from ase import Atoms
    from phonopy import Phonopy

    cell = as_phonopy(atoms)
    if supercell is None:
        supercell = wide_multiples(cell.cell)
    phonons = Phonopy(
        cell,
        supercell_matrix=as_matrix(supercell),
        primitive_matrix=_reduction(cell),
    )
    phonons.generate_displacements(distance=displacement)
    forces = []
    for displaced in phonons.supercells_with_displacements or ():
        image = Atoms(
            displaced.symbols,
            cell=displaced.cell,
            positions=displaced.positions,
            magmoms=displaced.magnetic_moments,
            pbc=True,
        )
        image.calc = calculator
        forces.append(image.get_forces())
    phonons.forces = forces
    phonons.produce_force_constants()
    phonons.symmetrize_force_constants(show_drift=False)
    return phonons


def as_phonopy(atoms: Any) -> Cell:
    """Return atoms of ASE as phonopy has them, on a right-handed lattice."""
    from phonopy.structure.atoms import PhonopyAtoms

    moments = atoms.get_initial_magnetic_moments()
    return right_handed(
        PhonopyAtoms(
            cell=atoms.cell[:],
            symbols=atoms.get_chemical_symbols(),
            scaled_positions=atoms.get_scaled_positions(),
            masses=atoms.get_masses(),
            magnetic_moments=moments if moments.any() else None,
        )
    )


def wide_multiples(lattice: Array) -> Integers:
    """Return the smallest multiples of a cell that are 12 Angstrom wide."""
    widths = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    return np.ceil(_WIDTH / widths).astype(int)


def primitive_cell(cell: Cell) -> Cell:
    """Return the primitive cell of a phonopy cell, of the same axes."""
    from phonopy import Phonopy

    cell, whole = right_handed(cell), np.eye(3, dtype=int)
    return Phonopy(
        cell, supercell_matrix=whole, primitive_matrix=_reduction(cell)
    ).primitive


def _reduction(cell: Cell) -> Array:
    """Return the primitive matrix of a cell, the unit if the cell is primitive."""
    from phonopy.structure.cells import guess_primitive_matrix

    with warnings.catch_warnings():
        # that the moments make the cell larger is what whoever gave them means
        warnings.filterwarnings("ignore", "The input unit cell has a magnetic")
        matrix = guess_primitive_matrix(cell)
    return np.eye(3) if np.isclose(np.linalg.det(matrix), 1.0) else matrix


def as_matrix(supercell: ArrayLike | None) -> Integers:
    """Return a supercell given by three numbers or a matrix as a matrix of integers."""
    # its determinant is positive: vectors of opposite sign make the same supercell
    values = np.asarray(supercell, dtype=float)
    matrix = np.diag(values) if values.shape == (3,) else values
    rounded = np.rint(matrix)
    if (
        matrix.shape != (3, 3)
        or not np.abs(matrix - rounded).max() <= 1e-5
        or round(np.linalg.det(rounded)) == 0
    ):
        raise ValueError(
            "supercell must be three integers or a (3, 3) matrix of integers with a "
            f"volume, got {values.tolist()}."
        )
    return np.sign(np.linalg.det(rounded)).astype(int) * rounded.astype(int)


def read_supercell(phonopy: Any, check: bool = True) -> Supercell:
    """Return the supercell and the force constants of a phonopy object."""
    # unless `check` is False, their sums over the row of an atom must nearly vanish
    constants, cell = phonopy.force_constants, phonopy.supercell
    if constants is None:
        raise ValueError(
            "phonopy holds no force constants. Produce them first "
            "(Phonopy.produce_force_constants) or load a file that has them."
        )
    length, constant = _units(phonopy)
    if len(constants) == len(cell):
        origins = rows = np.arange(len(cell))
    else:
        origins = np.asarray(phonopy.primitive.s2p_map)
        numbers = phonopy.primitive.p2p_map
        rows = np.array([numbers[origin] for origin in origins])
    excess = np.abs(constants.sum(axis=1)).max()
    largest = np.abs(constants).max()
    if check and not excess <= _BROKEN * largest:
        raise ValueError(
            "Force constants must obey the acoustic sum rule, got sums over an atom's "
            f"row of up to {excess:.3g}, the largest element being {largest:.3g}. Call "
            "Phonopy.symmetrize_force_constants() first, check the calculation, or "
            "impose the rule: ForceConstantModel.from_phonopy(..., symmetrize=True)."
        )
    return Supercell(
        length * cell.cell,
        length * cell.positions,
        list(cell.symbols),
        origins,
        rows,
        constant * np.asarray(constants),
    )


def read_cell(phonopy: Any) -> tuple[Array, list[str], Array, Array, Array | None]:
    """Return lattice, symbols, positions, masses and moments of the primitive cell."""
    cell = phonopy.primitive
    length, _ = _units(phonopy)
    return (
        length * np.array(cell.cell),
        list(cell.symbols),
        np.array(cell.scaled_positions),
        np.array(cell.masses),
        cell.magnetic_moments,
    )


def read_charges(
    phonopy: Any,
) -> tuple[Array | None, Array | None, tuple[float, float]]:
    """Return Born charges, dielectric tensor, and the faults of the charges in e."""
    # Charges get the symmetry of the crystal and their mean is taken off, as phonopy
    # does before it uses them: their sum, and the change, come third. They absorb a
    # factor of the file that is not the one of its units.
    parameters = phonopy.nac_params
    if parameters is None:
        return None, None, (0.0, 0.0)
    method = parameters.get("method") or "gonze"
    if method != "gonze":
        raise ValueError(
            "The polar term must be that of Gonze and Lee (method='gonze'), phonopy's "
            f"default, got method={method!r}. Set Phonopy.nac_params accordingly."
        )
    length, constant = _units(phonopy)
    factor = parameters.get("factor")
    scale = 1.0
    if factor is not None:
        scale = np.sqrt(factor * constant * length**3 / coulomb_factor())
    given = scale * np.asarray(parameters["born"], dtype=float)
    excess = float(np.abs(given.sum(axis=0)).max())
    if excess > np.abs(given).max(initial=0.0):
        raise ValueError(
            "Born charges must sum to zero over the atoms, got a sum of up to "
            f"{excess:.3g} e, more than any of them. Check that they are of this "
            "crystal, one tensor for each atom of the primitive cell."
        )
    charges, dielectric = _symmetrised(given, parameters["dielectric"], phonopy)
    change = float(np.abs(charges - given).max())
    return charges, dielectric, (excess, change)


def _symmetrised(
    charges: Array, dielectric: ArrayLike, phonopy: Any
) -> tuple[Array, Array]:
    """Return neutral charges and a dielectric tensor with the crystal's symmetry."""
    from phonopy.structure.symmetry import symmetrize_borns_and_epsilon

    given = charges, np.array(dielectric, dtype=float)
    with warnings.catch_warnings():  # of large changes, for which the caller has words
        warnings.filterwarnings("ignore", message="Symmetry of Born")
        found = symmetrize_borns_and_epsilon(*given, phonopy.primitive)
    # rounding is no reason to change what has the symmetry
    first, second = (
        old if np.abs(new - old).max() < _SAME_CHARGE else new
        for old, new in zip(given, found, strict=True)
    )
    return first, second


def coulomb_factor() -> float:
    """Return phonopy's value of e^2 / (4 pi epsilon_0) in eV Angstrom."""
    from phonopy.physical_units import get_calculator_physical_units

    return get_calculator_physical_units().nac_factor


def lay_out(
    force_constants: Any, cell: Cell, bonds: Array, bond_atoms: Integers
) -> Slots:
    """Lay out given force constants and say where bonds and atoms are in them."""
    atoms = np.arange(len(cell))
    stored = force_constants
    if hasattr(force_constants, "supercell"):
        stored = read_supercell(force_constants)
    if not isinstance(stored, Supercell):
        given = np.asarray(force_constants, dtype=float)
        n_slots = len(atoms) + len(bonds)
        if given.ndim not in (3, 4) or given.shape[-3:] != (n_slots, 3, 3):
            raise ValueError(
                "force_constants must be a phonopy object or have shape (..., "
                f"{n_slots}, 3, 3), on-site terms and bonds; got {given.shape}."
            )
        rows = given.reshape(-1, n_slots, 3, 3)
        of_bonds = len(atoms) + np.arange(len(bonds))
        return Slots(rows, of_bonds, atoms, True, given.ndim == 3)
    sites = locate(cell, stored)
    ends = fold(bonds, bond_atoms, sites, stored)
    n_sites = len(stored.symbols)
    return Slots(
        stored.constants[stored.rows[sites]].reshape(1, -1, 3, 3),
        bond_atoms[:, 0] * n_sites + ends,
        atoms * n_sites + stored.origins[sites],
        bool(image_counts(bonds, stored.lattice).all()),
        True,
    )


def share_equally(
    pairs: Array, bonds: Array, bond_atoms: Integers, supercell: Array
) -> bool:
    """Tell whether all nearest images of an atom have bonds and equal constants."""
    counts = image_counts(bonds, supercell)
    if not counts.all():
        return False
    scaled = bonds @ np.linalg.inv(supercell)
    for bond in np.flatnonzero(counts > 1):
        same = (bond_atoms == bond_atoms[bond]).all(axis=1)
        steps = scaled[same] - scaled[bond]
        steps = (steps - np.rint(steps)) @ supercell
        images = pairs[same][np.linalg.norm(steps, axis=1) < SAME_LENGTH]
        spread = np.abs(images - pairs[bond]).max()
        if len(images) < counts[bond] or spread > _EQUAL * np.abs(pairs).max():
            return False
    return True


def fold_onto(
    phonopy: Any, bonds: Array, bond_atoms: Integers
) -> tuple[Integers, Integers]:
    """Return sites of the primitive atoms, and of the end of each of their bonds."""
    cell, sites = phonopy.supercell, np.asarray(phonopy.primitive.p2s_map)
    same = np.arange(len(cell))
    symbols = list(cell.symbols)
    supercell = Supercell(cell.cell, cell.positions, symbols, same, same, np.empty(0))
    return sites, fold(bonds, bond_atoms, sites, supercell)


def locate(cell: Cell, supercell: Supercell) -> Integers:
    """Return the site of a supercell where each atom of a phonopy cell lies."""
    # the two may have different origins
    symbols = np.array(supercell.symbols)
    density = len(cell) / abs(cell.volume)
    if np.isclose(
        density, len(symbols) / abs(np.linalg.det(supercell.lattice)), rtol=1e-3
    ):
        places = Sites(supercell.positions, supercell.lattice)
        for site in np.flatnonzero(symbols == cell.symbols[0]):
            shift = supercell.positions[site] - cell.positions[0]
            sites, misfits = places.nearest(cell.positions + shift)
            fits = misfits.max() < _SAME_PLACE
            if fits and list(symbols[sites]) == list(cell.symbols):
                return sites
    raise ValueError(
        "The force constants must be of the crystal of the model: the "
        f"{len(cell)} atoms of its cell ({', '.join(cell.symbols)}) have no "
        f"counterpart in the supercell of {len(symbols)} atoms."
    )


def primitive_numbers(cell: Cell, supercell: Supercell, site: int) -> Integers:
    """Return the atom of a phonopy cell on each site, the first one being on `site`."""
    shift = supercell.positions[site] - cell.positions[0]
    return Sites(cell.positions, cell.cell).nearest(supercell.positions - shift)[0]


def fold(
    bonds: Array, bond_atoms: Integers, sites: Integers, supercell: Supercell
) -> Integers:
    """Return the site at the end of each bond, from its first atom's `sites`."""
    # where the constants have a row for another site that is equal by translation, the
    # bond starts there
    starts = supercell.positions[supercell.origins[sites]][bond_atoms[:, 0]]
    places = Sites(supercell.positions, supercell.lattice)
    ends, misfits = places.nearest(starts + bonds)
    if misfits.max(initial=0.0) > _SAME_PLACE:
        raise ValueError(
            "The force constants must be of the crystal of the model: a bond ends "
            f"{misfits.max():.3g} Angstrom away from any atom of the supercell."
        )
    return ends


def _units(phonopy: Any) -> tuple[float, float]:
    """Angstrom of a unit of length, and eV/Angstrom^2 of one of force constants."""
    from phonopy.physical_units import get_calculator_physical_units

    units = get_calculator_physical_units(phonopy.calculator)
    return units.distance_to_A, units.force_to_eVperA / units.distance_to_A
