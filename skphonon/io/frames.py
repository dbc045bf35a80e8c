"""Measurements as tables of pandas, and back."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from skphonon._numbers import numbers_of
from skphonon._warnings import warn_user
from skphonon.instrument import AngleGrid, CrystalGrid, SpectrumGrid
from skphonon.instrument.measurement import (
    Measurement,
    MeasurementWarning,
    require_grid,
)
from skphonon.io._crystal_axes import axes_of, on_crystal
from skphonon.io._labels import (
    MARK_OF_TABLES,
    Label,
    angle_in,
    deviations,
    factor,
    label,
    monitor_beside,
    require_rlu,
    undivided,
    unused,
)
from skphonon.io._points import axis_of, image_of, rows_by_mask

__all__ = ["from_pandas", "to_pandas"]

_TOLD = ("quantity", "units", "incident_energy", "temperature", "energy_resolution",
         "source")  # fmt: skip
_ANGLE, _SPECTRUM = "two_theta", "spectrum"
_REPEAT = "repeat"  # number of a wavevector among equal ones
_CRYSTAL = "crystal_grid"  # in attrs
_LATTICE = "lattice"  # of a path, in attrs
_LIMITS = "two_theta"  # of the detectors, in attrs
_PIVOT = "pivot"  # of a table of errors, in attrs
_ALL_ANGLES = (0.0, 180.0)
_WHERE = "The table"


def to_pandas(measurement, *, pivot=None):
    """Turn a measurement into a table of pandas.

    Parameters
    ----------
    measurement : Measurement
        Of any grid.
    pivot : {"intensity", "error"}, default=None
        None makes a row of each pixel. Else an image of one spectrum, with energies as
        index and momentum transfers as columns.

    Returns
    -------
    pandas.DataFrame
        With the index ``pixel``, by which :func:`read_text` knows such a table, and the
        columns ``spectrum`` (its number, if there are several), ``energy`` in
        meV, ``q`` in 1/Angstrom (or ``h``, ``k`` and ``l`` in r.l.u., or ``two_theta``
        in degrees), ``intensity`` and, if there are any, ``error``; NaN where nothing
        was measured, by the data or by a mask given to the grid. If wavevectors of a
        path are repeated, ``repeat`` numbers equal ones from 0. The other
        facts, but details, are in its ``attrs``, among them the limits of scattering
        angles, the lattice of wavevectors, and of a crystal its axes and how it was
        turned.

    Raises
    ------
    ValueError
        If the measurement has no grid yet, `pivot` is none of these, or an image is
        asked for of several spectra or of errors that there are not.

    See Also
    --------
    from_pandas : The reverse.

    Examples
    --------
    >>> from skphonon import Measurement
    >>> from skphonon.io import to_pandas
    >>> measured = Measurement.from_arrays([1.0, 2.0], [5.0, 10.0], [[1, 2], [3, 4]])
    >>> to_pandas(measured).reset_index()
       pixel  energy    q  intensity
    0      0     5.0  1.0        1.0
    1      1     5.0  2.0        2.0
    2      2    10.0  1.0        3.0
    3      3    10.0  2.0        4.0
    >>> to_pandas(measured, pivot="intensity")
    q       1.0  2.0
    energy
    5.0     1.0  2.0
    10.0    3.0  4.0
    """
    require_grid(measurement)
    if pivot not in (None, "intensity", "error"):
        raise ValueError(f"pivot must be intensity, error or None, got {pivot!r}.")
    frame = _rows(measurement) if pivot is None else _image(measurement, pivot)
    told = {name: getattr(measurement, name) for name in _TOLD}
    frame.attrs.update(
        {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in told.items()
            if value is not None
        }
    )
    if isinstance(measurement.grid, CrystalGrid):
        frame.attrs[_CRYSTAL] = axes_of(measurement.grid)
    elif isinstance(measurement.grid, SpectrumGrid):
        if measurement.grid.two_theta != _ALL_ANGLES:
            frame.attrs[_LIMITS] = list(measurement.grid.two_theta)
    elif getattr(measurement.grid, _LATTICE, None) is not None:
        frame.attrs[_LATTICE] = measurement.grid.lattice.tolist()
    if pivot == "error":
        frame.attrs[_PIVOT] = pivot
    return frame


def from_pandas(
    frame,
    *,
    incident_energy=None,
    temperature=None,
    quantity=None,
    units=None,
    energy_resolution=None,
    source=None,
):
    """Make a measurement of a table of pandas.

    Either a row of each point, with columns (or levels of the index) that are called
    as in :func:`to_pandas` or in another usual way, such as ``|Q| (1/A)``,
    ``E (THz)`` and ``S(Q,E)``; or an image with energies and momentum transfers as
    index and columns.
    A scattering angle is called ``two_theta``, ``2theta (deg)`` or alike.
    Units in brackets are converted; without them energies are in meV and momentum
    transfers in 1/Angstrom.

    Parameters
    ----------
    frame : pandas.DataFrame
        The table. Points may be missing and in any order. In an image the names of
        index or columns tell which are energies, or negative values.
    incident_energy : float, default=None
        Energy of the incoming neutrons in meV. This and all others are taken from
        ``frame.attrs`` if they are None and there.
    temperature, quantity, units, energy_resolution, source : optional
        As for :class:`Measurement`.

    Returns
    -------
    Measurement
        On a :class:`SpectrumGrid`, :class:`AngleGrid` or, for h, k and l, a
        :class:`PathGrid`. Points of a crystal that :func:`to_pandas` made a table of
        are on a :class:`CrystalGrid` again, as long as ``frame.attrs`` is kept and no
        other points were added. Rows that have the same wavevector and energy are told
        apart by a column ``repeat``. Errors of 0 become NaN.

    Raises
    ------
    TypeError
        If it is no table of pandas.
    ValueError
        If a column is missing or in an unknown unit, a point appears twice, or the
        points form no grid.

    Warns
    -----
    MeasurementWarning
        If counts stand beside those of a monitor, by which they were not divided, or
        no column is known to hold errors and some are not used.

    See Also
    --------
    to_pandas : The reverse.
    read_text : Tables in text.

    Examples
    --------
    >>> import pandas as pd
    >>> from skphonon.io import from_pandas
    >>> frame = pd.DataFrame(
    ...     {"Q": [1, 1, 2], "E (meV)": [5, 10, 5], "S(Q,E)": [1.0, 2.0, 3.0]}
    ... )
    >>> measured = from_pandas(frame, temperature=300.0)
    >>> measured.data, measured.quantity
    (array([[ 1.,  3.,  2., nan]]), 'sqe')
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(
            f"frame must be a DataFrame of pandas, got {type(frame).__name__}."
            + (
                " Turn the index into columns with reset_index()."
                if isinstance(frame, pd.Series)
                else ""
            )
        )
    given = {
        "incident_energy": incident_energy,
        "temperature": temperature,
        "quantity": quantity,
        "units": units,
        "energy_resolution": energy_resolution,
        "source": source,
    }
    told = {
        name: frame.attrs.get(name) if value is None else value
        for name, value in given.items()
    }
    told |= {name: frame.attrs.get(name) for name in (_CRYSTAL, _LATTICE, _LIMITS)}
    columns = _by_meaning(frame)
    if temperature is None and told["temperature"] is not None:
        told["temperature"] = _of_spectra(told["temperature"], columns)
    if "intensity" not in columns:
        if frame.attrs.get(_PIVOT) == "error":
            raise ValueError(
                f"{_WHERE} must hold intensities, got errors, an image that to_pandas "
                "made with pivot='error'. Pass a table with columns of both, as "
                "to_pandas makes it without pivot."
            )
        return _from_image(frame, told)
    counts = columns["intensity"][1].text
    monitor = monitor_beside([str(each) for each in frame.columns], counts)
    if monitor:
        warn_user(undivided("the table", monitor, counts), MeasurementWarning)
    others = [str(name) for name in frame.columns if not label(name).meaning]
    said = unused(others, columns)
    if said:
        warn_user(
            f"{_WHERE} has {said}. Rename the column of errors to 'error', or drop "
            "what does not matter.",
            MeasurementWarning,
        )
    return _from_rows(columns, told)


