"""Scripts: what a command does, written out and then run."""

import io
import platform
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

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

    What it prints and warns of is told as well.
    """
    log = [f"{now()}: skphonon {__version__}, python {platform.python_version()}"]
    before, printed = sys.argv, io.StringIO()
    sys.argv = ["script.py", str(target)]
    try:
        with warnings.catch_warnings(record=True) as heard, redirect_stdout(printed):
            warnings.simplefilter("default")
            exec(compile(script, "script.py", "exec"), {"__name__": "__main__"})
    finally:
        sys.argv = before
    told = dict.fromkeys(f"{w.category.__name__}: {w.message}" for w in heard)
    for each in told:
        tell(each)
    tell(printed.getvalue().rstrip())
    return "\n".join([*log, *told, printed.getvalue()])
