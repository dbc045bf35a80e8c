r"""The spectrum of a polycrystal: one-phonon scattering averaged over directions.

For every sample of :math:`|Q|` the phonons are found along directions that the point
group leaves independent. Each adds a line of the coherent one-phonon susceptibility of
an atom, in 1/meV,

.. math:: \chi''(Q, E) = \pi\, e^{-2W(Q)} \sum_j
          \frac{\hbar^2 |Q \cdot e_j|^2}{2 m E_j}\,[\delta(E - E_j) - \delta(E + E_j)],

(Squires, *Introduction to the Theory of Thermal Neutron Scattering*,
doi:10.1017/CBO9781139107808, chapter 3, without cross-section and :math:`k_f / k_i`).
Lines are put on a fine energy axis; resolution and binning are two small matrices.
"""

from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import numpy as np

from skphonon._persistence import VersionedEstimator
from skphonon._validation import at_least, check_parameters, parameter_rows
from skphonon.physics.constants import HBAR2_PER_AMU
from skphonon.physics.lattice_dynamics import (
    PACKED,
    mean_square_displacement,
    one_phonon_lines,
)
from skphonon.simulation.resolution import bin_kernel, total_width

__all__ = ["PowderSimulator"]

_BATCH = 32  # parameter sets simulated together
_BLOCK = 8192  # matrices treated together: what the processor's cache holds
_MESH = 10  # points along each axis of the mesh for the Debye-Waller factor
_REACH = 5.0  # widths of the resolution beyond which a line is not seen
_LINE_STEPS = 6  # points of the energy axis within a width of the resolution
_Q_STEPS = 2  # samples of |Q| within a width of the resolution
_FEWEST_DIRECTIONS = 500  # over the sphere, however small |Q| is
_ASYMMETRIC = np.array([0.42, 0.27, 0.87])  # lies on no symmetry element