def _rows(measurement):
    grid, n_spectra = measurement.grid, len(measurement)
    energy, _ = grid.axes()
    places = _places(grid)
    if hasattr(grid, "wavevectors"):
        repeat = _repeats(grid.wavevectors)
        places |= {_REPEAT: repeat} if repeat.any() else {}
    columns = {}
    if n_spectra > 1:
        columns[_SPECTRUM] = np.repeat(np.arange(n_spectra), grid.n_pixels)
    columns["energy"] = np.tile(np.repeat(energy, grid.shape[1]), n_spectra)
    for name, values in places.items():
        columns[name] = np.tile(values, n_spectra * len(energy))
    data, error = rows_by_mask(measurement)
    columns["intensity"] = np.ravel(data)
    if error is not None:
        columns["error"] = np.ravel(error)
    frame = pd.DataFrame(columns)
    return frame.rename_axis(index=MARK_OF_TABLES)


def _image(measurement, pivot):
    rows = rows_by_mask(measurement)[pivot == "error"]
    if rows is None or len(rows) != 1:
        raise ValueError(
            f"An image must be of one spectrum with {pivot}, got "
            f"{'no errors' if rows is None else f'{len(rows)} spectra'}. Take one with "
            "measurement[0], or leave out pivot."
        )
    places = _places(measurement.grid)
    if len(places) == 1:
        ((name, values),) = places.items()
        columns = pd.Index(values, name=name)
    else:
        columns = pd.MultiIndex.from_arrays(list(places.values()), names=list(places))
    return pd.DataFrame(
        measurement.grid.to_image(rows)[0].copy(),
        index=pd.Index(measurement.grid.energy, name="energy"),
        columns=columns,
    )


