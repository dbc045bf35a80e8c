import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import skphonon
from skphonon import _moved

PUBLIC = [name for name in skphonon.__all__ if name != "__version__"]
HEAVY = ["matplotlib", "pandas", "phonopy", "scipy", "sklearn", "skorch", "torch"]


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_is_light():
    loaded = run("import sys, skphonon; print(*sys.modules)")
    assert set(HEAVY).isdisjoint(loaded)


def test_forward_model_does_not_import_torch():
    # Simulation workers start often; torch alone takes seconds to import.
    loaded = run(
        "import sys\n"
        "from skphonon import ForceConstantModel, PowderSimulator, SpectrumGrid\n"
        "from skphonon import load_aluminium_model, make_powder_spectra, nmse\n"
        "print(*sys.modules)"
    )
    assert {"torch", "skorch", "matplotlib"}.isdisjoint(loaded)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_imports_both_ways(name):
    home = importlib.import_module(skphonon._HOME[name])
    assert getattr(skphonon, name) is getattr(home, name)


MOVED = [
    (old, name, home)
    for old, homes in _moved._NAMES.items()
    for home, names in homes.items()
    for name in names.split()
]


@pytest.mark.parametrize(("old", "name", "home"), MOVED)
def test_old_names_tell_where_they_are(old, name, home):
    with pytest.raises(ImportError, match=rf"from skphonon\.{home} import {name}"):
        exec(f"from {old} import {name}")
    assert not hasattr(importlib.import_module(old), name)
    assert hasattr(importlib.import_module(f"skphonon.{home}"), name)


@pytest.mark.parametrize(("old", "new"), _moved._MODULES.items())
def test_old_modules_tell_where_they_are(old, new):
    with pytest.raises(ImportError, match=rf"{old} is skphonon\.{new} since"):
        importlib.import_module(f"skphonon.{old}")
    importlib.import_module(f"skphonon.{new}")


def test_the_documentation_lists_all_that_moved():
    page = (Path(__file__).parents[1] / "docs" / "from_0_1.rst").read_text()
    for old, name, _ in MOVED:
        assert f"``{name}``" in page or old != "skphonon"
    for old, new in _moved._MODULES.items():
        if not any(part.startswith("_") for part in old.split(".")):
            assert f"``skphonon.{old}``\n     - ``skphonon.{new}``" in page


def test_modules_of_other_packages_are_no_old_modules():
    with pytest.raises(ModuleNotFoundError, match="No module named 'recipes'"):
        importlib.import_module("recipes")


def test_a_pickle_of_the_first_version_tells_what_to_do():
    pickled = b"cskphonon.features\nVAEFeatureExtractor\n."
    with pytest.raises(ImportError, match=r"written by skphonon 0\.1: load it with"):
        pickle.loads(pickled)


def test_star_import_brings_every_public_name():
    namespace = {}
    exec("from skphonon import *", namespace)
    assert set(skphonon.__all__) <= set(namespace)


def test_dir_lists_public_names_before_they_are_loaded():
    listed = run("import skphonon; print(*dir(skphonon))")
    assert set(skphonon.__all__) <= set(listed)


def test_an_old_name_as_an_attribute_tells_where_it_is():
    with pytest.raises(AttributeError, match=r"from skphonon\.learning import fine_"):
        _ = skphonon.fine_tune


@pytest.mark.parametrize(
    ("module", "name", "advice"),
    [
        ("skphonon", "features", "is skphonon.learning.features since"),
        ("skphonon.datasets", "read_nxspe", "from skphonon.io import read_nxspe"),
        ("skphonon.simulation", "SpectrumGrid", "from skphonon.instrument import Spec"),
        ("skphonon.simulation", "grid", "is skphonon.instrument.grid since"),
        ("skphonon.physics", "thermodynamics", "methods of PhononProperties there"),
        ("skphonon.physics.zone", "as_mesh", "from skphonon.physics.zone.mesh import"),
    ],
)
def test_old_attributes_of_rooms_tell_where_they_are(module, name, advice):
    with pytest.raises(AttributeError, match=advice):
        getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = importlib.import_module(module).nothing


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'NoSuchThing'"):
        _ = skphonon.NoSuchThing


@pytest.mark.parametrize("package", ["skphonon", "skphonon.learning"])
def test_a_class_that_is_gone_tells_what_there_is(package):
    with pytest.raises(ImportError, match=r'VAEFeatureExtractor.inference="posterior"'):
        exec(f"from {package} import GappySpectrumExtractor")
