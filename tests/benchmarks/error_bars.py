"""Gradient inversion: its optima, its speed, and how often its error bars are right.

Run with ``python tests/benchmarks/error_bars.py [starts] [roads] [proposals]
[coverage]`` (minutes each; all of them if none is named). Needs the published data
(downloaded, or SKPHONON_DATA).

starts
    From starts up to 50 % off, for every measured spectrum: time, loss and how often
    the best loss is found, beside Nelder-Mead; five constants and nothing else.
roads
    Measured spectra by Nelder-Mead, least squares, a network and a network whose
    prediction least squares starts from: NMSE, constants, error bars, seconds.
proposals
    Simulations of crystals up to 50 % off the reference: how often the optimum is found
    and after how many evaluations, from the reference, from the best of candidates
    about it, and from what a network proposes.
coverage
    Simulations with what an experiment varies: how often a true constant lies within
    the 68 % and the 95 % interval of least squares and of the network, as they are
    and calibrated on as many other simulations (the network: four times as many). Goes
    to coverage.csv and reliability.png in --folder.
"""

import argparse
import warnings
from functools import partial
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skphonon import (
    ForceConstantRegressor,
    LeastSquaresInverter,
    MaskedSpectrumPreprocessor,
    NelderMeadInverter,
    PowderSimulator,
    VAEFeatureExtractor,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
    nmse,
)
from skphonon.calibration import CalibratedRegressor
from skphonon.datasets import IncompleteDatasetWarning
from skphonon.inspection import ReliabilityDisplay
from skphonon.inversion import Search
from skphonon.learning import OutOfDistributionWarning

#: What is fitted along, and between which values.
NUISANCE = {
    "energy_resolution": (1.0, 3.0),
    "energy_resolution_slope": (-1.0, 1.5),
    "q_resolution": (0.05, 0.2),
    "lattice_scale": (0.97, 1.03),
    "mean_square_displacement": (-0.0035, 0.04),
}
#: What training and test spectra vary.
AUGMENTATION = {
    "energy_resolution": (1.2, 1.9),
    "q_resolution": (0.06, 0.12),
    "lattice_scale": (0.998, 1.02),
    "mean_square_displacement": (0.0, 0.012),
    "background": (0.0, 0.4),
}
NOISE = 0.23  # as measured
#: Averages over directions, of test spectra (they err by 2e-6) and of fits to them.
#: Such errors are alike in neighbouring pixels, unlike noise: the default of 1e-4,
#: good enough for a network, moves a fit by half an error bar.
TRUE_MESH, FITTED_TOLERANCE = 24, 1e-5
PARTS = ["starts", "roads", "proposals", "coverage"]
FOUND = 1e-4  # a loss this close to the lowest, relatively, is the optimum


def starts(measured, simulator, n_starts):
    """Compare inverters from starts that are off by up to 50 %."""
    rng = np.random.default_rng(0)
    factors = rng.uniform(0.5, 1.5, size=(n_starts, len(simulator.reference)))
    rows = []
    for number, start in enumerate(simulator.reference * factors):
        for scale in ("fitted", "normalized"):
            for inverter in (NelderMeadInverter, LeastSquaresInverter):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    settings = {"initial": start}
                    if inverter is LeastSquaresInverter:
                        settings = {"search": Search(initial=start)}
                    one = inverter(simulator, scale=scale, **settings)
                    one.fit(measured.data)
                    began = perf_counter()
                    one.predict(measured.data)
                seconds = (perf_counter() - began) / len(measured.data)
                for kelvin, loss in zip(measured.temperature, one.loss_, strict=True):
                    rows.append(
                        (number, scale, inverter.__name__, kelvin, loss, seconds)
                    )
    columns = ["start", "scale", "inverter", "K", "loss", "seconds"]
    table = pd.DataFrame(rows, columns=columns)
    lowest = table.groupby(["scale", "K"])["loss"].transform("min")
    table["found"] = table["loss"] < lowest * (1 + FOUND)
    table["loss ratio"] = table["loss"] / lowest
    summary = table.groupby(["scale", "inverter"])[
        ["loss", "loss ratio", "found", "seconds"]
    ]
    print(summary.mean().round(4).to_string())
    for scale, group in summary.mean().groupby(level=0):
        ratio = group["seconds"].xs("LeastSquaresInverter", level=1).iloc[0]
        ratio /= group["seconds"].xs("NelderMeadInverter", level=1).iloc[0]
        print(f"{scale}: time of least squares over that of Nelder-Mead {ratio:.3f}")


