"""Files of Horace 4: blocks with names, which a table at the beginning allocates.

After the header, the table has its size in bytes and the number of blocks as uint32
and, for each block, three texts (type, two names) and its place and size as uint64.
Blocks of the type ``data_block`` hold an object. ``nd_data`` holds the number of bins
along each dimension and three arrays: mean intensity and variance of that mean
(float64), number of pixels (uint64). ``pix/data_wrap`` holds the number of
columns (uint32), of pixels (uint64), and columns of each pixel (float32).
"""

import math

import numpy as np

from skphonon.io._horace_bytes import Cursor, read_object
from skphonon.io._horace_cut import (
    N_COLUMNS,
    PIXEL,
    POWDER_LABEL,
    Cut,
    lattice_vectors,
    projection_steps,
)

__all__ = ["read_blocks"]

_BLOCKS = 10_000  # at most
_LINES = ("ortho_proj", "line_proj")
_BY_MATRIX = "ubmat_proj"
_SPHERES = ("sphere_proj", "spher_proj")
_WHOLE = 0.99  # of the angles of a sphere
_RUN_NUMBERS = ("efix", "emode", "psi", "omega", "dpsi", "gl", "gs")
_ANGLES = ("psi", "omega", "dpsi", "gl", "gs")


def read_blocks(cursor):
    """Return the cut that a file holds; the cursor stands after the header."""
    blocks = _table(cursor)
    meta = _object(cursor, blocks, ("data", "metadata"))
    axes, projection = (_part(cursor, meta, name) for name in ("axes", "proj"))
    path = cursor.path
    lattice = tuple(_floats(path, projection, name, 3) for name in ("alatt", "angdeg"))
    scales = "img_scales" if "img_scales" in axes else "ulen"
    lengths = _floats(path, axes, scales, 4)
    labelled = _has_powder_label(axes) or _has_powder_label(projection)
    sphere = labelled or _text(projection.get("serial_name")) in _SPHERES
    steps = np.eye(3)
    if not sphere:
        steps = _directions(path, projection, lattice, lengths)
    n_bins = [_whole(path, n) for n in _floats(path, axes, "nbins_all_dims", 4)]
    ranges = _floats(path, axes, "img_range", 8).reshape(4, 2)
    signal, variance, counts = _images(cursor, blocks, n_bins)  # tells that n_bins fit
    return Cut(
        sphere=sphere,
        whole=labelled or not sphere or _is_whole(projection, ranges),
        edges=[
            np.linspace(low, high, n + 1)
            for (low, high), n in zip(ranges.tolist(), n_bins, strict=True)
        ],
        steps=steps,
        lengths=lengths,
        origin=_floats(path, projection, "offset", 4),
        lattice=lattice,
        signal=signal,
        variance=variance,
        counts=counts,
        details=_details(cursor, blocks, axes, projection.get("serial_name")),
        runs=_runs(cursor, blocks),
        pixels=_pixels(cursor, blocks),
    )


def _table(cursor):
    cursor.number("<I")  # its size
    n_blocks = cursor.number("<I")
    if n_blocks > _BLOCKS:
        raise cursor.damage(f"{n_blocks} blocks")
    table = {}
    for _ in range(n_blocks):
        kind, first, second = cursor.text(), cursor.text(), cursor.text()
        table[first, second] = kind, cursor.number("<Q"), cursor.number("<Q")
    return table


def _block(cursor, blocks, name, kind):
    found = blocks.get(name)
    if found is None or found[0] != kind:
        listed = ", ".join("/".join(filter(None, each)) for each in blocks) or "none"
        raise ValueError(
            f"{cursor.path} must have a block {'/'.join(name)} of the type {kind}, got "
            f"{listed[:400]}. Save it again in Horace."
        )
    return Cursor(cursor.content, cursor.path, *found[1:])


def _object(cursor, blocks, name):
    found = read_object(_block(cursor, blocks, name, "data_block"))
    if not isinstance(found, dict):
        raise ValueError(
            f"{cursor.path} must have a struct in the block {'/'.join(name)}, got "
            f"{type(found).__name__}. Save it again in Horace."
        )
    return found


def _part(cursor, holder, name):
    part = holder.get(name)
    if not isinstance(part, dict):
        raise ValueError(
            f"{cursor.path} must tell the {name} of its image, got "
            f"{type(part).__name__}. Save it again in Horace."
        )
    return part


def _floats(path, holder, name, size):
    """Return a field as numbers in the order of the file."""
    values = _array(holder.get(name))
    if values.size != size:
        raise ValueError(
            f"{path} must have {size} numbers as {name}, got {values.size}. Save it "
            "again in Horace."
        )
    return values


def _array(value):
    """Return an object as float64 array, empty where it is no number."""
    if not isinstance(value, (float, np.ndarray)):
        return np.empty(0)
    return np.asarray(value, dtype=float).ravel(order="F")


def _has_powder_label(holder):
    labels = holder.get("label")
    first = labels[0] if isinstance(labels, list) and labels else None
    return _text(first).lower() == POWDER_LABEL


def _is_true(holder, name):
    return bool(_array(holder.get(name)).any())


def _whole(path, number):
    if not (1 <= number < 2**32 and number == round(number)):
        raise ValueError(f"{path} must have numbers of bins from 1, got {number:g}.")
    return int(number)


def _text(value):
    return value.strip() if isinstance(value, str) else ""


