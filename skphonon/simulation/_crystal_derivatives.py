r"""Exact derivatives of single-crystal spectra: forwards for a Jacobian, and backwards.

A line of amplitude :math:`A_j` and eigenvalue :math:`\lambda_j` adds
:math:`|A_j|^2 F(\lambda_j)`, and all lines of a column change by
(:mod:`skphonon.physics.modes`)

.. math:: dS = \mathrm{Re} \sum_{jl} F[\lambda_j, \lambda_l]\,A_j A_l^*\,
          (e_j^\dagger\,dD\,e_l).

Forwards, :math:`e_j^\dagger\,\partial D/\partial p` is common to the columns of a
point, and the rest of the sum over l is a vector for each column. Backwards, the
scalar's derivatives with all columns of a point add up to one matrix before they meet
the parameters.
"""

import numpy as np
from numpy.typing import NDArray

from skphonon.physics.modes import mode_pairs
from skphonon.physics.stability import Softest
from skphonon.simulation._crystal_engine import (
    Costs,
    add,
    amplitudes,
    batches,
    blocks,
    finished,
    modes,
    recorded,
    shown,
    softest_of,
    spread,
)
from skphonon.simulation._crystal_plan import Plan, Samples
from skphonon.simulation._phonons import (
    from_modes,
    isotropic,
    quadratic_forms,
    squares,
)

__all__ = ["differentiate", "gradients"]

Array = NDArray[np.float64]


def differentiate(
    plan: Plan, samples: Samples, rows: Array, names: tuple[str, ...]
) -> tuple[Array, Array, Softest]:
    """Return derivatives with the parameters and nuisances, spectra, softest modes."""
    n_parameters, n_changes = rows.shape[1], rows.shape[1] + len(names)
    spectra = np.zeros((len(rows), *plan.mask.shape, 1))
    changes = np.zeros((len(rows), *plan.mask.shape, n_changes))
    softest, costs = softest_of(plan, rows), _costs(plan, n_parameters, n_changes)
    for batch in batches(plan, samples, rows, softest, costs, keep=True):
        growths = _displacement_slopes(plan, batch, n_parameters, names)
        table = samples.kernels(batch.of_all)
        tables = {
            number: samples.kernels(batch.of_all, name)
            for number, name in enumerate(names, start=n_parameters)
            if name.startswith("energy") or name == "temperature"
        }
        points = None
        for block in blocks(plan, batch, costs):
            if block.points != points:  # columns of a point may be in several blocks
                points, matrices = block.points, plan.matrices(block.points)
                lines = modes(plan, batch, block, matrices)
                moved = _moved(lines, matrices.basis())
            atoms, values = amplitudes(plan, batch, block, lines)
            levels = squares(values) * lines.inverse[:, :, None]
            seen = shown(lines, levels, table)[..., None]
            add(plan, block, spectra[batch.of_all], seen)
            weights = _weights(
                plan, block, lines, moved, atoms, values, growths, samples.axis.step
            )
            seen = _both(lines, weights, table)
            for number, other in tables.items():
                seen[..., number] += shown(lines, levels, other)
            add(plan, block, changes[batch.of_all], seen)
    shape = len(rows), plan.mask.size
    return (
        finished(plan, changes).reshape(*shape, n_changes),
        finished(plan, spectra).reshape(shape),
        softest,
    )


def _costs(plan, n_parameters, n_changes):
    n_modes, n_energy = 3 * plan.amplitudes.shape[1], len(plan.mask)
    numbers = 1 if plan.pairs.partners is not None else 2
    n_components = len(plan.tensors)
    return Costs(
        shared=plan.pairs.n_waves + 3 * numbers * n_modes**2 * n_parameters,
        point=14 * numbers * n_modes**2
        + numbers * n_modes**2 * n_parameters
        + 2 * n_modes * (n_energy + 20),
        column=numbers * n_modes * (4 * n_modes + 8 + 3 * n_components)
        + 2 * n_modes * n_changes
        + 3 * n_energy * n_changes,
        target=n_energy * n_changes,
    )


