"""Detectors say what extractors do, with steps in front and behind."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skphonon.learning import NoveltyDetector, Trainer, VAEFeatureExtractor


def peaks(n_samples, seed=0):
    centre, height = (
        np.random.default_rng(seed)
        .uniform([-1, 0.5], [1, 1.5], (n_samples, 2))
        .T[..., None]
    )
    return np.float32(height * np.exp(-4 * (np.linspace(-2, 2, 40) - centre) ** 2))


def extractor(**changed):
    settings = {"noise": 0.05, "trainer": Trainer(max_epochs=40, lr=0.01)}
    return VAEFeatureExtractor(3, random_state=0, **settings | changed)


FOREIGN = peaks(50, seed=3) + np.float32(np.linspace(-2, 2, 40) > 1.5)


@pytest.fixture(scope="module")
def trained():
    return extractor().fit(peaks(2000))


def test_a_share_of_the_level_is_told_and_all_that_is_foreign(trained):
    detector = NoveltyDetector(FrozenEstimator(trained), level=0.05).fit(peaks(9))
    new = peaks(1000, seed=1)
    assert 0.02 < np.mean(detector.predict(new) == -1) < 0.09
    assert (detector.predict(FOREIGN) == -1).all()
    assert_array_equal(detector.score_samples(new), trained.score_samples(new))
    assert_array_equal(detector.table(new), trained.novelty(new))
    below = detector.decision_function(new) < 0
    assert_array_equal(below, detector.score_samples(new) < 0.05)
    loaded = pickle.loads(pickle.dumps(detector))
    assert_array_equal(loaded.predict(FOREIGN), detector.predict(FOREIGN))


def test_it_trains_a_clone(trained):
    own = extractor()
    detector = NoveltyDetector(own).fit(peaks(2000))
    assert not hasattr(own, "net_")
    assert_allclose(detector.score_samples(FOREIGN), trained.score_samples(FOREIGN))
    assert detector.n_features_in_ == 40


@pytest.mark.parametrize("frozen", [False, True])
def test_a_pipeline_to_constants_has_an_extractor(trained, frozen):
    """What is in front of it is applied, and what is behind does not matter."""
    X, y = peaks(300), np.arange(300.0)
    front = FunctionTransformer(np.sqrt), FunctionTransformer(np.square)
    pipeline = make_pipeline(*front, FrozenEstimator(trained), Ridge())
    if frozen:
        pipeline = FrozenEstimator(pipeline.fit(X, y))
    detector = NoveltyDetector(pipeline, level=0.01).fit(X, y)
    assert_array_equal(detector.predict(FOREIGN), -1)
    assert_allclose(
        detector.score_samples(X), trained.score_samples(np.sqrt(X) ** 2), rtol=1e-3
    )


def test_a_search_goes_over_settings_of_the_extractor():
    X = np.vstack([peaks(200), FOREIGN])
    truth = np.repeat([1, -1], [200, len(FOREIGN)])
    own = extractor(trainer=Trainer(validation_fraction=0.6))
    search = GridSearchCV(
        NoveltyDetector(own, level=0.02),
        {"extractor__n_components": [1, 3], "extractor__trainer__max_epochs": [5]},
        scoring="balanced_accuracy",
        cv=[(np.arange(200), np.arange(150, 250))],
    ).fit(X, truth)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    "other",
    [PCA(2), extractor(inference="posterior"), make_pipeline(PCA(2), Ridge())],
)
def test_what_has_no_reference_is_refused(other):
    with pytest.raises(ValueError, match=r"extractor must be VAE.*with one, got"):
        NoveltyDetector(other).fit(peaks(30), np.arange(30.0))


def test_too_few_spectra_to_tell_are_told():
    with pytest.warns(UserWarning, match="with 6 spectra held out .* below 0.29"):
        detector = NoveltyDetector(extractor(), level=0.01).fit(peaks(60))
    assert (detector.predict(FOREIGN) == 1).all()


def test_the_level_is_a_probability():
    with pytest.raises(ValueError, match="'level' parameter of NoveltyDetector"):
        NoveltyDetector(level=1.0).fit(peaks(30))


def test_it_must_be_fitted():
    with pytest.raises(NotFittedError):
        NoveltyDetector().predict(FOREIGN)
