r"""Plan of a powder average: all that does not depend on the parameters, built once.

The average over directions of Q is a sum over all points Q of a fine grid of momentum
transfers,

.. math:: S(|Q|) = \frac{1}{4\pi Q^2} \int S(Q')\,\delta(|Q'| - |Q|)\,d^3Q'.

The grid is a mesh of the Brillouin zone, repeated in all zones: a point Q = q + G
shares its phonons with q, and those q suffice that symmetry leaves independent.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from skphonon.instrument.background import polynomial
from skphonon.instrument.grid import pixel_coordinates
from skphonon.physics.dynamical_matrix import DynamicalMatrices
from skphonon.physics.lattice import points_within
from skphonon.physics.zone import ZoneMesh, mean_points
from skphonon.physics.zone.displacements import ThermalTensors
from skphonon.physics.zone.mesh import labels, laue_rotations, mesh_points
from skphonon.simulation._axes import Axis
from skphonon.simulation._incoherent import Incoherent
from skphonon.simulation._phonons import (
    cross_sections,
    different_tensors,
    zone_amplitudes,
)
from skphonon.simulation._recording import Recording

__all__ = ["Block", "Plan", "make_plan", "parts", "plan_size"]

Array = NDArray[np.float64]

_WHILE_MADE = 5  # times what a plan keeps, measured
_NUMBERS = 1 << 17  # lines of a block, for one parameter set


class Block(NamedTuple):
    """Momentum transfers of a range of points, in chunks of one point each."""

    points: NDArray[np.intp]  # (n_points,), numbers of them in the plan
    chunks: NDArray[np.intp]  # (n_chunks,), which of these each is of
    amplitudes: Array  # (n_chunks, n_rows, n_atoms): b / sqrt(m) with phases of G
    q_vectors: Array  # (n_chunks, n_rows, 3), 1/Angstrom
    moduli: slice  # of the axis of moduli, that the block reaches
    q_shares: csr_array  # (n_points * n_moduli, n_chunks * n_rows)


def parts(block: Block, n_points: int):
    """Yield a block in parts of at most so many points."""
    if len(block.points) <= n_points:
        yield block
        return
    n_rows, n_moduli = block.q_vectors.shape[1], block.moduli.stop - block.moduli.start
    for start in range(0, len(block.points), n_points):
        stop = min(start + n_points, len(block.points))
        first, last = np.searchsorted(block.chunks, [start, stop])
        some = slice(first, last)
        shares = block.q_shares[start * n_moduli : stop * n_moduli]
        yield Block(
            block.points[start:stop],
            block.chunks[some] - start,
            block.amplitudes[some],
            block.q_vectors[some],
            block.moduli,
            shares[:, first * n_rows : last * n_rows],
        )


class Plan(NamedTuple):
    """All that does not depend on the parameters."""

    parameter_names: list[str]
    mesh: ZoneMesh
    matrices: DynamicalMatrices
    thermal: ThermalTensors
    weights: Array  # (n_points,), in means over the zone
    blocks: list[Block]
    tensor_rows: NDArray[np.intp]  # (n_atoms,): which tensor each atom has
    tensors: Array  # (n_components, n_tensors, 6): those of different atoms, packed
    recording: Recording
    mask: NDArray[np.bool_]  # (n_pixels,)
    temperature: float  # K
    displacement: float | None  # <u_x^2> where it is given, Angstrom^2
    incoherent: Incoherent | None
    background: Array | None  # (n_pixels,)


def make_plan(simulator, mesh: ZoneMesh, recording: Recording) -> Plan:
    """Build the plan of a simulator on a mesh."""
    model, grid, orders = simulator.model, simulator.grid, simulator._n_phonons()
    is_incoherent = simulator._part("scattering").incoherent
    lengths, by_order = cross_sections(simulator, is_incoherent, orders)
    mean = mean_points(model, mesh)
    lists = _transfers(model, mesh, recording.q)
    n_mean = len(mean.weights)
    # transfers of points of the mesh use the points of the mean over the zone
    wavevectors = np.concatenate([mean.wavevectors, lists.wavevectors])
    numbers = np.where(lists.of_mean < 0, n_mean + lists.of_new, lists.of_mean)
    weights = np.concatenate([mean.weights, np.zeros(len(lists.wavevectors))])
    thermal = ThermalTensors(model, weights)
    rows, tensors = different_tensors(thermal.tensors)
    incoherent = None
    if is_incoherent or orders > 1:
        found = mesh_points(model, mesh)
        resolving = np.zeros(len(wavevectors))
        resolving[: found.n_apart] = found.shares[: found.n_apart]
        resolving[n_mean:] = found.shares[found.n_apart :]
        incoherent = Incoherent(model, by_order, recording, resolving)
    return Plan(
        parameter_names=model.parameter_names,
        mesh=mesh,
        matrices=DynamicalMatrices(model, wavevectors),
        thermal=thermal,
        weights=weights,
        blocks=_blocks(model, lists, numbers, lengths, recording.q),
        tensor_rows=rows,
        tensors=tensors,
        recording=recording,
        mask=grid.mask.ravel(),
        temperature=simulator.temperature,
        displacement=simulator.mean_square_displacement,
        incoherent=incoherent,
        background=polynomial(simulator.background, *pixel_coordinates(grid).T[::-1]),
    )


def plan_size(model, size, simulator, recording: Recording) -> float:
    """Return about how many bytes the making of a plan takes."""
    volume = abs(np.linalg.det(model.reciprocal_lattice()))
    highest = recording.q.points()[-1]
    n_points = np.prod(size) / len(laue_rotations(model))
    n_transfers = 4 / 3 * np.pi * highest**3 / volume * n_points
    real = model.inversion_partners() is not None
    numbers = model.n_atoms * (1 if real else 2)
    per_transfer = 8 * (numbers + 3 + 4 + 2) + 8 * 4 * 3 * numbers
    per_point = 8 * (3 * model.n_atoms) ** 2 * (4 if real else 8)
    return _WHILE_MADE * (n_transfers * per_transfer + n_points * per_point)


class _Transfers(NamedTuple):
    """Momentum transfers, sorted by their point."""

    wavevectors: Array  # (n_new, 3), points that the mean over the zone does not have
    of_mean: NDArray[np.intp]  # (n_transfers,), number of a point of the mean, or -1
    of_new: NDArray[np.intp]  # number among the new ones
    shifts: Array  # (n_transfers, 3), reciprocal lattice vector from the point
    q_vectors: Array  # (n_transfers, 3), 1/Angstrom
    shares: Array  # (n_transfers,), volume of the space of Q that each stands for


def _transfers(model, mesh, axis: Axis) -> _Transfers:
    """Return the momentum transfers that a grid sees, one of each related set."""
    reciprocal, found = model.reciprocal_lattice(), mesh_points(model, mesh)
    low, high = np.maximum(axis.points()[[0, -1]], 0.0)
    given = _all_zones(
        found.points, found.period, reciprocal, laue_rotations(model), low, high
    )
    apart = given.points < found.n_apart
    volume = abs(np.linalg.det(reciprocal))
    return _Transfers(
        wavevectors=found.points[found.n_apart :] / found.period @ reciprocal,
        of_mean=np.where(apart, given.points, -1),
        of_new=given.points - found.n_apart,
        shifts=given.shifts,
        q_vectors=given.q_vectors,
        shares=volume * found.shares[given.points] * given.members,
    )


class _Given(NamedTuple):
    points: NDArray[np.intp]
    members: Array  # number of transfers that each stands for
    shifts: Array
    q_vectors: Array


def _all_zones(points, period, reciprocal, rotations, low, high) -> _Given:
    """Return transfers in all zones between two moduli, one of each related set."""
    lattice = points_within(
        reciprocal, high + np.linalg.norm(points / period @ reciprocal, axis=1).max()
    )
    centres, own = lattice @ reciprocal, points / period @ reciprocal
    squares = (centres**2).sum(axis=1)[None] + (own**2).sum(axis=1)[:, None]
    squares = squares + 2 * own @ centres.T
    tiny = 1e-9 * (reciprocal**2).sum()
    inside = (squares < high**2) & (squares > max(low**2, tiny))
    of_point, of_lattice = np.nonzero(inside)
    shifts = lattice[of_lattice]
    whole = shifts * period + points[of_point]
    numbers, turned = [np.arange(len(whole))], [whole]
    for rotation in rotations:
        fixed = ((points @ rotation - points) % period == 0).all(axis=1)
        some = np.flatnonzero(fixed[of_point])
        numbers.append(some)
        turned.append(whole[some] @ rotation)
    least = np.full(len(whole), np.iinfo(np.int64).max)
    np.minimum.at(least, np.concatenate(numbers), labels(np.concatenate(turned)))
    keys = np.stack([of_point, least], axis=1)
    order = np.lexsort(keys.T[::-1])
    new = np.r_[True, (np.diff(keys[order], axis=0) != 0).any(axis=1)][: len(order)]
    first = order[new]
    members = np.diff(np.r_[np.flatnonzero(new), len(order)]).astype(float)
    q_vectors = centres[of_lattice[first]] + own[of_point[first]]
    return _Given(
        of_point[first],
        members,
        shifts[first].astype(float),
        q_vectors,
    )


def _blocks(model, lists, numbers, lengths, axis):
    """Lay out transfers in chunks of rows that share a point, and chunks in blocks."""
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    shifts, q_vectors = lists.shifts[order], lists.q_vectors[order]
    shares = lists.shares[order]
    points, starts, counts = np.unique(numbers, return_index=True, return_counts=True)
    amplitudes = zone_amplitudes(model, lengths, shifts)
    moduli = np.linalg.norm(q_vectors, axis=1)
    places = axis.places(moduli)
    good = places.seen
    values = places.weights() * (shares * good / (4 * np.pi * moduli**2))[:, None]
    found = []
    for some in _groups(counts, 3 * model.n_atoms):
        rows = slice(starts[some.start], starts[some.stop - 1] + counts[some.stop - 1])
        found.append(
            _block(
                points[some],
                counts[some],
                amplitudes[rows],
                q_vectors[rows],
                places.node[rows],
                values[rows],
                3 * model.n_atoms,
            )
        )
    return found


def _groups(counts, n_modes):
    """Yield ranges of points with about as many transfers each."""
    if not len(counts):
        return
    numbers = np.cumsum(counts * n_modes) // _NUMBERS
    starts = np.flatnonzero(np.r_[True, np.diff(numbers) > 0])
    for start, stop in zip(starts, np.r_[starts[1:], len(counts)], strict=True):
        yield slice(int(start), int(stop))


def _block(points, counts, amplitudes, q_vectors, nodes, values, n_modes):
    n_rows = int(np.clip(counts.max(), 1, max(8, min(2 * n_modes, 128))))
    per_point = -(-counts // n_rows)
    chunks = np.repeat(np.arange(len(points)), per_point)
    first_chunk = np.cumsum(per_point) - per_point
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    of_point = np.repeat(np.arange(len(points)), counts)
    places = (np.repeat(first_chunk, counts) * n_rows) + within
    size = len(chunks) * n_rows
    padded_amplitudes = np.zeros((size, amplitudes.shape[1]), dtype=amplitudes.dtype)
    padded_amplitudes[places] = amplitudes
    padded_q = np.zeros((size, 3))
    padded_q[places] = q_vectors
    low, high = int(nodes.min()), int(nodes.max()) + 4
    n_moduli = high - low
    rows = of_point[:, None] * n_moduli + (nodes - low)[:, None] + np.arange(4)
    columns = np.repeat(places, 4)
    shares = csr_array(
        (values.ravel(), (rows.ravel(), columns)),
        shape=(len(points) * n_moduli, size),
    )
    return Block(
        points,
        chunks,
        padded_amplitudes.reshape(len(chunks), n_rows, -1),
        padded_q.reshape(len(chunks), n_rows, 3),
        slice(low, high),
        shares,
    )
