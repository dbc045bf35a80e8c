"""Speed of the spin-wave simulator, and what a fit of measured La2NiO4 depends on.

Run with ``python tests/benchmarks/spin_waves.py`` and one thread (OMP_NUM_THREADS=1).
Needs the published map in the folder ``la2nio4`` of SKPHONON_DATA.
"""

import os
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skphonon import (
    LeastSquaresInverter,
    PathGrid,
    SpinWaveSimulator,
    load_la2nio4_model,
)

FOLDER = Path(os.environ["SKPHONON_DATA"]) / "la2nio4"
WIDTHS = {"energy_resolution": (0.5, 15.0)}  # meV
TEMPERATURE = 10.0  # K; of no effect above 20 meV


def read(name):
    return np.loadtxt(FOLDER / name, delimiter=",")


def simulator(grid, **options):
    model = clone(load_la2nio4_model()).set_params(**options)
    return SpinWaveSimulator(
        model, grid, energy_resolution=4.0, temperature=TEMPERATURE
    )


def time_simulations(path):
    """Print what a training set of the published size costs."""
    made = simulator(PathGrid(np.arange(0.5, 200.0), path))
    rng = np.random.default_rng(0)
    rows = np.c_[rng.uniform(20, 75, 1200), rng.uniform(-30, 10, 1200)]
    made.simulate(rows[:10])
    for name, call in {
        "is_stable, 1200 sets": lambda: made.is_stable(rows),
        "simulate, 1200 sets": lambda: made.simulate(rows),
        "jacobian, 100 sets": lambda: made.jacobian(
            rows[:100], nuisance=["energy_resolution"]
        ),
        "jacobian, one set": lambda: made.jacobian(rows[:1]),
    }.items():
        started = perf_counter()
        call()
        print(f"{name:24s} {perf_counter() - started:7.3f} s")


def fit(grid, image, weights=None, background=2, **options):
    """Return what a fit finds, in words."""
    X = grid.to_rows(image)
    errors = None if weights is None else grid.to_rows(weights)
    inverter = LeastSquaresInverter(
        simulator(grid, **options),
        nuisance=WIDTHS,
        background=background,
        random_state=0,
    ).fit(X)
    started = perf_counter()
    result = inverter.invert(X, errors=errors)
    seconds = perf_counter() - started
    (j, k), (dj, dk) = result.parameters[0], result.std[0]
    width = result.nuisance["energy_resolution"].iloc[0]
    return (
        f"J {j:5.2f} +- {dj:4.2f}   J' {k:5.2f} +- {dk:4.2f}   width {width:5.2f}   "
        f"{seconds:4.1f} s"
    )


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    path = read("Qlist_path2_woBG.csv").T
    time_simulations(path)
    image, errors = read("Sqw_path2.csv"), read("Err_path2.csv")
    grid = PathGrid(read("Elist_path2_woBG.csv"), path, mask=image != 0)
    logarithm = 1 + np.abs(image)
    kinds = {
        "all pixels alike": None,
        "errors of the file": errors,
        "errors and 5 %": np.hypot(errors, 0.05 * image),
        "errors 1 + S": logarithm,
    }
    for name, weights in kinds.items():
        for background in (2, (6, 0), (6, 2)):
            told = fit(grid, image, weights, background)
            print(f"{name:20s} background {background!s:7s} {told}")
    for name, options in {
        "no form factor": {"ions": None},
        "spins along [110]": {"axis": [1, 1, 0]},
        "spins along [1-10]": {"axis": [1, -1, 0]},
        "all directions": {"axis": None},
        "Zc 1.079": {"renormalization": 1.079},
        "Zc 1.1": {"renormalization": 1.1},
    }.items():
        told = fit(grid, image, logarithm, (6, 0), **options)
        print(f"errors 1 + S, (6, 0), {name:18s} {told}")
    flat = read("Sqw_path2_woBG.csv")
    for background in (None, 0):
        told = fit(grid, flat, logarithm, background)
        print(f"background subtracted, {background!s:17s} {told}")


if __name__ == "__main__":
    main()
