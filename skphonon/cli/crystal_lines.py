"""Lines that make the model of a crystal, and say what is known of its constants."""

import warnings
from typing import Any, NamedTuple

import numpy as np

from skphonon.cli.request import Request
from skphonon.cli.script import Script
from skphonon.cli.spectrum_lines import edge_of
from skphonon.datasets import load_aluminium_model
from skphonon.physics import ForceConstantModel, with_springs

__all__ = [
    "Crystal",
    "add_crystal",
    "add_shells",
    "begins_with_springs",
    "crystal_of",
    "goes_by_evidence",
    "origin_of",
    "shells_of_network",
]

_SHELLS = 3  # of a crystal with a force field
_MOST = 4  # shells of which springs may need to be stable
_MORE = 8  # shells that evidence may add
_IN_VAIN = 2  # shells that bring no evidence, after which no more are tried
_MANY = 40  # constants of a calculation to which no shells are added


class Crystal(NamedTuple):
    """A crystal as files tell it, and the lines that make its `model`.

    Parameters
    ----------
    model : ForceConstantModel
        With the shells that the lines give it; constants may be missing.
    imports, lines : list of str
        Of the script.
    knowledge : str
        Settings of the prior of its constants, after the model.
    """

    model: ForceConstantModel
    imports: list[str]
    lines: list[str]
    knowledge: str


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


def crystal_of(asked: Request, found: Any) -> Crystal:
    """Return the crystal, with the shells asked for, but for springs.

    These are of the nearest shells alone, to which :func:`add_shells` adds.
    """
    if asked.structure is None:
        return _published(asked)
    if asked.is_calculated:
        return _calculated(asked)
    if asked.calculator is not None:
        return _by_force_field(asked)
    return _by_springs(asked, found)


def goes_by_evidence(asked: Request, crystal: Crystal) -> bool:
    """Tell whether the spectrum chooses the shells.

    It does where nobody gave their number. A calculation of few shells, in a small
    supercell, is extended; one of many has them all. What a polar crystal has beyond
    its supercell phonopy cannot store, and a posterior of many constants takes long.
    """
    if asked.n_shells is not None or asked.structure is None:
        return False
    if not asked.is_calculated:
        return True
    few = len(crystal.model.parameter_names) <= _MANY
    return few and crystal.model.born_charges is None and not asked.draws


