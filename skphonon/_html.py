"""Objects as notebooks show them: a table of facts, and a picture."""

import base64
import io
from collections.abc import Callable, Mapping
from html import escape
from importlib import import_module
from typing import Any

__all__ = ["drawn", "encoded", "facts_html", "report_html"]

_SIZE = 3.6, 2.8  # inch
_DPI = 70


def facts_html(title: str, facts: Mapping[str, Any], pictures: str = "") -> str:
    """Return a table of facts below a title, and pictures beside it."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(str(name))}</th>"
        f"<td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<div><b>{escape(title)}</b><table>{rows}</table>{pictures}</div>"


def drawn(
    draw: Callable[[Any], Any], alt: str, size: tuple[float, float] = _SIZE
) -> str:
    """Return what a function draws into a figure as an image.

    Nothing where matplotlib is missing or it cannot be drawn: a table is shown all the
    same.
    """
    try:
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        data = encoded(figure, _DPI)
    except Exception:  # whatever keeps it from being drawn, a notebook shows the rest
        return ""
    return f"<img alt='{escape(alt)}' src='data:image/png;base64,{data}'>"


def encoded(figure: Any, dpi: float) -> str:
    """Return a figure of matplotlib as a PNG in base64."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def report_html(fit: Any) -> str:
    """Return the report of a fit for a notebook.

    Reports are made floors above what asks here, and are looked up by name when a
    notebook does.
    """
    report = import_module("skphonon.report").Report
    html: str = report.from_fit(fit)._repr_html_()
    return html
