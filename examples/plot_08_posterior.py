r"""
From a fit to a posterior
=========================

What a measured spectrum of aluminium leaves possible: draws of the constants with exact
weights, phonons with their intervals, and a test of whether the draws are right.
"""

# %%
# The spectrum
# ------------
# Measured on ARCS at 640 K. Without access to the data, one is simulated, and the first
# line of the output says so.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from skphonon import (
    LeastSquaresInverter,
    Measurement,
    PosteriorInverter,
    PowderSimulator,
    SpectrumGrid,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.datasets import IncompleteDatasetWarning
from skphonon.inspection import (
    CornerDisplay,
    PhononBandsDisplay,
    PosteriorPredictiveDisplay,
    RankDisplay,
)
from skphonon.inversion import BoundWarning, MisfitWarning

model = load_aluminium_model()


def make_up_spectrum():
    """Simulate a spectrum with noise on the grid of the measured ones."""
    grid = SpectrumGrid(
        np.arange(10.25, 45, 0.5),
        np.arange(0.05, 10.1, 0.1),
        incident_energy=50.0,
        two_theta=(1.0, 136.0),
    )
    simulator = PowderSimulator(model, grid, energy_resolution=1.54, temperature=640.0)
    data, _ = make_powder_spectra(
        simulator, parameters=[simulator.reference], noise=0.23, random_state=0
    )
    return Measurement(
        data[0], grid, quantity="chi", temperature=640.0, energy_resolution=1.54
    )


try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        every = fetch_aluminium_arcs().measurement
    measured = every[len(every.data) - 1]  # the hottest
    print(f"Spectrum measured on ARCS at {measured.temperature:.0f} K")
except OSError as error:
    measured = make_up_spectrum()
    print(f"SYNTHETIC spectrum with noise, not a measured one ({error})")

# %%
# What is fitted, and what is known before
# ----------------------------------------
# The inverter of the fit says it all: constants between bounds, nuisances of the
# instrument, a smooth background.

simulator = PowderSimulator.from_measurement(
    model, measured, scattering="coherent", tolerance=1e-3
)
half = np.abs(model.reference) / 2 + [0, 0, 0, 0, 0.06]
least_squares = LeastSquaresInverter(
    simulator,
    nuisance={
        "energy_resolution": (0.9, 3.0),
        "energy_resolution_slope": (-0.2, 1.5),
        "q_resolution": (0.01, 0.2),
        "lattice_scale": (0.97, 1.03),
        "mean_square_displacement": (-0.004, 0.02),
    },
    background=3,
    bounds=(model.reference - half, model.reference + half),
)
row = np.atleast_2d(measured.data)
with warnings.catch_warnings():
    # the model leaves patterned residuals; the posterior allows for them by beta
    warnings.simplefilter("ignore", MisfitWarning)
    warnings.simplefilter("ignore", BoundWarning)
    inverter = PosteriorInverter(least_squares, n_draws=600).fit(row)
    inverter.predict(row)
(posterior,) = inverter.posteriors_
print(posterior)
print(posterior.summary().round(4).to_string())
print(f"efficiency {posterior.efficiency:.2f}, beta {posterior.beta:.2f}")

# %%
# Does the model describe the spectrum? Spectra that the posterior predicts are compared
# with the measured one; the verdict says what speaks against it.

PosteriorPredictiveDisplay.from_posterior(posterior, n_draws=30).plot()
print(posterior.verdict_)

# %%
# Draws of the constants: 2YY, the smallest, is hardly determined.

CornerDisplay.from_draws(posterior.sample(600), model.parameter_names).plot()

# %%
# Phonons with their intervals.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
PhononBandsDisplay.from_draws(posterior).plot(ax=ax)
print(posterior.energies([[0.5, 0.5, 0.0], [0.5, 0.5, 0.5]]).round(2).to_string())

# %%
# Is it right?
# ------------
# Spectra simulated from the prior are inverted, and the truths ranked among the draws.
# Ranks that are spread evenly say that intervals hold what they promise. A small grid
# and a mesh of its own make this quick. (Such a mesh is taken as it is, for spectra
# that were simulated with it; a measured one needs a tolerance.)

small = PowderSimulator(
    model,
    SpectrumGrid(np.arange(10, 42, 1.0), np.arange(2, 8, 0.25)),
    energy_resolution=1.5,
    mesh=6,
)
rng = np.random.default_rng(0)
sets = model.reference + 0.8 * half * rng.uniform(-1, 1, (120, 5))
truth = sets[model.is_stable(sets)][:60]
spectra = small.simulate(truth)
sigma = 0.05 * np.nanstd(spectra, axis=1, keepdims=True) * np.ones_like(spectra)
spectra = spectra + sigma * rng.normal(size=spectra.shape)
bounds = model.reference - 0.8 * half, model.reference + 0.8 * half
judged = PosteriorInverter(
    LeastSquaresInverter(small, background=1, bounds=bounds), n_draws=300, n_starts=2
).fit(spectra)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", BoundWarning)  # truths are near bounds, too
    judged.predict(spectra, errors=sigma)
RankDisplay.from_draws(judged.posteriors_, truth, random_state=0).plot()
plt.show()
