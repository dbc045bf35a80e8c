"""How an instrument records each sample of a batch, where samples differ."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch

from skphonon.physics.constants import HBAR2_PER_AMU
from skphonon.simulation._nuisance import NAMES, resolution
from skphonon.simulation.quadrature import line_kernel, sharpened, widths_inside
from skphonon.simulation.resolution import (
    bin_kernel,
    bin_kernel_shift_derivative,
    bin_kernel_width_derivative,
)

__all__ = [
    "Conditions",
    "conditions",
    "energy_kernel",
    "energy_kernels",
    "smooth_kernel",
]


class Conditions(NamedTuple):
    """What the experiment makes of each sample of a batch, where samples differ.

    The kernels come with the name of a nuisance for their derivative with it.
    """

    energy_kernels: Callable  # name, None: itself -> (n_samples, n_energy, n_points)
    smooth_kernels: Callable  # n_points, name -> the same, as `Incoherent.kernel`
    q_kernels: Callable  # name -> (n_samples, n_q, n_shells)
    scales: torch.Tensor  # (n_samples,), of the lattice: a point stands for Q / scale
    displacements: torch.Tensor  # (n_samples,), added <u_x^2>, Angstrom^2


def conditions(simulator, axis, radii, step, table, to) -> Conditions:
    """Lay out how each sample of a table of nuisances is recorded."""
    values = dict(zip(NAMES, table.T, strict=True))
    q_edges = simulator.grid.edges()[1]

    def in_energy(changed, record):
        kernels, which = energy_kernels(simulator, axis, values, changed, record)
        return to.real(kernels)[to.index(which)]

    @cache
    def q_kernels(changed):
        kernels, which = _distinct(
            values,
            ("q_resolution", "lattice_scale"),
            lambda sigma, scale: (
                _q_kernel(changed, q_edges, radii / scale, sigma, scale)
                * (step / scale)
            ),
        )
        return to.real(kernels)[to.index(which)]

    return Conditions(
        energy_kernels=lambda changed: in_energy(
            changed, partial(energy_kernel, simulator)
        ),
        smooth_kernels=lambda n_points, changed: in_energy(
            changed, partial(smooth_kernel, simulator, n_points)
        ),
        q_kernels=q_kernels,
        scales=to.real(values["lattice_scale"]),
        displacements=to.real(values["mean_square_displacement"]),
    )


def energy_kernels(simulator, axis, values, changed, record):
    """Return the different kernels in energy that samples have, and which has which.

    Parameters
    ----------
    simulator : object
        Its resolution, quantity and temperature.
    axis : EnergyAxis
        Of the lines.
    values : dict
        From names of nuisances to arrays of shape (n_samples,).
    changed : str or None
        The nuisance to differentiate with.
    record : callable
        From an axis and a kernel like `bin_kernel` to the kernel of lines.

    Returns
    -------
    kernels : ndarray of shape (n_kernels, n_energy, n_points)
        Each as from `record`.
    which : ndarray of int of shape (n_samples,)
        Number of the kernel of each sample.
    """
    return _distinct(
        values,
        ("energy_resolution", "energy_resolution_slope", "energy_offset"),
        lambda value, slope, offset: record(
            _axis_of(simulator, axis, value, slope, offset),
            _kernel_of(changed, axis.edges, value, slope),
        ),
    )


def _distinct(values, names, make):
    """Return what different values make, and the number of that of each sample."""
    columns = np.stack([values[name] for name in names], axis=1)
    distinct, which = np.unique(columns, axis=0, return_inverse=True)
    return np.stack([make(*row) for row in distinct]), which.reshape(-1)


def _q_kernel(changed, edges, moduli, sigma, scale):
    """Return `bin_kernel` or its derivative with a nuisance.

    That with the scale of the lattice is of samples at q / scale, each of which stands
    for a stretch of length step / scale.
    """
    if changed == "q_resolution":
        return bin_kernel_width_derivative(edges, moduli, sigma)
    kernel = bin_kernel(edges, moduli, sigma)
    if changed == "lattice_scale":
        moved = bin_kernel_shift_derivative(edges, moduli, sigma)
        return -(moduli * moved + kernel) / scale
    if changed == "mean_square_displacement":
        return -(moduli**2) * kernel  # of the Debye-Waller factor exp(-u Q^2)
    return kernel


def _axis_of(simulator, axis, value, slope, offset):
    return axis._replace(
        edges=axis.edges - offset,
        widths=widths_inside(axis.edges, resolution(simulator, value, slope)),
    )


def _kernel_of(changed, edges, value, slope):
    """Return `bin_kernel` or its derivative with a nuisance.

    Widths are `value` times a function of energy times 1 + `slope` * t, where t is the
    energy less the middle of the axis, over its length.
    """

    def by_slope(borders, points, widths):
        inside = np.clip(points, edges[0], edges[-1])
        t = (inside - edges[[0, -1]].mean()) / np.ptp(edges)
        change = bin_kernel_width_derivative(borders, points, widths)
        return change * widths * t / (1 + slope * t)

    return {
        "energy_resolution": lambda borders, points, widths: (
            bin_kernel_width_derivative(borders, points, widths) * (widths / value)
        ),
        "energy_resolution_slope": by_slope,
        "energy_offset": bin_kernel_shift_derivative,
    }.get(changed, bin_kernel)


def energy_kernel(simulator, axis, kernel):
    """Return how lines of weight 1 / E^2 on an axis are recorded."""
    scale = HBAR2_PER_AMU / 2 * (np.pi if simulator.quantity == "chi" else 1.0)
    return scale * line_kernel(axis, simulator.quantity, simulator.temperature, kernel)


def smooth_kernel(simulator, n_points, axis, kernel):
    """Return how multiples of a step, in the order of a Fourier transform, are seen."""
    numbers = np.arange(-(n_points // 2) - 1, n_points - n_points // 2 + 1)
    energies = axis.step * numbers
    values = kernel(axis.edges, energies, axis.widths(energies))
    if simulator.quantity == "chi":
        values = values - kernel(axis.edges, -energies, axis.widths(-energies))
        values *= np.pi
    values = sharpened(values, axis.smooth)
    return np.roll(values, -(n_points // 2), axis=1)
