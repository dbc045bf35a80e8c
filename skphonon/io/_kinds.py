"""Kinds of files, told by first bytes and by groups: names tell nothing for sure.

The endings .nxs, .nxspe, .sqw and .h5 are each used for files of several kinds.
"""

import re
from collections.abc import Iterable
from contextlib import contextmanager
from io import IOBase
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

import h5py

from skphonon.io._hdf5 import attribute, find, names, open_hdf5, read_text
from skphonon.io._tables import is_row

__all__ = [
    "FORMAT",
    "Kind",
    "as_path",
    "identify",
    "nxspe_entry",
    "open_as",
    "require_kind",
]

FORMAT = "skphonon spectra"  # attribute of the package's own files

_HEAD = 1 << 16  # bytes that tell the kind of a file
_NPZ = re.compile(rb"PK\x03\x04.{26}[^/]{1,99}\.npy", re.DOTALL)
_XLSX = re.compile(
    rb"PK\x03\x04.{26}(?:xl/|\[Content_Types\]\.xml.{0,65536}xl/)", re.DOTALL
)
_LISTED, _DEEP = 12, 4  # datasets in a message, groups in one another
_SEEN = 100  # rows of a text, that tell whether it is a table
_ROW_OF_DETECTORS = r"[ \t]*[-+.\deE]+(?:[ \t]+[-+.\deE]+){4,6}[ \t]*\n"


class Kind(NamedTuple):
    """A kind of file, its name in a sentence, and advice on it."""

    key: str
    noun: str
    advice: str


_READ = {
    kind.key: kind
    for kind in (
        Kind(
            "arrays",
            f"a file of write_arrays, with the attribute format {FORMAT!r}",
            "Read it with skphonon.io.read_arrays.",
        ),
        Kind(
            "mdhisto",
            "a histogram of Mantid's SaveMD, with an entry MDHistoWorkspace",
            "Read it with skphonon.io.read_mdhisto.",
        ),
        Kind(
            "nxspe",
            "an NXSPE file, with an entry that has the definition 'NXSPE'",
            "Read it with skphonon.io.read_nxspe.",
        ),
        Kind(
            "processed",
            "a processed workspace of Mantid, from SaveNexusProcessed",
            "Read it with skphonon.io.read_processed.",
        ),
        Kind(
            "horace",
            "a file of Horace (.sqw or .d2d)",
            "Read it with skphonon.io.read_horace.",
        ),
        Kind(
            "npz",
            "arrays of NumPy under names (.npz)",
            "Read it with skphonon.io.read_arrays.",
        ),
        Kind("spe", "an SPE file in text", "Read it with skphonon.io.read_spe."),
        Kind(
            "grp", "a group file of DAVE (.grp)", "Read it with skphonon.io.read_dave."
        ),
        Kind(
            "spice",
            "a triple-axis scan in the SPICE format",
            "Read it with skphonon.io.read_triple_axis.",
        ),
        Kind(
            "ill",
            "a triple-axis scan in the format of the ILL",
            "Read it with skphonon.io.read_triple_axis.",
        ),
        Kind(
            "table", "a table of numbers in text", "Read it with skphonon.io.read_text."
        ),
    )
}
_UNPACK = "Unpack it first."
_BY_ARRAYS = (
    "Read its numbers into arrays, and make a Measurement of them or keep them with "
    "skphonon.io.write_arrays."
)
_OF_HDF5 = (
    "Read its datasets with h5py, and pass them to skphonon.Measurement.from_arrays."
)
_EVENTS = Kind(
    "mdevents",
    "events of Mantid's SaveMD, with an entry MDEventWorkspace",
    "Bin the events first, with MDNorm or BinMD, and save the histogram with SaveMD.",
)
_EXCEL = Kind("xlsx", "an Excel workbook", "Save it as CSV, and read that.")
_UTF16 = Kind("utf16", "a text in UTF-16", "Save it as UTF-8.")
_SCIPP = Kind(
    "scipp",
    "an object that scipp saved",
    "Load it with scipp.io.load_hdf5, and pass it to skphonon.io.from_scipp.",
)
_RAW = Kind("raw", "raw counts of a spectrometer", "Reduce it to energy transfers.")
_FORCES = Kind(
    "force_constants", "force constants of phonopy", "See ForceConstantModel."
)

