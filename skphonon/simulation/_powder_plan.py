"""Everything of a powder average that does not depend on the parameters, built once."""

import warnings
from functools import cache
from math import gcd
from typing import NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skphonon.physics.bond_waves import bond_waves
from skphonon.physics.displacements import ZoneMesh, symmetry_averages
from skphonon.physics.lattice_dynamics import real_form
from skphonon.physics.scattering_lengths import scattering_lengths
from skphonon.simulation._incoherent import Incoherent
from skphonon.simulation._nuisance import NAMES, base_values, resolution
from skphonon.simulation._powder_conditions import (
    conditions,
    energy_kernel,
    smooth_kernel,
)
from skphonon.simulation._powder_engine import Plan, bands, distances
from skphonon.simulation.quadrature import (
    energy_axis,
    independent_directions,
    radial_samples,
)
from skphonon.simulation.resolution import (
    bin_kernel,
)

__all__ = ["make_plan", "settled_plan"]

_FEWEST_DIRECTIONS = 1000  # over the sphere, however small |Q| is
_FIRST_TRY, _LAST_TRY = 2000, 300_000  # directions, where a tolerance decides
_OTHER_TURN = 10_000  # number of another set of directions, equally good
_COARSE_MESH, _FINE_MESH = 20.0, 60.0  # Angstrom: reach of the mesh of the zone
_STRETCH = 1e-4  # relative step of the derivative with the scale of the lattice


class _Tensors(NamedTuple):
    """Where tensors live and how precise they are."""

    device: torch.device
    dtype: torch.dtype

    def real(self, array):
        return torch.as_tensor(array).to(device=self.device, dtype=self.dtype)

    def complex(self, array):
        dtype = torch.complex64 if self.dtype == torch.float32 else torch.complex128
        return torch.as_tensor(array).to(device=self.device, dtype=dtype)

    def index(self, array):
        return torch.as_tensor(array).to(device=self.device)


def settled_plan(simulator, ranges) -> Plan:
    """Return a plan with the directions asked for, or as many as the tolerance needs.

    Parameters
    ----------
    simulator : PowderSimulator
        With checked settings.
    ranges : ndarray of shape (2, n_nuisances)
        As from `nuisance_ranges`.

    Returns
    -------
    Plan
        Warns with ConvergenceWarning where the tolerance is out of reach.
    """
    if simulator.n_directions is not None:
        return make_plan(simulator, simulator.n_directions, ranges)
    n_directions, reference = _FIRST_TRY, simulator.reference[None]
    plain = (ranges == base_values(simulator)).all()
    middle = None if plain else ranges.mean(axis=0, keepdims=True)
    while True:
        plan = make_plan(simulator, n_directions, ranges)
        other = make_plan(simulator, n_directions, ranges, other=True)
        # two averages of equal quality differ by twice the error of each
        error = distances(other, plan, reference, middle)[0] / 2
        if not error > simulator.tolerance:
            return plan
        if n_directions >= _LAST_TRY:
            break
        growth = np.clip(1.1 * (error / simulator.tolerance) ** 0.5, 1.3, 8.0)
        n_directions = min(int(n_directions * growth), _LAST_TRY)
    warnings.warn(
        f"{n_directions} directions do not reach tolerance={simulator.tolerance:g}: "
        f"the error is {error:.1g}. Raise the tolerance, give the simulator the "
        "resolution of the instrument, or leave the elastic line (and two or three "
        "widths of the resolution around it) out of the mask of the grid.",
        ConvergenceWarning,
        stacklevel=5,
    )
    return plan


