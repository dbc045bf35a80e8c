"""Scans of triple-axis spectrometers, added up on the points that they measured."""

from collections import Counter
from collections.abc import Iterable
from io import IOBase
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from skphonon._warnings import warn_user
from skphonon.instrument import PathGrid
from skphonon.instrument.measurement import Measurement, MeasurementWarning
from skphonon.io._kinds import as_path
from skphonon.io._scans import read_scan

__all__ = ["read_triple_axis"]

_NORMALIZATIONS = ("monitor", "time")
_UNITS = {"monitor": "monitor counts", "time": "s"}
_SAME = 0.01  # relative: fixed energies and lattices that are one
_STEADY = 2.0, 0.05  # K, relative: temperatures that are one
_AGREE = 0.05, 0.02  # meV, relative to Ei: energy transfer and Ei - Ef
_PIXELS, _POINTS = 1_000_000, 20_000  # at most


def read_triple_axis(
    paths,
    *,
    normalization="monitor",
    q_tolerance=0.005,
    energy_tolerance=0.02,
    counts=None,
    temperature_column=None,
    temperature=None,
):
    r"""Read scans of a triple-axis spectrometer into one measurement.

    Scans in the formats of SPICE (Oak Ridge) and of the ILL, at constant Q, constant
    energy or along any line. Each column of the grid is one wavevector, each row an
    energy that any scan measured; most pixels may be NaN. Points that lie together
    within the tolerances, of one scan or several, become one: their counts and their
    monitor counts N and M are added. Its intensity and error are

    .. math:: I = N \frac{M_0}{M}, \qquad
              \sigma = \sqrt{\max(N, 1)}\,\frac{M_0}{M},

    with the median :math:`M_0` of all points. So a point without a count keeps its
    weight, with the error of one count.

    With a fixed final energy, counts by a monitor in the incident beam are in
    proportion to S(Q, E). Neutrons of higher order that the monitor counts are not
    corrected for.

    Parameters
    ----------
    paths : str, path-like or sequence of these
        One file a scan.
    normalization : {"monitor", "time"}, default="monitor"
        Number M by which counts are divided: monitor counts or seconds.
    q_tolerance : float, default=0.005
        Largest distance in h, k or l, in r.l.u., of points that are one.
    energy_tolerance : float, default=0.02
        Largest distance in energy, in meV, of points that are one.
    counts : str, default=None
        Column of the counts. None: ``def_y`` of SPICE, ``CNTS`` of the ILL.
    temperature_column : str, default=None
        Column of the thermometer at the sample. None looks for the usual names, such as
        ``tsample``, ``temp`` and ``TT``.
    temperature : float, default=None
        Temperature of the sample in K, in the place of the median of that column.

    Returns
    -------
    Measurement
        Of one spectrum on a :class:`PathGrid`; wavevectors are in the order in which
        they were measured, in r.l.u. of its `lattice`, that of the files if they tell
        it. `incident_energy` is that of a fixed one. `quantity` is
        "sqe" if the final energy was fixed, else None: then the intensities must be
        multiplied by :math:`k_i/k_f` first. In `details` are, if known,

        - counts, monitor, time : ndarray of shape (1, n_pixels). Sums, NaN where
          nothing was measured.
        - normalization, normalized_to : str and float. What counts are divided by,
          and :math:`M_0`.
        - points, merged : int. Number of points in the files, and of those that were
          added to another one.
        - incident_energy, final_energy : float. In meV, where it is the same at all
          points.
        - temperature_range : ndarray of shape (2,). In K.
        - lattice_constants : ndarray of shape (6,). In Angstrom and degrees.
        - lattice : ndarray of shape (3, 3). Vectors a, b and c in rows in Angstrom, a
          along x and b in the plane of x and y.
        - ub : ndarray of shape (3, 3). The UB matrix of SPICE.
        - scans : dict. By number from 1: file, title, command, sample and so on.

    Raises
    ------
    OSError
        If a file is missing.
    ValueError
        If one is of another kind or cut off, a column is missing, scans differ in the
        fixed energy or the lattice by more than 1 %, a file is given twice, or a scan
        has several detectors or polarisations.

    Warns
    -----
    MeasurementWarning
        If points of one scan become one, the temperature moved by more than 2 K or 5
        %, or the energy transfer is not the difference of both energies.

    See Also
    --------
    read_text : Tables of points from other programs.

    Examples
    --------
    >>> from skphonon.io import read_triple_axis
    >>> measured = read_triple_axis(["scan0085.dat", "scan0086.dat"])  # doctest: +SKIP
    >>> measured.grid.wavevectors, measured.details["final_energy"]  # doctest: +SKIP
    (array([[1. , 0. , 0. ],
           [1.1, 0. , 0. ]]), 14.7)
    """
    if normalization not in _NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {', '.join(_NORMALIZATIONS)}, got "
            f"{normalization!r}."
        )
    scans = [read_scan(path) for path in _paths(paths)]
    points = np.concatenate([scan.points for scan in scans])
    usable = np.isfinite(points).all(axis=1)
    if not usable.any():
        raise ValueError(f"{scans[0].path} must tell Q and energy of points, got none.")
    grid, pixel = _grid(points[usable], q_tolerance, energy_tolerance)
    of_scan = np.repeat(np.arange(len(scans)), [len(scan.points) for scan in scans])
    _warn_of_merged(pixel, of_scan[usable], q_tolerance, energy_tolerance, scans)
    counted = {
        name: values[usable]
        for name, values in _counted(scans, counts, normalization).items()
    }
    sums: dict[str, Any] = {
        name: np.bincount(pixel, weights=values, minlength=grid.n_pixels)
        for name, values in counted.items()
    }
    seen = sums[normalization] > 0
    reference = float(np.median(counted[normalization]))
    scale = np.full(grid.n_pixels, np.nan)
    scale[seen] = reference / sums[normalization][seen]
    common = _common(scans)
    known, kelvin = _temperature(scans, temperature_column)
    details = {
        **{name: np.where(seen, each, np.nan)[None] for name, each in sums.items()},
        "normalization": normalization,
        "normalized_to": reference,
        "points": int(usable.sum()),
        "merged": int(usable.sum() - len(np.unique(pixel))),
        "temperature_range": kelvin,
        **common,
    }
    incident, final = (common.get(f"{each}_energy") for each in ("incident", "final"))
    to_sqe = final and (normalization == "monitor" or incident)
    return Measurement(
        sums["counts"] * scale,
        grid.replace(mask=seen.reshape(grid.shape), lattice=common.get("lattice")),
        error=np.sqrt(np.maximum(sums["counts"], 1)) * scale,
        quantity="sqe" if to_sqe else None,
        units=f"counts per {reference:g} {_UNITS[normalization]}",
        incident_energy=incident,
        temperature=known if temperature is None else temperature,
        source=_source(scans),
        details={name: value for name, value in details.items() if value is not None},
    )


