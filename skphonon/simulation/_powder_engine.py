"""The powder average itself: batched, on torch tensors.

What does not depend on the parameters is a `Plan`, built once. A batch of parameter
sets goes through in blocks of points: dynamical matrices, lines, splines on the energy
axis; then two small matrices make the broadened bins.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from skphonon.physics.bond_waves import BondWaves
from skphonon.physics.displacements import ZoneMesh, mean_square_displacement
from skphonon.physics.phonon_lines import PACKED, cubic_lines, lines
from skphonon.simulation._incoherent import Incoherent, phonon_spectra, q_shares
from skphonon.simulation._powder_conditions import Conditions
from skphonon.simulation._splines import inverse_square, place, scatter
from skphonon.simulation.quadrature import EnergyAxis

__all__ = ["Plan", "bands", "distances", "simulate"]

_BATCH = 32  # parameter sets simulated together
# what is treated together: matrices of one atom a cell, or elements of larger ones
_BLOCK = (1 << 14, 1 << 18)


class Plan(NamedTuple):
    """What does not depend on the parameters; points come shell by shell in |Q|."""

    parameter_names: list[str]
    ranges: np.ndarray  # (2, n_nuisances), which it serves
    mask: np.ndarray  # (n_pixels,)
    n_directions: int
    radii: torch.Tensor  # (n_shells,), 1/Angstrom
    q_vectors: torch.Tensor  # (3, n_points), 1/Angstrom
    shares: torch.Tensor  # (n_points,): weight of a point in the average of its shell
    shells: torch.Tensor  # (n_points,): number of its shell
    waves: BondWaves
    offset: torch.Tensor | None  # dipole term, (n_points, n_modes, n_modes), meV^2
    amplitudes: torch.Tensor  # (n_atoms,): scattering length / sqrt(mass)
    axis: EnergyAxis
    q_kernel: torch.Tensor  # (n_q, n_shells)
    bands: list  # of the q kernel, as from `bands`
    energy_kernel: torch.Tensor  # (n_energy, n_points)
    mesh: ZoneMesh
    temperature: float  # K
    displacement: float | None  # <u_x^2> where it is given, Angstrom^2
    incoherent: Incoherent | None
    background: torch.Tensor | None  # (n_pixels,)
    conditions: Callable  # table of nuisances -> Conditions


def simulate(
    plan: Plan, rows: np.ndarray, table: np.ndarray | None = None
) -> np.ndarray:
    """Return spectra, shape (n_samples, n_pixels), NaN where nothing is seen.

    A `table` of nuisances, of shape (n_samples, n_nuisances), makes samples differ.
    """
    spectra = np.full((len(rows), plan.mask.size), np.nan)
    for batch in _batches(len(rows), _BATCH):
        recorded = _finished(plan, _images(plan, rows, table, batch))
        spectra[batch, plan.mask] = recorded.cpu().numpy()
    return spectra


def distances(
    finer: Plan, coarser: Plan, rows: np.ndarray, table: np.ndarray | None = None
) -> np.ndarray:
    """Return mean square differences of spectra over the variances of the finer."""
    found = []
    for batch in _batches(len(rows), _BATCH):
        first, second = (
            _images(plan, rows, table, batch).flatten(1)[:, plan.mask]
            for plan in (finer, coarser)
        )
        error = ((first - second) ** 2).mean(dim=1)
        found.append((error / first.var(dim=1, correction=0)).cpu().numpy())
    return np.concatenate(found)


def _batches(n_samples, size):
    return [slice(start, start + size) for start in range(0, n_samples, size)]


def _images(plan, rows, table, batch):
    conditions = None if table is None else plan.conditions(table[batch])
    return images(plan, _tensor(plan, rows[batch]), conditions)


def _tensor(plan, rows):
    return torch.tensor(rows).to(plan.radii)  # a copy: rows may be read-only


def _finished(plan, recorded):
    """Visible pixels of images, with the background in proportion to their mean."""
    visible = recorded.flatten(-2)[..., plan.mask]
    if plan.background is None:
        return visible
    background = plan.background[plan.mask]
    return visible + visible.mean(dim=-1, keepdim=True) * background


def images(
    plan: Plan, rows: torch.Tensor, conditions: Conditions | None = None
) -> torch.Tensor:
    """Return spectra of a batch, shape (n_samples, n_energy, n_q)."""
    zone_rows = _zone_rows(plan, rows, conditions)
    displacements = _displacements(plan, zone_rows, conditions)
    seen = _seen_at_points(displacements, conditions)
    collected = _axes(plan, len(rows))
    weights = plan.waves.weights(rows)
    for points in _blocks(plan, len(rows), _BLOCK):
        offset = _offset(plan, points, conditions)
        eigenvalues, strengths, index = _lines(plan, points, weights, offset, seen)
        places = place(plan.axis, eigenvalues)
        strengths *= inverse_square(eigenvalues) * places.seen
        scatter(collected, index + places.node, places.weights(), strengths)
    if conditions is None:
        recorded = _record(plan, collected)
    else:
        recorded = _record_each(conditions, collected)
    if plan.incoherent is not None:
        spectra = phonon_spectra(plan.incoherent, plan.mesh, zone_rows)
        recorded += _smooth(plan, spectra, _along_a_line(displacements), conditions)
    return recorded


def _axes(plan, n_axes):
    """Energy axes of every shell in |Q|, to collect lines on."""
    return plan.radii.new_zeros(len(plan.radii), n_axes, plan.axis.n_points)


def _blocks(plan, n_samples, sizes):
    n_modes = 3 * len(plan.amplitudes)
    size = sizes[0] if n_modes == 3 else sizes[1] // n_modes**2
    size = max(size // n_samples, 1)
    for start in range(0, len(plan.shells), size):
        yield slice(start, start + size)


def _record(plan, collected):
    """Turn (n_shells, n_axes, n_points) into images, (n_axes, n_energy, n_q)."""
    by_q = torch.cat(
        [
            torch.tensordot(plan.q_kernel[some, near], collected[near], dims=1)
            for some, near in plan.bands
        ]
    )
    return (by_q @ plan.energy_kernel.mT).permute(1, 2, 0)


def _record_each(conditions, collected, changed=None):
    """Turn (n_shells, ..., n_samples, n_points) into images, each as its sample is.

    With the name of a nuisance: into the derivative of the images with it.
    """
    by_q = conditions.q_kernels(changed) @ collected.movedim(0, -2)
    # Q e of a point is that of the plan over the scale
    by_q /= conditions.scales[:, None, None] ** 2
    return conditions.energy_kernels(changed) @ by_q.mT


def bands(kernel: np.ndarray, size: int = 16) -> list[tuple[slice, slice]]:
    """Return slices of rows of a banded matrix, with the columns that are not zero."""
    found = []
    for start in range(0, len(kernel), size):
        some = slice(start, start + size)
        columns = np.flatnonzero(kernel[some].any(axis=0))
        first, last = (columns[0], columns[-1]) if len(columns) else (0, 0)
        found.append((some, slice(int(first), int(last) + 1)))
    return found


def _zone_rows(plan, rows, conditions):
    """Parameters of the mesh: with what stretches the dipole term, where it does.

    The last of its basis matrices is -3 times that term, which goes with scale^-3.
    """
    if conditions is None or plan.mesh.offset is None:
        return rows
    stretch = (1 - conditions.scales**-3) / 3
    return torch.cat([rows, stretch[:, None]], dim=1)


def _displacements(plan, rows, conditions=None):
    """Packed mean-square displacements, (n_samples, n_atoms, 6)."""
    one = torch.eye(3).to(plan.radii)
    if plan.displacement is None:
        found = mean_square_displacement(plan.mesh, rows, plan.temperature)
    else:
        fixed = plan.displacement * one
        found = fixed.expand(len(rows), len(plan.amplitudes), 3, 3)
    if conditions is not None:
        found = found + conditions.displacements[:, None, None, None] * one
    return _packed(found)


def _seen_at_points(displacements, conditions):
    """Displacements that the points of the plan give the same exponents."""
    if conditions is None:
        return displacements
    return displacements / conditions.scales[:, None, None] ** 2


def _offset(plan, points, conditions):
    """Dipole terms of a block of points, by sample; None for a crystal without."""
    if plan.offset is None:
        return None
    offset = plan.offset[points, None]
    if conditions is None:
        return offset
    return offset * conditions.scales[:, None, None] ** -3


def _packed(tensors):
    return tensors.flatten(-2)[..., PACKED]


def _along_a_line(displacements):
    """Mean-square displacements averaged over directions, (..., n_atoms)."""
    return displacements[..., :3].mean(dim=-1)


def _products(q_vectors):
    """Products of Q that a packed tensor U is contracted with to give Q . U Q."""
    x, y, z = q_vectors
    return torch.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z])


def _lines(plan, points, weights, offset, displacements):
    """Eigenvalues and strengths of a block, and the axis that each line goes to."""
    q_vectors = plan.q_vectors[:, points]
    exponents = displacements @ _products(q_vectors)  # 2W, (s, d, n)
    matrices = plan.waves.matrices(plan.waves.waves(q_vectors), weights)
    if offset is not None:
        matrices = matrices + offset
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


def _smooth(plan, spectra, displacements, conditions):
    """Images of incoherent and multiphonon scattering, (n_samples, n_energy, n_q)."""
    n_points = spectra.shape[-1]
    if conditions is None:
        shares = q_shares(plan.incoherent, plan.radii, displacements)
        kernel = plan.incoherent.kernel(n_points)
        return _joined(spectra @ kernel.mT, shares @ plan.q_kernel.mT)
    radii = plan.radii / conditions.scales[:, None]
    shares = q_shares(plan.incoherent, radii, displacements)
    return _joined(
        _in_energy(conditions, spectra, None), _in_q(conditions, shares, None)
    )


def _joined(recorded, seen):
    return recorded.flatten(-3, -2).mT @ seen.flatten(-3, -2)


def _in_energy(conditions, spectra, changed):
    """Record (..., n_samples, n_atoms, n_orders, n_points) in bins of energy."""
    kernels = conditions.smooth_kernels(spectra.shape[-1], changed)
    return spectra @ kernels[:, None].mT


def _in_q(conditions, shares, changed):
    """Record (..., n_samples, n_atoms, n_orders, n_shells) in bins of Q."""
    return shares @ conditions.q_kernels(changed)[:, None].mT