def make_plan(simulator, n_directions: int, ranges, *, other: bool = False) -> Plan:
    """Build a plan.

    Parameters
    ----------
    simulator : PowderSimulator
        With checked settings.
    n_directions : int
        Directions over the whole sphere at the largest modulus.
    ranges : ndarray of shape (2, n_nuisances)
        What the samples of moduli and the axis of energies shall serve.
    other : bool, default=False
        Whether to sample other directions and moduli, which are as good.

    Returns
    -------
    Plan
        On the device of the simulator.
    """
    model, grid = simulator.model, simulator.grid
    to = _Tensors(_device(simulator.device), getattr(torch, simulator.dtype))
    energy_edges, q_edges = grid.edges()
    sigma, mask = simulator.q_resolution, grid.mask
    offset, turn = (0.0, _OTHER_TURN) if other else (0.5, 0)
    low, high = (dict(zip(NAMES, row, strict=True)) for row in ranges)
    radii, step = radial_samples(
        q_edges,
        mask,
        low["q_resolution"],
        offset,
        widest=high["q_resolution"],
        scales=(low["lattice_scale"], high["lattice_scale"]),
    )
    directions = _directions(model.point_group(), n_directions, radii, turn)
    sizes = [len(d) for d in directions]
    q_vectors = np.concatenate(directions) * np.repeat(radii, sizes)[:, None]
    axis = energy_axis(
        energy_edges,
        simulator.energy_resolution,
        extremes=[
            resolution(simulator, value, slope)
            for value in {low["energy_resolution"], high["energy_resolution"]}
            for slope in {
                low["energy_resolution_slope"],
                high["energy_resolution_slope"],
            }
        ],
        shifts=(-high["energy_offset"], -low["energy_offset"]),
    )
    lengths, cross_sections = _cross_sections(simulator)
    partners = model.inversion_partners()
    q_kernel = bin_kernel(q_edges, radii, sigma) * step
    return Plan(
        ranges=ranges,
        mask=mask.ravel(),
        parameter_names=model.parameter_names,
        n_directions=n_directions,
        radii=to.real(radii),
        q_vectors=to.real(np.ascontiguousarray(q_vectors.T)),
        shares=to.real(np.repeat(1 / np.array(sizes), sizes)),
        shells=to.index(np.repeat(np.arange(len(radii)), sizes)),
        waves=bond_waves(model, to.device, to.dtype),
        offset=_offset(model, partners, q_vectors, to),
        stretched_offset=lambda points: _stretched_offset(
            model, partners, q_vectors[points], to
        ),
        amplitudes=to.real(_real_amplitudes(lengths, partners)),
        axis=axis,
        bands=bands(q_kernel),
        q_kernel=to.real(q_kernel),
        energy_kernel=to.real(energy_kernel(simulator, axis, bin_kernel)),
        mesh=_zone_mesh(simulator, to),
        temperature=simulator.temperature,
        displacement=simulator.mean_square_displacement,
        incoherent=_incoherent(simulator, axis, cross_sections, to),
        background=_background(simulator, to),
        conditions=lambda table: conditions(simulator, axis, radii, step, table, to),
    )


def _device(name):
    try:
        return torch.zeros(0, device=name).device
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"device must be one that torch can use here, got {name!r}. 'cpu' always "
            f"is. torch says: {str(error).splitlines()[0]}"
        ) from error


def _directions(group, n_directions, radii, turn):
    counts = n_directions * (radii / radii[-1]) ** 2
    return [
        independent_directions(group, max(int(count), _FEWEST_DIRECTIONS), turn + shell)
        for shell, count in enumerate(counts)
    ]


def _cross_sections(simulator):
    """Amplitudes b / sqrt(m) of the atoms and their cross-sections over 4 pi by order.

    In units of the mean cross-section and per atom, or in barn and per formula unit.
    """
    model, normalised = simulator.model, simulator.units == "1/meV"
    symbols, masses = model.symbols, model.atomic_masses
    if normalised and len(set(symbols)) == 1 and not simulator.incoherent:
        lengths, incoherent = np.ones(len(symbols)), np.zeros(len(symbols))
    else:
        found = scattering_lengths(symbols, values=simulator.scattering_lengths)
        lengths = found.coherent_length / 10  # square root of barn
        incoherent = found.incoherent_cross_section / (4 * np.pi)
    if not simulator.incoherent:
        incoherent = np.zeros(len(symbols))
    total = lengths**2 + incoherent
    counts = [symbols.count(symbol) for symbol in set(symbols)]
    unit = total.sum() if normalised else gcd(*counts)
    orders = [incoherent] + [total] * (simulator.n_phonons - 1)
    return lengths / np.sqrt(unit * masses), np.stack(orders, axis=1) / unit


def _real_amplitudes(amplitudes, partners):
    """Amplitudes in the real form of the dynamical matrices (`real_form`)."""
    if partners is None:
        return amplitudes
    numbers = np.arange(len(partners))
    factors = np.select([partners == numbers, partners > numbers], [1, 2**0.5], 0)
    return amplitudes * factors


def _offset(model, partners, q_vectors, to):
    """Dipole term in the form of the matrices, None for a crystal that is not polar."""
    offset = model.dynamical_matrix_offset(q_vectors)
    if offset is None:
        return None
    return (
        to.complex(offset) if partners is None else to.real(real_form(offset, partners))
    )


