r"""Scattering that is smooth in Q: incoherent, and of several phonons at once.

In the incoherent approximation an atom scatters n phonons as

.. math:: S^{(n)}(Q, E) = \frac{\sigma}{4\pi} \frac{Q^{2n}}{n!} e^{-Q^2 u} f^{*n}(E),
          \qquad f(E) = \frac{\hbar^2}{2 m}\,\frac{g(|E|)}{E}\,[n(E) + 1],

with g its density of states, u the mean-square displacement along a line and
:math:`f^{*n}` the n-fold convolution of f with itself (Sjolander, Ark. Fys. 14, 315
(1958); Squires, doi:10.1017/CBO9781139107808, section 3.10). With n = 1 and the
incoherent cross-section this is incoherent one-phonon scattering; exact for
atoms at sites of cubic symmetry and with u averaged over directions at others.
"""

from collections.abc import Callable
from math import factorial
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import next_fast_len

from skphonon.physics.constants import HBAR2_PER_AMU
from skphonon.physics.displacements import ZoneMesh, partial_lines, partial_responses
from skphonon.simulation._splines import inverse_square, place, scatter
from skphonon.simulation.quadrature import EnergyAxis, occupied

__all__ = ["Incoherent", "phonon_spectra", "q_shares", "spectra_responses"]


class Incoherent(NamedTuple):
    """What does not depend on the parameters.

    Parameters
    ----------
    cross_sections : Tensor of shape (n_atoms, n_orders)
        Cross-section over 4 pi of each atom for 1, 2, ... phonons.
    axis : EnergyAxis
        Its step is used.
    temperature : float
        Temperature in K.
    kernel : callable
        From a number of points, at multiples of the step in the order of the Fourier
        transform, to how each is recorded: Tensor of shape (n_energy, n_points).
    """

    cross_sections: torch.Tensor
    axis: EnergyAxis
    temperature: float
    kernel: Callable


def q_shares(incoherent, radii, displacements):
    r"""Return :math:`\sigma/4\pi\,Q^{2n} e^{-Q^2 u} / n!`, shape (s, d, order, shell).

    Parameters
    ----------
    incoherent : Incoherent
        Settings.
    radii : Tensor of shape (n_shells,) or (n_samples, n_shells)
        Moduli of Q in 1/Angstrom.
    displacements : Tensor of shape (n_samples, n_atoms)
        Mean-square displacements along a line, in Angstrom^2.
    """
    n_orders = incoherent.cross_sections.shape[1]
    squared = (radii * radii).unsqueeze(-2)  # the same for all atoms
    powers = [squared**n / factorial(n) for n in range(1, n_orders + 1)]
    damping = torch.exp(-displacements[..., None] * squared)
    weights = incoherent.cross_sections[..., None] * torch.stack(powers, dim=-2)
    return weights * damping[:, :, None]


def phonon_spectra(
    incoherent: Incoherent, mesh: ZoneMesh, rows: torch.Tensor
) -> torch.Tensor:
    """Return what 1, 2, ... phonons add at energies of a Fourier transform.

    Parameters
    ----------
    incoherent : Incoherent
        Settings.
    mesh : ZoneMesh
        Mesh of the zone.
    rows : Tensor of shape (n_samples, n_parameters)
        Parameter sets.

    Returns
    -------
    Tensor of shape (n_samples, n_atoms, n_orders, n_points)
        In Angstrom^(2n) a point.
    """
    found = partial_lines(mesh, rows)
    stage = _Stage(incoherent, mesh, found.eigenvalues)
    single = stage.collect(found.strengths * stage.inverse)
    return stage.convolved(single)


def spectra_responses(
    incoherent: Incoherent, mesh: ZoneMesh, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the spectra of `phonon_spectra` and their derivatives.

    Parameters
    ----------
    incoherent : Incoherent
        Settings.
    mesh : ZoneMesh
        Mesh of the zone.
    rows : Tensor of shape (n_samples, n_parameters)
        Parameter sets.

    Returns
    -------
    spectra : Tensor of shape (n_samples, n_atoms, n_orders, n_points)
        As from `phonon_spectra`.
    derivatives : Tensor of shape (n_parameters, ...)
        Its derivative with each parameter.
    """
    found = partial_responses(mesh, rows)
    stage = _Stage(incoherent, mesh, found.eigenvalues)
    single = stage.collect(found.strengths * stage.inverse)
    tilt = stage.inverse**1.5 / (2 * incoherent.axis.step)
    changes = []
    for values, slopes in zip(
        found.values.unbind(3), found.slopes.unbind(3), strict=True
    ):
        level = (values - slopes * stage.inverse) * stage.inverse
        change = stage.collect(level, slopes * tilt)
        changes.append(stage.changed(single, change))
    return stage.convolved(single), torch.stack(changes)


class _Stage:
    """Where the lines of one batch are collected and convolved."""

    def __init__(self, incoherent, mesh, eigenvalues):
        step = incoherent.axis.step
        highest = float(eigenvalues.max().clamp(min=step**2).sqrt())
        self.axis = incoherent.axis._replace(first=-2, n_points=int(highest / step) + 7)
        self.n_orders = incoherent.cross_sections.shape[1]
        reach = int(self.n_orders * (highest / step + 3)) + 1
        self.n_points = next_fast_len(2 * reach + 1, real=True)
        self.scale = HBAR2_PER_AMU / (2 * mesh.masses)
        self.inverse = inverse_square(eigenvalues)[..., None]
        places = place(self.axis, eigenvalues[..., None])
        self.weights, self.tilts = places.weights(), places.tilts()
        n_samples, n_atoms = eigenvalues.shape[1], len(mesh.masses)
        self.shape = (n_samples, n_atoms, self.axis.n_points)
        atoms = torch.arange(n_samples * n_atoms, device=eigenvalues.device)
        atoms = atoms.reshape(n_samples, 1, n_atoms)
        self.index = atoms * self.axis.n_points + places.node
        self.occupied = [
            torch.as_tensor(occupied(sign * self.axis.points(), incoherent.temperature))
            .to(eigenvalues)
            for sign in (1, -1)
        ]  # fmt: skip

    def collect(self, level, tilt=None):
        """Collect f of each atom over both signs of energy, (s, d, n_points)."""
        collected = level.new_zeros(self.shape)
        scatter(collected, self.index, self.weights, level * self.scale)
        if tilt is not None:
            scatter(collected, self.index, self.tilts, tilt * self.scale)
        both = collected.new_zeros(*self.shape[:2], self.n_points)
        numbers = np.arange(self.axis.first, self.axis.first + self.axis.n_points)
        for sign, factor in zip((1, -1), self.occupied, strict=True):
            places = torch.as_tensor(sign * numbers % self.n_points).to(both.device)
            both.index_add_(2, places, collected * factor)
        return both

    def convolved(self, single):
        """Convolve f with itself."""
        transform = torch.fft.rfft(single)
        orders = range(2, self.n_orders + 1)
        return self._spectra(single, [transform**n for n in orders])

    def changed(self, single, change):
        """Return the change of that with a change of f."""
        transform, tilt = torch.fft.rfft(single), torch.fft.rfft(change)
        orders = range(2, self.n_orders + 1)
        return self._spectra(change, [n * transform ** (n - 1) * tilt for n in orders])

    def _spectra(self, single, powers):
        if not powers:
            return single[:, :, None]
        higher = torch.fft.irfft(torch.stack(powers, dim=2), n=self.n_points)
        return torch.cat([single[:, :, None], higher], dim=2)
