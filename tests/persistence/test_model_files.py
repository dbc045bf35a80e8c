"""Model files: what comes back, and files that are damaged or up to no good."""

import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections import OrderedDict
from importlib import import_module
from io import BytesIO
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import skphonon
import skphonon._versioned as persistence
from skphonon import (
    ForceConstantRegressor,
    LeastSquaresInverter,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    SpectrumGrid,
    VAEFeatureExtractor,
    load_aluminium_model,
)
from skphonon._versioned import Immutable
from skphonon.learning import Trainer
from skphonon.persistence import (
    TRUSTED_TYPES,
    VersionMismatchWarning,
    attach_card,
    describe,
    load_model,
    save_model,
)
from skphonon.persistence._archive import PROVENANCE, SCHEMA
from skphonon.physics import ForceConstantPrior


class Box(TransformerMixin, BaseEstimator):
    """Hold anything: a class of the user's own."""

    def __init__(self, content=None):
        self.content = content

    def fit(self, X, y=None):
        return self


@pytest.fixture(scope="module")
def spectra():
    """Labels, and spectra that show them; the first pixels were not measured."""
    rng = np.random.default_rng(0)
    y = rng.uniform(0.5, 1.5, size=(40, 3))
    X = y @ rng.normal(size=(3, 30)) + rng.normal(size=30)
    X[:, :4] = np.nan
    return X, y


@pytest.fixture(scope="module")
def inverter(spectra):
    """A pipeline of tiny networks, with a card."""
    X, y = spectra
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(
            2,
            hidden_size=8,
            trainer=Trainer(max_epochs=2),
            output="distribution",
            random_state=0,
        ),
        ForceConstantRegressor(
            (8,), latent="distribution", trainer=Trainer(max_epochs=3), random_state=0
        ),
    )
    return attach_card(pipeline.fit(X, y), X=X, y=y, notes="For the tests.")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skops"


@pytest.fixture(scope="module")
def content(inverter, tmp_path_factory):
    """The bytes of the file of the pipeline."""
    path = tmp_path_factory.mktemp("saved") / "model.skops"
    save_model(inverter, path)
    return path.read_bytes()


def refusal(path, content):
    """Return why `content` is no model."""
    path.write_bytes(content)
    with pytest.raises(ValueError, match=path.name) as raised:
        load_model(path)
    return str(raised.value)


def parts_of(content):
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(parts, **options):
    made = BytesIO()
    with zipfile.ZipFile(made, "w", **options) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return made.getvalue()


def forged(schema, arrays=None, about=None):
    """Return a file that says a schema is a model, whole and with right checksums."""
    if not isinstance(schema, str):
        schema = json.dumps({"protocol": 2} | schema)
    usual = {"format": "skphonon model", "format_version": 3, "model": {}}
    usual["file"] = {"written": "", "versions": {"skphonon": skphonon.__version__}}
    texts = {SCHEMA: schema, PROVENANCE: json.dumps(usual if about is None else about)}
    return archive_of(texts | (arrays or {}))


def node(loader, name, content=None, **more):
    module, _, cls = name.rpartition(".")
    names = {"__loader__": loader, "__module__": module, "__class__": cls}
    return names | ({} if content is None else {"content": content}) | more


def plain(value):
    return node("JsonNode", "builtins.str", json.dumps(value), is_json=True)


def state(**values):
    keys = [node("TypeNode", "builtins.str")] * len(values)
    types = node("ListNode", "builtins.list", keys)
    return node("DictNode", "builtins.dict", values, key_types=types)


def ridge(**values):
    values = {"_sklearn_version": plain(sklearn.__version__), **values}
    return node("ObjectNode", "sklearn.linear_model.Ridge", state(**values))


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
    save_model(Box([inverter[1], [inverter[1]]]), path, trusted=[Box])
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


def test_nan_comes_back(path):
    save_model(Ridge(alpha=float("nan")), path)
    assert np.isnan(load_model(path).alpha)


