"""Tables of pandas: there and back, and tables that other people made."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import CrystalGrid, Measurement, PathGrid, SpectrumGrid
from skphonon.instrument import AngleGrid, MeasurementWarning
from skphonon.io.frames import from_pandas, to_pandas
from skphonon.physics.constants import MEV_PER_THZ

ENERGY, Q = np.array([10.0, 12.5, 20.0]), np.array([0.1, 0.7])
MASK = np.array([[True, False], [True, True], [True, True]])
HKL = [[1.0, 0, 0.5], [0.5, 0, 0]]
GRIDS = {
    "powder": SpectrumGrid(ENERGY, Q, incident_energy=50.0, mask=MASK),
    "angles": AngleGrid(ENERGY, [3.0, 90.5], incident_energy=50.0, mask=MASK),
    "path": PathGrid(ENERGY, HKL, mask=MASK),
    "path of a cell": PathGrid(ENERGY, HKL, lattice=5.4 * np.eye(3), mask=MASK),
}
WITH_CRYSTAL = {
    **GRIDS,
    "crystal": CrystalGrid(
        ENERGY,
        [0.0, 1 / 3],
        0.5,
        0.0,
        mask=MASK,
        psi=[0.0, 30.0],
        incident_energy=50.0,
        lattice=5.658 * np.eye(3),
        v=(1, 2, 0),
        projection=[[1, 1, 0], [1, -1, 0], [0, 0, 1]],
    ),
}
SETTINGS = {"quantity": "sqe", "units": "1/meV", "source": "a.nxs"}


def measured(grid, n_spectra=1):
    X = (
        np.where(MASK.ravel(), np.arange(6.0), np.nan)
        + 10 * np.arange(n_spectra)[:, None]
    )
    temperature = 5.0 if n_spectra == 1 else 5.0 + np.arange(n_spectra)
    return Measurement(X, grid, error=1 + X / 10, temperature=temperature, **SETTINGS)


@pytest.mark.parametrize("name", WITH_CRYSTAL)
@pytest.mark.parametrize("n_spectra", [1, 3])
def test_there_and_back(name, n_spectra):
    original = measured(WITH_CRYSTAL[name], n_spectra)
    frame = to_pandas(original)
    assert len(frame) == n_spectra * 6
    assert from_pandas(frame) == original
    shuffled = frame.dropna().sample(frac=1, random_state=0)
    found = from_pandas(shuffled)
    assert_array_equal(np.sort(found.data), np.sort(original.data))
    columns = [each for each in frame if each not in ("intensity", "error")]
    assert from_pandas(frame.set_index(columns)) == original


@pytest.mark.parametrize("name", WITH_CRYSTAL)
def test_images_there_and_back(name):
    original = measured(WITH_CRYSTAL[name])
    image = to_pandas(original, pivot="intensity")
    assert image.shape == (3, 2)
    for frame in (image, image.T) if name == "powder" else (image,):
        found = from_pandas(frame)
        assert found == original.replace(error=None)
    assert_array_equal(to_pandas(original, pivot="error"), 1 + image / 10)
    with pytest.raises(ValueError, match="spectrum with intensity, got 2 spectra"):
        to_pandas(measured(WITH_CRYSTAL[name], 2), pivot="intensity")
    with pytest.raises(ValueError, match="of one spectrum with error, got no errors"):
        to_pandas(found, pivot="error")
    with pytest.raises(ValueError, match="pivot must be intensity, error or None"):
        to_pandas(original, pivot="data")


def test_spectra_of_other_points():
    frame = to_pandas(measured(GRIDS["powder"], 2)).drop(index=[2, 9])
    found = from_pandas(frame)
    expected = measured(GRIDS["powder"], 2).data.copy()
    expected[0, 2] = expected[1, 3] = np.nan
    assert_array_equal(found.data, expected)


def test_points_of_a_crystal_in_any_order():
    grid = CrystalGrid([1.0, 2.0], [0, 0.5], 0.0, [1.0, 2.0, 4.0])
    measured = Measurement(np.arange(12.0), grid, error=np.ones(12))
    frame = to_pandas(measured)
    shuffled = frame.sample(frac=1, random_state=0)
    found = from_pandas(shuffled)
    assert_array_equal(found.data, measured.data)
    assert found.grid == grid.replace(mask=np.ones((2, 6), dtype=bool))
    some = from_pandas(shuffled.drop(index=[3, 4]))  # as a mask
    assert_array_equal(some.grid.mask.ravel(), [True] * 3 + [False] * 2 + [True] * 7)
    assert_array_equal(np.isfinite(some.error), np.isfinite(some.data))
    # elsewhere, or by somebody who does not say that they are of a crystal
    frame.loc[4, "l"] = 3.0
    assert isinstance(from_pandas(frame).grid, PathGrid)
    plain = pd.DataFrame(to_pandas(measured).to_numpy(), columns=frame.columns)
    found = from_pandas(plain)
    assert_array_equal(found.grid.wavevectors, grid.wavevectors)
    assert_array_equal(found.data, measured.data)


@pytest.mark.parametrize("n_spectra", [1, 2])
def test_wavevectors_that_are_repeated(n_spectra):
    path = [[1.0, 0, 0], [0.5, 0, 0], [1, 0, 0], [1 + 1e-9, 0, 0], [0.5, 0, 0]]
    grid = PathGrid(ENERGY, path, mask=np.ones((3, 5), dtype=bool))
    data = np.arange(15.0) + np.arange(n_spectra)[:, None]
    original = Measurement(data, grid, **SETTINGS)
    frame = to_pandas(original)
    assert frame["repeat"].tolist() == n_spectra * 3 * [0, 0, 1, 2, 1]
    assert from_pandas(frame) == original
    if n_spectra == 1:
        assert from_pandas(to_pandas(original, pivot="intensity")) == original
    with pytest.raises(ValueError, match="must tell each point once"):
        from_pandas(frame.drop(columns="repeat"))
    # a column of that name that numbers nothing
    named = to_pandas(measured(GRIDS["path"])).assign(repeat="no")
    assert from_pandas(named) == measured(GRIDS["path"])


def test_what_is_given_comes_before_what_the_table_says():
    frame = to_pandas(measured(GRIDS["powder"]))
    found = from_pandas(frame, quantity="chi", temperature=300.0, energy_resolution=1.0)
    assert (found.quantity, found.temperature, found.units) == ("chi", 300, "1/meV")
    assert found.energy_resolution == 1


def test_names_and_units_of_other_people():
    frame = pd.DataFrame(
        {
            "|Q| (1/nm)": [1, 2, 1, 2],
            "E (THz)": [1, 1, 3, 3],
            "chi'' (arb. units)": [1.0, 2, 3, 4],
            "sigma": [0.0, 1, 1, 1],
            "comment": list("abcd"),
        }
    )
    found = from_pandas(frame)
    assert_allclose(found.grid.q, [0.1, 0.2])
    assert_allclose(found.grid.energy, [MEV_PER_THZ, 3 * MEV_PER_THZ])
    assert (found.quantity, found.units) == ("chi", "arb. units")
    assert_array_equal(found.error, [[np.nan, 1, 1, 1]])
    image = frame.pivot(
        columns="|Q| (1/nm)", index="E (THz)", values="chi'' (arb. units)"
    )
    assert_array_equal(from_pandas(image).data, found.data)
    assert from_pandas(image).grid == found.grid
    assert from_pandas(image.T).grid == found.grid
    plain = pd.DataFrame([[1, 2, 3], [4, 5, 6]], index=[5, 10], columns=[1, 2, 3])
    named = plain.rename_axis(index="energy")
    assert_array_equal(from_pandas(named).grid.energy, [5, 10])


def test_variances_shares_and_monitors():
    table = {"q": [1, 2], "E": [5, 5], "counts": [4.0, 8.0]}
    for name, values in (("variance", [4, 16]), ("error (%)", [50, 50])):
        found = from_pandas(pd.DataFrame({**table, name: values}))
        assert_array_equal(found.error, [[2, 4]])
    with pytest.warns(MeasurementWarning, match="not divided by 'monitor'"):
        from_pandas(pd.DataFrame({**table, "monitor": [10, 20]}))


def test_an_index_of_angles_or_wavevectors_is_no_energy():
    values = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    angles = pd.Index([10.0, 20.0, 30.0], name="two_theta")
    found = from_pandas(
        pd.DataFrame(values, index=angles, columns=[5.0, 8.0]), incident_energy=25.0
    )
    assert_array_equal(found.grid.energy, [5, 8])
    assert_array_equal(found.grid.axes()[1], angles)
    assert_array_equal(found.data, [[1, 3, 5, 2, 4, 6]])
    hkl = pd.MultiIndex.from_arrays(np.eye(3), names=list("hkl"))
    found = from_pandas(pd.DataFrame(values, index=hkl, columns=[5.0, 8.0]))
    assert_array_equal(found.grid.energy, [5, 8])
    assert_array_equal(found.grid.wavevectors, np.eye(3))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"q": [1], "I": [1]}, "must have a column of energy, got q, I. Rename it"),
        ({"E": [1], "I": [1], "h": [1]}, "must have a column of q, got"),
        ({"q": [1], "E": [1], "I": [1], "cts": [3]}, "column of intensity, got 'I'"),
        ({"q (rlu)": [1], "E": [1]}, "energies as index and .* columns 'q .rlu.', 'E'"),
        ({"q (cm)": [1], "E": [1], "I": [1]}, "got the unit 'cm' in 'q .cm.'"),
        ({"q": [1, 1], "E": [2, 2], "I": [1, 2]}, "table must tell each point once"),
        ({"q": [np.nan], "E": [2], "I": [1]}, "finite Q and energies. Drop other rows"),
        ({"q": [], "E": [], "I": []}, "must have rows, got none"),
    ],
)  # fmt: skip
def test_what_is_refused(frame, message):
    with pytest.raises(ValueError, match=message):
        from_pandas(pd.DataFrame(frame))


def test_no_table():
    with pytest.raises(TypeError, match="must be a DataFrame of pandas, got dict"):
        from_pandas({})


def test_an_image_without_names_must_tell_its_energies():
    """The names, or negative values, of one axis do."""
    image = pd.DataFrame(np.arange(12.0).reshape(3, 4), [0.5, 1, 1.5], range(1, 5))
    with pytest.raises(ValueError, match=r"which axis holds energies.*rename_axis"):
        from_pandas(image)
    for index, columns in (("q", "energy"), ("q", None), (None, "energy")):
        found = from_pandas(image.rename_axis(index=index, columns=columns))
        assert_array_equal(found.grid.energy, range(1, 5))
    found = from_pandas(image.rename_axis(index="E"))
    assert_array_equal(found.grid.energy, [0.5, 1, 1.5])
    image.columns = [-1.0, 0.0, 1.0, 2.0]
    for turned in (image, image.T):
        assert_array_equal(from_pandas(turned).grid.energy, [-1, 0, 1, 2])


def test_a_series_is_turned_into_a_table():
    series = to_pandas(measured(GRIDS["powder"])).set_index(["energy", "q"]).intensity
    with pytest.raises(TypeError, match=r"got Series\. Turn .* with reset_index\(\)"):
        from_pandas(series)
    assert from_pandas(series.reset_index()).grid.shape == (3, 2)
