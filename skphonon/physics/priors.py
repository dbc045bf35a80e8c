"""What is known of force constants before a spectrum is looked at."""

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["parameter_scales", "shell_numbers"]

Array = NDArray[np.float64]

_ZERO = 0.02  # of the largest constant of a shell: what is as good as zero beside it
_ROUNDING = 1e-8  # of the largest value of all: nothing but rounding
_EMPTY = 0.05  # of the largest constant of all: the scale of a shell of zeros
_UNKNOWN = 0.2  # and that of a zero which belongs to no shell
_SHELL = re.compile(r"\d+")
_DIRECTION = re.compile(r"PC\d+")


def shell_numbers(names) -> NDArray[np.int_]:
    """Return the numbers of the shells to which parameters belong by their names.

    Parameters
    ----------
    names : sequence of str
        Names of the parameters.

    Returns
    -------
    ndarray of int of shape (n_parameters,)
        What a name begins with, 0 where that is no number.
    """
    matches = [_SHELL.match(name) for name in names]
    return np.array([int(match.group()) if match else 0 for match in matches], int)


def parameter_scales(values: ArrayLike, names) -> Array:
    """Return how large parameters are, for steps of a search and widths of a draw.

    That is the size of a value, unless it is zero beside the other constants of its
    shell, as a calculation or rounding may leave it: it takes their root mean square
    then, since nothing says that the true one is zero too. Constants of a shell have
    names that begin with its number, ``2XX`` and ``2XZ``. Principal directions, ``PC1``
    and so on, are in units of their standard deviations: they have the scale 1.

    Parameters
    ----------
    values : array-like of shape (n_parameters,)
        Reference values.
    names : sequence of str
        Names of the parameters.

    Returns
    -------
    ndarray of shape (n_parameters,)
        In the unit of the values, positive. A shell of zeros has a twentieth of the
        largest value of all, a zero that belongs to no shell a fifth.

    Examples
    --------
    >>> from skphonon.physics.priors import parameter_scales
    >>> names = ["1XX", "1XY", "2XX", "2ZZ", "2XZ"]
    >>> parameter_scales([3.4, 2.2, 0.3, -0.4, -2.7e-17], names).round(2)
    array([3.4 , 2.2 , 0.3 , 0.4 , 0.35])
    """
    sizes = np.abs(np.asarray(values, dtype=float))
    shells = shell_numbers(names)
    largest = sizes.max(initial=0.0) or 1.0
    sizes[sizes < _ROUNDING * largest] = 0.0
    scales = np.where(sizes > 0, sizes, _UNKNOWN * largest)
    for shell in set(shells.tolist()) - {0}:
        own = shells == shell
        zero = sizes[own] <= _ZERO * sizes[own].max()
        others = sizes[own][~zero]
        typical = np.sqrt(np.mean(others**2)) if others.size else _EMPTY * largest
        scales[own] = np.where(zero, typical, sizes[own])
    directions = [bool(_DIRECTION.fullmatch(name)) for name in names]
    scales[np.array(directions, dtype=bool)] = 1.0
    return scales
