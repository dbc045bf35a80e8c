import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from skphonon import PowderSimulator, load_aluminium_model
from skphonon.instrument import SpectrumGrid
from skphonon.inversion import (
    LeastSquaresInverter,
    MisfitWarning,
    PhononEnergies,
    Search,
    average_energies,
    compare_fits,
    fit_with_constants,
)
from skphonon.physics import ShellPrior

GRID = SpectrumGrid(np.arange(8, 44, 1.5), np.arange(1.5, 8, 0.3), incident_energy=60.0)
MODEL = load_aluminium_model()
X_POINT = [[0.5, 0.5, 0.0]]


def powder(model):
    return PowderSimulator(model, GRID, mesh=8, quantity="sqe", energy_resolution=1.5)


def fit_of(model, row, errors=None, **settings):
    prior = settings.pop("prior", ShellPrior(model))
    inverter = LeastSquaresInverter(
        powder(model), prior=prior, search=Search(n_candidates=1), **settings
    )
    inverter.fit(row).predict(row, errors=errors)
    return inverter.fits_[0]


def spectrum(seed, noise=0.05, can=0.0):
    """Aluminium on a constant, perhaps in a can, with noise of its contrast."""
    sample = powder(MODEL).simulate([1.02 * MODEL.reference])
    holder = powder(other_metal()).simulate([other_metal().reference])
    contrast = np.nanstd(sample)
    normal = np.random.default_rng(seed).normal(size=sample.shape)
    holder = can * contrast / np.nanstd(holder) * holder
    return sample + holder + contrast * (0.3 + noise * normal)


def other_metal():
    """A crystal of other energies, as a can."""
    return MODEL.replace(reference=0.5 * MODEL.reference)


@pytest.fixture(scope="module")
def fits():
    truth = MODEL.extended(3)
    constants = np.array(truth.reference)
    constants[5:] = [0.02, -0.015, 0.01, 0.01]
    row = powder(truth).simulate([constants])
    row = row + 0.02 * np.nanstd(row) * np.random.default_rng(0).normal(size=row.shape)
    return {
        f"{n} shells": fit_of(MODEL.extended(n), row, noise="noise") for n in (2, 3, 4)
    }


@pytest.mark.filterwarnings("ignore::skphonon.inversion.MisfitWarning")
def test_evidence_finds_the_shells_of_the_truth(fits):
    table = compare_fits(fits)
    assert table.index[0] == "3 shells"
    assert table["probability"].iloc[0] > 0.9
    assert_allclose(table["probability"].sum(), 1.0)
    assert table["log_evidence"].iloc[0] == 0


def test_evidence_is_that_of_the_integral():
    """One parameter of a linear model, by quadrature."""
    scale = MODEL.reduced({"all": [1, 2]})
    row = powder(scale).simulate([[1.0]])
    rng = np.random.default_rng(1)
    row = row + 0.05 * np.nanstd(row) * rng.normal(size=row.shape)
    logs = {}
    fits = {}
    for width in (0.02, 0.3):
        prior = np.array([1.02]), np.array([width])
        fit = fit_of(
            scale, row, prior=prior, noise="noise", scale="absolute", background=None
        )
        fits[f"{width}"] = fit
        left = np.square(fit.residual[np.isfinite(fit.residual)])
        variance = left.mean()
        grid = np.linspace(0.95, 1.05, 41)
        simulated = powder(scale).simulate(grid[:, None])
        chi2 = np.nansum((simulated - row) ** 2, axis=1) / variance
        density = np.exp(-(((grid - 1.02) / width) ** 2) / 2) / width
        weight = np.exp(-(chi2 - chi2.min()) / 2) * density
        logs[f"{width}"] = np.log(np.trapezoid(weight, grid)) - chi2.min() / 2
    table = compare_fits(fits)
    assert_allclose(
        table.loc["0.02", "log_evidence"] - table.loc["0.3", "log_evidence"],
        logs["0.02"] - logs["0.3"],
        atol=0.1,
    )


