"""Networks, losses and the training loop behind the learning estimators."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.distributions import Normal, kl_divergence

from skphonon.learning import _training
from skphonon.learning._networks import (
    Autoencoder,
    CodeNetwork,
    DenseNetwork,
    VariationalLoss,
)
from skphonon.learning._stored_nets import (
    all_or_nothing,
    net_from_arrays,
    net_to_arrays,
)
from skphonon.learning._training import (
    TensorBatches,
    build_net,
    choose_device,
    hold_out,
    train,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def data():
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    return x, np.tanh(x @ np.float32([[1.0], [-2.0], [0.5]]))


def dense_net(optimizer="adam"):
    return build_net(
        DenseNetwork((3, 8, 1), generator()),
        nn.MSELoss(),
        optimizer=optimizer,
        momentum=0.9,
        device="cpu",
        generator=generator(1),
        noise_size=0,
    )


def outputs(net, x):
    with torch.inference_mode():
        return net.module_(torch.as_tensor(x)).numpy()


def mean_square_error(net, x, y):
    return float(np.square(outputs(net, x) - y).mean())


def test_dense_network_is_tanh_inside_and_linear_at_the_end():
    network = DenseNetwork((3, 5, 2), generator())
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    (w1, b1), (w2, b2) = [
        (layer.weight.detach().numpy(), layer.bias.detach().numpy())
        for layer in (network.layers[0], network.layers[2])
    ]
    expected = np.tanh(x @ w1.T + b1) @ w2.T + b2
    # rounding of float32
    assert_allclose(network(torch.as_tensor(x)).detach(), expected, rtol=1e-5)


def test_variational_loss_against_torch_distributions():
    rng = np.random.default_rng(2)
    mean, log_variance = torch.as_tensor(rng.normal(size=(2, 6, 3)))
    target, reconstruction = torch.as_tensor(rng.normal(size=(2, 6, 5)))
    posterior = Normal(mean, torch.exp(log_variance / 2))
    divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=1).mean()
    error = (reconstruction - target).square().mean()
    loss = VariationalLoss(0.3)((reconstruction, mean, log_variance), target)
    assert_allclose(loss, 0.7 * error + 0.3 * divergence, rtol=1e-12)


def test_noise_displaces_codes_by_their_spread():
    network = CodeNetwork((2, 4, 1), generator())
    mean, std, noise = torch.randn((3, 5, 2), generator=generator(1))
    drawn = network(torch.cat([mean, std], dim=1), noise)
    assert_array_equal(drawn.detach(), network(mean + noise * std).detach())


def test_autoencoder_decodes_the_mean_without_noise():
    network = Autoencoder((4, 6, 2), True, False, None, generator())
    x = torch.randn((5, 4), generator=generator(1))
    reconstruction, mean, log_variance = network(x)
    assert_array_equal(reconstruction.detach(), network.decoder(mean).detach())
    displaced = mean + torch.exp(log_variance / 2)
    drawn = network(x, torch.ones(5, 2))[0]
    assert_array_equal(drawn.detach(), network.decoder(displaced).detach())


def test_residual_autoencoder_begins_with_the_first_inputs():
    """With twice as many inputs as codes the log-variances could take some, too."""
    network = Autoencoder((6, 5, 2), True, False, None, generator(), residual=True)
    x = torch.randn((5, 6), generator=generator(1))
    reconstruction, mean, log_variance = network(x)
    assert_array_equal(mean.detach(), x[:, :2])
    assert_array_equal(reconstruction[:, :2].detach(), x[:, :2])
    assert_array_equal(reconstruction[:, 2:].detach(), torch.zeros(5, 4))
    assert len(torch.unique(log_variance)) == 1
    assert (log_variance < -1).all()


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


def test_best_weights_are_kept(data):
    x, y = data
    net, held_out = dense_net(), np.arange(20)
    # So high a learning rate makes the held-out loss rise and fall.
    history = train(
        net, x, y, epochs=15, batch_size=8, learning_rate=0.3, held_out=held_out
    )
    losses = [record["valid_loss"] for record in history]
    assert np.argmin(losses) < len(losses) - 1
    # the mean over batches in float32 against one mean in float64
    assert_allclose(mean_square_error(net, x[:20], y[:20]), min(losses), rtol=1e-5)


def test_held_out_samples_are_not_trained_on(data):
    x, y = data
    held_out = np.arange(20)
    spoiled = y.copy()
    spoiled[:20] += 1.0  # the same offset in every epoch: the best is the last
    results = []
    for target in (y, spoiled):
        net = dense_net()
        history = train(
            net, x, target, epochs=1, batch_size=8, learning_rate=0.01,
            held_out=held_out,
        )  # fmt: skip
        results.append((outputs(net, x), history[0]["train_loss"]))
    assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_patience_stops_early(data):
    x, y = data
    # No loss falls to a tenth in an epoch: the first is the best that counts.
    history = train(
        dense_net(), x, y, epochs=50, batch_size=8, learning_rate=1e-4,
        held_out=np.arange(20), patience=3, tol=0.9,
    )  # fmt: skip
    assert len(history) == 4


def test_cosine_schedule_rises_and_falls(data):
    x, y = data
    history = train(
        dense_net(), x, y, epochs=20, batch_size=64, learning_rate=0.5,
        schedule="cosine",
    )  # fmt: skip
    rates = [record["learning_rate"] for record in history]
    assert np.argmax(rates) == 1
    assert max(rates) <= 0.5
    assert rates[-1] < 0.01
    assert (np.diff(rates[1:]) < 0).all()


def test_diverged_training_is_an_error(data):
    x, y = data
    with pytest.raises(ValueError, match=r"must stay finite.*Lower the learning rate"):
        train(dense_net("sgd"), x, 1e3 * y, epochs=50, batch_size=8, learning_rate=1e3)


def test_hold_out_takes_the_stated_fraction():
    held_out = hold_out(50, 0.2, generator())
    assert len(np.unique(held_out)) == 10
    assert not np.array_equal(held_out, np.arange(10))
    assert len(hold_out(50, None, generator())) == 0
    assert len(hold_out(5, 0.1, generator())) == 0


@pytest.mark.parametrize("optimizer", ["adam", "clipped-adam", "sgd"])
def test_stored_net_trains_on_like_the_original(data, optimizer):
    x, y = data
    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01}
    net = dense_net(optimizer)
    train(net, x, y, **settings)
    saved = net_to_arrays(net)
    restored = net_from_arrays(saved, DenseNetwork, nn.MSELoss(), "cpu")
    assert_array_equal(outputs(restored, x), outputs(net, x))
    for each in (net, restored):
        train(each, x, y, **settings)
    assert_array_equal(outputs(restored, x), outputs(net, x))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_failed_training_puts_the_net_back(data, monkeypatch, error):
    x, y = data
    net = dense_net()
    before = outputs(net, x)

    def fail_in_third_epoch(net, epoch):
        if epoch == 2:
            raise error
        return {}

    monkeypatch.setattr(_training, "_epoch_record", fail_in_third_epoch)
    with pytest.raises(error), all_or_nothing(net):
        train(net, x, y, epochs=5, batch_size=8, learning_rate=0.1)
    assert_array_equal(outputs(net, x), before)


def test_choose_device():
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in {"cpu", "cuda"}
    with pytest.raises(ValueError, match=r"'abacus'.*Use device='cpu'"):
        choose_device("abacus")


def test_global_random_state_is_untouched(data):
    x, y = data
    before = torch.get_rng_state()
    net = dense_net()
    train(net, x, y, epochs=2, batch_size=8, learning_rate=0.01)
    net_from_arrays(net_to_arrays(net), DenseNetwork, nn.MSELoss(), "cpu")
    assert_array_equal(torch.get_rng_state(), before)
