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
from skphonon.simulation._splines import Places, inverse_square, place
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
    shares: torch.Tensor | None  # (n_targets,), of it; None: one
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
    spectra = np.zeros((len(rows), *plan.mask.shape, 1))
    costs = _costs(plan, 5, 40)
    for batch in _batches(plan, len(rows), costs):
        crystals = _crystals(plan, rows[batch], recording, batch)
        table = recording.tables(batch, None)
        images = torch.from_numpy(spectra[batch])
        for columns in _blocks(plan, len(images), costs):
            lines = _lines(plan, columns, crystals, recording.axis)
            _add(plan, columns, images, _recorded(lines, [lines.levels()], table))
    return _finished(plan, spectra).reshape(len(rows), -1)


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
    n_columns = rows.shape[1] + len(names)
    spectra = np.zeros((len(rows), *plan.mask.shape, 1))
    changes = np.zeros((len(rows), *plan.mask.shape, n_columns))
    costs = _costs(plan, 2, 16, n_columns)
    for batch in _batches(plan, len(rows), costs):
        crystals = _crystals(plan, rows[batch], recording, batch, responding=True)
        table = recording.tables(batch, None)
        tables = {
            name: recording.tables(batch, name)
            for name in names
            if name.startswith("energy")
        }
        images = torch.from_numpy(spectra[batch])
        slopes = torch.from_numpy(changes[batch])
        for columns in _blocks(plan, len(images), costs):
            lines = _lines(plan, columns, crystals, recording.axis)
            seen = _recorded(lines, [lines.levels()], table)
            _add(plan, columns, images, seen)
            parts = _changes(plan, columns, crystals, lines, recording.axis.step)
            found = [_recorded(lines, parts, table)]
            for name in names:
                if name in tables:
                    found.append(_recorded(lines, [lines.levels()], tables[name]))
                else:  # of the Debye-Waller factor exp(-u Q^2)
                    squares = (plan.q_vectors[:, columns] ** 2).sum(dim=0)
                    found.append(-squares[:, None, None] * seen)
            _add(plan, columns, slopes, torch.cat(found, dim=2))
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


def _crystals(plan, rows, recording, batch, responding=False):
    rows, added = torch.tensor(rows), recording.displacements[batch]
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


class _Costs(NamedTuple):
    """Numbers that a sample takes, for each column and for each that it stands for."""

    column: int
    target: int


def _costs(plan, matrices, lines, n_kinds=1):
    """Costs where each kind of spectrum keeps so many matrices and arrays of lines."""
    n_modes, n_energy = 3 * plan.amplitudes.shape[1], len(plan.mask)
    column = matrices * n_modes**2 + lines * n_modes + 2 * n_energy
    return _Costs(n_kinds * column, n_kinds * n_energy)


