r"""Elastic constants from the long-wave limit of the lattice dynamics.

The three acoustic modes of a long wave u(r) exp(iq.r) obey, with the other
displacements of the cell following them adiabatically,

.. math:: \rho\,\omega^2 u_\alpha = \sum_{\beta\gamma\lambda}
          [\alpha\beta, \gamma\lambda]\, q_\gamma q_\lambda u_\beta .

The brackets, symmetric in their first and in their second pair of indices, are read
from dynamical matrices near the zone centre. In a crystal without stress whose energy
does not change as it is turned, :math:`[\alpha\beta, \gamma\lambda] =
[\gamma\lambda, \alpha\beta]` (the conditions of Huang) and

.. math:: C_{\alpha\beta\gamma\delta} = [\alpha\gamma, \beta\delta]
          + [\beta\gamma, \alpha\delta] - [\alpha\beta, \gamma\delta]

(Born and Huang, *Dynamical Theory of Crystal Lattices*, sections 26 and 27,
ISBN 978-0-19-850369-9). Cubic symmetry makes the conditions hold. In
other crystals constants of a finite range, fitted or truncated, break them: waves in
two directions then tell different moduli. The brackets are made symmetric first, and
the size of what is taken away is given on request.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants as si

from skphonon._warnings import warn_user
from skphonon.physics.constants import MEV2_PER_EIGENVALUE

if TYPE_CHECKING:
    from skphonon.physics.force_constants import ForceConstantModel

__all__ = [
    "TOLERATED_VIOLATION",
    "VOIGT",
    "elastic_constants",
    "independent_elements",
    "sound_matrices",
    "vanishing_elements",
    "warn_of_violation",
]

Array = NDArray[np.float64]

#: Cartesian indices of the six elements of a symmetric tensor, in the order of Voigt.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

#: By which waves along two directions may tell different constants, unsaid.
TOLERATED_VIOLATION = 0.05

_GPA = si.e * 1e21  # of 1 eV/Angstrom^3
_STEP = 0.01  # 1/Angstrom: waves a hundred cells long
_AXES = np.eye(3)
_DIRECTIONS = np.array([_AXES[i] + _AXES[j] * (i != j) for i, j in VOIGT])
# Sums over neighbours cancel to about 1e-12 of the matrix, that is 1e-8 here.
_ROUNDING = 1e-6
_SAME = 1e-9  # of elements of a tensor, of which symmetry makes others equal or zero
_FREE = 1e-12  # stiffness, of the largest, of displacements that nothing holds


def elastic_constants(
    model: "ForceConstantModel",
    parameters: ArrayLike,
    *,
    return_violation: bool = False,
) -> Array | tuple[Array, Array]:
    """Return the elastic constants of force constants.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    parameters : array-like of shape (n_samples, n_parameters)
        Parameter sets in eV/Angstrom^2.
    return_violation : bool, default=False
        Whether to return how far the constants are from the conditions of Huang.

    Returns
    -------
    constants : ndarray of shape (n_samples, 6, 6)
        Stiffness in GPa, in the order of Voigt (xx, yy, zz, yz, xz, xy) and the
        Cartesian axes of the lattice of the model.
    violation : ndarray of shape (n_samples,)
        Largest difference that Huang's conditions forbid, over the largest bracket; 0
        in cubic crystals. Only where `return_violation` is set.

    Raises
    ------
    ValueError
        If the crystal has Born charges and no centre of inversion: the field of a
        piezoelectric crystal changes the slopes of its branches, and these are no
        elastic constants.
    """
    if model.born_charges is not None and model.inversion_partners() is None:
        raise ValueError(
            "Elastic constants need a crystal with a centre of inversion or without "
            "Born charges, got one that may be piezoelectric. For constants without "
            "its macroscopic field take model.replace(born_charges=None, "
            "dielectric=None) and use constants fitted that way."
        )
    brackets = _brackets(model, parameters)
    swapped = brackets.transpose(0, 3, 4, 1, 2)
    symmetric = (brackets + swapped) / 2
    constants = (
        np.einsum("sacbd->sabcd", symmetric)
        + np.einsum("sbcad->sabcd", symmetric)
        - symmetric
    )
    rows, columns = np.transpose(VOIGT)
    stiffness = constants[:, rows[:, None], columns[:, None], rows, columns]
    if not return_violation:
        return stiffness
    largest = np.abs(brackets).max(axis=(1, 2, 3, 4))
    violation = np.abs(brackets - swapped).max(axis=(1, 2, 3, 4)) / largest
    return stiffness, np.where(violation > _ROUNDING, violation, 0.0)


def warn_of_violation(violation: float) -> None:
    """Warn of elastic constants that hang on the direction of the waves.

    Parameters
    ----------
    violation : float
        How far force constants are from the conditions of Huang, as
        :func:`elastic_constants` returns it.
    """
    if violation > TOLERATED_VIOLATION:
        warn_user(
            "The force constants change as the crystal is turned: waves along "
            "different directions tell elastic constants that differ by "
            f"{violation:.0%} of the largest. Their mean is given.",
            UserWarning,
        )


def independent_elements(
    rotations: Array,
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return rows and columns of the elastic constants that symmetry leaves different.

    Parameters
    ----------
    rotations : ndarray of shape (n_rotations, 3, 3)
        Point group, Cartesian.

    Returns
    -------
    rows, columns : ndarray of int of shape (n_elements,)
        From 0, in the order of Voigt.
    """
    tensor = _invariant(rotations)
    found: list[tuple[int, int]] = []
    sizes = [0.0]
    for i, j in zip(*np.triu_indices(6), strict=True):
        if np.abs(abs(tensor[i, j]) - sizes).min() > _SAME:
            found.append((int(i), int(j)))
            sizes.append(abs(tensor[i, j]))
    rows, columns = np.array(found).T
    return rows, columns


