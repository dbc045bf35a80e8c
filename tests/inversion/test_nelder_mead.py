import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils import get_tags

from skphonon.inversion import BoundWarning, NelderMeadInverter
from skphonon.metrics import ResimulationScorer, nmse
from skphonon.preprocessing import MaskedSpectrumPreprocessor

PIXELS = np.arange(10.0)
HIDDEN = [0, 9]


class TwoPeaks(BaseEstimator):
    """Two Gaussian peaks on ten pixels, the outermost of which are hidden."""

    parameter_names = ("position", "distance", "height")
    reference = np.array([3.0, 3.0, -0.8])

    def __init__(self, width=1.0):
        self.width = width

    def simulate(self, parameters):
        position, distance, height = np.transpose(parameters)[..., None]
        X = np.exp(-(((PIXELS - position) / self.width) ** 2))
        X -= height * np.exp(-(((PIXELS - position - distance) / self.width) ** 2))
        X[:, HIDDEN] = np.nan
        return X


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    return TwoPeaks.reference * rng.uniform(0.8, 1.2, size=(4, 3))


@pytest.mark.parametrize("scale", ["normalized", "fitted"])
def test_recovers_what_the_simulator_made(truth, scale):
    X = 100 * TwoPeaks().simulate(truth) - 7
    start = [3.9, 2.1, -0.56]  # 30 % off the reference
    inverter = NelderMeadInverter(TwoPeaks(), initial=start, scale=scale).fit(X)
    assert_array_equal(inverter.start_, start)
    # The simplex ends smaller than 1e-3 of its first size, a quarter of the start.
    assert_allclose(inverter.predict(X), truth, atol=1e-3)
    assert inverter.converged_.all()
    assert (inverter.loss_ < 1e-5).all()


def test_reports_how_each_search_went(truth):
    X = TwoPeaks().simulate(truth)
    X += 0.02 * np.random.default_rng(1).normal(size=X.shape)
    inverter = NelderMeadInverter(TwoPeaks()).fit(X)
    with pytest.raises(AttributeError, match="loss_ is known after predict"):
        _ = inverter.loss_
    found = inverter.predict(X)
    assert_allclose(inverter.loss_, nmse(X, TwoPeaks().simulate(found)), rtol=1e-9)
    assert (inverter.n_evaluations_ > inverter.n_iter_).all()
    assert inverter.n_iter_.shape == inverter.converged_.shape == (4,)
    report = inverter.invert(X[:2])
    assert_array_equal(report.parameters, found[:2])
    assert_array_equal(report.n_iter, inverter.n_iter_[:2])
    assert inverter.loss_.shape == (4,)  # invert leaves the record of predict alone


def test_beats_its_own_start(truth):
    rng = np.random.default_rng(2)
    y = TwoPeaks.reference * rng.uniform(0.7, 1.3, size=(50, 3))
    X = TwoPeaks().simulate(truth)
    noisy = X + 0.05 * rng.normal(size=X.shape)
    inverter = NelderMeadInverter(TwoPeaks()).fit(TwoPeaks().simulate(y), y)
    assert_allclose(inverter.start_, y.mean(axis=0))
    assert_allclose(inverter.steps_, y.std(axis=0))
    found = inverter.predict(noisy)
    at_mean = np.tile(y.mean(axis=0), (4, 1))
    assert r2_score(truth, found) > 0.8 > 0.1 > r2_score(truth, at_mean)
    assert (inverter.loss_ < nmse(noisy, TwoPeaks().simulate(at_mean))).all()


def test_without_targets_start_and_steps_follow_the_reference(truth):
    inverter = NelderMeadInverter(TwoPeaks(), simplex_size=2).fit(
        TwoPeaks().simulate(truth)
    )
    assert_array_equal(inverter.start_, TwoPeaks.reference)
    assert_allclose(inverter.steps_, [1.5, 1.5, 0.4])


