"""Knowing what was not trained on: peaks of another shape, dead pixels, offsets."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from small_nets import with_trainer

from skphonon import (
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
    load_model,
    make_powder_spectra,
    save_model,
)
from skphonon.learning import (
    AEFeatureExtractor,
    Dense,
    OutOfDistributionWarning,
    Trainer,
    VAEFeatureExtractor,
    fine_tune,
)
from skphonon.learning.novelty import misfits, p_values, warn_of_foreign, whitening

AXIS = np.linspace(-2, 2, 200)


def peaks(n_samples, seed=0, noise=0.02, width=0.5, offset=0.0):
    rng = np.random.default_rng(seed)
    centre, height = rng.uniform([-1, 0.5], [1, 1.5], size=(n_samples, 2)).T[..., None]
    X = height * np.exp(-(((AXIS - centre - offset) / width) ** 2))
    return np.float32(X + noise * rng.normal(size=X.shape))


def quick(kind=VAEFeatureExtractor, **parameters):
    settings = {
        "noise": 0.05, "network": Dense(60), "max_epochs": 60, "batch_size": 64,
        "lr": 0.01, "validation_fraction": 0.25, "random_state": 0,
    }  # fmt: skip
    return kind(3, **with_trainer(settings | parameters))


@pytest.fixture(scope="module")
def trained():
    return quick().fit(peaks(1600))


FOREIGN = {
    "a narrower peak": peaks(30, seed=5, width=0.3),
    "another background": peaks(30, seed=5) + np.float32(0.2 * np.cos(3 * AXIS)),
    "a smaller axis": peaks(30, seed=5, offset=2.0),
    "hot pixels": np.where(np.arange(200) % 97 == 5, 3, peaks(30, seed=5)),
    "dead pixels": peaks(30, seed=5) * (np.arange(200) % 10 != 3),
}


def test_p_values_of_new_spectra_are_uniform(trained):
    for extractor in (trained, quick(AEFeatureExtractor).fit(peaks(1600))):
        assert extractor.reference_.shape == (400, 2)
        new = extractor.novelty(peaks(1000, seed=1))[["p_misfit", "p_distance"]]
        for p in new.to_numpy().T:
            # 1000 fair draws are this far from 400 others once in 500
            assert stats.kstest(p, "uniform").statistic < 0.11
        combined = extractor.score_samples(peaks(1000, seed=1))
        assert_allclose(combined, np.minimum(2 * new.min(axis=1), 1))
        assert np.mean(combined < 0.01) < 0.03


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_spectra_are_told(trained, kind):
    strange = np.float32(FOREIGN[kind])
    assert np.mean(trained.score_samples(strange) < 1e-3) > 0.9
    with pytest.warns(OutOfDistributionWarning, match="VAEFeatureExtractor"):
        trained.transform(strange)


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.05])
def test_noise_is_not_foreign(trained, noise):
    """The network was trained to see through as much, which no spectrum had."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.transform(peaks(300, seed=2, noise=noise))


def test_noise_alone_is_foreign(trained):
    noise = np.float32(np.random.default_rng(0).normal(size=(100, 200)))
    assert np.mean(trained.score_samples(0.4 * noise) < 0.01) > 0.95


def test_the_misfit_is_what_noise_does_not_explain():
    rng = np.random.default_rng(0)
    axis = np.linspace(-2, 2, 4000)
    clean = np.exp(-((axis - rng.uniform(-1, 1, size=(300, 1))) ** 2))
    noise = 0.1 * rng.normal(size=clean.shape)

    def absolute(X):
        return misfits(X, clean) * np.square(X).mean(axis=1)

    # of noise alone: three standard deviations below zero
    alone = absolute(clean + noise) / 0.01 * np.sqrt(4000)
    assert_allclose(alone.mean(), -6.3, atol=0.5)
    assert_allclose(alone.std(), 2.1 * 1.1, rtol=0.1)  # 6.3 of 63 scatters as well
    # what is added counts with its mean square, with noise or without
    wave = 0.1 * np.cos(3 * axis)
    spikes = np.where(np.arange(4000) % 200 == 0, 1.0, 0.0)
    for added in (wave, spikes, np.where(np.abs(axis) < 0.1, 0.3, 0.0)):
        for much in (0, 1):
            found = absolute(clean + much * noise + added).mean()
            expected = np.square(added).mean() - much * 0.063 / np.sqrt(4000)
            # one step in a hundred is that of a spike, and makes the median larger
            assert_allclose(found, expected, rtol=0.1, atol=1e-6)


