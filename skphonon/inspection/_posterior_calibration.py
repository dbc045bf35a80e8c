r"""Tests of posteriors on spectra whose parameters are known.

Draw parameters from the prior, simulate a spectrum with noise, invert it: if the
posterior is right, the truth is one more draw from it. So its rank among the draws, in
any direction and by any distance, is evenly distributed over many spectra. Ranks of
single parameters are those of simulation-based calibration (arXiv:1804.06788), ranks of
distances those of TARP (arXiv:2302.03026).

All ranks are fractions, and even on [0, 1] without steps: of n draws of equal weight, b
lie below the truth and t are equal to it,

.. math:: f = (b + u (t + 1)) / (n + 1),

with an even random number u from 0 to 1. For weighted draws n is the effective number,
:math:`1 / \sum w^2` of weights that sum to one, and b and t are n times sums of them.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binom, kstest, kstwo
from sklearn.utils import check_random_state

from skphonon._numbers import numbers_of

__all__ = [
    "NOMINAL",
    "JointCoverage",
    "coverage_band",
    "interval_coverage",
    "open_draws",
    "parameter_labels",
    "rank_statistics",
    "tarp_coverage",
]

NOMINAL = np.append(np.arange(1, 20) / 20, 0.99)  # coverages that are looked at
_BAND = 0.99


class JointCoverage(NamedTuple):
    """Coverage of joint credible regions of many posteriors.

    Parameters
    ----------
    credibility : ndarray of shape (n_spectra,)
        Probability that the posterior gives to the region whose border the truth is
        on: even between 0 and 1 if posteriors are right.
    table : DataFrame
        One row for each nominal coverage, with the columns `nominal` (alpha),
        `observed` (share of the spectra whose credibility is below: the expected
        coverage, ECP), `low` and `high` (where one point of right posteriors is 99
        times of 100) and `low_all` and `high_all` (where the whole curve is).
    p_value : float
        Of the Kolmogorov-Smirnov test that credibilities are even.

    See Also
    --------
    tarp_coverage : Makes one.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import tarp_coverage
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(300, 1, 2))
    >>> truth, draws = rng.normal(x)[:, 0], rng.normal(x, size=(300, 99, 2))
    >>> coverage = tarp_coverage(draws, truth, random_state=0)
    >>> coverage.table.query("nominal == 0.5")["observed"].round(1).item()
    0.5
    """

    credibility: np.ndarray
    table: pd.DataFrame
    p_value: float


def rank_statistics(draws, truth, weights=None, *, random_state=None):
    r"""Rank true parameters among draws of their posteriors.

    Simulation-based calibration [1]_: over truths from the prior, ranks in right
    posteriors are even between 0 and 1. They crowd at both ends where posteriors are
    too narrow, in the middle where they are too wide, and at one end where they are
    shifted. The converse does not hold: a posterior that is the prior has even ranks
    too, and so have posteriors with wrong correlations (:func:`tarp_coverage`).

    A rank is :math:`f = (b + u (t + 1)) / (n + 1)`, where b draws lie below the truth,
    t are equal to it and u is random, even between 0 and 1. It is exactly even for n
    independent draws of equal weight. For others b and t are sums of weights, times the
    effective number of draws :math:`n = 1 / \sum w^2`, and f is even to second order:
    take 50 effective draws or more.

    Parameters
    ----------
    draws : array-like of shape (n_spectra, n_draws, n_parameters), or list
        Draws from the posterior of each spectrum, independent: thin Markov chains. A
        list may hold arrays of shape (n_draws, n_parameters) with numbers of draws that
        differ, or posteriors with attributes `draws` and `weights`, of which a truth
        of the constants alone leaves nuisances out.
    truth : array-like of shape (n_spectra, n_parameters)
        Parameters with which the spectra were simulated.
    weights : array-like of shape (n_spectra, n_draws) or list, default=None
        Weights of the draws, of any sum. None takes those of the posteriors, or equal
        ones.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers u.

    Returns
    -------
    ndarray of shape (n_spectra, n_parameters)
        Ranks as fractions between 0 and 1.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, weights are negative or all zero,
        or a spectrum has fewer than two draws.

    See Also
    --------
    RankDisplay : Histograms of the ranks.

    References
    ----------
    .. [1] S. Talts, M. Betancourt, D. Simpson, A. Vehtari and A. Gelman, "Validating
       Bayesian inference algorithms with simulation-based calibration",
       :doi:`10.48550/arXiv.1804.06788`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import rank_statistics
    >>> draws = np.arange(99.0).reshape(1, 99, 1)
    >>> rank_statistics(draws, [[24.5]], random_state=0).round(2)
    array([[0.26]])
    """
    posteriors, truth = _posteriors(draws, truth, weights)
    even = check_random_state(random_state).uniform(size=truth.shape)
    return np.stack(
        [
            _ranks(rows, true, weight, u)
            for (rows, weight), true, u in zip(posteriors, truth, even, strict=True)
        ]
    )


def tarp_coverage(
    draws, truth, weights=None, *, references="random", random_state=None
):
    r"""Compare expected with nominal coverage of joint credible regions.

    Tests of accuracy with random points (TARP) [1]_: for each spectrum the region is a
    ball about a reference point that reaches to the truth, and its credibility the
    weight of the draws in it. Distances are Euclidean, each parameter in units of the
    standard deviation of the truths:
    :math:`d^2 = \sum_i (\theta_i - r_i)^2 / s_i^2`. References are even over the range
    of the truths. Credibilities are ranks of distances, with the convention of
    :func:`rank_statistics`.

    Random points far from narrow posteriors cut them along planes of many directions.
    What is too wide along some and too narrow along others then averages out in part.
    ``references="ellipsoid"`` is far more sensitive to wrong correlations: its regions
    are the ellipsoids of the covariance of draws (and truth) about their mean. Their
    observed coverage is below the nominal one where posteriors are too narrow or
    shifted, and above where they are too wide. Measured where
    posteriors lack a correlation of 0.86: a test at 1 % finds it in one of twelve sets
    of 300 spectra with random points and in ten with ellipsoids, in nine and in all of
    twelve sets of 1000.

    Posteriors equal to the prior pass, whatever the references, as they pass the test
    of ranks: look at their widths as well.

    Parameters
    ----------
    draws : array-like of shape (n_spectra, n_draws, n_parameters), or list
        As of :func:`rank_statistics`.
    truth : array-like of shape (n_spectra, n_parameters)
        Parameters with which the spectra were simulated.
    weights : array-like of shape (n_spectra, n_draws) or list, default=None
        As of :func:`rank_statistics`.
    references : "random", "ellipsoid" or array-like, default="random"
        Centres of the regions. An array of the shape of `truth` gives one for each
        spectrum. It may depend on the spectrum, as an estimate by something else does,
        but not on the truth or on the draws.
    random_state : int, RandomState instance or None, default=None
        Seed of the references and of what makes ranks even.

    Returns
    -------
    JointCoverage
        Credibilities of the truths, table of coverages with 99 % bands, and p-value of
        a Kolmogorov-Smirnov test.

    Raises
    ------
    ValueError
        If arguments are wrong as in :func:`rank_statistics`, all truths of a parameter
        are the same, or references do not fit.

    See Also
    --------
    TARPDisplay : Picture of the coverages.

    References
    ----------
    .. [1] P. Lemos, A. Coogan, Y. Hezaveh and L. Perreault-Levasseur, "Sampling-based
       accuracy testing of posterior estimators for general inference",
       :doi:`10.48550/arXiv.2302.03026`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import tarp_coverage
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(300, 1, 2))
    >>> truth, draws = rng.normal(x)[:, 0], rng.normal(x, 0.5, size=(300, 99, 2))
    >>> tarp_coverage(draws, truth, random_state=0).p_value < 0.01  # too narrow
    True
    """
    posteriors, truth = _posteriors(draws, truth, weights)
    spread = truth.std(axis=0)
    if not (spread > 0).all():
        raise ValueError(
            "truth must vary over the spectra in each parameter, which is the unit of "
            f"distances; got {len(truth)} spectra and the same value in the columns "
            f"{np.flatnonzero(~(spread > 0)).tolist()}. Leave parameters out that are "
            "fixed."
        )
    random = check_random_state(random_state)
    even = random.uniform(size=(len(truth), 1))
    scaled = truth / spread
    points = _references(references, truth, random)
    credibility = np.empty(len(truth))
    for k, (rows, weight) in enumerate(posteriors):
        if points is None:
            of_truth, of_rows = _ellipsoid(scaled[k], rows / spread, weight)
        else:
            point = points[k] / spread
            of_truth = ((scaled[k] - point) ** 2).sum(keepdims=True)
            of_rows = ((rows / spread - point) ** 2).sum(axis=1)
        credibility[k] = _ranks(of_rows[:, None], of_truth, weight, even[k])[0]
    p_value = float(kstest(credibility, "uniform").pvalue)
    return JointCoverage(credibility, _joint_table(credibility), p_value)


def interval_coverage(
    draws,
    truth,
    weights=None,
    *,
    names=None,
    levels=None,
    estimator="draws",
    random_state=None,
):
    """Count how often central intervals of single parameters hold the truth.

    The table is that of a :class:`ReliabilityDisplay`, which draws it:
    ``ReliabilityDisplay(data=interval_coverage(draws, truth))``. Intervals are those of
    ranks (:func:`rank_statistics`), so that right posteriors have the nominal coverage
    for any number of draws. Wrong ones show only up to the coverage that n (effective)
    draws resolve, :math:`1 - 2 / (n + 1)`: take 400 for 99 %.

    Parameters
    ----------
    draws : array-like of shape (n_spectra, n_draws, n_parameters), or list
        As of :func:`rank_statistics`.
    truth : array-like of shape (n_spectra, n_parameters)
        Parameters with which the spectra were simulated.
    weights : array-like of shape (n_spectra, n_draws) or list, default=None
        As of :func:`rank_statistics`.
    names : sequence of str, default=None
        Names of the parameters. None takes those of tables of draws, or numbers.
    levels : array-like of float, default=None
        Nominal coverages, between 0 and 1. None: 0.05, 0.10 and so on to 0.95, and
        0.99.
    estimator : str, default="draws"
        What the curve is called.
    random_state : int, RandomState instance or None, default=None
        Seed of what makes ranks even.

    Returns
    -------
    DataFrame
        One row for each parameter and nominal coverage, with the columns `estimator`,
        `target`, `nominal`, `observed`, `low` and `high` (99 % band of a binomial
        distribution) and `n_samples`.

    Raises
    ------
    ValueError
        If arguments are wrong as in :func:`rank_statistics`, or levels are not between
        0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import interval_coverage
    >>> rng = np.random.default_rng(0)
    >>> truth, draws = rng.normal(size=(500, 1)), 0.5 * rng.normal(size=(500, 99, 1))
    >>> table = interval_coverage(draws, truth, levels=[0.68, 0.95], random_state=0)
    >>> table[["nominal", "observed"]].round(2)
       nominal  observed
    0     0.68      0.38
    1     0.95      0.67
    """
    ranks = rank_statistics(draws, truth, weights, random_state=random_state)
    levels = NOMINAL if levels is None else levels
    levels = np.atleast_1d(numbers_of(levels, "levels"))
    if not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"levels must be between 0 and 1, got {levels.tolist()}.")
    n_spectra, n_parameters = ranks.shape
    low, high = coverage_band(n_spectra, levels)
    tables = [
        pd.DataFrame(
            {
                "estimator": estimator,
                "target": name,
                "nominal": levels,
                "observed": (abs(2 * column[:, None] - 1) <= levels).mean(axis=0),
                "low": low,
                "high": high,
                "n_samples": n_spectra,
            }
        )
        for name, column in zip(
            parameter_labels(names, draws[0], n_parameters), ranks.T, strict=True
        )
    ]
    return pd.concat(tables, ignore_index=True)


def coverage_band(n_spectra, nominal, band=_BAND):
    """Return ends of the binomial band of a share of spectra, a probability each."""
    low, high = binom.interval(band, n_spectra, nominal)
    return low / n_spectra, high / n_spectra


def open_draws(draws, weights=None, what="draws"):
    """Return draws (n_draws, n_parameters) and weights that sum to one.

    Draws are an array or table, or have attributes `draws` and perhaps `weights`.
    """
    if not isinstance(draws, pd.DataFrame) and hasattr(draws, "draws"):
        weights = getattr(draws, "weights", None) if weights is None else weights
        draws = draws.draws
    rows = numbers_of(draws, what)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(
            f"{what} must have shape (n_draws, n_parameters), got {rows.shape}."
        )
    if len(rows) < 2:
        raise ValueError(f"{what} must be two or more, got {len(rows)}.")
    if not np.isfinite(rows).all():
        raise ValueError(
            f"{what} must be finite, got {(~np.isfinite(rows)).any(axis=1).sum()} of "
            f"{len(rows)} draws with values that are not. Leave them out, and say so."
        )
    if weights is None:
        return rows, np.full(len(rows), 1 / len(rows))
    return rows, _unit_sum(numbers_of(weights, f"weights of {what}"), len(rows), what)


def parameter_labels(names, draws, n_parameters):
    """Return names of parameters: those given, those the draws know, or numbers."""
    if names is None:
        names = getattr(getattr(draws, "model", None), "parameter_names", None)
        is_table = isinstance(draws, pd.DataFrame)
        table = draws if is_table else getattr(draws, "draws", None)
        if isinstance(table, pd.DataFrame):
            # of a posterior the first ones, where nuisances are left out
            names = table.columns[:n_parameters]
    if names is None:
        return [f"parameter {i}" for i in range(n_parameters)]
    if isinstance(names, str) or len(names) != n_parameters:
        raise ValueError(
            f"names must be a list with one for each of {n_parameters} parameters, got "
            f"{names!r}."
        )
    labels = [str(name) for name in names]
    if len(set(labels)) != n_parameters:
        raise ValueError(f"names must differ from one another, got {labels}.")
    return labels


def _unit_sum(weights, n_draws, what):
    if weights.shape != (n_draws,):
        raise ValueError(
            f"weights of {what} must have shape ({n_draws},), one a draw; got "
            f"{weights.shape}."
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"weights of {what} must be finite, not negative and not all zero; got "
            f"values from {weights.min():.3g} to {weights.max():.3g}. Take the "
            "exponential of logarithms less their maximum."
        )
    weights = weights / weights.max()  # no overflow in the sum
    return weights / weights.sum()


def _posteriors(draws, truth, weights):
    """Return a pair of draws and weights for each spectrum, and the truths."""
    truth = numbers_of(truth, "truth")
    if truth.ndim != 2 or 0 in truth.shape:
        raise ValueError(
            "truth must have shape (n_spectra, n_parameters), a row a spectrum; got "
            f"{truth.shape}."
        )
    if not np.isfinite(truth).all():
        raise ValueError(
            "truth must be finite, got values that are not in the spectra "
            f"{_few(~np.isfinite(truth).all(axis=1))}."
        )
    if not hasattr(draws, "__len__") or len(draws) != len(truth):
        got = len(draws) if hasattr(draws, "__len__") else type(draws).__name__
        raise ValueError(
            f"draws must hold a posterior for each of the {len(truth)} spectra of "
            f"truth, in this order; got {got}."
        )
    if weights is not None and len(weights) != len(truth):
        raise ValueError(
            "weights must hold those of the draws of each spectrum, "
            f"{len(truth)} rows; got {len(weights)}."
        )
    opened = []
    for k, rows in enumerate(draws):
        what = f"draws of spectrum {k}"
        own = getattr(rows, "parameter_names", None)
        found, weight = open_draws(rows, None if weights is None else weights[k], what)
        if own is not None and len(own) == truth.shape[1]:
            found = found[:, : len(own)]  # constants, without the nuisances behind
        opened.append((found, weight))
        if opened[-1][0].shape[1] != truth.shape[1]:
            raise ValueError(
                f"{what} must have the {truth.shape[1]} parameters of truth, got "
                f"{opened[-1][0].shape[1]}."
            )
    return opened, truth


def _few(chosen):
    """Return the numbers of what is chosen, the first five of many."""
    numbers = np.flatnonzero(chosen).tolist()
    return ", ".join(map(str, numbers[:5])) + ", ..." * (len(numbers) > 5)


def _ranks(rows, truth, weight, u):
    n = 1 / (weight**2).sum()
    below, equal = weight @ (rows < truth), weight @ (rows == truth)
    return (n * below + u * (n * equal + 1)) / (n + 1)


def _references(references, truth, random):
    """Return a point for each spectrum, or None for ellipsoids."""
    if isinstance(references, str):
        if references == "random":
            return random.uniform(truth.min(axis=0), truth.max(axis=0), truth.shape)
        if references == "ellipsoid":
            return None
        raise ValueError(
            f'references must be "random", "ellipsoid" or an array, got {references!r}.'
        )
    points = numbers_of(references, "references")
    if points.shape != truth.shape or not np.isfinite(points).all():
        raise ValueError(
            f"references must be finite and have the shape of truth, {truth.shape}; "
            f"got shape {points.shape} and {(~np.isfinite(points)).sum()} values that "
            "are not finite."
        )
    return points


def _ellipsoid(truth, rows, weight):
    """Return squared Mahalanobis distances of the truth and of draws.

    Mean and covariance count the truth as one more draw: it is exchangeable with them.
    """
    n = 1 / (weight**2).sum()
    points = np.vstack([truth, rows])
    shares = np.append(1, n * weight) / (n + 1)
    points = points - shares @ points
    covariance = (shares * points.T) @ points
    inverse = np.linalg.pinv(covariance, hermitian=True)
    squares = np.einsum("ni,ij,nj->n", points, inverse, points)
    return squares[:1], squares[1:]


def _joint_table(credibility):
    n_spectra = len(credibility)
    nominal = np.linspace(0, 1, 101)
    observed = np.searchsorted(np.sort(credibility), nominal) / n_spectra
    low, high = coverage_band(n_spectra, nominal)
    reach = kstwo.ppf(_BAND, n_spectra)
    return pd.DataFrame(
        {
            "nominal": nominal,
            "observed": observed,
            "low": low,
            "high": high,
            "low_all": np.clip(nominal - reach, 0, 1),
            "high_all": np.clip(nominal + reach, 0, 1),
        }
    )
