"""Rebinning of detectors and energies on bins of (|Q|, E), (angle, E) or (Q, E).

A detector pixel and a bin of energy transfer are one measured number, an average of
S(Q, E) over a small region. A bin of the result is the mean of the numbers whose
regions, or parts of them, lie in it, each with the weight

    (weight of the detector) * (width in energy) * (share of its solid angle there)

Errors are propagated from those in the file. The parts of one number that fall in
several bins make the errors of these correlated: the covariance tells by how much.
"""

from itertools import chain

import numpy as np

from skphonon.instrument.angle_grid import AngleGrid
from skphonon.instrument.crystal_grid import CrystalGrid
from skphonon.instrument.grid import SpectrumGrid, energy_edges
from skphonon.io._averages import (
    Runs,
    Sums,
    angular_spans,
    averages,
    detector_weights,
    intensities,
)
from skphonon.io._overlaps import in_angles, in_centres, in_moduli, pieces, whole
from skphonon.io._voxels import in_voxels
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M
from skphonon.physics.scattering import momentum_transfer

__all__ = ["reduce_angles", "reduce_crystal", "reduce_powder"]

_OVERLAPS = {"exact": pieces, "centres": whole}
_ROUNDING = 1e-6  # of a bin


def reduce_powder(
    measured, grid, *, overlap="exact", weights="solid_angle", covariance=False
):
    r"""Rebin the counts of detectors of a powder on energy and :math:`|Q|`.

    Every detector contributes to all bins of :math:`|Q|` and energy that it spans, from
    its `polar` and `polar_width`. Intensities that were not multiplied by
    :math:`k_i/k_f` are, so that the result is in proportion to S(Q, E).

    Parameters
    ----------
    measured : DetectorMeasurement or iterable of DetectorMeasurement
        From :func:`read_nxspe`; several runs of one incident energy are averaged.
    grid : SpectrumGrid
        The bins wanted, of any widths. Its window is not used: the detectors tell where
        was measured.
    overlap : {"exact", "centres"}, default="exact"
        Share of a detector bin in a bin of the grid: the part of its solid angle and
        energy that leads there, with the curved borders that a detector has in
        :math:`|Q|` and energy; or all of it where its centre lies. Centres keep the
        errors of bins independent, and leave gaps and stripes where the bins of the
        grid are not several times as large as those of the detectors.
    weights : {"solid_angle", "counting", "uniform"}, default="solid_angle"
        Weight of a detector in the mean: the solid angle that it spans, right for
        intensities divided by that of vanadium, the errors of which shrink with
        it; the neutrons by which it shows a unit of intensity, from its intensities
        and errors, so that a run that counted longer counts more; or the same for all.
        With the first and the last all runs have the same weight. A detector without a
        width counts as one of median width, and none spans more than 360 degrees about
        the beam; one that counted nothing counts as the median one does.
    covariance : bool, default=False
        Whether to return the covariance of the pixels, beside their errors.

    Returns
    -------
    Measurement
        Of one spectrum in proportion to S(Q, E), or to :math:`\chi''` if all runs say
        so, with the temperature of the runs if it is the same. Data are NaN where no
        detector contributes, errors also where they are 0, for want of counts. The grid
        has the bins, the incident energy, and as mask what was measured;
        ``details["weights"]``, of the shape of the data, are the sums of weights, in sr
        meV, neutrons meV per intensity, or meV; ``details["calibration"]`` is that of
        the runs, ``details["calibrations"]`` by number from 1 where theirs differ. With
        `covariance`, ``details["covariance"]`` is a sparse matrix of shape (n_pixels,
        n_pixels), with 0 in rows of pixels that were not measured.

    Raises
    ------
    ValueError
        If the runs differ in incident energy by more than 1 % or in quantity, it is
        not said whether they were multiplied by ki/kf, nothing falls on the grid, or
        an axis has a single bin.
    TypeError
        If a measurement has a grid already, or the grid is none.

    Warns
    -----
    MeasurementWarning
        If detectors have no width, or one of more than 360 degrees, some runs have
        errors and others none, or the grid has another incident energy.

    See Also
    --------
    reduce_angles : Bins of scattering angle instead of :math:`|Q|`.
    reduce_crystal : The same for single crystals.

    Notes
    -----
    A share is exact if S depends on neither angle nor energy within a detector bin. The
    weighted sum of data over a grid that covers all detectors is that over their
    numbers, and so is the sum of weights.

    The covariance of the pixels that were measured, as a dense array, is what
    :class:`skphonon.instrument.noise.CorrelatedNoise` takes. It has an inverse where
    the pixels are not finer than the detector bins.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import SpectrumGrid, reduce_powder
    >>> from skphonon.instrument import DetectorMeasurement
    >>> run = DetectorMeasurement(
    ...     [[1.0, 2.0], [3.0, 4.0]], error=[[0.1, 0.1], [0.1, 0.1]],
    ...     incident_energy=50.0, energy_edges=[5.0, 10.0, 15.0], polar=[30.0, 32.0],
    ...     azimuthal=[0.0, 0.0], polar_width=[2.0, 2.0], azimuthal_width=[10.0, 10.0],
    ...     ki_over_kf_scaling=True,
    ... )
    >>> grid = SpectrumGrid([7.5, 12.5], [2.4, 2.6, 2.8])
    >>> reduced = reduce_powder(run, grid, covariance=True)
    >>> reduced.grid.to_image(reduced.data)[0].round(2)
    array([[1.  , 2.5 , 3.  ],
           [2.  , 3.66,  nan]])
    >>> (100 * reduced.details["covariance"][:3, :3].toarray()).round(2)
    array([[1.  , 0.25, 0.  ],
           [0.25, 0.63, 0.75],
           [0.  , 0.75, 1.  ]])
    """
    _check_grid(grid, SpectrumGrid)
    q_edges = grid.edges()[1]

    def shares_of(run):
        incident = run.incident_energy
        spans = angular_spans(run.polar, run.polar_width)
        near, far = (np.cos(np.deg2rad(angle)) for angle in spans)
        squares = q_edges**2 * (NEUTRON_HBAR2_OVER_2M / incident)

        def shares(piece):
            centre = (piece.low + piece.high) / 2
            _require_below_incident_energy(centre, run)
            if overlap == "centres":
                modulus = momentum_transfer(centre, incident, run.polar)
                return in_centres(modulus, q_edges)
            ends = np.array([piece.high, piece.low])
            span = np.sqrt(np.maximum(1 - ends / incident, 0.0))
            return in_moduli(near, far, span, squares)

        return shares

    return _reduced(measured, grid, shares_of, overlap, weights, covariance)


