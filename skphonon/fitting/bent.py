r"""Normal distributions bent along the valleys of a sum of squares.

About an optimum x let residuals, whitened, be :math:`F(x + Wz) = F_0 + Jz + \tfrac12
R[z, z]` with :math:`J^T J = 1`. Part of the curvature R lies in the range of J: it is
no more than a matter of coordinates (the parameter-effects curvature of D. M. Bates and
D. G. Watts, J. R. Stat. Soc. B 42, 1 (1980)), and

.. math:: x(z) = x + W (z + \tfrac12 B[z, z]), \qquad B = -J^T R

leaves it out. (Coordinates that a bound cuts stay as they are, and B is that of least
squares of the others.) The rest changes the information, to
:math:`1 + F_0 \cdot (R + J B)`.
Normal values z so become draws that follow a curved valley.

Values are bent up to where 1 + B[z] loses its inverse on the way from zero, and others
stay where they are, so that densities are known. (Two values z and z' end at the same
place only if 1 + B at their middle has no inverse, since x(z) is quadratic: not where
values inside are a convex set, and hardly where they are not.)
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.fitting.importance import BoxNormal, nearer

__all__ = ["BentNormal", "Curvature", "curvature"]

Array = NDArray[np.float64]

_LEAST = 0.05  # real eigenvalue of 1 + B[z] of values that are bent
_PATH = (0.3, 0.6, 0.8, 1.0)  # shares of the way to a place that Newton's steps go by
_STEPS = 10  # of Newton for each
_REAL = 1e-9  # imaginary part of an eigenvalue that is real
_SAME = 1e-9  # standard deviations between them
_STEP = 0.5  # standard deviations of finite differences
_NARROWEST, _WIDEST = 0.3, 4.0  # information beside that of first derivatives
_SINGULAR = 1e3  # condition of the directions of differences
_NEAR = 1.5  # standard deviations from a bound: what is not bent


class Curvature(NamedTuple):
    """How residuals curve about an optimum."""

    place: Array  # (m,)
    root: Array  # (m, m), W
    bend: Array  # (m, m, m), W B; rows of zeros near bounds
    precision: Array  # (m, m), of z
    gradient: Array  # (m,), of half the sum of squares in z


class BentNormal:
    """A normal distribution between bounds, bent.

    Parameters
    ----------
    normal : BoxNormal
        What is drawn before it is bent, with bounds of coordinates that are not: what
        was beyond the others' may be bent to between them.
    place : ndarray of shape (m,)
        What the bending leaves where it is.
    root : ndarray of shape (m, m)
        Whose columns are the unit of z.
    bend : ndarray of shape (m, m, m)
        W B. Rows of zeros for coordinates that stay.
    """

    def __init__(
        self, normal: BoxNormal, place: Array, root: Array, bend: Array
    ) -> None:
        self.normal, self.place, self.root, self.bend = normal, place, root, bend
        self._inverse = np.linalg.inv(root)
        self._own = np.einsum("ij,jkl->ikl", self._inverse, bend)  # B

    @classmethod
    def about(cls, found: Curvature, bounds: Array) -> "BentNormal":
        """Return the one that a curvature tells."""
        off = -np.linalg.solve(found.precision, found.gradient)
        covariance = found.root @ np.linalg.inv(found.precision) @ found.root.T
        covariance = (covariance + covariance.T) / 2
        mean = found.place + found.root @ off
        bent = found.bend.any(axis=(1, 2))
        bounds = np.where(bent, [[-np.inf], [np.inf]], bounds)
        normal = BoxNormal(mean, covariance, bounds)
        return cls(normal, found.place, found.root, found.bend)

    def sample(self, number: int, rng: np.random.Generator) -> Array:
        """Return draws of shape (number, m), perhaps beyond bounds of what is bent."""
        rows = self.normal.sample(number, rng)
        values = (rows - self.place) @ self._inverse.T
        bent = self._is_bent(values)
        rows[bent] += self._moved(values[bent])
        return rows

    def log_density(self, rows: Array) -> Array:
        """Return the logarithm of the density at rows of shape (number, m)."""
        whole = (rows - self.place) @ self._inverse.T
        density = np.full(len(rows), -np.inf)
        straight = self._inside(rows) & ~self._is_bent(whole)
        density[straight] = self.normal.log_density(rows[straight])
        values, known = self._straightened(whole)
        before = rows[known] - self._moved(values[known])
        inside = self._inside(before)
        known[known] = inside
        before = before[inside]
        stretch = np.linalg.slogdet(self._stretched(values[known]))[1]
        bent = self.normal.log_density(before) - stretch
        density[known] = np.logaddexp(density[known], bent)
        return density

    def adapted(self, rows: Array, log_target: Array, weights: Array) -> "BentNormal":
        """Return one nearer to a target (see `nearer`)."""
        whole = (rows - self.place) @ self._inverse.T
        values, known = self._straightened(whole)
        before = rows.copy()
        before[known] -= self._moved(values[known])
        # the target in the coordinates before
        stretch = np.linalg.slogdet(self._stretched(values[known]))[1]
        target = np.where(known, log_target, -np.inf)
        target[known] += stretch
        found = nearer(
            before, target, weights, self.normal.mean, self.normal.covariance
        )
        return self._of(*found)

    def widened(self, factor: float) -> "BentNormal":
        """Return the distribution with widths times a factor, before it is bent."""
        return self._of(self.normal.mean, factor**2 * self.normal.covariance)

    def _of(self, mean: Array, covariance: Array) -> "BentNormal":
        normal = BoxNormal(mean, covariance, self.normal.bounds)
        return BentNormal(normal, self.place, self.root, self.bend)

    def _inside(self, rows: Array) -> NDArray[np.bool_]:
        low, high = self.normal.bounds
        inside: NDArray[np.bool_] = ((rows >= low) & (rows <= high)).all(axis=1)
        return inside

    def _moved(self, values: Array) -> Array:
        """Return by how much values z are moved, in the unit of rows."""
        turned = np.tensordot(values, self.bend, axes=(1, 2))
        moved: Array = np.einsum("nik,nk->ni", turned, values) / 2
        return moved

    def _stretched(self, values: Array) -> Array:
        """Return 1 + B[z], (n, m, m)."""
        turned: Array = np.tensordot(values, self._own, axes=(1, 2))
        return turned + np.eye(len(self.place))

    def _is_bent(self, values: Array) -> NDArray[np.bool_]:
        """Tell which values z are bent."""
        if not len(values):
            return np.zeros(0, dtype=bool)
        roots = np.linalg.eigvals(self._stretched(values))
        # 1 + B[t z] has the eigenvalues 1 + t (root - 1)
        real = np.abs(roots.imag) < _REAL
        least = np.where(real, roots.real, np.inf).min(axis=1)
        bent: NDArray[np.bool_] = least > _LEAST
        return bent

    def _straightened(self, whole: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return the values that are bent to places, and where there are such."""
        values, left = self._solved(np.zeros_like(whole), whole, _PATH)
        found = self._is_known(values, left)
        back = whole - self._moved(whole) @ self._inverse.T
        for start in (whole, back, back / 2, whole / 2):
            lost = np.flatnonzero(~found)
            if not len(lost):
                break
            again, left = self._solved(start[lost].copy(), whole[lost], (1.0,))
            known = self._is_known(again, left)
            values[lost[known]], found[lost[known]] = again[known], True
        return values, found

    def _is_known(self, values: Array, left: Array) -> NDArray[np.bool_]:
        known = left <= _SAME
        known[known] = self._is_bent(values[known])
        return known

    def _solved(
        self, values: Array, whole: Array, path: tuple[float, ...]
    ) -> tuple[Array, Array]:
        """Return values by Newton's steps, and how far from their places they end."""
        left = np.full(len(whole), np.inf)
        for share in path:
            for _ in range(_STEPS):
                turned = self._stretched(values)
                # z + B[z, z] / 2 is half of z + (1 + B[z]) z
                reached = (values + np.einsum("nij,nj->ni", turned, values)) / 2
                off = share * whole - reached
                left = np.abs(off).max(axis=1, initial=0.0)
                if not (left > _SAME).any():
                    break
                turned += 1e-12 * np.eye(len(self.place))
                step = np.linalg.solve(turned, off[..., None])[..., 0]
                length = np.linalg.norm(step, axis=1, keepdims=True)
                longest = (1 + np.linalg.norm(values, axis=1, keepdims=True)) / 2
                values += step * np.minimum(1.0, longest / np.maximum(length, longest))
        return values, left


