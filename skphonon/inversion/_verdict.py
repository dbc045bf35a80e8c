"""What is wrong with a fit: a short list of findings, with figures and causes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2

from skphonon.fitting.knowledge import pull_of
from skphonon.inversion._errors import correlation_lengths, image_of
from skphonon.inversion._goodness import is_misfit
from skphonon.inversion._mode_energies import energies_with_std
from skphonon.physics.zone import ZoneMesh, resolving_points

__all__ = ["Finding", "Verdict", "ended_at_bound", "judge"]

_FAR = 3.0  # standard deviations from what was known
_RARE = 1e-3  # probability of a pull of the prior
_LARGE = 0.1  # share of the misfit that a cause explains
_MOST = 0.3  # share of the misfit that a cause must explain to be all that is told
_SURE = 25.0  # gain in chi^2 of a cause, beside what as many terms gain by chance
_MUCH = 0.4  # share of the intensity that a polynomial takes
_MOVED = 2.0  # standard deviations by which another choice moves a parameter
_SHIFT = 2e-3  # of a lattice: smaller ones are no news
_NO_SAMPLE = 0.01  # share of the intensity
_POINTS = 3  # of the mesh on which energies are compared with a prior
_OUTSIDE = 0.1  # share of energies outside the band of a prior
_AS_NOISE = 1.05  # residuals over noise
_HELD = (
    "The constants were not fitted, and may be wrong: fit them by least squares that "
    "begin there (search=Search(initial=...)), and see what that changes."
)
_CAUSES = {
    "energy_offset": "Energies are off by {step:+.2g}({std:.1g}) meV: calibrate the "
    "measurement by its elastic line, or correct the incident energy.",
    "energy_scale": "Energies are off by a factor 1{step:+.3f}: check the incident "
    "energy.",
    "energy_resolution": "The energy resolution is another one: fit it along, "
    "nuisance={{'energy_resolution': (low, high)}}.",
    "energy_resolution_slope": "The resolution changes otherwise with energy: fit "
    "'energy_resolution_slope' along.",
    "q_resolution": "The resolution in |Q| is another one: fit 'q_resolution' along.",
    "q_offset": "|Q| is off by {step:+.2g} 1/Angstrom: calibrate it by Bragg lines.",
    "q_scale": "|Q| is off by a factor 1{step:+.3f}: calibrate it by Bragg lines, or "
    "correct the incident energy or the lattice.",
    "lattice_scale": "The lattice of the model is off by a factor 1{step:+.3f}: give "
    "the measured one, model.replace(lattice=...), or calibrate |Q|.",
    "two_theta_offset": "Scattering angles are off by {step:+.2g} degrees: calibrate.",
    "mean_square_displacement": "Displacements differ by {step:+.2g} Angstrom^2 from "
    "those of the constants: fit 'mean_square_displacement' along.",
    "temperature": "The sample was at another temperature, by {step:+.3g}({std:.1g}) "
    "K, or the spectrum is another quantity (S or chi''): give the right ones.",
    "multiple scattering": "Multiple scattering: add contributions="
    "{{'multiple scattering': MultipleScattering()}}.",
    "background of a higher degree": "The background has more shape: raise its degree, "
    "or find out what it is.",
    "2 more shells": "More shells interact: take model.extended(n_shells) with a "
    "ShellPrior.",
}
_HOLDER = (
    "Scattering of {name}: add contributions={{'can': '{material}'}}, or a measured "
    "empty can."
)
_TAIL = (
    "The elastic line, {name}: crop the energies next to it, or add contributions="
    "{{'tail': ElasticTail({width})}}."
)
_UNKNOWN = (
    "Nothing that was tried explains {it}: another material, another incident energy, "
    "or something beside the sample."
)


_NAMED = 5  # constants that a finding names


class Finding(NamedTuple):
    """One thing that is wrong.

    Parameters
    ----------
    about : str
        In a word: "convergence", "sample", "identifiability", "stability", "answers",
        "misfit", "lattice", "prior", "observables", "energies", "displacement",
        "bound", "background", "choices"; of a posterior also "draws" and "prediction".
    figure : float
        How far.
    text : str
        In a sentence.
    cause : str
        The likeliest, and what to do.

    Examples
    --------
    >>> from skphonon.inversion import Finding
    >>> Finding("lattice", 0.02, "It is 2 % off.").about
    'lattice'
    """

    about: str
    figure: float
    text: str
    cause: str = ""


class Verdict(Sequence):
    """Findings of a fit or a posterior, the gravest first; empty if there are none.

    Parameters
    ----------
    findings : sequence of Finding
        What was found.

    Examples
    --------
    >>> from skphonon.inversion import Finding, Verdict
    >>> Verdict([]).sound
    True
    >>> Verdict([Finding("lattice", 0.02, "It is 2 % off.", "Give the measured one.")])
    lattice: It is 2 % off. Give the measured one.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = tuple(findings)

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self._findings

    def __getitem__(self, number: Any) -> Any:
        """Return a finding, or several."""
        return self._findings[number]

    def __len__(self) -> int:
        """Return the number of findings."""
        return len(self._findings)

    def __str__(self) -> str:
        if self.sound:
            return "Nothing was found that speaks against this fit."
        return "\n".join(
            f"{each.about}: {each.text}" + (f" {each.cause}" if each.cause else "")
            for each in self
        )

    __repr__ = __str__


