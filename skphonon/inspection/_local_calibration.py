r"""Whether a posterior is right about one measured spectrum: posterior SBC.

A draw from the posterior given the spectrum y is the truth of a spectrum y' simulated
with it, and one more draw from the posterior given both. So its rank among the draws
given both is even (T. Säilynoja, M. Schmitt, P.-C. Bürkner and A. Vehtari,
arXiv:2502.03279). Given y' alone it would be so only under a prior that does not count.

Two spectra of one crystal, with the same normal errors, say as much as their mean with
errors less by the root of two:

.. math:: \frac{(y - m)^2 + (y' - m)^2}{2 \sigma^2} =
   \frac{((y + y') / 2 - m)^2}{2 (\sigma^2 / 2)} + \text{const.}

So the mean is inverted, by the same inverter.
"""

import copy
import warnings
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skphonon.inspection._posterior_calibration import (
    interval_coverage,
    rank_statistics,
)
from skphonon.inversion import (
    BoundWarning,
    IdentifiabilityWarning,
    MisfitWarning,
    PosteriorInverter,
)
from skphonon.inversion.settings import as_noise

__all__ = ["LocalCalibration", "local_calibration"]


class LocalCalibration(NamedTuple):
    """Posteriors about one measured spectrum, with the truths that they should hold.

    Parameters
    ----------
    truth : DataFrame of shape (n_spectra, n_parameters + n_nuisances)
        Constants and nuisances that spectra were simulated with.
    posteriors : list of Posterior
        Of each.
    ranks : DataFrame of the shape of `truth`
        Of the truths among the draws, see :func:`rank_statistics`.
    coverage : DataFrame
        Of central intervals, see :func:`interval_coverage`.

    See Also
    --------
    local_calibration : Makes one.

    Examples
    --------
    >>> from skphonon.inspection import LocalCalibration
    >>> LocalCalibration._fields
    ('truth', 'posteriors', 'ranks', 'coverage')
    """

    truth: pd.DataFrame
    posteriors: list[Any]
    ranks: pd.DataFrame
    coverage: pd.DataFrame

    def __repr__(self) -> str:
        names = ", ".join(map(str, self.truth.columns))
        return f"LocalCalibration({len(self.truth)} spectra: {names})"


