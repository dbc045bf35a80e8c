"""Energies and momentum transfers that detectors at some angles reach."""

import matplotlib.pyplot as plt
import numpy as np

from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M

incident = 50.0  # meV
energy = np.linspace(-20, 50, 300)
final = incident - energy
figure, ax = plt.subplots()
for angle in (3, 30, 60, 90, 135):
    squared = (
        incident + final - 2 * np.sqrt(incident * final) * np.cos(np.deg2rad(angle))
    ) / NEUTRON_HBAR2_OVER_2M
    ax.plot(np.sqrt(squared), energy, label=f"{angle} degrees")
ax.axhline(0, color="0.6", lw=0.8)
ax.annotate("neutron loses energy, E > 0", (0.2, 2))
ax.annotate("neutron gains energy, E < 0", (0.2, -8))
ax.set(xlabel="|Q| (1/Å)", ylabel="energy transfer E (meV)", title="Ei = 50 meV")
ax.legend(title="scattering angle", loc="upper right")
