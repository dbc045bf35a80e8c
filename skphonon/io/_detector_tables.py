"""Tables of detectors in text, .par and .phx, that go with SPE files.

The first line has the number of detectors, and each further one tells of one of them.

- ``.phx``, seven columns: two that nobody uses, scattering angle, azimuth, angular
  width (along the scattering angle) and height (across it), number; all in degrees.
- ``.par``, five or six: distance from the sample, scattering angle, azimuth, width and
  height in the units of the distance; perhaps a number.

By the conventions of Horace and Mantid the azimuth in a .phx rises from the horizontal
(0) to the vertical (90), as in NXSPE files, and that in a .par has the opposite sign.
Angular heights are those that a detector spans as seen from the sample.
"""

from pathlib import Path

import numpy as np

from skphonon.io._kinds import identify
from skphonon.io._number_lines import Lines

__all__ = ["read_detectors"]

_PHX, _PAR = (7,), (5, 6)  # columns
_POLE = 1e-3  # sine of a scattering angle at which a detector lies around the beam


def read_detectors(path):
    """Return the angles of detectors by the names that DetectorMeasurement has."""
    kind = identify(path)
    if kind.key != "detectors":
        raise ValueError(
            f"{path} must be a table of detectors (.par or .phx), which begins with "
            f"their number, got {kind.noun}."
        )
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        lines = Lines(file, path)
        n_detectors = int(lines.require(r"\s*(\d{1,9})\s*$", "the number of them")[1])
        n_columns = len(lines.peek().split())
        if n_columns not in (*_PHX, *_PAR):
            raise ValueError(
                f"{lines.place()} must have 7 columns (.phx), 5 or 6 (.par), got "
                f"{n_columns}."
            )
        lines.require_room(n_detectors * n_columns)
        table = np.empty((n_detectors, n_columns))
        for row in range(n_detectors):
            table[row] = _row(lines, n_columns)
    return (_phx if n_columns in _PHX else _par)(table, path)


def _row(lines, n_columns):
    cells = lines.take().split()
    try:
        row = [float(cell) for cell in cells]
    except ValueError:
        row = []
    if len(row) != n_columns:
        raise ValueError(
            f"{lines.place()} must hold {n_columns} numbers of a detector, got "
            f"{' '.join(cells)[:60]!r}."
        )
    return row


def _phx(table, path):
    polar, azimuthal, width, height = table.T[2:6]
    return _angles(polar, azimuthal, width, height, path)


def _par(table, path):
    distance, polar, azimuthal = table.T[:3]
    if not (distance > 0).all():
        raise ValueError(
            f"{path} must have positive distances of detectors in its first column, "
            f"got {distance.min():g}."
        )
    width, height = 2 * np.rad2deg(np.arctan2(table.T[3:5] / 2, distance))
    return _angles(polar, -azimuthal, width, height, path)


def _angles(polar, azimuthal, width, height, path):
    """Return spherical angles; a detector at a negative angle is on the other side."""
    if not (np.abs(polar) <= 180).all():  # NaN neither
        raise ValueError(
            f"{path} must have scattering angles within -180 to 180 degrees, got "
            f"{polar.min():g} to {polar.max():g}."
        )
    if not (np.isfinite(azimuthal) & (width >= 0) & (height >= 0)).all():
        raise ValueError(
            f"{path} must have finite azimuths, and sizes that are not negative."
        )
    azimuthal = np.where(polar < 0, azimuthal + 180, azimuthal)
    sine = np.maximum(np.sin(np.deg2rad(np.abs(polar))), _POLE)
    return {
        "polar": np.abs(polar),
        # within -180 to 180, and 180 rather than -180
        "azimuthal": 180 - (180 - azimuthal) % 360,
        "polar_width": width.copy(),
        "azimuthal_width": np.minimum(height / sine, 360.0),
    }
