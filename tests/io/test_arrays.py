"""The package's own files of spectra: exact round trips, and faults that are named."""

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array, issparse

from skphonon import CrystalGrid, Measurement, PathGrid, SpectrumGrid
from skphonon.instrument import AngleGrid, DetectorMeasurement, MeasurementWarning
from skphonon.instrument.resolution import PolynomialResolution, TabulatedResolution
from skphonon.io import read, read_arrays, write_arrays

ENERGY, Q = np.array([10.0, 12.5, 20.0]), np.array([0.1, 0.7])
MASK = np.array([[True, False], [True, True], [False, True]])

GRIDS = {
    "powder": SpectrumGrid(
        ENERGY, Q, incident_energy=50.0, two_theta=(3.0, 130.1), mask=MASK
    ),
    "powder without a mask": SpectrumGrid(ENERGY, Q, incident_energy=50.0),
    "angles": AngleGrid(ENERGY, [3.0, 90.5], incident_energy=50.0, mask=MASK),
    "path": PathGrid(ENERGY, [[0.5, 0, 1 / 3], [0.5, 0.1, 0]], mask=MASK),
    "crystal": CrystalGrid(
        ENERGY,
        Q,
        0.0,
        [1.0],
        projection=[[1, 1, 0], [1, -1, 0], [0, 0, 1 / 3]],
        lattice=5.658 * np.eye(3),
        u=(1, 1, 0),
        v=(0, 0, 1),
        psi=np.arange(0, 90, 0.7),
        incident_energy=60.3,
        two_theta=(3, 140),
        elevation=(-10.5, 20.0),
        mask=MASK,
    ),
    "path of a cell": PathGrid(ENERGY, np.ones((2, 3)), lattice=5.4 * np.eye(3)),
    "plain crystal": CrystalGrid([12.0], Q, ENERGY, 0.5),
}


def spectra(grid, n_samples=3):
    images = np.random.RandomState(0).normal(size=(n_samples, *grid.shape)) / 3
    images[1, 0, 0] = np.nan
    return images.reshape(n_samples, -1)


def replace(name, value, units=None):
    def change(file):
        del file[name]
        if value is not None:
            file[name] = value
        if units:
            file[name].attrs["units"] = units

    return change


