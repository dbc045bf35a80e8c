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


def write_npz(path, grid, image, *, compressed=False, **more):
    """Write arrays under names, of which a measurement is made."""
    energy, q = grid.axes()
    save = np.savez_compressed if compressed else np.savez
    save(path, q=q, energy=energy, intensity=image, **more)
    return path


SPICE = {
    "scan": "12",
    "command": "scan h 1 k 0 l 0 e 0 10 1 preset mcu 1",
    "scan_title": "transverse phonon",
    "samplename": "Ge",
    "latticeconstants": "5.658,5.658,5.658,90.0,90.0,90.0",
    "ubmatrix": "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    "preset_channel": "mcu",
    "def_x": "e",
    "def_y": "detector",
}


def write_spice(path, points, counts, *, monitor=1000.0, time=60.0, incident=None,
                final=14.7, counter="detector", columns=None, **header):  # fmt: skip
    """Write a scan as SPICE does; points are h, k, l and E in rows."""
    points = np.asarray(points, dtype=float)
    energy = points[:, 3]
    named = {name: points[:, place] for place, name in enumerate("hkle")}
    named |= {"time": time, counter: counts, "monitor": monitor, **(columns or {})}
    named["ei"] = final + energy if incident is None else incident
    named["ef"] = final if incident is None else incident - energy
    named = {name: np.broadcast_to(v, len(points)) for name, v in named.items()}
    lines = [f"# {key} = {value}" for key, value in (SPICE | header).items()]
    lines += ["# col_headers = ", "#   Pt.  " + "  ".join(named)]
    for number, row in enumerate(zip(*named.values(), strict=True), 1):
        lines.append("  ".join([f"{number:5d}", *(f"{value:10.4f}" for value in row)]))
    lines += ["# Sum of Counts = 0", "# 9:32:25 PM  2/24/2025   scan completed."]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_ill(path, columns, *, position=(2.0, 0.0, 0.0, 3.0), unit="MEV", fixed=2.662,
              side=2, cell=(5.43, 5.43, 5.43, 90.0, 90.0, 90.0), more=()):  # fmt: skip
    """Write a scan as programs of the ILL do; columns by their names."""
    place = ", ".join(
        f"{n}={v:9.4f}" for n, v in zip(("QH", "QK", "QL", "EN"), position, strict=True)
    )
    sizes = ", ".join(
        f"{n}={v:10.4f}"
        for n, v in zip(("AS", "BS", "CS", "AA", "BB", "CC"), cell, strict=True)
    )
    n_points = len(next(iter(columns.values())))
    lines = [
        "R" * 80, "   33402    1    0", "A" * 80, "      80       0",
        "IN20", "V" * 80, "INSTR: IN20", "EXPNO: 4-01-999", "USER_: somebody",
        "DATE_: 12-May-2009 15:12:12", "TITLE: LA [100]", "COMND: sc qh 2 0 0 3",
        f"POSQE: {place}, UN={unit}", "STEPS: EN=    0.1000",
        f"PARAM: DM=   3.35500, DA=   3.35500, KFIX={fixed:9.5f}",
        f"PARAM: SM=  1, SS= -1, SA=  1, FX= {side:3d}", f"PARAM: {sizes}",
        "VARIA: A1=   18.0, A2=   36.0", "ZEROS: A1=    0.0",
        "FORMT: (I4,1X,4(F9.4,1X),F8.0)", "DATA_:",
        "  PNT  " + "  ".join(f"{name:>9s}" for name in columns),
    ]  # fmt: skip
    for point in range(n_points):
        row = (f"{values[point]:9.4f}" for values in columns.values())
        lines.append("  ".join([f"{point + 1:5d}", *row]))
    path.write_text("\n".join([*lines, *more]) + "\n")
    return path
