"""A powder map, and a plane of a crystal with voxels that were not measured."""

import matplotlib.pyplot as plt
import numpy as np
from pictures.synthetic import aluminium_map

from skphonon import (
    CrystalGrid,
    SingleCrystalSimulator,
    load_aluminium_model,
)
from skphonon.inspection import SpectrumMapDisplay

powder, _ = aluminium_map()
model = load_aluminium_model()
axis = np.linspace(-3.5, 3.5, 57)
grid = CrystalGrid(
    [18.0, 20.0, 22.0], axis, axis, 0.0, lattice=4.0495 * np.eye(3),
    u=(1, 0, 0), v=(0, 1, 0), psi=np.arange(0, 60, 1.0), incident_energy=60.0,
    two_theta=(3, 130), elevation=(-20, 20),
)  # fmt: skip
simulator = SingleCrystalSimulator(
    model, grid, temperature=300.0, energy_resolution=1.5, quantity="sqe"
)
spectrum = simulator.simulate([model.reference])
plane = grid.to_volumes(spectrum)[0, 1, :, :, 0]

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3))
SpectrumMapDisplay.from_measurements(powder, ["powder"]).plot(left)
right.set_facecolor("0.85")
right.pcolormesh(axis, axis, plane.T, vmax=np.nanpercentile(plane, 99))
right.set(
    xlabel="h (r.l.u.)", ylabel="k (r.l.u.)", title="crystal, E = 20 meV", aspect=1
)
