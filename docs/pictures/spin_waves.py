"""Magnons of La2NiO4 along a path, sharp and with the resolution in Q."""

import itertools

import matplotlib.pyplot as plt
import numpy as np

from skphonon import Measurement, PathGrid, SpinWaveSimulator
from skphonon.datasets import load_la2nio4_model
from skphonon.inspection import SpectrumMapDisplay

corners = np.array([[0.25, 0.25, 0], [0.5, 0.5, 0], [0.5, 0, 0], [0.25, 0.25, 0]])
steps = np.linspace(0, 1, 50, endpoint=False)[:, None]
path = np.concatenate([a + steps * (b - a) for a, b in itertools.pairwise(corners)])
model, grid = load_la2nio4_model(), PathGrid(np.arange(5.0, 150.0), path)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.3))
for ax, width in zip(axes, (0.0, 0.054), strict=True):
    simulator = SpinWaveSimulator(
        model, grid, energy_resolution=3.2, q_resolution=width, temperature=10.0
    )
    spectrum = simulator.simulate([model.reference])
    title = f"resolution of {width} 1/Å in Q" if width else "sharp in Q"
    SpectrumMapDisplay.from_measurements(Measurement(spectrum, grid), [title]).plot(
        ax, vmax=np.nanpercentile(spectrum, 97)
    )
