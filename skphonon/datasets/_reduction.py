"""From detectors and energies to bins of (|Q|, E) or (Q, E).

A detector pixel and a bin of energy transfer are one measured number, an average of
S(Q, E) over a small region. A bin of the result is the mean of the numbers whose
regions, or parts of them, lie in it, each with the weight

    (solid angle of the pixel) * (overlap in energy) * (overlap in |Q|, powder only)

Errors are propagated from those in the file; the pieces of one number that fall in
neighbouring bins make the errors of these correlated, which is not kept.
"""

from collections.abc import Mapping

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch

from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M
from skphonon.physics.scattering import final_energy, momentum_transfer

__all__ = ["reduce_crystal", "reduce_powder"]

_SAME_ENERGY = 0.01  # relative: files tell what was fitted to monitors, run by run
_ROUNDING = 1e-6  # of borders of energy bins, relative to the bins
_WEIGHTS = ("solid_angle", "uniform")


def reduce_powder(measured, grid, *, weights="solid_angle"):
    r"""Rebin what detectors of a powder measurement counted, on energy and :math:`|Q|`.

    Every detector contributes to all bins of :math:`|Q|` that it spans at an energy
    transfer, from its `polar` and `polar_width`. Intensities that were not multiplied
    by :math:`k_i/k_f` are, so that the result is in proportion to S(Q, E).

    Parameters
    ----------
    measured : Bunch or iterable of Bunch
        From :func:`read_nxspe`; several runs of one incident energy are averaged, each
        with the same weight however long it counted.
    grid : SpectrumGrid
        The bins wanted. Its window is of no account: the detectors tell what was
        measured.
    weights : {"solid_angle", "uniform"}, default="solid_angle"
        Weight of a detector in the mean: the solid angle that it spans, right for
        intensities divided by that of vanadium, the errors of which shrink with
        it; or the same for all.

    Returns
    -------
    Bunch
        With the attributes

        - data : ndarray of shape (1, n_pixels). Mean intensity; NaN where no detector
          contributes.
        - errors : ndarray of shape (1, n_pixels). Standard deviations of `data`; NaN
          also where they are 0, for want of counts.
        - weights : ndarray of shape (1, n_pixels). Sums of weights, sr meV or meV.
        - grid : SpectrumGrid. The bins, the incident energy, and as mask what was
          measured.

    Raises
    ------
    ValueError
        If the runs differ in incident energy by more than 1 %, it is not said whether
        they were multiplied by ki/kf, nothing falls on the grid, or an axis has a
        single bin.

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
    energy_edges, q_edges = grid.edges()
    sums, incident = np.zeros((3, *grid.shape)), []
    for run in _runs(measured):
        incident.append(run.incident_energy)
        weight = _detector_weights(run, weights)
        value, variance = _sqe(run)
        half = np.nan_to_num(run.polar_width) / 2
        low, high = (
            np.clip(np.nan_to_num(run.polar) + side, 0, 180) for side in (-half, half)
        )
        for source, target, centre, width in _pieces(run.energy_edges, energy_edges):
            near, far = (
                momentum_transfer(centre, run.incident_energy, a) for a in (low, high)
            )
            for column, share in _spread(near, far, q_edges):
                numbers = value[:, source], variance[:, source]
                _add(sums[:, target], column, width * share * weight, *numbers)
    return _averages(sums, grid, incident, {})


def reduce_crystal(measured, grid, *, weights="solid_angle"):
    r"""Histogram single-crystal measurements in energy and Q, in r.l.u.

    Each detector and energy counts where its centre lies: choose voxels that are not
    smaller than what a detector spans, or some stay empty. Intensities that were not
    multiplied by :math:`k_i/k_f` are, so that the result is in proportion to S(Q, E).

    Parameters
    ----------
    measured : Bunch or iterable of Bunch
        From :func:`read_nxspe`, one for each rotation `psi` of the crystal. A generator
        keeps one in memory at a time. All have the same weight.
    grid : CrystalGrid
        The voxels wanted, with the lattice and its orientation `u` and `v` at psi = 0.
        What it says of rotations, incident energy and detectors is of no account.
    weights : {"solid_angle", "uniform"}, default="solid_angle"
        As for :func:`reduce_powder`.

    Returns
    -------
    Bunch
        As of :func:`reduce_powder`, with as `grid` a CrystalGrid with the angles psi
        and the incident energy of the runs, and as mask what was measured.

    Raises
    ------
    ValueError
        If the grid has no lattice or no size of voxels, the runs differ in incident
        energy by more than 1 %, it is not said how one was turned or whether it was
        multiplied by ki/kf, or nothing falls on the grid.

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
    if grid.lattice is None:
        raise ValueError(
            "The grid must have a lattice to turn Q into r.l.u., got None. Set "
            "lattice, u and v."
        )
    energy_edges, *edges = grid.volume_edges()
    # wavevectors that the axes count, in the frame of u, v and the vertical
    steps = grid.in_instrument(grid.directions())
    sums, incident, psi = np.zeros((3, *grid.shape)), [], []
    for run in _runs(measured):
        incident.append(run.incident_energy)
        weight = _detector_weights(run, weights)
        value, variance = _sqe(run)
        psi.append(_psi(run))
        to_axes = _rotation(psi[-1]) @ np.linalg.inv(steps)
        for source, target, centre, width in _pieces(run.energy_edges, energy_edges):
            voxel = _voxels(_momentum(run, centre) @ to_axes, edges)
            numbers = value[:, source], variance[:, source]
            _add(sums[:, target], voxel, width * weight, *numbers)
    return _averages(sums, grid, incident, {"psi": np.array(psi)})


