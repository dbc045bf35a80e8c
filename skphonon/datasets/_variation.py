"""What an experiment makes of simulated spectra: drawn for each, then applied.

Ranges are a dict from names to pairs (low, high), `noise` among them. Each spectrum has
random streams of its own, which depend on the seed and the number of its row alone.
"""

from collections.abc import Mapping

import numpy as np

from skphonon.instrument.background import term_orders, terms_on_axes

__all__ = [
    "counted",
    "disturb",
    "draw_variation",
    "nuisance_of",
    "settle_range",
    "settle_variation",
    "stream",
]

_GENERIC = ("noise", "scale", "background", "counts")
_EVEN_IN_LOGARITHM = ("scale", "counts")
_DEGREE = 3  # of the background, in energy and |Q| together
_ORDERS = term_orders(_DEGREE, 2)
_WHITE, _VALUES, _COUNTS = (), (1,), (2,)  # streams of a row


def settle_variation(simulator, noise, variation):
    """Check what is asked for; return ranges by name, always in the same order.

    Parameters
    ----------
    simulator : object
        Anything with ``simulate``; ``nuisance_names`` tell what it can vary.
    noise : float or pair of float
        Relative standard deviation of white noise.
    variation : dict or None
        From names to pairs (low, high) or to a number.

    Returns
    -------
    dict
        From names to pairs of float, the nuisances of the simulator last.

    Raises
    ------
    ValueError
        If a name is unknown, or a range is not one or out of range.
    TypeError
        If variation is not a dict.
    """
    variation = {} if variation is None else variation
    if not isinstance(variation, Mapping):
        raise TypeError(f"variation must be a dict, got {variation!r}.")
    offered = [*_GENERIC[1:], *getattr(simulator, "nuisance_names", ())]
    for name in variation:
        if name not in offered:
            raise ValueError(
                f"variation must name some of {', '.join(offered)}, which this "
                f"simulator offers; got {name!r}."
            )
    asked = {"noise": noise, **variation}
    return {
        name: settle_range(name, asked[name])
        for name in ["noise", *offered]
        if name in asked
    }


def nuisance_of(values):
    """Return those of some values or ranges by name that belong to the simulator."""
    return {
        name: value
        for name, value in values.items()
        if name not in _GENERIC and name not in _columns()
    }


def draw_variation(simulator, ranges, seed, rows):
    """Draw what differs between spectra.

    Parameters
    ----------
    simulator : object
        The same as for `settle_variation`; a background needs its ``grid``.
    ranges : dict
        From `settle_variation`.
    seed : int
        Seed of all rows.
    rows : range
        Numbers of the rows.

    Returns
    -------
    dict
        From names to arrays of shape (n_rows,): those of `ranges`, and with
        ``"background"`` its coefficients.
    """
    names = [*_GENERIC, *getattr(simulator, "nuisance_names", ())]
    drawn = {name: np.empty(len(rows)) for name in ranges}
    shapes = np.empty((len(rows), len(_ORDERS)))
    for place, row in enumerate(rows):
        rng = stream(seed, row, _VALUES)
        # one for each name that there is: a further range changes no other value
        shares = dict(zip(names, rng.uniform(size=len(names)), strict=True))
        for name, (low, high) in ranges.items():
            drawn[name][place] = (
                low * (high / low) ** shares[name]
                if name in _EVEN_IN_LOGARITHM
                else low + (high - low) * shares[name]
            )
        shapes[place] = rng.standard_normal(len(_ORDERS))
    if "background" in ranges:
        shapes /= [1 + k + n for k, n in _ORDERS]
        size = np.sqrt(((shapes @ _visible_basis(simulator)) ** 2).mean(axis=1))
        shapes *= (drawn["background"] / size)[:, None]
        drawn.update(zip(_columns(), shapes.T, strict=True))
    return drawn


def disturb(simulator, spectra, drawn, seed, rows):
    """Add background and noise to spectra, and scale them.

    Parameters
    ----------
    simulator : object
        The same as for `draw_variation`.
    spectra : ndarray of shape (n_rows, n_pixels)
        Simulated, NaN where nothing is seen.
    drawn : dict
        From `draw_variation`, for these rows.
    seed : int
        The same.
    rows : range
        The same.

    Returns
    -------
    ndarray of shape (n_rows, n_pixels)
        A copy, unless there is nothing to do.
    """
    if drawn.keys() <= {"noise", *nuisance_of(drawn)} and not drawn["noise"].any():
        return spectra
    disturbed = spectra.copy()
    backgrounds = np.zeros(len(rows))
    if "background" in drawn:
        coefficients = np.stack([drawn[name] for name in _columns()], axis=1)
        backgrounds = coefficients @ _visible_basis(simulator)
    for place, row in enumerate(rows):
        spectrum = disturbed[place]
        visible = ~np.isnan(spectrum)
        values = spectrum[visible]
        deviation = values.std()
        values = values + deviation * backgrounds[place]
        if "counts" in drawn:
            values = counted(values, drawn["counts"][place], seed, row)
        if drawn["noise"][place] > 0:
            white = stream(seed, row, _WHITE).standard_normal(values.size)
            values += drawn["noise"][place] * deviation * white
        if "scale" in drawn:
            values *= drawn["scale"][place]
        spectrum[visible] = values
    return disturbed


def settle_range(name, given):
    """Return what is asked for of a name as a pair of float, checked.

    Raises
    ------
    ValueError
        If it is neither a number nor a pair, or out of range.
    """
    pair = np.asarray(given, dtype=float)
    if pair.shape not in ((), (2,)) or not np.isfinite(pair).all():
        raise ValueError(
            f"{name} must be a number or a pair (low, high), got {given!r}."
        )
    low, high = (float(v) for v in np.broadcast_to(pair, 2))
    if low > high:
        raise ValueError(f"{name} must be a pair (low, high), got {given!r}.")
    if name in ("noise", "background") and low < 0:
        raise ValueError(f"{name} must not be negative, got {given!r}.")
    if name in _EVEN_IN_LOGARITHM and low <= 0:
        raise ValueError(f"{name} must be positive, got {given!r}.")
    return low, high


def stream(seed, row, which):
    """Return a random generator of a row; streams of other numbers are independent."""
    # numpy keeps the stream of a RandomState the same in all its versions
    seeds = np.random.SeedSequence(seed, spawn_key=(row, *which))
    return np.random.RandomState(np.random.MT19937(seeds))


def _columns():
    return [f"background_{k}{n}" for k, n in _ORDERS]


def _visible_basis(simulator):
    grid = simulator.grid
    return terms_on_axes(grid.axes(), _DEGREE)[:, np.ravel(grid.mask)]


def counted(values, counts, seed, row):
    """Draw counts of a mean in proportion to the values; the sign stays."""
    mean = abs(values).mean()
    if mean == 0:
        return values
    unit = mean / counts
    drawn = stream(seed, row, _COUNTS).poisson(abs(values) / unit)
    return np.sign(values) * drawn * unit
