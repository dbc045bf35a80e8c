"""What a file is, by its content, and what each reader says of files of other kinds."""

import gzip
import zipfile
from time import perf_counter

import h5py
import numpy as np
import pytest

from skphonon import read_mdhisto, read_nxspe
from skphonon.io import read_arrays
from skphonon.io._kinds import identify

READERS = (read_arrays, read_mdhisto, read_nxspe)

REAL = {
    "formats/96dets.par": ("detectors", r"table of detectors \(\.par or \.phx\)"),
    "formats/det_1.phx": ("detectors", r"table of detectors \(\.par or \.phx\)"),
    "formats/CG4C_exp0442_scan0085.dat": ("spice", "triple-axis scan in the SPICE"),
    "formats/DaveAscii.grp": ("grp", "group file of DAVE"),
    "formats/Example.spe": ("spe", "SPE file in text.* skphonon.io.read_spe"),
    "formats/spe_with_NANs.spe": ("spe", "SPE file in text"),
    "formats/dnd_2d.sqw": ("horace", "file of Horace"),
    "formats/faccess_dnd_v4_sample.sqw": ("horace", "file of Horace"),
    "formats/faccess_sqw_v4_sample.sqw": ("horace", "file of Horace"),
    "formats/irs53664_graphite002_sqw.nxs": ("processed", "from SaveNexusProcessed"),
    "mari/aluminium_Ei60.nxspe": (
        "processed",
        "from SaveNexusProcessed.* skphonon.io.read_processed",
    ),
    "aluminium-arcs-50meV/simulated_1.pt": ("zip", "zip archive, .* PyTorch"),
    "la2nio4/Sqw_path2.csv": (
        "table",
        "table of numbers in text. .* skphonon.io.read_text",
    ),
    "phonopy/phonopy_params_Si.yaml": ("phonopy", "file of phonopy"),
    "phonopy/phonopy_params_NaCl-1.00.yaml.xz": ("xz", "packed by xz. Unpack it"),
    "phonopy/Ge-force_constants.hdf5": ("force_constants", "constants of phonopy"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_of_other_kinds(data_folder, name):
    key, message = REAL[name]
    path = data_folder / name
    assert identify(path).key == key
    for read in READERS:
        with pytest.raises(ValueError, match=f"{path.name} must be .* got .*{message}"):
            read(path)


def test_a_real_nxspe_file(data_folder):
    path = data_folder / "mari" / "silicon_Ei80_300K.nxspe"
    assert identify(path).key == "nxspe"
    assert read_nxspe(path).data.shape == (285, 294)
    for read in (read_arrays, read_mdhisto):
        with pytest.raises(
            ValueError, match=r"got an NXSPE file, .* with skphonon.io.read_nxspe"
        ):
            read(path)


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        (b"", "empty", "got an empty file. Copy it again"),
        (b"\x0e\x03\x13\x01" + bytes(99), "hdf4", "an older NeXus file, in HDF4. Load"),
        (
            gzip.compress(b"\x89HDF\r\n\x1a\n", mtime=0),
            "gzip",
            "packed by gzip. Unpack it first",
        ),
        (b"R" * 80 + b"\n   45367    1\n", "ill", "format of the ILL"),
        (b"<!DOCTYPE html>\n<html>", "html", "a web page. Download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "lfs", "git lfs pull"),
        (b"\x93NUMPY\x01\x00", "npy", "an array of NumPy"),
        ("1 2 3\n1 3 4\n".encode("utf-16"), "utf16", "in UTF-16. Save it as UTF-8"),
        (b"\xfe\xff\x001\x00 \x002", "utf16", "in UTF-16. Save it as UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "xls", "Save it as CSV"),
        (bytes(range(200)), "binary", "an unknown file that begins 00 01 02"),
        ("# |Q| in 1/Å\n1 2 3\n".encode(), "text", "text file that begins '# |Q| in"),
    ],
)
def test_first_bytes_tell(tmp_path, content, key, message):
    path = tmp_path / "a.nxspe"
    path.write_bytes(content)
    assert identify(path).key == key
    for read in READERS:
        with pytest.raises(ValueError, match=r"a\.nxspe must be ") as caught:
            read(path)
        assert message in str(caught.value)


TABLES = {
    "points": "q E I\n1 2 3\n1 3 4\n",
    "names in quotes": '"q","E","I"\n1,2,3\n1,3,4\n',
    "numbers in quotes": '"1","2","3"\n"1","3","4"\n',
    "decimal commas in quotes": '"1,5","2,0","3"\n"1,5","3,0","4,25"\n',
    "decimal commas": "q;E;I\n1,5;2;3\n1,5;3;4\n",
    "exponents of Fortran": "1.0D0 2.0D0 3.0-101\n1.0D0 3.0D0 4.D0\n",
    "empty cells": "q,E,I\n1,,3\n1,3,\n",
    "missing numbers": "1 2 ****\n1 3 --\n1 4 NA\n",
    "long comments": "# a line of words\n" * 3000 + "1 2 3\n1 3 4\n",
    "rows longer than the head": (("1.25 " * 20_000) + "\n") * 2,
    "a first row longer than the head": "," + ",".join(["1.25"] * 20_000) + "\n1,2\n",
    "two numbers a row, and how many": "2\n1 2\n2 3\n",
}
TEXTS = {
    "a list": "1.0\n2.0\n3.0\n",
    "a list and how long it is": "3\n12345.0\n23456.0\n34567.0\n",
    "a list of long numbers": "3\n" + "1" * 4000 + "x\n",
    "words": "one two\nthree four\n",
    "a row": "1 2 3\n",
    "digits without end": "1" * 60_000 + "x",
    "dates": "2025-11-28 12:00\n2025-11-29 12:00\n",
}


@pytest.mark.parametrize("name", [*TABLES, *TEXTS])
def test_tables_of_numbers(tmp_path, name):
    path = tmp_path / "a.csv"
    path.write_text((TABLES | TEXTS)[name])
    start = perf_counter()
    assert identify(path).key == ("table" if name in TABLES else "text")
    assert perf_counter() - start < 1


def test_a_table_of_detectors_needs_five_columns(tmp_path):
    path = tmp_path / "a.par"
    path.write_text("2\n1 2 3 4 5\n1 2 3 4 5\n")
    assert identify(path).key == "detectors"
    path.write_text("2\n1 2 3 4\n1 2 3 4\n")
    assert identify(path).key == "table"


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (["[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"], "xlsx"),
        (["xl/worksheets/sheet1.xml", "[Content_Types].xml"], "xlsx"),
        (["docProps/app.xml", "xl/workbook.xml", "[Content_Types].xml"], "xlsx"),
        (["[Content_Types].xml", "word/document.xml"], "zip"),
        (["a/b.txt"], "zip"),
    ],
)
def test_workbooks_of_excel(tmp_path, names, key):
    path = tmp_path / "a.csv"
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "<xml/>")
    assert identify(path).key == key
    if key == "xlsx":
        with pytest.raises(ValueError, match=r"an Excel workbook\. Save it as CSV"):
            read_arrays(path)


