"""Time, disk and memory of training sets of aluminium spectra on the published grid.

Run with ``python tests/benchmarks/training_sets.py`` and one thread a process
(``OMP_NUM_THREADS=1``). Needs the published grid (downloaded, or SKPHONON_DATA).
Every step runs in a process of its own, whose largest memory is then its own.
"""

import argparse
import multiprocessing
import resource
import tempfile
import warnings
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from joblib.externals.loky import get_reusable_executor

from skphonon import (
    ForceConstantRegressor,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    VAEFeatureExtractor,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.datasets import (
    IncompleteDatasetWarning,
    open_powder_spectra,
    write_powder_spectra,
)
from skphonon.learning import Trainer

PLANNED = 1_000_000
VARIED = {
    "energy_resolution": (1.2, 1.9),
    "q_resolution": (0.06, 0.12),
    "lattice_scale": (0.998, 1.02),
    "mean_square_displacement": (0.0, 0.012),
    "background": (0.0, 0.4),
}
LEARNT_FROM = 5_000  # spectra that the extractor is fitted to, in memory


def simulator():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        grid = fetch_aluminium_arcs().grid
    model = load_aluminium_model()
    return PowderSimulator(
        model, grid, energy_resolution=1.54, temperature=50.0, tolerance=3e-4
    )


def make(n_samples, n_jobs, augmentation):
    """Return the size of a training set in memory, in bytes."""
    X, y = make_powder_spectra(
        simulator(), n_samples, augmentation=augmentation, random_state=0, n_jobs=n_jobs
    )
    return X.nbytes + y.nbytes


def write(folder, n_samples, n_jobs, augmentation):
    write_powder_spectra(
        folder,
        simulator(),
        n_samples,
        noise=0.2,
        augmentation=augmentation,
        random_state=0,
        n_jobs=n_jobs,
    )


def read(folder):
    for _ in open_powder_spectra(folder).batches(1024, shuffle=True, random_state=0):
        pass


def learn(folder):
    """Fit to all spectra of a store with no more than a few of them in memory."""
    store = open_powder_spectra(folder)
    X, _ = store.load(min(LEARNT_FROM, len(store)))
    preprocessor = MaskedSpectrumPreprocessor().fit(X)
    extractor = VAEFeatureExtractor(trainer=Trainer(max_epochs=20), random_state=0)
    extractor.fit(preprocessor.transform(X))
    del X
    batches = store.batches(1024)
    codes = [extractor.transform(preprocessor.transform(X)) for X, _ in batches]
    regressor = ForceConstantRegressor(trainer=Trainer(max_epochs=2), random_state=0)
    regressor.fit(np.concatenate(codes), store.y)


def nothing():
    """Return, having imported all that the other steps import."""


def measure(step):
    """Run a step in a new process; return result, seconds, and MB of it and a worker.

    The memory of a process that has done nothing is part of these.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(step, sender))
    process.start()
    sender.close()  # so that a step that fails ends the wait for it
    measured = receiver.recv()
    process.join()
    return measured


def _report(step, sender):
    started = perf_counter()
    result = step()
    seconds = perf_counter() - started
    get_reusable_executor().shutdown(wait=True)  # so that the workers are counted
    own, worker = (
        resource.getrusage(who).ru_maxrss / 1024  # Linux counts in KiB
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    sender.send((result, seconds, own, worker))


def main(n_samples, n_jobs, vary):
    augmentation = VARIED if vary else None
    _, _, empty, _ = measure(nothing)
    print(f"A process that has imported everything holds {empty:.0f} MB")

    size, seconds, own, worker = measure(partial(make, n_samples, n_jobs, augmentation))
    beyond = own - empty - size / 2**20
    print(
        f"make_powder_spectra, {n_samples} spectra, {n_jobs=}: {seconds:.0f} s; result "
        f"{size / 2**20:.0f} MB, beyond it {beyond:.0f} MB here and at most "
        f"{worker:.0f} MB in each worker"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "store"
        write_all = partial(write, folder, n_samples, n_jobs, augmentation)
        _, seconds, own, worker = measure(write_all)
        shards = sorted(folder.glob("shard-*.h5"))
        disk = sum(file.stat().st_size for file in folder.iterdir())
        print(
            f"write_powder_spectra: {seconds:.0f} s, {disk / 1e6:.0f} MB on disk, "
            f"{own - empty:.0f} MB beyond an empty process here and at most "
            f"{worker:.0f} MB in each worker"
        )
        _, whole, _, _ = measure(write_all)
        shards[0].unlink()
        _, resumed, _, _ = measure(write_all)
        print(
            f"Again: {whole:.1f} s on the complete store; {resumed:.1f} s with one of "
            f"{len(shards)} shards missing"
        )
        _, pass_seconds, own_read, _ = measure(partial(read, folder))
        print(
            f"One pass through shuffled batches: {pass_seconds:.1f} s, "
            f"{own_read - empty:.0f} MB beyond an empty process"
        )
        _, seconds_learn, own_learn, _ = measure(partial(learn, folder))
        print(
            f"Extractor from the first {min(LEARNT_FROM, n_samples)}, regressor from "
            f"the codes of all: {seconds_learn:.0f} s, {own_learn - empty:.0f} MB "
            f"beyond an empty process ({size / 2**21:.0f} MB is the set in float32)"
        )
    each = PLANNED / n_samples
    print(
        f"Plan for {PLANNED} spectra on {n_jobs} cores: {seconds * each / 3600:.1f} h, "
        f"{disk * each / 1e9:.1f} GB of disk, {own:.0f} MB in the writer and "
        f"{worker:.0f} MB in each worker; {pass_seconds * each / 60:.0f} min a pass"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-samples", type=int, default=10_000)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument(
        "--vary", action="store_true", help="vary what an experiment varies"
    )
    main(**vars(parser.parse_args()))
