"""Files as Horace writes them, binned here from lists of pixels, for tests of readers.

A pixel is a row u1, u2, u3 (Q in 1/Angstrom), energy, irun, idet, ien, signal and
variance.
"""

import struct

import numpy as np

CUBIC = ([4.0, 4.0, 4.0], [90.0, 90.0, 90.0])
HEXAGONAL = ([3.0, 3.0, 5.0], [90.0, 90.0, 120.0])
TRICLINIC = ([3.0, 4.0, 5.0], [80.0, 95.0, 100.0])


def busing_levy(lattice):
    """Return B of Q = B (h, k, l): x along a*, y in the plane of a* and b*."""
    (a, b, c), angles = lattice[0], np.deg2rad(lattice[1])
    (ca, cb, cg), (sa, sb, sg) = np.cos(angles), np.sin(angles)
    volume = a * b * c * np.sqrt(1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg)
    ra, rb, rc = (2 * np.pi * x / volume for x in (b * c * sa, a * c * sb, a * b * sg))
    cos_beta = (ca * cg - cb) / (sa * sg)
    cos_gamma = (ca * cb - cg) / (sa * sb)
    sin_beta, sin_gamma = np.sqrt(1 - cos_beta**2), np.sqrt(1 - cos_gamma**2)
    return np.array(
        [
            [ra, rb * cos_gamma, rc * cos_beta],
            [0.0, rb * sin_gamma, -rc * sin_beta * ca],
            [0.0, 0.0, 2 * np.pi / c],
        ]
    )


def random_pixels(number=400, reach=3.0, energies=(5.0, 45.0), seed=0, n_runs=1):
    """Return pixels with Q anywhere in a cube, in single precision."""
    rng = np.random.RandomState(seed)
    return np.column_stack(
        [
            rng.uniform(-reach, reach, (number, 3)),
            rng.uniform(*energies, number),
            rng.randint(1, n_runs + 1, number),
            rng.randint(1, 99, (number, 2)),
            rng.uniform(0.0, 5.0, number),
            rng.uniform(0.1, 1.0, number),
        ]
    ).astype(np.float32)


def run(**settings):
    """Return a run of a crystal, angles in degrees."""
    angles = dict.fromkeys(("psi", "omega", "dpsi", "gl", "gs"), 0.0)
    defaults = {
        "filename": "a.nxspe", "run_id": 1.0, "efix": 60.0, "emode": 1.0,
        "u": [1.0, 0.0, 0.0], "v": [0.0, 1.0, 0.0], "en": np.arange(0.0, 56.0, 5.0),
    }  # fmt: skip
    return defaults | angles | settings


def coordinates(pixels, steps, *, lattice=CUBIC, origin=(0, 0, 0, 0), sphere=False):
    """Return where pixels are along the axes of a cut, (n, 4)."""
    q = pixels[:, :3].astype(float)
    energy = pixels[:, 3] - origin[3]
    if sphere:
        length = np.linalg.norm(q, axis=1)
        theta = np.degrees(np.arccos(q[:, 2] / length))
        return np.column_stack(
            [length, theta, np.degrees(np.arctan2(q[:, 1], q[:, 0])), energy]
        )
    hkl = np.linalg.solve(busing_levy(lattice), q.T).T
    return np.column_stack([(hkl - origin[:3]) @ np.linalg.inv(steps), energy])


def bin_pixels(pixels, places, edges):
    """Return mean, variance of it, number of pixels; and pixels, ordered by bin."""
    shape = [len(each) - 1 for each in edges]
    number = [
        np.searchsorted(each, place, side="right") - 1
        for each, place in zip(edges, places.T, strict=True)
    ]
    inside = np.all(
        [(0 <= n) & (n < size) for n, size in zip(number, shape, strict=True)], axis=0
    )
    voxel = np.ravel_multi_index([n[inside] for n in number], shape, order="F")
    order = np.argsort(voxel, kind="stable")
    size = int(np.prod(shape))
    counts = np.bincount(voxel, minlength=size)
    sums = [
        np.bincount(voxel, pixels[inside, column].astype(float), minlength=size)
        for column in (7, 8)
    ]
    safe = np.maximum(counts, 1)
    return sums[0] / safe, sums[1] / safe**2, counts, pixels[inside][order]


