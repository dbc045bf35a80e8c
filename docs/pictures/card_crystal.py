"""A plane of S(Q, E) of a crystal of aluminium, small."""

import matplotlib.pyplot as plt
import numpy as np

from skphonon import CrystalGrid, SingleCrystalSimulator, load_aluminium_model

axis = np.linspace(1, 5, 81)
grid = CrystalGrid([18.0, 20.0, 22.0], axis, axis - 3, 0.0, lattice=4.0495 * np.eye(3))
model = load_aluminium_model()
simulator = SingleCrystalSimulator(
    model, grid, temperature=300.0, energy_resolution=1.5, q_resolution=0.03
)
plane = grid.to_volumes(simulator.simulate([model.reference]))[0, 1, :, :, 0]
figure, ax = plt.subplots(figsize=(3, 2))
ax.pcolormesh(axis, axis - 3, plane.T, vmax=np.nanpercentile(plane, 98))
ax.set(xlabel="h (r.l.u.)", ylabel="k (r.l.u.)")
