"""numpydoc's checks on everything a user can import, but for the reasons below."""

import importlib
import inspect
import pkgutil
import tomllib
from pathlib import Path

import pytest
from numpydoc.validate import validate

import skphonon

CONFIG = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
IGNORED = {*CONFIG["tool"]["numpydoc_validation"]["checks"]} - {"all"}
# Only what skphonon itself offers must show itself in use: a method is shown by its
# class, a formula by its definition.
NO_EXAMPLE = IGNORED | {"EX01"}
DEFINED_IN_A_CLASS = (property, classmethod, staticmethod)


def public_modules():
    yield skphonon
    for info in pkgutil.walk_packages(skphonon.__path__, "skphonon."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield importlib.import_module(info.name)


def is_ours(member):
    return (getattr(member, "__module__", None) or "").startswith("skphonon")


def public_objects():
    """Map the full name of every public class and function to it."""
    found = {}
    for module in public_modules():
        for name in getattr(module, "__all__", dir(module)):
            member = getattr(module, name)
            documented = inspect.isclass(member) or inspect.isfunction(member)
            if documented and is_ours(member) and not name.startswith("_"):
                found[f"{member.__module__}.{member.__qualname__}"] = member
    return found


def public_members(full_name, cls):
    """Yield the full name of every method and property that a class of ours defines."""
    for name, member in vars(cls).items():
        ours = isinstance(member, DEFINED_IN_A_CLASS) or (
            inspect.isfunction(member) and is_ours(member)
        )
        if ours and not name.startswith("_"):
            yield f"{full_name}.{name}"


OBJECTS = public_objects()
CLASSES = {name: cls for name, cls in OBJECTS.items() if inspect.isclass(cls)}
MEMBERS = [name for item in CLASSES.items() for name in public_members(*item)]


def complaints(full_name, ignored):
    errors = validate(full_name)["errors"]
    return [f"{code}: {text}" for code, text in errors if code not in ignored]


@pytest.mark.parametrize("full_name", OBJECTS)
def test_docstring(full_name):
    offered = full_name.rpartition(".")[2] in skphonon.__all__
    is_warning = full_name in CLASSES and issubclass(CLASSES[full_name], Warning)
    ignored = IGNORED if offered and not is_warning else NO_EXAMPLE
    assert complaints(full_name, ignored) == []


@pytest.mark.parametrize("full_name", MEMBERS)
def test_member_docstring(full_name):
    assert complaints(full_name, NO_EXAMPLE) == []


def test_the_checks_see_the_package():
    assert {skphonon.SpectrumGrid, skphonon.nmse} <= set(OBJECTS.values())
    assert any(name.endswith("PowderSimulator.simulate") for name in MEMBERS)


def test_the_checks_find_faults():
    assert complaints("numpydoc.validate.validate", IGNORED)
