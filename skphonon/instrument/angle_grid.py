"""The pixels of powder spectra as they were taken: energy and scattering angle."""

from dataclasses import KW_ONLY
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._validation import increasing_axis, positive_number
from skphonon._versioned import immutable, read_only
from skphonon.instrument._pixels import PowderGrid, Visible, energy_axis
from skphonon.physics.scattering import momentum_transfer

__all__ = ["AngleGrid"]

Array = NDArray[np.float64]


@immutable
class AngleGrid(PowderGrid):
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

    two_theta: Array
    _: KW_ONLY
    incident_energy: float
    mask: ArrayLike | None = Visible()  # type: ignore[assignment]

    _limits: ClassVar[tuple[float, float]] = (0.0, 180.0)

    def _settle_axes(self) -> None:
        energy = energy_axis(self.energy)
        two_theta = read_only(increasing_axis(self.two_theta, "two_theta"))
        if two_theta[0] < 0 or two_theta[-1] > 180:
            raise ValueError(
                "two_theta must lie between 0 and 180 degrees, got "
                f"{two_theta[0]:g} to {two_theta[-1]:g}. It has no sign."
            )
        incident = positive_number(self.incident_energy, "incident_energy", "meV")
        if incident is None:
            raise ValueError("incident_energy must be a positive number in meV.")
        if not energy[-1] < incident:
            raise ValueError(
                f"Energy transfer must be below incident_energy={incident:g} meV, got "
                f"a maximum of {energy[-1]:g} meV. Crop the energy axis or raise "
                "incident_energy."
            )
        self._keep(energy=energy, two_theta=two_theta, incident_energy=incident)

    def _columns(self) -> NDArray:
        return self.two_theta

    def moduli(self) -> Array:
        r"""Return :math:`|Q|` at the centres of the pixels.

        Returns
        -------
        ndarray of shape (n_energy, n_angles)
            In 1/Angstrom.
        """
        return momentum_transfer(
            self.energy[:, None], self.incident_energy, self.two_theta
        )
