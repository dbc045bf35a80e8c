"""Speed and memory of the single-crystal simulator and of what learns from it.

Run with ``python tests/benchmarks/single_crystal.py`` and one thread a process
(``OMP_NUM_THREADS=1``); ``--only NAME`` runs one part. Needs phonopy's files
(SKPHONON_DATA) and Euphonic.
"""

import argparse
import os
import resource
import sys
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

os.environ.setdefault("RAYON_NUM_THREADS", "1")  # phonopy's compiled part

import numpy as np
import sklearn
from forward_model import fastest
from validation import lengths, to_euphonic

from skphonon import (
    CrystalGrid,
    ForceConstantModel,
    SingleCrystalSimulator,
    SpectrumRegressor,
)
from skphonon._caching import _BUILT
from skphonon.learning import Augmentation, Trainer, VAEFeatureExtractor

ENERGY = np.linspace(0.5, 25.25, 100)  # meV
WIDTH = 0.5  # meV
TEMPERATURE = 300.0
N_SETS = 20


def germanium():
    folder = Path(os.environ["SKPHONON_DATA"]) / "phonopy"
    return ForceConstantModel.from_phonopy(
        folder / "Ge-phonopy.yaml",
        force_constants=folder / "Ge-force_constants.hdf5",
    )


def volumes(model):
    """Two grids of 10^6 voxels: in step with the crystal, and shifted against it."""
    sides = {
        "planes of symmetry": (np.linspace(0, 6, 25), np.linspace(-2, 2, 20), 0.0),
        "no symmetry": (np.linspace(0, 6, 25), np.linspace(-2, 2, 20), 0.0137),
    }
    for name, (h, k, shift) in sides.items():
        yield (
            name,
            CrystalGrid(
                ENERGY,
                h + shift,
                k + 1.7 * shift,
                k - 2.9 * shift,
                lattice=2 * model.cell.cell.max() * np.eye(3),
            ),
        )


def simulator(name="no symmetry", **options):
    model = germanium()
    grid = dict(volumes(model))[name]
    return SingleCrystalSimulator(model, grid, energy_resolution=WIDTH, **options)


def parameter_sets(model):
    rng = np.random.default_rng(0)
    return model.reference * rng.uniform(0.98, 1.02, (N_SETS, len(model.reference)))


def speed():
    """Print times of one parameter set, alone and in a batch."""
    for name, grid in volumes(germanium()):
        made = simulator(name)
        model, rows = made.model, parameter_sets(made.model)
        _BUILT.clear()
        started = perf_counter()
        made.simulate(rows[:1])
        cold = perf_counter() - started
        one = fastest(lambda: made.simulate(rows[:1]), 3)  # noqa: B023
        batch = fastest(lambda: made.simulate(rows), 3) / N_SETS  # noqa: B023
        jacobian = fastest(lambda: made.jacobian(rows[:1]), 1)  # noqa: B023
        plan = made._plan(0.0)
        n_different = plan.q_vectors.any(axis=1).sum()
        print(
            f"{grid.n_pixels} voxels, {name}: {len(plan.wavevectors)} diagonalised,"
            f" {n_different} different of {grid.shape[1]} wavevectors\n"
            f"  first call {cold:.3f} s, one set {one:.3f} s, in {N_SETS} {batch:.3f} s"
            f" a set; Jacobian, {rows.shape[1]} constants, {jacobian:.2f} s"
        )
        qpoints = grid.wavevectors @ model.cell.cell.T / grid.lattice[0, 0]
        euphonic, parts = time_euphonic(model, qpoints)
        phonopy = time_phonopy(model, qpoints)
        print(
            f"  Euphonic {euphonic:.3f} s a set ({parts}), {euphonic / batch:.1f} times"
            f" the batch; phonopy {phonopy:.3f} s (modes and structure factors), "
            f"{phonopy / batch:.1f} times"
        )


def memory():
    """Print what simulations take at most, each in a process of its own."""
    for setting in (8, 16, 32):
        for name in ("no symmetry", "planes of symmetry"):
            with get_context("spawn").Pool(1) as pool:
                spectra, jacobian = pool.apply(_peaks, (name, setting))
            print(
                f"working_memory={setting}, {name}: {N_SETS} sets take {spectra:.0f} "
                f"MB besides results, 8 Jacobians {jacobian:.0f} MB besides theirs"
            )


