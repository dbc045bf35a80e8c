"""Single-crystal spectra: batched over parameter sets, in blocks of points of a zone.

A block goes from the dynamical matrices of its points to modes, to the amplitudes of
all columns (momentum transfers) that share a point, and to their spectra: a sparse
product takes each line from four rows of a table of broadened and binned lines, and a
dense one adds the lines of a column. Blocks keep to a memory, as `Costs` counts it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.utils import gen_batches

from skphonon.physics.dynamical_matrix import Parts
from skphonon.physics.stability import Softest
from skphonon.simulation._axes import Places, inverse_square
from skphonon.simulation._crystal_plan import Plan, Samples
from skphonon.simulation._phonons import isotropic, quadratic_forms, squares

__all__ = [
    "Batch",
    "Block",
    "Costs",
    "Modes",
    "add",
    "amplitudes",
    "batches",
    "blocks",
    "finished",
    "modes",
    "recorded",
    "shown",
    "simulate",
    "softest_of",
    "spread",
]

Array = NDArray[np.float64]
Table = tuple[Array, NDArray[np.intp]]  # as from `Samples.kernels`

_BATCH = 32  # parameter sets simulated together
_NUMBERS = 1 << 20  # of a block of spectra: it is then fastest


def simulate(plan: Plan, samples: Samples, rows: Array) -> tuple[Array, Softest]:
    """Return spectra, NaN where nothing is measured, and the softest modes."""
    spectra = np.zeros((len(rows), *plan.mask.shape, 1))
    softest = softest_of(plan, rows)
    costs, plan = _costs(plan), plan._replace(n_numbers=min(plan.n_numbers, _NUMBERS))
    for batch in batches(plan, samples, rows, softest, costs):
        table, images = samples.kernels(batch.of_all), spectra[batch.of_all]
        for block in blocks(plan, batch, costs):
            lines = modes(plan, batch, block)
            strengths = squares(amplitudes(plan, batch, block, lines)[1])
            levels = strengths * lines.inverse[:, :, None]
            add(plan, block, images, shown(lines, levels, table)[..., None])
    return finished(plan, spectra).reshape(len(rows), -1), softest


def softest_of(plan: Plan, rows: Array) -> Softest:
    """Return a record of the lowest modes, to be filled."""
    return Softest(len(rows), _Reduced(plan))


class _Reduced:
    """Wavevectors of the mesh and then of the points, told as `Softest` asks."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def reduced(self, number: int) -> Array:
        mesh = self._plan.thermal.matrices
        if number < mesh.n_points:
            return mesh.reduced(number)
        number -= mesh.n_points
        return self._plan.matrices(slice(number, number + 1)).reduced(0)


class Costs(NamedTuple):
    """Numbers that a block takes."""

    shared: int  # for each point
    point: int  # for each point and sample
    column: int  # for each column and sample
    target: int  # for each wavevector that a column stands for, and sample


def _costs(plan):
    n_modes, n_energy = 3 * plan.amplitudes.shape[1], len(plan.mask)
    numbers = 1 if plan.pairs.partners is not None else 2
    return Costs(
        shared=plan.pairs.n_waves,
        point=4 * numbers * n_modes**2 + 16 * n_modes + n_modes * n_energy,
        column=4 * numbers * n_modes + n_energy,
        target=n_energy,
    )


class Batch(NamedTuple):
    """Parameter sets that go together, and the whole crystal that each makes."""

    of_all: slice  # among the samples of the call
    samples: Samples
    softest: Softest  # takes note of all modes
    constants: Parts  # by pairs of atoms
    components: Array  # (n_samples, n_components) of displacements, Angstrom^2
    mesh_modes: list  # of each sample, on the mesh of displacements, if asked for


