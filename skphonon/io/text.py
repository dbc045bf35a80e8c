r"""Spectra in plain text: rows of points, or an image with its axes.

Rows of points hold :math:`|Q|` (or h, k and l), energy transfer, intensity and perhaps
its error, in any order and among other columns, one point a row. An image has one axis
above its columns and the other before its rows, as pandas and spreadsheets write it, or
its axes are given. Energy transfer is positive where the neutron loses energy: a text
does not tell.
"""

import re

import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument.measurement import Measurement, MeasurementWarning
from skphonon.io._kinds import as_path, identify, require_kind
from skphonon.io._labels import (
    MARK_OF_TABLES,
    Label,
    factor,
    incident_energy_in,
    require_factor,
    units_in,
)
from skphonon.io._tables import read_table
from skphonon.io._text_layouts import (
    AXES,
    READER,
    column_labels,
    read_image,
    read_points,
    temperature_column,
    warn_of_unused,
)

__all__ = ["read_text"]

_HEADER = 100  # lines that are kept
_UNITS = {"energy": "meV", "q": "1/Angstrom"}
_OWN = [
    ["energy", *places, "intensity", *error]
    for places in (["q"], ["h", "k", "l"])
    for error in ([], ["error"])
]
_T = re.compile(
    r"\b(?:T|[Tt]emp|(?:[Ss]ample[ _])?[Tt]emperature)"
    r"(?:\s*[:=]\s*(?=[\d.]+\s*K\b)|\s*(?:\(K\)|\[K\]|in K)\s*[:=]\s*)"
    r"(\d+(?:\.\d+)?)(?![\w.]*[\d.eE])"
)
_KELVIN = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*K\b")


def read_text(
    path,
    *,
    columns=None,
    rows=None,
    q=None,
    energy=None,
    energy_unit=None,
    q_unit=None,
    incident_energy=None,
    temperature=None,
    quantity=None,
    units=None,
    error_path=None,
):
    r"""Read points or an image of S(Q, E) from a plain text.

    Delimiter (white space, comma, semicolon or tab), decimal comma, exponents of
    Fortran, lines of comments and of names are found. Missing values, such as
    ``nan``, ``NA``, ``--`` or an empty cell, become NaN. What a text does not tell is
    asked for by the name of an argument. A table that :func:`to_pandas` made and pandas
    wrote with its index, known by the columns ``pixel``, ``energy``, ``q`` (or ``h``,
    ``k``, ``l``), ``intensity`` and perhaps ``error`` in this order, is in meV and
    1/Angstrom unless it says otherwise.

    Parameters
    ----------
    path : str or path-like
        The text.
    columns : sequence of str, default=None
        Meaning of each column of a table of points: "q" or "h", "k" and "l",
        "energy", "intensity", "error" (or "variance", or "error (%)" of a share of the
        intensity), and None where it does not matter. None finds it
        in the line above the numbers, such as ``# |Q| (1/A), E (meV), S(Q,E), error``.
    rows : {"energy", "q"}, default=None
        Axis down the first column of an image. None finds it in the cell above that,
        such as ``E \ Q``, or takes the axis with negative values as energy.
    q : float or array-like of shape (n_q,) or (n_q, 3), default=None
        Momentum transfers in 1/Angstrom, or wavevectors in r.l.u., of an image that
        has no axes; or of all points of a table that has no such column.
    energy : float or array-like of shape (n_energy,), default=None
        Energy transfers in meV, likewise.
    energy_unit : {"meV", "ueV", "eV", "THz", "GHz", "1/cm"}, default=None
        Unit of the energies in the text. None finds it there.
    q_unit : {"1/Angstrom", "1/nm"}, default=None
        Unit of the momentum transfers in the text. None finds it there.
    incident_energy : float, default=None
        Energy of the incoming neutrons in meV. None takes that of a comment such as
        ``# Ei = 50 meV``.
    temperature : float, default=None
        Temperature of the sample in K. None takes that of a column such as
        ``T (K)`` that is the same for all points, or of a comment such as
        ``# T = 300 K``, if it names no other.
    quantity : {"sqe", "chi"}, default=None
        As for :class:`Measurement`. None finds it in the name of the column.
    units : str, default=None
        Units of the intensities. None finds them in the name of the column.
    error_path : str or path-like, default=None
        Text of the same form with the standard deviations of an image. Its axes, if
        it has any, may be in another order, but must have the same values.

    Returns
    -------
    Measurement
        Of one spectrum, on a :class:`SpectrumGrid`, or a :class:`PathGrid` for h, k
        and l, with axes sorted; wavevectors keep their order. Places of the grid that
        no row tells are NaN, errors also where they are 0. ``details["header"]`` has
        the lines above the numbers.

    Raises
    ------
    OSError
        If the file is missing.
    ValueError
        If it is of another kind, rows have unequal lengths, a point appears twice, the
        points form no grid, or something must be said that the text does not tell.

    Warns
    -----
    MeasurementWarning
        If a unit given is another than that in the text, counts stand beside those of
        a monitor, by which they were not divided, no column is known to hold errors
        and some are not used, a column of temperatures has several, or
        intensities lie where no neutron of the incident energy can arrive.

    See Also
    --------
    read_triple_axis : Scans as a spectrometer writes them.
    skphonon.Measurement.from_arrays : Arrays that were read in another way.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skphonon.io import read_text
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "cut.csv")
    ...     _ = path.write_text(
    ...         "|Q| (1/A),E (meV),S(Q,E),error\n"
    ...         "1.0,5,0.2,0.1\n2.0,5,0.4,0.1\n1.0,10,0.3,0.1\n"
    ...     )
    ...     measured = read_text(path, temperature=300.0)
    >>> measured.data, measured.quantity
    (array([[0.2, 0.4, 0.3, nan]]), 'sqe')
    """
    if identify(path).key != "text":  # of which a reader that is called makes more
        require_kind(path, "table")
    table = read_table(path)
    text = "\n".join(table.header)
    own = any(_is_own(line, table.dialect.delimiter, path) for line in table.header)
    if rows not in (None, *AXES):
        raise ValueError(f"rows must be energy or q, got {rows!r}.")
    labels = column_labels(path, table, columns)
    if labels is None or rows is not None:
        found = read_image(path, table, rows, q, energy)
    else:
        found = read_points(path, table, labels, q, energy)
        if columns is None:
            warn_of_unused(path, table, found)
            if temperature is None:
                temperature = temperature_column(path, table)
    factors = _factors(path, found, text, (energy_unit, q_unit), (energy, q), own)
    _require_same_units(path, table, factors, (energy_unit, q_unit), (energy, q))
    error = found.error
    if error_path is not None:
        error = _errors_of(found, path, error_path, rows, q, energy)
    said = found.labels.get("intensity", Label(None, None, None, ""))
    return Measurement.from_arrays(
        found.q * factors["q"],
        found.energy * factors["energy"],
        found.intensity,
        error,
        incident_energy=(
            incident_energy_in(text, table.dialect.decimal)
            if incident_energy is None
            else incident_energy
        ),
        temperature=_temperature(text, temperature),
        quantity=quantity or said.quantity,
        units=units or said.unit or _counts(said.text),
        source=str(path),
        details={"header": "\n".join(table.header[:_HEADER])} if text else {},
    )


