"""Powder spectra of any layout as rows over energy: detectors, angles or |Q| bins."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument.angle_grid import AngleGrid
from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.instrument.grid import SpectrumGrid
from skphonon.instrument.measurement import Measurement
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M
from skphonon.physics.scattering import momentum_transfer

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_MOST = 1e12  # times the usual intensity: no measurement


class EnergyRows(NamedTuple):
    """Intensities of rows at constant angle or |Q|, and where they are."""

    values: Array  # (n_rows, n_energy), per meV; NaN where not measured
    error: Array | None  # of that shape; 0 where there is none: the others carry it
    edges: Array  # (n_energy + 1,) in meV
    q: Array  # (n_rows,) |Q| of elastic scattering, 1/Angstrom; NaN: not known
    q_low: Array  # (n_rows,) from where
    q_high: Array  # (n_rows,) to where it reaches
    two_theta: Array | None  # (n_rows,) in degrees, where rows have an angle
    weight: Array  # (n_rows,) solid angle, or 1
    unit: float  # of the measurement, in which values and errors are

    @property
    def energy(self) -> Array:
        """Centres of the bins."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    def without(self, rows: Mask) -> "EnergyRows":
        """Return the same with some rows not measured."""
        return self._replace(values=np.where(rows[:, None], np.nan, self.values))

    def mean(self, rows: NDArray) -> tuple[Array, Array]:
        """Return the weighted mean spectrum of some rows, and its standard error."""
        values, weight = self.values[rows], self.weight[rows]
        known = np.isfinite(values)
        total = weight @ known
        safe = np.where(total > 0, total, 1.0)
        mean = np.where(total > 0, weight @ np.where(known, values, 0.0) / safe, np.nan)
        if self.error is None:
            return mean, np.full(mean.shape, np.nan)
        spread = np.sqrt(weight**2 @ (self.error[rows] * known) ** 2) / safe
        return mean, np.where(spread > 0, spread, np.nan)

    def between(self, low: float, high: float) -> tuple[Array, Array]:
        """Return the integral of each row over an interval of energy, and its error.

        Rows that were not measured in all of it are NaN.
        """
        inside = np.clip(self.edges, low, high)
        width = np.diff(inside)
        chosen = width > 0
        total = self.values[:, chosen] @ width[chosen]
        if self.error is None:
            return total, np.full(total.shape, np.nan)
        variance = self.error[:, chosen] ** 2 @ width[chosen] ** 2
        return total, np.where(variance > 0, np.sqrt(variance), np.nan)


def energy_rows(measurement: Any) -> EnergyRows:
    """Return the rows of a powder measurement of one spectrum."""
    if not isinstance(measurement, Measurement):
        advice = "Pass skphonon.read(path), and the crystal second."
        if isinstance(measurement, list | tuple):
            advice = "Pass its items one at a time."
        raise TypeError(
            "calibrate needs a measurement, as skphonon.read returns, got "
            f"{type(measurement).__name__}. {advice}"
        )
    if measurement.quantity == "chi":
        raise ValueError(
            "calibrate needs S(Q, E) with its elastic line, got quantity='chi': chi'' "
            "vanishes at zero energy. Calibrate before chi_from_sqe."
        )
    if len(measurement) != 1:
        raise ValueError(
            f"calibrate takes one spectrum at a time, got {len(measurement)}. Pass "
            "measurement[0], and so on."
        )
    if isinstance(measurement, DetectorMeasurement):
        rows = _of_detectors(measurement)
        placed = np.isfinite(rows.q)
        return rows if placed.all() else rows.without(~placed)  # such as monitors
    if isinstance(measurement.grid, AngleGrid | SpectrumGrid):
        return _of_grid(measurement)
    raise TypeError(
        "calibrate needs a powder: a DetectorMeasurement, or a Measurement on a "
        f"SpectrumGrid or AngleGrid, got a grid {type(measurement.grid).__name__}."
    )


def _of_detectors(measured: DetectorMeasurement) -> EnergyRows:
    two_theta = np.abs(measured.polar)
    width = _known_widths(measured.polar_width, two_theta)
    return EnergyRows(
        *(scaled := _scaled(measured.data, measured.error))[:2],
        measured.energy_edges,
        *_moduli(two_theta, width, float(measured.incident_energy or np.nan)),
        two_theta,
        _solid_angles(two_theta, width, measured.azimuthal_width),
        scaled[2],
    )


def _of_grid(measured: Measurement) -> EnergyRows:
    grid = measured.grid
    energy_edges, borders = grid.edges()
    image = grid.to_image(measured.data)[0]
    error = None
    if measured.error is not None:
        error = grid.to_image(measured.error)[0].T
    if isinstance(grid, AngleGrid):
        places = _moduli(grid.two_theta, np.diff(borders), grid.incident_energy)
        angles = grid.two_theta
    else:
        places, angles = (grid.q, borders[:-1], borders[1:]), None
    ones = np.ones(image.shape[1])
    values, error, unit = _scaled(image.T, error)
    return EnergyRows(values, error, energy_edges, *places, angles, ones, unit)


def _scaled(values: Array, error: Array | None) -> tuple[Array, Array | None, float]:
    """Return intensities and errors in a unit of about their size, and that unit."""
    sound = np.abs(values[np.isfinite(values) & (values != 0)])
    # of the elastic line rather than of what is nearly nothing beside it
    unit = float(np.percentile(sound, 99)) if len(sound) else 1.0
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        scaled = values / unit
        scaled[~(np.abs(scaled) < _MOST)] = np.nan
        if error is None:
            return scaled, None, unit
        error = error / unit
        error[~(error < _MOST)] = 0.0
    return scaled, error, unit


def _moduli(
    two_theta: Array, width: Array, incident_energy: float
) -> tuple[Array, Array, Array]:
    """Return |Q| of elastic scattering at the centres and borders of rows."""
    low, high = (np.clip(two_theta + side * width / 2, 0, 180) for side in (-1, 1))
    q, near, far = (
        momentum_transfer(0.0, incident_energy, angle)
        for angle in (two_theta, low, high)
    )
    return q, near, far


def _known_widths(width: Array, two_theta: Array) -> Array:
    """Return angles that rows span; the median or the spacing where not known."""
    known = np.isfinite(width) & (width > 0) & (width <= 180)
    if known.any():
        return np.where(known, width, np.median(width[known]))
    steps = np.diff(np.unique(two_theta[np.isfinite(two_theta)]))
    return np.full(len(width), np.median(steps) if len(steps) else 0.0)


def _solid_angles(two_theta: Array, width: Array, azimuthal: Array) -> Array:
    """Return solid angles, in any unit; ones where azimuthal widths are not known."""
    known = np.isfinite(azimuthal) & (azimuthal > 0)
    if not known.all():
        return np.ones(len(two_theta))
    # widths about the beam are those of a ring at small angles: never more than that
    around = np.minimum(azimuthal, 360.0)
    middle, half = np.deg2rad([np.nan_to_num(two_theta), width / 2])
    solid = np.sin(middle) * np.sin(half) * around
    sound = solid > 0
    if not sound.any():
        return np.ones(len(two_theta))
    usual = float(np.median(solid[sound]))
    return np.where(sound, solid, usual) / usual


def wavenumber(incident_energy: float) -> float:
    """Return the wavenumber of the incident neutrons in 1/Angstrom."""
    return float(np.sqrt(incident_energy / NEUTRON_HBAR2_OVER_2M))
