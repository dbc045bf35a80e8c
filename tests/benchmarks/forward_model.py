"""Accuracy, speed and memory of the powder simulator, next to other codes.

Run with ``python tests/benchmarks/forward_model.py`` and one thread a process
(``OMP_NUM_THREADS=1``); ``--only NAME`` runs one part, ``--plots FOLDER`` draws how
cost grows. Needs the published spectra and phonopy's files (SKPHONON_DATA), and
Euphonic. Every comparison is a ratio of times in this run.
"""

import argparse
import os
import resource
import tempfile
import warnings
from pathlib import Path
from time import perf_counter

os.environ.setdefault("RAYON_NUM_THREADS", "1")  # phonopy's compiled part

import numpy as np
from sklearn.base import clone

from skphonon import (
    ForceConstantModel,
    IncompleteDatasetWarning,
    PowderSimulator,
    SpectrumGrid,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
    nmse,
)
from skphonon.physics.constants import MEV_PER_THZ

FILES = {"Si": "phonopy_params_Si.yaml", "NaCl": "phonopy_params_NaCl-1.00.yaml.xz"}
LEVEL = 1e-3  # NMSE that counts as converged enough


def published():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        return fetch_aluminium_arcs()


def crystals():
    folder = Path(os.environ["SKPHONON_DATA"]) / "phonopy"
    loaded = {
        name: ForceConstantModel.from_phonopy(folder / file)
        for name, file in FILES.items()
    }
    return {"Al": load_aluminium_model(), **loaded}


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
    from skphonon import _persistence

    _persistence._BUILT.clear()
    started = perf_counter()
    clone(simulator).simulate(rows)
    return perf_counter() - started


