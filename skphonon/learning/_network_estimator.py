"""Estimators around a network: its trainer, fit, fine-tuning and pickles."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skphonon._validation import check_parts
from skphonon._versioned import VersionedEstimator
from skphonon._warnings import warn_user
from skphonon.learning._stored_nets import (
    all_or_nothing,
    net_from_arrays,
    net_to_arrays,
)
from skphonon.learning._training import (
    build_net,
    checkpoint_of,
    choose_device,
    hold_out,
    train,
)
from skphonon.learning.trainer import (
    MOVED,
    Trainer,
    as_trainer,
    check_trainer,
    settled,
    trainer_of,
)

__all__ = [
    "TRAINING",
    "NetworkEstimator",
    "NetworkRegressor",
    "raise_if",
    "standard_scale",
]

# constraints of the parameters that all of them have
TRAINING = {
    "trainer": [Trainer, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


class NetworkEstimator(VersionedEstimator):
    """Base of estimators with a net, `net_`, which pickles hold as arrays.

    Subclasses name the class of the network (`_network`) and give its loss (`_loss`).
    """

    _transient = ("net_",)
    _network: type[nn.Module]

    _moved_parameters = MOVED
    _shortcuts: ClassVar[Mapping[str, Callable[[Any], Any]]] = {"trainer": as_trainer}
    # what a trainer leaves open; subclasses add the rest
    _training_defaults: ClassVar[dict[str, Any]] = {
        "optimizer": "clipped-adam",
        "schedule": "cosine",
        "validation_fraction": 0.1,
        "fine_tune_epochs": 10,
        "fine_tune_lr": 1e-4,
    }

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __getstate__(self):
        state = super().__getstate__()
        if self.__sklearn_is_fitted__():
            state["_net_arrays"] = net_to_arrays(self.net_)
            state["history_"] = self.history_.to_dict("list")
        return state

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop("_net_arrays", None)
        if "trainer" not in state:  # saved when each setting was a parameter
            state["trainer"] = trainer_of(state, self._training_defaults)
        self._update(state)
        super().__setstate__(state)
        if "history_" in state:
            self.history_ = pd.DataFrame(state["history_"])
        if saved is not None:
            device = self._training().device
            self.net_ = net_from_arrays(saved, self._network, self._loss(), device)

    def _update(self, state):
        """Bring a state that was saved with other parameters to those of now."""

    def _loss(self):
        """Return a module from outputs and targets to the loss."""
        raise NotImplementedError

    def _jitter(self):
        """Return the spread of the noise on inputs in training, None for no noise."""
        return None

    def _training(self):
        """Return the trainer with every value settled."""
        return settled(self.trainer, self._trainer_defaults())

    def _trainer_defaults(self):
        """Return what a trainer leaves open."""
        return self._training_defaults

    def _forget(self):
        """Remove what was learnt; return the source of random numbers."""
        self._check_trainer()
        check_parts(self)
        for learnt in ("net_", "history_"):
            if hasattr(self, learnt):
                delattr(self, learnt)
        choose_device(self._training().device)  # fails before the work begins
        return check_random_state(self.random_state)

    def _check_trainer(self):
        if self.trainer is not None:
            check_trainer(self.trainer)

    def _hold_out(self, n_samples, generator):
        """Return indices of the samples to hold out."""
        return hold_out(n_samples, self._training().validation_fraction, generator)

    def _new_net(self, module, generator, noise_size=0):
        training = self._training()
        return build_net(
            module,
            self._loss(),
            optimizer=training.optimizer,
            weight_decay=training.weight_decay,
            device=choose_device(training.device),
            generator=generator,
            noise_size=noise_size,
            jitter=self._jitter(),
        )

    def _train(self, net, inputs, targets, held_out):
        """Train a new net; return Ctrl-C, for `raise_if` at the end of `fit`."""
        training = self._training()
        if self.random_state is None and checkpoint_of(training.callbacks or ()):
            warn_user(
                "A training with random_state=None cannot be resumed from its "
                "ResumableCheckpoint: another time it begins otherwise. Give a number.",
                UserWarning,
            )
        history, stopped = train(
            net,
            inputs,
            targets,
            epochs=training.max_epochs,
            batch_size=training.batch_size,
            lr=training.lr,
            schedule=training.schedule,
            held_out=held_out,
            patience=training.patience,
            callbacks=training.callbacks or (),
            verbose=self.verbose,
            name=type(self).__name__,
        )
        self.history_ = _table(history, "fit")
        return stopped

    def _fine_tune(self, net, inputs, targets):
        """Continue the training of a net; interrupted, leave it as it was."""
        self._check_trainer()
        training = self._training()
        net.criterion_ = self._loss()
        net.iterator_train__jitter = self._jitter()
        with all_or_nothing(net):
            history, stopped = train(
                net,
                inputs,
                targets,
                epochs=training.fine_tune_epochs,
                batch_size=training.batch_size,
                lr=training.fine_tune_lr,
                verbose=self.verbose,
                name=f"{type(self).__name__}, fine-tuning",
            )
            if stopped is not None:
                raise KeyboardInterrupt(
                    f"Stopped during partial_fit; {type(self).__name__} is as it was "
                    "before."
                )
        earlier = [self.history_] if hasattr(self, "history_") else []
        both = [*earlier, _table(history, "partial_fit")]
        self.history_ = pd.concat(both, ignore_index=True)
        self.net_ = net


class NetworkRegressor(MultiOutputMixin, RegressorMixin, NetworkEstimator):
    """Base of regressors with standard deviations, on standardised targets.

    Subclasses give both, in the unit of the targets and of shape (n_samples,
    n_targets), with `_predict_columns`.
    """

    def predict(self, X, return_std=False):
        """Predict targets, with their standard deviations if asked.

        Up to rounding, which numbers of threads and of rows change, the result of a row
        depends on that row alone.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows like those of `fit`.
        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predicted targets, float64.
        std : ndarray of the same shape
            Their standard deviations; only with ``return_std=True``.

        Raises
        ------
        ValueError
            If a row is none that `fit` would take.
        """
        check_is_fitted(self)
        y, std = self._predict_columns(X)
        return self._as_targets(y, std) if return_std else self._as_targets(y)

    def _as_targets(self, *columns):
        """Return columns in the shape of the targets of `fit`; several in a tuple."""
        shaped = tuple(each.ravel() if self._y_is_1d else each for each in columns)
        return shaped if len(shaped) > 1 else shaped[0]

    def _columns(self, y):
        """Return targets as float64 columns, and remember whether there was one."""
        self._y_is_1d = y.ndim == 1
        return y.reshape(len(y), -1).astype(np.float64)

    def _standardize_targets(self, y):
        return np.float32((y - self.y_mean_) / self.y_scale_)


def _table(history, phase):
    """Return the records of epochs as a table."""
    table = pd.DataFrame(history)
    table.insert(0, "phase", phase)
    return table


def raise_if(stopped):
    """Raise Ctrl-C that `_train` returned."""
    if stopped is not None:
        raise stopped


def standard_scale(values, more_variance=0.0):
    """Return mean and standard deviation of columns, 1 for constant ones."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = values.mean(axis=0, dtype=float)
        variance = values.var(axis=0, dtype=float) + more_variance
    if not np.isfinite(variance).all():
        raise ValueError(
            "Columns to learn from must have a finite variance, got values up to "
            f"{np.abs(values).max():.2g}. Bring them to a scale of about 1."
        )
    std = np.sqrt(np.where(variance > 0, variance, 1.0))
    return mean, std
