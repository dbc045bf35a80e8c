"""The powder average itself: batched, on torch tensors, with its derivatives.

What does not depend on the parameters is a `Plan`, built once. A batch of parameter
sets goes through in blocks of points: dynamical matrices, lines, splines on the energy
axis; then two small matrices make the broadened bins.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from skphonon.physics.bond_waves import BondWaves
from skphonon.physics.displacements import (
    ZoneMesh,
    displacement_responses,
    mean_square_displacement,
)
from skphonon.physics.phonon_lines import (
    PACKED,
    cubic_lines,
    cubic_responses,
    lines,
    responses,
)
from skphonon.simulation._incoherent import (
    Incoherent,
    phonon_spectra,
    q_shares,
    spectra_responses,
)
from skphonon.simulation._splines import inverse_square, place, scatter
from skphonon.simulation.quadrature import EnergyAxis

__all__ = ["Plan", "Simulation", "bands", "differentiate", "distances", "simulate"]

_BATCH = 32  # parameter sets simulated together
_CHANGES = 1 << 23  # numbers that the derivatives of a batch may take
# what is treated together: matrices of one atom a cell, or elements of larger ones
_BLOCK = (1 << 14, 1 << 18)
_GRADIENT_BLOCK = (1 << 16, 1 << 20)  # the same, times the number of parameters


class Plan(NamedTuple):
    """What does not depend on the parameters; points come shell by shell in |Q|."""

    parameter_names: list[str]
    mask: np.ndarray  # (n_pixels,)
    n_directions: int
    radii: torch.Tensor  # (n_shells,), 1/Angstrom
    q_vectors: torch.Tensor  # (3, n_points), 1/Angstrom
    shares: torch.Tensor  # (n_points,): weight of a point in the average of its shell
    shells: torch.Tensor  # (n_points,): number of its shell
    waves: BondWaves
    offset: torch.Tensor | None  # dipole term, (n_points, n_modes, n_modes), meV^2
    stretched_offset: Callable  # slice of points -> its change with a lattice scale
    amplitudes: torch.Tensor  # (n_atoms,): scattering length / sqrt(mass)
    axis: EnergyAxis
    q_kernels: tuple[torch.Tensor, Callable]  # (n_q, n_shells), and d / d sigma
    bands: list  # of the q kernel, as from `bands`
    energy_kernels: tuple[torch.Tensor, Callable]  # (n_energy, n_points), d / d sigma
    mesh: ZoneMesh
    temperature: float  # K
    displacement: float | None  # <u_x^2> where it is given, Angstrom^2
    incoherent: Incoherent | None
    background: torch.Tensor | None  # (n_pixels,)


def simulate(plan: Plan, rows: np.ndarray) -> np.ndarray:
    """Return spectra, shape (n_samples, n_pixels), NaN where nothing is seen."""
    spectra = np.full((len(rows), plan.mask.size), np.nan)
    for batch in _batches(len(rows), _BATCH):
        recorded = _finished(plan, images(plan, _tensor(plan, rows[batch])))
        spectra[batch, plan.mask] = recorded.cpu().numpy()
    return spectra


def differentiate(
    plan: Plan, rows: np.ndarray, nuisance: tuple[str, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Return derivatives and spectra.

    Parameters
    ----------
    plan : Plan
        Settings.
    rows : ndarray of shape (n_samples, n_parameters)
        Parameter sets.
    nuisance : tuple of str
        What to differentiate with besides the parameters.

    Returns
    -------
    changes : ndarray of shape (n_samples, n_pixels, n_parameters + n_nuisance)
        Derivatives, NaN where nothing is seen.
    spectra : ndarray of shape (n_samples, n_pixels)
        As from `simulate`.
    """
    n_changes = rows.shape[1] + len(nuisance)
    spectra = np.full((len(rows), plan.mask.size), np.nan)
    changes = np.full((len(rows), plan.mask.size, n_changes), np.nan)
    held = len(plan.radii) * plan.axis.n_points * n_changes
    held = max(held, 2 * plan.mesh.basis.numel())
    for batch in _batches(len(rows), min(max(_CHANGES // held, 1), _BATCH)):
        recorded, changed = images_and_derivatives(
            plan, _tensor(plan, rows[batch]), nuisance
        )
        spectra[batch, plan.mask] = _finished(plan, recorded).cpu().numpy()
        changed = _finished(plan, changed).cpu().numpy()
        changes[batch, plan.mask] = changed.transpose(1, 2, 0)
    return changes, spectra


def distances(finer: Plan, coarser: Plan, rows: np.ndarray) -> np.ndarray:
    """Return mean square differences of spectra over the variances of the finer."""
    found = []
    for batch in _batches(len(rows), _BATCH):
        first, second = (
            images(plan, _tensor(plan, rows[batch])).flatten(1)[:, plan.mask]
            for plan in (finer, coarser)
        )
        error = ((first - second) ** 2).mean(dim=1)
        found.append((error / first.var(dim=1, correction=0)).cpu().numpy())
    return np.concatenate(found)


class Simulation(torch.autograd.Function):
    """Hands the derivatives of a simulator to torch."""

    @staticmethod
    def forward(ctx, parameters, simulator):
        """Simulate, and keep the Jacobian where a gradient may be asked for."""
        rows = parameters.detach().cpu().numpy()
        if not parameters.requires_grad:
            return torch.as_tensor(simulator.simulate(rows)).to(parameters)
        jacobian, spectra = simulator.jacobian(rows, return_spectra=True)
        # a pixel that is not measured has no say
        ctx.save_for_backward(torch.as_tensor(np.nan_to_num(jacobian)).to(parameters))
        return torch.as_tensor(spectra).to(parameters)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        """Apply the transposed Jacobian."""
        (jacobian,) = ctx.saved_tensors
        return torch.einsum("sx,sxp->sp", gradient, jacobian), None


def _batches(n_samples, size):
    return [slice(start, start + size) for start in range(0, n_samples, size)]


def _tensor(plan, rows):
    return torch.as_tensor(rows).to(plan.radii)


def _finished(plan, recorded):
    """Visible pixels of images, with the background in proportion to their mean."""
    visible = recorded.flatten(-2)[..., plan.mask]
    if plan.background is None:
        return visible
    background = plan.background[plan.mask]
    return visible + visible.mean(dim=-1, keepdim=True) * background


def images(plan: Plan, rows: torch.Tensor) -> torch.Tensor:
    """Return spectra of a batch, shape (n_samples, n_energy, n_q)."""
    displacements = _displacements(plan, rows)
    collected = _axes(plan, len(rows))
    weights = plan.waves.weights(rows)
    for points in _blocks(plan, len(rows), _BLOCK):
        eigenvalues, strengths, index = _lines(plan, points, weights, displacements)
        places = place(plan.axis, eigenvalues)
        strengths *= inverse_square(eigenvalues) * places.seen
        scatter(collected, index + places.node, places.weights(), strengths)
    recorded = _record(plan.energy_kernels[0], collected, plan.q_kernels[0], plan.bands)
    if plan.incoherent is not None:
        spectra = phonon_spectra(plan.incoherent, plan.mesh, rows)
        shares = q_shares(plan.incoherent, plan.radii, _along_a_line(displacements))
        recorded += _smooth(plan, spectra, shares)
    return recorded


def images_and_derivatives(
    plan: Plan, rows: torch.Tensor, nuisance: tuple[str, ...] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return spectra of a batch and their derivatives.

    Parameters
    ----------
    plan : Plan
        Settings.
    rows : Tensor of shape (n_samples, n_parameters)
        Parameter sets.
    nuisance : tuple of str
        What to differentiate with besides the parameters.

    Returns
    -------
    spectra : Tensor of shape (n_samples, n_energy, n_q)
        As from `images`.
    derivatives : Tensor of shape (n_parameters + n_nuisance, n_samples, n_energy, n_q)
        In the order of the parameters and then of `nuisance`.
    """
    stretched = "lattice_scale" in nuisance
    mesh = plan.mesh if stretched else plan.mesh._replace(
        basis=plan.mesh.basis[:, : rows.shape[1]]
    )  # fmt: skip
    displacements = _displacements(plan, rows)
    swellings = _swellings(plan, mesh, rows)  # (s, p, d, 6)
    weights = plan.waves.weights(rows)
    n_changes = swellings.shape[1]
    collected = _axes(plan, len(rows))
    changes = _axes(plan, n_changes * len(rows))
    for points in _blocks(plan, len(rows) * n_changes, _GRADIENT_BLOCK):
        found = _responses(plan, points, weights, displacements, swellings, stretched)
        _collect_responses(plan, points, found, collected, changes)
    energy_kernel, q_kernel = plan.energy_kernels[0], plan.q_kernels[0]
    spectra = _record(energy_kernel, collected, q_kernel, plan.bands)
    by_parameter = _record(energy_kernel, changes, q_kernel, plan.bands)
    by_parameter = by_parameter.unflatten(0, (n_changes, len(rows)))

    def by_q_resolution():
        kernel = plan.q_kernels[1]()
        return _record(energy_kernel, collected, kernel, bands(kernel.cpu().numpy()))

    by_nuisance = {
        "energy_resolution": lambda: _record(
            plan.energy_kernels[1](), collected, q_kernel, plan.bands
        ),
        "q_resolution": by_q_resolution,
        "mean_square_displacement": lambda: _record(
            energy_kernel, collected, -(plan.radii**2) * q_kernel, plan.bands
        ),
        "lattice_scale": lambda: by_parameter[-1],
    }
    n_parameters = rows.shape[1]
    derivatives = torch.stack(
        [*by_parameter[:n_parameters], *(by_nuisance[name]() for name in nuisance)]
    )
    if plan.incoherent is not None:
        smooth, changed = _smooth_responses(
            plan, mesh, rows, displacements, swellings, nuisance
        )
        spectra += smooth
        derivatives += changed
    return spectra, derivatives


def _axes(plan, n_axes):
    """Energy axes of every shell in |Q|, to collect lines on."""
    return plan.radii.new_zeros(len(plan.radii), n_axes, plan.axis.n_points)


def _blocks(plan, n_samples, sizes):
    n_modes = 3 * len(plan.amplitudes)
    size = sizes[0] if n_modes == 3 else sizes[1] // n_modes**2
    size = max(size // n_samples, 1)
    for start in range(0, len(plan.shells), size):
        yield slice(start, start + size)


def _record(energy_kernel, collected, q_kernel, q_bands):
    """Turn (n_shells, n_axes, n_points) into images, (n_axes, n_energy, n_q)."""
    by_q = torch.cat(
        [
            torch.tensordot(q_kernel[some, near], collected[near], dims=1)
            for some, near in q_bands
        ]
    )
    return (by_q @ energy_kernel.mT).permute(1, 2, 0)


def bands(kernel: np.ndarray, size: int = 16) -> list[tuple[slice, slice]]:
    """Return slices of rows of a banded matrix, with the columns that are not zero."""
    found = []
    for start in range(0, len(kernel), size):
        some = slice(start, start + size)
        columns = np.flatnonzero(kernel[some].any(axis=0))
        first, last = (columns[0], columns[-1]) if len(columns) else (0, 0)
        found.append((some, slice(int(first), int(last) + 1)))
    return found


def _displacements(plan, rows):
    """Packed mean-square displacements, (n_samples, n_atoms, 6)."""
    if plan.displacement is None:
        return _packed(mean_square_displacement(plan.mesh, rows, plan.temperature))
    fixed = plan.displacement * torch.eye(3).to(plan.radii)
    return _packed(fixed.expand(len(rows), len(plan.amplitudes), 3, 3))


def _swellings(plan, mesh, rows):
    """Packed derivatives of the displacements, (s, n_changes, n_atoms, 6)."""
    if plan.displacement is None:
        return _packed(displacement_responses(mesh, rows, plan.temperature))
    shape = (len(rows), mesh.basis.shape[1], len(plan.amplitudes), 6)
    return plan.radii.new_zeros(shape)


def _packed(tensors):
    return tensors.flatten(-2)[..., PACKED]


def _along_a_line(displacements):
    """Mean-square displacements averaged over directions, (..., n_atoms)."""
    return displacements[..., :3].mean(dim=-1)


def _products(q_vectors):
    """Products of Q that a packed tensor U is contracted with to give Q . U Q."""
    x, y, z = q_vectors
    return torch.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z])


def _lines(plan, points, weights, displacements):
    """Eigenvalues and strengths of a block, and the axis that each line goes to."""
    q_vectors = plan.q_vectors[:, points]
    exponents = displacements @ _products(q_vectors)  # 2W, (s, d, n)
    matrices = plan.waves.matrices(plan.waves.waves(q_vectors), weights)
    if plan.offset is not None:
        matrices = matrices + plan.offset[points, None]
    if len(plan.amplitudes) == 1:
        found = cubic_lines(matrices, q_vectors)
        strengths = found.strengths * _damping(plan, points, exponents)
    else:
        found = lines(matrices, _damped(plan, points, exponents))
        strengths = found.strengths
    return (
        found.eigenvalues,
        strengths,
        _starts(plan, points, len(displacements), len(displacements)),
    )


def _responses(plan, points, weights, displacements, swellings, stretched):
    """Lines of a block; their derivatives as one pair of tensors for each change."""
    q_vectors = plan.q_vectors[:, points]
    products = _products(q_vectors)
    exponents = displacements @ products
    waves = plan.waves.waves(q_vectors)
    matrices, basis = plan.waves.matrices(waves, weights), plan.waves.basis(waves)
    if plan.offset is not None:
        matrices = matrices + plan.offset[points, None]
    if stretched:
        basis = _with_stretch(plan, points, weights, basis)
    if len(plan.amplitudes) == 1:
        damping = _damping(plan, points, exponents).sqrt()
        found = cubic_responses(matrices, q_vectors[:, None] * damping, basis)
        growth = (swellings[:, :, 0] @ products).transpose(0, 1)  # (p, s, n)
        values = found.values.addcmul_(found.strengths[:, None], growth, value=-1)
        return found._replace(values=values.unbind(1), slopes=found.slopes.unbind(1))
    found = responses(matrices, _damped(plan, points, exponents), basis)
    parts = found.parts.unflatten(-1, (-1, 3)).sum(dim=-1)  # (n, s, j, d)
    growth = (swellings @ products).permute(3, 0, 2, 1)  # (n, s, d, p)
    values = found.values - parts @ growth
    return found._replace(values=values.unbind(-1), slopes=found.slopes.unbind(-1))


def _collect_responses(plan, points, found, collected, changes):
    n_samples, n_axes = collected.shape[1], changes.shape[1]
    places = place(plan.axis, found.eigenvalues)
    weights, tilts = places.weights(), places.tilts()
    inverse = inverse_square(found.eigenvalues) * places.seen
    index = _starts(plan, points, n_samples, n_samples) + places.node
    scatter(collected, index, weights, found.strengths * inverse)
    # F = G(E) / E^2: dF/d(E^2) = G'(E) / 2 E^3 - G / E^4
    tilt = inverse * inverse.sqrt() / (2 * plan.axis.step)
    fall = inverse * inverse
    index = _starts(plan, points, n_samples, n_axes) + places.node
    changes = changes.view(-1)
    for value, slope in zip(found.values, found.slopes, strict=True):
        level = (value * inverse).addcmul_(slope, fall, value=-1)
        scatter(changes, index, weights, level, tilts, slope * tilt)
        changes = changes[n_samples * plan.axis.n_points :]


def _with_stretch(plan, points, weights, basis):
    """Append the derivative with the scale of the lattice, which varies by sample."""
    waves = plan.waves.stretches(plan.q_vectors[:, points])
    stretch = plan.waves.matrices(waves, weights)
    if len(plan.amplitudes) == 1:
        basis = basis[:, :, None].expand(-1, -1, stretch.shape[1], -1)
        return torch.cat([basis, stretch[None]])
    if plan.offset is not None:
        stretch = stretch + plan.stretched_offset(points)[:, None]
    basis = basis[:, None].expand(-1, stretch.shape[1], -1, -1, -1)
    return torch.cat([basis, stretch[:, :, None]], dim=2)


def _damping(plan, points, exponents):
    """Factor of the strengths of a one-atom cell, (s, n)."""
    scale = plan.shares[points] * plan.amplitudes[0] ** 2
    return torch.exp(-exponents[:, 0]) * scale


def _damped(plan, points, exponents):
    """Scattering amplitudes with their Debye-Waller factors, (n, s, modes)."""
    q_vectors = (plan.q_vectors[:, points] * plan.shares[points].sqrt()).T
    damped = plan.amplitudes[:, None] * torch.exp(-exponents / 2)  # (s, d, n)
    return (damped.permute(2, 0, 1)[..., None] * q_vectors[:, None, None]).flatten(2)


def _starts(plan, points, n_samples, n_axes):
    """Where the axis of each sample and point starts, shaped as its lines."""
    samples = torch.arange(n_samples, device=plan.radii.device) * plan.axis.n_points
    shells = plan.shells[points] * (n_axes * plan.axis.n_points)
    if len(plan.amplitudes) == 1:
        return samples[:, None] + shells
    return (samples + shells[:, None])[..., None]


def _smooth(plan, spectra, shares):
    """Image of incoherent and multiphonon scattering, (..., n_energy, n_q)."""
    recorded = spectra @ plan.incoherent.kernel(spectra.shape[-1]).mT
    seen = shares @ plan.q_kernels[0].mT
    return _joined(recorded, seen)


def _joined(recorded, seen):
    return recorded.flatten(-3, -2).mT @ seen.flatten(-3, -2)


def _smooth_responses(plan, mesh, rows, displacements, swellings, nuisance):
    incoherent = plan.incoherent
    spectra, changes = spectra_responses(incoherent, mesh, rows)
    kernel = incoherent.kernel(spectra.shape[-1])
    shares = q_shares(incoherent, plan.radii, _along_a_line(displacements))
    recorded, seen = spectra @ kernel.mT, shares @ plan.q_kernels[0].mT
    softer = -(plan.radii**2) * shares
    growth = _along_a_line(swellings).transpose(0, 1)  # (p, s, d)
    by_parameter = _joined(changes @ kernel.mT, seen.expand(len(changes), *seen.shape))
    swollen = growth[..., None, None] * (softer @ plan.q_kernels[0].mT)
    by_parameter = by_parameter + _joined(
        recorded.expand(len(growth), *recorded.shape), swollen
    )
    by_nuisance = {
        "energy_resolution": lambda: _joined(
            spectra @ incoherent.width_kernel(spectra.shape[-1]).mT, seen
        ),
        "q_resolution": lambda: _joined(recorded, shares @ plan.q_kernels[1]().mT),
        "mean_square_displacement": lambda: _joined(
            recorded, softer @ plan.q_kernels[0].mT
        ),
        "lattice_scale": lambda: by_parameter[-1],
    }
    changed = [by_nuisance[name]() for name in nuisance]
    return _joined(recorded, seen), torch.stack(
        [*by_parameter[: rows.shape[1]], *changed]
    )