def test_whitened_codes_are_at_distance_one():
    normal = np.random.default_rng(0).normal(size=(500, 3))
    codes = 5 + normal @ [[2, 1, 0], [0, 1, 0], [0, 0, 9]]
    mean, whiten = whitening(codes)
    offsets = (codes - mean) @ whiten
    assert_allclose(offsets.T @ offsets / 500, np.eye(3) / 3, atol=1e-12)
    spread = np.linalg.inv(np.cov(codes.T, bias=True))
    mahalanobis = np.sqrt(np.einsum("ij,jk,ik->i", codes - mean, spread, codes - mean))
    assert_allclose(np.linalg.norm(offsets, axis=1), mahalanobis / np.sqrt(3))


def test_a_tail_goes_on_as_a_power_law():
    """Of a distribution about zero with such tails."""
    pareto = stats.pareto(3)
    sign = np.where(np.arange(20_000) % 2, 1, -1)
    reference = sign * pareto.rvs(20_000, random_state=0)
    far = np.array([5.0, 10.0, 30.0])
    # 2000 values tell the exponent to 2 %
    p = p_values(far, reference)
    assert_allclose(np.log(p), np.log(pareto.sf(far) / 2), rtol=0.06)
    # so few tell no tail
    few = p_values(far, reference[:99])
    assert (few >= 1 / 100).all()
    assert_array_equal(p_values(np.array([np.inf, -9.0]), np.arange(3)), [1 / 4, 1])
    # each value is as large as itself
    n = len(reference)
    ranks = stats.rankdata(-reference) / (1 + n)
    assert_allclose(p_values(reference, reference), ranks, atol=0.02)


def test_a_spectrum_is_judged_on_its_own(trained):
    X = peaks(300, seed=3)
    assert_allclose(
        [trained.score_samples(row[None])[0] for row in X[:5]],
        trained.score_samples(X)[:5],
        rtol=1e-3,  # float32
    )
    # but the warning counts how many there are: a chance of 1 in 200 is no wonder
    reference = trained.reference_
    limit = trained.score_samples(X).min()
    assert limit < 0.03
    level = copy.deepcopy(trained).set_params(warn_below=1.01 * limit)
    assert_array_equal(level.reference_, reference)
    with pytest.warns(OutOfDistributionWarning, match="1 of 1 spectra"):
        level.transform(X[[trained.score_samples(X).argmin()]])
    level.transform(X)


def test_the_warning_says_what_why_and_what_to_do(trained):
    X = peaks(20, seed=4)
    X[3] += 0.3 * np.cos(3 * AXIS)
    X[7:9] += 0.5 * np.cos(3 * AXIS)
    with pytest.warns(OutOfDistributionWarning) as caught:
        trained.transform(X)
    (one,) = caught
    text = str(one.message)
    misfit = trained.novelty(X)["misfit"][3]
    assert "3 of 20 spectra" in text
    assert "row 3 (p = " in text
    assert f"{misfit:.2%} of its mean square is neither reproduced" in text
    assert "times the usual distance" not in text
    assert "partial_fit" in text
    assert one.filename == __file__
    far = np.array([[0.001, 3.0]]), np.array([[0.3, 1e-5]])
    with pytest.warns(
        OutOfDistributionWarning, match=r"\): its code is 3.00 times the"
    ):
        warn_of_foreign(*far, trained.reference_, 0.001, "Extractor")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy.deepcopy(trained).set_params(warn_below=None).transform(X)


def test_pipelines_warn_in_predict_and_not_in_fit(trained):
    X, strange = peaks(800), FOREIGN["hot pixels"]
    few = quick(max_epochs=25)
    pipeline = make_pipeline(few, Ridge()).fit(X, X.argmax(axis=1))
    with pytest.warns(OutOfDistributionWarning, match="30 of 30") as told:
        pipeline.predict(strange)
    assert {each.filename for each in told} == {__file__}
    assert pipeline[0].set_output(transform="pandas").fit_transform(X).shape == (800, 3)


def test_fine_tuning_takes_spectra_in(trained):
    X, strange = peaks(1600), peaks(5, seed=6, width=0.4)
    assert (trained.score_samples(strange) < 1e-3).all()
    inverter = make_pipeline(copy.deepcopy(trained), Ridge()).fit(X, X.argmax(axis=1))
    inverter.set_params(vaefeatureextractor__trainer__fine_tune_lr=1e-3)
    tuned = fine_tune(inverter, strange, X, X.argmax(axis=1))
    extractor = tuned[0].estimator
    assert (extractor.allowance_ > 0).any()
    alike = peaks(5, seed=6, width=0.4, noise=0.021)
    tuned.predict(np.vstack([strange, alike, peaks(300, seed=7)]))  # no warning
    # what is farther off is foreign as before, and the first extractor as it was
    assert np.median(extractor.score_samples(FOREIGN["hot pixels"])) < 1e-3
    assert_array_equal(inverter[0].allowance_, [0, 0])


