"""Spectra that differ in what an experiment varies, against simulators that are so."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skphonon import PowderSimulator, SpectrumGrid, nmse
from skphonon.instrument import PolynomialResolution
from skphonon.simulation import Scattering
from skphonon.simulation._axes import energy_axis, q_axis

pytestmark = pytest.mark.filterwarnings("ignore:n_phonons=")

RANGES = {
    "energy_resolution": (1.2, 1.9),
    "energy_resolution_slope": (-0.3, 0.3),
    "energy_offset": (-0.5, 0.5),
    "q_resolution": (0.06, 0.12),
    "lattice_scale": (0.99, 1.02),
    "mean_square_displacement": (-0.001, 0.01),
}
SETTINGS = [
    {},
    {"quantity": "sqe", "scattering": Scattering(incoherent=True, n_phonons=3)},
    {"mean_square_displacement": 0.006, "scattering": Scattering(n_phonons=2)},
]


@pytest.fixture(scope="module")
def grid():
    return SpectrumGrid(
        np.arange(8, 36, 2.0), np.arange(0.7, 5, 0.2), incident_energy=50.0
    )


@pytest.fixture(scope="module")
def small_salt(salt):
    """Rock salt with the constants of its first two shells, and its dipoles."""
    model = salt.replace(n_shells=2)
    return model.replace(reference=model.parameters(salt.to_phonopy()))


@pytest.fixture(params=["aluminium", "silicon", "small_salt"])
def crystal(request):
    return request.getfixturevalue(request.param)


def small_simulator(model, grid, **settings):
    settings = {"energy_resolution": 1.54, **settings}
    return PowderSimulator(model, grid, mesh=4, **settings)


def drawn(n_samples, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(*limits, n_samples) for name, limits in RANGES.items()}


def assert_same(simulator, nuisance, **settings):
    """Values for a call are settings of another simulator, up to rounding.

    Both lay out the same directions: the call prepares for these values alone.
    """
    other = clone(simulator).set_params(**settings)
    rows = [simulator.reference, 1.02 * simulator.reference]
    expected = other.simulate(rows)
    found = simulator.simulate(rows, nuisance=nuisance)
    assert_array_equal(np.isnan(found), np.isnan(expected))
    visible = np.isfinite(expected[0])
    assert_allclose(
        found[:, visible], expected[:, visible], atol=1e-9 * np.nanmax(abs(expected))
    )
    plain = simulator.simulate(rows)[:, visible]
    assert abs(found[:, visible] - plain).max() > 1e-3 * plain.max()


@pytest.mark.parametrize("settings", SETTINGS, ids=["chi", "all", "fixed"])
def test_a_scaled_lattice_is_another_crystal(crystal, grid, settings):
    """Every term of it: structure, displacements, dipoles, several phonons."""
    longer = crystal.replace(lattice=1.02 * crystal.lattice)
    assert_same(
        small_simulator(crystal, grid, **settings),
        {"lattice_scale": 1.02},
        model=longer,
    )


@pytest.mark.parametrize("settings", SETTINGS, ids=["chi", "all", "fixed"])
def test_widths_are_those_of_another_instrument(aluminium, grid, settings):
    simulator = small_simulator(aluminium, grid, **settings)
    assert_same(simulator, {"energy_resolution": 1.1}, energy_resolution=1.1)
    assert_same(simulator, {"q_resolution": 0.14}, q_resolution=0.14)
    assert_same(
        simulator,
        {"q_resolution": 0.14, "lattice_scale": 0.98, "energy_resolution": 2.0},
        q_resolution=0.14,
        model=aluminium.replace(lattice=0.98 * aluminium.lattice),
        energy_resolution=2.0,
    )


def test_slope_of_the_resolution(aluminium, grid):
    edges = grid.edges()[0]
    middle, span = edges[[0, -1]].mean(), edges[-1] - edges[0]
    tilt = np.array([1 - 0.5 * middle / span, 0.5 / span])
    assert_same(
        small_simulator(aluminium, grid, scattering=Scattering(n_phonons=2)),
        {"energy_resolution_slope": 0.5},
        energy_resolution=PolynomialResolution(1.54 * tilt),
    )
    # a function of energy is multiplied by a factor and the same slope
    assert_same(
        small_simulator(
            aluminium, grid, energy_resolution=PolynomialResolution([1.0, 0.02])
        ),
        {"energy_resolution_slope": 0.5, "energy_resolution": 0.8},
        energy_resolution=PolynomialResolution(
            0.8 * np.polynomial.polynomial.polymul([1.0, 0.02], tilt)
        ),
    )


@pytest.mark.parametrize("quantity", ["chi", "sqe"])
def test_offset_moves_the_spectrum_up(aluminium, quantity):
    energy, q = np.arange(-20, 36, 2.0), np.arange(2, 4, 0.25)
    simulator = small_simulator(
        aluminium,
        SpectrumGrid(energy, q),
        quantity=quantity,
        scattering=Scattering(n_phonons=2),
    )
    assert_same(simulator, {"energy_offset": 0.8}, grid=SpectrumGrid(energy - 0.8, q))


def test_displacement_adds_to_that_given(crystal, grid):
    assert_same(
        small_simulator(crystal, grid, **SETTINGS[2]),
        {"mean_square_displacement": 0.004},
        mean_square_displacement=0.01,
    )


def test_displacement_adds_to_that_computed(crystal, grid):
    """For one phonon it is a factor exp(-u Q^2), Q anywhere in the bin of a pixel."""
    simulator = small_simulator(crystal, grid, q_resolution=0.0)
    plain = simulator.simulate(simulator.reference)
    found = simulator.simulate(
        simulator.reference, nuisance={"mean_square_displacement": 0.05}
    )
    edges = grid.edges()[1]
    most, least = (
        grid.to_image(plain)[0] * np.exp(-0.05 * q**2) for q in (edges[:-1], edges[1:])
    )
    found, visible = grid.to_image(found)[0], grid.mask
    # splines give weak pixels an error of 1e-4 of the largest
    slack = 1e-4 * np.nanmax(plain)
    assert (found <= most + slack)[visible].all()
    assert (found >= least - slack)[visible].all()


def test_each_sample_has_its_own_values(aluminium, grid):
    """In one batch as alone, and whatever else is simulated with it."""
    simulator = small_simulator(aluminium, grid, scattering=Scattering(n_phonons=2))
    rng = np.random.default_rng(1)
    rows = simulator.reference * rng.uniform(0.9, 1.1, (40, 5))
    values = drawn(40)
    together = simulator.simulate(rows, nuisance=values, nuisance_ranges=RANGES)
    for some in ([0], [7, 33]):
        alone = simulator.simulate(
            rows[some],
            nuisance={name: v[some] for name, v in values.items()},
            nuisance_ranges=RANGES,
        )
        assert_allclose(alone, together[some], rtol=1e-9, atol=1e-12)


def test_ranges_change_no_more_than_the_average_errs(aluminium, grid):
    """Other axes: the same spectrum."""
    simulator = PowderSimulator(aluminium, grid, energy_resolution=1.54, mesh=12)
    rows = np.tile(simulator.reference, (3, 1))
    values = drawn(3)
    prepared = simulator.simulate(rows, nuisance=values, nuisance_ranges=RANGES)
    by_itself = [
        simulator.simulate(
            row, nuisance={name: v[number] for name, v in values.items()}
        )[0]
        for number, row in enumerate(rows)
    ]
    assert nmse(by_itself, prepared).max() < 1e-5  # of splines


def test_base_values_change_nothing(crystal, grid):
    simulator = small_simulator(crystal, grid, scattering=Scattering(incoherent=True))
    plain = simulator.simulate(simulator.reference)
    empty = simulator.simulate(simulator.reference, nuisance={})
    assert_allclose(empty, plain, rtol=1e-9, atol=1e-12)
    assert set(RANGES) < set(simulator.nuisance_names)


VALUES = {
    "energy_resolution": 1.4,
    "energy_resolution_slope": 0.2,
    "energy_offset": -0.3,
    "q_resolution": 0.08,
    "lattice_scale": 1.01,
    "mean_square_displacement": 0.004,
}


@pytest.mark.parametrize("settings", SETTINGS, ids=["chi", "all", "fixed"])
def test_derivatives_agree_with_differences(crystal, grid, settings):
    """Away from the settings of the simulator, by constant and by nuisance."""
    simulator = small_simulator(crystal, grid, **settings)
    rows = simulator.reference[None]
    jacobian, spectra = simulator.jacobian(
        rows, nuisance=VALUES, nuisance_ranges=RANGES, return_spectra=True
    )

    def difference(step, name=None, change=0.0):
        above, below = (
            simulator.simulate(
                rows + sign * change,
                nuisance=VALUES | ({name: VALUES[name] + sign * step} if name else {}),
                nuisance_ranges=RANGES,
            )
            for sign in (1, -1)
        )
        return (above - below)[0] / (2 * step)

    same = simulator.simulate(rows, nuisance=VALUES, nuisance_ranges=RANGES)
    assert_allclose(spectra, same, atol=1e-7 * np.nanmax(same))
    for number in (0, rows.shape[1] - 1):
        step = 1e-4 * abs(rows).max()
        expected = difference(step, change=step * np.eye(rows.shape[1])[number])
        size = np.nanmax(abs(expected))
        assert_allclose(jacobian[0, :, number], expected, atol=1e-4 * size)
    for number, name in enumerate(VALUES, start=rows.shape[1]):
        expected = difference(1e-4, name)
        size = np.nanmax(abs(expected))
        assert_allclose(jacobian[0, :, number], expected, atol=1e-5 * size)


def test_derivatives_with_factors_of_a_function(aluminium, grid):
    simulator = small_simulator(
        aluminium, grid, energy_resolution=PolynomialResolution([2.0, -0.02])
    )
    names = ["energy_resolution", "energy_resolution_slope"]
    found = simulator.jacobian(simulator.reference, nuisance=names)[0, :, -2:].T
    for name, base, derivative in zip(names, (1.0, 0.0), found, strict=True):
        step = 1e-4
        above, below = simulator.simulate(
            np.tile(simulator.reference, (2, 1)),
            nuisance={name: base + step * np.array([1, -1])},
            nuisance_ranges={name: (base - step, base + step)},
        )
        expected = (above - below) / (2 * step)
        # the axis is finer by the step than that of the simulator
        assert_allclose(derivative, expected, atol=1e-2 * np.nanmax(abs(expected)))


@pytest.mark.parametrize("settings", SETTINGS, ids=["chi", "all", "fixed"])
def test_the_lattice_is_differentiated_at_its_scale(crystal, grid, settings):
    """At scale s it is 1/s of the derivative for the crystal that is so long."""
    simulator = small_simulator(crystal, grid, **settings)
    longer = clone(simulator).set_params(
        model=crystal.replace(lattice=1.02 * crystal.lattice)
    )
    found = simulator.jacobian(
        simulator.reference, nuisance={"lattice_scale": np.array([1.02])}
    )
    expected = longer.jacobian(longer.reference, nuisance="lattice_scale")
    expected[..., -1] /= 1.02
    size = np.nanmax(abs(expected), axis=1, keepdims=True)
    assert_allclose(found / size, expected / size, atol=1e-6)


def test_the_scale_is_that_of_a_longer_crystal(crystal, grid):
    """Up to the points: they keep their Q in one, their reduced q in the other."""
    simulator = PowderSimulator(crystal, grid, energy_resolution=1.54, mesh=10)
    above, below = (
        clone(simulator)
        .set_params(model=crystal.replace(lattice=scale * crystal.lattice))
        .simulate(simulator.reference)
        for scale in (1.001, 0.999)
    )
    found = simulator.jacobian(simulator.reference, nuisance="lattice_scale")
    visible = grid.mask.ravel()
    expected = ((above - below) / 2e-3)[:, visible]
    assert nmse(expected, found[:, visible, -1])[0] < 1e-3


def test_the_tolerance_holds_in_the_middle_of_the_ranges(aluminium, grid):
    simulator = PowderSimulator(aluminium, grid, energy_resolution=1.54, tolerance=1e-3)
    middle = {name: np.mean(limits) for name, limits in RANGES.items()}
    converged = clone(simulator).set_params(mesh=24)
    first, second = (
        s.simulate(simulator.reference, nuisance=middle, nuisance_ranges=RANGES)
        for s in (converged, simulator)
    )
    assert nmse(first, second)[0] < 1e-3


@pytest.mark.parametrize("q_resolution", [0.02, 0.0])
def test_sharp_bins_and_a_lattice_that_varies(aluminium, grid, q_resolution):
    """A resolution far below the bins takes a finer axis."""
    sharp = small_simulator(aluminium, grid, q_resolution=q_resolution)
    rows = np.tile(sharp.reference, (2, 1))
    scales = {"lattice_scale": np.array([0.99, 1.02])}
    together = sharp.set_params(mesh=16).simulate(rows, nuisance=scales)
    alone = sharp.simulate(rows[0], nuisance={"lattice_scale": 0.99})
    assert nmse(alone, together[:1])[0] < 2e-3


def test_axis_of_moduli_covers_what_may_come():
    edges = np.arange(1.0, 4.01, 0.25)
    axis = q_axis(edges, (0.2, 0.4), lambda border: [0.9 * border, 1.1 * border])
    narrow = q_axis(edges, (0.2, 0.2), lambda border: [border])
    assert axis.step == pytest.approx(0.9 * narrow.step)
    assert axis.points()[-1] >= 1.1 * (4.0 + 5 * 0.4)
    assert narrow.points()[-1] < 4.0 + 5 * 0.2 + 3 * narrow.step


def test_axis_covers_what_may_come():
    edges = np.arange(20.0, 30.1, 0.5)
    axis = energy_axis(
        edges, [0.5, 2.0], moves=lambda border: [border - 3.0, border + 1.0]
    )
    assert axis.step == pytest.approx(energy_axis(edges, [0.5]).step)
    assert 6.0 < axis.points()[0] < 20.0 - 3.0 - 5 * 2.0
    assert axis.points()[-1] > 30.0 + 1.0 + 5 * 2.0


@pytest.mark.parametrize(
    ("nuisance", "ranges", "message"),
    [
        ({"colour": 1.0}, None, r"nuisance must name .*q_resolution.*; got 'colour'"),
        ({"q_resolution": [0.1] * 3}, None, r"each of 2 samples, got shape \(3,\)"),
        ({"q_resolution": -0.1}, None, "'q_resolution' must be between 0 and inf, got"),
        ({"lattice_scale": 0.0}, None, "'lattice_scale' must be between 0 and inf"),
        ({"energy_resolution_slope": 2.0}, None, "must be between -2 and 2, got 2"),
        ({"energy_offset": np.nan}, None, "'energy_offset' must be finite, got nan"),
        ({}, {"colour": (0, 1)}, "nuisance_ranges must name"),
        ({}, {"energy_offset": (1, -1)}, r"pair \(low, high\), got \(1, -1\)"),
        ({}, {"energy_offset": 1.0}, r"pair \(low, high\), got 1.0"),
        ({"energy_offset": 2.0}, {"energy_offset": (0, 1)}, "range, 0 to 1; got 2 to"),
        ({}, {"q_resolution": (0.1, 0.2)}, "range, 0.1 to 0.2; got 0.09 to 0.09"),
    ],
)
def test_bad_requests_are_named(aluminium, grid, nuisance, ranges, message):
    simulator = small_simulator(aluminium, grid)
    rows = [simulator.reference] * 2
    with pytest.raises(ValueError, match=message):
        simulator.simulate(rows, nuisance=nuisance, nuisance_ranges=ranges)


@pytest.mark.parametrize("name", ["energy_offset", "energy_resolution_slope"])
def test_a_line_of_no_width_has_no_derivative(aluminium, grid, name):
    simulator = small_simulator(aluminium, grid)
    with pytest.raises(ValueError, match=f"with {name} at energy_resolution=0"):
        simulator.jacobian(
            aluminium.reference, nuisance={name: 0.1, "energy_resolution": 0.0}
        )


def test_bad_settings_are_named_here_too(aluminium, grid):
    simulator = small_simulator(aluminium, grid, q_resolution="wide")
    with pytest.raises(ValueError, match="'q_resolution'"):
        simulator.simulate(aluminium.reference, nuisance={"energy_offset": 1.0})