class PowderSimulator(VersionedEstimator):
    r"""Simulate chi''(\|Q\|,E) of a powder, as a neutron spectrometer records it.

    Parameters enter through a force-constant model; one call simulates any number of
    parameter sets. A mode with an imaginary frequency (an unstable crystal) scatters
    nothing: its spectrum shows the stable modes and is finite inside the window.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal and its named force constants.
    grid : SpectrumGrid
        Axes and visible window of the spectra. Energies may be of both signs:
        :math:`\chi''` is odd.
    temperature : float, default=300.0
        Temperature in K, for the Debye-Waller factor.
    energy_resolution : float, default=1.54
        Standard deviation in meV of a Gaussian resolution, the same at all energies.
        The default describes the published aluminium spectra
        (:func:`~skphonon.datasets.fetch_aluminium_arcs`).
    q_resolution : float, default=0.09
        Standard deviation in 1/Angstrom of a Gaussian resolution in \|Q\|. The width
        of the bins comes on top of both resolutions.
    mean_square_displacement : float, default=None
        :math:`\langle u_x^2 \rangle` in Angstrom^2, so that
        :math:`2W = Q^2 \langle u_x^2 \rangle`. None computes the (anisotropic) value
        from each set of force constants at the given temperature.
    background : array-like of shape (n_energy_powers, n_q_powers), default=None
        Coefficients :math:`c_{kl}` of a background
        :math:`\bar I \sum_{kl} c_{kl} E^k |Q|^l` (E in meV, Q in 1/Angstrom) added to
        each spectrum, in units of the mean :math:`\bar I` of its one-phonon
        intensity over the window.
    n_directions : int, default=25000
        Directions over the whole sphere at the largest \|Q\|; fewer, in proportion to
        Q^2, below. Only those that symmetry leaves independent are computed: one in 48
        for a cubic crystal.

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
    """

    _parameter_constraints = {
        "temperature": [at_least(0, Real)],
        "energy_resolution": [at_least(0, Real)],
        "q_resolution": [at_least(0, Real)],
        "mean_square_displacement": [at_least(0, Real), None],
        "n_directions": [at_least(1)],
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
        n_directions=25_000,
    ):
        self.model = model
        self.grid = grid
        self.temperature = temperature
        self.energy_resolution = energy_resolution
        self.q_resolution = q_resolution
        self.mean_square_displacement = mean_square_displacement
        self.background = background
        self.n_directions = n_directions

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
            :math:`\chi''` of an atom in 1/meV, averaged over each pixel; NaN outside
            the window of the grid.

        Raises
        ------
        ValueError
            If a setting is out of range, the number of parameters is wrong or one is
            not finite.
        """
        plan = self._cached("plan", lambda: _make_plan(self))
        rows, mask = parameter_rows(parameters, plan.parameter_names), plan.mask
        spectra = np.full((len(rows), mask.size), np.nan)
        for start in range(0, len(rows), _BATCH):
            batch = slice(start, start + _BATCH)
            images = _average(plan, rows[batch]).reshape(-1, mask.size)[:, mask]
            if plan.background is not None:
                images += images.mean(axis=1, keepdims=True) * plan.background[mask]
            spectra[batch, mask] = images
        return spectra


class _Plan(NamedTuple):
    """What does not depend on the parameters; points come shell by shell in |Q|."""

    parameter_names: list[str]
    mask: np.ndarray  # (n_pixels,)
    q_vectors: np.ndarray  # (3, n_points)
    basis: np.ndarray  # (n_parameters, 6, n_points), packed, meV^2
    shares: np.ndarray  # (n_points,): weight of a point in the average of its shell
    shells: np.ndarray  # (n_points,): number of its shell
    q_kernel: np.ndarray  # (n_q, n_shells)
    lines: np.ndarray  # (n_lines,): fine energy axis, meV
    energy_kernel: np.ndarray  # (n_energy, n_lines), 1/meV
    displacement: Callable  # parameter sets -> U, (n_samples, 3, 3), Angstrom^2
    background: np.ndarray | None  # (n_pixels,)
    mass: float  # amu


def _make_plan(simulator):
    check_parameters(simulator)
    model, grid = simulator.model, simulator.grid
    mask = grid.mask
    energy_edges, q_edges = grid.edges()
    radii, q_kernel = _q_samples(q_edges, mask, simulator.q_resolution)
    lines, energy_kernel = _energy_samples(energy_edges, simulator.energy_resolution)
    group = model.point_group()
    counts = simulator.n_directions * (radii / radii[-1]) ** 2
    directions = [
        independent_directions(group, max(int(count), _FEWEST_DIRECTIONS), shell)
        for shell, count in enumerate(counts)
    ]
    sizes = [len(d) for d in directions]
    q_vectors = np.concatenate(directions) * np.repeat(radii, sizes)[:, None]
    basis = model.dynamical_matrix_basis(q_vectors)
    packed = basis.reshape(*basis.shape[:2], 9)[:, :, PACKED].transpose(0, 2, 1)
    return _Plan(
        parameter_names=model.parameter_names,
        mask=mask.ravel(),
        q_vectors=np.ascontiguousarray(q_vectors.T),
        basis=np.ascontiguousarray(packed),
        shares=np.repeat(1 / np.array(sizes), sizes),
        shells=np.repeat(np.arange(len(radii)), sizes),
        q_kernel=q_kernel,
        lines=lines,
        energy_kernel=energy_kernel,
        displacement=_displacement(simulator, group),
        background=_background(simulator),
        mass=model.atomic_mass,
    )


def _q_samples(edges, mask, sigma):
    """Return samples of |Q| and the share of each in every bin."""
    width = total_width(edges, sigma)
    visible = np.flatnonzero(mask.any(axis=0))
    first = max(edges[visible[0]] - _REACH * sigma, 0.0)
    last = edges[visible[-1] + 1] + _REACH * sigma
    n_samples = int(np.ceil((last - first) / width * _Q_STEPS))
    step = (last - first) / n_samples
    samples = first + (np.arange(n_samples) + 0.5) * step
    return samples, bin_kernel(edges, samples, sigma) * step


def _energy_samples(edges, sigma):
    """Return the axis on which lines are collected and how each is recorded.

    The susceptibility is odd, so that a line at E comes with its negative at -E.
    """
    step = total_width(edges, sigma) / _LINE_STEPS
    reach = max(_REACH * sigma, 2 * step)
    crosses_zero = edges[0] < 0 < edges[-1]
    nearest = 0.0 if crosses_zero else max(np.abs(edges).min() - reach, 0.0)
    lines = np.arange(nearest, np.abs(edges).max() + reach + step, step)
    return lines, bin_kernel(edges, lines, sigma) - bin_kernel(edges, -lines, sigma)


def independent_directions(group, n_directions, turn=0):
    """Return evenly spread directions, one for each set that symmetry relates.

    Parameters
    ----------
    group : ndarray of shape (n_rotations, 3, 3)
        Cartesian rotations of the point group.
    n_directions : int
        Directions over the whole sphere.
    turn : int, default=0
        Number of a further, equally good set, shifted against the others, so that
        neighbouring shells sample different directions.

    Returns
    -------
    ndarray of shape (about n_directions / n_rotations, 3)
        Unit vectors, at least one.
    """
    golden = (1 + np.sqrt(5)) / 2
    position = np.arange(n_directions) + (0.5 + turn * golden) % 1
    height = 1 - 2 * position / n_directions
    angle = 2 * np.pi * ((position / golden + turn * np.sqrt(2)) % 1)
    ring = np.sqrt(1 - height**2)
    sphere = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
    # the wedge nearest to a direction of no symmetry holds one of each related set
    closest = (sphere @ (group @ _ASYMMETRIC).T).max(axis=1)
    inside = sphere @ _ASYMMETRIC >= closest - 1e-12
    return sphere[inside] if inside.any() else sphere[:1]


def _displacement(simulator, group):
    """Return the function from parameter sets to mean-square displacements."""
    fixed = simulator.mean_square_displacement
    if fixed is not None:
        return lambda rows: np.broadcast_to(fixed * np.eye(3), (len(rows), 3, 3))
    model, temperature = simulator.model, simulator.temperature
    mass = model.atomic_mass
    wavevectors, weights = model.mesh(_MESH)
    basis = model.dynamical_matrix_basis(wavevectors)

    def harmonic(rows):
        matrices = np.einsum("sp,pnij->snij", rows, basis)
        folded = mean_square_displacement(matrices, weights, mass, temperature)
        # the folded mesh holds one of each star: turn the tensor into all its images
        images = np.einsum("gia,sab,gjb->sij", group, folded, group, optimize=True)
        return images / len(group)

    return harmonic


def _background(simulator):
    if simulator.background is None:
        return None
    coefficients = np.asarray(simulator.background, dtype=float)
    if coefficients.ndim != 2 or not np.isfinite(coefficients).all():
        raise ValueError(
            "background must be a finite array of shape (n_energy_powers, n_q_powers), "
            f"got {simulator.background!r}. A constant is [[c]], a term in Q^2 is "
            "[[0, 0, c]]."
        )
    return np.polynomial.polynomial.polygrid2d(
        *simulator.grid.axes(), coefficients
    ).ravel()


def _average(plan, rows):
    """Powder-averaged, broadened images of a batch, (n_samples, n_energy, n_q)."""
    displacements = plan.displacement(rows).reshape(len(rows), 9)[:, PACKED]
    collected = np.zeros((len(rows), plan.q_kernel.shape[1], len(plan.lines)))
    block = max(_BLOCK // len(rows), 1)
    for start in range(0, len(plan.shells), block):
        _collect(plan, slice(start, start + block), rows, displacements, collected)
    scale = np.pi * HBAR2_PER_AMU / (2 * plan.mass)
    return scale * (plan.energy_kernel @ (plan.q_kernel @ collected).swapaxes(1, 2))


def _collect(plan, points, rows, displacements, collected):
    """Add the lines of a block of points to the fine energy axis of their shells."""
    q_vectors, basis = plan.q_vectors[:, points], plan.basis[:, :, points]
    shells = plan.shells[points]
    matrices = np.tensordot(rows, basis, axes=(1, 0)).swapaxes(0, 1)
    energies, strengths = one_phonon_lines(matrices, q_vectors)

    x, y, z = q_vectors
    products = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z])
    strengths *= np.exp(-displacements @ products) * plan.shares[points]

    position = (energies - plan.lines[0]) / (plan.lines[1] - plan.lines[0])
    last = len(plan.lines) - 1
    seen = (position >= 0) & (position < last) & (energies > 0)
    strengths = np.divide(strengths, energies, out=np.zeros_like(energies), where=seen)
    position = np.where(seen, position, 0.0)
    lower = position.astype(np.intp)
    upper_share = strengths * (position - lower)

    first, n_shells = shells[0], shells[-1] - shells[0] + 1
    offset = np.arange(len(rows))[:, None] * n_shells + (shells - first)
    index = (offset * len(plan.lines) + lower).ravel()
    size = len(rows) * n_shells * len(plan.lines)
    lower_share = (strengths - upper_share).ravel()
    added = np.bincount(index, lower_share, minlength=size)
    added += np.bincount(index + 1, upper_share.ravel(), minlength=size)
    collected[:, first : first + n_shells] += added.reshape(
        len(rows), n_shells, len(plan.lines)
    )
