r"""Exact derivatives of powder spectra: forwards for Jacobians, backwards for scalars.

A spectrum is :math:`\sum_Q v^T f(D)\,v^*` with a function f of the dynamical matrix D
and amplitudes v, so that (:mod:`skphonon.physics.modes`)

.. math:: dS = \mathrm{Re} \sum_Q \sum_{jl} f[\lambda_j, \lambda_l]\,A_j A_l^*\,
          (e_j^\dagger\,dD\,e_l),

where :math:`f[\lambda_j, \lambda_l]` is a divided difference, the slope for degenerate
modes. A Jacobian sums :math:`A_j A_l^*` of all pairs of modes over Q, as the spectrum
sums squares, and only then meets the parameters. A gradient takes the derivatives of a
scalar with the spectrum back to each Q, and costs the same for any number of
parameters.
"""

import numpy as np
from numpy.typing import NDArray

from skphonon.physics.modes import mode_pairs
from skphonon.simulation._axes import slope_weights
from skphonon.simulation._phonons import from_modes, isotropic, quadratic_forms, squares
from skphonon.simulation._powder_engine import (
    add_lines,
    amplitudes,
    bounded,
    energy_shares,
    finished,
    over_batches,
    unfinished,
)

__all__ = ["differentiate", "gradients"]

Array = NDArray[np.float64]


def differentiate(plan, rows, values, nuisance=()):
    """Return derivatives with the parameters and nuisances, spectra, softest modes."""
    n_changes = rows.shape[1] + len(nuisance)
    spectra = np.full((len(rows), plan.mask.size), np.nan)
    changes = np.full((len(rows), plan.mask.size, n_changes), np.nan)
    basis = plan.matrices.basis()

    def run(batch, found, conditions):
        image, slopes = _images_and_derivatives(
            plan, found, conditions, basis, nuisance
        )
        spectra[batch, plan.mask] = finished(plan, image)
        changes[batch, plan.mask] = finished(plan, slopes).swapaxes(1, 2)

    return changes, spectra, over_batches(plan, rows, values, run)


def gradients(plan, rows, values, slopes):
    """Return gradients of scalars, from their derivatives with the pixels."""
    gradients = np.empty(rows.shape)
    shape = len(rows), *plan.recording.image_shape
    images = unfinished(plan, slopes[:, plan.mask]).reshape(shape)

    def run(batch, found, conditions):
        gradients[batch] = _gradient(plan, found, conditions, images[batch])

    over_batches(plan, rows, values, run)
    return gradients


def _images_and_derivatives(plan, found, conditions, basis, nuisance=()):
    """Return spectra of a batch and their derivatives."""
    pairs = mode_pairs(found.eigenvalues)
    n_parameters = len(basis)
    inner = _inner(found.vectors, basis)
    stretched = "lattice_scale" in nuisance and plan.matrices.offset is not None
    if stretched:  # the last: only the dipole term changes, at a reduced q
        falling = -3 * conditions.scales[:, None, None, None] ** -4
        dipole = _inner(found.vectors, plan.matrices.offset[None])
        inner = np.concatenate([inner, falling[:, None] * dipole], axis=1)
    growths = _displacement_slopes(plan, found, pairs, inner, conditions)
    collected, slopes, by_component = _collect(plan, found, pairs, inner)
    exponents = growths / conditions.scales[:, None, None] ** 2
    slopes += np.einsum("spc,scab->spab", exponents, by_component)
    spectra = conditions.images(collected)
    changes = [*conditions.images(slopes).swapaxes(0, 1)[:n_parameters]]

    def through_components(change):
        """Return images of a change of the displacements that the points see."""
        return conditions.images(np.einsum("sc,scab->sab", change, by_component))

    scales = conditions.scales[:, None]
    warming = None  # of displacements, where they are not given
    if "temperature" in nuisance and plan.displacement is None:
        warming = plan.thermal.warming(
            found.eigenvalues, found.vectors, conditions.values["temperature"]
        )
    for name in nuisance:
        image = conditions.images(collected, name)
        if name == "lattice_scale":
            image = image - through_components(2 * found.exponents / scales)
            if stretched:
                image = image + conditions.images(slopes[:, -1])
        elif name == "mean_square_displacement":
            image = image + through_components(
                isotropic(plan.thermal.tensors) / scales**2
            )
        elif name == "temperature" and warming is not None:
            image = image + through_components(warming / scales**2)
        changes.append(image + np.zeros_like(spectra))
    derivatives = np.stack(changes, axis=1)
    if plan.incoherent is not None:
        smooth, changed = plan.incoherent.images_and_derivatives(
            plan, found, pairs, inner, growths, warming, conditions, nuisance
        )
        spectra = spectra + smooth
        derivatives = derivatives + changed
    return spectra, derivatives


def _inner(vectors, basis):
    """Return basis matrices between modes, (s, n_parameters, n_points, j, l)."""
    vectors = vectors[:, None]
    return vectors.conj().swapaxes(-1, -2) @ (basis @ vectors)


