r"""A measurement with its energies and \|Q\| moved to where they belong.

And whether Bragg lines tell enough for that: a crystal that is not the sample finds
some lines by chance, and bins as wide as lines do not tell where these are.
"""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from skphonon.instrument._energy_rows import wavenumber
from skphonon.instrument._excess import small_sample
from skphonon.instrument._whole_pattern import WholeFit
from skphonon.instrument.angle_grid import AngleGrid
from skphonon.instrument.bragg import BraggLine, Pattern
from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.instrument.elastic_line import ElasticFit
from skphonon.instrument.grid import SpectrumGrid
from skphonon.instrument.measurement import Measurement
from skphonon.instrument.phases import CLEAR, TERMS, Expected, ModuliFit, offset_term

Array = NDArray[np.float64]

#: Lines that must tell of |Q|.
FEWEST = 5

_BEYOND_ERROR = 3.0  # standard errors that a zero must differ from 0 to be applied
_STRONGEST = 6  # lines, most of which must be of the sample
_CONVINCING = 0.6  # share of them
_BY_CHANCE = 0.01  # probability that a wrong crystal finds as many lines
_TRIES = 20  # scales and offsets that the search takes its best from, independent
_AGREE = 11.8  # chi squared of two terms, at three standard errors
_WORSE = 4.0  # by which it may exceed that of no correction
_CHANGES = (
    "energy_zero",
    "incident_energy",
    "two_theta",
    "q_scale",
    "q_offset",
    "dead",
    "noisy",
)
_FACTORS = {"incident_energy", "q_scale"}
_OFFSETS = {"two_theta", "q_offset"}
_TWICE = 2.0  # errors of a calibration by which one after it must move |Q|
_FWHM = 2.355  # of a Gaussian, in standard deviations


class Agreement(NamedTuple):
    """How well the lines found are those of a crystal.

    Parameters
    ----------
    n_lines, n_matched : int
        Lines found, and those of the crystal.
    n_strong, n_strong_matched : int
        The same of the strongest.
    chance : float
        Upper bound for the probability that a wrong crystal matches as many.
    """

    n_lines: int
    n_matched: int
    n_strong: int
    n_strong_matched: int
    chance: float

    @property
    def convinces(self) -> bool:
        """Whether the crystal is the sample for all that lines tell."""
        strong = self.n_strong_matched >= _CONVINCING * self.n_strong
        return strong and self.chance < _BY_CHANCE


def agreement_of(
    lines: Sequence[BraggLine], expected: Expected, moduli: ModuliFit, k: float | None
) -> Agreement:
    """Compare the number of lines that a crystal explains with that by chance."""
    q, width, std, area = np.array([(x.q, x.width, x.q_std, x.area) for x in lines]).T
    matched = moduli.reflection >= 0
    strong = np.argsort(-area)[:_STRONGEST]
    # what is within reach of a line expected, at its place as fitted
    x = np.linspace(q.min(), q.max(), 4000)
    reach = np.interp(x, q, np.clip(width + 2 * std, 0.0, 2 * width))
    right = (x - moduli.terms[1] * offset_term(x, k)) / moduli.terms[0]
    share = float((np.abs(right[:, None] - expected.q).min(axis=1) <= reach).mean())
    n_matched = int(matched.sum())
    chance = min(_TRIES * float(binom.sf(n_matched - 1, len(lines), share)), 1.0)
    return Agreement(
        len(lines), n_matched, len(strong), int(matched[strong].sum()), chance
    )


def bin_error(lines: Sequence[BraggLine], pattern: Pattern) -> float:
    """Return the error of places in 1/Angstrom that bins as wide as lines leave.

    0 where points of the pattern are closer than lines are wide (half maximum).
    """
    step = float(np.median(np.diff(pattern.q)))
    width = float(np.median([line.width for line in lines]))
    return step / np.sqrt(12) if step >= _FWHM * width else 0.0


