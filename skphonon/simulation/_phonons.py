"""Phonons of both engines: amplitudes of atoms and tensors of displacements."""

from math import gcd

import numpy as np
from numpy.typing import NDArray

from skphonon.physics.scattering_lengths import scattering_lengths

__all__ = [
    "cross_sections",
    "different_tensors",
    "from_modes",
    "isotropic",
    "quadratic_forms",
    "real_amplitudes",
    "squares",
    "zone_amplitudes",
]

Array = NDArray[np.float64]


def cross_sections(simulator, incoherent=False, n_phonons=1):
    """Return amplitudes b / sqrt(m), and cross-sections over 4 pi of atoms by order.

    In units of the mean cross-section and per atom, or in barn and per formula unit.
    """
    model, normalised = simulator.model, simulator.units == "1/meV"
    symbols, masses = model.symbols, model.atomic_masses
    lengths, seen = np.ones(len(symbols)), np.zeros(len(symbols))
    own = simulator._part("scattering").scattering_lengths
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


def zone_amplitudes(model, lengths, shifts):
    """Return amplitudes of atoms, (n, n_atoms), at reciprocal lattice vectors G.

    Phonons at q + G are those at q with the phases exp(-iG.r) of the atoms. In the form
    of the dynamical matrices.
    """
    positions, partners = model.cell.scaled_positions, model.inversion_partners()
    if partners is None:
        return lengths * np.exp(-2j * np.pi * shifts @ positions.T)
    centre = (positions[0] + positions[partners[0]]) / 2
    phases = 2 * np.pi * shifts @ (positions - centre).T
    return real_amplitudes(lengths, partners, phases)


def different_tensors(tensors):
    """Return which of the different tensors each atom has, and these, packed.

    As xx, yy, zz and twice xy, xz, yz: (n_components, n_tensors, 6).
    """
    packed = tensors.reshape(*tensors.shape[:2], 9)[..., [0, 4, 8, 1, 2, 5]]
    packed = packed * np.array([1, 1, 1, 2, 2, 2])
    rounded = np.round(packed.swapaxes(0, 1), 9) + 0.0
    _, first, rows = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    return rows.reshape(-1), packed[:, first]


def isotropic(tensors: Array) -> Array:
    """Return components of the unit tensor for every atom, of (c, n_atoms, 3, 3)."""
    return np.einsum("cdaa->c", tensors)


def quadratic_forms(tensors: Array, q_vectors: Array) -> Array:
    """Return Q . T Q of packed tensors, (n_components, n_tensors, ...)."""
    x, y, z = np.moveaxis(q_vectors, -1, 0)
    products = np.stack([x * x, y * y, z * z, x * y, x * z, y * z])
    return np.tensordot(tensors, products, axes=1)


def squares(values: NDArray) -> Array:
    """Return squared moduli."""
    if np.iscomplexobj(values):
        return values.real**2 + values.imag**2
    return values * values


def from_modes(vectors: NDArray, between: NDArray) -> NDArray:
    """Return matrices of the crystal from those between its modes, (..., j, l)."""
    return vectors @ between @ vectors.conj().swapaxes(-2, -1)
