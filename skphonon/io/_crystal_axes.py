"""The axes of a crystal beside a table of its points, and points back on these axes."""

import numpy as np

from skphonon.instrument import CrystalGrid

__all__ = ["axes_of", "on_crystal"]

_SAME = 1e-4  # of the step of an axis: rounding


def axes_of(grid):
    """Return the settings of the grid of a crystal but energy and mask, as lists."""
    return {
        name: np.asarray(value).tolist()
        for name, value in grid.settings().items()
        if value is not None and name not in ("energy", "mask")
    }


def on_crystal(measured, axes, where):
    """Return the points of a path on the grid of a crystal, if they all lie there."""
    path = measured.grid
    try:
        grid = CrystalGrid(path.energy, **axes)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where} must hold the axes of a CrystalGrid, as they were written, got "
            f"others ({error}). Drop it to have a list of wavevectors."
        ) from error
    steps = path.wavevectors @ np.linalg.inv(grid.directions())
    place, shape = np.zeros(len(steps), dtype=np.intp), grid.volume_shape[1:]
    for part, name in zip(steps.T, "hkl", strict=True):
        centres = np.atleast_1d(getattr(grid, name))
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, part)
        size = np.diff(centres).min() if len(centres) > 1 else 1.0
        if (np.abs(part - centres[nearest]) > _SAME * size).any():
            return measured
        place = place * len(centres) + nearest
    if len(np.unique(place)) < len(place):
        return measured
    changes = {}
    for name, rows in (("data", measured.data), ("error", measured.error)):
        if rows is not None:
            images = np.full((len(rows), len(path.energy), np.prod(shape)), np.nan)
            images[..., place] = path.to_image(rows)
            changes[name] = images.reshape(len(rows), -1)
    mask = np.isfinite(changes["data"]).any(axis=0).reshape(grid.shape)
    return measured.replace(grid=grid.replace(mask=mask), **changes)