def cautious_moduli(
    moduli: ModuliFit, expected: Expected, coarse: float
) -> tuple[ModuliFit, bool]:
    """Return the fit with errors of wide bins, and if lines are enough.

    Where they are not, nothing is corrected.
    """
    n_used = int(moduli.used.sum())
    few = n_used < FEWEST

    tau = expected.q[moduli.reflection[moduli.used]]
    of_bins = coarse / float(np.linalg.norm(tau))
    scale_std = float(np.hypot(moduli.scale_std, of_bins * small_sample(n_used, 1)))
    if few or coarse:
        moduli = moduli._replace(model=(), terms=(1.0, 0.0), terms_std=(0.0, 0.0))
    return moduli._replace(scale_std=scale_std), not (few or coarse)


def confirmed_moduli(
    moduli: ModuliFit, whole: WholeFit | None, terms: Sequence[str]
) -> tuple[ModuliFit, bool]:
    """Return the fit to lines, or where the whole pattern tells better, of that.

    Lines that overlap are not where the search finds them. The second tells whether it
    is that of the pattern.
    """
    if whole is None:
        return moduli, False
    found = whole.distance(moduli.terms, moduli.terms_std)
    nothing = whole.distance((1.0, 0.0), moduli.terms_std)
    model, values, std = whole.model(terms, CLEAR)
    agrees = found <= min(_AGREE, nothing + _WORSE)
    surer = model == moduli.model and (np.array(std) <= moduli.terms_std).all()
    if agrees and not surer:
        return moduli, False
    return moduli._replace(model=model, terms=values, terms_std=std), bool(model)


class ModuliStory(NamedTuple):
    r"""What was found of \|Q\|, of which a `correct_q` may leave out a part.

    Parameters
    ----------
    lines : ModuliFit
        Of lines alone, with all terms that are significant.
    pattern : tuple of tuple of float or None
        Scale and offset of the whole pattern, and their errors, of terms that are
        significant; None where it was not fitted.
    best : ModuliFit
        What is taken of these.
    reason : str
        Why not all of the best is applied; "" if it is.
    """

    lines: ModuliFit
    pattern: tuple[tuple[float, float], tuple[float, float]] | None
    best: ModuliFit
    reason: str


def considered_moduli(
    measurement: Measurement,
    fits: tuple[ModuliFit, ModuliFit],
    whole: WholeFit | None,
    terms: Sequence[str],
    lines: Sequence[BraggLine],
    expected: Expected,
    k: float | None,
) -> tuple[ModuliFit, ModuliStory]:
    """Return what is to be applied of two fits to lines, and why no more.

    Parameters
    ----------
    measurement : Measurement
        What is calibrated.
    fits : tuple of ModuliFit
        Of all terms, and of those that may be applied.
    whole : WholeFit or None
        Of the whole pattern.
    terms : sequence of str
        What may be applied.
    lines, expected, k : optional
        As for `fit_moduli`.

    Returns
    -------
    moduli : ModuliFit
        What to apply.
    story : ModuliStory
        What was found.
    """
    best, _ = confirmed_moduli(fits[0], whole, TERMS)
    chosen, _ = confirmed_moduli(fits[1], whole, terms)
    pattern = None if whole is None else whole.model(TERMS, CLEAR)[1:]
    reason = ""
    if not terms:
        reason = 'correct_q="none"'
    elif not chosen.model:
        which = {"scale": "a factor alone", "offset": "an offset alone"}
        reason = (
            f"{' or '.join(which[each] for each in terms)} does not differ from "
            f"nothing by {CLEAR:.0f} standard errors"
        )
    elif chosen.model != best.model:
        reason = f'correct_q="{terms[0]}" leaves the rest as it is'
    nothing = chosen._replace(model=(), terms=(1.0, 0.0), terms_std=(0.0, 0.0))
    if not _is_possible(measurement, chosen):
        chosen, reason = nothing, "the offset would make a bin negative"
    again = _changes_again(measurement, chosen, lines, k)
    if again:
        chosen, reason = nothing, again
    deviations = _worse_deviations(lines, expected, chosen, k)
    if deviations:
        chosen = nothing
        reason = (
            f"lines would be further from their places, {100 * deviations[1]:.2f} % "
            f"in the median instead of {100 * deviations[0]:.2f} %"
        )
    return chosen, ModuliStory(fits[0], pattern, best, reason)


