"""Kernels against their normalisation, moments and limits; widths against ResINS."""

import pickle
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon.instrument.resolution import (
    PolynomialResolution,
    TabulatedResolution,
    bin_kernel,
    bin_kernel_derivative,
    instrument_resolution,
    resolve_widths,
    total_width,
)

EDGES = np.linspace(-20.0, 20.0, 161)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2
LINES = np.array([-3.1, 0.0, 7.77])

RESOLUTIONS = [
    PolynomialResolution([1.5, -0.01, 1e-4]),
    PolynomialResolution(np.array([3.5, -0.02]), kind="fwhm"),
    TabulatedResolution([-50.0, 0.0, 50.0], np.array([2.0, 1.5, 0.5])),
]


@pytest.fixture(scope="module")
def arcs():
    pytest.importorskip("resins")
    return instrument_resolution("ARCS", incident_energy=50.0, chopper_frequency=300)


@pytest.mark.parametrize("sigma", [1.5, [0.3, 1.5, 2.2]])
def test_intensity_position_and_width_of_a_line(sigma):
    weights = bin_kernel(EDGES, LINES, sigma) * np.diff(EDGES)[:, None]
    assert_allclose(weights.sum(axis=0), 1.0)
    # the widest line keeps all but 3e-8 of itself on the axis
    assert_allclose(CENTRES @ weights, LINES, atol=1e-6)
    variance = (CENTRES**2) @ weights - LINES**2
    assert_allclose(variance, np.square(sigma) + 0.25**2 / 12, rtol=2e-6)


def test_total_width_is_that_of_the_narrowest_line():
    assert_allclose(total_width(EDGES, 1.5) ** 2, 1.5**2 + 0.25**2 / 12)
    assert total_width(EDGES, [2.0, 1.5, 1.7]) == total_width(EDGES, 1.5)


def test_without_resolution_a_line_stays_in_its_bin():
    kernel = bin_kernel([0.0, 1.0, 3.0], [0.4, 1.0, 2.0], 0.0)
    # a line on a border belongs to both sides in equal parts
    assert_allclose(kernel, [[1.0, 0.5, 0.0], [0.0, 0.25, 0.5]])


def test_each_line_has_its_own_width():
    sigmas = np.array([0.0, 0.7, 1.9])
    alone = [bin_kernel(EDGES, [x], s) for x, s in zip(LINES, sigmas, strict=True)]
    assert_allclose(bin_kernel(EDGES, LINES, sigmas), np.hstack(alone))


def test_narrow_bins_give_a_gaussian():
    kernel = bin_kernel([0.999, 1.001], [0.0], 1.0)
    assert_allclose(kernel, np.exp(-0.5) / np.sqrt(2 * np.pi), rtol=1e-6)


@pytest.mark.parametrize("sigma", [1.5, [0.3, 1.5, 2.2]])
def test_width_derivative_against_finite_differences(sigma):
    sigma, step = np.asarray(sigma), 1e-4
    wider, narrower = (bin_kernel(EDGES, LINES, sigma + s) for s in (step, -step))
    slope = bin_kernel_derivative(EDGES, LINES, sigma, "width")
    # error of the difference: step^2 / 6 times the third derivative, about 10 / sigma^4
    assert_allclose(slope, (wider - narrower) / (2 * step), atol=1e-5)
    assert np.abs(slope).max() > 0.1


def test_a_wider_line_spreads_but_keeps_its_intensity():
    sigma = np.array([0.5, 1.5, 2.0])
    slope = bin_kernel_derivative(EDGES, LINES, sigma, "width")
    slope *= np.diff(EDGES)[:, None]
    assert_allclose(slope.sum(axis=0), 0.0, atol=1e-6)
    # the variance grows as d(sigma^2) / d(sigma)
    spread = np.einsum("bl,bl->l", (CENTRES[:, None] - LINES) ** 2, slope)
    assert_allclose(spread, 2 * sigma, rtol=1e-5)


@pytest.mark.parametrize("sigma", [1.5, [0.3, 1.5, 2.2]])
def test_shift_derivative_against_finite_differences(sigma):
    above, below = (bin_kernel(EDGES, LINES + s, sigma) for s in (1e-4, -1e-4))
    slope = bin_kernel_derivative(EDGES, LINES, sigma, "place")
    assert_allclose(slope, (above - below) / 2e-4, atol=1e-5)
    assert np.abs(slope).max() > 0.1


