"""Speed of the spin-wave simulator, and what a fit of measured La2NiO4 depends on.

Run with ``python tests/benchmarks/spin_waves.py`` and one thread (OMP_NUM_THREADS=1).
Needs the published map (downloaded, or SKPHONON_DATA).
"""

import warnings
from time import perf_counter

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from sklearn.exceptions import ConvergenceWarning

from skphonon import LeastSquaresInverter, PathGrid, SpinWaveSimulator
from skphonon.datasets import fetch_la2nio4, load_la2nio4_model
from skphonon.inversion import Search

WIDTHS = {"energy_resolution": (0.5, 15.0)}  # meV
BOTH = {**WIDTHS, "q_resolution": (0.005, 0.1)}  # 1/Angstrom
TEMPERATURE = 10.0  # K; of no effect above 20 meV


def simulator(grid, q_resolution=0.0, **options):
    model = load_la2nio4_model().replace(**options)
    return SpinWaveSimulator(
        model,
        grid,
        energy_resolution=4.0,
        q_resolution=q_resolution,
        temperature=TEMPERATURE,
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


def smoothed(grid, X, errors):
    """Return errors from the mean variance of neighbours: empty pixels have one too."""
    variance = grid.to_image(errors)[0] ** 2
    seen = np.isfinite(variance)
    total, n = (
        uniform_filter(part, 3)
        for part in (np.where(seen, variance, 0.0), seen.astype(float))
    )
    mean = np.where(n > 1e-9, total / np.maximum(n, 1e-9), np.nan)
    return np.sqrt(np.where(np.isfinite(X[0]), mean.ravel(), np.nan))[None]


def fit(grid, X, weights=None, background=2, widths=None, **options):
    """Return what a fit finds, in words."""
    inverter = LeastSquaresInverter(
        simulator(grid, 0.0 if widths == WIDTHS else 0.03, **options),
        nuisance=widths or BOTH,
        background=background,
        search=Search(n_candidates=8),
        random_state=0,
    ).fit(X)
    started = perf_counter()
    result = inverter.invert(X, errors=weights)
    seconds = perf_counter() - started
    (j, k), (dj, dk) = result.parameters[0], result.std[0]
    width, *in_q = result.nuisance.iloc[0, : len(inverter.nuisance)]
    in_q = f"and {in_q[0]:5.3f} 1/A" if in_q else " " * 13
    return (
        f"J {j:5.2f} +- {dj:4.2f}   J' {k:5.2f} +- {dk:4.2f}   width {width:5.2f} "
        f"{in_q} chi2 {result.reduced_chi2[0]:6.2f}   {seconds:4.1f} s"
    )


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    measured = fetch_la2nio4()
    grid = measured.grid
    time_simulations(grid.wavevectors)
    X, errors = measured.data, measured.errors
    logarithm = 1 + X
    kinds = {
        "all pixels alike": None,
        "published errors": errors,
        "errors of 3 x 3 pixels": smoothed(grid, X, errors),
        "errors and 5 %": np.hypot(errors, 0.05 * X),
        "errors 1 + S": logarithm,
    }
    for name, weights in kinds.items():
        for background in (2, (6, 0), (6, 2)):
            for widths in (WIDTHS, BOTH):
                told = fit(grid, X, weights, background, widths)
                print(f"{name:22s} background {background!s:7s} {told}", flush=True)
    for name, options in {
        "no form factor": {"ions": None},
        "spins along [110]": {"axis": [1, 1, 0]},
        "spins along [1-10]": {"axis": [1, -1, 0]},
        "all directions": {"axis": None},
        "Zc 1.079": {"renormalization": 1.079},
        "Zc 1.1": {"renormalization": 1.1},
    }.items():
        told = fit(grid, X, errors, (6, 0), **options)
        print(f"published errors, (6, 0), {name:18s} {told}")
    flat = measured.without_background
    for background in (None, 0):
        told = fit(grid, flat, errors, background)
        print(f"background subtracted, {background!s:17s} {told}")


if __name__ == "__main__":
    main()
