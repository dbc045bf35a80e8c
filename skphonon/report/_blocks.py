"""Pieces of a page: text, lists, tables and pictures."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skphonon._html import encoded

__all__ = ["Section", "code", "picture", "points", "table", "text"]

_DPI = 110
_BROAD = 2.2  # times the height: scrolls on a telephone, and does not shrink
_DIGITS = 4


class Section(NamedTuple):
    """A part of a page with a heading."""

    title: str
    blocks: Sequence[dict[str, Any]]
    tone: str = ""  # "good" or "bad"

    @property
    def anchor(self) -> str:
        """Where links lead to."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def text(words: str) -> dict[str, Any]:
    """Return a paragraph."""
    return {"kind": "text", "text": words}


def code(words: str) -> dict[str, Any]:
    """Return lines that keep their breaks."""
    return {"kind": "code", "text": words}


def points(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return a list of names with what is said of each."""
    return {"kind": "list", "pairs": list(pairs)}


def table(frame: pd.DataFrame, caption: str = "") -> dict[str, Any]:
    """Return a table, with the index first."""
    rows = [
        [str(name), *(shown(value) for value in row)]
        for name, row in zip(frame.index, frame.to_numpy(dtype=object), strict=True)
    ]
    columns = [frame.index.name or "", *map(str, frame.columns)]
    return {"kind": "table", "columns": columns, "rows": rows, "caption": caption}


def picture(figure: Any, caption: str) -> dict[str, Any]:
    """Return a figure of matplotlib as an image, and close it."""
    import matplotlib.pyplot as plt

    width, height = figure.get_size_inches()
    data = encoded(figure, _DPI)
    plt.close(figure)
    return {
        "kind": "picture",
        "data": data,
        "caption": caption,
        "broad": width > _BROAD * height,
    }


def shown(value: Any) -> str:
    """Return a value as a table shows it; nothing for NaN."""
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:.{_DIGITS}g}"
    return "" if value is None else str(value)
