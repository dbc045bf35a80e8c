"""Model files: what comes back, and what cannot be saved."""

import os
import pickle
import re
import subprocess
import sys
from collections import OrderedDict
from importlib import import_module
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from forging import parts_of
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import skphonon._versioned as persistence
from skphonon import (
    LeastSquaresInverter,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon._versioned import Immutable
from skphonon.persistence import (
    TRUSTED_TYPES,
    VersionMismatchWarning,
    describe,
    load_model,
    save_model,
)
from skphonon.persistence._archive import PROVENANCE
from skphonon.physics import ForceConstantPrior


class Box(TransformerMixin, BaseEstimator):
    """Hold anything: a class of the user's own."""

    def __init__(self, content=None):
        self.content = content

    def fit(self, X, y=None):
        return self


# Models come back


def test_a_model_is_the_same_in_another_process(inverter, spectra, content, tmp_path):
    X, _ = spectra
    (tmp_path / "model.skops").write_bytes(content)
    joblib.dump(inverter, tmp_path / "model.joblib")
    np.save(tmp_path / "X.npy", X)
    script = (
        "import joblib, warnings, numpy as np\n"
        "warnings.simplefilter('error', UserWarning)\n"
        "from skphonon.persistence._model_cards import describe\n"
        "from skphonon.persistence._model_files import load_model\n"
        "models = load_model('model.skops'), joblib.load('model.joblib')\n"
        "X = np.load('X.npy')\n"
        "np.save('y.npy', [m.predict(X, return_std=True) for m in models])\n"
        "print(*map(describe, models), sep='\\n---\\n')"
    )
    cards = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    here = inverter.predict(X, return_std=True)
    for there in np.load(tmp_path / "y.npy"):
        assert_array_equal(there, here)
    assert cards.strip().split("\n---\n") == [describe(inverter)] * 2


def test_threads_change_rounding_alone(inverter, spectra):
    """Single precision has 24 bits; the docs say 1e-7 of the largest constant."""
    X, found = spectra[0], []
    n_threads = torch.get_num_threads()
    try:
        for n in (1, 1, 2):
            torch.set_num_threads(n)
            found.append(inverter.predict(X))
    finally:
        torch.set_num_threads(n_threads)
    assert_array_equal(found[0], found[1])
    size = np.abs(found[0]).max()
    assert_allclose(found[2], found[0], rtol=0, atol=3e-6 * size)
    alone = np.vstack([inverter.predict(row[None]) for row in X])
    assert_allclose(alone, found[0], rtol=0, atol=3e-6 * size)


def test_training_continues_where_it_was(inverter, spectra, content, path):
    """Optimiser and random numbers travel too."""
    path.write_bytes(content)
    models = pickle.loads(pickle.dumps(inverter)), load_model(path)
    X = inverter[0].transform(spectra[0])
    codes = [model[1].partial_fit(X).transform(X) for model in models]
    assert_array_equal(*codes)


def test_models_of_scikit_learn_come_back(spectra, path):
    X, y = spectra
    front = make_pipeline(MaskedSpectrumPreprocessor(), StandardScaler(), PCA(5))
    ridge = TransformedTargetRegressor(Ridge(), transformer=StandardScaler())
    model = make_pipeline(FrozenEstimator(front.fit(X)), ridge).fit(X, y)
    save_model(model, path)
    loaded = load_model(path)
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert_array_equal(clone(loaded).fit(X, y).predict(X), model.predict(X))


def test_a_simulator_comes_back(path):
    grid = SpectrumGrid([10.0, 20.0, 30.0], [1.0, 2.0, 3.0], incident_energy=50.0)
    simulator = PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.54, mesh=6
    )
    save_model(simulator, path)
    loaded = load_model(path)
    parameters = simulator.reference * 1.1
    assert_array_equal(loaded.simulate(parameters), simulator.simulate(parameters))


