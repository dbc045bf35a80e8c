"""What simulators of phonons prepare alike: amplitudes, dipole term, mesh, background.

Functions take the simulator, with checked settings, and where tensors live.
"""

from math import gcd
from typing import NamedTuple

import numpy as np
import torch

from skphonon.physics.displacements import ZoneMesh, symmetry_averages
from skphonon.physics.lattice_dynamics import real_form
from skphonon.physics.scattering_lengths import scattering_lengths
from skphonon.simulation._nuisance import resolution
from skphonon.simulation.quadrature import energy_axis

__all__ = [
    "Tensors",
    "background",
    "cross_sections",
    "dipole_term",
    "line_axis",
    "real_amplitudes",
    "tensors",
    "zone_mesh",
]


class Tensors(NamedTuple):
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


def tensors(simulator) -> Tensors:
    """Return what the `device` and the `dtype` of a simulator ask for."""
    return Tensors(_device(simulator.device), getattr(torch, simulator.dtype))


def _device(name):
    try:
        return torch.zeros(0, device=name).device
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"device must be one that torch can use here, got {name!r}. 'cpu' always "
            f"is. torch says: {str(error).splitlines()[0]}"
        ) from error


def cross_sections(simulator, incoherent=False, n_phonons=1):
    """Return amplitudes b / sqrt(m), and cross-sections over 4 pi of atoms by order.

    In units of the mean cross-section and per atom, or in barn and per formula unit.
    """
    model, normalised = simulator.model, simulator.units == "1/meV"
    symbols, masses = model.symbols, model.atomic_masses
    lengths, seen = np.ones(len(symbols)), np.zeros(len(symbols))
    own = simulator.scattering_lengths
    if incoherent or not normalised or len(set(symbols)) > 1 or own:
        found = scattering_lengths(symbols, values=own)
        lengths = found.coherent_length / 10  # square root of barn
        if incoherent:
            seen = found.incoherent_cross_section / (4 * np.pi)
    total = lengths**2 + seen
    if not total.any():
        raise ValueError(
            "Some atom must scatter, got scattering lengths of 0 for "
            f"{', '.join(symbols)}. Check scattering_lengths."
        )
    counts = [symbols.count(symbol) for symbol in set(symbols)]
    unit = total.sum() if normalised else gcd(*counts)
    orders = [seen] + [total] * (n_phonons - 1)
    return lengths / np.sqrt(unit * masses), np.stack(orders, axis=1) / unit


def real_amplitudes(amplitudes, partners, phases=None):
    """Return amplitudes in the real form of the dynamical matrices (`real_form`).

    Those of shape (n_atoms,) come with phases, (..., n_atoms), which are opposite for
    the atoms of a pair; None: zero.
    """
    if partners is None:
        return amplitudes
    numbers = np.arange(len(partners))
    phases = np.zeros(len(partners)) if phases is None else phases
    cosines, sines = np.cos(phases), np.sin(phases[..., partners])
    factors = np.select(
        [partners == numbers, partners > numbers],
        [cosines, 2**0.5 * cosines],
        2**0.5 * sines,
    )
    return amplitudes * factors


def dipole_term(model, q_vectors, to, fields=None):
    """Dipole term in the form of the matrices, None for a crystal that is not polar.

    The first points may be the zone centre, approached so that `fields` add to it.
    """
    offset = model.dynamical_matrix_offset(q_vectors)
    if offset is None:
        return None
    if fields is not None:
        offset[: len(fields)] += fields
    partners = model.inversion_partners()
    return (
        to.complex(offset) if partners is None else to.real(real_form(offset, partners))
    )


def line_axis(simulator, edges, low, high, line_steps=3):
    """Energy axis of lines for all resolutions and offsets in some ranges.

    `low` and `high` hold the ends of the ranges by name of the nuisance.
    """
    return energy_axis(
        edges,
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
        line_steps=line_steps,
    )


def zone_mesh(simulator, to, reach):
    """Mesh for displacements; `reach` in Angstrom sets it where none is given.

    Its basis holds, after the parameters, the change of the dipole term with the scale
    of the lattice.
    """
    model = simulator.model
    wavevectors, weights = _weighted_mesh(model, _mesh_size(simulator, reach))
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


def _mesh_size(simulator, reach):
    if simulator.mesh is None:
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


def background(simulator, axes, to):
    """Polynomial background of all pixels, over energies and moduli in `axes`."""
    if simulator.background is None:
        return None
    coefficients = np.asarray(simulator.background, dtype=float)
    if coefficients.ndim != 2 or not np.isfinite(coefficients).all():
        raise ValueError(
            "background must be a finite array of shape (n_energy_powers, n_q_powers), "
            f"got {simulator.background!r}. A constant is [[c]], a term in Q^2 is "
            "[[0, 0, c]]."
        )
    values = np.polynomial.polynomial.polygrid2d(*axes, coefficients)
    return to.real(values.ravel())
