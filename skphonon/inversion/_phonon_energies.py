r"""Phonon energies with errors, with or without the branch that each belongs to.

An energy without label belongs to one of the branches that neutrons see at its
wavevector Q = q + G. Their strengths there are

.. math:: |F_j|^2 = \Big|\sum_d \frac{b_d}{\sqrt{m_d}}\,
          (Q \cdot e_{dj})\,e^{-iG \cdot r_d}\Big|^2,

the one-phonon structure factor without factors of Debye and Waller, which branches of
one Q nearly share. Degenerate branches share their strength. The probability of each
branch follows from its strength and from how far its energy is from the measured one,
in units of both uncertainties: that of the measurement and that of the model.
"""

from dataclasses import KW_ONLY
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from skphonon._versioned import immutable, read_only
from skphonon._warnings import warn_user
from skphonon.inversion._observable import Observable, measured_values
from skphonon.inversion._observable_units import (
    ENERGY_UNITS,
    nearest_unit,
    unit_doubt,
)
from skphonon.physics.mode_derivatives import ModeEnergies, mode_energies
from skphonon.physics.scattering_lengths import scattering_lengths

__all__ = ["PhononEnergies"]

Array = NDArray[np.float64]

_LARGEST = 600.0  # meV: no phonon is above, that of molecular hydrogen is at 550
_ABOVE = 5.0  # of the largest energy of a model: no error of its constants
_UNITS_ALIKE = 1.25  # by how much a start may be off, for a unit to be told
_OTHER = 0.01  # by which a lattice differs from another one's, relative
_ALIKE = 0.05  # by which a given lattice may differ from one of the model, relative
_AT_CENTRE = 1e-6  # r.l.u.
_N_ACOUSTIC = 3
_UNKNOWN = -1  # mode of an energy without label
_FAINT = 1e-300


class Branches(NamedTuple):
    """What a model says of the branches at the wavevectors of a table."""

    found: ModeEnergies
    strengths: Array  # (n_points, n_modes), shares of those of a wavevector

    def chosen(self, shares: Array) -> tuple[Array, Array]:
        """Return energies and slopes as means over branches with the given shares."""
        energies = (shares * self.found.energies).sum(axis=1)
        return energies, (shares[:, None] @ self.found.slopes)[:, 0]


