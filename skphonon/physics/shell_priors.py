r"""Knowledge of force constants from one model of the crystal.

One calculation, or one set of published constants, says what the constants are but not
how sure that is. :class:`ShellPrior` takes two facts for it. Interactions fall with
distance, so that what a model leaves out is small where it is far. And energies are
known better than single constants: an error of one constant often cancels against that
of another.

The width of a shell is that of the tensor K of its bonds, as its root mean square over
three directions, :math:`\sqrt{\mathrm{tr}(K^T K) / 3}`: the spring constant of a
tensor that is the same in all directions. It does not depend on axes, nor on which
elements of a tensor are parameters.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from skphonon._validation import reference_row
from skphonon._versioned import Immutable, frozen, immutable
from skphonon.physics.priors import draw
from skphonon.physics.zone.mesh import as_mesh, resolving_points

if TYPE_CHECKING:
    from skphonon.physics._crystal import Crystal
    from skphonon.physics.force_constants import ForceConstantModel
    from skphonon.physics.symmetry import Shell

__all__ = ["ShellPrior"]

Array = NDArray[np.float64]

_SOFT = 0.1  # of the highest energy: lower ones count as this
_ALIKE = 1e-6  # of the largest squared energy: modes of one energy


@immutable
class ShellPrior(Immutable):
    r"""Describe how far the force constants of a crystal may be from those of a model.

    The distribution is normal. Its mean is the reference of the model, its covariance

    .. math:: C = c^2\, p\, p^T + D

    holds a factor common to all constants p, since models are often too soft or too
    stiff as a whole, and independent deviations D of the shells. The tensor of the
    bonds of shell s deviates by

    .. math::
        \langle \mathrm{tr}(\delta K_s^T\, \delta K_s) \rangle / 3 = (w\, k_s)^2,
        \qquad k_s = \max(|K_s|,\ k_1 \min(1, d_s / d_1)^{-n})

    where :math:`|K_s|` is the size of its own tensor, :math:`d_s` its distance, and
    :math:`k_1, d_1` are those of the strongest shell. The tensors that symmetry allows
    share it equally. So shells that a model does not have, or has as zeros, get widths
    that fall with distance: use ``model.extended(n_shells)``.

    It is a `prior` of :class:`~skphonon.inversion.LeastSquaresInverter`. Use
    :class:`ForceConstantPrior` where there are several calculations.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal, with `reference`.
    independent : float, default=0.25
        Standard deviation w of the tensor of a shell, in units of :math:`k_s`.
    common : float, default=0.2
        Standard deviation c of the common factor.
    decay : float, default=2.5
        Power n with which interactions fall with distance.
    noncentral : float, default=1.0
        Factor of the widths of what is not axially symmetric in a tensor. Forces along
        a bond and across it make a tensor of two springs, longitudinal and transverse;
        a value below 1 says that tensors are near this form, as in simple metals.
    energies : float, default=None
        Standard deviation of phonon energies in units of the energies, root mean square
        over zone and modes, 0.05 where they are known to 5 %. Deviations of the
        constants are then correlated such that energies deviate by no more: the
        covariance becomes :math:`(C^{-1} + \lambda M)^{-1}`, in which
        :math:`\delta p^T M\, \delta p` is the mean square of the relative changes of
        energies. Of all distributions with that deviation, it is the closest to that of
        C (least relative entropy). Energies below a tenth of the highest count as a
        tenth. None, or a value larger than what C gives: C stays as it is.
    mesh : int, tuple of three int or ZoneMesh, default=4
        Points along each reciprocal axis at which `energies` holds.

    Attributes
    ----------
    parameter_names : list of str
        Names of the parameters, in order.
    mean_ : ndarray of shape (n_parameters,)
        Mean of the distribution in eV/Angstrom^2.
    covariance_ : ndarray of shape (n_parameters, n_parameters)
        Its covariance in eV^2/Angstrom^4.

    See Also
    --------
    ForceConstantModel.extended : More shells for a model.

    Examples
    --------
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.physics import ShellPrior
    >>> model = load_aluminium_model().extended(3)
    >>> prior = ShellPrior(model)
    >>> std = prior.covariance_.diagonal() ** 0.5
    >>> dict(zip(model.parameter_names, std.round(2).tolist()))
    {}
    >>> prior.energy_deviations([[0.5, 0.5, 0.0]]).round(1)  # meV, X point
    array([])
    """

    model: "ForceConstantModel"
    _: KW_ONLY
    independent: float = 0.25
    common: float = 0.2
    decay: float = 2.5
    noncentral: float = 1.0
    energies: float | None = None
    mesh: Any = 4

    def _settle(self) -> None:
        if self.model.reference is None or not np.any(self.model.reference):
            raise ValueError(
                "model must have a reference that is not zero: it is the mean of the "
                "distribution. Give one by model.replace(reference=...)."
            )
        for name, least in (("common", ">= 0"), ("decay", ">= 0"), ("independent", "")):
            value = getattr(self, name)
            if not (0 <= value < np.inf) or (not least and value == 0):
                raise ValueError(f"{name} must be {least or '> 0'}, got {value!r}.")
        if not 0 < self.noncentral <= 1:
            raise ValueError(
                f"noncentral must be above 0 and at most 1, got {self.noncentral!r}. "
                "For springs alone take model.reduced('springs')."
            )
        if self.energies is not None and not self.energies > 0:
            raise ValueError(
                f"energies must be a positive share, 0.05 for 5 %, got "
                f"{self.energies!r}."
            )
        as_mesh(self.mesh)  # says what it must be

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters, in order."""
        return self.model.parameter_names

    @cached_property
    def mean_(self) -> Array:
        """Mean of the distribution, shape (n_parameters,)."""
        return frozen(np.array(reference_row(self.model)))

    @cached_property
    def covariance_(self) -> Array:
        """Covariance of the distribution, shape (n_parameters, n_parameters)."""
        covariance = _inverse(self._precision())
        covariance += self.common**2 * np.outer(self.mean_, self.mean_)
        if self.energies is not None:
            changes = _mean_square_changes(self.model, self.mesh)
            covariance = _held(covariance, changes, self.energies**2)
        return frozen(covariance)

    def sample(
        self,
        n_samples: int,
        *,
        widen: float = 1.0,
        stable: bool = True,
        random_state: Any = None,
    ) -> Array:
        """Draw parameter sets.

        Parameters
        ----------
        n_samples : int
            Number of sets.
        widen : float, default=1.0
            Factor of all standard deviations.
        stable : bool, default=True
            Whether to keep only sets that describe a stable crystal.
        random_state : int, RandomState instance or None, default=None
            Seed; the first sets of a larger sample are those of a smaller one.

        Returns
        -------
        ndarray of shape (n_samples, n_parameters)
            In eV/Angstrom^2.

        Raises
        ------
        ValueError
            If hardly any set is stable, or `widen` is negative.
        """
        return draw(self, self.model, n_samples, widen, stable, random_state)

    def energy_deviations(self, qpoints: ArrayLike) -> Array:
        """Return how uncertain phonon energies are, to first order in the constants.

        Parameters
        ----------
        qpoints : array-like of shape (n_points, 3)
            Wavevectors in units of the reciprocal lattice. At the zone centre, acoustic
            modes have no deviation.

        Returns
        -------
        ndarray of shape (n_points, 3 * n_atoms)
            Standard deviations in meV, in the order of `frequencies`. Modes of one
            energy share theirs, as a root mean square. Below a tenth of the highest
            energy they are bounds from below.
        """
        wavevectors = np.asarray(qpoints, dtype=float) @ self.model.reciprocal_lattice()
        found = list(_responses(self.model, wavevectors))
        softest = _SOFT**2 * max(squares.max() for squares, _ in found)
        deviations = []
        for squares, changes in found:
            spread = np.tensordot(self.covariance_, changes, axes=1)
            variances = np.einsum("pij,pij->i", spread, changes.conj()).real
            size = 4 * np.maximum(squares, softest)
            deviations.append(np.sqrt(np.maximum(variances, 0) / size))
        return np.array(deviations)

    def _precision(self) -> Array:
        """Inverse of the covariance of what is independent."""
        crystal = self.model._crystal
        widths = self.independent * shell_sizes(crystal, self.mean_, self.decay)
        precision = np.zeros((len(self.mean_),) * 2)
        for shell, own, width in zip(
            crystal.shells, crystal.combinations, widths, strict=True
        ):
            products = _products(shell, self.noncentral)
            products = own.coefficients @ products @ own.coefficients.T
            n_free = np.linalg.matrix_rank(own.coefficients)
            precision[np.ix_(own.parameters, own.parameters)] += (
                n_free / 3 * products / width**2
            )
        return precision


