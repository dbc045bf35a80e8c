"""Phonon dispersion and density of states with the uncertainty of the constants."""

import numpy as np
import pandas as pd

from skphonon.inspection._band_paths import (
    high_symmetry_path,
    placed_on_path,
    sampled_path,
)
from skphonon.inspection._figures import one_axes
from skphonon.inspection._property_tables import as_sets, draw_curves, property_table
from skphonon.physics.zone import ZoneMesh, resolving_points
from skphonon.physics.zone.thermodynamics import PhononProperties

__all__ = ["DensityOfStatesDisplay", "PhononBandsDisplay"]

_COARSE_MESH = 8  # enough to find where the modes lie
_MARGIN = 4  # standard deviations of the Gaussian beyond the outermost modes


class PhononBandsDisplay:
    """Phonon energies along a path, with intervals, beside measured ones.

    Modes are numbered by their energy at each point, so an interval is that of the
    first, second, third energy there; unstable modes have negative energies. Crystals
    with different lattice constants are all drawn along the path of the first.

    Parameters
    ----------
    data : DataFrame
        One row for each set of constants, mode and point, with the columns `name`,
        `mode` (from 0), `line` and `step` (of the path), `distance` (along the path,
        1/Angstrom), `q1`, `q2`, `q3` (in units of the reciprocal lattice), `value`,
        `std`, `low` and `high` (meV; NaN without draws).
    ticks : DataFrame
        Columns `label` and `distance` of the labelled points.
    measured : DataFrame, default=None
        Measured points with their `distance`, `energy` (meV) and, where given, `std`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on; after `plot`.
    figure_ : matplotlib Figure
        Its figure; after `plot`.

    See Also
    --------
    draw_parameters : Constants with their uncertainty.

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_model
    >>> from skphonon.inspection import PhononBandsDisplay, draw_parameters
    >>> model = load_aluminium_model()
    >>> fit = draw_parameters(model, std=0.05 * abs(model.reference), random_state=0)
    >>> display = PhononBandsDisplay.from_draws(fit, n_points=3)
    >>> to_x = display.data.query("step == 0")  # from the zone centre to X
    >>> to_x.groupby("mode")["value"].last().round(2).tolist()
    [22.62, 22.62, 40.55]
    """

    def __init__(self, *, data, ticks, measured=None):
        self.data = data
        self.ticks = ticks
        self.measured = measured

    @classmethod
    def from_draws(cls, draws, *, path=None, n_points=51, measured=None, level=0.68):
        """Compute the bands of one or several sets of constants.

        Parameters
        ----------
        draws : ParameterDraws or dict of str to ParameterDraws
            Constants with their uncertainty, by the name they get in the picture. The
            crystals must have the same reciprocal lattice but for lengths.
        path : sequence of sequence of (str, array-like of shape (3,)), default=None
            Lines of labelled points in units of the reciprocal lattice, as in
            :func:`high_symmetry_path`, which None takes.
        n_points : int, default=51
            Points from one labelled point to the next.
        measured : DataFrame, default=None
            Measured phonons: columns `q1`, `q2`, `q3` (as in `path`), `energy` (meV)
            and, if known, `std` (meV). Each is drawn wherever the path passes its
            wavevector or one that symmetry relates to it.
        level : float, default=0.68
            Probability of the intervals.

        Returns
        -------
        PhononBandsDisplay
            Display with all bands.

        Raises
        ------
        ValueError
            If a line of the path has fewer than two points, or `n_points` is below 2.
        """
        first = next(iter(as_sets(draws).values())).model
        path = high_symmetry_path(first) if path is None else path
        points, ticks = sampled_path(first, path, n_points)

        def bands(model, rows):
            energies = model.frequencies(rows, points[["q1", "q2", "q3"]].to_numpy())
            modes = np.arange(energies.shape[2])
            places = pd.concat([points.assign(mode=m) for m in modes])
            return places.reset_index(drop=True), energies.swapaxes(1, 2)

        if measured is not None:
            measured = placed_on_path(first, points, measured)
        return cls(
            data=property_table(draws, bands, level=level),
            ticks=ticks,
            measured=measured,
        )

    def plot(self, ax=None, *, line_kw=None, band_kw=None, measured_kw=None):
        """Draw lines of the best constants, bands of the intervals, and points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on; None makes a figure.
        line_kw : dict, default=None
            Options for `Axes.plot`.
        band_kw : dict, default=None
            Options for `Axes.fill_between`.
        measured_kw : dict, default=None
            Options for `Axes.errorbar` of measured points.

        Returns
        -------
        PhononBandsDisplay
            This display.
        """
        self.figure_, self.ax_ = one_axes(ax, figsize=(6, 4))
        if self.measured is not None:
            dots = {"fmt": ".", "color": "black", "label": "measured", "zorder": 3}
            self.ax_.errorbar(
                self.measured["distance"],
                self.measured["energy"],
                self.measured.get("std"),
                **{**dots, **(measured_kw or {})},
            )
        style = {"line_kw": line_kw, "band_kw": band_kw}
        draw_curves(self.ax_, self.data, "distance", split=("line", "mode"), **style)
        corners = self.ticks.groupby("distance")["label"].agg(
            lambda labels: "|".join(dict.fromkeys(labels))
        )
        for distance in corners.index[1:-1]:
            self.ax_.axvline(distance, color="0.8", linewidth=0.8, zorder=0)
        if (self.data["value"] < 0).any():
            self.ax_.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        else:
            self.ax_.set_ylim(bottom=0)
        self.ax_.set_xticks(corners.index, corners)
        self.ax_.set(xlim=(0, corners.index[-1]), ylabel="energy (meV)")
        return self


class DensityOfStatesDisplay:
    """Phonon density of states, with intervals.

    Parameters
    ----------
    data : DataFrame
        One row for each set of constants and energy, with the columns `name`, `energy`
        (meV; negative for unstable modes), `value`, `std`, `low` and `high` (modes a
        meV and cell; NaN without draws).

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on; after `plot`.
    figure_ : matplotlib Figure
        Its figure; after `plot`.

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

    def __init__(self, *, data):
        self.data = data

    @classmethod
    def from_draws(cls, draws, *, energy=None, width=0.7, mesh=None, level=0.68):
        """Compute the densities of one or several sets of constants.

        Parameters
        ----------
        draws : ParameterDraws or dict of str to ParameterDraws
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
        DensityOfStatesDisplay
            This display.
        """
        self.figure_, self.ax_ = one_axes(ax, figsize=(5, 3.5))
        draw_curves(self.ax_, self.data, "energy", line_kw=line_kw, band_kw=band_kw)
        self.ax_.set(xlabel="energy (meV)", ylabel="density of states (1/meV/cell)")
        self.ax_.set_ylim(bottom=0)
        return self


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
