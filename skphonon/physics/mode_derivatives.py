r"""Energies of phonons and means over the zone, with their first derivatives.

The dynamical matrix is linear in the parameters p, so that an eigenvalue
:math:`\lambda_j = E_j^2` with the eigenvector :math:`e_j` changes by (Hellmann and
Feynman)

.. math:: \frac{\partial E_j}{\partial p} = \frac{1}{2 E_j}\,
          e_j^\dagger \frac{\partial D}{\partial p} e_j .

Modes that are degenerate have no derivatives of their own, but their mean energy has:
it stands for each of them here. The mean of a function f over the zone changes by
:math:`\sum_q w_q \sum_j f'(\lambda_{qj})\, e_{qj}^\dagger\, dD\, e_{qj}`.
"""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants as si
from sklearn.exceptions import ConvergenceWarning

from skphonon._validation import reference_row
from skphonon._warnings import warn_user
from skphonon.physics._phonon_model import PhononModel
from skphonon.physics.constants import BOLTZMANN
from skphonon.physics.dynamical_matrix import DynamicalMatrices
from skphonon.physics.modes import mode_pairs, signed_sqrt
from skphonon.physics.stability import softest_among, watched_matrices
from skphonon.physics.zone import ZoneMesh, mean_points
from skphonon.physics.zone.centre import core_radius
from skphonon.physics.zone.convergence import settle
from skphonon.physics.zone.displacements import ThermalTensors

__all__ = [
    "ModeEnergies",
    "ThermalMeans",
    "heat_capacity_mesh",
    "mode_energies",
]

Array = NDArray[np.float64]
Matrices = NDArray[np.float64] | NDArray[np.complex128]

_SOFTEST = 1e-3  # of the largest energy: below it a slope is that of this energy
_ERROR = 2e-3  # relative, with which a heat capacity counts as converged
_LARGEST = 2**24  # numbers in the matrices of the finest mesh that is tried
_POLAR = 24  # polar angles of the zone centre, as for heat capacities elsewhere
_RADII, _CORE = 8, 2.2  # points around the centre, as for heat capacities elsewhere
_FROZEN = 5.0  # kT at the radius of the core, beyond which points get denser inward
_THERMAL = 2.0  # kT up to which they do
_TOP = 50.0  # meV, taken for a crystal without reference
_MOST = 2**25  # numbers in the matrices around the centre


class ModeEnergies(NamedTuple):
    """Energies of phonons at some wavevectors, and how parameters change them.

    Parameters
    ----------
    energies : ndarray of shape (n_points, n_modes)
        In meV, ascending; negative where unstable.
    slopes : ndarray of shape (n_points, n_modes, n_parameters)
        In meV for each eV/Angstrom^2.
    vectors : ndarray of shape (n_points, n_modes, n_modes)
        Modes in columns.
    near : ndarray of bool of shape (n_points, n_modes, n_modes)
        Which modes are degenerate with which; every mode is with itself.
    """

    energies: Array
    slopes: Array
    vectors: Matrices
    near: NDArray[np.bool_]

    def mean_of_degenerate(self, values: Array) -> Array:
        """Return values of modes as means over degenerate ones.

        Parameters
        ----------
        values : ndarray of shape (n_points, n_modes)
            One for each mode.

        Returns
        -------
        ndarray of shape (n_points, n_modes)
            The means.
        """
        return _means(self.near, values[..., None])[..., 0]


def mode_energies(matrices: Matrices, basis: Matrices) -> ModeEnergies:
    """Return energies of modes and their derivatives with the parameters.

    Parameters
    ----------
    matrices : ndarray of shape (n_points, n_modes, n_modes)
        Dynamical matrices in meV^2.
    basis : ndarray of shape (n_parameters, n_points, n_modes, n_modes)
        Their change with each parameter, as from ``model.dynamical_matrix_basis``.

    Returns
    -------
    ModeEnergies
        Of degenerate modes each has the mean energy and its derivatives.
    """
    eigenvalues, vectors = np.linalg.eigh(matrices)
    energies, near = signed_sqrt(eigenvalues), mode_pairs(eigenvalues).near
    changes = np.einsum("nka,pnka->pna", vectors.conj(), basis @ vectors).real
    floor = _SOFTEST * max(float(np.abs(energies).max(initial=0.0)), 1e-30)
    slopes = np.moveaxis(changes / (2 * np.maximum(np.abs(energies), floor)), 0, -1)
    return ModeEnergies(
        _means(near, energies[..., None])[..., 0], _means(near, slopes), vectors, near
    )


