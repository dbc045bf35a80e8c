r"""Kernels in energy: from an axis on which lines are collected to the bins of a grid.

A line of weight 1 / E^2 adds its kernel, times :math:`E` and odd in energy for
:math:`\chi''`, or times :math:`\varphi(\pm E) = \pm E\,[n(\pm E) + 1]` at
:math:`\pm E` for S. Values of nuisances are dicts by name. The width of phonons is in
the kernels as well (`_damping`).
"""

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument.nuisance import LINE_WIDTHS, OF_ANGLES, resolution
from skphonon.instrument.resolution import (
    bin_kernel,
    bin_kernel_derivative,
)
from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.physics.scattering import bose_occupation
from skphonon.physics.zone import ZoneMesh, resolving_points
from skphonon.simulation._axes import Axis, energy_axis, widths_inside
from skphonon.simulation._damping import damped_shares

__all__ = [
    "OF_ENERGY",
    "OF_MODULI",
    "distinct_rows",
    "line_axis",
    "line_kernel",
    "occupied",
    "smooth_kernel",
    "warming",
]

Array = NDArray[np.float64]

#: Nuisances that kernels in energy depend on.
OF_ENERGY = (
    "energy_resolution",
    "energy_resolution_slope",
    "energy_offset",
    "energy_scale",
    "temperature",
    *LINE_WIDTHS,
)
#: Nuisances that kernels in moduli depend on.
OF_MODULI = ("q_resolution", "q_offset", "q_scale", "lattice_scale", *OF_ANGLES)

_TAILS = 200.0  # half widths of a line beyond which it adds nothing to a spectrum
_HIGHEST = 1.5  # of the reference: energies that modes of other constants may have
_DAMPED_STEPS = 3  # of what damped lines are integrated on, in one of their axis
_DAMPED_REACH = 8.0  # widths of the resolution beyond which they are not seen


def distinct_rows(values: dict, names) -> tuple[list[dict], NDArray[np.intp]]:
    """Return the different settings of samples by name, and which each sample has."""
    names = [name for name in names if name in values]
    columns = np.stack([values[name] for name in names], axis=1)
    rows, which = np.unique(columns, axis=0, return_inverse=True)
    named = [dict(zip(names, row, strict=True)) for row in rows.tolist()]
    return named, which.reshape(-1)


def line_axis(simulator, edges, ranges, line_steps=3) -> Axis:
    """Lay the axis of energies for all resolutions and moves in some ranges.

    With at least `line_steps` points within the narrowest resolution and bin.
    """
    resolutions = [
        resolution(simulator, value, slope)
        for value in set(ranges["energy_resolution"])
        for slope in set(ranges["energy_resolution_slope"])
    ]
    offsets, scales = ranges["energy_offset"], ranges.get("energy_scale", (1.0, 1.0))

    def moved(border):
        return [(border - offset) / scale for offset in offsets for scale in scales]

    tails = _tails(simulator, edges, ranges)
    return energy_axis(
        edges, resolutions, moves=moved, line_steps=line_steps, tails=tails
    )


def _tails(simulator, edges, ranges):
    """Return the range of modes whose tails are seen, None without line widths."""
    widths = [max(ranges.get(name, (0.0,))) for name in LINE_WIDTHS]
    if not any(any(ranges.get(name, (0.0,))) for name in LINE_WIDTHS):
        return None
    top = np.abs(edges).max()
    if simulator.model.reference is None:
        return 0.0, top
    points, _ = resolving_points(simulator.model, ZoneMesh(4))
    highest = np.max(simulator.model.frequencies(simulator.model.reference, points))
    gamma = max(np.polynomial.polynomial.polyval(top, widths), 0.0)
    return 0.0, float(min(_HIGHEST * highest, top + _TAILS * gamma))


def line_kernel(simulator, edges, axis: Axis, row: dict, changed=None) -> Array:
    """Return what a line of weight 1 / E^2 adds to each bin, (n_energy, n_points).

    Or, with `changed`, its derivative with that nuisance.
    """
    widths = tuple(row.get(name, 0.0) for name in LINE_WIDTHS)
    if any(widths) or changed in LINE_WIDTHS:
        values = _damped(simulator, edges, axis, row, widths, changed)
    else:
        points = axis.points(beyond=1)
        values = sum(
            _shown(simulator, edges, row, changed, energies)
            * _strengths(simulator, energies, row, changed)
            for energies in (points, -points)
        )
    chi = simulator.quantity == "chi"
    return HBAR2_PER_AMU / 2 * (np.pi if chi else 1.0) * axis.coefficients(values)


