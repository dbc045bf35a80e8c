"""Gradient inversion, against scipy's curve_fit, closed forms and counted coverage."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import approx_fprime, curve_fit, minimize
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor

from skphonon.fitting import one_sided
from skphonon.instrument import SpectrumGrid
from skphonon.inversion import (
    BoundWarning,
    IdentifiabilityWarning,
    LeastSquaresInverter,
    MisfitWarning,
    NelderMeadInverter,
    Noise,
    Search,
)
from skphonon.inversion._errors import correlation_lengths
from skphonon.inversion._goodness import are_misfits
from skphonon.inversion._model import background_terms, parts_of
from skphonon.inversion._residuals import Problem
from skphonon.metrics import ResimulationScorer, nmse

PIXELS = np.arange(60.0)
HIDDEN = [0, 59]


class Peaks(BaseEstimator):
    """Two Gaussian peaks; the instrument's width is a nuisance."""

    parameter_names = ("position", "distance", "height")
    reference = np.array([18.0, 20.0, 0.8])
    nuisance_names = ("width",)
    nuisance_reference = np.array([4.0])
    x, hidden = PIXELS, HIDDEN

    def simulate(self, parameters, *, nuisance=None, nuisance_ranges=None):
        return self.jacobian(
            parameters,
            nuisance=nuisance,
            nuisance_ranges=nuisance_ranges,
            return_spectra=True,
        )[1]

    def jacobian(
        self, parameters, *, nuisance=None, nuisance_ranges=None, return_spectra=False
    ):
        position, distance, height = np.transpose(parameters)[..., None]
        width = np.broadcast_to((nuisance or {}).get("width", 4.0), len(parameters))
        width = width[:, None]
        near, far = ((self.x - at) / width for at in (position, position + distance))
        one, two = np.exp(-(near**2)), np.exp(-(far**2))
        slope, other = 2 * near * one / width, height * 2 * far * two / width
        columns = [slope + other, other, two]
        if nuisance:
            columns.append(near * slope + far * other)
        derivatives, spectra = np.stack(columns, axis=2), one + height * two
        derivatives[:, self.hidden] = spectra[:, self.hidden] = np.nan
        return (derivatives, spectra) if return_spectra else derivatives


class Plain(BaseEstimator):
    """The same peaks, of a simulator that knows no derivatives."""

    parameter_names, reference = Peaks.parameter_names, Peaks.reference

    def simulate(self, parameters):
        return Peaks().simulate(parameters)


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    return Peaks.reference * rng.uniform(0.85, 1.15, size=(4, 3))


def noisy(truth, noise=0.02, seed=1, width=4.0):
    X = Peaks().simulate(truth, nuisance={"width": width})
    return X + noise * np.random.default_rng(seed).normal(size=X.shape)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": "normalized"},
        {},
        {"background": None},
        {"background": 2},
        {"nuisance": {"width": (2.0, 8.0)}},
        {"noise": Noise(loss="soft_l1")},
        {"noise": "noise"},
    ],
    ids=str,
)
def test_recovers_what_the_simulator_made(truth, settings):
    width = 5.0 if "nuisance" in settings else 4.0
    X = 100 * Peaks().simulate(truth, nuisance={"width": width})
    if settings.get("background", 0) is not None:
        X -= 7
    if settings.get("background") == 2:
        X += 3 * PIXELS - 0.1 * PIXELS**2
    inverter = LeastSquaresInverter(Peaks(), **settings).fit(X)
    assert_allclose(inverter.predict(X), truth, rtol=1e-4)
    assert inverter.converged_.all()
    assert (inverter.loss_ < 1e-8).all()
    assert (inverter.n_evaluations_ < 60).all()
    assert_allclose(inverter.nuisance_.get("width", width), width, rtol=1e-4)
    if "scale" not in settings:
        assert_allclose(inverter.nuisance_["scale"], 100, rtol=1e-3)