def _displacement_slopes(plan, batch, n_parameters, names):
    """Return derivatives of displacements, (n_samples, n_components, n_changes)."""
    n_samples, n_components = batch.components.shape
    changes = np.zeros((n_samples, n_components, n_parameters + len(names)))
    matrices, tensors = plan.thermal
    kelvins = batch.samples.values["temperature"][batch.of_all]
    for change, pair, kelvin in zip(changes, batch.mesh_modes, kelvins, strict=False):
        eigenvalues, vectors = (part[None] for part in pair)
        pairs = mode_pairs(eigenvalues)
        slopes = tensors.slopes(eigenvalues, vectors, kelvin, *pairs)[:, 0]
        change[:, :n_parameters] = matrices.gradient(from_modes(vectors, slopes))
        if "temperature" in names:
            column = n_parameters + names.index("temperature")
            change[:, column] = tensors.warming(eigenvalues, vectors, kelvin)[0]
    if "mean_square_displacement" in names:
        column = n_parameters + names.index("mean_square_displacement")
        changes[..., column] = isotropic(tensors.tensors)
    return changes


def _factors(lines, step):
    """Return factors of pairs of modes in shares and in tilts, (s, n, 2, j, l).

    F = G(E) / E^2 of a line changes by G'(E) / 2 E^3 - G / E^4 with E^2.
    """
    pairs, inverse = mode_pairs(lines.eigenvalues), lines.inverse[..., None]
    of_shares = 2 * pairs.inverse * inverse - pairs.near * inverse**2
    of_tilts = pairs.near * (inverse * np.sqrt(inverse) / (2 * step))
    return np.stack([of_shares, of_tilts], axis=2)


def _moved(lines, basis):
    """Return modes times the basis, (s, n, j, 3 n_atoms [real, imaginary], p)."""
    n_parameters, n_points, size = basis.shape[:3]
    flat = np.ascontiguousarray(np.moveaxis(basis, 0, -1)).reshape(n_points, size, -1)
    moved = lines.vectors.conj().swapaxes(2, 3) @ flat
    moved = moved.reshape(*moved.shape[:3], size, n_parameters)
    if np.iscomplexobj(moved):
        return np.concatenate([moved.real, moved.imag], axis=-2)
    return moved


def _weights(plan, block, lines, moved, atoms, values, growths, step):
    """Return changes of the weights of shares and tilts, (s, n, j, 2, k, changes)."""
    n_samples, n_points, n_rows, n_modes = values.shape
    n_parameters, n_changes = moved.shape[-1], growths.shape[2]
    vectors = lines.vectors
    # sum over l of the factor, A_j A_l^* and e_l, for each mode, column and kind
    factors = np.moveaxis(_factors(lines, step), 3, 2)[:, :, :, :, None]
    columns = values.conj()[:, :, None, None] * factors  # (s, n, j, 2, k, l)
    columns = columns.reshape(n_samples, n_points, -1, n_modes) @ vectors.swapaxes(2, 3)
    columns = columns.reshape(n_samples, n_points, n_modes, 2, n_rows, n_modes)
    columns *= np.moveaxis(values, 3, 2)[:, :, :, None, :, None]
    columns = columns.reshape(n_samples, n_points, n_modes, 2 * n_rows, n_modes)
    if np.iscomplexobj(columns):
        columns = np.concatenate([columns.real, -columns.imag], axis=-1)
    shape = n_samples, n_points, n_modes, 2, n_rows, n_changes
    if n_changes == n_parameters:
        weights = (columns @ moved).reshape(shape)
    else:
        weights = np.zeros(shape)
        weights[..., :n_parameters] = (columns @ moved).reshape(*shape[:-1], -1)
    if growths.any():
        damping = _of_damping(plan, block, lines, atoms, values)
        damping = damping * lines.inverse[:, :, :, None, None]
        weights[:, :, :, 0] += damping @ growths[:, None, None]
    return weights


