"""Heat capacity and displacements against temperature, with their uncertainty."""

import numpy as np
import pandas as pd

from skphonon._figures import Display, many_axes
from skphonon.inspection._curves import CurveDisplay, draw_curves
from skphonon.inspection._property_tables import property_table
from skphonon.physics.elasticity import VOIGT
from skphonon.physics.stability import searching
from skphonon.physics.zone.thermodynamics import PhononProperties

__all__ = ["HeatCapacityDisplay", "ThermalDisplacementsDisplay"]

_COMPONENTS = ("mean", "xx", "yy", "zz", "yz", "xz", "xy")  # as VOIGT has them


class ThermalDisplay(Display):
    """A property of the crystal against temperature."""

    @staticmethod
    def _compute(model, properties, kelvins):
        """Return a table that labels the values of a row, and the values."""
        raise NotImplementedError

    @classmethod
    def from_draws(cls, draws, *, temperature, mesh=None, level=0.68):
        """Compute the property for one or several sets of constants.

        Parameters
        ----------
        draws : ParameterDraws, Posterior or SpectrumFit, or dict of str to such
            Constants with their uncertainty, by the name they get in the picture.
            Unstable draws are left out with a warning.
        temperature : array-like of shape (n_temperatures,)
            Temperatures in K.
        mesh : ZoneMesh, int or tuple of three int, default=None
            Mesh of the zone, or its points along each reciprocal axis. None finds one.
        level : float, default=0.68
            Probability of the intervals.

        Returns
        -------
        ThermalDisplay
            Display with the values for all sets.
        """
        kelvins = np.atleast_1d(np.asarray(temperature, dtype=float))

        def compute(model, rows):
            properties = PhononProperties(model, rows, mesh=mesh)
            with searching():  # unstable draws are counted later
                return cls._compute(model, properties, kelvins)

        return cls(data=property_table(draws, compute, level=level))


class HeatCapacityDisplay(ThermalDisplay, CurveDisplay):
    """Heat capacity at constant volume against temperature, with intervals.

    Parameters
    ----------
    data : DataFrame
        One row for each set of constants and temperature, with the columns `name`,
        `temperature` (K), `value`, `std`, `low` and `high` (J/K for a mole of cells;
        NaN without draws).

    See Also
    --------
    skphonon.physics.zone.thermodynamics.PhononProperties : The capacities themselves.

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_model
    >>> from skphonon.inspection import HeatCapacityDisplay, draw_parameters
    >>> model = load_aluminium_model()
    >>> fit = draw_parameters(model, std=0.03 * abs(model.reference), random_state=0)
    >>> HeatCapacityDisplay.from_draws(fit, temperature=[0, 100, 3000]).data.round(1)
      name  temperature  value  std   low  high
    0               0.0    0.0  0.0   0.0   0.0
    1             100.0   12.9  0.3  12.6  13.2
    2            3000.0   24.9  0.0  24.9  24.9
    """

    _x = "temperature"
    _axes = {"xlabel": "temperature (K)", "ylabel": r"$C_V$ (J/K/mol of cells)"}

    @staticmethod
    def _compute(model, properties, kelvins):
        places = pd.DataFrame({"temperature": kelvins})
        return places, properties.heat_capacity(kelvins)


class ThermalDisplacementsDisplay(ThermalDisplay):
    """Mean-square displacements of atoms against temperature, with intervals.

    The exponent of a Debye-Waller factor exp(-2W) of an intensity is 2W = Q.U.Q, and
    Q^2 U where the displacement U is the same along all directions. The B of
    crystallography is 8 pi^2 U.

    Parameters
    ----------
    data : DataFrame
        One row for each set of constants, temperature, atom and component, with the
        columns `name`, `temperature` (K), `atom` (element and number in the cell, the
        first of those that symmetry relates), `component` ("mean" of the three
        directions, or "xx", "yy", "zz", "yz", "xz", "xy" of the Cartesian tensor),
        `value`, `std`, `low` and `high` (Angstrom^2; NaN without draws).

    See Also
    --------
    skphonon.physics.zone.thermodynamics.PhononProperties : The tensors themselves.

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_model
    >>> from skphonon.inspection import ThermalDisplacementsDisplay, draw_parameters
    >>> fit = draw_parameters(load_aluminium_model("gilat-nicklow-1966"))
    >>> display = ThermalDisplacementsDisplay.from_draws(fit, temperature=[0, 300])
    >>> rows = display.data.query("component == 'mean'")
    >>> rows[["atom", "temperature", "value"]].round(4)
      atom  temperature   value
    0  Al1          0.0  0.0034
    7  Al1        300.0  0.0107
    """

    @staticmethod
    def _compute(model, properties, kelvins):
        _, permutations = model.symmetry_operations()
        atoms = np.unique(permutations.min(axis=0))  # one of each orbit
        tensors = properties.displacement_tensors(kelvins)[:, :, atoms]
        labels = [f"{model.symbols[i]}{i + 1}" for i in atoms]
        axes = {"temperature": kelvins, "atom": labels, "component": _COMPONENTS}
        places = pd.MultiIndex.from_product(axes.values(), names=axes)
        mean = np.trace(tensors, axis1=3, axis2=4)[..., None] / 3
        elements = tensors[..., *np.transpose(VOIGT)]
        return places.to_frame(index=False), np.concatenate([mean, elements], -1)

    def plot(self, axes=None, *, component="mean", line_kw=None, band_kw=None):
        """Draw one panel an atom.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, one an atom; None makes a figure.
        component : str, default="mean"
            Which component to draw.
        line_kw, band_kw : dict, default=None
            Options for `Axes.plot` and `Axes.fill_between`.

        Returns
        -------
        ThermalDisplacementsDisplay
            This display, which keeps `axes_` and `figure_`.

        Raises
        ------
        ValueError
            If there is no such component.
        """
        offered = list(self.data["component"].unique())
        if component not in offered:
            raise ValueError(
                f"component must be one of {', '.join(offered)}; got {component!r}."
            )
        shown = self.data[self.data["component"] == component]
        atoms = shown.groupby("atom", sort=False)
        self.figure_, self.axes_ = many_axes(axes, len(atoms), n_columns=3, size=(4, 3))
        for ax, (atom, rows) in zip(self.axes_, atoms, strict=True):
            draw_curves(ax, rows, "temperature", line_kw=line_kw, band_kw=band_kw)
            ax.set(xlabel="temperature (K)", ylabel=rf"$U$ of {atom} (Å$^2$)")
        return self
