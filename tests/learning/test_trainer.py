"""Settings of training in one object: values, defaults, old spellings, callbacks."""

import copy
import os
import pickle
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
    ProgressBar,
)

from skphonon.learning import (
    AEFeatureExtractor,
    Augmentation,
    Dense,
    ForceConstantRegressor,
    ImplicitSpectrumModel,
    SpectrumRegressor,
    Trainer,
    VAEFeatureExtractor,
)
from skphonon.learning.trainer import MOVED
from skphonon.persistence import save_model

ESTIMATORS = [
    AEFeatureExtractor,
    ForceConstantRegressor,
    ImplicitSpectrumModel,
    SpectrumRegressor,
    VAEFeatureExtractor,
]


def small(**training):
    trainer = Trainer(**{"max_epochs": 3, "lr": 0.01} | training)
    return VAEFeatureExtractor(2, network=Dense(5), trainer=trainer, random_state=0)


@pytest.fixture(scope="module")
def y():
    return np.random.default_rng(0).uniform(-1, 1, size=(80, 1))


@pytest.fixture(scope="module")
def X(y):
    return np.exp(-4 * (np.linspace(-2, 2, 20) - y) ** 2)


# Values


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_epochs": 0}, "'max_epochs' parameter of Trainer must be an int"),
        ({"lr": -1.0}, "'lr' parameter of Trainer must be a float"),
        ({"validation_fraction": 1.0}, r"in the range \[0.0, 1.0\)"),
        ({"schedule": "steps"}, "among {'c"),
        ({"optimizer": "newton"}, "'optimizer' parameter of Trainer must be a str"),
        ({"device": "abacus"}, "device must be one that torch can use"),
        ({"schedule": "cosine", "callbacks": [LRScheduler()]}, "one schedule"),
    ],
)
def test_bad_values_are_refused(X, setting, message):
    with pytest.raises(ValueError, match=message):
        small(**setting).fit(X)
    with pytest.raises(ValueError, match=message):
        small(**setting).partial_fit(X)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"optimizer": dict}, "optimizer of Trainer must be one of adam, .*'dict'"),
        ({"optimizer": partial(int, base=3)}, "class of torch optimizers"),
        ({"callbacks": ["EarlyStopping"]}, r"such as EarlyStopping\(\)"),
        ({"callbacks": [EarlyStopping]}, r"such as EarlyStopping\(\)"),
    ],
)
def test_other_kinds_of_things_are_refused(X, setting, message):
    with pytest.raises(TypeError, match=message):
        small(**setting).fit(X)


def test_a_trainer_is_a_trainer(X):
    with pytest.raises(ValueError, match="'trainer' parameter of VAEFeatureExtractor"):
        VAEFeatureExtractor(2, trainer={"max_epochs": 3}).fit(X)


def test_what_is_none_is_the_default_of_the_estimator(X, y):
    usual = ForceConstantRegressor((5,), random_state=0).fit(X, y)
    stated = Trainer(
        max_epochs=100, lr=1e-3, batch_size=128, optimizer="adam", schedule="cosine",
        validation_fraction=0.1,
    )  # fmt: skip
    for trainer in (Trainer(), stated):
        regressor = ForceConstantRegressor((5,), trainer=trainer, random_state=0)
        assert_array_equal(regressor.fit(X, y).predict(X), usual.predict(X))
        assert regressor.history_.equals(usual.history_)


@pytest.mark.parametrize(
    "optimizer",
    [torch.optim.SGD, partial(torch.optim.SGD, momentum=0.9), torch.optim.RMSprop],
)
def test_optimizers_of_torch(X, optimizer, tmp_path):
    model = small(optimizer=optimizer, schedule="constant").fit(X)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.transform(X), model.transform(X))
    # the state of the optimizer comes along
    assert_array_equal(
        loaded.partial_fit(X).transform(X), model.partial_fit(X).transform(X)
    )
    with pytest.raises(TypeError, match=r"trainer\.optimizer is a"):
        save_model(model, tmp_path / "model.skops")


def test_sgd_has_momentum(X):
    named = small(optimizer="sgd").fit(X)
    made = small(optimizer=partial(torch.optim.SGD, momentum=0.9)).fit(X)
    assert_allclose(named.transform(X), made.transform(X), rtol=1e-5)
    plain = small(optimizer=torch.optim.SGD).fit(X)
    assert not np.allclose(plain.transform(X), named.transform(X), rtol=1e-3)