def mark(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


@pytest.fixture(params=GRIDS)
def grid(request):
    return GRIDS[request.param]


def test_round_trip_is_exact(grid, tmp_path):
    X, path = spectra(grid), tmp_path / "a.h5"
    write_arrays(path, X, grid, errors=X**2, temperature=[10, 20.5, 30])
    measured = read_arrays(str(path))
    assert_array_equal(measured.data, X)
    assert_array_equal(measured.error, X**2)
    assert_array_equal(measured.temperature, [10, 20.5, 30])
    assert type(measured.grid) is type(grid)
    written, found = grid.settings(), measured.grid.settings()
    assert written.keys() == found.keys()
    for name, value in written.items():
        assert (value is None) == (found[name] is None)
        assert_array_equal(found[name], value)
        assert np.isscalar(value) == np.isscalar(found[name])
    assert_array_equal(measured.grid.mask, grid.mask)


def test_a_measurement_comes_back_whole(grid, tmp_path):
    X, path = spectra(grid), tmp_path / "a.h5"
    details = {
        "events": np.arange(X.size).reshape(X.shape),
        "edges": {"energy": np.arange(4.0), "q": np.arange(3.0)},
        "normalization": "signal",
        "run": 12.0,
        "nothing": None,
    }
    written = Measurement(
        X,
        grid,
        error=X**2,
        quantity="chi",
        units="barn/sr/meV",
        incident_energy=70.0,
        temperature=[5.0, 6.0, 7.0],
        energy_resolution=1.25,
        source="a folder/Messung 1, 5 µm.nxs",
        details=details,
    )
    write_arrays(path, written)
    read = read_arrays(path)
    for name in ("data", "error", "temperature"):
        assert_array_equal(getattr(read, name), getattr(written, name))
    for name in ("quantity", "units", "incident_energy", "energy_resolution", "source"):
        assert getattr(read, name) == getattr(written, name)
    assert_array_equal(read.details["events"], details["events"])
    assert_array_equal(read.details["edges"]["q"], details["edges"]["q"])
    assert read.details["normalization"] == "signal"
    assert read.details["run"] == 12
    assert read.details["nothing"] is None
    assert read.details.keys() == details.keys()
    write_arrays(path, read)
    assert_array_equal(read_arrays(path).details["events"], details["events"])


def test_what_a_file_cannot_keep_is_said(tmp_path):
    grid, path = GRIDS["powder"], tmp_path / "a.h5"
    measured = Measurement(
        spectra(grid),
        grid,
        energy_resolution=lambda energy: 1 + energy,
        details={"kept": 1, "who": {1, 2}, "a/b": 2},
    )
    with pytest.warns(
        MeasurementWarning,
        match=r"energy_resolution, which is a function and details\['who'\], which "
        r"is set and details\['a/b'\], a name",
    ) as caught:
        write_arrays(path, measured)
    assert caught[0].filename == __file__
    read = read_arrays(path)
    assert read.energy_resolution is None
    assert dict(read.details) == {"kept": 1}


def test_a_measurement_is_all_that_is_given(tmp_path):
    grid, path = GRIDS["powder"], tmp_path / "a.h5"
    measured = Measurement(spectra(grid), grid)
    with pytest.raises(TypeError, match="measurement must be all that is given"):
        write_arrays(path, measured, grid)
    with pytest.raises(TypeError, match=r"X must be a Measurement, .* ndarray and no"):
        write_arrays(path, measured.data)
    with pytest.raises(TypeError, match=r"path must be .* comes first.* got Measure"):
        write_arrays(measured, path)
    assert not path.exists()


def detectors(**changed):
    rng = np.random.RandomState(0)
    data = rng.uniform(size=(3, 4))
    data[1] = np.nan
    return DetectorMeasurement(
        **{
            "data": data,
            "error": data / 10,
            "incident_energy": 50.0,
            "energy_edges": [-5.0, 0.0, 10.0, 20.5, 31],
            "polar": [3.0, 10.5, np.nan],
            "azimuthal": [-170.0, 0, 1 / 3],
            "polar_width": [1.0, 0, 2],
            "azimuthal_width": [360.0, 2, 2],
            "psi": 12.5,
            "ki_over_kf_scaling": False,
            "quantity": "sqe",
            "units": "1/meV",
            "temperature": 5.0,
            "energy_resolution": 1.25,
            "source": "a.nxspe",
            "details": {"run": 3.0, "calibration": {"offset": np.arange(3.0)}},
            **changed,
        }
    )


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"error": None, "psi": None, "ki_over_kf_scaling": None, "details": {}},
        {"ki_over_kf_scaling": True, "temperature": None, "quantity": None},
    ],
)
def test_detectors_come_back_whole(tmp_path, changed):
    run, path = detectors(**changed), tmp_path / "a.h5"
    write_arrays(path, run)
    found = read(path)
    assert isinstance(found, DetectorMeasurement)
    written = run.settings()
    assert found.settings().keys() == written.keys()
    for name, value in written.items():
        if name != "details":
            assert_array_equal(getattr(found, name), value)
            assert type(getattr(found, name)) is type(value)
    if run.details:
        assert found.details["run"] == 3
        assert_array_equal(found.details["calibration"]["offset"], np.arange(3))
    with pytest.raises(TypeError, match="measurement must be all that is given"):
        write_arrays(path, run, temperature=3.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace("detectors/polar", [1.0]), r"a\.h5: polar must have shape"),
        (replace("detectors/polar", None), "/detectors/polar must be a d"),
        (
            replace("detectors/polar", np.ones(3), "rad"),
            "/detectors/polar must be .* degree, got units 'rad'",
        ),
        (
            replace("detectors/energy_edges", np.arange(4.0)),
            r"/data must have shape \(any, 3\), got \(3, 4\)",
        ),
        (
            replace("detectors/energy_edges", -np.arange(5.0)),
            r"a\.h5: energy_edges must be increasing",
        ),
        (
            replace("detectors/ki_over_kf_scaling", 2.0),
            "ki_over_kf_scaling must be 1 or 0, got 2",
        ),
        (replace("incident_energy", None), "must be known in meV, got N"),
        (
            lambda f: f["detectors"].create_group("q"),
            "DetectorMeasurement only, got q",
        ),
        (replace("detectors", None), "/detectors must be a group, found"),
    ],
)
def test_malformed_files_of_detectors_are_named(tmp_path, change, message):
    path = tmp_path / "a.h5"
    write_arrays(path, detectors())
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ValueError, match=message):
        read_arrays(path)


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions_stay_readable(tmp_path, version):
    """As written by skphonon before measurements, and before units."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {"format": "skphonon spectra", "version": version, "grid": "SpectrumGrid"}
        )
        for name, value, units in (
            ("grid/energy", ENERGY, "meV"),
            ("grid/q", Q, "1/angstrom"),
            ("grid/incident_energy", 50.0, "meV"),
            ("grid/two_theta", (3.0, 130.1), "degree"),
            ("temperature", [5.0], "K"),
        ):
            file[name] = value
            file[name].attrs["units"] = units
        file["grid/mask"] = MASK
        file["data"] = file["errors"] = np.arange(6.0).reshape(1, 3, 2)
    read = read_arrays(path)
    assert_array_equal(read.data, [np.arange(6)])
    assert_array_equal(read.error, read.data)
    assert_array_equal(read.temperature, [5])
    assert read.incident_energy == 50
    assert (read.quantity, read.units, read.energy_resolution) == (None, None, None)
    assert read.source == str(path)


def test_a_single_row_and_nothing_else(tmp_path):
    grid = GRIDS["powder"]
    write_arrays(tmp_path / "a.h5", spectra(grid)[0], grid, temperature=5)
    measured = read_arrays(tmp_path / "a.h5")
    assert_array_equal(measured.data, spectra(grid)[:1])
    assert measured.error is None
    assert measured.temperature == 5
    write_arrays(tmp_path / "a.h5", spectra(grid), grid)
    assert read_arrays(tmp_path / "a.h5").temperature is None


def test_a_file_of_another_program(tmp_path):
    """The layout of the guide, by hand, without what is optional."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["format"] = np.bytes_("skphonon spectra")
        file.attrs["version"] = np.array([1])
        file.attrs["grid"] = "CrystalGrid"
        file["grid/energy"] = [10, 20]
        file["grid/energy"].attrs["units"] = "MEV"
        file["grid/h"] = np.arange(3)
        file["grid/k"] = 0.0
        file["grid/l"] = [0.5, 1.5]
        file["grid/mask"] = np.arange(12).reshape(2, 3, 1, 2) > 0
        file["data"] = np.arange(12, dtype="f4").reshape(1, 2, 3, 1, 2)
    measured = read_arrays(tmp_path / "a.h5")
    assert_array_equal(measured.data, [np.arange(12)])
    assert_array_equal(measured.grid.mask.ravel(), np.arange(12) > 0)
    assert_array_equal(measured.grid.wavevectors[3], [1, 0, 1.5])
    assert measured.grid.lattice is None