@pytest.mark.parametrize("sigma", [0.0, -1.0, [1.0, 0.0, 1.0], np.nan])
@pytest.mark.parametrize("changed", ["place", "width"])
def test_no_derivative_without_width(changed, sigma):
    with pytest.raises(ValueError, match="sigma must be positive where"):
        bin_kernel_derivative(EDGES, LINES, sigma, changed)


@pytest.mark.parametrize("sigma", [-1.0, [1.0, -0.5, 0.0], np.nan])
def test_bad_width(sigma):
    with pytest.raises(ValueError, match=r"sigma must be at least 0, got (-|nan)"):
        bin_kernel(EDGES, LINES, sigma)


def test_polynomial():
    resolution = PolynomialResolution([1.0, -0.1, 0.01])
    energies = np.array([[-2.0, 0.0], [1.0, 5.0]])
    assert_allclose(resolution(energies), [[1.24, 1.0], [0.91, 0.75]])
    # half the height at half the full width
    sigma = PolynomialResolution([2.0], kind="fwhm")(0.0)
    assert_allclose(np.exp(-0.5 * (1.0 / sigma) ** 2), 0.5)


def test_table():
    resolution = TabulatedResolution([-10.0, 0.0, 30.0], [2.0, 1.0, 0.4])
    assert_allclose(resolution([[-10.0, -5.0], [15.0, 30.0]]), [[2.0, 1.5], [0.7, 0.4]])


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_copies_are_equal(resolution):
    energies = np.array([-50.0, -1.0, 0.0, 33.3])
    copy = pickle.loads(pickle.dumps(resolution))
    assert copy == resolution
    assert copy is not resolution
    assert_array_equal(copy(energies), resolution(energies))


def test_others_are_not_equal():
    line = PolynomialResolution([1.5, 0.1])
    assert line == PolynomialResolution((1.5, 0.1))
    assert line != PolynomialResolution([1.5, 0.1], kind="fwhm")
    assert line != PolynomialResolution([1.5, 0.1, 0.0])
    assert line != TabulatedResolution([1.5], [0.1])
    assert TabulatedResolution([1.0], [2.0]) != TabulatedResolution([1.0], [3.0])


def test_parameters_can_be_set():
    resolution = PolynomialResolution([1.5]).replace(coefficients=[2.0])
    assert resolution(0.0) == 2.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PolynomialResolution([1.0, -0.1]), r"-1 meV at 20 meV. Correct"),
        (lambda: PolynomialResolution([np.nan]), r"got nan meV at 0 meV"),
        (lambda: PolynomialResolution([]), r"coefficients must be .* got shape \(0,\)"),
        (lambda: PolynomialResolution(1.5), r"coefficients must be .* got shape \(\)"),
        (lambda: PolynomialResolution([1.5], kind="hwhm"), "'kind' parameter"),
        (
            lambda: TabulatedResolution([-1.0, 19.0], [1.0, 1.0]),
            r"-1 to 19 meV; got 0 to 20",
        ),
        (lambda: TabulatedResolution([1.0, 0.0], [1.0, 1.0]), "energy of the table"),
        (
            lambda: TabulatedResolution([0.0, 30.0], [1.0]),
            r"each of 2 energies, got shape \(1",
        ),
        (lambda: TabulatedResolution([0.0, 30.0], [0.0, 1.0]), "0 meV at 0 meV"),
        (lambda: TabulatedResolution([0.0, 30.0], [1.0, np.nan]), "nan meV at 20 meV"),
    ],
)
def test_bad_resolution(make, message):
    with pytest.raises(ValueError, match=message):
        make()([0.0, 20.0])


def test_an_energy_that_is_not_a_number():
    with pytest.raises(ValueError, match="within the table"):
        TabulatedResolution([0.0, 30.0], [1.0, 1.0])([np.nan])