def test_weight_decay_of_an_optimizer_is_its_own(X, y):
    """The default of SpectrumRegressor is for the optimizers that have names."""
    found = []
    for optimizer in ("sgd", partial(torch.optim.SGD, weight_decay=0.3)):
        regressor = SpectrumRegressor(
            4, hidden_sizes=(5,), n_networks=1, augmentation=Augmentation(n_views=1),
            trainer=Trainer(max_epochs=1, optimizer=optimizer),
        ).fit(X, y)  # fmt: skip
        found.append(regressor.net_.optimizer_.param_groups[0]["weight_decay"])
    assert found == [1.0, 0.3]


# Names


def test_settings_of_the_default_trainer_can_be_set(X, y):
    model = VAEFeatureExtractor(2)
    assert model.get_params()["trainer__lr"] is None
    assert model.get_params(deep=False)["trainer"] is None
    model.set_params(trainer__lr=0.1)
    assert repr(model.trainer) == "Trainer(lr=0.1)"
    assert clone(model).get_params()["trainer__lr"] == 0.1
    model.set_params(trainer=None, trainer__max_epochs=2)
    assert repr(model.trainer) == "Trainer(max_epochs=2)"
    assert VAEFeatureExtractor().trainer is None


@pytest.mark.parametrize("trainer", [None, Trainer(max_epochs=100)])
def test_learning_rates_are_searched_over(X, y, trainer):
    pipeline = make_pipeline(
        VAEFeatureExtractor(2, network=Dense(20), trainer=trainer, random_state=0),
        Ridge(),
    )
    grid = {"vaefeatureextractor__trainer__lr": [1e-9, 0.01]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_params_ == {"vaefeatureextractor__trainer__lr": 0.01}
    assert pipeline[0].trainer is trainer
    assert trainer is None or trainer.lr is None


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_old_parameters_tell_the_new_ones(cls):
    advice = "give trainer=Trainer"
    with pytest.raises(
        TypeError, match=rf"{cls.__name__} has no max_epochs .*{advice}"
    ):
        cls(max_epochs=3)
    both = r"has no learning_rate .*Trainer\(lr=.*has no tol any more: leave it out"
    with pytest.raises(TypeError, match=both):
        cls(learning_rate=0.1, tol=0.1)
    with pytest.raises(
        ValueError, match=r"fine_tune_learning_rate .*trainer__fine_tune_"
    ):
        cls().set_params(fine_tune_learning_rate=0.1)
    with pytest.raises(TypeError, match="0, not None, holds nothing out"):
        cls(validation_fraction=None)
    with pytest.raises(TypeError, match="unexpected keyword argument 'epochs'"):
        cls(epochs=3)


def test_old_names_of_the_trainer_tell_the_new_ones():
    with pytest.raises(
        TypeError, match=r"Trainer has no learning_rate .*give lr=\.\.\."
    ):
        Trainer(learning_rate=0.1)


def test_subclasses_may_use_an_old_name_of_their_own():
    class Older(VAEFeatureExtractor):
        def __init__(self, n_components=2, *, max_epochs=7):
            super().__init__(n_components, trainer=Trainer(max_epochs=max_epochs))
            self.max_epochs = max_epochs

    assert Older(max_epochs=9).trainer.max_epochs == 9
    assert Older().set_params(max_epochs=5).max_epochs == 5


def test_the_documentation_lists_what_moved():
    page = (Path(__file__).parents[2] / "docs" / "from_0_1.rst").read_text()
    rows = dict(
        row.split("\n     - ")
        for row in page.partition("Training\n--------")[2].split("\n   * - ")[1:]
    )
    for old, advice in MOVED.items():
        new = rows[f"``{old}``"]
        if "trainer__" in advice:
            assert f"``{advice.split()[1].rstrip(',')}``" in new
        else:
            assert "trainer__" not in new


# Callbacks


class Recorder(Callback):
    """Write down what it is told of."""

    def __init__(self):
        self.heard = []

    def on_train_begin(self, net, **options):
        self.heard.append("train begins")

    def on_epoch_end(self, net, **options):
        self.heard.append(net.history[-1, "valid_loss"])

    def on_train_end(self, net, **options):
        self.heard.append("train ends")


def test_callbacks_hear_of_training_and_change_nothing(X):
    recorder = Recorder()
    with_it, without = small(callbacks=[recorder]).fit(X), small().fit(X)
    losses = without.history_["valid_loss"]
    begin, *heard, end = recorder.heard
    assert (begin, end) == ("train begins", "train ends")
    assert_allclose(heard, losses, rtol=1e-6)
    assert_array_equal(with_it.transform(X), without.transform(X))
    assert with_it.history_.equals(without.history_)
    with_it.partial_fit(X)
    assert recorder.heard == [begin, *heard, end]


def test_early_stopping_stops_and_leaves_a_fitted_estimator(X):
    stopping = EarlyStopping(patience=2, threshold=0.9)
    before = vars(stopping).copy()
    model = small(max_epochs=50, callbacks=[("stop", stopping)]).fit(X)
    assert len(model.history_) == 3
    assert model.transform(X).shape == (80, 2)
    assert vars(stopping) == before
    again = clone(model).fit(X)
    assert_array_equal(again.transform(X), model.transform(X))
    pickle.loads(pickle.dumps(model)).transform(X)


class Interrupting(Callback):
    """Press Ctrl-C in an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, **options):
        if len(net.history) == self.epoch:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def listening():
    """Processes in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_the_first_epoch_leaves_an_unfitted_estimator(X, listening):
    model = small(callbacks=[Interrupting(1)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert not hasattr(model, "net_")


@pytest.mark.parametrize("fraction", [0.0, 0.2])
def test_ctrl_c_keeps_the_weights_so_far(X, listening, fraction):
    settings = {"max_epochs": 9, "schedule": "constant"}
    settings["validation_fraction"] = fraction
    model = small(callbacks=[Interrupting(4)], **settings)
    which = "its best" if fraction else "the"
    with pytest.raises(KeyboardInterrupt, match=f"epoch 4 of 9; VAE.* keeps {which}"):
        model.fit(X)
    assert len(model.history_) == 3
    if fraction:
        shorter = small(**{**settings, "max_epochs": 3}).fit(X)
        assert_array_equal(model.transform(X), shorter.transform(X))
    pickle.loads(pickle.dumps(model)).partial_fit(X)


def test_ctrl_c_in_partial_fit_undoes_it_and_says_so(X, monkeypatch):
    def interrupt(net, epoch, rate):
        if epoch == 2:
            raise KeyboardInterrupt
        return {"epoch": epoch + 1, "learning_rate": rate, "train_loss": 1.0}

    model = small().fit(X)
    codes = model.transform(X)
    monkeypatch.setattr("skphonon.learning._training._epoch_record", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"partial_fit; VAE.* is as it was"):
        model.partial_fit(X)
    assert_array_equal(model.transform(X), codes)


def test_ctrl_c_keeps_a_regressor_and_a_surrogate(X, y, listening):
    trainer = Trainer(max_epochs=4, callbacks=[Interrupting(3)])
    for model in (
        ForceConstantRegressor(trainer=trainer, random_state=0),
        ImplicitSpectrumModel((4,), target="linear", trainer=trainer, random_state=0),
    ):
        with pytest.raises(KeyboardInterrupt, match="epoch 3 of 4"):
            model.fit(X, y[:, 0])
        assert np.isfinite(model.predict(X)).all()
        assert len(model.history_) == 2


def test_schedules_of_the_user(X):
    steps = LRScheduler("StepLR", step_size=2, gamma=0.1)
    model = small(max_epochs=6, callbacks=[steps]).fit(X)
    rates = model.history_["learning_rate"]
    assert_allclose(rates, [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])
    model.partial_fit(X)  # at its own learning rate
    assert model.history_["learning_rate"].iloc[-1] == 1e-4


def test_scores_of_callbacks_are_in_the_history(X):
    score = EpochScoring("neg_mean_squared_error", lower_is_better=False, name="score")
    model = small(callbacks=[score]).fit(X)
    scores = model.history_["score"]
    # the loss of a VAE is little more than the mean square error
    losses = model.history_["valid_loss"]
    assert_allclose(scores, np.negative(losses), rtol=1e-3)


def test_checkpoints_are_written(X, tmp_path):
    saving = Checkpoint(dirname=tmp_path, load_best=True)
    model = small(max_epochs=5, callbacks=[saving]).fit(X)
    assert {"params.pt", "optimizer.pt", "history.json"} <= {*os.listdir(tmp_path)}
    saved = torch.load(tmp_path / "params.pt")
    for name, weights in model.net_.module_.state_dict().items():
        assert torch.equal(weights, saved[name])
    assert_array_equal(model.transform(X), small(max_epochs=5).fit(X).transform(X))


def test_a_progress_bar_is_shown(X, capsys):
    small(callbacks=[ProgressBar()]).fit(X)
    assert "it/s" in "".join(capsys.readouterr())


def test_models_with_callbacks_are_copied(X):
    model = small(callbacks=[EarlyStopping()]).fit(X)
    copied = copy.deepcopy(model)
    assert_array_equal(copied.transform(X), model.transform(X))
    assert copied.trainer.callbacks[0] is not model.trainer.callbacks[0]
