r"""The posterior density of what is not linear, of one row of counts.

Counts n with expectations :math:`\mu = A a` have the likelihood of Poisson. Its
logarithm is concave in the amplitudes a, and the integral over them is Laplace's, about
their own optimum for every set of parameters:

.. math:: \ln L = \ln p(n | \mu) + \tfrac12 g^T H^{-1} g
          + \tfrac k2 \ln 2\pi - \tfrac12 \ln\det H + \ln P(a > 0)
          - \sum_k \ln w_k,

with the slope g there (zero but for contributions that would be negative), minus the
curvature :math:`H = A^T \mathrm{diag}(n / \mu^2) A`, and the probability P that
contributions are not negative, of the normal distribution of covariance
:math:`H^{-1}`. The widths w of priors are those of :mod:`skphonon.inversion._target`.

Expectations that a background makes negative have no probability. A wall that is
not quite hard keeps them out: below zero the logarithm goes on as a parabola of
curvature 1 / f, with f of 0.005 counts over the number of pixels. Near the wall nothing
is normal. There Laplace's integral is corrected by quadrature along one term of the
background after the other, which is exact for a single one.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skphonon.fitting import Expansion, Projection, descend
from skphonon.instrument.noise import PoissonNoise
from skphonon.inversion._evidence import widths_of
from skphonon.inversion._fitting import fewest_counts
from skphonon.inversion._target import Target, log_positive

__all__ = ["CountsTarget"]

Array = NDArray[np.float64]

_SETTLED = 1e-3  # of minus twice the log likelihood, which the last step lowers
_STEPS = 60
_NEAR = 2.0  # counts, of all pixels together, that are near a wall
# in standard deviations, of an integral that is narrow before the wall and long behind
_PLACES = 2 * np.sinh(np.linspace(-5, 5, 51))
_SPACES = np.gradient(_PLACES)
_WALL = 0.005  # counts, of all pixels together, in which a wall rises


class _Likeliest(NamedTuple):
    """Amplitudes of one part at their optimum, for each of R sets of parameters."""

    amplitudes: Array  # (R, k), of contributions, then of terms of the background
    expected: Array  # (R, n)
    columns: Array  # (R, n, k), of length one in units of errors
    lengths: Array  # (R, c), of contributions that are fitted
    log_volume: float  # of the amplitudes of the background


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
        best = self._likeliest(i, part, spectra)
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
        total += (gradient * shift).sum(axis=1) / 2 + k * np.log(2 * np.pi) / 2
        total -= np.linalg.slogdet(information)[1] / 2
        covariance = np.linalg.inv(information)
        walled = (best.expected < _NEAR / (part.stop - part.start)).any(axis=1)
        for row in np.flatnonzero(walled).tolist() if k > c else ():
            total[row] += self._beside_wall(part, best, covariance[row], row)
        if not c:
            return total
        mean = best.amplitudes + shift
        total += log_positive(mean[:, :c], np.asarray(covariance)[:, :c, :c])
        total -= np.log(self._widths(part, np.zeros(c, dtype=bool))).sum()
        total[~(best.lengths > 0).all(axis=1)] = -np.inf
        return total

    def _widths(self, part: slice, signed: NDArray[np.bool_]) -> Array:
        """Return widths of priors of amplitudes of columns that have the length one.

        Counts that are all alike, such as none, have no contrast but their own error.
        """
        contrast = max(np.sqrt(self.problem._contrast(part)), 1.0)
        return widths_of(contrast, np.ones(len(signed)), signed)

    def _beside_wall(
        self, part: slice, best: _Likeliest, covariance: NDArray[Any], row: int
    ) -> float:
        """Return the log of the integral over that of Laplace, beside a wall.

        Along one term of the background after the other, with what it takes along of
        those behind it and of contributions.
        """
        c = best.lengths.shape[1]
        order = np.roll(np.arange(len(covariance)), -c)
        turned = covariance[np.ix_(order, order)]
        root = np.linalg.cholesky((turned + turned.T) / 2)
        directions = root[np.argsort(order), : len(order) - c]
        moved = best.columns[row] @ directions
        value, slope, _ = self._compared(part, best.expected[row])
        expected = best.expected[row] + _PLACES[:, None, None] * moved.T
        values = self._compared(part, expected)[0].sum(axis=2) - value.sum()
        laplace = np.square(slope @ moved) / 2 + np.log(2 * np.pi) / 2
        found = logsumexp(values + np.log(_SPACES)[:, None], axis=0) - laplace
        return float(found.sum())

    def _likeliest(self, i: int, part: slice, spectra: Array) -> _Likeliest:
        """Return the likeliest amplitudes of spectra (R, n_contributions, n)."""
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

        def objective(amplitudes: Array, which: NDArray[np.int_]) -> Expansion:
            own = columns[which]
            expected = beside[which] + (own @ amplitudes[..., None])[..., 0]
            value, slope, _ = self._compared(part, expected)
            turned = np.swapaxes(own, 1, 2)
            scored = 1 / np.maximum(expected, self._least(part))
            return Expansion(
                2 * (perfect - value.sum(axis=1)),
                (turned @ slope[..., None])[..., 0],
                turned @ (scored[..., None] * own) + known,
            )

        heavy = columns * weight[:, None]
        turned = np.swapaxes(heavy, 1, 2)
        left = (self.problem.spectra[part] - beside) * weight
        start = np.linalg.solve(turned @ heavy + known, turned @ left[..., None])[
            ..., 0
        ].clip(lowest)
        end = start
        if k:
            end = descend(
                objective,
                start,
                np.array([lowest, np.full(k, np.inf)]),
                least_fall=_SETTLED,
                max_steps=_STEPS,
            ).parameters
        expected = beside + (columns @ end[..., None])[..., 0]
        return _Likeliest(end, expected, columns, lengths, log_volume)

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
