"""Reports hold what fits say, in one file that asks for nothing."""

import base64
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from skphonon import (
    LeastSquaresInverter,
    PosteriorInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon.inspection import draw_parameters
from skphonon.inversion import fit_with_constants
from skphonon.report import Answer, Report
from skphonon.report._fits import verdict_section

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


@pytest.fixture(scope="module")
def simulator():
    grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    return PowderSimulator(load_aluminium_model(), grid, energy_resolution=1.5, mesh=6)


@pytest.fixture(scope="module")
def spectrum(simulator):
    X = simulator.simulate([1.03 * simulator.reference])
    noise = 0.02 * np.nanstd(X)
    return X + noise * np.random.default_rng(0).normal(size=X.shape), noise


@pytest.fixture(scope="module")
def fit(simulator, spectrum):
    X, noise = spectrum
    inverter = LeastSquaresInverter(simulator, nuisance={"lattice_scale": (0.98, 1.02)})
    inverter.fit(X).predict(X, errors=noise)
    return inverter.fits_[0]


@pytest.fixture(scope="module")
def report(fit):
    return Report.from_fit(
        fit, title="Al <50 K> & more", settings={"file": "a<b>.nxspe"}
    )


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


def test_it_says_how_was_fitted(report):
    texts = Page(report.html).texts
    assert "Settings of the fit" in texts
    assert texts[texts.index("nuisance") + 1] == "{'lattice_scale': (0.98, 1.02)}"
    assert texts[texts.index("background") + 1] == "0"
    for name in ("prior", "noise", "bounds", "search"):
        assert name in texts


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


def test_it_says_where_error_bars_come_from(simulator, spectrum):
    X, noise = spectrum
    for kind, errors, words in (
        ("residual", None, "which includes"),
        ("noise", None, "taken for chance"),
        ("residual", noise, "errors that were given"),
    ):
        inverter = LeastSquaresInverter(simulator, noise=kind).fit(X)
        inverter.predict(X, errors=errors)
        section = verdict_section(inverter.fits_[0], False)
        assert words in " ".join(block.get("text", "") for block in section.blocks)


def test_what_is_no_fit_is_refused(simulator, spectrum, fit):
    inverter = LeastSquaresInverter(simulator)
    with pytest.raises(TypeError, match=r"inverter\.fits_\[0\] .*got a LeastSquares"):
        Report.from_fit(inverter)
    for temperature in ("80 K", -5.0, np.nan):
        with pytest.raises(ValueError, match="temperature must be a number of kelvins"):
            Report.from_fit(fit, temperature=temperature)


def test_answers_of_methods_are_compared(simulator, spectrum, fit):
    X, noise = spectrum
    inverter = LeastSquaresInverter(simulator)
    far = 1.2 * simulator.reference
    std = np.full(5, 0.01)
    held = fit_with_constants(inverter, far, X, std=std, errors=noise)
    draws = draw_parameters(simulator.model, far, std=std, random_state=0)
    single = draw_parameters(simulator.model, simulator.reference)
    optimum = fit_with_constants(inverter, simulator.reference, X, errors=noise)
    answers = {
        "least squares": Answer(fit, fit.std, fit, 1.5, "the fit"),
        "network <1>": Answer(draws, std, held, 60.0),
        "simplex": Answer(single, None, optimum),
    }
    report = Report.from_fit(fit, answers=answers)
    page = Page(report.html)
    texts = page.texts
    assert [s.title for s in report.sections][:3] == ["Verdict", "Methods", "Spectrum"]
    row = texts.index("network <1>")
    assert texts[row + 1 : row + 3] == [f"{held.figures['loss']:.4g}", "60"]
    assert "0.796(10)" in texts  # 1XX of it, 1.2 times 0.6635
    joined = " ".join(texts)
    assert re.search("least squares and network <1> differ by .* error bars in", joined)
    assert joined.count("combined error bars in") == 1  # none with the simplex
    assert sum(tag == "img" for tag, _ in page.found) == 8
    agreeing = {name: answers["least squares"] for name in ("one", "two")}
    words = " ".join(Page(Report.from_fit(fit, answers=agreeing).html).texts)
    assert "No two methods differ by more than 2" in words
    with pytest.raises(TypeError, match="got a SpectrumFit for 'one'"):
        Report.from_fit(fit, answers={"one": fit})


def test_long_settings_keep_their_lines(fit):
    report = Report.from_fit(fit, settings={"calibration": "zero 0.1\nscale 1.0"})
    assert "<pre>zero 0.1\nscale 1.0</pre>" in report.html


def test_constants_from_elsewhere_say_so(simulator, spectrum):
    X, _ = spectrum
    held = fit_with_constants(
        LeastSquaresInverter(simulator), simulator.reference, X, std=np.full(5, 0.01)
    )
    assert "Constants were not fitted here" in Report.from_fit(held).html


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
    assert titles == [
        "Verdict", "Spectrum", "Constants", "Fitted along", "Where this comes from",
    ]  # fmt: skip


# In a browser

WIDTHS = 400, 1000


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium and its driver; skips without them."""
    selenium = pytest.importorskip("selenium.webdriver", reason="needs a browser")
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = paths[0]
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "force-device-scale-factor=1",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = selenium.ChromeService(executable_path=paths[1])
    driver = selenium.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    return report.save(tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_is_shown_as_it_should(browser, page, width):
    # a window cannot be as narrow as a telephone, but what it says it is can
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    assert browser.execute_script("return window.innerWidth") == width
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    shown = browser.execute_script(
        "return [...document.images].map(i => i.complete && i.naturalWidth > 0)"
    )
    assert len(shown) >= 4
    assert all(shown)
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map(r => r.name)"
    )
    assert [name for name in asked if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []


def test_a_link_leads_to_its_section(browser, page):
    browser.get(page.as_uri())
    link = browser.find_element("link text", "Phonons")
    link.click()
    assert browser.current_url.endswith("#phonons")


def test_no_report_runs_a_script(browser, tmp_path):
    report = Report("<script>document.title = 'run'</script>", [])
    browser.get(report.save(tmp_path / "report.html").as_uri())
    assert browser.title == "<script>document.title = 'run'</script>"