def test_a_model_of_a_gpu_loads_without_one(inverter, spectra, path):
    X, _ = spectra
    model = pickle.loads(pickle.dumps(inverter))
    model.set_params(vaefeatureextractor__trainer__device="cuda")
    model.set_params(forceconstantregressor__trainer__device="cuda")
    save_model(model, path)
    # A GPU, should one be here, rounds otherwise.
    assert_allclose(load_model(path).predict(X), inverter.predict(X), rtol=1e-4)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**70,
        [1, (2.5, "ä"), []],
        [float("inf"), -0.0, 1e-320],
        {"a.b": np.arange(3), "a": {"b": np.arange(4)}},
        {1: "int", "2": "str", 0.1: {}},
        {"content": [1], "__class__": "Ridge", "file": "1.npy"},  # looks like a node
        np.float64(0.1),
        np.bool_(True),
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.empty((0, 3)),
        np.array([]),
        np.array(["x", "yz"], dtype=object),
        np.array(["x", "yz"]),
        np.array([1j]),
        np.array([(1, 2.0)], dtype=[("a", ">i4"), ("b", "f8")]),
    ],
    ids=repr,
)
def test_attributes_come_back(value, path):
    save_model(Box(value), path, trusted=[Box])
    found = load_model(path, trusted=[Box]).content
    assert type(found) is type(value)
    assert repr(found) == repr(value)
    if isinstance(value, np.ndarray):
        assert_array_equal(found, value, strict=True)


def test_ordered_dicts_and_columns_first(path):
    columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    save_model(Box(OrderedDict(b=columns, a=1)), path, trusted=[Box])
    found = load_model(path, trusted=[Box]).content
    assert list(found) == ["b", "a"]
    assert found["b"].flags.f_contiguous
    assert_array_equal(found["b"], columns)


def test_memory_maps_become_arrays(path, tmp_path):
    np.save(tmp_path / "array.npy", np.arange(3.0))
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    save_model(Box(mapped), path, trusted=[Box])
    found = load_model(path, trusted=[Box]).content
    assert_array_equal(found, np.arange(3.0), strict=True)
    assert type(found) is np.ndarray


def test_what_is_shared_is_written_once_and_shared_again(inverter, spectra, path):
    save_model(inverter[1], path)
    once = path.stat().st_size
    box = Box([inverter[1], [inverter[1]]])
    save_model(box, path, trusted=[Box], overwrite=True)
    assert path.stat().st_size < 1.1 * once
    first, (second,) = load_model(path, trusted=[Box]).content
    assert first is second
    codes = [
        each.transform(inverter[0].transform(spectra[0]))
        for each in (first, inverter[1])
    ]
    assert_array_equal(*codes)


def test_a_file_does_not_hang_on_addresses(inverter, path):
    """The same model twice is the same file, up to dates."""
    found = []
    for model in (inverter, pickle.loads(pickle.dumps(inverter))):
        save_model(model, path, overwrite=True)
        found.append(parts_of(path.read_bytes()))
        found[-1].pop(PROVENANCE)
    assert found[0] == found[1]


def test_skops_alone_reads_it(content, inverter, spectra, path):
    path.write_bytes(content)
    found = skops.io.load(path, trusted=TRUSTED_TYPES)
    assert_array_equal(found.predict(spectra[0]), inverter.predict(spectra[0]))
    untrusted = skops.io.get_untrusted_types(file=path)
    assert set(untrusted) <= set(TRUSTED_TYPES)
    arrays = {k: v for k, v in np.load(path).items() if not k.endswith(".json")}
    assert {array.dtype.kind for array in arrays.values()} <= set("biuf")


def test_nan_comes_back(path):
    save_model(Ridge(alpha=float("nan")), path)
    assert np.isnan(load_model(path).alpha)


def test_the_cache_of_a_pipeline_stays_at_home(path, tmp_path):
    save_model(make_pipeline(Ridge(), memory=str(tmp_path)), path)
    assert load_model(path).memory is None
    assert not any(
        str(tmp_path).encode() in p for p in parts_of(path.read_bytes()).values()
    )


# Files are written in full or not at all