def test_values_and_errors_are_those_of_a_fit_of_everything_at_once(truth):
    """Nothing is eliminated in curve_fit: scale, line and width are searched."""
    X = 50 * noisy(truth) + 0.2 * PIXELS
    errors = np.random.default_rng(3).uniform(0.5, 2, size=X.shape)
    inverter = LeastSquaresInverter(
        Peaks(),
        background=1,
        nuisance={"width": (1.0, 9.0)},
        noise="noise",
        search=Search(tolerance=1e-10),
    ).fit(X)
    found, std = inverter.predict(X, return_std=True, errors=errors)
    seen = np.isfinite(X[0])

    def model(_, *p):
        spectrum = Peaks().simulate([p[:3]], nuisance={"width": p[3]})[0, seen]
        return p[4] * spectrum + p[5] + p[6] * PIXELS[seen]

    for row in range(4):
        start = [*Peaks.reference, 4.0, 50.0, 0.0, 0.2]
        best, covariance = curve_fit(
            model,
            PIXELS[seen],
            X[row, seen],
            start,
            errors[row, seen],
            absolute_sigma=True,
        )
        assert_allclose(found[row], best[:3], rtol=1e-5)
        # both linearise; curve_fit by finite differences
        assert_allclose(inverter.covariance_[row], covariance[:3, :3], rtol=2e-3)
        width, scale = inverter.nuisance_.loc[row, ["width", "scale"]]
        assert_allclose([width, scale], best[3:5], rtol=1e-5)
        assert_allclose(
            inverter.nuisance_["width std"][row] ** 2, covariance[3, 3], rtol=2e-3
        )
        residual = X[row, seen] - model(None, *best)
        assert_allclose(inverter.residual_[row, seen], residual, atol=1e-4)
        square = np.square(residual / errors[row, seen]).sum() / (seen.sum() - 7)
        assert_allclose(inverter.reduced_chi2_[row], square, rtol=1e-6)
    assert np.isnan(inverter.residual_[:, HIDDEN]).all()
    assert_allclose(std**2, np.diagonal(inverter.covariance_, axis1=1, axis2=2))


@pytest.mark.parametrize("background", [None, 0, 2])
def test_gradient_of_what_is_left_after_projection(truth, background):
    X = noisy(truth)[0, 1:-1] + 0.01 * PIXELS[1:-1]

    def model(p):
        derivatives, spectra = Peaks().jacobian([p], return_spectra=True)
        return spectra[:, 1:-1], derivatives[:, 1:-1]

    terms = None
    if background is not None:
        (part,) = parts_of(Peaks(), 60)
        terms = [background_terms(background, part)[:, 1:-1].T]
    problem = Problem(X, model, terms)

    def half_square(p):
        return np.square(problem(p).residual).sum() / 2

    found = problem(Peaks.reference)
    expected = approx_fprime(Peaks.reference, half_square, 1e-6)
    assert_allclose(found.residual @ found.derivative, expected, atol=1e-6)


def test_polynomials_of_all_axes_together_and_of_each():
    class Plane:
        """Only its grid counts."""

        grid = SpectrumGrid(np.arange(4.0), np.arange(5.0))

    (part,) = parts_of(Plane(), 20)
    energy, q = np.meshgrid(*part.axes, indexing="ij")
    for degrees, powers in {
        1: [(0, 0), (0, 1), (1, 0)],
        (1, 2): [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (1, 2)],
    }.items():
        terms = background_terms(degrees, part)
        wanted = np.array([(energy**a * q**b).ravel() for a, b in powers])
        # as many, and each in the span of the others
        assert terms.shape == wanted.shape
        weights, *_ = np.linalg.lstsq(terms.T, wanted.T)
        assert_allclose(terms.T @ weights, wanted.T, atol=1e-10)


@pytest.mark.parametrize("scale", ["normalized", "fitted"])
def test_loss_is_the_nmse_and_not_above_the_simplex(truth, scale):
    X = noisy(truth, 0.1)
    inverter = LeastSquaresInverter(Peaks(), scale=scale).fit(X)
    found = inverter.predict(X)
    assert_allclose(inverter.loss_, nmse(X, Peaks().simulate(found), scale=scale))
    simplex = NelderMeadInverter(Peaks(), scale=scale, tolerance=1e-6).fit(X)
    simplex.predict(X)
    assert_allclose(inverter.loss_, simplex.loss_, rtol=1e-4)
    assert (6 * inverter.n_evaluations_ < simplex.n_evaluations_).all()


@pytest.mark.parametrize("errors", ["noise", "residual"])
def test_intervals_cover_as_often_as_they_say(errors):
    """300 spectra of one crystal: 68 % within one standard deviation, 95 % in two."""
    parameters = np.tile(Peaks.reference, (300, 1))
    X = noisy(parameters, 0.05, width=4.3)
    inverter = LeastSquaresInverter(
        Peaks(), background=1, nuisance={"width": (2.0, 8.0)}, noise=errors
    ).fit(X)
    found, std = inverter.predict(X, return_std=True)
    away = np.abs(found - parameters) / std
    # three standard deviations of a count of 300
    assert_allclose((away < 1).mean(axis=0), 0.683, atol=0.08)
    assert_allclose((away < 1.96).mean(axis=0), 0.95, atol=0.04)
    assert_allclose(inverter.reduced_chi2_.mean(), 1.0, atol=0.15)


def counted(parameters, mean, seed=2):
    """Return counts, so many in the mean pixel, a background among them."""
    expected = Peaks().simulate(parameters) + 0.5
    expected *= mean / np.nanmean(expected, axis=1, keepdims=True)
    counts = np.full_like(expected, np.nan)
    seen = np.isfinite(expected)
    counts[seen] = np.random.default_rng(seed).poisson(expected[seen])
    return counts


