r"""
One spectrum by four methods, with error bars
=============================================

A powder spectrum of aluminium is inverted by a simplex, by least squares with exact
gradients, by a network trained on simulations, and by least squares that start from the
prediction of the network. Then: is the spectrum like those of the training set, how
often are the error bars right, and how uncertain is the dispersion?
"""

# %%
# The spectrum
# ------------
# Measured on ARCS at 50 K. Without access to the data, one is simulated, and the first
# line of the output says so.

import warnings
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator
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
)
from skphonon.calibration import CalibratedRegressor
from skphonon.datasets import IncompleteDatasetWarning
from skphonon.inspection import PhononBandsDisplay, ReliabilityDisplay, draw_parameters
from skphonon.inversion import MisfitWarning, Search
from skphonon.learning import OutOfDistributionWarning, Trainer

model = load_aluminium_model()


def make_up_spectrum():
    """Simulate a spectrum with noise on the grid of the measured ones."""
    grid = SpectrumGrid(
        np.arange(10.25, 45, 0.5),
        np.arange(0.05, 10.1, 0.1),
        incident_energy=50.0,
        two_theta=(1.0, 136.0),
    )
    simulator = PowderSimulator(model, grid, energy_resolution=1.54, temperature=50.0)
    data, _ = make_powder_spectra(
        simulator, parameters=[simulator.reference], noise=0.23, random_state=0
    )
    return Measurement(
        data, grid, quantity="chi", temperature=50.0, energy_resolution=1.54
    )


try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        measured = fetch_aluminium_arcs().measurement[0]  # the coldest, 50 K
    print("Spectrum measured on ARCS at 50 K")
except OSError as error:
    measured = make_up_spectrum()
    print(f"SYNTHETIC spectrum with noise, not a measured one ({error})")
simulator = PowderSimulator.from_measurement(model, measured)

# %%
# A network
# ---------
# It is trained on simulations with augmentation. A regressor estimates its errors from
# samples of its training set. 300 new spectra correct these estimates
# (:class:`~skphonon.calibration.CalibratedRegressor`).

AUGMENTATION = {
    "energy_resolution": (1.2, 1.9),
    "q_resolution": (0.06, 0.12),
    "lattice_scale": (0.985, 1.02),
    "mean_square_displacement": (0.0, 0.012),
    "background": (0.0, 0.4),
}


def draw(n_samples, seed):
    """Simulate spectra with augmentation."""
    return make_powder_spectra(
        simulator,
        n_samples,
        noise=(0.1, 0.3),
        augmentation=AUGMENTATION,
        random_state=seed,
    )


X, y = draw(4000, 0)
network = make_pipeline(
    MaskedSpectrumPreprocessor(),
    VAEFeatureExtractor(
        output="distribution", trainer=Trainer(max_epochs=60), random_state=0
    ),
    ForceConstantRegressor(latent="distribution", random_state=0),
)
started = perf_counter()
network.fit(X, y)
print(f"Trained in {perf_counter() - started:.0f} s")
sure = CalibratedRegressor(FrozenEstimator(network)).fit(*draw(300, 1))

# %%
# Is the spectrum like those of the training set?
# -----------------------------------------------
# If not, `predict` warns and says why. The measured spectrum differs a little from all
# simulations, which lack some of its background. Dead pixels and a crystal much stiffer
# than any of the training set are detected. A shifted energy axis is not: it looks like
# another crystal of the set.

preprocessor, extractor, _ = network.named_steps.values()
simulated = {
    name: make_powder_spectra(
        simulator,
        parameters=[stiffness * simulator.reference],
        noise=0.2,
        augmentation=augmentation,
        random_state=0,
    )[0]
    for name, stiffness, augmentation in (
        ("simulated", 1, None),
        ("simulated, three times as stiff", 3, None),
        ("simulated, 2 meV off", 1, {"energy_offset": 2.0}),
    )
}
dead = np.random.default_rng(0).random(measured.data.shape) < 0.02
spectra = {
    "measured": measured.data,
    "measured, one pixel in fifty dead": np.where(
        dead, np.nanmin(measured.data), measured.data
    ),
    **simulated,
}
rows = np.vstack(list(spectra.values()))
rows[:, np.isnan(measured.data[0])] = np.nan
table = extractor.novelty(preprocessor.transform(rows))
table.insert(0, "spectrum", list(spectra))
print(table.round(4).to_string(index=False))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", OutOfDistributionWarning)
    network.predict(rows)
