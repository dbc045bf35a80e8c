"""SpectrumRegressor on peaks that move with two constants, partly seen and counted."""

import inspect
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from small_nets import with_trainer

from skphonon import LeastSquaresInverter
from skphonon.calibration import CalibratedRegressor
from skphonon.inversion import Search
from skphonon.learning import Augmentation, SpectrumRegressor

N_ENERGY, N_Q = 20, 15
ENERGY = np.arange(N_ENERGY)[:, None]
WAVE = np.abs(np.sin(np.linspace(0.2, np.pi - 0.2, N_Q)))
# each sees a third of the wavevectors, as one orientation would
COVERAGE = np.array(
    [np.tile(np.arange(N_Q) % 3 == n, (N_ENERGY, 1)).ravel() for n in range(3)]
)


def spectra(y):
    """Two branches with energies that go with the root of a constant each."""
    tops = 12 * np.sqrt(y)[:, :, None, None] * WAVE
    branches = np.exp(-np.square((ENERGY - tops) / 1.5))
    return branches.sum(axis=1).reshape(len(y), -1)


def counted(X, counts, random_state=0):
    """Poisson counts, `counts` in the mean of what is seen."""
    rng = np.random.default_rng(random_state)
    expected = X * counts / np.nanmean(X, axis=1, keepdims=True)
    return np.where(np.isnan(X), np.nan, rng.poisson(np.nan_to_num(expected)))


class Peaks:
    """Simulator of these spectra."""

    parameter_names = ["a", "b"]
    reference = np.array([0.6, 1.4])

    def simulate(self, parameters):
        return spectra(np.atleast_2d(parameters))


def quick(**parameters):
    settings = {
        "hidden_sizes": (60,),
        "n_networks": 2,
        "coverage": COVERAGE,
        "n_energy": N_ENERGY,
        "n_views": 5,
        "jitter": 0.1,
        "weight_decay": 0.1,
        "batch_size": 32,
        "lr": 0.005,
        "random_state": 0,
    }
    given = with_trainer(settings | parameters)
    names = inspect.signature(Augmentation).parameters
    inner = {name: given.pop(name) for name in names if name in given}
    return SpectrumRegressor(
        given.pop("n_components", 30), augmentation=Augmentation(**inner), **given
    )


def draw(n, seed):
    return np.random.default_rng(seed).uniform([0.3, 1.0], [0.9, 1.8], size=(n, 2))


@pytest.fixture(scope="module")
def data():
    y = draw(500, 0)
    return spectra(y), y


@pytest.fixture(scope="module")
def trained(data):
    return quick().fit(*data)


@pytest.fixture(scope="module")
def new():
    y = draw(200, 1)
    return spectra(y), y


def errors(regressor, X, y):
    return np.sqrt(np.square(regressor.predict(X) - y).mean(axis=0)) / y.std(axis=0)


def test_sees_through_missing_voxels_scale_background_and_noise(trained, new):
    X, y = new
    one = np.where(COVERAGE[0], X, np.nan)
    assert (errors(trained, X, y) < 0.1).all()
    assert (errors(trained, one, y) < 0.15).all()
    background = X.mean() * 0.3 * np.repeat(np.linspace(1.5, 0.5, N_ENERGY), N_Q)
    assert (errors(trained, counted(one + background, 100.0), y) < 0.3).all()
    scales = np.geomspace(1e-3, 1e3, len(X))[:, None]
    # single precision, no more
    assert_allclose(trained.predict(one * scales), trained.predict(one), rtol=1e-4)


def test_is_less_sure_of_less(trained, new):
    X, y = new

    def std(X):
        return trained.predict(X, return_std=True)[1].mean(axis=0)

    one = np.where(COVERAGE[0], X, np.nan)
    few = [std(counted(one, counts)) for counts in (100.0, 1.0, 0.1)]
    assert (std(counted(X, 1.0)) < few[1]).all()
    assert (few[0] < few[1]).all()
    assert (few[1] < few[2]).all()
    # nothing is known after hardly a count but what training knew
    assert (few[2] < 1.5 * y.std(axis=0)).all()


@pytest.mark.parametrize("counts", [1.0, 30.0])
def test_errors_are_as_large_as_they_are_said_to_be(trained, new, counts):
    X, y = new
    X = counted(np.where(COVERAGE[1], X, np.nan), counts)
    found, std = trained.predict(X, return_std=True)
    covered = np.mean(np.abs(found - y) < std, axis=0)
    # 0.68 for normal errors; 500 training spectra leave networks a little too sure
    assert ((covered > 0.5) & (covered < 0.9)).all()


def test_takes_training_spectra_with_holes(data, new):
    X, y = data
    holes = np.random.default_rng(0).uniform(size=X.shape) < 0.2
    settings = {"n_views": 3, "max_epochs": 10}
    regressor = quick(**settings).fit(np.where(holes, np.nan, X), y)
    assert (errors(regressor, *new) < 0.25).all()


