"""Properties of draws as tables: value, standard deviation and interval."""

import numpy as np
import pandas as pd

from skphonon._warnings import warn_user
from skphonon.inspection._parameter_draws import as_sets
from skphonon.physics.stability import UnstableCrystalWarning

__all__ = ["property_table"]


def property_table(draws, compute, *, level):
    """Tabulate a property with its uncertainty.

    `compute` takes a model and parameter sets (n_rows, n_parameters) and returns a
    table that labels the values of a row, and the values (n_rows, ...). Draws of which
    the property is NaN are left out with a warning.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    tables = []
    for name, given in as_sets(draws).items():
        places, values = compute(
            given.model, np.vstack([given.parameters, given.draws])
        )
        values = values.reshape(len(values), -1)
        exists = np.isfinite(values).all(axis=1)
        _warn_of_unstable(name, exists)
        columns = _summary(values[0], values[1:][exists[1:]], level)
        table = places.assign(**columns)
        table.insert(0, "name", name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _warn_of_unstable(name, exists):
    of_set = f" of {name!r}" if name else ""
    if not exists[0]:
        warn_user(
            f"The best constants{of_set} describe an unstable crystal, of which this "
            "property does not exist: NaN.",
            UnstableCrystalWarning,
        )
    if not exists[1:].all():
        warn_user(
            f"{(~exists[1:]).sum()} of {len(exists) - 1} draws{of_set} describe an "
            "unstable crystal and are left out; the intervals are those of the others.",
            UnstableCrystalWarning,
        )


def _summary(best, draws, level):
    if len(draws) < 2:
        std = low = high = np.full(best.shape, np.nan)
    else:
        std = draws.std(axis=0, ddof=1)
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {"value": best, "std": std, "low": low, "high": high}
