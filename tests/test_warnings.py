"""Warnings point at the line of the user, whoever calls on the way."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skphonon import MaskedSpectrumPreprocessor


class Mean(RegressorMixin, BaseEstimator):
    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, X, y):
        self.mean_ = np.mean(y) + self.shift
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_warnings_pass_searches_and_their_workers():
    X = np.random.default_rng(0).normal(5.0, 1.0, size=(30, 12))
    X[:, 3] = np.nan
    X[2, :5] = np.nan  # more than the others, which transform warns of
    pipeline = make_pipeline(MaskedSpectrumPreprocessor(min_valid_fraction=0.5), Mean())
    search = GridSearchCV(pipeline, {"mean__shift": [0.0, 1.0]}, cv=2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        search.fit(X, X[:, 0] * 0 + 1)
    ours = [each for each in told if "spectra (first" in str(each.message)]
    assert ours
    assert {each.filename for each in ours} == {__file__}
