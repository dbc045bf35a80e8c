"""Files of Horace 1 to 3, versions 2 to 3.1 of the format: one thing after the other.

Numbers are float32 or int32 unless said otherwise; texts follow their length. A cut
without pixels has only the image: file name, folder, title; lattice parameters and
angles; offset, directions (4 x 4, one axis after the other, r.l.u.) and lengths of the
axes (1/Angstrom, meV), and labels (a matrix of letters). Then come the number of axes
that have bins, numbers of the other ones and their limits, and numbers of the former,
each followed by the borders of its bins; the order in which axes are drawn; mean
intensity, variance of the mean, number of pixels (int64).

With pixels, the main header (file name, folder, title, number of runs), the runs and
the detectors stand before the image. After it stand the range of the pixels
(2 x 4), an unused number, how many there are (int64), and their nine columns.
"""

import math

import numpy as np

from skphonon.io._horace_cut import PIXEL, POWDER_LABEL, Cut, without_rounding

__all__ = ["read_old"]

_AXES = 4
_RUN_NUMBERS = ("psi", "omega", "dpsi", "gl", "gs")


def read_old(cursor, with_pixels):
    """Return the cut that a file holds; the cursor stands after the header."""
    title, runs = "", []
    if with_pixels:
        title, runs = _before_the_image(cursor)
    cursor.text()  # file name
    cursor.text()  # folder
    title = cursor.text().strip() or title
    lattice = _floats(cursor, 3), _floats(cursor, 3)
    origin, directions = _floats(cursor, _AXES), _floats(cursor, _AXES * _AXES)
    lengths, labels = _floats(cursor, _AXES), _labels(cursor)
    edges = _edges(cursor)
    shape = [len(each) - 1 for each in edges]
    signal, variance, counts = (
        cursor.numbers(kind, math.prod(shape)).reshape(shape, order="F")
        for kind in ("<f4", "<f4", "<i8")
    )
    return Cut(
        sphere=bool(labels) and labels[0].lower() == POWDER_LABEL,
        whole=True,
        edges=edges,
        steps=without_rounding(directions.reshape(_AXES, _AXES)[:3, :3]),
        lengths=lengths,
        origin=origin,
        lattice=lattice,
        signal=signal,
        variance=variance,
        counts=counts,
        details={"title": title},
        runs=runs,
        pixels=_pixels(cursor) if with_pixels else None,
    )


def _floats(cursor, count):
    return cursor.numbers("<f4", count).astype(float)


def _labels(cursor):
    """Return the rows of a matrix of letters, kept column after column."""
    n_rows, n_columns = cursor.numbers("<i4", 2).tolist()
    if n_rows < 0 or n_columns < 0:
        raise cursor.damage(f"{n_rows} labels of {n_columns} letters")
    letters = cursor.numbers("u1", n_rows * n_columns).tobytes()
    if n_rows > 2 * _AXES:
        return []
    return [
        letters[row::n_rows].decode("utf-8", errors="replace").strip()
        for row in range(n_rows)
    ]


def _edges(cursor):
    """Return borders of bins along all axes."""
    n_long = cursor.number("<i")
    if not 0 <= n_long <= _AXES:
        raise cursor.damage(f"{n_long} axes with bins")
    edges: dict[int, np.ndarray] = {}
    n_short = _AXES - n_long
    short = cursor.numbers("<i4", n_short).tolist()
    limits = _floats(cursor, 2 * n_short).reshape(-1, 2)
    edges.update(zip(short, limits, strict=True))
    long = cursor.numbers("<i4", n_long).tolist()
    for axis in long:
        count = cursor.number("<i")
        if count < 2:
            raise cursor.damage(f"{count} borders of bins")
        edges[axis] = _floats(cursor, count)
    if sorted(short + long) != [1, 2, 3, 4] or long != sorted(long):
        raise cursor.damage(f"axes {short} and {long}")
    cursor.numbers("<i4", n_long)  # order in which they are drawn
    return [edges[axis] for axis in sorted(edges)]


def _before_the_image(cursor):
    cursor.text()  # file name
    cursor.text()  # folder
    title, n_runs = cursor.text().strip(), cursor.number("<i")
    runs = []
    for number in range(n_runs):  # ends where the file does
        runs.append(_run(cursor, number + 1))
    cursor.text()  # file of the detectors
    cursor.text()
    cursor.skip(6 * 4 * cursor.number("<i"))
    return title, runs


def _run(cursor, number):
    run = {"filename": cursor.text().strip(), "run_id": number}
    cursor.text()  # folder
    run["efix"], run["emode"] = cursor.number("<f"), float(cursor.number("<i"))
    cursor.skip(4 * 6)  # lattice
    run["u"], run["v"] = _floats(cursor, 3), _floats(cursor, 3)
    angles = np.rad2deg(_floats(cursor, len(_RUN_NUMBERS))).tolist()
    run |= dict(zip(_RUN_NUMBERS, angles, strict=True))
    n_borders = cursor.number("<i")
    if n_borders < 0:
        raise cursor.damage(f"{n_borders} borders of bins")
    run["en"] = _floats(cursor, n_borders)
    cursor.skip(4 * (4 + 16 + 4))  # axes of the pixels
    _labels(cursor)
    return run


def _pixels(cursor):
    cursor.skip(4 * 8 + 4)  # range of the pixels, and an unused number
    n_pixels = cursor.number("<q")
    place = cursor.position
    cursor.skip(n_pixels * PIXEL.itemsize)
    return place, n_pixels
