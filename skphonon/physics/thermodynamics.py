r"""Densities of states, heat capacity and displacements of many parameter sets.

Means over a mesh of the Brillouin zone in the harmonic approximation. The heat capacity
at constant volume is, with :math:`x = E / k_B T` for a mode of energy E,

.. math:: C_V = N_A k_B \sum_q w_q \sum_j \frac{x^2 e^{-x}}{(1 - e^{-x})^2}

(Born and Huang, *Dynamical Theory of Crystal Lattices*, ISBN 978-0-19-850369-9). The
displacement tensors are those of :mod:`skphonon.physics.displacements`. Of an unstable
crystal, which has modes of imaginary frequency on the mesh, neither exists: NaN.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants as si

from skphonon._validation import parameter_rows
from skphonon.physics.constants import BOLTZMANN
from skphonon.physics.lattice_dynamics import signed_sqrt

if TYPE_CHECKING:
    from skphonon.physics.force_constants import ForceConstantModel

__all__ = ["density_of_states", "displacement_tensors", "heat_capacity"]

Array = NDArray[np.float64]

_BLOCK = 2**21  # numbers in the dynamical matrices made at once


def density_of_states(
    model: "ForceConstantModel",
    parameters: ArrayLike,
    energy: ArrayLike,
    *,
    width: float,
    mesh: int | tuple[int, int, int] = 16,
) -> Array:
    """Return phonon densities of states, broadened by a Gaussian.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    parameters : array-like of shape (n_samples, n_parameters)
        Parameter sets in eV/Angstrom^2.
    energy : array-like of shape (n_energy,)
        Energies in meV at which to give the density. Unstable modes are at negative
        ones.
    width : float
        Standard deviation of the Gaussian in meV: not below the distance between the
        modes of neighbouring points of the mesh, or it will show.
    mesh : int or tuple of three int, default=16
        Points along each reciprocal axis, half a step off the zone centre.

    Returns
    -------
    ndarray of shape (n_samples, n_energy)
        Modes a meV; the integral is 3 * n_atoms.

    Raises
    ------
    ValueError
        If the width is not positive or an argument has a wrong shape.
    """
    energy = np.atleast_1d(np.asarray(energy, dtype=float))
    if not width > 0:
        raise ValueError(f"width must be above 0 meV, got {width!r}.")
    rows = parameter_rows(parameters, model.parameter_names)
    density = np.zeros((len(rows), len(energy)))
    for matrices, weights in _blocks(model, rows, *model.mesh(mesh)):
        modes = signed_sqrt(np.linalg.eigvalsh(matrices))
        height = weights / (width * np.sqrt(2 * np.pi))
        for total, energies in zip(density, modes, strict=True):  # points, modes
            away = (energy[:, None, None] - energies) / width
            total += np.exp(-(away**2) / 2).sum(axis=2) @ height
    return density


def heat_capacity(
    model: "ForceConstantModel",
    parameters: ArrayLike,
    temperature: ArrayLike,
    *,
    mesh: int | tuple[int, int, int] = 16,
) -> Array:
    """Return heat capacities at constant volume.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    parameters : array-like of shape (n_samples, n_parameters)
        Parameter sets in eV/Angstrom^2.
    temperature : array-like of shape (n_temperatures,)
        Temperatures in K.
    mesh : int or tuple of three int, default=16
        Points along each reciprocal axis, half a step off the zone centre. Below some
        kelvins few of them count and more are needed.

    Returns
    -------
    ndarray of shape (n_samples, n_temperatures)
        J/K for a mole of cells of the model; NaN for unstable parameter sets.

    Raises
    ------
    ValueError
        If a temperature is negative or an argument has a wrong shape.
    """
    kelvins = _kelvins(temperature)
    rows = parameter_rows(parameters, model.parameter_names)
    capacity = np.zeros((len(rows), len(kelvins)))
    for matrices, weights in _blocks(model, rows, *model.mesh(mesh)):
        eigenvalues = np.linalg.eigvalsh(matrices)
        energies = np.sqrt(np.where(eigenvalues > 0, eigenvalues, np.nan))
        for number in np.flatnonzero(kelvins > 0):
            x = energies / (BOLTZMANN * kelvins[number])
            of_modes = (x / np.expm1(-x)) ** 2 * np.exp(-x)
            capacity[:, number] += of_modes.sum(axis=2) @ weights
        capacity[np.isnan(energies).any(axis=(1, 2))] = np.nan
    return si.R * capacity


def displacement_tensors(
    model: "ForceConstantModel",
    parameters: ArrayLike,
    temperature: ArrayLike,
    *,
    mesh: int | tuple[int, int, int] = 16,
) -> Array:
    """Return thermal mean-square displacement tensors.

    Slow waves weigh most: a mesh of n points misses a share of 1/n of them, 2 % of U
    for 16 points at room temperature. The mesh and one of half as many points
    together, 2 U(n) - U(n/2), leave some 0.1 %.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    parameters : array-like of shape (n_samples, n_parameters)
        Parameter sets in eV/Angstrom^2.
    temperature : array-like of shape (n_temperatures,)
        Temperatures in K.
    mesh : int or tuple of three int, default=16
        Points along each reciprocal axis, even numbers.

    Returns
    -------
    ndarray of shape (n_samples, n_temperatures, n_atoms, 3, 3)
        In Angstrom^2, Cartesian; NaN for unstable parameter sets.

    Raises
    ------
    ValueError
        If a temperature is negative, a number of points odd, or an argument has a
        wrong shape.
    """
    import torch

    from skphonon.physics.displacements import _thermal_tensors, symmetry_averages

    kelvins = _kelvins(temperature)
    rows = parameter_rows(parameters, model.parameter_names)
    tensors = np.zeros((len(rows), len(kelvins), model.n_atoms, 3, 3))
    for block in _blocks(model, rows, *_extrapolating_mesh(model, mesh)):
        matrices, weights = map(torch.as_tensor, block)
        eigenvalues, vectors = torch.linalg.eigh(matrices.swapaxes(0, 1))
        for number, kelvin in enumerate(kelvins):
            found = _thermal_tensors(eigenvalues, vectors, weights, kelvin)
            tensors[:, number] += found.numpy()
        tensors[(eigenvalues.amin(dim=(0, 2)) <= 0).numpy()] = np.nan
    tensors /= model.atomic_masses[:, None, None]
    _, of_tensors = symmetry_averages(*model.symmetry_operations())
    flat = tensors.reshape(*tensors.shape[:2], -1) @ of_tensors.T
    return flat.reshape(tensors.shape)


def _extrapolating_mesh(model, mesh) -> tuple[Array, Array]:
    """Return points and weights of twice a mesh less one of half as many points."""
    counts = np.asarray(mesh)
    if (counts % 2).any():
        raise ValueError(
            f"mesh must be of even numbers of points, got {mesh}: one of half as many "
            "is used beside it."
        )
    (points, weights), (coarse, of_coarse) = model.mesh(counts), model.mesh(counts // 2)
    return np.concatenate([points, coarse]), np.concatenate([2 * weights, -of_coarse])


def _blocks(model, rows, wavevectors, weights) -> Iterator[tuple[NDArray, Array]]:
    """Yield dynamical matrices (n_samples, n, ., .) of points and their weights."""
    size = max(1, _BLOCK // (len(rows) * (3 * model.n_atoms) ** 2))
    for start in range(0, len(weights), size):
        block = slice(start, start + size)
        yield model.dynamical_matrices(rows, wavevectors[block]), weights[block]


def _kelvins(temperature) -> Array:
    kelvins = np.atleast_1d(np.asarray(temperature, dtype=float))
    if kelvins.ndim != 1 or not (np.isfinite(kelvins) & (kelvins >= 0)).all():
        raise ValueError(
            "temperature must be one or more finite kelvins, not negative; got "
            f"{temperature!r}."
        )
    return kelvins
