"""Magnons of La2NiO4 along a line, small."""

import matplotlib.pyplot as plt
import numpy as np

from skphonon import PathGrid, SpinWaveSimulator
from skphonon.datasets import load_la2nio4_model

h = np.linspace(0.25, 0.75, 61)
energy = np.arange(10.0, 140.0, 1.5)
grid = PathGrid(energy, np.column_stack([h, h, 0 * h]))
simulator = SpinWaveSimulator(
    load_la2nio4_model(), grid, energy_resolution=4.0, q_resolution=0.03,
    temperature=10.0,
)  # fmt: skip
image = grid.to_image(simulator.simulate([simulator.reference]))[0]
figure, ax = plt.subplots(figsize=(3, 2))
ax.pcolormesh(h, energy, image, vmax=np.nanpercentile(image, 97))
ax.set(xlabel="(h, h, 0)", ylabel="E (meV)")
