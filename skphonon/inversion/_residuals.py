r"""One spectrum and its simulation: residuals, derivatives, what enters linearly.

Contributions of unknown weight, a background among them, enter a spectrum linearly.
For every set of the other parameters their best weights are known in closed form, so
that only the others have to be searched for: variable projection (Golub and Pereyra,
doi:10.1137/0710036), with the derivative as Kaufman simplified it
(doi:10.1007/BF01932995). Its gradient is exact, because what it leaves out of the
derivative of the residuals is perpendicular to them.
"""

from typing import NamedTuple

import numpy as np

from skphonon.preprocessing import _normalize

__all__ = ["Evaluation", "Problem"]

_ALIKE = 1e-10  # columns that differ by less, of their length, are one


class Evaluation(NamedTuple):
    """Residuals at some parameters, in units of the spread of the spectrum."""

    residual: np.ndarray  # (n_pixels,)
    derivative: np.ndarray  # (n_pixels, n_parameters)
    weights: np.ndarray  # of the contributions, then of the background
    n_fitted: int  # of the weights


class Problem:
    """Residuals of one spectrum as a function of what is not linear.

    Parameters
    ----------
    spectrum : ndarray of shape (n_pixels,)
        Measured, where it and the simulation are.
    model : callable
        From parameters to contributions (n_contributions, n_pixels) and their
        derivatives (n_contributions, n_pixels, n_parameters).
    background : ndarray of shape (n_pixels, n_terms) or None
        Terms of free weight. None: neither a background nor a free scale; spectrum
        and simulation are normalised, each by its own mean and range.
    weight : ndarray of shape (n_pixels,), default=None
        Of each residual; None: all equal.
    free_scale : bool, default=True
        Whether the first contribution has a weight of its own, or 1.

    Attributes
    ----------
    unit : float
        What residuals are divided by: a spectrum that is explained by its (weighted)
        mean alone has a sum of squares of one.
    n_evaluations : int
        Simulations so far.
    """

    def __init__(self, spectrum, model, background, weight=None, free_scale=True):
        self.model, self.background, self.free_scale = model, background, free_scale
        self.spectrum = spectrum
        self.weight = np.ones(len(spectrum)) if weight is None else weight
        square = self.weight**2
        mean = square @ spectrum / square.sum()
        self.unit = np.sqrt(square @ (spectrum - mean) ** 2)
        self.n_evaluations = 0
        self._seen = None, None

    def reweighted(self, weight):
        """Return the same problem with other weights."""
        problem = Problem(
            self.spectrum, self.model, self.background, weight, self.free_scale
        )
        problem.n_evaluations = self.n_evaluations
        return problem

    def __call__(self, parameters):
        """Return the Evaluation at some parameters; the latest is remembered."""
        seen, evaluation = self._seen
        if seen is None or not np.array_equal(seen, parameters):
            self.n_evaluations += 1
            evaluate = self._compare if self.background is None else self._project
            evaluation = evaluate(*self.model(parameters))
            self._seen = np.array(parameters), evaluation
        return evaluation

    def _compare(self, contributions, derivatives):
        """Compare spectra that are normalised alike, weights being equal."""
        (b,), (db,) = contributions, derivatives
        a = _normalize(self.spectrum[None])[0]
        shown = _normalize(b[None], constant_to_zero=True)[0]
        size = np.ptp(b) or 1.0
        db = db - db.mean(axis=0)
        change = db[b.argmax()] - db[b.argmin()]
        db = (db - np.outer(shown, change)) / size
        unit = np.sqrt(a @ a)
        return Evaluation((shown - a) / unit, db / unit, np.array([1 / size]), 2)

    def _project(self, contributions, derivatives):
        """Take out what weights of the contributions and background can explain."""
        columns = (np.vstack([contributions, self.background.T]) * self.weight).T
        target = self.spectrum * self.weight
        n_spectra, weights = len(contributions), np.zeros(columns.shape[1])
        free = np.ones(len(weights), dtype=bool)
        if not self.free_scale:
            weights[0], free[0] = 1.0, False
            target = target - columns[:, 0]
        while True:
            basis, weights[free] = _solve(columns[:, free], target)
            negative = free[:n_spectra] & (weights[:n_spectra] < 0)
            if not negative.any():
                break
            # intensities are never turned upside down
            turned = np.where(negative, weights[:n_spectra], 0).argmin()
            weights[turned], free[turned] = 0.0, False
        derivative = np.tensordot(weights[:n_spectra], derivatives, 1)
        derivative = derivative * self.weight[:, None]
        derivative -= basis @ (basis.T @ derivative)
        residual = columns[:, free] @ weights[free] - target
        n_fitted = len(weights) - (not self.free_scale)
        return Evaluation(
            residual / self.unit, derivative / self.unit, weights, n_fitted
        )


def _solve(columns, target):
    """Return an orthogonal basis of columns and the weights that come closest."""
    sizes = np.linalg.norm(columns, axis=0)
    sizes[sizes == 0] = 1.0
    basis, strengths, turn = np.linalg.svd(columns / sizes, full_matrices=False)
    told = strengths > _ALIKE * strengths.max(initial=0)
    basis, turn = basis[:, told], turn[told] / strengths[told, None]
    return basis, turn.T @ (basis.T @ target) / sizes
