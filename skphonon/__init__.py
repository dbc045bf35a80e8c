"""Interatomic force constants from inelastic neutron scattering.

Forward models make spectra, transformers compress them, regressors invert them;
all of it speaks scikit-learn. The names that most people need are offered here and
loaded on first use, so that ``import skphonon`` alone does not import torch; every
other name imports from its room, such as ``skphonon.datasets``.
"""

from importlib import import_module
from typing import Any

from skphonon import _moved
from skphonon._version import __version__

_HOME = {
    "AEFeatureExtractor": "skphonon.learning",
    "CrystalGrid": "skphonon.instrument",
    "ForceConstantModel": "skphonon.physics",
    "ForceConstantRegressor": "skphonon.learning",
    "ImplicitSpectrumModel": "skphonon.learning",
    "JointSimulator": "skphonon.simulation",
    "LeastSquaresInverter": "skphonon.inversion",
    "MaskedSpectrumPreprocessor": "skphonon.preprocessing",
    "Measurement": "skphonon.instrument",
    "NelderMeadInverter": "skphonon.inversion",
    "PathGrid": "skphonon.instrument",
    "PixelInverter": "skphonon.inversion",
    "PosteriorInverter": "skphonon.inversion",
    "PowderSimulator": "skphonon.simulation",
    "SingleCrystalSimulator": "skphonon.simulation",
    "SpectrumGrid": "skphonon.instrument",
    "SpectrumRegressor": "skphonon.learning",
    "SpinWaveModel": "skphonon.physics",
    "SpinWaveSimulator": "skphonon.simulation",
    "VAEFeatureExtractor": "skphonon.learning",
    "calibrate": "skphonon.instrument",
    "fetch_aluminium_arcs": "skphonon.datasets",
    "load_aluminium_model": "skphonon.datasets",
    "load_model": "skphonon.persistence",
    "make_powder_spectra": "skphonon.datasets",
    "nmse": "skphonon.metrics",
    "read": "skphonon.io",
    "read_mdhisto": "skphonon.io",
    "read_nxspe": "skphonon.io",
    "reduce_crystal": "skphonon.io",
    "reduce_powder": "skphonon.io",
    "save_model": "skphonon.persistence",
}

__all__ = ["__version__", *_HOME]

_moved.watch()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value  # the next access does not come here
        return value
    advice = _moved.where_now(f"{__name__}.{name}")
    raise AttributeError(advice or f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
