"""Paths through the Brillouin zone, and where measured points lie on them."""

import warnings

import numpy as np
import pandas as pd

__all__ = ["high_symmetry_path", "placed_on_path", "sampled_path"]

_ON_LINE = 0.01  # 1/Angstrom: coordinates such as 0.333 are rounded
_NEAR_CENTRE = 1e-4  # of a step: off the point where the limit depends on direction

# Points by their coordinates in the reciprocal lattice of the conventional cell: the
# labels of Setyawan and Curtarolo, doi:10.1016/j.commatsci.2010.05.010.
_THIRD = 1 / 3
_PATHS = {
    "cubic F": [
        {"Γ": (0, 0, 0), "X": (1, 0, 0)},
        {"X": (1, 1, 0), "K": (0.75, 0.75, 0), "Γ": (0, 0, 0), "L": (0.5, 0.5, 0.5)},
    ],
    "cubic I": [
        {"Γ": (0, 0, 0), "H": (1, 0, 0), "P": (0.5, 0.5, 0.5)},
        {"P": (0.5, 0.5, 0.5), "Γ": (0, 0, 0), "N": (0.5, 0.5, 0)},
    ],
    "cubic P": [
        {"Γ": (0, 0, 0), "X": (0.5, 0, 0), "M": (0.5, 0.5, 0)},
        {"M": (0.5, 0.5, 0), "Γ": (0, 0, 0), "R": (0.5, 0.5, 0.5)},
    ],
    "hexagonal P": [
        {"Γ": (0, 0, 0), "M": (0.5, 0, 0), "K": (_THIRD, _THIRD, 0)},
        {"K": (_THIRD, _THIRD, 0), "Γ": (0, 0, 0), "A": (0, 0, 0.5)},
    ],
    "tetragonal P": [
        {"Γ": (0, 0, 0), "X": (0.5, 0, 0), "M": (0.5, 0.5, 0)},
        {"M": (0.5, 0.5, 0), "Γ": (0, 0, 0), "Z": (0, 0, 0.5)},
    ],
    "orthorhombic P": [
        {"Γ": (0, 0, 0), "X": (0.5, 0, 0), "S": (0.5, 0.5, 0), "Y": (0, 0.5, 0)},
        {"Y": (0, 0.5, 0), "Γ": (0, 0, 0), "Z": (0, 0, 0.5)},
    ],
}
_LAST_NUMBER = {
    "triclinic": 2,
    "monoclinic": 15,
    "orthorhombic": 74,
    "tetragonal": 142,
    "hexagonal": 194,
    "cubic": 230,
}


def high_symmetry_path(model):
    """Return the usual path of dispersion curves through the Brillouin zone.

    Parameters
    ----------
    model : ForceConstantModel
        A cubic or primitive hexagonal, tetragonal or orthorhombic crystal, in any cell
        and orientation.

    Returns
    -------
    list of list of tuple
        Lines, each of points with a label and coordinates of shape (3,) in units of the
        reciprocal lattice of the model. Between lines the path may jump.

    Raises
    ------
    ValueError
        If the crystal has another lattice.

    References
    ----------
    .. [1] W. Setyawan and S. Curtarolo,
       https://doi.org/10.1016/j.commatsci.2010.05.010

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_model
    >>> from skphonon.inspection import high_symmetry_path
    >>> path = high_symmetry_path(load_aluminium_model())
    >>> [[label for label, _ in line] for line in path]
    [['Γ', 'X'], ['X', 'K', 'Γ', 'L']]
    >>> path[0][1][1]  # X, in the reciprocal lattice of the primitive cell
    array([0. , 0.5, 0.5])
    """
    from phonopy.structure.symmetry import Symmetry

    group = Symmetry(model.cell).dataset
    system = next(s for s, last in _LAST_NUMBER.items() if group.number <= last)
    kind = f"{system} {group.international[0]}"
    if kind not in _PATHS:
        raise ValueError(
            f"There is a usual path for the lattices {', '.join(_PATHS)}; this one is "
            f"{kind} (space group {group.international}). Give path, lists of labels "
            'and points: [[("Γ", [0, 0, 0]), ("A", [0, 0, 0.5])]].'
        )
    to_model = group.transformation_matrix
    return [
        [(label, np.array(point) @ to_model) for label, point in line.items()]
        for line in _PATHS[kind]
    ]


def sampled_path(model, path, n_points):
    """Lay points along a path.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    path : sequence of sequence of (str, array-like of shape (3,))
        Lines of labelled points, in units of the reciprocal lattice.
    n_points : int
        Points from one labelled point to the next, both included.

    Returns
    -------
    points : DataFrame
        One row a point, with the columns `line` and `step` (numbers), `distance` along
        the path (1/Angstrom), and `q1`, `q2`, `q3`.
    ticks : DataFrame
        Columns `label` and `distance`, one row a labelled point.

    Raises
    ------
    ValueError
        If a line has fewer than two points, or a step fewer than two.
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
            length = np.linalg.norm((end - start) @ model.reciprocal_lattice())
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
    """Find where a path passes measured wavevectors or ones that symmetry relates.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    points : DataFrame
        From :func:`sampled_path`.
    measured : DataFrame
        Columns `q1`, `q2`, `q3`, in units of the reciprocal lattice, and any others.

    Returns
    -------
    DataFrame
        The rows of `measured` with their `distance`; a row comes once for each place,
        and with a warning not at all if there is none.
    """
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
        warnings.warn(
            f"{lost} of {len(q)} measured points are not on the path and are left out.",
            stacklevel=3,
        )
    numbers = [number for number, _ in found]
    return measured.iloc[numbers].assign(distance=[x for _, x in found])


def _apart(values):
    """Return values without repetitions."""
    values = np.sort(values)
    return values[np.diff(values, prepend=-np.inf) > _ON_LINE]