def test_amplitudes_are_integrated_over():
    """Scale and constant of a linear model, with and without the constant."""
    scale, width = MODEL.reduced({"all": [1, 2]}), 0.05
    row = powder(scale).simulate([[1.0]])
    spread = np.nanstd(row)
    row = row + spread * (0.01 + 0.1 * np.random.default_rng(3).normal(size=row.shape))
    prior = np.array([1.0]), np.array([width])
    fits = {
        f"{background}": fit_of(
            scale, row, prior=prior, noise="noise", background=background
        )
        for background in (0, None)
    }
    seen = np.isfinite(fits["0"].residual)
    n_free = seen.sum() - 3
    variance = np.square(fits["0"].residual[seen]).sum() / n_free
    measured = row[0, seen]
    contrast = np.sqrt(seen.sum()) * measured.std()
    grid = np.linspace(0.93, 1.07, 141)
    spectra = powder(scale).simulate(grid[:, None])[:, seen]
    logs = {}
    for name, terms in (("0", np.ones((1, seen.sum()))), ("None", spectra[:0])):
        density = []
        for x, simulated in zip(grid, spectra, strict=True):
            columns = np.vstack([simulated[None], terms]).T
            amplitudes, *_ = np.linalg.lstsq(columns, measured, rcond=None)
            chi2 = np.square(measured - columns @ amplitudes).sum() / variance
            widths = contrast / np.linalg.norm(columns, axis=0)
            widths[1:] *= 2
            information = columns.T @ columns / variance / (2 * np.pi)
            density.append(
                -(chi2 + ((x - 1) / width) ** 2) / 2
                - np.linalg.slogdet(information)[1] / 2
                - np.log(widths).sum()
            )
        top = max(density)
        logs[name] = top + np.log(np.trapezoid(np.exp(np.array(density) - top), grid))
    table = compare_fits(fits)
    assert_allclose(
        table.loc["0", "log_evidence"] - table.loc["None", "log_evidence"],
        logs["0"] - logs["None"],
        atol=0.15,
    )


def settings_of(kind):
    can = {"can": powder(other_metal())}
    return {
        "constant": {"background": 0},
        "cubic": {"background": 3},
        "can": {"background": 0, "contributions": can},
    }[kind]


@pytest.mark.parametrize(("can", "truth"), [(0.0, "constant"), (0.1, "can")])
@pytest.mark.filterwarnings("ignore::skphonon.inversion.BoundWarning")
@pytest.mark.filterwarnings("ignore::skphonon.inversion.MisfitWarning")
def test_background_and_can_are_taken_where_there_are(can, truth):
    firsts = []
    for seed in range(10):
        row = spectrum(seed, can=can)
        fits = {
            kind: fit_of(MODEL, row, **settings_of(kind))
            for kind in ("constant", "cubic", "can")
        }
        firsts.append(compare_fits(fits).index[0])
    assert firsts.count(truth) >= 9


def test_nuisance_that_is_not_needed_costs():
    row = spectrum(0)
    free = {"energy_resolution": (0.5, 3.0), "energy_offset": (-1.0, 1.0)}
    fits = {"none": fit_of(MODEL, row), "two": fit_of(MODEL, row, nuisance=free)}
    table = compare_fits(fits)
    assert table.index[0] == "none"
    assert table.loc["two", "n_parameters"] == table.loc["none", "n_parameters"] + 2


def test_error_bars_have_no_part_in_evidence():
    row = spectrum(0)
    kinds = ("noise", "residual", "systematic")
    tables = []
    for errors in kinds:
        fits = {
            f"{n} shells": fit_of(MODEL.extended(n), row, noise=errors) for n in (2, 3)
        }
        tables.append(compare_fits(fits).loc["3 shells", "log_evidence"])
    assert_allclose(tables[1:], tables[0], atol=0.1)
    assert compare_fits(pickle.loads(pickle.dumps(fits))).equals(compare_fits(fits))


