"""Directions, moduli and energy axes against integrals known on paper."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skphonon.physics.constants import BOLTZMANN
from skphonon.physics.scattering import bose_occupation
from skphonon.simulation._splines import place, scatter
from skphonon.simulation.quadrature import (
    energy_axis,
    independent_directions,
    line_kernel,
    occupied,
    radial_samples,
)
from skphonon.simulation.resolution import bin_kernel

EDGES = np.arange(-10.25, 30.5, 0.5)
INVERSION = np.array([np.eye(3), -np.eye(3)])
TETRAGONAL = np.array(
    [
        np.diag([sx, sy, sz]) @ swap
        for sx in (1, -1)
        for sy in (1, -1)
        for sz in (1, -1)
        for swap in (np.eye(3), np.eye(3)[[1, 0, 2]])
    ]
)


def collect(axis, energies):
    """Lines of unit weight on the axis, and places of them."""
    places = place(axis, torch.as_tensor(np.square(energies)))
    collected = torch.zeros(axis.n_points, dtype=torch.float64)
    scatter(collected, places.node, places.weights(), torch.ones(len(energies)))
    return collected.numpy(), places


@pytest.mark.parametrize("group", [INVERSION, TETRAGONAL], ids=["inversion", "4/mmm"])
def test_directions_average_over_the_sphere(group):
    directions = independent_directions(group, 20_000)
    assert len(directions) == pytest.approx(20_000 / len(group), rel=0.02)
    assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-12)
    everywhere = (directions @ group).reshape(-1, 3)
    tensor = np.einsum("na,nb,nc,nd->abcd", *[everywhere] * 4) / len(everywhere)
    # <xxxx> = 1/5, <xxyy> = 1/15
    assert_allclose(tensor[[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]], 0.2, atol=1e-3)
    assert_allclose(tensor[0, 0, 1, 1], 1 / 15, atol=1e-3)
    assert_allclose(tensor[0, 0, 2, 2], 1 / 15, atol=1e-3)


def test_turned_directions_are_others():
    first, second = (independent_directions(INVERSION, 500, turn) for turn in (0, 1))
    nearest = (first @ second.T).max(axis=1)
    assert (nearest < 1 - 1e-6).all()


@pytest.mark.parametrize("sigma", [0.0, 0.08])
def test_moduli_cover_the_bins(sigma):
    edges = np.arange(0.5, 4.01, 0.25)
    mask = np.ones((2, len(edges) - 1), dtype=bool)
    samples, step = radial_samples(edges, mask, sigma)
    assert (samples > 0).all()
    shares = bin_kernel(edges, samples, sigma) * step
    centres = (edges[1:] + edges[:-1]) / 2
    # a smooth function is averaged over bin and resolution: Q^2 -> + the variances;
    # without a resolution the samples of a bin, 7 of them, are a midpoint rule
    expected = centres**2 + 0.25**2 / 12 + sigma**2
    assert_allclose(shares @ samples**2, expected, rtol=2e-4 if sigma else 0.2)
    assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-4 if sigma else 0.2)


def test_moduli_leave_out_what_is_not_seen():
    edges = np.arange(0.0, 10.01, 0.5)
    mask = np.zeros((3, 20), dtype=bool)
    mask[1, 4:8] = True
    samples, _ = radial_samples(edges, mask, 0.05)
    assert samples.min() >= 2 - 0.25
    assert samples.max() <= 4 + 0.25


def test_axis_is_as_fine_as_the_resolution():
    broad, sharp = energy_axis(EDGES, 1.0), energy_axis(EDGES, 0.01)
    assert broad.smooth
    assert not sharp.smooth
    assert broad.step == pytest.approx(np.hypot(1.0, 0.5 / np.sqrt(12)) / 3)
    assert sharp.step < 0.5 / np.sqrt(12) / 7
    assert broad.points()[0] < 0  # the spectrum crosses zero
    assert broad.points()[-1] > EDGES[-1] + 5.0
    assert energy_axis(EDGES[60:], 1.0).points()[0] > 10


@pytest.mark.parametrize("quantity", ["chi", "sqe"])
def test_splines_reproduce_broadened_lines(quantity):
    """Against the kernel at the energy of every line itself."""
    temperature, sigma = 100.0, 0.8
    axis = energy_axis(EDGES, sigma)
    energies = np.random.default_rng(0).uniform(1.0, 30.0, 50)
    kernel = line_kernel(axis, quantity, temperature, bin_kernel)
    above, below = (bin_kernel(EDGES, s * energies, sigma) for s in (1, -1))
    if quantity == "chi":
        expected = (above - below) @ energies
    else:
        n = bose_occupation(energies, temperature)
        expected = above @ (energies * (n + 1)) + below @ (energies * n)
    collected, places = collect(axis, energies)
    assert places.seen.all()
    # cubic splines err with the fourth power of a third of a width
    assert_allclose(kernel @ collected, expected, atol=1e-3 * expected.max())


def test_shares_sum_to_one_and_tilts_are_their_derivatives():
    axis = energy_axis(EDGES, 1.0)
    energies = np.linspace(2.0, 25.0, 30)
    places = place(axis, torch.as_tensor(energies**2))
    assert_allclose(sum(places.weights()), 1.0, rtol=1e-12)
    assert_allclose(sum(places.tilts()), 0.0, atol=1e-12)
    position = sum((k + places.node) * w for k, w in enumerate(places.weights()))
    assert_allclose(position, energies / axis.step - axis.first, rtol=1e-12)
    slope = sum(k * t for k, t in enumerate(places.tilts()))
    assert_allclose(slope, 1.0, rtol=1e-12)
    step = 1e-6
    shifted = places._replace(fraction=places.fraction + step)
    for tilt, before, after in zip(
        places.tilts(), places.weights(), shifted.weights(), strict=True
    ):
        assert_allclose(tilt, (after - before) / step, atol=1e-5)


def test_lines_beyond_the_axis_are_not_seen():
    axis = energy_axis(EDGES, 1.0)
    places = place(axis, torch.tensor([40.0**2, 20.0**2, -100.0], dtype=torch.float64))
    assert places.seen.tolist() == [False, True, True]


@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_occupation_obeys_detailed_balance(temperature):
    energies = np.array([0.5, 5.0, 40.0])
    above, below = occupied(energies, temperature), occupied(-energies, temperature)
    boltzmann = np.zeros(3)
    if temperature:
        boltzmann = np.exp(-energies / (BOLTZMANN * temperature))
    assert_allclose(below, boltzmann * above, rtol=1e-10)
    assert_allclose(occupied(np.zeros(1), temperature), BOLTZMANN * temperature)