def write_horace(path, pixels, edges, steps=None, **settings):
    """Write the layout of version 4, or of 2 and 3.1, and return the path.

    `steps` are the directions of axes in r.l.u. Settings: version, lattice, origin, u,
    v, w, kind, oblique, lengths, runs, keep (pixels in the file), projection, axes,
    labels, title, instrument, sample, degrees (angles of runs), change (of the blocks).
    """
    steps = np.eye(3) if steps is None else np.asarray(steps, dtype=float)
    lattice, origin = settings.get("lattice", CUBIC), settings.get("origin", [0.0] * 4)
    sphere = settings.get("projection") == "sphere_proj" or settings.get("powder")
    places = coordinates(pixels, steps, lattice=lattice, origin=origin, sphere=sphere)
    mean, variance, counts, kept = bin_pixels(pixels, places, edges)
    lengths = settings.get("lengths")
    if lengths is None:
        lengths = [*np.linalg.norm(steps @ busing_levy(lattice).T, axis=1), 1.0]
        lengths = [1.0] * 4 if sphere else lengths
    facts = {
        "steps": steps, "edges": edges, "lattice": lattice, "origin": origin,
        "lengths": lengths, "images": (mean, variance, counts), "pixels": kept,
    }  # fmt: skip
    version = settings.get("version", 4.0)
    keep, n_dims = settings.get("keep", True), sum(len(each) > 2 for each in edges)
    head = _text("horace") + struct.pack("<dII", version, keep, n_dims)
    body = _blocks if version >= 4 else _old
    path.write_bytes(head + body(len(head), settings, **facts))
    return path


class Structs(list):
    """Several structs of the same fields, which are written together."""


class Own(dict):
    """A struct that writes itself: a tag stands before it."""


def serialize(value):
    """Return the bytes of an object of version 4."""
    if isinstance(value, bytes):  # raw
        return value
    if isinstance(value, str):
        letters = value.encode()
        return struct.pack("<BBI", 1, 1, len(letters)) + letters
    if isinstance(value, bool):
        return struct.pack("<BBIB", 0, 1, 1, value)
    if isinstance(value, (dict, Structs)):
        return _serialize_structs(value)
    if isinstance(value, list):
        return struct.pack("<BBI", 23, 1, len(value)) + b"".join(map(serialize, value))
    if value is None:
        return bytes([3, 0])
    array = np.asarray(value, dtype="<f8")
    array = array if array.ndim else array[None]
    head = struct.pack(f"<BB{array.ndim}I", 3, array.ndim, *array.shape)
    return head + array.tobytes(order="F")


def _serialize_structs(value):
    structs = value if isinstance(value, Structs) else [value]
    names, n = list(structs[0]), len(structs)
    shape = [len(names), 1] if n == 1 else [len(names), 1, n]
    fields = b"".join(serialize(each[name]) for each in structs for name in names)
    return b"".join(
        [
            bytes([32]) if isinstance(value, Own) else b"",
            struct.pack("<BBII", 24, 1, n, len(names)),
            struct.pack(f"<{len(names)}I", *map(len, names)),
            "".join(names).encode(),
            struct.pack(f"<BB{len(shape)}I", 23, len(shape), *shape),
            fields,
        ]
    )


def _text(text):
    return struct.pack("<I", len(text)) + text.encode()


def _blocks(offset, settings, *, edges, images, pixels, **facts):
    shape = [len(each) - 1 for each in edges]
    dims = [n for n in shape if n > 1]
    dims += [1] * (2 - len(dims))
    data = struct.pack(f"<I{len(dims)}I", len(dims), *dims)
    data += b"".join(
        np.asarray(image, dtype=kind).tobytes()
        for image, kind in zip(images, ("<f8", "<f8", "<u8"), strict=True)
    )
    limits = np.array([[each[0], each[-1]] for each in edges])
    axes = {
        "serial_name": "line_axes", "version": 7.0, "title": settings.get("title", ""),
        "img_scales": np.array(facts["lengths"]), "img_range": limits.T,
        "nbins_all_dims": np.array(shape),
    } | settings.get("axes", {})  # fmt: skip
    projection = _projection(settings, **facts)
    meta = {"axes": axes, "proj": projection, "serial_name": "dnd_metadata"}
    blocks = {("data", "metadata"): meta, ("data", "nd_data"): data}
    if settings.get("keep", True):
        blocks = _with_runs(settings) | blocks
        listed = np.asarray(pixels, dtype="<f4").tobytes()
        blocks["pix", "data_wrap"] = struct.pack("<IQ", 9, len(pixels)) + listed
    settings.get("change", lambda blocks: None)(blocks)
    return _allocate(offset, blocks, settings.get("place", lambda name, *at: at))


def _projection(settings, *, steps, lattice, origin, lengths):
    name = settings.get("projection", "line_proj")
    fields = {
        "serial_name": name, "version": 7.0, "alatt": np.array(lattice[0]),
        "angdeg": np.array(lattice[1]), "offset": np.array(origin), "label": ["a"] * 4,
    }  # fmt: skip
    if name == "sphere_proj":
        return fields | {"type": settings.get("kind", "add")}
    if name == "ubmat_proj":
        return fields | {"u_to_rlu": steps.T}
    for axis, default in (("u", [1.0, 0, 0]), ("v", [0, 1.0, 0]), ("w", None)):
        vector = settings.get(axis, default)
        fields[axis] = None if vector is None else np.array(vector)
    fields["nonorthogonal"] = settings.get("oblique", False)
    return fields | {"type": settings.get("kind", "ppr")}


