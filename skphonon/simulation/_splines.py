"""Collection of spectral lines on an even energy axis by cubic B-splines."""

from typing import NamedTuple

import torch

from skphonon.simulation.quadrature import EnergyAxis

__all__ = ["Places", "inverse_square", "place", "scatter"]

_SOFTEST = 1e-6  # meV^2: softer modes, sound of infinite wavelength, do not scatter


def inverse_square(eigenvalues: torch.Tensor) -> torch.Tensor:
    """Return 1 / E^2 of lines, zero for modes too soft to scatter.

    Parameters
    ----------
    eigenvalues : Tensor
        Squared energies in meV^2.

    Returns
    -------
    Tensor
        In 1/meV^2.
    """
    return (eigenvalues > _SOFTEST) / eigenvalues.clamp(min=_SOFTEST)


class Places(NamedTuple):
    """Where lines lie on an energy axis; each is shared by four points of it.

    Parameters
    ----------
    node : Tensor of int64
        The first of the four points, counted from the start of the axis.
    fraction : Tensor
        How far the line is from the second point to the third.
    seen : Tensor of bool
        False for lines beyond the axis.
    """

    node: torch.Tensor
    fraction: torch.Tensor
    seen: torch.Tensor

    def weights(self) -> list[torch.Tensor]:
        """Return the shares of the four points."""
        t = self.fraction
        squared = t * t
        last = squared * t / 6
        first = (1 / 6 - last) + (squared - t) / 2
        third = (1 / 6 - 3 * last) + (squared + t) / 2
        return [first, 1 - first - third - last, third, last]

    def tilts(self) -> list[torch.Tensor]:
        """Return the derivatives of the shares with the position, in steps."""
        t = self.fraction
        half = t * t / 2
        first = t - half - 0.5
        third = t - 3 * half + 0.5
        return [first, -first - third - half, third, half]


def place(axis: EnergyAxis, eigenvalues: torch.Tensor) -> Places:
    """Find the places of lines on an axis.

    Parameters
    ----------
    axis : EnergyAxis
        The axis.
    eigenvalues : Tensor
        Squared energies of the lines in meV^2.

    Returns
    -------
    Places
        Of the shape of `eigenvalues`.
    """
    position = eigenvalues.clamp(min=0.0).sqrt_().div_(axis.step).sub_(axis.first)
    inside = position.clamp(1.0, axis.n_points - 2.001)
    base = inside.floor()
    return Places(base.long().sub_(1), inside - base, inside == position)


def scatter(collected, index, weights, values, tilts=None, slopes=None) -> None:
    """Add lines to a contiguous array of axes, in place.

    Parameters
    ----------
    collected : Tensor
        Where to add.
    index : Tensor of int64
        Place of the first point of each line in the flattened array.
    weights, tilts : list of 4 Tensor
        Shares of the points and their derivatives.
    values, slopes : Tensor
        What each line adds, times its weights and its tilts.
    """
    flat = collected.view(-1)
    index = index.reshape(-1)
    for number, weight in enumerate(weights):
        added = values * weight
        if tilts is not None:
            added.addcmul_(slopes, tilts[number])
        flat[number:].scatter_add_(0, index, added.reshape(-1))
