"""Force-constant models of phonopy's objects, and back."""

from typing import Any, TypeVar

import numpy as np

from skphonon._warnings import warn_user
from skphonon.physics import supercells, symmetry
from skphonon.physics._atoms import isotope_of_mass
from skphonon.physics._projection import projection
from skphonon.physics.lattice import SAME_LENGTH, farthest, separating_multiple

Model = TypeVar("Model", bound=Any)  # ForceConstantModel

_FAR_BEYOND = 2.0  # times the longest bond: shells need not be looked at
_VANISHING = 1e-10  # of the largest constant
_UNSOUND_CHARGE = 0.1  # e: sums and changes of Born charges above it get a warning


def fitted(
    cls: type[Model],
    phonopy: Any,
    cutoff: float | None,
    n_shells: int | None,
    symmetrize: bool,
) -> Model:
    """Return a model of a phonopy object; tell how it changes the constants."""
    if cutoff is not None and n_shells is not None:
        raise ValueError(
            "cutoff or n_shells may be given, not both; got "
            f"cutoff={cutoff:g}, n_shells={n_shells}."
        )
    stored = supercells.read_supercell(phonopy, check=not symmetrize)
    model = _bare(cls, phonopy, stored)
    if cutoff is not None:
        n_shells = _count_within(model, cutoff)
    if n_shells is not None:
        if n_shells >= 1:  # others are refused by the model
            _check_reach(model, n_shells)
        model = model.replace(n_shells=n_shells)
    model = model.replace(reference=model.parameters(stored))
    projection(model, stored, truncated=n_shells is not None).tell(symmetrize)
    return model if n_shells is not None else _trimmed(model)


def _bare(cls: type[Model], phonopy: Any, stored: supercells.Supercell) -> Model:
    """Return a model without constants, of all shells that fit."""
    lattice, symbols, positions, masses, moments = supercells.read_cell(phonopy)
    born_charges, dielectric, unsound = supercells.read_charges(phonopy)
    if max(unsound) > _UNSOUND_CHARGE:
        warn_user(
            "Born charges must sum to zero and have the symmetry of the crystal, "
            f"but summed to up to {unsound[0]:.2g} e and were changed by up to "
            f"{unsound[1]:.2g} e to do so: converge them, or check that they are "
            "of this crystal, in this order of atoms and indices.",
            UserWarning,
        )
    _warn_of_isotopes(symbols, masses)
    single = len(symbols) == 1
    return cls(
        lattice,
        symbols[0] if single else symbols,
        None,
        positions=None if single else positions,
        n_shells=None,
        mass=float(masses[0]) if single else masses,
        supercell=np.rint(stored.lattice @ np.linalg.inv(lattice)).astype(int).T,
        born_charges=born_charges,
        dielectric=dielectric,
        magnetic_moments=moments,
    )


def displaced(atoms: Any, calculator: Any, supercell: Any, displacement: float) -> Any:
    """Return phonopy's calculation of force constants by a calculator of ASE."""
    try:
        import ase  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "ForceConstantModel.from_calculator needs ASE: pip install skphonon[ase]."
        ) from error
    calculator = atoms.calc if calculator is None else calculator
    if calculator is None:
        raise ValueError(
            "A calculator must give the forces, got none. Pass calculator or "
            "attach one: atoms.calc = ..."
        )
    if not np.all(atoms.pbc):
        raise ValueError(
            "atoms must be periodic in three dimensions, got "
            f"pbc={atoms.pbc.tolist()}. Set atoms.pbc = True."
        )
    return supercells.displace(atoms, calculator, supercell, displacement)


def phonopy_of(model: Any, parameters: Any) -> Any:
    """Return one phonopy object, or a list of them for rows of parameters."""
    from phonopy import Phonopy

    crystals, cell = [], symmetry.right_handed(model.cell)
    bonds, bond_atoms, n_atoms = model.bonds, model.bond_atoms, model.n_atoms
    for tensor in model.tensor(parameters):
        crystal = Phonopy(
            cell,
            supercell_matrix=_sufficient_supercell(model, tensor),
            primitive_matrix=np.eye(3),
        )
        sites, ends = supercells.fold_onto(crystal, bonds, bond_atoms)
        constants = np.zeros((n_atoms, len(crystal.supercell), 3, 3))
        np.add.at(constants, (np.arange(n_atoms), sites), tensor[:n_atoms])
        np.add.at(constants, (bond_atoms[:, 0], ends), tensor[n_atoms:])
        crystal.force_constants = constants
        if model.born_charges is not None:
            crystal.nac_params = {
                "born": np.array(model.born_charges),
                "dielectric": np.array(model.dielectric),
                "factor": supercells.coulomb_factor(),
            }
        crystals.append(crystal)
    return crystals[0] if np.ndim(parameters) == 1 else crystals


