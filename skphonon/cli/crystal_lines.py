"""Lines that make the model of a crystal, and say what is known of its constants."""

from typing import Any

from skphonon.cli.request import Request
from skphonon.cli.script import Script
from skphonon.cli.spectrum_lines import edge_of
from skphonon.physics import ForceConstantModel, with_springs

__all__ = ["add_crystal", "add_shells", "begins_with_springs", "origin_of"]

_SHELLS = 3  # of a crystal with a force field
_MOST = 4  # shells of which springs may need to be stable
_MORE = 3  # shells that evidence may add


def origin_of(asked: Request) -> str:
    """Return in a sentence where the constants of the start come from."""
    if asked.structure is None:
        return "published constants of density functional theory, known to 10 %"
    if asked.is_calculated:
        return f"the calculation in {asked.structure.name}, energies known to 10 %"
    if asked.calculator is not None:
        return f"the force field {asked.calculator}"
    return (
        "no calculation: springs of the nearest shells whose phonons end where the "
        "spectrum does, known to a factor of two, and fitted first"
    )


def begins_with_springs(asked: Request) -> bool:
    """Tell whether nothing is known of the constants beforehand."""
    return not asked.is_calculated and asked.calculator is None


def add_crystal(script: Script, asked: Request, found: Any) -> None:
    """Add lines that end with `model` and `prior`."""
    if asked.structure is None:
        script.need(
            "from skphonon.datasets import load_aluminium_model",
            "from skphonon.physics import ShellPrior",
        )
        lines = ["model = load_aluminium_model()"]
        if asked.n_shells is not None:
            lines.append(f"model = model.extended({asked.n_shells})")
        script.add("the crystal", *lines, "prior = ShellPrior(model, energies=0.1)")
    elif asked.is_calculated:
        script.need("from skphonon.physics import ShellPrior")
        script.add("the crystal", *_calculated(asked))
    elif asked.calculator is not None:
        script.need(
            "from skphonon.datasets import sample_force_constants",
            "from skphonon.physics import ShellPrior",
        )
        script.add("the crystal", *_by_force_field(script, asked))
    else:
        script.need("from skphonon.physics import ShellPrior, with_springs")
        script.add("the crystal", *_by_springs(asked, found))


def _calculated(asked: Request) -> list[str]:
    assert asked.structure is not None
    path = str(asked.structure.resolve())
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


def _bare(asked: Request, n_shells: int) -> str:
    """Return the line of a crystal without constants."""
    assert asked.structure is not None
    path = str(asked.structure.resolve())
    return f"skphonon.ForceConstantModel.from_structure({path!r}, n_shells={n_shells})"


def _by_springs(asked: Request, found: Any) -> list[str]:
    """Return lines of the nearest shells, of which springs make a stable crystal."""
    highest = edge_of(asked, found)
    assert asked.structure is not None
    for n_shells in range(1, _MOST + 1):
        bare = ForceConstantModel.from_structure(asked.structure, n_shells=n_shells)
        try:
            with_springs(bare, highest)
        except ValueError:
            if n_shells == _MOST:
                raise
            continue
        break
    return [
        "# the nearest shells: springs, so that phonons end where the spectrum does",
        f"model = {_bare(asked, n_shells)}",
        f"model = with_springs(model, {highest:.1f})",
        "prior = ShellPrior(model, independent=0.5, common=0.5)",
    ]


def add_shells(script: Script, asked: Request) -> None:
    """Add lines that fit the nearest shells, and then begin with more from there.

    They end with `model`, `prior` and `simulator` of the number that was given or that
    has most evidence. Far from its start a fit of many shells often ends in a wrong
    minimum; the nearest alone find their way.
    """
    least = "model.n_shells"
    tried = f"range({least}, {least} + {_MORE + 1})"
    if asked.n_shells is not None:
        tried = f"({asked.n_shells},)"
    script.need("import warnings", "from skphonon.inversion import compare_fits")
    script.add(
        "the nearest shells first; more begin from them, at zero",
        "def fit_of(model, prior):",
        "    inverter = inverter_of(simulator_of(model), prior).fit(measured.data)",
        "    with warnings.catch_warnings():  # of fits that are not the last",
        '        warnings.simplefilter("ignore")',
        "        inverter.predict(measured.data, errors=errors)",
        "    return inverter.fits_[0]",
        "",
        "",
        "nearest = fit_of(model, prior)",
        "model = model.replace(reference=nearest.parameters)",
        "models, fits = {}, {}",
        f"for n_shells in {tried}:",
        "    more = model.extended(n_shells) if n_shells > model.n_shells else model",
        '    name = f"{n_shells} shells"',
        "    models[name], fits[name] = more, fit_of(more, ShellPrior(more))",
        "shells = compare_fits(fits)  # the one with most evidence first",
        "print(shells.to_string())",
        "model = models[shells.index[0]]",
        "prior = ShellPrior(model)",
        "simulator = simulator_of(model)",
    )


def _by_force_field(script: Script, asked: Request) -> list[str]:
    calculator = repr(asked.calculator)
    if asked.calculator == "emt":
        script.need("from ase.calculators.emt import EMT")
        calculator = "EMT()"
    return [
        f"crystal = {_bare(asked, asked.n_shells or _SHELLS)}",
        "field = sample_force_constants(",
        f"    {calculator}, crystal, strains=(0.0,), random_state=0",
        ")",
        "model = field.model.replace(reference=field.mean_)",
        "prior = ShellPrior(model)  # force fields are often too soft as a whole",
    ]
