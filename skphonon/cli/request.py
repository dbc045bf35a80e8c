"""What is asked for, and whether it can be had."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Request"]

_EXAMPLES = ("aluminium",)
_PHONOPY = ".yaml", ".yml", ".xz", ".gz", ".bz2"
_KELVINS = 50, 150, 280, 350, 450, 540, 640  # of the example, in its order


class Request(NamedTuple):
    """What is asked for.

    Parameters
    ----------
    measured : Path or None
        A file, or the name of an example.
    structure : Path or None
        A file of phonopy or a structure; None with an example.
    method : str
        One of those of the command.
    temperature, incident_energy, resolution : float or None
        What the file does not tell.
    n_shells : int or None
        None: of the calculation, or by evidence.
    row : int
        Number of the spectrum in the file.
    force_field : str
        "auto", "none", or the name of a calculator.
    network : Path or None
        A trained network.
    n_spectra : int
        To train one on.
    """

    measured: Path | None
    structure: Path | None
    method: str = "least-squares"
    temperature: float | None = None
    incident_energy: float | None = None
    resolution: float | None = None
    n_shells: int | None = None
    row: int = 0
    force_field: str = "auto"
    network: Path | None = None
    n_spectra: int = 4000

    @property
    def is_example(self) -> bool:
        """Whether an example is asked for, and no file."""
        name = self.measured
        return name is not None and str(name) in _EXAMPLES and not name.exists()

    @property
    def is_calculated(self) -> bool:
        """Whether the crystal comes with force constants."""
        if self.structure is None:
            return True
        return self.structure.suffix.lower() in _PHONOPY

    @property
    def name(self) -> str:
        """Of what was measured."""
        if self.is_example:
            return f"Aluminium, ARCS, {self.example_temperature} K"
        return "" if self.measured is None else self.measured.name

    @property
    def example_temperature(self) -> int:
        """Temperature of the example, K."""
        if self.temperature is not None:
            return int(self.temperature)
        if not 0 <= self.row < len(_KELVINS):
            raise ValueError(
                f"The example has {len(_KELVINS)} spectra, from 0 to "
                f"{len(_KELVINS) - 1}, got --row {self.row}."
            )
        return _KELVINS[self.row]

    @property
    def calculator(self) -> str | None:
        """Force field that is asked for, or the first that is installed."""
        if self.is_calculated or self.force_field == "none":
            return None
        if self.force_field != "auto":
            return self.force_field
        return "7net-0" if find_spec("sevenn") and find_spec("ase") else None

    def check(self) -> None:
        """Raise where files are missing or options contradict each other."""
        if self.structure is None and not self.is_example:
            raise ValueError(
                "The crystal is missing: give --structure, a phonopy YAML file with "
                "force constants or a structure file."
            )
        for path in (None if self.is_example else self.measured, self.structure):
            if path is not None and not path.exists():
                raise FileNotFoundError(f"There is no file {path}.")
        if self.network is not None and self.method != "network":
            raise ValueError(
                "A trained network (--network) is for --method network, got "
                f"--method {self.method}."
            )


def check_row(row: int, number: int) -> None:
    """Raise if a file has no such spectrum."""
    if not 0 <= row < number:
        raise ValueError(
            f"The file holds {number} spectra, from 0 to {number - 1}, got --row {row}."
        )


def read_structure(path: Path) -> tuple[Any, Any, list[str]]:
    """Return lattice, positions and symbols of the primitive cell of a file."""
    try:
        from ase.io import read
    except ImportError as error:
        raise ImportError(
            f"Structure files such as {path.name} are read by ASE, which is not "
            "installed: pip install 'skphonon[ase]'. Phonopy YAML files need nothing."
        ) from error
    import spglib
    from ase.data import chemical_symbols

    try:
        atoms: Any = read(path)
    except OSError:
        raise
    except Exception as error:  # whatever the format raises
        raise ValueError(f"{path} is no structure that ASE reads: {error}.") from error
    cell = atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True)
    lattice, positions, numbers = cell if found is None else found
    symbols = [chemical_symbols[n] for n in numbers]
    return np.round(lattice, 8), np.round(positions, 8), symbols
