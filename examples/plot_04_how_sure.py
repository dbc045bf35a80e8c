r"""
Error bars of a network
=======================

A network finds force constants in milliseconds, with error bars. Is the spectrum like
those it was trained on, and how often are the bars right? Where the measured spectrum
cannot be had, the first line of the output says so.
"""

# sphinx_gallery_thumbnail_number = 2
from skphonon.datasets import load_aluminium_spectra

measured = load_aluminium_spectra(50)  # K
print(measured.source)
_ = measured.plot(cuts={"q": (3.0, 6.0)})

# %%
# A network
# ---------
# It is trained on simulations that differ as measurements do. 300 more correct its
# estimates of its errors. This one has 2,000 spectra; :doc:`/learn_measured` describes
# one with 10,000 that knows more of the instrument.

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from skphonon import (
    ForceConstantRegressor,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    VAEFeatureExtractor,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.calibration import CalibratedRegressor
from skphonon.learning import Trainer

model = load_aluminium_model()
simulator = PowderSimulator.from_measurement(model, measured, tolerance=1e-3)


def draw(n_samples, seed):
    """Simulate spectra of stable crystals."""
    return make_powder_spectra(
        simulator,
        n_samples,
        spread=[0.4, 0.4, 0.4, 0.4, 4.0],
        noise=(0.1, 0.3),
        augmentation={
            "energy_resolution": (1.2, 1.9),
            "q_resolution": (0.06, 0.12),
            "lattice_scale": (0.985, 1.02),
            "mean_square_displacement": (0.0, 0.012),
            "background": (0.0, 0.4),
        },
        random_state=seed,
    )


X, y = draw(2000, 0)
network = make_pipeline(
    MaskedSpectrumPreprocessor(),
    VAEFeatureExtractor(
        output="distribution", trainer=Trainer(max_epochs=20), random_state=0
    ),
    ForceConstantRegressor(
        latent="distribution", trainer=Trainer(max_epochs=30), random_state=0
    ),
).fit(X, y)
sure = CalibratedRegressor(FrozenEstimator(network)).fit(*draw(300, 1))

# %%
# Is the spectrum like those of the training set?
# -----------------------------------------------
# The p-values say how unusual a spectrum is, and ``predict`` warns where they are
# small. Dead pixels and a crystal much stiffer than any of the training set are
# detected. A shifted energy axis is not: it looks like another crystal of the set.

import warnings

import numpy as np

from skphonon.learning import OutOfDistributionWarning

spectra = {
    "measured": measured.data,
    "measured, one pixel in fifty dead": np.where(
        np.random.default_rng(0).random(measured.data.shape) < 0.02,
        np.nanmin(measured.data),
        measured.data,
    ),
}
for name, stiffness, wrong in (
    ("simulated", 1, {}),
    ("simulated, three times as stiff", 3, {}),
    ("simulated, 2 meV off", 1, {"energy_offset": 2.0}),
):
    spectra[name], _ = make_powder_spectra(
        simulator,
        parameters=[stiffness * model.reference],
        noise=0.2,
        augmentation=wrong,
        random_state=0,
    )
rows = np.vstack(list(spectra.values()))
rows[:, np.isnan(measured.data[0])] = np.nan
table = network[1].novelty(network[0].transform(rows))
table.insert(0, "spectrum", list(spectra))
table.set_index("spectrum").round(4)

# %%
# The constants, beside least squares
# -----------------------------------
# Least squares fit resolution, lattice, displacements and a background along. The
# measured spectrum is somewhat unlike all simulations, which the warning that is
# silenced here says as well.

import pandas as pd

from skphonon import LeastSquaresInverter
from skphonon.inversion import BoundWarning, MisfitWarning

warnings.simplefilter("ignore", OutOfDistributionWarning)
warnings.simplefilter("ignore", MisfitWarning)
warnings.simplefilter("ignore", BoundWarning)
least_squares = LeastSquaresInverter(
    simulator,
    nuisance={
        "energy_resolution": (1.0, 3.0),
        "lattice_scale": (0.97, 1.03),
        "mean_square_displacement": (-0.0035, 0.04),
    },
    background=3,
).fit(measured.data)
lines = {}
for name, method in {"network": sure, "least squares": least_squares}.items():
    values, std = method.predict(measured.data, return_std=True)
    lines[name] = [
        f"{value:.3f} ± {bar:.3f}" for value, bar in zip(values[0], std[0], strict=True)
    ]
pd.DataFrame(lines, pd.Index(model.parameter_names, name="eV/Å²"))

# %%
# Are the error bars right?
# -------------------------
# On simulated spectra the true constants are known. The band shows the statistical
# uncertainty of 250 spectra; :doc:`/how_sure` has the figures for 500, those of least
# squares, and what neither can tell.

from skphonon.inspection import ReliabilityDisplay

reliability = ReliabilityDisplay.from_estimator(
    {"network": network, "calibrated": sure},
    *draw(250, 2),
    targets=model.parameter_names,
)
_ = reliability.plot()
