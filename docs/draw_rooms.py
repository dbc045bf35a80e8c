"""Draw the rooms of the package and the imports between them, read from the code.

Run by Sphinx at each build; by hand: ``python docs/draw_rooms.py rooms.svg``.
"""

import sys
from collections import Counter
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rooms import FLOORS, GROUND, MODULES, file_of, imports_of, room_of

WIDTH, HEIGHT = 1.7, 0.62  # of a box, in inches
GROUND_NAME = "ground floor"
BOX = {"boxstyle": "round,pad=0,rounding_size=0.08", "edgecolor": "#33566f"}
ARROW = {"arrowstyle": "-|>", "mutation_scale": 9, "color": "#6d8ba0"}


def main(path):
    """Write the picture to a file whose ending names the format."""
    lines, files, imports = Counter(), Counter(), Counter()
    for module, source in MODULES.items():
        room, text = shown(room_of(module)), source.read_text()
        lines[room] += text.count("\n")
        files[room] += 1
        for target, _ in imports_of(text):
            other = shown(room_of(file_of(target)))
            imports[room, other] += room != other
    places = place(lines)
    with mpl.rc_context({"svg.hashsalt": "rooms", "svg.fonttype": "none"}):
        draw(places, lines, files, imports).savefig(path, metadata={"Date": None})


def shown(room):
    """Return the name of the box that shows a room."""
    return GROUND_NAME if room in GROUND else room


def place(rooms):
    """Return the middle of the box of each room, the ground floor lowest."""
    floors = [[GROUND_NAME]]
    for floor in FLOORS:
        found = sorted({shown(room) for room in floor} & set(rooms) - {GROUND_NAME})
        if found and found != ["__init__"]:
            floors.append(found)
    places = {}
    for height, floor in enumerate(floors):
        for number, room in enumerate(floor):
            x = 2.1 * (number - (len(floor) - 1) / 2) + 0.35 * (-1) ** height
            places[room] = x, 1.15 * height
    return places


def draw(places, lines, files, imports):
    """Return the figure: a box for each room, and arrows to the rooms it imports.

    All of them import the ground floor, so these arrows are left out.
    """
    figure = Figure(figsize=(9, 1.15 * len({y for _, y in places.values()}) + 0.3))
    axes = figure.add_axes((0, 0, 1, 1))
    for (room, other), count in imports.items():
        if count and other != GROUND_NAME and {room, other} <= set(places):
            (x, y), (to_x, to_y) = places[room], places[other]
            width = 0.4 + 0.25 * count**0.5
            ends = (x, y - HEIGHT / 2), (to_x, to_y + HEIGHT / 2)
            arrow = FancyArrowPatch(*ends, linewidth=width, **ARROW)
            axes.add_patch(arrow)
    for room, (x, y) in places.items():
        corner = x - WIDTH / 2, y - HEIGHT / 2
        box = FancyBboxPatch(corner, WIDTH, HEIGHT, facecolor="#eef4f8", **BOX)
        axes.add_patch(box).set_zorder(3)
        axes.text(x, y + 0.1, room, ha="center", va="center", weight="bold", zorder=4)
        size = f"{files[room]} file{'s' * (files[room] > 1)}, {lines[room]:,} lines"
        axes.text(x, y - 0.14, size, ha="center", va="center", fontsize=8, zorder=4)
    axes.set(xlim=(-4.5, 4.5), ylim=(-0.5, max(y for _, y in places.values()) + 0.6))
    axes.set_aspect("equal")
    axes.axis("off")
    return figure


if __name__ == "__main__":
    main(sys.argv[1])
