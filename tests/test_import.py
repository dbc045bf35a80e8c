import importlib
import subprocess
import sys

import pytest

import skphonon

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


ROOMS = sorted({home for home in skphonon._HOME.values() if "._" not in home})


@pytest.mark.parametrize("home", ROOMS)
def test_every_name_of_a_room_is_offered(home):
    assert set(importlib.import_module(home).__all__) <= set(PUBLIC)


def test_star_import_brings_every_public_name():
    namespace = {}
    exec("from skphonon import *", namespace)
    assert set(skphonon.__all__) <= set(namespace)


def test_dir_lists_public_names_before_they_are_loaded():
    listed = run("import skphonon; print(*dir(skphonon))")
    assert set(skphonon.__all__) <= set(listed)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'NoSuchThing'"):
        _ = skphonon.NoSuchThing
