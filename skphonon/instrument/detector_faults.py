"""Detectors and banks that count wrongly, and lines that no sample makes."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, percentile_filter
from scipy.signal import find_peaks
from scipy.stats import chi2

from skphonon.instrument._energy_rows import EnergyRows
from skphonon.instrument.elastic_line import ElasticFit

__all__ = [
    "BankFault",
    "DetectorFault",
    "Streak",
    "find_bank_faults",
    "find_detector_faults",
    "find_streaks",
]

Array = NDArray[np.float64]

_NEIGHBOURS = 21  # rows in order of their angle
_DEAD = 0.1  # of what neighbours count
_NOISY = 1.5  # times what they count, and
_SCATTER = 6.0  # times the scatter among rows
_SURE = 5.0  # standard errors
_COUNTS = (
    15.0  # of neighbours without errors: a sound row has less than 2 of them never
)
_ELASTIC = 4.0  # widths on either side of the elastic line that are left out
_BLOCKS = 9  # of energies that are judged apart
_AT_END = 8  # bins that a rise at an end of the energies may take
_STEEP = 4.0  # times what lies beside it
_NARROWEST = 0.35  # of the elastic width: resolution at the largest energy loss
_FWHM = 2.355
_BEGINS = 2.0  # usual steps of angle: a bank ends where the next is further
_SIDE = 5  # detectors on each side of a gap that are compared
_WINDOWS = 7  # of energies
_FEWEST = 4  # of these
_KNOWN = 0.15  # relative error of a ratio that tells
_FACTORS = np.log([0.8, 1.25])  # between them a bank is sound
_LIKE = 0.05  # by which ratios of a sound factor differ
_GROWTH = 1.5  # of Q^2 between both sides: where it is more, the sample may do it
_BEYOND = 2.0  # standard errors by which a factor must be beyond them
_SEEN = 3.0  # standard errors of a step that undoes another
_TOO_FAST = 0.9  # of the incident energy


class DetectorFault(NamedTuple):
    """A row that counts otherwise than those beside it.

    Parameters
    ----------
    detector : int
        Number of the row from 0 on.
    kind : {"dead", "noisy"}
        Whether it counts less than a tenth of its neighbours, or far more.
    ratio : float
        Of its intensity to the median of its neighbours.
    """

    detector: int
    kind: str
    ratio: float


class Streak(NamedTuple):
    """A line at one energy that is none of the sample.

    Parameters
    ----------
    energy, width : float
        Place and full width in meV.
    height : float
        Above its surroundings, in units of these.
    """

    energy: float
    width: float
    height: float


def find_detector_faults(rows: EnergyRows, line: ElasticFit) -> list[DetectorFault]:
    """Find dead rows by all that they count, noisy ones by that off the elastic line.

    Parameters
    ----------
    rows : EnergyRows
        Spectra by row; what was never measured is no fault. Without errors, a row that
        counts nothing is dead where its neighbours count 15 at least.
    line : ElasticFit
        The elastic line: Bragg lines make it differ between sound rows.

    Returns
    -------
    list of DetectorFault
        In the order of rows.
    """
    if rows.two_theta is None:
        return []  # |Q| bins hold many detectors
    measured = np.isfinite(rows.values).any(axis=1) & np.isfinite(rows.two_theta)
    numbers = np.flatnonzero(measured)
    if len(numbers) < 5:
        return []
    numbers = numbers[np.argsort(rows.two_theta[numbers], kind="stable")]
    quiet = np.flatnonzero(np.abs(rows.energy - line.zero) > _ELASTIC * line.width)
    parts = np.array_split(quiet, min(_BLOCKS, max(len(quiet) // 4, 1)))
    totals, errors = _totals(rows, numbers, [np.arange(len(rows.energy)), *parts])
    whole, whole_error = totals[0], errors[0]
    # sound rows count at least the elastic background, whatever the lines
    floor = _local(whole, 25)
    # the error of the few counts of one row is too small
    likely = np.maximum(whole_error, _local(whole_error, 50))
    dead = (whole < _DEAD * floor) & (floor - whole > _SURE * likely)
    if rows.error is None:
        dead &= _counts(rows.values[numbers]) >= _COUNTS
    ratio, sure = _ratios(totals[1:], errors[1:], dead)
    spread = 1.4826 * np.median(np.abs(ratio[~dead] - np.median(ratio[~dead])))
    noisy = ~dead & sure & (ratio > max(_NOISY, 1 + _SCATTER * spread))
    safe = np.where(floor > 0, floor, np.nan)
    faults = [
        DetectorFault(int(numbers[i]), "dead", float(whole[i] / safe[i]))
        for i in np.flatnonzero(dead)
    ] + [
        DetectorFault(int(numbers[i]), "noisy", float(ratio[i]))
        for i in np.flatnonzero(noisy)
    ]
    return sorted(faults)


class BankFault(NamedTuple):
    """Neighbouring detectors that count the same factor more or less than the others.

    Parameters
    ----------
    low, high : float
        Scattering angles in degrees of the first and the last of them.
    n_rows : int
        How many they are.
    ratio, ratio_std : float
        Of their intensities to those beyond the gap, at all inelastic energies, and
        its standard error.
    """

    low: float
    high: float
    n_rows: int
    ratio: float
    ratio_std: float


def find_bank_faults(
    rows: EnergyRows, line: ElasticFit, incident_energy: float | None
) -> list[BankFault]:
    r"""Find banks of detectors that are a constant factor off their neighbours.

    Five detectors on each side of a gap between banks are compared in windows of
    inelastic energy. What the sample does there depends on energy; shadows,
    efficiencies and monitors do not. A ratio beyond 0.8 or 1.25 in all of them tells,
    also where intensities grow with Q^2 between both sides.

    Parameters
    ----------
    rows : EnergyRows
        Spectra by row.
    line : ElasticFit
        The elastic line, which is left out.
    incident_energy : float or None
        In meV.

    Returns
    -------
    list of BankFault
        In the order of angles, of banks that differ from what most detectors count.
    """
    if rows.two_theta is None:
        return []
    measured = np.isfinite(rows.values).any(axis=1) & np.isfinite(rows.two_theta)
    numbers = np.flatnonzero(measured)
    numbers = numbers[np.argsort(rows.two_theta[numbers], kind="stable")]
    angles = rows.two_theta[numbers]
    places, of_place = np.unique(angles.round(3), return_inverse=True)
    if len(places) < 2 * _SIDE:
        return []
    steps = np.diff(places)
    ends = np.flatnonzero(steps > _BEGINS * np.median(steps))
    away = np.abs(rows.energy - line.zero) > _ELASTIC * line.width
    if incident_energy is not None:
        away &= np.abs(rows.energy) < _TOO_FAST * incident_energy
    quiet = np.flatnonzero(away)
    if not len(ends) or len(quiet) < _WINDOWS:
        return []
    totals, errors = _totals(rows, numbers, _windows(rows, quiet))
    borders = [0, *(ends + 1), len(places)]
    found = []
    for (first, middle), (_, last) in pairwise(pairwise(borders)):
        below = (of_place >= max(first, middle - _SIDE)) & (of_place < middle)
        above = (of_place >= middle) & (of_place < min(last, middle + _SIDE))
        angle = np.deg2rad([angles[below].mean(), angles[above].mean()])
        growth = float(2 * np.log(np.sin(angle[1] / 2) / np.sin(angle[0] / 2)))
        found.append(_step(totals, errors, below, above, growth))
    steps, std = _undone(found)
    levels, variances = (np.cumsum(np.r_[0.0, each]) for each in (steps, std**2))
    return _apart(levels, variances, borders, of_place, angles)


def _undone(found: list[tuple[float, float, bool]]) -> tuple[Array, Array]:
    """Return steps for certain, and those that undo one of them, 0 where none is.

    A bank in the middle has two gaps, of which one may tell less.
    """
    steps, std = np.array([each[:2] for each in found]).T
    sure = np.array([each[2] for each in found])
    kept = sure.copy()
    clear = (np.abs(steps) > _SEEN * std) & (np.abs(steps) > _FACTORS[1] / 2)
    for at in np.flatnonzero(~sure & clear):
        before = np.flatnonzero(sure[:at])[-1:]
        after = at + 1 + np.flatnonzero(sure[at + 1 :])[:1]
        for other in np.concatenate([before, after]):
            left = steps[at] + steps[other]
            kept[at] |= abs(left) < _SEEN * np.hypot(std[at], std[other])
    return np.where(kept, steps, 0.0), np.where(kept, std, 0.0)


def _windows(rows: EnergyRows, quiet: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return parts of the energies that count about the same."""
    known = np.isfinite(rows.values[:, quiet])
    total = np.where(known, rows.values[:, quiet], 0.0).sum(axis=0)
    reached = np.cumsum(np.maximum(total, 0) + 1e-3 * np.abs(total).mean())
    shares = np.arange(1, _WINDOWS) / _WINDOWS
    parts = np.split(quiet, np.searchsorted(reached, shares * reached[-1]))
    return [part for part in parts if len(part)]