def train(simulator, n_samples):
    """Return a network for spectra that differ as measured ones do."""
    X, y = make_powder_spectra(
        simulator,
        n_samples,
        noise=(0.0, 0.3),
        augmentation=AUGMENTATION,
        random_state=0,
        verbose=1,
    )
    network = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(output="distribution", random_state=0),
        ForceConstantRegressor(latent="distribution", random_state=0),
    )
    return network.fit(X, y)


def least_squares(simulator, **options):
    """Return least squares with everything an experiment leaves open."""
    return LeastSquaresInverter(simulator, nuisance=NUISANCE, background=3, **options)


def roads(measured, simulator, network, folder):
    """Invert every measured spectrum in all ways, one by one."""
    guided = FrozenEstimator(network)
    X, y = make_powder_spectra(
        simulator, 1000, noise=NOISE, augmentation=AUGMENTATION, random_state=1
    )
    ways = {
        "Nelder-Mead": NelderMeadInverter(simulator, scale="fitted"),
        "least squares, constants alone": LeastSquaresInverter(
            simulator, random_state=0
        ),
        "network": CalibratedRegressor(guided).fit(X, y),
        "least squares": least_squares(simulator, random_state=0),
        "network, then least squares": least_squares(
            simulator, search=Search(initial=guided)
        ),
    }
    rows = []
    for name, way in ways.items():
        if name != "network":
            way.fit(measured.data)
        for kelvin, spectrum in zip(measured.temperature, measured.data, strict=True):
            row = {"way": name, "K": kelvin}
            rows.append(row | invert_one(way, spectrum[None], simulator))
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    means = table.groupby("way", sort=False)[["NMSE", "seconds"]].mean()
    print(means.round(3).to_string())
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "roads.csv", index=False)


def invert_one(way, spectrum, simulator):
    """Return a row of the table of `roads`."""
    with warnings.catch_warnings():
        # measured spectra are foreign to simulated ones, and the table shows how far
        warnings.simplefilter("ignore", OutOfDistributionWarning)
        way.predict(spectrum)  # prepares what is shared
        began = perf_counter()
        if isinstance(way, NelderMeadInverter):
            values, std = way.predict(spectrum), np.full((1, 5), np.nan)
        else:
            values, std = way.predict(spectrum, return_std=True)
        seconds = perf_counter() - began
    error = nmse(spectrum, simulator.simulate(values), scale="fitted")
    row = {"NMSE": np.round(getattr(way, "loss_", error)[0], 4)}
    for name, value, bar in zip(
        simulator.parameter_names, values[0], std[0], strict=True
    ):
        row[name] = f"{value:.3f}" + (f" ± {bar:.3f}" if np.isfinite(bar) else "")
    evaluations = getattr(way, "n_evaluations_", [""])[0]
    return row | {"evaluations": evaluations, "seconds": round(seconds, 2)}


