"""Fits of force constants to measured quantities, without any spectrum.

The search begins far away: what the constants may be off by widens the errors of all
values, and the branches of energies without labels are chosen with that width. It
shrinks from round to round, in each of which values far off count less (the loss of
Cauchy). At the end values beyond a number of standard deviations are left out, one
judged by what all others say of it, until none changes sides: these are the outliers.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2 as chi2_distribution

from skphonon._validation import parameter_rows, reference_row
from skphonon._versioned import Immutable, immutable
from skphonon._warnings import warn_user
from skphonon.fitting import (
    LOSSES,
    descend,
    inverse_information,
    normal_size,
    of_residuals,
    with_prior,
)
from skphonon.inversion._goodness import MisfitWarning, warn_of_undetermined
from skphonon.inversion._observable import Observable
from skphonon.inversion._phonon_energies import PhononEnergies
from skphonon.physics.priors import mean_and_covariance, parameter_scales

__all__ = ["ObservablesFit", "fit_observables"]

Array = NDArray[np.float64]

_FACTORS = np.geomspace(0.4, 2.5, 19)  # of the initial constants, that are tried
_UNSURE = 0.3  # of the scale of a constant: how well initial ones are known
_ALONG = 0.08  # of energies: what their common factor is judged with
_SHARES = (1.0, 0.6, 0.35, 0.2, 0.1, 0.05, 0.0, 0.0)  # of that width, by round
_CAUCHY = 2.0  # standard deviations, at which a value counts half
_REWEIGHTED = 4  # times in a round
_STEPS = 4  # of a search with given weights
_ROUNDS = 20  # of leaving out and taking in
_MORE_STARTS = 12  # at most, where energies have no labels
_MOVED = 0.7  # standard deviations of initial constants, from one start to another
_FEW = 0.1  # share of outliers that a good fit may have
_FAR = 10.0  # standard deviations, beyond which all is alike
_LEAST_FREE = 0.05  # share of its variance that a value keeps beside a fit
_LEVEL = 0.005  # false alarms of a misfit
_TOLERATED = 1.1  # errors are seldom known better


class _Stack(NamedTuple):
    """Several observables as one."""

    observables: tuple[Observable, ...]

    def residuals(self, row: Array) -> tuple[Array, Array]:
        found = [each.residuals(row) for each in self.observables]
        residual, slopes = (np.concatenate(part) for part in zip(*found, strict=True))
        return residual, slopes

    def settled(self, row: Array, covariance: Array | None) -> "_Stack":
        return _Stack(tuple(o.settled(row, covariance) for o in self.observables))


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
        Of these, by the errors of the values as given; infinite variances of what is
        not determined.
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
        settled = _Stack(self.observables).settled(self.parameters, _known(self))
        residual, _ = settled.residuals(self.parameters)
        total = float((residual[self.inside] ** 2).sum())
        if self.prior is not None:
            off = self.parameters - self.prior[0]
            total += float(off @ np.linalg.solve(self.prior[1], off))
        return total

    @property
    def n_free(self) -> int:
        """Number of degrees of freedom: values less parameters that they determine."""
        n_determined = int(np.isfinite(self.std).sum())
        if self.prior is not None:  # each parameter has a value of its own
            n_determined = 0
        return int(self.inside.sum()) - n_determined

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
            out = np.flatnonzero(~self.inside[own])
            part = each.table(self.parameters).iloc[out]
            part["deviation"] = self.deviations[own][out]
            part.insert(0, "row", out)
            part.insert(0, "observable", number)
            part["advice"] = [self._advice(each, row) for row in out]
            parts.append(part)
        table = pd.concat(parts, ignore_index=True)
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
        # a branch that is seen is the likelier one
        away = away + self.limit * ~observable.seen(branches)[row]
        best = int(away.argmin())
        where = f"branch {best} is at {energies[best]:.2f} meV"
        given = observable.modes[row]
        if given >= 0 and away[best] < self.limit:
            return f"wrong label? {where}"
        return f"no branch is near: {where}"

    def to_frame(self) -> pd.DataFrame:
        """Return the parameters as a table.

        Returns
        -------
        DataFrame
            One row a parameter: columns value, std and, with a prior, prior and
            prior_std; in eV/Angstrom^2.
        """
        table = pd.DataFrame(
            {"value": self.parameters, "std": self.std},
            index=pd.Index(self.parameter_names, name="parameter"),
        )
        if self.prior is not None:
            table["prior"] = self.prior[0]
            table["prior_std"] = np.sqrt(np.diag(self.prior[1]))
        return table

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
            f"    # values             = {len(self.inside)} ({n_out} outliers left out)",
            f"    # parameters         = {len(self.parameters)}",
            f"    chi-square           = {self.chi2:.4g}",
            f"    reduced chi-square   = {self.reduced_chi2:.4g} ({self.n_free} free)",
            "[[Parameters]] (eV/Angstrom^2)",
        ]
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
        if self.prior is not None:
            mean, spread = self.prior[0][number], self.prior[1][number, number] ** 0.5
            line += f" (prior {mean:.5f} +/- {spread:.5f})"
        return line


def _known(fit: ObservablesFit) -> Array:
    """Return the covariance with nothing where it is not determined."""
    return _finite(fit.covariance)


def _finite(covariance: Array) -> Array:
    return np.where(np.isfinite(covariance), covariance, 0.0)


def _correlations(
    covariance: Array, names: Sequence[str], least: float
) -> list[tuple[str, str, float]]:
    std = np.sqrt(np.diag(covariance))
    size = np.where(np.isfinite(std) & (std > 0), std, np.inf)
    matrix = _finite(covariance) / np.outer(size, size)
    rows, columns = np.triu_indices(len(names), 1)
    found = [
        (names[i], names[j], float(matrix[i, j]))
        for i, j in zip(rows, columns, strict=True)
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
    others, such as energies with a wrong label, are named and left out.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    observables : Observable or sequence of Observable
        Measured quantities with errors, such as :class:`PhononEnergies`.
    prior : object or pair, default=None
        What is known of the constants beforehand: an object with `mean_` and
        `covariance_`, or means and standard deviations or a covariance, in
        eV/Angstrom^2. None: nothing.
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

    Warns
    -----
    MisfitWarning
        If the model does not describe the values within their errors.
    IdentifiabilityWarning
        If the values do not determine all constants.

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
    stack = _Stack(tuple(observables))
    names = model.parameter_names
    _check(stack, names)
    known = None if prior is None else mean_and_covariance(prior, names)
    if not limit > 0:
        raise ValueError(f"limit must be above 0 standard deviations, got {limit!r}.")
    if initial is not None:
        start = parameter_rows(initial, names, "initial")[0]
    else:
        start = reference_row(model) if known is None else known[0]
    search = _Search(stack, known, limit if robust else np.inf)
    end = search.best(start, initial is None)
    fit = ObservablesFit(
        model, stack.observables, *end[:4], prior=known, limit=limit
    )
    warn_of_undetermined(fit.std[None], names, "The values")
    _warn_of_misfit(fit)
    return fit


def _check(stack: _Stack, names: list[str]) -> None:
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


class _End(NamedTuple):
    """Where a search ended."""

    parameters: Array
    covariance: Array
    inside: NDArray[np.bool_]
    deviations: Array
    cost: float  # sum of squares, of outliers that of the limit

    def is_good(self, n_values: int) -> bool:
        """Tell whether there is no reason to search on."""
        n_out = n_values - self.inside.sum()
        level = self.deviations[self.inside] ** 2
        return n_out <= _FEW * n_values and level.mean() < 1 + 3 * (2 / n_values) ** 0.5


class _Search(NamedTuple):
    """The search for parameters that fit."""

    stack: _Stack
    prior: tuple[Array, Array] | None
    limit: float

    def best(self, start: Array, is_known: bool) -> _End:
        """Return the best end of a search, or of several if branches are chosen."""
        names = self.stack.observables[0].parameter_names
        unsure = np.diag((_UNSURE * parameter_scales(start, names)) ** 2)
        if self.prior is not None and is_known:
            unsure = self.prior[1]
        else:
            start = self._scaled(start)
        best = self._settled(self._nearby(start, unsure))
        chooses = self.stack.settled(start, None).observables != self.stack.observables
        root = np.linalg.cholesky(unsure)
        rng = np.random.default_rng(0)
        for number in range(_MORE_STARTS if chooses else 0):
            if best.is_good(len(best.inside)):
                break
            centre = best.parameters if number % 2 else start
            moved = centre + _MOVED * root @ rng.standard_normal(len(start))
            end = self._settled(self._nearby(moved, unsure))
            best = min(best, end, key=lambda each: each.cost)
        return best

    def _nearby(self, start: Array, unsure: Array) -> Array:
        """Return parameters near the optimum, from far away."""
        row = start
        for share in _SHARES:
            width = share**2 * unsure
            settled = self.stack.settled(row, width)
            for _ in range(_REWEIGHTED):
                residual, slopes = settled.residuals(row)
                size = 1 + ((slopes @ width) * slopes).sum(axis=1)
                weight = np.ones(len(residual))
                if np.isfinite(self.limit):
                    weight = LOSSES["cauchy"](residual**2 / size / _CAUCHY**2)
                row = self._descended(settled, row, weight, _STEPS)
        return row

    def _scaled(self, start: Array) -> Array:
        """Return the initial constants times the factor that fits best."""
        along = (2 * _ALONG) ** 2 * np.outer(start, start)
        costs = []
        for factor in _FACTORS:
            row = factor * start
            width = factor**2 * along
            residual, slopes = self.stack.settled(row, width).residuals(row)
            size = 1 + ((slopes @ width) * slopes).sum(axis=1)
            cost = np.log1p(residual**2 / size).sum()
            costs.append(cost if np.isfinite(cost) else np.inf)
        return _FACTORS[int(np.argmin(costs))] * start

    def _settled(self, row: Array) -> _End:
        """Leave out what contradicts all other values, until nothing changes."""
        residual, slopes = self.stack.residuals(row)
        inside = np.abs(residual) <= self.limit * max(1.0, normal_size(residual))
        covariance, before = np.zeros((len(row), len(row))), None
        for _ in range(_ROUNDS):
            settled = self.stack.settled(row, _finite(covariance))
            row = self._descended(settled, row, inside.astype(float), 100)
            residual, slopes = settled.residuals(row)
            information = slopes[inside].T @ slopes[inside]
            if self.prior is not None:
                information += np.linalg.inv(self.prior[1])
            covariance = inverse_information(information)
            known = slopes @ np.linalg.pinv(information, hermitian=True)
            leverage = (known * slopes).sum(axis=1)
            size = np.where(inside, np.maximum(1 - leverage, _LEAST_FREE), 1 + leverage)
            deviations = residual / np.sqrt(size)
            scatter = max(1.0, normal_size(deviations))
            now = np.abs(deviations) <= self.limit * scatter
            same = np.array_equal(now, inside)
            if same and before is not None and np.abs(before - row).max() < 1e-6:
                break
            before, inside = row, now if not same else inside
        cost = float(np.minimum(residual**2, min(self.limit, _FAR) ** 2).sum())
        return _End(row, covariance, inside, deviations, cost)

    def _descended(
        self, settled: _Stack, row: Array, weight: Array, max_steps: int
    ) -> Array:
        precision = None if self.prior is None else np.linalg.inv(self.prior[1])

        def objective(rows: Array, _: Any) -> Any:
            found = [settled.residuals(each) for each in rows]
            residual, slopes = (np.stack(part) for part in zip(*found, strict=True))
            expansion = of_residuals(residual, slopes, weight)
            if self.prior is None or precision is None:
                return expansion
            return with_prior(expansion, rows, self.prior[0], precision)

        found = descend(
            objective, row[None], cost_tolerance=1e-9, max_steps=max_steps
        )
        if not np.isfinite(found.found.cost[0]):
            raise ValueError(
                "The initial constants must describe a stable crystal, as displacements "
                "and heat capacities need; got an unstable one. Begin elsewhere, with "
                "initial, or give a prior."
            )
        return found.parameters[0]


def _warn_of_misfit(fit: ObservablesFit) -> None:
    n_free = fit.n_free
    if n_free < 1:
        return
    limit = max(chi2_distribution.isf(_LEVEL, n_free) / n_free, _TOLERATED)
    n_out = int((~fit.inside).sum())
    if fit.reduced_chi2 > limit or n_out > len(fit.inside) / 4:
        warn_user(
            "The model does not describe the values within their errors: chi^2 per "
            f"degree of freedom {fit.reduced_chi2:.3g}, {n_out} of {len(fit.inside)} "
            "values are outliers. Errors of the constants are too small. Look at "
            "outliers, give the model more shells, or the values larger errors.",
            MisfitWarning,
        )
