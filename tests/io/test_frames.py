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
        ({"E": [1], "I": [1], "h": [1]}, r"column of q \(or two_theta, or h, k"),
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


@pytest.mark.parametrize("name", ["two_theta (rad)", "2theta (rad)", "2θ [rad]"])
def test_angles_are_no_momentum_transfers(name):
    image = pd.DataFrame(
        [[1, 2], [3, 4]], pd.Index([1, 2], name="E"), pd.Index([0.1, 0.2], name=name)
    )
    long = image.melt(ignore_index=False, value_name="I").reset_index()
    for frame in (image, image.T, long):
        found = from_pandas(frame, incident_energy=50.0)
        assert_allclose(found.grid.two_theta, np.degrees([0.1, 0.2]))
        assert_array_equal(found.data, [[1, 2, 3, 4]])


@pytest.mark.parametrize(
    "names",
    [("E", "T (K)"), ("q", "q"), ("E", "energy"), ("psi", "q"), ("E", "theta")],
)
def test_axes_of_an_image_are_understood_or_refused(names):
    image = pd.DataFrame([[1, 2], [3, 4]], [1, 2], [1, 2])
    with pytest.raises(ValueError, match=r"an image over energy and q, two_theta, or"):
        from_pandas(image.rename_axis(index=names[0], columns=names[1]))


def test_wavevectors_are_in_rlu():
    table = {"h (1/A)": [1.0], "k": [0], "l": [0], "E": [1], "I": [1]}
    with pytest.raises(ValueError, match=r"h, k and l in r.l.u., got 'h \(1/"):
        from_pandas(pd.DataFrame(table))
    image = pd.DataFrame(table).set_index(["h (1/A)", "k", "l", "E"]).I
    image = image.unstack(["h (1/A)", "k", "l"])
    with pytest.raises(ValueError, match=r"h, k and l in r.l.u., got 'h \(1/"):
        from_pandas(image)
    table["h [r.l.u.]"] = table.pop("h (1/A)")
    found = from_pandas(pd.DataFrame(table))
    assert_array_equal(found.grid.wavevectors, [[1, 0, 0]])


def test_limits_of_angles_and_masks_go_along():
    grid = SpectrumGrid(ENERGY, Q, incident_energy=50.0, two_theta=(3, 130))
    data = np.arange(6.0)  # also beyond the window
    found = from_pandas(to_pandas(Measurement(data, grid)))
    assert found.grid.two_theta == (3, 130)
    assert_array_equal(found.data, [data])
    hidden = Measurement(data, grid.replace(mask=MASK), error=data)
    found = from_pandas(to_pandas(hidden))
    assert_array_equal(found.grid.mask, MASK)
    assert_array_equal(np.isfinite(found.data), MASK.reshape(1, -1))
    assert np.isnan(found.error[0, 1])
    assert to_pandas(hidden, pivot="intensity").isna().sum().sum() == 1
    frame = to_pandas(Measurement(data, grid))
    frame.attrs["two_theta"] = [3]
    with pytest.raises(ValueError, match=r"In frame.attrs: two_theta must hold two"):
        from_pandas(frame)


def test_an_image_of_errors_is_no_measurement():
    errors = to_pandas(measured(GRIDS["powder"]), pivot="error")
    with pytest.raises(ValueError, match="must hold intensities, got errors, an image"):
        from_pandas(errors)


def test_temperatures_of_spectra_that_are_left():
    frame = to_pandas(measured(GRIDS["powder"], 3))
    found = from_pandas(frame[frame.spectrum != 1])
    assert_array_equal(found.temperature, [5, 7])
    assert_array_equal(from_pandas(frame[frame.spectrum == 1]).temperature, [6])
    alone = frame[frame.spectrum == 1].drop(columns="spectrum")
    with pytest.raises(
        ValueError, match=r"frame.attrs must be one .* 1 spectra, got 3"
    ):
        from_pandas(alone)
    assert from_pandas(alone, temperature=6.0).temperature == 6


def test_odd_tables_are_named():
    twice = pd.DataFrame([[1, 2, 3, 4]], columns=["q", "E", "I", "I"])
    with pytest.raises(ValueError, match="must have one column 'I', got several"):
        from_pandas(twice)
    dates = pd.DataFrame({"q": [1.0], "E": [1], "I": pd.to_datetime(["2020-01-01"])})
    with pytest.raises(ValueError, match="'I' must be real numbers"):
        from_pandas(dates)
    frame = to_pandas(measured(WITH_CRYSTAL["crystal"]))
    for axes in ({"h": [0.0]}, {"a": 1}, {"h": "x", "k": 0, "l": None}):
        frame.attrs["crystal_grid"] = axes
        with pytest.raises(ValueError, match="must hold the axes of a CrystalGrid"):
            from_pandas(frame)
