r"""The fit of a model to pixels, for many sets of parameters at once.

Intensities y are compared with :math:`\mu = e (a f + \sum_k c_k t_k)`: the model f, by
a scale a that is not negative, and terms t of a background, for exposures e. What is
linear is eliminated (variable projection [1]_), which leaves a search for the
parameters of f alone, by Gauss and Newton's steps with Levenberg's damping. Weights are
given, or for counts the inverse of :math:`\mu` (Fisher scoring). The correlation
between logarithms is of the same kind: with a scale and a constant free,
:math:`1 - r^2` is the sum of squared residuals over that of a constant.

.. [1] G. H. Golub and V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973),
   https://doi.org/10.1137/0710036
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls
from scipy.spatial import cKDTree
from scipy.special import comb, xlogy

from skphonon.inversion._errors import covariance_of

__all__ = [
    "Pixels",
    "background_terms",
    "compare",
    "covariance",
    "noise_of_neighbours",
    "search",
]

_REWEIGHTED = 8  # weights of counts depend on the fit, and the fit on them
_FAINT = 1e-3  # smallest expectation, of the mean of the counts
_SINGULAR = 1e-10
_LONGEST = 0.5  # step, where 2 is the width of the bounds
_DAMPING, _STUCK = 1e-3, 1e8
_NEIGHBOURS = 100_000  # pixels of which neighbours are looked for
_FLATTEST = 0.2  # curvature that is believed, of that of Gauss and Newton


class Pixels(NamedTuple):
    """What is measured at n pixels, and how it is compared."""

    loss: str
    coordinates: np.ndarray  # (n, n_coordinates)
    intensity: np.ndarray  # (n,), of correlations the logarithm
    weight: np.ndarray  # (n,), of squared residuals; of counts, how often they count
    exposure: np.ndarray  # (n,)
    terms: np.ndarray  # (n, n_terms), of the background

    def part(self, chosen):
        """Return some of the pixels."""
        return Pixels(self.loss, *(values[chosen] for values in self[1:]))


class Comparison(NamedTuple):
    """How models of R sets of parameters compare with n pixels."""

    loss: np.ndarray  # (R,)
    linear: np.ndarray  # (R, 1 + n_terms), scale and background
    residual: np.ndarray  # (R, n)
    weight: np.ndarray  # (R, n)
    slopes: np.ndarray  # (R, n, p) of the expectation, along which nothing is linear

    def gradient(self):
        """Return half the descent of the weighted squares, (R, p)."""
        return np.einsum("rn,rnp->rp", self.weight * self.residual, self.slopes)

    def information(self):
        """Return the matrix of Gauss and Newton, (R, p, p)."""
        weighted = self.slopes * self.weight[..., None]
        return np.swapaxes(self.slopes, 1, 2) @ weighted

    def rows(self, chosen):
        """Return the comparison of some sets of parameters."""
        return Comparison(*(values[chosen] for values in self))

    def taking(self, other, rows):
        """Return this with the given rows from another."""
        mixed = [mine.copy() for mine in self]
        for mine, theirs in zip(mixed, other, strict=True):
            mine[rows] = theirs
        return Comparison(*mixed)


def background_terms(energy, degree, span):
    """Return Bernstein polynomials, none negative, shape (n_pixels, degree + 1).

    Parameters
    ----------
    energy : ndarray of shape (n_pixels,)
        Where.
    degree : int or None
        Of the polynomials; None gives none.
    span : pair of float
        Where they begin and end, and stay constant beyond.
    """
    if degree is None:
        return np.zeros((len(energy), 0))
    x = np.clip((energy - span[0]) / ((span[1] - span[0]) or 1.0), 0, 1)[:, None]
    k = np.arange(degree + 1)
    return comb(degree, k) * x**k * (1 - x) ** (degree - k)


def compare(pixels, spectra, derivatives):
    """Compare models with pixels.

    Parameters
    ----------
    pixels : Pixels
        What is measured.
    spectra, derivatives : ndarray of shape (R, n) and (R, n, p)
        The model and its derivatives by the parameters; p may be zero.

    Returns
    -------
    Comparison
    """
    f, slopes = spectra, derivatives
    if pixels.loss == "correlation":
        f = np.log1p(np.maximum(spectra, 0))
        slopes = ((spectra > 0) / np.exp(f))[..., None] * slopes
    terms = np.broadcast_to(pixels.terms, (*f.shape, pixels.terms.shape[1]))
    basis = np.concatenate([f[..., None], terms], axis=2) * pixels.exposure[:, None]
    y = pixels.intensity
    if pixels.loss == "poisson":
        linear, fitted, weight = _fit_counts(basis.clip(0), y, pixels.weight)
    else:
        weight = np.broadcast_to(pixels.weight, f.shape)
        linear = _solve(basis, weight, y)
        fitted = _dot(basis, linear)
    slopes = linear[:, :1, None] * pixels.exposure[:, None] * slopes
    slopes = slopes - basis @ _solve(basis, weight, slopes)
    residual = y - fitted
    if pixels.loss == "poisson":
        loss = 2 * (pixels.weight * (xlogy(y, y / fitted) - residual)).mean(axis=1)
    elif pixels.loss == "chi2":
        loss = (weight * residual**2).mean(axis=1)
    else:
        loss = 1 - _correlation(pixels, residual, linear[:, 0])
    return Comparison(loss, linear, residual, weight, slopes)


def _fit_counts(basis, y, multiplicity):
    """Return coefficients, none negative, expectations and weights of counts."""
    faint = _FAINT * y.mean() or 1.0
    fitted = np.full(basis.shape[:2], max(y.mean(), faint))
    for _ in range(_REWEIGHTED):
        linear = _solve_positive(basis, multiplicity / fitted, y)
        fitted = np.maximum(_dot(basis, linear), faint)
    return linear, fitted, multiplicity / fitted


def _correlation(pixels, residual, scale):
    """Return correlations, with the background taken off both sides."""
    y, weight = pixels.intensity, pixels.weight[None]
    terms = (pixels.terms * pixels.exposure[:, None])[None]
    alone = (weight * (y - _dot(terms, _solve(terms, weight, y))) ** 2).sum()
    left = (weight * residual**2).sum(axis=1)
    return np.sign(scale) * np.sqrt((1 - left / alone).clip(0) if alone else 0 * left)


def _dot(basis, linear):
    return (basis @ linear[..., None])[..., 0]


def _solve(basis, weight, values):
    """Return weighted least squares, of values (n,) or (R, n, p), for each basis."""
    gram, wanted, size = _normal_equations(basis, weight, values)
    inverse = np.linalg.pinv(gram, rcond=_SINGULAR, hermitian=True)
    if values.ndim == 1:
        return _dot(inverse, wanted) / size
    return inverse @ wanted / size[..., None]


def _solve_positive(basis, weight, values):
    """Return weighted least squares of values (n,), no coefficient negative."""
    gram, wanted, size = _normal_equations(basis, weight, values)
    roots = np.linalg.cholesky(gram + _SINGULAR * np.eye(gram.shape[1]))
    aims = np.linalg.solve(roots, wanted[..., None])[..., 0]
    found = [nnls(root.T, aim)[0] for root, aim in zip(roots, aims, strict=True)]
    return np.array(found) / size


def _normal_equations(basis, weight, values):
    """Return the Gram matrix of a basis of unit length, products, and lengths."""
    weighted = np.swapaxes(basis * weight[..., None], 1, 2)
    gram, wanted = weighted @ basis, weighted @ values
    size = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    size = np.where(size > 0, size, 1.0)
    wanted = wanted / (size if values.ndim == 1 else size[..., None])
    return gram / (size[:, :, None] * size[:, None]), wanted, size


def search(objective, starts, bounds, *, max_steps, tolerance):
    """Descend from many starts at once.

    Parameters
    ----------
    objective : callable
        From rows of parameters to a Comparison.
    starts : ndarray of shape (R, p)
        Scaled parameters, within the bounds.
    bounds : ndarray of shape (2, p)
        Least and largest.
    max_steps : int
        Steps, at most.
    tolerance : float
        A search has converged when its next step is smaller.

    Returns
    -------
    ends : ndarray of shape (R, p)
    found : Comparison
        At the ends.
    converged : ndarray of shape (R,), bool
    curve : ndarray of shape (n_steps + 1, R)
        Losses.
    """
    ends, found = starts.copy(), objective(starts)
    damping, curve = np.full(len(starts), _DAMPING), [found.loss]
    converged = np.zeros(len(starts), dtype=bool)
    active = np.flatnonzero(np.isfinite(found.loss))
    for _ in range(max_steps):
        if not active.size:
            break
        here = ends[active]
        step = _step(found, active, here, bounds, damping[active])
        there = (here + step).clip(*bounds)
        trial = objective(there)
        better = trial.loss <= found.loss[active]
        ends[active[better]] = there[better]
        found = found.taking(trial.rows(better), active[better])
        small = np.abs(there - here).max(axis=1, initial=0) < tolerance
        converged[active] = small
        damping[active] = np.where(better, damping[active] / 5, damping[active] * 10)
        curve.append(found.loss)
        active = active[~small & (damping[active] < _STUCK)]
    return ends, found, converged, np.array(curve)


def _step(found, rows, here, bounds, damping):
    """Return damped steps that do not push against the bounds."""
    part = found.rows(rows)
    gradient, information = part.gradient(), part.information()
    blocked = ((here <= bounds[0]) & (gradient < 0)) | (
        (here >= bounds[1]) & (gradient > 0)
    )
    gradient[blocked] = 0.0
    information[blocked[:, :, None] | blocked[:, None, :]] = 0.0
    diagonal = np.diagonal(information, axis1=1, axis2=2)
    stiff = damping[:, None] * diagonal + np.where(diagonal > 0, 0, 1.0)
    information = information + stiff[..., None] * np.eye(here.shape[1])
    step = np.linalg.solve(information, gradient[..., None])[..., 0]
    return step.clip(-_LONGEST, _LONGEST)


def noise_of_neighbours(coordinates, residual):
    """Estimate the standard deviation of white noise, by differences of neighbours.

    Parameters
    ----------
    coordinates : ndarray of shape (n, n_coordinates)
        Where pixels are, the first of them are enough; compared in units of their
        range.
    residual : ndarray of shape (n,)
        What a model leaves there.

    Returns
    -------
    noise : float
    n_used : int
        So many of the pixels were looked at.
    """
    some = min(len(residual), _NEIGHBOURS)
    span = np.ptp(coordinates[:some], axis=0)
    places = coordinates[:some] / np.where(span > 0, span, 1.0)
    _, nearest = cKDTree(places).query(places, k=2)
    # the second is the nearest other one, unless pixels coincide
    other = np.where(nearest[:, 1] == np.arange(some), nearest[:, 0], nearest[:, 1])
    differences = residual[:some] - residual[other]
    return np.sqrt(np.square(differences).mean() / 2), some


def covariance(found, variance, curvature=None):
    r"""Return the covariance of the parameters of the first row of a Comparison.

    That is the sandwich :math:`H^{-1} J^T W V W J H^{-1}` of independent pixels with
    variances V, which holds for the place of the optimum also where the model is not
    right [1]_.

    Parameters
    ----------
    found : Comparison
        At the optimum.
    variance : ndarray of shape (n,)
        Of the intensities.
    curvature : ndarray of shape (p, p), default=None
        H, from which :math:`J^T W J` differs if the model is not right; used without
        it. Taken to be at least a fifth of that in every direction, as few counts tell
        little of it.

    Returns
    -------
    ndarray of shape (p, p)
        Infinite variances of what is not determined.

    References
    ----------
    .. [1] H. White, Econometrica 50, 1 (1982), https://doi.org/10.2307/1912526
    """
    weight, slopes = found.weight[0], found.slopes[0]
    rows = slopes * np.sqrt(weight)[:, None]
    inverse = covariance_of(rows, np.zeros(len(rows)), None)
    scores = (weight * np.sqrt(variance))[:, None] * slopes
    known = np.isfinite(np.diag(inverse))
    seen = np.ix_(known, known)
    outer = inverse[seen]
    if curvature is not None:
        values, vectors = np.linalg.eigh(outer)
        root = vectors * np.sqrt(values.clip(0))
        ratios, directions = np.linalg.eigh(root.T @ curvature[seen] @ root)
        root = root @ directions
        outer = root / np.maximum(ratios, _FLATTEST) @ root.T
    inverse[seen] = outer @ (scores.T @ scores)[seen] @ outer
    return inverse
