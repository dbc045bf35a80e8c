"""Scripts: what a command does, written out and then run."""

import io
import logging
import platform
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from time import perf_counter
from typing import Any

from skphonon._settings import now
from skphonon._version import __version__

__all__ = ["Script", "run"]

_STANDARD = "sys", "pathlib", "time", "warnings"


class Script:
    """Lines under comments, below the imports that they need.

    Parameters
    ----------
    title : str
        First line.
    """

    def __init__(self, title: str) -> None:
        self.title = re.sub(r"[^\w .,:()+-]", "_", title)  # a file may have any name
        self._imports: set[str] = set()
        self._parts: list[str] = []

    def need(self, *imports: str) -> None:
        """Add import statements."""
        self._imports.update(imports)

    def add(self, comment: str, *lines: str) -> None:
        """Add lines under a comment."""
        self._parts.append("\n".join([f"# {comment}", *lines]))

    def __str__(self) -> str:
        groups: list[list[str]] = [[], [], []]
        for line in sorted(self._imports, key=lambda line: line.split()[1::2]):
            package = line.split()[1].partition(".")[0]
            place = 0 if package in _STANDARD else 1 + (package == "skphonon")
            groups[place].append(line)
        for group in groups:
            group.sort(key=lambda line: line.startswith("from"))
        head = ["\n".join(group) for group in groups if group]
        return "\n\n".join([f'"""{self.title}"""', *head, *self._parts]) + "\n"


def run(script: str, target: Path, tell: Callable[[str], None]) -> str:
    """Run a script, with one argument; return its log.

    What it prints and warns of is told as it comes; the log has what the package logs
    as well.
    """
    log = [f"{now()}: skphonon {__version__}, python {platform.python_version()}"]
    before, logger = sys.argv, logging.getLogger("skphonon")
    level, handler = logger.level, _Handler(log)

    def hear(line: str) -> None:
        log.append(line)
        tell(line)

    def warned(message: Any, category: type, *_: Any, **__: Any) -> None:
        text = f"{category.__name__}: {message}"
        if text not in log:
            hear(text)

    sys.argv = ["script.py", str(target)]
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    lines = _Lines(hear)
    try:
        with warnings.catch_warnings(), redirect_stdout(lines):
            warnings.simplefilter("default")
            warnings.showwarning = warned
            exec(compile(script, "script.py", "exec"), {"__name__": "__main__"})
    finally:
        lines.close()
        sys.argv = before
        logger.removeHandler(handler)
        logger.setLevel(level)
    return "\n".join([*log, ""])


class _Lines(io.TextIOBase):
    """A file that hands on each line when it is complete."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        self._hear, self._begun = hear, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._hear(line)
        return len(text)

    def close(self) -> None:
        if self._begun:
            self.write("\n")
        super().close()


class _Handler(logging.Handler):
    """Writes records to a list, with the seconds since it was made."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log, self._began = log, perf_counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record."""
        seconds = perf_counter() - self._began
        self._log.append(f"{seconds:7.1f} s: {record.getMessage()}")
