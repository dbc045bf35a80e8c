"""Plan of single-crystal spectra: all that does not depend on the parameters."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument.background import polynomial
from skphonon.instrument.grid import energy_edges
from skphonon.instrument.resolution import QResolution
from skphonon.physics.dynamical_matrix import BondPairs, DynamicalMatrices, dipole_term
from skphonon.physics.force_constants import ForceConstantModel
from skphonon.physics.zone import mean_points
from skphonon.physics.zone.convergence import displacement_mesh
from skphonon.physics.zone.displacements import ThermalTensors
from skphonon.physics.zone.mesh import as_mesh, laue_rotations
from skphonon.simulation._axes import Axis
from skphonon.simulation._crystal_points import (
    Points,
    approach_centre,
    cloud,
    directions_of_approach,
    fold,
    on_centres,
)
from skphonon.simulation._grid_cells import cell_multiple, reduced_wavevectors
from skphonon.simulation._kernels import (
    OF_ENERGY,
    distinct_rows,
    line_axis,
    line_kernel,
)
from skphonon.simulation._phonons import (
    cross_sections,
    different_tensors,
    zone_amplitudes,
)

__all__ = ["Group", "Plan", "Samples", "Thermal", "make_plan", "make_thermal"]

Array = NDArray[np.float64]

_LINE_STEPS = 8  # points of the energy axis in a width: single lines err by 1e-5


class Group(NamedTuple):
    """Points in sequence that have equally many columns, in sequence as well."""

    n_rows: int  # columns of each point
    points: slice
    first_column: int


class Thermal(NamedTuple):
    """The mesh of the zone that displacements come from."""

    matrices: DynamicalMatrices
    tensors: ThermalTensors


class Plan(NamedTuple):
    """All that does not depend on the parameters."""

    model: ForceConstantModel
    pairs: BondPairs
    mask: NDArray[np.bool_]  # (n_energy, n_q)
    wavevectors: Array  # (n_points, 3), 1/Angstrom
    offset: NDArray | None  # dipole term, (n_points, n_modes, n_modes), meV^2
    groups: list[Group]
    q_vectors: Array  # (n_columns, 3), 1/Angstrom; 0 for those that fill up a group
    amplitudes: NDArray  # (n_columns, n_atoms): scattering length / sqrt(mass)
    starts: NDArray[np.int64]  # (n_columns + 1,), where the targets of each start
    pixels: NDArray[np.int64]  # (n_targets,), number of the column of the grid
    shares: Array | None  # (n_targets,), of it; None: each is one, and has its own
    thermal: Thermal
    tensor_rows: NDArray[np.intp]  # (n_atoms,): which tensor each atom has
    tensors: Array  # (n_components, n_tensors, 6): those of different atoms, packed
    displacement: float | None  # <u_x^2> where it is given, Angstrom^2
    background: Array | None  # (n_energy, n_q)
    n_numbers: int  # that a block may take, which depends on the call

    def matrices(self, points: slice) -> DynamicalMatrices:
        """Return the dynamical matrices of some points."""
        return DynamicalMatrices(
            self.model,
            self.wavevectors[points],
            pairs=self.pairs,
            offset=None if self.offset is None else self.offset[points],
        )


def make_plan(simulator, q_resolution: QResolution, thermal: Thermal) -> Plan:
    """Build a plan for one resolution in Q."""
    model, mask = simulator.model, simulator.grid.mask
    reciprocal = model.reciprocal_lattice()
    given = reduced_wavevectors(simulator)
    seen = np.flatnonzero(mask.any(axis=0))
    moves, shares = cloud(_covariance(simulator, q_resolution), q_resolution.samples)
    wavevectors = given[seen, None] + moves @ np.linalg.inv(reciprocal)
    directions, of_centre = _approaches(simulator)
    fields = model.non_analytic_term(directions)
    # symmetry would turn a direction that is given
    alike = laue_rotations(model) if simulator.q_direction is None else [np.eye(3)]
    wavevectors = wavevectors.reshape(-1, 3)
    if fields is not None:
        wavevectors = on_centres(wavevectors)
    points, n_centre = fold(wavevectors, np.asarray(alike, dtype=float)), 0
    in_column = np.ones(len(points.targets))
    if fields is not None:
        points, in_column, n_centre = approach_centre(points, of_centre)
    within = points.wavevectors @ reciprocal
    offset = dipole_term(model, within, None if fields is None else fields[:n_centre])
    in_column = in_column * np.tile(shares, len(seen))[points.targets]
    layout = _laid_out(points)
    lengths, _ = cross_sections(simulator)
    of_column = np.maximum(layout.columns, 0)
    shifts, real = points.shifts[of_column], layout.columns[:, None] >= 0
    q_vectors = within[points.of_column[of_column]] + shifts @ reciprocal
    rows, tensors = different_tensors(thermal.tensors.tensors)
    moduli = np.linalg.norm(given @ reciprocal, axis=1)
    energy = simulator.grid.axes()[0][:, None]
    smooth = polynomial(simulator.background, *np.broadcast_arrays(energy, moduli))
    return Plan(
        model=model,
        pairs=BondPairs(model),
        mask=mask,
        wavevectors=within[layout.points],
        offset=None if offset is None else offset[layout.points],
        groups=layout.groups,
        q_vectors=q_vectors * real,
        amplitudes=zone_amplitudes(model, lengths, shifts) * real,
        starts=layout.starts,
        pixels=np.repeat(seen, len(shares))[points.targets[layout.targets]],
        shares=None if (in_column == 1).all() else in_column[layout.targets],
        thermal=thermal,
        tensor_rows=rows,
        tensors=tensors,
        displacement=simulator.mean_square_displacement,
        background=smooth,
        n_numbers=0,
    )


def make_thermal(simulator) -> Thermal:
    """Build the mesh of the zone that displacements come from.

    A coarse one where they are given.
    """
    model, mesh = simulator.model, simulator.mesh
    if simulator.mean_square_displacement is not None:
        mesh = 2 if mesh is None else mesh
    elif mesh is None:
        mesh = displacement_mesh(model, simulator.temperature)
    mean = mean_points(model, as_mesh(mesh))
    return Thermal(
        DynamicalMatrices(model, mean.wavevectors), ThermalTensors(model, mean.weights)
    )


class Samples:
    """Values of the nuisances of the samples of a call, and kernels of their lines."""

    axis: Axis

    def __init__(self, simulator, table: Array, ranges: Array) -> None:
        names = simulator.nuisance_names
        self._simulator, self._edges = simulator, energy_edges(simulator.grid)
        self.values = dict(zip(names, table.T, strict=True))
        pairs = dict(zip(names, map(tuple, ranges.T), strict=True))
        self.axis = line_axis(simulator, self._edges, pairs, line_steps=_LINE_STEPS)

    def kernels(self, batch: slice, changed=None) -> tuple[Array, NDArray[np.intp]]:
        """Return rows of bins that lines add up, and the first row of each sample.

        Rows are those of the points of the axis, one kernel after the other.
        """
        values = {name: given[batch] for name, given in self.values.items()}
        settings, which = distinct_rows(values, OF_ENERGY)
        kernels = [
            line_kernel(self._simulator, self._edges, self.axis, row, changed).T
            for row in settings
        ]
        return np.concatenate(kernels), which * self.axis.n_points


class _Layout(NamedTuple):
    """Points in groups, and their columns, filled up with some that stand for none."""

    points: NDArray[np.int64]  # (n_points,), numbers of them in order
    columns: NDArray[np.int64]  # (n_columns,), numbers of them in order, or -1
    groups: list[Group]
    starts: NDArray[np.int64]  # (n_columns + 1,)
    targets: NDArray[np.int64]  # (n_targets,), numbers of them in order


def _laid_out(points: Points) -> _Layout:
    """Sort points by their number of columns, which is one of few."""
    counts = np.bincount(points.of_column, minlength=len(points.wavevectors))
    first = np.cumsum(counts) - counts
    sizes = _sizes(counts.max(initial=1))
    filled = sizes[np.searchsorted(sizes, counts)]
    order = np.argsort(filled, kind="stable")
    parts, groups, n_columns = [], [], 0
    for size in np.unique(filled):
        own = np.flatnonzero(filled[order] == size)
        numbers = order[own]
        within = np.arange(size)
        some = np.where(
            within < counts[numbers, None], first[numbers, None] + within, -1
        )
        parts.append(some.ravel())
        groups.append(Group(int(size), slice(int(own[0]), int(own[-1]) + 1), n_columns))
        n_columns += some.size
    columns = np.concatenate(parts)
    n_targets = np.diff(points.starts)[columns] * (columns >= 0)
    starts = np.r_[0, np.cumsum(n_targets)]
    before = np.repeat(points.starts[columns] - starts[:-1], n_targets)
    return _Layout(order, columns, groups, starts, before + np.arange(starts[-1]))


def _sizes(largest):
    """Return the numbers of columns of groups, of which at most a third is empty."""
    powers = 2 ** np.arange(np.ceil(np.log2(largest)) + 1).astype(int)
    return np.unique(np.r_[powers, 3 * powers // 2])


def _approaches(simulator):
    """Return Cartesian directions that approach the zone centre, and their shares.

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
    reduced = direction @ np.linalg.inv(cell_multiple(simulator)).T
    return (reduced @ simulator.model.reciprocal_lattice())[None], np.ones(1)


def _covariance(simulator, q_resolution):
    """Return the covariance, 1/Angstrom^2, of the resolution and of averaged voxels."""
    grid = simulator.grid
    directions = grid.directions() if hasattr(grid, "directions") else np.eye(3)
    reduced = directions @ np.linalg.inv(cell_multiple(simulator)).T
    axes = reduced @ simulator.model.reciprocal_lattice()
    lengths = np.linalg.norm(axes, axis=1)
    widths = np.asarray(q_resolution.width)
    if widths.ndim == 0:
        covariance = widths**2 * np.eye(3)
    else:
        sides = axes * (widths / lengths)[:, None]
        covariance = sides.T @ sides
    if not q_resolution.average_voxels:
        return covariance
    if not hasattr(grid, "volume_edges"):
        raise ValueError(
            "average_voxels needs a CrystalGrid, whose wavevectors fill a volume; got "
            f"{type(grid).__name__}."
        )
    steps = [np.diff(edges).mean() for edges in grid.volume_edges()[1:]]
    sides = axes * (np.array(steps) / 12**0.5)[:, None]  # a flat density
    return covariance + sides.T @ sides