def shells_of_network(asked: Request, found: Any, network: Any) -> int:
    """Return for how many shells a network was trained."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a row that is no spectrum
        row = np.random.default_rng(0).random((1, network.n_features_in_))
        n_constants = network.predict(row).shape[1]
    own = crystal_of(asked._replace(n_shells=None), found).model
    for n_shells in range(own.farthest_shell, own.farthest_shell + _MORE + 1):
        if len(own.extended(n_shells).parameter_names) == n_constants:
            return n_shells
    for n_shells in range(1, own.farthest_shell):
        try:
            fewer = crystal_of(asked._replace(n_shells=n_shells), found).model
        except ValueError:  # than it must have
            continue
        if len(fewer.parameter_names) == n_constants:
            return n_shells
    raise ValueError(
        f"The network gives {n_constants} constants, the crystal has "
        f"{len(own.parameter_names)}, and no other number of shells has as many: it "
        "was trained for another crystal."
    )


def add_crystal(script: Script, crystal: Crystal) -> None:
    """Add lines that end with `model` and `prior`."""
    script.need("from skphonon.physics import ShellPrior", *crystal.imports)
    script.add("the crystal", *crystal.lines, _prior(crystal.knowledge))


def _prior(knowledge: str) -> str:
    return f"prior = ShellPrior({', '.join(filter(None, ['model', knowledge]))})"


def _extended(asked: Request, crystal: Crystal) -> Crystal:
    """Return a crystal with the shells asked for, if these are more than it has."""
    number, model = asked.n_shells, crystal.model
    if number is None or number == model.farthest_shell:
        return crystal
    lines = [
        *crystal.lines,
        "# shells beyond those of the calculation begin at zero",
        f"model = model.extended({number})",
    ]
    return crystal._replace(model=model.extended(number), lines=lines)


def _published(asked: Request) -> Crystal:
    model, number = load_aluminium_model(), asked.n_shells
    if number is not None and number < model.farthest_shell:
        raise ValueError(
            f"--shells must be at least {model.farthest_shell}, the shells of the "
            f"published constants, got {number}."
        )
    imports = ["from skphonon.datasets import load_aluminium_model"]
    lines = ["model = load_aluminium_model()"]
    return _extended(asked, Crystal(model, imports, lines, "energies=0.1"))


def _calculated(asked: Request) -> Crystal:
    assert asked.structure is not None
    path, number = str(asked.structure.resolve()), asked.n_shells
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the script reads it again
        model = ForceConstantModel.from_phonopy(path)
        fewer = ""
        if number is not None and number < model.farthest_shell:
            fewer = f", n_shells={number}"
            model = ForceConstantModel.from_phonopy(path, n_shells=number)
    line = f"model = skphonon.ForceConstantModel.from_phonopy({path!r}{fewer})"
    return _extended(asked, Crystal(model, [], [line], "energies=0.1"))


def _bare(asked: Request, n_shells: int) -> str:
    """Return the line of a crystal without constants."""
    assert asked.structure is not None
    path = str(asked.structure.resolve())
    return f"skphonon.ForceConstantModel.from_structure({path!r}, n_shells={n_shells})"


def _by_force_field(asked: Request) -> Crystal:
    calculator, imports = repr(asked.calculator), []
    if asked.calculator == "emt":
        imports = ["from ase.calculators.emt import EMT"]
        calculator = "EMT()"
    n_shells = asked.n_shells or _SHELLS
    return Crystal(
        ForceConstantModel.from_structure(asked.structure, n_shells=n_shells),
        ["from skphonon.datasets import sample_force_constants", *imports],
        [
            f"crystal = {_bare(asked, n_shells)}",
            "field = sample_force_constants(",
            f"    {calculator}, crystal, strains=(0.0,), random_state=0",
            ")",
            "model = field.model.replace(reference=field.mean_)",
        ],
        "",  # force fields are often too soft as a whole
    )


def _by_springs(asked: Request, found: Any) -> Crystal:
    """Return the nearest shells, of which springs make a stable crystal."""
    highest = edge_of(asked, found)
    assert asked.structure is not None
    for n_shells in range(1, _MOST + 1):
        model = ForceConstantModel.from_structure(asked.structure, n_shells=n_shells)
        try:
            with_springs(model, highest)
        except ValueError:
            if n_shells == _MOST:
                raise
            continue
        break
    if asked.n_shells is not None and asked.n_shells < model.farthest_shell:
        raise ValueError(
            f"--shells must be at least {model.farthest_shell}, got {asked.n_shells}: "
            "springs of fewer leave the crystal unstable. Give a calculation to begin "
            "with fewer."
        )
    return Crystal(
        model,
        ["from skphonon.physics import with_springs"],
        [
            "# the nearest shells: springs, so that phonons end where the spectrum "
            "does",
            f"model = {_bare(asked, n_shells)}",
            f"model = with_springs(model, {highest:.1f})",
        ],
        "independent=0.5, common=0.5",
    )


def add_shells(script: Script, asked: Request, crystal: Crystal) -> None:
    """Add lines that add shells: as many as are asked for, or have evidence.

    They end with `model`, `prior`, `simulator` and `start`. Far from its start a fit of
    many shells often ends in a wrong minimum; springs of the nearest find their way.
    """
    springs = begins_with_springs(asked)
    script.need("import warnings")
    script.add(
        "a fit whose warnings wait for the last one",
        "def fit_of(model, prior, start=None):",
        "    inverter = inverter_of(simulator_of(model), prior, start)",
        "    with warnings.catch_warnings():",
        '        warnings.simplefilter("ignore")',
        "        inverter.fit(measured.data).predict(measured.data, errors=errors)",
        "    return inverter.fits_[0]",
    )
    if springs:
        script.add(
            "springs of the nearest shells are fitted first",
            "model = model.replace(reference=fit_of(model, prior).parameters)",
        )
    if asked.n_shells is not None:
        script.add(
            "more shells begin from there, at zero",
            f"model = model.extended({asked.n_shells})",
        )
    else:
        _add_search(script, crystal.model.farthest_shell, largest=not asked.draws)
    script.add(
        "what is known of all of them",
        _prior("" if springs else crystal.knowledge),
        "simulator = simulator_of(model)",
    )


def _add_search(script: Script, least: int, *, largest: bool) -> None:
    """Add lines that add shells for as long as there is evidence for them."""
    chosen = ["chosen = shells.index[0]"]
    if largest:
        chosen = [
            "# of those with a twentieth of the most evidence the largest: it holds",
            "# the others, and its error bars do not hang on how many there are",
            "likely = shells.index[shells['log_evidence'] > -np.log(20)]",
            "chosen = max(likely, key=list(fits).index)",
        ]
    script.need("import numpy as np", "from skphonon.inversion import compare_fits")
    script.add(
        f"more shells, each at zero at first, until {_IN_VAIN} bring no evidence",
        "fits = {}",
        f"for n_shells in range({least}, {least + _MORE + 1}):",
        "    if fits:",
        "        ended = more.replace(reference=last.parameters)",
        "        start = ended.extended(n_shells).reference",
        "    more = model.extended(n_shells)",
        "    last = fit_of(more, ShellPrior(more), start)",
        '    fits[f"{n_shells} shells"] = last',
        "    with warnings.catch_warnings():",
        '        warnings.simplefilter("ignore")',
        "        shells = compare_fits(fits)  # the one with most evidence first",
        f"    if len(fits) - list(fits).index(shells.index[0]) > {_IN_VAIN}:",
        "        break",
        "else:",
        '    print("More shells may have evidence: give their number (--shells).")',
        "print(shells.to_string())",
        *chosen,
        "model, start = fits[chosen].model, fits[chosen].parameters",
        "print(f'Taken: {chosen}')",
    )
