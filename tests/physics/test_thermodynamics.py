"""Means over the zone against phonopy, limits and sum rules."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import constants as si
from sklearn.exceptions import ConvergenceWarning

from skphonon import ForceConstantModel, load_aluminium_model
from skphonon.physics import UnstableCrystalWarning
from skphonon.physics.constants import BOLTZMANN, MEV2_PER_EIGENVALUE, MEV_PER_THZ
from skphonon.physics.dynamical_matrix import DynamicalMatrices
from skphonon.physics.elasticity import elastic_constants
from skphonon.physics.zone import ZoneMesh, resolving_points
from skphonon.physics.zone.displacements import ThermalTensors
from skphonon.physics.zone.thermodynamics import PhononProperties

TEMPERATURES = [0.0, 40.0, 300.0]


def heat_capacity(model, rows, kelvins, mesh=None):
    return PhononProperties(model, rows, mesh=mesh).heat_capacity(kelvins)


def displacement_tensors(model, rows, kelvins, mesh=None):
    return PhononProperties(model, rows, mesh=mesh).displacement_tensors(kelvins)


def density_of_states(model, rows, energy, width, mesh=None):
    properties = PhononProperties(model, rows, mesh=mesh)
    return properties.density_of_states(energy, width=width)


@pytest.fixture(scope="module")
def aluminium():
    return load_aluminium_model()


@pytest.fixture(params=["aluminium", "silicon", "salt"])
def crystal(request):
    return request.getfixturevalue(request.param)


def phonopy_on_mesh(model, n_points):
    """Phonopy puts an even mesh half a step off the zone centre, as ours."""
    phonons = model.to_phonopy()
    phonons.run_mesh([n_points] * 3, with_eigenvectors=True, is_mesh_symmetry=False)
    return phonons


def of_phonopy(model, n_points):
    """Trace of the displacements, (n_temperatures, n_atoms), of a raw sum."""
    phonons = phonopy_on_mesh(model, n_points)
    phonons.run_thermal_displacement_matrices(temperatures=TEMPERATURES, freq_min=0.01)
    result = phonons.thermal_displacement_matrices.thermal_displacement_matrices
    return np.trace(result, axis1=-2, axis2=-1).real


def test_heat_capacity_agrees_with_phonopy(crystal):
    phonons = phonopy_on_mesh(crystal, 16)
    phonons.run_thermal_properties(temperatures=TEMPERATURES)
    found = heat_capacity(crystal, crystal.reference, TEMPERATURES)
    expected = phonons.thermal_properties.heat_capacity
    # what phonopy misses of sound at 40 K with 16 points
    assert_allclose(found[0], expected, rtol=4e-3, atol=1e-12)
    assert_allclose(found[0, 2], expected[2], rtol=1e-4)


def test_a_raw_sum_is_that_of_phonopy(crystal):
    """On the same points: displacements that lack the slowest waves."""
    points = resolving_points(crystal, ZoneMesh(6))
    matrices = DynamicalMatrices(crystal, points.wavevectors)
    thermal = ThermalTensors(crystal, points.weights)
    modes = np.linalg.eigh(matrices.matrices(crystal.reference[None]))
    for kelvin, expected in zip(TEMPERATURES, of_phonopy(crystal, 6), strict=True):
        components = thermal.components(*modes, kelvin)[0]
        found = np.tensordot(components, thermal.tensors, axes=1)
        traces = np.trace(found, axis1=1, axis2=2)
        assert_allclose(traces, expected, rtol=1e-5)
        # all three have cubic sites: tensors of one number
        assert_allclose(found, traces[:, None, None] / 3 * np.eye(3), atol=1e-9)


def test_displacements_agree_with_phonopy(crystal):
    """Extrapolated from two meshes, since a raw sum converges with the spacing."""
    fine, coarse = (of_phonopy(crystal, n) for n in (16, 8))
    found = displacement_tensors(crystal, crystal.reference, TEMPERATURES)[0]
    traces = np.trace(found, axis1=2, axis2=3)
    assert_allclose(traces, 2 * fine - coarse, rtol=4e-3)


def test_displacements_at_sites_of_low_symmetry():
    """Threefold axes take the atoms into one another, and turn their tensors."""
    model = ForceConstantModel(
        4.0 * np.eye(3), "Mg", None, positions=np.eye(3) / 2, n_shells=6
    )
    lengths = np.linalg.norm(model.bonds, axis=1)
    springs = np.einsum("bi,bj->bij", model.bonds, model.bonds)
    springs *= (20 * np.exp(-lengths) / lengths**2)[:, None, None]
    first = model.bond_atoms[:, 0]
    on_site = [springs[first == i].sum(axis=0) for i in range(3)]
    parameters = model.parameters(np.concatenate([on_site, -springs]))
    model = model.replace(reference=parameters)
    found = displacement_tensors(model, parameters, [300.0])[0, 0]
    expected = []
    for n_points in (12, 6):
        phonons = phonopy_on_mesh(model, n_points)
        phonons.run_thermal_displacement_matrices(temperatures=[300.0], freq_min=0.01)
        result = phonons.thermal_displacement_matrices
        expected.append(result.thermal_displacement_matrices[0].real)
    extrapolated = 2 * expected[0] - expected[1]
    assert_allclose(found, extrapolated, atol=4e-3 * abs(found).max())
    assert abs(found[0, 0, 0] - found[2, 0, 0]) > 0.01 * found.max()


@pytest.mark.parametrize("name", ["aluminium", "silicon", "salt"])
def test_displacements_have_converged(name, request):
    model = request.getfixturevalue(name)
    chosen, finer = (
        displacement_tensors(model, model.reference, [5, 50, 300], mesh=mesh)
        for mesh in (None, ZoneMesh(24, n_polar=24))
    )
    assert_allclose(chosen, finer, rtol=2e-3, atol=1e-9)


def test_what_is_not_converged_is_said(aluminium, monkeypatch):
    monkeypatch.setattr("skphonon.physics.zone.thermodynamics._LARGEST", 10)
    with pytest.warns(ConvergenceWarning, match="Ask for higher temperatures"):
        heat_capacity(aluminium, aluminium.reference, [2.0])


def test_many_sets_in_blocks_are_the_sets_one_by_one(silicon, monkeypatch):
    rows = silicon.reference * np.array([[1.0], [1.05], [0.98]])
    together = displacement_tensors(silicon, rows, [100.0], mesh=4)
    energy = np.linspace(0, 70, 15)
    density = density_of_states(silicon, rows, energy, width=2.0, mesh=4)
    monkeypatch.setattr(
        "skphonon.physics.zone.thermodynamics._NUMBERS", 1
    )  # a point each
    for number, row in enumerate(rows):
        single = displacement_tensors(silicon, row, [100.0], mesh=4)[0]
        assert_allclose(together[number], single, rtol=1e-9, atol=1e-15)
        single = density_of_states(silicon, row, energy, width=2.0, mesh=4)[0]
        assert_allclose(density[number], single, rtol=1e-9)


def test_limits_of_the_heat_capacity(crystal):
    cold, hot = heat_capacity(crystal, crystal.reference, [0.0, 1e5], mesh=4)[0]
    assert cold == 0
    # Dulong and Petit; the next term of the series is (E / kT)^2 / 12
    assert_allclose(hot, 3 * crystal.n_atoms * si.R, rtol=1e-4)


def test_a_cold_crystal_is_elastic(aluminium):
    """The T^3 law of Debye, its velocities from the elastic constants."""
    stiffness = elastic_constants(aluminium, aluminium.reference)[0]
    c11, c12, c44 = stiffness[0, 0], stiffness[0, 1], stiffness[3, 3]
    directions = np.random.default_rng(0).normal(size=(20_000, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    waves = (c12 + c44) * directions[:, :, None] * directions[:, None]
    diagonal = c44 + (c11 - c44) * directions**2
    waves[:, range(3), range(3)] = diagonal
    volume = abs(np.linalg.det(aluminium.lattice))
    per_gpa = 1e-21 / si.e * volume / aluminium.atomic_masses[0] * MEV2_PER_EIGENVALUE
    slopes = np.sqrt(per_gpa * np.linalg.eigvalsh(waves))  # meV Angstrom
    mean = (1 / slopes**3).sum(axis=1).mean()
    expected = si.R * 2 * np.pi**2 / 15 * volume * BOLTZMANN**3 * mean
    kelvins = np.array([6.0, 8.0])
    found = heat_capacity(aluminium, aluminium.reference, kelvins, mesh=40)[0]
    # the branches bend, which adds a share of T^2: extrapolated to T = 0
    _, limit = np.polyfit(kelvins**2, found / kelvins**3, 1)
    assert_allclose(limit, expected, rtol=3e-3)  # 20,000 directions; T^4


def test_density_of_states_agrees_with_phonopy(crystal):
    width, pitch = 0.4, 0.25  # THz
    phonons = phonopy_on_mesh(crystal, 6)
    phonons.run_total_dos(
        sigma=width, freq_min=0, freq_max=20, freq_pitch=pitch,
        use_tetrahedron_method=False,
    )  # fmt: skip
    energy = MEV_PER_THZ * phonons.total_dos.frequency_points
    found = density_of_states(
        crystal, crystal.reference, energy, width=MEV_PER_THZ * width, mesh=6
    )
    expected = phonons.total_dos.dos / MEV_PER_THZ
    assert_allclose(found[0], expected, atol=1e-5 * expected.max())


def test_density_of_states_is_complete(aluminium):
    """It holds 3 modes; its second moment is the stiffness of a site, for any mesh."""
    rows = aluminium.reference * np.array([[1.0], [1.3]])
    width = 0.5
    energy = np.arange(-5, 60, width / 2)
    density = density_of_states(aluminium, rows, energy, width=width, mesh=6)
    step = width / 2
    assert_allclose(step * density.sum(axis=1), 3, rtol=1e-7)
    on_site = np.trace(aluminium.tensor(rows)[:, 0], axis1=1, axis2=2)
    expected = MEV2_PER_EIGENVALUE * on_site / aluminium.atomic_masses[0]
    second = step * (density * energy**2).sum(axis=1) - 3 * width**2
    assert_allclose(second, expected, rtol=1e-6)


def test_unstable_sets_have_no_temperature(aluminium):
    rows = np.stack([aluminium.reference, -aluminium.reference])
    match = r"1 of 2 parameter sets are unstable: .* q = \(.* imaginary energy .*i meV"
    with pytest.warns(UnstableCrystalWarning, match=match):
        capacity = heat_capacity(aluminium, rows, [0.0, 100.0], mesh=4)
    with pytest.warns(UnstableCrystalWarning, match=match):
        tensors = displacement_tensors(aluminium, rows, [0.0, 100.0], mesh=4)
    for values in (capacity, tensors):
        assert np.isfinite(values[0]).all()
        assert np.isnan(values[1]).all()
    density = density_of_states(aluminium, rows, [-20.0, 20.0], width=3.0, mesh=4)
    # -D has the modes of D below 0
    assert_allclose(density[0], density[1][::-1], rtol=1e-9)


def test_bad_arguments(aluminium):
    p = aluminium.reference
    with pytest.raises(ValueError, match="not negative"):
        heat_capacity(aluminium, p, [-1.0])
    with pytest.raises(ValueError, match="finite kelvins"):
        displacement_tensors(aluminium, p, [np.nan])
    with pytest.raises(ValueError, match="mesh must be a number of points of at least"):
        displacement_tensors(aluminium, p, [10.0], mesh=1)
    with pytest.raises(ValueError, match="width must be above 0"):
        density_of_states(aluminium, p, [1.0], width=0.0)
    with pytest.raises(ValueError, match=r"width must be .* finite"):
        density_of_states(aluminium, p, [1.0], width=np.inf)
    for energy in ([np.nan, 1.0], [np.inf], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match=r"energy must be .* finite .* shape"):
            density_of_states(aluminium, p, energy, width=1.0)
    with pytest.raises(ValueError, match="one column each of 1XX"):
        heat_capacity(aluminium, [[1.0, 2.0]], [10.0])


def test_there_is_nothing_above_the_band(aluminium):
    energy = np.linspace(100, 150, 5)
    density = density_of_states(aluminium, aluminium.reference, energy, width=1.0)
    assert (density == 0).all()


def test_an_unstable_first_set_costs_the_others_nothing(aluminium):
    rows = np.stack([-aluminium.reference, aluminium.reference])
    with pytest.warns(UnstableCrystalWarning):
        found = displacement_tensors(aluminium, rows, [300.0])
    alone = displacement_tensors(aluminium, aluminium.reference, [300.0])
    assert_allclose(found[1], alone[0], rtol=1e-9)


@pytest.mark.parametrize("mesh", [None, 4])
def test_nothing_asked_for_is_nothing_found(aluminium, mesh):
    rows = aluminium.reference * np.array([[1.0], [1.1]])
    assert heat_capacity(aluminium, rows, [], mesh).shape == (2, 0)
    assert displacement_tensors(aluminium, rows, [], mesh).shape == (2, 0, 1, 3, 3)
    assert density_of_states(aluminium, rows, [], 1.0, mesh).shape == (2, 0)


def test_modes_between_the_points_of_all_meshes_are_missed_aloud(
    aluminium, monkeypatch
):
    monkeypatch.setattr("skphonon.physics.zone.thermodynamics._LARGEST", 1000)
    with pytest.warns(ConvergenceWarning, match="a larger width, or pass a finer mesh"):
        density = density_of_states(aluminium, aluminium.reference, [4.0], width=1e-4)
    assert density[0, 0] < 0.1


def test_close_to_absolute_zero(aluminium):
    found = heat_capacity(
        aluminium, aluminium.reference, [0.0, 5e-324, 1e-300, 1e-20], mesh=4
    )
    assert_allclose(found, 0.0, atol=0)


@pytest.mark.parametrize("mesh", [None, 4])
def test_free_atoms_are_anywhere(aluminium, mesh):
    rows = np.stack([aluminium.reference, 0 * aluminium.reference])
    for some in (rows, rows[1:], rows[::-1]):
        with pytest.warns(UnstableCrystalWarning, match="1 of . parameter sets leave"):
            found = displacement_tensors(aluminium, some, [0.0, 300.0], mesh)
        free = ~some.any(axis=1)
        assert np.isnan(found[free]).all()
        assert np.isfinite(found[~free]).all()


def test_atoms_that_are_free_one_way_are_anywhere():
    """Forces within a plane do not hold what moves out of it."""
    model = ForceConstantModel([[3.0, 0, 0], [0, 3.0, 0], [0, 0, 5.0]], "Al", None)
    springs = np.zeros((len(model.bonds), 3, 3))
    springs[np.isclose(np.linalg.norm(model.bonds, axis=1), 3.0)] = np.diag(
        [-1.0, -1.0, 0]
    )
    parameters = model.parameters(np.concatenate([-springs.sum(axis=0)[None], springs]))
    with pytest.warns(UnstableCrystalWarning, match="1 of 1 parameter sets leave"):
        found = displacement_tensors(model, parameters, [300.0], mesh=4)
    assert np.isnan(found).all()