def _worse_deviations(
    lines: Sequence[BraggLine], expected: Expected, moduli: ModuliFit, k: float | None
) -> tuple[float, float] | None:
    """Return median deviations without and with a correction that makes them larger.

    None if it does not, or within the error of the median.
    """
    if not moduli.model:
        return None
    q, std = np.array([(line.q, line.q_std) for line in lines])[moduli.used].T
    tau = expected.q[moduli.reflection[moduli.used]]
    before, after = (
        float(np.median(np.abs(x / tau - 1))) for x in (q, moduli.corrected(q, k))
    )
    # of the absolute value of Gaussian numbers, in units of their median
    spread = np.hypot(before, 0.6745 * float(np.median(std / tau)))
    return (before, after) if after > before + 1.17 * spread / len(q) ** 0.5 else None


def recorded(
    measurement: Measurement,
    applied: Sequence[str],
    numbers: Mapping[str, float],
    terms: tuple[float, float],
) -> dict[str, Any]:
    """Return details with a record of the calibration and of those before it.

    `terms` are the factor and the offset (1/Angstrom or radian) that were applied now.
    Zeros of energy add up, factors multiply and offsets add up to what takes the data
    as they were before the first to what they are now.
    """
    before = measurement.details.get("calibration")
    before = before if isinstance(before, Mapping) else {}
    if before and not applied:
        return dict(measurement.details)
    known = {name: float(x) for name, x in numbers.items() if np.isfinite(x)}
    earlier = [
        name for name in str(before.get("applied", "")).split(", ") if name in _CHANGES
    ]
    if "energy_zero" in earlier:  # energies moved twice
        moved = float(before.get("energy_zero", 0.0))
        known["energy_zero"] = moved + known["energy_zero"] * ("energy_zero" in applied)
    if np.isnan(numbers["q_scale"]):  # no crystal this time
        known = {**before, **known}
    else:
        known |= _composed(before, earlier, applied, numbers, terms[0])
    names = dict.fromkeys([*earlier, *applied])
    return {
        **measurement.details,
        "calibration": {**known, "applied": ", ".join(names) or "nothing"},
    }


def _composed(
    before: Mapping[str, Any],
    earlier: Sequence[str],
    applied: Sequence[str],
    numbers: Mapping[str, float],
    scale: float,
) -> dict[str, Any]:
    """Return the factor and the offset of two calibrations, one after the other.

    A factor that was never applied is as found now. Errors are those of the last that
    changed something.
    """
    now, then = {*applied}, {*earlier}
    known: dict[str, Any] = {}
    first = 1.0
    if then & _FACTORS:
        first = float(before.get("q_scale", 1.0))
        names = ["q_scale"] + ["incident_energy"] * ("incident_energy" in then)
        if not now & _FACTORS:
            for name in [each + end for each in names for end in ("", "_std")]:
                known |= {name: before[name]} if name in before else {}
    if (now | then) & _FACTORS:
        known["q_scale"] = first * scale
    if not then & _OFFSETS:
        # bins of |Q| that had a factor before have the offset in a unit of their own
        if "q_offset" in now:
            known["q_offset"] = first * numbers["q_offset"]
    elif not now & _OFFSETS:
        for name in ("q_offset", "q_offset_std"):
            known |= {name: before[name]} if name in before else {}
    elif "q_offset" in now and "two_theta" in then:  # degrees, then 1/Angstrom
        known["before"] = dict(before)
    else:
        factor = first if "q_offset" in now else 1.0
        moved = float(before.get("q_offset", 0.0))
        known["q_offset"] = moved + factor * numbers["q_offset"]
    return known


def _changes_again(
    measurement: Measurement,
    moduli: ModuliFit,
    lines: Sequence[BraggLine],
    k: float | None,
) -> str:
    """Tell why data that were calibrated before are not corrected again.

    Parameters
    ----------
    measurement : Measurement
        What is calibrated.
    moduli : ModuliFit
        What would be applied.
    lines, k : optional
        As for `fit_moduli`.

    Returns
    -------
    str
        "" if it was not, or if |Q| moves by more than twice the errors of that.
    """
    record = measurement.details.get("calibration")
    if not isinstance(record, Mapping) or not moduli.model:
        return ""
    scale = _number(record.get("q_scale_std"))
    offset = _number(record.get("q_offset_std"))
    if not scale > 0 and not offset > 0:
        return ""
    q = np.array([line.q for line in lines])[moduli.used]
    incident = measurement.incident_energy
    if "q_offset" in str(record.get("applied", "")) or incident is None:
        lever = np.ones(len(q))
    else:
        lever = np.deg2rad(offset_term(q, wavenumber(float(incident))))
    error = np.hypot(q * scale, lever * offset)
    moved = np.abs(moduli.corrected(q, k) - q)
    if np.median(moved / error) > _TWICE:
        return ""
    return (
        "it was calibrated before, and what is left is less than twice the errors of "
        "that"
    )