def test_counts_are_fitted_by_the_likelihood_of_poisson(truth):
    X = counted(truth, 8)
    inverter = LeastSquaresInverter(
        Peaks(), noise="poisson", search=Search(tolerance=1e-9)
    ).fit(X)
    found = inverter.predict(X)
    seen = np.isfinite(X[0])
    for row, counts in enumerate(X[:, seen]):

        def unlikely(p, counts=counts):
            expected = p[3] * Peaks().simulate([p[:3]])[0, seen] + p[4]
            return (expected - counts * np.log(np.maximum(expected, 1e-9))).sum()

        start = [*truth[row], *inverter.nuisance_.loc[row, ["scale", "background 0"]]]
        best = minimize(unlikely, start, method="Nelder-Mead", options={"xatol": 1e-6})
        assert_allclose(found[row], best.x[:3], rtol=2e-4)  # of the simplex


def test_intervals_of_counts_hold_where_equal_errors_do_not():
    parameters = np.tile(Peaks.reference, (300, 1))
    X = counted(parameters, 40)
    covered = {}
    for errors in ("poisson", "noise"):
        inverter = LeastSquaresInverter(Peaks(), noise=errors).fit(X)
        found, std = inverter.predict(X, return_std=True)
        covered[errors] = np.mean(np.abs(found - parameters) < std, axis=0)
        if errors == "poisson":
            # the mean of 300 times 55 squares, of few counts each
            assert_allclose(inverter.reduced_chi2_.mean(), 1.0, atol=0.03)
    # three standard deviations of a count of 300
    assert_allclose(covered["poisson"], 0.683, atol=0.08)
    assert (covered["noise"] < covered["poisson"] - 0.05).all()


def test_spectra_that_are_no_counts_are_refused(truth):
    X = counted(truth, 8)
    inverter = LeastSquaresInverter(Peaks(), noise="poisson").fit(X)
    with pytest.raises(ValueError, match=r"must hold counts .* got -"):
        inverter.predict(X - X[0, 1:-1].min() - 1)
    with pytest.raises(ValueError, match="Use noise='noise' with errors"):
        inverter.predict(X, errors=np.ones_like(X))


class FinePeaks(Peaks):
    """Ten pixels where the others have one."""

    x, hidden = np.arange(600) / 10, [0, 599]


def test_errors_know_of_residuals_that_hang_together():
    """Noise of neighbouring pixels is alike, as where a line shape is wrong."""
    parameters = np.tile(Peaks.reference, (200, 1))
    X = FinePeaks().simulate(parameters)
    noise = np.random.default_rng(0).normal(size=X.shape)
    X += 0.2 * gaussian_filter1d(noise, 4.0, axis=1)
    covered = {}
    for errors in ("noise", "residual"):
        inverter = LeastSquaresInverter(FinePeaks(), noise=errors).fit(X)
        # what is alike in neighbouring pixels may be either
        with pytest.warns(MisfitWarning, match="or noise is correlated"):
            found, std = inverter.predict(X, return_std=True)
        covered[errors] = (np.abs(found - parameters) < std).mean()
    assert covered["noise"] < 0.4
    assert 0.6 < covered["residual"] < 0.75


def test_lengths_of_correlation():
    rng = np.random.default_rng(0)
    white = rng.normal(size=(40, 50))
    image = white.shape, np.arange(white.size)
    assert correlation_lengths(white.ravel(), image) == [0, 0]
    alike = gaussian_filter1d(white, 2.0, axis=1)
    first, second = correlation_lengths(alike.ravel(), image)
    assert first <= 1
    assert 3 <= second <= 8


class Lines(BaseEstimator):
    """Linear in its parameters, so that fits have a closed form."""

    parameter_names, reference = ("a", "b"), np.array([1.0, 1.0])
    design = np.stack([np.linspace(0, 1, 30), np.linspace(0, 1, 30) ** 2])

    def simulate(self, parameters):
        return np.asarray(parameters) @ self.design

    def jacobian(self, parameters, return_spectra=False):
        slopes = np.tile(self.design.T, (len(parameters), 1, 1))
        return (slopes, self.simulate(parameters)) if return_spectra else slopes


