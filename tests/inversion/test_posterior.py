"""Posteriors beside closed forms, quadrature and what was planted."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge

from skphonon import (
    LeastSquaresInverter,
    PosteriorInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon.inspection import (
    CornerDisplay,
    PhononBandsDisplay,
    RankDisplay,
    rank_statistics,
)
from skphonon.inversion import Search, compare_posteriors

RNG = np.random.default_rng(0)
COLUMNS = RNG.normal(size=(2, 40))
DRAWN = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_draws():
    """Draw the same in each test, whichever run before it."""
    RNG.bit_generator.state = DRAWN


class Linear:
    """Spectra that are linear in two parameters."""

    parameter_names, reference = ["a", "b"], np.array([1.0, 2.0])

    def simulate(self, parameters):
        return np.asarray(parameters) @ COLUMNS

    def jacobian(self, parameters, return_spectra=False):
        found = np.tile(COLUMNS.T, (len(parameters), 1, 1))
        return (found, self.simulate(parameters)) if return_spectra else found


class Squared:
    """A peak whose height is the square of one parameter: two answers."""

    parameter_names, reference = ["root"], np.array([1.0])
    shape = norm.pdf(np.linspace(-3, 3, 30))

    def simulate(self, parameters):
        return np.square(parameters) * self.shape

    def jacobian(self, parameters, return_spectra=False):
        parameters = np.asarray(parameters)
        found = (2 * parameters * self.shape)[:, :, None]
        return (found, self.simulate(parameters)) if return_spectra else found


class Place:
    """A peak at a place."""

    parameter_names, reference = ["place"], np.array([0.2])
    axis = np.linspace(-3, 3, 30)

    def simulate(self, parameters):
        return norm.pdf(self.axis, np.asarray(parameters))

    def jacobian(self, parameters, return_spectra=False):
        parameters = np.asarray(parameters)
        shown = self.simulate(parameters)
        found = ((self.axis - parameters) * shown)[:, :, None]
        return (found, shown) if return_spectra else found


def fixed(simulator, **options):
    """Return an inverter without anything that is fitted along."""
    settings = {"scale": "absolute", "background": None, "noise": "noise"}
    return LeastSquaresInverter(simulator, **settings | options)


def test_a_linear_problem_has_its_closed_form():
    mean, std, sigma = np.array([1.0, 2.0]), np.array([0.3, 0.2]), 0.5
    X = Linear().simulate([[1.1, 1.8]]) + sigma * RNG.normal(size=(1, 40))
    inverter = PosteriorInverter(fixed(Linear(), prior=(mean, std)), n_draws=4000)
    found, spread = inverter.fit(X).predict(X, return_std=True, errors=sigma)
    (posterior,) = inverter.posteriors_
    # the draws are of the posterior itself: all weights are equal
    assert posterior.efficiency > 0.999
    information = COLUMNS @ COLUMNS.T / sigma**2 + np.diag(std**-2)
    covariance = np.linalg.inv(information)
    expected = covariance @ (COLUMNS @ X[0] / sigma**2 + mean / std**2)
    error = np.sqrt(np.diag(covariance))
    assert_allclose(found[0], expected, atol=0.05 * error.min())
    assert_allclose(spread[0], error, rtol=0.04)
    assert_allclose(posterior.covariance, covariance, atol=0.05 * error.max() ** 2)
    of_data = COLUMNS.T @ np.diag(std**2) @ COLUMNS + sigma**2 * np.eye(40)
    left = X[0] - mean @ COLUMNS
    evidence = -left @ np.linalg.solve(of_data, left) / 2
    evidence -= np.linalg.slogdet(2 * np.pi * of_data)[1] / 2
    assert_allclose(posterior.log_evidence, evidence, atol=1e-3)


class First(Linear):
    """The same spectra with the second parameter held."""

    parameter_names, reference = ["a"], np.array([1.0])

    def simulate(self, parameters):
        return np.asarray(parameters) @ COLUMNS[:1] + 2.0 * COLUMNS[1]

    def jacobian(self, parameters, return_spectra=False):
        found = np.tile(COLUMNS[:1].T, (len(parameters), 1, 1))
        return (found, self.simulate(parameters)) if return_spectra else found


def test_evidence_of_two_models_has_its_closed_form():
    sigma = 0.5
    row = Linear().simulate([[1.1, 1.8]])[0] + sigma * RNG.normal(size=40)
    both = PosteriorInverter(fixed(Linear(), prior=([1.0, 2.0], [0.3, 0.2])))
    one = PosteriorInverter(fixed(First(), prior=([1.0], [0.3])))
    table = compare_posteriors({"both": both, "one": one}, row, errors=sigma)
    found = table.loc["given", "log_evidence"]
    expected = []
    for spread in (np.diag([0.09, 0.04]), np.diag([0.09, 0.0])):
        of_data = COLUMNS.T @ spread @ COLUMNS + sigma**2 * np.eye(40)
        left = row - np.array([1.0, 2.0]) @ COLUMNS
        evidence = -left @ np.linalg.solve(of_data, left) / 2
        expected.append(evidence - np.linalg.slogdet(2 * np.pi * of_data)[1] / 2)
    assert_allclose(found[["both", "one"]], expected, atol=0.01)
    assert table.loc["given", "difference"].max() == 0
    # without errors, under three ways to count
    table = compare_posteriors({"both": both, "one": one}, row)
    assert list(table.index.levels[0].sort_values()) == [
        "adjusted",
        "harshest",
        "residual",
    ]
    assert np.isfinite(table["bic"]).all()
    with pytest.raises(ValueError, match="at least two models"):
        compare_posteriors({"both": both}, row)
    with pytest.raises(TypeError, match=r"mapping of names.*got a list"):
        compare_posteriors([both, both], row)
    least = fixed(Linear(), prior=([1.0, 2.0], [0.3, 0.2]))
    with pytest.raises(TypeError, match="got a LeastSquaresInverter for 'least'"):
        compare_posteriors({"both": both, "least": least}, row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"must have a posterior.*constant"):
            compare_posteriors({"both": both, "one": both}, np.zeros(40))


def test_evidence_is_found_once_for_each_power(monkeypatch):
    rng, calls = np.random.default_rng(5), []
    row = Linear().simulate([[1.1, 1.8]])[0] + 0.5 * rng.normal(size=40)
    prior = [1.0, 2.0], [0.3, 0.2]
    both = PosteriorInverter(fixed(Linear(), prior=prior), n_draws=200)
    predict = PosteriorInverter.predict

    def counted(self, X, **options):
        calls.append(options)
        return predict(self, X, **options)

    monkeypatch.setattr(PosteriorInverter, "predict", counted)
    table = compare_posteriors({"a": both, "b": both}, row, errors=0.5)
    assert len(calls) == 2
    assert (table["difference"] == 0).all()
    calls.clear()
    table = compare_posteriors({"a": both, "b": both}, row)
    assert (table["beta"] == 1).all()
    assert len(calls) == 4


def test_summaries_are_of_numbers():
    row = Linear().simulate([[1.1, 1.8]]) + 0.5 * np.random.default_rng(6).normal(
        size=(1, 40)
    )
    inverter = PosteriorInverter(
        fixed(Linear(), prior=([1.0, 2.0], [0.3, 0.2])), n_draws=100
    )
    inverter.fit(row).predict(row, errors=0.5)
    table = inverter.posteriors_[0].summary()
    assert [kind.kind for kind in table.dtypes] == ["f"] * table.shape[1]
    assert_allclose(table.round(1), table, atol=0.05 + 1e-9)
    assert (table.round(1)["median"] != table["median"]).all()


def test_bounds_cut_the_posterior():
    """One parameter is known from elsewhere to be below what the data say."""
    sigma = 0.5
    X = Linear().simulate([[1.0, 2.0]]) + sigma * RNG.normal(size=(1, 40))
    bounds = [0.0, 0.0], [3.0, 1.98]
    inverter = PosteriorInverter(
        fixed(Linear(), bounds=bounds, search=Search(initial=[1.0, 1.5])), n_draws=2000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the fit that ends at the bound
        found, spread = inverter.fit(X).predict(X, return_std=True, errors=sigma)
    a, b = np.meshgrid(np.linspace(0, 3, 1500), np.linspace(0, 1.98, 1500))
    rows = np.column_stack([a.ravel(), b.ravel()])
    square = np.zeros(len(rows))
    for column, target in zip(COLUMNS.T, X[0], strict=True):
        square += ((rows @ column - target) / sigma) ** 2
    weight = np.exp(-(square - square.min()) / 2)
    weight /= weight.sum()
    expected = weight @ rows
    std = np.sqrt(weight @ (rows - expected) ** 2)
    assert_allclose(found[0], expected, atol=0.05 * std.max())
    assert_allclose(spread[0], std, rtol=0.05)
    (posterior,) = inverter.posteriors_
    assert posterior.efficiency > 0.8
    assert (posterior.draws["b"] <= 1.98).all()


@pytest.mark.parametrize("pull", [0.0, 1.0, 3.0, 8.0])
def test_a_bound_costs_no_efficiency(pull):
    """However far the data pull beyond it."""
    X = Linear().simulate([[1.0, 2.0]])
    error = np.sqrt(np.linalg.inv(COLUMNS @ COLUMNS.T)[0, 0]) * 0.5
    bounds = [-5.0, -5.0], [1.0 - pull * error, 5.0]
    least = fixed(Linear(), bounds=bounds, search=Search(initial=[0.0, 1.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter = PosteriorInverter(least, n_draws=400).fit(X)
        inverter.predict(X, errors=0.5)
    assert inverter.efficiency_[0] > 0.95


@pytest.mark.parametrize("height", [1.0, 0.05, -0.1])
def test_a_scale_that_is_not_negative_is_integrated_exactly(height):
    """Beside quadrature over scale and parameter, even where noise pulls it below 0."""
    axis = np.linspace(-3, 3, 25)

    class Peak:
        parameter_names, reference = ["place"], np.array([0.0])

        def simulate(self, parameters):
            return norm.pdf(axis - np.asarray(parameters))

        def jacobian(self, parameters, return_spectra=False):
            shown = self.simulate(parameters)
            found = (shown * (axis - np.asarray(parameters)))[:, :, None]
            return (found, shown) if return_spectra else found

    sigma = 0.1
    row = height * norm.pdf(axis - 0.3)
    row = row + sigma * np.random.default_rng(3).normal(size=25)
    least = LeastSquaresInverter(
        Peak(), background=None, noise="noise", bounds=([-2.0], [2.0])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter = PosteriorInverter(least, n_draws=8000, n_starts=8).fit(row[None])
        mean = inverter.predict(row[None], errors=sigma)[0, 0]
    places = np.linspace(-2, 2, 801)
    shown = Peak().simulate(places[:, None])
    contrast = np.sqrt(np.square((row - row.mean()) / sigma).sum())
    size = np.linalg.norm(shown, axis=1) / sigma
    log_density = []
    for spectrum, length in zip(shown, size, strict=True):
        # flat up to what makes the spectrum as large as the contrast
        scales = np.linspace(0, 20 / length, 4001)
        off = (row - scales[:, None] * spectrum) / sigma
        values = np.exp(-np.square(off).sum(axis=1) / 2)
        total = np.trapezoid(values, scales) * length / contrast
        log_density.append(np.log(total))
    density = np.exp(np.array(log_density))
    evidence = np.log(np.trapezoid(density, places) / 4)
    evidence -= 25 * np.log(sigma * np.sqrt(2 * np.pi))
    expected = (density * places).sum() / density.sum()
    (posterior,) = inverter.posteriors_
    assert_allclose(posterior.log_evidence, evidence, atol=0.05)
    assert_allclose(mean, expected, atol=4 * posterior.std[0] / 50)


def test_two_planted_modes_are_found_with_their_weights():
    X = Squared().simulate([[1.2]]) + 0.02 * RNG.normal(size=(1, 30))
    # flat from -1.5 to 3: both roots are inside, as likely one as the other
    least = fixed(Squared(), bounds=([-1.5], [3.0]))
    inverter = PosteriorInverter(least, n_draws=2000, n_starts=6).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a second answer
        inverter.predict(X, errors=0.02)
    (posterior,) = inverter.posteriors_
    assert_allclose(np.sort(posterior.modes["root"]), [-1.2, 1.2], atol=0.1)
    assert_allclose(posterior.modes["share"], [0.5, 0.5], atol=0.05)
    assert posterior.efficiency > 0.9
    # a regressor that proposes the other one leads there from a single start
    other = Ridge().fit(X, [[-1.0]])
    one = PosteriorInverter(
        least, n_draws=400, n_starts=2, starts=FrozenEstimator(other)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one.fit(X).predict(X, errors=0.02)
    assert len(one.posteriors_[0].modes) == 2


@pytest.fixture(scope="module")
def aluminium():
    """Spectra of aluminium with noise, and an inverter with nuisances."""
    grid = SpectrumGrid(np.arange(10, 42, 1.0), np.arange(2, 8, 0.25))
    simulator = PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.5, mesh=6
    )
    rng = np.random.default_rng(1)
    half = np.abs(simulator.reference) / 2 + 0.02
    truth = simulator.reference + 0.3 * half * rng.uniform(-1, 1, (6, 5))
    X = simulator.simulate(truth)
    sigma = 0.05 * np.nanstd(X, axis=1, keepdims=True)
    X = X + sigma * rng.normal(size=X.shape)
    least = LeastSquaresInverter(
        simulator,
        nuisance={"energy_resolution": (1.0, 2.2), "lattice_scale": (0.98, 1.02)},
        background=1,
        bounds=(simulator.reference - half, simulator.reference + half),
    )
    return X, truth, sigma * np.ones_like(X), least


def test_draws_of_aluminium_hold_the_truth(aluminium):
    X, truth, errors, least = aluminium
    inverter = PosteriorInverter(least, n_draws=400, n_starts=2).fit(X)
    mean, std = inverter.predict(X, return_std=True, errors=errors)
    assert (inverter.efficiency_ > 0.6).all()
    z = (mean - truth) / std
    # 30 numbers of five correlated constants: chi^2 of 30 +- 8
    assert 10 < np.square(z).sum() < 55
    # about as wide as Gauss-Newton says
    fitted, bars = least.fit(X).predict(X, return_std=True, errors=errors)
    assert_allclose(std, bars, rtol=0.35)
    assert (np.abs(mean - fitted) < 0.5 * bars).all()
    ranks = rank_statistics(inverter.posteriors_, truth)
    assert ranks.shape == (6, 5)
    display = RankDisplay.from_draws(inverter.posteriors_, truth)
    assert list(display.table.index) == least.simulator.parameter_names
    posterior = inverter.posteriors_[0]
    table = posterior.summary()
    assert list(table.index) == [*least.simulator.parameter_names, *least.nuisance]
    assert (table["low95"] < table["low"]).all()
    assert (table["low"] < table["median"]).all()
    energies = posterior.energies([[0.5, 0.5, 0.0]])
    of_fit = posterior.fit.energies([[0.5, 0.5, 0.0]])
    assert_allclose(energies["energy"], of_fit["energy"], atol=0.1)
    assert (energies["low"] < energies["high"]).all()
    assert PhononBandsDisplay.from_draws(posterior) is not None
    assert CornerDisplay.from_draws(posterior) is not None


def test_predicted_spectra_are_like_the_measured_one(aluminium):
    X, _, errors, least = aluminium
    inverter = PosteriorInverter(least, n_draws=200, n_starts=1).fit(X)
    inverter.predict(X[:1], errors=errors[:1])
    (posterior,) = inverter.posteriors_
    spectra = posterior.simulate(50)
    off = (spectra - X[0]) / errors[0]
    # two independent noises
    assert_allclose(np.nanmean(off**2), 2, rtol=0.15)
    assert posterior.p_value > 0.001
    again = pickle.loads(pickle.dumps(posterior))
    assert_array_equal(again.sample(10), posterior.sample(10))
    with pytest.raises(ValueError, match="Call sample again"):
        again.simulate(3)


def test_residuals_that_are_alike_widen_the_posterior(aluminium):
    X, _, _, least = aluminium
    wave = np.cos(np.arange(X.shape[1]) / 40) * np.nanstd(X[0]) * 0.1
    spectra = X[:1] + wave
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wide = PosteriorInverter(least, n_draws=200, n_starts=1).fit(spectra)
        _, std = wide.predict(spectra, return_std=True)
        narrow = clone(wide).set_params(inverter__noise="noise").fit(spectra)
        _, narrow_std = narrow.predict(spectra, return_std=True)
        _, bars = least.fit(spectra).predict(spectra, return_std=True)
    beta = wide.posteriors_[0].beta
    assert 0.05 < beta < 0.9
    assert narrow.posteriors_[0].beta == 1
    assert (std > narrow_std).all()
    # the same scatter as the sandwich of a fit, in the mean
    assert_allclose(np.log(std / bars).mean(), 0, atol=0.35)


def test_the_same_draws_each_time_and_for_each_spectrum_alone(aluminium):
    X, _, errors, least = aluminium
    inverter = PosteriorInverter(least, n_draws=60, n_starts=1).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        both = inverter.sample(X[:2], 20, errors=errors[:2])
        alone = inverter.sample(X[1:2], 20, errors=errors[1:2])
    assert both.shape == (2, 20, 5)
    assert_allclose(both[1], alone[0])


def test_an_inverter_is_pickled_after_predict(aluminium):
    X, _, errors, least = aluminium
    inverter = PosteriorInverter(least, n_draws=200, n_starts=1).fit(X)
    mean = inverter.predict(X[:1], errors=errors[:1])
    again = pickle.loads(pickle.dumps(inverter))
    assert_array_equal(again.predict(X[:1], errors=errors[:1]), mean)


def test_evidence_shifts_with_the_unit_alone(aluminium):
    X, _, errors, least = aluminium
    inverter = PosteriorInverter(least, n_draws=200, n_starts=1).fit(X)
    found = []
    for unit in (1.0, 1024.0):
        inverter.predict(unit * X[:1], errors=unit * errors[:1])
        found.append(inverter.log_evidence_[0])
    assert inverter.posteriors_[0].beta == 1
    n_pixels = np.isfinite(X[0]).sum()
    assert_allclose(found[0] - found[1], n_pixels * np.log(1024), atol=0.2)


def test_spectra_without_a_posterior_are_told(aluminium):
    X, _, _, least = aluminium
    constant = np.where(np.isnan(X[:1]), np.nan, 1.0)
    inverter = PosteriorInverter(least, n_draws=20, n_starts=1).fit(X)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, std = inverter.predict(constant, return_std=True)
    assert any("have no posterior" in str(each.message) for each in caught)
    assert np.isnan(std).all()
    (posterior,) = inverter.posteriors_
    assert np.isnan(posterior.sample(3)).all()
    with pytest.raises(ValueError, match="has no posterior"):
        posterior.summary()


def test_few_draws_are_said_to_be_few(aluminium):
    X, _, errors, least = aluminium
    inverter = PosteriorInverter(least, n_draws=30, n_starts=1).fit(X)
    with pytest.warns(ConvergenceWarning, match="Raise n_draws=30 to about"):
        inverter.predict(X[:1], errors=errors[:1])


def test_what_has_no_prior_or_no_likelihood_is_refused(aluminium):
    X, _, _, least = aluminium
    free = clone(least).set_params(bounds=None)
    with pytest.raises(ValueError, match="needs a prior: give the inverter bounds"):
        PosteriorInverter(free).fit(X)
    with pytest.raises(ValueError, match="loss='huber'"):
        PosteriorInverter(clone(least).set_params(noise__loss="huber")).fit(X)
    with pytest.raises(AttributeError, match="after predict or sample"):
        PosteriorInverter(least).fit(X).posteriors_  # noqa: B018
    with pytest.raises(ValueError, match="starts must be finite"):
        PosteriorInverter(least).fit(X).predict(X[:1], starts=np.ones((2, 5)))


def test_arviz_takes_the_draws(aluminium):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        pytest.importorskip("arviz", reason="ArviZ is not installed")
    X, _, errors, least = aluminium
    inverter = PosteriorInverter(least, n_draws=200, n_starts=1).fit(X)
    inverter.predict(X[:1], errors=errors[:1])
    (posterior,) = inverter.posteriors_
    data = posterior.to_arviz()
    assert data.posterior["1XX"].shape == (1, 200)
    assert_allclose(data.posterior["1XX"].mean(), posterior.mean[0], rtol=1e-3)


@pytest.mark.slow
def test_draws_on_a_corrected_coarse_mesh_are_those_of_a_fine_one():
    grid = SpectrumGrid(np.arange(10, 42, 1.0), np.arange(2, 8, 0.25))
    fine = PowderSimulator(load_aluminium_model(), grid, energy_resolution=1.5, mesh=24)
    X = fine.simulate([1.03 * fine.reference])
    sigma = 0.05 * np.nanstd(X)
    X += sigma * np.random.default_rng(0).normal(size=X.shape)
    half = np.abs(fine.reference) / 2 + 0.02
    bounds = fine.reference - half, fine.reference + half
    found = []
    for simulator in (fine, clone(fine).set_params(mesh=None, tolerance=1e-2)):
        least = LeastSquaresInverter(simulator, bounds=bounds)
        inverter = PosteriorInverter(least, n_draws=300, n_starts=1).fit(X)
        found.append(inverter.predict(X, return_std=True, errors=sigma))
    (mean, std), (other, other_std) = found
    assert inverter.posteriors_[0].mesh_error < 0.3
    assert (np.abs(mean - other) < 0.3 * std).all()
    assert_allclose(other_std, std, rtol=0.15)


@pytest.mark.slow
def test_chains_draw_what_weights_say():
    """Of two constants in closed form, and evidence by both ways."""
    mean, std, sigma = np.array([1.0, 2.0]), np.array([0.3, 0.2]), 0.5
    X = Linear().simulate([[1.1, 1.8]]) + sigma * RNG.normal(size=(1, 40))
    least = fixed(Linear(), prior=(mean, std))
    weighted = PosteriorInverter(least, n_draws=2000).fit(X)
    chained = PosteriorInverter(least, n_draws=400, sampler="nuts").fit(X)
    expected, error = weighted.predict(X, return_std=True, errors=sigma)
    found, spread = chained.predict(X, return_std=True, errors=sigma)
    (posterior,) = chained.posteriors_
    assert posterior.n_draws == 400
    assert posterior.r_hat < 1.05
    assert np.isnan(posterior.shape)
    assert_allclose(found, expected, atol=0.3 * error.min())
    assert_allclose(spread, error, rtol=0.2)
    assert_allclose(chained.log_evidence_, weighted.log_evidence_, atol=0.02)
    assert posterior.log_evidence_std < 0.02


@pytest.mark.slow
def test_chains_of_two_modes_keep_their_shares():
    X = Squared().simulate([[0.8]]) + 0.05 * RNG.normal(size=(1, 30))
    least = fixed(Squared(), prior=([0.1], [0.6]))
    inverters = [
        PosteriorInverter(least, n_draws=1000, n_candidates=32, sampler=sampler)
        for sampler in ("importance", "nuts")
    ]
    shares = []
    for inverter in inverters:
        inverter.fit(X).predict(X, errors=0.05)
        (posterior,) = inverter.posteriors_
        shares.append(posterior.weights @ (posterior.draws["root"] > 0))
        assert len(posterior.modes) == 2
    assert_allclose(shares[1], shares[0], atol=0.03)


def test_what_the_background_describes_already_is_worth_nothing():
    """Evidence does not grow by contributions that data cannot tell."""
    axis = np.linspace(-3, 3, 30)
    X = 20 * norm.pdf(axis)[None] + 30 + 2 * RNG.normal(size=(1, 30))

    def evidence(**options):
        least = LeastSquaresInverter(
            Place(), bounds=([-1.0], [1.0]), background=0, noise="noise", **options
        )
        inverter = PosteriorInverter(least, n_draws=400, n_starts=2).fit(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inverter.predict(X, errors=2.0)
        return inverter.log_evidence_[0]

    alone = evidence()
    for can in (np.ones(30), 1 + 1e-3 * axis, 1 + 0.1 * axis):
        assert -4 < evidence(contributions={"can": can}) - alone < 0.7


def test_contributions_that_are_alike_have_a_posterior():
    axis = np.linspace(-3, 3, 30)
    other = norm.pdf(axis, 1.5)
    X = 20 * norm.pdf(axis)[None] + 5 * other + RNG.normal(size=(1, 30))
    least = LeastSquaresInverter(
        Place(),
        bounds=([-1.0], [1.0]),
        contributions={"one": other, "two": 2 * other},
        noise="noise",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter = PosteriorInverter(least, n_draws=400).fit(X)
        mean, std = inverter.predict(X, return_std=True, errors=1.0)
        single = clone(least).set_params(contributions={"one": other})
        alone = PosteriorInverter(single, n_draws=400).fit(X)
        expected = alone.predict(X, errors=1.0)
    assert np.isfinite(inverter.log_evidence_).all()
    assert_allclose(mean, expected, atol=0.6 * std[0, 0])


@pytest.mark.parametrize("cut", [0.0, 0.1, 0.3])
def test_crystals_that_are_refused_leave_shares_as_they_are(cut):
    """Of two modes of which stability cuts the same."""

    class Cut(Squared):
        def is_stable(self, parameters):
            edge = 0.8 + norm.isf(cut) * 0.02 if cut else np.inf
            return (np.abs(parameters) < edge)[:, 0]

    X = Squared().simulate([[0.8]]) + 0.03 * RNG.normal(size=(1, 30))
    least = fixed(Cut(), bounds=([-1.5], [1.5]))
    inverter = PosteriorInverter(least, n_draws=2000, n_starts=6).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter.predict(X, errors=0.03)
    (posterior,) = inverter.posteriors_
    assert_allclose(posterior.modes["share"], 0.5, atol=0.04)


def test_a_prior_that_bounds_cut_far_out_is_normalised():
    prior = ([1.0, 2.0], [0.3, 0.2])
    least = fixed(
        Linear(),
        prior=prior,
        search=Search(initial=[2.5, 2.0]),
        bounds=([2.3, -5.0], [9.0, 9.0]),
    )
    X = Linear().simulate([[2.5, 2.0]]) + 0.5 * RNG.normal(size=(1, 40))
    inverter = PosteriorInverter(least).fit(X)
    log_share, error = inverter._allowed
    assert_allclose(log_share, norm.logsf(1.3 / 0.3), atol=0.02)
    assert error < 0.01


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the fit
def test_spectra_that_are_described_exactly_tell_no_noise():
    X = Linear().simulate([[1.0, 2.0], [1.2, 1.9]])
    X[1] += 0.1 * RNG.normal(size=40)
    least = fixed(Linear(), prior=([1.0, 2.0], [0.3, 0.2]))
    inverter = PosteriorInverter(least, n_draws=300).fit(X)
    with pytest.warns(ConvergenceWarning, match="described exactly"):
        inverter.predict(X)
    assert [each.n_draws for each in inverter.posteriors_] == [0, 300]
    assert "0 draws" in inverter.posteriors_[0]._repr_html_()


def test_optima_without_a_valley_between_are_one_answer():
    """A plateau between bounds: wherever searches end, it is one."""

    class Flat(Linear):
        parameter_names, reference = ["a"], np.array([0.5])

        def simulate(self, parameters):
            return 1e-3 * np.asarray(parameters) * COLUMNS[0]

        def jacobian(self, parameters, return_spectra=False):
            found = np.tile(1e-3 * COLUMNS[0][:, None], (len(parameters), 1, 1))
            return (found, self.simulate(parameters)) if return_spectra else found

    X = RNG.normal(size=(1, 40))
    inverter = PosteriorInverter(fixed(Flat(), bounds=([0.0], [1.0])), n_draws=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter.fit(X).predict(X, errors=1.0)
    (posterior,) = inverter.posteriors_
    assert len(posterior.modes) == 1
    assert_allclose(posterior.mean, 0.5, atol=0.05)
