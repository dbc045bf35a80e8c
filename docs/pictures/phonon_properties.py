"""What follows from constants and their errors: four displays of the same draws."""

import matplotlib.pyplot as plt
import numpy as np

from skphonon import load_aluminium_model
from skphonon.inspection import (
    DensityOfStatesDisplay,
    HeatCapacityDisplay,
    PhononBandsDisplay,
    ThermalDisplacementsDisplay,
    draw_parameters,
)

model = load_aluminium_model()
std = [0.013, 0.012, 0.016, 0.027, 0.008]  # of a fit at 50 K
draws = draw_parameters(model, std=std, n_draws=40, random_state=0)
temperature = np.linspace(0, 300, 31)
figure, axes = plt.subplots(2, 2, figsize=(8, 6))
PhononBandsDisplay.from_draws(draws).plot(axes[0, 0])
DensityOfStatesDisplay.from_draws(draws).plot(axes[0, 1])
HeatCapacityDisplay.from_draws(draws, temperature=temperature).plot(axes[1, 0])
ThermalDisplacementsDisplay.from_draws(draws, temperature=temperature).plot(axes[1, 1:])
