"""A network in the place of a simulator: how good, how fast, and what fits find.

Run with ``python tests/benchmarks/implicit_models.py [train] [fits] [counts]
[aluminium]`` and one thread (OMP_NUM_THREADS=1); minutes each, all of them if none is
named. Needs the published data (downloaded, or SKPHONON_DATA).

train
    The spin-wave simulator of La2NiO4, J 20 to 75 and J' -30 to 10 meV, with a
    resolution in energy alone and in both energy and Q: correlation of log(1 + S) on
    100 new sets of constants, seconds. Kept in --folder for what follows.
fits
    The measured map: the networks by correlation and by counts from 20 random starts,
    beside the exact simulator fitted by the same inverter and by least squares.
counts
    Counts thinned from the map, 500 to 500,000: as they arrive, and ten draws of each.
aluminium
    Powder spectra of aluminium by a network and by the exact simulator.
"""

import argparse
import warnings
from pathlib import Path
from time import perf_counter, process_time

import joblib
import numpy as np

from skphonon import (
    ImplicitSpectrumModel,
    LeastSquaresInverter,
    PathGrid,
    PixelInverter,
    PowderSimulator,
    SpinWaveSimulator,
    fetch_aluminium_arcs,
    load_aluminium_model,
    nmse,
)
from skphonon.datasets import (
    IncompleteDatasetWarning,
    fetch_la2nio4,
    load_la2nio4_model,
)
from skphonon.instrument.grid import pixel_coordinates
from skphonon.inversion import Search
from skphonon.learning import Trainer

BOUNDS = [[20.0, -30.0], [75.0, 10.0]]  # meV, of J and J' in the paper
UNIT = 1 / 250  # S per spin, in 1/meV, that is measured as an intensity of one
WIDTHS = {  # standard deviations in meV and 1/Angstrom
    "energy": {"energy_resolution": 3.0},  # about as in the paper
    "both": {"energy_resolution": 3.2, "q_resolution": 0.054},  # what a fit finds
}
LOSSES = {
    "correlation, subtracted": {"loss": "correlation", "background": 0, "unit": UNIT},
    "correlation, degree 4": {"loss": "correlation", "background": 4, "unit": UNIT},
    "counts": {"loss": "poisson", "background": 4, "errors": "noise"},
}
COUNTS = (500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 500000)


class AtPixels:
    """The exact simulator where the grid has pixels, as a PixelInverter wants it."""

    bounds_ = np.array([[26.0, -2.0], [35.0, 6.0]])  # it has local minima elsewhere

    def __init__(self, simulator):
        self.simulator = simulator
        self.parameter_names = simulator.parameter_names
        self.reference = simulator.reference
        places = pixel_coordinates(simulator.grid)
        self.numbers = {tuple(place): n for n, place in enumerate(places)}

    def simulate_at(self, coordinates, parameters):
        return self.simulator.simulate(parameters)[:, self._pixels(coordinates)]

    def jacobian_at(self, coordinates, parameters, return_spectra=False):
        pixels = self._pixels(coordinates)
        found = self.simulator.jacobian(parameters, return_spectra=True)
        slopes, spectra = (values[:, pixels] for values in found)
        return (slopes, spectra) if return_spectra else slopes

    def _pixels(self, coordinates):
        return [self.numbers[tuple(place)] for place in coordinates]


def spin_waves(grid, widths):
    """Return the exact simulator, with given resolutions."""
    return SpinWaveSimulator(
        load_la2nio4_model(), grid, temperature=10.0, **WIDTHS[widths]
    )


def train(measured, widths, file, n_simulations, hidden):
    """Train on both ways through the square, and judge on new constants."""
    path = measured.grid.wavevectors
    both = np.vstack([path, path[:, [1, 0, 2]]])
    simulator = spin_waves(PathGrid(np.arange(0.5, 200.0), both), widths)
    started = perf_counter()
    model = ImplicitSpectrumModel(hidden, unit=UNIT, random_state=0, verbose=1)
    model.fit_simulator(simulator, n_simulations, bounds=BOUNDS)
    seconds = perf_counter() - started
    print(f"{widths}, {hidden}: trained in {seconds:.0f} s with simulations")
    rows = np.random.default_rng(1).uniform(*BOUNDS, size=(400, 2))
    rows = rows[simulator.is_stable(rows)][:100]
    exact = spin_waves(measured.grid, widths).simulate(rows)
    seen = measured.grid.mask.ravel()
    found = model.simulate_at(measured.coordinates[seen], rows)
    correlation = [
        np.corrcoef(np.log1p(a[seen] / UNIT), np.log1p(b / UNIT))[0, 1]
        for a, b in zip(exact, found, strict=True)
    ]
    worst = int(np.argmin(correlation))
    print(
        f"{len(rows)} new sets: correlation {np.mean(correlation):.5f}, worst "
        f"{correlation[worst]:.5f} at {rows[worst].round(1)}"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, file)


