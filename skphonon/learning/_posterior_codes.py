r"""Codes of incomplete spectra: each is reduced to a few numbers, then fitted.

The model of a row x, its voxels weighted to have noise of one variance g, is

.. math:: x = s\,[m + V\,a] + \Phi\,\beta + \sqrt{g}\,\epsilon, \qquad
          a = f(z) + \delta, \quad \delta \sim N(0, E),

with unknown scale s and background :math:`\beta`, components V, and coefficients a
that a network f gives for a code z, up to an error of known variance. Only voxels that
are seen count. A row enters through :math:`M^T x` and :math:`M^T M` with
:math:`M = [m, V, \Phi]`, whatever its length.
"""

import copy
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh, lstsq

from skphonon.fitting import descend, of_residuals, with_prior
from skphonon.instrument.noise import likely_noise

__all__ = ["Decoder", "Evidence", "evidence", "fit_codes"]

_ROUNDING = 1e-6  # of the largest eigenvalue: single precision knows no less
_MAX_STEPS = 50
_CONVERGED = 1e-6  # fall of the cost; 1 is a standard deviation
_TINY = 1e-300


class Evidence(NamedTuple):
    """Reduced rows, ``target = design @ [s, s a] + noise``."""

    target: np.ndarray  # (n_rows, n), n = 1 + n_coefficients
    design: np.ndarray  # (n_rows, n, n)
    noise: np.ndarray  # (n_rows,), its variance g


def evidence(square, product, length, n_seen, variance, least):
    """Eliminate the background of a row, and tell its noise from what is left.

    Parameters
    ----------
    square, product : ndarray of shape (n, n) and (n,)
        ``M.T @ M`` and ``M.T @ x`` of the voxels that are seen; the background is last.
    length : float
        Sum of the squares of the row.
    n_seen : int
        Number of these voxels.
    variance : ndarray of shape (n_coefficients,)
        Of the coefficients, before anything is known of the row.
    least : float
        Least variance of the noise.

    Returns
    -------
    target, design, noise : ndarray of shape (n,), (n, n) and float
        As in `Evidence`, with the most probable noise.
    """
    n = 1 + len(variance)
    flat = square[n:, n:]
    removed = lstsq(flat, np.column_stack([square[n:, :n], product[n:]]))[0]
    square, product, length = (
        square[:n, :n] - square[:n, n:] @ removed[:, :-1],
        product[:n] - square[:n, n:] @ removed[:, -1],
        length - product[n:] @ removed[:, -1],
    )
    sizes, directions = eigh(square)
    kept = sizes > _ROUNDING * sizes.max()
    sizes = np.sqrt(np.where(kept, sizes, 1.0))
    target = np.where(kept, directions.T @ product / sizes, 0.0)
    design = (kept * sizes)[:, None] * directions.T
    rest = max(length - target @ target, 0.0)
    n_free = max(n_seen - len(flat), kept.sum()) - 1  # numbers beside the scale
    noise = _noise(target, design, variance, rest, max(n_free, 1))
    return target, design, max(noise, least)


def _noise(target, design, variance, rest, n_free):
    """Return the most probable noise of a row, for any scale of it."""
    axis = design[:, 0] / max(np.linalg.norm(design[:, 0]), _TINY)
    row = target - axis * (axis @ target)
    templates = design[:, 1:] * np.sqrt(variance)
    templates -= np.outer(axis, axis @ templates)
    lengths, axes = eigh(templates.T @ templates)
    squares = np.atleast_1d(rest + row @ row)
    along = (row @ templates @ axes)[None]
    return likely_noise(np.maximum(lengths, 0.0), along, squares, n_free)[0]


class Decoder:
    """Coefficients of codes, and their derivatives, in double precision."""

    def __init__(self, network, scale):
        self.network = copy.deepcopy(network).double()
        self.scale = torch.as_tensor(scale, dtype=torch.float64)

    def __call__(self, codes):
        """Return coefficients, (n, n_coefficients), of codes, (n, n_codes)."""
        return self.network(codes) / self.scale

    def slopes(self, codes):
        """Return derivatives, (n, n_coefficients, n_codes)."""
        first, tanh, last = self.network.layers
        bends = 1 - tanh(first(codes)).square()
        slopes = (last.weight * bends[:, None]) @ first.weight
        return (slopes + self.network.linear.weight) / self.scale[:, None]