def wrong_fits(row):
    """Fits of models that know nothing of the can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {f"{n} shells": fit_of(MODEL.extended(n), row) for n in (2, 3, 4)}


def test_wrong_models_are_told_and_their_spread_counts():
    fits = wrong_fits(spectrum(0, noise=0.02, can=0.5))
    with pytest.warns(MisfitWarning, match="No model describes the data"):
        table = compare_fits(fits)
    assert_allclose(table["weight"].sum(), 1.0)
    assert table["weight"].min() > 0.1  # they are about as wrong
    with pytest.warns(MisfitWarning):
        averaged = average_energies(fits, X_POINT)
    singles = np.array([fit.energies(X_POINT)["energy"] for fit in fits.values()])
    assert (averaged["between"] > 0.3 * singles.std(axis=0)).all()


def test_exact_spectra_are_compared():
    row = powder(MODEL).simulate([1.02 * MODEL.reference])
    fits = {f"{n} shells": fit_of(MODEL.extended(n), row) for n in (2, 3)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MisfitWarning)
        assert np.isfinite(compare_fits(fits).to_numpy()).all()


@pytest.mark.filterwarnings("ignore::skphonon.inversion.BoundWarning")
def test_counts_are_compared():
    rng = np.random.default_rng(1)
    expected = spectrum(0, noise=0.0)
    seen = np.isfinite(expected)
    counts = np.full(expected.shape, np.nan)
    counts[seen] = rng.poisson(20 * expected[seen] / expected[seen].mean())
    fits = {
        kind: fit_of(MODEL, counts, noise="poisson", **settings_of(kind))
        for kind in ("constant", "cubic", "can")
    }
    assert compare_fits(fits).index[0] == "constant"


def test_right_models_count_by_their_probabilities():
    row = spectrum(0)
    fits = {f"{n} shells": fit_of(MODEL.extended(n), row) for n in (2, 3)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = compare_fits(fits)
    assert_allclose(table["weight"], table["probability"])


@pytest.mark.filterwarnings("ignore::skphonon.inversion.MisfitWarning")
def test_energies_are_averaged_and_not_constants(fits):
    averaged = average_energies(fits, X_POINT)
    singles = np.array([fit.energies(X_POINT)["energy"] for fit in fits.values()])
    assert (averaged["energy"] >= singles.min(axis=0) - 1e-9).all()
    assert (averaged["energy"] <= singles.max(axis=0) + 1e-9).all()
    assert (averaged["std"] >= averaged["between"]).all()


def test_what_cannot_be_compared_is_told(fits):
    with pytest.raises(ValueError, match="at least one fit"):
        compare_fits({})
    row = powder(MODEL).simulate([MODEL.reference])
    other = fit_of(MODEL, row)
    with pytest.raises(ValueError, match="'other' is of"):
        compare_fits({**fits, "other": other})
    free = fit_of(MODEL, row, prior=None)
    with pytest.raises(ValueError, match="'free' has none"):
        compare_fits({"free": free})
    with pytest.raises(TypeError, match=r"must be a mapping .* got list"):
        compare_fits([other])
    with pytest.raises(TypeError, match="SpectrumFit objects, got str"):
        compare_fits({"one": "fit"})
    noise = 0.05 * np.nanstd(row)
    weighted = fit_of(MODEL, row, noise)
    with pytest.raises(ValueError, match="'a' has no errors, 'b' given errors"):
        compare_fits({"a": other, "b": weighted})
    twice = fit_of(MODEL, row, 2 * noise)
    with pytest.raises(ValueError, match="'c' given errors, but others"):
        compare_fits({"b": weighted, "c": twice})
    known = PhononEnergies(MODEL, X_POINT, [23.0], 0.5)
    knows = fit_of(MODEL, row, prior=[ShellPrior(MODEL), known])
    with pytest.raises(ValueError, match="'a' has 0 values, 'b' 1"):
        compare_fits({"a": other, "b": knows})


# Constants of another origin


def test_constants_are_held_and_all_else_is_fitted(fits):
    row = spectrum(3, noise=0.02)
    inverter = LeastSquaresInverter(
        powder(MODEL), background=1, nuisance={"lattice_scale": (0.97, 1.03)}
    )
    best = inverter.fit(row)
    best.predict(row)
    softer = 0.95 * MODEL.reference
    std = np.full(5, 0.01)
    held = fit_with_constants(inverter, softer, row[0], std=std)
    assert_allclose(held.parameters, softer)
    assert_allclose(held.std, std)
    assert held.figures["loss"] > 3 * best.loss_[0]
    # the optimum has the residual of the fit itself
    optimum = fit_with_constants(inverter, best.fits_[0].parameters, row)
    assert_allclose(optimum.figures["loss"], best.loss_[0], rtol=1e-5)
    assert np.isnan(optimum.std).all()
    assert_allclose(
        optimum.nuisance["lattice_scale"],
        best.nuisance_["lattice_scale"][0],
        atol=1e-5,
    )
    assert "misfit" in str(held.verdict_)
    assert inverter.prior is None


@pytest.mark.parametrize(
    ("parameters", "std", "message"),
    [
        ([[0.6] * 5], None, "one set of finite constants"),
        ([np.nan] * 5, None, "5 that are not"),
        ([0.6] * 5, [0.1] * 4, "std must be 5 numbers"),
        ([0.6] * 5, [-0.1] * 5, "std must be 5 numbers from 0 on"),
    ],
)
def test_what_is_no_set_of_constants_is_refused(parameters, std, message):
    inverter = LeastSquaresInverter(powder(MODEL))
    with pytest.raises(ValueError, match=message):
        fit_with_constants(inverter, parameters, spectrum(0), std=std)


def test_held_constants_are_of_one_spectrum_and_of_least_squares():
    inverter = LeastSquaresInverter(powder(MODEL))
    with pytest.raises(ValueError, match="spectrum must be one, got 2"):
        fit_with_constants(inverter, [0.6] * 5, np.ones((2, 3)))
    with pytest.raises(TypeError, match="must be a LeastSquaresInverter, got a Ridge"):
        fit_with_constants(Ridge(), [0.6] * 5, spectrum(0))
