"""Accuracy and speed of the powder simulator on the published aluminium grid.

Run with ``python tests/benchmarks/forward_model.py`` and one thread a process
(``OMP_NUM_THREADS=1``). Needs the published spectra (downloaded, or SKPHONON_DATA).
"""

import argparse
import warnings
from time import perf_counter, process_time

import numpy as np
from sklearn.base import clone

from skphonon import (
    IncompleteDatasetWarning,
    PowderSimulator,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
    nmse,
)
from skphonon.physics.lattice_dynamics import PACKED, one_phonon_lines


def accuracy(simulator, published):
    """Compare with the published simulation and with ten times the directions."""
    as_published = clone(simulator).set_params(background=[[0.0, 0.0, 0.002]])
    simulated = as_published.simulate(published.simulated_target)
    row = published.simulated[None]
    print(
        f"NMSE on the published simulated spectrum: {nmse(row, simulated)[0]:.2e} "
        f"normalized, {nmse(row, simulated, scale='fitted')[0]:.2e} fitted"
    )
    rows = published.training_targets[:64]
    rows = rows[simulator.model.is_stable(rows)]
    fine = clone(simulator).set_params(n_directions=10 * simulator.n_directions)
    error = nmse(fine.simulate(rows), simulator.simulate(rows))
    print(
        f"Ten times the directions change {len(rows)} stable published sets by an "
        f"NMSE of {error.mean():.1e} (mean), {error.max():.1e} (largest)"
    )


def speed(simulator, published, n_samples):
    """Time single spectra, batches and a training set."""
    rows = published.training_targets
    simulator.simulate(rows[0])  # builds the basis
    for name, calls in {
        "one at a time": [rows[i] for i in range(32)],
        "in batches": [rows[:128]],
    }.items():
        started = process_time()
        n_spectra = sum(len(simulator.simulate(call)) for call in calls)
        milliseconds = (process_time() - started) / n_spectra * 1e3
        print(f"{milliseconds:.1f} ms of one processor a spectrum, {name}")
    for n_jobs in (1, 2):
        started = perf_counter()
        make_powder_spectra(simulator, parameters=rows[:n_samples], n_jobs=n_jobs)
        print(f"{perf_counter() - started:.0f} s, {n_samples} spectra, {n_jobs=}")


def closed_form_against_lapack(repeats=20):
    """Time the eigenvalue step alone, both ways on the same matrices."""
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(8192, 3, 3))
    matrices += matrices.swapaxes(1, 2)
    packed = np.ascontiguousarray(matrices.reshape(-1, 9)[:, PACKED].T)
    q_vectors = rng.normal(size=(3, 8192))
    ratios = []
    for _ in range(repeats):
        started = process_time()
        _, vectors = np.linalg.eigh(matrices)
        np.einsum("in,nij->nj", q_vectors, vectors) ** 2
        lapack = process_time() - started
        started = process_time()
        one_phonon_lines(packed, q_vectors)
        ratios.append(lapack / (process_time() - started))
    print(f"LAPACK takes {np.median(ratios):.1f} times as long as the closed form")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-samples", type=int, default=10_000)
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        published = fetch_aluminium_arcs()
    simulator = PowderSimulator(
        load_aluminium_model(), published.grid, temperature=50.0
    )
    accuracy(simulator, published)
    speed(simulator, published, arguments.n_samples)
    closed_form_against_lapack()
