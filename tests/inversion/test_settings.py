"""Settings of a fit in two objects: shortcuts, searches over them, old spellings."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils import Bunch

from skphonon.inversion import LeastSquaresInverter, Noise, Search
from skphonon.inversion.settings import MOVED

# what the parameters of both were when each was one of the inverter
BEFORE = {
    "n_starts": 1, "n_candidates": 32, "initial": None, "max_evaluations": 100,
    "tolerance": 1e-5, "loss": "linear", "loss_width": 3.0, "errors": "residual",
}  # fmt: skip


class Peak(BaseEstimator):
    parameter_names, reference = ["position", "width"], np.array([14.0, 3.0])

    def simulate(self, parameters):
        return self.jacobian(parameters, return_spectra=True)[1]

    def jacobian(self, parameters, return_spectra=False):
        position, width = np.transpose(parameters)[..., None]
        x = (np.arange(30.0) - position) / width
        spectra = np.exp(-(x**2))
        slopes = 2 * x * spectra / width
        derivatives = np.stack([slopes, x * slopes], axis=2)
        return (derivatives, spectra) if return_spectra else derivatives


@pytest.fixture(scope="module")
def y():
    return Peak.reference * np.random.default_rng(1).uniform(0.9, 1.1, size=(4, 2))


@pytest.fixture(scope="module")
def X(y):
    noise = np.random.default_rng(0).normal(size=(4, 30))
    return Peak().simulate(y) + 0.01 * noise


def part_of(name):
    return "search" if name in Search().get_params() else "noise"


def old_pickle(inverter, **changed):
    """Return a pickle of the inverter as it was before, with other settings."""
    state = inverter.__getstate__()
    if "_last" in state:
        last = Bunch(**state["_last"])
        last["settings"] = {**last["settings"], **BEFORE, **changed}
        del last["settings"]["search"], last["settings"]["noise"]
        state["_last"] = last
    del state["search"], state["noise"]
    old = LeastSquaresInverter.__new__(LeastSquaresInverter)
    vars(old).update({**state, **BEFORE, **changed})
    return pickle.dumps(old)


def test_defaults_are_those_that_there_were():
    params = LeastSquaresInverter().get_params()
    assert params["search"] is None
    assert params["noise"] == "residual"
    assert BEFORE == {
        name: params[
            f"{'search' if name in Search().get_params() else 'noise'}__{name}"
        ]
        for name in BEFORE
    }


def test_a_value_within_is_set_from_the_shortcut():
    inverter = LeastSquaresInverter(noise="poisson")
    inverter.set_params(search__n_starts=3, noise__loss="huber")
    assert repr(inverter.search) == "Search(n_starts=3)"
    assert repr(inverter.noise) == "Noise(errors='poisson', loss='huber')"
    inverter.set_params(search__tolerance=1e-6, noise="noise")
    assert inverter.search.get_params()["n_starts"] == 3
    assert inverter.noise == "noise"
    both = LeastSquaresInverter().set_params(noise="noise", noise__loss="cauchy")
    assert repr(both.noise) == "Noise(errors='noise', loss='cauchy')"
    other = clone(inverter).set_params(search__n_starts=5)
    assert inverter.search.n_starts == 3
    assert other.search.n_starts == 5
    with pytest.raises(ValueError, match="Invalid parameter 'n_stars'"):
        inverter.set_params(search__n_stars=5)


def test_a_name_is_the_noise_it_stands_for(X):
    found = [
        LeastSquaresInverter(Peak(), noise=each).fit(X).predict(X, return_std=True)
        for each in ("noise", Noise("noise"))
    ]
    assert_array_equal(*found)


def test_a_grid_search_goes_over_both(X, y):
    search = GridSearchCV(
        LeastSquaresInverter(Peak()),
        {"search__n_candidates": [1, 4], "noise__loss": ["linear", "huber"]},
        scoring="neg_mean_absolute_error",
        cv=2,
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_fit_keeps_the_settings_of_its_call(X):
    inverter = LeastSquaresInverter(Peak(), search=Search(), noise=Noise()).fit(X)
    inverter.predict(X)
    before = inverter.fits_[0].fit_report()
    inverter.set_params(search__n_starts=7, noise__errors="poisson")
    assert inverter._last["settings"]["search"].n_starts == 1
    assert inverter.fits_[0].fit_report() == before


@pytest.mark.parametrize("name", BEFORE)
def test_an_old_keyword_tells_the_new_one(name):
    assert MOVED.keys() == BEFORE.keys()
    part = part_of(name)
    new = rf"has no {name} any more: give {part}=.*{part}__{name}"
    with pytest.raises(TypeError, match=new):
        LeastSquaresInverter(Peak(), **{name: BEFORE[name]})
    with pytest.raises(ValueError, match=new):
        LeastSquaresInverter(Peak()).set_params(**{name: BEFORE[name]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search": Search(n_starts=0)}, "'n_starts' parameter of Search"),
        ({"search": Search(tolerance=0.0)}, "'tolerance' parameter of Search"),
        ({"search": Search(initial="here")}, "'initial' parameter of Search"),
        ({"search": 3}, "'search' parameter of LeastSquaresInverter"),
        ({"noise": "gauss"}, "'noise' parameter of LeastSquaresInverter"),
        ({"noise": Noise("gauss")}, "'errors' parameter of Noise"),
        ({"noise": Noise(loss="squared")}, "'loss' parameter of Noise"),
        ({"noise": Noise(loss_width=0)}, "'loss_width' parameter of Noise"),
    ],
    ids=str,
)
def test_settings_that_are_none_are_refused(X, settings, message):
    with pytest.raises(ValueError, match=message):
        LeastSquaresInverter(Peak(), **settings).fit(X)


@pytest.mark.parametrize(
    ("changed", "search", "noise"),
    [
        ({}, "None", "'residual'"),
        ({"errors": "noise", "n_starts": 2}, "Search(n_starts=2)", "'noise'"),
        (
            {"loss": "huber", "initial": [14.0, 3.0]},
            "Search(initial=[14.0, 3.0])",
            "Noise(loss='huber')",
        ),
    ],
    ids=str,
)
def test_old_pickles_load(X, changed, search, noise):
    inverter = LeastSquaresInverter(Peak())
    for name, value in changed.items():
        inverter.set_params(**{f"{part_of(name)}__{name}": value})
    expected = inverter.fit(X).predict(X)
    loaded = pickle.loads(old_pickle(inverter, **changed))
    assert (repr(loaded.search), repr(loaded.noise)) == (search, noise)
    assert loaded.fits_[0].fit_report() == inverter.fits_[0].fit_report()
    assert_array_equal(loaded.predict(X), expected)
    assert not BEFORE.keys() & vars(loaded).keys()
    clone(loaded)
