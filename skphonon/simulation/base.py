"""The simulators' common part: how spectra and their derivatives are asked for."""

from collections.abc import Mapping

import numpy as np

from skphonon._validation import (
    check_parameters,
    check_parts,
    parameter_rows,
    reference_row,
)
from skphonon._versioned import VersionedEstimator
from skphonon.instrument.measurement import simulator_settings
from skphonon.instrument.nuisance import check_derivatives, range_table, value_table
from skphonon.physics.stability import searching
from skphonon.simulation._grid_cells import warn_of_cell
from skphonon.simulation._plausible import warn_of_elastic_line, warn_of_energies
from skphonon.simulation._simulator_html import html_of_simulator
from skphonon.simulation.scattering import as_scattering

__all__ = ["ModelSimulator", "PhononSimulator", "Simulator"]

_STEP = 1e-3  # of the resolution in Q, in its derivative


class Simulator(VersionedEstimator):
    """Base of what takes parameter sets to rows of spectra.

    Subclasses have `parameter_names`, `reference` and `nuisance_names`. Their `_asked`
    checks a call and returns the parameter sets and all else that `_simulate` and
    `_differentiate` take.
    """

    def simulate(self, parameters, *, nuisance=None, nuisance_ranges=None):
        r"""Simulate spectra.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets, in the order of `parameter_names` and the unit of
            `reference`.
        nuisance : dict, default=None
            Conditions that differ from those of the simulator: from some of
            `nuisance_names`, which the notes on the class explain, to a number or an
            array of shape (n_samples,).
        nuisance_ranges : dict, default=None
            From some of these names to pairs of the least and the largest value to
            prepare for; None takes what the values span. Calls with the same ranges
            share what is prepared, and a spectrum is the same in all of them.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            S or :math:`\chi''` in the units of the simulator, averaged over each pixel;
            NaN where the mask of the grid says that nothing was measured.

        Raises
        ------
        ValueError
            If a setting is out of range or does not fit the others, the number of
            parameters is wrong or one is not finite; if a nuisance is unknown, out of
            range or of another shape.
        """
        return self._simulate(*self._asked(parameters, nuisance, nuisance_ranges))

    def jacobian(
        self, parameters, *, nuisance=(), nuisance_ranges=None, return_spectra=False
    ):
        """Return derivatives of the spectra.

        They are exact, where modes are degenerate, too. Only those with the resolution
        in Q of a single crystal or a magnet are central differences. Where a mode is
        about to become unstable there is no derivative.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets, as for :meth:`simulate`.
        nuisance : sequence of str or dict, default=()
            Names of further conditions to differentiate with. A dict holds the values
            at which to do so, as for :meth:`simulate`.
        nuisance_ranges : dict, default=None
            As for :meth:`simulate`.
        return_spectra : bool, default=False
            Whether to return the spectra as well, which cost nothing more.

        Returns
        -------
        jacobian : ndarray of shape (n_samples, n_pixels, n_parameters + n_nuisance)
            Derivatives in the order of the parameters and then of `nuisance`; NaN
            where nothing was measured.
        spectra : ndarray of shape (n_samples, n_pixels)
            As from :meth:`simulate`; only if `return_spectra`.

        Raises
        ------
        ValueError
            As from :meth:`simulate`, or if a resolution is zero and `nuisance` names
            what has no derivative then.
        """
        names = (nuisance,) if isinstance(nuisance, str) else tuple(nuisance or ())
        values = nuisance if isinstance(nuisance, Mapping) else None
        asked = self._asked(parameters, values, nuisance_ranges, names)
        changes, spectra = self._differentiate(names, *asked)
        return (changes, spectra) if return_spectra else changes

    def _asked(self, parameters, nuisance=None, nuisance_ranges=None, names=()):
        raise NotImplementedError

    def _simulate(self, rows, *conditions):
        raise NotImplementedError

    def _differentiate(self, names, rows, *conditions):
        """Return derivatives with the parameters and then `names`, and spectra."""
        raise NotImplementedError


