"""Fits of force constants to measured quantities, without any spectrum."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from skphonon._validation import is_number, parameter_rows, reference_row
from skphonon._versioned import Immutable, immutable
from skphonon.fitting.covariance import n_determined
from skphonon.fitting.knowledge import likely_pull, pull_of
from skphonon.inversion._checks import check_widths, joint_moments, pieces_of
from skphonon.inversion._goodness import warn_of_undetermined
from skphonon.inversion._mode_energies import energy_table
from skphonon.inversion._observable import Observable
from skphonon.inversion._observable_search import Search, Stack, finite
from skphonon.inversion._observable_warnings import warn_of_duplicates, warn_of_fit
from skphonon.inversion._phonon_energies import PhononEnergies
from skphonon.physics.priors import has_moments, mean_and_covariance

__all__ = ["ObservablesFit", "fit_observables"]

Array = NDArray[np.float64]

_STAYS = 0.95  # of the standard deviation of a prior: values say nothing


@immutable
class ObservablesFit(Immutable):
    """Force constants fitted to measured quantities.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    observables : tuple of Observable
        What was fitted.
    parameters : ndarray of shape (n_parameters,)
        Fitted constants in eV/Angstrom^2.
    covariance : ndarray of shape (n_parameters, n_parameters)
        Of these, by the errors of the values as given, wider where chi^2 rises less
        than a parabola; infinite variances of what is not determined.
    inside : ndarray of bool of shape (n_values,)
        Which values are no outliers.
    deviations : ndarray of shape (n_values,)
        Calculated less measured values, in units of what this difference should be for
        a value that is right: of an outlier, with the uncertainty of the fit without
        it.
    prior : tuple of ndarray, default=None
        Mean and covariance of the prior.
    limit : float, default=4.0
        Deviation beyond which a value is an outlier.

    Examples
    --------
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import ElasticConstants, fit_observables
    >>> model = load_aluminium_model()
    >>> measured = ElasticConstants(model, {"C44": (28.0, 1.0)})
    >>> prior = (model.reference, 0.1 * abs(model.reference))
    >>> fit = fit_observables(model, measured, prior=prior)
    >>> fit.to_frame().columns.tolist()
    ['value', 'std', 'prior', 'prior_std', 'pull']
    >>> fit.energies([[0.5, 0.5, 0.0]]).round(1)["energy"].tolist()  # X point
    [20.5, 20.5, 38.6]
    """

    model: Any
    observables: tuple[Observable, ...]
    parameters: Array
    covariance: Array
    inside: NDArray[np.bool_]
    deviations: Array
    _: KW_ONLY
    prior: tuple[Array, Array] | None = None
    limit: float = 4.0

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters, in order."""
        return self.model.parameter_names

    @property
    def std(self) -> Array:
        """Standard deviations of the parameters in eV/Angstrom^2."""
        return np.sqrt(np.diag(self.covariance))

    @cached_property
    def fitted_model(self) -> Any:
        """The model with the fitted constants as its reference."""
        return self.model.replace(reference=self.parameters)

    @cached_property
    def chi2(self) -> float:
        """Sum of squared deviations in standard deviations, without outliers.

        The pull of the prior is counted in.
        """
        residual, _ = self._residuals
        return float((residual[self.inside] ** 2).sum()) + self.prior_chi2

    @property
    def prior_chi2(self) -> float:
        """Pull of the prior: chi^2 of the constants by it; 0 without one."""
        if self.prior is None:
            return 0.0
        return pull_of(self.parameters, *self.prior)

    @property
    def pull(self) -> Array | None:
        """By how many standard deviations of the prior constants moved, or None."""
        if self.prior is None:
            return None
        off: Array = self.parameters - self.prior[0]
        return off / np.sqrt(np.diag(self.prior[1]))

    @cached_property
    def _residuals(self) -> tuple[Array, Array]:
        """Residuals of the values and their slopes, branches as they were assigned."""
        settled = Stack(self.observables).settled(self.parameters, _known(self))
        return settled.residuals(self.parameters)

    @property
    def n_free(self) -> int:
        """Number of degrees of freedom of chi^2.

        Values less directions of the parameters that they determine. Beside a prior, of
        which the pull is in chi^2, each parameter has a value of its own: it is the
        number of values.
        """
        n_inside = int(self.inside.sum())
        if self.prior is not None:
            return n_inside
        slopes = self._residuals[1][self.inside]
        return n_inside - n_determined(slopes.T @ slopes)

    @property
    def reduced_chi2(self) -> float:
        """Sum of squares per degree of freedom; NaN where there is none."""
        return self.chi2 / self.n_free if self.n_free > 0 else np.nan

    def table(self) -> pd.DataFrame:
        """Return all values, measured and calculated.

        Returns
        -------
        DataFrame
            Columns of :meth:`Observable.table`, and `outlier`.
        """
        parts = []
        for each in self.observables:
            part = each.table(self.parameters)
            if isinstance(each, PhononEnergies):
                modes = each.assigned_modes(self.parameters, _known(self))
                part["branch"] = pd.array(modes, dtype="Int64")
            parts.append(part)
        table = pd.concat(parts, ignore_index=True)
        table["outlier"] = ~self.inside
        return table

    @property
    def outliers(self) -> pd.DataFrame:
        """Values that contradict the others, worst first.

        Columns are `observable` and `row`, the numbers of the observable and of the
        value in it from 0, quantity, measured, std, calculated, `deviation` as in
        `deviations`, and `advice`: the branch that an energy would fit, if any.
        """
        parts = []
        start = 0
        for number, each in enumerate(self.observables):
            own = slice(start, start + each.n_values)
            start = own.stop
            out = np.flatnonzero(~self.inside[own]).tolist()
            part = each.table(self.parameters).iloc[out]
            part["deviation"] = self.deviations[own][out]
            part.insert(0, "row", out)
            part.insert(0, "observable", number)
            part["advice"] = [self._advice(each, row) for row in out]
            parts.append(part)
        table = pd.concat(parts, ignore_index=True)
        table = table.astype({"row": int, "advice": str})  # lost by empty tables
        order = (-table["deviation"].abs()).argsort()
        return table.iloc[order].reset_index(drop=True)

    def _advice(self, observable: Observable, row: int) -> str:
        if not isinstance(observable, PhononEnergies):
            return ""
        branches = observable.branches(self.parameters)
        energies, slopes = branches.found.energies[row], branches.found.slopes[row]
        unsure = ((slopes @ _known(self)) * slopes).sum(axis=1)
        away = np.abs(energies - observable.energies[row])
        away /= np.sqrt(observable.std[row] ** 2 + unsure)
        given, seen = observable.modes[row], observable.seen(branches)[row]
        # one that is seen is the likelier
        likely = np.where(seen, away, away + self.limit)
        best = int(likely.argmin())
        where = f"branch {best} is at {energies[best]:.2f} meV"
        if away[best] >= self.limit or best == given:
            return f"no branch is near: {where}"
        if not seen[best]:
            return f"{where}, but too weak to be seen at this Q"
        return f"wrong label? {where}" if given >= 0 else where

    def to_frame(self) -> pd.DataFrame:
        """Return the parameters as a table.

        Returns
        -------
        DataFrame
            One row a parameter: columns value, std and, with a prior, prior and
            prior_std, in eV/Angstrom^2, and pull: moved from the prior, in its standard
            deviations.
        """
        table = pd.DataFrame(
            {"value": self.parameters, "std": self.std},
            index=pd.Index(self.parameter_names, name="parameter"),
        )
        if self.prior is not None:
            table["prior"] = self.prior[0]
            table["prior_std"] = np.sqrt(np.diag(self.prior[1]))
            table["pull"] = self.pull
        return table

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
        """
        return energy_table(self.model, self.parameters, self.covariance, qpoints)

    def to_phonopy(self) -> Any:
        """Return a phonopy object with the fitted constants.

        Returns
        -------
        phonopy.Phonopy
            See :meth:`skphonon.ForceConstantModel.to_phonopy`.
        """
        return self.model.to_phonopy(self.parameters)

    def fit_report(self, *, least_correlation: float = 0.5) -> str:
        """Return a text on the fit: values, errors, correlations and outliers.

        Parameters
        ----------
        least_correlation : float, default=0.5
            Correlations below it are left out.

        Returns
        -------
        str
            Some lines for a notebook.
        """
        n_out = int((~self.inside).sum())
        lines = [
            "[[Fit Statistics]]",
            f"    # values             = {len(self.inside)}, {n_out} outliers left out",
            f"    # parameters         = {len(self.parameters)}",
            f"    chi-square           = {self.chi2:.4g}",
            f"    reduced chi-square   = {self.reduced_chi2:.4g} ({self.n_free} free)",
        ]
        if self.prior is not None:
            slopes = self._residuals[1][self.inside]
            likely = likely_pull(self.prior[1], slopes.T @ slopes)
            lines.append(
                f"    pull of the prior    = {self.prior_chi2:.4g} (chi^2, about "
                f"{likely:.2g} is likely)"
            )
        lines.append("[[Parameters]] (eV/Angstrom^2)")
        lines += [self._line(number) for number in range(len(self.parameters))]
        pairs = _correlations(self.covariance, self.parameter_names, least_correlation)
        if pairs:
            lines.append(f"[[Correlations]] (below {least_correlation:g} left out)")
            lines += [f"    C({a}, {b}) = {value:+.3f}" for a, b, value in pairs]
        if n_out:
            lines.append("[[Outliers]] (deviation in standard deviations)")
            for out in self.outliers.itertuples():
                advice = f"; {out.advice}" if out.advice else ""
                lines.append(
                    f"    row {out.row}: {out.quantity}: measured {out.measured:.4g} "
                    f"+/- {out.std:.2g}, calculated {out.calculated:.4g} "
                    f"({out.deviation:+.1f}){advice}"
                )
        return "\n".join(lines)

    def _line(self, number: int) -> str:
        width = max(map(len, self.parameter_names))
        name, value = self.parameter_names[number], self.parameters[number]
        error = self.std[number]
        told = f"{error:.5f} ({100 * error / max(abs(value), 1e-12):.1f} %)"
        if not np.isfinite(error):
            told = "not determined"
        line = f"    {name:<{width}} = {value: .5f} +/- {told}"
        moved = self.pull
        if self.prior is not None and moved is not None:
            mean, spread = self.prior[0][number], self.prior[1][number, number] ** 0.5
            line += f" (prior {mean:.5f} +/- {spread:.5f}, moved {moved[number]:+.1f}"
            decided = error > _STAYS * spread
            line += "; not determined: the prior decides)" if decided else ")"
        return line


def _known(fit: ObservablesFit) -> Array:
    """Return the covariance with nothing where it is not determined."""
    return finite(fit.covariance)


def _correlations(
    covariance: Array, names: Sequence[str], least: float
) -> list[tuple[str, str, float]]:
    std = np.sqrt(np.diag(covariance))
    size = np.where(np.isfinite(std) & (std > 0), std, np.inf)
    matrix = finite(covariance) / np.outer(size, size)
    rows, columns = np.triu_indices(len(names), 1)
    found = [
        (names[i], names[j], float(matrix[i, j]))
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
        if abs(matrix[i, j]) >= least
    ]
    return sorted(found, key=lambda pair: -abs(pair[2]))


def fit_observables(
    model: Any,
    observables: Observable | Sequence[Observable],
    *,
    prior: Any = None,
    initial: ArrayLike | None = None,
    robust: bool = True,
    limit: float = 4.0,
) -> ObservablesFit:
    """Fit force constants to measured quantities, without a spectrum.

    Least squares with the errors of the values as given. Values that contradict all
    others, such as energies with a wrong label, are named and left out. An energy with
    a label is doubted from 0.8 of the limit on, if another branch explains it.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    observables : Observable or sequence of Observable
        Measured quantities with errors, such as :class:`PhononEnergies`.
    prior : object, pair or list, default=None
        What is known of the constants beforehand: an object with `mean_` and
        `covariance_`, or means and standard deviations or a covariance, in
        eV/Angstrom^2, or a list of such, which are independent, and of observables,
        which are fitted behind the others. None: nothing.
    initial : array-like of shape (n_parameters,), default=None
        Where the search begins. None is the mean of the prior, else the reference of
        the model. All constants may be too soft or too stiff by a factor of two, each
        by about a third of its size.
    robust : bool, default=True
        Whether values may be outliers. False fits all, whatever they say.
    limit : float, default=4.0
        Deviation in standard deviations beyond which a value is an outlier. Where
        values scatter more than their errors say, in units of that scatter.

    Returns
    -------
    ObservablesFit
        Constants with errors, the table of values, outliers, and a report.

    Raises
    ------
    ValueError
        If observables are of another model, none is given, there is nowhere to begin,
        or the initial crystal is unstable where a quantity needs a stable one.
    TypeError
        If `model` is no model, or `observables` or `prior` hold something else.

    Warns
    -----
    MisfitWarning
        If the model does not describe the values within their errors, if prior and
        values contradict each other, or if values seem to be in another unit.
    IdentifiabilityWarning
        If the values do not determine all constants, and there is no prior.
    UnstableCrystalWarning
        If the fitted constants describe an unstable crystal.
    UserWarning
        If a value is given twice.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import PhononEnergies, fit_observables
    >>> model = load_aluminium_model()
    >>> qpoints = np.random.default_rng(0).uniform(size=(20, 3))
    >>> energies = model.frequencies(model.reference, qpoints)[0]
    >>> table = PhononEnergies(model, qpoints, energies[:, 2], 0.1, modes=2)
    >>> fit = fit_observables(model, table, initial=0.8 * model.reference)
    >>> bool(np.allclose(fit.parameters, model.reference))
    True
    """
    if isinstance(observables, Observable):
        observables = [observables]
    if not hasattr(model, "parameter_names"):
        raise TypeError(
            "model must be the crystal, such as a ForceConstantModel, got "
            f"{type(model).__name__}."
        )
    names = model.parameter_names
    known, more = _parted(prior, names)
    stack = Stack((*observables, *more))
    _check(stack, names)
    if not (is_number(limit) and limit > 0):
        raise ValueError(f"limit must be above 0 standard deviations, got {limit!r}.")
    if initial is not None:
        rows = parameter_rows(initial, names, "initial")
        if len(rows) != 1:
            raise ValueError(
                f"initial must be one set of shape ({len(names)},), got {len(rows)} "
                "sets. Call once for each."
            )
        start = rows[0]
    else:
        start = reference_row(model) if known is None else known[0]
    search = Search(stack, known, limit if robust else np.inf)
    end = search.best(start, initial is None)
    fit = ObservablesFit(model, stack.observables, *end[:4], prior=known, limit=limit)
    warn_of_undetermined(fit.std[None], names, "The values")
    warn_of_duplicates(stack.observables)
    warn_of_fit(fit, start)
    return fit


def _check(stack: Stack, names: list[str]) -> None:
    if not stack.observables:
        raise ValueError("observables must hold at least one, got none.")
    for each in stack.observables:
        if not isinstance(each, Observable):
            raise TypeError(
                "observables must be quantities such as PhononEnergies, got "
                f"{type(each).__name__}."
            )
        if each.parameter_names != names:
            raise ValueError(
                f"observables must be of the model that is fitted, with the parameters "
                f"{', '.join(names)}; got a {type(each).__name__} with "
                f"{', '.join(each.parameter_names)}. Make it with that model."
            )


def _parted(
    prior: Any, names: list[str]
) -> tuple[tuple[Array, Array] | None, list[Observable]]:
    """Return mean and covariance of a prior, if any, and the observables in it."""
    several = prior is None or isinstance(prior, list | tuple | Observable)
    pieces = pieces_of(prior) if several else [prior]
    more = [piece for piece in pieces if isinstance(piece, Observable)]
    normal = [_moments(p, names) for p in pieces if not isinstance(p, Observable)]
    return joint_moments(normal), more


def _moments(prior: Any, names: list[str]) -> tuple[Array, Array]:
    """Return mean and covariance of a prior, or say what one is."""
    known = has_moments(prior)
    is_pair = not isinstance(prior, Mapping | str | pd.DataFrame | pd.Series)
    is_pair = is_pair and hasattr(prior, "__len__") and len(prior) == 2
    if not known and not is_pair:
        got = type(prior).__name__
        if isinstance(prior, Mapping):
            got = f"a {got} of {', '.join(map(str, prior))}"
        raise ValueError(
            "prior must be an object with mean_ and covariance_, such as "
            "ShellPrior(model), or a pair (means, standard deviations), each of "
            f"{len(names)} numbers for {', '.join(names)}; got {got}. For a constant "
            "that is known better, narrow its standard deviation in such a pair."
        )
    if not known:
        check_widths(prior, names)
    return mean_and_covariance(prior, names)
