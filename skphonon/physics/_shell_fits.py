"""Least-squares fit of the parameters of a model to force constants.

Only shells whose bonds fold onto the same atoms of a supercell share values; together
they form a group that is fitted on its own, so that the cost grows with the number of
bonds. The sum rule ties the groups by a few conditions, which are met at the end: of
all sets of elements that meet them, the one closest to the values is taken.
"""

from typing import NamedTuple

import numpy as np

_UNDETERMINED = 1e-9  # of the largest eigenvalue of the least-squares problem


class _Modes(NamedTuple):
    """Combinations of the elements of a group, orthonormal in K of all its bonds."""

    elements: np.ndarray  # (n_elements,), numbers among those of all shells
    vectors: np.ndarray  # (n_elements, n_modes)
    sizes: np.ndarray  # (n_modes,), squared change of the values with each
    projections: np.ndarray  # (n_samples, n_modes), of the values


def fit_constants(crystal, slots, *, on_site=True):
    """Return the elements closest to given constants, and how many those determine.

    What they do not determine gets the smallest force constants of all bonds: images
    of one atom share its value equally.

    Parameters
    ----------
    crystal : Crystal
        Its shells and the sum rule.
    slots : Slots
        The constants.
    on_site : bool, default=True
        Whether the on-site terms that follow must be symmetric.

    Returns
    -------
    elements : ndarray of shape (n_samples, n_elements)
        Elements of all shells in eV/Angstrom^2.
    rank : int
        Number of combinations of elements that the constants determine.
    """
    groups = _groups(crystal, slots)
    threshold = _UNDETERMINED * max(group.sizes.max() for group in groups)
    n_elements = crystal.conditions.shape[1]
    elements = np.zeros((len(slots.given), n_elements))
    determined = []
    for group in groups:
        known = group.sizes > threshold
        amplitudes = group.projections[:, known] / group.sizes[known]
        elements[:, group.elements] = amplitudes @ group.vectors[:, known].T
        determined.append(known)
    rank = sum(int(known.sum()) for known in determined)
    if on_site and len(crystal.conditions):
        change, n_met = _met(crystal.conditions, groups, determined, elements)
        elements += change
        rank -= len(crystal.conditions) - n_met
    return elements, rank


def least_squares(squares, folded, targets):
    """Return parameters that reproduce targets best, and how many those determine.

    What they do not determine gets the smallest force constants of all bonds: images
    of one atom share its value equally.

    Parameters
    ----------
    squares : ndarray of shape (n_parameters, n_parameters)
        Sum of the squared constants of all bonds, as a form of the parameters.
    folded : ndarray of shape (n_parameters, n_values)
        Change of the values with each parameter.
    targets : ndarray of shape (n_samples, n_values)
        The values.
    """
    modes = _modes(np.arange(len(squares)), squares, folded, targets)
    determined = modes.sizes > _UNDETERMINED * modes.sizes[-1]
    amplitudes = modes.projections[:, determined] / modes.sizes[determined]
    return amplitudes @ modes.vectors[:, determined].T, int(determined.sum())


def squared_bonds(crystal):
    """Return the sum of the squared constants of all bonds as a form of parameters."""
    squares = np.zeros((len(crystal.names),) * 2)
    for shell, (parameters, coefficients) in zip(
        crystal.shells, crystal.combinations, strict=True
    ):
        flat = coefficients @ shell.tensors.reshape(len(shell.tensors), -1)
        squares[np.ix_(parameters, parameters)] += flat @ flat.T
    return squares


def spread(crystal, elements):
    """Return K of every bond, (n_samples, n_bonds, 3, 3), of elements of all shells."""
    tensors, start = [], 0
    for shell in crystal.shells:
        stop = start + len(shell.elements)
        tensors.append(np.tensordot(elements[:, start:stop], shell.tensors, axes=1))
        start = stop
    return np.concatenate(tensors, axis=1)


def fold(crystal, elements, slots):
    """Return the constants of elements of all shells, where given ones have theirs."""
    constants = np.zeros((len(elements), *slots.given.shape[1:]))
    pairs = spread(crystal, elements)
    first = np.concatenate([shell.atoms[:, 0] for shell in crystal.shells])
    np.subtract.at(constants, (slice(None), slots.of_bonds), pairs)
    np.add.at(constants, (slice(None), slots.of_atoms[first]), pairs)
    return constants


