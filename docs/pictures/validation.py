"""Phonons of aluminium along [100] beside the closed form of two shells."""

import matplotlib.pyplot as plt
import numpy as np

from skphonon import load_aluminium_model
from skphonon.physics.constants import MEV_PER_THZ

model = load_aluminium_model()
first_xx, first_zz, _, second_xx, second_yy = model.reference
zeta = np.linspace(0, 1, 101)
half, whole = np.sin(np.pi * zeta / 2) ** 2, np.sin(np.pi * zeta) ** 2
stiffness = {  # eV/Angstrom^2
    "longitudinal": 16 * first_xx * half + 4 * second_xx * whole,
    "transverse": 8 * (first_xx + first_zz) * half + 4 * second_yy * whole,
}
mass = 26.9815385  # u
to_thz = np.sqrt(1.602176634e-19 * 1e20 / 1.66053906660e-27) / (2 * np.pi) / 1e12

chosen = np.linspace(0.05, 1, 20)
hkl = np.column_stack([chosen, 0 * chosen, 0 * chosen])
cube = np.abs(model.lattice).max() * 2
energies = model.frequencies([model.reference], hkl @ model.lattice.T / cube)[0]
figure, ax = plt.subplots()
for name, value in stiffness.items():
    ax.plot(
        zeta, MEV_PER_THZ * to_thz * np.sqrt(value / mass), label=f"{name}, formula"
    )
ax.plot(chosen, energies[:, 0], "k.", label="skphonon")
ax.plot(chosen, energies[:, 2], "k.")
ax.set(xlabel="[ζ, 0, 0] (r.l.u.)", ylabel="energy (meV)")
ax.legend()
