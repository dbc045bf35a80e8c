"""The fit of one row of spectra: its pixels, its starts, its searches in stages."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from scipy.optimize import OptimizeResult

from skphonon.inversion._fitting import Task, error_bars, minimise, most_promising
from skphonon.inversion._model import Model
from skphonon.inversion._report import no_fit
from skphonon.inversion._residuals import Problem
from skphonon.inversion._stages import best_fit

__all__ = ["RowSearch"]


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

    def __call__(self, spectra, pixels, start, errors=None):
        """Return the best fit of one row from all its starts."""
        if errors is not None:
            spectra = spectra[np.isfinite(errors[pixels])]
            pixels = pixels & np.isfinite(errors)
        scale, parts = self.scale, self.parts
        seen = [pixels[part.pixels] for part in parts]
        ends = np.cumsum([0, *(visible.sum() for visible in seen)])
        problem = Problem(
            spectra,
            self.model.on(pixels),
            [each[:, mask].T for each, mask in zip(self.terms, seen, strict=True)],
            [slice(*pair) for pair in pairwise(ends)],
            None if errors is None else 1 / errors[pixels],
            scale != "absolute",
        )
        images = [
            (part.shape, np.flatnonzero(mask))
            for part, mask in zip(parts, seen, strict=True)
        ]
        starts = self._starts(start, problem, pixels)
        found = best_fit(
            partial(self._search, problem, pixels),
            starts,
            self.task,
            self.model,
            lambda found: error_bars(found, self.task, images, self.correlated),
        )
        if not np.isfinite(found.fun):
            n_terms = 0 if scale == "normalized" else len(self.terms[0])
            shape = len(parts), len(self.model.simulators) + n_terms
            return no_fit(starts[0], len(pixels), shape, found.message)
        row = np.full(len(pixels), np.nan)
        row[pixels] = -found.residual
        residual, _, weights, _ = found.evaluation
        found.update(row=row, loss=residual @ residual, weights=weights)
        return found

    def _starts(self, start, problem, pixels):
        """Return where searches begin: the best candidates, or about a proposal."""
        first, n_starts = self.extend(start), self.n_starts
        if not problem.unit:
            return first[None]
        if self.candidates is not None:
            rows, spectra = self.candidates
            return most_promising(problem, rows, spectra[..., pixels], n_starts)
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
