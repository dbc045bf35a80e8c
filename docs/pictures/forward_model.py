"""Phonons, the powder map of single ones, and what several at once add to it."""

import matplotlib.pyplot as plt
from pictures.synthetic import aluminium_map

from skphonon.inspection import (
    PhononBandsDisplay,
    SpectrumMapDisplay,
    draw_parameters,
)
from skphonon.simulation import Scattering

measured, simulator = aluminium_map(noise=0.0, units="barn/meV/sr")
one = simulator.simulate([simulator.reference])
simulator.set_params(scattering=Scattering(incoherent=True, n_phonons="auto"))
several = simulator.simulate([simulator.reference])
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2))
PhononBandsDisplay.from_draws(draw_parameters(simulator.model)).plot(axes[0])
axes[0].set_title("phonons")
for ax, row, title in zip(
    axes[1:],
    (one, several - one),
    ("coherent, one phonon", "what several phonons add"),
    strict=True,
):
    shown = measured.replace(data=row, error=None, units="barn/meV/sr")
    SpectrumMapDisplay.from_measurements(shown, [title]).plot(ax)