def _runs(measured):
    """Yield the runs, all of one incident energy."""
    first = None
    for run in [measured] if isinstance(measured, Mapping) else measured:
        first = run.incident_energy if first is None else first
        if abs(run.incident_energy - first) > _SAME_ENERGY * first:
            raise ValueError(
                "Runs to be averaged must have one incident energy, got "
                f"{first:g} and {run.incident_energy:g} meV. Reduce each on its own."
            )
        yield run


def _detector_weights(run, weights):
    if weights not in _WEIGHTS:
        raise ValueError(
            f"weights must be one of {', '.join(_WEIGHTS)}, got {weights!r}."
        )
    if weights == "uniform":
        return np.ones(len(run.polar))
    polar, width, azimuthal = (
        np.deg2rad(np.nan_to_num(a))
        for a in (run.polar, run.polar_width, run.azimuthal_width)
    )
    solid_angle = np.sin(polar) * width * azimuthal
    if not (solid_angle > 0).any():
        raise ValueError(
            "Detectors must span a solid angle, got widths of 0 throughout. Pass "
            "weights='uniform'."
        )
    return solid_angle


def _sqe(run):
    """Return intensities in proportion to S(Q, E), and their variances."""
    if run.ki_over_kf_scaling is None:
        raise ValueError(
            "It must be known whether intensities were multiplied by ki/kf, and the "
            "file does not say. Set ki_over_kf_scaling of what was read to True or "
            "False."
        )
    factor = np.ones(run.data.shape[1])
    if not run.ki_over_kf_scaling:
        edges = run.energy_edges
        outgoing = final_energy((edges[1:] + edges[:-1]) / 2, run.incident_energy)
        factor = np.sqrt(run.incident_energy / outgoing)
    return run.data * factor, (run.errors * factor) ** 2


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
    if not np.isfinite(run.psi):
        raise ValueError(
            "It must be known how the crystal was turned, and the file does not say. "
            "Set psi of what was read, in degrees."
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


def _averages(sums, grid, incident, settings):
    weight, total, variance = sums
    seen = weight > 0
    if not seen.any():
        raise ValueError(
            "Some of what was measured must fall on the grid, got none. Check the axes "
            "of the grid against the energies and angles of the detectors."
        )
    settings = {"incident_energy": np.mean(incident).item(), "mask": seen, **settings}
    grid = clone(grid).set_params(**settings)
    safe = np.where(seen, weight, 1)
    errors = np.sqrt(variance) / safe
    return Bunch(
        data=grid.to_rows(total / safe),
        errors=grid.to_rows(np.where(errors > 0, errors, np.nan)),
        weights=grid.to_rows(weight),
        grid=grid,
    )
