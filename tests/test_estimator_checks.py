"""Every public estimator keeps scikit-learn's contract, with no expected failure."""

import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from skphonon.calibration import CalibratedRegressor
from skphonon.inversion import (
    LeastSquaresInverter,
    NelderMeadInverter,
    Noise,
    PixelInverter,
    PosteriorInverter,
    Search,
)
from skphonon.learning import (
    AEFeatureExtractor,
    Augmentation,
    Convolutional,
    Dense,
    ForceConstantRegressor,
    ImplicitSpectrumModel,
    NoveltyDetector,
    SpectrumRegressor,
    Trainer,
    VAEFeatureExtractor,
)
from skphonon.preprocessing import MaskedSpectrumPreprocessor

# Fits are as short as scores above 0.5 allow: checks make hundreds of them.
ESTIMATORS = [
    MaskedSpectrumPreprocessor(),
    LeastSquaresInverter(),
    LeastSquaresInverter(search=Search(n_candidates=4), noise=Noise("noise")),
    PosteriorInverter(n_draws=8, n_candidates=4, n_starts=1),
    NelderMeadInverter(tolerance=0.5),  # coarse: the checks run many searches
    VAEFeatureExtractor(3, network=Dense(20), trainer=Trainer(max_epochs=3)),
    VAEFeatureExtractor(
        3, compression=None, output="distribution", trainer=Trainer(max_epochs=2)
    ),
    AEFeatureExtractor(3, network=Dense(20), trainer=Trainer(max_epochs=3)),
    VAEFeatureExtractor(
        3,
        network=Convolutional(filters=(2, 3), hidden_size=10),
        trainer=Trainer(max_epochs=2),
    ),
    VAEFeatureExtractor(
        3, network=Dense(20), inference="posterior", trainer=Trainer(max_epochs=3)
    ),
    NoveltyDetector(  # the checks want some of their own data to be foreign
        VAEFeatureExtractor(3, trainer=Trainer(max_epochs=3), random_state=0), level=0.5
    ),
    ForceConstantRegressor(
        (20, 20), trainer=Trainer(lr=0.03, batch_size=32, max_epochs=20)
    ),
    ForceConstantRegressor(
        (20,), loss="likelihood", trainer=Trainer(lr=0.03, batch_size=32, max_epochs=20)
    ),
    SpectrumRegressor(  # the checks' data are no counts at all
        hidden_sizes=(30,),
        n_networks=2,
        augmentation=Augmentation(counts=None, background=0.0),
        normalize=False,
        trainer=Trainer(
            weight_decay=0.0,
            max_epochs=8,
            validation_fraction=0,
            lr=0.05,
            batch_size=50,
        ),
    ),
    ImplicitSpectrumModel((20, 20), trainer=Trainer(batch_size=16, max_epochs=15)),
    ImplicitSpectrumModel(
        (20, 20), target="linear", trainer=Trainer(batch_size=16, max_epochs=10)
    ),
    PixelInverter(n_starts=2),
    PixelInverter(n_starts=2, loss="poisson"),
    PixelInverter(n_starts=2, loss="chi2", errors="noise"),
    CalibratedRegressor(GaussianProcessRegressor(alpha=0.1), random_state=0),
]


# of an emulator of noise, on which scikit-learn turns what searches for an optimum
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::skphonon.inversion.BoundWarning")
@pytest.mark.filterwarnings("ignore::skphonon.learning.ExtrapolationWarning")
@pytest.mark.filterwarnings("ignore::skphonon.inversion.MisfitWarning")
@pytest.mark.filterwarnings("ignore:Error bars are:UserWarning")
@pytest.mark.filterwarnings("ignore:No spectrum can be called novel:UserWarning")
@parametrize_with_checks(ESTIMATORS)
def test_estimator_follows_the_contract(estimator, check):
    check(estimator)
