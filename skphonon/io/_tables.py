"""Rows of numbers in text: delimiter, decimal sign, comments and header are found."""

import re
from array import array
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = [
    "COMMENTS",
    "Dialect",
    "Table",
    "bare",
    "is_row",
    "numbers",
    "read_table",
    "refuse_axis_above",
    "refuse_lost_rows",
    "text_lines",
]

COMMENTS = "#%!*/"  # at the beginning of a line
_INLINE = re.compile(r"\s[#%!].*")  # but not in 1.#QNAN
_HEAD_LINES, _HEAD_CHARACTERS = 200, 1 << 20  # that tell the dialect
_HEADER_LINES = 10_000  # at most
_SEEN = 500  # cells of a row, that tell whether it is one
_KEPT = 4096  # characters of a comment among rows
_LARGEST = 1e100  # of a number; beyond are signs of missing ones
_LONGEST = 1 << 22  # characters of a line
_OF_MANTID = 3  # columns X, Y and E of SaveAscii
_NUMBER = re.compile(
    r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eEdD][-+]?\d{1,4}|(?P<bare>[-+]\d{3}))?"
)
_BEGINS = re.compile(r"[<>~≈=(]?\s*[-+]?[.,]?\d")  # of what may be a number
_UNIT = re.compile(r"10?\s*/\s*[^\W\d]")  # such as 1/A
_MISSING = frozenset(
    ("", "nan", "-nan", "+nan", "na", "n/a", "none", "null", "-", "--", "---", "inf",
     "+inf", "-inf", "infinity", "-infinity", "1.#qnan", "1.#inf", "-1.#ind")
)  # fmt: skip


class Dialect(NamedTuple):
    """Delimiter of cells, None of any white space, and decimal sign."""

    delimiter: str | None
    decimal: str


class Table(NamedTuple):
    """Numbers of a text, and what stands above them."""

    values: np.ndarray  # (n_rows, n_columns), NaN where missing
    header: list[str]  # lines above, without the signs of comments
    dialect: Dialect
    across: np.ndarray | None  # axis above the columns but the first, if there is one
    corner: str  # text beside that axis
    places: list[tuple[int, bool]]  # number of each line above; whether it is a comment
    across_line: int | None  # number of that axis, None also in a comment
    between: list[tuple[int, str]]  # comments among the rows, those of one text once


_DIALECTS = [
    Dialect(delimiter, decimal)
    for delimiter in (";", "\t", ",", None)
    for decimal in (".", ",")
    if delimiter != decimal
]
_DIALECTS.append(Dialect(",", ","))  # with numbers in quotes


def read_table(path) -> Table:
    """Return the numbers of a text; ValueError if rows are none or unequal."""
    path = Path(path)
    dialect, header, width = _layout(path)
    numbered = [(n, line) for n, line in enumerate(header, 1) if line.strip()]
    across, corner, across_line = None, "", None
    if numbered:
        across, corner = _axis_above(numbered[-1][1], dialect, width)
    if across is not None:
        number, line = numbered.pop()
        across_line = None if is_comment(line, dialect) else number
    first = len(header)
    between: dict[str, int] = {}
    values = _quickly(path, first, dialect, width, between)
    if values is None:
        values = _with_care(path, first, dialect, width, between)
    return Table(
        values,
        [bare(line) for _, line in numbered],
        dialect,
        across,
        corner,
        [(number, is_comment(line, dialect)) for number, line in numbered],
        across_line,
        sorted((number, line) for line, number in between.items()),
    )


def refuse_lost_rows(path, table, names=None):
    """Refuse lines above the first row that may be rows with an odd number.

    `names` is the place in the header of the names of columns; below it no number may
    stand outside a comment, elsewhere no line of numbers.
    """
    begin, needed = (0, 0.5) if names is None else (names + 1, 0.0)
    for (number, comment), line in zip(
        table.places[begin:], table.header[begin:], strict=True
    ):
        found = cells(line, table.dialect)
        odd = sum(_near_number(cell, table.dialect) for cell in found)
        if not comment and len(found) > 1 and odd > needed * len(found):
            raise ValueError(_not_a_row(path, number, line))


def refuse_axis_above(path, table):
    """Refuse a line above the rows of points that would be the axis of an image."""
    if table.across_line is not None:
        line = next(islice(text_lines(path), table.across_line - 1, None))
        raise ValueError(_not_a_row(path, table.across_line, line))


