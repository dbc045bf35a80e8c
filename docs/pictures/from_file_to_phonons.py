"""How far fitted energies of silicon are from those of the literature."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pictures.synthetic import DOCS

table = pd.read_csv(DOCS / "from_file_to_phonons" / "energies.csv")
figure, ax = plt.subplots(figsize=(7, 3.8))
for shift, column in zip((-0.2, 0.0, 0.2), table.columns[2:], strict=True):
    value, error = (
        table[column].str.split(" ± ", expand=True).astype(float).to_numpy().T
    )
    off = value - table["literature"]
    places = np.arange(len(table)) + shift
    ax.errorbar(off, places, xerr=error, fmt="o", ms=4, label=column)
ax.axvline(0, color="0.6", lw=0.8)
ax.set_yticks(range(len(table)), table["Energy"])
ax.invert_yaxis()
ax.set(xlabel="fitted energy less that of the literature (meV)")
ax.legend(loc="lower right")
