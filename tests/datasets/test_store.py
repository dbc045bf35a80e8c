"""Training sets in files: the same spectra whatever interrupts their writing."""

import copy
import dataclasses
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline

from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model
from skphonon.datasets import (
    PowderSpectraStore,
    make_powder_spectra,
    open_powder_spectra,
    write_powder_spectra,
)
from skphonon.learning import ForceConstantRegressor, Trainer, VAEFeatureExtractor
from skphonon.preprocessing import MaskedSpectrumPreprocessor


class PeakSimulator(BaseEstimator):
    """A peak that moves and widens: a simulator that costs nothing."""

    parameter_names = ("centre", "width")
    reference = np.array([20.0, 5.0])

    def __init__(self, grid=None, height=1.0, profile=None, pause=0.0, fail_after=None):
        self.grid = grid
        self.height = height
        self.profile = profile
        self.pause = pause
        self.fail_after = fail_after

    def simulate(self, parameters):
        time.sleep(self.pause)
        if self.fail_after is not None:
            self.n_calls_ = getattr(self, "n_calls_", 0) + 1
            if self.n_calls_ > self.fail_after:
                raise KeyboardInterrupt
        centre, width = np.asarray(parameters).T[:, :, None, None]
        energy, q = self.grid.axes()
        x = (energy[:, None] - centre) / width
        images = self.height * np.exp(-(x**2)) * (1 + q)
        return np.where(self.grid.mask, images, np.nan).reshape(len(images), -1)


@dataclasses.dataclass
class Profile:
    shape: str
    widths: list


def gaussian(x):
    return np.exp(-(x**2))


@pytest.fixture
def simulator():
    mask = np.ones((9, 5), dtype=bool)
    mask[0, :3] = False
    return PeakSimulator(SpectrumGrid(np.arange(1, 46, 5.0), np.arange(5.0), mask=mask))


@pytest.fixture
def store(tmp_path, simulator):
    """130 spectra in shards of 64, 64 and 2."""
    return write_powder_spectra(
        tmp_path / "store", simulator, 130, noise=0.1, random_state=3, shard_size=64
    )


def contents(folder):
    return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


# What is written


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_spectra_are_those_made_in_memory(tmp_path, simulator, dtype):
    X, y = make_powder_spectra(simulator, 130, noise=0.1, spread=0.3, random_state=3)
    store = write_powder_spectra(
        tmp_path, simulator, 130, noise=0.1, spread=0.3, random_state=3, dtype=dtype
    )
    stored, stored_y = store.load()
    assert stored.dtype == dtype
    assert_array_equal(stored, X.astype(dtype))
    assert_array_equal(stored_y, y)


def test_shard_size_and_jobs_change_no_spectrum(tmp_path, simulator):
    # The simulator is evaluated in other batches: equal up to the order of its sums.
    X, y = make_powder_spectra(simulator, 50, noise=0.1, random_state=0)
    for name, options in {"a": {"shard_size": 7}, "b": {"n_jobs": 2}}.items():
        store = write_powder_spectra(
            tmp_path / name,
            simulator,
            50,
            noise=0.1,
            random_state=0,
            dtype="float64",
            **options,
        )
        assert_allclose(store.load()[0], X, rtol=1e-13)
        assert_array_equal(store.y, y)


def test_powder_simulator_and_given_parameters(tmp_path):
    grid = SpectrumGrid(
        np.arange(10, 45, 5.0), np.arange(1, 9, 1.0), incident_energy=50.0
    )
    simulator = PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.54, temperature=50.0
    )
    rows = simulator.reference * np.array([[0.9], [1.0], [1.1]])
    store = write_powder_spectra(tmp_path, simulator, parameters=rows, dtype="float64")
    X, y = store[1:]
    assert_array_equal(y, rows[1:])
    assert_allclose(X, simulator.simulate(rows[1:]), rtol=1e-10)
    settings = store.settings["simulator"]
    assert settings["temperature"] == 50.0
    assert settings["model"]["symbol"] == "Al"


