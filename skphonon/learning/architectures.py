"""Architectures of autoencoders: small estimators with their settings."""

from typing import Any

import numpy as np

from skphonon._validation import HasMethods, at_least
from skphonon._versioned import VersionedEstimator

__all__ = [
    "MOVED",
    "Convolutional",
    "Dense",
    "as_network",
    "image_of",
    "network_of",
]

_FILTERS = (32, 64, 128)
_MOST_COLUMNS = 32  # behind the pixels; more are pixels that the grid hides


class Dense(VersionedEstimator):
    """Dense layers, on principal components or pixels.

    Parameters
    ----------
    hidden_size : int, default=400
        Units of the hidden layer of encoder and decoder.
    residual : bool, default=None
        Let layers correct a linear map, both ways, that starts as the first principal
        components (or features). None: with ``inference="posterior"`` alone.
    bounded : bool, default=False
        Bound the outputs of the decoder to 1 by tanh, and codes that are no
        distributions.

    See Also
    --------
    Convolutional : Convolutions on an image.

    Examples
    --------
    >>> from skphonon.learning import Dense, VAEFeatureExtractor
    >>> extractor = VAEFeatureExtractor(3, network=Dense(hidden_size=100))
    >>> extractor.set_params(network__hidden_size=200)
    VAEFeatureExtractor(n_components=3, network=Dense(hidden_size=200))
    """

    _parameter_constraints = {
        "hidden_size": [at_least(1)],
        "residual": ["boolean", None],
        "bounded": ["boolean"],
    }

    def __init__(self, hidden_size=400, *, residual=None, bounded=False):
        self.hidden_size = hidden_size
        self.residual = residual
        self.bounded = bounded


class Convolutional(VersionedEstimator):
    """Convolutions on the image whose measured pixels are the features.

    They cost about a hundred times as much as dense layers on principal components.
    Columns behind the pixels join the dense layers, on both sides of the code.

    Parameters
    ----------
    grid : SpectrumGrid, default=None
        Grid of the spectra: the features must be its visible pixels, then 32 other
        columns at most, such as the conditions and the level of noise of
        :class:`~skphonon.preprocessing.MaskedSpectrumPreprocessor`. As many features as
        the grid has pixels in all are whole images. None: the features lie along a
        line, without other columns.
    filters : tuple of int, default=(32, 64, 128)
        Filters of each convolution (3 x 3, stride 2), from the pixels inwards.
    hidden_size : int, default=200
        Units of the dense layer between the convolutions and the code.
    bounded : bool, default=False
        Bound the outputs of the decoder to 1 by tanh, and codes that are no
        distributions.

    See Also
    --------
    Dense : Dense layers.

    Examples
    --------
    >>> from skphonon.learning import Convolutional, VAEFeatureExtractor
    >>> extractor = VAEFeatureExtractor(3, network=Convolutional(filters=(8, 16)))
    """

    _parameter_constraints = {
        "grid": [HasMethods(["to_image"]), None],
        "filters": ["array-like"],
        "hidden_size": [at_least(1)],
        "bounded": ["boolean"],
    }

    def __init__(self, grid=None, *, filters=_FILTERS, hidden_size=200, bounded=False):
        self.grid = grid
        self.filters = filters
        self.hidden_size = hidden_size
        self.bounded = bounded


_NETWORKS: dict[str, type] = {"dense": Dense, "convolutional": Convolutional}
# what to do instead of each parameter that extractors had in 0.1
MOVED = {
    "architecture": 'give network="dense" or network="convolutional"',
    "grid": "give network=Convolutional(grid)",
    "filters": "give network=Convolutional(filters=...)",
    "residual": "give network=Dense(residual=True)",
} | {
    name: f"give network=Dense({name}=...) or network=Convolutional({name}=...), or "
    f"network__{name} to set_params"
    for name in ("hidden_size", "bounded")
}


def as_network(given: Any) -> Any:
    """Return what the value of `network` stands for."""
    short = isinstance(given, str) and given in _NETWORKS
    return _NETWORKS[given]() if short else given


def network_of(state: dict[str, Any]) -> Dense | Convolutional:
    """Take the parameters of 0.1 out of a saved state; return a network with them."""
    convolutional = state.pop("architecture", "dense") == "conv"
    held = {"hidden_size": state.pop("hidden_size", None)}
    held["bounded"] = state.pop("bounded", False)
    grid, filters = state.pop("grid", None), state.pop("filters", _FILTERS)
    residual = state.pop("residual", False) or None
    held = {name: value for name, value in held.items() if value is not None}
    if convolutional:
        return Convolutional(grid, filters=filters, **held)
    return Dense(residual=residual, **held)


def image_of(network: Convolutional, n_features: int) -> dict[str, Any]:
    """Return the image of which features are pixels."""
    shape, pixels = _pixels(network.grid, n_features)
    filters = tuple(int(n) for n in network.filters)
    if min(filters, default=0) < 1:
        raise ValueError(
            "filters must be positive numbers, one for each convolution, got "
            f"{network.filters!r}."
        )
    return {
        "shape": tuple(int(size) for size in shape),
        "pixels": pixels,
        "filters": filters,
        "n_columns": n_features - len(pixels),
    }


def _pixels(grid, n_features):
    """Return the shape of the image, and its pixels that the features begin with.

    They are the visible ones, or all where X has as many features or where only that
    leaves a credible number of columns.
    """
    if grid is None:
        return (1, n_features), np.arange(n_features)
    shape, visible = grid.shape, np.flatnonzero(grid.mask)
    every = np.arange(grid.mask.size)
    if n_features in (len(visible), len(every)):
        return shape, visible if n_features == len(visible) else every
    for pixels in (visible, every):
        if 0 < n_features - len(pixels) <= _MOST_COLUMNS:
            return shape, pixels
    raise ValueError(
        f"X must have one column for each of the {len(visible)} visible pixels of "
        f"the grid, or each of all {len(every)}, and at most {_MOST_COLUMNS} more "
        f"behind them, got {n_features}. Let the grid have the mask that "
        "MaskedSpectrumPreprocessor found (mask_)."
    )