@pytest.mark.parametrize("known_errors", [True, False])
@pytest.mark.parametrize("as_matrix", [True, False])
def test_prior_and_data_meet_where_precisions_say(known_errors, as_matrix):
    mean, spread = np.array([1.5, 1.0]), np.array([0.05, 0.2])
    X = Lines().simulate([[2.0, 0.5]])
    X += 0.1 * np.random.default_rng(0).normal(size=X.shape)
    prior = (mean, np.diag(spread**2) if as_matrix else spread)
    inverter = LeastSquaresInverter(
        Lines(), scale="absolute", background=None, prior=prior, noise="noise"
    ).fit(X)
    errors = np.full_like(X, 0.1) if known_errors else None
    found, std = inverter.predict(X, return_std=True, errors=errors)
    noise = 0.1
    if not known_errors:
        noise = np.sqrt(np.square(inverter.residual_).sum() / 28)
    before, data = np.diag(1 / spread**2), Lines.design @ Lines.design.T / noise**2
    covariance = np.linalg.inv(before + data)
    expected = covariance @ (before @ mean + Lines.design @ X[0] / noise**2)
    assert_allclose(found[0], expected, rtol=1e-4)
    assert_allclose(std[0], np.sqrt(np.diag(covariance)), rtol=1e-4)


@pytest.mark.parametrize("narrow", [1e-4, 1e-6, 1e-9, 1e-12, 1e-15])
def test_a_narrow_prior_is_kept_to_its_width(truth, narrow):
    mean, X = Peaks.reference, noisy(truth)
    prior = (mean, np.full(3, narrow))
    inverter = LeastSquaresInverter(Peaks(), prior=prior).fit(X)
    with pytest.warns(MisfitWarning):
        off = inverter.predict(X) - mean
    assert inverter.converged_.all()
    assert np.abs(off).max() < 0.05 * narrow + np.spacing(mean.max())


@pytest.mark.parametrize("narrow", [1e-4, 1e-6])
def test_a_prior_that_is_narrow_along_one_direction(truth, narrow):
    mean, along = Peaks.reference, np.array([1.0, -1.0, 0.0])
    prior = (mean, narrow**2 * np.eye(3) + np.outer(along, along))
    X = noisy(truth)
    inverter = LeastSquaresInverter(Peaks(), prior=prior).fit(X)
    with pytest.warns(MisfitWarning):
        off = inverter.predict(X) - mean
    assert inverter.converged_.all()
    assert np.abs(off[:, :2].sum(axis=1)).max() < 0.05 * narrow
    assert np.abs(off[:, 0]).max() > 0.1


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("scale", ["fitted", "normalized"])
def test_derivatives_that_are_not_finite_are_refused(truth, odd, scale):
    class Broken(Peaks):
        def jacobian(self, parameters, *, return_spectra=False, **options):
            derivatives, spectra = super().jacobian(
                parameters, return_spectra=True, **options
            )
            assert np.isfinite(parameters).all()
            derivatives[:, 7, 1] = odd
            return (derivatives, spectra) if return_spectra else derivatives

    inverter = LeastSquaresInverter(Broken(), scale=scale).fit(noisy(truth))
    with pytest.raises(ValueError, match=r"must be finite .* parameter 1 \(of 3"):
        inverter.predict(noisy(truth))


def test_absolute_intensities_are_not_scaled(truth):
    X = noisy(truth, 0.01)
    inverter = LeastSquaresInverter(Peaks(), scale="absolute").fit(X)
    inverter.predict(X)
    assert_array_equal(inverter.nuisance_["scale"], 1.0)
    with pytest.warns(MisfitWarning, match="4 of 4 spectra"):
        inverter.predict(2 * X)
    assert (inverter.loss_ > 0.05).all()


def test_contributions_have_weights_that_are_not_negative(truth):
    class Slow(BaseEstimator):
        """What else the same crystal scatters: broader."""

        def simulate(self, parameters):
            return self.jacobian(parameters, return_spectra=True)[1]

        def jacobian(self, parameters, return_spectra=False):
            wide = {"width": np.full(len(parameters), 12.0)}
            derivatives, spectra = Peaks().jacobian(
                parameters, nuisance=wide, return_spectra=True
            )
            return derivatives[:, :, :3], spectra

    broad = Peaks().simulate(truth, nuisance={"width": 12.0})
    for weight, expected in ((0.5, 0.5), (0.0, 0.0), (-0.1, 0.0)):
        X = Peaks().simulate(truth) + weight * broad
        inverter = LeastSquaresInverter(Peaks(), contributions=[Slow()]).fit(X)
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("always")
            found = inverter.predict(X)
        told = any("contribution 1 = 0 (" in str(w.message) for w in log)
        assert told == inverter.at_bound_["contribution 1"].any()
        assert told or weight >= 0
        assert_allclose(inverter.nuisance_["contribution 1"], expected, atol=1e-4)
        if weight >= 0:
            assert_allclose(found, truth, rtol=1e-3)


