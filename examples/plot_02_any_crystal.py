r"""
Any crystal
===========

The compound Cu\ :sub:`3`\ Au: a calculator gives its force constants, a simulator the
powder spectrum in absolute units, and the derivatives of that how well a measurement
would determine each constant.
"""

# sphinx_gallery_thumbnail_number = 3
from ase.calculators.emt import EMT
from ase.spacegroup import crystal

from skphonon import ForceConstantModel
from skphonon.inspection import PhononBandsDisplay, draw_parameters

corners, cell = [[0, 0, 0], [0, 0.5, 0.5]], [3.75] * 3 + [90] * 3
atoms = crystal(["Au", "Cu"], corners, spacegroup=221, cellpar=cell)
model = ForceConstantModel.from_calculator(atoms, EMT(), n_shells=2)
_ = PhononBandsDisplay.from_draws(draw_parameters(model)).plot()

# %%
# Force constants from a calculator
# ---------------------------------
# Atoms of a supercell were displaced, and the forces gave the constants, here of
# nearest neighbours. Names tell the shell and the element of the tensor. Effective
# medium theory, https://doi.org/10.1016/0039-6028(96)00816-3, is fast, but not
# accurate: for real results take density functional theory. The lattice is that of
# https://doi.org/10.1007/BF02893155.

import pandas as pd

pd.DataFrame({"eV/Å²": model.reference.round(3)}, model.parameter_names)

# %%
# Two shells of the same length, Au-Cu and Cu-Cu, hold most of what the supercell tells:
# with all of its constants the bands move by half a meV.

whole = ForceConstantModel.from_calculator(atoms, EMT())
print(f"{len(whole.parameter_names)} constants in the supercell")
_ = PhononBandsDisplay.from_draws(
    {
        "all constants": draw_parameters(whole),
        "nearest neighbours": draw_parameters(model),
    }
).plot()

# %%
# A powder spectrum in absolute units
# -----------------------------------
# 40 meV neutrons, detectors from 3 to 135 degrees, a resolution that improves with the
# energy loss, and no elastic line. Parts of the scattering are simulated one by one:
# multiphonon scattering looks like a smooth background.

import numpy as np

from skphonon import Measurement, PowderSimulator, SpectrumGrid
from skphonon.inspection import SpectrumMapDisplay
from skphonon.instrument import PolynomialResolution
from skphonon.simulation import Scattering

grid = SpectrumGrid(
    np.arange(4, 30.1, 0.5),
    np.arange(0.5, 7.01, 0.1),
    incident_energy=40.0,
    two_theta=(3.0, 135.0),
)
settings = {
    "temperature": 300.0,
    "energy_resolution": PolynomialResolution([1.0, -0.015]),
    "q_resolution": 0.05,
    "quantity": "sqe",
    "units": "barn/meV/sr",
    "tolerance": 1e-3,
}
simulator = PowderSimulator(model, grid, scattering="total", **settings)
parts = {
    "all": simulator,
    "coherent, one phonon": PowderSimulator(
        model, grid, scattering="coherent", **settings
    ),
    "and incoherent, one phonon": PowderSimulator(
        model, grid, scattering=Scattering(incoherent=True, n_phonons=1), **settings
    ),
}
images = [
    Measurement(1e3 * part.simulate([model.reference]), grid, units="mbarn/meV/sr")
    for part in parts.values()
]
_ = SpectrumMapDisplay.from_measurements(images, list(parts)).plot(
    cuts={"q": (4.5, 6.0)}
)

# %%
# Information in a spectrum
# -------------------------
# Suppose that a pixel of mean intensity has 400 counts. The Jacobian then gives the
# Fisher information of the measurement, and its inverse the smallest error bars that
# any unbiased method can reach (Cramér and Rao). The error of a constant with all
# others known shows what correlations cost.

spectrum = simulator.simulate([model.reference])[0]
seen = grid.mask.ravel()
scale = 400 / spectrum[seen].mean()  # neutrons per barn/meV/sr
noise = np.sqrt(spectrum / scale)
jacobian = simulator.jacobian([model.reference])[0, seen] / noise[seen, None]
information = jacobian.T @ jacobian
pd.DataFrame(
    {
        "all constants free": np.sqrt(np.diag(np.linalg.inv(information))),
        "the others known": 1 / np.sqrt(np.diag(information)),
    },
    index=pd.Index(model.parameter_names, name="smallest error, meV/Å²"),
).mul(1e3).round(2)

# %%
# The experiment, simulated and fitted
# ------------------------------------
# Constants 10 % off, and that noise. Errors of pixels are the expected ones, not the
# square roots of the counts, which would give small counts too much weight. The error
# bars of the fit are the smallest possible.

from skphonon import LeastSquaresInverter

rng = np.random.default_rng(0)
truth = model.reference * (1 + 0.1 * rng.standard_normal(len(model.reference)))
expected = np.where(seen, scale * simulator.simulate([truth])[0], 0.0)
counted = np.where(seen, rng.poisson(expected) / scale, np.nan)
inverter = LeastSquaresInverter(simulator, scale="absolute").fit(counted[None])
inverter.predict(counted[None], errors=noise[None])
(fit,) = inverter.fits_
print(fit.verdict_)
pd.DataFrame(
    {
        "start": model.reference,
        "truth": truth,
        "fit": fit.parameters,
        "error": fit.std,
        "off by errors": (fit.parameters - truth) / fit.std,
    },
    index=pd.Index(model.parameter_names, name="eV/Å²"),
).round(3)

# %%
# Measured, fitted, and the residual in standard deviations of the pixels.

_ = fit.plot(cuts={"q": (4.5, 6.0)})