def test_progress_starts_at_what_exists(tmp_path, simulator, capsys):
    arguments = {"n_samples": 20, "random_state": 0, "shard_size": 10}
    write_powder_spectra(tmp_path, simulator, **arguments)
    assert capsys.readouterr().err == ""
    (tmp_path / "shard-00001.h5").unlink()
    write_powder_spectra(tmp_path, simulator, **arguments, verbose=1)
    progress = capsys.readouterr().err
    assert "10/20" in progress
    assert "20/20" in progress
    assert " 0/20" not in progress


# Interruptions

KILLED_WRITERS = """
import os, random, signal, sys, time
from skphonon.datasets import write_powder_spectra
from test_store import killed_arguments

begun = time.monotonic()
write_powder_spectra(sys.argv[1] + "-timed", **killed_arguments())
whole = time.monotonic() - begun  # on this machine, as busy as it is
moments = random.Random(0)
for attempt in range(200):
    writer = os.fork()
    if writer == 0:
        write_powder_spectra(sys.argv[1], **killed_arguments())
        os._exit(0)
    time.sleep(moments.uniform(0.0, whole / 4))
    os.kill(writer, signal.SIGKILL)
    if os.waitpid(writer, 0)[1] == 0:
        break
print(attempt)
"""


def killed_arguments(pause=0.002):
    grid = SpectrumGrid(np.arange(1, 101, 1.0), np.arange(20.0))
    return {
        "simulator": PeakSimulator(grid, pause=pause),
        "n_samples": 200,
        "noise": 0.1,
        "random_state": 0,
        "shard_size": 16,
    }


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_doubled(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WRITERS, str(killed)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3  # or the test tests nothing
    write_powder_spectra(killed, **killed_arguments())
    write_powder_spectra(whole, **killed_arguments())
    assert contents(killed) == contents(whole)
    assert len(open_powder_spectra(killed)) == 200


def test_keyboard_interrupt_leaves_what_is_finished(tmp_path, simulator):
    # The setting that interrupts is one of the simulator: it has to stay the same.
    interrupted = clone(simulator).set_params(fail_after=3)
    arguments = {"n_samples": 50, "random_state": 0, "shard_size": 10}
    with pytest.raises(KeyboardInterrupt):
        write_powder_spectra(tmp_path / "a", interrupted, **arguments)
    assert len(list((tmp_path / "a").iterdir())) == 4  # manifest, three shards
    fresh = clone(interrupted)
    write_powder_spectra(tmp_path / "a", fresh, **arguments)
    assert fresh.n_calls_ == 2
    write_powder_spectra(tmp_path / "b", simulator, **arguments)
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert {k: v for k, v in a.items() if "shard" in k} == {
        k: v for k, v in b.items() if "shard" in k
    }


def test_full_disk_leaves_what_is_finished(tmp_path, simulator):
    resource = pytest.importorskip("resource")
    arguments = {"n_samples": 300, "random_state": 0, "noise": 0.1, "shard_size": 100}
    whole = write_powder_spectra(tmp_path / "whole", simulator, **arguments)
    limit = (whole.path / "manifest.json").stat().st_size + 100
    assert limit < (whole.path / "shard-00000.h5").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_powder_spectra(tmp_path / "full", simulator, **arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [f.name for f in (tmp_path / "full").iterdir()] == ["manifest.json"]
    write_powder_spectra(tmp_path / "full", simulator, **arguments)
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


def test_unfinished_files_are_ignored_and_removed(tmp_path, store, simulator):
    expected = contents(store.path)
    (store.path / "shard-00001.h5").unlink()
    (store.path / ".shard-00001.h5.0.part").write_bytes(b"half a sha")
    with pytest.raises(ValueError, match="1 of 3 shards are missing"):
        open_powder_spectra(store.path)
    write_powder_spectra(
        store.path, simulator, 130, noise=0.1, random_state=3, shard_size=64
    )
    assert contents(store.path) == expected
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".manifest.json.0.part").write_bytes(b"{")
    write_powder_spectra(tmp_path / "begun", simulator, 3)
    assert set(contents(tmp_path / "begun")) == {"manifest.json", "shard-00000.h5"}


def test_two_writers_at_once(tmp_path):
    write = partial(write_powder_spectra, tmp_path / "both", **killed_arguments())
    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    write_powder_spectra(tmp_path / "one", **killed_arguments())
    assert contents(tmp_path / "both") == contents(tmp_path / "one")


def test_a_seed_that_was_drawn_is_kept(tmp_path, simulator):
    arguments = {"n_samples": 20, "noise": 0.1, "shard_size": 10}
    write_powder_spectra(tmp_path / "a", simulator, **arguments)
    expected = contents(tmp_path / "a")
    (tmp_path / "a" / "shard-00001.h5").unlink()
    write_powder_spectra(tmp_path / "a", simulator, **arguments)
    assert contents(tmp_path / "a") == expected
    write_powder_spectra(tmp_path / "b", simulator, **arguments)
    assert contents(tmp_path / "b") != expected


# Settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_samples": 131}, "n_samples is 130 there, 131 asked for"),
        ({"spread": 0.4}, "spread is 0.5 there, 0.4 asked for"),
        ({"noise": 0.2}, "noise is 0.1 there, 0.2 asked for"),
        ({"random_state": 4}, "random_state is 3 there, 4 asked for"),
        ({"shard_size": 65}, "shard_size is 64 there, 65 asked for"),
        ({"dtype": "float64"}, "dtype is 'float32' there, 'float64' asked for"),
        ({"parameters": np.ones((130, 2))}, "parameters is '130 x 2 array, sha256 "),
        ({"simulator__height": 2}, r"simulator.height is 1.0 there, 2 asked for\. "),
        ({"simulator__profile": gaussian}, "'test_store.gaussian' asked"),
        ({"simulator__grid__incident_energy": 50}, "grid.incident_energy is None the"),
        ({"simulator__grid__q": np.arange(5) / 2}, r"grid.q is \[0.0, 1.0, 2.0, 3.0"),
        (
            {"simulator__grid__mask": np.ones((9, 5), dtype=bool)},
            "simulator.grid.mask is '9 x 5 array, sha256 ",
        ),
    ],
)
def test_other_settings_are_refused_by_name(store, simulator, changes, message):
    arguments = {"n_samples": 130, "noise": 0.1, "random_state": 3, "shard_size": 64}
    inner = {k.removeprefix("simulator__"): v for k, v in changes.items() if "__" in k}
    outer = {k: v for k, v in changes.items() if "__" not in k}
    of_grid = {k.removeprefix("grid__"): v for k, v in inner.items() if "__" in k}
    grid = simulator.grid.replace(**of_grid)
    settings = {k: v for k, v in inner.items() if "__" not in k}
    simulator.set_params(grid=grid, **settings)
    before = contents(store.path)
    with pytest.raises(ValueError, match=message):
        write_powder_spectra(store.path, simulator, **arguments | outer)
    assert contents(store.path) == before


