"""Fits that explain themselves: tables, energies, what they lack, verdicts."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skphonon import JointSimulator, PowderSimulator, load_aluminium_model
from skphonon.inspection import PhononBandsDisplay
from skphonon.instrument import MeasurementWarning, SpectrumGrid
from skphonon.instrument.holders import holder_model
from skphonon.inversion import (
    BoundWarning,
    LeastSquaresInverter,
    MisfitWarning,
    Search,
)
from skphonon.physics import ShellPrior

GRID = SpectrumGrid(np.arange(8, 44, 1.5), np.arange(1.5, 8, 0.3), incident_energy=60.0)
MODEL = load_aluminium_model()
COPPER = holder_model("copper")
X_POINT = [[0.5, 0.5, 0.0]]


def powder(model=MODEL, **settings):
    settings = {"mesh": 8, "quantity": "sqe", "energy_resolution": 1.5} | settings
    return PowderSimulator(model, GRID, **settings)


SIMULATOR = powder()


def noisy(row, level=0.03, seed=0):
    rng = np.random.default_rng(seed)
    return row + level * np.nanstd(row) * rng.normal(size=row.shape)


def fitted(row, simulator=SIMULATOR, errors=None, **settings):
    inverter = LeastSquaresInverter(
        simulator, search=Search(n_candidates=1), **settings
    )
    inverter.fit(row).predict(row, errors=errors)
    return inverter.fits_[0]


@pytest.fixture(scope="module")
def sound():
    row = noisy(SIMULATOR.simulate([np.array(MODEL.reference) * 1.03]))
    return fitted(
        row, prior=ShellPrior(MODEL), nuisance={"energy_resolution": (1.0, 2.0)}
    )


def test_a_sound_fit_has_nothing_against_it(sound):
    assert sound.verdict_.sound
    assert str(sound.verdict_) == "Nothing was found that speaks against this fit."
    assert sound.lacking_["gain"].max() < 40


def test_tables_and_reports_tell_the_values(sound):
    frame = sound.to_frame()
    constants = frame[frame["kind"] == "constant"]
    assert list(constants.index) == MODEL.parameter_names
    assert_allclose(constants["value"], sound.parameters)
    assert_allclose(constants["std"], np.sqrt(np.diag(sound.covariance)))
    assert_allclose(constants["prior"], MODEL.reference)
    kinds = dict(frame["kind"])
    assert kinds["energy_resolution"] == "nuisance"
    assert kinds["scale"] == "weight"
    assert kinds["background 0"] == "background"
    report = sound.fit_report()
    for told in ("[[Constants]]", "1XX", "chi^2 per degree of freedom", "[[Verdict]]"):
        assert told in report
    assert f"prior {MODEL.reference[0]:.4g} +/- " in report


def test_energies_have_the_errors_of_draws(sound):
    table = sound.energies(X_POINT)
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(sound.parameters, sound.covariance, size=2000)
    drawn = MODEL.frequencies(draws, X_POINT)[:, 0]
    assert_allclose(table["energy"], MODEL.frequencies(sound.parameters, X_POINT)[0, 0])
    assert_allclose(table["std"], drawn.std(axis=0), rtol=0.08)


def test_a_fit_takes_the_place_of_draws(sound):
    display = PhononBandsDisplay.from_draws(sound, n_points=3)
    assert {"value", "low", "high"} <= set(display.data.columns)
    assert (display.data["high"] >= display.data["low"]).all()


def test_a_fit_goes_to_phonopy_and_to_a_file(sound, tmp_path):
    phonons = sound.to_phonopy()
    phonons.run_qpoints(X_POINT)
    thz = phonons.qpoints.frequencies[0]
    assert_allclose(thz * 4.135667696, sound.energies(X_POINT)["energy"], rtol=1e-5)
    again = pickle.loads(pickle.dumps(sound))
    assert again.fit_report() == sound.fit_report()


def test_maps_of_what_was_measured_and_fitted(sound):
    pytest.importorskip("matplotlib")
    display = sound.plot(cuts={"q": (3.0, 5.0)})
    assert len(display.axes_) == 4
    left = display.data[2]
    assert left.title == "residual (standard deviations)"
    # the fit is sound, so that residuals are about as large as noise
    assert_allclose(np.nanstd(left.image), 1.0, rtol=0.15)


def test_an_unknown_can_is_named():
    can = powder(COPPER).simulate([COPPER.reference])
    row = noisy(SIMULATOR.simulate([MODEL.reference]) + 0.5 * can)
    with pytest.warns(MisfitWarning):
        fit = fitted(row, prior=ShellPrior(MODEL, energies=0.05))
    assert fit.lacking_.index[0] == "a holder of copper"
    first = fit.verdict_[0]
    assert first.about == "misfit"
    assert "contributions={'can': 'copper'}" in first.cause


def test_a_shift_of_energies_is_told_with_its_size():
    row = SIMULATOR.simulate([MODEL.reference], nuisance={"energy_offset": [2.0]})
    narrow = MODEL.reference, 0.01 * np.abs(MODEL.reference)
    with pytest.warns(MisfitWarning):
        fit = fitted(
            noisy(row), prior=narrow, nuisance={"energy_resolution": (1.0, 4.0)}
        )
    assert fit.lacking_.index[0] == "energy_offset"
    assert_allclose(fit.lacking_["step"].iloc[0], 2.0, rtol=0.35)
    assert "meV: calibrate" in fit.verdict_[0].cause


def test_a_wrong_lattice_is_told():
    row = SIMULATOR.simulate([MODEL.reference], nuisance={"lattice_scale": [0.98]})
    fit = fitted(noisy(row), nuisance={"lattice_scale": (0.95, 1.05)})
    (finding,) = fit.verdict_
    assert finding.about == "lattice"
    assert_allclose(finding.figure, -0.02, atol=0.003)
    with pytest.warns(BoundWarning):
        fit = fitted(noisy(row), nuisance={"lattice_scale": (0.979, 0.9795)})
    assert "lattice" in {each.about for each in fit.verdict_}


def test_spectra_less_their_mean_have_no_shares():
    row = noisy(SIMULATOR.simulate([MODEL.reference]))
    fit = fitted(row - np.nanmean(row), background=1)
    assert fit.shares.isna().all()
    assert not {each.about for each in fit.verdict_} & {"sample", "background"}


def test_another_material_leaves_the_prior():
    copper = powder(COPPER)
    row = noisy(copper.simulate([COPPER.reference]))
    with pytest.warns(MisfitWarning):
        fit = fitted(row, prior=ShellPrior(MODEL, energies=0.05, common=0.05))
    told = {each.about for each in fit.verdict_}
    assert told & {"prior", "energies", "misfit"}
    assert not fit.verdict_.sound


def test_joint_fits_have_no_scores_but_all_else():
    joint = JointSimulator({"cold": powder(temperature=50.0), "hot": powder()})
    row = noisy(joint.simulate([joint.reference]))
    fit = fitted(row, joint)
    assert fit.lacking_.empty
    assert "scale (cold)" in fit.to_frame().index
    found = fit.energies(X_POINT)
    truth = np.sort(MODEL.frequencies([MODEL.reference], np.atleast_2d(X_POINT)))
    assert (np.abs(found["energy"] - truth.ravel()) < 5 * found["std"]).all()


def test_joint_fits_of_changing_constants_have_no_energies():
    joint = JointSimulator(
        {"cold": powder(temperature=50.0), "hot": powder()}, at=[50, 300], degree=1
    )
    fit = fitted(noisy(joint.simulate([joint.reference])), joint)
    with pytest.raises(ValueError, match="Take those of one measurement"):
        fit.energies(X_POINT)


class Even:
    """A peak whose place is told but for its sign."""

    parameter_names, reference = ("place",), np.array([1.0])
    x = np.linspace(-10, 10, 80)

    def simulate(self, parameters):
        places = np.abs(np.asarray(parameters)[:, :1])
        return np.exp(-((self.x - places) ** 2))

    def loosened(self, factor):
        return self

    def refined(self):
        return self


@pytest.mark.filterwarnings("ignore:Even has no method jacobian")
def test_two_answers_are_told():
    rng = np.random.default_rng(0)
    row = Even().simulate([[2.0]]) + 0.02 * rng.normal(size=(1, 80))
    inverter = LeastSquaresInverter(
        Even(),
        search=Search(n_starts=4, n_candidates=32, initial=[0.2]),
        random_state=0,
    )
    both = np.vstack([row, row])
    inverter.fit(both, np.array([[-2.0], [2.0]])).predict(row)
    (fit,) = inverter.fits_
    assert_allclose(np.abs([fit.parameters[0], fit.others[0, 0]]), 2.0, atol=0.05)
    assert fit.parameters[0] * fit.others[0, 0] < 0
    assert fit.verdict_[0].about == "answers"


def test_residuals_are_drawn_in_standard_deviations():
    clean = SIMULATOR.simulate([MODEL.reference])
    noise = 0.03 * np.nanstd(clean)
    row = noisy(clean)
    estimated = fitted(row)
    assert_allclose(estimated.sigma, noise, rtol=0.1)
    errors = np.full(row.shape, 2 * noise)
    given = fitted(row, errors=errors)
    assert_allclose(given.sigma, 2 * noise)
    drawn = given.plot().data[2]
    assert "standard deviations" in drawn.title
    assert_allclose(np.nanstd(drawn.image), 0.5, rtol=0.05)
    mean = np.nan_to_num(100 * clean / np.nanmax(clean) + 5)
    counts = np.random.default_rng(0).poisson(mean)
    counted = fitted(np.where(np.isnan(clean), np.nan, counts), noise="poisson")
    expected = counted.spectrum - counted.residual
    assert_allclose(counted.sigma, np.sqrt(expected))


@pytest.mark.filterwarnings("ignore::skphonon.inversion.MisfitWarning")
def test_a_few_pixels_that_decide_a_fit_are_told():
    row = noisy(SIMULATOR.simulate([MODEL.reference]))
    errors = np.full(row.shape, 0.03 * np.nanstd(row))
    seen = np.flatnonzero(np.isfinite(row[0]))
    errors[0, seen[:2]] *= 1e-4
    inverter = LeastSquaresInverter(SIMULATOR).fit(row)
    with pytest.warns(MeasurementWarning, match=r"weight .* is in [12] of .* pixels"):
        inverter.predict(row, errors=errors)
    raised = np.maximum(errors, np.nanmedian(errors))
    inverter.predict(row, errors=raised)  # does not warn


@pytest.mark.parametrize(("step", "named"), [(-425.0, False), (60.0, True)])
def test_no_temperature_below_zero_is_a_cause(sound, step, named):
    fit = copy.copy(sound)
    fit.__dict__.pop("verdict_", None)
    row = {"gain": 1e4, "share": 0.9, "n_terms": 1, "step": step, "std": 30.0}
    fit.__dict__["lacking_"] = pd.DataFrame(row, index=["temperature"])
    assert ("another temperature" in str(fit.verdict_)) is named
