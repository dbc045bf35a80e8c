"""What four methods leave of measured spectra, and in which time."""

import matplotlib.pyplot as plt
import pandas as pd
from pictures.synthetic import DOCS

table = pd.read_csv(DOCS / "how_sure" / "roads.csv")
mean = table.groupby("way", sort=False)[["NMSE", "seconds"]].mean()
figure, ax = plt.subplots()
for way, (misfit, seconds) in mean.iterrows():
    ax.plot(seconds, misfit, "o", label=way)
ax.axhline(0.052, color="0.6", lw=0.8)
ax.annotate("noise alone", (1e-2, 0.053), color="0.4")
ax.set(xscale="log", xlabel="seconds a spectrum", ylabel="NMSE", ylim=(0, 0.2))
ax.legend()
