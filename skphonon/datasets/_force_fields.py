"""Force constants of a crystal from several force fields, strained and warm."""

from itertools import product
from numbers import Integral

import numpy as np
from tqdm.auto import tqdm

from skphonon.datasets._calculators import ForceField, named_calculators
from skphonon.datasets._results import KeptResults
from skphonon.physics import supercells
from skphonon.physics.force_constants import ForceConstantModel
from skphonon.physics.priors import ForceConstantPrior
from skphonon.physics.symmetry import right_handed
from skphonon.physics.zone import ZoneMesh, resolving_points

__all__ = ["sample_force_constants"]

_FORMAT = 1  # of the files in a cache: another number, other results


def sample_force_constants(
    calculators,
    structure,
    *,
    cutoff=None,
    n_shells=None,
    supercell=None,
    relax_cell=True,
    strains=(-0.01, 0.0, 0.01),
    temperatures=(0.0,),
    softening=1.0,
    n_displacements=4,
    displacement=0.02,
    max_force=1e-3,
    cache=None,
    random_state=None,
    verbose=0,
):
    r"""Compute the force constants of a crystal with several force fields.

    Each calculator relaxes the crystal, which keeps its symmetry, and gives the forces
    on supercells in which all atoms are displaced at random, at every strain and
    temperature. The constants are the least-squares fit of a
    :class:`ForceConstantModel` to the forces. How they spread is a distribution to draw
    training sets from, or a prior of an optimiser.

    At temperature 0 displacements are small and the constants harmonic. Above, they are
    those of the quantum harmonic crystal in equilibrium, drawn with the constants at 0
    and once more with those that this gives (Shulumba et al., Phys. Rev. B 95, 014302
    (2017), doi:10.1103/PhysRevB.95.014302). The lattice does not expand with
    temperature: strains stand for it.

    Universal force fields are too soft (Deng et al., npj Comput. Mater. 11, 9 (2025),
    doi:10.1038/s41524-024-01500-6). Set `softening`, or learn it afterwards from a
    phonon energy that is known (:meth:`ForceConstantPrior.learn_softening`,
    :meth:`ForceConstantPrior.rescaled`).

    Parameters
    ----------
    calculators : ase Calculator, str, or sequence or dict of these
        Sources of the forces. A string is the name of a checkpoint of SevenNet, with
        the modality after a colon if there are several: ``"7net-0"``, ``"7net-l3i5"``,
        ``"7net-0_22May2024"``, ``"7net-mf-0:PBE"`` come with its package
        (``pip install skphonon[mlff]``). The keys of a dict name calculators in the
        table and in the cache.
    structure : ForceConstantModel, ase.Atoms or phonopy.structure.atoms.PhonopyAtoms
        The crystal. A model lends its parameters; any other is made one on the
        primitive cell, and `cutoff` or `n_shells` must be given.
    cutoff : float, default=None
        Longest bond of the model that is made of a structure, in Angstrom.
    n_shells : int, default=None
        Number of shells of that model.
    supercell : array-like of int of shape (3, 3) or (3,), default=None
        In units of the cell of `structure`. None takes that of the model, without one
        the smallest multiples that are 12 Angstrom wide. Constants on a supercell hold
        the forces of all images: compare only those of equal supercells. A model with
        Born charges needs its own, on which the dipole term that it adds vanishes.
    relax_cell : bool, default=True
        Whether the lattice relaxes too, which needs the stress. Otherwise strains
        count from the lattice that `structure` has: that of a measurement, perhaps.
    strains : sequence of float, default=(-0.01, 0.0, 0.01)
        Relative changes of all lengths.
    temperatures : sequence of float, default=(0.0,)
        In K.
    softening : float or dict, default=1.0
        Curvature of a force field in units of the true one, of all or by the name of
        the calculator. The constants are divided by it.
    n_displacements : int, default=4
        Random displacements of the supercell for a fit; each with either sign.
    displacement : float, default=0.02
        Standard deviation of small displacements, in Angstrom.
    max_force : float, default=1e-3
        Force at which a relaxation ends, in eV/Angstrom.
    cache : path-like, default=None
        Folder in which results are kept, in files named after calculator and state and
        the hash of all that they depend on. Results found there are not computed again,
        so an interrupted run goes on where it stopped. A name must always stand for the
        same calculator: the cache takes no other notice of it.
    random_state : int or None, default=None
        Seed of the displacements. None takes results of any such run from the cache.
    verbose : int, default=0
        Positive shows a progress bar.

    Returns
    -------
    ForceConstantPrior
        Its `table` has a row for each calculator, strain and temperature, with
        ``lattice_scale``, the factor of the lengths of the structure given.

    Raises
    ------
    ImportError
        If ASE, or SevenNet for a checkpoint by name, is not installed.
    ValueError
        If a calculator gives no forces (or stress), the crystal does not relax, or not
        to a similar one, the constants describe an unstable crystal, the supercell or
        the displacements do not determine the parameters, or a file of the cache is
        damaged.
    TypeError
        If `structure` or a calculator is none.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from skphonon.datasets import sample_force_constants
    >>> prior = sample_force_constants(
    ...     EMT(), bulk("Al"), n_shells=2, supercell=[4, 4, 4], random_state=0
    ... )
    >>> prior.table[["calculator", "strain", "1XX"]].round(2)
      calculator  strain   1XX
    0        EMT   -0.01  0.56
    1        EMT    0.00  0.51
    2        EMT    0.01  0.46
    """
    _require_ase()
    calculators = named_calculators(calculators)
    model, matrix = _crystal(structure, cutoff, n_shells, supercell)
    settings = {
        "relax_cell": bool(relax_cell),
        "n_displacements": int(n_displacements),
        "displacement": float(displacement),
        "max_force": float(max_force),
        "random_state": _seed(random_state),
    }
    _check_states(strains, temperatures, settings)
    results = KeptResults(cache, _identity(model, matrix, settings))
    runs = list(product(calculators, map(float, strains), map(float, temperatures)))
    rows, progress = [], tqdm(runs, desc="Force constants", disable=not verbose)
    fields = {
        name: ForceField(name, calculator, model, matrix, settings, results)
        for name, calculator in calculators.items()
    }
    for name, strain, temperature in progress:
        constants = fields[name].constants(strain, temperature)
        _check_stable(model, constants, name, strain, temperature)
        size = np.linalg.det(fields[name].crystal(strain)[0])
        scale = (size / np.linalg.det(model.cell.cell)) ** (1 / 3)
        state = [name, strain, temperature, 1.0, scale]
        rows.append([*state, *constants])
    return _prior(model, rows, softening)


