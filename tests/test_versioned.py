"""Pickles that know their versions, and work that is done once."""

import copy
import pickle
import warnings
from functools import cached_property

import numpy as np
import pytest
import sklearn
from sklearn.base import clone

import skphonon._versioned as persistence
from skphonon._versioned import (
    Immutable,
    VersionedEstimator,
    frozen,
    immutable,
    read_only,
)
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
    assert [each.square(calls) for each in copies] == [49, 49, 49]
    assert len(calls) == 1
    assert toy.set_params(size=8).square(calls) == 64
    assert len(calls) == 2


@immutable
class Fixed(Immutable):
    values: object
    size: int = 1

    def _settle(self):
        self._keep(values=read_only(self.values))

    @cached_property
    def total(self):
        return self.values.sum()


def test_what_does_not_change_says_how_to_make_another():
    fixed = Fixed([1.0, 2.0])
    with pytest.raises(
        AttributeError,
        match=r"does not change.*replace\(size=...\); its parameters are values, s",
    ):
        fixed.size = 3
    with pytest.raises(AttributeError, match="does not change"):
        del fixed.size
    with pytest.raises(ValueError, match="read-only"):
        fixed.values[0] = 3.0
    other = fixed.replace(size=3)
    assert (fixed.size, other.size) == (1, 3)
    with pytest.raises(TypeError, match="has the parameters values, size, got weight"):
        fixed.replace(weight=3)
    with pytest.raises(AttributeError, match=r"with replace; its parameters are val"):
        fixed.weight = 3


def test_arrays_of_the_caller_are_copied_and_ours_are_not():
    mine = np.arange(3.0)
    view = mine[:]
    view.flags.writeable = False
    before = np.arange(3.0)
    early = before[:]  # can be written, whatever is forbidden to the array later
    early.flags.writeable = True
    before.flags.writeable = False
    for given in (mine, view, before):
        fixed = Fixed(given)
        assert not np.shares_memory(fixed.values, mine)
    assert fixed.replace(size=2).values is fixed.values


def test_a_clone_is_the_object_and_a_pickle_holds_its_fields_alone():
    fixed = Fixed([1.0, 2.0])
    assert fixed.total == 3.0
    assert clone(fixed) is fixed
    assert copy.deepcopy({"a": [fixed]})["a"][0] is fixed
    loaded = pickle.loads(pickle.dumps(fixed))
    assert "total" not in vars(loaded)
    assert loaded == fixed
    assert hash(loaded) == hash(fixed)
    assert loaded.total == 3.0
    with pytest.raises(ValueError, match="read-only"):
        loaded.values[0] = 3.0
    assert fixed != fixed.replace(size=2)
    assert fixed != 3


def test_those_of_other_versions_are_named_too(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(persistence, "__version__", "0.1.0")
        old = pickle.dumps(Fixed([1.0]))
        patch.setattr(persistence, "__version__", "0.2.99")
        other = pickle.dumps(Fixed([1.0]))
    with pytest.raises(ValueError, match=r"Fixed was saved with skphonon 0\.1\.0"):
        pickle.loads(old)
    with pytest.warns(VersionMismatchWarning, match="Fixed was saved with"):
        assert pickle.loads(other) == Fixed([1.0])


def test_a_parameter_within_one_cannot_be_set():
    toy = Toy(Fixed([1.0]))
    with pytest.raises(ValueError, match=r"size=size\.replace\(values=\.\.\.\)"):
        toy.set_params(size__values=[2.0])
    with pytest.raises(ValueError, match="a Fixed does not change"):
        Toy().set_params(size=Fixed([1.0]), size__values=[2.0])
    assert repr(toy) == "Toy(size=Fixed(values=[1.]))"


def test_what_its_maker_gives_up_is_not_copied():
    fresh = frozen(np.arange(3.0))
    assert read_only(fresh) is fresh
    with pytest.raises(ValueError, match="read-only"):
        fresh[0] = 1.0
