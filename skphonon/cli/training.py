"""Simulated spectra, networks trained on them, and their fine-tuning.

Each command runs a script, which is written beside what it made, as NAME.py.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from skphonon._files import write_whole
from skphonon._version import __version__
from skphonon.cli.crystal_lines import (
    add_crystal,
    add_shells,
    begins_with_springs,
    crystal_of,
)
from skphonon.cli.method_lines import add_simulator, training_lines
from skphonon.cli.request import Request
from skphonon.cli.script import Script, run
from skphonon.cli.spectrum_lines import add_spectrum, measured_of
from skphonon.physics.scattering import momentum_transfer

__all__ = ["fine_tune_network", "simulate_spectra", "train_network"]

Tell = Callable[[str], None]

_ENERGIES = 0.1, 0.9, 60  # of the incident energy: first, last, and number of bins
_ANGLES = 3.0, 135.0  # degree: those of direct-geometry spectrometers, about
_Q_STEP = 0.1  # 1/Angstrom
_HELD_OUT = 10  # one in ten spectra is to test on


def simulate_spectra(
    asked: Request,
    output: Path,
    number: int,
    temperatures: tuple[float, float] | None,
    picture: Path | None,
    tell: Tell,
) -> str:
    """Write one spectrum to a file, or a training set to a folder."""
    if number < 1:
        raise ValueError(f"The number of spectra must be positive, got {number}.")
    if number == 1 and temperatures is not None:
        raise ValueError("A range of temperatures is for many spectra (--number).")
    asked.check_numbers()
    if picture is not None:
        _check_picture(picture, output, number)
    if number == 1:
        _check_new(output)
        if output.suffix not in (".h5", ".hdf5"):
            raise ValueError(
                "A spectrum is written as HDF5: --output must end in .h5, got "
                f"{output}."
            )
    low, high = temperatures or (0.0, 0.0)
    if not (0 <= low <= high < np.inf):
        raise ValueError(
            "--temperatures must be two numbers from 0 on, the lower first, got "
            f"{low:g} {high:g}."
        )
    script = Script(f"Simulated spectra, by skphonon {__version__}.")
    script.need("import sys", "import skphonon")
    if asked.measured is None:
        _check_planned(asked)
        add_crystal(script, crystal_of(asked, None))
        _add_planned(script, asked)
    else:
        asked.check()
        found, lines = measured_of(asked)
        crystal = crystal_of(asked, found)
        add_crystal(script, crystal)
        add_spectrum(script, asked, found, lines)
        add_simulator(script, asked)
        if begins_with_springs(asked):
            add_shells(script, asked, crystal)
    if number == 1:
        _add_one(script, picture)
    else:
        _add_many(script, asked, temperatures)
    return _done(script, output, tell, "Spectrum" if number == 1 else "Spectra")


def _check_planned(asked: Request) -> None:
    """Raise where a measurement that is planned is not told enough of."""
    if asked.structure is None or not asked.structure.exists():
        raise ValueError(f"The crystal is missing: got --structure {asked.structure}.")
    missing = {
        "--ei": asked.incident_energy,
        "--temperature": asked.temperature,
        "--resolution": asked.resolution,
    }
    lacking = [name for name, value in missing.items() if value is None]
    if lacking:
        raise ValueError(
            f"Without a measured file (--like) give {', '.join(lacking)} as well."
        )
    if not asked.is_calculated and asked.calculator is None:
        raise ValueError(
            f"{asked.structure} holds no force constants. Give a phonopy YAML file, a "
            "force field (--force-field), or a measured file (--like), of which "
            "springs take the highest energy."
        )


def _add_planned(script: Script, asked: Request) -> None:
    """Add lines of a direct-geometry measurement that was not made."""
    incident = float(asked.incident_energy or 0.0)
    low, high, number = _ENERGIES
    reach = float(momentum_transfer(low * incident, incident, _ANGLES[1]))
    script.need("import numpy as np", "from skphonon.simulation import Scattering")
    script.add(
        "what would be measured",
        "beside = {}",
        "grid = skphonon.SpectrumGrid(",
        f"    np.linspace({low * incident:.4g}, {high * incident:.4g}, {number}),",
        f"    np.arange(0.5, {reach:.3g}, {_Q_STEP}),",
        f"    incident_energy={incident!r},",
        f"    two_theta={_ANGLES!r},",
        ")",
        "",
        "",
        "def simulator_of(model, tolerance=1e-3):",
        "    return skphonon.PowderSimulator(",
        "        model,",
        "        grid,",
        '        quantity="sqe",',
        f"        temperature={asked.temperature!r},",
        f"        energy_resolution={asked.resolution!r},",
        '        scattering=Scattering(n_phonons="auto"),',
        "        tolerance=tolerance,",
        "    )",
        "",
        "",
        "simulator = simulator_of(model)",
        "width = simulator.energy_resolution",
        'nuisance = {"energy_resolution": (0.5 * width, 2.0 * width), '
        '"lattice_scale": (0.98, 1.02)}',
    )


def _add_one(script: Script, picture: Path | None) -> None:
    script.need("from skphonon.io import write_arrays")
    script.add(
        "the spectrum of the constants as they are",
        "simulated = skphonon.Measurement(",
        "    simulator.simulate([simulator.reference]),",
        "    simulator.grid,",
        "    quantity=simulator.quantity,",
        "    temperature=simulator.temperature,",
        "    energy_resolution=simulator.energy_resolution,",
        f'    source="simulated by skphonon {__version__}",',
        ")",
    )
    if picture is not None:
        script.need("import matplotlib")
        script.add(
            "a picture",
            'matplotlib.use("Agg")',
            f"simulated.plot().figure_.savefig({str(picture)!r}, dpi=150)",
        )
    script.add("what is written", "write_arrays(sys.argv[1], simulated)")


def _add_many(
    script: Script, asked: Request, temperatures: tuple[float, float] | None
) -> None:
    script.need("from skphonon.datasets import write_powder_spectra")
    range_ = [] if temperatures is None else [f'ranges["temperature"] = {temperatures}']
    script.add(
        "spectra that differ as measured ones do",
        *training_lines(asked),
        *range_,
        "write_powder_spectra(",
        "    sys.argv[1],",
        "    simulator_of(model, tolerance=1e-2),",
        "    parameters=sets,",
        "    noise=(0.02, 0.4),",
        "    augmentation=ranges,",
        "    random_state=0,",
        "    n_jobs=-1,",
        "    verbose=1,",
        ")",
    )


def train_network(
    folder: Path, output: Path, epochs: int, components: int, tell: Tell
) -> str:
    """Train a network on a folder of spectra, and write it to a file."""
    _check_new(output)
    _check_store(folder)
    for name, value in (("--epochs", epochs), ("--components", components)):
        if value < 1:
            raise ValueError(f"{name} must be positive, got {value}.")
    script = Script(f"A network for measured spectra, by skphonon {__version__}.")
    _add_store(script, folder)
    script.need(
        "import pandas as pd",
        "from sklearn.metrics import r2_score",
        "from skphonon.learning import powder_network",
        "from skphonon.persistence import attach_card",
    )
    script.add(
        "trained on nine of ten, tested on the rest",
        f"n = len(X) - len(X) // {_HELD_OUT}",
        "network = powder_network(",
        "    store.grid,",
        "    n_conditions=len(conditions),",
        f"    n_components={components},",
        f"    max_epochs={epochs},",
        "    random_state=0,",
        "    verbose=1,",
        ")",
        "network.fit(X[:n], y[:n], forceconstantregressor__nuisance=nuisance[:n])",
        'told = r2_score(y[n:], network.predict(X[n:]), multioutput="raw_values")',
        "scores = dict(zip(store.parameter_names, told.round(4).tolist()))",
        'print("R2 of spectra that it was not trained on:")',
        "print(pd.Series(scores).to_string())",
        "if weak := [name for name, score in scores.items() if score < 0.3]:",
        "    print('Hardly told:', ', '.join(weak) + '. Spectra may not hold these,')",
        "    print('or are too few: simulate more, and expect wide error bars.')",
    )
    script.add(
        "what is written",
        'attach_card(network, X=X[:n], y=y[:n], scores={"R2": scores})',
        "skphonon.save_model(network, sys.argv[1])",
    )
    return _done(script, output, tell, "Network")


def fine_tune_network(
    network: Path, asked: Request, folder: Path, output: Path, tell: Tell
) -> str:
    """Tune a network to measured spectra, and write it to a file."""
    _check_new(output)
    _check_store(folder)
    asked.check_numbers()
    measured = None if asked.is_example else asked.measured
    for path in (measured, network):
        if path is not None and not path.exists():
            raise FileNotFoundError(f"There is no file {path}.")
    found, lines = measured_of(asked)
    check_network(network, found)
    script = Script(f"A network tuned to {asked.name}, by skphonon {__version__}.")
    script.add(
        "a trained network",
        f"network = skphonon.load_model({str(network.resolve())!r})",
    )
    add_spectrum(script, asked, found, lines)
    _add_store(script, folder)
    script.need(
        "from skphonon.learning import fine_tune",
        "from skphonon.persistence import attach_card",
    )
    script.add(
        "the extractor sees measured spectra; the regressor learns again",
        "rows = spectra.data",
        "if conditions:",
        "    rows = np.column_stack([rows, np.broadcast_to(",
        "        spectra.temperature, len(rows)",
        "    )])",
        "tuned = fine_tune(",
        "    network, rows, X, y, forceconstantregressor__nuisance=nuisance",
        ")",
        f"attach_card(tuned, X=X, y=y, notes={f'tuned to {asked.name}'!r})",
        "skphonon.save_model(tuned, sys.argv[1])",
    )
    return _done(script, output, tell, "Network")


def _add_store(script: Script, folder: Path) -> None:
    """Add lines that end with `X`, `y`, `conditions` and `nuisance`."""
    script.need(
        "import sys",
        "import numpy as np",
        "import pandas as pd",
        "import skphonon",
        "from skphonon.datasets import open_powder_spectra",
        "from skphonon.instrument.augmentation import nuisances_among",
    )
    script.add(
        "simulated spectra",
        f"store = open_powder_spectra({str(folder.resolve())!r})",
        "X, y = store.load()",
        "drawn = store.load_augmentation()",
        'conditions = [name for name in ("temperature",) if name in drawn]',
        "X = np.column_stack([X, drawn[conditions]])  # known: an input",
        "nuisance = pd.DataFrame(nuisances_among(drawn)).drop(columns=conditions)",
    )


def check_network(path: Path, found: Any) -> Any:
    """Return the network of a file; raise if it is not for the pixels measured."""
    from skphonon.persistence import load_model

    network = load_model(path)
    grid = getattr(network[0], "grid", None) if hasattr(network, "steps") else None
    if grid is None:
        raise ValueError(
            f"{path} holds no network for measured powders, such as skphonon train "
            f"makes, but a {type(network).__name__}."
        )
    if found is None or hasattr(found, "polar"):  # detectors are rebinned to it
        return network
    axes = found.grid.axes(), grid.axes()
    if any(
        len(one) != len(other) or not np.allclose(one, other)
        for one, other in zip(*axes, strict=True)
    ):
        raise ValueError(
            f"The network in {path} was trained for other pixels than those of the "
            "spectrum. Simulate spectra like it (skphonon simulate --like), and train "
            "anew."
        )
    return network


def _check_store(folder: Path) -> None:
    from skphonon.datasets import open_powder_spectra

    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    open_powder_spectra(folder)


def _check_new(output: Path) -> None:
    for path in (output, _script_of(output)):
        if os.path.lexists(path):
            raise ValueError(f"{path} is there already. Give another name (--output).")


def _check_picture(picture: Path, output: Path, number: int) -> None:
    from matplotlib.backend_bases import FigureCanvasBase

    if number > 1:
        raise ValueError("A picture (--picture) is of one spectrum, not of a set.")
    if os.path.lexists(picture) or picture.resolve() == output.resolve():
        raise ValueError(f"{picture} is there already. Give another name.")
    known = FigureCanvasBase.get_supported_filetypes()
    if picture.suffix.lstrip(".") not in known:
        raise ValueError(
            f"A picture must end in one of {', '.join(sorted(known))}, got {picture}."
        )
    if not picture.absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder {picture.parent}.")


def _script_of(output: Path) -> Path:
    """Return where the script is written that made an output."""
    return output.with_name(f"{output.name}.py")


def _done(script: Script, output: Path, tell: Tell, what: str) -> str:
    """Run a script, write it beside what it made, and say where that is."""
    beside = _script_of(output)
    text = str(script)
    if beside.exists() and beside.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{beside}, the script of other settings, is there already. Give another "
            "name (--output)."
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    run(text, output, tell)
    write_whole(beside, text.encode())
    return f"{what}: {output} (by {beside})"