def _of_damping(plan, block, lines, atoms, values):
    """Return derivatives of |A|^2 with displacements, (s, n, j, k, components)."""
    forms = quadratic_forms(plan.tensors, block.by_point(plan.q_vectors))
    if forms.shape[1] == 1:  # all atoms alike
        of_columns = np.moveaxis(forms[:, 0], 0, -1)[:, None]  # (n, 1, k, c)
        return -squares(values).swapaxes(2, 3)[..., None] * of_columns
    of_atoms = np.moveaxis(forms[:, plan.tensor_rows], 1, -1)  # (c, n, k, d)
    of_axes = np.repeat(of_atoms, 3, axis=-1).transpose(1, 2, 0, 3)  # (n, k, c, 3 d)
    parts = atoms[..., None, :] * of_axes
    n_components = parts.shape[3]
    parts = parts.reshape(*parts.shape[:2], -1, parts.shape[-1]) @ lines.vectors
    parts = parts.reshape(*values.shape[:3], n_components, -1)
    return -(values.conj()[..., None, :] * parts).real.transpose(0, 1, 4, 2, 3)


def _both(lines, weights, table):
    """Return the spectra that shares and tilts make, (s, n, k, n_energy, changes)."""
    n_samples, n_points, n_modes, _, n_rows, n_changes = weights.shape
    curves = recorded(lines, [lines.places.weights(), lines.places.tilts()], table)
    flat = weights.reshape(n_samples, n_points, 2 * n_modes, -1)
    seen = curves.swapaxes(2, 3) @ flat
    seen = seen.reshape(n_samples, n_points, -1, n_rows, n_changes)
    return seen.swapaxes(2, 3)


def gradients(
    plan: Plan, samples: Samples, rows: Array, slopes: Array
) -> tuple[Array, Softest]:
    """Return gradients of scalars, from their derivatives with the pixels."""
    found = np.zeros(rows.shape)
    softest, costs = softest_of(plan, rows), _costs(plan, 0, 3)
    images = slopes.reshape(-1, *plan.mask.shape)
    for batch in batches(plan, samples, rows, softest, costs, keep=True):
        growths = _displacement_slopes(plan, batch, rows.shape[1], ())
        table, own = samples.kernels(batch.of_all), images[batch.of_all]
        of_components = np.zeros(batch.components.shape)
        of_means = _of_means(plan, own)
        for block in blocks(plan, batch, costs):
            matrices = plan.matrices(block.points)
            lines = modes(plan, batch, block, matrices)
            atoms, values = amplitudes(plan, batch, block, lines)
            curves = recorded(
                lines, [lines.places.weights(), lines.places.tilts()], table
            )
            given = _of_columns(plan, block, own, of_means)
            back = given @ curves.swapaxes(2, 3)
            back = back.reshape(*values.shape, 2)  # (s, n, k, j, kind)
            damping = _of_damping(plan, block, lines, atoms, values)
            levels = back[..., 0] * lines.inverse[:, :, None]
            of_components += np.einsum("snkj,snjkc->sc", levels, damping)
            between = _between(lines, values, back, samples.axis.step)
            of_matrices = from_modes(lines.vectors, between)
            found[batch.of_all] += matrices.gradient(of_matrices)
        found[batch.of_all] += np.einsum("sc,scp->sp", of_components, growths)
    return found, softest


def _of_means(plan, images):
    """Return what the background adds to derivatives with pixels, (n_samples,)."""
    if plan.background is None:
        return np.zeros(len(images))
    smooth, n_seen = plan.background[plan.mask], plan.mask.sum()
    return np.array([image[plan.mask] @ smooth for image in images]) / n_seen


def _of_columns(plan, block, images, of_means):
    """Return derivatives with the spectra of columns, (s, n, k, n_energy)."""
    n_columns = block.columns.stop - block.columns.start
    found = np.zeros((len(images), n_columns, images.shape[1]))
    pixels, matrix = spread(plan, block)
    seen = plan.mask[:, pixels]
    for own, image, of_mean in zip(found, images, of_means, strict=True):
        given = np.where(seen, image[:, pixels] + of_mean, 0.0).T
        if plan.shares is None:
            np.add.at(own, matrix, given)
        else:
            own += matrix.T @ given
    return found.reshape(len(images), -1, block.n_rows, images.shape[1])


def _between(lines, values, back, step):
    """Return the Hermitian gradient with matrices between modes, (s, n, j, l)."""
    factors = _factors(lines, step)  # (s, n, 2, j, l)
    of_shares, of_tilts = (
        factors[:, :, kind]
        * ((back[..., kind] * values.conj()).swapaxes(2, 3) @ values)
        for kind in range(2)
    )
    total = of_shares + of_tilts
    return (total + total.conj().swapaxes(2, 3)) / 2
