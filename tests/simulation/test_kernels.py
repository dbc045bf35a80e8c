"""Kernels in energy against convolutions by brute force, and closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtr, wofz

from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU
from skphonon.simulation._axes import Axis
from skphonon.simulation._damping import damped_shares
from skphonon.simulation._kernels import line_axis, line_kernel, occupied

WIDTHS = ("line_width", "line_width_slope", "line_width_curvature")


def density(energies, bare, gamma):
    """P of a damped oscillator."""
    denominator = (energies**2 - bare**2) ** 2 + 4 * gamma**2 * energies**2
    return 2 / np.pi * gamma * bare**2 / denominator


def kernel_of_a_line(edges, row, quantity):
    """Kernel of lines at the points of an axis, and their energies."""
    simulator = SimpleNamespace(
        quantity=quantity,
        energy_resolution=row["energy_resolution"],
        grid=SimpleNamespace(edges=lambda: edges),
        model=SimpleNamespace(reference=None),
    )
    axis = line_axis(simulator, edges, {name: (v, v) for name, v in row.items()})
    fine = axis._replace(smooth=False)  # values of the kernel at points
    return line_kernel(simulator, edges, fine, row), fine.points()


def integrated(edges, bare, gamma, row, quantity):
    """The same of one line by brute force: segments as fine as the line."""
    near = np.geomspace(1e-3, 1e3, 50) * gamma
    ends = np.concatenate(
        [[-300, 0, 300], *(c + s * near for c in (bare, -bare) for s in (1, -1))]
    )
    ends = np.unique(np.clip(np.r_[ends, np.linspace(-30, 70, 300)], -300, 300))
    nodes, weights = np.polynomial.legendre.leggauss(12)
    half = np.diff(ends)[:, None] / 2
    energies = ((ends[1:] + ends[:-1])[:, None] / 2 + half * nodes).ravel()
    weights = (half * weights).ravel() * 2 * density(energies, bare, gamma)
    shown = row["energy_offset"] + row["energy_scale"] * energies
    seen = np.diff(ndtr((edges[:, None] - shown) / row["energy_resolution"]), axis=0)
    if quantity == "chi":
        strengths = np.pi * energies
    else:
        strengths = occupied(energies, row["temperature"])
    return HBAR2_PER_AMU / 2 * seen @ (weights * strengths) / np.diff(edges)


@pytest.mark.parametrize("quantity", ["chi", "sqe"])
@pytest.mark.parametrize("kelvins", [5.0, 300.0])
@pytest.mark.parametrize("widths", [(0.05, 0, 0), (0.4, 0.01, 1e-3), (6.0, 0, 0)])
def test_damped_lines_against_numerical_convolution(quantity, kelvins, widths):
    """With a sharp line, one that grows with energy, and overdamped modes."""
    edges = np.arange(-10, 40.1, 0.5)
    row = {
        "energy_resolution": 1.2,
        "energy_resolution_slope": 0.0,
        "energy_offset": 0.1,
        "energy_scale": 1.01,
        "temperature": kelvins,
        **dict(zip(WIDTHS, widths, strict=True)),
    }
    kernel, points = kernel_of_a_line(edges, row, quantity)
    for number in range(3, len(points), 15):
        bare = abs(points[number])
        gamma = np.polynomial.polynomial.polyval(bare, widths)
        expected = integrated(edges, bare, gamma, row, quantity)
        assert_allclose(kernel[:, number], expected, atol=1e-5 * kernel.max())


def test_a_damped_line_is_a_difference_of_voigt_functions():
    edges = np.arange(10, 30.001, 0.01)
    row = {
        "energy_resolution": 0.8,
        "energy_resolution_slope": 0.0,
        "energy_offset": 0.0,
        "temperature": 0.0,
        "line_width": 0.7,
    }
    kernel, points = kernel_of_a_line(edges, row, "chi")
    number = np.abs(points - 20).argmin()
    bare, middles = points[number], (edges[1:] + edges[:-1]) / 2
    shifted = np.sqrt(bare**2 - 0.7**2)

    def voigt(distance):
        z = (distance + 0.7j) / (0.8 * np.sqrt(2))
        return wofz(z).real / (0.8 * np.sqrt(2 * np.pi))

    expected = np.pi / shifted * (voigt(middles - shifted) - voigt(middles + shifted))
    expected *= HBAR2_PER_AMU / 2 * bare**2
    assert_allclose(kernel[:, number], expected, atol=1e-5 * expected.max())


def test_damping_keeps_the_static_susceptibility():
    """The integral of chi'' / E over the square of the bare energy, of any mode."""
    axis, lines = Axis(0.25, -4000, 8001, True), Axis(0.5, -2, 60, True)
    for widths in ((0.0, 0.0, 0.0), (0.5, 0.02, 0.0), (9.0, 0.0, 0.0)):
        # tails fall with the fourth power of energy
        assert_allclose(damped_shares(axis, lines, widths).sum(axis=0), 2, rtol=2e-5)


def test_a_negative_width_is_none():
    axis, lines = Axis(0.25, -200, 401, True), Axis(0.5, -2, 60, True)
    found = damped_shares(axis, lines, (-1.0, 0.1, 0.0))
    positive = np.abs(lines.points(beyond=1)) > 10
    sharp = damped_shares(axis, lines, (0.0, 0.0, 0.0))
    assert_array_equal(found[:, ~positive], sharp[:, ~positive])
    assert np.abs(found - sharp)[:, positive].max() > 0.01
    change = damped_shares(axis, lines, (-1.0, 0.1, 0.0), 1)
    assert not change[:, ~positive].any()
    assert change[:, positive].any()


@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_occupation_obeys_detailed_balance(temperature):
    energies = np.array([0.5, 5.0, 40.0])
    above, below = occupied(energies, temperature), occupied(-energies, temperature)
    boltzmann = np.zeros(3)
    if temperature:
        boltzmann = np.exp(-energies / (BOLTZMANN * temperature))
    assert_allclose(below, boltzmann * above, rtol=1e-10)
    assert_allclose(occupied(np.zeros(1), temperature), BOLTZMANN * temperature)
