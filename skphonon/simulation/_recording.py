"""How a powder instrument records lines: from axes of energy and modulus to bins.

Lines of a parameter set are collected on an axis of energies and one of moduli
(`_axes`). Everything that an instrument does is in two matrices from these axes to the
bins of the grid, one of either: they differ between samples whose nuisances differ, and
their derivatives with a nuisance are those of the spectrum.
"""

import numpy as np
from numpy.typing import NDArray

from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.physics.scattering import bose_occupation
from skphonon.simulation._axes import Axis, energy_axis, q_axis, widths_inside
from skphonon.simulation._nuisance import resolution
from skphonon.simulation.resolution import (
    bin_kernel,
    bin_kernel_shift_derivative,
    bin_kernel_width_derivative,
)

__all__ = [
    "Conditions",
    "Recording",
    "energy_kernels",
    "line_axis",
    "line_kernel",
    "occupied",
]

Array = NDArray[np.float64]

_OF_ENERGY = (
    "energy_resolution",
    "energy_resolution_slope",
    "energy_offset",
    "energy_scale",
    "temperature",
)
_OF_Q = ("q_resolution", "q_offset", "q_scale", "lattice_scale")


class Recording:
    """The axes of a simulator, which serve all nuisances in some ranges.

    Parameters
    ----------
    simulator : PowderSimulator
        With checked settings.
    ranges : dict
        From names of nuisances to pairs of the least and the largest value.

    Attributes
    ----------
    energy : Axis
        In meV.
    q : Axis
        In 1/Angstrom, at the lattice of the model.
    """

    def __init__(self, simulator, ranges) -> None:
        self.simulator = simulator
        self._edges = simulator.grid.edges()
        self.energy = line_axis(simulator, self._edges[0], ranges)
        offsets, scales = ranges["q_offset"], ranges["q_scale"]
        lattice = ranges["lattice_scale"]

        def moved(border):
            return [
                (border - offset) / scale * stretch
                for offset in offsets
                for scale in scales
                for stretch in lattice
            ]

        self.q = q_axis(self._edges[1], ranges["q_resolution"], moved)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Numbers of bins in energy and in modulus."""
        return len(self._edges[0]) - 1, len(self._edges[1]) - 1

    def conditions(self, values: dict) -> "Conditions":
        """Lay out how samples are recorded.

        Parameters
        ----------
        values : dict
            From all names of nuisances to arrays of shape (n_samples,).

        Returns
        -------
        Conditions
        """
        return Conditions(self, values)


class Conditions:
    """What an experiment makes of each sample of a batch.

    Parameters
    ----------
    recording : Recording
        The axes.
    values : dict
        From names of nuisances to arrays of shape (n_samples,).
    """

    def __init__(self, recording: Recording, values: dict) -> None:
        self._recording, self.values = recording, values
        self._found: dict = {}

    @property
    def scales(self) -> Array:
        """Factors of the lattice, shape (n_samples,)."""
        return self.values["lattice_scale"]

    def images(self, collected, changed=None):
        """Record what is collected.

        Parameters
        ----------
        collected : ndarray of shape (n_samples, n_energies, n_moduli)
            On the axes, with 1 / E^2 in the lines; or with axes before the last two.
        changed : str, default=None
            Nuisance whose derivative is asked for.

        Returns
        -------
        ndarray of shape (n_samples, n_energy, n_q)
        """
        if changed is None:
            return self._both(collected, None, None)
        found = 0.0
        if changed in _OF_ENERGY:
            found = found + self._both(collected, changed, None)
        if changed in _OF_Q:
            found = found + self._both(collected, None, changed)
        return found

    def adjoint(self, images):
        """Return the gradient with what is collected, of that with the images."""
        energy, q = self.energy(None), self.q(None)
        return energy.swapaxes(-1, -2) @ (images @ q)

    def _both(self, collected, of_energy, of_q):
        energy, q = self.energy(of_energy), self.q(of_q)
        while energy.ndim < collected.ndim:
            energy, q = energy[:, None], q[:, None]
        return (energy @ collected) @ q.swapaxes(-1, -2)

    def energy(self, changed):
        """Return kernels of lines, (n_samples or 1, n_energy, n_energies)."""
        return self._once("energy", changed, self._energy)

    def smooth(self, n_points, changed):
        """Return kernels of spectra at multiples of the step, as Fourier transforms."""
        return self._once(
            ("smooth", n_points),
            changed,
            lambda name: self._each(
                _OF_ENERGY, lambda row: self._smooth_kernel(n_points, row, name)
            ),
        )

    def q(self, changed):
        """Return kernels in moduli, (n_samples or 1, n_q, n_moduli)."""
        return self._once("q", changed, self._q)

    def _once(self, kind, changed, make):
        if (kind, changed) not in self._found:
            self._found[kind, changed] = make(changed)
        return self._found[kind, changed]

    def _each(self, names, make):
        """Make what differs between samples; one for all where nothing does."""
        columns = np.stack([self.values[name] for name in names], axis=1)
        distinct, which = np.unique(columns, axis=0, return_inverse=True)
        made = np.stack(
            [make(dict(zip(names, row, strict=True))) for row in distinct.tolist()]
        )
        return made if len(made) == 1 else made[which.reshape(-1)]

    def _energy(self, changed):
        recording = self._recording
        return self._each(
            _OF_ENERGY,
            lambda row: line_kernel(
                recording.simulator, recording._edges[0], recording.energy, row, changed
            ),
        )

    def _smooth_kernel(self, n_points, row, changed):
        recording = self._recording
        return smooth_kernel(
            recording.simulator,
            recording._edges[0],
            recording.energy,
            n_points,
            row,
            changed,
        )

    def _q(self, changed):
        recording = self._recording
        edges, axis = recording._edges[1], recording.q
        return self._each(_OF_Q, lambda row: _q_kernel(edges, axis, row, changed))


def _q_kernel(edges, axis, row, changed):
    """Kernel in moduli or its derivative.

    A sample at q shows at x = scale q / s + offset for a lattice longer by s. Its
    density goes with 1 / s^3 in all: of points over q^2, and of (Q e)^2.
    """
    points = axis.points(beyond=1)
    scale, stretch = row["q_scale"], row["lattice_scale"]
    shown, width = points * scale / stretch, row["q_resolution"]
    sigma = np.hypot(width, axis.blur)
    borders = edges - row["q_offset"]
    weight = scale / stretch**3
    if changed == "q_resolution":
        values = weight * bin_kernel_width_derivative(borders, shown, sigma)
        return axis.coefficients(values * width / sigma)
    values = weight * bin_kernel(borders, shown, sigma)
    if changed is not None:
        moved = weight * bin_kernel_shift_derivative(borders, shown, sigma)
        if changed == "q_offset":
            values = moved
        elif changed == "q_scale":
            values = (moved * shown + values) / scale
        else:
            values = -(moved * shown + 3 * values) / stretch
    return axis.coefficients(values)


def line_axis(simulator, edges, ranges, line_steps=3) -> Axis:
    """Lay the axis of energies for all resolutions and moves in some ranges.

    Parameters
    ----------
    simulator : object
        Its resolution.
    edges : ndarray of shape (n_energy + 1,)
        Borders of the bins in meV.
    ranges : dict
        From names of nuisances to pairs of the least and the largest value.
    line_steps : int, default=3
        Points of the axis within the width of the narrowest resolution and bin.

    Returns
    -------
    Axis
    """
    resolutions = [
        resolution(simulator, value, slope)
        for value in set(ranges["energy_resolution"])
        for slope in set(ranges["energy_resolution_slope"])
    ]
    offsets, scales = ranges["energy_offset"], ranges.get("energy_scale", (1.0, 1.0))

    def moved(border):
        return [(border - offset) / scale for offset in offsets for scale in scales]

    return energy_axis(edges, resolutions, moves=moved, line_steps=line_steps)


def line_kernel(simulator, edges, axis: Axis, row: dict, changed=None) -> Array:
    r"""Return what a line of weight 1 / E^2 adds to each bin of energy.

    Parameters
    ----------
    simulator : object
        Its resolution, quantity and temperature.
    edges : ndarray of shape (n_energy + 1,)
        Borders of the bins in meV.
    axis : Axis
        Where lines are collected.
    row : dict
        From names of nuisances to their values.
    changed : str, default=None
        Nuisance whose derivative is asked for.

    Returns
    -------
    ndarray of shape (n_energy, n_points)
        Times :math:`E` and odd in energy for :math:`\chi''`, or times
        :math:`\varphi(\pm E)` at :math:`\pm E` for S, with
        :math:`\varphi(E) = E\,[n(E) + 1]`.
    """
    points = axis.points(beyond=1)
    chi, kelvins = simulator.quantity == "chi", row["temperature"]
    record = _kernel_of(simulator, edges, row, changed)
    above, below = record(points), record(-points)
    if chi:
        values = (above - below) * points
        if changed == "temperature":
            values = np.zeros_like(values)
    elif changed == "temperature":
        values = above * _warming(points, kelvins) + below * _warming(-points, kelvins)
    else:
        values = above * occupied(points, kelvins) + below * occupied(-points, kelvins)
    return HBAR2_PER_AMU / 2 * (np.pi if chi else 1.0) * axis.coefficients(values)


def smooth_kernel(
    simulator, edges, axis: Axis, n_points: int, row: dict, changed=None
) -> Array:
    """Return how multiples of a step, in the order of a Fourier transform, are seen."""
    numbers = np.arange(-(n_points // 2) - 1, n_points - n_points // 2 + 1)
    energies = axis.step * numbers
    if changed == "temperature":  # it is in the spectra
        return np.zeros((len(edges) - 1, n_points))
    record = _kernel_of(simulator, edges, row, changed)
    values = record(energies)
    if simulator.quantity == "chi":
        values = np.pi * (values - record(-energies))
    return np.roll(axis.coefficients(values), -(n_points // 2), axis=1)


def _kernel_of(simulator, edges, row, changed):
    """Return what takes energies of lines to their kernel or its derivative."""
    value, slope = row["energy_resolution"], row["energy_resolution_slope"]
    offset, scale = row["energy_offset"], row.get("energy_scale", 1.0)
    borders = edges - offset
    widths = widths_inside(edges, resolution(simulator, value, slope))

    def by_slope(points):
        shown = scale * points
        t = (np.clip(shown, edges[0], edges[-1]) - edges[[0, -1]].mean()) / np.ptp(
            edges
        )
        seen = widths(shown)
        change = bin_kernel_width_derivative(borders, shown, seen)
        return change * seen * t / (1 + slope * t)

    def by_width(points):
        shown = scale * points
        seen = widths(shown)
        return bin_kernel_width_derivative(borders, shown, seen) * (seen / value)

    def by_scale(points):
        # the resolution is that of the energy shown, which the scale moves as well
        step = 1e-5 * scale
        moved = [
            bin_kernel(borders, factor * points, widths(factor * points))
            for factor in (scale + step, scale - step)
        ]
        return (moved[0] - moved[1]) / (2 * step)

    def plain(points):
        return bin_kernel(borders, scale * points, widths(scale * points))

    return {
        "energy_resolution": by_width,
        "energy_resolution_slope": by_slope,
        "energy_offset": lambda points: bin_kernel_shift_derivative(
            borders, scale * points, widths(scale * points)
        ),
        "energy_scale": by_scale,
    }.get(changed, plain)


def occupied(energies: Array, temperature: float) -> Array:
    r"""Return :math:`\varphi(E) = E\,[n(E) + 1]` in meV, smooth through zero."""
    elastic = energies == 0
    safe = np.where(elastic, 1.0, energies)
    inelastic = -safe * bose_occupation(-safe, temperature)
    return np.where(elastic, BOLTZMANN * temperature, inelastic)


def _warming(energies, temperature):
    """Return the derivative of `occupied` with the temperature, in meV/K."""
    if temperature == 0:
        return np.zeros_like(energies)
    x = energies / (2 * BOLTZMANN * temperature)
    ratio = np.ones_like(x)
    large = np.abs(x) > 1e-4
    ratio[large] = (x[large] / np.sinh(np.clip(x[large], -350, 350))) ** 2
    return BOLTZMANN * ratio


def energy_kernels(simulator, edges, axis, values, changed=None):
    """Return the different kernels in energy of samples, and which has which.

    Parameters
    ----------
    simulator : object
        Its resolution, quantity and temperature.
    edges : ndarray of shape (n_energy + 1,)
        Borders of the bins in meV.
    axis : Axis
        Where lines are collected.
    values : dict
        From names of nuisances to arrays of shape (n_samples,).
    changed : str, default=None
        Nuisance whose derivative is asked for.

    Returns
    -------
    kernels : ndarray of shape (n_kernels, n_energy, n_points)
    which : ndarray of int of shape (n_samples,)
    """
    names = [name for name in _OF_ENERGY if name in values]
    columns = np.stack([values[name] for name in names], axis=1)
    distinct, which = np.unique(columns, axis=0, return_inverse=True)
    kernels = [
        line_kernel(simulator, edges, axis, dict(zip(names, row, strict=True)), changed)
        for row in distinct.tolist()
    ]
    return np.stack(kernels), which.reshape(-1)
