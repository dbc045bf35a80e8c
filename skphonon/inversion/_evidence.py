r"""What a fit tells of its evidence: likelihood and priors about its end.

Constants have a normal prior, nuisances a flat one between their bounds. So have
amplitudes, the weights of contributions (and of the sample, where its scale is free)
and of terms of a background: up to what would make the contribution or term as large
as the contrast of its spectrum, on both sides of zero for a term. In a flat prior of
width w nothing pulls. It is given the information :math:`2\pi/w^2`, so that a value
costs nothing if the data do not tell it.

The integral over all m values is that of the normal distribution about the end,

.. math:: \ln Z = -\tfrac12 \left[F - g^T T^{-1} g + \ln\det T - \ln\det K\right],

with the sum F of squares of residuals and of what is known, half its gradient g, the
information K of the priors, and T of these and the data. The term of g goes from the
end, which was found with weights of its own, to the optimum with those that all
models share. Where values ended at a bound, or weights near zero, the integral is over
one side.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfcx, log_ndtr

from skphonon.fitting import Knowledge, normal_rows
from skphonon.instrument.noise import PoissonNoise
from skphonon.inversion._errors import alike_pixels
from skphonon.inversion._fitting import fewest_counts

__all__ = ["Ended", "end_of", "log_evidence", "widths_of"]

Array = NDArray[np.float64]


class Ended(NamedTuple):
    """A fit of m values about its end, for each of the k parts of its spectra."""

    n_pixels: Array  # (k,)
    square: Array  # (k,), of residuals, in units of errors where these are known
    gradient: Array  # (k, m), of half of that
    information: Array  # (k, m, m), derivatives times derivatives
    alike: Array  # (k,), how many pixels err as one
    before: tuple[Array, Array]  # residuals (r,) of what is known, derivatives (r, m)
    widths: Array  # of the flat priors, those of the last values
    side: Array  # (m,), of the bound where a value ended, otherwise 0
    room: Array  # (m,), above the least possible value of a weight, otherwise infinite
    n_observables: int  # values known of the constants beside their prior


class _Amplitudes(NamedTuple):
    """What enters a fit linearly."""

    columns: Array  # (n, a)
    values: Array  # (a,)
    widths: Array  # (a,), of their priors
    signed: NDArray[np.bool_]  # (a,), whether they may be negative


def end_of(fit: Any, context: Any) -> Ended:
    """Return a fit about its end, from how its spectrum was compared."""
    search, errors = context
    seen = np.isfinite(fit.residual)
    problem, images, _ = search.problem(fit.spectrum[seen], seen, errors)
    task, names = search.task, list(search.model.nuisance)
    measured, left = fit.spectrum[seen], fit.residual[seen]
    expected = measured - left
    if task.counts:
        expected = np.maximum(expected, fewest_counts(problem))
        problem = problem.reweighted(1 / np.sqrt(expected))
    x = np.array([*fit.parameters, *(fit.nuisance[name] for name in names)])
    slopes, linear = _derivatives(problem, x, len(search.model.sources))
    residual = -left * problem.weight
    if problem.backgrounds is None:  # spectra that are normalised
        residual = problem(x).residual * problem.unit
    derivative = np.hstack([slopes, linear.columns])
    square = np.square(residual)
    if task.counts:
        square = PoissonNoise().deviance(measured[:, None], expected[:, None])
    # of several normal distributions the product counts, observables count as data
    observables = [each for each in task.prior.pieces if hasattr(each, "__self__")]
    pieces = [normal_rows(*fit.prior), *observables]
    off, rows = Knowledge(pieces, task.n_constants).rows(x)
    at_bound = fit.at_bound.reindex([*fit.parameter_names, *names]).fillna(0)
    at_zero = ~linear.signed & (linear.values <= 0)
    room = np.where(linear.signed | at_zero, np.inf, linear.values)
    return Ended(
        n_pixels=np.array([len(square[part]) for part in problem.parts]),
        square=np.array([square[part].sum() for part in problem.parts]),
        gradient=np.array([derivative[p].T @ residual[p] for p in problem.parts]),
        information=np.array([derivative[p].T @ derivative[p] for p in problem.parts]),
        alike=np.array(
            [
                alike_pixels(residual[part], image) if len(residual[part]) else 1.0
                for part, image in zip(problem.parts, images, strict=True)
            ]
        ),
        before=(off, np.hstack([rows, np.zeros((len(rows), len(linear.values)))])),
        widths=np.append(
            np.diff(task.bounds[:, task.n_constants :], axis=0), linear.widths
        ),
        side=np.append(at_bound.to_numpy(dtype=float), -1.0 * at_zero),
        room=np.append(np.full(len(x), np.inf), room),
        n_observables=len(off) - task.n_constants,
    )


def _derivatives(problem: Any, x: Array, n_sources: int) -> tuple[Array, _Amplitudes]:
    """Return weighted derivatives with parameters, and what enters linearly."""
    evaluation = problem(x)
    if problem.backgrounds is None:
        nothing = np.zeros((len(evaluation.residual), 0))
        none = _Amplitudes(nothing, nothing[0], nothing[0], nothing[0] > 0)
        return evaluation.derivative * problem.unit, none
    weights, fixed = np.nan_to_num(evaluation.weights), int(not problem.free_scale)
    _, columns, slopes = problem.linear_parts(x, weights)
    contrast = np.sqrt([problem._contrast(part) for part in problem.parts])
    number = np.tile(np.arange(fixed, weights.shape[1]), len(weights))
    sizes = np.linalg.norm(columns, axis=0)
    told = sizes > 0
    signed = (number >= n_sources)[told]
    contrast = np.repeat(contrast, weights.shape[1] - fixed)[told]
    return slopes, _Amplitudes(
        columns[:, told],
        weights[:, fixed:].ravel()[told],
        widths_of(contrast, sizes[told], signed),
        signed,
    )


def widths_of(contrast: ArrayLike, sizes: ArrayLike, signed: ArrayLike) -> Array:
    """Return the widths of the flat priors of amplitudes.

    Contrast of a spectrum and sizes of columns are in units of errors; what may be
    negative is so on both sides of zero.
    """
    widths: Array = np.where(signed, 2.0, 1.0) * contrast / np.asarray(sizes)
    return widths


def log_evidence(end: Ended, scale: Array, covariance: Array) -> float:
    """Return the logarithm of the evidence, but for what models share.

    `scale` is by how much squares of each part count, `covariance` that of the prior of
    the constants.
    """
    off, rows = end.before
    flat = np.zeros(rows.shape[1])
    flat[len(flat) - len(end.widths) :] = 2 * np.pi / end.widths**2
    gradient = scale @ end.gradient + rows.T @ off
    whole = np.tensordot(scale, end.information, axes=1) + rows.T @ rows + np.diag(flat)
    # in units in which each value has the information one
    unit = np.sqrt(whole.diagonal())
    whole, gradient = whole / np.outer(unit, unit), gradient / unit
    free = end.side == 0
    step = np.zeros(len(unit))
    step[free] = -np.linalg.solve(whole[np.ix_(free, free)], gradient[free])
    squares = scale @ end.square + off @ off + gradient @ step
    lost = np.linalg.slogdet(whole)[1] + 2 * np.log(unit).sum()
    lost += np.linalg.slogdet(covariance)[1] - np.log(flat[flat > 0]).sum()
    alone = np.sqrt(1 / np.linalg.inv(whole).diagonal())  # all others left open
    pushed = np.maximum(-end.side * (gradient + whole @ step), 0.0) / alone
    sides = np.where(
        free,
        log_ndtr(end.room * unit * alone),
        np.log(erfcx(pushed / np.sqrt(2)) / 2),
    )
    return float(sides.sum() - (squares + lost) / 2)
