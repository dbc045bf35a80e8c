"""Every column of the Jacobian of every simulator, against its own spectra.

A derivative that is exact for the true spectrum, but not for the one that is simulated
(with its directions, samples of Q and splines), stops a least-squares fit short of its
optimum and makes its error bars wrong. So settings are the defaults here.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import (
    CrystalGrid,
    ForceConstantModel,
    JointSimulator,
    PathGrid,
    PowderSimulator,
    SingleCrystalSimulator,
    SpectrumGrid,
    SpinWaveSimulator,
    load_aluminium_model,
)
from skphonon.datasets import load_la2nio4_model
from skphonon.simulation import Scattering

pytestmark = pytest.mark.filterwarnings("ignore:n_phonons=")

# off the centre of their ranges, in parts of them from the reference
OFF_CENTRE = {
    "energy_resolution": 0.1,
    "energy_resolution_slope": 0.2,
    "energy_offset": 0.3,
    "q_resolution": 0.02,
    "lattice_scale": -0.015,
    "mean_square_displacement": 0.003,
    "renormalization": 0.05,
    "energy_scale": 0.01,
    "q_scale": -0.01,
    "q_offset": 0.02,
    "temperature": 7.0,
    "line_width": 0.3,
    "line_width_slope": 0.01,
    "line_width_curvature": 1e-4,
}
STEP = 1e-4
STEPS = {"line_width_slope": 1e-5, "line_width_curvature": 1e-6}  # times meV, meV^2


def asked(simulator):
    """Return values of all nuisances, off the reference, and ranges about them."""
    values = dict(
        zip(simulator.nuisance_names, simulator.nuisance_reference, strict=True)
    )
    values = {
        name: value + OFF_CENTRE[name.split(" (")[0]] for name, value in values.items()
    }
    return values, {
        name: (value - 2 * step_of(name), value + 2 * step_of(name))
        for name, value in values.items()
    }


def step_of(name):
    return STEPS.get(name.split(" (")[0], STEP)


def assert_columns(simulator, rows, rtol=1e-4):  # of the differences: step squared
    values, ranges = asked(simulator)
    jacobian, spectra = simulator.jacobian(
        rows, nuisance=values, nuisance_ranges=ranges, return_spectra=True
    )

    def simulated(moved, change):
        return simulator.simulate(
            rows + change, nuisance={**values, **moved}, nuisance_ranges=ranges
        )

    assert_allclose(spectra, simulated({}, 0.0), rtol=1e-7, atol=1e-9)
    n_parameters = rows.shape[1]
    for number in range(n_parameters):
        step = STEP * np.abs(rows).max() * np.eye(n_parameters)[number]
        expected = (simulated({}, step) - simulated({}, -step)) / (2 * step[number])
        assert_column(jacobian[..., number], expected, rtol, number)
    for number, name in enumerate(values, start=n_parameters):
        step = step_of(name)
        above, below = (
            simulated({name: values[name] + sign * step}, 0.0) for sign in (1, -1)
        )
        assert_column(jacobian[..., number], (above - below) / (2 * step), rtol, name)


def assert_column(found, expected, rtol, name):
    seen = np.isfinite(expected)
    assert np.array_equal(seen, np.isfinite(found))
    size = np.sqrt(np.mean(expected[seen] ** 2))
    assert size > 0, name
    error = np.sqrt(np.mean((found[seen] - expected[seen]) ** 2))
    assert error < rtol * size, f"{name}: off by {error / size:.1e}"


@pytest.fixture(scope="module")
def grid():
    return SpectrumGrid(
        np.arange(10.5, 44, 1.5), np.arange(0.7, 6, 0.2), incident_energy=50.0
    )


@pytest.mark.parametrize("width", [1.05, 1.54, 2.5])
@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 50.0},
        {"quantity": "sqe", "scattering": Scattering(incoherent=True, n_phonons=3)},
    ],
    ids=["one phonon", "all"],
)
def test_powder(grid, width, settings):
    simulator = PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=width, **settings
    )
    assert_columns(simulator, simulator.reference * [[0.9, 1.2, 1.05, 0.8, 1.5]])


def test_powder_of_one_atom_on_axes_of_high_symmetry():
    """Tensors of the first shell are diagonal to the last digit."""
    model = ForceConstantModel(
        3.35 * np.eye(3),
        "Po",
        [1.2, 0.2, 0.2, -0.05, 0.15, 0.05, 0.05],
        n_shells=3,
        mass=209.0,
    )
    low = SpectrumGrid(
        np.arange(2.0, 14, 1.0), np.arange(1.0, 6, 0.5), incident_energy=30.0
    )
    simulator = PowderSimulator(model, low, energy_resolution=1.0, mesh=6)
    jacobian = simulator.jacobian(simulator.reference)
    for number, step in enumerate(1e-5 * np.eye(7)):
        rows = np.stack([simulator.reference + step, simulator.reference - step])
        above, below = simulator.simulate(rows)
        expected = (above - below) / 2e-5
        assert_column(jacobian[0, :, number], expected, 1e-6, number)


def test_powder_of_a_polar_crystal(grid, salt):
    """The dipole term changes with the lattice, and displacements with it."""
    model = salt.replace(n_shells=2)
    model = model.replace(reference=model.parameters(salt.to_phonopy()))
    simulator = PowderSimulator(
        model,
        grid,
        energy_resolution=1.2,
        tolerance=1e-3,
        mesh=6,
        scattering=Scattering(n_phonons=5),
    )
    assert_columns(simulator, simulator.reference[None] * 1.02)


def test_powder_with_a_background_and_given_displacements(grid):
    simulator = PowderSimulator(
        load_aluminium_model(),
        grid,
        energy_resolution=1.5,
        mean_square_displacement=0.006,
        quantity="sqe",
        background=[[0.1, 0.02], [0.003, 0.0]],
    )
    assert_columns(simulator, simulator.reference[None])


@pytest.mark.parametrize("width", [0.7, 1.5])
def test_single_crystal(width):
    layout = CrystalGrid(
        np.arange(8.0, 42, 1.5),
        np.linspace(1, 3, 7),
        np.linspace(-1, 1, 7),
        0.0,
        lattice=4.04 * np.eye(3),
    )
    simulator = SingleCrystalSimulator(
        load_aluminium_model(), layout, energy_resolution=width, q_resolution=0.05
    )
    assert_columns(simulator, simulator.reference[None] * 1.03)


@pytest.mark.parametrize("width", [2.0, 4.0])
def test_spin_waves(width):
    layout = PathGrid(
        np.arange(22.0, 140, 4.0), np.linspace([0.5, 0, 0], [0.8, 0.3, 0], 9)
    )
    simulator = SpinWaveSimulator(
        load_la2nio4_model(), layout, energy_resolution=width, q_resolution=0.03
    )
    assert_columns(simulator, simulator.reference[None] * 1.02)


def test_joint(grid):
    model = load_aluminium_model()
    parts = {
        f"{kelvin} K": PowderSimulator(
            model, grid, temperature=float(kelvin), energy_resolution=1.5
        )
        for kelvin in (50, 640)
    }
    simulator = JointSimulator(parts, shared_nuisances=("lattice_scale",))
    assert_columns(simulator, simulator.reference[None])
