"""Training sets of surrogates: pixels of simulations at drawn parameters."""

from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from skphonon._validation import check_box
from skphonon.instrument.grid import pixel_coordinates
from skphonon.physics.priors import parameter_scales

__all__ = ["TrainingSet", "draw_simulations"]

_CHUNK = 16  # simulations between two steps of the progress bar
_DRAWS = 100  # rounds of drawing before too little is stable


class TrainingSet(NamedTuple):
    """Pixels of simulations, float32, those of one simulation together."""

    X: np.ndarray  # (n_rows, n_coordinates + n_parameters)
    y: np.ndarray  # (n_rows,)
    n_each: int  # rows of a simulation
    ranges: np.ndarray  # (n_columns, 2), least and largest values of columns of X
    coordinates: np.ndarray  # (n_pixels, n_coordinates) of all pixels
    visible: np.ndarray  # (n_pixels,) of bool


def draw_simulations(
    simulator,
    n_simulations,
    *,
    bounds,
    spread,
    n_pixels,
    coordinates,
    random_state,
    verbose,
):
    """Simulate drawn parameters and return some visible pixels of each."""
    box = _box(simulator, bounds, spread)
    sets = _draw(simulator, n_simulations, box, random_state)
    X: list[np.ndarray] = []
    y: list[np.ndarray] = []
    n_each = 0
    places, visible = np.empty((0, 0)), np.empty(0, dtype=bool)
    with tqdm(total=len(sets), desc="Simulating", disable=not verbose) as progress:
        for rows in np.array_split(sets, -(-len(sets) // _CHUNK)):
            spectra = simulator.simulate(rows)
            if not X:
                visible = np.isfinite(spectra[0])
                places = _places(simulator, coordinates, visible)
                n_each = min(n_pixels or visible.size, int(visible.sum()))
            for row, spectrum in zip(rows, _refuse_bad(spectra, visible), strict=True):
                seen = np.flatnonzero(visible)
                chosen = random_state.permutation(len(seen))[:n_each]
                these = np.hstack([places[seen[chosen]], np.tile(row, (n_each, 1))])
                X.append(these.astype(np.float32))
                y.append(spectrum[chosen].astype(np.float32))
            progress.update(len(rows))
    spans = np.array([places[visible].min(axis=0), places[visible].max(axis=0)])
    return TrainingSet(
        np.concatenate(X),
        np.concatenate(y),
        n_each,
        np.hstack([spans, box]).T,
        places,
        visible,
    )


def _box(simulator, bounds, spread):
    """Return least and largest parameters, shape (2, n_parameters)."""
    names, reference = list(simulator.parameter_names), np.asarray(simulator.reference)
    if bounds is None:
        half = np.broadcast_to(
            np.asarray(spread, float) * parameter_scales(reference, names), len(names)
        )
        box = np.array([reference - half, reference + half])
    else:
        box = np.asarray(bounds, dtype=float)
    return check_box(
        box,
        names,
        " Without bounds they follow from spread, which must not be zero.",
    )


def _draw(simulator, n_simulations, box, random_state):
    """Draw parameters evenly from a box, leaving out unstable ground states."""
    found, n_found = [], 0
    for _ in range(_DRAWS):
        rows = random_state.uniform(*box, (n_simulations, box.shape[1]))
        if hasattr(simulator, "is_stable"):
            rows = rows[simulator.is_stable(rows)]
        found.append(rows)
        n_found += len(rows)
        if n_found >= n_simulations:
            return np.concatenate(found)[:n_simulations]
    raise ValueError(
        f"The ground state must be stable somewhere in the box, {box.tolist()}; it is "
        f"for {n_found} of {_DRAWS * n_simulations} drawn sets. Choose other bounds."
    )


def _places(simulator, coordinates, visible):
    """Return the coordinates of all pixels of a simulation."""
    if coordinates is None:
        grid = getattr(simulator, "grid", None)
        if grid is None:
            raise ValueError(
                "Where the pixels are must be known; this simulator has no grid. Give "
                "coordinates, one row a pixel."
            )
        coordinates = pixel_coordinates(grid)
    places = np.asarray(coordinates, dtype=float)
    if places.ndim != 2 or len(places) != len(visible):
        raise ValueError(
            f"coordinates must have one row for each of {len(visible)} pixels of the "
            f"simulator, got shape {places.shape}."
        )
    return places


def _refuse_bad(spectra, visible):
    """Return visible pixels of simulations, all of them intensities."""
    spectra = spectra[:, visible]
    if not np.isfinite(spectra).all():
        raise ValueError(
            "Simulations must be finite at the same pixels for all parameters, got "
            f"{(~np.isfinite(spectra)).sum()} NaN or infinite values elsewhere. Choose "
            "bounds in which the simulator works."
        )
    return spectra
