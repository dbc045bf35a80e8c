"""Shares of intervals that hold the truth, from the table of the coverage test."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pictures.synthetic import DOCS

table = pd.read_csv(DOCS / "how_sure" / "coverage.csv")
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
for ax, (way, rows) in zip(axes, table.groupby("way", sort=False), strict=True):
    places = np.arange(len(rows))
    for share, mark in (("68 %", "o"), ("95 %", "s")):
        nominal = float(share.split()[0]) / 100
        scatter = 2 * np.sqrt(nominal * (1 - nominal) / 500)  # of 500 spectra
        ax.axhspan(nominal - scatter, nominal + scatter, color="0.9")
        ax.plot(
            places - 0.1, rows[share], mark, color="C0", label=f"{share}, as fitted"
        )
        ax.plot(
            places + 0.1, rows[f"{share} calibrated"], mark, color="C1",
            label=f"{share}, calibrated",
        )  # fmt: skip
    ax.set_xticks(places, rows["constant"])
    ax.set_title(way)
axes[0].set_ylabel("share of spectra with the truth inside")
axes[0].legend(fontsize=7)
