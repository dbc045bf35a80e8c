"""Properties of draws as tables, and the curve with a band that they are drawn as."""

import warnings

import numpy as np
import pandas as pd

from skphonon.inspection._parameter_draws import ParameterDraws

__all__ = ["as_sets", "draw_curves", "property_table"]


def as_sets(draws):
    """Return draws by name.

    Parameters
    ----------
    draws : ParameterDraws or dict of str to ParameterDraws
        What a Display was given.

    Returns
    -------
    dict of str to ParameterDraws
        A single one has the empty name.

    Raises
    ------
    TypeError
        If it is something else.
    """
    sets = draws if isinstance(draws, dict) else {"": draws}
    for name, given in sets.items():
        if not isinstance(given, ParameterDraws):
            raise TypeError(
                "draws must be a ParameterDraws, as from draw_parameters(model, ...), "
                f"or a dict of such; got {type(given).__name__} {name}".rstrip()
                + "."
            )
    if not sets:
        raise ValueError("draws must name at least one set of constants, got none.")
    return sets


def property_table(draws, compute, *, level):
    """Tabulate a property with its uncertainty.

    Draws of which the property is NaN are left out with a warning.

    Parameters
    ----------
    draws : ParameterDraws or dict of str to ParameterDraws
        One or more sets of constants.
    compute : callable
        Takes a model and parameter sets (n_rows, n_parameters). Returns a DataFrame
        that says what each value is and the values (n_rows, ...), as many a row.
    level : float
        Probability that the interval from `low` to `high` holds.

    Returns
    -------
    DataFrame
        Column `name`, those of `compute`, then `value`, `std`, `low` and `high`.

    Raises
    ------
    ValueError
        If the level is not between 0 and 1.
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
        warnings.warn(
            f"The best constants{of_set} describe an unstable crystal, of which this "
            "property does not exist: NaN.",
            stacklevel=4,
        )
    if not exists[1:].all():
        warnings.warn(
            f"{(~exists[1:]).sum()} of {len(exists) - 1} draws{of_set} describe an "
            "unstable crystal and are left out; the intervals are those of the others.",
            stacklevel=4,
        )


def _summary(best, draws, level):
    if len(draws) < 2:
        std = low = high = np.full(best.shape, np.nan)
    else:
        std = draws.std(axis=0, ddof=1)
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {"value": best, "std": std, "low": low, "high": high}


def draw_curves(ax, data, x, *, split=(), line_kw=None, band_kw=None):
    """Draw values with their intervals, a colour a name.

    Parameters
    ----------
    ax : matplotlib Axes
        What to draw on.
    data : DataFrame
        From :func:`property_table`.
    x : str
        Column along the axis.
    split : sequence of str, default=()
        Columns that tell the curves of one name apart.
    line_kw : dict, default=None
        Options for `Axes.plot`.
    band_kw : dict, default=None
        Options for `Axes.fill_between`.
    """
    for number, (name, of_name) in enumerate(data.groupby("name", sort=False)):
        curves = [of_name]
        if split:
            curves = [rows for _, rows in of_name.groupby(list(split), sort=False)]
        for first, rows in enumerate(curves):
            line = {"color": f"C{number}", **(line_kw or {})}
            if name and first == 0:
                line = {"label": name, **line}
            band = {"color": line["color"], "alpha": 0.3, "linewidth": 0}
            ax.plot(rows[x], rows["value"], **line)
            if rows["low"].notna().any():
                ends = rows[x], rows["low"], rows["high"]
                ax.fill_between(*ends, **{**band, **(band_kw or {})})
    if data["name"].any():
        ax.legend(fontsize="small")