def _places(grid):
    """Return the columns of a grid by name."""
    if hasattr(grid, "wavevectors"):
        return dict(zip("hkl", grid.wavevectors.T, strict=True))
    _, columns = grid.axes()
    return {_ANGLE if isinstance(grid, AngleGrid) else "q": columns}


def _repeats(wavevectors):
    """Return how many equal wavevectors stand before each, as rows tell them apart."""
    places = np.stack([axis_of(part)[1] for part in wavevectors.T], axis=1)
    _, which, counts = np.unique(
        places, axis=0, return_inverse=True, return_counts=True
    )
    order = np.argsort(which.ravel(), kind="stable")
    repeat = np.empty(len(order), dtype=int)
    repeat[order] = np.arange(len(order)) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    return repeat


def _by_meaning(frame):
    """Return the columns and levels of the index that mean something, with labels."""
    twice = frame.columns[frame.columns.duplicated()]
    for name in twice:
        if isinstance(name, str) and (label(name).meaning or angle_in(name)):
            raise ValueError(
                f"{_WHERE} must have one column {name!r}, got several. Drop or rename "
                "the others."
            )
    frame = frame.loc[:, ~frame.columns.duplicated()]
    named = {name: frame[name] for name in frame.columns if isinstance(name, str)}
    for level, name in enumerate(frame.index.names):
        if isinstance(name, str):
            named.setdefault(name, frame.index.get_level_values(level))
    found: dict[str, tuple[np.ndarray, Label]] = {}
    for name, values in named.items():
        said = label(name)
        own = name == _SPECTRUM or (
            name == _REPEAT and np.asarray(values).dtype.kind in "iuf"
        )
        degrees = angle_in(name)
        meaning = name if own else _ANGLE if degrees else said.meaning
        if meaning in found:
            raise ValueError(
                f"{_WHERE} must have one column of {meaning}, got "
                f"{found[meaning][1].text!r} and {name!r}. Drop one of them."
            )
        if meaning:
            found[meaning] = numbers_of(values, repr(name)) * (degrees or 1.0), said
    require_rlu((said for _, said in found.values()), _WHERE)
    return found


