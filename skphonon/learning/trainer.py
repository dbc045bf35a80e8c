"""Settings of training that travel together: one small estimator with a name.

Names are those of skorch, in whose loop the networks are trained.
"""

import numbers
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from skorch.callbacks import Callback, LRScheduler

from skphonon._validation import (
    Interval,
    StrOptions,
    at_least,
    check_parameters,
    positive,
)
from skphonon._versioned import VersionedEstimator
from skphonon.learning._training import MOMENTUM, OPTIMIZERS

__all__ = ["Trainer", "as_trainer"]

_RENAMED = {
    name: name
    for name in (
        "optimizer", "schedule", "batch_size", "max_epochs", "validation_fraction",
        "patience", "weight_decay", "fine_tune_epochs", "device",
    )
} | {"learning_rate": "lr", "fine_tune_learning_rate": "fine_tune_lr"}  # fmt: skip
_GONE = {
    "momentum": (
        f'leave it out, since optimizer="sgd" has {MOMENTUM}, or give '
        "trainer=Trainer(optimizer=partial(torch.optim.SGD, momentum=...))"
    ),
    "tol": "leave it out, since a fall of the loss counts for patience from 1e-4 of it",
}
# what to do instead of each parameter that estimators had in 0.1
MOVED = {
    old: f"give trainer=Trainer({new}=...), or trainer__{new} to set_params"
    for old, new in _RENAMED.items()
} | _GONE
MOVED["validation_fraction"] += "; 0, not None, holds nothing out"


class Trainer(VersionedEstimator):
    """Settings of the training of a network.

    Everything that trains a network takes one as `trainer`. What is None
    here is the estimator's own default, which its documentation states: so
    ``Trainer(max_epochs=5)`` changes the number of epochs and nothing else. In searches
    and `set_params` the values go by names such as ``trainer__lr``.

    Training goes through the data once an epoch, in batches of a random order. A part
    of the samples is held out, and the weights with the lowest loss on these are kept.

    Parameters
    ----------
    max_epochs : int, default=None
        Passes through the data in `fit`, at most.
    lr : float, default=None
        Highest learning rate in `fit`.
    batch_size : int, default=None
        Samples in a step.
    optimizer : str, optimizer class or functools.partial, default=None
        Rule of the steps: "clipped-adam" is Adam that adapts ten times faster to steep
        places and shortens gradients longer than 1; plain "adam" may diverge at high
        learning rates; "adamw" is Adam with decay of the weights; "sgd" is gradient
        descent with a momentum of 0.9. Or a class of ``torch.optim`` or of your own,
        or a :class:`functools.partial` of one. These can be pickled, if they are of a
        module, but :func:`~skphonon.persistence.save_model` refuses them.
    weight_decay : float, default=None
        Decay of the weights, as the optimizer defines it. None: the default of the
        estimator with an optimizer that is given by name, else that of the optimizer.
    schedule : {"cosine", "constant"}, default=None
        Course of the learning rate in `fit`: a short rise, then half a cosine down to
        zero at `max_epochs`, or no change. None: "cosine", but "constant" with an
        ``LRScheduler`` in `callbacks`.
    validation_fraction : float, default=None
        Part of the samples, chosen at random, that `fit` holds out. 0: train on all and
        keep the last weights. None: 0.1.
    patience : int, default=None
        Epochs without a fall of the held-out loss (by 1e-4 of it, or more) after which
        `fit` stops, which cuts a cosine short. None: never.
    callbacks : list of skorch.callbacks.Callback, default=None
        Callbacks of `fit`, or pairs of a name and a callback: ``EarlyStopping``,
        ``LRScheduler``, ``Checkpoint``, ``EpochScoring``, ``ProgressBar``, or your own.
        Each `fit` works with shallow copies of them. A callback stops the training by
        raising KeyboardInterrupt, as ``EarlyStopping`` does; Ctrl-C still interrupts
        `fit`, which keeps the best weights so far. With a
        :class:`~skphonon.learning.ResumableCheckpoint` a training that was killed goes
        on. Scores that they record are in `history_`. Further training by
        `partial_fit` does without them.
    device : str, default="cpu"
        Device of torch: "cpu", "cuda", or "auto" for a GPU where there is one. A model
        saved on a GPU loads on the CPU where there is none.
    fine_tune_epochs : int, default=None
        Passes through the data in `partial_fit`, which holds nothing out. None: 10, and
        5 for SpectrumRegressor. ForceConstantRegressor has no `partial_fit`.
    fine_tune_lr : float, default=None
        Learning rate in `partial_fit`, constant. None: 1e-4.

    Examples
    --------
    >>> from skphonon.learning import Trainer, VAEFeatureExtractor
    >>> extractor = VAEFeatureExtractor(3, trainer=Trainer(max_epochs=5))
    >>> extractor.set_params(trainer__lr=0.01)
    VAEFeatureExtractor(n_components=3, trainer=Trainer(lr=0.01, max_epochs=5))
    """

    _parameter_constraints = {
        "max_epochs": [at_least(1), None],
        "lr": [positive(), None],
        "batch_size": [at_least(1), None],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable, None],
        "weight_decay": [at_least(0, numbers.Real), None],
        "schedule": [StrOptions({"cosine", "constant"}), None],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="left"), None],
        "patience": [at_least(1), None],
        "callbacks": [list, tuple, None],
        "device": [str],
        "fine_tune_epochs": [at_least(1), None],
        "fine_tune_lr": [positive(), None],
    }
    _moved_parameters = {
        "learning_rate": "give lr=...",
        "fine_tune_learning_rate": "give fine_tune_lr=...",
        **{name: advice.replace("trainer=Trainer(", "Trainer(")
           for name, advice in _GONE.items()},
    }  # fmt: skip

    def __init__(
        self,
        *,
        max_epochs=None,
        lr=None,
        batch_size=None,
        optimizer=None,
        weight_decay=None,
        schedule=None,
        validation_fraction=None,
        patience=None,
        callbacks=None,
        device="cpu",
        fine_tune_epochs=None,
        fine_tune_lr=None,
    ):
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.callbacks = callbacks
        self.device = device
        self.fine_tune_epochs = fine_tune_epochs
        self.fine_tune_lr = fine_tune_lr