class ModelSimulator(Simulator):
    """Base of simulators that take parameters to a `model` and that to a `grid`.

    Subclasses name their nuisances in `_nuisances`. The conditions of their hooks are
    tables of all nuisances, (n_samples, n_nuisances), and of their ranges.
    """

    _of_a_powder = False  # or of wavevectors with a direction

    @classmethod
    def from_measurement(cls, model, measurement, **settings):
        """Make the simulator that records what was measured.

        Grid, quantity, temperature and energy resolution are those of the measurement,
        as far as this simulator has them. Several phonons at once, which the spectrum
        of every powder shows, are simulated as far as they are seen.

        Parameters
        ----------
        model : object
            The crystal and its named parameters.
        measurement : Measurement
            Of one spectrum, or of several at one temperature.
        **settings
            Further parameters of the constructor. What is given here comes before what
            the measurement says, and is needed for what it does not.

        Returns
        -------
        object
            The simulator.

        Raises
        ------
        ValueError
            If the measurement lacks what is not given, has several temperatures, or no
            grid yet; or if the lattice of its grid does not fit the model.

        Warns
        -----
        MeasurementWarning
            If the energies of a powder look like those of another unit, or its images
            transposed: the profile of intensity in energy tells. If the grid of a
            crystal tells no lattice and the model has a primitive cell, or a lattice
            with edges more than 3 % away from the model's.
        """
        given = simulator_settings(measurement, cls, settings)
        simulator = cls(model, given.pop("grid", measurement.grid), **given)
        simulator._take_what_is_implied()
        warn_of_cell(simulator)
        warn_of_elastic_line(simulator, measurement)
        warn_of_energies(simulator, measurement)
        return simulator

    def _take_what_is_implied(self):
        """Set what a measurement implies and nobody gave."""

    def _repr_mimebundle_(self, **options):
        """Return what notebooks show: facts, and the spectrum of the reference."""
        return {"text/plain": repr(self), "text/html": html_of_simulator(self)}

    @property
    def _repr_html_(self):
        return lambda: html_of_simulator(self)

    @property
    def parameter_names(self):
        """Names of the parameters, in order, as the model has them."""
        return self.model.parameter_names

    @property
    def reference(self):
        """Reference values of the parameters, in the unit of the model."""
        return reference_row(self.model)

    @property
    def nuisance_names(self):
        """Names of what may differ between spectra besides the parameters."""
        return list(self._nuisances)

    @property
    def nuisance_reference(self):
        """Values of what `nuisance_names` names, where nothing else is asked for."""
        return self._values_of(self._nuisances)

    def simulate_tensor(self, parameters):
        """Simulate spectra as part of a torch computation.

        Gradients flow back to the parameters through `gradient`, or :meth:`jacobian`
        of simulators without it; second derivatives do not exist.

        Parameters
        ----------
        parameters : Tensor of shape (n_samples, n_parameters)
            Parameter sets, in the unit of the model.

        Returns
        -------
        Tensor of shape (n_samples, n_pixels)
            As from :meth:`simulate`, in the type and on the device of `parameters`.
            Leave out the NaN before anything is summed:
            ``spectra[:, grid.mask.ravel()]``.
        """
        # torch takes seconds to import: only those who simulate wait for it
        from skphonon.simulation._autograd import Simulation

        return Simulation.apply(parameters, self)

    def is_stable(self, parameters):
        """Tell whether the model is stable, as its own `is_stable` does.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets, in the unit of the model.

        Returns
        -------
        ndarray of shape (n_samples,), bool
            False where an energy is imaginary.
        """
        return self.model.is_stable(parameters)

    def _values_of(self, names):
        """Return values of nuisances: those of settings, or what changes nothing."""
        values = {name: 1.0 if name.endswith("_scale") else 0.0 for name in names}
        for name in values.keys() & {"energy_resolution", "q_resolution"}:
            width = getattr(self, name)
            width = getattr(width, "width", width)  # of a QResolution
            # a factor where the setting is not one number
            values[name] = 1.0 if callable(width) or np.ndim(width) else width
        for name, part in (
            ("temperature", self),
            ("incident_energy", self.grid),
            ("renormalization", self.model),
        ):
            if name in values:
                values[name] = getattr(part, name)
        return np.array([*values.values()], dtype=float)

    def _asked(self, parameters, nuisance=None, nuisance_ranges=None, names=()):
        """Return parameter sets, values of all nuisances, and ranges of those.

        Derivatives with the nuisances named must exist.
        """
        check_parameters(self)
        check_parts(self)
        of_a_powder = hasattr(self.grid, "q") or hasattr(self.grid, "moduli")
        if of_a_powder is not self._of_a_powder:
            wanted = (
                "SpectrumGrid or AngleGrid"
                if self._of_a_powder
                else "CrystalGrid or PathGrid"
            )
            raise ValueError(
                f"grid of {type(self).__name__} must be a {wanted}, got a "
                f"{type(self.grid).__name__}."
            )
        rows = parameter_rows(parameters, self.parameter_names)
        known = self._nuisances
        table = value_table(self._values_of(known), nuisance or {}, len(rows), known)
        ranges = range_table(table, nuisance_ranges or {}, known)
        if names:
            check_derivatives(names, table, known)
        return rows, table, ranges

    def _with_q_differences(self, names, rows, table, ranges, differentiate):
        """Return derivatives and spectra, those with the resolution in Q by difference.

        All others come from `differentiate`, which is given their names.
        """
        exact = tuple(name for name in names if name != "q_resolution")
        changes, spectra = differentiate(exact)
        if exact == names:
            return changes, spectra
        column = self._nuisances.index("q_resolution")
        step = _STEP * table[:, column]
        ends = []
        for sign in (1, -1):
            moved = table.copy()
            moved[:, column] += sign * step
            with searching():  # what there is to say of the sets is said
                ends.append(self._simulate(rows, moved, ranges))
        # even in the width: no change about zero
        change = np.subtract(*ends) / np.where(step > 0, 2 * step, 1.0)[:, None]
        place = rows.shape[1] + names.index("q_resolution")
        return np.insert(changes, place, change, axis=2), spectra


