"""Reports hold what fits say, in one file that asks for nothing."""

import base64
from html.parser import HTMLParser

import numpy as np

from skphonon import (
    LeastSquaresInverter,
    PosteriorInverter,
)
from skphonon.report import Report

PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Elements of a page, its texts, and whether all are closed."""

    def __init__(self, source):
        super().__init__()
        self.open, self.found, self.texts = [], [], []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())


def test_a_page_is_whole_and_asks_for_nothing(report, tmp_path):
    path = report.save(tmp_path / "report.html")
    page = Page(path.read_text(encoding="utf-8"))
    for tag, attributes in page.found:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
        assert tag != "script"
        if tag == "img":
            assert attributes["alt"]
            assert base64.b64decode(attributes["src"].partition(",")[2])[:8] == PNG
    assert "@import" not in report.html
    anchors = {a["id"] for _, a in page.found if "id" in a}
    links = [a["href"][1:] for tag, a in page.found if tag == "a"]
    assert set(links) == anchors
    assert len(links) == len(anchors) == len(report.sections)


def test_what_is_given_is_text(report):
    page = Page(report.html)
    assert "Al <50 K> & more" in page.texts
    assert "a<b>.nxspe" in page.texts


def test_it_says_what_the_fit_says(report, fit):
    titles = [section.title for section in report.sections]
    assert titles == [
        "Verdict", "Spectrum", "Constants", "Fitted along", "Phonons",
        "Density of states", "Displacements", "Elastic constants",
        "Where this comes from",
    ]  # fmt: skip
    texts = Page(report.html).texts
    assert str(fit.verdict_).split("\n")[0].split(": ")[-1] in " ".join(texts)
    for name, value, std in zip(
        fit.parameter_names, fit.parameters, fit.std, strict=True
    ):
        place = texts.index(name)
        assert texts[place + 1 : place + 3] == [f"{value:.4g}", f"{std:.4g}"]
    assert report.sections[0].tone == ("good" if fit.verdict_.sound else "bad")
    assert "C44" in texts


def test_a_notebook_shows_the_same(report):
    shown = report._repr_html_()
    Page(shown)
    assert shown.startswith("<style>.skphonon")
    assert report._fragment() in report.html


def test_a_posterior_has_a_report(simulator, spectrum):
    X, noise = spectrum
    half = np.abs(simulator.reference) / 2 + 0.02
    bounds = simulator.reference - half, simulator.reference + half
    least = LeastSquaresInverter(simulator, bounds=bounds)
    inverter = PosteriorInverter(least, n_draws=200).fit(X)
    inverter.predict(X, errors=noise)
    report = Report.from_fit(inverter.posteriors_[0], temperature=80.0)
    texts = Page(report.html).texts
    assert "ln evidence" in texts
    assert any("draws are worth" in each for each in texts)
    assert sum(tag == "img" for tag, _ in Page(report.html).found) == 5


class Peaks:
    """A simulator without a crystal."""

    parameter_names = ("place",)
    reference = np.array([1.0])

    def simulate(self, parameters):
        axis = np.linspace(0, 2, 40)
        return np.exp(-(((axis - np.atleast_2d(parameters)) / 0.2) ** 2))

    def jacobian(self, parameters, return_spectra=False):
        slope = 2 * (np.linspace(0, 2, 40) - np.atleast_2d(parameters)) / 0.2**2
        spectra = self.simulate(parameters)
        slopes = (slope * spectra)[..., None]
        return (slopes, spectra) if return_spectra else slopes


def test_without_a_crystal_there_are_no_phonons():
    X = Peaks().simulate([[1.1]])
    X += 0.01 * np.random.default_rng(0).normal(size=X.shape)
    inverter = LeastSquaresInverter(Peaks()).fit(X)
    inverter.predict(X)
    titles = [s.title for s in Report.from_fit(inverter.fits_[0]).sections]
    assert titles == ["Verdict", "Constants", "Fitted along", "Where this comes from"]
