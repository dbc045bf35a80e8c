"""The posterior of one spectrum, as draws that explain themselves."""

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state, check_scalar

from skphonon._html import report_html
from skphonon._numbers import weighted_quantiles
from skphonon.physics.stability import searching

if TYPE_CHECKING:
    from skphonon.inversion._verdict import Verdict
    from skphonon.inversion.fit import SpectrumFit

__all__ = ["Drawn", "Posterior"]

Array = NDArray[np.float64]

_CHECKED = 50  # draws that the predictive check simulates


class Drawn(NamedTuple):
    """Draws of constants and nuisances of one row, and what else was found."""

    rows: Array  # (n, m)
    weights: Array  # (n,), that add up to one
    log_likelihood: Array  # (n,)
    log_prior: Array  # (n,)
    log_proposal: Array  # (n,)
    log_evidence: float
    log_evidence_std: float
    n_effective: float
    shape: float
    beta: float
    mesh_error: float  # of the log likelihood
    sigma: Array  # (n_pixels,), errors of the pixels compared
    modes: Array  # (n_modes, m)
    mode_shares: Array  # (n_modes,)
    target: Any  # the Target that simulates and compares; None from a pickle
    counts: bool = False  # whether noise is that of Poisson
    log_refused: float = 0.0  # of draws over those proposed, others included
    r_hat: float = np.nan  # of chains
    n_chains: int = 1  # of the same length, one after the other

    @classmethod
    def nothing(cls, n_values: int) -> "Drawn":
        """Return what stands for no draws."""
        none, rows = np.zeros(0), np.zeros((0, n_values))
        return cls(
            rows=rows,
            weights=none,
            log_likelihood=none,
            log_prior=none,
            log_proposal=none,
            log_evidence=np.nan,
            log_evidence_std=np.nan,
            n_effective=0.0,
            shape=np.nan,
            beta=np.nan,
            mesh_error=np.nan,
            sigma=none,
            modes=rows,
            mode_shares=none,
            target=None,
        )


