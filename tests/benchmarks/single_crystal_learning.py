"""Force constants from single-crystal spectra: roads, coverage and counts compared.

Run with ``python tests/benchmarks/single_crystal_learning.py Ge`` (or Si) and one
thread (``OMP_NUM_THREADS=1``). Needs SKPHONON_DATA with phonopy's examples and, in
--priors, what force_field_priors.py makes. Everything is trained on the prior of force
fields. It is tested on spectra of new draws from that prior and of the first-principles
constants, which training never saw, with Poisson counts: all that 31 orientations see,
the plane l = 0 of that, and one orientation.

Dispersion errors are root mean squares over all modes of the usual path, in % of the
highest energy there; errors of constants are in units of the prior's spread; both are
over all draws, and after a slash for the true constants. Roads that search run on the
true constants and on a few of the draws.
"""

import argparse
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
from force_field_priors import points, read
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from skphonon import CrystalGrid, LeastSquaresInverter, SingleCrystalSimulator
from skphonon.regression import ForceConstantRegressor, SpectrumRegressor

#: energies in meV, incident energy, resolution
SETTINGS = {
    "Ge": (np.arange(2.0, 34.0, 1.0), 50.0, 0.8),
    "Si": (np.arange(4.0, 84.0, 2.5), 120.0, 2.0),
}
PSI = np.arange(0.0, 91.0, 3.0)
COUNTS = (0.01, 0.1, 1.0, 10.0, 100.0)
N_DRAWS = 100
AT_ONCE = 20  # constant sets that are simulated together


def main():
    """Train on a prior and print the table of a crystal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crystal", choices=SETTINGS)
    parser.add_argument("--priors", type=Path, default=Path("force_field_priors"))
    parser.add_argument("--train", type=int, default=1500, help="training spectra")
    parser.add_argument(
        "--searches", type=int, default=4, help="draws; 0: no road that searches"
    )
    arguments = parser.parse_args()
    prior = joblib.load(arguments.priors / f"priors_{arguments.crystal}.joblib")
    truth = read(arguments.crystal)
    simulator = simulator_of(arguments.crystal, prior.model)
    y = prior.sample(arguments.train, random_state=0)
    X = simulate(simulator, y)
    test = Test(simulator, truth, prior.sample(N_DRAWS, random_state=1))
    print(
        f"{arguments.crystal}: {len(y)} spectra of {np.prod(X.shape[1:])} voxels, "
        f"{test.masks['full'].sum()} seen, {test.masks['one'].sum()} by one "
        f"orientation; band up to {test.band:.1f} meV"
    )
    mean = np.tile(y.mean(axis=0), (N_DRAWS + 1, 1))
    print(f"prior mean: {test.errors(mean, y.std(axis=0))}")
    given = prior.mean_, prior.covariance_
    direct = train_direct(simulator, X, y)
    roads = {"direct": direct, "latent": train_latent(simulator, X, y)}
    roads = {name: road for name, road in roads.items() if road is not None}
    search = LeastSquaresInverter(simulator, prior=given)
    searches = {
        "least squares": search,
        "direct, then least squares": clone(search).set_params(
            initial=FrozenEstimator(direct)
        ),
    }
    for name, mask in test.masks.items():
        for counts in COUNTS:
            spectra = test.spectra(mask, counts)
            for road, estimator in roads.items():
                report(f"{name}, {counts:g}, {road}", estimator, spectra, test, y)
            some = np.r_[: arguments.searches, N_DRAWS]
            for road, estimator in searches.items() if arguments.searches else ():
                fitted = estimator.fit(X[:2], y[:2])
                what = f"{name}, {counts:g}, {road}"
                report(what, fitted, spectra[some], test, y, some)


def report(what, estimator, spectra, test, y, rows=None):
    """Print the errors of a road on spectra."""
    start = perf_counter()
    found, std = estimator.predict(spectra, return_std=True)
    seconds = (perf_counter() - start) / len(spectra)
    rows = np.arange(len(spectra)) if rows is None else rows
    score = np.abs(found - test.y[rows])[:-1] / std[:-1]
    print(
        f"{what}: {test.errors(found, y.std(axis=0), rows)}; within one and two "
        f"standard deviations {np.mean(score < 1):.2f} {np.mean(score < 1.96):.2f}; "
        f"{seconds:.2f} s",
        flush=True,
    )


class Test:
    """Spectra of draws and, last, of the first-principles constants."""

    def __init__(self, simulator, truth, draws):
        self.path = points(truth)[::5]
        self.model, self.y = simulator.model, draws
        names = list(truth.parameter_names)
        chosen = [names.index(name) for name in self.model.parameter_names]
        self.y = np.vstack([draws, truth.reference[chosen]])
        self.energies = self.model.frequencies(draws, self.path)
        true = truth.frequencies(truth.reference[None], self.path)
        self.energies = np.concatenate([self.energies, true])
        self.band = true.max()
        whole = clone(simulator).set_params(model=truth)
        last = simulate(whole, truth.reference[None])
        self.X = np.concatenate([simulate(simulator, draws), last])
        grid = simulator.grid
        full = grid.mask.ravel()
        in_plane = np.abs(grid.wavevectors[:, 2]) < 1e-6
        self.masks = {
            "full": full,
            "plane": (grid.mask & in_plane).ravel(),
            "one": grid.coverage(PSI[len(PSI) // 2]).ravel() & full,
        }

    def spectra(self, mask, counts, random_state=5):
        """Return counts, `counts` of them in the mean voxel of the mask."""
        expected = np.maximum(self.X[:, mask], 0)
        expected *= counts / expected.mean(axis=1, keepdims=True)
        spectra = np.full_like(self.X, np.nan)
        spectra[:, mask] = np.random.default_rng(random_state).poisson(expected)
        return spectra

    def errors(self, found, spread, rows=slice(None)):
        """Return errors of draws and of the truth, in words."""
        energies = self.model.frequencies(found, self.path) - self.energies[rows]
        by_row = 100 * np.sqrt(np.square(energies).mean(axis=(1, 2))) / self.band
        away = np.square((found - self.y[rows]) / spread).mean(axis=1)
        return (
            f"dispersion {np.sqrt(np.mean(by_row[:-1] ** 2)):.1f} / {by_row[-1]:.1f} "
            f"%, constants {np.sqrt(away[:-1].mean()):.2f} / {np.sqrt(away[-1]):.2f}"
        )


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


def train_direct(simulator, X, y):
    """Train a SpectrumRegressor on views of one to all orientations."""
    coverage = simulator.grid.coverage().reshape(len(PSI), -1)
    start = perf_counter()
    direct = SpectrumRegressor(
        coverage=coverage, n_energy=simulator.grid.shape[0], random_state=0
    ).fit(X, y)
    print(f"direct: trained in {perf_counter() - start:.0f} s", flush=True)
    return direct


def train_latent(simulator, X, y):
    """Train the pipeline of codes, where there is its extractor."""
    try:
        from skphonon.gappy import GappySpectrumExtractor
    except ImportError:
        print("latent: no GappySpectrumExtractor here")
        return None
    start = perf_counter()
    latent = make_pipeline(
        GappySpectrumExtractor(output="distribution", random_state=0),
        ForceConstantRegressor(latent="distribution", random_state=0),
    ).fit(X, y)
    print(f"latent: trained in {perf_counter() - start:.0f} s", flush=True)
    return latent


if __name__ == "__main__":
    main()