def _number(value: Any) -> float:
    """Return a number of a record, 0 where there is none."""
    number = float(value) if isinstance(value, Real) else 0.0
    return number if np.isfinite(number) else 0.0


def _is_possible(measurement: Measurement, moduli: ModuliFit) -> bool:
    """Tell whether an offset leaves bins of |Q| or angles positive."""
    grid = measurement.grid
    lowest = np.inf
    if isinstance(grid, SpectrumGrid):
        lowest = grid.q[0]
    elif isinstance(grid, AngleGrid):
        lowest = np.deg2rad(grid.two_theta[0])
    return "offset" not in moduli.model or moduli.terms[1] <= lowest


def corrected_measurement(
    measurement: Measurement,
    line: ElasticFit,
    moduli: ModuliFit | None,
    masked: NDArray[np.bool_],
) -> tuple[Any, tuple[str, ...]]:
    """Return the measurement with energies and |Q| moved, and what was changed."""
    shift, applied = 0.0, []
    if abs(line.zero) > _BEYOND_ERROR * line.zero_std:
        shift = line.zero
        applied.append("energy_zero")
    scale, offset = (1.0, 0.0) if moduli is None else moduli.terms
    model = () if moduli is None else moduli.model
    grid = measurement.grid
    if isinstance(grid, SpectrumGrid):
        applied += [f"q_{name}" for name in model]
        moved = grid.replace(
            energy=grid.energy - shift, q=(grid.q - offset) / scale, mask=grid.mask
        )
        details = _moved_edges(
            measurement.details,
            {"energy": (shift, 1.0), "q": (offset, scale)},
        )
        return measurement.replace(grid=moved, details=details), tuple(applied)
    names = {"scale": "incident_energy", "offset": "two_theta"}
    applied += [names[name] for name in model]
    incident = float(measurement.incident_energy or np.nan) / scale**2
    angle = float(np.rad2deg(offset))
    changes: dict[str, Any] = {"incident_energy": incident}
    if isinstance(measurement, DetectorMeasurement):
        changes |= _of_detectors(measurement, masked)
        changes["energy_edges"] = measurement.energy_edges - shift
        changes["polar"] = _turned(measurement.polar, angle)
    else:
        moved = grid.replace(
            energy=grid.energy - shift,
            two_theta=grid.two_theta - angle,
            incident_energy=incident,
            mask=grid.mask & ~masked,
        )
        changes["grid"] = moved
        changes["details"] = _moved_edges(
            measurement.details, {"energy": (shift, 1.0), "two_theta": (angle, 1.0)}
        )
        for name in ("data", "error"):
            if getattr(measurement, name) is not None:
                image = grid.to_image(getattr(measurement, name))
                changes[name] = moved.to_rows(image)
    return measurement.replace(**changes), tuple(applied)


def _moved_edges(
    details: Mapping[str, Any], moves: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    """Return details with borders of bins less an offset, by a factor, as centres."""
    edges = details.get("edges")
    if not isinstance(edges, Mapping):
        return dict(details)
    moved = {
        name: (np.asarray(edges[name]) - offset) / factor
        for name, (offset, factor) in moves.items()
        if name in edges
    }
    return {**details, "edges": {**edges, **moved}}


def _of_detectors(
    measurement: DetectorMeasurement, masked: NDArray[np.bool_]
) -> dict[str, Array]:
    """Return data and errors with some detectors NaN, none where nothing changes."""
    changes = {}
    for name in ("data", "error"):
        values = getattr(measurement, name)
        if values is not None and masked.any():
            changes[name] = np.where(masked[:, None], np.nan, values)
    return changes


def _turned(polar: Array, angle: float) -> Array:
    """Return scattering angles less an offset, none through the beam."""
    return np.copysign(np.maximum(np.abs(polar) - angle, 1e-6), polar)
