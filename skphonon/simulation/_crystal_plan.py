"""Everything of single-crystal spectra that does not depend on the parameters."""

from functools import partial

import numpy as np
import torch

from skphonon._validation import wavevector_rows
from skphonon.physics.bond_waves import bond_waves
from skphonon.simulation._crystal_engine import Plan, Recording
from skphonon.simulation._crystal_points import (
    approach_centre,
    cloud,
    directions_of_approach,
    fold,
    on_centres,
)
from skphonon.simulation._phonon_plan import (
    Tensors,
    background,
    cross_sections,
    dipole_term,
    line_axis,
    real_amplitudes,
    zone_mesh,
)
from skphonon.simulation._powder_conditions import energy_kernel, energy_kernels
from skphonon.simulation.grid import energy_edges

__all__ = ["make_plan", "make_recording"]

_REACH = 20.0  # Angstrom, of the mesh of the zone
_LINE_STEPS = 8  # points of the energy axis in a width: single lines err by 1e-5
_ALIKE = 0.05  # by which a cell of the grid may differ from one of the model, relative
_TO = Tensors(torch.device("cpu"), torch.float64)


def make_plan(simulator, q_resolution) -> Plan:
    """Build a plan.

    Parameters
    ----------
    simulator : SingleCrystalSimulator
        With checked settings.
    q_resolution : ndarray of shape (3,) or float
        As the parameter of the simulator.

    Returns
    -------
    Plan
    """
    model, mask = simulator.model, simulator.grid.mask
    reciprocal = model.reciprocal_lattice()
    given = _reduced(simulator)
    seen = np.flatnonzero(mask.any(axis=0))
    moves, shares = cloud(_covariance(simulator, q_resolution), simulator.q_samples)
    wavevectors = given[seen, None] + moves @ np.linalg.inv(reciprocal)
    directions, of_centre = _approaches(simulator)
    fields = model.non_analytic_term(directions)
    # symmetry would turn a direction that is given
    alike = _rotations(model) if simulator.q_direction is None else np.eye(3)[None]
    wavevectors = wavevectors.reshape(-1, 3)
    if fields is not None:
        wavevectors = on_centres(wavevectors)
    points = fold(wavevectors, alike)
    in_column = np.ones(len(points.targets))
    if fields is not None:
        points, in_column, n_centre = approach_centre(points, of_centre)
        fields = fields[:n_centre]
    in_column *= np.tile(shares, len(seen))[points.targets]
    within = points.wavevectors @ reciprocal
    q_vectors = within[points.of_column] + points.shifts @ reciprocal
    moduli = np.linalg.norm(given @ reciprocal, axis=1)
    smooth = background(simulator, (simulator.grid.axes()[0], moduli), _TO)
    return Plan(
        mask=mask,
        points=points,
        wavevectors=_TO.real(within.T.copy()),
        q_vectors=_TO.real(q_vectors.T.copy()),
        amplitudes=_amplitudes(simulator, points.shifts),
        pixels=_TO.index(np.repeat(seen, len(shares))[points.targets]),
        shares=None if (in_column == 1).all() else _TO.real(in_column),
        waves=bond_waves(model, _TO.device, _TO.dtype),
        offset=dipole_term(model, within, _TO, fields),
        mesh=zone_mesh(simulator, _TO, _REACH),
        temperature=simulator.temperature,
        displacement=simulator.mean_square_displacement,
        background=None if smooth is None else smooth.numpy().reshape(mask.shape),
        n_numbers=int(simulator.memory * 1e6 / 8),
    )


def make_recording(simulator, table: np.ndarray, ranges: np.ndarray) -> Recording:
    """Lay out how lines of samples appear.

    Parameters
    ----------
    simulator : SingleCrystalSimulator
        With checked settings.
    table : ndarray of shape (n_samples, n_nuisances)
        Values of the nuisances.
    ranges : ndarray of shape (2, n_nuisances)
        What the axis of lines shall serve.

    Returns
    -------
    Recording
    """
    names = simulator.nuisance_names
    low, high = (dict(zip(names, row, strict=True)) for row in ranges)
    edges = energy_edges(simulator.grid)
    axis = line_axis(simulator, edges, low, high, line_steps=_LINE_STEPS)

    def tables(samples, changed):
        values = dict(zip(names, table[samples].T, strict=True))
        kernels, which = energy_kernels(
            simulator, axis, values, changed, partial(energy_kernel, simulator)
        )
        rows = np.ascontiguousarray(kernels.swapaxes(1, 2)).reshape(-1, len(edges) - 1)
        return rows, torch.as_tensor(which * axis.n_points)

    displacements = table[:, names.index("mean_square_displacement")]
    return Recording(axis, _TO.real(displacements), tables)


