"""Searches on coarse meshes first, and what a mesh does to constants in the end."""

import warnings
from collections import Counter

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skphonon import load_aluminium_model
from skphonon.instrument import SpectrumGrid
from skphonon.instrument.nuisance import ranges_by_name
from skphonon.inversion import (
    IdentifiabilityWarning,
    LeastSquaresInverter,
    NelderMeadInverter,
    Search,
)
from skphonon.metrics import nmse
from skphonon.physics import UnstableCrystalWarning
from skphonon.simulation import JointSimulator, PowderSimulator
from skphonon.simulation._powder_choice import next_mesh
from skphonon.simulation._powder_plan import plan_size
from skphonon.simulation._recording import Recording

NUISANCE = {"energy_resolution": (0.8, 3.0), "lattice_scale": (0.97, 1.03)}


@pytest.fixture(scope="module")
def aluminium():
    return load_aluminium_model()


def powder(model, **settings):
    grid = SpectrumGrid(np.arange(8, 44, 1.0), np.arange(1, 7, 0.25))
    settings = {"energy_resolution": 1.5, "temperature": 100.0} | settings
    return PowderSimulator(model, grid, **settings)


def noisy(spectra, noise, seed=0):
    sigma = noise * np.nanstd(spectra)
    rng = np.random.default_rng(seed)
    return spectra + sigma * rng.normal(size=spectra.shape), sigma


@pytest.fixture
def calls(monkeypatch):
    """Meshes and numbers of sets of each call, by method."""
    seen = {"simulate": [], "jacobian": []}
    for name, before in seen.items():
        method = getattr(PowderSimulator, name)

        def spy(self, parameters, *, before=before, method=method, **options):
            before.append((self.mesh, len(parameters), options))
            return method(self, parameters, **options)

        monkeypatch.setattr(PowderSimulator, name, spy)
    return seen


@pytest.mark.parametrize("nuisance", [None, NUISANCE], ids=["plain", "nuisance"])
@pytest.mark.parametrize("scale", ["fitted", "normalized"])
def test_the_optimum_is_that_of_a_fine_mesh(aluminium, calls, nuisance, scale):
    truth = aluminium.reference * [1.06, 0.95, 0.97, 1.1, 0.9]
    maker = powder(aluminium, mesh=24, energy_resolution=1.2)
    if nuisance is None:
        maker = maker.set_params(energy_resolution=1.5)
    X, _ = noisy(maker.simulate([truth]), 0.05)
    settings = {"nuisance": nuisance, "scale": scale, "random_state": 0}
    found = LeastSquaresInverter(powder(aluminium), **settings).fit(X).invert(X)
    meshes = [np.prod(mesh.size) for mesh, *_ in calls["jacobian"]]
    assert meshes == sorted(meshes)  # never a coarser one again
    assert len(meshes) == found.n_evaluations[0]
    fixed = LeastSquaresInverter(powder(aluminium, mesh=24), **settings)
    expected = fixed.fit(X).invert(X)
    away = np.abs(found.parameters - expected.parameters) / expected.std
    assert away.max() < 0.3
    assert (found.mesh_bias <= 0.2).all()
    assert_array_equal(expected.mesh_bias, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.01, 0.001])
