"""Rebinning of detectors and energies on bins of (|Q|, E) or (Q, E).

A detector pixel and a bin of energy transfer are one measured number, an average of
S(Q, E) over a small region. A bin of the result is the mean of the numbers whose
regions, or parts of them, lie in it, each with the weight

    (solid angle of the pixel) * (overlap in energy) * (overlap in |Q|, powder only)

Errors are propagated from those in the file; the pieces of one number that fall in
neighbouring bins make the errors of these correlated, which is not kept.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument.crystal_grid import CrystalGrid
from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.instrument.grid import SpectrumGrid
from skphonon.instrument.measurement import Measurement, MeasurementWarning
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M
from skphonon.physics.scattering import final_energy, momentum_transfer

__all__ = ["reduce_crystal", "reduce_powder"]

_SAME_ENERGY = 0.01  # relative: files hold fits to monitors, run by run
_ROUNDING = 1e-6  # of borders of energy bins, relative to the bins
_WEIGHTS = ("solid_angle", "uniform")
_MOST = {"polar_width": 180.0, "azimuthal_width": 360.0}  # degrees
_ODD_WIDTHS = {
    "none": "without a width ({} of them) count as those of median width do",
    "wide": "wider than 360 degrees ({} of them) count as 360 degrees",
}


def reduce_powder(measured, grid, *, weights="solid_angle"):
    r"""Rebin the counts of detectors of a powder on energy and :math:`|Q|`.

    Every detector contributes to all bins of :math:`|Q|` that it spans at an energy
    transfer, from its `polar` and `polar_width`. Intensities that were not multiplied
    by :math:`k_i/k_f` are, so that the result is in proportion to S(Q, E).

    Parameters
    ----------
    measured : DetectorMeasurement or iterable of DetectorMeasurement
        From :func:`read_nxspe`; several runs of one incident energy are averaged, each
        with the same weight however long it counted.
    grid : SpectrumGrid
        The bins wanted. Its window is not used: the detectors tell where was measured.
    weights : {"solid_angle", "uniform"}, default="solid_angle"
        Weight of a detector in the mean: the solid angle that it spans, right for
        intensities divided by that of vanadium, the errors of which shrink with
        it; or the same for all. A detector without a width counts as one of median
        width, and none spans more than 360 degrees about the beam.

    Returns
    -------
    Measurement
        Of one spectrum in proportion to S(Q, E), with the temperature of the runs if it
        is the same. Data are NaN where no detector contributes, errors also where they
        are 0, for want of counts. The grid has the bins, the incident energy, and as
        mask what was measured; ``details["weights"]``, of the shape of the data, are
        the sums of weights, in sr meV or meV.

    Raises
    ------
    ValueError
        If the runs differ in incident energy by more than 1 %, it is not said whether
        they were multiplied by ki/kf, nothing falls on the grid, or an axis has a
        single bin.
    TypeError
        If a measurement has a grid already, or the grid is none.

    Warns
    -----
    MeasurementWarning
        If detectors have no width, or one of more than 360 degrees.

    See Also
    --------
    reduce_crystal : The same for single crystals.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import SpectrumGrid, read_nxspe, reduce_powder
    >>> grid = SpectrumGrid(np.arange(5, 50, 0.5), np.arange(0.5, 9, 0.1))
    >>> measured = read_nxspe("aluminium_60meV.nxspe")  # doctest: +SKIP
    >>> reduce_powder(measured, grid).data.shape  # doctest: +SKIP
    (1, 7650)
    """
    _check_grid(grid, SpectrumGrid)
    energy_edges, q_edges = grid.edges()
    sums, runs = np.zeros((3, *grid.shape)), _Runs(measured)
    for run in runs:
        weight = _detector_weights(run, weights, runs.odd_widths)
        value, variance = _sqe(run)
        half = np.nan_to_num(run.polar_width) / 2
        polar = np.abs(np.nan_to_num(run.polar))
        low, high = (np.clip(polar + side, 0, 180) for side in (-half, half))
        for source, target, centre, width in _pieces(run.energy_edges, energy_edges):
            near, far = (
                momentum_transfer(centre, run.incident_energy, a) for a in (low, high)
            )
            for column, share in _spread(near, far, q_edges):
                numbers = value[:, source], variance[:, source]
                _add(sums[:, target], column, width * share * weight, *numbers)
    return _averages(sums, grid, runs, {})


def reduce_crystal(measured, grid, *, weights="solid_angle"):
    r"""Histogram single-crystal measurements in energy and Q, in r.l.u.

    Each detector and energy counts where its centre lies: choose voxels that are not
    smaller than what a detector spans, or some stay empty. Intensities that were not
    multiplied by :math:`k_i/k_f` are, so that the result is in proportion to S(Q, E).

    Parameters
    ----------
    measured : DetectorMeasurement or iterable of DetectorMeasurement
        From :func:`read_nxspe`, one for each rotation `psi` of the crystal. A generator
        keeps one in memory at a time. All have the same weight.
    grid : CrystalGrid
        The voxels wanted, with the lattice and its orientation `u` and `v` at psi = 0.
        Its rotations, incident energy and detectors are not used.
    weights : {"solid_angle", "uniform"}, default="solid_angle"
        As for :func:`reduce_powder`.

    Returns
    -------
    Measurement
        As of :func:`reduce_powder`, with as `grid` a CrystalGrid with the angles psi
        and the incident energy of the runs, and as mask what was measured.

    Raises
    ------
    ValueError
        If the grid has no lattice or no size of voxels, the runs differ in incident
        energy by more than 1 %, it is not said how one was turned or whether it was
        multiplied by ki/kf, or nothing falls on the grid.
    TypeError
        As from :func:`reduce_powder`.

    Warns
    -----
    MeasurementWarning
        As from :func:`reduce_powder`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import CrystalGrid, read_nxspe, reduce_crystal
    >>> grid = CrystalGrid(
    ...     np.arange(5, 40, 1.0), np.linspace(-4, 4, 81), np.linspace(-4, 4, 81), 0.0,
    ...     lattice=5.658 * np.eye(3), u=(1, 0, 0), v=(0, 1, 0),
    ... )
    >>> runs = (read_nxspe(f"ge_{psi}.nxspe") for psi in range(90))
    >>> reduce_crystal(runs, grid).data.shape  # doctest: +SKIP
    (1, 229635)
    """
    _check_grid(grid, CrystalGrid)
    if grid.lattice is None:
        raise ValueError(
            "The grid must have a lattice to turn Q into r.l.u., got None. Set "
            "lattice, u and v."
        )
    energy_edges, *edges = grid.volume_edges()
    # wavevectors that the axes count, in the frame of u, v and the vertical
    steps = grid.in_instrument(grid.directions())
    sums, runs, psi = np.zeros((3, *grid.shape)), _Runs(measured), []
    for run in runs:
        weight = _detector_weights(run, weights, runs.odd_widths)
        value, variance = _sqe(run)
        psi.append(_psi(run))
        to_axes = _rotation(psi[-1]) @ np.linalg.inv(steps)
        for source, target, centre, width in _pieces(run.energy_edges, energy_edges):
            voxel = _voxels(_momentum(run, centre) @ to_axes, edges)
            numbers = value[:, source], variance[:, source]
            _add(sums[:, target], voxel, width * weight, *numbers)
    return _averages(sums, grid, runs, {"psi": np.array(psi)})


def _check_grid(grid, wanted):
    if not isinstance(grid, wanted):
        raise TypeError(
            f"grid must be a {wanted.__name__} of the bins wanted, after what was "
            "measured, a DetectorMeasurement or several; got "
            f"{type(grid).__name__} as grid."
        )


class _Runs:
    """Runs of one incident energy, one after the other, and their common settings.

    `odd_widths` counts detectors without a width, and with one of more than a turn.
    """

    def __init__(self, measured):
        self._measured = measured
        self.incident_energies, self.sources = [], []
        self._told: dict[str, set] = {"temperature": set(), "energy_resolution": set()}
        self.odd_widths: Counter[str] = Counter()

    def __iter__(self):
        if not isinstance(self._measured, Iterable) or isinstance(
            self._measured, Measurement
        ):
            self._measured = [self._measured]
        for run in self._measured:
            if not isinstance(run, DetectorMeasurement):
                raise TypeError(
                    "What is rebinned must be a DetectorMeasurement, as read_nxspe "
                    f"returns, or several; got {type(run).__name__}."
                )
            self.incident_energies.append(run.incident_energy)
            first = self.incident_energies[0]
            if abs(run.incident_energy - first) > _SAME_ENERGY * first:
                raise ValueError(
                    "Runs to be averaged must have one incident energy, got "
                    f"{first:g} and {run.incident_energy:g} meV. Reduce each on its "
                    "own."
                )
            self.sources.append(run.source)
            for name, values in self._told.items():
                values.add(getattr(run, name))
            yield run
        self._warn_of_widths()

    def common(self):
        """Return the settings of a measurement of all runs together."""
        told = {
            name: next(iter(values)) if len(values) == 1 else None
            for name, values in self._told.items()
        }
        sources = [source for source in self.sources if source]
        more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
        return {**told, "source": f"{sources[0]}{more}" if sources else None}

    def _warn_of_widths(self):
        found = [_ODD_WIDTHS[key].format(n) for key, n in self.odd_widths.items()]
        if found:
            warn_user(
                f"Detectors {', and '.join(found)}: mend their widths with replace, or "
                "pass weights='uniform'.",
                MeasurementWarning,
            )


def _detector_weights(run, weights, odd_widths):
    """Return the weights of detectors, and count those of which the width is odd."""
    if weights not in _WEIGHTS:
        raise ValueError(
            f"weights must be one of {', '.join(_WEIGHTS)}, got {weights!r}."
        )
    if weights == "uniform":
        return np.ones(len(run.polar))
    counting = np.isfinite(run.data).any(axis=1)
    solid_angle = np.abs(np.sin(np.deg2rad(np.nan_to_num(run.polar))))
    without, wide = np.zeros((2, len(solid_angle)), dtype=bool)
    for name, most in _MOST.items():
        width = np.nan_to_num(getattr(run, name))
        known = width > 0
        if not known.any():
            raise ValueError(
                f"Detectors must span a solid angle, got {name} of 0 throughout. Pass "
                "weights='uniform'."
            )
        without |= ~known
        wide |= width > most
        width = np.where(known, width, np.median(width[known]))
        solid_angle *= np.deg2rad(np.minimum(width, most))
    for key, odd in (("none", without), ("wide", wide)):
        odd_widths.update({key: number} if (number := (odd & counting).sum()) else {})
    return solid_angle


def _sqe(run):
    """Return intensities in proportion to S(Q, E), and their variances."""
    if run.ki_over_kf_scaling is None:
        raise ValueError(
            "It must be known whether intensities were multiplied by ki/kf, and the "
            "file does not say. Set it: run.replace(ki_over_kf_scaling=True) or False."
        )
    error = np.full(run.data.shape, np.nan) if run.error is None else run.error
    factor = np.ones(run.data.shape[1])
    if not run.ki_over_kf_scaling:
        edges = run.energy_edges
        outgoing = final_energy((edges[1:] + edges[:-1]) / 2, run.incident_energy)
        factor = np.sqrt(run.incident_energy / outgoing)
    return run.data * factor, (error * factor) ** 2


def _pieces(source, target):
    """Yield where bins of two axes overlap: both their numbers, the centre, the width.

    Both arguments are borders of bins, increasing.
    """
    low, high = max(source[0], target[0]), min(source[-1], target[-1])
    borders = np.union1d(source, target)
    borders = borders[(borders >= low) & (borders <= high)]
    # the same border in both axes, but for rounding, makes no piece
    apart = np.diff(borders, prepend=-np.inf) > _ROUNDING * np.diff(source).min()
    borders = borders[apart]
    centres = (borders[1:] + borders[:-1]) / 2
    return zip(
        np.searchsorted(source, centres) - 1,
        np.searchsorted(target, centres) - 1,
        centres,
        np.diff(borders),
        strict=True,
    )


def _spread(low, high, edges):
    """Yield the bin that holds the first, second, ... part of intervals, and its share.

    Bins outside the edges have the number -1 or ``len(edges) - 1``.
    """
    first = np.searchsorted(edges, low, side="right") - 1
    last = np.searchsorted(edges, high, side="right") - 1
    borders = np.concatenate([[-np.inf], edges, [np.inf]])
    length = high - low
    for step in range((last - first).max() + 1):
        column = np.minimum(first + step, len(edges) - 1)
        overlap = np.minimum(high, borders[column + 2])
        overlap -= np.maximum(low, borders[column + 1])
        point = float(step == 0)  # all of an interval without length
        share = np.divide(
            overlap, length, out=np.full(low.shape, point), where=length > 0
        )
        yield column, np.where(first + step <= last, share, 0.0)


def _add(sums, place, weight, value, variance):
    """Add to sums of weights, weighted values and their variances, by place."""
    size = sums.shape[1]
    use = (place >= 0) & (place < size) & (weight > 0) & np.isfinite(value)
    place, weight = place[use], weight[use]
    parts = weight, weight * value[use], weight**2 * variance[use]
    for total, part in zip(sums, parts, strict=True):
        total += np.bincount(place, part, minlength=size)


def _momentum(run, energy):
    """Return Q = k_i - k_f in 1/Angstrom: along the beam, horizontal, vertical."""
    polar, azimuthal = np.deg2rad(run.polar), np.deg2rad(run.azimuthal)
    outgoing = final_energy(energy, run.incident_energy)
    ki, kf = (
        np.sqrt(e / NEUTRON_HBAR2_OVER_2M) for e in (run.incident_energy, outgoing)
    )
    across = -kf * np.sin(polar)
    return np.column_stack(
        [
            ki - kf * np.cos(polar),
            across * np.cos(azimuthal),
            across * np.sin(azimuthal),
        ]
    )


def _psi(run):
    if run.psi is None:
        raise ValueError(
            "It must be known how the crystal was turned, and the file does not say. "
            "Set it, in degrees: run.replace(psi=...)."
        )
    return run.psi


def _rotation(psi):
    """Return the matrix that takes rows in the laboratory to the crystal."""
    cosine, sine = np.cos(np.deg2rad(psi)), np.sin(np.deg2rad(psi))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _voxels(coordinates, edges):
    """Return the number of the voxel of each row, -1 outside."""
    number, inside = 0, True
    for values, borders in zip(coordinates.T, edges, strict=True):
        n_bins = len(borders) - 1
        place = np.searchsorted(borders, values, side="right") - 1
        inside = inside & (place >= 0) & (place < n_bins)
        number = number * n_bins + place
    return np.where(inside, number, -1)


def _averages(sums, grid, runs, settings):
    weight, total, variance = sums
    seen = weight > 0
    if not seen.any():
        raise ValueError(
            "Some of what was measured must fall on the grid, got none. Check the axes "
            "of the grid against the energies and angles of the detectors."
        )
    incident = np.mean(runs.incident_energies).item()
    settings = {"incident_energy": incident, "mask": seen, **settings}
    grid = grid.replace(**settings)
    safe = np.where(seen, weight, 1)
    errors = np.sqrt(variance) / safe
    return Measurement(
        grid.to_rows(total / safe),
        grid,
        error=grid.to_rows(np.where(errors > 0, errors, np.nan)),
        quantity="sqe",
        **runs.common(),
        details={"weights": grid.to_rows(weight)},
    )
