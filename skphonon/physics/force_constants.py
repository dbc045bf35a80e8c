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

import numpy as np

from skphonon._validation import parameter_rows, reference_row
from skphonon._versioned import VersionedEstimator
from skphonon._warnings import warn_user
from skphonon.physics import supercells, symmetry
from skphonon.physics._atoms import isotope_of_mass
from skphonon.physics._crystal import (
    build_crystal,
    build_structure,
    laue_class,
)
from skphonon.physics._projection import projection
from skphonon.physics._shell_fits import fit_constants, fold, spread
from skphonon.physics.constants import EV_PER_A2_PER_NEWTON_PER_METRE
from skphonon.physics.lattice import SAME_LENGTH, farthest, separating_multiple
from skphonon.physics.lattice_dynamics import add_bonds, signed_sqrt
from skphonon.physics.phonopy_io import load_phonopy
from skphonon.physics.polar import non_analytic_term, polar_term
from skphonon.physics.reduction import (
    closest,
    reduce_crystal,
    reduced_by,
    reduction_of,
)
from skphonon.physics.stability import softest_modes
from skphonon.physics.zone import folded, laue_rotations

__all__ = ["ForceConstantModel"]

_TABLE_UNITS = {"eV/Angstrom^2": 1.0, "N/m": EV_PER_A2_PER_NEWTON_PER_METRE}
_STRUCTURE = ("lattice", "symbol", "positions", "mass", "magnetic_moments")
_FAR_BEYOND = 2.0  # times the longest bond: shells need not be looked at
_VANISHING = 1e-10  # of the largest constant
_UNSOUND_CHARGE = 0.1  # e: sums and changes of Born charges above it get a warning


