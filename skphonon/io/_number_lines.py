"""Numbers in texts of many short lines, read one line at a time.

Old formats have columns of fixed width, eight numbers of ten characters a line: numbers
may touch (``-1.980E+01-1.960E+01``). Other programs put spaces between. Fortran writes
exponents with D and stars where a number does not fit, old Windows ``1.#QNAN``.
"""

import os
import re
from itertools import islice

import numpy as np

__all__ = ["Lines", "counts"]

_LONGEST = 1 << 14  # characters of a line
_BATCH = 1 << 16  # numbers that are converted at once
_PER_LINE, _WIDTH = 8, 10  # of fixed columns
_SHORTEST = 2  # characters of a number and what stands behind it
_NOT_A_NUMBER = re.compile(r"\*+|[-+]?1\.?#(?:qnan|snan|ind|inf)\w*", re.IGNORECASE)
# a number that surely ends where it seems to: the next one may touch its exponent
_PLAIN = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eEdD][-+]?\d{1,2})?")
_COUNT = re.compile(r"\s*(\d{1,9})")


class Lines:
    """Lines of a text file, with their numbers for messages."""

    def __init__(self, file, path):
        self._file, self._path = file, path
        self._size = os.fstat(file.fileno()).st_size
        self._number, self._next = 0, None

    def place(self):
        """Return the path and the line that was read last."""
        return f"{self._path}, line {self._number}"

    def peek(self):
        """Return the next line that is not empty without taking it, "" at the end."""
        while self._next is None:
            line = self._file.readline(_LONGEST + 1)
            self._number += 1
            if len(line) > _LONGEST:
                raise ValueError(
                    f"{self.place()} must have at most {_LONGEST} characters, got more."
                )
            if not line or not line.isspace():
                self._next = line.rstrip()
        return self._next

    def take(self):
        """Return the next line that is not empty, "" at the end."""
        line, self._next = self.peek(), None
        return line

    def require(self, pattern, wanted):
        """Take a line that must match a pattern, and return the match."""
        match = re.match(pattern, line := self.take(), re.IGNORECASE)
        if not match:
            found = repr(line[:40]) if line else "the end of the file"
            raise ValueError(f"{self.place()} must be {wanted}, got {found}.")
        return match

    def require_room(self, n_numbers):
        """Refuse to expect more numbers than the file is long."""
        if n_numbers * _SHORTEST > self._size + 1:
            raise ValueError(
                f"{self.place()} must announce what the file holds, got {n_numbers} "
                f"numbers in {self._size} bytes. Copy the file again."
            )

    def numbers(self, n_numbers, what, more=False):
        """Return so many numbers up to a heading (#), with `more` of a longer line."""
        self.require_room(n_numbers)
        found, got = np.empty(n_numbers), 0
        while got < n_numbers:
            batch = np.fromiter(self._tokens(n_numbers - got), float)
            if not batch.size:
                self.peek()
                raise ValueError(
                    f"{self.place()} must go on with {what}: {n_numbers} numbers, got "
                    f"{got}."
                )
            if got + batch.size > n_numbers and not more:
                raise ValueError(
                    f"{self.place()} must end {what}: {n_numbers} numbers, got more."
                )
            batch = batch[: n_numbers - got]
            found[got : got + batch.size] = batch
            got += batch.size
        if self.peek()[:1] not in ("", "#"):
            raise ValueError(
                f"{self.place()} must come after {what}: {n_numbers} numbers, got more."
            )
        return found

    def _tokens(self, missing):
        """Yield the numbers of some lines, until none is missing."""
        enough = missing - _BATCH
        while missing > max(enough, 0) and self.peek()[:1] not in ("", "#"):
            line = self.take()
            tokens, full = line.split(), min(_PER_LINE, missing)
            if len(tokens) != full and not all(map(_PLAIN.fullmatch, tokens)):
                tokens = _of_fixed_width(line, full) or tokens
            missing -= len(tokens)
            for token in tokens:
                try:
                    yield float(token)
                except ValueError:
                    yield self._odd(token)

    def _odd(self, token):
        value = _odd_number(token)
        if value is None:
            raise ValueError(f"{self.place()} must hold numbers, got {token[:30]!r}.")
        return value


def counts(line, place):
    """Return two counts, which may touch in columns of eight."""
    first = _COUNT.fullmatch(line[:8]) or _COUNT.match(line)
    second = _COUNT.match(line[first.end() :]) if first else None
    if not first or not second:
        raise ValueError(
            f"{place} must hold the numbers of spectra and of energies, got "
            f"{line[:40]!r}."
        )
    return int(first[1]), int(second[1])


def _of_fixed_width(line, n_cells):
    """Return the cells of a line of fixed columns, None if it is none."""
    cells = [
        line[start : start + _WIDTH].strip()
        for start in islice(range(0, len(line), _WIDTH), n_cells + 1)
    ]
    if len(cells) != n_cells or any(map(_is_no_number, cells)):
        return None
    return cells


def _is_no_number(cell):
    try:
        float(cell)
    except ValueError:
        return _odd_number(cell) is None
    return False


def _odd_number(token):
    """Return a number as Fortran or old Windows write it, None if it is none."""
    if _NOT_A_NUMBER.fullmatch(token):
        return np.nan
    try:
        return float(token.upper().replace("D", "E"))
    except ValueError:
        return None