def _step(
    totals: Array,
    errors: Array,
    below: NDArray[np.bool_],
    above: NDArray[np.bool_],
    growth: float,
) -> tuple[float, float, bool]:
    """Return the logarithm of a factor at a gap, its error and if it is for certain."""
    if min(below.sum(), above.sum()) < 2 or growth > np.log(_GROWTH):
        return 0.0, np.inf, False
    sides = []
    for side in (below, above):
        mean, n = totals[:, side].mean(axis=1), side.sum()
        counted = np.linalg.norm(errors[:, side], axis=1) / n
        scatter = totals[:, side].std(axis=1, ddof=1) / np.sqrt(n)
        sides.append((mean, np.maximum(counted, scatter)))
    (low, low_std), (high, high_std) = sides
    known = (low > 0) & (high > 0)
    if known.sum() < _FEWEST:
        return 0.0, np.inf, False
    ratio = np.log(high[known] / low[known])
    error = np.hypot(high_std[known] / high[known], low_std[known] / low[known])
    tells = error < _KNOWN
    enough = bool(tells.sum() >= _FEWEST)
    tells |= not enough
    ratio, error = ratio[tells], np.hypot(error[tells], _LIKE)
    weight = 1 / error**2
    mean, std = float(weight @ ratio / weight.sum()), float(weight.sum() ** -0.5)
    # what is nearest to none of a sample that grows with Q^2, or does not
    corrected = ratio - growth
    nearer = np.where(np.abs(corrected) < np.abs(ratio), corrected, ratio)
    limit = _FACTORS[int(mean > 0)]
    beyond = (nearer - limit) * np.sign(limit)
    alike = float((weight * (ratio - mean) ** 2).sum()) < chi2.ppf(0.99, len(ratio) - 1)
    surely = float(weight @ beyond / weight.sum()) > _BEYOND * std
    sure = bool(enough and alike and surely and (beyond > -error).all())
    # between both samples, which are some standard deviations apart
    return mean - growth / 2, float(np.hypot(std, growth / np.sqrt(12))), sure


