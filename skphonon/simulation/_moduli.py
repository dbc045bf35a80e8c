"""Kernels in moduli of the momentum transfer: from an axis of them to bins.

The bins of a grid of scattering angles, and a resolution that is a function of |Q| and
energy, give each energy of a spectrum a matrix of its own: that of the middle of its
bin. In the usual bins of angles, up to 1 meV and 5 degrees, that errs by less than 3e-5
of the variance of a spectrum, and with 2 meV at a resolution of 0.6 meV by 2e-4. A mean
over a bin of angles is one over |Q| between its borders.
"""

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument.nuisance import OF_ANGLES
from skphonon.instrument.resolution import (
    bin_kernel,
    bin_kernel_derivative,
)
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M
from skphonon.physics.scattering import momentum_transfer
from skphonon.simulation._axes import q_axis

__all__ = ["Moduli"]

Array = NDArray[np.float64]

_STEP = 1e-5  # 1/Angstrom, in the slope of a resolution that is a function


class Moduli:
    """Bins in moduli of a simulator, and the axis from which kernels take to them.

    The axis is in 1/Angstrom, at the lattice of the model, and serves all values in
    some ranges of nuisances, which are pairs by name.
    """

    def __init__(self, simulator, ranges) -> None:
        self._grid, self._resolution = simulator.grid, simulator.q_resolution
        self._energy = self._grid.axes()[0]
        self._of_angles = hasattr(self._grid, "moduli")
        self._is_function = callable(self._resolution)
        self.differ = self._of_angles or self._is_function
        corners = [
            self._borders({"incident_energy": incident, "two_theta_offset": offset})
            for incident in ranges.get("incident_energy", (None,))
            for offset in ranges.get("two_theta_offset", (0.0,))
        ]
        edges = np.stack(corners) if self._of_angles else corners[0]
        self._ends = _ends(self._grid)

        def moved(border):
            return [
                (border - offset) / scale * stretch
                for offset in ranges["q_offset"]
                for scale in ranges["q_scale"]
                for stretch in ranges["lattice_scale"]
            ]

        widths = self._widths(ranges["q_resolution"])
        if self._of_angles and not min(widths) > 0:
            raise ValueError(
                "q_resolution must be above 0 1/Angstrom for an AngleGrid, some bins "
                "of which have next to no width in |Q|; got 0. Give that of the "
                "instrument."
            )
        self.axis = q_axis(edges, widths, moved)

    @property
    def size(self) -> int:
        """Numbers in a kernel."""
        n_energy = len(self._energy) if self.differ else 1
        return n_energy * self._grid.shape[1] * self.axis.n_points

    def kernel(self, row: dict, changed: str | None = None) -> Array:
        """Return the kernel in moduli or its derivative.

        A sample at q shows at x = scale q / s + offset for a lattice longer by s. Its
        density goes with 1 / s^3 in all: of points over q^2, and of (Q e)^2. Of shape
        ([n_energy,] n_q, n_moduli), the former if energies differ. With `changed`, the
        derivative with that nuisance.
        """
        points = self.axis.points(beyond=1)
        scale, stretch = row["q_scale"], row["lattice_scale"]
        shown = points * scale / stretch
        borders = self._borders(row) - row["q_offset"]
        width = self._sigma(shown + row["q_offset"], row)
        sigma = np.hypot(width, self.axis.blur)
        if changed is None:
            values = bin_kernel(borders, shown, sigma)
        elif changed == "q_resolution":
            values = bin_kernel_derivative(borders, shown, sigma, "width")
            # a function is multiplied by this nuisance, a number is it
            factor = 1.0
            if self._is_function:
                factor = self._values(shown + row["q_offset"])
            values = values * _columns(width / sigma * factor)
        elif changed in OF_ANGLES:
            rates = self._border_rates(row, changed)
            values = _border_change(borders, rates, shown, sigma)
        else:
            values = bin_kernel_derivative(borders, shown, sigma, "place")
            if self._is_function:
                steeper = width / sigma * self._slope(shown + row["q_offset"], row)
                widened = bin_kernel_derivative(borders, shown, sigma, "width")
                values = values + widened * _columns(steeper)
            if changed != "q_offset":
                plain = bin_kernel(borders, shown, sigma)
                power, unit = (1, scale) if changed == "q_scale" else (3, -stretch)
                values = (values * shown + power * plain) / unit
        return scale / stretch**3 * self.axis.coefficients(values)

    def through(self, levels, q):
        """Take spectra at each energy from moduli to bins."""
        q = q.swapaxes(-1, -2)
        if not self.differ:
            q = q.reshape(len(q), *(1,) * (levels.ndim - 3), *q.shape[1:])
            return levels @ q
        shape = levels.shape
        seen = levels.reshape(shape[0], -1, *shape[-2:]).swapaxes(1, 2) @ q
        return seen.swapaxes(1, 2).reshape(*shape[:-1], -1)

    def back(self, images, q):
        """Return the gradient with `levels`, of that with what `through` returns."""
        if not self.differ:
            return images @ q
        return (images[..., None, :] @ q)[..., 0, :]

    def _borders(self, row):
        """Return the borders of bins as shown, (n_q + 1,) or (n_energy, n_q + 1)."""
        if not self._of_angles:
            return self._grid.edges()[1]
        angles = self._angles(row)
        incident = row["incident_energy"]
        return momentum_transfer(self._energy[:, None], incident, angles)

    def _angles(self, row):
        angles = self._grid.edges()[1] - row["two_theta_offset"]
        inside = np.clip(angles, 0.0, 180.0)
        if not (np.diff(inside) > 0).all():
            raise ValueError(
                "two_theta_offset must leave all bins of the grid between 0 and 180 "
                f"degrees, got {row['two_theta_offset']:g} for bins from "
                f"{angles[0] + row['two_theta_offset']:g} to "
                f"{angles[-1] + row['two_theta_offset']:g}."
            )
        if not row["incident_energy"] > self._energy[-1]:
            raise ValueError(
                "incident_energy must be above the energies of the grid, which reach "
                f"{self._energy[-1]:g} meV, got {row['incident_energy']:g} meV."
            )
        return inside

    def _border_rates(self, row, name):
        r"""Return derivatives of the borders.

        With :math:`c\,Q^2 = E_i + E_f - 2 \sqrt{E_i E_f} \cos 2\theta`.
        """
        angles, incident = np.deg2rad(self._angles(row)), row["incident_energy"]
        outgoing = (incident - self._energy)[:, None]
        root = np.sqrt(incident * outgoing)
        if name == "incident_energy":
            rates = 1 - (incident + outgoing) / (2 * root) * np.cos(angles)
        else:  # an angle that is none does not move
            inside = (angles > 0) & (angles < np.pi)
            rates = -np.deg2rad(1.0) * root * np.sin(angles) * inside
        borders = self._borders(row)
        rates = rates / NEUTRON_HBAR2_OVER_2M
        return np.where(borders > 0, rates, 0.0) / np.where(borders > 0, borders, 1.0)

    def _widths(self, factors):
        """Return the least and the largest resolution."""
        if not self._is_function:
            return factors
        low, high = self._ends
        seen = self._values(np.linspace(low, high, 400))
        return min(factors) * seen.min(), max(factors) * seen.max()

    def _sigma(self, shown, row):
        if not self._is_function:
            return row["q_resolution"]
        return row["q_resolution"] * self._values(shown)

    def _slope(self, shown, row):
        """Return the derivative of the resolution with the modulus."""
        above, below = self._values(shown + _STEP), self._values(shown - _STEP)
        return row["q_resolution"] * (above - below) / (2 * _STEP)

    def _values(self, shown):
        """Return the function, (n_energy, n); beyond the grid its value at the ends."""
        q = np.clip(shown, *self._ends)[None]
        widths = np.asarray(self._resolution(q, self._energy[:, None]), dtype=float)
        shape = len(self._energy), q.shape[1]
        try:
            widths = np.broadcast_to(widths, shape)
        except ValueError:
            raise ValueError(
                "q_resolution must return a width for each of |Q| and energy, as they "
                f"broadcast: shape {shape}; got {widths.shape}."
            ) from None
        if not ((widths > 0) & np.isfinite(widths)).all():
            raise ValueError(
                "q_resolution must return finite widths above 0 1/Angstrom, got "
                f"{np.min(widths):g} to {np.max(widths):g}."
            )
        return widths


def _ends(grid):
    """Return the least and the largest modulus of a grid."""
    if hasattr(grid, "moduli"):
        energy, two_theta = grid.axes()[0], grid.edges()[1]
        seen = momentum_transfer(energy[:, None], grid.incident_energy, two_theta)
    else:
        seen = grid.edges()[1]
    return float(seen.min()), float(seen.max())


def _columns(widths):
    """Return widths by point, to go with arrays of borders and points."""
    widths = np.asarray(widths)
    return widths[..., None, :] if widths.ndim else widths


def _border_change(borders, rates, shown, sigma):
    """Return the derivative of means over bins as their borders move at some rates."""
    plain = bin_kernel(borders, shown, sigma)
    sigma = _columns(sigma)
    heights = np.exp(-(((borders[..., None] - shown) / sigma) ** 2) / 2)
    heights = heights / (np.sqrt(2 * np.pi) * sigma) * rates[..., None]
    grown = np.diff(heights, axis=-2) - plain * np.diff(rates)[..., None]
    return grown / np.diff(borders)[..., None]