def curvature(
    derivatives: Callable[[Array], tuple[Array, Array]],
    place: Array,
    centre: Array,
    covariance: Array,
    bounds: Array,
) -> Curvature | None:
    """Return how residuals curve about an optimum, by differences of derivatives.

    Parameters
    ----------
    derivatives : callable
        From parameters (m,) to residuals (n,) and their derivatives (n, m), in units of
        standard deviations.
    place : ndarray of shape (m,)
        The optimum, perhaps at a bound.
    centre : ndarray of shape (m,)
        Where first derivatives, and what is known otherwise, say that it would be
        without bounds.
    covariance : ndarray of shape (m, m)
        The inverse of the information there, with what is known otherwise.
    bounds : ndarray of shape (2, m)
        Within which residuals are asked for.

    Returns
    -------
    Curvature or None
        None where residuals are not finite.
    """
    std = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(std, std))
    root = std[:, None] * vectors * np.sqrt(values.clip(np.finfo(float).tiny))
    residual, slopes = derivatives(place)
    inner = np.column_stack([residual, slopes @ root])
    ahead = (place + _STEP * root.T).clip(*bounds)
    behind = (place - _STEP * root.T).clip(*bounds)
    along = np.linalg.solve(root, (ahead - behind).T)  # in z, a difference a column
    changes = np.empty((*along.shape, len(place) + 1))
    for k, (one, other) in enumerate(zip(ahead, behind, strict=True)):
        change = (derivatives(one)[1] - derivatives(other)[1]) @ root
        changes[k] = change.T @ inner
    if not np.isfinite(changes).all() or np.linalg.cond(along) > _SINGULAR:
        return None
    second = np.tensordot(np.linalg.inv(along), changes, axes=(0, 0))
    second = (second + np.swapaxes(second, 0, 1)) / 2
    inner, outer = second[..., 0], np.moveaxis(second[..., 1:], 2, 0)
    # what a bound cuts is not moved across it, and others follow without it
    free = (np.abs(place - bounds) > _NEAR * std).all(axis=0)
    information = np.linalg.inv(covariance)[np.ix_(free, free)]
    turned = np.linalg.solve(root.T, outer.reshape(len(place), -1))[free]
    bend = np.zeros_like(outer)
    bend[free] = -np.linalg.solve(information, turned).reshape(-1, *outer.shape[1:])
    gradient = np.linalg.solve(root, place - centre)
    downhill = np.linalg.solve(root.T, gradient)
    precision = np.eye(len(place)) + inner + np.tensordot(downhill, bend, axes=(0, 0))
    values, vectors = np.linalg.eigh(precision)
    precision = (vectors * values.clip(_NARROWEST, _WIDEST)) @ vectors.T
    return Curvature(place, root, bend, precision, gradient)