def _batches(plan, n_samples, costs):
    size = min(_BATCH, max(1, plan.n_numbers // (costs.column + costs.target)))
    return [slice(start, start + size) for start in range(0, n_samples, size)]


def _blocks(plan, n_samples, costs):
    """Slices of columns which, with what they stand for, keep to the memory."""
    counts = np.diff(plan.points.starts)
    ends = np.cumsum(n_samples * (costs.column + costs.target * counts))
    start, spent = 0, 0
    while start < len(counts):
        stop = int(np.searchsorted(ends, spent + plan.n_numbers, side="right"))
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start, spent = stop, ends[stop - 1]


class _Lines(NamedTuple):
    """Lines of a block of columns, and of the points whose phonons these share."""

    points: slice
    shared: torch.Tensor  # (n_columns,), number of the point of each
    places: Places  # of the points, on the axis, (n_points, n_samples, n_modes)
    eigenvalues: torch.Tensor  # of the points
    inverse: torch.Tensor  # 1 / E^2 of the points, 0 where nothing is seen
    modes: torch.Tensor  # conjugate eigenvectors of columns, in rows
    overlaps: torch.Tensor  # of these with the amplitudes
    amplitudes: torch.Tensor  # (n_columns, n_samples, n_modes)

    def levels(self):
        """Strengths over E^2, (n_columns, n_samples, n_modes, 1)."""
        strengths = (self.overlaps * self.overlaps.conj()).real
        return (strengths * self.inverse[self.shared])[..., None]


def _lines(plan, columns, crystals, axis):
    of_column = plan.points.of_column[columns]
    points = slice(of_column[0], of_column[-1] + 1)
    index = torch.as_tensor(of_column - points.start)
    eigenvalues, vectors = _phonons(plan, points, crystals.weights)
    places = place(axis, eigenvalues)
    amplitudes = _damped(plan, columns, crystals.displacements)
    modes = vectors.mH[index]
    return _Lines(
        points,
        index,
        places,
        eigenvalues,
        inverse_square(eigenvalues) * places.seen,
        modes,
        (modes @ amplitudes.to(modes)[..., None])[..., 0],
        amplitudes,
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


def _changes(plan, columns, crystals, lines, step):
    """Return what multiplies shares and tilts in the change with each parameter.

    F = G(E) / E^2 of a line changes by G'(E) / 2 E^3 - G / E^4 with E^2.
    """
    waves = plan.waves.waves(plan.wavevectors[:, lines.points])
    basis = plan.waves.basis(waves)
    if plan.amplitudes.shape[1] == 1:
        basis = basis[:, _FULL].permute(2, 0, 1).unflatten(-1, (3, 3))
    projections = lines.modes.conj() * lines.overlaps[..., None]
    values, slopes = response_weights(
        lines.eigenvalues[lines.shared], projections, basis[lines.shared]
    )
    if crystals.swellings is not None:
        parts = (projections.conj() * lines.amplitudes[:, :, None]).real
        parts = parts.unflatten(-1, (-1, 3)).sum(dim=-1)  # (n, s, j, d)
        products = _products(plan.q_vectors[:, columns])
        growth = (crystals.swellings @ products).permute(3, 0, 2, 1)  # (n, s, d, p)
        values = values - parts @ growth
    inverse = lines.inverse[lines.shared][..., None]
    tilts = slopes * inverse * inverse.sqrt() / (2 * step)
    return [values * inverse - slopes * inverse**2, tilts]


def _recorded(lines, parts, table):
    """Spectra of columns, (n_samples, n_columns, n_kinds, n_energy).

    The parts, of shape (n_columns, n_samples, n_modes, n_kinds), multiply the shares
    and, if there are two, the tilts.
    """
    rows, which = table
    index, places = lines.shared, lines.places
    factors = [places.weights(), places.tilts()][: len(parts)]
    values = sum(
        part[..., None] * torch.stack(factor, dim=-1)[index][..., None, :]
        for part, factor in zip(parts, factors, strict=True)
    )
    values = values.permute(1, 0, 3, 2, 4).flatten(3)  # (s, n, kind, 4 j)
    starts = places.node[index].transpose(0, 1) + which[:, None, None]
    index = (starts[..., None] + torch.arange(4)).to(torch.int32).flatten(2)
    index = index[:, :, None].expand(values.shape)
    n_rows, n_entries = values.shape[:3].numel(), values.shape[3]
    ends = np.arange(0, n_rows * n_entries + 1, n_entries, dtype=np.int32)
    matrix = csr_array(
        (values.numpy().reshape(-1), index.numpy().reshape(-1), ends),
        shape=(n_rows, len(rows)),
    )
    return torch.from_numpy(matrix @ rows).unflatten(0, values.shape[:3])


def _add(plan, columns, images, seen):
    """Add spectra of columns to images, (n_samples, n_energy, n_q, n_kinds)."""
    starts = plan.points.starts
    targets = slice(starts[columns.start], starts[columns.stop])
    counts = np.diff(starts[columns.start : columns.stop + 1])
    if (counts > 1).any():
        seen = seen.repeat_interleave(torch.as_tensor(counts), dim=1)
    if plan.shares is not None:
        seen = seen * plan.shares[targets, None, None]
    images.index_add_(2, plan.pixels[targets], seen.permute(0, 3, 1, 2))


def _finished(plan, images):
    """Put background and NaN in images (n_samples, n_energy, n_q, n_kinds)."""
    hidden = ~plan.mask
    for image in images:
        if plan.background is not None:
            mean = image.mean(axis=(0, 1), where=plan.mask[..., None])
            image += plan.background[..., None] * mean
        image[hidden] = np.nan
    return images
