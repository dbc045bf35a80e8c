"""Augmentation of simulated spectra: random differences, as between measurements.

Ranges are a dict from names to pairs (low, high), `noise` among them. Each spectrum has
random streams of its own, which depend on the seed and the number of its row alone, so
that it stays the same whatever else is drawn.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from skphonon.instrument.background import term_orders, terms_on_axes
from skphonon.instrument.holders import MODELLED
from skphonon.instrument.noise import count

__all__ = [
    "HOLDERS",
    "Coverage",
    "augment",
    "counted",
    "draw_values",
    "nuisances_among",
    "settle_range",
    "settle_ranges",
    "stream",
    "value_at",
]

Array = NDArray[np.float64]
Pair = tuple[float, float]

_GENERIC = ("noise", "scale", "background", "counts")
#: Materials of holders, by the name under which their scattering may be asked for.
HOLDERS = {f"holder of {material}": material for material in MODELLED}
#: What has streams of its own, so that it changes no other value.
_OTHERS = ("ripples", *HOLDERS)
_EVEN_IN_LOGARITHM = ("scale", "counts")
_MOST = 1e12  # neutrons in the mean pixel: beyond it the noise of counts is rounding
_DEGREE = 3  # of the background, in energy and |Q| together
_ORDERS = term_orders(_DEGREE, 2)
_COEFFICIENTS = [f"background_{k}{n}" for k, n in _ORDERS]
_WHITE, _VALUES, _COUNTS, _BESIDE, _RIPPLES = (), (1,), (2,), (3,), (4,)  # of a row
_SKEWED = ("ripples",)  # drawn by the cube of a uniform number: few are strong
_LENGTHS = 1.0, 6.0  # standard deviation in pixels of what ripples are smoothed by


def settle_ranges(
    simulator: Any, noise: float | Pair, augmentation: Mapping[str, Any] | None
) -> dict[str, Pair]:
    """Return checked ranges by name, in one order, nuisances of the simulator last."""
    augmentation = {} if augmentation is None else augmentation
    if not isinstance(augmentation, Mapping):
        raise TypeError(f"augmentation must be a dict, got {augmentation!r}.")
    crystal = getattr(simulator, "model", None)
    holders = HOLDERS if hasattr(crystal, "bond_tensors") else ()
    nuisances = getattr(simulator, "nuisance_names", ())
    offered = [*_GENERIC[1:], *nuisances, "ripples", *holders]
    for name in augmentation:
        if name == "noise":
            raise ValueError(
                "augmentation must not name noise, which is an argument of its own; "
                f"got {augmentation[name]!r}. Give noise={augmentation[name]!r} beside "
                "augmentation."
            )
        if name not in offered:
            raise ValueError(
                f"augmentation must name some of {', '.join(offered)}, which this "
                f"simulator offers; got {name!r}."
            )
    asked = {"noise": noise, **augmentation}
    return {
        name: settle_range(name, asked[name])
        for name in ["noise", *offered]
        if name in asked
    }


def settle_range(name: str, given: ArrayLike) -> Pair:
    """Return a number or a pair, asked for under a name, as a checked pair of float."""
    pair = np.asarray(given, dtype=float)
    if pair.shape not in ((), (2,)) or not np.isfinite(pair).all():
        raise ValueError(
            f"{name} must be a number or a pair (low, high), got {given!r}."
        )
    low, high = (float(v) for v in np.broadcast_to(pair, 2))
    if low > high:
        raise ValueError(
            f"{name} must be a pair (low, high), low not above high; got {given!r}."
        )
    if name in ("noise", "background", *_OTHERS) and low < 0:
        raise ValueError(f"{name} must not be negative, got {given!r}.")
    if name in _EVEN_IN_LOGARITHM and low <= 0:
        raise ValueError(f"{name} must be positive, got {given!r}.")
    if name == "counts" and high > _MOST:
        raise ValueError(
            f"counts must be at most {_MOST:g} neutrons in the mean pixel, got "
            f"{given!r}. Leave them out for spectra without noise."
        )
    return low, high


def nuisances_among(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some values or ranges by name that belong to the simulator."""
    others = {*_GENERIC, *_COEFFICIENTS, *_OTHERS}
    return {name: value for name, value in values.items() if name not in others}


def value_at(share: Any, pair: Pair, in_logarithm: bool = False) -> Any:
    """Return the value at a share, from 0 to 1, of a range."""
    low, high = pair
    return low * (high / low) ** share if in_logarithm else low + (high - low) * share


