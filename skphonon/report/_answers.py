"""Answers of several methods to one spectrum, side by side."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skphonon.inspection import PhononBandsDisplay
from skphonon.instrument import Measurement
from skphonon.instrument.calibration_report import with_error
from skphonon.instrument.maps import SpectrumMapDisplay
from skphonon.inversion import SpectrumFit
from skphonon.report._blocks import Section, picture, points, table, text

__all__ = ["Answer", "answers_section", "check_answer", "mean_over_columns"]

_STYLES = "-", "--", "-.", ":"  # lines that lie on each other are seen
_APART = 2.0  # combined error bars from which on methods are said to differ


class Answer(NamedTuple):
    """What one method made of a spectrum.

    Parameters
    ----------
    constants : ParameterDraws, Posterior or SpectrumFit
        Constants with their uncertainty, if the method has one:
        :func:`~skphonon.inspection.draw_parameters` makes draws of values and errors.
    std : array-like of shape (n_parameters,) or None
        Standard deviations of the constants.
    fit : SpectrumFit
        The spectrum with these constants and all else fitted, by
        :func:`~skphonon.inversion.fit_with_constants`.
    seconds : float or None, default=None
        How long the method took, training included.
    note : str, default=""
        What it is, in a sentence.
    """

    constants: Any
    std: Any
    fit: SpectrumFit
    seconds: float | None = None
    note: str = ""


def check_answer(name: str, answer: Answer, fit: Any) -> None:
    """Raise where an answer is not of the spectrum of a fit."""
    held = answer.fit
    if not isinstance(held, SpectrumFit):
        raise TypeError(
            f"The fit of the answer {name!r} must be a SpectrumFit, such as "
            f"fit_with_constants returns, got a {type(held).__name__}."
        )
    if held.parameter_names != fit.parameter_names or (
        held.spectrum.shape != fit.spectrum.shape
    ):
        raise ValueError(
            f"The answer {name!r} must have the constants and the pixels of the fit, "
            f"{fit.parameter_names} and {fit.spectrum.size}, got "
            f"{held.parameter_names} and {held.spectrum.size}."
        )
    if answer.std is not None and np.shape(answer.std) != held.parameters.shape:
        raise ValueError(
            f"std of the answer {name!r} must be {held.parameters.size} numbers, got "
            f"shape {np.shape(answer.std)}."
        )


def answers_section(answers: Mapping[str, Answer]) -> Section:
    """Return the section that compares them."""
    blocks: list[dict[str, Any]] = [
        text(
            "Constants of each method, and the spectrum that they make with all else "
            "(resolution, lattice, scale, background) fitted, so that one measure, the "
            "NMSE, judges the constants alone."
        ),
        table(_figures(answers), "Methods"),
        table(_constants(answers), "Constants, with errors in the last digits"),
    ]
    blocks += [text(words) for words in _disagreements(answers)]
    if notes := [(name, each.note) for name, each in answers.items() if each.note]:
        blocks.append(points(notes))
    blocks += list(_pictures(answers))
    return Section("Methods", blocks)


def _figures(answers: Mapping[str, Answer]) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "NMSE": {name: each.fit.figures["loss"] for name, each in answers.items()},
            "seconds": {name: each.seconds for name, each in answers.items()},
        },
        dtype=float,
    )
    return frame.rename_axis("method").round({"seconds": 1})


def _constants(answers: Mapping[str, Answer]) -> pd.DataFrame:
    names = next(iter(answers.values())).fit.parameter_names
    columns = {
        name: [
            with_error(value, std) for value, std in zip(*_values(each), strict=True)
        ]
        for name, each in answers.items()
    }
    return pd.DataFrame(columns, index=pd.Index(names, name="constant"))


def _values(answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """Return constants and their errors, NaN where the method has none."""
    values = answer.fit.parameters
    if answer.std is None:
        return values, np.full(len(values), np.nan)
    return values, np.asarray(answer.std, dtype=float)


def _disagreements(answers: Mapping[str, Answer]) -> Iterator[str]:
    """Yield a sentence for each two methods whose error bars do not meet."""
    known = [(n, a) for n, a in answers.items() if a.std is not None]
    found = False
    for place, (name, one) in enumerate(known):
        for other_name, other in known[place + 1 :]:
            (a, da), (b, db) = _values(one), _values(other)
            apart = np.abs(a - b) / np.hypot(da, db)
            worst = int(np.nanargmax(apart)) if np.isfinite(apart).any() else 0
            if apart[worst] > _APART:
                found = True
                constant = one.fit.parameter_names[worst]
                yield (
                    f"{name} and {other_name} differ by {apart[worst]:.1f} of their "
                    f"combined error bars in {constant}: at least one of these error "
                    "bars is too narrow, or one model is wrong."
                )
    if len(known) > 1 and not found:
        yield (
            f"No two methods differ by more than {_APART:g} of their combined error "
            "bars in any constant."
        )


def _pictures(answers: Mapping[str, Answer]) -> Iterator[dict[str, Any]]:
    first = next(iter(answers.values())).fit
    if getattr(first.simulator, "grid", None) is not None:
        yield picture(
            _residual_maps(answers).figure_,
            "What the constants of each method leave of the spectrum, in standard "
            "deviations of its pixels.",
        )
        if (figure := _profiles(answers)) is not None:
            yield picture(figure, "Mean over wavevectors at each energy, by method.")
    if hasattr(first.model, "bond_tensors"):
        bands = PhononBandsDisplay.from_draws(
            {name: each.constants for name, each in answers.items()}
        )
        yield picture(
            bands.plot().figure_,
            "Dispersion by method, with 68 % intervals where it has error bars.",
        )


def _residual_maps(answers: Mapping[str, Answer]) -> SpectrumMapDisplay:
    fits = {name: each.fit for name, each in answers.items()}
    sigma = min(fits.values(), key=lambda fit: fit.figures["loss"]).sigma
    shown = [
        Measurement(fit.residual / sigma, fit.simulator.grid) for fit in fits.values()
    ]
    display = SpectrumMapDisplay.from_measurements(
        shown, list(fits), differences=range(len(shown))
    )
    return display.plot()


def _profiles(answers: Mapping[str, Answer]) -> Any:
    """Draw means over wavevectors, measured and by method, and what each leaves."""
    import matplotlib.pyplot as plt

    means = {}
    for name, each in answers.items():
        fit = each.fit
        rows = fit.spectrum, fit.spectrum - fit.residual
        found = mean_over_columns(fit.simulator.grid, *rows)
        if found is None:
            return None
        means[name] = found
    figure, (above, below) = plt.subplots(
        2, sharex=True, figsize=(6, 5), height_ratios=(2, 1), layout="constrained"
    )
    for number, (name, (energy, measured, made)) in enumerate(means.items()):
        if not number:
            above.plot(energy, measured, "k.", label="measured")
        style = _STYLES[number % len(_STYLES)]
        above.plot(energy, made, style, label=name)
        below.plot(energy, measured - made, style)
    above.legend(fontsize="small")
    above.set_ylabel("mean intensity")
    below.axhline(0, color="0.7", linewidth=0.8)
    below.set(xlabel="energy (meV)", ylabel="residual")
    return figure


def mean_over_columns(
    grid: Any, measured: np.ndarray, made: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return energies and the means of two spectra over the pixels that both have.

    None where the pixels are not an energy and one other axis.
    """
    images = [grid.to_image(row[None])[0] for row in (measured, made)]
    if images[0].ndim != 2:
        return None
    both = np.isfinite(images[0]) & np.isfinite(images[1])
    number = both.sum(axis=1)
    kept = number > 0
    first, second = (
        np.where(both, image, 0.0).sum(axis=1)[kept] / number[kept] for image in images
    )
    return np.asarray(grid.energy)[kept], first, second
