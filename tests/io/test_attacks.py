"""Files that are damaged or made to do harm: ValueError, OSError and nothing else."""

from collections import Counter

import h5py
import numpy as np
import pytest
from benchmarks import fuzz_readers
from measured_files import ENERGY, detectors, write_mdhisto, write_nxspe
from numpy.testing import assert_array_equal

from skphonon import SpectrumGrid, read_mdhisto, read_nxspe
from skphonon.io import read_arrays, write_arrays

EDGES = np.arange(-5.0, 40, 5)
READERS = {"arrays": read_arrays, "mdhisto": read_mdhisto, "nxspe": read_nxspe}
DATA = {
    "arrays": "data",
    "mdhisto": "MDHistoWorkspace/data/signal",
    "nxspe": "run/data/data",
}


@pytest.fixture(params=READERS)
def sound(request, tmp_path):
    """A reader, a sound file, and where its intensities are."""
    path = tmp_path / "a.h5"
    if request.param == "arrays":
        grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0, 3.0])
        write_arrays(path, np.ones(6), grid)
    elif request.param == "mdhisto":
        axes = [("|Q|", "Angstrom^-1", ""), ENERGY]
        write_mdhisto(path, axes, [[1.0, 2, 3], EDGES], np.ones((2, 8)))
    else:
        write_nxspe(path, detectors(3, 2), EDGES, *np.ones((2, 6, 8)), 50.0)
    READERS[request.param](path)
    return READERS[request.param], path, DATA[request.param]


def change(path, name, make):
    """Put something else in the place of a dataset."""
    with h5py.File(path, "a") as file:
        shape = file[name].shape
        del file[name]
        make(file, name, shape)


def test_mutated_files():
    """A short run of ``tests/benchmarks/fuzz_readers.py``, in a child process."""
    tasks = [(name, number) for name in fuzz_readers.FORMATS for number in range(60)]
    results = list(fuzz_readers.run(tasks, seed=1))
    assert len(results) == len(tasks)
    assert [each for each in results if each[1] not in fuzz_readers.ALLOWED] == []
    counts = Counter(each[1] for each in results)
    assert min(counts[kind] for kind in fuzz_readers.ALLOWED) > 10


def test_more_is_announced_than_is_there(sound):
    read, path, name = sound

    def huge(file, name, shape):
        shape = (*shape[:-2], 1 << 24, 1 << 24)
        file.create_dataset(name, shape, "f8", chunks=(1,) * (len(shape) - 1) + (8,))

    change(path, name, huge)
    with pytest.raises(
        (OSError, ValueError), match=r"bytes, in a file of|must have shape"
    ):
        read(path)


def test_what_compresses_well_is_read(tmp_path):
    """Zeros are hundreds of times smaller."""
    path, grid = (
        tmp_path / "a.h5",
        SpectrumGrid(np.arange(1000.0), np.arange(2000.0) / 100),
    )
    write_arrays(path, np.zeros(grid.n_pixels), grid)
    assert path.stat().st_size < 8 * grid.n_pixels / 100
    assert not read_arrays(path).data.any()


@pytest.mark.parametrize(
    "target",
    [h5py.ExternalLink("other.h5", "/"), h5py.SoftLink("/out/data")],
    ids=["external", "soft and external"],
)
def test_links_out_of_the_file_are_refused(sound, target):
    read, path, name = sound
    with h5py.File(path.with_name("other.h5"), "w") as other, h5py.File(path) as file:
        file.copy(name, other, "data")
    if isinstance(target, h5py.ExternalLink):
        target = h5py.ExternalLink("other.h5", "/data")

    def link(file, name, shape):
        file["out"] = h5py.ExternalLink("other.h5", "/")
        file[name] = target

    change(path, name, link)
    with pytest.raises(ValueError, match="must lie in the file itself, got a link out"):
        read(path)


def test_links_inside_the_file_are_followed(sound):
    read, path, name = sound
    expected = read(path).data
    with h5py.File(path, "a") as file:
        file["elsewhere/a"] = file[name]
        file["elsewhere/b"] = h5py.SoftLink("a")
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = h5py.SoftLink("/elsewhere/b")
        file[name].attrs.update(attributes)
    assert_array_equal(read(path).data, expected)


