"""A cut along energy that is thin, and one that is thick, where phonons disperse."""

import matplotlib.pyplot as plt
import numpy as np

from skphonon import CrystalGrid, SingleCrystalSimulator, load_aluminium_model

model = load_aluminium_model()
energy = np.arange(8, 44, 0.25)
figure, ax = plt.subplots()
for thickness in (0.05, 0.5):
    across = np.linspace(-thickness / 2, thickness / 2, 21)
    grid = CrystalGrid(energy, [2.3], [0.0], across, lattice=4.0495 * np.eye(3))
    simulator = SingleCrystalSimulator(
        model, grid, temperature=300.0, energy_resolution=0.8, quantity="sqe"
    )
    volume = grid.to_volumes(simulator.simulate([model.reference]))[0, :, 0, 0]
    ax.plot(energy, volume.mean(axis=1), label=f"{thickness:g} r.l.u. of l")
ax.set(xlabel="energy transfer (meV)", ylabel="S (1/meV)", title="(2.3, 0, 0)")
ax.legend(title="thickness of the cut")
