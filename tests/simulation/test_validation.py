"""The forward model against other codes, sum rules, limits and published values.

Crystals: aluminium (one atom a cell), silicon (two, degenerate), rock salt (two
species, polar) and a zincblende, which has no centre of inversion. Lengths b in fm.
"""

from collections import defaultdict
from itertools import combinations_with_replacement

import numpy as np
import pytest
from numpy.testing import assert_allclose
from phonopy import Phonopy
from scipy.optimize import least_squares
from sklearn.base import clone

from skphonon import (
    ForceConstantModel,
    PowderSimulator,
    SpectrumGrid,
    fetch_aluminium_arcs,
    nmse,
)
from skphonon.instrument.resolution import bin_kernel
from skphonon.physics.constants import (
    BOLTZMANN,
    EV_PER_A2_PER_NEWTON_PER_METRE,
    HBAR2_PER_AMU,
    MEV_PER_THZ,
)
from skphonon.physics.modes import signed_sqrt
from skphonon.physics.scattering_lengths import scattering_lengths
from skphonon.simulation import Scattering

pytestmark = pytest.mark.filterwarnings("ignore:More than one OpenMP library")

TEMPERATURE = 300.0
CRYSTALS = ["aluminium", "silicon", "germanium", "salt", "bare_salt", "zincblende"]


@pytest.fixture(scope="module")
def bare_salt(salt):
    """Rock salt without its long-range term."""
    return salt.replace(born_charges=None, dielectric=None)


@pytest.fixture(scope="module")
def zincblende(silicon):
    """Silicon's springs, made different on the two sides of two kinds of atoms."""
    phonons = as_phonopy(silicon, symbols=["Ga", "As"])
    model = ForceConstantModel.from_phonopy(phonons, n_shells=3)
    factors = np.linspace(0.9, 1.1, len(model.reference))
    return model.replace(reference=model.reference * factors)


@pytest.fixture(params=CRYSTALS)
def crystal(request):
    return request.getfixturevalue(request.param)


def as_phonopy(model, *, symbols=None, rotation=None, whole=False):
    """The crystal of a model as phonopy has it, with changes.

    Other symbols; turned by a rotation; or with its supercell as the primitive cell.
    """
    phonons = model.to_phonopy()
    rotation = np.eye(3) if rotation is None else rotation
    cell = phonons.unitcell.copy()
    cell.cell = cell.cell @ rotation.T
    if symbols is not None:
        masses = [{"Ga": 69.72, "As": 74.92}[s] for s in symbols]
        cell = type(cell)(
            symbols=symbols,
            masses=masses,
            cell=cell.cell,
            scaled_positions=cell.scaled_positions,
        )
    changed = Phonopy(
        cell, supercell_matrix=phonons.supercell_matrix, primitive_matrix=np.eye(3)
    )
    changed.force_constants = rotation @ phonons.force_constants @ rotation.T
    return changed


def lengths_of(model):
    return scattering_lengths(model.symbols).coherent_length


def to_euphonic(model, folder):
    euphonic = pytest.importorskip("euphonic")
    settings = ("force_constants", "born_effective_charge", "dielectric_constant")
    model.to_phonopy().save(
        folder / "phonopy.yaml", settings=dict.fromkeys(settings, True)
    )
    return euphonic.ForceConstants.from_phonopy(path=folder)


def even_mesh(n_points):
    axis = (np.arange(n_points) + 0.5) / n_points
    return np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)


