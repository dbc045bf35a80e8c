"""What inverters search where they are given spectra and no simulator."""

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

__all__ = ["Emulator"]


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
