"""Evidence of several models of one spectrum, under one likelihood each time."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import clone

from skphonon.instrument.noise import PoissonNoise
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
    residuals that are alike are counted, so it is given three times. Counts, of
    inverters with ``noise="poisson"``, have a likelihood of their own and one answer.

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
        first is "given". With ``noise="poisson"`` of all inverters there is one way,
        "counts". Columns: `log_evidence`; `difference` from the best in that
        way, and its Monte-Carlo error `std`; `bic`, the Bayesian information criterion
        over -2, relative to the best likewise; `beta`; and `efficiency` of the draws.

    Raises
    ------
    TypeError
        If models are no mapping of names to inverters of posteriors.
    ValueError
        If there are fewer than two models, or more than one spectrum, or if some of the
        inverters have ``noise="poisson"`` and others do not, or no model has a
        posterior, as of a spectrum that is constant.

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
    _check_models(inverters)
    row = np.asarray(spectrum, dtype=float)
    if len(inverters) < 2 or row.ndim != 1:
        raise ValueError(
            "Evidence compares at least two models of one spectrum of shape "
            f"(n_pixels,), got {len(inverters)} models and shape {row.shape}."
        )
    of_counts = {name: each._own()._counts for name, each in inverters.items()}
    if len(set(of_counts.values())) > 1:
        names = [name for name, counts in of_counts.items() if not counts]
        raise ValueError(
            "Evidence compares models under one likelihood: noise='poisson' of all "
            f"inverters or of none; {', '.join(map(repr, names))} have others. Set the "
            "errors of all alike."
        )
    X = row[None]
    given = None if errors is None else np.broadcast_to(errors, row.shape)[None]
    first = {name: _one(each, X, given) for name, each in inverters.items()}
    if all(of_counts.values()):
        bics = {name: _bic_of_counts(each) for name, each in first.items()}
        table = pd.DataFrame(_rows("counts", 1.0, first, bics))
        return table.set_index(["noise", "model"])
    drawn = [name for name, each in first.items() if each.n_draws]
    if not drawn:
        raise ValueError(
            "At least one model must have a posterior of the spectrum, got none: it is "
            "constant, no search ended at a stable crystal, or a model leaves nothing. "
            "Look at the spectrum, or give the inverters more n_starts."
        )
    best = min(drawn, key=lambda name: first[name].fit.figures["loss"])
    sigma = _sigma(first[best], len(row))
    betas = [first[name].beta for name in drawn]
    powers = dict(zip(_NOISES, (1.0, first[best].beta, min(betas)), strict=True))
    if errors is not None:
        powers = {("given" if n == "residual" else n): p for n, p in powers.items()}
    rows, known = [], {}
    if errors is not None:
        # nothing else is asked where these errors are taken as they are
        known = {(1.0, name): each for name, each in first.items() if each.beta == 1}
    for noise, power in powers.items():
        scaled, found = sigma / np.sqrt(power), {}
        for name, inverter in inverters.items():
            if (power, name) not in known:
                own = inverter._own().set_params(noise__errors="noise")
                alike = clone(inverter).set_params(inverter=own)
                known[power, name] = _one(alike, X, scaled[None])
            found[name] = known[power, name]
        bics = {name: _bic(each.fit, scaled, power) for name, each in found.items()}
        rows += _rows(noise, power, found, bics)
    return pd.DataFrame(rows).set_index(["noise", "model"])


def _check_models(inverters: Any) -> None:
    """Refuse what is no mapping of names to inverters of posteriors."""
    if not isinstance(inverters, Mapping):
        raise TypeError(
            "inverters must be a mapping of names to PosteriorInverters, such as "
            "{'flat': first, 'cubic': second}; got a "
            f"{type(inverters).__name__}. Name them."
        )
    for name, each in inverters.items():
        if not isinstance(each, PosteriorInverter):
            raise TypeError(
                f"inverters must be PosteriorInverters, got a {type(each).__name__} "
                f"for {name!r}. Wrap it: PosteriorInverter(inverter)."
            )


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


def _bic(fit: Any, sigma: Any, power: float) -> float:
    """Return the Bayesian information criterion over -2."""
    seen = np.isfinite(fit.residual)
    square = np.square(fit.residual[seen] / sigma[seen]).sum()
    number = len(fit.to_frame())
    return float(-(square + number * np.log(seen.sum() * power)) / 2)


def _bic_of_counts(posterior: Any) -> float:
    """Return the same by the deviance of counts, NaN without draws."""
    fit, expected = posterior.fit, np.square(posterior._drawn.sigma)
    counts = fit.spectrum[np.isfinite(fit.residual)]
    if not posterior.n_draws:
        return np.nan
    deviance = PoissonNoise().deviance(counts, expected)
    return float(-(deviance + len(fit.to_frame()) * np.log(len(counts))) / 2)


def _rows(
    noise: str, power: float, found: Mapping[str, Any], bic: Mapping[str, float]
) -> list[Any]:
    """Return what each model has, relative to the best."""
    evidence = {name: each.log_evidence for name, each in found.items()}
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
