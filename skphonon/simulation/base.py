"""What the simulators of a model with named parameters have in common."""

from collections.abc import Mapping

import numpy as np

from skphonon._validation import check_parameters, parameter_rows, reference_row
from skphonon._versioned import VersionedEstimator
from skphonon.instrument.measurement import simulator_settings
from skphonon.instrument.nuisance import check_derivatives, range_table, value_table
from skphonon.simulation._plausible import warn_of_energies

__all__ = ["ModelSimulator"]

_STEP = 1e-3  # of the resolution in Q, in its derivative


class ModelSimulator(VersionedEstimator):
    """Base of simulators that take parameters to a model and spectra from it.

    Subclasses have a `model` and a `grid`, `_nuisances` that name what else may differ
    between the spectra of a call, `nuisance_reference`, `simulate` and `jacobian`.
    """

    _of_a_powder = False  # or of wavevectors with a direction

    @classmethod
    def from_measurement(cls, model, measurement, **settings):
        """Make the simulator that records what was measured.

        Grid, quantity, temperature and energy resolution are those of the measurement,
        as far as this simulator has them.

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
            grid yet.

        Warns
        -----
        MeasurementWarning
            If the energies of a powder look like those of another unit, or its images
            transposed: the profile of intensity in energy tells.
        """
        given = simulator_settings(measurement, cls, settings)
        simulator = cls(model, given.pop("grid", measurement.grid), **given)
        warn_of_energies(simulator, measurement)
        return simulator

    @property
    def parameter_names(self):
        """Names of the parameters, in order."""
        return self.model.parameter_names

    @property
    def reference(self):
        """Reference values of the parameters, in the unit of the model."""
        return reference_row(self.model)

    @property
    def nuisance_names(self):
        """What may differ between spectra besides the parameters."""
        return list(self._nuisances)

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

    def _asked(self, parameters, nuisance=None, nuisance_ranges=None):
        """Return parameter sets, values of all nuisances, and ranges of those."""
        check_parameters(self)
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
        names = self._nuisances
        table = value_table(self.nuisance_reference, nuisance or {}, len(rows), names)
        ranges = range_table(table, nuisance_ranges or {}, names)
        return rows, table, ranges

    def _checked_slopes(self, slopes, n_samples):
        """Return the derivatives with the pixels that a gradient starts from."""
        slopes = np.atleast_2d(np.asarray(slopes, dtype=float))
        if slopes.shape != (n_samples, self.grid.n_pixels):
            raise ValueError(
                f"slopes must have shape {(n_samples, self.grid.n_pixels)}, one row a "
                f"parameter set and one column a pixel; got {slopes.shape}."
            )
        return slopes

    def _asked_changes(self, parameters, nuisance, nuisance_ranges):
        """Return names to differentiate with, and what `_asked` returns."""
        names = (nuisance,) if isinstance(nuisance, str) else tuple(nuisance)
        values = nuisance if isinstance(nuisance, Mapping) else None
        rows, table, ranges = self._asked(parameters, values, nuisance_ranges)
        check_derivatives(names, table, self._nuisances)
        return names, rows, table, ranges

    def _with_q_change(self, changes, names, table, simulate):
        """Put differences with the resolution in Q in their place, if it is named.

        They are of what `simulate` makes of two tables of nuisances.
        """
        if "q_resolution" not in names:
            return changes
        column = self._nuisances.index("q_resolution")
        step = _STEP * table[:, column]
        ends = []
        for sign in (1, -1):
            moved = table.copy()
            moved[:, column] += sign * step
            ends.append(simulate(moved))
        change = np.subtract(*ends) / (2 * step[:, None])
        place = len(self.parameter_names) + names.index("q_resolution")
        return np.insert(changes, place, change, axis=2)
