"""Simulations of one row: contributions, derivatives, backgrounds, parts."""

from typing import NamedTuple

import numpy as np

from skphonon.instrument.background import terms_on_axes

__all__ = ["Model", "Part", "background_terms", "parts_of"]

_DIFFERENCE = 1e-4  # step of finite differences, of the step of a parameter


class Part(NamedTuple):
    """One spectrum of a row."""

    name: str  # empty where it is the only one
    pixels: slice
    axes: list  # of its grid, the last one changing fastest

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
        found.append(Part(name, pixels, axes))
    return found


class Model:
    """Spectra of one set of parameters and nuisances, and their derivatives."""

    def __init__(self, simulators, nuisance, steps):
        self.simulators, self.nuisance, self.steps = simulators, nuisance, steps

    def loosened(self, factor, parameters):
        """Return a model on coarser meshes for spectra near parameters, or None."""

        def one(simulator):
            options = self._options(simulator, parameters[None])
            values = options.get("nuisance", {})
            if values:
                options["nuisance"] = {name: one[0] for name, one in values.items()}
            return simulator.loosened(factor, **options)

        return self._changed("loosened", one)

    def refined(self):
        """Return a model on finer meshes, or None where no simulator has any."""
        return self._changed("refined", lambda simulator: simulator.refined())

    @property
    def n_points(self):
        """Points of the meshes of the simulators that have one."""
        return sum(_mesh_points(simulator) for simulator in self.simulators)

    def _changed(self, name, change):
        """Return a model of simulators changed by a method that some have, or None."""
        changed = [change(s) if hasattr(s, name) else None for s in self.simulators]
        if all(simulator is None for simulator in changed):
            return None
        pairs = zip(changed, self.simulators, strict=True)
        simulators = [old if new is None else new for new, old in pairs]
        return Model(simulators, self.nuisance, self.steps)

    def on(self, pixels):
        """Return the function that a Problem asks: of parameters, on some pixels."""

        def model(parameters):
            found = [self._differentiate(s, parameters) for s in self.simulators]
            spectra, derivatives = zip(*found, strict=True)
            return np.stack(spectra)[:, pixels], np.stack(derivatives)[:, pixels]

        return model

    def simulate(self, rows):
        """Return spectra of shape (n_rows, n_contributions, n_pixels)."""
        return np.stack([self._simulate(s, rows) for s in self.simulators], axis=1)

    def _simulate(self, simulator, rows):
        n_constants = rows.shape[1] - len(self.nuisance)
        return simulator.simulate(
            rows[:, :n_constants], **self._options(simulator, rows)
        )

    def _differentiate(self, simulator, parameters):
        """Return a spectrum (n_pixels,) and derivatives (n_pixels, n_parameters)."""
        n_constants = len(parameters) - len(self.nuisance)
        if hasattr(simulator, "jacobian"):
            derivatives, spectra = simulator.jacobian(
                parameters[None, :n_constants],
                return_spectra=True,
                **self._options(simulator, parameters[None]),
            )
            return spectra[0], derivatives[0]
        step = _DIFFERENCE * self.steps
        rows = parameters + np.concatenate(
            [0 * step[None], np.diag(step), -np.diag(step)]
        )
        spectra = self._simulate(simulator, rows)
        up, down = np.split(spectra[1:], 2)
        return spectra[0], ((up - down) / (2 * step[:, None])).T

    def _options(self, simulator, rows):
        """Return the options of a call that has nuisances; those without know none."""
        if not self.nuisance:
            return {}
        columns = rows.T[len(rows.T) - len(self.nuisance) :]
        values, ranges = dict(zip(self.nuisance, columns, strict=True)), self.nuisance
        if hasattr(simulator, "working_ranges"):
            ranges = simulator.working_ranges(values, ranges)
        return {"nuisance": values, "nuisance_ranges": ranges}


def _mesh_points(simulator):
    """Return how many points the meshes of a simulator and of its parts have."""
    parts = getattr(simulator, "parts", None)
    if parts is not None:
        return sum(_mesh_points(part) for _, part in parts.values())
    mesh = getattr(simulator, "mesh", None)
    return int(np.prod(getattr(mesh, "size", 1)))


def background_terms(background, part):
    """Return the terms, (n_terms, n_pixels), of the background of one spectrum.

    Those of a degree, of all axes together or of each, or given terms of all parts.
    """
    if background is None:
        return np.zeros((0, int(np.prod(part.shape))))
    if np.ndim(background) == 2:
        return np.asarray(background, dtype=float)[:, part.pixels]
    return terms_on_axes(part.axes, background)
