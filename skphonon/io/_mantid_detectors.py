"""Detectors of workspaces that Mantid saved: directions of spectra, widths, masks.

``instrument/detector`` has ``detector_positions`` (distance in m, scattering angle and
azimuth in degrees), ``detector_list``, their numbers, and ``detector_index`` and
``detector_count``, which tell the rows of each spectrum. The file has no sizes: a
detector counts as a square that is as wide as the nearest other one is distant.
"""

import re
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from skphonon.io._hdf5 import child_group, find, place, read_array, read_text

__all__ = ["directions", "masked_spectra"]

_MASKED = re.compile(r"detID:(\d{1,18});bool;masked;(?:1|true)", re.IGNORECASE)
_DIGITS = 4  # of a component of a direction: nearer detectors stand in one
_ALONE = 1.0  # degrees that a detector is wide that has no neighbour
_TURN = 360.0
_POLE = 1e-3  # sine of a scattering angle at which a detector lies around the beam


class _Members(NamedTuple):
    """Detectors of spectra, one row for each of them."""

    spectrum: np.ndarray
    row: np.ndarray  # in the tables of the file

    def sums(self, values, n_spectra):
        """Sum what is known of detectors by spectrum."""
        return np.bincount(self.spectrum, values, minlength=n_spectra)


def directions(entry, n_spectra):
    """Return the angles of spectra, and how close the azimuths of each are (0 to 1)."""
    group = child_group(entry, "instrument/detector")
    positions = read_array(group, "detector_positions", (None, 3))
    positions[~np.isfinite(positions)] = np.nan
    members = _members(group, len(positions), n_spectra)
    width = _widths(positions)[members.row]
    _, polar, azimuth = positions[members.row].T
    solid_angle = width**2  # as seen from the sample: the weight in the mean
    total = members.sums(solid_angle, n_spectra)
    there = np.isfinite(total) & (total > 0)

    def mean(values):
        sums = members.sums(solid_angle * values, n_spectra)
        return np.divide(sums, total, out=np.full(n_spectra, np.nan), where=there)

    own, azimuth = mean(polar), np.deg2rad(azimuth)
    cosine, sine = mean(np.cos(azimuth)), mean(np.sin(azimuth))
    low, high = np.full((2, n_spectra), np.nan)
    np.fmin.at(low, members.spectrum, polar - width / 2)
    np.fmax.at(high, members.spectrum, polar + width / 2)
    polar_width = np.where(there, high - low, np.nan)
    across = np.maximum(np.abs(np.sin(np.deg2rad(own))), _POLE) * polar_width
    angles = {
        "polar": own,
        "azimuthal": np.rad2deg(np.arctan2(sine, cosine)),
        "polar_width": polar_width,
        "azimuthal_width": np.minimum(
            np.divide(total, across, out=np.full(n_spectra, np.nan), where=there), _TURN
        ),
    }
    return angles, np.hypot(cosine, sine)


def masked_spectra(entry, n_spectra):
    """Tell which spectra have no detector that is not masked."""
    none = np.zeros(n_spectra, dtype=bool)
    group = child_group(entry, "instrument/detector")
    if find(group, "detector_list") is None:
        return none
    told = read_text(entry, "instrument/instrument_parameter_map/data") or ""
    masked = {int(each) for each in _MASKED.findall(told)}
    if not masked:
        return none
    listed = read_array(group, "detector_list", (None,))
    members = _members(group, len(listed), n_spectra)
    good = ~np.isin(listed[members.row], np.array(list(masked), dtype=float))
    there = members.sums(np.ones(len(good)), n_spectra) > 0
    return there & (members.sums(good, n_spectra) == 0)


def _members(group, n_detectors, n_spectra):
    """Return which detectors belong to which spectrum."""
    first, count = (
        read_array(group, name, (n_spectra,))
        for name in ("detector_index", "detector_count")
    )
    whole = (first == np.rint(first)) & (count == np.rint(count))
    inside = (first >= 0) & (count >= 0) & (first + count <= n_detectors)
    if not (whole & inside).all():
        raise ValueError(
            f"{place(group, 'detector_index')} and detector_count must be numbers of "
            f"the {n_detectors} detectors in detector_positions, got others."
        )
    count = count.astype(int)
    if count.sum() > n_detectors:
        raise ValueError(
            f"{place(group, 'detector_count')} must give each of {n_detectors} "
            f"detectors to one spectrum, got {count.sum()} in all."
        )
    spectrum = np.repeat(np.arange(n_spectra), count)
    start = np.repeat(first.astype(int) - np.cumsum(count) + count, count)
    return _Members(spectrum, start + np.arange(len(spectrum)))


def _widths(positions):
    """Return the angle from each detector to the nearest other one, in degrees."""
    polar, azimuth = np.deg2rad(positions[:, 1:]).T
    across = np.sin(polar)
    vectors = np.column_stack(
        [across * np.cos(azimuth), across * np.sin(azimuth), np.cos(polar)]
    )
    width = np.full(len(positions), np.nan)
    known = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    if not known.size:
        return width
    separate, which = np.unique(
        vectors[known].round(_DIGITS), axis=0, return_inverse=True
    )
    if len(separate) == 1:
        width[known] = _ALONE
        return width
    # the mean direction of those that count as one, without rounding
    which = which.ravel()
    size = np.bincount(which)
    own = np.column_stack([np.bincount(which, v) / size for v in vectors[known].T])
    chord = KDTree(own).query(own, k=2)[0][:, 1]
    width[known] = np.rad2deg(2 * np.arcsin(np.minimum(chord / 2, 1)))[which]
    return width