def _directions(path, projection, lattice, lengths):
    """Return the steps of straight axes in r.l.u., in rows."""
    name = _text(projection.get("serial_name"))
    if name not in (*_LINES, _BY_MATRIX):
        raise ValueError(
            f"{path} must be cut along straight axes (line_proj), or powder along |Q| "
            f"(sphere_proj), got {name or 'no projection'!r}. Cut it again with one of "
            "these."
        )
    vectors = [_array(projection.get(axis)) for axis in "uvw"]
    kind, oblique = _text(projection.get("type")), _is_true(projection, "nonorthogonal")
    if name == _BY_MATRIX:
        matrix = _array(projection.get("u_to_rlu"))
        width = 4 if matrix.size == 16 else 3
        matrix = matrix.reshape(-1, width)[:3, :3] if matrix.size in (9, 16) else []
        vectors, kind, oblique = list(matrix), "", True
    if len(vectors) != 3 or any(len(each) != 3 for each in vectors[:2]):
        raise ValueError(
            f"{path} must have vectors u and v of its projection, got none. Cut it "
            "again with a projection."
        )
    if len(vectors[2]) != 3:
        vectors[2] = None
        kind = kind[:2]  # "p" is the length of w
    cell = lattice_vectors(path, *lattice)
    return projection_steps(
        path, vectors, cell, oblique=oblique, kind=kind, lengths=lengths[:3]
    )


def _is_whole(projection, ranges):
    """Tell whether angles of a sphere span all directions of Q."""
    units = _text(projection.get("type"))[1:3]  # "d" or "r" for each
    turns = [180.0 if unit == "d" else np.pi for unit in units]
    spans = np.diff(ranges[1:3])[:, 0] / [1.0, 2.0]  # half of all round
    return len(turns) == 2 and (spans >= _WHOLE * np.array(turns)).all()


def _images(cursor, blocks, n_bins):
    """Return mean, variance and number of pixels, each of four dimensions."""
    block = _block(cursor, blocks, ("data", "nd_data"), "dnd_data_block")
    shape = block.numbers("<u4", block.number("<I")).tolist()
    long = [n for n in shape if n > 1]
    if long != [n for n in n_bins if n > 1]:
        raise ValueError(
            f"{cursor.path} must have one number for each bin, {n_bins}, got an image "
            f"of shape {shape}. Save it again in Horace."
        )
    return [
        block.numbers(kind, math.prod(n_bins)).reshape(n_bins, order="F")
        for kind in ("<f8", "<f8", "<u8")
    ]


def _details(cursor, blocks, axes, projection):
    header = {}
    if ("", "main_header") in blocks:
        header = _object(cursor, blocks, ("", "main_header"))
    title = _text(header.get("title")) or _text(axes.get("title"))
    details = {"title": title, "projection": projection}
    for key, name in (("instrument", "instruments"), ("sample", "samples")):
        if ("experiment_info", name) in blocks:
            found = _names(_object(cursor, blocks, ("experiment_info", name)))
            details[key] = ", ".join(dict.fromkeys(found))
    return details


def _names(holder):
    """Yield names of the outermost objects of an IX class."""
    if isinstance(holder, list):
        for each in holder:
            yield from _names(each)
    elif isinstance(holder, dict):
        if _text(holder.get("serial_name")).startswith("IX_"):
            if name := _text(holder.get("name")):
                yield name
        else:
            yield from _names(list(holder.values()))


def _runs(cursor, blocks):
    """Return settings of each run, angles in degrees."""
    if ("experiment_info", "expdata") not in blocks:
        return []
    runs = _object(cursor, blocks, ("experiment_info", "expdata")).get("array_dat")
    runs = runs if isinstance(runs, list) else [runs]
    runs = [run for run in runs if isinstance(run, dict)]
    return [_run(run, number + 1) for number, run in enumerate(runs)]


def _run(fields, number):
    """Return a run; its angles may be in an object of their own."""
    inner = [each for each in fields.values() if isinstance(each, dict)]
    fields = {key: value for each in (*inner, fields) for key, value in each.items()}
    run = {"filename": _text(fields.get("filename"))}
    known = _array(fields.get("run_id"))
    named = known.size == 1 and np.isfinite(known[0])
    run["run_id"] = int(known[0]) if named else number
    for name in _RUN_NUMBERS:
        values = _array(fields.get(name))
        run[name] = values[0].item() if values.size == 1 else values
    in_degrees = _is_true(fields, "angular_is_degree")
    if not (in_degrees or _text(fields.get("angular_units")).startswith("deg")):
        run |= {name: run[name] * (180.0 / np.pi) for name in _ANGLES}
    for name in "uv":
        # named cu and cv in older ones
        run[name] = _array(fields.get(name, fields.get(f"c{name}")))
    return run | {"en": _array(fields.get("en"))}


def _pixels(cursor, blocks):
    if ("pix", "data_wrap") not in blocks:
        return None
    block = _block(cursor, blocks, ("pix", "data_wrap"), "pix_data_block")
    n_columns, n_pixels = block.number("<I"), block.number("<Q")
    if n_columns != N_COLUMNS:
        raise ValueError(
            f"{cursor.path} must have {N_COLUMNS} columns of pixels, got {n_columns}. "
            "Save it again in Horace."
        )
    place = block.position
    block.skip(n_pixels * PIXEL.itemsize)
    return place, n_pixels
