"""The search: damped Gauss-Newton steps from many starts at once.

Far from an optimum steps are short and go downhill, near it they are those of Gauss
and Newton (Levenberg, doi:10.1090/qam/10666; Marquardt, doi:10.1137/0111030).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.fitting.damping import Damping
from skphonon.fitting.expansion import Expansion
from skphonon.fitting.steps import bounded_step

__all__ = ["Descent", "descend"]

Array = NDArray[np.float64]

_ROUNDING = 1e-15  # of a cost: a fall that cannot be seen
_UNSEEN = 1e-12  # of a cost: a change that is nothing beside a tolerance
_AS_FORETOLD = 0.25  # falls over those foretold, for an end to be believed


class Descent(NamedTuple):
    """Ends of R searches."""

    parameters: Array  # (R, p)
    found: Expansion  # there
    converged: NDArray[np.bool_]  # (R,)
    n_steps: NDArray[np.int_]  # (R,), taken or refused
    curve: Array  # (n_steps + 1, R), costs


def descend(
    objective: Callable[[Array, NDArray[np.int_]], Expansion],
    starts: Array,
    bounds: Array | None = None,
    *,
    scale: Array | float = 1.0,
    step_tolerance: Array | float = 0.0,
    cost_tolerance: float = 0.0,
    least_fall: float = 0.0,
    longest: float = np.inf,
    max_steps: int = 100,
    damping: Damping = Damping(),  # noqa: B008
) -> Descent:
    """Descend from many starts at once, each as if it were alone.

    Parameters
    ----------
    objective : callable
        From parameters (r, p), and which of the R searches they belong to (r,), to an
        Expansion. Costs that are not finite are refused.
    starts : ndarray of shape (R, p)
        Moved into the bounds.
    bounds : ndarray of shape (2, p), default=None
    scale : ndarray of shape (p,) or float, default=1.0
        Unit of the length of steps.
    step_tolerance : ndarray of shape (p,) or float, default=0.0
        A search has converged when its next step is shorter in every direction,
    cost_tolerance, least_fall : float, default=0.0
        or when its last step lowered the cost by less than this fraction of it, or by
        less than that.
    longest : float, default=inf
        First step in any direction; later ones may be longer.
    max_steps : int, default=100
    damping : Damping

    Returns
    -------
    Descent

    Raises
    ------
    ValueError
        If derivatives are not finite at any start where the cost is. Later steps to
        such places are refused.
    """
    if bounds is None:
        bounds = np.outer([-np.inf, np.inf], np.ones(starts.shape[1]))
    everywhere = np.arange(len(starts))
    ends = starts.clip(*bounds)
    found = _usable(objective(ends, everywhere), at_start=True)
    levels = np.full(len(starts), damping.first)
    converged, n_steps = np.zeros(len(starts), dtype=bool), 0 * everywhere
    reach = np.full(len(starts), longest)
    active, curve = np.flatnonzero(np.isfinite(found.cost)), [found.cost]
    while active.size:
        here = found._replace(details=()).rows(active)
        edge = reach[active, None] * scale
        room = (bounds[:, None] - ends[active]).clip(-edge, edge)
        step = bounded_step(here.gradient, here.information, levels[active], room)
        foretold = here.falls(step)
        near = (np.abs(step) < step_tolerance * np.asarray(scale)).all(axis=1)
        near |= foretold <= _ROUNDING * here.cost
        converged[active[near]] = True
        going = ~near & (n_steps[active] < max_steps)
        active, step, foretold = active[going], step[going], foretold[going]
        if not active.size:
            break
        there = (ends[active] + step).clip(*bounds)
        trial, before = _usable(objective(there, active)), found.cost[active]
        fall = np.where(np.isfinite(trial.cost), before - trial.cost, -np.inf)
        better = fall >= 0
        ends[active[better]] = there[better]
        found = found.replaced(
            active[better], trial if better.all() else trial.rows(better)
        )
        gain = fall / foretold
        levels[active] = damping.after(levels[active], gain)
        reach[active] = damping.reach(reach[active], gain)
        n_steps[active] += 1
        curve.append(found.cost)
        slow = better & (fall <= cost_tolerance * before + least_fall)
        slow &= gain >= _AS_FORETOLD
        # along a direction that changes nothing, where derivatives are rounding
        slow |= (np.abs(fall) <= _UNSEEN * before) & (
            foretold <= cost_tolerance * before + least_fall
        )
        converged[active[slow]] = True
        active = active[~slow & (levels[active] <= damping.largest)]
    return Descent(ends, found, converged, n_steps, np.array(curve))


def _usable(found: Expansion, at_start: bool = False) -> Expansion:
    """Return an Expansion with infinite costs where derivatives are not finite."""
    known = np.isfinite(found.gradient).all(axis=1)
    known = known & np.isfinite(found.information).all(axis=(1, 2))
    seen = np.isfinite(found.cost)
    if at_start and seen.any() and not (seen & known).any():
        row = int(seen.argmax())
        own = np.isfinite(found.gradient[row] + np.diagonal(found.information[row]))
        names = ", ".join(map(str, np.flatnonzero(~own)))
        raise ValueError(
            "Derivatives of a simulation must be finite where the simulation is, got "
            f"NaN or infinity for parameter {names} (of {len(own)}, counted from "
            "0). Mend the jacobian of the simulator, or start elsewhere."
        )
    return found._replace(cost=np.where(known, found.cost, np.inf))
