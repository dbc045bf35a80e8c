r"""
Any crystal: the powder spectrum of a compound
==============================================

Ordered Cu\ :sub:`3`\ Au has four atoms a cell and two elements. Its force constants
come from a calculator of ASE. A simulator then gives the powder spectrum in absolute
units, its parts, its error, and its derivatives. The derivatives predict how well a
measurement would determine each constant, and are used in the fit.

The calculator is effective medium theory, https://doi.org/10.1016/0039-6028(96)00816-3:
fast, but not accurate. For real results use forces from density functional theory.
"""

# %%
# Force constants from a calculator
# ---------------------------------
# Atoms of a supercell are displaced and the forces give the constants. The independent
# constants within the given range get names. Both kinds of nearest
# neighbours, Au-Cu and Cu-Cu, are at one distance: shells 1 and 2.

from itertools import pairwise
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.emt import EMT
from scipy.optimize import least_squares
from sklearn.base import clone

from skphonon import ForceConstantModel, PowderSimulator, SpectrumGrid
from skphonon.inspection import (
    PhononBandsDisplay,
    draw_parameters,
    high_symmetry_path,
)
from skphonon.instrument import PolynomialResolution
from skphonon.physics.constants import MEV_PER_THZ
from skphonon.physics.scattering import kinematic_mask
from skphonon.simulation import Scattering

LATTICE = 3.75  # Angstrom, https://doi.org/10.1007/BF02893155
crystal = Atoms(
    ["Au", "Cu", "Cu", "Cu"],
    scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    cell=[LATTICE] * 3,
    pbc=True,
)
started = perf_counter()
whole = ForceConstantModel.from_calculator(crystal, EMT())
model = ForceConstantModel.from_calculator(crystal, EMT(), n_shells=2)
print(f"Two sets of force constants took {perf_counter() - started:.1f} s")
print(f"All that the supercell holds: {len(whole.parameter_names)} constants")
print("Nearest neighbours only, eV/A^2:")
print(pd.Series(model.reference, model.parameter_names).round(3).to_string())

# %%
# Phonon dispersion
# -----------------
# The seven constants of nearest neighbours come within half a meV of all of them. The
# dots are phonopy's own interpolation of the same calculation.

path = high_symmetry_path(model)
steps = np.linspace(0, 1, 6)[:, None]
qpoints = np.concatenate(
    [
        start + steps * (end - start)
        for line in path
        for (_, start), (_, end) in pairwise(line)
    ]
)
phonons = whole.to_phonopy()
phonons.run_qpoints(qpoints)
n_modes = phonons.qpoints.frequencies.shape[1]
dots = pd.DataFrame(np.repeat(qpoints, n_modes, axis=0), columns=["q1", "q2", "q3"])
dots["energy"] = MEV_PER_THZ * phonons.qpoints.frequencies.ravel()

bands = PhononBandsDisplay.from_draws(
    {
        "all constants": draw_parameters(whole),
        "nearest neighbours": draw_parameters(model),
    },
    path=path,
    measured=dots,
)
exact, near = (
    rows["value"].to_numpy() for _, rows in bands.data.groupby("name", sort=False)
)
print(f"Root mean square difference: {np.sqrt(np.mean((near - exact) ** 2)):.2f} meV")
bands.plot(measured_kw={"label": "phonopy"})

# %%
# A powder spectrum in absolute units
# -----------------------------------
# The instrument: 40 meV neutrons, detectors from 3 to 135 degrees, a resolution that
# improves with the energy loss. The elastic line is masked with a margin on either
# side. The mesh of the Brillouin zone follows from the tolerance, and the number of
# phonons from the intensity in the window.

energy, q = np.arange(-20, 30.1, 0.5), np.arange(0.5, 7.01, 0.1)
window = kinematic_mask(energy, q, 40.0, (3.0, 135.0))
grid = SpectrumGrid(energy, q, mask=window & (abs(energy) >= 4)[:, None])
simulator = PowderSimulator(
    model,
    grid,
    temperature=300.0,
    energy_resolution=PolynomialResolution([1.0, -0.015]),
    q_resolution=0.05,
    quantity="sqe",
    units="barn/meV/sr",
    scattering="total",
    tolerance=1e-3,
)
started = perf_counter()
spectrum = simulator.simulate([simulator.reference])
first = perf_counter() - started
started = perf_counter()
simulator.simulate([simulator.reference])
print(f"The first spectrum took {first:.1f} s, the next {perf_counter() - started:.2f}")

powder, ax = plt.subplots(figsize=(7, 4.5))
image = grid.to_image(spectrum)[0]
drawn = ax.pcolormesh(q, energy, 1e3 * image, vmax=1e3 * np.nanpercentile(image, 99))
ax.set(xlabel=r"$|Q|$ (1/Å)", ylabel="energy transfer (meV)")
label = r"$S(|Q|, E)$ (mbarn/meV/sr a formula unit)"
powder.colorbar(drawn, label=label, extend="max")

# %%
# Accuracy of the average
# -----------------------
# The error is the mean square difference from a mesh of half as many points again along
# each axis, over the variance of the spectrum. It falls exponentially with the points,
# and should be well below the noise that a spectrum is compared with.

print(f"Asked for {simulator.tolerance:g}, got {simulator.mesh_error:.2g}")
for n_points in (4, 6, 8, 10):
    tried = clone(simulator).set_params(mesh=n_points)
    print(f"{n_points:6d} points an axis: {tried.mesh_error:.2g}")

