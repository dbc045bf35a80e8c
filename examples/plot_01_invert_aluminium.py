r"""
Force constants of aluminium from measured powder spectra
=========================================================

Polycrystalline aluminium was measured on ARCS at several temperatures. A pipeline
trained on simulations only finds five force constants with error bars for each
spectrum, and what the instrument did to it. Two optimisers, which need no training, are
beside it: Nelder-Mead, and least squares. Data and task are those of Su and Li,
https://doi.org/10.48550/arXiv.2404.13507. The guide is :doc:`/learn_measured`.
"""

# %%
# Measured spectra
# ----------------
# They are downloaded once, or read from the folder that ``SKPHONON_DATA`` names.
# Without access to them, synthetic spectra are made, and the first line of the output
# says so.

import warnings
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skphonon import (
    ForceConstantRegressor,
    LeastSquaresInverter,
    MaskedSpectrumPreprocessor,
    Measurement,
    NelderMeadInverter,
    PowderSimulator,
    SpectrumGrid,
    VAEFeatureExtractor,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
    nmse,
    save_model,
)
from skphonon.datasets import IncompleteDatasetWarning
from skphonon.inspection import (
    PhononBandsDisplay,
    SpectrumProfilesDisplay,
    TemperatureTrendsDisplay,
    draw_parameters,
)
from skphonon.learning import OutOfDistributionWarning, Trainer, fine_tune
from skphonon.metrics import ResimulationScorer
from skphonon.persistence import attach_card, describe
from skphonon.physics.constants import EV_PER_A2_PER_NEWTON_PER_METRE
from skphonon.preprocessing import normalize_spectra

model = load_aluminium_model()


def make_up_spectra(temperature=(50.0, 150.0, 280.0, 350.0, 450.0, 540.0, 640.0)):
    """Simulate spectra with noise, from constants that fall as the crystal warms."""
    temperature = np.array(temperature)
    grid = SpectrumGrid(
        np.arange(10.25, 45, 0.5),
        np.arange(0.05, 10.1, 0.1),
        incident_energy=50.0,
        two_theta=(1.0, 136.0),
    )
    simulator = PowderSimulator(model, grid, temperature=50.0, energy_resolution=1.54)
    softening = 1 - 0.15 * (temperature - 50) / 600
    data, _ = make_powder_spectra(
        simulator,
        parameters=simulator.reference * softening[:, None],
        noise=0.23,
        random_state=0,
    )
    return Measurement(
        data, grid, quantity="chi", temperature=temperature, energy_resolution=1.54
    )


try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)  # said below
        measured = fetch_aluminium_arcs().measurement
    source, reason = "Spectra measured on ARCS", ""
except OSError as error:
    measured = make_up_spectra()
    source, reason = "SYNTHETIC spectra with noise, not measured ones", f"\n({error})"
temperatures = ", ".join(f"{t:.0f}" for t in measured.temperature)
print(f"{source}, at {temperatures} K{reason}")

# %%
# A training set
# --------------
# Each constant is drawn between half and one and a half times its value from density
# functional theory (2YY, which is small, within 0.06 eV/Å\ :sup:`2`); crystals that are
# unstable are left out. What differs between measurements is drawn as well, for each
# spectrum: temperature, resolution and its slope, \|Q\| resolution, lattice,
# displacements of atoms, noise, and ripples: errors that are alike over a few pixels,
# as what no simulation describes leaves them. A network trained without these mistakes
# them for physics. A background is not drawn, because it will be projected out.

started = perf_counter()
simulator = PowderSimulator.from_measurement(
    model, measured[0], scattering="coherent", tolerance=1e-3
)
half = np.array([0.5, 0.5, 0.5, 0.5, 8.0]) * np.abs(model.reference)
sets = model.reference + half * np.random.default_rng(0).uniform(-1, 1, (20_000, 5))
augmentation = {
    "temperature": (40.0, 680.0),
    "energy_resolution": (0.9, 2.5),
    "energy_resolution_slope": (-0.2, 1.4),
    "q_resolution": (0.03, 0.12),
    "lattice_scale": (0.98, 1.01),
    "mean_square_displacement": (-0.002, 0.008),
    "ripples": (0.0, 0.3),
}
X, y, drawn = make_powder_spectra(
    simulator,
    parameters=sets[model.is_stable(sets)][:11_000],
    noise=(0.02, 0.4),
    augmentation=augmentation,
    return_augmentation=True,
    random_state=0,
    n_jobs=-1,
)
X = np.column_stack([X, drawn["temperature"]])  # known: an input of the network
nuisance = drawn[[name for name in augmentation if name in simulator.nuisance_names]]
nuisance = nuisance.drop(columns="temperature")
X_train, X_test, y_train, y_test, nuisance_train, _ = train_test_split(
    X, y, nuisance, test_size=1000, random_state=0
)
print(f"Simulated {len(X)} spectra in {perf_counter() - started:.0f} s")

