r"""Bragg lines in elastic intensities: the pattern against \|Q\|, and its lines.

The pattern is the integral over the elastic line of every row, averaged by solid angle
over rows at nearly the same \|Q\|. A line is a Gaussian in \|Q\|, averaged over what a
row spans, on a straight background; lines that overlap are fitted together. Where few
rows fall on a line its width is held near the smooth trend of all others.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.signal import find_peaks
from scipy.special import ndtr

from skphonon.instrument._energy_rows import EnergyRows

__all__ = ["BraggLine", "Pattern", "find_lines", "pattern_of", "width_trend"]

Array = NDArray[np.float64]

_PER_SPAN = 4  # points of the pattern for what a row spans
_SMOOTH = 0.03  # of the largest |Q|: lines are narrower, the background is smoother
_SEEN = 6.0  # standard deviations by which a line stands out
_ABOVE = 0.15  # of the background by which it does
_REACH = 2.5  # widths on either side that are fitted
_APART = 5.0  # widths between lines that are fitted apart
_TREND = 0.15  # relative scatter of widths about their trend
_FREE = 3.0  # the same before a trend is known
_MOST = 400  # lines
_GAP = 2.5  # steps between points
_ROUNDING = 1e-9  # of intensities


class Pattern(NamedTuple):
    """Elastic intensity against momentum transfer.

    Parameters
    ----------
    q : ndarray of shape (n_points,)
        Mean momentum transfer of the rows of a point in 1/Angstrom, increasing.
    span : ndarray of shape (n_points,)
        Mean momentum transfer that a row spans.
    intensity, error : ndarray of shape (n_points,)
        In the unit of the data times meV. Errors hold the scatter between neighbouring
        rows where there is no line.
    baseline : ndarray of shape (n_points,)
        Smooth background beneath the lines, for the search only.
    """

    q: Array
    span: Array
    intensity: Array
    error: Array
    baseline: Array


class BraggLine(NamedTuple):
    """A line of the pattern; momentum transfers in 1/Angstrom.

    Parameters
    ----------
    q, q_std : float
        Position and its standard error.
    width : float
        Standard deviation, without what a row spans.
    area, area_std : float
        Integral over momentum transfer and its error.
    at_gap : bool
        Whether it lies at a gap between detectors, and so is seen in part.
    """

    q: float
    q_std: float
    width: float
    area: float
    area_std: float
    at_gap: bool = False


def pattern_of(rows: EnergyRows, low: float, high: float) -> Pattern:
    """Return the elastic intensity against momentum transfer.

    Parameters
    ----------
    rows : EnergyRows
        Spectra by row.
    low, high : float
        Borders of the elastic line in meV.

    Returns
    -------
    Pattern
        Of rows that were measured in all of the line.
    """
    total, error = rows.between(low, high)
    kept = np.isfinite(total) & np.isfinite(rows.q)
    q, span = rows.q[kept], (rows.q_high - rows.q_low)[kept]
    total, error, weight = total[kept], error[kept], rows.weight[kept]
    if not len(q):
        return Pattern(*[np.zeros(0)] * 5)
    step = max(float(np.median(span)) / _PER_SPAN, 1e-3)
    _, point = np.unique(np.floor(q / step), return_inverse=True)

    def mean(values: Array) -> Array:
        return np.bincount(point, weight * values) / np.bincount(point, weight)

    known = np.isfinite(error).any()
    variance = np.bincount(point, (weight * np.nan_to_num(error)) ** 2)
    sigma = np.sqrt(variance) / np.bincount(point, weight)
    order = np.argsort(mean(q))
    found = [mean(q), mean(span), mean(total), sigma]
    moduli, spans, intensity, sigma = (each[order] for each in found)
    sigma = _of_counts(intensity, sigma)
    baseline = _baseline(moduli, intensity)
    scatter = _scatter(intensity, sigma if known else np.zeros_like(sigma), baseline)
    return Pattern(
        moduli, spans, intensity, np.hypot(sigma, scatter * np.abs(intensity)), baseline
    )


def find_lines(pattern: Pattern) -> list[BraggLine]:
    """Find Bragg lines and fit their positions.

    Parameters
    ----------
    pattern : Pattern
        Elastic intensity against momentum transfer.

    Returns
    -------
    list of BraggLine
        In the order of their momentum transfer.
    """
    if len(pattern.q) < 5:
        return []
    places, widths = _candidates(pattern)
    if not len(places):
        return []
    free = _fit_all(pattern, places, widths, np.full(len(places), _FREE))
    seen = [line for line in free if line.area > 2 * line.area_std]
    if len(seen) < 4:
        return seen
    # lines at a gap between detectors are fitted once widths are known
    held = _fit_all(
        pattern, places, width_trend(seen)(places), np.full(len(places), _TREND)
    )
    lines = [line for line in held if line.area > 0 and line.q_std < 2 * line.width]
    return [line._replace(at_gap=_is_at_gap(pattern, line)) for line in lines]


def width_trend(lines: Sequence[BraggLine]) -> Callable[[Array], Array]:
    r"""Return widths of lines as a function of \|Q\|: :math:`\sigma^2 = a + b Q^2`.

    Parameters
    ----------
    lines : sequence of BraggLine
        At least one; the trend goes through medians of their lower and upper half.

    Returns
    -------
    callable
        From momentum transfers to standard deviations, both in 1/Angstrom.
    """
    q, width = np.array([(line.q, line.width) for line in lines]).T
    strong = np.array([line.area > 10 * line.area_std for line in lines])
    if strong.sum() >= 4:
        q, width = q[strong], width[strong]
    halves = q <= np.median(q), q >= np.median(q)
    x0, x1 = (float(np.median(q[half] ** 2)) for half in halves)
    y0, y1 = (float(np.median(width[half] ** 2)) for half in halves)
    slope = max((y1 - y0) / (x1 - x0), 0.0) if x1 > x0 else 0.0
    constant = max(y0 - slope * x0, 0.1 * y0)
    return lambda moduli: np.sqrt(constant + slope * np.asarray(moduli) ** 2)


def _baseline(q: Array, intensity: Array) -> Array:
    """Return the background that remains when narrow lines are clipped (SNIP).

    C. G. Ryan et al., Nucl. Instrum. Methods B 34, 396 (1988),
    doi:10.1016/0168-583X(88)90063-8.
    """
    if len(q) < 3:
        return intensity.copy()
    reach = _SMOOTH * q[-1]
    n = int(np.clip(20 * (q[-1] - q[0]) / reach, 3, 4000))
    x = np.linspace(q[0], q[-1], n)
    root = np.sqrt(np.maximum(np.interp(x, q, _median3(intensity)), 0.0))
    most = max(int(reach / (x[1] - x[0])), 1)
    for half in range(most, 0, -1):
        padded = np.pad(root, half, mode="reflect" if half < n else "edge")
        root = np.minimum(root, (padded[: -2 * half] + padded[2 * half :]) / 2)
    return np.interp(q, x, root**2)


def _of_counts(intensity: Array, sigma: Array) -> Array:
    """Return errors that few counts, or none by chance, do not make too small."""
    counted = (sigma > 0) & (intensity > 0)
    if counted.sum() < 3:
        return sigma
    # of Poisson counts: what one count is
    one = float(np.median(sigma[counted] ** 2 / intensity[counted]))
    likely = np.maximum(_median3(intensity), one)
    return np.maximum(sigma, np.sqrt(one * likely))


def _median3(values: Array) -> Array:
    padded = np.pad(values, 1, mode="edge")
    return np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)


def _scatter(intensity: Array, sigma: Array, baseline: Array) -> float:
    """Return the relative scatter of neighbours beyond their errors, off the lines."""
    middle = (intensity[:-2] + intensity[2:]) / 2
    least = max(_ROUNDING * float(np.abs(intensity).max()), 1e-300)
    scale = np.maximum(np.abs(baseline[1:-1]), least)
    flat = intensity[1:-1] < 1.5 * scale
    flat &= middle < 1.5 * scale
    if flat.sum() < 10:
        return 0.0
    difference = ((intensity[1:-1] - middle) / scale)[flat]
    expected = np.sqrt(sigma[1:-1] ** 2 + (sigma[:-2] ** 2 + sigma[2:] ** 2) / 4)
    beyond = (1.4826 * np.median(np.abs(difference))) ** 2
    beyond -= np.median(expected[flat] / scale[flat]) ** 2
    return float(np.sqrt(max(beyond, 0.0) / 1.5))


def _candidates(pattern: Pattern) -> tuple[Array, Array]:
    """Return where lines stand out, and about how wide they are."""
    q, net = pattern.q, pattern.intensity - pattern.baseline
    # nothing is known of gaps between detectors: a line may end there
    gaps = _gaps(q)
    x = np.insert(q, gaps + 1, (q[gaps] + q[gaps + 1]) / 2)
    y = np.insert(net, gaps + 1, net.min())
    number = np.insert(np.arange(len(q)), gaps + 1, -1)
    peaks, found = find_peaks(y, prominence=1e-9 * np.ptp(y), width=0.0)
    at = number[peaks]
    error = np.where(pattern.error > 0, pattern.error, 0.0)
    least = np.maximum(_SEEN * error[at], _ABOVE * np.maximum(pattern.baseline[at], 0))
    least = np.maximum(least, 1e-3 * net.max())
    strong = (at >= 0) & (found["prominences"] > least)
    index = np.arange(len(x))
    left, right = (
        np.interp(found[side], index, x) for side in ("left_ips", "right_ips")
    )
    at, width = at[strong], ((right - left) / 2.355)[strong]
    if len(at) > _MOST:
        best = np.sort(np.argsort(net[at])[-_MOST:])
        at, width = at[best], width[best]
    return q[at], np.maximum(width, 0.3 * pattern.span[at])


def _gaps(q: Array) -> NDArray[np.intp]:
    """Return after which points no detector stands for a while."""
    steps = np.diff(q)
    return np.flatnonzero(steps > _GAP * np.median(steps))


def _is_at_gap(pattern: Pattern, line: BraggLine) -> bool:
    """Tell whether a gap, or an end of the pattern, cuts a line."""
    gaps, q = _gaps(pattern.q), pattern.q
    low = np.array([-np.inf, *q[gaps], q[-1]])
    high = np.array([q[0], *q[gaps + 1], np.inf])
    reach = 1.2 * np.hypot(line.width, np.median(pattern.span) / np.sqrt(12))
    return bool(((line.q + reach > low) & (line.q - reach < high)).any())


def _fit_all(
    pattern: Pattern, places: Array, widths: Array, freedom: Array
) -> list[BraggLine]:
    """Fit lines, those together that overlap."""
    gaps = np.diff(places) > _APART * (widths[1:] + widths[:-1]) / 2
    lines = []
    for group in np.split(np.arange(len(places)), np.flatnonzero(gaps) + 1):
        lines += _fit(pattern, places[group], widths[group], freedom[group])
    return lines


def _fit(
    pattern: Pattern, places: Array, widths: Array, freedom: Array
) -> list[BraggLine]:
    q, n = pattern.q, len(places)
    near = np.abs(q[:, None] - places) <= np.maximum(
        _REACH * widths, 1.5 * np.interp(places, q, np.gradient(q))
    )
    inside = np.asarray(near.any(axis=1))
    # a few points on either side tell the background
    first, last = np.flatnonzero(inside)[[0, -1]]
    inside[max(first - 2, 0) : last + 3] = True
    x, span, y = q[inside], pattern.span[inside], pattern.intensity[inside]
    sigma = pattern.error[inside]
    known = bool((sigma > 0).all())
    if not known:
        sigma = np.full(len(x), np.abs(y).max() or 1.0)
    sigma = np.maximum(sigma, _ROUNDING * np.abs(y).max())
    centre = places.mean()
    height = np.interp(places, q, pattern.intensity - pattern.baseline)
    base = np.interp(centre, q, pattern.baseline)
    scale = max(float(height.max()), 1e-300)
    start = np.concatenate([height / scale, places, np.zeros(n), [base / scale, 0.0]])
    half = np.maximum(span / 2, 1e-6)[:, None]

    def borders(p: Array) -> tuple[Array, Array, Array]:
        """Return ends of what points span in widths of the lines, and the latter."""
        width = widths * np.exp(p[2 * n : 3 * n])
        distance = x[:, None] - p[n : 2 * n]
        return (distance - half) / width, (distance + half) / width, width

    def residual(p: Array) -> Array:
        low, high, width = borders(p)
        shape = np.sqrt(np.pi / 2) * width * (ndtr(high) - ndtr(low)) / half
        model = scale * (shape @ p[:n] + p[-2] + p[-1] * (x - centre))
        return np.concatenate([(model - y) / sigma, p[2 * n : 3 * n] / freedom])

    def slopes(p: Array) -> Array:
        low, high, width = borders(p)
        shape = np.sqrt(np.pi / 2) * width * (ndtr(high) - ndtr(low)) / half
        at_low, at_high = np.exp(-(low**2) / 2), np.exp(-(high**2) / 2)
        found = np.zeros((len(x) + n, 3 * n + 2))
        found[: len(x), :n] = shape
        found[: len(x), n : 2 * n] = p[:n] * (at_low - at_high) / (2 * half)
        wider = width * (low * at_low - high * at_high) / (2 * half)
        found[: len(x), 2 * n : 3 * n] = p[:n] * (shape + wider)
        found[: len(x), -2], found[: len(x), -1] = 1.0, x - centre
        found[: len(x)] *= (scale / sigma)[:, None]
        found[len(x) :, 2 * n : 3 * n] = np.diag(1 / freedom)
        return found

    lower = np.concatenate(
        [np.full(n, -np.inf), places - 2 * widths, np.full(n, -1.6), [-np.inf] * 2]
    )
    upper = np.concatenate(
        [np.full(n, np.inf), places + 2 * widths, np.full(n, 1.6), [np.inf] * 2]
    )
    found = least_squares(residual, start, slopes, bounds=(lower, upper), max_nfev=100)
    misfit = found.fun[: len(x)]
    n_free = max(len(x) - 2 * n - 2, 1)  # widths are held by their trend
    chi2 = float((misfit**2).sum()) / n_free
    factor = max(chi2, 1.0) if known else max(chi2, 1e-12)
    jacobian = found.jac.copy()
    if not known:  # the prior of widths is in units of the noise
        jacobian[len(x) :] *= np.sqrt(factor)
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * factor
    std = np.sqrt(np.abs(np.diag(covariance)))
    lines = []
    for i in range(n):
        width = float(widths[i] * np.exp(found.x[2 * n + i]))
        unit = np.sqrt(2 * np.pi) * width * scale
        lines.append(
            BraggLine(
                float(found.x[n + i]), float(std[n + i]), width,
                float(found.x[i] * unit), float(std[i] * unit),
            )
        )  # fmt: skip
    return lines
