"""The instrument between the sample and the numbers."""

from skphonon.instrument.angle_grid import AngleGrid
from skphonon.instrument.calibrating import calibrate
from skphonon.instrument.calibration_report import Calibration
from skphonon.instrument.crystal_grid import CrystalGrid
from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.instrument.grid import PathGrid, SpectrumGrid
from skphonon.instrument.local_errors import local_errors
from skphonon.instrument.measurement import Measurement, MeasurementWarning
from skphonon.instrument.resolution import (
    PolynomialResolution,
    QResolution,
    TabulatedResolution,
    instrument_resolution,
)

__all__ = [
    "AngleGrid",
    "Calibration",
    "CrystalGrid",
    "DetectorMeasurement",
    "Measurement",
    "MeasurementWarning",
    "PathGrid",
    "PolynomialResolution",
    "QResolution",
    "SpectrumGrid",
    "TabulatedResolution",
    "calibrate",
    "instrument_resolution",
    "local_errors",
]