def _of_spectra(temperatures, columns):
    """Return temperatures of attrs, one a spectrum, of those that are still there."""
    if np.ndim(temperatures) != 1:
        return temperatures
    numbers = np.zeros(1)
    if _SPECTRUM in columns:
        numbers = np.unique(columns[_SPECTRUM][0])
    if len(numbers) == len(temperatures):
        return temperatures
    known = (numbers == np.floor(numbers)) & (0 <= numbers)
    if _SPECTRUM in columns and (known & (numbers < len(temperatures))).all():
        return [temperatures[int(number)] for number in numbers]
    raise ValueError(
        f"The temperature in frame.attrs must be one for each of {len(numbers)} "
        f"spectra, got {len(temperatures)}. Pass temperature=..., or keep the column "
        f"{_SPECTRUM!r} that tells which are left."
    )


def _from_rows(columns, told):
    axis = next((each for each in ("q", _ANGLE) if each in columns), None)
    wavevector = axis is None and not {"h", "k", "l"} - set(columns)
    if "energy" not in columns or not (axis or wavevector):
        missing = "energy" if "energy" not in columns else "q"
        raise ValueError(
            f"{_WHERE} must have a column of {missing}"
            f"{' (or two_theta, or h, k and l)' if missing == 'q' else ''}, got "
            f"{', '.join(said.text for _, said in columns.values())}. Rename it."
        )
    energy = columns["energy"][0] * _factor(columns["energy"][1], "energy")
    if wavevector:
        named = [*"hkl", _REPEAT] if _REPEAT in columns else "hkl"
        q = np.stack([columns[name][0] for name in named], axis=1)
    else:
        scale = _factor(columns[axis][1], "q") if axis == "q" else 1.0
        q = columns[axis][0] * scale
    if not (np.isfinite(q).all() and np.isfinite(energy).all()):
        raise ValueError(f"{_WHERE} must have finite Q and energies. Drop other rows.")
    values = [columns["intensity"][0]]
    if "error" in columns:
        error, of_error = columns["error"]
        values.append(deviations(of_error, error, values[0]))
    if not len(energy):
        raise ValueError(f"{_WHERE} must have rows, got none.")
    spectrum = None
    if _SPECTRUM in columns:
        _, spectrum = np.unique(columns[_SPECTRUM][0], return_inverse=True)
    q, energy, images = image_of(q, energy, values, _WHERE, spectrum)
    q = q[:, :3] if wavevector else q
    said = columns["intensity"][1]
    told["quantity"] = told["quantity"] or said.quantity
    told["units"] = told["units"] or said.unit
    return _measurement(q, energy, *images, columns=axis or "q", told=told)


def _from_image(frame, told):
    turned = False
    named = [
        label("" if each.name is None else each.name)
        for each in (frame.index, frame.columns)
    ]
    for levels in (frame.index, frame.columns):
        require_rlu((label(name) for name in levels.names if name), _WHERE)
    places = [
        _is_place(*each)
        for each in zip((frame.index, frame.columns), named, strict=True)
    ]
    if not any(places) and "energy" not in (each.meaning for each in named):
        named = _by_sign(frame, named)
    if "energy" == named[1].meaning or (places[0] and not places[1]):
        turned, frame, named = True, frame.T, named[::-1]
    if isinstance(frame.index, pd.MultiIndex) and turned:
        raise ValueError(f"{_WHERE} must have energies on one level of an axis.")
    try:
        energy = np.asarray(frame.index, dtype=float)
        if isinstance(frame.columns, pd.MultiIndex):
            q = np.array(frame.columns.to_list(), dtype=float)
        else:
            q = np.asarray(frame.columns, dtype=float)
        image = numbers_of(frame, "intensity")
    except (TypeError, ValueError) as error:
        listed = ", ".join(map(repr, list(frame.columns)[:6]))
        raise ValueError(
            f"{_WHERE} must have a column of intensity, or energies as index and "
            f"momentum transfers as columns, got columns {listed}. Rename them."
        ) from error
    _require_known_axes(frame, named)
    degrees = angle_in(named[1].text)
    axis = _ANGLE if degrees else "q"
    scale = 1.0 if q.ndim > 1 else degrees or _factor(named[1], "q")
    energy = energy * _factor(named[0], "energy")
    return _measurement(q * scale, energy, image, columns=axis, told=told)


