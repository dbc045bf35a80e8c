"""How the learning estimators train, pause and store their networks.

Estimators hold a skorch net and drive it from here, an epoch at a time: early
stopping is then a plain ``break``, and Ctrl-C reaches the user, which skorch's own
``fit`` swallows. Data stay in memory as tensors, since collating them sample by
sample costs more than the step itself. All random numbers come from one generator
that travels with the net; torch's global generators are never touched.
"""

import math
from contextlib import contextmanager

import numpy as np
import torch
from skorch import NeuralNet
from skorch.helper import predefined_split
from torch.utils.data import TensorDataset
from tqdm.auto import tqdm

from skphonon._versioned import VersionedEstimator

_FUSING = ("cpu", "cuda")  # devices where a step of the optimizer is one operation
WARM_UP = 0.1  # part of the epochs in which the cosine schedule rises
JITTER_LEVELS = (0.01, 1.0)
_MEMORY = (0.9, 0.99)  # betas of ClippedAdam
_STEEPEST = 1.0  # largest gradient, as a norm, of ClippedAdam


class ClippedAdam(torch.optim.Adam):
    """Adam for high learning rates: it sees steep places coming, and slows there.

    The scale of a weight's gradients is remembered over a hundred steps instead of a
    thousand, and a gradient longer than 1 is shortened to that.
    """

    def __init__(self, params, lr, **options):
        super().__init__(params, lr, betas=_MEMORY, **options)

    def step(self, closure):
        """Take a step; the closure computes gradients and returns the loss."""
        with torch.enable_grad():
            loss = closure()
        weights = [w for group in self.param_groups for w in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, _STEEPEST)
        super().step()
        return loss


OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "clipped-adam": ClippedAdam,
    "sgd": torch.optim.SGD,
}


class NetworkEstimator(VersionedEstimator):
    """Base of estimators with a net, `net_`, which is kept in files as arrays.

    Subclasses say of which class its module is (`_network`) and with which loss it is
    trained (`_loss`).
    """

    _transient = ("net_",)
    _network = None

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __getstate__(self):
        state = super().__getstate__()
        if self.__sklearn_is_fitted__():
            state["_net_arrays"] = net_to_arrays(self.net_)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        saved = vars(self).pop("_net_arrays", None)
        if saved is not None:
            self.net_ = net_from_arrays(saved, self._network, self._loss(), self.device)

    def _loss(self):
        """Return a module from outputs and targets to the loss."""
        raise NotImplementedError


class TensorBatches:
    """Batches of two tensors: ``({"x": inputs, "noise": noise}, targets)``.

    With a generator, samples come in a new order each time. `noise` is
    `noise_size` columns of standard normal numbers for the network to draw codes
    with, left out where that is 0. `jitter` displaces the inputs, so that the
    network also learns what lies beside the training set: by normal numbers of that
    standard deviation (one a column), times a level that is drawn for each sample
    from JITTER_LEVELS, evenly on a logarithmic scale. Random numbers are drawn on
    the CPU, so that a seed means the same on every device.
    """

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
    """Return `name`, or for "auto" the GPU where there is one.

    Raises
    ------
    ValueError
        If torch cannot use the device here.
    """
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
    momentum,
    device,
    generator,
    noise_size=0,
    jitter=None,
    weight_decay=None,
):
    """Return an initialized skorch net around a torch module.

    `optimizer` is a key of OPTIMIZERS; `momentum` is used by "sgd" alone; `generator`,
    `noise_size` and `jitter` are those of TensorBatches. `weight_decay` None is what
    the optimizer has.
    """
    options = {"optimizer__momentum": momentum} if optimizer == "sgd" else {}
    if weight_decay is not None:
        options["optimizer__weight_decay"] = weight_decay
    if torch.device(device).type in _FUSING:
        options["optimizer__fused"] = True
    net = NeuralNet(
        module,
        criterion,
        optimizer=OPTIMIZERS[optimizer],
        **options,
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
    learning_rate,
    schedule="constant",
    held_out=(),
    patience=None,
    tol=0.0,
    verbose=0,
    name="",
):
    """Train a net and leave it with its best weights.

    Parameters
    ----------
    net : NeuralNet
        What build_net returned; trained in place.
    X, y : ndarray of shape (n_samples, n_features) and (n_samples, n_outputs)
        Inputs and targets, float32.
    epochs, batch_size : int
        Passes through the data (at most), and samples a step.
    learning_rate : float
        Highest learning rate.
    schedule : {"constant", "cosine"}
        Course of the learning rate over the epochs.
    held_out : sequence of int
        Samples not to train on; the loss on them decides which weights are the
        best. Where there are none the last weights stay.
    patience : int or None
        Stop after so many epochs in which the held-out loss did not fall.
    tol : float
        Relative fall of the held-out loss that counts.
    verbose : int
        Whether to show a progress bar.
    name : str
        What the progress bar says.

    Returns
    -------
    list of dict
        Epoch, learning rate and losses of every epoch.

    Raises
    ------
    ValueError
        If the loss becomes infinite or NaN.
    """
    kept = np.setdiff1d(np.arange(len(X)), held_out)
    data = _dataset(X[kept], y[kept], net.device)
    net.batch_size = batch_size
    if len(held_out):
        validation = _dataset(X[held_out], y[held_out], net.device)
        net.train_split = predefined_split(validation)
    history, best, best_weights, waited = [], math.inf, None, 0
    with tqdm(range(epochs), desc=name, unit="epoch", disable=not verbose) as bar:
        for epoch in bar:
            net.set_params(lr=learning_rate * _pace(schedule, epoch, epochs))
            net.fit_loop(data, epochs=1)
            history.append(_epoch_record(net, epoch))
            bar.set_postfix(history[-1], refresh=False)
            if not len(held_out):
                continue
            loss = history[-1]["valid_loss"]
            waited = 0 if loss < best * (1 - tol) else waited + 1
            if loss < best:
                best, best_weights = loss, _copy_weights(net)
            if patience is not None and waited >= patience:
                break
    if best_weights is not None:
        net.module_.load_state_dict(best_weights)
    net.train_split = None  # do not keep the held-out data alive
    return history


