"""From what a user gives as contributions to spectra that are added up."""

from collections.abc import Mapping

import numpy as np

from skphonon.inversion._contributions import (
    FixedRow,
    FromSample,
    OtherCrystal,
    Sample,
)
from skphonon.inversion._model import parts_of
from skphonon.simulation.beside_sample import OF_THE_INSTRUMENT, of_holder

__all__ = ["contribution_names", "sources_of"]

_WIDTHS = ("energy_resolution", "q_resolution")  # numbers, or factors of functions
_TAKEN = ("scale", "sample")


def contribution_names(contributions, taken):
    """Return the names of contributions, numbers from 1 where they have none.

    Raises ValueError where a name is no text, or that of something else.
    """
    if not isinstance(contributions, Mapping):
        return [f"contribution {i + 1}" for i in range(len(contributions))]
    for name in contributions:
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"contributions must have texts for names, got {name!r}. Call them as "
                "they are to appear in nuisance_, such as 'can'."
            )
        begins_alike = name.startswith("background")
        if name in (*taken, *_TAKEN) or begins_alike or name.endswith(" std"):
            raise ValueError(
                "contributions must not have names of what else is fitted, got "
                f"{name!r}. Give another name."
            )
    return list(contributions)


def sources_of(simulator, contributions, expected, nuisance, n_pixels):
    """Return the sources of a Model: the sample, and each contribution.

    `expected` are the names of the constants of the sample. Raises ValueError or
    TypeError for contributions that do not go with the simulator.
    """
    given = contributions
    if isinstance(given, Mapping):
        given = list(given.values())
    labels = contribution_names(contributions, ())
    found: list = [Sample(simulator)]
    for name, other in zip(labels, given, strict=True):
        if isinstance(other, str):
            other = of_holder(other, simulator)
        if isinstance(other, type):
            raise TypeError(
                f"contributions must be objects, got the class {other.__name__} for "
                f"{name!r}. Call it: {other.__name__}(...)."
            )
        if hasattr(other, "of_sample"):
            found.append(FromSample(other, _powder_parts(simulator, other, n_pixels)))
        elif hasattr(other, "on"):
            tails = [other.on(part) for _, part in _parts(simulator, other, n_pixels)]
            found.append(FixedRow(np.hstack(tails)[0]))
        elif hasattr(other, "simulate"):
            _check_alike(name, other, simulator)
            source = _simulated(name, other, simulator, expected, nuisance)
            found.append(source)
        else:
            found.append(_measured(name, other, simulator, n_pixels))
        if not isinstance(found[-1], Sample | FromSample):
            _check_pixels(name, found[-1], expected, nuisance, n_pixels)
    return found


def _simulated(name, other, simulator, expected, nuisance):
    """Return a simulator of the sample's constants, or of another crystal."""
    names = list(getattr(other, "parameter_names", expected))
    if names == expected and _same_models(other, simulator):
        return Sample(other)
    if getattr(other, "reference", None) is None:
        raise ValueError(
            "contributions must be simulators of the same parameters, "
            f"{', '.join(expected)}, or have a reference at which they are held; "
            f"{name!r} has the parameters {', '.join(names)} and no reference."
        )
    known = list(getattr(other, "nuisance_names", ()))
    followed = tuple(
        label
        for label in nuisance
        if label in known and label.partition(" (")[0] in OF_THE_INSTRUMENT
    )
    for width in set(_WIDTHS) & set(followed):
        mine, theirs = (getattr(each, width, None) for each in (simulator, other))
        if callable(mine) != callable(theirs):
            kinds = [
                "a function" if callable(x) else "a number" for x in (mine, theirs)
            ]
            raise ValueError(
                f"contributions must have a {width} of the kind of the simulator, as "
                f"both follow the nuisance of that name; the simulator has {kinds[0]}, "
                f"{name!r} {kinds[1]}. Give both the same."
            )
    return OtherCrystal(other, followed)


def _same_models(other, simulator):
    """Tell whether simulators are of one crystal, as far as they tell."""
    pairs = zip(_models(other), _models(simulator), strict=False)
    return all(
        # what compares by identity only is another object in each copy
        a is None or b is None or type(a).__eq__ is object.__eq__ or a == b
        for a, b in pairs
    )


def _models(simulator):
    parts = getattr(simulator, "parts", None)
    if parts is None:
        return [getattr(simulator, "model", None)]
    return [model for _, part in parts.values() for model in _models(part)]