def test_parameters_that_start_at_zero_move_too(truth):
    X = TwoPeaks().simulate(truth)
    inverter = NelderMeadInverter(TwoPeaks(), initial=[3.0, 3.0, 0.0]).fit(X)
    assert_allclose(inverter.predict(X), truth, atol=1e-3)


def test_compares_only_where_both_are_measured(truth):
    X = TwoPeaks().simulate(truth)
    gaps = X.copy()
    gaps[0, 4] = gaps[2, 7] = np.nan
    gaps[:, HIDDEN] = 1e6  # measured, but the simulator does not see it
    inverter = NelderMeadInverter(TwoPeaks()).fit(X)
    assert_allclose(inverter.predict(gaps), truth, atol=1e-3)


# parameters at the edge of the training set are found there
at_the_edge = pytest.mark.filterwarnings("ignore::skphonon.inversion.BoundWarning")


@at_the_edge
def test_an_emulator_is_trained_where_there_is_no_simulator():
    rng = np.random.default_rng(3)
    y = TwoPeaks.reference * rng.uniform(0.9, 1.1, size=(400, 3))
    X = TwoPeaks().simulate(y)
    inverter = NelderMeadInverter().fit(X[:360], y[:360])
    # Quadratic over changes of a tenth: errors of third order, 1e-3, in X.
    assert r2_score(y[360:375], inverter.predict(X[360:375])) > 0.99
    assert_array_equal(np.isnan(inverter.simulator_.simulate(y[:1])), np.isnan(X[:1]))


@at_the_edge
def test_any_regressor_is_cloned_to_be_the_emulator():
    rng = np.random.default_rng(4)
    y = TwoPeaks.reference * rng.uniform(0.9, 1.1, size=(400, 3))
    X = TwoPeaks().simulate(y)
    cubic = make_pipeline(StandardScaler(), PolynomialFeatures(3), Ridge(1e-6))
    inverter = NelderMeadInverter(cubic).fit(X[:380], y[:380])
    assert r2_score(y[380:390], inverter.predict(X[380:390])) > 0.999
    assert not hasattr(cubic[-1], "coef_")


def test_an_emulator_is_not_searched_beyond_its_training_set():
    rng = np.random.default_rng(5)
    y = TwoPeaks.reference * rng.uniform(0.95, 1.05, size=(100, 3))
    outside = TwoPeaks().simulate(TwoPeaks.reference * [[1.3, 0.8, 1.5]])
    inverter = NelderMeadInverter().fit(TwoPeaks().simulate(y), y)
    message = r"Ended at a bound: y\[:, 0\] = 3\.14.*train it on a wider range"
    with pytest.warns(BoundWarning, match=message) as log:
        found = inverter.predict(outside)[0]
    assert log[0].filename == __file__
    assert inverter.at_bound_.loc[0, "y[:, 0]"] == 1
    span = np.ptp(y, axis=0)
    assert (found >= y.min(axis=0) - 1e-9 * span).all()
    assert (found <= y.max(axis=0) + 1e-9 * span).all()
    assert_array_equal(inverter.bounds_, [y.min(axis=0), y.max(axis=0)])


@at_the_edge
def test_an_emulator_fills_gaps_of_its_training_set():
    rng = np.random.default_rng(6)
    y = TwoPeaks.reference * rng.uniform(0.9, 1.1, size=(400, 3))
    X = TwoPeaks().simulate(y)
    X[::50, 4] = np.nan
    inverter = NelderMeadInverter().fit(X, y)
    assert r2_score(y[1:11], inverter.predict(X[1:11])) > 0.99


def test_a_constant_target_is_predicted_as_it_is():
    y = TwoPeaks.reference * np.random.default_rng(9).uniform(0.9, 1.1, size=(50, 3))
    y[:, 1] = 3.0
    X = TwoPeaks().simulate(y)
    found = NelderMeadInverter().fit(X, y).predict(X[:5])
    assert_allclose(found[:, 1], 3.0, rtol=1e-15)
    assert r2_score(y[:5, ::2], found[:, ::2]) > 0.99


