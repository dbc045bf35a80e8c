r"""What a spectrum with gaps says of a model: reduced to a few numbers, then fitted.

The model of a row x, its voxels weighted to have noise of one variance g, is

.. math:: x = s\,[m + V\,a] + \Phi\,\beta + \sqrt{g}\,\epsilon, \qquad
          a = f(z) + \delta, \quad \delta \sim N(0, E),

with unknown scale s and background :math:`\beta`, components V, and coefficients a
that a network f gives for a code z, up to an error of known variance. Only voxels that
are seen count. A row enters through :math:`M^T x` and :math:`M^T M` with
:math:`M = [m, V, \Phi]`, whatever its length.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh, lstsq
from torch import func

__all__ = ["Evidence", "evidence", "fit_codes", "square"]

_BLOCK = 65536  # voxels at once
_ROUNDING = 1e-6  # of the largest eigenvalue: single precision knows no less
_MAX_STEPS = 50
_CONVERGED = 1e-8  # relative fall of the cost
_DAMPING = 1e-3, 0.2, 5.0  # at first, after a step downhill, after one uphill


class Evidence(NamedTuple):
    """What rows say of ``[s, s a]``: ``target = design @ [s, s a] + noise``."""

    target: np.ndarray  # (n_rows, n), n = 1 + n_coefficients
    design: np.ndarray  # (n_rows, n, n)
    noise: np.ndarray  # (n_rows,), its variance g


def square(basis, chosen=None):
    """Return ``M.T @ M`` of the voxels chosen, in blocks.

    Parameters
    ----------
    basis : ndarray of shape (n_voxels, n)
        M.
    chosen : ndarray of int, default=None
        Numbers of the voxels; None: all.

    Returns
    -------
    ndarray of shape (n, n)
        In double precision.
    """
    n_voxels, n = basis.shape
    total = np.zeros((n, n))
    for start in range(0, n_voxels if chosen is None else len(chosen), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows = basis[part if chosen is None else chosen[part]]
        total += rows.T @ rows
    return total


def evidence(square, product, length, n_seen, n_background, least):
    """Eliminate the background of a row, and tell its noise from what is left.

    Parameters
    ----------
    square, product : ndarray of shape (n, n) and (n,)
        ``M.T @ M`` and ``M.T @ x`` of the voxels that are seen; the background is last.
    length : float
        Sum of the squares of the row.
    n_seen : int
        Number of these voxels.
    n_background : int
        Columns of the background.
    least : float
        Least variance of the noise.

    Returns
    -------
    target, design, noise : ndarray of shape (n,), (n, n) and float
        As in `Evidence`. The rest of the row, outside all that the basis can
        describe, is taken for noise.
    """
    n = len(product) - n_background
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
    n_free = n_seen - n_background - kept.sum()
    noise = (length - target @ target) / n_free if n_free > 0 else 0.0
    return target, design, max(noise, least)


def fit_codes(network, evidence, error, prior, candidates, n_starts):
    """Find the most probable codes, their covariances and coefficients.

    Parameters
    ----------
    network : Module
        f, from codes to coefficients, in double precision.
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
    search = _Search(network, evidence, error, prior)
    z, s = search.starts(torch.as_tensor(candidates, dtype=torch.float64), n_starts)
    return search.climb(z, s)


