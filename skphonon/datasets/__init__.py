"""Arrays to learn from: published, simulated or drawn from force fields."""

from skphonon._moved import missing
from skphonon.datasets._aluminium import (
    IncompleteDatasetWarning,
    bvk_from_label,
    fetch_aluminium_arcs,
    load_aluminium_model,
    load_aluminium_spectra,
)
from skphonon.datasets._crystal import make_crystal_spectra
from skphonon.datasets._force_fields import sample_force_constants
from skphonon.datasets._la2nio4 import (
    fetch_la2nio4,
    load_la2nio4_map,
    load_la2nio4_model,
)
from skphonon.datasets._published import SyntheticDataWarning
from skphonon.datasets._silicon import fetch_silicon_mari, make_silicon_spectrum
from skphonon.datasets._store import PowderSpectraStore, open_powder_spectra
from skphonon.datasets._store_writing import write_powder_spectra
from skphonon.datasets._synthetic import make_powder_spectra

__all__ = [
    "IncompleteDatasetWarning",
    "PowderSpectraStore",
    "SyntheticDataWarning",
    "bvk_from_label",
    "fetch_aluminium_arcs",
    "fetch_la2nio4",
    "fetch_silicon_mari",
    "load_aluminium_model",
    "load_aluminium_spectra",
    "load_la2nio4_map",
    "load_la2nio4_model",
    "make_crystal_spectra",
    "make_powder_spectra",
    "make_silicon_spectrum",
    "open_powder_spectra",
    "sample_force_constants",
    "write_powder_spectra",
]

__getattr__ = missing(__name__)
