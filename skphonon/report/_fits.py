"""What a report tells of a fit or of a posterior."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from skphonon._warnings import warn_user
from skphonon.fitting.covariance import strongest_correlations
from skphonon.inspection import (
    CornerDisplay,
    DensityOfStatesDisplay,
    ElasticConstantsDisplay,
    PhononBandsDisplay,
    PosteriorPredictiveDisplay,
    ThermalDisplacementsDisplay,
    high_symmetry_path,
)
from skphonon.instrument.calibration_report import with_error
from skphonon.report._answers import Answer, answers_section, mean_over_columns
from skphonon.report._blocks import Section, code, picture, points, table, text

__all__ = ["sections_of", "simulator_of", "summary_of", "verdict_section"]

_MOST = 10  # correlations that are told
_LEAST = 0.5  # correlations that are told
_KELVINS = 31  # temperatures of a curve
_ROOM = 300.0  # K
_CORNER = 12  # parameters of a corner plot, at most
_OPEN = "Error bars hold all else that was fitted open"
_BARS = {
    "residual": f"{_OPEN}. They are of the noise that residuals show, which includes "
    "what the model does not describe; they tell nothing of a model that is wrong in "
    "another way.",
    "noise": f"{_OPEN}. They are of the noise that residuals show, taken for chance in "
    "every pixel.",
    "poisson": f"{_OPEN}. They are of the counting statistics of what is expected.",
    "systematic": f"{_OPEN}. They are of the noise that residuals show, and of how far "
    "other choices move the values.",
    "held": "Constants were not fitted here. Error bars are those that they came with.",
    "given": f"{_OPEN}. They come from the errors that were given for pixels.",
}


def simulator_of(fit: Any) -> Any:
    """Return what a fit, or that of a posterior, was simulated with."""
    return getattr(getattr(fit, "fit", fit), "simulator", None)


def summary_of(fit: Any) -> str:
    """Return in a line what was fitted."""
    parts = [f"{len(fit.parameter_names)} constants"]
    simulator = simulator_of(fit)
    kind = type(simulator).__name__ if simulator is not None else ""
    crystal = _crystal_of(fit)
    if crystal is not None and hasattr(crystal, "symbols"):
        parts.insert(0, "".join(dict.fromkeys(crystal.symbols)))
    temperature: Any = getattr(simulator, "temperature", None)
    if temperature is not None and np.ndim(temperature) == 0:
        parts.append(f"{float(temperature):g} K")
    return " · ".join([*parts, *([kind] if kind else [])])


def sections_of(
    fit: Any, temperature: float | None, answers: Mapping[str, Answer]
) -> list[Section]:
    """Return all that is told of a fit or a posterior, and of other answers."""
    drawn = hasattr(fit, "weights")  # a posterior
    sections = [verdict_section(fit, drawn)]
    if answers:
        sections.append(answers_section(answers))
    sections.append(_spectrum(fit, drawn))
    sections.append(_draws(fit) if drawn else _constants(fit))
    if not drawn:
        sections.append(_beside(fit))
    if _crystal_of(fit) is not None:
        sections += _physics(fit, temperature)
    elif hasattr(simulator_of(fit), "simulators"):
        words = "Not shown: the measurements have no model of one crystal."
        sections.append(Section("Phonons", [text(words)]))
    return [section for section in sections if section.blocks]


def verdict_section(fit: Any, drawn: bool) -> Section:
    """Return what is wrong, and what error bars mean."""
    verdict = fit.verdict_
    blocks: list[dict[str, Any]] = []
    if verdict.sound:
        blocks.append(text(str(verdict)))
    else:
        told = [(f.about, f"{f.text} {f.cause}".strip()) for f in verdict]
        blocks.append(points(told))
    if drawn:
        words = (
            f"{fit.n_draws} draws are worth {fit.n_effective:.0f} independent ones; "
            f"intervals hold 68 and 95 % of their weight."
        )
        if fit.beta < 1:
            words += (
                f" The likelihood counts {fit.beta:.2g} times, since residuals of "
                "neighbouring pixels are alike."
            )
        blocks.append(text(words))
    else:
        known = fit.figures.get("noise_known", False)
        chi2 = fit.figures.get("reduced_chi2", np.nan)
        words = f"chi² per degree of freedom {chi2:.3g}. " if np.isfinite(chi2) else ""
        kind = str(fit.figures.get("noise", "residual"))
        if known and kind not in ("poisson", "systematic", "held"):
            kind = "given"
        blocks.append(text(words + _BARS.get(kind, "")))
    return Section("Verdict", blocks, "good" if verdict.sound else "bad")


def _spectrum(fit: Any, drawn: bool) -> Section:
    blocks = []
    if drawn:
        made = _tried(lambda: PosteriorPredictiveDisplay.from_posterior(fit).plot())
        caption = "Measured, predicted, and the residual in its standard deviations."
        blocks += _pictured(made, caption)
        return Section("Spectrum", blocks)
    if getattr(fit.simulator, "grid", None) is None:
        words = "Not shown: the simulator has no grid, or is of several measurements."
        return Section("Spectrum", [text(words)])
    blocks += _pictured(
        _tried(fit.plot),
        "Measured and fitted spectrum on one scale, and what the fit leaves, in "
        "standard deviations of the pixels.",
    )
    blocks += _pictured(_tried(lambda: _cuts(fit)), _CUTS)
    return Section("Spectrum", blocks)


_CUTS = (
    "Mean over wavevectors at each energy: measured, fitted, and below the residual."
)


def _cuts(fit: Any) -> Any:
    """Draw the mean over wavevectors, where rows are an energy and a wavevector."""
    import matplotlib.pyplot as plt

    fitted = fit.spectrum - fit.residual
    found = mean_over_columns(fit.simulator.grid, fit.spectrum, fitted)
    if found is None:
        return None
    energy, *means = found
    figure, (above, below) = plt.subplots(
        2, sharex=True, figsize=(6, 4), height_ratios=(3, 1), layout="constrained"
    )
    above.plot(energy, means[0], ".", label="measured")
    above.plot(energy, means[1], label="fitted")
    above.legend(fontsize="small")
    above.set_ylabel("mean intensity")
    below.axhline(0, color="0.7", linewidth=0.8)
    below.plot(energy, means[0] - means[1], ".")
    below.set(xlabel="energy (meV)", ylabel="residual")
    return figure


def _constants(fit: Any) -> Section:
    frame = fit.to_frame()
    own = frame[frame["kind"] == "constant"]
    unit = "eV/Å²" if _crystal_of(fit) is not None else ""
    blocks = [_values(own, f"Constants{', ' + unit if unit else ''}")]
    names = fit.parameter_names
    strongest = strongest_correlations(fit.covariance, _LEAST)[:_MOST]
    if strongest:
        blocks.append(text("Strongest correlations of constants:"))
        pairs = [(f"{names[k]}, {names[i]}", f"{c:+.2f}") for i, k, c in strongest]
        blocks.append(points(pairs))
    return Section("Constants", blocks)


def _beside(fit: Any) -> Section:
    """Return what was fitted along."""
    frame, blocks = fit.to_frame(), []
    for kind, caption in (
        ("nuisance", "Fitted along"),
        ("weight", "Weights"),
    ):
        own = frame[frame["kind"] == kind]
        if len(own):
            blocks.append(_values(own, caption))
    if n_terms := int((frame["kind"] == "background").sum()):
        terms = "term" if n_terms == 1 else "terms"
        blocks.append(text(f"A background of {n_terms} smooth {terms}."))
    if len(fit.observed):
        blocks.append(table(fit.observed.set_index("quantity"), "Measured elsewhere"))
    return Section("Fitted along", blocks)


def _values(frame: pd.DataFrame, caption: str) -> dict[str, Any]:
    columns = ["value", "std", "start", "prior", "prior_std", "pull"]
    some = frame[[name for name in columns if frame[name].notna().any()]].copy()
    if frame["at_bound"].any():
        ends = {-1: "lower", 0: "", 1: "upper"}
        some["at bound"] = frame["at_bound"].map(ends)
    return table(some, caption)


def _draws(posterior: Any) -> Section:
    blocks = [table(posterior.summary(), "Means and intervals of the draws")]
    if len(posterior.modes) > 1:
        blocks.append(table(posterior.modes, "Answers, by their share"))
    figures = pd.DataFrame(
        {
            "value": {
                "efficiency": posterior.efficiency,
                "ln evidence": posterior.log_evidence,
                "its error": posterior.log_evidence_std,
                "shape of the largest weights": posterior.shape,
                "power of the likelihood": posterior.beta,
                "p of the predictive check": posterior.p_value,
            }
        }
    )
    blocks.append(table(figures, "How far to trust the draws"))
    if posterior.draws.shape[1] <= _CORNER:
        made = _tried(lambda: CornerDisplay.from_draws(posterior).plot())
        blocks += _pictured(made, "Constants and what was fitted along.")
    return Section("Constants", blocks)


def _physics(fit: Any, temperature: float | None) -> Iterator[Section]:
    """Yield what the crystal of the fitted constants does."""
    kelvin = temperature
    if kelvin is None:
        given = getattr(simulator_of(fit), "temperature", None)
        kelvin = _ROOM if given is None or np.ndim(given) else float(given)
    kelvins = np.linspace(0, max(2 * kelvin, _ROOM), _KELVINS)
    tasks: list[tuple[str, Callable[[], Any], str]] = [
        (
            "Phonons",
            lambda: PhononBandsDisplay.from_draws(fit).plot(),
            "Dispersion, with 68 % intervals.",
        ),
        (
            "Density of states",
            lambda: DensityOfStatesDisplay.from_draws(fit).plot(),
            "Phonon density of states, with 68 % intervals.",
        ),
        (
            "Displacements",
            lambda: ThermalDisplacementsDisplay.from_draws(
                fit, temperature=kelvins
            ).plot(),
            "Mean-square displacements of atoms against temperature.",
        ),
    ]
    parameters = getattr(getattr(fit, "fit", fit), "parameters", None)
    if parameters is not None and not fit.model.is_stable([parameters])[0]:
        words = "Not shown: the fitted crystal is unstable, and has no such thing."
        yield from (Section(title, [text(words)]) for title, *_ in tasks[2:])
        tasks = tasks[:2]
    for title, make, caption in tasks:
        made, notes = _heard(make)
        blocks = _pictured(made, caption)
        if title == "Phonons" and hasattr(made, "ticks"):
            found = _tried(lambda: _energies(fit))
            blocks += [text(found)] if isinstance(found, str) else found
        yield Section(title, [*blocks, *(text(note) for note in notes)])
    found = _tried(lambda: ElasticConstantsDisplay.from_draws(fit).data)
    if isinstance(found, str):
        yield Section("Elastic constants", [text(found)])
    else:
        shown = found.set_index("constant")[["value", "std", "low", "high"]]
        caption = "GPa, with 68 % intervals"
        yield Section("Elastic constants", [table(shown.rename_axis(None), caption)])


def _energies(fit: Any) -> list[dict[str, Any]]:
    """Return the energies at the labelled points of the path, with their errors."""
    model = _crystal_of(fit)
    points = {
        label: tuple(np.round(np.asarray(point, dtype=float), 6))
        for line in high_symmetry_path(model)
        for label, point in line
    }
    found = fit.energies(np.array(list(points.values())))
    pairs = zip(found["energy"], found["std"], strict=True)
    texts = [with_error(energy, std) for energy, std in pairs]
    n_modes = len(found) // len(points)
    rows = np.reshape(texts, (len(points), n_modes))
    frame = pd.DataFrame(rows, index=pd.Index(list(points), name="point"))
    frame.columns = [f"mode {number + 1}" for number in range(n_modes)]
    return [table(frame, "Energies in meV, with errors in the last digits")]


def _crystal_of(fit: Any) -> Any:
    model = getattr(fit, "model", None)
    return model if hasattr(model, "bond_tensors") else None


def _heard(make: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Return what is made, and what is warned of; the user hears it as well."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        made = _tried(make)
    for each in heard:
        warn_user(str(each.message), each.category)
    return made, list(dict.fromkeys(str(each.message) for each in heard))


def _tried(make: Callable[[], Any]) -> Any:
    """Return what is made, or in words why it is not."""
    try:
        return make()
    except ValueError as error:
        return f"Not shown: {error}"


def _pictured(made: Any, caption: str) -> list[dict[str, Any]]:
    if made is None:
        return []
    if isinstance(made, str):
        return [code(made)]
    return [picture(getattr(made, "figure_", made), caption)]
