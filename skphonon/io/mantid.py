"""Histograms of S(Q, E) that Mantid's SaveMD writes, MDHistoWorkspace.

Layout, below the entry ``MDHistoWorkspace`` with the attribute ``SaveMDVersion`` = 2:
``data/signal``, ``errors_squared`` (variances), ``num_events`` and ``mask`` (1: masked)
in arrays with the last dimension of the workspace first, as the attribute ``axes`` of
the signal says, such as ``"D3:D2:D1:D0"``; for each dimension the borders of its bins
with attributes ``long_name``, ``units`` and ``frame``.
"""

import re
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from skphonon.instrument import CrystalGrid, SpectrumGrid
from skphonon.instrument.measurement import Measurement
from skphonon.io._hdf5 import (
    attribute,
    check_units,
    child_dataset,
    child_group,
    find,
    place,
    read_array,
    read_number,
)
from skphonon.io._images import warn_of_left_out
from skphonon.io._kinds import open_as
from skphonon.io._logs import TEMPERATURE, log_in_time
from skphonon.io._mantid_crystal import axes_in_crystal

__all__ = ["read_mdhisto"]

_ENTRY = "MDHistoWorkspace"
_FRAMES = {2: "QSample", 3: "HKL"}  # by coordinate_system, where axes do not say
_NORMALIZATIONS = ("signal", "volume", "events")  # by visual_normalization

_ENERGY_NAMES = ("deltae", "e", "en", "energy", "energy transfer", "energy_transfer")
_Q_NAMES = ("|q|", "q", "modq", "mod_q")
_MEV = ("mev", "deltae")
_PER_ANGSTROM = ("momentumtransfer", "angstrom^-1", "angstrom^{-1}", "a^-1", "1/a",
                 "å^-1", "a^{-1}", "å^{-1}", "1/angstrom", "invangstrom")  # fmt: skip
_RLU = ("r.l.u.", "rlu", "r.l.u", "reciprocal lattice units")
_LENGTH_OF_RLU = re.compile(r"in\s+[\d.]+\s*(a|å|angstrom)\^-1", re.IGNORECASE)
_KINDS = ("energy", "q", "HKL", "QSample")
_COMPLETE = ((1, 1, 0, 0), (1, 0, 3, 0), (1, 0, 0, 3))  # numbers of these


class _Axis(NamedTuple):
    kind: str  # "energy", "q", or the frame of a wavevector: "HKL" or "QSample"
    name: str  # such as "[H,H,0]"
    dataset: str  # such as "D0"
    position: int  # among the dimensions of the array
    edges: Any


