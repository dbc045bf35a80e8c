"""Tables of points and images in text, brought onto their axes."""

import re
from typing import NamedTuple

import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument.measurement import MeasurementWarning
from skphonon.io._labels import (
    Label,
    angle_in,
    deviations,
    factor,
    label,
    monitor_beside,
    require_rlu,
    split_labels,
    undivided,
    unused,
)
from skphonon.io._points import image_of
from skphonon.io._tables import refuse_axis_above, refuse_lost_rows

__all__ = ["AXES", "READER", "Found", "column_labels", "read_image", "read_points",
           "temperature_column", "warn_of_unused"]  # fmt: skip

AXES = ("energy", "q")
READER = "skphonon.io.read_text"  # which takes what a text does not tell
_TEMPERATURE = re.compile(
    r"(?:(?:sample[ _])?temp(?:erature)?|(?:T|temp(?:erature)?)(?:[ _]?sample)?)"
    r"\s*(?:[\[(]\s*K(?:elvin)?\s*[\])]|[/_ ]K|in K)",
    re.IGNORECASE,
)
_MANY = 12  # columns, which are hardly those of points
_WIDE = 8  # columns and more may be an image, without a word


class Found(NamedTuple):
    """Axes in the units of the text, images of energy by Q, and labels."""

    q: np.ndarray
    energy: np.ndarray
    intensity: np.ndarray
    error: np.ndarray | None
    labels: dict[str, Label]


# Tables of points


def column_labels(path, table, columns):
    """Return what columns are, by meaning, with their number; None of an image."""
    n_columns = table.values.shape[1]
    if columns is not None:
        if isinstance(columns, str) or len(columns) != n_columns:
            raise ValueError(
                f"columns must name each of the {n_columns} columns of {path}, with "
                f"None for those that do not matter, got {columns!r}."
            )
        named = [label(each or "") for each in columns]
        unknown = [each.text for each in named if each.text and not each.meaning]
        if unknown:
            raise ValueError(
                "columns must be q (or h, k and l), energy, intensity, error or None, "
                f"got {', '.join(unknown)}."
            )
        refuse_lost_rows(path, table)
        refuse_axis_above(path, table)
        return _by_meaning(path, named)
    for place in range(len(table.header) - 1, -1, -1):
        named = _names_in(table.header[place], table)
        if named:
            refuse_lost_rows(path, table, place)
            refuse_axis_above(path, table)
            units = table.header[place + 1 : place + 2]
            named = _with_units(named, units, table)
            _require_alike(path, table, named)
            found = _by_meaning(path, named)
            counts = found["intensity"][1].text
            monitor = monitor_beside([each.text for each in named], counts)
            if monitor:
                warn_user(undivided(path, monitor, counts), MeasurementWarning)
            return found
    refuse_lost_rows(path, table)
    return None


def _names_in(line, table):
    """Return the labels of a line that names the columns, None of another one."""
    found = split_labels(line, table.values.shape[1], table.dialect.delimiter)
    if found and found[:3] == ["X", "Y", "E"]:
        if found[3:] in ([], ["DX"]):  # as Mantid writes a cut, E being the error
            unknown = [Label(None, None, None, each) for each in found]
            intensity, error = label("Y"), label("error")._replace(text="E")
            return [unknown[0], intensity, error, *unknown[3:]]
    named = [label(each) for each in found or ()]
    meanings = {each.meaning for each in named}
    if "intensity" in meanings and meanings & {"energy", "q", "h"}:
        return named
    return None


def warn_of_unused(path, table, found):
    """Warn of columns that are not used where none is of errors."""
    named = next(filter(None, (_names_in(each, table) for each in table.header[::-1])))
    others = [each.text for each in named if not each.meaning]
    said = unused(others, found.labels)
    if said:
        warn_user(
            f"{path} has {said}. Pass columns, the meaning of each, to {READER} if one "
            "of these holds them, with None for what does not matter.",
            MeasurementWarning,
        )


def _names_above(table):
    """Yield all names of columns in the lines above the numbers."""
    for line in table.header:
        yield from (
            split_labels(line, table.values.shape[1], table.dialect.delimiter) or ()
        )