def test_constants_are_right_where_the_mesh_errs_more_than_noise(silicon, noise):
    """Chi^2 of the constants about the truth; a mesh held fixed is far off."""
    grid = SpectrumGrid(np.arange(8, 68, 1.0), np.arange(1, 8, 0.25))
    simulator = PowderSimulator(
        silicon, grid, energy_resolution=1.5, q_resolution=0.1, tolerance=3e-3
    )
    coarse = simulator.zone_mesh
    clean = clone(simulator).set_params(mesh=20).simulate([silicon.reference] * 3)
    X, sigma = noisy(clean, noise)
    square = {}
    for mesh in (None, coarse):
        inverter = LeastSquaresInverter(
            clone(simulator).set_params(mesh=mesh), noise="noise", random_state=0
        ).fit(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a bad fit on the mesh held fixed
            found = inverter.invert(X, sigma)
        away = found.parameters - silicon.reference
        squares = np.einsum("si,sij,sj->s", away, np.linalg.inv(found.covariance), away)
        square[mesh] = squares.mean() / len(silicon.reference)
    assert square[None] < 1.6  # the mean of 36 squares scatters by 0.24
    assert square[coarse] > 5


@pytest.mark.filterwarnings("ignore::skphonon.inversion.MisfitWarning")
def test_a_mesh_that_memory_does_not_allow_is_told(aluminium):
    simulator = powder(aluminium, tolerance=1e-3)
    X = powder(aluminium, mesh=24).simulate([aluminium.reference])
    X, sigma = noisy(X, 1e-4)
    _, _, ranges = simulator._asked(aluminium.reference)
    finest = next_mesh(simulator.zone_mesh, aluminium)  # which half of the memory holds
    recording = Recording(simulator, ranges_by_name(ranges))
    size = plan_size(aluminium, finest.size, simulator, recording)
    with config_context(working_memory=2.1 * size / 2**20):
        inverter = LeastSquaresInverter(simulator, noise="noise").fit(X)
        with pytest.warns(ConvergenceWarning, match="is not known: a finer mesh"):
            inverter.predict(X, errors=np.full_like(X, sigma))


def test_exact_spectra_are_fitted_on_the_mesh_of_the_tolerance(aluminium):
    """Without noise there is nothing to compare a mesh with."""
    simulator = powder(aluminium)
    truth = aluminium.reference * 1.03
    found = LeastSquaresInverter(simulator).fit(simulator.simulate([truth]))
    result = found.invert(simulator.simulate([truth]))
    assert_allclose(result.parameters, [truth], rtol=1e-4, atol=1e-5)
    assert result.loss < 1e-8
    assert_array_equal(result.mesh_bias, 0.0)


def test_candidates_are_simulated_at_once_and_with_one_instrument(aluminium, calls):
    X, _ = noisy(powder(aluminium, mesh=8).simulate([aluminium.reference] * 3), 0.1)
    inverter = LeastSquaresInverter(
        powder(aluminium), nuisance=NUISANCE, search=Search(n_candidates=20)
    ).fit(X)
    calls["simulate"].clear()
    inverter.predict(X)
    many = [options for _, n_sets, options in calls["simulate"] if n_sets > 1]
    assert Counter(n_sets for _, n_sets, _ in calls["simulate"])[20] == 1
    (options,) = many
    assert all(np.ptp(values) == 0 for values in options["nuisance"].values())


def test_searches_say_nothing_of_what_they_pass(aluminium):
    """Candidates are unstable, the end is not; an end that is is told of once."""
    simulator = powder(aluminium)
    inverter = LeastSquaresInverter(
        simulator, random_state=0, search=Search(n_candidates=64)
    )
    X, _ = noisy(simulator.simulate([aluminium.reference]), 0.05)
    inverter.fit(X)
    task = inverter._task(errors_given=False)
    rows, _ = inverter._candidates(task, inverter._model(task.steps))
    assert not aluminium.is_stable(rows).all()
    inverter.predict(X)  # warnings are errors
    soft = aluminium.reference * [1.0, 3.5, 1.0, 1.0, 1.0]
    assert not aluminium.is_stable([soft])[0]
    with pytest.warns(UnstableCrystalWarning):
        X = simulator.simulate([soft])
    held = LeastSquaresInverter(
        simulator,
        search=Search(initial=soft, n_candidates=1),
        bounds=(soft - 1e-3, soft + 1e-3),
    )
    simplex = NelderMeadInverter(simulator, initial=soft, simplex_size=1e-3)
    for fit, kind in (
        (held, IdentifiabilityWarning),
        (simplex, UnstableCrystalWarning),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the start is unstable
            fit.fit(X)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            fit.predict(X)
        (one,) = (w for w in told if "stable" in str(w.message))
        assert one.category is kind
        assert "fitted best by unstable parameters" in str(one.message)


def test_the_simplex_begins_on_a_coarse_mesh_and_ends_as_without(aluminium, calls):
    truth = aluminium.reference * [1.05, 0.9, 0.95, 1.1, 1.0]
    X, _ = noisy(powder(aluminium, mesh=20).simulate([truth]), 0.02)
    calls["simulate"].clear()
    inverter = NelderMeadInverter(powder(aluminium, tolerance=1e-4), tolerance=1e-4)
    found = inverter.fit(X).predict(X)
    first, last = (calls["simulate"][n][0] for n in (2, -1))
    assert np.prod(first.size) < np.prod(inverter.simulator.zone_mesh.size)
    assert last is None  # the simulator as it is
    n_calls = len(calls["simulate"]) - 2  # of fit, and of what is seen
    assert inverter.n_evaluations_[0] == n_calls
    fixed = powder(aluminium, mesh=inverter.simulator.zone_mesh)
    expected = NelderMeadInverter(fixed, tolerance=1e-4, max_evaluations=3000)
    assert_allclose(found, expected.fit(X).predict(X), atol=2e-3)


def test_several_searches_cost_what_they_simulate(aluminium, calls):
    X, _ = noisy(powder(aluminium, mesh=10).simulate([aluminium.reference]), 0.1)
    inverter = LeastSquaresInverter(powder(aluminium), search=Search(n_starts=3)).fit(X)
    inverter.predict(X)
    assert inverter.n_evaluations_[0] == len(calls["jacobian"])


RANGES = {
    "energy_resolution": (0.5, 4.0),
    "energy_resolution_slope": (-1.0, 1.9),
    "q_resolution": (0.02, 0.3),
    "lattice_scale": (0.95, 1.05),
}


@pytest.mark.parametrize("slope", [0.0, 0.6, 1.9, -0.9])
def test_working_ranges_change_no_spectrum(aluminium, slope):
    simulator = powder(aluminium, mesh=8)
    values = {
        "energy_resolution": np.array([0.5, 1.4]),
        "energy_resolution_slope": np.array([slope, slope / 2]),
        "q_resolution": np.array([0.08, 0.085]),
        "lattice_scale": np.array([1.0, 1.01]),
    }
    ranges = simulator.working_ranges(values, RANGES)
    for name, (low, high) in ranges.items():
        assert RANGES[name][0] <= low <= values[name].min()
        assert values[name].max() <= high <= RANGES[name][1]
    rows = [aluminium.reference] * 2
    narrow, wide = (
        simulator.simulate(rows, nuisance=values, nuisance_ranges=each)
        for each in (ranges, RANGES)
    )
    # what splines on axes of different steps differ by
    assert (nmse(wide, narrow, scale="fitted") < 2e-6).all()
    near = {name: 1.01 * value[1:] for name, value in values.items()}
    one = {name: value[1:] for name, value in values.items()}
    assert simulator.working_ranges(near, RANGES) == simulator.working_ranges(
        one, RANGES
    )


def test_meshes_of_a_joint_simulator(aluminium):
    powders = {
        "cold": powder(aluminium, temperature=50.0),
        "hot": powder(aluminium, temperature=300.0),
        "held": powder(aluminium, mesh=5),
    }
    joint = JointSimulator(powders, shared_nuisances=["lattice_scale"])
    loose = joint.loosened(100.0)
    assert loose.simulators["held"] is powders["held"]
    assert loose.simulators["cold"].mesh == powders["cold"].loosened(100.0).mesh
    fine = loose.refined()
    for name in powders:
        sizes = [
            np.prod(each.simulators[name].zone_mesh.size) for each in (loose, fine)
        ]
        assert sizes[0] < sizes[1]
    assert joint.parameter_names == fine.parameter_names
    assert JointSimulator({"held": powders["held"]}).loosened(10.0) is None
    ranges = {
        "energy_resolution (cold)": (0.5, 4.0),
        "q_resolution (held)": (0.02, 0.3),
        "lattice_scale": (0.95, 1.05),
    }
    values = {
        "energy_resolution (cold)": 1.5,
        "q_resolution (held)": 0.1,
        "lattice_scale": 1.0,
    }
    own = powders["cold"].working_ranges(
        {"energy_resolution": 1.5}, {"energy_resolution": (0.5, 4.0)}
    )
    found = joint.working_ranges(values, ranges)
    assert found["energy_resolution (cold)"] == own["energy_resolution"]
    assert found["q_resolution (held)"][0] > 0.02
    assert found["lattice_scale"] == (0.95, 1.05)
    rows = [joint.reference]
    options = {"nuisance": values}
    assert_allclose(
        loose.simulate(rows, **options, nuisance_ranges=found),
        loose.simulate(rows, **options, nuisance_ranges=ranges),
        atol=3e-3 * np.nanstd(loose.simulate(rows)),
    )


def test_a_looser_tolerance_takes_a_coarser_mesh(aluminium):
    simulator = powder(aluminium)
    sizes = [
        np.prod(simulator.loosened(factor).mesh.size) for factor in (100.0, 1.0, 0.01)
    ]
    assert sizes[0] < sizes[1] < sizes[2]
    assert simulator.loosened(1.0).mesh == simulator.zone_mesh
    assert powder(aluminium, mesh=4).loosened(10.0) is None
    assert np.prod(powder(aluminium, mesh=4).refined().mesh.size) > 4**3
    with config_context(working_memory=10):
        assert powder(aluminium, mesh=40).refined() is None