def read_mdhisto(path, *, normalization="file", temperature_log="SampleTemp"):
    r"""Read a histogram of S(Q, E) that was saved by Mantid.

    Powder histograms, of :math:`|Q|` and energy transfer, and single-crystal ones, of
    three components of Q and energy transfer. A dimension that was integrated over has
    one bin; all of them must be there. Components may count r.l.u. (frame HKL, along
    any projection) or 1/Angstrom (frame Q_sample, with the UB matrix in the file).

    Files differ in the intensity that a signal stands for. After MDNorm, or
    another division by a normalisation, the signal is the intensity, and bins that no
    detector reached are 0/0, NaN. After BinMD of data in which every pixel and energy
    bin is an event, it is a sum, the intensity is the mean, signal / events, and
    without events nothing was measured. By default the file's own setting decides.

    Parameters
    ----------
    path : str or path-like
        File with the ending ``.nxs``, as SaveMD writes it (version 2).
    normalization : {"file", "signal", "events", "volume"}, default="file"
        Intensity: the ``signal``, signal / ``events``, signal / ``volume``
        of the bin, or that of these which ``visual_normalization`` in the file names
        (without it: the signal). Bins without events count as not measured but for
        ``signal``, where they are measured zeros unless they are NaN.
    temperature_log : str, default="SampleTemp"
        Name of the sample log of the temperature; it differs between instruments.

    Returns
    -------
    Measurement
        Of one spectrum in proportion to S(Q, E). Data are NaN where nothing was
        measured or a bin is masked, errors also where they are 0, for want of counts.
        The grid has bins, projection, lattice, orientation and incident energy (log
        ``Ei``) as far as the file has them, and as mask what was measured. The
        temperature is the median of `temperature_log` over the time of all runs. In
        `details` are

        - events : ndarray of shape (1, n_pixels). Number of events, NaN as the data.
        - edges : dict of ndarray. Borders of the bins by the name of the axis in
          the grid, which tell how thick an integrated axis is.
        - normalization : str. Divisor of the signal, as above.
        - temperature_range : ndarray of shape (2,). Lowest and highest value of the
          log in K, if there is one.
        - projection : str, of a crystal in the frame HKL. Source of the directions of
          its axes: "names" or "W_MATRIX".

    Raises
    ------
    OSError
        If the file is missing or damaged.
    ValueError
        If it is not such a histogram, a dimension is missing, unknown or in an unknown
        unit, `normalization` is none of the four, or all intensities are the same,
        as after division of events by their own number.

    Warns
    -----
    MeasurementWarning
        If the temperature moved by more than 2 K or 5 % in 95 % of the time, or
        intensities lie at energies above the incident one, which are left out.

    Notes
    -----
    The lattice of the grid has a along x and b in the plane of x and y. Set it to the
    axes of your model where these differ. Q is k_i - k_f; a file of the opposite
    convention is turned. Energy transfers above the incident energy are left out.

    Examples
    --------
    >>> from skphonon.io import read_mdhisto
    >>> measured = read_mdhisto("germanium_slice.nxs")  # doctest: +SKIP
    >>> measured.grid.volume_shape, measured.data.shape  # doctest: +SKIP
    ((70, 101, 81, 1), (1, 572670))
    >>> measured.details["edges"]["l"]  # doctest: +SKIP
    array([-0.1,  0.1])
    """
    if normalization not in ("file", *_NORMALIZATIONS):
        raise ValueError(
            f"normalization must be one of file, {', '.join(_NORMALIZATIONS)}, got "
            f"{normalization!r}."
        )
    with open_as(path, "mdhisto") as file:
        entry = _entry(file)
        axes = _axes(entry)
        if normalization == "file":
            normalization = _own_normalization(entry)
        images = _images(child_group(entry, "data"), axes, normalization)
        incident, _ = _log(entry, "Ei")
        temperature, limits = _log(entry, temperature_log, TEMPERATURE)
        powder = axes[1].kind == "q"
        settings, origin = ({}, None) if powder else axes_in_crystal(entry, axes[1:])
        reverse = attribute(file, _ENTRY, "QConvention") == "Crystallography"
    edges = [axis.edges for axis in axes]
    if reverse and not powder:  # the file has k_f - k_i
        edges[1:] = [-each[::-1] for each in edges[1:]]
        images = {name: np.flip(image, (1, 2, 3)) for name, image in images.items()}
    if incident is not None:
        last = int(np.sum(_centres(edges[0]) <= incident))
        warn_of_left_out(images["data"][last:], incident, path)
        edges[0] = edges[0][: last + 1]
        images = {name: image[:last] for name, image in images.items()}
    mask = np.isfinite(images["data"]).reshape(len(edges[0]) - 1, -1)
    layout = SpectrumGrid if powder else CrystalGrid
    grid = layout(
        *map(_centres, edges), incident_energy=incident, mask=mask, **settings
    )
    names = ("energy", "q") if powder else ("energy", "h", "k", "l")
    details = {
        "events": images["events"].reshape(1, -1),
        "edges": dict(zip(names, edges, strict=True)),
        "normalization": normalization,
        "temperature_range": limits,
        "projection": origin,
    }
    return Measurement(
        images["data"].reshape(1, -1),
        grid,
        error=images["errors"].reshape(1, -1),
        quantity="sqe",
        temperature=temperature,
        source=str(path),
        details={name: value for name, value in details.items() if value is not None},
    )


def _centres(edges):
    return (edges[1:] + edges[:-1]) / 2


def _entry(file):
    entry = child_group(file, _ENTRY)
    version = attribute(file, _ENTRY, "SaveMDVersion")
    if version != "2":
        raise ValueError(
            f"{place(entry)} must have SaveMDVersion 2, got {version}. Load it in "
            "Mantid and save it again."
        )
    return entry