def fits(measured, widths, model):
    """Fit the measured map in several ways."""
    seen = measured.grid.mask.ravel()
    X, y = measured.coordinates[seen], measured.data[0, seen]
    flat = measured.without_background[0, seen].clip(0)
    exact = AtPixels(spin_waves(measured.grid, widths))
    intensities = flat, y, measured.counts[0, seen]
    for (name, options), intensity in zip(LOSSES.items(), intensities, strict=True):
        for kind, n_starts in ((model, 20), (exact, 1)):
            inverter = PixelInverter(kind, n_starts=n_starts, random_state=0, **options)
            started = process_time()
            inverter.fit(X, intensity)
            label = "exact" if kind is exact else "network"
            told(f"{widths}, {label}, {name}", inverter, process_time() - started)
            if kind is model:
                print(f"    {inverter.restarts_['agrees'].sum()} of 20 starts agree")


def least_squares(measured):
    """Fit the exact simulator with its widths."""
    exact = LeastSquaresInverter(
        spin_waves(measured.grid, "both"),
        nuisance={"energy_resolution": (0.5, 15.0), "q_resolution": (0.005, 0.1)},
        background=(6, 0),
        search=Search(n_candidates=8),
        random_state=0,
    ).fit(measured.data)
    started = process_time()
    result = exact.invert(measured.data, errors=measured.errors)
    (j, k), (dj, dk) = result.parameters[0], result.std[0]
    seconds = process_time() - started
    print(f"least squares: J {j:.2f}({dj:.2f}) J' {k:.2f}({dk:.2f}) {seconds:.1f} s")


def counts(measured, model):
    """Let counts arrive, drawn from the measured map; and draw each number anew."""
    seen = measured.grid.mask.ravel()
    X, y = measured.coordinates[seen], measured.data[0, seen]
    rng = np.random.default_rng(0)
    inverter = PixelInverter(model, random_state=0, **LOSSES["counts"])
    total = 0
    for target in COUNTS:
        arrived = rng.poisson((target - total) * y / y.sum())
        started = process_time()
        inverter.partial_fit(X, arrived, exposure=target - total)
        total = target
        seconds = process_time() - started
        told(f"{inverter.n_counts_:8.0f} counts arrived", inverter, seconds)
    asymptote = inverter.parameters_
    for target in COUNTS[:6]:
        ends, stds = [], []
        for _ in range(10):
            inverter.fit(X, rng.poisson(target * y / y.sum()))
            ends.append(inverter.parameters_)
            stds.append(inverter.std_)
        off = np.array(ends) - asymptote
        lost = (np.abs(off[:, 0]) > 3).sum()
        print(
            f"{target:6d} counts: off by {np.median(off, axis=0).round(2)}, "
            f"rms {np.sqrt((off**2).mean(axis=0)).round(2)}, "
            f"error bar {np.median(stds, axis=0).round(2)}, lost {lost} of 10",
            flush=True,
        )


def aluminium():
    """Invert powder spectra by a network and by the exact simulator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        measured = fetch_aluminium_arcs()
    exact = PowderSimulator(
        load_aluminium_model(), measured.grid, energy_resolution=1.54, temperature=50.0
    )
    started = perf_counter()
    model = ImplicitSpectrumModel(
        target="linear",
        unit=0.01,
        omega_0=5.0,
        trainer=Trainer(max_epochs=12),
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
    parser.add_argument("--hidden", type=int, nargs="+", default=(64,) * 5)
    arguments = parser.parse_args()
    measured = fetch_la2nio4()
    for widths in WIDTHS:
        file = arguments.folder / f"la2nio4-{widths}.joblib"
        if "train" in arguments.parts:
            train(measured, widths, file, arguments.simulations, arguments.hidden)
        if "fits" in arguments.parts:
            fits(measured, widths, joblib.load(file))
    if "fits" in arguments.parts:
        least_squares(measured)
    if "counts" in arguments.parts:
        counts(measured, joblib.load(arguments.folder / "la2nio4-both.joblib"))
    if "aluminium" in arguments.parts:
        aluminium()
