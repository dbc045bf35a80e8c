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
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
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
from skphonon.learning import Dense, Trainer
from skphonon.persistence import (
    TRUSTED_TYPES,
    VersionMismatchWarning,
    _model_files,
    attach_card,
    describe,
    load_model,
    save_model,
)
from skphonon.persistence._tensor_file import to_bytes


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
            network=Dense(8),
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
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def content(inverter, tmp_path_factory):
    """The bytes of the file of the pipeline."""
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    save_model(inverter, path)
    return path.read_bytes()


def refusal(path, content):
    """Return why `content` is no model."""
    path.write_bytes(content)
    with pytest.raises(ValueError, match=path.name) as raised:
        load_model(path)
    return str(raised.value)


def forged(code, arrays=None, **texts):
    """Return a file that says `code` is a model, whole and with a right checksum."""
    model = code if isinstance(code, str) else json.dumps(code)
    usual = {"format": "skphonon model", "format_version": "2", "model": model}
    return to_bytes(arrays or {}, usual | texts)


# Models come back


def test_a_model_is_the_same_in_another_process(inverter, spectra, content, tmp_path):
    X, _ = spectra
    (tmp_path / "model.safetensors").write_bytes(content)
    joblib.dump(inverter, tmp_path / "model.joblib")
    np.save(tmp_path / "X.npy", X)
    script = (
        "import joblib, warnings, numpy as np\n"
        "warnings.simplefilter('error', UserWarning)\n"
        "from skphonon.persistence._model_cards import describe\n"
        "from skphonon.persistence._model_files import load_model\n"
        "models = load_model('model.safetensors'), joblib.load('model.joblib')\n"
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
        {"a.b": np.arange(3), "a": {"b": np.arange(4)}},  # names that collide
        {1: "int", "1": "str", (2, 3): "tuple", None: {}},
        {"tuple": [1], "instance": ["Ridge", {}]},  # looks like a kind
        np.float64(0.1),
        np.bool_(True),
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.empty((0, 3)),
        np.array([]),
        np.array(["x", "yz"], dtype=object),
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


def test_nan_comes_back(path):
    save_model(Ridge(alpha=float("nan")), path)
    assert np.isnan(load_model(path).alpha)


def test_the_cache_of_a_pipeline_stays_at_home(path, tmp_path):
    save_model(make_pipeline(Ridge(), memory=str(tmp_path)), path)
    assert load_model(path).memory is None
    assert str(tmp_path).encode() not in path.read_bytes()
    steps = [{"tuple": ["ridge", {"instance": ["Ridge", {"dict": {}}]}]}]
    state = {"steps": steps, "memory": "/tmp/pickles", "_sklearn_version": ""}
    path.write_bytes(forged({"instance": ["Pipeline", {"dict": state}]}))
    with pytest.warns(UserWarning, match="Trying to unpickle"):
        assert load_model(path).memory is None


# Files are written in full or not at all


@pytest.mark.parametrize(
    "value",
    [
        lambda x: x,
        np.sin,
        object(),
        np.random.RandomState(0),
        np.array([None]),
        np.array("text"),
        np.str_("text"),
        np.array([1j]),
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
    assert "not a whole model file" in refusal(path, content + b"\0")


def test_flipped_bits_are_noticed(content, inverter, spectra, path):
    """In the length, in the header and in the weights; what is not refused is equal."""
    rng = np.random.default_rng(0)
    header = int.from_bytes(content[:8], "little")
    places = [*range(8), *rng.integers(8, header, 21)]
    places += [header + 7, *rng.integers(8 + header, len(content), 20)]
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
    assert n_refused >= len(places) - 1


class Trap:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_pickles_and_archives_are_not_opened(path, tmp_path):
    trap = str(tmp_path / "trapped")
    joblib.dump(Trap(trap), path)
    refusal(path, path.read_bytes())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../escaped.json", "{}")
        archive.writestr("zeros", bytes(10**7), zipfile.ZIP_DEFLATED)
    refusal(path, path.read_bytes())
    assert list(tmp_path.iterdir()) == [path]
    pickle.loads(pickle.dumps(Trap(trap)))  # the trap works
    assert os.path.isdir(trap)


@pytest.mark.parametrize("compress", [0, 3])
def test_pickles_are_told_apart(path, compress):
    path = path.with_suffix(".joblib")
    joblib.dump(Ridge(), path, compress=compress)
    assert "joblib.load if you trust" in refusal(path, path.read_bytes())


def test_the_page_names_every_trusted_type():
    page = (Path(__file__).parents[2] / "docs" / "share_models.rst").read_text()
    listed = page.partition("Only these classes can be named:")[2]
    names = re.findall(r"``(\w+)``", listed.partition("They are")[0])
    assert set(names) == set(TRUSTED_TYPES)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda s: LeastSquaresInverter(s), "save its simulator, and make it again"),
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


@pytest.mark.parametrize(
    "name",
    ["system", "os.system", "eval", "FunctionTransformer", "Box", "../Ridge"],
)
def test_classes_that_are_not_trusted_are_refused_by_name(name, path):
    code = {"instance": [name, {"dict": {"command": "true"}}]}
    nested = {"instance": ["FrozenEstimator", {"dict": {"estimator": code}}]}
    for model in (code, nested):
        message = refusal(path, forged(model))
        assert f"the class {name!r} is not trusted" in message
        assert "written by" not in message  # versions are not the reason


@pytest.mark.parametrize(
    "code",
    [
        "no JSON",
        "[" * 100_000 + "]" * 100_000,
        5,
        ["Ridge"],
        {},
        {"dict": {}, "tuple": []},
        {"unheard-of": 1},
        {"array": "missing"},
        {"tuple": [{"array": "a"}, {"array": "a"}]},  # copies without end
        {"instance": "Ridge"},
        {"instance": ["Ridge", 3]},
        {"instance": [["Ridge"], {"dict": {}}]},
        {"instance": ["ForceConstantRegressor", {"dict": {"_net_arrays": 1}}]},
        {"items": [[["unhashable"], 1]]},
    ],
    ids=lambda code: str(code)[:30],
)
@pytest.mark.filterwarnings("ignore::skphonon.persistence.VersionMismatchWarning")
def test_nonsense_with_a_right_checksum_is_refused(code, path):
    refusal(path, forged(code, {"a": np.arange(3)}))


@pytest.mark.filterwarnings("ignore::skphonon.persistence.VersionMismatchWarning")
def test_half_an_estimator_is_not_printed(path):
    """Its repr would fail, and take the message with it."""
    half = {"instance": ["Ridge", {"dict": {"_sklearn_version": sklearn.__version__}}]}
    state = {"loss": half, "_net_arrays": {"dict": {}}, "device": "cpu"}
    code = {"instance": ["ForceConstantRegressor", {"dict": state}]}
    assert "KeyError in what it says it is" in refusal(path, forged(code))


@pytest.mark.filterwarnings("ignore::skphonon.persistence.VersionMismatchWarning")
def test_a_network_without_its_weights_is_refused(content, path):
    """The state of an estimator is damaged, the file is not."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    model = header["__metadata__"]["model"]
    assert "no model that can be built here" in refusal(path, forged(model))


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


def test_files_of_others_are_told_apart(path, monkeypatch):
    assert "a safetensors file of None" in refusal(path, to_bytes({}, {}))
    monkeypatch.setattr(_model_files, "_FORMAT_VERSION", 1)
    save_model(Ridge(), path, overwrite=True)
    monkeypatch.undo()
    assert "Load it with the version that made it" in refusal(path, path.read_bytes())


def test_other_versions_are_reported(inverter, path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(persistence, "__version__", "0.0.1")
        save_model(inverter[0], path)
    with pytest.warns(VersionMismatchWarning, match=r"saved with skphonon 0\.0\.1"):
        load_model(path)


def test_every_trusted_type_is_an_estimator_or_does_not_change():
    for name, home in TRUSTED_TYPES.items():
        kind = getattr(import_module(home), name)
        assert issubclass(kind, (BaseEstimator, Immutable))


def test_what_learns_is_trusted():
    offered = {name: getattr(skphonon, name) for name in skphonon._HOME}
    learners = {
        name
        for name, value in offered.items()
        if isinstance(value, type) and hasattr(value, "fit")
        if not name.endswith("Inverter")  # searches hold no trained model
    }
    assert {"VAEFeatureExtractor", "ForceConstantRegressor"} <= learners
    assert learners <= set(TRUSTED_TYPES)
