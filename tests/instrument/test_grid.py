"""Layout of spectra: window, images, rows and the errors of bad axes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skphonon import PathGrid, SpectrumGrid
from skphonon.physics.scattering import momentum_transfer

ENERGY, Q = np.arange(10.0, 45.0, 5.0), np.arange(0.5, 9.0, 0.5)


def test_window_is_where_the_detectors_are():
    grid = SpectrumGrid(ENERGY, Q, incident_energy=50.0, two_theta=(10.0, 120.0))
    for energy, row in zip(ENERGY, grid.mask, strict=True):
        low, high = momentum_transfer(energy, 50.0, [10.0, 120.0])
        assert_array_equal(row, (Q >= low) & (Q <= high))


def test_published_window_is_about_1_to_136_degrees(aluminium_folder):
    import torch

    image = torch.load(aluminium_folder / "simulated_1.pt", weights_only=True)[0]
    published = np.isfinite(image.numpy())
    energy, q = np.arange(70) * 0.5 + 10.25, np.arange(101) * 0.1 + 0.05
    grid = SpectrumGrid(energy, q, incident_energy=50.0, two_theta=(1.0, 136.0))
    # pixels on the border are decided by more than their centre
    assert (grid.mask != published).mean() < 0.01


def test_a_given_mask_takes_the_place_of_the_window():
    mask = np.zeros((ENERGY.size, Q.size), dtype=bool)
    mask[0, 0] = True
    grid = SpectrumGrid(ENERGY, Q, incident_energy=50.0, mask=mask)
    assert_array_equal(grid.mask, mask)
    # the window comes back when the mask is taken away, also on a clone
    without = clone(grid).replace(mask=None)
    assert_array_equal(without.mask, SpectrumGrid(ENERGY, Q, incident_energy=50.0).mask)
    assert without.settings()["mask"] is None


def test_everything_is_visible_without_an_incident_energy():
    assert SpectrumGrid(ENERGY, Q).mask.all()


def test_images_and_rows_are_inverse():
    grid = SpectrumGrid(ENERGY, Q, incident_energy=50.0)
    images = np.random.default_rng(0).normal(size=(3, *grid.shape))
    rows = grid.to_rows(images)
    assert rows.shape == (3, grid.n_pixels)
    assert_array_equal(np.isnan(rows[0]), ~grid.mask.ravel())
    assert_array_equal(grid.to_image(rows)[:, grid.mask], images[:, grid.mask])
    assert grid.to_image(rows[0]).shape == grid.shape
    assert grid.to_rows(images[0]).shape == (1, grid.n_pixels)


def test_edges_lie_between_centres_and_not_below_zero():
    energy, q = SpectrumGrid([1.0, 2.0, 4.0], [0.1, 0.5]).edges()
    assert_allclose(energy, [0.5, 1.5, 3.0, 5.0])
    assert_allclose(q, [0.0, 0.3, 0.7])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"energy": []}, "energy must be a non-empty one-dimensional"),
        ({"energy": [[1.0, 2.0]]}, r"got shape \(1, 2\)"),
        ({"energy": [1.0, 3.0, 2.0]}, "got 3 followed by 2 at position 1. Sort"),
        ({"q": [1.0, 1.0]}, "q must be strictly increasing"),
        ({"q": [1.0, np.nan]}, "q must be finite, got 1 NaN"),
        ({"q": [-1.0, 1.0]}, "q must not be negative"),
        ({"incident_energy": 30.0}, "below incident_energy=30.0 meV, got a maximum"),
        ({"incident_energy": 50.0, "two_theta": (9, 3)}, "two increasing angles"),
        ({"mask": np.ones((2, 2))}, r"shape of the grid, \(7, 17\), got \(2, 2\)"),
        ({"incident_energy": 50.0, "q": [20.0, 21.0]}, "at least one visible pixel"),
    ],
)
def test_bad_axes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpectrumGrid(**{"energy": ENERGY, "q": Q} | arguments).mask  # noqa: B018


def test_a_single_bin_has_no_width():
    with pytest.raises(ValueError, match="at least two bin centres"):
        SpectrumGrid([10.0], Q).edges()


def test_rows_of_another_grid_are_refused():
    grid = SpectrumGrid(ENERGY, Q)
    with pytest.raises(ValueError, match=r"119 columns .* another grid"):
        grid.to_image(np.zeros((1, 120)))
    with pytest.raises(ValueError, match=r"\(n_samples, 7, 17\), got \(17, 7\)"):
        grid.to_rows(np.zeros((17, 7)))


PATH = [[0.5, 0.0, 0.0], [0.5, 0.25, 0.0], [0.5, 0.5, 0.0], [0.5, 0.25, 0.0]]


def test_path_keeps_the_order_of_its_wavevectors():
    grid = PathGrid(ENERGY, PATH)
    assert grid.shape == (ENERGY.size, 4)
    energy, number = grid.axes()
    assert_array_equal(energy, ENERGY)
    assert_array_equal(number, [0, 1, 2, 3])
    assert_allclose(grid.edges(), np.arange(7.5, 45.0, 5.0))
    assert grid.mask.all()


def test_path_has_the_mask_that_was_measured():
    mask = np.ones((ENERGY.size, 4), dtype=bool)
    mask[2, 1] = False
    grid = PathGrid(ENERGY, PATH, mask=mask)
    rows = clone(grid).to_rows(np.ones(grid.shape))
    assert_array_equal(np.isnan(grid.to_image(rows[0])), ~mask)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"energy": [3.0, 2.0]}, "energy must be strictly increasing"),
        ({"wavevectors": [[0.5, 0.5]]}, "h, k and l in rows"),
        ({"wavevectors": np.empty((0, 3))}, "h, k and l in rows"),
        ({"wavevectors": [[0.5, np.inf, 0.0]]}, "wavevectors must be finite"),
        ({"mask": np.ones((2, 2))}, "mask must have the shape of the grid"),
        ({"mask": np.zeros((ENERGY.size, 4))}, "at least one visible pixel"),
    ],
)
def test_bad_paths_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        _ = PathGrid(**{"energy": ENERGY, "wavevectors": PATH, **arguments}).mask


def test_grids_of_equal_numbers_are_equal():
    energy, q = np.arange(5.0, 40), np.arange(0.5, 8)
    first = SpectrumGrid(energy, q, incident_energy=50, two_theta=(0, 180))
    held = np.array(50.0)
    second = SpectrumGrid(energy, q, incident_energy=held)
    held[...] = 44.0
    assert first == second
    assert first.incident_energy == second.incident_energy == 50.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"incident_energy": "50"}, "incident_energy must be a positive number"),
        ({"incident_energy": [50, 60]}, "incident_energy must be a positive number"),
        ({"two_theta": 5}, "two_theta must hold two increasing angles"),
        ({"two_theta": (3,)}, "two_theta must hold two increasing angles"),
    ],
)
def test_settings_of_a_grid_that_are_none(settings, message):
    with pytest.raises(ValueError, match=message):
        SpectrumGrid([5.0, 6.0], [1.0, 2.0], **settings)


def test_columns_of_a_path_cannot_be_changed():
    grid = PathGrid([5.0, 6.0], np.eye(3))
    with pytest.raises(ValueError, match="read-only"):
        grid.axes()[1][:] = 7
