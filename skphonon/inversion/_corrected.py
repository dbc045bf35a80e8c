r"""Fits and draws on a coarse mesh that know what a fine one would say.

About an optimum x the error of a coarse mesh of the Brillouin zone is nearly linear in
the parameters p. With a fine one, simulated once with its derivatives, a coarse one
becomes

.. math:: S(p) + D + D' (p - x), \qquad D = S_f(x) - S(x),

whose error is that of the curvature of D. It costs what the coarse one does. How much
is left is measured on draws.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult

from skphonon.inversion._fitting import error_bars
from skphonon.inversion._model import Model
from skphonon.inversion._stages import SMALL_BIAS, rough_ends, shift_by

__all__ = ["Corrected", "Nearest", "about", "best_ends", "distinct_ends", "nearest_of"]

Array = NDArray[np.float64]

_TIGHT = 1e-7  # tolerance of searches: valleys are narrow and flat
_CURVED = 0.1  # factor of tolerances at which curvature is told well enough
_ROUNDS = 6  # of finer meshes and corrections about new optima
_AS_LIKELY = 50.0  # of minus twice the log likelihood: an end that may be the truth
_NEAR = 0.2  # standard deviations from a place where its correction is right
_APART = 0.5  # standard deviations between ends that are two


class Corrected(Model):
    """A model with what a finer one adds about a place.

    Parameters
    ----------
    model : Model
    x : ndarray of shape (n_parameters,)
        The place.
    difference : ndarray of shape (n_sources, n_pixels)
        What is added there.
    slopes : ndarray of shape (n_sources, n_pixels, n_parameters)
        Its derivatives.
    """

    def __init__(
        self, model: Model, x: Array, difference: Array, slopes: Array
    ) -> None:
        super().__init__(model.sources, model.nuisance, model.steps)
        self.coarse = model
        self.x, self.difference, self.slopes = x, difference, slopes
        self.at_fine: tuple[Array, Array] | None = None  # spectra and slopes there

    def on(self, pixels: Any) -> Any:
        """Return the function that a Problem asks."""
        plain = super().on(pixels)
        more, slopes = self.difference[:, pixels], self.slopes[:, pixels]

        def model(parameters: Array) -> tuple[Array, Array]:
            spectra, derivatives = plain(parameters)
            added = more + slopes @ (parameters - self.x)
            return spectra + added, derivatives + slopes

        return model

    def simulate(self, rows: Array) -> Array:
        """Return spectra of shape (n_rows, n_contributions, n_pixels)."""
        found = super().simulate(rows)
        found += self.difference
        for row, off in zip(found, rows - self.x, strict=True):
            row += self.slopes @ off
        return found


class Nearest(Model):
    """Models that are each right about a place; the nearest answers.

    Parameters
    ----------
    models : list of Model
    places : list of ndarray of shape (n_parameters,)
    informations : list of ndarray of shape (n_parameters, n_parameters)
        That distances from each place are measured with.
    """

    def __init__(
        self, models: list[Model], places: list[Array], informations: list[Array]
    ) -> None:
        first = models[0]
        super().__init__(first.sources, first.nuisance, first.steps)
        self.models, self.places, self.informations = models, places, informations

    def on(self, pixels: Any) -> Any:
        """Return the function that a Problem asks."""
        functions = [model.on(pixels) for model in self.models]

        def model(parameters: Array) -> tuple[Array, Array]:
            found: tuple[Array, Array]
            found = functions[self._nearest(parameters[None])[0]](parameters)
            return found

        return model

    def simulate(self, rows: Array) -> Array:
        """Return spectra of shape (n_rows, n_contributions, n_pixels)."""
        nearest = self._nearest(rows)
        found: Array | None = None
        for number in np.unique(nearest):
            own = nearest == number
            some = self.models[number].simulate(rows[own])
            if found is None:
                found = np.empty((len(rows), *some.shape[1:]))
            found[own] = some
        return self.models[0].simulate(rows) if found is None else found

    def _nearest(self, rows: Array) -> NDArray[np.int_]:
        return nearest_of(rows, self.places, self.informations)


def nearest_of(
    rows: Array, places: list[Array], informations: list[Array]
) -> NDArray[np.int_]:
    """Return the number of the place nearest to each row, by the information there."""
    distances = []
    for place, information in zip(places, informations, strict=True):
        off = rows - place
        distances.append(np.einsum("ni,ij,nj->n", off, information, off))
    return np.argmin(distances, axis=0)


def best_ends(
    search: Any,
    spectra: Array,
    pixels: Any,
    starts: Array,
    errors: Array | None,
    is_stable: Callable[[Array], bool],
) -> list[OptimizeResult]:
    """Return distinct ends of the searches of a RowSearch, the likeliest first.

    Those of crystals that are not stable only if there are no others.

    Each has a `corrected` model that it was found with, a `fine` one that this was
    corrected by, and error bars.
    """
    problem, images, pixels = search.problem(spectra, pixels, errors)
    task, model = search.task, search.model
    run = partial(search._search, problem, pixels)
    bars = partial(error_bars, task=task, images=images, correlated=search.correlated)
    if not problem.unit or model.loosened(1.0, starts[0]) is None:
        ends = [run(model, start, task, True) for start in starts]
        for end in ends:
            end.corrected = end.fine = model
            if np.isfinite(end.fun):
                end.update(bars(end), mesh_bias=np.zeros(end.x.size))
        return distinct_ends(ends, is_stable)
    # coarse meshes alone may raise the squares of one end more than of another
    rough = rough_ends(run, starts, task, model, hopeless=np.inf)
    found = [_corrected_end(run, bars, rough[0], task, model)]
    for end in rough[1:]:
        # most are the same optimum, which the correction of the first tells soon
        first = found[0]
        if not np.isfinite(first.fun):
            break
        tight = task._replace(tolerance=min(task.tolerance, _TIGHT))
        other = run(first.corrected, end.x, tight, True)
        if np.isfinite(other.fun):
            other.update(bars(other))
        kept = distinct_ends([*found, other], is_stable)
        is_new = all(_are_apart(other, each) for each in found)
        if is_new and any(each is other for each in kept):
            other = _corrected_end(run, bars, other, task, model)
            found = distinct_ends([*found, other], is_stable)
    return found


def _corrected_end(
    run: Any, bars: Any, end: OptimizeResult, task: Any, model: Any
) -> OptimizeResult:
    """Return the end that a fine mesh has, found on a coarse one."""
    coarse, fine = model.loosened(_CURVED, end.x), model.loosened(1.0, end.x)
    found, bias = _run_about(run, bars, end, end.x, coarse, fine, task), None
    tight = task._replace(tolerance=min(task.tolerance, _TIGHT))
    for _ in range(_ROUNDS):
        if not np.isfinite(found.fun):
            return found
        std = np.sqrt(np.diag(found.covariance))
        known = np.isfinite(std) & (std > 0)
        moved = (np.abs(found.x - found.corrected.x) > _NEAR * std)[known].any()
        finer = fine.refined()
        bias = np.full(found.x.size, np.nan)
        x, coarse_enough = found.x, True
        if finer is not None:
            shift = shift_by(found, task, finer)
            bias[known] = np.abs(shift[known]) / std[known]
            bias[~known] = 0.0
            coarse_enough = bool((bias <= SMALL_BIAS).all())
        if coarse_enough and not moved:
            break
        if not coarse_enough:
            fine, x = finer, (found.x + shift).clip(*task.bounds)
        last = tight if coarse_enough else task
        found = _run_about(run, bars, found, x, coarse, fine, last)
    found.mesh_bias = bias
    return found


def _run_about(
    run: Any, bars: Any, before: Any, x: Array, coarse: Any, fine: Any, task: Any
) -> OptimizeResult:
    """Return the end of a search about a place, with error bars."""
    corrected = about(x, coarse, fine)
    found = run(corrected, x, task, True)
    found.corrected, found.fine = corrected, fine
    found.update(nfev=found.nfev + before.nfev, nit=found.nit + before.nit)
    if np.isfinite(found.fun):
        found.update(bars(found), mesh_bias=np.zeros(found.x.size))
    return found


def about(x: Array, coarse: Any, fine: Any, known: Any = None) -> Corrected:
    """Return the coarse model with what the fine one adds about x.

    `known` are spectra and derivatives of the fine one there, where they are.
    """
    spectra, slopes = fine.on(slice(None))(x) if known is None else known
    rough, rough_slopes = coarse.on(slice(None))(x)
    found = Corrected(coarse, x, spectra - rough, slopes - rough_slopes)
    found.at_fine = spectra, slopes
    return found


def distinct_ends(
    ends: list[OptimizeResult], is_stable: Callable[[Array], bool]
) -> list[OptimizeResult]:
    """Return ends that are as likely as the best of a stable crystal, each once."""
    stable = [end for end in ends if np.isfinite(end.fun) and is_stable(end.x)]
    ends = sorted(stable or ends, key=lambda end: (not np.isfinite(end.fun), end.fun))
    kept = ends[:1]
    for end in ends[1:]:
        if not np.isfinite(end.fun) or end.fun > kept[0].fun + _AS_LIKELY:
            continue
        if all(_are_apart(end, other) for other in kept):
            kept.append(end)
    return kept


def _are_apart(end: OptimizeResult, other: OptimizeResult) -> bool:
    """Tell whether two ends are two."""
    if not np.isfinite(end.fun):
        return False
    std = np.sqrt(np.diag(end.covariance))
    known = np.isfinite(std) & (std > 0)
    return bool((np.abs(end.x - other.x) > _APART * std)[known].any())
