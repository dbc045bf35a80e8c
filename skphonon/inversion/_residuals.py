r"""A row of spectra and its simulation: residuals, derivatives, what enters linearly.

Contributions of unknown weight, a background among them, enter a spectrum linearly.
For every set of the other parameters their best weights are known in closed form, so
that only the others have to be searched for: variable projection (Golub and Pereyra,
doi:10.1137/0710036), with the derivative as Kaufman simplified it
(doi:10.1007/BF01932995). Its gradient is exact, because what it leaves out of the
derivative of the residuals is perpendicular to them.
"""

from typing import NamedTuple

import numpy as np

from skphonon.preprocessing import normalize

__all__ = ["Evaluation", "Problem"]

_ALIKE = 1e-10  # columns that differ by less, of their length, are one


class Evaluation(NamedTuple):
    """Residuals at some parameters, in units of the spread of the spectra."""

    residual: np.ndarray  # (n_pixels,)
    derivative: np.ndarray  # (n_pixels, n_parameters)
    weights: np.ndarray  # of each part: its contributions, then its background
    n_fitted: int  # of the weights


class Problem:
    """Residuals of one row of spectra as a function of what is not linear.

    Parameters
    ----------
    spectra : ndarray of shape (n_pixels,)
        Measured, where they and the simulation are: one spectrum or several.
    model : callable
        From parameters to contributions (n_contributions, n_pixels) and their
        derivatives (n_contributions, n_pixels, n_parameters).
    backgrounds : list of ndarray of shape (n_pixels_of_part, n_terms), or None
        Terms of free weight, a part having its own. None: neither a background nor a
        free scale; spectrum and simulation are normalised, each by its own mean and
        range.
    parts : list of slice, default=None
        Pixels of each spectrum; None: there is one.
    weight : ndarray of shape (n_pixels,), default=None
        Of each residual; None: all equal.
    free_scale : bool, default=True
        Whether the first contribution has a weight of its own, or 1.

    Attributes
    ----------
    unit : float
        What residuals are divided by: spectra that are explained by their (weighted)
        means alone have a sum of squares of one.
    n_evaluations : int
        Simulations so far.
    """

    def __init__(
        self, spectra, model, backgrounds, parts=None, weight=None, free_scale=True
    ):
        self.model, self.backgrounds, self.free_scale = model, backgrounds, free_scale
        self.spectra = spectra
        self.parts = [slice(0, len(spectra))] if parts is None else parts
        self.weight = np.ones(len(spectra)) if weight is None else weight
        self.unit = np.sqrt(sum(self._contrast(part) for part in self.parts))
        self.n_evaluations = 0
        self._seen = None, None
        self._projections = None  # of the backgrounds, made once

    def reweighted(self, weight):
        """Return the same problem with other weights."""
        problem = Problem(
            self.spectra,
            self.model,
            self.backgrounds,
            self.parts,
            weight,
            self.free_scale,
        )
        problem.n_evaluations = self.n_evaluations
        return problem

    def of(self, model):
        """Return the same problem of another model, none of it simulated yet."""
        return Problem(
            self.spectra,
            model,
            self.backgrounds,
            self.parts,
            self.weight,
            self.free_scale,
        )

    def __call__(self, parameters):
        """Return the Evaluation at some parameters; the latest is remembered."""
        seen, evaluation = self._seen
        if seen is None or not np.array_equal(seen, parameters):
            self.n_evaluations += 1
            evaluation = self.compare(*self.model(parameters))
            self._seen = np.array(parameters), evaluation
        return evaluation

    def compare(self, contributions, derivatives):
        """Return the Evaluation of what a model gave, or of a part of its columns."""
        if self.backgrounds is None:
            return self._normalised(contributions, derivatives)
        if self._projections is None:
            self._projections = [
                _Projection((terms.T * self.weight[part]).T)
                for part, terms in zip(self.parts, self.backgrounds, strict=True)
            ]
        found = [
            self._project(
                part, projection, contributions[:, part], derivatives[:, part]
            )
            for part, projection in zip(self.parts, self._projections, strict=True)
        ]
        residual, derivative, weights, n_fitted = zip(*found, strict=True)
        return Evaluation(
            np.concatenate(residual) / self.unit,
            np.concatenate(derivative) / self.unit,
            np.stack(weights),
            sum(n_fitted),
        )

    def _contrast(self, part):
        """Return the weighted sum of squares about the mean."""
        square, spectrum = self.weight[part] ** 2, self.spectra[part]
        if not square.size:
            return 0.0
        return square @ (spectrum - square @ spectrum / square.sum()) ** 2

    def _normalised(self, contributions, derivatives):
        """Compare spectra that are normalised alike, weights being equal."""
        (b,), (db,) = contributions, derivatives
        a = normalize(self.spectra[None])[0]
        shown = normalize(b[None], constant_to_zero=True)[0]
        size = np.ptp(b) or 1.0
        db = db - db.mean(axis=0)
        change = db[b.argmax()] - db[b.argmin()]
        db = (db - np.outer(shown, change)) / size
        unit = np.sqrt(a @ a)
        weights = np.array([[1 / size]])
        return Evaluation((shown - a) / unit, db / unit, weights, 2)

    def _project(self, part, background, contributions, derivatives):
        """Take out what weights of the contributions and background can explain."""
        weight = self.weight[part]
        given, target = contributions.T * weight[:, None], self.spectra[part] * weight
        n_spectra = given.shape[1]
        weights, free = np.zeros(n_spectra), np.ones(n_spectra, dtype=bool)
        if not self.free_scale:
            weights[0], free[0] = 1.0, False
            target = target - given[:, 0]
        columns, left = background.rest(given), background.rest(target)
        sizes = np.linalg.norm(given, axis=0)
        columns[:, np.linalg.norm(columns, axis=0) <= _ALIKE * sizes] = 0.0
        while True:
            explained = _Projection(columns[:, free])
            weights[free] = explained.weights(left)
            negative = free & (weights < 0)
            if not negative.any():
                break
            # intensities are never turned upside down
            turned = np.where(negative, weights, 0).argmin()
            weights[turned], free[turned] = 0.0, False
        derivative = np.tensordot(weights, derivatives, 1) * weight[:, None]
        derivative = explained.rest(background.rest(derivative))
        residual = columns[:, free] @ weights[free] - left
        of_terms = background.weights(target - given[:, free] @ weights[free])
        weights = np.append(weights, of_terms)
        if not len(target):  # not measured in this row
            return residual, derivative, np.full(len(weights), np.nan), 0
        return residual, derivative, weights, len(weights) - (not self.free_scale)


class _Projection:
    """An orthogonal basis of columns, and the weights of these that come closest."""

    def __init__(self, columns):
        sizes = np.linalg.norm(columns, axis=0)
        sizes[sizes == 0] = 1.0
        basis, strengths, turn = np.linalg.svd(columns / sizes, full_matrices=False)
        told = strengths > _ALIKE * strengths.max(initial=0)
        self._basis = basis[:, told]
        self._turn = (turn[told] / strengths[told, None] / sizes).T

    def weights(self, target):
        """Return the weights that bring a sum of the columns closest to a target."""
        return self._turn @ (self._basis.T @ target)

    def rest(self, values):
        """Return what no sum of the columns explains."""
        return values - self._basis @ (self._basis.T @ values)
