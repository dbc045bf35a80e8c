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

from itertools import product

import numpy as np

from skphonon._validation import (
    check_parameters,
    parameter_rows,
    positive,
    wavevector_rows,
)
from skphonon._versioned import VersionedEstimator
from skphonon.physics._magnetic_bonds import bonds_of
from skphonon.physics.form_factors import magnetic_form_factor

__all__ = ["SpinWaveModel"]

_MESH = 12  # wavevectors along each axis at which stability is checked
_BLOCK = 1 << 20  # matrix elements that are treated together
_EXACT = 1e-12  # of an imaginary part that is rounding
_FLAT = 1e-8  # of bonds, relative to the longest, that leave a direction out


class SpinWaveModel(VersionedEstimator):
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

    _parameter_constraints = {
        "exchanges": [dict],
        "anisotropies": [dict, None],
        "ions": [str, "array-like", None],
        "renormalization": [positive()],
    }

    def __init__(
        self,
        lattice,
        spins,
        exchanges,
        reference,
        *,
        positions=None,
        magnetic_cell=None,
        anisotropies=None,
        axis=None,
        ions=None,
        orbital_fraction=0.0,
        renormalization=1.0,
    ):
        self.lattice = lattice
        self.spins = spins
        self.exchanges = exchanges
        self.reference = reference
        self.positions = positions
        self.magnetic_cell = magnetic_cell
        self.anisotropies = anisotropies
        self.axis = axis
        self.ions = ions
        self.orbital_fraction = orbital_fraction
        self.renormalization = renormalization

    @property
    def parameter_names(self):
        """Names of the parameters, in order."""
        return [*self.exchanges, *(self.anisotropies or {})]

    @property
    def signs(self):
        """Directions of the spins, an array of 1 and -1 of shape (n_spins,)."""
        return np.sign(self._spins())

    def matrix_basis(self, wavevectors):
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
        wavevectors = wavevector_rows(wavevectors)
        bonds = self._bonds()
        spins = self._spins()
        shape = (len(wavevectors), len(self.parameter_names), len(spins), len(spins))
        basis = np.zeros(shape, dtype=complex)
        for number, (pairs, steps) in enumerate(bonds):
            for (i, j), step in zip(pairs, steps, strict=True):
                wave = np.sqrt(abs(spins[i] * spins[j])) * np.exp(
                    2j * np.pi * wavevectors @ step
                )
                basis[:, number, i, j] += wave
                basis[:, number, j, i] += wave.conj()
                basis[:, number, i, i] -= np.sign(spins[i]) * spins[j]
                basis[:, number, j, j] -= np.sign(spins[j]) * spins[i]
        for number, members in enumerate(self._anisotropic(), start=len(bonds)):
            for i in members:
                basis[:, number, i, i] += 2 * abs(spins[i]) - 1
        real = np.abs(basis.imag).max(initial=0) <= _EXACT * np.abs(basis).max()
        return basis.real.copy() if real else basis

    def amplitudes(self, wavevectors):
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
        lattice, spins = self._lattice(), self._spins()
        transfers = 2 * np.pi * wavevector_rows(wavevectors) @ np.linalg.inv(lattice).T
        size = np.linalg.norm(transfers, axis=1)
        along = self._mean_square_cosine(transfers, size)
        factors = self._form_factors(size)
        return factors * np.sqrt(
            np.abs(spins) * (1 + along[:, None]) / (2 * len(spins))
        )

    def modes(self, parameters, wavevectors):
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

    def dispersive_axes(self):
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
        steps = np.concatenate([steps for _, steps in self._bonds()]) @ self._lattice()
        _, lengths, axes = np.linalg.svd(steps)
        return axes[: np.sum(lengths > _FLAT * lengths.max(initial=0))]

    def is_stable(self, parameters, wavevectors=None):
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

    def _magnons(self, rows, basis):
        """Magnons of shapes (n_samples, n_q, n_spins)."""
        import torch

        from skphonon.physics.magnon_modes import magnons

        basis = torch.as_tensor(basis)
        matrices = torch.einsum("sp,qpij->sqij", torch.tensor(rows).to(basis), basis)
        return magnons(matrices, torch.as_tensor(self.signs))

    def _mesh(self):
        steps = np.concatenate([steps for _, steps in self._bonds()])
        moves = (np.abs(steps) > _EXACT).any(axis=0)
        axis = np.arange(_MESH) / _MESH
        return np.array(list(product(*(axis if move else [0.0] for move in moves))))

    def _lattice(self):
        lattice = np.asarray(self.lattice, dtype=float)
        if lattice.shape != (3, 3) or np.linalg.det(lattice) == 0:
            raise ValueError(
                "lattice must hold three independent vectors in rows, shape (3, 3), "
                f"got shape {lattice.shape}: {lattice.tolist()}."
            )
        return lattice

    def _spins(self):
        spins = np.asarray(self.spins, dtype=float)
        if spins.ndim != 1 or not (np.isfinite(spins) & (spins != 0)).all():
            raise ValueError(
                "spins must hold quantum numbers that are not zero, one a spin, such "
                f"as [1, -1]; got {self.spins!r}."
            )
        return spins

    def _bonds(self):
        """Pairs and steps of each exchange, once all shapes are known to fit."""
        check_parameters(self)
        lattice, n_spins = self._lattice(), len(self._spins())
        positions = np.zeros((1, 3)) if self.positions is None else self.positions
        positions = np.asarray(positions, dtype=float)
        if positions.shape != (n_spins, 3):
            raise ValueError(
                f"positions must have shape ({n_spins}, 3), one row a spin, got "
                f"{positions.shape}."
            )
        cell = np.eye(3) if self.magnetic_cell is None else self.magnetic_cell
        cell = np.asarray(cell, dtype=float)
        whole = cell.shape == (3, 3) and np.equal(cell, np.rint(cell)).all()
        if not whole or np.linalg.det(cell) == 0:
            raise ValueError(
                "magnetic_cell must hold three independent rows of whole numbers, got "
                f"{self.magnetic_cell!r}."
            )
        return [
            bonds_of(given, name, positions, lattice, cell)
            for name, given in self.exchanges.items()
        ]

    def _anisotropic(self):
        """Numbers of the spins that each anisotropy acts on."""
        n_spins = len(self._spins())
        found = [np.atleast_1d(each) for each in (self.anisotropies or {}).values()]
        for members in found:
            if not np.isin(members, np.arange(n_spins)).all():
                raise ValueError(
                    f"anisotropies must act on spins 0 to {n_spins - 1}, got "
                    f"{members.tolist()}."
                )
        return found

    def _mean_square_cosine(self, transfers, size):
        """Mean of (Q.n)^2 / Q^2 over domains, of shape (n_q,)."""
        if self.axis is None:
            return np.full(len(size), 1 / 3)
        axes = np.atleast_2d(np.asarray(self.axis, dtype=float))
        lengths = np.linalg.norm(axes, axis=-1, keepdims=True)
        if axes.ndim != 2 or axes.shape[1] != 3 or not (lengths > 0).all():
            raise ValueError(
                "axis must hold one or more directions of three components, not all "
                f"zero, got {self.axis!r}."
            )
        cosines = transfers @ (axes / lengths).T / np.where(size > 0, size, 1)[:, None]
        return np.where(size > 0, np.square(cosines).mean(axis=1), 1 / 3)

    def _form_factors(self, size):
        """Form factors of all spins, of shape (n_q, n_spins)."""
        n_spins = len(self._spins())
        if self.ions is None:
            return np.ones((len(size), n_spins))
        ions = [self.ions] * n_spins if isinstance(self.ions, str) else list(self.ions)
        if len(ions) != n_spins:
            raise ValueError(f"ions must name {n_spins} ions, got {len(ions)}.")
        factors = {
            ion: magnetic_form_factor(ion, size, orbital_fraction=self.orbital_fraction)
            for ion in set(ions)
        }
        return np.stack([factors[ion] for ion in ions], axis=1)
