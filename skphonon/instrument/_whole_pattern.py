r"""Factor and offset of \|Q\| by a fit to the whole elastic pattern at once.

Lines that overlap are seen where neither of them is. So all reflections of the crystal
are fitted together (G. S. Pawley, J. Appl. Cryst. 14, 357 (1981),
doi:10.1107/S0021889881009618): at places of one factor and one offset, with widths
:math:`\sigma^2 = a + b Q^2`, and an intensity each that may differ from that of the
structure by a multiple of it, as grains are not in all directions alike.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import brentq, least_squares
from scipy.special import ndtr

from skphonon.instrument._excess import alike
from skphonon.instrument.bragg import BraggLine, Pattern, width_trend
from skphonon.instrument.phases import TERMS, offset_term
from skphonon.physics.reflections import Reflections

__all__ = ["WholeFit", "fit_whole_pattern"]

Array = NDArray[np.float64]

_REACH = 4.0  # widths beyond the pattern at which reflections still count
_SEEN = 9.0  # widths beyond which a line adds nothing
_SAME = 0.25  # widths within which reflections are one
_WEAK = 2e-3  # of the strongest reflection: left out
_KNOTS = 8  # of the background
_MOST = 200  # reflections, from the first on
_ROUNDS = 5  # of errors and fit
_MOVED = 0.05  # scale and offset within which the fit stays about its start
_NOTHING = (1.0, 0.0)  # scale and offset of what needs no calibration


class WholeFit(NamedTuple):
    """Scale and offset, fitted together.

    Parameters
    ----------
    values : ndarray of shape (2,)
        Scale and offset.
    covariance : ndarray of shape (2, 2)
        Theirs, with what the shape of lines leaves to be desired.
    """

    values: Array
    covariance: Array

    def distance(self, terms: tuple[float, float], std: tuple[float, float]) -> float:
        """Return how far other terms are, of standard errors: as chi squared."""
        away = self.values - terms
        both = self.covariance + np.diag(np.square(std))
        return float(away @ np.linalg.solve(both, away))

    def alone(self, number: int) -> tuple[float, float]:
        """Return one of both and its error, where the other is none."""
        other = 1 - number
        slope = self.covariance[number, other] / self.covariance[other, other]
        away = self.values[other] - _NOTHING[other]
        variance = (
            self.covariance[number, number] - slope * self.covariance[number, other]
        )
        value = self.values[number] - slope * away
        return float(value), float(np.sqrt(max(variance, 0.0)))

    def model(
        self, terms: Sequence[str], least: float
    ) -> tuple[tuple[str, ...], tuple[float, float], tuple[float, float]]:
        """Return terms that differ from nothing by so many errors, and their errors."""
        std = np.sqrt(np.diag(self.covariance))
        away = np.abs(self.values - _NOTHING)
        if set(terms) == set(TERMS) and (away > least * std).all():
            first, second = self.values
            return TERMS, (float(first), float(second)), (float(std[0]), float(std[1]))
        # the one without which the other is most
        for number in np.argsort(away / std)[::-1]:
            value, error = self.alone(int(number))
            if TERMS[number] in terms:
                if abs(value - _NOTHING[number]) <= least * error:
                    break
                if number == 0:
                    return TERMS[:1], (value, 0.0), (error, 0.0)
                return TERMS[1:], (1.0, value), (0.0, error)
        return (), _NOTHING, (0.0, 0.0)


class _Problem(NamedTuple):
    """What is fitted."""

    q: Array
    half: Array  # of what a row spans
    y: Array
    error: Array
    tau: Array  # of reflections
    area: Array  # theirs, about
    fixed: Array  # (n_points, n): lines of something else, and the background
    k: float | None


def fit_whole_pattern(
    pattern: Pattern,
    reflections: Reflections,
    lines: Sequence[BraggLine],
    mine: NDArray[np.bool_],
    start: tuple[float, float],
    k: float | None,
) -> WholeFit | None:
    r"""Fit factor and offset of \|Q\| to a pattern.

    Parameters
    ----------
    pattern : Pattern
        Elastic intensity.
    reflections : Reflections
        Of the sample, to beyond the end of the pattern.
    lines : sequence of BraggLine
        Lines found.
    mine : ndarray of bool of shape (n_lines,)
        Which are of the sample, at least two.
    start : tuple of float
        Scale and offset, about.
    k : float or None
        Wavenumber of the neutrons in 1/Angstrom, where rows have an angle.

    Returns
    -------
    WholeFit or None
        None where the pattern has too few points.
    """
    problem = _problem(pattern, reflections, lines, mine, k)
    if len(problem.q) < 3 * _KNOTS or not len(problem.tau):
        return None
    # logarithms of the width in the middle, and at the end
    ends = width_trend(lines)(problem.q[[len(problem.q) // 2, -1]])
    fits = [_refined(problem, np.array([*x, *np.log(ends)])) for x in (start, _NOTHING)]
    return min(fits, key=lambda fit: fit[0])[1]


def _refined(problem: _Problem, start: Array) -> tuple[float, WholeFit]:
    """Return the relative misfit, and the fit next to a start."""
    half = np.array([_MOVED, _MOVED, 0.7, 1.0])
    p, misfit = start, 0.0
    for _ in range(_ROUNDS):
        model = _solved(problem, p, problem.error)[1] if misfit else problem.y
        sigma = np.hypot(problem.error, misfit * np.abs(model))
        found = least_squares(
            lambda p, sigma: _solved(problem, p, sigma)[0],
            p,
            args=(sigma,),
            bounds=(start - half, start + half),
            x_scale=[1e-3, 1e-3, 0.05, 0.05],
            max_nfev=15,
        )
        p, last = found.x, misfit
        residual, model = _solved(problem, p, sigma)
        misfit = _misfit(problem, model)
        if abs(misfit - last) <= 0.05 * misfit:
            break
    covariance = np.linalg.pinv(found.jac.T @ found.jac)[:2, :2]
    plain = _solved(problem, p, problem.error)[0]
    fit = WholeFit(p[:2], covariance * alike(residual[: len(problem.q)]))
    return float(plain @ plain), fit


def _problem(
    pattern: Pattern,
    reflections: Reflections,
    lines: Sequence[BraggLine],
    mine: NDArray[np.bool_],
    k: float | None,
) -> _Problem:
    trend = width_trend(lines)
    tau, strength = _joined(reflections, trend)
    reach = _REACH * trend(tau)
    kept = (tau > pattern.q[0] - reach) & (tau < pattern.q[-1] + reach)
    tau, strength, reach = tau[kept], strength[kept], reach[kept]
    inside = pattern.q > (tau - reach).min(initial=np.inf)
    if len(tau) > _MOST:
        inside &= pattern.q < tau[_MOST] - reach[_MOST]
        tau, strength = tau[:_MOST], strength[:_MOST]
    q, y, error, span = (x[inside] for x in (pattern.q, *pattern[2:4], pattern.span))
    if not len(q):
        return _Problem(q, span, y, error, tau, strength, q[:, None], k)
    known = np.isfinite(error) & (error > 0)
    usual = float(np.median(error[known])) if known.any() else 1e-3 * np.ptp(y)
    knots = np.linspace(q[0], q[-1], _KNOTS)
    fixed = [np.interp(q, knots, row) for row in np.eye(_KNOTS)]
    # what lies beside all reflections is of something else
    others = [
        line
        for line, known_ in zip(lines, mine, strict=True)
        if not known_ and (np.abs(tau - line.q) > line.width).all()
    ]
    fixed += [
        _shapes(q, span / 2, np.array([x.q]), np.array([x.width]))[:, 0] for x in others
    ]
    own = [line for line, known_ in zip(lines, mine, strict=True) if known_]
    return _Problem(
        q, span / 2, y, np.where(known, error, usual), tau,
        strength * _envelope(own, tau, strength)(tau), np.array(fixed).T, k,
    )  # fmt: skip


def _joined(
    reflections: Reflections, trend: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """Return places and intensities of reflections, joined at one place."""
    q, intensity = reflections.q, reflections.intensity
    strong = intensity > _WEAK * intensity.max(initial=0.0)
    q, intensity = q[strong], intensity[strong]
    x = np.linspace(0.0, q.max(initial=0.0), 2000)
    widths = np.interp(q, x, np.cumsum(x[1] / trend(x)))  # from 0 to there
    _, group = np.unique(np.floor(widths / _SAME), return_inverse=True)
    total: Array = np.bincount(group, intensity).astype(float)
    return np.bincount(group, intensity * q) / total, total


def _envelope(
    lines: Sequence[BraggLine], tau: Array, strength: Array
) -> Callable[[Array], Array]:
    r"""Return areas by intensities of the structure, :math:`c \exp(-B q^2)`."""
    q, ratio = [], []
    for line in lines:
        near = np.abs(tau - line.q) < 1.5 * line.width
        if near.any() and line.area > 0:
            q.append(line.q)
            ratio.append(np.log(line.area / strength[near].sum()))
    x, y = np.array(q) ** 2, np.array(ratio)
    slope = 0.0
    if len(q) > 2:  # median of the slopes of all pairs
        i, j = np.triu_indices(len(q), 1)
        slope = min(float(np.median((y[j] - y[i]) / (x[j] - x[i]))), 0.0)
    constant = float(np.median(y - slope * x)) if len(q) else 0.0
    return lambda moduli: np.exp(constant + slope * moduli**2)


def _shapes(q: Array, half: Array, place: Array, width: Array) -> Array:
    """Return lines of area 1, averaged over what rows span: (n_points, n_lines)."""
    distance, half = q[:, None] - place, np.maximum(half, 1e-6)
    part = np.zeros(distance.shape)
    point, line = np.nonzero(np.abs(distance) < _SEEN * width + half[:, None])
    distance, half, width = distance[point, line], half[point], width[line]
    high, low = (ndtr((distance + side * half) / width) for side in (1, -1))
    part[point, line] = (high - low) / (2 * half)
    return part


def _solved(problem: _Problem, p: Array, sigma: Array) -> tuple[Array, Array]:
    """Return residuals with the best areas and background, and the model."""
    scale, offset, middle, end = p
    q, tau = problem.q, problem.tau
    place = scale * tau + offset * offset_term(tau, problem.k)
    x0, x1 = q[len(q) // 2] ** 2, q[-1] ** 2
    square = np.exp(2 * middle) + (tau**2 - x0) * (
        (np.exp(2 * end) - np.exp(2 * middle)) / (x1 - x0)
    )
    width = np.sqrt(np.maximum(square, 0.05 * np.exp(2 * middle)))
    lines = _shapes(q, problem.half, place, width) * problem.area
    design = np.hstack([lines, problem.fixed])
    weighted = design / sigma[:, None]
    normal, n = weighted.T @ weighted, len(tau)
    right = weighted.T @ (problem.y / sigma)
    # intensities are those of the structure within themselves
    normal[np.arange(n), np.arange(n)] += 1.0
    right[:n] += 1.0
    rest = np.arange(n, len(normal))
    normal[rest, rest] *= 1 + 1e-9
    normal[rest, rest] += 1e-12 * normal[rest, rest].max()
    found = cho_solve(cho_factor(normal), right)
    model = design @ found
    return np.concatenate([(problem.y - model) / sigma, 1.0 - found[:n]]), model


def _misfit(problem: _Problem, model: Array) -> float:
    """Return the relative error of intensities that makes chi squared what it is."""
    square = (problem.y - model) ** 2
    n_free = max(len(square) - len(problem.tau) / 2 - problem.fixed.shape[1], 1)

    def beyond(share: float) -> float:
        return (
            float((square / (problem.error**2 + (share * model) ** 2)).sum()) - n_free
        )

    if beyond(0.0) <= 0 or beyond(1.0) >= 0:
        return 0.0 if beyond(0.0) <= 0 else 1.0
    return float(brentq(beyond, 0.0, 1.0))
