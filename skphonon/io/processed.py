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
from typing import NamedTuple

import h5py
import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument import DetectorMeasurement, SpectrumGrid
from skphonon.instrument.measurement import Measurement, MeasurementWarning
from skphonon.io._hdf5 import (
    attribute,
    child_group,
    find,
    names,
    place,
    read_array,
    read_number,
    read_text,
)
from skphonon.io._kinds import open_as
from skphonon.io._logs import TEMPERATURE, log_in_time

__all__ = ["read_processed"]

_ENTRY = re.compile(r"mantid_workspace_(\d+)")
_ENERGY, _Q, _SPECTRA = "deltae", "momentumtransfer", "spectranumber"
_CONVERT = {  # unit of an axis and the algorithm that makes energies of it
    "tof": "ConvertUnits(Target='DeltaE', EMode='Direct', EFixed=...)",
    "wavelength": "ConvertUnits(Target='DeltaE', EMode='Direct', EFixed=...)",
    "energy": "ConvertUnits(Target='DeltaE', EMode='Direct', EFixed=...)",
    "momentumtransfer": "SofQW, which keeps the energy transfer",
    "deltae_inwavenumber": "ConvertUnits(Target='DeltaE')",
    "deltae_infrequency": "ConvertUnits(Target='DeltaE')",
}
_MASKED = re.compile(r"detID:(\d+);bool;masked;(?:1|true)", re.IGNORECASE)
_MODE = re.compile(r"(?:^|\|)[^|;]*;string;deltaE-mode;(\w+)", re.IGNORECASE)
_EFIXED = re.compile(r"Name: EFixed, Value: ([\d.eE+-]+), Default\?: No")
_SAME_ANGLE = 0.02  # degrees
_UNEVEN = 0.01  # of a bin: how far borders may lie from halfway between centres


class _Axis(NamedTuple):
    unit: str  # in small letters
    values: np.ndarray  # borders or centres

    def centres(self, n_bins):
        """Centres of the bins."""
        if len(self.values) == n_bins:
            return self.values
        return (self.values[1:] + self.values[:-1]) / 2


