"""Trained nets as numpy arrays and plain Python objects, which load on any device."""

from contextlib import contextmanager

import numpy as np
import torch

from skphonon.learning._training import OPTIMIZERS, build_net, choose_device

__all__ = ["all_or_nothing", "net_from_arrays", "net_to_arrays"]


@contextmanager
def all_or_nothing(net):
    """Restore a net if the block is interrupted or fails."""
    saved = net_to_arrays(net)
    try:
        yield
    except BaseException:
        _load_arrays(net, saved)
        raise


def net_to_arrays(net):
    """Return a trained net as numpy arrays and plain Python objects."""
    names = {optimizer: name for name, optimizer in OPTIMIZERS.items()}
    return {
        "settings": net.module_.settings,
        "optimizer_name": names.get(net.optimizer, net.optimizer),
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
