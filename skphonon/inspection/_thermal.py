"""Heat capacity, displacements and elastic constants with their uncertainty."""

import warnings

import numpy as np
import pandas as pd

from skphonon.inspection._figures import many_axes, one_axes
from skphonon.inspection._property_tables import draw_curves, property_table
from skphonon.physics.elasticity import VOIGT, elastic_constants
from skphonon.physics.stability import searching
from skphonon.physics.zone.thermodynamics import PhononProperties

__all__ = [
    "ElasticConstantsDisplay",
    "HeatCapacityDisplay",
    "ThermalDisplacementsDisplay",
]

_COMPONENTS = ("mean", "xx", "yy", "zz", "yz", "xz", "xy")  # as VOIGT has them
_TOLERATED_VIOLATION = 0.05
_SAME = 1e-9


class HeatCapacityDisplay:
    """Heat capacity at constant volume against temperature, with intervals.

    Parameters
    ----------
    data : DataFrame
        One row for each set of constants and temperature, with the columns `name`,
        `temperature` (K), `value`, `std`, `low` and `high` (J/K for a mole of cells;
        NaN without draws).

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on; after `plot`.
    figure_ : matplotlib Figure
        Its figure; after `plot`.

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

    def __init__(self, *, data):
        self.data = data

    @classmethod
    def from_draws(cls, draws, *, temperature, mesh=None, level=0.68):
        """Compute the heat capacities of one or several sets of constants.

        Parameters
        ----------
        draws : ParameterDraws or dict of str to ParameterDraws
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
        HeatCapacityDisplay
            Display with all heat capacities.
        """
        kelvins = np.atleast_1d(np.asarray(temperature, dtype=float))

        def capacities(model, rows):
            places = pd.DataFrame({"temperature": kelvins})
            properties = PhononProperties(model, rows, mesh=mesh)
            with searching():  # unstable draws are counted later
                return places, properties.heat_capacity(kelvins)

        return cls(data=property_table(draws, capacities, level=level))

    def plot(self, ax=None, *, line_kw=None, band_kw=None):
        """Draw lines of the best constants and bands of the intervals.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on; None makes a figure.
        line_kw : dict, default=None
            Options for `Axes.plot`.
        band_kw : dict, default=None
            Options for `Axes.fill_between`.

        Returns
        -------
        HeatCapacityDisplay
            This display.
        """
        self.figure_, self.ax_ = one_axes(ax, figsize=(5, 3.5))
        options = {"line_kw": line_kw, "band_kw": band_kw}
        draw_curves(self.ax_, self.data, "temperature", **options)
        self.ax_.set(xlabel="temperature (K)", ylabel=r"$C_V$ (J/K/mol of cells)")
        return self


class ThermalDisplacementsDisplay:
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

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        What was drawn on, one an atom; after `plot`.
    figure_ : matplotlib Figure
        Its figure; after `plot`.

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

    def __init__(self, *, data):
        self.data = data

    @classmethod
    def from_draws(cls, draws, *, temperature, mesh=None, level=0.68):
        """Compute the displacements of one or several sets of constants.

        Parameters
        ----------
        draws : ParameterDraws or dict of str to ParameterDraws
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
        ThermalDisplacementsDisplay
            Display with all displacements.
        """
        kelvins = np.atleast_1d(np.asarray(temperature, dtype=float))

        def displacements(model, rows):
            _, permutations = model.symmetry_operations()
            atoms = np.unique(permutations.min(axis=0))  # one of each orbit
            properties = PhononProperties(model, rows, mesh=mesh)
            with searching():  # unstable draws are counted later
                tensors = properties.displacement_tensors(kelvins)
            tensors = tensors[:, :, atoms]
            labels = [f"{model.symbols[i]}{i + 1}" for i in atoms]
            axes = {"temperature": kelvins, "atom": labels, "component": _COMPONENTS}
            places = pd.MultiIndex.from_product(axes.values(), names=axes)
            mean = np.trace(tensors, axis1=3, axis2=4)[..., None] / 3
            elements = tensors[..., *np.transpose(VOIGT)]
            return places.to_frame(index=False), np.concatenate([mean, elements], -1)

        return cls(data=property_table(draws, displacements, level=level))

    def plot(self, axes=None, *, component="mean", line_kw=None, band_kw=None):
        """Draw one panel an atom.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            What to draw on, one an atom; None makes a figure.
        component : str, default="mean"
            Which component to draw.
        line_kw : dict, default=None
            Options for `Axes.plot`.
        band_kw : dict, default=None
            Options for `Axes.fill_between`.

        Returns
        -------
        ThermalDisplacementsDisplay
            This display.

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