def debye_waller(constants, n_points, temperature):
    """Euphonic's Debye-Waller tensors, the error at the zone centre extrapolated."""
    from euphonic import DebyeWaller, ureg

    fine, coarse = (
        constants.calculate_qpoint_phonon_modes(even_mesh(n)).calculate_debye_waller(
            temperature * ureg("K"), symmetrise=False
        )
        for n in (n_points, n_points // 2)
    )
    tensors = 2 * fine.debye_waller - coarse.debye_waller
    return DebyeWaller(fine.crystal, tensors, fine.temperature)


def broadened(energies, strengths, width=0.5):
    """Degenerate modes have one sum: spectra of rows of lines, (n, n_energies)."""
    axis = np.arange(0.0, 70.0, width / 2)
    shapes = np.exp(-0.5 * ((axis - energies[..., None]) / width) ** 2)
    return (strengths[..., None] * shapes).sum(axis=1)


def structure_factors(model, q_vectors, tensors):
    """One-phonon lines in meV and fm^2 a cell, with displacement tensors."""
    exponents = np.einsum("na,dab,nb->nd", q_vectors, tensors, q_vectors) / 2
    amplitudes = lengths_of(model) / np.sqrt(model.atomic_masses) * np.exp(-exponents)
    vectors = (amplitudes[:, :, None] * q_vectors[:, None]).reshape(len(q_vectors), -1)
    matrices = model.dynamical_matrices(model.reference, q_vectors)[0]
    eigenvalues, modes = np.linalg.eigh(matrices)
    overlaps = (vectors[:, None] @ modes.conj())[:, 0]
    energies = np.sqrt(eigenvalues)
    return energies, HBAR2_PER_AMU / 2 * np.abs(overlaps) ** 2 / energies


def qpoints_of_many_zones():
    """Random points, and points of high symmetry in several zones."""
    special = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.5]])
    zones = np.array([[0, 0, 0], [1, 0, 2], [-3, 1, 1]])
    special = (special[:, None] + zones).reshape(-1, 3)
    return np.vstack([special, np.random.default_rng(0).uniform(-4, 4, (100, 3))])


def test_structure_factors_agree_with_euphonic(crystal, tmp_path):
    from euphonic import DebyeWaller, ureg

    constants = to_euphonic(crystal, tmp_path)
    qpoints = qpoints_of_many_zones()
    tensors = np.einsum(
        "d,ab->dab", 0.01 + 0.004 * np.arange(crystal.n_atoms), np.eye(3)
    ) + np.full((3, 3), 0.002)
    # Euphonic keeps U / 2, and gives intensities per atom
    modes = constants.calculate_qpoint_phonon_modes(qpoints)
    factors = modes.calculate_structure_factor(
        scattering_lengths={
            symbol: length * ureg("fm")
            for symbol, length in zip(crystal.symbols, lengths_of(crystal), strict=True)
        },
        dw=DebyeWaller(
            constants.crystal, tensors / 2 * ureg("angstrom^2"), 300 * ureg("K")
        ),
    )
    theirs = factors.structure_factors.to("fm^2").magnitude * crystal.n_atoms
    energies = modes.frequencies.to("meV").magnitude
    found, strengths = structure_factors(
        crystal, qpoints @ crystal.reciprocal_lattice(), tensors
    )
    assert_allclose(found, energies, rtol=1e-6)
    expected = broadened(energies, theirs)
    difference = broadened(found, strengths) - expected
    assert (abs(difference).max(axis=1) < 1e-5 * expected.max(axis=1)).all()


@pytest.mark.parametrize("name", ["aluminium", "silicon", "bare_salt"])
def test_structure_factors_agree_with_phonopy(name, request):
    """Up to one factor: phonopy's absolute units changed between its versions."""
    crystal = request.getfixturevalue(name)
    phonons = crystal.to_phonopy()
    phonons.run_mesh(
        [6, 6, 6], is_mesh_symmetry=False, with_eigenvectors=True, is_gamma_center=False
    )
    # the mesh is half a step off; its Debye-Waller factors
    phonons.run_thermal_displacement_matrices(temperatures=[300.0], freq_min=1e-3)
    tensors = phonons.thermal_displacement_matrices.thermal_displacement_matrices[0]
    qpoints = qpoints_of_many_zones()
    phonons.run_dynamic_structure_factor(
        qpoints,
        TEMPERATURE,
        scattering_lengths=dict(zip(crystal.symbols, lengths_of(crystal), strict=True)),
        freq_min=1e-3,
    )
    factors = phonons.dynamic_structure_factor
    occupied = factors.dynamic_structure_factors
    found, strengths = structure_factors(
        crystal, qpoints @ crystal.reciprocal_lattice(), tensors.real
    )
    occupation = 1 / (1 - np.exp(-found / (BOLTZMANN * TEMPERATURE)))
    mine = broadened(found, strengths * occupation)
    theirs = broadened(found, occupied)
    scale = (mine * theirs).sum() / (theirs**2).sum()
    difference = abs(mine - scale * theirs).max(axis=1)
    assert (difference < 1e-4 * mine.max(axis=1)).all()