class Posterior:
    """Weighted draws from the posterior distribution of one spectrum.

    Made by ``PosteriorInverter.posteriors_``. Displays that take draws of constants
    take it in their place.

    Parameters
    ----------
    parameter_names, nuisance_names : sequence of str
        Names of constants and nuisances.
    drawn : Drawn
        Draws, with their weights.
    fit : SpectrumFit
        The fit that they began with.

    Attributes
    ----------
    draws : DataFrame of shape (n_draws, n_parameters + n_nuisances)
        Constants, then nuisances.
    weights : ndarray of shape (n_draws,)
        Of the draws; they add up to one.
    log_likelihood : ndarray of shape (n_draws,)
        With amplitudes integrated out, raised to the power `beta`.
    mean, std : ndarray of shape (n_parameters,)
        Of the constants.
    covariance : ndarray of shape (n_parameters, n_parameters)
        Of the constants.
    n_effective, efficiency : float
        How many independent draws the weighted ones are worth, and over their number.
    shape : float
        Of the generalised Pareto distribution of the largest weights: up to 0.5 all is
        well, above 0.7 the draws are not to be trusted.
    r_hat : float
        Of chains (A. Gelman and D. B. Rubin, Stat. Sci. 7, 457 (1992), of their
        halves): 1 where they agree. NaN of weighted draws.
    log_evidence, log_evidence_std : float
        Logarithm of the evidence, and its Monte-Carlo error. It compares models under
        the same errors alone: see :func:`compare_posteriors`. The prior is that of
        stable crystals inside the bounds.
    beta : float
        Power of the likelihood, 1 where the fit describes the spectrum.
    mesh_error : float
        Standard deviation of the log likelihood beside that on the finest mesh, and
        how far it errs between modes. NaN where the simulator has a mesh of its own,
        which is taken as it is: see that a finer one gives the same.
    modes : DataFrame
        Optima, with the `share` of the draws that are nearest to each.
    bounds : ndarray of shape (2, n_parameters + n_nuisances) or None
        Of the prior, infinite where it has none; None where they are not known.
    errors : ndarray of shape (n_pixels,)
        Standard deviations of the pixels that draws were compared with: those given,
        else those of the residuals at the optimum; NaN where not compared.
    p_value : float
        Probability that a right model had residuals as large, or as alike in
        neighbouring pixels: the smaller one of `predictive_check`, times the number of
        those that tell (Bonferroni). NaN without draws.
    verdict_ : Verdict
        What is wrong with the posterior, if anything: findings of the fit, draws not to
        be trusted, several answers, a failed `predictive_check`, and bounds of the
        prior that cut it.
    fit : SpectrumFit
        The fit that the draws began with.

    Examples
    --------
    See :class:`~skphonon.inversion.PosteriorInverter`.
    """

    def __init__(
        self,
        parameter_names: Sequence[str],
        nuisance_names: Sequence[str],
        drawn: Drawn,
        fit: "SpectrumFit",
    ) -> None:
        self.parameter_names = list(parameter_names)
        self.nuisance_names = list(nuisance_names)
        self.fit = fit
        self._drawn = drawn
        self.draws = pd.DataFrame(drawn.rows, columns=self._names())
        self.weights = drawn.weights
        self.log_likelihood = drawn.log_likelihood
        self.log_prior = drawn.log_prior
        self.n_effective, self.shape = drawn.n_effective, drawn.shape
        self.log_evidence = drawn.log_evidence
        self.log_evidence_std = drawn.log_evidence_std
        self.beta, self.mesh_error = drawn.beta, drawn.mesh_error
        self.r_hat = drawn.r_hat
        context = getattr(fit, "_context", None)
        self.bounds = None if context is None else context[0].task.bounds

    @property
    def n_draws(self) -> int:
        """Number of weighted draws."""
        return len(self.draws)

    @property
    def efficiency(self) -> float:
        """Independent draws that the weighted ones are worth, over their number."""
        return self.n_effective / self.n_draws if self.n_draws else np.nan

    @property
    def model(self) -> Any:
        """Model of the crystal, None where the simulator has none."""
        return self.fit.model

    @property
    def parameters(self) -> Array:
        """Best fit of the constants."""
        return self.fit.parameters

    @property
    def mean(self) -> Array:
        """Posterior means of the constants; those of the start without draws."""
        if not self.n_draws:
            return self.fit.parameters
        mean: Array = self.weights @ self._constants()
        return mean

    @property
    def covariance(self) -> Array:
        """Posterior covariance of the constants."""
        n = len(self.parameter_names)
        if not self.n_draws:
            return np.full((n, n), np.nan)
        off = self._constants() - self.mean
        covariance: Array = (self.weights * off.T) @ off
        return covariance

    @property
    def std(self) -> Array:
        """Posterior standard deviations of the constants."""
        deviations: Array = np.sqrt(np.diag(self.covariance))
        return deviations

    @property
    def modes(self) -> pd.DataFrame:
        """Optima, the most probable first."""
        table = pd.DataFrame(self._drawn.modes, columns=self._names())
        table.insert(0, "share", self._drawn.mode_shares)
        table = table.sort_values("share", ascending=False, ignore_index=True)
        return table

    @property
    def errors(self) -> Array:
        """Errors of the pixels (n_pixels,) that draws were compared with."""
        return self._on_all(self._drawn.sigma)

    @property
    def p_value(self) -> float:
        """Probability of residuals as large or as alike, were the model right."""
        from skphonon.inversion._posterior_check import joint_p_value

        return joint_p_value(self._check) if self.n_draws else np.nan

    @cached_property
    def verdict_(self) -> "Verdict":
        """What is wrong with the posterior, with the most likely cause."""
        from skphonon.inversion._posterior_check import judge_draws

        return judge_draws(self)

    @cached_property
    def _check(self) -> pd.DataFrame:
        """The table of `predictive_check`, simulated once."""
        from skphonon.inversion._posterior_check import replicate

        drawn, rng = self._simulating(), np.random.default_rng(0)
        rows = drawn.rows[self._chosen(_CHECKED, 0)]
        return replicate(drawn, rows, self.fit, rng)

    def predictive_check(self) -> pd.DataFrame:
        """Compare the measured spectrum with spectra that the posterior predicts.

        Spectra are simulated from 50 draws of equal weight, each with 20 independent
        noises of the pixels' errors. Background and amplitudes are fitted to each, as
        to the measured one.

        A correlation tells of a wrong model even where errors were estimated from the
        residuals, but also of noise that rebinning made alike.

        Returns
        -------
        DataFrame
            Rows ``"chi^2 per pixel"`` and ``"correlation of neighbours"``: of
            residuals in units of errors, which are next to each other along any axis
            of the image. Columns `measured` and `replicated` (means), `low` and
            `high` (central 95 % of the replicates), and `p_value`: the share of
            replicates that are as large or larger (A. Gelman, X.-L. Meng and H. Stern,
            Statistica Sinica 6, 733 (1996)). That is NaN for chi^2 where errors were
            estimated from residuals, of which it tells nothing.

        Raises
        ------
        ValueError
            If the spectrum has no posterior.
        """
        self._need_draws()
        return self._check.copy()

    def sample(self, n_draws: int = 1000, random_state: Any = 0) -> Array:
        """Return draws of the constants that have the same weight.

        Parameters
        ----------
        n_draws : int, default=1000
            Taken with replacement, each weighted draw as often as its weight says.
        random_state : int, RandomState instance or None, default=0
            Determines which; an integer takes the same each time.

        Returns
        -------
        ndarray of shape (n_draws, n_parameters)
            In the unit of the constants; NaN, if there are no draws.
        """
        if not self.n_draws:
            return np.full((n_draws, len(self.parameter_names)), np.nan)
        constants: Array = self._constants()[self._chosen(n_draws, random_state)]
        return constants

    def derived(
        self, function: Callable[[Array], ArrayLike], n_draws: int = 200
    ) -> Array:
        """Return any function of the constants for draws of equal weight.

        Parameters
        ----------
        function : callable
            From constants of shape (n_parameters,) to a number or an array.
        n_draws : int, default=200
            How many draws.

        Returns
        -------
        ndarray of shape (n_draws, ...)
            Values, a draw a row.
        """
        return np.array([function(row) for row in self.sample(n_draws)])

    def summary(self) -> pd.DataFrame:
        """Return means and intervals of constants and nuisances.

        Returns
        -------
        DataFrame
            Columns `mean`, `std`, `median`, `low` and `high` of the central 68 %,
            `low95` and `high95` of the central 95 %, `fit` and `fit_std` of the fit.
        """
        self._need_draws()
        values, weights = self.draws.to_numpy(), self.weights
        mean = weights @ values
        table = {
            "mean": mean,
            "std": np.sqrt(weights @ np.square(values - mean)),
        }
        levels = {
            "median": 0.5,
            "low": 0.1587,
            "high": 0.8413,
            "low95": 0.025,
            "high95": 0.975,
        }
        for name, level in levels.items():
            table[name] = [
                weighted_quantiles(column, weights, level) for column in values.T
            ]
        known = self.fit.nuisance
        table["fit"] = [*self.fit.parameters, *(known[n] for n in self.nuisance_names)]
        table["fit_std"] = [
            *self.fit.std,
            *(known.get(f"{n} std", np.nan) for n in self.nuisance_names),
        ]
        return pd.DataFrame(table, index=self._names())

    def energies(self, qpoints: ArrayLike, n_draws: int = 200) -> pd.DataFrame:
        """Return phonon energies with intervals.

        Parameters
        ----------
        qpoints : array-like of shape (n_points, 3) or (3,)
            Wavevectors in units of the reciprocal lattice of the model.
        n_draws : int, default=200
            Draws of the constants that bands are calculated for.

        Returns
        -------
        DataFrame
            Columns `q1`, `q2`, `q3`, `mode` (from the lowest energy up), `energy`
            (mean), `std`, `low` and `high` (central 68 %) in meV.

        Raises
        ------
        ValueError
            If the simulator has no model of a crystal, or none that its measurements
            share with their parameters, or wavevectors have another shape.
        """
        self._need_draws()
        points = np.atleast_2d(np.asarray(qpoints, dtype=float))
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(
                f"qpoints must have shape (n_points, 3), got {np.shape(qpoints)}."
            )
        model = self.fit._crystal()
        energy = np.sort(model.frequencies(self.sample(n_draws), points), axis=2)
        low, high = np.quantile(energy, [0.1587, 0.8413], axis=0)
        n_modes = energy.shape[2]
        return pd.DataFrame(
            {
                "q1": np.repeat(points[:, 0], n_modes),
                "q2": np.repeat(points[:, 1], n_modes),
                "q3": np.repeat(points[:, 2], n_modes),
                "mode": np.tile(np.arange(n_modes), len(points)),
                "energy": energy.mean(axis=0).ravel(),
                "std": energy.std(axis=0).ravel(),
                "low": low.ravel(),
                "high": high.ravel(),
            }
        )

    def simulate(
        self,
        n_draws: int = 100,
        random_state: Any = 0,
        *,
        noise: bool = True,
        return_draws: bool = False,
    ) -> Any:
        """Return spectra that the posterior predicts.

        Background and amplitudes are those that fit the measured spectrum best with
        the draw.

        Parameters
        ----------
        n_draws : int, default=100
            How many, each of one draw.
        random_state : int, RandomState instance or None, default=0
            Determines draws and noise.
        noise : bool, default=True
            Whether to add white noise of the errors of the pixels.
        return_draws : bool, default=False
            Whether to return the draws too.

        Returns
        -------
        spectra : ndarray of shape (n_draws, n_pixels)
            In the unit of the spectrum, with its background; NaN where not compared.
        draws : DataFrame of shape (n_draws, n_parameters + n_nuisances)
            Constants and nuisances of each; only with ``return_draws=True``.

        Raises
        ------
        ValueError
            If the posterior has no draws, or comes from a pickle.
        """
        drawn, rng = self._simulating(), check_random_state(random_state)
        chosen = self._chosen(n_draws, rng)
        with searching():
            expected = drawn.target.spectra(drawn.rows[chosen])
        if noise and drawn.counts:
            expected = rng.poisson(expected).astype(float)
        elif noise:
            expected = expected + rng.normal(size=expected.shape) * drawn.sigma
        spectra = self._on_all(expected)
        if not return_draws:
            return spectra
        return spectra, self.draws.iloc[chosen].reset_index(drop=True)

    def to_arviz(self) -> Any:
        """Return the draws as `arviz.InferenceData`.

        Returns
        -------
        arviz.InferenceData
            Groups `posterior` (draws of equal weight: one chain, or those of NUTS about
            a single mode) and `sample_stats` (`lp`); evidence, efficiency, shape, R-hat
            and beta are its attributes.

        Raises
        ------
        ImportError
            Without the extra "arviz".
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of its next version
                import arviz
        except ImportError as error:
            raise ImportError(
                "InferenceData needs ArviZ: pip install 'skphonon[arviz]'."
            ) from error
        self._need_draws()
        chosen = self._chosen(self.n_draws, 0)
        if self._drawn.n_chains > 1:
            chosen = np.arange(self.n_draws)
        chosen = chosen.reshape(self._drawn.n_chains, -1)
        values = self.draws.to_numpy()[chosen]
        groups: dict[str, Any] = {
            "posterior": {name: values[..., i] for i, name in enumerate(self._names())},
            "sample_stats": {"lp": (self.log_likelihood + self.log_prior)[chosen]},
        }
        facts = {
            "log_evidence": self.log_evidence,
            "efficiency": self.efficiency,
            "pareto_shape": self.shape,
            "r_hat": self.r_hat,
            "beta": self.beta,
        }
        if hasattr(arviz, "InferenceData"):
            return arviz.from_dict(**groups, attrs=facts)
        return arviz.from_dict(groups, attrs={"/": facts})  # from version 1 on

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what simulates, once all is said that needs it."""
        self.verdict_  # noqa: B018
        return self.__dict__ | {"_drawn": self._drawn._replace(target=None)}

    def __copy__(self) -> "Posterior":
        """Return a copy that still simulates, unlike one from a pickle."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> "Posterior":
        """Return a copy with tables of its own; what was drawn is not changed."""
        other = copy.copy(self)
        other.draws, other.weights = self.draws.copy(), self.weights.copy()
        return other

    def __repr__(self) -> str:
        return (
            f"Posterior({self.n_draws} draws worth {self.n_effective:.0f}, "
            f"{len(self._drawn.modes)} mode(s), ln evidence {self.log_evidence:.1f})"
        )

    def _repr_html_(self) -> str:
        if not self.n_draws:
            return f"<pre>{self!r}</pre>"
        return report_html(self)

    def _need_draws(self) -> None:
        if not self.n_draws:
            raise ValueError(
                "This spectrum has no posterior: it is constant, has too few pixels, "
                "is described exactly, or searches ended at crystals that are not "
                "stable. Leave it out, give the errors of its pixels, or more n_starts."
            )

    def _simulating(self) -> Drawn:
        """Return what was drawn, if it can still simulate."""
        if self._drawn.target is None:
            raise ValueError(
                "Spectra are simulated by the inverter that made the draws, which a "
                "posterior without draws, or one from a pickle, does not have. Call "
                "sample again."
            )
        return self._drawn

    def _on_all(self, values: Array) -> Array:
        """Return values (..., n_compared) on all pixels, NaN where not compared."""
        seen = np.isfinite(self.fit.residual)
        whole = np.full((*values.shape[:-1], len(seen)), np.nan)
        if self.n_draws:
            whole[..., seen] = values
        return whole

    def _names(self) -> list[str]:
        return [*self.parameter_names, *self.nuisance_names]

    def _constants(self) -> Array:
        constants: Array = self._drawn.rows[:, : len(self.parameter_names)]
        return constants

    def _chosen(self, n_draws: int, random_state: Any) -> NDArray[np.int_]:
        """Return which draws are taken, by systematic resampling, in random order."""
        check_scalar(n_draws, "n_draws", Integral, min_val=1)
        rng = check_random_state(random_state)
        edges = np.cumsum(self.weights)
        edges[-1] = 1.0
        places = (np.arange(n_draws) + rng.uniform()) / n_draws
        chosen = np.searchsorted(edges, places)
        rng.shuffle(chosen)
        return chosen
