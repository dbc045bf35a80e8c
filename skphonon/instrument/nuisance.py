"""Nuisances: settings and faults of an experiment that change a spectrum.

Values of all nuisances are a table of shape (n_samples, n_nuisances), ranges one of
shape (2, n_nuisances), both in the order of `NAMES`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.instrument.grid import energy_edges
from skphonon.instrument.resolution import resolve_widths

__all__ = [
    "LINE_WIDTHS",
    "NAMES",
    "OF_ANGLES",
    "check_derivatives",
    "of_a_plan",
    "range_table",
    "ranges_by_name",
    "resolution",
    "table_columns",
    "value_table",
    "working_ranges",
]

Array = NDArray[np.float64]
Values = Mapping[str, ArrayLike]

#: Widths of lines: coefficients of a polynomial in their energy.
LINE_WIDTHS = ("line_width", "line_width_slope", "line_width_curvature")

#: Nuisances that may differ between spectra of the same crystal.
NAMES = (
    "energy_resolution",
    "energy_resolution_slope",
    "energy_offset",
    "q_resolution",
    "lattice_scale",
    "mean_square_displacement",
    "energy_scale",
    "q_offset",
    "q_scale",
    "temperature",
    *LINE_WIDTHS,
)

#: Further ones, where a grid has scattering angles: columns after `NAMES`.
OF_ANGLES = ("incident_energy", "two_theta_offset")

# open intervals, but for what may be zero
_LIMITS = {
    "energy_resolution": (0.0, np.inf),
    "energy_resolution_slope": (-2.0, 2.0),
    "q_resolution": (0.0, np.inf),
    "lattice_scale": (0.0, np.inf),
    "renormalization": (0.0, np.inf),
    "energy_scale": (0.0, np.inf),
    "q_scale": (0.0, np.inf),
    "temperature": (0.0, np.inf),
    "line_width": (0.0, np.inf),
    "incident_energy": (0.0, np.inf),
    "two_theta_offset": (-90.0, 90.0),
}
_OR_ZERO = ("energy_resolution", "q_resolution", "temperature", "line_width")
_RATIO, _MARGIN = 1.6, 1.05  # of working ranges, and how far inside values lie
_ROUNDING = 1e-9  # by which a value may leave its range


def value_table(
    base: Array, nuisance: Values, n_samples: int, names: Sequence[str] = NAMES
) -> Array:
    """Return the values of all nuisances, one row a sample; `base` if not named.

    Raises
    ------
    ValueError
        If a name is unknown, or values have another shape or are out of range.
    """
    _check_names("nuisance", nuisance, names)
    table = np.tile(base, (n_samples, 1))
    for name, given in nuisance.items():
        values = np.asarray(given, dtype=float)
        if values.shape not in ((), (n_samples,)):
            raise ValueError(
                f"nuisance {name!r} must be a number or one for each of {n_samples} "
                f"samples, got shape {values.shape}."
            )
        _check_values("nuisance", name, values)
        table[:, names.index(name)] = values
    return table


def range_table(table: Array, ranges: Values, names: Sequence[str] = NAMES) -> Array:
    """Return the ranges to be prepared for: those of the values, if not named.

    Raises
    ------
    ValueError
        If a name is unknown, a range is not one or a value lies outside.
    """
    _check_names("nuisance_ranges", ranges, names)
    spans = np.stack([table.min(axis=0), table.max(axis=0)])
    for name, given in ranges.items():
        pair = np.asarray(given, dtype=float)
        if pair.shape != (2,) or not pair[0] <= pair[1]:
            raise ValueError(
                f"nuisance_ranges of {name!r} must be a pair (low, high), got "
                f"{given!r}."
            )
        _check_values("nuisance_ranges", name, pair)
        low, high = spans[:, names.index(name)]
        slack = _ROUNDING * abs(pair).max()
        if low < pair[0] - slack or high > pair[1] + slack:
            raise ValueError(
                f"Values of {name!r} must lie in its range, {pair[0]:g} to "
                f"{pair[1]:g}; got {low:g} to {high:g}. Widen nuisance_ranges."
            )
        spans[:, names.index(name)] = pair
    return spans


def check_derivatives(
    names: Iterable[str], table: Array, known: Sequence[str] = NAMES
) -> None:
    """Refuse derivatives with unknown names, or of a kernel of no width.

    That with the width in Q is none there: a spectrum is even in it.
    """
    _check_names("nuisance", names, known)
    for name in names:
        width = "energy_resolution" if name.startswith("energy") else "q_resolution"
        moves = name.startswith(("energy", "q_")) or name in OF_ANGLES
        if name == "q_resolution":
            continue
        if moves and (table[:, known.index(width)] == 0).any():
            raise ValueError(
                f"There is no derivative with {name} at {width}=0. Set it to the width "
                "of the instrument."
            )


def of_a_plan(ranges: Array) -> Array:
    """Return the ranges that a plan depends on: of all that moves or widens lines."""
    still = "mean_square_displacement", "temperature"
    return np.stack(
        [r for name, r in table_columns(ranges).items() if name not in still]
    )


def table_columns(table: Array) -> dict[str, Array]:
    """Return the columns of a table by name, with `OF_ANGLES` where it has more."""
    names = (*NAMES, *OF_ANGLES)[: table.shape[1]]
    return dict(zip(names, table.T, strict=True))


def ranges_by_name(ranges: Array) -> dict[str, tuple[float, float]]:
    """Return least and largest values of each nuisance, rows of `ranges`, by name."""
    return {name: tuple(pair) for name, pair in table_columns(ranges).items()}


def working_ranges(values: Values, ranges: Values) -> dict[str, tuple[float, float]]:
    """Return parts of ranges that hold some values.

    Resolutions lie between powers of a ratio, and slopes such that the narrowest end of
    a spectrum does; that of other nuisances is cheap. A little lies between a value and
    the ends, so that it may move without leaving.
    """
    found = {}
    for name, given in ranges.items():
        least, most = np.asarray(given, dtype=float)
        low, high = float(np.min(values[name])), float(np.max(values[name]))
        if name == "energy_resolution_slope":
            # the narrowest end has 1 - |s| / 2 of the width in the middle
            narrowest = 1 - max(abs(low), abs(high)) / 2
            limit = 2 - 2 * _power_below(narrowest)
            low, high = -limit, limit
        elif name.endswith("resolution") and low > 0:
            low, high = _power_below(low), 1 / _power_below(1 / high)
        else:
            low, high = least, most
        found[name] = float(max(low, least)), float(min(high, most))
    return found


def _power_below(value: float) -> float:
    """Return the largest power of the ratio that is below a value by the margin."""
    return float(_RATIO ** np.floor(np.log(value / _MARGIN) / np.log(_RATIO)))


def resolution(simulator: Any, value: float, slope: float) -> float | Callable:
    """Return the energy resolution of a sample, as the parameter of its simulator.

    The value is a standard deviation in meV, or a factor of what is a function; the
    slope is relative, from the lowest to the highest energy of the grid.
    """
    given = simulator.energy_resolution
    if slope == 0 and not callable(given):
        return float(value)
    edges = energy_edges(simulator.grid)
    middle, span = (edges[0] + edges[-1]) / 2, edges[-1] - edges[0]

    def widths(energies: Array) -> Array:
        of_base = value * resolve_widths(given if callable(given) else 1.0, energies)
        return of_base * (1 + slope * (energies - middle) / span)

    return widths


def _check_names(parameter: str, given: Iterable[str], known: Sequence[str]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(
            f"{parameter} must name some of {', '.join(known)}; got {unknown[0]!r}."
        )


def _check_values(parameter: str, name: str, values: Array) -> None:
    low, high = _LIMITS.get(name, (-np.inf, np.inf))
    good = (values > low) & (values < high)
    if name in _OR_ZERO:
        good |= values == 0
    if not good.all():
        bad = values[~good][0] if values.ndim else values
        limits = f"between {low:g} and {high:g}" if name in _LIMITS else "finite"
        raise ValueError(f"{parameter} {name!r} must be {limits}, got {bad:g}.")
