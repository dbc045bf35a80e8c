"""Phonons of silicon from one file and its structure, beside the literature."""

import numpy as np
import pandas as pd
from pictures.synthetic import DOCS

from skphonon import ForceConstantModel
from skphonon.inspection import PhononBandsDisplay, draw_parameters
from skphonon.physics.constants import MEV_PER_THZ

# skphonon invert silicon_Ei80_300K.nxspe --structure POSCAR --temperature 300
table = pd.read_csv(DOCS / "command_line" / "silicon.csv", index_col="name")
model = ForceConstantModel(
    5.431 / 2 * (np.ones((3, 3)) - np.eye(3)),
    ("Si", "Si"),
    None,
    positions=[[0, 0, 0], [0.25, 0.25, 0.25]],
    n_shells=7,
)
model = model.replace(reference=table["value"][model.parameter_names].to_numpy())
# Nilsson and Nelin, https://doi.org/10.1103/PhysRevB.6.3777, in THz
points = {
    (0, 0, 0): [15.53],
    (0.5, 0, 0.5): [4.49, 12.32, 13.90],
    (0.5, 0.5, 0.5): [3.43, 11.35, 12.60, 14.68],
}
rows = [(*q, MEV_PER_THZ * thz) for q, energies in points.items() for thz in energies]
literature = pd.DataFrame(rows, columns=["q1", "q2", "q3", "energy"])
display = PhononBandsDisplay.from_draws(draw_parameters(model), measured=literature)
display.plot()
