"""Two scans at constant Q, as counts with their errors."""

import matplotlib.pyplot as plt
import numpy as np

from skphonon import PathGrid, SingleCrystalSimulator, load_aluminium_model

model = load_aluminium_model()
energy = np.arange(8.0, 34.0, 0.75)
places = [[2.3, 0.0, 0.0], [2.0, 0.4, 0.4]]
grid = PathGrid(energy, places, lattice=4.0495 * np.eye(3))
simulator = SingleCrystalSimulator(
    model, grid, temperature=300.0, energy_resolution=0.6, quantity="sqe"
)
image = grid.to_image(simulator.simulate([model.reference]))[0]
expected = 5 + 300 * image / image.max(axis=0)
counts = np.random.default_rng(0).poisson(expected).astype(float)

figure, ax = plt.subplots()
for column, (place, first, last) in enumerate(
    zip(places, (8.0, 12.0), (28.0, 34.0), strict=True)
):
    shown = (energy >= first) & (energy <= last)  # each scan has its range
    number = counts[shown, column]
    ax.errorbar(
        energy[shown], number, np.sqrt(np.maximum(number, 1)), fmt="o-", ms=3,
        lw=0.7, label="({:g}, {:g}, {:g})".format(*place),
    )  # fmt: skip
ax.set(xlabel="energy transfer (meV)", ylabel="counts for one monitor")
ax.legend(title="wavevector (r.l.u.)")
