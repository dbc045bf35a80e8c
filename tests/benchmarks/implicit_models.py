"""A network in the place of a simulator: how good, how fast, and what fits find.

Run with ``python tests/benchmarks/implicit_models.py [train] [fits] [counts]
[aluminium]`` and one thread (OMP_NUM_THREADS=1); minutes each, all of them if none is
named. Needs the published data (downloaded, or SKPHONON_DATA).

train
    The spin-wave simulator of La2NiO4, J 20 to 75 and J' -30 to 10 meV: correlation of
    log(1 + S) on 100 new sets of constants, seconds. Kept in --folder for what follows.
fits
    The measured map: the network by correlation and by counts from 20 random starts,
    beside least squares with the exact simulator.
counts
    The same of counts thinned from the map, 500 to 500,000, as they arrive.
aluminium
    Powder spectra of aluminium by a network and by the exact simulator.
"""

import argparse
import warnings
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np

from skphonon import (
    ImplicitSpectrumModel,
    IncompleteDatasetWarning,
    LeastSquaresInverter,
    PathGrid,
    PixelInverter,
    PowderSimulator,
    SpinWaveSimulator,
    fetch_aluminium_arcs,
    fetch_la2nio4,
    load_aluminium_model,
    load_la2nio4_model,
    nmse,
)

BOUNDS = [[20.0, -30.0], [75.0, 10.0]]  # meV, of J and J' in the paper
UNIT = 250.0  # brings S per spin to the size of the measured intensities


class Scaled:
    """A simulator whose intensities are in another unit."""

    def __init__(self, simulator):
        self.simulator = simulator
        self.parameter_names = simulator.parameter_names
        self.reference, self.grid = simulator.reference, simulator.grid
        self.is_stable = simulator.is_stable

    def simulate(self, parameters):
        return UNIT * self.simulator.simulate(parameters)


def spin_waves(grid):
    """Return the exact simulator, with the resolutions that a fit found."""
    return SpinWaveSimulator(
        load_la2nio4_model(),
        grid,
        energy_resolution=3.2,
        q_resolution=0.054,
        temperature=10.0,
    )


