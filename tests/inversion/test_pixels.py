"""PixelInverter on a ridge of which position and slope are known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import xlogy
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator

from skphonon import ImplicitSpectrumModel, PixelInverter
from skphonon.instrument.background import nonnegative_terms
from skphonon.inversion import (
    BoundWarning,
    IdentifiabilityWarning,
    MisfitWarning,
)
from skphonon.inversion._pixel_fitting import Fitted, Pixels, compare
from skphonon.learning import ExtrapolationWarning, Trainer

TRUTH = np.array([12.0, 5.0])


class Ridge:
    """A ridge at the energy gap + slope * q, two wide; coordinates are q and energy."""

    parameter_names, reference = ["gap", "slope"], np.array([11.0, 4.0])
    bounds_ = np.array([[5.0, 0.0], [20.0, 10.0]])

    def simulate_at(self, coordinates, parameters):
        return self.jacobian_at(coordinates, parameters, return_spectra=True)[1]

    def jacobian_at(self, coordinates, parameters, return_spectra=False):
        q, energy = np.transpose(coordinates)
        gap, slope = np.transpose(parameters)[..., None]
        x = (energy - gap - slope * q) / 2
        spectra = np.exp(-(x**2) / 2)
        slopes = np.stack([x * spectra / 2, x * q * spectra / 2], axis=2)
        return (slopes, spectra) if return_spectra else slopes


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).uniform([0, 0], [2, 30], size=(600, 2))


def expected(X, height=20.0, background=1.0):
    return height * Ridge().simulate_at(X, TRUTH[None])[0] + background


def counts(X, seed=0, **options):
    return np.random.default_rng(seed).poisson(expected(X, **options)).astype(float)


def quick(**options):
    """Few starts, of which one is enough here."""
    settings = {"n_starts": 3, "n_candidates": 32, "random_state": 0}
    return PixelInverter(Ridge(), **settings | options)


@pytest.mark.parametrize("loss", ["chi2", "poisson", "correlation"])
def test_exact_intensities_give_exact_parameters(X, loss):
    # of correlations the scale and the constant are those of the logarithm
    y = expected(X, 3.0, 0.5) if loss != "correlation" else expected(X, 1.0, 0.0)
    inverter = quick(loss=loss).fit(X, y)
    assert_allclose(inverter.parameters_, TRUTH, atol=1e-3)
    assert inverter.loss_ < 1e-6
    assert_allclose(inverter.predict(X), y, atol=1e-3)
    if loss != "correlation":
        assert_allclose(inverter.scale_, 3.0, rtol=1e-3)
        assert_allclose(inverter.background_, [0.5], rtol=1e-3)


@pytest.mark.parametrize("unit", [1.0, 0.05])
def test_correlation_is_pearsons(X, unit):
    y = counts(X)
    inverter = quick(unit=unit).fit(X, y)

    def logarithms(parameters):
        return np.log1p(Ridge().simulate_at(X, parameters[None])[0] / unit)

    def dissimilarity(parameters):
        return 1 - np.corrcoef(np.log1p(y), logarithms(parameters))[0, 1]

    best = minimize(dissimilarity, TRUTH, method="Nelder-Mead", tol=1e-8)
    assert_allclose(inverter.loss_, best.fun)
    assert_allclose(inverter.parameters_, best.x, atol=2e-3)
    fitted = np.log1p(inverter.predict(X))
    line = np.polyfit(logarithms(inverter.parameters_), np.log1p(y), 1)
    assert_allclose(fitted, np.polyval(line, logarithms(inverter.parameters_)))


def test_counts_are_fitted_by_their_likelihood(X):
    y = counts(X, height=2.0, background=0.3)
    inverter = quick(loss="poisson").fit(X, y)

    def misfit(values):
        mean = values[2] * Ridge().simulate_at(X, values[None, :2])[0] + values[3]
        return (mean - y * np.log(mean)).sum()

    best = minimize(misfit, [*TRUTH, 2.0, 0.3], method="Nelder-Mead", tol=1e-9)
    found = *inverter.parameters_, inverter.scale_, *inverter.background_
    assert_allclose(found, best.x, rtol=2e-3)


@pytest.mark.parametrize("degree", [0, 8])
def test_scale_and_background_of_counts_are_the_likeliest(X, degree):
    y = counts(X, height=0.5, background=0.1)
    terms = nonnegative_terms(X[:, 1], degree, (0.0, 30.0)).T
    row = np.array([[11.0, 6.0]])
    basis = np.column_stack([Ridge().simulate_at(X, row)[0], terms])

    def deviance(linear):
        mean = np.maximum(basis @ linear, 1e-9)
        slope = 2 * basis.T @ (1 - y / mean) / len(y)
        return 2 * (xlogy(y, y / mean) - y + mean).mean(), slope

    best = minimize(
        deviance,
        np.full(basis.shape[1], 0.1),
        jac=True,
        bounds=[(0, None)] * basis.shape[1],
        options={"ftol": 1e-14, "gtol": 1e-10, "maxiter": 10000},
    )
    ones = np.ones(len(y))
    pixels = Pixels("poisson", X, y, ones, ones, terms)
    found = compare(pixels, Ridge().simulate_at(X, row), np.zeros((1, len(y), 0)))
    assert_allclose(pixels.losses(found.cost)[0], best.fun, rtol=1e-5)
    assert (Fitted(*found.details).linear >= 0).all()


def test_gradient_is_that_of_the_loss(X):
    """By finite differences, with scale and background fitted anew at each."""
    part = X[:300]
    y = counts(part, height=4.0)
    terms, ones = nonnegative_terms(part[:, 1], 1, (0.0, 30.0)).T, np.ones(len(y))
    steps = np.vstack([0 * TRUTH, np.eye(2), -np.eye(2)]) * 1e-4
    rows = np.array([11.5, 5.5]) + steps
    slopes, spectra = Ridge().jacobian_at(part, rows, return_spectra=True)
    for loss, factor in [("chi2", 2 / len(y)), ("poisson", 2 / len(y))]:
        pixels = Pixels(loss, part, y, ones, ones, terms)
        found = compare(pixels, spectra, slopes)
        losses = pixels.losses(found.cost)
        differences = (losses[1:3] - losses[3:]) / 2e-4
        assert_allclose(-factor * found.gradient[0], differences, rtol=1e-4)


def test_background_is_smooth_in_energy(X):
    y = expected(X, 5.0, 0.0) + 3 - (X[:, 1] / 30) ** 2
    with pytest.warns(MisfitWarning, match="or noise is correlated"):
        flat = quick(loss="chi2").fit(X, y)
    curved = clone(flat).set_params(background=2).fit(X, y)
    assert_allclose(curved.parameters_, TRUTH, atol=1e-3)
    assert_allclose(curved.predict(X), y, atol=1e-3)
    assert np.abs(flat.predict(X) - y).max() > 0.1


def test_without_background(X):
    y = expected(X, 5.0, 0.0)
    inverter = quick(loss="chi2", background=None)
    assert inverter.fit(X, y).background_.size == 0
    assert_allclose(inverter.parameters_, TRUTH, atol=1e-3)


def coverage(fit, n_runs=60):
    """Return how often the truth is within one error bar, of each parameter."""
    within = []
    for seed in range(n_runs):
        inverter = fit(seed)
        within.append(np.abs(inverter.parameters_ - TRUTH) < inverter.std_)
    return np.mean(within, axis=0)


@pytest.mark.parametrize("errors", ["noise", "residual"])
def test_error_bars_of_counts_hold(X, errors):
    part = X[:400]
    inverter = quick(loss="poisson", errors=errors, n_starts=1, n_candidates=8)
    found = coverage(
        lambda seed: inverter.fit(part, counts(part, seed, height=5.0, background=0.5))
    )
    # 68 % of 60, the standard deviation of which is 6 %, at three of these: bars that
    # are half as large hold 38 %, twice as large ones 95 %
    assert_allclose(found, 0.683, atol=0.18)


def test_error_bars_of_a_wrong_model_hold(X):
    # a ridge twice as wide as that of the model, of which the place is still found
    q, energy = X.T
    wide = 20 * np.exp(-(((energy - TRUTH[0] - TRUTH[1] * q) / 4) ** 2) / 2) + 1
    inverter = quick(
         loss="poisson", errors="noise", n_starts=1, n_candidates=8
    )  # fmt: skip
    ends, stds = [], []
    for seed in range(50):
        counted = np.random.default_rng(seed).poisson(wide)
        with pytest.warns(MisfitWarning, match="moves the best fit of a wrong model"):
            inverter.fit(X, counted)
        ends.append(inverter.parameters_)
        stds.append(inverter.std_)
    from_residuals = clone(inverter).set_params(errors="residual")
    with pytest.warns(MisfitWarning):
        from_residuals = from_residuals.fit(X, counted).std_
    # the spread of 50 is known to 10 %
    spread = np.std(ends, axis=0)
    assert_allclose(np.mean(stds, axis=0), spread, rtol=0.25)
    # 1.6 times the others; 7 % from one run to another
    assert (from_residuals > 1.3 * spread).all()


@pytest.mark.parametrize("given", [True, False])
def test_error_bars_of_intensities_hold(X, given):
    part = X[:400]
    inverter = quick(loss="chi2", errors="noise", n_starts=1, n_candidates=8)

    def fit(seed):
        noise = np.random.default_rng(seed).normal(scale=2.0, size=len(part))
        errors = np.full(len(part), 2.0) if given else None
        return inverter.fit(part, expected(part) + noise, errors)

    assert_allclose(coverage(fit), 0.683, atol=0.18)


def test_error_bars_of_correlations_hold(X):
    part, inverter = X[:400], quick(n_starts=1, n_candidates=8)

    def fit(seed):
        noise = np.random.default_rng(seed).normal(scale=0.05, size=len(part))
        intensity = np.expm1(np.log1p(expected(part, 1.0, 0.0)) + 0.4 + noise)
        return inverter.fit(part, intensity)

    assert_allclose(coverage(fit), 0.683, atol=0.18)


@pytest.mark.parametrize("loss", ["chi2", "poisson", "correlation"])
def test_chi2_is_one_where_the_model_is_right(X, loss):
    y, rng = counts(X, height=5.0, background=0.5), np.random.default_rng(0)
    if loss != "poisson":
        y = expected(X, 1.0, 0.0) + 0.05 * np.abs(rng.normal(size=len(X)))
    inverter = quick(loss=loss).fit(X, y)  # and nothing is said
    assert_allclose(inverter.reduced_chi2_, 1.0, atol=0.2)
    assert not inverter.at_bound_.any()
    if loss == "chi2":
        with pytest.warns(MisfitWarning, match="or errors are too small") as log:
            inverter.fit(X, y, errors=np.full(len(X), 0.01))
        assert log[0].filename == __file__
        assert inverter.reduced_chi2_ > 5


def test_errors_weigh_intensities(X):
    rng = np.random.default_rng(0)
    errors = np.where(np.arange(len(X)) % 2, 0.2, 20.0)
    y = expected(X) + errors * rng.normal(size=len(X))
    inverter = quick(loss="chi2")
    weighted = clone(inverter).fit(X, y, errors=errors)
    assert np.all(weighted.std_ < inverter.fit(X, y).std_ / 10)
    assert_allclose(weighted.parameters_, TRUTH, atol=4 * weighted.std_.max())


def test_counts_add_up(X):
    batches = [counts(X, seed, height=0.3, background=0.05) for seed in range(3)]
    live = quick(loss="poisson")
    stds = [live.partial_fit(X, batch).std_.copy() for batch in batches]
    assert live.n_counts_ == np.sum(batches)
    # three times the counts, error bars the root of that smaller, roughly
    assert_allclose(stds[0] / stds[-1], 3**0.5, rtol=0.3)
    at_once = quick(loss="poisson")
    at_once.fit(X, np.sum(batches, axis=0))
    assert_allclose(live.parameters_, at_once.parameters_, atol=2e-3)
    assert_allclose(live.std_, at_once.std_, rtol=1e-2)
    assert_allclose(live.predict(X), at_once.predict(X) / 3, rtol=1e-2)


def test_exposure_counts(X):
    half = len(X) // 2
    y = counts(X, height=40.0, background=4.0)
    y[half:] = np.random.default_rng(1).poisson(expected(X[half:], 10.0, 1.0))
    live = quick(loss="poisson")
    live.partial_fit(X[:half], y[:half], exposure=4.0)
    live.partial_fit(X[half:], y[half:])
    assert_allclose(live.scale_, 10.0, rtol=0.05)
    assert_allclose(live.parameters_, TRUTH, atol=4 * live.std_.max())


def test_an_update_escapes_a_wrong_beginning(X):
    live = quick(loss="poisson")
    live.partial_fit(X, counts(X))
    live.parameters_ = np.array([19.0, 0.5])
    live.partial_fit(X, counts(X, seed=1))
    assert_allclose(live.parameters_, TRUTH, atol=4 * live.std_.max())


def test_coverage_of_live_updates(X):
    part = X[:400]

    def fit(seed):
        live = quick(loss="poisson", n_starts=1, n_candidates=8)
        rng = np.random.default_rng(seed)
        for _ in range(2):
            live.partial_fit(part, rng.poisson(expected(part, 2.0, 0.2)))
        return live

    # 68 % of 40, at three standard deviations
    assert_allclose(coverage(fit, 40), 0.683, atol=0.22)


def test_partial_fit_is_about_counts(X):
    with pytest.raises(AttributeError, match="partial_fit"):
        PixelInverter(Ridge()).partial_fit(X, expected(X))


def test_restarts_tell_of_other_minima(X):
    y = counts(X)
    settings = {"n_starts": 8, "batch_size": 500}
    inverter = quick(loss="poisson", **settings).fit(X, y)
    restarts = inverter.restarts_
    assert list(restarts) == ["gap", "slope", "loss", "converged", "agrees"]
    assert restarts["agrees"].sum() >= 7
    lonely = quick(loss="poisson", n_candidates=1, **settings)
    restarts = lonely.fit(X, y).restarts_
    away = restarts[~restarts["agrees"]]  # without candidates some get lost
    assert len(away) > 0
    assert (away["loss"] > restarts["loss"].min()).all()


def test_loss_falls(X):
    inverter = quick(n_candidates=1).fit(X, counts(X))
    assert len(inverter.loss_curve_) > 2
    assert (np.diff(inverter.loss_curve_) <= 0).all()


def test_all_pixels_refine_what_some_found(X):
    y = counts(X)
    few = quick(loss="poisson", batch_size=100)
    all_ = clone(few).set_params(batch_size=len(X))
    assert_allclose(few.fit(X, y).parameters_, all_.fit(X, y).parameters_, atol=2e-3)


def test_bounds_hold(X):
    bounds = [[13.0, 0.0], [20.0, 10.0]]
    inverter = quick(loss="poisson", bounds=bounds)
    with pytest.warns(BoundWarning, match=r"Ended at a bound: gap = 13\. Error") as log:
        inverter.fit(X, counts(X))
    assert log[0].filename == __file__
    assert inverter.parameters_[0] == 13.0
    assert_array_equal(inverter.at_bound_, [-1, 0])
    free = quick(loss="poisson").fit(X, counts(X))
    # the harder data pull, the less is on the allowed side
    assert 0 < inverter.std_[0] < free.std_[0]
    assert 0 < inverter.std_[1] < free.std_[1]
    with pytest.raises(ValueError, match="the latter above, of gap, slope"):
        clone(inverter).set_params(bounds=[[1, 2]]).fit(X, counts(X))


def test_a_model_without_bounds(X):
    class Boundless(Ridge):
        bounds_ = property()

    inverter = PixelInverter(Boundless(), loss="poisson", random_state=0)
    assert_allclose(inverter.fit(X, counts(X)).parameters_, TRUTH, atol=0.5)


def test_what_is_not_determined_has_no_error_bar(X):
    class Flat(Ridge):
        """Whose slope is that of the truth, whatever is asked for."""

        def jacobian_at(self, coordinates, parameters, return_spectra=False):
            rows = np.where([True, False], parameters, TRUTH)
            slopes, spectra = super().jacobian_at(coordinates, rows, True)
            slopes[..., 1] = 0
            return (slopes, spectra) if return_spectra else slopes

    inverter = PixelInverter(Flat(), loss="poisson", random_state=0)
    with pytest.warns(IdentifiabilityWarning, match="Intensities do not .* slope, al"):
        inverter.fit(X, counts(X))
    assert np.isinf(inverter.std_[1])
    assert_allclose(inverter.parameters_[0], TRUTH[0], atol=4 * inverter.std_[0])


@pytest.mark.parametrize("loss", ["chi2", "poisson"])
@pytest.mark.parametrize("errors", ["residual", "noise"])
@pytest.mark.parametrize("model", [None, Ridge()])
def test_intensities_that_are_all_the_same_determine_nothing(X, loss, errors, model):
    inverter = quick(loss=loss, errors=errors).set_params(model=model)
    with pytest.warns(IdentifiabilityWarning, match="do not determine .*, .*, alone"):
        inverter.fit(X, np.full(len(X), 3.0))
    assert np.isinf(inverter.std_).all()
    assert_allclose(inverter.predict(X), 3.0, rtol=1e-9)


@pytest.mark.parametrize("loss", ["chi2", "poisson", "correlation"])
@pytest.mark.parametrize("model", [None, Ridge()])
def test_pixels_at_one_place_determine_nothing(loss, model):
    X = np.tile([1.0, 15.0], (400, 1))
    y = np.random.default_rng(0).poisson(5, 400)
    inverter = quick(loss=loss).set_params(model=model)
    with pytest.warns(IdentifiabilityWarning, match="do not determine .*, .*, alone"):
        inverter.fit(X, y)
    assert np.isinf(inverter.std_).all()


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_derivatives_that_are_not_finite_are_refused(X, odd):
    class Broken(Ridge):
        beyond = -np.inf

        def jacobian_at(self, coordinates, parameters, return_spectra=False):
            slopes, spectra = super().jacobian_at(coordinates, parameters, True)
            slopes[np.ravel(parameters)[::2] > self.beyond, 7, 1] = odd
            return (slopes, spectra) if return_spectra else slopes

    inverter = PixelInverter(Broken(), loss="poisson", random_state=0)
    with pytest.raises(ValueError, match=r"must be finite .* parameter 1 \(of 2"):
        inverter.fit(X, counts(X))
    inverter.model.beyond = 12.5  # elsewhere they are: there the search stays
    assert_allclose(inverter.fit(X, counts(X)).parameters_, TRUTH, atol=0.5)


def test_parameters_without_a_spectrum_are_avoided(X):
    class Unstable(Ridge):
        def jacobian_at(self, coordinates, parameters, return_spectra=False):
            slopes, spectra = super().jacobian_at(coordinates, parameters, True)
            spectra[np.ravel(parameters)[::2] > 12.5] = np.nan
            return (slopes, spectra) if return_spectra else slopes

    inverter = PixelInverter(Unstable(), loss="poisson", random_state=0)
    assert_allclose(inverter.fit(X, counts(X)).parameters_, TRUTH, atol=0.5)
    with pytest.raises(ValueError, match="finite at all pixels for some"):
        inverter.set_params(bounds=[[13.0, 0.0], [20.0, 10.0]]).fit(X, counts(X))


def test_few_counts_among_many_pixels():
    X = np.random.default_rng(0).uniform([0, 0], [2, 30], size=(20000, 2))
    y = counts(X, height=0.05, background=0.005)  # in two pixels of a hundred
    inverter = quick(loss="poisson", batch_size=1000)
    inverter.fit(X, y)
    assert 100 < y.sum() < 500
    assert inverter.restarts_["agrees"].all()
    # the batch has all counts, and empty pixels that stand for the others
    on_some = inverter.restarts_.loc[0, ["gap", "slope"]].to_numpy(dtype=float)
    assert (np.abs(on_some - inverter.parameters_) < 3 * inverter.std_).all()
    assert (np.abs(TRUTH - inverter.parameters_) < 3 * inverter.std_).all()


def test_a_search_cut_short_says_so(X):
    inverter = quick(max_steps=1, n_candidates=1)
    with pytest.warns(ConvergenceWarning, match="max_steps=1") as log:
        inverter.fit(X, counts(X))
    assert log[0].filename == __file__


@pytest.mark.parametrize("loss", ["correlation", "poisson"])
def test_bad_intensities_are_refused(X, loss):
    inverter = quick(loss=loss)
    with pytest.raises(ValueError, match="300 of 600 below zero, the least -1"):
        inverter.fit(X, np.where(np.arange(600) % 2, 1.0, -1.0))
    with pytest.raises(ValueError, match="NaN"):
        inverter.fit(X, np.full(600, np.nan))
    with pytest.raises(ValueError, match=r"got 600 of 0\. Wait for counts"):
        inverter.fit(X, np.zeros(600))


def test_no_counts_leave_the_estimate(X):
    live = quick(loss="poisson")
    with pytest.raises(ValueError, match="Wait for counts"):
        live.partial_fit(X, np.zeros(len(X)))
    live.partial_fit(X, counts(X))
    before = live.parameters_.copy(), live.n_counts_
    with pytest.raises(ValueError, match="below zero"):
        live.partial_fit(X, -counts(X))
    with pytest.raises(ValueError, match="exposure must be positive, got 0"):
        live.partial_fit(X, counts(X), exposure=0)
    assert_array_equal(live.parameters_, before[0])
    assert live.n_counts_ == before[1]


@pytest.mark.parametrize("bad", [-np.ones(600), np.ones(3)])
def test_bad_errors_are_refused(X, bad):
    with pytest.raises(ValueError, match="errors must be positive, one for each"):
        quick(loss="chi2").fit(X, expected(X), errors=bad)
    with pytest.raises(ValueError, match="need loss='chi2'"):
        PixelInverter(Ridge()).fit(X, expected(X), errors=np.ones(1500))


def test_a_network_is_a_model(X):
    rng = np.random.default_rng(1)
    parameters = rng.uniform([10, 3], [14, 7], size=(150, 2))
    rows = np.vstack([np.hstack([X[:100], np.tile(p, (100, 1))]) for p in parameters])
    y = np.concatenate([Ridge().simulate_at(X[:100], p[None])[0] for p in parameters])
    network = ImplicitSpectrumModel(
        (32, 32),
        n_parameters=2,
        trainer=Trainer(batch_size=256, max_epochs=15),
        random_state=0,
    ).fit(rows, y)
    settings = {"loss": "chi2", "random_state": 0}
    inverter = clone(PixelInverter(FrozenEstimator(network), **settings))
    inverter.fit(X[:100], expected(X[:100]))
    assert_array_equal(inverter.model_.bounds_, network.bounds_)
    # within a few per cent of the box, as well as it has learnt
    assert_allclose(inverter.parameters_, TRUTH, atol=0.15)
    with pytest.warns(ExtrapolationWarning, match="training (box|set)"):
        inverter.predict([[5.0, 20.0]])