def _not_a_row(path, number, line):
    return (
        f"{path} must hold numbers in line {number}, got {line.strip()[:60]!r}. Begin "
        "what is no row with #, or cut it off."
    )


def _near_number(cell, dialect):
    """Tell whether a cell is a number, or begins as one and is no unit."""
    if _value(cell, dialect.decimal) is not None:
        return bool(cell)
    return bool(_BEGINS.match(cell)) and not _UNIT.match(cell)


def bare(line):
    """Return a line without the signs of comments."""
    # tabs stay: the first name of a column may be empty
    return line.strip(" \r\n").lstrip(COMMENTS + ";").strip(" \r\n")


def text_lines(path):
    """Yield the lines of a text; a byte that is no UTF-8 is read as Latin-1."""
    with Path(path).open(encoding="utf-8-sig", errors="surrogateescape") as file:
        while line := file.readline(_LONGEST):
            if len(line) == _LONGEST:
                raise ValueError(
                    f"{path} must have lines of less than {_LONGEST} characters, got "
                    "a longer one. Begin a new line after each row."
                )
            if line.isascii():
                yield line
            else:
                yield "".join(
                    chr(ord(c) - 0xDC00) if 0xDC80 <= ord(c) <= 0xDCFF else c
                    for c in line
                )


def numbers(line, dialect):
    """Return the numbers of a line, NaN for a missing one; None if it is no row."""
    found, known = [], 0
    for cell in cells(line, dialect):
        value = _value(cell, dialect.decimal)
        if value is None:
            return None
        known += value == value
        found.append(value)
    return found if known else None


def is_row(line):
    """Tell whether a line holds two numbers or more, and nothing else."""
    return any(_width(line, dialect) > 1 for dialect in _DIALECTS)


def _width(line, dialect):
    """Return the number of cells of a row, 0 of another line, by its first cells."""
    found = cells(line, dialect)
    values = [_value(cell, dialect.decimal) for cell in found[:_SEEN]]
    known = None not in values and any(value == value for value in values)
    return len(found) if known else 0


def cells(line, dialect):
    """Return the cells of a line, without white space and quotes about them."""
    if dialect.delimiter is None:
        return line.split()
    line = line.strip("\r\n ")
    if dialect.decimal == dialect.delimiter:
        parts = _quoted_cells(line, dialect.delimiter)
    else:
        parts = line.split(dialect.delimiter)
    return [_unquoted(part.strip()) for part in parts]


def _unquoted(cell):
    """Return what stands between quotes; a quote at one end is part of a cell."""
    if len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'":
        return cell[1:-1].strip()
    return cell


def _quoted_cells(line, delimiter):
    """Return cells that a delimiter outside of quotes separates."""
    pieces = line.split('"')
    pieces[::2] = [piece.replace(delimiter, "\0") for piece in pieces[::2]]
    return "".join(pieces).split("\0")


def is_comment(line, dialect):
    """Tell whether a line is blank or begins as a comment."""
    line = line.lstrip()
    signs = COMMENTS if dialect.delimiter == ";" else COMMENTS + ";"
    return not line or line[0] in signs


def _value(cell, decimal):
    """Return a number, as Fortran writes it too; None of what is no number."""
    if decimal != ".":
        if "." in cell:
            return None
        cell = cell.replace(decimal, ".")
    found = _NUMBER.fullmatch(cell)
    if found is None:
        missing = cell.lower() in _MISSING or (cell and not cell.strip("*"))
        return np.nan if missing else None
    if found["bare"]:  # 1.5-103, for want of room
        cell = f"{cell[:-4]}e{found['bare']}"
    value = float(cell.replace("D", "e").replace("d", "e"))
    return value if abs(value) <= _LARGEST else np.nan


