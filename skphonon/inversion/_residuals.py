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

    Attributes
    ----------
    unit : float
        What residuals are divided by: a spectrum that is explained by its (weighted)
        mean alone has a sum of squares of one.
    n_linear : int
        Number of linear parameters, the contributions left out.
    n_evaluations : int
        Simulations so far.
    """

    def __init__(self, spectrum, model, background, weight=None):
        self.model, self.background = model, background
        self.spectrum = spectrum
        self.weight = np.ones(len(spectrum)) if weight is None else weight
        self.n_evaluations = 0
        self._seen = None, None

    @property
    def unit(self):
        """Spread of the spectrum, the unit of residuals."""
        square = self.weight**2
        mean = square @ self.spectrum / square.sum()
        return np.sqrt(square @ (self.spectrum - mean) ** 2)

    @property
    def n_linear(self):
        """Number of terms of the background."""
        return 0 if self.background is None else self.background.shape[1]

    def reweighted(self, weight):
        """Return the same problem with other weights."""
        problem = Problem(self.spectrum, self.model, self.background, weight)
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
        return Evaluation((shown - a) / unit, db / unit, np.array([1 / size]))

    def _project(self, contributions, derivatives):
        """Take out what weights of the contributions and background can explain."""
        scaled = self.weight[:, None]
        target = self.weight * self.spectrum
        used = np.ones(len(contributions), dtype=bool)
        while True:
            columns = np.hstack([contributions[used].T, self.background]) * scaled
            sizes = np.linalg.norm(columns, axis=0)
            sizes[sizes == 0] = 1.0
            q, strength, turn = np.linalg.svd(columns / sizes, full_matrices=False)
            told = strength > _ALIKE * strength[0]
            q, turn = q[:, told], turn[told] / strength[told, None]
            weights = turn.T @ (q.T @ target) / sizes
            negative = weights[: used.sum()] < 0
            if not negative.any():
                break
            # intensities are never turned upside down
            used[np.flatnonzero(used)[weights[: used.sum()].argmin()]] = False
        n_used = used.sum()
        derivative = np.tensordot(weights[:n_used], derivatives[used], 1) * scaled
        derivative -= q @ (q.T @ derivative)
        of_all = np.zeros(len(used) + self.n_linear)
        of_all[: len(used)][used] = weights[:n_used]
        of_all[len(used) :] = weights[n_used:]
        residual = columns @ weights - target
        return Evaluation(residual / self.unit, derivative / self.unit, of_all)
