"""The elastic line and the Bragg lines by which a measurement was calibrated."""

import numpy as np

from skphonon._figures import Display, many_axes

__all__ = ["CalibrationDisplay"]

_NOT_TOLD = "unknown"


class CalibrationDisplay(Display):
    r"""Elastic line against energy, and its intensity against :math:`|Q|`.

    Reflections are marked where they were found, a colour for the sample and each other
    material. Nothing is calibrated in this picture: it shows the data as measured.

    Parameters
    ----------
    data : dict of DataFrame
        By name: `elastic_line`, `elastic`, `pattern` and `reflections`, the tables of a
        :class:`~skphonon.instrument.calibration_report.Calibration`.

    See Also
    --------
    skphonon.instrument.calibrate : Makes the tables, and the report in text.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import Measurement, SpectrumGrid
    >>> from skphonon.inspection import CalibrationDisplay
    >>> from skphonon.instrument import calibrate
    >>> energy, q = np.arange(-10, 30, 0.5), np.arange(1.0, 6.0, 0.1)
    >>> line = np.exp(-((energy - 0.3) ** 2) / 2)[:, None] * np.ones(len(q))
    >>> grid = SpectrumGrid(energy, q, incident_energy=60.0)
    >>> measured = Measurement(grid.to_rows(line), grid, quantity="sqe")
    >>> found = calibrate(measured, resolution="constant")
    >>> CalibrationDisplay.from_calibration(found).plot()  # doctest: +SKIP
    """

    _tables = ("elastic_line", "elastic", "pattern", "reflections")

    @classmethod
    def from_calibration(cls, calibration):
        """Take the tables of a calibration.

        Parameters
        ----------
        calibration : Calibration
            What :func:`skphonon.instrument.calibrate` returned.

        Returns
        -------
        CalibrationDisplay
            Ready to plot.

        Raises
        ------
        TypeError
            If it is not a calibration.
        """
        if not all(hasattr(calibration, name) for name in cls._tables):
            raise TypeError(
                "calibration must be what skphonon.instrument.calibrate returns, got "
                f"{type(calibration).__name__}. Pass calibrate(measurement, crystal)."
            )
        return cls(data={name: getattr(calibration, name) for name in cls._tables})

    def plot(self, axes=None, *, log=True, line_kw=None):
        r"""Draw the elastic line, the zeros of detector banks and the Bragg pattern.

        Parameters
        ----------
        axes : array-like of 3 matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        log : bool, default=True
            Whether intensities of the Bragg pattern are on a logarithmic scale.
        line_kw : dict, default=None
            Options for `Axes.plot` of measured points.

        Returns
        -------
        CalibrationDisplay
            This display, which keeps `axes_` and `figure_`.

        Raises
        ------
        ValueError
            If `axes` are not three.
        """
        self.figure_, self.axes_ = _three_axes(axes)
        points = {"marker": ".", "linestyle": "", "color": "0.3", **(line_kw or {})}
        self._draw_line(self.axes_[0], points)
        self._draw_banks(self.axes_[1])
        self._draw_pattern(self.axes_[2], points, log)
        return self

    def _draw_line(self, ax, points):
        line = self.data["elastic_line"]
        base, top = line["fit"].min(), line["fit"].max()
        inside = line["energy"][line["fit"] > base + 0.01 * (top - base)]
        middle, width = inside.mean(), inside.max() - inside.min()
        near = line[(line["energy"] - middle).abs() <= width]
        ax.errorbar(near["energy"], near["intensity"], near["error"], **points)
        ax.plot(near["energy"], near["fit"], color="C1", label="Gaussian")
        ax.axvline(0, color="0.7", linewidth=0.8)
        ax.set(xlabel="energy transfer (meV)", ylabel="mean intensity")
        ax.legend(fontsize="small")

    def _draw_banks(self, ax):
        banks = self.data["elastic"]
        middle = (banks["low"] + banks["high"]) / 2
        for name, label in (("zero", "centre"), ("width", "standard deviation")):
            ax.errorbar(
                middle, banks[name], banks[f"{name}_std"], fmt=".-", label=label
            )
        of_angles = banks["high"].max() > 20  # as no |Q| is
        where = "scattering angle (degrees)" if of_angles else "|Q| (1/Å)"
        ax.axhline(0, color="0.7", linewidth=0.8)
        ax.set(xlabel=where, ylabel="elastic line of banks (meV)")
        ax.legend(fontsize="small")

    def _draw_pattern(self, ax, points, log):
        pattern, lines = self.data["pattern"], self.data["reflections"]
        ax.plot(pattern["q"], pattern["intensity"], **{**points, "linestyle": "-"})
        ax.plot(pattern["q"], pattern["baseline"], color="0.7")
        for number, (phase, rows) in enumerate(lines.groupby("phase", sort=False)):
            colour = "0.5" if phase == _NOT_TOLD else f"C{number}"
            for label, q in zip([phase, *[None] * len(rows)], rows["q"], strict=False):
                ax.axvline(q, color=colour, linewidth=0.8, alpha=0.7, label=label)
            for hkl, q in zip(rows["hkl"], rows["q"], strict=True):
                ax.annotate(
                    hkl.partition("+")[0],
                    (q, 1.01),
                    xycoords=("data", "axes fraction"),
                    rotation=90,
                    fontsize=6,
                    color=colour,
                    ha="center",
                    annotation_clip=False,
                )
        if log and (pattern["intensity"] > 0).any():
            ax.set_yscale("log")
        ax.set(xlabel="|Q| (1/Å)", ylabel="elastic intensity")
        if len(lines):
            ax.legend(fontsize="small", loc="upper left")


def _three_axes(axes):
    """Return the figure and axes of two panels above a wide one, or those given."""
    if axes is not None:
        return many_axes(axes, 3, n_columns=3, size=(4, 3))
    import matplotlib.pyplot as plt

    figure, named = plt.subplot_mosaic(
        [["line", "banks"], ["pattern", "pattern"]],
        figsize=(9, 6.5),
        layout="constrained",
        height_ratios=(2, 3),
    )
    return figure, np.array([named[name] for name in ("line", "banks", "pattern")])