# %%
# Train on simulations, check on simulations
# ------------------------------------------
# The preprocessor projects polynomials of degree 3 out of every spectrum, measured or
# simulated, and tells the network temperature and level of noise. The extractor returns
# distributions of codes. The regressor learns constants and nuisances from draws of
# them, with error bars of its own for each spectrum.

started = perf_counter()
inverter = make_pipeline(
    MaskedSpectrumPreprocessor(
        "standard", background=3, grid=measured.grid, n_conditions=1, noise=True
    ),
    VAEFeatureExtractor(
        n_components=50,
        kl_weight=1e-5,
        noise=0.1,
        output="distribution",
        trainer=Trainer(max_epochs=40),
        random_state=0,
    ),
    ForceConstantRegressor(
        latent="distribution",
        loss="likelihood",
        noise=0.3,
        trainer=Trainer(max_epochs=40),
        random_state=0,
    ),
)
inverter.fit(X_train, y_train, forceconstantregressor__nuisance=nuisance_train)
print(f"Trained the pipeline in {perf_counter() - started:.0f} s")

scores = r2_score(y_test, inverter.predict(X_test), multioutput="raw_values")
print(pd.Series(scores, model.parameter_names, name="R2").round(4).to_string())

# %%
# Fine-tune the extractor on the measured spectra
# -----------------------------------------------
# Reconstruction needs no labels. The regressor is then trained again on simulations.

started = perf_counter()
spectra = np.column_stack([measured.data, measured.temperature])
tuned = fine_tune(
    inverter,
    spectra,
    X_train,
    y_train,
    forceconstantregressor__nuisance=nuisance_train,
)
print(f"Fine-tuned it in {perf_counter() - started:.0f} s")

# %%
# Invert the measured spectra, by four methods
# --------------------------------------------
# Without labels a prediction is judged by the spectrum simulated from it at the true
# temperature, with the nuisances predicted along; scale and background are fitted.
# Nelder-Mead fits the constants alone, least squares the nuisances too.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", OutOfDistributionWarning)
    constants, std, found = inverter.predict(
        spectra, return_std=True, return_nuisance=True
    )
print(*(f"Note: {warning.message}" for warning in caught), sep="\n")
print(found.round(3).to_string(index=False))
tuned_constants, tuned_std = tuned.predict(spectra, return_std=True)

started = perf_counter()
baseline = NelderMeadInverter(simulator, scale="fitted").fit(X_train[:, :-1], y_train)
optimised = baseline.predict(measured.data)
seconds = (perf_counter() - started) / len(optimised)
print(f"Nelder-Mead took {seconds:.1f} s a spectrum")