def euphonic_powder(model, folder, moduli, n_directions):
    """S(Q, E) per atom in fm^2/meV as narrow bins, and their centres in meV."""
    constants = to_euphonic(model, folder)
    from euphonic import ureg
    from euphonic.powder import sample_sphere_structure_factor

    factors = debye_waller(constants, 8, TEMPERATURE)
    edges = np.arange(0.0, 75.0, 0.05)
    spectra = [
        sample_sphere_structure_factor(
            constants,
            modulus * ureg("1/angstrom"),
            dw=factors,
            temperature=TEMPERATURE * ureg("K"),
            npts=n_directions,
            energy_bins=edges * ureg("meV"),
            scattering_lengths={
                symbol: length * ureg("fm")
                for symbol, length in zip(model.symbols, lengths_of(model), strict=True)
            },
        )
        for modulus in moduli
    ]
    density = np.array([s.y_data.to("fm^2/meV").magnitude for s in spectra])
    return (edges[1:] + edges[:-1]) / 2, density


@pytest.mark.parametrize("name", ["silicon", "salt", "zincblende"])
def test_powder_average_agrees_with_euphonic(name, request, tmp_path):
    """Absolute S(Q, E) of a formula unit, anisotropic Debye-Waller factors included."""
    crystal = request.getfixturevalue(name)
    moduli = [2.5, 5.1]
    energies, density = euphonic_powder(crystal, tmp_path, moduli, 4000)
    axis = np.arange(10.0, 70.0, 1.0)
    edges = np.append(axis, 70.0) - 0.5
    expected = bin_kernel(edges, energies, 1.5) @ density.T * 0.05
    n_units = 2 if name == "silicon" else 1
    expected *= crystal.n_atoms / n_units / 100  # barn
    for column, modulus in enumerate(moduli):
        thin = SpectrumGrid(axis, modulus + np.array([-0.01, 0.01]))
        simulator = PowderSimulator(
            crystal,
            thin,
            temperature=TEMPERATURE,
            energy_resolution=1.5,
            q_resolution=0.0,
            mesh=48,  # a thin shell of Q needs many points
            quantity="sqe",
            units="barn/meV/sr",
        )
        mine = thin.to_image(simulator.simulate(simulator.reference))[0].mean(axis=1)
        difference = mine - expected[:, column]
        variance = expected[:, column].var()
        # what is left is the sampling of 4000 directions of theirs
        assert (difference**2).mean() < 1e-3 * variance
        assert_allclose(mine.sum(), expected[:, column].sum(), rtol=5e-3)


@pytest.mark.filterwarnings("ignore::skphonon.datasets.IncompleteDatasetWarning")
def test_published_simulation_shows_several_phonons(data_folder, aluminium):
    """OCLIMAX's background in Q^2 is multiphonon and incoherent scattering."""
    published = fetch_aluminium_arcs()
    single = PowderSimulator(
        aluminium,
        published.grid,
        energy_resolution=1.54,
        temperature=50.0,
        tolerance=1e-4,
    )
    several = clone(single).set_params(
        scattering__n_phonons=4, scattering__incoherent=True
    )
    errors = [
        nmse(published.simulated[None], s.simulate(published.simulated_target))[0]
        for s in (single, several)
    ]
    assert errors[0] > 8e-4  # measured: 9.2e-4
    assert errors[1] < 2.5e-4  # measured: 1.5e-4, with nothing fitted


# Sum rules. Integrals over energies of both signs, of bins that hold every line.
WIDE = np.arange(-240.0, 240.1, 0.5)


HALF = 0.25  # of the thickness of a shell in Q, 1/Angstrom: full of points of a mesh


