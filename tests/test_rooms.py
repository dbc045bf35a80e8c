"""The rooms of the package: imports run downwards, and through open doors."""

from graphlib import TopologicalSorter

import pytest
from rooms import FLOOR, GROUND, MODULES, file_of, imports_of, room_of


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def faults(module, source):
    """List the imports of a module that the house does not allow."""
    room, found = room_of(module), []
    for target, name in imports_of(source):
        other = room_of(target)
        if other == room:
            continue
        said = f"{module} imports {name or 'all'} of {target}"
        if FLOOR[other] >= FLOOR[room]:
            found.append(f"{said}: upwards")
        private = [part for part in target.split(".") if is_private(part)]
        if (private and other not in GROUND) or (name and is_private(name)):
            found.append(f"{said}: private")
    return found


def test_every_room_has_a_floor():
    assert {room_of(module) for module in MODULES} <= set(FLOOR)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_downwards_and_take_no_private_names(module):
    assert faults(module, MODULES[module].read_text()) == []


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        module: {
            file_of(target)
            for target, _ in imports_of(path.read_text(), for_types=False)
        }
        for module, path in MODULES.items()
    }
    # raises CycleError, which names the circle
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


@pytest.mark.parametrize(
    ("module", "source", "kind"),
    [
        ("physics.zone", "from skphonon.instrument import Measurement", "upwards"),
        ("physics.zone", "import skphonon.learning.features", "upwards"),
        ("datasets._store", "from skphonon.io import read_nxspe", "upwards"),
        ("io.mantid", "from skphonon.instrument.grid import _sees", "private"),
        ("io.mantid", "from skphonon.physics import _crystal", "private"),
        ("metrics", "def f():\n    from skphonon import load_model", "upwards"),
    ],
)
def test_the_checks_find_faults(module, source, kind):
    (fault,) = faults(module, source)
    assert fault.endswith(kind)


def test_imports_for_types_make_no_circle_but_count_as_imports():
    source = (
        "if TYPE_CHECKING:\n    from skphonon.physics import modes\nimport skphonon"
    )
    every = {target for target, _ in imports_of(source)}
    run = {target for target, _ in imports_of(source, for_types=False)}
    assert every - run == {"physics.modes"}
    assert run == {""}


def test_fitting_knows_nothing_of_neutrons():
    taken = {
        room_of(target)
        for module, path in MODULES.items()
        if room_of(module) == "fitting"
        for target, _ in imports_of(path.read_text())
    }
    assert taken <= GROUND | {"fitting"}
