r"""
Germanium from one orientation
==============================

A spectrometer sees a thin surface of S(**Q**, E) in one orientation of a crystal. Is
that enough for its force constants? The measurement is **simulated**: no measured
volume of germanium is public.
"""

# sphinx_gallery_thumbnail_number = 2
import numpy as np

from skphonon import ForceConstantModel
from skphonon.inspection import PhononBandsDisplay, draw_parameters

model = ForceConstantModel(
    2.83 * (np.ones((3, 3)) - np.eye(3)),  # Angstrom
    ["Ge", "Ge"],
    [3.18, 2.48, 0.28, -0.32, 0.22, 0.0],  # eV/Angstrom^2
    positions=[[0, 0, 0], [0.25, 0.25, 0.25]],
)
_ = PhononBandsDisplay.from_draws(draw_parameters(model)).plot()

# %%
# Constants are means of five universal force fields, made harder until they have one
# measured energy, that of the optical phonon at the zone centre
# (:doc:`/training_priors`).

# %%
# What one orientation sees
# -------------------------
# A plane at 18 meV, of all orientations and of one.

from skphonon import CrystalGrid, Measurement, SingleCrystalSimulator
from skphonon.inspection import SpectrumMapDisplay

energy, h = np.arange(3.0, 46.0, 1.5), np.linspace(-4, 4, 33)
grid = CrystalGrid(
    energy,
    h,
    h,
    0.0,
    lattice=5.66 * np.eye(3),
    psi=np.arange(0.0, 90.0, 3.0),
    incident_energy=70.0,
    two_theta=(5.0, 135.0),
    elevation=(-20.0, 20.0),
)
simulator = SingleCrystalSimulator(model, grid, energy_resolution=1.2)
whole = simulator.simulate([model.reference])
seen = grid.coverage(30.0).ravel() & grid.mask.ravel()
both = [Measurement(row, grid) for row in (whole, np.where(seen, whole, np.nan))]
maps = SpectrumMapDisplay.from_measurements(both, ["all", "one orientation"], energy=18)
_ = maps.plot(log=True)

# %%
# A measurement with counts
# -------------------------
# All energies, a background, and Poisson counts, three in a mean voxel. The true
# constants are drawn about those of the model: no method below is given them.

import pandas as pd

from skphonon.physics.priors import parameter_scales

spread = 0.2 * parameter_scales(model.reference, model.parameter_names)
rng = np.random.default_rng(5)
truth = model.reference + spread * rng.standard_normal((1, 6))
expected = simulator.simulate(truth)[0, seen]
expected = expected / expected.mean() + 0.3
measured = np.full((1, grid.n_pixels), np.nan)
measured[0, seen] = rng.poisson(3 * expected / expected.mean())
print(f"One orientation sees {seen.sum()} of {grid.mask.sum()} voxels")

# %%
# A network that accepts gaps
# ---------------------------
# It is trained on clean, complete spectra. The code of an incomplete one is the most
# probable, given the voxels that were measured, a scale and a background.
# :doc:`/single_crystal` compares it, over 60 crystals, with a network that goes
# directly from voxels to constants.

from sklearn.pipeline import make_pipeline

from skphonon import ForceConstantRegressor, VAEFeatureExtractor
from skphonon.datasets import make_crystal_spectra
from skphonon.learning import PosteriorInference, Trainer

sets = model.reference + spread * rng.standard_normal((800, 6))
X, y = make_crystal_spectra(
    simulator, parameters=sets[model.is_stable(sets)], dtype="float32"
)
slope = np.repeat(energy, grid.shape[1])
terms = np.array([np.ones_like(slope), slope])  # of the background
network = make_pipeline(
    VAEFeatureExtractor(
        n_components=10,
        inference=PosteriorInference(terms),
        compression=64,
        output="distribution",
        trainer=Trainer(max_epochs=100),
        random_state=0,
    ),
    ForceConstantRegressor(latent="distribution", noise=0.3, random_state=0),
).fit(X, y)

# %%
# Least squares from there
# ------------------------
# Bright voxels have large errors: ``noise="poisson"`` takes them from the fitted
# counts. With equal errors in all voxels, error bars would be far too small.

from sklearn.frozen import FrozenEstimator

from skphonon import LeastSquaresInverter
from skphonon.inversion import Search

search = LeastSquaresInverter(
    simulator,
    background=terms,
    prior=(model.reference, np.diag(spread**2)),
    search=Search(initial=FrozenEstimator(network)),
    noise="poisson",
).fit(measured)
lines = {"truth": truth[0].round(3)}
draws = {}
for name, method in {"network": network, "and least squares": search}.items():
    values, std = method.predict(measured, return_std=True)
    draws[name] = values[0], std[0]
    lines[name] = [
        f"{value:.3f} ± {bar:.3f}" for value, bar in zip(values[0], std[0], strict=True)
    ]
pd.DataFrame(lines, pd.Index(model.parameter_names, name="eV/Å²"))

# %%
# Phonons
# -------
# A network gives each constant a standard deviation. Draws then treat constants as
# independent, which widens the bands. Least squares gives their covariance.

bands = PhononBandsDisplay.from_draws(
    {
        "network": draw_parameters(
            model, draws["network"][0], std=draws["network"][1], random_state=0
        ),
        "and least squares": search.fits_[0],
        "truth": draw_parameters(model, truth[0]),
    }
)
_ = bands.plot()