# %%
# Parts of the spectrum
# ---------------------
# Copper and gold scatter mostly coherently. At large \|Q\| multiphonon scattering looks
# like a smooth background. All parts use the same mesh here, so that the error of the
# average cancels in their differences.

terms = {
    "coherent, one phonon": {"scattering": "coherent"},
    "incoherent, one phonon": {"scattering": Scattering(incoherent=True, n_phonons=1)},
    "several phonons": {"scattering": "total"},
}
sums = [
    clone(tried).set_params(**settings).simulate([simulator.reference])
    for settings in terms.values()
]
loss, large = energy >= 4, (q >= 4.5) & (q <= 6)
images = grid.to_image(np.concatenate(sums))[:, loss][:, :, large]
profiles = 1e3 * np.diff(images.mean(axis=2), axis=0, prepend=0)

composition, ax = plt.subplots(figsize=(7, 4))
ax.stackplot(energy[loss], profiles, labels=terms)
ax.set(
    xlabel="energy transfer (meV)",
    ylabel=r"$S$ (mbarn/meV/sr a formula unit)",
    title=r"Mean of $|Q|$ from 4.5 to 6 1/Å, 300 K",
    xlim=(4, 30),
    ylim=(0, None),
)
ax.legend()

# %%
# Information in a spectrum
# -------------------------
# Suppose that a pixel of mean intensity has 400 counts. Then the Jacobian gives the
# Fisher information of the measurement, and its inverse the smallest error bars that
# any unbiased method can reach (Cramér and Rao). The error of a constant with all
# others known shows what correlations cost.

visible = grid.mask.ravel()
scale = 400 / spectrum[0, visible].mean()  # neutrons per barn/meV/sr
noise = np.sqrt(spectrum[0, visible] / scale)
jacobian = simulator.jacobian([simulator.reference])[0, visible]
information = (jacobian / noise[:, None]).T @ (jacobian / noise[:, None])
smallest = np.sqrt(np.diag(np.linalg.inv(information)))
alone = 1 / np.sqrt(np.diag(information))

errors, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
rows = np.arange(len(smallest))
ax.barh(rows - 0.2, 1e3 * smallest, 0.4, label="all constants free")
ax.barh(rows + 0.2, 1e3 * alone, 0.4, label="the others known")
ax.set_yticks(rows, model.parameter_names)
ax.invert_yaxis()
ax.set(xlabel="smallest error bar (meV/Å$^2$)")
ax.legend()

# %%
# Fit a noisy spectrum
# --------------------
# The measurement is simulated with constants that differ by 10 % and with that noise.
# Least squares with the exact Jacobian start at the calculated constants. Errors of
# pixels are the expected ones, not the square roots of the counts, which would give
# small counts too much weight.

rng = np.random.default_rng(0)
truth = model.reference * (1 + 0.1 * rng.standard_normal(len(model.reference)))
measured = rng.poisson(scale * simulator.simulate([truth])[0, visible]) / scale


def residuals(constants):
    """Return the misfit of each pixel in units of its error."""
    return (simulator.simulate([constants])[0, visible] - measured) / noise


def slopes(constants):
    """Return the derivatives of the misfits."""
    return simulator.jacobian([constants])[0, visible] / noise[:, None]


started = perf_counter()
fit = least_squares(residuals, model.reference, jac=slopes, x_scale="jac")
seconds = perf_counter() - started
deviation = np.sqrt(np.diag(np.linalg.inv(fit.jac.T @ fit.jac)))
table = pd.DataFrame(
    {
        "start": model.reference,
        "truth": truth,
        "fit": fit.x,
        "error bar": deviation,
        "off by error bars": (fit.x - truth) / deviation,
    },
    index=pd.Index(model.parameter_names, name="eV/A^2"),
)
print(f"{fit.njev} Jacobians in {seconds:.1f} s", end=", ")
print(f"chi^2 a pixel {2 * fit.cost / visible.sum():.2f}")
print(table.round(3).to_string())

# %%
# The spectrum, the fit and the residual
# --------------------------------------

misfit = np.full(grid.n_pixels, np.nan)
misfit[visible] = -fit.fun
raw = np.full(grid.n_pixels, np.nan)
raw[visible] = measured
fitted = simulator.simulate([fit.x])[0]
maps, axes = plt.subplots(1, 3, figsize=(11, 4), sharey=True, layout="constrained")
top = 1e3 * np.nanpercentile(fitted, 99)
for ax, row, title in zip(axes, [raw, fitted], ["with noise", "fitted"], strict=False):
    drawn = ax.pcolormesh(q, energy, 1e3 * grid.to_image([row])[0], vmin=0, vmax=top)
    ax.set(xlabel=r"$|Q|$ (1/Å)", title=title)
maps.colorbar(drawn, ax=axes[:2], label=r"$S$ (mbarn/meV/sr)", extend="max")
left = axes[2].pcolormesh(
    q, energy, grid.to_image([misfit])[0], vmin=-4, vmax=4, cmap="RdBu_r"
)
axes[2].set(xlabel=r"$|Q|$ (1/Å)", title="difference")
axes[0].set(ylabel="energy transfer (meV)")
maps.colorbar(left, ax=axes[2], label="error bars")