def batches(
    plan: Plan,
    samples: Samples,
    rows: Array,
    softest: Softest,
    costs: Costs,
    *,
    keep: bool = False,
) -> Iterator[Batch]:
    """Yield batches; with `keep` they hold the modes of the mesh."""
    one = costs.shared + costs.point + costs.column + costs.target
    size = int(np.clip(plan.n_numbers // one, 1, _BATCH))
    for of_all in gen_batches(len(rows), size):
        own = rows[of_all]
        kept: list = []
        unit = isotropic(plan.thermal.tensors.tensors)
        if plan.displacement is None:
            found = np.empty((len(own), len(plan.tensors)))
            for first, part in _mesh_parts(plan, own):
                some = slice(of_all.start + first, of_all.start + first + len(part))
                kelvins = samples.values["temperature"][some]
                pair = np.linalg.eigh(plan.thermal.matrices.matrices(part))
                softest.note(some, pair[0])
                components = plan.thermal.tensors.components(*pair, kelvins)
                found[first : first + len(part)] = components
                if keep:
                    kept.extend(zip(*pair, strict=True))
        else:
            found = np.tile(plan.displacement * unit, (len(own), 1))
        added = samples.values["mean_square_displacement"][of_all]
        found = found + np.outer(added, unit)
        constants = plan.pairs.constants(own)
        yield Batch(of_all, samples, softest, constants, found, kept)


def _mesh_parts(plan, rows):
    """Yield sets whose modes on the mesh fit the memory, after the first's number."""
    matrices = plan.thermal.matrices
    cost = 4 * matrices.n_points * matrices.size**2 * (1 if matrices.is_real else 2)
    for part in gen_batches(len(rows), max(1, plan.n_numbers // cost)):
        yield part.start, rows[part]


class Block(NamedTuple):
    """Some points and their columns, equally many each."""

    points: slice
    columns: slice
    n_rows: int

    def by_point(self, array: NDArray) -> NDArray:
        """Return an array of all columns as one of those here, (n, n_rows, ...)."""
        own = array[self.columns]
        return own.reshape(-1, self.n_rows, *own.shape[1:])


def blocks(plan: Plan, batch: Batch, costs: Costs) -> Iterator[Block]:
    """Yield blocks which, with what they stand for, keep to the memory."""
    n_samples = len(batch.components)
    for n_rows, points, first in plan.groups:
        n_points = points.stop - points.start
        of_rows = first + n_rows * np.arange(n_points + 1)
        spent = costs.target * plan.starts[of_rows]
        spent = spent + (costs.point + n_rows * costs.column) * np.arange(n_points + 1)
        spent = n_samples * spent + costs.shared * np.arange(n_points + 1)
        start = 0
        while start < n_points:
            limit = spent[start] + plan.n_numbers
            stop = int(np.searchsorted(spent, limit, side="right")) - 1
            if stop > start:
                yield Block(
                    slice(points.start + start, points.start + stop),
                    slice(int(of_rows[start]), int(of_rows[stop])),
                    n_rows,
                )
            else:
                stop = start + 1
                yield from _pieces(
                    plan,
                    n_samples,
                    costs,
                    points.start + start,
                    slice(int(of_rows[start]), int(of_rows[stop])),
                )
            start = stop


def _pieces(plan, n_samples, costs, point, columns):
    """Yield blocks of one point that has too many columns to go together."""
    left = plan.n_numbers - costs.shared - n_samples * costs.point
    left = max(left, plan.n_numbers // 4)
    own = plan.starts[columns.start : columns.stop + 1]
    spent = n_samples * (costs.column * np.arange(len(own)) + costs.target * own)
    start = 0
    while start < len(own) - 1:
        stop = int(np.searchsorted(spent, spent[start] + left, side="right")) - 1
        stop = max(stop, start + 1)
        yield Block(
            slice(point, point + 1),
            slice(columns.start + start, columns.start + stop),
            stop - start,
        )
        start = stop


class Modes(NamedTuple):
    """Modes of the points of a block."""

    eigenvalues: Array  # (n_samples, n_points, n_modes), meV^2
    vectors: NDArray  # (n_samples, n_points, n_modes, n_modes), modes in columns
    places: Places  # on the axis of energies, (n_samples, n_points, n_modes)
    inverse: Array  # 1 / E^2, 0 where nothing is seen, of the same shape


def modes(plan: Plan, batch: Batch, block: Block, matrices=None) -> Modes:
    """Diagonalise the points of a block; their matrices may be at hand."""
    matrices = plan.matrices(block.points) if matrices is None else matrices
    eigenvalues, vectors = np.linalg.eigh(matrices.of_constants(batch.constants))
    first = plan.thermal.matrices.n_points + block.points.start
    batch.softest.note(batch.of_all, eigenvalues, first)
    places = batch.samples.axis.places(np.sqrt(np.maximum(eigenvalues, 0.0)))
    inverse = inverse_square(eigenvalues) * places.seen
    return Modes(eigenvalues, vectors, places, inverse)


def amplitudes(
    plan: Plan, batch: Batch, block: Block, lines: Modes
) -> tuple[NDArray, NDArray]:
    """Return damped amplitudes of atoms along each axis, and those of modes.

    Of shapes (n_samples, n_points, n_rows, 3 * n_atoms) and (..., n_modes).
    """
    q_vectors = block.by_point(plan.q_vectors)
    forms = quadratic_forms(plan.tensors, q_vectors)
    exponents = np.tensordot(batch.components, forms, axes=1)  # 2W
    damping = np.moveaxis(np.exp(-exponents / 2), 1, -1)[..., plan.tensor_rows]
    damped = damping * block.by_point(plan.amplitudes)
    atoms = damped[..., None] * q_vectors[:, :, None]
    atoms = atoms.reshape(*damped.shape[:-1], -1)
    return atoms, atoms @ lines.vectors


def recorded(lines: Modes, weights: list[Array], table) -> Array:
    """Return what lines of weight 1 / E^2 add to the bins.

    Of shape (n_samples, n_points, n_modes * n_kinds, n_energy), for shares of the
    points of the axis and maybe their derivatives: kinds of one mode after the other.
    """
    values = np.stack(weights, axis=3) if len(weights) > 1 else weights[0][..., None, :]
    n_samples, n_points, n_modes, n_kinds = values.shape[:4]
    matrix = _sparse(lines, values, table, values.shape[:4])
    return (matrix @ table[0]).reshape(n_samples, n_points, n_modes * n_kinds, -1)


def _sparse(lines, values, table, shape):
    """Return the matrix that adds values (n_samples, n_points, n_modes, ..., 4) up."""
    rows, firsts = table
    index = lines.places.node + firsts[:, None, None]
    index = index.reshape(*index.shape, *[1] * (values.ndim - 3)) + np.arange(4)
    index = np.broadcast_to(index, values.shape).astype(np.int32)
    n_rows = int(np.prod(shape))
    ends = np.linspace(0, values.size, n_rows + 1).astype(np.int32)
    return csr_array(
        (values.reshape(-1), index.reshape(-1), ends), shape=(n_rows, len(rows))
    )


def shown(lines: Modes, levels: Array, table) -> Array:
    """Return the spectra of columns, (n_samples, n_points, n_rows, n_energy).

    From strengths over E^2, (n_samples, n_points, n_rows, n_modes).
    """
    weights = lines.places.weights()
    if levels.shape[2] > 1:
        return levels @ recorded(lines, [weights], table)
    # one column a point: no use in the spectra of its modes
    values = weights * levels[:, :, 0, :, None]
    matrix = _sparse(lines, values, table, values.shape[:2])
    return (matrix @ table[0]).reshape(*levels.shape[:3], -1)


def add(plan: Plan, block: Block, images: Array, seen: Array) -> None:
    """Add spectra of columns to images, (n_samples, n_energy, n_q, n_kinds).

    The spectra have shape (n_samples, n_points, n_rows, n_energy, n_kinds).
    """
    pixels, matrix = spread(plan, block)
    for image, own in zip(images, seen, strict=True):
        if plan.shares is None:
            point, row = np.divmod(matrix, block.n_rows)
            image[:, pixels] = own.transpose(2, 0, 1, 3)[:, point, row]
        else:
            n_energy, n_kinds = own.shape[2:]
            summed = matrix @ own.reshape(-1, n_energy * n_kinds)
            image[:, pixels] += summed.reshape(-1, n_energy, n_kinds).swapaxes(0, 1)


def spread(plan: Plan, block: Block):
    """Return the different columns of the grid that a block shows, and what each shows.

    Numbers of columns of the block, or where plans have shares a sparse matrix of shape
    (n_pixels, n_columns).
    """
    starts = plan.starts[block.columns.start : block.columns.stop + 1]
    targets = slice(starts[0], starts[-1])
    columns = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    pixels = plan.pixels[targets]
    if plan.shares is None:
        return pixels, columns
    different, rows = np.unique(pixels, return_inverse=True)
    shape = len(different), len(starts) - 1
    places = rows.reshape(-1), columns
    return different, csr_array((plan.shares[targets], places), shape=shape)


def finished(plan: Plan, images: Array) -> Array:
    """Put background and NaN in images (n_samples, n_energy, n_q, n_kinds)."""
    hidden = ~plan.mask
    for image in images:
        if plan.background is not None:
            mean = image.mean(axis=(0, 1), where=plan.mask[..., None])
            image += plan.background[..., None] * mean
        image[hidden] = np.nan
    return images
