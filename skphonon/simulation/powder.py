r"""The spectrum of a polycrystal: scattering by phonons, averaged over directions.

The phonons of a mesh of the Brillouin zone, of which symmetry leaves few points
independent, scatter in all zones; all momentum transfers of one modulus make up its
average. The coherent one-phonon scattering function of a cell,

.. math:: S(Q, E) = \sum_j \frac{\hbar^2}{2 E_j} \Big|\sum_d \frac{b_d}{\sqrt{m_d}}\,
          e^{-W_d(Q)}\, Q \cdot e_{dj}\Big|^2\,
          \{[n(E_j) + 1]\,\delta(E - E_j) + n(E_j)\,\delta(E + E_j)\},

(Squires, *Introduction to the Theory of Thermal Neutron Scattering*,
doi:10.1017/CBO9781139107808, chapter 3; differential cross-section
:math:`d^2\sigma / d\Omega\,dE = (k_f / k_i)\,S`) and the susceptibility
:math:`\chi'' = \pi\,[1 - \exp(-E / k_B T)]\,S` are broadened by the instrument and
averaged over each pixel. Incoherent and multiphonon scattering come in the incoherent
approximation.
"""

from numbers import Real
from typing import Any

from sklearn.base import clone

from skphonon._validation import (
    StrOptions,
    at_least,
    positive,
)
from skphonon._versioned import parameter_names
from skphonon.instrument.nuisance import (
    LINE_WIDTHS,
    OF_ANGLES,
    of_a_plan,
    ranges_by_name,
    table_columns,
    working_ranges,
)
from skphonon.instrument.nuisance import NAMES as NUISANCES
from skphonon.physics.stability import is_searching, warn_unstable
from skphonon.physics.zone import ZoneMesh
from skphonon.physics.zone.mesh import as_mesh
from skphonon.simulation._calls import MOVED as OF_CALLS
from skphonon.simulation._calls import working_memory
from skphonon.simulation._plausible import warn_of_window
from skphonon.simulation._powder_choice import choose_mesh, error_of, next_mesh
from skphonon.simulation._powder_derivatives import differentiate, gradients
from skphonon.simulation._powder_engine import simulate
from skphonon.simulation._powder_orders import orders_needed, warn_of_orders
from skphonon.simulation._powder_plan import make_plan, plan_size
from skphonon.simulation._recording import Recording
from skphonon.simulation.base import PhononSimulator
from skphonon.simulation.scattering import MOVED as OF_SCATTERING
from skphonon.simulation.scattering import Scattering, scattering_of

__all__ = ["PowderSimulator"]


