"""Seconds and memory that reading the force constants of large crystals takes.

Run with ``OMP_NUM_THREADS=1 python tests/benchmarks/large_crystals.py``, with the name
of a folder of phonopy files in SKPHONON_DATA. Every case is made in a process of its
own and read in another, whose largest memory, with Python and its libraries, is then
that of reading. Springs between all atoms that weaken with distance take the place of
a calculation.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

QUARTZ = [5, 5, 4]
CONVENTIONAL = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]  # of a face-centred cell
DISPLACED = 0.05  # Angstrom: no symmetry is left


class Case(NamedTuple):
    """A crystal: cell, supercell, and how it is read."""

    file: str  # of the phonopy folder, which holds the structure
    cell: object  # of the model, in units of the primitive one of the file
    supercell: object  # in units of that cell
    disordered: bool = False  # a cell without symmetry
    full: bool = False  # a row of constants for every atom of the supercell
    cutoff: float | None = None  # Angstrom


CASES = {
    "La2Zr2O7, 22 in 704 atoms": Case("La2Zr2O7", None, 2 * np.array(CONVENTIONAL)),
    "the same, full": Case("La2Zr2O7", None, 2 * np.array(CONVENTIONAL), full=True),
    "quartz, 9 in 900 atoms": Case("quartz", None, QUARTZ),
    "La2Zr2O7, 704 in 704 atoms, to 5 A": Case(
        "La2Zr2O7", 2 * np.array(CONVENTIONAL), [1, 1, 1], cutoff=5.0
    ),
    "no symmetry, 88 in 88 atoms": Case("La2Zr2O7", CONVENTIONAL, [1, 1, 1], True),
    "no symmetry, 88 in 704, to 6 A": Case(
        "La2Zr2O7", CONVENTIONAL, [2, 2, 2], True, cutoff=6.0
    ),
    "no symmetry, 88 in 704 atoms": Case("La2Zr2O7", CONVENTIONAL, [2, 2, 2], True),
    "no symmetry, 900 atoms, to 4 A": Case("quartz", QUARTZ, [1, 1, 1], True, cutoff=4),
    "no symmetry, 900 atoms, to 5 A": Case("quartz", QUARTZ, [1, 1, 1], True, cutoff=5),
    "no symmetry, 900 in 1800, to 4 A": Case(
        "quartz", QUARTZ, [2, 1, 1], True, cutoff=4
    ),
    "the same in full": Case("quartz", QUARTZ, [2, 1, 1], True, full=True, cutoff=4),
}


def make(case, folder):
    """Write the phonopy files of a case."""
    import phonopy
    from phonopy.file_IO import write_force_constants_to_hdf5

    source = Path(os.environ["SKPHONON_DATA"]) / "phonopy" / f"{case.file}.yaml"
    cell = phonopy.load(source, produce_fc=False, log_level=0).primitive
    if case.cell is not None:
        whole = phonopy.Phonopy(
            cell, supercell_matrix=case.cell, primitive_matrix=np.eye(3)
        )
        cell = whole.supercell
    if case.disordered:
        rng = np.random.default_rng(0)
        cell.positions = cell.positions + rng.normal(0, DISPLACED, (len(cell), 3))
    crystal = phonopy.Phonopy(
        cell, supercell_matrix=case.supercell, primitive_matrix=np.eye(3)
    )
    sites = np.arange(len(crystal.supercell)) if case.full else None
    sites = crystal.primitive.p2s_map if sites is None else sites
    crystal.save(folder / "phonopy.yaml", settings={"force_constants": False})
    write_force_constants_to_hdf5(
        springs(crystal.supercell, sites),
        folder / "force_constants.hdf5",
        p2s_map=None if case.full else sites,
    )


def springs(supercell, rows):
    """Return constants of some rows, (n_rows, n_sites, 3, 3), shared by images."""
    lattice, n_sites = supercell.cell, len(supercell)
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    constants = np.empty((len(rows), n_sites, 3, 3))
    for row, site in zip(constants, rows, strict=True):
        scaled = supercell.scaled_positions - supercell.scaled_positions[site]
        bonds = ((scaled - np.rint(scaled))[:, None] + steps) @ lattice
        lengths = np.linalg.norm(bonds, axis=-1)
        lengths[site] = np.inf
        nearest = lengths < lengths.min(axis=1, keepdims=True) + 1e-5
        end, image = np.nonzero(nearest & np.isfinite(lengths))
        bond, length = bonds[end, image], lengths[end, image, None, None]
        radial = bond[:, :, None] * bond[:, None] / length**2
        pull = 5 * (1.8 / length) ** 6 * (radial + 0.1 * np.eye(3))
        pull /= np.bincount(end)[end][:, None, None]
        row[:] = 0
        np.subtract.at(row, end, pull)
        row[site] = -row.sum(axis=0)
    return constants


def read(case, folder):
    """Return sizes, and seconds that reading and one dynamical matrix take."""
    import warnings

    from skphonon import ForceConstantModel

    warnings.simplefilter("error")
    start = perf_counter()
    model = ForceConstantModel.from_phonopy(
        folder / "phonopy.yaml",
        force_constants=folder / "force_constants.hdf5",
        cutoff=case.cutoff,
    )
    seconds = perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = perf_counter()
    model.dynamical_matrices(model.reference, [[0.1, 0.2, 0.3]])
    return (
        len(model.bonds),
        len(model.reference),
        seconds,
        peak / 2**20,
        perf_counter() - start,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    )


def alone(function, *arguments):
    """Call a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="cases, all by default")
    names = parser.parse_args().names or list(CASES)
    print(
        f"{'case':36}{'bonds':>9}{'constants':>11}{'seconds':>9}{'GiB':>6}"
        f"{'matrix s':>10}{'GiB':>6}"
    )
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            alone(make, CASES[name], Path(folder))
            bonds, constants, *figures = alone(read, CASES[name], Path(folder))
        print(
            f"{name:36}{bonds:9}{constants:11}{figures[0]:9.1f}{figures[1]:6.2f}"
            f"{figures[2]:10.2f}{figures[3]:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