def judge(fit: Any) -> Verdict:
    """Return what is wrong with a fit."""
    figures = fit.figures
    found = []
    if not figures.get("converged", True):
        text = "The search did not converge, so that values and errors mean nothing."
        found.append(Finding("convergence", np.nan, text, "See the warning."))
    _sample(fit, found)
    _undetermined(fit, found)
    _stability(fit, found)
    cause = _misfit(fit, found)
    _nuisances(fit, found)
    _prior(fit, found, cause)
    _observed(fit, found)
    _bounds(fit, found)
    if fit.shares is not None:
        share = max(
            (v for k, v in fit.shares.items() if str(k).startswith("background")),
            default=0.0,
        )
        if share > _MUCH:
            text = f"A polynomial background took {share:.0%} of the intensity."
            advice = "Name what it stands for, by contributions, as far as it is known."
            found.append(Finding("background", float(share), text, advice))
    _choices(fit, found)
    if len(fit.others):
        off = np.abs(fit.others - fit.parameters) / np.where(fit.std > 0, fit.std, 1.0)
        text = (
            f"There are {1 + len(fit.others)} answers: another search ended about as "
            f"likely, up to {off.max():.2g} standard deviations off."
        )
        advice = "Quote both (fit.others), or give what tells them apart."
        found.insert(0, Finding("answers", float(off.max()), text, advice))
    return Verdict(found)


def _sample(fit, found):
    """Judge whether the sample was found at all."""
    if fit.shares is None or len(fit.shares) < 2:
        return
    share, weight = float(fit.shares.iloc[0]), fit.nuisance.get("scale", np.nan)
    std = fit.nuisance.get("scale std", np.nan)
    if not (share < _NO_SAMPLE or weight < 2 * std or fit.at_bound.get("scale", 0)):
        return
    text = f"The sample has {share:.1%} of the intensity; constants mean nothing."
    advice = (
        "It cannot be told from what lies beside it: subtract a measured empty can, or "
        "leave contributions out."
    )
    found.append(Finding("sample", share, text, advice))


def _undetermined(fit, found):
    """Judge whether the spectrum tells the constants."""
    std, largest = fit.std, np.abs(fit.parameters).max(initial=0.0)
    free = ~np.isfinite(std) | (std > largest) if largest > 0 else ~np.isfinite(std)
    if not free.any():
        return
    names = [name for name, each in zip(fit.parameter_names, free, strict=True) if each]
    some = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    text = (
        f"The spectrum does not determine {some}: errors are larger than the largest "
        "constant."
    )
    advice = (
        "Phonons that hang on them mean nothing: measure in more directions, give a "
        "prior, or take fewer parameters (model.reduced, fewer shells)."
    )
    found.append(Finding("identifiability", float(free.sum()), text, advice))


