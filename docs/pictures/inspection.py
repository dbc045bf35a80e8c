"""How a spectrum changes along the dimensions of a small autoencoder."""

import numpy as np
from pictures.synthetic import aluminium_map
from sklearn.pipeline import make_pipeline

from skphonon import (
    MaskedSpectrumPreprocessor,
    VAEFeatureExtractor,
    make_powder_spectra,
)
from skphonon.inspection import LatentTraversalDisplay, active_dimensions
from skphonon.learning import Trainer

_, simulator = aluminium_map(step=2)
X, _ = make_powder_spectra(simulator, 1200, spread=0.5, random_state=0)
extractor = make_pipeline(
    MaskedSpectrumPreprocessor(),
    VAEFeatureExtractor(
        6, kl_weight=1e-3, trainer=Trainer(max_epochs=40), random_state=0
    ),
).fit(X)
active = active_dimensions(extractor, X[:200], threshold=0.01)
LatentTraversalDisplay.from_estimator(
    extractor, X[:100], grid=simulator.grid, changes=[-1.0, 1.0], relative=True
).plot(dimensions=[int(each) for each in np.asarray(active.order)[:3]])