def test_links_to_themselves_are_refused(sound):
    read, path, name = sound
    change(
        path, name, lambda f, name, _: f.__setitem__(name, h5py.SoftLink("/" + name))
    )
    with pytest.raises(ValueError, match="must not link to itself"):
        read(path)


def test_values_in_other_files_are_refused(sound):
    read, path, name = sound
    path.with_name("secret").write_bytes(bytes(4096))

    def virtual(file, name, shape):
        layout = h5py.VirtualLayout(shape, "f8")
        layout[...] = h5py.VirtualSource("other.h5", "a", shape)
        file.create_virtual_dataset(name, layout)

    def external(file, name, shape):
        kept = [(str(path.with_name("secret")), 0, 4096)]
        file.create_dataset(name, shape, "f8", external=kept)

    for elsewhere in (virtual, external):
        change(path, name, elsewhere)
        with pytest.raises(
            ValueError, match="in the file itself, got values in another"
        ):
            read(path)


@pytest.mark.parametrize(
    "kind",
    ["S5", "c16", "V7", [("a", "f8")], h5py.string_dtype(), h5py.ref_dtype,
     h5py.vlen_dtype("f8"), h5py.regionref_dtype],
    ids=str,
)  # fmt: skip
def test_what_are_no_numbers_is_refused(sound, kind):
    read, path, name = sound
    change(path, name, lambda f, name, shape: f.create_dataset(name, shape, kind))
    with pytest.raises(ValueError, match=f"/{name} must hold numbers, got type"):
        read(path)


def test_references_as_attributes_are_refused(tmp_path):
    path = write_nxspe(
        tmp_path / "a.h5", detectors(3, 2), EDGES, *np.ones((2, 6, 8)), 50.0
    )
    with h5py.File(path, "a") as file:
        file["run/data/energy"].attrs["units"] = file.ref
    with pytest.raises(
        ValueError, match=r"text or numbers as attribute units, got type"
    ):
        read_nxspe(path)


def test_an_unknown_filter_is_named(sound, monkeypatch):
    read, path, name = sound
    change(path, name, lambda f, name, shape: f.create_dataset(
        name, shape, "f8", compression="lzf"))  # fmt: skip
    read(path)
    monkeypatch.setattr("skphonon.io._hdf5._FILTERS", {1, 2, 3})
    with pytest.raises(
        ValueError, match=r"got number 32000\. Repack it, with h5repack"
    ):
        read(path)


@pytest.fixture
def with_texts(tmp_path):
    """A file with texts of variable length, as h5py writes str: path and content."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {"format": "skphonon spectra", "version": 1, "grid": "SpectrumGrid"}
        )
        file["grid/energy"], file["grid/q"] = [10.0, 20.0], [1.0, 2.0]
        file["data"] = np.ones((1, 2, 2))
    assert read_arrays(path).data.all()
    return path, bytearray(path.read_bytes())


@pytest.mark.parametrize(
    ("free", "size"), [(True, 0), (True, 2**63), (False, 2**64 - 16), (False, 2**63)]
)
def test_a_heap_in_which_hdf5_runs_in_circles(with_texts, free, size):
    """An object of a heap that has no length, or leads out of it."""
    path, content = with_texts
    place = content.index(b"GCOL") + 16
    if free:
        content[place : place + 2] = bytes(2)
    content[place + 8 : place + 16] = size.to_bytes(8, "little")
    content[place - 9] = 255  # must be 0, but HDF5 does not look
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"a\.h5 cannot be read \(a damaged heap\)"):
        read_arrays(path)


def test_what_hdf5_raises_names_the_file(sound):
    """Bytes of the structure, each set to another number."""
    read, path, _ = sound
    content, outcomes = path.read_bytes(), Counter()
    for place in range(8, 1200, 19):
        damaged = bytearray(content)
        damaged[place] ^= 0x5A
        path.write_bytes(damaged)
        kind, message = fuzz_readers.outcome(read, path)
        outcomes[kind, str(path) in message] += 1
    assert outcomes.keys() <= {("ok", False), ("OSError", True), ("ValueError", True)}
    assert outcomes["OSError", True] > 5
