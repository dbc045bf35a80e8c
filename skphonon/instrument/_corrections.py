r"""A measurement with its energies and \|Q\| moved to where they belong.

And whether Bragg lines tell enough for that: a crystal that is not the sample finds
some lines by chance, and bins as wide as lines do not tell where these are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, t

from skphonon.instrument._whole_pattern import WholeFit
from skphonon.instrument.angle_grid import AngleGrid
from skphonon.instrument.bragg import BraggLine, Pattern
from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.instrument.elastic_line import ElasticFit
from skphonon.instrument.grid import SpectrumGrid
from skphonon.instrument.measurement import Measurement
from skphonon.instrument.phases import CLEAR, Expected, ModuliFit, offset_term

Array = NDArray[np.float64]

_STRONGEST = 6  # lines, most of which must be of the sample
_CONVINCING = 0.6  # share of them
_BY_CHANCE = 0.01  # probability that a wrong crystal finds as many lines
_TRIES = 20  # scales and offsets that the search takes its best from, independent
_AGREE = 11.8  # chi squared of two terms, at three standard errors
_WORSE = 4.0  # by which it may exceed that of no correction
_FEWEST = 5  # lines that must tell of |Q|
_CHANGES = (
    "energy_zero",
    "incident_energy",
    "two_theta",
    "q_scale",
    "q_offset",
    "dead",
    "noisy",
)
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
    """Return the fit with errors of few lines and wide bins, and if lines are enough.

    Where they are not, nothing is corrected.
    """
    n_used = int(moduli.used.sum())
    few = n_used < _FEWEST

    def larger(std: float, n_terms: int) -> float:
        return std * small_sample(n_used, n_terms)

    tau = expected.q[moduli.reflection[moduli.used]]
    of_bins = coarse / float(np.linalg.norm(tau))
    scale_std = larger(float(np.hypot(moduli.scale_std, of_bins)), 1)
    if few or coarse:
        moduli = moduli._replace(model=(), terms=(1.0, 0.0), terms_std=(0.0, 0.0))
    first, second = (larger(each, len(moduli.model)) for each in moduli.terms_std)
    return (
        moduli._replace(scale_std=scale_std, terms_std=(first, second)),
        not (few or coarse),
    )


def confirmed_moduli(
    moduli: ModuliFit, whole: WholeFit | None, terms: Sequence[str]
) -> ModuliFit:
    """Return the fit to lines, or where the whole pattern tells better, of that.

    Lines that overlap are not where the search finds them.
    """
    if whole is None:
        return moduli
    found = whole.distance(moduli.terms, moduli.terms_std)
    nothing = whole.distance((1.0, 0.0), moduli.terms_std)
    model, values, std = whole.model(terms, CLEAR)
    agrees = found <= min(_AGREE, nothing + _WORSE)
    surer = model == moduli.model and (np.array(std) <= moduli.terms_std).all()
    if agrees and not surer:
        return moduli
    return moduli._replace(model=model, terms=values, terms_std=std)


def small_sample(n_values: int, n_terms: int) -> float:
    """Return how much wider the interval of Student's t is than that of a Gaussian."""
    return float(t.ppf(0.8413, max(n_values - n_terms, 1)))


def recorded(
    measurement: Measurement, applied: Sequence[str], numbers: Mapping[str, float]
) -> dict[str, Any]:
    """Return details with a record of the calibration, and of one before."""
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
    names = dict.fromkeys([*earlier, *applied])
    return {
        **measurement.details,
        "calibration": {**known, "applied": ", ".join(names) or "nothing"},
    }


def possible_moduli(
    measurement: Measurement, moduli: ModuliFit | None
) -> ModuliFit | None:
    """Keep an offset from making bins of |Q| or angles negative."""
    if moduli is None or "offset" not in moduli.model:
        return moduli
    grid = measurement.grid
    lowest = np.inf
    if isinstance(grid, SpectrumGrid):
        lowest = grid.q[0]
    elif isinstance(grid, AngleGrid):
        lowest = np.deg2rad(grid.two_theta[0])
    if moduli.terms[1] <= lowest:
        return moduli
    return moduli._replace(model=(), terms=(1.0, 0.0), terms_std=(0.0, 0.0))


def corrected_measurement(
    measurement: Measurement,
    line: ElasticFit,
    moduli: ModuliFit | None,
    masked: NDArray[np.bool_],
) -> tuple[Any, tuple[str, ...]]:
    """Return the measurement with energies and |Q| moved, and what was changed."""
    shift, applied = 0.0, []
    if abs(line.zero) > CLEAR * line.zero_std:
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