def test_the_cache_of_a_pipeline_stays_at_home(path, tmp_path):
    save_model(make_pipeline(Ridge(), memory=str(tmp_path)), path)
    assert load_model(path).memory is None
    assert not any(
        str(tmp_path).encode() in p for p in parts_of(path.read_bytes()).values()
    )
    step = node("TupleNode", "builtins.tuple", [plain("ridge"), ridge()])
    steps = node("ListNode", "builtins.list", [step])
    for memory in (plain("/tmp/pickles"), ridge()):
        forgery = node(
            "ObjectNode", "sklearn.pipeline.Pipeline", state(steps=steps, memory=memory)
        )
        assert "has a cache" in refusal(path, forged(forgery))


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


# Files that are damaged or up to no good


def test_truncated_files_are_refused(content, path):
    for length in np.linspace(0, len(content) - 1, 20).astype(int):
        assert "not a whole model file" in refusal(path, content[:length])


def test_flipped_bits_are_noticed(content, inverter, spectra, path):
    """In texts, weights and names of parts; what is not refused is equal."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, len(content), 100)
    n_refused = 0
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            loaded = load_model(path)
        except ValueError:
            n_refused += 1
            continue
        assert_array_equal(loaded.predict(spectra[0]), inverter.predict(spectra[0]))
    assert n_refused > len(places) / 2  # zip files have room for dates and the like


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"PK\x05\x06" + bytes(18), b"\xff" * 100, bytes(100), b"PK" * 50],
)
def test_other_files_are_refused(content, path):
    refusal(path, content)
    with pytest.raises(ValueError, match="must be a file of save_model"):
        describe(path)


def test_a_folder_and_no_file_are_refused(tmp_path):
    for read in (load_model, describe):
        for name in ("", "nothing.skops"):
            with pytest.raises(OSError, match=re.escape(str(tmp_path))):
                read(tmp_path / name)


def test_files_of_skops_itself_are_told_apart(path):
    skops.io.dump(Ridge(), path)
    assert "has no skphonon.json, which save_model writes" in refusal(
        path, path.read_bytes()
    )


def test_files_of_save_model_before_skops_are_told_apart(path):
    header = json.dumps({"__metadata__": {"format": "skphonon model"}}).encode()
    old = len(header).to_bytes(8, "little") + header + bytes(8)
    assert "with the version that wrote it and save it again" in refusal(path, old)


def test_other_formats_are_told_apart(path):
    for about in ({}, [], {"format": "skphonon model", "format_version": 4}):
        refusal(path, forged(ridge(), about=about))


class Trap:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_pickles_and_archives_are_not_opened(path, tmp_path):
    trap = str(tmp_path / "trapped")
    pickled = pickle.dumps(Trap(trap))
    joblib.dump(Trap(trap), path)
    refusal(path, path.read_bytes())
    array = node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy")
    refusal(path, forged(ridge(alpha=array), {"1.npy": pickled}))
    objects = BytesIO()
    np.save(objects, np.array([Trap(trap)]), allow_pickle=True)
    refusal(path, forged(ridge(alpha=array), {"1.npy": objects.getvalue()}))
    refusal(path, archive_of({"../escaped.json": "{}"}))
    assert list(tmp_path.iterdir()) == [path]
    pickle.loads(pickled)  # the trap works
    assert os.path.isdir(trap)


def test_small_files_do_not_unpack_to_large_ones(content, path):
    packed = {"compression": zipfile.ZIP_DEFLATED}
    parts = parts_of(content)
    assert "is compressed" in refusal(
        path, archive_of(parts | {"x": bytes(10**7)}, **packed)
    )
    bomb = archive_of(parts | {SCHEMA: " " * 2**27}, **packed)
    assert "schema.json has 134217728 bytes" in refusal(path, bomb)
    bomb = archive_of(parts | {PROVENANCE: " " * 2**27}, **packed)
    path.write_bytes(bomb)
    with pytest.raises(ValueError, match="skphonon.json has 134217728 bytes"):
        describe(path)


def test_parts_do_not_share_their_bytes(path):
    """The directory of the archive names one array a thousand times."""
    whole = archive_of({"a": bytes(10**5), "b" * 8: b""})
    start = int.from_bytes(whole[-6:-2], "little")
    entry, end = bytearray(whole[start : start + 47]), bytearray(whole[-22:])
    entries = bytes(entry) * 1000
    end[8:10] = end[10:12] = (1000).to_bytes(2, "little")
    end[12:16] = len(entries).to_bytes(4, "little")
    assert "its parts overlap" in refusal(path, whole[:start] + entries + bytes(end))


def test_an_array_that_claims_to_be_huge_is_refused(path):
    array = BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
    np.lib.format.write_array_header_1_0(array, shape)
    huge = node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy")
    refusal(path, forged(ridge(alpha=huge), {"1.npy": array.getvalue()}))


def test_what_repeats_itself_is_counted(path):
    """Forty lists of twice the list before: skops alone would look for hours."""
    array = {"__id__": 1, "type": "json", "shape": plain(1)}
    lists = [node("NdArrayNode", "numpy.ndarray", [], **array)]
    for n in range(1, 41):
        twice = [node("NdArrayNode", "numpy.ndarray", __id__=n)] * 2
        lists.append(
            node("NdArrayNode", "numpy.ndarray", twice, **array | {"__id__": n + 1})
        )
    schema = ridge(alpha=node("ListNode", "builtins.list", lists))
    assert "values, of 1048576 at most" in refusal(path, forged(schema))


@pytest.mark.parametrize("compress", [0, 3])
def test_pickles_are_told_apart(path, compress):
    path = path.with_suffix(".joblib")
    joblib.dump(Ridge(), path, compress=compress)
    assert "joblib.load if you trust" in refusal(path, path.read_bytes())


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


FORGERIES = {
    "os.system": [
        node("FunctionNode", "os.system"),
        node("TypeNode", "os.system"),
        node("ObjectNode", "os.system", state()),
        node("ConstructorFromReduceNode", "os.system", plain("true")),
        node("ListNode", "os.system", [plain("true")]),
        node("SetNode", "os.system", []),
        node("TupleNode", "os.system", []),
        node("DictNode", "os.system", {}, key_types=plain([])),
        node("NdArrayNode", "os.system", [], type="json", shape=plain(1)),
        node("JsonNode", "os.system", "1"),
        node("CachedNode", "os.system"),
        node("UnheardOfNode", "os.system"),
    ],
    "builtins.eval": [node("TypeNode", "builtins.eval")],
    "functools.partial": [node("PartialNode", "functools.partial", {})],
    "operator.methodcaller": [node("OperatorFuncNode", "operator.methodcaller")],
    "numpy.add": [node("FunctionNode", "numpy.add")],  # skops trusts these
    "builtins.map": [node("TypeNode", "builtins.map")],
    "numpy.random.RandomState": [node("RandomStateNode", "numpy.random.RandomState")],
    "numpy.ma.MaskedArray": [node("MaskedArrayNode", "numpy.ma.MaskedArray")],
    "sklearn.linear_model._ridge.RidgeCV": [
        node("ObjectNode", "sklearn.linear_model._ridge.RidgeCV", state())
    ],
    "sklearn.linear_model.Ridge": [  # of a trusted name, but something else
        node("PartialNode", "sklearn.linear_model.Ridge", {"func": plain(1)}),
        node("ConstructorFromReduceNode", "sklearn.linear_model.Ridge", plain(1)),
        node("MethodNode", "sklearn.linear_model.Ridge", {"func": "fit"}),
        node("TypeNode", "sklearn.linear_model.Ridge"),
    ],
    "this.Zen": [node("ObjectNode", "this.Zen", state())],
}


@pytest.mark.parametrize(
    ("name", "forgery"), [(n, f) for n, found in FORGERIES.items() for f in found]
)
def test_what_is_not_trusted_is_refused_by_name(name, forgery, path, monkeypatch):
    monkeypatch.setattr(skops.io, "loads", None)  # not even asked
    hidden = [
        forgery,
        ridge(alpha=forgery),
        ridge(alpha=node("ListNode", "builtins.list", [ridge(), forgery])),
        ridge(alpha=plain(1) | {"unheard-of": {"of": [forgery]}}),
        ridge(
            alpha=state() | {"key_types": node("ListNode", "builtins.list", [forgery])}
        ),
    ]
    for schema in hidden:
        message = refusal(path, forged(schema))
        assert f"{name!r} is not trusted" in message
        assert "written by" not in message  # versions are not the reason
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    "schema",
    [
        "no JSON",
        "[" * 100_000 + "]" * 100_000,
        "5",
        "[]",
        "{}",
        {},
        {"__loader__": "ObjectNode"},
        {"__loader__": ["ObjectNode"]} | ridge(),
        {"__id__": 1},
        plain(5),
        plain([1]),
        state(),
        node("ObjectNode", "sklearn.linear_model.Ridge"),
        node("ObjectNode", "sklearn.linear_model.Ridge", plain(3)),
        node("ObjectNode", "skphonon.learning.ForceConstantRegressor", state(_net_arrays=plain(1))),
        ridge() | {"protocol": 3},
        ridge() | {"protocol": "2"},
        ridge(alpha=plain(1) | {"content": "[" * 100_000}),
        ridge(alpha=plain(1) | {"content": 5}),
        ridge(alpha={"__id__": 1}),
        ridge(alpha=node("ObjectNode", "sklearn.linear_model.Ridge", __id__=1)),
        ridge(alpha=ridge() | {"__id__": [1]}),
        ridge(a=ridge() | {"__id__": 1}, b=ridge() | {"__id__": 1}),
        ridge(alpha=ridge(a=node("ObjectNode", "sklearn.linear_model.Ridge", __id__=1)) | {"__id__": 1}),
        ridge(alpha=plain(1) | {"__id__": 1}),
        ridge(alpha=node("NdArrayNode", "numpy.ndarray", type="numpy", file="missing")),
        ridge(alpha=node("NdArrayNode", "numpy.ndarray", type="numpy", file=SCHEMA)),
        ridge(a=node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy"),
              b=node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy")),
    ],
    ids=lambda schema: str(schema)[:60],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::skphonon.persistence.VersionMismatchWarning")
@pytest.mark.filterwarnings("ignore:Trying to unpickle")
def test_nonsense_with_right_checksums_is_refused(schema, path):
    array = BytesIO()
    np.save(array, np.arange(3))
    refusal(path, forged(schema, {"1.npy": array.getvalue()}))


def test_the_forger_forges(path):
    """The refusals are not for what is wrong with all of them."""
    array = BytesIO()
    np.save(array, np.arange(3.0))
    content = node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy", __id__=1)
    again = node("NdArrayNode", "numpy.ndarray", __id__=1)
    model = ridge(alpha=content, tol=again, solver=plain("svd"))
    path.write_bytes(forged(model, {"1.npy": array.getvalue()}))
    found = load_model(path)
    assert_array_equal(found.alpha, np.arange(3.0))
    assert found.tol is found.alpha
    assert found.solver == "svd"


@pytest.mark.filterwarnings("ignore::skphonon.persistence.VersionMismatchWarning")
def test_half_an_estimator_is_not_printed(path):
    """Its repr would fail, and take the message with it."""
    half = node("ObjectNode", "skphonon.learning.ForceConstantRegressor",
                state(loss=ridge(), _net_arrays=state()))  # fmt: skip
    assert "Error in what it says it is" in refusal(path, forged(half))


def test_a_network_without_its_weights_is_refused(content, path):
    parts = parts_of(content)
    arrays = [name for name in parts if name.endswith(".npy")]
    del parts[arrays[3]]
    assert "no model that can be built here" in refusal(path, archive_of(parts))


def test_a_network_cannot_ask_for_more_memory_than_its_weights(spectra, path):
    """Ten million units in each of two layers are a few hundred terabytes."""
    X, y = spectra
    regressor = ForceConstantRegressor((4, 4), trainer=Trainer(max_epochs=1)).fit(
        X[:, 4:], y
    )
    regressor.net_.module_.settings = {"sizes": (26, 10**7, 10**7, 3)}
    save_model(regressor, path)
    told = "fit its settings; layers.0.weight must be of shape (10000000, 26), got (4,"
    assert told in refusal(path, path.read_bytes())


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
