"""NXSPE files: intensity by detector and energy transfer, from one crystal rotation.

The definition is https://manual.nexusformat.org/classes/applications/NXspe.html; what
Mantid's SaveNXSPE leaves to convention: a masked detector is NaN (formerly -1e30),
intensities are per meV, and angles are those of spherical coordinates, ``polar`` from
the beam and ``azimuthal`` about it, from the horizontal axis x towards y, upwards.
"""

import h5py
import numpy as np
from sklearn.utils import Bunch

from skphonon.datasets._hdf5 import (
    attribute,
    check_units,
    child_group,
    open_hdf5,
    place,
    read_array,
    read_number,
    read_text,
)

__all__ = ["read_nxspe"]

_MASKED = -1e10  # and below
_DEGREE = ("degree", "degrees", "deg")
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
    Bunch
        With the attributes

        - data : ndarray of shape (n_detectors, n_energy). Intensity per meV, as
          stored; NaN where a detector is masked.
        - errors : ndarray of shape (n_detectors, n_energy). Standard deviations, as
          stored; NaN where `data` is.
        - energy_edges : ndarray of shape (n_energy + 1,). Borders of the bins of energy
          transfer, meV.
        - polar, azimuthal : ndarray of shape (n_detectors,). Scattering angle, and
          angle about the beam from the horizontal, degrees.
        - polar_width, azimuthal_width : ndarray of shape (n_detectors,). Angles that a
          detector spans, degrees.
        - incident_energy : float. meV.
        - psi : float. Rotation of the crystal about the vertical, degrees; NaN where
          the file does not say.
        - ki_over_kf_scaling : bool or None. Whether intensities were multiplied by
          ki/kf, and so are in proportion to S(Q, E). None where the file does not say.

    Raises
    ------
    OSError
        If the file is missing or damaged.
    ValueError
        If it is not an NXSPE file, something is missing in it, of another shape or in
        an unknown unit, or each detector has an energy of its own (indirect geometry).

    Examples
    --------
    >>> from skphonon.datasets import read_nxspe
    >>> measured = read_nxspe("aluminium_60meV.nxspe")  # doctest: +SKIP
    >>> measured.data.shape, measured.incident_energy  # doctest: +SKIP
    ((115200, 200), 60.0)
    """
    with open_hdf5(path) as file:
        entry = _entry(file, path)
        return Bunch(
            **_read_intensities(child_group(entry, "data")),
            **_read_settings(child_group(entry, "NXSPE_info")),
        )


def _entry(file, path):
    for entry in file.values():
        if isinstance(entry, h5py.Group) and "definition" in entry:
            if read_text(entry["definition"][()]).strip().upper() == "NXSPE":
                return entry
    raise ValueError(
        f"{path} must have an entry with the definition 'NXSPE', got the entries "
        f"{', '.join(file) or 'none'}. Save with SaveNXSPE, or see read_mdhisto."
    )


def _read_intensities(group):
    data = read_array(group, "data", (None, None))
    n_detectors, n_energy = data.shape
    errors = read_array(group, "error", data.shape)
    edges = read_array(group, "energy", (n_energy + 1,))
    check_units(group, "energy", _MEV)
    if not (np.diff(edges) > 0).all():
        raise ValueError(
            f"{place(group, 'energy')} must hold increasing borders of bins, got "
            f"{edges.min():g} to {edges.max():g} meV out of order."
        )
    angles = {name: read_array(group, name, (n_detectors,)) for name in _ANGLES}
    for name in _ANGLES:
        check_units(group, name, _DEGREE)
    placed = np.isfinite(list(angles.values())).all(axis=0)
    masked = ~np.isfinite(data) | (data <= _MASKED) | ~placed[:, None]
    return {
        "data": np.where(masked, np.nan, data),
        "errors": np.where(masked, np.nan, errors),
        "energy_edges": edges,
        **angles,
    }


def _read_settings(group):
    energies = np.unique(read_array(group, "fixed_energy"))
    check_units(group, "fixed_energy", _MEV)
    if len(energies) != 1 or not energies[0] > 0:
        raise ValueError(
            f"{place(group, 'fixed_energy')} must be one positive energy in meV, got "
            f"{energies.size}: {energies[:3].tolist()}. Spectrometers of indirect "
            "geometry are not supported."
        )
    psi, scaled = np.nan, None
    if "psi" in group:
        psi = read_number(group, "psi")
        units = attribute(group, "psi", "units")
        if units and units.lower() in ("rad", "radian", "radians"):
            psi = np.rad2deg(psi)
        else:
            check_units(group, "psi", _DEGREE)
    if "ki_over_kf_scaling" in group:
        scaled = bool(read_number(group, "ki_over_kf_scaling"))
    return {
        "incident_energy": float(energies[0]),
        "psi": float(psi),
        "ki_over_kf_scaling": scaled,
    }
