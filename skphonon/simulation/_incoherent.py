r"""Scattering that is smooth in Q: incoherent, and of several phonons at once.

In the incoherent approximation an atom scatters n phonons as

.. math:: S^{(n)}(Q, E) = \frac{\sigma}{4\pi} \frac{Q^{2n}}{n!} e^{-Q^2 u} f^{*n}(E),
          \qquad f(E) = \frac{\hbar^2}{2 m}\,\frac{g(|E|)}{E}\,[n(E) + 1],

with g its density of states, u the mean-square displacement along a line and
:math:`f^{*n}` the n-fold convolution of f with itself (Sjolander, Ark. Fys. 14, 315
(1958); Squires, doi:10.1017/CBO9781139107808, section 3.10). With n = 1 and the
incoherent cross-section this is incoherent one-phonon scattering; exact for
atoms at sites of cubic symmetry and with u averaged over directions at others.

The integral of f is u. A mesh misses the slowest waves, next to the zone centre: what
is missing of u is put next to zero energy, as sound has it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.sparse import csc_array

from skphonon.instrument.nuisance import LINE_WIDTHS
from skphonon.physics.constants import HBAR2_PER_AMU
from skphonon.simulation._axes import Axis
from skphonon.simulation._damping import damped_lines
from skphonon.simulation._recording import _warming, occupied

__all__ = ["Incoherent"]

Array = NDArray[np.float64]

_FAR, _HIGHEST = 10.0, 600.0  # of the window, and meV: modes above scatter nothing
_SLOW_STEPS = 3  # of the energy axis, up to which the slowest waves are put


class Incoherent:
    """Incoherent and multiphonon scattering of a plan.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    cross_sections : ndarray of shape (n_atoms, n_orders)
        Cross-section over 4 pi of each atom for 1, 2, ... phonons.
    recording : Recording
        Its axes.
    weights : ndarray of shape (n_points,)
        Of the points of the plan in a mean over the zone that resolves energies.
    """

    def __init__(self, model, cross_sections, recording, weights) -> None:
        _, permutations = model.symmetry_operations()
        _, self.of_class = np.unique(permutations.min(axis=0), return_inverse=True)
        n_classes = self.of_class.max() + 1
        self.members = (self.of_class == np.arange(n_classes)[:, None]).astype(float)
        self.cross_sections = self.members @ cross_sections
        self.n_orders = cross_sections.shape[1]
        masses = self.members @ model.atomic_masses / self.members.sum(axis=1)
        self.scale = HBAR2_PER_AMU / (2 * masses)
        self.recording = recording
        self.points = np.flatnonzero(weights)
        self.weights = weights[self.points]

    def images(self, plan, found, conditions):
        """Return images, (n_samples, n_energy, n_q)."""
        stage = _Stage(self, found, conditions)
        single = stage.single(stage.strengths())
        single = stage.completed(single, self._along_lines(plan, found, conditions))
        shares = self.q_shares(plan, found, conditions)
        return self._joined(
            conditions.smooth(stage.n_points, None),
            stage.convolved(single),
            conditions.q(None),
            shares,
        )

    def by_order(self, plan, found, conditions):
        """Return images of 1, 2, ... phonons, (n_samples, n_orders, n_energy, n_q)."""
        stage = _Stage(self, found, conditions)
        single = stage.single(stage.strengths())
        single = stage.completed(single, self._along_lines(plan, found, conditions))
        spectra = stage.convolved(single)
        shares = self.q_shares(plan, found, conditions)
        kernels = conditions.smooth(stage.n_points, None), conditions.q(None)
        return np.stack(
            [
                self._joined(
                    kernels[0], spectra[:, :, [n]], kernels[1], shares[:, :, [n]]
                )
                for n in range(self.n_orders)
            ],
            axis=1,
        )

    def q_shares(self, plan, found, conditions):
        r"""Return :math:`\sigma/4\pi\,Q^{2n} e^{-Q^2 u} / n!`, (s, class, order, q).

        The kernel in moduli has the factor s^-3 of coherent scattering for a lattice
        longer by s; only 1 / s of it, of the density of moduli, is due here.
        """
        squared = self._squares(conditions)[:, None]  # (s, 1, q)
        line = self._displacements(plan, found)[..., None]
        shares = np.empty((*line.shape[:2], self.n_orders, squared.shape[-1]))
        term = np.exp(-line * squared) * conditions.scales[:, None, None] ** 2
        for order in range(self.n_orders):
            term = term * squared / (order + 1)
            shares[:, :, order] = term * self.cross_sections[:, order, None]
        return shares

    def _squares(self, conditions):
        """Squared moduli that the points of the axis, and one beyond, stand for."""
        return (self.recording.q.points(beyond=1) / conditions.scales[:, None]) ** 2

    def _displacements(self, plan, found):
        """Mean-square displacement of classes along a line, with what is added."""
        return found.components @ self._traces(plan)

    def _along_lines(self, plan, found, conditions):
        """Return the same of thermal motion; None where displacements are given."""
        if plan.displacement is not None:
            return None
        added = conditions.values["mean_square_displacement"]
        return self._displacements(plan, found) - added[:, None]

    def _traces(self, plan):
        of_atoms = np.einsum("cdaa->cd", plan.thermal.tensors) / 3
        return of_atoms @ self.members.T / self.members.sum(axis=1)

    def _joined(self, energy, spectra, q, shares):
        """Images of spectra (s, c, order, point) and shares (s, c, order, q)."""
        shares = self.recording.q.samples(shares)
        n_samples = len(spectra)
        recorded = spectra.reshape(n_samples, -1, spectra.shape[-1])
        recorded = energy @ recorded.swapaxes(-1, -2)
        shares = shares.reshape(n_samples, -1, shares.shape[-1])
        if self.recording.moduli.differ:
            return self.recording.moduli.through(recorded @ shares, q)
        return recorded @ (shares @ q.swapaxes(-1, -2))

    def images_and_derivatives(
        self, plan, found, pairs, inner, swellings, conditions, nuisance
    ):
        """Return images, and their derivatives (n_samples, n_changes, n_energy, n_q).

        With the parameters and then what `nuisance` names.
        """
        stage = _Stage(self, found, conditions)
        single = stage.single(stage.strengths())
        thermal = self._along_lines(plan, found, conditions)
        total = stage.completed(single, thermal)
        spectra = stage.convolved(total)
        shares = self.q_shares(plan, found, conditions)
        squared = self._squares(conditions)
        softer = -squared[:, None, None] * shares
        energy, q = conditions.smooth(stage.n_points, None), conditions.q(None)
        image = self._joined(energy, spectra, q, shares)
        traces = self._traces(plan)
        values, slopes = stage.strength_changes(pairs, inner)

        def through(change, growth, thermal_growth):
            """Image of a change of f and of displacements of classes, (s, c)."""
            grown = stage.completed(change, thermal_growth)
            return self._joined(energy, stage.changed(total, grown), q, shares) + (
                self._joined(energy, spectra, q, growth[..., None, None] * softer)
            )

        changes = []
        for number in range(inner.shape[1]):
            change = stage.single(values[..., number], slopes[..., number])
            growth = swellings[:, number] @ traces
            given = plan.displacement is not None
            changes.append(through(change, growth, None if given else growth))
        derivatives = changes[: len(plan.parameter_names)]
        still = np.zeros_like(single)
        nothing = np.zeros((len(single), len(self.scale)))
        for name in nuisance:
            moved = self._recorded_changes(conditions, stage, spectra, shares, name)
            if name == "lattice_scale":
                if len(changes) > len(plan.parameter_names):
                    moved = moved + changes[-1]
                moved = moved + self._stretched(
                    plan, found, conditions, energy, spectra, q, shares, softer
                )
            elif name == "mean_square_displacement":
                moved = moved + through(still, nothing + 1, nothing)
            elif name in LINE_WIDTHS:
                given = plan.displacement is not None
                wider = stage.widened(stage.strengths(), name)
                moved = moved + through(wider, nothing, None if given else nothing)
            elif name == "temperature":
                growth = nothing
                if plan.displacement is None:
                    growth = _warming_of(plan, found, conditions) @ traces
                warmed = stage.warmed(stage.strengths(), single, thermal)
                given = plan.displacement is not None
                moved = moved + through(still, growth, None if given else growth)
                moved = moved + self._joined(
                    energy, stage.changed(total, warmed), q, shares
                )
            derivatives.append(moved)
        return image, np.stack(derivatives, axis=1)

    def _recorded_changes(self, conditions, stage, spectra, shares, name):
        """Return what a nuisance of the instrument changes."""
        from skphonon.simulation._recording import _OF_ENERGY, _OF_Q

        energy, q = conditions.smooth(stage.n_points, None), conditions.q(None)
        moved = 0.0
        if name in _OF_ENERGY and name not in ("temperature", *LINE_WIDTHS):
            of_energy = conditions.smooth(stage.n_points, name)
            moved = moved + self._joined(of_energy, spectra, q, shares)
        if name in _OF_Q:
            of_q = conditions.q(name)
            moved = moved + self._joined(energy, spectra, of_q, shares)
        return moved

    def _stretched(self, plan, found, conditions, energy, spectra, q, shares, softer):
        """Return what Q / s and s^2 change, with the scale s of the lattice."""
        orders = np.arange(1, self.n_orders + 1)[:, None]
        line = self._displacements(plan, found)[..., None, None]
        scales = conditions.scales[:, None, None, None]
        slower = (-2 / scales) * (orders * shares + line * softer) + 2 / scales * shares
        return self._joined(energy, spectra, q, slower)

    def gradient(self, plan, found, pairs, conditions, slopes):
        """Return gradients of a scalar with matrices between modes and displacements.

        Parameters
        ----------
        slopes : ndarray of shape (n_samples, n_energy, n_q)
            Derivatives of the scalar with the images.
        """
        stage = _Stage(self, found, conditions)
        single = stage.single(stage.strengths())
        thermal = self._along_lines(plan, found, conditions)
        total = stage.completed(single, thermal)
        shares = self.q_shares(plan, found, conditions)
        energy, q = conditions.smooth(stage.n_points, None), conditions.q(None)
        n_samples, n_classes, n_orders, _ = shares.shape
        axis = self.recording.q
        seen = axis.samples(shares).reshape(n_samples, -1, axis.n_points)
        slopes = self.recording.moduli.back(slopes, q)  # (s, energy, modulus)
        back = seen @ slopes.swapaxes(1, 2) @ energy
        back = back.reshape(n_samples, n_classes, n_orders, -1)
        of_single = stage.convolved_back(total, back)
        spectra = stage.convolved(total)
        recorded = spectra.reshape(n_samples, -1, spectra.shape[-1])
        recorded = recorded @ energy.swapaxes(-1, -2)
        of_shares = axis.samples_back(recorded @ slopes).reshape(shares.shape)
        squared = self._squares(conditions)
        of_lines = -(of_shares * shares * squared[:, None, None]).sum(axis=(2, 3))
        of_single, of_thermal = stage.completed_back(of_single, thermal)
        between = stage.strengths_back(of_single, pairs)
        return between, (of_lines + of_thermal) @ self._traces(plan).T


def _warming_of(plan, found, conditions):
    return plan.thermal.warming(
        found.eigenvalues, found.vectors, conditions.values["temperature"]
    )


class _Stage:
    """Where the lines of one batch are collected and convolved."""

    def __init__(self, incoherent, found, conditions):
        self.incoherent, step = incoherent, incoherent.recording.energy.step
        self.eigenvalues = found.eigenvalues[:, incoherent.points]
        self.vectors = found.vectors[:, incoherent.points]
        highest = np.sqrt(max(float(self.eigenvalues.max()), step**2))
        seen = incoherent.recording.energy
        # wild constants have energies that no window and no memory holds
        highest = min(highest, max(_FAR * seen.points()[-1], _HIGHEST))
        self.axis = Axis(step, -2, int(highest / step) + 7, True)
        reach = int(incoherent.n_orders * (highest / step + 3)) + 1
        self.widths = np.stack(
            [conditions.values[name] for name in LINE_WIDTHS], axis=1
        )
        if self.widths.any():  # tails fill the spectrum
            reach = max(reach, seen.first + seen.n_points)
        self.n_points = next_fast_len(2 * reach + 1, real=True)
        self.stable = self.eigenvalues > 1e-6
        energies = np.sqrt(np.where(self.stable, self.eigenvalues, 1.0))
        self.places = self.axis.places(energies)
        self.inverse = self.stable * self.places.seen / energies**2
        self.kelvins = conditions.values["temperature"]
        energies = self.axis.points()
        # what sound has of f: n(E) + 1 times E
        ratio = energies / (_SLOW_STEPS * step)
        inside = (energies >= 0) & (ratio < 1)
        self._sound = np.where(inside, (1 - ratio**2) ** 2, 0.0)
        self.slow = self._both(self._sound, 0.5)
        self.slow_sum = self.slow.sum(axis=-1, keepdims=True)

    def _both(self, collected, at_zero=1.0, occupation=occupied):
        """Put what is collected, times the occupation, at both signs of energy."""
        factors = [self._factors(occupation, sign) for sign in (1, -1)]
        collected = np.array(
            np.broadcast_to(
                collected, np.broadcast_shapes(collected.shape, factors[0].shape)
            )
        )
        numbers = np.arange(self.axis.first, self.axis.first + self.axis.n_points)
        collected[..., numbers == 0] *= at_zero
        both = np.zeros((*collected.shape[:-1], self.n_points))
        for sign, factor in zip((1, -1), factors, strict=True):
            np.add.at(both, (..., sign * numbers % self.n_points), collected * factor)
        return both

    def _factors(self, occupation, sign):
        energies = sign * self.axis.points()
        return np.stack([occupation(energies, kelvin) for kelvin in self.kelvins])[
            :, None
        ]

    def _lines(self, collected, occupation=occupied, changed=None):
        """Put lines of the widths of the samples, times the occupation, there."""
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
        """Factors at multiples of the step, for a function of energy and kelvins."""
        numbers = np.arange(self.n_points)
        numbers[numbers > (self.n_points - 1) // 2] -= self.n_points
        return np.stack(
            [occupation(self.axis.step * numbers, kelvin) for kelvin in self.kelvins]
        )[:, None]

    def _both_back(self, slopes):
        """Gradient with what is collected, of that with both signs."""
        if self.widths.any():
            return (slopes * self._at_both(occupied)) @ self._damped()
        numbers = np.arange(self.axis.first, self.axis.first + self.axis.n_points)
        return sum(
            slopes[..., sign * numbers % self.n_points] * factor
            for sign in (1, -1)
            for factor in [self._factors(occupied, sign)]
        )

    def strengths(self):
        """How much each class takes part in each mode, (s, n, j, c)."""
        squares = (self.vectors * self.vectors.conj()).real
        n_samples, n_points, _, n_modes = squares.shape
        of_atoms = squares.reshape(n_samples, n_points, -1, 3, n_modes).sum(axis=3)
        return of_atoms.swapaxes(2, 3) @ self._mixing()

    def _mixing(self):
        """From atoms to classes: a mean over atoms and directions."""
        members = self.incoherent.members
        return members.T / (3 * members.sum(axis=1))

    def _matrix(self, weights):
        n_samples, n_points = len(weights), self.axis.n_points
        starts = self.places.node + (np.arange(n_samples) * n_points)[:, None, None]
        index = (starts.reshape(-1, 1) + np.arange(4)).astype(np.int32).ravel()
        values = weights * self.incoherent.weights[:, None, None]
        ends = np.arange(0, len(index) + 1, 4, dtype=np.int32)
        shape = n_samples * n_points, self.places.node.size
        return csc_array((values.ravel(), index, ends), shape=shape)

    def _levels(self):
        return self._matrix(self.places.weights() * self.inverse[..., None])

    def _falls(self):
        inverse = self.inverse[..., None]
        tilts = self.places.tilts() * (np.sqrt(inverse) / (2 * self.axis.step))
        return self._matrix(inverse * (tilts - self.places.weights() * inverse))

    def _collected(self, matrix, strengths):
        collected = matrix @ strengths.reshape(-1, strengths.shape[-1])
        collected = collected.reshape(len(self.eigenvalues), self.axis.n_points, -1)
        return collected.swapaxes(1, 2) * self.incoherent.scale[:, None]

    def single(self, values, slopes=None):
        """Collect f of each class over both signs of energy, (s, c, n_points)."""
        collected = self._collected(self._levels(), values)
        if slopes is not None:
            collected = collected + self._collected(self._falls(), slopes)
        return self._lines(collected)

    def widened(self, strengths, name):
        """Change of f with a width of lines."""
        return self._lines(self._collected(self._levels(), strengths), changed=name)

    def warmed(self, strengths, single, thermal):
        """Change of the complete f with the temperature but for that of its sum."""
        collected = self._collected(self._levels(), strengths)
        warmed = self._lines(collected, _warming)
        if thermal is None:
            return warmed
        slow = self._both(self._sound, 0.5, _warming)
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
        """Gradients with f, and with the sum that it must have."""
        if thermal is None:
            return slopes, 0.0
        of_missing = (slopes * self.slow / self.slow_sum).sum(axis=-1)
        return slopes - of_missing[..., None], of_missing

    def convolved(self, single):
        """Convolve f with itself, (s, c, order, n_points)."""
        if self.incoherent.n_orders == 1:
            return single[:, :, None]
        transform = rfft(single)
        orders = range(2, self.incoherent.n_orders + 1)
        powers = np.stack([transform**n for n in orders], axis=2)
        higher = irfft(powers, n=self.n_points)
        return np.concatenate([single[:, :, None], higher], axis=2)

    def changed(self, single, change):
        """Return the change of that with a change of f."""
        if self.incoherent.n_orders == 1:
            return change[:, :, None]
        transform, tilt = rfft(single), rfft(change)
        orders = range(2, self.incoherent.n_orders + 1)
        powers = [n * transform ** (n - 1) * tilt for n in orders]
        higher = irfft(np.stack(powers, axis=2), n=self.n_points)
        return np.concatenate([change[:, :, None], higher], axis=2)

    def convolved_back(self, single, slopes):
        """Return the gradient with f, of that with its convolutions."""
        found = slopes[:, :, 0]
        if self.incoherent.n_orders == 1:
            return found
        transform, back = rfft(single), rfft(slopes[:, :, 1:])
        total = sum(
            (n * transform ** (n - 1)).conj() * back[:, :, n - 2]
            for n in range(2, self.incoherent.n_orders + 1)
        )
        return found + irfft(total, n=self.n_points)

    def strength_changes(self, pairs, inner):
        """Return changes of strengths, and of what is under them, (s, n, j, c, p)."""
        own = self.incoherent.points
        blocks = self.vectors.reshape(
            *self.vectors.shape[:2], -1, 3, self.vectors.shape[-1]
        )
        of_atoms = blocks.conj().transpose(0, 1, 2, 4, 3) @ blocks.transpose(
            0, 1, 2, 3, 4
        )  # (s, n, d, j, l): e_j^dagger e_l of each atom
        overlap = np.einsum("sndjl,dc->sncjl", of_atoms, self._mixing())
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

    def strengths_back(self, slopes, pairs):
        """Gradient with the matrices between modes, (n_samples, all points, j, l)."""
        own = self.incoherent.points
        collected = self._both_back(slopes) * self.incoherent.scale[:, None]
        flat = collected.swapaxes(1, 2).reshape(-1, collected.shape[1])
        shape = (*self.eigenvalues.shape, -1)
        levels = (self._levels().T @ flat).reshape(shape)  # (s, n, j, c)
        falls = (self._falls().T @ flat).reshape(shape)
        inverse, near = pairs.inverse[:, own], pairs.near[:, own]
        blocks = self.vectors.reshape(
            *self.vectors.shape[:2], -1, 3, self.vectors.shape[-1]
        )
        of_atoms = blocks.conj().swapaxes(3, 4) @ blocks
        overlap = np.einsum("sndjl,dc->sncjl", of_atoms, self._mixing())
        factor = (levels[:, :, :, None] - levels[:, :, None]) * inverse[..., None]
        factor += near[..., None] * (falls[:, :, :, None] + falls[:, :, None]) / 2
        found = np.einsum("sncjl,snjlc->snjl", overlap, factor)
        between = np.zeros(
            (len(found), pairs.near.shape[1], *found.shape[2:]), found.dtype
        )
        between[:, own] = found
        return between