def hold_out(n_samples, fraction, generator):
    """Return randomly chosen indices of `fraction` of the samples, rounded down."""
    order = torch.randperm(n_samples, generator=generator).numpy()
    return np.sort(order[: int(n_samples * (fraction or 0))])


@contextmanager
def all_or_nothing(net):
    """Put a net back as it was if what happens inside is interrupted or fails."""
    saved = net_to_arrays(net)
    try:
        yield
    except BaseException:
        _load_arrays(net, saved)
        raise


def layer_sizes(n_inputs, hidden_sizes, n_outputs):
    """Return the units of all layers, the hidden ones checked."""
    if min(hidden_sizes, default=1) < 1:
        raise ValueError(
            f"hidden_sizes must be positive numbers of units, got {hidden_sizes!r}."
        )
    return (n_inputs, *hidden_sizes, n_outputs)


def net_to_arrays(net):
    """Return a trained net as numpy arrays and plain Python objects."""
    return {
        "settings": net.module_.settings,
        "optimizer_name": next(k for k, v in OPTIMIZERS.items() if v is net.optimizer),
        "noise_size": net.iterator_train__noise_size,
        "generator": net.iterator_train__generator.get_state().numpy(),
        "weights": _to_arrays(net.module_.state_dict()),
        "optimizer": _to_arrays(net.optimizer_.state_dict()),
    }


def net_from_arrays(saved, module_class, criterion, device):
    """Return the net that net_to_arrays described, on the CPU if need be."""
    try:
        device = choose_device(device)
    except ValueError:
        device = "cpu"  # trained on a computer that has more
    generator = torch.Generator()
    _check_shapes(saved, module_class)
    net = build_net(
        module_class(**saved["settings"], generator=generator),
        criterion,
        optimizer=saved["optimizer_name"],
        momentum=0.0,  # the saved state of the optimizer brings its own
        device=device,
        generator=generator,
        noise_size=saved["noise_size"],
    )
    _load_arrays(net, saved)
    return net


def _check_shapes(saved, module_class):
    """Compare weights with settings, before there is memory for what those ask."""
    with torch.device("meta"):
        module = module_class(**saved["settings"], generator=torch.Generator())
    expected = {name: tuple(w.shape) for name, w in module.state_dict().items()}
    found = {name: np.shape(w) for name, w in saved["weights"].items()}
    if expected != found:
        name = next(n for n in {**expected, **found} if expected.get(n) != found.get(n))
        raise ValueError(
            f"The weights of a network must fit its settings; {name} must be of shape "
            f"{expected.get(name)}, got {found.get(name)}."
        )


def _load_arrays(net, saved):
    net.module_.load_state_dict(_to_tensors(saved["weights"]))
    net.optimizer_.load_state_dict(_to_tensors(saved["optimizer"]))
    net.iterator_train__generator.set_state(torch.tensor(saved["generator"]))


def _dataset(X, y, device):
    x, target = torch.as_tensor(X, device=device), torch.as_tensor(y, device=device)
    return TensorDataset(x, target)


def _pace(schedule, epoch, epochs):
    if schedule == "constant":
        return 1.0
    rise = min(1.0, (epoch + 1) / math.ceil(WARM_UP * epochs))
    return rise * (1 + math.cos(math.pi * epoch / epochs)) / 2


def _epoch_record(net, epoch):
    batches = net.history[-1]["batches"]
    net.history.clear()
    record = {"epoch": epoch + 1, "learning_rate": net.lr}
    for part in ("train", "valid"):
        losses = [b[f"{part}_loss"] for b in batches if f"{part}_loss" in b]
        sizes = [b[f"{part}_batch_size"] for b in batches if f"{part}_loss" in b]
        if losses:
            record[f"{part}_loss"] = float(np.average(losses, weights=sizes))
    if not math.isfinite(record["train_loss"]):
        raise ValueError(
            f"The training loss must stay finite, it became {record['train_loss']} "
            f"in epoch {epoch + 1} at a learning rate of {net.lr:g}. Lower the "
            "learning rate, or bring the data to a scale of about 1."
        )
    return record


def _copy_weights(net):
    return {name: w.clone() for name, w in net.module_.state_dict().items()}


def _to_arrays(tree):
    return _convert(tree, torch.Tensor, lambda t: t.detach().cpu().numpy().copy())


def _to_tensors(tree):
    return _convert(tree, np.ndarray, torch.tensor)


def _convert(tree, leaf, change):
    if isinstance(tree, leaf):
        return change(tree)
    if isinstance(tree, dict):
        return {key: _convert(value, leaf, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_convert(value, leaf, change) for value in tree]
    return tree
