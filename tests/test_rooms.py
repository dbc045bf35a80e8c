"""The rooms of the package: imports run downwards, and through open doors."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "skphonon"

# From the ground up. Rooms of one floor do not import each other.
FLOORS = [
    # checks, warnings, versions and files: no physics, private to the package
    {"_moved", "_version", "_warnings"},
    {"_files", "_settings", "_validation", "_versioned"},
    {"physics"},
    {"instrument"},
    {"simulation"},
    {"fitting", "preprocessing"},
    {"calibration", "metrics"},
    {"datasets", "inversion", "io", "learning"},
    {"inspection"},
    {"persistence"},
    {"__init__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
GROUND = FLOORS[0] | FLOORS[1]


def modules():
    """Map the dotted name of each module, less the package's, to its file."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts)] = path
    return found


MODULES = modules()


def imports_of(source):
    """Yield the modules and names that a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "skphonon":
                    yield alias.name.removeprefix("skphonon").lstrip("."), None
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            if node.module and node.module.partition(".")[0] == "skphonon":
                module = node.module.removeprefix("skphonon").lstrip(".")
                for alias in node.names:
                    inner = f"{module}.{alias.name}".lstrip(".")
                    if inner in MODULES or f"{inner}.__init__" in MODULES:
                        yield inner, None
                    else:
                        yield module or "__init__", alias.name


def file_of(module):
    return module if module in MODULES else f"{module}.__init__"


def room_of(module):
    return module.partition(".")[0]


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
        module: {file_of(target) for target, _ in imports_of(path.read_text())}
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
        ("io.mantid", "from skphonon.instrument.grid import _Pixels", "private"),
        ("io.mantid", "from skphonon.physics import _crystal", "private"),
        ("metrics", "def f():\n    from skphonon import load_model", "upwards"),
    ],
)
def test_the_checks_find_faults(module, source, kind):
    (fault,) = faults(module, source)
    assert fault.endswith(kind)


def test_fitting_knows_nothing_of_neutrons():
    taken = {
        room_of(target)
        for module, path in MODULES.items()
        if room_of(module) == "fitting"
        for target, _ in imports_of(path.read_text())
    }
    assert taken <= GROUND | {"fitting"}