def _axes(entry):
    """Return the axes in the order of a grid: energy, then |Q| or three components."""
    group = child_group(entry, "data")
    shape = child_dataset(group, "signal").shape
    listed = attribute(group, "signal", "axes") or ":".join(
        f"D{n}" for n in reversed(range(len(shape)))
    )
    names = listed.split(":")
    if len(names) != len(shape):
        raise ValueError(
            f"{place(group, 'signal')} must have one dimension for each of its axes "
            f"{listed!r}, got shape {shape}."
        )
    axes = [
        _axis(entry, name, position, shape[position])
        for position, name in enumerate(names)
    ]
    axes.reverse()  # as numbered in Mantid
    found = {kind: [axis for axis in axes if axis.kind == kind] for kind in _KINDS}
    counts = tuple(len(found[kind]) for kind in _KINDS)
    if counts not in _COMPLETE:
        raise ValueError(
            f"{place(group)} must have an energy transfer and either |Q| or three "
            "components of Q in one frame, got "
            f"{', '.join(axis.name for axis in axes)}. Bin along all of them, with a "
            "single bin for what is integrated over."
        )
    return [axis for kind in _KINDS for axis in found[kind]]


def _axis(entry, dataset, position, n_bins):
    group = child_group(entry, "data")
    edges = read_array(group, dataset, (n_bins + 1,))
    if not ((np.diff(edges) > 0).all() and np.isfinite(edges).all()):
        raise ValueError(f"{place(group, dataset)} must hold increasing borders.")
    name = attribute(group, dataset, "long_name") or dataset
    if name.lower() in _ENERGY_NAMES:
        check_units(group, dataset, _MEV)
        return _Axis("energy", name, dataset, position, edges)
    if name.lower() in _Q_NAMES:
        check_units(group, dataset, _PER_ANGSTROM)
        return _Axis("q", name, dataset, position, edges)
    frame = attribute(group, dataset, "frame")
    if frame not in _FRAMES.values() and find(entry, "coordinate_system"):
        frame = _FRAMES.get(read_number(entry, "coordinate_system"), frame)
    if frame not in _FRAMES.values():
        raise ValueError(
            f"{place(group, dataset)} must be energy transfer, |Q|, or a component of "
            f"Q in the frame HKL or QSample; got {name!r} in the frame {frame!r}."
        )
    units = attribute(group, dataset, "units") or ""
    if frame == "QSample":
        check_units(group, dataset, _PER_ANGSTROM)
    elif not _LENGTH_OF_RLU.fullmatch(units):
        check_units(group, dataset, _RLU)
    return _Axis(frame, name, dataset, position, edges)


def _own_normalization(entry):
    if find(entry, "visual_normalization") is None:
        return "signal"
    number = read_number(entry, "visual_normalization")
    if number not in range(len(_NORMALIZATIONS)):
        raise ValueError(
            f"{place(entry, 'visual_normalization')} must be 0, 1 or 2, got "
            f"{number:g}. Pass normalization, one of {', '.join(_NORMALIZATIONS)}, to "
            "skphonon.io.read_mdhisto."
        )
    return _NORMALIZATIONS[int(number)]


def _images(group, axes, normalization):
    """Return intensity, errors and events, dimensions in the order of the axes."""
    order = [axis.position for axis in axes]
    shape = child_dataset(group, "signal").shape
    signal, variance, events, masked = (
        read_array(group, name, shape).transpose(order)
        for name in ("signal", "errors_squared", "num_events", "mask")
    )
    seen = np.isfinite(signal) & (masked == 0)
    divisor = np.ones(signal.shape)
    if normalization != "signal":
        seen &= events > 0
    if normalization == "events":
        divisor = np.where(seen, events, 1.0)
    elif normalization == "volume":
        for widths in np.ix_(*(np.diff(axis.edges) for axis in axes)):
            divisor = divisor * widths
    data = np.where(seen, signal / divisor, np.nan)
    if normalization == "events":
        _check_events(group, data[seen])
    return {
        "data": data,
        "errors": np.sqrt(np.where(seen & (variance > 0), variance, np.nan)) / divisor,
        "events": np.where(seen, events, np.nan),
    }


def _check_events(group, intensity):
    """Refuse counts that were divided by themselves."""
    if intensity.size > 1 and np.ptp(intensity) <= 1e-6 * abs(intensity).max():
        raise ValueError(
            f"{place(group, 'signal')} must hold intensities, got events: divided by "
            f"their own number they are {intensity[0]:g} everywhere. Divide by a "
            "normalisation in Mantid, with MDNorm, or pass normalization='signal' to "
            "have counts."
        )


def _log(entry, name, units=None):
    """Return the median over time, and the lowest and highest value, of all runs."""
    runs = []
    for number in count():
        if find(entry, f"experiment{number}") is None:
            break
        logs = find(entry, f"experiment{number}/logs")
        if logs is not None:
            runs.append(logs)
    return log_in_time(runs, name, units)
