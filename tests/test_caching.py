"""A bounded store of what is built, and keys that tell equal content."""

import functools
import importlib
import pickle
import subprocess
import sys

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
    ("first", "second"),
    [
        (50, 50.0),
        (50.0, np.float64(50.0)),
        (3, np.int32(3)),
        ("Al", np.str_("Al")),
        (0.1, np.float64(0.1)),
        (float("nan"), np.nan),
    ],
)
def test_equal_numbers_have_one_content_whatever_their_type(first, second):
    assert repr(content_of(first)) == repr(content_of(second))


def test_dates_have_a_content():
    dates = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]")
    assert content_of(dates) == content_of(dates.copy()) != content_of(dates[::-1])


def _module(tmp_path, monkeypatch, text):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    (tmp_path / "widths_of_mine.py").write_text(text)
    importlib.invalidate_caches()
    return importlib.import_module("widths_of_mine")


def test_a_function_is_what_it_does_and_reads(tmp_path, monkeypatch):
    """A module may be edited and loaded again, a number in it changed."""
    text = "scale = 1.0\ndef inner(e): return {} * e\n"
    text += "def width(e): return scale * inner(e)"
    module = _module(tmp_path, monkeypatch, text.format(2.0))
    first = content_of(module.width)
    assert first == content_of(module.width)
    module.scale = 3.0
    second = content_of(module.width)
    (tmp_path / "widths_of_mine.py").write_text(text.format(5.0))
    module = importlib.reload(module)
    third = content_of(module.width)
    del sys.modules["widths_of_mine"]
    assert len({first, second, third}) == 3


def test_what_a_notebook_defines_again_is_another():
    script = """
from skphonon._caching import content_of
def width(e): return 1.0 + 0 * e
first = content_of(width)
assert first == content_of(width)
def width(e): return 3.0 + 0 * e
assert content_of(width) != first
class Width:
    def __call__(self, e): return 1.0
first = content_of(Width())
class Width:
    def __call__(self, e): return 3.0
assert content_of(Width()) != first
"""
    subprocess.run([sys.executable, "-c", script], check=True)


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