def over_shell(function, modulus):
    """Average a function of |Q| over a shell, as bins do."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    return function(modulus + HALF * nodes) @ weights / 2


def spectrum_at(model, modulus, energy=WIDE, **settings):
    """S(E) of a shell in Q, barn/meV/sr a formula unit unless said otherwise."""
    settings = {
        "quantity": "sqe",
        "units": "barn/meV/sr",
        "energy_resolution": 1.0,
        "q_resolution": 0.0,
        "mesh": 24,
    } | settings
    grid = SpectrumGrid(energy, modulus + HALF / 2 * np.array([-1, 1]))
    simulator = PowderSimulator(model, grid, **settings)
    return grid.to_image(simulator.simulate(simulator.reference))[0].mean(axis=1)


def mode_average(model, function):
    """Average over the modes of an extrapolated mesh of a one-atom crystal."""
    coarse, fine = (
        function(model.frequencies(model.reference, even_mesh(n))).mean()
        for n in (16, 32)
    )
    return 2 * fine - coarse


@pytest.mark.parametrize("temperature", [20.0, 300.0])
def test_phonons_of_all_orders_sum_up(aluminium, temperature):
    """An incoherent scatterer: moments 0, 1 and 2 of S(E) in closed form."""
    modulus, thermal = 6.0, 2 * BOLTZMANN * temperature
    spectrum = spectrum_at(
        aluminium,
        modulus,
        temperature=temperature,
        scattering=Scattering(
            incoherent=True, n_phonons=9, scattering_lengths={"Al": (0.0, 4 * np.pi)}
        ),
    )
    per_square = HBAR2_PER_AMU / (2 * aluminium.atomic_masses[0])
    softness = mode_average(aluminium, lambda e: 1 / (e * np.tanh(e / thermal)))
    kinetic = mode_average(aluminium, lambda e: e / np.tanh(e / thermal))
    moments = np.array([spectrum @ WIDE**n * 0.5 for n in range(3)])
    broadening = 1.0**2 + 0.5**2 / 12
    expected = over_shell(
        lambda q: np.stack(
            [
                1 - np.exp(-per_square * q**2 * softness),  # no elastic line
                per_square * q**2,
                (per_square * q**2) ** 2 + per_square * q**2 * kinetic,
            ]
        ),
        modulus,
    )
    assert_allclose(moments[0], expected[0], rtol=1e-3)
    assert_allclose(moments[1], expected[1], rtol=2e-3)
    assert_allclose(moments[2], expected[2] + broadening * moments[0], rtol=2e-3)


def test_first_moment_of_one_phonon(crystal):
    """Completeness of the modes: sum of b^2 exp(-2W) hbar^2 Q^2 / 2m over the atoms."""
    modulus, displacement = 3.0, 0.01
    spectrum = spectrum_at(crystal, modulus, mean_square_displacement=displacement)
    n_units = 2 if crystal.symbols in (["Si", "Si"], ["Ge", "Ge"]) else 1
    terms = lengths_of(crystal) ** 2 / 100 / crystal.atomic_masses
    expected = HBAR2_PER_AMU / 2 * terms.sum() / n_units
    expected *= over_shell(lambda q: q**2 * np.exp(-displacement * q**2), modulus)
    assert_allclose(spectrum @ WIDE * 0.5, expected, rtol=2e-3)  # borders of the shell


@pytest.mark.parametrize("name", ["aluminium", "salt"])
def test_first_moment_of_all_orders_is_the_recoil(name, request):
    """The f-sum rule, atoms weighted by their whole cross-sections."""
    crystal = request.getfixturevalue(name)
    modulus = 4.0
    spectrum = spectrum_at(
        crystal, modulus, scattering=Scattering(incoherent=True, n_phonons=8)
    )
    found = scattering_lengths(crystal.symbols)
    sections = found.coherent_cross_section + found.incoherent_cross_section
    square = over_shell(lambda q: q**2, modulus)
    recoils = HBAR2_PER_AMU * square / (2 * crystal.atomic_masses)
    expected = (sections * recoils).sum() / (4 * np.pi)
    assert_allclose(spectrum @ WIDE * 0.5, expected, rtol=2e-3)


def test_detailed_balance(aluminium):
    energy = np.arange(-60.0, 60.01, 0.4)
    settings = {"temperature": 600.0, "energy_resolution": 0.3, "mesh": 24}
    settings |= {"scattering": Scattering(incoherent=True, n_phonons=3)}
    spectrum = spectrum_at(aluminium, 5.0, energy, **settings)
    thermal = BOLTZMANN * settings["temperature"]
    expected = np.exp(-energy / thermal) * spectrum
    above = energy > 2.0
    # Boltzmann's factor varies by 0.4 % to each side of a bin, 0.6 % of a resolution
    assert_allclose(spectrum[::-1][above], expected[above], rtol=1e-2)
    susceptibility = spectrum_at(aluminium, 5.0, energy, quantity="chi", **settings)
    assert_allclose(susceptibility[::-1], -susceptibility, atol=1e-12)
    factor = -np.pi * np.expm1(-energy / thermal)
    above = energy > 10.0  # chi'' itself rises by 1 % to each side of a bin at 10 meV
    assert_allclose(susceptibility[above], (factor * spectrum)[above], rtol=1e-2)


def test_incoherent_scattering_is_never_negative(aluminium):
    energy = np.arange(-50.0, 50.1, 0.25)
    scattering = Scattering(incoherent=True, scattering_lengths={"Al": (0.0, 1.0)})
    settings = {"energy_resolution": 0.3, "scattering": scattering}
    spectrum = spectrum_at(aluminium, 3.0, energy, **settings)
    assert spectrum.min() > -1e-6 * spectrum.max()  # found: -0.13


def test_nothing_is_gained_at_zero_temperature(salt):
    energy = np.arange(-60.0, 60.01, 1.0)
    spectrum = spectrum_at(
        salt,
        3.0,
        energy,
        temperature=0.0,
        scattering=Scattering(incoherent=True, n_phonons=2),
    )
    assert abs(spectrum[energy < -6.0]).max() < 1e-9 * spectrum.max()
    assert spectrum[energy > 6.0].max() == spectrum.max()


def test_hot_crystals_scatter_the_same_on_both_sides(silicon):
    energy = np.arange(-80.0, 80.1, 1.0)
    spectrum = spectrum_at(
        silicon, 3.0, energy, temperature=1e6, mean_square_displacement=0.0
    )
    # E / kT is 1e-3 at the border
    assert_allclose(spectrum[::-1], spectrum, rtol=1e-3, atol=1e-6 * spectrum.max())


def test_coherent_scattering_is_incoherent_at_large_q(aluminium):
    """The spread of zones averages out: what is left is the density of states."""
    energy, q = np.arange(4.0, 44.0, 1.0), np.arange(12.0, 20.0, 0.4)
    settings = {"energy_resolution": 1.54, "q_resolution": 0.0}
    settings["mean_square_displacement"] = 0.0
    grid = SpectrumGrid(energy, q)
    coherent = PowderSimulator(aluminium, grid, mesh=16, **settings)
    incoherent = clone(coherent).set_params(
        scattering__incoherent=True, scattering__scattering_lengths={"Al": (0.0, 1.0)}
    )
    spectra = [
        grid.to_image(s.simulate(s.reference))[0].mean(axis=1)
        for s in (coherent, incoherent)
    ]
    # the zones that the first and the last shell cut do not average out wholly
    assert_allclose(spectra[0].sum(), spectra[1].sum(), rtol=5e-3)
    assert ((spectra[0] - spectra[1]) ** 2).mean() < 2e-3 * spectra[1].var()


# Long waves.


def acoustic_slopes(model, direction):
    """E / q of sound in meV Angstrom, by the method of long waves.

    Born and Huang, Dynamical Theory of Crystal Lattices, section 26: the energy of
    translations in second order of q, inner displacements relaxed.
    """
    first, second = model.bond_atoms.T
    tensors = -model.tensor(model.reference)[0, model.n_atoms :]
    along = model.bonds @ direction
    scale = HBAR2_PER_AMU * 1e3 / np.sqrt(np.outer(*[model.atomic_masses] * 2))
    still, tilted, bent = np.zeros((3, model.n_atoms, model.n_atoms, 3, 3))
    np.add.at(still, (first, first), tensors)
    np.add.at(still, (first, second), -tensors)
    np.add.at(tilted, (first, second), -tensors * along[:, None, None])
    np.add.at(bent, (first, second), tensors * along[:, None, None] ** 2)
    still, tilted, bent = (
        (scale[..., None, None] * x).transpose(0, 2, 1, 3).reshape(2 * [3 * len(x)])
        for x in (still, tilted, bent)
    )
    shares = np.sqrt(model.atomic_masses / model.atomic_masses.sum())
    moved = np.kron(shares[:, None], np.eye(3))
    relaxed = tilted @ np.linalg.pinv(still, rcond=1e-8) @ tilted.T
    return np.sqrt(np.linalg.eigvalsh(moved.T @ (bent / 2 - relaxed) @ moved))


@pytest.mark.parametrize("name", ["aluminium", "silicon", "bare_salt", "zincblende"])
def test_sound_agrees_with_the_method_of_long_waves(name, request):
    crystal = request.getfixturevalue(name)
    for direction in np.array([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [0.2, 0.5, 0.9]]):
        direction /= np.linalg.norm(direction)
        qpoint = 1e-3 * direction @ np.linalg.inv(crystal.reciprocal_lattice())
        energies = crystal.frequencies(crystal.reference, [qpoint])[0, 0, :3]
        expected = 1e-3 * acoustic_slopes(crystal, direction)
        # dispersion enters with (q a)^2 = 1e-5, rounding as eps (E_max / E)^2
        assert_allclose(energies, expected, rtol=3e-5)


def elastic_constants(model):
    """C11, C12 and C44 of a cubic crystal in GPa, from sound along [100] and [110]."""
    hbar, amu = (
        0.6582119569,
        1.66053907,
    )  # meV ps; GPa Angstrom^3 / (amu (A/ps)^2) x 100
    volume = 8 * np.pi**3 / np.linalg.det(model.reciprocal_lattice())
    density = model.atomic_masses.sum() / volume * amu / 100
    shear, _, plane = acoustic_slopes(model, np.array([1.0, 0, 0]))
    diagonal = acoustic_slopes(model, np.array([1.0, 1, 0]) / 2**0.5)[2]
    c44, c11, sum_ = (density * (x / hbar) ** 2 for x in (shear, plane, diagonal))
    return c11, 2 * sum_ - c11 - 2 * c44, c44


def test_elastic_constants_of_aluminium(aluminium):
    """Measured at 0 K: Kamm and Alers, J. Appl. Phys. 35, 327 (1964).

    doi:10.1063/1.1713309. Two shells of neighbours fitted to whole branches are not
    made for elasticity: the constants are right within a few parts in ten.
    """
    assert_allclose(elastic_constants(aluminium), [114.3, 61.9, 31.6], rtol=0.3)


STRETCH, BEND, EDGE = 48.5, 13.8, 5.431  # N/m, N/m, Angstrom


@pytest.fixture(scope="module")
def springs():
    """Silicon by the springs of Keating, fitted to elastic constants.

    Phys. Rev. 145, 637 (1966), doi:10.1103/PhysRev.145.637. The energy is a sum of
    squares of h = r.r - r0^2 for bonds and h = r.r' + r0^2/3 for pairs of them, so
    second derivatives are products of the gradients of h.
    """
    fcc = EDGE / 2 * (np.ones((3, 3)) - np.eye(3))
    model = ForceConstantModel(
        fcc, ["Si", "Si"], None, positions=[[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    arms = EDGE / 4 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    unit = EV_PER_A2_PER_NEWTON_PER_METRE * 3 / (3 * EDGE**2 / 16)
    tensors = defaultdict(lambda: np.zeros((3, 3)))
    for centre, star in enumerate((arms, -arms)):
        sites = [(centre, np.zeros(3)), *((1 - centre, arm) for arm in star)]
        for j, k in combinations_with_replacement(range(4), 2):
            gradients = np.zeros((5, 3))
            gradients[1 + j] += star[k]
            gradients[1 + k] += star[j]
            gradients[0] = -gradients[1:].sum(axis=0)
            # 2 x 3/8 of each square over r0^2; half of that of a bond from either end
            stiffness = unit * (STRETCH / 8 if j == k else BEND / 4)
            for (first, start), here in zip(sites, gradients, strict=True):
                for (_, end), there in zip(sites, gradients, strict=True):
                    step = tuple(np.round(end - start, 6) + 0.0)
                    tensors[first, step] += stiffness * np.outer(here, there)
    steps = [tuple(np.round(bond, 6) + 0.0) for bond in model.bonds]
    keys = [(0, (0.0,) * 3), (1, (0.0,) * 3)]
    keys += list(zip(model.bond_atoms[:, 0], steps, strict=True))
    values = np.array([tensors[key] for key in keys])
    reference, residual = model.parameters(values, return_residual=True)
    assert residual < 1e-6
    return model.replace(reference=reference)


def test_elastic_constants_of_springs(springs):
    """Keating's closed forms, and silicon as measured.

    McSkimin and Andreatch, J. Appl. Phys. 35, 2161 (1964), doi:10.1063/1.1702809.
    """
    expected = np.array(
        [STRETCH + 3 * BEND, STRETCH - BEND, 4 * STRETCH * BEND / (STRETCH + BEND)]
    )
    found = elastic_constants(springs)
    assert_allclose(found, 10 * expected / EDGE, rtol=1e-5)  # N/m/A to GPa
    assert_allclose(found, [165.7, 63.9, 79.6], rtol=0.01)


# What must not change.


def some_rotation():
    return np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0]


@pytest.mark.parametrize("name", ["silicon", "zincblende"])
def test_turning_the_crystal_turns_the_scattering(name, request):
    crystal = request.getfixturevalue(name)
    rotation = some_rotation()
    if name == "zincblende" and np.linalg.det(rotation) < 0:
        rotation = -rotation
    symbols = None if name == "silicon" else crystal.symbols
    turned = ForceConstantModel.from_phonopy(
        as_phonopy(crystal, rotation=rotation, symbols=symbols)
    )
    q_vectors = np.random.default_rng(1).uniform(-6, 6, (50, 3))
    tensors = np.full((2, 3, 3), 0.002) + 0.01 * np.eye(3)
    before = broadened(*structure_factors(crystal, q_vectors, tensors))
    after = broadened(
        *structure_factors(
            turned, q_vectors @ rotation.T, rotation @ tensors @ rotation.T
        )
    )
    assert_allclose(after, before, atol=1e-8 * before.max())
    grid = SpectrumGrid(np.arange(5.0, 70, 2.0), np.array([2.0, 3.0, 4.0]))
    spectra = [
        PowderSimulator(m, grid, energy_resolution=1.54, mesh=6).simulate(m.reference)
        for m in (crystal, turned)
    ]
    assert nmse(*spectra)[0] < 1e-8  # the points turn as well; those of the centre not


@pytest.mark.parametrize("species", [["Al"], ["Na", "Cl"]])
def test_conventional_cell_gives_the_same_spectrum(species):
    # its first neighbours of a kind are along 011: ZZ of the one is XX of the other
    constants, order = np.array([0.8, -0.1, 0.3, 0.1, 0.05]), [1, 0, 2, 3, 4]
    fcc = 2.0 * (np.ones((3, 3)) - np.eye(3))
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])[: len(species)]
    if len(species) == 2:
        constants, order = np.array([0.8, 0.1, 0.2, 0.05, 0.15]), [0, 1, 3, 2, 4]
    primitive = ForceConstantModel(fcc, species, constants, positions=basis, n_shells=2)
    conventional = ForceConstantModel(
        4.0 * np.eye(3),
        [s for s in species for _ in corners],
        constants[order],
        positions=np.vstack([corners + b for b in basis]),
        n_shells=2,
    )
    assert len(conventional.parameter_names) == len(constants)
    grid = SpectrumGrid(np.arange(8.0, 41, 4.0), np.array([2.0, 3.5]))
    settings = {
        "units": "barn/meV/sr",
        "scattering": Scattering(incoherent=True, n_phonons=2),
    }
    settings["energy_resolution"] = 1.54
    spectra = [
        PowderSimulator(model, grid, mesh=mesh, quantity="sqe", **settings).simulate(
            model.reference
        )
        for model, mesh in ((primitive, 24), (conventional, 16))
    ]
    # other meshes, of about the same density
    assert nmse(*spectra)[0] < 5e-5
    wavevectors = np.random.default_rng(2).uniform(-4, 4, (30, 3))
    tensors = 0.01 * np.ones((1, 3, 3))
    before, after = (
        broadened(*structure_factors(m, wavevectors, np.repeat(tensors, m.n_atoms, 0)))
        for m in (primitive, conventional)
    )
    assert_allclose(after / 4, before, atol=1e-7 * before.max())


def test_larger_supercells_give_the_same_frequencies(aluminium):
    wide = aluminium.replace(supercell=[6, 6, 6])
    again = ForceConstantModel.from_phonopy(wide.to_phonopy())
    qpoints = np.random.default_rng(3).uniform(-1, 1, (20, 3))
    assert_allclose(
        again.frequencies(again.reference, qpoints),
        aluminium.frequencies(aluminium.reference, qpoints),
        rtol=1e-7,
    )


@pytest.fixture(scope="module")
def measured_silicon(silicon):
    """Silicon's constants to fifth neighbours, fitted to energies that were measured.

    Frequencies at the zone centre, X and L: Dolling (1963) and Nilsson and Nelin, Phys.
    Rev. B 6, 3777 (1972), doi:10.1103/PhysRevB.6.3777; elastic constants as above. The
    fit stays as near to the calculated constants as it can.
    """
    model = ForceConstantModel(
        EDGE / 2 * (np.ones((3, 3)) - np.eye(3)),
        silicon.symbols,
        None,
        positions=silicon.positions,
        n_shells=5,
    )
    start = np.zeros(len(model.parameter_names))
    start[: len(silicon.reference)] = silicon.reference
    terahertz = [[15.53] * 3, [4.49] * 2 + [12.32] * 2 + [13.90] * 2]
    terahertz += [[3.43] * 2 + [11.35, 12.60] + [14.68] * 2]
    c11, c12, c44 = 165.7, 63.9, 79.6  # GPa
    slow, fast = (c11 - c12) / 2, (c11 + c12 + 2 * c44) / 2
    speeds = np.sqrt(1e9 / 2329 * np.array([c44, c44, c11, slow, c44, fast])) / 100
    wavenumber = 0.01  # 1/Angstrom
    targets = [*terahertz, *wavenumber * speeds.reshape(2, 3) / (2 * np.pi)]
    targets = MEV_PER_THZ * np.concatenate(targets)
    sound = wavenumber * np.array([[1, 0, 0], [0.5**0.5, 0.5**0.5, 0]])
    corners = np.array([[1e-9, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5]])
    basis = model.dynamical_matrix_basis(
        np.vstack([corners @ model.reciprocal_lattice(), sound])
    )

    def misfit(parameters):
        matrices = np.tensordot(parameters, basis, axes=1)
        e = signed_sqrt(np.linalg.eigvalsh(matrices))
        energies = np.concatenate([e[0, 3:], e[1], e[2], e[3, :3], e[4, :3]])
        return np.append(energies / targets - 1, 0.1 * (parameters - start))

    found = least_squares(misfit, start)
    assert np.abs(found.fun[: len(targets)]).max() < 2e-3
    return model.replace(reference=found.x)


PENG = "doi:10.1107/S010876739600089X, from measured densities of states"
SEARS = "doi:10.1107/S0108767391002970"
SYNCHROTRON = "IUCrJ 8, 387 (2021): 8 pi^2 times 29.7e-4 and 57.7e-4 A^2"


@pytest.mark.parametrize(
    ("name", "temperature", "published", "source"),
    [
        ("aluminium", 85.0, 0.3301, PENG),
        ("aluminium", 300.0, 0.81, SEARS),
        ("measured_silicon", 80.0, 0.2141, PENG),
        ("measured_silicon", 100.0, 0.2345, SYNCHROTRON),
        ("measured_silicon", 300.0, 0.4556, SYNCHROTRON),
    ],
)
def test_displacements_agree_with_experiment(
    name, temperature, published, source, request
):
    """B = 8 pi^2 <u_x^2> in Angstrom^2."""
    crystal, thermal = request.getfixturevalue(name), 2 * BOLTZMANN * temperature
    average = mode_average(crystal, lambda e: 1 / (e * np.tanh(e / thermal)))
    square = HBAR2_PER_AMU / (2 * crystal.atomic_masses[0]) * average
    # measured: within 2.4 % for aluminium, 3.5 % for silicon
    assert_allclose(8 * np.pi**2 * square, published, rtol=0.04, err_msg=source)
