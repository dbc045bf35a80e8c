"""Voxels of a crystal in which detectors look, by the centres of the detectors."""

from collections.abc import Callable, Iterator

import numpy as np

from skphonon.io._overlaps import Piece, Share
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M
from skphonon.physics.scattering import final_energy

__all__ = ["in_voxels"]


def in_voxels(run, grid) -> Callable[[Piece], Iterator[Share]]:
    """Return a function of a piece of energy that yields the voxels of detectors."""
    edges = grid.volume_edges()[1:]
    # wavevectors that the axes count, in the frame of u, v and the vertical
    steps = grid.in_instrument(grid.directions())
    to_axes = _rotation(_psi(run)) @ np.linalg.inv(steps)
    # rows of the parts of Q that go with k_i, along the beam, and k_f
    incoming, outgoing = to_axes[0], _directions(run) @ to_axes
    everyone, whole = np.arange(len(outgoing)), np.ones(len(outgoing))

    def shares(piece: Piece) -> Iterator[Share]:
        ki, kf = _wavevectors(run, (piece.low + piece.high) / 2)
        yield Share(everyone, _voxels(ki * incoming - kf * outgoing, edges), whole)

    return shares


def _wavevectors(run, energy):
    """Return k_i and k_f in 1/Angstrom."""
    outgoing = final_energy(energy, run.incident_energy)
    return np.sqrt(np.array([run.incident_energy, outgoing]) / NEUTRON_HBAR2_OVER_2M)


def _directions(run):
    """Return where detectors stand: along the beam, horizontal, vertical."""
    polar, azimuthal = np.deg2rad(run.polar), np.deg2rad(run.azimuthal)
    across = np.sin(polar)
    return np.column_stack(
        [np.cos(polar), across * np.cos(azimuthal), across * np.sin(azimuthal)]
    )


def _psi(run):
    if run.psi is None:
        raise ValueError(
            "It must be known how the crystal was turned, and the file does not say. "
            "Set it, in degrees: run.replace(psi=...)."
        )
    return run.psi


def _rotation(psi):
    """Return the matrix that takes rows in the laboratory to the crystal."""
    cosine, sine = np.cos(np.deg2rad(psi)), np.sin(np.deg2rad(psi))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _voxels(coordinates, edges):
    """Return the number of the voxel of each row, -1 outside."""
    number, inside = 0, True
    for values, borders in zip(coordinates.T, edges, strict=True):
        n_bins = len(borders) - 1
        place = np.searchsorted(borders, values, side="right") - 1
        inside = inside & (place >= 0) & (place < n_bins)
        number = number * n_bins + place
    return np.where(inside, number, -1)
