"""Training of skorch nets: batches, optimizers, the device and the loop over epochs.

The loop trains one epoch at a time: early stopping is then a plain ``break``, and
Ctrl-C reaches the user, which skorch's own ``fit`` swallows. Callbacks of the user are
called as skorch calls them; without any, all of skorch's own are off. Data stay in
memory as tensors, since collating them sample by sample costs more than the step
itself. All random numbers come from one generator that belongs to the net; torch's
global generators are never touched.
"""

import copy
import dis
import logging
import math
from contextlib import contextmanager

import numpy as np
import torch
from skorch import NeuralNet
from skorch.helper import predefined_split
from torch.utils.data import TensorDataset
from tqdm.auto import tqdm

from skphonon.learning._checkpoints import (
    ResumableCheckpoint,
    identity_of,
    read_state,
    write_state,
)

__all__ = [
    "JITTER_LEVELS",
    "MOMENTUM",
    "OPTIMIZERS",
    "ClippedAdam",
    "TensorBatches",
    "build_net",
    "checkpoint_of",
    "choose_device",
    "hold_out",
    "new_generator",
    "train",
]

_log = logging.getLogger(__name__)

_FUSING = ("cpu", "cuda")  # devices where a step of the optimizer is one operation
_WARM_UP = 0.1  # part of the epochs in which the cosine schedule rises
JITTER_LEVELS = (0.01, 1.0)  # lowest and highest level of the noise on inputs
_BETAS = (0.9, 0.99)  # of ClippedAdam: gradients are averaged over a hundred steps
MOMENTUM = 0.9  # of "sgd"
_SMALLEST_FALL = 1e-4  # of the held-out loss that counts for `patience`, relative
_LARGEST_GRADIENT = 1.0  # norm to which ClippedAdam shortens a larger one


class ClippedAdam(torch.optim.Adam):
    """Adam that adapts faster to steep places and limits the norm of the gradient."""

    def __init__(self, params, lr, **options):
        super().__init__(params, lr, betas=_BETAS, **options)

    def step(self, closure=None):
        """Take a step; the closure computes gradients and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        weights = [w for group in self.param_groups for w in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, _LARGEST_GRADIENT)
        super().step()
        return loss


OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "clipped-adam": ClippedAdam,
    "sgd": torch.optim.SGD,
}
_USUAL = {"sgd": {"momentum": MOMENTUM}}


class TensorBatches:
    """Batches ``({"x": inputs, "noise": noise}, targets)`` of a dataset in memory."""

    # `noise` holds normal numbers to draw codes with, `noise_size` columns. `jitter` is
    # the standard deviation of noise added to each input, times a level drawn for each
    # sample: the network so learns what lies beside the training set, too. All is drawn
    # on the CPU, so that a seed means the same on every device.

    def __init__(self, dataset, batch_size, generator=None, noise_size=0, jitter=None):
        self.tensors = dataset.tensors
        self.batch_size = batch_size
        self.generator = generator
        self.noise_size = noise_size
        self.jitter = jitter

    def __iter__(self):
        """Yield the batches of one epoch."""
        x, y = self.tensors
        order = torch.arange(len(x))
        if self.generator is not None:
            order = torch.randperm(len(x), generator=self.generator)
        for chosen in order.split(self.batch_size):
            inputs = {"x": x[chosen]}
            if self.jitter is not None:
                inputs["x"] = inputs["x"] + self._displacements(len(chosen)).to(x)
            if self.noise_size:
                inputs["noise"] = self._normal(len(chosen), self.noise_size).to(x)
            yield inputs, y[chosen]

    def _normal(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def _displacements(self, n_samples):
        low, high = np.log(JITTER_LEVELS)
        level = torch.rand((n_samples, 1), generator=self.generator)
        level = torch.exp(low + (high - low) * level)
        spread = torch.as_tensor(self.jitter, dtype=torch.float32)
        return level * spread * self._normal(n_samples, len(spread))


def new_generator(random_state):
    """Return a torch generator seeded from a numpy RandomState."""
    return torch.Generator().manual_seed(int(random_state.randint(2**31)))


def choose_device(name):
    """Return `name`, if torch can use it, or for "auto" the GPU where there is one."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device must be one that torch can use on this computer, got {name!r} "
            f"({error}). Use device='cpu' or device='auto'."
        ) from error
    return name


