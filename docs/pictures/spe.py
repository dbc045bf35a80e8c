"""What a missing factor ki/kf does to intensities."""

import matplotlib.pyplot as plt
import numpy as np
from pictures.synthetic import INCIDENT, aluminium_run

run = aluminium_run()
energy = (run.energy_edges[1:] + run.energy_edges[:-1]) / 2
shown = energy > 5
factor = np.sqrt(1 - energy[shown] / INCIDENT)  # kf/ki
spectrum = run.data[:, shown].mean(axis=0)

figure, ax = plt.subplots()
ax.plot(energy[shown], spectrum, label=r"multiplied by $k_i/k_f$: in proportion to S")
ax.plot(energy[shown], spectrum * factor, label=r"not multiplied")
ax.set(xlabel="energy transfer (meV)", ylabel="intensity, mean over detectors")
ax.legend()
