"""ImplicitSpectrumModel: a network that stands for a simulator one can look into."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from small_nets import with_trainer

from skphonon import (
    ImplicitSpectrumModel,
    LeastSquaresInverter,
    NelderMeadInverter,
    SpectrumGrid,
    load_model,
    save_model,
)
from skphonon.inversion import (
    MisfitWarning,
    Search,
)
from skphonon.learning import ExtrapolationWarning, _training
from skphonon.learning._networks import SineNetwork

BOUNDS = [[12.0, 2.0], [18.0, 3.0]]


class Branch:
    """A ridge whose energy rises with |Q|, and whose width is a parameter."""

    parameter_names, reference = ["energy", "width"], np.array([15.0, 2.5])

    def __init__(self, n_q=12):
        self.grid = SpectrumGrid(
            np.linspace(2, 28, 20), np.linspace(1, 6, n_q), incident_energy=50.0
        )

    def simulate(self, parameters):
        energy, q = self.grid.axes()
        height, width = np.transpose(parameters)[..., None, None]
        ridge = height * np.sin(q / 4)
        images = 5 * np.exp(-(((energy[:, None] - ridge) / width) ** 2) / 2)
        return self.grid.to_rows(images)


class Unstable(Branch):
    def is_stable(self, parameters):
        return parameters[:, 0] < 14

    def simulate(self, parameters):
        spectra = super().simulate(parameters)
        spectra[parameters[:, 0] >= 14] = np.nan
        return spectra


class Deaf(Branch):
    def is_stable(self, parameters):
        return np.zeros(len(parameters), dtype=bool)


class Negative(Branch):
    def simulate(self, parameters):
        return super().simulate(parameters) - 1


class Gappy(Branch):
    def simulate(self, parameters):
        spectra = super().simulate(parameters)
        spectra[1:, np.flatnonzero(np.isfinite(spectra[0]))[3]] = np.nan
        return spectra


def quick(hidden_sizes=(32, 32), **settings):
    defaults = {"batch_size": 256, "max_epochs": 2, "random_state": 0}
    return ImplicitSpectrumModel(hidden_sizes, **with_trainer(defaults | settings))


@pytest.fixture(scope="module")
def simulator():
    return Branch()


@pytest.fixture(scope="module")
def model(simulator):
    return quick(max_epochs=25).fit_simulator(simulator, 200, bounds=BOUNDS)


@pytest.fixture(scope="module")
def new():
    return np.random.default_rng(1).uniform(*BOUNDS, size=(30, 2))


@pytest.fixture
def rows():
    rng = np.random.default_rng(2)
    X = rng.uniform(-1, 1, size=(300, 3))
    return X, np.exp(X[:, 0] * X[:, 1])


def test_simulations_at_new_parameters(model, simulator, new):
    found, truth = model.simulate(new), simulator.simulate(new)
    assert_array_equal(np.isnan(found), np.isnan(truth))
    seen = np.isfinite(truth[0])
    correlations = [
        np.corrcoef(*np.log1p(pair))[0, 1]
        for pair in zip(found[:, seen].clip(0), truth[:, seen], strict=True)
    ]
    assert min(correlations) > 0.995
    assert model.held_out_correlation_.shape == (20,)  # a tenth of the simulations
    assert model.held_out_correlation_.min() > 0.99
    # a spectrum of other parameters is less like it than the network is
    apart = np.abs(truth - truth[0])[:, seen].max(axis=1)[1:]
    assert np.abs(found - truth)[:, seen].max() < apart.min()


def test_it_is_between_the_pixels_too(model):
    fine = Branch(n_q=23)
    energy, q = fine.grid.axes()
    places = np.column_stack([np.tile(q, len(energy)), np.repeat(energy, len(q))])
    seen = fine.grid.mask.ravel()
    truth = fine.simulate([[14.0, 2.6]])[0, seen]
    found = model.simulate_at(places[seen], [14.0, 2.6])[0]
    assert_allclose(found, truth, atol=0.05 * truth.max())


def test_derivatives_are_those_of_the_network(model, new):
    derivatives, spectra = model.jacobian(new[:3], return_spectra=True)
    assert_array_equal(spectra, model.simulate(new[:3]))
    assert_array_equal(derivatives, model.jacobian(new[:3]))
    for number, step in enumerate(np.eye(2) * 0.01):
        up, down = model.simulate(new[:3] + step), model.simulate(new[:3] - step)
        # in single precision: rounding over 0.02, and an error of the second order
        assert_allclose(derivatives[..., number], (up - down) / 0.02, atol=1e-3)


def test_derivatives_are_those_of_autograd():
    network = SineNetwork((4, 8, 8, 1), 5.0, torch.Generator().manual_seed(0)).double()
    places = torch.rand((6, 2), dtype=torch.float64)
    parameters = torch.rand(2, dtype=torch.float64, requires_grad=True)
    rows = torch.cat([places, parameters.expand(6, 2)], dim=1)
    outputs, derivatives = network.along(places, parameters, derivatives=True)
    torch.testing.assert_close(outputs, network(rows)[:, 0])
    for output, derivative in zip(network(rows)[:, 0], derivatives, strict=True):
        (expected,) = torch.autograd.grad(output, parameters, retain_graph=True)
        torch.testing.assert_close(derivative, expected)


def test_one_answer_by_every_door(model, new):
    visible = model.grid.mask.ravel()
    energy, q = model.grid.axes()
    places = np.column_stack([np.tile(q, len(energy)), np.repeat(energy, len(q))])
    places = places[visible]
    spectra = model.simulate(new[:2])[:, visible]
    assert_array_equal(model.simulate_at(places, new[:2]), spectra)
    rows = np.hstack([places, np.tile(new[0], (len(places), 1))])
    # which is in double precision, of intensities up to 5
    assert_allclose(model.predict(rows), spectra[0], atol=1e-4)
    derivatives, again = model.jacobian_at(places, new[:2], return_spectra=True)
    assert_array_equal(again, spectra)
    assert_array_equal(derivatives, model.jacobian(new[:2])[:, visible])


def test_the_contract_of_simulators(model, simulator):
    assert model.parameter_names == simulator.parameter_names
    assert_array_equal(model.reference, simulator.reference)
    assert model.grid is simulator.grid
    assert_array_equal(model.bounds_, BOUNDS)
    assert model.simulate([14.0, 2.5]).shape == (1, 240)
    assert model.jacobian([14.0, 2.5]).shape == (1, 240, 2)
    assert model.nuisance_names == []
    with pytest.raises(ValueError, match=r"varies only its parameters.* temperature"):
        model.simulate([14.0, 2.5], nuisance={"temperature": 5.0})


@pytest.mark.parametrize("kind", [LeastSquaresInverter, NelderMeadInverter])
def test_inverters_take_it_for_a_simulator(model, simulator, new, kind):
    spectra = simulator.simulate(new[:3])
    # inverters of the real simulator do not know of the box of the network
    settings = {"search": Search(n_candidates=1), "bounds": model.bounds_}
    if kind is NelderMeadInverter:
        settings = {"scale": "fitted", "simplex_size": 0.2}
    inverter = clone(kind(FrozenEstimator(model), **settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        # least squares sees what the network gets wrong
        warnings.simplefilter("ignore", MisfitWarning)
        found = inverter.fit(spectra).predict(spectra)
    # what the network gets wrong, a few per cent of a spectrum
    assert_allclose(found, new[:3], atol=0.15)


def test_least_squares_uses_its_derivatives(model, simulator, monkeypatch):
    calls, jacobian = [], ImplicitSpectrumModel.jacobian

    def count(self, *arguments, **options):
        calls.append(arguments)
        return jacobian(self, *arguments, **options)

    monkeypatch.setattr(ImplicitSpectrumModel, "jacobian", count)
    spectra = model.simulate([[14.0, 2.5]])
    spectra += 0.05 * np.random.default_rng(0).normal(size=spectra.shape)
    inverter = LeastSquaresInverter(
        model, bounds=model.bounds_, search=Search(n_candidates=1)
    )
    _, std = inverter.fit(spectra).predict(spectra, return_std=True)
    assert len(calls) == inverter.n_evaluations_[0]
    assert (std > 0).all()


def test_a_simulator_without_grid_needs_coordinates(simulator):
    class NoGrid(Branch):
        grid = None

        def __init__(self):
            pass

        def simulate(self, parameters):
            return simulator.simulate(parameters)

    with pytest.raises(ValueError, match="Give coordinates"):
        quick().fit_simulator(NoGrid(), 5, bounds=BOUNDS)
    with pytest.raises(ValueError, match="each of 240 pixels"):
        quick().fit_simulator(NoGrid(), 5, bounds=BOUNDS, coordinates=np.ones((3, 2)))
    places = np.random.default_rng(0).uniform(size=(240, 3))
    model = quick().fit_simulator(NoGrid(), 5, bounds=BOUNDS, coordinates=places)
    assert model.n_features_in_ == 5
    assert not hasattr(model, "grid")
    assert model.simulate([14.0, 2.5]).shape == (1, 240)


def test_wavevectors_of_a_path_are_coordinates(simulator):
    class PathGrid(SpectrumGrid):
        @property
        def wavevectors(self):
            return np.column_stack([self.q, 2 * self.q, 0 * self.q])

    class OnPath(Branch):
        def __init__(self):
            super().__init__()
            self.grid = PathGrid(self.grid.energy, self.grid.q)

    model = quick().fit_simulator(OnPath(), 5, bounds=BOUNDS)
    assert_allclose(
        model.ranges_, [[1, 6], [2, 12], [0, 0], [2, 28], [12, 18], [2, 3]], rtol=1e-6
    )


def test_parameters_are_drawn_about_the_reference(simulator):
    model = quick().fit_simulator(simulator, 5, spread=[0.2, 0.1])
    assert_allclose(model.bounds_, [[12.0, 2.25], [18.0, 2.75]])


def test_some_pixels_of_each_simulation(simulator):
    model = quick().fit_simulator(simulator, 40, bounds=BOUNDS, n_pixels=50)
    assert model.held_out_correlation_.shape == (4,)


def test_unstable_parameters_are_drawn_again():
    drawn = []

    class Recording(Unstable):
        def simulate(self, parameters):
            drawn.append(parameters)
            return super().simulate(parameters)

    quick().fit_simulator(Recording(), 50, bounds=BOUNDS)
    drawn = np.concatenate(drawn)
    assert len(drawn) == 50
    assert drawn[:, 0].max() < 14


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Deaf, "must be stable somewhere"),
        (Negative, "must not be negative"),
        (Gappy, "finite at the same pixels"),
    ],
)
def test_bad_simulations_are_refused(kind, message):
    with pytest.raises(ValueError, match=message):
        quick().fit_simulator(kind(), 20, bounds=BOUNDS)


@pytest.mark.parametrize("bounds", [[[1, 2]], [[18, 2], [12, 3]]])
def test_bad_bounds_are_refused(simulator, bounds):
    with pytest.raises(ValueError, match="bounds must hold least and largest"):
        quick().fit_simulator(simulator, 5, bounds=bounds)


def test_negative_intensities_need_a_linear_target(rows):
    X, y = rows
    y = y - 1
    with pytest.raises(ValueError, match="of 300 below zero"):
        quick().fit(X, y)
    settings = {"target": "linear", "max_epochs": 40, "batch_size": 32}
    assert quick(**settings).fit(X, y).score(X, y) > 0.95


def test_nan_is_refused(rows):
    X, y = rows
    y[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        quick().fit(X, y)


@pytest.mark.parametrize("omega_0", [None, 3.0])
def test_both_initialisations_learn(rows, omega_0):
    X, y = rows
    settings = {"omega_0": omega_0, "max_epochs": 60, "batch_size": 32}
    assert quick(**settings).fit(X, y).score(X, y) > 0.95


def test_first_weights_follow_sitzmann():
    network = SineNetwork((6, 64, 64, 1), 30.0, torch.Generator().manual_seed(0))
    first, second, _ = (layer.weight.abs().max().item() for layer in network.layers)
    assert_allclose([first, second], [30 / 6, (6 / 64) ** 0.5], rtol=0.03)
    x = 2 * torch.rand((4000, 6), generator=torch.Generator().manual_seed(1)) - 1
    spreads = []
    for layer in network.layers[:-1]:
        x = torch.sin(layer(x))
        spreads.append(x.std().item())
    # the sine of a widely spread number has this spread, in every layer
    assert_allclose(spreads, 0.5**0.5, atol=0.06)


def test_the_published_network_has_so_many_weights():
    network = SineNetwork((6, 64, 64, 64, 64, 64, 1), None, torch.Generator())
    assert sum(weights.numel() for weights in network.parameters()) == 17153


def test_unit_of_intensity(rows):
    X, y = rows
    plain = quick().fit(X, y).predict(X)
    assert_allclose(quick(unit=100.0).fit(X, 100 * y).predict(X), 100 * plain)


def test_ranges_may_be_given(rows):
    X, y = rows
    model = quick(ranges=[[-2, 2]] * 3, n_parameters=1).fit(X, y)
    assert_array_equal(model.ranges_, [[-2, 2]] * 3)
    assert_array_equal(model.reference, [0])
    with pytest.raises(ValueError, match="each of 3 columns"):
        quick(ranges=[[-2, 2]]).fit(X, y)
    with pytest.raises(ValueError, match="must not exceed the 3 columns"):
        quick(n_parameters=4).fit(X, y)


def test_columns_give_names(rows):
    pd = pytest.importorskip("pandas")
    X, y = rows
    frame = pd.DataFrame(X, columns=["h", "E", "J"])
    assert quick(n_parameters=1).fit(frame, y).parameter_names == ["J"]
    assert quick(n_parameters=1).fit(X, y).parameter_names == ["2"]
    with pytest.raises(AttributeError, match="only after fit_simulator"):
        quick(n_parameters=1).fit(X, y).simulate([0.0])


def test_partial_fit_learns_on(rows):
    X, y = rows
    model = quick(max_epochs=5, fine_tune_lr=1e-3, batch_size=32)
    before = model.fit(X, y).score(X, y)
    ranges = model.ranges_.copy()
    for _ in range(4):
        model.partial_fit(X, y)
    assert model.score(X, y) > before
    assert_array_equal(model.ranges_, ranges)
    assert len(model.history_) == 45
    with pytest.warns(ExtrapolationWarning, match="outside the training box"):
        model.partial_fit(3 * X, y)


def test_partial_fit_may_come_first(rows):
    assert_array_equal(
        quick().partial_fit(*rows).predict(rows[0]), quick().fit(*rows).predict(rows[0])
    )


def interrupt(monkeypatch):
    def raise_at_once(net, epoch, rate):
        raise KeyboardInterrupt

    monkeypatch.setattr(_training, "_epoch_record", raise_at_once)


def test_interruption_leaves_a_sane_state(rows, monkeypatch):
    X, y = rows
    model = quick().fit(X, y)
    before = model.predict(X)
    with monkeypatch.context() as patch:
        interrupt(patch)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(X, y)
        assert_array_equal(model.predict(X), before)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert_array_equal(model.fit(X, y).predict(X), before)


def test_early_stopping(rows):
    X, y = rows
    model = quick(patience=2, lr=1e-12, max_epochs=50).fit(X, y)
    assert len(model.history_) < 10


def test_warns_of_coordinates_outside(model):
    with pytest.warns(ExtrapolationWarning, match="1 of 2 rows .* by up to 50%") as log:
        model.simulate_at([[3.0, 10.0], [8.5, 10.0]], [14.0, 2.5])
    assert log[0].filename == __file__
    assert "coordinate 0 is 8.5, trained from 1 to 6" in str(log[0].message)


def test_warns_of_parameters_outside(model):
    calls = [
        lambda: model.simulate([14.0, 3.5]),
        lambda: model.jacobian([14.0, 3.5]),
        lambda: model.jacobian_at([[3.0, 10.0]], [14.0, 3.5]),
        lambda: model.predict([[3.0, 10.0, 14.0, 3.5]]),
        lambda: copy.deepcopy(model).partial_fit([[3.0, 10.0, 14.0, 3.5]], [1.0]),
    ]
    for call in calls:
        message = "by up to 50% .* parameter width is 3.5, trained from 2 to 3"
        with pytest.warns(ExtrapolationWarning, match=message) as log:
            call()
        assert log[0].filename == __file__


def test_warns_of_another_path():
    rng = np.random.default_rng(0)
    h = rng.uniform(0, 1, size=2000)
    X = np.column_stack([h, h, rng.uniform(20, 40, size=2000)])  # along (h, h)
    model = quick().fit(X, h)
    path = np.linspace(0, 1, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(np.column_stack([path, path, 20 + 20 * path]))
    with pytest.warns(ExtrapolationWarning, match="as on another path"):
        model.predict(np.column_stack([path, 1 - path, np.full(30, 30.0)]))


def test_pickles_and_files(model, new, tmp_path):
    expected = model.simulate(new[:2])
    assert_array_equal(pickle.loads(pickle.dumps(model)).simulate(new[:2]), expected)
    save_model(model, tmp_path / "model.skops")
    again = load_model(tmp_path / "model.skops")
    assert_array_equal(again.simulate(new[:2]), expected)
    assert_array_equal(again.grid.mask, model.grid.mask)


def test_global_generators_are_left_alone(rows):
    before = torch.random.get_rng_state()
    quick().fit(*rows)
    assert torch.equal(before, torch.random.get_rng_state())


def test_coordinates_need_the_columns_of_training(model):
    with pytest.raises(ValueError, match="must have 2 columns"):
        model.simulate_at([[1.0, 2.0, 3.0]], [14.0, 2.5])


def test_rounding_below_zero_is_zero():
    X = np.random.default_rng(0).uniform(size=(200, 2))
    y = X[:, 0]
    y[:20] = -1e-12
    quick((8,), max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="must not be negative"):
        quick((8,), max_epochs=1).fit(X, y - 1e-3)
