"""Detectors of 0.6 degrees in fine bins, by the middle of a pixel and exactly."""

import matplotlib.pyplot as plt
import numpy as np
from pictures.synthetic import aluminium_run

from skphonon import SpectrumGrid, reduce_powder
from skphonon.inspection import SpectrumMapDisplay

run = aluminium_run()
fine = SpectrumGrid(np.arange(8, 46, 0.5), np.arange(1.5, 8, 0.03))
coarse = SpectrumGrid(np.arange(8, 46, 1.0), np.arange(1.5, 8, 0.1))
ways = {
    'overlap="centres"': reduce_powder(run, fine, overlap="centres"),
    'overlap="exact"': reduce_powder(run, fine),
    "bins of 1 meV, 0.1 1/Å": reduce_powder(run, coarse),
}
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2))
for ax, (title, measured) in zip(axes, ways.items(), strict=True):
    SpectrumMapDisplay.from_measurements(measured, [title]).plot(ax)
