r"""Born-von Karman force constants: a few named numbers and the tensors they stand for.

The energy of a harmonic crystal is
:math:`U = \tfrac12 \sum u_{i\alpha}\,\Phi_{i\alpha,j\beta}\,u_{j\beta}`. A
parameter of a model is an element of :math:`K = -\Phi` for a pair of atoms, in
eV/Angstrom^2: the convention of the Born-von Karman tables, in which a positive
diagonal element pulls a displaced atom back. The on-site term follows from the acoustic
sum rule, :math:`\Phi_{ii} = \sum_b K(b)` over the bonds b of atom i. Tensors that this
module returns are :math:`\Phi`, as phonopy has them.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._validation import reference_row
from skphonon._versioned import immutable
from skphonon.physics import _phonopy_models as phonopy_models
from skphonon.physics import supercells
from skphonon.physics._shell_crystal import ShellCrystal
from skphonon.physics._shell_fits import fit_constants, fold
from skphonon.physics._structures import primitive_of
from skphonon.physics.constants import EV_PER_A2_PER_NEWTON_PER_METRE
from skphonon.physics.phonopy_io import load_phonopy
from skphonon.physics.reduction import (
    closest,
)

__all__ = ["ForceConstantModel"]

Array = NDArray[np.float64]

_TABLE_UNITS = {"eV/Angstrom^2": 1.0, "N/m": EV_PER_A2_PER_NEWTON_PER_METRE}


@immutable
class ForceConstantModel(ShellCrystal):
    r"""Describe a crystal by its symmetry-independent force constants.

    Pairs of atoms that the space group relates, or the exchange of the two atoms, form
    a shell; shells are numbered by distance over the crystal. Symmetry leaves a few
    elements of the force-constant tensor of a shell free; each is a parameter, named by
    the number of the shell and the element for one pair: the one with the lowest first
    atom, then the lowest second atom, then the bond whose Cartesian components are
    largest in lexicographic order. For a face-centred cubic crystal with two shells
    these are ``1XX, 1ZZ, 1XY`` (neighbour along 110) and ``2XX, 2YY`` (along 100).
    With several atoms a cell the names tell the pair, ``1XX Na-Cl``, or ``1XX Si1-Si2``
    where the atoms of an element are numbered. Everything is linear in the parameters.

    On-site terms must be symmetric. In crystals of low symmetry that makes elements of
    the farthest shells follow from others; they are no parameters. Invariance under
    rotations of the whole crystal is not imposed, as in phonopy.

    Parameters
    ----------
    lattice : array-like of shape (3, 3)
        Lattice vectors of a primitive or conventional cell in rows, Cartesian, in
        Angstrom, right- or left-handed. The names refer to these Cartesian axes: put
        the crystal axes along them.
    symbol : str or sequence of str
        Symbol of all atoms or one an atom: an element in its natural mixture, ``"Ni"``,
        or an isotope, ``"58Ni"``, ``"Ni-58"`` or ``"D"``. Gives the masses, unless
        `mass` is given, the scattering lengths, and the names of atoms. Atoms of
        different symbols are different to symmetry.
    reference : array-like of shape (n_parameters,)
        Reference values of the parameters in eV/Angstrom^2.
    positions : array-like of shape (n_atoms, 3), default=None
        Positions in units of the lattice vectors; None is one atom at the origin.
    mass : float or sequence of float, default=None
        Mass in amu of all atoms or one an atom; None takes the mean masses of the
        elements, and the masses of isotopes.
    magnetic_moments : array-like of shape (n_atoms,) or (n_atoms, 3), default=None
        Magnetic moment of each atom, in any unit, for the symmetry only: atoms are
        equivalent if an operation of the space group, with or without the reversal of
        all moments (time reversal), takes one to the other. One number an atom is a
        collinear moment that rotations do not turn; three are a Cartesian vector. None
        is a crystal without moments.
    supercell : array-like of int of shape (3, 3) or (3,), default=None
        The supercell of phonopy that goes with the constants, as its
        `supercell_matrix` for this cell: the rows of ``supercell.T @ lattice`` are its
        vectors.
    born_charges : array-like of shape (n_atoms, 3, 3), default=None
        Born effective charges of a polar crystal in e, polarisation by displacement
        (CASTEP writes the transposed tensors). The long-range part of the
        dynamical matrix needs `dielectric` and `supercell` too, since part of it is in
        the constants on the supercell.
    dielectric : array-like of shape (3, 3), default=None
        High-frequency dielectric tensor, without unit.
    n_shells : int, default=2
        Number of neighbour shells. Neighbours at one distance that no symmetry relates
        count as different shells. None takes the shells that fit into `supercell`: all
        whose bonds are shortest vectors between their atoms there.
    reduction : Reduction, default=None
        Map from fewer parameters to the constants of the crystal, as :meth:`reduced`
        makes it; `reference` and everything else are then of those parameters. None:
        the parameters are the constants.

    Attributes
    ----------
    parameter_names : list of str
        Names of the parameters, in order.
    full_model : ForceConstantModel
        The model of the same crystal without `reduction`; its reference are the
        constants that the reference of this one stands for.
    cell : phonopy.structure.atoms.PhonopyAtoms
        The cell with its atoms, a copy. An isotope is its element there, with the mass
        of the isotope.
    symbols : list of str
        Symbol of each atom of the cell, as given.
    n_atoms : int
        Number of atoms in the cell.
    atomic_masses : ndarray of shape (n_atoms,)
        Masses in amu.
    bonds : ndarray of shape (n_bonds, 3)
        Cartesian vectors from every atom of the cell to its neighbours, in Angstrom.
    bond_atoms : ndarray of int of shape (n_bonds, 2)
        Numbers in the cell of the first and the second atom of each bond.
    bond_tensors : ndarray of shape (n_parameters, n_bonds, 3, 3)
        :math:`\partial K(b) / \partial p` of each parameter and bond.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import ForceConstantModel
    >>> fcc = 2.02 * (np.ones((3, 3)) - np.eye(3))
    >>> model = ForceConstantModel(fcc, "Al", [0.66, -0.25, 0.64, 0.15, 0.01])
    >>> model.parameter_names
    ['1XX', '1ZZ', '1XY', '2XX', '2YY']
    >>> model.frequencies(model.reference, [[0.5, 0.5, 0.0]]).round(2)  # X point
    array([[[22.54, 22.54, 40.45]]])

    Rock salt, two atoms a cell:

    >>> salt = ForceConstantModel(
    ...     2.82 * (np.ones((3, 3)) - np.eye(3)),
    ...     ["Na", "Cl"],
    ...     [0.8, -0.1],
    ...     positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
    ...     n_shells=1,
    ... )
    >>> salt.parameter_names
    ['1XX Na-Cl', '1YY Na-Cl']
    """

    @classmethod
    def from_structure(cls, structure: Any, *, n_shells: int = 2) -> Self:
        """Make a crystal without force constants from a structure.

        Its primitive cell is found; what lies on it is not moved. Give it constants by
        ``model.replace(reference=...)`` or, for want of a calculation, by
        :func:`~skphonon.physics.with_springs`.

        Parameters
        ----------
        structure : path-like, ase.Atoms or phonopy.structure.atoms.PhonopyAtoms
            A file that ASE reads, such as POSCAR or CIF (``pip install
            'skphonon[ase]'``), or what was read. Of several structures the last.
        n_shells : int, default=2
            Number of shells.

        Returns
        -------
        ForceConstantModel
            Without `reference`.

        Raises
        ------
        ValueError
            If the file is no structure, or not periodic.
        OSError
            If it cannot be read.
        ImportError
            If ASE is needed and not installed.
        TypeError
            If `structure` is something else.

        Examples
        --------
        >>> from phonopy.structure.atoms import PhonopyAtoms
        >>> from skphonon import ForceConstantModel
        >>> from skphonon.physics import with_springs
        >>> faces = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
        >>> cube = PhonopyAtoms(
        ...     symbols=["Al"] * 4,
        ...     cell=[[4.05, 0, 0], [0, 4.05, 0], [0, 0, 4.05]],
        ...     scaled_positions=faces,
        ... )
        >>> model = ForceConstantModel.from_structure(cube, n_shells=1)
        >>> model.symbols, model.parameter_names
        (['Al'], ['1XX', '1ZZ', '1XY'])
        >>> with_springs(model, 40.0).reference.round(2)
        array([0.66, 0.12, 0.54])
        """
        lattice, positions, symbols = primitive_of(structure)
        return cls(
            lattice, tuple(symbols), None, positions=positions, n_shells=n_shells
        )

    @classmethod
    def from_phonopy(
        cls,
        phonopy: Any,
        *,
        cutoff: float | None = None,
        n_shells: int | None = None,
        force_constants: str | os.PathLike | None = None,
        symmetrize: bool = False,
    ) -> Self:
        """Read the force constants of a phonopy calculation.

        Without `cutoff` and `n_shells`, all shells that the supercell holds are kept,
        and the frequencies of the model are those of phonopy; outer shells whose
        constants all vanish are left out, as are those which a supercell of lower
        symmetry than the crystal cuts. Born charges, the dielectric tensor and magnetic
        moments are kept, charges with the symmetry of the crystal and their sum taken
        off, as in phonopy; lengths and constants of any calculator are converted.
        phonopy names no isotopes: take ``model.replace(symbol=...)`` where it must.

        The symmetry of the crystal, the exchange of the two atoms of a pair and the
        acoustic sum rule are imposed on the constants. Where that, or a shell cut by
        the supercell, changes a phonon energy on a mesh of 4 x 4 x 4 points with the
        zone centre by more than 0.5 meV or 2 % of the highest energy, a warning says by
        how much. Zones of large cells are small: a mesh of 2 x 2 x 2 points does for
        more than 100 atoms, the zone centre for more than 250, the polar term left out
        in both. What a `cutoff` or `n_shells` leaves out does not count.

        Parameters
        ----------
        phonopy : phonopy.Phonopy or path-like
            A calculation with force constants, or the phonopy YAML file of one (it may
            be compressed). Nothing in a file is run. Without a primitive matrix the
            model is on the primitive cell that the file holds.
        cutoff : float, default=None
            Longest bond to keep, in Angstrom. Large cells without symmetry need one:
            900 atoms have 180,000 constants within 5 Angstrom, 3.6 million without.
        n_shells : int, default=None
            Number of shells to keep.
        force_constants : path-like, default=None
            File of the force constants, where the YAML file does not hold them, or of
            forces: ``force_constants.hdf5``, ``FORCE_CONSTANTS`` or ``FORCE_SETS``,
            under any name.
        symmetrize : bool, default=False
            Whether to impose symmetry and sum rule however much that changes.

        Returns
        -------
        ForceConstantModel
            Its `reference` is the least-squares fit of the model to the force
            constants given, in which bonds that fold onto one atom of the supercell
            share its value.

        Raises
        ------
        ValueError
            If a file is not what it should be, there are no force constants or no
            supercell, those are of another crystal, units contradict one another, the
            sum of the Born charges exceeds the largest charge, both `cutoff` and
            `n_shells` are given, or they reach beyond the supercell. Unless
            `symmetrize` is set, also if the acoustic sum rule is broken by more than
            1 % of the largest constant, or the constants must change by more than 10 %
            of their root mean square.
        OSError
            If a file cannot be read.

        Warns
        -----
        UserWarning
            If imposing symmetry and sum rule changes phonon energies visibly, the Born
            charges sum to more than 0.1 e or lack the symmetry of the crystal by more,
            the mass of an atom is that of an isotope, or forces are of other
            displacements than the YAML file holds.
        """
        if isinstance(phonopy, (str, os.PathLike)):
            phonopy = load_phonopy(phonopy, force_constants)
        elif force_constants is not None:
            raise ValueError(
                "force_constants names the file that goes with the path of a YAML "
                "file. Set Phonopy.force_constants instead."
            )
        return phonopy_models.fitted(cls, phonopy, cutoff, n_shells, symmetrize)

    @classmethod
    def from_calculator(
        cls,
        atoms: Any,
        calculator: Any = None,
        *,
        supercell: ArrayLike | None = None,
        displacement: float = 0.01,
        cutoff: float | None = None,
        n_shells: int | None = None,
        symmetrize: bool = False,
    ) -> Self:
        """Compute force constants from the forces of an ASE calculator.

        Atoms of a supercell are displaced by phonopy, one at a time, as symmetry
        requires. Relax the crystal first. Needs ASE (``pip install skphonon[ase]``).

        Parameters
        ----------
        atoms : ase.Atoms
            The crystal, periodic in three dimensions; any cell of it.
        calculator : ase.calculators.calculator.Calculator, default=None
            Gives the forces; None takes the one attached to `atoms`.
        supercell : array-like of int of shape (3, 3) or (3,), default=None
            In units of the cell of `atoms`, as phonopy's `supercell_matrix`. None
            takes the smallest multiples along the three axes that are 12 Angstrom wide.
        displacement : float, default=0.01
            Displacement in Angstrom.
        cutoff : float, default=None
            As in :meth:`from_phonopy`.
        n_shells : int, default=None
            As in :meth:`from_phonopy`.
        symmetrize : bool, default=False
            As in :meth:`from_phonopy`.

        Returns
        -------
        ForceConstantModel
            On the primitive cell.

        Raises
        ------
        ImportError
            If ASE is not installed.
        ValueError
            If there is no calculator, the crystal is not periodic, or the constants
            must change by more than 10 % (see :meth:`from_phonopy`).

        Warns
        -----
        UserWarning
            As in :meth:`from_phonopy`: the supercell may have a lower symmetry than the
            crystal.
        """
        phonons = phonopy_models.displaced(atoms, calculator, supercell, displacement)
        return phonopy_models.fitted(cls, phonons, cutoff, n_shells, symmetrize)

    @classmethod
    def from_table(
        cls,
        lattice: Array,
        symbol: str | tuple[str, ...],
        constants: Mapping[str, float],
        *,
        positions: Array | None = None,
        mass: float | Array | None = None,
        unit: str = "eV/Angstrom^2",
    ) -> Self:
        """Make a model of a table of Born-von Karman constants.

        Parameters
        ----------
        lattice : array-like of shape (3, 3)
            Lattice vectors in rows, Cartesian, in Angstrom.
        symbol : str or sequence of str
            Symbol of all atoms or one an atom, an element or an isotope.
        constants : mapping of str to float
            Values by name of the parameter; all shells up to the largest number named
            must be there.
        positions : array-like of shape (n_atoms, 3), default=None
            Positions in units of the lattice vectors; None is one atom at the origin.
        mass : float or sequence of float, default=None
            Mass in amu; None takes those of the elements or isotopes.
        unit : {"eV/Angstrom^2", "N/m"}, default="eV/Angstrom^2"
            Unit of the values.

        Returns
        -------
        ForceConstantModel
            Its `reference` holds the values.

        Raises
        ------
        ValueError
            If a parameter has no value or a value no parameter.

        Examples
        --------
        >>> import numpy as np
        >>> from skphonon import ForceConstantModel
        >>> bcc = 1.433 * (np.ones((3, 3)) - 2 * np.eye(3))
        >>> table = {"1XX": 16.88, "1XY": 15.01, "2XX": 14.63, "2YY": 0.55}
        >>> model = ForceConstantModel.from_table(bcc, "Fe", table, unit="N/m")
        >>> model.reference.round(3)
        array([1.054, 0.937, 0.913, 0.034])
        """
        if unit not in _TABLE_UNITS:
            units = " or ".join(_TABLE_UNITS)
            raise ValueError(f"unit must be {units}, got {unit!r}.")
        numbers = [re.match(r"[1-9]\d*", name) for name in constants]
        n_shells = max((int(n.group()) for n in numbers if n), default=1)
        model = cls(
            lattice, symbol, None, positions=positions, n_shells=n_shells, mass=mass
        )
        names = model.parameter_names
        missing = [name for name in names if name not in constants]
        unknown = [name for name in constants if name not in names]
        if missing or unknown:
            raise ValueError(
                f"constants must name every parameter: {', '.join(names)}; missing: "
                f"{', '.join(missing) or 'none'}; unknown: "
                f"{', '.join(unknown) or 'none'}."
            )
        values = np.array([constants[name] for name in names], dtype=float)
        return model.replace(reference=_TABLE_UNITS[unit] * values)

    def parameters(self, force_constants: Any, *, return_residual: bool = False) -> Any:
        """Return the parameters that describe given force constants best.

        The inverse of :meth:`tensor`: a least-squares fit to the constants of pairs.

        Parameters
        ----------
        force_constants : array-like or phonopy.Phonopy
            Tensors of shape (n_atoms + n_bonds, 3, 3) or (n_samples, n_atoms + n_bonds,
            3, 3) in eV/Angstrom^2 as :meth:`tensor` returns them, or a phonopy
            calculation of the same crystal with the same axes, in which bonds that fold
            onto one atom of the supercell share its value.
        return_residual : bool, default=False
            Whether to return the residual too.

        Returns
        -------
        parameters : ndarray of shape (n_parameters,) or (n_samples, n_parameters)
            In eV/Angstrom^2. Those of a reduced model stand for what is closest, over
            all bonds, to the constants of its `full_model`.
        residual : float or ndarray of shape (n_samples,)
            What the model cannot reproduce of the constants, on-site terms and those
            beyond its shells included: root mean square over that of the constants.
            Only where `return_residual` is set.

        Raises
        ------
        ValueError
            If the constants are not of this crystal, or the supercell cannot tell the
            parameters apart.
        """
        crystal = self._full_crystal
        slots = supercells.lay_out(
            force_constants, crystal.cell, crystal.bonds, crystal.atoms
        )
        elements, rank = fit_constants(crystal, slots)
        if rank < len(crystal.names) and not slots.shortest:
            raise ValueError(
                f"The force constants cannot tell {len(crystal.names)} parameters "
                f"apart, only {rank}: some neighbours fold onto one atom of the "
                "supercell. Keep fewer shells or use a larger supercell."
            )
        parameters = elements[:, crystal.independent]
        if self.reduction is not None:
            reduced = self._crystal
            parameters = closest(reduced, elements)
            elements = (reduced.rule @ parameters.T).T
        if slots.single:
            parameters = parameters[0]
        if not return_residual:
            return parameters
        misfit = slots.given - fold(crystal, elements, slots)
        residual = np.linalg.norm(misfit.reshape(len(misfit), -1), axis=1)
        residual /= np.linalg.norm(slots.given.reshape(len(misfit), -1), axis=1)
        return parameters, float(residual[0]) if slots.single else residual

    def to_phonopy(self, parameters: ArrayLike | None = None) -> Any:
        """Return phonopy objects with these force constants.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters), default=None
            Parameter sets in eV/Angstrom^2; None takes the reference.

        Returns
        -------
        phonopy.Phonopy or list of phonopy.Phonopy
            One object for a single parameter set of shape (n_parameters,), a list for
            an array of them, on `supercell`. If there is none or phonopy, which shares
            the constants of an atom among its nearest images, would not interpolate as
            the model does: on the smallest multiple that keeps all neighbours apart.
            The vectors of a left-handed lattice are reversed, and with them reduced
            wavevectors.

        Raises
        ------
        ValueError
            If there is no reference where it is needed, or Born charges tie the
            constants to `supercell` and it cannot hold them.
        """
        parameters = reference_row(self) if parameters is None else parameters
        return phonopy_models.phonopy_of(self, parameters)
