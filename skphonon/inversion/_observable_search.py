"""The search for force constants that fit measured quantities, some of them wrong.

It begins far away: what the constants may be off by widens the errors of all values,
and the branches of energies without labels are chosen with that width. From round to
round it becomes that of a fit to the values, in which those far off count less (the
loss of Cauchy), and initial constants hold the fit less and less. At the end values
beyond a number of standard deviations are left out, each judged by what all others say
of it, until none changes sides: these are the outliers.

Where branches are chosen, a search that ends with many outliers or a large chi^2 begins
again elsewhere.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.fitting import (
    LOSSES,
    descend,
    inverse_information,
    normal_size,
    of_residuals,
    with_prior,
)
from skphonon.fitting.knowledge import no_wider, posterior_covariance
from skphonon.inversion._observable import Observable
from skphonon.physics.priors import parameter_scales

__all__ = ["End", "Search", "Stack", "finite"]

Array = NDArray[Any]

_FACTORS = np.geomspace(0.4, 2.5, 19)  # of the initial constants, that are tried
_UNSURE = 0.3  # of the scale of a constant: how well initial ones are known
_ALONG = 0.08  # of energies: what their common factor is judged with
_SHARES = (1.0, 0.6, 0.35, 0.2, 0.1, 0.05, 0.02, 0.02)  # of that width, by round
_FREE = 0.07  # share from which on initial constants hold nothing any more
_CAUCHY = 2.0  # standard deviations, at which a value counts half
_REWEIGHTED = 3  # times in a round
_STEPS = 4  # of a search with given weights
_ROUNDS = 20  # of leaving out and taking in
_MORE_STARTS = 6  # at most, where energies have no labels
_MOVED = 0.7  # standard deviations of initial constants, from one start to another
_FEW = 0.1  # share of outliers that a good fit may have
_FAR = 10.0  # standard deviations, beyond which all is alike
_MISTAKEN = 0.8  # of the limit, from which on another label is thought of
_SURER = 9.0  # fall of chi^2 that another label must bring
_PROFILED = 6  # directions in which the covariance is checked
_SHARP = 1e-9  # of the largest variance: what is known as well is left as it is
_AWAY = 1.5  # standard deviations, and how far away
_STIFF = 1e4  # standard deviations^-2, of what is held there
_WIDEST = 5.0  # by which a covariance is widened at most, in standard deviations
_PARABOLIC = 1.15  # factors below it are left out
_LEAST_FREE = 0.05  # share of its variance that a value keeps beside a fit


class Stack(NamedTuple):
    """Several observables as one."""

    observables: tuple[Observable, ...]

    def residuals(self, row: Array) -> tuple[Array, Array]:
        found = [each.residuals(row) for each in self.observables]
        residual, slopes = (np.concatenate(part) for part in zip(*found, strict=True))
        return residual, slopes

    def mistaken(self, row: Array, covariance: Array) -> Array:
        return np.concatenate([o.mistaken(row, covariance) for o in self.observables])

    def settled(self, row: Array, covariance: Array | None) -> "Stack":
        return Stack(tuple(o.settled(row, covariance) for o in self.observables))


class UnstableStartError(ValueError):
    """A search begins where the crystal is unstable and quantities have no value."""


class End(NamedTuple):
    """Where a search ended."""

    parameters: Array
    covariance: Array
    inside: NDArray[np.bool_]
    deviations: Array
    cost: float  # sum of squares, of outliers that of the limit

    def is_good(self) -> bool:
        """Tell whether there is no reason to search on."""
        n_values = len(self.inside)
        n_out = n_values - self.inside.sum()
        level = self.deviations[self.inside] ** 2
        return n_out <= _FEW * n_values and level.mean() < 1 + 3 * (2 / n_values) ** 0.5


class Search(NamedTuple):
    """The search for parameters that fit."""

    stack: Stack
    prior: tuple[Array, Array] | None
    limit: float

    def best(self, start: Array, is_known: bool) -> End:
        """Return the best end of a search, or of several if branches are chosen."""
        names = self.stack.observables[0].parameter_names
        unsure = np.diag((_UNSURE * parameter_scales(start, names)) ** 2)
        if self.prior is not None and is_known:
            unsure = self.prior[1]
        else:
            start = self._scaled(start)
        best = self._settled(self._nearby(start, unsure))
        settled = self.stack.settled(start, None).observables
        chooses = any(
            a is not b for a, b in zip(settled, self.stack.observables, strict=True)
        )
        root = np.linalg.cholesky(unsure)
        rng = np.random.default_rng(0)
        for number in range(_MORE_STARTS if chooses else 0):
            if best.is_good():
                break
            centre = best.parameters if number % 2 else start
            moved = centre + _MOVED * root @ rng.standard_normal(len(start))
            try:
                end = self._settled(self._nearby(moved, unsure))
            except UnstableStartError:
                continue
            best = min(best, end, key=lambda each: each.cost)
        return best._replace(covariance=self._widened(best))

    def _nearby(self, start: Array, unsure: Array) -> Array:
        """Return parameters near the optimum, from far away."""
        row, width, stiff = start, unsure, np.linalg.inv(unsure)
        for share in _SHARES:
            settled = self.stack.settled(row, width)
            held = (start, stiff) if share > _FREE and self.prior is None else None
            for _ in range(_REWEIGHTED):
                residual, slopes = settled.residuals(row)
                size = 1 + ((slopes @ width) * slopes).sum(axis=1)
                weight = np.ones(len(residual))
                if np.isfinite(self.limit):
                    weight = LOSSES["cauchy"](residual**2 / size / _CAUCHY**2)
                row = self._descended(settled, row, weight, _STEPS, held)
            residual, slopes = settled.residuals(row)
            scatter = max(1.0, normal_size(residual))
            information = (slopes.T * weight) @ slopes / scatter**2
            width = np.linalg.inv(stiff / share**2 + information)
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

    def _settled(self, row: Array) -> End:
        """Leave out what contradicts all other values, until nothing changes."""
        residual, slopes = self.stack.residuals(row)
        inside = np.abs(residual) <= self.limit * max(1.0, normal_size(residual))
        covariance, before = np.zeros((len(row), len(row))), None
        for _ in range(_ROUNDS):
            settled = self.stack.settled(row, finite(covariance))
            row = self._descended(settled, row, inside.astype(float), 100)
            residual, slopes = settled.residuals(row)
            information = slopes[inside].T @ slopes[inside]
            if self.prior is not None:
                covariance = posterior_covariance(self.prior[1], information)
                known = slopes @ covariance
            else:
                covariance = inverse_information(information)
                known = slopes @ np.linalg.pinv(information, hermitian=True)
            leverage = (known * slopes).sum(axis=1)
            size = np.where(inside, np.maximum(1 - leverage, _LEAST_FREE), 1 + leverage)
            deviations = residual / np.sqrt(size)
            others = self.stack.mistaken(row, finite(covariance))
            now = self._inside(deviations, others)
            same = np.array_equal(now, inside)
            if same and before is not None and np.abs(before - row).max() < 1e-6:
                break
            before, inside = row, now if not same else inside
        cost = float(np.minimum(residual**2, min(self.limit, _FAR) ** 2).sum())
        return End(row, covariance, inside, deviations, cost)

    def _widened(self, end: End) -> Array:
        """Return the covariance, wider where chi^2 rises less than a parabola.

        Energies of few branches leave valleys that are curved. Along the directions
        that are known least, chi^2 is minimised over all others, some standard
        deviations to either side.
        """
        row, covariance = end.parameters, end.covariance
        std = np.sqrt(np.diag(covariance))
        if not np.isfinite(std).all():
            return covariance
        settled = self.stack.settled(row, covariance)
        weight = end.inside.astype(float)
        values, vectors = np.linalg.eigh(covariance / np.outer(std, std))
        least = self._chi2(settled, row, weight)
        factors = np.ones(len(values))
        for number in range(max(0, len(values) - _PROFILED), len(values)):
            if values[number] < _SHARP * values[-1]:
                continue  # rounding
            step = std * vectors[:, number] * values[number] ** 0.5
            across = vectors[:, number] / std / values[number] ** 0.5
            for t in (-_AWAY, _AWAY):
                held = self._held_at(row + t * step, across)
                try:
                    there = self._descended(
                        settled, row + t * step, weight, _STEPS, held
                    )
                except UnstableStartError:  # a limit, where chi^2 has no value
                    continue
                rise = self._chi2(settled, there, weight) - least
                moved = across @ (there - row)
                factor = abs(moved) / max(rise, moved**2 / _WIDEST**2) ** 0.5
                factors[number] = max(factors[number], factor)
        wide = np.where(factors > _PARABOLIC, factors, 1.0)
        root = std[:, None] * vectors * (wide * np.sqrt(values.clip(0)))
        found = root @ root.T
        return found if self.prior is None else no_wider(found, self.prior[1])

    def _chi2(self, settled: Stack, row: Array, weight: Array) -> float:
        residual, _ = settled.residuals(row)
        total = float(weight @ residual**2)
        if self.prior is None:
            return total if np.isfinite(total) else np.inf
        off = row - self.prior[0]
        return total + float(off @ np.linalg.solve(self.prior[1], off))

    def _held_at(self, there: Array, across: Array) -> tuple[Array, Array]:
        """Return mean and precision of the prior, stiff in one direction there."""
        stiff = _STIFF * np.outer(across, across)
        if self.prior is None:
            return there, stiff
        mean, covariance = self.prior
        spread = _STIFF * covariance @ across
        share = across @ (there - mean) / (1 + across @ spread)
        return mean + share * spread, np.linalg.inv(covariance) + stiff

    def _inside(self, deviations: Array, others: Array) -> NDArray[np.bool_]:
        """Tell which values are right, less readily where a label explains one."""
        size = np.abs(deviations) / max(1.0, normal_size(deviations))
        mistaken = (size > _MISTAKEN * self.limit) & (size**2 - others**2 > _SURER)
        return (size <= self.limit) & ~mistaken

    def _descended(
        self,
        settled: Stack,
        row: Array,
        weight: Array,
        max_steps: int,
        held: tuple[Array, Array] | None = None,
    ) -> Array:
        """Return the optimum of given weights, with the prior or held by another."""
        if held is None and self.prior is not None:
            held = self.prior[0], np.linalg.inv(self.prior[1])

        def objective(rows: Array, _: Any) -> Any:
            found = [settled.residuals(each) for each in rows]
            residual, slopes = (np.stack(part) for part in zip(*found, strict=True))
            expansion = of_residuals(residual, slopes, weight)
            return expansion if held is None else with_prior(expansion, rows, *held)

        found = descend(objective, row[None], cost_tolerance=1e-9, max_steps=max_steps)
        if not np.isfinite(found.found.cost[0]):
            raise UnstableStartError(
                "The initial constants must describe a stable crystal, as "
                "displacements and heat capacities need; got an unstable one. Begin "
                "elsewhere, with initial, or give a prior."
            )
        return found.parameters[0]


def finite(covariance: Array) -> Array:
    """Return a covariance with nothing where it is not determined."""
    return np.where(np.isfinite(covariance), covariance, 0.0)
