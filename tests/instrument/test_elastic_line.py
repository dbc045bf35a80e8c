"""The elastic line on its own: bins wider than it, and slopes beneath it."""

import numpy as np
import pytest
from scipy.special import ndtr

from skphonon.instrument.elastic_line import fit_elastic_line


def counted_line(seed, *, width, step, zero=0.0, counts=1e4, slope=0.0):
    """Return borders, spectrum and errors of a counted Gaussian line."""
    edges = np.arange(-15.0, 30.0, step)
    centre = (edges[1:] + edges[:-1]) / 2
    expected = counts * np.diff(ndtr((edges - zero) / width))
    expected += (5 + counts * slope * np.maximum(centre, 0)) * step
    number = np.random.default_rng(seed).poisson(expected)
    return edges, number / step, np.sqrt(np.maximum(number, 1)) / step


@pytest.mark.parametrize("step", [0.5, 0.75, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("counts", [3e3, 1e5])
def test_bins_wider_than_the_line(step, counts):
    pulls = []
    for seed in range(20):
        zero = np.random.default_rng(seed + 100).uniform(-0.5, 0.5) * step
        line = counted_line(seed, width=0.3, step=step, zero=zero, counts=counts)
        fit = fit_elastic_line(*line, 7.2)
        pulls.append((fit.zero - zero) / fit.zero_std)
        assert abs(fit.width - 0.3) < 4 * fit.width_std
    assert np.std(pulls) < 1.3
    assert np.abs(pulls).max() < 3.5


def test_a_line_within_one_bin():
    for seed in range(6):
        edges, *line = counted_line(seed, width=0.3, step=1.5, zero=-0.75)
        fit = fit_elastic_line(edges + 0.75, *line, 7.2)
        assert abs(fit.zero) < 2 * fit.zero_std
        assert fit.zero_std > 0.1


@pytest.mark.parametrize("slope", [0.002, 0.005, 0.02])
@pytest.mark.parametrize("zero", [0.0, 0.4])
def test_phonons_on_one_side_do_not_move_the_zero(slope, zero):
    for seed in range(6):
        line = counted_line(seed, width=1.2, step=0.5, zero=zero, slope=slope)
        fit = fit_elastic_line(*line, 7.2)
        assert abs(fit.zero - zero) < 3.5 * fit.zero_std
        assert abs(fit.zero - zero) < 0.1
        assert fit.zero_std < 0.15


def test_a_constant_background_costs_no_precision():
    fits = [
        fit_elastic_line(*counted_line(seed, width=1.2, step=0.5), 7.2)
        for seed in range(20)
    ]
    assert np.median([fit.zero_std for fit in fits]) < 0.016
    assert 0.5 < np.std([fit.zero / fit.zero_std for fit in fits]) < 1.4
