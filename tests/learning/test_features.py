"""Extractors on peaks that move and change their height, and on small images."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from small_nets import with_trainer

from skphonon.instrument import SpectrumGrid
from skphonon.learning import (
    AEFeatureExtractor,
    Convolutional,
    Dense,
    Trainer,
    VAEFeatureExtractor,
    _training,
)
from skphonon.learning._networks import divergences
from skphonon.learning.architectures import network_of
from skphonon.learning.features import of_mean
from skphonon.persistence import VersionMismatchWarning, load_model, save_model


def peaks(n_samples, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    centre, height = rng.uniform([-1, 0.5], [1, 1.5], size=(n_samples, 2)).T[..., None]
    axis = np.linspace(-2, 2, 40)
    X = height * np.exp(-4 * (axis - centre - offset) ** 2)
    return np.float32(X)


def quick(n_components=3, **parameters):
    settings = {
        "noise": 0.05,
        "network": Dense(30),
        "max_epochs": 4,
        "batch_size": 32,
        "random_state": 0,
    }
    return VAEFeatureExtractor(n_components, **with_trainer(settings | parameters))


@pytest.fixture(scope="module")
def X():
    return peaks(400)


@pytest.fixture(scope="module")
def trained(X):
    return quick(network=Dense(60), max_epochs=60, lr=0.01).fit(X)


def test_beats_principal_components(trained):
    new = peaks(100, seed=1)
    pca = PCA(3).fit(peaks(400))
    rest = np.square(new - pca.inverse_transform(pca.transform(new))).mean(axis=1)
    pca_score = 1 - np.mean(rest / np.square(new).mean(axis=1))
    # Three numbers suffice for a peak of given width, not three fixed shapes.
    assert trained.score(new) > 0.98 > pca_score


def test_published_network_learns_too(X):
    extractor = quick(
        compression=None, kl_weight=6.4e-5, optimizer="sgd", lr=0.1,
        schedule="constant", max_epochs=100,
    ).fit(X)  # fmt: skip
    assert extractor.n_compressed_ == X.shape[1]
    assert extractor.components_ is None
    zeros_score = 0.0
    mean_score = 1 - np.mean(
        np.square(X - X.mean(axis=0)).mean(axis=1) / np.square(X).mean(axis=1)
    )
    assert extractor.score(X) > max(zeros_score, mean_score) + 0.1


def test_score_is_what_it_says(trained, X):
    again = trained.inverse_transform(trained.transform(X)).astype(float)
    errors = np.square(X - again).mean(axis=1) / np.square(X).mean(axis=1)
    # both sum 40 float32 squares
    assert_allclose(1 - trained.score(X), errors.mean(), rtol=1e-4)


def test_noise_is_removed(X):
    """What training noise is for: spectra with noise reconstruct as without it."""
    new = peaks(100, seed=1)
    noisy = new + np.random.default_rng(3).normal(scale=0.1, size=new.shape)
    errors = {}
    for noise in (0.0, 0.3):
        extractor = quick(
            5, noise=noise, network=Dense(60), max_epochs=60, lr=0.01
        ).fit(X)
        again = extractor.inverse_transform(extractor.transform(noisy))
        errors[noise] = np.square(again - new).mean()
    assert errors[0.3] < 0.7 * errors[0.0]


def test_code_spread_is_the_scatter_of_codes_under_noise(trained):
    """Checked by encoding many noisy copies of one spectrum."""
    spectrum = peaks(1, seed=4)
    noise = np.random.default_rng(5).normal(scale=0.05, size=(400, spectrum.size))
    mean, std = trained.encode(np.float32(spectrum + noise))
    # Noise that looks like another peak is no misfit, and is added to noise that is
    # there already: right within a factor, which no other scale here is.
    ratio = np.median(std, axis=0) / mean.std(axis=0)
    assert (ratio > 0.5).all()
    assert (ratio < 2).all()
    assert (np.median(std, axis=0) > 2 * trained.encode(spectrum)[1][0]).all()


def test_kl_weight_squeezes_the_code(X):
    free, squeezed = (quick(kl_weight=w, max_epochs=30).fit(X) for w in (1e-6, 0.9))
    assert np.abs(squeezed.transform(X)).max() < 0.5 < np.abs(free.transform(X)).max()
    # the standard normal distribution, whatever the spectrum
    _, log_variance = squeezed.net_.module_.encode(
        torch.as_tensor(squeezed._compress(X))
    )
    assert_allclose(torch.exp(log_variance / 2).detach(), 1, atol=0.3)


def test_compression_loses_nothing_when_wide_enough(X):
    extractor = quick(compression=64).fit(X)
    assert extractor.n_compressed_ <= X.shape[1]
    # components of a spread below 1e-4 of the first are left out
    assert_allclose(extractor._expand(extractor._compress(X)), X, atol=3e-4)
    # partial whitening: mean square 1 at the input of the network
    assert_allclose(np.square(extractor._compress(X)).mean(), 1, rtol=0.01)


def test_compression_is_cut_to_the_rank(X):
    assert quick(compression=64).fit(X[:6]).n_compressed_ <= 6
    assert quick(compression=5).fit(X).n_compressed_ == 5
    assert quick().fit(np.ones((10, 4))).n_compressed_ == 1


def test_distribution_is_means_then_deviations(trained, X):
    both = copy.deepcopy(trained).set_params(output="distribution")
    mean, std = trained.encode(X)
    assert_array_equal(both.transform(X), np.hstack([mean, std]))
    assert_array_equal(trained.transform(X), mean)
    assert (std > 0).all()
    assert mean.dtype == std.dtype == np.float32
    assert_array_equal(
        both.inverse_transform(both.transform(X)), trained.inverse_transform(mean)
    )
    assert len(both.get_feature_names_out()) == 6
    assert list(trained.get_feature_names_out())[:1] == ["vaefeatureextractor0"]


def test_pandas_output(X):
    extractor = quick(output="distribution").set_output(transform="pandas").fit(X)
    frame = extractor.transform(X)
    assert list(frame.columns) == list(extractor.get_feature_names_out())


def test_inverse_transform_needs_codes(trained):
    with pytest.raises(ValueError, match=r"must have 3 columns, or 6 .* got 4"):
        trained.inverse_transform(np.zeros((2, 4)))


def test_same_seed_same_codes_and_no_global_state(X):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second, other = (quick(random_state=s).fit(X) for s in (0, 0, 1))
    assert_array_equal(first.transform(X), second.transform(X))
    assert not np.allclose(first.transform(X), other.transform(X))
    assert_array_equal(torch.get_rng_state(), before[0])
    assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_partial_fit_continues_fit(X):
    whole = quick(schedule="constant", validation_fraction=0)
    parts = clone(whole).set_params(
        trainer__max_epochs=2,
        trainer__fine_tune_epochs=2,
        trainer__fine_tune_lr=0.005,
    )
    whole.fit(X)
    parts.fit(X).partial_fit(X)
    assert_array_equal(parts.transform(X), whole.transform(X))
    assert parts.history_[:2].equals(whole.history_[:2])
    assert parts.history_["phase"].tolist() == ["fit"] * 2 + ["partial_fit"] * 2


def test_partial_fit_sets_up_an_unfitted_estimator(X):
    extractor = quick(fine_tune_epochs=3)
    first = extractor.partial_fit(X).score(X)
    assert len(extractor.history_) == 3
    for _ in range(5):
        extractor.partial_fit(X)
    assert extractor.score(X) > first


def test_fine_tuning_learns_shifted_peaks(trained):
    shifted = peaks(20, seed=2, offset=0.5)
    tuned = copy.deepcopy(trained)
    codes = trained.transform(shifted)
    before = trained.score(shifted)
    tuned.partial_fit(shifted)
    assert tuned.score(shifted) > before
    # the original is another object
    assert_array_equal(trained.transform(shifted), codes)


def test_history_and_early_stopping(X):
    extractor = quick(max_epochs=50, patience=2, lr=1e-12).fit(X)
    assert len(extractor.history_) == 3
    assert list(extractor.history_) == [
        "phase", "epoch", "learning_rate", "train_loss", "valid_loss",
    ]  # fmt: skip
    assert "valid_loss" not in quick(validation_fraction=0.0).fit(X).history_


def test_pickle_is_plain_and_continues(trained, X):
    data = pickle.dumps(trained)
    assert b"torch" not in data
    assert b"skorch" not in data
    loaded = pickle.loads(data)
    assert_array_equal(loaded.transform(X), trained.transform(X))
    original = copy.deepcopy(trained)
    assert_array_equal(
        loaded.partial_fit(X).transform(X), original.partial_fit(X).transform(X)
    )


def test_pickle_remembers_the_widths_it_was_trained_with(trained, X):
    changed = copy.deepcopy(trained)
    changed.set_params(n_components=7, network__hidden_size=5, trainer__optimizer="sgd")
    loaded = pickle.loads(pickle.dumps(changed))
    assert_array_equal(loaded.transform(X), trained.transform(X))


def test_pickle_of_another_device_loads_on_the_cpu(trained, X):
    elsewhere = copy.deepcopy(trained).set_params(trainer__device="cuda:99")
    loaded = pickle.loads(pickle.dumps(elsewhere))
    assert_array_equal(loaded.transform(X), trained.transform(X))
    with pytest.raises(ValueError, match="cuda:99"):
        loaded.fit(X)


def test_pickle_of_another_version_warns(trained, monkeypatch):
    data = pickle.dumps(trained)
    monkeypatch.setattr("skphonon._versioned.__version__", "99.0")
    with pytest.warns(VersionMismatchWarning, match=r"skphonon .*99\.0"):
        pickle.loads(data)


def interrupt(*_):
    raise KeyboardInterrupt


def test_interrupted_fit_leaves_it_unfitted(X, monkeypatch):
    extractor = quick().fit(X)
    monkeypatch.setattr(_training, "_epoch_record", interrupt)
    with pytest.raises(KeyboardInterrupt):
        extractor.fit(X[:, :20])
    with pytest.raises(NotFittedError):
        extractor.transform(X)


def test_interrupted_partial_fit_changes_nothing(X, monkeypatch):
    extractor = quick().fit(X)
    codes, history = extractor.transform(X), extractor.history_
    monkeypatch.setattr(_training, "_epoch_record", interrupt)
    with pytest.raises(KeyboardInterrupt):
        extractor.partial_fit(X)
    assert_array_equal(extractor.transform(X), codes)
    assert extractor.history_.equals(history)


def test_progress_bar_only_when_asked(X, capsys):
    quick().fit(X)
    assert capsys.readouterr().err == ""
    quick(verbose=1).fit(X)
    assert "VAEFeatureExtractor" in capsys.readouterr().err


def deterministic(n_components=3, **parameters):
    settings = quick(**parameters).get_params(deep=False)
    names = AEFeatureExtractor().get_params(deep=False)
    settings = {name: settings[name] for name in names}
    return AEFeatureExtractor(**settings | {"n_components": n_components})


def test_deterministic_codes_reconstruct(X):
    extractor = deterministic(network=Dense(60), max_epochs=60, lr=0.01).fit(X)
    assert extractor.score(peaks(100, seed=1)) > 0.98
    assert list(extractor.get_feature_names_out())[:1] == ["aefeatureextractor0"]
    # all the spread there is comes from the misfit
    mean, std = extractor.encode(X)
    assert_array_equal(mean, extractor.transform(X))
    noise = 0.1 * np.random.default_rng(0).normal(size=X.shape)
    noisy = extractor.encode(np.float32(X + noise))[1]
    assert np.median(noisy) > 3 * np.median(std)


def test_posterior_is_the_encoder_alone(trained, X):
    own = copy.deepcopy(trained).set_params(output="posterior")
    mean, std = np.split(own.transform(X), 2, axis=1)
    assert_array_equal(mean, trained.transform(X))
    assert (std < trained.encode(X)[1]).all()


def test_divergence_is_that_of_normal_distributions(trained, X):
    mean, std = (
        torch.as_tensor(part)
        for part in np.split(
            copy.deepcopy(trained).set_params(output="posterior").transform(X), 2, 1
        )
    )
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, std), prior
    )
    # torch takes the logarithm of a rounded standard deviation
    assert_allclose(trained.kl_divergence(X), expected, rtol=1e-4, atol=1e-5)


class SummedLoss(torch.nn.Module):
    """That of Su and Li, with a weight of 1e-5."""

    def forward(self, output, target):
        error = torch.nn.functional.mse_loss(output[0], target)
        return (1 - 1e-5) * error + 1e-5 * divergences(*output[1:]).sum()


def test_sum_over_a_batch_is_its_size_times_the_mean(X):
    """As long as all batches are full and w is small against 1."""
    common = {"validation_fraction": 0, "batch_size": 40, "noise": 0.0}
    summed = quick(kl_weight=1e-5, **common)
    summed._loss = SummedLoss
    averaged = quick(kl_weight=of_mean(1e-5, 40), **common).fit(X)
    other = quick(kl_weight=1e-5, **common).fit(X)
    codes = averaged.transform(X)
    assert_allclose(summed.fit(X).transform(X), codes, atol=1e-4)
    assert np.abs(other.transform(X) - codes).max() > 1e-3


def test_bounded_networks_stay_within_one(X):
    extractor = deterministic(
        network=Dense(30, bounded=True), compression=None, weighting=None
    ).fit(X)
    far = np.full((1, 3), 50.0)
    assert np.abs(extractor.transform(50 * X)).max() <= 1
    assert np.abs(extractor.inverse_transform(far)).max() <= 1
    assert np.abs(deterministic(compression=None).fit(X).transform(50 * X)).max() > 1


@pytest.mark.parametrize("compression", [None, 20])
@pytest.mark.parametrize("weighting", [None, 0.0, 0.5, 1.0])
def test_weighting_scales_what_varies_little(X, weighting, compression):
    extractor = quick(compression=compression, weighting=weighting, max_epochs=1)
    extractor.fit(X)
    inputs = extractor._compress(X)
    assert_allclose(extractor._expand(inputs), X, atol=0.02)
    spread = inputs.std(axis=0)
    if weighting is None:
        if compression is None:
            assert_array_equal(inputs, X)
        else:  # orthonormal: lengths are kept
            rest = np.square(X - X.mean(axis=0)).sum()
            assert_allclose(np.square(inputs).sum(), rest, rtol=0.01)
        return
    # float32 sums of 400 squares
    assert_allclose(np.square(inputs).mean(), 1, rtol=1e-3)
    if weighting == 1:
        assert_allclose(spread, 1, rtol=0.01)


def test_a_linear_map_that_is_corrected_is_more_exact(X):
    """Without noise, what principal components do already need not be learnt."""
    settings = {"noise": 0.0, "max_epochs": 40, "lr": 1e-3}
    plain, residual = (
        deterministic(6, network=Dense(30, residual=r), **settings).fit(X)
        for r in (False, True)
    )
    new = peaks(100, seed=1)
    components = PCA(6).fit(X)
    rest = np.square(new - components.inverse_transform(components.transform(new)))
    pca = 1 - np.mean(rest.mean(axis=1) / np.square(new).mean(axis=1))
    assert 1 - residual.score(new) < 0.5 * (1 - pca)
    assert 1 - residual.score(new) < 0.5 * (1 - plain.score(new))


# What follows has 4 x 5 images of which the four corners are not measured.
MASK = np.ones((4, 5), dtype=bool)
MASK[::3, ::4] = False


def image_grid(mask=MASK):
    return SpectrumGrid(np.arange(10.0, 14.0), np.arange(1.0, 6.0), mask=mask)


def image_rows(n_samples, seed=0):
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, 3, size=(n_samples, 1, 1))
    rows = np.exp(-((np.arange(4)[:, None] - place) ** 2) / (1 + np.arange(5) / 5))
    return np.float32(rows[:, MASK])


def convolutional(kind=VAEFeatureExtractor, grid=None, filters=(4, 6), **parameters):
    grid = image_grid() if grid is None else grid
    settings = {
        "network": Convolutional(grid, filters=filters, hidden_size=12),
        "max_epochs": 30,
        "noise": 0.0,
        "random_state": 0,
        "lr": 0.01,
    }
    return kind(2, **with_trainer(settings | parameters))


@pytest.mark.parametrize("kind", [VAEFeatureExtractor, AEFeatureExtractor])
def test_convolutions_learn(kind):
    X = image_rows(300)
    extractor = convolutional(kind).fit(X)
    assert extractor.score(image_rows(50, seed=1)) > 0.9
    loaded = pickle.loads(pickle.dumps(extractor))
    assert_array_equal(loaded.transform(X), extractor.transform(X))


def test_convolutions_see_where_pixels_lie():
    """A first layer that takes the centre alone gives every other pixel back."""
    extractor = convolutional(max_epochs=1, filters=(1,)).fit(image_rows(20))
    encoder = extractor.net_.module_.encoder
    convolution = encoder.convolutions[0]
    convolution.weight.data.zero_()
    convolution.weight.data[0, 0, 1, 1] = 1.0
    convolution.bias.data.zero_()
    seen = []
    handle = encoder.convolutions.register_forward_hook(
        lambda _, __, output: seen.append(output)
    )
    rows = np.float32(np.arange(MASK.sum()))[None] / 20
    with torch.inference_mode():
        encoder(torch.as_tensor(rows))
    handle.remove()
    image = np.zeros(MASK.shape)
    image[MASK] = rows[0]
    assert_allclose(seen[0][0, 0], np.tanh(image[::2, ::2]), rtol=1e-6)


def test_published_convolutions_have_the_published_shapes():
    grid = SpectrumGrid(
        np.arange(10.25, 45, 0.5), np.arange(0.05, 10.1, 0.1),
        incident_energy=50.0, two_theta=(1.0, 136.0),
    )  # fmt: skip
    X = np.random.default_rng(0).normal(size=(3, grid.mask.sum()))
    network = (
        VAEFeatureExtractor(network=Convolutional(grid), trainer=Trainer(max_epochs=1))
        .fit(X)
        .net_.module_
    )
    dense = [
        layer for layer in network.encoder.dense.layers if hasattr(layer, "weight")
    ]
    assert dense[0].in_features == 128 * 9 * 13
    assert dense[0].out_features == 200
    paddings = [
        layer.output_padding
        for layer in network.decoder.convolutions
        if hasattr(layer, "output_padding")
    ]
    assert [tuple(p) for p in paddings] == [(1, 1), (0, 0), (1, 0)]


def test_convolutions_take_whole_images_too():
    X = np.float32(np.random.default_rng(0).normal(size=(20, MASK.size)))
    assert convolutional(max_epochs=1).fit(X).transform(X).shape == (20, 2)


def rows_with_columns(n_samples, seed=0):
    """Images, and two columns of larger spread that have nothing to do with them."""
    columns = np.random.default_rng(seed + 100).normal(0.2, 0.5, size=(n_samples, 2))
    return np.hstack([image_rows(n_samples, seed), np.float32(columns)])


KINDS = [
    (AEFeatureExtractor, {}),
    (VAEFeatureExtractor, {}),
    (VAEFeatureExtractor, {"weighting": None, "output": "distribution"}),
]


@pytest.fixture(scope="module", params=KINDS, ids=["ae", "vae", "unweighted vae"])
def with_columns(request):
    kind, parameters = request.param
    settings = {"n_components": 5, "trainer__max_epochs": 60, "noise": 0.05}
    extractor = convolutional(kind).set_params(**settings | parameters)
    return extractor.fit(rows_with_columns(400))


def test_columns_behind_pixels_are_part_of_the_code(with_columns):
    assert with_columns.n_columns_ == 2
    assert with_columns.n_features_in_ == 18
    new = rows_with_columns(50, seed=1)
    again = with_columns.inverse_transform(with_columns.transform(new))
    errors = np.square(new - again).mean(axis=0)
    # columns as well as pixels come back far better than by their means
    assert (errors[-2:] < 0.2 * new[:, -2:].var(axis=0)).all()
    assert errors[:-2].mean() < 0.3 * new[:, :-2].var(axis=0).mean()
    for n in (16, 17):
        moved = new.copy()
        moved[:, n] += 0.5
        back = with_columns.inverse_transform(with_columns.transform(moved))
        assert_allclose((back - again)[:, n].mean(), 0.5, rtol=0.3)


def test_columns_of_no_training_spectrum_are_novel(with_columns):
    new = rows_with_columns(50, seed=1)
    foreign = new.copy()
    foreign[:, -1] = 10.0  # 20 standard deviations
    assert with_columns.score_samples(foreign).max() < 0.05
    assert np.median(with_columns.score_samples(new)) > 0.05


def test_models_with_columns_come_back(with_columns, tmp_path):
    X = rows_with_columns(30, seed=2)
    save_model(with_columns, tmp_path / "model.skops")
    loaded = [
        load_model(tmp_path / "model.skops"),
        pickle.loads(pickle.dumps(with_columns)),
    ]
    here = copy.deepcopy(with_columns).partial_fit(X)
    for each in loaded:
        assert_array_equal(each.transform(X), with_columns.transform(X))
        assert each.n_columns_ == 2
        assert_array_equal(each.partial_fit(X).transform(X), here.transform(X))


def test_training_on_more_spectra_needs_the_same_columns(with_columns):
    with pytest.raises(ValueError, match=r"16 features, but .* expecting 18 features"):
        with_columns.partial_fit(image_rows(5))


@pytest.mark.parametrize(("n_pixels", "n_columns"), [(16, 3), (20, 0)])
def test_columns_are_what_pixels_leave(n_pixels, n_columns):
    X = np.random.default_rng(0).normal(size=(20, n_pixels + n_columns))
    extractor = convolutional(max_epochs=1).fit(X)
    assert extractor.n_columns_ == n_columns
    assert len(extractor.net_.module_.encoder.pixels) == n_pixels


def test_whole_images_have_columns_where_the_visible_ones_are_too_few():
    mask = np.zeros((7, 6), dtype=bool)
    mask[2] = True
    grid = SpectrumGrid(np.arange(10.0, 17.0), np.arange(1.0, 7.0), mask=mask)
    X = np.random.default_rng(0).normal(size=(20, 44))
    assert convolutional(max_epochs=1, grid=grid).fit(X).n_columns_ == 2
    assert convolutional(max_epochs=1, grid=grid).fit(X[:, :8]).n_columns_ == 2
    with pytest.raises(ValueError, match=r"6 visible .* at most 32 more .* got 39"):
        convolutional(grid=grid).fit(X[:, :39])


def test_convolutions_refuse_what_is_no_image():
    X = image_rows(20)
    with pytest.raises(ValueError, match=r"each of the 20 visible pixels .* got 16"):
        convolutional(grid=image_grid(np.ones_like(MASK))).fit(X)
    with pytest.raises(ValueError, match=r"need pixels .* compression=3"):
        convolutional(compression=3).fit(X)
    with pytest.raises(ValueError, match=r"filters must be positive .* \(4, 0\)"):
        convolutional(filters=(4, 0)).fit(X)


@pytest.mark.parametrize("kind", [VAEFeatureExtractor, AEFeatureExtractor])
def test_settings_of_the_network_have_names(kind):
    extractor = kind(3)
    assert extractor.get_params()["network__hidden_size"] == 400
    assert extractor.network == "dense"
    extractor.set_params(network__hidden_size=7)
    assert repr(extractor.network) == repr(Dense(7))
    extractor.set_params(network="convolutional", network__filters=(2,))
    assert repr(extractor.network) == repr(Convolutional(filters=(2,)))
    with pytest.raises(ValueError, match="Invalid parameter 'filters'"):
        kind(3).set_params(network__filters=(2,))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("architecture", 'network="dense" or network="convolutional"'),
        ("hidden_size", r"network=Dense\(hidden_size=\.\.\.\) or"),
        ("grid", r"network=Convolutional\(grid\)"),
        ("residual", r"network=Dense\(residual=True\)"),
    ],
)
def test_old_parameters_of_the_network_tell_the_new(name, advice):
    with pytest.raises(TypeError, match=f"no {name} any more: give {advice}"):
        VAEFeatureExtractor(3, **{name: 5})


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("conv", "'network' parameter of VAEFeatureExtractor must be"),
        (Dense(0), "'hidden_size' parameter of Dense must be an int"),
        (Convolutional(5), "'grid' parameter of Convolutional must be"),
    ],
)
def test_networks_that_are_none(X, network, message):
    with pytest.raises(ValueError, match=message):
        quick(network=network).fit(X)


def test_a_saved_state_of_old_parameters_has_its_network():
    state = {"architecture": "conv", "filters": (2, 3), "hidden_size": None}
    found = network_of(state | {"grid": None, "residual": False, "bounded": True})
    assert repr(found) == repr(Convolutional(filters=(2, 3), bounded=True))
    state = {"architecture": "dense", "hidden_size": 5, "residual": True}
    assert repr(network_of(state)) == repr(Dense(5, residual=True))
    assert state == {}