def _identity(model, matrix, settings):
    """Return all that results depend on but the calculator and the state."""
    cell = model.cell
    moments = cell.magnetic_moments
    magnetic = {} if moments is None else {"magnetic_moments": moments.tolist()}
    return {
        "format": _FORMAT,
        "lattice": (np.round(cell.cell, 8) + 0.0).tolist(),  # no -0
        "positions": (np.round(cell.scaled_positions, 8) + 0.0).tolist(),
        "symbols": model.symbols,
        "masses": np.asarray(cell.masses).tolist(),
        "parameters": model.parameter_names,
        "supercell": np.asarray(matrix).tolist(),
        **magnetic,
        **settings,
    }


def _require_ase():
    try:
        import ase  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "sample_force_constants needs ASE: pip install skphonon[ase], or "
            "skphonon[mlff] with force fields."
        ) from error


def _crystal(structure, cutoff, n_shells, supercell):
    """Return a model and the matrix of its supercell."""
    given = [value for value in (cutoff, n_shells) if value is not None]
    if isinstance(structure, ForceConstantModel):
        if given:
            raise ValueError(
                "A model has its shells: give no cutoff or n_shells, or a structure."
            )
        return structure, _multiples(structure, supercell)
    if len(given) != 1:
        raise ValueError(
            "A structure needs cutoff or n_shells, one of them, to say which constants "
            f"there are; got cutoff={cutoff}, n_shells={n_shells}."
        )
    whole = right_handed(_as_phonopy(structure))
    cell = supercells.primitive_cell(whole)
    model = ForceConstantModel(
        np.array(cell.cell),
        tuple(cell.symbols),
        None,
        positions=np.array(cell.scaled_positions),
        n_shells=1 if n_shells is None else n_shells,
        mass=np.array(cell.masses),
        magnetic_moments=cell.magnetic_moments,
    )
    if cutoff is not None:
        model = model.replace(n_shells=model.shells_within(cutoff))
    if supercell is not None:
        change = np.rint(whole.cell @ np.linalg.inv(cell.cell)).astype(int)
        supercell = change.T @ supercells.as_matrix(supercell)
    return model, _multiples(model, supercell)


