"""Spectra that are added up: that of the sample, and what lies beside it.

Each kind of contribution takes rows of parameters, constants of the sample and then
nuisances, to spectra and derivatives: by its own simulator, from what the sample
scatters, or not at all.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["FixedRow", "FromSample", "OtherCrystal", "Sample"]

_DIFFERENCE = 1e-4  # step of finite differences, of the step of a parameter
_REMEMBERED = 32  # conditions of another crystal

# of its length: a contribution of which the sample explains all but this is not told
# from it. Aluminium measured in aluminium, with other constants for the can: 0.05;
# silicon measured in aluminium: 0.4. What has the constants of the sample cannot be
# off by those of its own.
_ALIKE, _ALIKE_OWN = 0.1, 0.03


@dataclass(frozen=True, eq=False)
class Sample:
    """A simulator of the constants that are fitted."""

    simulator: Any
    alike: float = _ALIKE_OWN

    def simulate(self, rows, nuisance, sample=None):
        """Return spectra (n_rows, n_pixels)."""
        n_constants = rows.shape[1] - len(nuisance)
        options = options_of(self.simulator, rows, nuisance)
        return self.simulator.simulate(rows[:, :n_constants], **options)

    def differentiate(self, parameters, nuisance, steps, sample=None):
        """Return a spectrum (n_pixels,) and derivatives (n_pixels, n_parameters)."""
        n_constants = len(parameters) - len(nuisance)
        if hasattr(self.simulator, "jacobian"):
            derivatives, spectra = self.simulator.jacobian(
                parameters[None, :n_constants],
                return_spectra=True,
                **options_of(self.simulator, parameters[None], nuisance),
            )
            return spectra[0], derivatives[0]
        return _by_differences(
            lambda rows: self.simulate(rows, nuisance),
            parameters,
            _DIFFERENCE * steps,
        )

    def loosened(self, factor, parameters, nuisance):
        """Return this on a coarser mesh for spectra near parameters, or None."""
        if not hasattr(self.simulator, "loosened"):
            return None
        options = options_of(self.simulator, parameters[None], nuisance)
        values = options.get("nuisance", {})
        if values:
            options["nuisance"] = {name: one[0] for name, one in values.items()}
        changed = self.simulator.loosened(factor, **options)
        return None if changed is None else Sample(changed)

    def refined(self):
        """Return this on a finer mesh, or None."""
        if not hasattr(self.simulator, "refined"):
            return None
        changed = self.simulator.refined()
        return None if changed is None else Sample(changed)

    @property
    def n_points(self):
        """Points of its mesh."""
        return _mesh_points(self.simulator)


@dataclass(frozen=True, eq=False)
class OtherCrystal:
    """A simulator of constants that are known, which follows the instrument."""

    simulator: Any
    followed: tuple = ()  # nuisances of the instrument, among those of the fit
    known: dict = field(default_factory=dict)  # what was simulated, by their values
    alike: float = _ALIKE

    @property
    def reference(self):
        """Its constants, as a row."""
        return np.asarray(self.simulator.reference, dtype=float)[None]

    def simulate(self, rows, nuisance, sample=None):
        """Return spectra (n_rows, n_pixels), each condition simulated once."""
        places = self._places(rows.shape[1], nuisance)
        if not places:
            spectrum, _ = self._found(np.zeros(0), nuisance)
            return np.broadcast_to(spectrum, (len(rows), len(spectrum)))
        values, which = np.unique(rows[:, places], axis=0, return_inverse=True)
        found = [self._found(each, nuisance)[0] for each in values]
        return np.stack(found)[which.ravel()]

    def differentiate(self, parameters, nuisance, steps, sample=None):
        """Return a spectrum, and derivatives that are 0 with the sample's constants."""
        places = self._places(len(parameters), nuisance)
        spectrum, slopes = self._found(
            parameters[places], nuisance, _DIFFERENCE * steps[places]
        )
        derivatives = np.zeros((len(spectrum), len(parameters)))
        derivatives[:, places] = slopes
        return spectrum, derivatives

    def loosened(self, factor, parameters, nuisance):
        """Return None: one spectrum is cheap, and not simulated again."""

    def refined(self):
        """Return this on a finer mesh, or None."""
        if not hasattr(self.simulator, "refined"):
            return None
        changed = self.simulator.refined()
        return None if changed is None else OtherCrystal(changed, self.followed)

    n_points = 0  # never loosened

    def _places(self, n_parameters, nuisance):
        """Return which of the parameters of a fit it follows."""
        first = n_parameters - len(nuisance)
        names = list(nuisance)
        return [first + names.index(name) for name in self.followed]

    def _found(self, values, nuisance, steps=None):
        """Return a spectrum and its derivatives, the latter if steps are given."""
        name = tuple(values.tolist())
        spectrum, slopes = self.known.get(name, (None, None))
        if spectrum is None or (steps is not None and slopes is None):
            spectrum, slopes = self._make(values, nuisance, steps)
            while len(self.known) >= _REMEMBERED:
                self.known.pop(next(iter(self.known)), None)
            self.known[name] = spectrum, slopes
        return spectrum, slopes

    def _make(self, values, nuisance, steps):
        followed = {name: nuisance[name] for name in self.followed}
        if not followed:
            spectrum = self.simulator.simulate(self.reference)[0]
            return spectrum, np.zeros((len(spectrum), 0))

        def simulate(rows):
            options = options_of(self.simulator, rows, followed)
            constants = np.tile(self.reference, (len(rows), 1))
            return self.simulator.simulate(constants, **options)

        if steps is None:
            return simulate(values[None])[0], None
        if not hasattr(self.simulator, "jacobian"):
            return _by_differences(simulate, values, steps)
        derivatives, spectra = self.simulator.jacobian(
            self.reference,
            return_spectra=True,
            **options_of(self.simulator, values[None], followed),
        )
        return spectra[0], derivatives[0, :, -len(followed) :]


