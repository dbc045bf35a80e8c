"""Calibrated intervals, against counted coverage, closed forms and sorted scores."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import beta, norm
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skphonon.calibration import CalibratedRegressor
from skphonon.inversion import LeastSquaresInverter, MisfitWarning
from skphonon.learning import ForceConstantRegressor, Trainer
from skphonon.persistence import load_model, save_model
from skphonon.preprocessing import MaskedSpectrumPreprocessor


class Teller(RegressorMixin, BaseEstimator):
    """Predict zeros, with the columns of X as standard deviations."""

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X, return_std=False):
        X = np.asarray(X)
        values = np.zeros(X.shape)
        return (values, X) if return_std else values


def told(std, y):
    frozen = FrozenEstimator(Teller().fit(std, y))
    return CalibratedRegressor(frozen).fit(std, y)


def too_sure(n_samples, seed):
    """Return standard deviations and errors: three times, half and ten times those."""
    rng = np.random.default_rng(seed)
    std = rng.uniform(0.5, 2.0, size=(n_samples, 3))
    shapes = np.column_stack(
        [
            3 * rng.normal(size=n_samples),
            rng.uniform(-0.5, 0.5, size=n_samples),
            10 * rng.standard_t(3, size=n_samples),
        ]
    )
    return std, std * shapes


def covered(y, low, high):
    return ((low <= y) & (y <= high)).mean(axis=-2)


def test_normal_errors_get_the_factor_they_need():
    one = told(*too_sure(4000, seed=0))
    # 4000 samples know a quantile of 68 % to 1.6 %
    assert_allclose(one.factors_[0], 3, rtol=0.05)
    assert_allclose(one.factors_[1], 0.5 * 0.6827, rtol=0.05)
    std, y = too_sure(4000, seed=1)
    values, calibrated = one.predict(std, return_std=True)
    assert_array_equal(values, one.predict(std))
    assert_allclose(calibrated, std * one.factors_)
    # both counts scatter by 0.7 %
    assert_allclose(covered(y, -calibrated, calibrated), 0.6827, atol=0.03)


@pytest.mark.parametrize("n", [19, 50])
def test_coverage_is_that_of_the_theorem(n):
    """Over calibrations it is a beta distribution of known parameters."""
    coverage, shares = 0.9, []
    for seed in range(400):
        one = told(*too_sure(n, seed=seed))
        ends = one.predict_interval(np.ones((1, 3)), coverage=coverage)
        shares.append(2 * norm.cdf(ends[1][0, 0] / 3) - 1)  # of the normal errors
    rank = np.ceil((n + 1) * coverage)
    expected = beta(rank, n + 1 - rank)
    assert_allclose(np.mean(shares), expected.mean(), atol=4 * expected.std() / 20)
    assert_allclose(np.std(shares), expected.std(), rtol=0.15)
    assert expected.mean() >= coverage


def test_intervals_hold_what_they_say_for_any_errors():
    one = told(*too_sure(2000, seed=0))
    std, y = too_sure(4000, seed=1)
    nominal = np.array([0.5, 0.9, 0.95, 0.99])
    low, high = one.predict_interval(std, coverage=nominal)
    assert low.shape == (4, 4000, 3)
    assert_allclose(covered(y, low, high), nominal[:, None] * np.ones(3), atol=0.035)
    assert_allclose(one.predict_interval(std)[1], high[2])  # 95 % unless asked
    calibrated = one.predict(std, return_std=True)[1]
    assert_allclose(one.predict_interval(std, coverage=0.6827)[1], calibrated)


def test_factors_are_order_statistics():
    y = np.arange(1.0, 11.0)[::-1, None]
    one = told(np.full((10, 1), 2.0), y)
    assert_array_equal(one.scores_[:, 0], np.arange(1, 11) / 2)
    # of eleven: ceil(11 * 0.6827) = 8, ceil(11 * 0.9) = 10
    assert_array_equal(one.factors_, [4.0])
    assert_array_equal(one.predict_interval([[1.0]], coverage=0.9), [[[-5.0]], [[5.0]]])
    assert_array_equal(one.predict_interval([[1.0]])[1], [[np.inf]])  # ten are too few
    one = told(np.ones((19, 1)), np.arange(1.0, 20.0)[:, None])
    assert_array_equal(one.predict_interval([[1.0]], coverage=0.55)[1], [[11.0]])


def test_what_is_no_scale_is_left_out():
    std, y = too_sure(600, seed=0)
    std[::3, 0] = np.inf
    std[1::3, 0] = 0.0
    std[2::3, 1] = np.nan
    one = told(std, y)
    some = told(std[2::3], y[2::3])
    assert_allclose(one.factors_[0], some.factors_[0])
    assert_array_equal(np.isnan(one.scores_).sum(axis=0), [400, 200, 0])
    calibrated = one.predict(std, return_std=True)[1]
    assert_array_equal(np.isinf(calibrated[:, 0]), np.arange(600) % 3 != 2)
    assert_array_equal(np.isinf(calibrated[:, 1]), np.arange(600) % 3 == 2)
    low, high = one.predict_interval(std, coverage=0.8)
    assert_array_equal(np.isinf(high), np.isinf(calibrated))
    assert_array_equal(low, -high)


def test_a_target_without_any_scale_stays_unknown():
    std, y = too_sure(50, seed=0)
    std[:, 2] = np.inf
    one = told(std, y)
    assert np.isinf(one.factors_[2])
    assert np.isfinite(one.factors_[:2]).all()
    assert np.isinf(one.predict(std, return_std=True)[1][:, 2]).all()


def test_exact_predictions_have_no_width():
    std = np.full((50, 1), 0.1)
    one = told(std, 0 * std)
    assert_array_equal(
        one.predict_interval(np.append(std, [[np.inf]], axis=0))[1][0], 0
    )
    assert_array_equal(
        one.predict([[0.1], [np.inf]], return_std=True)[1].ravel(), [0, np.inf]
    )


# --- as an estimator


def line(n_samples, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n_samples, 2))
    return X, X @ [1.0, -2.0] + 0.1 * rng.standard_t(3, size=n_samples)


def test_training_and_calibration_share_no_sample():
    X, y = line(200)
    one = CalibratedRegressor(
        GaussianProcessRegressor(alpha=0.01, optimizer=None),
        calibration_fraction=0.3,
        random_state=0,
    ).fit(X, y)
    trained = {*map(tuple, one.estimator_.X_train_)}
    assert len(trained) == 140
    held_out = np.array([tuple(row) not in trained for row in X])
    values, std = one.estimator_.predict(X[held_out], return_std=True)
    scores = np.sort(np.abs(y[held_out] - values) / std)
    assert_allclose(one.scores_[:, 0], scores)


def test_a_frozen_regressor_is_not_trained_again():
    X, y = line(300)
    fitted = BayesianRidge().fit(X[:100], y[:100])
    one = CalibratedRegressor(FrozenEstimator(fitted)).fit(X[100:], y[100:])
    assert len(one.scores_) == 200
    assert_array_equal(one.predict(X), fitted.predict(X))
    again = clone(one).fit(X[100:], y[100:])
    assert_array_equal(again.factors_, one.factors_)
    with pytest.raises(NotFittedError):
        CalibratedRegressor(FrozenEstimator(BayesianRidge())).fit(X, y)


def test_networks_are_calibrated_through_pipelines(tmp_path):
    """From spectra with gaps to constants; saved, it says the same."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(300, 2))
    X = np.hstack([y, y[:, :1] * y[:, 1:]]) @ rng.normal(size=(3, 8))
    X = X + 0.02 * rng.normal(size=X.shape)
    X[:, 5] = np.nan
    network = ForceConstantRegressor(
        (30,), trainer=Trainer(max_epochs=20), random_state=0
    )
    inverter = make_pipeline(MaskedSpectrumPreprocessor(), network)
    one = CalibratedRegressor(inverter, random_state=0).fit(X, y)
    low, high = one.predict_interval(X[:5])
    assert low.shape == (5, 2)
    save_model(one, tmp_path / "calibrated.skops")
    for copy in [
        load_model(tmp_path / "calibrated.skops"),
        pickle.loads(pickle.dumps(one)),
    ]:
        assert_array_equal(copy.predict_interval(X[:5]), (low, high))


