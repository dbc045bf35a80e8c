"""Latent spaces and physical properties of fitted models, as tables and pictures.

A Display holds the numbers of a picture in pandas tables and draws them when its
`plot` is called. Everything here asks models through their public methods only.
"""

from skphonon.inspection._band_paths import high_symmetry_path
from skphonon.inspection._calibration import CalibrationDisplay
from skphonon.inspection._corner import CornerDisplay
from skphonon.inspection._density import DensityOfStatesDisplay
from skphonon.inspection._dispersion import PhononBandsDisplay
from skphonon.inspection._elastic import ElasticConstantsDisplay
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
from skphonon.inspection._local_calibration import (
    LocalCalibration,
    local_calibration,
)
from skphonon.inspection._parameter_draws import ParameterDraws, draw_parameters
from skphonon.inspection._posterior_calibration import (
    JointCoverage,
    interval_coverage,
    rank_statistics,
    tarp_coverage,
)
from skphonon.inspection._posterior_displays import RankDisplay, TARPDisplay
from skphonon.inspection._predictive import PosteriorPredictiveDisplay
from skphonon.inspection._profiles import SpectrumProfilesDisplay
from skphonon.inspection._reliability import ReliabilityDisplay
from skphonon.inspection._thermal import (
    HeatCapacityDisplay,
    ThermalDisplacementsDisplay,
)
from skphonon.inspection._training_curves import TrainingCurvesDisplay
from skphonon.inspection._traversal import LatentTraversalDisplay
from skphonon.inspection._trends import TemperatureTrendsDisplay
from skphonon.instrument.maps import SpectrumMapDisplay

__all__ = [
    "CalibrationDisplay",
    "CornerDisplay",
    "DensityOfStatesDisplay",
    "ElasticConstantsDisplay",
    "HeatCapacityDisplay",
    "JointCoverage",
    "LatentCodesDisplay",
    "LatentCorrelationDisplay",
    "LatentSensitivityDisplay",
    "LatentTraversalDisplay",
    "LocalCalibration",
    "ParameterDraws",
    "PhononBandsDisplay",
    "PosteriorPredictiveDisplay",
    "RankDisplay",
    "ReliabilityDisplay",
    "SpectrumMapDisplay",
    "SpectrumProfilesDisplay",
    "TARPDisplay",
    "TemperatureTrendsDisplay",
    "ThermalDisplacementsDisplay",
    "TrainingCurvesDisplay",
    "active_dimensions",
    "draw_parameters",
    "high_symmetry_path",
    "interval_coverage",
    "latent_correlation",
    "latent_sensitivity",
    "latent_traversal",
    "local_calibration",
    "rank_statistics",
    "tarp_coverage",
]