def build_net(
    module,
    criterion,
    *,
    optimizer,
    device,
    generator,
    noise_size=0,
    jitter=None,
    weight_decay=None,
):
    """Return an initialised skorch net around a torch module, on batches in memory.

    The optimizer is a name in `OPTIMIZERS`, or makes one of weights.
    """
    options = {}
    if optimizer in OPTIMIZERS:
        options = dict(_USUAL.get(optimizer, {}))
        if torch.device(device).type in _FUSING:
            options["fused"] = True
    if weight_decay is not None:
        options["weight_decay"] = weight_decay
    net = NeuralNet(
        module,
        criterion,
        optimizer=OPTIMIZERS.get(optimizer, optimizer),
        **{f"optimizer__{name}": value for name, value in options.items()},
        iterator_train=TensorBatches,
        iterator_train__generator=generator,
        iterator_train__noise_size=noise_size,
        iterator_train__jitter=jitter,
        iterator_valid=TensorBatches,
        callbacks="disable",
        train_split=None,
        device=device,
        verbose=0,
    )
    return net.initialize()


def train(
    net,
    X,
    y,
    *,
    epochs,
    batch_size,
    lr,
    schedule="constant",
    held_out=(),
    patience=None,
    callbacks=(),
    verbose=0,
    name="",
):
    """Train a net, and leave it with its best weights.

    The best weights are those of the lowest loss on the samples `held_out`, which are
    not trained on; without these they are the last. Ctrl-C after an epoch or more
    leaves those so far.

    Returns
    -------
    history : list of dict
        The record of each epoch.
    interruption : KeyboardInterrupt or None
        Ctrl-C, to be raised when the estimator is complete.
    """
    identity, checkpoint = "", checkpoint_of(callbacks)
    if checkpoint is not None:
        asked = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
        asked |= {"schedule": schedule, "held_out": held_out, "patience": patience}
        identity = identity_of(net, X, y, **asked)
    kept = np.setdiff1d(np.arange(len(X)), held_out)
    data = _dataset(X[kept], y[kept], net.device)
    net.batch_size = batch_size
    if len(held_out):
        validation = _dataset(X[held_out], y[held_out], net.device)
        net.train_split = predefined_split(validation)
    course = _Course(net, len(held_out) > 0)
    if checkpoint is not None:
        course.resume(read_state(checkpoint, identity))
        if course.epoch:
            _log.info("%s goes on after epoch %d", name, course.epoch)
        else:  # a file that cannot be written is told before the work
            write_state(checkpoint, 0, identity, course.state())
    bar = tqdm(
        range(course.epoch, epochs),
        desc=name,
        unit="epoch",
        disable=not verbose,
        initial=course.epoch,
        total=epochs,
    )
    interruption = None
    with _listening(net, callbacks), bar:
        net.notify("on_train_begin", X=data, y=None)
        for epoch in bar:
            if patience is not None and course.waited >= patience:
                break
            if epoch == 0 or schedule != "constant":  # else a callback may change it
                net.set_params(lr=lr * _pace(schedule, epoch, epochs))
            rate = net.optimizer_.param_groups[0]["lr"]
            try:
                stopped = _train_epoch(net, data)
                course.record(_epoch_record(net, epoch, rate))
            except KeyboardInterrupt:
                if not course.history:
                    raise
                interruption = KeyboardInterrupt(
                    f"Stopped in epoch {epoch + 1} of {epochs}; {name} keeps "
                    f"{'its best' if len(held_out) else 'the'} weights so far."
                )
                break
            bar.set_postfix(course.history[-1], refresh=False)
            if checkpoint is not None:
                write_state(checkpoint, course.epoch, identity, course.state())
            if stopped:
                break
        if course.best_weights is not None:
            net.module_.load_state_dict(course.best_weights)
        net.notify("on_train_end", X=data, y=None)
    net.train_split = None  # do not keep the held-out data alive
    last = course.history[-1] if course.history else {}
    _log.info(
        "%s: epoch %d of %d, %s",
        name,
        course.epoch,
        epochs,
        ", ".join(f"{key} {last[key]:.4g}" for key in last if key != "epoch"),
    )
    return course.history, interruption


