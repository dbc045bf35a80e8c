"""Properties of draws as curves with bands."""

from typing import Any, ClassVar

from skphonon._figures import Display, one_axes

__all__ = ["CurveDisplay", "draw_curves"]


class CurveDisplay(Display):
    """Curves of a property with their intervals, a colour for each set of constants."""

    _x: ClassVar[str]
    _axes: ClassVar[dict[str, Any]]

    def plot(self, ax=None, *, line_kw=None, band_kw=None):
        """Draw lines of the best constants and bands of the intervals.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        line_kw : dict, default=None
            Options for `Axes.plot`.
        band_kw : dict, default=None
            Options for `Axes.fill_between`.

        Returns
        -------
        CurveDisplay
            This display, which keeps `ax_` and `figure_`.
        """
        self.figure_, self.ax_ = one_axes(ax, figsize=(5, 3.5))
        draw_curves(self.ax_, self.data, self._x, line_kw=line_kw, band_kw=band_kw)
        self.ax_.set(**self._axes)
        return self


def draw_curves(ax, data, x, *, split=(), line_kw=None, band_kw=None):
    """Draw values with their intervals against the column `x`, a colour a name.

    The columns in `split` distinguish the curves of one name.
    """
    for number, (name, of_name) in enumerate(data.groupby("name", sort=False)):
        curves = [of_name]
        if split:
            curves = [rows for _, rows in of_name.groupby(list(split), sort=False)]
        for first, rows in enumerate(curves):
            line = {"color": f"C{number}", **(line_kw or {})}
            if name and first == 0:
                line = {"label": name, **line}
            band = {"color": line["color"], "alpha": 0.3, "linewidth": 0}
            ax.plot(rows[x], rows["value"], **line)
            if rows["low"].notna().any():
                ends = rows[x], rows["low"], rows["high"]
                ax.fill_between(*ends, **{**band, **(band_kw or {})})
    if data["name"].any():
        ax.legend(fontsize="small")
