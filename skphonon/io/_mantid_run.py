"""What a workspace that Mantid saved tells of its run: history, logs, parameters.

``process/MantidAlgorithm_1``, ``_2``, ... have one text for each algorithm that was
run, ``logs`` the sample logs, ``instrument/instrument_parameter_map/data`` one text
with entries ``component;type;name;value``, ``logs/goniometer`` the rotations of the
sample, and ``sample/oriented_lattice`` its UB matrix.
"""

import re
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument.measurement import MeasurementWarning
from skphonon.io._hdf5 import attribute, find, names, place, read_array, read_text
from skphonon.io._logs import TEMPERATURE, log_in_time
from skphonon.io._mantid_crystal import orientation, orientation_matrix

__all__ = ["conditions", "has_elastic_momentum", "is_indirect", "rotation"]

_STEP = re.compile(r"MantidAlgorithm_(\d{1,9})")
_NUMBER = r"([-+]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,3})?)"
_MODE = re.compile(r"(?:^|\|)[^|;]*;string;deltaE-mode;(\w+)", re.IGNORECASE)
_FIXED = re.compile(rf"(?:^|\|)[^|;]*;double;Efixed;{_NUMBER}", re.IGNORECASE)
# what GetEi found, and what ConvertUnits and others were told
_EI = re.compile(
    rf"Name: (?:EFixed|IncidentEnergy), Value: {_NUMBER}, Default\?: No", re.IGNORECASE
)
_NOMINAL = ("EnergyRequested", "EnergyRequest")  # logs
_SOFQW = re.compile(r"Algorithm: SofQW")
_ELASTIC = re.compile(
    r"Algorithm: ConvertSpectrumAxis.*Name: Target, Value: Elastic", re.DOTALL
)
_COMPRESSED = 10  # times at most that texts are longer than the file
_AXES = 6  # of a goniometer at most


class _History(NamedTuple):
    """What the algorithms tell that were run."""

    scaled: bool  # by ki / kf
    incident_energy: float | None
    elastic_momentum: bool  # at zero energy transfer


def conditions(entry, source, incident_energy, temperature_log):
    """Return the settings of a measurement, and its details."""
    logs = _logs(entry)
    runs = [] if logs is None else [logs]
    history = _history(entry)
    temperature, limits = log_in_time(runs, temperature_log, TEMPERATURE)
    indirect = is_indirect(entry)
    if incident_energy is None and not indirect:
        incident_energy = _incident_energy(entry, runs, history)
    details = {
        "title": read_text(entry, "title"),
        "instrument": read_text(entry, "instrument/name"),
        "run": _text_log(logs, "run_number"),
        "units": attribute(entry, "workspace/values", "unit_label"),
        "logs": None if logs is None else ", ".join(names(logs)),
        "temperature_range": limits,
        "final_energy": _fixed(entry) if indirect else None,
        **_crystal(entry),
    }
    return {
        "incident_energy": incident_energy,
        "temperature": temperature,
        "quantity": "sqe" if history.scaled else None,
        "source": source,
        "details": {
            name: value.strip() if isinstance(value, str) else value
            for name, value in details.items()
            if value is not None and not (isinstance(value, str) and not value.strip())
        },
    }


def is_indirect(entry):
    """Tell whether each detector has a final energy of its own."""
    mode = _text_log(_logs(entry), "deltaE-mode")
    if not mode:
        told = _MODE.search(_parameters(entry))
        mode = told[1] if told else ""
    return mode.strip().lower() == "indirect"


def has_elastic_momentum(entry):
    """Tell whether momentum transfers are those at zero energy transfer."""
    return _history(entry).elastic_momentum


def rotation(entry):
    """Return the rotation about the vertical in degrees, None if there are others."""
    turned = None
    goniometer = find(entry, "logs/goniometer")
    for number in range(_AXES):
        axis = find(goniometer, f"axis{number}") if goniometer is not None else None
        if not isinstance(axis, h5py.Group):
            break
        told = attribute(axis, "", "angle")
        try:
            angle = float(told if told is not None else "nan")
        except ValueError:
            return None
        if (attribute(axis, "", "angle_units") or "").lower().startswith("rad"):
            angle = float(np.rad2deg(angle))
        around = read_array(axis, "rotationaxis", (3,))
        clockwise = (attribute(axis, "", "sense") or "").upper() in ("CW", "-1")
        vertical = abs(around[1]) > 0 and not around[[0, 2]].any()
        if angle == 0:  # of any axis: turns nothing
            turned = turned or 0.0
        elif not (vertical and np.isfinite(angle)):
            return None
        else:
            sign = -np.sign(around[1]) if clockwise else np.sign(around[1])
            turned = (turned or 0.0) + float(sign) * angle
    return turned


def _logs(entry):
    logs = find(entry, "logs")
    return logs if isinstance(logs, h5py.Group) else None


def _text_log(logs, name):
    log = None if logs is None else find(logs, name)
    return read_text(log, "value") if isinstance(log, h5py.Group) else None


def _parameters(entry):
    return read_text(entry, "instrument/instrument_parameter_map/data") or ""


def _fixed(entry):
    told = _FIXED.search(_parameters(entry))
    return float(told[1]) if told else None


def _history(entry):
    scaled, energy, elastic = False, None, False
    for text in _algorithms(entry):
        scaled |= re.match(r"Algorithm: CorrectKiKf\b", text) is not None
        if told := _EI.findall(text):
            energy = float(told[-1])
        if _SOFQW.match(text) or _ELASTIC.match(text):
            elastic = not _SOFQW.match(text)
    return _History(scaled, energy, elastic)


def _algorithms(entry):
    """Yield the texts of the algorithms that were run, in order."""
    process = find(entry, "process")
    if not isinstance(process, h5py.Group):
        return
    steps = [match for name in names(process) if (match := _STEP.fullmatch(name))]
    steps.sort(key=lambda match: int(match[1]))
    size, length = Path(entry.file.filename).stat().st_size, 0
    for match in steps:
        text = read_text(process, f"{match[0]}/data") or ""
        length += len(text)
        if length > _COMPRESSED * size:  # the same text in many places
            raise ValueError(
                f"{place(process)} must have texts that fit in the file, got more than "
                f"{_COMPRESSED} times its {size} bytes. Copy the file again."
            )
        yield text


def _incident_energy(entry, runs, history):
    """Return the incident energy of a direct geometry in meV, None if unknown."""
    measured, _ = log_in_time(runs, "Ei")
    if measured is not None:
        return measured
    if history.incident_energy is not None:
        return history.incident_energy
    fixed = _fixed(entry)
    if fixed is not None:
        return fixed
    for name in _NOMINAL:
        nominal, _ = log_in_time(runs, name)
        if nominal is not None:
            warn_user(
                f"{place(entry)} tells only the incident energy that was asked for, "
                f"{nominal:g} meV (log {name}), which is often off by 1 % or 2 %. Pass "
                "incident_energy=... to skphonon.io.read_processed, as found by "
                "GetEi in Mantid.",
                MeasurementWarning,
            )
            return nominal
    return None


def _crystal(entry):
    """Return lattice and orientation of a sample that has them."""
    ub = orientation_matrix(entry, "sample/oriented_lattice/orientation_matrix")
    return {} if ub is None else orientation(ub)
