r"""Which of several models a spectrum deserves, and what they say together.

The evidence of a model is the probability of the data, whatever its parameters. For a
normal prior of covariance P of the constants, and a likelihood that is normal about
the optimum,

.. math:: \ln Z = -\tfrac12 \left[\frac{s\,r^T r}{\sigma^2}
          + (x - m)^T P^{-1} (x - m) + \ln\det P T\right] + \ldots

(D. J. C. MacKay, Neural Computation 4, 415 (1992),
doi:10.1162/neco.1992.4.3.415), with residuals r, the information T of this likelihood
and prior, and what :mod:`skphonon.inversion._evidence` says of nuisances and
amplitudes. Error bars have no part in it: they may hold more than this likelihood.
Noise :math:`\sigma` is that of the best fit (of given errors, as far as these are too
small), and of pixels whose residuals are alike the share s counts: beside such
residuals evidence would else favour whatever fits their ripples.
"""

import warnings
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import clone

from skphonon._warnings import warn_user
from skphonon.fitting.knowledge import pull_of
from skphonon.inversion._evidence import Ended, log_evidence
from skphonon.inversion._goodness import MisfitWarning, is_misfit
from skphonon.inversion.fit import SpectrumFit
from skphonon.inversion.least_squares import LeastSquaresInverter
from skphonon.inversion.settings import Search

__all__ = ["average_energies", "compare_fits", "fit_with_constants"]

_HELD = 1e-6  # std of a constant that is held, in units of the largest
_EXACT = 1e-9  # residuals below this fraction of the contrast are rounding
_TINY = np.finfo(float).tiny


def fit_with_constants(
    inverter: LeastSquaresInverter,
    parameters: ArrayLike,
    spectrum: ArrayLike,
    *,
    std: ArrayLike | None = None,
    errors: ArrayLike | None = None,
) -> SpectrumFit:
    """Fit to a spectrum all but the constants, which are given.

    A network, a simplex or a calculation gives constants; scale, background, resolution
    and whatever else an inverter fits along are then what describes the spectrum best.
    So constants of different origins are judged by one measure.

    Parameters
    ----------
    inverter : LeastSquaresInverter
        With the simulator and all that is fitted along; it is not changed.
    parameters : array-like of shape (n_parameters,)
        Constants in the order and unit of the simulator.
    spectrum : array-like of shape (n_pixels,) or (1, n_pixels)
        On the grid of the simulator; NaN where not measured.
    std : array-like of shape (n_parameters,), default=None
        Standard deviations of the constants, which the fit then has. None: it has none.
    errors : array-like of the shape of `spectrum`, default=None
        Standard deviation of each pixel.

    Returns
    -------
    SpectrumFit
        Its constants are those given.

    Raises
    ------
    ValueError
        If `parameters` are not one set of finite numbers, `std` as many, or `spectrum`
        is not one.
    TypeError
        If `inverter` is another one.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import LeastSquaresInverter, PowderSimulator, SpectrumGrid
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import fit_with_constants
    >>> grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.5, mesh=6
    ... )
    >>> X = simulator.simulate([simulator.reference])
    >>> softer = 0.9 * simulator.reference
    >>> fit = fit_with_constants(LeastSquaresInverter(simulator), softer, X)
    >>> bool(fit.figures["loss"] > 0.05)
    True
    """
    if not isinstance(inverter, LeastSquaresInverter):
        raise TypeError(
            f"inverter must be a LeastSquaresInverter, got a {type(inverter).__name__}."
        )
    held = np.asarray(parameters, dtype=float)
    if held.ndim != 1 or not np.isfinite(held).all():
        raise ValueError(
            "parameters must be one set of finite constants, got shape "
            f"{held.shape} with {np.count_nonzero(~np.isfinite(held))} that are not. "
            "Compare one answer at a time."
        )
    known = np.full(len(held), np.nan) if std is None else np.asarray(std, dtype=float)
    if known.shape != held.shape or (known < 0).any():
        raise ValueError(
            f"std must be {len(held)} numbers from 0 on, one of each constant, got "
            f"{known.tolist()}."
        )
    tight = np.full(len(held), _HELD * (float(np.abs(held).max()) or 1.0))
    row = np.atleast_2d(np.asarray(spectrum, dtype=float))
    if len(row) != 1:
        raise ValueError(f"spectrum must be one, got {len(row)}. Take one at a time.")
    only = clone(inverter).set_params(
        prior=(held, tight), search=Search(initial=held, n_candidates=1)
    )
    with warnings.catch_warnings():  # what a wrong answer does to the rest is no news
        warnings.simplefilter("ignore")
        only.fit(row).predict(row, errors=errors)
        (fit,) = only.fits_
    fit.parameters, fit.covariance = held, np.diag(known**2)
    fit.prior = None
    fit.figures["noise"] = "held"
    return fit


