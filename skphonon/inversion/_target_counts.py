r"""The posterior density of what is not linear, of one row of counts.

Counts n with expectations :math:`\mu = A a` have the likelihood of Poisson. Its
logarithm is concave in the amplitudes a. The integral over them is one over places
about a centre (importance sampling at up to 512 even places, the same ones for all sets
of parameters, so that it changes smoothly with these):

.. math:: \ln L = \ln \frac1M \sum_m \frac{p(n | A a_m) P(a_m)}{q(a_m)}
          - \sum_k \ln w_k,

with q the distribution of Student about the centre. Neither contributions nor
expectations may be negative. The centre is inside of these walls: the maximum of

.. math:: \ln p(n | A a) + \sum_j \ln a_j + b \ln (\sum_i \mu_i^{-4})^{-1/4},

over contributions j and pixels i, with b terms of the background. It is as if each
contribution, and the least expectation for each term, were counted once more: the
distances from walls are then those of the mean of what is integrated, and minus the
curvature there is the inverse of its covariance, nearly. P are normal distributions
that leave what the counts do not tell with its prior. The widths w of priors are those
of :mod:`skphonon.inversion._target`.

Six to eight standard deviations from all walls the sum passes into the integral of
Laplace, which is then as good: that of a normal distribution about the centre.

In a search for the likeliest amplitudes a wall is not quite hard: below zero the
logarithm goes on as a parabola of curvature 1 / f, with f of 0.005 counts over the
number of pixels.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, logsumexp, ndtri
from scipy.stats import multivariate_t, qmc

from skphonon.fitting import Expansion, Projection, descend
from skphonon.instrument.noise import PoissonNoise
from skphonon.inversion._evidence import widths_of
from skphonon.inversion._fitting import fewest_counts
from skphonon.inversion._target import Target

__all__ = ["CountsTarget"]

Array = NDArray[np.float64]

_SETTLED = 1e-3  # of minus twice the log likelihood, which the last step lowers
_STEPS = 60
_LOWEST = 1e-3  # amplitude of a contribution in the search for a centre
_EMPTY = 1e-12  # of an expectation: none
_SHARP = 4.0  # power by which the least expectations stand out
_NODES = 8  # power of two of the places of an integral, on each side, at most
_FREEDOM = 12.0  # of their distribution of Student
_FAR, _BETWEEN = 6.0, 2.0  # standard deviations from walls: normal, and on the way
_AT_ONCE = 2**22  # expectations that are held together
_WALL = 0.005  # counts, of all pixels together, in which a wall rises


class _Likeliest(NamedTuple):
    """Amplitudes of one part at their optimum, for each of R sets of parameters."""

    amplitudes: Array  # (R, k), of contributions, then of terms of the background
    expected: Array  # (R, n)
    columns: Array  # (R, n, k), of length one in units of errors
    lengths: Array  # (R, c), of contributions that are fitted
    log_volume: float  # of the amplitudes of the background
    information: Array  # (R, k, k), of the search


class CountsTarget(Target):
    """Posterior density of constants and nuisances of one row of counts.

    Parameters are those of :class:`Target`; weights are one over the roots of what a
    fit expects.
    """

    def spectra(self, rows: Array) -> Array:
        """Return what is expected (n, n_pixels compared) with the best amplitudes."""
        shown = self.model.simulate(rows)[..., self.pixels]
        found = np.zeros((len(rows), shown.shape[2]))
        for i, part in self._measured():
            found[:, part] = self._likeliest(i, part, shown[..., part]).expected
        return found.clip(0)

    def _expansion(self, x: Array) -> Expansion:
        """Return the deviance at likeliest amplitudes, about x, by Fisher scoring."""
        problem, p = self.problem, len(x)
        shown, _ = problem._simulated(x)
        if not np.isfinite(shown).all():
            nothing = np.zeros((1, p))
            return Expansion(np.array([np.inf]), nothing, nothing[..., None] * nothing)
        n, fixed = len(shown), int(not problem.free_scale)
        n_terms = problem.backgrounds[0].shape[1]
        weights = np.zeros((len(problem.parts), n + n_terms))
        weights[:, :fixed] = 1.0
        free = np.ones((len(weights), n - fixed + n_terms), dtype=bool)
        expected, score = np.ones((2, len(problem.spectra)))
        deviance = 0.0
        for i, part in self._measured():
            best = self._likeliest(i, part, shown[None, :, part])
            own = best.amplitudes[0, : n - fixed]
            free[i, : n - fixed] = own > 0
            weights[i, fixed:n] = own / best.lengths[0]
            expected[part] = best.expected[0]
            value, score[part], _ = self._compared(part, best.expected[0])
            deviance += 2 * (self._perfect(part) - value.sum())
        _, columns, slopes = problem.linear_parts(x, weights)
        # in units of errors of what is expected here, not where the fit ended
        unit = np.sqrt(np.maximum(expected, fewest_counts(problem)))
        turn = 1 / (problem.weight * unit)[:, None]
        slopes, columns = slopes * turn, columns[:, free.ravel()] * turn
        rest = Projection(columns).rest(slopes)
        return Expansion(
            np.array([deviance]),
            (slopes.T @ (score * unit))[None],
            (rest.T @ rest)[None],
        )

    def _of_part(self, i: int, part: slice, spectra: Array) -> Array:
        """Return the log of the integral over amplitudes, over that of their prior."""
        best = self._likeliest(i, part, spectra, inside=True)
        value, slope, curvature = self._compared(part, best.expected)
        total: Array = value.sum(axis=1) - best.log_volume
        total[~np.isfinite(spectra).all(axis=(1, 2))] = -np.inf
        k, c = best.amplitudes.shape[1], best.lengths.shape[1]
        if not k:
            return total
        turned = np.swapaxes(best.columns, 1, 2)
        gradient = (turned @ slope[..., None])[..., 0]
        information = turned @ (curvature[..., None] * best.columns)
        information += np.diag(self._known(part, c, k))
        shift = np.linalg.solve(information, gradient[..., None])[..., 0]
        normal = (gradient * shift).sum(axis=1) / 2 + k * np.log(2 * np.pi) / 2
        normal -= np.linalg.slogdet(information)[1] / 2
        # far from walls the integral is that of a normal distribution
        share = ((_distance(best) - _FAR) / _BETWEEN).clip(0, 1)
        near = np.flatnonzero(share < 1)
        size = max(_AT_ONCE // (len(_nodes(k)[0]) * best.expected.shape[1]), 1)
        for first in range(0, len(near), size):
            some = near[first : first + size]
            found = self._around(part, best, some)
            normal[some] = share[some] * normal[some] + (1 - share[some]) * found
        total += normal
        total -= np.log(self._widths(part, np.zeros(c, dtype=bool))).sum()
        total[~(best.lengths > 0).all(axis=1)] = -np.inf
        return total

    def _widths(self, part: slice, signed: NDArray[np.bool_]) -> Array:
        """Return widths of priors of amplitudes of columns that have the length one.

        Counts that are all alike, such as none, have no contrast but their own error.
        """
        contrast = max(np.sqrt(self.problem._contrast(part)), 1.0)
        return widths_of(contrast, np.ones(len(signed)), signed)

    def _around(self, part: slice, best: _Likeliest, some: Any) -> Array:
        """Return the log of the integral over the integrand at its centre."""
        amplitudes, columns = best.amplitudes[some], best.columns[some]
        k, c = amplitudes.shape[1], best.lengths.shape[1]
        nodes, log_density = _nodes(k)
        root = np.linalg.cholesky(best.information[some])
        moves = np.swapaxes(np.linalg.solve(np.swapaxes(root, 1, 2), nodes.T), 1, 2)
        moved = moves @ np.swapaxes(columns, 1, 2)
        expected = best.expected[some, None]
        allowed = (moved > -expected).all(axis=2)
        allowed &= (moves[..., :c] > -amplitudes[:, None, :c]).all(axis=2)
        values = -moved.sum(axis=2) - np.square(moves) @ self._known(part, c, k) / 2
        counts = self.problem.spectra[part]
        seen = counts > 0
        ratio = moved[..., seen] / np.maximum(expected[..., seen], self._least(part))
        values += np.log1p(np.maximum(ratio, _EMPTY - 1)) @ counts[seen]
        values[~allowed] = -np.inf
        values -= log_density
        values -= np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)[:, None]
        found: Array = logsumexp(values, axis=1) - np.log(len(nodes))
        return found

    def _likeliest(
        self, i: int, part: slice, spectra: Array, inside: bool = False
    ) -> _Likeliest:
        """Return the likeliest amplitudes of spectra (R, n_contributions, n).

        Or the centre of the integral over them, inside of all walls.
        """
        fixed, weight = int(not self.problem.free_scale), self.problem.weight[part]
        lost = ~np.isfinite(spectra).all(axis=(1, 2), keepdims=True)
        shown = np.swapaxes(np.where(lost, 0.0, spectra), 1, 2)
        beside = shown[..., :fixed].sum(axis=2)
        given = shown[..., fixed:]
        lengths = np.linalg.norm(given * weight[:, None], axis=1)
        given = given / np.where(lengths > 0, lengths, 1.0)[:, None]
        terms, log_volume = self._background(i, part)
        terms = np.broadcast_to(terms / weight[:, None], (len(given), *terms.shape))
        columns = np.concatenate([given, terms], axis=2)
        k, c = columns.shape[2], lengths.shape[1]
        lowest = np.where(np.arange(k) < c, 0.0, -np.inf)
        known, perfect = np.diag(self._known(part, c, k)), self._perfect(part)
        counts, noise = self.problem.spectra[part], PoissonNoise(self._least(part))

        def objective(amplitudes: Array, which: NDArray[np.int_]) -> Expansion:
            own = columns[which]
            expected = beside[which] + (own @ amplitudes[..., None])[..., 0]
            value, slope, curvature = noise.expansion(counts, expected)
            if not inside:
                curvature = 1 / np.maximum(expected, noise.floor)
            turned = np.swapaxes(own, 1, 2)
            cost = 2 * (perfect - value.sum(axis=1))
            gradient = (turned @ slope[..., None])[..., 0]
            information = turned @ (curvature[..., None] * own) + known
            if inside:
                # as if the least expectation were counted once for each term
                cost[held[which] & ~(expected > 0).all(axis=1)] = np.inf
                expected = np.maximum(expected, noise.floor)
                least = expected.min(axis=1, keepdims=True)
                share = (least / expected) ** _SHARP
                total = share.sum(axis=1, keepdims=True)
                cost -= 2 * (k - c) * (np.log(least) - np.log(total) / _SHARP)[:, 0]
                share /= total * expected
                slope = (turned @ share[..., None])[..., 0]
                gradient += (k - c) * slope
                bent = turned @ ((share / expected)[..., None] * own)
                bent *= _SHARP + 1
                bent -= _SHARP * slope[:, :, None] * slope[:, None]
                information += (k - c) * bent
                # and each contribution
                own = np.maximum(amplitudes[:, :c], _LOWEST)
                cost -= 2 * np.log(own).sum(axis=1)
                gradient[:, :c] += 1 / own
                information[:, range(c), range(c)] += 1 / own**2
            return Expansion(cost, gradient, information)

        heavy = columns * weight[:, None]
        turned = np.swapaxes(heavy, 1, 2)
        left = (self.problem.spectra[part] - beside) * weight
        start = np.linalg.solve(turned @ heavy + known, turned @ left[..., None])[
            ..., 0
        ].clip(lowest + inside * _LOWEST)
        if inside and k > c:
            # far from walls
            middle = np.full(len(weight), max(counts.mean(), 1 / len(counts)))
            start[:, c:] = (terms[0].T * weight**2) @ middle
        held = (beside + (columns @ start[..., None])[..., 0] > 0).all(axis=1)
        held &= inside and k > c
        end, information = start, np.zeros((len(start), k, k))
        if k:
            found = descend(
                objective,
                start,
                np.array([lowest + inside * _LOWEST, np.full(k, np.inf)]),
                least_fall=_SETTLED * (1e-3 if inside else 1.0),
                max_steps=_STEPS,
            )
            end, information = found.parameters, found.found.information
        expected = beside + (columns @ end[..., None])[..., 0]
        return _Likeliest(end, expected, columns, lengths, log_volume, information)

    def _measured(self) -> Any:
        """Return numbers and pixels of parts of which some pixels were compared."""
        pairs = enumerate(self.problem.parts)
        return [(i, part) for i, part in pairs if part.stop > part.start]

    def _compared(self, part: slice, expected: Array) -> tuple[Array, Array, Array]:
        noise = PoissonNoise(self._least(part))
        return noise.expansion(self.problem.spectra[part], expected)

    def _perfect(self, part: slice) -> float:
        """Return the log likelihood of expecting what was counted."""
        return float(self._compared(part, self.problem.spectra[part])[0].sum())

    def _least(self, part: slice) -> float:
        """Return the width of the wall of a pixel, in counts."""
        fewest = fewest_counts(self.problem)[part].min()
        return float(min(_WALL / (part.stop - part.start), fewest))

    def _known(self, part: slice, c: int, k: int) -> Array:
        """Return the information (k,) of the priors of amplitudes."""
        known: Array = 2 * np.pi / self._widths(part, np.arange(k) >= c) ** 2
        return known


def _distance(best: _Likeliest) -> Array:
    """Return how far centres (R,) are from the nearest wall, in standard deviations."""
    covariance = np.linalg.inv(best.information)
    c = best.lengths.shape[1]
    std = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)[:, :c])
    found = (best.amplitudes[:, :c] / std).min(axis=1, initial=np.inf)
    if covariance.shape[1] == c:
        return found
    # contributions alone take no expectation below zero
    variance = np.einsum("rnk,rnk->rn", best.columns @ covariance, best.columns)
    apart: Array = (best.expected / np.sqrt(variance)).min(axis=1)
    return np.minimum(found, apart)


@lru_cache(maxsize=32)
def _nodes(k: int) -> tuple[Array, Array]:
    """Return places (n, k) from Student's distribution, and logs of its density.

    They are as even as those of Sobol', and those opposite.
    """
    even = qmc.Sobol(k + 1, seed=0).random(2 ** min(3 + 2 * k, _NODES))
    length = np.sqrt(_FREEDOM / (2 * gammaincinv(_FREEDOM / 2, even[:, k])))
    places = ndtri(even[:, :k]) * length[:, None]
    places = np.concatenate([places, -places])
    density = multivariate_t.logpdf(places, shape=np.eye(k), df=_FREEDOM)
    return places, np.reshape(density, -1)