print(*(warning.message for warning in caught), sep="\n")

# %%
# Four methods
# ------------
# Least squares also fit the resolution, the lattice, the displacements and a
# background, so that their error (NMSE) is that of a model with more parameters.
# Nelder-Mead has no error bars.

NUISANCE = {
    "energy_resolution": (1.0, 3.0),
    "energy_resolution_slope": (-1.0, 1.5),
    "q_resolution": (0.05, 0.2),
    "lattice_scale": (0.97, 1.03),
    "mean_square_displacement": (-0.0035, 0.04),
}


def least_squares(**options):
    """Fit nuisances and a background along with the constants."""
    return LeastSquaresInverter(
        simulator, nuisance=NUISANCE, background=3, random_state=0, **options
    )


methods = {
    "Nelder-Mead": NelderMeadInverter(simulator, scale="fitted"),
    "least squares": least_squares(),
    "network": sure,
    "network, then least squares": least_squares(
        search=Search(initial=FrozenEstimator(network))
    ),
}
results, lines = {}, []
for name, method in methods.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDistributionWarning)  # seen above
        # least squares says so too: white noise alone is an NMSE of 0.052
        warnings.simplefilter("ignore", MisfitWarning)
        if method is not sure:
            method.fit(measured.data)
        method.predict(measured.data)  # the first call prepares grids for directions
        started = perf_counter()
        if name == "Nelder-Mead":
            values, std = method.predict(measured.data), np.full((1, 5), np.nan)
        else:
            values, std = method.predict(measured.data, return_std=True)
    seconds = perf_counter() - started
    error = nmse(measured.data, simulator.simulate(values), scale="fitted")[0]
    error = method.loss_[0] if hasattr(method, "loss_") else error
    results[name] = values[0], std[0]
    line = {"method": name, "NMSE": f"{error:.3f}"}
    for constant, value, bar in zip(
        model.parameter_names, values[0], std[0], strict=True
    ):
        line[constant] = f"{value:.3f}" + (f" ± {bar:.3f}" if np.isfinite(bar) else "")
    lines.append(line | {"seconds": f"{seconds:.2f}"})
print(pd.DataFrame(lines).to_string(index=False))

# %%
# Combinations of constants from the best to the worst determined, by the covariance of
# least squares.

print(methods["least squares"].identifiable_[0].iloc[:, :3].to_string(index=False))

# %%
# Fit and residual of least squares
# ---------------------------------

image = measured.grid.to_image(measured.data)[0]
left = measured.grid.to_image(methods["least squares"].residual_)[0]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.5), sharey=True, layout="constrained")
limit = np.nanmax(image)
titles = ("measured", "fitted", "residual")
for ax, shown, title in zip(axes, (image, image - left, left), titles, strict=True):
    ax.pcolormesh(measured.grid.q, measured.grid.energy, shown, vmax=limit)
    ax.set(title=title, xlabel="|Q| (1/Å)")
axes[0].set_ylabel("energy (meV)")

# %%
# Are the error bars right?
# -------------------------
# On simulated spectra the true constants are known. The band shows the statistical
# uncertainty for this number of spectra; the guide, :doc:`/how_sure`, has the figures
# for 500, and for least squares.

X_test, y_test = draw(250, 2)
ReliabilityDisplay.from_estimator(
    {"network": network, "calibrated": sure},
    X_test,
    y_test,
    targets=model.parameter_names,
).plot()

# %%
# From constants to a dispersion, with its uncertainty
# ----------------------------------------------------
# Cowley fitted phonons measured on a single crystal at 80 K, with more shells. The
# dispersion is shown for his constants of the first two.

methods["least squares"].predict(measured.data)
cowley = load_aluminium_model("cowley-1974")
PhononBandsDisplay.from_draws(
    {
        "least squares": draw_parameters(
            model,
            results["least squares"][0],
            covariance=methods["least squares"].covariance_[0],
            random_state=0,
        ),
        "Cowley 1974, two shells": draw_parameters(cowley),
    }
).plot()
plt.show()
