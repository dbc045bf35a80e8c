"""Single-crystal spectra and their derivatives: batched, on torch tensors.

A batch of parameter sets goes through in blocks of columns (`_crystal_points`):
phonons of the points of one zone, lines of the columns that share them, and then one
sparse matrix product, in which each line takes four rows of a table of broadened and
binned lines.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from skphonon.physics.bond_waves import BondWaves
from skphonon.physics.displacements import (
    ZoneMesh,
    displacement_responses,
    mean_square_displacement,
)
from skphonon.physics.phonon_lines import response_weights
from skphonon.simulation._crystal_points import Points
from skphonon.simulation._powder_engine import _packed, _products
from skphonon.simulation._splines import inverse_square, place
from skphonon.simulation.quadrature import EnergyAxis

__all__ = ["Plan", "differentiate", "simulate"]

_BATCH = 32  # parameter sets simulated together
_FULL = [0, 3, 4, 3, 1, 5, 4, 5, 2]  # of packed elements, those of the whole matrix


class Plan(NamedTuple):
    """What does not depend on the parameters."""

    mask: np.ndarray  # (n_energy, n_q)
    points: Points
    wavevectors: torch.Tensor  # (3, n_points), 1/Angstrom
    q_vectors: torch.Tensor  # (3, n_columns), 1/Angstrom
    amplitudes: torch.Tensor  # (n_columns, n_atoms): scattering length / sqrt(mass)
    pixels: torch.Tensor  # (n_targets,), number of the column of the grid
    shares: torch.Tensor  # (n_targets,), of it
    waves: BondWaves
    offset: torch.Tensor | None  # dipole term, (n_points, n_modes, n_modes), meV^2
    mesh: ZoneMesh
    temperature: float  # K
    displacement: float | None  # <u_x^2> where it is given, Angstrom^2
    background: np.ndarray | None  # (n_energy, n_q)
    n_numbers: int  # that a block may take


class Recording(NamedTuple):
    """How the lines of some samples appear."""

    axis: EnergyAxis
    displacements: torch.Tensor  # (n_samples,), added <u_x^2>, Angstrom^2
    tables: Callable  # samples, nuisance or None -> tables and which has which


def simulate(plan: Plan, recording: Recording, rows: np.ndarray) -> np.ndarray:
    """Return spectra, shape (n_samples, n_pixels), NaN where nothing is measured.

    Parameters
    ----------
    plan : Plan
        Settings.
    recording : Recording
        How lines of the samples appear.
    rows : ndarray of shape (n_samples, n_parameters)
        Parameter sets.

    Returns
    -------
    ndarray of shape (n_samples, n_pixels)
    """
    spectra = np.zeros((len(rows), *plan.mask.shape))
    n_modes = 3 * plan.amplitudes.shape[1]
    per_column = 3 * n_modes**2 + 16 * n_modes + 3 * len(plan.mask)
    for batch in _batches(plan, len(rows), per_column):
        crystals = _crystals(plan, rows[batch], recording.displacements[batch])
        table = recording.tables(batch, None)
        images = torch.from_numpy(spectra[batch])
        for columns in _blocks(plan, len(images) * per_column):
            lines = _lines(plan, columns, crystals, recording.axis)
            seen = _recorded(lines.places, [lines.levels[..., None]], table)
            _add(plan, columns, images[..., None], seen)
    return _finished(plan, spectra[..., None]).reshape(len(rows), -1)


def differentiate(
    plan: Plan, recording: Recording, rows: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return derivatives and spectra.

    Parameters
    ----------
    plan : Plan
        Settings.
    recording : Recording
        How lines of the samples appear.
    rows : ndarray of shape (n_samples, n_parameters)
        Parameter sets.
    names : tuple of str
        Nuisances to differentiate with besides the parameters.

    Returns
    -------
    changes : ndarray of shape (n_samples, n_pixels, n_parameters + n_nuisance)
    spectra : ndarray of shape (n_samples, n_pixels)
    """
    n_parameters = rows.shape[1]
    n_columns = n_parameters + len(names)
    spectra = np.zeros((len(rows), *plan.mask.shape, 1))
    changes = np.zeros((len(rows), *plan.mask.shape, n_columns))
    n_modes = 3 * plan.amplitudes.shape[1]
    per_column = n_columns * (4 * n_modes**2 + 24 * n_modes + 3 * len(plan.mask))
    for batch in _batches(plan, len(rows), per_column):
        added = recording.displacements[batch]
        crystals = _crystals(plan, rows[batch], added, responding=True)
        table = recording.tables(batch, None)
        changed = {
            name: recording.tables(batch, name)
            for name in names
            if name.startswith("energy")
        }
        images = torch.from_numpy(spectra[batch])
        slopes = torch.from_numpy(changes[batch])
        for columns in _blocks(plan, len(images) * per_column):
            lines = _lines(plan, columns, crystals, recording.axis)
            level = lines.levels[..., None]
            seen = _recorded(lines.places, [level], table)
            _add(plan, columns, images, seen)
            parts = _changes(plan, columns, crystals, lines)
            found = _recorded(lines.places, parts, table)
            _add(plan, columns, slopes[..., :n_parameters], found)
            for number, name in enumerate(names, start=n_parameters):
                if name in changed:
                    found = _recorded(lines.places, [level], changed[name])
                else:  # of the Debye-Waller factor exp(-u Q^2)
                    squares = (plan.q_vectors[:, columns] ** 2).sum(dim=0)
                    found = -squares[:, None, None] * seen
                _add(plan, columns, slopes[..., number : number + 1], found)
    shape = len(rows), plan.mask.size
    return (
        _finished(plan, changes).reshape(*shape, n_columns),
        _finished(plan, spectra).reshape(shape),
    )


