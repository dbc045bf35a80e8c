"""Fits of observables that are no answers: what is off is told."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2, kstest

from skphonon import ForceConstantModel
from skphonon.fitting.knowledge import (
    contradiction,
    likely_pull,
    no_wider,
    posterior_covariance,
)
from skphonon.inversion import (
    ElasticConstants,
    HeatCapacity,
    MeanSquareDisplacement,
    PhononEnergies,
    SoundVelocities,
    fit_observables,
)
from skphonon.physics import ShellPrior, UnstableCrystalWarning
from skphonon.physics.elasticity import elastic_constants

CUBE = 3.61 * np.eye(3)
DIRECTIONS = np.array([[1, 0, 0], [0.75, 0.75, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(scope="module")
def copper():
    """Three shells of copper at 296 K (doi:10.1103/PhysRev.155.619)."""
    lattice = 3.61 / 2 * (np.ones((3, 3)) - np.eye(3))
    table = {
        "1XX": 13.10, "1ZZ": -1.42, "1XY": 14.82, "2XX": 0.36, "2YY": -0.24,
        "3XX": 0.64, "3YY": 0.32, "3YZ": 0.19, "3XY": 0.39,
    }  # fmt: skip
    return ForceConstantModel.from_table(lattice, "Cu", table, unit="N/m")


@pytest.fixture(scope="module")
def springs():
    """Two shells of silicon."""
    lattice = 5.431 / 2 * (np.ones((3, 3)) - np.eye(3))
    model = ForceConstantModel(
        lattice,
        ["Si", "Si"],
        [3.4, 2.4, 0.1, 0.1, 0.1, 0.1],
        positions=[[0, 0, 0], [0.25, 0.25, 0.25]],
        n_shells=2,
    )
    assert model.is_stable([model.reference]).all()
    return model


def table_of(copper, n=40, *, first_zone=True, labels=True, unit=1.0, **options):
    """Energies of any branch along symmetry directions, with errors of 1 %."""
    rng = np.random.default_rng(0)
    hkl = rng.uniform(0.3, 0.9, (n, 1)) * DIRECTIONS[rng.integers(0, 3, n)]
    hkl = hkl + (0 if first_zone else np.array([2, 2, 0]))
    modes = rng.integers(0, 3, n)
    reduced = hkl @ copper.lattice.T / CUBE[0, 0]
    energies = copper.frequencies(copper.reference, reduced)[0, np.arange(n), modes]
    measured = unit * energies * (1 + 0.01 * rng.standard_normal(n))
    given = {"lattice": CUBE, "modes": modes if labels else None, **options}
    return PhononEnergies(copper, hkl, measured, 0.01 * unit * energies, **given)


def warnings_of(*given, **options):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit = fit_observables(*given, **options)
    return fit, {each.category.__name__: str(each.message) for each in told}


def test_what_prior_and_values_say_of_each_other_has_the_distribution_of_chi2():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((4, 4)) * [1.0, 0.3, 0.1, 3.0]
    covariance = root @ root.T
    for n_values in (3, 9):
        slopes = rng.standard_normal((n_values, 4)) * [3.0, 1.0, 0.1, 0.01]
        information = slopes.T @ slopes
        expected = np.linalg.inv(information + np.linalg.inv(covariance))
        gain = posterior_covariance(covariance, information)
        assert_allclose(gain, expected, atol=1e-10 * np.abs(expected).max())
        found, rest, pulls = [], [], []
        for _ in range(400):
            truth = root @ rng.standard_normal(4)
            data = slopes @ truth + rng.standard_normal(n_values)
            off = expected @ slopes.T @ data
            residual = slopes @ off - data
            both, n_both = contradiction(residual, slopes, off, covariance)
            assert n_both == min(n_values, 4)
            pulls.append(off @ np.linalg.solve(covariance, off))
            found.append(both)
            rest.append(residual @ residual + pulls[-1] - both)
        assert kstest(found, chi2(n_both).cdf).pvalue > 1e-3
        if n_values > 4:
            assert kstest(rest, chi2(n_values - 4).cdf).pvalue > 1e-3
        else:
            assert_allclose(rest, 0, atol=1e-9)
        mean, error = np.mean(pulls), np.std(pulls) / 20
        assert abs(likely_pull(covariance, information) - mean) < 4 * error


def test_no_covariance_is_wider_than_the_prior():
    prior = np.array([[2.0, 0.5], [0.5, 1.0]])
    assert_allclose(no_wider(0.3 * prior, prior), 0.3 * prior)
    assert_allclose(no_wider(30.0 * prior, prior), prior)


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize(
    ("unit", "name"), [(1 / 4.13567, "THz"), (1e-3, "eV"), (1 / 1.2, None)]
)
def test_energies_in_another_unit_are_told(copper, labels, unit, name):
    table = table_of(copper, labels=labels, unit=unit, least_strength=None)
    _, told = warnings_of(copper, table, prior=ShellPrior(copper))
    if name is None:
        assert not told
    else:
        assert f"as if they were in {name} and not in meV" in told["MisfitWarning"]
        assert f"multiply values and errors by {1 / unit:.4g}" in told["MisfitWarning"]


def test_other_quantities_in_another_unit_are_told(copper, springs):
    prior = ShellPrior(copper)
    mbar = {"C11": (1.7, 0.02), "C12": (1.2, 0.02), "C44": (0.75, 0.01)}
    _, told = warnings_of(copper, ElasticConstants(copper, mbar), prior=prior)
    assert "as if they were in Mbar and not in GPa" in told["MisfitWarning"]
    moving = MeanSquareDisplacement(copper, 80.0, 0.16, 0.02, mesh=4)
    assert "B = 8 pi^2 U" in moving.unit_doubt(copper.reference)
    row = springs.reference
    exact = HeatCapacity(springs, 800.0, 40.0, 1.0, mesh=4)
    found = exact.calculate(row)[0]
    for factor, unit in (
        (1 / 2, "J/K for a mole of atoms"),
        (1 / 56.17, "J/K for a gram"),
        (1 / 4.184, "cal/K for a mole of cells"),
        (1.0, ""),
    ):
        heat = exact.replace(values=factor * found)
        assert unit in heat.unit_doubt(row)
        assert bool(unit) == bool(heat.unit_doubt(row))
    cold = HeatCapacity(springs, 60.0, 1.0, 0.1, mesh=4)
    cold = cold.replace(values=cold.calculate(row)[0] / 2)
    assert not cold.unit_doubt(row)  # soft modes may do it


def test_a_narrow_prior_is_named_and_not_the_model(springs):
    values = [
        PhononEnergies.at_zone_centre(springs, 64.2, 0.2),
        ElasticConstants(
            springs, {"C11": (165.7, 2.0), "C12": (63.9, 2.0), "C44": (79.6, 2.0)}
        ),
    ]
    narrow = ShellPrior(springs, energies=0.01, common=0.0)
    fit, told = warnings_of(springs, values, prior=narrow)
    message = told["MisfitWarning"]
    assert message.startswith("The prior and the values contradict each other: chi^2")
    assert f"the pull of the prior {fit.prior_chi2:.3g}" in message
    assert "in 4 directions" in message
    assert "more shells" not in message
    off = fit.parameters - springs.reference
    pull = off @ np.linalg.inv(narrow.covariance_) @ off
    assert_allclose(fit.prior_chi2, pull, rtol=1e-6)
    assert f"pull of the prior    = {pull:.4g}" in fit.fit_report()
    moved = off / np.sqrt(np.diag(narrow.covariance_))
    assert_allclose(fit.to_frame()["pull"], moved)
    far = np.abs(moved).argmax()
    assert f"{springs.parameter_names[far]} moved by {moved[far]:+.1f}" in message
    assert f", moved {moved[far]:+.1f}" in fit.fit_report()
    # a prior that is as wide as it should be
    _, told = warnings_of(springs, values, prior=ShellPrior(springs))
    assert not told


def test_too_few_shells_are_named_and_not_the_prior(copper):
    table = table_of(copper)
    short = ForceConstantModel(copper.lattice, "Cu", copper.reference[:3], n_shells=1)
    sharp = PhononEnergies(
        short, table.qpoints, table.energies, 0.05, modes=table.modes, lattice=CUBE
    )
    prior = short.reference, 0.5 * np.abs(short.reference)
    _, told = warnings_of(short, sharp, prior=prior)
    assert "more shells" in told["MisfitWarning"]
    assert "contradict" not in told["MisfitWarning"]


def test_wavevectors_that_are_mistaken_are_told(copper):
    primitive = table_of(copper).replace(lattice=None)
    _, told = warnings_of(copper, primitive, prior=ShellPrior(copper))
    assert "unless lattice= gives the conventional one" in told["MisfitWarning"]
    assert told["MisfitWarning"].startswith("The model does not describe")
    assert "least_strength" not in told["MisfitWarning"]
    moved = table_of(copper, labels=False)
    _, told = warnings_of(copper, moved, prior=ShellPrior(copper))
    assert "if they were moved there, give least_strength=None" in told["MisfitWarning"]
    assert "unless lattice=" not in told["MisfitWarning"]
    alike = moved.replace(least_strength=None)
    assert not warnings_of(copper, alike, prior=ShellPrior(copper))[1]
    assert table_of(copper, labels=False).share_in_first_zone == 1
    assert table_of(copper, labels=False, first_zone=False).share_in_first_zone == 0


def test_displacements_of_crystals_whose_sound_is_unstable_are_none(copper):
    every = elastic_constants(copper, np.eye(9))  # linear in the constants
    difference = every[:, 0, 0] - every[:, 0, 1]
    away = (copper.reference @ difference + 5) / (difference @ difference)
    row = copper.reference - away * difference
    stiffness = elastic_constants(copper, [row])[0]
    assert stiffness[0, 0] < stiffness[0, 1]  # the condition of Born
    for cls in (MeanSquareDisplacement, HeatCapacity):
        means = cls(copper, 296.0, 0.01, 0.001, mesh=2)
        coarse = means._means._matrices.matrices(row[None])
        assert np.linalg.eigvalsh(coarse).min() > 0 or cls is HeatCapacity
        assert np.isnan(means.calculate(row)[0]).all()


def test_no_search_ends_where_the_crystal_is_unstable(copper):
    far = MeanSquareDisplacement(copper, 296.0, 0.3, 0.02)  # B, not U
    prior = ShellPrior(copper)
    fit, told = warnings_of(copper, far, prior=prior)
    assert copper.is_stable([fit.parameters]).all()
    again = MeanSquareDisplacement(fit.fitted_model, 296.0, 0.3, 0.02)
    assert np.isfinite(again.calculate(fit.parameters)[0]).all()
    assert "contradict" in told["MisfitWarning"]
    assert "B = 8 pi^2 U" in told["MisfitWarning"]
    assert "IdentifiabilityWarning" not in told
    assert np.isfinite(fit.std).all()
    assert (fit.std < 1.0001 * np.sqrt(np.diag(prior.covariance_))).all()
    assert "not determined: the prior decides" in fit.fit_report()


def test_constants_of_an_unstable_crystal_are_told(copper):
    soft = ElasticConstants(copper, {"C11": (120.0, 0.5), "C12": (130.0, 0.5)})
    fit, told = warnings_of(copper, soft, prior=ShellPrior(copper))
    assert not copper.is_stable([fit.parameters]).any()
    assert "describe an unstable crystal: a mode" in told["UnstableCrystalWarning"]
    with pytest.warns(UnstableCrystalWarning):
        fit_observables(copper, soft, prior=ShellPrior(copper))


def test_meshes_that_do_not_suit_the_fitted_crystal_are_told(copper):
    soft = [
        ElasticConstants(copper, {"C11": (120.0, 0.02), "C12": (119.9, 0.02)}),
        MeanSquareDisplacement(copper, 296.0, 0.02, 5e-4),
    ]
    fit, told = warnings_of(copper, soft, prior=ShellPrior(copper))
    again = soft[1].replace(model=fit.fitted_model).calculate(fit.parameters)[0]
    off = (again - soft[1].calculate(fit.parameters)[0])[0] / 5e-4
    message = told["UnstableCrystalWarning"]
    assert f"{abs(off):.2g} standard deviations off on one that suits it" in message


def test_energies_and_phonopy_of_a_fit(copper):
    fit = fit_observables(copper, table_of(copper), prior=ShellPrior(copper))
    points = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.4]])
    found = fit.energies(points)
    assert found.columns.tolist() == ["q1", "q2", "q3", "mode", "energy", "std"]
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(fit.parameters, fit.covariance, 4000)
    energies = copper.frequencies(draws, points).reshape(len(draws), -1)
    single = [2, 3, 4, 5]  # no other has their energy
    assert_allclose(found["std"][single], energies.std(axis=0)[single], rtol=0.06)
    phonons = fit.to_phonopy()
    phonons.run_qpoints(points)
    expected = phonons.qpoints.frequencies.ravel() * 4.135667697
    assert_allclose(found["energy"], expected, rtol=1e-4)


def test_values_that_are_given_twice_are_told(copper):
    elastic = ElasticConstants(copper, {"C11": (170.0, 2.0)})
    prior = ShellPrior(copper)
    with pytest.warns(UserWarning, match=r"Row 0 of observable 1, C11 \(GPa\), is"):
        fit_observables(copper, [elastic, elastic], prior=prior)
    both = PhononEnergies(
        copper, [[0.5, 0, 0]] * 2, [20.0] * 2, 1.0, lattice=CUBE, labels=["a", "b"]
    )
    with pytest.warns(UserWarning, match="Row 1 of observable 0, b, is there twice"):
        fit_observables(copper, both, prior=prior)
    with pytest.raises(ValueError, match="must not hold C12 and C21, which are one"):
        ElasticConstants(copper, {"C12": (120.0, 2.0), "C21": (120.0, 2.0)})


def test_a_lattice_of_another_material_is_told(copper):
    with pytest.warns(UserWarning, match=r"lattice is 2.5% off that of the model"):
        table_of(copper).replace(lattice=1.0256 * CUBE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table_of(copper).replace(lattice=1.009 * CUBE)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"1XX": (1.1, 0.1)}, "a pair .means, standard deviations.* got a dict of 1XX"),
        (3.0, "got float"),
        (np.ones(9), "got ndarray"),
        ((np.full(9, np.nan), np.ones(9)), "prior must have finite means"),
        ((np.ones(9), np.full(9, np.inf)), "finite means and deviations"),
    ],
)
def test_priors_that_are_none(copper, prior, message):
    elastic = ElasticConstants(copper, {"C11": (170.0, 2.0)})
    with pytest.raises(ValueError, match=message):
        fit_observables(copper, elastic, prior=prior)


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (pd.Series([1, 2, 3]), r"got 3 in row 2\. These seem to count from 1"),
        (["TA", "TA", "LA"], "got 'TA' in row 0.* the longitudinal one is 2"),
        ("LA", "got 'LA' in row 0"),
        ([0, 4, None], r"got 4 in row 1\. Count branches by energy"),
        ([0, 1], "modes must be one for each of 3 energies, .* got 2"),
    ],
)
def test_modes_that_are_no_numbers_of_branches(copper, modes, message):
    with pytest.raises(ValueError, match=message) as error:
        PhononEnergies(copper, [[0.3, 0, 0]] * 3, [10.0] * 3, 0.1, modes=modes)
    assert len(str(error.value)) < 350


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: SoundVelocities(m, [[1, 0, 0]], [2], 4.35, 0.1), "km/s are 1000"),
        (lambda m: SoundVelocities(m, [[1, 0, 0]], [2], 4.35e5, 9.0), "cm/s 0.01 m/s"),
        (lambda m: PhononEnergies(m, [[1, 1, 0.5]], 240.0, 2.0), "1/cm is 0.12398 meV"),
        (lambda m: HeatCapacity(m, 300.0, 96.0, 1.0), "less than 3 R for each, 24.94"),
        (lambda m: ElasticConstants(m, {"C11": (1684, 9)}), "kbar are 0.1 GPa"),
        (lambda m: ElasticConstants(m, {"C44": (-3, 9)}), "C44 must be above 0"),
        (lambda m: MeanSquareDisplacement(m, 296.0, 0.545, 0.02), "U is 0.0069"),
        (lambda m: MeanSquareDisplacement(m, 296.0, 0.0, 0.02), "value must be above"),
        (lambda m: PhononEnergies(m, [[0, 0, 0]], 20.0, 0.1), "has no optical modes"),
        (lambda m: PhononEnergies(m, [[0, 0, 0]], 20.0, 0.1, modes=0), "no optical"),
        (
            lambda m: PhononEnergies(m, [[0, 0, np.nan]], 20.0, 0.1),
            r"got \[0.0, 0.0, nan\] in row 0",
        ),
        (
            lambda m: PhononEnergies(m, [[0, 0, 0.1]], 20.0, 0.1, direction=[0, 0, 0]),
            "direction must not be zero",
        ),
        (
            lambda m: PhononEnergies(m, [[0, 0, 0.1]], 20.0, 0.1, lattice=0 * CUBE),
            "lattice must be that of the model",
        ),
        (lambda m: PhononEnergies(m, [[0, 0, 0.1]], ["x"], 0.1), "must be numbers"),
        (
            lambda m: PhononEnergies(m, [[0, 0, 0.1]], 20.0, -0.1),
            "above zero, got -0.1",
        ),
        (lambda m: ElasticConstants(m, {"C11": (170, np.nan)}), "above zero, got nan"),
        (lambda m: ElasticConstants(m, {"C11": (np.nan, 1)}), "C11 must be finite"),
        (lambda m: HeatCapacity(m, 80.0, 12.0, 0.0), "std must be finite and above"),
        (lambda m: MeanSquareDisplacement(m, 80.0, np.nan, 0.1), "finite, got nan"),
        (lambda m: SoundVelocities(m, [[1, 0, 0]], [2], np.nan, 9), "finite, got nan"),
    ],
)
def test_values_that_cannot_be(copper, make, message):
    with pytest.raises(ValueError, match=message):
        make(copper)


def test_heat_capacities_a_little_above_the_limit_are_told(copper):
    with pytest.warns(UserWarning, match="C_P - C_V, taken off"):
        HeatCapacity(copper, 300.0, 26.0, 0.1)


def test_no_crystal_has_phonons_of_such_energies(copper):
    with pytest.raises(ValueError, match="energies must be in meV, got 620 in row 0"):
        PhononEnergies(copper.replace(reference=None), [[0.5, 0, 0]], 620, 1.0)
