"""VAEFeatureExtractor on peaks that move and change their width and height."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skphonon import VersionMismatchWarning, _training
from skphonon.features import VAEFeatureExtractor


def peaks(n_samples, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    centre, height = rng.uniform([-1, 0.5], [1, 1.5], size=(n_samples, 2)).T[..., None]
    axis = np.linspace(-2, 2, 40)
    X = height * np.exp(-4 * (axis - centre - offset) ** 2)
    return np.float32(X)


def quick(n_components=3, **parameters):
    settings = {
        "noise": 0.05,
        "hidden_size": 30,
        "max_epochs": 4,
        "batch_size": 32,
        "random_state": 0,
    }
    return VAEFeatureExtractor(n_components, **settings | parameters)


@pytest.fixture(scope="module")
def X():
    return peaks(400)


@pytest.fixture(scope="module")
def trained(X):
    return quick(hidden_size=60, max_epochs=60, learning_rate=0.01).fit(X)


def test_beats_principal_components(trained):
    new = peaks(100, seed=1)
    pca = PCA(3).fit(peaks(400))
    rest = np.square(new - pca.inverse_transform(pca.transform(new))).mean(axis=1)
    pca_score = 1 - np.mean(rest / np.square(new).mean(axis=1))
    # Three numbers suffice for a peak of given width, not three fixed shapes.
    assert trained.score(new) > 0.98 > pca_score


def test_published_network_learns_too(X):
    extractor = quick(
        compression=None, kl_weight=6.4e-5, optimizer="sgd", learning_rate=0.1,
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
            5, noise=noise, hidden_size=60, max_epochs=60, learning_rate=0.01
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
    whole = quick(schedule="constant", validation_fraction=None)
    parts = clone(whole).set_params(
        max_epochs=2, fine_tune_epochs=2, fine_tune_learning_rate=whole.learning_rate
    )
    whole.fit(X)
    parts.fit(X).partial_fit(X)
    assert_array_equal(parts.transform(X), whole.transform(X))
    assert parts.history_[:2] == whole.history_[:2]
    assert len(parts.history_) == 4


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
    extractor = quick(max_epochs=50, patience=2, tol=0.99).fit(X)
    assert len(extractor.history_) == 3
    assert set(extractor.history_[0]) == {
        "epoch", "learning_rate", "train_loss", "valid_loss",
    }  # fmt: skip
    assert "valid_loss" not in quick(validation_fraction=0.0).fit(X).history_[0]


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
    changed.set_params(n_components=7, hidden_size=5, optimizer="sgd")
    loaded = pickle.loads(pickle.dumps(changed))
    assert_array_equal(loaded.transform(X), trained.transform(X))


def test_pickle_of_another_device_loads_on_the_cpu(trained, X):
    elsewhere = copy.deepcopy(trained).set_params(device="cuda:99")
    loaded = pickle.loads(pickle.dumps(elsewhere))
    assert_array_equal(loaded.transform(X), trained.transform(X))
    with pytest.raises(ValueError, match="cuda:99"):
        loaded.fit(X)


def test_pickle_of_another_version_warns(trained, monkeypatch):
    data = pickle.dumps(trained)
    monkeypatch.setattr("skphonon._persistence.__version__", "99.0")
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
    assert extractor.history_ == history


def test_progress_bar_only_when_asked(X, capsys):
    quick().fit(X)
    assert capsys.readouterr().err == ""
    quick(verbose=1).fit(X)
    assert "VAEFeatureExtractor" in capsys.readouterr().err
