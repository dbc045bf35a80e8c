"""Force constants from single-crystal spectra: roads, coverage and counts compared.

Run with ``python tests/benchmarks/single_crystal_learning.py Ge`` (or Si) and one
thread (``OMP_NUM_THREADS=1``). Needs SKPHONON_DATA with phonopy's examples and, in
--priors, what force_field_priors.py makes. Everything is trained on the prior of force
fields. It is tested on simulated spectra of new draws from that prior and of the
first-principles constants, which training never saw: one orientation, another for each
spectrum; the plane l = 0 of all 31; all 31. Each has a background of 30 % of its mean
intensity, inclined at random, and Poisson counts.

All roads get the same spectra; those that search get the first few draws of them and
the first-principles constants (a sixth as many draws where more than one orientation
is seen, which takes longer). In the table, dispersion errors are root mean squares over
all modes of the standard path, in % of the highest energy the crystal has there; of
the draws their root mean square, median and 90th percentile. Errors of constants are
in units of the spread of the prior. "within" is the share of the constants of the draws
that lie within 1 and 1.96 standard deviations. The mean of the prior is that of its
normal distribution; draws, all of them stable crystals, have another one.
"""

import argparse
import warnings
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
import pandas as pd
from force_field_priors import points, read
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from skphonon import (
    CrystalGrid,
    ForceConstantRegressor,
    LeastSquaresInverter,
    SingleCrystalSimulator,
    SpectrumRegressor,
)
from skphonon.inversion import IdentifiabilityWarning, Search
from skphonon.learning import Augmentation, PosteriorInference, VAEFeatureExtractor

#: energies in meV, incident energy, resolution
SETTINGS = {
    "Ge": (np.arange(2.0, 34.0, 1.0), 50.0, 0.8),
    "Si": (np.arange(4.0, 84.0, 2.5), 120.0, 2.0),
}
PSI = np.arange(0.0, 91.0, 3.0)
COUNTS = (0.01, 0.1, 1.0, 10.0, 100.0)
BACKGROUND = 0.3  # of the mean intensity
AT_ONCE = 20  # constant sets that are simulated together


