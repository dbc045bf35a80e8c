r"""Workspaces that Mantid's SaveNexusProcessed writes: detectors, or S(\|Q\|, E).

Layout, below each entry ``mantid_workspace_1``, ``mantid_workspace_2``, ...:
``workspace/values`` and ``errors`` of shape (n_spectra, n_bins); ``axis1``, along the
bins, and ``axis2``, along the spectra, each as borders or centres, with the attribute
``units`` ("DeltaE", "MomentumTransfer", "spectraNumber", "TOF") and, if intensities are
per unit of ``axis1``, ``distribution`` = 1. ``instrument/detector`` has
``detector_positions`` (distance in m, scattering angle and azimuth in degrees), of
which ``detector_index`` and ``detector_count`` tell those of each spectrum; ``logs``
has the sample logs, and ``process`` one text for each algorithm that was run.
"""

import re

import h5py
import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument import DetectorMeasurement
from skphonon.instrument.measurement import MeasurementWarning
from skphonon.io._hdf5 import attribute, child_group, find, names, place, read_array
from skphonon.io._images import Axis, measured_image
from skphonon.io._kinds import open_as
from skphonon.io._mantid_detectors import directions, masked_spectra
from skphonon.io._mantid_run import (
    conditions,
    has_elastic_momentum,
    is_indirect,
    rotation,
)

__all__ = ["read_processed"]

_ENTRY = re.compile(r"mantid_workspace_(\d+)")
_ENERGY, _Q, _ANGLE = "deltae", "momentumtransfer", "degrees"
_SPECTRA = "spectranumber"
_CONVERT = {  # unit of an axis and the algorithm that makes energies of it
    "tof": "ConvertUnits(Target='DeltaE', EMode='Direct', EFixed=...)",
    "wavelength": "ConvertUnits(Target='DeltaE', EMode='Direct', EFixed=...)",
    "energy": "ConvertUnits(Target='DeltaE', EMode='Direct', EFixed=...)",
    "momentumtransfer": "SofQW, which keeps the energy transfer",
    "deltae_inwavenumber": "ConvertUnits(Target='DeltaE')",
    "deltae_infrequency": "ConvertUnits(Target='DeltaE')",
}
_ACROSS = {_Q: "q", _ANGLE: "two_theta"}
_TOGETHER = 0.9  # length of a mean direction of azimuths: about 25 degrees to each side


def read_processed(path, *, incident_energy=None, temperature_log="SampleTemp"):
    r"""Read energy transfers by detector, or S(\|Q\|, E), that Mantid saved.

    Files of SaveNexusProcessed (and of SaveNexus, which calls it) with energy transfer
    along one axis and, along the other, spectra, as after ConvertUnits and Rebin,
    momentum transfer, as after SofQW, or scattering angle, as after
    ConvertSpectrumAxis.

    Parameters
    ----------
    path : str or path-like
        The file.
    incident_energy : float, default=None
        Energy of the incoming neutrons in meV. None takes the log ``Ei``, the last one
        that the history of the workspace tells (GetEi, EFixed of ConvertUnits), the
        parameter ``EFixed`` of the instrument or, with a warning, the energy asked for.
    temperature_log : str, default="SampleTemp"
        Name of the sample log of the temperature; it differs between instruments.

    Returns
    -------
    DetectorMeasurement, Measurement or list of these
        Detectors by energy transfer, intensity per meV, or one spectrum on a
        SpectrumGrid or AngleGrid; a list if the file holds several workspaces. Data are
        NaN where a detector is masked, where a spectrum holds nothing but zeros and,
        after SofQW, where intensity and error are both zero; on a grid, errors also
        where they are 0. The temperature is the median of its log over time, `psi` the
        rotation about the vertical if the goniometer has no other. They are in
        proportion to S(Q, E) if the history has CorrectKiKf; without it nobody knows,
        as reductions may hide it. In `details` are, as far as the file has them, title,
        instrument, run, units, logs (their names), temperature_range, final_energy of
        an indirect geometry, lattice, u and v of a crystal as in
        :class:`~skphonon.CrystalGrid` and, on a grid, edges by axis.

    Raises
    ------
    OSError
        If the file is missing or damaged.
    ValueError
        If it is no such file, or its axes are others (the message names the algorithm
        of Mantid that makes these), the incident energy is not known, or the geometry
        is indirect and nobody rebinned it.

    Warns
    -----
    MeasurementWarning
        If the temperature moved by more than 2 K or 5 % in 95 % of the time; bins are
        so uneven that the grid has other borders; intensities at energies from the
        incident one on were left out of a grid; momentum transfers are those of
        elastic scattering; only the incident energy asked for is known; or spectra of a
        crystal are of detectors on several sides of the beam.

    See Also
    --------
    skphonon.io.reduce_powder : Rebin detectors.

    Notes
    -----
    The file does not hold the sizes of detectors: each counts as a square as wide as
    the angle to the nearest other one. A spectrum of several detectors stands at the
    mean of their scattering angles, weighted by solid angle, as in Mantid, and not at
    their mean direction, which for a ring about the beam would be the beam.
    `polar_width` spans all of them, and `azimuthal_width` is such that the solid angle
    is the sum of theirs. Azimuths are means too.

    Examples
    --------
    >>> from skphonon.io import read_processed
    >>> measured = read_processed("MAR21335_spe.nxs")  # doctest: +SKIP
    >>> measured.data.shape, measured.incident_energy  # doctest: +SKIP
    ((285, 294), 59.37)
    """
    with open_as(path, "processed") as file:
        numbered = [_ENTRY.fullmatch(name) for name in names(file)]
        entries = sorted((m for m in numbered if m), key=lambda m: int(m[1]))
        _check_separate(file, [each[0] for each in entries])
        found = [
            _measurement(
                child_group(file, each[0]), str(path), incident_energy, temperature_log
            )
            for each in entries
        ]
    return found[0] if len(found) == 1 else found