def _displacement_slopes(plan, found, pairs, inner, conditions):
    """Return derivatives of displacements, (n_samples, n_changes, n_components)."""
    n_samples, n_changes = inner.shape[:2]
    if plan.displacement is not None:
        return np.zeros((n_samples, n_changes, len(plan.tensors)))
    slopes = plan.thermal.slopes(
        found.eigenvalues, found.vectors, conditions.values["temperature"], *pairs
    )  # (c, s, n, j, l)
    return np.stack(
        [
            _real_product(inner[s].reshape(n_changes, -1), slopes[:, s])
            for s in range(n_samples)
        ]
    )


def _real_product(first, second):
    """Return the real part of first (a, n) times second (b, ...)^*, (a, b)."""
    second = second.reshape(len(second), -1).T
    if np.iscomplexobj(first):
        return first.real @ second.real + first.imag @ second.imag
    return first @ second.real


def _slope_weights(plan, found):
    return slope_weights(found.places, found.inverse, plan.recording.energy.step)


def _collect(plan, found, pairs, inner):
    """Collect lines and their derivatives with matrices and displacements.

    Shapes (n_samples, n_energies, n_moduli), (n_samples, n_changes, ...) and
    (n_samples, n_components, ...).
    """
    n_samples, n_changes = inner.shape[:2]
    axes = plan.recording.energy, plan.recording.q
    shape = tuple(axis.n_points for axis in axes)
    collected = np.zeros((n_samples, *shape))
    slopes = np.zeros((n_samples, *shape, n_changes))
    by_component = np.zeros((n_samples, found.exponents.shape[1], *shape))
    tilted = _slope_weights(plan, found)
    width = plan.matrices.size * (1 if plan.matrices.is_real else 2)
    numbers = n_samples * plan.matrices.size * 2 * (width + n_changes)
    for block in bounded(plan, numbers):
        values, damping = amplitudes(plan, block, found)
        levels = energy_shares(plan, block, found)
        _add_components(plan, block, found, levels, values, damping, by_component)
        if damping is not None:
            values = values * np.sqrt(damping)
        sums = _pair_sums(block, values)  # (n, s, j, q, l) real and imaginary
        own, n_moduli = np.arange(sums.shape[2]), sums.shape[3]
        lines = sums[:, :, own, :, own].transpose(1, 2, 0, 3).reshape(-1, n_moduli)
        collected[:, :, block.moduli] += (levels @ lines).reshape(
            n_samples, shape[0], -1
        )
        coupling = _coupling(block, pairs, inner, np.iscomplexobj(found.vectors))
        found_slopes = sums @ coupling  # (n, s, j, q, 2 p)
        falls = energy_shares(plan, block, found, tilted)
        for matrix, part in zip((levels, falls), (0, 1), strict=True):
            own_part = found_slopes[..., part * n_changes : (part + 1) * n_changes]
            rows = own_part.reshape(-1, n_moduli * n_changes)
            slopes[:, :, block.moduli] += (matrix @ rows).reshape(
                n_samples, shape[0], -1, n_changes
            )
    return collected, np.moveaxis(slopes, -1, 1), by_component


def _pair_sums(block, values):
    """Sum A_j A_l* over transfers by modulus, (n, s, j, q, l), real parts first."""
    n_samples, n_modes = values.shape[1:]
    first, second = np.triu_indices(n_modes)
    complex_ = np.iscomplexobj(values)
    products = values[..., first] * values[..., second].conj()
    parts = [products.real, products.imag] if complex_ else [products]
    width = 2 * n_modes if complex_ else n_modes
    n_moduli = block.moduli.stop - block.moduli.start
    n_points = len(block.points)
    sums = np.empty((n_points, n_samples, n_modes, n_moduli, width))
    for number, part in enumerate(parts):
        by_q = block.q_shares @ np.ascontiguousarray(part.reshape(len(part), -1))
        by_q = by_q.reshape(n_points, n_moduli, n_samples, -1).transpose(0, 2, 3, 1)
        shift = number * n_modes
        sign = -1.0 if number else 1.0
        # numpy puts the axis of pairs first
        sums[:, :, second, :, shift + first] = sign * by_q.transpose(2, 0, 1, 3)
        sums[:, :, first, :, shift + second] = by_q.transpose(2, 0, 1, 3)
    return sums


def _coupling(block, pairs, inner, is_complex):
    """Return what pairs of modes add to lines and slopes, (n, s, j, l, 2 n_changes)."""
    own = inner[:, :, block.points].transpose(2, 0, 3, 4, 1)  # (n, s, j, l, p)
    inverse = pairs.inverse[:, block.points].swapaxes(0, 1)[..., None]
    near = pairs.near[:, block.points].swapaxes(0, 1)[..., None]
    both = np.concatenate([2 * inverse * own, near * own], axis=-1)
    if not is_complex:
        return both
    return np.concatenate([both.real, -both.imag], axis=3)