def test_dead_pixels_do_not_move_a_robust_fit(truth):
    X = noisy(truth)
    expected = LeastSquaresInverter(Peaks()).fit(X).predict(X)
    X[:, [12, 40, 44]] = 3.0
    away = {}
    for loss in ("linear", "huber", "soft_l1", "cauchy"):
        found = LeastSquaresInverter(Peaks(), noise=Noise(loss=loss)).fit(X).predict(X)
        away[loss] = np.abs(found - expected).max()
    assert away["linear"] > 0.5
    assert max(away["huber"], away["soft_l1"]) < 0.2
    assert away["cauchy"] < 0.1


def test_candidates_and_several_starts_find_what_one_does_not():
    X = noisy(Peaks.reference[None], 0.01)
    far = [30.0, 20.0, 0.8]  # both peaks beside those of the spectrum
    inverter = LeastSquaresInverter(
        Peaks(), search=Search(n_candidates=1, initial=far), random_state=0
    )
    one = clone(inverter).fit(X)
    with pytest.warns(ConvergenceWarning, match="no parameter changes the sim") as log:
        one.predict(X)
    assert log[0].filename == __file__
    assert "start elsewhere with initial" in str(log[0].message)
    assert "max_evaluations" not in str(log[0].message)  # more would not help
    for options in ({"n_candidates": 64}, {"n_starts": 4}):
        many = clone(inverter).set_params(search=Search(initial=far, **options)).fit(X)
        assert_allclose(many.predict(X)[0], Peaks.reference, atol=0.2)
        assert 100 * many.loss_[0] < one.loss_[0]
        assert_array_equal(many.predict(X), many.predict(X))


def test_several_starts_about_a_proposal():
    class Guess(BaseEstimator):
        def predict(self, X):
            return np.tile([30.0, 20.0, 0.8], (len(X), 1))

    X = noisy(Peaks.reference[None], 0.01)
    search = Search(n_starts=20, initial=Guess())
    many = LeastSquaresInverter(Peaks(), search=search, random_state=0).fit(X)
    assert_allclose(many.predict(X)[0], Peaks.reference, atol=0.2)
    assert many.n_evaluations_[0] > 40


def test_a_fitted_regressor_proposes_the_start(truth):
    rng = np.random.default_rng(5)
    y = Peaks.reference * rng.uniform(0.5, 1.5, size=(400, 3))
    X = Peaks().simulate(y)
    nearest = KNeighborsRegressor().fit(np.nan_to_num(X), y)

    class Guess(BaseEstimator):
        def predict(self, X):
            return nearest.predict(np.nan_to_num(X))

    guided = LeastSquaresInverter(Peaks(), search=Search(initial=Guess())).fit(X)
    measured = noisy(truth)
    assert_allclose(guided.predict(measured), truth, rtol=0.05)
    assert guided.converged_.all()
    assert clone(guided).fit(X).predict(measured).shape == (4, 3)


def test_differences_stand_in_for_derivatives_and_say_so(truth):
    X = noisy(truth)
    with pytest.warns(UserWarning, match="Plain has no method jacobian"):
        plain = LeastSquaresInverter(Plain()).fit(X)
    found, std = plain.predict(X, return_std=True)
    exact = LeastSquaresInverter(Peaks()).fit(X)
    expected, expected_std = exact.predict(X, return_std=True)
    assert_allclose(found, expected, rtol=1e-4)
    assert_allclose(std, expected_std, rtol=1e-2)


def test_what_a_spectrum_does_not_determine_is_named():
    class Blind(Lines):
        """Only the sum of its first two parameters shows."""

        parameter_names, reference = ("a", "b", "c"), np.array([1.0, 1.0, 1.0])
        design = np.stack([*Lines.design[[0, 0]], Lines.design[1]])

    X = Blind().simulate([[1.2, 0.9, 2.0]])
    X += 0.01 * np.random.default_rng(0).normal(size=X.shape)
    settings = {"scale": "absolute", "background": None, "noise": "noise"}
    inverter = LeastSquaresInverter(Blind(), **settings).fit(X)
    with pytest.warns(IdentifiabilityWarning, match="do not determine a, b, alone"):
        found, std = inverter.predict(X, return_std=True)
    assert_allclose(found[0, :2].sum(), 2.1, atol=0.05)
    assert np.isinf(std[0, :2]).all()
    assert np.isfinite(std[0, 2])
    table = inverter.identifiable_[0]
    assert table["determined"].tolist() == [True, False, False]
    assert table["direction"][0] == "1.00 c"
    helped = LeastSquaresInverter(
        Blind(), **settings, prior=([1, 1, 2], [0.3, 0.3, 1.0])
    ).fit(X)
    found, std = helped.predict(X, return_std=True)
    # equally uncertain before, each takes half of what the sum tells
    assert_allclose(found[0, 0], found[0, 1], rtol=1e-3)
    assert_allclose(std[0, :2], 0.3 / np.sqrt(2), rtol=0.02)
    worst = helped.identifiable_[0]["direction"].tolist()[-1]
    assert worst in ("0.71 a - 0.71 b", "0.71 b - 0.71 a")


