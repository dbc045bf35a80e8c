"""Rows of a table, and the grid that they make."""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from pictures.synthetic import aluminium_map

from skphonon.inspection import SpectrumMapDisplay
from skphonon.io import read_text

made, _ = aluminium_map(step=4)
energy, q = (each.ravel() for each in np.meshgrid(*made.grid.axes(), indexing="ij"))
rows = np.column_stack([q, energy, made.data[0]])[np.isfinite(made.data[0])]
rows = np.delete(rows, [40, 41, 77, 95], axis=0)  # nobody measured these
with TemporaryDirectory() as folder:
    path = Path(folder) / "points.csv"
    np.savetxt(path, rows, delimiter=",", header="q,energy,intensity", comments="")
    measured = read_text(
        path, columns=["q", "energy", "intensity"], energy_unit="meV",
        q_unit="1/Angstrom", quantity="sqe",
    )  # fmt: skip

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3))
left.scatter(rows[:, 0], rows[:, 1], c=rows[:, 2], s=22)
left.set(xlabel="|Q| (1/Å)", ylabel="energy (meV)", title="rows of the table")
SpectrumMapDisplay.from_measurements(measured, ["the measurement"]).plot(right)