_SIGNATURES = {  # first bytes of files that are no text
    b"\x0e\x03\x13\x01": Kind(
        "hdf4",
        "an older NeXus file, in HDF4",
        "Load it in the program that wrote it, and save it again.",
    ),
    b"\x06\x00\x00\x00horace": _READ["horace"],
    b"\x1f\x8b": Kind("gzip", "a file packed by gzip", _UNPACK),
    b"BZh": Kind("bzip2", "a file packed by bzip2", _UNPACK),
    b"\xfd7zXZ": Kind("xz", "a file packed by xz", _UNPACK),
    b"\x28\xb5\x2f\xfd": Kind("zstd", "a file packed by zstd", _UNPACK),
    b"PK\x03\x04": Kind(
        "zip",
        "a zip archive, such as a .pt of PyTorch",
        "Unpack it first, or read its numbers into arrays and use "
        "skphonon.io.write_arrays.",
    ),
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Kind(
        "xls",
        "a workbook of Excel or a document of Word, in the old format",
        "Save it as CSV.",
    ),
    b"\x93NUMPY": Kind("npy", "an array of NumPy (.npy)", _BY_ARRAYS),
    b"MATLAB 5.0": Kind("matlab", "a file of MATLAB (.mat)", _BY_ARRAYS),
    b"CDF": Kind("netcdf", "a netCDF file of the classic format", _BY_ARRAYS),
    b"%PDF": Kind("pdf", "a PDF document", _BY_ARRAYS),
}
_TEXTS = {  # patterns at the beginning of texts, or in a line near it
    r"\A\s*<(!doctype\s+html|html)": Kind(
        "html", "a web page", "Download the file itself."
    ),
    r"\Aversion https://git-lfs": Kind(
        "lfs", "a pointer of Git LFS, not the file", "Get the file with git lfs pull."
    ),
    r"\A\s*<\?xml": Kind("xml", "an XML document", _BY_ARRAYS),
    r"^###\s*(phi|q|energy)\s+grid": _READ["spe"],
    r"\A# number of energy transfer values": _READ["grp"],
    r"\A# scan\s*=": _READ["spice"],
    r"\AR{40,}": _READ["ill"],
    r"^phonopy:": Kind(
        "phonopy", "a file of phonopy", "See ForceConstantModel.from_phonopy."
    ),
    rf"\A\s*\d+[ \t]*\n{_ROW_OF_DETECTORS}": Kind(
        "detectors",
        "a table of detectors (.par or .phx) without intensities",
        "Pass it to skphonon.io.read_spe, as detectors, beside the SPE file of "
        "intensities.",
    ),
}  # fmt: skip


def as_path(given) -> Path:
    """Return a path, or say that something else was given."""
    if not isinstance(given, str | PathLike) or isinstance(fspath(given), bytes):
        raise TypeError(
            "The path of a file must be a str or path-like, got "
            f"{type(given).__name__}. {_instead(given)}"
        )
    return Path(given)


def _instead(given):
    if isinstance(given, bytes | PathLike):
        return "Turn it into a str with os.fsdecode."
    if isinstance(given, IOBase):
        return "Pass the path of the open file, its name."
    if isinstance(given, Iterable):
        return "Read one file at a time."
    return "Pass the path of a file, such as 'silicon.nxspe'."


def identify(path) -> Kind:
    """Return the kind of a file; OSError if there is none, or it is damaged.

    TypeError if it is no path.
    """
    found = _by_bytes(as_path(path))
    if found is None:
        with open_hdf5(path) as file:
            found = _by_groups(file)
    return found


def require_kind(path, *wanted) -> Kind:
    """Return the kind of a file if it is a wanted one, else ValueError with advice."""
    found = identify(path)
    if found.key not in wanted:
        raise _unwanted(path, found, wanted)
    return found


@contextmanager
def open_as(path, *wanted):
    """Open an HDF5 file that a reader wants, such as "arrays", "mdhisto" or "nxspe".

    A ValueError tells which other kind it is, with advice on that.
    """
    path = as_path(path)
    found = _by_bytes(path)
    if found is None:
        with open_hdf5(path) as file:
            found = _by_groups(file)
            if found.key in wanted:
                yield file
                return
    raise _unwanted(path, found, wanted)


