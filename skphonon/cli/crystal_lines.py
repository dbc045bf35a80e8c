"""Lines that make the model of a crystal, and say what is known of its constants."""

from typing import Any

from skphonon.cli.request import Request, read_structure
from skphonon.cli.script import Script
from skphonon.cli.spectrum_lines import edge_of

__all__ = ["add_crystal", "origin_of", "shells_of"]

_SHELLS = 3  # of a crystal without a calculation, where evidence is not asked
_TRIED = 1, 2, 3, 4  # shells that evidence chooses from


def origin_of(asked: Request) -> str:
    """Return in a sentence where the constants of the start come from."""
    if asked.structure is None:
        return "published constants of density functional theory, known to 10 %"
    if asked.is_calculated:
        return f"the calculation in {asked.structure.name}, energies known to 10 %"
    if asked.calculator is not None:
        return f"the force field {asked.calculator}"
    return (
        "central springs whose phonons end where the spectrum does, known to a factor "
        "of two; no calculation"
    )


def shells_of(asked: Request) -> tuple[int, ...]:
    """Return the numbers of shells to be compared by evidence; none if one is known."""
    known = asked.n_shells is not None or asked.is_calculated
    chosen = asked.method in ("least-squares", "posterior", "compare")
    return () if known or not chosen or asked.calculator else _TRIED


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
        script.need("from skphonon.datasets import sample_force_constants")
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


def _bare(asked: Request, n_shells: str) -> list[str]:
    """Return the expression of a crystal without constants."""
    assert asked.structure is not None
    lattice, positions, symbols = read_structure(asked.structure)
    return [
        "skphonon.ForceConstantModel(",
        f"    {lattice.tolist()!r},",
        f"    {symbols!r},",
        "    None,",
        f"    positions={positions.tolist()!r},",
        f"    n_shells={n_shells},",
        ")",
    ]


def _by_springs(asked: Request, found: Any) -> list[str]:
    highest = edge_of(asked, found)
    first, *more = _bare(asked, "n_shells")
    return [
        "def springs_of(n_shells):",
        '    """Return a crystal of springs: phonons end where the spectrum does."""',
        f"    crystal = {first}",
        *(f"    {line}" for line in more),
        f"    return with_springs(crystal, {highest:.1f})",
        "",
        "",
        "def prior_of(model):",
        "    return ShellPrior(model, independent=0.5, common=0.5)",
        "",
        "",
        f"model = springs_of({asked.n_shells or _SHELLS})",
        "prior = prior_of(model)",
    ]


def _by_force_field(script: Script, asked: Request) -> list[str]:
    first, *more = _bare(asked, str(asked.n_shells or _SHELLS))
    calculator = repr(asked.calculator)
    if asked.calculator == "emt":
        script.need("from ase.calculators.emt import EMT")
        calculator = "EMT()"
    return [
        f"crystal = {first}",
        *more,
        "# at rest and strained, which tells how sure the constants are",
        f"prior = sample_force_constants({calculator}, crystal, random_state=0)",
        "model = prior.model",
    ]
