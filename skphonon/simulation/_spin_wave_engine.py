"""Maps of magnons: batched over parameter sets, on torch tensors.

A line of energy E appears at E, where neutrons make the magnon, and at -E, where they
absorb it; see `_occupied`. Arrays of lines have shape (n_q, n_samples, n_lines).
"""

from typing import NamedTuple

import numpy as np
import torch

from skphonon.physics.constants import BOLTZMANN
from skphonon.physics.magnon_modes import lines, magnons, responses

__all__ = ["Plan", "differentiate", "simulate"]

_BLOCK = 1 << 19  # pixels times lines that are treated together
_FAR = 9.0  # standard deviations beyond which a Gaussian is nothing
_NARROW = 1e-9  # meV: what stands for no width at all


class Plan(NamedTuple):
    """All that does not depend on the parameters."""

    basis: torch.Tensor  # (n_q, n_parameters, n_spins, n_spins)
    amplitudes: torch.Tensor  # (n_q, 1, n_spins), with the root of the point's share
    n_points: int  # of q for one wavevector, one after the other
    signs: torch.Tensor  # (n_spins,)
    edges: torch.Tensor  # (n_energy + 1,), meV
    widths: torch.Tensor  # (n_energy + 1,), of the resolution times its nuisance
    mask: np.ndarray  # (n_pixels,)
    temperature: float  # K
    quantity: str


