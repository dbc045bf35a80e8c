"""Powders as a chopper spectrometer would count them, with known faults."""

import numpy as np
from scipy.special import ndtr

from skphonon.instrument import DetectorMeasurement
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M

FACE = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
NICKEL = (3.52 * np.eye(3), FACE, ["Ni"] * 4)


def fcc_lines(a, q_max):
    """Return |Q| and number of the reflections of an fcc crystal, one by one."""
    return _lines(a, q_max, lambda h: (h % 2 == h[:1] % 2).all(axis=0))


def bcc_lines(a, q_max):
    """Return the same of a bcc crystal."""
    return _lines(a, q_max, lambda h: h.sum(axis=0) % 2 == 0)


def _lines(a, q_max, allowed):
    h = np.indices((13, 13, 13)).reshape(3, -1) - 6
    h = h[:, allowed(h) & h.any(axis=0)]
    squares, counts = np.unique((h * h).sum(axis=0), return_counts=True)
    q = 2 * np.pi / a * np.sqrt(squares)
    kept = (q < q_max) & (squares <= 36)
    return q[kept], counts[kept]


def counted(
    *,
    lines=None,
    zero=0.0,
    width=1.2,
    file_energy=60.0,
    true_energy=60.0,
    offset=0.0,
    can=None,
    can_share=0.1,
    dead=(),
    noisy=(),
    counts=400.0,
    seed=0,
    edges=None,
    step=0.3,
    spread=None,
):
    """Return what detectors count, as a file would hold it.

    Detectors stand at angles less `offset` (degrees) than the file says, and neutrons
    come with `true_energy`; elastic lines are at `zero` with the standard deviation
    `width`. `lines` and `can` are |Q| and strength of Bragg reflections, `spread` the
    standard deviation of these in 1/Angstrom as a function of |Q|.
    """
    random = np.random.default_rng(seed)
    angle = np.arange(8.0, 134.0, step)
    energy = np.arange(-20.0, 48.0, 0.5) if edges is None else np.asarray(edges)
    k = np.sqrt(true_energy / NEUTRON_HBAR2_OVER_2M)
    low, high = (
        2 * k * np.sin(np.deg2rad(angle - offset + side * step / 2) / 2)
        for side in (-1, 1)
    )
    strength = np.full(len(angle), 0.05)
    if lines is None:
        lines = fcc_lines(3.52, 2 * k)
    for (q, number), share in ((lines, 1.0), (can or ([], []), can_share)):
        for tau, n in zip(q, number, strict=True):
            sigma = 0.016 * np.sqrt(1 + (0.1 * tau) ** 2) * k / 5.4
            sigma = sigma if spread is None else spread(tau)
            part = ndtr((high - tau) / sigma) - ndtr((low - tau) / sigma)
            strength += share * n / tau**2 * part / (high - low)
    shape = np.diff(ndtr((energy - zero) / width)) / np.diff(energy)
    centre = (energy[1:] + energy[:-1]) / 2
    middle = (low + high) / 2
    phonons = 2e-4 * middle[:, None] ** 2 * np.exp(-(((centre - 20) / 12) ** 2))
    expected = counts * (strength[:, None] * shape + phonons + 1e-4) * 10
    expected[list(dead)] = 0.0
    expected[list(noisy)] += 40 * counts * 1e-3 * 10
    data = random.poisson(expected).astype(float)
    error = np.where(data > 0, np.sqrt(data), np.nan)
    ones = np.ones(len(angle))
    return DetectorMeasurement(
        data,
        error=error,
        incident_energy=file_energy,
        energy_edges=energy,
        polar=angle,
        azimuthal=0 * ones,
        polar_width=step * ones,
        azimuthal_width=10 * ones,
        quantity="sqe",
        ki_over_kf_scaling=True,
        temperature=300.0,
    )