class ForceConstantModel(VersionedEstimator):
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
    n_shells : int, default=2
        Number of neighbour shells. Neighbours at one distance that no symmetry relates
        count as different shells. None takes the shells that fit into `supercell`: all
        whose bonds are shortest vectors between their atoms there.
    mass : float or sequence of float, default=None
        Mass in amu of all atoms or one an atom; None takes the mean masses of the
        elements, and the masses of isotopes.
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
    magnetic_moments : array-like of shape (n_atoms,) or (n_atoms, 3), default=None
        Magnetic moment of each atom, in any unit, for the symmetry only: atoms are
        equivalent if an operation of the space group, with or without the reversal of
        all moments (time reversal), takes one to the other. One number an atom is a
        collinear moment that rotations do not turn; three are a Cartesian vector. None
        is a crystal without moments.
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

    def __init__(
        self,
        lattice,
        symbol,
        reference,
        *,
        positions=None,
        n_shells=2,
        mass=None,
        supercell=None,
        born_charges=None,
        dielectric=None,
        magnetic_moments=None,
        reduction=None,
    ):
        self.lattice = lattice
        self.symbol = symbol
        self.reference = reference
        self.positions = positions
        self.n_shells = n_shells
        self.mass = mass
        self.supercell = supercell
        self.born_charges = born_charges
        self.dielectric = dielectric
        self.magnetic_moments = magnetic_moments
        self.reduction = reduction

    def __setstate__(self, state):
        """Restore a model, also of a file from before there were reductions."""
        super().__setstate__({"reduction": None, **state})

    @classmethod
    def from_phonopy(
        cls,
        phonopy,
        *,
        cutoff=None,
        n_shells=None,
        force_constants=None,
        symmetrize=False,
    ):
        """Read the force constants of a phonopy calculation.

        Without `cutoff` and `n_shells`, all shells that the supercell holds are kept,
        and the frequencies of the model are those of phonopy; outer shells whose
        constants all vanish are left out, as are those which a supercell of lower
        symmetry than the crystal cuts. Born charges, the dielectric tensor and magnetic
        moments are kept, charges with the symmetry of the crystal and their sum taken
        off, as in phonopy; lengths and constants of any calculator are converted.
        phonopy names no isotopes: set `symbol` afterwards.

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
        model, change = cls._fitted(phonopy, cutoff, n_shells, symmetrize)
        change.tell(symmetrize)
        return model

    @classmethod
    def _fitted(cls, phonopy, cutoff, n_shells, symmetrize):
        """Return a model of a phonopy object, and how it changes the constants."""
        if cutoff is not None and n_shells is not None:
            raise ValueError(
                "cutoff or n_shells may be given, not both; got "
                f"cutoff={cutoff:g}, n_shells={n_shells}."
            )
        stored = supercells.read_supercell(phonopy, check=not symmetrize)
        lattice, symbols, positions, masses, moments = supercells.read_cell(phonopy)
        born_charges, dielectric, unsound = supercells.read_charges(phonopy)
        if max(unsound) > _UNSOUND_CHARGE:
            warn_user(
                "Born charges must sum to zero and have the symmetry of the crystal, "
                f"but summed to up to {unsound[0]:.2g} e and were changed by up to "
                f"{unsound[1]:.2g} e to do so: converge them, or check that they are "
                "of this crystal, in this order of atoms and indices.",
                UserWarning,
            )
        _warn_of_isotopes(symbols, masses)
        single = len(symbols) == 1
        model = cls(
            lattice,
            symbols[0] if single else symbols,
            None,
            positions=None if single else positions,
            n_shells=None,
            mass=float(masses[0]) if single else masses,
            supercell=np.rint(stored.lattice @ np.linalg.inv(lattice)).astype(int).T,
            born_charges=born_charges,
            dielectric=dielectric,
            magnetic_moments=moments,
        )
        if cutoff is not None:
            n_shells = model._count_within(cutoff)
        if n_shells is not None:
            model._check_reach(n_shells)
            model.n_shells = n_shells
        model.reference = model.parameters(stored)
        change = projection(model, stored, truncated=n_shells is not None)
        return model if n_shells is not None else model._trimmed(), change

    @classmethod
    def from_calculator(
        cls,
        atoms,
        calculator=None,
        *,
        supercell=None,
        displacement=0.01,
        cutoff=None,
        n_shells=None,
        symmetrize=False,
    ):
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
        try:
            import ase  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "ForceConstantModel.from_calculator needs ASE: "
                "pip install skphonon[ase]."
            ) from error
        calculator = atoms.calc if calculator is None else calculator
        if calculator is None:
            raise ValueError(
                "A calculator must give the forces, got none. Pass calculator or "
                "attach one: atoms.calc = ..."
            )
        if not np.all(atoms.pbc):
            raise ValueError(
                "atoms must be periodic in three dimensions, got "
                f"pbc={atoms.pbc.tolist()}. Set atoms.pbc = True."
            )
        phonons = supercells.displace(atoms, calculator, supercell, displacement)
        model, change = cls._fitted(phonons, cutoff, n_shells, symmetrize)
        change.tell(symmetrize)
        return model

    @classmethod
    def from_table(
        cls,
        lattice,
        symbol,
        constants,
        *,
        positions=None,
        mass=None,
        unit="eV/Angstrom^2",
    ):
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
        return model.set_params(reference=_TABLE_UNITS[unit] * values)

    @property
    def parameter_names(self):
        """Names of the parameters, in order."""
        return list(self._crystal().names)

    @property
    def cell(self):
        """The cell with its atoms, as phonopy has it: isotopes as their elements."""
        return self._structure().cell.copy()  # equal models share that of the crystal

    @property
    def symbols(self):
        """Symbol of each atom of the cell."""
        return list(self._structure().symbols)

    @property
    def n_atoms(self):
        """Number of atoms in the cell."""
        return len(self._structure().cell)

    @property
    def atomic_masses(self):
        """Masses in amu, shape (n_atoms,)."""
        return self._structure().cell.masses

    @property
    def bonds(self):
        """Cartesian vectors to all neighbours, shape (n_bonds, 3), in Angstrom."""
        return self._crystal().bonds.copy()

    @property
    def bond_atoms(self):
        """First and second atom of each bond, shape (n_bonds, 2)."""
        return self._crystal().atoms.copy()

    @property
    def bond_tensors(self):
        """Change of K with each parameter, shape (n_parameters, n_bonds, 3, 3).

        A dense array, made at every access: nothing in the package needs it whole.
        """
        crystal = self._crystal()
        tensors = np.zeros((len(crystal.names), len(self.bonds), 3, 3))
        start = 0
        for shell, combinations in zip(
            crystal.shells, crystal.combinations, strict=True
        ):
            stop = start + len(shell.bonds)
            tensors[combinations.parameters, start:stop] = np.tensordot(
                combinations.coefficients, shell.tensors, axes=1
            )
            start = stop
        return tensors

    @property
    def full_model(self):
        """The model without its reduction, itself where it has none."""
        if self.reduction is None:
            return self
        reference = self.reference
        if reference is not None:
            reference = self.expand(reference_row(self))
        settings = {"reduction": None, "reference": reference}
        return self.__class__(**{**self.get_params(deep=False), **settings})

    def reduced(
        self,
        by=None,
        *,
        n_shells=None,
        others="free",
        covariance=None,
        samples=None,
        n_components=None,
        map=None,
        names=None,
        origin=None,
    ):
        r"""Return a model of this crystal with fewer parameters.

        A spectrum does not determine hundreds of constants k. A reduced model has
        parameters r, named and linear, :math:`k = M r`, and is a model like any other:
        simulators and inverters take it, and :meth:`tensor`, :meth:`to_phonopy` and
        :meth:`expand` lead back to all constants. It can be reduced again, but not by
        springs. One of these ways must be given:

        - ``by="springs"``: a longitudinal and a transverse spring for each shell,
          ``1L`` and ``1T``. With the bond along :math:`\hat b`,
          :math:`K = k_L\,\hat b \hat b^T + k_T\,(1 - \hat b \hat b^T)`: forces
          that pairs exert along their bond have this form, bent bonds do not.
        - ``by={"stretch": ["1XX", "1XY"], "far": [3, 4]}``: constants, or shells by
          number, that scale together. The parameter of a group is the factor of their
          reference values; its own reference is 1.
        - `covariance` or `samples` of the constants: a common factor of them all,
          ``origin``, and the principal directions of what is left, ``PC1``, ``PC2`` and
          so on, in units of their standard deviations.
        - `map` with `names`: any linear map.

        No constant is held at its reference, since dynamical matrices are linear in the
        parameters: what shall not vary by itself scales together, by the last or first
        parameter (``rest``, ``origin``). Give it a narrow prior or bounds to hold it
        at 1.

        Parameters
        ----------
        by : "springs" or dict, default=None
            Springs, or names of groups to their members: a list of names of parameters
            and numbers of shells, each in one group only.
        n_shells : int, default=None
            Shells that get springs. Constants of those beyond keep the proportions of
            the reference and scale together, as ``rest``. None is all shells.
        others : {"free", "rest"}, default="free"
            Constants in no group: each stays a parameter under its name, or they scale
            together, as ``rest``.
        covariance : array-like of shape (n_parameters, n_parameters), default=None
            What is known of the parameters of this model, such as `covariance_` of a
            :class:`~skphonon.physics.ForceConstantPrior`.
        samples : array-like of shape (n_samples, n_parameters), default=None
            Sets of constants that tell it: rows of several calculations, or those that
            a :class:`~skphonon.physics.ForceConstantPrior` draws.
        n_components : int or float, default=None
            Number of principal directions, or the least share of the variance, between
            0 and 1, that they and the common factor stand for. None is all.
        map : array-like of shape (n_parameters, n_names), default=None
            Change of the parameters of this model with those of the reduced one.
            Constants that no column reaches vanish.
        names : sequence of str, default=None
            Names of the columns of `map`.
        origin : array-like of shape (n_parameters,), default=None
            Constants that one more parameter, ``origin``, multiplies; it is the first.
            None is the reference of the model with `covariance`, the mean with
            `samples`, and no such parameter with `map`.

        Returns
        -------
        ForceConstantModel
            Its `reference` is what comes closest to that of this model, least squares
            over the force constants of all bonds. Of principal directions its
            `reduction` tells the `explained_variance_ratio` and the `covariance` of the
            parameters.

        Raises
        ------
        ValueError
            If not one way is given, or an option of another way; a name or shell is
            unknown; two parameters have one name; the map is singular; a covariance is
            none; or there is no reference where constants scale together.

        Warns
        -----
        UserWarning
            If the reduced model does not reproduce the reference.

        Examples
        --------
        >>> from skphonon import load_aluminium_model
        >>> model = load_aluminium_model()
        >>> model.reduced({"first": [1], "second": [2]}).parameter_names
        ['first', 'second']
        >>> soft = model.reduced({"bend": ["1ZZ", "2YY"]})
        >>> soft.parameter_names
        ['bend', '1XX', '1XY', '2XX']
        >>> soft.expand([0.5, 0.7, 0.6, 0.1]).round(4)
        array([ 0.7   , -0.1253,  0.6   ,  0.1   ,  0.0037])
        """
        reduction = reduction_of(
            self,
            by,
            n_shells,
            others,
            covariance,
            samples,
            n_components,
            map,
            names,
            origin,
        )
        return reduced_by(self, reduction)

    def expand(self, parameters):
        """Return the constants of the crystal that parameters stand for.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters) or (n_parameters,)
            Parameter sets of this model.

        Returns
        -------
        ndarray of shape (n_samples, n_constants) or (n_constants,)
            In eV/Angstrom^2, parameters of `full_model`: those given where the model is
            not reduced.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        if self.reduction is not None:
            rows = rows @ self.reduction.matrix.T
        return rows[0] if np.ndim(parameters) == 1 else rows

    def tensor(self, parameters):
        """Return the force constants of every atom of the cell.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.

        Returns
        -------
        ndarray of shape (n_samples, n_atoms + n_bonds, 3, 3)
            The second derivatives of the energy (minus the Born-von Karman
            constants) in eV/Angstrom^2: the on-site term of each atom first, then one
            for each row of `bonds`. Those of an atom sum to zero.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        pairs, first = self._pairs(rows), self._crystal().atoms[:, 0]
        tensors = np.concatenate([np.zeros((len(rows), self.n_atoms, 3, 3)), -pairs], 1)
        np.add.at(tensors, (slice(None), first), pairs)
        return tensors

    def parameter_gradient(self, tensor_gradient):
        """Return derivatives with the parameters, of those with the force constants.

        The transposed map of :meth:`tensor`: what takes gradients backwards.

        Parameters
        ----------
        tensor_gradient : array-like of shape (n_samples, n_atoms + n_bonds, 3, 3)
            Derivatives of a scalar with each element that :meth:`tensor` returns.

        Returns
        -------
        ndarray of shape (n_samples, n_parameters)
            Its derivatives with the parameters.

        Raises
        ------
        ValueError
            If `tensor_gradient` has another shape.
        """
        given = np.asarray(tensor_gradient, dtype=float)
        crystal, n_atoms = self._crystal(), self.n_atoms
        shape = n_atoms + len(crystal.bonds), 3, 3
        if given.ndim != 4 or given.shape[1:] != shape:
            raise ValueError(
                "tensor_gradient must have the shape of tensor(parameters), "
                f"(n_samples, {shape[0]}, 3, 3); got {given.shape}."
            )
        pairs = given[:, crystal.atoms[:, 0]] - given[:, n_atoms:]
        elements = crystal.spread.T @ pairs.reshape(len(given), -1).T
        return (crystal.rule.T @ elements).T

    def parameters(self, force_constants, *, return_residual=False):
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
        crystal = self._full_crystal()
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
            reduced = self._crystal()
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

    def dynamical_matrix_basis(self, wavevectors):
        """Return the change of the dynamical matrices with each parameter.

        Phases are those of the vectors from atom to atom, see
        :func:`~skphonon.physics.lattice_dynamics.dynamical_matrix_basis`.

        Parameters
        ----------
        wavevectors : array-like of shape (n_points, 3)
            Cartesian, in 1/Angstrom, with the factor 2 pi.

        Returns
        -------
        ndarray of shape (n_parameters, n_points, 3 * n_atoms, 3 * n_atoms)
            meV^2 for each eV/Angstrom^2: real for one atom a cell, complex otherwise.
        """
        crystal, roots = self._crystal(), np.sqrt(self.atomic_masses)
        points = np.asarray(wavevectors, dtype=float)
        matrices = self._empty_matrices(len(crystal.names), len(points))
        for shell, (parameters, coefficients) in zip(
            crystal.shells, crystal.combinations, strict=True
        ):
            tensors = np.tensordot(coefficients, shell.tensors, axes=1)
            add_bonds(
                matrices, parameters, shell.bonds, shell.atoms, tensors, roots, points
            )
        return matrices

    def dynamical_matrix_offset(self, wavevectors):
        """Return what does not depend on the parameters: the polar term.

        Parameters
        ----------
        wavevectors : array-like of shape (n_points, 3)
            Cartesian, in 1/Angstrom, with the factor 2 pi.

        Returns
        -------
        ndarray of shape (n_points, 3 * n_atoms, 3 * n_atoms) or None
            In meV^2; None where the crystal has no Born charges.

        Raises
        ------
        ValueError
            If Born charges come without a dielectric tensor or supercell.
        """
        if not self._is_polar():
            return None
        cell = self.cell
        return polar_term(
            cell.cell,
            cell.scaled_positions,
            cell.masses,
            self.born_charges,
            self.dielectric,
            supercells.as_matrix(self.supercell),
            wavevectors,
        )

    def non_analytic_term(self, directions):
        """Return what the macroscopic field of a polar crystal adds at the zone centre.

        Parameters
        ----------
        directions : array-like of shape (n_directions, 3)
            Cartesian directions from which the zone centre is approached.

        Returns
        -------
        ndarray of shape (n_directions, 3 * n_atoms, 3 * n_atoms) or None
            In meV^2, to be added to the matrix of :meth:`dynamical_matrices` there;
            None where the crystal has no Born charges.

        Raises
        ------
        ValueError
            If Born charges come without a dielectric tensor or supercell.
        """
        if not self._is_polar():
            return None
        cell = self.cell
        return non_analytic_term(
            cell.cell, cell.masses, self.born_charges, self.dielectric, directions
        )

    def dynamical_matrices(self, parameters, wavevectors):
        """Return dynamical matrices.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        wavevectors : array-like of shape (n_points, 3)
            Cartesian, in 1/Angstrom, with the factor 2 pi.

        Returns
        -------
        ndarray of shape (n_samples, n_points, 3 * n_atoms, 3 * n_atoms)
            In meV^2, the polar term included: eigenvalues are squared phonon energies.
        """
        rows = parameter_rows(parameters, self._crystal().names)
        points = np.asarray(wavevectors, dtype=float)
        if len(rows) > rows.shape[1]:
            basis = self.dynamical_matrix_basis(points)
            matrices = np.tensordot(rows, basis, axes=1)
        else:
            matrices = self._bond_matrices(rows, points)
        offset = self.dynamical_matrix_offset(points)
        return matrices if offset is None else matrices + offset

    def frequencies(self, parameters, qpoints):
        """Return phonon energies.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        qpoints : array-like of shape (n_points, 3)
            Wavevectors in units of the reciprocal lattice, as in phonopy. At the zone
            centre of a polar crystal the non-analytic term, which depends on the
            direction of approach, is left out.

        Returns
        -------
        ndarray of shape (n_samples, n_points, 3 * n_atoms)
            Energies in meV, ascending; unstable modes are negative.
        """
        wavevectors = np.asarray(qpoints, dtype=float) @ self.reciprocal_lattice()
        matrices = self.dynamical_matrices(parameters, wavevectors)
        return signed_sqrt(np.linalg.eigvalsh(matrices))

    def is_stable(self, parameters, *, mesh=None):
        """Tell which parameter sets describe a stable crystal.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        mesh : int or tuple of three int, default=None
            Points along each reciprocal axis of the mesh that is looked at, besides
            long waves along the shortest directions of the reciprocal lattice. None
            takes points for 24 Angstrom.

        Returns
        -------
        ndarray of bool of shape (n_samples,)
            True where no mode that is looked at has an imaginary frequency.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        return softest_modes(self, rows, mesh).eigenvalues >= 0

    def reciprocal_lattice(self):
        """Return the reciprocal lattice.

        Returns
        -------
        ndarray of shape (3, 3)
            Reciprocal lattice vectors in rows, 1/Angstrom, with the factor 2 pi.
        """
        return 2 * np.pi * np.linalg.inv(self.cell.cell).T

    def point_group(self):
        """Return the rotations that leave the phonons unchanged: the Laue class.

        Returns
        -------
        ndarray of shape (n_rotations, 3, 3)
            Cartesian rotation matrices of the space group and of inversion, which the
            phonons have in any crystal (time reversal).
        """
        group = self._structure().group
        return np.concatenate([group.cartesian, -group.cartesian])[laue_class(group)]

    def symmetry_operations(self):
        """Return what the space group does to directions and to the atoms of the cell.

        Returns
        -------
        rotations : ndarray of shape (n_operations, 3, 3)
            Cartesian rotation matrices.
        permutations : ndarray of int of shape (n_operations, n_atoms)
            Number of the atom onto which each atom goes, but for lattice translations.
        """
        group = self._structure().group
        order = len(group.rotations)
        flat = np.hstack([group.rotations.reshape(order, -1), group.permutations])
        _, unique = np.unique(flat, axis=0, return_index=True)
        return group.cartesian[unique], group.permutations[unique]

    def inversion_partners(self):
        """Return where an inversion of the crystal takes each atom of the cell.

        Returns
        -------
        ndarray of int of shape (n_atoms,) or None
            Number of the image of each atom; None if there is no centre of inversion.
        """
        group = self._structure().group
        inversions = (group.rotations == -np.eye(3, dtype=int)).all(axis=(1, 2))
        return group.permutations[inversions.argmax()] if inversions.any() else None

    def mesh(self, n_points):
        """Return a mesh of the Brillouin zone, folded by the Laue class.

        Parameters
        ----------
        n_points : int or sequence of three int
            Points along each reciprocal axis. They lie half a step off the zone
            centre, which is thus left out.

        Returns
        -------
        wavevectors : ndarray of shape (n_irreducible, 3)
            Cartesian, in 1/Angstrom.
        weights : ndarray of shape (n_irreducible,)
            Share of the zone that each stands for; they sum to one.
        """
        if np.shape(n_points) not in ((), (3,)) or np.min(n_points) < 1:
            raise ValueError(
                "n_points must be one number or three, at least 1 an axis; got "
                f"{n_points}."
            )
        points, period, shares = folded(
            np.broadcast_to(n_points, 3).tolist(), True, laue_rotations(self)
        )
        return points / period @ self.reciprocal_lattice(), shares

    def to_phonopy(self, parameters=None):
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
        from phonopy import Phonopy

        parameters = reference_row(self) if parameters is None else parameters
        crystals, cell = [], symmetry.right_handed(self.cell)
        for tensor in self.tensor(parameters):
            crystal = Phonopy(
                cell,
                supercell_matrix=self._sufficient_supercell(tensor),
                primitive_matrix=np.eye(3),
            )
            sites, ends = supercells.fold_onto(crystal, self.bonds, self.bond_atoms)
            constants = np.zeros((self.n_atoms, len(crystal.supercell), 3, 3))
            atoms = np.arange(self.n_atoms)
            np.add.at(constants, (atoms, sites), tensor[: self.n_atoms])
            np.add.at(constants, (self.bond_atoms[:, 0], ends), tensor[self.n_atoms :])
            crystal.force_constants = constants
            if self._is_polar():
                crystal.nac_params = {
                    "born": np.array(self.born_charges, dtype=float),
                    "dielectric": np.array(self.dielectric, dtype=float),
                    "factor": supercells.coulomb_factor(),
                }
            crystals.append(crystal)
        return crystals[0] if np.ndim(parameters) == 1 else crystals

    def cached(self, name, build):
        """Return what follows from the structure alone, made once for all equal ones.

        Parameters
        ----------
        name : hashable
            What it is.
        build : callable
            Makes it.

        Returns
        -------
        object
            What `build` returned the first time: do not change it.
        """
        return self._cached(name, build, _STRUCTURE)

    def _crystal(self):
        """Return shells and how the parameters give their elements."""
        if self.reduction is None:
            return self._full_crystal()
        return self._cached(
            "reduced crystal",
            lambda: reduce_crystal(self._full_crystal(), self.reduction),
            (*_STRUCTURE, "n_shells", "supercell", "reduction"),
        )

    def _full_crystal(self):
        """Return what follows from the structure and the number of shells."""
        if self.n_shells is None and self.supercell is None:
            raise ValueError(
                "n_shells=None takes the shells that fit into a supercell, got none. "
                "Give supercell or n_shells."
            )
        if self.n_shells is not None and self.n_shells < 1:
            raise ValueError(f"n_shells must be at least 1, got {self.n_shells}.")
        return self._cached(
            "crystal",
            lambda: build_crystal(self._structure(), self.n_shells, self.supercell),
            (*_STRUCTURE, "n_shells", *(["supercell"] * (self.n_shells is None))),
        )

    def _structure(self):
        """Return the cell and its space group."""
        return self._cached(
            "structure",
            lambda: build_structure(*(getattr(self, name) for name in _STRUCTURE)),
            _STRUCTURE,
        )

    def _pairs(self, rows):
        """K of every bond (n_samples, n_bonds, 3, 3) of parameter sets."""
        crystal = self._crystal()
        return spread(crystal, (crystal.rule @ rows.T).T)

    def _bond_matrices(self, rows, points):
        """Dynamical matrices of parameter sets, without the polar term."""
        crystal = self._crystal()
        matrices = self._empty_matrices(len(rows), len(points))
        add_bonds(
            matrices,
            np.arange(len(rows)),
            crystal.bonds,
            crystal.atoms,
            self._pairs(rows),
            np.sqrt(self.atomic_masses),
            points,
        )
        return matrices

    def _empty_matrices(self, n_sets, n_points):
        size = 3 * self.n_atoms
        dtype = float if self.n_atoms == 1 else complex
        return np.zeros((n_sets, n_points, size, size), dtype=dtype)

    def _is_polar(self):
        given = [self.born_charges is not None, self.dielectric is not None]
        if any(given) and not (all(given) and self.supercell is not None):
            raise ValueError(
                "A polar crystal needs born_charges, dielectric and supercell together "
                "(constants on a supercell hold part of the polar term), got None for "
                "one of them."
            )
        return all(given)

    def _count_within(self, cutoff):
        vectors = supercells.as_matrix(self.supercell).T @ self.cell.cell
        longest = farthest(vectors)
        if cutoff > _FAR_BEYOND * longest:
            raise ValueError(
                "The cutoff is beyond the supercell: no shortest vector on it is "
                f"longer than {longest:.4f} Angstrom, got {cutoff:g}. Leave cutoff out "
                "to keep all shells that fit."
            )
        n_shells = len(symmetry.orbits_within(*self._structure()[:2], cutoff).members)
        if not n_shells:
            raise ValueError(
                f"cutoff must reach the nearest neighbours, got {cutoff:g} Angstrom."
            )
        return n_shells

    def _check_reach(self, n_shells):
        cell, group, _ = self._structure()
        vectors = supercells.as_matrix(self.supercell).T @ cell.cell
        orbits = symmetry.first_orbits(cell, group, n_shells)
        beyond = np.setdiff1d(np.arange(n_shells), symmetry.inside(orbits, vectors))
        if len(beyond):
            number = beyond[0]
            lengths = np.array(
                [np.linalg.norm(orbits.bonds(n)[0]) for n in range(n_shells)]
            )
            allowed = lengths[lengths < lengths[number] - SAME_LENGTH]
            raise ValueError(
                f"The cutoff is beyond the supercell: shell {number + 1} at "
                f"{lengths[number]:.4f} Angstrom has shorter images on it. Keep at "
                f"most n_shells={number} (cutoff={allowed.max(initial=0):.4f}) or "
                "use a larger supercell."
            )

    def _trimmed(self):
        """Return the model without the outermost shells whose constants vanish."""
        crystal = self._crystal()
        tensor = np.abs(self.tensor(self.reference)[0, self.n_atoms :]).max(axis=(1, 2))
        numbers = np.repeat(
            [shell.number for shell in crystal.shells],
            [len(shell.bonds) for shell in crystal.shells],
        )
        last = int(numbers[tensor > _VANISHING * tensor.max()].max(initial=1))
        kept = [shell.number for shell in crystal.shells if shell.number <= last]
        if last == crystal.shells[-1].number or len(kept) < last:
            return self
        tensors = self.tensor(self.reference)[0]
        trimmed = self.__class__(**{**self.get_params(), "n_shells": last})
        trimmed.reference = trimmed.parameters(
            tensors[: self.n_atoms + len(trimmed.bonds)]
        )
        return trimmed

    def _sufficient_supercell(self, tensor):
        """Return a supercell on which phonopy interpolates as the model does."""
        lattice, bonds = self.cell.cell, self.bonds
        matrix = np.eye(3, dtype=int)
        if self.supercell is not None:
            matrix = supercells.as_matrix(self.supercell)
            pairs, vectors = tensor[self.n_atoms :], matrix.T @ lattice
            if supercells.share_equally(pairs, bonds, self.bond_atoms, vectors):
                return matrix
            if self._is_polar():
                raise ValueError(
                    "The constants cannot be stored on the supercell that goes with "
                    "the Born charges: phonopy shares those of an atom equally among "
                    "its nearest images, but here these differ. Keep fewer shells."
                )
        return separating_multiple(matrix, lattice, bonds)


def _warn_of_isotopes(symbols, masses):
    """Warn of masses that say an isotope."""
    found = [isotope_of_mass(*pair) for pair in zip(symbols, masses, strict=True)]
    if any(found):
        atom = next(number for number, isotope in enumerate(found) if isotope)
        named = [new or old for new, old in zip(found, symbols, strict=True)]
        symbol = named[0] if len(named) == 1 else named
        warn_user(
            f"The mass of {symbols[atom]}, {masses[atom]:.4g} amu, is that of "
            f"{found[atom]}, but phonopy names no isotopes and the model scatters as "
            f"natural {symbols[atom]}: if it should not, call "
            f"model.set_params(symbol={symbol!r}).",
            UserWarning,
        )
