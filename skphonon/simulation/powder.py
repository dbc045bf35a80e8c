r"""The spectrum of a polycrystal: scattering by phonons, averaged over directions.

For every sample of :math:`|Q|` the phonons are found along directions that the Laue
class leaves independent. The coherent one-phonon scattering function of a cell,

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

import numpy as np

from skphonon._validation import (
    StrOptions,
    at_least,
    parameter_rows,
    positive,
)
from skphonon.simulation import _nuisance
from skphonon.simulation._base import ModelSimulator
from skphonon.simulation._plausible import warn_of_window

__all__ = ["PowderSimulator"]


class PowderSimulator(ModelSimulator):
    r"""Simulate the spectrum of a powder, as a neutron spectrometer records it.

    Parameters enter through a force-constant model; one call simulates any number of
    parameter sets. A mode with an imaginary frequency (an unstable crystal) scatters
    nothing: its spectrum shows the stable modes and is finite inside the window.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal and its named force constants.
    grid : SpectrumGrid
        Axes and visible window of the spectra. Energies may be of both signs. Elastic
        scattering is left out.
    temperature : float, default=300.0
        Temperature in K, for the Debye-Waller factor and the occupation of phonons.
    energy_resolution : float or callable
        Standard deviation in meV of a Gaussian resolution: a constant, or a function
        from energy transfer (an array in meV) to it, such as
        :class:`~skphonon.simulation.PolynomialResolution`,
        :class:`~skphonon.simulation.TabulatedResolution` or what
        :func:`~skphonon.simulation.instrument_resolution` returns. That of the
        published aluminium spectra (:func:`~skphonon.datasets.fetch_aluminium_arcs`)
        is about 1.54.
    q_resolution : float, default=0.09
        Standard deviation in 1/Angstrom of a Gaussian resolution in \|Q\|. The width
        of the bins comes on top of both resolutions.
    mean_square_displacement : float, default=None
        :math:`\langle u_x^2 \rangle` in Angstrom^2 of every atom, so that
        :math:`2W = Q^2 \langle u_x^2 \rangle`. None computes the (anisotropic) tensor
        of each atom from each set of force constants at the given temperature.
    background : array-like of shape (n_energy_powers, n_q_powers), default=None
        Coefficients :math:`c_{kl}` of a background
        :math:`\bar I \sum_{kl} c_{kl} E^k |Q|^l` (E in meV, Q in 1/Angstrom) added to
        each spectrum, in units of the mean :math:`\bar I` of its intensity over the
        window.
    n_directions : int, default=None
        Directions over the whole sphere at the largest \|Q\|; fewer, in proportion to
        Q^2, below. Only those that symmetry leaves independent are computed: one in 48
        for a cubic crystal. None takes as many as `tolerance` needs.
    tolerance : float, default=1e-4
        Error allowed to the average over directions, as the mean square error over the
        variance of a spectrum, at the reference parameters and in the middle of the
        ranges of nuisances; see :meth:`quadrature_error`. Not used where
        `n_directions` is given.
    quantity : {"chi", "sqe"}, default="chi"
        What a spectrum shows: :math:`\chi''(|Q|, E)` or :math:`S(|Q|, E)`.
    units : {"1/meV", "barn/meV/sr"}, default="1/meV"
        Either per atom and in units of the mean cross-section over :math:`4\pi` of the
        atoms (coherent, and incoherent where that is simulated); or absolute, per
        formula unit. Neither depends on the choice of the cell.
    incoherent : bool, default=False
        Whether to add incoherent scattering.
    n_phonons : int, default=1
        Largest number of phonons created or absorbed at once. Terms above 1 come in the
        incoherent approximation.
    scattering_lengths : dict, default=None
        Own values for some symbols: coherent length in fm, or a pair of it and the
        incoherent cross-section in barn. See
        :func:`~skphonon.physics.scattering_lengths.scattering_lengths`.
    mesh : int or tuple of 3 int, default=None
        Points along each reciprocal axis, at least 2, of the mesh for displacements and
        densities of states. Points next to the zone centre stand for it as well, so
        that the error does not go with the spacing. None reaches 20 Angstrom, 60 where
        spectra need densities.
    device : str, default="cpu"
        Device of torch that computes, such as ``"cuda"``.
    dtype : {"float64", "float32"}, default="float64"
        Precision. The error of ``"float32"`` is far below that of the average.

    Attributes
    ----------
    parameter_names : list of str
        Names of the parameters, in order.
    reference : ndarray of shape (n_parameters,)
        Reference values of the parameters in eV/Angstrom^2.
    nuisance_names : list of str
        What else may differ between the spectra of a call; see :meth:`simulate`.
    nuisance_reference : ndarray of shape (n_nuisances,)
        The values it has unless asked for others.

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

    _nuisances = _nuisance.NAMES
    _of_a_powder = True

    _parameter_constraints = {
        "temperature": [at_least(0, Real)],
        "energy_resolution": [at_least(0, Real), callable],
        "q_resolution": [at_least(0, Real)],
        "mean_square_displacement": [at_least(0, Real), None],
        "n_directions": [at_least(1), None],
        "tolerance": [positive()],
        "quantity": [StrOptions({"chi", "sqe"})],
        "units": [StrOptions({"1/meV", "barn/meV/sr"})],
        "incoherent": ["boolean"],
        "n_phonons": [at_least(1)],
        "scattering_lengths": [dict, None],
        "mesh": [at_least(2), tuple, None],
        "device": [str],
        "dtype": [StrOptions({"float64", "float32"})],
    }

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
        n_directions=None,
        tolerance=1e-4,
        quantity="chi",
        units="1/meV",
        incoherent=False,
        n_phonons=1,
        scattering_lengths=None,
        mesh=None,
        device="cpu",
        dtype="float64",
    ):
        self.model = model
        self.grid = grid
        self.temperature = temperature
        self.energy_resolution = energy_resolution
        self.q_resolution = q_resolution
        self.mean_square_displacement = mean_square_displacement
        self.background = background
        self.n_directions = n_directions
        self.tolerance = tolerance
        self.quantity = quantity
        self.units = units
        self.incoherent = incoherent
        self.n_phonons = n_phonons
        self.scattering_lengths = scattering_lengths
        self.mesh = mesh
        self.device = device
        self.dtype = dtype

    @property
    def nuisance_reference(self):
        """Values of what `nuisance_names` names, where nothing else is asked for."""
        width = self.energy_resolution
        width = 1.0 if callable(width) else width
        return np.array([width, 0.0, 0.0, self.q_resolution, 1.0, 0.0])

    def simulate(self, parameters, *, nuisance=None, nuisance_ranges=None):
        r"""Simulate spectra.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        nuisance : dict, default=None
            What an experiment varies: from names to a number or an array of shape
            (n_samples,). What is not named is as the simulator has it.

            - ``"energy_resolution"``: standard deviation in meV; where the setting is a
              function of energy, a factor that multiplies it.
            - ``"energy_resolution_slope"``: a number :math:`s` between -2 and 2, of a
              further factor :math:`1 + s\,(E - E_m)/(E_1 - E_0)` of the resolution,
              with the borders :math:`E_0`, :math:`E_1` of the energy axis and its
              middle :math:`E_m`.
            - ``"energy_offset"``: by how much the spectrum is shown at too high an
              energy, in meV.
            - ``"q_resolution"``: standard deviation in 1/Angstrom.
            - ``"lattice_scale"``: factor of the lattice, with all force constants kept.
            - ``"mean_square_displacement"``: an isotropic
              :math:`\langle u_x^2 \rangle` in Angstrom^2, added to that of all atoms.
        nuisance_ranges : dict, default=None
            From some of these names to pairs of the least and the largest value to
            prepare for; of others, None takes what the values span. Calls with the same
            ranges share what is prepared, and a spectrum is the same in all of them.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            :math:`\chi''` or S in the units asked for, averaged over each pixel; NaN
            outside the window of the grid.

        Raises
        ------
        ValueError
            If a setting is out of range, the number of parameters is wrong or one is
            not finite; if a nuisance is unknown, out of range or of another shape, or
            the lattice varies where `q_resolution` is zero.
        """
        rows, table, ranges = self._asked(parameters, nuisance, nuisance_ranges)
        plan, engine = self._plan(ranges)
        if nuisance is None and nuisance_ranges is None:
            table = None
        return engine.simulate(plan, rows, table)

    def jacobian(
        self, parameters, *, nuisance=(), nuisance_ranges=None, return_spectra=False
    ):
        r"""Return exact derivatives of the spectra.

        They hold where modes are degenerate, too: the spectrum is a smooth function of
        the dynamical matrix (:mod:`skphonon.physics.phonon_lines`). Where a mode is
        about to become unstable there is no derivative.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        nuisance : sequence of str or dict, default=()
            Names of what to differentiate with besides; a dict holds the values at
            which to do so as well, as for :meth:`simulate`, which explains the names.
        nuisance_ranges : dict, default=None
            As for :meth:`simulate`.
        return_spectra : bool, default=False
            Whether to return the spectra as well, which cost nothing more.

        Returns
        -------
        jacobian : ndarray of shape (n_samples, n_pixels, n_parameters + n_nuisance)
            Derivatives in the order of the parameters and then of `nuisance`; NaN
            outside the window of the grid.
        spectra : ndarray of shape (n_samples, n_pixels)
            As from :meth:`simulate`; only if `return_spectra`.

        Raises
        ------
        ValueError
            As from :meth:`simulate`, or if a resolution is zero and `nuisance` names
            what has no derivative then.
        """
        names, rows, table, ranges = self._asked_changes(
            parameters, nuisance, nuisance_ranges
        )
        from skphonon.simulation._powder_derivatives import differentiate

        plan, _ = self._plan(ranges)
        changes, spectra = differentiate(plan, rows, table, names)
        return (changes, spectra) if return_spectra else changes

    def quadrature_error(self, parameters):
        r"""Estimate the error of the average over directions.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.

        Returns
        -------
        ndarray of shape (n_samples,)
            Mean square difference from an average over four times as many other
            directions at other samples of \|Q\|, over the variance of the spectrum.
        """
        from skphonon.simulation._powder_plan import make_plan

        plan, engine = self._plan()
        rows = parameter_rows(parameters, plan.parameter_names)
        finer = self._cached(
            "finer",
            lambda: make_plan(self, 4 * plan.n_directions, plan.ranges, other=True),
        )
        return engine.distances(finer, plan, rows)

    def _plan(self, ranges=None):
        """Return what does not depend on the parameters, and the code to run it."""
        # torch takes seconds to import: only those who simulate wait for it
        from skphonon.simulation import _powder_engine, _powder_plan

        def build():
            warn_of_window(self)
            return _powder_plan.settled_plan(self, ranges)

        if ranges is None:
            _, _, ranges = self._asked(self.reference)
        key = "plan", _nuisance.of_a_plan(ranges).tobytes()
        return self._cached(key, build), _powder_engine
