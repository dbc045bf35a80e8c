"""Warnings about measurements, and advice that several modules give."""

__all__ = ["TRANSPOSED", "MeasurementWarning"]

#: Advice on images that have their axes exchanged.
TRANSPOSED = (
    "The images look transposed: rows are energies, columns are |Q|. Turn them with "
    "images.swapaxes(-1, -2) before grid.to_rows."
)


class MeasurementWarning(UserWarning):
    """A measurement is probably not as it is described."""
