"""Floors and rooms of the package, and the imports between them, read from the code.

The tests of the house and the picture of it in the documentation both ask here.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "skphonon"

# From the ground up. Rooms of one floor do not import each other.
FLOORS = [
    # checks, warnings, versions and files: no physics, private to the package
    {"_caching", "_figures", "_html", "_moved", "_numbers", "_version", "_warnings"},
    {"_files", "_settings", "_validation", "_versioned"},
    {"physics"},
    {"instrument"},
    {"simulation"},
    {"fitting", "preprocessing"},
    {"calibration", "metrics"},
    {"datasets", "inversion", "io", "learning"},
    {"inspection"},
    {"report"},
    {"persistence"},
    {"cli"},
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


def imports_of(source, *, for_types=True):
    """Yield the modules and names that a source imports, anywhere in it.

    Without `for_types` those are left out that only a checker of types runs.
    """
    for node in _nodes(ast.parse(source), for_types):
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


def _nodes(node, for_types):
    yield node
    condition = getattr(getattr(node, "test", None), "id", None)
    if for_types or condition != "TYPE_CHECKING":
        for child in ast.iter_child_nodes(node):
            yield from _nodes(child, for_types)


def file_of(module):
    return module if module in MODULES else f"{module}.__init__"


def room_of(module):
    """Return the room of a module: its first name."""
    return module.partition(".")[0]
