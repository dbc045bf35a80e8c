"""Images and gaps where rows of numbers are wanted: what the error says to do."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from skphonon import (
    AEFeatureExtractor,
    ForceConstantRegressor,
    ImplicitSpectrumModel,
    LeastSquaresInverter,
    MaskedSpectrumPreprocessor,
    NelderMeadInverter,
    PixelInverter,
    SpectrumGrid,
    SpectrumRegressor,
    VAEFeatureExtractor,
)
from skphonon.learning import Dense, Trainer

GRID = SpectrumGrid(np.arange(8.0), np.arange(1.0, 11.0))


class Ridge:
    """A line along q on the grid, of one parameter."""

    grid, parameter_names, reference = GRID, ("energy",), np.array([3.0])

    def simulate(self, parameters):
        energy = np.reshape(parameters, (-1, 1, 1))
        away = GRID.energy[:, None] - energy
        images = np.exp(-(away**2) / 2) * (1 + GRID.q / 20)
        return images.reshape(len(energy), -1)


@pytest.fixture(scope="module")
def y():
    return np.random.default_rng(0).uniform(2, 5, size=(60, 1))


@pytest.fixture(scope="module")
def X(y):
    return Ridge().simulate(y)


SMALL = {"network": Dense(8), "trainer": Trainer(max_epochs=1)}
ESTIMATORS = [
    MaskedSpectrumPreprocessor(),
    VAEFeatureExtractor(2, **SMALL),
    AEFeatureExtractor(2, **SMALL),
    VAEFeatureExtractor(2, inference="posterior", **SMALL),
    ForceConstantRegressor((8,), trainer=Trainer(max_epochs=1)),
    SpectrumRegressor(hidden_sizes=(8,), n_networks=1, trainer=Trainer(max_epochs=1)),
    NelderMeadInverter(Ridge()),
    make_pipeline(MaskedSpectrumPreprocessor(), VAEFeatureExtractor(2, **SMALL)),
]


def answer(estimator, X):
    return getattr(estimator, "predict", getattr(estimator, "transform", None))(X)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_one_image_is_told_how_to_become_a_row(estimator, X, y):
    trained = estimator.fit(X, y)
    message = r"shape of one image, 8 by 10 pixels.*grid\.to_rows\(X\)"
    with pytest.raises(ValueError, match=message):
        answer(trained, GRID.to_image(X[0]))
    assert len(answer(trained, GRID.to_rows(GRID.to_image(X[0])))) == 1


@pytest.mark.filterwarnings("ignore:Ridge has no method jacobian")
@pytest.mark.parametrize("kind", [LeastSquaresInverter, NelderMeadInverter])
def test_inverters_know_the_shape_of_their_grid(kind, X):
    with pytest.raises(ValueError, match=r"80 pixels each, got 10\. X has the shape"):
        kind(Ridge()).fit(GRID.to_image(X[0]))
    inverter = kind(Ridge()).fit(X)
    with pytest.raises(ValueError, match=r"\(60, 8, 10\), that of images"):
        inverter.predict(GRID.to_image(X))
    with pytest.raises(ValueError, match=r"has 7 features.*as input\.$"):
        inverter.predict(X[:, :7])


@pytest.mark.parametrize(
    ("estimator", "remedy"),
    [
        (VAEFeatureExtractor(2, **SMALL), "MaskedSpectrumPreprocessor in front"),
        (AEFeatureExtractor(2, **SMALL), r"inference=.posterior.\), which takes NaN"),
        (
            ForceConstantRegressor((8,), trainer=Trainer(max_epochs=1)),
            "use SpectrumRegressor",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_gaps_are_told_who_takes_them(estimator, remedy, X, y):
    gaps = X.copy()
    gaps[[3, 5], 7] = np.nan
    name = type(estimator).__name__
    message = rf"NaN in 2 of 60 rows \(first: row 3\), and {name} takes none.*{remedy}"
    with pytest.raises(ValueError, match=message) as caught:
        estimator.fit(gaps, y)
    assert "HistGradientBoosting" not in str(caught.value)
    with pytest.raises(ValueError, match=message):
        answer(estimator.fit(X, y), gaps)


def test_pixels_without_a_coordinate_are_named(X):
    pixels = np.random.default_rng(0).uniform(size=(50, 2))
    pixels[4, 1] = np.nan
    message = r"NaN in 1 of 50 rows \(first: row 4\).*Leave out the rows"
    for estimator in (
        PixelInverter(),
        ImplicitSpectrumModel((4,), trainer=Trainer(max_epochs=1)),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.fit(pixels, np.ones(50))