def _count_within(model: Any, cutoff: float) -> int:
    longest = farthest(_vectors(model))
    if cutoff > _FAR_BEYOND * longest:  # its shells would take long to find
        raise ValueError(
            "The cutoff is beyond the supercell: no shortest vector on it is "
            f"longer than {longest:.4f} Angstrom, got {cutoff:g}. Leave cutoff out "
            "to keep all shells that fit."
        )
    return model.shells_within(cutoff)


def _check_reach(model: Any, n_shells: int) -> None:
    cell, group, _ = model._structure
    orbits = symmetry.first_orbits(cell, group, n_shells)
    inside = symmetry.inside(orbits, _vectors(model))
    beyond = np.setdiff1d(np.arange(n_shells), inside)
    if len(beyond):
        number = beyond[0]
        lengths = np.array(
            [np.linalg.norm(orbits.bonds(n)[0]) for n in range(n_shells)]
        )
        allowed = lengths[lengths < lengths[number] - SAME_LENGTH]
        raise ValueError(
            f"The cutoff is beyond the supercell: shell {number + 1} at "
            f"{lengths[number]:.4f} Angstrom has shorter images on it. Keep at "
            f"most n_shells={number} (cutoff={allowed.max(initial=0):.4f}) or "
            "use a larger supercell."
        )


def _vectors(model: Any) -> np.ndarray:
    """Vectors of the supercell in rows."""
    return supercells.as_matrix(model.supercell).T @ model.lattice


def _trimmed(model: Model) -> Model:
    """Return the model without the outermost shells whose constants vanish."""
    crystal = model._crystal
    tensors = model.tensor(model.reference)[0]
    sizes = np.abs(tensors[model.n_atoms :]).max(axis=(1, 2))
    numbers = np.repeat(
        [shell.number for shell in crystal.shells],
        [len(shell.bonds) for shell in crystal.shells],
    )
    last = int(numbers[sizes > _VANISHING * sizes.max()].max(initial=1))
    kept = [shell.number for shell in crystal.shells if shell.number <= last]
    if last == crystal.shells[-1].number or len(kept) < last:
        return model
    trimmed = model.replace(n_shells=last, reference=None)
    kept_tensors = tensors[: model.n_atoms + len(trimmed.bonds)]
    return trimmed.replace(reference=trimmed.parameters(kept_tensors))


def _sufficient_supercell(model: Any, tensor: np.ndarray) -> np.ndarray:
    """Return a supercell on which phonopy interpolates as the model does."""
    lattice, bonds = model.lattice, model.bonds
    matrix = np.eye(3, dtype=int)
    if model.supercell is not None:
        matrix = supercells.as_matrix(model.supercell)
        pairs, vectors = tensor[model.n_atoms :], matrix.T @ lattice
        if supercells.share_equally(pairs, bonds, model.bond_atoms, vectors):
            return matrix
        if model.born_charges is not None:
            raise ValueError(
                "The constants cannot be stored on the supercell that goes with "
                "the Born charges: phonopy shares those of an atom equally among "
                "its nearest images, but here these differ. Keep fewer shells."
            )
    return separating_multiple(matrix, lattice, bonds)


def _warn_of_isotopes(symbols: list[str], masses: np.ndarray) -> None:
    """Warn of masses that say an isotope."""
    found = [isotope_of_mass(*pair) for pair in zip(symbols, masses, strict=True)]
    if any(found):
        atom = next(number for number, isotope in enumerate(found) if isotope)
        named = [new or old for new, old in zip(found, symbols, strict=True)]
        symbol = named[0] if len(named) == 1 else named
        warn_user(
            f"The mass of {symbols[atom]}, {masses[atom]:.4g} amu, is that of "
            f"{found[atom]}, but phonopy names no isotopes and the model scatters as "
            f"natural {symbols[atom]}: if it should not, take "
            f"model.replace(symbol={symbol!r}).",
            UserWarning,
        )
