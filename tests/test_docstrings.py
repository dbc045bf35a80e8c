"""numpydoc's checks on every name in the index of the API."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from numpydoc.validate import validate

import skphonon

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs" / "api" / "index.rst"
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
IGNORED = {*CONFIG["tool"]["numpydoc_validation"]["checks"]} - {"all"}
# Only what a room itself offers must show itself in use: a method is shown by its
# class, a formula by its definition.
NO_EXAMPLE = IGNORED | {"EX01"}
DEFINED_IN_A_CLASS = (property, classmethod, staticmethod)


def listed():
    """Yield the full names in the index of the API: classes, functions, modules."""
    entries = re.findall(r"^   ([\w.]+)$", INDEX.read_text(), flags=re.MULTILINE)
    yield from (f"skphonon.{entry}" for entry in entries)


def is_ours(member):
    return (getattr(member, "__module__", None) or "").startswith("skphonon")


def public_objects():
    """Map the full name of every public class and function to it."""
    found = {}
    for full_name in listed():
        module, _, name = full_name.rpartition(".")
        thing = getattr(importlib.import_module(module), name, None)
        if thing is None or inspect.ismodule(thing):
            module = importlib.import_module(full_name)
            members = [getattr(module, each) for each in module.__all__]
        else:
            members = [thing]
        for member in members:
            if inspect.isclass(member) or inspect.isfunction(member):
                assert is_ours(member)
                found[f"{member.__module__}.{member.__qualname__}"] = member
    return found


def public_members(full_name, cls):
    """Yield the full name of every method and property of a class that is ours."""
    members = {}
    for base in reversed(cls.__mro__):
        members |= vars(base) if is_ours(base) else {}
    for name, member in members.items():
        ours = isinstance(member, DEFINED_IN_A_CLASS) or (
            inspect.isfunction(member) and is_ours(member)
        )
        if ours and not name.startswith("_"):
            yield f"{full_name}.{name}"


OBJECTS = public_objects()
ROOMS = sorted({home for home in skphonon._HOME.values() if home.count(".") == 1})
OFFERED = {name for room in ROOMS for name in importlib.import_module(room).__all__}
CLASSES = {name: cls for name, cls in OBJECTS.items() if inspect.isclass(cls)}
MEMBERS = [name for item in CLASSES.items() for name in public_members(*item)]


def complaints(full_name, ignored):
    errors = validate(full_name)["errors"]
    return [f"{code}: {text}" for code, text in errors if code not in ignored]


@pytest.mark.parametrize("full_name", OBJECTS)
def test_docstring(full_name):
    offered = full_name.rpartition(".")[2] in OFFERED
    is_warning = full_name in CLASSES and issubclass(CLASSES[full_name], Warning)
    ignored = IGNORED if offered and not is_warning else NO_EXAMPLE
    assert complaints(full_name, ignored) == []


@pytest.mark.parametrize("full_name", MEMBERS)
def test_member_docstring(full_name):
    assert complaints(full_name, NO_EXAMPLE) == []


def test_the_checks_see_the_package():
    assert {skphonon.SpectrumGrid, skphonon.nmse} <= set(OBJECTS.values())
    assert len(OBJECTS) > len(OFFERED)
    assert any(name.endswith("PowderSimulator.simulate") for name in MEMBERS)


def test_the_checks_find_faults():
    assert complaints("numpydoc.validate.validate", IGNORED)


@pytest.mark.parametrize("room", ROOMS)
def test_the_index_lists_every_name_that_a_room_offers(room):
    offered = importlib.import_module(room).__all__
    entries = {full_name.rpartition(".")[2] for full_name in listed()}
    assert set(offered) - {"TRUSTED_TYPES"} <= entries
