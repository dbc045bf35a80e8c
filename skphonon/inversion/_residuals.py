"""Residuals of a row of spectra, of which contributions and background are eliminated.

See :mod:`skphonon.fitting.projection` for what enters linearly.
"""

import copy
from typing import NamedTuple

import numpy as np

from skphonon.fitting import Projection, eliminate
from skphonon.preprocessing import normalize

__all__ = ["Evaluation", "Problem"]

_ALIKE = 1e-10  # columns that differ by less, of their length, are one


class Evaluation(NamedTuple):
    """Residuals at some parameters, in units of the spread of the spectra."""

    residual: np.ndarray  # (n_pixels,)
    derivative: np.ndarray  # (n_pixels, n_parameters)
    weights: np.ndarray  # of each part: its contributions, then its background
    n_fitted: np.ndarray | int  # of the weights


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
    share : ndarray of shape (n_pixels,), default=None
        Share of a pixel that counts for itself, beside others that err alike, as far
        as `weight` heeds it; None: all of it.
    images : list of tuple, default=None
        Of each part the shape of the array that its pixels are of, and their places.

    Attributes
    ----------
    unit : float
        What residuals are divided by: spectra that are explained by their (weighted)
        means alone have a sum of squares of one.
    n_evaluations : int
        Simulations so far.
    """

    def __init__(
        self,
        spectra,
        model,
        backgrounds,
        parts=None,
        weight=None,
        free_scale=True,
        share=None,
        images=None,
    ):
        self.model, self.backgrounds, self.free_scale = model, backgrounds, free_scale
        self.spectra = spectra
        self.parts = [slice(0, len(spectra))] if parts is None else parts
        self.weight = np.ones(len(spectra)) if weight is None else weight
        self.share = np.ones(len(spectra)) if share is None else share
        self.images = images
        self.unit = np.sqrt(sum(self._contrast(part) for part in self.parts))
        self.n_evaluations = 0
        self._seen: tuple | None = None  # parameters and what was simulated
        self._projections: list | None = None  # of the backgrounds, made once

    def reweighted(self, weight, share=None):
        """Return the same problem with other weights."""
        problem = Problem(
            self.spectra,
            self.model,
            self.backgrounds,
            self.parts,
            weight,
            self.free_scale,
            share,
            self.images,
        )
        problem.n_evaluations, problem._seen = self.n_evaluations, self._seen
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
            self.share,
            self.images,
        )

    def of_spectra(self, spectra):
        """Return the same problem, unit and all, of R spectra (R, n_pixels).

        It can `compare` them with as many sets of parameters.
        """
        self._projected()
        problem = copy.copy(self)
        problem.spectra = spectra
        return problem

    def __call__(self, parameters):
        """Return the Evaluation at some parameters; the latest simulation is kept."""
        whole = self.compare(*(each[None] for each in self._simulated(parameters)))
        return Evaluation(*(each[0] for each in whole))

    def compare(self, contributions, derivatives):
        """Return an Evaluation of R sets of parameters, of which all has a first axis.

        Contributions are (R, n_contributions, n_pixels), derivatives have the
        parameters as one more axis. See `of_spectra` for R spectra.
        """
        if not np.isfinite(derivatives).all():  # which a search refuses
            derivatives = np.where(np.isfinite(derivatives), derivatives, np.nan)
        if self.backgrounds is None:
            return self._normalised(contributions[0], derivatives[0])
        lost = ~np.isfinite(contributions).all(axis=(1, 2))
        if lost.any():
            contributions = np.where(lost[:, None, None], 0.0, contributions)
        found = [
            self._project(
                part, projection, contributions[:, :, part], derivatives[:, :, part]
            )
            for part, projection in zip(self.parts, self._projected(), strict=True)
        ]
        residual, derivative, weights, n_fitted = zip(*found, strict=True)
        residual = np.concatenate(residual, axis=1) / self.unit
        residual[lost] = np.nan
        return Evaluation(
            residual,
            np.concatenate(derivative, axis=1) / self.unit,
            np.stack(weights, axis=1),
            np.full(len(lost), sum(n_fitted)),
        )

    def linearised(self, parameters, weights):
        """Return the model as a linear one about some parameters and weights.

        Returns
        -------
        columns : ndarray of shape (n_pixels, n_parts * n_contributions)
            Contributions of each part, weighted, less what its background explains.
        slopes : ndarray of shape (n_pixels, n_parameters)
            Derivatives with the parameters, likewise.
        sizes : ndarray of shape (n_parts * n_contributions,)
            Length of the columns with what the background explains.
        """
        contributions, derivatives = self._simulated(parameters)
        n = len(contributions)
        columns = np.zeros((len(self.spectra), len(self.parts) * n))
        slopes = np.zeros((len(self.spectra), derivatives.shape[2]))
        sizes = np.zeros(len(self.parts) * n)
        for i, part in enumerate(self.parts):
            weight = self.weight[part, None]
            if not weight.size:
                continue
            own, background = slice(i * n, (i + 1) * n), self._projected()[i]
            given = contributions[:, part].T * weight
            change = (
                np.einsum("k,knp->np", weights[i, :n], derivatives[:, part]) * weight
            )
            sizes[own] = np.linalg.norm(given, axis=0)
            columns[part, own] = background.rest(given)
            slopes[part] = background.rest(change)
        return columns, slopes, sizes

    def linear_parts(self, parameters, weights):
        """Return what a fit is a linear function of, about parameters and weights.

        Returns
        -------
        target : ndarray of shape (n_pixels,)
            Weighted spectra less what has no weight of its own.
        columns : ndarray of shape (n_pixels, n_columns)
            Weighted contributions and terms of backgrounds, each of one part.
        slopes : ndarray of shape (n_pixels, n_parameters)
            Weighted derivatives with the parameters.
        """
        contributions, derivatives = self._simulated(parameters)
        n, fixed = len(contributions), 0 if self.free_scale else 1
        target, slopes = self.spectra * self.weight, np.zeros(derivatives.shape[1:])
        columns = []
        for i, part in enumerate(self.parts):
            weight, own = self.weight[part, None], np.nan_to_num(weights[i, :n])
            given = contributions[:, part].T * weight
            slopes[part] = np.einsum("k,knp->np", own, derivatives[:, part]) * weight
            if fixed:
                target[part] -= given[:, 0]
            block = np.hstack([given[:, fixed:], self.backgrounds[i] * weight])
            columns.append(np.zeros((len(target), block.shape[1])))
            columns[-1][part] = block
        return target, np.hstack(columns), slopes

    def noise_scale(self, evaluation, n_parameters):
        """Return the standard deviation of weighted residuals of independent pixels."""
        residual = evaluation.residual * self.unit
        n_free = max(residual.size - n_parameters - evaluation.n_fitted, 1)
        square = residual @ residual / n_free / self.share.mean()
        return np.sqrt(max(square, np.finfo(float).tiny))

    def intensities(self, parameters, weights):
        """Return the summed intensity of each contribution and of the background.

        An array of shape (n_parts, n_contributions + 1).
        """
        contributions, _ = self._simulated(parameters)
        n, found = len(contributions), []
        for part, own, terms in zip(self.parts, weights, self.backgrounds, strict=True):
            of_each = own[:n] * contributions[:, part].sum(axis=1)
            found.append([*of_each, terms.sum(axis=0) @ own[n:]])
        return np.array(found)

    def _simulated(self, parameters):
        """Return contributions and derivatives at some parameters, the latest kept."""
        if self._seen is None or not np.array_equal(self._seen[0], parameters):
            self.n_evaluations += 1
            self._seen = np.array(parameters), self.model(parameters)
        return self._seen[1]

    def _projected(self):
        """Return what projects out the background of each part, made once."""
        if self._projections is None:
            self._projections = [
                Projection(terms * self.weight[part, None])
                for part, terms in zip(self.parts, self.backgrounds, strict=True)
            ]
        return self._projections

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
        return Evaluation(
            *(
                np.asarray(each)[None]
                for each in ((shown - a) / unit, db / unit, weights, 2)
            )
        )

    def _project(self, part, background, contributions, derivatives):
        """Take out what weights of the contributions and background can explain."""
        weight = self.weight[part]
        given = np.swapaxes(contributions, 1, 2) * weight[:, None]
        target, fixed = np.atleast_2d(self.spectra[..., part] * weight), 0
        if not self.free_scale:
            target, fixed = target - given[..., 0], 1
        left = background.rest(target[..., None])[..., 0]
        searched = given[..., fixed:]
        columns = background.rest(searched)
        sizes = [np.square(each).sum(axis=1) for each in (columns, searched)]
        columns *= (sizes[0] > _ALIKE**2 * sizes[1])[:, None]
        left = np.broadcast_to(left, columns.shape[:2])
        weights, explained = eliminate(columns, left)
        residual = (columns @ weights[..., None])[..., 0] - left
        beside = target - (searched @ weights[..., None])[..., 0]
        weights = np.hstack([np.ones((len(weights), fixed)), weights])
        derivative = np.einsum("rk,rknp->rnp", weights, derivatives) * weight[:, None]
        derivative = explained.rest(background.rest(derivative))
        weights = np.hstack([weights, background.amplitudes(beside)])
        n_fitted = weights.shape[1] - fixed
        if not len(weight):  # not measured in this row
            weights, n_fitted = np.full_like(weights, np.nan), 0
        return residual, derivative, weights, n_fitted