@dataclass(frozen=True, eq=False)
class FixedRow:
    """A spectrum that nothing changes, perhaps with errors."""

    row: np.ndarray
    error: np.ndarray | None = None
    alike: float = _ALIKE

    def simulate(self, rows, nuisance, sample=None):
        """Return the spectrum for each row."""
        return np.broadcast_to(self.row, (len(rows), len(self.row)))

    def differentiate(self, parameters, nuisance, steps, sample=None):
        """Return the spectrum, and derivatives of zero."""
        return self.row, np.zeros((len(self.row), len(parameters)))

    def loosened(self, factor, parameters, nuisance):
        """Return None: there is no mesh."""

    def refined(self):
        """Return None: there is no mesh."""

    n_points = 0


@dataclass(frozen=True, eq=False)
class FromSample:
    """What follows linearly from the spectrum of the sample, part by part."""

    contribution: Any
    parts: list  # pairs of a slice of pixels and its grid
    alike: float = _ALIKE_OWN

    def simulate(self, rows, nuisance, sample):
        """Return spectra from those of the sample."""
        return np.hstack(
            [
                self.contribution.of_sample(sample[:, pixels], grid)
                for pixels, grid in self.parts
            ]
        )

    def differentiate(self, parameters, nuisance, steps, sample):
        """Return a spectrum and derivatives from those of the sample."""
        spectrum, derivatives = sample
        whole = np.vstack([spectrum, derivatives.T])
        whole = self.simulate(whole, nuisance, whole)
        return whole[0], whole[1:].T

    def loosened(self, factor, parameters, nuisance):
        """Return None: the sample has the mesh."""

    def refined(self):
        """Return None: the sample has the mesh."""

    n_points = 0


def options_of(simulator, rows, nuisance):
    """Return the options of a call that has nuisances; those without know none."""
    if not nuisance:
        return {}
    columns = rows.T[len(rows.T) - len(nuisance) :]
    values, ranges = dict(zip(nuisance, columns, strict=True)), nuisance
    if hasattr(simulator, "working_ranges"):
        ranges = simulator.working_ranges(values, ranges)
    return {"nuisance": values, "nuisance_ranges": ranges}


def _by_differences(simulate, values, steps):
    """Return a spectrum and its derivatives by central differences."""
    moves = np.diag(steps)
    spectra = simulate(values + np.concatenate([0 * moves[:1], moves, -moves]))
    up, down = np.split(spectra[1:], 2)
    return spectra[0], ((up - down) / (2 * steps[:, None])).T


def _mesh_points(simulator):
    """Return how many points the meshes of a simulator and of its parts have."""
    parts = getattr(simulator, "parts", None)
    if parts is not None:
        return sum(_mesh_points(part) for _, part in parts.values())
    mesh = getattr(simulator, "mesh", None)
    return int(np.prod(getattr(mesh, "size", 1)))
