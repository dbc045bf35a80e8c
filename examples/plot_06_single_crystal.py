r"""
Germanium from one orientation
==============================

A time-of-flight spectrometer measures a thin surface of four-dimensional
:math:`S(\mathbf Q, E)` in one orientation of a crystal. Is that enough for the force
constants? Two networks are trained on simulated crystals from a prior of universal
force fields. Least squares start from their predictions, on a **simulated** measurement
with a few counts a voxel. No measured volume of germanium is public.
"""

# %%
# A prior from force fields
# -------------------------
# Five checkpoints of SevenNet gave the force constants of germanium, at rest and at
# 300 K; :func:`~skphonon.datasets.sample_force_constants` makes such tables. These are
# the first two shells of longer sets. Universal force fields are too soft. One measured
# energy, that of the optical phonon at the zone centre (37.7 meV,
# https://doi.org/10.1103/PhysRevB.3.364), gives the softening of each.

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from skphonon import (
    CrystalGrid,
    ForceConstantModel,
    ForceConstantRegressor,
    LeastSquaresInverter,
    SingleCrystalSimulator,
    SpectrumRegressor,
)
from skphonon.datasets import make_crystal_spectra
from skphonon.inspection import PhononBandsDisplay, draw_parameters
from skphonon.inversion import Search
from skphonon.learning import (
    Augmentation,
    PosteriorInference,
    Trainer,
    VAEFeatureExtractor,
)
from skphonon.physics import ForceConstantPrior

EDGE = 5.66  # Angstrom
FIELDS = {
    "7net-0_22May2024": [
        [2.2054, 1.4487, 0.0935, -0.2915, 0.0335, 0.0],
        [2.2872, 1.5618, 0.0742, -0.2555, 0.0325, 0.0],
    ],
    "7net-0": [
        [1.3741, 0.9962, 0.1913, -0.2564, 0.0978, 0.0],
        [1.4310, 1.0622, 0.1951, -0.2300, 0.0954, 0.0],
    ],
    "7net-mf-0:PBE": [
        [1.3255, 1.1405, 0.1529, -0.1394, 0.1218, 0.0],
        [1.3599, 1.1900, 0.1446, -0.0999, 0.1138, 0.0],
    ],
    "7net-mf-0:R2SCAN": [
        [0.7300, 0.5440, 0.0872, -0.1040, 0.1155, 0.0],
        [0.8293, 0.5974, 0.0937, -0.0961, 0.1082, 0.0],
    ],
    "7net-l3i5": [
        [1.6770, 1.5095, 0.0798, 0.0288, 0.0563, 0.0],
        [1.8009, 1.5856, 0.0625, 0.0284, 0.0460, 0.0],
    ],
}
rows = [row for pair in FIELDS.values() for row in pair]
model = ForceConstantModel(
    EDGE / 2 * (np.ones((3, 3)) - np.eye(3)),
    ["Ge", "Ge"],
    np.mean(rows, axis=0),
    positions=[[0, 0, 0], [0.25, 0.25, 0.25]],
)
table = pd.DataFrame(rows, columns=model.parameter_names).assign(
    calculator=np.repeat(list(FIELDS), 2),
    strain=0.0,
    temperature=[0.0, 300.0] * len(FIELDS),
    scale=1.0,
)
as_given = ForceConstantPrior(model, table)
softening = as_given.learn_softening([[0, 0, 0]], [[np.nan] * 3 + [37.7] * 3])
prior = as_given.rescaled(softening)
print(pd.Series(softening, name="softening").round(2).to_string())
print(
    pd.DataFrame(
        {"mean": prior.mean_, "std": np.sqrt(np.diag(prior.covariance_))},
        model.parameter_names,
    ).round(3)
)

# %%
# The instrument and the measurement
# ----------------------------------
# The true constants are a draw from that distribution, which no method below is given.
# The spectrum has a background and Poisson counts, three in a mean voxel.

grid = CrystalGrid(
    np.arange(3.0, 46.0, 1.5),
    np.linspace(-4, 4, 33),
    np.linspace(-4, 4, 33),
    0.0,
    lattice=EDGE * np.eye(3),
    psi=np.arange(0.0, 90.0, 3.0),
    incident_energy=70.0,
    two_theta=(5.0, 135.0),
    elevation=(-20.0, 20.0),
)
simulator = SingleCrystalSimulator(model, grid, energy_resolution=1.2)
truth = prior.sample(1, random_state=5)
whole = simulator.simulate(truth)
seen = grid.coverage(30.0).ravel() & grid.mask.ravel()
expected = np.where(seen, whole[0], np.nan)
expected = expected / np.nanmean(expected) + 0.3
measured = np.full_like(whole, np.nan)
rng = np.random.default_rng(0)
measured[0, seen] = rng.poisson(3 * expected[seen] / np.nanmean(expected))
print(f"One orientation sees {seen.sum()} of {grid.mask.sum()} voxels")

figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
level = np.abs(grid.energy - 18.0).argmin()
at_energy, h, k = grid.edges()[level : level + 2], *grid.volume_edges()[1:3]
for ax, row, title in zip(
    axes,
    (whole, np.where(seen, whole, np.nan), measured),
    ("all orientations", "one orientation", "one orientation, counted"),
    strict=True,
):
    plane = grid.to_volumes(np.where(grid.mask.ravel(), row, np.nan))[0, level, ..., 0]
    limit = np.nanpercentile(plane, 97)
    ax.pcolormesh(h, k, plane.T, vmin=0, vmax=limit)
    ax.set(title=title, xlabel="h (r.l.u.)", aspect="equal", facecolor="0.8")
axes[0].set_ylabel("k (r.l.u.)")
figure.suptitle(f"{at_energy[0]:g} to {at_energy[1]:g} meV, l = 0")

# %%
# Two networks
# ------------
# Both are trained on clean, complete spectra and applied to incomplete ones: one
# through codes that the measured voxels determine, the other directly.

y = prior.sample(800, random_state=0)
X, y = make_crystal_spectra(simulator, parameters=y, dtype="float32")
energy = np.repeat(grid.energy, grid.shape[1])
terms = np.array([np.ones_like(energy), energy])
methods = {
    "codes": make_pipeline(
        VAEFeatureExtractor(
            n_components=10,
            inference=PosteriorInference(terms),
            compression=64,
            output="distribution",
            trainer=Trainer(max_epochs=150),
            random_state=0,
        ),
        ForceConstantRegressor(latent="distribution", noise=0.3, random_state=0),
    ),
    "direct": SpectrumRegressor(
        augmentation=Augmentation(grid.coverage().reshape(len(grid.psi), -1)),
        n_energy=grid.shape[0],
        random_state=0,
    ),
}
for name, method in methods.items():
    started = perf_counter()
    method.fit(X, y)
    print(f"{name}: trained in {perf_counter() - started:.0f} s")

# %%
# Least squares from the network
# ------------------------------
# Bright voxels have large errors: ``noise="poisson"`` takes them from the fitted
# counts. With equal errors in all voxels, error bars would be far too small.

search = LeastSquaresInverter(
    simulator,
    background=terms,
    prior=(prior.mean_, prior.covariance_),
    search=Search(initial=FrozenEstimator(methods["codes"])),
    noise="poisson",
).fit(measured)
methods["codes, then least squares"] = search

found, lines = {}, {}
share = np.linspace(0, 1, 40)[1:, None]
path = np.concatenate([share * [0.5, 0.5, 0.0], share * [0.5, 0.5, 0.5]])
true_energies = model.frequencies(truth, path)
for name, method in methods.items():
    started = perf_counter()
    values, std = method.predict(measured, return_std=True)
    seconds = perf_counter() - started
    found[name] = values[0], std[0]
    off = np.sqrt(np.mean((model.frequencies(values, path) - true_energies) ** 2))
    lines[name] = [
        f"{value:.3f} ± {bar:.3f}" for value, bar in zip(*found[name], strict=True)
    ]
    print(
        f"{name}: dispersion off by {off:.2f} meV, "
        f"{100 * off / true_energies.max():.1f} % of the highest energy; "
        f"{seconds:.2f} s"
    )
off = np.sqrt(np.mean((model.frequencies(prior.mean_, path) - true_energies) ** 2))
print(f"mean of the prior: off by {off:.2f} meV")
lines["truth"] = [f"{value:.3f}" for value in truth[0]]
print(pd.DataFrame(lines, model.parameter_names).to_string())

# %%
# The dispersion with its uncertainty
# -----------------------------------
# A network gives each constant a standard deviation. Draws then treat constants as
# independent, which widens the bands. Least squares gives their covariance.

PhononBandsDisplay.from_draws(
    {
        "codes": draw_parameters(
            model, found["codes"][0], std=found["codes"][1], random_state=0
        ),
        "codes, then least squares": draw_parameters(
            model,
            found["codes, then least squares"][0],
            covariance=search.covariance_[0],
            random_state=0,
        ),
        "truth": draw_parameters(model, truth[0]),
    }
).plot()
plt.show()