def test_what_training_spoils_is_no_fault_of_the_spectra(trained):
    """A network that forgets what it knew does not call that foreign."""
    settings = {"trainer__fine_tune_epochs": 60, "trainer__fine_tune_lr": 3e-3}
    tuned = copy.deepcopy(trained).set_params(**settings)
    before = trained.score(peaks(300, seed=8))
    tuned.partial_fit(peaks(4, seed=6, width=0.4))
    assert 1 - tuned.score(peaks(300, seed=8)) > 1.3 * (1 - before)
    assert np.mean(tuned.score_samples(peaks(300, seed=8)) < 0.01) < 0.03


def test_many_spectra_make_a_new_reference(trained):
    wide = peaks(800, seed=9, width=0.6)
    tuned = copy.deepcopy(trained).partial_fit(wide)
    assert tuned.reference_.shape == (800, 2)
    assert_array_equal(tuned.allowance_, [0, 0])
    assert np.mean(tuned.score_samples(peaks(300, seed=10, width=0.6)) < 0.01) < 0.05
    first = quick().partial_fit(wide)
    assert first.reference_.shape == (800, 2)


def test_without_held_out_spectra_those_of_training_serve():
    X = peaks(300)
    extractor = quick(validation_fraction=0, max_epochs=2).fit(X)
    found = extractor.novelty(X)[["misfit", "distance"]]
    assert_allclose(extractor.reference_, found, rtol=1e-4, atol=1e-5)


def test_references_are_small_and_travel(trained, tmp_path):
    X = peaks(10, seed=11)
    save_model(trained, tmp_path / "model.skops")
    for loaded in (
        pickle.loads(pickle.dumps(trained)),
        load_model(tmp_path / "model.skops"),
    ):
        assert_array_equal(loaded.score_samples(X), trained.score_samples(X))
    large = quick(max_epochs=1, validation_fraction=0.5).fit(peaks(4400))
    assert large.reference_.shape == (1100, 2)


@pytest.mark.parametrize("value", [-0.1, 1.5, "often"])
def test_a_level_is_a_probability(value):
    with pytest.raises(ValueError, match="warn_below"):
        quick(warn_below=value).fit(peaks(20))


# What follows is aluminium on a coarse grid.


@pytest.fixture(scope="module")
def aluminium():
    grid = SpectrumGrid(
        np.arange(10, 45, 2.0), np.arange(0.5, 10, 0.3), incident_energy=50.0
    )
    return PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.54, tolerance=1e-3
    )


def spectra(simulator, n_samples=60, seed=1, **augmentation):
    X, _ = make_powder_spectra(
        simulator, n_samples, spread=0.2, noise=(0.0, 0.2), random_state=seed,
        augmentation=augmentation,
    )  # fmt: skip
    return X


@pytest.fixture(scope="module")
def front(aluminium):
    extractor = VAEFeatureExtractor(
        8, network=Dense(100), trainer=Trainer(validation_fraction=0.2), random_state=0
    )
    front = make_pipeline(MaskedSpectrumPreprocessor(), extractor)
    return front.fit(spectra(aluminium, 1000, seed=0))


def part_below(front, X, level=1e-3):
    return np.mean(front[1].score_samples(front[0].transform(X)) < level)


def empty_can(X, grid):
    energy, q = grid.axes()
    hump = np.exp(-(((energy - 22) / 11) ** 2))[:, None] * (q / q.max()) ** 2
    can = (hump + np.exp(-(energy - 10) / 3)[:, None]).reshape(-1)
    return X + np.nanstd(X, axis=1, keepdims=True) * can / can[grid.mask.ravel()].std()


def dead_pixels(X):
    return np.where(np.random.default_rng(0).uniform(size=X.shape) < 0.05, 0 * X, X)


def test_new_spectra_of_aluminium_are_not_foreign(aluminium, front):
    new = spectra(aluminium, 400, seed=2)
    # 4 are expected; 200 held-out spectra tell the level within a factor of two or so
    assert part_below(front, new, 0.01) <= 0.03
    front.transform(new[:100])


def test_spectra_foreign_to_aluminium_are(aluminium, front):
    model = aluminium.model.replace(
        symbol="Cu",
        lattice=aluminium.model.lattice * 3.61 / 4.04,
        reference=aluminium.model.reference * 1.3,
    )
    copper = clone(aluminium).set_params(model=model)
    alike = spectra(aluminium)
    blurred = {"energy_resolution": 1.54 * 200 / 50}  # in proportion to incident energy
    strange = [spectra(copper), empty_can(alike, aluminium.grid), dead_pixels(alike)]
    for X in strange:  # measured: 1, 1, 1
        assert part_below(front, X) > 0.8
        with pytest.warns(OutOfDistributionWarning, match="of 60 spectra"):
            front.transform(X)
    # measured: 1 and 0.83
    for X in (spectra(aluminium, **blurred), spectra(aluminium, energy_offset=5.0)):
        assert part_below(front, X) > 0.1