def fit_codes(decoder, evidence, error, prior, candidates, n_starts):
    """Return the most probable codes, their covariances and coefficients.

    `error` is the diagonal of E, `prior` the mean and precision of codes. Searches
    begin at the best candidates.
    """
    posterior = _Posterior(decoder, evidence, error, prior)
    starts = posterior.starts(candidates, n_starts)
    shape = starts.shape[:2]
    ends = descend(
        lambda values, which: posterior.expand(values, which // shape[1]),
        starts.reshape(-1, starts.shape[2]),
        least_fall=_CONVERGED,
        max_steps=_MAX_STEPS,
    )
    best = ends.found.cost.reshape(shape).argmin(axis=1)
    best += shape[1] * np.arange(shape[0])
    values = ends.parameters[best]
    covariances = np.linalg.inv(ends.found.information[best])[:, :-1, :-1]
    return values[:, :-1], covariances, posterior.coefficients(values)


class _Posterior:
    """Probabilities of codes z and scales s, side by side in rows of `values`."""

    def __init__(self, decoder, evidence, error, prior):
        self.decoder, self.error = decoder, error
        self.target, self.design, self.noise = evidence
        centre, precision = prior
        n = len(centre)
        self.centre, self.precision = np.zeros(n + 1), np.zeros((n + 1, n + 1))
        self.centre[:n], self.precision[:n, :n] = centre, precision

    def decode(self, codes):
        """Return 1 and the coefficients of codes, (n, 1 + n_coefficients)."""
        coefficients = self.decoder(torch.from_numpy(codes)).numpy()
        return np.hstack([np.ones((len(codes), 1)), coefficients])

    def starts(self, candidates, n_starts):
        """Return the best candidates and their scales; make the noise white."""
        candidates = np.asarray(candidates, dtype=float)
        shapes = self.decode(candidates)
        costs, scales = self._compare(shapes)
        best = costs.argmin(axis=1)
        self._whiten(scales[np.arange(len(best)), best])
        costs, scales = self._compare(shapes)
        off = candidates - self.centre[:-1]
        costs += ((off @ self.precision[:-1, :-1]) * off).sum(axis=1)
        chosen = costs.argsort(axis=1, kind="stable")[:, :n_starts]
        scales = np.take_along_axis(scales, chosen, axis=1)
        return np.concatenate([candidates[chosen], scales[..., None]], axis=2)

    def expand(self, values, rows):
        """Return the Expansion of codes and scales (n, n_codes + 1) of some rows."""
        z, s = np.ascontiguousarray(values[:, :-1]), values[:, -1:]
        design = self.design[rows]
        expected = (design @ self.decode(z)[..., None])[..., 0]
        slopes = self.decoder.slopes(torch.from_numpy(z)).numpy()
        moved = s[..., None] * (design[..., 1:] @ slopes)
        jacobian = np.concatenate([moved, expected[..., None]], axis=2)
        found = of_residuals(s * expected - self.target[rows], jacobian)
        return with_prior(found, values, self.centre, self.precision)

    def coefficients(self, values):
        """Return coefficients with the error of the network that is most probable."""
        z, s = np.ascontiguousarray(values[:, :-1]), values[:, -1:]
        decoded = self.decode(z)
        rest = self.target - s * (self.design @ decoded[..., None])[..., 0]
        moved = s[..., None] * self.design[..., 1:]
        return decoded[:, 1:] + self.error * (rest[:, None] @ moved)[:, 0]

    def _compare(self, shapes):
        """Return costs, up to a constant, and best scales, (n_rows, n_shapes)."""
        expected = shapes @ np.swapaxes(self.design, 1, 2)
        overlap = (expected @ self.target[..., None])[..., 0]
        square = np.einsum("rcn,rcn->rc", expected, expected)
        scales = overlap.clip(0) / square.clip(_TINY)
        return -scales * overlap, scales

    def _whiten(self, scale):
        moved = self.design[..., 1:] * scale[:, None, None]
        covariance = (moved * self.error) @ np.swapaxes(moved, 1, 2)
        n = covariance.shape[1]
        covariance += self.noise[:, None, None] * np.eye(n)
        root = np.linalg.cholesky(covariance)
        both = np.concatenate([self.target[..., None], self.design], axis=2)
        both = np.linalg.solve(root, both)
        self.target, self.design = both[..., 0], both[..., 1:]