def _paths(paths):
    one = not isinstance(paths, Iterable) or isinstance(paths, str | bytes | IOBase)
    listed = [as_path(path) for path in ([paths] if one else paths)]
    if not listed:
        raise ValueError("paths must name at least one file, got none.")
    several = [
        str(path)
        for path, number in Counter(path.resolve() for path in listed).items()
        if number > 1
    ]
    if several:
        raise ValueError(
            f"Each file must be given once, got {several[0]} again: its counts would "
            "be added twice."
        )
    return listed


def _counted(scans, counts, normalization):
    """Return columns that are added, by what they are, of all scans that have them."""
    found = {}
    for name in ("counts", *_NORMALIZATIONS):
        parts = []
        for scan in scans:
            column = {"counts": counts or scan.counts, "monitor": scan.monitor}.get(
                name, name
            )
            if name in ("counts", normalization) or column.lower() in scan.columns:
                parts.append(scan.column(column, name))
        if len(parts) < len(scans):
            continue
        found[name] = np.concatenate(parts)
        if not ((found[name] >= 0) & (found[name] < np.inf)).all():
            raise ValueError(
                f"Scans such as {scans[0].path} must have finite {name} of at least 0, "
                f"got {found[name].min():g}. Read tables of corrected counts with "
                "skphonon.io.read_text."
            )
    if not (found[normalization] > 0).any():
        other = _NORMALIZATIONS[normalization == "monitor"]
        raise ValueError(
            f"Scans such as {scans[0].path} must have {normalization} above 0, got "
            f"none. Pass normalization={other!r} to skphonon.io.read_triple_axis."
        )
    return found


def _grid(points, q_tolerance, energy_tolerance):
    """Return a grid of all wavevectors and energies, and the pixel of each point."""
    for name, value in (("q", q_tolerance), ("energy", energy_tolerance)):
        if not 0 <= value < np.inf:
            raise ValueError(f"{name}_tolerance must be at least 0, got {value!r}.")
    if len(points) > _POINTS:
        raise ValueError(
            f"Scans must have at most {_POINTS} points together, got {len(points)}."
        )
    column = _together(points[:, :3], q_tolerance)
    row = _together(points[:, 3:], energy_tolerance)
    wavevectors = _means(points[:, :3], column)
    energies = _means(points[:, 3:], row)[:, 0]
    order = np.argsort(energies)
    energies, rank = energies[order], np.argsort(order)
    if len(energies) * len(wavevectors) > _PIXELS:
        raise ValueError(
            f"Scans must have at most {_PIXELS} energies times wavevectors, got "
            f"{len(energies)} times {len(wavevectors)}. Raise energy_tolerance, or "
            "read fewer at a time."
        )
    return PathGrid(energies, wavevectors), rank[row] * len(wavevectors) + column


