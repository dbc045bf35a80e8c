"""How a powder instrument records lines: from axes of energy and modulus to bins.

Lines of a parameter set are collected on an axis of energies and one of moduli
(`_axes`). Everything that an instrument does is in two matrices from these axes to the
bins of the grid, one of either: they differ between samples whose nuisances differ, and
their derivatives with a nuisance are those of the spectrum. The width of phonons is in
that of energies (`_damping`). The matrix in moduli differs between the energies of a
grid of scattering angles, and where its resolution does (`_moduli`).
"""

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument.nuisance import LINE_WIDTHS, OF_ANGLES, resolution
from skphonon.instrument.resolution import (
    bin_kernel,
    bin_kernel_shift_derivative,
    bin_kernel_width_derivative,
)
from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.physics.scattering import bose_occupation
from skphonon.simulation._axes import Axis, energy_axis, widths_inside
from skphonon.simulation._damping import damped_shares
from skphonon.simulation._moduli import Moduli

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
    *LINE_WIDTHS,
)
_OF_Q = ("q_resolution", "q_offset", "q_scale", "lattice_scale", *OF_ANGLES)
_KEPT = 24  # kernels
_TAILS = 200.0  # half widths of a line beyond which it adds nothing to a spectrum
_HIGHEST = 1.5  # of the reference: energies that modes of other constants may have
_DAMPED_STEPS = 3  # of what damped lines are integrated on, in one of their axis
_DAMPED_REACH = 8.0  # widths of the resolution beyond which they are not seen


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
    moduli : Moduli
        Kernels from that to the bins.
    """

    def __init__(self, simulator, ranges) -> None:
        self.simulator = simulator
        self._latest: dict = {}
        self._edges = simulator.grid.edges()
        self.energy = line_axis(simulator, self._edges[0], ranges)
        self.moduli = Moduli(simulator, ranges)
        self.q = self.moduli.axis

    @property
    def image_shape(self) -> tuple[int, int]:
        """Numbers of bins in energy and in modulus."""
        return len(self._edges[0]) - 1, len(self._edges[1]) - 1

    def once(self, key, make):
        """Make a kernel, or take one of the latest: most samples have the same.

        Parameters
        ----------
        key : tuple
            What the kernel is, with the values of nuisances.
        make : callable
            What makes it.

        Returns
        -------
        ndarray
        """
        found = self._latest.get(key)
        if found is None:
            found = make()
            if len(self._latest) >= _KEPT:
                self._latest.clear()
            self._latest[key] = found
        return found

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
        return self.energy(None).swapaxes(-1, -2) @ self._recording.moduli.back(
            images, self.q(None)
        )

    def _both(self, collected, of_energy, of_q):
        energy = self.energy(of_energy)
        while energy.ndim < collected.ndim:
            energy = energy[:, None]
        return self._recording.moduli.through(energy @ collected, self.q(of_q))

    def energy(self, changed):
        """Return kernels of lines, (n_samples or 1, n_energy, n_energies)."""
        own = self._recording

        def make(row):
            return line_kernel(own.simulator, own._edges[0], own.energy, row, changed)

        return self._each("energy", changed, _OF_ENERGY, make)

    def smooth(self, n_points, changed):
        """Return kernels of spectra at multiples of the step, as Fourier transforms."""
        own = self._recording

        def make(row):
            return smooth_kernel(
                own.simulator, own._edges[0], own.energy, n_points, row, changed
            )

        names = [name for name in _OF_ENERGY if name not in LINE_WIDTHS]
        return self._each(("smooth", n_points), changed, names, make)

    def q(self, changed):
        """Return kernels in moduli, (n_samples or 1, n_q, n_moduli).

        With an axis of n_energy before the last two where energies differ.
        """
        kernel = self._recording.moduli.kernel
        return self._each("q", changed, _OF_Q, lambda row: kernel(row, changed))

    def _each(self, kind, changed, names, make):
        """Make what differs between samples; one for all where nothing does."""
        if (kind, changed) not in self._found:
            names = [name for name in names if name in self.values]
            columns = np.stack([self.values[name] for name in names], axis=1)
            rows, which = np.unique(columns, axis=0, return_inverse=True)
            rows = [dict(zip(names, row, strict=True)) for row in rows.tolist()]
            if len(rows) == 1:
                key = kind, changed, *rows[0].values()
                made = self._recording.once(key, lambda: make(rows[0])[None])
            else:
                each = [make(row) for row in rows]
                made = np.stack([each[number] for number in which.reshape(-1)])
            self._found[kind, changed] = made
        return self._found[kind, changed]


def line_axis(simulator, edges, ranges, line_steps=3) -> Axis:
    """Lay the axis of energies for all resolutions and moves in some ranges.

    Parameters
    ----------
    simulator : object
        Its resolution, and where lines are wide its model, for the highest energy.
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

    tails = _tails(simulator, edges, ranges)
    return energy_axis(
        edges, resolutions, moves=moved, line_steps=line_steps, tails=tails
    )