def _add_components(plan, block, found, levels, values, damping, collected):
    """Add derivatives of what is collected with displacements, (s, c, ...)."""
    forms = quadratic_forms(plan.tensors, block.q_vectors)
    strengths = None if damping is None else squares(values) * damping
    for number, form in enumerate(forms):
        if strengths is not None:
            part = strengths * -form[0].reshape(-1, 1, 1)
        else:
            moved, _ = amplitudes(plan, block, found, -form / 2)
            part = 2 * (values * moved.conj()).real
        add_lines(block, levels, part, collected[:, number])


def _gradient(plan, found, conditions, slopes):
    """Return gradients of scalars, from their derivatives with the images."""
    pairs = mode_pairs(found.eigenvalues)
    n_samples = len(slopes)
    between = np.zeros(found.vectors.shape, dtype=found.vectors.dtype)
    of_components = np.zeros_like(found.exponents)
    back = conditions.adjoint(slopes)
    tilted = _slope_weights(plan, found)
    for block in bounded(plan, 4 * n_samples * plan.matrices.size):
        values, damping = amplitudes(plan, block, found)
        by_moduli = np.ascontiguousarray(back[:, :, block.moduli]).reshape(
            -1, block.moduli.stop - block.moduli.start
        )
        levels = _to_transfers(
            block, energy_shares(plan, block, found).T @ by_moduli, n_samples
        )
        falls = _to_transfers(
            block, energy_shares(plan, block, found, tilted).T @ by_moduli, n_samples
        )
        if damping is not None:
            levels, falls = levels * damping, falls * damping
        of_components += _component_slopes(plan, block, found, values, levels, damping)
        mixed = _outer(block, values, levels)
        slow = _outer(block, values, falls)
        inverse = pairs.inverse[:, block.points]
        near = pairs.near[:, block.points]
        added = (mixed - mixed.conj().swapaxes(2, 3)) * inverse
        added += near * (slow + slow.conj().swapaxes(2, 3)) / 2
        between[:, block.points] += added.conj()
    if plan.incoherent is not None:
        smooth, unscaled = plan.incoherent.gradient(
            plan, found, pairs, conditions, slopes
        )
        between += smooth
    else:
        unscaled = 0.0
    if plan.displacement is None:
        of_components = of_components / conditions.scales[:, None] ** 2 + unscaled
        growth = plan.thermal.slopes(
            found.eigenvalues, found.vectors, conditions.values["temperature"], *pairs
        )
        between += np.einsum("sc,csnjl->snjl", of_components, growth)
    return plan.matrices.gradient(from_modes(found.vectors, between))


def _to_transfers(block, by_mode, n_samples):
    """Take (n s j, q) back to transfers, (n_transfers, n_samples, n_modes)."""
    n_points = len(block.points)
    by_mode = by_mode.reshape(n_points, -1, by_mode.shape[1]).swapaxes(1, 2)
    by_mode = np.ascontiguousarray(by_mode).reshape(-1, by_mode.shape[2])
    found = block.q_shares.T @ by_mode
    return found.reshape(len(found), n_samples, -1)


def _outer(block, values, weights):
    """Sum w_j A_j A_l* over the transfers of each point, (s, n, j, l)."""
    n_chunks, n_rows = block.q_vectors.shape[:2]
    shape = n_chunks, n_rows, *values.shape[1:]
    left = (weights * values).reshape(shape).transpose(0, 2, 3, 1)
    right = values.conj().reshape(shape).swapaxes(1, 2)
    products = left @ right  # (chunk, s, j, l)
    starts = np.searchsorted(block.chunks, np.arange(len(block.points)))
    return np.add.reduceat(products, starts, axis=0).swapaxes(0, 1)


def _component_slopes(plan, block, found, values, weights, damping):
    """Return the gradient with displacements that the points see, (n_samples, c)."""
    forms = quadratic_forms(plan.tensors, block.q_vectors)
    if damping is not None:  # it is in the weights already
        totals = (weights * squares(values)).sum(axis=2)  # (n_transfers, s)
        return -(forms[:, 0].reshape(len(forms), -1) @ totals).T
    n_samples = values.shape[1]
    n_chunks, n_rows, n_atoms = block.amplitudes.shape
    vectors = found.vectors.swapaxes(0, 1)[block.points][block.chunks]
    shape = n_chunks, n_rows, n_samples, -1
    moved = (weights * values.conj()).reshape(shape).swapaxes(1, 2)
    moved = moved @ vectors.swapaxes(2, 3)  # (chunk, s, row, 3 n_atoms)
    moved = moved.reshape(n_chunks, n_samples, n_rows, n_atoms, 3)
    along = (moved * block.q_vectors[:, None, :, None]).sum(axis=-1)
    exponents = np.tensordot(found.exponents, forms, axes=1)  # (s, t, chunk, row)
    damped = np.exp(-exponents / 2)[:, plan.tensor_rows].transpose(2, 0, 3, 1)
    along = (along * block.amplitudes[:, None]).real * damped
    by_tensor = np.stack(
        [
            along[..., plan.tensor_rows == number].sum(axis=-1)
            for number in range(forms.shape[1])
        ]
    )  # (t, chunk, s, row)
    return -np.einsum("tnsr,ctnr->sc", by_tensor, forms)
