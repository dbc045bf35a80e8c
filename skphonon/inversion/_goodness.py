"""Warnings of fits that are not what they look like: at a bound, or of a wrong model.

Whether a model describes a spectrum is judged by chi^2 per degree of freedom: the mean
square of the residuals over that of noise. Noise is known, or estimated by what differs
between neighbouring pixels; of a right model chi^2 is then 1, but for its own scatter.
"""

import numpy as np
from scipy.stats import chi2, norm
from sklearn.exceptions import ConvergenceWarning

from skphonon._warnings import warn_user
from skphonon.instrument import MeasurementWarning

__all__ = [
    "TOLERATED",
    "TOLERATED_UNKNOWN",
    "BoundWarning",
    "IdentifiabilityWarning",
    "MisfitWarning",
    "are_misfits",
    "effective_number",
    "is_misfit",
    "warn_of_bounds",
    "warn_of_meshes",
    "warn_of_misfits",
    "warn_of_undetermined",
    "warn_of_weights",
]

_LEVEL = 0.005  # false alarms, of calls whose spectra are all described
TOLERATED = 1.1  # errors of files are seldom right to better than a twentieth
TOLERATED_UNKNOWN = 1.2  # and noise seldom quite independent from pixel to pixel
_SCATTER = 2.2  # of chi^2 over estimated noise, in units of 1 / sqrt(n): simulated
_PRIOR_HELPS = "Leave them out of the model, or give a prior."
_FEW = 0.01  # of the pixels: so few should not hold half of the weight
_ENOUGH = 100  # pixels of which that may be said
_EXACT = 1e-5  # of the contrast: below it simulators differ from one another


class BoundWarning(UserWarning):
    """A fitted value ended at a bound of the search."""


class IdentifiabilityWarning(UserWarning):
    """A spectrum does not determine all that is to be fitted to it."""


class MisfitWarning(UserWarning):
    """A model does not describe a spectrum within its noise."""


def effective_number(residual, variance=2.0):
    """Return of how many normal residuals the mean square scatters as much.

    The variance is that of the squares, 2 for normal ones; None takes it from them.
    """
    if variance is not None:
        return 2 * residual.size**2 / np.sum(np.broadcast_to(variance, residual.shape))
    squares = np.square(residual)
    return 3 * squares.sum() ** 2 / max(np.square(squares).sum(), np.finfo(float).tiny)


def are_misfits(reduced_chi2, n_effective, loss, noise_known):
    """Tell which spectra their models do not describe; not those of chi^2 NaN."""
    level, n = _LEVEL / len(reduced_chi2), np.maximum(n_effective, 1)
    if noise_known:
        limit = np.maximum(chi2.isf(level, n) / n, TOLERATED)
        return reduced_chi2 > limit
    limit = 1 + _SCATTER * norm.isf(level) / np.sqrt(n)
    return (reduced_chi2 > np.maximum(limit, TOLERATED_UNKNOWN)) & (loss > _EXACT)


def is_misfit(figures):
    """Tell, of the figures of one fit, whether its model describes its spectrum."""
    found = are_misfits(
        np.array([figures["reduced_chi2"]]),
        np.array([figures.get("n_effective", 1.0)]),
        np.array([figures.get("loss", 1.0)]),
        figures.get("noise_known", False),
    )
    return bool(found[0])


def warn_of_misfits(reduced_chi2, misfits, noise_known, consequence, unused):
    """Warn of spectra that are not described, if there are any.

    `unused` names the arguments that would fit more along.
    """
    if not misfits.any():
        return
    worst = np.where(misfits, reduced_chi2, 0.0).argmax()
    figure = f"chi^2 per degree of freedom {reduced_chi2[worst]:.3g}"
    what = f"the data ({figure})"
    if len(misfits) > 1:
        what = (
            f"{misfits.sum()} of {len(misfits)} spectra (worst: sample {worst}, "
            f"{figure})"
        )
    lacking = "improve the model where they have a shape"
    if unused:
        lacking = f"fit what the model lacks along by {' or '.join(unused)}"
    otherwise = "errors are too small" if noise_known else "noise is correlated"
    warn_user(
        f"The model does not describe {what}, or {otherwise}: {consequence} Look at "
        f"the residuals, and {lacking}. A simulator with a mesh of its own may need a "
        "finer one.",
        MisfitWarning,
    )


def warn_of_bounds(at_bound, bounds, consequence):
    """Warn of values that ended at a bound, if any did."""
    there = at_bound.to_numpy()
    if not there.any():
        return
    several = len(at_bound) > 1
    found = [
        f"{name} = {bound:g}"
        + several * f" ({ended.sum()} of {len(ended)} spectra, first: {ended.argmax()})"
        for name, column, pair in zip(at_bound, there.T, bounds.T, strict=True)
        for ended, bound in zip((column < 0, column > 0), pair, strict=True)
        if ended.any()
    ]
    warn_user(f"Ended at a bound: {', '.join(found)}. {consequence}", BoundWarning)


def warn_of_meshes(bias, names, limit):
    """Warn of parameters that a mesh moves, as no finer one was to be had.

    `bias` is in standard deviations, (n_samples, n_parameters), NaN where not known.
    """
    unknown = np.isnan(bias).any(axis=1)
    if unknown.any():
        warn_user(
            f"How far the mesh of the zone moves the parameters of {unknown.sum()} of "
            f"{len(bias)} spectra (first: sample {unknown.argmax()}) is not known: a "
            "finer mesh to compare with takes more than the working memory. Raise "
            "it by sklearn.config_context(working_memory=...), or keep the lower bound "
            "of a resolution that is fitted along from being too small.",
            ConvergenceWarning,
        )
    moved = bias > limit
    if moved.any():
        unsure, n_spectra = np.array(names)[moved.any(axis=0)], moved.any(axis=1).sum()
        warn_user(
            f"The mesh of the zone moves {', '.join(unsure)} by up to "
            f"{bias[moved].max():.2g} standard deviations ({n_spectra} of {len(moved)} "
            "spectra), and finer ones did not help. Add that to the error bars, or "
            "lower the tolerance of the simulator.",
            ConvergenceWarning,
        )


def warn_of_undetermined(std, names, what=None, advice=_PRIOR_HELPS):
    """Warn of standard deviations (n_samples, n_parameters) that are infinite."""
    unseen = np.isinf(std)
    if not unseen.any():
        return
    if what is None:
        rows = unseen.any(axis=1)
        what = f"{rows.sum()} of {len(unseen)} spectra (first: sample {rows.argmax()})"
    warn_user(
        f"{what} do not determine {', '.join(np.array(names)[unseen.any(axis=0)])}, "
        f"alone or together. {advice}",
        IdentifiabilityWarning,
    )


def warn_of_weights(errors):
    """Warn where errors of a few pixels are so small that these decide a fit."""
    for row, each in enumerate(errors):
        known = each[np.isfinite(each)]
        weights = np.sort(known**-2.0)[::-1]
        half = np.searchsorted(np.cumsum(weights), weights.sum() / 2) + 1
        if len(known) < _ENOUGH or half > _FEW * len(known):
            continue
        warn_user(
            f"Half of the weight of spectrum {row} is in {half} of {len(known)} "
            f"pixels: errors go down to {known.min():.2g}, their median is "
            f"{np.median(known):.2g}. Files often give pixels with few counts errors "
            "that are much too small. Raise these, errors=np.maximum(errors, "
            "np.nanmedian(errors)), or leave errors out.",
            MeasurementWarning,
        )
        return
