r"""The voxels of single-crystal spectra, and which of them an instrument sees.

A crystal turns about the vertical while a direct-geometry spectrometer records all its
detectors. With beam and vertical as axes, a rotation R, and the wavevectors of the
incoming and the scattered neutron, one orientation measures the surface

.. math:: f(Q, E) = |k_i - R Q|^2 - k_f^2 = 0, \qquad
          \frac{\hbar^2 k_f^2}{2m} = E_i - E,

where detectors catch :math:`k_f = k_i - R Q`.
"""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._caching import shared
from skphonon._validation import increasing_axis, parameter_rows
from skphonon._versioned import immutable, read_only
from skphonon.instrument._pixels import (
    Visible,
    WavevectorGrid,
    bin_edges,
    energy_axis,
    independent_vectors,
)
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M
from skphonon.physics.scattering import final_energy

__all__ = ["CrystalGrid"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_TINY = 1e-12  # 1/Angstrom^2: neutrons that stand still have no direction


class _Geometry(NamedTuple):
    """Vectors are in the frame of u, v and the vertical, (beam, horizontal, vertical).

    Rotations take them to the laboratory.
    """

    final: np.ndarray  # (n_energy,), k_f^2
    half: np.ndarray  # (n_energy,), half the bin of it
    vectors: np.ndarray  # (n_q, 3), Q
    steps: np.ndarray  # (3, 3), what the axes count, in rows
    widths: np.ndarray  # (n_q, 3), of a voxel along them
    turns: list  # rotations


@immutable
class CrystalGrid(WavevectorGrid):
    """Lay out single-crystal spectra: energy and a box of wavevectors.

    An image has energy in rows and wavevectors in columns, h-major (l runs fastest); a
    row is that image flattened, energy-major, with NaN where nothing was measured.

    With `psi`, the mask is what a direct-geometry instrument sees: all voxels that the
    surface of at least one orientation crosses where there are detectors, to first
    order in the size of a voxel.

    Parameters
    ----------
    energy : array-like of shape (n_energy,)
        Bin centres of the energy transfer in meV, increasing; positive is neutron
        energy loss.
    h, k, l : float or array-like of shape (n,)
        Bin centres along the three rows of `projection`, increasing. One number cuts a
        plane or a line; its bin is as wide, in 1/Angstrom, as the narrowest bin of the
        other axes of wavevectors.
    projection : array-like of shape (3, 3), default=None
        Wavevectors in r.l.u. that the three axes count, in rows; None: the reciprocal
        lattice vectors themselves.
    lattice : array-like of shape (3, 3), default=None
        Vectors a, b and c of the cell to which h, k and l refer, in rows, in Angstrom,
        Cartesian: the axes of the model that is simulated, or any others, as for
        :class:`PathGrid`. It may be a conventional cell. None: the cell of that model;
        coverage needs it.
    u, v : array-like of shape (3,), default=(1, 0, 0) and (0, 1, 0)
        Wavevectors in r.l.u. At psi = 0 u lies along the beam and v in the horizontal
        plane; u x v points up. Wavevectors of the neutron go from the source to the
        sample and on, Q = k_i - k_f.
    psi : float or array-like of shape (n_psi,), default=None
        Angles in degrees by which the crystal is turned about the vertical,
        anticlockwise seen from above. None: every voxel is seen.
    incident_energy : float, default=None
        Energy of the incoming neutron in meV; needed with `psi`.
    two_theta : tuple of float, default=(0.0, 180.0)
        Smallest and largest scattering angle of the detectors, in degrees, between
        k_f and the beam.
    elevation : tuple of float, default=(-90.0, 90.0)
        Lowest and highest angle of k_f with the horizontal plane, in degrees.
    mask : array-like of bool of shape (n_energy, n_q), default=None
        True where a voxel was measured. It takes the place of what follows from `psi`.

    Attributes
    ----------
    shape : tuple of int
        ``(n_energy, n_q)``.
    volume_shape : tuple of int
        ``(n_energy, n_h, n_k, n_l)``.
    wavevectors : ndarray of shape (n_q, 3)
        Centres of the voxels in r.l.u., in the order of the columns.
    n_pixels : int
        Number of columns of a row.

    See Also
    --------
    PathGrid : Any list of wavevectors.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import CrystalGrid
    >>> plane = CrystalGrid(
    ...     np.arange(5, 40, 5.0), np.linspace(-4, 4, 41), np.linspace(-4, 4, 41), 0.0,
    ...     lattice=5.658 * np.eye(3), psi=np.arange(0, 90, 1.0), incident_energy=60.0,
    ...     two_theta=(3, 130),
    ... )
    >>> plane.shape, plane.volume_shape
    ((7, 1681), (7, 41, 41, 1))
    >>> bool(plane.mask.all()), plane.coverage([0.0, 10.0]).shape
    (False, (2, 7, 1681))
    """

    h: float | Array
    k: float | Array
    l: float | Array  # noqa: E741
    _: KW_ONLY
    projection: Array | None = None
    lattice: Array | None = None
    u: Array = (1, 0, 0)  # type: ignore[assignment]
    v: Array = (0, 1, 0)  # type: ignore[assignment]
    psi: float | Array | None = None
    incident_energy: float | None = None
    two_theta: tuple[float, float] = (0.0, 180.0)
    elevation: tuple[float, float] = (-90.0, 90.0)
    mask: ArrayLike | None = Visible()  # type: ignore[assignment]

    def _settle_axes(self) -> None:
        kept: dict[str, Any] = {"energy": energy_axis(self.energy)}
        for name in "hkl":
            axis = getattr(self, name)
            if np.ndim(axis):
                kept[name] = read_only(increasing_axis(axis, name))
            elif not np.isfinite(axis):
                raise ValueError(f"{name} must be finite, got {axis}.")
        for name in ("projection", "lattice"):
            if getattr(self, name) is not None:
                kept[name] = read_only(independent_vectors(name, getattr(self, name)))
        for name in ("u", "v"):
            kept[name] = read_only(parameter_rows(getattr(self, name), list("hkl"))[0])
        if self.psi is not None and np.ndim(self.psi):
            kept["psi"] = read_only(self.psi)
        for name in ("two_theta", "elevation"):
            kept[name] = _pair(name, getattr(self, name))
        self._keep(**kept)

    @cached_property
    def volume_shape(self) -> tuple[int, ...]:
        """Number of energies and of bins along each axis of wavevectors."""
        return len(self.energy), *(len(axis) for axis in self._sides)

    @cached_property
    def wavevectors(self) -> Array:
        """Centres of the voxels, (n_q, 3) in r.l.u., in the order of the columns."""
        places = np.meshgrid(*self._sides, indexing="ij")
        return read_only(np.stack(places, axis=-1).reshape(-1, 3) @ self.directions())

    @cached_property
    def _sides(self) -> list[Array]:
        """Axes of wavevectors."""
        return [np.atleast_1d(axis).astype(float) for axis in (self.h, self.k, self.l)]

    def _columns(self) -> NDArray:
        return np.arange(math.prod(self.volume_shape[1:]))

    def volume_edges(self) -> tuple[Array, ...]:
        """Return the borders of the bins along all axes of a volume.

        Returns
        -------
        energy : ndarray of shape (n_energy + 1,)
            Borders in meV.
        h, k, l : ndarray of shape (n + 1,)
            Borders along each row of `projection`.

        Raises
        ------
        ValueError
            If none of `h`, `k` and `l` has two centres that tell the size of a voxel.
        """
        places = self._sides
        lengths = np.linalg.norm(self._cartesian(self.directions()), axis=1)
        known = [
            length * np.diff(axis).min()
            for axis, length in zip(places, lengths, strict=True)
            if len(axis) > 1
        ]
        if not known:
            raise ValueError(
                "One of h, k and l must have at least two bin centres to tell the size "
                "of a voxel, got one number each."
            )
        return self.edges(), *(
            bin_edges(axis)
            if len(axis) > 1
            else axis + np.array([-0.5, 0.5]) * min(known) / length
            for axis, length in zip(places, lengths, strict=True)
        )

    def directions(self) -> Array:
        """Return the wavevectors that the three axes count.

        Returns
        -------
        ndarray of shape (3, 3)
            The rows of `projection`, in r.l.u.
        """
        return np.eye(3) if self.projection is None else self.projection

    def to_volumes(self, X: ArrayLike) -> Array:
        """Turn rows into volumes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra, one a row.

        Returns
        -------
        ndarray of shape (n_samples, n_energy, n_h, n_k, n_l)
            The same numbers.

        Raises
        ------
        ValueError
            If the number of columns is not the number of voxels of this grid.
        """
        images = self.to_image(np.atleast_2d(X))
        return images.reshape(len(images), *self.volume_shape)

    def in_instrument(self, wavevectors: ArrayLike) -> Array:
        """Turn wavevectors into the axes of the instrument at ``psi = 0``.

        Parameters
        ----------
        wavevectors : array-like of shape (n, 3)
            In r.l.u.

        Returns
        -------
        ndarray of shape (n, 3)
            Parts along the beam, horizontal and vertical, in 1/Angstrom; in r.l.u.
            where no lattice is known.

        Raises
        ------
        ValueError
            If u and v are parallel or the lattice is none.
        """
        return self._cartesian(np.asarray(wavevectors, dtype=float)) @ self._frame().T

    def coverage(self, psi: float | ArrayLike | None = None) -> Mask:
        """Tell which voxels each orientation of the crystal sees.

        Parameters
        ----------
        psi : float or array-like of shape (n_psi,), default=None
            Angles in degrees; None takes those of the grid.

        Returns
        -------
        ndarray of bool of shape (n_psi, n_energy, n_q)
            True where a voxel is seen.

        Raises
        ------
        ValueError
            If there are no angles, incident energy or lattice, u and v are parallel, or
            ranges of angles are none.
        """
        return np.array(list(self._orientations(self.psi if psi is None else psi)))

    def horizontal_angles(self, psi: float | ArrayLike | None = None) -> Array:
        """Return the horizontal angle at which a detector sees each wavevector.

        Parameters
        ----------
        psi : float or array-like of shape (n_psi,), default=None
            Angles in degrees; None takes those of the grid.

        Returns
        -------
        ndarray of shape (n_psi, n_q)
            Angle in degrees of the horizontal part of k_f with the beam,
            anticlockwise seen from above. Every energy is at the same angle.

        Raises
        ------
        ValueError
            As from :meth:`coverage`.
        """
        geometry = self._geometry(self.psi if psi is None else psi)
        outgoing = (self._outgoing(geometry.vectors, turn) for turn in geometry.turns)
        return np.degrees([np.arctan2(k[:, 1], k[:, 0]) for k in outgoing])

    def _window(self) -> Mask:
        if self.psi is None and self.incident_energy is None:
            return super()._window()
        return shared(("window", self.content_key), self._seen)

    def _seen(self) -> Mask:
        """Voxels that any orientation sees."""
        seen = np.zeros(self.shape, dtype=bool)
        for each in self._orientations(self.psi):
            seen |= each
        return seen

    def _cartesian(self, wavevectors: Array) -> Array:
        """Wavevectors in 1/Angstrom, or as they are where no lattice is known."""
        if self.lattice is None:
            return wavevectors
        return wavevectors @ (2 * np.pi * np.linalg.inv(self.lattice).T)

    def _orientations(self, psi: float | ArrayLike | None) -> Iterator[Mask]:
        """Yield what is seen at each angle, (n_energy, n_q)."""
        final, half, vectors, steps, widths, turns = self._geometry(psi)
        limits = self._detectors()
        for turn in turns:

            def spread(slopes: Array, turn: Array = turn) -> Array:
                """Change over half a voxel of what has these slopes with R Q."""
                return (np.abs(slopes @ turn @ steps.T) * widths).sum(axis=1) / 2

            outgoing = self._outgoing(vectors, turn)
            squares = (outgoing**2).sum(axis=1)
            distance = np.abs(squares - final[:, None])
            seen = distance <= spread(2 * outgoing) + half[:, None]
            lengths = np.sqrt(np.maximum(squares, _TINY))[:, None]
            directions = outgoing / lengths
            for axis, (low, high) in limits.items():
                along = directions[:, axis, None]
                reach = spread((np.eye(3)[axis] - along * directions) / lengths)
                along = along[:, 0]
                seen &= (along >= low - reach) & (along <= high + reach)
            yield seen

    def _outgoing(self, vectors: Array, turn: Array) -> Array:
        """Return k_f = k_i - R Q of all wavevectors, (n_q, 3)."""
        outgoing = -vectors @ turn.T
        outgoing[:, 0] += np.sqrt(self.incident_energy / NEUTRON_HBAR2_OVER_2M)
        return outgoing

    def _geometry(self, psi: float | ArrayLike | None) -> _Geometry:
        """Return what the surfaces of all orientations are made of."""
        if psi is None or self.incident_energy is None or self.lattice is None:
            raise ValueError(
                "Coverage needs psi, incident_energy and lattice, got "
                f"psi={psi!r}, incident_energy={self.incident_energy!r}, "
                f"lattice={self.lattice!r}. Give all three, or neither psi nor "
                "incident_energy."
            )
        angles = np.deg2rad(np.atleast_1d(np.asarray(psi, dtype=float)))
        if angles.ndim != 1 or not angles.size or not np.isfinite(angles).all():
            raise ValueError(
                f"psi must be finite angles in degrees, at least one; got {psi!r}."
            )
        final = final_energy(self.energy, self.incident_energy)
        edges, *sides = self.volume_edges()
        squares = final / NEUTRON_HBAR2_OVER_2M
        half = np.diff(edges) / (2 * NEUTRON_HBAR2_OVER_2M)
        each = np.meshgrid(*(np.diff(side) for side in sides), indexing="ij")
        widths = np.stack(each, axis=-1).reshape(-1, 3)
        vectors = self.in_instrument(self.wavevectors)
        steps = self.in_instrument(self.directions())
        turns = [_about_third_axis(angle) for angle in angles]
        return _Geometry(squares, half, vectors, steps, widths, turns)

    def _frame(self) -> Array:
        """Axes of the instrument at psi = 0, in rows: beam, horizontal, vertical."""
        u, v = self._cartesian(self.u), self._cartesian(self.v)
        up = np.cross(u, v)
        if np.linalg.norm(up) <= 1e-6 * np.linalg.norm(u) * np.linalg.norm(v):
            raise ValueError(
                "u and v must be two directions that are not parallel, got "
                f"u={self.u!r}, v={self.v!r}."
            )
        axes = np.array([u, np.cross(up, u), up])
        return axes / np.linalg.norm(axes, axis=1, keepdims=True)

    def _detectors(self) -> dict[int, Array]:
        """Return the range of k_f / |k_f| along the beam and along the vertical."""
        ranges = {}
        for name, least, most in (("two_theta", 0, 180), ("elevation", -90, 90)):
            low, high = getattr(self, name)
            if not least <= low < high <= most:
                raise ValueError(
                    f"{name} must hold two increasing angles between {least} and "
                    f"{most} degrees, got {getattr(self, name)!r}."
                )
            ranges[name] = np.deg2rad([low, high])
        return {
            0: np.cos(ranges["two_theta"])[::-1],
            2: np.sin(ranges["elevation"]),
        }


def _about_third_axis(angle: float) -> Array:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _pair(name: str, angles: Any) -> tuple[float, float]:
    if np.shape(angles) != (2,):
        raise ValueError(
            f"{name} must be two angles in degrees, the smallest and the largest, got "
            f"{angles!r}."
        )
    return tuple(angles)
