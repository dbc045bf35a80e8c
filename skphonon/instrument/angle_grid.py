"""The pixels of powder spectra as they were taken: energy and scattering angle."""

import numpy as np

from skphonon._validation import increasing_axis
from skphonon.instrument.grid import _bin_edges, _Pixels
from skphonon.physics.scattering import momentum_transfer

__all__ = ["AngleGrid"]


class AngleGrid(_Pixels):
    r"""Lay out a powder spectrum as it was taken, over energy and scattering angle.

    A detector stands at an angle, and its momentum transfer changes with energy. So a
    spectrum that nobody has rebinned to \|Q\| has bins of constant angle, in each of
    which \|Q\| is another one at each energy. Where spectra are rebinned anyway,
    :class:`SpectrumGrid` is the simpler choice.

    An image has energy in rows and angle in columns; a row is that image flattened,
    energy-major, with NaN where nothing was measured. Intensities are S or
    :math:`\chi''`: the factor :math:`k_f/k_i` of the cross-section is taken out of
    measured ones.

    Parameters
    ----------
    energy : array-like of shape (n_energy,)
        Bin centres of the energy transfer in meV, increasing, below `incident_energy`;
        positive is neutron energy loss.
    two_theta : array-like of shape (n_angles,)
        Bin centres of the scattering angle in degrees, increasing, within 0 to 180.
    incident_energy : float
        Energy of the incoming neutron in meV.
    mask : array-like of bool of shape (n_energy, n_angles), default=None
        True where a pixel was measured. None: everywhere.

    Attributes
    ----------
    shape : tuple of int
        ``(n_energy, n_angles)``.
    n_pixels : int
        Number of columns of a row.
    mask : ndarray of bool of shape (n_energy, n_angles)
        True where a pixel is visible.

    See Also
    --------
    SpectrumGrid : Bins of constant momentum transfer.

    Examples
    --------
    >>> from skphonon.instrument import AngleGrid
    >>> grid = AngleGrid([0.0, 20.0], [30.0, 60.0, 90.0], incident_energy=50.0)
    >>> grid.shape
    (2, 3)
    >>> grid.moduli().round(2)
    array([[2.54, 4.91, 6.95],
           [2.5 , 4.46, 6.21]])
    """

    def __init__(self, energy, two_theta, *, incident_energy, mask=None):
        self.energy = energy
        self.two_theta = two_theta
        self.incident_energy = incident_energy
        self.mask = mask
        self.axes()

    def axes(self):
        """Return both axes, checked.

        Returns
        -------
        energy : ndarray of shape (n_energy,)
            Energy transfer in meV.
        two_theta : ndarray of shape (n_angles,)
            Scattering angle in degrees.

        Raises
        ------
        ValueError
            If an axis is empty, not finite or not increasing, an angle is not within 0
            to 180 degrees, or an energy transfer is not below the incident energy.
        """
        energy = increasing_axis(self.energy, "energy")
        two_theta = increasing_axis(self.two_theta, "two_theta")
        if two_theta[0] < 0 or two_theta[-1] > 180:
            raise ValueError(
                "two_theta must lie between 0 and 180 degrees, got "
                f"{two_theta[0]:g} to {two_theta[-1]:g}. It has no sign."
            )
        if not energy[-1] < self.incident_energy:
            raise ValueError(
                "Energy transfer must be below "
                f"incident_energy={self.incident_energy:g} meV, got a maximum of "
                f"{energy[-1]:g} meV. Crop the energy axis or raise incident_energy."
            )
        return energy, two_theta

    def edges(self):
        """Return the borders of the bins, halfway between their centres.

        Returns
        -------
        energy : ndarray of shape (n_energy + 1,)
            Borders in meV.
        two_theta : ndarray of shape (n_angles + 1,)
            Borders in degrees, none below 0 or above 180.
        """
        energy, two_theta = (_bin_edges(axis) for axis in self.axes())
        return energy, np.clip(two_theta, 0.0, 180.0)

    def moduli(self):
        r"""Return :math:`|Q|` at the centres of the pixels.

        Returns
        -------
        ndarray of shape (n_energy, n_angles)
            In 1/Angstrom.
        """
        energy, two_theta = self.axes()
        return momentum_transfer(energy[:, None], self.incident_energy, two_theta)

    def _window(self):
        return np.ones(self.shape, dtype=bool)
