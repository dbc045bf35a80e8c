"""Accuracy, speed and memory of the powder simulator, next to other codes.

Run with ``python tests/benchmarks/forward_model.py`` and one thread a process
(``OMP_NUM_THREADS=1``); ``--only NAME`` runs one part, ``--old FOLDER`` times another
version of the package beside this one. Needs the published spectra and phonopy's files
(SKPHONON_DATA), and Euphonic. Every comparison is a ratio of times in this run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from time import perf_counter

os.environ.setdefault("RAYON_NUM_THREADS", "1")  # phonopy's compiled part

import numpy as np
from sklearn.base import clone

from skphonon import (
    ForceConstantModel,
    PowderSimulator,
    SpectrumGrid,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
    nmse,
)
from skphonon.datasets import IncompleteDatasetWarning
from skphonon.simulation import Scattering

FILES = {
    "Si": ("phonopy_params_Si.yaml", None),
    "NaCl": ("phonopy_params_NaCl-1.00.yaml.xz", None),
    "CaHgO2": ("CaHgO2-mp-7041.yaml", None),
    "La2Zr2O7": ("La2Zr2O7.yaml", "La2Zr2O7-force_constants.hdf5"),
    "quartz": ("quartz.yaml", "quartz-force_constants.hdf5"),
}
LEVEL = 1e-3  # NMSE that counts as converged enough beside Euphonic
TOLERANCES = {"Al": 1e-4, "Si": 1e-4, "NaCl": 1e-4}  # of others 2e-4


def published():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        return fetch_aluminium_arcs()


def load(name):
    if name == "Al":
        return load_aluminium_model()
    folder = Path(os.environ["SKPHONON_DATA"]) / "phonopy"
    file, constants = FILES[name]
    constants = None if constants is None else folder / constants
    return ForceConstantModel.from_phonopy(folder / file, force_constants=constants)


def map_simulator(model, **settings):
    """A powder map of 60 energies and 50 moduli, three widths off the elastic line."""
    qpoints = np.random.default_rng(0).uniform(-0.5, 0.5, (100, 3))
    highest = 1.1 * model.frequencies(model.reference, qpoints).max()
    energy = np.linspace(0.12 * highest, highest, 60)
    settings = {"energy_resolution": 0.04 * highest, "temperature": 100.0} | settings
    return PowderSimulator(
        model,
        SpectrumGrid(energy, np.arange(0.55, 8, 0.15)),
        q_resolution=0.07,
        quantity="sqe",
        units="barn/meV/sr",
        **settings,
    )


def fastest(call, repeats=5):
    """Shortest wall time of a call in seconds, after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        started = perf_counter()
        call()
        times.append(perf_counter() - started)
    return min(times)


def cold(simulator, rows):
    """Time of a first simulation, by an object that shares nothing built before."""
    from skphonon import _caching

    _caching._BUILT.clear()
    copy = clone(simulator)
    copy.parameter_names  # noqa: B018  # the crystal itself is not what is timed
    started = perf_counter()
    copy.simulate(rows)
    return perf_counter() - started


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB


def some_sets(model, number, width=0.01):
    rng = np.random.default_rng(0)
    shape = number, len(model.reference)
    return model.reference * rng.uniform(1 - width, 1 + width, shape)


def times_of(name, *, gradients=True):
    """Time the map of a crystal: first, another, in a batch; derivatives."""
    model = load(name)
    simulator = map_simulator(model, tolerance=TOLERANCES.get(name, 2e-4))
    found = {"atoms": model.n_atoms, "constants": len(model.reference)}
    found["first"] = cold(simulator, model.reference)
    found["next"] = fastest(lambda: simulator.simulate(model.reference))
    n_sets = 64 if model.n_atoms < 4 else 8
    rows = some_sets(model, n_sets)
    found["batch"] = fastest(lambda: simulator.simulate(rows), 2) / n_sets
    if gradients and len(model.reference) < 50:
        call = fastest(lambda: simulator.jacobian(model.reference), 2)
        found["jacobian"] = call / found["next"]
    if gradients and hasattr(simulator, "gradient"):
        slopes = np.ones((1, simulator.grid.n_pixels))
        call = fastest(lambda: simulator.gradient(model.reference, slopes), 2)
        found["gradient"] = call / found["next"]
    if hasattr(simulator, "zone_mesh"):
        found["mesh"] = simulator.zone_mesh.size
        found["error"] = simulator.mesh_error
    found["memory"] = peak_memory()
    return found