def draw_values(
    simulator: Any, ranges: Mapping[str, Pair], seed: int, rows: range
) -> dict[str, Array]:
    """Draw values of shape (n_rows,) by name; a background by its coefficients too."""
    names = [*_GENERIC, *getattr(simulator, "nuisance_names", ())]
    drawn = {name: np.empty(len(rows)) for name in ranges}
    shapes = np.empty((len(rows), len(_ORDERS)))
    for place, row in enumerate(rows):
        rng = stream(seed, row, _VALUES)
        # one for each name that there is: a further range changes no other value
        shares = dict(zip(names, rng.uniform(size=len(names)), strict=True))
        if any(name in _OTHERS for name in ranges):
            beside = stream(seed, row, _BESIDE).uniform(size=len(_OTHERS))
            shares |= dict(zip(_OTHERS, beside, strict=True))
        for name, pair in ranges.items():
            even = name in _EVEN_IN_LOGARITHM
            share = shares[name] ** 3 if name in _SKEWED else shares[name]
            drawn[name][place] = value_at(share, pair, even)
        shapes[place] = rng.standard_normal(len(_ORDERS))
    if "background" in ranges:
        shapes /= [1 + k + n for k, n in _ORDERS]
        size = np.sqrt(((shapes @ _visible_terms(simulator)) ** 2).mean(axis=1))
        shapes *= (drawn["background"] / size)[:, None]
        drawn.update(zip(_COEFFICIENTS, shapes.T, strict=True))
    return drawn


def augment(
    simulator: Any, spectra: Array, drawn: Mapping[str, Array], seed: int, rows: range
) -> Array:
    """Add background, ripples and noise to simulated spectra, and scale them."""
    others = {"noise", *nuisances_among(drawn), *HOLDERS}
    if drawn.keys() <= others and not drawn["noise"].any():
        return spectra
    augmented = spectra.copy()
    backgrounds = np.zeros((len(rows), 1))
    if "background" in drawn:
        coefficients = np.stack([drawn[name] for name in _COEFFICIENTS], axis=1)
        backgrounds = coefficients @ _visible_terms(simulator)
    for place, row in enumerate(rows):
        spectrum = augmented[place]
        visible = ~np.isnan(spectrum)
        values = spectrum[visible]
        deviation = values.std()
        values = values + deviation * backgrounds[place]
        if "ripples" in drawn:
            ripples = _ripples(simulator.grid, seed, row)[visible]
            values += drawn["ripples"][place] * deviation * ripples
        if "counts" in drawn:
            values = counted(values, drawn["counts"][place], seed, row)
        if drawn["noise"][place] > 0:
            white = stream(seed, row, _WHITE).standard_normal(values.size)
            values += drawn["noise"][place] * deviation * white
        if "scale" in drawn:
            values *= drawn["scale"][place]
        spectrum[visible] = values
    return augmented


def _ripples(grid: Any, seed: int, row: int) -> Array:
    """Return noise of unit variance that is alike over a few pixels of a grid."""
    rng = stream(seed, row, _RIPPLES)
    axes = grid.axes()
    low, high = _LENGTHS
    lengths = [value_at(share, (low, high), True) for share in rng.uniform(size=2)]
    white = rng.standard_normal([len(axis) for axis in axes])
    smooth = gaussian_filter(white, lengths, mode="wrap").ravel()
    ripples: Array = (smooth - smooth.mean()) / smooth.std()
    return ripples


def counted(values: Array, counts: float, seed: int, row: int) -> Array:
    """Return values of a row as `count` shows them, from a stream of their own."""
    return count(stream(seed, row, _COUNTS), values, counts)


def stream(seed: int, row: int, which: tuple[int, ...]) -> np.random.RandomState:
    """Return a random generator of a row; streams of other numbers are independent."""
    # numpy keeps the stream of a RandomState the same in all its versions
    seeds = np.random.SeedSequence(seed, spawn_key=(row, *which))
    return np.random.RandomState(np.random.MT19937(seeds))


def _visible_terms(simulator: Any) -> Array:
    grid = simulator.grid
    return terms_on_axes(grid.axes(), _DEGREE)[:, np.ravel(grid.mask)]


class Coverage(NamedTuple):
    """Pixels that each of several patterns, such as orientations, sees.

    As bits: a hundred orientations of a million voxels take 12 MB.
    """

    bits: NDArray[np.uint8]  # (n_patterns, ..., n / 8)
    n: int  # pixels of the last axis

    @classmethod
    def of(cls, patterns: NDArray[np.bool_]) -> "Coverage":
        """Return a coverage of patterns of shape (n_patterns, ..., n)."""
        return cls(np.packbits(patterns, axis=-1), patterns.shape[-1])

    def together(
        self, chosen: NDArray[np.intp], alive: NDArray[np.bool_] | None = None
    ) -> NDArray[np.bool_]:
        """Return the pixels, (..., n), that some of the patterns see together.

        Only `alive` pixels of the last axis count, of shape (n_chosen, n).
        """
        bits = self.bits[chosen]
        if alive is not None:
            between = (1,) * (bits.ndim - 2)
            packed = np.packbits(alive, axis=-1)
            bits = bits & packed.reshape(len(packed), *between, -1)
        together = np.bitwise_or.reduce(bits, axis=0)
        return np.unpackbits(together, axis=-1, count=self.n).astype(bool)
