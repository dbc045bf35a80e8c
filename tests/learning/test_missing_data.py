"""Codes of spectra with gaps: peaks that move and widen, on a background, in counts."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from small_nets import with_trainer

from skphonon import (
    CrystalGrid,
    SingleCrystalSimulator,
    load_aluminium_model,
    load_model,
    save_model,
)
from skphonon.datasets import make_crystal_spectra
from skphonon.inspection import latent_correlation, latent_traversal
from skphonon.learning import (
    Dense,
    ForceConstantRegressor,
    PosteriorInference,
    Trainer,
    VAEFeatureExtractor,
)
from skphonon.learning._components import square
from skphonon.learning._networks import ResidualNetwork
from skphonon.learning._posterior_codes import Decoder, Evidence, evidence, fit_codes

N_VOXELS = 150
PLACE = np.linspace(-2, 2, N_VOXELS)
SLOPE = np.vstack([np.ones(N_VOXELS), PLACE])


def peaks(n_samples, seed=0):
    """Spectra of two peaks, and what they are made of."""
    y = np.random.default_rng(seed).uniform([-0.8, 0.3], [0.8, 0.6], (n_samples, 2))
    centre, width = y.T[..., None]
    X = np.exp(-(((PLACE - centre) / width) ** 2) / 2)
    return X + 0.5 * np.exp(-(((PLACE + centre / 2) / width) ** 2) / 2), y


def measured(X, seed=0, seen=1.0, counts=None, background=0.5):
    """Count in some voxels, on a background that falls along the row."""
    rng = np.random.default_rng(seed)
    X = X + background * X.mean(axis=1, keepdims=True) * (1 - PLACE / 4)
    if counts is not None:
        X = rng.poisson(X * counts / X.mean(axis=1, keepdims=True))
    return np.where(rng.uniform(size=X.shape) < seen, X, np.nan)


def quick(**parameters):
    settings = {
        "network": Dense(60), "max_epochs": 60, "batch_size": 32, "lr": 0.01,
        "random_state": 0,
    }  # fmt: skip
    given = with_trainer(settings | parameters)
    names = "background", "floor", "n_starts"
    inner = {"background": SLOPE} | {n: given.pop(n) for n in names if n in given}
    return VAEFeatureExtractor(4, inference=PosteriorInference(**inner), **given)


@pytest.fixture(scope="module")
def trained():
    return quick().fit(peaks(400)[0])


def errors(extractor, codes, X):
    """Relative root mean square errors of decoded spectra."""
    X = X / X.mean(axis=1, keepdims=True)
    rest = extractor.inverse_transform(codes) - X
    return np.sqrt(np.square(rest).mean(axis=1) / np.square(X).mean(axis=1))


def test_evidence_is_least_squares_with_the_background_fitted():
    rng = np.random.default_rng(0)
    basis, row = rng.normal(size=(190, 6)), rng.normal(size=190)
    chosen = np.flatnonzero(rng.uniform(size=190) < 0.7)
    seen, x = basis[chosen], row[chosen]
    target, design, noise = evidence(
        square(basis, chosen), x @ seen, x @ x, len(chosen), np.ones(3), 0.0
    )
    rest = x - seen @ np.linalg.lstsq(seen, x, rcond=None)[0]
    # steps of 10 %, and three amounts that the prior says something of
    assert_allclose(noise, rest @ rest / (len(chosen) - 6), rtol=0.1)
    # double precision, twice through normal equations
    for u in rng.normal(size=(3, 4)):
        left = x - seen[:, :4] @ u
        left -= seen[:, 4:] @ np.linalg.lstsq(seen[:, 4:], left, rcond=None)[0]
        cost = np.square(target - design @ u).sum() + rest @ rest
        assert_allclose(cost, left @ left, rtol=1e-9)


def test_noise_of_few_voxels():
    """As many voxels as the basis describes: the prior must tell noise from signal."""
    rng = np.random.default_rng(0)
    variance = np.geomspace(10, 1e-3, 30)
    found = []
    for _ in range(50):
        basis = np.column_stack([np.ones(32), rng.normal(size=(32, 30)), np.arange(32)])
        row = basis @ [1.0, *(rng.normal(size=30) * np.sqrt(variance)), 0.1]
        row += 0.5 * rng.normal(size=32)
        found.append(
            evidence(square(basis), row @ basis, row @ row, 32, variance, 1e-9)[2]
        )
    # half of 30 coefficients vary less than the noise: 50 times 15 numbers, or fewer
    assert_allclose(np.mean(found), 0.25, rtol=0.2)


def random_decoder(n_codes, n_coefficients):
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork((n_codes, 6, n_coefficients), generator)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(generator=generator)
    return Decoder(network, np.linspace(1, 2, n_coefficients))


def test_derivatives_of_the_decoder():
    decoder, codes = random_decoder(3, 5), torch.eye(3, dtype=torch.float64)
    expected = [torch.autograd.functional.jacobian(decoder, c[None]) for c in codes]
    expected = torch.stack(expected)[:, 0, :, 0]
    # double precision
    assert_allclose(decoder.slopes(codes).detach(), expected, rtol=1e-10, atol=1e-12)


def test_codes_are_the_most_probable_ones():
    """Against a general optimiser of the same posterior, and its second differences."""
    rng = np.random.default_rng(1)
    design, error = rng.normal(size=(5, 5)), rng.uniform(0.01, 0.1, 4)
    decoder = random_decoder(2, 4)
    truth, scale, noise = np.array([0.4, -0.7]), 1.7, 0.05

    def shape(z):
        with torch.no_grad():
            return np.append(1.0, decoder(torch.as_tensor(z)[None])[0].numpy())

    target = scale * design @ shape(truth) + 0.1 * rng.normal(size=5)
    prior = np.array([0.1, -0.2]), np.array([[1.0, 0.2], [0.2, 2.0]])
    rows = Evidence(target[None], design[None], np.array([noise]))
    with torch.no_grad():
        codes, covariances, _ = fit_codes(
            decoder, rows, error, prior, truth[None] + 0.1, 1
        )
    # the error is of the scale that the best candidate has
    start = design @ shape(truth + 0.1)
    first = target @ start / (start @ start)
    moved = first * design[:, 1:]
    precision = np.linalg.inv(noise * np.eye(5) + moved * error @ moved.T)

    def cost(p):
        rest = target - p[2] * design @ shape(p[:2])
        off = p[:2] - prior[0]
        return rest @ precision @ rest + off @ prior[1] @ off

    best = minimize(cost, [*truth, scale], method="Nelder-Mead", tol=1e-12)
    # searches end where the cost, 1 for a standard deviation, falls by less than 1e-4
    assert_allclose(codes[0], best.x[:2], atol=0.01 * np.sqrt(covariances[0].max()))
    step, slopes = 1e-5, []
    for each in np.eye(3) * step:
        up, down = best.x + each, best.x - each
        change = up[2] * design @ shape(up[:2]) - down[2] * design @ shape(down[:2])
        slopes.append(change / (2 * step))
    curvature = np.array(slopes) @ precision @ np.array(slopes).T
    curvature[:2, :2] += prior[1]
    # the same distance from the best point
    assert_allclose(covariances[0], np.linalg.inv(curvature)[:2, :2], rtol=0.05)


def test_gaps_scale_and_background_do_not_matter(trained):
    X, _ = peaks(50, seed=1)
    expected, std = trained.encode(X)
    assert errors(trained, expected, X).mean() < 0.1
    # where the search ends depends on rounding, far below a standard deviation
    assert np.abs((trained.transform(17.0 * X) - expected) / std).max() < 0.05
    gappy = trained.transform(measured(X, seen=0.4))
    # 60 of 150 voxels determine what four numbers decode to, if not exactly
    assert errors(trained, gappy, X).mean() < 0.1
    assert np.sqrt(np.square((gappy - expected) / std).mean()) < 1


def test_says_how_sure_it_is(trained):
    X, _ = peaks(100, seed=2)
    clean = trained.transform(X)
    rows = [
        measured(X, seen=seen, counts=counts)
        for counts, seen in [(1e4, 1.0), (100, 1.0), (10, 1.0), (10, 0.3), (0.1, 0.1)]
    ]
    found = [trained.encode(row) for row in rows]
    widths = [np.exp(np.log(std).mean()) for _, std in found]
    assert (np.diff(widths) > 0).all()
    for mean, std in found[1:4]:
        deviation = np.sqrt(np.square((mean - clean) / std).mean())
        # 1 for normal distributions; 400 numbers know it to 4 %, the prior shrinks it
        assert 0.6 < deviation < 1.3
    prior = np.sqrt(np.diag(np.linalg.inv(trained.code_precision_)))
    assert (found[-1][1] <= 1.001 * prior).all()  # of little seen at least the prior


def test_output_and_names(trained):
    X = measured(peaks(5, seed=3)[0], seen=0.5)
    mean, std = trained.encode(X)
    trained.set_params(output="distribution")
    both = trained.transform(X)
    names = trained.get_feature_names_out()
    trained.set_params(output="mean")
    assert_array_equal(both, np.hstack([mean, std]))
    assert len(names) == 8
    assert_array_equal(trained.inverse_transform(both), trained.inverse_transform(mean))
    with pytest.raises(ValueError, match="Codes must have 4 columns, or 8"):
        trained.inverse_transform(both[:, :5])


def test_pipeline_recovers_what_made_the_peaks(trained):
    X, y = peaks(400)
    regressor = ForceConstantRegressor(
        (60, 60),
        latent="distribution",
        noise=0.1,
        trainer=Trainer(lr=0.005, batch_size=32),
        random_state=0,
    )
    extractor = copy.deepcopy(trained).set_params(output="distribution")
    pipeline = make_pipeline(FrozenEstimator(extractor), regressor).fit(X, y)
    new, truth = peaks(60, seed=4)
    gappy = measured(new, seen=0.5, counts=300)
    found, std = pipeline.predict(gappy, return_std=True)
    rmse = np.sqrt(np.square(found - truth).mean(axis=0))
    # the background that is fitted along hides much of the width
    assert (rmse < y.std(axis=0) / [10, 3]).all()
    assert 0.5 < np.mean(np.abs(found - truth) < std) < 0.9  # 0.68 for normal errors
    sure = pipeline.predict(measured(new, counts=1e4), return_std=True)[1]
    assert sure.mean() < std.mean()


def test_training_set_with_gaps():
    X, _ = peaks(400)
    extractor = quick(max_epochs=40).fit(measured(X, seen=0.8, background=0.0))
    new, _ = peaks(50, seed=5)
    flat = np.sqrt(
        np.square(new - new.mean(axis=0)).mean() / np.square(new).mean()
    )  # what the mean spectrum would get
    assert errors(extractor, extractor.transform(new), new).mean() < flat / 4


def test_fine_tuning_learns_from_what_was_seen():
    """One peak, half of it unseen, where training has two."""
    settings = {"fine_tune_epochs": 40, "fine_tune_lr": 1e-3}
    extractor = quick(**settings, max_epochs=30).fit(peaks(200)[0])
    centre = np.linspace(-0.8, 0.8, 80)[:, None]
    single = np.exp(-(((PLACE - centre) / 0.45) ** 2) / 2)
    gappy = measured(single, seen=0.5, counts=1000)
    before = errors(extractor, extractor.transform(gappy), single).mean()
    n_epochs = len(extractor.history_)
    extractor.partial_fit(gappy).partial_fit(gappy)
    after = errors(extractor, extractor.transform(gappy), single).mean()
    # what is sought is the decoder's error, which held-out spectra say is small: slow
    assert after < 0.8 * before
    assert len(extractor.history_) == n_epochs + 80


def test_partial_fit_can_begin(trained):
    X, _ = peaks(60)
    extractor = quick(fine_tune_epochs=2).partial_fit(X)
    assert extractor.transform(X).shape == (60, 4)
    assert len(extractor.history_) == 2


def test_a_pickle_trains_on_like_the_original():
    X, _ = peaks(60)
    extractor = quick(max_epochs=2, fine_tune_epochs=2).fit(X)
    pair = extractor, pickle.loads(pickle.dumps(extractor))
    codes = [each.partial_fit(X).transform(X) for each in pair]
    assert_array_equal(*codes)


def test_voxels_that_are_never_seen():
    X, _ = peaks(60)
    X[:, :10] = np.nan
    extractor = quick(max_epochs=2).fit(X)
    again = extractor.inverse_transform(extractor.transform(X[:2]))
    assert_array_equal(np.isnan(again), np.isnan(X[:2]))
    X[3, 4] = 1.0
    with pytest.raises(ValueError, match="must be NaN, got 1 finite ones in row 3"):
        extractor.transform(X)


def test_refuses_what_it_cannot_use(trained):
    X, _ = peaks(20)
    with pytest.raises(NotFittedError):
        quick().transform(X)
    with pytest.raises(ValueError, match="expecting 150 features"):
        trained.transform(X[:, :-1])
    empty = X.copy()
    empty[7] = np.nan
    with pytest.raises(ValueError, match="not NaN, got none in row 7"):
        trained.transform(empty)
    negative = X.copy()
    negative[0, :2] = np.nan, -0.1
    with pytest.raises(ValueError, match="Negative values"):
        quick().fit(negative)
    with pytest.raises(ValueError, match="one column for each of the 150 features"):
        quick(background=SLOPE[:, 1:]).fit(X)


def test_files(trained, tmp_path):
    X = measured(peaks(5)[0], seen=0.5)
    save_model(trained, tmp_path / "model.skops")
    loaded = load_model(tmp_path / "model.skops")
    again = pickle.loads(pickle.dumps(trained))
    for copied in (loaded, again):
        assert_array_equal(copied.transform(X), trained.transform(X))


def test_inspection_reads_the_latent_space(trained):
    X, y = peaks(200, seed=6)
    table = latent_correlation(trained, X)
    codes = trained.transform(X)
    best = np.abs(np.corrcoef(codes.T, y.T)[:4, 4:]).max(axis=0)
    assert best[0] > 0.5  # of the centre, which changes spectra most
    assert table.shape == (4, 4)
    moved = latent_traversal(trained, X[:20], changes=(-0.5, 0.5))
    assert moved.shape == (8, N_VOXELS)
    assert np.isfinite(moved.to_numpy()).all()


def test_codes_follow_a_continuous_change(trained):
    centre = np.linspace(-0.7, 0.7, 60)[:, None]
    X = np.exp(-(((PLACE - centre) / 0.45) ** 2) / 2)
    X += 0.5 * np.exp(-(((PLACE + centre / 2) / 0.45) ** 2) / 2)
    codes = trained.transform(X)
    steps = np.linalg.norm(np.diff(codes, axis=0), axis=1)
    # no jump: each of 59 steps is a small part of the way
    assert steps.max() < 0.1 * steps.sum()


def test_aluminium_from_one_orientation():
    axis = np.linspace(-3, 3, 25)
    grid = CrystalGrid(
        np.arange(6, 42, 3.0), axis, axis, 0.0, lattice=4.04 * np.eye(3),
        psi=np.arange(0, 90, 10.0), incident_energy=60.0, two_theta=(5, 130),
    )  # fmt: skip
    simulator = SingleCrystalSimulator(
        load_aluminium_model(), grid, energy_resolution=2.0
    )
    X, y = make_crystal_spectra(simulator, 250, spread=0.2, random_state=0)
    energy = np.repeat(grid.energy, grid.shape[1])
    regressor = ForceConstantRegressor(
        (100, 100),
        latent="distribution",
        noise=0.3,
        trainer=Trainer(lr=0.003, batch_size=32, max_epochs=60),
        random_state=0,
    )
    extractor = quick(
        background=np.vstack([np.ones_like(energy), energy]), output="distribution"
    ).set_params(n_components=8, compression=40, trainer__max_epochs=40)
    pipeline = make_pipeline(extractor, regressor).fit(X, y)
    new, truth = make_crystal_spectra(
        simulator, 40, spread=0.2, n_orientations=1, counts=3.0, background=0.3,
        random_state=1,
    )  # fmt: skip
    assert np.isfinite(new).mean() < 0.2
    found, std = pipeline.predict(new, return_std=True)
    off = np.sqrt(np.square(found - truth).mean(axis=0)) / y.std(axis=0)
    # 1XX and 1XY, which make most of the dispersion; others are hardly seen
    assert (off[[0, 2]] < 0.4).all()
    assert 0.5 < np.mean(np.abs(found - truth) < std) < 0.85  # 0.68 for normal errors