def _stability(fit, found):
    """Judge whether the crystal holds together."""
    if not hasattr(fit.model, "is_stable") or fit.model.is_stable([fit.parameters])[0]:
        return
    text = "The fitted crystal is unstable: some frequencies are imaginary."
    advice = (
        "Its soft modes scatter nothing here, and errors do not hold: give a prior, or "
        "mend what is found below."
    )
    found.append(Finding("stability", np.nan, text, advice))


def _misfit(fit, found):
    """Judge the residuals; return the likeliest cause of what they tell."""
    figures = fit.figures
    square = float(figures["reduced_chi2"])
    table, likely = fit.lacking_, []
    for name, row in table.iterrows():
        by_chance = row["n_terms"] + 3 * np.sqrt(2 * row["n_terms"])
        if row["gain"] > _SURE + by_chance and row["share"] > _LARGE:
            if name == "temperature" and not _is_above_zero(fit, row["step"]):
                continue
            likely.append((name, row))
    if not is_misfit(figures) and not likely:
        return ""
    alike = _alike(fit)
    ratio = np.sqrt(square)
    size = f"{ratio:.2g} times noise" if ratio > _AS_NOISE else "as small as noise"
    text = f"Residuals are {size}{alike}."
    if figures.get("noise") == "held":
        found.append(Finding("misfit", square, text, _HELD))
        return _HELD
    cause = _UNKNOWN.format(it="it")
    if likely:
        cause = " Or: ".join(_cause(name, row) for name, row in likely[:2])
        if max(row["share"] for _, row in likely) < _MOST:
            cause = f"{_UNKNOWN.format(it='most of it')} A part: {cause}"
    found.append(Finding("misfit", square, text, cause))
    return cause


def _is_above_zero(fit, step):
    """Tell whether a change of the temperature, to first order, leaves it one."""
    return float(getattr(fit.simulator, "temperature", np.inf)) + step > 0


def _cause(name, row):
    share = f"({row['share']:.0%} of the misfit) "
    if name.startswith("an elastic tail of "):
        width = name.removeprefix("an elastic tail of ").removesuffix(" meV")
        return share + _TAIL.format(name=name, width=width)
    if name.startswith("a holder of "):
        material = name.removeprefix("a holder of ")
        return share + _HOLDER.format(name=name, material=material)
    return share + _CAUSES.get(name, name).format(step=row["step"], std=row["std"])


def _alike(fit):
    """Tell over how many pixels residuals are alike."""
    image = image_of(fit.simulator, fit.residual)
    if image is None:
        return ""
    lengths = correlation_lengths(fit.residual[image[1]], image)
    if not any(lengths):
        return ", and independent from pixel to pixel"
    told = " x ".join(str(1 + each) for each in lengths)
    return f", and alike over {told} pixels (energy first)"


def _nuisances(fit, found):
    """Judge what was fitted along against what it should be."""
    known = fit.nuisance
    for name in ("lattice_scale", "q_scale"):
        value, std = known.get(name), known.get(f"{name} std", np.nan)
        if value is None or not np.isfinite(std):
            continue
        off = value - 1.0
        at_bound = bool(fit.at_bound.get(name, 0))
        if abs(off) > max(_FAR * std, _SHIFT) or (at_bound and abs(off) > _SHIFT):
            text = f"{name} = {value:.4f}({std:.4f}) is not 1."
            cause = (
                "Give the measured lattice (model.replace(lattice=...)), calibrate "
                f"|Q|, check the incident energy ({abs(2 * off):.1%} off does this), "
                "and name what lies under the sample."
            )
            found.append(Finding("lattice", float(off), text, cause))
    value = known.get("mean_square_displacement")
    std = known.get("mean_square_displacement std", np.nan)
    if value is not None and np.isfinite(std) and value < -_FAR * std:
        text = (
            f"Displacements are smaller than the constants give, by {-value:.2g}"
            f"({std:.1g}) Angstrom^2."
        )
        cause = "Intensity at large |Q| is not of the sample, or of several phonons."
        found.append(Finding("displacement", float(value), text, cause))