class Peak(BaseEstimator):
    """One peak; the first pixel is hidden."""

    parameter_names, reference = ["position", "width"], np.array([14.0, 3.0])

    def simulate(self, parameters):
        return self.jacobian(parameters, return_spectra=True)[1]

    def jacobian(self, parameters, return_spectra=False):
        position, width = np.transpose(parameters)[..., None]
        x = (np.arange(30.0) - position) / width
        spectra = np.exp(-(x**2))
        slopes = 2 * x * spectra / width
        derivatives = np.stack([slopes, x * slopes], axis=2)
        spectra[:, 0] = derivatives[:, 0] = np.nan
        return (derivatives, spectra) if return_spectra else derivatives


def test_least_squares_is_calibrated_where_it_is_told_a_wrong_noise():
    rng = np.random.default_rng(0)
    y = Peak.reference * rng.uniform(0.8, 1.2, size=(400, 2))
    X = Peak().simulate(y) + 0.02 * rng.normal(size=(400, 30))
    errors = np.full((400, 30), 0.01)

    class Hopeful(LeastSquaresInverter):
        def predict(self, X, return_std=False):
            return super().predict(X, return_std, errors=errors[: len(X)])

    inverter = Hopeful(Peak(), noise="noise").fit(X[:1])
    with pytest.warns(MisfitWarning, match="or errors are too small"):
        one = CalibratedRegressor(FrozenEstimator(inverter)).fit(X[:200], y[:200])
    # 200 samples know a quantile of 68 % to 7 %
    assert_allclose(one.factors_, 2, rtol=0.2)
    with pytest.warns(MisfitWarning, match="or errors are too small"):
        low, high = one.predict_interval(X[200:], coverage=0.9)
    assert_allclose(covered(y[200:], low, high), 0.9, atol=0.08)  # 2 % twice


