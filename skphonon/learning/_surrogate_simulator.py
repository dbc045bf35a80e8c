"""Spectra of a trained surrogate, at any coordinates or the pixels of a simulator."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_array, check_is_fitted

from skphonon._validation import parameter_rows
from skphonon.learning._surrogate_extrapolation import scale, warn_of_box, warn_of_gaps
from skphonon.simulation.base import Simulator

__all__ = ["ROWS_AT_ONCE", "NetworkSimulator"]

ROWS_AT_ONCE = 1024  # pixels that stay in the cache of a processor


class NetworkSimulator(Simulator):
    """Base of surrogates: a simulator whose spectra come from a network, `net_`.

    Subclasses learn the network, the ranges of its inputs and the scale of its outputs.
    """

    net_: Any
    n_features_in_: int
    n_parameters_: int
    ranges_: NDArray[np.float64]
    target: str
    unit: float
    target_mean_: float
    target_scale_: float
    _anchors: NDArray[np.float64]
    _radius: float
    _simulated: dict[str, Any] | None = None  # facts of the simulator of fit_simulator

    def simulate_at(self, coordinates, parameters):
        """Return intensities at any coordinates.

        Parameters
        ----------
        coordinates : array-like of shape (n_pixels, n_coordinates)
            Coordinates of the pixels.
        parameters : array-like of shape (n_samples, n_parameters) or (n_parameters,)
            Parameter sets.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            In the unit of the training set.

        Warns
        -----
        ExtrapolationWarning
            If parameters lie outside the ranges of the training set, or coordinates far
            from all of it.
        """
        rows, coordinates = self._places(coordinates, parameters)
        self._warn_of_both(coordinates, rows)
        return self._evaluate(coordinates, rows, derivatives=False)[0]

    def jacobian_at(self, coordinates, parameters, return_spectra=False):
        """Return derivatives of intensities with the parameters, at any coordinates.

        Parameters
        ----------
        coordinates : array-like of shape (n_pixels, n_coordinates)
            As for :meth:`simulate_at`.
        parameters : array-like of shape (n_samples, n_parameters) or (n_parameters,)
            As for :meth:`simulate_at`.
        return_spectra : bool, default=False
            Whether to return intensities too.

        Returns
        -------
        derivatives : ndarray of shape (n_samples, n_pixels, n_parameters)
            Exact derivatives of the network.
        intensities : ndarray of shape (n_samples, n_pixels)
            Only with ``return_spectra=True``.

        Warns
        -----
        ExtrapolationWarning
            As from :meth:`simulate_at`.
        """
        rows, coordinates = self._places(coordinates, parameters)
        self._warn_of_both(coordinates, rows)
        spectra, derivatives = self._evaluate(coordinates, rows, derivatives=True)
        return (derivatives, spectra) if return_spectra else derivatives

    @property
    def parameter_names(self):
        """Names of the parameters, in the order of the columns."""
        check_is_fitted(self)
        if self._simulated is not None:
            return list(self._simulated["names"])
        names = getattr(self, "feature_names_in_", np.arange(self.n_features_in_))
        return [str(name) for name in names[self._n_coordinates :]]

    @property
    def reference(self):
        """Parameters to start from, an array of shape (n_parameters,)."""
        check_is_fitted(self)
        if self._simulated is not None:
            return self._simulated["reference"].copy()
        return self.bounds_.mean(axis=0)

    @property
    def grid(self):
        """Grid of the simulator of `fit_simulator`."""
        return self._learnt_from_simulator("grid")

    @property
    def bounds_(self):
        """Least and largest parameters, an array of shape (2, n_parameters)."""
        check_is_fitted(self)
        return self.ranges_[self._n_coordinates :].T

    @property
    def nuisance_names(self):
        """Conditions that may differ between spectra: none."""
        return []

    @property
    def _n_coordinates(self):
        return self.n_features_in_ - self.n_parameters_

    def _asked(self, parameters, nuisance=None, nuisance_ranges=None, names=()):
        self._learnt_from_simulator("visible")
        unknown = [*(nuisance or ()), *(nuisance_ranges or ()), *names]
        if unknown:
            raise ValueError(
                f"{type(self).__name__} varies only its parameters, got the nuisance "
                f"{', '.join(map(str, unknown))}. Make it a parameter in training."
            )
        rows = parameter_rows(parameters, self.parameter_names)
        self._warn_of(rows, self._n_coordinates)
        return (rows,)

    def _simulate(self, rows):
        return self._on_pixels(rows, derivatives=False)[0]

    def _differentiate(self, names, rows):
        return self._on_pixels(rows, derivatives=True)[::-1]

    def _on_pixels(self, rows, derivatives):
        """Return spectra and derivatives at the pixels of the simulator."""
        visible = self._learnt_from_simulator("visible")
        coordinates = self._learnt_from_simulator("coordinates")[visible]
        spectra, slopes = self._evaluate(coordinates, rows, derivatives)
        whole = np.full((len(rows), len(visible)), np.nan)
        whole[:, visible] = spectra
        if not derivatives:
            return whole, None
        derivative = np.full((*whole.shape, self.n_parameters_), np.nan)
        derivative[:, visible] = slopes
        return whole, derivative

    def _learnt_from_simulator(self, name):
        check_is_fitted(self)
        if self._simulated is None or self._simulated[name] is None:
            raise AttributeError(
                f"{type(self).__name__} has {name} of a simulator only after "
                "fit_simulator, and if the simulator has them; use simulate_at and "
                "jacobian_at."
            )
        return self._simulated[name]

    def _places(self, coordinates, parameters):
        check_is_fitted(self)
        rows = parameter_rows(parameters, self.parameter_names)
        coordinates = check_array(coordinates, dtype=np.float64)
        if coordinates.shape[1] != self._n_coordinates:
            raise ValueError(
                f"coordinates must have {self._n_coordinates} columns, as in training, "
                f"got {coordinates.shape[1]}."
            )
        return rows, coordinates

    def _evaluate(self, coordinates, rows, derivatives):
        """Return intensities and, if asked, derivatives at all pixels for each row."""
        n = self._n_coordinates
        places = scale(coordinates, self.ranges_[:n])
        scaled = scale(rows, self.ranges_[n:])
        network = self.net_.module_
        kind = {"dtype": torch.float32, "device": self.net_.device}
        blocks = torch.as_tensor(places, **kind).split(ROWS_AT_ONCE)
        outputs, slopes = [], []
        with torch.inference_mode():
            for row in torch.as_tensor(scaled, **kind):
                found = [network.along(block, row, derivatives) for block in blocks]
                outputs.append(torch.cat([value for value, _ in found]))
                if derivatives:
                    slopes.append(torch.cat([slope for _, slope in found]))
        spectra, by_output = self._intensity(
            torch.stack(outputs).cpu().double().numpy()
        )
        if not derivatives:
            return spectra, None
        widths = np.diff(self.ranges_[n:], axis=1).ravel()
        by_input = torch.stack(slopes).cpu().numpy()
        by_parameter = by_input * 2 / np.where(widths > 0, widths, 2)
        return spectra, by_output[..., None] * by_parameter

    def _intensity(self, outputs):
        """Return intensities, and their derivatives with the outputs of the network."""
        target = self.target_mean_ + self.target_scale_ * outputs
        slope = np.full_like(target, self.unit * self.target_scale_)
        if self.target == "linear":
            return self.unit * target, slope
        return self.unit * np.expm1(target), slope * np.exp(target)

    def _warn_of_both(self, coordinates, parameters):
        self._warn_of(coordinates, gaps_too=True)
        self._warn_of(parameters, self._n_coordinates)

    def _warn_of(self, values, first=0, gaps_too=False):
        """Warn of values in columns from `first`."""
        columns = slice(first, first + values.shape[1])
        names = [f"coordinate {n}" for n in range(self._n_coordinates)]
        names += [f"parameter {name}" for name in self.parameter_names]
        ranges = self.ranges_[columns]
        warn_of_box(values, ranges, names[columns])
        if gaps_too and self._n_coordinates:
            warn_of_gaps(values, ranges, self._anchors, self._radius)
