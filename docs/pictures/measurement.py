"""Grey pixels of a map, and why energies are compared with those of a model."""

import matplotlib.pyplot as plt
import numpy as np
from pictures.synthetic import aluminium_map

from skphonon.inspection import SpectrumMapDisplay
from skphonon.physics.constants import MEV_PER_THZ

measured, simulator = aluminium_map()
image = measured.grid.to_image(measured.data)[0].copy()
image[:, 30] = image[22:26, 45:60] = np.nan  # detectors that were masked
measured = measured.replace(data=measured.grid.to_rows(image[None]))

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3))
SpectrumMapDisplay.from_measurements(measured, ["grey: not measured"]).plot(left)
energy = measured.grid.energy
model = simulator.simulate([simulator.reference])
for data, x, label in (
    (model, energy, "model"),
    (measured.data, energy, "measured"),
    (measured.data, energy / MEV_PER_THZ, "measured, THz taken for meV"),
):
    profile = np.nanmean(measured.grid.to_image(data)[0], axis=1)
    right.plot(x, profile / profile.max(), label=label)
right.set(xlabel="energy (meV)", ylabel="mean over |Q|, relative to its maximum")
right.legend()