def vanishing_elements(rotations: Array) -> NDArray[np.bool_]:
    """Tell which elastic constants symmetry makes zero.

    Parameters
    ----------
    rotations : ndarray of shape (n_rotations, 3, 3)
        Point group, Cartesian.

    Returns
    -------
    ndarray of bool of shape (6, 6)
        In the order of Voigt.
    """
    return np.abs(_invariant(rotations)) < _SAME


def _invariant(rotations: Array) -> Array:
    """Return elastic constants (6, 6) that are equal or zero only where they must be.

    They are those of a tensor of random elements, made symmetric.
    """
    tensor = np.random.default_rng(0).normal(size=(3, 3, 3, 3))
    for axes in [(1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)]:
        tensor = tensor + tensor.transpose(axes)
    turned = "gai,gbj,gck,gdl,ijkl->abcd"
    mean = np.einsum(turned, *[rotations] * 4, tensor, optimize=True) / len(rotations)
    rows, columns = np.transpose(VOIGT)
    return mean[rows[:, None], columns[:, None], rows, columns]


def sound_matrices(
    model: "ForceConstantModel", parameters: ArrayLike, directions: Array
) -> Array:
    r"""Return the matrices whose eigenvalues are :math:`\rho v^2` of long waves.

    These are the slopes of the waves themselves, whether or not there are elastic
    constants that tell those of all directions.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    parameters : array-like of shape (n_samples, n_parameters)
        Parameter sets in eV/Angstrom^2.
    directions : ndarray of shape (n_directions, 3)
        Cartesian, of length 1.

    Returns
    -------
    ndarray of shape (n_samples, n_directions, 3, 3)
        In GPa.
    """
    step, double = (
        _acoustic(model, parameters, directions, h) for h in (_STEP, 2 * _STEP)
    )
    return (4 * step - double) / 3  # no term of fourth order is left


def _brackets(model: "ForceConstantModel", parameters: ArrayLike) -> Array:
    """Return the brackets (n_samples, 3, 3, 3, 3) in GPa."""
    waves = sound_matrices(model, parameters, _DIRECTIONS)
    brackets = np.empty((len(waves), 3, 3, 3, 3))
    for number, (i, j) in enumerate(VOIGT):
        mixed = waves[:, number]
        if i != j:
            mixed = (mixed - waves[:, i] - waves[:, j]) / 2
        brackets[:, :, :, i, j] = brackets[:, :, :, j, i] = mixed
    return brackets


def _acoustic(
    model: "ForceConstantModel", parameters: ArrayLike, directions: Array, step: float
) -> Array:
    """Return density * omega^2 of rigid cells over step^2, (n_samples, n, 3, 3)."""
    matrices = model.dynamical_matrices(parameters, step * directions)
    masses = model.atomic_masses
    rigid = np.kron(np.sqrt(masses / masses.sum())[:, None], np.eye(3))
    rest = np.linalg.svd(rigid)[0][:, 3:]  # displacements within the cell
    acoustic = rigid.T @ matrices @ rigid
    if rest.size:
        coupling = rest.T @ matrices @ rigid
        yielding = np.linalg.pinv(rest.T @ matrices @ rest, _FREE, hermitian=True)
        acoustic = acoustic - np.conj(coupling.swapaxes(-1, -2)) @ yielding @ coupling
    volume = (2 * np.pi) ** 3 / abs(np.linalg.det(model.reciprocal_lattice()))
    density = masses.sum() / volume
    return acoustic.real * (_GPA * density / MEV2_PER_EIGENVALUE / step**2)
