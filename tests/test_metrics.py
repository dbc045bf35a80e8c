import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skphonon.instrument import SpectrumGrid
from skphonon.metrics import ResimulationScorer, nmse
from skphonon.preprocessing import MaskedSpectrumPreprocessor, normalize_spectra

PIXELS = np.linspace(0, 1, 30)
MASK = np.arange(30) % 7 > 0


class Ramp:
    """Two peaks; the parameters are their heights over a ramp. Pixels are hidden."""

    def simulate(self, parameters):
        peaks = [np.exp(-(((PIXELS - c) / 0.1) ** 2)) for c in (0.3, 0.7)]
        return np.where(MASK, parameters @ np.array(peaks) + PIXELS, np.nan)


@pytest.fixture
def spectra():
    rng = np.random.default_rng(0)
    measured = rng.random((6, 30))
    simulated = measured + 0.3 * rng.normal(size=(6, 30))
    measured[:, :4], simulated[:, 3:6] = np.nan, np.nan
    return measured, simulated


def test_the_formula_over_shared_pixels(spectra):
    a, b = (normalize_spectra(x[:, 6:]) for x in spectra)
    expected = ((a - b) ** 2).mean(axis=1) / (a**2).mean(axis=1)
    assert_allclose(nmse(*spectra), expected)


def test_fitted_is_the_best_scale_and_offset(spectra):
    a, b = spectra[0][0, 6:], spectra[1][0, 6:]
    a = normalize_spectra([a])[0]

    def misfit(line):
        return ((a - line[0] * b - line[1]) ** 2).mean() / (a**2).mean()

    # The optimiser stops at a gradient of 1e-5; its minimum is good to its square.
    assert_allclose(nmse(*spectra, scale="fitted")[0], minimize(misfit, [1, 0]).fun)


def test_fitted_is_one_minus_the_squared_correlation(spectra):
    pairs = zip(*(x[:, 6:] for x in spectra), strict=True)
    r = np.array([np.corrcoef(a, b)[0, 1] for a, b in pairs])
    assert (r > 0).all()
    fitted = nmse(*spectra, scale="fitted")
    assert_allclose(fitted, 1 - r**2)
    assert (fitted <= nmse(*spectra)).all()


@pytest.mark.parametrize("scale", ["normalized", "fitted"])
def test_scale_and_offset_of_either_do_not_matter(spectra, scale):
    measured, simulated = spectra
    expected = nmse(measured, simulated, scale=scale)
    assert_allclose(nmse(50 * measured + 3, simulated / 9 - 1, scale=scale), expected)
    assert_allclose(nmse(measured, 4 * measured + 1, scale=scale), 0, atol=1e-28)


def test_an_inverted_spectrum_is_no_match(spectra):
    measured = spectra[0]
    assert_allclose(nmse(measured, -measured, scale="fitted"), 1)
    assert (nmse(measured, -measured) > 1).all()


@pytest.mark.parametrize("scale", ["normalized", "fitted"])
def test_a_constant_simulation_scores_one(spectra, scale):
    assert_allclose(nmse(spectra[0], np.ones(30), scale=scale), 1)


def test_one_row_meets_many(spectra):
    measured, simulated = spectra
    rows = [nmse(measured[0], row)[0] for row in simulated]
    assert_allclose(nmse(measured[0], simulated), rows)
    assert_allclose(nmse(simulated, measured[:1]).shape, (6,))


def test_a_noisy_brightest_pixel_hurts_normalized_more(spectra):
    clean = spectra[0]
    spiked = clean.copy()
    spiked[:, 10] = 3 * np.nanmax(clean, axis=1)
    assert (nmse(spiked, clean) > nmse(spiked, clean, scale="fitted") + 0.01).all()


@pytest.mark.parametrize(
    ("measured", "simulated", "message"),
    [
        ([[1.0, 2, 3]], [[1.0, 2]], "same pixels, got 3 and 2"),
        (np.eye(3), np.eye(3)[:2], "single row, got 3 and 2"),
        ([[1.0, np.nan]], [[np.nan, 1.0]], "share at least one.*sample 0"),
        ([[1.0, 2], [1, 1]], [[1.0, 2]], "not be constant.*sample 1"),
        ([[1.0, 2]], [[1.0, np.inf]], "simulated must be finite.*sample 0"),
        (np.ones((1, 2, 2)), [[1.0, 2]], r"measured.*got shape \(1, 2, 2\)"),
        (np.empty((0, 2)), [[1.0, 2]], r"non-empty.*\(0, 2\)"),
    ],
)
def test_nmse_refuses(measured, simulated, message):
    with pytest.raises(ValueError, match=message):
        nmse(measured, simulated)
    with pytest.raises(ValueError, match="scale must be one of normalized, fitted"):
        nmse([[1.0, 2]], [[1.0, 2]], scale="raw")


