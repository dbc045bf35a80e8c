"""The instrument between the sample and the numbers."""

from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.instrument.measurement import Measurement, MeasurementWarning

__all__ = ["DetectorMeasurement", "Measurement", "MeasurementWarning"]
