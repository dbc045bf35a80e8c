import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import PowderSimulator, load_aluminium_model
from skphonon.instrument import SpectrumGrid
from skphonon.inversion import LeastSquaresInverter, average_energies, compare_fits
from skphonon.physics import ShellPrior

GRID = SpectrumGrid(np.arange(8, 44, 1.5), np.arange(1.5, 8, 0.3), incident_energy=60.0)
MODEL = load_aluminium_model()
X_POINT = [[0.5, 0.5, 0.0]]


def powder(model):
    return PowderSimulator(model, GRID, mesh=8, quantity="sqe", energy_resolution=1.5)


def fit_of(model, row, **settings):
    prior = settings.pop("prior", ShellPrior(model))
    inverter = LeastSquaresInverter(
        powder(model), prior=prior, n_candidates=1, **settings
    )
    inverter.fit(row).predict(row)
    return inverter.fits_[0]


@pytest.fixture(scope="module")
def fits():
    truth = MODEL.extended(3)
    constants = np.array(truth.reference)
    constants[5:] = [0.02, -0.015, 0.01, 0.01]
    row = powder(truth).simulate([constants])
    row = row + 0.02 * np.nanstd(row) * np.random.default_rng(0).normal(size=row.shape)
    return {
        f"{n} shells": fit_of(MODEL.extended(n), row, errors="noise") for n in (2, 3, 4)
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
            scale, row, prior=prior, errors="noise", scale="absolute", background=None
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
