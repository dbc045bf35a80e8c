"""Files that are damaged, or up to no good."""

import json
import os
import pickle
import re
import sys
import zipfile
from io import BytesIO

import joblib
import numpy as np
import pytest
import skops.io
from forging import archive_of, forged, node, parts_of, plain, ridge, state
from numpy.testing import assert_array_equal
from sklearn.linear_model import Ridge

from skphonon import (
    ForceConstantRegressor,
)
from skphonon.learning import Trainer
from skphonon.persistence import (
    describe,
    load_model,
    save_model,
)
from skphonon.persistence._archive import PROVENANCE, SCHEMA


def refusal(path, content):
    """Return why `content` is no model."""
    path.write_bytes(content)
    with pytest.raises(ValueError, match=path.name) as raised:
        load_model(path)
    return str(raised.value)


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
    texts = {name: parts_of(content)[name] for name in (SCHEMA, PROVENANCE)}
    bomb = archive_of(texts | {"1.npy": bytes(10**7)}, **packed)
    assert "1.npy is compressed" in refusal(path, bomb)
    for name in texts:
        told = refusal(path, archive_of(texts | {name: " " * 2**27}, **packed))
        assert f"{name} has 134217728 bytes" in told
    with pytest.raises(ValueError, match=r"skphonon\.json has 134217728 bytes"):
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


FORGERIES = {
    "os.system": [
        node("FunctionNode", "os.system"),
        node("TypeNode", "os.system"),
        node("ObjectNode", "os.system", state()),
        node("ConstructorFromReduceNode", "os.system", plain("true")),
        node("ListNode", "os.system", [plain("true")]),
        node("SetNode", "os.system", []),
        node("TupleNode", "os.system", []),
        node("DictNode", "os.system", {}, key_types={"content": []}),
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
        ridge() | {"__loader__": ["ObjectNode"]},
        {"__id__": 1},
        plain(5),
        plain([1]),
        state(),
        node("ObjectNode", "sklearn.linear_model.Ridge"),
        node("ObjectNode", "sklearn.linear_model.Ridge", plain(3)),
        node("ObjectNode", "skphonon.learning.ForceConstantRegressor",
             state(_net_arrays=plain(1))),
        ridge() | {"protocol": 3},
        ridge() | {"protocol": "2"},
        ridge(alpha=plain(1) | {"content": "[" * 100_000}),
        ridge(alpha=plain(1) | {"content": 5}),
        ridge(alpha={"__id__": 1}),
        ridge(alpha=node("ObjectNode", "sklearn.linear_model.Ridge", __id__=1)),
        ridge(alpha=ridge() | {"__id__": [1]}),
        ridge(a=ridge() | {"__id__": 1}, b=ridge() | {"__id__": 1}),
        ridge(alpha=node("ObjectNode", "sklearn.linear_model.Ridge", __id__=1))
        | {"__id__": 1},
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


def test_depth_is_counted_however_far_python_may_go(path):
    """A library may have raised the limit of recursion."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        for text in ("[" * 200_000 + "]" * 200_000, '{"a":' * 200_000):
            assert "nested 200000 deep" in refusal(path, forged(text))
        told = refusal(path, forged(ridge(alpha=plain(1) | {"content": "[" * 200_000})))
        assert "a number or text in it is neither" in told
    finally:
        sys.setrecursionlimit(limit)


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


def test_a_pipeline_with_a_cache_is_refused(path):
    step = node("TupleNode", "builtins.tuple", [plain("ridge"), ridge()])
    steps = node("ListNode", "builtins.list", [step])
    for memory in (plain("/tmp/pickles"), ridge()):
        forgery = node(
            "ObjectNode", "sklearn.pipeline.Pipeline", state(steps=steps, memory=memory)
        )
        assert "has a cache" in refusal(path, forged(forgery))
