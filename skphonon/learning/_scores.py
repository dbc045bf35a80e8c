r"""Spectra of which few voxels are seen, completed by what is known of all.

Components and what may be added to a spectrum are templates, with amounts z,

.. math:: w (x - \bar x) = T z + \epsilon, \qquad z \sim N(0, 1), \qquad
          \epsilon \sim N(0, \sigma^2).

The amounts follow from any part of the voxels, and so does :math:`\sigma^2`, by the
likelihood of what is seen (probabilistic principal components,
doi:10.1111/1467-9868.00196).
"""

from typing import NamedTuple

import numpy as np

from skphonon.learning._components import (
    learn_basis,
    likely_noise,
    project,
    square,
    square_of_seen,
    voxel_weights,
)

__all__ = ["Gram", "Templates", "learn_templates"]

_FLOOR = 0.1  # of the mean intensity: the least expected one, a background


class Gram(NamedTuple):
    """Templates in the voxels that are seen."""

    seen: np.ndarray  # (n_seen,), numbers of these voxels
    lengths: np.ndarray  # (n_templates,), squares of lengths along axes
    axes: np.ndarray  # (n_templates, n_templates), in columns


class Templates:
    """How spectra vary.

    Parameters
    ----------
    mean : ndarray of shape (n_voxels,)
        Mean spectrum.
    shapes : ndarray of shape (n_voxels, n_templates)
        Templates times weights; first components, then what is only to be left out.
    scaled : bool
        Whether each spectrum has a scale of its own.
    products : ndarray of shape (n_templates, n_templates), default=None
        Scalar products of the templates over all voxels; None: computed.
    """

    def __init__(self, mean, shapes, scaled, products=None):
        self.mean, self.shapes, self.scaled = mean, shapes, scaled
        self.weights = voxel_weights(mean, _FLOOR)
        self.products = square(shapes) if products is None else products

    def gram(self, seen):
        """Return what amounts follow from, for voxels of these numbers."""
        lengths, axes = np.linalg.eigh(square_of_seen(self.shapes, self.products, seen))
        return Gram(seen, np.maximum(lengths, 0.0), axes)

    def amounts(self, X, gram):
        """Return amounts, their uncertainty, and the noise.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_seen)
            What rows have in the voxels that are seen.
        gram : Gram
            What belongs to these.

        Returns
        -------
        z, std : ndarray of shape (n_rows, n_templates)
            Mean and standard deviation of the amounts.
        noise : ndarray of shape (n_rows,)
            Standard deviation of the noise.
        """
        residual = self._residual(X, gram.seen)
        squares = np.einsum("ij,ij->i", residual, residual, dtype=float)
        along = project(residual, self.shapes, gram.seen) @ gram.axes
        noise = likely_noise(gram.lengths, along, squares, len(gram.seen))[:, None]
        shrunk = 1 / (noise + gram.lengths)
        std = np.sqrt((noise * shrunk) @ np.square(gram.axes).T)
        return (along * shrunk) @ gram.axes.T, std, np.sqrt(noise[:, 0])

    def complete(self, z, voxels):
        """Return spectra of these amounts, in units of the mean intensity."""
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


def learn_templates(X, n_components, nuisances, scaled, random_state):
    """Find how spectra vary, and count what may be added to them as such.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_voxels)
        Spectra, each voxel finite in some.
    n_components : int
        Number of components, at most.
    nuisances : ndarray of shape (n_nuisances, n_voxels)
        What may be added to a spectrum, in units of its mean intensity.
    scaled : bool
        Whether each spectrum has a scale of its own.
    random_state : RandomState
        Where the search for components begins.

    Returns
    -------
    templates : Templates
        Components, nuisances, and the mean spectrum where `scaled`.
    n_components : int
        Number of components.
    """
    basis = learn_basis(X, n_components, _FLOOR, scaled, random_state)
    added = nuisances * _level(basis.mean)
    if scaled:
        added = np.vstack([added, basis.mean])
    shapes = np.hstack([basis.components * basis.spread, (added * basis.weights).T])
    return Templates(basis.mean, np.float32(shapes), scaled), len(basis.spread)


def _level(mean):
    return np.float32(np.abs(mean).mean() or 1.0)
