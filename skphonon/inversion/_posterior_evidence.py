"""Evidence of several models of one spectrum, under one likelihood each time."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import clone

from skphonon.inversion.posterior import PosteriorInverter

__all__ = ["compare_posteriors"]

_NOISES = ("residual", "adjusted", "harshest")


def compare_posteriors(
    inverters: Mapping[str, PosteriorInverter],
    spectrum: ArrayLike,
    errors: ArrayLike | None = None,
) -> pd.DataFrame:
    """Compare models of one spectrum by their evidence, and by what it hangs on.

    Evidence compares models under one likelihood. Where the noise is not known, it is
    taken from the model that leaves least, and the answer hangs on how neighbouring
    residuals that are alike are counted, so it is given three times.

    Parameters
    ----------
    inverters : mapping
        Models by name, such as inverters of simulators with two and with three shells.
    spectrum : array-like of shape (n_pixels,)
        One spectrum.
    errors : array-like of shape (n_pixels,) or float, default=None
        Standard deviations of the pixels, where they are known.

    Returns
    -------
    DataFrame
        A row for each model and way to count, with index (`noise`, `model`): "residual"
        (residuals of the best model as white noise), "adjusted" (to the power `beta` of
        the best model), "harshest" (the smallest power of any model). With errors the
        first is "given". Columns: `log_evidence`; `difference` from the best in that
        way, and its Monte-Carlo error `std`; `bic`, the Bayesian information criterion
        over -2, relative to the best likewise; `beta`; and `efficiency` of the draws.

    Raises
    ------
    ValueError
        If there are fewer than two models, or more than one spectrum.

    Warns
    -----
    ConvergenceWarning
        As of `PosteriorInverter`, of draws that are not to be trusted.

    See Also
    --------
    compare_fits : The same by Laplace's approximation, for fits that are there.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import LeastSquaresInverter, PowderSimulator, SpectrumGrid
    >>> from skphonon import PosteriorInverter, load_aluminium_model
    >>> from skphonon.inversion import compare_posteriors
    >>> grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.5, mesh=4
    ... )
    >>> (row,) = simulator.simulate([1.03 * simulator.reference])
    >>> sigma = 0.02 * np.nanstd(row)
    >>> row += sigma * np.random.default_rng(0).normal(size=row.shape)
    >>> half = np.abs(simulator.reference) / 2 + 0.02
    >>> bounds = simulator.reference - half, simulator.reference + half
    >>> inverters = {
    ...     name: PosteriorInverter(
    ...         LeastSquaresInverter(simulator, bounds=bounds, background=degree),
    ...         n_draws=200,
    ...     )
    ...     for name, degree in (("flat", 0), ("cubic", 3))
    ... }
    >>> table = compare_posteriors(inverters, row, errors=sigma)
    >>> table.loc["given", "difference"].idxmax()
    'flat'
    """
    row = np.asarray(spectrum, dtype=float)
    if len(inverters) < 2 or row.ndim != 1:
        raise ValueError(
            "Evidence compares at least two models of one spectrum of shape "
            f"(n_pixels,), got {len(inverters)} models and shape {row.shape}."
        )
    X = row[None]
    given = None if errors is None else np.broadcast_to(errors, row.shape)[None]
    first = {name: _one(each, X, given) for name, each in inverters.items()}
    best = min(first, key=lambda name: first[name].fit.figures["loss"])
    sigma = _sigma(first[best], len(row))
    betas = [each.beta for each in first.values()]
    powers = dict(zip(_NOISES, (1.0, first[best].beta, min(betas)), strict=True))
    if errors is not None:
        powers = {("given" if n == "residual" else n): p for n, p in powers.items()}
    rows = []
    for noise, power in powers.items():
        found = {}
        for name, inverter in inverters.items():
            own = inverter._own().set_params(errors="noise")
            alike = clone(inverter).set_params(inverter=own)
            found[name] = _one(alike, X, sigma[None] / np.sqrt(power))
        rows += _rows(noise, power, found, sigma / np.sqrt(power))
    return pd.DataFrame(rows).set_index(["noise", "model"])


def _one(inverter: PosteriorInverter, X: Any, errors: Any) -> Any:
    with warnings.catch_warnings():
        # what is wrong with the fits is for their verdicts
        warnings.simplefilter("ignore")
        inverter = clone(inverter).fit(X)
        inverter.predict(X, errors=errors)
    inverter._warn_of_draws(inverter.posteriors_)
    return inverter.posteriors_[0]


def _sigma(posterior: Any, n_pixels: int) -> Any:
    """Return the errors of all pixels, NaN where not compared."""
    sigma = np.full(n_pixels, np.nan)
    sigma[np.isfinite(posterior.fit.residual)] = posterior._drawn.sigma
    return sigma


def _rows(noise: str, power: float, found: Mapping[str, Any], sigma: Any) -> list[Any]:
    """Return what each model has, relative to the best."""
    evidence = {name: each.log_evidence for name, each in found.items()}
    bic = {}
    for name, each in found.items():
        seen = np.isfinite(each.fit.residual)
        square = np.square(each.fit.residual[seen] / sigma[seen]).sum()
        number = len(each.fit.to_frame())
        bic[name] = -(square + number * np.log(seen.sum() * power)) / 2
    best, best_bic = max(evidence, key=evidence.__getitem__), max(bic.values())
    return [
        {
            "noise": noise,
            "model": name,
            "log_evidence": evidence[name],
            "difference": evidence[name] - evidence[best],
            "std": np.hypot(each.log_evidence_std, found[best].log_evidence_std)
            * (name != best),
            "bic": bic[name] - best_bic,
            "beta": power,
            "efficiency": each.efficiency,
        }
        for name, each in found.items()
    ]
