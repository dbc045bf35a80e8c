"""What drawing an unknown instrument in training brings learners of single crystals.

Run with ``python tests/benchmarks/single_crystal_instrument.py`` and one thread
(``OMP_NUM_THREADS=1``); it needs no data. Aluminium, constants drawn evenly about its
own, the plane l = 0. In the test spectra resolution and zero of the energy are drawn
from the ranges of NUISANCES. Each shows one orientation, another for each spectrum,
with a background of 30 % of its mean intensity, inclined at random, and Poisson counts.

Codes (``VAEFeatureExtractor``) and constants (``ForceConstantRegressor``) are learnt
from clean, complete spectra: with the instrument as it was meant to be ("nominal");
drawn; drawn and predicted beside the constants (``nuisance=`` of ``fit``); each with
two losses. "known" has the networks of "nominal" and test spectra of the same crystals
by the instrument as meant. Nobody has the level of counts as an input: the extractor
appends none.

Errors of constants are root mean squares in units of the spread of the prior; those of
the dispersion root mean squares over the modes of 400 wavevectors, in % of the highest
energy the crystal has there. "within 1" and "within 1.96" are the shares of the
constants that lie within so many bars; "bar" is the root mean square of bars, in units
of the spread of the prior.
"""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from skphonon import (
    CrystalGrid,
    ForceConstantRegressor,
    SingleCrystalSimulator,
    load_aluminium_model,
)
from skphonon.learning import PosteriorInference, VAEFeatureExtractor

PSI = np.arange(0.0, 91.0, 3.0)
#: standard deviation and zero of the energy, meV: nominal value, range
NUISANCES = {
    "energy_resolution": (1.5, (1.1, 2.1)),
    "energy_offset": (0.0, (-0.5, 0.5)),
}
SHARES = np.array([0.5, 0.5, 0.5, 0.5, 8.0])  # of the constants' size, as ranges
BACKGROUND = 0.3  # of the mean intensity
AT_ONCE = 50  # spectra that are simulated together


def main():
    """Train each way and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=4000, help="training spectra")
    parser.add_argument("--test", type=int, default=300, help="test spectra")
    parser.add_argument("--counts", nargs="+", type=float, default=[0.1, 1.0, 10.0])
    parser.add_argument(
        "--training",
        nargs="+",
        default=["nominal", "drawn"],
        choices=["nominal", "drawn"],
        help="what the instrument does in training; default: one after the other",
    )
    parser.add_argument("--table", type=Path, default=None, help="CSV to write")
    arguments = parser.parse_args()
    simulator = make_simulator()
    y = draw_constants(simulator.model, arguments.train, 0)
    drawn = draw_nuisances(len(y), 1)
    test = Test(simulator, arguments.test, y.std(axis=0))
    print(
        f"mean of the prior: {test.errors(np.tile(y.mean(axis=0), (len(test.y), 1)))}"
    )

    roads = {"nominal": {}, "drawn": {}}
    for loss in "rmse", "likelihood":
        roads["nominal"][f"nominal, {loss}"] = {"loss": loss}
        roads["drawn"] |= {
            f"drawn, {loss}": {"loss": loss},
            f"drawn and predicted, {loss}": {"loss": loss, "nuisance": drawn},
        }
    rows = []
    for kind in arguments.training:
        start = perf_counter()
        X = simulate(simulator, y, drawn if kind == "drawn" else None)
        print(f"{len(X)} spectra: {perf_counter() - start:.0f} s", flush=True)
        start = perf_counter()
        extractor = make_extractor(simulator).fit(X)
        print(f"extractor, {kind}: {perf_counter() - start:.0f} s", flush=True)
        codes = extractor.transform(X)
        print(f"codes, {kind}: {perf_counter() - start:.0f} s", flush=True)
        start = perf_counter()
        networks = {
            name: train(codes, y, **options) for name, options in roads[kind].items()
        }
        print(f"{len(networks)} networks: {perf_counter() - start:.0f} s", flush=True)
        for counts in arguments.counts:
            for known in (False, True) if kind == "nominal" else (False,):
                found = extractor.transform(test.spectra(counts, known))
                for name, network in networks.items():
                    label = f"known ({name})" if known else name
                    line = report(network, found, test)
                    rows.append({"training": label, "counts": counts} | line)
                    print(rows[-1], flush=True)
    if arguments.table is not None:
        pd.DataFrame(rows).to_csv(arguments.table, index=False)


def make_simulator():
    """Return the simulator of a plane of aluminium that 31 angles see."""
    along = np.linspace(-3, 3, 31)
    grid = CrystalGrid(
        np.arange(5.0, 45.0, 1.0),
        along,
        along,
        0.0,
        lattice=4.05 * np.eye(3),
        psi=PSI,
        incident_energy=70.0,
        two_theta=(5.0, 135.0),
        elevation=(-20.0, 20.0),
    )
    resolution, _ = NUISANCES["energy_resolution"]
    return SingleCrystalSimulator(
        load_aluminium_model(), grid, energy_resolution=resolution
    )


def make_extractor(simulator):
    """Return an extractor of codes with a background linear in energy."""
    energy = np.repeat(simulator.grid.energy, simulator.grid.shape[1])
    background = np.array([np.ones_like(energy), energy])
    return VAEFeatureExtractor(
        24,
        inference=PosteriorInference(background),
        output="distribution",
        random_state=0,
    )


def train(codes, y, nuisance=None, loss="rmse"):
    """Return a network from codes to constants."""
    network = ForceConstantRegressor(
        latent="distribution", noise=0.3, loss=loss, random_state=0
    )
    return network.fit(codes, y, nuisance=nuisance)


def draw_constants(model, n_samples, seed):
    """Return constants of stable crystals, drawn evenly about those of the model."""
    rng, kept, n_kept = np.random.default_rng(seed), [], 0
    half = SHARES * np.abs(model.reference)
    while n_kept < n_samples:
        sets = model.reference + half * rng.uniform(-1, 1, (1000, len(half)))
        kept.append(sets[model.is_stable(sets)])
        n_kept += len(kept[-1])
    return np.concatenate(kept)[:n_samples]


def draw_nuisances(n_samples, seed):
    """Return what the instrument did, by name, drawn evenly from its ranges."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(*limits, n_samples) for name, (_, limits) in NUISANCES.items()
    }


