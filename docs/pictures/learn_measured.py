"""Training spectra that differ as measurements do, beside a measured one."""

import matplotlib.pyplot as plt
import numpy as np

from skphonon import (
    PowderSimulator,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.datasets import load_aluminium_spectra
from skphonon.inspection import SpectrumMapDisplay

measured = load_aluminium_spectra(50)
simulator = PowderSimulator.from_measurement(
    load_aluminium_model(), measured, scattering="coherent", tolerance=1e-3
)
X, _ = make_powder_spectra(
    simulator,
    2,
    spread=0.3,
    noise=(0.1, 0.3),
    augmentation={
        "temperature": (40.0, 680.0),
        "energy_resolution": (0.9, 2.5),
        "q_resolution": (0.03, 0.12),
        "lattice_scale": (0.98, 1.01),
        "ripples": (0.2, 0.3),
    },
    random_state=1,
)
rows = [simulator.simulate([simulator.reference])[0], *X, measured.data[0]]
rows = [(row - np.nanmean(row)) / np.nanstd(row) for row in rows]
titles = ["simulated", "for training", "another", "measured, 50 K"]
shown = [measured.replace(data=row, units="standard deviations") for row in rows]
figure, axes = plt.subplots(1, 4, figsize=(10.5, 2.8))
SpectrumMapDisplay.from_measurements(shown, titles).plot(axes, vmin=-1.5, vmax=3)
