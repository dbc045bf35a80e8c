r"""Densities of states, heat capacity and displacements of many parameter sets.

Means over a mesh of the Brillouin zone in the harmonic approximation. The heat capacity
at constant volume is, with :math:`x = E / k_B T` for a mode of energy E,

.. math:: C_V = N_A k_B \sum_q w_q \sum_j \frac{x^2 e^{-x}}{(1 - e^{-x})^2}

(Born and Huang, *Dynamical Theory of Crystal Lattices*, ISBN 978-0-19-850369-9). The
displacement tensors are those of :class:`~skphonon.physics.zone.ThermalTensors`. Of an
unstable crystal, which has modes of imaginary frequency on the mesh, neither exists:
NaN, and a warning that names a mode.

Where no mesh is given, each takes the coarsest on which it is converged, as a finer one
tells for the first parameter set.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants as si
from sklearn.exceptions import ConvergenceWarning

from skphonon._validation import parameter_rows
from skphonon._warnings import warn_user
from skphonon.physics.constants import BOLTZMANN
from skphonon.physics.dynamical_matrix import DynamicalMatrices
from skphonon.physics.lattice_dynamics import signed_sqrt
from skphonon.physics.stability import Softest, softest_modes, warn_unstable
from skphonon.physics.zone import (
    ThermalTensors,
    ZoneMesh,
    as_mesh,
    mean_points,
    mesh_sizes,
    resolving_points,
)

if TYPE_CHECKING:
    from skphonon.physics.force_constants import ForceConstantModel

__all__ = ["density_of_states", "displacement_tensors", "heat_capacity"]

Array = NDArray[np.float64]
Mesh = ZoneMesh | int | tuple[int, int, int] | None

_NUMBERS = 2**21  # in the dynamical matrices made at once
_LARGEST = 2**26  # and in those of the finest mesh that is tried
_ERROR = 2e-3  # relative, with which a quantity counts as converged
_CORE = 2.2  # steps of a mesh: cold crystals want a small core, and a fine mesh
_POLAR = 24  # polar angles of the zone centre: soft layers need as many


def density_of_states(
    model: "ForceConstantModel",
    parameters: ArrayLike,
    energy: ArrayLike,
    *,
    width: float,
    mesh: Mesh = None,
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
        Standard deviation of the Gaussian in meV.
    mesh : ZoneMesh, int or tuple of three int, default=None
        Mesh of the zone, or points along each reciprocal axis, half a step off the zone
        centre. None takes one on which the density is converged to 1 %, as the root
        mean square error over the root mean square.

    Returns
    -------
    ndarray of shape (n_samples, n_energy)
        Modes a meV; the integral is 3 * n_atoms.

    Raises
    ------
    ValueError
        If the width is not positive or an argument has a wrong shape.

    Warns
    -----
    ConvergenceWarning
        If no mesh of reasonable size is fine enough for the width.
    """
    energy = np.atleast_1d(np.asarray(energy, dtype=float))
    if not width > 0:
        raise ValueError(f"width must be above 0 meV, got {width!r}.")
    rows = parameter_rows(parameters, model.parameter_names)

    def densities(some, mesh):
        density = np.zeros((len(some), len(energy)))
        points = resolving_points(model, mesh)
        for block, weights in _blocks(model, points, len(some), len(energy)):
            modes = signed_sqrt(np.linalg.eigvalsh(block.matrices(some)))
            height = weights / (width * np.sqrt(2 * np.pi))
            for total, energies in zip(density, modes, strict=True):  # points, modes
                away = (energy[:, None, None] - energies) / width
                total += np.exp(-(away**2) / 2).sum(axis=2) @ height
        return density

    def error(coarse, fine):
        size = (fine**2).mean()  # none where there are no modes
        return np.sqrt(((coarse - fine) ** 2).mean() / size) if size else 0.0

    if mesh is None:
        mesh = _settled(model, lambda m: densities(rows[:1], m), error, 5 * _ERROR)
    return densities(rows, as_mesh(mesh))


