"""Kernels against their normalisation, moments and limits."""

import numpy as np
from numpy.testing import assert_allclose

from skphonon.simulation.resolution import bin_kernel, total_width

EDGES = np.linspace(-20.0, 20.0, 161)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2


def test_intensity_position_and_width_of_a_line():
    lines, sigma = np.array([-3.1, 0.0, 7.77]), 1.5
    weights = bin_kernel(EDGES, lines, sigma) * np.diff(EDGES)[:, None]
    assert_allclose(weights.sum(axis=0), 1.0)
    assert_allclose(CENTRES @ weights, lines, atol=1e-12)
    variance = (CENTRES**2) @ weights - lines**2
    assert_allclose(variance, sigma**2 + 0.25**2 / 12)
    assert_allclose(np.sqrt(variance), total_width(EDGES, sigma))


def test_without_resolution_a_line_stays_in_its_bin():
    kernel = bin_kernel([0.0, 1.0, 3.0], [0.4, 1.0, 2.0], 0.0)
    # a line on a border belongs to both sides in equal parts
    assert_allclose(kernel, [[1.0, 0.5, 0.0], [0.0, 0.25, 0.5]])


def test_narrow_bins_give_a_gaussian():
    kernel = bin_kernel([0.999, 1.001], [0.0], 1.0)
    assert_allclose(kernel, np.exp(-0.5) / np.sqrt(2 * np.pi), rtol=1e-6)