class ElasticConstantsDisplay:
    """Elastic constants, with intervals.

    Those that the symmetry of the crystal leaves different, in the Cartesian axes of
    the lattice of the model. Force constants of a finite range need not be invariant
    under rotations of the crystal, and only cubic symmetry makes up for it: a warning
    says where waves along two directions would tell elastic constants that differ by
    more than 5 % of the largest, see :mod:`skphonon.physics.elasticity`.

    Parameters
    ----------
    data : DataFrame
        One row for each set of constants and elastic constant, with the columns `name`,
        `constant` ("C11", ...), `value`, `std`, `low` and `high` (GPa; NaN without
        draws).

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on; after `plot`.
    figure_ : matplotlib Figure
        Its figure; after `plot`.

    See Also
    --------
    skphonon.physics.elasticity.elastic_constants : All 36 elements.

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_model
    >>> from skphonon.inspection import ElasticConstantsDisplay, draw_parameters
    >>> model = load_aluminium_model()
    >>> fit = draw_parameters(model, std=0.02 * abs(model.reference), random_state=0)
    >>> ElasticConstantsDisplay.from_draws(fit).data[["constant", "value"]].round(1)
      constant  value
    0      C11  128.9
    1      C12   68.2
    2      C44   33.9
    """

    def __init__(self, *, data):
        self.data = data

    @classmethod
    def from_draws(cls, draws, *, level=0.68):
        """Compute the elastic constants of one or several sets of force constants.

        Parameters
        ----------
        draws : ParameterDraws or dict of str to ParameterDraws
            Force constants with their uncertainty, by the name they get in the picture.
        level : float, default=0.68
            Probability of the intervals.

        Returns
        -------
        ElasticConstantsDisplay
            Display with all elastic constants.

        Raises
        ------
        ValueError
            If a crystal may be piezoelectric.
        """

        def stiffnesses(model, rows):
            stiffness, violation = elastic_constants(model, rows, return_violation=True)
            if violation[0] > _TOLERATED_VIOLATION:
                warnings.warn(
                    "The force constants change as the crystal is turned: waves along "
                    f"different directions tell elastic constants that differ by "
                    f"{violation[0]:.0%} of the largest. Their mean is given.",
                    stacklevel=4,
                )
            i, j = _different_elements(model.point_group())
            names = [f"C{a + 1}{b + 1}" for a, b in zip(i, j, strict=True)]
            return pd.DataFrame({"constant": names}), stiffness[:, i, j]

        return cls(data=property_table(draws, stiffnesses, level=level))

    def plot(self, ax=None, *, measured=None, errorbar_kw=None, measured_kw=None):
        """Draw a point with its interval for each constant.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on; None makes a figure.
        measured : mapping of str to float, default=None
            Constants in GPa by name, drawn as horizontal bars.
        errorbar_kw : dict, default=None
            Options for `Axes.errorbar`.
        measured_kw : dict, default=None
            Options for `Axes.hlines` of measured constants.

        Returns
        -------
        ElasticConstantsDisplay
            This display.
        """
        self.figure_, self.ax_ = one_axes(ax, figsize=(5, 3.5))
        constants = list(self.data["constant"].unique())
        sets = self.data.groupby("name", sort=False)
        for number, (name, rows) in enumerate(sets):
            shift = 0.4 * ((number + 0.5) / len(sets) - 0.5)
            places = rows["constant"].map(constants.index) + shift
            ends = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
            style = {"fmt": "o", "color": f"C{number}", "capsize": 3, "label": name}
            error = np.clip(ends, 0, None) if rows["low"].notna().all() else None
            style = {**style, **(errorbar_kw or {})}
            self.ax_.errorbar(places, rows["value"], error, **style)
        if measured is not None:
            bars = {"color": "black", "label": "measured", "zorder": 0}
            places = np.array([constants.index(name) for name in measured])
            values = list(measured.values())
            ends = places - 0.3, places + 0.3
            self.ax_.hlines(values, *ends, **{**bars, **(measured_kw or {})})
        if measured is not None or self.data["name"].any():
            self.ax_.legend(fontsize="small")
        self.ax_.set_xticks(range(len(constants)), constants)
        self.ax_.set_ylabel("elastic constant (GPa)")
        return self


def _different_elements(rotations):
    """Return rows and columns of the elements that symmetry leaves different.

    A tensor of random elements, made symmetric, has equal ones only where it must.
    """
    tensor = np.random.default_rng(0).normal(size=(3, 3, 3, 3))
    for axes in [(1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)]:
        tensor = tensor + tensor.transpose(axes)
    turned = "gai,gbj,gck,gdl,ijkl->abcd"
    mean = np.einsum(turned, *[rotations] * 4, tensor, optimize=True) / len(rotations)
    found = []
    for i, j in zip(*np.triu_indices(6), strict=True):
        element = mean[(*VOIGT[i], *VOIGT[j])]
        known = [0.0, *(abs(value) for _, _, value in found)]
        if np.abs(abs(element) - known).min() > _SAME:
            found.append((i, j, element))
    return tuple(np.array([(i, j) for i, j, _ in found]).T)
