r"""Even axes on which spectral lines are collected, by cubic B-splines.

A line adds to four points of an axis, from which a matrix makes the broadened bins. For
a smooth function H,

.. math:: H(x) \approx \sum_l B\!\left(\frac{x - x_l}{h}\right)
          \left[H_l - \tfrac16\,(H_{l+1} - 2 H_l + H_{l-1})\right],

which is exact for cubics (de Boor, *A Practical Guide to Splines*, chapter XII), so
that a spectrum is a smooth function of where each line is.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_array

from skphonon.instrument.resolution import resolve_widths, total_width

__all__ = [
    "Axis",
    "Places",
    "collecting_matrix",
    "energy_axis",
    "inverse_square",
    "q_axis",
    "slope_weights",
    "widths_inside",
]

Array = NDArray[np.float64]

_REACH = 5.0  # widths of the resolution beyond which a line is not seen
_LINE_STEPS = 3  # points of the energy axis within a width of the resolution
_Q_STEPS = 1.4  # and of that of |Q|, where each spectrum is of very many lines
_SHARP = 0.1  # of resolution and bin together, below which a resolution is none
_SHARP_STEPS = 8  # and of a resolution much narrower than a bin
_ROUNDING = 1e-6  # of a step: axes of the same window have the same points
_SOFTEST = 1e-6  # meV^2: softer modes, sound of infinite wavelength, do not scatter


class Axis(NamedTuple):
    """An even axis on which lines are collected: point number l lies at l * step."""

    step: float
    first: int  # number of the first point
    n_points: int
    smooth: bool  # whether the resolution is resolved by the step

    @property
    def blur(self) -> float:
        """Width that a point has where it does not resolve the borders of bins.

        Without it they would hold one point more or one less.
        """
        return 0.0 if self.smooth else self.step / 3**0.5

    def points(self, beyond: int = 0) -> Array:
        """Return where the points are, with so many more at either end."""
        start, stop = self.first - beyond, self.first + self.n_points + beyond
        return self.step * np.arange(start, stop, dtype=float)

    def coefficients(self, values: Array) -> Array:
        """Return spline coefficients of values at `points(beyond=1)`, on the last axis.

        Where the resolution is not resolved they are the values themselves, which are
        never negative.
        """
        inner = values[..., 1:-1]
        if not self.smooth:
            return inner
        return 4 / 3 * inner - (values[..., 2:] + values[..., :-2]) / 6

    def samples(self, values: Array) -> Array:
        """Return the integrals of the splines with a function, from `points(beyond=1)`.

        They are what lines as dense as the function add to the points.
        """
        inner = values[..., 1:-1]
        if self.smooth:
            inner = inner + (values[..., 2:] - 2 * inner + values[..., :-2]) / 6
        return self.step * inner

    def samples_back(self, slopes: Array) -> Array:
        """Return the gradient with `values` of a scalar from that with `samples`."""
        beside = self.step / 6 if self.smooth else 0.0
        found = np.zeros((*slopes.shape[:-1], self.n_points + 2))
        found[..., 1:-1] = (self.step - 2 * beside) * slopes
        found[..., 2:] += beside * slopes
        found[..., :-2] += beside * slopes
        return found

    def places(self, positions: Array) -> "Places":
        """Find the places of lines."""
        steps = positions / self.step - self.first
        inside = np.clip(steps, 1.0, self.n_points - 2.001)
        node = inside.astype(np.int32)
        return Places(node - 1, inside - node, inside == steps)


class Places(NamedTuple):
    """Positions of lines on an axis; each is shared by four points of it."""

    node: NDArray[np.int32]  # the first of the four, counted from the start of the axis
    fraction: Array  # of the way from the second point to the third
    seen: NDArray[np.bool_]  # False for lines beyond the axis

    def weights(self) -> Array:
        """Return the shares of the four points, along a further axis."""
        t = self.fraction
        squared = t * t
        shares = np.empty((*t.shape, 4))
        last = squared * t / 6
        shares[..., 3] = last
        shares[..., 0] = (1 / 6 - last) + (squared - t) / 2
        shares[..., 2] = (1 / 6 - 3 * last) + (squared + t) / 2
        shares[..., 1] = 1 - shares[..., 0] - shares[..., 2] - last
        return shares

    def tilts(self) -> Array:
        """Return the derivatives of the shares with the position, in steps."""
        t = self.fraction
        half = t * t / 2
        tilts = np.empty((*t.shape, 4))
        tilts[..., 3] = half
        tilts[..., 0] = t - half - 0.5
        tilts[..., 2] = t - 3 * half + 0.5
        tilts[..., 1] = -tilts[..., 0] - tilts[..., 2] - half
        return tilts


def inverse_square(eigenvalues: Array) -> Array:
    """Return 1 / E^2 of lines, zero for modes too soft to scatter."""
    return (eigenvalues > _SOFTEST) / np.maximum(eigenvalues, _SOFTEST)


def slope_weights(places: Places, inverse: Array, step: float) -> Array:
    """Return derivatives with E^2 of what lines of weight 1 / E^2 add to four points.

    Of energies E at `places`, with 1 / E^2 in `inverse`, on an axis of this step.
    """
    inverse = inverse[..., None]
    tilts = places.tilts() * (np.sqrt(inverse) / (2 * step))
    return inverse * (tilts - places.weights() * inverse)


def collecting_matrix(starts: NDArray, weights: Array, n_rows: int) -> csc_array:
    """Return the matrix whose columns add lines to four rows each, from a start on."""
    index = (starts.reshape(-1, 1) + np.arange(4)).astype(np.int32).ravel()
    ends = np.arange(0, len(index) + 1, 4, dtype=np.int32)
    return csc_array((weights.ravel(), index, ends), shape=(n_rows, starts.size))


def energy_axis(
    edges: ArrayLike,
    resolutions,
    *,
    moves: Callable[[float], Sequence[float]] | None = None,
    line_steps: int = _LINE_STEPS,
    tails: tuple[float, float] | None = None,
) -> Axis:
    """Lay an energy axis under the bins of a spectrum.

    It resolves and reaches all `resolutions`. A border may stand for the energies that
    `moves` takes it to; `tails` are the ends of a range that the axis holds as well.
    """
    edges = np.asarray(edges, dtype=float)
    inside = np.linspace(edges[0], edges[-1], 4 * len(edges))
    seen = np.array([resolve_widths(r, inside) for r in resolutions])
    width = total_width(edges, seen.min())
    smooth = bool(seen.min() >= width / _LINE_STEPS)
    step = width / (line_steps if smooth else max(line_steps, _SHARP_STEPS))
    reach = max(_REACH * seen.max(), 2 * step)
    ends = [edges[0], edges[-1]]
    if moves is not None:
        ends = [min(moves(ends[0])), max(moves(ends[1]))]
    if tails is not None:
        ends = [min(ends[0], tails[0]), max(ends[1], tails[1])]
    crosses_zero = ends[0] < 0 < ends[1]
    nearest = 0.0 if crosses_zero else max(np.abs(ends).min() - reach, 0.0)
    first = int(np.floor(nearest / step + _ROUNDING)) - 2
    last = int(np.ceil((np.abs(ends).max() + reach) / step - _ROUNDING)) + 2
    return Axis(step, first, last - first + 1, smooth)


def q_axis(edges: ArrayLike, widths: tuple[float, float], moves) -> Axis:
    """Lay an axis of moduli under the bins of a spectrum.

    For resolutions between two widths; `moves` is as for `energy_axis`.
    """
    edges = np.asarray(edges, dtype=float)
    top = edges.max()
    low, high = min(moves(edges.min())), max(moves(top))
    stretch = min(moves(top)) / top
    width = total_width(edges, widths[0])
    smooth = bool(widths[0] >= _SHARP * width)
    step = stretch * (widths[0] / _Q_STEPS if smooth else width / _SHARP_STEPS)
    reach = max(_REACH * widths[1] * high / top, 2 * step)
    first = int(np.floor(max(low - reach, 0.0) / step + _ROUNDING)) - 1
    last = int(np.ceil((high + reach) / step - _ROUNDING)) + 2
    return Axis(step, first, last - first + 1, smooth)


def widths_inside(edges: Array, resolution) -> Callable[[Array], Array]:
    """Return widths of lines by energy; beyond the spectrum, those at its border."""
    return lambda energies: resolve_widths(
        resolution, np.clip(energies, edges[0], edges[-1])
    )