@pytest.fixture
def ramp():
    y = np.random.default_rng(1).uniform(0.5, 1.5, size=(60, 2))
    return Ramp().simulate(y), y


def test_the_scorer_ranks_estimators_without_labels(ramp):
    X, y = ramp
    scorer = pickle.loads(pickle.dumps(ResimulationScorer(Ramp(), scale="normalized")))
    good = make_pipeline(MaskedSpectrumPreprocessor(None), Ridge(1e-6)).fit(X, y)
    dummy = DummyRegressor().fit(X, y)
    # A ridge of 1e-6 leaves a bias of that order in y, its square in the score.
    assert -1e-10 < scorer(good, X) <= 0
    assert scorer(dummy, X) == scorer(dummy, X, y) < -0.01
    expected = nmse(X, Ramp().simulate(y.mean(axis=0, keepdims=True)))
    assert_allclose(scorer(dummy, X), -expected.mean())


def test_the_scorer_takes_one_dimensional_predictions():
    class Height:
        def simulate(self, parameters):
            return parameters * np.sin(PIXELS) + PIXELS**2

    y = np.linspace(1, 2, 9)
    X = Height().simulate(y[:, None])
    estimator = Ridge(1e-9).fit(X, y)
    assert ResimulationScorer(Height())(estimator, X) > -1e-6


def test_the_scorer_works_in_model_selection(ramp):
    X, y = ramp
    scorer = clone(ResimulationScorer(Ramp()))
    pipeline = make_pipeline(MaskedSpectrumPreprocessor(None), Ridge())
    grid = {"ridge__alpha": [1e-6, 1e3]}
    search = GridSearchCV(pipeline, grid, scoring=scorer, cv=3).fit(X, y)
    assert search.best_params_ == {"ridge__alpha": 1e-6}
    scores = cross_val_score(search.best_estimator_, X, y, scoring=scorer, cv=3)
    assert (scores > -1e-10).all()


def test_the_scorer_refuses_spectra_from_another_grid(ramp):
    X, y = ramp
    dummy = DummyRegressor().fit(X, y)
    with pytest.raises(ValueError, match="same pixels, got 29 and 30"):
        ResimulationScorer(Ramp())(dummy, X[:, :29])


def test_a_background_of_the_degree_fitted_along_costs_nothing():
    grid = SpectrumGrid(np.arange(5, 25.0), np.arange(1, 7, 0.5))
    energy, q = (axis.ravel() for axis in np.meshgrid(*grid.axes(), indexing="ij"))
    line = np.exp(-((energy - 12 - q) ** 2) / 4)
    smooth = 1 + energy / 20 - (q / 7) ** 2
    shown = np.where(energy > 20 - q, np.nan, 3 * line + 2 * smooth)
    options = {"scale": "fitted", "grid": grid}
    assert nmse(shown, line, background=2, **options)[0] < 1e-20
    assert nmse(shown, line, scale="fitted")[0] > 0.05
    # by hand, with one more shape that is not in the model
    extra = shown + 0.3 * np.sin(3 * energy)
    seen = np.isfinite(extra)
    terms = [energy**0, energy, q, energy**2, energy * q, q**2, line]
    columns = np.array(terms)[:, seen].T
    left = extra[seen] - columns @ np.linalg.lstsq(columns, extra[seen])[0]
    expected = left @ left / np.square(extra[seen] - extra[seen].mean()).sum()
    assert_allclose(nmse(extra, line, background=2, **options), expected)
    assert (
        nmse(2 * smooth - line, line, background=2, **options)[0] < 1
    )  # not upside down
    with pytest.raises(ValueError, match="needs scale='fitted'"):
        nmse(shown, line, background=2)
    with pytest.raises(ValueError, match=r"needs the grid of the spectra, got grid=N"):
        nmse(shown, line, scale="fitted", background=2)
    with pytest.raises(ValueError, match="grid must be that"):
        nmse(shown[:-1], line[:-1], background=2, **options)
    for degree in (-1, [1, -1], "a"):
        with pytest.raises(ValueError, match="must be a degree of at least 0"):
            nmse(shown, line, background=degree, **options)