def test_another_version_is_refused_but_read(store, simulator, monkeypatch):
    monkeypatch.setattr("skphonon.datasets._store_writing.__version__", "99.0")
    message = r"begun by skphonon .*, this is 99\.0.*Write to a new folder"
    with pytest.raises(ValueError, match=message) as raised:
        write_powder_spectra(
            store.path, simulator, 130, noise=0.1, random_state=3, shard_size=64
        )
    assert "Ask for the same" not in str(raised.value)
    assert len(open_powder_spectra(store.path)) == 130


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (gaussian, gaussian, np.polyval),
        (partial(gaussian, 1.0), partial(gaussian, 1), partial(gaussian, 2.0)),
        (Profile("a", [1, 2]), Profile("a", (1.0, 2.0)), Profile("a", [1, 3])),
        ({"a": [None, "b"]}, {"a": (None, "b")}, {"a": [None, "c"]}),
        (np.arange(100.0), list(range(100)), np.arange(1, 101.0)),
        (np.float64(np.nan), np.nan, 0.0),
        ([[1.0], [1.0, 2.0]], [(1,), (1, 2)], [[1.0], [1.0, 3.0]]),
        (Path("a"), Path("a"), Path("b")),
        (True, np.bool_(True), False),
    ],
)
def test_settings_are_compared_by_what_they_mean(tmp_path, simulator, one, same, other):
    def write(profile):
        with_profile = clone(simulator).set_params(profile=profile)
        return write_powder_spectra(tmp_path, with_profile, 2, random_state=0)

    write(one)
    write(same)
    with pytest.raises(ValueError, match=r"simulator\.profile"):
        write(other)


