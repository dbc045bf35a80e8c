"""Number of phonons at once that a powder spectrum needs."""

from typing import cast

import numpy as np
from sklearn import clone

from skphonon._validation import check_parameters
from skphonon._warnings import warn_user
from skphonon.instrument.nuisance import ranges_by_name, table_columns
from skphonon.physics.zone import ZoneMesh
from skphonon.physics.zone.mesh import size_of_reach
from skphonon.simulation._incoherent import Incoherent
from skphonon.simulation._powder_engine import collect, crystals
from skphonon.simulation._powder_plan import make_plan
from skphonon.simulation._recording import Recording

__all__ = ["orders_needed", "warn_of_orders"]

_NEGLIGIBLE = 1e-3  # of the intensity in the window, in all further orders
_MISSED = 0.02  # of it from which on an order that is given gets a warning
_TINY = np.finfo(float).tiny
_MOST = 60  # phonons at once
_REACH = 16.0  # Angstrom, of the mesh with which orders are compared


def orders_needed(simulator) -> int:
    """Return the smallest order after which all others are negligible."""
    return _needed(_totals(simulator))


def _needed(totals):
    if not totals.sum():  # nothing is in the window
        return 1
    if totals[-1] > _NEGLIGIBLE * totals.sum() / 10:
        warn_user(
            f"More than {_MOST} phonons at once would be seen in the window, where "
            f'n_phonons="auto" stops: the largest order alone holds '
            f"{totals[-1] / totals.sum():.1%}. Leave large |Q| out of the mask, or "
            "give Scattering(n_phonons=...).",
            UserWarning,
        )
    beyond = totals[::-1].cumsum()[::-1] / totals.sum()  # share from each order on
    few = np.flatnonzero(beyond < _NEGLIGIBLE)
    return int(few[0]) if len(few) else len(totals)


def warn_of_orders(simulator) -> None:
    """Warn where a given order leaves out above 2 % of the intensity in the window."""
    totals = _totals(simulator)
    given = simulator._part("scattering").n_phonons
    missed = totals[given:].sum() / max(totals.sum(), _TINY)
    if missed > _MISSED:
        warn_user(
            f"n_phonons={given} leaves out {missed:.0%} of the intensity "
            f"in the window at the reference. Set n_phonons={_needed(totals)} "
            'or "auto" in Scattering.',
            UserWarning,
        )


def _totals(simulator):
    """Return the intensity of each order in the window, one phonon first."""
    check_parameters(simulator)
    mesh = ZoneMesh(size_of_reach(simulator.model, _REACH))
    probe = clone(simulator).set_params(scattering__n_phonons=_MOST, mesh=mesh)
    rows, table, ranges = probe._asked(simulator.reference)
    plan = make_plan(probe, mesh, Recording(probe, ranges_by_name(ranges)))
    conditions = plan.recording.conditions(table_columns(table))
    found = crystals(plan, rows, conditions)
    several = cast(Incoherent, plan.incoherent)  # as there are several phonons
    by_order = several.by_order(plan, found, conditions)[0]
    totals = np.abs(by_order.reshape(_MOST, -1)[:, plan.mask]).sum(axis=1)
    coherent = conditions.images(collect(plan, found))[0]
    totals[0] += coherent.ravel()[plan.mask].sum()
    return totals