def local_calibration(
    inverter, posterior=None, *, n_spectra=50, random_state=0, verbose=0
):
    r"""Test an inverter about one measured spectrum, on spectra that it predicts.

    Simulation-based calibration conditional on data (posterior SBC) [1]_: truths are
    drawn from the posterior of the measured spectrum, a spectrum is simulated with
    each, and the measured and the simulated one are inverted together. Ranks of truths
    among the draws are even if the inverter draws from the posterior of its likelihood
    and its prior. They are in the middle where the posterior of the measured spectrum
    is too narrow, at the ends where it is too wide or other ones are too narrow.

    This tests draws, searches and meshes where it matters. It does not test the model,
    the prior or the likelihood: these made the spectra. For that there is
    `Posterior.predictive_check`.

    Noise is white and normal. It has the errors that the spectrum was inverted with:
    those given, or else those estimated from its residuals, which are given as known
    ones here. Where the likelihood counts less (`beta` below 1), noise and errors are
    larger by :math:`\beta^{-1/2}`, which is the same likelihood. Two spectra with equal
    errors are inverted as their mean, with errors less by :math:`\sqrt 2`.

    Parameters
    ----------
    inverter : PosteriorInverter
        After `predict` or `sample`. It is left as it is, `posteriors_` included.
    posterior : Posterior, default=None
        Of the measured spectrum, made by this inverter. None takes the one of
        `posteriors_`.
    n_spectra : int, default=50
        Spectra to simulate and to invert, at least two.
    random_state : int, RandomState instance or None, default=0
        Determines truths and noise.
    verbose : int, default=0
        Positive shows a progress bar over spectra.

    Returns
    -------
    LocalCalibration
        Truths, posteriors, ranks and coverage; without spectra that have no posterior,
        of which a warning tells.

    Raises
    ------
    TypeError
        If the inverter is no `PosteriorInverter`, or `n_spectra` no integer.
    ValueError
        If there are several posteriors and none is given, a posterior has no draws,
        comes from a pickle or has other parameters or pixels than the inverter,
        `n_spectra` is below 2, or the likelihood is that of counts, whose noise is
        not normal.

    Warns
    -----
    ConvergenceWarning
        As of the inverter, on the simulated spectra. Other warnings of their fits are
        not shown.

    See Also
    --------
    RankDisplay, TARPDisplay : Take `posteriors` and `truth`.
    rank_statistics : Of spectra simulated from the prior: everywhere in the bounds.

    References
    ----------
    .. [1] T. Säilynoja, M. Schmitt, P.-C. Bürkner and A. Vehtari, "Posterior SBC:
       simulation-based calibration checking conditional on data",
       :doi:`10.48550/arXiv.2502.03279`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import LeastSquaresInverter, PowderSimulator, SpectrumGrid
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inspection import local_calibration
    >>> from skphonon.inversion import PosteriorInverter
    >>> grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.5, mesh=6
    ... )
    >>> X = simulator.simulate([1.03 * simulator.reference])
    >>> noise = 0.02 * np.nanstd(X)
    >>> X += noise * np.random.default_rng(0).normal(size=X.shape)
    >>> half = np.abs(simulator.reference) / 2 + 0.02
    >>> bounds = simulator.reference - half, simulator.reference + half
    >>> least_squares = LeastSquaresInverter(simulator, bounds=bounds)
    >>> inverter = PosteriorInverter(least_squares, n_starts=1, n_draws=200).fit(X)
    >>> _ = inverter.predict(X, errors=noise)
    >>> local_calibration(inverter, n_spectra=4).ranks.shape
    (4, 5)
    """
    if not isinstance(inverter, PosteriorInverter):
        raise TypeError(
            "local_calibration tests a PosteriorInverter, after predict or sample; got "
            f"a {type(inverter).__name__}. Wrap it: PosteriorInverter(inverter)."
        )
    check_scalar(n_spectra, "n_spectra", Integral, min_val=2)
    check_is_fitted(inverter)
    posterior = _chosen(inverter, posterior)
    rng = check_random_state(random_state)
    expected, truth = posterior.simulate(n_spectra, rng, noise=False, return_draws=True)
    errors = posterior.errors / np.sqrt(posterior.beta)
    simulated = expected + rng.normal(size=expected.shape) * errors
    both = (posterior.fit.spectrum + simulated) / 2
    apart = _apart(inverter, verbose)
    with warnings.catch_warnings():
        for category in (BoundWarning, IdentifiabilityWarning, MisfitWarning):
            warnings.simplefilter("ignore", category)
        apart.predict(both, errors=np.tile(errors / np.sqrt(2), (n_spectra, 1)))
    drawn = [each.n_draws > 1 for each in apart.posteriors_]
    if not any(drawn):
        raise ValueError(
            f"None of {n_spectra} spectra that the posterior predicts has a posterior "
            "itself: searches end at crystals that are not stable. Give the inverter "
            "more n_starts."
        )
    pairs = zip(apart.posteriors_, drawn, strict=True)
    posteriors = [each for each, kept in pairs if kept]
    truth = truth[drawn].reset_index(drop=True)
    ranks = rank_statistics(posteriors, truth, random_state=random_state)
    return LocalCalibration(
        truth,
        posteriors,
        pd.DataFrame(ranks, columns=truth.columns),
        interval_coverage(posteriors, truth, random_state=random_state),
    )


def _chosen(inverter, posterior):
    """Return the posterior that is meant, whose noise is normal."""
    if as_noise(inverter.inverter_.noise).errors == "poisson":
        raise ValueError(
            "local_calibration is not available for counts: it takes the mean of two "
            "spectra with normal noise; got noise='poisson'. An inverter with "
            "noise='noise' can be tested, after predict(X, errors=roots of the "
            "expected counts)."
        )
    if posterior is not None:
        _check_own(inverter, posterior)
        return posterior
    if len(inverter.posteriors_) != 1:
        raise ValueError(
            "posterior must be one of posteriors_ where there are several, got None "
            f"for {len(inverter.posteriors_)} spectra."
        )
    return inverter.posteriors_[0]


def _check_own(inverter, posterior):
    """Refuse a posterior that the inverter cannot have made."""
    least = inverter.inverter_
    names = [*least._parameter_names(least.start_.size), *least._nuisance]
    if list(posterior.draws.columns) != names:
        raise ValueError(
            f"posterior must be one that the inverter made, of {', '.join(names)}; got "
            f"one of {', '.join(posterior.draws.columns)}. Take one of its posteriors_."
        )
    n_pixels = np.size(posterior.fit.spectrum)
    if n_pixels != inverter.n_features_in_:
        raise ValueError(
            f"posterior must be of spectra of {inverter.n_features_in_} pixels, as the "
            f"inverter is; got {n_pixels}. Take one of its posteriors_."
        )


def _apart(inverter, verbose):
    """Return the same fitted inverter, which keeps what it finds for itself."""
    other = copy.copy(inverter)
    other._last = {}
    other.inverter_ = copy.copy(inverter.inverter_)
    other.inverter_._last = Bunch()
    other.inverter_.verbose = verbose
    return other
