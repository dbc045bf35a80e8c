"""Points of (|Q|, E) or (h, k, l, E), brought onto the grid that they form."""

import numpy as np

__all__ = ["axis_of", "image_of", "rows_by_mask"]

_SAME = 1e-5  # of the span of an axis: rounding of text
_FILLED = 0.1  # of the grid, by the points on it
_SMALL = 4  # points, which form no grid


def image_of(q, energy, columns, where, spectrum=None):
    """Return axes, and images of energy by |Q| or wavevector, NaN without a point.

    `q` has shape (n_points,) or (n_points, 3), `columns` are arrays of values of the
    points, `spectrum` the number of each one's image; an error begins with `where`.
    """
    energies, row = axis_of(energy)
    if q.ndim == 1:
        moduli, column = axis_of(q)
    else:
        moduli, column = _wavevectors(q)
    shape: tuple[int, ...] = (len(energies), len(moduli))
    n_spectra = 1 if spectrum is None else int(spectrum.max()) + 1
    _require_grid(len(energy) / n_spectra, shape, where)
    place = row.astype(np.intp) * shape[1] + column
    del row, column
    if spectrum is not None:
        place = spectrum * shape[0] * shape[1] + place
        shape = n_spectra, *shape
    taken = np.bincount(place, minlength=np.prod(shape))
    if taken.max() > 1:
        first = int(taken.argmax()) % (len(energies) * len(moduli))
        at = np.array2string(np.atleast_1d(moduli[first % len(moduli)]), precision=5)
        raise ValueError(
            f"{where} must tell each point once, got {(taken > 1).sum()} of them "
            f"several times, such as Q = {at}, E = {energies[first // len(moduli)]:g} "
            f"meV {taken.max()} times. Average them first, or leave out what was "
            "repeated; scans of a triple-axis spectrometer are added up by "
            "skphonon.io.read_triple_axis."
        )
    images = []
    for values in columns:
        image = np.full(shape, np.nan)
        image.ravel()[place] = values
        images.append(image)
    return moduli, energies, images


def axis_of(values, tolerance=None):
    """Return the different values of an axis, increasing, and which one each is."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    if tolerance is None:
        tolerance = _SAME * (ordered[-1] - ordered[0])
    begins = np.ones(len(ordered), dtype=bool)
    begins[1:] = np.diff(ordered) > tolerance
    axis = ordered[begins]
    del ordered
    which = np.empty(len(values), dtype=np.int32)
    which[order] = np.cumsum(begins, dtype=np.int32) - 1
    return axis, which


def _wavevectors(q):
    """Return different wavevectors as they appear, and which one each is."""
    parts = [axis_of(part) for part in q.T]
    places = np.stack([which for _, which in parts], axis=1)
    _, first, which = np.unique(places, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order))
    return q[first[order]], rank[which.ravel()]


def _require_grid(n_points, shape, where):
    share = n_points / (shape[0] * shape[1])
    alone = n_points > 1 and min(shape) > n_points / 2
    if share < _FILLED or (alone and n_points >= _SMALL) or (alone and share < 0.5):
        raise ValueError(
            f"{where} must hold points of a grid, got {n_points:g} points at "
            f"{shape[1]} places in Q and {shape[0]} energies, which fill {share:.2g} "
            "of the grid. Bin them first, for instance with "
            "scipy.stats.binned_statistic_2d, and pass the image to "
            "Measurement.from_arrays."
        )


def rows_by_mask(measurement):
    """Return data and errors, NaN where the grid was told that nothing was measured.

    The kinematic window of a grid without a mask hides nothing.
    """
    mask = measurement.grid.settings()["mask"]
    rows = [measurement.data, measurement.error]
    if mask is None:
        return rows
    return [
        None if each is None else np.where(np.ravel(mask), each, np.nan)
        for each in rows
    ]
