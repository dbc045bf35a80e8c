"""One function for any file: what it says of what is none."""

import h5py
import numpy as np
import pandas as pd
import pytest

import skphonon
from skphonon import io, read
from skphonon.io._hdf5 import open_hdf5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", "b"], r"got list\. Take the paths out of it: skphonon\.read\(\*paths\)"),
        (iter(["a"]), r"Take the paths out of it"),
        (pd.DataFrame({"q": [1.0]}), r"got DataFrame\. Call skphonon\.io\.from_pandas"),
        (np.zeros(3), r"got ndarray\. Call skphonon\.Measurement\.from_arrays"),
        ({"q": 1}, r"got dict\. Call skphonon\.Measurement\.from_arrays"),
        (None, r"got NoneType\. Pass the path of a file"),
        (b"a", r"got bytes\. Turn it into a str"),
        (
            skphonon.Measurement.from_arrays([1.0], [1.0], [[1.0]]),
            "got Measurement. It is a measurement already",
        ),
    ],
)
def test_what_is_no_path(given, message):
    with pytest.raises(TypeError, match=message):
        skphonon.read(given)


def test_an_array_of_scipp_is_no_path():
    sc = pytest.importorskip("scipp")
    with pytest.raises(
        TypeError, match=r"got DataArray\. Call skphonon\.io\.from_scipp"
    ):
        skphonon.read(sc.DataArray(sc.scalar(1.0)))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"a folder\. .* read\(\*sorted\(Path\("
    ):
        skphonon.read(tmp_path)


def test_errors_of_hdf5_name_the_file(tmp_path):
    path = tmp_path / "a.h5"
    h5py.File(path, "w").close()
    with pytest.raises(ValueError, match=r"a\.h5: Insufficient precision"):
        with open_hdf5(path):
            raise ValueError("Insufficient precision in available types")


@pytest.mark.parametrize(
    "reader",
    [
        io.read_arrays, io.read_dave, io.read_horace, io.read_mdhisto, io.read_nxspe,
        io.read_processed, io.read_spe, io.read_text, io.read_triple_axis,
    ],
)  # fmt: skip
@pytest.mark.parametrize("given", [3, None, b"a.nxspe", ["a", 3], {"a": 1}.values()])
def test_what_is_no_path_is_named(reader, given):
    more = {"incident_energy": 50.0} if reader is io.read_spe else {}
    with pytest.raises(TypeError, match="must be a str or path-like, got"):
        reader(given, **more)


def test_an_open_file_is_no_path(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Q (1/A),E (meV),I\n1,5,2\n")
    with path.open() as file:
        for reader in (read, io.read_text, io.read_triple_axis):
            with pytest.raises(TypeError, match="Pass the path of the open file"):
                reader(file)
    with pytest.raises(TypeError, match="must be a str or path-like, got int"):
        io.read_text(path, error_path=3)
