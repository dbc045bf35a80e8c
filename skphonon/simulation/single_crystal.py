"""The spectrum of a single crystal: scattering by phonons in four dimensions.

The coherent one-phonon scattering function of :mod:`skphonon.simulation.powder`, or the
susceptibility, is that at each momentum transfer, before an average over directions. It
is broadened by the instrument and averaged over each bin of energy.
"""

from functools import partial
from numbers import Real

import numpy as np

from skphonon._validation import (
    StrOptions,
    at_least,
)
from skphonon.instrument.resolution import QResolution, as_q_resolution
from skphonon.physics.stability import warn_unstable
from skphonon.physics.zone import ZoneMesh
from skphonon.simulation._calls import MOVED as OF_CALLS
from skphonon.simulation._calls import working_memory
from skphonon.simulation._crystal_derivatives import differentiate, gradients
from skphonon.simulation._crystal_engine import simulate
from skphonon.simulation._crystal_plan import Samples, make_plan, make_thermal
from skphonon.simulation._plausible import warn_of_window
from skphonon.simulation.base import PhononSimulator
from skphonon.simulation.scattering import MOVED as OF_SCATTERING
from skphonon.simulation.scattering import Scattering, scattering_of

__all__ = ["SingleCrystalSimulator"]

_NUISANCES = (
    "energy_resolution",
    "energy_resolution_slope",
    "energy_offset",
    "q_resolution",
    "mean_square_displacement",
    "temperature",
)
_Q = _NUISANCES.index("q_resolution")
_OF_Q = {"average_voxels": "average_voxels", "q_samples": "samples"}  # in 0.1, and now
_MEMORY = 32e6  # bytes: calls are then fastest
_OF_MESH = "model", "mesh", "temperature", "mean_square_displacement"