class _Search:
    """Gauss-Newton steps with damping, for many rows and starts together."""

    def __init__(self, network, evidence, error, prior):
        self.network = network
        self.slopes = func.vmap(func.jacfwd(network))
        self.target, self.design, self.noise = map(torch.as_tensor, evidence)
        self.error = torch.as_tensor(error, dtype=torch.float64)
        self.centre, self.precision = map(torch.as_tensor, prior)

    def starts(self, candidates, n_starts):
        """Return the best candidates and their scales; make the noise white."""
        shapes = _with_one(self.network(candidates))
        best = self._compare(shapes, 0.0)[0].argmin(1)
        scale = self._compare(shapes, 0.0)[1].gather(1, best[:, None])[:, 0]
        self._whiten(scale)
        penalty = self._distance(candidates)
        costs, scales = self._compare(shapes, penalty)
        n_starts = min(n_starts, len(candidates))
        chosen = costs.topk(n_starts, dim=1, largest=False).indices
        return candidates[chosen], scales.gather(1, chosen)

    def climb(self, z, s):
        """Improve codes z (n_rows, n_starts, n_codes) and scales s."""
        cost, slope, curvature = self._expand(z, s)
        damping = torch.full_like(cost, _DAMPING[0])
        for _ in range(_MAX_STEPS):
            diagonal = torch.diag_embed(torch.diagonal(curvature, dim1=-2, dim2=-1))
            damped = curvature + damping[..., None, None] * diagonal
            step = torch.linalg.solve(damped, slope)
            there = z + step[..., :-1], s + step[..., -1]
            news = self._expand(*there)
            better = news[0] < cost
            fall = torch.where(better, cost - news[0], 0.0)
            z, s = (
                _where(better, new, old)
                for new, old in zip(there, (z, s), strict=True)
            )
            done = (fall <= _CONVERGED * cost) & (better | (damping > 1e6))
            cost, slope, curvature = (
                _where(better, new, old)
                for new, old in zip(news, (cost, slope, curvature), strict=True)
            )
            damping = damping * torch.where(better, _DAMPING[1], _DAMPING[2])
            if done.all():
                break
        rows, best = torch.arange(len(z)), cost.argmin(1)
        z, s, curvature = z[rows, best], s[rows, best], curvature[rows, best]
        covariance = torch.linalg.inv(curvature)[:, :-1, :-1]
        found = z, covariance, self._coefficients(z, s)
        return tuple(each.numpy() for each in found)

    def _compare(self, shapes, penalty):
        """Return costs and best scales of shapes, (n_rows, n_shapes)."""
        expected = torch.einsum("rij,cj->rci", self.design, shapes)
        overlap = torch.einsum("rci,ri->rc", expected, self.target)
        square = expected.square().sum(-1).clamp_min(1e-300)
        scales = overlap.clamp_min(0.0) / square
        return penalty - scales * overlap, scales

    def _whiten(self, scale):
        moved = self.design[..., 1:] * scale[:, None, None]
        covariance = moved * self.error @ moved.mT
        covariance.diagonal(dim1=-2, dim2=-1).add_(self.noise[:, None])
        root = torch.linalg.cholesky(covariance)
        self.target = _solve(root, self.target[..., None])[..., 0]
        self.design = _solve(root, self.design)

    def _expand(self, z, s):
        """Return cost, and minus its slope and its curvature, in codes and scale."""
        shape = z.shape[:-1]
        flat = z.reshape(-1, z.shape[-1])
        coefficients = self.network(flat).reshape(*shape, -1)
        slopes = self.slopes(flat).reshape(*coefficients.shape, -1)
        design = self.design[:, None]
        expected = (design @ _with_one(coefficients)[..., None])[..., 0]
        rest = self.target[:, None] - s[..., None] * expected
        moved = s[..., None, None] * (design[..., 1:] @ slopes)
        jacobian = torch.cat([moved, expected[..., None]], dim=-1)
        pull = (self.centre - z) @ self.precision
        slope = (jacobian.mT @ rest[..., None])[..., 0]
        slope[..., :-1] += pull
        curvature = jacobian.mT @ jacobian
        curvature[..., :-1, :-1] += self.precision
        return rest.square().sum(-1) + self._distance(z), slope, curvature

    def _distance(self, z):
        off = z - self.centre
        return (off @ self.precision * off).sum(-1)

    def _coefficients(self, z, s):
        coefficients = self.network(z)
        expected = (self.design @ _with_one(coefficients)[..., None])[..., 0]
        rest = self.target - s[:, None] * expected
        moved = self.design[..., 1:] * s[:, None, None]
        return coefficients + self.error * (moved.mT @ rest[..., None])[..., 0]


def _with_one(coefficients):
    return torch.cat([torch.ones_like(coefficients[..., :1]), coefficients], dim=-1)


def _solve(root, values):
    return torch.linalg.solve_triangular(root, values, upper=False)


def _where(chosen, new, old):
    return torch.where(chosen.reshape(chosen.shape + (1,) * (new.ndim - 2)), new, old)
