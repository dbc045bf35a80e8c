r"""Phonons of finite lifetime: the line of a damped harmonic oscillator on an axis.

A mode of energy :math:`E_0` and half width at half maximum :math:`\Gamma` has the
susceptibility :math:`2A / (E_0^2 - E^2 - 2 i \Gamma E)`, of which the imaginary part is

.. math:: \chi''(E) = \frac{4 A\,\Gamma E}{(E^2 - E_0^2)^2 + 4\,\Gamma^2 E^2}
          = \frac{A}{E_1} \left[\frac{\Gamma}{(E - E_1)^2 + \Gamma^2} -
          \frac{\Gamma}{(E + E_1)^2 + \Gamma^2}\right], \qquad
          E_1^2 = E_0^2 - \Gamma^2

(Fak and Dorner, Physica B 234-236, 1107 (1997), doi:10.1016/S0921-4526(97)00121-X).
Neither the static susceptibility :math:`2A / E_0^2` nor the f-sum
:math:`\int E \chi'' dE` depends on :math:`\Gamma`: :math:`E_0` is the bare energy, that
of the force constants. An overdamped mode has an imaginary :math:`E_1`.

So :math:`\chi''(E) = 2 \pi A\,E\,P(E) / E_0^2` with an even probability density P, and
:math:`S = \chi'' [n(E) + 1] / \pi`. Without damping P is
:math:`\frac12 [\delta(E - E_0) + \delta(E + E_0)]`: damping replaces what a spectrum is
at :math:`\pm E_0` by its mean over P, before the instrument sees it. With the poles
:math:`z_\pm = \pm E_1 - i \Gamma`,

.. math:: P(E) = \frac{1}{2 \pi}\,\mathrm{Im}\,\frac{1}{E_1}
          \left[\frac{z_-}{E - z_+} - \frac{z_+}{E - z_-}\right],

of which the integral with a spline is a closed form.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from skphonon.simulation._axes import Axis

__all__ = ["damped_lines", "damped_shares"]

Array = NDArray[np.float64]

_FAR = 12.0  # steps beyond which a spline acts on a pole by its moments
_MOMENTS = (1.0, 1 / 3, 3 / 10, 17 / 42, 31 / 45)  # of the cubic B-spline: 0, 2, ... 8
_DIFFERENCE = (1, -4, 6, -4, 1)
_CRITICAL = 1e-6  # of E0^2: smaller squares of E1 are taken for this one


@lru_cache(maxsize=8)
def damped_shares(axis: Axis, lines: Axis, widths, changed: int | None = None) -> Array:
    r"""Return the integrals of splines with twice the density P of damped modes.

    Of shape (axis.n_points, lines.n_points + 2), read-only; columns sum to two where
    the axis, of both signs, reaches far enough. Modes are at the points of `lines` and
    one beyond, those below zero for the energy above. The coefficients :math:`w_k` of
    :math:`\Gamma(E_0) = \sum_k w_k E_0^k` are the `widths`, zero where this is
    negative; with `changed`, the derivative with one of them.
    """
    energies = np.abs(lines.points(beyond=1))
    powers = energies[:, None] ** np.arange(len(widths))
    gamma = powers @ np.array(widths)
    moves = gamma > 0 if np.any(widths) else np.ones(len(gamma), dtype=bool)
    shares = _integrals(axis, energies, np.maximum(gamma, 0.0), changed is not None)
    if changed is not None:
        shares = shares * (powers[:, changed] * moves)
    shares.flags.writeable = False
    return shares


def damped_lines(
    lines: Axis, n_points: int, widths, changed: int | None = None
) -> Array:
    """Return what lines on an axis are at multiples of its step of both signs.

    In the order of a Fourier transform, (n_points, lines.n_points); `widths` and
    `changed` as for `damped_shares`.
    """
    if changed is None and not any(widths):
        sharp = np.zeros((n_points, lines.n_points))
        for sign in (1, -1):
            numbers = sign * (lines.first + np.arange(lines.n_points)) % n_points
            sharp[numbers, np.arange(lines.n_points)] += 1
        return sharp
    last = (n_points - 1) // 2
    both = Axis(lines.step, -last, 2 * last + 1, True)
    found = np.zeros((n_points, lines.n_points))
    numbers = np.arange(-last, last + 1) % n_points
    found[numbers] = lines.coefficients(damped_shares(both, lines, widths, changed))
    return found


def _integrals(axis, energies, gamma, derivative):
    """Return the integrals with 2 P, or their derivatives with the widths."""
    still = energies == 0  # P is a delta function there, for any width
    energies = np.where(still, axis.step, energies)
    squares = energies**2 - gamma**2
    least = _CRITICAL * energies**2
    critical = np.abs(squares) < least
    squares = np.where(critical, np.copysign(least, squares), squares)
    shifted = np.sqrt(squares.astype(complex))  # E1
    lower = -shifted - 1j * gamma
    product = np.where(critical, gamma**2 + squares, energies**2)
    upper = -product / lower  # as a difference it would lose digits
    steps = (axis.first + np.arange(axis.n_points))[:, None]
    at_upper, at_lower = (
        _pole_integrals(steps - pole / axis.step) for pole in (upper, lower)
    )
    pair = lower * at_upper - upper * at_lower
    if not derivative:
        at_zero = np.select([steps == 0, np.abs(steps) == 1], [4 / 3, 1 / 3], 0.0)
        return np.where(still, at_zero, (pair / shifted).imag / np.pi)
    to_upper, to_lower = -1j * upper / shifted, 1j * lower / shifted
    slopes = (
        _pole_integrals(steps - pole / axis.step, derivative=True) / axis.step
        for pole in (upper, lower)
    )
    change = to_lower * at_upper - to_upper * at_lower
    change = change + lower * to_upper * next(slopes) - upper * to_lower * next(slopes)
    change = change / shifted + pair * gamma / shifted**3
    return np.where(still, 0.0, change.imag / np.pi)


def _pole_integrals(distances, derivative=False):
    r"""Return the integrals of cubic B-splines with 1 / (E - z), z below the real axis.

    Or their derivatives with z, in steps. Distances are from z to the middle of the
    spline, in steps. In the neighbourhood a sum over the five knots; far away moments.
    """
    near = distances.real**2 + distances.imag**2 < _FAR**2
    inverse = 1 / np.where(near, _FAR, distances)
    squared = inverse * inverse
    found = np.zeros_like(inverse)
    for number in reversed(range(len(_MOMENTS))):
        factor = 2 * number + 1 if derivative else 1
        found = found * squared + factor * _MOMENTS[number]
    found *= squared if derivative else inverse
    knots = distances[near][:, None] + np.arange(-2, 3)
    knots = knots.real + 1j * np.abs(knots.imag)  # the cut is approached from above
    logarithms = np.log(np.where(knots == 0, 1.0, knots))
    if derivative:
        found[near] = -(knots**2 * logarithms) @ np.array(_DIFFERENCE) / 2
    else:
        found[near] = (knots**3 * logarithms) @ np.array(_DIFFERENCE) / 6
    return found
