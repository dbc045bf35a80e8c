r"""One-phonon spectra of classes of atoms, and their convolutions.

The spectrum of an atom of mass m and density of states g,

.. math:: f(E) = \frac{\hbar^2}{2 m}\,\frac{g(|E|)}{E}\,[n(E) + 1],

has its mean-square displacement along a line as integral. A mesh misses the slowest
waves, next to the zone centre: what is missing of the integral is put next to zero
energy, as sound has it.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from skphonon.instrument.nuisance import LINE_WIDTHS
from skphonon.physics.constants import HBAR2_PER_AMU
from skphonon.simulation._axes import (
    Axis,
    collecting_matrix,
    inverse_square,
    slope_weights,
)
from skphonon.simulation._damping import damped_lines
from skphonon.simulation._kernels import occupied, warming

__all__ = ["Classes", "PhononSpectra"]

Array = NDArray[np.float64]

_FAR, _HIGHEST = 10.0, 600.0  # of the window, and meV: modes above scatter nothing
_SLOW_STEPS = 3  # of the energy axis, up to which the slowest waves are put


class Classes:
    """Classes of atoms that symmetry relates, and points that resolve their states."""

    def __init__(self, model, weights) -> None:
        _, permutations = model.symmetry_operations()
        _, of_class = np.unique(permutations.min(axis=0), return_inverse=True)
        n_classes = of_class.max() + 1
        self.members = (of_class == np.arange(n_classes)[:, None]).astype(float)
        self.scale = HBAR2_PER_AMU / (2 * self.means(model.atomic_masses))
        self.points = np.flatnonzero(weights)
        self.weights = weights[self.points]

    def means(self, of_atoms):
        """Return means over the atoms of each class, along the last axis."""
        return of_atoms @ self.members.T / self.members.sum(axis=1)


class PhononSpectra:
    """One-phonon spectra of the parameter sets of a batch, collected and convolved.

    At multiples of the step of the axis `seen`, in the order of a Fourier transform.
    """

    def __init__(self, classes, n_orders, seen: Axis, found, conditions) -> None:
        self.classes, self.n_orders, step = classes, n_orders, seen.step
        self.eigenvalues = found.eigenvalues[:, classes.points]
        self.vectors = found.vectors[:, classes.points]
        highest = np.sqrt(max(float(self.eigenvalues.max()), step**2))
        # wild constants have energies that no window and no memory holds
        highest = min(highest, max(_FAR * seen.points()[-1], _HIGHEST))
        self.axis = Axis(step, -2, int(highest / step) + 7, True)
        reach = int(n_orders * (highest / step + 3)) + 1
        self.widths = np.stack(
            [conditions.values[name] for name in LINE_WIDTHS], axis=1
        )
        if self.widths.any():  # tails fill the spectrum
            reach = max(reach, seen.first + seen.n_points)
        self.n_points = next_fast_len(2 * reach + 1, real=True)
        self.places = self.axis.places(np.sqrt(np.maximum(self.eigenvalues, 0.0)))
        self.inverse = inverse_square(self.eigenvalues) * self.places.seen
        self.kelvins = conditions.values["temperature"]
        self._energies = self.axis.points()
        self._occupations: dict = {}  # by function
        numbers = np.arange(self.axis.first, self.axis.first + self.axis.n_points)
        self._zero = numbers == 0
        self._above, self._below = (sign * numbers % self.n_points for sign in (1, -1))
        # what sound has of f: n(E) + 1 times E
        ratio = self._energies / (_SLOW_STEPS * step)
        inside = (self._energies >= 0) & (ratio < 1)
        self._sound = np.where(inside, (1 - ratio**2) ** 2, 0.0)
        self.slow = self._both(self._sound, 0.5)
        self.slow_sum = self.slow.sum(axis=-1, keepdims=True)

    def _both(self, collected, at_zero=1.0, occupation=occupied):
        """Put what is collected, times the occupation, at both signs of energy."""
        above, below = self._factors(occupation)
        shape = np.broadcast_shapes(collected.shape, above.shape)
        collected = np.array(np.broadcast_to(collected, shape))
        collected[..., self._zero] *= at_zero
        both = np.zeros((*collected.shape[:-1], self.n_points))
        both[..., self._above] += collected * above
        both[..., self._below] += collected * below
        return both

    def _factors(self, occupation):
        """Return occupations at the points of the axis, and at minus their energies."""
        if occupation not in self._occupations:
            self._occupations[occupation] = tuple(
                np.stack([occupation(energies, kelvin) for kelvin in self.kelvins])
                for energies in (self._energies, -self._energies)
            )
        return (factors[:, None] for factors in self._occupations[occupation])

    def _lines(self, collected, occupation=occupied, changed=None):
        """Put collected lines of some widths, times the occupation, at both signs."""
        if changed is None and not self.widths.any():
            return self._both(collected, occupation=occupation)
        spread = collected @ self._damped(changed).swapaxes(-1, -2)
        return spread * self._at_both(occupation)

    def _damped(self, changed=None):
        number = None if changed is None else LINE_WIDTHS.index(changed)
        return np.stack(
            [
                damped_lines(self.axis, self.n_points, tuple(row), number)
                for row in self.widths.tolist()
            ]
        )

    def _at_both(self, occupation):
        """Return occupations at multiples of the step, of each sample."""
        numbers = np.arange(self.n_points)
        numbers[numbers > (self.n_points - 1) // 2] -= self.n_points
        return np.stack(
            [occupation(self.axis.step * numbers, kelvin) for kelvin in self.kelvins]
        )[:, None]

    def _both_back(self, slopes):
        """Return the gradient with what is collected, from that with both signs."""
        if self.widths.any():
            return (slopes * self._at_both(occupied)) @ self._damped()
        above, below = self._factors(occupied)
        return slopes[..., self._above] * above + slopes[..., self._below] * below

    def strengths(self):
        """Return the part that each class has in each mode, (s, n, j, c)."""
        squares = (self.vectors * self.vectors.conj()).real
        n_samples, n_points, _, n_modes = squares.shape
        of_atoms = squares.reshape(n_samples, n_points, -1, 3, n_modes).sum(axis=3)
        return of_atoms.swapaxes(2, 3) @ self._mixing()

    def _mixing(self):
        """Return the matrix that averages over the atoms of classes and directions."""
        members = self.classes.members
        return members.T / (3 * members.sum(axis=1))

    def _matrix(self, weights):
        n_samples, n_points = len(weights), self.axis.n_points
        starts = self.places.node + (np.arange(n_samples) * n_points)[:, None, None]
        weights = weights * self.classes.weights[:, None, None]
        return collecting_matrix(starts, weights, n_samples * n_points)

    @cached_property
    def _levels(self):
        return self._matrix(self.places.weights() * self.inverse[..., None])

    @cached_property
    def _falls(self):
        return self._matrix(slope_weights(self.places, self.inverse, self.axis.step))

    def _collected(self, matrix, strengths):
        collected = matrix @ strengths.reshape(-1, strengths.shape[-1])
        collected = collected.reshape(len(self.eigenvalues), self.axis.n_points, -1)
        return collected.swapaxes(1, 2) * self.classes.scale[:, None]

    def single(self, values, slopes=None):
        """Collect f of each class over both signs of energy, (s, c, n_points)."""
        collected = self._collected(self._levels, values)
        if slopes is not None:
            collected = collected + self._collected(self._falls, slopes)
        return self._lines(collected)

    def widened(self, strengths, name):
        """Return the change of f with a width of lines."""
        return self._lines(self._collected(self._levels, strengths), changed=name)

    def warmed(self, strengths, single, thermal):
        """Return the change of the complete f with the temperature, its sum kept."""
        collected = self._collected(self._levels, strengths)
        warmed = self._lines(collected, warming)
        if thermal is None:
            return warmed
        slow = self._both(self._sound, 0.5, warming)
        missing = (thermal - single.sum(axis=-1))[..., None]
        shape = slow - self.slow * slow.sum(axis=-1, keepdims=True) / self.slow_sum
        warmed = warmed + missing * shape / self.slow_sum
        return warmed - warmed.sum(axis=-1, keepdims=True) * self.slow / self.slow_sum

    def completed(self, single, thermal):
        """Add what is missing of the displacements at the slowest waves."""
        if thermal is None:
            return single
        missing = (thermal - single.sum(axis=-1))[..., None]
        return single + missing * self.slow / self.slow_sum

    def completed_back(self, slopes, thermal):
        """Return gradients with f, and with the sum that it must have."""
        if thermal is None:
            return slopes, 0.0
        of_missing = (slopes * self.slow / self.slow_sum).sum(axis=-1)
        return slopes - of_missing[..., None], of_missing

    def convolved(self, single):
        """Convolve f with itself, (s, c, order, n_points)."""
        if self.n_orders == 1:
            return single[:, :, None]
        transform = rfft(single)
        orders = range(2, self.n_orders + 1)
        powers = np.stack([transform**n for n in orders], axis=2)
        higher = irfft(powers, n=self.n_points)
        return np.concatenate([single[:, :, None], higher], axis=2)

    def changed(self, single, change, thermal=None):
        """Return the change of convolutions with one of f, completed to a sum."""
        change = self.completed(change, thermal)
        if self.n_orders == 1:
            return change[:, :, None]
        transform, tilt = rfft(single), rfft(change)
        orders = range(2, self.n_orders + 1)
        powers = [n * transform ** (n - 1) * tilt for n in orders]
        higher = irfft(np.stack(powers, axis=2), n=self.n_points)
        return np.concatenate([change[:, :, None], higher], axis=2)

    def convolved_back(self, single, slopes):
        """Return the gradient with f, from that with its convolutions."""
        found = slopes[:, :, 0]
        if self.n_orders == 1:
            return found
        transform, back = rfft(single), rfft(slopes[:, :, 1:])
        total = sum(
            (n * transform ** (n - 1)).conj() * back[:, :, n - 2]
            for n in range(2, self.n_orders + 1)
        )
        return found + irfft(total, n=self.n_points)

    def strength_changes(self, pairs, inner):
        """Return weights of levels and of slopes for each change, (s, n, j, c, p)."""
        own, overlap = self.classes.points, self._overlap()
        inner = inner[:, :, own]
        inverse, near = pairs.inverse[:, own], pairs.near[:, own]

        def mixed(factor):
            # Re sum_l (e_l^dagger P e_j) H_jl, shared as f of j has it
            return np.einsum(
                "sncjl,spnjl->snjcp",
                (overlap * factor[:, :, None]).conj(),
                inner,
                optimize=True,
            ).real

        return mixed(2 * inverse), mixed(near)

    def _overlap(self):
        """Return products e_j^dagger e_l, averaged over each class, (s, n, c, j, l)."""
        *shape, n_modes = self.vectors.shape
        blocks = self.vectors.reshape(*shape[:2], -1, 3, n_modes)
        of_atoms = blocks.conj().swapaxes(3, 4) @ blocks
        return np.einsum("sndjl,dc->sncjl", of_atoms, self._mixing())

    def strengths_back(self, slopes, pairs):
        """Return the gradient with matrices between modes, (s, all points, j, l)."""
        own = self.classes.points
        collected = self._both_back(slopes) * self.classes.scale[:, None]
        flat = collected.swapaxes(1, 2).reshape(-1, collected.shape[1])
        shape = (*self.eigenvalues.shape, -1)
        levels = (self._levels.T @ flat).reshape(shape)  # (s, n, j, c)
        falls = (self._falls.T @ flat).reshape(shape)
        inverse, near = pairs.inverse[:, own], pairs.near[:, own]
        overlap = self._overlap()
        factor = (levels[:, :, :, None] - levels[:, :, None]) * inverse[..., None]
        factor += near[..., None] * (falls[:, :, :, None] + falls[:, :, None]) / 2
        found = np.einsum("sncjl,snjlc->snjl", overlap, factor)
        between = np.zeros(
            (len(found), pairs.near.shape[1], *found.shape[2:]), found.dtype
        )
        between[:, own] = found
        return between
