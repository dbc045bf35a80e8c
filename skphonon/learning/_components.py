r"""Principal components of spectra with missing data, and the weights of their voxels.

A spectrum x, divided by its scale, is a mean plus components with normal coefficients,
and white noise in weighted voxels,

.. math:: w (x - \bar x) = V a + \epsilon,

with :math:`w^{-2}` proportional to the variance of counts. A row enters only through
:math:`V^T w x` and :math:`V^T V`, over the voxels that it has. Gaps of training spectra
are filled by the components of the others, which are then found again (R. Everson and
L. Sirovich, doi:10.1364/JOSAA.12.001657).
"""

from typing import NamedTuple

import numpy as np

__all__ = [
    "Basis",
    "known_voxels",
    "learn_basis",
    "project",
    "same_voxels",
    "square",
    "square_of_seen",
    "voxel_weights",
]

_NUMBERS = 1 << 23  # of spectra in memory at once
_BLOCK = 65536  # voxels at once
_ROWS = 50  # compared at once
_SPARE = 8  # directions beside those kept, in the search for components
_PASSES = 3  # of this search through all spectra
_FILLINGS = 3  # of gaps in training spectra
_SMALLEST_SPREAD = 1e-4  # of the first component; rounding errors are below
_ROUNDING = 1e-5  # of the mean square, in single precision


class Basis(NamedTuple):
    """``weights * spectra = mean + components @ coefficients`` at one scale."""

    mean: np.ndarray  # (n_voxels,), not weighted
    weights: np.ndarray  # (n_voxels,), which make the noise equal
    components: np.ndarray  # (n_voxels, n), orthonormal
    spread: np.ndarray  # (n,), root mean squares of the coefficients
    coefficients: np.ndarray  # (n_samples, n)
    left: float  # mean square of what they do not describe


def learn_basis(X, n_components, floor, scaled, random_state):
    """Find at most `n_components` principal components of weighted spectra, float32.

    Weights assume a background of `floor`, in units of the mean intensity. Where each
    spectrum has its own scale (`scaled`), the mean spectrum has a mean of about 1.
    """
    has_gaps = np.isnan(X.sum(dtype=float))
    mean, scale = _mean_spectrum(X, scaled, has_gaps)
    weights = voxel_weights(mean, floor)
    residuals = _Residuals(X, mean, weights, scale, has_gaps)
    found = residuals.components(n_components, random_state)
    for _ in range(_FILLINGS if has_gaps else 0):
        residuals.fill(*found)
        found = residuals.components(n_components, random_state)
    components, spread, coefficients, left = found
    least = _ROUNDING * np.square(weights * mean).mean(dtype=float)
    return Basis(mean, weights, components, spread, coefficients, max(left, least))


def voxel_weights(mean, floor):
    """Return weights that make the noise of counts equal on a background `floor`."""
    level = np.abs(mean).mean() or 1.0
    return np.float32(1 / np.sqrt(np.abs(mean) / level + floor) / level)


def square(columns, chosen=None):
    """Return ``V.T @ V`` in double precision, over all or the chosen rows of V."""
    total = np.zeros((columns.shape[1],) * 2)
    for _, rows in _blocks(columns, chosen):
        total += rows.T @ rows
    return total


def square_of_seen(columns, whole, seen):
    """Return `square` of the voxels seen, or of all less the others if that is less."""
    if 2 * len(seen) <= len(columns):
        return square(columns, seen)
    return whole - square(columns, np.delete(np.arange(len(columns)), seen))


def project(rows, columns, seen):
    """Return ``rows @ V[seen]`` in double precision."""
    total = np.zeros((len(rows), columns.shape[1]))
    for part, values in _blocks(columns, seen):
        total += rows[:, part] @ values
    return total


def _blocks(columns, chosen):
    """Yield places among the voxels chosen, and what columns have there."""
    if chosen is not None and len(chosen) == len(columns):
        chosen = None  # a view is enough
    for start in range(0, len(columns) if chosen is None else len(chosen), _BLOCK):
        part = slice(start, start + _BLOCK)
        yield part, columns[part if chosen is None else chosen[part]]


def known_voxels(X, known):
    """Return the known voxels, refusing rows that have others or none."""
    if not known.all():
        foreign = np.isfinite(X[:, ~known]).sum(axis=1)
        if foreign.any():
            row = int(foreign.argmax())
            raise ValueError(
                f"Voxels that no training spectrum had must be NaN, got {foreign[row]} "
                f"finite ones in row {row}. Set them to NaN, or train on spectra that "
                "have them."
            )
        X = X[:, known]
    empty = np.isnan(X).all(axis=1)
    if empty.any():
        raise ValueError(
            "Each spectrum must have a voxel that is not NaN, got none in row "
            f"{int(empty.argmax())}. Leave it out."
        )
    return X


