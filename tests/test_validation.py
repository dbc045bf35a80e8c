"""The forward model against other codes, sum rules, limits and published values.

Crystals: aluminium (one atom a cell), silicon (two, degenerate), rock salt (two
species, polar) and a zincblende, which has no centre of inversion. Lengths b in fm.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from phonopy import Phonopy
from sklearn.base import clone

from skphonon import (
    ForceConstantModel,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
    nmse,
)
from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.physics.phonon_lines import lines
from skphonon.physics.scattering_lengths import scattering_lengths
from skphonon.simulation.resolution import bin_kernel

pytestmark = pytest.mark.filterwarnings("ignore:More than one OpenMP library")

TEMPERATURE = 300.0
CRYSTALS = ["aluminium", "silicon", "salt", "bare_salt", "zincblende"]


@pytest.fixture(scope="module")
def aluminium():
    return load_aluminium_model()


@pytest.fixture(scope="module")
def silicon(data_folder):
    return ForceConstantModel.from_phonopy(
        data_folder / "phonopy" / "phonopy_params_Si.yaml"
    )


@pytest.fixture(scope="module")
def salt(data_folder):
    return ForceConstantModel.from_phonopy(
        data_folder / "phonopy" / "phonopy_params_NaCl-1.00.yaml.xz"
    )


@pytest.fixture(scope="module")
def bare_salt(salt):
    """Rock salt without its long-range term."""
    return clone(salt).set_params(born_charges=None, dielectric=None)


@pytest.fixture(scope="module")
def zincblende(silicon):
    """Silicon's springs, made different on the two sides of two kinds of atoms."""
    phonons = as_phonopy(silicon, symbols=["Ga", "As"])
    model = ForceConstantModel.from_phonopy(phonons, n_shells=3)
    model.reference = model.reference * np.linspace(0.9, 1.1, len(model.reference))
    return model


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
    found = lines(torch.as_tensor(matrices), torch.as_tensor(vectors))
    energies = found.eigenvalues.sqrt()
    strengths = HBAR2_PER_AMU / 2 * found.strengths / energies
    return energies.numpy(), strengths.numpy()


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
    phonons.init_dynamic_structure_factor(
        qpoints,
        TEMPERATURE,
        scattering_lengths=dict(
            zip(crystal.symbols, lengths_of(crystal), strict=True)
        ),
        freq_min=1e-3,
    )
    phonons.run_dynamic_structure_factor()
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
        thin = SpectrumGrid(axis, modulus + np.array([-0.002, 0.002]))
        simulator = PowderSimulator(
            crystal,
            thin,
            temperature=TEMPERATURE,
            energy_resolution=1.5,
            q_resolution=0.0,
            n_directions=20_000,
            quantity="sqe",
            units="barn/meV/sr",
            mesh=8,
        )
        mine = thin.to_image(simulator.simulate(simulator.reference))[0].mean(axis=1)
        difference = mine - expected[:, column]
        variance = expected[:, column].var()
        # what is left is the sampling of 4000 directions of theirs
        assert (difference**2).mean() < 1e-3 * variance
        assert_allclose(mine.sum(), expected[:, column].sum(), rtol=5e-3)