def test_what_does_not_fit_is_not_written(tmp_path):
    grid, path = GRIDS["powder"], tmp_path / "a.h5"
    with pytest.raises(ValueError, match="one column for each of the 6 pixels"):
        write_arrays(path, np.zeros((2, 5)), grid)
    with pytest.raises(ValueError, match=r"shape of data, \(2, 6\), got \(1, 6\)"):
        write_arrays(path, np.zeros((2, 6)), grid, errors=np.zeros(6))
    with pytest.raises(
        ValueError, match=r"one for each of 2 spectra, got shape \(3,\)"
    ):
        write_arrays(path, np.zeros((2, 6)), grid, temperature=[1, 2, 3])
    with pytest.raises(
        TypeError, match="SpectrumGrid, AngleGrid, CrystalGrid, PathGrid, got str"
    ):
        write_arrays(path, np.zeros((2, 6)), "powder")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (mark("format", "other"), r"a\.h5 must be .* the attribute format 'skphonon"),
        (mark("version", 6), "1 or 2 or 3 or 4 or 5, got '6'. A newer skphonon"),
        (
            mark("grid", "Grid"),
            "one of SpectrumGrid, AngleGrid, CrystalGrid, PathGrid, detectors; got",
        ),
        (replace("grid", None), r"a\.h5: /grid must be a group, found none"),
        (replace("grid/q", None), "/grid/q must be a dataset, found none"),
        (replace("grid/q", [2.0, 1.0]), "a.h5: /grid: q must be strictly increasing"),
        (replace("grid/q", Q, "1/nm"), "/grid/q must .* 1/angstrom, got units '1/nm'"),
        (replace("grid/mask", [1, 0]), r"/grid/mask must have shape \(3, 2\), got"),
        (replace("grid/mask", np.full((3, 2), np.nan)), "/grid/mask must be 1 or 0 at"),
        (replace("data", None), "/data must be a dataset, found none"),
        (replace("data", np.ones((1, 6))), r"/data must have shape \(any, 3, 2\), got"),
        (replace("data", ["a"]), "/data must hold numbers"),
        (replace("errors", np.ones((1, 3, 2))), r"/errors must have shape \(3, 3, 2\)"),
        (
            replace("temperature", [1.0, 2.0]),
            "a.h5: temperature must be a number or one for",
        ),
        (replace("temperature", 1.0, "C"), "/temperature must .* k, got units 'C'"),
        (lambda f: f["grid"].create_group("h"), "SpectrumGrid only, got h"),
        (mark("quantity", "s"), "a.h5: quantity must be one of sqe, chi or None"),
        (replace("grid/two_theta", [3.0]), r"two_theta must be two angles, .*\(1,\)"),
    ],
)
def test_malformed_files_are_named(tmp_path, change, message):
    grid, path = GRIDS["powder"], tmp_path / "a.h5"
    X = spectra(grid)
    write_arrays(path, X, grid, errors=np.abs(X), temperature=300.0)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ValueError, match=message):
        read_arrays(path)


