"""Interatomic force constants from inelastic neutron scattering.

Forward models make spectra, transformers compress them, regressors invert them;
all of it speaks scikit-learn. Every public name lives in the module that
describes it and is also offered here, loaded on first use: ``import skphonon``
alone does not import torch.
"""

from importlib import import_module
from typing import Any

from skphonon._version import __version__

_HOME = {
    "AEFeatureExtractor": "skphonon.features",
    "AngleGrid": "skphonon.simulation",
    "BoundWarning": "skphonon.inversion",
    "CalibratedRegressor": "skphonon.calibration",
    "CrystalGrid": "skphonon.simulation",
    "DensityOfStatesDisplay": "skphonon.inspection",
    "DetectorMeasurement": "skphonon.instrument",
    "ElasticConstantsDisplay": "skphonon.inspection",
    "ExtrapolationWarning": "skphonon.surrogate",
    "ForceConstantModel": "skphonon.physics.force_constants",
    "ForceConstantPrior": "skphonon.datasets",
    "ForceConstantRegressor": "skphonon.regression",
    "GappySpectrumExtractor": "skphonon.gappy",
    "HeatCapacityDisplay": "skphonon.inspection",
    "IdentifiabilityWarning": "skphonon.inversion",
    "ImplicitSpectrumModel": "skphonon.surrogate",
    "IncompleteDatasetWarning": "skphonon.datasets",
    "JointSimulator": "skphonon.simulation",
    "LatentCodesDisplay": "skphonon.inspection",
    "LatentCorrelationDisplay": "skphonon.inspection",
    "LatentSensitivityDisplay": "skphonon.inspection",
    "LatentTraversalDisplay": "skphonon.inspection",
    "LeastSquaresInverter": "skphonon.inversion",
    "MaskedSpectrumPreprocessor": "skphonon.preprocessing",
    "Measurement": "skphonon.instrument",
    "MeasurementWarning": "skphonon.instrument",
    "MisfitWarning": "skphonon.inversion",
    "NelderMeadInverter": "skphonon.inversion",
    "OutOfDistributionWarning": "skphonon.features",
    "ParameterDraws": "skphonon.inspection",
    "PathGrid": "skphonon.simulation",
    "PhononBandsDisplay": "skphonon.inspection",
    "PixelInverter": "skphonon.inversion",
    "PolynomialResolution": "skphonon.simulation",
    "PowderSimulator": "skphonon.simulation",
    "PowderSpectraStore": "skphonon.datasets",
    "ReliabilityDisplay": "skphonon.inspection",
    "ResimulationScorer": "skphonon.metrics",
    "SingleCrystalSimulator": "skphonon.simulation",
    "SpectrumGrid": "skphonon.simulation",
    "SpectrumProfilesDisplay": "skphonon.inspection",
    "SpectrumRegressor": "skphonon.regression",
    "SpinWaveModel": "skphonon.physics.spin_waves",
    "SpinWaveSimulator": "skphonon.simulation",
    "TRUSTED_TYPES": "skphonon.model_files",
    "TabulatedResolution": "skphonon.simulation",
    "TemperatureTrendsDisplay": "skphonon.inspection",
    "ThermalDisplacementsDisplay": "skphonon.inspection",
    "UnstableCrystalWarning": "skphonon.simulation",
    "VAEFeatureExtractor": "skphonon.features",
    "VersionMismatchWarning": "skphonon._persistence",
    "ZoneMesh": "skphonon.simulation",
    "active_dimensions": "skphonon.inspection",
    "attach_card": "skphonon.model_cards",
    "bvk_from_label": "skphonon.datasets",
    "describe": "skphonon.model_cards",
    "draw_parameters": "skphonon.inspection",
    "fetch_aluminium_arcs": "skphonon.datasets",
    "fetch_la2nio4": "skphonon.datasets",
    "fine_tune": "skphonon.recipes",
    "high_symmetry_path": "skphonon.inspection",
    "instrument_resolution": "skphonon.simulation",
    "latent_correlation": "skphonon.inspection",
    "latent_sensitivity": "skphonon.inspection",
    "latent_traversal": "skphonon.inspection",
    "load_aluminium_model": "skphonon.datasets",
    "load_la2nio4_model": "skphonon.datasets",
    "load_model": "skphonon.model_files",
    "make_crystal_spectra": "skphonon.datasets",
    "make_powder_spectra": "skphonon.datasets",
    "nmse": "skphonon.metrics",
    "normalize_spectra": "skphonon.preprocessing",
    "open_powder_spectra": "skphonon.datasets",
    "read_arrays": "skphonon.datasets",
    "read_mdhisto": "skphonon.datasets",
    "read_nxspe": "skphonon.datasets",
    "reduce_crystal": "skphonon.datasets",
    "reduce_powder": "skphonon.datasets",
    "sample_force_constants": "skphonon.datasets",
    "save_model": "skphonon.model_files",
    "su_li_2024": "skphonon.recipes",
    "write_arrays": "skphonon.datasets",
    "write_phonopy_files": "skphonon.phonopy_files",
    "write_powder_spectra": "skphonon.datasets",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
