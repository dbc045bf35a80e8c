r"""
From a fit to a posterior
=========================

What a measured spectrum leaves possible: draws of the constants with exact weights, and
a test of whether they are right. Where the spectrum cannot be had, the first line of
the output says so.
"""

# sphinx_gallery_thumbnail_number = 3
from skphonon.datasets import load_aluminium_spectra

measured = load_aluminium_spectra(640)  # K
print(measured.source)
_ = measured.plot(cuts={"q": (3.0, 6.0)})

# %%
# What is fitted, and what is known before
# ----------------------------------------
# The inverter of the fit says it all: constants between bounds, nuisances of the
# instrument, a smooth background. ``beta`` below one says that residuals of
# neighbouring pixels are alike, so that each counts less than one.

import warnings

import numpy as np

from skphonon import (
    LeastSquaresInverter,
    PosteriorInverter,
    PowderSimulator,
    load_aluminium_model,
)
from skphonon.inversion import BoundWarning, MisfitWarning

warnings.simplefilter("ignore", MisfitWarning)  # the posterior allows for it by beta
warnings.simplefilter("ignore", BoundWarning)  # the verdict tells of bounds
model = load_aluminium_model()
half = np.abs(model.reference) / 2 + [0, 0, 0, 0, 0.06]
least_squares = LeastSquaresInverter(
    PowderSimulator.from_measurement(
        model, measured, scattering="coherent", tolerance=1e-3
    ),
    nuisance={
        "energy_resolution": (1.5, 3.0),
        "energy_resolution_slope": (-0.2, 1.5),
        "lattice_scale": (0.97, 1.03),
        "mean_square_displacement": (-0.004, 0.02),
    },
    background=3,
    bounds=(model.reference - half, model.reference + half),
)
inverter = PosteriorInverter(least_squares, n_draws=600).fit(measured.data)
inverter.predict(measured.data)
(posterior,) = inverter.posteriors_
print(f"efficiency {posterior.efficiency:.2f}, beta {posterior.beta:.2f}")
posterior.summary().round(3)

# %%
# Does the model describe the spectrum? Spectra that the posterior predicts are compared
# with the measured one; the verdict says what speaks against it.

from skphonon.inspection import PosteriorPredictiveDisplay

_ = PosteriorPredictiveDisplay.from_posterior(posterior, n_draws=30).plot()
print(posterior.verdict_)

# %%
# Draws of the constants: 2YY, the smallest, is hardly determined.

from skphonon.inspection import CornerDisplay

_ = CornerDisplay.from_draws(posterior.sample(600), model.parameter_names).plot()

# %%
# Phonons with their intervals.

from skphonon.inspection import PhononBandsDisplay

_ = PhononBandsDisplay.from_draws(posterior).plot()

# %%
# Is it right?
# ------------
# Spectra simulated from the prior are inverted, and the truths ranked among the draws.
# Ranks that are spread evenly say that intervals hold what they promise. A small grid
# and few spectra make this quick; :doc:`/posterior` has the test of a thousand.

from skphonon import SpectrumGrid
from skphonon.inspection import RankDisplay

small = PowderSimulator(
    model,
    SpectrumGrid(np.arange(10, 42, 1.0), np.arange(2, 8, 0.25)),
    energy_resolution=1.5,
    mesh=6,
)
rng = np.random.default_rng(0)
sets = model.reference + 0.8 * half * rng.uniform(-1, 1, (48, 5))
truth = sets[model.is_stable(sets)][:24]
spectra = small.simulate(truth)
sigma = 0.05 * np.nanstd(spectra, axis=1, keepdims=True) * np.ones_like(spectra)
spectra = spectra + sigma * rng.normal(size=spectra.shape)
bounds = model.reference - 0.8 * half, model.reference + 0.8 * half
judged = PosteriorInverter(
    LeastSquaresInverter(small, background=1, bounds=bounds), n_draws=300, n_starts=2
).fit(spectra)
judged.predict(spectra, errors=sigma)
_ = RankDisplay.from_draws(judged.posteriors_, truth, random_state=0).plot()
