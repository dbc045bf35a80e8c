"""Model files and model cards."""

from skphonon._versioned import VersionMismatchWarning
from skphonon.persistence._model_cards import attach_card, describe
from skphonon.persistence._model_files import TRUSTED_TYPES, load_model, save_model

__all__ = [
    "TRUSTED_TYPES",
    "VersionMismatchWarning",
    "attach_card",
    "describe",
    "load_model",
    "save_model",
]