class _Course:
    """How far a training is, and the best of it."""

    def __init__(self, net, judged):
        self.net, self.judged, self.history = net, judged, []
        self.best, self.best_weights, self.waited = math.inf, None, 0

    @property
    def epoch(self):
        return len(self.history)

    def record(self, row):
        """Add the record of an epoch."""
        self.history.append(row)
        if not self.judged:
            return
        loss = row.get("valid_loss", math.inf)
        self.waited = 0 if loss < self.best * (1 - _SMALLEST_FALL) else self.waited + 1
        if loss < self.best:
            self.best, self.best_weights = loss, _copy_weights(self.net)

    def state(self):
        """Return all that goes on, as torch saves it."""
        return {
            "weights": self.net.module_.state_dict(),
            "optimizer": self.net.optimizer_.state_dict(),
            "generator": self.net.iterator_train__generator.get_state(),
            "history": self.history,
            "best": self.best,
            "best_weights": self.best_weights,
            "waited": self.waited,
        }

    def resume(self, state):
        """Go on from a state, if there is one."""
        if state is None:
            return
        self.net.module_.load_state_dict(state["weights"])
        self.net.optimizer_.load_state_dict(state["optimizer"])
        self.net.iterator_train__generator.set_state(state["generator"])
        self.history, self.best = state["history"], state["best"]
        self.best_weights, self.waited = state["best_weights"], state["waited"]


def checkpoint_of(callbacks):
    """Return the checkpoint to resume from among callbacks, or None."""
    inner = (each[1] if isinstance(each, tuple) else each for each in callbacks)
    return next((c for c in inner if isinstance(c, ResumableCheckpoint)), None)


@contextmanager
def _listening(net, callbacks):
    """Let a net call copies of callbacks, and in front those on which they rely."""
    if callbacks:
        net.callbacks = [_copied(each) for each in callbacks]
        net.initialize_callbacks()
    try:
        yield
    finally:
        net.callbacks, net.callbacks_ = "disable", []
        net.history.clear()


def _copied(callback):
    """Return a shallow copy of a callback, or of a pair of its name and itself."""
    if isinstance(callback, tuple):
        return callback[0], copy.copy(callback[1])
    return copy.copy(callback)


def _train_epoch(net, data):
    """Train for an epoch; tell whether a callback asked to stop."""
    try:
        net.fit_loop(data, epochs=1)
    except KeyboardInterrupt as error:
        if net.callbacks_ and _is_raised_by_python(error):
            return True
        raise
    return False


def _is_raised_by_python(error):
    """Tell a statement `raise`, as in EarlyStopping, from Ctrl-C, which has none."""
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code.co_code
    return code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def hold_out(n_samples, fraction, generator):
    """Return randomly chosen indices of `fraction` of the samples, rounded down."""
    order = torch.randperm(n_samples, generator=generator).numpy()
    return np.sort(order[: int(n_samples * (fraction or 0))])


def _dataset(X, y, device):
    x, target = torch.as_tensor(X, device=device), torch.as_tensor(y, device=device)
    return TensorDataset(x, target)


def _pace(schedule, epoch, epochs):
    if schedule == "constant":
        return 1.0
    rise = min(1.0, (epoch + 1) / math.ceil(_WARM_UP * epochs))
    return rise * (1 + math.cos(math.pi * epoch / epochs)) / 2


def _epoch_record(net, epoch, rate):
    row = net.history[-1]
    batches = row["batches"]
    if not net.callbacks_:
        net.history.clear()
    record = {"epoch": epoch + 1, "learning_rate": rate}
    for part in ("train", "valid"):
        losses = [b[f"{part}_loss"] for b in batches if f"{part}_loss" in b]
        sizes = [b[f"{part}_batch_size"] for b in batches if f"{part}_loss" in b]
        if losses:
            record[f"{part}_loss"] = float(np.average(losses, weights=sizes))
            if not math.isfinite(record[f"{part}_loss"]):
                kind = {"train": "training loss", "valid": "held-out loss"}[part]
                raise ValueError(
                    f"The {kind} must stay finite, it became {record[f'{part}_loss']} "
                    f"in epoch {epoch + 1} at a learning rate of {rate:g}. Lower the "
                    "learning rate, or bring the data to a scale of about 1."
                )
    return {**record, **_scores(row), **record} if net.callbacks_ else record


def _scores(row):
    """Return the numbers that callbacks recorded of an epoch."""
    return {
        name: float(value)
        for name, value in row.items()
        if type(value) in (int, float) or isinstance(value, np.number)
        if name not in ("epoch", "dur") and not name.endswith("_batch_count")
        if not name.startswith("event_")
    }


def _copy_weights(net):
    return {name: w.clone() for name, w in net.module_.state_dict().items()}