@pytest.mark.parametrize(
    "nameless", [lambda x: x, Path().exists, object(), {1, 2}, [gaussian, {1}]]
)
def test_settings_that_cannot_be_compared_are_refused(tmp_path, simulator, nameless):
    simulator.set_params(profile=nameless)
    with pytest.raises(TypeError, match=r"The setting simulator\.profile.* must be a"):
        write_powder_spectra(tmp_path / "new", simulator, 3)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give n_samples"),
        ({"n_samples": 3, "noise": -1.0}, "noise must not be negative"),
        ({"n_samples": 3, "shard_size": 0}, "shard_size must be a positive integer"),
        ({"n_samples": 3, "dtype": "int8"}, "float32, float64, got 'int8'"),
        (
            {"n_samples": 3, "random_state": np.random.RandomState(0)},
            "random_state must be an int or None",
        ),
    ],
)
def test_bad_requests_leave_no_folder(tmp_path, simulator, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_powder_spectra(tmp_path / "new", simulator, **arguments)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("thesis.tex", "", r"must be empty or hold a store, got 'thesis\.tex'"),
        ("manifest.json", "{}", "must be a manifest of 'skphonon powder spectra"),
        ("manifest.json", "not json", "is not JSON"),
    ],
)
def test_other_folders_are_left_alone(tmp_path, simulator, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        write_powder_spectra(tmp_path, simulator, 3)
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {name: content}


def test_a_file_is_no_folder(tmp_path, simulator):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="must be a folder, got a file"):
        write_powder_spectra(tmp_path / "file", simulator, 3)


# Reading


def test_a_store_says_what_it_holds(store, simulator):
    again = open_powder_spectra(str(store.path))
    for opened in (store, again, pickle.loads(pickle.dumps(store))):
        assert isinstance(opened, PowderSpectraStore)
        assert len(opened) == opened.n_samples == 130
        assert opened.shape == (130, 45)
        assert opened.dtype == np.float32
        assert opened.parameter_names == ["centre", "width"]
        assert opened.y.shape == (130, 2)
        assert "shape=(130, 45)" in repr(opened)
        for axis, expected in zip(
            opened.grid.axes(), simulator.grid.axes(), strict=True
        ):
            assert_array_equal(axis, expected)
        assert_array_equal(opened.grid.mask, simulator.grid.mask)


@pytest.mark.parametrize(
    "rows",
    [
        slice(None),
        slice(10),
        slice(60, 70),
        slice(-5, None),
        slice(64, 128),
        slice(9, 9),
    ],
)
def test_slices_are_those_of_the_whole(store, rows):
    X, y = store.load()
    part, part_y = store[rows]
    assert_array_equal(part, X[rows])
    assert_array_equal(part_y, y[rows])


@pytest.mark.parametrize("rows", [3, slice(0, 9, 2), [1, 2]])
def test_only_consecutive_spectra_are_given(store, rows):
    with pytest.raises(TypeError, match="consecutive"):
        store[rows]


@pytest.mark.parametrize("batch_size", [1, 20, 64, 100, 130, 1000])
def test_batches_hold_everything_once(store, batch_size):
    X, y = store.load()
    batches = list(store.batches(batch_size))
    assert {len(part) for part, _ in batches[:-1]} <= {batch_size}
    assert_array_equal(np.concatenate([part for part, _ in batches]), X)
    assert_array_equal(np.concatenate([part_y for _, part_y in batches]), y)


def test_shuffled_batches_hold_everything_once(store):
    def run(seed):
        X, y = zip(*store.batches(20, shuffle=True, random_state=seed), strict=True)
        return np.concatenate(X), np.concatenate(y)

    X, y = store.load()
    order = np.argsort(y[:, 0])
    mixed, mixed_y = run(0)
    assert not np.array_equal(mixed_y, y)
    assert_array_equal(mixed[np.argsort(mixed_y[:, 0])], X[order])
    assert_array_equal(run(0)[0], mixed)
    assert not np.array_equal(run(1)[0], mixed)


def test_impossible_requests_are_named(store):
    with pytest.raises(ValueError, match="between 1 and the 130 spectra"):
        store.load(131)
    with pytest.raises(ValueError, match="batch_size must be positive, got 0"):
        next(store.batches(0))
    with pytest.raises(ValueError, match="holds no store"):
        open_powder_spectra(store.path / "elsewhere")