def test_a_search_finds_parameters_inside():
    X, y = line(150)
    pipeline = make_pipeline(
        StandardScaler(), CalibratedRegressor(BayesianRidge(), random_state=0)
    )
    name = "calibratedregressor__estimator__lambda_1"
    search = GridSearchCV(pipeline, {name: [1e-6, 1e6]}, cv=3).fit(X, y)
    assert search.best_params_ == {name: 1e-6}
    std = search.best_estimator_.predict(X, return_std=True)[1]
    assert std.shape == (150,)


def test_bad_requests_are_named():
    X, y = line(60)
    with pytest.raises(TypeError, match=r"predict\(X, return_std=True\)"):
        CalibratedRegressor(Ridge()).fit(X, y)
    with pytest.raises(ValueError, match="requires y to be passed"):
        CalibratedRegressor(BayesianRidge()).fit(X, None)
    frozen = FrozenEstimator(BayesianRidge().fit(X, y))
    with pytest.raises(ValueError, match=r"shape.*\(60,\), got \(60, 2\)"):
        CalibratedRegressor(frozen).fit(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="Input y contains NaN"):
        CalibratedRegressor(frozen).fit(X, np.where(y > 0, y, np.nan))
    one = CalibratedRegressor(frozen).fit(X, y)
    for coverage in [0.0, 1.0, [0.5, np.nan]]:
        with pytest.raises(ValueError, match="coverage must lie between 0 and 1"):
            one.predict_interval(X, coverage=coverage)