def test_an_angle_needs_the_incident_energy(tmp_path):
    grid, path = GRIDS["angles"], tmp_path / "a.h5"
    write_arrays(path, spectra(grid), grid)
    with h5py.File(path, "a") as file:
        del file["grid/incident_energy"]
    with pytest.raises(ValueError, match="/grid/incident_energy must be a dataset"):
        read_arrays(path)
    with h5py.File(path, "a") as file:
        file["grid/incident_energy"] = [50.0, 60.0]
    with pytest.raises(ValueError, match=r"a\.h5: /grid"):
        read_arrays(path)


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"energy,q\n")
    with pytest.raises(ValueError, match=r"got a text file that begins 'energy,q'"):
        read_arrays(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "resolution",
    [
        TabulatedResolution([0.0, 10.0, 25.0], [1.5, 1.2, 0.6]),
        PolynomialResolution([1.5, -0.02]),
        PolynomialResolution([3.5], kind="fwhm"),
    ],
)
def test_resolutions_that_are_a_table_are_kept(tmp_path, resolution):
    grid, path = GRIDS["powder"], tmp_path / "a.h5"
    measured = Measurement(spectra(grid), grid, energy_resolution=resolution)
    write_arrays(path, measured)
    assert read_arrays(path).energy_resolution == resolution
    with h5py.File(path, "a") as file:
        assert file.attrs["version"] == 5
        file["energy_resolution"].attrs["kind"] = "Other"
    with pytest.raises(ValueError, match="kind, one of TabulatedResolution, Poly"):
        read_arrays(path)


def test_lists_and_sparse_matrices_are_kept(tmp_path):
    """As readers make them: comments, runs, covariances."""
    grid, path = GRIDS["powder"], tmp_path / "a.h5"
    matrix = csr_array(np.diag([1.0, 0, 2, 0, 0, 3]))
    details = {
        "labels": ["energy meV", "", "q, in Å"],
        "one": ["only"],
        "array": np.array(["a", "bc"]),
        "runs": ({"efix": 10.0, "names": ["u", "v"]}, {"efix": 11.0}),
        "odd": [[1.0, 2.0], [3.0]],
        "numbers": [1.0, 2.0],
        "covariance": matrix,
    }
    write_arrays(path, Measurement(spectra(grid), grid, details=details))
    found = read_arrays(path).details
    assert found["labels"] == details["labels"]
    assert (found["one"], found["array"]) == (["only"], ["a", "bc"])
    assert [dict(each) for each in found["runs"]] == list(details["runs"])
    assert [each.tolist() for each in found["odd"]] == details["odd"]
    assert_array_equal(found["numbers"], [1, 2])
    assert issparse(found["covariance"])
    assert_array_equal(found["covariance"].toarray(), matrix.toarray())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace("details/m/indptr", [0, 1]), "must be a sparse matrix"),
        (replace("details/m/indices", [0, 9, 2]), "must be a sparse matrix"),
        (replace("details/m/indices", [0, 0.5, 2]), "must be a sparse matrix"),
        (replace("details/m/shape", [1e300, 3]), "must be a sparse matrix"),
        (replace("details/m/shape", [3]), "must be a sparse matrix"),
        (replace("details/m/data", None), "/details/m/data must be a dataset"),
        (lambda f: f["details/runs"].create_group("a"), "must hold a list, numbered"),
        (
            lambda f: f["details/m/shape"].attrs.__setitem__("kind", "list"),
            None,
        ),
        (
            lambda f: f["details/x"].attrs.__setitem__("kind", "list"),
            "/details/x must hold a list of texts",
        ),
    ],
)
def test_malformed_details_are_named(tmp_path, change, message):
    grid, path = GRIDS["powder"], tmp_path / "a.h5"
    details = {"m": csr_array(np.eye(3)), "runs": [{"a": 1}], "x": np.arange(3)}
    write_arrays(path, Measurement(spectra(grid), grid, details=details))
    with h5py.File(path, "a") as file:
        change(file)
    if message is None:
        read_arrays(path)
        return
    with pytest.raises(ValueError, match=message):
        read_arrays(path)


