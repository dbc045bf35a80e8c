"""Predictive checks of right and of wrong models, and verdicts of posteriors."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chi2, kstest, norm
from sklearn.exceptions import ConvergenceWarning

from skphonon import (
    JointSimulator,
    LeastSquaresInverter,
    PosteriorInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon.inversion import Search, Verdict

GRID = SpectrumGrid(np.arange(16.0), np.arange(1.0, 13.0))
ENERGY, Q = np.meshgrid(GRID.energy, GRID.q, indexing="ij")
SIGMA = 0.3


class Lines:
    """A map of two lines whose heights are the parameters."""

    parameter_names, reference = ["low", "high"], np.array([1.0, 2.0])
    grid = GRID
    columns = np.stack(
        [
            norm.pdf(ENERGY, 4 + np.sin(Q), 1.0).ravel(),
            norm.pdf(ENERGY, 10 + Q / 5, 1.5).ravel(),
        ]
    )

    def simulate(self, parameters):
        return 5 * np.asarray(parameters) @ self.columns

    def jacobian(self, parameters, return_spectra=False):
        found = np.tile(5 * self.columns.T, (len(parameters), 1, 1))
        return (found, self.simulate(parameters)) if return_spectra else found


def inverter_of(simulator, n_draws=200, **options):
    settings = {"scale": "absolute", "noise": "noise", "background": 1}
    settings |= {"bounds": ([-1.0, -1.0], [4.0, 5.0])}
    least = LeastSquaresInverter(simulator, **settings | options)
    return PosteriorInverter(least, n_draws=n_draws, n_starts=1)


def measured(n_spectra=1, seed=0):
    rng = np.random.default_rng(seed)
    X = Lines().simulate([[1.0, 2.0]]) + 0.02 * ENERGY.ravel()
    return X + SIGMA * rng.normal(size=(n_spectra, X.size))


def posteriors(X, errors=SIGMA, **options):
    inverter = inverter_of(Lines(), **options).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter.predict(X, errors=errors)
    return inverter.posteriors_


@pytest.fixture(scope="module")
def right():
    return posteriors(measured(150))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chi^2 per pixel", "correlation of neighbours"])
def test_p_values_of_right_models_are_even(right, name):
    p = [each.predictive_check().loc[name, "p_value"] for each in right]
    assert kstest(p, "uniform").pvalue > 0.01
    # and none of both together is below its level more often than that
    joint = np.array([each.p_value for each in right])
    assert (joint < 0.1).mean() < 0.1 + 3 * np.sqrt(0.09 / len(joint))


def test_replicates_lose_what_amplitudes_take(right):
    """Three terms of a background of degree 1 in two axes are fitted to each."""
    table = right[0].predictive_check()
    n_pixels = ENERGY.size
    number = n_pixels - 3
    square = table.loc["chi^2 per pixel"]
    # a mean of 1000 replicates
    error = np.sqrt(2 * number / 1000) / n_pixels
    assert_allclose(square["replicated"], number / n_pixels, atol=4 * error)
    ends = chi2.ppf([0.025, 0.975], number) / n_pixels
    assert_allclose(square[["low", "high"]].astype(float), ends, atol=0.035)
    # chi^2 at a draw is that of the fit, and one for each parameter in the mean
    residual = right[0].fit.residual / SIGMA
    expected = (residual @ residual + 2) / n_pixels
    assert_allclose(square["measured"], expected, atol=0.01)


def test_errors_estimated_from_residuals_leave_chi2_untold():
    (posterior,) = posteriors(measured(), errors=None)
    table = posterior.predictive_check()
    assert np.isnan(table.loc["chi^2 per pixel", "p_value"])
    assert posterior.p_value == table.loc["correlation of neighbours", "p_value"]


@pytest.mark.parametrize("errors", [SIGMA, None])
def test_what_is_not_in_the_model_fails_the_check(errors):
    """A smooth bump; also where errors are estimated from what it leaves."""
    bump = 1.5 * np.exp(-((ENERGY - 7) ** 2 + (Q - 6) ** 2) / 8).ravel()
    (posterior,) = posteriors(measured() + bump, errors=errors)
    assert posterior.p_value < 0.005
    told = {each.about: each for each in posterior.verdict_}
    assert "neighbouring pixels correlate" in told["prediction"].text
    assert ("chi^2 per pixel" in told["prediction"].text) == (errors is not None)
    assert told["prediction"].figure == posterior.p_value


def test_errors_that_are_too_small_fail_by_chi2_alone():
    (posterior,) = posteriors(measured(), errors=SIGMA / 1.5)
    table = posterior.predictive_check()
    assert table.loc["chi^2 per pixel", "p_value"] < 0.005
    assert table.loc["correlation of neighbours", "p_value"] > 0.005
    (finding,) = [each for each in posterior.verdict_ if each.about == "prediction"]
    assert "correlate" not in finding.text


def test_another_lattice_fails_the_check():
    grid = SpectrumGrid(np.arange(10, 42, 1.0), np.arange(2, 8, 0.25))
    model = load_aluminium_model()
    simulator = PowderSimulator(model, grid, energy_resolution=1.5, mesh=6)
    other = PowderSimulator(
        model.replace(lattice=1.06 * np.asarray(model.lattice)),
        grid,
        energy_resolution=1.5,
        mesh=6,
    )
    half = np.abs(simulator.reference) / 2 + 0.02
    bounds = simulator.reference - half, simulator.reference + half
    least = LeastSquaresInverter(simulator, bounds=bounds, background=1)
    inverter = PosteriorInverter(least, n_draws=200, n_starts=1)
    found = []
    for source in (simulator, other):
        X = source.simulate([source.reference])
        X += 0.03 * np.nanstd(X) * np.random.default_rng(0).normal(size=X.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inverter.fit(X).predict(X)
        found += inverter.posteriors_
    same, wrong = found
    assert same.p_value > 0.01
    assert "prediction" not in {each.about for each in same.verdict_}
    assert wrong.p_value < 0.005
    assert "prediction" in {each.about for each in wrong.verdict_}


def test_the_check_and_the_verdict_survive_a_pickle(right):
    again = pickle.loads(pickle.dumps(right[1]))
    pd.testing.assert_frame_equal(again.predictive_check(), right[1].predictive_check())
    assert again.p_value == right[1].p_value
    assert str(again.verdict_) == str(right[1].verdict_)
    with pytest.raises(ValueError, match="Call sample again"):
        again.simulate(3)


def test_a_right_posterior_has_nothing_against_it(right):
    assert isinstance(right[0].verdict_, Verdict)
    assert right[0].verdict_.sound


def test_draws_that_are_few_and_edges_of_the_prior_are_told():
    X = measured()
    (posterior,) = posteriors(
        X,
        n_draws=20,
        bounds=([-1.0, -1.0], [0.95, 5.0]),
        search=Search(initial=[0.9, 2.0]),
    )
    first, *_, last = posterior.verdict_
    assert first.about == "draws"
    assert "20 weighted draws are worth" in first.text
    assert last.about == "bound"
    assert "of low within" in last.text
    assert "high within" not in last.text
    assert_array_equal(posterior.bounds[:, 0], [-1.0, 0.95])
    # share within 3 % of the width or a quarter of the standard deviation
    near = min(0.03 * 1.95, 0.25 * posterior.std[0])
    share = posterior.weights[posterior.draws["low"] >= 0.95 - near].sum()
    assert_allclose(last.figure, share)


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


def test_answers_are_told_with_their_shares():
    X = Squared().simulate([[1.2]])
    X = X + 0.02 * np.random.default_rng(0).normal(size=X.shape)
    settings = {"scale": "absolute", "noise": "noise", "background": None}
    least = LeastSquaresInverter(Squared(), bounds=([-1.5], [3.0]), **settings)
    inverter = PosteriorInverter(least, n_draws=400, n_starts=6).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter.predict(X, errors=0.02)
    (finding,) = inverter.posteriors_[0].verdict_
    assert finding.about == "answers"
    assert finding.text.startswith("There are 2 answers, with 5")
    assert_allclose(finding.figure, 0.5, atol=0.05)


def test_a_spectrum_without_a_posterior_has_a_verdict_and_no_check():
    X = measured()
    inverter = inverter_of(Lines()).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        inverter.predict(np.ones_like(X))
    (posterior,) = inverter.posteriors_
    assert np.isnan(posterior.p_value)
    assert np.isnan(posterior.errors).all()
    assert posterior.verdict_[0].about == "draws"
    with pytest.raises(ValueError, match="has no posterior"):
        posterior.predictive_check()


def test_simulated_spectra_come_with_their_draws(right):
    spectra, draws = right[0].simulate(7, noise=False, return_draws=True)
    left = spectra - Lines().simulate(draws.to_numpy())
    # what is left is a straight background
    terms = np.column_stack([np.ones(ENERGY.size), ENERGY.ravel(), Q.ravel()])
    _, rest, *_ = np.linalg.lstsq(terms, left.T, rcond=None)
    assert_allclose(rest, 0, atol=1e-18)
    assert_allclose(right[0].errors, SIGMA)
    noise = right[0].simulate(7) - spectra
    assert_allclose(noise.std(), SIGMA, rtol=0.1)


@pytest.fixture(scope="module")
def two_temperatures():
    grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    model = load_aluminium_model()
    return {
        name: PowderSimulator(
            model, grid, temperature=kelvin, energy_resolution=1.5, mesh=6
        )
        for name, kelvin in (("cold", 50), ("warm", 300))
    }


def posterior_of_both(joint):
    X = joint.simulate([joint.reference])
    sigma = 0.03 * np.nanstd(X)
    X = X + sigma * np.random.default_rng(0).normal(size=X.shape)
    half = np.abs(joint.reference) / 2 + 0.02
    least = LeastSquaresInverter(
        joint, bounds=(joint.reference - half, joint.reference + half)
    )
    inverter = PosteriorInverter(least, n_draws=150, n_starts=1).fit(X)
    inverter.predict(X, errors=sigma)
    return inverter.posteriors_[0]


def test_measurements_of_one_model_have_energies_and_a_check(two_temperatures):
    posterior = posterior_of_both(JointSimulator(two_temperatures))
    found = posterior.energies([[0.5, 0.5, 0.0]])["energy"]
    assert_allclose(found, posterior.fit.energies([[0.5, 0.5, 0.0]])["energy"], 0.01)
    assert posterior.p_value > 0.01
    assert posterior.simulate(3).shape == (3, 2 * 16 * 12)


def test_measurements_of_changing_constants_say_whose_energies(two_temperatures):
    joint = JointSimulator(two_temperatures, at=[50, 300], degree={"1XX": 1})
    posterior = posterior_of_both(joint)
    with pytest.raises(ValueError, match="Take those of one measurement"):
        posterior.energies([[0.5, 0.5, 0.0]])
