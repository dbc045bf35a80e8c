r"""The powder average: batched over parameter sets, in blocks of momentum transfers.

For every point q of a plan and every parameter set: dynamical matrix, modes, and from
these the displacements of the atoms. For every Q = q + G: the amplitude of each mode,

.. math:: A_j(Q) = \sum_d \frac{b_d}{\sqrt{m_d}}\,e^{-W_d(Q)}\,e^{-iG \cdot r_d}\,
          Q \cdot e_{dj},

one matrix product for all Q of a point. A sparse product collects :math:`|A_j|^2` on
the axis of moduli, another one collects modes on that of energies, from which the
instrument (`_recording`) makes images.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.sparse import csc_array
from sklearn.utils import gen_batches

from skphonon.physics.stability import Softest
from skphonon.simulation._axes import Places, collecting_matrix, inverse_square
from skphonon.simulation._calls import n_threads, working_memory
from skphonon.simulation._phonons import isotropic, quadratic_forms
from skphonon.simulation._powder_plan import Block, Plan, parts
from skphonon.simulation._recording import Conditions

__all__ = [
    "Crystals",
    "add_lines",
    "amplitudes",
    "bounded",
    "collect",
    "crystals",
    "energy_shares",
    "finished",
    "images",
    "over_batches",
    "simulate",
    "unfinished",
]

Array = NDArray[np.float64]

_NUMBERS = 1 << 23  # that a part of a block keeps
_BATCH = 32  # parameter sets simulated together


def simulate(plan: Plan, rows: Array, values: dict):
    """Return spectra, NaN where nothing is seen, and the softest modes.

    Of parameter sets and values of nuisances by name, in threads that take the working
    memory each.
    """
    spectra = np.full((len(rows), plan.mask.size), np.nan)

    def run(batch, found, conditions):
        spectra[batch, plan.mask] = finished(plan, images(plan, found, conditions))

    size = _batch_size(plan, working_memory())
    return spectra, over_batches(plan, rows, values, run, size)


def over_batches(
    plan: Plan,
    rows: Array,
    values: dict,
    run: Callable[[slice, "Crystals", Conditions], None],
    size: int = 1,
) -> Softest:
    """Call `run` for batches of parameter sets, and return the softest modes."""
    softest = Softest(len(rows), plan.matrices)

    def each(batch):
        own = {name: given[batch] for name, given in values.items()}
        conditions = plan.recording.conditions(own)
        found = crystals(plan, rows[batch], conditions)
        softest.note(batch, found.eigenvalues)
        run(batch, found, conditions)

    batches = list(gen_batches(len(rows), size))
    n_jobs = n_threads() if len(batches) > 1 else 1
    if n_jobs == 1:
        for batch in batches:
            each(batch)
    else:
        Parallel(n_jobs=n_jobs, prefer="threads", require="sharedmem")(
            delayed(each)(batch) for batch in batches
        )
    return softest


def _batch_size(plan, memory):
    """Return how many parameter sets go together in so many bytes."""
    n_points, size = len(plan.weights), plan.matrices.size
    real = 1 if plan.matrices.is_real else 2
    of_modes = 4 * n_points * size**2 * real
    widest = size * max(
        (
            max(
                block.q_vectors.size // 3 * real,
                len(block.points) * (block.moduli.stop - block.moduli.start),
            )
            for block in plan.blocks
        ),
        default=0,
    )
    axes = plan.recording.energy.n_points * plan.recording.q.n_points
    recorded = 3 * axes + 2 * plan.recording.moduli.size
    return int(np.clip(memory / 8 / (of_modes + 5 * widest + recorded), 1, _BATCH))


class Crystals(NamedTuple):
    """Modes of the points of a plan for some parameter sets, and what follows."""

    eigenvalues: Array  # (n_samples, n_points, n_modes), meV^2
    vectors: NDArray  # (n_samples, n_points, n_modes, n_modes), modes in columns
    places: Places  # on the axis of energies, (n_samples, n_points, n_modes)
    inverse: Array  # 1 / E^2, 0 where nothing is seen, of the same shape
    components: Array  # (n_samples, n_components) of displacements, Angstrom^2
    exponents: Array  # (n_samples, n_components), as the points of the plan see them


def crystals(plan: Plan, rows: Array, conditions: Conditions) -> Crystals:
    """Diagonalise a batch."""
    scales = conditions.scales
    eigenvalues, vectors = np.linalg.eigh(plan.matrices.matrices(rows, scales))
    axis = plan.recording.energy
    places = axis.places(np.sqrt(np.maximum(eigenvalues, 0.0)))
    inverse = inverse_square(eigenvalues) * places.seen
    one = isotropic(plan.thermal.tensors)
    if plan.displacement is None:
        found = plan.thermal.components(
            eigenvalues, vectors, conditions.values["temperature"]
        )
    else:
        found = np.tile(plan.displacement * one, (len(rows), 1))
    found = found + np.outer(conditions.values["mean_square_displacement"], one)
    return Crystals(
        eigenvalues, vectors, places, inverse, found, found / scales[:, None] ** 2
    )


def images(plan: Plan, found: Crystals, conditions: Conditions) -> Array:
    """Return spectra of a batch, shape (n_samples, n_energy, n_q)."""
    recorded = conditions.images(collect(plan, found))
    if plan.incoherent is not None:
        recorded = recorded + plan.incoherent.images(plan, found, conditions)
    return recorded


def collect(plan: Plan, found: Crystals) -> Array:
    """Collect the lines of a batch, shape (n_samples, n_energies, n_moduli)."""
    n_samples = len(found.eigenvalues)
    axes = plan.recording.energy, plan.recording.q
    collected = np.zeros((n_samples, *(axis.n_points for axis in axes)))
    for block in bounded(plan, 2 * n_samples * plan.matrices.size):
        strengths = _intensities(plan, block, found)
        add_lines(block, energy_shares(plan, block, found), strengths, collected)
    return collected


def bounded(plan: Plan, numbers: int) -> Iterator[Block]:
    """Yield blocks in parts that keep few numbers: so many a point and modulus."""
    for block in plan.blocks:
        for_each = numbers * (block.moduli.stop - block.moduli.start)
        yield from parts(block, max(1, _NUMBERS // for_each))


def add_lines(block: Block, levels: csc_array, strengths: Array, collected: Array):
    """Add strengths of transfers, (n_transfers, s, j), to what both axes collect."""
    by_q = block.q_shares @ strengths.reshape(len(strengths), -1)
    by_q = by_q.reshape(len(block.points), -1, strengths[0].size)
    by_q = np.ascontiguousarray(by_q.swapaxes(1, 2)).reshape(-1, by_q.shape[1])
    added = levels @ by_q
    collected[:, :, block.moduli] += added.reshape(len(collected), -1, by_q.shape[1])


def energy_shares(plan, block, found, weights=None):
    """Return the matrix that collects modes, (q, s, j), on the axes of samples."""
    if weights is None:
        places = Places(*(column[:, block.points] for column in found.places))
        weights = places.weights() * found.inverse[:, block.points][..., None]
    else:
        weights = weights[:, block.points]
    n_samples, n_points = len(weights), plan.recording.energy.n_points
    starts = found.places.node[:, block.points]
    starts = starts + (np.arange(n_samples) * n_points)[:, None, None]
    return collecting_matrix(
        starts.swapaxes(0, 1), weights.swapaxes(0, 1), n_samples * n_points
    )


def _intensities(plan, block, found):
    """Return |A|^2 of all transfers of a block, (n_transfers, n_samples, n_modes)."""
    projections, damping = amplitudes(plan, block, found)
    if np.iscomplexobj(projections):
        strengths = projections.real**2
        strengths += projections.imag**2
    else:
        strengths = projections
        strengths *= projections
    if damping is not None:
        strengths *= damping
    return strengths


def amplitudes(plan, block, found, factors=None):
    """Return amplitudes (n_transfers, n_samples, n_modes) and damping of squares.

    The damping, (n_transfers, n_samples, 1), is apart where all atoms have the same.
    Factors by tensor, chunk and row may multiply that of each atom where it is not.
    """
    n_samples = len(found.eigenvalues)
    n_chunks, n_rows = block.q_vectors.shape[:2]
    forms = quadratic_forms(plan.tensors, block.q_vectors)
    exponents = found.exponents @ forms.reshape(len(forms), -1)  # 2W of the tensors
    exponents = exponents.reshape(n_samples, -1, n_chunks, n_rows)
    vectors = found.vectors[:, block.points]
    size = plan.matrices.size
    if exponents.shape[1] == 1:
        bare = block.amplitudes[..., None] * block.q_vectors[:, :, None]
        bare = bare.reshape(n_chunks, n_rows, size)
        joined = np.ascontiguousarray(vectors.transpose(1, 2, 0, 3))
        joined = joined.reshape(len(block.points), size, -1)[block.chunks]
        damping = np.exp(-exponents[:, 0]).transpose(1, 2, 0).reshape(-1, n_samples, 1)
        return (bare @ joined).reshape(-1, n_samples, size), damping
    damping = np.exp(-exponents / 2)
    if factors is not None:
        damping = damping * factors
    damping = damping.transpose(2, 0, 3, 1)[..., plan.tensor_rows]
    bare = block.amplitudes[:, None] * damping  # (chunk, s, row, atom)
    bare = (bare[..., None] * block.q_vectors[:, None, :, None]).reshape(
        n_chunks, n_samples, n_rows, size
    )
    out = np.empty(
        (n_chunks, n_rows, n_samples, size), dtype=np.result_type(bare, vectors)
    )
    np.matmul(bare, vectors.swapaxes(0, 1)[block.chunks], out=out.swapaxes(1, 2))
    return out.reshape(-1, n_samples, size), None


def finished(plan: Plan, recorded: Array) -> Array:
    """Return visible pixels, with the background in proportion to their mean."""
    visible = recorded.reshape(*recorded.shape[:-2], -1)[..., plan.mask]
    if plan.background is None:
        return visible
    return visible + visible.mean(axis=-1, keepdims=True) * plan.background[plan.mask]


def unfinished(plan: Plan, slopes: Array) -> Array:
    """Return derivatives with the images, from those with visible pixels."""
    if plan.background is not None:
        of_mean = slopes @ plan.background[plan.mask]
        slopes = slopes + of_mean[..., None] / slopes.shape[-1]
    images = np.zeros((len(slopes), plan.mask.size))
    images[:, plan.mask] = slopes
    return images