def simulate(plan: Plan, rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return spectra, shape (n_samples, n_pixels), NaN where nothing is measured.

    The `table` holds the resolution and the renormalisation of each sample.
    """
    spectra = np.full((len(rows), plan.mask.size), np.nan)
    for batch in _batches(plan, len(rows)):
        found, factors, scales = _modes(plan, rows[batch], table[batch])
        energies, strengths = lines(found, plan.amplitudes)
        seen = _occupied(plan, scales * energies, factors)
        weights = seen.weights * seen.of_each(strengths)
        z, _ = _reduced(plan, seen.positions, factors)
        image = _binned(plan, _cumulative(z), weights)
        spectra[batch] = image.flatten(1).numpy()
    spectra[:, ~plan.mask] = np.nan
    return spectra


def differentiate(
    plan: Plan, rows: np.ndarray, table: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return derivatives with the parameters and then `names`, and spectra."""
    n_columns = rows.shape[1] + len(names)
    spectra = np.full((len(rows), plan.mask.size), np.nan)
    jacobian = np.full((len(rows), plan.mask.size, n_columns), np.nan)
    for batch in _batches(plan, len(rows)):
        images = _derivatives(plan, rows[batch], table[batch], names)
        spectra[batch] = images[0].flatten(1).numpy()
        for column, image in enumerate(images[1:]):
            jacobian[batch, :, column] = image.flatten(1).numpy()
    spectra[:, ~plan.mask] = np.nan
    jacobian[:, ~plan.mask] = np.nan
    return jacobian, spectra


def _batches(plan, n_samples):
    n_q, _, n_spins = plan.amplitudes.shape
    size = max(1, _BLOCK // (n_q * n_spins * len(plan.edges)))
    return [slice(start, start + size) for start in range(0, n_samples, size)]


def _modes(plan, rows, table):
    """Return magnons without renormalisation, and both nuisances as (n_samples, 1)."""
    rows = torch.tensor(rows).to(plan.basis)
    found = magnons(torch.einsum("sp,qpij->qsij", rows, plan.basis), plan.signs)
    return found, *torch.tensor(table).T[..., None]


class _Seen(NamedTuple):
    """Positions and strengths of lines, and changes of both with their energy."""

    positions: torch.Tensor
    weights: torch.Tensor
    slopes: torch.Tensor  # derivative of the weights with energy
    senses: torch.Tensor  # derivative of the positions with energy, 1 or -1

    def of_each(self, values):
        """Repeat what belongs to energies for every appearance of a line."""
        return values.repeat(1, 1, self.positions.shape[-1] // values.shape[-1])


def _occupied(plan, energies, factors):
    """Let lines appear twice: n + 1 times at their energy, n times at minus that."""
    zero, one = torch.zeros_like(energies), torch.ones_like(energies)
    if plan.quantity == "chi":
        above = _Seen(energies, np.pi * one, zero, one)
        below = _Seen(-energies, -np.pi * one, zero, -one)
    else:
        n, slope = _occupation(energies, plan.temperature)
        above = _Seen(energies, n + 1, slope, one)
        below = _Seen(-energies, n, slope, -one)
    reach = _FAR * plan.widths.max() * factors.max()
    if plan.edges[0] > reach or (plan.quantity == "sqe" and plan.temperature == 0):
        return above
    return _Seen(*(torch.cat(pair, dim=-1) for pair in zip(above, below, strict=True)))


def _occupation(energies, temperature):
    """Return the mean number of magnons, and its derivative with energy."""
    if temperature == 0:
        return torch.zeros_like(energies), torch.zeros_like(energies)
    unit = BOLTZMANN * temperature
    n = 1 / torch.expm1(energies / unit)
    return n, -n * (n + 1) / unit


def _derivatives(plan, rows, table, names):
    """Return images of spectrum and derivatives, each (n_samples, n_energy, n_q).

    With value weights v and slope weights w of a function F of the line's energy E,
    what appears of F(E) at P(E) with weight c(E) changes by v c P + w (c' P + c P').
    """
    found, factors, scales = _modes(plan, rows, table)
    modes = responses(found, plan.amplitudes, plan.basis)
    seen = _occupied(plan, scales * modes.energies, factors)
    slopes = scales[..., None] * modes.slopes
    columns = list(zip(modes.values.unbind(-1), slopes.unbind(-1), strict=True))
    if "renormalization" in names:
        moved = modes.strengths * modes.energies
        columns.append((torch.zeros_like(moved), moved))
    columns = [(seen.of_each(v), seen.of_each(w)) for v, w in columns]
    strengths = seen.of_each(modes.strengths)
    shapes, shifts, spreads = _kernels(plan, seen.positions, factors)
    shown = _binned(plan, shapes, strengths * seen.weights)
    changes = [
        _binned(plan, shapes, v * seen.weights + w * seen.slopes)
        + _binned(plan, shifts, w * seen.senses * seen.weights)
        for v, w in columns
    ]
    n_parameters = plan.basis.shape[1]
    by_name = {
        "renormalization": changes[-1],
        "energy_resolution": _binned(plan, spreads, strengths * seen.weights),
    }
    return [shown, *changes[:n_parameters], *(by_name[name] for name in names)]


def _kernels(plan, positions, factors):
    """Return shares of lines below borders, and derivatives with position and width.

    Of shape (n_q, n_samples, n_lines, n_energy + 1).
    """
    z, inverse = _reduced(plan, positions, factors)
    density = torch.exp(-0.5 * z * z) / (2 * np.pi) ** 0.5
    spreads = -density * z / factors[..., None]
    return _cumulative(z), density.mul_(-inverse), spreads


def _reduced(plan, positions, factors):
    """Return distances of borders from lines, in widths, and the inverse widths."""
    inverse = 1 / (factors * plan.widths).clamp(min=_NARROW)[:, None]
    return (plan.edges - positions[..., None]).mul_(inverse), inverse


def _cumulative(z):
    """Return the normal distribution less a half; overwrites its argument."""
    return z.mul_(0.5**0.5).erf_().mul_(0.5)


def _binned(plan, kernel, weights):
    """Return images of lines, averaged over bins, (n_samples, n_energy, n_q)."""
    below = (weights[..., None, :] @ kernel)[..., 0, :]  # (n_q, n_samples, borders)
    below = below.unflatten(0, (-1, plan.n_points)).sum(1)
    return (below.diff(dim=-1) / plan.edges.diff()).permute(1, 2, 0)
