"""Torch modules and losses of the learning estimators.

Every module is a pure function of its inputs: random numbers are an argument, and first
weights are drawn from a given generator, so torch's global random state is not touched.
The ``settings`` of a module are the arguments that build an equal one.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_SHARP = -6.0  # logarithm of the variance that a code has before training


class DenseNetwork(nn.Module):
    """Fully connected network of layers of these sizes, with tanh between them.

    First weights follow Glorot's uniform rule; biases start at zero.
    """

    def __init__(self, sizes, generator):
        super().__init__()
        sizes = tuple(int(size) for size in sizes)
        self.settings = {"sizes": sizes}
        layers = []
        for n_in, n_out in pairwise(sizes):
            layers += [_linear(n_in, n_out, generator), nn.Tanh()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x):
        """Return the outputs of shape (n_samples, sizes[-1])."""
        return self.layers(x)


class ResidualNetwork(DenseNetwork):
    """Dense network whose outputs correct a linear map of its inputs.

    The first output begins as the first input, the second as the second, and so on.
    """

    def __init__(self, sizes, generator):
        super().__init__(sizes, generator)
        n_in, *_, n_out = self.settings["sizes"]
        self.linear = nn.Linear(n_in, n_out, bias=False)
        nn.init.eye_(self.linear.weight)
        _set_to_zero(self.layers[-1])

    def forward(self, x):
        """Return the outputs of shape (n_samples, sizes[-1])."""
        return self.linear(x) + self.layers(x)


class CodeNetwork(DenseNetwork):
    """Dense network on codes, or on means of codes followed by standard deviations."""

    def forward(self, x, noise=None):
        """Return the outputs at the codes, displaced by `noise` spreads if given."""
        n_codes = self.settings["sizes"][0]
        codes = x[:, :n_codes]
        if noise is not None:
            codes = codes + noise * x[:, n_codes:]
        return self.layers(codes)


class NormalCodeNetwork(CodeNetwork):
    """The same, with a normal distribution of each target."""

    def __init__(self, sizes, generator):
        sizes = tuple(int(size) for size in sizes)
        super().__init__((*sizes[:-1], 2 * sizes[-1]), generator)
        self.settings = {"sizes": sizes}
        _set_to_zero(self.layers[-1])

    def forward(self, x, noise=None):
        """Return means and log-variances, each of shape (n_samples, n_targets)."""
        return super().forward(x, noise).chunk(2, dim=1)


class NormalNetworks(nn.Module):
    """Several dense networks, each from inputs to normal distributions of targets."""

    def __init__(self, sizes, n_networks, generator):
        super().__init__()
        sizes = tuple(int(size) for size in sizes)
        self.settings = {"sizes": sizes, "n_networks": int(n_networks)}
        layers = (*sizes[:-1], 2 * sizes[-1])
        networks = [DenseNetwork(layers, generator) for _ in range(n_networks)]
        for network in networks:
            _set_to_zero(network.layers[-1])
        self.networks = nn.ModuleList(networks)

    def forward(self, x):
        """Return means and log-variances, (n_networks, n_samples, n_targets)."""
        return torch.stack([network(x) for network in self.networks]).chunk(2, dim=2)


class NormalLoss(nn.Module):
    """Negative log-likelihood of normal distributions.

    In training each sample is weighted by its predicted standard deviation, so that
    samples known well do not dominate (M. Seitzer et al.,
    https://doi.org/10.48550/arXiv.2203.09168); without weights it judges networks.
    """

    def forward(self, output, target):
        """Return the loss of `output`, what NormalNetworks returns."""
        mean, log_variance = output
        loss = ((target - mean).square() * torch.exp(-log_variance) + log_variance) / 2
        if self.training:
            loss = loss * torch.exp(log_variance.detach() / 2)
        return loss.mean()


class SineNetwork(nn.Module):
    """Fully connected network with sines between its layers, linear at its end.

    `omega_0` is the highest angular frequency of the first sines of a new network, for
    inputs within 1; later layers keep the spread of their inputs (V. Sitzmann et al.,
    https://doi.org/10.48550/arXiv.2006.09661; the factor of the later layers there is
    part of the weights here). None: the first weights of torch's linear layers.
    """

    def __init__(self, sizes, omega_0, generator):
        super().__init__()
        sizes = tuple(int(size) for size in sizes)
        self.settings = {"sizes": sizes, "omega_0": omega_0}
        self.layers = nn.ModuleList()
        for n, (n_in, n_out) in enumerate(pairwise(sizes)):
            layer = _skip_init(nn.Linear, n_in, n_out)
            weight = bias = n_in**-0.5
            if omega_0 is not None:
                weight = (6 / n_in) ** 0.5 if n else omega_0 / n_in
                bias = n_in**-0.5 if n else math.pi
            nn.init.uniform_(layer.weight, -weight, weight, generator=generator)
            nn.init.uniform_(layer.bias, -bias, bias, generator=generator)
            self.layers.append(layer)

    def forward(self, x):
        """Return the outputs of shape (n_samples, sizes[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = torch.sin(layer(x))
        return last(x)

    def along(self, places, parameters, derivatives=False):
        """Return outputs at places (n_places, n_coordinates) for one parameter set.

        If asked, also the derivatives with the parameters, (n_places, n_parameters).
        """
        layers: list[Any] = list(self.layers)  # nn.Linear
        first, *others = layers
        by_place, by_parameter = first.weight.split(
            [places.shape[1], len(parameters)], dim=1
        )
        x = torch.addmm(by_parameter @ parameters + first.bias, places, by_place.T)
        slopes = by_parameter.T[:, None]
        for layer in others:
            if derivatives:
                slopes = (slopes * torch.cos(x)) @ layer.weight.T
            x = layer(torch.sin(x))
        if not derivatives:
            return x[:, 0], None
        return x[:, 0], slopes[..., 0].expand(len(parameters), len(x)).T


class Autoencoder(nn.Module):
    """Encoder and decoder around a code, deterministic or variational.

    `sizes` are the widths of the input, the hidden layer and the code. A variational
    encoder gives the mean and the logarithm of the variance of each number of the code.
    `bounded` keeps outputs, and codes that are not variational, within 1. `image` is
    that of ConvolutionalEncoder, or None for dense layers, which with `residual`
    correct a linear map from the first inputs to codes and back.
    """

    def __init__(self, sizes, variational, bounded, image, generator, residual=False):
        super().__init__()
        n_features, n_hidden, n_codes = (int(size) for size in sizes)
        self.variational = variational
        self.settings = {
            "sizes": (n_features, n_hidden, n_codes),
            "variational": variational,
            "bounded": bounded,
            "image": image,
            "residual": residual,
        }
        n_outputs = n_codes * (2 if variational else 1)
        encoder: nn.Module
        decoder: nn.Module
        if image is None:
            layers = ResidualNetwork if residual else DenseNetwork
            encoder = layers((n_features, n_hidden, n_outputs), generator)
            decoder = layers((n_codes, n_hidden, n_features), generator)
            if residual and variational:
                _sharpen(encoder, n_codes)
        else:
            encoder = ConvolutionalEncoder(n_hidden, n_outputs, image, generator)
            decoder = ConvolutionalDecoder(n_hidden, n_codes, image, generator)
        bounds_codes = bounded and not variational
        self.encoder = nn.Sequential(encoder, nn.Tanh()) if bounds_codes else encoder
        self.decoder = nn.Sequential(decoder, nn.Tanh()) if bounded else decoder

    def encode(self, x):
        """Return (mean) codes, and log-variances or None, (n_samples, n_codes)."""
        codes = self.encoder(x)
        return codes.chunk(2, dim=1) if self.variational else (codes, None)

    def forward(self, x, noise=None):
        """Return the reconstruction, the (mean) codes and the log-variances.

        The decoded code is displaced from the mean by `noise` standard deviations.
        """
        mean, log_variance = self.encode(x)
        code = mean if noise is None else mean + noise * torch.exp(log_variance / 2)
        return self.decoder(code), mean, log_variance


class ConvolutionalEncoder(nn.Module):
    """Strided convolutions from the measured pixels of an image to codes.

    `image` has the `shape` (height, width), the numbers of the measured `pixels` in the
    order of the input (the others are zero), and the `filters` of each convolution (3 x
    3, stride 2, padding 1), which halves the image, rounding up. The `n_columns` inputs
    behind the pixels join the flattened images. A dense hidden layer and one of codes
    follow, with tanh after each but the last.
    """

    def __init__(self, n_hidden, n_outputs, image, generator):
        super().__init__()
        self.shape = image["shape"]
        _register_pixels(self, image)
        layers = []
        for n_in, n_out in pairwise((1, *image["filters"])):
            layers += [_convolution(nn.Conv2d, n_in, n_out, generator), nn.Tanh()]
        self.convolutions = nn.Sequential(*layers)
        height, width = image_shapes(image)[-1]
        n_flat = image["filters"][-1] * height * width
        self.n_pixels = len(image["pixels"])
        n_inputs = n_flat + _n_columns(image)
        self.dense = DenseNetwork((n_inputs, n_hidden, n_outputs), generator)

    def forward(self, x):
        """Return the outputs of shape (n_samples, n_outputs)."""
        images = x.new_zeros(len(x), self.shape[0] * self.shape[1])
        images[:, self.pixels] = x[:, : self.n_pixels]
        images = self.convolutions(images.unflatten(1, (1, *self.shape)))
        return self.dense(torch.cat([images.flatten(1), x[:, self.n_pixels :]], dim=1))


class ConvolutionalDecoder(nn.Module):
    """The mirror image of ConvolutionalEncoder, from codes to pixels and columns.

    Columns come from the dense hidden layer by a linear map.
    """

    def __init__(self, n_hidden, n_codes, image, generator):
        super().__init__()
        _register_pixels(self, image)
        filters, shapes = image["filters"], image_shapes(image)
        self.first = (filters[-1], *shapes[-1])
        self.n_flat = math.prod(self.first)
        n_outputs = self.n_flat + _n_columns(image)
        self.dense = DenseNetwork((n_codes, n_hidden, n_outputs), generator)
        layers = []
        for n, n_out in reversed(list(enumerate((1, *filters[:-1])))):
            # the encoder rounded odd sizes up
            padding = [1 - size % 2 for size in shapes[n]]
            layers += [
                nn.Tanh(),
                _convolution(
                    nn.ConvTranspose2d,
                    filters[n],
                    n_out,
                    generator,
                    output_padding=padding,
                ),
            ]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, x):
        """Return measured pixels, then columns, shape (n_samples, n_features)."""
        x = self.dense(x)
        images = self.convolutions(x[:, : self.n_flat].unflatten(1, self.first))
        pixels = images.flatten(1)[:, self.pixels]
        return torch.cat([pixels, x[:, self.n_flat :]], dim=1)


def image_shapes(image):
    """Return heights and widths of an image, before and after each convolution."""
    shapes = [tuple(image["shape"])]
    for _ in image["filters"]:
        shapes.append(tuple((size + 1) // 2 for size in shapes[-1]))
    return shapes


class ReconstructionLoss(nn.Module):
    """Mean square error of what a deterministic autoencoder returns."""

    def forward(self, output, target):
        """Return the loss of `output`, what Autoencoder returns."""
        return functional.mse_loss(output[0], target)


class VariationalLoss(nn.Module):
    """Sum ``(1 - w) * MSE + w * KL`` of reconstruction error and divergence.

    MSE is averaged over samples and features. KL, of the codes from the standard normal
    distribution, is summed over the code and averaged over the batch.
    """

    def __init__(self, kl_weight):
        super().__init__()
        self.kl_weight = kl_weight

    def forward(self, output, target):
        """Return the loss of `output`, what a variational Autoencoder returns."""
        reconstruction, mean, log_variance = output
        divergence = divergences(mean, log_variance).sum(dim=1).mean()
        error = functional.mse_loss(reconstruction, target)
        return (1 - self.kl_weight) * error + self.kl_weight * divergence


def divergences(mean, log_variance):
    """Return Kullback-Leibler divergences of normal distributions from N(0, 1)."""
    return (mean.square() + log_variance.exp() - log_variance - 1) / 2


class RootMeanSquareLoss(nn.Module):
    """Mean over targets of their root mean square errors.

    The gradient of each target is divided by its error: a target that cannot be learnt
    does not hide the others. (With the geometric mean of the errors the first target
    that is learnt would hide the rest.)
    """

    def forward(self, output, target):
        """Return the loss of `output`, (n_samples, n_targets)."""
        errors = (output - target).square().mean(dim=0)
        return (errors + 1e-8).sqrt().mean()  # a root has no slope at zero


def layer_sizes(n_inputs, hidden_sizes, n_outputs):
    """Return the sizes of all layers, after a check of the hidden ones."""
    if min(hidden_sizes, default=1) < 1:
        raise ValueError(
            f"hidden_sizes must be positive numbers of units, got {hidden_sizes!r}."
        )
    return (n_inputs, *hidden_sizes, n_outputs)


def _set_to_zero(layer):
    nn.init.zeros_(layer.weight)


def _sharpen(encoder, n_codes):
    """Let codes be sharp at first, and no log-variance depend on the inputs."""
    nn.init.zeros_(encoder.linear.weight[n_codes:])
    nn.init.constant_(encoder.layers[-1].bias[n_codes:], _SHARP)


def _linear(n_in, n_out, generator):
    layer = _skip_init(nn.Linear, n_in, n_out)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def _convolution(kind, n_in, n_out, generator, **options):
    options |= {"kernel_size": 3, "stride": 2, "padding": 1}
    layer = _skip_init(kind, n_in, n_out, **options)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def _skip_init(kind, n_in, n_out, **options):
    device = torch.empty(0).device  # torch 2.7 hides contexts from the default
    return nn.utils.skip_init(kind, n_in, n_out, device=device, **options)


def _n_columns(image):
    return image.get("n_columns", 0)  # networks were saved before there were any


def _register_pixels(module, image):
    pixels = torch.as_tensor(image["pixels"], dtype=torch.long)
    module.register_buffer("pixels", pixels, persistent=False)
