"""Draws from the posterior of a simulated spectrum of aluminium."""

import numpy as np
from pictures.synthetic import aluminium_map

from skphonon import LeastSquaresInverter, PosteriorInverter
from skphonon.inspection import CornerDisplay

measured, simulator = aluminium_map(step=3, noise=0.2, mesh=6, seed=1)
half = np.abs(simulator.reference) / 2 + [0, 0, 0, 0, 0.06]
fit = LeastSquaresInverter(
    simulator,
    bounds=(simulator.reference - half, simulator.reference + half),
    noise="noise",
)
inverter = PosteriorInverter(fit, n_draws=2000, n_starts=1, n_candidates=8)
inverter.fit(measured.data).predict(measured.data, errors=measured.error)
CornerDisplay.from_draws(inverter.posteriors_[0], truth=simulator.reference).plot()