def _as_phonopy(structure):
    from ase import Atoms
    from phonopy.structure.atoms import PhonopyAtoms

    if isinstance(structure, PhonopyAtoms):
        return structure
    if not isinstance(structure, Atoms):
        raise TypeError(
            "structure must be a ForceConstantModel, ase.Atoms or PhonopyAtoms, got "
            f"{structure!r}."
        )
    if not np.all(structure.pbc):
        raise ValueError(
            "structure must be periodic in three dimensions, got "
            f"pbc={structure.pbc.tolist()}. Set atoms.pbc = True."
        )
    return supercells.as_phonopy(structure)


def _multiples(model, supercell):
    own = None if model.supercell is None else supercells.as_matrix(model.supercell)
    if supercell is None:
        wide = np.diag(supercells.wide_multiples(model.cell.cell))
        return wide if own is None else own
    matrix = supercells.as_matrix(supercell)
    same = own is not None and np.array_equal(matrix, own)
    if model.born_charges is not None and not same:
        raise ValueError(
            "The constants of a model with Born charges belong to its supercell, "
            f"{np.asarray(own).tolist()}, got {matrix.tolist()}. Leave supercell out."
        )
    return matrix


def _check_states(strains, temperatures, settings):
    for name, values in (("strains", strains), ("temperatures", temperatures)):
        lowest = -0.5 if name == "strains" else 0.0
        array = np.asarray(values, dtype=float)
        good = array.ndim == 1 and array.size and np.isfinite(array).all()
        if not good or array.min() < lowest or len(set(array)) < array.size:
            raise ValueError(
                f"{name} must be different numbers from {lowest:g} on, one at least; "
                f"got {values!r}."
            )
    for name in ("n_displacements", "displacement", "max_force"):
        if not settings[name] > 0:
            raise ValueError(f"{name} must be positive, got {settings[name]}.")


def _seed(random_state):
    if random_state is None:
        return None
    if not isinstance(random_state, Integral) or random_state < 0:
        raise ValueError(
            "random_state must be a number from 0 on or None, got "
            f"{random_state!r}: the draws of a state depend on it alone, whatever else "
            "is computed."
        )
    return int(random_state)


def _check_stable(model, constants, name, strain, temperature):
    if not model.is_stable(constants[None])[0]:
        lowest = model.frequencies(constants[None], _zone(model)).min()
        raise ValueError(
            f"The constants must describe a stable crystal, but those of {name} at "
            f"strain {strain:g} and {temperature:g} K have modes down to {lowest:.3g} "
            "meV (negative is unstable). Leave this state out, keep more shells, or "
            "take a larger supercell."
        )


def _zone(model):
    wavevectors, _ = resolving_points(model, ZoneMesh(8))
    return wavevectors @ np.linalg.inv(model.reciprocal_lattice())


def _prior(model, rows, softening):
    import pandas as pd

    states = ["calculator", "strain", "temperature", "scale", "lattice_scale"]
    table = pd.DataFrame(rows, columns=[*states, *model.parameter_names])
    prior = ForceConstantPrior(model, table).rescaled(softening)
    if model.reference is None:
        prior.model = model.replace(reference=prior.mean_)
    return prior
