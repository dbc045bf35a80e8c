"""Values in another unit than they must be in: how that looks, and what to say."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ENERGY_UNITS",
    "UNITS_OF_DISPLACEMENTS",
    "UNITS_OF_STIFFNESS",
    "common_unit",
    "nearest_unit",
    "unit_doubt",
]

Array = NDArray[np.float64]

#: How much of each unit makes one of the right one.
ENERGY_UNITS = {
    "THz": 0.2417989,
    "1/cm": 8.065544,
    "K": 11.604518,
    "eV": 1e-3,
    "GHz": 241.7989,
    "microelectronvolts": 1e3,
}
UNITS_OF_STIFFNESS = {
    "Mbar": 1e-2,
    "10^11 dyn/cm^2": 10e-2,
    "kbar": 10.0,
    "MPa": 1e3,
    "Pa": 1e9,
    "dyn/cm^2": 1e10,
}
UNITS_OF_DISPLACEMENTS = {
    "Angstrom^2 as B = 8 pi^2 U": 8 * np.pi**2,
    "nm^2": 1e-2,
    "pm^2": 1e4,
}

_SCATTER = np.log(1.2)  # of ratios about a unit, their median
_OFF = np.log(1.8)  # factor that is no error of a start


def nearest_unit(factor: float, units: Mapping[str, float]) -> str:
    """Return the unit of which about `factor` make one of the right one."""
    return min(units, key=lambda name: abs(np.log(factor / units[name])))


def common_unit(ratios: Array, units: Mapping[str, float], within: float) -> str:
    """Return the unit in which values seem to be that should be in another one.

    Parameters
    ----------
    ratios : ndarray of shape (n_values, n_candidates)
        Measured over calculated values, of all that a value may be; NaN of none.
    units : mapping of str to float
        How much of each makes one of the right unit.
    within : float
        Factor by which ratios may be off one that is explained.

    Returns
    -------
    str
        Empty where values are as they should be, scatter, or are off by another factor.
    """
    known = np.isfinite(ratios) & (ratios > 0)
    if not ratios.size or known.any(axis=1).mean() < 0.8:
        return ""
    logs = np.log(np.where(known, ratios, np.nan))[known.any(axis=1)]

    def off(factor: float) -> tuple[float, float]:
        nearest = np.nanargmin(np.abs(logs - np.log(factor)), axis=1)
        away = logs[np.arange(len(logs)), nearest] - np.log(factor)
        middle = np.median(away)
        return abs(middle), float(np.median(np.abs(away - middle)))

    if off(1.0)[0] < _OFF:
        return ""
    found = {name: off(factor) for name, factor in units.items()}
    best = min(found, key=lambda name: sum(found[name]))
    good = found[best][0] <= np.log(within) and found[best][1] <= _SCATTER
    return best if good else ""


def unit_doubt(
    ratios: Array, units: Mapping[str, float], within: float, what: str, right: str
) -> str:
    """Return what is said of values that seem to be in another unit, or nothing.

    The first three are those of `common_unit`.
    """
    unit = common_unit(ratios, units, within)
    if not unit:
        return ""
    factor = units[unit]
    return (
        f"{what} are about {factor:.3g} times those of the crystal that the fit begins "
        f"with, as if they were in {unit} and not in {right}. If so, multiply values "
        f"and errors by {1 / factor:.4g}."
    )
