"""Constructors that a person can hold in the head."""

import importlib
import inspect

from sklearn.base import BaseEstimator

import skphonon

MOST = 12
ROOMS = sorted({home for home in skphonon._HOME.values() if home.count(".") == 1})


def estimators():
    """Map the names of all public estimators and simulators to their classes."""
    found = {}
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) and issubclass(thing, BaseEstimator):
                found[name] = thing
    return found


def test_no_constructor_has_more_parameters_than_a_person_keeps_in_mind():
    counts = {name: len(cls._get_param_names()) for name, cls in estimators().items()}
    assert {"PowderSimulator", "LeastSquaresInverter", "Search"} <= counts.keys()
    assert {name: count for name, count in counts.items() if count > MOST} == {}