def _measured(name, other, simulator, n_pixels):
    """Return the spectrum of an empty can, measured or as a row."""
    error, row = None, other
    if hasattr(other, "grid") and hasattr(other, "data"):
        _check_alike(name, other, simulator)
        row, error = other.data, getattr(other, "error", None)
    try:
        row = np.asarray(row, dtype=float)
    except (TypeError, ValueError):
        row = None
    if row is None or row.ndim == 0:
        raise TypeError(
            "contributions must be simulators, a Measurement, rows of intensities, "
            f"MultipleScattering or ElasticTail; {name!r} is a "
            f"{type(other).__name__}. Of a model make a simulator, with the settings "
            "of the sample's."
        )
    if row.shape not in ((n_pixels,), (1, n_pixels)):
        raise ValueError(
            f"contributions must be on the pixels of the simulator, {n_pixels} in one "
            f"row; {name!r} has shape {row.shape}."
        )
    if not np.isfinite(row).any():
        raise ValueError(
            f"contributions must have finite intensities, got none of {name!r}."
        )
    error = None if error is None else np.asarray(error, dtype=float).ravel()
    row = row.ravel()
    return FixedRow(np.where(np.isfinite(row), row, np.nan), error)


def _check_alike(name, other, simulator):
    """Refuse another grid or quantity than that of the simulator."""
    for number, (a, b) in enumerate(
        zip(_all_parts(other), _all_parts(simulator), strict=False)
    ):
        grids = getattr(a, "grid", None), getattr(b, "grid", None)
        if None not in grids and not _same_pixels(*grids):
            where = f" (part {number + 1})" if number else ""
            raise ValueError(
                f"contributions must be on the grid of the simulator, "
                f"{_told(grids[1])}; {name!r}{where} is on {_told(grids[0])}. Make it "
                "on the grid of the simulator, or rebin it."
            )
        kinds = getattr(a, "quantity", None), getattr(b, "quantity", None)
        if None not in kinds and kinds[0] != kinds[1]:
            raise ValueError(
                f"contributions must be of the quantity of the simulator, {kinds[1]!r};"
                f" {name!r} is of {kinds[0]!r}. Set quantity={kinds[1]!r} there."
            )
    counts = len(_all_parts(other)), len(_all_parts(simulator))
    if counts[0] != counts[1]:
        raise ValueError(
            f"contributions must have the measurements of the simulator, {counts[1]}; "
            f"{name!r} has {counts[0]}. Give a JointSimulator of the same "
            "measurements, or a row of all pixels."
        )


def _all_parts(simulator):
    parts = getattr(simulator, "parts", None)
    return [simulator] if parts is None else [part for _, part in parts.values()]


def _same_pixels(a, b):
    """Tell whether the pixels of two grids are the same; masks may differ."""
    if type(a) is not type(b) or a.shape != b.shape:
        return False
    if not hasattr(a, "q") and not hasattr(a, "moduli"):
        return a.replace(mask=None) == b.replace(mask=None)
    if hasattr(a, "moduli") and not np.isclose(a.incident_energy, b.incident_energy):
        return False
    return all(np.allclose(x, y) for x, y in zip(a.axes(), b.axes(), strict=True))


def _told(grid):
    """Describe a grid in an error."""
    energy, columns = grid.axes()[0], np.asarray(grid.axes()[-1], dtype=float)
    shape = " x ".join(map(str, grid.shape))
    beside = f"{columns[0]:g} to {columns[-1]:g} in Q or angle"
    return f"{shape} pixels, {energy[0]:g} to {energy[-1]:g} meV, {beside}"


def _check_pixels(name, source, expected, nuisance, n_pixels):
    """Refuse what has another number of pixels, once it is simulated."""
    if isinstance(source, FixedRow):
        row = source.row[None]
    elif source.followed:
        if hasattr(source.simulator, "grid"):
            return  # that of the simulator, and simulated as a search begins
        row = source.simulator.simulate(source.reference)
    else:
        row = source.simulate(np.zeros((1, len(expected) + len(nuisance))), nuisance)
    if row.shape[1] != n_pixels:
        raise ValueError(
            f"contributions must be on the pixels of the simulator, {n_pixels} of "
            f"them; {name!r} has {row.shape[1]}."
        )


def _parts(simulator, other, n_pixels):
    """Return pairs of pixels and simulator of each part, which must have grids."""
    found = parts_of(simulator, n_pixels)
    for part in found:
        if getattr(part.simulator, "grid", None) is None:
            raise ValueError(
                f"{type(other).__name__} needs a simulator with a grid, got a "
                f"{type(part.simulator).__name__}. Give what scatters as a row of "
                "intensities."
            )
    return [(part.pixels, part.simulator) for part in found]


def _powder_parts(simulator, other, n_pixels):
    """Return pairs of pixels and grid of each part."""
    parts = _parts(simulator, other, n_pixels)
    for pixels, part in parts:  # which refuses other grids
        other.of_sample(np.zeros((1, pixels.stop - pixels.start)), part.grid)
    return [(pixels, part.grid) for pixels, part in parts]
