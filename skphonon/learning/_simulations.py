"""Pixels of simulations at drawn parameters, the training sets of surrogates."""

import numpy as np
from sklearn.utils import Bunch
from tqdm.auto import tqdm

from skphonon._validation import check_box
from skphonon.instrument.grid import pixel_coordinates
from skphonon.physics.priors import parameter_scales

__all__ = ["draw_simulations"]

_CHUNK = 16  # simulations between two looks at the progress bar
_DRAWS = 100  # rounds of drawing before too little is stable


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
    """Simulate drawn parameters and return some visible pixels of each.

    Parameters
    ----------
    simulator, n_simulations, bounds, spread, n_pixels, coordinates
        As for ImplicitSpectrumModel.fit_simulator.
    random_state : numpy.random.RandomState
        Source of parameters and pixels.
    verbose : int
        Whether to show a progress bar.

    Returns
    -------
    Bunch
        `X` (n_rows, n_coordinates + n_parameters) and `y` (n_rows,), float32, rows of
        a simulation together, `n_each` of them; `ranges` (n_columns, 2) of X;
        `coordinates` (n_pixels, n_coordinates) and `visible` (n_pixels,) of all pixels.

    Raises
    ------
    ValueError
        As for ImplicitSpectrumModel.fit_simulator.
    """
    box = _box(simulator, bounds, spread)
    sets = _draw(simulator, n_simulations, box, random_state)
    places, visible, X, y = None, None, [], []
    with tqdm(total=len(sets), desc="Simulating", disable=not verbose) as progress:
        for rows in np.array_split(sets, -(-len(sets) // _CHUNK)):
            spectra = simulator.simulate(rows)
            if places is None:
                visible = np.isfinite(spectra[0])
                places = _places(simulator, coordinates, visible)
                n_each = min(n_pixels or visible.sum(), visible.sum())
            for row, spectrum in zip(rows, _refuse_bad(spectra, visible), strict=True):
                seen = np.flatnonzero(visible)
                chosen = random_state.permutation(len(seen))[:n_each]
                these = np.hstack([places[seen[chosen]], np.tile(row, (n_each, 1))])
                X.append(these.astype(np.float32))
                y.append(spectrum[chosen].astype(np.float32))
            progress.update(len(rows))
    ranges = np.vstack(
        [np.array([places[visible].min(axis=0), places[visible].max(axis=0)]).T, box.T]
    )
    return Bunch(
        X=np.concatenate(X),
        y=np.concatenate(y),
        n_each=n_each,
        ranges=ranges,
        coordinates=places,
        visible=visible,
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
