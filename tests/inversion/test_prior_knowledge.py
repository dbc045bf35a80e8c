"""Fits beside what is known: observables, several priors, residuals that are alike."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import PowderSimulator, load_aluminium_model
from skphonon.instrument import SpectrumGrid
from skphonon.inversion import (
    ElasticConstants,
    LeastSquaresInverter,
    MisfitWarning,
    PhononEnergies,
    Search,
)
from skphonon.physics import ShellPrior
from skphonon.physics.elasticity import elastic_constants

GRID = SpectrumGrid(np.arange(8, 44, 1.5), np.arange(1.5, 8, 0.3), incident_energy=60.0)
MODEL = load_aluminium_model()
SIMULATOR = PowderSimulator(
    MODEL, GRID, mesh=8, quantity="sqe", energy_resolution=1.5, temperature=100.0
)
TRUTH = np.array(MODEL.reference) * [1.04, 0.9, 1.02, 1.1, 1.0]
C44 = float(elastic_constants(MODEL, [TRUTH])[0, 3, 3])


def noisy(level=0.1, seed=0):
    row = SIMULATOR.simulate([TRUTH])
    rng = np.random.default_rng(seed)
    return row + level * np.nanstd(row) * rng.normal(size=row.shape)


def fitted(prior, row=None, **settings):
    settings = {"search": Search(n_candidates=1), "random_state": 0} | settings
    inverter = LeastSquaresInverter(SIMULATOR, prior=prior, **settings)
    row = noisy() if row is None else row
    inverter.fit(row).predict(row)
    return inverter


def test_a_measured_modulus_holds_what_the_spectrum_leaves():
    alone = fitted(ShellPrior(MODEL))
    measured = ElasticConstants(MODEL, {"C44": (C44, 0.05)})
    both = fitted([ShellPrior(MODEL), measured])

    def modulus(inverter):
        return elastic_constants(MODEL, inverter._last.parameters)[0, 3, 3]

    assert_allclose(modulus(both), C44, atol=0.15)
    assert abs(modulus(both) - C44) < abs(modulus(alone) - C44)
    before, after = (
        np.trace(np.linalg.inv(each.prior[0].covariance_) @ each.covariance_[0])
        if isinstance(each.prior, list)
        else np.trace(np.linalg.inv(each.prior.covariance_) @ each.covariance_[0])
        for each in (alone, both)
    )
    assert after < before


def test_observables_alone_are_a_prior_too():
    energies = MODEL.frequencies(TRUTH, [[0.5, 0.5, 0.0]])[0, 0]
    table = PhononEnergies(
        MODEL,
        [[0.5, 0.5, 0.0]] * 2,
        energies[[0, 2]],
        [1e-3, 1e-3],
        modes=[0, 2],
        least_strength=None,
    )
    found = fitted([table])
    (fit,) = found.fits_
    assert_allclose(fit.energies([0.5, 0.5, 0.0])["energy"], energies, atol=5e-3)
    assert fit.prior is None


def test_two_priors_are_their_product():
    first, second = np.array(MODEL.reference), 1.1 * np.array(MODEL.reference)
    width = 0.1 * np.abs(first)

    class Known:
        def __init__(self, mean, std):
            self.mean_, self.covariance_ = mean, np.diag(std**2)

        def sample(self, n_samples):
            raise NotImplementedError

    both = fitted([Known(first, width), Known(second, width)])
    mean, covariance = both._prior_moments
    assert_allclose(mean, (first + second) / 2)
    assert_allclose(covariance, np.diag(width**2 / 2), atol=1e-12)
    single = fitted((mean, covariance))
    assert_allclose(
        both._last.parameters, single._last.parameters, rtol=1e-3, atol=1e-4
    )


def test_observables_of_other_parameters_are_refused():
    other = MODEL.extended(3)
    measured = ElasticConstants(other, {"C44": (C44, 0.05)})
    with pytest.raises(ValueError, match="Give it the model of the simulator"):
        fitted([measured])


def test_residuals_that_are_alike_do_not_overrule_what_is_known():
    """A smooth error of the data must not pull far from a prior."""
    energy, q = np.meshgrid(*GRID.axes(), indexing="ij")
    clean = SIMULATOR.simulate([MODEL.reference])
    ripple = np.sin(energy / 5) * np.sin(2 * q)
    row = noisy(0.02) * 0 + clean + 0.15 * np.nanstd(clean) * ripple.ravel()
    rng = np.random.default_rng(0)
    row = row + 0.02 * np.nanstd(clean) * rng.normal(size=row.shape)
    prior = ShellPrior(MODEL, independent=0.1, common=0.05)
    with pytest.warns(MisfitWarning):
        alike = fitted(prior, row)
    with pytest.warns(MisfitWarning):
        each = fitted(prior, row, noise="noise")

    def pull(inverter):
        off = inverter._last.parameters[0] - prior.mean_
        return off @ np.linalg.solve(prior.covariance_, off)

    assert pull(alike) < 0.5 * pull(each)


def test_white_noise_counts_pixel_by_pixel():
    known = ShellPrior(MODEL, independent=0.3)
    scaled = fitted(known)._last.parameters
    plain = fitted(known, noise="noise")._last.parameters
    assert_allclose(scaled, plain, atol=0.02)


def test_other_choices_widen_error_bars_of_wrong_models():
    row = SIMULATOR.simulate([TRUTH], nuisance={"energy_resolution": [2.2]})
    rng = np.random.default_rng(0)
    row = row + 0.02 * np.nanstd(row) * rng.normal(size=row.shape)
    bars = {}
    for errors in ("residual", "systematic"):
        with pytest.warns(MisfitWarning):
            inverter = fitted(ShellPrior(MODEL), row, noise=errors)
        bars[errors] = np.sqrt(np.diag(inverter.covariance_[0]))
    assert (bars["systematic"] >= bars["residual"] * (1 - 1e-9)).all()
    assert bars["systematic"].max() > 1.1 * bars["residual"].max()
    (fit,) = inverter.fits_
    assert "2 more shells" in fit.choices.index
    assert "lowest energies left out" in fit.choices.index
    assert "higher order of the background" in fit.choices.index


def test_right_models_keep_their_error_bars():
    ratios = []
    for seed in range(6):
        inverter = fitted(ShellPrior(MODEL), noisy(seed=seed), noise="systematic")
        (fit,) = inverter.fits_
        ratios.append(
            np.sqrt(np.diag(fit.covariance - fit.of_choices) / np.diag(fit.covariance))
        )
    assert np.median(ratios) > 0.8
