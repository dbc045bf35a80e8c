"""The pixels of spectra: axes, what was measured, image and row."""

from inspect import signature

import numpy as np

from skphonon._validation import increasing_axis, wavevector_rows
from skphonon._versioned import VersionedEstimator
from skphonon._warnings import warn_user
from skphonon.instrument.measurement import TRANSPOSED, MeasurementWarning
from skphonon.physics.scattering import final_energy, kinematic_mask

__all__ = ["PathGrid", "SpectrumGrid", "energy_edges", "pixel_coordinates"]

_LARGE_Q = 20.0  # 1/Angstrom: beyond the reach of neutrons of less energy than that


class _Pixels(VersionedEstimator):
    """Images, rows and the mask of a grid.

    Subclasses take a parameter `mask`; `axes` returns both their axes, checked, and
    `_window` what is visible where no mask is given.
    """

    def get_params(self, deep=True):
        """Return the constructor's arguments as they were given.

        Parameters
        ----------
        deep : bool, default=True
            Has no effect: a grid holds no estimators.

        Returns
        -------
        dict
            Arguments by name.
        """
        # not by the property: it may take long to find what is visible
        return {
            name: self._mask if name == "mask" else getattr(self, name)
            for name in sorted(signature(type(self)).parameters)
        }

    @property
    def shape(self):
        """Number of energies and of columns."""
        energy, columns = self.axes()
        return len(energy), len(columns)

    @property
    def n_pixels(self):
        """Number of pixels of a spectrum, visible or not."""
        n_energy, n_q = self.shape
        return n_energy * n_q

    @property
    def mask(self):
        """True where a pixel is visible, an array of shape (n_energy, n_q)."""
        if self._mask is None:
            mask = self._window()
        else:
            mask = np.asarray(self._mask, dtype=bool)
            if mask.shape != self.shape:
                raise ValueError(
                    f"mask must have the shape of the grid, {self.shape}, got "
                    f"{mask.shape}."
                )
        if not mask.any():
            raise ValueError(
                "The grid must hold at least one visible pixel, got none. Check the "
                "mask or, without one, the axes against the kinematic window."
            )
        return mask

    @mask.setter
    def mask(self, mask):
        self._mask = mask

    def to_image(self, X):
        """Turn rows into images.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or (n_pixels,)
            Spectra, one a row.

        Returns
        -------
        ndarray of shape (n_samples, n_energy, n_q) or (n_energy, n_q)
            The same numbers; a single row gives a single image.

        Raises
        ------
        ValueError
            If the number of columns is not the number of pixels of this grid.
        """
        X = np.asarray(X)
        if X.ndim not in (1, 2) or X.shape[-1] != self.n_pixels:
            raise ValueError(
                f"X must have {self.n_pixels} columns for a grid of {self.shape} "
                f"pixels, got shape {X.shape}. Was it measured on another grid?"
            )
        return X.reshape(*X.shape[:-1], *self.shape)

    def to_rows(self, images):
        """Turn images into rows, NaN outside the visible window.

        Parameters
        ----------
        images : array-like of shape (n_samples, n_energy, n_q) or (n_energy, n_q)
            One or more images.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            A new array; a single image gives one row.

        Raises
        ------
        ValueError
            If the images do not have the shape of this grid.
        """
        images = np.asarray(images, dtype=float)
        if images.ndim not in (2, 3) or images.shape[-2:] != self.shape:
            raise ValueError(
                f"images must have shape (n_samples, {self.shape[0]}, {self.shape[1]})"
                f", got {images.shape}. "
                + (
                    TRANSPOSED
                    if images.shape[-2:] == self.shape[::-1]
                    else "Rows are energies, columns are q."
                )
            )
        return np.where(self.mask, images, np.nan).reshape(-1, self.n_pixels)


