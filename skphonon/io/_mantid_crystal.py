"""Directions of the axes of a single-crystal histogram of Mantid, and its lattice.

The matrix ``experiment0/sample/oriented_lattice/orientation_matrix`` is UB without
2 pi, Q = 2 pi UB (h, k, l), in a frame at rest in the crystal with z along the beam and
y upwards when the goniometer is at zero; columns of the log ``W_MATRIX`` are the
directions that dimensions count, in r.l.u.
"""

import re

import numpy as np

from skphonon.io._hdf5 import find, place, read_array

__all__ = ["axes_in_crystal", "orientation", "orientation_matrix"]

_LATTICE = "experiment0/sample/oriented_lattice/orientation_matrix"
_DIRECTIONS = "experiment0/logs/W_MATRIX/value"
_TERM = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)?\*?([a-z]\w*)?", re.IGNORECASE)
# a term of names without commas, such as "[-H0.5H0]": a letter with its number, or 0
_COMPACT = re.compile(r"[+-]?(?:\d+\.\d+|\.\d+|[1-9])?\*?[HKL]|0", re.IGNORECASE)
_ROUNDING = 5e-3  # of numbers in names, which have three digits


def axes_in_crystal(entry, axes):
    """Return projection, lattice and orientation of a grid, and the first's origin."""
    ub = orientation_matrix(entry, _LATTICE)
    if axes[0].kind == "QSample":
        projection = _cartesian(entry, axes, ub)
        return {"projection": projection, **orientation(ub)}, None
    projection, origin = _projection(entry, axes)
    placed = {} if ub is None else orientation(ub)
    return {"projection": projection, **placed}, origin


def orientation_matrix(entry, path):
    """Return UB without 2 pi, None without one."""
    if find(entry, path) is None:
        return None
    ub = read_array(entry, path, (3, 3))
    if not 1e-12 < abs(np.linalg.det(ub)) < np.inf:
        raise ValueError(
            f"{place(entry, path)} must be three independent vectors, got "
            f"{ub.tolist()}. Run SetUB before the workspace is saved."
        )
    return ub


def orientation(ub):
    """Return lattice, u and v of a grid, with z along the beam and y upwards."""
    to_hkl = np.linalg.inv(ub)
    # columns of UB are reciprocal vectors: their metric is the inverse of the lattice's
    lattice = np.linalg.cholesky(np.linalg.inv(ub.T @ ub))
    along_beam, horizontal = to_hkl[:, 2], to_hkl[:, 0]
    return {
        "lattice": lattice,
        "u": along_beam / abs(along_beam).max(),
        "v": horizontal / abs(horizontal).max(),
    }


def _cartesian(entry, axes, ub):
    """Return the r.l.u. in 1 1/Angstrom along the axes of the sample's frame."""
    if ub is None:
        raise ValueError(
            f"{place(entry, _LATTICE)} must be there to turn Q_sample into r.l.u., "
            "found none. Run SetUB before SaveMD, or bin in the frame HKL."
        )
    components = ["xyz".find(axis.name[-1:].lower()) for axis in axes]
    if sorted(components) != [0, 1, 2]:
        raise ValueError(
            f"{place(entry, 'data')} must have axes along x, y and z of the sample's "
            f"frame, got {', '.join(axis.name for axis in axes)}. Bin along these, or "
            "in the frame HKL."
        )
    return np.linalg.inv(2 * np.pi * ub).T[components]


def _projection(entry, axes):
    """Return the wavevectors in r.l.u. that axes count, in rows, and their origin.

    Names win, as axes may have been permuted or rebinned since W_MATRIX was written,
    and BinMD leaves it at unity; where it agrees with them it has more digits.
    """
    named = [_direction(axis.name) for axis in axes]
    exact = np.empty((0, 3))
    if find(entry, _DIRECTIONS) is not None:
        exact = read_array(entry, _DIRECTIONS, (9,)).reshape(3, 3).T
    found = [_closest(exact, vector) for vector in named]
    agree = len(exact) > 0 and all(
        vector is None or near is not None
        for vector, near in zip(named, found, strict=True)
    )
    for number, axis in enumerate(axes):
        if named[number] is None and not agree:
            other = " that agrees with the other names" if len(exact) else ""
            raise ValueError(
                f"{place(entry, 'data/' + axis.dataset)} must tell its direction by "
                f"its long_name, such as '[H,H,0]', or the log W_MATRIX{other}; got "
                f"{axis.name!r}."
            )
    vectors = [
        exact[number] if vector is None else vector if near is None else near
        for number, (vector, near) in enumerate(zip(named, found, strict=True))
    ]
    return np.array(vectors), "W_MATRIX" if agree else "names"


def _closest(exact, vector):
    """Return the one of exact directions that a name means, None without one."""
    if vector is None or not len(exact):
        return None
    off = abs(exact - vector).max(axis=1)
    return exact[off.argmin()] if off.min() <= _ROUNDING * abs(vector).max() else None


def _direction(name):
    """Return the wavevector that a name such as "[H,-H,0]" or "K" means, or None.

    Without commas, components stand apart, "[H -H 0]", or not, "[H-H0]".
    """
    if name.upper() in ("H", "K", "L"):
        return np.eye(3)["HKL".index(name.upper())]
    inner = name.strip("[]() ").replace("'", "")
    if "," in inner:
        terms = inner.replace(" ", "").split(",")
    elif len(inner.split()) == 3:
        terms = inner.split()
    else:
        terms = _COMPACT.findall(inner)
        if "".join(terms) != inner.replace(" ", ""):
            return None
    terms = [term for term in terms if term]
    matches = [match for term in terms if (match := _TERM.fullmatch(term))]
    if not len(terms) == len(matches) == 3:
        return None
    vector = np.zeros(3)
    for number, match in enumerate(matches):
        sign, size, symbol = match.groups()
        value = float(sign + (size or "1"))
        if symbol:
            vector[number] = value
        elif value != 0:
            return None  # an offset, not a direction
    return vector if vector.any() else None
