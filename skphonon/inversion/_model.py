"""Spectra of one row: contributions, derivatives, backgrounds, parts."""

from typing import Any, NamedTuple

import numpy as np

from skphonon.instrument.background import terms_on_axes

__all__ = ["Model", "Part", "background_terms", "parts_of"]


class Part(NamedTuple):
    """One spectrum of a row."""

    name: str  # empty where it is the only one
    pixels: slice
    axes: list  # of its grid, the last one changing fastest
    simulator: Any = None

    @property
    def shape(self):
        """Shape of the array of its pixels."""
        return tuple(len(axis) for axis in self.axes)

    def label(self, name):
        """Return a name for what belongs to this part."""
        return f"{name} ({self.name})" if self.name else name


def parts_of(simulator, n_pixels):
    """Return the spectra in a row of a simulator, one unless it has `parts`."""
    parts = getattr(simulator, "parts", {"": (slice(0, n_pixels), simulator)})
    found = []
    for name, (pixels, part) in parts.items():
        grid = getattr(part, "grid", None)
        number = [np.arange(pixels.stop - pixels.start)]
        axes = number if grid is None else list(grid.axes())
        found.append(Part(name, pixels, axes, part))
    return found


class Model:
    """Spectra of one set of parameters and nuisances, and their derivatives.

    The first source is the simulator of the sample.
    """

    def __init__(self, sources, nuisance, steps):
        self.sources, self.nuisance, self.steps = sources, nuisance, steps

    def loosened(self, factor, parameters):
        """Return a model on coarser meshes for spectra near parameters, or None."""
        return self._of(s.loosened(factor, parameters, self.nuisance) for s in self)

    def refined(self):
        """Return a model on finer meshes, or None where no simulator has any."""
        changed = [source.refined() for source in self]
        if changed[0] is None and hasattr(self.sources[0].simulator, "refined"):
            return None  # it is the mesh of the sample that is judged
        return self._of(changed)

    @property
    def n_points(self):
        """Points of the meshes of the simulators that have one."""
        return sum(source.n_points for source in self)

    def on(self, pixels):
        """Return the function that a Problem asks: of parameters, on some pixels."""

        def model(parameters):
            found: list = []
            for source in self:
                sample = found[0] if found else None
                asked = parameters, self.nuisance, self.steps, sample
                found.append(source.differentiate(*asked))
            spectra, derivatives = zip(*found, strict=True)
            return (
                np.stack([each[pixels] for each in spectra]),
                np.stack([each[pixels] for each in derivatives]),
            )

        return model

    def simulate(self, rows):
        """Return spectra of shape (n_rows, n_contributions, n_pixels)."""
        found: list = []
        for source in self:
            sample = found[0] if found else None
            found.append(source.simulate(rows, self.nuisance, sample))
        return np.stack(found, axis=1)

    def __iter__(self):
        return iter(self.sources)

    def _of(self, changed):
        """Return a model of changed sources where not None, or None without any."""
        changed = list(changed)
        if all(source is None for source in changed):
            return None
        pairs = zip(changed, self.sources, strict=True)
        sources = [old if new is None else new for new, old in pairs]
        return Model(sources, self.nuisance, self.steps)


def background_terms(background, part):
    """Return the terms, (n_terms, n_pixels), of the background of one spectrum.

    Those of a degree, of all axes together or of each, or given terms of all parts.
    """
    if background is None:
        return np.zeros((0, int(np.prod(part.shape))))
    if np.ndim(background) == 2:
        return np.asarray(background, dtype=float)[:, part.pixels]
    return terms_on_axes(part.axes, background)
