r"""Scattering that is smooth in Q: incoherent, and of several phonons at once.

In the incoherent approximation an atom scatters n phonons as

.. math:: S^{(n)}(Q, E) = \frac{\sigma}{4\pi} \frac{Q^{2n}}{n!} e^{-Q^2 u} f^{*n}(E),

with its mean-square displacement u along a line, the one-phonon spectrum f of which the
integral is u, and the n-fold convolution :math:`f^{*n}` of f with itself
(`_phonon_spectra`; Sjolander, Ark. Fys. 14, 315 (1958); Squires,
doi:10.1017/CBO9781139107808, section 3.10). With n = 1 and the incoherent cross-section
this is incoherent one-phonon scattering; exact for atoms at sites of cubic symmetry and
with u averaged over directions at others.
"""

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument.nuisance import LINE_WIDTHS
from skphonon.simulation._kernels import OF_ENERGY, OF_MODULI
from skphonon.simulation._phonon_spectra import Classes, PhononSpectra

__all__ = ["Incoherent"]

Array = NDArray[np.float64]


class Incoherent:
    """Incoherent and multiphonon scattering of a plan.

    From cross-sections over 4 pi, (n_atoms, n_orders), and weights of the points of the
    plan in a mean over the zone that resolves energies.
    """

    def __init__(self, model, cross_sections, recording, weights) -> None:
        self.classes = Classes(model, weights)
        self.cross_sections = self.classes.members @ cross_sections
        self.n_orders = cross_sections.shape[1]
        self.recording = recording

    def images(self, plan, found, conditions):
        """Return images, (n_samples, n_energy, n_q)."""
        return _Batch(self, plan, found, conditions).image()

    def by_order(self, plan, found, conditions):
        """Return images of 1, 2, ... phonons, (n_samples, n_orders, n_energy, n_q)."""
        return _Batch(self, plan, found, conditions).by_order()

    def images_and_derivatives(
        self, plan, found, pairs, inner, growths, warming, conditions, nuisance
    ):
        """Return images, and their derivatives (n_samples, n_changes, n_energy, n_q).

        With the parameters and then what `nuisance` names, from the derivatives of
        displacements with the parameters, `growths`, and the temperature, `warming`.
        """
        batch = _Batch(self, plan, found, conditions)
        growths = growths @ batch.traces
        values, slopes = batch.spectra.strength_changes(pairs, inner)
        changes = []
        for number in range(inner.shape[1]):
            change = batch.spectra.single(values[..., number], slopes[..., number])
            growth = growths[:, number]
            changes.append(batch.through(change, growth, growth))
        n_parameters = len(plan.parameter_names)
        derivatives = changes[:n_parameters]
        for name in nuisance:
            moved = batch.of_instrument(name)
            if name == "lattice_scale":
                if len(changes) > n_parameters:
                    moved = moved + changes[-1]
                moved = moved + batch.stretched()
            elif name == "mean_square_displacement":
                moved = moved + batch.through(batch.still, batch.nothing + 1)
            elif name in LINE_WIDTHS:
                wider = batch.spectra.widened(batch.strengths, name)
                moved = moved + batch.through(wider, batch.nothing, batch.nothing)
            elif name == "temperature":
                growth = batch.nothing if warming is None else warming @ batch.traces
                moved = moved + batch.through(batch.still, growth, growth)
                moved = moved + batch.warmed()
            derivatives.append(moved)
        return batch.image(), np.stack(derivatives, axis=1)

    def gradient(self, plan, found, pairs, conditions, slopes):
        """Return gradients of scalars with matrices between modes and displacements.

        From their derivatives with the images, (n_samples, n_energy, n_q).
        """
        return _Batch(self, plan, found, conditions).back(pairs, slopes)