def _check_separate(file, entries):
    """Refuse workspaces that are one and the same, which would fill the memory."""
    first: dict[int, str] = {}
    for entry in entries:
        values = find(file, f"{entry}/workspace/values")
        if isinstance(values, h5py.Dataset):
            other = first.setdefault(h5py.h5o.get_info(values.id).addr, entry)
            if other != entry:
                raise ValueError(
                    f"{place(file, entry)} must have values of its own, got those of "
                    f"{other}. Copy the file again."
                )


def _measurement(entry, source, incident_energy, temperature_log):
    """Return the measurement of an entry; messages name the file and the entry."""
    try:
        return _unnamed(entry, source, incident_energy, temperature_log)
    except ValueError as error:
        if source in str(error):
            raise
        raise ValueError(f"{place(entry)}: {error}") from error


def _unnamed(entry, source, incident_energy, temperature_log):
    group = child_group(entry, "workspace")
    if find(entry, "event_workspace") is not None and find(group, "values") is None:
        raise ValueError(
            f"{place(entry)} must hold a histogram, got events. Bin them with "
            "Rebin(PreserveEvents=False) and save again."
        )
    values = read_array(group, "values", (None, None))
    errors = read_array(group, "errors", values.shape)
    across, along = (
        _axis(group, name, size)
        for name, size in zip(("axis2", "axis1"), values.shape, strict=True)
    )
    if along.name in _ACROSS and across.name == _ENERGY:
        along, across, values, errors = across, along, values.T, errors.T
    _check_axes(group, along, across)
    if attribute(group, "axis1", "distribution") == "0":
        if len(along.values) > values.shape[1]:
            width = np.diff(along.values)
            values, errors = values / width, errors / width
    settings = conditions(entry, source, incident_energy, temperature_log)
    if across.name in _ACROSS:
        return _image(values, errors, along, across, settings, entry)
    return _detectors(values, errors, along, settings, entry)


def _axis(group, name, n_bins):
    """Return an axis by its unit in small letters."""
    values = read_array(group, name, (None,))
    if len(values) not in (n_bins, n_bins + 1):
        raise ValueError(
            f"{place(group, name)} must hold {n_bins} centres or {n_bins + 1} borders, "
            f"got {len(values)} numbers."
        )
    return Axis((attribute(group, name, "units") or "").lower(), values)


def _check_axes(group, along, across):
    if along.name == _ENERGY and across.name in (*_ACROSS, _SPECTRA):
        if not (np.diff(along.values) > 0).all() or not np.isfinite(along.values).all():
            raise ValueError(f"{place(group)} must have increasing energy transfers.")
        return
    advice = _CONVERT.get(along.name, "ConvertUnits(Target='DeltaE')")
    if along.name == _ENERGY:
        advice = "SofQW, or save the workspace before its spectra were regrouped"
    raise ValueError(
        f"{place(group)} must have energy transfer (DeltaE) by spectrum or by "
        f"MomentumTransfer, got {along.name or 'no unit'} by "
        f"{across.name or 'no unit'}. In Mantid use {advice}, and save again."
    )


def _image(values, errors, along, across, settings, entry):
    """Return a measurement of bins of |Q| or of scattering angle."""
    name, where = _ACROSS[across.name], place(entry, "workspace")
    if name == "two_theta" and settings["incident_energy"] is None:
        raise _incident_energy_missing(entry, settings)
    if name == "q" and has_elastic_momentum(entry):
        warn_user(
            f"Momentum transfers in {where} are those of elastic scattering, by "
            "ConvertSpectrumAxis, and wrong where the energy transfer is not small. "
            "Use SofQW in its place.",
            MeasurementWarning,
        )
    axes = along._replace(name="energy"), across._replace(name=name)
    return measured_image(values.T, errors.T, *axes, where, **settings)


def _incident_energy_missing(entry, settings):
    logs = settings["details"].get("logs", "no logs")
    advice = "Pass incident_energy=... to skphonon.io.read_processed."
    if is_indirect(entry):
        advice = "Rebin an indirect geometry with SofQW."
    return ValueError(
        f"{place(entry)} must tell the incident energy of a direct-geometry "
        f"spectrometer, by the log Ei or its history; got {logs[:200]}. {advice}"
    )


def _detectors(values, errors, along, settings, entry):
    if settings["incident_energy"] is None or is_indirect(entry):
        raise _incident_energy_missing(entry, settings)
    if len(along.values) == values.shape[1]:
        raise ValueError(
            f"{place(entry, 'workspace/axis1')} must hold borders of bins, got their "
            "centres. Use ConvertToHistogram in Mantid, and save again."
        )
    angles, together = directions(entry, len(values))
    psi = rotation(entry)
    around = np.isfinite(together) & (together < _TOGETHER)
    if (psi or "lattice" in settings["details"]) and around.any():
        warn_user(
            f"{around.sum()} spectra of {place(entry)} are of detectors on several "
            "sides of the beam, and their azimuths mean nothing for a single crystal. "
            "Save the workspace before its detectors are grouped.",
            MeasurementWarning,
        )
    masked = ~np.isfinite(angles["polar"]) | masked_spectra(entry, len(values))
    masked |= ((values == 0) & (errors == 0)).all(axis=1)
    masked = ~np.isfinite(values) | masked[:, None]
    return DetectorMeasurement(
        np.where(masked, np.nan, values),
        error=np.where(masked | (errors < 0), np.nan, errors),
        energy_edges=along.values,
        psi=psi,
        ki_over_kf_scaling=True if settings["quantity"] == "sqe" else None,
        **angles,
        **settings,
    )