def reduce_angles(
    measured, grid=None, *, overlap="exact", weights="solid_angle", covariance=False
):
    r"""Group the counts of detectors of a powder by scattering angle.

    A detector stays in its bin at all energies, where its :math:`|Q|` changes. So this
    comes closest to what was measured, and :class:`skphonon.PowderSimulator` takes such
    bins.

    Parameters
    ----------
    measured : DetectorMeasurement or iterable of DetectorMeasurement
        As for :func:`reduce_powder`.
    grid : AngleGrid, default=None
        The bins wanted. None: the energies of the first run, none of which are mixed
        if the bins are of one width, and angles in bins as wide as the median detector.
    overlap : {"exact", "centres"}, default="exact"
        As for :func:`reduce_powder`. Exact shares leave the mean angle of a bin at its
        centre, also where detectors are as wide as bins.
    weights, covariance : optional
        As for :func:`reduce_powder`.

    Returns
    -------
    Measurement
        As of :func:`reduce_powder`, with an AngleGrid as `grid`.

    Raises
    ------
    ValueError
        As from :func:`reduce_powder`, or if no detector has a width and there is no
        grid.
    TypeError
        As from :func:`reduce_powder`.

    Warns
    -----
    MeasurementWarning
        As from :func:`reduce_powder`.

    See Also
    --------
    reduce_powder : Bins of :math:`|Q|`, which fewer pixels hold.

    Examples
    --------
    >>> from skphonon.instrument import DetectorMeasurement
    >>> from skphonon.io import reduce_angles
    >>> run = DetectorMeasurement(
    ...     [[1.0, 2.0], [3.0, 4.0]], error=[[0.1, 0.1], [0.1, 0.1]],
    ...     incident_energy=50.0, energy_edges=[5.0, 10.0, 15.0], polar=[30.0, 32.0],
    ...     azimuthal=[0.0, 0.0], polar_width=[2.0, 2.0], azimuthal_width=[10.0, 10.0],
    ...     ki_over_kf_scaling=True,
    ... )
    >>> reduced = reduce_angles(run)
    >>> reduced.grid.axes()
    (array([ 7.5, 12.5]), array([30., 32.]))
    >>> reduced.grid.to_image(reduced.data)[0]
    array([[1., 3.],
           [2., 4.]])
    """
    if grid is None:
        grid, measured = _own_angles(measured)
    borders = grid.edges()[1]

    def shares_of(run):
        if overlap == "centres":
            split = list(in_centres(np.abs(np.nan_to_num(run.polar)), borders))
        else:
            near, far = angular_spans(run.polar, run.polar_width)
            split = list(in_angles(near, far, borders))
        return lambda piece: split

    return _reduced(measured, grid, shares_of, overlap, weights, covariance)


