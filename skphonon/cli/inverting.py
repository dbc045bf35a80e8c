"""From a file and a crystal to a folder with a report.

What is done is a script: it is written out first and then run, so that the one in the
folder did what the folder holds.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from skphonon._version import __version__
from skphonon.cli.crystal_lines import (
    add_crystal,
    add_shells,
    begins_with_springs,
    crystal_of,
    goes_by_evidence,
    origin_of,
    shells_of_network,
)
from skphonon.cli.method_lines import add_fit, add_simulator
from skphonon.cli.request import Request
from skphonon.cli.script import Script, run
from skphonon.cli.spectrum_lines import add_spectrum, measured_of
from skphonon.cli.training import check_network

__all__ = ["invert_file", "script_for"]

_LEAST = 100  # spectra that a network can be trained on


def invert_file(asked: Request, output: Path, tell: Callable[[str], None]) -> str:
    """Fit, write a folder whole or not at all, and return where the report is."""
    if os.path.lexists(output):
        raise ValueError(
            f"The output folder must not exist, got {output}, which does. Give another "
            "one (--output)."
        )
    asked.check()
    if asked.n_spectra < _LEAST:
        raise ValueError(
            f"A network needs {_LEAST} spectra and more, got --spectra "
            f"{asked.n_spectra}."
        )
    import matplotlib

    matplotlib.use("Agg")
    read = [asked.name, asked.structure.name if asked.structure else ""]
    tell(f"Reading {' and '.join(filter(None, read))} ...")
    script = script_for(asked)
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        tell("Comparing methods ..." if asked.method == "compare" else "Fitting ...")
        text = run(script, unfinished, tell)
        (unfinished / "log.txt").write_text(text, encoding="utf-8")
        (unfinished / "invert.py").write_text(script, encoding="utf-8")
        mask = os.umask(0)
        os.umask(mask)
        unfinished.chmod(0o777 & ~mask)  # a temporary folder is private
        output = _placed(unfinished, output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return f"Report: {output / 'report.html'}"


def _placed(folder: Path, wanted: Path) -> Path:
    """Rename a folder, to another name where another run has taken the wanted one."""
    output, number = wanted, 1
    while os.path.lexists(output):  # rename would take an empty folder away
        number += 1
        output = wanted.with_name(f"{wanted.name}-{number}")
    return folder.rename(output)


def script_for(asked: Request) -> str:
    """Return the script that does what is asked, with values from the files."""
    found, lines = measured_of(asked)
    script = Script(f"Force constants from {asked.name}, by skphonon {__version__}.")
    script.need("import sys", "from pathlib import Path", "import skphonon")
    script.add(
        "where results go",
        'folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")',
        "folder.mkdir(parents=True, exist_ok=True)",
    )
    if asked.network is not None:
        network = check_network(asked.network, found)
        path = str(asked.network.resolve())
        asked = asked._replace(n_shells=shells_of_network(asked, found, network))
        script.add("a trained network", f"network = skphonon.load_model({path!r})")
    crystal = crystal_of(asked, found)
    add_crystal(script, crystal)
    add_spectrum(script, asked, found, lines)
    add_simulator(script, asked)
    by_evidence = goes_by_evidence(asked, crystal)
    if by_evidence or begins_with_springs(asked):
        add_shells(script, asked, crystal)
    add_fit(script, asked)
    more = []
    if hasattr(found, "polar"):
        more.append("    'calibration': calibration,")
    if by_evidence:
        more.append("    'shells': f'{shells.to_string()}\\n\\nTaken: {chosen}',")
    _add_results(script, asked, more)
    return str(script)


def _add_results(script: Script, asked: Request, more: list[str]) -> None:
    """Add lines that write the folder; `more` are settings that the report tells."""
    script.need("import numpy as np", "from skphonon.report import Report")
    if asked.draws:
        own = [
            "fit = found.fit",
            "parameters = found.mean[: len(found.parameter_names)]",
            "table = found.summary()",
        ]
    else:
        own = ["fit = found", "parameters = found.parameters", "table = fit.to_frame()"]
    own += [
        'table.to_csv(folder / "constants.csv", index_label="name")',
        "try:",
        "    stored = model.to_phonopy(parameters)",
        "except ValueError as error:  # of some polar crystals",
        "    print(f'There is no phonopy_params.yaml. {error}')",
        "else:",
        "    stored.save(",
        '        folder / "phonopy_params.yaml", settings={"force_constants": True}',
        "    )",
        "rows = {",
        '    "measured": fit.spectrum,',
        '    "fitted": fit.spectrum - fit.residual,',
        '    "residual": fit.residual,',
        '    "sigma": fit.sigma,',
        "}",
        "np.savez(",
        '    folder / "fit.npz",',
        "    energy=simulator.grid.energy,",
        "    q=simulator.grid.q,",
        "    **{k: simulator.grid.to_image(v[None])[0] for k, v in rows.items()},",
        ")",
    ]
    if asked.method == "compare":
        script.need("import pandas as pd")
        own += [
            "columns = {}",
            "for name, answer in answers.items():",
            "    columns[name] = answer.fit.parameters",
            '    columns[f"{name} std"] = answer.std',
            "compared = pd.DataFrame(columns, index=simulator.parameter_names)",
            'compared.to_csv(folder / "compared.csv", index_label="name")',
        ]
    if asked.method == "compare" or (asked.method == "network" and not asked.network):
        script.need("from skphonon.persistence import attach_card")
        own += [
            "attach_card(network, simulator=simulator, X=X, y=y)",
            'skphonon.save_model(network, folder / "network.skops")',
        ]
    title = f"{asked.name}: force constants"
    structure = "published" if asked.structure is None else str(asked.structure)
    script.add(
        "what is written",
        *own,
        f"title = {title!r}",
        "settings = {",
        f"    'spectrum': {str(asked.measured)!r},",
        "    'source': str(measured.source or ''),",
        f"    'crystal': {structure!r},",
        f"    'start': {origin_of(asked)!r},",
        f"    'method': {asked.method!r},",
        *more,
        "}",
        "report = Report.from_fit(",
        "    found, title=title, answers=answers, settings=settings",
        ")",
        'report.save(folder / "report.html")',
        "print(found.verdict_)",
    )