def test_another_kind_of_grid_is_not_kept(tmp_path, simulator):
    class OtherGrid(SpectrumGrid):
        pass

    simulator.set_params(grid=OtherGrid([1.0, 2.0], [0.0]))
    assert write_powder_spectra(tmp_path, simulator, 2).grid is None


def test_a_damaged_shard_is_named_and_can_be_replaced(store, simulator):
    file = store.path / "shard-00001.h5"
    sound = file.read_bytes()
    file.write_bytes(sound[:-100])
    with pytest.raises(OSError, match=r"shard-00001\.h5 cannot be read .* Remove it"):
        store.load()
    with h5py.File(store.path / "shard-00000.h5") as shard:
        offset = shard["X"].id.get_chunk_info(0).byte_offset
    damaged = bytearray((store.path / "shard-00000.h5").read_bytes())
    damaged[offset + 50] ^= 1
    (store.path / "shard-00000.h5").write_bytes(damaged)
    with pytest.raises(OSError, match=r"shard-00000\.h5 cannot be read .* Remove it"):
        store[:1]
    file.unlink()
    write_powder_spectra(
        store.path, simulator, 130, noise=0.1, random_state=3, shard_size=64
    )
    assert file.read_bytes() == sound


ODD = [None, True, 0, -5, 1.5, 10**400, "floatabc", [], [[]], ["a", 1], {}, {"a": 1}]


def entries_of(mapping, above=()):
    for name, value in mapping.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from entries_of(value, (*above, name))


def damaged_manifests(manifest):
    """Yield copies in which an entry is missing, odd or one too many."""
    for *above, name in entries_of(manifest):
        for odd in [*ODD, "missing", "more"]:
            damaged = copy.deepcopy(manifest)
            part = damaged
            for key in above:
                part = part[key]
            if odd == "missing":
                del part[name]
            elif odd == "more":
                part["unknown"] = 1
            else:
                part[name] = odd
            yield damaged


def test_whatever_a_manifest_holds_is_read_or_refused(tmp_path, simulator):
    store = write_powder_spectra(tmp_path, simulator, 5, random_state=0, shard_size=3)
    X, y = store.load()
    file = tmp_path / "manifest.json"
    refused = 0
    for damaged in damaged_manifests(json.loads(file.read_text())):
        file.write_text(json.dumps(damaged))
        try:
            opened = open_powder_spectra(tmp_path)
            parts = zip(*opened.batches(2), strict=True)
            batches = [np.concatenate(part) for part in parts]
            rows = opened.load()
        except (ValueError, OSError):
            refused += 1
            continue
        assert_array_equal(batches[0], X)  # what describes the simulator is not needed
        assert_array_equal(rows[1], y)
    assert refused > 100


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_samples", "130", r"hold n_samples, a positive integer; got '130'"),
        ("n_samples", 10**12, r"is not complete: 15624999997 of 15625000000 shards"),
        ("n_samples", 192, r"shard-00002\.h5 .* 64 rows of .* got .* \(2, "),
        ("n_samples", 129, r"shard-00002\.h5 .* 1 rows of .* got .* \(2, "),
        ("shard_size", 0, r"hold shard_size, a positive integer; got 0"),
        ("shard_size", -5, r"hold shard_size, a positive integer; got -5"),
        ("dtype", "floatabc", r"hold dtype, one of float32, float64; got 'floatabc'"),
        ("dtype", "float64", r"64 rows of float64 in 45 columns, .* got float32"),
        ("parameter_names", None, r"hold parameter_names, a list of names; got None"),
        ("parameter_names", ["a"], r"float64 in 1 columns, .* \(64, 2\)"),
    ],
)
def test_a_damaged_manifest_is_refused_by_name(store, name, value, message):
    file = store.path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["settings"][name] = value
    file.write_text(json.dumps(manifest))
    with pytest.raises((ValueError, OSError), match=message):
        open_powder_spectra(store.path).load()
    with pytest.raises((ValueError, OSError), match=message):
        list(open_powder_spectra(store.path).batches(100))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unknown": 1}, "unknown"),
        ({"mask": ["11"]}, "mask"),
        ({"q": [0.0, 1.0], "mask": None}, r"in 18 columns, .* \(64, 45\)"),
        ({"energy": "a"}, "settings of a SpectrumGrid"),
    ],
)
def test_a_damaged_grid_is_refused(store, change, message):
    file = store.path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["grid"].update(change)
    file.write_text(json.dumps(manifest))
    with pytest.raises((ValueError, OSError), match=message):
        open_powder_spectra(store.path)


