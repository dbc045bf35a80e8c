"""Warnings about measurements, which grids give as well."""

__all__ = ["MeasurementWarning"]


class MeasurementWarning(UserWarning):
    """A measurement is probably not as it is described."""