def test_bounds_hold_and_an_active_one_is_told(truth):
    X = noisy(np.tile(Peaks.reference, (2, 1)))
    low, high = [10.0, 10.0, 0.1], [30.0, 30.0, 0.6]
    inverter = LeastSquaresInverter(
        Peaks(), bounds=(low, high), search=Search(initial=[18, 20, 0.5])
    ).fit(X)
    message = r"Ended at a bound: height = 0\.6 \(2 of 2 spectra, first: 0\)\. Error"
    with (
        pytest.warns(BoundWarning, match=message) as log,
        pytest.warns(MisfitWarning, match="does not describe 2 of 2 spectra"),
    ):
        found, std = inverter.predict(X, return_std=True)
    assert log[0].filename == __file__
    assert_allclose(found[:, 2], 0.6, rtol=1e-4)
    assert (found[:, 2] <= 0.6).all()
    assert inverter.at_bound_["height"].tolist() == [1, 1]
    assert not inverter.at_bound_[["position", "distance"]].to_numpy().any()
    assert (std > 0).all()


def test_one_sided_moments_are_those_of_draws_on_the_allowed_side():
    """Of two parameters that hang together, the second is kept below its optimum."""
    covariance = np.array([[1.0, 0.9], [0.9, 4.0]])
    rng = np.random.default_rng(0)
    for pull in (0.0, 1.0, 3.0):
        shift = pull * np.array([0.45, 2.0])  # what the first gives way
        draws = shift + rng.multivariate_normal([0, 0], covariance, size=2_000_000)
        allowed = draws[(draws[:, 1] < 0) & (draws[:, 1] > -5)]
        # about where the fit ends: at the bound, and on the ridge that leads there
        expected = allowed.T @ allowed / len(allowed)
        found = one_sided(covariance, shift, np.array([0, 1]), np.array([np.inf, 5.0]))
        assert_allclose(found, expected, atol=0.03)
    assert_allclose(one_sided(covariance, shift, np.zeros(2, int), shift), covariance)


def test_error_bars_beside_a_bound_hold():
    """Slope and curvature of a line trade; the latter is known not to be negative."""
    rng = np.random.default_rng(0)
    parameters = np.column_stack([np.full(600, 2.0), rng.uniform(0, 0.4, 600)])
    X = Lines().simulate(parameters) + 0.1 * rng.normal(size=(600, 30))
    inverter = LeastSquaresInverter(
        Lines(), scale="absolute", background=None, noise="noise",
        bounds=([-np.inf, 0.0], np.inf),
    ).fit(X)  # fmt: skip
    with pytest.warns(BoundWarning, match=r"b = 0 \(\d+ of 600 spectra"):
        found, std = inverter.predict(X, return_std=True, errors=np.full_like(X, 0.1))
    there = inverter.at_bound_["b"] != 0
    assert 60 < there.sum() < 300
    covered = (np.abs(found - parameters) < std)[there].mean(axis=0)
    # 68 %, at three standard deviations of a hundred or more
    assert_allclose(covered, 0.7, atol=0.15)
    # with the curvature held at zero the slope would be right in half as many
    held = 0.1 / np.linalg.norm(Lines.design[0])
    alone = np.abs(found - parameters)[there, 0] < held
    assert alone.mean() < 0.5


