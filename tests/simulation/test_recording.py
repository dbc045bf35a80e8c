"""Widths of phonons, resolutions of both axes and angles, against spectra by hand."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import RectBivariateSpline
from sklearn.base import clone

from skphonon import (
    MaskedSpectrumPreprocessor,
    Measurement,
    PowderSimulator,
    SpectrumGrid,
    load_model,
    nmse,
    save_model,
)
from skphonon.instrument import AngleGrid
from skphonon.instrument.resolution import bin_kernel
from skphonon.physics.scattering import momentum_transfer
from skphonon.simulation import Scattering

WIDTHS = {"line_width": 0.6, "line_width_slope": 0.02, "line_width_curvature": 1e-3}
ALL = {"quantity": "sqe", "scattering": Scattering(incoherent=True, n_phonons=4)}


@pytest.fixture(scope="module")
def grid():
    return SpectrumGrid(np.arange(8, 44, 2.0), np.arange(1, 6, 0.25))


@pytest.fixture(scope="module")
def angles():
    return AngleGrid(
        np.arange(8, 44, 2.0), np.arange(10, 130, 6.0), incident_energy=60.0
    )


def small_simulator(model, grid, **settings):
    return PowderSimulator(
        model, grid, **{"energy_resolution": 1.5, "mesh": 5, **settings}
    )


@pytest.mark.parametrize("settings", [{}, ALL], ids=["chi", "all"])
def test_no_width_is_the_limit_of_small_ones(aluminium, grid, settings):
    simulator = small_simulator(aluminium, grid, **settings)
    sharp = simulator.simulate(simulator.reference)
    none = simulator.simulate(simulator.reference, nuisance={"line_width": 0.0})
    assert_array_equal(none, sharp)
    small = simulator.simulate(simulator.reference, nuisance={"line_width": 1e-7})
    assert_allclose(small, sharp, atol=2e-5 * sharp.max())
    # lines of some width beside sharp ones leave these alone
    both = simulator.simulate(
        [simulator.reference] * 2,
        nuisance={"line_width": [0.0, 0.8]},
        nuisance_ranges={"line_width": (0.0, 0.8)},
    )
    ranges = {"line_width": (0.0, 0.8)}
    alone = simulator.simulate(simulator.reference, nuisance_ranges=ranges)
    assert_allclose(both[:1], alone, rtol=1e-9)
    assert nmse(both[:1], both[1:])[0] > 1e-3


@pytest.mark.parametrize(
    "settings",
    [{}, {"incoherent": True}],
    ids=["coherent", "all"],
)
def test_wide_phonons_are_sharp_ones_broadened_by_hand(aluminium, settings):
    """From a fine map: the oscillator of each energy in it, and then the instrument."""
    q, gamma, sigma = np.arange(1.5, 5, 0.5), 1.2, 1.0
    fine = SpectrumGrid(np.arange(0.05, 45, 0.1), q)
    mesh = 16
    scattering = Scattering(scattering_lengths={"Al": (3.449, 1.5)}, **settings)
    settings = {"scattering": scattering}
    sharp = PowderSimulator(
        aluminium, fine, energy_resolution=0.25, mesh=mesh, **settings
    )
    bare = fine.axes()[0]
    image = fine.to_image(sharp.simulate(sharp.reference))[0]
    energies = np.arange(-60, 60.01, 0.1)
    broad = np.zeros((len(energies), len(q)))
    for one, row in zip(bare, image, strict=True):
        fall = (energies**2 - one**2) ** 2 + 4 * gamma**2 * energies**2
        ratio = 4 / np.pi * gamma * one * energies / fall
        broad += 0.1 * ratio[:, None] * row
    coarse = SpectrumGrid(np.arange(6, 44, 1.0), q)
    # the fine map has a width of its own
    seen = bin_kernel(coarse.edges()[0], energies, np.sqrt(sigma**2 - 0.25**2))
    expected = 0.1 * seen @ broad
    found = PowderSimulator(
        aluminium, coarse, energy_resolution=sigma, mesh=mesh, **settings
    ).simulate(sharp.reference, nuisance={"line_width": gamma})
    assert nmse(expected.reshape(1, -1), found)[0] < 3e-5


def test_modes_outside_the_window_have_tails_inside(aluminium):
    q, settings = np.arange(1.5, 5, 0.5), {"nuisance": {"line_width": 1.0}}
    whole = SpectrumGrid(np.arange(1, 61, 1.0), q)
    inside = whole.to_image(
        small_simulator(aluminium, whole).simulate(aluminium.reference, **settings)
    )[0]
    for some in (slice(0, 8), slice(38, 60)):
        part = SpectrumGrid(whole.energy[some], q)
        found = small_simulator(aluminium, part).simulate(
            aluminium.reference, **settings
        )
        expected = inside[some].reshape(1, -1)
        assert_allclose(found, expected, atol=1e-4 * expected.max())


# --- derivatives


def assert_exact(simulator, values, step=2e-4):
    """Derivatives with nuisances and constants agree with differences."""
    rows = simulator.reference[None]
    ranges = {
        name: (value - 0.02 * abs(value), value + 0.02 * abs(value))
        for name, value in values.items()
    }
    jacobian = simulator.jacobian(rows, nuisance=values, nuisance_ranges=ranges)[0]

    def difference(step, name):
        above, below = (
            simulator.simulate(
                rows,
                nuisance=values | {name: values[name] + sign * step},
                nuisance_ranges=ranges,
            )[0]
            for sign in (1, -1)
        )
        return (above - below) / (2 * step)

    for number, name in enumerate(values, start=rows.shape[1]):
        expected = difference(step * abs(values[name]), name)
        size = np.abs(expected).max()
        assert size > 0
        assert_allclose(jacobian[:, number], expected, atol=2e-6 * size, err_msg=name)
    slopes = np.random.default_rng(0).normal(size=len(jacobian))
    gradient = simulator.gradient(
        rows, slopes, nuisance=values, nuisance_ranges=ranges
    )[0]
    expected = slopes @ jacobian[:, : rows.shape[1]]
    assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


EVERYTHING = {
    "energy_resolution": 1.4,
    "energy_resolution_slope": 0.2,
    "energy_offset": -0.3,
    "energy_scale": 1.01,
    "temperature": 320.0,
    **WIDTHS,
}
OF_Q = {"q_resolution": 1.1, "q_offset": 0.02, "q_scale": 0.99, "lattice_scale": 1.01}
OF_ANGLES = {"incident_energy": 60.3, "two_theta_offset": 0.3, "q_resolution": 0.1}


def of_both(q, energy):
    return 0.05 + 0.01 * q + 0.001 * energy


@pytest.mark.parametrize("settings", [{}, ALL], ids=["chi", "all"])
def test_derivatives_with_widths_of_phonons(aluminium, grid, settings):
    assert_exact(small_simulator(aluminium, grid, **settings), EVERYTHING)


@pytest.mark.parametrize("settings", [{}, ALL], ids=["chi", "all"])
def test_derivatives_with_a_resolution_of_both_axes(aluminium, grid, settings):
    simulator = small_simulator(aluminium, grid, q_resolution=of_both, **settings)
    # beyond the grid it is constant: a kink, which a small step rarely meets
    assert_exact(simulator, OF_Q, step=1e-6)


@pytest.mark.parametrize("settings", [{}, ALL], ids=["chi", "all"])
def test_derivatives_with_angles(aluminium, angles, settings):
    simulator = small_simulator(aluminium, angles, **settings)
    assert_exact(simulator, OF_ANGLES | {"line_width": 0.3}, step=1e-5)


def test_derivatives_at_no_width_are_those_of_small_ones(aluminium, grid):
    simulator = small_simulator(aluminium, grid)
    at = {"line_width": 0.0, "line_width_slope": 0.0}
    ranges = {"line_width": (0.0, 0.5), "line_width_slope": (0.0, 0.02)}
    rows, step = simulator.reference[None], 1e-3

    def with_width(width):
        return simulator.simulate(
            rows, nuisance={"line_width": width}, nuisance_ranges=ranges
        )[0]

    found = simulator.jacobian(rows, nuisance=at, nuisance_ranges=ranges)[0, :, -2]
    first, second = with_width(step), with_width(2 * step)
    # both of widths above zero, where splines of damped lines are used
    slope = (second - first) / step
    assert_allclose(found, slope, atol=2e-3 * np.abs(slope).max())


# --- resolution in |Q|


def test_a_constant_function_is_the_constant(aluminium, grid):
    number = small_simulator(aluminium, grid, q_resolution=0.12)
    function = small_simulator(aluminium, grid, q_resolution=lambda q, energy: 0.12)
    expected = number.simulate(number.reference)
    assert_allclose(function.simulate(number.reference), expected, rtol=1e-9)
    changed = function.simulate(number.reference, nuisance={"q_resolution": 0.5})
    expected = number.simulate(number.reference, nuisance={"q_resolution": 0.06})
    assert_allclose(changed, expected, rtol=1e-9)


@pytest.mark.parametrize("settings", [{}, ALL], ids=["chi", "all"])
def test_each_energy_has_its_resolution(aluminium, grid, settings):
    function = small_simulator(
        aluminium,
        grid,
        q_resolution=lambda q, energy: 0.05 + 0.004 * energy,
        **settings,
    )
    found = grid.to_image(function.simulate(function.reference))[0]
    ranges = {"q_resolution": (0.05 + 0.004 * 8, 0.05 + 0.004 * 42)}
    for number in (0, 9, 17):
        width = 0.05 + 0.004 * grid.energy[number]
        other = clone(function).set_params(q_resolution=width)
        expected = other.simulate(
            other.reference,
            nuisance={"q_resolution": width},
            nuisance_ranges=ranges,
        )
        expected = grid.to_image(expected)[0, number]
        assert_allclose(found[number], expected, rtol=1e-6)


def test_each_modulus_has_its_resolution(aluminium):
    """A fine map, smeared by hand with the width of each of its moduli."""
    energy, q = np.arange(10, 40, 3.0), np.arange(2, 6, 0.25)
    fine = SpectrumGrid(energy, np.arange(0.5, 7.5, 0.02))
    settings = {"energy_resolution": 1.5, "mesh": 14}
    sharp = PowderSimulator(aluminium, fine, q_resolution=0.03, **settings)
    image = fine.to_image(sharp.simulate(sharp.reference))[0]
    grid = SpectrumGrid(energy, q)
    found = PowderSimulator(
        aluminium, grid, q_resolution=lambda q, energy: 0.05 + 0.03 * q, **settings
    ).simulate(sharp.reference)
    moduli = fine.axes()[1]
    inside = np.clip(moduli, *grid.edges()[1][[0, -1]])
    widths = np.sqrt((0.05 + 0.03 * inside) ** 2 - 0.03**2 - 0.02**2 / 12)
    expected = 0.02 * image @ bin_kernel(grid.edges()[1], moduli, widths).T
    assert nmse(expected.reshape(1, -1), found)[0] < 1e-5


def test_functions_that_are_no_resolution_are_refused(aluminium, grid):
    for function, message in (
        (lambda q, energy: q - 3, "above 0"),
        (lambda q, energy: np.ones(7), "broadcast"),
    ):
        simulator = small_simulator(aluminium, grid, q_resolution=function)
        with pytest.raises(ValueError, match=message):
            simulator.simulate(simulator.reference)


# --- scattering angles


@pytest.mark.parametrize("settings", [{}, ALL], ids=["chi", "all"])
def test_angles_against_a_fine_map_rebinned(aluminium, settings):
    """Mean over energy and angle in each pixel of a map of constant |Q|."""
    energy, two_theta = np.arange(8, 40, 1.0), np.arange(8, 128, 2.0)
    grid = AngleGrid(energy, two_theta, incident_energy=50.0)
    settings = {"energy_resolution": 1.2, "q_resolution": 0.08, "mesh": 14, **settings}
    found = PowderSimulator(aluminium, grid, **settings).simulate(aluminium.reference)
    fine = SpectrumGrid(np.arange(6, 42, 0.2), np.arange(0.4, 9.5, 0.04))
    image = PowderSimulator(aluminium, fine, **settings).simulate(aluminium.reference)
    spline = RectBivariateSpline(*fine.axes(), fine.to_image(image)[0])
    within = (np.arange(8) + 0.5) / 8 - 0.5
    energies = (energy[:, None] + within)[:, None, :, None]
    moduli = momentum_transfer(
        energies, 50.0, (two_theta[:, None] + 2 * within)[:, None]
    )
    energies = np.broadcast_to(energies, moduli.shape)
    expected = spline.ev(energies, moduli).mean(axis=(2, 3))
    assert nmse(expected.reshape(1, -1), found)[0] < 1e-5


def test_nuisances_of_angles_are_other_grids(aluminium, angles):
    simulator = small_simulator(aluminium, angles)
    assert simulator.nuisance_names[-2:] == ["incident_energy", "two_theta_offset"]
    assert_array_equal(simulator.nuisance_reference[-2:], [60.0, 0.0])
    for nuisance, changed in (
        ({"incident_energy": 62.0}, {"incident_energy": 62.0}),
        ({"two_theta_offset": 0.7}, {"two_theta": angles.two_theta - 0.7}),
    ):
        other = clone(simulator).set_params(grid=angles.replace(**changed))
        found = simulator.simulate(simulator.reference, nuisance=nuisance)
        expected = other.simulate(simulator.reference)
        assert_allclose(found, expected, atol=1e-9 * expected.max())


def test_a_grid_of_angles_is_a_grid(aluminium, angles, tmp_path):
    mask = np.ones(angles.shape, dtype=bool)
    mask[:3, 5] = False
    grid = angles.replace(mask=mask)
    simulator = small_simulator(aluminium, grid)
    rows = simulator.simulate([simulator.reference, 1.1 * simulator.reference])
    assert_array_equal(np.isnan(rows[0]), ~mask.ravel())
    assert_array_equal(grid.to_rows(grid.to_image(rows)), rows)
    for copy in (clone(simulator), pickle.loads(pickle.dumps(simulator))):
        assert_allclose(copy.simulate(simulator.reference), rows[:1], rtol=1e-12)
    save_model(grid, tmp_path / "grid.skops")
    assert_array_equal(load_model(tmp_path / "grid.skops").mask, mask)
    assert np.isfinite(MaskedSpectrumPreprocessor().fit_transform(rows)).all()
    measured = Measurement(
        rows[0], grid, quantity="chi", temperature=300.0, energy_resolution=1.5
    )
    assert measured.incident_energy == 60.0
    same = PowderSimulator.from_measurement(
        aluminium, measured, mesh=5, scattering="coherent"
    )
    assert_allclose(same.simulate(aluminium.reference), rows[:1], rtol=1e-12)


def test_background_of_angles_is_at_their_moduli(aluminium, angles):
    plain = small_simulator(aluminium, angles).simulate(aluminium.reference)
    simulator = small_simulator(
        aluminium, angles, background=[[0.1, 0.02], [0.01, 0.0]]
    )
    added = angles.to_image(simulator.simulate(aluminium.reference) - plain)[0]
    energy, _ = angles.axes()
    expected = 0.1 + 0.02 * angles.moduli() + 0.01 * energy[:, None]
    assert_allclose(added, plain.mean() * expected, rtol=1e-9)


def test_grids_of_angles_that_are_none_are_refused(aluminium, angles):
    with pytest.raises(ValueError, match="between 0 and 180"):
        AngleGrid([1.0, 2.0], [-5.0, 5.0], incident_energy=50.0)
    with pytest.raises(ValueError, match="below incident_energy=2 meV"):
        AngleGrid([1.0, 2.0], [5.0, 10.0], incident_energy=2.0)
    with pytest.raises(ValueError, match="q_resolution must be above 0"):
        small_simulator(aluminium, angles, q_resolution=0.0).simulate(
            aluminium.reference
        )
    simulator = small_simulator(aluminium, angles)
    for nuisance, message in (
        ({"incident_energy": 30.0}, "incident_energy must be above"),
        ({"two_theta_offset": 80.0}, "two_theta_offset must leave"),
    ):
        with pytest.raises(ValueError, match=message):
            simulator.simulate(simulator.reference, nuisance=nuisance)
    with pytest.raises(ValueError, match="nuisance must name"):
        small_simulator(aluminium, SpectrumGrid([8.0, 9.0], [1.0, 2.0])).simulate(
            aluminium.reference, nuisance={"incident_energy": 60.0}
        )