def in_another(version, name, limit=900):
    """Time a crystal in a process of its own, with another version of the package."""
    command = [sys.executable, __file__, "--one", name]
    path = os.environ | ({"PYTHONPATH": str(version)} if version else {})
    try:
        done = subprocess.run(
            command, env=path, capture_output=True, text=True, timeout=limit, check=True
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        return {"failed": str(error)[-200:]}
    return json.loads(done.stdout.splitlines()[-1])


def crystals(old=None):
    """Print the table of crystals, each in a process of its own."""
    for name in ("Al", *FILES):
        versions = {"now": None} | ({"old": old} if old else {})
        for label, version in versions.items():
            found = in_another(version, name)
            text = ", ".join(
                f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in found.items()
            )
            print(f"{name} ({label}; seconds, derivatives in maps, GiB): {text}")


def accuracy():
    """Compare with the published simulation, and with a much finer mesh."""
    data = published()
    simulator = PowderSimulator(
        load_aluminium_model(), data.grid, energy_resolution=1.54, temperature=50.0
    )
    row = data.simulated[None]
    for label, settings in {
        "background Q^2": {"background": [[0.0, 0.0, 0.002]]},
        "4 phonons": {"scattering": Scattering(n_phonons=4)},
        "4 phonons, incoherent": {
            "scattering": Scattering(n_phonons=4, incoherent=True)
        },
    }.items():
        as_published = clone(simulator).set_params(**settings)
        simulated = as_published.simulate(data.simulated_target)
        print(
            f"NMSE on the published simulated spectrum, {label}: "
            f"{nmse(row, simulated)[0]:.2e}; scale fitted: "
            f"{nmse(row, simulated, scale='fitted')[0]:.2e}"
        )
    rows = data.training_targets[:64]
    rows = rows[simulator.model.is_stable(rows)]
    fine = clone(simulator).set_params(mesh=32)
    target = fine.simulate(rows)
    for tolerance in (1e-3, 1e-4, 1e-5):
        coarse = clone(simulator).set_params(tolerance=tolerance)
        error = nmse(target, coarse.simulate(rows))
        print(
            f"mesh {coarse.zone_mesh.size} (tolerance {tolerance:g}): NMSE to 32 "
            f"points, median {np.median(error):.1e}, largest {error.max():.1e}; "
            f"estimated {np.median(coarse.mesh_errors(rows)):.1e}"
        )


def training_set(n_samples=10_000):
    """Time the published training set: 10,000 spectra of aluminium, and of silicon."""
    for name in ("Al", "Si"):
        model = load(name)
        simulator = map_simulator(model)
        if name == "Al":
            simulator = PowderSimulator(
                model, published().grid, energy_resolution=1.54, temperature=50.0
            )
        for n_jobs in (1, 2):
            started = perf_counter()
            make_powder_spectra(
                simulator, n_samples, spread=0.3, random_state=0, n_jobs=n_jobs
            )
            seconds = perf_counter() - started
            print(f"{name}: {n_samples} spectra, {n_jobs=}: {seconds:.1f} s")


def workers(n_samples=4000):
    """Time one and two workers of a dask cluster on one training set."""
    import joblib
    from dask.distributed import Client, LocalCluster

    simulator = map_simulator(load("Si"))
    for n_workers in (1, 2):
        with (
            LocalCluster(
                n_workers=n_workers, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            Client(cluster),
            joblib.parallel_config("dask"),
        ):
            make_powder_spectra(simulator, 64, random_state=1)  # plans are made
            started = perf_counter()
            make_powder_spectra(simulator, n_samples, random_state=0, n_jobs=-1)
            seconds = perf_counter() - started
        print(f"Si: {n_samples} spectra, {n_workers} workers: {seconds:.1f} s")


def growth():
    """Print how the cost of a map goes with atoms, mesh, |Q|, constants and spectra."""
    for multiples in ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2), (4, 2, 2)):
        model = _supercell(multiples)
        size = tuple(max(12 // n, 2) for n in multiples)
        simulator = map_simulator(model, mesh=size)
        seconds = fastest(lambda s=simulator: s.simulate(s.reference), 3)
        print(f"atoms {model.n_atoms}, mesh {size}: {seconds * 1e3:.1f} ms")
    silicon = load("Si")
    for size in (6, 9, 12, 18, 24):
        simulator = map_simulator(silicon, mesh=size)
        seconds = fastest(lambda s=simulator: s.simulate(s.reference), 3)
        print(f"mesh {size}: {seconds * 1e3:.1f} ms")
    for highest in (4.0, 6.0, 8.0, 12.0):
        simulator = map_simulator(silicon, mesh=9)
        q = np.arange(0.55, highest, 0.15)
        simulator.set_params(grid=simulator.grid.replace(q=q))
        seconds = fastest(lambda s=simulator: s.simulate(s.reference), 3)
        print(f"|Q| to {highest:g}/Angstrom: {seconds * 1e3:.1f} ms")
    for n_shells in (1, 2, 4, 6, 11):
        model = load("NaCl").replace(n_shells=n_shells)
        model = model.replace(reference=model.parameters(load("NaCl").to_phonopy()))
        simulator = map_simulator(model, mesh=6)
        forward = fastest(lambda s=simulator: s.simulate(s.reference), 3)
        jacobian = fastest(lambda s=simulator: s.jacobian(s.reference), 2)
        slopes = np.ones((1, simulator.grid.n_pixels))
        gradient = fastest(lambda s=simulator, g=slopes: s.gradient(s.reference, g), 2)
        print(
            f"constants {len(model.reference)}: map {forward * 1e3:.1f} ms, Jacobian "
            f"{jacobian * 1e3:.0f} ms, gradient {gradient * 1e3:.1f} ms"
        )
    simulator = map_simulator(silicon, mesh=9)
    for number in (1, 4, 16, 64, 256):
        rows = some_sets(silicon, number)
        seconds = fastest(lambda r=rows: simulator.simulate(r), 2) / number
        print(f"{number} spectra a call: {seconds * 1e3:.2f} ms each")


def _supercell(multiples):
    """Aluminium in a cell of several atoms."""
    from scipy.spatial import cKDTree

    single = load_aluminium_model()
    places = np.stack(np.meshgrid(*map(np.arange, multiples)), axis=-1)
    model = ForceConstantModel(
        np.asarray(single.lattice) * np.array(multiples)[:, None],
        ["Al"] * int(np.prod(multiples)),
        None,
        positions=places.reshape(-1, 3) / multiples,
    )
    constants = single.tensor(single.reference)[0]
    _, same = cKDTree(single.bonds).query(model.bonds)
    on_site = np.repeat(constants[:1], model.n_atoms, axis=0)
    reference = model.parameters(np.concatenate([on_site, constants[1:][same]]))
    return model.replace(reference=reference)


def against_euphonic():
    """One powder map to the same accuracy, each against its own converged map."""
    for name in ("Al", "Si", "NaCl"):
        model = load(name)
        simulator = map_simulator(model, tolerance=3 * LEVEL)
        target = clone(simulator).set_params(mesh=32).simulate(model.reference)
        error = nmse(target, simulator.simulate(model.reference))[0]
        rows = some_sets(model, 100)
        first = min(cold(simulator, model.reference) for _ in range(3))
        warm = fastest(lambda s=simulator, m=model: s.simulate(m.reference))
        batch = min(cold(simulator, rows) for _ in range(2)) / len(rows)
        average = _EuphonicMap(model, simulator)
        reference = average(20_000)
        for n_points in (50, 100, 200, 400, 800, 1600, 3200, 6400):
            started = perf_counter()
            found = average(n_points)
            theirs = perf_counter() - started
            their_error = nmse(reference, found)[0]
            if their_error <= LEVEL:
                break
        print(
            f"{name}: ours {error:.1e}: {first * 1e3:.0f} ms the first, "
            f"{warm * 1e3:.1f} ms another, {batch * 1e3:.2f} ms each of 100; "
            f"Euphonic {their_error:.1e} with {n_points} directions at each of "
            f"{simulator.grid.shape[1]} moduli: {theirs * 1e3:.0f} ms. Ratios "
            f"{theirs / first:.0f}, {theirs / warm:.0f}, {theirs / batch:.0f}. "
            f"The two converged maps differ by {nmse(reference, target)[0]:.1e}"
        )


class _EuphonicMap:
    """Euphonic's spherical averages, broadened as ours; one thread."""

    def __init__(self, model, simulator):
        import euphonic
        from euphonic import ureg

        with tempfile.TemporaryDirectory() as folder:
            settings = {"force_constants": True, "born_effective_charge": True}
            settings["dielectric_constant"] = True
            path = Path(folder) / "phonopy.yaml"
            model.to_phonopy().save(path, settings=settings)
            self.crystal = euphonic.ForceConstants.from_phonopy(path=folder)
        mesh = np.stack(np.meshgrid(*[(np.arange(12) + 0.5) / 12] * 3), axis=-1)
        modes = self.crystal.calculate_qpoint_phonon_modes(mesh.reshape(-1, 3))
        self.debye_waller = modes.calculate_debye_waller(
            simulator.temperature * ureg("K")
        )
        self.simulator = simulator

    def __call__(self, n_points):
        from euphonic import ureg
        from euphonic.powder import sample_sphere_structure_factor

        from skphonon.instrument.resolution import bin_kernel

        simulator, (energy, q) = self.simulator, self.simulator.grid.axes()
        lines = np.linspace(0, energy[-1] * 1.2, 400)
        columns = []
        for modulus in q:
            spectrum = sample_sphere_structure_factor(
                self.crystal,
                modulus * ureg("1/angstrom"),
                dw=self.debye_waller,
                temperature=simulator.temperature * ureg("K"),
                npts=n_points,
                energy_bins=lines * ureg("meV"),
                scattering_lengths="Sears1992",
            )
            columns.append(spectrum.y_data.to("barn/meV").magnitude)
        middles, step = (lines[1:] + lines[:-1]) / 2, lines[1] - lines[0]
        energy_edges, q_edges = simulator.grid.edges()
        in_energy = bin_kernel(energy_edges, middles, simulator.energy_resolution)
        in_q = bin_kernel(q_edges, q, simulator.q_resolution) * np.diff(q_edges)[0]
        image = in_energy @ np.transpose(columns) * step @ in_q.T
        return image.reshape(1, -1)


PARTS = {
    "crystals": crystals,
    "accuracy": accuracy,
    "training_set": training_set,
    "workers": workers,
    "growth": growth,
    "against_euphonic": against_euphonic,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--old", help="folder of another version of the package")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        warnings.simplefilter("ignore")
        times = times_of(arguments.one)
        print(json.dumps({k: np.asarray(v).tolist() for k, v in times.items()}))
    else:
        for part, run in PARTS.items():
            if arguments.only in (None, part):
                run(**({"old": arguments.old} if part == "crystals" else {}))