def compare_fits(fits: Mapping[str, SpectrumFit]) -> pd.DataFrame:
    """Compare fits of models to one spectrum by their evidence.

    Parameters
    ----------
    fits : mapping of str to SpectrumFit
        By name of the model, each with a prior, of the same spectrum.

    Returns
    -------
    DataFrame
        A model a row, the likeliest first: `n_parameters` (all that was fitted),
        `reduced_chi2`, `loss` (NMSE), `pull` (chi^2 of the prior), `log_evidence` (0
        for the likeliest), `probability`, all models being as likely before, and
        `weight`, that of :func:`average_energies`.

    Raises
    ------
    TypeError
        If `fits` is no mapping, or holds something else.
    ValueError
        If there are no fits, one has no prior, or they are of different spectra, or
        were given different errors or observables.

    Warns
    -----
    MisfitWarning
        If no model describes the spectrum. Probabilities then only rank wrong models.

    See Also
    --------
    average_energies : What the models say together.

    Notes
    -----
    Whatever was fitted along costs what its prior does not hold. Nuisances have a flat
    prior between their bounds. So have weights, of contributions and the sample, from 0
    to what makes the root mean square intensity that of the spectrum about its mean,
    and terms of a background, to as much on both sides of 0. Nothing pulls where more
    is needed. Of ten spectra of aluminium on a constant, with 5 % of noise, ten are
    ranked so, with a cubic background by 45 and a can by 4 to 6 in `log_evidence`
    below; with 3 % of the contrast from a can, ten with the can first.

    The `weight` is the probability where a model describes the spectrum. Where none
    does, what they leave beside noise is one error of unknown size, however many pixels
    it is in: weights fall with its root mean square, and the spread of models that are
    about as wrong is in the energies.

    Priors should be nested: where further constants are zero, that of the larger model
    should be that of the smaller. A ShellPrior is, but for `energies`, which holds each
    constant tighter where there are more.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import LeastSquaresInverter, PowderSimulator, SpectrumGrid
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import compare_fits
    >>> from skphonon.physics import ShellPrior
    >>> model = load_aluminium_model()
    >>> grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    >>> def simulator(model):
    ...     return PowderSimulator(model, grid, energy_resolution=1.5, mesh=6)
    >>> X = simulator(model).simulate([1.03 * model.reference])
    >>> X += 0.05 * np.nanstd(X) * np.random.default_rng(0).normal(size=X.shape)
    >>> fits = {}
    >>> for n in (2, 3):
    ...     wider = model.extended(n)
    ...     inverter = LeastSquaresInverter(simulator(wider), prior=ShellPrior(wider))
    ...     _ = inverter.fit(X).predict(X)
    ...     fits[f"{n} shells"] = inverter.fits_[0]
    >>> compare_fits(fits).index[0]
    '2 shells'
    """
    ends = _comparable(fits)
    noise_known = next(iter(fits.values())).figures.get("noise_known", False)
    squares = np.array([end.square for end in ends.values()])
    n = np.maximum(next(iter(ends.values())).n_pixels, 1)
    left = squares.sum(axis=1)
    if not noise_known:
        left = np.log(np.maximum(squares, _TINY)) @ n
    best = ends[list(ends)[left.argmin()]]
    # of noise and what the best model leaves beside it
    variance = best.square / n
    variance *= n.sum() / max(n.sum() - len(best.side), 1)
    if noise_known:
        variance = np.full(len(n), max(best.square.sum() / n.sum(), 1.0))
    rounding = _EXACT**2 * max(np.nanvar(next(iter(fits.values())).spectrum), _TINY)
    scale = 1 / (best.alike * np.maximum(variance, rounding))
    rows = {}
    for name, fit in fits.items():
        rows[name] = {
            "n_parameters": len(ends[name].side),
            "reduced_chi2": fit.figures["reduced_chi2"],
            "loss": fit.figures["loss"],
            "pull": pull_of(fit.parameters, *fit.prior),
            "log_evidence": log_evidence(ends[name], scale, fit.prior[1]),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["log_evidence"] -= table["log_evidence"].max()
    table["probability"] = softmax(table["log_evidence"].to_numpy())
    table["weight"] = table["probability"]
    if _are_all_misfits(fits.values()):
        table["weight"] = _weights_of_wrong(
            table["reduced_chi2"].to_numpy(), squares, n
        )
        warn_user(
            "No model describes the data (chi^2 per degree of freedom "
            f"{table['reduced_chi2'].min():.3g} at least), so that probabilities only "
            "rank wrong models: take none of them for right, and look at verdict_.",
            MisfitWarning,
        )
    return table.sort_values("log_evidence", ascending=False)


def _comparable(fits: Mapping[str, SpectrumFit]) -> dict[str, Ended]:
    """Return fits about their ends, or tell why they cannot be compared."""
    if not isinstance(fits, Mapping):
        raise TypeError(
            "fits must be a mapping from names of models to their fits, got "
            f"{type(fits).__name__}. Write {{'4 shells': fit, '6 shells': other}}."
        )
    if not fits:
        raise ValueError("fits must name at least one fit, got none.")
    for name, fit in fits.items():
        if not isinstance(fit, SpectrumFit):
            raise TypeError(
                f"fits must hold SpectrumFit objects, got {type(fit).__name__} as "
                f"{name!r}. Take one of LeastSquaresInverter.fits_, after predict."
            )
    (named, first), *_ = fits.items()
    seen = np.isfinite(first.residual)
    ends: dict[str, Ended] = {}
    for name, fit in fits.items():
        if fit.prior is None:
            raise ValueError(
                f"fits must have a prior each, or they have no evidence; {name!r} has "
                "none. Give LeastSquaresInverter a prior, such as a ShellPrior."
            )
        same = fit.spectrum.shape == first.spectrum.shape and np.array_equal(
            fit.spectrum[seen], first.spectrum[seen]
        )
        if not same or not np.array_equal(np.isfinite(fit.residual), seen):
            raise ValueError(
                f"fits must be of one spectrum and the same pixels; {name!r} is of "
                "others."
            )
        end = fit._end
        if end is None:
            raise ValueError(
                f"fits must be those of LeastSquaresInverter.fits_, with residuals; "
                f"{name!r} does not tell how its spectrum was compared."
            )
        if _noise(fit) != _noise(first) or not _same_errors(fit, first, seen):
            raise ValueError(
                "fits must weigh pixels alike, or their misfits mean different things: "
                f"{named!r} has {_noise(first)}, {name!r} {_noise(fit)}"
                f"{', but others' * (_noise(fit) == _noise(first))}. Fit all with the "
                "same errors, or all without."
            )
        ends[name] = end
        numbers = [each.n_observables for each in (ends[named], end)]
        if numbers[0] != numbers[1]:
            raise ValueError(
                "fits must know the same observables beside the spectrum: "
                f"{named!r} has {numbers[0]} values, {name!r} {numbers[1]}. Give all "
                "the same."
            )
    return ends


def _noise(fit: SpectrumFit) -> str:
    """Tell what is known of the noise of a fit."""
    if fit.errors is not None:
        return "given errors"
    return "errors of counts" if fit.figures.get("noise_known") else "no errors"


def _same_errors(fit: SpectrumFit, other: SpectrumFit, seen: NDArray) -> bool:
    if fit.errors is None or other.errors is None:
        return fit.errors is other.errors
    return np.array_equal(fit.errors[seen], other.errors[seen])


def _are_all_misfits(fits: Iterable[SpectrumFit]) -> bool:
    """Tell whether no model describes the spectrum."""
    return all(is_misfit(fit.figures) for fit in fits)


def _weights_of_wrong(reduced_chi2: NDArray, squares: NDArray, n: NDArray) -> NDArray:
    """Return weights of models by what they leave beside noise.

    That is one systematic error, not as many as there are pixels, and of unknown size:
    its likelihood, integrated over the size, falls with the root of its square.
    """
    left = (squares / np.maximum(squares.min(axis=0), _TINY)) @ n / n.sum()
    noise = left.min() / reduced_chi2[left.argmin()]
    weights = 1 / np.sqrt(left - noise)
    return weights / weights.sum()


def average_energies(
    fits: Mapping[str, SpectrumFit], qpoints: ArrayLike
) -> pd.DataFrame:
    """Average phonon energies over models, by the weights of `compare_fits`.

    Constants of different models mean different things; energies do not. Where no model
    describes the spectrum, leave out what you do not believe: all models count then.

    Parameters
    ----------
    fits : mapping of str to SpectrumFit
        As for :func:`compare_fits`; their crystals have the same atoms a cell.
    qpoints : array-like of shape (n_points, 3)
        Wavevectors in units of the reciprocal lattice.

    Returns
    -------
    DataFrame
        As of :meth:`SpectrumFit.energies`; `std` holds errors and how far models are
        apart, `between` the latter alone.

    Raises
    ------
    TypeError, ValueError
        As from :func:`compare_fits`, or if crystals have different numbers of modes.

    Warns
    -----
    MisfitWarning
        As from :func:`compare_fits`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import LeastSquaresInverter, PowderSimulator, SpectrumGrid
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import average_energies
    >>> from skphonon.physics import ShellPrior
    >>> model = load_aluminium_model()
    >>> grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    >>> simulator = PowderSimulator(model, grid, energy_resolution=1.5, mesh=6)
    >>> X = simulator.simulate([model.reference])
    >>> X += 0.05 * np.nanstd(X) * np.random.default_rng(0).normal(size=X.shape)
    >>> inverter = LeastSquaresInverter(simulator, prior=ShellPrior(model)).fit(X)
    >>> _ = inverter.predict(X)
    >>> table = average_energies({"2 shells": inverter.fits_[0]}, [[0.5, 0.5, 0.0]])
    >>> table["between"].tolist()
    [0.0, 0.0, 0.0]
    """
    weights = compare_fits(fits)["weight"]
    tables = {name: fit.energies(qpoints) for name, fit in fits.items()}
    lengths = {len(table) for table in tables.values()}
    if len(lengths) > 1:
        raise ValueError(
            "fits must be of crystals with the same number of modes, got "
            f"{', '.join(map(str, sorted(lengths)))} energies."
        )
    shares = np.array([weights[name] for name in tables])[:, None]
    energies, std = (
        np.array([table[column] for table in tables.values()])
        for column in ("energy", "std")
    )
    mean = (shares * energies).sum(axis=0)
    between = np.sqrt((shares * (energies - mean) ** 2).sum(axis=0))
    found = next(iter(tables.values())).copy()
    found["energy"] = mean
    found["std"] = np.sqrt((shares * std**2).sum(axis=0) + between**2)
    found["between"] = between
    return found