def same_voxels(X, rows, seen=None):
    """Yield rows that are finite in the same voxels, these voxels, and their values.

    At most 50 rows come at once.
    """
    seen = np.arange(X.shape[1]) if seen is None else seen
    for part in np.array_split(rows, -(-len(rows) // _ROWS)):
        found = X[np.ix_(part, seen)]
        finite = np.isfinite(found)
        if finite.all():
            yield part, seen, found
            continue
        groups: dict[bytes, list[int]] = {}
        for number, row in enumerate(np.packbits(finite, axis=1)):
            groups.setdefault(row.tobytes(), []).append(number)
        for same in groups.values():
            pattern = finite[same[0]]
            if pattern.any():
                yield part[same], seen[pattern], found[same][:, pattern]


def _mean_spectrum(X, scaled, has_gaps):
    """Return the mean spectrum, and the scale of each spectrum."""
    scale = np.ones(len(X))
    if not scaled:
        return _nan_mean(X, scale), scale
    mean = np.ones(X.shape[1], dtype=np.float32)
    for _ in range(_FILLINGS if has_gaps else 1):
        # relative to the mean spectrum, in the voxels of each row
        scale = np.array([_ratio(row, mean) for row in X])
        mean = _nan_mean(X, scale)
        mean /= mean.mean() or 1.0
    return mean, scale


def _ratio(row, mean):
    total, expected = np.nansum(row, dtype=float), mean[np.isfinite(row)].sum()
    return total / expected if total > 0 and expected > 0 else 1.0


def _nan_mean(X, scale):
    step = max(1, _NUMBERS // len(X))
    parts = [
        np.nanmean(X[:, start : start + step] / scale[:, None], axis=0, dtype=float)
        for start in range(0, X.shape[1], step)
    ]
    return np.float32(np.concatenate(parts))


class _Residuals:
    """Weighted deviations of spectra from their mean, some voxels at a time."""

    def __init__(self, X, mean, weights, scale, has_gaps):
        self.X, self.mean, self.weights, self.has_gaps = X, mean, weights, has_gaps
        self.scale = (1 / scale).astype(np.float32)[:, None]
        self.filling: tuple[np.ndarray, np.ndarray] | None = None

    def __iter__(self):
        step = max(1, _NUMBERS // len(self.X))
        for start in range(0, self.X.shape[1], step):
            part = slice(start, start + step)
            found = self._weighted(self.X[:, part], slice(None), part)
            if self.has_gaps:
                self._fill_gaps(found, part)
            yield part, found

    def _weighted(self, X, rows, voxels):
        found = X * self.scale[rows]
        found -= self.mean[voxels]
        found *= self.weights[voxels]
        return found

    def _fill_gaps(self, found, part):
        gaps = np.isnan(found)
        found[gaps] = 0.0
        if self.filling is not None:
            coefficients, components = self.filling
            found[gaps] = (coefficients @ components[part].T)[gaps]

    def components(self, n_components, random_state):
        """Return the last fields of `Basis`, by subspace iteration over samples."""
        n_samples, n_voxels = self.X.shape
        n_tried = min(n_components + _SPARE, n_samples, n_voxels)
        codes = random_state.standard_normal((n_samples, n_tried))
        for _ in range(_PASSES):
            codes = np.float32(np.linalg.qr(codes)[0])
            codes = sum(found @ (found.T @ codes) for _, found in self)
        codes = np.float32(np.linalg.qr(codes)[0])
        columns, total = np.empty((n_voxels, n_tried), dtype=np.float32), 0.0
        for part, found in self:
            columns[part] = found.T @ codes
            total += np.vdot(found, found)
        _, turn = np.linalg.eigh(square(columns))
        turn = turn[:, ::-1][:, :n_components].astype(np.float32)
        columns = columns @ turn
        sizes = np.sqrt(np.square(columns).sum(axis=0, dtype=float))
        n_real = max(int(np.sum(sizes > _SMALLEST_SPREAD * sizes[0])), 1)
        sizes = sizes[:n_real]
        columns = columns[:, :n_real] / np.float32(np.where(sizes > 0, sizes, 1.0))
        coefficients = codes @ turn[:, :n_real] * np.float32(sizes)
        left = max(total - np.square(sizes).sum(), 0.0) / self.X.size
        return columns, sizes / np.sqrt(n_samples), coefficients, left

    def fill(self, components, spread, coefficients, left):
        """Fill the gaps of each row by components fitted to its other voxels."""
        noise = max(left, np.square(_SMALLEST_SPREAD * spread[0])) or 1.0
        penalty = np.diag(noise / np.square(np.maximum(spread, np.sqrt(noise) * 1e-6)))
        whole = square(components)
        coefficients = np.zeros_like(coefficients)
        for rows, seen, X in same_voxels(self.X, np.arange(len(self.X))):
            products = project(self._weighted(X, rows, seen), components, seen)
            known = square_of_seen(components, whole, seen) + penalty
            coefficients[rows] = np.linalg.solve(known, products.T).T
        self.filling = coefficients, components