def shell_sizes(crystal: "Crystal", parameters: Array, decay: float) -> Array:
    """Return the size that each shell is taken to have, in eV/Angstrom^2."""
    elements, start = crystal.rule @ parameters, 0
    own, lengths = np.empty((2, len(crystal.shells)))
    for number, shell in enumerate(crystal.shells):
        stop = start + len(shell.elements)
        tensor = np.tensordot(elements[start:stop], shell.tensors[:, 0], axes=1)
        own[number] = np.linalg.norm(tensor) / 3**0.5
        lengths[number] = np.linalg.norm(shell.bonds[0])
        start = stop
    strongest = own.argmax()
    farther = np.maximum(lengths / lengths[strongest], 1.0)
    return np.maximum(own, own[strongest] * farther**-decay)


def _products(shell: "Shell", noncentral: float) -> Array:
    """Products of the tensors of the elements of a shell, (n_elements, n_elements).

    Parts that are not axially symmetric about the bond count more if `noncentral` is
    less than 1.
    """
    bond, tensors = shell.bonds[0], shell.tensors[:, 0]  # others are images of it
    along = np.outer(bond, bond) / (bond @ bond)
    across = (np.eye(3) - along) / 2**0.5
    axial = sum(
        np.multiply.outer(np.tensordot(tensors, unit), unit) for unit in (along, across)
    )
    parts = axial + (tensors - axial) / noncentral
    return np.einsum("pij,qij->pq", parts, parts)