@pytest.mark.parametrize(
    "value",
    [
        lambda x: x,
        np.sin,
        object(),
        np.random.RandomState(0),
        np.array([None]),
        np.array([["text"]], dtype=object),
        np.str_("text"),
        {1: "int", "1": "str"},
        {None: 1},
        {True: 1},
        {(1, 2): 3},
        {"__id__": 1},
        np.ma.masked_array([1.0], [True]),
        FunctionTransformer(),
        GridSearchCV(Ridge(), {"alpha": [1]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_file_cannot_hold_is_named(value, path):
    with pytest.raises(TypeError, match=r"Pipeline\.steps\.0\.1\.content is a "):
        save_model(make_pipeline(Box(value)), path, trusted=[Box])
    assert not path.exists()


def test_only_estimators_are_saved(path):
    with pytest.raises(TypeError, match="must be an estimator"):
        save_model({"alpha": 1.0}, path)
    with pytest.raises(TypeError, match="trusted must list classes"):
        save_model(Box(), path, trusted=["Box"])
    with pytest.raises(TypeError, match="trusted must list classes"):
        load_model(__file__, trusted=[pickle.Unpickler])


@pytest.mark.parametrize("kind", [BaseEstimator, Box])
def test_a_class_that_cannot_be_found_is_not_trusted(kind, path):
    class Hidden(kind):
        pass

    with pytest.raises(TypeError, match="Hidden is a "):
        save_model(Hidden(), path, trusted=[Hidden])


def test_a_class_with_a_trusted_name_is_not_trusted(path):
    class Ridge(BaseEstimator):
        pass

    with pytest.raises(TypeError, match="trusted types; Ridge is a "):
        save_model(Ridge(), path)


def test_a_file_is_replaced_only_if_asked(path):
    save_model(Ridge(alpha=1), path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_model(Ridge(alpha=2), path)
    assert load_model(path).alpha == 1
    save_model(Ridge(alpha=2), path, overwrite=True)
    assert load_model(path).alpha == 2


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    def full(descriptor):
        raise OSError("No space left on device")

    save_model(Ridge(alpha=1), path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_model(Ridge(alpha=2), path, overwrite=True)
    assert load_model(path).alpha == 1
    assert list(path.parent.iterdir()) == [path]


def test_the_page_names_every_trusted_type():
    page = (Path(__file__).parents[2] / "docs" / "share_models.rst").read_text()
    listed = page.partition("Only these classes can be named:")[2]
    names = re.findall(r"``(\w+)``", listed.partition("They are")[0])
    offered = [name for name in TRUSTED_TYPES if "._" not in name]
    assert sorted(names) == sorted(name.rpartition(".")[2] for name in offered)


def prior_of(simulator):
    model = simulator.model
    columns = {
        "calculator": ["a", "b"],
        "strain": 0.0,
        "temperature": 0.0,
        "scale": 1.0,
    }
    rows = [0.9 * model.reference, 1.1 * model.reference]
    table = pd.DataFrame(rows, columns=model.parameter_names).assign(**columns)
    return ForceConstantPrior(model, table)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda s: LeastSquaresInverter(s, prior=prior_of(s)), "mean_ and covariance_"),
        (lambda s: GridSearchCV(Ridge(), {}).fit(np.eye(15), range(15)), "best_est"),
        (lambda s: Ridge(random_state=np.random.RandomState(0)), "to an int"),
        (lambda s: FunctionTransformer(), "trusted=.FunctionTransformer."),
        (lambda s: Ridge(alpha=print), "leave it out"),
    ],
)
def test_advice_is_for_what_cannot_be_saved(make, advice, path):
    grid = SpectrumGrid(np.arange(10, 40, 5.0), np.arange(1, 6, 1.0))
    simulator = PowderSimulator(load_aluminium_model(), grid, energy_resolution=1.5)
    with pytest.raises(TypeError, match=advice) as raised:
        save_model(make(simulator), path)
    told = [
        word in str(raised.value) for word in ("search", "random_state", "trusted=")
    ]
    assert sum(told) <= 1  # not the advice for others


def test_other_versions_are_reported(inverter, path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(persistence, "__version__", "0.0.1")
        save_model(inverter[0], path)
    with pytest.warns(VersionMismatchWarning, match=r"saved with skphonon 0\.0\.1"):
        load_model(path)


def test_every_trusted_type_can_be_found():
    for name in TRUSTED_TYPES:
        home, _, cls = name.rpartition(".")
        kind = getattr(import_module(home), cls)
        assert issubclass(kind, (BaseEstimator, Immutable)) or "._" in name


def test_what_learns_is_trusted():
    rooms = "calibration inversion learning preprocessing simulation".split()
    for room in rooms:
        module = import_module(f"skphonon.{room}")
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(value, BaseEstimator):
                assert f"skphonon.{room}.{name}" in TRUSTED_TYPES


@pytest.mark.parametrize("ending", [".safetensors", ".joblib", ".pkl"])
def test_another_ending_is_refused(tmp_path, ending):
    with pytest.raises(ValueError, match=r"has the ending \.skops, got model"):
        save_model(Ridge().fit([[0], [1]], [0, 1]), tmp_path / f"model{ending}")