@immutable
class PhononEnergies(Observable):
    r"""Phonon energies with errors: a table of a triple-axis spectrometer.

    Energies at the zone centre are those of Raman and infrared spectra
    (:meth:`at_zone_centre`). Branches are counted by energy, from 0. Derivatives are
    those of Hellmann and Feynman; degenerate branches count as their mean energy.

    Where the branch of an energy is not known, it is assigned by the structure factor
    of the branches at Q and by their energies, anew for all parameters. Give the
    wavevectors Q at which neutrons were measured then, not those in the first zone.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    qpoints : array-like of shape (n_values, 3)
        Wavevectors h, k, l in units of the reciprocal lattice of `lattice`.
    energies : array-like of shape (n_values,)
        In meV.
    std : float or array-like of shape (n_values,)
        Standard deviations in meV.
    modes : int or sequence of shape (n_values,), default=None
        Branch of each energy, 0 the lowest. None, for one or all: not known.
    lattice : array-like of shape (3, 3), default=None
        Vectors in rows in Angstrom, of the model or a multiple of it, such as the
        conventional cell, in its Cartesian axes. None: those of the model, so that
        wavevectors are as in phonopy.
    direction : array-like of shape (3,), default=None
        Direction from which the zone centre of a polar crystal is approached, in units
        of the reciprocal lattice as `qpoints`: along it optical modes are longitudinal.
        None leaves its macroscopic field out.
    least_strength : float, default=0.05
        Branches of less than this share of the strongest structure factor at their Q
        are not seen. None: all are seen alike, for wavevectors in the first zone.
    labels : sequence of str, default=None
        Names of the energies in tables. None makes them of wavevector and branch.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import PhononEnergies
    >>> model = load_aluminium_model()
    >>> table = PhononEnergies(
    ...     model, [[2, 0, 1], [2.5, 0, 0]], [24.0, 28.0], 0.2, lattice=4.05 * np.eye(3)
    ... )
    >>> table.assigned_modes(model.reference)
    array([0, 2])
    """

    qpoints: Array
    energies: Array
    std: Array
    _: KW_ONLY
    modes: Any = None
    lattice: Array | None = None
    direction: Array | None = None
    least_strength: float | None = 0.05
    labels: Any = None

    def _settle(self) -> None:
        energies, errors = measured_values(self.energies, self.std, "energies")
        qpoints = np.atleast_2d(np.asarray(self.qpoints, dtype=float))
        shape = len(energies), 3
        if qpoints.shape != shape or not np.isfinite(qpoints).all():
            bad = ~np.isfinite(qpoints).all(axis=-1)
            got = f"shape {np.shape(self.qpoints)}"
            if qpoints.shape == shape:
                got = f"{qpoints[bad.argmax()].tolist()} in row {bad.argmax()}"
            raise ValueError(
                f"qpoints must be finite and of shape {shape}, h, k and l of each "
                f"energy; got {got}. Repeat a wavevector for each of its energies."
            )
        if not (energies > 0).all():
            raise ValueError(
                f"energies must be above 0 meV, got {energies.min():g} in row "
                f"{energies.argmin()}. Give energies of neutron energy gain without "
                "their sign, and leave those of 0 out."
            )
        for name, size in (("lattice", (3, 3)), ("direction", (3,))):
            given = getattr(self, name)
            if given is not None:
                array = read_only(given)
                if array.shape != size or not np.isfinite(array).all():
                    raise ValueError(
                        f"{name} must be finite and have shape {size}, got "
                        f"{array.tolist()}."
                    )
                self._keep(**{name: array})
        if self.direction is not None and not np.any(self.direction):
            raise ValueError(
                "direction must not be zero: give that of the waves, or None."
            )
        share = self.least_strength
        if share is not None and not 0 <= share < 1:
            raise ValueError(
                f"least_strength must be a share from 0 to below 1, or None for "
                f"energies whose structure factor tells nothing; got {share!r}."
            )
        if self.labels is not None:
            labels = tuple(map(str, self.labels))
            if len(labels) != len(energies):
                raise ValueError(
                    f"labels must name {len(energies)} energies, got {len(labels)}."
                )
            self._keep(labels=labels)
        self._keep(qpoints=read_only(qpoints), energies=energies, std=errors)
        self._keep(modes=self._checked_modes())
        self._check_unit()

    def _check_unit(self) -> None:
        """Refuse energies that no phonon has."""
        row, least = int(self.energies.argmax()), 0.0
        largest = _largest_energy(self.model)
        found = float(self.energies[row])
        if found > _LARGEST:
            least, whose = _LARGEST, "any crystal has"
        elif found > _ABOVE * largest > 0:
            least, whose = largest, "the model has at its reference"
        if not least:
            return
        units = "1/cm", "K"
        if found > largest > 0:  # the likelier one first
            nearest = nearest_unit(found / largest, ENERGY_UNITS)
            units = ("K", "1/cm") if nearest == "K" else units
        advice = ", ".join(f"{u} is {1 / ENERGY_UNITS[u]:.5f} meV" for u in units)
        raise ValueError(
            f"energies must be in meV, got {found:g} in row {row}: the largest that "
            f"{whose} is about {least:.3g} meV. Convert them: {advice}."
        )

    def _checked_modes(self) -> NDArray[np.int_]:
        n_values, n_modes = len(self.energies), 3 * self.model.n_atoms
        if self._at_centre.any() and n_modes == _N_ACOUSTIC:
            raise ValueError(
                "A crystal of one atom a cell has no optical modes, and its others no "
                "energy at the zone centre; got one there in row "
                f"{self._at_centre.argmax()}. Check lattice and wavevectors."
            )
        given = self.modes
        if given is None or isinstance(given, str) or np.ndim(given) == 0:
            given = [given] * n_values
        if len(given) != n_values:
            raise ValueError(
                f"modes must be one for each of {n_values} energies, or one for all; "
                f"got {len(given)}."
            )
        numbers = np.array([_number_of(each) for each in given])
        good = np.isin(numbers, np.r_[_UNKNOWN, :n_modes])
        if not good.all():
            row = int(np.argmin(good))
            first = list(given)[row]
            first = first.item() if isinstance(first, np.generic) else first
            raise ValueError(
                f"modes must be numbers of branches from 0 to {n_modes - 1}, or None "
                f"where not known; got {first!r} in row {row}. "
                + _advice_on_modes(numbers, n_modes)
            )
        acoustic = self._at_centre & (numbers >= 0) & (numbers < _N_ACOUSTIC)
        if acoustic.any():
            raise ValueError(
                "The three lowest modes at the zone centre are acoustic, of energy 0: "
                f"modes must be above {_N_ACOUSTIC - 1} there, got "
                f"{numbers[acoustic][0]:g} in row {acoustic.argmax()}. Optical modes "
                f"have the numbers {_N_ACOUSTIC} to {n_modes - 1}."
            )
        return read_only(numbers, int)

    @classmethod
    def at_zone_centre(
        cls,
        model: Any,
        energies: ArrayLike,
        std: ArrayLike,
        modes: Any = None,
        *,
        direction: ArrayLike | None = None,
    ) -> Self:
        """Make energies of optical modes, as Raman and infrared spectra give them.

        Parameters
        ----------
        model : ForceConstantModel
            The crystal.
        energies : float or array-like of shape (n_values,)
            In meV; 1/cm are 0.12398 meV.
        std : float or array-like of shape (n_values,)
            Standard deviations in meV.
        modes : int or sequence of shape (n_values,), default=None
            Branch of each energy, 3 the lowest optical one. None: that of the nearest
            energy.
        direction : array-like of shape (3,), default=None
            Direction of the waves in a polar crystal, in units of its reciprocal
            lattice. None is without a macroscopic field, for transverse modes.

        Returns
        -------
        PhononEnergies
            At the zone centre.
        """
        found = np.atleast_1d(np.asarray(energies, dtype=float))
        centre: Any = np.zeros((found.size, 3))
        return cls(
            model,
            centre,
            found,
            std,  # type: ignore[arg-type]
            modes=modes,
            direction=direction,  # type: ignore[arg-type]
            least_strength=None,
        )

    @property
    def is_at_centre(self) -> bool:
        """Whether all energies are at the zone centre, as of Raman spectra."""
        return bool(self._at_centre.all())

    @property
    def share_in_first_zone(self) -> float:
        """Share of wavevectors in the first zone, of energies assigned by strength."""
        unknown = (self.modes == _UNKNOWN) & ~self._at_centre
        if self.least_strength is None or not unknown.any():
            return 0.0
        reciprocal = self.model.reciprocal_lattice()
        own = self._reduced[unknown] @ reciprocal
        around = (np.indices((3, 3, 3)).reshape(3, -1).T - 1) @ reciprocal
        away = np.linalg.norm(own[:, None] - around, axis=2)
        nearest = np.linalg.norm(own, axis=1) < (1 + _AT_CENTRE) * away.min(axis=1)
        return float(nearest.mean())

    @property
    def measured(self) -> Array:
        """Measured energies in meV, shape (n_values,)."""
        return self.energies

    @property
    def errors(self) -> Array:
        """Standard deviations in meV, shape (n_values,)."""
        return self.std

    @property
    def quantities(self) -> list[str]:
        """Names of the energies."""
        return self.places if self.labels is None else list(self.labels)

    @property
    def places(self) -> list[str]:
        """Wavevectors and branches of the energies, whatever their labels."""
        return [
            f"E({', '.join(f'{x:g}' for x in q)})"
            + (f" branch {mode}" if mode != _UNKNOWN else "")
            + " (meV)"
            for q, mode in zip(self.qpoints, self.modes, strict=True)
        ]

    def calculate(self, parameters: ArrayLike) -> tuple[Array, Array]:
        """Return energies in meV, and their derivatives.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.

        Returns
        -------
        values : ndarray of shape (n_values,)
            In meV, negative where a branch is unstable.
        slopes : ndarray of shape (n_values, n_parameters)
            Their derivatives with the parameters.
        """
        if (self.modes != _UNKNOWN).all():
            found, own = self._found(self._row(parameters)), np.arange(self.n_values)
            return found.energies[own, self.modes], found.slopes[own, self.modes]
        branches = self.branches(parameters)
        return branches.chosen(self._assign(branches, None)[0])

    def settled(
        self, parameters: ArrayLike, covariance: ArrayLike | None = None
    ) -> Observable:
        """Return these energies with their branches held fixed.

        Where several branches are possible, their mean by probability stands for them,
        and their spread adds to the error.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.
        covariance : array-like of shape (n_parameters, n_parameters), default=None
            How well these are known; None: exactly.

        Returns
        -------
        Observable
            To be fitted from these parameters on.
        """
        if (self.modes != _UNKNOWN).all():
            return self
        shares, widths = self._assign(self.branches(parameters), covariance)
        return _SettledEnergies(self.model, self, shares, widths)

    def assigned_modes(
        self, parameters: ArrayLike, covariance: ArrayLike | None = None
    ) -> NDArray[np.int_]:
        """Return the branch of each energy, as given or as assigned.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.
        covariance : array-like of shape (n_parameters, n_parameters), default=None
            How well these are known; None: exactly.

        Returns
        -------
        ndarray of int of shape (n_values,)
            Numbers from 0, the first of degenerate branches.
        """
        shares, _ = self._assign(self.branches(parameters), covariance)
        return shares.argmax(axis=1)

    def mistaken(
        self, parameters: ArrayLike, covariance: ArrayLike | None = None
    ) -> Array:
        """Return how far energies with labels are from the nearest other branch.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.
        covariance : array-like of shape (n_parameters, n_parameters), default=None
            How well these are known; None: exactly.

        Returns
        -------
        ndarray of shape (n_values,)
            In standard deviations; infinite for energies without a label.
        """
        found = self._found(self._row(parameters))
        away = np.abs(found.energies - self.energies[:, None])
        away /= np.sqrt(self._variances(found, covariance))
        numbers = np.arange(len(away))
        away[found.near[numbers, self.modes]] = np.inf
        return np.where(self.modes == _UNKNOWN, np.inf, away.min(axis=1))

    def unit_doubt(self, parameters: ArrayLike) -> str:
        """Return a sentence on energies that seem to be in another unit than meV.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2, of a crystal that is about right.

        Returns
        -------
        str
            Empty where nothing speaks for it.
        """
        branches = self.branches(parameters)
        energies, possible = branches.found.energies, self.seen(branches)
        known = np.flatnonzero(self.modes != _UNKNOWN)
        possible[known] = np.eye(energies.shape[1], dtype=bool)[self.modes[known]]
        calculated = np.where(possible & (energies > 0), energies, np.nan)
        ratios = self.energies[:, None] / calculated
        return unit_doubt(ratios, ENERGY_UNITS, _UNITS_ALIKE, "Energies", "meV")

    def branches(self, parameters: ArrayLike) -> Branches:
        """Return energies and strengths of all branches at the wavevectors.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.

        Returns
        -------
        Branches
            `found` with energies and slopes; `strengths` of shape (n_values, n_modes),
            the shares of the structure factor at each wavevector.
        """
        found = self._found(self._row(parameters))
        amplitudes = (self._amplitudes[:, None] @ found.vectors)[:, 0]
        strengths = found.mean_of_degenerate(np.abs(amplitudes) ** 2)
        total = strengths.sum(axis=1, keepdims=True)
        even = np.full_like(strengths, 1 / strengths.shape[1])
        shares = np.where(total > 0, strengths / np.where(total > 0, total, 1), even)
        return Branches(found, shares)

    def seen(self, branches: Branches) -> NDArray[np.bool_]:
        """Tell which branches may be seen at their wavevectors.

        Parameters
        ----------
        branches : Branches
            As from :meth:`branches`.

        Returns
        -------
        ndarray of bool of shape (n_values, n_modes)
            At least one of each wavevector.
        """
        seen = np.ones(branches.strengths.shape, dtype=bool)
        if self.least_strength is not None:
            of_level = branches.strengths * branches.found.near.sum(axis=2)
            strongest = of_level.max(axis=1, keepdims=True)
            seen = of_level >= self.least_strength * strongest
        acoustic = np.argsort(np.abs(branches.found.energies), axis=1)[:, :_N_ACOUSTIC]
        rows = np.flatnonzero(self._at_centre)
        seen[rows[:, None], acoustic[rows]] = False
        seen[rows] |= ~seen[rows].any(axis=1, keepdims=True)
        return seen

    def _assign(
        self, branches: Branches, covariance: ArrayLike | None
    ) -> tuple[Array, Array]:
        """Return shares of branches (n_values, n_modes) and errors (n_values,)."""
        energies = branches.found.energies
        variance = self._variances(branches.found, covariance)
        log = -((energies - self.energies[:, None]) ** 2) / (2 * variance)
        log = log - np.log(variance) / 2
        if self.least_strength is not None:
            log = log + np.log(np.maximum(branches.strengths, _FAINT))
        log = np.where(self.seen(branches), log, -np.inf)
        shares = np.exp(log - log.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        known = np.flatnonzero(self.modes != _UNKNOWN)
        shares[known] = np.eye(shares.shape[1])[self.modes[known]]
        means = (shares * energies).sum(axis=1, keepdims=True)
        spread = (shares * (energies - means) ** 2).sum(axis=1)
        return shares, np.sqrt(self.std**2 + spread)

    def _found(self, row: Array) -> ModeEnergies:
        matrices = np.tensordot(row, self._basis, axes=1)
        if self._offset is not None:
            matrices = matrices + self._offset
        return mode_energies(matrices, self._basis)

    def _variances(self, found: ModeEnergies, covariance: ArrayLike | None) -> Array:
        """Return those of measured less calculated energies, (n_values, n_modes)."""
        variances = np.broadcast_to(self.std[:, None] ** 2, found.energies.shape)
        if covariance is None:
            return variances
        spread = found.slopes @ np.asarray(covariance, dtype=float)
        return variances + (spread * found.slopes).sum(axis=2)

    @cached_property
    def _reduced(self) -> Array:
        """Wavevectors in units of the reciprocal lattice of the model."""
        return self.qpoints @ np.linalg.inv(self._multiple).T

    @cached_property
    def _multiple(self) -> Array:
        """The lattice in units of that of the model, integers in rows."""
        if self.lattice is None:
            return np.eye(3)
        own = self.model.cell.cell
        multiple = np.rint(self.lattice @ np.linalg.inv(own))
        misfit = np.linalg.norm(self.lattice - multiple @ own, axis=1)
        lengths = np.linalg.norm(self.lattice, axis=1)
        volume = abs(np.linalg.det(multiple))
        if (misfit > _ALIKE * lengths).any() or volume < 0.5:
            raise ValueError(
                "lattice must be that of the model or a multiple of it, within 5 % and "
                f"in the same Cartesian axes; got {self.lattice.tolist()} for a model "
                f"with {own.tolist()}. Turn the one into the axes of the other."
            )
        if (misfit > _OTHER * lengths).any():
            warn_user(
                f"lattice is {(misfit / lengths).max():.1%} off that of the model: "
                "wavevectors h, k, l are taken for the same ones of the model. Check "
                "that both are of this material and temperature; a model takes another "
                "one by model.replace(lattice=...).",
                UserWarning,
            )
        return multiple

    @cached_property
    def _shifts(self) -> Array:
        """Reciprocal lattice vectors G of Q = q + G."""
        return np.rint(self._reduced)

    @cached_property
    def _at_centre(self) -> NDArray[np.bool_]:
        away = np.abs(self._reduced - self._shifts).max(axis=1)
        return np.asarray(away < _AT_CENTRE)

    @cached_property
    def _wavevectors(self) -> Array:
        """Wavevectors q, Cartesian, in 1/Angstrom."""
        within = np.where(self._at_centre[:, None], 0.0, self._reduced - self._shifts)
        return within @ self.model.reciprocal_lattice()

    @cached_property
    def _basis(self) -> NDArray:
        return self.model.dynamical_matrix_basis(self._wavevectors)

    @cached_property
    def _offset(self) -> NDArray | None:
        offset = self.model.dynamical_matrix_offset(self._wavevectors)
        if offset is None or self.direction is None or not self._at_centre.any():
            return offset
        reduced = self.direction @ np.linalg.inv(self._multiple).T
        along = (reduced @ self.model.reciprocal_lattice())[None]
        offset = np.array(offset)
        offset[self._at_centre] += self.model.non_analytic_term(along)
        return offset

    @cached_property
    def _amplitudes(self) -> NDArray:
        """Amplitudes of atoms along each axis, (n_values, n_modes)."""
        model = self.model
        lengths = scattering_lengths(model.symbols).coherent_length
        phases = np.exp(-2j * np.pi * self._shifts @ model.cell.scaled_positions.T)
        amplitudes = lengths / np.sqrt(model.atomic_masses) * phases
        q_vectors = self._reduced @ model.reciprocal_lattice()
        both = amplitudes[:, :, None] * q_vectors[:, None]
        return both.reshape(len(both), -1)


def _number_of(given: Any) -> float:
    """Return the number of a mode, that of an unknown one, or NaN of what is none."""
    if given is None or given is pd.NA:
        return _UNKNOWN
    try:
        number = float(given)
    except (TypeError, ValueError):
        return np.nan
    return _UNKNOWN if np.isnan(number) else number


def _advice_on_modes(numbers: Array, n_modes: int) -> str:
    known = numbers[numbers != _UNKNOWN]
    if np.isin(known, np.arange(1, n_modes + 1)).all():
        return "These seem to count from 1: subtract 1."
    advice = "Count branches by energy at each wavevector, from 0."
    if np.isnan(known).any():
        advice += (
            " A name such as TA tells no number: of one atom a cell, transverse "
            "branches are 0 and 1 and the longitudinal one is 2 along most directions."
        )
    return advice


def _largest_energy(model: Any) -> float:
    """Return about the largest energy of a model, 0 where it has no reference."""
    if model.reference is None:
        return 0.0
    points = 0.5 * np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]])
    return float(model.frequencies(model.reference, points).max())


@immutable
class _SettledEnergies(Observable):
    """Energies of branches held fixed."""

    source: PhononEnergies
    shares: Array  # (n_values, n_modes), of the branches in each energy
    widths: Array  # errors with the spread of the branches that are possible

    @property
    def measured(self) -> Array:
        return self.source.measured

    @property
    def errors(self) -> Array:
        return self.widths

    @property
    def quantities(self) -> list[str]:
        return self.source.quantities

    def calculate(self, parameters: ArrayLike) -> tuple[Array, Array]:
        return self.source.branches(parameters).chosen(self.shares)