class _Batch:
    """Incoherent scattering of some parameter sets: spectra f^n times shares of |Q|."""

    def __init__(self, own, plan, found, conditions):
        self.own, self.conditions = own, conditions
        self.spectra = PhononSpectra(
            own.classes, own.n_orders, own.recording.energy, found, conditions
        )
        self.strengths = self.spectra.strengths()
        single = self.spectra.single(self.strengths)
        # displacements of classes along a line, averaged over directions
        self.traces = own.classes.means(np.einsum("cdaa->cd", plan.thermal.tensors) / 3)
        self.line = found.components @ self.traces
        self.thermal = None  # where displacements are given
        if plan.displacement is None:
            added = conditions.values["mean_square_displacement"]
            self.thermal = self.line - added[:, None]
        self.single, self.still = single, np.zeros_like(single)
        self.nothing = np.zeros(single.shape[:2])
        self.completed = self.spectra.completed(single, self.thermal)
        self.total = self.spectra.convolved(self.completed)
        # squared moduli that the points of the axis, and one beyond, stand for
        points = own.recording.q.points(beyond=1)
        self.squared = (points / conditions.scales[:, None]) ** 2
        self.shares = self._shares()
        self.softer = -self.squared[:, None, None] * self.shares
        self.seen = own.recording.q.samples(self.shares)
        self.kernels = self._smooth(), conditions.q(None)

    def _shares(self):
        r"""Return :math:`\sigma/4\pi\,Q^{2n} e^{-Q^2 u} / n!`, (s, class, order, q).

        The kernel in moduli has the factor s^-3 of coherent scattering for a lattice
        longer by s; only 1 / s of it, of the density of moduli, is due here.
        """
        own, line, squared = self.own, self.line[..., None], self.squared[:, None]
        shares = np.empty((*line.shape[:2], own.n_orders, squared.shape[-1]))
        term = np.exp(-line * squared) * self.conditions.scales[:, None, None] ** 2
        for order in range(own.n_orders):
            term = term * squared / (order + 1)
            shares[:, :, order] = term * own.cross_sections[:, order, None]
        return shares

    def _smooth(self, changed=None):
        return self.conditions.smooth(self.spectra.n_points, changed)

    def image(self, spectra=None, shares=None, energy=None, q=None):
        """Return images of spectra (s, c, order, point) and shares (s, c, order, q).

        Those of the batch, and its kernels, stand for what is not given.
        """
        recording = self.own.recording
        spectra = self.total if spectra is None else spectra
        seen = self.seen if shares is None else recording.q.samples(shares)
        energy = self.kernels[0] if energy is None else energy
        q = self.kernels[1] if q is None else q
        recorded = spectra.reshape(len(spectra), -1, spectra.shape[-1])
        recorded = energy @ recorded.swapaxes(-1, -2)
        seen = seen.reshape(len(seen), -1, seen.shape[-1])
        if recording.moduli.differ:
            return recording.moduli.through(recorded @ seen, q)
        return recorded @ (seen @ q.swapaxes(-1, -2))

    def by_order(self):
        """Return images of 1, 2, ... phonons, (n_samples, n_orders, n_energy, n_q)."""
        energy, q = self.kernels
        recorded = energy[:, None] @ self.total.transpose(0, 2, 3, 1)  # (s, o, E, c)
        levels = recorded @ self.seen.swapaxes(1, 2)
        return self.own.recording.moduli.through(levels, q)

    def through(self, change, growth, thermal=None):
        """Return the change with f and with displacements, (s, c), thermal or added."""
        thermal = None if self.thermal is None else thermal
        changed = self.spectra.changed(self.completed, change, thermal)
        of_displacements = self.image(shares=growth[..., None, None] * self.softer)
        return self.image(changed) + of_displacements

    def of_instrument(self, name):
        """Return the change with a nuisance of the instrument."""
        moved = 0.0
        if name in OF_ENERGY and name not in ("temperature", *LINE_WIDTHS):
            moved = moved + self.image(energy=self._smooth(name))
        if name in OF_MODULI:
            moved = moved + self.image(q=self.conditions.q(name))
        return moved

    def warmed(self):
        """Return the change with the temperature in occupations."""
        warmed = self.spectra.warmed(self.strengths, self.single, self.thermal)
        return self.image(self.spectra.changed(self.completed, warmed))

    def stretched(self):
        """Return the change with the scale s of the lattice in Q / s and s^2."""
        orders = np.arange(1, self.own.n_orders + 1)[:, None]
        line, scales = self.line[..., None, None], self.conditions.scales
        scales = scales[:, None, None, None]
        slower = orders * self.shares + line * self.softer
        return self.image(shares=(-2 / scales) * slower + 2 / scales * self.shares)

    def back(self, pairs, slopes):
        """Return gradients with matrices between modes, and with displacements."""
        energy, q = self.kernels
        axis, shares = self.own.recording.q, self.shares
        n_samples = len(shares)
        seen = self.seen.reshape(n_samples, -1, axis.n_points)
        slopes = self.own.recording.moduli.back(slopes, q)  # (s, energy, modulus)
        back = seen @ slopes.swapaxes(1, 2) @ energy
        back = back.reshape(*shares.shape[:3], -1)
        of_single = self.spectra.convolved_back(self.completed, back)
        recorded = self.total.reshape(n_samples, -1, self.total.shape[-1])
        recorded = recorded @ energy.swapaxes(-1, -2)
        of_shares = axis.samples_back(recorded @ slopes).reshape(shares.shape)
        of_lines = (of_shares * self.softer).sum(axis=(2, 3))
        of_single, of_thermal = self.spectra.completed_back(of_single, self.thermal)
        between = self.spectra.strengths_back(of_single, pairs)
        return between, (of_lines + of_thermal) @ self.traces.T
