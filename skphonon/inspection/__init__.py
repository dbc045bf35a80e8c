"""Look into a fitted model: statistics of its latent space, and pictures.

A Display holds the numbers of a picture in pandas tables and draws them when its
`plot` is called. Everything here asks models through their public methods only.
"""

from skphonon.inspection._latent import (
    active_dimensions,
    latent_correlation,
    latent_sensitivity,
    latent_traversal,
)
from skphonon.inspection._latent_displays import (
    LatentCodesDisplay,
    LatentCorrelationDisplay,
    LatentSensitivityDisplay,
)
from skphonon.inspection._profiles import SpectrumProfilesDisplay
from skphonon.inspection._traversal import LatentTraversalDisplay
from skphonon.inspection._trends import TemperatureTrendsDisplay

__all__ = [
    "LatentCodesDisplay",
    "LatentCorrelationDisplay",
    "LatentSensitivityDisplay",
    "LatentTraversalDisplay",
    "SpectrumProfilesDisplay",
    "TemperatureTrendsDisplay",
    "active_dimensions",
    "latent_correlation",
    "latent_sensitivity",
    "latent_traversal",
]
