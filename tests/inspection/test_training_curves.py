"""Learning curves are the histories."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skphonon.inspection import TrainingCurvesDisplay
from skphonon.learning import ForceConstantRegressor, Trainer, VAEFeatureExtractor


@pytest.fixture(scope="module")
def pipeline():
    X = np.random.default_rng(0).normal(size=(60, 8))
    trainer = Trainer(max_epochs=5)
    extractor = VAEFeatureExtractor(2, trainer=trainer, random_state=0)
    regressor = ForceConstantRegressor(trainer=trainer, random_state=0)
    fitted = make_pipeline(StandardScaler(), extractor, regressor).fit(X, X[:, 0])
    fitted[1].partial_fit(X)
    return fitted


def test_a_panel_a_network(pipeline):
    display = TrainingCurvesDisplay.from_estimator(pipeline).plot()
    names = [ax.get_title() for ax in display.axes_]
    assert names == ["VAEFeatureExtractor", "ForceConstantRegressor"]
    drawn = display.axes_[0].lines
    losses = pipeline[1].history_
    assert_array_equal(drawn[0].get_ydata(), losses["train_loss"])
    assert_array_equal(drawn[1].get_ydata()[:5], losses["valid_loss"][:5])
    assert_array_equal(drawn[0].get_xdata(), np.arange(1, 16))
    labels = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert labels == ["training", "held out", "partial_fit"]
    # a likelihood may be below zero
    scale = "log" if pipeline[2].history_["train_loss"].min() > 0 else "linear"
    assert display.axes_[1].get_yscale() == scale
    plt.close("all")


def test_axes_that_are_given(pipeline):
    figure, ax = plt.subplots()
    display = TrainingCurvesDisplay.from_estimator(pipeline[1]).plot([ax])
    assert display.figure_ is figure
    plt.close("all")


def test_what_has_no_epochs_is_refused():
    with pytest.raises(ValueError, match=r"trains a network.*got Ridge"):
        TrainingCurvesDisplay.from_estimator(Ridge().fit([[0], [1]], [0, 1]))