def test_a_background_of_as_many_terms_as_pixels_is_refused():
    grid = SpectrumGrid(np.arange(5, 9.0), np.arange(1, 4.0))
    shown, made = np.random.default_rng(0).random((2, 12))
    shown[:5] = np.nan  # seven are left
    options = {"scale": "fitted", "grid": grid}
    assert nmse(shown, made, background=1, **options)[0] > 0
    with pytest.raises(ValueError, match=r"6 terms and 1 more unknown.*than the 7 pix"):
        nmse(shown, made, background=2, **options)


class Lines:
    """A simulator of a line that knows a width and a temperature."""

    grid = SpectrumGrid(np.arange(5, 25.0), np.arange(1, 7, 0.5))
    nuisance_names = ("width", "temperature")

    def simulate(self, parameters, nuisance):
        energy, q = np.meshgrid(*self.grid.axes(), indexing="ij")
        place, width, kelvin = (
            np.asarray(x, dtype=float)[:, None, None]
            for x in (parameters[:, 0], nuisance["width"], nuisance["temperature"])
        )
        line = np.exp(-((energy - place) ** 2) / width**2) * (1 + kelvin * q / 1e3)
        return line.reshape(len(parameters), -1)


class Told:
    """A regressor that knows everything."""

    def __init__(self, y, nuisance):
        self.y, self.nuisance = y, nuisance

    def predict(self, X, return_nuisance=False):
        return (self.y, self.nuisance) if return_nuisance else self.y


def test_predictions_are_simulated_as_they_were_meant():
    y, kelvin = np.array([[12.0], [14.0]]), np.array([50.0, 600.0])
    table = pd.DataFrame({"width": [2.0, 3.0], "width std": [0.1, 0.1]})
    spectra = Lines().simulate(y, {"width": table["width"], "temperature": kelvin})
    X = np.column_stack([spectra, kelvin])
    scorer = ResimulationScorer(
        Lines(), background=1, nuisance=True, conditions=("temperature",)
    )
    told = Told(y, table)
    assert_allclose(scorer.resimulate(told, X), spectra)
    assert scorer(told, X) == pytest.approx(0, abs=1e-12)
    wrong = Told(y, table.assign(width=[3.0, 3.0]))
    assert (scorer.misfits(wrong, X) > [0.01, -1]).all()
    assert clone(scorer).conditions == ("temperature",)


KNOWN = {"nuisance": True, "conditions": ("temperature",)}


@pytest.fixture
def told():
    """Return a regressor that predicts the temperature too, and rows for it."""
    y = np.array([[12.0], [14.0]])
    table = pd.DataFrame({"width": [2.0, 3.0], "temperature": [1.0, 2.0]})
    spectra = Lines().simulate(y, table)
    return Told(y, table), np.column_stack([spectra, [50.0, 600.0]])


def test_what_is_known_goes_before_what_is_predicted(told):
    predictor, X = told
    nuisance = {"width": [2.0, 3.0], "temperature": [50.0, 600.0]}
    assert_allclose(
        ResimulationScorer(Lines(), **KNOWN).resimulate(predictor, X),
        Lines().simulate(predictor.y, nuisance),
    )


def test_predicted_nuisances_must_be_known_to_the_simulator(told):
    predictor, X = told
    scorer = ResimulationScorer(Lines(), **KNOWN)
    expected = scorer.resimulate(predictor, X)
    others = ["noise", "ripples", "holder of copper", "background", "background_10"]
    predictor.nuisance = predictor.nuisance.assign(
        **dict.fromkeys([*others, "width std", "noise std"], 0.1)
    )
    assert_allclose(scorer.resimulate(predictor, X), expected)
    predictor.nuisance = predictor.nuisance.rename(columns={"width": "wdith"})
    with pytest.raises(ValueError, match=r"offers \(width, temperature\).*got 'wdith'"):
        scorer.resimulate(predictor, X)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"conditions": "temperature"}, r"got a str.*\('temperature',\)"),
        ({"conditions": ()}, "X must have the 240 pixels.*got 241 columns"),
        ({"conditions": ("temperature", "width")}, "the 240 pixels"),
        ({"nuisance": ["width"]}, "'nuisance' parameter"),
        ({"simulator": None}, "'simulator' parameter"),
        ({"scale": "raw"}, "'scale' parameter"),
        ({"background": -1}, "degree of at least 0, or one for each axis, got -1"),
    ],
)
def test_scorers_that_cannot_score_are_refused(told, changed, message):
    scorer = ResimulationScorer(Lines(), **KNOWN).set_params(**changed)
    with pytest.raises(ValueError, match=message):
        scorer.misfits(*told)