def _means(near: NDArray[np.bool_], values: Array) -> Array:
    shares = near / near.sum(axis=-1, keepdims=True)
    return shares @ values


class ThermalMeans:
    """Heat capacities and displacements of one parameter set, with derivatives.

    They are NaN of an unstable crystal, also where its unstable modes are between the
    points of the mesh, as long waves are.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    mesh : ZoneMesh
        Mesh of the zone.
    coldest : float, default=None
        Lowest temperature in K of heat capacities, which need more points about the
        zone centre. None: there are displacements only.
    """

    def __init__(
        self, model: PhononModel, mesh: ZoneMesh, *, coldest: float | None = None
    ):
        options = {}
        if coldest is not None:
            halvings = _halvings(model, mesh, coldest)
            options = {"n_radii": _RADII, "steps": _CORE, "halvings": halvings}
        points = mean_points(model, mesh, **options)  # type: ignore[arg-type]
        self._model = model
        self._matrices = DynamicalMatrices(model, points.wavevectors)
        self._weights = points.weights
        self._thermal = ThermalTensors(model, points.weights)

    def heat_capacities(self, parameters: Array, kelvins: Array) -> tuple[Array, Array]:
        """Return heat capacities at constant volume.

        Parameters
        ----------
        parameters : ndarray of shape (n_parameters,)
            In eV/Angstrom^2.
        kelvins : ndarray of shape (n_temperatures,)
            Above zero.

        Returns
        -------
        values : ndarray of shape (n_temperatures,)
            J/K for a mole of cells; NaN if the crystal is unstable.
        slopes : ndarray of shape (n_temperatures, n_parameters)
            Their derivatives.
        """
        eigenvalues, vectors = self._modes(parameters)
        if eigenvalues.min() < 0 or self._has_soft_modes(parameters):
            return _nothing(len(kelvins), len(parameters))
        of_modes, falling = _heat_capacities(eigenvalues[0], kelvins)
        values = si.R * of_modes.sum(axis=2) @ self._weights
        slopes = si.R * falling * self._weights[:, None]
        turned = (vectors * slopes[..., None, :]) @ vectors.conj().swapaxes(-1, -2)
        return values, self._matrices.gradient(turned)

    def displacements(
        self, parameters: Array, kelvins: Array, shares: Array
    ) -> tuple[Array, Array]:
        """Return isotropic mean-square displacements.

        Parameters
        ----------
        parameters : ndarray of shape (n_parameters,)
            In eV/Angstrom^2.
        kelvins : ndarray of shape (n_values,)
            Temperatures.
        shares : ndarray of shape (n_values, n_atoms)
            Of each atom in each value.

        Returns
        -------
        values : ndarray of shape (n_values,)
            A third of the traces of the tensors, in Angstrom^2; NaN if the crystal is
            unstable.
        slopes : ndarray of shape (n_values, n_parameters)
            Their derivatives.
        """
        eigenvalues, vectors = self._modes(parameters)
        if eigenvalues.min() < 0 or self._has_soft_modes(parameters):
            return _nothing(len(kelvins), len(parameters))
        traces = np.trace(self._thermal.tensors, axis1=2, axis2=3) / 3
        forms = shares @ traces.T  # of the components in each value
        pairs = mode_pairs(eigenvalues)
        values, turned = np.empty(len(kelvins)), []
        for number, (kelvin, form) in enumerate(zip(kelvins, forms, strict=True)):
            found = self._thermal.components(eigenvalues, vectors, kelvin)
            values[number] = found[0] @ form
            slopes = self._thermal.slopes(eigenvalues, vectors, kelvin, *pairs)
            between = np.tensordot(form, slopes, axes=1)[0]
            turned.append(vectors[0] @ between @ vectors[0].conj().swapaxes(-1, -2))
        return values, self._matrices.gradient(np.array(turned))

    def _modes(self, parameters: Array) -> tuple[Array, Matrices]:
        return np.linalg.eigh(self._matrices.matrices(parameters[None]))

    def _has_soft_modes(self, parameters: Array) -> bool:
        return bool(softest_among(self._watched, parameters[None]).eigenvalues[0] < 0)

    @cached_property
    def _watched(self) -> DynamicalMatrices:
        return watched_matrices(self._model)