fitted, fitted_std, misfits = [], [], []
started = perf_counter()
for row, kelvin in zip(measured.data, measured.temperature, strict=True):
    least_squares = LeastSquaresInverter(
        clone(simulator).set_params(temperature=float(kelvin)),
        nuisance={
            "energy_resolution": (0.9, 3.0),
            "energy_resolution_slope": (-0.2, 1.5),
            "q_resolution": (0.01, 0.2),
            "lattice_scale": (0.97, 1.03),
            "mean_square_displacement": (-0.004, 0.02),
        },
        background=3,
    ).fit(row[None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a bound, and of what it does not describe
        values, errors = least_squares.predict(row[None], return_std=True)
    fitted.append(values[0])
    fitted_std.append(errors[0])
    misfits.append(least_squares.loss_[0])
seconds = (perf_counter() - started) / len(fitted)
print(f"Least squares took {seconds:.1f} s a spectrum")

scorer = ResimulationScorer(
    simulator, background=3, nuisance=True, conditions=("temperature",)
)
simulated = scorer.resimulate(inverter, spectra)
NEWTON_PER_METRE = 1 / EV_PER_A2_PER_NEWTON_PER_METRE
n_temperatures, n_constants = constants.shape
of_optimised = nmse(
    measured.data,
    simulator.simulate(optimised),
    scale="fitted",
    background=3,
    grid=measured.grid,
)
table = pd.DataFrame(
    {
        "eV/A^2": constants.ravel(),
        "std": std.ravel(),
        "N/m": constants.ravel() * NEWTON_PER_METRE,
        "std N/m": std.ravel() * NEWTON_PER_METRE,
        "fine-tuned": tuned_constants.ravel(),
        "least squares": np.ravel(fitted),
        "Nelder-Mead": optimised.ravel(),
        "NMSE": scorer.misfits(inverter, spectra).repeat(n_constants),
        "NMSE fine-tuned": scorer.misfits(tuned, spectra).repeat(n_constants),
        "NMSE least squares": np.repeat(misfits, n_constants),
        "NMSE Nelder-Mead": of_optimised.repeat(n_constants),
    },
    index=pd.MultiIndex.from_product(
        [measured.temperature.astype(int), model.parameter_names], names=["T (K)", ""]
    ),
)
print(table.round(3).to_string())
print("Mean over temperatures:", table.filter(like="NMSE").mean().round(3).to_dict())

# %%
# Measured and re-simulated maps
# ------------------------------

energy, q = measured.grid.axes()
shown = [0, n_temperatures - 1]
rows = np.vstack([measured.data[shown], simulated[shown]])
images = measured.grid.to_image(normalize_spectra(rows))
maps, axes = plt.subplots(2, 2, figsize=(8, 6), sharex=True, sharey=True)
for ax, image in zip(axes.T.flat, images[[0, 1, 2, 3]], strict=True):
    drawn = ax.pcolormesh(q, energy, image, vmin=-0.15, vmax=0.6)
for row, index in zip(axes, shown, strict=True):
    row[0].set(title=f"measured, {measured.temperature[index]:.0f} K")
    row[1].set(title="simulated from the prediction")
    row[0].set(ylabel="energy transfer (meV)")
for ax in axes[1]:
    ax.set(xlabel=r"$|Q|$ (1/Å)")
maps.colorbar(drawn, ax=axes, label=r"normalised $\chi''$")

# %%
# Averages over \|Q\|
# -------------------
# Dots are measured, lines simulated from the prediction. The table follows the peaks.

profiles = SpectrumProfilesDisplay.from_predictions(
    measured.data, simulated, temperature=measured.temperature, grid=measured.grid
)
curves = profiles.plot().figure_
print(profiles.peaks.drop(columns="sample").round(2).to_string(index=False))

# %%
# Phonon dispersion
# -----------------
# Bands are 68 % intervals from the error bars of the constants, taken as independent.

bands = PhononBandsDisplay.from_draws(
    {
        f"{measured.temperature[index]:.0f} K": draw_parameters(
            model, constants[index], std=std[index], random_state=0
        )
        for index in shown
    }
)
dispersion = bands.plot().figure_

# %%
# Constants against temperature
# -----------------------------
# Straight lines are fitted to all temperatures. Spearman's rank correlation is -1 for
# a constant that falls throughout.

display = TemperatureTrendsDisplay.from_predictions(
    {
        "trained on simulations": (constants, std),
        "fine-tuned": (tuned_constants, tuned_std),
        "least squares": (np.array(fitted), np.array(fitted_std)),
    },
    measured.data,
    temperature=measured.temperature,
    simulator=simulator,
)
trends = display.plot().figure_
fits = display.fits.pivot(index="quantity", columns="estimator", values="spearman")
print(fits.loc[model.parameter_names].round(2).to_string())

# %%
# Save figures, table and model
# -----------------------------
# The card in the file records how the model was trained. Reading the file
# (``load_model``) runs no code from it.

folder = Path("results")
folder.mkdir(exist_ok=True)
figures = {"maps": maps, "curves": curves, "dispersion": dispersion, "trends": trends}
for name, figure in figures.items():
    figure.savefig(folder / f"aluminium_{name}.png", dpi=150)
table.to_csv(folder / "aluminium_constants.csv")
attach_card(
    inverter,
    simulator=simulator,
    X=X_train,
    y=y_train,
    scores={"R2": dict(zip(model.parameter_names, scores.round(4), strict=True))},
)
save_model(inverter, folder / "aluminium_model.skops", overwrite=True)
print(describe(inverter))
print(f"Figures, table and model are in {folder.resolve()}")
