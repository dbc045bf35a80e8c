"""Warnings that point at the line of the user, however deep they are found.

The kind that several rooms need is here as well.
"""

import sys
import warnings

__all__ = ["ExtrapolationWarning", "warn_user"]

# These call for the user: scikit-learn wraps methods and has pipelines and searches,
# which joblib runs; decorators and iterators of others stand between as well.
_NOT_THE_USER = (
    __name__.partition(".")[0],
    "sklearn",
    "joblib",
    "skorch",
    "torch",
    "scipy",
    "tqdm",
    "concurrent",
    "contextlib",
    "dataclasses",
    "functools",
    "threading",
)


class ExtrapolationWarning(UserWarning):
    """Inputs lie outside those that a network or its preprocessor was trained on."""


def warn_user(message, category):
    """Warn of something in the line that called the package."""
    level, frame = 1, sys._getframe()
    while _package(frame) in _NOT_THE_USER and frame.f_back:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _package(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]
