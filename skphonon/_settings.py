"""Settings of a simulation in words and numbers, so that two of them can be compared.

Estimators, dataclasses and dicts become nested dicts; an array longer than a dozen
numbers is told by its shape and the hash of its values as float64.
"""

import dataclasses
import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from importlib.metadata import version

import numpy as np

from skphonon._version import __version__

__all__ = ["describe", "now", "refuse_other_settings", "versions"]

_SHOWN = 12  # numbers of an array that are spelt out
_NAMED = 4  # differences that an error message lists
_ABSENT = "nothing"


def describe(value, name):
    """Return a setting as something that JSON holds and a person can compare.

    A TypeError calls it `name`, if nothing but the object itself tells what it is.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray | list | tuple):
        return _describe_sequence(value, name)
    if _is_of_a_module(value):
        return _full_name(value)
    parts = _parts(value, name)
    return {str(key): describe(part, f"{name}.{key}") for key, part in parts.items()}


def refuse_other_settings(path, stored, asked):
    """Raise a ValueError that names how two described settings differ, if they do."""
    stored = dict(_leaves(stored))
    asked = dict(_leaves(json.loads(json.dumps(asked), parse_constant=str)))
    _refuse_other_version(path, stored, asked)
    differences = [
        f"{name} is {stored.get(name, _ABSENT)!r} there, "
        f"{asked.get(name, _ABSENT)!r} asked for"
        for name in dict.fromkeys([*stored, *asked])
        if stored.get(name, _ABSENT) != asked.get(name, _ABSENT)
    ]
    if differences:
        raise ValueError(
            f"The folder {path} holds spectra made with other settings: "
            f"{'; '.join(differences[:_NAMED])}. Ask for the same, or write to "
            "another folder; open_powder_spectra reads what is there."
        )


def _refuse_other_version(path, stored, asked):
    theirs, ours = (settings.get("skphonon") for settings in (stored, asked))
    if theirs != ours:
        raise ValueError(
            f"The store {path} was begun by skphonon {theirs}, this is {ours}: another "
            "version may simulate other spectra, and cannot continue it. Write to a "
            "new folder. If the store is complete, open_powder_spectra reads it as it "
            f"is; if not, continue it with skphonon {theirs}."
        )


def _parts(value, name):
    if isinstance(value, Mapping):
        return value
    if isinstance(value, partial):
        return {"function": value.func, "arguments": value.args, **value.keywords}
    if hasattr(value, "get_params"):
        return {"class": _full_name(type(value)), **value.get_params(deep=False)}
    if dataclasses.is_dataclass(value):
        # as it was given: a mask reads as all that is visible
        fields = {f.name: vars(value)[f.name] for f in dataclasses.fields(value)}
        return {"class": _full_name(type(value)), **fields}
    raise TypeError(
        f"The setting {name} must be a number, string, array, list, dict, dataclass, "
        "estimator or a function of a module, so that a later call can tell whether it "
        f"is the same; got {value!r}."
    )


def _describe_sequence(value, name):
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        return [describe(v, f"{name}[{n}]") for n, v in enumerate(value)]
    if array.dtype.kind != "b":
        array = array.astype(float)  # 1 and 1.0 are the same setting
    if array.size <= _SHOWN:
        return array.tolist()
    shape = " x ".join(map(str, array.shape))
    return f"{shape} array, sha256 {sha256(array.tobytes()).hexdigest()}"


def _is_of_a_module(value):
    """Tell whether this is a class or function that its name alone identifies."""
    is_bound = hasattr(value, "__self__")
    return not is_bound and "<" not in getattr(value, "__qualname__", "<")


def _full_name(value):
    return f"{value.__module__}.{value.__qualname__}"


def _leaves(settings, prefix=""):
    """Yield dotted names and values of nested settings."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def now():
    """Return the time in UTC, as text."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(packages):
    """Return the versions of this package, of Python and of others, by name."""
    return {
        "skphonon": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }
