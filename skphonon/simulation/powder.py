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

from skphonon._persistence import VersionedEstimator
from skphonon._validation import (
    StrOptions,
    at_least,
    check_parameters,
    parameter_rows,
    positive,
)

__all__ = ["PowderSimulator"]

#: What else a spectrum can be differentiated with.
_NUISANCES = (
    "energy_resolution",
    "q_resolution",
    "lattice_scale",
    "mean_square_displacement",
)


class PowderSimulator(VersionedEstimator):
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
    energy_resolution : float or callable, default=1.54
        Standard deviation in meV of a Gaussian resolution: a constant, or a function
        from energy transfer (an array in meV) to it, such as
        :class:`~skphonon.simulation.PolynomialResolution`,
        :class:`~skphonon.simulation.TabulatedResolution` or what
        :func:`~skphonon.simulation.instrument_resolution` returns. The default
        describes the published aluminium spectra
        (:func:`~skphonon.datasets.fetch_aluminium_arcs`).
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
        variance of a spectrum, at the reference parameters; see
        :meth:`quadrature_error`. Not used where `n_directions` is given.
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

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model
    >>> grid = SpectrumGrid(np.arange(10, 45, 5.0), np.arange(1, 8, 1.0),
    ...                     incident_energy=50.0)
    >>> simulator = PowderSimulator(load_aluminium_model(), grid)
    >>> simulator.simulate([simulator.reference]).shape
    (1, 49)
    >>> simulator.jacobian([simulator.reference]).shape
    (1, 49, 5)
    """

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
        energy_resolution=1.54,
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
    def parameter_names(self):
        """Names of the parameters, in order."""
        return self.model.parameter_names

    @property
    def reference(self):
        """Reference values of the parameters in eV/Angstrom^2."""
        return parameter_rows(self.model.reference, self.parameter_names)[0]

    def simulate(self, parameters):
        r"""Simulate spectra.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            :math:`\chi''` or S in the units asked for, averaged over each pixel; NaN
            outside the window of the grid.

        Raises
        ------
        ValueError
            If a setting is out of range, the number of parameters is wrong or one is
            not finite.
        """
        plan, engine = self._plan()
        rows = parameter_rows(parameters, plan.parameter_names)
        return engine.simulate(plan, rows)

    def jacobian(self, parameters, *, nuisance=(), return_spectra=False):
        r"""Return exact derivatives of the spectra.

        They hold where modes are degenerate, too: the spectrum is a smooth function of
        the dynamical matrix (:mod:`skphonon.physics.phonon_lines`). Where a mode is
        about to become unstable there is no derivative.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.
        nuisance : sequence of str, default=()
            What to differentiate with besides: ``"energy_resolution"`` and
            ``"q_resolution"`` (each for its standard deviation; for a function of
            energy, a factor that multiplies it), ``"lattice_scale"`` (a factor of the
            lattice with all force constants kept) and ``"mean_square_displacement"``
            (an isotropic :math:`\langle u_x^2 \rangle` added to that of all atoms).
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
            As from :meth:`simulate`, or if `nuisance` names something else, or a
            resolution that is zero.
        """
        nuisance = self._checked(nuisance)
        plan, engine = self._plan()
        rows = parameter_rows(parameters, plan.parameter_names)
        changes, spectra = engine.differentiate(plan, rows, nuisance)
        return (changes, spectra) if return_spectra else changes

    def simulate_tensor(self, parameters):
        """Simulate spectra as part of a torch computation.

        Gradients flow back to the parameters through :meth:`jacobian`; second
        derivatives do not exist.

        Parameters
        ----------
        parameters : Tensor of shape (n_samples, n_parameters)
            Parameter sets in eV/Angstrom^2.

        Returns
        -------
        Tensor of shape (n_samples, n_pixels)
            As from :meth:`simulate`, in the type and on the device of `parameters`.
            Leave out the NaN before anything is summed:
            ``spectra[:, grid.mask.ravel()]``.
        """
        from skphonon.simulation._powder_engine import Simulation

        return Simulation.apply(parameters, self)

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
            "finer", lambda: make_plan(self, 4 * plan.n_directions, other=True)
        )
        return engine.distances(finer, plan, rows)

    def _plan(self):
        """Return what does not depend on the parameters, and the code to run it."""
        # torch takes seconds to import: only those who simulate wait for it
        from skphonon.simulation import _powder_engine, _powder_plan

        def build():
            check_parameters(self)
            return _powder_plan.settled_plan(self)

        return self._cached("plan", build), _powder_engine

    def _checked(self, nuisance):
        nuisance = (nuisance,) if isinstance(nuisance, str) else tuple(nuisance)
        for name in nuisance:
            if name not in _NUISANCES:
                raise ValueError(
                    f"nuisance must name some of {', '.join(_NUISANCES)}; got {name!r}."
                )
            if name.endswith("resolution") and getattr(self, name) == 0:
                raise ValueError(
                    f"There is no derivative with {name} at {name}=0. Set it to the "
                    "width of the instrument."
                )
        return nuisance