def proposals(simulator, network, n_samples):
    """Compare where searches begin, for crystals up to 50 % off the fixed start."""
    X, y = make_powder_spectra(
        simulator,
        parameters=stable_constants(simulator, n_samples),
        noise=NOISE,
        augmentation=AUGMENTATION,
        random_state=2,
    )
    truth = FrozenEstimator(KNeighborsRegressor(1).fit(np.nan_to_num(X), y))
    ways = {
        "the truth": make_pipeline(FunctionTransformer(np.nan_to_num), truth),
        "a fixed start": None,
        "the best of 32 candidates": None,
        "the network": FrozenEstimator(network),
    }
    rows = []
    for name, initial in ways.items():
        n_candidates = 1 if name == "a fixed start" else 32
        search = Search(initial=initial, n_candidates=n_candidates)
        way = least_squares(simulator, search=search, random_state=0).fit(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            way.predict(X[:1])
            began = perf_counter()
            way.predict(X)
        seconds = (perf_counter() - began) / len(X)
        if name == "the truth":
            lowest = way.loss_
        found = way.loss_ < lowest * 1.001
        rows.append(
            {
                "from": name,
                "found": found.mean(),
                "evaluations": way.n_evaluations_.mean(),
                "where found": way.n_evaluations_[found].mean(),
                "seconds": seconds,
            }
        )
    print(pd.DataFrame(rows).round(3).to_string(index=False))


class Told(RegressorMixin, BaseEstimator):
    """Hands on what was predicted before: columns of values, then of their errors."""

    def fit(self, X, y=None):
        self.n_features_in_ = np.shape(X)[1]
        return self

    def predict(self, X, return_std=False):
        values, std = np.split(X, 2, axis=1)
        return (values, std) if return_std else values


def stable_constants(simulator, n_samples):
    """Draw constants as training sets do, but of crystals that exist."""
    spread = np.random.default_rng(1).uniform(0.5, 1.5, size=(2 * n_samples, 5))
    drawn = simulator.reference * spread
    return drawn[simulator.model.is_stable(drawn, mesh=24)][:n_samples]


def coverage(simulate, network, n_samples, folder):
    """Count true constants in intervals, on spectra that were not trained on."""
    truth = simulate(mesh=TRUE_MESH)
    X, y = make_powder_spectra(
        truth,
        parameters=stable_constants(truth, 5 * n_samples),
        noise=NOISE,
        augmentation=AUGMENTATION,
        random_state=1,
    )
    guided = FrozenEstimator(network)
    search = Search(initial=guided)
    fitted = least_squares(simulate(tolerance=FITTED_TOLERANCE), search=search).fit(X)
    tables, curves = [], []
    # networks are quick, and can be calibrated on more
    for name, way, n in ("network", network, 5), ("least squares", fitted, 2):
        n *= n_samples
        told = np.hstack(way.predict(X[:n], return_std=True))
        raw = FrozenEstimator(Told().fit(told))
        calibrated = CalibratedRegressor(raw).fit(told[n_samples:], y[n_samples:n])
        test = told[:n_samples], y[:n_samples]
        table = counted(raw, calibrated, *test)
        table.insert(0, "constant", truth.parameter_names)
        table.insert(0, "way", name)
        print(table.round(4).to_string(index=False), flush=True)
        tables.append(table)
        both = {name: raw, f"{name}, calibrated": calibrated}
        display = ReliabilityDisplay.from_estimator(
            both, *test, targets=truth.parameter_names
        )
        curves.append(display.data)
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(tables).round(4).to_csv(folder / "coverage.csv", index=False)
    display = ReliabilityDisplay(data=pd.concat(curves, ignore_index=True)).plot()
    display.figure_.savefig(folder / "reliability.png", dpi=80)


def counted(raw, calibrated, told, y):
    """Return coverages, and what they are worth, one row a constant."""
    values, std = raw.predict(told, return_std=True)
    error = np.abs(values - y)
    narrow, wide = (
        calibrated.predict_interval(told, coverage=c)[1] - values
        for c in (0.6827, 0.95)
    )
    return pd.DataFrame(
        {
            "68 %": (error <= std).mean(axis=0),
            "95 %": (error <= 1.96 * std).mean(axis=0),
            "68 % calibrated": (error <= narrow).mean(axis=0),
            "95 % calibrated": (error <= wide).mean(axis=0),
            "factor": calibrated.factors_,
            "std": np.median(std, axis=0),
            "half of 95 %": np.median(wide, axis=0),
            "error": np.sqrt((error**2).mean(axis=0)),
            "spread": y.std(axis=0),
        }
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--train", type=int, default=8000)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default="results/error_bars")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        measured = fetch_aluminium_arcs()
    simulate = partial(
        PowderSimulator,
        load_aluminium_model(),
        measured.grid,
        energy_resolution=1.54,
        temperature=50.0,
    )
    with joblib.parallel_config(n_jobs=arguments.n_jobs):
        if "starts" in arguments.parts:
            starts(measured, simulate(), arguments.starts)
        if set(PARTS[1:]) & set(arguments.parts):
            network = train(simulate(), arguments.train)
        if "roads" in arguments.parts:
            roads(measured, simulate(), network, arguments.folder)
        if "proposals" in arguments.parts:
            proposals(simulate(), network, arguments.samples // 5)
        if "coverage" in arguments.parts:
            coverage(simulate, network, arguments.samples, arguments.folder)
