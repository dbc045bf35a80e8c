"""Texts and arrays as people have them, for tests of readers."""

import numpy as np


def points(grid, image, error=None):
    """Return rows of q, energy, intensity and perhaps error, of what is measured."""
    energy, q = (each.ravel() for each in np.meshgrid(*grid.axes(), indexing="ij"))
    columns = [q, energy, np.ravel(image)]
    if error is not None:
        columns.append(np.ravel(error))
    rows = np.column_stack(columns)
    return rows[np.isfinite(rows[:, 2])]


def write_points(path, rows, header="# |Q| (1/A)  E (meV)  S(Q,E)  error", *,
                 delimiter=" ", decimal=".", number="{:.10g}", end="\n"):  # fmt: skip
    """Write a table of points."""
    lines = [header] if header else []
    for row in rows:
        cells = [number.format(value).replace(".", decimal) for value in row]
        lines.append(delimiter.join(cells))
    path.write_text(end.join(lines) + end, encoding="utf-8", newline="")
    return path


def write_image(path, down, across, image, *, corner="E (meV)\\Q (1/A)", delimiter=","):
    """Write an image with one axis above its columns and one before its rows."""
    lines = [delimiter.join([corner, *(f"{each:.10g}" for each in across)])]
    for place, row in zip(down, image, strict=True):
        lines.append(delimiter.join(f"{each:.10g}" for each in (place, *row)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
