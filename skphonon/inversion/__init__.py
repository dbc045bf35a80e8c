"""Recover parameters from spectra by optimisation: any simulator, no training set.

The inverters here share the interface of the learned regressors, so that every claim
can be tested: the network against the optimiser, both on the same spectra.
"""

from skphonon.inversion._goodness import (
    BoundWarning,
    IdentifiabilityWarning,
    MisfitWarning,
)
from skphonon.inversion.least_squares import LeastSquaresInverter
from skphonon.inversion.nelder_mead import NelderMeadInverter
from skphonon.inversion.pixels import PixelInverter

__all__ = [
    "BoundWarning",
    "IdentifiabilityWarning",
    "LeastSquaresInverter",
    "MisfitWarning",
    "NelderMeadInverter",
    "PixelInverter",
]
