r"""Spectra of which few voxels are seen, completed by what is known of all.

A spectrum x, divided by its scale, is taken for a mean and a sum of templates with
normal amounts z and white noise in weighted voxels,

.. math:: w (x - \bar x) = T z + \epsilon, \qquad z \sim N(0, 1), \qquad
          \epsilon \sim N(0, \sigma^2),

where :math:`w^{-2}` is proportional to the variance that counting gives. The amounts
follow from any part of the voxels, and so does :math:`\sigma^2`, by the likelihood of
what is seen (probabilistic principal components, doi:10.1111/1467-9868.00196).
"""

from typing import NamedTuple

import numpy as np

__all__ = ["Gram", "Templates", "learn_templates"]

_NUMBERS = 1 << 23  # of the spectra that are looked at together
_FLOOR = 0.1  # of the mean intensity: the least expected one, a background
_SPARE = 8  # more directions than are kept, in the search for components
_PASSES = 4  # of that search through all spectra
_NOISE = np.geomspace(1e-6, 2.0, 81)  # variances that are tried, of the mean square


class Gram(NamedTuple):
    """Templates in the voxels that are seen."""

    seen: np.ndarray  # (n_seen,), numbers of these voxels
    shapes: np.ndarray  # (n_seen, n_templates)
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
        self.weights, self.level = _weights(mean)
        self.products = _square(shapes) if products is None else products

    def gram(self, seen):
        """Return what amounts follow from, for voxels of these numbers."""
        shapes = self.shapes if len(seen) == len(self.shapes) else self.shapes[seen]
        if 2 * len(seen) > len(self.shapes):
            others = np.ones(len(self.shapes), dtype=bool)
            others[seen] = False
            square = self.products - _square(self.shapes[others])
        else:
            square = _square(shapes)
        lengths, axes = np.linalg.eigh(square)
        return Gram(seen, shapes, np.maximum(lengths, 0.0), axes)

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
        square = np.einsum("ij,ij->i", residual, residual, dtype=float)[:, None]
        along = (residual @ gram.shapes).astype(float) @ gram.axes
        n_seen = residual.shape[1]
        tried = _NOISE * np.maximum(square / n_seen, np.finfo(np.float32).tiny)
        explained = np.zeros_like(tried)
        penalty = (n_seen - len(gram.lengths)) * np.log(tried)
        for length, part in zip(gram.lengths, along.T, strict=True):
            explained += part[:, None] ** 2 / (tried + length)
            penalty += np.log(tried + length)
        best = (penalty + (square - explained) / tried).argmin(axis=1)
        noise = np.take_along_axis(tried, best[:, None], axis=1)
        shrunk = 1 / (noise + gram.lengths)
        std = np.sqrt((noise * shrunk) @ np.square(gram.axes).T)
        return (along * shrunk) @ gram.axes.T, std, np.sqrt(noise[:, 0])

    def complete(self, z, voxels):
        """Return spectra of these amounts, in units of the mean intensity."""
        shapes = self.shapes[voxels, : z.shape[1]] / self.weights[voxels, None]
        spectra = np.float32(z) @ shapes.T
        spectra += self.mean[voxels]
        spectra /= self.level
        return spectra

    def _residual(self, X, seen):
        """Return weighted deviations from the mean spectrum at its scale."""
        mean = self.mean[seen]
        if self.scaled:
            X = X * (mean.sum(dtype=float) / X.sum(axis=1, dtype=float))[:, None]
        return ((X - mean) * self.weights[seen]).astype(np.float32)


def learn_templates(X, n_components, nuisances, scaled, random_state):
    """Find how spectra vary, by principal components of their weighted voxels.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_voxels)
        Spectra, each voxel finite in some. What is missing is taken for the mean in the
        search for components.
    n_components : int
        Number of components, fewer than samples.
    nuisances : ndarray of shape (n_nuisances, n_voxels)
        What may be added to a spectrum, in units of its mean intensity.
    scaled : bool
        Whether each spectrum has a scale of its own.
    random_state : RandomState
        Where the search for components begins.

    Returns
    -------
    Templates
        Components, nuisances, and the mean spectrum where `scaled`.
    """
    mean, scale = _mean_spectrum(X, scaled)
    weights, level = _weights(mean)
    parts = _Residuals(X, mean, weights, scale)
    codes = _components(parts, n_components, random_state) * np.sqrt(len(X))
    added = nuisances * level
    if scaled:
        added = np.vstack([added, mean])
    shapes = np.hstack([parts.slopes(codes), (added * weights).T])
    return Templates(mean, np.float32(shapes), scaled)


def _weights(mean):
    """Return the weights of voxels, and the mean intensity."""
    level = np.float32(np.abs(mean).mean() or 1.0)
    return np.float32(1 / np.sqrt(np.abs(mean) / level + _FLOOR) / level), level


def _square(shapes):
    return (shapes.T @ shapes).astype(float)


class _Residuals:
    """Weighted deviations of all spectra from their mean, some voxels at a time."""

    def __init__(self, X, mean, weights, scale):
        self.X, self.mean, self.weights = X, mean, weights
        self.scale = np.float32(1 / scale)[:, None]
        self.step = max(1, _NUMBERS // len(X))

    def __iter__(self):
        for start in range(0, self.X.shape[1], self.step):
            part = slice(start, start + self.step)
            found = self.X[:, part] * self.scale
            found -= self.mean[part]
            found *= self.weights[part]
            yield part, found

    def covariances(self, codes):
        """Return R R^T times `codes`, what is missing taken for the mean."""
        total = np.zeros(codes.shape)
        codes = np.float32(codes)
        for _, found in self:
            np.nan_to_num(found, copy=False)
            total += found @ (found.T @ codes)
        return total

    def slopes(self, codes):
        """Return the mean product with `codes`, where there is one."""
        shapes = np.empty((self.X.shape[1], codes.shape[1]), dtype=np.float32)
        codes = np.float32(codes)
        for part, found in self:
            n_seen = np.isfinite(found).sum(axis=0)
            np.nan_to_num(found, copy=False)
            shapes[part] = (found.T @ codes) / n_seen[:, None]
        return shapes


def _mean_spectrum(X, scaled):
    """Return the mean spectrum, and by how much each is above it."""
    mean, scale = _nan_mean(X, np.ones(len(X))), np.ones(len(X))
    for _ in range(2 if scaled else 0):
        scale = np.array([_ratio(row, mean) for row in X])
        mean = _nan_mean(X, scale)
    return mean, scale


def _nan_mean(X, scale):
    step = max(1, _NUMBERS // len(X))
    parts = [
        np.nanmean(X[:, start : start + step] / scale[:, None], axis=0, dtype=float)
        for start in range(0, X.shape[1], step)
    ]
    return np.float32(np.concatenate(parts))


def _ratio(row, mean):
    return np.nansum(row, dtype=float) / mean[np.isfinite(row)].sum(dtype=float)


def _components(parts, n_components, random_state):
    """Return principal components, orthonormal over samples, by subspace iteration."""
    n_samples = len(parts.X)
    n_tried = min(n_components + _SPARE, n_samples - 1)
    found = random_state.standard_normal((n_samples, n_tried))
    for _ in range(_PASSES):
        found = parts.covariances(np.linalg.qr(found - found.mean(axis=0))[0])
    found = np.linalg.qr(found - found.mean(axis=0))[0]
    _, turn = np.linalg.eigh(found.T @ parts.covariances(found))
    return found @ turn[:, ::-1][:, :n_components]
