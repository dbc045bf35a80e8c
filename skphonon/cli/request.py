"""What is asked for, and whether it can be had."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Request"]

_EXAMPLES = ("aluminium",)
_PHONOPY = ".yaml", ".yml", ".xz", ".gz", ".bz2"
_MOST_SHELLS = 30
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
    def draws(self) -> bool:
        """Whether a posterior is drawn from, which takes long where much is fitted."""
        return self.method in ("posterior", "compare")

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
            if self.temperature not in _KELVINS:
                raise ValueError(
                    "The example was measured at "
                    f"{', '.join(map(str, _KELVINS))} K, got --temperature "
                    f"{self.temperature:g}."
                )
            return int(self.temperature)
        check_row(self.row, len(_KELVINS))
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
        """Raise where files are missing or options make no sense."""
        self.check_numbers()
        if self.is_example and (self.structure or self.incident_energy is not None):
            raise ValueError(
                "The example brings its crystal and incident energy: leave out "
                "--structure and --ei."
            )
        if self.structure is None and not self.is_example:
            raise ValueError(
                "The crystal is missing: give --structure, a phonopy YAML file with "
                "force constants or a structure file."
            )
        measured = None if self.is_example else self.measured
        for path in (measured, self.structure, self.network):
            if path is not None and not path.exists():
                raise FileNotFoundError(f"There is no file {path}.")
        if self.structure is not None and self.structure.is_dir():
            raise ValueError(
                f"The crystal must be a file, got a folder: {self.structure}."
            )
        if self.network is not None and self.method != "network":
            raise ValueError(
                "A trained network (--network) is for --method network, got "
                f"--method {self.method}."
            )

    def check_numbers(self) -> None:
        """Raise where a number cannot be what it is said to be."""
        for name, value in {
            "--temperature": self.temperature,
            "--ei": self.incident_energy,
            "--resolution": self.resolution,
        }.items():
            if value is None:
                continue
            cold = name == "--temperature"
            if not np.isfinite(value) or value < 0 or (value == 0 and not cold):
                least = "0 or above" if cold else "above 0"
                raise ValueError(f"{name} must be {least} and finite, got {value:g}.")
        if self.n_shells is not None and not 1 <= self.n_shells <= _MOST_SHELLS:
            raise ValueError(
                f"--shells must be from 1 to {_MOST_SHELLS}, got {self.n_shells}."
            )


def check_row(row: int, number: int) -> None:
    """Raise if a file has no such spectrum."""
    if not 0 <= row < number:
        raise ValueError(
            f"The file holds {number} spectra, from 0 to {number - 1}, got --row {row}."
        )
