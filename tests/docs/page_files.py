"""Small files by the names that pages of the guide give to a reader's own."""

import sys
from functools import cache, partial
from pathlib import Path

import numpy as np
import phonopy
from horace_files import run, write_horace
from measured_files import ENERGY, HKL, write_mdhisto, write_nxspe, write_processed
from phonopy.file_IO import write_BORN, write_FORCE_SETS
from spe_files import write_grp, write_phx, write_spe
from tables_files import points, write_points, write_spice

from skphonon import (
    CrystalGrid,
    PathGrid,
    SingleCrystalSimulator,
    SpectrumGrid,
    load_aluminium_model,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pictures.synthetic import aluminium_map, aluminium_run

CUBE = 4.0495  # Angstrom
DATA = {  # names on pages -> files of SKPHONON_DATA
    "phonopy_params.yaml": "phonopy/phonopy_params_Si.yaml",
    "phonopy_params_Si.yaml": "phonopy/phonopy_params_Si.yaml",
    "CaHgO2.yaml": "phonopy/CaHgO2-mp-7041.yaml",
    "Ge-phonopy.yaml": "phonopy/Ge-phonopy.yaml",
    "Ge-force_constants.hdf5": "phonopy/Ge-force_constants.hdf5",
    "silicon.nxspe": "mari/silicon_Ei80_300K.nxspe",
    "silicon_Ei80_300K.nxspe": "mari/silicon_Ei80_300K.nxspe",
}

powder_run, powder_map = cache(aluminium_run), cache(partial(aluminium_map, step=3))


def provide(folder, text, data_folder):
    """Put all files that a text names into a folder."""
    for name, source in DATA.items():
        if f'"{name}"' in text:
            (folder / name).symlink_to(data_folder / source)
    if '"phonopy_disp.yaml"' in text:
        _calculation(folder, data_folder)
    for name, write in WRITERS.items():
        if f'"{name}"' in text:
            write(folder / name)


def coarse(measurement, step=6):
    """Return the first and last spectrum of a measurement on wide bins."""
    grid = measurement.grid
    shape = [size // step for size in grid.shape]
    rows, columns = (size * step for size in shape)
    axes = [
        axis[: size * step].reshape(size, step).mean(axis=1)
        for axis, size in zip((grid.energy, grid.q), shape, strict=True)
    ]
    images = grid.to_image(measurement.data)[[0, -1], :rows, :columns]
    blocks = images.reshape(2, shape[0], step, shape[1], step).mean(axis=(2, 4))
    seen = np.isfinite(blocks).all(axis=0)
    fewer = SpectrumGrid(*axes, incident_energy=grid.incident_energy, mask=seen)
    return measurement.replace(
        data=fewer.to_rows(blocks),
        error=None,
        grid=fewer,
        temperature=np.asarray(measurement.temperature)[[0, -1]],
    )


def _bank(measured):
    names = "polar", "azimuthal", "polar_width", "azimuthal_width"
    return {name: getattr(measured, name) for name in names}


def _nxspe(path):
    made = powder_run()
    write_nxspe(path, _bank(made), made.energy_edges, made.data, made.error, 60.0)


def _rotation(path):
    made = powder_run()
    psi = float(path.stem.removeprefix("ge_psi"))
    write_nxspe(
        path, _bank(made), made.energy_edges, made.data, made.error, 60.0, psi=psi
    )


def _calculation(folder, data_folder):
    """Write rock salt as phonopy has it after forces and charges were calculated."""
    path = data_folder / "phonopy" / "phonopy_params_NaCl-1.00.yaml.xz"
    crystal = phonopy.load(path, log_level=0)
    nothing = "force_sets", "force_constants", "born_effective_charge"
    crystal.save(
        folder / "phonopy_disp.yaml",
        settings=dict.fromkeys((*nothing, "dielectric_constant"), False)
        | {"displacements": True},
    )
    write_FORCE_SETS(crystal.dataset, filename=folder / "FORCE_SETS")
    charges = crystal.nac_params
    write_BORN(
        crystal.primitive, charges["born"], charges["dielectric"],
        filename=folder / "BORN",
    )  # fmt: skip


def _workspace(path):
    made = powder_run()
    places = np.column_stack(
        [np.full(len(made.polar), 4.0), made.polar, 0 * made.polar]
    )
    logs = {"Ei": 60.0, "SampleTemp": 300.0}
    history = ["Algorithm: CorrectKiKf v1\nParameters:\n"]
    write_processed(
        path, made.data, made.error, made.energy_edges,
        positions=places, logs=logs, history=history,
    )  # fmt: skip


def _spe(path):
    made = powder_run()
    write_spe(path, made.data, made.error, made.energy_edges)


def _phx(path):
    made = powder_run()
    write_phx(path, made.polar, made.azimuthal, made.polar_width, made.azimuthal_width)


def _powder_histogram(path):
    made, _ = powder_map()
    energy, q = (_borders(axis) for axis in (made.grid.energy, made.grid.q))
    signal, variance = (
        made.grid.to_image(each)[0].T for each in (made.data, made.error**2)
    )
    axes = [("|Q|", "Angstrom^-1", "QSample"), ENERGY]
    logs = {"SampleTemp": 300.0, "Ei": 60.0}
    write_mdhisto(
        path, axes, [q, energy], signal, variance=variance, logs=logs, normalization=0
    )


def _crystal_histogram(path):
    edges = [np.linspace(1.5, 2.5, 6), np.linspace(-0.5, 0.5, 6), [-0.05, 0.05]]
    edges.append(np.arange(8, 44.1, 3.0))
    signal = np.random.default_rng(0).uniform(1, 2, [len(each) - 1 for each in edges])
    logs = {"SampleTemp": 300.0, "Ei": 60.0}
    write_mdhisto(
        path, [*HKL, ENERGY], edges, signal,
        logs=logs, normalization=0, ub=np.eye(3) / CUBE,
    )  # fmt: skip


def _groups(path):
    made, _ = powder_map()
    image, error = (made.grid.to_image(each)[0].T for each in (made.data, made.error))
    write_grp(
        path, np.nan_to_num(image), np.nan_to_num(error), made.grid.energy, made.grid.q
    )


def _table(path):
    made, _ = powder_map()
    write_points(path, points(made.grid, made.data[0], made.error[0]), delimiter=",")


def _scan(path):
    place = {"scan0085.dat": (2.3, 0.0, 0.0), "scan0086.dat": (2.0, 0.4, 0.4)}[
        path.name
    ]
    energy = np.arange(8.0, 34.0, 1.0)
    model = load_aluminium_model()
    grid = PathGrid(energy, [place], lattice=CUBE * np.eye(3))
    spectrum = _crystal(model, grid, energy_resolution=0.6).simulate([model.reference])[
        0
    ]
    counts = np.random.default_rng(1).poisson(5 + 400 * spectrum / spectrum.max())
    rows = np.column_stack([np.tile(place, (len(energy), 1)), energy])
    header = {"latticeconstants": "4.0495,4.0495,4.0495,90,90,90", "samplename": "Al"}
    write_spice(path, rows, counts, **header)


def _cut(path, keep=False, energies=(10.0, 40.1)):
    """Pixels about (2, 0, 0), with the intensities of a simulation."""
    random = np.random.default_rng(0)
    edges = [np.arange(1.6, 2.41, 0.2), np.arange(-0.4, 0.41, 0.2), [-0.05, 0.05]]
    edges.append(np.arange(*energies, 3.0))
    axes = [(each[1:] + np.asarray(each[:-1])) / 2 for each in map(np.asarray, edges)]
    model, lattice = load_aluminium_model(), CUBE * np.eye(3)
    grid = CrystalGrid(axes[3], *axes[:2], 0.0, lattice=lattice)
    simulator = _crystal(model, grid, energy_resolution=1.2)
    volume = grid.to_volumes(simulator.simulate([model.reference]))[0, ..., 0]
    rows, to_angstrom = [], 2 * np.pi / CUBE
    for index, value in np.ndenumerate(volume):
        low = [edges[axis][place] for axis, place in zip((3, 0, 1), index, strict=True)]
        high = [
            edges[axis][place + 1] for axis, place in zip((3, 0, 1), index, strict=True)
        ]
        energy, h, k = random.uniform(low, high, (3, 3)).T
        hkl = np.column_stack([h, k, random.uniform(-0.05, 0.05, 3)])
        signal = value * (1 + 0.05 * random.standard_normal(3))
        ones, variance = np.ones(3), (0.05 * value + 1e-6) ** 2
        rows.append(
            np.column_stack(
                [to_angstrom * hkl, energy, ones, ones, ones, signal, variance * ones]
            )
        )
    pixels = np.concatenate(rows).astype(np.float32)
    cube = ([CUBE] * 3, [90.0] * 3)
    runs = [run(efix=1000.0, en=np.arange(0.0, 60.0, 5.0))]
    write_horace(path, pixels, edges, lattice=cube, runs=runs, keep=keep)


def _crystal(model, grid, **settings):
    conditions = {"temperature": 300.0, "q_resolution": 0.03, "quantity": "sqe"}
    return SingleCrystalSimulator(model, grid, **conditions, **settings)


def _borders(centres):
    middle = (centres[1:] + centres[:-1]) / 2
    return np.r_[2 * centres[0] - middle[0], middle, 2 * centres[-1] - middle[-1]]


def _poscar(path):
    half = CUBE / 2
    path.write_text(f"Al\n{half}\n0 1 1\n1 0 1\n1 1 0\nAl\n1\ndirect\n0 0 0\n")


WRITERS = {
    "POSCAR": _poscar,
    "aluminium.nxspe": _nxspe,
    "powder.nxspe": _nxspe,
    "ge_psi0.nxspe": _rotation,
    "ge_psi1.nxspe": _rotation,
    "MAR21335_spe.nxs": _workspace,
    "aluminium.spe": _spe,
    "aluminium.phx": _phx,
    "powder.nxs": _powder_histogram,
    "crystal.nxs": _crystal_histogram,
    "aluminium.grp": _groups,
    "aluminium.csv": _table,
    "scan0085.dat": _scan,
    "scan0086.dat": _scan,
    "aluminium_hk.d3d": _cut,
    "iron.sqw": lambda path: _cut(path, keep=True),
}
