"""Networks and losses, against plain algebra and torch's distributions."""

import numpy as np
import torch
from numpy.testing import assert_allclose, assert_array_equal
from small_nets import generator
from torch.distributions import Normal, kl_divergence

from skphonon.learning._networks import (
    Autoencoder,
    CodeNetwork,
    DenseNetwork,
    VariationalLoss,
)


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


IMAGE = {"shape": (3, 4), "pixels": np.arange(1, 11), "filters": (2, 3)}


def weights(network):
    return {name: each.numpy() for name, each in network.state_dict().items()}


def test_images_saved_before_there_were_columns_have_none():
    old = Autoencoder((10, 6, 2), True, False, IMAGE, generator())
    new = Autoencoder((10, 6, 2), True, False, IMAGE | {"n_columns": 0}, generator())
    assert weights(old).keys() == weights(new).keys()
    for name, each in weights(old).items():
        assert_array_equal(weights(new)[name], each)


def test_columns_join_images_before_the_dense_layers():
    network = Autoencoder((12, 6, 2), False, False, IMAGE | {"n_columns": 2}, None)
    x = torch.randn((5, 12), generator=generator(1))
    encoder, decoder = network.encoder, network.decoder
    image = torch.zeros((5, 12))
    image[:, 1:11] = x[:, :10]
    flat = encoder.convolutions(image.reshape(5, 1, 3, 4)).flatten(1)
    codes = encoder.dense(torch.hstack([flat, x[:, 10:]]))
    assert_array_equal(network.encode(x)[0].detach(), codes.detach())
    dense = decoder.dense(codes)
    again = network(x)[0].detach()
    assert again.shape == x.shape
    assert_array_equal(again[:, 10:], dense[:, -2:].detach())
    images = decoder.convolutions(dense[:, :-2].reshape(5, 3, 1, 1))
    assert_array_equal(again[:, :10], images.flatten(1)[:, 1:11].detach())
