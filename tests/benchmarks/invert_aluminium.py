"""The figures of the aluminium story: held-out simulations and measured spectra.

Run with ``python tests/benchmarks/invert_aluminium.py --seeds 3``. Simulates the
published labels (9,000 to train on, 1,000 held out), trains the pipeline for each
seed, fine-tunes it, inverts the measured spectra by all roads and prints R2 of each
constant, NMSE and seconds. Needs the published data (downloaded, or SKPHONON_DATA).
"""

import argparse
import copy
import warnings
from time import perf_counter

import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline

from skphonon import (
    ForceConstantRegressor,
    IncompleteDatasetWarning,
    MaskedSpectrumPreprocessor,
    NelderMeadInverter,
    PowderSimulator,
    VAEFeatureExtractor,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
    nmse,
)


class Study:
    """Collects a row of figures for every method."""

    def __init__(self, measured, simulator, X, y, n_train=9000):
        self.measured, self.simulator = measured, simulator
        self.X_train, self.y_train = X[:n_train], y[:n_train]
        self.X_test, self.y_test = X[n_train:], y[n_train:]
        self.rows, self.trends = [], []

    def add(self, name, estimator, seconds, constants=None):
        """Score a fitted estimator, or constants found for the measured spectra."""
        row = {"method": name, "seconds": seconds}
        if constants is None:
            constants = estimator.predict(self.measured.data)
            scores = r2_score(
                self.y_test, estimator.predict(self.X_test), multioutput="raw_values"
            )
            row |= dict(zip(self.simulator.parameter_names, scores, strict=True))
        simulated = self.simulator.simulate(constants)
        for scale in ("normalized", "fitted"):
            row[scale] = nmse(self.measured.data, simulated, scale=scale).mean()
        self.rows.append(row)
        frame = pd.DataFrame(constants, columns=self.simulator.parameter_names)
        frame.insert(0, "T", self.measured.temperature)
        frame.insert(0, "method", name)
        self.trends.append(frame)

    def report(self):
        """Print both tables."""
        print(pd.DataFrame(self.rows).round(4).to_string(index=False))
        print(pd.concat(self.trends).round(3).to_string(index=False))


def network(study, seed, settings):
    """Train the pipeline on simulations, then fine-tune its extractor."""
    started = perf_counter()
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(30, output="distribution", random_state=seed, **settings),
        ForceConstantRegressor(latent="distribution", random_state=seed, **settings),
    ).fit(study.X_train, study.y_train)
    study.add(f"pipeline, seed {seed}", pipeline, perf_counter() - started)

    started = perf_counter()
    preprocessor, extractor = copy.deepcopy(pipeline[:-1])
    extractor.partial_fit(preprocessor.transform(study.measured.data))
    tuned = make_pipeline(
        FrozenEstimator(preprocessor),
        FrozenEstimator(extractor),
        ForceConstantRegressor(latent="distribution", random_state=seed, **settings),
    ).fit(study.X_train, study.y_train)
    study.add(f"fine-tuned, seed {seed}", tuned, perf_counter() - started)
    preprocessor, extractor, regressor = pipeline
    error = 1 - extractor.score(preprocessor.transform(study.X_test))
    epochs = len(extractor.history_), len(regressor.history_)
    print(f"seed {seed}: reconstruction NMSE {error:.1e}, epochs {epochs}", flush=True)


def ridge(study):
    """Fit the pixels directly: the simplest method that could work."""
    started = perf_counter()
    estimator = make_pipeline(MaskedSpectrumPreprocessor(), Ridge(1e-4))
    estimator.fit(study.X_train, study.y_train)
    study.add("ridge on pixels", estimator, perf_counter() - started)


def optimiser(study, scale):
    """Invert the measured spectra by Nelder-Mead; seconds are for one."""
    started = perf_counter()
    inverter = NelderMeadInverter(study.simulator, scale=scale)
    inverter.fit(study.X_train, study.y_train)
    constants = inverter.predict(study.measured.data)
    seconds = (perf_counter() - started) / len(constants)
    study.add(f"Nelder-Mead, {scale}", inverter, seconds, constants)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--no-noise", action="store_true", help="train both networks without noise"
    )
    parser.add_argument("--spectra", help=".npz with X and y, kept between runs")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        measured = fetch_aluminium_arcs()
    simulator = PowderSimulator(load_aluminium_model(), measured.grid, temperature=50.0)
    if arguments.spectra:
        stored = np.load(arguments.spectra)
        X, y = stored["X"], stored["y"]
    else:
        X, y = make_powder_spectra(
            simulator, parameters=measured.training_targets, n_jobs=-1, verbose=1
        )
    study = Study(measured, simulator, X, y)
    ridge(study)
    for scale in ("normalized", "fitted"):
        optimiser(study, scale)
    for seed in range(arguments.seeds):
        network(study, seed, {"noise": 0.0} if arguments.no_noise else {})
    study.report()
