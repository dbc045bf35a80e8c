"""Pickles that know their versions, and work that is done once."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import clone

import skphonon._versioned as persistence
from skphonon._versioned import VersionedEstimator
from skphonon.persistence import VersionMismatchWarning


class Toy(VersionedEstimator):
    _transient = ("scratch_",)

    def __init__(self, size=1):
        self.size = size

    def square(self, calls):
        return self._cached("square", lambda: calls.append(1) or self.size**2)


def test_same_versions_load_silently():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pickle.loads(pickle.dumps(Toy(3))).size == 3


@pytest.mark.parametrize(
    ("module", "name", "package"),
    [
        (persistence, "__version__", "skphonon"),
        (sklearn, "__version__", "scikit-learn"),
    ],
)
def test_another_version_is_named(monkeypatch, module, name, package):
    with monkeypatch.context() as patch:
        patch.setattr(module, name, "0.0.1")
        file = pickle.dumps(Toy())
    with pytest.warns(VersionMismatchWarning, match="Toy was saved with") as record:
        pickle.loads(file)
    message = str(record[0].message)
    assert f"{package} 0.0.1" in message
    assert f"{package} {module.__version__}" in message


def test_a_pickle_of_the_first_version_is_refused(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(persistence, "__version__", "0.1.0")
        file = pickle.dumps(Toy())
    with pytest.raises(ValueError, match=r"Toy was saved with skphonon 0\.1\.0"):
        pickle.loads(file)


def test_a_pickle_without_versions_is_reported():
    toy = Toy.__new__(Toy)
    with pytest.warns(VersionMismatchWarning, match="unknown versions"):
        toy.__setstate__({"size": 2})
    assert toy.size == 2


def test_transient_attributes_are_left_out():
    toy = Toy()
    toy.scratch_ = object()
    assert not hasattr(pickle.loads(pickle.dumps(toy)), "scratch_")


def test_equal_objects_share_what_they_build():
    calls = []
    toy = Toy(7)
    copies = [toy, clone(toy), pickle.loads(pickle.dumps(toy))]
    assert [copy.square(calls) for copy in copies] == [49, 49, 49]
    assert len(calls) == 1
    assert toy.set_params(size=8).square(calls) == 64
    assert len(calls) == 2


def test_only_the_latest_are_kept(monkeypatch):
    monkeypatch.setattr(persistence, "_KEPT", 50)
    calls = []
    for size in range(100, 200):
        Toy(size).square(calls)
    assert len(persistence._BUILT) <= persistence._KEPT
    Toy(100).square(calls)
    assert len(calls) == 101


def test_no_more_bytes_are_kept_than_allowed(monkeypatch):
    monkeypatch.setattr(persistence, "_LARGEST", 3e6)
    for size in range(500, 510):  # a megabyte each, within what holds it
        Toy(size)._cached("array", lambda: ({"found": [np.zeros(125_000)]},))
    held = [persistence._SIZES[key] for key in persistence._BUILT]
    assert 2e6 <= sum(held) <= 3e6
