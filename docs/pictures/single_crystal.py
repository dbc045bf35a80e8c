"""What one orientation and ninety of them see of a plane, and what is there."""

import matplotlib.pyplot as plt
import numpy as np

from skphonon import CrystalGrid, SingleCrystalSimulator, load_aluminium_model

axis = np.linspace(-4, 4, 81)
grid = CrystalGrid(
    [18.0, 20.0, 22.0], axis, axis, 0.0, lattice=4.0495 * np.eye(3), u=(1, 0, 0),
    v=(0, 1, 0), psi=np.arange(0, 90, 1.0), incident_energy=60.0, two_theta=(3, 130),
    elevation=(-20, 20),
)  # fmt: skip
model = load_aluminium_model()
simulator = SingleCrystalSimulator(
    model, grid, temperature=300.0, energy_resolution=1.5, q_resolution=0.03
)
spectrum = simulator.simulate([model.reference])
all_of_it = grid.to_volumes(spectrum)[0, 1, :, :, 0]
one = grid.coverage([0])[0].reshape(3, 81, 81)[1]

figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.5), sharey=True)
for ax, plane, title in zip(
    axes,
    (np.where(one, all_of_it, np.nan), all_of_it),
    ("one orientation, psi = 0", "psi from 0 to 89 degrees"),
    strict=True,
):
    ax.set_facecolor("0.85")
    ax.pcolormesh(axis, axis, plane.T, vmax=np.nanpercentile(all_of_it, 98))
    ax.set(xlabel="h (r.l.u.)", title=f"{title}; E = 20 meV", aspect=1)
axes[0].set_ylabel("k (r.l.u.)")
