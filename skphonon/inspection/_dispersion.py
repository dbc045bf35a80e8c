"""Phonon dispersion with the uncertainty of the constants."""

import numpy as np
import pandas as pd

from skphonon._figures import Display, one_axes
from skphonon.inspection._band_paths import (
    high_symmetry_path,
    placed_on_path,
    sampled_path,
)
from skphonon.inspection._curves import draw_curves
from skphonon.inspection._parameter_draws import as_sets
from skphonon.inspection._property_tables import property_table

__all__ = ["PhononBandsDisplay"]

_ALIKE = 0.05  # of products of axes: shapes of cells change a little with temperature


class PhononBandsDisplay(Display):
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
        super().__init__(data=data)
        self.ticks = ticks
        self.measured = measured

    @classmethod
    def from_draws(cls, draws, *, path=None, n_points=51, measured=None, level=0.68):
        """Compute the bands of one or several sets of constants.

        Parameters
        ----------
        draws : ParameterDraws, Posterior or SpectrumFit, or dict of str to such
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
            If a line of the path has fewer than two points, `n_points` is below 2,
            `measured` is no DataFrame with these columns, or the crystals have
            lattices of other shapes.
        """
        sets = as_sets(draws)
        first = next(iter(sets.values())).model
        _check_lattices({name: each.model for name, each in sets.items()})
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
            Axes to draw on; None makes a figure.
        line_kw, band_kw : dict, default=None
            Options for `Axes.plot` and `Axes.fill_between`.
        measured_kw : dict, default=None
            Options for `Axes.errorbar` of measured points.

        Returns
        -------
        PhononBandsDisplay
            This display, which keeps `ax_` and `figure_`.
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


def _check_lattices(models):
    """Refuse lattices of which one path has not the same meaning."""
    (name, first), *others = models.items()
    shape = _shape(first)
    for other, model in others:
        if not np.allclose(_shape(model), shape, atol=_ALIKE):
            raise ValueError(
                "Bands in one picture must be of crystals with the same lattice, but "
                f"for its size; those of {name!r} and {other!r} have other angles or "
                "ratios of axes. Draw each in a display of its own."
            )


def _shape(model):
    """Return scalar products of reciprocal axes, over the mean of the squares."""
    axes = model.reciprocal_lattice()
    products = axes @ axes.T
    return products * 3 / np.trace(products)
