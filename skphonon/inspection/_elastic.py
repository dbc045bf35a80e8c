"""Elastic constants with their uncertainty."""

import numpy as np
import pandas as pd

from skphonon._figures import Display, one_axes
from skphonon._warnings import warn_user
from skphonon.inspection._property_tables import property_table
from skphonon.physics.elasticity import (
    elastic_constants,
    independent_elements,
    warn_of_violation,
)
from skphonon.physics.stability import UnstableCrystalWarning

__all__ = ["ElasticConstantsDisplay"]

_ROUNDING = 1e-6  # of the largest elastic constant


class ElasticConstantsDisplay(Display):
    """Elastic constants, with intervals.

    The independent ones, in the Cartesian axes of the lattice of the model. Force
    constants of a finite range need not be invariant under rotations of the crystal,
    which matters in crystals that are not cubic: a warning is given if waves along two
    directions give elastic constants that differ by more than 5 % of the largest, see
    :mod:`skphonon.physics.elasticity`.

    Parameters
    ----------
    data : DataFrame
        One row for each set of constants and elastic constant, with the columns `name`,
        `constant` ("C11", ...), `value`, `std`, `low` and `high` (GPa; NaN without
        draws).

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

    @classmethod
    def from_draws(cls, draws, *, level=0.68):
        """Compute the elastic constants of one or several sets of force constants.

        Parameters
        ----------
        draws : ParameterDraws, Posterior or SpectrumFit, or dict of str to such
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
            warn_of_violation(violation[0])
            _warn_of_unstable(stiffness)
            i, j = independent_elements(model.point_group())
            names = [f"C{a + 1}{b + 1}" for a, b in zip(i, j, strict=True)]
            return pd.DataFrame({"constant": names}), stiffness[:, i, j]

        return cls(data=property_table(draws, stiffnesses, level=level))

    def plot(self, ax=None, *, measured=None, errorbar_kw=None, measured_kw=None):
        """Draw a point with its interval for each constant.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        measured : mapping of str to float, default=None
            Constants in GPa by name, drawn as horizontal bars.
        errorbar_kw : dict, default=None
            Options for `Axes.errorbar`.
        measured_kw : dict, default=None
            Options for `Axes.hlines` of measured constants.

        Returns
        -------
        ElasticConstantsDisplay
            This display, which keeps `ax_` and `figure_`.

        Raises
        ------
        ValueError
            If `measured` names something else than the constants of the crystal.
        """
        constants = list(self.data["constant"].unique())
        unknown = [str(name) for name in measured or () if name not in constants]
        if unknown:
            raise ValueError(
                "measured must name independent elastic constants of the crystal, "
                f"{', '.join(constants)}; got {', '.join(unknown)}."
            )
        self.figure_, self.ax_ = one_axes(ax, figsize=(5, 3.5))
        sets = self.data.groupby("name", sort=False)
        for number, (name, rows) in enumerate(sets):
            shift = 0.4 * ((number + 0.5) / len(sets) - 0.5)
            places = rows["constant"].map(constants.index) + shift
            below_above = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
            style = {"fmt": "o", "color": f"C{number}", "capsize": 3, "label": name}
            error = np.clip(below_above, 0, None) if rows["low"].notna().all() else None
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


def _warn_of_unstable(stiffness):
    """Warn of strains that lower the energy, of best constants (first) and draws."""
    lowest = np.linalg.eigvalsh(stiffness)[:, 0]
    unstable = lowest < -_ROUNDING * np.abs(stiffness).max(axis=(1, 2))
    if unstable.any():
        whose = f"{unstable[1:].sum()} of {len(unstable) - 1} draws describe"
        if unstable[0]:
            whose = "The best constants describe"
        warn_user(
            f"{whose} an unstable crystal: a strain lowers its energy, as the matrix "
            f"of elastic constants has an eigenvalue of {lowest[unstable][0]:.3g} GPa. "
            "Its elastic constants are given as they are.",
            UnstableCrystalWarning,
        )