class PowderSimulator(PhononSimulator):
    r"""Simulate the spectrum of a powder, as a neutron spectrometer records it.

    Parameters enter through a force-constant model; one call simulates any number of
    parameter sets. A mode with an imaginary frequency (an unstable crystal) scatters
    nothing, and a warning names it: the spectrum shows the stable modes and is finite
    inside the window.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal and its named force constants.
    grid : SpectrumGrid or AngleGrid
        Axes and visible window of the spectra, over \|Q\| or over scattering angles.
        Energies may be of both signs. Elastic scattering is left out.
    temperature : float, default=300.0
        Temperature in K, for the Debye-Waller factor and the occupation of phonons.
    energy_resolution : float or callable
        Standard deviation in meV of a Gaussian resolution: a constant, or a function
        from energy transfer (an array in meV) to it, such as
        :class:`~skphonon.instrument.PolynomialResolution`,
        :class:`~skphonon.instrument.TabulatedResolution` or what
        :func:`~skphonon.instrument.instrument_resolution` returns. That of the
        published aluminium spectra (:func:`~skphonon.datasets.fetch_aluminium_arcs`)
        is about 1.54.
    q_resolution : float or callable, default=0.09
        Standard deviation in 1/Angstrom of a Gaussian resolution in \|Q\|: a constant,
        or a function ``q_resolution(q, energy)`` of arrays of \|Q\| (1/Angstrom) and
        energy transfer (meV) that broadcast. Beyond the borders of the grid it is that
        of the border. The width of the bins comes on top of both resolutions.
    mean_square_displacement : float, default=None
        :math:`\langle u_x^2 \rangle` in Angstrom^2 of every atom, so that
        :math:`2W = Q^2 \langle u_x^2 \rangle`. None computes the (anisotropic) tensor
        of each atom from each set of force constants at the given temperature.
    background : array-like of shape (n_energy_powers, n_q_powers), default=None
        Coefficients :math:`c_{kl}` of a background
        :math:`\bar I \sum_{kl} c_{kl} E^k |Q|^l` (E in meV, Q in 1/Angstrom) added to
        each spectrum, in units of the mean :math:`\bar I` of its intensity over the
        window.
    mesh : ZoneMesh, int or tuple of 3 int, default=None
        Mesh of the Brillouin zone, or the number of its points along each reciprocal
        axis. None takes the coarsest one within `tolerance`, see `zone_mesh`.
    tolerance : float, default=1e-4
        Error allowed to a spectrum, as the mean square error over the variance: three
        times that of the reference at the narrowest resolution, since other parameter
        sets err more; see :meth:`mesh_errors`. Displacements err by less than 0.5 %.
        Not used where `mesh` is given.
    quantity : {"chi", "sqe"}, default="chi"
        Quantity of a spectrum: :math:`\chi''(|Q|, E)` or :math:`S(|Q|, E)`.
    units : {"1/meV", "barn/meV/sr"}, default="1/meV"
        Either per atom and in units of the mean cross-section over :math:`4\pi` of the
        atoms (coherent, and incoherent where that is simulated); or absolute, per
        formula unit. Neither depends on the choice of the cell.
    scattering : Scattering or {"coherent", "total"}, default=None
        What is simulated, and with which scattering lengths: see :class:`Scattering`.
        None and "coherent" are coherent scattering by one phonon (None in
        :meth:`from_measurement` is that of several, too), "total" is
        ``Scattering(incoherent=True, n_phonons="auto")``.

    Notes
    -----
    A thread may take as much memory beside the results as the `working_memory` of
    :func:`sklearn.config_context` says, 1 GiB unless that is changed. Batches of
    parameter sets are simulated in the threads of :class:`joblib.parallel_config`.

    Conditions that may differ between the spectra of a call (`nuisance_names`):

    - ``"energy_resolution"``: standard deviation in meV; where the setting is a
      function of energy, a factor that multiplies it.
    - ``"energy_resolution_slope"``: a number :math:`s` between -2 and 2, of a
      further factor :math:`1 + s\,(E - E_m)/(E_1 - E_0)` of the resolution,
      with the borders :math:`E_0`, :math:`E_1` of the energy axis and its
      middle :math:`E_m`.
    - ``"energy_offset"``: by how much the spectrum is shown at too high an
      energy, in meV.
    - ``"q_resolution"``: standard deviation in 1/Angstrom; where the setting is
      a function, a factor that multiplies it.
    - ``"lattice_scale"``: factor of the lattice, with all force constants kept.
    - ``"mean_square_displacement"``: an isotropic
      :math:`\langle u_x^2 \rangle` in Angstrom^2, added to that of all atoms.
    - ``"energy_scale"``: factor of the energies at which phonons are shown,
      before the offset.
    - ``"q_scale"``, ``"q_offset"``: the same of moduli; the offset is in
      1/Angstrom.
    - ``"temperature"``: temperature of the sample in K.
    - ``"line_width"``, ``"line_width_slope"``, ``"line_width_curvature"``:
      coefficients :math:`w_0` (meV), :math:`w_1` and :math:`w_2` (1/meV) of the
      half width at half maximum :math:`\Gamma = w_0 + w_1 E + w_2 E^2` of a
      phonon of energy E, a damped harmonic oscillator; zero where this is
      negative. Static susceptibilities and f-sums do not depend on it, nor do
      the displacements in Debye-Waller factors.
    - ``"incident_energy"``, of an `AngleGrid`: energy of the incoming neutron
      in meV, from which \|Q\| follows. Energy transfers stay as they are.
    - ``"two_theta_offset"``, of an `AngleGrid`: by how much the spectrum is
      shown at too large angles, in degrees.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model
    >>> grid = SpectrumGrid(np.arange(10, 45, 5.0), np.arange(1, 8, 1.0),
    ...                     incident_energy=50.0)
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.54
    ... )
    >>> simulator.simulate([simulator.reference]).shape
    (1, 49)
    >>> simulator.jacobian([simulator.reference]).shape
    (1, 49, 5)
    >>> simulator.simulate(
    ...     [simulator.reference] * 2, nuisance={"energy_resolution": [1.2, 1.9]}
    ... ).shape
    (2, 49)
    """

    _of_a_powder = True

    _parameter_constraints = {
        "temperature": [at_least(0, Real)],
        "energy_resolution": [at_least(0, Real), callable],
        "q_resolution": [at_least(0, Real), callable],
        "mean_square_displacement": [at_least(0, Real), None],
        "tolerance": [positive()],
        "quantity": [StrOptions({"chi", "sqe"})],
        "units": [StrOptions({"1/meV", "barn/meV/sr"})],
        "scattering": [Scattering, StrOptions({"coherent", "total"}), None],
        "mesh": [at_least(2), tuple, ZoneMesh, None],
    }
    _moved_parameters = OF_SCATTERING | OF_CALLS

    def __init__(
        self,
        model,
        grid,
        *,
        temperature=300.0,
        energy_resolution,
        q_resolution=0.09,
        mean_square_displacement=None,
        background=None,
        mesh=None,
        tolerance=1e-4,
        quantity="chi",
        units="1/meV",
        scattering=None,
    ):
        self.model = model
        self.grid = grid
        self.temperature = temperature
        self.energy_resolution = energy_resolution
        self.q_resolution = q_resolution
        self.mean_square_displacement = mean_square_displacement
        self.background = background
        self.mesh = mesh
        self.tolerance = tolerance
        self.quantity = quantity
        self.units = units
        self.scattering = scattering

    def __setstate__(self, state):
        state = dict(state)
        if "scattering" not in state:  # saved when each setting was a parameter
            state["scattering"] = scattering_of(state)
            for name in OF_CALLS:
                state.pop(name, None)
        super().__setstate__(state)

    def _take_what_is_implied(self):
        if self._part("scattering").n_phonons is None:
            # a copy: that which was given is another's
            self.scattering = clone(self._part("scattering"))
            self.scattering.n_phonons = "auto"

    @property
    def _nuisances(self):
        """Names of nuisances, those of angles where the grid has some."""
        of_angles = OF_ANGLES if hasattr(self.grid, "moduli") else ()
        return (*NUISANCES, *of_angles)

    @property
    def zone_mesh(self):
        """Mesh of the zone that is used, a :class:`~skphonon.physics.ZoneMesh`."""
        _, _, ranges = self._asked(self.reference)
        return self._plan(ranges).mesh

    @property
    def mesh_error(self):
        """Error of the spectrum at the reference, as from :meth:`mesh_errors`."""
        return float(self.mesh_errors(self.reference)[0])

    def mesh_errors(self, parameters):
        r"""Estimate the errors of spectra on the mesh.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.

        Returns
        -------
        ndarray of shape (n_samples,)
            Mean square difference from a spectrum on a mesh of half as many points
            again along each axis, over the variance of the spectrum.
        """
        rows, table, ranges = self._asked(parameters)
        plan = self._plan(ranges)
        return error_of(self, plan, plan.recording, table_columns(table[:1]), rows)

    def loosened(self, factor, *, nuisance=None, nuisance_ranges=None):
        """Return this simulator with the mesh of another tolerance.

        A search far from its end is quick on a coarse mesh.

        Parameters
        ----------
        factor : float
            Of `tolerance`.
        nuisance : dict, default=None
            From names to numbers near which spectra will be, as for :meth:`simulate`.
        nuisance_ranges : dict, default=None
            As for :meth:`simulate`: the mesh is for the narrowest resolution there.

        Returns
        -------
        PowderSimulator or None
            With `mesh` set; None where `mesh` is given and leaves no choice.

        Raises
        ------
        ValueError
            As from :meth:`simulate`.
        """
        if self.mesh is not None:
            return None
        _, _, ranges = self._asked(self.reference, nuisance, nuisance_ranges)
        of_axes = of_a_plan(ranges).tobytes()
        mesh = self._chosen_mesh(ranges, of_axes, factor * self.tolerance)
        return self._on(mesh)

    def refined(self):
        """Return this simulator with a mesh of half as many points again along an axis.

        Returns
        -------
        PowderSimulator or None
            With `mesh` set; None where that of the reference would take more than the
            working memory.
        """
        _, _, ranges = self._asked(self.reference)
        mesh = self._mesh(ranges, of_a_plan(ranges).tobytes())
        mesh = next_mesh(mesh, self.model)
        size = plan_size(self.model, mesh.size, self, self._recording(ranges))
        return self._on(mesh) if size <= working_memory() else None

    def working_ranges(self, nuisance, nuisance_ranges):
        """Return parts of ranges that are cheaper to prepare for.

        What is prepared resolves the narrowest resolution of the ranges, and most of
        its cost is due to that. Values that lie close together have the same parts.

        Parameters
        ----------
        nuisance : dict
            Values of all that `nuisance_ranges` names, as for :meth:`simulate`.
        nuisance_ranges : dict
            Pairs of the least and the largest value.

        Returns
        -------
        dict
            Pairs that hold the values, by the same names.
        """
        return working_ranges(nuisance, nuisance_ranges)

    def _simulate(self, rows, table, ranges):
        spectra, softest = simulate(self._plan(ranges), rows, table_columns(table))
        warn_unstable(softest)
        return spectra

    def _differentiate(self, names, rows, table, ranges):
        changes, spectra, softest = differentiate(
            self._plan(ranges), rows, table_columns(table), names
        )
        warn_unstable(softest)
        return changes, spectra

    def _backwards(self, slopes, rows, table, ranges):
        return gradients(self._plan(ranges), rows, table_columns(table), slopes)

    def _on(self, mesh):
        """Return this simulator with a mesh, and else the same parameters."""
        return type(self)(**self.get_params(deep=False) | {"mesh": mesh})

    def _plan(self, ranges):
        """Return what does not depend on the parameters."""
        of_axes = of_a_plan(ranges).tobytes()
        return self._plan_on(self._mesh(ranges, of_axes), ranges, of_axes)

    def _plan_on(self, mesh, ranges, of_axes, plan=None):
        """Return the plan on a mesh: a given one, unless there is another.

        It depends on the part of the ranges that axes are laid for.
        """

        def build():
            self._warn_of_settings()
            return plan or make_plan(self, mesh, self._recording(ranges))

        return self._cached(("plan", mesh, of_axes), build, self._of_a_plan())

    def _recording(self, ranges):
        return Recording(self, ranges_by_name(ranges))

    def _of_a_plan(self):
        """Return names of the parameters that a plan depends on, besides its mesh."""
        cls: Any = type(self)
        others = "mesh", "tolerance"
        return [name for name in parameter_names(cls) if name not in others]

    def _mesh(self, ranges, of_axes):
        """Return the mesh given, or the one that the tolerance needs."""
        if self.mesh is None:
            return self._chosen_mesh(ranges, of_axes, self.tolerance)
        return as_mesh(self.mesh)

    def _chosen_mesh(self, ranges, of_axes, tolerance):
        """Return the mesh that a tolerance needs, and keep what was built for it."""

        def choose():
            recording = self._recording(ranges)
            found = choose_mesh(self, recording, _narrowest(ranges), tolerance)
            for plan in found.plans:
                self._plan_on(plan.mesh, ranges, of_axes, plan)
            return found.mesh

        name = "mesh", tolerance, of_axes, working_memory()
        return self._cached(name, choose, self._of_a_plan())

    def _n_phonons(self):
        """Return the largest number of phonons at once."""
        given = self._part("scattering").n_phonons
        if given != "auto":
            return given or 1
        return self._cached("orders", lambda: orders_needed(self), self._of_a_plan())

    def _warn_of_settings(self):
        """Warn once of a window or orders that hold too little, but in a search."""

        def warn():
            warn_of_window(self)
            if self._part("scattering").n_phonons not in ("auto", None, 1):
                warn_of_orders(self)

        if not is_searching():
            self._cached("told", warn, self._of_a_plan())


def _narrowest(ranges):
    """Return where meshes are compared: the sharpest resolution, all else midway."""
    middle = ranges.mean(axis=0, keepdims=True)
    for name in ("energy_resolution", "q_resolution", *LINE_WIDTHS):
        column = NUISANCES.index(name)
        middle[0, column] = ranges[0, column]
    return table_columns(middle)
