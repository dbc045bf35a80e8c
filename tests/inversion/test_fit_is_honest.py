"""What a fit says of itself, and what it must not keep to itself."""

import pickle

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skphonon import (
    LeastSquaresInverter,
    Measurement,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon.instrument.holders import holder_model
from skphonon.inversion import (
    ElasticConstants,
    IdentifiabilityWarning,
    MisfitWarning,
    Search,
)
from skphonon.inversion._mode_energies import energies_with_std
from skphonon.physics import ShellPrior
from skphonon.simulation import (
    ElasticTail,
    Scattering,
)

GRID = SpectrumGrid(np.arange(6, 42, 1.0), np.arange(2, 8, 0.25))
MODEL = load_aluminium_model()


def simulator(model=MODEL, **settings):
    settings = {"energy_resolution": 1.5, "mesh": 6, "temperature": 300.0} | settings
    return PowderSimulator(model, GRID, **settings)


def spectrum(beside=0.0, noise=0.03, seed=0, **settings):
    """Return a spectrum, noise and all, and the noise."""
    clean = simulator(**settings).simulate([1.03 * MODEL.reference])
    clean = clean + beside
    level = noise * np.nanstd(clean)
    rng = np.random.default_rng(seed)
    return clean + level * rng.normal(size=clean.shape), level


def fit_of(X, errors=None, given=None, **settings):
    given = simulator() if given is None else given
    settings = {"search": Search(n_candidates=1)} | settings
    inverter = LeastSquaresInverter(given, **settings).fit(X)
    inverter.predict(X, errors=errors)
    return inverter.fits_[0]


@pytest.fixture(scope="module")
def copper():
    row = simulator(holder_model("copper")).simulate(holder_model("copper").reference)
    sample = simulator().simulate([MODEL.reference])
    return 0.5 * row * np.nanmean(sample) / np.nanmean(row)


def kinds(fit):
    return [finding.about for finding in fit.verdict_]


def test_a_fit_beside_a_prior_is_dumped(tmp_path):
    X, level = spectrum()
    inverter = LeastSquaresInverter(
        simulator(), prior=ShellPrior(MODEL), search=Search(n_candidates=1)
    ).fit(X)
    expected = inverter.predict(X, errors=level)
    joblib.dump(inverter, tmp_path / "inverter.joblib")
    again = joblib.load(tmp_path / "inverter.joblib")
    assert_array_equal(again.predict(X, errors=level), expected)
    assert str(pickle.loads(pickle.dumps(inverter.fits_[0])).verdict_)


def test_a_holder_has_nothing_of_the_sample(copper):
    own = {
        "mean_square_displacement": 0.03,
        "scattering": Scattering(scattering_lengths={"Al": 3.6}),
    }
    X, level = spectrum(beside=copper, **own)
    fit = fit_of(X, level, simulator(**own), contributions={"can": "copper"})
    assert fit.figures["reduced_chi2"] == pytest.approx(1.0, abs=0.15)
    assert_allclose(fit.parameters[:3], 1.03 * MODEL.reference[:3], rtol=0.03)
    without = simulator(**own)
    with pytest.warns(MisfitWarning):
        fit = fit_of(X, level, without)
    assert "copper" in str(fit.verdict_)


def test_a_measured_can_is_not_told_to_be_missing(copper):
    rng = np.random.default_rng(3)
    error = 0.1 * np.nanmean(copper)
    can = Measurement(
        copper + error * rng.normal(size=copper.shape),
        GRID,
        error=np.full(copper.shape, error),
        temperature=300.0,
    )
    X, level = spectrum(beside=copper)
    contributions = {"can": can}
    fit = fit_of(X, level, contributions=contributions)
    assert "holder" not in str(fit.verdict_)
    assert "copper" not in str(fit.verdict_)
    with pytest.warns(UserWarning, match="errors of 'can' are only used beside"):
        fit_of(X, contributions=contributions)


def test_a_sample_that_is_not_there_is_a_finding(copper):
    rng = np.random.default_rng(1)
    level = 0.02 * np.nanstd(copper)
    X = copper + level * rng.normal(size=copper.shape)
    fit = fit_of(X, level, contributions={"can": "copper"}, prior=ShellPrior(MODEL))
    assert kinds(fit)[0] == "sample"
    assert "mean nothing" in fit.fit_report()


def test_an_unstable_crystal_is_a_finding():
    X, level = spectrum()
    soft = -MODEL.reference
    assert not MODEL.is_stable([soft])[0]
    fit = fit_of(X, level)
    fit.parameters = soft
    assert "stability" in kinds(fit)


def test_a_wrong_temperature_and_an_elastic_line_are_named():
    X, level = spectrum(quantity="sqe")
    cold = simulator(quantity="sqe", temperature=150.0)
    with pytest.warns(MisfitWarning):
        fit = fit_of(X, level, cold)
    assert "temperature" in fit.lacking_.index[:2]
    assert "temperature" in str(fit.verdict_)
    warm = simulator(quantity="sqe")
    tail = ElasticTail(1.8).on(warm)
    X, level = spectrum(beside=50 * np.nanmax(X) * tail, quantity="sqe")
    with pytest.warns(MisfitWarning):
        fit = fit_of(X, level, warm)
    assert fit.lacking_.index[0].startswith("an elastic tail of")
    assert "ElasticTail(" in str(fit.verdict_)
    fit = fit_of(X, level, warm, contributions={"tail": ElasticTail(1.8)})
    assert fit.verdict_.sound


@pytest.mark.parametrize("level", [1e-6, 1e-2])
def test_errors_are_never_wider_than_the_prior(level):
    model = MODEL.extended(6)
    prior = ShellPrior(model)
    X = simulator(model).simulate([model.reference])
    row = np.full(GRID.shape, np.nan)
    row[12, 4:10] = X.reshape(GRID.shape)[12, 4:10]
    errors = np.full(row.size, level * np.nanstd(row))
    fit = fit_of(row.reshape(1, -1), errors, simulator(model), prior=prior)
    widths = np.sqrt(np.diag(prior.covariance_))
    assert np.isfinite(fit.std).all()
    assert (fit.std < 1.001 * widths).all()
    assert (fit.std > 0.9 * widths).sum() >= 3  # six pixels know little


def test_a_fit_keeps_what_it_was_given():
    X, level = spectrum()
    given = X.copy()
    inverter = LeastSquaresInverter(simulator(), search=Search(n_candidates=1)).fit(
        given
    )
    inverter.predict(given, errors=level)
    before = inverter.fits_[0].fit_report()
    given[:] = 0.0
    assert inverter.fits_[0].fit_report() == before
    inverter.set_params(noise="poisson", background=2)
    assert inverter.fits_[0].fit_report() == before
    assert "background 1" not in inverter.fits_[0].to_frame().index


def test_what_was_measured_elsewhere_is_told_and_judged():
    X, level = spectrum()
    found = fit_of(X, level)
    right, _ = ElasticConstants(MODEL, {"C11": (100.0, 1.0)}).calculate(
        found.parameters
    )
    for value, is_wrong in ((right[0], False), (right[0] + 30, True)):
        known = ElasticConstants(MODEL, {"C11": (value, 3.0)})
        fit = fit_of(X, level, prior=[ShellPrior(MODEL), known])
        assert "C11" in fit.fit_report()
        assert ("observables" in kinds(fit)) == is_wrong
        assert fit.observed["measured"].tolist() == [value]


def test_priors_that_are_none_are_refused():
    X, _ = spectrum()
    P = MODEL.reference
    skew = np.diag(np.square(0.1 * P))
    skew[0, 1] = 1e-4
    for prior, message in (
        ((np.nan * P, np.abs(P)), "finite means"),
        ((P, np.full(5, np.inf)), "finite means"),
        ((P, skew), "symmetric"),
    ):
        with pytest.raises(ValueError, match=message):
            LeastSquaresInverter(simulator(), prior=prior).fit(X)
    for prior in ({"1XX": (1.0, 0.1)}, ["a"], "a", [P, P, P]):
        with pytest.raises(TypeError, match="prior must be an object"):
            LeastSquaresInverter(simulator(), prior=prior).fit(X)
    known = ElasticConstants(MODEL, {"C11": (100.0, 3.0)})
    inverter = LeastSquaresInverter(
        simulator(), prior=known, search=Search(n_candidates=1)
    ).fit(X)
    listed = clone(inverter).set_params(prior=[known]).fit(X)
    assert_allclose(inverter.predict(X), listed.predict(X))
    pair = (P, 0.1 * np.abs(P))
    both = [
        LeastSquaresInverter(simulator(), prior=each, search=Search(n_candidates=1))
        .fit(X)
        .predict(X)
        for each in (pair, [pair], list(pair))
    ]
    assert_array_equal(both[0], both[1])
    assert_array_equal(both[0], both[2])


def test_choices_have_names():
    X, _ = spectrum()
    fit = fit_of(X, errors=None, nuisance={"energy_resolution": (1.0, 2.0)})
    assert fit.choices is None
    inverter = LeastSquaresInverter(
        simulator(),
        nuisance={"energy_resolution": (1.0, 2.0)},
        search=Search(n_candidates=1),
        noise="systematic",
    ).fit(X)
    inverter.predict(X)
    names = [*MODEL.parameter_names, "energy_resolution"]
    assert list(inverter.fits_[0].choices.columns) == names


def test_energies_at_the_centre_and_of_what_is_not_determined():
    X, level = spectrum()
    fit = fit_of(X, level)
    centre = fit.energies([0, 0, 0])
    assert_array_equal(centre[["energy", "std"]].to_numpy(), 0.0)
    covariance = np.diag([1e-4, 1e-4, 1e-4, np.inf, 1e-4])
    _, std = energies_with_std(
        MODEL, MODEL.reference, covariance, np.array([[0.5, 0.5, 0], [0.1, 0.2, 0.3]])
    )
    assert not np.isnan(std).any()
    assert np.isinf(std).any()


def test_contributions_that_are_alike_are_told(copper):
    X, level = spectrum(beside=copper)
    with pytest.warns(IdentifiabilityWarning, match="'a', 'b'"):
        fit_of(X, level, contributions={"a": copper[0], "b": 1.001 * copper[0]})


@pytest.mark.parametrize("name", ["sample", "scale", "can std", "background 1"])
def test_names_of_contributions_that_mean_something_else(name, copper):
    X, _ = spectrum()
    with pytest.raises(ValueError, match="names of what else is fitted"):
        LeastSquaresInverter(simulator(), contributions={name: copper[0]}).fit(X)


def test_errors_of_one_row_are_those_of_all():
    X, level = spectrum()
    inverter = LeastSquaresInverter(simulator(), search=Search(n_candidates=1)).fit(X)
    one = inverter.predict(X, errors=np.full(X.shape[1], level))
    assert_array_equal(one, inverter.predict(X, errors=level))


@pytest.mark.filterwarnings("ignore::skphonon.inversion.IdentifiabilityWarning")
@pytest.mark.filterwarnings("ignore::skphonon.physics.UnstableCrystalWarning")
def test_a_spectrum_that_tells_little_is_not_sound():
    """Few pixels of much noise, and five constants."""
    few = SpectrumGrid(np.arange(14, 20, 1.0), np.arange(3, 4, 0.25))
    given = PowderSimulator(MODEL, few, energy_resolution=1.5, mesh=6)
    X = given.simulate([MODEL.reference])
    level = 2 * np.std(X)
    X += level * np.random.default_rng(0).normal(size=X.shape)
    fit = fit_of(X, level, given)
    wide = fit.std > np.abs(fit.parameters).max()
    assert wide.any()
    finding = next(f for f in fit.verdict_ if f.about == "identifiability")
    assert finding.figure == wide.sum()
    for name in np.array(fit.parameter_names)[wide]:
        assert name in finding.text
    X, level = spectrum()
    assert "identifiability" not in kinds(fit_of(X, level))