def temperature_column(path, table):
    """Return the one temperature of a column such as "T (K)", None without one.

    Of a column that changes, and so cannot be kept, a warning tells.
    """
    for line in reversed(table.header):
        named = _names_in(line, table)
        if not named:
            continue
        for number, each in enumerate(named):
            if _TEMPERATURE.fullmatch(each.text):
                values = table.values[:, number]
                values = values[np.isfinite(values)]
                if len(values) and values[0] >= 0 and (values == values[0]).all():
                    return float(values[0])
                warn_user(
                    f"{path} has a column of temperatures, {each.text!r}, that is not "
                    "the same for all points and is not used. Pass temperature to "
                    f"{READER}, or read the points of each on their own.",
                    MeasurementWarning,
                )
        break
    return None


def _not_understood(table):
    """Tell which names of a line above the numbers mean nothing, "" without one."""
    for line in reversed(table.header):
        width = table.values.shape[1]
        named = split_labels(line, width, table.dialect.delimiter)
        labels = [label(each) for each in named or ()]
        if any(each.meaning for each in labels):
            odd = [repr(each.text) for each in labels if not each.meaning]
            known = [repr(each.text) for each in labels if each.meaning]
            return f"the line {line.strip()[:80]!r} tells only {', '.join(known)}" + (
                f", not {', '.join(odd)}" if odd else ""
            )
    return ""


def _require_alike(path, table, named):
    """Refuse names of columns among the rows that are others than those above."""
    told = [(each.meaning, _known_unit(each)) for each in named]
    after = {number: line for number, line in table.between}
    for number, line in table.between:
        again = _names_in(line, table)
        if not again:
            continue
        units = [after[number + 1]] if number + 1 in after else []
        again = _with_units(again, units, table)
        for (meaning, unit), each in zip(told, again, strict=True):
            here = _known_unit(each)
            if each.meaning != meaning or (here != unit and each.unit):
                raise ValueError(
                    f"{path} must have the same columns in all rows, got {line[:80]!r} "
                    f"in line {number}, and other names or units above the first row. "
                    "Read each block from a text of its own."
                )


def _known_unit(said):
    if said.meaning not in AXES or said.unit is None:
        return None
    return factor(said.unit, said.meaning)


def _with_units(named, lines, table):
    """Return labels with the units in a line of their own, if there is one."""
    for line in lines:
        units = split_labels(line, len(named), table.dialect.delimiter)
        if units and not any(each.unit for each in named):
            return [
                each._replace(unit=unit.strip("()[]") or None)
                for each, unit in zip(named, units, strict=True)
            ]
    return named


def _by_meaning(path, named):
    found: dict[str, tuple[int, Label]] = {}
    for number, each in enumerate(named):
        if each.meaning in found:
            raise ValueError(
                f"{path} must have one column of {each.meaning}, got "
                f"{found[each.meaning][1].text!r} and {each.text!r}. Pass columns, "
                f"with None for one of them, to {READER}."
            )
        if each.meaning:
            found[each.meaning] = number, each
    require_rlu((each for _, each in found.values()), path)
    return found


