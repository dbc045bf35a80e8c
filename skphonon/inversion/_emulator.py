"""Stand-ins for a simulator or model, where inverters are given none."""

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

__all__ = ["Emulator", "LogPlane"]


class Emulator:
    """A regressor from parameters to spectra, in the place of a simulator."""

    def __init__(self, regressor):
        if regressor is None:
            self.regressor = make_pipeline(
                StandardScaler(), PolynomialFeatures(2, include_bias=False), Ridge(1e-3)
            )
        else:
            self.regressor = clone(regressor)

    def fit(self, parameters, spectra):
        """Learn pixels that any spectrum measured, gaps filled with their mean."""
        measured = np.isfinite(spectra)
        self.visible = measured.any(axis=0)
        spectra, measured = spectra[:, self.visible], measured[:, self.visible]
        if not measured.all():
            means = np.nanmean(spectra, axis=0)
            spectra = np.where(measured, spectra, means)
        self.regressor.fit(parameters, spectra)
        return self

    def simulate(self, parameters):
        """Return spectra of shape (n_samples, n_pixels), NaN where never measured."""
        spectra = np.full((len(parameters), self.visible.size), np.nan)
        predicted = self.regressor.predict(parameters)
        spectra[:, self.visible] = predicted.reshape(len(parameters), -1)
        return spectra


class LogPlane:
    """The exponential of a plane, in coordinates scaled by those of some pixels."""

    def __init__(self, X):
        self.center, spread = X.mean(axis=0), X.std(axis=0)
        self.spread = np.where(spread > 0, spread, 1.0)
        self.parameter_names = [f"slope {n}" for n in range(X.shape[1])]
        self.reference = np.zeros(X.shape[1])
        self.bounds_ = np.outer([-3.0, 3.0], np.ones(X.shape[1]))

    def simulate_at(self, coordinates, parameters):
        """Return intensities of shape (n_samples, n_pixels)."""
        return np.exp(parameters @ self._scaled(coordinates).T)

    def jacobian_at(self, coordinates, parameters, return_spectra=False):
        """Return derivatives, and intensities if asked."""
        spectra = self.simulate_at(coordinates, parameters)
        slopes = spectra[..., None] * self._scaled(coordinates)
        return (slopes, spectra) if return_spectra else slopes

    def _scaled(self, coordinates):
        return (coordinates - self.center) / self.spread
