"""Detectors that count nothing or too much, and lines that no sample makes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, percentile_filter
from scipy.signal import find_peaks

from skphonon.instrument._energy_rows import EnergyRows
from skphonon.instrument.elastic_line import ElasticFit

__all__ = ["DetectorFault", "Streak", "find_detector_faults", "find_streaks"]

Array = NDArray[np.float64]

_NEIGHBOURS = 21  # rows in order of their angle
_DEAD = 0.1  # of what neighbours count
_NOISY = 1.5  # times what they count, and
_SCATTER = 6.0  # times the scatter among rows
_SURE = 5.0  # standard errors
_COUNTS = 15.0  # of neighbours without errors: a sound row has less than 2 of them never
_ELASTIC = 4.0  # widths on either side of the elastic line that are left out
_BLOCKS = 9  # of energies that are judged apart
_AT_END = 8  # bins that a rise at an end of the energies may take
_STEEP = 4.0  # times what lies beside it
_NARROWEST = 0.35  # of the elastic width: resolution at the largest energy loss
_FWHM = 2.355


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