def test_one_target_stays_one_dimensional():
    y = np.linspace(2.5, 3.5, 40)
    X = TwoPeaks().simulate(np.c_[y, np.full(40, 3.0), np.full(40, -0.8)])
    inverter = NelderMeadInverter().fit(X, y)
    found = inverter.predict(X[5:35:7])
    assert found.shape == (5,)
    assert_allclose(found, y[5:35:7], atol=0.05)  # the emulator is quadratic


def test_a_regressor_can_give_each_spectrum_its_start(truth):
    rng = np.random.default_rng(7)
    y = TwoPeaks.reference * rng.uniform(0.7, 1.3, size=(200, 3))
    X = TwoPeaks().simulate(y)
    guess = make_pipeline(MaskedSpectrumPreprocessor(), Ridge()).fit(X, y)
    inverter = NelderMeadInverter(TwoPeaks(), initial=FrozenEstimator(guess))
    found = clone(inverter).fit(X, y).predict(TwoPeaks().simulate(truth))
    assert_allclose(found, truth, atol=1e-3)
    wrong = Ridge().fit(np.nan_to_num(X), y[:, :2])
    inverter = NelderMeadInverter(TwoPeaks(), initial=wrong).fit(X, y)
    with pytest.raises(ValueError, match=r"predict 3 finite.*shape \(1, 2\)"):
        inverter.predict(np.nan_to_num(X[:1]))


def test_workers_change_nothing(truth):
    X = TwoPeaks().simulate(truth)
    serial = NelderMeadInverter(TwoPeaks()).fit(X)
    parallel = NelderMeadInverter(TwoPeaks(), n_jobs=2).fit(X)
    assert_array_equal(parallel.predict(X), serial.predict(X))
    assert_array_equal(parallel.n_evaluations_, serial.n_evaluations_)


def test_rows_do_not_influence_one_another(truth):
    X = TwoPeaks().simulate(truth)
    inverter = NelderMeadInverter(TwoPeaks()).fit(X)
    assert_array_equal(inverter.predict(X)[2:], inverter.predict(X[2:]))


def test_survives_pickling(truth):
    X = TwoPeaks().simulate(truth)
    inverter = NelderMeadInverter(TwoPeaks()).fit(X)
    found = inverter.predict(X)
    loaded = pickle.loads(pickle.dumps(inverter))
    assert_array_equal(loaded.loss_, inverter.loss_)
    assert_array_equal(loaded.predict(X), found)


def test_works_in_model_selection(truth):
    y = TwoPeaks.reference * np.random.default_rng(8).uniform(0.8, 1.2, (9, 3))
    X = TwoPeaks().simulate(y)
    inverter = NelderMeadInverter(TwoPeaks())
    assert (cross_val_score(inverter, X, y, cv=3) > 0.999).all()
    scorer = ResimulationScorer(TwoPeaks())
    assert (cross_val_score(inverter, X, scoring=scorer, cv=3) > -1e-5).all()
    grid = {"simulator__width": [0.5, 1.0], "scale": ["normalized", "fitted"]}
    search = GridSearchCV(inverter, grid, cv=3).fit(X, y)
    assert search.best_params_["simulator__width"] == 1.0


def test_shows_progress_only_when_asked(truth, capsys):
    X = TwoPeaks().simulate(truth)
    NelderMeadInverter(TwoPeaks()).fit(X).predict(X)
    assert capsys.readouterr().err == ""
    NelderMeadInverter(TwoPeaks(), verbose=1).fit(X).predict(X)
    assert "4/4" in capsys.readouterr().err


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_an_interrupt_leaves_the_last_result(truth, n_jobs):
    class Interrupting(TwoPeaks):
        calls_left = np.inf

        def simulate(self, parameters):
            self.calls_left -= 1
            if self.calls_left < 0:
                raise KeyboardInterrupt
            return super().simulate(parameters)

    X = TwoPeaks().simulate(truth)
    simulator = Interrupting()
    inverter = NelderMeadInverter(simulator, n_jobs=n_jobs).fit(X)
    found = inverter.predict(X)
    loss = inverter.loss_.copy()
    simulator.calls_left = 30
    with pytest.raises(KeyboardInterrupt):
        inverter.predict(X[:3])
    assert_array_equal(inverter.loss_, loss)
    simulator.calls_left = np.inf
    assert_array_equal(inverter.predict(X), found)