def test_a_shard_of_something_else_is_refused(store):
    def replace(name, value):
        with h5py.File(store.path / "shard-00001.h5", "a") as file:
            del file[name]
            if value is None:
                file.create_group(name)
            else:
                file[name] = value

    for name, value, got in [
        ("X", None, "got a group"),
        ("X", np.float32(1), r"got float32 of shape \(\)"),
        ("X", np.ones((64, 44), np.float32), r"got float32 of shape \(64, 44\)"),
        ("X", np.ones((0, 45), np.float32), r"got float32 of shape \(0, 45\)"),
    ]:
        replace(name, value)
        with pytest.raises(OSError, match=rf"shard-00001\.h5 cannot be .* {got}"):
            store.load()
    replace("X", np.ones((64, 45), np.float32))
    replace("y", np.full((64, 2), b"a"))
    with pytest.raises(OSError, match=r"y must hold 64 rows of float64 in 2 columns"):
        list(store.batches(9))


def test_manifest_is_read_by_people(store):
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert manifest["grid"]["energy"] == list(range(1, 46, 5))
    assert manifest["grid"]["mask"][0] == "00011"
    assert manifest["settings"]["simulator"]["class"].endswith("PeakSimulator")


# Learning


def test_training_batch_by_batch(store):
    preprocessor = MaskedSpectrumPreprocessor().fit(store.load(64)[0])
    extractor = VAEFeatureExtractor(
        3,
        compression=8,
        noise=0.05,
        trainer=Trainer(fine_tune_epochs=2, fine_tune_lr=5e-3, batch_size=16),
        random_state=0,
    )
    in_memory = clone(extractor)
    for epoch in range(10):
        for X, _ in store.batches(64, shuffle=True, random_state=epoch):
            if len(X) > 3:
                extractor.partial_fit(preprocessor.transform(X))
    X = store.load()[0]
    for epoch in range(10):
        rng = np.random.RandomState(epoch)
        shards = [np.arange(130)[k * 64 :][:64] for k in rng.permutation(3)]
        order = np.concatenate([rows[rng.permutation(len(rows))] for rows in shards])
        for rows in (order[:64], order[64:128]):
            in_memory.partial_fit(preprocessor.transform(X[rows]))
    Z = preprocessor.transform(X)
    assert_array_equal(extractor.transform(Z), in_memory.transform(Z))
    # Better than the mean spectrum for everything; the best line does no better.
    error = np.square(Z - Z.mean(axis=0)).mean() / np.square(Z).mean()
    line = PCA(1).fit(Z)
    line_error = np.square(Z - line.inverse_transform(line.transform(Z))).mean()
    assert 1 - extractor.score(Z) < 0.3 * error
    assert 1 - extractor.score(Z) < line_error / np.square(Z).mean()


def test_regressor_learns_from_codes_of_what_is_not_in_memory(store):
    front = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(
            3, compression=8, noise=0.05, trainer=Trainer(max_epochs=30), random_state=0
        ),
    )
    front.fit(store.load(100)[0])
    codes = np.concatenate([front.transform(X) for X, _ in store.batches(32)])
    regressor = ForceConstantRegressor(
        (50, 50),
        noise=0.1,
        loss="mse",
        trainer=Trainer(batch_size=32, max_epochs=100),
        random_state=0,
    )
    inverter = make_pipeline(
        FrozenEstimator(front), FrozenEstimator(regressor.fit(codes, store.y))
    )
    X, y = store.load()
    prediction, std = inverter.predict(X, return_std=True)
    assert_allclose(codes, front.transform(X), rtol=1e-4, atol=1e-5)  # float32
    assert r2_score(y, prediction) > 0.5  # predicting the mean scores 0
    assert std.shape == y.shape
