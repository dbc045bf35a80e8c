r"""A cut of Horace, whatever the version of its file, and the directions of its axes.

Coordinates count steps from an origin, :math:`(h, k, l) = (h, k, l)_0 + \sum_i c_i u_i`
and :math:`E = E_0 + c_4`. The vectors :math:`u_i` of the steps follow from the vectors
u, v and w of a projection. Unless they may be oblique, the first is along u, the second
in the plane of u and v, and the third along u x v. In the frame of the pixels x is
along a* and y in the plane of a* and b*.
"""

from typing import Any, NamedTuple

import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument.measurement import MeasurementWarning

__all__ = [
    "N_COLUMNS",
    "PIXEL",
    "POWDER_LABEL",
    "Cut",
    "lattice_vectors",
    "pixels_to_hkl",
    "projection_steps",
    "without_rounding",
]

_COLUMNS = (
    "u1", "u2", "u3", "energy", "irun", "idet", "ien", "signal", "variance",
)  # fmt: skip
N_COLUMNS = len(_COLUMNS)
PIXEL = np.dtype([(name, "<f4") for name in _COLUMNS])
POWDER_LABEL = "|q|"  # of the first axis, in small letters

_OTHER_LENGTH = 0.01  # relative: files keep single precision
_ROUNDING = 1e-7  # of a step, below which a part of it is none


class Cut(NamedTuple):
    """Content of a file: images, axes and what else there is."""

    sphere: bool  # axes are |Q|, two angles and energy, else three of Q and energy
    whole: bool  # directions of Q are all there, as far as a sphere has limits
    edges: list[np.ndarray]  # borders along four axes, in steps
    steps: np.ndarray  # (3, 3), in r.l.u., in rows
    lengths: np.ndarray  # (4,), of steps in 1/Angstrom and meV
    origin: np.ndarray  # (4,), in r.l.u. and meV
    lattice: tuple[np.ndarray, ...]  # lengths in Angstrom, angles in degrees
    signal: np.ndarray  # four dimensions, as `edges`; all three of this shape
    variance: np.ndarray
    counts: np.ndarray
    details: dict[str, Any]  # by the names that a measurement has for them
    runs: list[dict]
    pixels: tuple[int, int] | None  # place of the list in the file, and its length


def lattice_vectors(path, lengths, angles):
    """Return a, b and c in rows: a along x, b in the plane of x and y."""
    cosines = np.cos(np.deg2rad(angles))
    metric = np.ones((3, 3))
    metric[[1, 0, 0], [2, 2, 1]] = metric[[2, 2, 1], [1, 0, 0]] = cosines
    sound = ((lengths > 1e-3) & (lengths < 1e6)).all()
    sound &= ((angles > 0) & (angles < 180)).all()
    if not sound or np.linalg.eigvalsh(metric)[0] < 1e-6:
        raise ValueError(
            f"{path} must hold a lattice, got lengths {np.asarray(lengths).tolist()} "
            f"Angstrom and angles {np.asarray(angles).tolist()} degrees. Set it in "
            "Horace."
        )
    return without_rounding(np.linalg.cholesky(metric * np.outer(lengths, lengths)))


def pixels_to_hkl(lattice):
    """Return the matrix by which rows of u1, u2, u3 become h, k and l."""
    metric = np.linalg.inv(lattice @ lattice.T)
    return np.linalg.inv(2 * np.pi * np.linalg.cholesky(metric))


def projection_steps(path, vectors, lattice, *, oblique, kind, lengths):
    """Return the steps of axes in r.l.u., in rows.

    `vectors` are u, v and w, or None for the last, `kind` three letters for their
    lengths, and `lengths` these in 1/Angstrom as the file has them.
    """
    u, v, w = vectors
    reciprocal = 2 * np.pi * np.linalg.inv(lattice).T
    third = np.cross(u @ reciprocal, v @ reciprocal)
    third = third @ np.linalg.inv(reciprocal)
    if w is None:
        w = third
    given = np.array([u, v, w]) @ reciprocal
    volume = np.linalg.det(given)
    if not abs(volume) > 1e-6 * np.linalg.norm(given, axis=1).prod():
        raise ValueError(
            f"{path} must have a projection of independent vectors, got u={u.tolist()}"
            f", v={v.tolist()}, w={w.tolist()}. Cut again with other ones."
        )
    if volume < 0 and not oblique:
        warn_user(
            f"The third axis of {path} is taken along u x v, and w is on the other "
            "side. Check the signs along it, or cut again with u, v and w of a "
            "right-handed set.",
            MeasurementWarning,
        )
    axes = given if oblique else _orthogonal(given)
    directions = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    in_rlu = directions @ np.linalg.inv(reciprocal)
    _check_lengths(path, kind, lengths, in_rlu, abs((given * directions).sum(axis=1)))
    return without_rounding(in_rlu * np.reshape(lengths, (3, 1)))


def without_rounding(steps):
    """Return vectors without parts that are zero but for rounding."""
    largest = abs(steps).max(axis=1, keepdims=True)
    return np.where(abs(steps) > _ROUNDING * largest, steps, 0.0)


def _orthogonal(vectors):
    u, v = vectors[:2]
    up = np.cross(u, v)
    return np.array([u, np.cross(up, u), up])


def _check_lengths(path, kind, lengths, in_rlu, along):
    """Warn where steps have another length than the letters of a projection say."""
    for axis, letter in enumerate(kind[:3]):
        expected = {
            "a": 1.0,
            "r": 1 / abs(in_rlu[axis]).max(),
            "p": along[axis],
        }.get(letter)
        if expected and abs(lengths[axis] / expected - 1) > _OTHER_LENGTH:
            warn_user(
                f"Axis {axis + 1} of {path} has steps of {lengths[axis]:.4g} "
                f"1/Angstrom, and by its projection ({kind!r}) it should be "
                f"{expected:.4g}. The former is used: check the axis.",
                MeasurementWarning,
            )
            return
