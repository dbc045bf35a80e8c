"""Elastic constants, sound velocities, displacements and heat capacities, with errors.

Derivatives of the elastic constants and of the squares of velocities are central
differences, exact to rounding in crystals of one atom a cell, where these are linear in
the parameters. All others are exact.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY
from functools import cached_property
from numbers import Integral
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants as si

from skphonon._validation import is_number, reference_row
from skphonon._versioned import immutable, read_only
from skphonon._warnings import warn_user
from skphonon.inversion._observable import Observable, measured_values
from skphonon.inversion._observable_units import (
    UNITS_OF_DISPLACEMENTS,
    UNITS_OF_STIFFNESS,
    unit_doubt,
)
from skphonon.physics.elasticity import (
    elastic_constants,
    independent_elements,
    sound_matrices,
    vanishing_elements,
    warn_of_violation,
)
from skphonon.physics.mode_derivatives import (
    ThermalMeans,
    heat_capacity_mesh,
    mode_energies,
)
from skphonon.physics.priors import parameter_scales
from skphonon.physics.zone.convergence import displacement_mesh
from skphonon.physics.zone.mesh import as_mesh

__all__ = [
    "ElasticConstants",
    "HeatCapacity",
    "MeanSquareDisplacement",
    "SoundVelocities",
]

Array = NDArray[np.float64]

_STEP = 1e-4  # of central differences, of the scale of a parameter
_KG_PER_AMU_A3 = 1660.53906660  # density in kg/m^3 of 1 amu/Angstrom^3
_STIFFEST = 1500.0  # GPa: nothing is above, graphite and diamond are at 1100
_SLOWEST, _FASTEST = 100.0, 30e3  # m/s: solid helium is at 200, diamond at 18e3
_FARTHEST = 0.5  # root mean square displacement over distance: crystals melt before
_COLDEST = 1e-3  # K, of heat capacities
_ANHARMONIC = 1.1  # of the limit of Dulong and Petit
_CLOSE = 4.0  # standard deviations
_WARM = 0.6  # of that limit: heat capacities that hang little on energies
_HEAT_ALIKE = 1.2  # by how much heat capacities of a start may be off then
_UNITS_ALIKE = 2.0  # by how much a start may be off, for a unit to be told


@immutable
class ElasticConstants(Observable):
    """Elastic constants with errors.

    Those of ultrasound are adiabatic, those of the model harmonic at the temperature
    of its constants: neutrons see the isothermal or "zero sound" ones, which may differ
    by some per cent. Let the errors say so.

    Force constants of a finite range need not be invariant under rotations of the
    crystal, in crystals that are not cubic. Waves along two directions tell different
    elastic constants then, of which the mean counts; a warning is given where they
    differ by more than 5 % of the largest at the reference of the model or at fitted
    constants. :class:`SoundVelocities` are those of the waves themselves.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    constants : mapping of str to (float, float)
        Value and standard deviation in GPa by name: ``C11`` to ``C66`` in the order of
        Voigt and the Cartesian axes of the lattice of the model.

    Examples
    --------
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import ElasticConstants
    >>> model = load_aluminium_model()
    >>> measured = ElasticConstants(model, {"C11": (107.0, 2.0), "C44": (28.0, 1.0)})
    >>> measured.table(model.reference)["quantity"].tolist()
    ['C11 (GPa)', 'C44 (GPa)']
    """

    constants: Mapping[str, tuple[float, float]]

    def _settle(self) -> None:
        given = self.constants
        if not isinstance(given, Mapping) or not given:
            raise ValueError(
                'constants must map names to value and error, as {"C11": (165.7, '
                f"1.0)}}, got {given!r}."
            )
        kept = {}
        for name, pair in given.items():
            if not re.fullmatch(r"C[1-6][1-6]", str(name)):
                raise ValueError(
                    "constants must be named C11 to C66, two indices of Voigt, got "
                    f"{name!r}."
                )
            if np.shape(pair) != (2,):
                raise ValueError(
                    f"{name} must have a value and a standard deviation in GPa, got "
                    f"{pair!r}."
                )
            values, errors = measured_values(pair[0], pair[1], name)
            kept[str(name)] = (float(values[0]), float(errors[0]))
            twin = f"C{name[2]}{name[1]}"
            if twin != name and twin in kept:
                raise ValueError(
                    f"constants must not hold {twin} and {name}, which are one. Leave "
                    "one of them out."
                )
            if abs(values[0]) > _STIFFEST:
                raise ValueError(
                    f"{name} must be in GPa, got {values[0]:g}, more than any crystal "
                    "has: kbar are 0.1 GPa, 10^11 dyn/cm^2 10 GPa, Mbar 100 GPa. "
                    "Convert values and errors."
                )
            if name[1] == name[2] and not values[0] > 0:
                raise ValueError(
                    f"{name} must be above 0, as in every stable crystal; got "
                    f"{values[0]:g}."
                )
        self._check_symmetry(kept)
        self._keep(constants=MappingProxyType(kept))
        if self.model.reference is not None:
            warn_of_violation(self.violation(reference_row(self.model)))

    def _check_symmetry(self, kept: Mapping[str, tuple[float, float]]) -> None:
        """Refuse constants that symmetry makes zero."""
        rotations = self.model.point_group()
        zero = vanishing_elements(rotations)
        for name in kept:
            if zero[int(name[1]) - 1, int(name[2]) - 1]:
                different = zip(*independent_elements(rotations), strict=True)
                names = ", ".join(f"C{i + 1}{j + 1}" for i, j in different)
                raise ValueError(
                    f"constants must not hold {name}, which is zero by the symmetry of "
                    f"this crystal: in the Cartesian axes of its lattice {names} are "
                    "independent. Leave it out, or turn the axes."
                )

    def violation(self, parameters: ArrayLike) -> float:
        """Return by how much waves along two directions tell different constants.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.

        Returns
        -------
        float
            Over the largest; 0 in cubic crystals. See
            :func:`skphonon.physics.elasticity.elastic_constants`.
        """
        row = self._row(parameters)
        return float(elastic_constants(self.model, [row], return_violation=True)[1][0])

    @property
    def measured(self) -> Array:
        """Measured values in GPa, shape (n_values,)."""
        return np.array([value for value, _ in self.constants.values()])

    @property
    def errors(self) -> Array:
        """Standard deviations in GPa, shape (n_values,)."""
        return np.array([error for _, error in self.constants.values()])

    @property
    def quantities(self) -> list[str]:
        """Names of the constants."""
        return [f"{name} (GPa)" for name in self.constants]

    def calculate(self, parameters: ArrayLike) -> tuple[Array, Array]:
        """Return elastic constants in GPa, and their derivatives.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.

        Returns
        -------
        values : ndarray of shape (n_values,)
            In GPa.
        slopes : ndarray of shape (n_values, n_parameters)
            Their derivatives with the parameters, by central differences.
        """
        stiffness, slopes = _differenced(
            lambda rows: np.asarray(elastic_constants(self.model, rows)),
            self._row(parameters),
            self.parameter_names,
        )
        rows, columns = np.array(
            [[int(i) - 1 for i in n[1:]] for n in self.constants]
        ).T
        return stiffness[rows, columns], slopes[rows, columns]

    def unit_doubt(self, parameters: ArrayLike) -> str:
        """Return a sentence on constants that seem to be in another unit than GPa.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2, of a crystal that is about right.

        Returns
        -------
        str
            Empty where nothing speaks for it.
        """
        ratios = self.measured / self.calculate(parameters)[0]
        own = np.array([name[1] == name[2] for name in self.constants])
        ratios = ratios[own if own.any() else ~own, None]
        units, what = UNITS_OF_STIFFNESS, "Elastic constants"
        return unit_doubt(ratios, units, _UNITS_ALIKE, what, "GPa")


def _differenced(
    evaluate: Callable[[Array], Array], row: Array, names: list[str]
) -> tuple[Array, Array]:
    """Return values of a parameter set, and derivatives along one more axis."""
    steps = _STEP * parameter_scales(row, names)
    moves = np.diag(steps)
    found = evaluate(np.concatenate([row[None], row + moves, row - moves]))
    up, down = found[1 : 1 + len(row)], found[1 + len(row) :]
    return found[0], np.moveaxis(up - down, 0, -1) / (2 * steps)


@immutable
class SoundVelocities(Observable):
    r"""Velocities of sound with errors.

    These are slopes :math:`\omega / q` of long waves of the model, with its lattice and
    masses. Where its force constants have elastic constants, these are those of the
    equation of Christoffel,
    :math:`\rho v^2 u_i = \sum_{jkl} C_{ijkl}\, n_j n_l\, u_k`. Waves of a polar crystal
    carry their macroscopic field along.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    directions : array-like of shape (n_values, 3)
        Cartesian directions n of the waves, of any length.
    branches : array-like of int of shape (n_values,)
        Branch of each, 0 to 2 from the slowest to the fastest: 2 is longitudinal, or
        nearly. Two branches of one velocity count as their mean.
    velocities : array-like of shape (n_values,)
        In m/s.
    std : float or array-like of shape (n_values,)
        Standard deviations in m/s.

    Examples
    --------
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import SoundVelocities
    >>> model = load_aluminium_model()
    >>> sound = SoundVelocities(model, [[1, 0, 0]], [2], [6400.0], 100.0)
    >>> sound.quantities
    ['v[1, 0, 0] branch 2 (m/s)']
    """

    directions: Array
    branches: NDArray[np.int_]
    velocities: Array
    std: Array

    def _settle(self) -> None:
        values, errors = measured_values(self.velocities, self.std, "velocities")
        directions = np.atleast_2d(np.asarray(self.directions, dtype=float))
        lengths = np.linalg.norm(directions, axis=-1)
        if (
            directions.shape != (len(values), 3)
            or not (np.isfinite(lengths) & (lengths > 0)).all()
        ):
            raise ValueError(
                f"directions must be Cartesian, of shape ({len(values)}, 3) and none "
                f"zero, got shape {directions.shape}. Give one for each velocity."
            )
        branches = np.atleast_1d(np.asarray(self.branches))
        good = branches.shape == values.shape and np.isin(branches, (0, 1, 2)).all()
        if not good:
            raise ValueError(
                f"branches must be {len(values)} numbers 0, 1 or 2, from the slowest "
                f"to the fastest wave; got {self.branches!r}."
            )
        bad = (values < _SLOWEST) | (values > _FASTEST)
        if bad.any():
            row = int(bad.argmax())
            advice = "km/s are 1000 m/s" if values[row] < _SLOWEST else "cm/s 0.01 m/s"
            raise ValueError(
                f"velocities must be in m/s, got {values[row]:g} in row {row}: sound "
                f"in crystals has {_SLOWEST:g} to {_FASTEST:g} m/s; {advice}. Convert "
                "values and errors."
            )
        self._keep(
            directions=read_only(directions),
            branches=read_only(branches, int),
            velocities=values,
            std=errors,
        )

    @property
    def measured(self) -> Array:
        """Measured velocities in m/s, shape (n_values,)."""
        return self.velocities

    @property
    def errors(self) -> Array:
        """Standard deviations in m/s, shape (n_values,)."""
        return self.std

    @property
    def quantities(self) -> list[str]:
        """Names of the velocities."""
        return [
            f"v[{', '.join(f'{x:g}' for x in direction)}] branch {branch} (m/s)"
            for direction, branch in zip(self.directions, self.branches, strict=True)
        ]

    def calculate(self, parameters: ArrayLike) -> tuple[Array, Array]:
        """Return velocities in m/s, and their derivatives.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.

        Returns
        -------
        values : ndarray of shape (n_values,)
            In m/s; negative where a wave is unstable.
        slopes : ndarray of shape (n_values, n_parameters)
            Their derivatives with the parameters.
        """
        model = self.model
        n = self.directions / np.linalg.norm(self.directions, axis=1)[:, None]
        stiffness, changes = _differenced(
            lambda rows: sound_matrices(model, rows, n),
            self._row(parameters),
            self.parameter_names,
        )
        volume = abs(np.linalg.det(model.cell.cell))
        density = _KG_PER_AMU_A3 * model.atomic_masses.sum() / volume
        scale = 1e9 / density  # (m/s)^2 of 1 GPa
        found = mode_energies(scale * stiffness, scale * np.moveaxis(changes, -1, 0))
        own = np.arange(len(n)), self.branches
        return found.energies[own], found.slopes[own]


@immutable
class MeanSquareDisplacement(Observable):
    r"""Mean-square displacements with errors, as diffraction gives them.

    The value is :math:`\langle u_x^2 \rangle = U_{iso} = B / 8 \pi^2`, a third of the
    trace of the tensor of an atom. Derivatives are exact.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    temperature : float or array-like of shape (n_values,)
        In K.
    value : float or array-like of shape (n_values,)
        In Angstrom^2.
    std : float or array-like of shape (n_values,)
        Standard deviations in Angstrom^2.
    atom : int, default=None
        Number of the atom in the cell; None is the mean over all atoms.
    mesh : ZoneMesh, int or tuple of three int, default=None
        Mesh of the zone; None finds one at the reference of the model.

    Examples
    --------
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import MeanSquareDisplacement
    >>> model = load_aluminium_model()
    >>> measured = MeanSquareDisplacement(model, 300.0, 0.0102, 0.0003)
    >>> measured.quantities
    ['<u_x^2> at 300 K (Angstrom^2)']
    """

    temperature: Array
    value: Array
    std: Array
    _: KW_ONLY
    atom: int | None = None
    mesh: Any = None

    def _settle(self) -> None:
        values, errors = measured_values(self.value, self.std, "value")
        kelvins = _temperatures(self.temperature, len(values), or_zero=True)
        n_atoms = self.model.n_atoms
        atom = self.atom
        if atom is not None and not (is_number(atom, Integral) and 0 <= atom < n_atoms):
            raise ValueError(
                f"atom must be a number from 0 to {n_atoms - 1}, of an atom of the "
                f"cell, or None; got {self.atom!r}."
            )
        if not (values > 0).all():
            raise ValueError(
                f"value must be above 0 Angstrom^2, got {values.min():g} in row "
                f"{values.argmin()}."
            )
        room = (abs(np.linalg.det(self.model.cell.cell)) / n_atoms) ** (1 / 3)
        row = int(values.argmax())
        if (3 * values[row]) ** 0.5 > _FARTHEST * room:
            raise ValueError(
                f"value must be U = <u_x^2> in Angstrom^2, got {values[row]:g} in row "
                f"{row}: atoms of a room {room:.2g} Angstrom wide would move "
                f"{(3 * values[row]) ** 0.5:.2g} Angstrom, and crystals melt before. "
                f"Is it B = 8 pi^2 U? Then U is {values[row] / (8 * np.pi**2):.3g}."
            )
        self._keep(temperature=kelvins, value=values, std=errors)

    @property
    def measured(self) -> Array:
        """Measured displacements in Angstrom^2, shape (n_values,)."""
        return self.value

    @property
    def errors(self) -> Array:
        """Standard deviations in Angstrom^2, shape (n_values,)."""
        return self.std

    @property
    def quantities(self) -> list[str]:
        """Names of the displacements."""
        whose = ""
        if self.atom is not None and self.model.n_atoms > 1:
            whose = f" of {self.model.symbols[self.atom]} (atom {self.atom})"
        return [f"<u_x^2>{whose} at {t:g} K (Angstrom^2)" for t in self.temperature]

    def calculate(self, parameters: ArrayLike) -> tuple[Array, Array]:
        """Return displacements in Angstrom^2, and their derivatives.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.

        Returns
        -------
        values : ndarray of shape (n_values,)
            In Angstrom^2; NaN if the crystal is unstable.
        slopes : ndarray of shape (n_values, n_parameters)
            Their derivatives with the parameters.
        """
        n_atoms = self.model.n_atoms
        shares = np.full(n_atoms, 1 / n_atoms)
        if self.atom is not None:
            shares = np.eye(n_atoms)[self.atom]
        shares = np.tile(shares, (self.n_values, 1))
        row = self._row(parameters)
        return self._means.displacements(row, self.temperature, shares)

    def unit_doubt(self, parameters: ArrayLike) -> str:
        """Return a sentence on displacements that seem to be in another unit.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2, of a crystal that is about right.

        Returns
        -------
        str
            Empty where nothing speaks for it.
        """
        ratios = self.value / self.calculate(parameters)[0]
        units, right = UNITS_OF_DISPLACEMENTS, "Angstrom^2 as U"
        return unit_doubt(ratios[:, None], units, _UNITS_ALIKE, "Displacements", right)

    @cached_property
    def _means(self) -> ThermalMeans:
        mesh = self.mesh
        if mesh is None:
            mesh = displacement_mesh(self.model, float(self.temperature.max()))
        return ThermalMeans(self.model, as_mesh(mesh))


@immutable
class HeatCapacity(Observable):
    """Heat capacities at constant volume with errors.

    Measured ones are at constant pressure. Take off the difference of both, some per
    cent at room temperature, and what electrons add. Derivatives are exact.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    temperatures : array-like of shape (n_values,)
        In K, 0.001 and above.
    values : array-like of shape (n_values,)
        In J/K for a mole of cells of the model.
    std : float or array-like of shape (n_values,)
        Standard deviations in the same unit.
    mesh : ZoneMesh, int or tuple of three int, default=None
        Mesh of the zone; None finds one at the reference of the model.

    Examples
    --------
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import HeatCapacity
    >>> model = load_aluminium_model()
    >>> measured = HeatCapacity(model, [100.0, 200.0], [13.0, 21.4], 0.2)
    >>> measured.n_values
    2
    """

    temperatures: Array
    values: Array
    std: Array
    _: KW_ONLY
    mesh: Any = None

    def _settle(self) -> None:
        values, errors = measured_values(self.values, self.std, "values")
        kelvins = _temperatures(self.temperatures, len(values))
        if kelvins.min() < _COLDEST:
            raise ValueError(
                f"temperatures must be at least {_COLDEST:g} K, below which waves are "
                f"longer than rounding allows; got {kelvins.min():g}. Leave it out."
            )
        self._keep(temperatures=kelvins, values=values, std=errors)
        self._check_limit()

    def _check_limit(self) -> None:
        """Refuse what no harmonic crystal has, by its number of atoms."""
        excess = (self.values - self._limit) / self.std
        row = int(excess.argmax())
        if excess[row] <= _CLOSE:
            return
        told = (
            f"values must be C_V in J/K for a mole of cells of the model, of "
            f"{self.model.n_atoms} atoms, and phonons have less than 3 R for each, "
            f"{self._limit:.4g}; got {self.values[row]:g} in row {row}. "
        )
        if self.values[row] - _CLOSE * self.std[row] > _ANHARMONIC * self._limit:
            raise ValueError(
                told + "Divide values of a mole of larger cells by the number of cells "
                "in them, and take off the part of electrons and C_P - C_V."
            )
        warn_user(
            told + "Is the part of electrons, and C_P - C_V, taken off?", UserWarning
        )

    @property
    def _limit(self) -> float:
        """Heat capacity of Dulong and Petit in J/K/mol."""
        return 3 * si.R * self.model.n_atoms

    @property
    def measured(self) -> Array:
        """Measured heat capacities in J/K/mol, shape (n_values,)."""
        return self.values

    @property
    def errors(self) -> Array:
        """Standard deviations in J/K/mol, shape (n_values,)."""
        return self.std

    @property
    def quantities(self) -> list[str]:
        """Names of the heat capacities."""
        return [f"C_V at {t:g} K (J/K/mol)" for t in self.temperatures]

    def calculate(self, parameters: ArrayLike) -> tuple[Array, Array]:
        """Return heat capacities in J/K/mol, and their derivatives.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.

        Returns
        -------
        values : ndarray of shape (n_values,)
            In J/K for a mole of cells; NaN if the crystal is unstable.
        slopes : ndarray of shape (n_values, n_parameters)
            Their derivatives with the parameters.
        """
        return self._means.heat_capacities(self._row(parameters), self.temperatures)

    def unit_doubt(self, parameters: ArrayLike) -> str:
        """Return a sentence on heat capacities of another amount or unit.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2, of a crystal that is about right.

        Returns
        -------
        str
            Empty where nothing speaks for it.
        """
        calculated = self.calculate(parameters)[0]
        warm = calculated > _WARM * self._limit
        units = {f"J/K for {name}": 1 / each for name, each in self._amounts().items()}
        units["cal/K for a mole of cells"] = 1 / si.calorie
        ratios = self.values[warm, None] / calculated[warm, None]
        right = "J/K for a mole of cells"
        return unit_doubt(ratios, units, _HEAT_ALIKE, "Heat capacities", right)

    def _amounts(self) -> dict[str, float]:
        """Return how much of each there is in a mole of cells."""
        found = {"a gram": float(self.model.atomic_masses.sum())}
        if self.model.n_atoms > 1:
            found["a mole of atoms"] = float(self.model.n_atoms)
        return found

    @cached_property
    def _means(self) -> ThermalMeans:
        mesh = self.mesh
        if mesh is None:
            row = reference_row(self.model)
            mesh = heat_capacity_mesh(self.model, row, self.temperatures)
        return ThermalMeans(
            self.model, as_mesh(mesh), coldest=float(self.temperatures.min())
        )


def _temperatures(given: ArrayLike, n_values: int, *, or_zero: bool = False) -> Array:
    kelvins = np.asarray(given, dtype=float)
    good = np.isfinite(kelvins) & ((kelvins > 0) | (or_zero & (kelvins == 0)))
    if kelvins.shape not in ((), (n_values,)) or not good.all():
        raise ValueError(
            f"temperature must be one number or {n_values} numbers in K, finite and "
            f"{'not negative' if or_zero else 'above zero'}; got {given!r}."
        )
    return read_only(np.broadcast_to(kelvins, (n_values,)))
