r"""Completion of spectra of which few voxels are seen, and codes of the result.

Principal components, and what may be added to a spectrum, are templates T with
coefficients z (scores),

.. math:: w (x - \bar x) = T z + \epsilon, \qquad z \sim N(0, 1), \qquad
          \epsilon \sim N(0, \sigma^2).

The scores follow from any part of the voxels, and so does :math:`\sigma^2`, by the
likelihood of what is seen (probabilistic principal components,
doi:10.1111/1467-9868.00196). A code is made of the principal components of the
logarithm of the completed spectrum, the uncertainty of the scores and the noise.
"""

from typing import NamedTuple

import numpy as np
from sklearn.utils.extmath import randomized_svd

from skphonon.instrument.noise import likely_noise
from skphonon.learning._components import (
    learn_basis,
    project,
    same_voxels,
    square,
    square_of_seen,
    voxel_weights,
)

__all__ = [
    "Completion",
    "Gram",
    "Templates",
    "learn_completion",
    "learn_templates",
]

_FLOOR = 0.1  # of the mean intensity: a background that weights reckon with
_CHOSEN = 1 << 15  # voxels at which spectra are completed
_ROWS = 4096  # spectra from which the components of logarithms are learnt
_SMALL = 0.3  # of the mean intensity: where logarithms begin
_SMALLEST_SPREAD = 1e-3  # of components, relative to the first
_POWER = 0.5  # of the spread of components, by which codes are scaled


class Gram(NamedTuple):
    """Templates in the voxels that are seen, along axes where they are orthogonal."""

    seen: np.ndarray  # (n_seen,), numbers of these voxels
    lengths: np.ndarray  # (n_templates,), squares of lengths along axes
    axes: np.ndarray  # (n_templates, n_templates), in columns


class Templates:
    """Mean spectrum and weighted templates: components, then what may be added."""

    def __init__(self, mean, shapes, scaled, products=None):
        self.mean, self.shapes, self.scaled = mean, shapes, scaled
        self.weights = voxel_weights(mean, _FLOOR)
        self.products = square(shapes) if products is None else products

    def gram(self, seen):
        """Return the templates in the voxels of these numbers."""
        lengths, axes = np.linalg.eigh(square_of_seen(self.shapes, self.products, seen))
        return Gram(seen, np.maximum(lengths, 0.0), axes)

    def scores(self, X, gram):
        """Return scores of rows, their standard deviations, and that of the noise.

        X holds the voxels of `gram`; shapes are (n_rows, n_templates) and (n_rows,).
        """
        residual = self._residual(X, gram.seen)
        squares = np.einsum("ij,ij->i", residual, residual, dtype=float)
        along = project(residual, self.shapes, gram.seen) @ gram.axes
        noise = likely_noise(gram.lengths, along, squares, len(gram.seen))[:, None]
        shrunk = 1 / (noise + gram.lengths)
        std = np.sqrt((noise * shrunk) @ np.square(gram.axes).T)
        return (along * shrunk) @ gram.axes.T, std, np.sqrt(noise[:, 0])

    def complete(self, z, voxels):
        """Return spectra with these scores, in units of the mean intensity."""
        shapes = self.shapes[voxels, : z.shape[1]] / self.weights[voxels, None]
        spectra = np.float32(z) @ shapes.T
        spectra += self.mean[voxels]
        spectra /= _level(self.mean)
        return spectra

    def _residual(self, X, seen):
        """Return weighted deviations from the mean spectrum at its scale."""
        mean = self.mean[seen]
        if self.scaled:
            X = X * (mean.sum(dtype=float) / X.sum(axis=1, dtype=float))[:, None]
        return ((X - mean) * self.weights[seen]).astype(np.float32)


class Completion:
    """From partial spectra to the inputs of the networks of SpectrumRegressor.

    `chosen` are the voxels at which spectra are completed, `log_mean` and
    `log_components` the mean logarithm and the scaled components there.
    """

    def __init__(self, templates, chosen, log_mean, log_components):
        self.templates, self.chosen = templates, chosen
        self.log_mean, self.log_components = log_mean, log_components

    @property
    def n_components(self):
        return self.log_components.shape[1]

    def inputs(self, X):
        """Return the inputs of rows, which have NaN where nothing was measured."""
        inputs = np.empty((len(X), 2 * self.n_components + 1))
        for group, seen, found in same_voxels(X, np.arange(len(X))):
            gram = self.templates.gram(seen)
            for row, spectrum in zip(group, found, strict=True):
                # alone, as rounding in products of matrices depends on their shape
                inputs[row] = self.inputs_of(spectrum[None], gram)[0]
        return inputs

    def inputs_of(self, X, gram):
        """Return the inputs of rows that have the voxels of `gram`."""
        logarithms, uncertainty = _complete(
            X, gram, self.templates, self.chosen, self.n_components
        )
        codes = (logarithms - self.log_mean) @ self.log_components
        return np.hstack([codes, uncertainty])


def _complete(X, gram, templates, chosen, n_components):
    """Return logarithms of completed spectra, and of the uncertainty of the scores."""
    z, std, noise = templates.scores(X, gram)
    spectra = templates.complete(z[:, :n_components], chosen)
    uncertainty = np.log(np.column_stack([std[:, :n_components], noise]))
    return _logarithm(spectra), uncertainty


def learn_completion(X, n_components, nuisances, scaled, random_state):
    """Find templates, and the components of the logarithms of completed spectra.

    Parameters are those of `learn_templates`.
    """
    templates, n_components = learn_templates(
        X, n_components, nuisances, scaled, random_state
    )
    chosen = np.sort(random_state.permutation(X.shape[1])[:_CHOSEN])
    rows = np.sort(random_state.permutation(len(X))[:_ROWS])
    logarithms = np.empty((len(rows), len(chosen)), dtype=np.float32)
    for group, seen, found in same_voxels(X, rows):
        gram = templates.gram(seen)
        completed = _complete(found, gram, templates, chosen, n_components)
        logarithms[np.searchsorted(rows, group)] = completed[0]
    log_mean = logarithms.mean(axis=0)
    logarithms -= log_mean
    _, lengths, components = randomized_svd(
        logarithms, n_components, random_state=random_state
    )
    spread = np.maximum(lengths, _SMALLEST_SPREAD * (lengths[0] or 1.0))
    spread /= spread[0]
    norm = np.sqrt(len(rows)) / (lengths[0] or 1.0)
    log_components = np.float32(components.T * norm * spread ** (_POWER - 1))
    return Completion(templates, chosen, log_mean, log_components)


def _logarithm(x):
    """Return logarithms of large intensities, linear about zero."""
    grown = np.abs(x)
    grown /= _SMALL
    return np.copysign(np.log1p(grown, out=grown), x)


def learn_templates(X, n_components, nuisances, scaled, random_state):
    """Find the components of spectra; return templates and the number of components.

    Each voxel of X is finite in some row. `nuisances` may be added to a spectrum, in
    units of its mean intensity; they are templates, too, and where spectra have scales
    of their own (`scaled`), so is the mean.
    """
    basis = learn_basis(X, n_components, _FLOOR, scaled, random_state)
    added = nuisances * _level(basis.mean)
    if scaled:
        added = np.vstack([added, basis.mean])
    shapes = np.hstack([basis.components * basis.spread, (added * basis.weights).T])
    return Templates(basis.mean, np.float32(shapes), scaled), len(basis.spread)


def _level(mean):
    return np.float32(np.abs(mean).mean() or 1.0)