def _with_runs(settings):
    header = {"serial_name": "main_header_cl", "title": settings.get("title", "")}
    blocks = {("", "main_header"): header}
    for name, key, kind in (
        ("instruments", "instrument", "IX_inst"), ("samples", "sample", "IX_samp")
    ):  # fmt: skip
        inner = Own(serial_name=kind, source={"name": "x"}, name=settings.get(key, ""))
        unique = {"serial_name": "unique_objects_container", "unique_objects": [inner]}
        container = {"serial_name": "unique_references_container"}
        blocks["experiment_info", name] = container | {"unique_objects": unique}
    factor = 1.0 if settings.get("degrees") else np.pi / 180
    runs = []
    for each in settings.get("runs", [run()]):
        angles = ("psi", "omega", "dpsi", "gl", "gs")
        fields = {name: value for name, value in each.items() if name not in angles}
        turned = {name: each[name] * factor for name in angles}
        turned["angular_is_degree"] = bool(settings.get("degrees"))
        for name in ("u", "v"):
            fields[name] = np.array(fields[name])
        if settings.get("nested"):
            fields["goniometer"] = turned
        else:
            fields |= turned
        runs.append(fields)
    blocks["experiment_info", "expdata"] = {
        "serial_name": "IX_experiment", "array_dat": Structs(runs),
    }  # fmt: skip
    return blocks


_TYPES = {"nd_data": "dnd_data_block", "data_wrap": "pix_data_block"}


def _allocate(offset, blocks, place):
    """Return the table of blocks, and the blocks."""
    contents = {
        name: each if isinstance(each, bytes) else serialize(each)
        for name, each in blocks.items()
    }
    entries = [
        _text(_TYPES.get(name[1], "data_block")) + _text(name[0]) + _text(name[1])
        for name in contents
    ]
    size = 4 + sum(len(entry) + 16 for entry in entries)
    position, table = offset + 4 + size, struct.pack("<II", size, len(entries))
    for entry, (name, content) in zip(entries, contents.items(), strict=True):
        table += entry + struct.pack("<QQ", *place(name, position, len(content)))
        position += len(content)
    return table + b"".join(contents.values())


def _floats(*values):
    return b"".join(np.asarray(value, dtype="<f4").tobytes() for value in values)


def _labels(labels):
    width = max(map(len, labels))
    rows = [list(label.ljust(width)) for label in labels]
    letters = "".join(rows[row][column] for column in range(width) for row in range(4))
    return struct.pack("<II", 4, width) + letters.encode()


def _old(_, settings, *, steps, edges, lattice, origin, lengths, images, pixels):
    directions = np.eye(4)
    directions[:3, :3] = steps
    names = _text("a.sqw") + _text("c:\\data\\")
    title = _text(settings.get("title", ""))
    labels = settings.get("labels", [r"\zeta", r"\xi", r"\eta", "E"])
    parts = [names, title, _floats(*lattice, origin, directions, lengths)]
    parts.append(_labels(labels))
    long = [axis for axis in range(4) if len(edges[axis]) > 2]
    short = [axis for axis in range(4) if axis not in long]
    parts.append(struct.pack("<I", len(long)))
    parts.append(np.array([axis + 1 for axis in short], dtype="<i4").tobytes())
    parts.append(_floats(*(edges[axis] for axis in short)))
    parts.append(np.array([axis + 1 for axis in long], dtype="<i4").tobytes())
    for axis in long:
        parts += [struct.pack("<I", len(edges[axis])), _floats(edges[axis])]
    parts.append(np.arange(len(long), 0, -1, dtype="<i4").tobytes())
    parts += [_floats(*images[:2]), np.asarray(images[2], dtype="<i8").tobytes()]
    if not settings.get("keep", True):
        return b"".join(parts)
    runs = settings.get("runs", [run()])
    before = [names, title, struct.pack("<I", len(runs))]
    for each in runs:
        before += [_text(each["filename"]), _text("c:\\data\\")]
        before.append(struct.pack("<fi", each["efix"], int(each["emode"])))
        angles = [
            np.deg2rad(each[name]) for name in ("psi", "omega", "dpsi", "gl", "gs")
        ]
        before.append(_floats(*lattice, each["u"], each["v"], angles))
        before += [struct.pack("<I", len(each["en"])), _floats(each["en"], [0.0] * 24)]
        before.append(_labels(labels))
    before += [names, struct.pack("<I", 3), _floats([1.0] * 18)]
    after = [_floats([0.0] * 8), bytes(4), struct.pack("<Q", len(pixels))]
    return b"".join([*before, *parts, *after, _floats(pixels)])