def _layout(path):
    """Return the dialect, the lines above the first row and the width of rows."""
    head, room = [], _HEAD_CHARACTERS
    for line in islice(text_lines(path), _HEADER_LINES + _HEAD_LINES):
        head.append(line)
        room -= len(line)
        enough = room < 0 and len(head) > 2
        if enough and is_row(line):
            break
    best, most = None, 0
    for dialect in _DIALECTS:
        rows = [
            (place, width)
            for place, line in enumerate(head)
            if not is_comment(line, dialect)
            and (width := _width(_INLINE.sub("", line), dialect)) > 1
        ]
        rows = rows[:_HEAD_LINES]
        if not rows:
            continue
        width, alike = Counter(each for _, each in rows).most_common(1)[0]
        if alike > most:
            most = alike
            first = next(place for place, each in rows if each == width)
            best = dialect, head[:first], width
    if best is None:
        begin = next((line.strip() for line in head if line.strip()), "")[:40]
        raise ValueError(
            f"{path} must hold rows of numbers, two or more in a row, got a text that "
            f"begins {begin!r}."
        )
    return best


def _axis_above(line, dialect, width):
    """Return the axis that a line above the rows holds, and the text beside it."""
    line = line.strip("\r\n ").lstrip(COMMENTS).strip(" ")
    for each in dict.fromkeys((dialect, Dialect(None, "."), Dialect(",", "."))):
        found = cells(line, each)
        if len(found) < width - 1 or width < 3:
            continue
        values = [_value(cell, each.decimal) for cell in found]
        number = len(values) - (width - 1)
        axis = values[number:]
        if None in axis or not np.isfinite(axis).all():
            continue
        beside = found[:number]
        if number == 0 or all(_value(cell, each.decimal) is None for cell in beside):
            return np.array(axis), " ".join(beside)
    return None, ""


def _rows(path, first, dialect, comments=None):
    """Yield number and text of lines with numbers, and keep comments with words."""
    for number, line in enumerate(text_lines(path), 1):
        if number <= first:
            continue
        if is_comment(line, dialect):
            if comments is not None and len(comments) < _HEADER_LINES:
                comments.setdefault(bare(line[:_KEPT]), number)
            continue
        if "#" in line or "%" in line or "!" in line:
            line = _INLINE.sub("", line)
            if not line.strip():
                continue
        yield number, line


def _quickly(path, first, dialect, width, comments):
    """Return the numbers of rows without a missing one, None of others."""
    if dialect.delimiter == dialect.decimal:
        return None
    rows = (
        _plainly(line, dialect) for _, line in _rows(path, first, dialect, comments)
    )
    try:
        values = np.loadtxt(
            rows, delimiter=dialect.delimiter, comments=None, ndmin=2, dtype=float
        )
    except ValueError:
        return None
    if values.shape[1] != width:
        return None
    for column in values.T:  # one at a time, to spare memory
        column[~(np.abs(column) <= _LARGEST)] = np.nan
    return values


def _plainly(line, dialect):
    """Return a row with a decimal point and exponents with e."""
    if dialect.decimal != ".":
        if "." in line:
            raise ValueError("two decimal signs")
        line = line.replace(dialect.decimal, ".")
    if "D" in line or "d" in line:
        line = line.replace("D", "e").replace("d", "e")
    return line.rstrip("\r\n ")


def _with_care(path, first, dialect, width, comments):
    """Return the numbers of rows, and name the line that is none."""
    found = array("d")
    trailing = 0
    for number, line in _rows(path, first, dialect, comments):
        values = numbers(line, dialect)
        if values is None and not any(cells(line, dialect)):
            continue
        if values is None:
            values = _missing_row(line, dialect)
        if values is None:
            raise ValueError(_not_a_row(path, number, line))
        if len(values) == 1 and width == _OF_MANTID and values[0] % 1 == 0:
            raise ValueError(
                f"{path} must hold one spectrum or a table of points, got a number "
                f"alone in line {number}, as Mantid's SaveAscii begins each of several "
                "spectra. Save the workspace with SaveNexusProcessed, which keeps the "
                "momentum transfers or angles too, and read that with "
                "skphonon.io.read_processed."
            )
        if len(values) != width:
            raise ValueError(
                f"{path} must hold {width} numbers in line {number}, as in those "
                f"before, got {len(values)}. Copy it again if it was cut off; a "
                "missing number is nan."
            )
        trailing += np.isnan(values[-1])
        found.extend(values)
    rows = np.frombuffer(found, dtype=float).reshape(-1, width)
    # a delimiter at the end of all rows
    return rows[:, :-1].copy() if trailing == len(rows) and width > 2 else rows.copy()


def _missing_row(line, dialect):
    """Return NaN for each cell of a row of which all numbers are missing."""
    found = [_value(cell, dialect.decimal) for cell in cells(line, dialect)]
    return None if None in found else found
