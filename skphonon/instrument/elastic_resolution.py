"""Resolution against energy transfer, as wide at zero as the elastic line."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.instrument.resolution import (
    TabulatedResolution,
    instrument_resolution,
    resolve_widths,
)

__all__ = ["require_settings", "scaled_resolution"]

Array = NDArray[np.float64]

_PATHS = 2.0  # ratio R of direct_geometry
_TABLE_SIZE = 401
_NEEDED = ("instrument", "chopper_frequency")
_SETTINGS = (*_NEEDED, "chopper_package", "incident_energy")


def require_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `instrument_resolution`, with the name as that has it.

    Parameters
    ----------
    settings : mapping
        With "instrument", in any case, and "chopper_frequency"; "chopper_package" and
        "incident_energy" may be there.

    Returns
    -------
    dict
        The same.

    Raises
    ------
    ValueError
        If one is missing, or there are others.
    """
    wrong = {*map(str, settings)} - {*_SETTINGS} or {*_NEEDED} - {*settings}
    if wrong or not isinstance(settings["instrument"], str):
        raise ValueError(
            'resolution must have "instrument", a name, and "chopper_frequency", and '
            'may have "chopper_package" and "incident_energy", got '
            f"{', '.join(map(repr, settings)) or 'nothing'}. Pass resolution="
            '{"instrument": "MARI", "chopper_frequency": 200}, for example.'
        )
    return {**settings, "instrument": settings["instrument"].upper()}


def scaled_resolution(
    resolution: Callable[[Array], ArrayLike] | Mapping[str, Any] | str,
    elastic_width: float,
    *,
    incident_energy: float,
) -> TabulatedResolution:
    r"""Return a resolution that has the measured width at zero energy transfer.

    Parameters
    ----------
    resolution : callable, mapping or "direct_geometry"
        A function from energy transfer to width; or arguments of
        `instrument_resolution` but the incident energy; or, by name,
        :math:`[1 + R (1 - E/E_i)^{3/2}] / (1 + R)` with R = 2. For the burst of a
        chopper alone R is the flight path from moderator to sample over that from
        sample to detector, 3 to 5 (C. G. Windsor, *Pulsed Neutron Scattering*, Taylor
        and Francis, 1981); the moderator's pulse makes the width fall less.
    elastic_width : float
        Standard deviation in meV.
    incident_energy : float
        Energy of the incoming neutron in meV.

    Returns
    -------
    TabulatedResolution
        For energy transfers from minus to plus the incident energy, or those that the
        function is known at.

    Raises
    ------
    ValueError
        If the function does not know the width at zero, or settings are missing.
    """
    if isinstance(resolution, Mapping):
        resolution = instrument_resolution(
            **{"incident_energy": incident_energy, **require_settings(resolution)}
        )
    energy = np.linspace(-incident_energy, incident_energy, _TABLE_SIZE)
    if isinstance(resolution, str):
        shape = 1 + _PATHS * np.maximum(1 - energy / incident_energy, 0) ** 1.5
        return TabulatedResolution(energy, elastic_width * shape / (1 + _PATHS))
    if isinstance(resolution, TabulatedResolution):
        energy = resolution.energy
    at_zero = float(resolve_widths(resolution, np.zeros(1))[0])
    if not at_zero > 0:
        raise ValueError(
            "resolution must be positive at the elastic line, got "
            f"{at_zero:g} meV at 0 meV."
        )
    return TabulatedResolution(
        energy, resolve_widths(resolution, energy) * elastic_width / at_zero
    )
