"""What notebooks show of models, grids, simulators and fits."""

from html.parser import HTMLParser

import numpy as np
import pytest

from skphonon import (
    CrystalGrid,
    ForceConstantModel,
    LeastSquaresInverter,
    PathGrid,
    PowderSimulator,
    SingleCrystalSimulator,
    SpectrumGrid,
    SpinWaveSimulator,
    load_aluminium_model,
)
from skphonon.datasets import load_la2nio4_model
from skphonon.instrument import AngleGrid
from skphonon.report import Report

GRID = SpectrumGrid(
    np.arange(10, 42, 4.0),
    np.arange(2, 8, 1.0),
    incident_energy=50.0,
    two_theta=(3, 90),
)
PATH = PathGrid(np.arange(20, 100, 10.0), np.linspace([0.5, 0, 0], [0.5, 0.5, 0], 6))
MODEL = load_aluminium_model()


class Shown(HTMLParser):
    """Texts and number of pictures, of elements that are all closed."""

    def __init__(self, source):
        super().__init__()
        self.open, self.texts, self.pictures = [], [], 0
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.pictures += 1
            assert dict(attrs)["alt"]
        else:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def shown(given):
    return Shown(given._repr_html_())


def powder(**settings):
    settings = {"energy_resolution": 1.5, "mesh": 4, "temperature": 80.0} | settings
    return PowderSimulator(MODEL, GRID, **settings)


@pytest.mark.parametrize(
    ("given", "texts", "pictures"),
    [
        (MODEL, ["1 Al", "2.857, 2.857, 2.857 Angstrom; 60, 60, 60 degree", "1XX"], 1),
        (MODEL.replace(reference=None), ["none"], 0),
        (load_la2nio4_model(), ["+1, -1", "J"], 0),
        (GRID, ["10 to 38 meV, 8 bins", "2 to 7 1/Angstrom, 6 bins", "8 x 6"], 1),
        (
            AngleGrid(np.arange(5.0), np.arange(3, 90, 9.0), incident_energy=20.0),
            ["two_theta"],
            1,
        ),
        (SpectrumGrid([10.0], [1.0, 2.0]), ["10 meV"], 0),
        (PATH, ["8 x 6"], 0),
        (powder(), ["8 x 6 (SpectrumGrid)", "1.5 meV", "80 K"], 1),
        (
            powder(energy_resolution=lambda energy: energy / 10),
            ["1 to 3.8 meV, from the lowest energy to the highest"],
            1,
        ),
        (
            SpinWaveSimulator(load_la2nio4_model(), PATH, energy_resolution=8.0),
            ["SpinWaveModel, 2 constants", "8 meV"],
            1,
        ),
    ],
)  # fmt: skip
def test_a_table_and_a_picture_are_shown(given, texts, pictures):
    page = shown(given)
    assert page.texts[0] == type(given).__name__
    assert page.pictures == pictures
    for text in texts:
        assert text in page.texts


def test_many_constants_are_not_all_shown():
    model = MODEL.extended(6)
    assert f"{len(model.parameter_names) - 12} more" in shown(model).texts


def test_a_simulator_of_a_volume_has_no_picture():
    grid = CrystalGrid(
        np.arange(10, 42, 4.0), np.arange(3.0), np.arange(3.0), np.arange(1.0)
    )
    simulator = SingleCrystalSimulator(MODEL, grid, energy_resolution=2.0)
    assert shown(simulator).pictures == 0


def test_notebooks_that_ask_for_all_kinds_get_the_same():
    bundle = powder()._repr_mimebundle_()
    assert bundle["text/html"] == powder()._repr_html_()
    assert bundle["text/plain"].startswith("PowderSimulator(")


def test_names_are_text():
    model = ForceConstantModel(2 * np.eye(3), "Al", None, n_shells=1)
    assert "<" not in "".join(shown(model).texts)


def test_a_fit_is_shown_by_its_report():
    X = powder().simulate([MODEL.reference])
    X = X + 0.02 * np.nanstd(X) * np.random.default_rng(0).normal(size=X.shape)
    inverter = LeastSquaresInverter(powder()).fit(X)
    inverter.predict(X)
    (fit,) = inverter.fits_
    html = fit._repr_html_()
    titles = [section.title for section in Report.from_fit(fit).sections]
    for title in titles:
        assert f"<h2>{title}</h2>" in html
