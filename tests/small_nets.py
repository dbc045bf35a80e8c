"""A small net and data for it, for tests of training and of storage."""

import numpy as np
import torch
from torch import nn

from skphonon.learning import Trainer
from skphonon.learning._networks import DenseNetwork
from skphonon.learning._training import build_net


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def with_trainer(settings):
    """Return settings of an estimator, those of training in a Trainer."""
    names = Trainer().get_params()
    training = {name: value for name, value in settings.items() if name in names}
    others = {name: value for name, value in settings.items() if name not in names}
    return {**others, "trainer": Trainer(**training)} if training else others


def samples():
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    return x, np.tanh(x @ np.float32([[1.0], [-2.0], [0.5]]))


def dense_net(optimizer="adam"):
    return build_net(
        DenseNetwork((3, 8, 1), generator()),
        nn.MSELoss(),
        optimizer=optimizer,
        device="cpu",
        generator=generator(1),
        noise_size=0,
    )


def outputs(net, x):
    with torch.inference_mode():
        return net.module_(torch.as_tensor(x)).numpy()
