"""Networks that learn from spectra: features, regression and surrogates."""

from skphonon._moved import missing
from skphonon._warnings import ExtrapolationWarning
from skphonon.learning._augmentation import Augmentation
from skphonon.learning._checkpoints import ResumableCheckpoint
from skphonon.learning.architectures import Convolutional, Dense
from skphonon.learning.detection import NoveltyDetector
from skphonon.learning.features import AEFeatureExtractor, VAEFeatureExtractor
from skphonon.learning.missing_data import PosteriorInference
from skphonon.learning.novelty import OutOfDistributionWarning
from skphonon.learning.recipes import fine_tune, powder_network, su_li_2024
from skphonon.learning.regression import ForceConstantRegressor
from skphonon.learning.spectrum_regression import SpectrumRegressor
from skphonon.learning.surrogate import ImplicitSpectrumModel
from skphonon.learning.trainer import Trainer

__all__ = [
    "AEFeatureExtractor",
    "Augmentation",
    "Convolutional",
    "Dense",
    "ExtrapolationWarning",
    "ForceConstantRegressor",
    "ImplicitSpectrumModel",
    "NoveltyDetector",
    "OutOfDistributionWarning",
    "PosteriorInference",
    "ResumableCheckpoint",
    "SpectrumRegressor",
    "Trainer",
    "VAEFeatureExtractor",
    "fine_tune",
    "powder_network",
    "su_li_2024",
]

__getattr__ = missing(__name__)
