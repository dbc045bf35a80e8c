"""Force constants that one calculator of ASE gives, in any strain and temperature.

Displacements come in pairs of opposite sign: the force on a site at rest, the cubic
part of the potential and all else that is even in them drop out of their difference.
"""

from hashlib import sha256

import numpy as np

from skphonon.physics.force_fits import fit_forces, lay_out, thermal_displacements

__all__ = ["ForceField", "named_calculators"]

_ROUNDS = 2  # of drawing thermal displacements and fitting anew
_MAX_STEPS = 500  # of a relaxation
_MAX_STEP = 0.05  # of it, in Angstrom or strain: larger ones lose the symmetry
_MAX_CHANGE = 0.1  # of the lengths of a cell when it relaxes


def named_calculators(calculators):
    """Return calculators, or names of checkpoints, by name."""
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


class ForceField:
    """One calculator and the constants that it gives.

    Parameters
    ----------
    name : str
        Of the calculator.
    calculator : ase.calculators.calculator.Calculator or str
        Source of the forces; a checkpoint by name is loaded when it is needed.
    model : ForceConstantModel
        The crystal before it relaxes.
    matrix : ndarray of int of shape (3, 3)
        Its supercell.
    settings : dict
        Parameters of :func:`sample_force_constants` by name.
    results : KeptResults
        Where results are kept.
    """

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
            f"{strain:+.12g}-{temperature:.12g}K",
            lambda: self._fit(strain, temperature),
        )

    def crystal(self, strain):
        """Return lattice and scaled positions at a strain, atoms relaxed."""
        both = self._recall(
            f"{strain:+.12g}-crystal", lambda: self._relax_atoms(strain)
        )
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
        """Return the random generator of a state, whatever else is computed."""
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
        symbols = list(self.model.cell.symbols) * len(self.layout.cells)
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
        atoms = self._atoms(self.model.cell.symbols, lattice, both[3:] @ lattice)
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
        moments = self.model.cell.magnetic_moments
        if moments is not None:
            n_cells = len(atoms) // len(moments)
            atoms.set_initial_magnetic_moments(np.concatenate([moments] * n_cells))
        if isinstance(self.calculator, str):
            self.calculator = _sevennet(self.calculator)
        atoms.calc = self.calculator
        return atoms


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
