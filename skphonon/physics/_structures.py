"""Crystals from files and from objects of ASE and phonopy, without force constants."""

from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["primitive_of"]

_DIGITS = 8  # of lengths and positions: what is beyond is rounding


def primitive_of(structure: Any) -> tuple[NDArray, NDArray, list[str]]:
    """Return lattice, scaled positions and symbols of the primitive cell."""
    import spglib

    if isinstance(structure, str | PathLike):
        structure = _from_file(Path(fspath(structure)))
    if hasattr(structure, "get_scaled_positions"):  # of ASE
        pbc = getattr(structure, "pbc", True)
        if not np.all(pbc):
            raise ValueError(
                "structure must be periodic in three dimensions, got "
                f"pbc={np.asarray(pbc).tolist()}. Set atoms.pbc = True."
            )
        cell = (
            np.asarray(structure.cell),
            structure.get_scaled_positions(),
            structure.numbers,
        )
    elif hasattr(structure, "scaled_positions"):  # of phonopy
        cell = structure.cell, structure.scaled_positions, structure.numbers
    else:
        raise TypeError(
            "structure must be a file, ase.Atoms or PhonopyAtoms, got "
            f"{type(structure).__name__}."
        )
    if not len(cell[2]) or abs(np.linalg.det(cell[0])) == 0:
        raise ValueError("structure must hold atoms in a cell, got none.")
    given: Any = cell
    try:
        found = spglib.standardize_cell(given, to_primitive=True, no_idealize=True)
    except Exception as error:  # of atoms that lie on each other
        raise ValueError(
            f"structure must be a crystal with atoms apart from each other: {error}"
        ) from error
    lattice, positions, numbers = cell if found is None else found
    names = dict(zip(map(int, cell[2]), map(str, structure.symbols), strict=True))
    symbols = [names[int(number)] for number in numbers]
    return np.round(lattice, _DIGITS), np.round(positions, _DIGITS), symbols


def _from_file(path: Path) -> Any:
    try:
        from ase.io import read
    except ImportError as error:
        raise ImportError(
            f"Structure files such as {path.name} are read by ASE, which is not "
            "installed: pip install 'skphonon[ase]'. Phonopy YAML files need nothing."
        ) from error
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        found = read(path)
    except OSError:
        raise
    except Exception as error:  # whatever the format raises
        raise ValueError(
            f"{path} is no structure that ASE reads: {error or type(error).__name__}."
        ) from error
    return found[-1] if isinstance(found, list) else found
