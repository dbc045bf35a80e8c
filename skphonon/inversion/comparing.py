r"""Which of several models a spectrum deserves, and what they say together.

The evidence of a model is the probability of the data, whatever its parameters. For a
normal prior of covariance P and a likelihood that is normal about the optimum,

.. math:: \ln Z = -\tfrac12 \left[\frac{s\,r^T r}{\sigma^2}
          + (x - m)^T P^{-1} (x - m) + \ln\frac{\det P}{\det C}\right] + \ldots

(D. J. C. MacKay, Neural Computation 4, 415 (1992),
doi:10.1162/neco.1992.4.3.415), with residuals r, the covariance C of the parameters
and terms that all models share. Noise :math:`\sigma` is that of the best fit, and of
pixels whose residuals are alike the share s counts: beside such residuals evidence
would else favour whatever fits their ripples.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import softmax

from skphonon.inversion._errors import alike_pixels, image_of
from skphonon.inversion.fit import SpectrumFit

__all__ = ["average_energies", "compare_fits"]


def compare_fits(fits: Mapping[str, SpectrumFit]) -> pd.DataFrame:
    """Compare fits of models to one spectrum by their evidence.

    Parameters
    ----------
    fits : mapping of str to SpectrumFit
        By name of the model, each with a prior, of the same spectrum.

    Returns
    -------
    DataFrame
        A model a row, the likeliest first: `n_parameters`, `reduced_chi2`, `loss`
        (NMSE), `pull` (chi^2 of the prior), `log_evidence` (0 for the likeliest) and
        `probability`, all models being as likely before.

    Raises
    ------
    ValueError
        If there are no fits, one has no prior, or they are of different spectra.

    See Also
    --------
    average_energies : What the models say together.

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
    if not fits:
        raise ValueError("fits must name at least one fit, got none.")
    first = next(iter(fits.values()))
    seen = np.isfinite(first.residual)
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
    left = {name: np.square(fit.residual[seen]).sum() for name, fit in fits.items()}
    best = fits[min(left, key=lambda name: left[name])]
    variance = min(left.values()) / np.count_nonzero(seen)
    image = image_of(best.simulator, best.residual)
    share = 1.0 if image is None else 1 / alike_pixels(best.residual[seen], image)
    rows = {}
    for name, fit in fits.items():
        mean, covariance = fit.prior
        off = fit.parameters - mean
        pull = float(off @ np.linalg.solve(covariance, off))
        lost = np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(fit.covariance)[1]
        rows[name] = {
            "n_parameters": len(off),
            "reduced_chi2": fit.figures["reduced_chi2"],
            "loss": fit.figures["loss"],
            "pull": pull,
            "log_evidence": -(share * left[name] / variance + pull + lost) / 2,
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["log_evidence"] -= table["log_evidence"].max()
    table["probability"] = softmax(table["log_evidence"].to_numpy())
    return table.sort_values("log_evidence", ascending=False)


def average_energies(
    fits: Mapping[str, SpectrumFit], qpoints: ArrayLike
) -> pd.DataFrame:
    """Average phonon energies over models, weighted by their probabilities.

    Constants of different models mean different things; energies do not.

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
    ValueError
        As from :func:`compare_fits`, or if crystals have different numbers of modes.

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
    weights = compare_fits(fits)["probability"]
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