class PhononSimulator(ModelSimulator):
    """Base of simulators of phonons, which also go backwards.

    They have a `scattering`.
    """

    _shortcuts = {"scattering": as_scattering}

    def gradient(self, parameters, slopes, *, nuisance=None, nuisance_ranges=None):
        """Return gradients of scalars that depend on spectra.

        They are exact, and cost a few spectra for any number of parameters: the way to
        go where a model has hundreds of them, and :meth:`jacobian` is large.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        slopes : array-like of shape (n_samples, n_pixels)
            Derivative of the scalar of each sample with each pixel of its spectrum;
            what was not measured does not count.
        nuisance, nuisance_ranges : dict, default=None
            As for :meth:`simulate`.

        Returns
        -------
        ndarray of shape (n_samples, n_parameters)
            Derivatives of the scalars with the parameters.

        Raises
        ------
        ValueError
            As from :meth:`simulate`, or if `slopes` has another shape.
        """
        rows, *conditions = self._asked(parameters, nuisance, nuisance_ranges)
        slopes = np.atleast_2d(np.asarray(slopes, dtype=float))
        if slopes.shape != (len(rows), self.grid.n_pixels):
            raise ValueError(
                f"slopes must have shape {(len(rows), self.grid.n_pixels)}, one row a "
                f"parameter set and one column a pixel; got {slopes.shape}."
            )
        return self._backwards(slopes, rows, *conditions)

    def _backwards(self, slopes, rows, table, ranges):
        raise NotImplementedError
