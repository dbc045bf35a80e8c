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

from skphonon._validation import is_number, reference_row, wavevector_rows
from skphonon._versioned import Immutable, frozen, immutable
from skphonon.physics.priors import draw
from skphonon.physics.zone.mesh import as_mesh, resolving_points

if TYPE_CHECKING:
    from skphonon.physics._crystal import Crystal
    from skphonon.physics.force_constants import ForceConstantModel
    from skphonon.physics.symmetry import Shell

__all__ = ["ShellPrior"]

Array = NDArray[np.float64]

_SOFT = 0.02  # of the highest energy: lower ones count as this
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
        \qquad k_s = \max(|K_s|,\ k_1 \min(1, (d_1 / d_s)^n))

    where :math:`|K_s|` is the size of its own tensor, :math:`d_s` its distance, and
    :math:`k_1, d_1` are those of the strongest shell. The tensors that symmetry allows
    share it equally. So shells of zeros, as ``model.extended(n_shells)`` adds them, get
    widths that fall with distance.

    It is a `prior` of :class:`~skphonon.inversion.LeastSquaresInverter`.

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
        Standard deviation of phonon energies by the independent part, relative, as the
        root mean square over zone and modes: 0.05 where they are known to 5 %, but for
        the common factor, which adds c / 2. See Notes. None leaves D as it is, and so
        does a value that D does not reach.
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
    ForceConstantPrior : Makes one of several calculations.

    Notes
    -----
    The defaults of `independent` and `decay` were chosen by 36 sets of published
    constants of elements and 6 calculations of crystals. Of the constants beyond 1.2
    times the distance of the strongest shell, 77 % lie within one standard deviation of
    zero and 92 % within two, each crystal with the same weight: 88 and 96 % in fcc
    metals, 79 and 95 % in bcc ones, 52 and 79 % in hexagonal ones, 70 and 100 % in
    silicon. Constants of ionic crystals fall more slowly: 58 and 65 % in NaCl, 49 and
    75 % in quartz. Twice the default of `independent` suits them and hexagonal metals
    better: 65 and 85 % in NaCl, 75 and 94 % in quartz, 79 and 95 % in the metals. With
    ``decay=3`` it takes ``independent=0.35`` for the same shares of all.

    Where constants are only that uncertain, energies may be more so than they are
    known to be, and many sets describe no stable crystal: soft modes are small
    differences of large constants. `energies` takes
    :math:`(D^{-1} + \lambda F)^{-1}` for D, with :math:`\lambda` such that energies
    deviate as much as it says, to first order. The quadratic form F is the mean square
    of the relative changes of the dynamical matrices between modes i, j with the
    energies E:

    .. math::
        \delta p^T F\, \delta p = \Big\langle \frac1{n} \sum_{ij}
        \Big|\frac{e_i^\dagger\,\delta D(q)\,e_j}{2 E_i E_j}\Big|^2 \Big\rangle_q

    Terms of one energy alone are the relative changes of energies, the others those of
    eigenvectors. Energies below 2 % of the highest count as 2 %.

    Examples
    --------
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.physics import ShellPrior
    >>> model = load_aluminium_model().extended(3)
    >>> prior = ShellPrior(model)
    >>> std = prior.covariance_.diagonal() ** 0.5
    >>> std.round(2)  # of 1XX, 1ZZ, 1XY, 2XX, 2YY, 3XX, 3YY, 3XY, 3YZ
    array([0.19, 0.2 , 0.19, 0.1 , 0.07, 0.04, 0.03, 0.02, 0.03])
    >>> prior.energy_deviations([[0.5, 0.5, 0.0]]).round(1)  # meV, X point
    array([[7.4, 7.4, 6.1]])
    >>> prior = prior.replace(energies=0.05, common=0.0)
    >>> prior.energy_deviations([[0.5, 0.5, 0.0]]).round(1)
    array([[1.8, 1.8, 2.3]])
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
        if not hasattr(self.model, "reference"):
            raise TypeError(
                "model must be a ForceConstantModel with a reference, got "
                f"{type(self.model).__name__}."
            )
        if self.model.reference is None or not np.any(self.model.reference):
            raise ValueError(
                "model must have a reference that is not zero: it is the mean of the "
                "distribution. Give one by model.replace(reference=...)."
            )
        for name, least in (("common", ">= 0"), ("decay", ">= 0"), ("independent", "")):
            value = getattr(self, name)
            good = is_number(value) and 0 <= value < np.inf
            if not good or (not least and value == 0):
                raise ValueError(
                    f"{name} must be {least or '> 0'}, a finite number; got {value!r}."
                )
        if not (is_number(self.noncentral) and 0 < self.noncentral <= 1):
            raise ValueError(
                f"noncentral must be above 0 and at most 1, got {self.noncentral!r}. "
                "For springs alone take model.reduced('springs')."
            )
        share = self.energies
        if share is not None and not (is_number(share) and 0 < share < np.inf):
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
        if self.energies is not None:
            changes = _mean_square_changes(self.model, self.mesh)
            covariance = _held(covariance, changes, self.energies**2)
        covariance = covariance + self.common**2 * np.outer(self.mean_, self.mean_)
        return frozen((covariance + covariance.T) / 2)

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
        qpoints : array-like of shape (n_points, 3) or (3,)
            Wavevectors in units of the reciprocal lattice; one counts as a table of
            one. At the zone centre, acoustic modes have no deviation.

        Returns
        -------
        ndarray of shape (n_points, 3 * n_atoms)
            Standard deviations in meV, in the order of `frequencies`. Modes of one
            energy share theirs, as a root mean square. They are too small below
            2 % of the highest energy.

        Raises
        ------
        ValueError
            If the model is quite unstable at its reference.
        """
        points = wavevector_rows(np.atleast_2d(np.asarray(qpoints, dtype=float)))
        wavevectors = points @ self.model.reciprocal_lattice()
        found = list(_responses(self.model, wavevectors))
        softest = _SOFT**2 * _highest_square(found)
        deviations = []
        for squares, changes, alike in found:
            rows = changes * alike
            spread = np.tensordot(self.covariance_, rows, axes=1)
            variances = np.einsum("pij,pij->i", spread, rows.conj()).real
            sizes = 4 * np.maximum(squares, softest)
            deviations.append(np.sqrt(np.maximum(variances, 0) / sizes))
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
) -> Iterator[tuple[Array, NDArray, NDArray[np.bool_]]]:
    """Yield squared energies, changes with the parameters, and which are of energies.

    Changes are those of the dynamical matrix of a point between its modes,
    (n_parameters, n_modes, n_modes). Between modes of one energy, to which the last
    array is true, their eigenvalues are the changes of squared energies.
    """
    matrices = model.dynamical_matrices(reference_row(model)[None], wavevectors)[0]
    for wavevector, matrix in zip(wavevectors, matrices, strict=True):
        squares, modes = np.linalg.eigh(matrix)
        basis = model.dynamical_matrix_basis(wavevector[None])[:, 0]
        apart = np.abs(squares[:, None] - squares)
        alike = apart < _ALIKE * np.abs(squares).max()
        yield squares, modes.conj().T @ basis @ modes, alike


def _highest_square(found: list[tuple[Array, NDArray, NDArray[np.bool_]]]) -> float:
    """Return the highest squared energy, or say that there is none.

    Single modes may be imaginary: they count as soft ones.
    """
    highest = max(float(squares.max()) for squares, *_ in found)
    lowest = min(float(squares.min()) for squares, *_ in found)
    if -lowest > highest:
        raise ValueError(
            "The model must be stable at its reference, of which phonon energies "
            f"deviate; got a mode of {abs(lowest) ** 0.5:.3g}i meV, and none of an "
            "energy that high. Give another reference, or leave energies=None."
        )
    return highest


def _mean_square_changes(model: "ForceConstantModel", mesh: Any) -> tuple[Array, Array]:
    """Mean squares of relative changes of energies, and of them and of modes.

    Quadratic forms in the constants. With energies E of the modes, changes of the
    dynamical matrix between them are divided by 2 E E'.
    """
    wavevectors, shares = resolving_points(model, as_mesh(mesh))
    found = list(_responses(model, wavevectors))
    softest = _SOFT * _highest_square(found) ** 0.5
    forms: Any = [0.0, 0.0]
    for (squares, changes, alike), share in zip(found, shares, strict=True):
        sizes = np.maximum(np.sqrt(np.maximum(squares, 0.0)), softest)
        changes = changes / (2 * np.outer(sizes, sizes))
        for number, chosen in enumerate((alike, np.ones_like(alike))):
            rows = changes[:, chosen]
            products = (rows @ rows.conj().T).real
            forms[number] = forms[number] + share / len(squares) * products
    return forms[0], forms[1]


def _held(covariance: Array, forms: tuple[Array, Array], largest: float) -> Array:
    """Return a covariance that one form narrows until the other has a given mean."""
    root = np.linalg.cholesky(covariance)
    measured, narrowing = (root.T @ form @ root for form in forms)
    sizes, axes = np.linalg.eigh(narrowing)
    sizes = np.maximum(sizes, 0.0)
    means = np.einsum("ki,kl,li->i", axes, measured, axes)
    if means.sum() <= largest:
        return covariance

    def excess(factor: float) -> float:
        return float((means / (1 + factor * sizes)).sum() - largest)

    factor = brentq(excess, 0.0, len(sizes) / largest)  # no mean exceeds its size
    root = root @ axes / np.sqrt(1 + factor * sizes)
    return root @ root.T
