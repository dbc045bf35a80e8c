"""The fit of one spectrum as an object that explains itself."""

from collections.abc import Mapping
from functools import cached_property
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from skphonon._html import report_html
from skphonon.instrument import Measurement
from skphonon.inversion._checks import pieces_of
from skphonon.inversion._mode_energies import energy_table
from skphonon.physics.stability import searching

if TYPE_CHECKING:
    from skphonon.instrument.maps import SpectrumMapDisplay
    from skphonon.inversion._evidence import Ended
    from skphonon.inversion._verdict import Verdict

__all__ = ["SpectrumFit", "fits_of"]

Array = NDArray[np.float64]

_TOLD = 0.5  # correlations from which on a report tells them
_LONGEST = 200  # characters of a setting
_NOT_OF_THE_FIT = "simulator", "n_jobs", "verbose"
_DARK = 0.01  # of the mean count: the least that is expected of a pixel


class SpectrumFit:
    r"""What a fit found for one spectrum, and how far to trust it.

    Made by ``LeastSquaresInverter.fits_`` after `predict`; a notebook shows its report.
    Displays that take draws of constants, such as
    :class:`~skphonon.inspection.PhononBandsDisplay`, take a fit in their place.

    Parameters
    ----------
    parameter_names : sequence of str
        Names of the constants.
    parameters : array-like of shape (n_parameters,)
        Fitted constants, eV/Angstrom^2 where the simulator has a model of a crystal.
    covariance : array-like of shape (n_parameters, n_parameters)
        Theirs, all else that was fitted left open.
    start : array-like of shape (n_parameters,)
        Where the search began.
    nuisance : Series
        Values that were fitted along, by name; ``"name std"`` is a standard deviation.
    at_bound : Series
        -1 at a lower bound, 1 at an upper one, otherwise 0.
    spectrum, residual : array-like of shape (n_pixels,)
        What was measured, and what the fit leaves of it; NaN where not compared.
    figures : mapping
        Figures of merit: ``"loss"`` (NMSE), ``"reduced_chi2"``, ``"n_evaluations"``,
        ``"converged"``.
    simulator : object, default=None
        What was fitted.
    prior : pair of array-like, default=None
        Means and covariance of the constants before.
    shares : Series, default=None
        Shares of the intensity that sample, contributions and background took.
    choices : DataFrame, default=None
        By how many standard deviations other choices of the analysis would move the
        parameters, a choice a row (``noise="systematic"``).
    of_choices : array-like of shape (n_parameters, n_parameters), default=None
        What these added to the covariance.
    others : array-like of shape (n_others, n_parameters), default=()
        Other answers: ends of searches that are about as likely, and further off than
        error bars tell.
    observables : sequence of observable, default=()
        What was measured elsewhere and fitted along.
    errors : array-like of shape (n_pixels,), default=None
        Standard deviations of the pixels, where they were given.
    settings : mapping, default=None
        Parameters of the inverter by name, as texts: what was fitted along, the noise,
        the prior and so on.
    context : object, default=None
        How the spectrum was compared, for `lacking_` and the evidence.

    Attributes
    ----------
    std : ndarray of shape (n_parameters,)
        Standard deviations of the constants.
    sigma : ndarray of shape (n_pixels,)
        Standard deviations of the pixels, as given or estimated.
    model : object or None
        Model of the simulator, or that all measurements of a joint one share.
    observed : DataFrame
        Of each value measured elsewhere: `quantity`, `measured`, `std`, `calculated`
        and `deviation` in standard deviations.
    verdict_ : Verdict
        What is wrong with the fit, if anything, with the most likely cause.
    lacking_ : DataFrame
        What is not in the model and would lower the misfit, from the score of its
        derivatives: `gain` in chi^2, `share` of what noise does not explain, estimated
        `step` and its `std` where it is one number.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import LeastSquaresInverter, PowderSimulator, SpectrumGrid
    >>> from skphonon import load_aluminium_model
    >>> grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.5, mesh=6
    ... )
    >>> X = simulator.simulate([1.03 * simulator.reference])
    >>> X += 0.02 * np.nanstd(X) * np.random.default_rng(0).normal(size=X.shape)
    >>> inverter = LeastSquaresInverter(simulator).fit(X)
    >>> _ = inverter.predict(X)
    >>> (fit,) = inverter.fits_
    >>> fit.energies([[0.5, 0.5, 0.0]]).round(1)["energy"].tolist()  # X point
    [23.0, 23.0, 41.2]
    >>> fit.verdict_
    Nothing was found that speaks against this fit.
    """

    def __init__(
        self,
        parameter_names: Any,
        parameters: ArrayLike,
        covariance: ArrayLike,
        *,
        start: ArrayLike,
        nuisance: pd.Series,
        at_bound: pd.Series,
        spectrum: ArrayLike,
        residual: ArrayLike,
        figures: Mapping[str, Any],
        simulator: Any = None,
        prior: Any = None,
        shares: pd.Series | None = None,
        choices: pd.DataFrame | None = None,
        of_choices: ArrayLike | None = None,
        others: ArrayLike = (),
        observables: Any = (),
        errors: ArrayLike | None = None,
        settings: Mapping[str, str] | None = None,
        context: Any = None,
    ) -> None:
        self.parameter_names = list(parameter_names)
        self.parameters = np.asarray(parameters, dtype=float)
        self.covariance = np.asarray(covariance, dtype=float)
        self.start = np.asarray(start, dtype=float)
        self.nuisance = nuisance
        self.at_bound = at_bound
        self.spectrum = np.asarray(spectrum, dtype=float)
        self.residual = np.asarray(residual, dtype=float)
        self.figures = dict(figures)
        self.simulator = simulator
        self.prior = prior
        self.shares = shares
        self.choices = choices
        self.of_choices = np.zeros_like(self.covariance)
        if of_choices is not None:
            self.of_choices = np.asarray(of_choices, dtype=float)
        self.others = np.reshape(others, (-1, len(self.parameters)))
        self.observables = list(observables)
        self.errors = None if errors is None else np.asarray(errors, dtype=float)
        self.settings = dict(settings or {})
        self._context = context

    @cached_property
    def lacking_(self) -> pd.DataFrame:
        """What would explain the residuals, to first order, the most likely first."""
        from skphonon.inversion._lacking import lacking

        with searching():  # of an unstable crystal the verdict tells
            return lacking(self, self._context)

    @cached_property
    def verdict_(self) -> "Verdict":
        """What is wrong with the fit, with the most likely cause."""
        from skphonon.inversion._verdict import judge

        with searching():
            return judge(self)

    @cached_property
    def _end(self) -> "Ended | None":
        """What the evidence needs, None without a prior or how it was compared."""
        from skphonon.inversion._evidence import end_of

        if self.prior is None or self._context is None:
            return None
        if not np.isfinite(self.residual).any():
            return None
        return end_of(self, self._context)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what an inverter searches with, once all is said that needs it."""
        self.verdict_, self._end  # noqa: B018
        return self.__dict__ | {"_context": None}

    @property
    def std(self) -> Array:
        """Standard deviations of the constants."""
        deviations: Array = np.sqrt(np.diag(self.covariance))
        return deviations

    @property
    def sigma(self) -> Array:
        """Standard deviations of the pixels: given, or what the fit took noise for.

        Of shape (n_pixels,). Where there are none, the root mean square of what the fit
        leaves.
        """
        if self.errors is not None:
            return self.errors
        if self.figures.get("noise") == "poisson":
            expected = self.spectrum - self.residual
            least = _DARK * np.nanmean(np.abs(expected))
            return np.sqrt(np.maximum(expected, least))
        left = np.sqrt(np.nanmean(np.square(self.residual)))
        chi2 = float(self.figures.get("reduced_chi2", np.nan))
        noise = left / chi2**0.5 if np.isfinite(chi2) and chi2 > 0 else left
        return np.full(self.residual.shape, noise if noise > 0 else 1.0)

    @property
    def model(self) -> Any:
        """Model of the simulator, or that its measurements share; None without."""
        parts = getattr(self.simulator, "parts", None)
        if parts is None:
            return getattr(self.simulator, "model", None)
        models = [getattr(part, "model", None) for _, part in parts.values()]
        first = models[0]
        names = getattr(first, "parameter_names", None)
        if any(each is not first and each != first for each in models):
            return None
        # parameters that change from one measurement to the next are not its own
        return first if names == self.parameter_names else None

    @property
    def pull(self) -> Array | None:
        """By how many standard deviations of the prior constants moved, or None."""
        if self.prior is None:
            return None
        mean, covariance = self.prior
        moved: Array = (self.parameters - mean) / np.sqrt(np.diag(covariance))
        return moved

    @property
    def observed(self) -> pd.DataFrame:
        """What was measured elsewhere beside what the fit gives, a value a row."""
        tables = [each.table(self.parameters) for each in self.observables]
        if not tables:
            columns = ["quantity", "measured", "std", "calculated", "deviation"]
            return pd.DataFrame(columns=columns)
        return pd.concat(tables, ignore_index=True)

    def to_frame(self) -> pd.DataFrame:
        """Return all that was fitted, a value a row.

        Returns
        -------
        DataFrame
            Index: names. Columns: `kind` ("constant", "nuisance", "weight" or
            "background"), `value`, `std`, `start`, `prior`, `prior_std`, `pull` (moved
            from the prior, in its standard deviations) and `at_bound`; NaN where there
            is none.
        """
        frame = pd.DataFrame(
            {
                "kind": "constant",
                "value": self.parameters,
                "std": self.std,
                "start": self.start,
            },
            index=self.parameter_names,
        )
        if self.prior is not None:
            mean, covariance = self.prior
            frame["prior"], frame["prior_std"] = mean, np.sqrt(np.diag(covariance))
            frame["pull"] = self.pull
        known = self.nuisance
        names = [name for name in known.index if f"{name[:-4]} std" != name]
        beside = pd.DataFrame(
            {
                "kind": [self._kind(name) for name in names],
                "value": [known[name] for name in names],
                "std": [known.get(f"{name} std", np.nan) for name in names],
            },
            index=names,
        )
        frame = pd.concat([frame, beside])
        for name in ("prior", "prior_std", "pull"):
            if name not in frame:
                frame[name] = np.nan
        frame["at_bound"] = self.at_bound.reindex(frame.index).fillna(0).astype(int)
        return frame

    def fit_report(self, *, min_correlation: float = _TOLD) -> str:
        """Return all about the fit as a text.

        Parameters
        ----------
        min_correlation : float, default=0.5
            Correlations below are left out.

        Returns
        -------
        str
            Statistics, constants, values fitted along, correlations and the verdict.
        """
        from skphonon.inversion._fit_text import report_of

        return report_of(self, min_correlation)

    def energies(self, qpoints: ArrayLike) -> pd.DataFrame:
        """Return phonon energies with their standard deviations.

        Parameters
        ----------
        qpoints : array-like of shape (n_points, 3) or (3,)
            Wavevectors in units of the reciprocal lattice of the model.

        Returns
        -------
        DataFrame
            Columns `q1`, `q2`, `q3`, `mode` (from the lowest energy up), `energy` and
            `std` in meV; modes of one energy share its standard deviation.

        Raises
        ------
        ValueError
            If the simulator has no model of a crystal, or wavevectors have another
            shape.
        """
        return energy_table(self._crystal(), self.parameters, self.covariance, qpoints)

    def to_phonopy(self) -> Any:
        """Return a phonopy object with the fitted constants.

        Returns
        -------
        phonopy.Phonopy
            See :meth:`skphonon.ForceConstantModel.to_phonopy`.

        Raises
        ------
        ValueError
            If the simulator has no model of a crystal.
        """
        return self._crystal().to_phonopy(self.parameters)

    def plot(self, axes: Any = None, **options: Any) -> "SpectrumMapDisplay":
        """Draw measured, fitted and residual maps side by side.

        The residual is in standard deviations of the pixels (`sigma`).

        Parameters
        ----------
        axes : array of 3 matplotlib Axes, default=None
            None makes a figure. Each cut takes one more.
        **options : dict
            As of :meth:`skphonon.inspection.SpectrumMapDisplay.plot`.

        Returns
        -------
        SpectrumMapDisplay
            The display.

        Raises
        ------
        ValueError
            If the simulator has no grid.
        """
        from skphonon.instrument.maps import SpectrumMapDisplay

        grid = getattr(self.simulator, "grid", None)
        if grid is None:
            raise ValueError(
                "A map needs a simulator with a grid, got "
                f"{type(self.simulator).__name__}. Draw spectrum and residual yourself."
            )
        images = {
            "measured": self.spectrum,
            "fitted": self.spectrum - self.residual,
            "residual (standard deviations)": self.residual / self.sigma,
        }
        shown = [Measurement(image, grid) for image in images.values()]
        display = SpectrumMapDisplay.from_measurements(
            shown, list(images), differences=[2]
        )
        return display.plot(axes, **options)

    def __repr__(self) -> str:
        chi2 = self.figures.get("reduced_chi2", np.nan)
        return (
            f"{type(self).__name__}({len(self.parameters)} constants, chi^2 per degree "
            f"of freedom {chi2:.3g})"
        )

    def _repr_html_(self) -> str:
        return report_html(self)

    def _crystal(self) -> Any:
        if hasattr(self.simulator, "parts") and self.model is None:
            raise ValueError(
                "Energies need one model of a crystal with the fitted constants; the "
                "measurements of this simulator have other models, or parameters that "
                "change from one to the next. Take those of one measurement, "
                "simulator.parameters_at(constants, at), with the model of its "
                "simulator."
            )
        if not hasattr(self.model, "frequencies"):
            raise ValueError(
                "Energies need a simulator with a model of a crystal, got "
                f"{type(self.simulator).__name__}."
            )
        return self.model

    def _kind(self, name: str) -> str:
        if name.partition(" (")[0] in getattr(self.simulator, "nuisance_names", ()):
            return "nuisance"
        return "background" if name.startswith("background") else "weight"


def fits_of(inverter: Any, search: Any, result: Any) -> list[SpectrumFit]:
    """Return the fit of each spectrum of a result of `LeastSquaresInverter.invert`."""
    names = inverter._parameter_names(inverter.start_.size)
    figures = ("loss", "reduced_chi2", "n_effective", "n_evaluations", "converged")
    noise_known = result.errors is not None or inverter._counts
    pieces = pieces_of(inverter.prior)
    settings = {
        name: shorten(repr(value), _LONGEST)
        for name, value in inverter.get_params(deep=False).items()
        if name not in _NOT_OF_THE_FIT
    }
    observables = [piece for piece in pieces if hasattr(piece, "residuals")]
    fits = []
    for row in range(len(result.parameters)):
        errors = None if result.errors is None else result.errors[row]
        fits.append(
            SpectrumFit(
                names,
                result.parameters[row],
                result.covariance[row],
                start=inverter.start_,
                nuisance=result.nuisance.iloc[row],
                at_bound=result.at_bound.iloc[row],
                spectrum=result.spectra[row],
                residual=result.residual[row],
                figures={name: result[name][row] for name in figures}
                | {"noise_known": noise_known, "noise": inverter._noise.errors},
                simulator=inverter.simulator_,
                prior=inverter._prior_moments,
                shares=result.shares.iloc[row],
                choices=_named(result.choices[row], [*names, *inverter._nuisance]),
                of_choices=result.of_choices[row],
                others=result.others[row],
                observables=observables,
                errors=errors,
                settings=settings,
                context=(search, errors),
            )
        )
    return fits


def _named(choices: pd.DataFrame | None, names: list[str]) -> pd.DataFrame | None:
    """Return shifts by other choices with the names of what they shift."""
    return None if choices is None else choices.set_axis(names, axis=1)
