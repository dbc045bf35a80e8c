"""Whether a grid search in several processes gives each its own processor.

Run with ``python tests/benchmarks/grid_search.py`` and without OMP_NUM_THREADS. Trains
the same four candidates in one process, in two, and in two threads, on simulated
spectra of aluminium, prints seconds, their ratio to one process and the threads torch
uses in a worker. Needs the published data (downloaded, or SKPHONON_DATA).
"""

import argparse
import warnings
from time import perf_counter

import joblib
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
from skphonon.learning import Trainer


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=40)
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
