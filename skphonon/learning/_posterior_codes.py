r"""What a spectrum with gaps says of a model: reduced to a few numbers, then fitted.

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

from skphonon.instrument.noise import likely_noise

__all__ = ["Decoder", "Evidence", "evidence", "fit_codes"]

_ROUNDING = 1e-6  # of the largest eigenvalue: single precision knows no less
_MAX_STEPS = 50
_CONVERGED = 1e-6  # fall of the cost; 1 is a standard deviation
_STUCK = 1e6  # damping at which a search ends
_TINY = 1e-300
_DAMPING = 1e-3, 0.2, 5.0  # at first, after a step downhill, after one uphill


class Evidence(NamedTuple):
    """What rows say of ``[s, s a]``: ``target = design @ [s, s a] + noise``."""

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
    """Coefficients of codes, and their derivatives, in double precision.

    Parameters
    ----------
    network : ResidualNetwork
        From codes to scaled coefficients, with one hidden layer.
    scale : ndarray of shape (n_coefficients,)
        What these are multiplied by in the network.
    """

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
    """Find the most probable codes, their covariances and coefficients.

    Parameters
    ----------
    decoder : Decoder
        f.
    evidence : Evidence
        Rows.
    error : ndarray of shape (n_coefficients,)
        Diagonal of E.
    prior : tuple of ndarray
        Mean (n_codes,) and precision (n_codes, n_codes) of the normal distribution of
        codes.
    candidates : ndarray of shape (n_candidates, n_codes)
        Codes, of which the best are where the search starts.
    n_starts : int
        How many.

    Returns
    -------
    codes : ndarray of shape (n_rows, n_codes)
    covariances : ndarray of shape (n_rows, n_codes, n_codes)
        Of the normal distribution that has the shape of the posterior at its top.
    coefficients : ndarray of shape (n_rows, n_coefficients)
        Mean of a at these codes, given the row.
    """
    search = _Search(decoder, evidence, error, prior)
    z, s = search.starts(torch.as_tensor(candidates, dtype=torch.float64), n_starts)
    return search.climb(z, s)


class _Search:
    """Gauss-Newton steps with damping, for many rows and starts together."""

    def __init__(self, decoder, evidence, error, prior):
        self.decode = decoder
        self.target, self.design, self.noise = map(torch.as_tensor, evidence)
        self.error = torch.as_tensor(error, dtype=torch.float64)
        self.centre, self.precision = map(torch.as_tensor, prior)

    def starts(self, candidates, n_starts):
        """Return the best candidates and their scales; make the noise white."""
        shapes = _with_one(self.decode(candidates))
        costs, scales = self._compare(shapes)
        best = costs.argmin(dim=1, keepdim=True)
        self._whiten(scales.gather(1, best)[:, 0])
        costs, scales = self._compare(shapes)
        costs += self._distance(candidates)
        chosen = costs.topk(min(n_starts, len(candidates)), largest=False).indices
        return candidates[chosen], scales.gather(1, chosen)

    def climb(self, z, s):
        """Improve codes z (n_rows, n_starts, n_codes) and scales s; take the best."""
        shape = s.shape
        rows = torch.arange(len(z)).repeat_interleave(shape[1])
        state = [z.flatten(0, 1), s.flatten()]
        state += self._expand(*state, rows)
        damping = torch.full_like(state[1], _DAMPING[0])
        going = torch.arange(len(rows))
        for _ in range(_MAX_STEPS):
            news = self._step(state, damping, rows, going)
            fall = state[2][going] - news[2]
            better = fall > 0
            chosen = going[better]
            for old, new in zip(state, news, strict=True):
                old[chosen] = new[better]
            damping[going] *= torch.where(better, _DAMPING[1], _DAMPING[2])
            going = going[(fall > _CONVERGED) | (~better & (damping[going] < _STUCK))]
            if not len(going):
                break
        best = state[2].reshape(shape).argmin(1) + shape[1] * torch.arange(shape[0])
        z, s, *_, curvature = (each[best] for each in state)
        covariance = torch.linalg.inv(curvature)[:, :-1, :-1]
        found = z, covariance, self._coefficients(z, s)
        return tuple(each.numpy() for each in found)

    def _step(self, state, damping, rows, going):
        """Return the state of some searches after a step."""
        z, s, _, slope, curvature = (each[going] for each in state)
        diagonal = curvature.diagonal(dim1=1, dim2=2)
        damped = curvature + torch.diag_embed(damping[going, None] * diagonal)
        step = torch.linalg.solve(damped, slope)
        z, s = z + step[:, :-1], s + step[:, -1]
        return [z, s, *self._expand(z, s, rows[going])]

    def _compare(self, shapes):
        """Return costs, up to a constant, and best scales, (n_rows, n_shapes)."""
        expected = shapes @ self.design.mT
        overlap = (expected @ self.target[..., None])[..., 0]
        scales = overlap.clamp_min(0.0) / expected.square().sum(-1).clamp_min(_TINY)
        return -scales * overlap, scales

    def _whiten(self, scale):
        moved = self.design[..., 1:] * scale[:, None, None]
        covariance = moved * self.error @ moved.mT
        covariance.diagonal(dim1=-2, dim2=-1).add_(self.noise[:, None])
        root = torch.linalg.cholesky(covariance)
        self.target = _solve(root, self.target[..., None])[..., 0]
        self.design = _solve(root, self.design)

    def _expand(self, z, s, rows):
        """Return cost, half its slope downhill and half its curvature, in z and s."""
        design = self.design[rows]
        expected = (design @ _with_one(self.decode(z))[..., None])[..., 0]
        rest = self.target[rows] - s[:, None] * expected
        moved = s[:, None, None] * (design[..., 1:] @ self.decode.slopes(z))
        jacobian = torch.cat([moved, expected[..., None]], dim=-1)
        slope = (jacobian.mT @ rest[..., None])[..., 0]
        slope[:, :-1] += (self.centre - z) @ self.precision
        curvature = jacobian.mT @ jacobian
        curvature[:, :-1, :-1] += self.precision
        return rest.square().sum(-1) + self._distance(z), slope, curvature

    def _distance(self, z):
        off = z - self.centre
        return (off @ self.precision * off).sum(-1)

    def _coefficients(self, z, s):
        """Return coefficients with the error of the network that is most probable."""
        coefficients = self.decode(z)
        expected = (self.design @ _with_one(coefficients)[..., None])[..., 0]
        rest = self.target - s[:, None] * expected
        moved = self.design[..., 1:] * s[:, None, None]
        return coefficients + self.error * (moved.mT @ rest[..., None])[..., 0]


def _with_one(coefficients):
    return torch.cat([torch.ones_like(coefficients[..., :1]), coefficients], dim=-1)


def _solve(root, values):
    return torch.linalg.solve_triangular(root, values, upper=False)