class SpectrumGrid(_Pixels):
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

    def __init__(
        self, energy, q, *, incident_energy=None, two_theta=(0.0, 180.0), mask=None
    ):
        self.energy = energy
        self.q = q
        self.incident_energy = incident_energy
        self.two_theta = two_theta
        self.mask = mask
        self._check_order()

    def _check_order(self):
        """Refuse axes that are none, and exchanged ones; warn where they may be."""
        energy, q = self.axes()
        if self._mask is None and not self._window().any():
            advice = "Check the axes (meV, 1/Angstrom), incident_energy and two_theta."
            if _sees(q, energy, self.incident_energy):
                advice = "The axes look exchanged: SpectrumGrid(energy, q)."
            raise ValueError(
                "The grid must hold at least one visible pixel, got none within the "
                f"kinematic window of incident_energy={self.incident_energy:g} meV. "
                f"{advice}"
            )
        if q[-1] > _LARGE_Q and np.abs(energy).max() < q[-1]:
            warn_user(
                f"|Q| up to {q[-1]:g} 1/Angstrom with energies up to "
                f"{np.abs(energy).max():g} meV: the axes look exchanged. Pass "
                "SpectrumGrid(energy, q), energy in meV first.",
                MeasurementWarning,
            )

    def axes(self):
        """Return both axes, checked.

        Returns
        -------
        energy : ndarray of shape (n_energy,)
            Energy transfer in meV.
        q : ndarray of shape (n_q,)
            Momentum transfer in 1/Angstrom.

        Raises
        ------
        ValueError
            If an axis is empty, not finite or not increasing, q is negative, or the
            energy transfer exceeds the incident energy.
        """
        energy, q = increasing_axis(self.energy, "energy"), increasing_axis(self.q, "q")
        if q[0] < 0:
            raise ValueError(f"q must not be negative, got a minimum of {q[0]:g} 1/A.")
        if self.incident_energy is not None:
            final_energy(energy, self.incident_energy)
        return energy, q

    def _window(self):
        energy, q = self.axes()
        if self.incident_energy is None:
            return np.ones((energy.size, q.size), dtype=bool)
        return kinematic_mask(energy, q, self.incident_energy, self.two_theta)

    def edges(self):
        """Return the borders of the bins, halfway between their centres.

        Returns
        -------
        energy : ndarray of shape (n_energy + 1,)
            Borders in meV.
        q : ndarray of shape (n_q + 1,)
            Borders in 1/Angstrom, none below zero.
        """
        energy, q = (_bin_edges(axis) for axis in self.axes())
        return energy, np.maximum(q, 0.0)


class PathGrid(_Pixels):
    """Lay out spectra at a list of wavevectors, such as a path through the zone.

    An image has energy in rows and wavevectors in columns; a row is that image
    flattened, energy-major, with NaN where nothing was measured.

    Parameters
    ----------
    energy : array-like of shape (n_energy,)
        Bin centres of the energy transfer in meV, increasing; positive is neutron
        energy loss.
    wavevectors : array-like of shape (n_q, 3)
        h, k and l in rows, in units of the reciprocal lattice. Any order; they may
        repeat.
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

    def __init__(self, energy, wavevectors, *, mask=None):
        self.energy = energy
        self.wavevectors = wavevectors
        self.mask = mask
        self.axes()

    def axes(self):
        """Return both axes, checked.

        Returns
        -------
        energy : ndarray of shape (n_energy,)
            Energy transfer in meV.
        number : ndarray of shape (n_q,)
            Number of the wavevector, from 0: a list of wavevectors has no scale.

        Raises
        ------
        ValueError
            If the energies are not increasing or not finite, or the wavevectors are not
            finite or have another shape.
        """
        energy = increasing_axis(self.energy, "energy")
        return energy, np.arange(len(wavevector_rows(self.wavevectors)))

    def edges(self):
        """Return the borders of the energy bins, halfway between their centres.

        Returns
        -------
        ndarray of shape (n_energy + 1,)
            Borders in meV.
        """
        return _bin_edges(self.axes()[0])

    def _window(self):
        return np.ones(self.shape, dtype=bool)


def pixel_coordinates(grid):
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


def energy_edges(grid):
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


def _sees(energy, q, incident_energy):
    """Tell whether a neutron can reach any pixel."""
    fits = energy[-1] < incident_energy and q[0] >= 0
    return fits and kinematic_mask(energy, q, incident_energy).any()


def _bin_edges(centres):
    if centres.size == 1:
        raise ValueError(
            "An axis needs at least two bin centres to tell the width of a bin, got "
            f"one ({centres[0]:g})."
        )
    middles = (centres[1:] + centres[:-1]) / 2
    return np.concatenate(
        [[2 * centres[0] - middles[0]], middles, [2 * centres[-1] - middles[-1]]]
    )