def train(measured, folder, n_simulations):
    """Train on both ways through the square, and judge on new constants."""
    path = measured.grid.wavevectors
    both = np.vstack([path, path[:, [1, 0, 2]]])
    simulator = Scaled(spin_waves(PathGrid(np.arange(0.5, 200.0), both)))
    started = perf_counter()
    model = ImplicitSpectrumModel(random_state=0, verbose=1)
    model.fit_simulator(simulator, n_simulations, bounds=BOUNDS)
    print(f"trained in {perf_counter() - started:.0f} s, simulations included")
    rows = np.random.default_rng(1).uniform(*BOUNDS, size=(400, 2))
    rows = rows[simulator.is_stable(rows)][:100]
    exact = UNIT * spin_waves(measured.grid).simulate(rows)
    seen = measured.grid.mask.ravel()
    found = model.simulate_at(measured.coordinates[seen], rows)
    correlation = [
        np.corrcoef(np.log1p(a[seen]), np.log1p(b.clip(0)))[0, 1]
        for a, b in zip(exact, found, strict=True)
    ]
    worst = int(np.argmin(correlation))
    print(
        f"{len(rows)} new sets: correlation {np.mean(correlation):.5f}, worst "
        f"{correlation[worst]:.5f} at {rows[worst].round(1)}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "la2nio4.joblib")


def fits(measured, model):
    """Fit the measured map in several ways."""
    seen = measured.grid.mask.ravel()
    X, y = measured.coordinates[seen], measured.data[0, seen]
    flat = measured.without_background[0, seen].clip(0)
    for name, intensity, options in (
        ("correlation, subtracted", flat, {"loss": "correlation", "background": 0}),
        ("correlation, degree 4", y, {"loss": "correlation", "background": 4}),
        ("counts", measured.counts[0, seen], {"loss": "poisson", "background": 4}),
    ):
        inverter = PixelInverter(model, n_starts=20, random_state=0, **options)
        started = perf_counter()
        inverter.fit(X, intensity)
        told(f"network, {name}", inverter, perf_counter() - started)
        print(f"    {inverter.restarts_['agrees'].sum()} of 20 starts agree")
    exact = LeastSquaresInverter(
        spin_waves(measured.grid),
        nuisance={"energy_resolution": (0.5, 15.0), "q_resolution": (0.005, 0.1)},
        background=(6, 0),
        n_candidates=8,
        random_state=0,
    ).fit(measured.data)
    started = perf_counter()
    result = exact.invert(measured.data, errors=measured.errors)
    (j, k), (dj, dk) = result.parameters[0], result.std[0]
    seconds = perf_counter() - started
    print(f"exact: J {j:.2f}({dj:.2f}) J' {k:.2f}({dk:.2f}) {seconds:.1f} s")


def counts(measured, model):
    """Let counts arrive, drawn from the measured map."""
    seen = measured.grid.mask.ravel()
    X, y = measured.coordinates[seen], measured.data[0, seen]
    rng = np.random.default_rng(0)
    inverter = PixelInverter(model, loss="poisson", background=4, random_state=0)
    total = 0
    for target in (500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 500000):
        arrived = rng.poisson((target - total) * y / y.sum())
        started = perf_counter()
        inverter.partial_fit(X, arrived, exposure=target - total)
        total = target
        told(f"{inverter.n_counts_:8.0f} counts", inverter, perf_counter() - started)


def aluminium():
    """Invert powder spectra by a network and by the exact simulator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        measured = fetch_aluminium_arcs()
    exact = PowderSimulator(load_aluminium_model(), measured.grid, temperature=50.0)
    started = perf_counter()
    model = ImplicitSpectrumModel(
        target="linear",
        unit=0.01,
        omega_0=5.0,
        max_epochs=12,
        random_state=0,
        verbose=1,
    ).fit_simulator(exact, 2000, n_pixels=2000)
    print(f"trained in {perf_counter() - started:.0f} s")
    rows = exact.reference * np.random.default_rng(5).uniform(0.5, 1.5, size=(100, 5))
    rows = rows[exact.is_stable(rows)]
    errors = nmse(exact.simulate(rows), model.simulate(rows))
    print(f"{len(rows)} new sets: NMSE {errors.mean():.5f}, worst {errors.max():.5f}")
    for name, simulator in (("exact", exact), ("network", model)):
        inverter = LeastSquaresInverter(
            simulator, bounds=model.bounds_, random_state=0
        ).fit(measured.data)
        inverter.predict(measured.data[:1])
        started = perf_counter()
        values = inverter.predict(measured.data)
        seconds = (perf_counter() - started) / len(values)
        again = nmse(measured.data, exact.simulate(values), scale="fitted")
        print(f"{name:8s} NMSE of the exact spectra {again.round(4)}, {seconds:.2f} s")
        print(values.round(3))


def told(name, inverter, seconds):
    (j, k), (dj, dk) = inverter.parameters_, inverter.std_
    print(
        f"{name}: J {j:.2f}({dj:.2f}) J' {k:.2f}({dk:.2f}) {seconds:.1f} s", flush=True
    )


if __name__ == "__main__":
    parts = ["train", "fits", "counts", "aluminium"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=parts)
    parser.add_argument("--folder", type=Path, default="results/implicit_models")
    parser.add_argument("--simulations", type=int, default=1200)
    arguments = parser.parse_args()
    measured = fetch_la2nio4()
    if "train" in arguments.parts:
        train(measured, arguments.folder, arguments.simulations)
    if {"fits", "counts"} & set(arguments.parts):
        model = joblib.load(arguments.folder / "la2nio4.joblib")
    if "fits" in arguments.parts:
        fits(measured, model)
    if "counts" in arguments.parts:
        counts(measured, model)
    if "aluminium" in arguments.parts:
        aluminium()
