"""Recover parameters from spectra by optimisation: any simulator, no training set.

The inverters here share the interface of the learned regressors, so that every claim
can be tested: the network against the optimiser, both on the same spectra.
"""

from skphonon.inversion._goodness import (
    BoundWarning,
    IdentifiabilityWarning,
    MisfitWarning,
)
from skphonon.inversion._posterior import Posterior
from skphonon.inversion._posterior_evidence import compare_posteriors
from skphonon.inversion._verdict import Finding, Verdict
from skphonon.inversion.comparing import (
    average_energies,
    compare_fits,
    fit_with_constants,
)
from skphonon.inversion.fit import SpectrumFit
from skphonon.inversion.least_squares import LeastSquaresInverter
from skphonon.inversion.nelder_mead import NelderMeadInverter
from skphonon.inversion.observables import (
    ElasticConstants,
    HeatCapacity,
    MeanSquareDisplacement,
    Observable,
    ObservablesFit,
    PhononEnergies,
    SoundVelocities,
    fit_observables,
)
from skphonon.inversion.pixels import PixelInverter
from skphonon.inversion.posterior import PosteriorInverter
from skphonon.inversion.settings import Noise, Search

__all__ = [
    "BoundWarning",
    "ElasticConstants",
    "Finding",
    "HeatCapacity",
    "IdentifiabilityWarning",
    "LeastSquaresInverter",
    "MeanSquareDisplacement",
    "MisfitWarning",
    "NelderMeadInverter",
    "Noise",
    "Observable",
    "ObservablesFit",
    "PhononEnergies",
    "PixelInverter",
    "Posterior",
    "PosteriorInverter",
    "Search",
    "SoundVelocities",
    "SpectrumFit",
    "Verdict",
    "average_energies",
    "compare_fits",
    "compare_posteriors",
    "fit_observables",
    "fit_with_constants",
]
