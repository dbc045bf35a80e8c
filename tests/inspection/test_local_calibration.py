"""Posterior SBC of linear models, whose posteriors are known, and of wrong ones."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skphonon import (
    LeastSquaresInverter,
    PosteriorInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon.inspection import RankDisplay, TARPDisplay, local_calibration

SIGMA = 0.5
COLUMNS = np.random.default_rng(0).normal(size=(2, 40))


class Linear:
    """Spectra that are linear in two parameters."""

    parameter_names, reference = ["a", "b"], np.array([1.0, 2.0])
    interrupted = False

    def simulate(self, parameters):
        return np.asarray(parameters) @ COLUMNS

    def jacobian(self, parameters, return_spectra=False):
        if self.interrupted:  # in a search
            raise KeyboardInterrupt
        found = np.tile(COLUMNS.T, (len(parameters), 1, 1))
        return (found, self.simulate(parameters)) if return_spectra else found


# as narrow as what the spectrum says, and off by two standard deviations
STD = SIGMA / np.linalg.norm(COLUMNS, axis=1)
PRIOR = [1.0, 2.0] + 2 * STD, STD


def inverted(errors=SIGMA, n_spectra=1):
    X = Linear().simulate([[1.0, 2.0]] * n_spectra)
    X = X + SIGMA * np.random.default_rng(1).normal(size=X.shape)
    settings = {"scale": "absolute", "noise": "noise", "background": None}
    least = LeastSquaresInverter(Linear(), prior=PRIOR, **settings)
    inverter = PosteriorInverter(least, n_draws=200, n_starts=1).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter.predict(X, errors=errors)
    return inverter


@pytest.mark.slow
@pytest.mark.parametrize("errors", [SIGMA, None])
def test_ranks_of_right_posteriors_are_even(errors):
    """Under a prior that counts as much as the spectrum, and disagrees with it."""
    inverter = inverted(errors)
    found = local_calibration(inverter, n_spectra=200)
    assert found.ranks.columns.tolist() == ["a", "b"]
    display = RankDisplay.from_draws(found.posteriors, found.truth, random_state=0)
    assert (display.table["p_value"] > 0.01).all()
    assert (abs(display.table[["shift", "overconfidence"]]) < 3).all(axis=None)
    assert_allclose(display.data, found.ranks)
    joint = TARPDisplay.from_draws(
        found.posteriors, found.truth, references="ellipsoid", random_state=0
    )
    assert joint.p_value > 0.01
    of_half = found.coverage.query("nominal == 0.5")["observed"]
    assert_allclose(of_half, 0.5, atol=3 * 0.5 / np.sqrt(200))


def test_posteriors_are_those_of_both_spectra():
    """Of twice the data they have the closed form."""
    inverter = inverted()
    found = local_calibration(inverter, n_spectra=20)
    information = 2 * COLUMNS @ COLUMNS.T / SIGMA**2 + np.diag(STD**-2)
    std = np.sqrt(np.diag(np.linalg.inv(information)))
    for posterior in found.posteriors:
        assert_allclose(posterior.std, std, rtol=0.2)
    # truths are of the posterior of the measured spectrum
    (own,) = inverter.posteriors_
    assert_allclose(found.truth.std(), own.std, rtol=0.5)


def test_draws_that_are_too_narrow_are_found():
    inverter = inverted()
    (posterior,) = inverter.posteriors_
    drawn = posterior._drawn
    rows = posterior.mean + 0.4 * (drawn.rows - posterior.mean)
    posterior._drawn = drawn._replace(rows=rows)
    posterior.draws[:] = rows
    found = local_calibration(inverter, n_spectra=100)
    table = RankDisplay(data=found.ranks).table
    assert (table["overconfidence"] < -3).all()


@pytest.mark.slow
def test_a_likelihood_that_counts_less_is_tested_as_it_is():
    """A curved background widens the posterior, on purpose."""
    grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    simulator = PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.5, mesh=6
    )
    half = np.abs(simulator.reference) / 2 + 0.02
    bounds = simulator.reference - half, simulator.reference + half
    least = LeastSquaresInverter(simulator, bounds=bounds)
    X = simulator.simulate([simulator.reference])
    X += 0.03 * np.nanstd(X) * np.random.default_rng(0).normal(size=X.shape)
    X += 0.1 * np.nanstd(X) * np.cos(np.arange(X.shape[1]) / 20)
    inverter = PosteriorInverter(least, n_draws=200, n_starts=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter.fit(X).predict(X)
        found = local_calibration(inverter, n_spectra=30)
    (own,) = inverter.posteriors_
    assert own.beta < 0.8
    assert {each.beta for each in found.posteriors} == {1.0}
    ratio = np.mean([each.std for each in found.posteriors], axis=0) / own.std
    # twice as much is known
    assert_allclose(ratio, np.sqrt(0.5), rtol=0.25)
    table = RankDisplay(data=found.ranks).table
    assert (table["p_value"] > 0.002).all()


def test_the_inverter_keeps_its_own(monkeypatch):
    inverter = inverted()
    posteriors, loss = inverter.posteriors_, inverter.inverter_.loss_
    local_calibration(inverter, n_spectra=3)
    assert inverter.posteriors_ is posteriors
    assert inverter.inverter_.loss_ is loss
    assert inverter.inverter_.verbose == 0
    # nor when it is interrupted
    monkeypatch.setattr(Linear, "interrupted", True)
    with pytest.raises(KeyboardInterrupt):
        local_calibration(inverter, n_spectra=3)
    assert inverter.posteriors_ is posteriors
    assert inverter.inverter_.loss_ is loss


def test_progress_is_shown_where_asked(capsys):
    local_calibration(inverted(), n_spectra=3, verbose=1)
    assert "3/3" in capsys.readouterr().err


def test_one_of_several_must_be_chosen():
    inverter = inverted(n_spectra=2)
    with pytest.raises(ValueError, match="got None for 2 spectra"):
        local_calibration(inverter)
    found = local_calibration(inverter, inverter.posteriors_[1], n_spectra=4)
    assert found.truth.shape == (4, 2)
    inverter.inverter_.noise = "poisson"
    with pytest.raises(ValueError, match="not available for counts"):
        local_calibration(inverter)


def test_what_is_given_is_checked():
    inverter = inverted()
    with pytest.raises(TypeError, match=r"tests a PosteriorInverter.*LeastSquares"):
        local_calibration(inverter.inverter_)
    with pytest.raises(ValueError, match="n_spectra == 1, must be >= 2"):
        local_calibration(inverter, n_spectra=1)
    with pytest.raises(TypeError, match="n_spectra must be an instance of int"):
        local_calibration(inverter, n_spectra=2.5)
    (other,) = inverted().posteriors_
    other.draws.columns = ["a", "c"]
    with pytest.raises(ValueError, match="of a, b; got one of a, c"):
        local_calibration(inverter, other)
    (other,) = inverted().posteriors_
    inverter.n_features_in_ = 41
    with pytest.raises(ValueError, match=r"of 41 pixels.*got 40"):
        local_calibration(inverter, other)


def test_it_is_told_in_one_line():
    found = local_calibration(inverted(), n_spectra=3)
    assert repr(found) == "LocalCalibration(3 spectra: a, b)"


def test_few_draws_are_told():
    inverter = inverted()
    inverter.n_draws = 30
    with pytest.warns(ConvergenceWarning, match="Raise n_draws=30"):
        local_calibration(inverter, n_spectra=2)