def _prior(fit, found, cause):
    """Judge constants and energies against what was known of them."""
    if fit.prior is None:
        return
    mean, covariance = fit.prior
    pull = pull_of(fit.parameters, mean, covariance)
    n = len(mean)
    if chi2.sf(pull, n) < _RARE:
        text = f"Constants left the prior: chi^2 {pull:.3g} of {n}."
        advice = cause and "The misfit above may be the cause. "
        advice += "Else the prior is too narrow, or the material is another one."
        found.append(Finding("prior", pull / n, text, advice))
    outside = _energies_outside(fit, mean, covariance)
    if outside > _OUTSIDE:
        text = f"{outside:.0%} of the energies are {_FAR:g} deviations off the prior's."
        advice = "Another material, a wrong incident energy, or too narrow a prior."
        found.append(Finding("energies", outside, text, advice))


def _observed(fit, found):
    """Judge what was measured elsewhere."""
    table = fit.observed
    if not len(table):
        return
    off = table["deviation"].to_numpy()
    square = float(off @ off)
    worst = int(np.abs(off).argmax())
    if abs(off[worst]) < _FAR and chi2.sf(square, len(off)) > _RARE:
        return
    text = (
        f"What was measured elsewhere disagrees: {table['quantity'][worst]} is "
        f"{off[worst]:+.1f} deviations off, chi^2 {square:.3g} of {len(off)} values."
    )
    cause = (
        "Spectrum, prior and these values contradict each other: check units and "
        "errors, or let more shells interact."
    )
    found.append(Finding("observables", abs(float(off[worst])), text, cause))


def _energies_outside(fit, mean, covariance):
    """Return the share of energies outside the band of the prior."""
    model = fit.model
    if not hasattr(model, "frequencies"):
        return 0.0
    points = resolving_points(model, ZoneMesh(_POINTS)).wavevectors
    reduced = points @ np.linalg.inv(model.reciprocal_lattice())
    known, known_std = energies_with_std(model, mean, covariance, reduced)
    now, std = energies_with_std(model, fit.parameters, fit.covariance, reduced)
    return float((np.abs(now - known) > _FAR * np.hypot(std, known_std)).mean())


def _bounds(fit, found):
    there = fit.at_bound[fit.at_bound != 0]
    told = {each.about for each in found}
    names = [n for n in there.index if n != "lattice_scale" or "lattice" not in told]
    if names:
        found.append(ended_at_bound(names))


def ended_at_bound(names):
    """Return the finding that values ended at bounds."""
    text = f"Ended at a bound: {', '.join(names)}."
    cause = (
        "Widen it, unless it is a limit of nature or of a calibration; a weight of "
        "0 can be left out."
    )
    return Finding("bound", float(len(names)), text, cause)


def _choices(fit, found):
    if fit.choices is None or not np.any(fit.of_choices):
        return
    n = len(fit.parameter_names)
    moved = fit.choices.iloc[:, :n].abs()
    if not moved.size or moved.to_numpy().max() <= _MOVED:
        return
    row, column = np.unravel_index(moved.to_numpy().argmax(), moved.shape)
    choice, name = str(moved.index[row]), fit.parameter_names[column]
    figure = float(moved.to_numpy().max())
    how = f"With the {choice}" if "left out" in choice else f"With {choice}"
    text = f"{how}, {name} would move by {figure:.2g} of its standard deviations."
    cause = (
        "Error bars hold what of it is more than noise; look at the residuals there."
    )
    found.append(Finding("choices", figure, text, cause))
