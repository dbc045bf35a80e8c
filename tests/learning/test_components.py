"""Weighted components of spectra with gaps, against complete ones and plain algebra."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils import check_random_state

from skphonon.learning import _components
from skphonon.learning._components import (
    known_voxels,
    learn_basis,
    project,
    same_voxels,
    square,
    square_of_seen,
)

SPREAD = np.array([0.3, 0.1, 0.03, 0.01, 3e-4])


def low_rank(n_samples, n_voxels=80):
    """Spectra of a mean of 1, with deviations of known spread."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(n_samples, len(SPREAD))) * SPREAD
    shapes = np.linalg.qr(rng.normal(size=(n_voxels, len(SPREAD))))[0]
    mean = 1 + 0.5 * np.sin(np.arange(n_voxels))
    return np.float32(mean + codes @ shapes.T)


def learn(X, n_components=5, **options):
    settings = {"floor": 0.1, "scaled": False} | options
    return learn_basis(X, n_components, random_state=check_random_state(0), **settings)


@pytest.fixture(params=[None, 16])
def blocks(request, monkeypatch):
    """Blocks that hold everything, and a few voxels each."""
    if request.param:
        monkeypatch.setattr(_components, "_BLOCK", request.param)
        monkeypatch.setattr(_components, "_NUMBERS", 60 * request.param)


@pytest.mark.usefixtures("blocks")
def test_components_are_those_of_weighted_voxels():
    X = low_rank(60)
    found = learn(X)
    weighted = (X.astype(float) - X.mean(axis=0)) * found.weights
    left, sizes, axes = np.linalg.svd(weighted, full_matrices=False)
    # single precision of spectra of 1, beside the smallest spread of 3e-4
    assert_allclose(found.spread, sizes[:5] / np.sqrt(60), rtol=1e-3)
    signs = np.sign(np.einsum("nv,vn->n", axes[:5], found.components))
    assert_allclose(found.components * signs, axes[:5].T, atol=2e-3)
    assert_allclose(
        found.coefficients * signs, left[:, :5] * sizes[:5], atol=1e-3 * found.spread[0]
    )
    assert_allclose(found.components.T @ found.components, np.eye(5), atol=1e-3)
    fewer = learn(X, 1)
    assert_allclose(fewer.left, np.square(sizes[1:]).sum() / X.size, rtol=1e-2)


def test_directions_of_rounding_are_no_components():
    X = low_rank(60)
    assert learn(X, 20).components.shape == (80, 5)
    same = learn(X[:1].repeat(4, axis=0))
    assert_allclose(same.spread, 0.0, atol=1e-6)
    assert np.isfinite(same.components).all()


def test_scales_do_not_matter():
    X = low_rank(60)
    scales = np.float32(np.geomspace(1e-3, 1e3, 60))[:, None]
    one, other = learn(X, scaled=True), learn(X * scales, scaled=True)
    assert_allclose(other.mean, one.mean, rtol=1e-5)
    assert_allclose(one.mean.mean(), 1, rtol=1e-6)
    assert_allclose(other.spread, one.spread, rtol=1e-3)


@pytest.mark.usefixtures("blocks")
def test_gaps_are_filled_by_what_others_have():
    X = low_rank(400)
    holes = np.random.default_rng(1).uniform(size=X.shape) < 0.2
    whole, found = learn(X, 4), learn(np.where(holes, np.nan, X), 4)
    again = found.coefficients @ found.components.T / found.weights + found.mean
    # where nothing was known: the deviations, of 0.035 in a voxel, but for a tenth
    off = np.sqrt(np.square(again - X)[holes].mean())
    assert off < 0.1 * X.std(axis=0).mean()
    assert_allclose(found.spread[:3], whole.spread[:3], rtol=0.05)


@pytest.mark.usefixtures("blocks")
def test_products_over_some_voxels():
    rng = np.random.default_rng(0)
    columns, rows = rng.normal(size=(50, 3)), rng.normal(size=(2, 50))
    whole = square(columns)
    assert_allclose(whole, columns.T @ columns, rtol=1e-12)
    for seen in (np.arange(50), np.arange(1, 50, 2), np.arange(3, 50)):
        some = columns[seen]
        # by difference: rounding errors of the whole
        found = square_of_seen(columns, whole, seen)
        assert_allclose(found, some.T @ some, rtol=1e-12, atol=1e-12)
        assert_allclose(project(rows[:, seen], columns, seen), rows[:, seen] @ some)


def test_rows_that_miss_the_same_come_together():
    X = np.ones((5, 4))
    X[[1, 3], 2] = X[4] = np.nan
    parts = [(list(r), list(s)) for r, s, _ in same_voxels(X, np.arange(5))]
    assert sorted(parts) == [([0, 2], [0, 1, 2, 3]), ([1, 3], [0, 1, 3])]


def test_voxels_that_are_not_known():
    X = np.array([[1.0, 2.0, np.nan], [np.nan, 3.0, np.nan]])
    known = np.array([True, True, False])
    assert_array_equal(known_voxels(X, known), X[:, :2])
    with pytest.raises(ValueError, match="must be NaN, got 1 finite ones in row 0"):
        known_voxels(X, np.array([False, True, True]))
    with pytest.raises(ValueError, match="got none in row 1"):
        known_voxels(X[:, ::2], known[::2])