def _stretched_offset(model, partners, q_vectors, to):
    """Differentiate the dipole term with a scale of the lattice.

    A crystal stretched by s has at Q the term of the old one at sQ, over the third
    power of s: central differences, which err by 1e-8.
    """
    above, below = (
        _offset(model, partners, scale * q_vectors, to) / scale**3
        for scale in (1 + _STRETCH, 1 - _STRETCH)
    )
    return (above - below) / (2 * _STRETCH)


def _zone_mesh(simulator, to):
    model = simulator.model
    wavevectors, weights = _weighted_mesh(model, _mesh_size(simulator))
    basis = np.swapaxes(model.dynamical_matrix_basis(wavevectors), 0, 1)
    offset = model.dynamical_matrix_offset(wavevectors)
    # with the scale of the lattice only the dipole term changes, at a reduced q
    stretch = np.zeros_like(basis[:, :1]) if offset is None else -3 * offset[:, None]
    of_scalars, of_tensors = symmetry_averages(*model.symmetry_operations())
    return ZoneMesh(
        basis=to.complex(np.concatenate([basis, stretch], axis=1)),
        offset=None if offset is None else to.complex(offset),
        weights=to.real(weights),
        masses=to.real(model.atomic_masses),
        of_scalars=to.real(of_scalars),
        of_tensors=to.real(of_tensors),
    )


def _mesh_size(simulator):
    if simulator.mesh is None:
        smooth = simulator.incoherent or simulator.n_phonons > 1
        reach = _FINE_MESH if smooth else _COARSE_MESH
        spacings = np.linalg.norm(simulator.model.reciprocal_lattice(), axis=1)
        return tuple(2 * int(n) for n in np.ceil(reach * spacings / (4 * np.pi)))
    size = np.asarray(simulator.mesh)
    if size.shape not in ((), (3,)) or not (size >= 2).all():
        raise ValueError(
            "mesh must be a number of points of at least 2, or three of them; got "
            f"{simulator.mesh!r}."
        )
    return tuple(int(n) for n in np.broadcast_to(size, 3))


def _weighted_mesh(model, size):
    """Return a mesh whose points next to the zone centre stand for it, too.

    Sound gives displacements that go with 1/q^2, to which a mesh converges as its
    spacing. Their weights are raised so that it has the mean of 1/q^2 over the zone,
    which is extrapolated from this mesh and a coarser one.
    """
    coarse = tuple((n + 1) // 2 for n in size)
    ratio = np.cbrt(np.prod(size) / np.prod(coarse))
    (vectors, weights), other = model.mesh(size), model.mesh(coarse)
    reciprocal = model.reciprocal_lattice()
    inverse, inverse_other = (
        _inverse_square(v, reciprocal) for v in (vectors, other[0])
    )
    missing = (weights @ inverse - other[1] @ inverse_other) / (ratio - 1)
    reduced = vectors @ np.linalg.inv(reciprocal)
    steps = np.abs(reduced - np.rint(reduced)) * size
    nearest = (steps < 0.5 + 1e-6).all(axis=1)
    raised = weights * nearest
    raised *= 1 + max(missing, 0.0) / (raised @ inverse)
    others = weights * ~nearest
    if others.any():
        raised += others * ((1 - raised.sum()) / others.sum())
    return vectors, raised / raised.sum()


def _inverse_square(vectors, reciprocal):
    """One over the square of the distance to the nearest reciprocal lattice point."""
    reduced = vectors @ np.linalg.inv(reciprocal)
    reduced -= np.rint(reduced)
    images = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3), axis=-1).reshape(-1, 3)
    distances = (reduced[:, None] + images) @ reciprocal
    return 1 / (distances**2).sum(axis=2).min(axis=1)


def _incoherent(simulator, axis, cross_sections, to):
    if not simulator.incoherent and simulator.n_phonons == 1:
        return None

    @cache
    def recorded(n_points):
        return to.real(smooth_kernel(simulator, n_points, axis, bin_kernel))

    return Incoherent(
        cross_sections=to.real(cross_sections),
        axis=axis,
        temperature=simulator.temperature,
        kernel=recorded,
    )


def _background(simulator, to):
    if simulator.background is None:
        return None
    coefficients = np.asarray(simulator.background, dtype=float)
    if coefficients.ndim != 2 or not np.isfinite(coefficients).all():
        raise ValueError(
            "background must be a finite array of shape (n_energy_powers, n_q_powers), "
            f"got {simulator.background!r}. A constant is [[c]], a term in Q^2 is "
            "[[0, 0, c]]."
        )
    values = np.polynomial.polynomial.polygrid2d(*simulator.grid.axes(), coefficients)
    return to.real(values.ravel())