def _peaks(name, setting):
    sklearn.set_config(working_memory=setting)
    made = simulator(name)
    rows = parameter_sets(made.model)
    made.jacobian(rows[:1, :])  # what stays, and the code

    def both():
        return made.jacobian(rows[:8], return_spectra=True)

    found = []
    for call in (lambda: made.simulate(rows), both):
        before = _resident()
        peak, results = _watched(call)
        found.append((peak - before - results) / 1e6)
    return found


def _watched(call):
    """Largest resident memory while a call runs, and the size of its result."""
    largest, done = [0], Event()

    def watch():
        while not done.wait(1e-3):
            largest[0] = max(largest[0], _resident())

    thread = Thread(target=watch)
    thread.start()
    result = call()
    done.set()
    thread.join()
    arrays = result if isinstance(result, tuple) else [result]
    return largest[0], sum(array.nbytes for array in arrays)


def _resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def time_euphonic(model, qpoints):
    from euphonic import DebyeWaller, ureg

    constants = to_euphonic(model)
    u = np.repeat(0.01 * np.eye(3)[None], model.n_atoms, axis=0)
    factor = DebyeWaller(
        constants.crystal, u * ureg("angstrom^2"), TEMPERATURE * ureg("K")
    )
    edges = np.append(ENERGY, 2 * ENERGY[-1] - ENERGY[-2]) - np.diff(ENERGY)[0] / 2
    kwargs = {"calc_bose": True, "temperature": TEMPERATURE * ureg("K")}
    calls = {
        "modes": lambda found: constants.calculate_qpoint_phonon_modes(
            qpoints, use_c=True, n_threads=1
        ),
        "structure factors": lambda found: found.calculate_structure_factor(
            scattering_lengths=lengths(model), dw=factor
        ),
        "S(Q,E)": lambda found: found.calculate_sqw_map(edges * ureg("meV"), **kwargs),
        "broadening": lambda found: found.broaden(y_width=2.3548 * WIDTH * ureg("meV")),
    }
    found, times = None, {}
    for name, call in calls.items():
        times[name] = fastest(lambda call=call, found=found: call(found), 2)
        found = call(found)
    text = ", ".join(f"{name} {t:.3f}" for name, t in times.items())
    return sum(times.values()), text


def time_phonopy(model, qpoints):
    phonons = model.to_phonopy()
    phonons.run_mesh([4] * 3, is_mesh_symmetry=False, with_eigenvectors=True)
    b = {symbol: float(length.magnitude) for symbol, length in lengths(model).items()}
    return fastest(
        lambda: phonons.run_dynamic_structure_factor(
            qpoints, TEMPERATURE, scattering_lengths=b, freq_min=1e-3
        ),
        1,
    )


def inference():
    """Print what a volume of a million voxels takes, whatever is in it."""
    rng, n_spectra, n_voxels = np.random.default_rng(0), 150, 10**6
    mixing = rng.normal(size=(n_spectra, n_spectra)).astype(np.float32)
    X = np.abs(mixing @ rng.normal(size=(n_spectra, n_voxels)).astype(np.float32))
    y = rng.uniform(1, 2, (n_spectra, 12))
    codes = VAEFeatureExtractor(
        24, inference="posterior", trainer=Trainer(max_epochs=2), random_state=0
    ).fit(X)
    direct = SpectrumRegressor(
        augmentation=Augmentation(n_views=1),
        trainer=Trainer(max_epochs=2),
        random_state=0,
    ).fit(X, y)
    for share in (1.0, 0.9, 0.55, 0.45, 0.05):
        row = X[:1].copy()
        row[0, rng.uniform(size=n_voxels) > share] = np.nan
        times = (
            fastest(lambda row=row: codes.transform(row), 3),
            fastest(lambda row=row: direct.predict(row, return_std=True), 3),
        )
        print(f"{share:4.2f} seen: codes {times[0]:.2f} s, direct {times[1]:.2f} s")


PARTS = {"speed": speed, "memory": memory, "inference": inference}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    chosen = parser.parse_args().only
    for name, part in PARTS.items():
        if chosen in (None, name):
            part()


if __name__ == "__main__":
    sys.exit(main())
