"""Paths through the Brillouin zone, and the places of measured points on them."""

import warnings

import numpy as np
import pandas as pd
from seekpath import SupercellWarning, get_path_orig_cell
from seekpath.hpkot import EdgeCaseWarning

from skphonon._warnings import warn_user

__all__ = ["high_symmetry_path", "placed_on_path", "sampled_path"]

_ON_LINE = 0.01  # 1/Angstrom: coordinates such as 0.333 are rounded
_PLACES = 10  # decimals of coordinates: less is rounding
_MEASURED = "q1", "q2", "q3", "energy"
_NEAR_CENTRE = 1e-4  # of a step: off the point where the limit depends on direction

_GREEK = {"GAMMA": "Γ", "DELTA": "Δ", "LAMBDA": "Λ", "SIGMA": "Σ"}
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def high_symmetry_path(model):
    """Return the standard path of dispersion curves through the Brillouin zone.

    Points and path are those of Hinuma and others [1]_, found by seekpath, for every
    lattice. Energies at q and -q are equal, so one of them is on the path.

    Parameters
    ----------
    model : ForceConstantModel
        A crystal in any cell and orientation. A cell that is not primitive gets the
        path of the primitive one.

    Returns
    -------
    list of list of tuple
        Lines, each of points with a label and coordinates of shape (3,) in units of the
        reciprocal lattice of the model. The path jumps from the end of one line to the
        start of the next.

    Raises
    ------
    TypeError
        If the model is something else.

    References
    ----------
    .. [1] Y. Hinuma, G. Pizzi, Y. Kumagai, F. Oba and I. Tanaka,
       :doi:`10.1016/j.commatsci.2016.10.015`

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_model
    >>> from skphonon.inspection import high_symmetry_path
    >>> path = high_symmetry_path(load_aluminium_model())
    >>> [[label for label, _ in line] for line in path]
    [['Γ', 'X', 'U'], ['K', 'Γ', 'L', 'W', 'X']]
    >>> path[0][1][1]  # X, in the reciprocal lattice of the primitive cell
    array([0.5, 0. , 0.5])
    """
    if not hasattr(model, "cell"):
        raise TypeError(
            f"model must be a ForceConstantModel, got {type(model).__name__}"
            + hasattr(model, "model") * ", which has one: pass its attribute model"
            + "."
        )
    cell = model.cell
    structure = cell.cell, cell.scaled_positions, cell.numbers
    with warnings.catch_warnings():
        # Between two shapes of the zone the points of both are right; those of the
        # primitive cell are wanted of a supercell.
        warnings.simplefilter("ignore", EdgeCaseWarning)
        warnings.simplefilter("ignore", SupercellWarning)
        found = get_path_orig_cell(structure)
    lines: list[list[str]] = []
    for start, end in found["path"]:
        if not lines or lines[-1][-1] != start:
            lines.append([start])
        lines[-1].append(end)
    points = found["point_coords"]
    return [
        [(_label(name), np.round(points[name], _PLACES) + 0.0) for name in line]
        for line in lines
    ]


def _label(name):
    letter, _, number = name.partition("_")
    return _GREEK.get(letter, letter) + number.translate(_SUBSCRIPTS)


def sampled_path(model, path, n_points):
    """Lay `n_points` from each labelled point to the next, both included.

    Returns tables of the points (`line` and `step`, `distance` along the path in
    1/Angstrom, `q1`, `q2`, `q3`) and of the `label` and `distance` of the ticks.
    """
    if n_points < 2:
        raise ValueError(f"n_points must be at least 2, got {n_points}.")
    rows, ticks, distance, n_steps = [], [], 0.0, 0
    fractions = np.linspace(0, 1, n_points)
    if model.born_charges is not None:
        fractions[[0, -1]] += [_NEAR_CENTRE, -_NEAR_CENTRE]
    for number, line in enumerate(path):
        if len(line) < 2 or any(len(p) != 2 or np.shape(p[1]) != (3,) for p in line):
            raise ValueError(
                "Each line of path must hold two or more points (label, (q1, q2, q3)), "
                f"got {line!r}."
            )
        labels, corners = [p[0] for p in line], np.array([p[1] for p in line], float)
        ticks.append((labels[0], distance))
        for label, start, end in zip(labels[1:], corners, corners[1:], strict=False):
            length = float(np.linalg.norm((end - start) @ model.reciprocal_lattice()))
            q = start + fractions[:, None] * (end - start)
            along = distance + fractions * length
            rows += [(number, n_steps, x, *p) for x, p in zip(along, q, strict=True)]
            distance, n_steps = distance + length, n_steps + 1
            ticks.append((label, distance))
    columns = ["line", "step", "distance", "q1", "q2", "q3"]
    return (
        pd.DataFrame(rows, columns=columns),
        pd.DataFrame(ticks, columns=["label", "distance"]),
    )


def placed_on_path(model, points, measured):
    """Return measured points with their `distance`, a row for each place on the path.

    A path passes a measured wavevector also where symmetry relates it to a point. Rows
    without a place are left out with a warning.
    """
    _check_measured(measured)
    reciprocal = model.reciprocal_lattice()
    q = measured[["q1", "q2", "q3"]].to_numpy(dtype=float)
    cells = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    images = ((q - np.rint(q))[:, None] + cells) @ reciprocal
    images = np.einsum("gab,nlb->ngla", model.point_group(), images)
    found = []
    for _, step in points.groupby("step"):
        corners = step[["q1", "q2", "q3"]].to_numpy()[[0, -1]] @ reciprocal
        along = np.diff(corners, axis=0)[0]
        fraction = np.clip((images - corners[0]) @ along / (along @ along), 0, 1)
        away = images - corners[0] - fraction[..., None] * along
        near = np.linalg.norm(away, axis=-1) < _ON_LINE
        ends = step["distance"].to_numpy()[[0, -1]]
        distance = ends[0] + fraction * (ends[1] - ends[0])
        for number in range(len(q)):
            found += [(number, x) for x in _apart(distance[number][near[number]])]
    lost = len(q) - len({number for number, _ in found})
    if lost:
        warn_user(
            f"{lost} of {len(q)} measured points are not on the path and are left out.",
            UserWarning,
        )
    numbers = [number for number, _ in found]
    return measured.iloc[numbers].assign(distance=[x for _, x in found])


def _check_measured(measured):
    wanted = f"a DataFrame with the columns {', '.join(_MEASURED)}, and std if known"
    if not isinstance(measured, pd.DataFrame):
        raise ValueError(f"measured must be {wanted}; got a {type(measured).__name__}.")
    missing = [name for name in _MEASURED if name not in measured]
    if missing:
        raise ValueError(
            f"measured must be {wanted}; got {', '.join(map(str, measured.columns))} "
            f"without {', '.join(missing)}."
        )


def _apart(values):
    """Return values without repetitions."""
    values = np.sort(values)
    return values[np.diff(values, prepend=-np.inf) > _ON_LINE]
