r"""A measurement with its energies and \|Q\| moved to where they belong."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument.angle_grid import AngleGrid
from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.instrument.elastic_line import ElasticFit
from skphonon.instrument.grid import SpectrumGrid
from skphonon.instrument.measurement import Measurement
from skphonon.instrument.phases import ModuliFit

Array = NDArray[np.float64]

_BEYOND_ERROR = 3.0  # standard errors that a zero must differ from 0 to be applied


def possible_moduli(
    measurement: Measurement, moduli: ModuliFit | None
) -> ModuliFit | None:
    """Keep an offset from making bins of |Q| or angles negative."""
    if moduli is None or "offset" not in moduli.model:
        return moduli
    grid = measurement.grid
    lowest = np.inf
    if isinstance(grid, SpectrumGrid):
        lowest = grid.q[0]
    elif isinstance(grid, AngleGrid):
        lowest = np.deg2rad(grid.two_theta[0])
    if moduli.terms[1] <= lowest:
        return moduli
    return moduli._replace(model=(), terms=(1.0, 0.0), terms_std=(0.0, 0.0))


def corrected_measurement(
    measurement: Measurement,
    line: ElasticFit,
    moduli: ModuliFit | None,
    masked: NDArray[np.bool_],
) -> tuple[Any, tuple[str, ...]]:
    """Return the measurement with energies and |Q| moved, and what was changed."""
    shift, applied = 0.0, []
    if abs(line.zero) > _BEYOND_ERROR * line.zero_std:
        shift = line.zero
        applied.append("energy_zero")
    scale, offset = (1.0, 0.0) if moduli is None else moduli.terms
    model = () if moduli is None else moduli.model
    grid = measurement.grid
    if isinstance(grid, SpectrumGrid):
        applied += [f"q_{name}" for name in model]
        moved = grid.replace(
            energy=grid.energy - shift, q=(grid.q - offset) / scale, mask=grid.mask
        )
        return measurement.replace(grid=moved), tuple(applied)
    names = {"scale": "incident_energy", "offset": "two_theta"}
    applied += [names[name] for name in model]
    incident = float(measurement.incident_energy or np.nan) / scale**2
    angle = float(np.rad2deg(offset))
    changes: dict[str, Any] = {"incident_energy": incident}
    if isinstance(measurement, DetectorMeasurement):
        changes |= _of_detectors(measurement, masked)
        changes["energy_edges"] = measurement.energy_edges - shift
        changes["polar"] = _turned(measurement.polar, angle)
    else:
        moved = grid.replace(
            energy=grid.energy - shift,
            two_theta=grid.two_theta - angle,
            incident_energy=incident,
            mask=grid.mask & ~masked,
        )
        changes["grid"] = moved
        for name in ("data", "error"):
            if getattr(measurement, name) is not None:
                image = grid.to_image(getattr(measurement, name))
                changes[name] = moved.to_rows(image)
    return measurement.replace(**changes), tuple(applied)


def _of_detectors(
    measurement: DetectorMeasurement, masked: NDArray[np.bool_]
) -> dict[str, Array]:
    """Return data and errors with some detectors NaN, none where nothing changes."""
    changes = {}
    for name in ("data", "error"):
        values = getattr(measurement, name)
        if values is not None and masked.any():
            changes[name] = np.where(masked[:, None], np.nan, values)
    return changes


def _turned(polar: Array, angle: float) -> Array:
    """Return scattering angles less an offset, none through the beam."""
    return np.copysign(np.maximum(np.abs(polar) - angle, 1e-6), polar)
