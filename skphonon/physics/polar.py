r"""The long-range part of the dynamical matrix of polar crystals.

Displaced ions with Born effective charges are dipoles, whose interaction falls off as
:math:`1/R^3`: force constants stored on a supercell cannot hold it, and at the zone
centre it depends on the direction of q (the LO-TO splitting). Gonze and Lee (Phys. Rev.
B 55, 10355 (1997), doi:10.1103/PhysRevB.55.10355) take the interaction of the dipoles
out of the force constants and give it back at any q as a sum over the reciprocal
lattice,

.. math:: D_{i\alpha,j\beta}(q) = \frac{4\pi e^2}{V \sqrt{m_i m_j}}
          \sum_{K = q + G \neq 0} e^{iG \cdot (r_i - r_j)}\,
          \frac{(K \cdot Z_i)_\alpha\,(K \cdot Z_j)_\beta}{K \cdot \epsilon K}\,
          \exp\left(-\frac{K \cdot \epsilon K}{4\Lambda^2}\right) .

The Gaussian leaves out what is short-ranged, which the force constants hold well. Its
width is that of phonopy: a damping of 1e-10 on the sphere that holds 300 reciprocal
lattice points. Terms on the atom itself (the sum rule) are interpolated exactly and
drop out here.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants as si

from skphonon.physics.constants import MEV2_PER_EIGENVALUE
from skphonon.physics.lattice import (
    cosets,
    farthest,
    nearest_image,
    points_within,
    reducing,
    shortest_images,
)

__all__ = ["non_analytic_term", "polar_term"]

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

#: e^2 / (4 pi epsilon_0) in eV Angstrom (14.3996).
_COULOMB = si.e / (4e-10 * np.pi * si.epsilon_0)

_N_DAMPED = 300  # reciprocal lattice points inside the sphere that sets the damping
_DAMPING = np.log(1e10)  # of the Gaussian on that sphere
_NEGLIGIBLE = np.log(1e8)  # damping beyond which a term is left out: 1e-9 of the sum
_AT_CENTRE = 1e-5  # 1/Angstrom: nearer to a reciprocal lattice point is on it
_CHARGE_SUM = 1e-2  # e: what rounding of published charges leaves
_BLOCK = 2**18  # numbers in the largest array of a block of points: fits in a cache
_PAIRS = 2**11  # of atoms at a time, which keeps the sums below 0.2 GB
_ROWS, _COLUMNS = np.triu_indices(3)  # of the six elements of a symmetric tensor


class _Dipoles(NamedTuple):
    """The lattice sum, in coordinates in which the dielectric tensor is the unit."""

    pairs: tuple[NDArray[np.intp], NDArray[np.intp]]  # atoms i <= j
    positions: Array  # (n_atoms, 3), scaled
    reciprocal: Array  # (3, 3), vectors in rows, with 2 pi
    vectors: Array  # (n_vectors, 3), lattice vectors G to sum
    moments: Array  # (n_vectors, 10, 2 n_pairs), 1, G, GG times exp[iG.(r_i - r_j)]
    coupling: Array  # (n_pairs, 6, 9), of K K to a block of the matrix, meV^2
    width: float  # 4 Lambda^2


def polar_term(
    lattice: ArrayLike,
    scaled_positions: ArrayLike,
    masses: ArrayLike,
    born: ArrayLike,
    dielectric: ArrayLike,
    supercell: ArrayLike,
    wavevectors: ArrayLike,
) -> ComplexArray:
    r"""Return what Born charges add to interpolated dynamical matrices.

    It is the damped interaction of the dipoles at Q, less what the force constants on
    the supercell hold of it: its own interpolation from the wavevectors that are
    commensurate with the supercell, at which the term vanishes. Add it to a matrix
    that was interpolated from total force constants along the shortest vectors between
    the atoms, images of equal length sharing. That is the method of Gonze and Lee as
    phonopy has it.

    On a reciprocal lattice point, where the limit depends on the direction, the
    non-analytic term is left out: the modes are those of zero macroscopic field.

    Parameters
    ----------
    lattice : array-like of shape (3, 3)
        Vectors of the primitive cell in rows, Cartesian, in Angstrom.
    scaled_positions : array-like of shape (n_atoms, 3)
        Positions in units of these vectors.
    masses : array-like of shape (n_atoms,)
        Masses in amu.
    born : array-like of shape (n_atoms, 3, 3)
        Born effective charges in e: polarisation (or field) by displacement (or
        force). They sum to zero over the atoms.
    dielectric : array-like of shape (3, 3)
        High-frequency dielectric tensor, without unit.
    supercell : array-like of shape (3, 3)
        Integers, as phonopy's `supercell_matrix`, for the primitive cell: the rows of
        ``supercell.T @ lattice`` are the vectors of the supercell.
    wavevectors : array-like of shape (n_points, 3)
        Momentum transfers Q in any zone, Cartesian, in 1/Angstrom, with 2 pi.

    Returns
    -------
    ndarray of shape (n_points, 3 * n_atoms, 3 * n_atoms)
        Hermitian matrices in meV^2, with the phases :math:`e^{iQ \cdot b}` of the
        vectors b from atom to atom.

    Raises
    ------
    ValueError
        If a shape is wrong or a value not finite, the dielectric tensor is not
        positive definite, the charges do not sum to zero within 0.01 e, a mass is not
        positive, or the lattice or the supercell (of integers) has no volume.
    """
    positions = _finite("scaled_positions", scaled_positions, (None, 3))
    n_atoms = len(positions)
    cell = _finite("lattice", lattice, (3, 3))
    weights = _finite("masses", masses, (n_atoms,))
    charges = _finite("born", born, (n_atoms, 3, 3))
    tensor = _finite("dielectric", dielectric, (3, 3))
    points = _finite("wavevectors", wavevectors, (None, 3))
    _check_neutral(charges)
    _check_cell(cell, weights)
    cell, positions, multiple = _short_cell(cell, positions, _integers(supercell))

    scaled = points @ cell.T / (2 * np.pi)
    matrices = np.empty((len(points), n_atoms, 3, n_atoms, 3), dtype=complex)
    first, second = np.triu_indices(n_atoms)
    for start in range(0, len(first), _PAIRS):
        pairs = first[start : start + _PAIRS], second[start : start + _PAIRS]
        dipoles = _dipoles(cell, positions, weights, charges, tensor, pairs)
        _add_pairs(matrices, dipoles, cell, multiple, scaled)
    return matrices.reshape(len(points), 3 * n_atoms, 3 * n_atoms)


def _add_pairs(
    matrices: ComplexArray,
    dipoles: _Dipoles,
    cell: Array,
    multiple: Array,
    scaled: Array,
) -> None:
    """Put the term of some pairs in its place in the matrices of all points."""
    cells, constants = _shared(dipoles, cell, multiple, *_stored(dipoles, multiple))
    first, second = dipoles.pairs
    for block in _blocks(dipoles, len(scaled)):
        angles = 2 * np.pi * scaled[block] @ cells.T
        term = _interaction(dipoles, scaled[block])
        term -= _contract(np.cos(angles), constants)
        term -= 1j * _contract(np.sin(angles), constants)
        term *= _pair_phases(dipoles, scaled[block])[..., None]
        tensors = term.reshape(len(term), -1, 3, 3).transpose(1, 0, 2, 3)
        matrices[block, second, :, first] = tensors.conj().swapaxes(2, 3)
        matrices[block, first, :, second] = tensors


def non_analytic_term(
    lattice: ArrayLike,
    masses: ArrayLike,
    born: ArrayLike,
    dielectric: ArrayLike,
    directions: ArrayLike,
) -> Array:
    r"""Return what the macroscopic field adds at the zone centre, by direction.

    Where q approaches the zone centre along n, the dynamical matrix exceeds that of
    :func:`polar_term` on it, of zero field, by

    .. math:: \frac{4\pi e^2}{V \sqrt{m_i m_j}}
              \frac{(n \cdot Z_i)_\alpha\,(n \cdot Z_j)_\beta}{n \cdot \epsilon n}

    (Pick, Cohen and Martin, Phys. Rev. B 1, 910 (1970), doi:10.1103/PhysRevB.1.910),
    the term K = q of the sum in :mod:`skphonon.physics.polar`.

    Parameters
    ----------
    lattice : array-like of shape (3, 3)
        Vectors of the primitive cell in rows, Cartesian, in Angstrom.
    masses : array-like of shape (n_atoms,)
        Masses in amu.
    born : array-like of shape (n_atoms, 3, 3)
        Born effective charges in e.
    dielectric : array-like of shape (3, 3)
        High-frequency dielectric tensor, without unit.
    directions : array-like of shape (n_directions, 3)
        Cartesian, of any length but zero.

    Returns
    -------
    ndarray of shape (n_directions, 3 * n_atoms, 3 * n_atoms)
        Real symmetric matrices in meV^2.
    """
    cell, directions = np.asarray(lattice, float), np.asarray(directions, float)
    roots = np.sqrt(np.asarray(masses, dtype=float))
    fields = np.einsum("nc,pca->npa", directions, np.asarray(born, dtype=float))
    fields = (fields / roots[:, None]).reshape(len(directions), -1)
    tensor = np.asarray(dielectric, dtype=float)
    screening = np.einsum("na,ab,nb->n", directions, tensor, directions)
    scale = 4 * np.pi * _COULOMB * MEV2_PER_EIGENVALUE / abs(np.linalg.det(cell))
    return scale * fields[:, :, None] * fields[:, None] / screening[:, None, None]


def _dipoles(
    cell: Array,
    positions: Array,
    masses: Array,
    charges: Array,
    dielectric: Array,
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]],
) -> _Dipoles:
    """Prepare the lattice sum; only the symmetric part of the tensor enters it."""
    symmetric = (dielectric + dielectric.T) / 2
    lowest = np.linalg.eigvalsh(symmetric)[0]
    if lowest <= 0:
        raise ValueError(
            "dielectric must be positive definite, got a lowest eigenvalue of "
            f"{lowest:g}. Pass the relative permittivity at high frequency."
        )
    stretch = np.linalg.cholesky(symmetric)  # K.eps.K = |K @ stretch|^2
    volume = abs(np.linalg.det(cell))
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T @ stretch
    radius = 2 * np.pi * (3 * _N_DAMPED / (4 * np.pi * volume)) ** (1 / 3)
    width = radius**2 * np.trace(symmetric) / 3 / _DAMPING

    cutoff = np.sqrt(width * _NEGLIGIBLE) + farthest(reciprocal)
    indices = points_within(reciprocal, cutoff).astype(float)
    first, second = pairs
    phases = np.exp(2j * np.pi * indices @ (positions[first] - positions[second]).T)
    vectors = indices @ reciprocal
    squares = vectors[:, _ROWS] * vectors[:, _COLUMNS]
    powers = np.concatenate([np.ones_like(vectors[:, :1]), vectors, squares], axis=1)
    scale = np.sqrt(4 * np.pi * _COULOMB * MEV2_PER_EIGENVALUE / volume / masses)
    dipoles = np.linalg.solve(stretch, charges) * scale[:, None, None]
    coupling = np.einsum("pca,pdb->pcdab", dipoles[first], dipoles[second])
    coupling = coupling + coupling.swapaxes(1, 2)
    coupling = coupling[:, _ROWS, _COLUMNS] / (1 + (_ROWS == _COLUMNS))[:, None, None]
    return _Dipoles(
        pairs,
        positions,
        reciprocal,
        vectors,
        powers[:, :, None] * phases.view(float)[:, None],
        coupling.reshape(-1, 6, 9),
        width,
    )


def _interaction(dipoles: _Dipoles, scaled: Array) -> ComplexArray:
    """Interaction of the dipoles, (n_points, n_pairs, 9), periodic in the wavevector.

    Its phases are those of the cells of the atoms, not of their positions.
    """
    nearest = nearest_image(scaled, dipoles.reciprocal)
    sums = nearest @ dipoles.reciprocal
    vectors = dipoles.vectors
    squares = sums @ (2 * vectors.T)
    squares += (sums**2).sum(axis=1)[:, None]
    squares += (vectors**2).sum(axis=1)
    squares[squares < _AT_CENTRE**2] = np.inf  # leaves the non-analytic term out
    damped = np.exp(squares / -dipoles.width)
    damped /= squares
    # K_a K_b of K = k + G, in powers of the one k and the many G
    zeroth, first, second = np.split(_contract(damped, dipoles.moments), [1, 4], axis=1)
    tensors = second + (sums[:, _ROWS] * sums[:, _COLUMNS])[..., None] * zeroth
    tensors += sums[:, _ROWS, None] * first[:, _COLUMNS]
    tensors += sums[:, _COLUMNS, None] * first[:, _ROWS]
    blocks = np.einsum(
        "nsp,psk->npk", tensors.view(complex), dipoles.coupling, optimize=True
    )
    return blocks * _pair_phases(dipoles, nearest)[..., None].conj()


def _stored(dipoles: _Dipoles, multiple: Array) -> tuple[Array, Array]:
    """Force constants that the interaction leaves on a supercell.

    Cells of it (n_origins, 3), and constants of pairs from the cell at the origin to
    each (n_origins, n_pairs, 9).
    """
    commensurate = cosets(multiple.T) @ np.linalg.inv(multiple).T
    interaction = np.concatenate(
        [
            _interaction(dipoles, commensurate[block])
            for block in _blocks(dipoles, len(commensurate))
        ]
    )
    origins = cosets(multiple).astype(float)
    angles = 2 * np.pi * origins @ commensurate.T
    constants = _contract(np.cos(angles), interaction.real)
    constants += _contract(np.sin(angles), interaction.imag)
    return origins, constants / len(origins)


def _shared(
    dipoles: _Dipoles, cell: Array, multiple: Array, origins: Array, constants: Array
) -> tuple[Array, Array]:
    """Share constants on a supercell between the shortest images of each pair.

    Cells (n_cells, 3) that hold an image, and its constants (n_cells, n_pairs, 9).
    """
    first, second = dipoles.pairs
    steps = dipoles.positions[second] - dipoles.positions[first]
    bonds = (origins[:, None] + steps).reshape(-1, 3) @ cell
    bond, images = shortest_images(bonds, multiple @ cell)
    origin, pair = np.divmod(bond, len(steps))
    cells = np.rint(images @ np.linalg.inv(cell) - steps[pair])
    cells, index = np.unique(cells, axis=0, return_inverse=True)
    shares = 1 / np.bincount(bond)[bond]
    shared = np.zeros((len(cells), len(steps), 9))
    values = shares[:, None] * constants[origin, pair]
    np.add.at(shared, (index.ravel(), pair), values)  # numpy 2.0 returns a column
    return cells, shared


def _pair_phases(dipoles: _Dipoles, scaled: Array) -> ComplexArray:
    """Phases exp[iq.(r_j - r_i)] of all pairs, (n_points, n_pairs)."""
    atoms = np.exp(2j * np.pi * scaled @ dipoles.positions.T)
    first, second = dipoles.pairs
    return atoms[:, second] * atoms[:, first].conj()


def _contract(rows: Array, values: Array) -> Array:
    """Contract the last axis of rows with the first one of values, as one product."""
    flat = rows @ values.reshape(len(values), -1)
    return flat.reshape(len(rows), *values.shape[1:])


def _blocks(dipoles: _Dipoles, n_points: int) -> list[slice]:
    """Slices of the points that keep every array of a block small."""
    n_numbers = max(2 * len(dipoles.vectors), 18 * len(dipoles.coupling))
    step = max(1, _BLOCK // n_numbers)
    return [slice(start, start + step) for start in range(0, n_points, step)]


def _short_cell(
    cell: Array, positions: Array, multiple: Array
) -> tuple[Array, Array, Array]:
    """Describe a crystal by short vectors, which keep the searches small.

    Neither the cell nor that of the superlattice has a part in the result.
    """
    change = reducing(cell)
    back = np.linalg.inv(change)
    cell, positions, multiple = change @ cell, positions @ back, multiple @ back
    return cell, positions, np.rint(reducing(multiple @ cell) @ multiple)


def _finite(name: str, values: ArrayLike, shape: tuple) -> Array:
    """Return an array of floats of a shape, None standing for any length."""
    array = np.asarray(values, dtype=float)
    wrong = array.ndim != len(shape) or any(
        n not in (None, m) for n, m in zip(shape, array.shape, strict=True)
    )
    if wrong:
        expected = str(shape).replace("None", "n")
        raise ValueError(f"{name} must have shape {expected}, got {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite, got {(~np.isfinite(array)).sum()} of "
            f"{array.size} values that are not."
        )
    return array


def _check_cell(cell: Array, masses: Array) -> None:
    """Raise where the cell is flat or a mass is not positive."""
    if abs(np.linalg.det(cell)) < 1e-6 * np.linalg.norm(cell, axis=1).prod():
        raise ValueError(
            "lattice must have three independent vectors in its rows, got "
            f"{cell.tolist()}."
        )
    if masses.min() <= 0:
        raise ValueError(f"masses must be positive, got {masses.min():g} amu.")


def _check_neutral(charges: Array) -> None:
    """Raise where the charges of all atoms do not sum to zero."""
    excess = charges.sum(axis=0)
    if np.abs(excess).max() > _CHARGE_SUM:
        raise ValueError(
            "born must sum to zero over the atoms (acoustic sum rule), got a sum of up "
            f"to {np.abs(excess).max():.3g} e. Symmetrise the charges: subtract their "
            "mean over the atoms, or let phonopy do it as it reads them."
        )


def _integers(supercell: ArrayLike) -> Array:
    """Supercell vectors in rows, in units of the lattice."""
    values = _finite("supercell", supercell, (3, 3))
    rounded = np.rint(values)
    if np.abs(values - rounded).max() > 1e-5 or round(np.linalg.det(rounded)) == 0:
        raise ValueError(
            "supercell must be a matrix of integers with a determinant that is not "
            f"zero, got {values.tolist()}. Give the vectors of the supercell in units "
            "of those of the primitive cell."
        )
    return rounded.T