def simulate(simulator, y, nuisance=None):
    """Return spectra in single precision, NaN where nothing is ever seen."""
    X = np.empty((len(y), simulator.grid.n_pixels), dtype=np.float32)
    ranges = {name: limits for name, (_, limits) in NUISANCES.items()}
    for start in range(0, len(y), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        asked = {name: values[rows] for name, values in (nuisance or {}).items()}
        X[rows] = simulator.simulate(
            y[rows], nuisance=asked, nuisance_ranges=ranges if asked else None
        )
    X[:, ~simulator.grid.mask.ravel()] = np.nan
    return X


def report(network, codes, test):
    """Return the figures of a network on codes of the test spectra."""
    options = {"return_std": True}
    if network.nuisance_names_:
        found, std, beside = network.predict(codes, return_nuisance=True, **options)
    else:
        found, std = network.predict(codes, **options)
    score = np.abs(found - test.y) / std
    figures = test.errors(found) | {
        "within 1": np.mean(score < 1).round(2),
        "within 1.96": np.mean(score < 1.96).round(2),
        "bar": np.sqrt(np.mean(np.square(std / test.spread))).round(2),
    }
    for name in network.nuisance_names_:
        off = (beside[name] - test.nuisance[name]).to_numpy()
        figures[name] = float(np.sqrt(np.mean(off**2)).round(3))
        figures[f"{name} within 1"] = np.mean(np.abs(off) < beside[f"{name} std"])
    return figures


class Test:
    """Constants, what the instrument did to each, and one orientation for each."""

    def __init__(self, simulator, n_samples, spread):
        self.model, self.grid, self.spread = simulator.model, simulator.grid, spread
        self.y = draw_constants(self.model, n_samples, 2)
        self.nuisance = draw_nuisances(n_samples, 3)
        self.X = simulate(simulator, self.y, self.nuisance)
        self.as_meant = simulate(simulator, self.y)
        self.points = np.random.default_rng(4).uniform(-0.5, 0.5, (400, 3))
        self.energies = self.model.frequencies(self.y, self.points)
        turns = np.random.default_rng(5).choice(PSI, n_samples)
        seen = self.grid.coverage(turns).reshape(n_samples, -1)
        self.seen = seen & self.grid.mask.ravel()

    def spectra(self, counts, as_meant=False):
        """Return counts, `counts` of them in the mean voxel of what is seen."""
        rng = np.random.default_rng(6)
        energy = np.repeat(self.grid.energy, self.grid.shape[1])
        place = 2 * (energy - energy.min()) / np.ptp(energy) - 1
        clean = self.as_meant if as_meant else self.X
        spectra = np.full_like(clean, np.nan)
        for row, (whole, seen) in enumerate(zip(clean, self.seen, strict=True)):
            expected = np.maximum(whole[seen], 0)
            inclined = 1 + rng.uniform(-1, 1) * place[seen]
            expected += BACKGROUND * expected.mean() * inclined
            spectra[row, seen] = rng.poisson(counts * expected / expected.mean())
        return spectra

    def errors(self, found):
        """Return errors of the constants and of the dispersion."""
        off = self.model.frequencies(found, self.points) - self.energies
        off = 100 * np.sqrt(np.square(off).mean(axis=(1, 2)))
        share = off / self.energies.max(axis=(1, 2))
        away = np.square((found - self.y) / self.spread).mean(axis=0)
        figures = {
            "dispersion / %": np.sqrt(np.mean(share**2)),
            "median / %": np.median(share),
            "constants": np.sqrt(away.mean()),
            "each": np.sqrt(away),
        }
        return {name: np.round(value, 3).tolist() for name, value in figures.items()}


if __name__ == "__main__":
    main()
