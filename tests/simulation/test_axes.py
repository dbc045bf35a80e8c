"""Axes of lines against kernels at each line itself, and integrals known on paper."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon.instrument import SpectrumGrid
from skphonon.instrument.resolution import bin_kernel
from skphonon.physics.constants import HBAR2_PER_AMU
from skphonon.physics.scattering import bose_occupation
from skphonon.simulation._axes import energy_axis, inverse_square, q_axis
from skphonon.simulation._kernels import line_kernel

EDGES = np.arange(-10.25, 30.5, 0.5)


def collected(axis, positions):
    """Lines of unit weight on an axis, and places of them."""
    places, found = axis.places(positions), np.zeros(axis.n_points)
    np.add.at(found, places.node[:, None] + np.arange(4), places.weights())
    return found, places


def test_axis_is_as_fine_as_the_resolution():
    broad, sharp = energy_axis(EDGES, [1.0]), energy_axis(EDGES, [0.01])
    assert broad.smooth
    assert not sharp.smooth
    assert broad.step == pytest.approx(np.hypot(1.0, 0.5 / np.sqrt(12)) / 3)
    assert sharp.step < 0.5 / np.sqrt(12) / 7
    assert broad.points()[0] < 0  # the spectrum crosses zero
    assert broad.points()[-1] > EDGES[-1] + 5.0
    assert energy_axis(EDGES[60:], [1.0]).points()[0] > 10
    # all resolutions and moves that are named
    wide = energy_axis(EDGES, [1.0, 2.0], moves=lambda border: (border - 3, border + 3))
    assert wide.step == broad.step
    assert wide.points()[-1] > EDGES[-1] + 3 + 10


@pytest.mark.parametrize("quantity", ["chi", "sqe"])
def test_splines_reproduce_broadened_lines(quantity):
    """Against the kernel at the energy of every line itself."""
    temperature, sigma = 100.0, 0.8
    axis = energy_axis(EDGES, [sigma])
    energies = np.random.default_rng(0).uniform(1.0, 30.0, 50)
    simulator = SimpleNamespace(
        energy_resolution=sigma,
        quantity=quantity,
        grid=SpectrumGrid((EDGES[1:] + EDGES[:-1]) / 2, [1.0, 2.0]),
    )
    row = {
        "energy_resolution": sigma,
        "energy_resolution_slope": 0.0,
        "energy_offset": 0.0,
        "temperature": temperature,
    }
    kernel = line_kernel(simulator, EDGES, axis, row)
    above, below = (bin_kernel(EDGES, s * energies, sigma) for s in (1, -1))
    if quantity == "chi":
        expected = np.pi * (above - below) @ energies
    else:
        n = bose_occupation(energies, temperature)
        expected = above @ (energies * (n + 1)) + below @ (energies * n)
    expected = HBAR2_PER_AMU / 2 * expected
    lines, places = collected(axis, energies)
    assert places.seen.all()
    # cubic splines err with the fourth power of a third of a width
    assert_allclose(kernel @ lines, expected, atol=1e-3 * expected.max())


@pytest.mark.parametrize("sigma", [0.08, 0.3])
def test_splines_reproduce_broadened_moduli(sigma):
    edges = np.arange(0.5, 4.01, 0.25)
    axis = q_axis(edges, (sigma, sigma), lambda border: (border, border))
    moduli = np.random.default_rng(1).uniform(0.5, 4.0, 2000)
    kernel = axis.coefficients(bin_kernel(edges, axis.points(beyond=1), sigma))
    lines, places = collected(axis, moduli)
    assert places.seen.all()
    expected = bin_kernel(edges, moduli, sigma).sum(axis=1)
    # of very many lines, which are smooth: steps are wider than in energy
    assert_allclose(kernel @ lines, expected, rtol=5e-3)


def test_shares_sum_to_one_and_tilts_are_their_derivatives():
    axis = energy_axis(EDGES, [1.0])
    energies = np.linspace(2.0, 25.0, 30)
    places = axis.places(energies)
    weights, tilts = places.weights(), places.tilts()
    assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-12)
    assert_allclose(tilts.sum(axis=-1), 0.0, atol=1e-12)
    nodes = places.node[:, None] + np.arange(4)
    position = (nodes * weights).sum(axis=-1)
    assert_allclose(position, energies / axis.step - axis.first, rtol=1e-12)
    assert_allclose((nodes * tilts).sum(axis=-1), 1.0, rtol=1e-12)
    step = 1e-6
    shifted = places._replace(fraction=places.fraction + step)
    assert_allclose(tilts, (shifted.weights() - weights) / step, atol=1e-5)


def test_lines_beyond_the_axis_are_not_seen():
    places = energy_axis(EDGES, [1.0]).places(np.array([40.0, 20.0, 0.0]))
    assert places.seen.tolist() == [False, True, True]


def test_soft_modes_do_not_scatter():
    assert_allclose(inverse_square(np.array([-4.0, 0.0, 1e-7, 4.0])), [0, 0, 0, 0.25])