class SingleCrystalSimulator(PhononSimulator):
    r"""Simulate the coherent one-phonon scattering of a single crystal.

    Parameters enter through a force-constant model; one call simulates any number of
    parameter sets. Wavevectors that symmetry or the reciprocal lattice relate share
    what they can. A mode with an imaginary frequency (an unstable crystal) scatters
    nothing, and a warning names it; neither do the acoustic modes at a reciprocal
    lattice vector itself, where Bragg scattering is.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal and its named force constants.
    grid : CrystalGrid or PathGrid
        Energies, which may be of both signs, and wavevectors in r.l.u. of the `lattice`
        of the grid, that of the model or a multiple of it; without one in units of the
        reciprocal lattice of the model, which is that of a primitive cell where the
        model comes from phonopy.
    temperature : float, default=300.0
        Temperature of the sample in K.
    energy_resolution : float or callable
        Standard deviation in meV of a Gaussian resolution, as for
        :class:`PowderSimulator`. The width of the bins comes on top.
    q_resolution : float, array-like of shape (3,) or QResolution, default=0.0
        Standard deviation in 1/Angstrom of a Gaussian resolution in Q: one number, for
        all directions, or three, along the three axes of the grid. A
        :class:`~skphonon.instrument.QResolution` also tells whether to average over
        voxels, and with how many points.
    q_direction : array-like of shape (3,), default=None
        Direction in r.l.u. of the grid from which reciprocal lattice points of a polar
        crystal are approached: there the energies of optical modes depend on it. None
        takes the mean of the spectra over all directions.
    mean_square_displacement : float, default=None
        In Angstrom^2, as for :class:`PowderSimulator`.
    background : array-like of shape (n_energy_powers, n_q_powers), default=None
        Coefficients in E and \|Q\|, as for :class:`PowderSimulator`.
    quantity : {"sqe", "chi"}, default="sqe"
        Quantity of a spectrum: S(Q, E) or :math:`\chi''(Q, E)`.
    units : {"1/meV", "barn/meV/sr"}, default="1/meV"
        Either per atom and in units of the mean coherent cross-section over
        :math:`4\pi` of the atoms; or absolute, per formula unit. Neither depends on the
        choice of the cell.
    scattering : Scattering or "coherent", default=None
        Scattering lengths, as for :class:`PowderSimulator`: see :class:`Scattering`.
        Scattering that is incoherent or of several phonons is not simulated.
    mesh : ZoneMesh, int or tuple of 3 int, default=None
        Mesh of the zone that displacements come from, or its points along each
        reciprocal axis, at least 2. None finds the coarsest one on which those of the
        reference are converged to 0.5 %.

    See Also
    --------
    PowderSimulator : The same averaged over directions.
    CrystalGrid : Voxels of a crystal that an instrument sees.

    Notes
    -----
    Conditions that may differ between the spectra of a call (`nuisance_names`):

    - ``"energy_resolution"``, ``"energy_resolution_slope"``,
      ``"energy_offset"``, ``"mean_square_displacement"``: as for
      :class:`PowderSimulator`.
    - ``"q_resolution"``: standard deviation in 1/Angstrom; where the setting
      is three of them, a factor that multiplies all. Each value costs a new
      list of wavevectors.
    - ``"temperature"``: temperature of the sample in K.

    A call works in 32 MB, or in less where the `working_memory` of
    :func:`sklearn.config_context` is less, besides its result and what is kept of the
    grid (about 200 bytes a wavevector). More is not faster. A Jacobian needs what one
    wavevector takes: a matrix for each parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import CrystalGrid, SingleCrystalSimulator, load_aluminium_model
    >>> grid = CrystalGrid(
    ...     np.arange(5, 45, 5.0), np.linspace(1, 3, 9), np.linspace(-1, 1, 9), 0.0,
    ...     lattice=4.04 * np.eye(3),
    ... )
    >>> simulator = SingleCrystalSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.0
    ... )
    >>> X = simulator.simulate([simulator.reference])
    >>> X.shape, grid.to_volumes(X).shape
    ((1, 648), (1, 8, 9, 9, 1))
    >>> simulator.jacobian([simulator.reference]).shape
    (1, 648, 5)
    """

    _nuisances = _NUISANCES

    _parameter_constraints = {
        "temperature": [at_least(0, Real)],
        "energy_resolution": [at_least(0, Real), callable],
        "q_resolution": [at_least(0, Real), "array-like", QResolution],
        "q_direction": ["array-like", None],
        "mean_square_displacement": [at_least(0, Real), None],
        "quantity": [StrOptions({"chi", "sqe"})],
        "units": [StrOptions({"1/meV", "barn/meV/sr"})],
        "scattering": [Scattering, StrOptions({"coherent"}), None],
        "mesh": [at_least(2), tuple, ZoneMesh, None],
    }
    _moved_parameters = (
        {
            name: f"give q_resolution=QResolution(width, {new}=...)"
            for name, new in _OF_Q.items()
        }
        | {"scattering_lengths": OF_SCATTERING["scattering_lengths"]}
        | OF_CALLS
    )

    def __init__(
        self,
        model,
        grid,
        *,
        temperature=300.0,
        energy_resolution,
        q_resolution=0.0,
        q_direction=None,
        mean_square_displacement=None,
        background=None,
        quantity="sqe",
        units="1/meV",
        scattering=None,
        mesh=None,
    ):
        self.model = model
        self.grid = grid
        self.temperature = temperature
        self.energy_resolution = energy_resolution
        self.q_resolution = q_resolution
        self.q_direction = q_direction
        self.mean_square_displacement = mean_square_displacement
        self.background = background
        self.quantity = quantity
        self.units = units
        self.scattering = scattering
        self.mesh = mesh

    def __setstate__(self, state):
        state = dict(state)
        if "q_samples" in state:  # saved when each setting was a parameter
            own = {new: state.pop(old) for old, new in _OF_Q.items()}
            if own != {"average_voxels": False, "samples": 3}:
                state["q_resolution"] = QResolution(state["q_resolution"], **own)
            state.pop("memory")
            state["scattering"] = scattering_of(state)
        super().__setstate__(state)

    def _asked(self, parameters, nuisance=None, nuisance_ranges=None, names=()):
        asked = super()._asked(parameters, nuisance, nuisance_ranges, names)
        given = self._part("scattering")
        if given.incoherent or given.n_phonons not in (None, 1):
            raise ValueError(
                "SingleCrystalSimulator simulates coherent scattering by one phonon, "
                f"got {given!r}. Leave out incoherent and n_phonons; what is smooth "
                "in Q belongs to the background."
            )
        return asked

    def _simulate(self, rows, table, ranges):
        (spectra,) = self._each(rows, table, ranges, simulate)
        return spectra

    def _differentiate(self, names, rows, table, ranges):
        def of_exact(exact):
            call = partial(differentiate, names=exact)
            return self._each(rows, table, ranges, call)

        return self._with_q_differences(names, rows, table, ranges, of_exact)

    def _backwards(self, slopes, rows, table, ranges):
        (found,) = self._each(rows, table, ranges, gradients, slopes)
        return found

    def _each(self, rows, table, ranges, call, *given):
        """Call with plan, recording and rows for each resolution in Q; join results.

        What is given for each sample goes along. The call returns lowest modes last,
        of which this warns.
        """
        widths, joined, softest = np.unique(table[:, _Q]), None, []
        for width in widths:
            same = np.flatnonzero(table[:, _Q] == width)
            samples = Samples(self, table[same], ranges)
            own = given if len(widths) == 1 else [each[same] for each in given]
            *found, lowest = call(self._plan(width), samples, rows[same], *own)
            softest.append(lowest)
            if len(widths) == 1:  # no copy of what may be large
                joined = found
                break
            if joined is None:
                joined = [np.empty((len(rows), *each.shape[1:])) for each in found]
            for whole, part in zip(joined, found, strict=True):
                whole[same] = part
        warn_unstable(*softest)
        return joined

    def _plan(self, width):
        """Return what does not depend on the parameters, for a resolution in Q."""
        own, given = self.nuisance_reference[_Q], as_q_resolution(self.q_resolution)
        factor = given.width if np.ndim(given.width) else 1.0
        resolution = given.replace(width=width * factor)
        thermal = self._cached("thermal", lambda: make_thermal(self), _OF_MESH)

        def build():
            warn_of_window(self)
            return make_plan(self, resolution, thermal)

        if width != own:  # one of many, in a search
            plan = make_plan(self, resolution, thermal)
        else:
            plan = self._cached("plan", build)
        return plan._replace(n_numbers=int(min(_MEMORY, working_memory()) / 8))