def _inverse(precision: Array) -> Array:
    """Inverse of a positive definite matrix of constants of any size."""
    sizes = np.sqrt(precision.diagonal())
    return np.linalg.inv(precision / np.outer(sizes, sizes)) / np.outer(sizes, sizes)


def _responses(
    model: "ForceConstantModel", wavevectors: Array
) -> Iterator[tuple[Array, NDArray]]:
    """Yield squared energies of a point, and their changes with the parameters.

    Changes are matrices between modes of one energy, whose eigenvalues are the changes:
    (n_parameters, n_modes, n_modes). Sums of squares do not depend on the choice of
    the modes then.
    """
    matrices = model.dynamical_matrices(reference_row(model)[None], wavevectors)[0]
    for wavevector, matrix in zip(wavevectors, matrices, strict=True):
        squares, modes = np.linalg.eigh(matrix)
        basis = model.dynamical_matrix_basis(wavevector[None])[:, 0]
        changes = modes.conj().T @ basis @ modes
        apart = np.abs(squares[:, None] - squares)
        changes[:, apart > _ALIKE * np.abs(squares).max()] = 0.0
        yield squares, changes


def _mean_square_changes(model: "ForceConstantModel", mesh: Any) -> Array:
    """Mean square of relative changes of energies, a quadratic form in constants."""
    wavevectors, shares = resolving_points(model, as_mesh(mesh))
    found = list(_responses(model, wavevectors))
    softest = _SOFT**2 * max(squares.max() for squares, _ in found)
    total: Any = 0.0
    for (squares, changes), share in zip(found, shares, strict=True):
        relative = changes / (2 * np.maximum(squares, softest))[:, None]
        rows = relative.reshape(len(relative), -1)
        rows = rows[:, rows.any(axis=0)]
        total = total + share / len(squares) * (rows @ rows.conj().T).real
    return total


def _held(covariance: Array, form: Array, largest: float) -> Array:
    """Return the closest covariance with which a quadratic form has a mean."""
    root = np.linalg.cholesky(covariance)
    sizes, axes = np.linalg.eigh(root.T @ form @ root)
    sizes = np.maximum(sizes, 0.0)
    if sizes.sum() <= largest:
        return covariance

    def excess(factor: float) -> float:
        return float((sizes / (1 + factor * sizes)).sum() - largest)

    factor = brentq(excess, 0.0, len(sizes) / largest)
    root = root @ axes / np.sqrt(1 + factor * sizes)
    return root @ root.T
