"""A map by the simulator, and by a network that learned from 100 such maps."""

import itertools

import matplotlib.pyplot as plt
import numpy as np

from skphonon import ImplicitSpectrumModel, Measurement, PathGrid, SpinWaveSimulator
from skphonon.datasets import load_la2nio4_model
from skphonon.inspection import SpectrumMapDisplay
from skphonon.learning import Trainer

corners = np.array([[0.25, 0.25, 0], [0.5, 0.5, 0], [0.5, 0, 0]])
steps = np.linspace(0, 1, 20, endpoint=False)[:, None]
path = np.concatenate([a + steps * (b - a) for a, b in itertools.pairwise(corners)])
grid = PathGrid(np.arange(5.0, 150.0, 3.0), path)
simulator = SpinWaveSimulator(
    load_la2nio4_model(), grid, energy_resolution=4.0, q_resolution=0.054,
    temperature=10.0,
)  # fmt: skip
network = ImplicitSpectrumModel(
    (64, 64, 64), unit=1 / 250, trainer=Trainer(max_epochs=6), random_state=0
)
network.fit_simulator(simulator, 100, bounds=[[20, -10], [45, 5]], n_pixels=600)
exact = simulator.simulate([simulator.reference])
learned = network.simulate([simulator.reference])
titles = ["simulator", "network"]
figure, axes = plt.subplots(1, 2, figsize=(8, 3.3))
for ax, row, title in zip(axes, (exact, learned), titles, strict=True):
    SpectrumMapDisplay.from_measurements(Measurement(row, grid), [title]).plot(
        ax, vmin=0, vmax=np.nanpercentile(exact, 97)
    )
