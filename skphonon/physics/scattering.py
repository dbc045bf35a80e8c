r"""Neutron kinematics and the occupation of phonons.

Conventions: ``energy`` is the energy transfer :math:`E = E_i - E_f` in meV, positive
when the neutron loses energy; ``q`` is :math:`|Q|` in 1/Angstrom; the scattering angle
``two_theta`` is in degrees. The scattering function and the dynamical susceptibility
are linked by the fluctuation-dissipation theorem

.. math:: S(Q, E) = \frac{\chi''(Q, E)}{\pi\,[1 - \exp(-E / k_B T)]},

so that :math:`\chi''` is odd in :math:`E` and :math:`S` obeys detailed balance,
:math:`S(-E) = \exp(-E / k_B T)\,S(E)`. See Squires, *Introduction to the Theory of
Thermal Neutron Scattering* (Cambridge, 2012), doi:10.1017/CBO9781139107808.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.physics.constants import BOLTZMANN, NEUTRON_HBAR2_OVER_2M

__all__ = [
    "bose_occupation",
    "chi_from_sqe",
    "final_energy",
    "kinematic_mask",
    "momentum_transfer",
    "sqe_from_chi",
]

Array = NDArray[np.float64]


def final_energy(energy: ArrayLike, incident_energy: float) -> Array:
    """Return the energy of the scattered neutron, :math:`E_f = E_i - E`.

    Parameters
    ----------
    energy : array-like
        Energy transfer in meV.
    incident_energy : float
        Energy of the incoming neutron in meV.

    Returns
    -------
    ndarray
        Final energy in meV.

    Raises
    ------
    ValueError
        If the incident energy is not positive, or an energy transfer exceeds it.
    """
    energy = np.asarray(energy, dtype=float)
    if not incident_energy > 0:
        raise ValueError(
            f"incident_energy must be positive (meV), got {incident_energy!r}."
        )
    if (energy > incident_energy).any():
        raise ValueError(
            f"Energy transfer must be below incident_energy={incident_energy} meV, got "
            f"a maximum of {energy.max():g} meV. Crop the energy axis or raise "
            "incident_energy."
        )
    return incident_energy - energy


def momentum_transfer(
    energy: ArrayLike, incident_energy: float, two_theta: ArrayLike
) -> Array:
    r"""Return :math:`|Q|` of a neutron scattered by an angle with an energy transfer.

    .. math:: \frac{\hbar^2 Q^2}{2m} = E_i + E_f - 2\sqrt{E_i E_f}\cos 2\theta,
              \qquad E_f = E_i - E.

    Parameters
    ----------
    energy : array-like
        Energy transfer in meV.
    incident_energy : float
        Energy of the incoming neutron in meV.
    two_theta : array-like
        Scattering angle in degrees; broadcast against `energy`.

    Returns
    -------
    ndarray
        :math:`|Q|` in 1/Angstrom.

    Raises
    ------
    ValueError
        If the incident energy is not positive, or an energy transfer exceeds it.

    Examples
    --------
    >>> from skphonon.physics.scattering import momentum_transfer
    >>> float(momentum_transfer(0.0, 50.0, 90.0).round(3))
    6.947
    """
    outgoing = final_energy(energy, incident_energy)
    cosine = np.cos(np.deg2rad(two_theta))
    kinetic = (
        incident_energy + outgoing
        - 2 * np.sqrt(incident_energy * outgoing) * cosine
    )  # fmt: skip
    return np.sqrt(np.maximum(kinetic, 0.0) / NEUTRON_HBAR2_OVER_2M)


def kinematic_mask(
    energy: ArrayLike,
    q: ArrayLike,
    incident_energy: float,
    two_theta: tuple[float, float] = (0.0, 180.0),
) -> NDArray[np.bool_]:
    """Tell which points (E, Q) a detector bank can see.

    Parameters
    ----------
    energy : array-like of shape (n_energy,)
        Energy transfer in meV, none above `incident_energy`.
    q : array-like of shape (n_q,)
        Magnitude of the momentum transfer in 1/Angstrom.
    incident_energy : float
        Energy of the incoming neutron in meV.
    two_theta : tuple of float
        Smallest and largest scattering angle of the detectors, in degrees.

    Returns
    -------
    ndarray of bool of shape (n_energy, n_q)
        True where the point lies between the two angles.

    Raises
    ------
    ValueError
        If the angles are not ordered within 0 to 180 degrees, or an energy transfer
        exceeds the incident energy.
    """
    low, high = two_theta
    if not 0 <= low < high <= 180:
        raise ValueError(
            "two_theta must hold two increasing angles between 0 and 180 degrees, got "
            f"{two_theta!r}."
        )
    column = np.asarray(energy, dtype=float)[:, None]
    q = np.asarray(q, dtype=float)
    nearest = momentum_transfer(column, incident_energy, low)
    farthest = momentum_transfer(column, incident_energy, high)
    return (q >= nearest) & (q <= farthest)


def bose_occupation(energy: ArrayLike, temperature: float) -> Array:
    r"""Return the mean number of phonons, :math:`n(E) = 1 / [\exp(E/k_B T) - 1]`.

    Parameters
    ----------
    energy : array-like
        Energy in meV; negative values give :math:`n(-E) = -[n(E) + 1]`.
    temperature : float
        Temperature in K; at zero, n is 0 for positive energy and -1 for negative.

    Returns
    -------
    ndarray
        Occupation; infinite at zero energy and positive temperature.

    Raises
    ------
    ValueError
        If the temperature is negative.
    """
    energy = np.asarray(energy, dtype=float)
    _check_temperature(temperature)
    if temperature == 0:
        return np.where(energy < 0, -1.0, 0.0)
    with np.errstate(divide="ignore", over="ignore"):
        return 1.0 / np.expm1(energy / (BOLTZMANN * temperature))


def sqe_from_chi(chi: ArrayLike, energy: ArrayLike, temperature: float) -> Array:
    """Return S(Q,E) of a dynamical susceptibility, by detailed balance.

    Parameters
    ----------
    chi : array-like
        chi''(Q,E); the energy axis broadcasts against it.
    energy : array-like
        Energy transfer in meV.
    temperature : float
        Temperature in K.

    Returns
    -------
    ndarray
        S(Q,E) in the units of `chi`; NaN where the energy is zero, because chi''
        vanishes there and does not determine S.

    Raises
    ------
    ValueError
        If the temperature is negative.
    """
    energy = np.asarray(energy, dtype=float)
    # n(E) + 1 = -n(-E) keeps its digits where it is small
    factor = -bose_occupation(-energy, temperature)
    factor = np.where(energy == 0, np.nan, factor) / np.pi
    return np.asarray(chi, dtype=float) * factor


def chi_from_sqe(sqe: ArrayLike, energy: ArrayLike, temperature: float) -> Array:
    """Return the dynamical susceptibility chi''(Q,E) of a scattering function.

    Parameters
    ----------
    sqe : array-like
        S(Q,E); the energy axis broadcasts against it.
    energy : array-like
        Energy transfer in meV.
    temperature : float
        Temperature in K. At zero temperature S vanishes for negative energies and
        says nothing of chi'' there: the result is NaN.

    Returns
    -------
    ndarray
        chi''(Q,E) in the units of `sqe`.

    Raises
    ------
    ValueError
        If the temperature is negative.
    """
    energy = np.asarray(energy, dtype=float)
    _check_temperature(temperature)
    if temperature == 0:
        factor = np.select([energy > 0, energy == 0], [1.0, 0.0], np.nan)
    else:
        factor = -np.expm1(-energy / (BOLTZMANN * temperature))
    return np.pi * np.asarray(sqe, dtype=float) * factor


def _check_temperature(temperature: float) -> None:
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0 K, got {temperature!r}.")
