"""The cell that h, k and l of a grid refer to, beside that of the model.

A measurement counts wavevectors in the reciprocal cell of a crystal's conventional
cell, as a rule, and a model has a primitive one. The cell of the grid must be so many
cells of the model, integers in rows; its size need not be quite the same.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from skphonon._validation import wavevector_rows
from skphonon._warnings import warn_user
from skphonon.instrument.measurement import MeasurementWarning
from skphonon.physics.force_constants import ForceConstantModel
from skphonon.physics.symmetry import right_handed
from skphonon.physics.zone.mesh import laue_rotations

__all__ = ["cell_multiple", "reduced_wavevectors", "warn_of_cell"]

Array = NDArray[np.float64]

_ALIKE = 0.05  # by which a cell of the grid may differ from one of the model, relative
_NEAR = 0.03  # the same without a word
_SYMMETRIC = 1e-3  # Angstrom: positions that symmetry relates
_BEST = 0.005  # relative: cells that fit equally well
_LONGEST = 20  # cells of the model along an edge of that of the grid


def reduced_wavevectors(simulator) -> Array:
    """Return wavevectors of the grid in units of the reciprocal cell of the model."""
    wavevectors = wavevector_rows(simulator.grid.wavevectors)
    return wavevectors @ np.linalg.inv(cell_multiple(simulator)).T


def cell_multiple(simulator) -> Array:
    """Return the cell of the grid in units of that of the model, integers in rows."""
    grid, model = simulator.grid, simulator.model
    lattice = getattr(grid, "lattice", None)
    if lattice is None:
        return np.eye(3)
    lattice, own = np.asarray(lattice, dtype=float), _cell_of(model)
    multiple = np.rint(lattice @ np.linalg.inv(own))
    if _misfit(lattice, multiple @ own) <= _ALIKE:
        return multiple
    free = isinstance(model, ForceConstantModel)  # whose symmetry is known
    found = _of_any_axes(lattice, own, laue_rotations(model)) if free else []
    if len(found) == 1:
        return found[0]
    got = f"got {lattice.tolist()} for a model with {own.tolist()}"
    if found:
        raise ValueError(
            f"The lattice of the grid must tell its axes, {got}, which it fits in "
            f"{len(found)} ways that the symmetry of the crystal does not relate. Turn "
            "it into the Cartesian axes of the model."
        )
    axes = "" if free else " and in the same Cartesian axes"
    raise ValueError(
        "The lattice of the grid must be that of the model or a multiple of it, within "
        f"5 %{axes}; {got}. Correct the lattice of the grid, in Angstrom, or take the "
        "model of the crystal that was measured"
        + ("." if free else "; or turn the one lattice into the axes of the other.")
    )


def warn_of_cell(simulator) -> None:
    """Warn where the cell that wavevectors refer to is not known, or hardly fits."""
    grid, model = simulator.grid, simulator.model
    if not (hasattr(grid, "wavevectors") and isinstance(model, ForceConstantModel)):
        return
    multiple, own = cell_multiple(simulator), _cell_of(model)
    lattice = getattr(grid, "lattice", None)
    if lattice is None:
        n_cells = _cells_in_standard(model)
        if n_cells > 1:
            warn_user(
                "The grid tells no lattice, so that its h, k and l count the "
                "reciprocal vectors of the model's own cell, which is primitive: a "
                f"conventional cell, as measurements have it, is {n_cells} times "
                "as large. Pass measurement.replace(grid=grid.replace(lattice=...)), "
                "a, b and c of the cell of h, k and l in rows in Angstrom; "
                "lattice=model.lattice if it is that of the model.",
                MeasurementWarning,
            )
        return
    given, made = (np.linalg.norm(each, axis=1) for each in (lattice, multiple @ own))
    if (np.abs(given / made - 1) > _NEAR).any():
        warn_user(
            f"The edges of the cell of the grid, {_listed(given)} Angstrom, differ by "
            f"more than 3 % from those of the model, {_listed(made)}. Check that the "
            "model is of the crystal that was measured; h, k and l are kept.",
            MeasurementWarning,
        )


def _cell_of(model) -> Array:
    cell = getattr(model, "cell", None)
    return np.asarray(model.lattice if cell is None else cell.cell, dtype=float)


def _cells_in_standard(model) -> int:
    """Return how many cells of the model the conventional cell of the crystal has."""
    from phonopy.structure.symmetry import Symmetry

    cell = right_handed(model.cell)
    dataset = Symmetry(cell, symprec=_SYMMETRIC).dataset
    return round(len(getattr(dataset, "std_types", ())) / len(cell))


def _misfit(wanted: Array, found: Array) -> float:
    """Return the largest distance of vectors relative to their lengths."""
    lengths = np.linalg.norm(wanted, axis=1)
    return float((np.linalg.norm(wanted - found, axis=1) / lengths).max())


def _of_any_axes(lattice: Array, own: Array, laue: NDArray) -> list[Array]:
    """Return cells of the model with the edges and angles of a lattice.

    Of several that the Laue class of the crystal relates there is one.
    """
    lengths = np.linalg.norm(lattice, axis=1)
    metric = lattice @ lattice.T / np.outer(lengths, lengths)
    reach = 1 + (1 + _ALIKE) * lengths.max() * np.linalg.norm(
        np.linalg.inv(own), axis=0
    )
    if reach.max() > _LONGEST:
        return []
    ranges = [np.arange(-int(n), int(n) + 1) for n in reach]
    cells = np.array(list(product(*ranges)))
    sizes = np.linalg.norm(cells @ own, axis=1)
    rows = [cells[np.abs(sizes / length - 1) <= _ALIKE] for length in lengths]
    handed = np.sign(np.linalg.det(lattice) * np.linalg.det(own))
    fits: list[tuple[float, Array]] = []
    for first in rows[0]:
        for second in rows[1]:
            if abs(_product(first, second, own, lengths[:2]) - metric[0, 1]) > _ALIKE:
                continue
            for third in rows[2]:
                cell = np.array([first, second, third], dtype=float)
                scaled = cell @ own / lengths[:, None]
                misfit = np.abs(scaled @ scaled.T - metric).max()
                if misfit <= 2 * _ALIKE and handed * np.linalg.det(cell) > 0:
                    fits.append((misfit, cell))
    least = min((misfit for misfit, _ in fits), default=0.0)
    different: list[Array] = []
    for misfit, cell in fits:
        turned = np.linalg.inv(cell).T @ laue
        if misfit <= least + _BEST and not any(
            np.abs(sign * turned - np.linalg.inv(each).T).max(axis=(1, 2)).min() < 1e-6
            for each in different
            for sign in (1, -1)
        ):
            different.append(cell)
    return different


def _product(first, second, own, lengths):
    return float((first @ own) @ (second @ own)) / float(lengths.prod())


def _listed(lengths: Array) -> str:
    return ", ".join(f"{length:.4g}" for length in lengths)
