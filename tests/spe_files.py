"""Files in text of old spectrometer programs: SPE, .phx, .par and DAVE's groups."""

import numpy as np


def _cells(values, spaced=False):
    """Lines of eight numbers, ten characters wide, which may touch."""
    pattern = "{:.6g} " if spaced else "{:10.3E}"
    cells = [
        value if isinstance(value, str) else pattern.format(value) for value in values
    ]
    rows = [cells[start : start + 8] for start in range(0, len(cells), 8)]
    return "".join("".join(row) + "\n" for row in rows)


def write_spe(path, data, errors, energy, phi=None, *, heading="Phi", spaced=False):
    """Write an SPE file: `data` of shape (n_spectra, n_energy), `energy` in borders.

    Texts stand in the file as they are; `spaced` writes free columns.
    """
    n_spectra, n_energy = len(data), len(energy) - 1
    phi = np.arange(n_spectra + 1) + 0.5 if phi is None else phi
    text = f"{n_spectra:8d}{n_energy:8d}\n"
    text += f"### {heading} Grid\n" + _cells(phi, spaced)
    text += "### Energy Grid\n" + _cells(energy, spaced)
    for number, pair in enumerate(zip(data, errors, strict=True)):
        for name, row in zip(
            (f"S({heading},w) {number + 1}", "Errors"), pair, strict=True
        ):
            text += f"### {name}\n" + _cells(row, spaced)
    path.write_text(text)
    return path


def write_phx(path, polar, azimuthal, width, height):
    """Write a .phx table: seven columns, angles in degrees."""
    rows = zip(polar, azimuthal, width, height, strict=True)
    lines = [f"{len(polar):8d}"] + [
        "".join(f"{value:10.4f}" for value in (10.0, 0.0, *row)) + f"{number + 1:10d}"
        for number, row in enumerate(rows)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_par(path, distance, polar, azimuthal, width, height, *, numbered=False):
    """Write a .par table: five columns or six, sizes in m."""
    rows = zip(distance, polar, azimuthal, width, height, strict=True)
    lines = [f"{len(polar)}"] + [
        "".join(f"{value:10.4f}" for value in row)
        + (f"{number + 1:10d}" if numbered else "")
        for number, row in enumerate(rows)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_grp(
    path,
    data,
    errors,
    energy,
    groups,
    *,
    energy_label="energy transfer (meV)",
    group_label="Q transfer (1/Angstroms)",
    comments=(),
):
    """Write DAVE's groups: `data` of shape (n_groups, n_energy)."""
    text = f"# Number of energy transfer values\n{len(energy)}\n"
    text += f"# Number of Q transfer values\n{len(groups)}\n"
    for label, axis in ((energy_label, energy), (group_label, groups)):
        text += f"# {label} Values:\n" + "".join(f"{float(value)}\n" for value in axis)
    for number, pair in enumerate(zip(data, errors, strict=True)):
        text += f"# Group {number}\n"
        text += "".join(f"{float(a)} {float(b)}\n" for a, b in zip(*pair, strict=True))
    text += "".join(f"#{line}\n" for line in comments)
    path.write_text(text)
    return path
