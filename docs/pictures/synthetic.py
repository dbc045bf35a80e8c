"""Made-up measurements, which pictures of the guide and tests of its code share."""

from pathlib import Path

import numpy as np

from skphonon import Measurement, PowderSimulator, SpectrumGrid, load_aluminium_model
from skphonon.instrument import AngleGrid, DetectorMeasurement
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M

DOCS = Path(__file__).parents[1]  # tables of studies are in folders of it
INCIDENT = 60.0  # meV
WIDTH = 1.2  # standard deviation of the resolution, meV
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def aluminium_run(counts=300.0, energy_zero=0.0, seed=0):
    """Return a powder of aluminium as the detectors of a chopper spectrometer count it.

    Phonons of both signs of energy at 300 K, and an elastic line at `energy_zero` with
    Bragg reflections in it; `counts` are those of an incoherent elastic pixel.
    """
    random = np.random.default_rng(seed)
    angles = np.arange(8.0, 134.0, 0.6)
    edges = np.arange(-30.0, 54.1, 0.5)
    energy = (edges[1:] + edges[:-1]) / 2
    model = load_aluminium_model()
    expected = np.zeros((len(angles), len(energy)))
    for side in (energy < -4, energy > 4):
        grid = AngleGrid(energy[side], angles, incident_energy=INCIDENT)
        simulator = PowderSimulator(
            model,
            grid,
            quantity="sqe",
            temperature=300.0,
            energy_resolution=WIDTH,
            tolerance=1e-3,
        )
        image = grid.to_image(simulator.simulate([model.reference]))[0]
        expected[:, side] = 8 * np.nan_to_num(image).T
    elastic = np.exp(-((energy - energy_zero) ** 2) / (2 * WIDTH**2))
    elastic /= elastic.max()
    expected += (1 + _bragg(angles))[:, None] * elastic
    data = random.poisson(counts * (expected + 2e-3)).astype(float)
    ones = np.ones(len(angles))
    return DetectorMeasurement(
        data,
        error=np.sqrt(np.maximum(data, 1)),
        incident_energy=INCIDENT,
        energy_edges=edges,
        polar=angles,
        azimuthal=0 * ones,
        polar_width=0.6 * ones,
        azimuthal_width=10 * ones,
        quantity="sqe",
        ki_over_kf_scaling=True,
        temperature=300.0,
    )


def _bragg(angles):
    """Strength of the reflections of aluminium in units of the incoherent line."""
    wave_number = np.sqrt(INCIDENT / NEUTRON_HBAR2_OVER_2M)
    q = 2 * wave_number * np.sin(np.deg2rad(angles) / 2)
    h = np.indices((15, 15, 15)).reshape(3, -1) - 7
    h = h[:, (h % 2 == h[:1] % 2).all(axis=0) & h.any(axis=0)]
    places, number = np.unique((h * h).sum(axis=0), return_counts=True)
    lines = 2 * np.pi / 4.0495 * np.sqrt(places)
    shapes = np.exp(-((q[:, None] - lines) ** 2) / (2 * 0.03**2))
    return shapes @ (20 * number / lines**2)


def aluminium_map(noise=0.05, seed=0, background=0.0, step=1, **settings):
    """Return a map of aluminium on |Q| and energy, and the simulator that made it.

    Bins are `step` times as wide as 0.75 meV and 0.1 1/Angstrom.
    """
    model = load_aluminium_model()
    grid = SpectrumGrid(
        np.arange(6, 46, 0.75 * step),
        np.arange(0.8, 8.0, 0.1 * step),
        incident_energy=INCIDENT,
        two_theta=(8.0, 134.0),
    )
    given = {"quantity": "sqe", "temperature": 300.0, "energy_resolution": WIDTH}
    given |= {"tolerance": 1e-3} | settings
    simulator = PowderSimulator(model, grid, **given)
    clean = simulator.simulate([model.reference])
    spread = np.nanstd(clean)
    q = np.broadcast_to(grid.q, grid.shape).ravel()
    data = clean + background * spread * (q / 4) ** 2
    data = data + noise * spread * np.random.default_rng(seed).normal(size=data.shape)
    measured = Measurement(
        data,
        grid,
        error=np.where(np.isfinite(data), noise * spread, np.nan),
        quantity=simulator.quantity,
        temperature=300.0,
        energy_resolution=WIDTH,
    )
    return measured, simulator