def test_a_nuisance_at_its_bound_is_told_and_has_a_width(truth):
    X = noisy(truth, width=5.0)
    inverter = LeastSquaresInverter(Peaks(), nuisance={"width": (2.0, 4.5)}).fit(X)
    with (
        pytest.warns(BoundWarning, match=r"width = 4\.5 \(4 of 4 spectra"),
        pytest.warns(MisfitWarning),
    ):
        inverter.predict(X)
    assert (inverter.at_bound_["width"] == 1).all()
    assert (inverter.nuisance_["width std"] > 0).all()
    # one that only comes near is like any other, and nothing is said
    near = LeastSquaresInverter(Peaks(), nuisance={"width": (2.0, 5.5)}).fit(X)
    near.predict(X)
    assert not near.at_bound_.to_numpy().any()


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({}, r"along by nuisance \(width\) or a higher degree of background"),
        ({"background": None}, r"along by nuisance \(width\) or background\."),
        ({"background": 2}, r"along by nuisance \(width\)\."),
        ({"nuisance": {"width": (2, 4.5)}}, r"along by a higher degree of background"),
        ({"nuisance": {"width": (2, 4.5)}, "background": 2}, "improve the model"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::skphonon.inversion.BoundWarning")
def test_a_bad_fit_names_what_is_not_fitted_along_yet(truth, settings, advice):
    X = noisy(truth, 0.005, width=7.0)
    inverter = LeastSquaresInverter(Peaks(), **settings).fit(X)
    with pytest.warns(MisfitWarning, match=advice):
        inverter.predict(X)


def test_a_bad_fit_is_told_what_its_error_bars_mean(truth):
    """Peaks of another width than the model has: constants are off by many of them."""
    X = noisy(truth, 0.01, width=7.0)
    wrong = LeastSquaresInverter(Peaks(), noise="noise").fit(X)
    errors = np.full_like(X, 0.01)
    message = r"does not describe 4 of 4 spectra \(worst: sample \d, chi\^2 per deg.*"
    with pytest.warns(MisfitWarning, match=message + "are too small") as log:
        found, std = wrong.predict(X, return_std=True, errors=errors)
    assert log[0].filename == __file__
    assert (wrong.reduced_chi2_ > 20).all()
    assert (np.abs(found - truth) / std).max() > 5
    # the figure is seen without errors too, from what neighbours have in common
    with pytest.warns(MisfitWarning, match="or noise is correlated"):
        wrong.predict(X)
    assert (wrong.reduced_chi2_ > 10).all()
    # counts know their noise
    counts = np.random.default_rng(0).poisson(np.nan_to_num(1000 * X.clip(0)) + 5.0)
    counts = np.where(np.isfinite(X), counts, np.nan)
    with pytest.warns(MisfitWarning, match="take the model to be right, are too small"):
        LeastSquaresInverter(Peaks(), noise="poisson").fit(X).invert(counts)
    right = LeastSquaresInverter(Peaks(), nuisance={"width": (2.0, 9.0)}).fit(X)
    found, std = right.predict(X, return_std=True, errors=errors)
    assert (np.abs(found - truth) / std).max() < 4
    assert_allclose(right.reduced_chi2_, 1.0, atol=0.6)  # 0.2, three times


@pytest.mark.parametrize("kind", ["given", "unknown", "counts"])
def test_right_models_are_seldom_called_wrong(kind):
    """At most one call in a hundred; of 300 that is 3, and 8 at three deviations."""
    parameters = np.tile(Peaks.reference, (300, 1))
    X, errors = noisy(parameters, 0.05), None
    if kind == "counts":
        X = counted(parameters, 8)
    if kind == "given":
        errors = np.full_like(X, 0.05)
    how = "poisson" if kind == "counts" else "noise"
    found = LeastSquaresInverter(Peaks(), noise=how).fit(X).invert(X, errors)
    each = zip(found.reduced_chi2, found.n_effective, found.loss, strict=True)
    alarms = [
        are_misfits(*(np.array([value]) for value in row), kind != "unknown")
        for row in each
    ]
    assert np.sum(alarms) <= 8


def test_a_million_pixels_do_not_cry_wolf():
    chi2, n = np.array([1.02, 1.08, 1.15, 1.25]), np.full(4, 1e6)
    for known, expected in ((True, [0, 0, 1, 1]), (False, [0, 0, 0, 1])):
        assert are_misfits(chi2, n, np.ones(4), known).tolist() == expected
    assert not are_misfits(chi2 * np.nan, n, np.ones(4), True).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bounds": (0.0, [30.0, 30.0, 0.5])}, "bounds must include the start"),
        ({"bounds": (2.0, 1.0)}, "low below high for every"),
        ({"nuisance": {"colour": (0, 1)}}, r"must name .*\(width\), got 'colour'"),
        ({"nuisance": {"width": (2, 2)}}, "'width' must have bounds.*low below high"),
        ({"prior": ([1, 2], [1, 1, 1])}, r"prior must be means of shape \(3,\)"),
        ({"prior": ([1, 2, 3], -np.eye(3))}, "prior must have positive"),
        ({"prior": ([1, 2, 3], [1, 0, 1])}, r"not: \w+ \(0\)\."),
        ({"scale": "normalized", "background": 1}, "nothing fitted but"),
        ({"scale": "normalized", "noise": Noise(loss="huber")}, "nothing fitted but"),
        ({"background": np.ones((2, 7))}, r"background must .* \(n_terms, 60\)"),
        ({"background": (1, 2)}, "1 degrees for as many axes"),
        ({"contributions": [Lines()]}, "contributions must"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(truth, settings, message):
    with pytest.raises(ValueError, match=message):
        LeastSquaresInverter(Peaks(), **settings).fit(noisy(truth))


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        (np.ones((2, 60)), "the shape of X"),
        (-np.ones((4, 60)), "must be positive.*got -1 in row 0, pixel 0"),
        (np.full((4, 60), np.nan), "must not be NaN throughout, as in row 0"),
    ],
    ids=["shape", "sign", "nan"],
)
def test_errors_that_are_none_are_refused(truth, errors, message):
    X = noisy(truth)
    inverter = LeastSquaresInverter(Peaks()).fit(X)
    with pytest.raises(ValueError, match=message):
        inverter.predict(X, errors=errors)


