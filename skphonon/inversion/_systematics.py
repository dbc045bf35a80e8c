"""What other choices of the analysis of a row add to its error bars."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from skphonon.instrument.background import terms_on_axes
from skphonon.inversion._choices import Linear, spread_of_choices
from skphonon.physics.priors import shell_numbers
from skphonon.physics.shell_priors import ShellPrior

__all__ = ["add_choices", "linear_about", "more_shells"]

_MORE_SHELLS = 2
_HIGHER = 2  # by which the degree of a background may be too low
_AXES = {"energy": "energies", "q": "|Q|", "two_theta": "angles"}


def linear_about(problem, task, x, weights, noise):
    """Return a fit about parameters and weights, in units of the noise."""
    target, columns, slopes = problem.linear_parts(x, weights)
    before = np.zeros(0), np.zeros((0, x.size))
    if task.prior is not None:
        before = task.prior.rows(x)
    return Linear(target / noise, columns / noise, slopes / noise, before)


def add_choices(found, task, model, parts, background):
    """Add to the covariance of a result, and keep what each choice would move."""
    if found.problem.backgrounds is None:  # spectra that are normalised
        return
    problem, evaluation, noise = found.problem, found.evaluation, 1.0
    if not task.errors_given:
        noise = problem.noise_scale(evaluation, found.x.size)
    linear = linear_about(problem, task, found.x, evaluation.weights, noise)
    free = np.flatnonzero((found.at_bound == 0) & linear.slopes.any(axis=0))
    if not free.size:
        return
    off, rows = linear.before
    held = linear._replace(slopes=linear.slopes[:, free], before=(off, rows[:, free]))
    weight = problem.weight / noise
    others = {}
    if task.prior is not None:
        simulator, scale = model.sources[0].simulator, found.evaluation.weights[0, 0]
        for name, (slopes, known) in more_shells(
            simulator, model, found.x, task.n_constants
        ).items():
            slopes = slopes[found.pixels] * (scale * weight)[:, None]
            others[name] = slopes, known
    added, choices = spread_of_choices(
        held,
        _ranks(found, parts),
        _more_terms(found, parts, background) * weight[:, None],
        others,
    )
    covariance = found.covariance.copy()
    covariance[np.ix_(free, free)] += added
    std = np.sqrt(np.diag(found.covariance))[free]
    shifts = np.zeros((len(choices), found.x.size))
    for row, choice in zip(shifts, choices, strict=True):
        row[free] = choice.shift / np.where(std > 0, std, np.inf)
    found.covariance, found.of_choices = covariance, np.zeros_like(covariance)
    found.of_choices[np.ix_(free, free)] = added
    found.choices = pd.DataFrame(shifts, index=[each.name for each in choices])


def _ranks(found, parts):
    """Return, by name of an axis, which share of its spectrum is below each pixel."""
    seen: np.ndarray = found.pixels
    ranks: dict[str, np.ndarray] = {}
    for part in parts:
        own = np.flatnonzero(seen[part.pixels])
        grid = getattr(part.simulator, "grid", None)
        if not own.size or grid is None or not hasattr(grid, "energy"):
            continue
        names = [_AXES["energy"]]
        names += [_AXES[each] for each in ("q", "two_theta") if _is_axis(grid, each)][
            :1
        ]
        places = np.unravel_index(own, part.shape)
        begin = np.count_nonzero(seen[: part.pixels.start])
        for name, place in zip(names, places, strict=False):
            values = ranks.setdefault(name, np.full(np.count_nonzero(seen), 0.5))
            values[begin : begin + own.size] = (rankdata(place) - 0.5) / own.size
    return ranks


def _is_axis(grid, name):
    axis: Any = getattr(grid, name, None)
    return np.ndim(axis) == 1 and not isinstance(axis, tuple)


def _more_terms(found, parts, background):
    """Return terms of a background of higher degree, (n_pixels, n_terms)."""
    seen = found.pixels
    if background is None or np.ndim(background):
        return np.zeros((np.count_nonzero(seen), 0))
    blocks = []
    for part in parts:
        own = seen[part.pixels]
        n_fitted = len(terms_on_axes(part.axes, int(background)))
        terms = terms_on_axes(part.axes, int(background) + _HIGHER)[n_fitted:, own].T
        begin = np.count_nonzero(seen[: part.pixels.start])
        block = np.zeros((np.count_nonzero(seen), terms.shape[1]))
        block[begin : begin + len(terms)] = terms
        blocks.append(block)
    return np.hstack(blocks)


def more_shells(simulator, model, x, n):
    """Return slopes of spectra with constants of further shells, (n_pixels, m).

    By name, with what is known of these constants: their information (m, m). Empty for
    what has no shells, or no constants of them.
    """
    crystal: Any = getattr(simulator, "model", None)
    names = list(getattr(simulator, "parameter_names", ()))
    numbers = shell_numbers(names)
    if not hasattr(crystal, "extended") or not numbers.all() or not np.any(x[:n]):
        return {}
    # a reduced crystal has no shells; a polar one has constants on a supercell
    if crystal.reduction is not None or crystal.born_charges is not None:
        return {}
    n_shells = int(numbers.max())
    wider = crystal.replace(reference=x[:n]).extended(n_shells + _MORE_SHELLS)
    other = type(simulator)(**simulator.get_params(deep=False) | {"model": wider})
    nuisances = dict(zip(model.nuisance, x[n:], strict=True))
    new = [i for i, name in enumerate(wider.parameter_names) if name not in names]
    options = {}
    if nuisances:
        options["nuisance"] = {name: [value] for name, value in nuisances.items()}
        ranges = model.nuisance
        if hasattr(simulator, "working_ranges"):
            ranges = simulator.working_ranges(nuisances, ranges)
        options["nuisance_ranges"] = ranges
    row = np.asarray(wider.reference)[None]
    slopes = other.jacobian(row, **options)[0][:, new]
    covariance = ShellPrior(wider).covariance_[np.ix_(new, new)]
    return {f"{_MORE_SHELLS} more shells": (slopes, np.linalg.inv(covariance))}