def accuracy():
    """Compare with the published simulation and with ten times the directions."""
    data = published()
    simulator = PowderSimulator(
        load_aluminium_model(), data.grid, energy_resolution=1.54, temperature=50.0
    )
    row = data.simulated[None]
    for label, settings in {
        "background Q^2": {"background": [[0.0, 0.0, 0.002]]},
        "4 phonons": {"n_phonons": 4},
        "4 phonons, incoherent": {"n_phonons": 4, "incoherent": True},
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
    for tolerance in (3e-4, simulator.tolerance):
        coarse = clone(simulator).set_params(tolerance=tolerance)
        plan, _ = coarse._plan()
        fine = clone(coarse).set_params(n_directions=10 * plan.n_directions)
        error = nmse(fine.simulate(rows), coarse.simulate(rows))
        estimate = coarse.quadrature_error(rows)
        print(
            f"{plan.n_directions} directions (tolerance {tolerance:g}), "
            f"{plan.q_vectors.shape[1]} points: ten times as many change {len(rows)} "
            f"stable published sets by {error.mean():.1e} (mean), {error.max():.1e} "
            f"(largest); estimated {estimate.mean():.1e}, {estimate.max():.1e}"
        )
    single = clone(simulator).set_params(dtype="float32")
    error = nmse(simulator.simulate(rows), single.simulate(rows))
    print(f"float32 changes them by {error.mean():.1e} (mean), {error.max():.1e}")


def training_set(n_samples=10_000):
    """Time single spectra, batches and a training set."""
    data = published()
    for tolerance in (3e-4, 1e-4):
        simulator = PowderSimulator(
            load_aluminium_model(),
            data.grid,
            energy_resolution=1.54,
            temperature=50.0,
            tolerance=tolerance,
        )
        print(f"Tolerance {tolerance:g}:")
        _time_training_set(simulator, data.training_targets[:n_samples])


def _time_training_set(simulator, rows):
    single = fastest(lambda: simulator.simulate(rows[0]))
    batch = fastest(lambda: simulator.simulate(rows[:64])) / 64
    print(f"{single * 1e3:.1f} ms one spectrum, {batch * 1e3:.1f} ms each in a batch")
    float32 = clone(simulator).set_params(dtype="float32")
    batch32 = fastest(lambda: float32.simulate(rows[:64])) / 64
    print(f"float32: {batch32 / batch:.2f} of that time")
    for n_jobs in (1, 2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = perf_counter()
        X, _ = make_powder_spectra(simulator, parameters=rows, n_jobs=n_jobs)
        elapsed = perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        beyond = (peak - before) / 1024 - X.nbytes / 2**20
        print(
            f"{elapsed:.1f} s, {len(rows)} spectra, {n_jobs=}; memory of this process "
            f"beyond the result at most {max(beyond, 0):.0f} MiB"
        )


def gradients():
    """Cost of a Jacobian in forward calls."""
    for name, model in crystals().items():
        rows = model.reference * np.random.default_rng(0).uniform(
            0.98, 1.02, (16, len(model.reference))
        )
        _gradient_cost(f"{name}, a map", _map_simulator(model, 5000), rows)
    data = published()
    simulator = PowderSimulator(
        load_aluminium_model(), data.grid, energy_resolution=1.54, temperature=50.0
    )
    _gradient_cost("Al, published grid", simulator, data.training_targets[:32])


def _gradient_cost(label, simulator, rows):
    for sets in (rows[:1], rows):
        forward = fastest(lambda sets=sets: simulator.simulate(sets), 9)
        both = fastest(lambda sets=sets: simulator.jacobian(sets), 5)
        print(
            f"{label}, p = {rows.shape[1]}, {len(sets)} sets: a Jacobian costs "
            f"{both / forward:.1f} forward calls"
        )


VARIED = {
    "energy_resolution": (1.2, 1.9),
    "energy_resolution_slope": (-0.3, 0.3),
    "energy_offset": (-0.3, 0.3),
    "q_resolution": (0.06, 0.12),
    "lattice_scale": (0.998, 1.02),
    "mean_square_displacement": (0.0, 0.012),
}


def vary():
    """Cost of spectra that each have their own instrument, lattice and damping."""
    data = published()
    rng = np.random.default_rng(0)
    values = {name: rng.uniform(*limits, 64) for name, limits in VARIED.items()}
    for tolerance in (3e-4, 1e-4):
        simulator = PowderSimulator(
            load_aluminium_model(),
            data.grid,
            energy_resolution=1.54,
            temperature=50.0,
            tolerance=tolerance,
        )
        rows = data.training_targets[:64]
        plain = fastest(lambda s=simulator, r=rows: s.simulate(r)) / 64
        print(f"Tolerance {tolerance:g}: {plain * 1e3:.2f} ms a spectrum without")
        for some in (list(VARIED), *([name] for name in VARIED)):
            nuisance = {name: values[name] for name in some}
            ranges = {name: VARIED[name] for name in some}
            varied = fastest(
                lambda s=simulator, r=rows, n=nuisance, v=ranges: s.simulate(
                    r, nuisance=n, nuisance_ranges=v
                )
            )
            label = some[0] if len(some) == 1 else "all"
            print(f"{label}: {varied / 64 * 1e3:.2f} ms, {varied / 64 / plain:.2f}")
        _vary_accuracy(simulator, rows, values)


def _vary_accuracy(simulator, rows, values):
    stable = simulator.model.is_stable(rows)
    rows = rows[stable]
    values = {name: v[stable] for name, v in values.items()}
    plan, _ = simulator._plan()
    fine = clone(simulator).set_params(n_directions=10 * plan.n_directions)
    found = [
        s.simulate(rows, nuisance=values, nuisance_ranges=VARIED)
        for s in (fine, simulator)
    ]
    error = nmse(*found)
    print(
        f"ten times the directions change {len(rows)} stable published sets by "
        f"{error.mean():.1e} (mean), {error.max():.1e} (largest)"
    )


def _map_simulator(model, n_directions):
    """A powder map of 60 energies and 50 moduli, three widths off the elastic line."""
    highest = (
        1.1
        * model.frequencies(
            model.reference, np.random.default_rng(0).uniform(-0.5, 0.5, (100, 3))
        ).max()
    )
    energy = np.linspace(0.12 * highest, highest, 60)
    return PowderSimulator(
        model,
        SpectrumGrid(energy, np.arange(0.55, 8, 0.15)),
        temperature=100.0,
        energy_resolution=0.04 * highest,
        q_resolution=0.07,
        quantity="sqe",
        units="barn/meV/sr",
        n_directions=n_directions,
    )


def against_euphonic():
    """One powder map to the same accuracy, each against its own converged map."""
    for name, model in crystals().items():
        simulator = _map_simulator(model, 1)
        converged = clone(simulator).set_params(n_directions=400_000)
        target = converged.simulate(model.reference)
        for n_directions in np.geomspace(2000, 200_000, 21).astype(int):
            simulator.set_params(n_directions=int(n_directions))
            error = nmse(target, simulator.simulate(model.reference))[0]
            if error <= LEVEL:
                break
        rng = np.random.default_rng(0)
        rows = model.reference * rng.uniform(0.99, 1.01, (100, len(model.reference)))
        first = min(cold(simulator, model.reference) for _ in range(3))
        warm = fastest(lambda s=simulator, m=model: s.simulate(m.reference))
        batch = min(cold(simulator, rows) for _ in range(2)) / len(rows)
        points = simulator._plan()[0].q_vectors.shape[1]

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
            f"{name}: ours {error:.1e} with {points} points: {first * 1e3:.0f} ms the "
            f"first, {warm * 1e3:.0f} ms another, {batch * 1e3:.1f} ms each of 100; "
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

        from skphonon.simulation.resolution import bin_kernel

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


def against_phonopy():
    """Cost of a point next to phonopy's own diagonalisation of many q-points."""
    for name, model in crystals().items():
        simulator = _map_simulator(model, 20_000)
        points = simulator._plan()[0].q_vectors.shape[1]
        ours = fastest(lambda s=simulator, m=model: s.simulate(m.reference)) / points
        first = min(cold(simulator, model.reference) for _ in range(3)) / points
        crystal = model.to_phonopy()
        qpoints = np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 3))
        theirs = fastest(
            lambda c=crystal, q=qpoints: c.run_qpoints(q, with_eigenvectors=True), 3
        ) / len(qpoints)
        energies = crystal.qpoints.frequencies * MEV_PER_THZ
        print(
            f"{name}: {ours * 1e6:.2f} us a point with its scattering, the first time "
            f"{first * 1e6:.1f} us with everything built; phonopy diagonalises in "
            f"{theirs * 1e6:.1f} us (highest mode {energies.max():.1f} meV)"
        )


