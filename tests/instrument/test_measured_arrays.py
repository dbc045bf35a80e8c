"""Measurements of arrays: axes in any order, borders of bins, what is not measured."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import Measurement, PathGrid, SpectrumGrid
from skphonon.instrument import AngleGrid, MeasurementWarning

ENERGY, Q = np.arange(5.0, 45, 2), np.arange(0.5, 8, 0.25)
GRID = SpectrumGrid(ENERGY, Q, incident_energy=50.0)
IMAGE = np.where(GRID.mask, ENERGY[:, None] + 100 * Q, np.nan)
ROW = IMAGE.reshape(1, -1)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("rising", [1, -1])
def test_shape_and_order_do_not_matter(turned, stacked, rising):
    image, energy, q = IMAGE[::rising, ::rising], ENERGY[::rising], Q[::rising]
    if turned:
        image = image.T
    if stacked:
        image = np.stack([image, 2 * image])
    found = Measurement.from_arrays(
        q.tolist(), energy, image.tolist(), image / 10, incident_energy=50.0
    )
    assert_array_equal(found.data[:1], ROW)
    assert_allclose(found.error[:1], ROW / 10)
    assert len(found) == 1 + stacked
    assert_array_equal(found.data[-1:], ROW * (1 + stacked))
    assert found.grid == GRID.replace(mask=GRID.mask)


def test_everything_said_is_kept():
    found = Measurement.from_arrays(
        Q, ENERGY, np.stack([IMAGE] * 2), incident_energy=50.0, temperature=[5, 300],
        quantity="sqe", units="barn/sr/meV", energy_resolution=1.2, source="me",
        details={"a": 1},
    )  # fmt: skip
    assert found.incident_energy == found.grid.incident_energy == 50
    assert_array_equal(found.temperature, [5, 300])
    kept = found.quantity, found.units, found.energy_resolution, found.source
    assert kept == ("sqe", "barn/sr/meV", 1.2, "me")
    assert dict(found.details) == {"a": 1}
    assert "units='barn/sr/meV'" in repr(found)
    assert found.describe()["units"] == "barn/sr/meV"
    assert found[0].units == found.replace(quantity="chi").units == "barn/sr/meV"


@pytest.mark.parametrize("turned", [False, True])
def test_borders_of_bins(turned):
    energy, q = np.append(ENERGY - 1, ENERGY[-1] + 1), np.append(Q, 8.0) - 0.125
    image = IMAGE.T if turned else IMAGE
    for given, names in (
        ((q, ENERGY), ["q"]),
        ((Q, energy), ["energy"]),
        ((q, energy[::-1]), ["energy", "q"]),
    ):
        here = image if given[1][0] < given[1][-1] else np.flip(image, int(turned))
        found = Measurement.from_arrays(*given, here)
        assert_allclose(found.grid.energy, ENERGY)
        assert_allclose(found.grid.q, Q)
        assert_array_equal(found.data, ROW)
        assert sorted(found.details["edges"]) == names
        for name in names:
            assert_array_equal(
                found.details["edges"][name], {"q": q, "energy": energy}[name]
            )


def test_wavevectors_in_rows():
    hkl = np.stack([Q, 0 * Q, 0 * Q], axis=1)
    found = Measurement.from_arrays(hkl[::-1], ENERGY, IMAGE[:, ::-1])
    assert isinstance(found.grid, PathGrid)
    assert_array_equal(found.grid.wavevectors, hkl[::-1])  # in the order given
    assert_array_equal(found.grid.to_image(found.data)[0][:, ::-1], IMAGE)


def test_angles_in_the_place_of_q():
    angles = np.linspace(10, 120, len(Q))
    found = Measurement.from_arrays(
        None, ENERGY, IMAGE.T[::-1], two_theta=angles[::-1], incident_energy=50.0
    )
    mask = np.isfinite(IMAGE)
    grid = AngleGrid(ENERGY, angles, incident_energy=50.0, mask=mask)
    assert found == Measurement(ROW, grid)


def test_labels_of_a_frame_tell_a_square_image():
    """Energies and |Q| are as many, so that the shape alone tells nothing."""
    energy = ENERGY[: len(Q)]
    q = Q[: len(energy)]
    image = np.where(np.isnan(IMAGE[:, : len(q)]), np.nan, IMAGE[:, : len(q)])
    frame = pd.DataFrame(image, index=energy, columns=q)
    for each in (frame, frame.T):
        found = Measurement.from_arrays(frame.columns, frame.index, each)
        assert_array_equal(found.data, image.reshape(1, -1))
    named = frame.set_axis([f"E{e}" for e in energy])  # labels that are no numbers
    assert_array_equal(Measurement.from_arrays(q, energy, named).data, found.data)


@pytest.mark.parametrize("shape", [(5, 4), (4, 5)])
def test_borders_that_fit_in_two_ways_are_refused(shape):
    axis, image = np.arange(1.0, 6.0), np.ones(shape)
    with pytest.raises(ValueError, match=r"fits in two ways. Give centres of bins"):
        Measurement.from_arrays(axis, axis * 2, image)
    centres = (axis[1:] + axis[:-1]) / 2
    found = Measurement.from_arrays(centres, axis * 2, image)
    assert found.grid.shape == (5, 4)
    frame = pd.DataFrame(np.ones((5, 5)), index=axis, columns=axis * 2)
    assert Measurement.from_arrays(axis, axis * 2, frame).grid.shape == (5, 5)


def test_a_square_image_is_held_against_the_kinematic_limit():
    q = np.linspace(0.1, 12, ENERGY.size)
    seen = SpectrumGrid(ENERGY, q, incident_energy=50.0, two_theta=(3, 136)).mask
    image = np.where(seen, 1.0, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Measurement.from_arrays(q, ENERGY, image, incident_energy=50.0)
    with pytest.warns(MeasurementWarning, match="look transposed: rows are") as caught:
        Measurement.from_arrays(q, ENERGY, image.T, incident_energy=50.0)
    assert caught[0].filename == __file__


def test_what_was_not_measured_is_nan():
    image = np.ma.masked_invalid(IMAGE)
    image[3, 8] = np.ma.masked
    plain = IMAGE.copy()
    plain[3, 8] = np.inf
    error = np.where(IMAGE > 500, 0.0, 1.0)
    for each in (image, plain):
        found = Measurement.from_arrays(Q, ENERGY, each, error)
        images, errors = found.grid.to_image(found.data)[0], found.error
        assert np.isnan(images[3, 8])
        assert not found.grid.mask[3, 8]
        errors = found.grid.to_image(errors)[0]
        assert_array_equal(errors == 1, np.isfinite(images) & (IMAGE <= 500))
        assert_array_equal(np.isnan(errors), errors != 1)


def test_energies_that_no_neutron_can_lose_are_left_out():
    energy = np.append(ENERGY, [50.0, 60.0])
    image = np.concatenate([IMAGE, np.full((2, len(Q)), np.nan)])
    borders = np.append(energy, 61.0) - 1.0
    found = Measurement.from_arrays(Q, energy, image, incident_energy=50.0)
    assert_array_equal(found.data, ROW)
    found = Measurement.from_arrays(Q, borders, image, incident_energy=50.0)
    assert dict(found.details) == {"edges": {}}
    image[-1] = 1.0
    with pytest.raises(ValueError, match="Energy transfer must be below incident_en"):
        Measurement.from_arrays(Q, energy, image, incident_energy=50.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": Q[1:]}, r"intensity must have shape \(20, 29\), .* got \(20, 30\)"),
        ({"q": 3.0}, r"q must be a list of numbers, or wavevectors .* got shape \(\)"),
        ({"q": np.zeros((30, 2))}, r"wavevectors of shape \(n_q, 3\), got .*30, 2"),
        ({"energy": []}, r"energy must be a list of numbers, got shape \(0,\)"),
        ({"energy": ENERGY * np.nan}, "energy must be finite, got 20 NaN"),
        ({"energy": np.append(ENERGY[1:], 7)}, "must not repeat a value, got 7 more"),
        ({"q": np.append(Q, 1.0)}, r"Borders of bins of q must rise or fall"),
        ({"intensity": ROW[0]}, r"intensity must be an image .* got shape \(600,\)"),
        ({"intensity": IMAGE * np.nan}, "must have a finite number somewhere, got non"),
        ({"error": IMAGE[1:]}, r"shape of intensity, \(1, 20, 30\), got \(1, 19"),
        ({"error": -IMAGE}, "error must not be negative"),
        ({"two_theta": Q}, "One of q and two_theta must be given, got both"),
        ({"q": None}, "One of q and two_theta must be given, got neither"),
        ({"q": None, "two_theta": Q}, "incident_energy must be given with two_theta"),
        ({"units": 3}, "units must be a text or None, got 3"),
        ({"incident_energy": -3.0}, "incident_energy must be a positive number"),
        ({"incident_energy": "50"}, "incident_energy must be a positive number"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    given = {"q": Q, "energy": ENERGY, "intensity": IMAGE} | change
    with pytest.raises(ValueError, match=message):
        Measurement.from_arrays(**given)


@pytest.mark.parametrize("dtype", [float, np.float32])
def test_the_mark_of_spe_files_is_nan(dtype):
    image = np.ones((3, 2), dtype)
    image[1, 1] = -1e30
    with pytest.warns(MeasurementWarning, match="in 1 of 6 pixels: they") as caught:
        found = Measurement.from_arrays([1.0, 2.0], [1, 2, 3], image, image)
    assert len(caught) == 1
    assert_array_equal(np.isnan(found.data), [[0, 0, 0, 1, 0, 0]])
    assert_array_equal(np.isnan(found.error), [[0, 0, 0, 1, 0, 0]])
    with pytest.warns(MeasurementWarning, match="data must be NaN where nothing"):
        Measurement(image.ravel(), found.grid)


def test_masked_axes_and_lists_of_masked_images():
    image = np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]])
    found = Measurement.from_arrays([1, 2], [5, 6], [image, image + 1])
    assert_array_equal(found.data, [[1, np.nan, 3, 4], [2, np.nan, 4, 5]])
    hidden = np.ma.array([1.0, 2.0], mask=[0, 1])
    for given in ((hidden, [5, 6]), ([1, 2], hidden)):
        with pytest.raises(ValueError, match="must be finite, got 1 NaN"):
            Measurement.from_arrays(*given, image)


def test_missing_values_of_pandas_and_tensors():
    frame = pd.DataFrame([[1, pd.NA], [3, 4]])
    for each in (frame, frame.astype("Int64"), frame.to_numpy()):
        found = Measurement.from_arrays([1, 2], [5, 6], each)
        assert_array_equal(found.data, [[1, np.nan, 3, 4]])
    torch = pytest.importorskip("torch")
    tensor = torch.arange(4.0).reshape(2, 2).requires_grad_()
    found = Measurement.from_arrays([1, 2], [5, 6], tensor)
    assert_array_equal(found.data, [[0, 1, 2, 3]])


@pytest.mark.parametrize(
    "given",
    [[[1, 2], [3]], {"a": 1}, [[1j, 2], [3, 4]], pd.DataFrame({"a": ["x", "y"]})],
)
def test_intensities_are_real_numbers(given):
    with pytest.raises(ValueError, match="intensity must be real numbers in lists"):
        Measurement.from_arrays([1, 2], [5, 6], given)


@pytest.mark.parametrize("turned", [False, True])
def test_values_of_a_frame_stand_where_their_labels_say(turned):
    frame = pd.DataFrame([[6, 5, 4], [3, 2, 1]], index=[6.0, 5.0], columns=[3, 2, 1])
    error = frame.loc[[5.0, 6.0]] / 10  # in another order
    frame, error = (frame.T, error.T) if turned else (frame, error)
    found = Measurement.from_arrays([1, 2, 3], [5, 6], frame, error)
    assert_array_equal(found.data, [[1, 2, 3, 4, 5, 6]])
    assert_allclose(found.error, found.data / 10)
    assert_array_equal(
        Measurement.from_arrays([0.5, 1.5, 2.5, 3.5], [6, 5], frame).data, found.data
    )
    both = Measurement.from_arrays([1, 2, 3], [5, 6], [frame, 2 * frame])
    assert_array_equal(both.data, [found.data[0], 2 * found.data[0]])
    with pytest.raises(ValueError, match="several images must have one index"):
        Measurement.from_arrays([1, 2, 3], [5, 6], [frame, frame[::-1]])
    with pytest.raises(ValueError, match="of errors must be those of intensity"):
        Measurement.from_arrays([1, 2, 3], [5, 6], frame, error.set_axis(
            error.index * 2))  # fmt: skip
    for q, energy in (([1, 2, 3], [50, 60]), ([1, 2, 4], [5, 6])):
        with pytest.raises(ValueError, match=r"must be the values of the axes, or the"):
            Measurement.from_arrays(q, energy, frame)
    plain = frame.reset_index(drop=True).T.reset_index(drop=True).T  # as arrays
    plain = Measurement.from_arrays([1, 2, 3], [5, 6], plain)
    assert_array_equal(plain.data, [[6, 5, 4, 3, 2, 1]])


def test_wavevectors_of_a_frame():
    hkl = [(1.0, 0, 0), (0.5, 0, 0), (1.0, 0, 0)]
    columns = pd.MultiIndex.from_tuples(hkl[::-1], names=list("hkl"))
    frame = pd.DataFrame([[1, 2, 3]], index=[5.0], columns=columns)
    found = Measurement.from_arrays([hkl[1], hkl[0], hkl[2]], [5.0], frame)
    assert_array_equal(found.data, [[2, 1, 3]])
