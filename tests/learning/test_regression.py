"""ForceConstantRegressor on smooth functions of a few codes."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from small_nets import with_trainer

from skphonon.learning import (
    Dense,
    ForceConstantRegressor,
    Trainer,
    VAEFeatureExtractor,
    _training,
)


def targets(codes):
    a, b, c = codes.T
    # means and scales as different as those of force constants
    return np.column_stack([5 + a * b, 0.01 * np.tanh(2 * c) - 0.3])


def quick(hidden_sizes=(30, 30), **parameters):
    settings = {
        "noise": 0.0,
        "lr": 0.01,
        "batch_size": 32,
        "max_epochs": 3,
        "random_state": 0,
    }
    return ForceConstantRegressor(hidden_sizes, **with_trainer(settings | parameters))


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).uniform(-1, 1, size=(600, 3))


@pytest.fixture(scope="module")
def trained(X):
    return quick(max_epochs=60).fit(X, targets(X))


def test_learns_what_a_linear_model_cannot(trained, X):
    new = np.random.default_rng(1).uniform(-1, 1, size=(200, 3))
    scores = r2_score(targets(new), trained.predict(new), multioutput="raw_values")
    linear = Ridge().fit(X, targets(X)).predict(new)
    assert (scores > 0.99).all()
    assert r2_score(targets(new), linear) < 0.9


def test_a_hopeless_target_does_not_spoil_the_others(X):
    y = targets(X)
    y[:, 1] = np.random.default_rng(3).normal(size=len(y))
    new = np.random.default_rng(1).uniform(-1, 1, size=(200, 3))
    error = {
        loss: np.square(
            quick(loss=loss, max_epochs=60).fit(X, y).predict(new)[:, 0]
            - targets(new)[:, 0]
        ).mean()
        for loss in ("rmse", "mse")
    }
    assert error["rmse"] < error["mse"] / 2


def test_error_bars_are_the_noise_of_the_targets():
    rng = np.random.default_rng(2)
    X = rng.uniform(-1, 1, size=(2000, 1))
    noise = [0.1, 0.4]
    y = np.hstack([X, 3 * X]) + rng.normal(scale=noise, size=(2000, 2))
    y_pred, std = quick((20,), max_epochs=20).fit(X, y).predict(X, return_std=True)
    # 200 held-out samples know a spread to 5 %, plus what the network got wrong
    assert_allclose(std[0], noise, rtol=0.2)
    assert_array_equal(std, np.broadcast_to(std[0], y_pred.shape))


@pytest.mark.parametrize("latent", ["codes", "distribution"])
@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 2)])
def test_predictions_have_the_shape_of_the_targets(latent, shape):
    rng = np.random.default_rng(3)
    X, y = rng.uniform(size=(60, 4)), rng.uniform(size=shape)
    y_pred, std = quick(latent=latent).fit(X, y).predict(X, return_std=True)
    assert y_pred.shape == std.shape == shape
    assert y_pred.dtype == std.dtype == np.float64


def test_vector_targets_equal_a_single_column(X):
    y = targets(X)[:, 0]
    vector, column = quick().fit(X, y), quick().fit(X, y[:, None])
    assert_array_equal(vector.predict(X), column.predict(X).ravel())


@pytest.fixture(scope="module")
def distribution():
    """Distributions of a code of which the target is three times the mean."""
    rng = np.random.default_rng(4)
    mean, std = rng.uniform(-1, 1, (2000, 1)), rng.uniform(0.0, 0.02, (2000, 1))
    X = np.hstack([mean, std])
    regressor = quick(latent="distribution", max_epochs=40, n_draws=2000)
    return regressor.fit(X, 3 * mean.ravel())


def test_spread_comes_from_the_drawn_codes(distribution):
    X = np.array([[0.2, 0.0], [0.2, 0.1], [-0.3, 0.05]])
    y, std = distribution.predict(X, return_std=True)
    assert_allclose(y, 3 * X[:, 0], atol=0.05)
    residual = distribution.residual_std_[0]
    assert_allclose(std[0], residual)
    # 2000 draws know a spread to 2 %; the network is nearly linear here
    drawn = np.sqrt(std**2 - residual**2)
    assert_allclose(drawn[1:], 3 * X[1:, 1], rtol=0.1)


def test_rows_do_not_depend_on_their_neighbours(distribution):
    X = np.abs(np.random.default_rng(5).normal(size=(30, 2)))
    whole = distribution.predict(X, return_std=True)
    parts = distribution.predict(X[17:19], return_std=True)
    # matrix products of another size round differently
    assert_allclose(parts, np.array(whole)[:, 17:19], rtol=1e-10)
    assert_array_equal(whole, distribution.predict(X, return_std=True))


def test_distribution_needs_an_even_number_of_columns(X):
    with pytest.raises(ValueError, match=r"odd number of columns \(3\).*output="):
        quick(latent="distribution").fit(X, targets(X))


def test_distribution_needs_deviations(distribution):
    with pytest.raises(ValueError, match=r"got -0\.5 in row 1, column 1.*output="):
        distribution.predict([[0.0, 0.1], [0.0, -0.5]])


def test_noise_on_codes_keeps_predictions_near_the_training_targets(X):
    outside = 4 * X
    far = {}
    for noise in (0.0, 2.0):
        regressor = quick(max_epochs=40, noise=noise).fit(X, targets(X))
        far[noise] = np.abs(regressor.predict(outside)[:, 0] - 5).mean()
    assert far[2.0] < far[0.0]


def test_constant_columns_are_harmless(X):
    constant = np.hstack([X, np.full((len(X), 1), 7.0)])
    y = np.hstack([targets(X), np.full((len(X), 1), -2.0)])
    prediction = quick(max_epochs=20).fit(constant, y).predict(constant)
    assert np.isfinite(prediction).all()
    assert_allclose(prediction[:, -1], -2, atol=0.1)


def test_pipeline_from_spectra_to_error_bars():
    rng = np.random.default_rng(6)
    centre = rng.uniform(-1, 1, size=(500, 1))
    X = np.exp(-4 * (np.linspace(-2, 2, 30) - centre) ** 2)
    pipeline = make_pipeline(
        VAEFeatureExtractor(
            2,
            network=Dense(40),
            output="distribution",
            noise=0.05,
            trainer=Trainer(lr=0.01, batch_size=32, max_epochs=30),
            random_state=0,
        ),
        quick(latent="distribution", max_epochs=40, n_draws=50),
    )
    pipeline.fit(X[:400], centre[:400])
    y, std = pipeline.predict(X[400:], return_std=True)
    assert r2_score(centre[400:], y) > 0.98
    assert (std > 0).all()
    assert np.mean(np.abs(y - centre[400:]) < 3 * std) > 0.9


def test_grid_search(X):
    search = GridSearchCV(quick(), {"hidden_sizes": [(4,), (8, 8)]}, cv=2)
    search.fit(X, targets(X))
    assert search.best_params_["hidden_sizes"] in [(4,), (8, 8)]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_same_seed_same_prediction(X):
    first, second, other = (
        quick(random_state=seed).fit(X, targets(X)).predict(X) for seed in (0, 0, 1)
    )
    assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3


def test_pickle_is_plain(trained, distribution, X):
    data = pickle.dumps(trained)
    assert b"torch" not in data
    assert b"skorch" not in data
    assert_array_equal(pickle.loads(data).predict(X), trained.predict(X))
    loaded = pickle.loads(pickle.dumps(distribution))
    assert_array_equal(loaded.predict(X[:, 1:] + 1), distribution.predict(X[:, 1:] + 1))


def test_interrupted_fit_leaves_it_unfitted(X, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    regressor = quick().fit(X, targets(X))
    monkeypatch.setattr(_training, "_epoch_record", interrupt)
    with pytest.raises(KeyboardInterrupt):
        regressor.fit(X, targets(X))
    with pytest.raises(NotFittedError):
        regressor.predict(X)


def test_spreads_are_learnt_where_they_differ():
    rng = np.random.default_rng(5)
    X = rng.uniform(-1, 1, size=(6000, 2))
    spread = 0.05 * np.exp(1.5 * X[:, 1])
    y = np.sin(2 * X[:, 0]) + spread * rng.normal(size=len(X))
    regressor = quick(loss="likelihood", max_epochs=30).fit(X[:4000], y[:4000])
    found, std = regressor.predict(X[4000:], return_std=True)
    assert np.corrcoef(np.log(std), X[4000:, 1])[0, 1] > 0.97
    assert np.median(std / spread[4000:]) == pytest.approx(1, abs=0.1)
    for quiet in (X[4000:, 1] < -0.5, X[4000:, 1] > 0.5):
        held = np.abs(y[4000:] - found)[quiet] < std[quiet]
        assert np.mean(held) == pytest.approx(0.683, abs=0.07)
    again = pickle.loads(pickle.dumps(regressor))
    assert_array_equal(
        again.predict(X[:5], return_std=True), regressor.predict(X[:5], return_std=True)
    )


@pytest.mark.parametrize("latent", ["codes", "distribution"])
@pytest.mark.parametrize("loss", ["rmse", "likelihood"])
def test_nuisances_are_predicted_beside_constants(X, latent, loss):
    given = np.hstack([X, np.full_like(X, 0.01)]) if latent == "distribution" else X
    nuisance = {"width": 2 + X[:, 0] * X[:, 2], "same": np.ones(len(X))}
    regressor = quick(latent=latent, loss=loss, max_epochs=60)
    regressor.fit(given, targets(X), nuisance=nuisance)
    assert regressor.nuisance_names_ == ["width", "same"]
    y, std, found = regressor.predict(given, return_std=True, return_nuisance=True)
    assert y.shape == std.shape == (len(X), 2)
    assert_array_equal(y, regressor.predict(given))
    assert list(found) == ["width", "width std", "same", "same std"]
    assert (found["same"] == 1).all()
    assert (found["same std"] == 0).all()
    assert r2_score(nuisance["width"], found["width"]) > 0.95
    off = np.abs(found["width"] - nuisance["width"]) < found["width std"]
    assert 0.5 < off.mean() < 0.98  # of samples trained on
    with pytest.raises(ValueError, match="nuisances that fit was given"):
        quick().fit(X, targets(X)).predict(X, return_nuisance=True)


def test_nuisances_pass_through_pipelines_and_searches(X):
    nuisance = {"width": X[:, 0]}
    pipeline = make_pipeline(FunctionTransformer(), quick())
    pipeline.fit(X, targets(X), forceconstantregressor__nuisance=nuisance)
    y, found = pipeline.predict(X, return_nuisance=True)
    assert y.shape == (len(X), 2)
    assert len(found) == len(X)
    frame = pd.DataFrame(nuisance)
    search = GridSearchCV(pipeline, {"forceconstantregressor__noise": [0.0, 0.1]}, cv=2)
    search.fit(X, targets(X), forceconstantregressor__nuisance=frame)
    best = search.best_estimator_
    assert list(best.predict(X[:3], return_nuisance=True)[1]) == ["width", "width std"]


@pytest.mark.parametrize(
    ("nuisance", "message"),
    [
        ({"width": [1.0, 2.0]}, "for each of 600 samples.*give a DataFrame"),
        (pd.DataFrame({"width": [1.0]}), r"shape \(1,\)\.$"),
        ({"width": np.full(600, np.nan)}, "finite number.*'width' with 600 NaN"),
        (np.ones((600, 2)), "mapping from names"),
        (pd.Series(np.ones(600)), r"got Series.*to_frame\(\)"),
        ({"width": ["a"] * 600}, "real numbers, got 'width'"),
        ({"width": np.full(600, 1j)}, "real numbers, got 'width' of type complex"),
        (pd.DataFrame(np.ones((600, 2)), columns=["a", "a"]), "got 'a' more than once"),
        ({"a": np.ones(600), "a std": np.ones(600)}, "may be called 'a std'"),
    ],
)
def test_nuisances_that_are_none_are_refused(X, nuisance, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(X, targets(X), nuisance=nuisance)


def test_known_nuisances_need_no_learning(X):
    given = pd.DataFrame({"width": np.full(len(X), 2.6)})
    regressor = quick(max_epochs=2).fit(X, targets(X), nuisance=given)
    y, std, found = regressor.predict(X[:3], return_std=True, return_nuisance=True)
    assert y.shape == std.shape == (3, 2)
    assert found.to_numpy().tolist() == [[2.6, 0.0]] * 3
    assert regressor.residual_std_.shape == (2,)


def test_nuisances_of_rows_in_another_order_are_refused(X):
    y, nuisance = pd.DataFrame(targets(X)), pd.DataFrame({"width": X[:, 0]})
    regressor = quick(max_epochs=1)
    regressor.fit(X, y, nuisance=nuisance)
    regressor.fit(X, targets(X), nuisance=nuisance[::-1])  # nothing says otherwise
    for given in (nuisance[::-1], dict(nuisance[::-1])):
        with pytest.raises(ValueError, match="must have the index of y and X"):
            regressor.fit(X, y, nuisance=given)
    with pytest.raises(ValueError, match="must have the index of y and X"):
        regressor.fit(pd.DataFrame(X), targets(X), nuisance=nuisance[::-1])
    # a step before numbered these rows anew
    regressor.fit(pd.DataFrame(X), targets(X), nuisance=nuisance.set_axis(y.index + 9))
    scores = cross_val_score(
        regressor, X, y, cv=2, params={"nuisance": nuisance}, error_score="raise"
    )
    assert np.isfinite(scores).all()


def test_error_bars_scaled_by_few_samples_are_rough(X):
    regressor = quick(loss="likelihood", max_epochs=1)
    with pytest.warns(UserWarning, match="are rough: .* got 29 "):
        regressor.fit(X[:290], targets(X[:290]))
    with pytest.warns(UserWarning, match="too small: .* got 0 "):
        regressor.set_params(trainer__validation_fraction=0).fit(X, targets(X))
    regressor.set_params(trainer__validation_fraction=0.1).fit(
        X[:300], targets(X[:300])
    )


@pytest.mark.parametrize("size", [1e200, 1e308])
def test_targets_beyond_all_numbers_are_refused(X, size):
    with pytest.raises(ValueError, match="finite variance, got values up to"):
        quick(max_epochs=1).fit(X, size * (targets(X) / 9))


def test_training_whose_held_out_loss_is_not_finite_is_refused(X):
    regressor = quick(lr=1e30, batch_size=600, max_epochs=1, schedule="constant")
    with pytest.raises(ValueError, match="loss must stay finite"):
        regressor.fit(X, targets(X))
