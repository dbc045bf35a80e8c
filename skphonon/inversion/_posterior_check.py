r"""Posterior predictive check, and the verdict of a posterior.

Replicated spectra are simulated from draws, with noise of the errors of the pixels. A
discrepancy D of the measured spectrum y and of replicates y' is calculated at the same
draws theta, and

.. math:: p = P(D(y', \theta) \ge D(y, \theta))

(A. Gelman, X.-L. Meng and H. Stern, Statistica Sinica 6, 733 (1996)). Amplitudes and
background are fitted to each replicate as to the measured spectrum, so that residuals
of both have lost the same. What remains open are constants and nuisances, far fewer
than pixels: p is then nearly even between 0 and 1 where the model is right.

The discrepancies are chi^2 over the number of pixels, which tells nothing where errors
were estimated from the residuals, and the correlation of residuals that are next to
each other along any axis of the image, which does not depend on the errors' size.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skphonon.inversion._errors import neighbours_of
from skphonon.inversion._goodness import TOLERATED, TOLERATED_UNKNOWN
from skphonon.inversion._model import parts_of
from skphonon.inversion._verdict import Finding, Verdict, ended_at_bound
from skphonon.physics.stability import searching

__all__ = [
    "CHI2",
    "NEIGHBOURS",
    "is_weak",
    "joint_p_value",
    "judge_draws",
    "replicate",
    "worth_of",
]

Array = NDArray[np.float64]

CHI2, NEIGHBOURS = "chi^2 per pixel", "correlation of neighbours"

_FEWEST = 100  # independent draws, below which intervals are rough
_HEAVY = 0.7  # shape of the tail of weights above which they are not to be trusted
_UNMIXED = 1.05  # R-hat of chains that disagree
_WELL, _LOW = 0.5, 0.3  # shape and efficiency that together are not
_ALIKE = 0.9  # efficiency of weights that are nearly equal
_COPIES = 20  # replicates of each
_LEVEL = 0.005  # false alarms of the check, where models are right
_COUNTS = 0.01  # share of the draws from which on a mode is told
_EDGE, _EDGE_STD = 0.03, 0.25  # a bound's surroundings, of the width and of the std
_CUT = 0.02  # share of the draws there: a normal distribution cut at 1.7 std has it


def is_weak(posterior: Any) -> bool:
    """Tell whether draws are worth few; a tail of weights that are alike is none."""
    shape, efficiency = posterior.shape, posterior.efficiency
    heavy = shape > _HEAVY and efficiency < _ALIKE
    heavy = heavy or (shape > _WELL and efficiency < _LOW)
    unmixed = posterior.r_hat > _UNMIXED
    return bool(round(posterior.n_effective) < _FEWEST or heavy or unmixed)


def worth_of(posterior: Any) -> str:
    """Return in words what draws are worth."""
    worth = f"are worth {posterior.n_effective:.0f} independent ones"
    if np.isfinite(posterior.r_hat):
        chains = f"R-hat of their chains is {posterior.r_hat:.2f}"
        return f"{posterior.n_draws} draws {worth}, and {chains}"
    if not np.isfinite(posterior.shape):
        return f"{posterior.n_draws} weighted draws {worth}"
    shape = f"the shape of the largest weights is {posterior.shape:.2f}"
    return f"{posterior.n_draws} weighted draws {worth}, and {shape}"


def replicate(
    drawn: Any, rows: Array, fit: Any, rng: np.random.Generator
) -> pd.DataFrame:
    """Return discrepancies of the measured spectrum and of replicates, as a table.

    Rows are draws of equal weight.
    """
    target, sigma = drawn.target, drawn.sigma
    pairs = _neighbours(fit)
    measured, replicated = [], []
    with searching():
        shown = target.model.simulate(rows)[..., target.pixels]
    spectrum = target.problem.spectra
    for contributions in shown:
        left = _residuals(target.problem, contributions[None], sigma)
        measured.append(_discrepancies(left, pairs)[0])
        expected = np.broadcast_to(spectrum - left * sigma, (_COPIES, len(spectrum)))
        if drawn.counts:
            noisy = rng.poisson(expected.clip(0)).astype(float)
        else:
            noisy = rng.normal(expected, sigma)
        problem = target.problem.of_spectra(noisy)
        copies = np.broadcast_to(contributions, (_COPIES, *contributions.shape))
        left = _residuals(problem, copies, sigma)
        replicated.append(_discrepancies(left, pairs))
    larger = (np.array(replicated) >= np.array(measured)[:, None]).sum(axis=(0, 1))
    copied = np.concatenate(replicated)
    p_value = (1 + larger) / (1 + len(copied))
    known = np.array([fit.figures.get("noise_known", False), pairs.size > 0])
    low, high = np.quantile(copied, [0.025, 0.975], axis=0)
    return pd.DataFrame(
        {
            "measured": np.mean(measured, axis=0),
            "replicated": copied.mean(axis=0),
            "low": low,
            "high": high,
            "p_value": np.where(known, p_value, np.nan),
        },
        index=pd.Index([CHI2, NEIGHBOURS], name="discrepancy"),
    )


def joint_p_value(table: pd.DataFrame) -> float:
    """Return the p-value of both discrepancies together (Bonferroni), or NaN."""
    known = table["p_value"].dropna()
    return float(min(len(known) * known.min(), 1.0)) if len(known) else np.nan


def _neighbours(fit: Any) -> NDArray[np.int_]:
    """Return pairs of compared pixels that are next to each other, (2, n)."""
    seen, begin, found = np.isfinite(fit.residual), 0, []
    for part in parts_of(fit.simulator, len(seen)):
        places = np.flatnonzero(seen[part.pixels])
        found.append(begin + neighbours_of((part.shape, places)))
        begin += len(places)
    return np.hstack(found)


def _residuals(problem: Any, contributions: Array, sigma: Array) -> Array:
    """Return measured less expected (R, n_pixels), in units of the errors."""
    nothing = np.empty((*contributions.shape, 0))
    off = problem.compare(contributions, nothing).residual * problem.unit
    left: Array = -off / problem.weight / sigma
    return left


def _discrepancies(left: Array, pairs: NDArray[np.int_]) -> Array:
    """Return both discrepancies of residuals (R, n_pixels), (R, 2)."""
    square = np.square(left).mean(axis=1)
    alike = np.zeros(len(left))
    if pairs.size:
        one, other = left[:, pairs[0]], left[:, pairs[1]]
        alike = (one * other).mean(axis=1) / square.clip(np.finfo(float).tiny)
    return np.column_stack([square, alike])


def judge_draws(posterior: Any) -> Verdict:
    """Return what is wrong with a posterior, its fit included.

    Of the fit all is taken but other answers and bounds, of which draws tell more.
    """
    fit = posterior.fit
    if not posterior.n_draws:
        text = "There are no draws: this spectrum has no posterior."
        advice = "See the warning; give the errors of its pixels, or more n_starts."
        return Verdict([Finding("draws", 0.0, text, advice), *fit.verdict_])
    found = [*_trust(posterior), *_answers(posterior)]
    told = [each for each in fit.verdict_ if each.about not in ("answers", "bound")]
    found += told
    found += _prediction(posterior, any(each.about == "misfit" for each in told))
    found += _edges(posterior)
    amplitudes = fit.at_bound[fit.at_bound != 0].index.difference(
        posterior.draws.columns, sort=False
    )
    if len(amplitudes):
        found.append(ended_at_bound(list(amplitudes)))
    return Verdict(found)


def _trust(posterior):
    if not is_weak(posterior):
        return []
    text = f"The draws are not to be trusted: {worth_of(posterior)}."
    advice = "Raise n_draws, narrow bounds or give a prior."
    if np.isnan(posterior.r_hat):
        advice = "Raise n_draws, narrow bounds, give a prior, or take sampler='nuts'."
    return [Finding("draws", float(posterior.n_effective), text, advice)]


def _answers(posterior):
    """Judge whether there are several modes that count."""
    share = posterior.modes["share"].to_numpy()
    share = share[share > _COUNTS]
    if len(share) < 2:
        return []
    told = " and ".join(f"{each:.0%}" for each in share)
    text = f"There are {len(share)} answers, with {told} of the draws."
    advice = (
        "Quote all of them (posterior.modes): a mean between them may be none. Or give "
        "what tells them apart."
    )
    return [Finding("answers", float(share[1]), text, advice)]


def _prediction(posterior, is_told):
    """Judge whether replicated spectra are like the measured one."""
    table = posterior.predictive_check()
    square, alike = table.loc[CHI2], table.loc[NEIGHBOURS]
    told, level = [], _LEVEL / max(table["p_value"].notna().sum(), 1)
    high = square["measured"] > TOLERATED * square["replicated"]
    if square["p_value"] < level and high:
        told.append(
            f"chi^2 per pixel is {square['measured']:.3g}, that of replicates up to "
            f"{square['high']:.3g}"
        )
    # residuals that are alike by r are 1 / (1 - r) times what neighbours differ by
    off = alike["measured"] - alike["replicated"]
    if alike["p_value"] < level and off > 1 - 1 / TOLERATED_UNKNOWN:
        told.append(
            f"residuals of neighbouring pixels correlate by {alike['measured']:.2g}, "
            f"those of replicates by up to {alike['high']:.2g}"
        )
    if not told:
        return []
    text = (
        "Spectra that the posterior predicts are not like the measured one: "
        f"{', and '.join(told)} (p = {posterior.p_value:.2g})."
    )
    advice = (
        "The misfit above is the likely cause."
        if is_told
        else "Something is not in the model, errors are too small, or noise is "
        "correlated by rebinning: look at a PosteriorPredictiveDisplay."
    )
    return [Finding("prediction", posterior.p_value, text, advice)]


def _edges(posterior):
    """Judge whether bounds of the prior cut the posterior."""
    if posterior.bounds is None:
        return []
    low, high = posterior.bounds
    values, weights = posterior.draws.to_numpy(), posterior.weights
    std = np.sqrt(weights @ np.square(values - weights @ values))
    near = np.minimum(_EDGE * (high - low), _EDGE_STD * std)
    told, most = [], 0.0
    for end, away in ((low, values - low), (high, high - values)):
        shares = np.where(np.isfinite(end), weights @ (away <= near), 0.0)
        for i in np.flatnonzero(shares > _CUT):
            name = posterior.draws.columns[i]
            told.append(
                f"{shares[i]:.0%} of {name} within {near[i]:.2g} of {end[i]:.4g}"
            )
            most = max(most, float(shares[i]))
    if not told:
        return []
    text = f"The edge of the prior cuts the posterior: {', '.join(told)}."
    advice = (
        "Intervals are those of the prior there. Widen its bounds, unless they are a "
        "limit of nature or of a calibration; if so, quote the limit."
    )
    return [Finding("bound", most, text, advice)]
