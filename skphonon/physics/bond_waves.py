r"""Dynamical matrices of many wavevectors and parameter sets, by one matrix product.

A dynamical matrix is a sum over bonds b of waves :math:`e^{iQ \cdot b}`. Bonds that are
equal or opposite share one, so that few real functions of Q are needed,

.. math:: 1,\quad 2 \sin^2(Q \cdot b / 2) = 1 - \cos Q \cdot b,\quad \sin Q \cdot b,

times matrices that are linear in the parameters. Those of a centrosymmetric crystal are
taken to real form (:func:`~skphonon.physics.lattice_dynamics.real_form`) beforehand;
matrices of others are complex. The functions keep their digits near the zone centre.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.lattice_dynamics import real_form
from skphonon.physics.phonon_lines import PACKED

__all__ = ["BondWaves", "bond_waves"]

_SAME_VECTOR = 1e-5  # Angstrom
_FEW = 16  # parameters of a shell whose matrices are kept in the place of its elements


class _Group(NamedTuple):
    """Tensor elements, or parameters, that act on the bonds of one or more shells."""

    parameters: torch.Tensor  # (n_parameters,) numbers of those that enter
    coefficients: torch.Tensor | None  # (n_parameters, n_members); None is the unit
    waves: torch.Tensor  # (n_waves,) numbers of the functions that they multiply
    places: torch.Tensor | None  # (n_places,) elements of the matrices; None is all
    weights: torch.Tensor  # (n_members, n_waves, n_places), meV^2
    is_first: bool = True  # whether no group before has a parameter of this one


class BondWaves(NamedTuple):
    """Functions of the wavevector and the matrices that they multiply.

    Parameters
    ----------
    vectors : Tensor of shape (3, n_vectors)
        Bonds in Angstrom, one of each opposite pair.
    groups : list
        Matrices of the parameters.
    n_parameters, n_modes : int
        Sizes.
    has_sines : bool
        Whether any matrix needs a sine: not where every atom is a centre of inversion.
    is_complex : bool
        Whether the matrices are complex.
    """

    vectors: torch.Tensor
    groups: list[_Group]
    n_parameters: int
    n_modes: int
    has_sines: bool
    is_complex: bool

    def waves(self, q_vectors: torch.Tensor) -> torch.Tensor:
        """Return the functions at some wavevectors.

        Parameters
        ----------
        q_vectors : Tensor of shape (3, n_points)
            Cartesian, in 1/Angstrom.

        Returns
        -------
        Tensor of shape (n_points, n_waves)
            One, then those of the cosines, then any sines.
        """
        half = (q_vectors.mT @ self.vectors) / 2
        sine = half.sin()
        waves = [torch.ones_like(half[:, :1]), 2 * sine * sine]
        if self.has_sines:
            waves.append(2 * sine * half.cos())  # sin 2x = 2 sin x cos x
        return torch.cat(waves, dim=1)

    def weights(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the matrices that the functions of some parameter sets multiply.

        Parameters
        ----------
        rows : Tensor of shape (n_samples, n_parameters)
            Parameter sets.

        Returns
        -------
        Tensor of shape (n_waves, n_samples, n_elements)
            For :meth:`matrices`; the last two the other way round for 3 x 3 matrices.
        """
        n_waves = 1 + self.vectors.shape[1] * (2 if self.has_sines else 1)
        weights = rows.new_zeros(n_waves, len(rows), self._n_elements())
        for group in self.groups:
            chosen = rows[:, group.parameters]
            if group.coefficients is not None:
                chosen = chosen @ group.coefficients
            added = torch.einsum("sp,pwe->wse", chosen, group.weights)
            if group.places is None:
                weights.index_add_(0, group.waves, added)
            else:
                samples = torch.arange(len(rows), device=rows.device)
                index = group.waves[:, None, None], samples[:, None], group.places
                weights[index] += added
        return weights.mT.contiguous() if self._is_packed() else weights

    def matrices(self, waves: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return dynamical matrices.

        Parameters
        ----------
        waves : Tensor of shape (n_points, n_waves)
            As from :meth:`waves`.
        weights : Tensor
            As from :meth:`weights`.

        Returns
        -------
        Tensor of shape (n_points, n_samples, n_modes, n_modes)
            In meV^2; packed, (6, n_samples, n_points), for 3 x 3 matrices.
        """
        if self._is_packed():
            elements = weights.flatten(1).mT @ waves.mT
            return elements.unflatten(0, weights.shape[1:])
        return self._shaped(waves @ weights.flatten(1), weights.shape[1])

    def basis(self, waves: torch.Tensor) -> torch.Tensor:
        """Return the derivatives of the matrices with each parameter.

        Parameters
        ----------
        waves : Tensor of shape (n_points, n_waves)
            As from :meth:`waves`.

        Returns
        -------
        Tensor of shape (n_points, n_parameters, n_modes, n_modes)
            In meV^2 for each eV/Angstrom^2; packed, (n_parameters, 6, n_points), for
            3 x 3 matrices.
        """
        n_elements = self._n_elements()
        if self._is_packed():
            basis = waves.new_zeros(self.n_parameters, n_elements, len(waves))
            for group in self.groups:
                weights = group.weights  # parameter, wave, element
                if group.coefficients is not None:
                    weights = torch.tensordot(group.coefficients, weights, dims=1)
                matrices = weights.mT @ waves[:, group.waves].mT
                if group.is_first:
                    basis[group.parameters] = matrices
                else:
                    basis[group.parameters] += matrices
            return basis
        basis = waves.new_zeros(len(waves), self.n_parameters, n_elements)
        for group in self.groups:
            weights = group.weights.transpose(0, 1).flatten(1)
            matrices = waves[:, group.waves] @ weights
            matrices = matrices.unflatten(1, (len(group.weights), -1))
            index: tuple = (slice(None), group.parameters)
            if group.places is not None:
                index = slice(None), group.parameters[:, None], group.places
            if group.coefficients is not None:
                matrices = torch.einsum("pm,nme->npe", group.coefficients, matrices)
            if group.is_first:
                basis[index] = matrices
            else:
                basis[index] += matrices
        return self._shaped(basis.flatten(1), self.n_parameters)

    def _shaped(self, elements, number):
        shape = (len(elements), number, self.n_modes, self.n_modes)
        if self.is_complex:
            return torch.view_as_complex(elements.reshape(*shape, 2))
        return elements.reshape(shape)

    def _is_packed(self):
        return self.n_modes == 3

    def _n_elements(self):
        if self._is_packed():
            return len(PACKED)
        return self.n_modes**2 * (2 if self.is_complex else 1)


def bond_waves(model, device: torch.device, dtype: torch.dtype) -> BondWaves:
    """Prepare the waves of a force-constant model.

    Parameters
    ----------
    model : ForceConstantModel
        Its bonds and their tensors.
    device : torch.device
        Where tensors shall live.
    dtype : torch.dtype
        Their type, real.

    Returns
    -------
    BondWaves
        Without the dipole term of a polar crystal.
    """
    crystal, partners = model._crystal(), model.inversion_partners()
    vectors, numbers, signs = _up_to_sign(model.bonds)
    roots = np.sqrt(model.atomic_masses)
    groups, start = [], 0
    for shell, combinations in zip(crystal.shells, crystal.combinations, strict=True):
        own = slice(start, start + len(shell.bonds))
        start = own.stop
        if len(combinations.parameters):
            weights = _weights(shell, roots, partners, numbers[own], signs[own])
            groups.append(_group(weights, combinations, len(vectors)))
    groups = [_moved(group, device, dtype) for group in _in_turn(_together(groups))]
    return BondWaves(
        torch.as_tensor(vectors.T.copy()).to(device=device, dtype=dtype),
        groups,
        len(crystal.names),
        3 * model.n_atoms,
        has_sines=any(int(group.waves.max()) > len(vectors) for group in groups),
        is_complex=partners is None,
    )


def _together(groups):
    """Make one group of those with the same parameters in the same places."""
    alike: dict[tuple, list[_Group]] = {}
    for number, group in enumerate(groups):
        places = None if group.places is None else tuple(group.places.tolist())
        apart = None if group.coefficients is None else number
        key = tuple(group.parameters.tolist()), places, apart
        alike.setdefault(key, []).append(group)
    return [_sum(members) for members in alike.values()]


def _sum(groups):
    first = groups[0]
    if len(groups) == 1:
        return first
    waves = torch.cat([group.waves for group in groups])
    waves, numbers = torch.unique(waves, return_inverse=True)
    weights = torch.cat([group.weights for group in groups], dim=1)
    total = weights.new_zeros(len(weights), len(waves), weights.shape[2])
    return first._replace(waves=waves, weights=total.index_add_(1, numbers, weights))


def _in_turn(groups):
    """Mark groups whose parameters no group before has: they are added to nothing."""
    groups = sorted(groups, key=lambda group: group.coefficients is not None)
    seen: set[int] = set()
    marked = []
    for group in groups:
        numbers = group.parameters.tolist()
        marked.append(group._replace(is_first=seen.isdisjoint(numbers)))
        seen.update(numbers)
    return marked


def _moved(group, device, dtype):
    """Put a group where it is needed."""

    def moved(tensor):
        real = dtype if tensor.is_floating_point() else None
        return tensor.to(device=device, dtype=real)

    tensors = {
        name: value if value is None else moved(value)
        for name, value in group._asdict().items()
        if name != "is_first"
    }
    return group._replace(**tensors)


def _group(weights, combinations, n_vectors):
    """Leave out functions and elements of the matrices that a shell does not have."""
    (own, places, n_elements), values = weights
    parameters, coefficients = combinations
    if np.array_equal(coefficients, np.eye(len(coefficients))):
        coefficients = None
    elif len(parameters) <= max(len(values), _FEW):
        values, coefficients = np.tensordot(coefficients, values, axes=1), None
    waves = np.concatenate([[0], 1 + own, 1 + n_vectors + own])
    used = np.abs(values).max(axis=(0, 2)) > 0
    filled = np.abs(values).max(axis=(0, 1)) > 0
    whole = n_elements == len(PACKED) or 2 * filled.sum() > n_elements
    if whole:
        spread = np.zeros((*values.shape[:2], n_elements))
        spread[:, :, places] = values
        values = spread
    else:
        values = values[:, :, filled]
    return _Group(
        torch.as_tensor(parameters),
        None if coefficients is None else torch.as_tensor(coefficients),
        torch.as_tensor(waves[used]),
        None if whole else torch.as_tensor(places[filled]),
        torch.as_tensor(values[:, used]),
    )


def _elements(weights, partners, packed):
    """Put complex matrices in the form to be diagonalised, elements last."""
    if packed:
        return weights.real.reshape(*weights.shape[:2], 9)[..., PACKED]
    if partners is not None:
        return real_form(weights, partners).reshape(*weights.shape[:2], -1)
    parts = np.stack([weights.real, weights.imag], axis=-1)
    return parts.reshape(*weights.shape[:2], -1)


def _up_to_sign(bonds: NDArray[np.float64]):
    """Find distinct vectors up to sign, and number and sign of each bond's."""
    rounded = np.round(bonds / _SAME_VECTOR).astype(np.int64)
    leading = np.take_along_axis(rounded, (rounded != 0).argmax(axis=1)[:, None], 1)
    signs = np.where(leading[:, 0] < 0, -1, 1)
    near = _merged(bonds * signs[:, None])
    _, first, numbers = np.unique(near, return_index=True, return_inverse=True)
    return (bonds * signs[:, None])[first], numbers.reshape(-1), signs


def _merged(vectors):
    """Return the number of the first vector that each is equal to, deaf to rounding."""
    from scipy.spatial import cKDTree

    tree = cKDTree(vectors)
    return np.array(
        [min(near) for near in tree.query_ball_point(vectors, _SAME_VECTOR * 2)]
    )


def _weights(shell, roots, partners, numbers, signs):
    """Return the matrices of the functions that a shell needs, (n, n_waves, n_places).

    With them, first, the numbers of its vectors and of the elements of the matrices
    that may differ from zero, and the number of all elements.
    """
    own, places = np.unique(numbers, return_inverse=True)
    reached = np.unique(shell.atoms)  # matrices of these atoms, and of their partners
    if partners is not None:
        reached = np.union1d(reached, partners[reached])
        partners = np.searchsorted(reached, partners[reached])
    atoms = np.searchsorted(reached, shell.atoms)
    n_members, n_atoms, n_own = len(shell.tensors), len(reached), len(own)
    shape = (n_members, 1 + 2 * n_own, n_atoms, 3, n_atoms, 3)
    weights = np.zeros(shape, dtype=complex)
    scaled, roots, n_all = (
        MEV2_PER_EIGENVALUE * shell.tensors,
        roots[reached],
        len(roots),
    )
    for bond, (i, j) in enumerate(atoms):
        wave, sign = places.reshape(-1)[bond], signs[bond]
        between = scaled[:, bond] / (roots[i] * roots[j])
        weights[:, 0, i, :, i] += scaled[:, bond] / roots[i] ** 2
        weights[:, 0, i, :, j] -= between
        weights[:, 1 + wave, i, :, j] += between
        weights[:, 1 + n_own + wave, i, :, j] -= 1j * sign * between
    size = 3 * n_atoms
    weights = weights.reshape(n_members, -1, size, size)
    values = _elements(weights, partners, packed=n_all == 1)
    rows = (3 * reached[:, None] + np.arange(3)).reshape(-1)
    elements = (3 * n_all * rows[:, None] + rows).reshape(-1)
    n_elements = (3 * n_all) ** 2
    if n_all == 1:
        elements, n_elements = np.arange(len(PACKED)), len(PACKED)
    elif partners is None:
        elements = (2 * elements[:, None] + [0, 1]).reshape(-1)
        n_elements *= 2
    return (own, elements, n_elements), values
