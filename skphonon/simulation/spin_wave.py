r"""The spectrum of a magnet: scattering by magnons along a path or on a list of points.

Linear spin-wave theory (:mod:`skphonon.physics.spin_waves`) gives energies and
intensities of the magnons of a collinear magnet. A magnon of energy :math:`E_j`
appears as

.. math:: I_j\,\{[n(E_j) + 1]\,\delta(E - E_j) + n(E_j)\,\delta(E + E_j)\},

with the Bose occupation n, broadened by the instrument and averaged over each bin of
energy; :math:`\chi'' = \pi\,[1 - \exp(-E / k_B T)]\,S`.
"""

from itertools import product
from numbers import Real

import numpy as np

from skphonon._validation import (
    StrOptions,
    at_least,
)
from skphonon.instrument.resolution import resolve_widths
from skphonon.simulation._grid_cells import reduced_wavevectors
from skphonon.simulation.base import ModelSimulator

__all__ = ["SpinWaveSimulator"]

# Points of a Gaussian along each axis, in standard deviations: so dense that lines a
# third as wide as they lie apart in energy show ripples below a tenth of a percent.
_POINTS = np.linspace(-2.25, 2.25, 7)


class SpinWaveSimulator(ModelSimulator):
    r"""Simulate the scattering of neutrons by the magnons of a collinear magnet.

    Parameters are those of the model; one call simulates any number of sets. A
    wavevector at which the assumed order is unstable scatters nothing, and neither does
    a Goldstone mode at its very wavevector, which is Bragg scattering. Spectra are
    finite wherever the grid has a pixel; :meth:`is_stable` tells whether to trust them.

    Parameters
    ----------
    model : SpinWaveModel
        The magnet and its named constants.
    grid : PathGrid or CrystalGrid
        Energies, which may be of both signs, and wavevectors in r.l.u. of the `lattice`
        of the grid, which is that of the model or a multiple of it in the same axes; of
        the model's lattice where the grid has none.
    energy_resolution : float or callable
        Standard deviation in meV of a Gaussian resolution: a constant, or a function
        of energy transfer (an array in meV), as for
        :class:`~skphonon.simulation.PowderSimulator`. It is that at the energy where a
        neutron is counted. The width of the bins comes on top.
    q_resolution : float, default=0.0
        Standard deviation in 1/Angstrom of a Gaussian resolution, alike in all
        directions. Where magnons disperse steeply it widens lines more than that of
        energy; each wavevector takes seven points along each direction of dispersion,
        too few where a Goldstone mode is within the resolution.
    temperature : float, default=0.0
        Temperature in K, for the occupation of magnons.
    quantity : {"sqe", "chi"}, default="sqe"
        Quantity of a spectrum: S(Q, E), in 1/meV per spin (see
        :mod:`skphonon.physics.spin_waves`), or :math:`\chi''(Q, E)`.

    See Also
    --------
    PowderSimulator : Phonons of a powder.

    Notes
    -----
    Conditions that may differ between the spectra of a call (`nuisance_names`):

    - ``"energy_resolution"``: standard deviation in meV; where the setting is a
      function of energy, a factor that multiplies it.
    - ``"renormalization"``: :math:`Z_c`, which multiplies all energies.
    - ``"q_resolution"``: standard deviation in 1/Angstrom.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import PathGrid, SpinWaveSimulator
    >>> from skphonon.datasets import load_la2nio4_model
    >>> path = np.linspace([0.5, 0, 0], [0.5, 0.5, 0], 5)
    >>> grid = PathGrid(np.arange(20.0, 140.0, 10.0), path)
    >>> simulator = SpinWaveSimulator(
    ...     load_la2nio4_model(), grid, energy_resolution=4.0
    ... )
    >>> simulator.parameter_names
    ['J', "J'"]
    >>> simulator.simulate([[29.0, 1.67], [31.0, 0.0]]).shape
    (2, 60)
    >>> simulator.jacobian([simulator.reference]).shape
    (1, 60, 2)
    """

    _nuisances = ("energy_resolution", "renormalization", "q_resolution")

    _parameter_constraints = {
        "energy_resolution": [at_least(0, Real), callable],
        "q_resolution": [at_least(0, Real)],
        "temperature": [at_least(0, Real)],
        "quantity": [StrOptions({"sqe", "chi"})],
    }

    def __init__(
        self,
        model,
        grid,
        *,
        energy_resolution,
        q_resolution=0.0,
        temperature=0.0,
        quantity="sqe",
    ):
        self.model = model
        self.grid = grid
        self.energy_resolution = energy_resolution
        self.q_resolution = q_resolution
        self.temperature = temperature
        self.quantity = quantity

    def is_stable(self, parameters):
        """Tell whether the assumed order is stable.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets in meV.

        Returns
        -------
        ndarray of shape (n_samples,), bool
            As from :meth:`SpinWaveModel.is_stable`, on its mesh and at the wavevectors
            of the grid.
        """
        at_grid = self.model.is_stable(parameters, reduced_wavevectors(self))
        return at_grid & self.model.is_stable(parameters)

    def _simulate(self, rows, table, ranges):
        from skphonon.simulation import _spin_wave_engine

        spectra = np.empty((len(rows), self.grid.n_pixels))
        for plan, same in self._plans(table):
            spectra[same] = _spin_wave_engine.simulate(
                plan, rows[same], table[same, :2]
            )
        return spectra

    def _differentiate(self, names, rows, table, ranges):
        from skphonon.simulation import _spin_wave_engine

        def differentiate(exact):
            spectra = np.empty((len(rows), self.grid.n_pixels))
            changes = np.empty((*spectra.shape, rows.shape[1] + len(exact)))
            for plan, same in self._plans(table):
                changes[same], spectra[same] = _spin_wave_engine.differentiate(
                    plan, rows[same], table[same, :2], exact
                )
            return changes, spectra

        return self._with_q_differences(names, rows, table, ranges, differentiate)

    def _plans(self, table):
        """Yield the plan of each resolution in Q, and the rows that have it."""
        for width in np.unique(table[:, 2]):
            yield self._plan(width), np.flatnonzero(table[:, 2] == width)

    def _plan(self, q_resolution):
        """Return what does not depend on the parameters."""
        # torch takes seconds to import: only those who simulate wait for it
        import torch

        from skphonon.simulation._spin_wave_engine import Plan

        def build():
            wavevectors, shares = self._points(q_resolution)
            amplitudes = self.model.amplitudes(wavevectors)
            amplitudes *= np.sqrt(np.tile(shares, self.grid.shape[1]))[:, None]
            edges = self.grid.edges()
            width = self.energy_resolution
            width = resolve_widths(width if callable(width) else 1.0, edges)
            return Plan(
                basis=torch.as_tensor(self.model.matrix_basis(wavevectors)),
                amplitudes=torch.as_tensor(amplitudes)[:, None],
                n_points=len(shares),
                signs=torch.as_tensor(self.model.signs),
                edges=torch.as_tensor(edges),
                widths=torch.as_tensor(width),
                mask=self.grid.mask.ravel(),
                temperature=self.temperature,
                quantity=self.quantity,
            )

        if q_resolution != self.q_resolution:  # one of many, in a search
            return build()
        return self._cached("plan", build)

    def _points(self, q_resolution):
        """Return points about each wavevector, and the share that each has."""
        wavevectors = reduced_wavevectors(self)
        axes = self.model.dispersive_axes()
        if q_resolution == 0 or not len(axes):
            return wavevectors, np.ones(1)
        share = np.exp(-(_POINTS**2) / 2)
        share /= share.sum()
        # the tails that are cut off are made up for
        points = _POINTS * q_resolution / np.sqrt(share @ _POINTS**2)
        places = np.array(list(product(points, repeat=len(axes))))
        shares = np.prod(list(product(share, repeat=len(axes))), axis=1)
        moves = places @ axes @ np.asarray(self.model.lattice, float).T / (2 * np.pi)
        return (wavevectors[:, None] + moves).reshape(-1, 3), shares
