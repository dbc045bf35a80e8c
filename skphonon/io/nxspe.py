"""NXSPE files: intensity by detector and energy transfer, from one crystal rotation.

The definition is https://manual.nexusformat.org/classes/applications/NXspe.html. By the
conventions of Mantid's SaveNXSPE a masked detector is NaN (formerly -1e30),
intensities are per meV, and angles are those of spherical coordinates, ``polar`` from
the beam and ``azimuthal`` about it, from the horizontal axis x towards y, upwards.
"""

import numpy as np

from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.io._hdf5 import (
    attribute,
    check_units,
    child_group,
    find,
    place,
    read_array,
    read_number,
)
from skphonon.io._kinds import nxspe_entry, open_as

__all__ = ["read_nxspe"]

_MASKED = -1e10  # and below
_DEGREE = ("degree", "degrees", "deg")
_RADIAN = ("rad", "radian", "radians")
_MEV = ("mev",)
_ANGLES = ("polar", "azimuthal", "polar_width", "azimuthal_width")


def read_nxspe(path):
    """Read an NXSPE file of a direct-geometry spectrometer.

    Nothing is normalised or rebinned; :func:`reduce_powder` and
    :func:`reduce_crystal` do that.

    Parameters
    ----------
    path : str or path-like
        The file, as Mantid's SaveNXSPE writes it.

    Returns
    -------
    DetectorMeasurement
        Intensities and angles as stored, and a masked detector as NaN; `psi` and
        `ki_over_kf_scaling` are None where the file does not tell them.

    Raises
    ------
    OSError
        If the file is missing or damaged.
    ValueError
        If it is not an NXSPE file, something is missing in it, of another shape or in
        an unknown unit, or each detector has an energy of its own (indirect geometry).

    See Also
    --------
    reduce_powder, reduce_crystal : Rebin what was read.

    Examples
    --------
    >>> from skphonon.io import read_nxspe
    >>> measured = read_nxspe("aluminium_60meV.nxspe")  # doctest: +SKIP
    >>> measured.data.shape, measured.incident_energy  # doctest: +SKIP
    ((115200, 200), 60.0)
    """
    with open_as(path, "nxspe") as file:
        entry = child_group(file, nxspe_entry(file))
        return DetectorMeasurement(
            **_read_intensities(child_group(entry, "data")),
            **_read_settings(child_group(entry, "NXSPE_info")),
            source=str(path),
        )


def _read_intensities(group):
    data = read_array(group, "data", (None, None))
    n_detectors, n_energy = data.shape
    errors = read_array(group, "error", data.shape)
    edges = read_array(group, "energy", (n_energy + 1,))
    check_units(group, "energy", _MEV)
    if not ((np.diff(edges) > 0).all() and np.isfinite(edges).all()):
        raise ValueError(
            f"{place(group, 'energy')} must hold increasing borders of bins, got "
            f"{edges.min():g} to {edges.max():g} meV out of order."
        )
    angles = {name: read_array(group, name, (n_detectors,)) for name in _ANGLES}
    for name in _ANGLES:
        check_units(group, name, _DEGREE)
    placed = np.all([np.isfinite(each) for each in angles.values()], axis=0)
    masked = ~np.isfinite(data) | (data <= _MASKED) | ~np.reshape(placed, (-1, 1))
    return {
        "data": np.where(masked, np.nan, data),
        "error": np.where(masked, np.nan, errors),
        "energy_edges": edges,
        **angles,
    }


def _read_settings(group):
    energies = np.unique(read_array(group, "fixed_energy"))
    check_units(group, "fixed_energy", _MEV)
    if len(energies) != 1 or not 0 < energies[0] < np.inf:
        raise ValueError(
            f"{place(group, 'fixed_energy')} must be one positive energy in meV, got "
            f"{energies.size}: {energies[:3].tolist()}. Spectrometers of indirect "
            "geometry are not supported."
        )
    scaled = None
    if find(group, "ki_over_kf_scaling") is not None:
        scaled = bool(read_number(group, "ki_over_kf_scaling"))
    return {
        "incident_energy": float(energies[0]),
        "psi": _read_psi(group),
        "ki_over_kf_scaling": scaled,
        "quantity": "sqe" if scaled else None,
    }


def _read_psi(group):
    if find(group, "psi") is None:
        return None
    psi = read_number(group, "psi")
    if (attribute(group, "psi", "units") or "").lower() in _RADIAN:
        psi = np.rad2deg(psi)
    else:
        check_units(group, "psi", _DEGREE)
    return float(psi) if np.isfinite(psi) else None
