"""Reports: one HTML file of a fit, which needs no network and no other file."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from numbers import Real
from os import PathLike
from pathlib import Path
from textwrap import shorten
from typing import Any

from skphonon._files import write_whole
from skphonon._settings import now, versions
from skphonon._version import __version__
from skphonon.report._answers import Answer, check_answer
from skphonon.report._blocks import Section, code, table, text
from skphonon.report._fits import sections_of, simulator_of, summary_of

__all__ = ["Report"]

_LONGEST = 90  # characters of a setting
_PACKAGES = "numpy", "scipy", "scikit-learn", "torch", "phonopy"


class Report:
    """Verdict, maps, constants and phonons of a fit on one page.

    The file holds its pictures and styles, and asks nothing of a network: it can be
    sent, printed and read on a phone. A notebook shows a report as the last value of a
    cell.

    Parameters
    ----------
    title : str
        Heading of the page.
    sections : sequence of Section
        As made by `from_fit`.
    subtitle : str, default=""
        What is said below the heading.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import LeastSquaresInverter, PowderSimulator, SpectrumGrid
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.report import Report
    >>> grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.5, mesh=6
    ... )
    >>> X = simulator.simulate([1.03 * simulator.reference])
    >>> X += 0.02 * np.nanstd(X) * np.random.default_rng(0).normal(size=X.shape)
    >>> inverter = LeastSquaresInverter(simulator).fit(X)
    >>> _ = inverter.predict(X)
    >>> report = Report.from_fit(inverter.fits_[0], title="Aluminium")
    >>> [section.title for section in report.sections][:3]
    ['Verdict', 'Spectrum', 'Constants']
    >>> report.save("aluminium.html")  # doctest: +SKIP
    """

    def __init__(
        self, title: str, sections: Sequence[Section], subtitle: str = ""
    ) -> None:
        self.title, self.sections, self.subtitle = title, list(sections), subtitle

    @classmethod
    def from_fit(
        cls,
        fit: Any,
        *,
        title: str = "Force constants from a spectrum",
        temperature: float | None = None,
        settings: Mapping[str, Any] | None = None,
        answers: Mapping[str, Answer] | None = None,
    ) -> "Report":
        """Make the report of a fit or of a posterior.

        Parameters
        ----------
        fit : SpectrumFit or Posterior
            Of ``LeastSquaresInverter.fits_`` or ``PosteriorInverter.posteriors_``.
        title : str, default="Force constants from a spectrum"
            Heading.
        temperature : float, default=None
            Of mean-square displacements, in K. None: that of the simulator.
        settings : mapping, default=None
            More to tell of where this comes from, such as files and commands, by name.
            A text of several lines keeps them.

        answers : mapping of str to Answer, default=None
            Answers of several methods to the same spectrum, by their names, to be
            compared in a section of their own.

        Returns
        -------
        Report

        Raises
        ------
        TypeError
            If `fit` is none, or an answer is none.
        ValueError
            If the temperature is none.

        Warns
        -----
        UnstableCrystalWarning
            If draws of constants describe no stable crystal.
        """
        if not hasattr(fit, "verdict_") or not hasattr(fit, "parameter_names"):
            raise TypeError(
                "fit must be a fit or a posterior of one spectrum, such as "
                f"inverter.fits_[0] or inverter.posteriors_[0], got a "
                f"{type(fit).__name__}."
            )
        if temperature is not None:
            temperature = _kelvins(temperature)
        answers = dict(answers or {})
        for name, each in answers.items():
            if not isinstance(each, Answer):
                raise TypeError(
                    f"answers must hold Answers, got a {type(each).__name__} for "
                    f"{name!r}."
                )
            check_answer(name, each, getattr(fit, "fit", fit))
        sections = sections_of(fit, temperature, answers)
        return cls(
            title, [*sections, _provenance(fit, settings or {})], summary_of(fit)
        )

    @cached_property
    def html(self) -> str:
        """The page, a document of its own."""
        return _render(
            "page.html",
            title=self.title,
            version=__version__,
            style=_read("style.css"),
            fragment=self._fragment(),
        )

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the page to a file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            File, usually with the ending ``.html``.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        path = Path(path)
        write_whole(path, self.html.encode(errors="replace"))
        return path

    def __repr__(self) -> str:
        names = ", ".join(section.title for section in self.sections)
        return f"Report({self.title!r}: {names})"

    def _repr_html_(self) -> str:
        return f"<style>{_read('style.css')}</style>{self._fragment()}"

    def _fragment(self) -> str:
        return _render(
            "fragment.html",
            title=self.title,
            subtitle=self.subtitle,
            sections=self.sections,
        )


def _kelvins(given: Any) -> float:
    if not isinstance(given, Real) or not 0 <= float(given) < float("inf"):
        raise ValueError(f"temperature must be a number of kelvins, got {given!r}.")
    return float(given)


def _provenance(fit: Any, given: Mapping[str, Any]) -> Section:
    import pandas as pd

    texts = {name: str(value) for name, value in given.items()}
    long = {name: value for name, value in texts.items() if "\n" in value}
    told = {
        **{name: value for name, value in texts.items() if name not in long},
        "written": now(),
        **versions(_PACKAGES),
    }
    frame = pd.DataFrame({"value": told})
    blocks = [table(frame)]
    for name, value in long.items():
        blocks += [text(f"{name}:"), code(value)]
    settings = getattr(getattr(fit, "fit", fit), "settings", {})
    if settings:
        blocks.append(table(pd.DataFrame({"value": settings}), "Settings of the fit"))
    simulator = simulator_of(fit)
    if hasattr(simulator, "get_params"):
        made = simulator.get_params(deep=False).items()
        values = {name: shorten(repr(value), _LONGEST) for name, value in made}
        caption = f"Simulated with {type(simulator).__name__}"
        blocks.append(table(pd.DataFrame({"value": values}), caption))
    return Section("Where this comes from", blocks)


def _read(name: str) -> str:
    return (files("skphonon.report") / name).read_text(encoding="utf-8")


def _render(name: str, **values: Any) -> str:
    from jinja2 import Environment
    from markupsafe import Markup

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    trusted = {
        key: Markup(value) if key in ("style", "fragment") else value
        for key, value in values.items()
    }
    return environment.from_string(_read(name)).render(**trusted)