def _strengths(simulator, energies, row, changed):
    """Return E or phi(E), of energies of both signs, or its derivative."""
    kelvins = row["temperature"]
    if simulator.quantity == "chi":
        return np.zeros_like(energies) if changed == "temperature" else energies
    occupation = warming if changed == "temperature" else occupied
    return occupation(energies, kelvins)


def _damped(simulator, edges, axis, row, widths, changed):
    """Return means of what undamped lines add, over the densities of damped ones."""
    own = _damped_axis(simulator, edges, axis, row)
    energies = own.points(beyond=2)
    values = _shown(simulator, edges, row, changed, energies)
    values = values * _strengths(simulator, energies, row, changed)
    # one term more than `Axis.coefficients`: there are no other lines to average over
    second = np.diff(values, 2)
    values = values[:, 2:-2] - second[:, 1:-1] / 6 + np.diff(second, 2) / 36
    number = LINE_WIDTHS.index(changed) if changed in LINE_WIDTHS else None
    return values @ damped_shares(own, axis, widths, number)


def _damped_axis(simulator, edges, axis, row) -> Axis:
    """Return a fine axis of all energies, of both signs, that a spectrum sees.

    The step is that of all samples: derivatives do not see it change.
    """
    of_row = resolution(
        simulator, row["energy_resolution"], row["energy_resolution_slope"]
    )
    inside = np.linspace(edges[0], edges[-1], 4 * len(edges))
    reach = _DAMPED_REACH * widths_inside(edges, of_row)(inside).max()
    ends = edges[[0, -1]] - row["energy_offset"] + np.array([-reach, reach])
    step = axis.step / _DAMPED_STEPS
    first, last = np.rint(ends / row.get("energy_scale", 1.0) / step).astype(int)
    return Axis(step, int(first) - 2, int(last - first) + 5, True)


def smooth_kernel(
    simulator, edges, axis: Axis, n_points: int, row: dict, changed=None
) -> Array:
    """Return kernels of multiples of a step, in the order of a Fourier transform."""
    numbers = np.arange(-(n_points // 2) - 1, n_points - n_points // 2 + 1)
    energies = axis.step * numbers
    if changed == "temperature" or changed in LINE_WIDTHS:  # they are in the spectra
        return np.zeros((len(edges) - 1, n_points))
    values = _shown(simulator, edges, row, changed, energies)
    if simulator.quantity == "chi":
        values = np.pi * (values - _shown(simulator, edges, row, changed, -energies))
    return np.roll(axis.coefficients(values), -(n_points // 2), axis=1)


def _shown(simulator, edges, row, changed, energies):
    """Return the kernel of lines at some energies, or a derivative of it."""
    value, slope = row["energy_resolution"], row["energy_resolution_slope"]
    scale, borders = row.get("energy_scale", 1.0), edges - row["energy_offset"]
    widths = widths_inside(edges, resolution(simulator, value, slope))
    if changed == "energy_scale":
        # the resolution is that of the energy shown, which the scale moves as well
        step = 1e-5 * scale
        above, below = (
            bin_kernel(borders, factor * energies, widths(factor * energies))
            for factor in (scale + step, scale - step)
        )
        return (above - below) / (2 * step)
    shown = scale * energies
    seen = widths(shown)
    if changed == "energy_offset":
        return bin_kernel_derivative(borders, shown, seen, "place")
    if changed not in ("energy_resolution", "energy_resolution_slope"):
        return bin_kernel(borders, shown, seen)
    change = bin_kernel_derivative(borders, shown, seen, "width")
    if changed == "energy_resolution":
        return change * (seen / value)
    inside = np.clip(shown, edges[0], edges[-1])
    t = (inside - edges[[0, -1]].mean()) / np.ptp(edges)
    return change * seen * t / (1 + slope * t)


def occupied(energies: Array, temperature: float) -> Array:
    r"""Return :math:`\varphi(E) = E\,[n(E) + 1]` in meV, smooth through zero."""
    elastic = energies == 0
    safe = np.where(elastic, 1.0, energies)
    inelastic = -safe * bose_occupation(-safe, temperature)
    return np.where(elastic, BOLTZMANN * temperature, inelastic)


def warming(energies, temperature):
    """Return the derivative of `occupied` with the temperature, in meV/K."""
    if temperature == 0:
        return np.zeros_like(energies)
    x = energies / (2 * BOLTZMANN * temperature)
    ratio = np.ones_like(x)
    large = np.abs(x) > 1e-4
    ratio[large] = (x[large] / np.sinh(np.clip(x[large], -350, 350))) ** 2
    return BOLTZMANN * ratio
