"""Inverters in model files: without what they found in their last `predict`."""

import pickle

import numpy as np
import pytest
from make_kept import measured, powder
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from skphonon.inversion import (
    ElasticConstants,
    LeastSquaresInverter,
    NelderMeadInverter,
    PixelInverter,
    PosteriorInverter,
    Search,
)
from skphonon.persistence import load_model, save_model
from skphonon.physics import ShellPrior
from skphonon.simulation import ElasticTail, JointSimulator, MultipleScattering

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of so few pixels


@pytest.fixture(scope="module")
def simulator():
    return powder(temperature=300.0, quantity="sqe")


@pytest.fixture(scope="module")
def X(simulator):
    return simulator.simulate([1.02 * simulator.reference])


def bounds(simulator):
    half = np.abs(simulator.reference) / 2 + 0.02
    return simulator.reference - half, simulator.reference + half


def with_knowledge(simulator):
    elastic = ElasticConstants(simulator.model, {"C11": (107.0, 2.0)})
    return LeastSquaresInverter(
        simulator,
        prior=[ShellPrior(simulator.model), elastic],
        nuisance={"energy_resolution": (1.0, 2.0)},
        bounds=bounds(simulator),
        search=Search(n_candidates=4),
    )


def with_contributions(simulator):
    can = {
        "can": measured(),
        "multiple": MultipleScattering(),
        "tail": ElasticTail(2.0),
    }
    search = Search(n_candidates=1)
    return LeastSquaresInverter(simulator, contributions=can, search=search)


def posterior(simulator):
    inverter = LeastSquaresInverter(simulator, bounds=bounds(simulator))
    return PosteriorInverter(inverter, n_draws=40, n_candidates=5, n_starts=1)


def joint(simulator):
    both = JointSimulator({"a": simulator, "b": simulator})
    return LeastSquaresInverter(both, search=Search(n_candidates=1))


def simplex(simulator):
    return NelderMeadInverter(simulator, max_evaluations=20)


def answer(inverter, X):
    if isinstance(inverter, NelderMeadInverter):
        return inverter.predict(X)
    return np.array(inverter.predict(X, return_std=True))


@pytest.mark.parametrize(
    "make", [with_knowledge, with_contributions, posterior, joint, simplex]
)
def test_inverters_of_simulators_come_back(make, simulator, X, tmp_path):
    X = np.hstack([X, X]) if make is joint else X
    inverter = make(simulator)
    save_model(inverter, tmp_path / "new.skops")
    with pytest.raises(NotFittedError):
        load_model(tmp_path / "new.skops").predict(X)
    found = answer(inverter.fit(X), X)
    before = pickle.dumps(inverter)
    save_model(inverter, tmp_path / "model.skops")
    assert pickle.dumps(inverter) == before  # left as it was
    loaded = load_model(tmp_path / "model.skops")
    with pytest.raises(AttributeError, match="is known after predict"):
        _ = loaded.posteriors_ if make is posterior else loaded.n_iter_
    assert_array_equal(answer(loaded, X), found)
    assert_array_equal(answer(pickle.loads(before), X), found)


def test_pickles_keep_what_was_found(simulator, X):
    inverter = simplex(simulator).fit(X)
    inverter.predict(X)
    assert_array_equal(pickle.loads(pickle.dumps(inverter)).n_iter_, inverter.n_iter_)


def test_restarts_stay_behind(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 2))
    inverter = PixelInverter(n_starts=2, random_state=0).fit(X, X.sum(axis=1))
    save_model(inverter, tmp_path / "model.skops")
    loaded = load_model(tmp_path / "model.skops")
    assert_array_equal(loaded.predict(X), inverter.predict(X))
    assert hasattr(inverter, "restarts_")
    assert not hasattr(loaded, "restarts_")


def test_a_shared_simulator_is_written_once(simulator, tmp_path):
    sizes = []
    for n in (1, 10):
        shared = JointSimulator({str(k): simulator for k in range(n)})
        save_model(shared, tmp_path / f"{n}.skops")
        sizes.append((tmp_path / f"{n}.skops").stat().st_size)
    assert sizes[1] < 1.2 * sizes[0]
    first, *others = load_model(tmp_path / "10.skops").simulators.values()
    assert all(other is first for other in others)
