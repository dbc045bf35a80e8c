r"""
What a network sees
===================

An autoencoder compresses spectra to a few numbers, from which a regressor finds force
constants. How many of them are in use, and what does each do to a spectrum? Training
spectra are simulated, on a coarse grid to keep this page quick.
"""

# sphinx_gallery_thumbnail_number = 2
import numpy as np

from skphonon import (
    Measurement,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
    make_powder_spectra,
)

energy, q = np.arange(10.5, 45, 1.5), np.arange(0.6, 10, 0.4)
grid = SpectrumGrid(energy, q, incident_energy=50.0)
simulator = PowderSimulator(load_aluminium_model(), grid, energy_resolution=1.54)
X, y = make_powder_spectra(
    simulator,
    2500,
    noise=(0.0, 0.1),
    augmentation={"energy_resolution": (1.3, 1.8), "background": (0.0, 0.2)},
    random_state=0,
)
_ = Measurement(X[:3], grid).plot()

# %%
# Two pipelines
# -------------
# The Kullback-Leibler term of a variational autoencoder makes it give up dimensions
# that hold little information. With a small weight it keeps all ten; with a larger one
# it loses accuracy first for the constants that a spectrum depends on least.

import pandas as pd
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skphonon import (
    ForceConstantRegressor,
    MaskedSpectrumPreprocessor,
    VAEFeatureExtractor,
)
from skphonon.inspection import active_dimensions
from skphonon.learning import Trainer

X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=500, random_state=0)
rows, inverters = {}, {}
for weight in (1e-6, 3e-2):
    inverter = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(
            10,
            kl_weight=weight,
            noise=0.1,
            trainer=Trainer(max_epochs=30),
            random_state=0,
        ),
        ForceConstantRegressor(
            (128, 128), noise=0.3, trainer=Trainer(max_epochs=40), random_state=0
        ),
    ).fit(X_train, y_train)
    scores = r2_score(y_test, inverter.predict(X_test), multioutput="raw_values")
    inverters[weight] = inverter
    rows[weight] = {"in use": active_dimensions(inverter, X_test).count}
    rows[weight] |= dict(zip(simulator.parameter_names, scores, strict=True))
pd.DataFrame(rows).T.rename_axis("KL weight").round(3)

# %%
# The table has R\ :sup:`2` of 500 spectra that were not trained on. Other weights are
# compared in :doc:`/inspection`, and four kinds of autoencoders in
# :doc:`/learn_measured`.

# %%
# What does each dimension do?
# ----------------------------
# The change of the decoded spectrum when a code moves by 0.5, dimension by dimension,
# those in use first.

from skphonon.inspection import LatentTraversalDisplay

regularised = inverters[3e-2]
active = active_dimensions(regularised, X_test)
used = active.order[: active.count]
traversal = LatentTraversalDisplay.from_estimator(
    regularised, X_test[:50], grid=grid, changes=(0.5,)
)
_ = traversal.plot(dimensions=used, n_columns=4)

# %%
# Which of them matter, and are they independent?
# -----------------------------------------------
# Left, how far a spectrum moves with each dimension; right, correlations of the codes.

import matplotlib.pyplot as plt

from skphonon.inspection import LatentCorrelationDisplay, LatentSensitivityDisplay

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
sensitivity = LatentSensitivityDisplay.from_estimator(regularised, X_test)
_ = sensitivity.plot(axes[0], dimensions=active.order)
correlation = LatentCorrelationDisplay.from_estimator(regularised, X_test)
_ = correlation.plot(axes[1], dimensions=used)