def growth(folder=None):
    """How cost grows with atoms, parameters, directions and the batch."""
    measured = {
        "atoms a cell": _by_atoms(),
        "parameters": _by_parameters(),
        "directions": _by_directions(),
        "parameter sets a call": _by_batch(),
    }
    for label, rows in measured.items():
        for number, *times in rows:
            print(label, number, *(f"{time * 1e6:.2f}" for time in times))
    if folder is not None:
        _draw(measured, Path(folder))


def _point_cost(model, sets=8, n_directions=4000, **settings):
    simulator = PowderSimulator(
        model,
        SpectrumGrid(np.arange(2, 45, 1.0), np.arange(3, 4, 0.1)),
        energy_resolution=1.5,
        mean_square_displacement=0.005,
        n_directions=n_directions,
        **settings,
    )
    rng = np.random.default_rng(0)
    rows = model.reference * rng.uniform(0.99, 1.01, (sets, len(model.reference)))
    forward = fastest(lambda: simulator.simulate(rows), 3)
    gradient = fastest(lambda: simulator.jacobian(rows[:2]), 2) / 2 * sets
    points = simulator._plan()[0].q_vectors.shape[1]
    return forward / sets / points, gradient / sets / points


def _by_atoms():
    """The same aluminium in cells of 1 to 20 atoms."""
    single = load_aluminium_model()
    found = []
    for multiples in ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2), (4, 2, 2), (5, 2, 2)):
        places = np.stack(np.meshgrid(*map(np.arange, multiples)), axis=-1)
        model = ForceConstantModel(
            np.asarray(single.lattice) * np.array(multiples)[:, None],
            ["Al"] * int(np.prod(multiples)),
            None,
            positions=places.reshape(-1, 3) / multiples,
        )
        tensor = _like(single, model)
        model.reference = model.parameters(tensor)
        found.append((model.n_atoms, *_point_cost(model, 2, 2000)))
    return found


def _like(single, model):
    """Force constants of a larger cell that are those of the primitive one."""
    from scipy.spatial import cKDTree

    constants = single.tensor(single.reference)[0]
    _, same = cKDTree(single.bonds).query(model.bonds)
    on_site = np.repeat(constants[:1], model.n_atoms, axis=0)
    return np.concatenate([on_site, constants[1:][same]])


def _by_parameters():
    folder = Path(os.environ["SKPHONON_DATA"]) / "phonopy"
    found = []
    for n_shells in (1, 2, 4, 6, 8, 11):
        model = ForceConstantModel.from_phonopy(
            folder / FILES["NaCl"], n_shells=n_shells
        )
        found.append((len(model.reference), *_point_cost(model)))
    return found


def _by_directions():
    model = crystals()["Si"]
    return [(n, *_point_cost(model, 4, n)) for n in (1000, 3000, 10_000, 30_000)]


def _by_batch():
    model = crystals()["Si"]
    return [(n, *_point_cost(model, n)) for n in (1, 2, 4, 8, 16, 32, 64)]


def _draw(measured, folder):
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    for axes, (label, rows) in zip(panels.flat, measured.items(), strict=True):
        numbers, forward, gradient = np.transpose(rows)
        axes.loglog(numbers, forward * 1e6, "o-", label="spectrum")
        axes.loglog(numbers, gradient * 1e6, "s-", label="with all derivatives")
        if label == "atoms a cell":
            # 9 n^3 operations of a symmetric eigenproblem, at 2 GFlop/s
            flops = 9 * (3 * numbers) ** 3
            axes.loglog(
                numbers, flops / 2e3, "k:", label=r"$9 (3n)^3$ operations at 2 Gflop/s"
            )
        axes.set(xlabel=label, ylabel="time per point and set (µs)")
    panels[0, 0].legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "cost.svg")


PARTS = {
    "accuracy": accuracy,
    "training_set": training_set,
    "gradients": gradients,
    "vary": vary,
    "against_phonopy": against_phonopy,
    "against_euphonic": against_euphonic,
    "growth": growth,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--plots", help="folder for a drawing of how cost grows")
    arguments = parser.parse_args()
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            part(arguments.plots) if part is growth else part()