def _approaches(simulator):
    """Cartesian directions from which the zone centre is approached, and their shares.

    One that is given counts in r.l.u. of the grid.
    """
    given = simulator.q_direction
    if given is None:
        return directions_of_approach()
    direction = np.asarray(given, dtype=float)
    if direction.shape != (3,) or not 0 < np.abs(direction).max() < np.inf:
        raise ValueError(
            "q_direction must be three finite numbers in r.l.u., not all zero, got "
            f"{given!r}."
        )
    reduced = direction @ np.linalg.inv(_multiple(simulator)).T
    return (reduced @ simulator.model.reciprocal_lattice())[None], np.ones(1)


def _reduced(simulator):
    """Wavevectors of the grid in units of the reciprocal lattice of the model."""
    wavevectors = wavevector_rows(simulator.grid.wavevectors)
    return wavevectors @ np.linalg.inv(_multiple(simulator)).T


def _multiple(simulator):
    """Cell of the grid in units of that of the model, integers in rows."""
    lattice = getattr(simulator.grid, "lattice", None)
    if lattice is None:
        return np.eye(3)
    lattice, own = np.asarray(lattice, dtype=float), simulator.model.cell.cell
    multiple = np.rint(lattice @ np.linalg.inv(own))
    misfit = np.linalg.norm(lattice - multiple @ own, axis=1)
    if (misfit > _ALIKE * np.linalg.norm(lattice, axis=1)).any():
        raise ValueError(
            "The lattice of the grid must be that of the model or a multiple of it, "
            f"within 5 % and in the same Cartesian axes; got {lattice.tolist()} for a "
            f"model with {own.tolist()}. Turn the one into the axes of the other."
        )
    return multiple


def _rotations(model):
    """Laue class for reduced wavevectors in rows."""
    reciprocal = model.reciprocal_lattice()
    turned = reciprocal @ model.point_group().swapaxes(1, 2) @ np.linalg.inv(reciprocal)
    return np.rint(turned)


def _covariance(simulator, q_resolution):
    """Covariance in 1/Angstrom^2 of the resolution, and of the voxel if asked for."""
    grid = simulator.grid
    directions = grid.directions() if hasattr(grid, "directions") else np.eye(3)
    reduced = directions @ np.linalg.inv(_multiple(simulator)).T
    axes = reduced @ simulator.model.reciprocal_lattice()
    lengths = np.linalg.norm(axes, axis=1)
    widths = np.asarray(q_resolution, dtype=float)
    if widths.ndim == 0:
        covariance = widths**2 * np.eye(3)
    else:
        sides = axes * (widths / lengths)[:, None]
        covariance = sides.T @ sides
    if not simulator.average_voxels:
        return covariance
    if not hasattr(grid, "volume_edges"):
        raise ValueError(
            "average_voxels needs a CrystalGrid, whose wavevectors fill a volume; got "
            f"{type(grid).__name__}."
        )
    steps = [np.diff(edges).mean() for edges in grid.volume_edges()[1:]]
    sides = axes * (np.array(steps) / 12**0.5)[:, None]  # a flat density
    return covariance + sides.T @ sides


def _amplitudes(simulator, shifts):
    """Scattering amplitudes of atoms, (n_columns, n_atoms), with phases of zones.

    Phonons at q + G are those at q with the phases exp(-iG.r) of the atoms.
    """
    model = simulator.model
    lengths, _ = cross_sections(simulator)
    positions, partners = model.cell.scaled_positions, model.inversion_partners()
    if partners is None:
        return _TO.complex(lengths * np.exp(2j * np.pi * shifts @ positions.T))
    centre = (positions[0] + positions[partners[0]]) / 2
    phases = 2 * np.pi * shifts @ (positions - centre).T
    return _TO.real(real_amplitudes(lengths, partners, phases))