@pytest.mark.parametrize("name", ["z.npz", "zz.csv", "a.TXT", "b.mat"])
def test_the_ending_of_another_format_is_refused(tmp_path, name):
    grid = GRIDS["powder"]
    with pytest.raises(ValueError, match=r"ending of HDF5, such as \.h5, got"):
        write_arrays(tmp_path / name, spectra(grid), grid)
    assert not list(tmp_path.iterdir())


def test_details_too_deep_are_named(tmp_path):
    """What is written can be read."""
    grid, path, deep = GRIDS["powder"], tmp_path / "a.h5", {"x": 1}
    for number in range(5):
        deep = {"a": [deep]} if number % 2 else {"a": deep}
    with pytest.warns(MeasurementWarning, match=r"cannot keep details\['\w'\], which"):
        write_arrays(path, Measurement(spectra(grid), grid, details=deep))
    assert "a" in read_arrays(path).details


def test_details_are_exact(tmp_path):
    grid, path = GRIDS["powder"], tmp_path / "a.h5"
    details = {
        "run": 12345,
        "large": 2**60 + 1,
        "scaled": True,
        "not": np.array([True, False]),
        "counts": np.array([2**62 + 1, 3]),
        "small": np.array([1, 2], dtype=">u2"),
        "half": 0.5,
        "gap": [1, None, "a"],
        "none": None,
        "nothing": [],
    }
    write_arrays(path, Measurement(spectra(grid), grid, details=details))
    measured = read_arrays(path)
    found = measured.details
    for name in ("run", "large", "scaled", "half", "gap", "none"):
        assert found[name] == details[name]
        assert type(found[name]) is type(details[name])
    for name in ("not", "counts", "small"):
        assert_array_equal(found[name], details[name])
        assert found[name].dtype.kind == details[name].dtype.kind
    assert len(found["nothing"]) == 0
    assert measured.describe()["run"] == "12345"


def test_nothing_is_not_written(tmp_path):
    grid, path = GRIDS["powder"], tmp_path / "a.h5"
    with pytest.raises(ValueError, match=r"one spectrum at least, .* shape \(0, 6\)"):
        write_arrays(path, Measurement(spectra(grid), grid)[0:0])
    run = DetectorMeasurement(
        np.ones((0, 2)), incident_energy=50.0, energy_edges=[1, 2, 3], polar=[],
        azimuthal=[], polar_width=[], azimuthal_width=[],
    )  # fmt: skip
    with pytest.raises(ValueError, match="one detector and energy at least"):
        write_arrays(path, run)
    assert not path.exists()


def test_names_that_are_no_text(tmp_path):
    grid, path = GRIDS["powder"], tmp_path / "a.h5"
    source = tmp_path / "a\udcff.nxs"
    measured = Measurement(
        spectra(grid), grid, source=source, details={"a\0b": 1, "\udcff": 2}
    )
    assert measured.source == str(source)
    with pytest.warns(MeasurementWarning, match=r"'a\\x00b'\], .* no place"):
        write_arrays(path, measured)
    assert read_arrays(path).source.startswith(str(tmp_path / "a"))
    with pytest.raises(ValueError, match="source must be a text"):
        measured.replace(source=3)
