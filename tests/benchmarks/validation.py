"""How well the forward model agrees with other codes and with experiments.

Run with ``python tests/benchmarks/validation.py`` and one thread a process
(``OMP_NUM_THREADS=1``); ``--only NAME`` runs one part, ``--plots FOLDER`` draws the
pictures of the docs. Needs the published spectra and phonopy's files (SKPHONON_DATA),
and Euphonic.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
import sklearn
from forward_model import load
from forward_model import published as published_aluminium
from sklearn.base import clone

from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model, nmse
from skphonon.instrument.resolution import bin_kernel
from skphonon.physics import ZoneMesh
from skphonon.physics.constants import (
    BOLTZMANN,
    HBAR2_PER_AMU,
    MEV_PER_THZ,
)
from skphonon.physics.dynamical_matrix import DynamicalMatrices
from skphonon.physics.scattering_lengths import scattering_lengths
from skphonon.physics.zone import mean_points, resolving_points
from skphonon.physics.zone.displacements import ThermalTensors
from skphonon.simulation import Scattering

TEMPERATURE = 300.0
MODULI = np.arange(0.5, 8.01, 0.25)
DIRECTIONS = 10_000  # of Euphonic
WIDTH = 1.5  # meV, standard deviation
LAST = {"Al": 45.0, "Si": 70.0, "NaCl": 40.0}  # meV

#: B = 8 pi^2 <u_x^2> in Angstrom^2: Peng, Ren, Dudarev and Whelan, Acta Cryst. A52, 456
#: (1996), doi:10.1107/S010876739600089X, from measured densities of states; Sears and
#: Shelley, Acta Cryst. A47, 441 (1991), doi:10.1107/S0108767391002970; Si at 100 and
#: 300 K by synchrotron diffraction, IUCrJ 8, 387 (2021): 8 pi^2 x 29.7e-4 and 57.7e-4.
PUBLISHED_B = {
    "Al": {85.0: 0.3301, 90.0: 0.3374, 300.0: 0.81},
    "Si": {80.0: 0.2141, 100.0: 0.2345, 300.0: 0.4556},
}
#: GPa: Kamm and Alers, J. Appl. Phys. 35, 327 (1964), doi:10.1063/1.1713309, at 0 K;
#: McSkimin and Andreatch, J. Appl. Phys. 35, 2161 (1964), doi:10.1063/1.1702809.
ELASTIC = {"Al": (114.3, 61.9, 31.6), "Si": (165.7, 63.9, 79.6)}


def crystals():
    return {name: load(name) for name in ("Al", "Si", "NaCl")}


def even_mesh(n_points):
    axis = (np.arange(n_points) + 0.5) / n_points
    return np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)


def to_euphonic(model):
    from euphonic import ForceConstants

    settings = ("force_constants", "born_effective_charge", "dielectric_constant")
    with tempfile.TemporaryDirectory() as folder:
        model.to_phonopy().save(
            Path(folder) / "phonopy.yaml", settings=dict.fromkeys(settings, True)
        )
        return ForceConstants.from_phonopy(path=folder)


def lengths(model):
    from euphonic import ureg

    values = scattering_lengths(model.symbols).coherent_length
    return {s: b * ureg("fm") for s, b in zip(model.symbols, values, strict=True)}


def debye_waller(constants, n_points):
    """Euphonic's tensors on two meshes, the error at the zone centre extrapolated."""
    from euphonic import DebyeWaller, ureg

    fine, coarse = (
        constants.calculate_qpoint_phonon_modes(even_mesh(n)).calculate_debye_waller(
            TEMPERATURE * ureg("K"), symmetrise=False
        )
        for n in (n_points, n_points // 2)
    )
    tensors = 2 * fine.debye_waller - coarse.debye_waller
    return DebyeWaller(fine.crystal, tensors, fine.temperature)


def euphonic_map(model, energy_edges):
    """S(Q, E) of a formula unit in barn/meV/sr, broadened, shape (n_energy, n_q)."""
    from euphonic import ureg
    from euphonic.powder import sample_sphere_structure_factor

    constants = to_euphonic(model)
    factors = debye_waller(constants, 10)
    edges = np.arange(0.0, energy_edges[-1] + 10, 0.05)
    spectra = [
        sample_sphere_structure_factor(
            constants,
            modulus * ureg("1/angstrom"),
            dw=factors,
            temperature=TEMPERATURE * ureg("K"),
            npts=DIRECTIONS,
            energy_bins=edges * ureg("meV"),
            scattering_lengths=lengths(model),
        )
        for modulus in MODULI
    ]
    density = np.array([s.y_data.to("fm^2/meV").magnitude for s in spectra])
    n_units = 1 if len(set(model.symbols)) > 1 else model.n_atoms
    lines = (edges[1:] + edges[:-1]) / 2
    broadened = bin_kernel(energy_edges, lines, WIDTH) @ density.T * 0.05
    return broadened * model.n_atoms / n_units / 100


def own_map(model, energy):
    """The same by skphonon, each modulus a thin bin."""
    columns = []
    for modulus in MODULI:
        grid = SpectrumGrid(energy, modulus + np.array([-0.01, 0.01]))
        simulator = PowderSimulator(
            model,
            grid,
            temperature=TEMPERATURE,
            energy_resolution=WIDTH,
            q_resolution=0.0,
            quantity="sqe",
            units="barn/meV/sr",
            mesh=64,
        )
        image = grid.to_image(simulator.simulate(simulator.reference))[0]
        columns.append(image.mean(axis=1))
    return np.array(columns).T


def compare_maps(plots):
    print(f"Powder maps, {len(MODULI)} moduli, Euphonic with {DIRECTIONS} directions")
    maps = {}
    for name, model in crystals().items():
        energy = np.arange(8.0, LAST[name], 1.0)
        theirs = euphonic_map(model, np.append(energy, energy[-1] + 1) - 0.5)
        mine = own_map(model, energy)
        error = ((mine - theirs) ** 2).mean() / theirs.var()
        print(
            f"  {name}: NMSE {error:.1e}, ratio of sums {mine.sum() / theirs.sum():.5f}"
        )
        maps[name] = (energy, mine, theirs)
    if plots:
        draw_maps(maps, plots)


def compare_structure_factors(plots):
    """Single-crystal intensities: how far from Euphonic's, in units of the highest."""
    from euphonic import DebyeWaller, ureg

    print("One-phonon structure factors at 1000 random Q, against Euphonic")
    q = np.random.default_rng(0).uniform(-4, 4, (1000, 3))
    axis = np.arange(0.0, 70.0, 0.25)
    for name, model in crystals().items():
        constants = to_euphonic(model)
        modes = constants.calculate_qpoint_phonon_modes(q)
        u = np.repeat(0.01 * np.eye(3)[None], model.n_atoms, axis=0)
        factors = modes.calculate_structure_factor(
            scattering_lengths=lengths(model),
            dw=DebyeWaller(
                constants.crystal, u / 2 * ureg("angstrom^2"), TEMPERATURE * ureg("K")
            ),
        )
        theirs = factors.structure_factors.to("fm^2").magnitude * model.n_atoms
        energies = modes.frequencies.to("meV").magnitude
        vectors = q @ model.reciprocal_lattice()
        b = scattering_lengths(model.symbols).coherent_length
        damping = np.exp(-0.005 * (vectors**2).sum(axis=1))
        amplitudes = damping[:, None] * b / np.sqrt(model.atomic_masses)
        squares, modes = np.linalg.eigh(
            model.dynamical_matrices(model.reference, vectors)[0]
        )
        v = (amplitudes[:, :, None] * vectors[:, None]).reshape(1000, -1)
        own = np.sqrt(squares)
        mine = np.abs(np.einsum("qk,qkj->qj", v, modes)) ** 2
        mine = HBAR2_PER_AMU / 2 * mine / own
        spectra = [
            (s[..., None] * np.exp(-2 * (axis - e[..., None]) ** 2)).sum(axis=1)
            for e, s in ((own, mine), (energies, theirs))
        ]
        worst = abs(spectra[0] - spectra[1]).max(axis=1) / spectra[1].max(axis=1)
        print(
            f"  {name}: frequencies {abs(own / energies - 1).max():.1e}, "
            f"intensities {worst.max():.1e} (relative)"
        )


def compare_published_spectrum(plots):
    print(
        "The published OCLIMAX spectrum, NMSE with nothing fitted, and the background"
    )
    print("c Q^2 (in units of the mean) that a fit would still add")
    published = published_aluminium()
    measured = published.simulated[published.grid.mask.ravel()]
    single = PowderSimulator(
        load_aluminium_model(),
        published.grid,
        energy_resolution=1.54,
        temperature=50.0,
        tolerance=1e-4,
    )
    simulated = {}
    for settings in (
        {},
        {"scattering": Scattering(incoherent=True)},
        {"scattering": Scattering(n_phonons=2)},
        {"scattering": Scattering(n_phonons=4)},
        {"scattering": Scattering(n_phonons=4, incoherent=True)},
        {"scattering": Scattering(n_phonons=4, incoherent=True), "q_resolution": 0.08},
    ):
        simulator = clone(single).set_params(**settings)
        spectrum = simulator.simulate(published.simulated_target)
        error = nmse(published.simulated[None], spectrum)[0]
        visible = spectrum[:, published.grid.mask.ravel()][0]
        square = np.broadcast_to(published.grid.axes()[1] ** 2, published.grid.shape)
        columns = [np.ones_like(visible), visible / visible.mean(),
                   square[published.grid.mask]]  # fmt: skip
        fit, *_ = np.linalg.lstsq(np.stack(columns, axis=1), measured, rcond=None)
        print(f"  {settings}: {error:.2e}; c = {fit[2] / fit[1]:.5f}")
        simulated[str(settings)] = (error, spectrum)
    if plots:
        draw_published(published, simulated, plots)


def square_displacement(model, n_points, temperature):
    """Mean over atoms and axes of a one-element crystal, in Angstrom^2."""
    energies = model.frequencies(model.reference, even_mesh(n_points))
    coth = 1 / np.tanh(energies / (2 * BOLTZMANN * temperature))
    return HBAR2_PER_AMU / (2 * model.atomic_masses[0]) * (coth / energies).mean()


def compare_displacements(plots):
    print("Debye-Waller factors B in Angstrom^2 (mesh of 24 and 12, extrapolated)")
    loaded = crystals()
    for name, published in PUBLISHED_B.items():
        for temperature in sorted({5.0, 80.0, 300.0} | set(published)):
            b = [8 * np.pi**2 * square_displacement(loaded[name], n, temperature)
                 for n in (24, 12)]  # fmt: skip
            value = 2 * b[0] - b[1]
            known = published.get(temperature)
            note = (
                ""
                if known is None
                else f"; published {known} ({value / known - 1:+.1%})"
            )
            print(f"  {name} {temperature:5.0f} K: {value:.4f}{note}")
    print("Largest error of a displacement at 300 K: a plain sum, and ours")
    for name, model in every_crystal().items():
        finest = zone_displacements(model, ZoneMesh(24, n_polar=32))
        for n in (8, 12, 16):
            found = [
                zone_displacements(model, ZoneMesh(n, n_polar=24), plain)
                for plain in (True, False)
            ]
            errors = [np.abs(each - finest).max() / finest.max() for each in found]
            print(f"  {name} n = {n}: {errors[0]:.2%}, {errors[1]:.3%}")


def zone_displacements(model, mesh, plain=False):
    """Components of the displacements at 300 K of a plain sum, or of ours."""
    points = (resolving_points if plain else mean_points)(model, mesh)
    matrices = DynamicalMatrices(model, points.wavevectors)
    modes = np.linalg.eigh(matrices.matrices(model.reference[None]))
    return np.abs(ThermalTensors(model, points.weights).components(*modes, 300.0)[0])


def every_crystal():
    """The crystals, and those of calculations with soft or many modes."""
    return {name: load(name) for name in ("Al", "Si", "NaCl", "CaHgO2", "quartz")}


def compare_meshes(plots):
    print("NMSE of powder maps on meshes of n points an axis, to twice the finest")
    for name, model in every_crystal().items():
        qpoints = np.random.default_rng(0).uniform(-0.5, 0.5, (100, 3))
        highest = 1.1 * model.frequencies(model.reference, qpoints).max()
        grid = SpectrumGrid(
            np.linspace(0.12 * highest, highest, 60), np.arange(0.55, 8, 0.15)
        )
        sklearn.set_config(working_memory=8000)
        simulator = PowderSimulator(model, grid, energy_resolution=0.04 * highest)
        few = model.n_atoms > 4
        sizes = (4, 6, 8) if few else (6, 8, 12, 16)
        finest = clone(simulator).set_params(mesh=2 * sizes[-1] - 4 * few)
        target = finest.simulate(model.reference)
        errors = [
            nmse(target, clone(simulator).set_params(mesh=n).simulate(model.reference))
            for n in sizes
        ]
        text = ", ".join(f"{n}: {e[0]:.1e}" for n, e in zip(sizes, errors, strict=True))
        print(f"  {name} {text}")


def compare_elastic_constants(plots):
    print("Elastic constants in GPa from the slopes of sound: C11, C12, C44")
    loaded = crystals()
    density_unit = 1.66053907 / 100  # GPa of 1 amu/A^3 (A/ps)^2
    for name, published in ELASTIC.items():
        model = loaded[name]
        volume = 8 * np.pi**3 / np.linalg.det(model.reciprocal_lattice())
        density = model.atomic_masses.sum() / volume * density_unit
        moduli = []
        for direction in ([1, 0, 0], [1, 1, 0]):
            wave = 1e-3 * np.array(direction) / np.linalg.norm(direction)
            qpoint = wave @ np.linalg.inv(model.reciprocal_lattice())
            energies = model.frequencies(model.reference, [qpoint])[0, 0, :3]
            speeds = energies / MEV_PER_THZ * 2 * np.pi / 1e-3  # Angstrom/ps
            moduli.append(density * speeds**2)
        c44, _, c11 = moduli[0]
        values = (c11, 2 * moduli[1][2] - c11 - 2 * c44, c44)
        print(f"  {name}: {np.round(values, 1).tolist()}; published {list(published)}")


def draw_maps(maps, folder):
    import matplotlib.pyplot as plt

    figure, rows = plt.subplots(
        2, 3, figsize=(10, 6), sharex=True, layout="constrained"
    )
    for (name, (energy, mine, theirs)), (top, bottom) in zip(
        maps.items(), rows.T, strict=True
    ):
        mesh = top.pcolormesh(MODULI, energy, mine, vmin=0, shading="nearest")
        figure.colorbar(mesh, ax=top, label="S (barn/meV/sr)")
        top.set_title(f"{name}, skphonon")
        limit = abs(mine - theirs).max()
        mesh = bottom.pcolormesh(
            MODULI, energy, mine - theirs, vmin=-limit, vmax=limit, cmap="RdBu",
            shading="nearest",
        )  # fmt: skip
        figure.colorbar(mesh, ax=bottom, label="S (barn/meV/sr)")
        bottom.set_title("less Euphonic")
        bottom.set_xlabel("|Q| (1/Å)")
        top.set_ylabel("E (meV)")
        bottom.set_ylabel("E (meV)")
    figure.savefig(folder / "validation_maps.png", dpi=100)


def draw_published(published, simulated, folder):
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, 2, figsize=(9, 3.6), sharey=True, layout="constrained"
    )
    grid = published.grid
    q = grid.axes()[1]
    reference = grid.to_image(published.simulated[None])[0]
    cases = {"one phonon": "{}", "four, incoherent too": str(
        {"scattering": Scattering(n_phonons=4, incoherent=True)}
    )}  # fmt: skip
    for panel, energy in zip(panels, (20.0, 32.0), strict=True):
        row = np.abs(grid.axes()[0] - energy).argmin()
        panel.plot(q, reference[row], "k.", markersize=4, label="OCLIMAX")
        for label, case in cases.items():
            panel.plot(q, fitted(published, simulated[case][1])[row], label=label)
        panel.set(title=f"E = {grid.axes()[0][row]:g} meV", xlabel="|Q| (1/Å)")
    panels[0].set_ylabel("normalised intensity")
    panels[0].legend()
    figure.savefig(folder / "validation_oclimax.png", dpi=100)


def fitted(published, spectrum):
    """A simulated spectrum in the normalisation of the published one."""
    visible = spectrum[0][published.grid.mask.ravel()]
    spread = visible.max() - visible.min()
    return published.grid.to_image((spectrum - visible.mean()) / spread)[0]


PARTS = {
    "maps": compare_maps,
    "structure-factors": compare_structure_factors,
    "oclimax": compare_published_spectrum,
    "displacements": compare_displacements,
    "elastic": compare_elastic_constants,
    "meshes": compare_meshes,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--plots", type=Path, help="folder for pictures")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="More than one OpenMP library")
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            part(arguments.plots)


if __name__ == "__main__":
    main()