def test_pixels_without_error_are_left_out(truth):
    X = noisy(truth)
    errors = np.full_like(X, 0.02)
    inverter = LeastSquaresInverter(Peaks()).fit(X)
    gaps = X.copy()
    gaps[:, 20:24] = np.nan
    expected = inverter.predict(gaps, errors=errors)
    X[:, 20:24], errors[:, 20:24] = 1e6, np.nan
    assert_allclose(inverter.predict(X, errors=errors), expected)


def test_a_constant_spectrum_has_no_fit(truth):
    X = noisy(truth)
    X[1] = 3.0
    inverter = LeastSquaresInverter(Peaks(), nuisance={"width": (2.0, 6.0)}).fit(X)
    with pytest.warns(ConvergenceWarning, match="first: sample 1: constant"):
        found, std = inverter.predict(X, return_std=True)
    assert_array_equal(found[1], Peaks.reference)
    assert np.isnan(std[1]).all()
    assert np.isnan(inverter.loss_[1])
    assert_array_equal(inverter.converged_, [True, False, True, True])
    assert np.isnan(inverter.residual_[1]).all()
    assert inverter.identifiable_[1]["determined"].sum() == 0


def test_searches_that_run_out_are_reported(truth):
    X = noisy(truth)
    inverter = LeastSquaresInverter(Peaks(), search=Search(max_evaluations=2)).fit(X)
    with pytest.warns(ConvergenceWarning, match="too many evaluations"):
        inverter.predict(X)
    assert not inverter.converged_.any()


def test_threads_and_pickles_give_the_same(truth):
    X = noisy(truth)
    settings = {"random_state": 0}
    inverter = LeastSquaresInverter(Peaks(), n_jobs=2, **settings).fit(X)
    found = inverter.predict(X)
    single = LeastSquaresInverter(Peaks(), **settings).fit(X)
    assert_array_equal(single.predict(X), found)
    again = pickle.loads(pickle.dumps(inverter))
    assert_array_equal(again.predict(X), found)
    assert_array_equal(again.covariance_, inverter.covariance_)


# a constant does not describe the slope
@pytest.mark.filterwarnings("ignore::skphonon.inversion.MisfitWarning")
def test_grid_search_chooses_by_simulating_again(truth):
    X = noisy(truth) + 0.02 * PIXELS
    search = GridSearchCV(
        LeastSquaresInverter(Peaks()),
        {"background": [0, 1]},
        scoring=ResimulationScorer(Peaks()),
        cv=2,
    )
    assert search.fit(X).best_params_["background"] in (0, 1)
    frozen = FrozenEstimator(search.best_estimator_)
    assert clone(frozen).predict(X).shape == (4, 3)


def test_an_emulator_is_trained_where_there_is_no_simulator():
    rng = np.random.default_rng(3)
    y = Peaks.reference * rng.uniform(0.95, 1.05, size=(300, 3))
    X = Peaks().simulate(y)
    inverter = LeastSquaresInverter().fit(X[:260], y[:260])
    with (
        pytest.warns(BoundWarning, match=r"\(1 of 40 spectra, first: 39\)\. The emul"),
        pytest.warns(MisfitWarning, match="2 of 40"),  # what is not quadratic
    ):
        found = inverter.predict(X[260:])
    # quadratic over changes of a twentieth
    assert_allclose(found, y[260:], atol=0.1)
    assert (found >= inverter.bounds_[0]).all()
    assert (found <= inverter.bounds_[1]).all()


def test_error_bars_of_unstable_crystals_do_not_hold(truth):
    class Stiff(Peaks):
        """Crystals are stable while their peaks are apart."""

        def is_stable(self, parameters):
            return np.asarray(parameters)[:, 1] > 19.0

    X = noisy(np.array([[18.0, 20.0, 0.8], [18.0, 17.0, 0.8]]))
    inverter = LeastSquaresInverter(Stiff()).fit(X)
    message = r"1 of 2 spectra \(first: sample 1\) are fitted best by unstable"
    for return_std in (True, False):
        with pytest.warns(IdentifiabilityWarning, match=message) as told:
            inverter.predict(X, return_std=return_std)
        assert len(told) == 1
    inverter.predict(X[:1], return_std=True)


def test_one_error_is_that_of_all_pixels():
    X = Peaks().simulate([[18.5, 19.0, 0.7]])
    X = X + np.random.default_rng(0).normal(0, 0.02, X.shape)
    inverter = LeastSquaresInverter(Peaks(), noise="noise").fit(X)
    found = inverter.predict(X, errors=0.02, return_std=True)
    same = inverter.predict(X, errors=np.full(X.shape, 0.02), return_std=True)
    assert_allclose(found, same)
