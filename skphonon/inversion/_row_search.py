"""The fit of one row of spectra: its pixels, its starts, its searches in stages."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult
from scipy.stats import norm, qmc

from skphonon.inversion._amplitudes import of_weights
from skphonon.inversion._fitting import Task, error_bars, minimise, most_promising
from skphonon.inversion._model import Model
from skphonon.inversion._report import no_fit
from skphonon.inversion._residuals import Problem
from skphonon.inversion._stages import COARSE, best_fit
from skphonon.inversion._systematics import add_choices
from skphonon.physics.stability import searching

__all__ = ["RowSearch", "candidates_about"]

_REWEIGHTED = 4  # times at most, as errors of contributions depend on their weights
_SETTLED = 0.01  # of the error of a weight


@dataclass(frozen=True)
class RowSearch:
    """From spectra, pixels seen, a start and errors of a row to its best fit."""

    task: Task
    model: Model
    parts: list
    terms: list  # of the background of each part
    candidates: tuple | None  # sets of parameters and their simulations
    extend: Callable  # from parameters to those and nuisances
    seed: int
    scale: str
    n_starts: int
    correlated: bool  # whether residuals tell the covariance themselves
    background: Any = None  # as given
    choices: bool = False  # whether other choices of the analysis count

    def __call__(self, spectra, pixels, start, errors=None):
        """Return the best fit of one row from all its starts."""
        return self.fit(spectra, pixels, start, errors)

    def fit(self, spectra, pixels, start, errors=None, goes_on=False):
        """Return the best fit from a start, or from several with their nuisances."""
        noisy = self._noisy()
        if errors is None or not noisy:
            return self._fit(spectra, pixels, start, errors, goes_on)
        # the error of what is subtracted counts as often as it is subtracted
        total = self._total(noisy, errors, None)
        found = self._fit(spectra, pixels, start, total, goes_on)
        numbers = list(noisy)
        for _ in range(_REWEIGHTED):
            if not np.isfinite(found.loss):
                break
            before = found
            total = self._total(noisy, errors, before.weights)
            improved, shift = self._improved(noisy, before, total)
            found = improved._fit(
                spectra + shift[pixels], pixels, before.x, total, goes_on=True
            )
            found.nit, found.nfev = found.nit + before.nit, found.nfev + before.nfev
            moved = np.abs(found.weights - before.weights)[:, numbers]
            allowed = _SETTLED * found.weight_std[:, numbers]
            if not (moved > np.nan_to_num(allowed)).any():
                break
        return found

    def _noisy(self):
        """Return errors of contributions that were measured, by their numbers."""
        return {
            number: source.error
            for number, source in enumerate(self.model)
            if getattr(source, "error", None) is not None
        }

    def _total(self, noisy, errors, weights):
        """Return errors of pixels with those of contributions; NaN where not known."""
        variance = errors**2
        for number, error in noisy.items():
            variance += (self._of_pixels(weights, number) * error) ** 2
        return np.sqrt(variance)

    def _of_pixels(self, weights, number):
        """Return the weight of a contribution at each pixel, 0 where there is none."""
        found = np.zeros(max(part.pixels.stop for part in self.parts))
        for i, part in enumerate(self.parts):
            if weights is not None:
                found[part.pixels] = np.nan_to_num(weights[i, number])
        return found

    def _improved(self, noisy, found, total):
        """Return this with likelier contributions, and a change that keeps residuals.

        Noise in a column makes its weight too small. The likeliest spectrum of a can is
        not the one measured: it takes the part of the residual that is due to its error
        (total least squares). The change is added to the spectra.
        """
        sources, shift = list(self.model.sources), np.zeros(len(found.row))
        residual = np.nan_to_num(found.row)
        for number, error in noisy.items():
            weight = self._of_pixels(found.weights, number)
            step = np.nan_to_num(weight * (error / total) ** 2) * residual
            sources[number] = replace(sources[number], row=sources[number].row + step)
            shift += weight * step
        model = Model(sources, self.model.nuisance, self.model.steps)
        return replace(self, model=model), shift

    def _fit(self, spectra, pixels, start, errors, goes_on=False):
        """Return the best fit; one that goes on has starts with nuisances."""
        problem, images, pixels = self.problem(spectra, pixels, errors)
        if goes_on:
            starts = np.atleast_2d(start)
        else:
            starts = self._starts(start, problem, pixels)
        found = best_fit(
            partial(self._search, problem, pixels),
            starts,
            self.task,
            self.model,
            lambda found: error_bars(found, self.task, images, self.correlated),
        )
        return self.told(found, images, len(pixels), starts[0], pixels)

    def told(self, found, images, n_pixels, start, pixels):
        """Return a result with all that is told of it, or what stands for none."""
        scale, parts = self.scale, self.parts
        if not np.isfinite(found.fun):
            n_terms = 0 if scale == "normalized" else len(self.terms[0])
            shape = len(parts), len(self.model.sources), n_terms
            return no_fit(start, n_pixels, shape, found.message)
        row = np.full(n_pixels, np.nan)
        row[pixels] = -found.residual
        residual, _, weights, _ = found.evaluation
        found.update(row=row, loss=residual @ residual, weights=weights)
        if self.choices:
            add_choices(found, self.task, self.model, parts, self.background)
        found.update(of_weights(found, self.task, images, self.correlated))
        return found

    def problem(self, spectra, pixels, errors=None):
        """Return the problem of one row, images of its parts, and pixels compared."""
        if errors is not None:
            spectra = spectra[np.isfinite(errors[pixels])]
            pixels = pixels & np.isfinite(errors)
        seen = [pixels[part.pixels] for part in self.parts]
        ends = np.cumsum([0, *(visible.sum() for visible in seen)])
        images = [
            (part.shape, np.flatnonzero(mask))
            for part, mask in zip(self.parts, seen, strict=True)
        ]
        problem = Problem(
            spectra,
            self.model.on(pixels),
            [each[:, mask].T for each, mask in zip(self.terms, seen, strict=True)],
            [slice(*pair) for pair in pairwise(ends)],
            None if errors is None else 1 / errors[pixels],
            self.scale != "absolute",
            images=images if self.correlated else None,
        )
        return problem, images, pixels

    def _starts(self, start, problem, pixels):
        """Return where searches begin: the best candidates, or about a proposal."""
        first, n_starts = self.extend(start), self.n_starts
        if not problem.unit:
            return first[None]
        if self.candidates is not None:
            rows, spectra = self.candidates
            best = most_promising(problem, rows, spectra[..., pixels], n_starts)
            if self.task.prior is None or (best == first).all(axis=1).any():
                return best
            return np.vstack([best, first])  # where what is known is the likeliest
        moves = np.random.default_rng(self.seed).normal(size=(n_starts - 1, first.size))
        return np.vstack([first, first + self.task.steps * moves]).clip(
            *self.task.bounds
        )

    def _search(self, problem, pixels, model, start, task, is_last):
        """Search with a model; without a free scale only once its best is known."""
        if not problem.unit:
            return OptimizeResult(
                x=start, fun=np.nan, nit=0, nfev=0, message="constant"
            )
        problem = problem.of(model.on(pixels))
        found = minimise(problem, start, task)
        normalized = self.scale == "normalized"
        if is_last and normalized and np.isfinite(found.fun):
            # extreme pixels make a rugged landscape, in which one starts near the end
            rugged = Problem(problem.spectra, problem.model, None)
            result = minimise(rugged, found.x, task)
            result.nit, result.nfev = result.nit + found.nit, result.nfev + found.nfev
            found = result
        found.pixels = pixels
        return found


def candidates_about(first, number, task, model, seed, prior=None):
    """Return sets of parameters about a start, which is the first, and simulations.

    They have the nuisances of the start, which are then simulated once for all. Where
    there is a prior, mean and covariance, they are of it, and unstable ones left out.
    """
    n = task.n_constants
    cube = qmc.LatinHypercube(n, rng=seed)
    rows = np.tile(first, (number, 1))
    normal = norm.ppf(cube.random(number - 1))
    if prior is None:
        rows[1:, :n] += task.steps[:n] * normal
    else:
        rows[1:, :n] = prior[0] + normal @ np.linalg.cholesky(prior[1]).T
    rows = rows.clip(*task.bounds)
    sample: Any = getattr(next(iter(model)), "simulator", None)
    if prior is not None and hasattr(sample, "is_stable"):
        stable = np.asarray(sample.is_stable(rows[:, :n]))
        stable[0] = True
        rows = rows[stable]
    model = model.loosened(COARSE, first) or model
    with searching():
        return rows, model.simulate(rows)
