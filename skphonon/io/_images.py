r"""Images of powders that files hold, over energy and \|Q\| or scattering angle."""

from typing import Any, NamedTuple

import numpy as np

from skphonon._versioned import frozen
from skphonon._warnings import warn_user
from skphonon.instrument import AngleGrid, SpectrumGrid
from skphonon.instrument.measurement import Measurement, MeasurementWarning

__all__ = ["Axis", "measured_image", "warn_of_left_out"]

_UNEVEN = 0.01  # of a bin: how far borders may lie from halfway between centres
_MASKED = -1e10  # and below


class Axis(NamedTuple):
    """Centres of bins, or their borders, and what they are."""

    name: str  # of the grid
    values: np.ndarray

    def centres(self, n_bins):
        """Centres of the bins."""
        values = self.values
        return values if len(values) == n_bins else (values[1:] + values[:-1]) / 2

    def bins(self, n_bins, first=None):
        """Return the axis of the first bins."""
        has_borders = len(self.values) == n_bins + 1
        kept = n_bins if first is None else first
        return self._replace(values=self.values[: kept + has_borders])


def measured_image(data, error, energy, across, place, **settings):
    """Return a measurement of an image with energies in rows, for any order of axes.

    Nothing was measured where data are not finite or masked. In bins of |Q| neither
    where they are 0 with an error of 0: no detector came there. A detector that
    counted nothing at one energy measured that, but one that never did is dead.
    Energies at and above the incident one are left out, with a warning if intensities
    stand there.
    """
    settings = dict(settings)
    energy, data, error = _rising(energy, data, error, 0)
    across, data, error = _rising(across, data, error, 1)
    incident = settings.get("incident_energy")
    if incident is not None:
        if not 0 < incident < np.inf:
            raise ValueError(
                f"{place}: incident_energy must be a positive number in meV, got "
                f"{incident!r}."
            )
        below = int((energy.centres(len(data)) < incident).sum())
        warn_of_left_out(data[below:], incident, place)
        energy = energy.bins(len(data), below)
        data, error = data[:below], error[:below]
    empty = (data == 0) & (error == 0)
    if across.name == "two_theta":
        empty &= empty.all(axis=0)
    seen = np.isfinite(data) & (data > _MASKED) & ~empty
    if not seen.any():
        raise ValueError(
            f"{place} must hold intensities"
            + ("" if incident is None else f" at energies below {incident:g} meV")
            + ", got none."
        )
    layout: Any = SpectrumGrid if across.name == "q" else AngleGrid
    axes = energy.centres(len(data)), across.centres(data.shape[1])
    try:
        grid = layout(*axes, incident_energy=incident, mask=seen)
    except ValueError as error_:
        raise ValueError(f"{place}: {error_}") from error_
    edges = {
        axis.name: axis.values
        for axis, centres in zip((energy, across), axes, strict=True)
        if len(axis.values) > len(centres)
    }
    _warn_of_uneven(edges, grid, place)
    settings["details"] = {**settings.get("details", {}), "edges": edges}
    data, error = _row(data, seen), _row(error, seen & (error > 0))
    try:
        return Measurement(data, grid, error=error, **settings)
    except ValueError as error_:
        raise ValueError(f"{place}: {error_}") from error_


def _row(image, kept):
    """Return an image as one row, read-only so that nobody copies it."""
    row = np.full((1, image.size), np.nan)
    np.copyto(row.reshape(image.shape), image, where=kept)
    return frozen(row)


def _rising(axis, data, error, number):
    """Turn an axis round that falls, and the images with it."""
    if len(axis.values) > 1 and axis.values[0] > axis.values[-1]:
        axis = axis._replace(values=axis.values[::-1])
        data, error = np.flip(data, number), np.flip(error, number)
    return axis, data, error


def warn_of_left_out(data, incident, place):
    """Say how many bins of energy, the first axis, hold what no neutron can lose."""
    counted = np.isfinite(data) & (data != 0) & (data > _MASKED)
    if n_bins := int(counted.any(axis=tuple(range(1, data.ndim))).sum()):
        warn_user(
            f"{place} holds intensities in {n_bins} "
            f"{'bins' if n_bins > 1 else 'bin'} of energy transfer at or above "
            f"incident_energy={incident:g} meV, which no neutron can lose: they were "
            "left out. Check incident_energy, in meV.",
            MeasurementWarning,
        )


def _warn_of_uneven(edges, grid, place):
    """Say where borders are not halfway between centres, as the grid has them."""
    for name, own in edges.items():
        centres = getattr(grid, name)
        halfway = (centres[1:] + centres[:-1]) / 2
        off = np.abs(own[1:-1] - halfway) / np.diff(own)[1:]
        if off.size and off.max() > _UNEVEN:
            warn_user(
                f"Bins of {name} in {place} are uneven, and the grid has borders "
                f"halfway between their centres, off by up to {off.max():.0%} of a "
                "bin. Rebin it in even steps.",
                MeasurementWarning,
            )
