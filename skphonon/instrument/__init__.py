"""The instrument between the sample and the numbers."""

from skphonon.instrument.measurement import Measurement, MeasurementWarning

__all__ = ["Measurement", "MeasurementWarning"]
