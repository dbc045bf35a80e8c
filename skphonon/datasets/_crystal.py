"""Labelled single-crystal spectra: a few orientations, little time, dead detectors."""

from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.utils.parallel import Parallel

from skphonon._moved import renamed
from skphonon.datasets._synthetic import collect, draw_parameters, simulate_chunks
from skphonon.instrument.augmentation import (
    Coverage,
    counted,
    settle_range,
    settle_ranges,
    stream,
    value_at,
)
from skphonon.instrument.background import centred

__all__ = ["make_crystal_spectra"]

_NUMBERS = 1 << 22  # of the spectra that a task simulates at once
_TUBE = 1.0  # degree, that a detector covers
_SEEN = (3,)  # stream of a row: its orientations, dead detectors and background


@renamed(variation="augmentation")
def make_crystal_spectra(
    simulator,
    n_samples=None,
    *,
    parameters=None,
    spread=0.5,
    n_orientations=None,
    counts=None,
    background=0.0,
    dead=0.0,
    augmentation=None,
    dtype="float64",
    random_state=None,
    n_jobs=None,
    verbose=0,
):
    """Simulate single-crystal spectra as they are measured, for many parameter sets.

    Sets are drawn as by :func:`make_powder_spectra`, unless they are given. Each
    spectrum is simulated as a whole; then come background and counting noise, and
    voxels that its own orientations and detectors do not see become NaN.

    Parameters
    ----------
    simulator : SingleCrystalSimulator
        Or anything with ``simulate``, ``reference``, ``parameter_names`` and ``grid``.
    n_samples, parameters, spread : int, array-like, float
        As for :func:`make_powder_spectra`.
    n_orientations : int or pair of int, default=None
        Number of angles `psi` of the :class:`CrystalGrid` that each spectrum has,
        chosen at random; a pair (low, high) draws the number, both ends included. None:
        all that the grid sees.
    counts : float or pair of float, default=None
        Neutrons in a visible voxel of mean intensity, background included: voxels
        become Poisson counts, put back to their scale. A pair (low, high) draws one for
        each spectrum, uniformly in its logarithm. None: no noise.
    background : float or pair of float, default=0.0
        Mean of a background in units of the mean visible intensity, uniform in a pair
        (low, high). It is linear in energy, with a relative slope between flat and zero
        at one end, drawn uniformly.
    dead : float or pair of float, default=0.0
        Share of the detectors that record nothing, below 1; uniform in a pair (low,
        high). A detector is a vertical tube that covers one degree of the horizontal
        angle of scattered neutrons. On a grid without `psi`: share of the wavevectors.
    augmentation : dict, default=None
        From `nuisance_names` of the simulator to ranges (low, high) or numbers, as for
        :func:`make_powder_spectra`.
    dtype : {"float64", "float32"}, default="float64"
        Type of X.
    random_state : int, RandomState instance or None, default=None
        Seed of all that is drawn. The same seed gives the same spectra whatever
        `n_jobs`.
    n_jobs : int, default=None
        Processes to simulate in, as in joblib.
    verbose : int, default=0
        Positive shows a progress bar.

    Returns
    -------
    X : ndarray of shape (n_samples, n_pixels)
        One spectrum a row, NaN where it was not measured.
    y : ndarray of shape (n_samples, n_parameters)
        The parameters, in the simulator's order.

    Raises
    ------
    ValueError
        If numbers of samples contradict one another, a range is none or out of range,
        orientations are asked for that the grid does not have, or orientations drawn
        for a spectrum see nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import CrystalGrid, SingleCrystalSimulator, load_aluminium_model
    >>> from skphonon.datasets import make_crystal_spectra
    >>> grid = CrystalGrid(
    ...     np.arange(5, 45, 5.0), np.linspace(-3, 3, 13), np.linspace(-3, 3, 13), 0.0,
    ...     lattice=4.04 * np.eye(3), psi=np.arange(0, 90, 5.0), incident_energy=60.0,
    ... )
    >>> simulator = SingleCrystalSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.0
    ... )
    >>> X, y = make_crystal_spectra(
    ...     simulator, 3, n_orientations=1, counts=(10, 1000), random_state=0
    ... )
    >>> X.shape, y.shape
    ((3, 1352), (3, 5))
    """
    unknown = set(augmentation or ()) - set(getattr(simulator, "nuisance_names", ()))
    if unknown:
        raise ValueError(
            "augmentation must name nuisances of the simulator, got "
            f"{', '.join(sorted(unknown))}."
        )
    ranges = settle_ranges(simulator, 0.0, augmentation)
    grid = simulator.grid
    record = partial(
        _record, _measurement(grid, n_orientations, counts, background, dead)
    )
    y, seed = draw_parameters(simulator, n_samples, parameters, spread, random_state)
    size = max(1, _NUMBERS // grid.n_pixels)
    with Parallel(n_jobs=n_jobs, return_as="generator") as parallel:
        chunks = simulate_chunks(
            simulator, y, ranges, seed, parallel, size=size, record=record
        )
        return collect(chunks, len(y), verbose, dtype), y


class _Measurement(NamedTuple):
    """Orientations and detectors to choose from, and ranges to draw from."""

    energy: np.ndarray
    coverage: Coverage  # (n_psi, n_energy, n_q)
    tubes: np.ndarray  # (n_psi, n_q), number of the detector that sees a wavevector
    numbers: tuple[int, int]  # of orientations
    ranges: dict


def _measurement(grid, n_orientations, counts, background, dead):
    given = {"background": background, "dead": dead}
    if counts is not None:
        given["counts"] = counts
    ranges = {name: settle_range(name, value) for name, value in given.items()}
    if not 0 <= ranges["dead"][0] <= ranges["dead"][1] < 1:
        raise ValueError(
            f"dead must be a share of at least 0 and below 1, got {dead!r}."
        )
    psi = getattr(grid, "psi", None)
    if psi is None:
        covered, tubes = Coverage.of(grid.mask[None]), np.arange(grid.shape[1])[None]
    else:
        each = [Coverage.of(grid.coverage(a) & grid.mask).bits for a in np.ravel(psi)]
        covered = Coverage(np.concatenate(each), grid.shape[1])
        tubes = np.floor(grid.horizontal_angles() / _TUBE).astype(int)
        tubes -= tubes.min()
    n_patterns = len(covered.bits)
    asked = np.ravel(n_patterns if n_orientations is None else n_orientations)
    low, high = asked[0], asked[-1]
    whole = asked.dtype.kind in "iu" and len(asked) <= 2
    if not (whole and 1 <= low <= high <= n_patterns):
        raise ValueError(
            f"n_orientations must be 1 to {n_patterns}, which the grid has, or two "
            f"such numbers; got {n_orientations!r}."
        )
    return _Measurement(grid.axes()[0], covered, tubes, (int(low), int(high)), ranges)


def _record(measurement, simulator, spectra, drawn, seed, rows):
    """Return simulated spectra as they are measured."""
    for spectrum, row in zip(spectra, rows, strict=True):
        spectrum[:] = _recorded(measurement, spectrum, seed, row)
    return spectra


def _recorded(measurement, spectrum, seed, row):
    energy, coverage, tubes, (low, high), ranges = measurement
    rng = stream(seed, row, _SEEN)
    # all is drawn in any case: one setting changes nothing of the others
    order, shares = rng.permutation(len(tubes)), rng.uniform(size=5)
    faults = rng.uniform(size=tubes.max() + 1)
    chosen = order[: low + int(shares[0] * (high - low + 1))]
    dead = value_at(shares[1], ranges["dead"])
    seen = coverage.together(chosen, faults[tubes[chosen]] >= dead)
    if not seen.any():
        raise ValueError(
            f"Orientations number {sorted(chosen.tolist())} see no voxel of the grid. "
            "Ask for more of them or for fewer dead detectors, or crop psi."
        )
    found = spectrum.reshape(seen.shape)[seen]
    size = value_at(shares[2], ranges["background"])
    slope = (2 * shares[3] - 1) * centred(energy)
    found += size * found.mean() * np.repeat(1 + slope, seen.sum(axis=1))
    if "counts" in ranges:
        counts = value_at(shares[4], ranges["counts"], in_logarithm=True)
        found = counted(found, counts, seed, row)
    measured = np.full(seen.shape, np.nan)
    measured[seen] = found
    return measured.ravel()