def as_trainer(given: Trainer | None) -> Trainer:
    """Return what the value of `trainer` stands for."""
    return Trainer() if given is None else given


def check_trainer(trainer: Trainer) -> None:
    """Raise a ValueError or TypeError that says what is wrong with a trainer."""
    check_parameters(trainer)
    if not (trainer.optimizer is None or isinstance(trainer.optimizer, str)):
        _check_optimizer(trainer.optimizer)
    schedules = False
    for each in trainer.callbacks or ():
        callback = each[1] if isinstance(each, tuple) and len(each) == 2 else each
        if not isinstance(callback, Callback):
            raise TypeError(
                "callbacks of Trainer must be callbacks of skorch, or pairs of a name "
                f"and a callback, got {each!r}. Make one, such as EarlyStopping()."
            )
        schedules = schedules or isinstance(callback, LRScheduler)
    if schedules and trainer.schedule == "cosine":
        raise ValueError(
            "The learning rate must follow one schedule, got schedule='cosine' and an "
            "LRScheduler. Leave out one of them."
        )


def settled(trainer: Trainer | None, defaults: Mapping[str, Any]) -> Trainer:
    """Return a trainer of which nothing is left open."""
    given = as_trainer(trainer)
    values = given.get_params(deep=False)
    defaults = dict(defaults)
    if not (given.optimizer is None or isinstance(given.optimizer, str)):
        defaults["weight_decay"] = None  # of the optimizer
    callbacks = [c[1] if isinstance(c, tuple) else c for c in given.callbacks or ()]
    if any(isinstance(callback, LRScheduler) for callback in callbacks):
        defaults["schedule"] = "constant"
    chosen = {k: defaults.get(k) if v is None else v for k, v in values.items()}
    return Trainer(**chosen)


def trainer_of(state: dict[str, Any], defaults: Mapping[str, Any]) -> Trainer | None:
    """Take the parameters of 0.1 out of a saved state; return a trainer with them."""
    held = {new: state.pop(old) for old, new in _RENAMED.items() if old in state}
    momentum = state.pop("momentum", MOMENTUM)
    state.pop("tol", None)
    if held.get("optimizer") == "sgd" and momentum != MOMENTUM:
        held["optimizer"] = partial(torch.optim.SGD, momentum=momentum)
    if "validation_fraction" in held:
        held["validation_fraction"] = held["validation_fraction"] or 0.0
    usual = {**Trainer().get_params(), **defaults}
    changed = {name: each for name, each in held.items() if each != usual[name]}
    return Trainer(**changed) if changed else None


def _check_optimizer(optimizer):
    cls = optimizer
    while isinstance(cls, partial):
        cls = cls.func
    if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)):
        raise TypeError(
            f"optimizer of Trainer must be one of {', '.join(sorted(OPTIMIZERS))}, a "
            "class of torch optimizers or a functools.partial of one, got "
            f"{optimizer!r}."
        )
