"""Atoms of a crystal, however it is given."""

from typing import Any

import numpy as np

__all__ = ["atoms_of", "cell_lengths"]


def atoms_of(crystal: Any) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return lattice, positions and symbols of a model, a cell or a tuple of these."""
    if isinstance(crystal, tuple | list) and len(crystal) == 3:
        lattice, positions, symbols = crystal
        if isinstance(symbols, str):
            symbols = [symbols] * len(positions)
        return np.asarray(lattice, float), np.asarray(positions, float), list(symbols)
    if hasattr(crystal, "symbols") and hasattr(
        crystal, "lattice"
    ):  # ForceConstantModel
        positions = crystal.positions
        positions = np.zeros((1, 3)) if positions is None else positions
        return crystal.lattice, positions, list(crystal.symbols)
    crystal = getattr(crystal, "primitive", crystal)  # Phonopy
    if hasattr(crystal, "scaled_positions"):  # PhonopyAtoms
        return crystal.cell, crystal.scaled_positions, list(crystal.symbols)
    if hasattr(crystal, "get_scaled_positions"):  # Atoms of ASE
        symbols = crystal.get_chemical_symbols()
        return np.asarray(crystal.cell), crystal.get_scaled_positions(), list(symbols)
    raise TypeError(
        "crystal must be a ForceConstantModel, atoms of phonopy or ASE, or a tuple "
        f"(lattice, positions, symbols), got {type(crystal).__name__}."
    )


def cell_lengths(lattice: np.ndarray) -> tuple[float, ...]:
    """Return the lattice parameter of a cubic crystal, else the lengths of its cell."""
    metric = np.asarray(lattice) @ np.asarray(lattice).T
    length = np.sqrt(np.diag(metric))
    cosines = (metric / np.outer(length, length))[np.triu_indices(3, 1)]
    if np.ptp(length) < 1e-4 * length[0]:
        # primitive cells: simple, face centred and body centred
        for cosine, factor in ((0, 1), (0.5, np.sqrt(2)), (-1 / 3, 2 / np.sqrt(3))):
            if np.abs(cosines - cosine).max() < 1e-4:
                return (float(factor * length.mean()),)
    return tuple(float(each) for each in length)