def read_processed(path, *, incident_energy=None, temperature_log="SampleTemp"):
    r"""Read energy transfers by detector, or S(\|Q\|, E), that Mantid saved.

    Files of SaveNexusProcessed (and of SaveNexus, which calls it) with energy transfer
    along one axis and, along the other, spectra, as after ConvertUnits and Rebin, or
    momentum transfer, as after SofQW.

    Parameters
    ----------
    path : str or path-like
        The file.
    incident_energy : float, default=None
        Energy of the incoming neutrons in meV. None takes the log ``Ei`` or the fixed
        energy that the history of the workspace tells.
    temperature_log : str, default="SampleTemp"
        Name of the sample log of the temperature; it differs between instruments.

    Returns
    -------
    DetectorMeasurement, Measurement or list of these
        Detectors by energy transfer, intensity per meV, or one spectrum on a
        SpectrumGrid; a list if the file holds several workspaces. Data are NaN where a
        detector is masked, where a spectrum holds nothing but zeros and, after SofQW,
        where intensity and error are both zero; errors also where they are 0. The
        temperature is the median of its log over time. In `details` are, as far as the
        file has them, title, instrument, run, units, logs (their names),
        temperature_range and, of a SpectrumGrid, edges by axis.

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
        If the temperature moved by more than 2 K or 5 % in 95 % of the time, or bins
        are so uneven that the grid has other borders.

    See Also
    --------
    skphonon.io.reduce_powder : Rebin detectors.

    Notes
    -----
    A spectrum of several detectors stands at their mean scattering angle, as in Mantid.
    The file does not hold the sizes of detectors: `polar_width` is the distance to the
    neighbouring angles, and each detector counts as being as wide as that across, so
    that weights by solid angle are in proportion to the number of detectors.

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
        found = [
            _measurement(
                child_group(file, each[0]), str(path), incident_energy, temperature_log
            )
            for each in entries
        ]
    return found[0] if len(found) == 1 else found


def _measurement(entry, source, incident_energy, temperature_log):
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
    if along.unit == _Q and across.unit == _ENERGY:
        along, across, values, errors = across, along, values.T, errors.T
    _check_axes(group, along, across)
    if attribute(group, "axis1", "distribution") == "0" and along.unit == _ENERGY:
        width = np.diff(along.values) if len(along.values) > values.shape[1] else 1.0
        values, errors = values / width, errors / width
    settings = _conditions(entry, source, incident_energy, temperature_log)
    if across.unit == _Q:
        return _spectrum(values, errors, along, across, settings, entry)
    return _detectors(values, errors, along, settings, entry)


def _axis(group, name, n_bins):
    values = read_array(group, name, (None,))
    if len(values) not in (n_bins, n_bins + 1):
        raise ValueError(
            f"{place(group, name)} must hold {n_bins} centres or {n_bins + 1} borders, "
            f"got {len(values)} numbers."
        )
    return _Axis((attribute(group, name, "units") or "").lower(), values)


def _check_axes(group, along, across):
    if along.unit == _ENERGY and across.unit in (_Q, _SPECTRA):
        if not (np.diff(along.values) > 0).all() or not np.isfinite(along.values).all():
            raise ValueError(
                f"{place(group, 'axis1')} must hold increasing energy transfers."
            )
        return
    advice = _CONVERT.get(along.unit, "ConvertUnits(Target='DeltaE')")
    if along.unit == _ENERGY:
        advice = "SofQW, or save the workspace before its spectra were regrouped"
    raise ValueError(
        f"{place(group)} must have energy transfer (DeltaE) by spectrum or by "
        f"MomentumTransfer, got {along.unit or 'no unit'} by "
        f"{across.unit or 'no unit'}. In Mantid use {advice}, and save again."
    )


def _conditions(entry, source, incident_energy, temperature_log):
    """Return what both kinds of measurements tell."""
    logs = find(entry, "logs")
    runs = [logs] if isinstance(logs, h5py.Group) else []
    temperature, limits = log_in_time(runs, temperature_log, TEMPERATURE)
    history = _history(entry)
    if incident_energy is None:
        incident_energy = _incident_energy(entry, runs, history)
    run = find(logs, "run_number") if runs else None
    details = {
        "title": read_text(entry, "title"),
        "instrument": read_text(entry, "instrument/name"),
        "run": read_text(run, "value") if isinstance(run, h5py.Group) else None,
        "units": attribute(entry, "workspace/values", "unit_label"),
        "logs": ", ".join(names(logs)) if runs else None,
        "temperature_range": limits,
    }
    details = {
        name: value.strip() if isinstance(value, str) else value
        for name, value in details.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }
    scaled = any(re.match(r"Algorithm: CorrectKiKf\b", text) for text in history)
    return {
        "incident_energy": incident_energy,
        "temperature": temperature,
        "quantity": "sqe" if scaled else None,
        "source": source,
        "details": details,
    }


def _history(entry):
    """Return the texts of the algorithms that were run."""
    process = find(entry, "process")
    if not isinstance(process, h5py.Group):
        return []
    steps = [name for name in names(process) if name.startswith("MantidAlgorithm_")]
    texts = [read_text(process, f"{name}/data") for name in steps]
    return [text for text in texts if text]


def _parameters(entry):
    return read_text(entry, "instrument/instrument_parameter_map/data") or ""


def _is_indirect(entry, runs):
    """Tell whether each detector has a final energy of its own."""
    log = find(runs[0], "deltaE-mode") if runs else None
    mode = read_text(log, "value") if isinstance(log, h5py.Group) else None
    if not mode:
        told = _MODE.search(_parameters(entry))
        mode = told[1] if told else ""
    return mode.strip().lower() == "indirect"


def _incident_energy(entry, runs, history):
    """Return the incident energy in meV, None of an indirect geometry."""
    if _is_indirect(entry, runs):
        return None
    log = find(runs[0], "Ei") if runs else None
    if isinstance(log, h5py.Group) and find(log, "value") is not None:
        return read_number(log, "value")
    told = [float(m[1]) for text in history if (m := _EFIXED.search(text))]
    return told[-1] if told else None


def _spectrum(values, errors, along, across, settings, entry):
    n_q, n_energy = values.shape
    energy, q = along.centres(n_energy), across.centres(n_q)
    incident = settings["incident_energy"]
    if incident is not None:
        n_energy = int((energy < incident).sum())
    data = values.T[:n_energy]
    error = errors.T[:n_energy]
    seen = np.isfinite(data) & ~((data == 0) & (error == 0))
    edges = {
        name: axis.values[: count + 1]
        for name, axis, count, size in (
            ("energy", along, n_energy, values.shape[1]),
            ("q", across, n_q, n_q),
        )
        if len(axis.values) == size + 1
    }
    if not seen.any():
        raise ValueError(
            f"{place(entry, 'workspace')} must hold intensities, got none but zeros."
        )
    try:
        grid = SpectrumGrid(energy[:n_energy], q, incident_energy=incident, mask=seen)
    except ValueError as error_:
        raise ValueError(f"{place(entry, 'workspace')}: {error_}") from error_
    _warn_of_uneven(edges, grid, entry)
    # SofQW gives S(Q, E) if its input was corrected for ki / kf
    settings["details"]["edges"] = edges
    error = np.where(seen & (error > 0), error, np.nan)
    data = np.where(seen, data, np.nan)
    return Measurement(
        data.reshape(1, -1), grid, error=error.reshape(1, -1), **settings
    )


def _warn_of_uneven(edges, grid, entry):
    """Say where borders are not halfway between centres, as the grid has them."""
    for name, own in edges.items():
        centres = getattr(grid, name)
        halfway = (centres[1:] + centres[:-1]) / 2
        off = np.abs(own[1:-1] - halfway) / np.diff(own)[1:]
        if off.size and off.max() > _UNEVEN:
            warn_user(
                f"Bins of {name} in {place(entry, 'workspace')} are uneven, and the "
                f"grid has borders halfway between their centres, off by up to "
                f"{off.max():.0%} of a bin. Rebin it in even steps.",
                MeasurementWarning,
            )


def _detectors(values, errors, along, settings, entry):
    incident = settings["incident_energy"]
    if incident is None:
        logs = settings["details"].get("logs", "no logs")
        raise ValueError(
            f"{place(entry)} must tell the incident energy of a direct-geometry "
            f"spectrometer, by the log Ei or its history; got {logs[:200]}. Pass "
            "incident_energy=..., or rebin an indirect geometry with SofQW."
        )
    if len(along.values) == values.shape[1]:
        raise ValueError(
            f"{place(entry, 'workspace/axis1')} must hold borders of bins, got their "
            "centres. Use ConvertToHistogram in Mantid, and save again."
        )
    angles, numbers = _angles(entry, len(values))
    masked = ~np.isfinite(values) | ~np.isfinite(angles["polar"])[:, None]
    masked |= _is_masked(entry, numbers, len(values))[:, None]
    masked |= ((values == 0) & (errors == 0)).all(axis=1)[:, None]
    scaled = settings["quantity"] == "sqe"
    return DetectorMeasurement(
        np.where(masked, np.nan, values),
        error=np.where(masked | (errors < 0), np.nan, errors),
        energy_edges=along.values,
        **angles,
        ki_over_kf_scaling=True if scaled else None,
        **settings,
    )


def _angles(entry, n_spectra):
    """Return angles of spectra, and the numbers of the detectors of each."""
    group = child_group(entry, "instrument/detector")
    positions = read_array(group, "detector_positions", (None, 3))
    first, count = (
        read_array(group, name, (n_spectra,))
        for name in ("detector_index", "detector_count")
    )
    ends = first + count
    whole = (first == np.rint(first)) & (count == np.rint(count))
    if not (whole & (first >= 0) & (count >= 0) & (ends <= len(positions))).all():
        raise ValueError(
            f"{place(group, 'detector_index')} and detector_count must be numbers of "
            f"the {len(positions)} detectors in detector_positions, got others."
        )
    count = count.astype(int)
    if count.sum() > len(positions):
        raise ValueError(
            f"{place(group, 'detector_count')} must give each of {len(positions)} "
            f"detectors to one spectrum, got {count.sum()} in all."
        )
    owner = np.repeat(np.arange(n_spectra), count)
    place_of = np.repeat(first.astype(int) - np.cumsum(count) + count, count)
    member = place_of + np.arange(len(owner))
    polar, azimuth = positions[member, 1], np.deg2rad(positions[member, 2])

    def mean(each):
        total = np.bincount(owner, each, minlength=n_spectra)
        return np.divide(total, count, out=np.full(n_spectra, np.nan), where=count > 0)

    own = mean(polar)
    azimuthal = np.rad2deg(np.arctan2(mean(np.sin(azimuth)), mean(np.cos(azimuth))))
    width = _spacing(own)
    sine = np.maximum(np.sin(np.deg2rad(own)), 1e-3)
    angles = {
        "polar": own,
        "azimuthal": np.where(np.isfinite(own), azimuthal, np.nan),
        "polar_width": width,
        "azimuthal_width": np.minimum(count * width / sine, 360.0),
    }
    numbers = None
    if find(group, "detector_list") is not None:
        listed = read_array(group, "detector_list", (len(positions),))
        numbers = owner, listed[member]
    return angles, numbers


def _spacing(polar):
    """Return the distance of each angle to the nearest other one, in degrees."""
    width = np.full(len(polar), np.nan)
    known = np.flatnonzero(np.isfinite(polar))
    order = known[np.argsort(polar[known])]
    steps = np.diff(polar[order])
    apart = steps > _SAME_ANGLE
    gaps = steps[apart]
    if not gaps.size:
        width[known] = 1.0  # any: there is one angle
        return width
    group = np.append(0, np.cumsum(apart))  # of equal angles
    nearest = np.minimum(np.append(gaps[:1], gaps), np.append(gaps, gaps[-1:]))
    width[order] = nearest[group]
    return width


def _is_masked(entry, numbers, n_spectra):
    """Tell which spectra have no detector that is not masked."""
    masked = {int(number) for number in _MASKED.findall(_parameters(entry))}
    if not masked or numbers is None:
        return np.zeros(n_spectra, dtype=bool)
    owner, listed = numbers
    good = ~np.isin(listed, list(masked))
    there = np.bincount(owner, minlength=n_spectra)
    return (there > 0) & (np.bincount(owner, good, minlength=n_spectra) == 0)
