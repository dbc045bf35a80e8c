r"""The elastic line: at which energy the data have their zero, and how wide it is.

A Gaussian of standard deviation :math:`\sigma` about :math:`E_0`, collected in the bins
of the measurement, with a background beneath it, is fitted within 2.5 widths of its
centre. The background is constant, or has a slope on either side where that is much
more likely, as with phonons on one side; its error holds by how much that moves it. So
the width of bins is not part of :math:`\sigma`, as it is none of the
`energy_resolution` of simulators. Lines of pulsed sources have a tail; the Gaussian
follows the core.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import ndtr

from skphonon.instrument._energy_rows import EnergyRows
from skphonon.instrument._excess import alike_fit
from skphonon.instrument.resolution import bin_kernel

__all__ = ["ElasticFit", "fit_banks", "fit_elastic_line", "require_elastic_line"]

Array = NDArray[np.float64]

_REACH = 2.5  # widths on either side that are fitted
_ROUNDS = 4
_ROUNDING = 1e-9  # of intensities
_SLOPED = 9  # bins, for slopes of the background
_DECISIVE = 10.0  # fall of chi squared with two slopes that speaks for them
_POSSIBLE = 3.0  # the same where they cannot be excluded
_MIXED = 1e-3  # share of a parameter in a combination that nothing tells
_SEGMENTS = 12  # of |Q|, whose zeros count alike
_FEWEST = 4  # of these
_SEEN = 5.0  # standard errors that the area of a line must have
_SEARCHED = 0.12  # share of the incident energy on either side of zero
_SEARCHED_MEV = 10.0  # where that is not known
_CERTAIN = 40.0  # widths from a line, beyond which nothing of it is


class ElasticFit(NamedTuple):
    """An elastic line as a Gaussian; energies in meV.

    Parameters
    ----------
    zero, zero_std : float
        Centre of the line and its standard error.
    width, width_std : float
        Standard deviation of the line, without the width of bins, and its error.
    area, area_std : float
        Integral over energy and its error, in the unit of the data times meV.
    background : float
        Beneath the centre of the line.
    maximum : float
        Energy of the highest point of a parabola through the three highest bins.
    reduced_chi2 : float
        Of the fit; NaN without errors in the data.
    slopes : tuple of float
        Of the background below and above the line, where it has any.
    """

    zero: float
    zero_std: float
    width: float
    width_std: float
    area: float
    area_std: float
    background: float
    maximum: float
    reduced_chi2: float
    slopes: tuple[float, float] = (0.0, 0.0)

    @property
    def seen(self) -> bool:
        """Whether there is such a line at all."""
        return bool(self.area > _SEEN * self.area_std and self.width > 0)

    def curve(self, edges: Array) -> Array:
        """Return the fitted line in the bins between some borders.

        Parameters
        ----------
        edges : ndarray of shape (n_energy + 1,)
            Borders of bins in meV.

        Returns
        -------
        ndarray of shape (n_energy,)
            In the unit of the data.
        """
        kernel = bin_kernel(edges, [self.zero], [self.width])[:, 0]
        reach = _REACH * self.width
        away = np.clip((edges[1:] + edges[:-1]) / 2 - self.zero, -reach, reach)
        below, above = self.slopes
        beneath = self.background + np.where(away < 0, below, above) * away
        return self.area * kernel + beneath


_NAN = np.nan
_NOTHING = ElasticFit(_NAN, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN)


def require_elastic_line(
    rows: EnergyRows, incident_energy: float | None
) -> tuple[Array, Array, ElasticFit]:
    """Return the mean spectrum, its errors and its elastic line.

    Parameters
    ----------
    rows : EnergyRows
        Spectra by row.
    incident_energy : float or None
        In meV; None searches within 10 meV of zero.

    Returns
    -------
    mean, error : ndarray of shape (n_energy,)
        Weighted mean over rows.
    fit : ElasticFit
        Line of the mean.

    Raises
    ------
    ValueError
        If the energies do not reach over zero, or no line stands out there.
    """
    reach = _SEARCHED_MEV
    if incident_energy is not None:
        reach = _SEARCHED * incident_energy
    advice = (
        "Read the file of the reduction itself, with read_nxspe or read_processed, or "
        "rebin it with reduce_powder on energies from below zero, such as "
        f"{-reach:.3g} meV."
    )
    low, high = rows.edges[[0, -1]]
    if not (low < 0 < high):
        raise ValueError(
            "Energies must reach over the elastic line at 0 meV, got "
            f"{low:g} to {high:g} meV. {advice}"
        )
    mean, error = rows.mean(np.arange(len(rows.values)))
    fit = fit_elastic_line(rows.edges, mean, error, reach)
    if not fit.seen:
        raise ValueError(
            f"An elastic line must stand out within {reach:.3g} meV of zero, found "
            f"none in energies from {low:g} to {high:g} meV"
            f"{_why(rows, mean, fit, reach)} Was it cut out, or "
            f"subtracted with the empty can? {advice}"
        )
    short = [s for s, x in (("below", -low), ("above", high)) if x < 2 * fit.width]
    if short:
        raise ValueError(
            "Energies must hold the elastic line to twice its width on both sides, "
            f"{2 * fit.width:.2g} meV, and end too soon {' and '.join(short)} zero: "
            f"{low:g} to {high:g} meV. {advice}"
        )
    return mean, error, fit


def _why(rows: EnergyRows, mean: Array, fit: ElasticFit, reach: float) -> str:
    """Return what intensities say of a line that does not stand out."""
    near = mean[np.isfinite(mean) & (np.abs(rows.energy) <= reach)]
    if not len(near):
        return ", as nothing was measured near zero."
    if not near.max() > 0:
        most = near.max() * rows.unit
        return f", as no mean intensity there is positive: the largest is {most:.3g}."
    if fit.width > 0 and np.isfinite(fit.area_std) and fit.area_std > 0:
        return (
            f". The highest there has {max(fit.area / fit.area_std, 0):.2g} of its "
            f"standard errors, and must have {_SEEN:.0f}: are counts too few, or "
            "errors too large?"
        )
    return "." if rows.error is not None else ", from intensities without errors."


def fit_banks(
    rows: EnergyRows, banks: NDArray[np.intp], overall: ElasticFit
) -> tuple[list[ElasticFit], ElasticFit]:
    r"""Fit the elastic line of each bank, and what they have in common.

    Parameters
    ----------
    rows : EnergyRows
        Spectra by row.
    banks : ndarray of int of shape (n_rows,)
        Bank of each row from 0 on; negative belongs to none.
    overall : ElasticFit
        Line of the mean over all rows.

    Returns
    -------
    fits : list of ElasticFit
        One a bank; NaN where no line stands out.
    common : ElasticFit
        `overall` with the mean zero of twelve equal segments of \|Q\|, which neither
        depends on banks nor on whether rows are detectors or bins, and with the mean
        width of banks by intensity, so that different zeros do not make the line wider.
        Errors hold the scatter of each.
    """
    reach = 4 * overall.width
    fits = []
    for bank in range(banks.max() + 1):
        mean, error = rows.mean(banks == bank)
        fit = fit_elastic_line(rows.edges, mean, error, reach, overall)
        fits.append(fit if fit.seen else _NOTHING)
    return fits, _in_common(rows, overall, [fit for fit in fits if fit.seen])


def _in_common(
    rows: EnergyRows, overall: ElasticFit, seen: list[ElasticFit]
) -> ElasticFit:
    """Return a line with the zero of segments, and the mean width of banks."""
    zero, zero_std = _of_segments(rows, overall, seen)
    overall = overall._replace(zero=zero, zero_std=zero_std)
    if len(seen) < 2:
        return overall
    width, width_std, area = np.array([fit[2:5] for fit in seen]).T
    share = area / area.sum()
    mean_width = float(share @ width)
    by_noise = float(np.sqrt((share * width_std) @ (share * width_std)))
    scatter = float(np.sqrt((share**2 * (width - mean_width) ** 2).sum()))
    return overall._replace(width=mean_width, width_std=max(by_noise, scatter))


def _of_segments(
    rows: EnergyRows, overall: ElasticFit, banks: list[ElasticFit]
) -> tuple[float, float]:
    r"""Return the mean zero over equal segments of \|Q\|, and its error.

    In the mean over all rows those count most in which Bragg lines are, and these are
    others on detectors, angles and bins of \|Q\|. Segments have the same zero on each.
    """
    measured = np.isfinite(rows.values).any(axis=1) & np.isfinite(rows.q)
    q = rows.q[measured]
    borders = np.linspace(q.min(), q.max(), _SEGMENTS + 1)
    segment = np.searchsorted(borders[1:-1], rows.q)
    fits = []
    for number in range(_SEGMENTS):
        chosen = measured & (segment == number)
        if chosen.any():
            mean, error = rows.mean(chosen)
            fits.append(
                fit_elastic_line(rows.edges, mean, error, 4 * overall.width, overall)
            )
    fits = [fit for fit in fits if fit.seen and np.isfinite(fit.zero_std)]
    if len(fits) < _FEWEST:
        return overall.zero, max(overall.zero_std, _scatter(banks, overall.zero))
    zero, std = np.array([fit[:2] for fit in fits]).T
    std = np.maximum(std, _ROUNDING * overall.width)
    common = alike_fit(np.ones((len(zero), 1)), zero, std, rounds=0)
    # what all segments share, such as bins and background, is in the error of all rows
    return float(common.values[0]), max(overall.zero_std, float(common.std[0]))


def _scatter(fits: list[ElasticFit], zero: float) -> float:
    """Return the error of a zero, weighted by intensity, from what each fit has."""
    if len(fits) < 2:
        return 0.0
    share = np.array([fit.area for fit in fits])
    share = share / share.sum()
    away = np.array([fit.zero for fit in fits]) - zero
    return float(np.linalg.norm(share * away))


def fit_elastic_line(
    edges: Array,
    values: Array,
    error: Array,
    reach: float,
    near: ElasticFit | None = None,
) -> ElasticFit:
    """Fit the highest line near zero energy.

    Parameters
    ----------
    edges : ndarray of shape (n_energy + 1,)
        Borders of bins in meV.
    values, error : ndarray of shape (n_energy,)
        Spectrum per meV and its standard errors; NaN where not measured or not known.
    reach : float
        How far from zero, or from `near`, to search, in meV.
    near : ElasticFit, default=None
        A line of about the same place and width.

    Returns
    -------
    ElasticFit
        All NaN where nothing can be fitted.
    """
    centre = (edges[1:] + edges[:-1]) / 2
    around = 0.0 if near is None else near.zero
    searched = (np.abs(centre - around) <= reach) & np.isfinite(values)
    if searched.sum() < 4 or not np.nanmax(values[searched]) > 0:
        return _NOTHING
    peak, base, width = _guess(centre[searched], values[searched])
    step = float(np.diff(edges)[searched].min())
    width = max(width if near is None else near.width, 0.3 * step)
    where, fit = peak, _NOTHING
    for _ in range(_ROUNDS):
        half = max(_REACH * width, 2.5 * step)
        inside = (np.abs(centre - where) <= half) & np.isfinite(values)
        if inside.sum() < 4:
            return fit
        start = ((values[inside] - base).max() * 2.5 * width, where, width, base)
        fit = _fit(edges, values, error, inside, start)
        if not np.isfinite(fit.width) or abs(fit.zero - around) > reach:
            return _NOTHING
        moved = max(abs(fit.zero - where), abs(fit.width - width))
        where, width = fit.zero, max(abs(fit.width), 0.3 * step)
        if moved < 1e-3 * width:
            break
    return fit._replace(maximum=_highest(centre[searched], values[searched], fit))


def _guess(centre: Array, values: Array) -> tuple[float, float, float]:
    """Return place, base and width of the highest line that is wider than a bin."""
    padded = np.pad(values, 1, mode="edge")
    smooth = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    top = int(smooth.argmax())
    base = float(np.percentile(values, 20))
    above = smooth > (smooth[top] + base) / 2
    low = top - int(np.argmin(above[top::-1])) if not above[: top + 1].all() else 0
    high = top + int(np.argmin(above[top:])) if not above[top:].all() else -1
    return float(centre[top]), base, float(centre[high] - centre[low]) / 2.355


def _fit(
    edges: Array,
    values: Array,
    error: Array,
    inside: NDArray[np.bool_],
    start: tuple[float, float, float, float],
) -> ElasticFit:
    inside = inside & ((error > 0) | ~np.isfinite(error).any())
    known = bool(np.isfinite(error[inside]).all())
    y, lows, highs = values[inside], edges[:-1][inside], edges[1:][inside]
    if len(y) < 4:
        return _NOTHING
    largest = max(float(np.abs(y).max()), 1e-300)
    sigma = np.full(len(y), largest)
    if known:
        sigma = np.maximum(error[inside], _ROUNDING * largest)

    area, zero, width, base = start
    steps = highs - lows
    middle = (lows + highs) / 2

    def borders(p: Array) -> tuple[Array, Array, float]:
        """Return borders of bins in widths of the line, and that width."""
        width = float(np.exp(np.clip(p[2], -300, 300)))
        low, high = (
            np.clip((each - p[1]) / width, -_CERTAIN, _CERTAIN)
            for each in (lows, highs)
        )
        return low, high, width

    def residual(p: Array) -> Array:
        low, high, _ = borders(p)
        beneath = p[3]
        if len(p) > 4:
            away = middle - p[1]
            beneath = p[3] + np.where(away < 0, p[4], p[5]) * away
        return (p[0] * (ndtr(high) - ndtr(low)) / steps + beneath - y) / sigma

    def jacobian(p: Array) -> Array:
        low, high, width = borders(p)
        at_low, at_high = (
            np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi) for u in (low, high)
        )
        columns = [
            (ndtr(high) - ndtr(low)) / steps,
            p[0] * (at_low - at_high) / (width * steps),
            p[0] * (low * at_low - high * at_high) / steps,
            np.ones(len(y)),
        ]
        if len(p) > 4:
            away = middle - p[1]
            columns[1] -= np.where(away < 0, p[4], p[5])
            columns += [np.minimum(away, 0.0), np.maximum(away, 0.0)]
        return np.stack(columns, axis=1) / sigma[:, None]

    def fitted(begin: Array, scale: Array) -> Any:
        return least_squares(
            residual, begin, jacobian, x_scale=scale, method="trf", max_nfev=200
        )

    scale = np.array([max(abs(area), 1e-300), width, 1.0, max(abs(base), largest)])
    found = fitted(np.array([area, zero, np.log(width), base]), scale)
    std, chi2 = _told(found, known)
    values, slopes, moved = found.x, (0.0, 0.0), 0.0
    if len(y) >= _SLOPED:
        steep = float(largest / width)
        sloped = fitted(np.pad(found.x, (0, 2)), np.append(scale, [steep, steep]))
        of_sloped, rest = _told(sloped, known)
        # what noise alone moves between two fits of the same data is in their errors
        noise = max(of_sloped[1] ** 2 - std[1] ** 2, 0.0)
        moved = np.sqrt(max((sloped.x[1] - found.x[1]) ** 2 - noise, 0.0))
        gain = 2 * (found.cost - sloped.cost) / (max(rest, 1.0) if known else rest)
        if gain < _POSSIBLE:
            moved = 0.0
        elif gain > _DECISIVE and np.isfinite(of_sloped[1]):
            std, chi2, moved = of_sloped[:4], rest, moved / 2
            values, slopes = sloped.x[:4], (float(sloped.x[4]), float(sloped.x[5]))
    area, zero, log_width, base = (float(each) for each in values)
    width = float(np.exp(log_width))
    step = float(np.median(highs - lows))
    zero_std, width_std = _with_bins(std[1], width, width * std[2], step)
    return ElasticFit(
        zero, float(np.hypot(zero_std, moved)), width, width_std, area, std[0], base,
        np.nan, chi2 if known else np.nan, slopes,
    )  # fmt: skip


def _told(found: Any, known: bool) -> tuple[Array, float]:
    """Return standard errors of a fit and its reduced chi squared."""
    n_points, n_terms = found.jac.shape
    n_free = n_points - n_terms
    chi2 = 2 * float(found.cost) / max(n_free, 1)
    if not n_free:
        return np.full(n_terms, np.inf), chi2
    factor = max(chi2, 1.0) if known else chi2
    return _errors(found.jac) * np.sqrt(factor), chi2


def _errors(jacobian: Array) -> Array:
    """Return standard errors, infinite where nothing tells of a parameter."""
    size = np.sqrt((jacobian**2).sum(axis=0))
    told = size > 0
    std = np.full(len(size), np.inf)
    if not told.any():
        return std
    _, stretch, directions = np.linalg.svd(jacobian[:, told] / size[told])
    stretch = np.pad(stretch, (0, len(directions) - len(stretch)))
    known = stretch > _ROUNDING * stretch[0]
    inverse = np.where(known, 1 / np.where(known, stretch, 1.0), 0.0)
    own = np.sqrt(((directions * inverse[:, None]) ** 2).sum(axis=0))
    unknown = (np.abs(directions[~known]) > _MIXED).any(axis=0)
    std[told] = np.where(unknown, np.inf, own / size[told])
    return std


def _with_bins(
    zero_std: float, width: float, width_std: float, step: float
) -> tuple[float, float]:
    r"""Return errors of place and width that hold what wide bins hide.

    The mean of a Gaussian in bins of width h wavers with its place in the bin by about
    :math:`h e^{-2 \pi^2 \sigma^2 / h^2}`, and a line within one bin may lie anywhere.
    Wide and narrow lines look alike below half a bin, where few bins count.
    """
    narrow = max(width - 2 * width_std, 0.0) if np.isfinite(width_std) else 0.0
    anywhere = step / np.sqrt(12)
    hidden = anywhere * np.exp(-2 * (np.pi * narrow / step) ** 2)
    if narrow < step / 2:
        hidden = max(hidden, anywhere / 3)
    if not np.isfinite(zero_std):
        zero_std = anywhere
    if not np.isfinite(width_std):
        width_std = anywhere
    return float(np.hypot(zero_std, hidden)), float(np.hypot(width_std, hidden))


def _highest(centre: Array, values: Array, fit: ElasticFit) -> float:
    """Return the maximum of a parabola through the highest bin of the line."""
    near = np.abs(centre - fit.zero) <= 2 * fit.width
    if not near.any():
        return np.nan
    top = int(np.where(near, values, -np.inf).argmax())
    if not 0 < top < len(values) - 1:
        return float(centre[top])
    steps = centre[top - 1 : top + 2] - centre[top]
    curve, slope, _ = np.polyfit(steps, values[top - 1 : top + 2], 2)
    moved = -slope / (2 * curve) if curve < 0 else 0.0
    return float(centre[top] + np.clip(moved, steps[0], steps[2]))