def heat_capacity(
    model: "ForceConstantModel",
    parameters: ArrayLike,
    temperature: ArrayLike,
    *,
    mesh: Mesh = None,
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
    mesh : ZoneMesh, int or tuple of three int, default=None
        Mesh of the zone, or points along each reciprocal axis, half a step off the zone
        centre. None takes one on which the capacities are converged to 0.2 %; below
        some kelvins it is a fine one.

    Returns
    -------
    ndarray of shape (n_samples, n_temperatures)
        J/K for a mole of cells of the model; NaN for unstable parameter sets.

    Raises
    ------
    ValueError
        If a temperature is negative or an argument has a wrong shape.

    Warns
    -----
    UnstableCrystalWarning
        If parameter sets are unstable.
    ConvergenceWarning
        If no mesh of reasonable size is fine enough.
    """
    kelvins = _kelvins(temperature)
    rows = parameter_rows(parameters, model.parameter_names)

    def capacities(some, mesh, softest=None):
        capacity = np.zeros((len(some), len(kelvins)))
        points = mean_points(model, mesh, n_radii=8, steps=_CORE)
        for block, weights in _blocks(model, points, len(some)):
            eigenvalues = np.linalg.eigvalsh(block.matrices(some))
            _note(softest, block, eigenvalues)
            energies = np.sqrt(np.maximum(eigenvalues, 1e-12))
            for number in np.flatnonzero(kelvins > 0):
                x = energies / (BOLTZMANN * kelvins[number])
                of_modes = (x / np.expm1(-x)) ** 2 * np.exp(-x)
                capacity[:, number] += of_modes.sum(axis=2) @ weights
        return si.R * capacity

    return _of_stable(model, rows, kelvins, mesh, capacities)


def displacement_tensors(
    model: "ForceConstantModel",
    parameters: ArrayLike,
    temperature: ArrayLike,
    *,
    mesh: Mesh = None,
) -> Array:
    """Return thermal mean-square displacement tensors.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    parameters : array-like of shape (n_samples, n_parameters)
        Parameter sets in eV/Angstrom^2.
    temperature : array-like of shape (n_temperatures,)
        Temperatures in K.
    mesh : ZoneMesh, int or tuple of three int, default=None
        Mesh of the zone, or points along each reciprocal axis, half a step off the zone
        centre. None takes one on which the tensors are converged to 0.2 %.

    Returns
    -------
    ndarray of shape (n_samples, n_temperatures, n_atoms, 3, 3)
        In Angstrom^2, Cartesian; NaN for unstable parameter sets.

    Raises
    ------
    ValueError
        If a temperature is negative or an argument has a wrong shape.

    Warns
    -----
    UnstableCrystalWarning
        If parameter sets are unstable.
    ConvergenceWarning
        If no mesh of reasonable size is fine enough.
    """
    kelvins = _kelvins(temperature)
    rows = parameter_rows(parameters, model.parameter_names)

    def tensors(some, mesh, softest=None):
        found = 0.0
        for block, weights in _blocks(model, mean_points(model, mesh), len(some)):
            eigenvalues, vectors = np.linalg.eigh(block.matrices(some))
            _note(softest, block, eigenvalues)
            thermal = ThermalTensors(model, weights)
            found = found + np.stack(
                [
                    thermal.components(eigenvalues, vectors, kelvin)
                    for kelvin in kelvins
                ],
                axis=1,
            )
        return np.tensordot(found, thermal.tensors, axes=1)

    return _of_stable(model, rows, kelvins, mesh, tensors)


def _of_stable(model, rows, kelvins, mesh, evaluate):
    """Evaluate on a mesh, NaN for what is unstable."""

    def error(coarse, fine):
        axes = tuple(range(2, fine.ndim))
        change = np.abs(coarse - fine).max(axis=axes) if axes else np.abs(coarse - fine)
        size = np.abs(fine).max(axis=axes) if axes else np.abs(fine)
        # nothing at all above 0 K is a mesh without the phonons that are excited
        lost = np.where(kelvins > 0, 1.0, 0.0)
        return np.where(size > 0, change / np.where(size > 0, size, 1.0), lost).max()

    if mesh is None:
        stable = rows[softest_modes(model, rows).eigenvalues >= 0]
        mesh = mesh_sizes(model)[0]  # of unstable sets there is nothing to converge
        if len(stable):
            mesh = _settled(model, lambda m: evaluate(stable[:1], m), error, _ERROR)
    softest: list = []
    found = evaluate(rows, as_mesh(mesh), softest)
    worst = min(softest, key=lambda each: each.eigenvalues.min())
    unstable = np.any([each.eigenvalues < 0 for each in softest], axis=0)
    worst.eigenvalues = np.min([each.eigenvalues for each in softest], axis=0)
    warn_unstable(worst)
    found[unstable] = np.nan
    return found


def _note(softest, block, eigenvalues):
    if softest is not None:
        found = Softest(len(eigenvalues), block)
        found.note(slice(None), eigenvalues)
        softest.append(found)


def _settled(model, evaluate: Callable, error: Callable, allowed: float) -> ZoneMesh:
    """Coarsest mesh from which one of half as many points again an axis hardly differs.

    Warns with ConvergenceWarning where none of reasonable size does.
    """
    sizes, found = mesh_sizes(model), {}
    n_modes = 3 * model.n_atoms
    for number in range(0, len(sizes) - 4, 2):
        pair = [ZoneMesh(sizes[n], n_polar=_POLAR) for n in (number, number + 4)]
        for mesh in pair:
            if mesh.size not in found:
                found[mesh.size] = evaluate(mesh)
        reached = error(*(found[mesh.size] for mesh in pair))
        if reached <= allowed:
            return pair[0]
        following = sizes[min(number + 6, len(sizes) - 1)]
        n_points = np.prod(following) / len(model.point_group())
        if n_points * n_modes**2 > _LARGEST:
            break
    warn_user(
        f"A mean over the zone errs by {reached:.1g} on a mesh of {pair[0].size} "
        f"points, where {allowed:.1g} was to be reached. Ask for higher temperatures "
        "or a larger width, or pass a finer mesh.",
        ConvergenceWarning,
    )
    return pair[1]


def _blocks(model, points, n_samples, n_energies=1):
    """Yield dynamical matrices of some of the points, and their weights."""
    n_modes = 3 * model.n_atoms
    size = max(1, _NUMBERS // (n_samples * n_modes**2 + n_modes * n_energies))
    for start in range(0, len(points.weights), size):
        block = slice(start, start + size)
        matrices = DynamicalMatrices(model, points.wavevectors[block])
        yield matrices, points.weights[block]


def _kelvins(temperature) -> Array:
    kelvins = np.atleast_1d(np.asarray(temperature, dtype=float))
    if kelvins.ndim != 1 or not (np.isfinite(kelvins) & (kelvins >= 0)).all():
        raise ValueError(
            "temperature must be one or more finite kelvins, not negative; got "
            f"{temperature!r}."
        )
    return kelvins