def read_points(path, table, labels, q, energy):
    wavevector = not {"h", "k", "l"} - set(labels)
    given = {"q": q, "energy": energy}
    missing = ["intensity"] if "intensity" not in labels else []
    for name in AXES:
        there = name in labels or (name == "q" and wavevector)
        if not there and given[name] is None:
            missing.append(name)
        if there and given[name] is not None:
            raise ValueError(
                f"{name} must not be given, as {path} has a column of it. Name the "
                f"columns with columns of {READER}, and None for what does not matter."
            )
    if missing:
        known = ", ".join(repr(each.text) for _, each in labels.values()) or "none"
        some = {"h", "k", "l"} & set(labels)
        if some and "q" in missing:
            lacking = [name for name in "hkl" if name not in labels]
            raise ValueError(
                f"{path} must have columns of h, k and l, got {known} and no "
                f"{' and no '.join(lacking)}. Add what is missing, 0 where it is that "
                "throughout."
            )
        angles = [name for name in _names_above(table) if angle_in(name)]
        if "q" in missing and angles:
            raise ValueError(
                f"{path} must have a column of |Q|, got angles, {angles[0]!r}. Read it "
                "with skphonon.io.from_pandas(pandas.read_csv(path), "
                "incident_energy=...)."
            )
        raise ValueError(
            f"{path} must have a column of {' and of '.join(missing)}, got {known} "
            f"that are known. Pass columns, the meaning of all "
            f"{table.values.shape[1]}, or {missing[-1]}=... where it is the same for "
            f"all points, to {READER}."
        )

    def column(name):
        if name in labels:
            return table.values[:, labels[name][0]]
        value = np.asarray(given[name], dtype=float)
        if value.shape not in ((), (3,)) or (value.ndim and name != "q"):
            raise ValueError(
                f"{name} must be one number, of all points of a table, got shape "
                f"{value.shape}."
            )
        return np.broadcast_to(value, (len(table.values), *value.shape))

    if "q" in labels or not wavevector:
        places = column("q")
    else:
        places = np.stack([column(name) for name in "hkl"], axis=1)
    names = ["intensity", "error"] if "error" in labels else ["intensity"]
    values = [column(name) for name in names]
    if len(values) > 1:
        values[1] = deviations(labels["error"][1], values[1], values[0])
    finite = np.isfinite(places).reshape(len(places), -1).all(axis=1)
    placed = np.isfinite(column("energy")) & finite
    if (~placed & np.isfinite(values[0])).any() or not placed.any():
        raise ValueError(
            f"{path} must tell where each intensity was measured, got "
            f"{(~placed).sum()} rows of {len(placed)} without Q or energy."
        )
    q, energy, images = image_of(
        places[placed],
        column("energy")[placed],
        [each[placed] for each in values],
        path,
    )
    said = {name: each for name, (_, each) in labels.items()}
    return Found(q, energy, images[0], images[1] if len(images) > 1 else None, said)


# Images


def read_image(path, table, rows, q, energy):
    if q is not None and energy is not None:
        if table.across is None:
            return Found(
                np.asarray(q, dtype=float),
                np.asarray(energy, dtype=float),
                table.values,
                None,
                {},
            )
        raise ValueError(
            f"{path} must have no axes if q and energy are given, got one above its "
            "columns. Leave out q and energy."
        )
    axes = _own_axes(table)
    n_columns = table.values.shape[1]
    if axes is None and (rows is None or n_columns < 3):
        if n_columns > _MANY:
            advice = ""
        else:
            advice = (
                "columns, such as ('q', 'energy', 'intensity', 'error'); or, for an "
                "image, "
            )
        raise ValueError(
            f"The meaning of the {n_columns} columns of {path} must be known, and "
            f"{_not_understood(table) or 'no line above the numbers tells'}. Pass "
            f"{advice}rows='energy' or rows='q', "
            "the axis down its first column; or both q and energy, if it has no axes; "
            f"to {READER}."
        )
    down, across, image, corner = axes or _split(table)
    names = _corner_labels(corner)
    rows = rows or _told(names, down, across)
    if rows is None:
        raise ValueError(
            f"It must be known which axis of {path} runs down its first column, and "
            f"the text does not say. Pass rows='energy' or rows='q' to {READER}."
        )
    said = {each.meaning: each for each in names if each.meaning in AXES}
    if rows == "energy":
        return Found(across, down, image, None, said)
    return Found(down, across, image.T, None, said)


def _own_axes(table):
    """Return both axes of what is an image beyond doubt, the image and the corner."""
    if table.across is not None:
        down, image = table.values[:, 0], table.values[:, 1:]
        return down, table.across, image, table.corner
    down, across, image, corner = _split(table)
    told = np.isnan(table.values[0, 0]) or table.values.shape[1] >= _WIDE
    if told and len(down) > 1 and _runs(down) and _runs(across):
        return down, across, image, corner
    return None


def _split(table):
    values = table.values
    return values[1:, 0], values[0, 1:], values[1:, 1:], table.corner


def _runs(axis):
    steps = np.diff(axis)
    return np.isfinite(axis).all() and ((steps > 0).all() or (steps < 0).all())


def _corner_labels(corner):
    """Return labels of the first column and, if it is named, of the first row."""
    for sign in ("\\", "/", " vs ", ";", ","):
        parts = [label(each) for each in corner.split(sign, 1)]
        if len(parts) == 2 and all(each.meaning in AXES for each in parts):
            return parts
    return [label(corner)]


def _told(names, down, across):
    if names[0].meaning in AXES:
        return names[0].meaning
    negative = [bool((axis < 0).any()) for axis in (down, across)]
    if negative[0] != negative[1]:
        return "energy" if negative[0] else "q"
    return None