def _groups(crystal, slots):
    """Modes of all groups of shells that share values."""
    starts = np.cumsum([0, *(len(shell.elements) for shell in crystal.shells)])
    of_shells = np.split(
        slots.of_bonds, np.cumsum([len(shell.bonds) for shell in crystal.shells])[:-1]
    )
    on_site = set(slots.of_atoms.tolist())
    groups = []
    for members in _sharing(of_shells, slots.given.shape[1]):
        elements = np.concatenate(
            [np.arange(starts[n], starts[n + 1]) for n in members]
        )
        shells = [crystal.shells[n] for n in members]
        used = np.unique(np.concatenate([of_shells[n] for n in members]))
        reached = np.array([slot not in on_site for slot in used.tolist()])
        folded = np.zeros((len(elements), len(used), 3, 3))
        squares, start = np.zeros((len(elements),) * 2), 0
        for number, shell in zip(members, shells, strict=True):
            own = slice(start, start + len(shell.elements))
            places = np.searchsorted(used, of_shells[number])
            np.add.at(folded[own], (slice(None), places), shell.tensors)
            flat = shell.tensors.reshape(len(shell.elements), -1)
            squares[own, own] = flat @ flat.T
            start = own.stop
        folded = folded[:, reached].reshape(len(elements), -1)
        targets = -slots.given[:, used[reached]].reshape(len(slots.given), -1)
        groups.append(_modes(elements, squares, folded, targets))
    return groups


def _sharing(of_shells, n_slots):
    """Numbers of the shells of each group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    shells = np.repeat(np.arange(len(of_shells)), [len(own) for own in of_shells])
    slots = len(of_shells) + np.concatenate(of_shells)
    size = len(of_shells) + n_slots
    links = coo_array((np.ones(len(slots)), (shells, slots)), shape=(size, size))
    labels = connected_components(links, directed=False)[1][: len(of_shells)]
    order = np.argsort(labels, kind="stable")
    _, counts = np.unique(labels, return_counts=True)
    return np.split(order, np.cumsum(counts)[:-1])


def _modes(elements, squares, folded, targets):
    root = np.linalg.cholesky(squares)
    folded = np.linalg.solve(root, folded)  # of elements of equal weight
    sizes, modes = np.linalg.eigh(folded @ folded.T)
    vectors = np.linalg.solve(root.T, modes)
    return _Modes(elements, vectors, sizes, targets @ folded.T @ modes)


def _met(conditions, groups, determined, elements):
    """Change of the elements that meets conditions, and how many modes those determine.

    Modes that the values leave free give way first, others by their weights.
    """
    free, stiff, sizes = [], [], []
    for group, known in zip(groups, determined, strict=True):
        turned = conditions[:, group.elements] @ group.vectors
        free.append(turned[:, ~known])
        stiff.append(turned[:, known])
        sizes.append(group.sizes[known])
    free, stiff = np.concatenate(free, axis=1), np.concatenate(stiff, axis=1)
    yielding = stiff / np.concatenate(sizes)
    broken = elements @ conditions.T  # (n_samples, n_conditions)
    rank, inverse = 0, np.zeros((free.shape[1], len(conditions)))
    rest = np.eye(len(conditions))
    if free.size:
        left, lengths, right = np.linalg.svd(free, full_matrices=False)
        rank = int((lengths > _UNDETERMINED * max(1.0, lengths[0])).sum())
        inverse = (right[:rank].T / lengths[:rank]) @ left[:, :rank].T
        rest = rest - left[:, :rank] @ left[:, :rank].T
    compliance = rest @ stiff @ yielding.T @ rest
    forces = broken @ rest @ np.linalg.pinv(compliance, _UNDETERMINED, hermitian=True)
    change_stiff = -forces @ rest @ yielding
    change_free = -(broken + change_stiff @ stiff.T) @ inverse.T
    return _spread(groups, determined, change_stiff, change_free, elements), rank


def _spread(groups, determined, change_stiff, change_free, elements):
    """Change of the elements with changes of the amplitudes of all modes."""
    change = np.zeros_like(elements)
    stiff = free = 0
    for group, known in zip(groups, determined, strict=True):
        amplitudes = np.empty((len(elements), len(known)))
        n_known = int(known.sum())
        amplitudes[:, known] = change_stiff[:, stiff : stiff + n_known]
        n_free = len(known) - n_known
        amplitudes[:, ~known] = change_free[:, free : free + n_free]
        change[:, group.elements] = amplitudes @ group.vectors.T
        stiff, free = stiff + n_known, free + n_free
    return change
