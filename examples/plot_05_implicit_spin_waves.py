r"""
Spin waves by a network, while neutrons arrive
==============================================

A network learns to compute maps of spin waves for any exchange constants, and then
replaces the simulator. It is fitted to pixels of a map measured on
La\ :sub:`2`\ NiO\ :sub:`4`, with error bars, and fitted again as counts arrive. No peak
has to be found, and few counts are enough.
"""

# %%
# The map
# -------
# 121 energies at 217 wavevectors. Without access to the data, a map is simulated, and
# the first line of the output says so.

from itertools import pairwise
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.utils import Bunch

from skphonon import ImplicitSpectrumModel, PathGrid, PixelInverter, SpinWaveSimulator
from skphonon.datasets import fetch_la2nio4, load_la2nio4_model
from skphonon.instrument.grid import pixel_coordinates

UNIT = 1 / 250  # S per spin, in 1/meV, that shows as an intensity of one in the map
BOUNDS = [20.0, -30.0], [75.0, 10.0]  # meV, of J and J'
WIDTHS = {"energy_resolution": 3.2, "q_resolution": 0.054, "temperature": 10.0}


def make_up_map():
    """Draw counts from simulated spin waves on a background."""
    corners = [[0.5, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0], [0.5, 0, 0]]
    path = np.vstack([np.linspace(*legs, 70) for legs in pairwise(corners)])
    grid = PathGrid(np.arange(20.0, 141.0), path)
    truth = SpinWaveSimulator(load_la2nio4_model(), grid, **WIDTHS)
    magnons = truth.simulate([truth.reference]) / UNIT
    data = np.random.default_rng(0).poisson(10 * (magnons + 0.5)) / 10
    return Bunch(
        data=data,
        without_background=data - 0.5,
        grid=grid,
        coordinates=pixel_coordinates(grid),
    )


try:
    measured = fetch_la2nio4()
    print("Map measured on La2NiO4")
except OSError as error:
    measured = make_up_map()
    print(f"SYNTHETIC map with noise, not a measured one ({error})")
seen = measured.grid.mask.ravel()
places, intensity = measured.coordinates[seen], measured.data[0, seen]
magnons = measured.without_background[0, seen].clip(0)

# %%
# The network
# -----------
# It is trained on single pixels of simulated maps: wavevector, energy, J, J' and the
# intensity there. This one has a quarter of the simulations of the guide,
# :doc:`/implicit_models`.

model = load_la2nio4_model()
simulator = SpinWaveSimulator(
    model,
    PathGrid(np.arange(0.5, 200.0), measured.grid.wavevectors),
    **WIDTHS,
)
network = ImplicitSpectrumModel(unit=UNIT, random_state=0)
started = perf_counter()
network.fit_simulator(simulator, 300, bounds=BOUNDS, n_pixels=2048)
print(f"Trained in {perf_counter() - started:.0f} s")
correlation = network.held_out_correlation_
print(f"New simulations: correlation {correlation.mean():.4f}, {correlation.min():.4f}")

# %%
# A fit, and its landscape
# ------------------------
# The loss is one less the correlation between logarithms of the map, its background
# subtracted, and of the network. Searches start at random within the bounds and end at
# the same place. The landscape, of every tenth pixel, has one deep valley. The searches
# are Gauss-Newton, with the derivatives of the network.

inverter = PixelInverter(network, unit=UNIT, n_starts=20, random_state=0)
started = perf_counter()
inverter.fit(places, magnons)
(j, k), (dj, dk) = inverter.parameters_, inverter.std_
print(f"J = {j:.2f} ± {dj:.2f} meV, J' = {k:.2f} ± {dk:.2f} meV")
print(
    f"in {perf_counter() - started:.1f} s; "
    f"{inverter.restarts_['agrees'].sum()} of 20 starts agree"
)

axis_j, axis_k = np.linspace(20, 75, 56), np.linspace(-30, 10, 41)
rows = np.stack(np.meshgrid(axis_j, axis_k), axis=-1).reshape(-1, 2)
rows = rows[model.is_stable(rows)]
some = slice(None, None, 10)
simulated = np.log1p(network.simulate_at(places[some], rows) / UNIT)
data = np.log1p(magnons[some])
loss = [1 - np.corrcoef(data, row)[0, 1] for row in simulated]
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
shown = ax.tricontourf(*rows.T, loss, levels=30, cmap="viridis_r")
figure.colorbar(shown, label="1 - correlation")
ax.plot(*inverter.restarts_[["J", "J'"]].to_numpy().T, "o", mfc="none", color="C3")
ax.plot(29.00, 1.67, "k+", markersize=12)
ax.set(xlabel="J (meV)", ylabel="J' (meV)", title="ends of 20 searches; +, published")

# %%
# Data and fit
# ------------

image = np.full(measured.grid.n_pixels, np.nan)
image[seen] = inverter.predict(places)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
energy, number = measured.grid.axes()
shown = {"measured, background off": measured.without_background[0], "network": image}
for ax, (title, row) in zip(axes, shown.items(), strict=True):
    logarithm = np.log1p(measured.grid.to_image(row).clip(0))
    ax.pcolormesh(number, energy, logarithm, vmax=np.log1p(np.quantile(magnons, 0.99)))
    ax.set(title=title, xlabel="wavevector, along the path")
axes[0].set_ylabel("energy (meV)")

# %%
# While neutrons arrive
# ---------------------
# Counts are drawn from the map as it was measured, three quarters of them background,
# and added as in an experiment. Each call of `partial_fit` adds the new counts and
# continues from the fit before. Pixels without a count contribute to the Poisson
# likelihood as well, and a background is fitted along.

rng = np.random.default_rng(0)
live = PixelInverter(
    network, loss="poisson", background=4, errors="noise", random_state=0
)
expected = intensity / intensity.sum()
course, total = [], 0
for target in (500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000):
    arrived = rng.poisson((target - total) * expected)
    started = perf_counter()
    live.partial_fit(places, arrived, exposure=target - total)
    seconds, total = perf_counter() - started, target
    course.append([live.n_counts_, *live.parameters_, *live.std_])
    (j, k), (dj, dk) = live.parameters_, live.std_
    print(
        f"{live.n_counts_:6.0f} counts: J {j:5.2f} ± {dj:.2f}, J' {k:5.2f} ± {dk:.2f}; "
        f"{seconds:.1f} s"
    )
course = np.array(course).T

figure, axes = plt.subplots(2, 1, figsize=(6, 5), sharex=True, layout="constrained")
for n, (ax, name) in enumerate(zip(axes, ("J", "J'"), strict=True)):
    value, std = course[1 + n], course[3 + n]
    ax.fill_between(course[0], value - std, value + std, alpha=0.3)
    ax.plot(course[0], value, "o-")
    ax.axhline((29.00, 1.67)[n], color="k", linestyle=":")
    ax.set(xscale="log", ylabel=f"{name} (meV)")
axes[1].set_xlabel("counts")
axes[0].set_title("as counts arrive; dotted, published")
plt.show()
