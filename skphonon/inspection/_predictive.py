"""The spectrum that a posterior predicts, beside the measured one."""

import numpy as np
import pandas as pd

from skphonon._figures import Display, many_axes
from skphonon.instrument import Measurement
from skphonon.instrument.maps import Scans, SpectrumMapDisplay, map_of

__all__ = ["PosteriorPredictiveDisplay"]

_RESIDUAL = "residual (predictive std)"
_SIZE = 4.2, 3.4  # inch a panel


class PosteriorPredictiveDisplay(Display):
    r"""Measured spectrum, what the posterior predicts, and the residual in its errors.

    The prediction is the mean of spectra simulated from draws, each with the background
    and the amplitudes that fit best. The predictive standard deviation is that of the
    noise of a pixel and of the spread over draws together,
    :math:`(\sigma^2 + s^2)^{1/2}`. Residuals of a right model are independent from
    pixel to pixel and mostly between -2 and 2: a map shows where they are not.

    Parameters
    ----------
    data : DataFrame
        One row a pixel, with the columns `part` (name of the measurement of a joint
        simulator, else empty), `measured`, `predicted` and `std` (of the prediction, in
        the unit of the spectrum) and `residual` (measured less predicted, over `std`);
        NaN where not compared.
    grids : dict
        Grid of each part, None where it has none.

    See Also
    --------
    skphonon.inversion.Posterior.predictive_check : The same question in two numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import LeastSquaresInverter, PowderSimulator, SpectrumGrid
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inspection import PosteriorPredictiveDisplay
    >>> from skphonon.inversion import PosteriorInverter
    >>> grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.5, mesh=6
    ... )
    >>> X = simulator.simulate([1.03 * simulator.reference])
    >>> noise = 0.02 * np.nanstd(X)
    >>> X += noise * np.random.default_rng(0).normal(size=X.shape)
    >>> half = np.abs(simulator.reference) / 2 + 0.02
    >>> bounds = simulator.reference - half, simulator.reference + half
    >>> inverter = PosteriorInverter(LeastSquaresInverter(simulator, bounds=bounds))
    >>> _ = inverter.fit(X).predict(X, errors=noise)
    >>> display = PosteriorPredictiveDisplay.from_posterior(inverter.posteriors_[0])
    >>> bool((display.data["residual"].abs() < 2).mean() > 0.9)
    True
    >>> display.plot()  # doctest: +SKIP
    """

    def __init__(self, *, data, grids):
        super().__init__(data=data)
        self.grids = grids

    @classmethod
    def from_posterior(cls, posterior, *, n_draws=100, random_state=0):
        """Simulate spectra from draws of a posterior.

        Parameters
        ----------
        posterior : Posterior
            Of ``PosteriorInverter.posteriors_``, not from a pickle.
        n_draws : int, default=100
            Draws that are simulated.
        random_state : int, RandomState instance or None, default=0
            Determines the draws.

        Returns
        -------
        PosteriorPredictiveDisplay
            Display with the spectra.

        Raises
        ------
        ValueError
            If the posterior has no draws, or comes from a pickle.
        """
        spectra = posterior.simulate(n_draws, random_state, noise=False)
        measured, predicted = posterior.fit.spectrum, spectra.mean(axis=0)
        std = np.hypot(posterior.errors, spectra.std(axis=0))
        simulator = posterior.fit.simulator
        whole = {"": (slice(0, len(measured)), simulator)}
        parts = getattr(simulator, "parts", whole)
        names = np.concatenate(
            [np.repeat(name, cut.stop - cut.start) for name, (cut, _) in parts.items()]
        )
        data = pd.DataFrame(
            {
                "part": names,
                "measured": np.where(np.isfinite(std), measured, np.nan),
                "predicted": predicted,
                "std": std,
                "residual": (measured - predicted) / std,
            }
        )
        grids = {n: getattr(part, "grid", None) for n, (_, part) in parts.items()}
        return cls(data=data, grids=grids)

    def plot(
        self,
        axes=None,
        *,
        vmin=None,
        vmax=None,
        mesh_kw=None,
        point_kw=None,
        line_kw=None,
        band_kw=None,
    ):
        """Draw three maps of each part, or two panels where it is no image.

        Maps are measured and predicted intensity, with one scale of colours, and the
        residual, with colours about zero. Spectra without an image have a panel with
        points on the predicted line and its band of two standard deviations, and one
        of residuals.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, one a panel; None makes a figure.
        vmin, vmax : float, default=None
            Ends of the colours of intensities, as for :class:`SpectrumMapDisplay`.
        mesh_kw : dict, default=None
            Options for `Axes.pcolormesh` of maps.
        point_kw, line_kw : dict, default=None
            Options for `Axes.plot` of measured points, and of the predicted line.
        band_kw : dict, default=None
            Options for `Axes.fill_between` of the band.

        Returns
        -------
        PosteriorPredictiveDisplay
            This display, which keeps `axes_` and `figure_`.

        Raises
        ------
        ValueError
            If the number of axes is wrong.
        """
        drawn = {name: self._images(name) for name in self.grids}
        numbers = [3 if maps else 2 for maps in drawn.values()]
        self.figure_, self.axes_ = many_axes(
            axes, sum(numbers), n_columns=max(numbers), size=_SIZE
        )
        curves = {"point": point_kw, "line": line_kw, "band": band_kw}
        ends = np.cumsum(numbers)
        for (name, maps), number, end in zip(drawn.items(), numbers, ends, strict=True):
            own = self.axes_[end - number : end]
            if maps:
                display = SpectrumMapDisplay(data=maps)
                display.plot(own, vmin=vmin, vmax=vmax, mesh_kw=mesh_kw)
            else:
                self._draw_curve(name, own, **curves)
        return self

    def _of_part(self, name):
        return self.data[self.data["part"] == name]

    def _measurements(self, name):
        """Return what is drawn of a part as measurements, by what it is."""
        rows, before = self._of_part(name), f"{name}, " if name else ""
        return {
            before + title: Measurement(rows[column].to_numpy(), self.grids[name])
            for title, column in (
                ("measured", "measured"),
                ("predicted", "predicted"),
                (_RESIDUAL, "residual"),
            )
        }

    def _images(self, name):
        """Return the maps of a part, none where it is no image."""
        if self.grids[name] is None:
            return []
        shown = self._measurements(name)
        maps = SpectrumMapDisplay.from_measurements(
            shown.values(), list(shown), differences=[2]
        ).data
        return [] if any(isinstance(each, Scans) for each in maps) else maps

    def _draw_curve(self, name, axes, point, line, band):
        rows, label = self._of_part(name), "pixel"
        x = np.arange(len(rows), dtype=float)
        if self.grids[name] is not None:
            drawn = map_of(next(iter(self._measurements(name).values())))
            # several scans of a path have no axis in common
            if isinstance(drawn, Scans) and len(drawn.curves[0].x) == len(x):
                x, label = drawn.curves[0].x, drawn.label
        above, below = axes
        predicted, wide = rows["predicted"], 2 * rows["std"]
        shade = {"color": "0.85", "linewidth": 0, **(band or {})}
        dots = {"color": "k", "marker": ".", "linestyle": "", **(point or {})}
        above.fill_between(x, predicted - wide, predicted + wide, **shade)
        above.plot(x, predicted, label="predicted", **(line or {}))
        above.plot(x, rows["measured"], label="measured", **dots)
        above.set(xlabel=label, ylabel="intensity", title=name)
        above.legend(fontsize="small")
        below.axhspan(-2, 2, **shade)
        below.axhline(0, color="0.5", linewidth=0.8)
        below.plot(x, rows["residual"], **dots)
        below.set(xlabel=label, ylabel=_RESIDUAL, title=name)
