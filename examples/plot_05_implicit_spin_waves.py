r"""
Spin waves as counts arrive
===========================

A network learns to compute maps of spin waves and is fitted to pixels measured on
La\ :sub:`2`\ NiO\ :sub:`4`. No peak has to be found. Where the map cannot be had, the
first line of the output says so.
"""

# sphinx_gallery_thumbnail_number = 2
from skphonon.datasets import load_la2nio4_map

measured = load_la2nio4_map()
print(measured.measurement.source)
_ = measured.measurement.plot(cuts={"energy": (80.0, 90.0)})

# %%
# The network
# -----------
# It is trained on single pixels of simulated maps: wavevector, energy, J, J' and the
# intensity there. This one has a tenth of the simulations of the guide,
# :doc:`/implicit_models`, and a quarter of the pixels of each: its correlation with new
# simulations, the mean and the worst, is lower.

import numpy as np

from skphonon import ImplicitSpectrumModel, PathGrid, SpinWaveSimulator
from skphonon.datasets import load_la2nio4_model

UNIT = 1 / 250  # S per spin, in 1/meV, that shows as an intensity of one in the map
simulator = SpinWaveSimulator(
    load_la2nio4_model(),
    PathGrid(np.arange(0.5, 200.0), measured.grid.wavevectors),
    energy_resolution=3.2,
    q_resolution=0.054,
    temperature=10.0,
)
network = ImplicitSpectrumModel(unit=UNIT, random_state=0)
network.fit_simulator(
    simulator, 120, bounds=[[20.0, -30.0], [75.0, 10.0]], n_pixels=1024
)
correlation = network.held_out_correlation_
print(f"{correlation.mean():.4f}, {correlation.min():.4f}")

# %%
# The fit
# -------
# The loss is one less the correlation between logarithms of the map, its background
# subtracted, and of the network. Searches start at random between bounds. Published
# values are J = 29.00 and J' = 1.67 meV; :doc:`/implicit_models` tells what moves them.

import warnings

from skphonon import PixelInverter
from skphonon.inversion import MisfitWarning

warnings.simplefilter("ignore", MisfitWarning)  # a map holds more than spin waves
seen = np.flatnonzero(measured.grid.mask)[::3]  # a third of the pixels will do
places = measured.coordinates[seen]
inverter = PixelInverter(network, unit=UNIT, n_starts=4, random_state=0)
inverter.fit(places, measured.without_background[0, seen].clip(0))
(j, k), (dj, dk) = inverter.parameters_, inverter.std_
print(f"J = {j:.2f} ± {dj:.2f} meV, J' = {k:.2f} ± {dk:.2f} meV")
print(f"{inverter.restarts_['agrees'].sum()} of 4 searches end there")

# %%
# Measured, less the published background, and fitted.

from skphonon.inspection import SpectrumMapDisplay

data = measured.measurement.replace(data=measured.without_background, error=None)
fitted = data.replace(data=inverter.predict(measured.coordinates)[None])
maps = SpectrumMapDisplay.from_measurements([data, fitted], ["measured", "network"])
_ = maps.plot(cuts={"energy": (80.0, 90.0)})

# %%
# While neutrons arrive
# ---------------------
# Counts are drawn from the map as it was measured, three quarters of them background,
# and added as in an experiment. Each call of ``partial_fit`` adds the new counts and
# continues from the fit before. Pixels without a count contribute to the Poisson
# likelihood as well, and a background is fitted along.

import pandas as pd

rng = np.random.default_rng(0)
live = PixelInverter(
    network, loss="poisson", background=4, errors="noise", n_starts=2, random_state=0
)
expected = measured.data[0, seen] / measured.data[0, seen].sum()
course, total = [], 0
for target in (500, 4000, 32_000):
    arrived = rng.poisson((target - total) * expected)
    live.partial_fit(places, arrived, exposure=target - total)
    total = target
    course.append([live.n_counts_, *live.parameters_, *live.std_])
pd.DataFrame(course, columns=["counts", "J", "J'", "std of J", "std of J'"]).round(2)
