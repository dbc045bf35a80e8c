"""Nets as arrays: what is restored trains on as if nothing had happened."""

import pytest
from numpy.testing import assert_array_equal
from small_nets import dense_net, outputs, samples
from torch import nn

from skphonon.learning import _training
from skphonon.learning._networks import DenseNetwork
from skphonon.learning._stored_nets import (
    all_or_nothing,
    net_from_arrays,
    net_to_arrays,
)
from skphonon.learning._training import train


@pytest.mark.parametrize("optimizer", ["adam", "clipped-adam", "sgd"])
def test_stored_net_trains_on_like_the_original(optimizer):
    x, y = samples()
    settings = {"epochs": 3, "batch_size": 8, "lr": 0.01}
    net = dense_net(optimizer)
    train(net, x, y, **settings)
    saved = net_to_arrays(net)
    restored = net_from_arrays(saved, DenseNetwork, nn.MSELoss(), "cpu")
    assert_array_equal(outputs(restored, x), outputs(net, x))
    for each in (net, restored):
        train(each, x, y, **settings)
    assert_array_equal(outputs(restored, x), outputs(net, x))


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_failed_training_puts_the_net_back(monkeypatch, error):
    x, y = samples()
    net = dense_net()
    before = outputs(net, x)

    def fail_in_third_epoch(net, epoch, rate):
        if epoch == 2:
            raise error
        return {}

    monkeypatch.setattr(_training, "_epoch_record", fail_in_third_epoch)
    with pytest.raises(error), all_or_nothing(net):
        train(net, x, y, epochs=5, batch_size=8, lr=0.1)
    assert_array_equal(outputs(net, x), before)
