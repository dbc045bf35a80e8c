r"""Derivatives of functions of dynamical matrices: pairs of modes and their gaps.

A one-phonon spectrum is :math:`I = v^\dagger F(D)\,v = \sum_j |w_j^\dagger v|^2
F(\lambda_j)`: a matrix function of the dynamical matrix :math:`D` (eigenvalues
:math:`\lambda_j`, eigenvectors :math:`w_j`) between scattering amplitudes :math:`v`.
It is a smooth function of :math:`D` although single eigenvectors are not, and so is its
derivative (Daleckii and Krein; Higham, *Functions of Matrices*, theorem 3.11,
doi:10.1137/1.9780898717778),

.. math:: dI = \sum_{jl} u_j^\dagger\,dD\,u_l\,F[\lambda_j, \lambda_l], \qquad
          u_j = w_j w_j^\dagger v, \qquad
          F[a, b] = \frac{F(a) - F(b)}{a - b} \to F'(a),

in which :math:`F[\lambda_j, \lambda_l]` adds to the lines of both modes. So every
derivative is a set of weights of :math:`F(\lambda_j)` and of :math:`F'(\lambda_j)`.
Displacements are functions of that kind as well.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ModePairs", "mode_pairs", "signed_sqrt"]

Array = NDArray[np.float64]

_DEGENERATE = 1.5e-7  # gap, of the largest eigenvalue, below which two modes are one


class ModePairs(NamedTuple):
    """Gaps between modes.

    Parameters
    ----------
    inverse : ndarray of shape (..., n_modes, n_modes)
        One over the gap between two eigenvalues, 0 between degenerate modes.
    near : ndarray of bool of the same shape
        Who is degenerate with whom; every mode is with itself.
    """

    inverse: Array
    near: NDArray[np.bool_]


def mode_pairs(eigenvalues: Array) -> ModePairs:
    """Return inverse gaps between modes, and who is degenerate.

    Parameters
    ----------
    eigenvalues : ndarray of shape (..., n_modes)
        Of one matrix along the last axis.

    Returns
    -------
    ModePairs
        Of all pairs of modes of each matrix.
    """
    gaps = eigenvalues[..., :, None] - eigenvalues[..., None, :]
    scale = np.abs(eigenvalues).max(axis=-1)[..., None, None]
    near = np.abs(gaps) <= _DEGENERATE * scale
    return ModePairs(np.where(near, 0.0, 1 / np.where(near, 1.0, gaps)), near)


def signed_sqrt(eigenvalues: ArrayLike) -> Array:
    """Return phonon energies, negative where a mode is unstable (as phonopy does).

    Parameters
    ----------
    eigenvalues : array-like
        Eigenvalues of dynamical matrices in meV^2.

    Returns
    -------
    ndarray
        Energies in meV.
    """
    return np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues))
