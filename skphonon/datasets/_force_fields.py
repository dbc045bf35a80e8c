"""Force constants of a crystal from force fields, strained and warm.

Displacements come in pairs of opposite sign: what is even in them, such as the force on
a site at rest and the cubic part of the potential, drops out of their difference.
"""

import json
import re
from hashlib import sha256
from itertools import product
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.base import clone
from tqdm import tqdm

from skphonon._files import write_whole
from skphonon.datasets._priors import ForceConstantPrior
from skphonon.physics import _supercells as supercells
from skphonon.physics._force_fits import fit_forces, lay_out, thermal_displacements
from skphonon.physics.force_constants import ForceConstantModel

__all__ = ["sample_force_constants"]

_FORMAT = 1  # of the files in a cache: another number, other results
_ROUNDS = 2  # of drawing thermal displacements and fitting anew
_MAX_STEPS = 500  # of a relaxation
_MAX_STEP = 0.05  # of it, in Angstrom or strain: larger ones lose the symmetry
_MAX_CHANGE = 0.1  # of the lengths of a cell when it relaxes


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
    training sets from, or what an optimiser knows beforehand.

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
        What gives the forces. A string is the name of a checkpoint of SevenNet, with
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
        the hash of all that they depend on. What is there is not computed again, so an
        interrupted run goes on where it stopped. A name must always stand for the same
        calculator: the cache takes no other notice of it.
    random_state : int or None, default=None
        Seed of the displacements. None takes what the cache has of any such run.
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
    >>> from skphonon import sample_force_constants
    >>> prior = sample_force_constants(
    ...     EMT(), bulk("Al"), n_shells=2, supercell=[4, 4, 4], random_state=0
    ... )
    >>> prior.table[["calculator", "strain", "1XX"]].round(2)
      calculator  strain   1XX
    0        EMT   -0.01  0.73
    1        EMT    0.00  0.61
    2        EMT    0.01  0.51
    """
    _require_ase()
    calculators = _named(calculators)
    model, matrix = _crystal(structure, cutoff, n_shells, supercell)
    settings = {
        "relax_cell": bool(relax_cell),
        "n_displacements": int(n_displacements),
        "displacement": float(displacement),
        "max_force": float(max_force),
        "random_state": random_state,
    }
    _check_states(strains, temperatures, settings)
    results = _Results(cache, _identity(model, matrix, settings))
    runs = list(product(calculators, map(float, strains), map(float, temperatures)))
    rows, progress = [], tqdm(runs, desc="Force constants", disable=not verbose)
    fields = {
        name: _ForceField(name, calculator, model, matrix, settings, results)
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


class _ForceField:
    """One calculator and the constants that it gives."""

    def __init__(self, name, calculator, model, matrix, settings, results):
        self.name = name
        self.calculator = calculator
        self.model = model
        self.layout = lay_out(model, matrix)
        self.settings = settings
        self.results = results

    def constants(self, strain, temperature):
        """Return the constants in a state, (n_parameters,)."""
        return self._recall(
            f"{strain:+g}-{temperature:g}K", lambda: self._fit(strain, temperature)
        )

    def crystal(self, strain):
        """Return relaxed lattice and scaled positions, (3 + n_atoms, 3), split."""
        both = self._recall(f"{strain:+g}-crystal", lambda: self._relax_atoms(strain))
        return both[:3], both[3:]

    def _recall(self, state, compute):
        return np.array(self.results.recall(f"{self.name}-{state}", compute))

    def _fit(self, strain, temperature):
        rng = self._random_state(strain, temperature)
        n_sites = len(self.layout.cells) * self.model.n_atoms
        shape = (self.settings["n_displacements"], n_sites, 3)
        if temperature == 0:
            drawn = self.settings["displacement"] * rng.standard_normal(shape)
            return self._fit_forces(strain, drawn)
        constants = self.constants(strain, 0.0)
        for _ in range(_ROUNDS):
            drawn = thermal_displacements(
                self.model, self.layout, constants, temperature, shape[0], rng
            )
            constants = self._fit_forces(strain, drawn)
        return constants

    def _random_state(self, strain, temperature):
        """Return what draws in a state, whatever else is computed."""
        seed = self.settings["random_state"]
        if seed is None:
            return np.random.RandomState()
        digest = sha256(f"{strain!r} {temperature!r}".encode()).digest()
        key = tuple(np.frombuffer(digest, dtype=np.uint32).tolist())
        seeds = np.random.SeedSequence(seed, spawn_key=key)
        return np.random.RandomState(np.random.MT19937(seeds))

    def _fit_forces(self, strain, displacements):
        lattice, scaled = self.crystal(strain)
        sites = (self.layout.cells[:, None] + scaled).reshape(-1, 3) @ lattice
        symbols = self.model.symbols * len(self.layout.cells)
        cell = self.layout.vectors @ lattice
        forces = [
            self._forces(symbols, cell, sites + u)
            - self._forces(symbols, cell, sites - u)
            for u in displacements
        ]
        odd = np.array(forces) / 2
        return fit_forces(self.model, self.layout, displacements, odd)

    def _forces(self, symbols, cell, positions):
        forces = self._atoms(symbols, cell, positions).get_forces()
        if not np.isfinite(forces).all():
            raise ValueError(
                f"The forces of {self.name} must be finite, got NaN or infinity. Check "
                "the calculator on the undisplaced crystal."
            )
        return forces

    def _relax_cell(self):
        cell = self.model.cell
        atoms = self._atoms(cell.symbols, cell.cell, cell.positions)
        if self.settings["relax_cell"]:
            from ase.filters import FrechetCellFilter

            self._relax(atoms, FrechetCellFilter)
            change = np.linalg.svd(atoms.cell[:] @ np.linalg.inv(cell.cell))[1]
            if np.abs(change - 1).max() > _MAX_CHANGE:
                raise ValueError(
                    f"The crystal must relax to a similar one, but {self.name} changes "
                    f"its lengths by factors of {change.min():.3f} to "
                    f"{change.max():.3f}. Start from its lattice, or set "
                    "relax_cell=False."
                )
        return np.vstack([atoms.cell[:], atoms.get_scaled_positions(wrap=False)])

    def _relax_atoms(self, strain):
        both = self._recall("cell", self._relax_cell)
        lattice = (1 + strain) * both[:3]
        atoms = self._atoms(self.model.symbols, lattice, both[3:] @ lattice)
        self._relax(atoms)
        return np.vstack([lattice, atoms.get_scaled_positions(wrap=False)])

    def _relax(self, atoms, moved=None):
        from ase.calculators.calculator import PropertyNotImplementedError
        from ase.constraints import FixSymmetry
        from ase.optimize import BFGS

        atoms.set_constraint(FixSymmetry(atoms))
        try:
            optimizer = BFGS(
                moved(atoms) if moved else atoms, logfile=None, maxstep=_MAX_STEP
            )
            done = optimizer.run(fmax=self.settings["max_force"], steps=_MAX_STEPS)
        except PropertyNotImplementedError as error:
            raise ValueError(
                f"Calculators must give forces, and the stress if the cell relaxes; "
                f"{self.name} does not: {error}. Set relax_cell=False where only the "
                "stress is missing."
            ) from error
        if not done:
            raise ValueError(
                f"The crystal does not relax with {self.name}: forces above "
                f"{self.settings['max_force']:g} eV/Angstrom after {_MAX_STEPS} steps. "
                "Raise max_force, or start from a better structure."
            )

    def _atoms(self, symbols, cell, positions):
        from ase import Atoms

        atoms = Atoms(symbols, cell=cell, positions=positions, pbc=True)
        if isinstance(self.calculator, str):
            self.calculator = _sevennet(self.calculator)
        atoms.calc = self.calculator
        return atoms


class _Results:
    """What has been computed, in memory and in files that name what they hold."""

    def __init__(self, folder, identity):
        self.folder = None if folder is None else Path(folder)
        self.identity = identity
        self.known = {}

    def recall(self, label, compute):
        """Return what has this label, computed if it is nowhere."""
        if label not in self.known:
            path = self._path(label)
            if path is not None and path.exists():
                self.known[label] = self._read(path, label)
            else:
                self.known[label] = compute().tolist()
                self._write(path, label)
        return self.known[label]

    def _path(self, label):
        if self.folder is None:
            return None
        digest = sha256(json.dumps([label, self.identity]).encode()).hexdigest()[:16]
        name = re.sub(r"[^\w.+-]", "_", label)
        return self.folder / f"{name}-{digest}.json"

    def _write(self, path, label):
        if path is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = {"label": label, "of": self.identity, "is": self.known[label]}
            write_whole(path, json.dumps(content, indent=1).encode())

    def _read(self, path, label):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if [content["label"], content["of"]] == [label, self.identity]:
                return np.array(content["is"], dtype=float).tolist()
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(_damaged(path)) from error
        raise ValueError(_damaged(path))


def _damaged(path):
    return f"{path} must hold results of this run, but is damaged. Delete it."


def _identity(model, matrix, settings):
    """Return all that results depend on but the calculator and the state."""
    cell = model.cell
    return {
        "format": _FORMAT,
        "lattice": (np.round(cell.cell, 8) + 0.0).tolist(),  # no -0
        "positions": (np.round(cell.scaled_positions, 8) + 0.0).tolist(),
        "symbols": list(cell.symbols),
        "masses": np.asarray(cell.masses).tolist(),
        "parameters": model.parameter_names,
        "supercell": np.asarray(matrix).tolist(),
        **settings,
    }


def _named(calculators):
    """Return calculators by name."""
    if isinstance(calculators, dict):
        named = dict(calculators)
    else:
        if isinstance(calculators, str) or not isinstance(calculators, (list, tuple)):
            calculators = [calculators]
        names = [c if isinstance(c, str) else type(c).__name__ for c in calculators]
        if len(set(names)) < len(names):
            raise ValueError(
                f"Calculators must have different names, got {', '.join(names)}. Give "
                "a dict from names to calculators."
            )
        named = dict(zip(names, calculators, strict=True))
    for name, calculator in named.items():
        if not isinstance(calculator, str) and not hasattr(calculator, "get_forces"):
            raise TypeError(
                "calculators must be calculators of ASE or names of checkpoints of "
                f"SevenNet, got {calculator!r} for {name}."
            )
    if not named:
        raise ValueError("calculators must hold at least one, got none.")
    return named


def _sevennet(name):
    try:
        from sevenn.calculator import SevenNetCalculator
    except ImportError as error:
        raise ImportError(
            f"sample_force_constants needs SevenNet for {name!r}: "
            "pip install skphonon[mlff]."
        ) from error
    checkpoint, _, modality = name.partition(":")
    return SevenNetCalculator(checkpoint, modal=modality or None)


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
    whole = _as_phonopy(structure)
    cell = supercells.primitive_cell(whole)
    model = ForceConstantModel(
        np.array(cell.cell),
        list(cell.symbols),
        None,
        positions=np.array(cell.scaled_positions),
        n_shells=1 if n_shells is None else n_shells,
        mass=np.array(cell.masses),
    )
    if cutoff is not None:
        model.n_shells = model._count_within(cutoff)
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
    if model.born_charges is not None and not np.array_equal(matrix, own):
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
    seed = settings["random_state"]
    if not (seed is None or (isinstance(seed, Integral) and seed >= 0)):
        raise ValueError(
            f"random_state must be a number from 0 on or None, got {seed!r}: draws of "
            "a state depend on it alone, whatever else is computed."
        )
    for name in ("n_displacements", "displacement", "max_force"):
        if not settings[name] > 0:
            raise ValueError(f"{name} must be positive, got {settings[name]}.")


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
    wavevectors, _ = model.mesh(8)
    return wavevectors @ np.linalg.inv(model.reciprocal_lattice())


def _prior(model, rows, softening):
    import pandas as pd

    states = ["calculator", "strain", "temperature", "scale", "lattice_scale"]
    table = pd.DataFrame(rows, columns=[*states, *model.parameter_names])
    prior = ForceConstantPrior(model, table).rescaled(softening)
    if model.reference is None:
        prior.model = clone(model).set_params(reference=prior.mean_)
    return prior
