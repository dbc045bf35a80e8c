"""A dispersion fitted to a table, the table, and the row whose label is wrong."""

import numpy as np
import pandas as pd

from skphonon import load_aluminium_model
from skphonon.inspection import PhononBandsDisplay
from skphonon.inversion import PhononEnergies, fit_observables

model = load_aluminium_model("gilat-nicklow-1966")
cube = 4.0496 * np.eye(3)
rng = np.random.default_rng(0)
directions = np.array([[1, 0, 0], [0.75, 0.75, 0], [0.5, 0.5, 0.5]])
hkl = rng.uniform(0.3, 1, (40, 1)) * directions[rng.integers(0, 3, 40)]
branch = rng.integers(0, 3, 40)
qpoints = hkl @ model.lattice.T / 4.0496
exact = model.frequencies([model.reference], qpoints)[0, np.arange(40), branch]
energy = exact * (1 + 0.01 * rng.standard_normal(40))
branch[3] = 2
table = PhononEnergies(model, hkl, energy, 0.01 * energy, lattice=cube, modes=branch)
fit = fit_observables(model, table, initial=0.8 * model.reference)

points = pd.DataFrame(qpoints, columns=["q1", "q2", "q3"])
points = points.assign(energy=energy, std=0.01 * energy)
display = PhononBandsDisplay.from_draws(fit, measured=points)
display.plot(measured_kw={"ms": 4, "label": "table"})