def _errors_of(found, path, error_path, rows, q, energy):
    """Return the image of errors in the order of that of intensities."""
    errors = read_image(error_path, read_table(as_path(error_path)), rows, q, energy)
    image = errors.intensity
    if q is not None and energy is not None:  # neither text has axes
        return image
    for place, name in enumerate(AXES):
        wanted, got = getattr(found, name), getattr(errors, name)
        alike = wanted.ndim == 1 and wanted.shape == got.shape
        order, other = np.argsort(wanted, axis=0), np.argsort(got, axis=0)
        if not alike or not np.allclose(
            wanted[order], got[other], rtol=1e-5, atol=1e-9
        ):
            raise ValueError(
                f"{error_path} must have the axes of {path}, got {len(got)} values of "
                f"{name} from {np.min(got):g} to {np.max(got):g}, not {len(wanted)} "
                f"from {np.min(wanted):g} to {np.max(wanted):g}, or others between. "
                "Write both texts with the same axes in the same units."
            )
        image = np.take(image, other[np.argsort(order)], place)
    return image


# Units and settings


def _factors(path, found, text, units, given, own):
    """Return what the units of both axes are in meV and 1/Angstrom."""
    factors, unknown = {}, {}
    wavevectors = found.q.ndim == 2
    for name, unit, known in zip(AXES, units, given, strict=True):
        if known is not None or (name == "q" and wavevectors):
            factors[name] = 1.0
            continue
        said = found.labels[name].unit if name in found.labels else None
        in_text = units_in(text, name)
        if said is None and len(in_text) == 1:
            said = in_text[0]
        here = factor(said, name) if said else None
        if unit is not None:
            factors[name] = require_factor(unit, name)
            if here not in (None, factors[name]):
                warn_user(
                    f"{name}_unit={unit!r} is another unit than {said!r}, which {path} "
                    f"tells. Leave out {name}_unit if the text is right.",
                    MeasurementWarning,
                )
        elif here is None and said is None and own:
            factors[name] = 1.0
        elif here is None:
            unknown[name] = f", got {said!r}" if said else ""
        else:
            factors[name] = here
    if unknown:
        what = " and ".join(f"of {name}{said}" for name, said in unknown.items())
        how = ", ".join(f"{name}_unit={_UNITS[name]!r}" for name in unknown)
        raise ValueError(
            f"The text {path} must tell the unit {what}. If it is the usual one, read "
            f"it with {READER}(path, {how})."
        )
    return factors


def _is_own(line, delimiter, path):
    """Tell whether a line has the names of columns that to_pandas gives."""
    if delimiter is None:
        return False
    found = [cell.strip().strip('"') for cell in line.split(delimiter)]
    marked = found[0] == MARK_OF_TABLES
    found = found[marked or not found[0] :]
    if found[:1] == ["spectrum"] and found[1:] in _OWN:
        raise ValueError(
            f"{path} must hold one spectrum, got a table of several, with a column "
            "'spectrum'. Read it with skphonon.io.from_pandas(pandas.read_csv(path))."
        )
    return marked and found in _OWN


def _temperature(text, given):
    """Return the one temperature that a text speaks of, None of more or none."""
    found = {float(value) for value in _T.findall(text)}
    every = found | {float(value) for value in _KELVIN.findall(text)}
    return min(every) if given is None and found and len(every) == 1 else given


def _require_same_units(path, table, factors, units, given):
    """Refuse comments among the rows that tell another unit than those above."""
    for name, unit, known in zip(AXES, units, given, strict=True):
        for number, line in table.between if unit is None and known is None else ():
            others = [
                each
                for each in units_in(line, name)
                if factor(each, name) != factors[name]
            ]
            if others:
                raise ValueError(
                    f"{path} must have {name} in one unit, got {others[0]!r} in line "
                    f"{number} and another one above. Read each block from a text of "
                    f"its own, or pass {name}_unit if all are in one."
                )


def _counts(name):
    return "counts" if name.lower() in ("counts", "cts", "cnts") else None
