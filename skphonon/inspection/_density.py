"""Phonon density of states with the uncertainty of the constants."""

import numpy as np
import pandas as pd

from skphonon.inspection._curves import CurveDisplay
from skphonon.inspection._parameter_draws import as_sets
from skphonon.inspection._property_tables import property_table
from skphonon.physics.zone import ZoneMesh, resolving_points
from skphonon.physics.zone.thermodynamics import PhononProperties

__all__ = ["DensityOfStatesDisplay"]

_COARSE_MESH = 8  # enough to find the range of the modes
_MARGIN = 4  # standard deviations of the Gaussian beyond the outermost modes


class DensityOfStatesDisplay(CurveDisplay):
    """Phonon density of states, with intervals.

    Parameters
    ----------
    data : DataFrame
        One row for each set of constants and energy, with the columns `name`, `energy`
        (meV; negative for unstable modes), `value`, `std`, `low` and `high` (modes a
        meV and cell; NaN without draws).

    See Also
    --------
    skphonon.physics.zone.thermodynamics.PhononProperties : The densities themselves.

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_model
    >>> from skphonon.inspection import DensityOfStatesDisplay, draw_parameters
    >>> fit = draw_parameters(load_aluminium_model())
    >>> display = DensityOfStatesDisplay.from_draws(fit, mesh=8, width=1.0)
    >>> step = 0.5  # meV, half the width
    >>> float((step * display.data["value"].sum()).round(3))  # three modes
    3.0
    """

    _x = "energy"
    _axes = {
        "xlabel": "energy (meV)",
        "ylabel": "density of states (1/meV/cell)",
        "ylim": (0, None),
    }

    @classmethod
    def from_draws(cls, draws, *, energy=None, width=0.7, mesh=None, level=0.68):
        """Compute the densities of one or several sets of constants.

        Parameters
        ----------
        draws : ParameterDraws, Posterior or SpectrumFit, or dict of str to such
            Constants with their uncertainty, by the name they get in the picture.
        energy : array-like of shape (n_energy,), default=None
            Energies in meV; None takes those at which some set has modes, in steps of
            half the width.
        width : float, default=0.7
            Standard deviation in meV of the Gaussian that broadens each mode. A finer
            mesh allows a smaller one.
        mesh : ZoneMesh, int or tuple of three int, default=None
            Mesh of the zone, or its points along each reciprocal axis. None finds one
            that is fine enough for the width.
        level : float, default=0.68
            Probability of the intervals.

        Returns
        -------
        DensityOfStatesDisplay
            Display with all densities.

        Raises
        ------
        ValueError
            If the width is not positive.
        """
        if energy is None:
            energy = _energies(as_sets(draws).values(), width)
        energy = np.asarray(energy, dtype=float)

        def densities(model, rows):
            properties = PhononProperties(model, rows, mesh=mesh)
            values = properties.density_of_states(energy, width=width)
            return pd.DataFrame({"energy": energy}), values

        return cls(data=property_table(draws, densities, level=level))


def _energies(sets, width):
    """Return energies that hold the modes of all sets and their broadening."""
    if not width > 0:
        raise ValueError(f"width must be above 0 meV, got {width!r}.")
    lowest, highest = 0.0, 0.0
    for model, parameters, draws in sets:
        wavevectors, _ = resolving_points(model, ZoneMesh(_COARSE_MESH))
        qpoints = wavevectors @ np.linalg.inv(model.reciprocal_lattice())
        energies = model.frequencies(np.vstack([parameters, draws]), qpoints)
        lowest = min(lowest, energies.min())
        highest = max(highest, energies.max())
    margin = _MARGIN * width + 0.05 * (highest - lowest)
    return np.arange(lowest - margin * (lowest < 0), highest + margin, width / 2)
