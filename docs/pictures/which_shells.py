"""Widths of the prior, which fall with distance."""

import matplotlib.pyplot as plt
import numpy as np

from skphonon import load_aluminium_model
from skphonon.physics import ShellPrior

model = load_aluminium_model().extended(6)
shells = np.array([int(name[0]) for name in model.parameter_names])
figure, ax = plt.subplots()
for shift, (label, settings) in zip(
    (-0.12, 0.12),
    {"ShellPrior(model)": {}, "energies=0.05": {"energies": 0.05}}.items(),
    strict=True,
):
    prior = ShellPrior(model, **settings)
    std = np.sqrt(prior.covariance_.diagonal())
    ax.errorbar(
        shells + shift + 0.03 * np.arange(len(shells)) % 0.1, prior.mean_, std,
        fmt="o", ms=3, label=label,
    )  # fmt: skip
ax.axhline(0, color="0.6", lw=0.8)
ax.set(xlabel="shell of neighbours", ylabel="constants (eV/Å²)")
ax.legend()