def main():
    """Train on a prior and write the table of a crystal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crystal", choices=SETTINGS)
    parser.add_argument("--priors", type=Path, default=Path("force_field_priors"))
    parser.add_argument("--train", type=int, default=1500, help="training spectra")
    parser.add_argument("--draws", type=int, default=60, help="test spectra")
    parser.add_argument("--views", nargs="+", default=["one", "plane", "full"])
    parser.add_argument(
        "--roads", nargs="*", default=["latent", "direct"], choices=["latent", "direct"]
    )
    parser.add_argument(
        "--searches", type=int, default=18, help="draws; 0: no road that searches"
    )
    parser.add_argument("--table", type=Path, default=None, help="CSV to write")
    arguments = parser.parse_args()
    for category in (ConvergenceWarning, IdentifiabilityWarning):
        warnings.simplefilter("ignore", category)
    prior = joblib.load(arguments.priors / f"priors_{arguments.crystal}.joblib")
    truth = read(arguments.crystal)
    simulator = simulator_of(arguments.crystal, prior.model)
    y = prior.sample(arguments.train, random_state=0)
    start = perf_counter()
    X = simulate(simulator, y)
    print(f"{len(y)} spectra simulated in {perf_counter() - start:.0f} s")
    draws = prior.sample(arguments.draws, random_state=1)
    test = Test(simulator, truth, draws, np.sqrt(np.diag(prior.covariance_)))
    print(
        f"{X.shape[1]} voxels, {simulator.grid.mask.sum()} seen, a mean of "
        f"{test.one.sum(axis=1).mean():.0f} by one orientation; true band up to "
        f"{test.energies[-1].max():.1f} meV"
    )
    for name, mean in ("prior", prior.mean_), ("draws", y.mean(axis=0)):
        print(f"mean of the {name}: {test.errors(np.tile(mean, (len(test.y), 1)))}")
    makers = {"latent": make_latent, "direct": make_direct}
    networks = {}
    for name in arguments.roads:
        start = perf_counter()
        networks[name] = makers[name](simulator).fit(X, y)
        print(f"{name}: trained in {perf_counter() - start:.0f} s", flush=True)
    searches = make_searches(simulator, prior, networks)
    for search in searches.values():
        search.fit(X[:50], y[:50])
    del X
    rows = []
    for view in arguments.views:
        few = arguments.searches if view == "one" else -(-arguments.searches // 6)
        for counts in COUNTS:
            spectra = test.spectra(view, counts)
            for name, road in (networks | searches).items():
                some = np.arange(len(spectra))
                if name in searches:
                    if not few:
                        continue
                    some = np.r_[:few, len(spectra) - 1]
                line = report(road, spectra[some], test, some)
                rows.append({"view": view, "counts": counts, "road": name} | line)
                print(*rows[-1].values(), flush=True)
            if arguments.table is not None:
                pd.DataFrame(rows).to_csv(arguments.table, index=False)


def make_latent(simulator):
    """Return codes of spectra with gaps, and constants from codes."""
    return make_pipeline(
        VAEFeatureExtractor(
            24,
            inference=PosteriorInference(background_of(simulator)),
            output="distribution",
            random_state=0,
        ),
        ForceConstantRegressor(latent="distribution", noise=0.3, random_state=0),
    )


def make_direct(simulator):
    """Return a network from voxels to constants."""
    coverage = simulator.grid.coverage().reshape(len(PSI), -1)
    return SpectrumRegressor(
        augmentation=Augmentation(coverage),
        n_energy=simulator.grid.shape[0],
        random_state=0,
    )


def make_searches(simulator, prior, networks):
    """Return least squares by itself, and from what networks propose."""
    search = LeastSquaresInverter(
        simulator,
        background=background_of(simulator),
        prior=(prior.mean_, prior.covariance_),
        noise="poisson",
        search=Search(n_starts=3),
    )
    return {"least squares": search} | {
        f"{name}, then least squares": clone(search).set_params(
            search=Search(initial=FrozenEstimator(network))
        )
        for name, network in networks.items()
    }


def background_of(simulator):
    """Return 1 and the energy of each voxel."""
    energy = np.repeat(simulator.grid.energy, simulator.grid.shape[1])
    return np.array([np.ones_like(energy), energy])


def report(road, spectra, test, rows):
    """Return the figures of a road on spectra."""
    start = perf_counter()
    found, std = road.predict(spectra, return_std=True)
    seconds = (perf_counter() - start) / len(spectra)
    score = (np.abs(found - test.y[rows]) / std)[:-1]
    return test.errors(found, rows) | {
        "within 1": np.mean(score < 1).round(2),
        "within 1.96": np.mean(score < 1.96).round(2),
        "seconds": round(seconds, 2),
        "draws": len(rows) - 1,
    }


class Test:
    """Spectra of draws and, last, of the first-principles constants."""

    def __init__(self, simulator, truth, draws, spread):
        self.path, self.spread = points(truth)[::5], spread
        self.model, self.grid = simulator.model, simulator.grid
        names = list(truth.parameter_names)
        chosen = [names.index(name) for name in self.model.parameter_names]
        self.y = np.vstack([draws, truth.reference[chosen]])
        self.energies = np.concatenate(
            [
                self.model.frequencies(draws, self.path),
                truth.frequencies(truth.reference[None], self.path),
            ]
        )
        whole = clone(simulator).set_params(model=truth)
        last = simulate(whole, truth.reference[None])
        self.X = np.concatenate([simulate(simulator, draws), last])
        turns = np.random.default_rng(4).choice(PSI, len(self.y))
        self.one = self.grid.coverage(turns).reshape(len(turns), -1)
        self.one &= self.grid.mask.ravel()

    def spectra(self, view, counts, random_state=5):
        """Return counts, `counts` of them in the mean voxel of what is seen."""
        rng = np.random.default_rng(random_state)
        energy = np.repeat(self.grid.energy, self.grid.shape[1])
        place = 2 * (energy - energy.min()) / np.ptp(energy) - 1
        in_plane = np.abs(self.grid.wavevectors[:, 2]) < 1e-6
        spectra = np.full_like(self.X, np.nan)
        for row, (clean, one) in enumerate(zip(self.X, self.one, strict=True)):
            plane = (self.grid.mask & in_plane).ravel()
            seen = {"one": one, "plane": plane, "full": self.grid.mask.ravel()}[view]
            expected = np.maximum(clean[seen], 0)
            inclined = 1 + rng.uniform(-1, 1) * place[seen]
            expected += BACKGROUND * expected.mean() * inclined
            spectra[row, seen] = rng.poisson(counts * expected / expected.mean())
        return spectra

    def errors(self, found, rows=slice(None)):
        """Return errors of the draws and of the first-principles constants."""
        true = self.energies[rows]
        off = self.model.frequencies(found, self.path) - true
        off = np.sqrt(np.square(off).mean(axis=(1, 2)))
        share = 100 * off / true.max(axis=(1, 2))
        away = np.square((found - self.y[rows]) / self.spread).mean(axis=1)
        figures = {
            "rms / meV": np.sqrt(np.mean(off[:-1] ** 2)),
            "rms / %": np.sqrt(np.mean(share[:-1] ** 2)),
            "median / %": np.median(share[:-1]),
            "p90 / %": np.percentile(share[:-1], 90),
            "truth / meV": off[-1],
            "truth / %": share[-1],
            "constants": np.sqrt(away[:-1].mean()),
            "constants, truth": np.sqrt(away[-1]),
        }
        return {name: float(np.round(value, 2)) for name, value in figures.items()}


def simulator_of(crystal, model):
    """Return the simulator of three planes of wavevectors, and what 31 angles see."""
    energy, incident_energy, resolution = SETTINGS[crystal]
    edge = 2 * np.abs(np.asarray(model.lattice)).max()  # of the cube, fcc
    along = np.round(np.linspace(-4, 4, 41), 6)
    grid = CrystalGrid(
        energy,
        along,
        along,
        [-0.5, 0.0, 0.5],
        lattice=edge * np.eye(3),
        psi=PSI,
        incident_energy=incident_energy,
        two_theta=(5.0, 135.0),
        elevation=(-20.0, 20.0),
    )
    return SingleCrystalSimulator(model, grid, energy_resolution=resolution)


def simulate(simulator, y):
    """Return spectra in single precision, NaN where nothing is ever seen."""
    X = np.empty((len(y), simulator.grid.n_pixels), dtype=np.float32)
    for start in range(0, len(y), AT_ONCE):
        X[start : start + AT_ONCE] = simulator.simulate(y[start : start + AT_ONCE])
    X[:, ~simulator.grid.mask.ravel()] = np.nan
    return X


if __name__ == "__main__":
    main()
