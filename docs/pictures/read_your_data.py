"""From what detectors counted to what a fit compares with."""

import matplotlib.pyplot as plt
import numpy as np
from pictures.synthetic import aluminium_run

from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model, reduce_powder
from skphonon.inspection import SpectrumMapDisplay

run = aluminium_run()
grid = SpectrumGrid(np.arange(8, 46, 1.0), np.arange(1.5, 8, 0.1))
measured = reduce_powder(run, grid)
model = load_aluminium_model()
simulator = PowderSimulator.from_measurement(model, measured, energy_resolution=1.2)
simulated = measured.replace(data=simulator.simulate([model.reference]))


figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2))
titles = ["by detector", "by |Q|, for a fit", "simulated"]
for ax, each, title, log in zip(
    axes, [run, measured, simulated], titles, [True, False, False], strict=True
):
    SpectrumMapDisplay.from_measurements(each, [title]).plot(ax, log=log)
