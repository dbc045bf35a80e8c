r"""Linear spin-wave theory of collinear magnets: exchange and anisotropy to magnons.

Convention of the Hamiltonian, with every bond counted once:

.. math:: H = \sum_{\langle ij \rangle} J_{ij}\,S_i \cdot S_j
              - \sum_i D_i\,(S_i \cdot n)^2,

J > 0 is antiferromagnetic, D > 0 makes the common direction n of the spins an easy
axis. To the lowest order in spin deviations (Holstein and Primakoff, Phys. Rev. 58,
1098 (1940), doi:10.1103/PhysRev.58.1098) a magnet with directions
:math:`\sigma_i = \pm 1` has, at wavevector q,

.. math:: M_{ij}(q) = \sqrt{S_i S_j} \sum_d J_{ij}(d)\,e^{i q \cdot d}
          + \delta_{ij} \Big[ (2 S_i - 1) D_i
          - \sum_l \sigma_i \sigma_l S_l J_{il}(0) \Big],

which is linear in the parameters; the modes are those of
:mod:`~skphonon.physics.magnon_modes`. The anisotropy is that of a single quantum spin
(none of S = 1/2): classical theory has 2 S D in the place of (2 S - 1) D.

The scattering function is per spin, without the constant of the magnetic interaction:
:math:`d^2\sigma / d\Omega\,dE = (\gamma r_0 g / 2)^2\,(k_f / k_i)\,S(Q, E)` a spin,
:math:`(\gamma r_0)^2` = 0.2906 barn. With form factors f, a magnon scatters

.. math:: \frac{1 + (\hat Q \cdot n)^2}{2 N}
          \Big| \sum_i f_i(Q) \sqrt{S_i}\,x_{ij}(Q) \Big|^2

at zero temperature (Squires, *Introduction to the Theory of Thermal Neutron
Scattering*, doi:10.1017/CBO9781139107808, chapter 8): both transverse components of
the spin alike, less what they have along Q.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY
from functools import cached_property
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._caching import content_of, shared
from skphonon._validation import (
    check_parameters,
    parameter_rows,
    positive,
    wavevector_rows,
)
from skphonon._versioned import Immutable, immutable, read_only
from skphonon.physics._crystal_html import html_of_magnet
from skphonon.physics._magnetic_bonds import bonds_of
from skphonon.physics.form_factors import magnetic_form_factor

if TYPE_CHECKING:
    from skphonon.physics.magnon_modes import Magnons

__all__ = ["SpinWaveModel"]

Array = NDArray[np.float64]

_MESH = 12  # wavevectors along each axis at which stability is checked
_BLOCK = 1 << 20  # matrix elements that are treated together
_EXACT = 1e-12  # of an imaginary part that is rounding
_FLAT = 1e-8  # of bonds, relative to the longest, that leave a direction out


@immutable
class SpinWaveModel(Immutable):
    r"""A collinear magnet and its named exchange constants and anisotropies.

    The Hamiltonian counts every bond once; J > 0 is antiferromagnetic and D > 0 an easy
    axis along the spins, see :mod:`skphonon.physics.spin_waves`. Magnets that are not
    collinear, magnetic fields and anisotropic exchange are beyond it.

    Parameters
    ----------
    lattice : array-like of shape (3, 3)
        Lattice vectors in rows, Angstrom. Wavevectors are in units of its reciprocal
        lattice.
    spins : array-like of shape (n_spins,)
        Spin quantum numbers of the magnetic cell, negative where a spin points the
        other way: ``[1, -1]``.
    exchanges : dict
        From names of exchange constants to the bonds they couple: a length in Angstrom,
        for all pairs that far apart, or rows ``(i, j, n1, n2, n3)``, for a bond from
        spin i to the copy of spin j that lies n lattice vectors from its place.
    reference : array-like of shape (n_parameters,)
        Reference values in meV: of exchange constants, then of anisotropies.
    positions : array-like of shape (n_spins, 3), default=None
        Places of the spins, in lattice vectors. None puts a single spin at the origin.
    magnetic_cell : array-like of int of shape (3, 3), default=None
        Vectors of the magnetic cell in rows, in lattice vectors. None: the lattice.
    anisotropies : dict, default=None
        From names of anisotropy constants D to the numbers of the spins they act on.
    axis : array-like of shape (3,) or (n_domains, 3), default=None
        Direction n of the spins, Cartesian; several are domains of equal size. None
        averages over all directions.
    ions : str or sequence of str, default=None
        Magnetic ions for the form factor, such as ``"Ni2+"``: of all spins or of each.
        None leaves it out.
    orbital_fraction : float, default=0.0
        Share of the orbital moment; see
        :func:`~skphonon.physics.form_factors.magnetic_form_factor`.
    renormalization : float, default=1.0
        Quantum renormalisation :math:`Z_c` that multiplies all energies.

    Attributes
    ----------
    parameter_names : list of str
        Names of the parameters, in order.

    Examples
    --------
    >>> from skphonon import SpinWaveModel
    >>> chain = SpinWaveModel(
    ...     [[3, 0, 0], [0, 8, 0], [0, 0, 8]], [1], {"J": 3.0}, [-1.0]
    ... )
    >>> energies, intensities = chain.modes([[-1.0], [-2.0]], [[0.5, 0, 0]])
    >>> energies[:, 0, 0].round(6)
    array([4., 8.])
    """

    _parameter_constraints: ClassVar[dict] = {
        "exchanges": [Mapping],
        "anisotropies": [Mapping, None],
        "ions": [str, "array-like", None],
        "renormalization": [positive()],
    }

    lattice: Array
    spins: Array
    exchanges: Mapping[str, Any]
    reference: Array
    _: KW_ONLY
    positions: Array | None = None
    magnetic_cell: Array | None = None
    anisotropies: Mapping[str, Any] | None = None
    axis: Array | None = None
    ions: str | tuple[str, ...] | None = None
    orbital_fraction: float = 0.0
    renormalization: float = 1.0

    def _repr_html_(self) -> str:
        return html_of_magnet(self)

    def _settle(self) -> None:
        check_parameters(self)
        kept: dict[str, Any] = {
            "lattice": _checked_lattice(self.lattice),
            "spins": _checked_spins(self.spins),
            "exchanges": _read_only_mapping(self.exchanges),
        }
        n_spins = len(kept["spins"])
        if self.reference is not None:
            kept["reference"] = read_only(self.reference)
        if self.anisotropies is not None:
            kept["anisotropies"] = _read_only_mapping(self.anisotropies, int)
        if self.magnetic_cell is not None:
            kept["magnetic_cell"] = _checked_cell(self.magnetic_cell)
        if self.axis is not None:
            kept["axis"] = _checked_directions(self.axis)
        positions = np.zeros((1, 3)) if self.positions is None else self.positions
        if np.shape(positions) != (n_spins, 3):
            raise ValueError(
                f"positions must have shape ({n_spins}, 3), one row a spin, got "
                f"{np.shape(positions)}."
            )
        if self.positions is not None:
            kept["positions"] = read_only(positions)
        if self.ions is not None and not isinstance(self.ions, str):
            kept["ions"] = tuple(self.ions)
            if len(kept["ions"]) != n_spins:
                raise ValueError(
                    f"ions must name {n_spins} ions, got {len(kept['ions'])}."
                )
        for members in (kept.get("anisotropies") or {}).values():
            if not np.isin(members, np.arange(n_spins)).all():
                raise ValueError(
                    f"anisotropies must act on spins 0 to {n_spins - 1}, got "
                    f"{np.atleast_1d(members).tolist()}."
                )
        self._keep(**kept)
        _ = self._bonds  # says which exchange couples none

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters, in order."""
        return [*self.exchanges, *(self.anisotropies or {})]

    @property
    def signs(self) -> Array:
        """Directions of the spins, an array of 1 and -1 of shape (n_spins,)."""
        return np.sign(self.spins)

    def matrix_basis(self, wavevectors: ArrayLike) -> NDArray:
        """Return the derivatives of M(q) with each parameter.

        Parameters
        ----------
        wavevectors : array-like of shape (n_q, 3)
            In units of the reciprocal lattice.

        Returns
        -------
        ndarray of shape (n_q, n_parameters, n_spins, n_spins)
            Without unit; real where every spin is a centre of inversion of all bonds.

        Raises
        ------
        ValueError
            If the model does not describe a magnet, or the shape is wrong.
        """
        points = wavevector_rows(wavevectors)
        bonds, spins = self._bonds, self.spins
        shape = (len(points), len(self.parameter_names), len(spins), len(spins))
        basis = np.zeros(shape, dtype=complex)
        for number, (pairs, steps) in enumerate(bonds):
            for (i, j), step in zip(pairs, steps, strict=True):
                wave = np.sqrt(abs(spins[i] * spins[j])) * np.exp(
                    2j * np.pi * points @ step
                )
                basis[:, number, i, j] += wave
                basis[:, number, j, i] += wave.conj()
                basis[:, number, i, i] -= np.sign(spins[i]) * spins[j]
                basis[:, number, j, j] -= np.sign(spins[j]) * spins[i]
        anisotropic = (self.anisotropies or {}).values()
        for number, members in enumerate(anisotropic, start=len(bonds)):
            for i in np.atleast_1d(members):
                basis[:, number, i, i] += 2 * abs(spins[i]) - 1
        real = np.abs(basis.imag).max(initial=0) <= _EXACT * np.abs(basis).max()
        return basis.real.copy() if real else basis

    def amplitudes(self, wavevectors: ArrayLike) -> Array:
        r"""Return what each spin contributes to the amplitude of a magnon.

        Parameters
        ----------
        wavevectors : array-like of shape (n_q, 3)
            In units of the reciprocal lattice.

        Returns
        -------
        ndarray of shape (n_q, n_spins)
            :math:`f_i(Q) \sqrt{S_i\,[1 + (\hat Q \cdot n)^2] / 2N}`, averaged over
            domains; where Q is zero, over directions.

        Raises
        ------
        ValueError
            If an ion is unknown, an axis is zero or shapes are wrong.
        """
        lattice, spins = self.lattice, self.spins
        transfers = 2 * np.pi * wavevector_rows(wavevectors) @ np.linalg.inv(lattice).T
        size = np.linalg.norm(transfers, axis=1)
        along = self._mean_square_cosine(transfers, size)
        factors = self._form_factors(size)
        return factors * np.sqrt(
            np.abs(spins) * (1 + along[:, None]) / (2 * len(spins))
        )

    def modes(
        self, parameters: ArrayLike, wavevectors: ArrayLike
    ) -> tuple[Array, Array]:
        r"""Return the energies of magnons and how strongly each scatters.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in meV.
        wavevectors : array-like of shape (n_q, 3)
            In units of the reciprocal lattice.

        Returns
        -------
        energies : ndarray of shape (n_samples, n_q, n_spins)
            In meV, ascending; NaN where the order is unstable at that wavevector.
        intensities : ndarray of shape (n_samples, n_q, n_spins)
            :math:`\int S(Q, E)\,dE` of each mode at zero temperature, per spin; 0 where
            it is unstable and of Goldstone modes at their very wavevector.

        Raises
        ------
        ValueError
            If the model does not describe a magnet, or shapes are wrong.
        """
        import torch

        from skphonon.physics.magnon_modes import lines

        rows = parameter_rows(parameters, self.parameter_names)
        found = self._magnons(rows, self.matrix_basis(wavevectors))
        energies, strengths = lines(
            found, torch.as_tensor(self.amplitudes(wavevectors))
        )
        energies[~found.modes.any(dim=-1)] = 0.0  # Goldstone modes
        energies[~found.stable] = torch.nan
        energies, order = energies.sort(dim=-1)
        strengths = strengths.gather(-1, order)
        return self.renormalization * energies.numpy(), strengths.numpy()

    def dispersive_axes(self) -> Array:
        """Return the directions along which magnons disperse.

        Returns
        -------
        ndarray of shape (n_axes, 3)
            Orthonormal, Cartesian: three, or fewer for planes and chains.

        Raises
        ------
        ValueError
            If the model does not describe a magnet.
        """
        steps = np.concatenate([steps for _, steps in self._bonds]) @ self.lattice
        _, lengths, axes = np.linalg.svd(steps)
        return axes[: np.sum(lengths > _FLAT * lengths.max(initial=0))]

    def is_stable(
        self, parameters: ArrayLike, wavevectors: ArrayLike | None = None
    ) -> NDArray[np.bool_]:
        """Tell whether the assumed order has the lowest energy nearby.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in meV.
        wavevectors : array-like of shape (n_q, 3), default=None
            Where to look. None looks at a mesh of the zone, 12 points along each axis
            with a dispersion.

        Returns
        -------
        ndarray of shape (n_samples,), bool
            True where M(q) is positive definite, but for Goldstone modes.

        Raises
        ------
        ValueError
            If the model does not describe a magnet, or shapes are wrong.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        basis = self.matrix_basis(self._mesh() if wavevectors is None else wavevectors)
        size = max(1, _BLOCK // (basis.size // basis.shape[1]))
        blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
        stable = [self._magnons(block, basis).stable.all(dim=1) for block in blocks]
        return np.concatenate(stable)

    def _magnons(self, rows: Array, basis: NDArray) -> "Magnons":
        """Magnons of shapes (n_samples, n_q, n_spins)."""
        import torch

        from skphonon.physics.magnon_modes import magnons

        of_all = torch.as_tensor(basis)
        matrices = torch.einsum("sp,qpij->sqij", torch.tensor(rows).to(of_all), of_all)
        return magnons(matrices, torch.as_tensor(self.signs))

    def _mesh(self) -> Array:
        steps = np.concatenate([steps for _, steps in self._bonds])
        moves = (np.abs(steps) > _EXACT).any(axis=0)
        axis = np.arange(_MESH) / _MESH
        return np.array(list(product(*(axis if move else [0.0] for move in moves))))

    @cached_property
    def _bonds(self) -> list[tuple[NDArray[np.integer[Any]], Array]]:
        """Pairs and steps of each exchange."""
        positions = np.zeros((1, 3)) if self.positions is None else self.positions
        cell = np.eye(3) if self.magnetic_cell is None else self.magnetic_cell

        def build() -> list[tuple[NDArray[np.integer[Any]], Array]]:
            return [
                bonds_of(given, name, positions, self.lattice, cell)
                for name, given in self.exchanges.items()
            ]

        of = positions, self.lattice, cell, self.exchanges
        return shared(("magnetic bonds", content_of(of)), build)

    def _mean_square_cosine(self, transfers: Array, size: Array) -> Array:
        """Mean of (Q.n)^2 / Q^2 over domains, of shape (n_q,)."""
        if self.axis is None:
            return np.full(len(size), 1 / 3)
        axes = np.atleast_2d(self.axis)
        lengths = np.linalg.norm(axes, axis=-1, keepdims=True)
        cosines = transfers @ (axes / lengths).T / np.where(size > 0, size, 1)[:, None]
        return np.where(size > 0, np.square(cosines).mean(axis=1), 1 / 3)

    def _form_factors(self, size: Array) -> Array:
        """Form factors of all spins, of shape (n_q, n_spins)."""
        n_spins = len(self.spins)
        if self.ions is None:
            return np.ones((len(size), n_spins))
        ions = [self.ions] * n_spins if isinstance(self.ions, str) else self.ions
        factors = {
            ion: magnetic_form_factor(ion, size, orbital_fraction=self.orbital_fraction)
            for ion in set(ions)
        }
        return np.stack([factors[ion] for ion in ions], axis=1)


def _checked_lattice(given: ArrayLike) -> Array:
    lattice = read_only(given)
    if lattice.shape != (3, 3) or np.linalg.det(lattice) == 0:
        raise ValueError(
            "lattice must hold three independent vectors in rows, shape (3, 3), "
            f"got shape {lattice.shape}: {lattice.tolist()}."
        )
    return lattice


def _checked_spins(given: ArrayLike) -> Array:
    spins = read_only(given)
    if spins.ndim != 1 or not (np.isfinite(spins) & (spins != 0)).all():
        raise ValueError(
            "spins must hold quantum numbers that are not zero, one a spin, such "
            f"as [1, -1]; got {given!r}."
        )
    return spins


def _checked_cell(given: ArrayLike) -> Array:
    cell = read_only(given)
    whole = cell.shape == (3, 3) and np.equal(cell, np.rint(cell)).all()
    if not whole or np.linalg.det(cell) == 0:
        raise ValueError(
            "magnetic_cell must hold three independent rows of whole numbers, got "
            f"{given!r}."
        )
    return cell


def _checked_directions(given: ArrayLike) -> Array:
    axes = read_only(given)
    fits = axes.ndim in (1, 2) and axes.shape[-1] == 3
    if not fits or not np.linalg.norm(axes, axis=-1).all():
        raise ValueError(
            "axis must hold one or more directions of three components, not all "
            f"zero, got {given!r}."
        )
    return axes


def _read_only_mapping(
    given: Mapping[str, Any], dtype: Any = float
) -> Mapping[str, Any]:
    """Return a mapping to numbers and arrays that nobody can write into."""
    return MappingProxyType(
        {
            name: read_only(value, dtype) if np.ndim(value) else value
            for name, value in given.items()
        }
    )
