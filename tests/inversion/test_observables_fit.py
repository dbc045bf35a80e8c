"""Fits to tables of energies and other quantities: truth recovered, outliers named."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chi2

from skphonon import ForceConstantModel, LeastSquaresInverter
from skphonon.inversion import (
    ElasticConstants,
    HeatCapacity,
    IdentifiabilityWarning,
    MeanSquareDisplacement,
    MisfitWarning,
    PhononEnergies,
    SoundVelocities,
    fit_observables,
)
from skphonon.physics import ShellPrior
from skphonon.physics.elasticity import elastic_constants

CUBE = 3.61 * np.eye(3)
N_VALUES, ERROR = 80, 0.01


@pytest.fixture(scope="module")
def copper():
    """Three shells of copper at 296 K (doi:10.1103/PhysRev.155.619)."""
    lattice = 3.61 / 2 * (np.ones((3, 3)) - np.eye(3))
    table = {
        "1XX": 13.10, "1ZZ": -1.42, "1XY": 14.82, "2XX": 0.36, "2YY": -0.24,
        "3XX": 0.64, "3YY": 0.32, "3YZ": 0.19, "3XY": 0.39,
    }  # fmt: skip
    return ForceConstantModel.from_table(lattice, "Cu", table, unit="N/m")


def simulated(model, seed, n_values=N_VALUES):
    """Return wavevectors, energies of all branches, their numbers, and errors."""
    rng = np.random.default_rng(seed)
    hkl = 2 * rng.integers(0, 3, (n_values, 3)) + rng.uniform(-0.9, 0.9, (n_values, 3))
    every = PhononEnergies(model, hkl, np.ones(n_values), 1.0, lattice=CUBE)
    branches = every.branches(model.reference)
    strong = branches.strengths > 0.1 * branches.strengths.max(axis=1, keepdims=True)
    modes = np.array([rng.choice(np.flatnonzero(row)) for row in strong])
    energies = branches.found.energies
    own = energies[np.arange(n_values), modes]
    measured = own * (1 + ERROR * rng.standard_normal(n_values))
    start = model.reference * rng.uniform(0.7, 0.9)
    start = start * (1 + 0.15 * rng.standard_normal(len(start)))
    return hkl, measured, ERROR * own, modes, energies, start


def pulls_of(fit, model):
    return (fit.parameters - model.reference) / fit.std


def test_wrong_labels_are_named_and_errors_cover(copper):
    """Over 20 tables: labels off by one, three of 80."""
    pulls, false, missed, squares = [], 0, 0, []
    for seed in range(20):
        hkl, measured, std, modes, energies, start = simulated(copper, seed)
        other = np.where(modes == 2, 1, modes + 1)
        away = np.abs(energies[np.arange(N_VALUES), other] - measured) / std
        wrong = np.flatnonzero(away > 8)[:3]
        modes[wrong] = other[wrong]
        table = PhononEnergies(copper, hkl, measured, std, modes=modes, lattice=CUBE)
        fit = fit_observables(copper, table, initial=start)
        named = set(fit.outliers["row"])
        false += len(named - set(wrong))
        missed += len(set(wrong) - named)
        assert fit.outliers["advice"].str.startswith("wrong label? branch").all()
        pulls.append(pulls_of(fit, copper))
        squares.append(fit.chi2)
    assert (false, missed) == (0, 0)
    # of 180 constants, 2.5 standard deviations of the binomial about 0.683
    assert 0.58 < (np.abs(pulls) < 1).mean() < 0.78
    assert np.abs(pulls).max() < 4
    low, high = chi2.ppf([1e-3, 1 - 1e-3], 20 * fit.n_free)
    assert low < np.sum(squares) < high


def test_energies_without_labels_are_assigned(copper):
    """By structure factor, with three energies that no branch has."""
    pulls = []
    for seed in range(10):
        hkl, measured, std, modes, energies, start = simulated(copper, seed)
        wrong = np.array([3, 40, 77])
        measured[wrong] = 1.2 * energies[wrong, 2]
        table = PhononEnergies(copper, hkl, measured, std, lattice=CUBE)
        fit = fit_observables(copper, table, initial=start)
        assert_array_equal(np.sort(fit.outliers["row"]), wrong)
        assert fit.outliers["advice"].str.startswith("no branch is near").all()
        found = fit.table()["branch"].to_numpy(dtype=int)
        right = np.delete(found == modes, wrong)
        assert right.mean() > 0.9  # others are of branches that nearly touch
        pulls.append(pulls_of(fit, copper))
    assert 0.5 < (np.abs(pulls) < 1).mean() < 0.82
    assert np.abs(pulls).max() < 4


def test_a_branch_that_is_too_weak_is_told(copper):
    hkl, measured, std, *_ = simulated(copper, 0)
    # only the longitudinal branch scatters along this axis
    hkl[0] = [2.5, 0.0, 0.0]
    every = PhononEnergies(copper, hkl, np.ones(N_VALUES), 1.0, lattice=CUBE)
    measured[0] = every.branches(copper.reference).found.energies[0, 0]
    table = PhononEnergies(copper, hkl, measured, std, lattice=CUBE)
    fit = fit_observables(copper, table)
    assert fit.outliers["row"].tolist() == [0]
    assert "too weak to be seen" in fit.outliers["advice"][0]


def test_without_outliers_the_fit_is_that_of_least_squares(copper):
    hkl, measured, std, modes, *_ = simulated(copper, 5)
    table = PhononEnergies(copper, hkl, measured, std, modes=modes, lattice=CUBE)
    fits = [fit_observables(copper, table, robust=robust) for robust in (True, False)]
    assert_allclose(fits[0].parameters, fits[1].parameters, atol=1e-5)
    residual, slopes = table.residuals(fits[0].parameters)
    # at the optimum, and with the covariance of Gauss and Newton
    assert_allclose(fits[0].std * (slopes.T @ residual), 0, atol=1e-2)
    assert_allclose(np.linalg.inv(fits[0].covariance), slopes.T @ slopes, rtol=1e-6)


def test_all_kinds_of_observables_together(copper):
    row, n = copper.reference, np.random.default_rng(0)
    found = [
        PhononEnergies(copper, [[0, 0.5, 0.5], [0.5, 0.5, 0.5]], [1, 1], 0.1, modes=2),
        ElasticConstants(copper, {"C11": (1, 1.5), "C12": (1, 1.5), "C44": (1, 0.8)}),
        SoundVelocities(copper, [[1, 1, 0]], [1], [1e3], 20.0),
        MeanSquareDisplacement(copper, 296.0, 0.01, 1e-4, mesh=6),
        HeatCapacity(copper, [80.0], [1.0], 0.1, mesh=6),
    ]
    names = ["energies", "constants", "velocities", "value", "values"]
    exact = []
    for observable, name in zip(found, names, strict=True):
        values = observable.calculate(row)[0]
        values = values + observable.errors * n.standard_normal(len(values))
        if name == "constants":
            pairs = zip(values, observable.errors, strict=True)
            values = dict(zip(observable.constants, pairs, strict=True))
        exact.append(observable.replace(**{name: values}))
    prior = 0.9 * row, 0.3 * np.abs(row)
    fit = fit_observables(copper, exact, prior=prior)
    assert fit.n_free == 8
    assert chi2.sf(fit.chi2, 8) > 1e-3
    assert (fit.std < prior[1]).all()
    assert fit.outliers.empty
    assert len(fit.table()) == 8
    # one of them is wrong
    exact[1] = exact[1].replace(constants={**exact[1].constants, "C44": (150.0, 0.8)})
    fit = fit_observables(copper, exact, prior=prior)
    out = fit.outliers.iloc[0]
    assert (out["observable"], out["row"]) == (1, 2)
    assert out["quantity"] == "C44 (GPa)"


def test_a_prior_decides_what_the_values_leave_open(copper):
    elastic = ElasticConstants(copper, {"C11": (170.0, 1.0)})
    mean, std = copper.reference, 0.2 * np.abs(copper.reference)
    fit = fit_observables(copper, elastic, prior=(mean, std))
    # linear: the formula of Kalman
    values, slopes = elastic.calculate(mean)
    spread = np.diag(std**2)
    gain = spread @ slopes.T / (slopes @ spread @ slopes.T + 1.0)
    assert_allclose(fit.parameters, mean + gain @ (170.0 - values), rtol=1e-6)
    assert_allclose(fit.covariance, spread - gain @ slopes @ spread, atol=1e-9)
    with pytest.warns(IdentifiabilityWarning, match="The values do not determine"):
        fit = fit_observables(copper, elastic)
    assert np.isinf(fit.std).any()
    assert "not determined" in fit.fit_report()


def test_a_model_of_too_few_shells_is_told(copper):
    short = ForceConstantModel(copper.lattice, "Cu", copper.reference[:3], n_shells=1)
    hkl, measured, std, modes, *_ = simulated(copper, 0)
    table = PhononEnergies(short, hkl, measured, std / 10, modes=modes, lattice=CUBE)
    with pytest.warns(MisfitWarning, match="does not describe the values"):
        fit = fit_observables(short, table)
    assert fit.reduced_chi2 > 2


def test_the_report(copper):
    hkl, measured, std, modes, *_ = simulated(copper, 1)
    measured[7] *= 1.5
    table = PhononEnergies(copper, hkl, measured, std, modes=modes, lattice=CUBE)
    fit = fit_observables(copper, table)
    report = fit.fit_report()
    for part in (
        "[[Fit Statistics]]",
        "80, 1 outliers left out",
        "1XX =",
        "[[Correlations]]",
        "[[Outliers]]",
        "row 7: E(",
    ):
        assert part in report
    assert "pull of the prior" not in report
    frame = fit.to_frame()
    assert frame.index.tolist() == copper.parameter_names
    assert_allclose(frame["value"], fit.parameters)
    assert_allclose(fit.fitted_model.reference, fit.parameters)
    assert fit.table()["outlier"].sum() == 1
    again = pickle.loads(pickle.dumps(fit))
    assert again.fit_report() == report


@pytest.mark.slow
def test_degrees_of_freedom_are_those_of_chi2(aluminium):
    """Three elastic constants tell of three directions, though of no constant alone."""
    truth = elastic_constants(aluminium, aluminium.reference[None])[0]
    names, own = ("C11", "C12", "C44"), truth[[0, 0, 3], [0, 1, 3]]
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        sets = own + rng.standard_normal((2, 3))
        tables = [
            ElasticConstants(
                aluminium,
                dict(zip(names, zip(s, np.ones(3), strict=True), strict=True)),
            )
            for s in sets
        ]
        with pytest.warns(IdentifiabilityWarning):
            fit = fit_observables(aluminium, tables)
        found.append(fit.chi2)
    assert fit.n_free == 3
    assert abs(np.mean(found) - 3) < 3 * (2 * 3 / 40) ** 0.5
    with pytest.warns(IdentifiabilityWarning):
        exact = fit_observables(aluminium, tables[0])
    assert exact.n_free == 0
    assert np.isnan(exact.reduced_chi2)
    wide = (aluminium.reference, np.abs(aluminium.reference))
    assert fit_observables(aluminium, tables, prior=wide).n_free == 6


def test_rows_of_outliers_are_whole_numbers(copper):
    hkl, measured, std, modes, *_ = simulated(copper, 1)
    good = PhononEnergies(copper, hkl, measured, std, modes=modes, lattice=CUBE)
    assert fit_observables(copper, good).outliers["row"].dtype == int
    bad = ElasticConstants(copper, {"C11": (300.0, 1.0)})
    fit = fit_observables(copper, [good, bad])
    assert fit.outliers["row"].dtype == int
    assert "row 0: C11 (GPa): measured" in fit.fit_report()


def test_a_prior_of_several_pieces(copper):
    table = ElasticConstants(copper, {"C11": (172.0, 2.0), "C44": (74.0, 2.0)})
    other = ElasticConstants(copper, {"C12": (121.0, 2.0)})
    shells = ShellPrior(copper, energies=0.1)
    pair = copper.reference, 0.2 * np.abs(copper.reference) + 0.01
    whole = fit_observables(copper, [table, other], prior=shells)
    parted = fit_observables(copper, table, prior=[shells, other])
    assert_allclose(parted.parameters, whole.parameters)
    assert parted.n_free == 3
    both = fit_observables(copper, table, prior=[shells, pair])
    precision = np.linalg.inv(shells.covariance_) + np.diag(pair[1] ** -2.0)
    assert_allclose(both.prior[1], np.linalg.inv(precision), atol=1e-12)
    full = pair[0], np.diag(pair[1] ** 2)
    twice = fit_observables(copper, table, prior=[full, full])
    assert_allclose(twice.prior[1], full[1] / 2)
    alone = fit_observables(copper, [table], prior=[pair])
    assert_allclose(
        alone.parameters, fit_observables(copper, table, prior=pair).parameters
    )
    with pytest.raises(ValueError, match="positive standard deviations"):
        fit_observables(copper, table, prior=[shells, (pair[0], -pair[1])])
    with pytest.raises(TypeError, match="or a list of such and of observables"):
        fit_observables(copper, table, prior=[shells, 3.0])


@pytest.mark.parametrize("seed", range(3))
def test_restarts_from_unstable_constants_are_passed_over(aluminium, seed):
    rng = np.random.default_rng(seed)
    q = rng.uniform(-0.5, 0.5, (12, 3))
    energies = aluminium.frequencies(aluminium.reference, q)[0, :, 2]
    noisy = np.abs(energies + rng.standard_normal(12))
    table = PhononEnergies(aluminium, q, noisy, 1.0, modes=2)
    heat = HeatCapacity(aluminium, 300.0, 22.86, 0.2)
    moving = MeanSquareDisplacement(aluminium, 300.0, 0.0104, 0.0005)
    assert np.isfinite(fit_observables(aluminium, [heat, table]).chi2)
    wide = (aluminium.reference, 2 * np.abs(aluminium.reference))
    assert np.isfinite(fit_observables(aluminium, moving, prior=wide).chi2)


def test_fits_that_cannot_be(copper, aluminium):
    table = ElasticConstants(copper, {"C11": (170.0, 1.0)})
    with pytest.raises(ValueError, match="at least one, got none"):
        fit_observables(copper, [])
    with pytest.raises(TypeError, match="got LeastSquaresInverter"):
        fit_observables(copper, [LeastSquaresInverter(None)])
    with pytest.raises(ValueError, match="of the model that is fitted"):
        fit_observables(aluminium, table)
    with pytest.raises(ValueError, match="initial must have shape"):
        fit_observables(copper, table, initial=[1.0])
    with pytest.raises(ValueError, match="reference values"):
        fit_observables(copper.replace(reference=None), table)
    for limit in (0.0, "4", None, True):
        with pytest.raises(ValueError, match="limit must be above 0"):
            fit_observables(copper, table, limit=limit)
    with pytest.raises(ValueError, match=r"initial must be one set .* got 2 sets"):
        fit_observables(copper, table, initial=[copper.reference] * 2)
    with pytest.raises(TypeError, match=r"model must be the crystal, .* got NoneType"):
        fit_observables(None, table)
    moving = MeanSquareDisplacement(copper, 296.0, 0.007, 1e-4, mesh=4)
    with pytest.raises(ValueError, match="must describe a stable crystal"):
        fit_observables(copper, moving, initial=-copper.reference)