def _together(points, tolerance):
    """Return for each point the number of a group, from 0 as they appear.

    Members of a group lie within the tolerance of its first one.
    """
    number = np.full(len(points), -1)
    tree, groups = cKDTree(points), 0
    for first, point in enumerate(points):
        if number[first] < 0:
            near = np.array(tree.query_ball_point(point, tolerance, p=np.inf))
            number[near[number[near] < 0]] = groups
            groups += 1
    return number


def _means(points, number):
    sizes = np.bincount(number)
    return np.stack([np.bincount(number, part) / sizes for part in points.T], axis=1)


def _common(scans):
    """Return what all scans have in common, and what each is about."""
    found = _fixed_energies(scans)
    cells = [scan.lattice_constants for scan in scans]
    if all(cell is not None for cell in cells):
        if np.ptp(cells, axis=0).max() > _SAME * np.max(cells):
            raise ValueError(
                "Scans must be of one crystal, got lattice constants "
                f"{cells[0].tolist()} in {scans[0].path} and others after it. Read "
                "them apart."
            )
        found["lattice_constants"] = cells[0]
        found["lattice"] = _vectors(cells[0])
    found["ub"] = scans[0].ub
    found["scans"] = {
        str(number): {"file": scan.path.name, **scan.texts}
        for number, scan in enumerate(scans, 1)
    }
    _warn_of_energies(scans)
    return found


def _fixed_energies(scans):
    """Return the energies that are the same at all points of all scans."""
    found: dict[str, Any] = {}
    ranges = {}
    for name in ("incident_energy", "final_energy"):
        parts = [getattr(scan, name) for scan in scans]
        if any(part is None for part in parts):
            continue
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        low, high = ranges[name] = values.min(), values.max()
        if 0 < low and high - low <= _SAME * high:
            found[name] = float(np.median(values))
    if len(scans) > 1 and len(ranges) == 2 and not found:
        low, high = ranges["final_energy"]
        raise ValueError(
            "Scans must have one fixed energy, incident or final, got final energies "
            f"of {low:g} to {high:g} meV, and other incident ones. Read the scans of "
            "each fixed energy apart."
        )
    return found


def _vectors(cell):
    """Return lattice vectors in rows, a along x and b in the plane of x and y."""
    a, b, c, *angles = cell
    cosine = np.cos(np.deg2rad(angles))
    sine = np.sin(np.deg2rad(angles[2]))
    if min(a, b, c) <= 0 or sine <= 0:
        return None
    along = (cosine[0] - cosine[1] * cosine[2]) / sine
    rest = 1 - cosine[1] ** 2 - along**2
    if not rest > 0:
        return None
    return np.array(
        [
            [a, 0.0, 0.0],
            [b * cosine[2], b * sine, 0.0],
            [c * cosine[1], c * along, c * np.sqrt(rest)],
        ]
    )


def _temperature(scans, column):
    """Return the median and the range in K, None of scans without a thermometer."""
    found = [scan.temperature(column) for scan in scans]
    if any(values is None for values, _ in found):
        return None, None
    values = np.concatenate([values for values, _ in found])
    values = values[np.isfinite(values) & (values > 0)]
    middle, (low, high) = float(np.median(values)), (values.min(), values.max())
    if high - low > min(_STEADY[0], _STEADY[1] * middle):
        warn_user(
            f"The temperature moved from {low:.4g} to {high:.4g} K in the scans "
            f"(column {found[0][1]}); its median, {middle:.4g} K, is used. Read scans "
            "of one temperature at a time, or set another with replace.",
            MeasurementWarning,
        )
    return middle, np.array([low, high])


def _warn_of_merged(pixel, of_scan, q_tolerance, energy_tolerance, scans):
    """Warn of points of one scan that are added, as its steps may be small."""
    for number, scan in enumerate(scans):
        own = pixel[of_scan == number]
        merged = len(own) - len(np.unique(own))
        if merged:
            warn_user(
                f"{merged} points of {scan.path} lie within {q_tolerance:g} r.l.u. and "
                f"{energy_tolerance:g} meV of another one and were added to it. Lower "
                "q_tolerance or energy_tolerance if these are steps of the scan. A "
                "scan of a temperature or a motor alone is no spectrum.",
                MeasurementWarning,
            )
            return


def _warn_of_energies(scans):
    for scan in scans:
        if scan.incident_energy is None or scan.final_energy is None:
            continue
        incident = scan.incident_energy
        apart = np.abs(incident - scan.final_energy - scan.points[:, 3])
        if (apart > _AGREE[0] + _AGREE[1] * np.abs(incident)).any():
            warn_user(
                f"The energy transfer in {scan.path} is up to {np.nanmax(apart):.3g} "
                "meV away from the difference of incident and final energy. Check "
                "which is right.",
                MeasurementWarning,
            )
            return


def _source(scans):
    more = f" and {len(scans) - 1} more" if len(scans) > 1 else ""
    return f"{scans[0].path}{more}"
