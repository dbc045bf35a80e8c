"""Whether a grid search in several processes gives each its own processor.

Run with ``python tests/benchmarks/grid_search.py`` and without OMP_NUM_THREADS. Trains
the same four candidates in one process, in two, and in two threads, on simulated
spectra of aluminium, prints seconds, their ratio to one process and the threads torch
uses in a worker. With ``--table`` it searches over the size of the code, the learning
rate and the network instead, and prints R^2 and seconds of each. Needs the published
data (downloaded, or SKPHONON_DATA).
"""

import argparse
import warnings
from time import perf_counter

import joblib
import pandas as pd
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skphonon import (
    ForceConstantRegressor,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    VAEFeatureExtractor,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.datasets import IncompleteDatasetWarning
from skphonon.learning import Convolutional, Dense, Trainer


def search(X, y, epochs, n_jobs):
    """Return the seconds that a search takes."""
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(trainer=Trainer(max_epochs=epochs), random_state=0),
        ForceConstantRegressor(trainer=Trainer(max_epochs=epochs), random_state=0),
    )
    choices = {"vaefeatureextractor__n_components": [5, 30]}
    started = perf_counter()
    GridSearchCV(pipeline, choices, cv=2, n_jobs=n_jobs, refit=False).fit(X, y)
    return perf_counter() - started


def table(X, y, grid, epochs):
    """Print what a search over codes, learning rates and networks finds."""
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(trainer=Trainer(max_epochs=epochs), random_state=0),
        ForceConstantRegressor(trainer=Trainer(max_epochs=epochs), random_state=0),
    )
    networks = {
        "Dense()": Dense(),
        "Dense(50)": Dense(50),
        "Convolutional(grid, filters=(8, 16))": Convolutional(grid, filters=(8, 16)),
    }
    choices = {
        "vaefeatureextractor__n_components": [5, 30],
        "vaefeatureextractor__trainer__lr": [0.002, 0.005],
        "vaefeatureextractor__network": list(networks.values()),
    }
    search = GridSearchCV(pipeline, choices, cv=3, refit=False).fit(X, y)
    found = pd.DataFrame(search.cv_results_)
    names = {repr(network): name for name, network in networks.items()}
    shown = pd.DataFrame(
        {
            "network": found["param_vaefeatureextractor__network"].map(
                lambda network: names[repr(network)]
            ),
            "n_components": found["param_vaefeatureextractor__n_components"],
            "lr": found["param_vaefeatureextractor__trainer__lr"],
            "R^2": found["mean_test_score"].round(3),
            "std": found["std_test_score"].round(3),
            "seconds": found["mean_fit_time"].round(1),
        }
    )
    print(shown.sort_values(["network", "n_components", "lr"]).to_string(index=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        grid = fetch_aluminium_arcs().grid
    simulator = PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.54, temperature=50.0
    )
    X, y = make_powder_spectra(
        simulator, arguments.samples, random_state=0, n_jobs=-1, verbose=1
    )
    if arguments.table:
        table(X, y, grid, arguments.epochs)
        raise SystemExit
    threads = joblib.Parallel(2)(joblib.delayed(torch.get_num_threads)() for _ in "ab")
    print(
        f"torch threads here {torch.get_num_threads()}, in each of 2 workers {threads}"
    )
    one = None
    for name, backend, n_jobs in (
        ("one process", "loky", 1),
        ("two processes", "loky", 2),
        ("two threads", "threading", 2),
    ):
        with joblib.parallel_config(backend=backend):
            seconds = search(X, y, arguments.epochs, n_jobs)
        one = one or seconds
        print(
            f"{name}: {seconds:.1f} s, {seconds / one:.2f} of one process", flush=True
        )
