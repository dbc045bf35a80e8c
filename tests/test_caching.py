"""A bounded store of what is built, and keys that tell equal content."""

import functools
import pickle

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from skphonon import _caching
from skphonon._caching import content_of, shared
from skphonon.physics import ZoneMesh


def test_only_the_latest_are_kept(monkeypatch):
    monkeypatch.setattr(_caching, "_KEPT", 50)
    calls = []
    for size in range(100, 200):
        shared(("kept", size), lambda: calls.append(1))
    assert len(_caching._BUILT) <= _caching._KEPT
    shared(("kept", 100), lambda: calls.append(1))
    assert len(calls) == 101


def test_no_more_bytes_are_kept_than_allowed(monkeypatch):
    monkeypatch.setattr(_caching, "_LARGEST", 3e6)
    for size in range(500, 510):  # a megabyte each, within what holds it
        shared(("bytes", size), lambda: ({"found": [np.zeros(125_000)]},))
    held = [_caching._SIZES[key] for key in _caching._BUILT]
    assert 2e6 <= sum(held) <= 3e6


def double(x):
    return 2 * x


@pytest.mark.parametrize(
    "value",
    [
        3,
        "chi",
        np.arange(5.0),
        [1, (2.0, None)],
        {"a": np.ones(2)},
        double,
        functools.partial(double, x=3),
        ZoneMesh(4),
        Ridge(alpha=2.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_copies_have_the_content_of_the_original(value):
    content = content_of(value)
    assert content == content_of(pickle.loads(pickle.dumps(value)))
    assert hash(content) == hash(content_of(value))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.arange(4.0), np.arange(4.0).reshape(2, 2)),
        (np.arange(4.0), np.arange(4)),
        (np.arange(4.0), np.arange(4.0)[::-1]),
        ([1, [2, 3]], [[1, 2], 3]),
        ({"a": 1}, {"b": 1}),
        (double, content_of),
        (lambda x: 2 * x, lambda x: 3 * x),
        (ZoneMesh(4), ZoneMesh(5)),
        (Ridge(alpha=2.0), Ridge(alpha=3.0)),
    ],
)
def test_others_have_not(first, second):
    assert content_of(first) != content_of(second)