def _halvings(model: PhononModel, mesh: ZoneMesh, kelvins: float) -> int:
    """Return how often the core is halved until its waves are warm."""
    radius, top = core_radius(model, mesh, _CORE), _TOP
    if model.reference is not None:
        along = DynamicalMatrices(model, radius * np.eye(3))
        found = along.matrices(reference_row(model)[None])
        sound = signed_sqrt(np.linalg.eigvalsh(found))[..., :3]
        top = float(np.abs(sound).max())
    frozen = top / (BOLTZMANN * kelvins)
    if frozen <= _FROZEN:
        return 0
    n_directions = 2 * mesh.n_polar**2 / len(model.point_group())
    n_halves = _MOST / (5 * n_directions * (3 * model.n_atoms) ** 2) - 2
    return int(min(np.ceil(np.log2(frozen / _THERMAL)), max(n_halves, 0)))


def _nothing(n_values: int, n_parameters: int) -> tuple[Array, Array]:
    return np.full(n_values, np.nan), np.full((n_values, n_parameters), np.nan)


def _heat_capacities(eigenvalues: Array, kelvins: Array) -> tuple[Array, Array]:
    """Return heat capacities of modes in k_B, and derivatives with the eigenvalues.

    Of shape (n_temperatures, n_points, n_modes).
    """
    energies = np.sqrt(np.maximum(eigenvalues, 1e-12))
    warmth = BOLTZMANN * kelvins[:, None, None]
    x = energies / warmth
    values = (x / np.expm1(-x)) ** 2 * np.exp(-x)
    with np.errstate(over="ignore"):
        slopes = values * (2 / x - 1 / np.tanh(x / 2))  # with x
    return values, slopes / (2 * energies * warmth)


def heat_capacity_mesh(
    model: PhononModel, parameters: Array, kelvins: ArrayLike
) -> ZoneMesh:
    """Return the coarsest mesh on which heat capacities are converged to 0.2 %.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    parameters : ndarray of shape (n_parameters,)
        In eV/Angstrom^2, of a stable crystal.
    kelvins : array-like of shape (n_temperatures,)
        Temperatures above zero.

    Returns
    -------
    ZoneMesh
        The finest affordable one if none is converged.

    Warns
    -----
    ConvergenceWarning
        If none is converged.
    """
    temperatures = np.asarray(kelvins, dtype=float)

    def affordable(size: tuple[int, int, int]) -> bool:
        n_points = np.prod(size) / len(model.point_group())
        return bool(n_points * (3 * model.n_atoms) ** 2 <= _LARGEST)

    def capacities(mesh: ZoneMesh) -> Array:
        means = ThermalMeans(model, mesh, coldest=float(temperatures.min()))
        return means.heat_capacities(parameters, temperatures)[0]

    def excess(coarse: Array, fine: Array) -> float:
        known = fine > 0
        errors = np.abs(coarse - fine)[known] / fine[known]
        return float(errors.max(initial=0.0)) / _ERROR

    evaluate: Callable[[ZoneMesh], Array] = capacities
    found = settle(model, evaluate, excess, affordable, n_polar=_POLAR)
    if found.excess <= 1:
        return found.mesh
    warn_user(
        f"Heat capacities down to {temperatures.min():g} K change by "
        f"{found.excess * _ERROR:.1%} from one mesh of the zone to the next, more than "
        f"{_ERROR:.1%}, on the finest that is affordable. Leave out the coldest, give "
        "them larger errors, or a finer mesh.",
        ConvergenceWarning,
    )
    return found.finer
