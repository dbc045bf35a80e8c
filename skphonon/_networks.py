"""Torch modules and losses of the learning estimators, and nothing else.

Every module is a pure function of its inputs: the random numbers it needs come in
as an argument and first weights are drawn from a given generator, so nothing here
touches torch's global random state. A module keeps its layer widths in ``sizes``,
from which an equal one can be built.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


class DenseNetwork(nn.Module):
    """Fully connected network with tanh between its layers, linear at its end.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input, of each hidden layer and of the output.
    generator : torch.Generator
        Source of the first weights (Glorot's uniform rule; biases start at zero).
    """

    def __init__(self, sizes, generator):
        super().__init__()
        self.sizes = tuple(int(size) for size in sizes)
        layers = []
        for n_in, n_out in pairwise(self.sizes):
            layers += [_linear(n_in, n_out, generator), nn.Tanh()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x):
        """Return the outputs of shape (n_samples, sizes[-1])."""
        return self.layers(x)


class CodeNetwork(DenseNetwork):
    """Dense network on codes, exact ones or drawn from normal distributions.

    The input holds codes, or their means, as wide as the first layer; for draws
    their standard deviations follow.
    """

    def forward(self, x, noise=None):
        """Return the outputs at the codes, displaced by `noise` spreads if given."""
        n_codes = self.sizes[0]
        codes = x[:, :n_codes]
        if noise is not None:
            codes = codes + noise * x[:, n_codes:]
        return self.layers(codes)


class VariationalAutoencoder(nn.Module):
    """Dense variational autoencoder with one hidden layer on either side.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input, of the hidden layers and of the code.
    generator : torch.Generator
        Source of the first weights.
    """

    def __init__(self, sizes, generator):
        super().__init__()
        n_features, n_hidden, n_codes = self.sizes = tuple(int(size) for size in sizes)
        self.encoder = DenseNetwork((n_features, n_hidden, 2 * n_codes), generator)
        self.decoder = DenseNetwork((n_codes, n_hidden, n_features), generator)

    def encode(self, x):
        """Return means and log-variances of the codes, (n_samples, n_codes) each."""
        return self.encoder(x).chunk(2, dim=1)

    def forward(self, x, noise=None):
        """Return the reconstruction, the means and the log-variances.

        The code that is decoded is the mean, displaced by `noise` (standard normal
        numbers) times the standard deviation where noise is given.
        """
        mean, log_variance = self.encode(x)
        code = mean if noise is None else mean + noise * torch.exp(log_variance / 2)
        return self.decoder(code), mean, log_variance


class VariationalLoss(nn.Module):
    """Reconstruction error and Kullback-Leibler divergence, in fixed proportion.

    ``(1 - w) * MSE + w * KL``: MSE is averaged over samples and features, KL (of
    the codes from the standard normal distribution) is summed over the dimensions
    of the code and averaged over samples.
    """

    def __init__(self, kl_weight):
        super().__init__()
        self.kl_weight = kl_weight

    def forward(self, output, target):
        """Return the loss of `output`, what VariationalAutoencoder returns."""
        reconstruction, mean, log_variance = output
        excess = mean.square() + log_variance.exp() - log_variance - 1
        divergence = excess.sum(dim=1).mean() / 2
        error = functional.mse_loss(reconstruction, target)
        return (1 - self.kl_weight) * error + self.kl_weight * divergence


class RootMeanSquareLoss(nn.Module):
    """Mean over targets of their root mean square errors.

    A target's share of the slope goes with the inverse of its error, so that a target
    that cannot be learnt does not drown those that can be refined. (The geometric mean
    of the errors goes further and starves whatever is learnt second.)
    """

    def forward(self, output, target):
        """Return the loss of `output`, (n_samples, n_targets)."""
        errors = (output - target).square().mean(dim=0)
        return (errors + 1e-8).sqrt().mean()  # a root has no slope at zero


def _linear(n_in, n_out, generator):
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