def _tails(simulator, edges, ranges):
    """Energies of modes of which a spectrum sees tails, None without line widths."""
    widths = [max(ranges.get(name, (0.0,))) for name in LINE_WIDTHS]
    if not any(any(ranges.get(name, (0.0,))) for name in LINE_WIDTHS):
        return None
    top = np.abs(edges).max()
    if simulator.model.reference is None:
        return 0.0, top
    points, _ = simulator.model.mesh(4)
    highest = np.max(simulator.model.frequencies(simulator.model.reference, points))
    gamma = max(np.polynomial.polynomial.polyval(top, widths), 0.0)
    return 0.0, float(min(_HIGHEST * highest, top + _TAILS * gamma))


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
    widths = tuple(row.get(name, 0.0) for name in LINE_WIDTHS)
    if any(widths) or changed in LINE_WIDTHS:
        values = _damped(simulator, edges, axis, row, widths, changed)
    else:
        points, record = (
            axis.points(beyond=1),
            _kernel_of(simulator, edges, row, changed),
        )
        values = sum(
            record(energies) * _strengths(simulator, energies, row, changed)
            for energies in (points, -points)
        )
    chi = simulator.quantity == "chi"
    return HBAR2_PER_AMU / 2 * (np.pi if chi else 1.0) * axis.coefficients(values)


def _strengths(simulator, energies, row, changed):
    """E or phi(E), of energies of both signs, or its derivative."""
    kelvins = row["temperature"]
    if simulator.quantity == "chi":
        return np.zeros_like(energies) if changed == "temperature" else energies
    occupation = _warming if changed == "temperature" else occupied
    return occupation(energies, kelvins)


def _damped(simulator, edges, axis, row, widths, changed):
    """Means of what undamped lines add, over the densities of damped ones."""
    own = _damped_axis(simulator, edges, axis, row)
    energies = own.points(beyond=2)
    record = _kernel_of(simulator, edges, row, changed)
    values = record(energies) * _strengths(simulator, energies, row, changed)
    # one term more than `Axis.coefficients`: there are no other lines to average over
    second = np.diff(values, 2)
    values = values[:, 2:-2] - second[:, 1:-1] / 6 + np.diff(second, 2) / 36
    number = LINE_WIDTHS.index(changed) if changed in LINE_WIDTHS else None
    return values @ damped_shares(own, axis, widths, number)


def _damped_axis(simulator, edges, axis, row) -> Axis:
    """Energies of both signs at which a spectrum sees anything, finely.

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
    """Return how multiples of a step, in the order of a Fourier transform, are seen."""
    numbers = np.arange(-(n_points // 2) - 1, n_points - n_points // 2 + 1)
    energies = axis.step * numbers
    if changed == "temperature" or changed in LINE_WIDTHS:  # they are in the spectra
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