class _Crystals(NamedTuple):
    """What some parameter sets make of the whole crystal."""

    weights: torch.Tensor  # of the waves
    displacements: torch.Tensor  # (n_samples, n_atoms, 6)
    swellings: torch.Tensor | None  # their derivatives, (n_samples, p, n_atoms, 6)


def _crystals(plan, rows, added, responding=False):
    rows = torch.tensor(rows)
    one = torch.eye(3, dtype=rows.dtype)
    n_samples, n_atoms = len(rows), plan.amplitudes.shape[1]
    swellings = None
    if plan.displacement is None:
        found = mean_square_displacement(plan.mesh, rows, plan.temperature)
        if responding:
            mesh = plan.mesh._replace(basis=plan.mesh.basis[:, : rows.shape[1]])
            swellings = displacement_responses(mesh, rows, plan.temperature)
            swellings = _packed(swellings)
    else:
        found = (plan.displacement * one).expand(n_samples, n_atoms, 3, 3)
    found = found + added[:, None, None, None] * one
    return _Crystals(plan.waves.weights(rows), _packed(found), swellings)


def _batches(plan, n_samples, per_column):
    size = min(_BATCH, max(1, plan.n_numbers // per_column))
    return [slice(start, start + size) for start in range(0, n_samples, size)]


def _blocks(plan, per_column):
    size = max(1, plan.n_numbers // per_column)
    n_columns = len(plan.points.of_column)
    return [
        slice(start, min(start + size, n_columns))
        for start in range(0, n_columns, size)
    ]


class _Places(NamedTuple):
    """Where the lines of columns lie on the axis, (n_columns, n_samples, n_modes)."""

    node: torch.Tensor
    weights: torch.Tensor  # (..., 4), shares of four points
    tilts: torch.Tensor  # (..., 4), their derivatives with the position


class _Lines(NamedTuple):
    """Lines of a block of columns, (n_columns, n_samples, n_modes)."""

    places: _Places
    levels: torch.Tensor  # strengths over E^2
    inverse: torch.Tensor  # 1 / E^2, 0 where nothing is seen
    eigenvalues: torch.Tensor
    projections: torch.Tensor  # of the amplitudes, (..., n_modes)
    amplitudes: torch.Tensor  # (n_columns, n_samples, n_modes)
    tilt: torch.Tensor  # derivative of the position with E^2, over E^2
    points: slice
    index: torch.Tensor  # (n_columns,), which of these points


def _lines(plan, columns, crystals, axis):
    of_column = plan.points.of_column[columns]
    points = slice(of_column[0], of_column[-1] + 1)
    index = torch.as_tensor(of_column - points.start)
    eigenvalues, vectors = _phonons(plan, points, crystals.weights)
    amplitudes = _damped(plan, columns, crystals.displacements)
    modes = vectors.mH[index]
    overlaps = (modes @ amplitudes.to(modes)[..., None])[..., 0]
    strengths = (overlaps * overlaps.conj()).real
    places = place(axis, eigenvalues)
    inverse = inverse_square(eigenvalues) * places.seen
    tilt = inverse * inverse.sqrt() / (2 * axis.step)
    shares = _Places(
        places.node[index],
        torch.stack(places.weights(), dim=-1)[index],
        torch.stack(places.tilts(), dim=-1)[index],
    )
    return _Lines(
        shares,
        strengths * inverse[index],
        inverse[index],
        eigenvalues[index],
        modes.conj() * overlaps[..., None],
        amplitudes,
        tilt[index],
        points,
        index,
    )


def _phonons(plan, points, weights):
    """Squared energies (n_points, n_samples, n_modes), and vectors in columns."""
    waves = plan.waves.waves(plan.wavevectors[:, points])
    matrices = plan.waves.matrices(waves, weights)
    if plan.amplitudes.shape[1] == 1:
        matrices = matrices[_FULL].permute(2, 1, 0).unflatten(-1, (3, 3))
    if plan.offset is not None:
        matrices = matrices + plan.offset[points, None]
    return torch.linalg.eigh(matrices)


def _damped(plan, columns, displacements):
    """Amplitudes with their Debye-Waller factors, (n_columns, n_samples, n_modes)."""
    q_vectors = plan.q_vectors[:, columns]
    exponents = displacements @ _products(q_vectors)  # 2W, (s, d, n)
    damping = torch.exp(-exponents / 2).permute(2, 0, 1)
    damped = damping * plan.amplitudes[columns, None]
    return (damped[..., None] * q_vectors.T[:, None, None]).flatten(2)


def _changes(plan, columns, crystals, lines):
    """Return what multiplies shares and tilts in the change with each parameter.

    F = G(E) / E^2 of a line changes by G'(E) / 2 E^3 - G / E^4 with E^2.
    """
    waves = plan.waves.waves(plan.wavevectors[:, lines.points])
    basis = plan.waves.basis(waves)
    if plan.amplitudes.shape[1] == 1:
        basis = basis[:, _FULL].permute(2, 0, 1).unflatten(-1, (3, 3))
    values, slopes = response_weights(
        lines.eigenvalues, lines.projections, basis[lines.index]
    )
    if crystals.swellings is not None:
        parts = (lines.projections.conj() * lines.amplitudes[:, :, None]).real
        parts = parts.unflatten(-1, (-1, 3)).sum(dim=-1)  # (n, s, j, d)
        products = _products(plan.q_vectors[:, columns])
        growth = (crystals.swellings @ products).permute(3, 0, 2, 1)  # (n, s, d, p)
        values = values - parts @ growth
    inverse = lines.inverse[..., None]
    levels = values * inverse - slopes * inverse**2
    return [levels, slopes * lines.tilt[..., None]]


def _recorded(places, parts, table):
    """Spectra of columns, (n_columns, n_samples, n_kinds, n_energy).

    The parts, of shape (n_columns, n_samples, n_modes, n_kinds), multiply the shares
    and, if there are two, the tilts.
    """
    rows, which = table
    shape = parts[0].shape
    values = parts[0][..., None] * places.weights[..., None, :]
    if len(parts) > 1:
        values += parts[1][..., None] * places.tilts[..., None, :]
    values = values.transpose(2, 3).flatten(3)  # (n, s, kind, 4 j)
    starts = places.node + which[:, None]
    index = (starts[..., None] + torch.arange(4)).flatten(2)
    index = index[:, :, None].expand(values.shape)
    n_rows, n_entries = values.shape[:3].numel(), values.shape[3]
    matrix = csr_array(
        (
            values.numpy().reshape(-1),
            index.to(torch.int32).numpy().reshape(-1),
            np.arange(0, n_rows * n_entries + 1, n_entries, dtype=np.int32),
        ),
        shape=(n_rows, len(rows)),
    )
    found = torch.from_numpy(matrix @ rows)
    return found.unflatten(0, (shape[0], shape[1], shape[3]))


def _add(plan, columns, images, seen):
    """Add spectra of columns to images, (n_samples, n_energy, n_q, n_kinds)."""
    starts = plan.points.starts
    targets = slice(starts[columns.start], starts[columns.stop])
    counts = np.diff(starts[columns.start : columns.stop + 1])
    if (counts > 1).any():
        seen = seen.repeat_interleave(torch.as_tensor(counts), dim=0)
    if plan.shares[0] != 1:
        seen = seen * plan.shares[targets, None, None, None]
    images.index_add_(2, plan.pixels[targets], seen.permute(1, 3, 0, 2))


def _finished(plan, images):
    """Put background and NaN in images (n_samples, n_energy, n_q, n_kinds)."""
    hidden = ~plan.mask
    for image in images:
        if plan.background is not None:
            mean = image.mean(axis=(0, 1), where=plan.mask[..., None])
            image += plan.background[..., None] * mean
        image[hidden] = np.nan
    return images