def _apart(
    levels: Array,
    variances: Array,
    borders: list[int],
    of_place: NDArray[np.intp],
    angles: Array,
) -> list[BankFault]:
    """Return banks, joined where no step is between them, off the largest level."""
    bank = np.searchsorted(borders[1:-1], of_place, side="right")
    parts = np.cumsum(np.r_[0, np.diff(levels) != 0])
    part = parts[bank]
    first = [int(np.argmax(parts == number)) for number in range(parts[-1] + 1)]
    usual = int(np.bincount(part).argmax())
    faults = []
    for number, at in enumerate(first):
        level = levels[at] - levels[first[usual]]
        if _FACTORS[0] < level < _FACTORS[1]:
            continue
        mine, ratio = angles[part == number], float(np.exp(level))
        std = float(np.sqrt(abs(variances[at] - variances[first[usual]])))
        faults.append(
            BankFault(float(mine[0]), float(mine[-1]), len(mine), ratio, ratio * std)
        )
    return faults


def find_streaks(
    rows: EnergyRows, mean: Array, error: Array, line: ElasticFit
) -> list[Streak]:
    """Find lines at constant energy that are too narrow to come from the sample.

    Parameters
    ----------
    rows : EnergyRows
        Spectra by row.
    mean, error : ndarray of shape (n_energy,)
        Their mean.
    line : ElasticFit
        The elastic line, whose width tells the resolution.

    Returns
    -------
    list of Streak
        Narrow lines, if bins are narrow enough to tell; and a steep rise at an end of
        the energies, as late neutrons and those of the next pulse make it.
    """
    known = np.isfinite(mean)
    energy, values, sigma = rows.energy[known], mean[known], error[known]
    if len(energy) < 4 * _AT_END:
        return []
    if not np.isfinite(sigma).any():  # the scatter of neighbours tells the noise
        sigma = np.full(len(values), np.median(np.abs(np.diff(values))))
    sigma = np.nan_to_num(sigma, nan=np.inf)
    away = np.abs(energy - line.zero) > _ELASTIC * line.width
    found = _narrow_lines(energy, values, sigma, line) if away.any() else []
    found = [each for each in found if abs(each.energy - line.zero) > 4 * line.width]
    for side in (slice(None), slice(None, None, -1)):
        if away[side][: 2 * _AT_END].all():
            found += _rise(energy[side], values[side], sigma[side])
    return sorted(found)


