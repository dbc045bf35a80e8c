"""Parts of a force-constant model: cell, space group, shells and names."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from skphonon._versioned import read_only
from skphonon.physics import _sum_rule as sum_rules
from skphonon.physics import symmetry
from skphonon.physics._atoms import element_and_mass
from skphonon.physics.supercells import as_matrix

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

_TOO_CLOSE = 0.1  # Angstrom


class Structure(NamedTuple):
    """A cell with its atoms and the space group of them."""

    cell: Any  # phonopy.structure.atoms.PhonopyAtoms: elements, and their masses
    group: symmetry.SpaceGroup
    symbols: list[str]  # of elements or isotopes


@dataclass(frozen=True, eq=False)
class Crystal:
    """A crystal, and the force constants that symmetry leaves free in it."""

    cell: Any  # phonopy.structure.atoms.PhonopyAtoms: elements, and their masses
    symbols: list[str]  # of elements or isotopes
    group: symmetry.SpaceGroup
    shells: list[symmetry.Shell]
    names: list[str]  # of the parameters
    spread: csr_array  # (9 * n_bonds, n_elements): K of all bonds of the elements
    rule: csr_array  # (n_elements, n_parameters): the elements of the parameters
    independent: Integers  # (n_constants,), numbers among the elements of all shells
    conditions: csr_array  # (n_conditions, n_elements), sums of elements that vanish

    @cached_property
    def bonds(self) -> Array:
        """Vectors of all bonds, (n_bonds, 3)."""
        return read_only(np.concatenate([shell.bonds for shell in self.shells]))

    @cached_property
    def atoms(self) -> Integers:
        """Atoms of all bonds, (n_bonds, 2)."""
        atoms = np.concatenate([shell.atoms for shell in self.shells])
        return read_only(atoms, atoms.dtype)

    @cached_property
    def combinations(self) -> list[sum_rules.Combinations]:
        """Parameters that give the elements of each shell: `rule` in dense parts."""
        sizes = np.array([len(shell.elements) for shell in self.shells])
        return sum_rules.combinations(self.rule, sizes)


def build_structure(
    lattice: Array,
    symbols: list[str],
    positions: Array,
    mass: float | Array | None,
    magnetic_moments: Array | None,
) -> Structure:
    """Return the cell and its space group that these parameters of a model describe."""
    _check_apart(positions, lattice)
    cell = _cell(lattice, symbols, positions, mass, magnetic_moments)
    group = _keeping_isotopes(symmetry.space_group(cell), symbols)
    if not np.allclose(cell.masses[group.permutations], cell.masses):
        raise ValueError(
            "Atoms that the space group relates must have one mass, got "
            f"{np.asarray(cell.masses).tolist()}. Give them their mean mass, or name "
            "isotopes in symbol to tell them apart."
        )
    return Structure(cell, group, symbols)


def build_crystal(
    structure: Structure, n_shells: int | None, supercell: Any
) -> Crystal:
    """Return a crystal with so many shells, or those that fit into a supercell."""
    cell, group, symbols = structure
    if n_shells is None:
        vectors = as_matrix(supercell).T @ cell.cell
        shells = symmetry.shells_inside(cell, group, vectors)
    else:
        shells = symmetry.first_shells(cell, group, n_shells)
    spread = sum_rules.spreading(shells)
    first = np.concatenate([shell.atoms[:, 0] for shell in shells])
    rule = sum_rules.sum_rule(spread, first, len(cell))
    names = _names(shells, symbols)
    return Crystal(
        cell,
        symbols,
        group,
        shells,
        [names[i] for i in rule.independent],
        spread,
        rule.elements,
        rule.independent,
        rule.conditions,
    )


def pair_labels(shells: Sequence[symmetry.Shell], symbols: list[str]) -> list[str]:
    """Return the pair of atoms of each shell, as it ends the names of its elements."""
    if len(symbols) == 1:
        return [""] * len(shells)
    labels = [
        f"{symbol}{symbols[: i + 1].count(symbol)}"
        if symbols.count(symbol) > 1
        else symbol
        for i, symbol in enumerate(symbols)
    ]
    pairs = [shell.atoms[0] for shell in shells]
    return [f" {labels[i]}-{labels[j]}" for i, j in pairs]


def element_names(crystal: Crystal) -> list[str]:
    """Return the name of every element of every shell, parameter or not."""
    return _names(crystal.shells, crystal.symbols)


def laue_class(group: symmetry.SpaceGroup) -> Integers:
    """Return the number of one of each rotation of a group and its negatives."""
    # numbers of negatives follow those of the group
    rotations = np.concatenate([group.rotations, -group.rotations])
    _, unique = np.unique(rotations.reshape(-1, 9), axis=0, return_index=True)
    return unique


def _cell(
    lattice: Array,
    symbols: list[str],
    positions: Array,
    mass: float | Array | None,
    magnetic_moments: Array | None,
) -> Any:
    from phonopy.structure.atoms import PhonopyAtoms

    elements, of_isotopes = zip(*map(element_and_mass, symbols), strict=True)
    masses = None if mass is None else np.broadcast_to(mass, len(positions))
    if mass is None and all(own is not None for own in of_isotopes):
        masses = np.array(of_isotopes, dtype=float)
    try:
        cell = PhonopyAtoms(
            cell=lattice,
            symbols=list(elements),
            scaled_positions=positions,
            masses=masses,
            magnetic_moments=magnetic_moments,
        )
    except RuntimeError as error:  # radioactive elements have no natural mixture
        raise ValueError(
            f"mass must be given for {', '.join(symbols)}: {error}"
        ) from error
    if masses is None:
        pairs = zip(of_isotopes, cell.masses, strict=True)
        cell.masses = [natural if own is None else own for own, natural in pairs]
    return cell


def _keeping_isotopes(
    group: symmetry.SpaceGroup, symbols: list[str]
) -> symmetry.SpaceGroup:
    """Return the operations that take every atom to one of its own symbol."""
    labels = np.array(symbols)
    kept = (labels[group.permutations] == labels).all(axis=1)
    return symmetry.SpaceGroup(*(column[kept] for column in group))


def _check_apart(positions: Array, lattice: Array) -> None:
    for i, place in enumerate(positions):
        steps = positions[i + 1 :] - place
        distances = np.linalg.norm((steps - np.rint(steps)) @ lattice, axis=-1)
        if (distances < _TOO_CLOSE).any():
            j = int((distances < _TOO_CLOSE).argmax())
            raise ValueError(
                f"Atoms must be at different places, but atoms {i} and {i + 1 + j} "
                f"are {distances[j]:.3g} Angstrom apart."
            )


def _names(shells: Sequence[symmetry.Shell], symbols: list[str]) -> list[str]:
    """Name every element of every shell."""
    return [
        f"{shell.number}{element}{pair}"
        for shell, pair in zip(shells, pair_labels(shells, symbols), strict=True)
        for element in shell.elements
    ]
