"""Exact derivatives of powder spectra, with parameters and with nuisances."""

import numpy as np
import torch

from skphonon.physics.displacements import displacement_responses
from skphonon.physics.phonon_lines import cubic_responses, responses
from skphonon.simulation._incoherent import q_shares, spectra_responses
from skphonon.simulation._powder_conditions import Conditions
from skphonon.simulation._powder_engine import (
    _BATCH,
    Plan,
    _along_a_line,
    _axes,
    _batches,
    _blocks,
    _damped,
    _damping,
    _displacements,
    _finished,
    _in_energy,
    _in_q,
    _joined,
    _offset,
    _packed,
    _products,
    _record_each,
    _seen_at_points,
    _starts,
    _tensor,
    _zone_rows,
)
from skphonon.simulation._splines import inverse_square, place, scatter

__all__ = ["differentiate"]

_CHANGES = 1 << 23  # numbers that the derivatives of a batch may take
# matrices of one atom a cell, or elements of larger ones, times number of parameters
_GRADIENT_BLOCK = (1 << 16, 1 << 20)


def differentiate(
    plan: Plan, rows: np.ndarray, table: np.ndarray, nuisance: tuple[str, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Return derivatives and spectra.

    Parameters
    ----------
    plan : Plan
        Settings.
    rows : ndarray of shape (n_samples, n_parameters)
        Parameter sets.
    table : ndarray of shape (n_samples, n_nuisances)
        Values of the nuisances.
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
        conditions = plan.conditions(table[batch])
        recorded, changed = images_and_derivatives(
            plan, _tensor(plan, rows[batch]), conditions, nuisance
        )
        spectra[batch, plan.mask] = _finished(plan, recorded).cpu().numpy()
        changed = _finished(plan, changed).cpu().numpy()
        changes[batch, plan.mask] = changed.transpose(1, 2, 0)
    return changes, spectra


def images_and_derivatives(
    plan: Plan,
    rows: torch.Tensor,
    conditions: Conditions,
    nuisance: tuple[str, ...] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return spectra of a batch and their derivatives.

    Parameters
    ----------
    plan : Plan
        Settings.
    rows : Tensor of shape (n_samples, n_parameters)
        Parameter sets.
    conditions : Conditions
        Of the samples.
    nuisance : tuple of str
        What to differentiate with besides the parameters.

    Returns
    -------
    spectra : Tensor of shape (n_samples, n_energy, n_q)
        As from `images`.
    derivatives : Tensor of shape (n_parameters + n_nuisance, n_samples, n_energy, n_q)
        In the order of the parameters and then of `nuisance`.
    """
    n_parameters = rows.shape[1]
    n_changes = n_parameters + ("lattice_scale" in nuisance)
    zone_rows = _zone_rows(plan, rows, conditions)
    mesh = plan.mesh._replace(
        basis=plan.mesh.basis[:, : max(n_changes, zone_rows.shape[1])]
    )
    displacements = _displacements(plan, zone_rows, conditions)
    swellings = _swellings(plan, mesh, zone_rows, conditions)[:, :n_changes]
    scales = conditions.scales[:, None, None]
    seen = _seen_at_points(displacements, conditions)
    seen_swellings = swellings / scales[..., None] ** 2
    if n_changes > n_parameters:  # a point stands for Q / scale
        seen_swellings[:, -1] -= 2 * seen / scales
    weights = plan.waves.weights(rows)
    collected = _axes(plan, len(rows))
    changes = _axes(plan, n_changes * len(rows))
    for points in _blocks(plan, len(rows) * n_changes, _GRADIENT_BLOCK):
        offset = _offset(plan, points, conditions)
        found = _responses(
            plan, points, weights, offset, seen, seen_swellings, conditions
        )
        _collect_responses(plan, points, found, collected, changes)
    changes = changes.unflatten(1, (n_changes, len(rows)))
    spectra = _record_each(conditions, collected)
    by_parameter = _record_each(conditions, changes)
    derivatives = torch.stack(
        [
            *by_parameter[:n_parameters],
            *(
                by_parameter[-1]
                + _record_each(conditions, collected, name)
                - 2 * spectra / scales  # of (Q e)^2
                if name == "lattice_scale"
                else _record_each(conditions, collected, name)
                for name in nuisance
            ),
        ]
    )
    if plan.incoherent is not None:
        smooth, changed = _smooth_responses(
            plan, mesh, zone_rows, conditions, displacements, swellings, nuisance
        )
        spectra += smooth
        derivatives += changed
    return spectra, derivatives


def _swellings(plan, mesh, rows, conditions):
    """Packed derivatives of the displacements, (s, n_changes, n_atoms, 6)."""
    if plan.displacement is None:
        found = displacement_responses(mesh, rows, plan.temperature)
        falling = _falling(plan, conditions, found.shape[1])
        return _packed(found) * falling[..., None, None]
    shape = (len(rows), mesh.basis.shape[1], len(plan.amplitudes), 6)
    return plan.radii.new_zeros(shape)


def _falling(plan, conditions, n_changes):
    """Factors of derivatives with the basis matrices, (n_samples, n_changes).

    That of the last one, where it is not a parameter, makes it a derivative with the
    scale: -3 times the dipole term times scale^-4.
    """
    factors = plan.radii.new_ones(len(conditions.scales), n_changes)
    factors[:, len(plan.parameter_names) :] = conditions.scales[:, None] ** -4
    return factors


def _responses(plan, points, weights, offset, displacements, swellings, conditions):
    """Lines of a block; their derivatives as one pair of tensors for each change."""
    q_vectors = plan.q_vectors[:, points]
    products = _products(q_vectors)
    exponents = displacements @ products
    waves = plan.waves.waves(q_vectors)
    matrices, basis = plan.waves.matrices(waves, weights), plan.waves.basis(waves)
    if offset is not None:
        matrices = matrices + offset
    n_changes = swellings.shape[1]
    if len(plan.amplitudes) == 1:
        basis = _filled(basis, n_changes, dim=0)
        damping = _damping(plan, points, exponents).sqrt()
        found = cubic_responses(matrices, q_vectors[:, None] * damping, basis)
        growth = (swellings[:, :, 0] @ products).transpose(0, 1)  # (p, s, n)
        values = found.values.addcmul_(found.strengths[:, None], growth, value=-1)
        return found._replace(values=values.unbind(1), slopes=found.slopes.unbind(1))
    basis = _filled(basis, n_changes, dim=1)
    falling = plan.radii.new_ones(1, 1, 1)
    if offset is not None and basis.shape[1] > len(plan.parameter_names):
        basis[:, -1] = -3 * plan.offset[points]
        falling = _falling(plan, conditions, n_changes)[:, None]
    found = responses(matrices, _damped(plan, points, exponents), basis)
    parts = found.parts.unflatten(-1, (-1, 3)).sum(dim=-1)  # (n, s, j, d)
    growth = (swellings @ products).permute(3, 0, 2, 1)  # (n, s, d, p)
    values = found.values * falling - parts @ growth
    slopes = found.slopes * falling
    return found._replace(values=values.unbind(-1), slopes=slopes.unbind(-1))


def _filled(basis, n_changes, dim):
    """Basis with a zero for what does not change the matrices themselves."""
    if basis.shape[dim] == n_changes:
        return basis
    return torch.cat([basis, torch.zeros_like(basis.narrow(dim, 0, 1))], dim=dim)


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


def _smooth_responses(plan, mesh, rows, conditions, displacements, swellings, nuisance):
    n_parameters, n_changes = len(plan.parameter_names), swellings.shape[1]
    spectra, changes = spectra_responses(plan.incoherent, mesh, rows)
    falling = _falling(plan, conditions, n_changes).T
    changes = changes[:n_changes] * falling[..., None, None, None]
    scales = conditions.scales[:, None]
    radii = plan.radii / scales
    line = _along_a_line(displacements)
    shares = q_shares(plan.incoherent, radii, line)
    softer_shares = -(radii[:, None, None] ** 2) * shares
    orders = torch.arange(1, shares.shape[2] + 1).to(radii)
    recorded = _in_energy(conditions, spectra, None)
    seen = _in_q(conditions, shares, None)
    softer = _in_q(conditions, softer_shares, None)
    growth = _along_a_line(swellings).transpose(0, 1)  # (p, s, d)
    by_parameter = _joined(
        _in_energy(conditions, changes, None), seen.expand(n_changes, *seen.shape)
    ) + _joined(
        recorded.expand(n_changes, *recorded.shape), growth[..., None, None] * softer
    )

    def by_nuisance(name):
        if name == "lattice_scale":  # Q of a point is that of the plan over the scale
            slower = orders[:, None] * shares + line[..., None, None] * softer_shares
            slower *= -2 / scales[..., None, None]
            moved = _in_q(conditions, shares, name) + _in_q(conditions, slower, None)
            return by_parameter[-1] + _joined(recorded, moved)
        if name.startswith("energy"):
            return _joined(_in_energy(conditions, spectra, name), seen)
        return _joined(recorded, _in_q(conditions, shares, name))

    changed = [by_nuisance(name) for name in nuisance]
    return _joined(recorded, seen), torch.stack(
        [*by_parameter[:n_parameters], *changed]
    )
