"""Logs of a run that files of Mantid hold: values with their times.

A log is a group with `value` and, of a series, `time` in s. The log "duration", where
there is one, tells how long the run was.
"""

import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument.measurement import MeasurementWarning
from skphonon.io._hdf5 import (
    attribute,
    check_units,
    find,
    place,
    read_array,
    read_number,
)

__all__ = ["TEMPERATURE", "log_in_time"]

_DURATION = "duration"
_KELVIN, _CELSIUS = ("k", "kelvin"), ("c", "degc", "deg c", "celsius", "°c")
#: Units of temperatures: those that need no change, and those that do.
TEMPERATURE = _KELVIN, _CELSIUS
_ZERO_CELSIUS = 273.15  # K
_STEADY = 2.0, 0.05  # K, relative: temperatures that are one
_MOST_OF_THE_TIME = 0.95  # that a temperature must be steady for


def log_in_time(runs, name, units=None):
    """Return the median over time, and the lowest and highest value, of all runs."""
    # warns if the log has units, of temperature, and is not steady
    values, weights = [np.empty(0)], [np.empty(0)]
    for logs in runs:
        log = find(logs, name)
        if log is not None:
            value = read_array(log, "value").ravel()
            values.append(value + (_offset(log, units) if units else 0.0))
            end = find(logs, _DURATION)
            end = read_number(end, "value") if end is not None else None
            weights.append(_durations(log, value.size, end))
    value, weight = np.concatenate(values), np.concatenate(weights)
    known = np.isfinite(value) & (weight > 0)
    if not known.any():
        return None, None
    value, weight = value[known], weight[known]
    outside = (1 - _MOST_OF_THE_TIME) / 2
    low, middle, high = _quantiles(value, weight, (outside, 0.5, 1 - outside))
    moved = high - low
    if units and moved > min(_STEADY[0], _STEADY[1] * middle):
        warn_user(
            f"The temperature moved from {low:.4g} to {high:.4g} K during the "
            f"measurement (log {name} of {place(runs[0])}); its median in time, "
            f"{middle:.4g} K, is used. Filter the events by temperature, or set "
            "another with replace.",
            MeasurementWarning,
        )
    return middle, np.array([value.min(), value.max()])


def _offset(log, units):
    """Return the offset of the units of a log from K."""
    kelvin, celsius = units
    if (attribute(log, "value", "units") or "").lower() in celsius:
        return _ZERO_CELSIUS
    check_units(log, "value", kelvin)
    return 0.0


def _durations(log, length, end):
    """Return for how long each value of a log held: until the next; alike if unknown.

    The last holds until the end of the run or, if unknown, as long as the one before.
    """
    if find(log, "time") is not None and length > 1:
        times = read_array(log, "time").ravel()
        steps = np.diff(times)
        if len(times) == length and (steps >= 0).all() and 0 < steps.sum() < np.inf:
            known = end is not None and end > times[-1]
            return np.append(steps, end - times[-1] if known else steps[-1])
    return np.ones(length)


def _quantiles(values, weights, quantiles):
    """Return weighted quantiles, the middle between neighbours where both are right."""
    order = np.argsort(values)
    values, sums = values[order], np.cumsum(weights[order])
    found = []
    for part in np.multiply(quantiles, sums[-1]):
        first = np.searchsorted(sums, part * (1 - 1e-12), side="left")
        last = np.searchsorted(sums, part * (1 + 1e-12), side="right")
        first, last = (min(place, len(values) - 1) for place in (first, last))
        found.append((values[first] + values[last]) / 2)
    return [float(each) for each in found]
