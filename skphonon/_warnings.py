"""Warnings that point at the line of the user, however deep they are found."""

import sys
import warnings

__all__ = ["warn_user"]

_PACKAGE = __name__.partition(".")[0]


def warn_user(message, category):
    """Warn of something in the line that called the package.

    Parameters
    ----------
    message : str
        What was found, and what to do.
    category : type
        Class of the warning.
    """
    level, frame = 1, sys._getframe()
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
