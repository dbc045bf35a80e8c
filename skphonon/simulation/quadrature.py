r"""Where a powder average is sampled: directions, moduli and the energy axis of lines.

Lines are collected on a fine, even energy axis by cubic B-splines (four points a line),
from which a matrix makes the broadened bins. For a smooth function H of energy,

.. math:: H(E) \approx \sum_l B\!\left(\frac{E - E_l}{h}\right)
          \left[H_l - \tfrac16\,(H_{l+1} - 2 H_l + H_{l-1})\right],

which is exact for cubics (de Boor, *A Practical Guide to Splines*, chapter XII), so
that the spectrum is a smooth function of the energy of each line.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.physics.constants import BOLTZMANN
from skphonon.physics.scattering import bose_occupation
from skphonon.simulation.resolution import resolve_widths, total_width

__all__ = ["EnergyAxis", "energy_axis", "independent_directions", "radial_samples"]

Array = NDArray[np.float64]

_REACH = 5.0  # widths of the resolution beyond which a line is not seen
_LINE_STEPS = 3  # points of the energy axis within a width of the resolution
_SHARP_STEPS = 8  # and of a resolution much narrower than a bin
_Q_STEPS = 0.8  # samples of |Q| within a width of the resolution: 1e-5 of aliasing
_SHARP_Q_STEPS = 2  # and where bins are much wider than the resolution
_SMOOTH_Q = 0.7  # steps in a width from which on the resolution smooths bins
_ASYMMETRIC = np.array([0.42, 0.27, 0.87])  # lies on no symmetry element
_NEAREST = 5  # borders of its wedge that are looked at first


class EnergyAxis(NamedTuple):
    """An even axis in energy on which lines are collected.

    Parameters
    ----------
    step : float
        Distance between points in meV.
    first : int
        Number of the first point; point number l lies at l * step.
    n_points : int
        Number of points.
    edges : ndarray of shape (n_energy + 1,)
        Borders of the energy bins in meV.
    widths : callable
        From energies to standard deviations of the resolution in meV.
    smooth : bool
        Whether the resolution is resolved by the step.
    """

    step: float
    first: int
    n_points: int
    edges: Array
    widths: Callable[[Array], Array]
    smooth: bool

    def points(self) -> Array:
        """Return the energies of the points.

        Returns
        -------
        ndarray of shape (n_points,)
            In meV.
        """
        numbers = np.arange(self.first, self.first + self.n_points, dtype=float)
        return self.step * numbers


def energy_axis(
    edges: ArrayLike,
    resolution,
    *,
    extremes=None,
    shifts=(0.0, 0.0),
    line_steps: int = _LINE_STEPS,
) -> EnergyAxis:
    """Lay an energy axis under the bins of a spectrum.

    Parameters
    ----------
    edges : array-like of shape (n_energy + 1,)
        Borders of the energy bins in meV.
    resolution : float or callable
        Standard deviation of the resolution in meV, or a function from energy to it.
    extremes : sequence of float or callable, default=None
        The resolutions that the axis shall resolve and reach; None for `resolution`.
    shifts : pair of float, default=(0.0, 0.0)
        Least and largest shift of the borders in meV that it shall serve.
    line_steps : int, default=3
        Points of the axis within the width of the narrowest resolution and bin: three
        do for an average over many lines.

    Returns
    -------
    EnergyAxis
        For energies that are not negative, with what splines near zero need below it.
    """
    edges = np.asarray(edges, dtype=float)
    inside = np.linspace(edges[0], edges[-1], 4 * len(edges))
    widths = widths_inside(edges, resolution)
    served = [resolution] if extremes is None else extremes
    seen = np.array([widths_inside(edges, r)(inside) for r in served])
    width = total_width(edges, seen.min())
    smooth = bool(seen.min() >= width / _LINE_STEPS)
    step = width / (line_steps if smooth else max(line_steps, _SHARP_STEPS))
    reach = max(_REACH * seen.max(), 2 * step)
    ends = edges[0] + shifts[0], edges[-1] + shifts[1]
    crosses_zero = ends[0] < 0 < ends[1]
    nearest = 0.0 if crosses_zero else max(np.abs(ends).min() - reach, 0.0)
    first = int(np.floor(nearest / step)) - 2
    last = int(np.ceil((np.abs(ends).max() + reach) / step)) + 2
    return EnergyAxis(step, first, last - first + 1, edges, widths, smooth)


def widths_inside(edges: Array, resolution) -> Callable[[Array], Array]:
    """Return widths of lines by energy; beyond the spectrum, those at its border."""
    return lambda energies: resolve_widths(
        resolution, np.clip(energies, edges[0], edges[-1])
    )


def line_kernel(axis: EnergyAxis, quantity: str, temperature: float, kernel) -> Array:
    r"""Return what a line collected on the axis adds to each bin.

    Parameters
    ----------
    axis : EnergyAxis
        The axis.
    quantity : {"chi", "sqe"}
        Which function is recorded.
    temperature : float
        Temperature in K.
    kernel : callable
        Like `bin_kernel`: from edges, line positions and widths to densities.

    Returns
    -------
    ndarray of shape (n_energy, n_points)
        For lines of weight :math:`1/E^2`: times :math:`E` and odd in energy for
        :math:`\chi''`, or times :math:`\varphi(\pm E)` at :math:`\pm E` for S, with
        :math:`\varphi(E) = E\,[n(E) + 1]`.
    """
    points = axis.points()
    points = np.concatenate([[points[0] - axis.step], points, [points[-1] + axis.step]])
    above = kernel(axis.edges, points, axis.widths(points))
    below = kernel(axis.edges, -points, axis.widths(-points))
    if quantity == "chi":
        values = (above - below) * points
    else:
        values = above * occupied(points, temperature)
        values += below * occupied(-points, temperature)
    return sharpened(values, axis.smooth)


def occupied(energies: Array, temperature: float) -> Array:
    r"""Return :math:`\varphi(E) = E\,[n(E) + 1]` in meV, smooth through zero."""
    elastic = energies == 0
    safe = np.where(elastic, 1.0, energies)
    inelastic = -safe * bose_occupation(-safe, temperature)
    return np.where(elastic, BOLTZMANN * temperature, inelastic)


def sharpened(values: Array, smooth: bool) -> Array:
    """Return spline coefficients of values sampled along the last axis, less its ends.

    Without smoothness they are the values themselves, which are never negative.
    """
    inner = values[:, 1:-1]
    if not smooth:
        return inner
    return inner - (values[:, 2:] - 2 * inner + values[:, :-2]) / 6


def radial_samples(
    edges: ArrayLike,
    mask: NDArray[np.bool_],
    sigma: float,
    offset: float = 0.5,
    *,
    widest: float | None = None,
    scales: tuple[float, float] = (1.0, 1.0),
) -> tuple[Array, float]:
    r"""Return samples of \|Q\| that cover the visible bins and their resolution.

    Parameters
    ----------
    edges : array-like of shape (n_q + 1,)
        Borders of the bins in 1/Angstrom.
    mask : ndarray of bool of shape (n_energy, n_q)
        True where a pixel is visible.
    sigma : float
        Standard deviation of the resolution in 1/Angstrom.
    offset : float, default=0.5
        Where the samples lie between multiples of their distance; others make another
        set that is equally good.
    widest : float, default=None
        Another standard deviation, not below `sigma`, that they shall cover.
    scales : pair of float, default=(1.0, 1.0)
        Least and largest factor by which the lattice is longer than that to which the
        samples refer: a sample stands for itself divided by the factor.

    Returns
    -------
    samples : ndarray of shape (n_samples,)
        In 1/Angstrom; never zero.
    step : float
        Distance between them: ``bin_kernel(edges, samples, sigma) * step`` is the share
        of each sample in each bin.

    Raises
    ------
    ValueError
        If the factor varies and there is no resolution to smooth the borders of bins.
    """
    edges = np.asarray(edges, dtype=float)
    width = total_width(edges, sigma)
    visible = np.flatnonzero(mask.any(axis=0))
    reach = _REACH * (sigma if widest is None else widest)
    first = max(edges[visible[0]] - reach, 0.0)
    last = edges[visible[-1] + 1] + reach
    step = width / _Q_STEPS
    if sigma < _SMOOTH_Q * step:
        # the borders of bins are sharp: keep in step with them, or make steps fine
        step, first = (
            _in_step(edges, width, first)
            if scales[0] == scales[1]
            else (_fine_step(sigma), first)
        )
    step, first, last = scales[0] * step, scales[0] * first, scales[1] * last
    n_samples = int(np.ceil((last - first) / step - 1e-6))
    samples = first + (np.arange(n_samples + 1) + offset) * step
    return samples[(samples > 0) & (samples < last + step / 2)], step


def _in_step(edges, width, first):
    bin_width = np.diff(edges).min()
    step = bin_width / np.ceil(bin_width / width * _SHARP_Q_STEPS)
    return step, edges[0] + np.floor((first - edges[0]) / step) * step


def _fine_step(sigma):
    if sigma == 0:
        raise ValueError(
            "q_resolution must be above 0 where lattice_scale varies: borders of bins "
            "that nothing smooths would move past the samples of |Q|. Give it a width, "
            "or one lattice_scale to all spectra of a call."
        )
    return sigma / _SMOOTH_Q


def independent_directions(group, n_directions, turn=0):
    """Return evenly spread directions, one for each set that symmetry relates.

    Parameters
    ----------
    group : ndarray of shape (n_rotations, 3, 3)
        Cartesian rotations of the point group.
    n_directions : int
        Directions over the whole sphere.
    turn : int, default=0
        Number of a further, equally good set, shifted against the others, so that
        neighbouring shells sample different directions.

    Returns
    -------
    ndarray of shape (about n_directions / n_rotations, 3)
        Unit vectors, at least one.
    """
    golden = (1 + np.sqrt(5)) / 2
    position = np.arange(n_directions) + (0.5 + turn * golden) % 1
    height = 1 - 2 * position / n_directions
    angle = 2 * np.pi * ((position / golden + turn * np.sqrt(2)) % 1)
    ring = np.sqrt(1 - height**2)
    sphere = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
    # the wedge nearest to a direction of no symmetry holds one of each related set
    borders = _ASYMMETRIC - group @ _ASYMMETRIC
    borders = borders[np.linalg.norm(borders, axis=1).argsort()][1:]
    for border in borders[:_NEAREST]:  # few of the many are left after these
        sphere = sphere[sphere @ border >= -1e-12]
    inside = (sphere @ borders.T >= -1e-12).all(axis=1)
    return (
        sphere[inside]
        if inside.any()
        else _ASYMMETRIC[None] / np.linalg.norm(_ASYMMETRIC)
    )