def test_widths_of_constant_and_function():
    energies = np.array([-5.0, 0.0, 10.0])
    assert_array_equal(resolve_widths(1.5, energies), [1.5, 1.5, 1.5])
    assert_array_equal(resolve_widths(0, energies), [0.0, 0.0, 0.0])
    assert_array_equal(resolve_widths(np.abs, energies), [5.0, 0.0, 10.0])
    assert_allclose(resolve_widths(RESOLUTIONS[0], [0.0]), [1.5])


@pytest.mark.parametrize(
    ("resolution", "message"),
    [
        (-0.1, "at least 0 meV, got -0.1"),
        (np.nan, "at least 0 meV, got nan"),
        (np.inf, "at least 0 meV, got inf"),
        (lambda energy: 1.5, r"shape \(2,\); got shape \(\)"),
        (lambda energy: energy[:1], r"shape \(2,\); got shape \(1,\)"),
        (lambda energy: energy - 2, "got -1 at 1 meV"),
        (lambda energy: np.where(energy > 1, np.nan, 1), "got nan at 2 meV"),
    ],
)
def test_bad_widths(resolution, message):
    with pytest.raises(ValueError, match=message):
        resolve_widths(resolution, [1.0, 2.0])


def test_arcs_sharpens_with_energy_transfer(arcs):
    energies = np.arange(-50.0, 50.0, 2.5)
    assert (np.diff(arcs(energies)) < 0).all()
    # spectrometers of this kind resolve a few percent of the incident energy (full
    # width at half maximum, elastic line)
    assert 0.03 < arcs(0.0) * 2.355 / 50.0 < 0.05


def test_instrument_widths_are_those_of_resins(arcs):
    resins = pytest.importorskip("resins")
    model = resins.Instrument.from_default("ARCS").get_resolution_function(
        e_init=50.0, chopper_frequency=300
    )
    energies = np.linspace(-10.0, 47.0, 58)
    expected = model.get_characteristics(energies[:, None])["sigma"]
    assert_allclose(arcs(energies), expected, rtol=1e-4)


def test_settings_of_the_chopper_matter(arcs):
    fast = instrument_resolution("ARCS", incident_energy=50.0, chopper_frequency=600)
    coarse = instrument_resolution(
        "ARCS",
        incident_energy=50.0,
        chopper_frequency=300,
        chopper_package="SEQ-100-2.0-AST",
    )
    assert fast(0.0) < arcs(0.0) < coarse(0.0)


def test_instrument_pickles_without_resins(arcs, monkeypatch):
    stored = pickle.dumps(arcs)
    monkeypatch.setitem(sys.modules, "resins", None)
    assert pickle.loads(stored) == arcs


@pytest.mark.parametrize(
    "instrument", ["ARCS", "HYSPEC", "MAPS", "MARI", "MERLIN", "SEQUOIA"]
)
def test_documented_instruments(instrument):
    pytest.importorskip("resins")
    resolution = instrument_resolution(
        instrument, incident_energy=60.0, chopper_frequency=300
    )
    assert 0 < resolution(50.0) < resolution(0.0) < 0.05 * 60.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instrument": "ARKS"}, r"instrument must be one of ARCS, .*; got 'ARKS'"),
        ({"instrument": "TOSCA"}, r"instrument must be one of ARCS, .*; got 'TOSCA'"),
        ({"chopper_package": "A"}, r"one of .*ARCS-100-1.5-AST.*; got 'A'"),
        ({"chopper_frequency": 250}, r"ARCS cannot run so.*\(250\).* 240, 300"),
        ({"incident_energy": 5.0}, r"ARCS cannot run so.*\(5.0\).* \[20, 1500\]"),
        ({"incident_energy": 0.0}, "incident_energy must be positive"),
        ({"chopper_frequency": 600, "incident_energy": 20.0}, "no transmission"),
    ],
)
def test_bad_settings_of_an_instrument(settings, message):
    pytest.importorskip("resins")
    usual = {"instrument": "ARCS", "incident_energy": 50.0, "chopper_frequency": 300}
    with pytest.raises(ValueError, match=message):
        instrument_resolution(**{**usual, **settings})


def test_resins_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "resins", None)
    with pytest.raises(
        ImportError, match=r"instrument_resolution .*skphonon\[resins\]"
    ):
        instrument_resolution("ARCS", incident_energy=50.0, chopper_frequency=300)
