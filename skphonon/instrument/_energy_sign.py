r"""Detailed balance as a check of the sign of energies.

.. math:: S(-Q, -E) = e^{-E / kT} S(Q, E)

So a sample never has more intensity where neutrons gain energy. What else may make it
seem so is held against the evidence: the larger :math:`|Q|` of a detector there, as
phonons go with its square, and :math:`k_f/k_i` where nobody divided by it.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument._energy_rows import EnergyRows
from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.instrument.elastic_line import ElasticFit
from skphonon.instrument.measurement import Measurement
from skphonon.physics.constants import BOLTZMANN

__all__ = ["reversed_energies"]

Array = NDArray[np.float64]

_ELASTIC = 5.0  # widths of the elastic line that are left out
_WARM = 300.0  # kelvin, where no temperature is known
_TELLS = 0.2  # of E / kT: below, both sides are nearly the same
_BLOCKS = 8  # of energies that are compared apart
_FEWEST = 3  # of these
_MOST = 0.8  # share of blocks that must be reversed
_SEEN = 1e-5  # of the highest intensity
_SURE = 5.0  # standard errors
_LEAST = 0.1  # of the asymmetry (difference by sum): a factor of 1.2
_ENOUGH = 0.15  # the same that is convincing where more is expected: a factor of 1.35


def reversed_energies(
    measurement: Measurement, rows: EnergyRows, line: ElasticFit
) -> list[str]:
    """Return a warning if energies are clearly reversed.

    Parameters
    ----------
    measurement : Measurement
        As measured.
    rows : EnergyRows
        Its spectra by row.
    line : ElasticFit
        Its elastic line.

    Returns
    -------
    list of str
        Empty if they are not, or nothing tells.
    """
    temperature = measurement.temperature
    thermal = BOLTZMANN * (_WARM if temperature is None else float(temperature))
    first = max(_ELASTIC * line.width, _TELLS * thermal)
    last = min(-rows.edges[0] + line.zero, rows.edges[-1] - line.zero)
    incident = measurement.incident_energy
    if incident is not None:
        last = min(last, 0.95 * incident)
    if not last > first:
        return []
    borders = np.linspace(first, last, _BLOCKS + 1)
    pairs = np.array(
        [
            _both(measurement, rows, line.zero + low, line.zero + high, line.zero)
            for low, high in pairwise(borders)
        ]
    )
    gain, loss, error = pairs.T
    total = gain + loss
    seen = np.isfinite(total) & (total > _SEEN * (line.area / line.width))
    seen &= total > _SURE * np.where(np.isfinite(error), error, 0.0)
    if seen.sum() < _FEWEST:
        return []
    asymmetry = (gain - loss)[seen] / total[seen]
    middle = (borders[1:] + borders[:-1])[seen] / 2
    expected = float(np.median(np.tanh(middle / (2 * thermal))))
    found = float(np.median(asymmetry))
    noise = (error / total)[seen]
    sure = found > _SURE * np.std(asymmetry) / len(asymmetry) ** 0.5
    if np.isfinite(noise).all():
        # the error of the median, about
        sure = found > _SURE * 1.25 * float(np.sqrt((noise**2).mean() / len(noise)))
    least = float(np.clip(expected / 2, _LEAST, _ENOUGH))
    if not sure or found < least or (asymmetry > 0).mean() < _MOST:
        return []
    ratio = (1 + found) / max(1 - found, 1e-3)
    balance = "" if temperature is None else f" (at {float(temperature):g} K)"
    return [
        f"Energies look reversed: from {middle[0]:.3g} to {middle[-1]:.3g} meV, "
        f"intensities are {ratio:.2g} times larger at negative energies, where "
        f"detailed balance makes them smaller{balance}. Energies must be positive "
        "where neutrons lose energy to the sample: pass them with the other sign."
    ]


def _both(
    measurement: Measurement, rows: EnergyRows, low: float, high: float, zero: float
) -> tuple[float, float, float]:
    """Return mean intensities of gain and loss in an interval, and an error of both.

    Of rows that were measured on both sides. What may make gain larger of sound data is
    divided out of it.
    """
    loss, loss_error = rows.between(low, high)
    gain, gain_error = rows.between(2 * zero - high, 2 * zero - low)
    both = np.isfinite(gain) & np.isfinite(loss)
    if not both.any():
        return np.nan, np.nan, np.nan
    factor = _favour(measurement, rows, (low + high) / 2 - zero)[both]
    weight = rows.weight[both] / rows.weight[both].sum() / (high - low)
    error = np.nan
    if rows.error is not None:
        of_both = np.nan_to_num(np.stack([gain_error, loss_error])[:, both])
        error = float(np.linalg.norm(weight * of_both / [factor, np.ones(len(factor))]))
    return float(weight @ (gain[both] / factor)), float(weight @ loss[both]), error


def _favour(measurement: Measurement, rows: EnergyRows, energy: float) -> Array:
    """Return by how much gain may be larger than loss for reasons of geometry."""
    factor = np.ones(len(rows.q))
    incident = measurement.incident_energy
    if incident is None or energy >= incident:
        return factor
    slow, fast = np.sqrt(1 - energy / incident), np.sqrt(1 + energy / incident)
    if rows.two_theta is not None:
        cosine = np.cos(np.deg2rad(rows.two_theta))
        with np.errstate(invalid="ignore"):
            squares = [1 + x**2 - 2 * x * cosine for x in (fast, slow)]
            factor = np.maximum(squares[0] / squares[1], 1.0)
    scaled = True
    if isinstance(measurement, DetectorMeasurement):
        scaled = measurement.ki_over_kf_scaling is True
    return factor if scaled else factor * fast / slow
