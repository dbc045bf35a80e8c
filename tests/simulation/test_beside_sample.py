"""Multiple scattering and elastic tails, against sums written out and closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from sklearn.base import clone

from skphonon import PowderSimulator, load_aluminium_model
from skphonon.instrument import AngleGrid, PathGrid, SpectrumGrid
from skphonon.physics.scattering import chi_from_sqe
from skphonon.simulation import ElasticTail, MultipleScattering

GRID = SpectrumGrid([2.0, 6.0, 12.0], [1.0, 2.0, 4.0, 6.0], incident_energy=20.0)


def simulator(grid=GRID, quantity="sqe"):
    return PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.5, mesh=4, quantity=quantity
    )


@pytest.mark.parametrize(
    "grid", [GRID, AngleGrid([2.0, 6.0], [20.0, 60.0, 90.0], incident_energy=20.0)]
)
def test_multiple_scattering_is_flat_and_keeps_the_intensity(grid):
    spectra = simulator(grid).simulate([simulator().reference] * 2)
    spectra[1] *= 3
    images = grid.to_image(MultipleScattering().of_sample(spectra, grid))
    of_sample = grid.to_image(spectra)
    for image, sample in zip(images, of_sample, strict=True):
        assert np.isnan(image).tolist() == (~grid.mask).tolist()
        for row, expected in zip(image, sample, strict=True):
            if np.isfinite(expected).any():
                assert_allclose(row[np.isfinite(row)], np.nanmean(expected))
    assert_allclose(np.nansum(images), np.nansum(of_sample))


def test_a_map_of_the_sample_is_linear():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 12))
    mapped = MultipleScattering().of_sample
    assert_allclose(
        mapped(2 * a - 3 * b, GRID), 2 * mapped(a, GRID) - 3 * mapped(b, GRID)
    )


def test_a_tail_is_the_mean_of_a_gaussian_over_bins():
    def line(energy):
        return np.exp(-(energy**2) / 8) / np.sqrt(8 * np.pi)

    image = GRID.to_image(ElasticTail(2.0).on(simulator()))[0]
    edges = GRID.edges()[0]
    for row, low, high in zip(image, edges[:-1], edges[1:], strict=True):
        mean = quad(line, low, high)[0] / (high - low)
        assert_allclose(row[np.isfinite(row)], mean, rtol=1e-6)
    assert (np.isfinite(image) == GRID.mask).all()
    of_chi = GRID.to_image(ElasticTail(2.0).on(simulator(quantity="chi")))[0]
    assert_allclose(of_chi, chi_from_sqe(image, GRID.energy[:, None], 300.0))


def test_the_whole_line_has_unit_area():
    grid = SpectrumGrid(np.arange(-20, 21, 2.0), [1.0, 2.0])
    image = grid.to_image(ElasticTail(1.0).on(simulator(grid)))[0]
    assert_allclose(image.sum(axis=0) * 2.0, 1.0)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (PathGrid([2.0, 4.0], [[1, 0, 0], [1, 1, 0]]), "must have a SpectrumGrid"),
        (SpectrumGrid([20.0, 22.0], [1.0, 2.0]), "within 5 meV of zero energy, got"),
    ],
)
def test_grids_without_a_tail_are_refused(grid, message):
    class On:
        quantity = "sqe"

    On.grid = grid
    with pytest.raises(ValueError, match=message):
        ElasticTail(1.0).on(On())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"must have a SpectrumGrid.*got a PathGrid"):
        MultipleScattering().of_sample([[1.0]], PathGrid([2.0], [[1, 0, 0]]))
    with pytest.raises(ValueError, match=r"each of the 12 pixels.*got shape \(1, 3\)"):
        MultipleScattering().of_sample(np.ones((1, 3)), GRID)
    with pytest.raises(ValueError, match="width"):
        ElasticTail(-1.0).on(simulator())
    assert clone(ElasticTail(2.0)).width == 2.0