def _narrow_lines(
    energy: Array, values: Array, sigma: Array, line: ElasticFit
) -> list[Streak]:
    limit = 0.6 * _FWHM * _NARROWEST * line.width
    if not np.median(np.diff(energy)) < limit:
        return []
    step = float(np.median(np.diff(energy)))
    around = median_filter(values, 2 * int(np.ceil(limit / step)) + 3)
    net = values - around
    peaks, found = find_peaks(net, prominence=1e-9 * np.ptp(values), width=0.0)
    index = np.arange(len(energy))
    left, right = (
        np.interp(found[side], index, energy) for side in ("left_ips", "right_ips")
    )
    high, base = net[peaks], around[peaks]
    chosen = (right - left < limit) & (high > _SCATTER * sigma[peaks])
    chosen &= high > 0.2 * np.abs(base)
    return [
        Streak(
            float(energy[peaks[i]]),
            float(right[i] - left[i]),
            float(high[i] / max(abs(base[i]), 1e-300)),
        )
        for i in np.flatnonzero(chosen)
    ]


def _rise(energy: Array, values: Array, sigma: Array) -> list[Streak]:
    """Find a steep rise in the first bins: several times what comes after."""
    inner = slice(_AT_END, 3 * _AT_END)
    usual, scatter = np.median(values[inner]), np.std(values[inner])
    high = values[:_AT_END] > max(_STEEP * usual, usual + _SCATTER * scatter)
    high &= values[:_AT_END] - usual > _SCATTER * sigma[:_AT_END]
    if not high[:2].any():
        return []
    last = int(np.flatnonzero(high)[-1])
    part = energy[: last + 1]
    top = values[: last + 1].max()
    step = abs(energy[1] - energy[0])
    height = float(top / max(abs(usual), 1e-300) - 1)
    return [Streak(float(part.mean()), float(np.ptp(part) + step), height)]


def _ratios(
    totals: Array, errors: Array, dead: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.bool_]]:
    """Return what rows count to what neighbours do, as the median over energies.

    A noisy detector counts too much at all energies, while a Bragg line has a tail and
    its ghosts at some.
    """
    ratios, sure = [], []
    for total, error in zip(totals, errors, strict=True):
        usual = _local(np.where(dead, np.nan, total), 50)
        positive = np.where(usual > 0, usual, np.inf)
        ratios.append(np.where(usual > 0, total / positive, 1.0))
        sure.append(total - usual > _SURE * error)
    return np.median(ratios, axis=0), np.mean(sure, axis=0) > 0.5


def _totals(
    rows: EnergyRows, numbers: NDArray[np.intp], parts: list[NDArray[np.intp]]
) -> tuple[Array, Array]:
    """Return mean intensities of rows over parts of the energies, and their errors.

    Both have the shape (n_parts, n_rows).
    """
    chosen = np.zeros((len(rows.energy), len(parts)))
    for number, part in enumerate(parts):
        chosen[part, number] = 1.0
    known = np.isfinite(rows.values)
    n = np.maximum((known @ chosen)[numbers].T, 1.0)
    totals = (np.where(known, rows.values, 0.0) @ chosen)[numbers].T / n
    if rows.error is None:
        return totals, np.zeros(totals.shape)
    variance = ((rows.error * known) ** 2 @ chosen)[numbers].T
    return totals, np.sqrt(variance) / n


def _counts(values: Array) -> Array:
    """Return what neighbours of each row count, at least, where errors do not tell.

    The smallest intensity is that of one count or of more.
    """
    size = np.abs(np.nan_to_num(values))
    sound = np.where(size > 0, size, np.inf)
    least = sound.min(axis=1)
    least = np.where(np.isfinite(least), least, np.inf)
    total = np.nan_to_num(values).sum(axis=1)
    one = percentile_filter(least, 25, size=min(_NEIGHBOURS, len(least)))
    found = _local(total, 25)
    return np.divide(found, one, out=np.zeros(len(found)), where=one > 0)


def _local(values: Array, percent: float) -> Array:
    """Return a percentile of the neighbours of each row."""
    known = np.isfinite(values)
    index = np.arange(len(values))
    filled = np.interp(index, index[known], values[known]) if known.any() else values
    size = min(_NEIGHBOURS, len(values))
    return percentile_filter(filled, percent, size=size, mode="nearest")
