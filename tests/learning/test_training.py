"""The loop over epochs: batches, best weights, early stopping, schedules."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from small_nets import dense_net, generator, outputs, samples
from torch import nn

from skphonon.learning import _training
from skphonon.learning._networks import DenseNetwork
from skphonon.learning._stored_nets import net_from_arrays, net_to_arrays
from skphonon.learning._training import (
    TensorBatches,
    choose_device,
    hold_out,
    train,
)


def mean_square_error(net, x, y):
    return float(np.square(outputs(net, x) - y).mean())


def test_batches_visit_every_sample_once_in_a_new_order():
    x = torch.arange(10.0)[:, None]
    dataset = torch.utils.data.TensorDataset(x, -x)
    batches = TensorBatches(dataset, 4, generator(), noise_size=3)
    epochs = []
    for _ in range(2):
        inputs, targets = zip(*batches, strict=True)
        assert [i["noise"].shape for i in inputs] == [(4, 3), (4, 3), (2, 3)]
        seen = torch.cat([i["x"] for i in inputs]).ravel()
        assert_array_equal(seen, -torch.cat(targets).ravel())
        assert_array_equal(np.sort(seen), np.arange(10))
        epochs.append(seen)
    assert not torch.equal(*epochs)


def test_jitter_displaces_inputs_by_levels_spread_over_decades():
    x = torch.zeros(4000, 2)
    dataset = torch.utils.data.TensorDataset(x, x)
    batches = TensorBatches(dataset, 500, generator(), jitter=np.array([2.0, 0.0]))
    moved = torch.cat([inputs["x"] for inputs, _ in batches])
    assert (moved[:, 1] == 0).all()
    assert (x == 0).all()
    # <level^2> of a level log-uniform in (a, 1) is (1 - a^2) / (2 log(1 / a));
    # heavy tails: 4000 samples know it to about 5 %
    low, _ = _training.JITTER_LEVELS
    expected = 4 * (1 - low**2) / (2 * np.log(1 / low))
    assert_allclose(moved[:, 0].square().mean(), expected, rtol=0.15)
    # the typical displacement is far smaller
    assert moved[:, 0].abs().median() < 0.3 * np.sqrt(expected)


def test_best_weights_are_kept():
    x, y = samples()
    net, held_out = dense_net(), np.arange(20)
    # So high a learning rate makes the held-out loss rise and fall.
    history, _ = train(net, x, y, epochs=15, batch_size=8, lr=0.3, held_out=held_out)
    losses = [record["valid_loss"] for record in history]
    assert np.argmin(losses) < len(losses) - 1
    # the mean over batches in float32 against one mean in float64
    assert_allclose(mean_square_error(net, x[:20], y[:20]), min(losses), rtol=1e-5)


def test_held_out_samples_are_not_trained_on():
    x, y = samples()
    held_out = np.arange(20)
    spoiled = y.copy()
    spoiled[:20] += 1.0  # the same offset in every epoch: the best is the last
    results = []
    for target in (y, spoiled):
        net = dense_net()
        history, _ = train(
            net, x, target, epochs=1, batch_size=8, lr=0.01,
            held_out=held_out,
        )  # fmt: skip
        results.append((outputs(net, x), history[0]["train_loss"]))
    assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_patience_stops_early():
    x, y = samples()
    # No loss falls by 1e-4 in an epoch: the first is the best that counts.
    history, _ = train(
        dense_net(), x, y, epochs=50, batch_size=8, lr=1e-9,
        held_out=np.arange(20), patience=3,
    )  # fmt: skip
    assert len(history) == 4


def test_cosine_schedule_rises_and_falls():
    x, y = samples()
    history, _ = train(
        dense_net(), x, y, epochs=20, batch_size=64, lr=0.5,
        schedule="cosine",
    )  # fmt: skip
    rates = [record["learning_rate"] for record in history]
    assert np.argmax(rates) == 1
    assert max(rates) <= 0.5
    assert rates[-1] < 0.01
    assert (np.diff(rates[1:]) < 0).all()


def test_diverged_training_is_an_error():
    x, y = samples()
    with pytest.raises(ValueError, match=r"must stay finite.*Lower the learning rate"):
        train(dense_net("sgd"), x, 1e3 * y, epochs=50, batch_size=8, lr=1e3)


def test_hold_out_takes_the_stated_fraction():
    held_out = hold_out(50, 0.2, generator())
    assert len(np.unique(held_out)) == 10
    assert not np.array_equal(held_out, np.arange(10))
    assert len(hold_out(50, None, generator())) == 0
    assert len(hold_out(5, 0.1, generator())) == 0


def test_choose_device():
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in {"cpu", "cuda"}
    with pytest.raises(ValueError, match=r"'abacus'.*Use device='cpu'"):
        choose_device("abacus")


def test_global_random_state_is_untouched():
    x, y = samples()
    before = torch.get_rng_state()
    net = dense_net()
    train(net, x, y, epochs=2, batch_size=8, lr=0.01)
    net_from_arrays(net_to_arrays(net), DenseNetwork, nn.MSELoss(), "cpu")
    assert_array_equal(torch.get_rng_state(), before)
