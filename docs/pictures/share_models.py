"""Predictions within the range that a model was trained on, and beyond it."""

import matplotlib.pyplot as plt
import numpy as np
from pictures.synthetic import aluminium_map
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skphonon import MaskedSpectrumPreprocessor, make_powder_spectra

_, simulator = aluminium_map(step=2)
X, y = make_powder_spectra(simulator, 1200, spread=0.2, noise=0.05, random_state=0)
random = np.random.default_rng(1)
spread = np.array([0.5, 0.15, 0.15, 0.15, 0.15])  # 1XX goes beyond the training set
truth = simulator.reference * (1 + spread * random.uniform(-1, 1, (300, 5)))
wide, truth = make_powder_spectra(
    simulator, parameters=truth, noise=0.05, random_state=2
)
model = make_pipeline(
    MaskedSpectrumPreprocessor(), PCA(12), StandardScaler(), PolynomialFeatures(2),
    Ridge(1e-3),
).fit(X, y)  # fmt: skip
predicted = model.predict(wide)
figure, ax = plt.subplots(figsize=(5, 4))
ax.axvspan(y[:, 0].min(), y[:, 0].max(), color="0.9", label="range on the card")
ax.plot(truth[:, 0], predicted[:, 0], ".", ms=4, label="300 new spectra")
ends = np.array([truth[:, 0].min(), truth[:, 0].max()])
ax.plot(ends, ends, "k", lw=0.7)
ax.set(xlabel="1XX, true (eV/Å²)", ylabel="1XX, predicted (eV/Å²)", ylim=(0.2, 1.2))
ax.legend()
