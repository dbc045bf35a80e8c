r"""Densities of states, heat capacity and displacements of many parameter sets.

Means over a mesh of the Brillouin zone in the harmonic approximation. The heat capacity
at constant volume is, with :math:`x = E / k_B T` for a mode of energy E,

.. math:: C_V = N_A k_B \sum_q w_q \sum_j \frac{x^2 e^{-x}}{(1 - e^{-x})^2}

(Born and Huang, *Dynamical Theory of Crystal Lattices*, ISBN 978-0-19-850369-9). The
displacement tensors are those of :mod:`skphonon.physics.zone.displacements`.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants as si
from sklearn.exceptions import ConvergenceWarning

from skphonon._validation import parameter_rows
from skphonon._warnings import warn_user
from skphonon.physics._phonon_model import PhononModel
from skphonon.physics.constants import BOLTZMANN
from skphonon.physics.dynamical_matrix import BondPairs, DynamicalMatrices, dipole_term
from skphonon.physics.modes import signed_sqrt
from skphonon.physics.stability import (
    Softest,
    UnstableCrystalWarning,
    is_searching,
    softest_modes,
    warn_unstable,
)
from skphonon.physics.zone.centre import mean_points
from skphonon.physics.zone.convergence import settle
from skphonon.physics.zone.displacements import ThermalTensors
from skphonon.physics.zone.mesh import (
    Size,
    ZoneMesh,
    ZonePoints,
    as_mesh,
    mesh_sizes,
    resolving_points,
)

__all__ = ["PhononProperties"]

Array = NDArray[np.float64]

_NUMBERS = 2**21  # in the dynamical matrices made at once
_LARGEST = 2**26  # and in those of the finest mesh that is tried
_ERROR = 2e-3  # relative, with which a quantity counts as converged
_DENSITY_ERROR = 1e-2  # root mean square over root mean square
_COLDEST = 1e-30  # meV, of kT: below it nothing moves
_FREE = 1e-9  # of the largest eigenvalue at a wavevector: modes without energy
_CORE = 2.2  # steps of a mesh: cold crystals want a small core, and a fine mesh
_POLAR = 24  # polar angles of the zone centre: soft layers need as many


class PhononProperties:
    """Compute properties of harmonic crystals that are means over the zone.

    Where no mesh is given, each property takes the coarsest on which it is converged,
    as a finer one tells for the first stable parameter set: densities of states to 1 %
    (root mean square error over root mean square), heat capacities and displacements to
    0.2 %. A ConvergenceWarning says where no mesh of reasonable size is fine enough.
    Of an unstable crystal, which has modes of imaginary frequency on the mesh, heat
    capacity and displacements do not exist: they are NaN, and an UnstableCrystalWarning
    names a mode. Where atoms are free to move, as without any forces, displacements are
    infinite: NaN with such a warning, too.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    parameters : array-like of shape (n_samples, n_parameters)
        Parameter sets in eV/Angstrom^2.
    mesh : ZoneMesh, int or tuple of three int, default=None
        Mesh of the zone, or points along each reciprocal axis, half a step off the zone
        centre. None finds one.
    """

    def __init__(
        self,
        model: PhononModel,
        parameters: ArrayLike,
        *,
        mesh: ZoneMesh | int | Size | None = None,
    ) -> None:
        self._model, self._pairs = model, BondPairs(model)
        self._rows = parameter_rows(parameters, model.parameter_names)
        self._mesh = None if mesh is None else as_mesh(mesh)

    def density_of_states(self, energy: ArrayLike, *, width: float) -> Array:
        """Return densities of states, broadened by a Gaussian.

        Parameters
        ----------
        energy : array-like of shape (n_energy,)
            Energies in meV at which to give the density. Unstable modes are at negative
            ones.
        width : float
            Standard deviation of the Gaussian in meV.

        Returns
        -------
        ndarray of shape (n_samples, n_energy)
            Modes a meV; the integral is 3 * n_atoms.

        Raises
        ------
        ValueError
            If the width is not positive, or energies are not finite.
        """
        energy = np.atleast_1d(np.asarray(energy, dtype=float))
        if energy.ndim != 1 or not np.isfinite(energy).all():
            raise ValueError(
                "energy must be one or more finite energies in meV, in a row; got "
                f"{energy.size - np.isfinite(energy).sum()} that are not finite and "
                f"shape {energy.shape}. Ask for others."
            )
        if not 0 < width < np.inf:
            raise ValueError(f"width must be above 0 meV and finite, got {width!r}.")
        if not energy.size:
            return np.zeros((len(self._rows), 0))

        def densities(rows: Array, mesh: ZoneMesh) -> Array:
            density = np.zeros((len(rows), len(energy)))
            points = resolving_points(self._model, mesh)
            for matrices, weights in self._blocks(points, len(rows), len(energy)):
                modes = signed_sqrt(np.linalg.eigvalsh(matrices.matrices(rows)))
                height = weights / (width * np.sqrt(2 * np.pi))
                for total, energies in zip(density, modes, strict=True):
                    away = (energy[:, None, None] - energies) / width
                    total += np.exp(-(away**2) / 2).sum(axis=2) @ height
            return density

        def error(coarse: Array, fine: Array) -> float:
            size = (fine**2).mean()
            if not size:  # none where there are no modes, or meshes miss them
                return float(self._is_in_bands(energy))
            return float(np.sqrt(((coarse - fine) ** 2).mean() / size))

        mesh = self._mesh or self._settled(
            self._rows[:1], densities, error, _DENSITY_ERROR
        )
        return densities(self._rows, mesh)

    def _is_in_bands(self, energy: Array) -> bool:
        """Tell whether the first set must have modes at any of the energies.

        It has all energies between two of the same branch, which is continuous, and the
        three lowest branches begin at 0.
        """
        points = resolving_points(self._model, ZoneMesh(mesh_sizes(self._model)[0]))
        low, high = np.full(3 * self._model.n_atoms, np.inf), -np.inf
        low[:3] = 0.0
        for matrices, _ in self._blocks(points, 1):
            modes = signed_sqrt(np.linalg.eigvalsh(matrices.matrices(self._rows[:1])))
            low = np.minimum(low, modes.min(axis=(0, 1)))
            high = np.maximum(high, modes.max(axis=(0, 1)))
        return bool(((low <= energy[:, None]) & (energy[:, None] <= high)).any())

    def heat_capacity(self, temperature: ArrayLike) -> Array:
        """Return heat capacities at constant volume.

        Parameters
        ----------
        temperature : array-like of shape (n_temperatures,)
            Temperatures in K; a few kelvins take a fine mesh.

        Returns
        -------
        ndarray of shape (n_samples, n_temperatures)
            J/K for a mole of cells of the model; NaN for unstable parameter sets.
        """
        kelvins = _kelvins(temperature)

        def capacities(rows: Array, mesh: ZoneMesh, softest: list[Softest]) -> Array:
            capacity = np.zeros((len(rows), len(kelvins)))
            points = mean_points(self._model, mesh, n_radii=8, steps=_CORE)
            for matrices, weights in self._blocks(points, len(rows)):
                eigenvalues = np.linalg.eigvalsh(matrices.matrices(rows))
                softest.append(_softest(matrices, eigenvalues))
                energies = np.sqrt(np.maximum(eigenvalues, 1e-12))
                for number in np.flatnonzero(kelvins > 0):
                    x = energies / max(BOLTZMANN * kelvins[number], _COLDEST)
                    of_modes = (x / np.expm1(-x)) ** 2 * np.exp(-x)
                    capacity[:, number] += of_modes.sum(axis=2) @ weights
            return si.R * capacity

        return self._of_stable(capacities, kelvins)

    def displacement_tensors(self, temperature: ArrayLike) -> Array:
        """Return thermal mean-square displacement tensors of the atoms.

        Parameters
        ----------
        temperature : array-like of shape (n_temperatures,)
            Temperatures in K.

        Returns
        -------
        ndarray of shape (n_samples, n_temperatures, n_atoms, 3, 3)
            In Angstrom^2, Cartesian; NaN for unstable parameter sets, and those that
            leave atoms free.
        """
        kelvins = _kelvins(temperature)
        if not kelvins.size:
            return np.zeros((len(self._rows), 0, self._model.n_atoms, 3, 3))
        free = np.zeros(len(self._rows), dtype=bool)

        def tensors(rows: Array, mesh: ZoneMesh, softest: list[Softest]) -> Array:
            nonlocal free
            sums: Array | float = 0.0
            free = np.zeros(len(rows), dtype=bool)
            for matrices, weights in self._blocks(
                mean_points(self._model, mesh), len(rows)
            ):
                eigenvalues, vectors = np.linalg.eigh(matrices.matrices(rows))
                softest.append(_softest(matrices, eigenvalues))
                free |= _without_energy(eigenvalues)
                thermal = ThermalTensors(self._model, weights)
                each = [thermal.components(eigenvalues, vectors, k) for k in kelvins]
                sums = sums + np.stack(each, axis=1)
            found = np.tensordot(sums, thermal.tensors, axes=1)
            found[free] = np.nan
            return found

        found = self._of_stable(tensors, kelvins)
        _warn_of_free(free)
        return found

    def _of_stable(
        self,
        evaluate: Callable[[Array, ZoneMesh, list[Softest]], Array],
        kelvins: Array,
    ) -> Array:
        """Evaluate on a mesh, NaN for what is unstable."""

        def error(coarse: Array, fine: Array) -> float:
            if np.isnan(fine).any():  # atoms that are free: nothing to converge
                return 0.0
            axes = tuple(range(2, fine.ndim))
            change = np.abs(coarse - fine).max(axis=axes, initial=0.0)
            size = np.abs(fine).max(axis=axes, initial=0.0)
            # nothing at all above 0 K is a mesh without the phonons that are excited
            lost = np.where(kelvins > 0, 1.0, 0.0)
            errors = np.where(size > 0, change / np.where(size > 0, size, 1.0), lost)
            return float(errors.max(initial=0.0))

        mesh = self._mesh
        if mesh is None:
            stable = softest_modes(self._model, self._rows).eigenvalues >= 0
            some = self._rows[stable][:1]
            # of unstable sets there is nothing to converge
            mesh = ZoneMesh(mesh_sizes(self._model)[0])
            if len(some):
                mesh = self._settled(
                    some, lambda rows, mesh: evaluate(rows, mesh, []), error, _ERROR
                )
        softest: list[Softest] = []
        found = evaluate(self._rows, mesh, softest)
        worst = min(softest, key=lambda each: each.eigenvalues.min())
        worst.eigenvalues = np.min([each.eigenvalues for each in softest], axis=0)
        warn_unstable(worst)
        found[worst.eigenvalues < 0] = np.nan
        return found

    def _settled(
        self,
        rows: Array,
        evaluate: Callable[[Array, ZoneMesh], Array],
        error: Callable[[Array, Array], float],
        allowed: float,
    ) -> ZoneMesh:
        """Return the mesh on which a property has settled."""
        model = self._model

        def affordable(size: Size) -> bool:
            n_points = np.prod(size) / len(model.point_group())
            return bool(n_points * (3 * model.n_atoms) ** 2 <= _LARGEST)

        found = settle(
            model,
            lambda mesh: evaluate(rows, mesh),
            lambda coarse, fine: error(coarse, fine) / allowed,
            affordable,
            n_polar=_POLAR,
        )
        if found.excess <= 1:
            return found.mesh
        warn_user(
            f"A mean over the zone errs by {found.excess * allowed:.1g} on a mesh of "
            f"{found.mesh.size} points, where {allowed:.1g} was to be reached. Ask for "
            "higher temperatures or a larger width, or pass a finer mesh.",
            ConvergenceWarning,
        )
        return found.finer

    def _blocks(
        self, points: ZonePoints, n_samples: int, n_energies: int = 1
    ) -> Iterator[tuple[DynamicalMatrices, Array]]:
        """Yield dynamical matrices of some of the points, and their weights."""
        n_modes = 3 * self._model.n_atoms
        size = max(1, _NUMBERS // (n_samples * n_modes**2 + n_modes * n_energies))
        for start in range(0, len(points.weights), size):
            wavevectors = points.wavevectors[start : start + size]
            offset = dipole_term(self._model, wavevectors)
            matrices = DynamicalMatrices(
                self._model, wavevectors, pairs=self._pairs, offset=offset
            )
            yield matrices, points.weights[start : start + size]


def _softest(matrices: DynamicalMatrices, eigenvalues: NDArray[np.floating]) -> Softest:
    found = Softest(len(eigenvalues), matrices)
    found.note(slice(None), eigenvalues)
    return found


def _without_energy(eigenvalues: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which sets have modes without energy: (n_samples, n_points, n_modes)."""
    sizes = np.abs(eigenvalues)
    free = sizes <= _FREE * sizes.max(axis=2, keepdims=True)
    return free.any(axis=(1, 2))


def _warn_of_free(free: NDArray[np.bool_]) -> None:
    if free.any() and not is_searching():
        warn_user(
            f"{free.sum()} of {len(free)} parameter sets leave atoms free: some waves "
            "cost no energy, and displacements are infinite, given as NaN. Keep to "
            "sets with forces against all displacements.",
            UnstableCrystalWarning,
        )


def _kelvins(temperature: ArrayLike) -> Array:
    kelvins = np.atleast_1d(np.asarray(temperature, dtype=float))
    if kelvins.ndim != 1 or not (np.isfinite(kelvins) & (kelvins >= 0)).all():
        raise ValueError(
            "temperature must be one or more finite kelvins, not negative; got "
            f"{temperature!r}."
        )
    return kelvins
