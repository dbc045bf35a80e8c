"""From a file and a crystal to a folder with a report.

What is done is a script: it is written out first and then run, so that the one in the
folder did what the folder holds.
"""

import io
import platform
import shutil
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np

from skphonon._settings import now
from skphonon._version import __version__
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M

__all__ = ["Request", "invert_file"]

_SHELLS = 3  # of a crystal without a calculation
_MARGINS = 0.12, 0.9  # of the incident energy: what is fitted of it
_STEPS = 60  # bins of energy
_Q_STEP = 0.1  # 1/Angstrom
_Q_FIRST = 1.0  # 1/Angstrom: below it are elastic tails and holders
_EDGE = 0.97  # share of the intensity above the background that lies below the edge
_PHONOPY = ".yaml", ".yml", ".xz", ".gz", ".bz2"


class Request(NamedTuple):
    """What is asked for."""

    measured: Path
    structure: Path
    method: str
    temperature: float | None
    incident_energy: float | None
    resolution: float | None
    n_shells: int | None
    row: int


def invert_file(asked: Request, output: Path, tell: Callable[[str], None]) -> str:
    """Fit, write a folder whole or not at all, and return where the report is."""
    if output.exists():
        raise ValueError(
            f"The output folder must not exist, got {output}, which does. Give another "
            "one (--output)."
        )
    for path in (asked.measured, asked.structure):
        if not path.exists():
            raise FileNotFoundError(f"There is no file {path}.")
    import matplotlib

    matplotlib.use("Agg")
    tell(f"Reading {asked.measured} and {asked.structure} ...")
    script = script_for(asked)
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        text = _run(script, unfinished, tell)
        (unfinished / "log.txt").write_text(text, encoding="utf-8")
        (unfinished / "invert.py").write_text(script, encoding="utf-8")
        unfinished.chmod(0o755)
        unfinished.rename(output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return f"Report: {output / 'report.html'}"


def script_for(asked: Request) -> str:
    """Return the script that does what is asked, with values from the files."""
    found, read = _measured(asked)
    lines = [
        f'"""Force constants from {asked.measured.name}, by skphonon {__version__}."""',
        "import sys",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "",
        "import skphonon",
        "from skphonon.instrument.holders import MODELLED",
        "from skphonon.physics import ShellPrior",
        "from skphonon.report import Report",
        "",
        'folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")',
        "folder.mkdir(parents=True, exist_ok=True)",
        "",
        "# the crystal",
        *_crystal(asked, found),
        "",
        "# the spectrum",
        *_spectrum(asked, found, read),
        "",
        "# what would have been measured, and the fit",
        *_fit(asked),
        "",
        "# what is written",
        *_written(asked),
    ]
    return "\n".join(lines) + "\n"


def _crystal(asked: Request, found: Any) -> list[str]:
    path = str(asked.structure.resolve())
    if _is_calculated(asked):
        lines = [f"model = skphonon.ForceConstantModel.from_phonopy({path!r})"]
        if asked.n_shells is not None:
            lines += [
                "# shells beyond those of the calculation begin at zero",
                f"n_shells = {asked.n_shells}",
                "known = model.n_shells or 0",
                "if n_shells > known:",
                "    model = model.extended(n_shells)",
                "elif n_shells < known:",
                "    model = skphonon.ForceConstantModel.from_phonopy(",
                f"        {path!r}, n_shells=n_shells",
                "    )",
            ]
        return [*lines, "prior = ShellPrior(model, energies=0.1)"]
    lattice, positions, symbols = _structure(asked.structure)
    highest = _edge(asked, found)
    return [
        "from skphonon.physics import with_springs",
        "",
        "model = skphonon.ForceConstantModel(",
        f"    {np.round(lattice, 8).tolist()!r},",
        f"    {symbols!r},",
        "    None,",
        f"    positions={np.round(positions, 8).tolist()!r},",
        f"    n_shells={asked.n_shells or _SHELLS},",
        ")",
        "# no calculation: springs, so that phonons end where the spectrum does",
        f"model = with_springs(model, {highest:.1f})",
        "prior = ShellPrior(model, independent=0.5, common=0.5)",
    ]


def _structure(path: Path) -> tuple[Any, Any, list[str]]:
    """Return the primitive cell of a structure file."""
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
    return lattice, positions, [chemical_symbols[n] for n in numbers]


def _measured(asked: Request) -> tuple[Any, list[str]]:
    """Return the measurement of a file, and the lines that read it."""
    from skphonon.io import read

    path = str(asked.measured.resolve())
    lines = [f"measured = skphonon.read({path!r})"]
    found: Any = read(path)
    if isinstance(found, list):
        _check_row(asked.row, len(found))
        found, lines = found[asked.row], [*lines, f"measured = measured[{asked.row}]"]
    changes = {
        "temperature": asked.temperature,
        "incident_energy": asked.incident_energy,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        told = ", ".join(f"{name}={value!r}" for name, value in changes.items())
        found = found.replace(**changes)
        lines.append(f"measured = measured.replace({told})")
    return found, lines


def _check_row(row: int, number: int) -> None:
    if not 0 <= row < number:
        raise ValueError(
            f"The file holds {number} spectra, from 0 to {number - 1}, got --row {row}."
        )


def _spectrum(asked: Request, found: Any, lines: list[str]) -> list[str]:
    if found.temperature is None:
        raise ValueError(
            f"{asked.measured.name} does not tell the temperature of the sample. Give "
            "it: --temperature, in K."
        )
    if hasattr(found, "polar"):  # by detector
        # the lattice of a calculation is not the measured one
        crystal = "None" if _is_calculated(asked) else "model"
        kelvins = float(np.ravel(found.temperature)[0])
        energies, wavevectors = _bins(found)
        width = repr(asked.resolution or "direct_geometry")
        return [
            *lines,
            "calibration = skphonon.calibrate(",
            f"    measured, crystal={crystal}, resolution={width}",
            ")",
            "# what else stood in the beam, by its Bragg lines",
            'names = calibration.holders["name"]',
            "beside = {name: name for name in names if name in MODELLED}",
            "grid = skphonon.SpectrumGrid(",
            "    np.arange({:.4g}, {:.4g}, {:.3g}),".format(*energies),
            "    np.arange({:.4g}, {:.4g}, {:.3g}),".format(*wavevectors),
            ")",
            "measured = skphonon.reduce_powder(calibration.measurement, grid)",
            f"measured = measured.replace(temperature={kelvins!r})",
        ]
    _check_row(asked.row, len(np.atleast_2d(found.data)))
    if len(np.atleast_2d(found.data)) > 1:
        lines.append(f"measured = measured[{asked.row}]")
    return [*lines, "beside = {}"]


def _is_calculated(asked: Request) -> bool:
    """Tell whether the crystal comes with force constants."""
    return asked.structure.suffix.lower() in _PHONOPY


def _bins(found: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return first, last and step of energies and of wavevectors."""
    incident = float(found.incident_energy)
    low, high = (share * incident for share in _MARGINS)
    angle = np.deg2rad(min(float(np.nanmax(np.abs(found.polar))), 180.0))
    first, last = (
        np.sqrt(energy / NEUTRON_HBAR2_OVER_2M) for energy in (incident, incident - low)
    )
    reach = float(np.sqrt(first**2 + last**2 - 2 * first * last * np.cos(angle)))
    return (low, high, (high - low) / _STEPS), (_Q_FIRST, reach, _Q_STEP)


def _edge(asked: Request, found: Any) -> float:
    """Return where the phonons of a spectrum end, in meV."""
    if hasattr(found, "polar"):
        energies = found.energy
        means = np.nanmean(
            np.where(np.isfinite(found.data), found.data, np.nan), axis=0
        )
        low, high = (share * float(found.incident_energy) for share in _MARGINS)
    else:
        image = found.grid.to_image(np.atleast_2d(found.data))[
            min(asked.row, len(np.atleast_2d(found.data)) - 1)
        ]
        energies = np.asarray(found.grid.energy)
        means, low, high = np.nanmean(image, axis=1), energies.min(), energies.max()
    kept = (energies >= low) & (energies <= high) & np.isfinite(means)
    energies, means = np.asarray(energies)[kept], means[kept]
    above = np.maximum(means - np.quantile(means, 0.1), 0.0)
    share = np.cumsum(above) / above.sum()
    return float(energies[np.searchsorted(share, _EDGE)])


def _fit(asked: Request) -> list[str]:
    known = asked.resolution
    width = "" if known is None else f", energy_resolution={known!r}"
    lines = [
        "simulator = skphonon.PowderSimulator.from_measurement(",
        f"    model, measured, tolerance=1e-3{width}",
        ")",
        "width = simulator.energy_resolution  # a function has a factor",
        "span = (0.6, 1.8) if callable(width) else (0.6 * width, 1.8 * width)",
        'nuisance = {"energy_resolution": span, "lattice_scale": (0.98, 1.02)}',
        "inverter = skphonon.LeastSquaresInverter(",
        "    simulator,",
        "    nuisance=nuisance,",
        "    background=3,",
        "    contributions=beside,",
        "    prior=prior,",
        "    random_state=0,",
        ")",
    ]
    if asked.method == "posterior":
        lines += ["inverter = skphonon.PosteriorInverter(inverter, random_state=0)"]
    return [
        *lines,
        "inverter.fit(measured.data)",
        "inverter.predict(measured.data, errors=measured.error)",
        "found = inverter.posteriors_[0]"
        if asked.method == "posterior"
        else "found = inverter.fits_[0]",
    ]


def _written(asked: Request) -> list[str]:
    if asked.method == "posterior":
        own = [
            'found.summary().to_csv(folder / "constants.csv", index_label="name")',
            "parameters = found.mean[: len(found.parameter_names)]",
            "fitted = found.fit.spectrum - found.fit.residual",
            "residual = found.fit.residual",
        ]
    else:
        own = [
            'found.to_frame().to_csv(folder / "constants.csv", index_label="name")',
            "parameters = found.parameters",
            "fitted = found.spectrum - found.residual",
            "residual = found.residual",
        ]
    title = f"{asked.measured.name}: force constants"
    return [
        *own,
        "model.to_phonopy(parameters).save(",
        '    folder / "phonopy_params.yaml", settings={"force_constants": True}',
        ")",
        "np.savez(",
        '    folder / "fit.npz",',
        "    energy=simulator.grid.energy,",
        "    q=simulator.grid.q,",
        "    measured=simulator.grid.to_image(measured.data)[0],",
        "    fitted=simulator.grid.to_image(fitted[None])[0],",
        "    residual=simulator.grid.to_image(residual[None])[0],",
        ")",
        f"report = Report.from_fit(found, title={title!r}, settings={{",
        f"    'spectrum': {str(asked.measured)!r},",
        f"    'crystal': {str(asked.structure)!r},",
        f"    'method': {asked.method!r},",
        "})",
        'report.save(folder / "report.html")',
        "print(found.verdict_)",
    ]


def _run(script: str, folder: Path, tell: Callable[[str], None]) -> str:
    """Run a script in a folder; return its log."""
    import sys

    log = [f"{now()}: skphonon {__version__}, python {platform.python_version()}"]
    tell("Fitting ...")
    before, printed = sys.argv, io.StringIO()
    sys.argv = ["invert.py", str(folder)]
    try:
        with warnings.catch_warnings(record=True) as heard, redirect_stdout(printed):
            warnings.simplefilter("default")
            exec(compile(script, "invert.py", "exec"), {"__name__": "__main__"})
    finally:
        sys.argv = before
    told = dict.fromkeys(f"{w.category.__name__}: {w.message}" for w in heard)
    for each in told:
        tell(each)
    tell(printed.getvalue().rstrip())
    return "\n".join([*log, *told, printed.getvalue()])
