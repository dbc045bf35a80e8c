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

from skphonon.physics.scattering import final_energy, momentum_transfer

__all__ = ["reduce_powder"]

_WEIGHTS = ("solid_angle", "uniform")


def reduce_powder(measured, grid, *, weights="solid_angle"):
    r"""Rebin what detectors of a powder measurement counted, on energy and :math:`|Q|`.

    Every detector contributes to all bins of :math:`|Q|` that it spans at an energy
    transfer, from its `polar` and `polar_width`. Intensities that were not multiplied
    by :math:`k_i/k_f` are, so that the result is in proportion to S(Q, E).

    Parameters
    ----------
    measured : Bunch or sequence of Bunch
        From :func:`read_nxspe`; several runs of one incident energy are averaged.
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
        If the runs differ in incident energy, it is not said whether they were
        multiplied by ki/kf, nothing falls on the grid, or an axis has a single bin.

    See Also
    --------
    reduce_crystal : The same for single crystals.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import SpectrumGrid, read_nxspe, reduce_powder
    >>> grid = SpectrumGrid(np.arange(5, 50, 0.5), np.arange(0.5, 9, 0.1))
    >>> measured = read_nxspe("MAR28581_Ei60.nxspe")  # doctest: +SKIP
    >>> reduce_powder(measured, grid).data.shape  # doctest: +SKIP
    (1, 7650)
    """
    runs, incident = _runs(measured)
    energy_edges, q_edges = grid.edges()
    sums = np.zeros((3, *grid.shape))
    for run in runs:
        weight = _detector_weights(run, weights)
        value, variance = _sqe(run)
        half = np.nan_to_num(run.polar_width) / 2
        low, high = (
            np.clip(np.nan_to_num(run.polar) + side, 0, 180) for side in (-half, half)
        )
        for source, target, centre, width in _pieces(run.energy_edges, energy_edges):
            near, far = (momentum_transfer(centre, incident, a) for a in (low, high))
            for column, share in _spread(near, far, q_edges):
                part = width * share * weight
                _add(
                    sums[:, target], column, part, value[:, source], variance[:, source]
                )
    return _averages(sums, grid, {"incident_energy": incident})


def _runs(measured):
    """Return runs as a list, and their incident energy."""
    runs = [measured] if isinstance(measured, Mapping) else list(measured)
    energies = {run.incident_energy for run in runs}
    if len(energies) != 1:
        raise ValueError(
            "Runs to be averaged must have one incident energy, got "
            f"{sorted(energies)} meV. Reduce each on its own."
        )
    return runs, energies.pop()


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


def _averages(sums, grid, settings):
    weight, total, variance = sums
    seen = weight > 0
    if not seen.any():
        raise ValueError(
            "Some of what was measured must fall on the grid, got none. Check the axes "
            "of the grid against the energies and angles of the detectors."
        )
    grid = clone(grid).set_params(mask=seen, **settings)
    safe = np.where(seen, weight, 1)
    errors = np.sqrt(variance) / safe
    return Bunch(
        data=grid.to_rows(total / safe),
        errors=grid.to_rows(np.where(errors > 0, errors, np.nan)),
        weights=grid.to_rows(weight),
        grid=grid,
    )
