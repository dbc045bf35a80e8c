"""The pixels of powder spectra over energy and momentum transfer, and of paths."""

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._validation import (
    angle_pair,
    increasing_axis,
    positive_number,
    wavevector_rows,
)
from skphonon._versioned import immutable, read_only
from skphonon._warnings import warn_user
from skphonon.instrument._advice import MeasurementWarning
from skphonon.instrument._pixels import (
    PowderGrid,
    Visible,
    WavevectorGrid,
    energy_axis,
    independent_vectors,
)
from skphonon.physics.scattering import final_energy, kinematic_mask

__all__ = ["PathGrid", "SpectrumGrid", "energy_edges", "pixel_coordinates"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LARGE_Q = 20.0  # 1/Angstrom: beyond the reach of neutrons of less energy than that


@immutable
class SpectrumGrid(PowderGrid):
    """Lay out a powder spectrum: its two axes and what the instrument can see.

    An image has energy in rows and momentum transfer in columns; a row is that image
    flattened, energy-major, with NaN where nothing was measured.

    Parameters
    ----------
    energy : array-like of shape (n_energy,)
        Bin centres of the energy transfer in meV, increasing; positive is neutron
        energy loss.
    q : array-like of shape (n_q,)
        Bin centres of the momentum transfer in 1/Angstrom, increasing, not negative.
    incident_energy : float, default=None
        Energy of the incoming neutron in meV. None stands for an instrument that sees
        every pixel.
    two_theta : tuple of float, default=(0.0, 180.0)
        Smallest and largest scattering angle of the detectors, in degrees.
    mask : array-like of bool of shape (n_energy, n_q), default=None
        True where a pixel was measured. It takes the place of the window computed from
        `incident_energy` and `two_theta`.

    Attributes
    ----------
    shape : tuple of int
        ``(n_energy, n_q)``.
    n_pixels : int
        Number of columns of a row.
    mask : ndarray of bool of shape (n_energy, n_q)
        True where a pixel is visible: the mask given or, without one, the kinematic
        window at the centre of each pixel.

    Examples
    --------
    >>> from skphonon.instrument import SpectrumGrid
    >>> grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0, 9.0], incident_energy=50.0)
    >>> grid.mask
    array([[ True,  True,  True],
           [False,  True, False]])
    >>> grid.to_image([[1, 2, 3, 4, 5, 6]]).shape
    (1, 2, 3)
    """

    q: Array
    _: KW_ONLY
    incident_energy: float | None = None
    two_theta: tuple[float, float] = (0.0, 180.0)
    mask: ArrayLike | None = Visible()  # type: ignore[assignment]

    _limits: ClassVar[tuple[float, float]] = (0.0, np.inf)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._warn_of_axes()

    def _settle_axes(self) -> None:
        energy, q = energy_axis(self.energy), read_only(increasing_axis(self.q, "q"))
        if q[0] < 0:
            raise ValueError(f"q must not be negative, got a minimum of {q[0]:g} 1/A.")
        incident = positive_number(self.incident_energy, "incident_energy", "meV")
        if incident is not None:
            final_energy(energy, incident)
        two_theta = angle_pair(self.two_theta, "two_theta")
        self._keep(energy=energy, q=q, incident_energy=incident, two_theta=two_theta)

    def _settle(self) -> None:
        super()._settle()
        if vars(self)["mask"] is None and not self._window().any():
            advice = "Check the axes (meV, 1/Angstrom), incident_energy and two_theta."
            if _sees(self.q, self.energy, self.incident_energy):
                advice = "The axes look exchanged: SpectrumGrid(energy, q)."
            raise ValueError(
                "The grid must hold at least one visible pixel, got none within the "
                f"kinematic window of incident_energy={self.incident_energy:g} meV. "
                f"{advice}"
            )

    def _warn_of_axes(self) -> None:
        highest = np.abs(self.energy).max()
        if self.q[-1] > _LARGE_Q and highest < self.q[-1]:
            warn_user(
                f"|Q| up to {self.q[-1]:g} 1/Angstrom with energies up to "
                f"{highest:g} meV: the axes look exchanged. Pass "
                "SpectrumGrid(energy, q), energy in meV first; in a table or an image, "
                "name what is energy and what q.",
                MeasurementWarning,
            )

    def _columns(self) -> NDArray:
        return self.q

    def _window(self) -> Mask:
        if self.incident_energy is None:
            return super()._window()
        return kinematic_mask(self.energy, self.q, self.incident_energy, self.two_theta)


@immutable
class PathGrid(WavevectorGrid):
    """Lay out spectra at a list of wavevectors, such as a path through the zone.

    An image has energy in rows and wavevectors in columns; a row is that image
    flattened, energy-major, with NaN where nothing was measured.

    Parameters
    ----------
    energy : array-like of shape (n_energy,)
        Bin centres of the energy transfer in meV, increasing; positive is neutron
        energy loss.
    wavevectors : array-like of shape (n_q, 3)
        h, k and l in rows, in r.l.u. of `lattice`. Any order; they may repeat.
    lattice : array-like of shape (3, 3), default=None
        Vectors a, b and c of the cell to which h, k and l refer, in rows, in Angstrom.
        It may be a conventional cell, and in any Cartesian axes if edges and angles
        tell which vectors of the model these are, up to the symmetry of the crystal.
        None: the cell of the model that is simulated, which may be a primitive one.
    mask : array-like of bool of shape (n_energy, n_q), default=None
        True where a pixel was measured. None: everywhere.

    Attributes
    ----------
    shape : tuple of int
        ``(n_energy, n_q)``.
    n_pixels : int
        Number of columns of a row.

    Examples
    --------
    >>> from skphonon.instrument import PathGrid
    >>> grid = PathGrid([20.0, 21.0], [[0.5, 0, 0], [0.5, 0.25, 0], [0.5, 0.5, 0]])
    >>> grid.shape
    (2, 3)
    >>> grid.axes()[1]
    array([0, 1, 2])
    """

    wavevectors: Array
    _: KW_ONLY
    lattice: Array | None = None
    mask: ArrayLike | None = Visible()  # type: ignore[assignment]

    def _settle_axes(self) -> None:
        wavevectors = read_only(wavevector_rows(self.wavevectors))
        self._keep(energy=energy_axis(self.energy), wavevectors=wavevectors)
        if self.lattice is not None:
            self._keep(lattice=read_only(independent_vectors("lattice", self.lattice)))

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__({"lattice": None, **state})  # those of 0.2 had none

    def _columns(self) -> NDArray:
        return np.arange(len(self.wavevectors))


def pixel_coordinates(grid: Any) -> Array:
    """Return where the pixels of a row are: |Q|, or h, k and l, and then the energy.

    Parameters
    ----------
    grid : object
        With `axes`, energy first; its `wavevectors`, if any, tell what columns are, its
        `moduli`, if any, where each pixel is.

    Returns
    -------
    ndarray of shape (n_pixels, n_coordinates)
        In 1/A or r.l.u., and meV; in the order of a row.
    """
    energy, q = grid.axes()
    if hasattr(grid, "moduli"):
        return np.column_stack([grid.moduli().ravel(), np.repeat(energy, len(q))])
    q = np.reshape(getattr(grid, "wavevectors", q), (len(q), -1))
    return np.column_stack([np.tile(q, (len(energy), 1)), np.repeat(energy, len(q))])


def energy_edges(grid: Any) -> Array:
    """Return the borders of the energy bins of any grid.

    Parameters
    ----------
    grid : object
        With `edges`, of energy alone or first of several.

    Returns
    -------
    ndarray of shape (n_energy + 1,)
        In meV.
    """
    edges = grid.edges()
    return edges[0] if isinstance(edges, tuple) else edges


def _sees(energy: Array, q: Array, incident_energy: float | None) -> bool:
    """Tell whether a neutron can reach any pixel."""
    if incident_energy is None or energy[-1] >= incident_energy or q[0] < 0:
        return False
    return bool(kinematic_mask(energy, q, incident_energy).any())
