"""What fewer latent dimensions cost."""

import matplotlib.pyplot as plt
import pandas as pd
from pictures.synthetic import DOCS

table = pd.read_csv(DOCS / "su_li_study" / "dimensions.csv")
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
for ax, (model, rows) in zip(axes, table.groupby("Model", sort=False), strict=True):
    for _, row in rows.iterrows():
        if row["Figure"].startswith("R²"):
            sizes = row.index[2:].astype(int)
            ax.plot(sizes, row.iloc[2:].astype(float), "o-", ms=3, label=row["Figure"])
    ax.set(title=model, xlabel="latent dimensions")
axes[0].set_ylabel("R² of simulated spectra")
axes[0].legend()