def reduce_crystal(measured, grid, *, weights="solid_angle", covariance=False):
    r"""Histogram single-crystal measurements in energy and Q, in r.l.u.

    Each detector counts where its centre lies: choose voxels that are not smaller than
    what a detector spans, or some stay empty. A bin of energy that a border of the grid
    cuts counts on both sides. Intensities that were not multiplied by :math:`k_i/k_f`
    are, so that the result is in proportion to S(Q, E).

    Parameters
    ----------
    measured : DetectorMeasurement or iterable of DetectorMeasurement
        From :func:`read_nxspe`, one for each rotation `psi` of the crystal. A generator
        keeps one in memory at a time.
    grid : CrystalGrid
        The voxels wanted, with the lattice and its orientation `u` and `v` at psi = 0.
        Its rotations, incident energy and detectors are not used.
    weights : {"solid_angle", "counting", "uniform"}, default="solid_angle"
        As for :func:`reduce_powder`.
    covariance : bool, default=False
        As for :func:`reduce_powder`. It is diagonal unless borders of the grid cut bins
        of energy, and then between voxels of neighbouring energies.

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
    psi = []

    def shares_of(run):
        shares = in_voxels(run, grid)
        psi.append(run.psi)
        return shares

    return _reduced(
        measured,
        grid,
        shares_of,
        "exact",
        weights,
        covariance,
        lambda: {"psi": np.array(psi)},
    )


def _check_grid(grid, wanted):
    if not isinstance(grid, wanted):
        raise TypeError(
            f"grid must be a {wanted.__name__} of the bins wanted, after what was "
            "measured, a DetectorMeasurement or several; got "
            f"{type(grid).__name__} as grid."
        )


def _reduced(measured, grid, shares_of, overlap, weights, covariance, settings=dict):
    """Return means over the shares that detectors have in the bins of a grid.

    `shares_of` a run is a function of a piece of energy; `settings` of the grid are
    asked for when all runs have been seen.
    """
    if overlap not in _OVERLAPS:
        raise ValueError(
            f"overlap must be one of {', '.join(_OVERLAPS)}, got {overlap!r}."
        )
    borders = energy_edges(grid)
    runs, sums = Runs(measured), Sums(grid.shape, covariance)
    for run in runs:
        weight = detector_weights(run, weights, runs.odd_widths)
        weight = np.where(np.isfinite(run.polar), weight, 0.0)
        shares, current = shares_of(run), None
        for piece in _OVERLAPS[overlap](run.energy_edges, borders):
            if piece.source != current:
                current = piece.source
                sums.begin(*intensities(run, current, weight))
            for share in shares(piece):
                sums.add(piece.target, share, piece.width)
    runs.require_some()
    return averages(sums, grid, runs, settings())


def _require_below_incident_energy(energy, run):
    if energy <= run.incident_energy:
        return
    counted = np.isfinite(run.data).any(axis=0)
    edges = run.energy_edges[1:]
    last = edges[counted].max() if counted.any() else edges[-1]
    raise ValueError(
        f"Energy transfer must be below incident_energy={run.incident_energy:g} meV, "
        f"got a maximum of {last:g} meV. Check incident_energy, in meV, or end the "
        "grid below it."
    )


def _own_angles(measured):
    """Return a grid of the energies and angles of the first run, and all runs."""
    runs = Runs(measured).checked()
    run = next(runs, None)
    if run is None:
        raise ValueError("Some run must be given, got none.")
    counting = np.isfinite(run.data).any(axis=1) & np.isfinite(run.polar)
    widths = run.polar_width[counting & (run.polar_width > 0)]
    if not len(widths):
        raise ValueError(
            "Some detector at an angle must have a polar_width to tell bins, got "
            "none. Pass an AngleGrid."
        )
    near, far = (each[counting] for each in angular_spans(run.polar, run.polar_width))
    step, low = np.median(widths), near.min()
    n_angles = max(int(np.ceil((far.max() - low) / step - _ROUNDING)), 2)
    edges = run.energy_edges
    energy = (edges[1:] + edges[:-1]) / 2
    grid = AngleGrid(
        energy[energy < run.incident_energy],
        np.minimum(low + step * (np.arange(n_angles) + 0.5), 180.0),
        incident_energy=run.incident_energy,
    )
    return grid, chain([run], runs)