def test_warns_of_searches_that_ended_early(truth):
    X = TwoPeaks().simulate(truth)
    X[1] = TwoPeaks().simulate(TwoPeaks.reference[None])
    inverter = NelderMeadInverter(TwoPeaks(), max_evaluations=20).fit(X)
    with pytest.warns(
        ConvergenceWarning, match=r"4 of 4 .*sample 0: Maximum number.*=20 .*=0\.001"
    ):
        inverter.predict(X)
    assert not inverter.converged_.any()
    assert (inverter.n_evaluations_ <= 20).all()


def test_a_constant_spectrum_stays_at_the_start(truth):
    X = TwoPeaks().simulate(truth)
    X[3] = 1.0
    inverter = NelderMeadInverter(TwoPeaks()).fit(X)
    with pytest.warns(ConvergenceWarning, match=r"1 of 4 .*sample 3: constant"):
        found = inverter.predict(X)
    assert_array_equal(found[3], inverter.start_)
    assert_array_equal(np.isnan(inverter.loss_), [False, False, False, True])


def test_parameters_that_cannot_be_simulated_are_avoided(truth):
    class Fragile(TwoPeaks):
        def simulate(self, parameters):
            X = super().simulate(parameters)
            X[parameters[:, 0] > 3.3] = np.nan
            return X

    X = TwoPeaks().simulate(truth)
    inverter = NelderMeadInverter(Fragile()).fit(X)
    found = inverter.predict(X)
    reachable = truth[:, 0] < 3.3
    assert 0 < reachable.sum() < 4
    assert_allclose(found[reachable], truth[reachable], atol=1e-3)
    assert (found[:, 0] <= 3.3).all()


def test_refuses_spectra_from_another_grid(truth):
    X = TwoPeaks().simulate(truth)
    with pytest.raises(
        ValueError, match="grid of the simulator, 10 pixels each, got 8"
    ):
        NelderMeadInverter(TwoPeaks()).fit(X[:, 1:9])
    inverter = NelderMeadInverter(TwoPeaks()).fit(X)
    with pytest.raises(ValueError, match=r"X has 8 features.*expecting 10"):
        inverter.predict(X[:, 1:9])


def test_refuses_spectra_it_cannot_compare(truth):
    X = TwoPeaks().simulate(truth)
    inverter = NelderMeadInverter(TwoPeaks()).fit(X)
    X[2, 1:9] = np.nan
    with pytest.raises(ValueError, match=r"share at least one.*sample 2"):
        inverter.predict(X)
    X[2, 1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        inverter.predict(X)


def test_refuses_starts_and_targets_of_another_size(truth):
    X = TwoPeaks().simulate(truth)
    with pytest.raises(ValueError, match=r"position, distance, height\), got 2 col"):
        NelderMeadInverter(TwoPeaks()).fit(X, truth[:, :2])
    for initial in ([3.0, 3.0], [truth[0]], [3.0, 3.0, np.nan]):
        with pytest.raises(ValueError, match="start must be 3 finite values"):
            NelderMeadInverter(TwoPeaks(), initial=initial).fit(X)


def test_needs_targets_only_to_train_an_emulator(truth):
    X = TwoPeaks().simulate(truth)
    with pytest.raises(ValueError, match="requires y to be passed"):
        NelderMeadInverter().fit(X)
    assert get_tags(NelderMeadInverter()).target_tags.required
    assert not get_tags(NelderMeadInverter(TwoPeaks())).target_tags.required
    with pytest.raises(NotFittedError):
        NelderMeadInverter(TwoPeaks()).predict(X)


def test_refuses_what_is_neither_simulator_nor_regressor(truth):
    with pytest.raises(ValueError, match="'simulator' parameter"):
        NelderMeadInverter(np.exp).fit(TwoPeaks().simulate(truth))
