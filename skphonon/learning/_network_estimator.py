"""Estimators around a network: parameters of training, fit, fine-tuning and pickles."""

import numbers

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skphonon._validation import Interval, StrOptions, at_least, positive
from skphonon._versioned import VersionedEstimator
from skphonon.learning._stored_nets import (
    all_or_nothing,
    net_from_arrays,
    net_to_arrays,
)
from skphonon.learning._training import OPTIMIZERS, build_net, choose_device, train

__all__ = [
    "FINE_TUNING",
    "STEPS",
    "STOPPING",
    "TRAINING",
    "NetworkEstimator",
    "NetworkRegressor",
    "standard_scale",
]

# constraints of the parameters that several estimators have
TRAINING = {
    "learning_rate": [positive()],
    "batch_size": [at_least(1)],
    "max_epochs": [at_least(1)],
    "validation_fraction": [Interval(numbers.Real, 0, 1, closed="left"), None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
STOPPING = {
    "patience": [at_least(1), None],
    "tol": [at_least(0, numbers.Real)],
}
STEPS = {
    "optimizer": [StrOptions(set(OPTIMIZERS))],
    "momentum": [Interval(numbers.Real, 0, 1, closed="left")],
    "schedule": [StrOptions({"cosine", "constant"})],
}
FINE_TUNING = {
    "fine_tune_epochs": [at_least(1)],
    "fine_tune_learning_rate": [positive()],
}


class NetworkEstimator(VersionedEstimator):
    """Base of estimators with a net, `net_`, which pickles hold as arrays.

    Subclasses name the class of the network (`_network`) and give its loss (`_loss`).
    """

    _transient = ("net_",)
    _network: type[nn.Module]

    # of subclasses that do not have them as parameters
    optimizer = "clipped-adam"
    momentum = 0.0
    weight_decay: float | None = None
    schedule = "cosine"
    patience: int | None = None
    tol = 0.0
    device = "cpu"

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __getstate__(self):
        state = super().__getstate__()
        if self.__sklearn_is_fitted__():
            state["_net_arrays"] = net_to_arrays(self.net_)
        return state

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop("_net_arrays", None)
        super().__setstate__(state)
        if saved is not None:
            self.net_ = net_from_arrays(saved, self._network, self._loss(), self.device)

    def _loss(self):
        """Return a module from outputs and targets to the loss."""
        raise NotImplementedError

    def _jitter(self):
        """Return the spread of the noise on inputs in training, None for no noise."""
        return None

    def _forget(self):
        """Remove what was learnt; return the source of random numbers."""
        for learnt in ("net_", "history_"):
            if hasattr(self, learnt):
                delattr(self, learnt)
        choose_device(self.device)  # fails before the work begins
        return check_random_state(self.random_state)

    def _new_net(self, module, generator, noise_size=0):
        return build_net(
            module,
            self._loss(),
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            device=choose_device(self.device),
            generator=generator,
            noise_size=noise_size,
            jitter=self._jitter(),
        )

    def _train(self, net, inputs, targets, held_out):
        """Train a new net."""
        self.history_ = train(
            net,
            inputs,
            targets,
            epochs=self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            held_out=held_out,
            patience=self.patience,
            tol=self.tol,
            verbose=self.verbose,
            name=type(self).__name__,
        )

    def _fine_tune(self, net, inputs, targets):
        """Continue the training of a net; interrupted, leave it as it was."""
        net.criterion_ = self._loss()
        net.iterator_train__jitter = self._jitter()
        with all_or_nothing(net):
            history = train(
                net,
                inputs,
                targets,
                epochs=self.fine_tune_epochs,
                batch_size=self.batch_size,
                learning_rate=self.fine_tune_learning_rate,
                verbose=self.verbose,
                name=f"{type(self).__name__}, fine-tuning",
            )
        self.history_ = [*getattr(self, "history_", []), *history]
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