def test_what_scipp_saved(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["scipp-version"] = "25.1.0"
    with pytest.raises(ValueError, match=r"that scipp saved. Load .*io\.from_scipp"):
        read_arrays(path)


@pytest.mark.parametrize(
    ("make", "key", "message"),
    [
        (lambda f: None, "hdf5", "of another layout, with nothing in it"),
        (
            lambda f: f.create_group("b"),
            "hdf5",
            "an HDF5 file of another layout, with b/. Read its datasets with h5py",
        ),
        (lambda f: f.create_group("raw_data_1"), "raw", "raw counts of a spectrometer"),
        (lambda f: f.create_group("entry/bank1_events"), "raw", "raw counts"),
        (lambda f: f.create_group("mantid_workspace_1"), "processed", "SaveNexusProc"),
        (lambda f: f.create_group("MDEventWorkspace"), "mdevents", "MDNorm or BinMD"),
        (
            lambda f: f.create_group("MDHistoWorkspace"),
            "mdhisto",
            "with skphonon.io.read_mdhisto",
        ),
        (lambda f: f.create_group("definition/definition"), "hdf5", "with definition"),
        (
            lambda f: f.create_dataset("a/definition", data=[3]),
            "hdf5",
            "with a/definition (1,)",
        ),
        (
            lambda f: f.attrs.__setitem__("format", "skphonon spectra"),
            "arrays",
            "Read it with skphonon.io.read_arrays",
        ),
    ],
)
@pytest.mark.parametrize("userblock", [0, 512])
def test_groups_tell(tmp_path, make, key, message, userblock):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w", userblock_size=userblock) as file:
        make(file)
    assert identify(path).key == key
    wrong = {read for read in READERS if read.__name__[5:] != key}
    for read in wrong:
        with pytest.raises(ValueError, match=r"a\.nxs must be ") as caught:
            read(path)
        assert message in str(caught.value)


def test_ending_does_not_matter(tmp_path):
    """A group named `definition` before the entry is no obstacle."""
    with h5py.File(tmp_path / "a.sqw", "w") as file:
        file.create_group("a/definition")
        file["b/definition"] = np.array([b"NXSPE"])
    assert identify(tmp_path / "a.sqw").key == "nxspe"


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found a folder\. .*glob\('\*"):
        identify(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere must be a file, found none"):
        identify(tmp_path / "nowhere")
