"""The four kinds of grids."""

import matplotlib.pyplot as plt
import numpy as np
from pictures.synthetic import INCIDENT, WIDTH, aluminium_map

from skphonon import (
    CrystalGrid,
    Measurement,
    PathGrid,
    PowderSimulator,
    SingleCrystalSimulator,
    load_aluminium_model,
)
from skphonon.inspection import SpectrumMapDisplay
from skphonon.instrument import AngleGrid

model = load_aluminium_model()
energy = np.arange(6, 46, 1.0)
given = {"temperature": 300.0, "energy_resolution": WIDTH, "quantity": "sqe"}
cube = 4.0495 * np.eye(3)
along = np.linspace(1, 3, 61)
path = np.column_stack([along, 0 * along, 0 * along])
grids = {
    "AngleGrid": AngleGrid(energy, np.arange(10, 130, 2.0), incident_energy=INCIDENT),
    "CrystalGrid, a plane": CrystalGrid(energy, along, 0.0, 0.0, lattice=cube),
    "PathGrid": PathGrid(energy, path[:, [0, 1, 2]] + [0, 0.2, 0], lattice=cube),
}
figure, axes = plt.subplots(2, 2, figsize=(8, 6))
powder, _ = aluminium_map()
SpectrumMapDisplay.from_measurements(powder, ["SpectrumGrid"]).plot(axes[0, 0])
for ax, (name, grid) in zip(axes.ravel()[1:], grids.items(), strict=True):
    kind = PowderSimulator if name == "AngleGrid" else SingleCrystalSimulator
    spectrum = kind(model, grid, **given).simulate([model.reference])
    made = Measurement(spectrum, grid, quantity="sqe")
    SpectrumMapDisplay.from_measurements(made, [name]).plot(ax)
