r"""
Latent spaces of autoencoders
=============================

Four autoencoders compress the same simulated spectra: dense or convolutional,
variational or not. What do the components of the codes mean, how many are needed, and
which settings give the best force constants? A coarse grid keeps this page quick.
"""

# %%
# A training set
# --------------
# Aluminium, with the noise, resolution and background of each spectrum drawn at random.

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline

from skphonon import (
    AEFeatureExtractor,
    ForceConstantRegressor,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    SpectrumGrid,
    VAEFeatureExtractor,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.inspection import (
    LatentCorrelationDisplay,
    LatentSensitivityDisplay,
    LatentTraversalDisplay,
    active_dimensions,
)
from skphonon.learning import Convolutional, Trainer
from skphonon.metrics import ResimulationScorer

grid = SpectrumGrid(
    np.arange(10.5, 45, 1.5), np.arange(0.6, 10, 0.4), incident_energy=50.0
)
simulator = PowderSimulator(
    load_aluminium_model(),
    grid,
    energy_resolution=1.54,
    temperature=50.0,
    tolerance=1e-3,
)
X, y = make_powder_spectra(
    simulator,
    4000,
    noise=(0.0, 0.1),
    augmentation={"energy_resolution": (1.3, 1.8), "background": (0.0, 0.2)},
    random_state=0,
)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=500, random_state=0)
names = simulator.parameter_names

# %%
# Four autoencoders
# -----------------
# Each is part of the same pipeline. Convolutions need the grid of the image. They take
# far longer to train, so they get few filters and epochs here.

dense = {"noise": 0.1, "trainer": Trainer(max_epochs=60), "random_state": 0}
conv = {"network": Convolutional(grid, filters=(8, 16), hidden_size=60)}
conv |= {"noise": 0.1, "trainer": Trainer(max_epochs=10, lr=2e-3), "random_state": 0}
extractors = {
    "dense VAE": VAEFeatureExtractor(10, **dense),
    "dense AE": AEFeatureExtractor(10, **dense),
    "convolutional VAE": VAEFeatureExtractor(10, **conv),
    "convolutional AE": AEFeatureExtractor(10, **conv),
}
rows, inverters = {}, {}
for name, extractor in extractors.items():
    started = perf_counter()
    inverter = make_pipeline(
        MaskedSpectrumPreprocessor(),
        extractor,
        ForceConstantRegressor((256, 256), noise=0.3, random_state=0),
    ).fit(X_train, y_train)
    seconds = perf_counter() - started
    scores = r2_score(y_test, inverter.predict(X_test), multioutput="raw_values")
    rows[name] = dict(zip(names, scores.round(3), strict=True)) | {"seconds": seconds}
    inverters[name] = inverter
print(pd.DataFrame(rows).T.round(3).to_string())

# %%
# How many dimensions are in use?
# -------------------------------
# The Kullback-Leibler term makes a variational network give up dimensions that hold
# little information. With a small weight it keeps all of them. As the weight rises,
# accuracy is lost first for the constants that a spectrum depends on least.

preprocessor = inverters["dense VAE"][0]
rows = {}
for weight in (1e-6, 1e-2, 3e-2, 1e-1):
    extractor = clone(extractors["dense VAE"]).set_params(kl_weight=weight)
    inverter = make_pipeline(
        MaskedSpectrumPreprocessor(),
        extractor,
        ForceConstantRegressor((256, 256), noise=0.3, random_state=0),
    ).fit(X_train, y_train)
    scores = r2_score(y_test, inverter.predict(X_test), multioutput="raw_values")
    rows[weight] = {"active": active_dimensions(inverter, X_test).count}
    rows[weight] |= dict(zip(names, scores.round(3), strict=True))
    inverters[weight] = inverter
print(pd.DataFrame(rows).T.rename_axis("KL weight").to_string())

# %%
# What does each dimension do?
# ----------------------------
# At a weight of 0.03: the change of the decoded spectrum when a code moves by 0.5,
# dimension by dimension, those in use first.

regularised = inverters[3e-2]
active = active_dimensions(regularised, X_test)
used = active.order[: active.count]
LatentTraversalDisplay.from_estimator(
    regularised, X_test[:50], grid=grid, changes=(0.5,)
).plot(dimensions=used, n_columns=5)

# %%
# Which of them matter, and are they independent?
# -----------------------------------------------

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
LatentSensitivityDisplay.from_estimator(regularised, X_test).plot(
    axes[0], dimensions=active.order
)
LatentCorrelationDisplay.from_estimator(regularised, X_test).plot(
    axes[1], dimensions=used
)

# %%
# Search over settings
# --------------------
# Spectra without labels can be scored as well: spectra simulated from the predicted
# constants are compared with those given. With ``n_jobs=2`` two processes would share
# the work.

inverter = make_pipeline(
    MaskedSpectrumPreprocessor(),
    VAEFeatureExtractor(trainer=Trainer(max_epochs=20), random_state=0),
    ForceConstantRegressor(trainer=Trainer(max_epochs=20), random_state=0),
)
search = GridSearchCV(
    inverter,
    {
        "vaefeatureextractor__n_components": [3, 10],
        "vaefeatureextractor__kl_weight": [1e-6, 1e-3],
    },
    scoring={"labels": "r2", "resimulated": ResimulationScorer(simulator)},
    refit="resimulated",
    cv=2,
).fit(X_train[:1000], y_train[:1000])
columns = ["mean_test_labels", "mean_test_resimulated", "mean_fit_time"]
table = pd.DataFrame(search.cv_results_["params"]).join(
    pd.DataFrame(search.cv_results_)[columns]
)
table.columns = [name.split("__")[-1] for name in table.columns]
print(table.round(4).to_string(index=False))
