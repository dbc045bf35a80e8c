"""Recording of powder lines: from axes of energy and modulus to bins.

Lines of a parameter set are collected on an axis of energies and one of moduli
(`_axes`). Everything that an instrument does is in two matrices from these axes to the
bins of the grid: one in energy (`_kernels`) and one in moduli (`_moduli`). They differ
between samples whose nuisances differ, and their derivatives with a nuisance are those
of the spectrum.
"""

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument.nuisance import LINE_WIDTHS
from skphonon.simulation._kernels import (
    OF_ENERGY,
    OF_MODULI,
    distinct_rows,
    line_axis,
    line_kernel,
    smooth_kernel,
)
from skphonon.simulation._moduli import Moduli

__all__ = ["Conditions", "Recording"]

Array = NDArray[np.float64]

_KEPT = 24  # kernels


class Recording:
    """The axes of a simulator, which serve all nuisances in some ranges."""

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
        """Make a kernel, or take one of the latest: most samples have the same."""
        found = self._latest.get(key)
        if found is None:
            found = make()
            if len(self._latest) >= _KEPT:
                self._latest.clear()
            self._latest[key] = found
        return found

    def conditions(self, values: dict) -> "Conditions":
        """Lay out how samples are recorded."""
        return Conditions(self, values)


class Conditions:
    """Kernels of the samples of a batch, and images of what they collect."""

    def __init__(self, recording: Recording, values: dict) -> None:
        self._recording, self.values = recording, values
        self._found: dict = {}

    @property
    def scales(self) -> Array:
        """Factors of the lattice, shape (n_samples,)."""
        return self.values["lattice_scale"]

    def images(self, collected, changed=None):
        """Record what is collected."""
        if changed is None:
            return self._both(collected, None, None)
        found = 0.0
        if changed in OF_ENERGY:
            found = found + self._both(collected, changed, None)
        if changed in OF_MODULI:
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

        return self._each("energy", changed, OF_ENERGY, make)

    def smooth(self, n_points, changed):
        """Return kernels of spectra at multiples of the step, as Fourier transforms."""
        own = self._recording

        def make(row):
            return smooth_kernel(
                own.simulator, own._edges[0], own.energy, n_points, row, changed
            )

        names = [name for name in OF_ENERGY if name not in LINE_WIDTHS]
        return self._each(("smooth", n_points), changed, names, make)

    def q(self, changed):
        """Return kernels in moduli, (n_samples or 1, n_q, n_moduli).

        With an axis of n_energy before the last two where energies differ.
        """
        kernel = self._recording.moduli.kernel
        return self._each("q", changed, OF_MODULI, lambda row: kernel(row, changed))

    def _each(self, kind, changed, names, make):
        """Make what differs between samples; one for all where nothing does."""
        if (kind, changed) not in self._found:
            rows, which = distinct_rows(self.values, names)
            if len(rows) == 1:
                key = kind, changed, *rows[0].values()
                made = self._recording.once(key, lambda: make(rows[0])[None])
            else:
                each = [make(row) for row in rows]
                made = np.stack([each[number] for number in which])
            self._found[kind, changed] = made
        return self._found[kind, changed]