def test_voxels_that_training_never_saw_must_be_missing(data):
    X, y = data
    outside = np.arange(X.shape[1]) >= X.shape[1] - N_Q
    window = np.where(outside, np.nan, X)
    regressor = quick(n_views=1, max_epochs=1).fit(window, y)
    assert_array_equal(regressor.seen_, ~outside)
    assert np.isfinite(regressor.predict(window)).all()
    with pytest.raises(ValueError, match="must be NaN, got 15 finite ones in row 0"):
        regressor.predict(X)


def test_refuses_what_is_no_spectrum(trained, data):
    X, y = data
    with pytest.raises(ValueError, match="not NaN, got none in row 1"):
        trained.predict(np.where([[False], [True]], np.nan, X[:2]))
    with pytest.raises(ValueError, match="must be positive; got 0 in row 0"):
        trained.predict(0 * X[:1])
    with pytest.raises(ValueError, match="300 features"):
        trained.predict(X[:, :-1])
    with pytest.raises(ValueError, match="2 columns, as in fit, got 1"):
        clone_of(trained).partial_fit(X, y[:, 0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"coverage": COVERAGE[:, 1:]}, r"\(n_patterns, 300\), got \(3, 299\)"),
        ({"coverage": COVERAGE & False}, "number 0 sees none"),
        ({"n_patterns": 4}, "at most 3"),
        ({"n_patterns": (2, 1)}, "second not below the first"),
        ({"counts": (0.0, 1.0)}, "counts must be a positive number or two"),
        ({"n_energy": 7}, "must divide the number of voxels of a row, 300"),
        ({"n_views": 0}, "n_views"),
    ],
)
def test_refuses_settings_that_make_no_sense(data, parameters, message):
    with pytest.raises(ValueError, match=message):
        quick(**parameters).fit(*data)


def clone_of(trained):
    return pickle.loads(pickle.dumps(trained))


def test_pickles_and_repeats(trained, data, new):
    X, _ = new
    assert_array_equal(clone_of(trained).predict(X), trained.predict(X))
    again = [quick(n_views=1, max_epochs=1).fit(*data).predict(X) for _ in range(2)]
    assert_array_equal(*again)
    # a row's result does not depend on the rows beside it, nor on what they miss
    mixed = np.where(
        np.arange(len(X))[:, None] % 2, np.where(COVERAGE[0], X, np.nan), X
    )
    alone = trained.predict(mixed[3:4])
    assert_allclose(trained.predict(mixed)[3:4], alone, rtol=1e-12)


def test_fine_tuning_learns_spectra_of_another_kind(trained, new):
    X, y = new
    broad = X + np.roll(X, N_Q, axis=1)  # worse resolution, and half a bin off
    tuned = clone_of(trained).set_params(
        trainer__fine_tune_epochs=20, trainer__fine_tune_lr=1e-3
    )
    tuned.partial_fit(broad[:100], y[:100])
    before, after = (errors(one, broad[100:], y[100:]) for one in (trained, tuned))
    assert (after < before).all()
    assert len(tuned.history_) == len(trained.history_) + 20
    # unfitted it is fitted
    fresh = quick(n_views=1, max_epochs=1)
    assert_array_equal(
        clone(fresh).partial_fit(X, y).predict(X), fresh.fit(X, y).predict(X)
    )


def test_a_scale_that_is_known_tells_constants():
    rng = np.random.default_rng(0)
    y = rng.uniform(1, 2, size=400)
    X = np.outer(y, rng.uniform(1, 2, size=30))
    settings = {"coverage": None, "n_energy": None, "counts": None, "n_views": 2}
    known = quick(**settings, background=0.0, normalize=False).fit(X, y)
    unknown = quick(**settings).fit(X, y)
    assert known.score(X, y) > 0.95
    assert unknown.score(X, y) < 0.05
    # two small networks, trained for a moment: processors differ
    assert_allclose(unknown.predict(X[:5], return_std=True)[1], y.std(), rtol=0.4)


def test_calibration_and_least_squares_take_it(trained, data, new):
    X, y = new
    one = counted(np.where(COVERAGE[0], X, np.nan), 10.0)
    sure = CalibratedRegressor(FrozenEstimator(trained)).fit(one[:150], y[:150])
    low, high = sure.predict_interval(one[150:], coverage=0.9)
    assert 0.75 < np.mean((low <= y[150:]) & (y[150:] <= high)) <= 1

    with pytest.warns(UserWarning, match="no method jacobian"):
        inverter = LeastSquaresInverter(Peaks(), search=Search(initial=trained)).fit(
            *data
        )
    found = inverter.predict(np.where(COVERAGE[0], X, np.nan)[:3])
    assert_allclose(found, y[:3], rtol=1e-3)