def _unwanted(path, found, wanted):
    nouns = " or ".join(_READ[key].noun for key in wanted)
    return ValueError(f"{path} must be {nouns}, got {found.noun}. {found.advice}")


def nxspe_entry(file):
    """Return the name of the entry that says it is NXSPE, None without one."""
    for name in names(file):
        entry = find(file, name)
        if isinstance(entry, h5py.Group):
            if (read_text(entry, "definition") or "").strip().upper() == "NXSPE":
                return name
    return None


def _by_bytes(path):
    """Return the kind that the first bytes tell, None of an HDF5 file."""
    if not path.is_file():
        found = "none."
        if path.is_dir():
            found = (
                "a folder. Pass the files in it, such as "
                f"read(*sorted(Path({str(path)!r}).glob('*.nxspe')))."
            )
        raise FileNotFoundError(f"{path} must be a file, found {found}")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            # NumPy writes nothing but arrays, each in a file of its own
            if _NPZ.match(head):
                return _READ["npz"]
            return _EXCEL if kind.key == "zip" and _XLSX.search(head) else kind
    if head.startswith(h5py_signature := b"\x89HDF\r\n\x1a\n") or (
        len(head) > len(h5py_signature) and h5py.is_hdf5(path)
    ):
        return None
    if not head:
        return Kind("empty", "an empty file", "Copy it again.")
    return _by_text(head)


def _by_text(head):
    text = head.decode("utf-8", errors="replace")
    unprintable = sum(not (c.isprintable() or c in "\r\n\t\f") for c in text)
    if unprintable > 0.01 * len(text):
        begin = head[:8].hex(" ")
        return Kind("binary", f"an unknown file that begins {begin}", _BY_ARRAYS)
    text = text.replace("\r\n", "\n")
    for pattern, kind in _TEXTS.items():
        if re.search(pattern, text, re.IGNORECASE | re.MULTILINE):
            return kind
    if _is_table(text, whole=len(head) < _HEAD):
        return _READ["table"]
    line = text.strip().partition("\n")[0][:40]
    return Kind("text", f"a text file that begins {line!r}", _BY_ARRAYS)


def _is_table(text, whole):
    """Tell whether most lines that are no comment have two numbers or more.

    Of a text that goes on, the last line counts as far as it is there.
    """
    lines = [line.strip(" \r") for line in text.split("\n") if line.strip()]
    rows = [line for line in lines if line[0] not in "#%!;*/\"'"][:_SEEN]
    rows += [line for line in lines if line[0] == '"' and is_row(line)][:_SEEN]
    if not whole and len(rows) == 1:  # a row longer than what was read
        return is_row(re.sub(r"[^\s,;]{0,99}\Z", "", rows[0]))
    if not whole and len(lines) <= _SEEN:
        rows = rows[:-1]
    found = sum(map(is_row, rows))
    return found > 1 and found >= 0.5 * len(rows)


def _by_groups(file):
    """Return the kind that attributes and groups of an HDF5 file tell."""
    here = names(file)
    if attribute(file, "", "format") == FORMAT:
        return _READ["arrays"]
    if "MDHistoWorkspace" in here:
        return _READ["mdhisto"]
    if "MDEventWorkspace" in here:
        return _EVENTS
    if "scipp-version" in file.attrs:
        return _SCIPP
    if nxspe_entry(file):
        return _READ["nxspe"]
    if any(name.startswith("mantid_workspace_") for name in here):
        return _READ["processed"]
    if "force_constants" in here:
        return _FORCES
    if "raw_data_1" in here or find(file, "entry/bank1_events"):
        return _RAW
    found = list(islice(_datasets(file), _LISTED + 1))
    listed = ", ".join(found[:_LISTED]) + (" ..." if found[_LISTED:] else "")
    listed = listed or "nothing in it"
    return Kind("hdf5", f"an HDF5 file of another layout, with {listed}", _OF_HDF5)


def _datasets(group, path="", depth=0):
    """Yield paths and shapes of datasets, and empty groups, of a file."""
    for name in names(group):
        found, here = find(group, name), f"{path}{name}"
        if isinstance(found, h5py.Group):
            inner = depth < _DEEP and list(
                islice(_datasets(found, f"{here}/", depth + 1), _LISTED + 1)
            )
            yield from inner or [f"{here}/"]
        elif isinstance(found, h5py.Dataset):
            yield f"{here} {found.shape or ''}".strip()