def _require_known_axes(frame, named):
    """Refuse axes of an image, energies and places, that are called something else."""
    levels = [name for name in frame.columns.names if name is not None]
    if isinstance(frame.columns, pd.MultiIndex):
        meant = [label(name).meaning or name for name in levels]
        places = not levels or (
            meant[:3] == list("hkl") and meant[3:] in ([], [_REPEAT])
        )
    else:
        places = not named[1].text or _is_place(frame.columns, named[1])
    if named[0].meaning == "energy" or not named[0].text:
        if places:
            return
    shown = [
        ", ".join(str(name) for name in each.names if name is not None) or "no name"
        for each in (frame.index, frame.columns)
    ]
    raise ValueError(
        f"{_WHERE} must be an image over energy and q, two_theta, or h, k and l, got "
        f"axes of {' and '.join(map(repr, shown))}. Name them: "
        "frame.rename_axis(index='energy', columns='q')."
    )


def _by_sign(frame, named):
    """Return labels of an image without names, by the negative values of one axis."""
    negative = []
    for axis in (frame.index, frame.columns):
        try:
            negative.append(bool((np.asarray(axis, dtype=float) < 0).any()))
        except (TypeError, ValueError):
            return named  # no image
    if negative[0] == negative[1]:
        raise ValueError(
            f"{_WHERE} must tell which axis holds energies, got an image without names "
            "of index and columns. Name them: frame.rename_axis(index='energy', "
            "columns='q'), or the other way round."
        )
    energy = label("energy")
    return [energy, named[1]] if negative[0] else [named[0], energy]


def _is_place(levels, said):
    """Tell whether an axis of a frame is one of Q, of angles or of wavevectors."""
    return (
        said.meaning == "q"
        or angle_in(said.text) is not None
        or isinstance(levels, pd.MultiIndex)
    )


def _measurement(q, energy, intensity, error=None, *, columns, told):
    angles = {_ANGLE: q} if columns == _ANGLE else {}
    crystal, lattice, limits = (
        told.pop(name, None) for name in (_CRYSTAL, _LATTICE, _LIMITS)
    )
    measured = Measurement.from_arrays(
        None if angles else q, energy, intensity, error, **angles, **told
    )
    if np.ndim(q) == 2 and isinstance(crystal, Mapping):
        return on_crystal(measured, crystal, f"frame.attrs[{_CRYSTAL!r}]")
    changes = {}
    if np.ndim(q) == 2 and lattice is not None:
        changes = {_LATTICE: lattice}
    elif limits is not None and isinstance(measured.grid, SpectrumGrid):
        changes = {_LIMITS: limits}
    try:
        return measured._on(measured.grid.replace(**changes)) if changes else measured
    except (TypeError, ValueError) as error:
        raise ValueError(f"In frame.attrs: {error}") from error


def _factor(said: Label, axis):
    """Return the unit of a label in meV or 1/Angstrom, 1 of one that has none."""
    if said.unit is None:
        return 1.0
    found = factor(said.unit, axis)
    if found is None:
        raise ValueError(
            f"{_WHERE} must have {axis} in meV, THz, 1/cm or 1/Angstrom, 1/nm, got the "
            f"unit {said.unit!r} in {said.text!r}. Rename the column."
        )
    return found
